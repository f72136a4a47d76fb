/* A set of byte strings with numbers, walked one byte at a time (Aoe, 1989).
 *
 *     int32_t state = 0;
 *     for (size_t i = 0; i < length && lm_double_array_step(&array, &state, text[i]); i++)
 *         if ((value = lm_double_array_value(&array, state)) >= 0)
 *             // text[0, i] is in the set
 *
 * Made once; then any thread may walk it.
 */
#ifndef LOAM_TOKENIZER_DOUBLE_ARRAY_H
#define LOAM_TOKENIZER_DOUBLE_ARRAY_H

#include "base/base.h"

struct lm_double_array {
    struct lm_double_unit {
        int32_t base, check; /* the children of state s lie at base + byte + 1, its value at base; check: s or -1 */
    } * units;
    size_t size;
};

struct lm_double_key {
    const unsigned char *text;
    uint32_t length;
    int32_t value; /* 0 or more */
};
/* Sorts the keys; no two are equal, none is empty. */
int lm_double_array_build(struct lm_double_array *array, struct lm_double_key *keys, size_t count, loam_error *error);
void lm_double_array_free(struct lm_double_array *array);

static inline bool lm_double_array_step(const struct lm_double_array *array, int32_t *state, unsigned char byte)
{
    size_t next = (size_t)array->units[*state].base + byte + 1;
    if (next >= array->size || array->units[next].check != *state)
        return false;
    *state = (int32_t)next;
    return true;
}

/* -1: none ends here. */
static inline int32_t lm_double_array_value(const struct lm_double_array *array, int32_t state)
{
    size_t place = (size_t)array->units[state].base;
    return place < array->size && array->units[place].check == state ? array->units[place].base : -1;
}

#endif
