/* Tokenizers in GGUF metadata, out of them (byte-level BPE, SentencePiece's BPE) and into them (byte-level): the same
 * as tokenizer.json says, with the pattern that cuts texts given by a name (tokenizer.ggml.pre). Keys: ggml's
 * docs/gguf.md; names of patterns: llama.cpp's. */
#include "internal.h"
#include "describe.h"
#include "pieces.h"
#include "readers.h"
#include "tensor/tensor.h"

#include <stdio.h>

enum { TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_DEFINED = 4, TOKEN_UNUSED = 5 };

/* --- Reading --- */

struct source {
    const struct lm_gguf *file;
    const struct lm_gguf_value *tokens, *types, *merges;
    const struct lm_gguf_value *scores; /* of SentencePiece's pieces; NULL: byte-level BPE */
    const struct lm_named_pattern *pattern;
};

static int find_pattern(const struct lm_gguf *file, const char *name, struct source *source, loam_error *error)
{
    const char *pre = "default";
    int code =
        lm_gguf_find(file, "tokenizer.ggml.pre") ? lm_gguf_text(file, "tokenizer.ggml.pre", &pre, error) : LOAM_OK;
    if (code)
        return code;
    source->pattern = lm_pattern_of_gguf(pre);
    if (!source->pattern)
        return lm_fail(error, LOAM_EUNSUPPORTED,
                       "%s: tokenizer.ggml.pre: found \"%s\", wanted the name of a pattern that loam knows (gpt-2, "
                       "llama-bpe, qwen2, starcoder, gpt-4o, tekken, deepseek-v3, …); use the model's directory with "
                       "tokenizer.json instead",
                       name, pre);
    return lm_gguf_array(file, "tokenizer.ggml.merges", LM_GGUF_TEXT, &source->merges, error);
}

static int check_count(const struct source *source, const char *name, const char *key, const struct lm_gguf_value *list,
                       loam_error *error)
{
    if (!list || list->count == source->tokens->count)
        return LOAM_OK;
    return lm_fail(error, LOAM_EFORMAT,
                   "%s: %s: found %llu, wanted one for each of the %llu tokens; the file is damaged", name, key,
                   (unsigned long long)list->count, (unsigned long long)source->tokens->count);
}

static int find_source(const struct lm_gguf *file, const char *name, struct source *source, loam_error *error)
{
    const char *model;
    *source = (struct source){.file = file};
    int code = lm_gguf_text(file, "tokenizer.ggml.model", &model, error);
    if (code)
        return code;
    if (!strcmp(model, "none") || !strcmp(model, "no_vocab"))    /* llama.cpp's names for it */
        return lm_fail(error, LOAM_ENOTFOUND, "%s: has no tokenizer", name);
    const bool pieces = !strcmp(model, "llama");
    if (!pieces && strcmp(model, "gpt2") != 0)
        return lm_fail(error, LOAM_EUNSUPPORTED,
                       "%s: tokenizer.ggml.model: found \"%s\", wanted gpt2 (byte-level BPE) or llama "
                       "(SentencePiece's BPE); use the model's directory with tokenizer.json instead",
                       name, model);
    code = pieces ? lm_gguf_array(file, "tokenizer.ggml.scores", LM_GGUF_F32, &source->scores, error)
                  : find_pattern(file, name, source, error);
    if (!code)
        code = lm_gguf_array(file, "tokenizer.ggml.tokens", LM_GGUF_TEXT, &source->tokens, error);
    if (!code && (pieces || lm_gguf_find(file, "tokenizer.ggml.token_type")))
        code = lm_gguf_array(file, "tokenizer.ggml.token_type", LM_GGUF_I32, &source->types, error);
    if (!code && source->tokens->count > INT32_MAX)
        code = lm_fail(error, LOAM_EFORMAT,
                       "%s: tokenizer.ggml.tokens: found more than 2^31 tokens; the file is damaged", name);
    if (!code)
        code = check_count(source, name, "tokenizer.ggml.token_type", source->types, error);
    return code ? code : check_count(source, name, "tokenizer.ggml.scores", source->scores, error);
}

static int type_of(struct lm_gguf_items *types)
{
    struct lm_gguf_value type;
    return lm_gguf_next(types, &type) ? (int)type.integer : TOKEN_NORMAL;
}

static void put_added(struct lm_json_writer *json, const struct source *source)
{
    struct lm_gguf_items tokens = lm_gguf_items(source->tokens), types = {0};
    struct lm_gguf_value token;
    if (source->types)
        types = lm_gguf_items(source->types);
    lm_json_key(json, "added_tokens");
    lm_json_begin_array(json);
    for (int64_t id = 0; lm_gguf_next(&tokens, &token); id++) {
        const int type = type_of(&types);
        if (type == TOKEN_CONTROL || type == TOKEN_DEFINED || type == TOKEN_UNKNOWN)
            lm_put_added(json, id, token.text, token.length, type != TOKEN_DEFINED);
    }
    lm_json_end_array(json);
}

