/* HTTP requests to others, without waiting (libcurl's multi interface): one thread for all of them.
 *
 *     static void on_done(void *user, struct lm_http_reply *reply)
 *     {
 *         if (reply->code == LOAM_OK && reply->status == 200) … reply->body …
 *     }
 *     ...
 *     struct lm_http_client *client;
 *     struct lm_http_call *call;
 *     struct lm_http_client_options options = {0};
 *     if (lm_http_client_open(&options, &client, error)) return error->code;
 *     struct lm_http_request request = {.method = "GET", .url = "https://example.org/", .done = on_done, .user = me};
 *     if (lm_http_start(client, &request, &call, error)) …                // refused: nothing will be called
 *     lm_http_call_free(call);                                            // at any time; cancels nothing
 *     lm_http_client_close(client);
 *
 * Callbacks come on the client's thread, in this order for one call: head once an answer's status and headers are there, data for each
 * piece of its body, done exactly once for every call that was started, also for those that are cancelled or still on their way when
 * the client is closed. They must be quick and may call start, cancel and call_free, not close. start and
 * cancel never wait for a callback.
 *
 * Nothing is followed, retried, decompressed or kept as a cookie. Connections are used again (HTTP/2 where a server offers it); the
 * environment's proxies count, as they do for every program on libcurl. Messages of errors name scheme, host and port of an address
 * and never its path, its query, a header or a body, as these hold keys. A waiting call takes some 3 KB, one on its way 20 to 40 KB. */
#ifndef LOAM_NET_CLIENT_H
#define LOAM_NET_CLIENT_H

#include "base/base.h"

struct lm_http_client;
struct lm_http_call;

struct lm_http_client_options {
    int connections;            /* at once, more wait; 0: as many as the process may open files, less a quarter, at most 4096 */
    double connect_seconds;     /* 0: 15 */
};

struct lm_http_header {
    const char *name, *value;
};
struct lm_http_head {
    int status;
    const char *type;           /* "application/json; charset=utf-8", "" where not given */
    double retry_after;         /* seconds that the server asks to wait, at most a day; -1: it does not */
};
struct lm_http_reply {          /* valid during the call */
    int code;                   /* LOAM_OK: an answer came to its end, whatever its status; else as `error` says */
    loam_error error;
    bool timed_out;             /* it took longer than `seconds` or `idle_seconds` */
    bool sent;                  /* bytes of the request went out: the other side may have acted on it */
    struct lm_http_head head;   /* status 0: none came */
    struct lm_bytes body;       /* what came of it where `data` is NULL; may be moved out (set it to {0}) */
};

struct lm_http_request {        /* everything is copied by start */
    const char *method, *url;
    const struct lm_http_header *headers;
    size_t header_count;
    const void *body;
    size_t length;
    double seconds;             /* for the whole of it; 0: no limit */
    double idle_seconds;        /* in which nothing came; whole seconds; 0: no limit */
    size_t most_bytes;          /* of the answer's body; 0: 8 MiB. More: LOAM_EFORMAT */
    void (*head)(void *user, const struct lm_http_head *head);
    bool (*data)(void *user, const char *data, size_t length);     /* false: enough, LOAM_ECANCELLED. NULL: the body is collected */
    void (*done)(void *user, struct lm_http_reply *reply);
    void *user;
};

enum { LM_HTTP_PLACE = 256 };
/* Scheme, host and port of an address, as messages may show it; LOAM_EUSAGE, which repeats nothing of it, where it is none. */
int lm_http_place(const char *url, char place[LM_HTTP_PLACE], loam_error *error);
int lm_http_client_open(const struct lm_http_client_options *options, struct lm_http_client **client, loam_error *error);
/* Every call that is not through ends as LOAM_ECANCELLED. NULL is fine. */
void lm_http_client_close(struct lm_http_client *client);
/* An address that is none, a header with a line end: LOAM_EUSAGE. `call` may be NULL. */
int lm_http_start(struct lm_http_client *client, const struct lm_http_request *request, struct lm_http_call **call, loam_error *error);
/* Its done comes with LOAM_ECANCELLED, unless it is under way already. Does not wait. Until lm_http_call_free; NULL is fine. */
void lm_http_cancel(struct lm_http_call *call);
void lm_http_call_free(struct lm_http_call *call);
/* Calls that were started and are not done. */
int lm_http_client_active(struct lm_http_client *client);

#endif
