/* What the files of the server share. Private to net/.
 *
 * Locks, in the order in which they are taken: server->lock (list of connections, queue), exchange->lock. */
#ifndef LOAM_NET_WIRE_H
#define LOAM_NET_WIRE_H

#include "net.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

/* One TCP connection. */
struct wire {
    struct wire *next;
    uint64_t number;                /* never given twice: what the watcher's epoll knows it by */
    int socket;
    bool watched;                   /* in the watcher's epoll */
    double deadline;                /* when it is cut off; 0: not */
    struct lm_exchange *exchange;   /* the one in progress, or NULL */
};

enum exchange_phase { RECEIVING, WORKING, ANSWERED, STREAMING };

struct lm_exchange {
    struct lm_http_server *server;
    struct MHD_Connection *connection;    /* NULL once the server has let go of it */
    struct wire *wire;                    /* valid as long as connection is */
    atomic_int references;                /* the server's and the handler's */
    struct lm_exchange *next;             /* in the queue of handlers */
    char *method, *path;
    struct lm_bytes headers;              /* name, 0, value, 0, … */
    struct lm_bytes body;
    uint64_t received;                    /* bytes of the body, also those not kept */
    int refused;                          /* a status: what is left of the request is read over, and then this answered */
    atomic_bool gone;

    pthread_mutex_t lock;                 /* all below */
    enum exchange_phase phase;
    bool suspended, queued;
    int status;
    struct MHD_Response *response;
    struct lm_bytes more;                 /* answer's headers, as `headers` */
    struct lm_bytes unread;               /* of a stream: what is written and not fetched yet, from `fetched` on */
    size_t fetched;
    bool ended;
};

struct lm_http_server {
    struct lm_http_options options;
    char *host, *cors_origin;
    int port, listening;
    struct MHD_Daemon *daemon;
    int watch, wake;                      /* the watcher's epoll and its eventfd */
    pthread_t watcher, *handlers;
    int handler_count;
    bool watcher_runs;

    pthread_mutex_t lock;
    pthread_cond_t work;                  /* the queue has something, or closing */
    pthread_cond_t quiet;                 /* an exchange was freed */
    struct lm_exchange *first, *last;     /* waiting for a handler */
    struct wire *wires;
    uint64_t numbers;
    int exchanges;                        /* that exist */
    bool closing;
    atomic_bool draining;
};

/* exchange.c */
struct lm_exchange *exchange_create(struct lm_http_server *server, struct MHD_Connection *connection, const char *method,
                                    const char *path);
void exchange_release(struct lm_exchange *exchange);
void exchange_set_gone(struct lm_exchange *exchange);    /* and wakes its connection */
/* Gives the answer to the connection; to be called in the server's thread. */
enum MHD_Result exchange_queue(struct lm_exchange *exchange);
void exchange_refuse(struct lm_exchange *exchange, int status, const char *message);

/* watch.c */
int watch_start(struct lm_http_server *server, loam_error *error);
void watch_stop(struct lm_http_server *server);
void watch_connection(void *user, struct MHD_Connection *connection, void **socket_context,
                      enum MHD_ConnectionNotificationCode code);
void watch_exchange(struct lm_exchange *exchange, double deadline);    /* its connection belongs to it now */
void watch_work(struct lm_exchange *exchange);                        /* it has come in full: look for the client's going */
void watch_done(struct lm_exchange *exchange);
void watch_deadline(struct lm_exchange *exchange, double seconds);

#endif
