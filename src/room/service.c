#include "service.h"

#include "protocol.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_STREAM = 16 << 20, MOST_ANSWER = 1 << 20, MOST_EVENT = 1 << 20, MOST_REFUSAL = 64 << 10, REASON_BYTES = 240 };

/* --- Failures --- */

/* A line of what the service said, harmless, and without keys. */
static void reason_text(const struct service *service, const struct lm_value *value, char out[REASON_BYTES])
{
    struct lm_bytes clean = {0};
    size_t length = 0;
    out[0] = 0;
    if (!value || value->kind != LM_STRING)
        return;
    const size_t taken = value->length < 4096 ? value->length : 4096;
    if (lm_harmless_text(value->text, taken, &clean, NULL) == LOAM_OK && clean.data) {
        lm_secrets_hide(service->secrets, clean.data);    /* before it is cut: half a key is to be known as one */
        for (size_t i = 0; i < service->participant->header_count; i++)
            lm_secret_hide(service->participant->headers[i].value, strlen(service->participant->headers[i].value), clean.data);
        length = clean.length < REASON_BYTES - 1 ? clean.length : REASON_BYTES - 1;
        length -= lm_utf8_unfinished(clean.data, length);
        memcpy(out, clean.data, length);
    }
    for (size_t i = 0; i < length; i++)
        if (out[i] == '\n' || out[i] == '\t')
            out[i] = ' ';
    out[length] = 0;
    lm_bytes_free(&clean);
}

void service_failed(struct lm_speech *speech, bool again, const char *what, const struct lm_value *reason)
{
    char text[REASON_BYTES];
    if (speech->failed)
        return;
    reason_text(speech->service, reason, text);
    speech->failed = true;
    speech->result.again = again;
    lm_fail(&speech->result.error, LOAM_EIO, "%s %s%s%s", speech->service->place, what, *text ? ": " : "", text);
}

static const char *status_name(int status)
{
    static const struct {
        int status;
        const char *name;
    } names[] = {{400, "bad request"},          {402, "payment required"},  {403, "forbidden"},       {404, "not found"},
                 {408, "timeout"},              {413, "request too large"}, {422, "not understood"},  {429, "too many requests"},
                 {500, "error of the service"}, {502, "bad gateway"},       {503, "not available"},   {504, "timeout behind the gateway"},
                 {529, "overloaded"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].status == status)
            return names[i].name;
    return NULL;
}

/* {"error": {"message": …}}, {"error": "…"}, {"message": …}, {"detail": …} */
static const struct lm_value *reason_of(const struct lm_value *root)
{
    const struct lm_value *error = lm_value_find(root, "error"), *message = lm_value_find(error, "message");
    if (message)
        return message;
    if (error && error->kind == LM_STRING)
        return error;
    message = lm_value_find(root, "message");
    return message ? message : lm_value_find(root, "detail");
}

/* Fields that only some services know, found out by their refusal: the next try is without. */
static bool learn(struct service *service, const struct lm_value *reason)
{
    const char *text = reason && reason->kind == LM_STRING ? reason->text : "";
    int what = strstr(text, "stream_options") ? SERVICE_NO_STREAM_OPTIONS : 0;
    if (strstr(text, "max_completion_tokens"))
        what |= SERVICE_NEW_MAX_TOKENS;
    return what && (atomic_fetch_or(&service->refused, what) & what) != what;
}

