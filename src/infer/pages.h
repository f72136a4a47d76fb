/* Who holds which page of keys and values, and which ids stand in it: a tree of pages, a page behind the one before it.
 *
 *     struct lm_pages *pages;
 *     if (lm_pages_create(count, &pages, error)) return error->code;
 *     struct lm_found found = lm_pages_find(pages, LM_NO_PAGE, ids, count);    // the child of the root that goes furthest
 *
 * Each page in use belongs to one writer, the sequence that fills it; full ones may have any number of readers. A page that
 * no sequence holds is kept for those to come until its room is needed. Private to infer/, one thread.
 */
#ifndef LOAM_INFER_PAGES_H
#define LOAM_INFER_PAGES_H

#include "engine.h"

enum { LM_NO_PAGE = -1 };

struct lm_pages;
int lm_pages_create(int64_t count, struct lm_pages **pages, loam_error *error);
void lm_pages_free(struct lm_pages *pages);

/* The page behind `before` (LM_NO_PAGE: the first of a text) that has most of `ids`, and how many; page LM_NO_PAGE where
 * there is none. */
struct lm_found {
    int32_t page;
    int64_t same;
};
struct lm_found lm_pages_find(const struct lm_pages *pages, int32_t before, const int32_t *ids, int64_t count);
/* An empty page with one holder, behind `before`, which the caller holds; the one that was not held for longest goes for it.
 * LM_NO_PAGE where all are held. */
int32_t lm_pages_take(struct lm_pages *pages, int32_t before);
void lm_pages_hold(struct lm_pages *pages, int32_t page);
/* One holder less. Without `keep` a page that nobody else holds is empty at once. Last pages first. */
void lm_pages_drop(struct lm_pages *pages, int32_t page, bool keep);
/* `count` ids more stand in the page. One that is full now and has a twin behind the same page gives way to it: the twin is
 * held in its place and returned. */
int32_t lm_pages_fill(struct lm_pages *pages, int32_t page, const int32_t *ids, int64_t count, bool twins);
/* Pages that could be taken. */
int64_t lm_pages_room(const struct lm_pages *pages);
void lm_pages_count(const struct lm_pages *pages, int64_t *used, int64_t *kept);

#endif
