/* Participants that are models run here. Those on the same files share one engine: its weights, and the keys and values of what their
 * prompts have in common. One thread an engine renders prompts, hands them in, and passes on what comes. */
#include "rooms_inside.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COUNTED_BYTES = 64 * 1024, SAMPLED_BYTES = 16 * 1024 };

struct local_engine {
    struct local_engine *next;
    char *path;                         /* resolved */
    struct lm_engine *engine;
    const struct lm_template *chosen;
    int32_t pass[LM_MOST_EXPECTED];     /* PASS and the end of the turn, as they stand behind a prompt */
    size_t pass_count;
    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t lock;
    pthread_cond_t wake, changed;
    bool closing;                       /* under `lock`, as all that follows */
    struct lm_speech *ready, *ready_end;/* something is to be done for them */
    struct lm_speech *all;              /* that have not ended */
    struct lm_speech *current;          /* the thread works on it */
};
struct lm_engines {
    int threads;
    struct local_engine *first;
};

struct local {                          /* a participant */
    const struct lm_participant *participant;
    struct local_engine *home;
};

enum stage { STAGE_NEW, STAGE_RUNS, STAGE_OVER };
struct lm_speech {
    const struct lm_speaker_ops *ops;   /* first, as speaker.h wants it */
    struct local *speaker;              /* until it is over */
    struct local_engine *home;
    struct lm_speech *next_ready, *next;
    bool queued, cancelled, late;
    enum stage stage;
    struct lm_ticket *ticket;
    struct lm_conversation conversation;
    int64_t max_tokens;
    uint64_t seed;
    double seconds, deadline, pass_threshold;
    void (*text)(void *user, const char *text, size_t length);
    void (*done)(void *user, const struct lm_speech_result *result);
    void *user;
};

static const struct lm_speaker_ops local_ops;

/* --- Waking the thread --- */

/* With the lock held. */
static void make_ready(struct lm_speech *speech)
{
    struct local_engine *home = speech->home;
    if (speech->queued || speech->stage == STAGE_OVER)
        return;
    speech->queued = true;
    speech->next_ready = NULL;
    if (home->ready_end)
        home->ready_end->next_ready = speech;
    else
        home->ready = speech;
    home->ready_end = speech;
    pthread_cond_signal(&home->wake);
}

/* On the computing thread: something is in the ticket. */
static void on_notify(void *user)
{
    struct lm_speech *speech = user;
    pthread_mutex_lock(&speech->home->lock);
    make_ready(speech);
    pthread_mutex_unlock(&speech->home->lock);
}

/* --- The engine's thread --- */

static void finish(struct lm_speech *speech, const struct lm_speech_result *result)
{
    struct local_engine *home = speech->home;
    pthread_mutex_lock(&home->lock);
    speech->stage = STAGE_OVER;
    for (struct lm_speech **at = &home->all; *at; at = &(*at)->next)
        if (*at == speech) {
            *at = speech->next;
            break;
        }
    pthread_mutex_unlock(&home->lock);
    speech->done(speech->user, result);
}

static struct lm_speech_result plain_result(enum lm_speech_end end)
{
    return (struct lm_speech_result){.end = end, .retry_after = -1, .prompt_tokens = -1, .tokens = -1};
}

static void finish_failed(struct lm_speech *speech, const loam_error *error, bool again)
{
    struct lm_speech_result result = plain_result(LM_SPEECH_FAILED);
    result.error = *error;
    result.again = again;
    finish(speech, &result);
}

static int submit(struct lm_speech *speech, const struct lm_ids *prompt, loam_error *error)
{
    const struct local *local = speech->speaker;
    const struct lm_participant_sampling *sampling = &local->participant->sampling;
    struct lm_request request = lm_request_default();
    const int64_t room = lm_engine_context(local->home->engine) - (int64_t)prompt->length;
    request.ids = prompt->data;
    request.count = prompt->length;
    request.sampling = sampling->how;
    request.sampling.seed = speech->seed;
    request.presence_penalty = sampling->presence_penalty;
    request.frequency_penalty = sampling->frequency_penalty;
    request.max_tokens = speech->max_tokens > 0 ? speech->max_tokens : sampling->max_tokens;
    if (request.max_tokens > room && room > 0)
        request.max_tokens = room;
    if (speech->pass_threshold > 0) {
        request.expected = local->home->pass;
        request.expected_count = local->home->pass_count;
        request.expected_threshold = speech->pass_threshold;
    }
    request.notify = on_notify;
    request.user = speech;
    pthread_mutex_lock(&local->home->lock);    /* on_notify waits here until the ticket is known */
    int code = LOAM_OK;
    if (!speech->cancelled)
        code = lm_engine_submit(local->home->engine, &request, &speech->ticket, error);
    if (speech->ticket)
        speech->stage = STAGE_RUNS;
    pthread_mutex_unlock(&local->home->lock);
    return code;
}

