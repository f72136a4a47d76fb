/* One request and its answer. The server's thread and the handler's meet here. */
#include "wire.h"

#include <string.h>
#include <strings.h>

enum { LEAST_READ = 16384 };    /* bytes fetched of a stream at once */

static enum MHD_Result copy_header(void *user, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct lm_bytes *headers = user;
    (void)kind;
    if (!value)
        value = "";
    if (lm_bytes_append(headers, name, strlen(name) + 1, NULL) || lm_bytes_append(headers, value, strlen(value) + 1, NULL))
        return MHD_NO;
    return MHD_YES;
}

struct lm_exchange *exchange_create(struct lm_http_server *server, struct MHD_Connection *connection, const char *method,
                                    const char *path)
{
    struct lm_exchange *exchange = lm_alloc(1, sizeof *exchange, NULL);
    if (!exchange)
        return NULL;
    pthread_mutex_init(&exchange->lock, NULL);
    atomic_init(&exchange->references, 1);
    atomic_init(&exchange->gone, false);
    exchange->server = server;
    exchange->connection = connection;
    exchange->method = lm_copy_string(method, strlen(method), NULL);
    exchange->path = lm_copy_string(path, strlen(path), NULL);
    pthread_mutex_lock(&server->lock);
    server->exchanges++;
    pthread_mutex_unlock(&server->lock);
    const int wanted = MHD_get_connection_values(connection, MHD_HEADER_KIND, NULL, NULL);
    if (!exchange->method || !exchange->path ||
        MHD_get_connection_values(connection, MHD_HEADER_KIND, copy_header, &exchange->headers) != wanted) {
        exchange_release(exchange);
        return NULL;
    }
    return exchange;
}

void exchange_release(struct lm_exchange *exchange)
{
    if (atomic_fetch_sub(&exchange->references, 1) > 1)
        return;
    struct lm_http_server *server = exchange->server;
    if (exchange->response)
        MHD_destroy_response(exchange->response);
    lm_free(exchange->method);
    lm_free(exchange->path);
    lm_bytes_free(&exchange->headers);
    lm_bytes_free(&exchange->body);
    lm_bytes_free(&exchange->more);
    lm_bytes_free(&exchange->unread);
    pthread_mutex_destroy(&exchange->lock);
    lm_free(exchange);
    pthread_mutex_lock(&server->lock);
    server->exchanges--;
    pthread_cond_broadcast(&server->quiet);
    pthread_mutex_unlock(&server->lock);
}

/* With the lock held. */
static void wake(struct lm_exchange *exchange)
{
    if (!exchange->suspended)
        return;
    exchange->suspended = false;
    MHD_resume_connection(exchange->connection);
}

void exchange_set_gone(struct lm_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    atomic_store(&exchange->gone, true);
    wake(exchange);
    pthread_mutex_unlock(&exchange->lock);
}

static const char *find(const struct lm_bytes *headers, const char *name)
{
    for (size_t at = 0; at < headers->length;) {
        const char *key = headers->data + at, *value = key + strlen(key) + 1;
        if (!strcasecmp(key, name))
            return value;
        at = (size_t)(value - headers->data) + strlen(value) + 1;
    }
    return NULL;
}

const char *lm_exchange_method(const struct lm_exchange *exchange)
{
    return exchange->method;
}

const char *lm_exchange_path(const struct lm_exchange *exchange)
{
    return exchange->path;
}

const char *lm_exchange_header(const struct lm_exchange *exchange, const char *name)
{
    return find(&exchange->headers, name);
}

const struct lm_bytes *lm_exchange_body(const struct lm_exchange *exchange)
{
    return &exchange->body;
}

bool lm_exchange_gone(const struct lm_exchange *exchange)
{
    return atomic_load(&exchange->gone);
}

int lm_exchange_status(const struct lm_exchange *exchange)
{
    return exchange->status;
}

void lm_exchange_add_header(struct lm_exchange *exchange, const char *name, const char *value)
{
    pthread_mutex_lock(&exchange->lock);
    const size_t before = exchange->more.length;
    if (copy_header(&exchange->more, MHD_HEADER_KIND, name, value) != MHD_YES)
        exchange->more.length = before;
    pthread_mutex_unlock(&exchange->lock);
}

static void add_all(struct MHD_Response *response, const struct lm_bytes *headers)
{
    for (size_t at = 0; at < headers->length;) {
        const char *key = headers->data + at, *value = key + strlen(key) + 1;
        MHD_add_response_header(response, key, value);
        at = (size_t)(value - headers->data) + strlen(value) + 1;
    }
}