static void refused(struct lm_speech *speech, double retry_after)
{
    struct service *service = speech->service;
    const int status = speech->status;
    struct lm_document *document = NULL;
    char what[200];
    const char *name = status_name(status);
    if (speech->body.length)
        lm_json_parse(speech->body.data, speech->body.length, "answer", &document, NULL);
    const struct lm_value *root = document ? lm_document_root(document) : NULL, *reason = reason_of(root);
    const struct lm_value *error = lm_value_find(root, "error");
    const bool quota = lm_value_is(lm_value_find(error, "code"), "insufficient_quota") ||
                       lm_value_is(lm_value_find(error, "type"), "insufficient_quota");
    bool again = status == 408 || status == 425 || (status == 429 && !quota) || status >= 500;
    if (status == 400 && learn(service, reason)) {
        again = true;
        retry_after = 0;
    }
    if (status == 401 && service->participant->key)
        lm_format(what, sizeof what, "answered 401: it does not accept the key '%s'", service->participant->key);
    else if (status == 401)
        lm_format(what, sizeof what, "answered 401: it wants a key; name one of the secrets as `key`");
    else if (status >= 300 && status < 400)
        lm_format(what, sizeof what, "answered %d: it has moved; is base_url right?", status);
    else if (status == 404 && !reason)
        lm_format(what, sizeof what, "answered 404 (not found); is base_url right?");
    else
        lm_format(what, sizeof what, name ? "answered %d (%s)" : "answered %d", status, name);
    service_failed(speech, again, what, status == 401 || (status >= 300 && status < 400) ? NULL : reason);
    speech->result.retry_after = retry_after;
    lm_document_free(document);
}

/* --- What comes --- */

void service_text(struct lm_speech *speech, const struct lm_value *text)
{
    if (text && text->kind == LM_STRING && text->length && !speech->failed)
        speech->text(speech->user, text->text, text->length);
}

void service_tokens(const struct lm_value *usage, const char *field, int64_t *tokens)
{
    const struct lm_value *value = lm_value_find(usage, field);
    if (!value || value->kind != LM_NUMBER)
        return;
    const long long number = strtoll(value->text, NULL, 10);
    if (number >= 0 && number < INT32_MAX)
        *tokens = number;
}

static int take_event(void *user, const char *event, const char *data, size_t length, loam_error *error)
{
    struct lm_speech *speech = user;
    struct lm_document *document;
    if (length == 6 && !memcmp(data, "[DONE]", 6)) {
        speech->ended = true;
        return LOAM_OK;
    }
    const int code = lm_json_parse(data, length, "event", &document, error);
    if (code == LOAM_ENOMEM)
        return code;
    if (code != LOAM_OK) {
        service_failed(speech, false, "sent an event that is not JSON", NULL);
        return code;
    }
    speech->service->api->event(speech, event, lm_document_root(document));
    lm_document_free(document);
    return speech->failed ? LOAM_EIO : LOAM_OK;
}

static void on_head(void *user, const struct lm_http_head *head)
{
    struct lm_speech *speech = user;
    speech->status = head->status;
    speech->events = head->status == 200 && !strncasecmp(head->type, "text/event-stream", 17);
}

static bool on_data(void *user, const char *data, size_t length)
{
    struct lm_speech *speech = user;
    loam_error error = {0};
    if (speech->failed)
        return false;
    if (speech->events) {
        if (lm_event_feed(&speech->reader, data, length, &error) != LOAM_OK && !speech->failed)
            service_failed(speech, false, error.code == LOAM_ENOMEM ? "sent more than there is memory for" : "sent an event that is too long",
                           NULL);
        return !speech->failed;
    }
    const size_t most = speech->status == 200 ? MOST_ANSWER : MOST_REFUSAL, room = most - speech->body.length;
    if (lm_bytes_append(&speech->body, data, length < room ? length : room, &error) != LOAM_OK || (length > room && speech->status == 200))
        service_failed(speech, false, "sent an answer that is too long", NULL);
    return !speech->failed && length <= room;    /* of a refusal the beginning is enough */
}

static void whole_answer(struct lm_speech *speech)
{
    struct lm_document *document;
    if (lm_json_parse(speech->body.data ? speech->body.data : "", speech->body.length, "answer", &document, NULL) != LOAM_OK) {
        service_failed(speech, false, "answered 200 with something that is not JSON; is base_url right?", NULL);
        return;
    }
    speech->service->api->answer(speech, lm_document_root(document));
    lm_document_free(document);
}

