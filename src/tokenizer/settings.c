/* tokenizer_config.json and special_tokens_map.json: which tokens begin, end and pad a text. */
#include "internal.h"

enum { SETTINGS_LIMIT = 64 << 20 };

/* "bos_token": "<s>", or {"content": "<s>", …}. A name that the vocabulary lacks counts as none. */
static int read_token(const struct lm_tokenizer *tokenizer, const struct lm_document *document,
                      const struct lm_value *root, const char *key, int32_t *id, loam_error *error)
{
    const struct lm_value *value = lm_value_find(root, key);
    if (value && value->kind == LM_OBJECT)
        value = lm_value_find(value, "content");
    if (!value || value->kind == LM_NULL)
        return LOAM_OK;
    const char *text;
    int code = lm_value_string(document, value, &text, error);
    if (code != LOAM_OK)
        return code;
    int32_t found = lm_tokenizer_find(tokenizer, text, value->length);
    if (found < 0)
        found = lm_tokenizer_find_key(tokenizer, text, value->length);
    if (found >= 0)
        *id = found;
    return LOAM_OK;
}

/* add_bos_token and add_eos_token, where they are given, overrule the post-processor. */
static int read_adds(const struct lm_document *document, const struct lm_value *root, const char *key, int32_t id, struct lm_ids *list, bool front, bool *changed, loam_error *error)
{
    const struct lm_value *value = lm_value_find(root, key);
    if (!value || value->kind == LM_NULL || id < 0)
        return LOAM_OK;
    bool adds;
    int code = lm_value_bool(document, value, &adds, error);
    if (code != LOAM_OK)
        return code;
    size_t place = front ? 0 : list->length - 1;
    bool there = list->length && list->data[place] == id;
    if (adds == there)
        return LOAM_OK;
    *changed = true;
    if (adds)
        code = lm_ids_push(list, id, error);
    if (adds && code == LOAM_OK && front) {
        memmove(list->data + 1, list->data, (list->length - 1) * sizeof *list->data);
        list->data[0] = id;
    }
    if (!adds) {
        if (front)
            memmove(list->data, list->data + 1, (list->length - 1) * sizeof *list->data);
        list->length--;
    }
    return code;
}

/* Flags as tokenizer_config.json gives them; absent ones are off. */
static bool on(const struct lm_value *object, const char *key)
{
    const struct lm_value *value = lm_value_find(object, key);
    return value && value->kind == LM_TRUTH && value->truth;
}

/* One entry of added_tokens_decoder ("32000": {"content": …}) or of added_tokens.json ("…": 32000). The vocabulary
 * decides where the two do not agree. */
static int read_listed(struct lm_tokenizer *tokenizer, const char *content, size_t length, int64_t id,
                       const struct lm_value *flags, loam_error *error)
{
    struct lm_added added = {.id = (int32_t)id,
                             .content = (char *)(uintptr_t)content,
                             .length = length,
                             .single_word = on(flags, "single_word"),
                             .lstrip = on(flags, "lstrip"),
                             .rstrip = on(flags, "rstrip"),
                             .normalized = on(flags, "normalized"),
                             .special = on(flags, "special")};
    return lm_added_put(tokenizer, &added, flags != NULL, error);
}

static int read_decoder(struct lm_tokenizer *tokenizer, const struct lm_document *document, const struct lm_value *list,
                        bool *changed, loam_error *error)
{
    if (!list || list->kind == LM_NULL)
        return LOAM_OK;
    if (list->kind != LM_OBJECT)
        return lm_value_fail(document, list, error, "wanted an object of ids and tokens");
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < list->length; i++) {
        const struct lm_value *content = lm_value_find(&list->items[i], "content");
        int64_t id;
        const char *text;
        if (lm_parse_int(list->keys[i].text, &id, NULL) != LOAM_OK || id < 0 || id >= LM_TOKEN_LIMIT)
            return lm_value_fail(document, &list->keys[i], error, "found '%.*s', wanted an id",
                                 (int)(list->keys[i].length < 40 ? list->keys[i].length : 40), list->keys[i].text);
        code = lm_value_string(document, content, &text, error);
        if (code == LOAM_OK)
            code = read_listed(tokenizer, text, content->length, id, &list->items[i], error);
        *changed = true;
    }
    return code;
}

