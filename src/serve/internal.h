/* What the files of serve/ share. Private to it.
 *
 * The way of a request: a handler of net/'s calls serve_handle (serve.c), which finds the route, looks at key and type, and makes a job
 * of it (jobs.c). The route's `ask` reads the body (ask_*.c). Then the job waits for its model (models.c) and its route's `start`
 * runs: small things are answered there (texts.c); for generation the prompts go to the engine. What the engine gives is turned into
 * the answer's form (say_*.c) by the one thread of jobs.c. */
#ifndef LOAM_SERVE_INTERNAL_H
#define LOAM_SERVE_INTERNAL_H

#include "serve.h"

#include <pthread.h>
#include <stdatomic.h>

/* --- Refusals: a status and a message, put into the API's form by say_error --- */
struct refusal {
    int status;                 /* 0: none */
    const char *code;           /* OpenAI's "code", or NULL */
    char param[64];             /* the field at fault, or "" */
    int retry_after;            /* seconds; 0: no such header */
    char message[1024];
};
/* Fills it unless one is there already. Gives false, for `return refuse(…)`. */
bool refuse(struct refusal *refusal, int status, const char *code, const char *param, const char *format, ...) LM_PRINTF(5, 6);
/* What an error of the library is to a client. */
bool refuse_error(struct refusal *refusal, const loam_error *error);

/* --- A request's fields (fields.c). The first that is wrong fills the refusal; after that nothing is read any more --- */
struct fields {
    const struct lm_document *document;
    const struct lm_value *object;
    struct refusal *refusal;
};
const struct lm_value *field(const struct fields *fields, const char *name);    /* NULL: absent or null */
int64_t field_int(const struct fields *fields, const char *name, int64_t least, int64_t most, int64_t otherwise);
double field_number(const struct fields *fields, const char *name, double least, double most, double otherwise);
bool field_bool(const struct fields *fields, const char *name, bool otherwise);
const struct lm_value *field_text(const struct fields *fields, const char *name);    /* NULL: absent */
/* "found …, wanted …" at a value. */
bool field_refuse(const struct fields *fields, const struct lm_value *value, const char *param, const char *wanted);
/* A field that would change the answer and is not supported. */
bool field_unsupported(const struct fields *fields, const char *name, const char *remedy);

struct job;
struct served;

/* --- What generation is asked for (sampling in common to all forms: fields_sampling in ask.c) --- */
enum { MOST_STOPS = 16, MOST_PROMPTS = 64, MOST_CHOICES = 16 };

struct scored {                 /* a token with its log probability */
    int32_t id;
    float logprob;
    size_t place;               /* characters of the choice's text before it */
    size_t top_count;
    struct lm_logprob top[LM_MOST_LOGPROBS];
};
struct choice {
    struct lm_bytes text;       /* all that came */
    struct lm_bytes scores;     /* struct scored, one after the other */
    struct lm_ids ids;          /* where stops were asked for: which of them it was is found in them */
    size_t scores_said;         /* of the scores, in a stream */
    enum lm_stop_reason reason;
    bool ended;
    struct lm_usage usage;
};

/* How a route's answers look. Each appends to job->out (events of a stream, or the whole body); without memory, job_no_memory. */
struct shape {
    void (*begin)(struct job *job);                                              /* a stream's first events */
    void (*piece)(struct job *job, size_t choice, const char *text, size_t length);    /* of a stream */
    void (*ended)(struct job *job, size_t choice);                               /* of a stream: a choice has */
    void (*end)(struct job *job);                                                /* of a stream: all have */
    void (*fail)(struct job *job, const struct refusal *refusal);                /* of a stream that has begun */
    void (*whole)(struct job *job);                                              /* not a stream: the body */
};
extern const struct shape chat_shape, completion_shape, messages_shape;

struct route {
    const char *method, *path;
    bool open;                                         /* no key asked for */
    void (*answer)(struct lm_server *server, struct lm_exchange *exchange);    /* at once; or, with `ask` and `start`, a job: */
    bool (*ask)(struct job *job, const struct fields *fields);                 /* false: refused, in job->refusal */
    bool (*start)(struct job *job);                    /* the model is there; false: refused. Without a shape it has answered */
    const struct shape *shape;                         /* of what is generated; NULL: nothing is */
};

struct job {
    /* For the life of the server: engines may call notify late. */
    struct lm_server *server;
    struct job *next_ready;
    bool ready, runs;           /* in the list of those to look at; its tickets are the writer's to read */
    struct job *next;           /* running, parked with a model, or free */

    /* From here on zeroed for each request (see job_clear). */
    struct lm_exchange *exchange;
    const struct route *route;
    struct lm_document *document;
    struct refusal refusal;
    struct served *served;      /* the model it is for */
    bool holds;                 /* counted among the model's users */
    char id[48];
    int64_t created;            /* seconds since 1970 */
    double begun, beat, deadline;
    bool stream, include_usage, began, cancelled;

    struct lm_conversation conversation;
    struct lm_bytes prefill;            /* words the assistant's answer begins with */
    const struct lm_value *prompt;      /* of /v1/completions and /tokenize, in the document */
    bool echo, add_special, with_pieces;
    struct lm_request request;          /* what all prompts share */
    const char *stops[MOST_STOPS];
    struct lm_logit_bias *biases;
    struct lm_bytes *texts;             /* [prompt_count], with echo */
    struct lm_ids *prompts;
    size_t prompt_count;
    struct lm_ticket **tickets;         /* [prompt_count] */
    struct choice *choices;             /* [prompt_count * n] */
    size_t choice_count, ended, done;   /* done: tickets */
    bool room_is_limit;                 /* max_tokens is what the context has room for, not what was asked */
    struct lm_bytes out;
};

