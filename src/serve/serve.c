/* The server: its routes, who may ask, opening and closing. */
#include "internal.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 512 };

static void answer_model(struct lm_server *server, struct lm_exchange *exchange);

static const struct route routes[] = {
    {.method = "GET", .path = "/health", .open = true, .answer = answer_health},
    {.method = "GET", .path = "/v1/models", .answer = answer_models},
    {.method = "GET", .path = "/metrics", .answer = answer_metrics},
    {.method = "POST", .path = "/v1/chat/completions", .ask = ask_chat, .start = start_conversation, .shape = &chat_shape},
    {.method = "POST", .path = "/v1/completions", .ask = ask_completion, .start = start_completion, .shape = &completion_shape},
    {.method = "POST", .path = "/v1/messages", .ask = ask_anthropic, .start = start_conversation, .shape = &messages_shape},
    {.method = "POST", .path = "/v1/messages/count_tokens", .ask = ask_count, .start = start_count},
    {.method = "POST", .path = "/tokenize", .ask = ask_tokenize, .start = start_tokenize},
    {.method = "POST", .path = "/detokenize", .ask = ask_detokenize, .start = start_detokenize},
    {.method = "POST", .path = "/apply-template", .ask = ask_apply, .start = start_apply},
};
enum { ROUTES = sizeof routes / sizeof *routes };
static const struct route page_route = {.method = "GET", .open = true, .answer = answer_page},
                          model_route = {.method = "GET", .answer = answer_model};

/* --- Answers that need no model --- */

void serve_log(struct lm_server *server, const char *format, ...)
{
    char line[2048];
    if (!server->options.log)
        return;
    va_list arguments;
    va_start(arguments, format);
    lm_format_list(line, sizeof line, format, arguments);
    va_end(arguments);
    server->options.log(server->options.user, line);
}

void serve_answered(struct lm_server *server, const struct lm_exchange *exchange, int status, double seconds)
{
    atomic_fetch_add(&server->metrics.answers[status / 100 % 6], 1);
    serve_log(server, "%s %s %d %.3f s", lm_exchange_method(exchange), lm_exchange_path(exchange), status, seconds);
}

static void refuse_exchange(struct lm_server *server, struct lm_exchange *exchange, const struct refusal *refusal)
{
    serve_answered(server, exchange, refusal->status, 0);
    say_error(exchange, refusal);
}

void serve_refuse(void *user, struct lm_exchange *exchange, int status, const char *message)
{
    struct refusal refusal = {0};
    refuse(&refusal, status, NULL, NULL, "%s", message);
    refuse_exchange(user, exchange, &refusal);
}

static void answer_json(struct lm_server *server, struct lm_exchange *exchange, int status, struct lm_bytes *body)
{
    serve_answered(server, exchange, status, 0);
    say_json(exchange, status, body);
}

void answer_health(struct lm_server *server, struct lm_exchange *exchange)
{
    struct lm_bytes body = {0};
    const bool draining = atomic_load(&server->draining);
    lm_bytes_format(&body, NULL, "{\"status\":\"%s\"}", draining ? "draining" : "ok");
    answer_json(server, exchange, draining ? 503 : 200, &body);
}

/* Both APIs' fields: each passes over the other's. */
static void write_model(struct lm_server *server, struct lm_json_writer *json, const struct served *model)
{
    char when[32];
    const time_t created = (time_t)server->created;
    struct tm parts;
    pthread_mutex_lock(&server->models_lock);
    const bool loaded = model->engine;
    pthread_mutex_unlock(&server->models_lock);
    const int64_t most = server->options.engine.context ? server->options.engine.context : 32768;
    gmtime_r(&created, &parts);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
    lm_json_begin_object(json);
    lm_json_key(json, "id");
    lm_json_text(json, model->name);
    lm_json_key(json, "object");
    lm_json_text(json, "model");
    lm_json_key(json, "created");
    lm_json_int(json, server->created);
    lm_json_key(json, "owned_by");
    lm_json_text(json, "loam");
    lm_json_key(json, "type");
    lm_json_text(json, "model");
    lm_json_key(json, "display_name");
    lm_json_text(json, model->name);
    lm_json_key(json, "created_at");
    lm_json_text(json, when);
    lm_json_key(json, "context_length");
    lm_json_int(json, model->config.context < most ? model->config.context : most);
    lm_json_key(json, "loaded");
    lm_json_bool(json, loaded);
    lm_json_end_object(json);
}

