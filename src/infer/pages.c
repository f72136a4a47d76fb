#include "pages.h"

#include <string.h>

struct page {
    int32_t before, first_child, next, previous;    /* in the tree; LM_NO_PAGE: none */
    int32_t holders, filled;
    bool in_use;                /* in the tree; else in the list of empty ones, linked by `next` */
    uint64_t dropped;           /* when the last holder left */
    int32_t ids[LM_PAGE];
};

struct lm_pages {
    struct page *pages;
    int64_t count, used, kept;
    int32_t root_child, empty;
    uint64_t clock;
};

int lm_pages_create(int64_t count, struct lm_pages **result, loam_error *error)
{
    struct lm_pages *pages = lm_alloc(1, sizeof *pages, error);
    if (!pages)
        return LOAM_ENOMEM;
    *pages = (struct lm_pages){.count = count, .root_child = LM_NO_PAGE, .empty = LM_NO_PAGE};
    if (!(pages->pages = lm_alloc((size_t)count, sizeof *pages->pages, error))) {
        lm_free(pages);
        return LOAM_ENOMEM;
    }
    for (int64_t i = count; i-- > 0;) {
        pages->pages[i].next = pages->empty;
        pages->empty = (int32_t)i;
    }
    *result = pages;
    return LOAM_OK;
}

void lm_pages_free(struct lm_pages *pages)
{
    if (!pages)
        return;
    lm_free(pages->pages);
    lm_free(pages);
}

static int32_t *children(struct lm_pages *pages, int32_t before)
{
    return before == LM_NO_PAGE ? &pages->root_child : &pages->pages[before].first_child;
}

static void link_page(struct lm_pages *pages, int32_t index, int32_t before)
{
    int32_t *first = children(pages, before);
    struct page *page = &pages->pages[index];
    *page = (struct page){.before = before, .first_child = LM_NO_PAGE, .next = *first, .previous = LM_NO_PAGE, .in_use = true};
    if (*first != LM_NO_PAGE)
        pages->pages[*first].previous = index;
    *first = index;
}

static void unlink_page(struct lm_pages *pages, int32_t index)
{
    struct page *page = &pages->pages[index];
    if (page->previous == LM_NO_PAGE)
        *children(pages, page->before) = page->next;
    else
        pages->pages[page->previous].next = page->next;
    if (page->next != LM_NO_PAGE)
        pages->pages[page->next].previous = page->previous;
    page->in_use = false;
    page->next = pages->empty;
    pages->empty = index;
}

struct lm_found lm_pages_find(const struct lm_pages *pages, int32_t before, const int32_t *ids, int64_t count)
{
    struct lm_found found = {.page = LM_NO_PAGE};
    for (int32_t i = *children((struct lm_pages *)pages, before); i != LM_NO_PAGE; i = pages->pages[i].next) {
        const struct page *page = &pages->pages[i];
        int64_t same = 0;
        while (same < count && same < page->filled && page->ids[same] == ids[same])
            same++;
        if (same > found.same)
            found = (struct lm_found){.page = i, .same = same};
    }
    return found;
}

/* The leaf that nobody has held for longest. A page's readers hold all before it, so that there is a leaf if any is free. */
static int32_t oldest(const struct lm_pages *pages)
{
    int32_t best = LM_NO_PAGE;
    for (int64_t i = 0; i < pages->count; i++) {
        const struct page *page = &pages->pages[i];
        if (page->in_use && page->holders == 0 && page->first_child == LM_NO_PAGE &&
            (best == LM_NO_PAGE || page->dropped < pages->pages[best].dropped))
            best = (int32_t)i;
    }
    return best;
}

int32_t lm_pages_take(struct lm_pages *pages, int32_t before)
{
    if (pages->empty == LM_NO_PAGE) {
        const int32_t old = oldest(pages);
        if (old == LM_NO_PAGE)
            return LM_NO_PAGE;
        unlink_page(pages, old);
        pages->kept--;
    }
    const int32_t index = pages->empty;
    pages->empty = pages->pages[index].next;
    link_page(pages, index, before);
    pages->pages[index].holders = 1;
    pages->used++;
    return index;
}

void lm_pages_hold(struct lm_pages *pages, int32_t page)
{
    if (pages->pages[page].holders++ == 0) {
        pages->kept--;
        pages->used++;
    }
}

void lm_pages_drop(struct lm_pages *pages, int32_t index, bool keep)
{
    struct page *page = &pages->pages[index];
    if (--page->holders > 0)
        return;
    pages->used--;
    page->dropped = ++pages->clock;
    if ((keep && page->filled > 0) || page->first_child != LM_NO_PAGE)
        pages->kept++;
    else
        unlink_page(pages, index);
}

/* All pages behind `from` stand behind `to` now. */
static void adopt(struct lm_pages *pages, int32_t to, int32_t from)
{
    while (pages->pages[from].first_child != LM_NO_PAGE) {
        const int32_t child = pages->pages[from].first_child;
        struct page *page = &pages->pages[child];
        pages->pages[from].first_child = page->next;
        page->before = to;
        page->previous = LM_NO_PAGE;
        page->next = pages->pages[to].first_child;
        if (page->next != LM_NO_PAGE)
            pages->pages[page->next].previous = child;
        pages->pages[to].first_child = child;
    }
}

int32_t lm_pages_fill(struct lm_pages *pages, int32_t index, const int32_t *ids, int64_t count, bool twins)
{
    struct page *page = &pages->pages[index];
    memcpy(page->ids + page->filled, ids, (size_t)count * sizeof *ids);
    page->filled += (int32_t)count;
    if (page->filled < LM_PAGE || !twins)
        return index;
    for (int32_t i = *children(pages, page->before); i != LM_NO_PAGE; i = pages->pages[i].next)
        if (i != index && pages->pages[i].filled == LM_PAGE && !memcmp(pages->pages[i].ids, page->ids, sizeof page->ids)) {
            lm_pages_hold(pages, i);
            adopt(pages, i, index);
            lm_pages_drop(pages, index, false);
            return i;
        }
    return index;
}

int64_t lm_pages_room(const struct lm_pages *pages)
{
    return pages->count - pages->used;
}

void lm_pages_count(const struct lm_pages *pages, int64_t *used, int64_t *kept)
{
    *used = pages->used;
    *kept = pages->kept;
}