/* With the lock held: the response is there (NULL: no memory, and the connection is cut off). */
static void set_response(struct lm_exchange *exchange, int status, const char *type, struct MHD_Response *response)
{
    const struct lm_http_server *server = exchange->server;
    exchange->status = status;
    exchange->response = response;
    if (!response) {
        atomic_store(&exchange->gone, true);
        wake(exchange);
        return;
    }
    if (type)
        MHD_add_response_header(response, "Content-Type", type);
    if (server->cors_origin) {
        MHD_add_response_header(response, "Access-Control-Allow-Origin", server->cors_origin);
        MHD_add_response_header(response, "Access-Control-Expose-Headers", "retry-after, request-id, x-request-id");
        if (strcmp(server->cors_origin, "*"))
            MHD_add_response_header(response, "Vary", "Origin");
    }
    if (atomic_load(&server->draining))
        MHD_add_response_header(response, "Connection", "close");
    add_all(response, &exchange->more);
    wake(exchange);
}

static void finish(struct lm_exchange *exchange, int status, const char *type, struct MHD_Response *response)
{
    watch_deadline(exchange, exchange->server->options.receive_seconds);
    pthread_mutex_lock(&exchange->lock);
    exchange->phase = ANSWERED;
    set_response(exchange, status, type, response);
    pthread_mutex_unlock(&exchange->lock);
    exchange_release(exchange);
}

void lm_exchange_answer(struct lm_exchange *exchange, int status, const char *type, struct lm_bytes *body)
{
    struct MHD_Response *response =
        body->length ? MHD_create_response_from_buffer_with_free_callback(body->length, body->data, lm_free)
                     : MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
    if (response && body->length)
        *body = (struct lm_bytes){0};
    lm_bytes_free(body);
    finish(exchange, status, type, response);
}

void lm_exchange_answer_static(struct lm_exchange *exchange, int status, const char *type, const void *data, size_t length)
{
    finish(exchange, status, type, MHD_create_response_from_buffer(length, (void *)(uintptr_t)data, MHD_RESPMEM_PERSISTENT));
}

/* The server's thread fetches what there is of a stream, or puts the connection to sleep until there is more. */
static ssize_t fetch(void *user, uint64_t position, char *to, size_t most)
{
    struct lm_exchange *exchange = user;
    (void)position;
    ssize_t got = 0;
    pthread_mutex_lock(&exchange->lock);
    const size_t there = exchange->unread.length - exchange->fetched;
    if (atomic_load(&exchange->gone)) {
        got = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (there) {
        got = (ssize_t)(there < most ? there : most);
        memcpy(to, exchange->unread.data + exchange->fetched, (size_t)got);
        exchange->fetched += (size_t)got;
        if (exchange->fetched == exchange->unread.length)
            exchange->fetched = exchange->unread.length = 0;
    } else if (exchange->ended) {
        got = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        exchange->suspended = true;
        MHD_suspend_connection(exchange->connection);
    }
    pthread_mutex_unlock(&exchange->lock);
    return got;
}

void lm_exchange_begin(struct lm_exchange *exchange, int status, const char *type)
{
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, LEAST_READ, fetch, exchange, NULL);
    pthread_mutex_lock(&exchange->lock);
    exchange->phase = STREAMING;
    set_response(exchange, status, type, response);
    pthread_mutex_unlock(&exchange->lock);
}

/* With the lock held: what was fetched makes room for what is written. */
static int keep(struct lm_exchange *exchange, const void *data, size_t length)
{
    struct lm_bytes *unread = &exchange->unread;
    if (exchange->fetched) {
        memmove(unread->data, unread->data + exchange->fetched, unread->length - exchange->fetched);
        unread->length -= exchange->fetched;
        exchange->fetched = 0;
    }
    if (unread->length + length > exchange->server->options.unread_bytes)
        return LOAM_ENOSPACE;
    return lm_bytes_append(unread, data, length, NULL);
}

bool lm_exchange_write(struct lm_exchange *exchange, const void *data, size_t length)
{
    pthread_mutex_lock(&exchange->lock);
    if (!atomic_load(&exchange->gone) && keep(exchange, data, length) != LOAM_OK)
        atomic_store(&exchange->gone, true);
    wake(exchange);
    const bool there = !atomic_load(&exchange->gone);
    pthread_mutex_unlock(&exchange->lock);
    return there;
}

void lm_exchange_end(struct lm_exchange *exchange)
{
    watch_deadline(exchange, exchange->server->options.receive_seconds);
    pthread_mutex_lock(&exchange->lock);
    exchange->ended = true;
    wake(exchange);
    pthread_mutex_unlock(&exchange->lock);
    exchange_release(exchange);
}

enum MHD_Result exchange_queue(struct lm_exchange *exchange)
{
    pthread_mutex_lock(&exchange->lock);
    enum MHD_Result result = MHD_NO;
    if (!atomic_load(&exchange->gone) && exchange->response) {
        exchange->queued = true;
        result = MHD_queue_response(exchange->connection, (unsigned)exchange->status, exchange->response);
    }
    pthread_mutex_unlock(&exchange->lock);
    return result;
}

void exchange_refuse(struct lm_exchange *exchange, int status, const char *message)
{
    const struct lm_http_options *options = &exchange->server->options;
    if (options->refuse) {
        options->refuse(options->user, exchange, status, message);
        return;
    }
    struct lm_bytes body = {0};
    lm_bytes_format(&body, NULL, "%s\n", message);
    lm_exchange_answer(exchange, status, "text/plain", &body);
}
