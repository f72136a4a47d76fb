/* Models: which one a file holds, its vocabulary, and the way to its own encoder. */
#include "byte_alphabet.h"
#include "internal.h"

#include <stdlib.h>

enum { KEY_LIMIT = 1 << 16, AFFIX_LIMIT = 64 }; /* bytes */

int lm_model_encode(struct lm_encoding *encoding, const struct lm_span *piece)
{
    const struct lm_tokenizer *tokenizer = encoding->tokenizer;
    if (tokenizer->byte_level)
        return lm_bpe_encode_piece(encoding, piece, piece->length);
    switch (tokenizer->model.kind) {
    case LM_MODEL_UNIGRAM:
        return lm_unigram_encode(encoding, piece);
    case LM_MODEL_WORDPIECE:
        return lm_wordpiece_encode(encoding, piece);
    case LM_MODEL_WORDLEVEL:
        return lm_wordlevel_encode(encoding, piece);
    case LM_MODEL_BPE:
        break;
    }
    return tokenizer->model.cuts ? lm_bpe_encode_cut(encoding, piece) : lm_bpe_encode(encoding, piece);
}

void lm_model_free(struct lm_model_part *model)
{
    lm_pairs_free(&model->pairs);
    lm_free(model->prefix);
    lm_free(model->suffix);
    lm_free(model->unknown_name);
    lm_free(model->scores);
    lm_double_array_free(&model->pieces);
}

/* A key of the file as the token's text: plain bytes where the model is byte level. */
static int add_key(struct lm_tokenizer *tokenizer, const struct lm_document *document, const struct lm_value *key,
                   const struct lm_value *value, loam_error *error)
{
    int64_t id;
    int code = lm_value_int(document, value, 0, LM_TOKEN_LIMIT - 1, &id, error);
    if (code != LOAM_OK)
        return code;
    if (key->length > KEY_LIMIT)
        return lm_value_fail(document, key, error, "found a token of %zu bytes, wanted at most %d", key->length,
                             KEY_LIMIT);
    char bytes[KEY_LIMIT];
    size_t length;
    loam_error why = {0};
    if (tokenizer->byte_level && lm_alphabet_read(key->text, key->length, bytes, &length))
        code = lm_vocabulary_add(&tokenizer->vocabulary, id, bytes, length, 0, &why);
    else
        code = lm_vocabulary_add(&tokenizer->vocabulary, id, key->text, key->length,
                                 tokenizer->byte_level ? LM_TOKEN_RAW : 0, &why);
    if (code == LOAM_EFORMAT)
        return lm_value_fail(document, value, error, "%s", why.message);
    return code == LOAM_OK ? code : lm_fail(error, code, "%s", why.message);
}

static int read_vocabulary(struct lm_tokenizer *tokenizer, const struct lm_document *document,
                           const struct lm_value *model, loam_error *error)
{
    const struct lm_value *vocabulary = lm_value_find(model, "vocab");
    if (!vocabulary || vocabulary->kind != LM_OBJECT || !vocabulary->length)
        return lm_value_fail(document, vocabulary ? vocabulary : model, error,
                             "wanted an object 'vocab' of tokens and ids");
    int code = lm_vocabulary_reserve(&tokenizer->vocabulary, vocabulary->length, error);
    for (size_t i = 0; code == LOAM_OK && i < vocabulary->length; i++)
        code = add_key(tokenizer, document, &vocabulary->keys[i], &vocabulary->items[i], error);
    return code;
}

struct merge_text {
    const char *left, *right;
    size_t left_length, right_length;
};

