/* The table of tokens. */
#include "vocabulary.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static uint64_t hash_of(const char *text, size_t length, bool raw)
{
    return XXH3_64bits(text, length) + raw;
}

static int grow_ids(struct lm_vocabulary *vocabulary, size_t wanted, loam_error *error)
{
    if (wanted <= vocabulary->capacity)
        return LOAM_OK;
    size_t capacity = vocabulary->capacity < 256 ? 256 : vocabulary->capacity;
    while (capacity < wanted)
        capacity += capacity / 2;
    struct lm_token *tokens = lm_resize(vocabulary->tokens, capacity, sizeof *tokens, error);
    if (!tokens)
        return LOAM_ENOMEM;
    vocabulary->tokens = tokens;
    uint8_t *flags = lm_resize(vocabulary->flags, capacity, 1, error);
    if (!flags)
        return LOAM_ENOMEM;
    vocabulary->flags = flags;
    vocabulary->capacity = capacity;
    return LOAM_OK;
}

static void enter(struct lm_vocabulary *vocabulary, int32_t id)
{
    size_t length;
    const char *text = lm_vocabulary_text(vocabulary, id, &length);
    bool raw = vocabulary->flags[id] & LM_TOKEN_RAW;
    size_t slot = hash_of(text, length, raw) & (vocabulary->slot_count - 1);
    while (vocabulary->slots[slot] >= 0)
        slot = (slot + 1) & (vocabulary->slot_count - 1);
    vocabulary->slots[slot] = id;
}

static int grow_slots(struct lm_vocabulary *vocabulary, size_t tokens, loam_error *error)
{
    if (vocabulary->slot_count >= tokens * 2 && vocabulary->slot_count)
        return LOAM_OK;
    size_t count = vocabulary->slot_count ? vocabulary->slot_count : 512;
    while (count < tokens * 2)
        count *= 2;
    int32_t *slots = lm_resize(NULL, count, sizeof *slots, error);
    if (!slots)
        return LOAM_ENOMEM;
    memset(slots, 0xff, count * sizeof *slots);
    lm_free(vocabulary->slots);
    vocabulary->slots = slots;
    vocabulary->slot_count = count;
    for (size_t id = 0; id < vocabulary->size; id++)
        if ((vocabulary->flags[id] & LM_TOKEN_PRESENT) && !(vocabulary->flags[id] & LM_TOKEN_OUTSIDE))
            enter(vocabulary, (int32_t)id);
    return LOAM_OK;
}

int lm_vocabulary_reserve(struct lm_vocabulary *vocabulary, size_t tokens, loam_error *error)
{
    if (tokens > LM_TOKEN_LIMIT)
        return lm_fail(error, LOAM_EFORMAT, "found %zu tokens, wanted at most %d", tokens, LM_TOKEN_LIMIT);
    int code = grow_ids(vocabulary, tokens, error);
    if (code == LOAM_OK)
        code = grow_slots(vocabulary, tokens, error);
    return code;
}

int lm_vocabulary_add(struct lm_vocabulary *vocabulary, int64_t id, const char *text, size_t length, unsigned flags,
                      loam_error *error)
{
    if (id < 0 || id >= LM_TOKEN_LIMIT)
        return lm_fail(error, LOAM_EFORMAT, "token '%.*s': found id %lld, wanted 0 to %d",
                       (int)(length < 80 ? length : 80), text, (long long)id, LM_TOKEN_LIMIT - 1);
    if (length >= LM_TOKEN_LIMIT || vocabulary->text.length + length >= UINT32_MAX)
        return lm_fail(error, LOAM_EFORMAT, "token %lld: its text is too long (%zu bytes)", (long long)id, length);
    int code = grow_ids(vocabulary, (size_t)id + 1, error);
    bool outside = flags & LM_TOKEN_OUTSIDE;
    if (code == LOAM_OK && !outside)
        code = grow_slots(vocabulary, vocabulary->used + 1, error);
    if (code != LOAM_OK)
        return code;
    if ((size_t)id < vocabulary->size && vocabulary->flags[id])
        return lm_fail(error, LOAM_EFORMAT,
                       "id %lld is given twice: to '%.*s' and to '%.*s'; every token needs its own", (long long)id,
                       (int)(vocabulary->tokens[id].length < 80 ? vocabulary->tokens[id].length : 80),
                       vocabulary->text.data + vocabulary->tokens[id].offset, (int)(length < 80 ? length : 80), text);
    int32_t same = outside ? -1 : lm_vocabulary_find(vocabulary, text, length, flags & LM_TOKEN_RAW);
    if (same >= 0)
        return lm_fail(error, LOAM_EFORMAT, "token '%.*s' stands there twice: ids %d and %lld",
                       (int)(length < 80 ? length : 80), text, same, (long long)id);
    size_t offset = vocabulary->text.length;
    code = lm_bytes_append(&vocabulary->text, text, length, error);
    if (code != LOAM_OK)
        return code;
    if ((size_t)id >= vocabulary->size) {
        memset(vocabulary->flags + vocabulary->size, 0, (size_t)id + 1 - vocabulary->size);
        vocabulary->size = (size_t)id + 1;
    }
    vocabulary->tokens[id] = (struct lm_token){(uint32_t)offset, (uint32_t)length};
    vocabulary->flags[id] = (uint8_t)(flags | LM_TOKEN_PRESENT);
    if (!outside) {
        enter(vocabulary, (int32_t)id);
        vocabulary->used++;
        if (length > vocabulary->longest)
            vocabulary->longest = length;
    }
    return LOAM_OK;
}

int32_t lm_vocabulary_find(const struct lm_vocabulary *vocabulary, const char *text, size_t length, bool raw)
{
    if (!vocabulary->slot_count)
        return -1;
    size_t slot = hash_of(text, length, raw) & (vocabulary->slot_count - 1);
    for (int32_t id; (id = vocabulary->slots[slot]) >= 0; slot = (slot + 1) & (vocabulary->slot_count - 1)) {
        const struct lm_token *token = &vocabulary->tokens[id];
        if (token->length == length && !memcmp(vocabulary->text.data + token->offset, text, length) &&
            raw == (bool)(vocabulary->flags[id] & LM_TOKEN_RAW))
            return id;
    }
    return -1;
}

int64_t lm_vocabulary_hole(const struct lm_vocabulary *vocabulary, size_t end)
{
    for (size_t id = 0; id < end; id++)
        if (id >= vocabulary->size || !vocabulary->flags[id])
            return (int64_t)id;
    return -1;
}

void lm_vocabulary_free(struct lm_vocabulary *vocabulary)
{
    lm_bytes_free(&vocabulary->text);
    lm_free(vocabulary->tokens);
    lm_free(vocabulary->flags);
    lm_free(vocabulary->slots);
    *vocabulary = (struct lm_vocabulary){0};
}
