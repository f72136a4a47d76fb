/* Layouts: places in a block, packed by lifetime. */
#include "base.h"

#include <stdlib.h>
#include <string.h>

static struct lm_place *append(struct lm_layout *layout, void **where, const char *name, size_t bytes)
{
    if (layout->count == layout->capacity) {
        const size_t room = layout->capacity ? layout->capacity * 2 : 32;
        struct lm_place *larger = lm_resize(layout->places, room, sizeof *larger, NULL);
        if (!larger) {
            layout->failed = true;
            return NULL;
        }
        layout->places = larger;
        layout->capacity = room;
    }
    struct lm_place *place = &layout->places[layout->count++];
    *place = (struct lm_place){.name = name, .where = where, .bytes = bytes, .last = LM_ALWAYS};
    return place;
}

/* Puts a place at the first multiple of its alignment from `at` on; false where that cannot be addressed. */
static bool put_at(struct lm_place *place, size_t at, size_t *end)
{
    if (at > PTRDIFF_MAX - LM_ALIGN)
        return false;
    place->offset = place->adjacent ? at : lm_round_up(at, LM_ALIGN);
    return lm_add(place->offset, place->bytes, end) && *end <= PTRDIFF_MAX - LM_ALIGN;
}

static void add_always(struct lm_layout *layout, void **where, const char *name, size_t bytes, bool adjacent)
{
    if (layout->failed)
        return;
    struct lm_place *place = append(layout, where, name, bytes);
    if (!place)
        return;
    place->adjacent = adjacent;
    if (!put_at(place, layout->size, &layout->size))
        layout->failed = true;
}

void lm_layout_add(struct lm_layout *layout, void **where, const char *name, size_t bytes)
{
    add_always(layout, where, name, bytes, false);
}

void lm_layout_add_adjacent(struct lm_layout *layout, void **where, const char *name, size_t bytes)
{
    add_always(layout, where, name, bytes, true);
}

void lm_layout_add_during(struct lm_layout *layout, void **where, const char *name, size_t bytes, int32_t first, int32_t last)
{
    struct lm_place *place = layout->failed ? NULL : append(layout, where, name, bytes);
    if (!place)
        return;
    place->first = first;
    place->last = last;
    size_t end;
    if (!put_at(place, 0, &end))
        layout->failed = true;
}

/* --- Packing --- */

static bool always(const struct lm_place *place)
{
    return place->last == LM_ALWAYS;
}

static int64_t span(const struct lm_place *place)
{
    return (int64_t)place->last - place->first + 1;
}

static int by_index(const struct lm_place *a, const struct lm_place *b)
{
    return (a > b) - (a < b);    /* of one array: the order in which they were added */
}

/* Large ones first; those that live long first; large areas of bytes and moments first. */
static int by_bytes(const void *left, const void *right)
{
    const struct lm_place *a = *(struct lm_place *const *)left, *b = *(struct lm_place *const *)right;
    return a->bytes != b->bytes ? (a->bytes < b->bytes ? 1 : -1) : by_index(a, b);
}

static int by_span(const void *left, const void *right)
{
    const struct lm_place *a = *(struct lm_place *const *)left, *b = *(struct lm_place *const *)right;
    return span(a) != span(b) ? (span(a) < span(b) ? 1 : -1) : by_bytes(left, right);
}

static int by_area(const void *left, const void *right)
{
    const struct lm_place *a = *(struct lm_place *const *)left, *b = *(struct lm_place *const *)right;
    const double x = (double)a->bytes * (double)span(a), y = (double)b->bytes * (double)span(b);
    return x < y ? 1 : x > y ? -1 : by_index(a, b);
}

static int by_offset(const void *left, const void *right)
{
    const struct lm_place *a = *(struct lm_place *const *)left, *b = *(struct lm_place *const *)right;
    return a->offset != b->offset ? (a->offset > b->offset ? 1 : -1) : by_index(a, b);
}

static int by_end(const void *left, const void *right)
{
    const struct lm_place *a = *(struct lm_place *const *)left, *b = *(struct lm_place *const *)right;
    const size_t x = a->offset + a->bytes, y = b->offset + b->bytes;
    return x != y ? (x > y ? 1 : -1) : by_index(a, b);
}

