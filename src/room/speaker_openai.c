/* Services of OpenAI's kind: POST BASE/chat/completions, a stream of events or one JSON value. */
#include "service.h"

#include <string.h>

static int headers(const struct service *service, struct lm_bytes *key, struct lm_http_header *list, size_t *count, loam_error *error)
{
    if (!service->key)
        return LOAM_OK;
    int code = lm_bytes_append(key, "Bearer ", 7, error);
    if (code == LOAM_OK)
        code = lm_secret_append(service->key, key, error);
    list[(*count)++] = (struct lm_http_header){"Authorization", key->data};
    return code;
}

static void number(struct lm_json_writer *json, bool given, const char *name, double value)
{
    if (!given)
        return;
    lm_json_key(json, name);
    lm_json_double(json, value);
}

static void whole(struct lm_json_writer *json, bool given, const char *name, int64_t value)
{
    if (!given)
        return;
    lm_json_key(json, name);
    lm_json_int(json, value);
}

static void write_sampling(const struct lm_participant_sampling *sampling, struct lm_json_writer *json)
{
    number(json, sampling->has_temperature, "temperature", sampling->how.temperature);
    number(json, sampling->has_top_p, "top_p", sampling->how.top_p);
    whole(json, sampling->has_top_k, "top_k", sampling->how.top_k);
    number(json, sampling->has_min_p, "min_p", sampling->how.min_p);
    number(json, sampling->has_repetition_penalty, "repetition_penalty", sampling->how.repetition_penalty);
    number(json, sampling->has_presence_penalty, "presence_penalty", sampling->presence_penalty);
    number(json, sampling->has_frequency_penalty, "frequency_penalty", sampling->frequency_penalty);
    whole(json, sampling->has_seed, "seed", (int64_t)sampling->how.seed);
}

static void write_request(const struct service *service, const struct lm_speech_request *request, struct lm_json_writer *json)
{
    const struct lm_participant *participant = service->participant;
    const int refused = atomic_load(&((struct service *)service)->refused);
    const int64_t most = request->max_tokens ? request->max_tokens : participant->sampling.max_tokens;
    lm_json_begin_object(json);
    lm_json_key(json, "model");
    lm_json_text(json, participant->model);
    lm_json_key(json, "messages");
    lm_json_begin_array(json);
    for (size_t i = 0; i < request->count; i++) {
        lm_json_begin_object(json);
        lm_json_key(json, "role");
        lm_json_text(json, lm_role_name(request->messages[i].role));
        lm_json_key(json, "content");
        lm_json_string(json, request->messages[i].text, request->messages[i].length);
        lm_json_end_object(json);
    }
    lm_json_end_array(json);
    whole(json, most > 0, refused & SERVICE_NEW_MAX_TOKENS ? "max_completion_tokens" : "max_tokens", most);
    write_sampling(&participant->sampling, json);
    lm_json_key(json, "stream");
    lm_json_bool(json, true);
    if (!(refused & SERVICE_NO_STREAM_OPTIONS)) {
        lm_json_key(json, "stream_options");
        lm_json_begin_object(json);
        lm_json_key(json, "include_usage");
        lm_json_bool(json, true);
        lm_json_end_object(json);
    }
    lm_json_end_object(json);
}

/* A text, or a list of parts of which some are text. */
static void take_content(struct lm_speech *speech, const struct lm_value *content)
{
    service_text(speech, content);
    for (size_t i = 0; content && content->kind == LM_ARRAY && i < content->length; i++)
        service_text(speech, lm_value_find(&content->items[i], "text"));
}

static void take_usage(struct lm_speech *speech, const struct lm_value *root)
{
    const struct lm_value *usage = lm_value_find(root, "usage");
    service_tokens(usage, "prompt_tokens", &speech->result.prompt_tokens);
    service_tokens(usage, "completion_tokens", &speech->result.tokens);
}

/* `part` is "delta" in events and "message" in whole answers. */
static void take(struct lm_speech *speech, const struct lm_value *root, const char *part)
{
    const struct lm_value *error = lm_value_find(root, "error"), *choices = lm_value_find(root, "choices");
    if (error && error->kind != LM_NULL) {
        const struct lm_value *message = lm_value_find(error, "message");
        service_failed(speech, true, "broke its answer off", message ? message : error);
        return;
    }
    take_usage(speech, root);
    const struct lm_value *choice = choices && choices->kind == LM_ARRAY && choices->length ? &choices->items[0] : NULL;
    const struct lm_value *reason = lm_value_find(choice, "finish_reason");
    take_content(speech, lm_value_find(lm_value_find(choice, part), "content"));
    if (reason && reason->kind == LM_STRING) {
        speech->ended = true;
        speech->result.cut = lm_value_is(reason, "length");
    }
}

static void take_event(struct lm_speech *speech, const char *name, const struct lm_value *root)
{
    (void)name;
    take(speech, root, "delta");
}

static void take_answer(struct lm_speech *speech, const struct lm_value *root)
{
    const struct lm_value *choices = lm_value_find(root, "choices");
    if (!lm_value_find(root, "error") && (!choices || choices->kind != LM_ARRAY || !choices->length ||
                                         !lm_value_find(&choices->items[0], "message"))) {
        service_failed(speech, false, "answered 200 with JSON that has no choices; is it a service of OpenAI's kind?", NULL);
        return;
    }
    take(speech, root, "message");
    speech->ended = true;
}

const struct service_api service_openai = {"/chat/completions", headers, write_request, take_event, take_answer};

int lm_speaker_openai_open(const struct lm_participant *participant, const struct lm_speaker_kit *kit, struct lm_speaker *speaker,
                           loam_error *error)
{
    return service_open(&service_openai, service_openai.path, participant, kit, speaker, error);
}
