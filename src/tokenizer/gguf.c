/* Tokenizers in GGUF metadata, out of them (byte-level BPE, SentencePiece's BPE) and into them (byte-level): the same
 * as tokenizer.json says, with the pattern that cuts texts given by a name (tokenizer.ggml.pre). Keys: ggml's
 * docs/gguf.md; names of patterns: llama.cpp's. */
#include "internal.h"
#include "gguf_pieces.h"
#include "tensor/tensor.h"

#include <stdio.h>

#define LLAMA3                                                                                                         \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "                                         \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define QWEN2                                                                                                          \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "                                              \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

enum { TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_DEFINED = 4, TOKEN_UNUSED = 5 };

static const struct {
    const char *name, *pattern; /* NULL: GPT-2's, which ByteLevel has inside */
    bool ignore_merges;
} patterns[] = {
    {"gpt-2", NULL, false},   {"default", NULL, false}, {"llama-bpe", LLAMA3, true},
    {"llama3", LLAMA3, true}, {"qwen2", QWEN2, false},
};
enum { PATTERNS = sizeof patterns / sizeof *patterns };

/* --- Reading --- */

struct source {
    const struct lm_gguf *file;
    const struct lm_gguf_value *tokens, *types, *merges;
    const struct lm_gguf_value *scores; /* of SentencePiece's pieces; NULL: byte-level BPE */
    int pattern;
};