/* The lowest place from `base` on that is free of the `count` places of `near`, which are sorted by offset. */
static size_t lowest(struct lm_place *const *near, size_t count, size_t base, size_t bytes)
{
    size_t at = base;
    for (size_t i = 0; i < count; i++) {
        if (near[i]->offset >= at && near[i]->offset - at >= bytes)
            return at;
        const size_t end = lm_round_up(near[i]->offset + near[i]->bytes, LM_ALIGN);
        at = end > at ? end : at;
    }
    return at;
}

/* The highest place that ends at `limit` or before and is free of those, sorted by their ends here (they need not live together, so that
 * one that begins lower may reach higher); SIZE_MAX: there is none from `base` on. */
static size_t highest(struct lm_place *const *near, size_t count, size_t base, size_t limit, size_t bytes)
{
    size_t end = limit;
    bytes = lm_round_up(bytes, LM_ALIGN);
    for (size_t i = count; i-- > 0;) {
        const size_t other = lm_round_up(near[i]->offset + near[i]->bytes, LM_ALIGN);
        if (end >= bytes && end - bytes >= other)
            return end - bytes;
        end = near[i]->offset < end ? near[i]->offset : end;
    }
    return end >= base + bytes ? end - bytes : SIZE_MAX;
}

/* The first moment at which something comes that stays to the last one. */
static int32_t turning_point(struct lm_place *const *order, size_t count)
{
    int32_t last = 0, turn = INT32_MAX;
    for (size_t i = 0; i < count; i++)
        last = order[i]->last > last ? order[i]->last : last;
    for (size_t i = 0; i < count; i++)
        turn = order[i]->last == last && order[i]->first < turn ? order[i]->first : turn;
    return turn;
}

/* Places `order` one after the other; gives the end of all, or SIZE_MAX where that is not below `best`, and in *stuck the first that
 * ends too high. `near` has room for all. With a limit, what comes from the turning point on is put from above, so that what grows
 * (gradients) and what shrinks (activations) meet in the middle. */
static size_t place_all(struct lm_place **order, size_t count, size_t base, size_t limit, size_t best, struct lm_place **near,
                        size_t *stuck)
{
    const int32_t turn = turning_point(order, count);
    size_t most = base;
    for (size_t i = 0; i < count; i++) {
        struct lm_place *place = order[i];
        size_t beside = 0, end;
        for (size_t j = 0; j < i; j++)
            if (order[j]->first <= place->last && place->first <= order[j]->last)
                near[beside++] = order[j];
        const bool above = limit && place->first >= turn;
        qsort(near, beside, sizeof *near, above ? by_end : by_offset);
        const size_t at = above ? highest(near, beside, base, limit, place->bytes) : lowest(near, beside, base, place->bytes);
        *stuck = i;
        if (at == SIZE_MAX || !put_at(place, at, &end) || (limit && end > limit) || end >= best)
            return SIZE_MAX;
        most = end > most ? end : most;
    }
    return most;
}

/* What is live when a place comes alive is the most that ever is. */
static size_t most_live(const struct lm_layout *layout)
{
    size_t most = 0;
    for (size_t i = 0; i < layout->count; i++) {
        const size_t live = i == 0 || layout->places[i].first != layout->places[i - 1].first
                                ? lm_layout_live(layout, layout->places[i].first) : 0;
        most = live > most ? live : most;
    }
    return most;
}

/* Limits to try for what comes from above: what is live, and a little more. */
enum { LIMITS = 6 };
static size_t limit_of(size_t live, int which)
{
    static const size_t parts[LIMITS] = {0, 5, 10, 15, 20, 25};    /* thousandths more */
    return lm_round_up(live + live / 1000 * parts[which], LM_ALIGN);
}

/* What packing works with: places in the order of a try, those beside one, and the best try's order and offsets. */
struct packing {
    struct lm_place **order, **near, **kept;
    size_t *offsets;
    size_t count, base, live, best;
};

