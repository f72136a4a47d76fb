/* /tokenize, /detokenize, /apply-template. */
#include "internal.h"

static bool out_of_memory(struct job *job)
{
    return refuse(&job->refusal, 503, NULL, NULL, "not enough memory for this request");
}

static bool answer(struct job *job, struct lm_json_writer *json)
{
    if (lm_json_writer_finish(json, NULL) != LOAM_OK) {
        lm_bytes_free(json->out);
        return out_of_memory(job);
    }
    job_answer_json(job, 200, json->out);
    return true;
}

bool ask_tokenize(struct job *job, const struct fields *fields)
{
    if (!ask_model(job, fields))
        return false;
    const struct lm_value *content = field_text(fields, "content");
    job->prompt = content ? content : field_text(fields, "prompt");
    job->add_special = field_bool(fields, "add_special", field_bool(fields, "add_special_tokens", false));
    job->with_pieces = field_bool(fields, "with_pieces", false);
    job->echo = field_bool(fields, "parse_special", true);
    if (!job->prompt)
        return refuse(fields->refusal, 400, NULL, "content", "'content' is missing: wanted a text");
    return !fields->refusal->status;
}

static void write_token(struct lm_json_writer *json, const struct lm_tokenizer *tokenizer, int32_t id, bool with_piece)
{
    size_t length;
    if (!with_piece) {
        lm_json_int(json, id);
        return;
    }
    const char *piece = lm_tokenizer_token(tokenizer, id, &length);
    lm_json_begin_object(json);
    lm_json_key(json, "id");
    lm_json_int(json, id);
    lm_json_key(json, "piece");
    lm_json_string(json, piece ? piece : "", piece ? length : 0);
    lm_json_end_object(json);
}

bool start_tokenize(struct job *job)
{
    const struct lm_tokenizer *tokenizer = lm_engine_tokenizer(job->served->engine);
    struct lm_ids ids = {0};
    struct lm_bytes body = {0};
    loam_error error;
    const unsigned flags = (job->add_special ? LM_ENCODE_ADD_SPECIAL : 0) | (job->echo ? LM_ENCODE_SPECIAL : 0);
    if (lm_tokenizer_encode(tokenizer, job->prompt->text, job->prompt->length, flags, &ids, NULL, &error) != LOAM_OK) {
        lm_ids_free(&ids);
        return refuse_error(&job->refusal, &error);
    }
    struct lm_json_writer json = lm_json_writer(&body, -1);
    lm_json_begin_object(&json);
    lm_json_key(&json, "tokens");
    lm_json_begin_array(&json);
    for (size_t i = 0; i < ids.length; i++)
        write_token(&json, tokenizer, ids.data[i], job->with_pieces);
    lm_json_end_array(&json);
    lm_json_key(&json, "count");
    lm_json_int(&json, (int64_t)ids.length);
    lm_json_key(&json, "max_model_len");
    lm_json_int(&json, lm_engine_context(job->served->engine));
    lm_json_end_object(&json);
    lm_ids_free(&ids);
    return answer(job, &json);
}

bool ask_detokenize(struct job *job, const struct fields *fields)
{
    if (!ask_model(job, fields))
        return false;
    job->prompt = field(fields, "tokens");
    if (!job->prompt || job->prompt->kind != LM_ARRAY)
        return refuse(fields->refusal, 400, NULL, "tokens", "'tokens' is missing: wanted a list of token ids");
    return true;
}

bool start_detokenize(struct job *job)
{
    struct lm_ids ids = {0};
    struct lm_bytes text = {0}, body = {0};
    loam_error error;
    int code = LOAM_OK;
    for (size_t i = 0; i < job->prompt->length && code == LOAM_OK; i++) {
        int64_t id = 0;
        code = lm_value_int(job->document, &job->prompt->items[i], 0, job->served->config.vocabulary - 1, &id, &error);
        if (code == LOAM_OK)
            code = lm_ids_push(&ids, (int32_t)id, &error);
    }
    if (code == LOAM_OK)
        code = lm_tokenizer_decode(lm_engine_tokenizer(job->served->engine), ids.data, ids.length, false, &text, &error);
    lm_ids_free(&ids);
    if (code != LOAM_OK) {
        lm_bytes_free(&text);
        return refuse_error(&job->refusal, &error);
    }
    struct lm_json_writer json = lm_json_writer(&body, -1);
    lm_json_begin_object(&json);
    lm_json_key(&json, "content");
    lm_json_string(&json, text.data ? text.data : "", text.length);
    lm_json_end_object(&json);
    lm_bytes_free(&text);
    return answer(job, &json);
}

bool ask_apply(struct job *job, const struct fields *fields)
{
    return ask_model(job, fields) && ask_messages(job, fields);
}

bool start_apply(struct job *job)
{
    struct lm_rendered rendered = {0};
    struct lm_bytes body = {0};
    if (!render_conversation(job, &rendered)) {
        lm_rendered_free(&rendered);
        return false;
    }
    struct lm_json_writer json = lm_json_writer(&body, -1);
    lm_json_begin_object(&json);
    lm_json_key(&json, "prompt");
    lm_json_string(&json, rendered.text.data ? rendered.text.data : "", rendered.text.length);
    lm_json_key(&json, "tokens");
    lm_json_begin_array(&json);
    for (size_t i = 0; i < rendered.ids.length; i++)
        lm_json_int(&json, rendered.ids.data[i]);
    lm_json_end_array(&json);
    lm_json_end_object(&json);
    lm_rendered_free(&rendered);
    return answer(job, &json);
}
