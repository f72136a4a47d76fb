/* Files of a page that stand in the program (cmake/pages.cmake), answered with what keeps a page to itself.
 *
 *     const struct lm_site_file *file = lm_site_find(&chat_site, lm_exchange_path(exchange));
 *     if (file)
 *         lm_site_answer(exchange, file);
 *
 * Any thread may call these.
 */
#ifndef LOAM_NET_SITE_H
#define LOAM_NET_SITE_H

#include "net.h"

struct lm_site_file {
    const char *name;
    const unsigned char *data;
    size_t length;
};
struct lm_site {
    const struct lm_site_file *files;
    size_t count;
};

/* By the path of a request: "/" is index.html. NULL: there is none of that name. */
const struct lm_site_file *lm_site_find(const struct lm_site *site, const char *path);
/* Nothing but the server's own files may run or be asked from a page, and no other page may frame it: this and the rest of what
 * browsers are told, for answers of other kinds on the same site too. `cache` is their Cache-Control. */
void lm_site_headers(struct lm_exchange *exchange, const char *cache);
/* 200, with the headers; browsers ask each time whether it is still the same. */
void lm_site_answer(struct lm_exchange *exchange, const struct lm_site_file *file);

#endif