void answer_models(struct lm_server *server, struct lm_exchange *exchange)
{
    struct lm_bytes body = {0};
    struct lm_json_writer json = lm_json_writer(&body, -1);
    lm_json_begin_object(&json);
    lm_json_key(&json, "object");
    lm_json_text(&json, "list");
    lm_json_key(&json, "data");
    lm_json_begin_array(&json);
    for (size_t i = 0; i < server->model_count; i++)
        write_model(server, &json, &server->models[i]);
    lm_json_end_array(&json);
    lm_json_key(&json, "has_more");
    lm_json_bool(&json, false);
    lm_json_key(&json, "first_id");
    lm_json_text(&json, server->models[0].name);
    lm_json_key(&json, "last_id");
    lm_json_text(&json, server->models[server->model_count - 1].name);
    lm_json_end_object(&json);
    lm_json_writer_finish(&json, NULL);
    answer_json(server, exchange, 200, &body);
}

static const char one_model[] = "/v1/models/";

static void answer_model(struct lm_server *server, struct lm_exchange *exchange)
{
    const char *name = lm_exchange_path(exchange) + sizeof one_model - 1;
    const struct served *model = models_find(server, name, strlen(name));
    struct lm_bytes body = {0};
    if (!model) {
        struct refusal refusal = {0};
        char names[512];
        models_names(server, names, sizeof names);
        refuse(&refusal, 404, "model_not_found", "model", "the model '%.200s' does not exist here; this server has: %s", name, names);
        refuse_exchange(server, exchange, &refusal);
        return;
    }
    struct lm_json_writer json = lm_json_writer(&body, -1);
    write_model(server, &json, model);
    lm_json_writer_finish(&json, NULL);
    answer_json(server, exchange, 200, &body);
}

/* --- Who may ask --- */