static void begin(struct lm_speech *speech)
{
    struct lm_rendered prompt = {0};
    loam_error error;
    int code = lm_engine_prompt(speech->home->engine, &speech->conversation, &prompt, &error);
    if (code == LOAM_OK)
        code = submit(speech, &prompt.ids, &error);
    lm_rendered_free(&prompt);
    if (code != LOAM_OK) {
        finish_failed(speech, &error, code == LOAM_EBUSY);
    } else if (!speech->ticket) {
        const struct lm_speech_result result = plain_result(LM_SPEECH_CANCELLED);
        finish(speech, &result);
    }
}

static void end_of(struct lm_speech *speech, const struct lm_event *event)
{
    struct lm_speech_result result = plain_result(LM_SPEECH_ANSWERED);
    result.prompt_tokens = event->usage.prompt_tokens;
    result.tokens = event->usage.tokens;
    result.cut = event->kind == LM_EVENT_END && event->reason == LM_STOP_LENGTH;
    if (event->kind == LM_EVENT_FAILED) {
        result.end = LM_SPEECH_FAILED;
        result.error = event->error;
    } else if (event->reason == LM_STOP_EXPECTED) {
        result.end = LM_SPEECH_PASSED;
    } else if (event->reason == LM_STOP_CANCELLED && speech->late) {
        result.end = LM_SPEECH_FAILED;
        result.again = true;
        lm_fail(&result.error, LOAM_ECANCELLED, "no whole answer within %g s", speech->seconds);
    } else if (event->reason == LM_STOP_CANCELLED) {
        result.end = LM_SPEECH_CANCELLED;
    }
    finish(speech, &result);
}

/* What there is in the ticket now. */
static void drain(struct lm_speech *speech)
{
    struct lm_event event;
    while (lm_ticket_next(speech->ticket, 0, &event)) {
        if (event.length)
            speech->text(speech->user, event.text, event.length);
        if (event.kind == LM_EVENT_TOKEN)
            continue;
        if (event.kind == LM_EVENT_DONE)
            lm_fail(&event.error, LOAM_ECANCELLED, "the engine was closed"), event.kind = LM_EVENT_FAILED;
        end_of(speech, &event);
        return;
    }
}

/* Cancels what is late; gives the next time to look, or infinity. With the lock held. */
static double watch_deadlines(struct local_engine *home)
{
    const double now = lm_seconds();
    double next = INFINITY;
    for (struct lm_speech *speech = home->all; speech; speech = speech->next) {
        if (speech->deadline <= 0 || speech->late || speech->stage != STAGE_RUNS)
            continue;
        if (speech->deadline <= now) {
            speech->late = true;
            lm_ticket_cancel(speech->ticket);
        } else if (speech->deadline < next) {
            next = speech->deadline;
        }
    }
    return next;
}

static struct lm_speech *next_ready(struct local_engine *home)
{
    for (;;) {
        struct lm_speech *speech = home->ready;
        if (speech) {
            home->ready = speech->next_ready;
            if (!home->ready)
                home->ready_end = NULL;
            speech->queued = false;
            return speech;
        }
        if (home->closing)
            return NULL;
        const double until = watch_deadlines(home);
        if (until == INFINITY) {
            pthread_cond_wait(&home->wake, &home->lock);
        } else {
            const struct timespec at = {.tv_sec = (time_t)until, .tv_nsec = (long)((until - floor(until)) * 1e9)};
            pthread_cond_timedwait(&home->wake, &home->lock, &at);
        }
    }
}

static void *work(void *user)
{
    struct local_engine *home = user;
    pthread_mutex_lock(&home->lock);
    for (struct lm_speech *speech; (speech = next_ready(home));) {
        const enum stage stage = speech->stage;
        home->current = speech;
        pthread_mutex_unlock(&home->lock);
        if (stage == STAGE_NEW)
            begin(speech);
        else if (stage == STAGE_RUNS)
            drain(speech);
        pthread_mutex_lock(&home->lock);
        home->current = NULL;
        pthread_cond_broadcast(&home->changed);
    }
    pthread_mutex_unlock(&home->lock);
    return NULL;
}

/* --- Engines --- */

