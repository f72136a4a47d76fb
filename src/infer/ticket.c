#include "ticket.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* Waits are by the monotonic clock: a clock that is set does not end them. */
static int condition_create(pthread_cond_t *condition)
{
    pthread_condattr_t how;
    int failed = pthread_condattr_init(&how);
    if (failed)
        return failed;
    pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
    failed = pthread_cond_init(condition, &how);
    pthread_condattr_destroy(&how);
    return failed;
}

static int lock_and_condition(pthread_mutex_t *lock, pthread_cond_t *condition, loam_error *error)
{
    int failed = pthread_mutex_init(lock, NULL);
    if (!failed && (failed = condition_create(condition)))
        pthread_mutex_destroy(lock);
    return failed ? lm_fail_errno(error, failed, "no lock for the engine") : LOAM_OK;
}

int lm_core_create(struct lm_engine_core **result, loam_error *error)
{
    struct lm_engine_core *core = lm_alloc(1, sizeof *core, error);
    if (!core)
        return LOAM_ENOMEM;
    const int code = lock_and_condition(&core->lock, &core->wake, error);
    if (code != LOAM_OK) {
        lm_free(core);
        return code;
    }
    atomic_init(&core->holders, 1);
    *result = core;
    return LOAM_OK;
}

void lm_core_drop(struct lm_engine_core *core)
{
    if (!core || atomic_fetch_sub(&core->holders, 1) > 1)
        return;
    pthread_cond_destroy(&core->wake);
    pthread_mutex_destroy(&core->lock);
    lm_free(core);
}

static void free_entries(struct lm_entry *entry)
{
    while (entry) {
        struct lm_entry *next = entry->next;
        lm_free(entry);
        entry = next;
    }
}

static void destroy(struct lm_ticket *ticket)
{
    free_entries(ticket->first);
    lm_free(ticket->shown);
    for (int64_t i = 0; ticket->endings && i < ticket->choices; i++)
        lm_free(ticket->endings[i]);
    lm_free(ticket->endings);
    pthread_cond_destroy(&ticket->changed);
    pthread_mutex_destroy(&ticket->lock);
    lm_core_drop(ticket->core);
    lm_free(ticket);
}

int lm_ticket_create(struct lm_engine_core *core, const struct lm_request *request, struct lm_ticket **result,
                     loam_error *error)
{
    struct lm_ticket *ticket = lm_alloc(1, sizeof *ticket, error);
    if (!ticket)
        return LOAM_ENOMEM;
    const int code = lock_and_condition(&ticket->lock, &ticket->changed, error);
    if (code != LOAM_OK) {
        lm_free(ticket);
        return code;
    }
    ticket->choices = request->choices ? request->choices : 1;
    ticket->notify = request->notify;
    ticket->user = request->user;
    ticket->core = core;
    atomic_fetch_add(&core->holders, 1);
    atomic_init(&ticket->cancelled, false);
    ticket->endings = lm_alloc((size_t)ticket->choices, sizeof *ticket->endings, error);
    for (int64_t i = 0; ticket->endings && i < ticket->choices; i++)
        if (!(ticket->endings[i] = lm_alloc(1, sizeof *ticket->endings[i], error))) {
            destroy(ticket);
            return LOAM_ENOMEM;
        }
    if (!ticket->endings) {
        destroy(ticket);
        return LOAM_ENOMEM;
    }
    *result = ticket;
    return LOAM_OK;
}

void lm_ticket_abandon(struct lm_ticket *ticket)
{
    destroy(ticket);
}

static struct lm_entry *copy_event(const struct lm_event *event, loam_error *error)
{
    const size_t tops = event->top_count * sizeof *event->top;
    struct lm_entry *entry = lm_alloc(1, sizeof *entry + tops + event->length + 1, error);
    if (!entry)
        return NULL;
    char *behind = (char *)(entry + 1);
    entry->event = *event;
    entry->event.top = event->top_count ? (const struct lm_logprob *)behind : NULL;
    entry->event.text = behind + tops;
    if (tops)
        memcpy(behind, event->top, tops);
    if (event->length)
        memcpy(behind + tops, event->text, event->length);
    return entry;
}