/* 127.0.0.1 and its like; a name that only begins so, 127.example.org, is none. */
static bool is_loopback_address(const char *host, size_t length)
{
    char copy[INET_ADDRSTRLEN] = "";
    struct in_addr address;
    if (length >= sizeof copy)
        return false;
    memcpy(copy, host, length);
    return inet_pton(AF_INET, copy, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

/* A page of another site whose name was made to point to this machine (DNS rebinding) shows by the name it asks for. */
static bool host_is_fine(const struct lm_server *server, const struct lm_exchange *exchange)
{
    const char *host = lm_exchange_header(exchange, "Host");
    if (!server->loopback || server->keys.wanted || !host)
        return true;
    size_t length = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    const size_t own = strlen(server->options.host);
    return (length == 9 && !strncmp(host, "localhost", 9)) || (length > 10 && !strncmp(host + length - 10, ".localhost", 10)) ||
           is_loopback_address(host, length) || (length == 5 && !strncmp(host, "[::1]", 5)) ||
           (length == own && !strncmp(host, server->options.host, own));
}

static bool has_key(const struct lm_server *server, const struct lm_exchange *exchange)
{
    const char *bearer = lm_exchange_header(exchange, "Authorization"), *key = lm_exchange_header(exchange, "x-api-key");
    if (!server->keys.wanted || (key && keys_hold(&server->keys, key)))
        return true;
    if (!bearer || strncasecmp(bearer, "Bearer ", 7))
        return false;
    bearer += 7;
    while (*bearer == ' ')
        bearer++;
    return keys_hold(&server->keys, bearer);
}

static bool is_json(const struct lm_exchange *exchange)
{
    const char *type = lm_exchange_header(exchange, "Content-Type");
    const size_t length = type ? strcspn(type, "; \t") : 0;
    return length == 16 && !strncasecmp(type, "application/json", 16);
}

static bool check(struct lm_server *server, const struct lm_exchange *exchange, const struct route *route, struct refusal *refusal)
{
    if (!host_is_fine(server, exchange))
        return refuse(refusal, 403, NULL, NULL, "the Host header names another machine, and this server answers only its own; ask for localhost, or "
                      "start the server with --host and --keys");
    if (!route->open && !has_key(server, exchange))
        return refuse(refusal, 401, "invalid_api_key", NULL, "the API key is missing or wrong; send one of this server's as "
                      "'Authorization: Bearer KEY' or 'x-api-key: KEY'");
    if (atomic_load(&server->draining) && route->ask) {
        refuse(refusal, 503, "shutting_down", NULL, "the server is shutting down");
        refusal->retry_after = 5;
        return false;
    }
    if (route->ask && !is_json(exchange))
        return refuse(refusal, 415, NULL, NULL, "the Content-Type is %.60s; send JSON as 'Content-Type: application/json'",
                      lm_exchange_header(exchange, "Content-Type") ? lm_exchange_header(exchange, "Content-Type") : "missing");
    return true;
}

/* --- A request --- */

/* NULL: refused, with 404 or 405. */
static const struct route *find_route(struct lm_exchange *exchange, struct refusal *refusal)
{
    const char *path = lm_exchange_path(exchange), *method = lm_exchange_method(exchange), *other = NULL;
    const bool gets = !strcmp(method, "GET") || !strcmp(method, "HEAD");
    if (is_page(path) || !strncmp(path, one_model, sizeof one_model - 1)) {
        if (gets)
            return is_page(path) ? &page_route : &model_route;
        other = "GET";
    }
    for (size_t i = 0; i < ROUTES; i++) {
        if (strcmp(routes[i].path, path))
            continue;
        if (!strcmp(routes[i].method, method) || (gets && !strcmp(routes[i].method, "GET")))
            return &routes[i];
        other = routes[i].method;
    }
    if (other) {
        lm_exchange_add_header(exchange, "Allow", other);
        refuse(refusal, 405, NULL, NULL, "%.100s takes %s, not %.20s", path, other, method);
    } else {
        refuse(refusal, 404, NULL, NULL, "there is no %.20s %.200s here; README.md and docs/serving.md list what there is", method, path);
    }
    return NULL;
}

static bool read_body(struct job *job)
{
    const struct lm_bytes *body = lm_exchange_body(job->exchange);
    loam_error error;
    if (lm_json_parse(body->data ? body->data : "", body->length, "body", &job->document, &error) != LOAM_OK)
        return refuse(&job->refusal, 400, NULL, NULL, "%s", error.message);
    const struct fields fields = {job->document, lm_document_root(job->document), &job->refusal};
    if (fields.object->kind != LM_OBJECT)
        return refuse(&job->refusal, 400, NULL, NULL, "the body is no JSON object");
    return job->route->ask(job, &fields) && !job->refusal.status;
}

static void run(struct lm_server *server, struct lm_exchange *exchange, const struct route *route)
{
    struct job *job = job_create(server, exchange, route);
    if (!job) {
        struct refusal refusal = {0};
        refuse(&refusal, 503, "overloaded", NULL, "too many requests are being worked on; try again in a moment");
        refusal.retry_after = 1;
        refuse_exchange(server, exchange, &refusal);
    } else if (read_body(job)) {
        models_run(job);
    } else {
        job_refuse(job);
    }
}

void serve_handle(void *user, struct lm_exchange *exchange)
{
    struct lm_server *server = user;
    struct refusal refusal = {0};
    const struct route *route = find_route(exchange, &refusal);
    if (!route || !check(server, exchange, route, &refusal))
        refuse_exchange(server, exchange, &refusal);
    else if (route->answer)
        route->answer(server, exchange);
    else
        run(server, exchange, route);
}

/* --- Opening and closing --- */

struct lm_serve_options lm_serve_default(void)
{
    return (struct lm_serve_options){.host = "127.0.0.1", .port = 8080, .sampling = loam_sampling_default(), .body_bytes = 16 << 20,
                                     .timeout = 600};
}

static bool is_loopback(const char *host)
{
    return is_loopback_address(host, strlen(host)) || !strcmp(host, "localhost") || !strcmp(host, "::1");
}

static int open_http(struct lm_server *server, loam_error *error)
{
    struct lm_http_options http = lm_http_default();
    http.host = server->options.host;
    http.port = server->options.port;
    http.connections = CONNECTIONS;
    http.body_bytes = server->options.body_bytes;
    http.cors_origin = server->options.cors_origin;
    http.user = server;
    http.handle = serve_handle;
    http.refuse = serve_refuse;
    return lm_http_open(&http, &server->http, error);
}

int lm_serve_open(const struct lm_serve_options *options, struct lm_server **result, loam_error *error)
{
    struct lm_server *server = lm_alloc(1, sizeof *server, error);
    if (!server)
        return LOAM_ENOMEM;
    server->options = *options;
    server->memory = options->memory ? options->memory : lm_memory_limit() / 10 * 9;
    server->loopback = is_loopback(options->host);
    server->started = lm_seconds();
    server->created = time(NULL);
    server->job_count = 2 * CONNECTIONS;    /* also those whose clients have gone, until their engines have heard of it */
    atomic_init(&server->draining, false);
    int code = models_open(server, error), jobs = jobs_start(server, code == LOAM_OK ? error : NULL);
    code = code == LOAM_OK ? jobs : code;
    if (code == LOAM_OK)
        code = lm_sampling_check(&options->sampling, error);
    if (code == LOAM_OK && options->keys)
        code = keys_read(options->keys, &server->keys, error);
    if (code == LOAM_OK)
        code = open_http(server, error);
    if (code != LOAM_OK) {
        lm_serve_close(server);
        return code;
    }
    *result = server;
    return LOAM_OK;
}

int lm_serve_port(const struct lm_server *server)
{
    return lm_http_port(server->http);
}

bool lm_serve_drain(struct lm_server *server, double seconds)
{
    const double until = lm_seconds() + seconds;
    atomic_store(&server->draining, true);
    lm_http_drain(server->http);
    while (lm_http_active(server->http) && lm_seconds() < until)
        usleep(20000);
    return !lm_http_active(server->http);
}

void lm_serve_close(struct lm_server *server)
{
    if (!server)
        return;
    atomic_store(&server->draining, true);
    lm_http_close(server->http);
    models_wait(server);
    jobs_stop(server);
    models_close(server);
    jobs_free(server);
    keys_free(&server->keys);
    lm_free(server);
}
