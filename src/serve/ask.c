/* Reading what the forms of requests have in common: model, messages, sampling, stops. */
#include "internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

bool ask_model(struct job *job, const struct fields *fields)
{
    struct lm_server *server = job->server;
    const struct lm_value *name = field_text(fields, "model");
    if (fields->refusal->status)
        return false;
    job->served = name && name->length ? models_find(server, name->text, name->length) : &server->models[0];
    if (job->served)
        return true;
    char names[512];
    models_names(server, names, sizeof names);
    return refuse(fields->refusal, 404, "model_not_found", "model", "the model '%.200s' does not exist here; this server has: %s",
                  name->text, names);
}

/* --- Messages --- */

static bool add_part(const struct fields *fields, const struct lm_value *part, const char *param, struct lm_bytes *out)
{
    const struct lm_value *type = lm_value_find(part, "type"), *text = lm_value_find(part, "text");
    if (part->kind == LM_STRING)
        type = NULL, text = part;
    else if (part->kind != LM_OBJECT)
        return field_refuse(fields, part, param, "a part such as {\"type\": \"text\", \"text\": \"...\"}");
    if (type && type->kind != LM_STRING)
        return field_refuse(fields, type, param, "a text");
    if (type && strcmp(type->text, "text") && strcmp(type->text, "input_text") && strcmp(type->text, "output_text"))
        return refuse(fields->refusal, 400, "unsupported_content", param,
                      "%s: a part of the type '%.40s' is not supported by this server; send parts of the type 'text'", param,
                      type->text);
    if (!text || text->kind != LM_STRING)
        return refuse(fields->refusal, 400, NULL, param, "%s: a part has no 'text'", param);
    if (lm_bytes_append(out, text->text, text->length, NULL) != LOAM_OK)
        return refuse(fields->refusal, 503, NULL, NULL, "not enough memory for this request");
    return true;
}

bool ask_content(const struct fields *fields, const struct lm_value *content, const char *param, struct lm_bytes *out)
{
    if (!content || content->kind == LM_NULL)
        return refuse(fields->refusal, 400, NULL, param, "%s is missing: wanted a text or a list of parts", param);
    if (content->kind == LM_STRING)
        return add_part(fields, content, param, out);
    if (content->kind != LM_ARRAY)
        return field_refuse(fields, content, param, "a text or a list of parts");
    for (size_t i = 0; i < content->length; i++)
        if (!add_part(fields, &content->items[i], param, out))
            return false;
    return true;
}

static bool read_role(const struct fields *fields, const struct lm_value *role, const char *param, enum lm_role *result)
{
    static const struct {
        const char *name;
        enum lm_role role;
    } roles[] = {{"system", LM_SYSTEM}, {"developer", LM_SYSTEM}, {"user", LM_USER}, {"assistant", LM_ASSISTANT}};
    if (!role || role->kind != LM_STRING)
        return refuse(fields->refusal, 400, NULL, param, "%s is missing: wanted system, developer, user or assistant", param);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(role->text, roles[i].name)) {
            *result = roles[i].role;
            return true;
        }
    return refuse(fields->refusal, 400, NULL, param, "%s: found '%.40s', wanted system, developer, user or assistant", param, role->text);
}

static bool read_message(struct job *job, const struct fields *fields, const struct lm_value *message, size_t index)
{
    char param[64];
    enum lm_role role = LM_USER;
    struct lm_bytes text = {0};
    snprintf(param, sizeof param, "messages[%zu]", index);
    if (message->kind != LM_OBJECT)
        return field_refuse(fields, message, param, "an object with role and content");
    const struct lm_value *calls = lm_value_find(message, "tool_calls");
    if (calls && calls->kind == LM_ARRAY && calls->length)
        return refuse(fields->refusal, 400, "unsupported_parameter", param, "%s: 'tool_calls' is not supported by this server; leave tools away",
                      param);
    snprintf(param, sizeof param, "messages[%zu].role", index);
    if (!read_role(fields, lm_value_find(message, "role"), param, &role))
        return false;
    snprintf(param, sizeof param, "messages[%zu].content", index);
    bool fine = ask_content(fields, lm_value_find(message, "content"), param, &text);
    if (fine && lm_conversation_add(&job->conversation, role, text.data ? text.data : "", text.length, NULL) != LOAM_OK)
        fine = refuse(fields->refusal, 503, NULL, NULL, "not enough memory for this request");
    lm_bytes_free(&text);
    return fine;
}