/* "a b" or ["a", "b"]. */
static int merge_halves(const struct lm_document *document, const struct lm_value *merge, struct merge_text *halves,
                        loam_error *error)
{
    if (merge->kind == LM_ARRAY && merge->length == 2 && merge->items[0].kind == LM_STRING &&
        merge->items[1].kind == LM_STRING) {
        *halves = (struct merge_text){merge->items[0].text, merge->items[1].text, merge->items[0].length,
                                      merge->items[1].length};
        return LOAM_OK;
    }
    const char *space = merge->kind == LM_STRING ? memchr(merge->text, ' ', merge->length) : NULL;
    if (!space || memchr(space + 1, ' ', merge->length - (size_t)(space + 1 - merge->text)))
        return lm_value_fail(document, merge, error, "wanted two tokens: \"a b\" or [\"a\", \"b\"]");
    size_t left = (size_t)(space - merge->text);
    *halves = (struct merge_text){merge->text, space + 1, left, merge->length - left - 1};
    return LOAM_OK;
}

static int no_token(const struct lm_document *document, const struct lm_value *merge, const char *text, size_t length,
                    loam_error *error)
{
    return lm_value_fail(document, merge, error, "merge of an unknown token: '%.*s' is not in the vocabulary",
                         (int)(length < 80 ? length : 80), text);
}

/* The next merges to be entered. Their places in the table are asked for before they are needed: that is most of the
 * time that a large list takes. */
struct merge_queue {
    struct {
        int32_t left, right, merged;
    } items[16];
    size_t count;
    uint32_t rank;
};

static int enter_merges(struct lm_tokenizer *tokenizer, struct merge_queue *queue, loam_error *error)
{
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < queue->count; i++)
        code = lm_pairs_set(&tokenizer->model.pairs, queue->items[i].left, queue->items[i].right, queue->rank++,
                            queue->items[i].merged, error);
    queue->count = 0;
    return code;
}

static int read_merge(struct lm_tokenizer *tokenizer, const struct lm_document *document, const struct lm_value *merge,
                      struct merge_queue *queue, loam_error *error)
{
    struct merge_text halves = {0};
    int code = merge_halves(document, merge, &halves, error);
    if (code != LOAM_OK)
        return code;
    char bytes[KEY_LIMIT];
    if (halves.left_length + halves.right_length > KEY_LIMIT)
        return lm_value_fail(document, merge, error, "found a token of over %d bytes", KEY_LIMIT);
    size_t left_length = halves.left_length, right_length = halves.right_length;
    if (!tokenizer->byte_level) {
        memcpy(bytes, halves.left, left_length);
        memcpy(bytes + left_length, halves.right, right_length);
    } else if (!lm_alphabet_read(halves.left, halves.left_length, bytes, &left_length)) {
        return no_token(document, merge, halves.left, halves.left_length, error);
    } else if (!lm_alphabet_read(halves.right, halves.right_length, bytes + left_length, &right_length)) {
        return no_token(document, merge, halves.right, halves.right_length, error);
    }
    const struct lm_vocabulary *vocabulary = &tokenizer->vocabulary;
    int32_t left = lm_vocabulary_find(vocabulary, bytes, left_length, false);
    int32_t right = lm_vocabulary_find(vocabulary, bytes + left_length, right_length, false);
    if (left < 0 || right < 0)
        return no_token(document, merge, left < 0 ? halves.left : halves.right,
                        left < 0 ? halves.left_length : halves.right_length, error);
    size_t prefix = strlen(tokenizer->model.prefix);
    if (prefix && right_length >= prefix) {
        memmove(bytes + left_length, bytes + left_length + prefix, right_length - prefix);
        right_length -= prefix;
    }
    int32_t merged = lm_vocabulary_find(vocabulary, bytes, left_length + right_length, false);
    if (merged < 0)
        return no_token(document, merge, bytes, left_length + right_length, error);
    lm_pairs_expect(&tokenizer->model.pairs, left, right);
    queue->items[queue->count].left = left;
    queue->items[queue->count].right = right;
    queue->items[queue->count++].merged = merged;
    return queue->count < sizeof queue->items / sizeof *queue->items ? LOAM_OK : enter_merges(tokenizer, queue, error);
}

