/* The watcher: a connection that sleeps while its answer is worked on does not notice by itself that its client has gone, and one on
 * which a byte trickles now and then is never idle. This thread looks at the sockets and at the clock. */
#include "wire.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOK_MS = 250, EVENTS = 64 };

static struct wire *wire_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* With the lock held. */
static void forget_socket(struct lm_http_server *server, struct wire *wire)
{
    if (wire->watched)
        epoll_ctl(server->watch, EPOLL_CTL_DEL, wire->socket, NULL);
    wire->watched = false;
}

static void add_wire(struct lm_http_server *server, struct MHD_Connection *connection, void **context)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct wire *wire = info ? lm_alloc(1, sizeof *wire, NULL) : NULL;
    if (!wire)
        return;    /* the first request on it is turned down */
    wire->socket = info->connect_fd;
    wire->deadline = lm_seconds() + server->options.idle_seconds + server->options.receive_seconds;
    pthread_mutex_lock(&server->lock);
    wire->number = ++server->numbers;
    wire->next = server->wires;
    server->wires = wire;
    pthread_mutex_unlock(&server->lock);
    *context = wire;
}

static void remove_wire(struct lm_http_server *server, struct wire *wire)
{
    pthread_mutex_lock(&server->lock);
    forget_socket(server, wire);
    struct wire **at = &server->wires;
    while (*at != wire)
        at = &(*at)->next;
    *at = wire->next;
    pthread_mutex_unlock(&server->lock);
    lm_free(wire);
}

void watch_connection(void *user, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode code)
{
    struct lm_http_server *server = user;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        add_wire(server, connection, context);
    else if (*context)
        remove_wire(server, *context);
}

void watch_exchange(struct lm_exchange *exchange, double seconds)
{
    struct lm_http_server *server = exchange->server;
    struct wire *wire = wire_of(exchange->connection);
    exchange->wire = wire;
    if (!wire)
        return;
    pthread_mutex_lock(&server->lock);
    wire->exchange = exchange;
    wire->deadline = lm_seconds() + seconds;
    pthread_mutex_unlock(&server->lock);
}

void watch_work(struct lm_exchange *exchange)
{
    struct lm_http_server *server = exchange->server;
    struct wire *wire = exchange->wire;
    pthread_mutex_lock(&server->lock);
    struct epoll_event event = {.events = EPOLLRDHUP, .data.u64 = wire->number};
    wire->deadline = 0;
    wire->watched = epoll_ctl(server->watch, EPOLL_CTL_ADD, wire->socket, &event) == 0;
    pthread_mutex_unlock(&server->lock);
}

void watch_done(struct lm_exchange *exchange)
{
    struct lm_http_server *server = exchange->server;
    struct wire *wire = exchange->wire;
    if (!wire)
        return;
    pthread_mutex_lock(&server->lock);
    forget_socket(server, wire);
    wire->exchange = NULL;
    wire->deadline = lm_seconds() + server->options.idle_seconds + server->options.receive_seconds;
    exchange->wire = NULL;
    pthread_mutex_unlock(&server->lock);
}

void watch_deadline(struct lm_exchange *exchange, double seconds)
{
    struct lm_http_server *server = exchange->server;
    pthread_mutex_lock(&server->lock);
    if (exchange->wire)
        exchange->wire->deadline = lm_seconds() + seconds;
    pthread_mutex_unlock(&server->lock);
}

/* With the lock held, under which no exchange of a wire is freed. */
static void client_gone(struct lm_http_server *server, uint64_t number)
{
    for (struct wire *wire = server->wires; wire; wire = wire->next)
        if (wire->number == number) {
            forget_socket(server, wire);
            if (wire->exchange)
                exchange_set_gone(wire->exchange);
            return;
        }
}

static void cut_off_late(struct lm_http_server *server)
{
    const double now = lm_seconds();
    for (struct wire *wire = server->wires; wire; wire = wire->next) {
        if (wire->deadline == 0 || wire->deadline > now)
            continue;
        wire->deadline = 0;
        shutdown(wire->socket, SHUT_RDWR);
        if (wire->exchange)
            exchange_set_gone(wire->exchange);
    }
}

static void *watch(void *user)
{
    struct lm_http_server *server = user;
    struct epoll_event events[EVENTS];
    for (;;) {
        const int count = epoll_wait(server->watch, events, EVENTS, LOOK_MS);
        if (count < 0 && errno != EINTR)
            return NULL;
        pthread_mutex_lock(&server->lock);
        const bool closing = server->closing;
        for (int i = 0; i < count; i++)
            if (events[i].data.u64)
                client_gone(server, events[i].data.u64);
        cut_off_late(server);
        pthread_mutex_unlock(&server->lock);
        if (closing)
            return NULL;
    }
}

int watch_start(struct lm_http_server *server, loam_error *error)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0};
    server->watch = epoll_create1(EPOLL_CLOEXEC);
    server->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (server->watch < 0 || server->wake < 0 || epoll_ctl(server->watch, EPOLL_CTL_ADD, server->wake, &event) != 0)
        return lm_fail_errno(error, errno, "cannot watch connections");
    const int failed = pthread_create(&server->watcher, NULL, watch, server);
    if (failed)
        return lm_fail_errno(error, failed, "cannot start a thread to watch connections");
    server->watcher_runs = true;
    return LOAM_OK;
}

void watch_stop(struct lm_http_server *server)
{
    const uint64_t one = 1;
    if (server->watcher_runs) {
        const ssize_t written = write(server->wake, &one, sizeof one);
        (void)written;
        pthread_join(server->watcher, NULL);
    }
    if (server->watch >= 0)
        close(server->watch);
    if (server->wake >= 0)
        close(server->wake);
}