static int put_model(struct lm_json_writer *json, const struct source *source, loam_error *error)
{
    struct lm_gguf_items tokens = lm_gguf_items(source->tokens), types = {0}, merges;
    struct lm_gguf_value token;
    if (source->types)
        types = lm_gguf_items(source->types);
    lm_json_key(json, "vocab");
    lm_json_begin_object(json);
    for (int64_t id = 0; lm_gguf_next(&tokens, &token); id++) {
        const int type = type_of(&types);
        if (type == TOKEN_CONTROL || type == TOKEN_DEFINED || type == TOKEN_UNUSED)
            continue;
        if (lm_utf8_check(token.text, token.length) != token.length)
            return lm_fail(error, LOAM_EFORMAT,
                           "%s: tokenizer.ggml.tokens: token %lld: found bytes that are not UTF-8; the file is damaged",
                           lm_gguf_path(source->file), (long long)id);
        lm_json_key_text(json, token.text, token.length);
        lm_json_int(json, id);
    }
    lm_json_end_object(json);
    merges = lm_gguf_items(source->merges);
    lm_json_key(json, "merges");
    lm_json_begin_array(json);
    while (lm_gguf_next(&merges, &token))
        lm_json_string(json, token.text, token.length);
    lm_json_end_array(json);
    return LOAM_OK;
}

static int bytes_to_json(const struct source *source, struct lm_bytes *out, loam_error *error)
{
    struct lm_json_writer json = lm_json_writer(out, -1);
    lm_json_begin_object(&json);
    lm_put_text(&json, "version", "1.0");
    put_added(&json, source);
    lm_put_byte_level_parts(&json, source->pattern->patterns, source->pattern->count);
    lm_json_key(&json, "model");
    lm_json_begin_object(&json);
    lm_put_text(&json, "type", "BPE");
    lm_put_flag(&json, "ignore_merges", source->pattern->ignores_merges);
    const int code = put_model(&json, source, error);
    lm_json_end_object(&json);
    lm_json_end_object(&json);
    return code ? code : lm_json_writer_finish(&json, error);
}

static int read_flag(const struct lm_gguf *file, const char *key, bool *flag, loam_error *error)
{
    return lm_gguf_find(file, key) ? lm_gguf_bool(file, key, flag, error) : LOAM_OK;
}

static int pieces_to_json(const struct source *source, const char *name, struct lm_bytes *out, loam_error *error)
{
    struct lm_gguf_items tokens = lm_gguf_items(source->tokens), types = lm_gguf_items(source->types),
                         scores = lm_gguf_items(source->scores);
    struct lm_gguf_value token, score;
    struct lm_pieces pieces = {.data = lm_alloc((size_t)source->tokens->count + 1, sizeof *pieces.data, error),
                               .byte_fallback = true,
                               .dummy_prefix = true,
                               .escapes = true};
    if (!pieces.data)
        return LOAM_ENOMEM;
    while (lm_gguf_next(&tokens, &token) && lm_gguf_next(&scores, &score)) {
        const float value = (float)score.number;
        const int type = type_of(&types);
        pieces.data[pieces.count++] =
            (struct lm_piece){token.text, token.length, value == value ? value : 0,
                              type >= TOKEN_NORMAL && type <= LM_PIECE_BYTE ? (enum lm_piece_type)type : LM_PIECE_UNUSED};
    }
    int code = read_flag(source->file, "tokenizer.ggml.add_space_prefix", &pieces.dummy_prefix, error);
    if (!code)
        code = read_flag(source->file, "tokenizer.ggml.remove_extra_whitespaces", &pieces.removes_blanks, error);
    if (!code)
        code = lm_pieces_to_json(&pieces, name, out, error);
    lm_free(pieces.data);
    return code;
}

/* An id of the metadata that names an added token, or -1. */
static int32_t named_token(const struct lm_gguf *file, const struct lm_tokenizer *tokenizer, const char *key)
{
    const struct lm_gguf_value *value = lm_gguf_find(file, key);
    if (!value || value->integer < 0 || value->integer >= lm_tokenizer_size(tokenizer))
        return -1;
    return lm_tokenizer_is_special(tokenizer, (int32_t)value->integer) ? (int32_t)value->integer : -1;
}

