/* The chat page and what belongs to it. */
#include "internal.h"
#include "pages.h"

#include <string.h>

/* Nothing but this server's own files runs or is asked; no other page may frame it. */
static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
                             "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const char *type_of(const char *name)
{
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"}, {".css", "text/css; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"}, {".svg", "image/svg+xml"}};
    const char *ending = strrchr(name, '.');
    for (size_t i = 0; ending && i < sizeof types / sizeof *types; i++)
        if (!strcmp(ending, types[i][0]))
            return types[i][1];
    return "application/octet-stream";
}

bool is_page(const char *path)
{
    for (size_t i = 0; i < page_count; i++)
        if (!strcmp(path + 1, pages[i].name))
            return true;
    return !strcmp(path, "/");
}

void answer_page(struct lm_server *server, struct lm_exchange *exchange)
{
    const char *path = lm_exchange_path(exchange), *name = path[1] ? path + 1 : "index.html";
    size_t i = 0;
    while (i + 1 < page_count && strcmp(pages[i].name, name))
        i++;
    lm_exchange_add_header(exchange, "Content-Security-Policy", policy);
    lm_exchange_add_header(exchange, "X-Content-Type-Options", "nosniff");
    lm_exchange_add_header(exchange, "Referrer-Policy", "no-referrer");
    lm_exchange_add_header(exchange, "Cache-Control", "no-cache");
    serve_answered(server, exchange, 200, 0);
    lm_exchange_answer_static(exchange, 200, type_of(name), pages[i].data, pages[i].length);
}
