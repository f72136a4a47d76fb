/* Post-processors: the tokens put in front of a text and behind it. */
#include "internal.h"

static int push_id(struct lm_tokenizer *tokenizer, const struct lm_document *document, const struct lm_value *value,
                   struct lm_ids *list, loam_error *error)
{
    int64_t id;
    size_t length;
    int code = lm_value_int(document, value, 0, (int64_t)tokenizer->vocabulary.size - 1, &id, error);
    if (code == LOAM_OK && !lm_tokenizer_token(tokenizer, (int32_t)id, &length))
        return lm_value_fail(document, value, error, "id %lld: the vocabulary has no such token", (long long)id);
    return code == LOAM_OK ? lm_ids_push(list, (int32_t)id, error) : code;
}

static int read_template(const struct lm_document *document, const struct lm_value *value,
                         struct lm_tokenizer *tokenizer, loam_error *error)
{
    const struct lm_value *single = lm_value_find(value, "single"), *specials = lm_value_find(value, "special_tokens");
    if (!single || single->kind != LM_ARRAY)
        return lm_value_fail(document, value, error, "TemplateProcessing: wanted a list 'single'");
    bool behind = false;
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < single->length; i++) {
        const struct lm_value *special = lm_value_find(&single->items[i], "SpecialToken");
        if (lm_value_find(&single->items[i], "Sequence")) {
            if (behind)
                return lm_value_fail(document, single, error, "the text stands there twice");
            behind = true;
            continue;
        }
        const char *name;
        code = lm_value_string(document, lm_value_find(special, "id"), &name, error);
        const struct lm_value *ids = code == LOAM_OK ? lm_value_find(lm_value_find(specials, name), "ids") : NULL;
        if (code == LOAM_OK && (!ids || ids->kind != LM_ARRAY))
            return lm_value_fail(document, special, error, "special token '%s' is not listed under special_tokens",
                                 name);
        for (size_t k = 0; code == LOAM_OK && k < ids->length; k++)
            code = push_id(tokenizer, document, &ids->items[k], behind ? &tokenizer->back : &tokenizer->front, error);
    }
    return code == LOAM_OK && !behind ? lm_value_fail(document, single, error, "no place for the text") : code;
}

/* BertProcessing and RobertaProcessing: ["[CLS]", id] in front, ["[SEP]", id] behind. */
static int read_pair(const struct lm_document *document, const struct lm_value *value, struct lm_tokenizer *tokenizer,
                     loam_error *error)
{
    static const char *const keys[] = {"cls", "sep"};
    int code = LOAM_OK;
    for (int i = 0; code == LOAM_OK && i < 2; i++) {
        const struct lm_value *pair = lm_value_find(value, keys[i]);
        if (!pair || pair->kind != LM_ARRAY || pair->length != 2)
            return lm_value_fail(document, value, error, "'%s': wanted a pair of text and id", keys[i]);
        code = push_id(tokenizer, document, &pair->items[1], i ? &tokenizer->back : &tokenizer->front, error);
    }
    return code;
}

int lm_postprocessor_read(const struct lm_document *document, const struct lm_value *value,
                          struct lm_tokenizer *tokenizer, loam_error *error)
{
    if (!value || value->kind == LM_NULL)
        return LOAM_OK;
    const struct lm_value *type = lm_value_find(value, "type");
    if (lm_value_is(type, "TemplateProcessing"))
        return read_template(document, value, tokenizer, error);
    if (lm_value_is(type, "BertProcessing") || lm_value_is(type, "RobertaProcessing"))
        return read_pair(document, value, tokenizer, error);
    if (lm_value_is(type, "ByteLevel"))
        return LOAM_OK;
    const struct lm_value *list = lm_value_find(value, "processors");
    if (!lm_value_is(type, "Sequence") || !list || list->kind != LM_ARRAY)
        return lm_type_fail(document, value,
                            "TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing and Sequence", error);
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < list->length; i++)
        code = lm_postprocessor_read(document, &list->items[i], tokenizer, error);
    return code;
}

/* The text of a token as other programs name it, with a 0 behind it. */
static const char *name_of(const struct lm_tokenizer *tokenizer, int32_t id)
{
    for (size_t i = 0; i < tokenizer->added_count; i++)
        if (tokenizer->added[i].id == id)
            return tokenizer->added[i].content;
    return "";
}

static void write_place(struct lm_json_writer *writer, const char *kind, const char *id, int type)
{
    lm_json_begin_object(writer);
    lm_json_key(writer, kind);
    lm_json_begin_object(writer);
    lm_json_key(writer, "id");
    lm_json_text(writer, id);
    lm_json_key(writer, "type_id");
    lm_json_int(writer, type);
    lm_json_end_object(writer);
    lm_json_end_object(writer);
}

static void write_sequence(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer, int texts)
{
    lm_json_begin_array(writer);
    for (int type = 0; type < texts; type++) {
        for (size_t i = 0; i < tokenizer->front.length; i++)
            write_place(writer, "SpecialToken", name_of(tokenizer, tokenizer->front.data[i]), type);
        write_place(writer, "Sequence", type ? "B" : "A", type);
        for (size_t i = 0; i < tokenizer->back.length; i++)
            write_place(writer, "SpecialToken", name_of(tokenizer, tokenizer->back.data[i]), type);
    }
    lm_json_end_array(writer);
}

static int32_t put_at(const struct lm_tokenizer *tokenizer, size_t i)
{
    size_t front = tokenizer->front.length;
    return i < front ? tokenizer->front.data[i] : tokenizer->back.data[i - front];
}

static void write_names(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer)
{
    lm_json_begin_object(writer);
    for (size_t i = 0; i < tokenizer->front.length + tokenizer->back.length; i++) {
        int32_t id = put_at(tokenizer, i);
        bool seen = false;
        for (size_t k = 0; k < i; k++)
            seen |= id == put_at(tokenizer, k);
        if (seen)
            continue;
        lm_json_key(writer, name_of(tokenizer, id));
        lm_json_begin_object(writer);
        lm_json_key(writer, "id");
        lm_json_text(writer, name_of(tokenizer, id));
        lm_json_key(writer, "ids");
        lm_json_begin_array(writer);
        lm_json_int(writer, id);
        lm_json_end_array(writer);
        lm_json_key(writer, "tokens");
        lm_json_begin_array(writer);
        lm_json_text(writer, name_of(tokenizer, id));
        lm_json_end_array(writer);
        lm_json_end_object(writer);
    }
    lm_json_end_object(writer);
}

int lm_postprocessor_describe(struct lm_tokenizer *tokenizer, loam_error *error)
{
    struct lm_bytes *part = &tokenizer->parts[LM_PART_POSTPROCESSOR];
    part->length = 0;
    if (!tokenizer->front.length && !tokenizer->back.length)
        return lm_bytes_append(part, "null", 4, error);
    struct lm_json_writer writer = lm_json_writer(part, 0);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "type");
    lm_json_text(&writer, "TemplateProcessing");
    lm_json_key(&writer, "single");
    write_sequence(tokenizer, &writer, 1);
    lm_json_key(&writer, "pair");
    write_sequence(tokenizer, &writer, 2);
    lm_json_key(&writer, "special_tokens");
    write_names(tokenizer, &writer);
    lm_json_end_object(&writer);
    return lm_json_writer_finish(&writer, error);
}