/* Puts the entry in line and tells the reader; gives the ticket up where its reader has gone and its last choice has ended. */
static void deliver(struct lm_ticket *ticket, struct lm_entry *entry, bool end)
{
    pthread_mutex_lock(&ticket->lock);
    if (ticket->last)
        ticket->last->next = entry;
    else
        ticket->first = entry;
    ticket->last = entry;
    ticket->ended += end;
    pthread_cond_broadcast(&ticket->changed);
    if (ticket->notify) {
        void (*notify)(void *user) = ticket->notify;
        ticket->notifying = true;
        pthread_mutex_unlock(&ticket->lock);
        notify(ticket->user);
        pthread_mutex_lock(&ticket->lock);
        ticket->notifying = false;
        pthread_cond_broadcast(&ticket->changed);
    }
    ticket->left = ticket->ended == ticket->choices;
    const bool nobody = ticket->let_go && ticket->left;
    pthread_mutex_unlock(&ticket->lock);
    if (nobody)
        destroy(ticket);
}

int lm_ticket_push(struct lm_ticket *ticket, const struct lm_event *event, loam_error *error)
{
    struct lm_entry *entry = copy_event(event, error);
    if (!entry)
        return LOAM_ENOMEM;
    deliver(ticket, entry, false);
    return LOAM_OK;
}

void lm_ticket_end(struct lm_ticket *ticket, const struct lm_event *event)
{
    struct lm_entry *entry = ticket->endings[event->choice];
    ticket->endings[event->choice] = NULL;
    loam_error error;
    struct lm_entry *with_text = event->length ? copy_event(event, &error) : NULL;
    if (with_text) {
        lm_free(entry);
        entry = with_text;
    } else {
        entry->event = *event;
        entry->event.text = "";
        entry->event.length = 0;
        if (event->length) {
            entry->event.kind = LM_EVENT_FAILED;
            entry->event.error = error;
        }
    }
    deliver(ticket, entry, true);
}

static bool wait_for_change(struct lm_ticket *ticket, double seconds, const struct timespec *until)
{
    if (seconds == 0)
        return false;
    if (seconds < 0)
        return pthread_cond_wait(&ticket->changed, &ticket->lock) == 0;
    return pthread_cond_timedwait(&ticket->changed, &ticket->lock, until) != ETIMEDOUT;
}

static struct timespec time_from_now(double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    seconds = seconds < 1e9 ? seconds : 1e9;
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return until;
}

bool lm_ticket_next(struct lm_ticket *ticket, double seconds, struct lm_event *event)
{
    const struct timespec until = seconds > 0 ? time_from_now(seconds) : (struct timespec){0};
    bool waiting = true;
    pthread_mutex_lock(&ticket->lock);
    while (!ticket->first && ticket->ended < ticket->choices && waiting)
        waiting = wait_for_change(ticket, seconds, &until);
    struct lm_entry *entry = ticket->first;
    const bool done = !entry && ticket->ended == ticket->choices;
    if (entry) {
        lm_free(ticket->shown);
        ticket->shown = entry;
        ticket->first = entry->next;
        if (!ticket->first)
            ticket->last = NULL;
        *event = entry->event;
    } else if (done) {
        *event = (struct lm_event){.kind = LM_EVENT_DONE, .end_id = -1, .text = ""};
    }
    pthread_mutex_unlock(&ticket->lock);
    return entry || done;
}

void lm_ticket_cancel(struct lm_ticket *ticket)
{
    atomic_store(&ticket->cancelled, true);
    pthread_mutex_lock(&ticket->core->lock);
    pthread_cond_broadcast(&ticket->core->wake);
    pthread_mutex_unlock(&ticket->core->lock);
}

void lm_ticket_free(struct lm_ticket *ticket)
{
    if (!ticket)
        return;
    lm_ticket_cancel(ticket);
    pthread_mutex_lock(&ticket->lock);
    ticket->notify = NULL;
    while (ticket->notifying)
        pthread_cond_wait(&ticket->changed, &ticket->lock);
    ticket->let_go = true;
    const bool nobody = ticket->left;
    pthread_mutex_unlock(&ticket->lock);
    if (nobody)
        destroy(ticket);
}
