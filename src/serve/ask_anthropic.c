/* Requests in Anthropic's form: /v1/messages and /v1/messages/count_tokens. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

static bool refuse_unsupported(const struct fields *fields)
{
    static const char *const never[] = {"tools", "mcp_servers", "container", "output_format"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (!field_unsupported(fields, never[i], "leave it away"))
            return false;
    const struct lm_value *output = field(fields, "output_config"), *thinking = field(fields, "thinking");
    const struct lm_value *format = output ? lm_value_find(output, "format") : NULL;
    if (format && format->kind != LM_NULL)
        return refuse(fields->refusal, 400, NULL, "output_config", "'output_config.format' is not supported by this server; ask for JSON in words");
    if (thinking && !lm_value_is(lm_value_find(thinking, "type"), "disabled"))
        return field_unsupported(fields, "thinking", "leave it away");
    return !fields->refusal->status;
}

static bool out_of_memory(const struct fields *fields)
{
    return refuse(fields->refusal, 503, NULL, NULL, "not enough memory for this request");
}

/* Turns of one role that follow each other are one turn. */
static bool add_turn(struct job *job, const struct fields *fields, enum lm_role role, const struct lm_bytes *text)
{
    struct lm_conversation *conversation = &job->conversation;
    struct lm_message *last = conversation->count ? &conversation->messages[conversation->count - 1] : NULL;
    const char *words = text->data ? text->data : "";
    if (!last || last->role != role)
        return lm_conversation_add(conversation, role, words, text->length, NULL) == LOAM_OK || out_of_memory(fields);
    char *joined = lm_alloc(last->length + text->length + 3, 1, NULL);
    if (!joined)
        return out_of_memory(fields);
    memcpy(joined, last->content, last->length);
    memcpy(joined + last->length, "\n\n", 2);
    memcpy(joined + last->length + 2, words, text->length);
    lm_free(last->content);
    last->content = joined;
    last->length += text->length + 2;
    return true;
}

static bool read_message(struct job *job, const struct fields *fields, const struct lm_value *message, size_t index)
{
    char param[64];
    struct lm_bytes text = {0};
    snprintf(param, sizeof param, "messages.%zu", index);
    if (message->kind != LM_OBJECT)
        return field_refuse(fields, message, param, "an object with role and content");
    const struct lm_value *role = lm_value_find(message, "role");
    const bool user = lm_value_is(role, "user");
    if (!user && !lm_value_is(role, "assistant"))
        return refuse(fields->refusal, 400, NULL, param, "%s: role: found '%.40s', wanted user or assistant; the system prompt is the "
                      "top-level field 'system'", param, role && role->kind == LM_STRING ? role->text : "nothing");
    bool fine = ask_content(fields, lm_value_find(message, "content"), param, &text);
    if (fine && user && !text.length)
        fine = refuse(fields->refusal, 400, NULL, param, "%s: content is empty: wanted words", param);
    fine = fine && add_turn(job, fields, user ? LM_USER : LM_ASSISTANT, &text);
    lm_bytes_free(&text);
    return fine;
}

static bool ask_system(struct job *job, const struct fields *fields)
{
    const struct lm_value *system = field(fields, "system");
    struct lm_bytes text = {0};
    if (!system)
        return !fields->refusal->status;
    bool fine = ask_content(fields, system, "system", &text);
    if (fine && text.length)
        fine = lm_conversation_add(&job->conversation, LM_SYSTEM, text.data, text.length, NULL) == LOAM_OK || out_of_memory(fields);
    lm_bytes_free(&text);
    return fine;
}

/* A last turn of the assistant's is the beginning of its answer, and no turn. */
static bool take_prefill(struct job *job, const struct fields *fields)
{
    struct lm_conversation *conversation = &job->conversation;
    if (conversation->messages[conversation->count - 1].role != LM_ASSISTANT)
        return true;
    struct lm_message *last = &conversation->messages[--conversation->count];
    const int code = lm_bytes_append(&job->prefill, last->content, last->length, NULL);
    lm_free(last->content);
    return code == LOAM_OK || out_of_memory(fields);
}

static bool ask_turns(struct job *job, const struct fields *fields)
{
    const struct lm_value *messages = field(fields, "messages");
    if (fields->refusal->status)
        return false;
    if (!messages || messages->kind != LM_ARRAY || !messages->length)
        return refuse(fields->refusal, 400, NULL, "messages", "messages: wanted a list of at least one {\"role\", \"content\"}");
    for (size_t i = 0; i < messages->length; i++)
        if (!read_message(job, fields, &messages->items[i], i))
            return false;
    return take_prefill(job, fields);
}

static bool ask_conversation(struct job *job, const struct fields *fields)
{
    return ask_model(job, fields) && refuse_unsupported(fields) && ask_system(job, fields) && ask_turns(job, fields);
}

bool ask_anthropic(struct job *job, const struct fields *fields)
{
    if (!ask_conversation(job, fields) || !ask_sampling(job, fields, 1) || !ask_stops(job, fields, "stop_sequences"))
        return false;
    if (!field(fields, "max_tokens"))
        return refuse(fields->refusal, 400, NULL, "max_tokens", "max_tokens: field required");
    job->request.max_tokens = field_int(fields, "max_tokens", 1, INT32_MAX, 0);
    job->stream = field_bool(fields, "stream", false);
    job->request.choices = 1;
    return !fields->refusal->status;
}

bool ask_count(struct job *job, const struct fields *fields)
{
    return ask_conversation(job, fields);
}

bool start_count(struct job *job)
{
    struct lm_rendered rendered = {0};
    struct lm_bytes body = {0};
    size_t more = 0;
    bool fine = render_conversation(job, &rendered);
    if (fine && job->prefill.length) {
        struct lm_ids ids = {0};
        loam_error error;
        if (lm_tokenizer_encode(lm_engine_tokenizer(job->served->engine), job->prefill.data, job->prefill.length, 0, &ids, NULL, &error) != LOAM_OK)
            fine = refuse_error(&job->refusal, &error);
        more = ids.length;
        lm_ids_free(&ids);
    }
    if (fine) {
        lm_bytes_format(&body, NULL, "{\"input_tokens\":%zu}", rendered.ids.length + more);
        job_answer_json(job, 200, &body);
    }
    lm_rendered_free(&rendered);
    return fine;
}
