/* Answers that do not depend on a model: JSON, errors in each API's form, ids. */
#include "internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

void make_id(const char *prefix, char out[48])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    unsigned char bytes[24];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        memset(bytes, 0, sizeof bytes);
    size_t at = (size_t)snprintf(out, 20, "%s", prefix);
    for (size_t i = 0; i < sizeof bytes; i++)
        out[at++] = digits[bytes[i] % 36];
    out[at] = 0;
}

bool is_anthropic(const struct lm_exchange *exchange)
{
    return !strncmp(lm_exchange_path(exchange), "/v1/messages", 12) || lm_exchange_header(exchange, "anthropic-version");
}

void say_json(struct lm_exchange *exchange, int status, struct lm_bytes *body)
{
    char id[48];
    make_id("req_", id);
    lm_exchange_add_header(exchange, is_anthropic(exchange) ? "request-id" : "x-request-id", id);
    lm_exchange_add_header(exchange, "Cache-Control", "no-store");
    lm_exchange_answer(exchange, status, "application/json", body);
}

static const char *anthropic_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    case 504: return "timeout_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
    }
}

static const char *openai_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 429: return "rate_limit_error";
    default: return status < 500 ? "invalid_request_error" : "server_error";
    }
}

static void text_or_null(struct lm_json_writer *json, const char *key, const char *text)
{
    lm_json_key(json, key);
    if (text && *text)
        lm_json_text(json, text);
    else
        lm_json_null(json);
}

void error_body(bool anthropic, const struct refusal *refusal, struct lm_bytes *out)
{
    struct lm_json_writer json = lm_json_writer(out, -1);
    lm_json_begin_object(&json);
    if (anthropic) {
        lm_json_key(&json, "type");
        lm_json_text(&json, "error");
    }
    lm_json_key(&json, "error");
    lm_json_begin_object(&json);
    if (anthropic) {
        lm_json_key(&json, "type");
        lm_json_text(&json, anthropic_type(refusal->status));
    }
    lm_json_key(&json, "message");
    lm_json_text(&json, refusal->message);
    if (!anthropic) {
        lm_json_key(&json, "type");
        lm_json_text(&json, openai_type(refusal->status));
        text_or_null(&json, "param", refusal->param);
        text_or_null(&json, "code", refusal->code);
    }
    lm_json_end_object(&json);
    lm_json_end_object(&json);
    lm_json_writer_finish(&json, NULL);
}

void say_error(struct lm_exchange *exchange, const struct refusal *refusal)
{
    struct lm_bytes body = {0};
    char seconds[16];
    error_body(is_anthropic(exchange), refusal, &body);
    if (refusal->retry_after) {
        snprintf(seconds, sizeof seconds, "%d", refusal->retry_after);
        lm_exchange_add_header(exchange, "Retry-After", seconds);
    }
    if (refusal->status == 401)
        lm_exchange_add_header(exchange, "WWW-Authenticate", "Bearer");
    say_json(exchange, refusal->status, &body);
}
