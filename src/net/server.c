/* The server: its sockets, its requests as they come in, and the threads that handle them. */
#include "wire.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, DRAINED_BODIES = 4 };    /* a body up to so many times the limit is read over before the answer */

struct lm_http_options lm_http_default(void)
{
    return (struct lm_http_options){.host = "127.0.0.1", .handlers = 2, .connections = 512, .header_bytes = 16 << 10,
                                    .body_bytes = 16 << 20, .unread_bytes = 4 << 20, .idle_seconds = 60,
                                    .receive_seconds = 60};
}

/* --- A request comes in; all of this on the server's thread --- */

static size_t header_size(const struct lm_exchange *exchange)
{
    return exchange->headers.length + strlen(exchange->path) + strlen(exchange->method);
}

/* The length that is announced, or -1 where none is (or none that can be read; the server has looked at its form). */
static int64_t announced(const struct lm_exchange *exchange)
{
    const char *text = lm_exchange_header(exchange, "Content-Length");
    int64_t length;
    return text && lm_parse_int(text, &length, NULL) == LOAM_OK ? length : -1;
}

static const char *too_large(const struct lm_exchange *exchange, char out[160])
{
    snprintf(out, 160, "the request's body is larger than this server takes: at most %zu bytes; send less, or have the limit raised",
             exchange->server->options.body_bytes);
    return out;
}

/* Answers from the server's own thread, before or behind the body. */
static enum MHD_Result turn_down(struct lm_exchange *exchange, int status)
{
    char text[160];
    atomic_fetch_add(&exchange->references, 1);
    if (status == 413)
        exchange_refuse(exchange, status, too_large(exchange, text));
    else
        exchange_refuse(exchange, status, "the request's headers are longer than this server takes; send shorter ones");
    return exchange_queue(exchange);
}

/* What a browser asks before a page of another origin may call. */
static bool is_preflight(const struct lm_exchange *exchange)
{
    return exchange->server->cors_origin && !strcmp(exchange->method, "OPTIONS") &&
           lm_exchange_header(exchange, "Access-Control-Request-Method");
}

