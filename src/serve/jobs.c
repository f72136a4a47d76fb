/* Requests that are being worked on: from the prompts to the engine, and from its events to the answer. */
#include "internal.h"

#include <string.h>
#include <time.h>

enum { TICK_MS = 100 };
static const double BEAT_SECONDS = 10;    /* of silence, after which a stream shows that it is alive */

/* --- The jobs there are --- */

void job_clear(struct job *job)
{
    for (size_t i = 0; i < job->prompt_count && job->tickets; i++)
        lm_ticket_free(job->tickets[i]);
    for (size_t i = 0; i < job->prompt_count && job->prompts; i++)
        lm_ids_free(&job->prompts[i]);
    for (size_t i = 0; i < job->prompt_count && job->texts; i++)
        lm_bytes_free(&job->texts[i]);
    for (size_t i = 0; i < job->choice_count; i++) {
        lm_bytes_free(&job->choices[i].text);
        lm_bytes_free(&job->choices[i].scores);
        lm_ids_free(&job->choices[i].ids);
    }
    lm_free(job->tickets);
    lm_free(job->prompts);
    lm_free(job->texts);
    lm_free(job->choices);
    lm_free(job->biases);
    lm_bytes_free(&job->out);
    lm_bytes_free(&job->prefill);
    lm_conversation_free(&job->conversation);
    lm_document_free(job->document);
    memset((char *)job + offsetof(struct job, exchange), 0, sizeof *job - offsetof(struct job, exchange));
}

static void job_free(struct job *job)
{
    struct lm_server *server = job->server;
    models_release(job);
    job_clear(job);
    pthread_mutex_lock(&server->jobs_lock);
    if (job->runs) {
        struct job **at = &server->running;
        while (*at != job)
            at = &(*at)->next;
        *at = job->next;
    }
    job->runs = false;
    job->next = server->free_jobs;
    server->free_jobs = job;
    pthread_mutex_unlock(&server->jobs_lock);
}

struct job *job_create(struct lm_server *server, struct lm_exchange *exchange, const struct route *route)
{
    pthread_mutex_lock(&server->jobs_lock);
    struct job *job = server->free_jobs;
    if (job)
        server->free_jobs = job->next;
    pthread_mutex_unlock(&server->jobs_lock);
    if (!job)
        return NULL;
    job->exchange = exchange;
    job->route = route;
    job->request = lm_request_default();
    job->created = time(NULL);
    job->begun = job->beat = lm_seconds();
    job->deadline = job->begun + server->options.timeout;
    return job;
}

/* --- Answers --- */

static void count_answer(struct job *job, int status)
{
    serve_answered(job->server, job->exchange, status, lm_seconds() - job->begun);
}

void job_answer_json(struct job *job, int status, struct lm_bytes *body)
{
    count_answer(job, status);
    say_json(job->exchange, status, body);
}

void job_no_memory(struct job *job)
{
    refuse(&job->refusal, 503, "overloaded", NULL, "not enough memory for this answer");
}

void job_refuse(struct job *job)
{
    count_answer(job, job->refusal.status);
    say_error(job->exchange, &job->refusal);
    job_free(job);
}

static void begin_stream(struct job *job)
{
    if (job->began)
        return;
    char id[48];
    make_id("req_", id);
    lm_exchange_add_header(job->exchange, is_anthropic(job->exchange) ? "request-id" : "x-request-id", id);
    lm_exchange_add_header(job->exchange, "Cache-Control", "no-cache");
    lm_exchange_add_header(job->exchange, "X-Accel-Buffering", "no");
    lm_exchange_begin(job->exchange, 200, "text/event-stream; charset=utf-8");
    job->began = true;
    job->route->shape->begin(job);
}

static void write_out(struct job *job)
{
    if (!job->began || !job->out.length)
        return;
    lm_exchange_write(job->exchange, job->out.data, job->out.length);
    job->out.length = 0;
    job->beat = lm_seconds();
}

/* --- Events --- */

static void cancel(struct job *job)
{
    job->cancelled = true;
    for (size_t i = 0; i < job->prompt_count; i++)
        if (job->tickets[i]) /* else it has ended */
            lm_ticket_cancel(job->tickets[i]);
}