static int read_merges(struct lm_tokenizer *tokenizer, const struct lm_document *document, const struct lm_value *model,
                       loam_error *error)
{
    const struct lm_value *merges = lm_value_find(model, "merges");
    if (!merges || merges->kind != LM_ARRAY)
        return lm_value_fail(document, merges ? merges : model, error, "wanted a list 'merges'");
    struct merge_queue queue = {.count = 0};
    int code = lm_pairs_reserve(&tokenizer->model.pairs, merges->length, error);
    for (size_t i = 0; code == LOAM_OK && i < merges->length; i++)
        code = read_merge(tokenizer, document, &merges->items[i], &queue, error);
    return code == LOAM_OK ? enter_merges(tokenizer, &queue, error) : code;
}

static int read_flag(const struct lm_document *document, const struct lm_value *object, const char *key, bool *flag,
                     loam_error *error)
{
    const struct lm_value *value = lm_value_find(object, key);
    *flag = false;
    return value && value->kind != LM_NULL ? lm_value_bool(document, value, flag, error) : LOAM_OK;
}

static int read_affix(const struct lm_document *document, const struct lm_value *object, const char *key, char **affix,
                      loam_error *error)
{
    const struct lm_value *value = lm_value_find(object, key);
    const char *text = "";
    size_t length = 0;
    if (value && value->kind != LM_NULL) {
        int code = lm_value_string(document, value, &text, error);
        if (code != LOAM_OK)
            return code;
        length = value->length;
    }
    if (length > AFFIX_LIMIT || strlen(text) != length)
        return lm_value_fail(document, value, error, "wanted at most %d bytes", AFFIX_LIMIT);
    lm_free(*affix);
    *affix = lm_copy_string(text, length, error);
    return *affix ? LOAM_OK : LOAM_ENOMEM;
}

static int read_bpe(struct lm_tokenizer *tokenizer, const struct lm_document *document, const struct lm_value *value,
                    loam_error *error)
{
    struct lm_model_part *model = &tokenizer->model;
    const struct lm_value *dropout = lm_value_find(value, "dropout");
    double rate = 0;
    int code = dropout && dropout->kind != LM_NULL ? lm_value_double(document, dropout, &rate, error) : LOAM_OK;
    if (code == LOAM_OK && rate != 0)
        return lm_value_fail(document, dropout, error,
                             "found a dropout of %g, wanted null: loam gives a text the same ids every time; set it to "
                             "null for what the tokenizer does outside of training",
                             rate);
    if (code == LOAM_OK)
        code = read_flag(document, value, "fuse_unk", &model->fuse_unknown, error);
    if (code == LOAM_OK)
        code = read_flag(document, value, "byte_fallback", &model->byte_fallback, error);
    if (code == LOAM_OK)
        code = read_flag(document, value, "ignore_merges", &model->ignore_merges, error);
    if (code == LOAM_OK)
        code = read_affix(document, value, "continuing_subword_prefix", &model->prefix, error);
    if (code == LOAM_OK)
        code = read_affix(document, value, "end_of_word_suffix", &model->suffix, error);
    if (code == LOAM_OK)
        code = read_vocabulary(tokenizer, document, value, error);
    return code == LOAM_OK ? read_merges(tokenizer, document, value, error) : code;
}

static int read_unknown(struct lm_tokenizer *tokenizer, const struct lm_document *document,
                        const struct lm_value *value, loam_error *error)
{
    const struct lm_value *unknown = lm_value_find(value, "unk_token");
    const char *text;
    if (!unknown || unknown->kind == LM_NULL)
        return LOAM_OK;
    int code = lm_value_string(document, unknown, &text, error);
    if (code != LOAM_OK)
        return code;
    tokenizer->model.unknown = lm_tokenizer_find_key(tokenizer, text, unknown->length);
    if (tokenizer->model.unknown < 0 && tokenizer->model.kind == LM_MODEL_BPE)
        return lm_value_fail(document, unknown, error, "the unknown token '%s' is not in the vocabulary", text);
    /* Word-level vocabularies name one whether they hold it or not; it is missed when a text needs it. */
    tokenizer->model.unknown_name = lm_copy_string(text, unknown->length, error);
    return tokenizer->model.unknown_name ? LOAM_OK : LOAM_ENOMEM;
}

