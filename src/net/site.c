#include "site.h"

#include <string.h>

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

const struct lm_site_file *lm_site_find(const struct lm_site *site, const char *path)
{
    const char *name = strcmp(path, "/") ? path + (*path == '/') : "index.html";
    for (size_t i = 0; i < site->count; i++)
        if (!strcmp(name, site->files[i].name))
            return &site->files[i];
    return NULL;
}

void lm_site_headers(struct lm_exchange *exchange, const char *cache)
{
    lm_exchange_add_header(exchange, "Content-Security-Policy", policy);
    lm_exchange_add_header(exchange, "X-Content-Type-Options", "nosniff");
    lm_exchange_add_header(exchange, "Referrer-Policy", "no-referrer");
    lm_exchange_add_header(exchange, "Cache-Control", cache);
}

void lm_site_answer(struct lm_exchange *exchange, const struct lm_site_file *file)
{
    lm_site_headers(exchange, "no-cache");
    lm_exchange_answer_static(exchange, 200, type_of(file->name), file->data, file->length);
}