static bool try_order(struct packing *p, size_t limit, size_t *stuck)
{
    const size_t end = place_all(p->order, p->count, p->base, limit, p->best, p->near, stuck);
    if (end == SIZE_MAX)
        return false;
    p->best = end;
    for (size_t i = 0; i < p->count; i++) {
        p->kept[i] = p->order[i];
        p->offsets[i] = p->order[i]->offset;
    }
    return true;
}

static void try_orders(struct packing *p)
{
    static int (*const orders[])(const void *, const void *) = {by_bytes, by_span, by_area};
    enum { ORDERS = sizeof orders / sizeof *orders, TRIES = ORDERS * (LIMITS + 1) };
    size_t stuck;
    for (int i = 0; i < TRIES && p->best > p->live; i++) {
        const size_t limit = i < ORDERS ? 0 : limit_of(p->live, i / ORDERS - 1);
        if (limit && limit >= p->best)
            break;
        qsort(p->order, p->count, sizeof *p->order, orders[i % ORDERS]);
        try_order(p, limit, &stuck);
    }
}

/* Where gaps are left: what ended too high in a try comes first in the next one. */
static void improve(struct packing *p)
{
    static int (*const orders[])(const void *, const void *) = {by_span, by_area};
    enum { ROUNDS = 60 };
    for (int k = 0; k < 2; k++) {
        qsort(p->order, p->count, sizeof *p->order, orders[k]);
        for (int i = 0; i < ROUNDS && p->best > p->live + p->live / 100; i++) {
            size_t stuck;
            if (try_order(p, 0, &stuck))
                continue;    /* the same order, against itself: the next try says what is in its way */
            struct lm_place *first = p->order[stuck];
            memmove(p->order + 1, p->order, stuck * sizeof *p->order);
            p->order[0] = first;
        }
    }
}

void lm_layout_pack(struct lm_layout *layout)
{
    if (layout->rough && !layout->failed)
        layout->size = most_live(layout);
    if (layout->failed || layout->rough)
        return;
    struct packing p = {.best = SIZE_MAX};
    p.order = lm_alloc(3 * layout->count + 1, sizeof(struct lm_place *), NULL);
    p.offsets = p.order ? lm_alloc(layout->count + 1, sizeof *p.offsets, NULL) : NULL;
    layout->failed = !p.offsets;
    for (size_t i = 0; i < layout->count && !layout->failed; i++)
        if (!always(&layout->places[i]))
            p.order[p.count++] = &layout->places[i];
        else if (!put_at(&layout->places[i], p.base, &p.base))
            layout->failed = true;
    if (!layout->failed) {
        p.near = p.order + p.count;
        p.kept = p.near + p.count;
        p.base = lm_round_up(p.base, LM_ALIGN);
        p.live = lm_round_up(most_live(layout), LM_ALIGN);
        try_orders(&p);
        improve(&p);
        for (size_t i = 0; i < p.count && p.best != SIZE_MAX; i++)
            p.kept[i]->offset = p.offsets[i];
        layout->size = p.best;
        layout->failed = p.best == SIZE_MAX;
    }
    lm_free(p.offsets);
    lm_free(p.order);
}

size_t lm_layout_live(const struct lm_layout *layout, int32_t moment)
{
    size_t sum = 0;
    for (size_t i = 0; i < layout->count; i++) {
        const struct lm_place *place = &layout->places[i];
        if (place->first <= moment && moment <= place->last)
            sum += lm_round_up(place->bytes, LM_ALIGN);
    }
    return sum;
}

int lm_layout_check(const struct lm_layout *layout, loam_error *error)
{
    if (layout->failed)
        return lm_fail(error, LOAM_ENOMEM, "not enough memory: a layout of %zu places is larger than this machine "
                       "can address", layout->count);
    return LOAM_OK;
}

void lm_layout_bind(const struct lm_layout *layout, void *block)
{
    if (layout->failed)
        return;
    for (size_t i = 0; i < layout->count; i++) {
        const struct lm_place *place = &layout->places[i];
        if (place->where)
            *place->where = (char *)block + place->offset;
    }
}

void lm_layout_free(struct lm_layout *layout)
{
    lm_free(layout->places);
    *layout = (struct lm_layout){0};
}
