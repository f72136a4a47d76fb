/* SentencePiece's BPE has scores, tokenizer.json has merges: every way to put a normal piece together of two others is
 * one, and the piece with the higher score is merged first, as transformers converts such vocabularies. */
#include "pieces.h"

#include <stdlib.h>
#include <string.h>

struct merge {
    int32_t left, right;
    float score;
    uint32_t left_count, right_count; /* characters */
    size_t place;
};
struct merges {
    struct merge *data;
    size_t count, capacity;
};

struct order { /* normal pieces by their text */
    const int32_t *ids;
    size_t count;
};

static int by_text(const void *left, const void *right, void *user)
{
    const struct lm_piece *pieces = user, *a = &pieces[*(const int32_t *)left], *b = &pieces[*(const int32_t *)right];
    const int sign = memcmp(a->text, b->text, a->length < b->length ? a->length : b->length);
    return sign ? sign : (a->length > b->length) - (a->length < b->length);
}

/* The normal piece with this text, or -1. */
static int32_t find(const struct lm_pieces *pieces, const struct order *order, const char *text, size_t length)
{
    size_t low = 0, high = order->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct lm_piece *piece = &pieces->data[order->ids[middle]];
        int sign = memcmp(text, piece->text, length < piece->length ? length : piece->length);
        if (!sign)
            sign = (length > piece->length) - (length < piece->length);
        if (!sign)
            return order->ids[middle];
        if (sign < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

static int by_ids(const void *left, const void *right)
{
    const struct merge *a = left, *b = right;
    return a->left != b->left ? (a->left < b->left ? -1 : 1) : (a->right > b->right) - (a->right < b->right);
}

static int by_score(const void *left, const void *right)
{
    const struct merge *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    if (a->left_count != b->left_count)
        return a->left_count > b->left_count ? -1 : 1;
    if (a->right_count != b->right_count)
        return a->right_count > b->right_count ? -1 : 1;
    return a->place < b->place ? -1 : 1;
}

static uint32_t characters(const struct lm_piece *piece)
{
    uint32_t count = 0;
    for (size_t i = 0; i < piece->length; i++)
        count += ((unsigned char)piece->text[i] & 0xC0) != 0x80;
    return count;
}

static int push(struct merges *merges, struct merge merge, loam_error *error)
{
    if (merges->count == merges->capacity) {
        const size_t capacity = merges->capacity ? 2 * merges->capacity : 1024;
        struct merge *grown = lm_resize(merges->data, capacity, sizeof *grown, error);
        if (!grown)
            return LOAM_ENOMEM;
        merges->data = grown;
        merges->capacity = capacity;
    }
    merges->data[merges->count++] = merge;
    return LOAM_OK;
}

/* Every pair that makes up the piece, lower ids first. */
static int split(const struct lm_pieces *pieces, const struct order *order, const struct lm_piece *piece,
                 struct merges *merges, loam_error *error)
{
    const size_t first = merges->count;
    for (size_t cut = 1; cut < piece->length; cut++) {
        if (((unsigned char)piece->text[cut] & 0xC0) == 0x80)
            continue;
        const int32_t left = find(pieces, order, piece->text, cut);
        const int32_t right = left < 0 ? -1 : find(pieces, order, piece->text + cut, piece->length - cut);
        if (right < 0)
            continue;
        const int code = push(merges,
                              (struct merge){left, right, piece->score, characters(&pieces->data[left]),
                                             characters(&pieces->data[right]), 0},
                              error);
        if (code)
            return code;
    }
    if (merges->count - first > 1)
        qsort(merges->data + first, merges->count - first, sizeof *merges->data, by_ids);
    return LOAM_OK;
}

static void write_merges(struct lm_json_writer *json, const struct lm_pieces *pieces, const struct merges *merges)
{
    lm_json_key(json, "merges");
    lm_json_begin_array(json);
    for (size_t i = 0; i < merges->count; i++) {
        const struct lm_piece *left = &pieces->data[merges->data[i].left],
                              *right = &pieces->data[merges->data[i].right];
        lm_json_begin_array(json);
        lm_json_string(json, left->text, left->length);
        lm_json_string(json, right->text, right->length);
        lm_json_end_array(json);
    }
    lm_json_end_array(json);
}

int lm_pieces_put_merges(struct lm_json_writer *json, const struct lm_pieces *pieces, loam_error *error)
{
    struct merges merges = {0};
    int32_t *order = lm_alloc(pieces->count, sizeof *order, error);
    int code = order ? LOAM_OK : LOAM_ENOMEM;
    size_t normal = 0;
    for (size_t i = 0; i < pieces->count && order; i++)
        if (pieces->data[i].type == LM_PIECE_NORMAL)
            order[normal++] = (int32_t)i;
    if (normal > 1)
        qsort_r(order, normal, sizeof *order, by_text, pieces->data);
    for (size_t i = 0; i < pieces->count && !code; i++)
        if (pieces->data[i].type == LM_PIECE_NORMAL)
            code = split(pieces, &(struct order){order, normal}, &pieces->data[i], &merges, error);
    for (size_t i = 0; i < merges.count; i++)
        merges.data[i].place = i;
    if (!code && merges.count > 1)
        qsort(merges.data, merges.count, sizeof *merges.data, by_score);
    if (!code)
        write_merges(json, pieces, &merges);
    lm_free(merges.data);
    lm_free(order);
    return code;
}
