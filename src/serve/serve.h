/* The face of serve/: models behind an HTTP port, in the forms that clients of OpenAI's and Anthropic's services speak, and a page to
 * chat on.
 *
 *     const struct lm_serve_model models[] = {{"assistant", "loam-quickstart"}};
 *     struct lm_serve_options options = lm_serve_default();
 *     options.models = models, options.model_count = 1;
 *     struct lm_server *server;
 *     if (lm_serve_open(&options, &server, error)) return error->code;
 *     printf("http://127.0.0.1:%d\n", lm_serve_port(server));
 *     ...
 *     lm_serve_drain(server, 30);
 *     lm_serve_close(server);
 *
 * Threads. net/'s handlers read requests, render and tokenize; each loaded model's engine computes on a thread of its own; one thread
 * here turns the engines' events into answers, and looks ten times a second for clients that have gone and for time limits. A model is
 * opened on a thread of its own when it is first asked for; requests for it wait until it is there.
 *
 * Every request ends with an answer, whatever is wrong with it; docs/serving.md has the forms and the statuses.
 */
#ifndef LOAM_SERVE_H
#define LOAM_SERVE_H

#include "infer/infer.h"
#include "net/net.h"

struct lm_serve_model {
    const char *name;              /* as requests call it; NULL: the path's last part, without .gguf */
    const char *path;
};
struct lm_serve_options {
    const struct lm_serve_model *models;    /* no two of one name. The first answers requests that name none */
    size_t model_count;
    const char *host;
    int port;                      /* 0: a free one */
    const char *keys;              /* a file with a key a line (# begins a comment); NULL: any key passes, also none */
    const char *cors_origin;       /* as lm_http_options has it */
    int64_t memory;                /* bytes for the weights and caches of all loaded models; 0: nine tenths of what there is */
    struct lm_engine_options engine;
    enum lm_overflow overflow;
    loam_sampling sampling;        /* where a request says nothing */
    size_t body_bytes;
    double timeout;                /* seconds for one request, waiting included */
    void *user;
    void (*log)(void *user, const char *line);    /* a line a request and a model loaded or unloaded; any thread; NULL: none */
};
struct lm_serve_options lm_serve_default(void);

struct lm_server;
/* Looks at every model's configuration, and listens. What cannot be served (no such model, two of one name, one that is larger than
 * `memory`) is refused here. */
int lm_serve_open(const struct lm_serve_options *options, struct lm_server **server, loam_error *error);
int lm_serve_port(const struct lm_server *server);
/* Takes no more requests and lets those that run finish, for so many seconds at most. True: all have. */
bool lm_serve_drain(struct lm_server *server, double seconds);
void lm_serve_close(struct lm_server *server);    /* what still runs is cut off; NULL is fine */

#endif
