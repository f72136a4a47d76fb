/* tokenizer.json: reading and writing. */
#include "internal.h"

static const char *const PART_KEYS[LM_PARTS] = {"normalizer", "pre_tokenizer", "post_processor", "decoder"};

static int read_flag(const struct lm_document *document, const struct lm_value *object, const char *key, bool otherwise,
                     bool *flag, loam_error *error)
{
    const struct lm_value *value = lm_value_find(object, key);
    *flag = otherwise;
    return value ? lm_value_bool(document, value, flag, error) : LOAM_OK;
}

static int read_flags(const struct lm_document *document, const struct lm_value *value, struct lm_added *added,
                      loam_error *error)
{
    int code = read_flag(document, value, "special", false, &added->special, error);
    if (code == LOAM_OK)
        code = read_flag(document, value, "single_word", false, &added->single_word, error);
    if (code == LOAM_OK)
        code = read_flag(document, value, "lstrip", false, &added->lstrip, error);
    if (code == LOAM_OK)
        code = read_flag(document, value, "rstrip", false, &added->rstrip, error);
    return code == LOAM_OK ? read_flag(document, value, "normalized", !added->special, &added->normalized, error)
                           : code;
}

static int read_added(struct lm_tokenizer *tokenizer, const struct lm_document *document, const struct lm_value *value,
                      loam_error *error)
{
    struct lm_added added = {0};
    const struct lm_value *content = lm_value_find(value, "content");
    const char *text;
    int64_t id;
    int code = lm_value_string(document, content, &text, error);
    if (code == LOAM_OK)
        code = lm_value_int(document, lm_value_find(value, "id"), 0, LM_TOKEN_LIMIT - 1, &id, error);
    if (code == LOAM_OK)
        code = read_flags(document, value, &added, error);
    if (code != LOAM_OK)
        return code;
    int32_t known = lm_tokenizer_find_key(tokenizer, text, content->length);
    if (known >= 0 && known != id)
        return lm_value_fail(document, value, error, "token '%s': found id %lld, wanted %d as in the vocabulary", text,
                             (long long)id, known);
    for (size_t i = 0; i < tokenizer->added_count; i++)
        if (tokenizer->added[i].length == content->length &&
            !memcmp(tokenizer->added[i].content, text, content->length))
            return lm_value_fail(document, value, error, "token '%s' is added twice", text);
    loam_error why = {0};
    if (known < 0)
        code = lm_vocabulary_add(&tokenizer->vocabulary, id, text, content->length, LM_TOKEN_OUTSIDE, &why);
    added.id = (int32_t)id;
    added.content = (char *)(uintptr_t)text;
    added.length = content->length;
    if (code == LOAM_OK)
        code = lm_added_push(tokenizer, &added, &why);
    if (code == LOAM_EFORMAT)
        return lm_value_fail(document, value, error, "%s", why.message);
    return code == LOAM_OK ? code : lm_fail(error, code, "%s", why.message);
}

static int read_all(struct lm_tokenizer *tokenizer, const struct lm_document *document, const struct lm_value *root,
                    loam_error *error)
{
    const struct lm_value *model = lm_value_find(root, "model"), *added = lm_value_find(root, "added_tokens");
    if (!model || model->kind != LM_OBJECT)
        return lm_value_fail(document, root, error, "no tokenizer.json: wanted an object with a member 'model'");
    if (added && added->kind != LM_ARRAY && added->kind != LM_NULL)
        return lm_value_fail(document, added, error, "wanted a list of added tokens");
    int code = lm_tokenizer_pipeline(tokenizer, document, root, error);
    if (code == LOAM_OK)
        code = lm_model_read(document, model, tokenizer, error);
    for (size_t i = 0; code == LOAM_OK && added && i < added->length; i++)
        code = read_added(tokenizer, document, &added->items[i], error);
    return code == LOAM_OK ? lm_tokenizer_assemble(tokenizer, document, root, error) : code;
}

int lm_tokenizer_from_json(const char *text, size_t length, const char *name, struct lm_tokenizer **tokenizer,
                           loam_error *error)
{
    struct lm_document *document;
    struct lm_tokenizer *made;
    if (length >= 4 && !memcmp(text, "GGUF", 4))
        return lm_tokenizer_from_gguf(text, length, name, tokenizer, error);
    int code = lm_json_parse(text, length, name, &document, error);
    if (code != LOAM_OK)
        return code;
    code = lm_tokenizer_new(&made, error);
    if (code == LOAM_OK) {
        code = read_all(made, document, lm_document_root(document), error);
        if (code == LOAM_OK)
            *tokenizer = made;
        else
            lm_tokenizer_free(made);
    }
    lm_document_free(document);
    return code;
}

