/* SentencePiece's precompiled character map. */
#include "charsmap.h"
#include "base64.h"

#include <string.h>

struct lm_charsmap {
    struct lm_bytes bytes; /* as in the file */
    const unsigned char *units;
    const char *texts; /* the replacements */
    size_t unit_count, texts_length;
};

static uint32_t unit_at(const struct lm_charsmap *map, size_t i)
{
    const unsigned char *at = map->units + i * 4;
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

int lm_charsmap_read(const struct lm_document *document, const struct lm_value *value, struct lm_charsmap **map,
                     loam_error *error)
{
    const char *text;
    loam_error why = {0};
    int code = value && value->kind == LM_NULL ? LOAM_OK : lm_value_string(document, value, &text, error);
    struct lm_charsmap *made = code == LOAM_OK ? lm_alloc(1, sizeof *made, error) : NULL;
    if (!made)
        return code == LOAM_OK ? LOAM_ENOMEM : code;
    if (value->kind != LM_NULL && !lm_base64_read(text, value->length, &made->bytes, &why)) {
        lm_charsmap_free(made);
        return why.code == LOAM_ENOMEM ? lm_fail(error, LOAM_ENOMEM, "%s", why.message)
                                       : lm_value_fail(document, value, error, "wanted base64");
    }
    const unsigned char *bytes = (const unsigned char *)made->bytes.data;
    size_t length = made->bytes.length, size = length >= 4 ? bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 |
                                                                 (size_t)bytes[3] << 24
                                                           : 0;
    if (length && (length < 4 || size > length - 4 || size % 4)) {
        lm_charsmap_free(made);
        return lm_value_fail(document, value, error,
                             "the character map is damaged: found a trie of %zu bytes in a map of %zu bytes", size,
                             length);
    }
    if (length) {
        made->units = bytes + 4;
        made->unit_count = size / 4;
        made->texts = made->bytes.data + 4 + size;
        made->texts_length = length - 4 - size;
    }
    *map = made;
    return LOAM_OK;
}

void lm_charsmap_free(struct lm_charsmap *map)
{
    if (!map)
        return;
    lm_bytes_free(&map->bytes);
    lm_free(map);
}

/* A place in the trie that lies outside of it ends the search, so that a damaged map does no harm. */
static const char *search(const struct lm_charsmap *map, const char *text, size_t length, bool longest, size_t *taken,
                          size_t *mapped)
{
    if (!map->unit_count)
        return NULL;
    const char *found = NULL;
    size_t node = offset_of(unit_at(map, 0));
    for (size_t i = 0; i < length && text[i]; i++) {
        node ^= (unsigned char)text[i];
        if (node >= map->unit_count)
            break;
        const uint32_t unit = unit_at(map, node);
        if ((unit & ((1u << 31) | 0xFF)) != (unsigned char)text[i])
            break;
        node ^= offset_of(unit);
        if (!(unit >> 8 & 1))
            continue;
        const size_t place = node < map->unit_count ? unit_at(map, node) & 0x7FFFFFFF : SIZE_MAX;
        const char *end = place < map->texts_length ? memchr(map->texts + place, 0, map->texts_length - place) : NULL;
        if (!end)
            break;
        found = map->texts + place;
        *taken = i + 1;
        *mapped = (size_t)(end - found);
        if (!longest)
            break;
    }
    return found;
}

const char *lm_charsmap_find(const struct lm_charsmap *map, const char *text, size_t length, size_t *mapped)
{
    size_t taken;
    return search(map, text, length, false, &taken, mapped);
}

const char *lm_charsmap_longest(const struct lm_charsmap *map, const char *text, size_t length, size_t *taken,
                                size_t *mapped)
{
    return search(map, text, length, true, taken, mapped);
}