static void conclude(struct lm_speech *speech, const struct lm_http_reply *reply)
{
    const bool cut_off = reply->code != LOAM_OK;
    if (speech->failed)
        return;
    if (speech->status && speech->status != 200) {
        refused(speech, reply->head.retry_after);
        return;
    }
    if (speech->ended)    /* whatever became of the connection afterwards */
        return;
    if (cut_off) {
        speech->failed = true;
        speech->result.again = reply->code == LOAM_EIO;
        speech->result.error = reply->error;
        return;
    }
    if (!speech->events)
        whole_answer(speech);
    if (!speech->failed && !speech->ended)
        service_failed(speech, true, "ended its answer in the middle", NULL);
}

static void release(struct lm_speech *speech)
{
    if (atomic_fetch_sub(&speech->references, 1) != 1)
        return;
    lm_http_call_free(speech->call);
    lm_event_reader_free(&speech->reader);
    lm_bytes_free(&speech->body);
    lm_free(speech);
}

static void on_done(void *user, struct lm_http_reply *reply)
{
    struct lm_speech *speech = user;
    struct service *service = speech->service;
    const bool ours = speech->status && speech->status != 200;    /* a refusal of which enough has come */
    const bool cancelled = reply->code == LOAM_ECANCELLED && !speech->failed && (atomic_load(&speech->cancelled) || !ours);
    if (!cancelled)
        conclude(speech, reply);
    speech->result.end = speech->failed ? LM_SPEECH_FAILED : cancelled ? LM_SPEECH_CANCELLED : LM_SPEECH_ANSWERED;
    speech->done(speech->user, &speech->result);
    pthread_mutex_lock(&service->lock);
    if (speech->previous)
        speech->previous->next = speech->next;
    else
        service->first = speech->next;
    if (speech->next)
        speech->next->previous = speech->previous;
    if (!service->first)
        pthread_cond_broadcast(&service->quiet);
    pthread_mutex_unlock(&service->lock);
    release(speech);
}

/* --- The speaker --- */

static bool given(const struct lm_participant *participant, const char *name)
{
    for (size_t i = 0; i < participant->header_count; i++)
        if (!strcasecmp(participant->headers[i].name, name))
            return true;
    return false;
}

/* The participant's own headers stand for those of the same name that the api would send. */
static int send_it(struct service *service, struct lm_speech *speech, const struct lm_bytes *body, double seconds, loam_error *error)
{
    const struct lm_participant *participant = service->participant;
    struct lm_http_header own[SERVICE_HEADERS];
    struct lm_bytes key = {0};
    size_t own_count = 0, count = 0;
    struct lm_http_header *headers = lm_alloc(participant->header_count + SERVICE_HEADERS + 2, sizeof *headers, error);
    int code = headers ? service->api->headers(service, &key, own, &own_count, error) : LOAM_ENOMEM;
    if (code == LOAM_OK) {
        for (size_t i = 0; i < own_count; i++)
            if (!given(participant, own[i].name))
                headers[count++] = own[i];
        for (size_t i = 0; i < participant->header_count; i++)
            headers[count++] = (struct lm_http_header){participant->headers[i].name, participant->headers[i].value};
        headers[count++] = (struct lm_http_header){"Content-Type", "application/json"};
        headers[count++] = (struct lm_http_header){"Accept", "text/event-stream, application/json"};
        const struct lm_http_request request = {.method = "POST", .url = service->url.data, .headers = headers, .header_count = count,
                                                .body = body->data, .length = body->length, .seconds = seconds, .most_bytes = MOST_STREAM,
                                                .head = on_head, .data = on_data, .done = on_done, .user = speech};
        pthread_mutex_lock(&service->lock);
        code = service->closing ? lm_fail(error, LOAM_ECANCELLED, "the participant is being closed")
                                : lm_http_start(service->client, &request, &speech->call, error);
        if (code == LOAM_OK) {
            speech->next = service->first;
            if (speech->next)
                speech->next->previous = speech;
            service->first = speech;
        }
        pthread_mutex_unlock(&service->lock);
    }
    lm_bytes_wipe(&key);
    lm_free(headers);
    return code;
}

static int start(void *self, const struct lm_speech_request *request, struct lm_speech **result, loam_error *error);