static int read_wordpiece(struct lm_tokenizer *tokenizer, const struct lm_document *document,
                          const struct lm_value *value, loam_error *error)
{
    struct lm_model_part *model = &tokenizer->model;
    const struct lm_value *longest = lm_value_find(value, "max_input_chars_per_word");
    int64_t most = 100;
    model->kind = LM_MODEL_WORDPIECE;
    int code = longest ? lm_value_int(document, longest, 0, INT64_MAX, &most, error) : LOAM_OK;
    model->longest_word = (size_t)most;
    if (code == LOAM_OK)
        code = read_affix(document, value, "continuing_subword_prefix", &model->prefix, error);
    if (code == LOAM_OK && !lm_value_find(value, "continuing_subword_prefix")) {
        lm_free(model->prefix);
        model->prefix = lm_copy_string("##", 2, error);
        code = model->prefix ? LOAM_OK : LOAM_ENOMEM;
    }
    return code == LOAM_OK ? read_vocabulary(tokenizer, document, value, error) : code;
}

/* ["piece", score] */
static int read_piece(struct lm_tokenizer *tokenizer, const struct lm_document *document, const struct lm_value *piece,
                      size_t id, loam_error *error)
{
    const char *text;
    if (piece->kind != LM_ARRAY || piece->length != 2)
        return lm_value_fail(document, piece, error, "wanted a pair of a token and its score");
    int code = lm_value_string(document, &piece->items[0], &text, error);
    if (code == LOAM_OK)
        code = lm_value_double(document, &piece->items[1], &tokenizer->model.scores[id], error);
    if (code != LOAM_OK)
        return code;
    loam_error why = {0};
    code = lm_vocabulary_add(&tokenizer->vocabulary, (int64_t)id, text, piece->items[0].length, 0, &why);
    if (code == LOAM_EFORMAT)
        return lm_value_fail(document, piece, error, "%s", why.message);
    return code == LOAM_OK ? code : lm_fail(error, code, "%s", why.message);
}

static int read_unigram(struct lm_tokenizer *tokenizer, const struct lm_document *document,
                        const struct lm_value *value, loam_error *error)
{
    struct lm_model_part *model = &tokenizer->model;
    const struct lm_value *pieces = lm_value_find(value, "vocab"), *unknown = lm_value_find(value, "unk_id");
    int64_t id = -1;
    model->kind = LM_MODEL_UNIGRAM;
    if (!pieces || pieces->kind != LM_ARRAY || !pieces->length)
        return lm_value_fail(document, pieces ? pieces : value, error, "wanted a list 'vocab' of tokens and scores");
    int code = read_flag(document, value, "byte_fallback", &model->byte_fallback, error);
    if (code == LOAM_OK)
        code = lm_vocabulary_reserve(&tokenizer->vocabulary, pieces->length, error);
    if (code == LOAM_OK && unknown && unknown->kind != LM_NULL)
        code = lm_value_int(document, unknown, 0, (int64_t)pieces->length - 1, &id, error);
    if (code != LOAM_OK)
        return code;
    model->unknown = (int32_t)id;
    model->fuse_unknown = true;
    model->scores = lm_alloc(pieces->length, sizeof *model->scores, error);
    model->score_count = pieces->length;
    code = model->scores ? LOAM_OK : LOAM_ENOMEM;
    for (size_t i = 0; code == LOAM_OK && i < pieces->length; i++)
        code = read_piece(tokenizer, document, &pieces->items[i], i, error);
    return code;
}