static int find_pattern(const struct lm_gguf *file, const char *name, struct source *source, loam_error *error)
{
    const char *pre = "default";
    int code =
        lm_gguf_find(file, "tokenizer.ggml.pre") ? lm_gguf_text(file, "tokenizer.ggml.pre", &pre, error) : LOAM_OK;
    if (code)
        return code;
    for (int i = 0; i < PATTERNS; i++)
        if (!strcmp(pre, patterns[i].name))
            source->pattern = i;
    if (source->pattern < 0)
        return lm_fail(error, LOAM_EUNSUPPORTED,
                       "%s: tokenizer.ggml.pre: found \"%s\", wanted gpt-2, default, llama-bpe or qwen2; use the "
                       "model's directory with tokenizer.json instead",
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
    *source = (struct source){.file = file, .pattern = -1};
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

static void put_text(struct lm_json_writer *json, const char *key, const char *text)
{
    lm_json_key(json, key);
    lm_json_text(json, text);
}

static void put_flag(struct lm_json_writer *json, const char *key, bool flag)
{
    lm_json_key(json, key);
    lm_json_bool(json, flag);
}

static void put_byte_level(struct lm_json_writer *json, bool regex)
{
    lm_json_begin_object(json);
    put_text(json, "type", "ByteLevel");
    put_flag(json, "add_prefix_space", false);
    put_flag(json, "trim_offsets", true);
    put_flag(json, "use_regex", regex);
    lm_json_end_object(json);
}

static void put_cutting(struct lm_json_writer *json, const char *pattern)
{
    lm_json_key(json, "pre_tokenizer");
    if (!pattern) {
        put_byte_level(json, true);
    } else {
        lm_json_begin_object(json);
        put_text(json, "type", "Sequence");
        lm_json_key(json, "pretokenizers");
        lm_json_begin_array(json);
        lm_json_begin_object(json);
        put_text(json, "type", "Split");
        lm_json_key(json, "pattern");
        lm_json_begin_object(json);
        put_text(json, "Regex", pattern);
        lm_json_end_object(json);
        put_text(json, "behavior", "Isolated");
        put_flag(json, "invert", false);
        lm_json_end_object(json);
        put_byte_level(json, false);
        lm_json_end_array(json);
        lm_json_end_object(json);
    }
    lm_json_key(json, "decoder");
    put_byte_level(json, true);
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
        if (type != TOKEN_CONTROL && type != TOKEN_DEFINED && type != TOKEN_UNKNOWN)
            continue;
        lm_json_begin_object(json);
        lm_json_key(json, "id");
        lm_json_int(json, id);
        lm_json_key(json, "content");
        lm_json_string(json, token.text, token.length);
        put_flag(json, "single_word", false);
        put_flag(json, "lstrip", false);
        put_flag(json, "rstrip", false);
        put_flag(json, "normalized", false);
        put_flag(json, "special", type != TOKEN_DEFINED);
        lm_json_end_object(json);
    }
    lm_json_end_array(json);
}

static int put_pieces(struct lm_json_writer *json, const struct source *source, loam_error *error)
{
    struct lm_gguf_items tokens = lm_gguf_items(source->tokens), types = lm_gguf_items(source->types),
                         scores = lm_gguf_items(source->scores);
    struct lm_gguf_value token, score;
    struct lm_pieces pieces = {lm_alloc((size_t)source->tokens->count, sizeof *pieces.data, error), 0};
    if (!pieces.data)
        return LOAM_ENOMEM;
    while (lm_gguf_next(&tokens, &token) && lm_gguf_next(&scores, &score)) {
        const float value = (float)score.number;
        pieces.data[pieces.count++] =
            (struct lm_piece){token.text, token.length, value == value ? value : 0, type_of(&types) == TOKEN_NORMAL};
    }
    const int code = lm_pieces_put_merges(json, &pieces, error);
    lm_free(pieces.data);
    return code;
}

static int put_vocabulary(struct lm_json_writer *json, const struct source *source, loam_error *error)
{
    struct lm_gguf_items tokens = lm_gguf_items(source->tokens), types = {0}, merges = {0};
    struct lm_gguf_value token;
    struct lm_bytes key = {0};
    int code = LOAM_OK;
    if (source->types)
        types = lm_gguf_items(source->types);
    lm_json_key(json, "vocab");
    lm_json_begin_object(json);
    for (int64_t id = 0; !code && lm_gguf_next(&tokens, &token); id++) {
        const int type = type_of(&types);
        if (!source->scores && (type == TOKEN_CONTROL || type == TOKEN_DEFINED || type == TOKEN_UNUSED))
            continue;
        key.length = 0;
        if (memchr(token.text, 0, token.length) || lm_utf8_check(token.text, token.length) != token.length)
            code = lm_fail(error, LOAM_EFORMAT,
                           "%s: tokenizer.ggml.tokens: token %lld: found bytes that are not UTF-8; the file is damaged",
                           lm_gguf_path(source->file), (long long)id);
        if (!code)
            code = lm_bytes_append(&key, token.text, token.length, error);
        if (code)
            break;
        lm_json_key(json, key.data ? key.data : "");
        lm_json_int(json, id);
    }
    lm_json_end_object(json);
    lm_bytes_free(&key);
    if (code || source->scores)
        return code ? code : put_pieces(json, source, error);
    merges = lm_gguf_items(source->merges);
    lm_json_key(json, "merges");
    lm_json_begin_array(json);
    while (lm_gguf_next(&merges, &token))
        lm_json_string(json, token.text, token.length);
    lm_json_end_array(json);
    return code;
}

static void put_replacement(struct lm_json_writer *json, const char *old, const char *new)
{
    lm_json_begin_object(json);
    put_text(json, "type", "Replace");
    lm_json_key(json, "pattern");
    lm_json_begin_object(json);
    put_text(json, "String", old);
    lm_json_end_object(json);
    put_text(json, "content", new);
    lm_json_end_object(json);
}

static void put_simple(struct lm_json_writer *json, const char *type, const char *key, const char *text)
{
    lm_json_begin_object(json);
    put_text(json, "type", type);
    if (key)
        put_text(json, key, text);
    lm_json_end_object(json);
}

/* SentencePiece's way with blanks: each is U+2581, and one stands before the text. */
static void put_blanks(struct lm_json_writer *json, bool prefix)
{
    static const char blank[] = "\xe2\x96\x81";
    lm_json_key(json, "normalizer");
    lm_json_begin_object(json);
    put_text(json, "type", "Sequence");
    lm_json_key(json, "normalizers");
    lm_json_begin_array(json);
    if (prefix)
        put_simple(json, "Prepend", "prepend", blank);
    put_replacement(json, " ", blank);
    lm_json_end_array(json);
    lm_json_end_object(json);
    lm_json_key(json, "decoder");
    lm_json_begin_object(json);
    put_text(json, "type", "Sequence");
    lm_json_key(json, "decoders");
    lm_json_begin_array(json);
    put_replacement(json, blank, " ");
    put_simple(json, "ByteFallback", NULL, NULL);
    put_simple(json, "Fuse", NULL, NULL);
    if (prefix) {
        lm_json_begin_object(json);
        put_text(json, "type", "Strip");
        put_text(json, "content", " ");
        lm_json_key(json, "start");
        lm_json_int(json, 1);
        lm_json_key(json, "stop");
        lm_json_int(json, 0);
        lm_json_end_object(json);
    }
    lm_json_end_array(json);
    lm_json_end_object(json);
}

/* The token that stands for what has no other, by its type. */
static void put_unknown(struct lm_json_writer *json, const struct source *source)
{
    struct lm_gguf_items tokens = lm_gguf_items(source->tokens), types = lm_gguf_items(source->types);
    struct lm_gguf_value token;
    while (lm_gguf_next(&tokens, &token))
        if (type_of(&types) == TOKEN_UNKNOWN) {
            lm_json_key(json, "unk_token");
            lm_json_string(json, token.text, token.length);
            return;
        }
}

static int to_json(const struct source *source, struct lm_bytes *out, loam_error *error)
{
    struct lm_json_writer json = lm_json_writer(out, -1);
    lm_json_begin_object(&json);
    put_text(&json, "version", "1.0");
    put_added(&json, source);
    bool prefix = true;
    if (source->scores && lm_gguf_find(source->file, "tokenizer.ggml.add_space_prefix") &&
        lm_gguf_bool(source->file, "tokenizer.ggml.add_space_prefix", &prefix, error))
        return LOAM_EFORMAT;
    if (source->scores)
        put_blanks(&json, prefix);
    else
        put_cutting(&json, patterns[source->pattern].pattern);
    lm_json_key(&json, "model");
    lm_json_begin_object(&json);
    put_text(&json, "type", "BPE");
    put_flag(&json, "ignore_merges", !source->scores && patterns[source->pattern].ignore_merges);
    put_flag(&json, "byte_fallback", source->scores != NULL);
    put_flag(&json, "fuse_unk", source->scores != NULL);
    if (source->scores)
        put_unknown(&json, source);
    int code = put_vocabulary(&json, source, error);
    lm_json_end_object(&json);
    lm_json_end_object(&json);
    return code ? code : lm_json_writer_finish(&json, error);
}

/* An id of the metadata that names an added token, or -1. */
static int32_t named_token(const struct lm_gguf *file, const struct lm_tokenizer *tokenizer, const char *key)
{
    const struct lm_gguf_value *value = lm_gguf_find(file, key);
    if (!value || value->integer < 0 || value->integer >= lm_tokenizer_size(tokenizer))
        return -1;
    return lm_tokenizer_is_special(tokenizer, (int32_t)value->integer) ? (int32_t)value->integer : -1;
}

static int read_open(const struct lm_gguf *file, const char *name, struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct source source;
    struct lm_bytes json = {0};
    struct lm_tokenizer *made = NULL;
    int code = find_source(file, name, &source, error);
    if (!code)
        code = to_json(&source, &json, error);
    if (!code)
        code = lm_tokenizer_from_json(json.data, json.length, name, &made, error);
    lm_bytes_free(&json);
    if (code)
        return code;
    const int32_t bos = named_token(file, made, "tokenizer.ggml.bos_token_id"),
                  eos = named_token(file, made, "tokenizer.ggml.eos_token_id");
    code =
        lm_tokenizer_set_bos_eos_pad(made, bos, eos, named_token(file, made, "tokenizer.ggml.padding_token_id"), error);
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
    if (!list || list->kind != LM_ARRAY || list->length == 0)
        return NULL;
    const char *pattern = text_at(lm_value_find(&list->items[0], "pattern"), "Regex");
    for (int i = 0; i < PATTERNS; i++)
        if (patterns[i].pattern && !strcmp(pattern, patterns[i].pattern))
            return patterns[i].name;
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