static int read_added_file(struct lm_tokenizer *tokenizer, const char *path, loam_error *error)
{
    struct lm_document *document;
    int code = lm_json_read(path, &document, error);
    if (code != LOAM_OK)
        return code;
    const struct lm_value *root = lm_document_root(document);
    if (root->kind != LM_OBJECT)
        code = lm_value_fail(document, root, error, "wanted an object of tokens and ids");
    for (size_t i = 0; code == LOAM_OK && i < root->length; i++) {
        int64_t id;
        code = lm_value_int(document, &root->items[i], 0, LM_TOKEN_LIMIT - 1, &id, error);
        if (code == LOAM_OK)
            code = read_listed(tokenizer, root->keys[i].text, root->keys[i].length, id, NULL, error);
    }
    lm_document_free(document);
    return code == LOAM_OK ? lm_tokenizer_refresh(tokenizer, error) : code;
}

static int read_file(struct lm_tokenizer *tokenizer, const char *path, bool settings, loam_error *error)
{
    struct lm_bytes text = {0};
    struct lm_document *document;
    int code = lm_file_read(path, SETTINGS_LIMIT, &text, error);
    if (code == LOAM_OK)
        code = lm_json_parse(text.data ? text.data : "", text.length, path, &document, error);
    if (code != LOAM_OK) {
        lm_bytes_free(&text);
        return code;
    }
    const struct lm_value *root = lm_document_root(document);
    if (root->kind != LM_OBJECT)
        code = lm_value_fail(document, root, error, "wanted an object");
    bool listed = false;
    if (code == LOAM_OK)
        code = read_decoder(tokenizer, document, lm_value_find(root, "added_tokens_decoder"), &listed, error);
    if (code == LOAM_OK && listed)
        code = lm_tokenizer_refresh(tokenizer, error);
    if (code == LOAM_OK)
        code = read_token(tokenizer, document, root, "bos_token", &tokenizer->bos, error);
    if (code == LOAM_OK)
        code = read_token(tokenizer, document, root, "eos_token", &tokenizer->eos, error);
    if (code == LOAM_OK)
        code = read_token(tokenizer, document, root, "pad_token", &tokenizer->pad, error);
    bool changed = false;
    if (code == LOAM_OK)
        code = read_adds(document, root, "add_bos_token", tokenizer->bos, &tokenizer->front, true, &changed,
                         error);
    if (code == LOAM_OK)
        code = read_adds(document, root, "add_eos_token", tokenizer->eos, &tokenizer->back, false, &changed,
                         error);
    if (code == LOAM_OK && changed)
        code = lm_postprocessor_describe(tokenizer, error);
    lm_document_free(document);
    if (code == LOAM_OK && settings) {
        lm_bytes_free(&tokenizer->settings);
        tokenizer->settings = text;
    } else {
        lm_bytes_free(&text);
    }
    return code;
}

/* Where the tokenizer's own files name no end (GPT-2's on the hub do not), config.json's eos_token_id is it, or the first of several. A
 * file that cannot be read or says something else is the model's to complain of. */
static void read_model_end(struct lm_tokenizer *tokenizer, const char *path)
{
    struct lm_document *document;
    int64_t id;
    if (lm_json_read(path, &document, NULL) != LOAM_OK)
        return;
    const struct lm_value *eos = lm_value_find(lm_document_root(document), "eos_token_id");
    if (eos && eos->kind == LM_ARRAY && eos->length)
        eos = &eos->items[0];
    if (eos && lm_value_int(document, eos, 0, INT32_MAX, &id, NULL) == LOAM_OK && lm_tokenizer_is_special(tokenizer, (int32_t)id))
        tokenizer->eos = (int32_t)id;
    lm_document_free(document);
}

