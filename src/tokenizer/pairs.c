/* The table of merges: which two tokens make a third. */
#include "internal.h"

static void unseal(struct lm_pairs *pairs)
{
    lm_free(pairs->filter);
    lm_free(pairs->of_bytes);
    pairs->filter = pairs->of_bytes = NULL;
}

int lm_pairs_reserve(struct lm_pairs *pairs, size_t count, loam_error *error)
{
    if (count >= SIZE_MAX / 64)
        return lm_fail(error, LOAM_ENOMEM, "not enough memory for %zu merges", count);
    size_t slots = pairs->slot_count ? pairs->slot_count : 16;
    while (slots < count + count / 2)
        slots *= 2;
    if (slots == pairs->slot_count)
        return LOAM_OK;
    struct lm_pair *made = lm_block_map(slots * sizeof *made, error);
    if (!made)
        return LOAM_ENOMEM;
    memset(made, 0xff, slots * sizeof *made);
    struct lm_pairs grown = {.slots = made, .slot_count = slots, .used = pairs->used};
    for (size_t i = 0; i < pairs->slot_count; i++) {
        if (pairs->slots[i].key == UINT64_MAX)
            continue;
        size_t slot = lm_pairs_slot(&grown, pairs->slots[i].key);
        while (made[slot].key != UINT64_MAX)
            slot = (slot + 1) & (slots - 1);
        made[slot] = pairs->slots[i];
    }
    lm_pairs_free(pairs);
    *pairs = grown;
    return LOAM_OK;
}

int lm_pairs_set(struct lm_pairs *pairs, int32_t left, int32_t right, uint32_t rank, int32_t merged, loam_error *error)
{
    int code = lm_pairs_reserve(pairs, pairs->used + 1, error);
    if (code != LOAM_OK)
        return code;
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t slot = lm_pairs_slot(pairs, key);
    unseal(pairs);
    while (pairs->slots[slot].key != UINT64_MAX && pairs->slots[slot].key != key)
        slot = (slot + 1) & (pairs->slot_count - 1);
    pairs->used += pairs->slots[slot].key != key;
    pairs->slots[slot] = (struct lm_pair){key, (uint64_t)rank << 32 | (uint32_t)merged};
    return LOAM_OK;
}

void lm_pairs_free(struct lm_pairs *pairs)
{
    unseal(pairs);
    lm_block_unmap(pairs->slots, pairs->slot_count * sizeof *pairs->slots);
    *pairs = (struct lm_pairs){0};
}

static int make_filter(struct lm_pairs *pairs, loam_error *error)
{
    size_t bits = 1 << 12;
    while (bits < pairs->used * 12)
        bits *= 2;
    pairs->filter = lm_alloc(bits / 64, sizeof *pairs->filter, error);
    if (!pairs->filter)
        return LOAM_ENOMEM;
    pairs->filter_mask = bits - 1;
    for (size_t i = 0; i < pairs->slot_count; i++) {
        if (pairs->slots[i].key == UINT64_MAX)
            continue;
        size_t bit = lm_pairs_bit(pairs, pairs->slots[i].key);
        pairs->filter[bit / 64] |= UINT64_C(1) << bit % 64;
    }
    return LOAM_OK;
}

int lm_pairs_seal(struct lm_pairs *pairs, const int32_t *bytes, loam_error *error)
{
    if (!pairs->used)
        return LOAM_OK;
    unseal(pairs);
    int code = make_filter(pairs, error);
    bool all = bytes != NULL;
    for (size_t i = 0; all && i < 256; i++)
        all = bytes[i] >= 0;
    if (code != LOAM_OK || !all)
        return code;
    uint64_t *table = lm_resize(NULL, 256 * 256, sizeof *table, error);
    if (!table)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < 256 * 256; i++)
        table[i] = lm_pairs_get(pairs, bytes[i >> 8], bytes[i & 255]);
    pairs->of_bytes = table;
    return LOAM_OK;
}