static enum MHD_Result allow(struct lm_exchange *exchange)
{
    struct lm_bytes none = {0};
    atomic_fetch_add(&exchange->references, 1);
    lm_exchange_add_header(exchange, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    const char *asked = lm_exchange_header(exchange, "Access-Control-Request-Headers");
    lm_exchange_add_header(exchange, "Access-Control-Allow-Headers", asked ? asked : "authorization, content-type, x-api-key");
    lm_exchange_add_header(exchange, "Access-Control-Max-Age", "600");
    lm_exchange_answer(exchange, 204, NULL, &none);
    return exchange_queue(exchange);
}

/* The headers are there. */
static enum MHD_Result begin(struct lm_exchange *exchange)
{
    const struct lm_http_options *options = &exchange->server->options;
    if (!exchange->wire)
        return MHD_NO;
    if (header_size(exchange) > options->header_bytes)
        return turn_down(exchange, 431);
    if (is_preflight(exchange))
        return allow(exchange);
    const int64_t length = announced(exchange);
    if (length <= 0 || (uint64_t)length <= options->body_bytes)
        return MHD_YES;
    exchange->refused = 413;
    if (lm_exchange_header(exchange, "Expect") || (uint64_t)length > options->body_bytes * DRAINED_BODIES)
        return turn_down(exchange, 413);
    return MHD_YES;
}

static enum MHD_Result receive(struct lm_exchange *exchange, const char *data, size_t *length)
{
    const size_t limit = exchange->server->options.body_bytes;
    exchange->received += *length;
    if (exchange->received > limit && !exchange->refused) {
        exchange->refused = 413;
        lm_bytes_free(&exchange->body);
    }
    if (exchange->refused ? exchange->received > (uint64_t)limit * DRAINED_BODIES
                          : lm_bytes_append(&exchange->body, data, *length, NULL) != LOAM_OK)
        return MHD_NO;
    *length = 0;
    return MHD_YES;
}

/* All of it has come: the connection sleeps until there is an answer. */
static enum MHD_Result hand_over(struct lm_exchange *exchange)
{
    struct lm_http_server *server = exchange->server;
    if (exchange->refused)
        return turn_down(exchange, exchange->refused);
    watch_work(exchange);
    pthread_mutex_lock(&server->lock);
    if (server->closing) {
        pthread_mutex_unlock(&server->lock);
        return MHD_NO;
    }
    atomic_fetch_add(&exchange->references, 1);
    pthread_mutex_lock(&exchange->lock);
    exchange->phase = WORKING;
    exchange->suspended = true;
    MHD_suspend_connection(exchange->connection);
    pthread_mutex_unlock(&exchange->lock);
    exchange->next = NULL;
    if (server->last)
        server->last->next = exchange;
    else
        server->first = exchange;
    server->last = exchange;
    pthread_cond_signal(&server->work);
    pthread_mutex_unlock(&server->lock);
    return MHD_YES;
}

static enum MHD_Result serve(void *user, struct MHD_Connection *connection, const char *path, const char *method,
                             const char *version, const char *data, size_t *length, void **context)
{
    struct lm_http_server *server = user;
    struct lm_exchange *exchange = *context;
    (void)version;
    if (!exchange) {
        exchange = exchange_create(server, connection, method, path);
        if (!exchange)
            return MHD_NO;
        *context = exchange;
        watch_exchange(exchange, server->options.receive_seconds);
        return begin(exchange);
    }
    if (*length)
        return receive(exchange, data, length);
    pthread_mutex_lock(&exchange->lock);
    const enum exchange_phase phase = exchange->phase;
    pthread_mutex_unlock(&exchange->lock);
    return phase == RECEIVING ? hand_over(exchange) : exchange_queue(exchange);
}

static void completed(void *user, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode code)
{
    struct lm_exchange *exchange = *context;
    (void)user;
    (void)connection;
    (void)code;
    if (!exchange)
        return;
    *context = NULL;
    watch_done(exchange);
    pthread_mutex_lock(&exchange->lock);
    atomic_store(&exchange->gone, true);
    exchange->suspended = false;
    exchange->connection = NULL;
    pthread_mutex_unlock(&exchange->lock);
    exchange_release(exchange);
}

/* --- Handlers --- */

static struct lm_exchange *next_exchange(struct lm_http_server *server)
{
    pthread_mutex_lock(&server->lock);
    while (!server->first && !server->closing)
        pthread_cond_wait(&server->work, &server->lock);
    struct lm_exchange *exchange = server->first;
    if (exchange) {
        server->first = exchange->next;
        if (!server->first)
            server->last = NULL;
    }
    pthread_mutex_unlock(&server->lock);
    return exchange;
}

static void *handle(void *user)
{
    struct lm_http_server *server = user;
    struct lm_exchange *exchange;
    while ((exchange = next_exchange(server)))
        server->options.handle(server->options.user, exchange);
    return NULL;
}

/* --- Opening and closing --- */

static int try_listen(const struct addrinfo *address, int *problem)
{
    const int yes = 1, no = 0;
    const int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->ai_protocol);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (address->ai_family == AF_INET6)
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
        if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
            return fd;
    }
    *problem = errno;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int listen_on(struct lm_http_server *server, loam_error *error)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char port[16];
    int problem = 0;
    snprintf(port, sizeof port, "%d", server->options.port);
    const int failed = getaddrinfo(server->host, port, &hints, &found);
    if (failed)
        return lm_fail(error, LOAM_EUSAGE, "host %s: %s; give an address of this machine, e.g. 127.0.0.1 or 0.0.0.0", server->host,
                       gai_strerror(failed));
    for (const struct addrinfo *at = found; at && server->listening < 0; at = at->ai_next)
        server->listening = try_listen(at, &problem);
    freeaddrinfo(found);
    if (server->listening < 0 && problem == EADDRINUSE)
        return lm_fail(error, LOAM_EBUSY, "%s port %s is in use by another program; choose another with --port, or 0 for a free one",
                       server->host, port);
    if (server->listening < 0)
        return lm_fail_errno(error, problem, "cannot listen on %s port %s", server->host, port);
    struct sockaddr_storage at;
    socklen_t size = sizeof at;
    if (getsockname(server->listening, (struct sockaddr *)&at, &size) != 0)
        return lm_fail_errno(error, errno, "%s port %s", server->host, port);
    char shown[16];
    if (getnameinfo((struct sockaddr *)&at, size, NULL, 0, shown, sizeof shown, NI_NUMERICSERV) == 0)
        server->port = atoi(shown);
    return LOAM_OK;
}