/* add_bos_token and add_eos_token, where the file has them. */
static int read_adds(const struct lm_gguf *file, struct lm_tokenizer *tokenizer, loam_error *error)
{
    bool front = lm_tokenizer_adds_bos(tokenizer), back = false;
    int code = read_flag(file, "tokenizer.ggml.add_bos_token", &front, error);
    if (!code)
        code = read_flag(file, "tokenizer.ggml.add_eos_token", &back, error);
    tokenizer->front.length = tokenizer->back.length = 0;
    if (!code && front && tokenizer->bos >= 0)
        code = lm_ids_push(&tokenizer->front, tokenizer->bos, error);
    if (!code && back && tokenizer->eos >= 0)
        code = lm_ids_push(&tokenizer->back, tokenizer->eos, error);
    return code ? code : lm_postprocessor_describe(tokenizer, error);
}

static int read_open(const struct lm_gguf *file, const char *name, struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct source source;
    struct lm_bytes json = {0};
    struct lm_tokenizer *made = NULL;
    int code = find_source(file, name, &source, error);
    if (!code)
        code = source.scores ? pieces_to_json(&source, name, &json, error) : bytes_to_json(&source, &json, error);
    if (!code)
        code = lm_tokenizer_from_json(json.data, json.length, name, &made, error);
    lm_bytes_free(&json);
    if (code)
        return code;
    const int32_t bos = named_token(file, made, "tokenizer.ggml.bos_token_id"),
                  eos = named_token(file, made, "tokenizer.ggml.eos_token_id");
    code =
        lm_tokenizer_set_bos_eos_pad(made, bos, eos, named_token(file, made, "tokenizer.ggml.padding_token_id"), error);
    if (!code)
        code = read_adds(file, made, error);
    if (code)
        lm_tokenizer_free(made);
    else
        *tokenizer = made;
    return code;
}

int lm_tokenizer_from_gguf(const char *data, size_t size, const char *name, struct lm_tokenizer **tokenizer,
                           loam_error *error)
{
    struct lm_gguf *file;
    int code = lm_gguf_read(data, size, name, &file, error);
    if (code)
        return code;
    code = read_open(file, name, tokenizer, error);
    lm_gguf_close(file);
    return code;
}

/* --- Writing --- */

static const char *text_at(const struct lm_value *object, const char *key)
{
    const struct lm_value *value = lm_value_find(object, key);
    return value && value->kind == LM_STRING ? value->text : "";
}

/* The name of the pattern that tokenizer.json's pre_tokenizer cuts by; NULL: none that GGUF has a name for. */
static const char *pattern_name(const struct lm_value *root)
{
    const struct lm_value *cutting = lm_value_find(root, "pre_tokenizer"),
                          *list = lm_value_find(cutting, "pretokenizers");
    const struct lm_value *regex = lm_value_find(cutting, "use_regex");
    if (!strcmp(text_at(cutting, "type"), "ByteLevel") && (!regex || regex->truth))
        return "gpt-2";
    if (!list || list->kind != LM_ARRAY)
        return NULL;
    const struct lm_named_pattern *named;
    for (size_t i = 0; (named = lm_pattern_of_gguf_at(i)) != NULL; i++) {
        bool same = named->count && list->length == named->count + 1;
        for (size_t k = 0; same && k < named->count; k++)
            same = !strcmp(text_at(lm_value_find(&list->items[k], "pattern"), "Regex"), named->patterns[k]);
        if (same)
            return named->name;
    }
    return NULL;
}

static const struct lm_value *merges_of(const struct lm_value *root)
{
    return lm_value_find(lm_value_find(root, "model"), "merges");
}

static void put_merges(struct lm_gguf_writer *writer, const struct lm_value *merges, struct lm_bytes *text,
                       loam_error *error)
{
    lm_gguf_put_array(writer, "tokenizer.ggml.merges", LM_GGUF_TEXT, merges->length);
    for (size_t i = 0; i < merges->length; i++) {
        const struct lm_value *merge = &merges->items[i];
        text->length = 0;
        if (merge->kind == LM_STRING)
            lm_gguf_item_text(writer, merge->text, merge->length);
        else if (merge->kind == LM_ARRAY && merge->length == 2 &&
                 !lm_bytes_format(text, error, "%s %s", merge->items[0].text, merge->items[1].text))
            lm_gguf_item_text(writer, text->data, text->length);
    }
}

struct entry {
    const char *text;
    size_t length;
    int32_t type;
};

