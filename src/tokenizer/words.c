/* Counting words. */
#include "words.h"

#define XXH_INLINE_ALL
#include <string.h>
#include <xxhash.h>

static int grow_slots(struct lm_words *words, loam_error *error)
{
    size_t count = words->slot_count ? words->slot_count * 2 : 4096;
    uint32_t *slots = lm_alloc(count, sizeof *slots, error);
    if (!slots)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < words->count; i++) {
        size_t slot = words->items[i].hash & (count - 1);
        while (slots[slot])
            slot = (slot + 1) & (count - 1);
        slots[slot] = (uint32_t)i + 1;
    }
    lm_free(words->slots);
    words->slots = slots;
    words->slot_count = count;
    return LOAM_OK;
}

int lm_words_count_hashed(struct lm_words *words, const char *text, size_t length, uint32_t hash, uint64_t times,
                          loam_error *error)
{
    if (words->count * 2 >= words->slot_count && grow_slots(words, error) != LOAM_OK)
        return LOAM_ENOMEM;
    size_t slot = hash & (words->slot_count - 1);
    for (uint32_t index; (index = words->slots[slot]); slot = (slot + 1) & (words->slot_count - 1)) {
        struct lm_word *word = &words->items[index - 1];
        if (word->hash == hash && word->length == length && !memcmp(words->text.data + word->offset, text, length)) {
            word->count += times;
            return LOAM_OK;
        }
    }
    if (words->count >= INT32_MAX || length > UINT32_MAX)
        return lm_fail(error, LOAM_EUNSUPPORTED, "over two thousand million different words");
    if (words->count == words->capacity) {
        size_t capacity = words->capacity ? words->capacity + words->capacity / 2 : 1024;
        struct lm_word *items = lm_resize(words->items, capacity, sizeof *items, error);
        if (!items)
            return LOAM_ENOMEM;
        words->items = items;
        words->capacity = capacity;
    }
    size_t offset = words->text.length;
    if (lm_bytes_append(&words->text, text, length, error) != LOAM_OK)
        return LOAM_ENOMEM;
    words->items[words->count++] = (struct lm_word){offset, times, (uint32_t)length, hash};
    words->slots[slot] = (uint32_t)words->count;
    return LOAM_OK;
}

int lm_words_count(struct lm_words *words, const char *text, size_t length, uint64_t times, loam_error *error)
{
    return lm_words_count_hashed(words, text, length, lm_words_hash(text, length), times, error);
}

uint32_t lm_words_hash(const char *text, size_t length)
{
    return (uint32_t)XXH3_64bits(text, length);
}

void lm_words_filter(struct lm_words *words, bool (*keep)(void *user, const struct lm_word *word), void *user)
{
    size_t kept = 0, text = 0;
    for (size_t i = 0; i < words->count; i++) {
        struct lm_word word = words->items[i];
        if (!keep(user, &word))
            continue;
        memmove(words->text.data + text, words->text.data + word.offset, word.length);
        word.offset = text;
        text += word.length;
        words->items[kept++] = word;
    }
    words->count = kept;
    words->text.length = text;
    if (words->slots)
        memset(words->slots, 0, words->slot_count * sizeof *words->slots);
    for (size_t i = 0; i < kept; i++) {
        size_t slot = words->items[i].hash & (words->slot_count - 1);
        while (words->slots[slot])
            slot = (slot + 1) & (words->slot_count - 1);
        words->slots[slot] = (uint32_t)i + 1;
    }
}

int lm_words_merge(struct lm_words *words, const struct lm_words *from, loam_error *error)
{
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < from->count; i++) {
        const struct lm_word *word = &from->items[i];
        code = lm_words_count_hashed(words, from->text.data + word->offset, word->length, word->hash, word->count, error);
    }
    return code;
}

size_t lm_words_memory(const struct lm_words *words)
{
    return words->text.length + words->count * (sizeof *words->items + 4 * sizeof *words->slots);
}

void lm_words_free(struct lm_words *words)
{
    lm_bytes_free(&words->text);
    lm_free(words->items);
    lm_free(words->slots);
    *words = (struct lm_words){0};
}
