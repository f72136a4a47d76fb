/* Building a double array from sorted keys, one state after the other. */
#include "double_array.h"

#include <stdlib.h>
#include <string.h>

struct range {
    size_t start, end; /* keys that go through the state */
    uint32_t depth;
    int32_t state;
};

struct building {
    struct lm_double_array *array;
    const struct lm_double_key *keys;
    size_t room, first_free; /* no unit before first_free is worth a look */
    struct range *waiting;
    size_t waiting_count, waiting_room;
    loam_error *error;
};

static int by_text(const void *left, const void *right)
{
    const struct lm_double_key *a = left, *b = right;
    int sign = memcmp(a->text, b->text, a->length < b->length ? a->length : b->length);
    return sign ? sign : (a->length > b->length) - (a->length < b->length);
}

static int grow(struct building *b, size_t wanted)
{
    if (wanted <= b->room)
        return LOAM_OK;
    size_t room = b->room ? b->room : 1024;
    while (room < wanted)
        room += room / 2;
    if (room > INT32_MAX)
        return lm_fail(b->error, LOAM_EFORMAT, "the vocabulary is too large: its texts need over 2^31 states");
    struct lm_double_unit *units = lm_resize(b->array->units, room, sizeof *units, b->error);
    if (!units)
        return LOAM_ENOMEM;
    for (size_t i = b->room; i < room; i++)
        units[i] = (struct lm_double_unit){0, -1};
    b->array->units = units;
    b->room = room;
    return LOAM_OK;
}

/* The labels of a state's children: 0 where a key ends, byte + 1 else; with where the keys of each begin. */
static size_t children(const struct building *b, const struct range *range, int labels[257], size_t starts[258])
{
    size_t count = 0;
    for (size_t i = range->start; i < range->end; i++) {
        const struct lm_double_key *key = &b->keys[i];
        int label = key->length == range->depth ? 0 : key->text[range->depth] + 1;
        if (!count || labels[count - 1] != label) {
            labels[count] = label;
            starts[count++] = i;
        }
    }
    starts[count] = range->end;
    return count;
}

static bool fits(const struct building *b, size_t base, const int *labels, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (b->array->units[base + (size_t)labels[i]].check != -1)
            return false;
    return true;
}

/* A base at which every child finds a free unit. */
static int find_base(struct building *b, const int *labels, size_t count, size_t *base)
{
    size_t taken = 0, begin = b->first_free > (size_t)labels[0] ? b->first_free : (size_t)labels[0] + 1, at = begin;
    for (;; at++) {
        int code = grow(b, at + 258);
        if (code != LOAM_OK)
            return code;
        if (b->array->units[at].check != -1) {
            taken++;
            continue;
        }
        *base = at - (size_t)labels[0];
        if (fits(b, *base, labels, count))
            break;
    }
    /* Where nearly all units are taken no search begins again. */
    if (taken * 20 >= (at - begin + 1) * 19)
        b->first_free = at;
    return LOAM_OK;
}

static int push(struct building *b, struct range range)
{
    if (b->waiting_count == b->waiting_room) {
        size_t room = b->waiting_room ? b->waiting_room * 2 : 256;
        struct range *grown = lm_resize(b->waiting, room, sizeof *grown, b->error);
        if (!grown)
            return LOAM_ENOMEM;
        b->waiting = grown;
        b->waiting_room = room;
    }
    b->waiting[b->waiting_count++] = range;
    return LOAM_OK;
}

static int place(struct building *b, const struct range *range)
{
    int labels[257];
    size_t starts[258], base, count = children(b, range, labels, starts);
    int code = find_base(b, labels, count, &base);
    if (code != LOAM_OK)
        return code;
    struct lm_double_unit *units = b->array->units;
    units[range->state].base = (int32_t)base;
    for (size_t i = 0; i < count; i++) {
        size_t child = base + (size_t)labels[i];
        units[child].check = range->state;
        if (child >= b->array->size)
            b->array->size = child + 1;
        if (!labels[i])
            units[child].base = b->keys[starts[i]].value;
    }
    for (size_t i = 0; code == LOAM_OK && i < count; i++)
        if (labels[i])
            code = push(b, (struct range){starts[i], starts[i + 1], range->depth + 1,
                                          (int32_t)(base + (size_t)labels[i])});
    return code;
}

int lm_double_array_build(struct lm_double_array *array, struct lm_double_key *keys, size_t count, loam_error *error)
{
    struct building b = {.array = array, .keys = keys, .first_free = 1, .error = error};
    lm_double_array_free(array);
    int code = grow(&b, 1024);
    if (code == LOAM_OK) {
        array->units[0] = (struct lm_double_unit){0, -2};
        array->size = 1;
    }
    if (count > 1)
        qsort(keys, count, sizeof *keys, by_text);
    if (code == LOAM_OK && count)
        code = push(&b, (struct range){0, count, 0, 0});
    while (code == LOAM_OK && b.waiting_count) {
        struct range range = b.waiting[--b.waiting_count];
        code = place(&b, &range);
    }
    lm_free(b.waiting);
    if (code != LOAM_OK)
        lm_double_array_free(array);
    return code;
}

void lm_double_array_free(struct lm_double_array *array)
{
    lm_free(array->units);
    *array = (struct lm_double_array){0};
}