static int start_daemon(struct lm_http_server *server, loam_error *error)
{
    const struct lm_http_options *options = &server->options;
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, serve, server,
        MHD_OPTION_LISTEN_SOCKET, server->listening,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, options->header_bytes * 2 + 32768,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)options->idle_seconds,
        MHD_OPTION_NOTIFY_COMPLETED, completed, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, watch_connection, server,
        MHD_OPTION_END);
    return server->daemon ? LOAM_OK : lm_fail_errno(error, errno, "the HTTP server does not start");
}

static int start_handlers(struct lm_http_server *server, loam_error *error)
{
    server->handlers = lm_alloc((size_t)server->options.handlers, sizeof *server->handlers, error);
    if (!server->handlers)
        return LOAM_ENOMEM;
    for (; server->handler_count < server->options.handlers; server->handler_count++) {
        const int failed = pthread_create(&server->handlers[server->handler_count], NULL, handle, server);
        if (failed)
            return lm_fail_errno(error, failed, "cannot start a thread to handle requests");
    }
    return LOAM_OK;
}

static int copy_options(struct lm_http_server *server, const struct lm_http_options *options, loam_error *error)
{
    server->options = *options;
    server->host = lm_copy_string(options->host, strlen(options->host), error);
    if (!server->host)
        return LOAM_ENOMEM;
    if (options->cors_origin && !(server->cors_origin = lm_copy_string(options->cors_origin, strlen(options->cors_origin), error)))
        return LOAM_ENOMEM;
    return LOAM_OK;
}

int lm_http_open(const struct lm_http_options *options, struct lm_http_server **result, loam_error *error)
{
    struct lm_http_server *server = lm_alloc(1, sizeof *server, error);
    if (!server)
        return LOAM_ENOMEM;
    server->listening = server->watch = server->wake = -1;
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->work, NULL);
    pthread_cond_init(&server->quiet, NULL);
    atomic_init(&server->draining, false);
    int code = copy_options(server, options, error);
    if (code == LOAM_OK)
        code = listen_on(server, error);
    if (code == LOAM_OK)
        code = watch_start(server, error);
    if (code == LOAM_OK)
        code = start_handlers(server, error);
    if (code == LOAM_OK)
        code = start_daemon(server, error);
    if (code != LOAM_OK) {
        lm_http_close(server);
        return code;
    }
    *result = server;
    return LOAM_OK;
}

int lm_http_port(const struct lm_http_server *server)
{
    return server->port;
}

void lm_http_drain(struct lm_http_server *server)
{
    if (atomic_exchange(&server->draining, true))
        return;
    MHD_quiesce_daemon(server->daemon);
    close(server->listening);
    server->listening = -1;
}

int lm_http_active(struct lm_http_server *server)
{
    pthread_mutex_lock(&server->lock);
    const int count = server->exchanges;
    pthread_mutex_unlock(&server->lock);
    return count;
}

/* Wakes every connection that sleeps, and lets none sleep again. */
static void cut_off_all(struct lm_http_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->closing = true;
    for (struct wire *wire = server->wires; wire; wire = wire->next)
        if (wire->exchange)
            exchange_set_gone(wire->exchange);
    pthread_cond_broadcast(&server->work);
    pthread_mutex_unlock(&server->lock);
}

static void wait_for_exchanges(struct lm_http_server *server)
{
    pthread_mutex_lock(&server->lock);
    while (server->exchanges)
        pthread_cond_wait(&server->quiet, &server->lock);
    pthread_mutex_unlock(&server->lock);
}

void lm_http_close(struct lm_http_server *server)
{
    if (!server)
        return;
    cut_off_all(server);
    watch_stop(server);
    if (server->daemon)
        MHD_stop_daemon(server->daemon);
    for (int i = 0; i < server->handler_count; i++)
        pthread_join(server->handlers[i], NULL);
    wait_for_exchanges(server);
    if (server->listening >= 0 && (!server->daemon || atomic_load(&server->draining)))
        close(server->listening);
    pthread_mutex_destroy(&server->lock);
    pthread_cond_destroy(&server->work);
    pthread_cond_destroy(&server->quiet);
    lm_free(server->handlers);
    lm_free(server->host);
    lm_free(server->cors_origin);
    lm_free(server);
}