static bool keep_score(struct choice *choice, const struct lm_event *event)
{
    struct scored scored = {.id = event->id, .logprob = event->logprob, .top_count = event->top_count};
    for (size_t at = 0; at < choice->text.length; at++)
        scored.place += ((unsigned char)choice->text.data[at] & 0xC0) != 0x80;
    memcpy(scored.top, event->top, event->top_count * sizeof *event->top);
    return lm_bytes_append(&choice->scores, &scored, sizeof scored, NULL) == LOAM_OK;
}

static void take_text(struct job *job, size_t index, const struct lm_event *event)
{
    struct choice *choice = &job->choices[index];
    bool kept = true;
    if (event->kind == LM_EVENT_TOKEN && job->request.logprobs >= 0)
        kept = keep_score(choice, event);
    if (event->kind == LM_EVENT_TOKEN && job->request.stop_count)
        kept &= lm_ids_push(&choice->ids, event->id, NULL) == LOAM_OK;
    if (event->length)
        kept &= lm_bytes_append(&choice->text, event->text, event->length, NULL) == LOAM_OK;
    if (!kept) {
        job_no_memory(job);
        cancel(job);
    } else if (job->stream && event->length && !job->refusal.status) {
        begin_stream(job);
        job->route->shape->piece(job, index, event->text, event->length);
        if (job->refusal.status)
            cancel(job);
    }
}

static void count_usage(struct job *job, const struct lm_usage *usage)
{
    struct metrics *metrics = &job->server->metrics;
    atomic_fetch_add(&metrics->tokens, (uint64_t)usage->tokens);
    if (usage->tokens)
        histogram_add(&metrics->first, usage->seconds_to_first);
    if (usage->tokens > 1)
        histogram_add(&metrics->each, (usage->seconds - usage->seconds_to_first) / (double)(usage->tokens - 1));
}

static void end_choice(struct job *job, size_t index, const struct lm_event *event)
{
    struct choice *choice = &job->choices[index];
    choice->ended = true;
    choice->reason = event->reason;
    choice->usage = event->usage;
    job->ended++;
    count_usage(job, &event->usage);
    if (event->kind == LM_EVENT_FAILED) {
        refuse_error(&job->refusal, &event->error);
        cancel(job);
    } else if (job->stream && !job->refusal.status && event->reason != LM_STOP_CANCELLED) {
        begin_stream(job);
        job->route->shape->ended(job, index);
    }
}

static void take_events(struct job *job, size_t at)
{
    struct lm_event event;
    while (lm_ticket_next(job->tickets[at], 0, &event)) {
        if (event.kind == LM_EVENT_DONE) {
            lm_ticket_free(job->tickets[at]);
            job->tickets[at] = NULL;
            job->done++;
            return;
        }
        const size_t index = at * (size_t)job->request.choices + (size_t)event.choice;
        if (event.kind != LM_EVENT_FAILED)
            take_text(job, index, &event);
        if (event.kind != LM_EVENT_TOKEN)
            end_choice(job, index, &event);
    }
}

static void count_prompts(struct job *job)
{
    struct metrics *metrics = &job->server->metrics;
    for (size_t i = 0; i < job->prompt_count; i++) {
        const struct lm_usage *usage = &job->choices[i * (size_t)job->request.choices].usage;
        atomic_fetch_add(&metrics->prompt_tokens, (uint64_t)usage->prompt_tokens);
        atomic_fetch_add(&metrics->reused_tokens, (uint64_t)usage->reused);
    }
}

/* Everything has ended: the rest of the answer. */
static void finish(struct job *job)
{
    const struct shape *shape = job->route->shape;
    count_prompts(job);
    if (!job->stream && !job->refusal.status)
        shape->whole(job);
    if (job->refusal.status && !job->began) {
        job_refuse(job);
        return;
    }
    if (job->cancelled && !job->refusal.status)
        atomic_fetch_add(&job->server->metrics.cancelled, 1);
    histogram_add(&job->server->metrics.whole, lm_seconds() - job->begun);
    count_answer(job, job->refusal.status ? job->refusal.status : job->cancelled ? 499 : 200);
    if (!job->stream) {
        say_json(job->exchange, 200, &job->out);
    } else {
        begin_stream(job);
        if (job->refusal.status)
            shape->fail(job, &job->refusal);
        else if (!job->cancelled)
            shape->end(job);
        write_out(job);
        lm_exchange_end(job->exchange);
    }
    job_free(job);
}

