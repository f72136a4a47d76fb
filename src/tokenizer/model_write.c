/* Models written into tokenizer.json. */
#include "internal.h"

#include <stdlib.h>

static int by_rank(const void *a, const void *b)
{
    const struct lm_pair *left = a, *right = b;
    if (left->value != right->value)
        return left->value < right->value ? -1 : 1;
    return left->key < right->key ? -1 : left->key > right->key;
}

/* As "a b" while no token holds a space, which every version of the other libraries reads; else as pairs. */
static int write_merge(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer, const struct lm_pair *pair,
                       bool spaces, struct lm_bytes *key, loam_error *error)
{
    key->length = 0;
    int code = lm_tokenizer_key(tokenizer, (int32_t)(pair->key >> 32), key, error);
    if (code == LOAM_OK && spaces) {
        lm_json_begin_array(writer);
        lm_json_string(writer, key->data, key->length);
        key->length = 0;
    } else if (code == LOAM_OK) {
        code = lm_bytes_append(key, " ", 1, error);
    }
    if (code == LOAM_OK)
        code = lm_tokenizer_key(tokenizer, (int32_t)(uint32_t)pair->key, key, error);
    if (code == LOAM_OK)
        lm_json_string(writer, key->data, key->length);
    if (spaces)
        lm_json_end_array(writer);
    return code;
}

static int write_merges(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer, struct lm_bytes *key,
                        loam_error *error)
{
    const struct lm_pairs *pairs = &tokenizer->model.pairs;
    struct lm_pair *sorted = lm_alloc(pairs->used + 1, sizeof *sorted, error);
    if (!sorted)
        return LOAM_ENOMEM;
    size_t count = 0;
    for (size_t i = 0; i < pairs->slot_count; i++)
        if (pairs->slots[i].key != UINT64_MAX)
            sorted[count++] = pairs->slots[i];
    qsort(sorted, count, sizeof *sorted, by_rank);
    bool spaces = false;
    for (size_t i = 0; !tokenizer->byte_level && !spaces && i < tokenizer->vocabulary.size; i++) {
        size_t length;
        const char *text = lm_vocabulary_text(&tokenizer->vocabulary, (int32_t)i, &length);
        spaces = tokenizer->vocabulary.flags[i] && memchr(text, ' ', length);
    }
    int code = LOAM_OK;
    lm_json_key(writer, "merges");
    lm_json_begin_array(writer);
    for (size_t i = 0; code == LOAM_OK && i < count; i++)
        code = write_merge(tokenizer, writer, &sorted[i], spaces, key, error);
    lm_json_end_array(writer);
    lm_free(sorted);
    return code;
}

static int write_vocabulary(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer, struct lm_bytes *key,
                            loam_error *error)
{
    const struct lm_vocabulary *vocabulary = &tokenizer->vocabulary;
    int code = LOAM_OK;
    lm_json_key(writer, "vocab");
    lm_json_begin_object(writer);
    for (size_t id = 0; code == LOAM_OK && id < vocabulary->size; id++) {
        if (!(vocabulary->flags[id] & LM_TOKEN_PRESENT) || vocabulary->flags[id] & LM_TOKEN_OUTSIDE)
            continue;
        key->length = 0;
        code = lm_tokenizer_key(tokenizer, (int32_t)id, key, error);
        if (code == LOAM_OK) {
            lm_json_key_text(writer, key->data ? key->data : "", key->length);
            lm_json_int(writer, (int64_t)id);
        }
    }
    lm_json_end_object(writer);
    return code;
}

static void write_affix(struct lm_json_writer *writer, const char *key, const char *affix)
{
    lm_json_key(writer, key);
    if (*affix)
        lm_json_text(writer, affix);
    else
        lm_json_null(writer);
}

static void write_switch(struct lm_json_writer *writer, const char *key, bool value)
{
    lm_json_key(writer, key);
    lm_json_bool(writer, value);
}