bool ask_messages(struct job *job, const struct fields *fields)
{
    const struct lm_value *messages = field(fields, "messages");
    if (fields->refusal->status)
        return false;
    if (!messages)
        return refuse(fields->refusal, 400, NULL, "messages", "'messages' is missing: wanted a list of {\"role\", \"content\"}");
    if (messages->kind != LM_ARRAY)
        return field_refuse(fields, messages, "messages", "a list of {\"role\", \"content\"}");
    if (!messages->length)
        return refuse(fields->refusal, 400, NULL, "messages", "'messages' is empty: wanted at least one");
    for (size_t i = 0; i < messages->length; i++)
        if (!read_message(job, fields, &messages->items[i], i))
            return false;
    return true;
}

/* --- Sampling --- */

static uint64_t random_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = (uint64_t)(lm_seconds() * 1e9);
    return seed;
}

static bool read_bias(struct job *job, const struct fields *fields, const struct lm_value *key, const struct lm_value *value,
                      struct lm_logit_bias *bias)
{
    int64_t id;
    double amount;
    loam_error error;
    if (lm_parse_int(key->text, &id, NULL) != LOAM_OK || id < 0 || id >= job->served->config.vocabulary)
        return refuse(fields->refusal, 400, NULL, "logit_bias", "logit_bias: found the key '%.40s', wanted a token id from 0 to %lld",
                      key->text, (long long)job->served->config.vocabulary - 1);
    if (lm_value_double(fields->document, value, &amount, &error) != LOAM_OK)
        return refuse(fields->refusal, 400, NULL, "logit_bias", "%s", error.message);
    if (amount < -100 || amount > 100)
        return refuse(fields->refusal, 400, NULL, "logit_bias", "logit_bias: found %g for the token %lld, wanted -100 to 100", amount,
                      (long long)id);
    *bias = (struct lm_logit_bias){(int32_t)id, (float)amount};
    return true;
}

static bool ask_biases(struct job *job, const struct fields *fields)
{
    const struct lm_value *biases = field(fields, "logit_bias");
    if (!biases || !biases->length)
        return !fields->refusal->status;
    if (biases->kind != LM_OBJECT)
        return field_refuse(fields, biases, "logit_bias", "an object of token ids and numbers");
    job->biases = lm_alloc(biases->length, sizeof *job->biases, NULL);
    if (!job->biases)
        return refuse(fields->refusal, 503, NULL, NULL, "not enough memory for this request");
    for (size_t i = 0; i < biases->length; i++)
        if (!read_bias(job, fields, &biases->keys[i], &biases->items[i], &job->biases[i]))
            return false;
    job->request.biases = job->biases;
    job->request.bias_count = biases->length;
    return true;
}

bool ask_stops(struct job *job, const struct fields *fields, const char *name)
{
    const struct lm_value *stops = field(fields, name);
    if (!stops)
        return !fields->refusal->status;
    const bool list = stops->kind == LM_ARRAY;
    const size_t count = list ? stops->length : 1;
    if (count > MOST_STOPS)
        return refuse(fields->refusal, 400, NULL, name, "%s: found %zu texts, wanted at most %d", name, count, MOST_STOPS);
    for (size_t i = 0; i < count; i++) {
        const struct lm_value *stop = list ? &stops->items[i] : stops;
        if (stop->kind != LM_STRING)
            return field_refuse(fields, stop, name, "a text, or a list of texts");
        if (!stop->length)
            continue;
        if (strlen(stop->text) != stop->length)
            return refuse(fields->refusal, 400, NULL, name, "%s: a text with a zero byte in it cannot be a stop", name);
        job->stops[job->request.stop_count++] = stop->text;
    }
    job->request.stops = job->stops;
    return true;
}

