/* SentencePiece's vocabularies as tokenizer.json: the steps of its normalizer one by one, user-defined pieces split off
 * whole before the model sees the text. */
#include "pieces.h"
#include "describe.h"
#include "vocabulary.h"

#include <stdlib.h>
#include <string.h>

/* Blanks are taken away before U+2581 stands for them, and at the end of a text that as well (SentencePiece's
 * Normalizer). */
static void put_normalizer(struct lm_json_writer *json, const struct lm_pieces *pieces)
{
    lm_json_key(json, "normalizer");
    lm_begin_sequence(json, "normalizers");
    if (pieces->charsmap) {
        lm_json_begin_object(json);
        lm_put_text(json, "type", "Precompiled");
        lm_put_text(json, "precompiled_charsmap", pieces->charsmap);
        lm_put_flag(json, "longest", true);
        lm_json_end_object(json);
    }
    if (pieces->removes_blanks) {
        lm_put_replace(json, "Regex", "\\A +", "");
        lm_put_replace(json, "Regex", " {2,}", " ");
        lm_put_replace(json, "Regex", pieces->escapes ? "( |\xE2\x96\x81)+\\z" : " +\\z", "");
    }
    if (pieces->dummy_prefix)
        lm_put_simple(json, "Prepend", "prepend", pieces->escapes ? lm_blank : " ");
    if (pieces->escapes)
        lm_put_replace(json, "String", " ", lm_blank);
    lm_end_sequence(json);
}

static int by_length(const void *left, const void *right)
{
    const struct lm_piece *a = *(const struct lm_piece *const *)left, *b = *(const struct lm_piece *const *)right;
    return a->length != b->length ? (a->length > b->length ? -1 : 1) : memcmp(a->text, b->text, a->length);
}

/* The user-defined pieces as a regular expression, longest first. */
static int defined_regex(const struct lm_piece **list, size_t count, struct lm_bytes *regex, loam_error *error)
{
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < count; i++) {
        if (i)
            code = lm_bytes_append(regex, "|", 1, error);
        for (size_t k = 0; code == LOAM_OK && k < list[i]->length; k++) {
            const char c = list[i]->text[k];
            if (c && strchr("\\.^$|()[]{}*+?", c))
                code = lm_bytes_append(regex, "\\", 1, error);
            if (code == LOAM_OK)
                code = lm_bytes_append(regex, &c, 1, error);
        }
    }
    return code;
}

static int put_splits(struct lm_json_writer *json, const struct lm_pieces *pieces, bool *defined, loam_error *error)
{
    const struct lm_piece **list = lm_alloc(pieces->count + 1, sizeof *list, error);
    struct lm_bytes regex = {0};
    size_t count = 0;
    if (!list)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < pieces->count; i++)
        if (pieces->data[i].type == LM_PIECE_DEFINED)
            list[count++] = &pieces->data[i];
    *defined = count;
    if (count > 1)
        qsort(list, count, sizeof *list, by_length);
    int code = defined_regex(list, count, &regex, error);
    if (count && code == LOAM_OK) {
        lm_json_key(json, "pre_tokenizer");
        lm_put_split(json, regex.data);
    }
    lm_bytes_free(&regex);
    lm_free(list);
    return code;
}

static void put_decoder(struct lm_json_writer *json, const struct lm_pieces *pieces)
{
    lm_json_key(json, "decoder");
    lm_begin_sequence(json, "decoders");
    if (pieces->escapes)
        lm_put_replace(json, "String", lm_blank, " ");
    if (pieces->byte_fallback)
        lm_put_simple(json, "ByteFallback", NULL, NULL);
    lm_put_simple(json, "Fuse", NULL, NULL);
    if (pieces->dummy_prefix) {
        lm_json_begin_object(json);
        lm_put_text(json, "type", "Strip");
        lm_put_text(json, "content", " ");
        lm_json_key(json, "start");
        lm_json_int(json, 1);
        lm_json_key(json, "stop");
        lm_json_int(json, 0);
        lm_json_end_object(json);
    }
    lm_end_sequence(json);
}

static void put_added(struct lm_json_writer *json, const struct lm_pieces *pieces)
{
    lm_json_key(json, "added_tokens");
    lm_json_begin_array(json);
    for (size_t i = 0; i < pieces->count; i++) {
        const struct lm_piece *piece = &pieces->data[i];
        if (piece->type == LM_PIECE_CONTROL || piece->type == LM_PIECE_UNKNOWN)
            lm_put_added(json, (int64_t)i, piece->text, piece->length, true);
    }
    lm_json_end_array(json);
}

