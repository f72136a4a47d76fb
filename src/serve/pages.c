/* The chat page and what belongs to it. */
#include "internal.h"

/* The files of pages/, which the build puts into the program. */
extern const struct lm_site serve_site;

bool is_page(const char *path)
{
    return lm_site_find(&serve_site, path) != NULL;
}

void answer_page(struct lm_server *server, struct lm_exchange *exchange)
{
    serve_answered(server, exchange, 200, 0);
    lm_site_answer(exchange, lm_site_find(&serve_site, lm_exchange_path(exchange)));
}
