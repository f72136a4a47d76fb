/* Calls of the Bot API. The token stands in the address, so nothing of it is ever shown. */
#include "telegram_inside.h"

#include <string.h>

enum { MOST_ANSWER = 32 << 20 };

static void on_done(void *user, struct lm_http_reply *reply)
{
    struct call *call = user;
    struct lm_telegram *bot = call->bot;
    pthread_mutex_lock(&bot->lock);
    call->code = reply->code;
    call->status = reply->head.status;
    call->body = reply->body;
    call->error = reply->error;
    reply->body = (struct lm_bytes){0};
    call->done = true;
    pthread_cond_signal(&bot->wake);
    pthread_mutex_unlock(&bot->lock);
}

static int start(struct lm_telegram *bot, struct call *call, const char *method, const struct lm_bytes *body, double seconds,
                 loam_error *error)
{
    static const struct lm_http_header type = {"Content-Type", "application/json"};
    struct lm_bytes url = {0};
    int code = lm_bytes_format(&url, error, "%s/bot", bot->config->api_url);
    if (code == LOAM_OK)
        code = lm_secret_append(bot->token, &url, error);
    if (code == LOAM_OK)
        code = lm_bytes_format(&url, error, "/%s", method);
    const struct lm_http_request request = {.method = "POST", .url = url.data, .headers = &type, .header_count = 1, .body = body->data,
                                            .length = body->length, .seconds = seconds, .most_bytes = MOST_ANSWER, .done = on_done, .user = call};
    if (code == LOAM_OK) {
        pthread_mutex_lock(&bot->lock);    /* so that it is in the list before it can be done */
        code = lm_http_start(bot->options.client, &request, &call->http, error);
        if (code == LOAM_OK) {
            call->next = bot->calls;
            bot->calls = call;
        }
        pthread_mutex_unlock(&bot->lock);
    }
    lm_bytes_wipe(&url);
    return code;
}

void telegram_call(struct lm_telegram *bot, const char *method, struct lm_bytes *body, double seconds, int64_t home,
                   void (*then)(struct lm_telegram *bot, struct call *call, struct answer *answer))
{
    loam_error error = {0};
    struct call *call = lm_alloc(1, sizeof *call, &error);
    struct call failed = {.bot = bot, .home = home};
    if (call) {
        *call = (struct call){.bot = bot, .then = then, .home = home};
        if (!body->data)
            lm_bytes_append(body, "{}", 2, &error);
        if (body->data && start(bot, call, method, body, seconds, &error) == LOAM_OK) {
            lm_bytes_free(body);
            return;
        }
        lm_free(call);
    }
    lm_bytes_free(body);
    struct answer answer = {.code = error.code ? error.code : LOAM_ENOMEM, .retry_after = -1};
    lm_format(answer.why, sizeof answer.why, "%s", error.message);
    if (then)
        then(bot, &failed, &answer);
}

/* {"ok": true, "result": …} or {"ok": false, "error_code": …, "description": …, "parameters": {…}} */
static void read_body(struct lm_telegram *bot, const struct call *call, struct answer *answer)
{
    loam_error error;
    const int code = lm_json_parse(call->body.data ? call->body.data : "", call->body.length, "answer", &answer->document, &error);
    const struct lm_value *root = code == LOAM_OK ? lm_document_root(answer->document) : NULL;
    const struct lm_value *parameters = lm_value_find(root, "parameters"), *description = lm_value_find(root, "description");
    if (telegram_flag(root, "ok") && lm_value_find(root, "result")) {
        answer->result = lm_value_find(root, "result");
        return;
    }
    answer->code = LOAM_EIO;
    const bool known = description && description->kind == LM_STRING;
    if (known)
        answer->status = (int)telegram_number(root, "error_code", call->status);
    answer->retry_after = (double)telegram_number(parameters, "retry_after", -1);
    answer->migrate_to = telegram_number(parameters, "migrate_to_chat_id", 0);
    loam_error shown;    /* lm_fail shows control characters as such */
    lm_fail(&shown, LOAM_EIO, "%s", known ? description->text : call->status == 200 ? "an answer that is no JSON of the Bot API" : "");
    lm_secrets_hide(bot->options.secrets, shown.message);
    lm_format(answer->why, sizeof answer->why, "%d%s%.200s", answer->status, *shown.message ? " " : "", shown.message);
    answer->why[strlen(answer->why) - lm_utf8_unfinished(answer->why, strlen(answer->why))] = 0;
}

void telegram_called(struct lm_telegram *bot, struct call *call)
{
    struct answer answer = {.code = call->code, .status = call->status, .accepted = call->status == 200, .retry_after = -1};
    pthread_mutex_lock(&bot->lock);
    struct call **at = &bot->calls;
    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    pthread_mutex_unlock(&bot->lock);
    if (call->code == LOAM_OK)
        read_body(bot, call, &answer);
    else
        lm_format(answer.why, sizeof answer.why, "%s", call->error.message);
    if (call->then)
        call->then(bot, call, &answer);
    lm_document_free(answer.document);
    lm_http_call_free(call->http);
    lm_bytes_free(&call->body);
    lm_free(call);
}