/* jobs.c */
int jobs_start(struct lm_server *server, loam_error *error);
void jobs_stop(struct lm_server *server);            /* when no exchange is left, and no loader runs */
void jobs_free(struct lm_server *server);            /* when no engine is left */
struct job *job_create(struct lm_server *server, struct lm_exchange *exchange, const struct route *route);    /* NULL: none free */
void job_clear(struct job *job);                     /* frees what its request has, and zeroes it */
void job_go(struct job *job);                        /* its model is there: start it */
void job_no_memory(struct job *job);                 /* its refusal: part of the answer had no room */
void job_refuse(struct job *job);                    /* answers with its refusal and frees it */
void job_answer_json(struct job *job, int status, struct lm_bytes *body);    /* for `start` */
bool job_submit(struct job *job);                    /* prompts are there: to the engine with them */

/* models.c */
struct served {
    char *name, *path;
    struct lm_config config;
    int64_t bytes;              /* of weights and cache: estimated, known once loaded */
    /* With server->models_lock: */
    struct lm_engine *engine;   /* NULL: not loaded */
    bool loading;
    int users;                  /* jobs that work with the engine */
    double used;                /* when last */
    int64_t loads;
    struct job *parked;         /* wait for it to be loaded, the last first */
};
int models_open(struct lm_server *server, loam_error *error);
void models_wait(struct lm_server *server);          /* until no loader runs */
void models_close(struct lm_server *server);
struct served *models_find(struct lm_server *server, const char *name, size_t length);    /* NULL: none */
void models_names(struct lm_server *server, char *out, size_t size);                      /* "a, b, c" */
/* Starts the job now, or when its model is there, or refuses it. Takes the job. */
void models_run(struct job *job);
void models_release(struct job *job);

/* keys.c */
struct keys {
    struct lm_bytes text;       /* keys with a 0 behind each */
    bool wanted;
};
int keys_read(const char *path, struct keys *keys, loam_error *error);
bool keys_hold(const struct keys *keys, const char *given);
void keys_free(struct keys *keys);

/* say.c */
bool is_anthropic(const struct lm_exchange *exchange);
void say_error(struct lm_exchange *exchange, const struct refusal *refusal);
void error_body(bool anthropic, const struct refusal *refusal, struct lm_bytes *out);
void say_json(struct lm_exchange *exchange, int status, struct lm_bytes *body);
void make_id(const char *prefix, char out[48]);

/* ask.c: what the forms have in common */
bool ask_model(struct job *job, const struct fields *fields);
bool ask_sampling(struct job *job, const struct fields *fields, double most_temperature);
bool ask_stops(struct job *job, const struct fields *fields, const char *name);
/* A text, or a list of parts of the type text, appended to `out`. */
bool ask_content(const struct fields *fields, const struct lm_value *content, const char *param, struct lm_bytes *out);
bool ask_messages(struct job *job, const struct fields *fields);
bool start_conversation(struct job *job);
bool render_conversation(struct job *job, struct lm_rendered *rendered);

/* ask_openai.c, ask_anthropic.c, texts.c */
bool ask_chat(struct job *job, const struct fields *fields);
bool ask_completion(struct job *job, const struct fields *fields);
bool start_completion(struct job *job);
bool ask_anthropic(struct job *job, const struct fields *fields);
bool ask_count(struct job *job, const struct fields *fields);
bool start_count(struct job *job);
bool ask_tokenize(struct job *job, const struct fields *fields);
bool start_tokenize(struct job *job);
bool ask_detokenize(struct job *job, const struct fields *fields);
bool start_detokenize(struct job *job);
bool ask_apply(struct job *job, const struct fields *fields);
bool start_apply(struct job *job);
void answer_health(struct lm_server *server, struct lm_exchange *exchange);
void answer_models(struct lm_server *server, struct lm_exchange *exchange);
void answer_metrics(struct lm_server *server, struct lm_exchange *exchange);
bool is_page(const char *path);
void answer_page(struct lm_server *server, struct lm_exchange *exchange);

/* metrics.c. Any thread. */
enum { BUCKETS = 14 };
struct histogram {
    atomic_uint_fast64_t counts[BUCKETS + 1], total_us;
};
struct metrics {
    atomic_uint_fast64_t answers[6];            /* by the status's first digit */
    atomic_uint_fast64_t prompt_tokens, reused_tokens, tokens, cancelled, timed_out, loads, unloads;
    struct histogram first, each, whole;        /* seconds to the first token, a token behind it, a request */
};
void histogram_add(struct histogram *histogram, double seconds);

struct lm_server {
    struct lm_serve_options options;
    struct keys keys;
    struct lm_http_server *http;
    bool loopback;              /* listens for this machine alone */
    double started;
    int64_t created;
    atomic_bool draining;
    struct metrics metrics;

    pthread_mutex_t models_lock;
    pthread_cond_t loaded;      /* a loader has ended */
    int loaders;
    struct served *models;
    size_t model_count;
    int64_t memory;

    pthread_mutex_t jobs_lock;
    pthread_cond_t jobs_wake;
    struct job *jobs;           /* all that there are, [job_count] */
    size_t job_count;
    struct job *free_jobs, *running, *first_ready, *last_ready;
    pthread_t writer;
    bool writer_runs, stopping;
};

void serve_handle(void *user, struct lm_exchange *exchange);
void serve_refuse(void *user, struct lm_exchange *exchange, int status, const char *message);
void serve_log(struct lm_server *server, const char *format, ...) LM_PRINTF(2, 3);
/* Counts and logs an answer. */
void serve_answered(struct lm_server *server, const struct lm_exchange *exchange, int status, double seconds);

#endif