/* Files of old versions name no type: what they hold tells. */
static const char *type_of(const struct lm_value *model)
{
    const struct lm_value *type = lm_value_find(model, "type"), *vocabulary = lm_value_find(model, "vocab");
    if (type)
        return type->kind == LM_STRING ? type->text : "";
    if (lm_value_find(model, "merges"))
        return "BPE";
    if (vocabulary && vocabulary->kind == LM_ARRAY)
        return "Unigram";
    return lm_value_find(model, "continuing_subword_prefix") ? "WordPiece" : vocabulary ? "WordLevel" : "";
}

static bool is_empty(const struct lm_value *value)
{
    return !value || value->kind == LM_NULL || (value->kind == LM_STRING && !value->length);
}

bool lm_model_takes_bytes(const struct lm_value *model)
{
    const struct lm_value *fallback = lm_value_find(model, "byte_fallback");
    return !model || (!strcmp(type_of(model), "BPE") && is_empty(lm_value_find(model, "continuing_subword_prefix")) &&
                      is_empty(lm_value_find(model, "end_of_word_suffix")) &&
                      !(fallback && fallback->kind == LM_TRUTH && fallback->truth));
}

int lm_model_read(const struct lm_document *document, const struct lm_value *value, struct lm_tokenizer *tokenizer,
                  loam_error *error)
{
    const char *type = type_of(value);
    struct lm_model_part *model = &tokenizer->model;
    model->unknown = -1;
    int code = LOAM_OK;
    if (strcmp(type, "BPE") != 0) { /* it reads its own */
        model->prefix = lm_copy_string("", 0, error);
        model->suffix = lm_copy_string("", 0, error);
        code = model->prefix && model->suffix ? LOAM_OK : LOAM_ENOMEM;
    }
    if (code != LOAM_OK)
        return code;
    if (!strcmp(type, "Unigram"))
        return read_unigram(tokenizer, document, value, error);
    if (!strcmp(type, "BPE")) {
        code = read_bpe(tokenizer, document, value, error);
    } else if (!strcmp(type, "WordPiece")) {
        code = read_wordpiece(tokenizer, document, value, error);
    } else if (!strcmp(type, "WordLevel")) {
        model->kind = LM_MODEL_WORDLEVEL;
        code = read_vocabulary(tokenizer, document, value, error);
    } else {
        return lm_type_fail(document, value, "BPE, Unigram, WordPiece and WordLevel", error);
    }
    return code == LOAM_OK ? read_unknown(tokenizer, document, value, error) : code;
}

static void finish_bytes(struct lm_tokenizer *tokenizer)
{
    struct lm_model_part *model = &tokenizer->model;
    struct lm_vocabulary *vocabulary = &tokenizer->vocabulary;
    for (unsigned byte = 0; byte < 256; byte++) {
        char plain = (char)byte, key[8];
        snprintf(key, sizeof key, "<0x%02X>", byte);
        model->bytes[byte] = tokenizer->byte_level  ? lm_vocabulary_find(vocabulary, &plain, 1, false)
                             : model->byte_fallback ? lm_vocabulary_find(vocabulary, key, 6, false)
                                                    : -1;
        if (model->byte_fallback && !tokenizer->byte_level && model->bytes[byte] >= 0)
            vocabulary->flags[model->bytes[byte]] |= LM_TOKEN_BYTE;
    }
}

int lm_model_finish(struct lm_tokenizer *tokenizer, loam_error *error)
{
    finish_bytes(tokenizer);
    switch (tokenizer->model.kind) {
    case LM_MODEL_UNIGRAM:
        return lm_unigram_finish(tokenizer, error);
    case LM_MODEL_WORDPIECE:
        return lm_wordpiece_finish(tokenizer, error);
    case LM_MODEL_BPE:
    case LM_MODEL_WORDLEVEL:
        break;
    }
    return LOAM_OK;
}
