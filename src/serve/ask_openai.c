/* Requests in OpenAI's form: /v1/chat/completions and /v1/completions. */
#include "internal.h"

#include <string.h>

/* Fields that would change the answer. All others that are not known are passed over. */
static bool refuse_unsupported(const struct fields *fields)
{
    static const char *const never[] = {"tools", "functions", "function_call", "audio", "web_search_options", "guided_json",
                                        "guided_regex", "guided_grammar", "guided_choice", "grammar", "json_schema"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (!field_unsupported(fields, never[i], "leave it away"))
            return false;
    const struct lm_value *choice = field(fields, "tool_choice"), *format = field(fields, "response_format");
    if (choice && !lm_value_is(choice, "none") && !lm_value_is(choice, "auto"))
        return field_unsupported(fields, "tool_choice", "leave it away");
    const struct lm_value *type = format ? lm_value_find(format, "type") : NULL;
    if (format && !type)
        return field_refuse(fields, format, "response_format", "an object with a type");
    if (type && !lm_value_is(type, "text"))
        return refuse(fields->refusal, 400, "unsupported_parameter", "response_format",
                      "'response_format' of the type '%.40s' is not supported by this server; leave it away, and ask for JSON in words",
                      type->kind == LM_STRING ? type->text : "?");
    const struct lm_value *modalities = field(fields, "modalities");
    for (size_t i = 0; modalities && modalities->kind == LM_ARRAY && i < modalities->length; i++)
        if (!lm_value_is(&modalities->items[i], "text"))
            return refuse(fields->refusal, 400, "unsupported_parameter", "modalities", "'modalities': only text is supported by this server");
    return true;
}

static bool ask_stream(struct job *job, const struct fields *fields)
{
    job->stream = field_bool(fields, "stream", false);
    const struct lm_value *options = field(fields, "stream_options");
    if (options && options->kind != LM_OBJECT)
        return field_refuse(fields, options, "stream_options", "an object");
    if (options && !job->stream)
        return refuse(fields->refusal, 400, NULL, "stream_options", "'stream_options' is only allowed with \"stream\": true");
    if (options) {
        const struct fields inner = {fields->document, options, fields->refusal};
        job->include_usage = field_bool(&inner, "include_usage", false);
    }
    return !fields->refusal->status;
}

static bool ask_common(struct job *job, const struct fields *fields)
{
    if (!ask_model(job, fields) || !refuse_unsupported(fields) || !ask_stream(job, fields) || !ask_sampling(job, fields, 2) ||
        !ask_stops(job, fields, "stop"))
        return false;
    job->request.choices = field_int(fields, "n", 1, MOST_CHOICES, 1);
    job->request.ignore_end = field_bool(fields, "ignore_eos", false);
    return !fields->refusal->status;
}

bool ask_chat(struct job *job, const struct fields *fields)
{
    if (!ask_common(job, fields) || !ask_messages(job, fields))
        return false;
    const int64_t old = field_int(fields, "max_tokens", 1, INT32_MAX, 0);
    job->request.max_tokens = field_int(fields, "max_completion_tokens", 1, INT32_MAX, old);
    const bool logprobs = field_bool(fields, "logprobs", false);
    const int64_t top = field_int(fields, "top_logprobs", 0, LM_MOST_LOGPROBS, 0);
    if (field(fields, "top_logprobs") && !logprobs && top)
        return refuse(fields->refusal, 400, NULL, "top_logprobs", "'top_logprobs' is only allowed with \"logprobs\": true");
    job->request.logprobs = logprobs ? top : -1;
    return !fields->refusal->status;
}

/* A text, ids, or a list of texts or of ids. */
static size_t count_prompts(const struct fields *fields, const struct lm_value *prompt)
{
    if (prompt->kind == LM_STRING)
        return 1;
    if (prompt->kind != LM_ARRAY || !prompt->length) {
        refuse(fields->refusal, 400, NULL, "prompt", "prompt: wanted a text, a list of token ids, or a list of these");
        return 0;
    }
    return prompt->items[0].kind == LM_NUMBER ? 1 : prompt->length;
}

bool ask_completion(struct job *job, const struct fields *fields)
{
    if (!ask_common(job, fields))
        return false;
    job->prompt = field(fields, "prompt");
    if (!job->prompt)
        return refuse(fields->refusal, 400, NULL, "prompt", "'prompt' is missing: wanted a text, a list of token ids, or a list of these");
    job->prompt_count = count_prompts(fields, job->prompt);
    if (job->prompt_count > MOST_PROMPTS)
        return refuse(fields->refusal, 400, NULL, "prompt", "prompt: found %zu, wanted at most %d", job->prompt_count, MOST_PROMPTS);
    job->request.max_tokens = field_int(fields, "max_tokens", 1, INT32_MAX, 16);
    job->request.logprobs = field_int(fields, "logprobs", 0, LM_MOST_LOGPROBS, -1);
    job->echo = field_bool(fields, "echo", false);
    if (job->echo && job->request.logprobs >= 0)
        return refuse(fields->refusal, 400, "unsupported_parameter", "logprobs", "'logprobs' of the prompt (with 'echo') is not supported by this server");
    const struct lm_value *suffix = field_text(fields, "suffix");
    if (suffix && suffix->length)
        return field_unsupported(fields, "suffix", "leave it away");
    const int64_t best = field_int(fields, "best_of", 1, MOST_CHOICES, job->request.choices);
    if (best != job->request.choices)
        return refuse(fields->refusal, 400, "unsupported_parameter", "best_of", "'best_of' other than 'n' is not supported by this server");
    return !fields->refusal->status;
}

static bool add_ids(struct job *job, const struct fields *fields, const struct lm_value *list, struct lm_ids *ids)
{
    loam_error error;
    for (size_t i = 0; i < list->length; i++) {
        int64_t id;
        if (lm_value_int(fields->document, &list->items[i], 0, job->served->config.vocabulary - 1, &id, &error) != LOAM_OK)
            return refuse(fields->refusal, 400, NULL, "prompt", "%s", error.message);
        if (lm_ids_push(ids, (int32_t)id, NULL) != LOAM_OK)
            return refuse(fields->refusal, 503, NULL, NULL, "not enough memory for this request");
    }
    return true;
}

static bool encode_prompt(struct job *job, const struct fields *fields, const struct lm_value *prompt, struct lm_ids *ids)
{
    const struct lm_tokenizer *tokenizer = lm_engine_tokenizer(job->served->engine);
    loam_error error;
    if (prompt->kind == LM_ARRAY)
        return add_ids(job, fields, prompt, ids);
    if (prompt->kind != LM_STRING)
        return field_refuse(fields, prompt, "prompt", "a text or a list of token ids");
    if (lm_tokenizer_encode(tokenizer, prompt->text, prompt->length, LM_ENCODE_ADD_SPECIAL | LM_ENCODE_SPECIAL, ids, NULL, &error) != LOAM_OK)
        return refuse_error(&job->refusal, &error);
    return true;
}

static bool keep_text(struct job *job, size_t at)
{
    const struct lm_tokenizer *tokenizer = lm_engine_tokenizer(job->served->engine);
    loam_error error;
    if (lm_tokenizer_decode(tokenizer, job->prompts[at].data, job->prompts[at].length, true, &job->texts[at], &error) != LOAM_OK)
        return refuse_error(&job->refusal, &error);
    return true;
}

bool start_completion(struct job *job)
{
    const struct fields fields = {job->document, lm_document_root(job->document), &job->refusal};
    job->prompts = lm_alloc(job->prompt_count, sizeof *job->prompts, NULL);
    job->texts = job->echo ? lm_alloc(job->prompt_count, sizeof *job->texts, NULL) : NULL;
    if (!job->prompts || (job->echo && !job->texts))
        return refuse(&job->refusal, 503, NULL, NULL, "not enough memory for this request");
    const bool single = job->prompt->kind == LM_STRING || job->prompt->items[0].kind == LM_NUMBER;
    for (size_t i = 0; i < job->prompt_count; i++) {
        if (!encode_prompt(job, &fields, single ? job->prompt : &job->prompt->items[i], &job->prompts[i]))
            return false;
        if (job->echo && !keep_text(job, i))
            return false;
    }
    return job_submit(job);
}