bool ask_sampling(struct job *job, const struct fields *fields, double most_temperature)
{
    loam_sampling *how = &job->request.sampling;
    const struct lm_value *seed = field(fields, "seed");
    *how = job->server->options.sampling;
    how->temperature = field_number(fields, "temperature", 0, most_temperature, how->temperature);
    how->top_p = field_number(fields, "top_p", 0, 1, how->top_p);
    how->top_k = field_int(fields, "top_k", -1, INT32_MAX, how->top_k);
    how->min_p = field_number(fields, "min_p", 0, 1, how->min_p);
    how->repetition_penalty = field_number(fields, "repetition_penalty", 0.01, 100, how->repetition_penalty);
    how->seed = seed ? (uint64_t)field_int(fields, "seed", INT64_MIN, INT64_MAX, 0) : random_seed();
    job->request.presence_penalty = field_number(fields, "presence_penalty", -2, 2, 0);
    job->request.frequency_penalty = field_number(fields, "frequency_penalty", -2, 2, 0);
    if (how->top_k < 0)    /* -1 is "off" to some clients */
        how->top_k = 0;
    if (how->top_p == 0)   /* only the likeliest */
        how->top_p = 1, how->top_k = 1;
    return ask_biases(job, fields) && !fields->refusal->status;
}

/* --- Starting --- */

bool render_conversation(struct job *job, struct lm_rendered *rendered)
{
    loam_error error;
    if (lm_engine_prompt(job->served->engine, &job->conversation, rendered, &error) == LOAM_OK)
        return true;
    if (error.code == LOAM_ENOTFOUND)
        return refuse(&job->refusal, 400, "no_chat_template", NULL, "the model '%s' cannot chat: %s; use /v1/completions, or start the server with "
                      "--template", job->served->name, error.message);
    return refuse_error(&job->refusal, &error);
}

/* What the template writes between the place where a prompt ends and the assistant's words (a blank, in some): it stands in the rendering
 * of the whole conversation. */
static size_t lead_before(struct job *job, const struct lm_bytes *prompt, char lead[8])
{
    const struct lm_template *chosen;
    struct lm_rendered whole = {0};
    size_t length = 0;
    const size_t count = job->conversation.count;
    if (lm_engine_template(job->served->engine, &chosen, NULL) != LOAM_OK ||
        lm_conversation_add(&job->conversation, LM_ASSISTANT, job->prefill.data, job->prefill.length, NULL) != LOAM_OK)
        return 0;
    const int code = lm_template_render(chosen, lm_engine_tokenizer(job->served->engine), &job->conversation, false, &whole, NULL);
    if (code == LOAM_OK && whole.text.length > prompt->length && !memcmp(whole.text.data, prompt->data, prompt->length)) {
        const char *from = whole.text.data + prompt->length;
        const char *words = memmem(from, whole.text.length - prompt->length, job->prefill.data, job->prefill.length);
        if (words && words - from < 8)
            length = (size_t)(words - from);
        memcpy(lead, from, length);
    }
    lm_rendered_free(&whole);
    while (job->conversation.count > count)
        lm_free(job->conversation.messages[--job->conversation.count].content);
    return length;
}

static bool add_prefill(struct job *job, struct lm_rendered *rendered)
{
    struct lm_bytes words = {0};
    char lead[8];
    loam_error error;
    const size_t length = lead_before(job, &rendered->text, lead);
    int code = lm_bytes_append(&words, lead, length, &error);
    if (code == LOAM_OK)
        code = lm_bytes_append(&words, job->prefill.data, job->prefill.length, &error);
    if (code == LOAM_OK)
        code = lm_tokenizer_encode(lm_engine_tokenizer(job->served->engine), words.data, words.length, 0, &rendered->ids, NULL, &error);
    lm_bytes_free(&words);
    return code == LOAM_OK || refuse_error(&job->refusal, &error);
}

bool start_conversation(struct job *job)
{
    struct lm_rendered rendered = {0};
    bool fine = render_conversation(job, &rendered);
    if (fine && job->prefill.length)
        fine = add_prefill(job, &rendered);
    if (fine) {
        job->prompts = lm_alloc(1, sizeof *job->prompts, NULL);
        if (!job->prompts)
            fine = refuse(&job->refusal, 503, NULL, NULL, "not enough memory for this request");
    }
    if (fine) {
        job->prompts[0] = rendered.ids;
        rendered.ids = (struct lm_ids){0};
        job->prompt_count = 1;
        fine = job_submit(job);
    }
    lm_rendered_free(&rendered);
    return fine;
}