static int write_bpe(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer, struct lm_bytes *key,
                     loam_error *error)
{
    const struct lm_model_part *model = &tokenizer->model;
    int code = LOAM_OK;
    lm_json_key(writer, "type");
    lm_json_text(writer, "BPE");
    lm_json_key(writer, "dropout");
    lm_json_null(writer);
    lm_json_key(writer, "unk_token");
    if (model->unknown >= 0)
        code = lm_tokenizer_key(tokenizer, model->unknown, key, error);
    if (code != LOAM_OK)
        return code;
    if (model->unknown >= 0)
        lm_json_string(writer, key->data, key->length);
    else
        lm_json_null(writer);
    write_affix(writer, "continuing_subword_prefix", model->prefix);
    write_affix(writer, "end_of_word_suffix", model->suffix);
    write_switch(writer, "fuse_unk", model->fuse_unknown);
    write_switch(writer, "byte_fallback", model->byte_fallback);
    write_switch(writer, "ignore_merges", model->ignore_merges);
    code = write_vocabulary(tokenizer, writer, key, error);
    return code == LOAM_OK ? write_merges(tokenizer, writer, key, error) : code;
}

static int write_unknown(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer, struct lm_bytes *key,
                         loam_error *error)
{
    int code = LOAM_OK;
    key->length = 0;
    lm_json_key(writer, "unk_token");
    if (tokenizer->model.unknown < 0) {
        /* WordPiece and WordLevel always name one; what no vocabulary holds is none. */
        lm_json_text(writer, tokenizer->model.unknown_name ? tokenizer->model.unknown_name : "");
        return LOAM_OK;
    }
    code = lm_tokenizer_key(tokenizer, tokenizer->model.unknown, key, error);
    lm_json_string(writer, key->data, key->length);
    return code;
}

static int write_wordpiece(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer, struct lm_bytes *key,
                           loam_error *error)
{
    const struct lm_model_part *model = &tokenizer->model;
    lm_json_key(writer, "type");
    lm_json_text(writer, model->kind == LM_MODEL_WORDPIECE ? "WordPiece" : "WordLevel");
    int code = LOAM_OK;
    if (model->kind == LM_MODEL_WORDPIECE) {
        code = write_unknown(tokenizer, writer, key, error);
        lm_json_key(writer, "continuing_subword_prefix");
        lm_json_text(writer, model->prefix);
        lm_json_key(writer, "max_input_chars_per_word");
        lm_json_int(writer, (int64_t)model->longest_word);
    }
    if (code == LOAM_OK)
        code = write_vocabulary(tokenizer, writer, key, error);
    return code == LOAM_OK && model->kind == LM_MODEL_WORDLEVEL ? write_unknown(tokenizer, writer, key, error) : code;
}

static int write_unigram(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer, struct lm_bytes *key,
                         loam_error *error)
{
    const struct lm_model_part *model = &tokenizer->model;
    int code = LOAM_OK;
    lm_json_key(writer, "type");
    lm_json_text(writer, "Unigram");
    lm_json_key(writer, "unk_id");
    if (model->unknown >= 0)
        lm_json_int(writer, model->unknown);
    else
        lm_json_null(writer);
    lm_json_key(writer, "vocab");
    lm_json_begin_array(writer);
    for (size_t id = 0; code == LOAM_OK && id < model->score_count; id++) {
        key->length = 0;
        code = lm_tokenizer_key(tokenizer, (int32_t)id, key, error);
        lm_json_begin_array(writer);
        lm_json_string(writer, key->data ? key->data : "", key->length);
        lm_json_double(writer, model->scores[id]);
        lm_json_end_array(writer);
    }
    lm_json_end_array(writer);
    write_switch(writer, "byte_fallback", model->byte_fallback);
    return code;
}

int lm_model_write(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer, loam_error *error)
{
    struct lm_bytes key = {0};
    lm_json_begin_object(writer);
    int code = tokenizer->model.kind == LM_MODEL_BPE       ? write_bpe(tokenizer, writer, &key, error)
               : tokenizer->model.kind == LM_MODEL_UNIGRAM ? write_unigram(tokenizer, writer, &key, error)
                                                           : write_wordpiece(tokenizer, writer, &key, error);
    lm_json_end_object(writer);
    lm_bytes_free(&key);
    return code;
}