static void look_at_clock(struct job *job)
{
    const double now = lm_seconds();
    if (!job->cancelled && now > job->deadline) {
        job->refusal.retry_after = job->began ? 0 : 5;
        refuse(&job->refusal, job->began ? 504 : 503, "timeout", NULL,
               "the request took longer than this server allows (%g s); ask for fewer tokens, or try again later",
               job->server->options.timeout);
        atomic_fetch_add(&job->server->metrics.timed_out, 1);
        cancel(job);
    }
    if (!job->stream || now - job->beat < BEAT_SECONDS)
        return;
    begin_stream(job);
    lm_bytes_format(&job->out, NULL, ": the model is working\n\n");
}

static void advance(struct job *job)
{
    if (!job->cancelled && lm_exchange_gone(job->exchange))
        cancel(job);
    look_at_clock(job);
    for (size_t i = 0; i < job->prompt_count; i++)
        if (job->tickets[i])
            take_events(job, i);
    if (job->done == job->prompt_count)
        finish(job);
    else
        write_out(job);
}

/* --- The thread that turns events into answers --- */

/* With the lock held. */
static void make_ready(struct job *job)
{
    struct lm_server *server = job->server;
    if (job->ready || !job->runs)
        return;
    job->ready = true;
    job->next_ready = NULL;
    if (server->last_ready)
        server->last_ready->next_ready = job;
    else
        server->first_ready = job;
    server->last_ready = job;
    pthread_cond_signal(&server->jobs_wake);
}

/* From the engine's thread; may come late, when the job is another's already: then that one is looked at once too often. */
static void notify(void *user)
{
    struct job *job = user;
    pthread_mutex_lock(&job->server->jobs_lock);
    make_ready(job);
    pthread_mutex_unlock(&job->server->jobs_lock);
}

static void add_milliseconds(struct timespec *time, long milliseconds)
{
    time->tv_nsec += milliseconds * 1000000;
    time->tv_sec += time->tv_nsec / 1000000000;
    time->tv_nsec %= 1000000000;
}

/* With the lock held: waits for a job to be ready; every TICK_MS all that run are. NULL: the server stops. */
static struct job *next_ready(struct lm_server *server, double *last_tick)
{
    for (;;) {
        const double now = lm_seconds();
        if (now - *last_tick >= TICK_MS / 1e3) {
            *last_tick = now;
            for (struct job *job = server->running; job; job = job->next)
                make_ready(job);
        }
        struct job *job = server->first_ready;
        if (job) {
            server->first_ready = job->next_ready;
            if (!server->first_ready)
                server->last_ready = NULL;
            job->ready = false;
            if (job->runs)    /* else it ended before its turn came */
                return job;
            continue;
        }
        if (server->stopping)
            return NULL;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        add_milliseconds(&until, TICK_MS);
        if (server->running)
            pthread_cond_timedwait(&server->jobs_wake, &server->jobs_lock, &until);
        else
            pthread_cond_wait(&server->jobs_wake, &server->jobs_lock);
    }
}

static void *write_answers(void *user)
{
    struct lm_server *server = user;
    double last_tick = 0;
    for (;;) {
        pthread_mutex_lock(&server->jobs_lock);
        struct job *job = next_ready(server, &last_tick);
        pthread_mutex_unlock(&server->jobs_lock);
        if (!job)
            return NULL;
        advance(job);
    }
}