int lm_settings_read(struct lm_tokenizer *tokenizer, const char *directory, loam_error *error)
{
    static const char *const names[] = {"special_tokens_map.json", "tokenizer_config.json", "added_tokens.json"};
    int code = LOAM_OK;
    for (int k = 0; code == LOAM_OK && k < 3; k++) {
        const int i = (k + 2) % 3; /* the tokens first, then what they are for */
        char *path = lm_path_join(directory, names[i], error);
        if (!path)
            return LOAM_ENOMEM;
        if (lm_file_exists(path))
            code = i == 2 ? read_added_file(tokenizer, path, error) : read_file(tokenizer, path, i == 1, error);
        lm_free(path);
    }
    if (code != LOAM_OK || tokenizer->eos >= 0)
        return code;
    char *path = lm_path_join(directory, "config.json", error);
    if (!path)
        return LOAM_ENOMEM;
    if (lm_file_exists(path))
        read_model_end(tokenizer, path);
    lm_free(path);
    return LOAM_OK;
}

static void write_token(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer, const char *key,
                        int32_t id)
{
    lm_json_key(writer, key);
    for (size_t i = 0; id >= 0 && i < tokenizer->added_count; i++)
        if (tokenizer->added[i].id == id) {
            lm_json_string(writer, tokenizer->added[i].content, tokenizer->added[i].length);
            return;
        }
    lm_json_null(writer);
}

static bool is_own(const char *key)
{
    /* The last ones: how a class of transformers would build a pipeline of its own. tokenizer.json holds it. */
    static const char *const own[] = {"bos_token",        "eos_token",       "pad_token", "add_bos_token",
                                      "add_eos_token",    "tokenizer_class", "auto_map",  "legacy",
                                      "add_prefix_space", "sp_model_kwargs", "added_tokens_decoder"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!strcmp(own[i], key))
            return true;
    return false;
}

static void write_settings(const struct lm_tokenizer *tokenizer, const struct lm_value *old,
                           struct lm_json_writer *writer)
{
    lm_json_begin_object(writer);
    for (size_t i = 0; old && old->kind == LM_OBJECT && i < old->length; i++) {
        if (is_own(old->keys[i].text))
            continue;
        lm_json_key(writer, old->keys[i].text);
        lm_json_value(writer, &old->items[i]);
    }
    write_token(tokenizer, writer, "bos_token", tokenizer->bos);
    write_token(tokenizer, writer, "eos_token", tokenizer->eos);
    write_token(tokenizer, writer, "pad_token", tokenizer->pad);
    lm_json_key(writer, "add_bos_token");
    lm_json_bool(writer, lm_tokenizer_adds_bos(tokenizer));
    lm_json_key(writer, "add_eos_token");
    lm_json_bool(writer, tokenizer->eos >= 0 && tokenizer->back.length &&
                             tokenizer->back.data[tokenizer->back.length - 1] == tokenizer->eos);
    /* The class that takes tokenizer.json as it stands. */
    lm_json_key(writer, "tokenizer_class");
    lm_json_text(writer, "PreTrainedTokenizerFast");
    if (!lm_value_find(old, "model_input_names")) {
        lm_json_key(writer, "model_input_names");
        lm_json_begin_array(writer);
        lm_json_text(writer, "input_ids");
        lm_json_text(writer, "attention_mask");
        lm_json_end_array(writer);
    }
    if (!lm_value_find(old, "clean_up_tokenization_spaces")) {
        lm_json_key(writer, "clean_up_tokenization_spaces");
        lm_json_bool(writer, false);
    }
    lm_json_end_object(writer);
}

int lm_settings_write(const struct lm_tokenizer *tokenizer, const char *directory, loam_error *error)
{
    struct lm_bytes text = {0};
    struct lm_document *old = NULL;
    char *path = lm_path_join(directory, "tokenizer_config.json", error);
    if (!path)
        return LOAM_ENOMEM;
    int code = LOAM_OK;
    if (lm_file_exists(path))
        code = lm_json_read(path, &old, error);
    else if (tokenizer->settings.length)
        code =
            lm_json_parse(tokenizer->settings.data, tokenizer->settings.length, "tokenizer_config.json", &old, error);
    if (code == LOAM_OK) {
        struct lm_json_writer writer = lm_json_writer(&text, 2);
        write_settings(tokenizer, old ? lm_document_root(old) : NULL, &writer);
        code = lm_json_writer_finish(&writer, error);
    }
    if (code == LOAM_OK)
        code = lm_bytes_append(&text, "\n", 1, error);
    if (code == LOAM_OK)
        code = lm_file_replace(path, text.data, text.length, error);
    lm_document_free(old);
    lm_bytes_free(&text);
    lm_free(path);
    return code;
}