int lm_engines_create(int threads, struct lm_engines **engines, loam_error *error)
{
    *engines = lm_alloc(1, sizeof **engines, error);
    if (!*engines)
        return LOAM_ENOMEM;
    (*engines)->threads = threads;
    return LOAM_OK;
}

static void close_home(struct local_engine *home)
{
    if (home->thread_runs) {
        pthread_mutex_lock(&home->lock);
        home->closing = true;
        pthread_cond_broadcast(&home->wake);
        pthread_mutex_unlock(&home->lock);
        pthread_join(home->thread, NULL);
    }
    lm_engine_close(home->engine);
    pthread_cond_destroy(&home->wake);
    pthread_cond_destroy(&home->changed);
    pthread_mutex_destroy(&home->lock);
    lm_free(home->path);
    lm_free(home);
}

void lm_engines_free(struct lm_engines *engines)
{
    while (engines && engines->first) {
        struct local_engine *next = engines->first->next;
        close_home(engines->first);
        engines->first = next;
    }
    lm_free(engines);
}

/* PASS and the end of the turn: what a finished turn of that word has behind the prompt. Where it cannot be told apart, nothing is scored,
 * and only a PASS that is written counts. */
static int find_pass(struct local_engine *home, loam_error *error)
{
    const struct lm_tokenizer *tokenizer = lm_engine_tokenizer(home->engine);
    struct lm_conversation conversation = {0};
    struct lm_rendered prompt = {0}, whole = {0};
    int code = lm_conversation_add(&conversation, LM_USER, "Hello", 5, error);
    if (code == LOAM_OK)
        code = lm_template_render(home->chosen, tokenizer, &conversation, true, &prompt, error);
    if (code == LOAM_OK)
        code = lm_conversation_add(&conversation, LM_ASSISTANT, "PASS", 4, error);
    if (code == LOAM_OK && lm_template_render(home->chosen, tokenizer, &conversation, false, &whole, NULL) == LOAM_OK &&
        whole.ids.length > prompt.ids.length && !memcmp(whole.ids.data, prompt.ids.data, prompt.ids.length * sizeof(int32_t))) {
        size_t count = 0, at = prompt.ids.length;
        for (; at < whole.ids.length && whole.trained.data[at] && count < LM_MOST_EXPECTED; at++)
            home->pass[count++] = whole.ids.data[at];
        home->pass_count = at < whole.ids.length && whole.trained.data[at] ? 0 : count;
    }
    lm_conversation_free(&conversation);
    lm_rendered_free(&prompt);
    lm_rendered_free(&whole);
    return code;
}

static int start_thread(struct local_engine *home, loam_error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&home->thread, NULL, work, home);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    home->thread_runs = !failed;
    return failed ? lm_fail_errno(error, failed, "no thread for the model") : LOAM_OK;
}

static int open_home(const char *path, const struct lm_engines *engines, struct local_engine **result, loam_error *error)
{
    pthread_condattr_t steady;
    struct local_engine *home = lm_alloc(1, sizeof *home, error);
    if (!home)
        return LOAM_ENOMEM;
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&home->wake, &steady);
    pthread_cond_init(&home->changed, &steady);
    pthread_condattr_destroy(&steady);
    pthread_mutex_init(&home->lock, NULL);
    const struct lm_engine_options options = {.threads = engines->threads};
    int code = (home->path = lm_copy_string(path, strlen(path), error)) ? LOAM_OK : LOAM_ENOMEM;
    if (code == LOAM_OK)
        code = lm_engine_open(path, &options, &home->engine, error);
    if (code == LOAM_OK)
        code = lm_engine_template(home->engine, &home->chosen, error);
    if (code == LOAM_OK)
        code = find_pass(home, error);
    if (code == LOAM_OK)
        code = start_thread(home, error);
    if (code != LOAM_OK) {
        close_home(home);
        return code;
    }
    *result = home;
    return LOAM_OK;
}

static int find_home(const char *path, struct lm_engines *engines, struct local_engine **result, loam_error *error)
{
    char *resolved = realpath(path, NULL);
    if (!resolved)
        return lm_fail_errno(error, errno, "%s", path);
    struct local_engine *home = engines->first;
    while (home && strcmp(home->path, resolved))
        home = home->next;
    int code = LOAM_OK;
    if (!home && (code = open_home(resolved, engines, &home, error)) == LOAM_OK) {
        home->next = engines->first;
        engines->first = home;
    }
    free(resolved);
    *result = home;
    return code;
}

/* --- The speaker --- */