int jobs_start(struct lm_server *server, loam_error *error)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&server->jobs_lock, NULL);
    pthread_cond_init(&server->jobs_wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    server->jobs = lm_alloc(server->job_count, sizeof *server->jobs, error);
    if (!server->jobs)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < server->job_count; i++) {
        server->jobs[i].server = server;
        server->jobs[i].next = server->free_jobs;
        server->free_jobs = &server->jobs[i];
    }
    const int failed = pthread_create(&server->writer, NULL, write_answers, server);
    if (failed)
        return lm_fail_errno(error, failed, "cannot start a thread to write answers");
    server->writer_runs = true;
    return LOAM_OK;
}

void jobs_stop(struct lm_server *server)
{
    if (server->writer_runs) {
        pthread_mutex_lock(&server->jobs_lock);
        server->stopping = true;
        pthread_cond_broadcast(&server->jobs_wake);
        pthread_mutex_unlock(&server->jobs_lock);
        pthread_join(server->writer, NULL);
    }
}

void jobs_free(struct lm_server *server)
{
    pthread_mutex_destroy(&server->jobs_lock);
    pthread_cond_destroy(&server->jobs_wake);
    lm_free(server->jobs);
}

/* --- Starting --- */

void job_go(struct job *job)
{
    const bool generates = job->route->shape;    /* then the job is the writer's once it has started, and may be through already */
    if (lm_exchange_gone(job->exchange))
        refuse(&job->refusal, 499, NULL, NULL, "the client has gone");
    if (job->refusal.status || !job->route->start(job))
        job_refuse(job);
    else if (!generates)
        job_free(job);
}

/* What fits the context; the engine would refuse the rest, and says less of it. */
static bool fit(struct job *job, const struct lm_ids *ids, struct lm_request *request)
{
    const int64_t context = lm_engine_context(job->served->engine), room = context - (int64_t)ids->length;
    if (room < 1)
        return refuse(&job->refusal, 400, "context_length_exceeded", job->route->ask == ask_completion ? "prompt" : "messages",
                      "the prompt is %zu tokens and this model's context %lld: no room for an answer; shorten the prompt", ids->length,
                      (long long)context);
    if (job->server->options.overflow == LM_OVERFLOW_REFUSE && (request->max_tokens == 0 || request->max_tokens > room)) {
        request->max_tokens = room;
        job->room_is_limit = true;
    }
    return true;
}

static bool submit(struct job *job, size_t at)
{
    struct lm_request request = job->request;
    loam_error error;
    request.ids = job->prompts[at].data;
    request.count = job->prompts[at].length;
    request.overflow = job->server->options.overflow;
    request.notify = notify;
    request.user = job;
    if (!fit(job, &job->prompts[at], &request))
        return false;
    if (lm_engine_submit(job->served->engine, &request, &job->tickets[at], &error) == LOAM_OK)
        return true;
    if (error.code == LOAM_EBUSY) {
        refuse(&job->refusal, 429, "rate_limit_exceeded", NULL, "too many requests are waiting for the model '%s'; try again in a moment",
               job->served->name);
        job->refusal.retry_after = 1;
    }
    return refuse_error(&job->refusal, &error);
}

bool job_submit(struct job *job)
{
    struct lm_server *server = job->server;
    const size_t choices = job->prompt_count * (size_t)job->request.choices;
    if (choices > MOST_CHOICES && choices > job->prompt_count)
        return refuse(&job->refusal, 400, NULL, "n", "%zu prompts with n %lld are %zu answers; this server gives at most %d at once",
                      job->prompt_count, (long long)job->request.choices, choices, MOST_CHOICES);
    job->tickets = lm_alloc(job->prompt_count, sizeof(struct lm_ticket *), NULL);
    job->choices = lm_alloc(choices, sizeof *job->choices, NULL);
    if (!job->tickets || !job->choices)
        return refuse(&job->refusal, 503, "overloaded", NULL, "not enough memory for this request");
    job->choice_count = choices;
    for (size_t i = 0; i < job->prompt_count; i++)
        if (!submit(job, i))
            return false;
    pthread_mutex_lock(&server->jobs_lock);
    job->runs = true;
    job->next = server->running;
    server->running = job;
    make_ready(job);    /* what came before it was listed */
    pthread_mutex_unlock(&server->jobs_lock);
    return true;
}