static void write_flag(struct lm_json_writer *writer, const char *key, bool value)
{
    lm_json_key(writer, key);
    lm_json_bool(writer, value);
}

static void write_added(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer)
{
    lm_json_key(writer, "added_tokens");
    lm_json_begin_array(writer);
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        const struct lm_added *added = &tokenizer->added[i];
        lm_json_begin_object(writer);
        lm_json_key(writer, "id");
        lm_json_int(writer, added->id);
        lm_json_key(writer, "content");
        lm_json_string(writer, added->content, added->length);
        write_flag(writer, "single_word", added->single_word);
        write_flag(writer, "lstrip", added->lstrip);
        write_flag(writer, "rstrip", added->rstrip);
        write_flag(writer, "normalized", added->normalized);
        write_flag(writer, "special", added->special);
        lm_json_end_object(writer);
    }
    lm_json_end_array(writer);
}

static int write_part(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer, enum lm_part part,
                      loam_error *error)
{
    const struct lm_bytes *text = &tokenizer->parts[part];
    struct lm_document *document;
    lm_json_key(writer, PART_KEYS[part]);
    if (!text->length) {
        lm_json_null(writer);
        return LOAM_OK;
    }
    int code = lm_json_parse(text->data, text->length, PART_KEYS[part], &document, error);
    if (code != LOAM_OK)
        return code;
    lm_json_value(writer, lm_document_root(document));
    lm_document_free(document);
    return LOAM_OK;
}

int lm_tokenizer_to_json(const struct lm_tokenizer *tokenizer, struct lm_bytes *out, loam_error *error)
{
    struct lm_json_writer writer = lm_json_writer(out, 1);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "version");
    lm_json_text(&writer, "1.0");
    lm_json_key(&writer, "truncation");
    lm_json_null(&writer);
    lm_json_key(&writer, "padding");
    lm_json_null(&writer);
    write_added(tokenizer, &writer);
    int code = LOAM_OK;
    for (int part = 0; code == LOAM_OK && part < LM_PARTS; part++)
        code = write_part(tokenizer, &writer, (enum lm_part)part, error);
    if (code == LOAM_OK) {
        lm_json_key(&writer, "model");
        code = lm_model_write(tokenizer, &writer, error);
    }
    lm_json_end_object(&writer);
    return code == LOAM_OK ? lm_json_writer_finish(&writer, error) : code;
}

static int keep_part(struct lm_tokenizer *tokenizer, enum lm_part part, const struct lm_value *value, loam_error *error)
{
    tokenizer->parts[part].length = 0;
    if (!value || value->kind == LM_NULL)
        return LOAM_OK;
    struct lm_json_writer writer = lm_json_writer(&tokenizer->parts[part], 0);
    lm_json_value(&writer, value);
    return lm_json_writer_finish(&writer, error);
}

int lm_tokenizer_pipeline(struct lm_tokenizer *tokenizer, const struct lm_document *document,
                          const struct lm_value *root, loam_error *error)
{
    int code = LOAM_OK;
    for (int part = 0; code == LOAM_OK && part < LM_PARTS; part++)
        code = keep_part(tokenizer, (enum lm_part)part, lm_value_find(root, PART_KEYS[part]), error);
    if (code == LOAM_OK)
        code = lm_normalizer_read(document, lm_value_find(root, "normalizer"), &tokenizer->normalizer, error);
    if (code == LOAM_OK)
        code = lm_pretokenizer_read(document, lm_value_find(root, "pre_tokenizer"), &tokenizer->pretokenizer, error);
    if (code == LOAM_OK)
        code = lm_decoder_read(document, lm_value_find(root, "decoder"), &tokenizer->decoder, error);
    if (code != LOAM_OK)
        return code;
    bool normal = lm_normalizer_lettered(&tokenizer->normalizer);
    tokenizer->byte_level = !normal && lm_model_takes_bytes(lm_value_find(root, "model")) &&
                            lm_decoder_is_byte_level(&tokenizer->decoder) &&
                            lm_pretokenizer_drop_letters(&tokenizer->pretokenizer);
    tokenizer->lettered = normal || lm_pretokenizer_lettered(&tokenizer->pretokenizer);
    tokenizer->decodes_alone = tokenizer->byte_level || lm_decoder_alone(&tokenizer->decoder);
    return LOAM_OK;
}
