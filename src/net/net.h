/* The face of net/: an HTTP/1.1 server (libmicrohttpd) whose answers may come late, in pieces, and from any thread.
 *
 *     static void handle(void *user, struct lm_exchange *exchange)
 *     {
 *         struct lm_bytes body = {0};
 *         lm_bytes_format(&body, NULL, "you asked for %s\n", lm_exchange_path(exchange));
 *         lm_exchange_answer(exchange, 200, "text/plain", &body);
 *     }
 *     ...
 *     struct lm_http_options options = lm_http_default();
 *     options.handle = handle;
 *     struct lm_http_server *server;
 *     if (lm_http_open(&options, &server, error)) return error->code;
 *     printf("port %d\n", lm_http_port(server));
 *     lm_http_close(server);
 *
 * Threads: one serves all sockets; one watches them for clients that have gone, also while an answer is being worked on, and for those
 * that take too long; `handlers` call `handle`. A handler may answer at once, or keep the exchange and have any thread answer later.
 *
 * An exchange is one request and its answer. Whoever handles it owns it until lm_exchange_answer or lm_exchange_end, which take it
 * back; one thread at a time. When the client has gone, answers go nowhere and lm_exchange_gone says so: work for nobody can end.
 */
#ifndef LOAM_NET_H
#define LOAM_NET_H

#include "base/base.h"

struct lm_exchange;
struct lm_http_server;

struct lm_http_options {
    const char *host;          /* a name or an address to listen on: "127.0.0.1" */
    int port;                  /* 0: a free one, which lm_http_port tells */
    int handlers;              /* threads that call handle */
    int connections;           /* at once; more wait to be accepted */
    size_t header_bytes;       /* of a request's line and headers: more is 431 */
    size_t body_bytes;         /* of a request's body: more is 413 */
    size_t unread_bytes;       /* of an answer that its client does not fetch: more counts as gone */
    double idle_seconds;       /* a connection on which nothing moves is closed */
    double receive_seconds;    /* in which a request must have come, however it trickles: then 408 or the end of the connection */
    const char *cors_origin;   /* "https://example.org" or "*": pages from there may call; NULL: none */
    void *user;
    void (*handle)(void *user, struct lm_exchange *exchange);
    /* Answers a request that the server itself refuses, in the shape that fits it; NULL: in plain text. */
    void (*refuse)(void *user, struct lm_exchange *exchange, int status, const char *message);
};
struct lm_http_options lm_http_default(void);

/* Listens and serves until closed. The address in use: LOAM_EBUSY. */
int lm_http_open(const struct lm_http_options *options, struct lm_http_server **server, loam_error *error);
int lm_http_port(const struct lm_http_server *server);
/* Takes no new connection from now on, and ends each that there is behind its present answer. */
void lm_http_drain(struct lm_http_server *server);
int lm_http_active(struct lm_http_server *server);    /* exchanges that are not through */
/* What is not through is cut off, and counts as gone. Waits until every exchange has been given back. NULL is fine. */
void lm_http_close(struct lm_http_server *server);

/* The request. Texts live as long as the exchange. */
const char *lm_exchange_method(const struct lm_exchange *exchange);    /* "GET" */
const char *lm_exchange_path(const struct lm_exchange *exchange);      /* "/v1/models", escapes resolved, no query */
const char *lm_exchange_header(const struct lm_exchange *exchange, const char *name);    /* any case; NULL: not there */
const struct lm_bytes *lm_exchange_body(const struct lm_exchange *exchange);
/* True once the client has closed its connection or the server is closing. Any thread. */
bool lm_exchange_gone(const struct lm_exchange *exchange);

/* The answer: headers first, then either all at once or as a stream. `body` is moved: it is {0} afterwards. */
void lm_exchange_add_header(struct lm_exchange *exchange, const char *name, const char *value);
void lm_exchange_answer(struct lm_exchange *exchange, int status, const char *type, struct lm_bytes *body);
/* The same with a body that outlives the server. */
void lm_exchange_answer_static(struct lm_exchange *exchange, int status, const char *type, const void *data, size_t length);
void lm_exchange_begin(struct lm_exchange *exchange, int status, const char *type);
/* Never waits. False: nobody is there to read it. */
bool lm_exchange_write(struct lm_exchange *exchange, const void *data, size_t length);
void lm_exchange_end(struct lm_exchange *exchange);
/* The status that was answered, 0 before. */
int lm_exchange_status(const struct lm_exchange *exchange);

/* Appends a server-sent event; `event` may be NULL. Line ends in `data` start a new data: line. */
int lm_event_append(struct lm_bytes *out, const char *event, const char *data, size_t length, loam_error *error);

/* Reads them as they come, in pieces of any size. An event that is not finished when the stream ends is none.
 *
 *     struct lm_event_reader reader = {.most = 1 << 20, .take = on_event, .user = me};
 *     lm_event_feed(&reader, piece, n, error);            // calls on_event for each that is whole
 *     lm_event_reader_free(&reader);
 */
struct lm_event_reader {
    size_t most;                          /* bytes of one event; more is LOAM_EFORMAT */
    /* `event` is "message" where it has no name. What it returns other than LOAM_OK, lm_event_feed returns. */
    int (*take)(void *user, const char *event, const char *data, size_t length, loam_error *error);
    void *user;
    struct lm_bytes line, data;           /* what has come of the present line and event */
    char name[64];
    bool after_cr, begun;
};
int lm_event_feed(struct lm_event_reader *reader, const char *text, size_t length, loam_error *error);
void lm_event_reader_free(struct lm_event_reader *reader);

#include "client.h"     /* requests to others */
#include "secrets.h"    /* keys and tokens */
#include "site.h"       /* pages that stand in the program */

#endif
