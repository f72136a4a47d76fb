/* Inside room/: participants that are services over HTTP. What OpenAI's and Anthropic's kinds have in common is in service.c; each of
 * the two is a struct service_api: how a request is written and how an answer is read.
 *
 * A speech belongs to the client's thread from start to done; service->lock guards the list of speeches. Messages say status and, in
 * short, the service's reason, out of which keys and header values are taken; of a refused key nothing the service said is repeated. */
#ifndef LOAM_ROOM_SERVICE_H
#define LOAM_ROOM_SERVICE_H

#include "speaker.h"

#include <pthread.h>
#include <stdatomic.h>

struct service;
struct lm_speech {
    const struct lm_speaker_ops *ops;
    struct service *service;
    struct lm_speech *next, *previous;
    atomic_int references;              /* the room's and the call's */
    struct lm_http_call *call;
    void (*text)(void *user, const char *text, size_t length);
    void (*done)(void *user, const struct lm_speech_result *result);
    void *user;
    atomic_bool cancelled;
    int status;
    bool events;                        /* the answer is a stream of events, else a JSON value in `body` */
    bool ended;                         /* the service said that its answer is whole */
    bool failed;                        /* result.error says why */
    struct lm_event_reader reader;
    struct lm_bytes body;
    struct lm_speech_result result;
};

struct service_api {
    const char *path;                   /* behind base_url */
    int (*headers)(const struct service *service, struct lm_bytes *key, struct lm_http_header *headers, size_t *count, loam_error *error);
    void (*write)(const struct service *service, const struct lm_speech_request *request, struct lm_json_writer *json);
    void (*event)(struct lm_speech *speech, const char *name, const struct lm_value *root);
    void (*answer)(struct lm_speech *speech, const struct lm_value *root);
};
extern const struct service_api service_openai, service_anthropic;
enum { SERVICE_HEADERS = 4 };           /* at most, that an api adds */

/* What a service has refused once it is not sent again. */
enum { SERVICE_NO_STREAM_OPTIONS = 1, SERVICE_NEW_MAX_TOKENS = 2 };
struct service {
    const struct service_api *api;
    const struct lm_participant *participant;
    struct lm_http_client *client;
    const struct lm_secrets *secrets;
    const struct lm_secret *key;        /* NULL: none is sent */
    struct lm_bytes url;
    char place[LM_HTTP_PLACE];          /* of it: what everybody in the room may read */
    atomic_int refused;
    pthread_mutex_t lock;
    pthread_cond_t quiet;               /* the last speech is through */
    struct lm_speech *first;
    bool closing;
};

int service_open(const struct service_api *api, const char *path, const struct lm_participant *participant,
                 const struct lm_speaker_kit *kit, struct lm_speaker *speaker, loam_error *error);
/* For apis: text that came, a number of tokens, a failure in the service's words. */
void service_text(struct lm_speech *speech, const struct lm_value *text);
void service_tokens(const struct lm_value *usage, const char *field, int64_t *tokens);
void service_failed(struct lm_speech *speech, bool again, const char *what, const struct lm_value *reason);

#endif
