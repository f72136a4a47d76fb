/* What the files of the client share. Private to net/.
 *
 * A call belongs to the client's thread, but for what is atomic and for its place in `news`. References: the caller's until
 * lm_http_call_free, the client's until done has returned, and one while it stands in `news`. */
#ifndef LOAM_NET_CALL_H
#define LOAM_NET_CALL_H

#include "client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

struct lm_http_client {
    CURLM *multi;
    int poll, wake;
    double due, connect_seconds;         /* due: when libcurl wants to be called, 0: not */
    pthread_t thread;
    atomic_bool closing;
    atomic_int active;
    struct lm_http_call *first;          /* begun and not done */
    pthread_mutex_t lock;
    struct lm_http_call *news;           /* behind the lock */
};

struct lm_http_call {
    struct lm_http_client *client;
    struct lm_http_call *next, *previous, *next_news;
    atomic_int references;
    atomic_bool cancelled, in_news;
    bool added, finished, headed, too_long, enough;
    CURL *easy;
    struct curl_slist *headers;
    struct lm_bytes url, sent;           /* wiped: the url of a bot holds its token */
    char *method;
    char place[LM_HTTP_PLACE];           /* scheme, host and port: what messages call it */
    double seconds, idle_seconds;
    size_t most_bytes, received;
    void (*head)(void *user, const struct lm_http_head *head);
    bool (*data)(void *user, const char *data, size_t length);
    void (*done)(void *user, struct lm_http_reply *reply);
    void *user;
    struct lm_http_reply reply;
    char type[128];
};

/* call.c; all on the client's thread but release. */
void call_begin(struct lm_http_call *call);
void call_finish(struct lm_http_call *call, CURLcode result);
void call_release(struct lm_http_call *call);
/* client.c */
void client_wake(struct lm_http_client *client);

#endif