static int local_start(void *self, const struct lm_speech_request *request, struct lm_speech **result, loam_error *error)
{
    struct local *local = self;
    struct local_engine *home = local->home;
    struct lm_speech *speech = lm_alloc(1, sizeof *speech, error);
    int code = speech ? LOAM_OK : LOAM_ENOMEM;
    for (size_t i = 0; i < request->count && code == LOAM_OK; i++)
        code = lm_conversation_add(&speech->conversation, request->messages[i].role, request->messages[i].text, request->messages[i].length, error);
    if (code != LOAM_OK) {
        if (speech)
            lm_conversation_free(&speech->conversation);
        lm_free(speech);
        return code;
    }
    speech->ops = &local_ops;
    speech->speaker = local;
    speech->home = home;
    speech->max_tokens = request->max_tokens;
    speech->seed = request->seed;
    speech->seconds = request->seconds;
    speech->deadline = request->seconds > 0 ? lm_seconds() + request->seconds : 0;
    speech->pass_threshold = request->pass_threshold;
    speech->text = request->text;
    speech->done = request->done;
    speech->user = request->user;
    pthread_mutex_lock(&home->lock);
    speech->next = home->all;
    home->all = speech;
    make_ready(speech);
    *result = speech;
    pthread_mutex_unlock(&home->lock);
    return LOAM_OK;
}

static void cancel_locked(struct lm_speech *speech)
{
    speech->cancelled = true;
    if (speech->stage == STAGE_RUNS)
        lm_ticket_cancel(speech->ticket);
}

static void local_cancel(struct lm_speech *speech)
{
    struct local_engine *home = speech->home;
    pthread_mutex_lock(&home->lock);
    cancel_locked(speech);
    pthread_mutex_unlock(&home->lock);
}

static void local_free(struct lm_speech *speech)
{
    struct local_engine *home = speech->home;
    lm_ticket_free(speech->ticket);    /* no notify comes from now on */
    pthread_mutex_lock(&home->lock);
    while (home->current == speech)    /* `done` is returning */
        pthread_cond_wait(&home->changed, &home->lock);
    for (struct lm_speech **at = &home->ready, *before = NULL; *at; before = *at, at = &(*at)->next_ready)
        if (*at == speech) {
            *at = speech->next_ready;
            if (home->ready_end == speech)
                home->ready_end = before;
            break;
        }
    pthread_mutex_unlock(&home->lock);
    lm_conversation_free(&speech->conversation);
    lm_free(speech);
}

static int64_t local_count(void *self, const char *text, size_t length)
{
    const struct local *local = self;
    const size_t part = length > COUNTED_BYTES ? SAMPLED_BYTES : length;
    struct lm_ids ids = {0};
    const int code = lm_tokenizer_encode(lm_engine_tokenizer(local->home->engine), text, part, 0, &ids, NULL, NULL);
    const double all = (double)ids.length * (part ? (double)length / (double)part : 1);
    lm_ids_free(&ids);
    return code == LOAM_OK ? (int64_t)ceil(all) : (int64_t)length;
}

static int64_t local_context(void *self)
{
    const struct local *local = self;
    return lm_engine_context(local->home->engine);
}

static bool any_of(const struct local *local)
{
    for (const struct lm_speech *speech = local->home->all; speech; speech = speech->next)
        if (speech->speaker == local)
            return true;
    return false;
}

static void local_close(void *self)
{
    struct local *local = self;
    struct local_engine *home = local->home;
    pthread_mutex_lock(&home->lock);
    for (struct lm_speech *speech = home->all; speech; speech = speech->next)
        if (speech->speaker == local)
            cancel_locked(speech);
    while (any_of(local) || (home->current && home->current->speaker == local))
        pthread_cond_wait(&home->changed, &home->lock);
    pthread_mutex_unlock(&home->lock);
    lm_free(local);
}

static const struct lm_speaker_ops local_ops = {.start = local_start, .cancel = local_cancel, .free = local_free, .count = local_count,
                                            .context = local_context, .close = local_close};

int lm_speaker_local_open(const struct lm_participant *participant, const struct lm_speaker_kit *kit, struct lm_speaker *speaker,
                          loam_error *error)
{
    struct local *local = lm_alloc(1, sizeof *local, error);
    if (!local)
        return LOAM_ENOMEM;
    local->participant = participant;
    const int code = find_home(participant->path, kit->engines, &local->home, error);
    if (code != LOAM_OK) {
        lm_free(local);
        return code;
    }
    *speaker = (struct lm_speaker){&local_ops, local};
    return LOAM_OK;
}
