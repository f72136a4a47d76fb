/* Services of Anthropic's kind: POST BASE/v1/messages, a stream of named events or one JSON value. */
#include "service.h"

#include <string.h>

static int headers(const struct service *service, struct lm_bytes *key, struct lm_http_header *list, size_t *count, loam_error *error)
{
    list[(*count)++] = (struct lm_http_header){"anthropic-version", "2023-06-01"};
    if (!service->key)
        return LOAM_OK;
    const int code = lm_secret_append(service->key, key, error);
    list[(*count)++] = (struct lm_http_header){"x-api-key", key->data};
    return code;
}

static void write_message(const struct lm_speech_message *message, struct lm_json_writer *json)
{
    lm_json_begin_object(json);
    lm_json_key(json, "role");
    lm_json_text(json, lm_role_name(message->role));
    lm_json_key(json, "content");
    lm_json_string(json, message->text, message->length);
    lm_json_end_object(json);
}

static void write_request(const struct service *service, const struct lm_speech_request *request, struct lm_json_writer *json)
{
    const struct lm_participant *participant = service->participant;
    const struct lm_participant_sampling *sampling = &participant->sampling;
    const size_t first = request->count && request->messages[0].role == LM_SYSTEM;
    lm_json_begin_object(json);
    lm_json_key(json, "model");
    lm_json_text(json, participant->model);
    lm_json_key(json, "max_tokens");    /* not to be left away */
    lm_json_int(json, request->max_tokens ? request->max_tokens : sampling->max_tokens);
    if (first) {
        lm_json_key(json, "system");
        lm_json_string(json, request->messages[0].text, request->messages[0].length);
    }
    lm_json_key(json, "messages");
    lm_json_begin_array(json);
    for (size_t i = first; i < request->count; i++)
        write_message(&request->messages[i], json);
    lm_json_end_array(json);
    if (sampling->has_temperature) {
        lm_json_key(json, "temperature");
        lm_json_double(json, sampling->how.temperature);
    }
    if (sampling->has_top_p) {
        lm_json_key(json, "top_p");
        lm_json_double(json, sampling->how.top_p);
    }
    if (sampling->has_top_k && sampling->how.top_k) {
        lm_json_key(json, "top_k");
        lm_json_int(json, sampling->how.top_k);
    }
    lm_json_key(json, "stream");
    lm_json_bool(json, true);
    lm_json_end_object(json);
}

/* The prompt's tokens are told in three parts: fresh, written to a cache, read from it. */
static void take_usage(struct lm_speech *speech, const struct lm_value *usage)
{
    int64_t fresh = -1, written = 0, read = 0;
    service_tokens(usage, "input_tokens", &fresh);
    service_tokens(usage, "cache_creation_input_tokens", &written);
    service_tokens(usage, "cache_read_input_tokens", &read);
    if (fresh >= 0)
        speech->result.prompt_tokens = fresh + written + read;
    service_tokens(usage, "output_tokens", &speech->result.tokens);
}

static void take_error(struct lm_speech *speech, const struct lm_value *error)
{
    const struct lm_value *type = lm_value_find(error, "type");
    const bool again = lm_value_is(type, "overloaded_error") || lm_value_is(type, "rate_limit_error") || lm_value_is(type, "api_error") ||
                       lm_value_is(type, "timeout_error");
    service_failed(speech, again, "broke its answer off", lm_value_find(error, "message"));
}

static void take_event(struct lm_speech *speech, const char *name, const struct lm_value *root)
{
    const struct lm_value *type = lm_value_find(root, "type"), *delta = lm_value_find(root, "delta");
    if (lm_value_is(type, "error") || !strcmp(name, "error"))
        take_error(speech, lm_value_find(root, "error"));
    else if (lm_value_is(type, "message_start"))
        take_usage(speech, lm_value_find(lm_value_find(root, "message"), "usage"));
    else if (lm_value_is(type, "content_block_start"))
        service_text(speech, lm_value_find(lm_value_find(root, "content_block"), "text"));
    else if (lm_value_is(type, "content_block_delta") && lm_value_is(lm_value_find(delta, "type"), "text_delta"))
        service_text(speech, lm_value_find(delta, "text"));
    else if (lm_value_is(type, "message_delta")) {
        take_usage(speech, lm_value_find(root, "usage"));
        speech->result.cut = lm_value_is(lm_value_find(delta, "stop_reason"), "max_tokens");
    } else if (lm_value_is(type, "message_stop"))
        speech->ended = true;
}

static void take_answer(struct lm_speech *speech, const struct lm_value *root)
{
    const struct lm_value *content = lm_value_find(root, "content");
    if (lm_value_is(lm_value_find(root, "type"), "error")) {
        take_error(speech, lm_value_find(root, "error"));
        return;
    }
    if (!content || content->kind != LM_ARRAY) {
        service_failed(speech, false, "answered 200 with JSON that has no content; is it a service of Anthropic's kind?", NULL);
        return;
    }
    for (size_t i = 0; i < content->length; i++)
        if (lm_value_is(lm_value_find(&content->items[i], "type"), "text"))
            service_text(speech, lm_value_find(&content->items[i], "text"));
    take_usage(speech, lm_value_find(root, "usage"));
    speech->result.cut = lm_value_is(lm_value_find(root, "stop_reason"), "max_tokens");
    speech->ended = true;
}

const struct service_api service_anthropic = {"/v1/messages", headers, write_request, take_event, take_answer};

/* "https://api.anthropic.com" and "https://api.anthropic.com/v1" are the same. */
int lm_speaker_anthropic_open(const struct lm_participant *participant, const struct lm_speaker_kit *kit, struct lm_speaker *speaker,
                              loam_error *error)
{
    const size_t length = strlen(participant->base_url);
    const bool versioned = length > 3 && !strcmp(participant->base_url + length - 3, "/v1");
    return service_open(&service_anthropic, versioned ? "/messages" : service_anthropic.path, participant, kit, speaker, error);
}