static int gather(const struct lm_document *document, struct entry *entries, int64_t count, loam_error *error)
{
    const struct lm_value *root = lm_document_root(document);
    const struct lm_value *vocabulary = lm_value_find(lm_value_find(root, "model"), "vocab"),
                          *added = lm_value_find(root, "added_tokens");
    for (size_t i = 0; vocabulary && vocabulary->kind == LM_OBJECT && i < vocabulary->length; i++) {
        int64_t id;
        if (lm_value_int(document, &vocabulary->items[i], 0, count - 1, &id, error) == LOAM_OK)
            entries[id] = (struct entry){vocabulary->keys[i].text, vocabulary->keys[i].length, TOKEN_NORMAL};
    }
    for (size_t i = 0; added && added->kind == LM_ARRAY && i < added->length; i++) {
        int64_t id;
        const struct lm_value *content = lm_value_find(&added->items[i], "content"),
                              *special = lm_value_find(&added->items[i], "special");
        const struct lm_value *number = lm_value_find(&added->items[i], "id");
        if (number && content && lm_value_int(document, number, 0, count - 1, &id, error) == LOAM_OK)
            entries[id] = (struct entry){content->text, content->length,
                                         special && special->truth ? TOKEN_CONTROL : TOKEN_DEFINED};
    }
    return LOAM_OK;
}

/* `rows`: of the model's table, which may have more than the tokenizer has tokens; those get names of their own,
 * unused. */
static int put_tokens(struct lm_gguf_writer *writer, const struct lm_document *document, int64_t rows,
                      loam_error *error)
{
    struct entry *entries = lm_alloc((size_t)rows, sizeof *entries, error);
    int32_t *types = lm_alloc((size_t)rows, sizeof *types, error);
    int code = entries && types ? gather(document, entries, rows, error) : LOAM_ENOMEM;
    if (!code)
        lm_gguf_put_array(writer, "tokenizer.ggml.tokens", LM_GGUF_TEXT, (uint64_t)rows);
    for (int64_t i = 0; i < rows && !code; i++) {
        char name[32];
        types[i] = entries[i].text ? entries[i].type : TOKEN_UNUSED;
        if (!entries[i].text) {
            snprintf(name, sizeof name, "[PAD%lld]", (long long)i);
            entries[i] = (struct entry){name, strlen(name), TOKEN_UNUSED};
        }
        lm_gguf_item_text(writer, entries[i].text, entries[i].length);
    }
    if (!code) {
        lm_gguf_put_array(writer, "tokenizer.ggml.token_type", LM_GGUF_I32, (uint64_t)rows);
        lm_gguf_item_data(writer, types, (size_t)rows * sizeof *types);
    }
    lm_free(entries);
    lm_free(types);
    return code;
}

static void put_ids(struct lm_gguf_writer *writer, const struct lm_tokenizer *tokenizer)
{
    const struct {
        const char *key;
        int32_t id;
    } ids[] = {{"tokenizer.ggml.bos_token_id", lm_tokenizer_bos(tokenizer)},
               {"tokenizer.ggml.eos_token_id", lm_tokenizer_eos(tokenizer)},
               {"tokenizer.ggml.padding_token_id", lm_tokenizer_pad(tokenizer)}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (ids[i].id >= 0)
            lm_gguf_put_u32(writer, ids[i].key, (uint32_t)ids[i].id);
    lm_gguf_put_bool(writer, "tokenizer.ggml.add_bos_token", lm_tokenizer_adds_bos(tokenizer));
}

int lm_tokenizer_put_gguf(const struct lm_tokenizer *tokenizer, int64_t rows, struct lm_gguf_writer *writer,
                          loam_error *error)
{
    struct lm_bytes json = {0}, text = {0};
    struct lm_document *document = NULL;
    int code = lm_tokenizer_to_json(tokenizer, &json, error);
    if (!code)
        code = lm_json_parse(json.data, json.length, "tokenizer.json", &document, error);
    const struct lm_value *root = code ? NULL : lm_document_root(document), *merges = code ? NULL : merges_of(root);
    const char *pre = code ? NULL : pattern_name(root);
    if (!code && (!merges || merges->kind != LM_ARRAY || !pre))
        code = lm_fail(error, LOAM_EUNSUPPORTED,
                       "tokenizer.json: found a tokenizer that is no byte-level BPE with the pattern of GPT-2, "
                       "Llama 3 or Qwen2; loam writes only these into GGUF");
    if (!code && rows < lm_tokenizer_size(tokenizer))
        code = lm_fail(error, LOAM_EMISMATCH,
                       "tokenizer.json: found %d tokens, wanted at most the %lld of the model's table",
                       lm_tokenizer_size(tokenizer), (long long)rows);
    if (!code) {
        lm_gguf_put_text(writer, "tokenizer.ggml.model", "gpt2", 4);
        lm_gguf_put_text(writer, "tokenizer.ggml.pre", pre, strlen(pre));
        code = put_tokens(writer, document, rows, error);
    }
    if (!code) {
        put_merges(writer, merges, &text, error);
        put_ids(writer, tokenizer);
    }
    lm_document_free(document);
    lm_bytes_free(&json);
    lm_bytes_free(&text);
    return code;
}