static void cancel(struct lm_speech *speech)
{
    atomic_store(&speech->cancelled, true);
    lm_http_cancel(speech->call);
}

/* Four characters of the Latin kind a token, one of any other: what tokenizers of services give on the whole. */
static int64_t count_tokens(void *self, const char *text, size_t length)
{
    int64_t plain = 0, others = 0;
    (void)self;
    for (size_t i = 0; i < length; i++) {
        plain += !(text[i] & 0x80);
        others += (text[i] & 0xC0) == 0xC0;
    }
    return (plain + 3) / 4 + others;
}

static int64_t context(void *self)
{
    (void)self;
    return 0;
}

static void free_service(struct service *service)
{
    pthread_mutex_destroy(&service->lock);
    pthread_cond_destroy(&service->quiet);
    lm_bytes_free(&service->url);
    lm_free(service);
}

static void close_service(void *self)
{
    struct service *service = self;
    pthread_mutex_lock(&service->lock);
    service->closing = true;
    for (struct lm_speech *at = service->first; at; at = at->next)
        cancel(at);
    while (service->first)
        pthread_cond_wait(&service->quiet, &service->lock);
    pthread_mutex_unlock(&service->lock);
    free_service(service);
}

static const struct lm_speaker_ops ops = {start, cancel, release, count_tokens, context, close_service};

static int start(void *self, const struct lm_speech_request *request, struct lm_speech **result, loam_error *error)
{
    struct service *service = self;
    struct lm_bytes body = {0};
    struct lm_speech *speech = lm_alloc(1, sizeof *speech, error);
    if (!speech)
        return LOAM_ENOMEM;
    speech->ops = &ops;
    speech->service = service;
    atomic_store(&speech->references, 2);
    speech->text = request->text;
    speech->done = request->done;
    speech->user = request->user;
    speech->reader = (struct lm_event_reader){.most = MOST_EVENT, .take = take_event, .user = speech};
    speech->result = (struct lm_speech_result){.retry_after = -1, .prompt_tokens = -1, .tokens = -1};
    struct lm_json_writer json = lm_json_writer(&body, -1);
    service->api->write(service, request, &json);
    int code = lm_json_writer_finish(&json, error);
    if (code == LOAM_OK)
        *result = speech;    /* before anything can be called */
    if (code == LOAM_OK)
        code = send_it(service, speech, &body, request->seconds, error);
    lm_bytes_free(&body);
    if (code != LOAM_OK) {
        *result = NULL;
        release(speech);
        release(speech);
    }
    return code;
}

int service_open(const struct service_api *api, const char *path, const struct lm_participant *participant,
                 const struct lm_speaker_kit *kit, struct lm_speaker *speaker, loam_error *error)
{
    const struct lm_secret *key = participant->key ? lm_secrets_find(kit->secrets, participant->key) : NULL;
    if (!kit->client)
        return lm_fail(error, LOAM_EUNSUPPORTED, "%s: services cannot be asked here", participant->name);
    if (participant->key && !key)
        return lm_fail(error, LOAM_ENOTFOUND, "%s: no secret called '%s'; put a line %s = VALUE into the secrets file, or set the "
                       "environment variable of that name", participant->name, participant->key, participant->key);
    struct service *service = lm_alloc(1, sizeof *service, error);
    if (!service)
        return LOAM_ENOMEM;
    *service = (struct service){.api = api, .participant = participant, .client = kit->client, .secrets = kit->secrets, .key = key};
    pthread_mutex_init(&service->lock, NULL);
    pthread_cond_init(&service->quiet, NULL);
    int code = lm_bytes_format(&service->url, error, "%s%s", participant->base_url, path);
    if (code == LOAM_OK && lm_http_place(service->url.data, service->place, error) != LOAM_OK)
        code = lm_fail(error, LOAM_EUSAGE, "%s: base_url is no address, wanted http://HOST or https://HOST, with a port up to 65535 where one is "
                       "given", participant->name);
    if (code != LOAM_OK) {
        free_service(service);
        return code;
    }
    *speaker = (struct lm_speaker){&ops, service};
    return LOAM_OK;
}