static int put_bpe(struct lm_json_writer *json, const struct lm_pieces *pieces, bool whole, const struct lm_piece *unknown,
                   loam_error *error)
{
    lm_put_text(json, "type", "BPE");
    if (unknown) {
        lm_json_key(json, "unk_token");
        lm_json_string(json, unknown->text, unknown->length);
    }
    lm_put_flag(json, "fuse_unk", true);
    lm_put_flag(json, "byte_fallback", pieces->byte_fallback);
    lm_put_flag(json, "ignore_merges", whole);
    lm_json_key(json, "vocab");
    lm_json_begin_object(json);
    for (size_t i = 0; i < pieces->count; i++) {
        lm_json_key_text(json, pieces->data[i].text, pieces->data[i].length);
        lm_json_int(json, (int64_t)i);
    }
    lm_json_end_object(json);
    return lm_pieces_put_merges(json, pieces, error);
}

/* User-defined pieces win over all that is normal; what is never used loses. */
static void put_unigram(struct lm_json_writer *json, const struct lm_pieces *pieces, int64_t unknown)
{
    lm_put_text(json, "type", "Unigram");
    if (unknown >= 0) {
        lm_json_key(json, "unk_id");
        lm_json_int(json, unknown);
    }
    lm_put_flag(json, "byte_fallback", pieces->byte_fallback);
    lm_json_key(json, "vocab");
    lm_json_begin_array(json);
    for (size_t i = 0; i < pieces->count; i++) {
        const struct lm_piece *piece = &pieces->data[i];
        lm_json_begin_array(json);
        lm_json_string(json, piece->text, piece->length);
        lm_json_double(json, piece->type == LM_PIECE_DEFINED ? 0 : (double)piece->score);
        lm_json_end_array(json);
    }
    lm_json_end_array(json);
}

static int check(const struct lm_pieces *pieces, const char *name, int64_t *unknown, loam_error *error)
{
    struct lm_vocabulary vocabulary = {0};
    loam_error why = {0};
    int code = LOAM_OK;
    *unknown = -1;
    for (size_t i = 0; code == LOAM_OK && i < pieces->count; i++)
        code = lm_vocabulary_add(&vocabulary, (int64_t)i, pieces->data[i].text, pieces->data[i].length, 0, &why);
    lm_vocabulary_free(&vocabulary);
    if (code != LOAM_OK)
        return lm_fail(error, code, "%s: %s", name, why.message);
    for (size_t i = 0; i < pieces->count; i++) {
        const struct lm_piece *piece = &pieces->data[i];
        if (!piece->length || lm_utf8_check(piece->text, piece->length) != piece->length)
            return lm_fail(error, LOAM_EFORMAT,
                           "%s: piece %zu: found %s, wanted text in UTF-8; the file is damaged, fetch it again", name, i,
                           piece->length ? "bytes that are not UTF-8" : "an empty text");
        if (piece->type == LM_PIECE_UNKNOWN && *unknown >= 0)
            return lm_fail(error, LOAM_EFORMAT, "%s: piece %zu: found a second unknown piece, the first is %lld", name, i,
                           (long long)*unknown);
        if (piece->type == LM_PIECE_UNKNOWN)
            *unknown = (int64_t)i;
    }
    if (!pieces->count)
        return lm_fail(error, LOAM_EFORMAT, "%s: found no pieces, wanted a vocabulary", name);
    return LOAM_OK;
}

int lm_pieces_to_json(const struct lm_pieces *pieces, const char *name, struct lm_bytes *out, loam_error *error)
{
    struct lm_json_writer json = lm_json_writer(out, -1);
    int64_t unknown;
    bool defined = false;
    int code = check(pieces, name, &unknown, error);
    if (code != LOAM_OK)
        return code;
    lm_json_begin_object(&json);
    lm_put_text(&json, "version", "1.0");
    put_added(&json, pieces);
    put_normalizer(&json, pieces);
    code = put_splits(&json, pieces, &defined, error);
    put_decoder(&json, pieces);
    lm_json_key(&json, "model");
    lm_json_begin_object(&json);
    if (pieces->unigram)
        put_unigram(&json, pieces, unknown);
    else if (code == LOAM_OK)
        code = put_bpe(&json, pieces, defined, unknown >= 0 ? &pieces->data[unknown] : NULL, error);
    lm_json_end_object(&json);
    lm_json_end_object(&json);
    return code == LOAM_OK ? lm_json_writer_finish(&json, error) : code;
}
