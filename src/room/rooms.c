/* The house: its rooms, the thread that drives them, who listens. */
#include "rooms_inside.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LONGEST_ID = 200, TAKEN_AT_ONCE = 4 };

/* --- News --- */

void lm_news_free(struct lm_news *news)
{
    if (news->kind == LM_NEWS_TURN)
        return;    /* part of its turn */
    lm_free(news->text);
    lm_free(news->toward);
    lm_free(news->person);
    lm_free(news->name);
    lm_free(news);
}

void lm_rooms_queue(struct lm_rooms *rooms, struct lm_queue *queue, struct lm_news *news)
{
    news->next = NULL;
    if (queue->last)
        queue->last->next = news;
    else
        queue->first = news;
    queue->last = news;
    if (!rooms->working)
        pthread_cond_signal(&rooms->wake);
}

void lm_rooms_push(struct lm_rooms *rooms, struct lm_news *news)
{
    pthread_mutex_lock(&rooms->lock);
    lm_rooms_queue(rooms, &rooms->rest, news);
    pthread_mutex_unlock(&rooms->lock);
}

static bool any_news(const struct lm_rooms *rooms)
{
    return rooms->heads.first || rooms->rest.first;
}

/* All of the first queue and some of the other behind it, so that neither waits for the whole of the other. */
static struct lm_news *take_some(struct lm_rooms *rooms)
{
    struct lm_queue taken = rooms->heads;
    rooms->heads = (struct lm_queue){0};
    if (!rooms->rest.first)
        return taken.first;
    struct lm_news *end = rooms->rest.first;
    for (int i = 1; i < TAKEN_AT_ONCE && end->next; i++)
        end = end->next;
    if (taken.last)
        taken.last->next = rooms->rest.first;
    else
        taken.first = rooms->rest.first;
    rooms->rest.first = end->next;
    if (!end->next)
        rooms->rest.last = NULL;
    end->next = NULL;
    return taken.first;
}

struct lm_news *lm_news_make(enum lm_news_kind kind, struct lm_room *room, loam_error *error)
{
    struct lm_news *news = lm_alloc(1, sizeof *news, error);
    if (news)
        *news = (struct lm_news){.kind = kind, .room = room};
    return news;
}

/* --- Listeners --- */

void lm_room_tell(struct lm_room *room, const struct lm_room_event *event)
{
    struct lm_rooms *rooms = room->rooms;
    struct lm_room_event whole = *event;
    whole.room = room;
    whole.name = event->name ? event->name : "";
    whole.text = event->text ? event->text : "";
    whole.time = event->time > 0 ? event->time : lm_time();
    pthread_mutex_lock(&rooms->hearing);
    for (struct lm_listener **at = &room->listeners; *at;) {
        struct lm_listener *listener = *at;
        rooms->called = listener;
        if (listener->hear)
            listener->hear(listener->user, &whole);
        rooms->called = NULL;
        for (at = &room->listeners; *at && *at != listener;)    /* others may have come and gone meanwhile */
            at = &(*at)->next;
        if (!*at)
            break;
        if (listener->hear) {
            at = &listener->next;
        } else {
            *at = listener->next;
            lm_free(listener);
        }
    }
    pthread_mutex_unlock(&rooms->hearing);
}

void lm_room_notice(struct lm_room *room, const char *person, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    lm_format_list(text, sizeof text, format, arguments);
    va_end(arguments);
    const size_t length = strlen(text) - lm_utf8_unfinished(text, strlen(text));
    text[length] = 0;
    lm_room_tell(room, &(struct lm_room_event){.kind = LM_ROOM_NOTICE, .text = text, .length = length, .person_id = person});
}

int lm_room_listen(struct lm_room *room, void (*hear)(void *user, const struct lm_room_event *event), void *user,
                   struct lm_listener **result, loam_error *error)
{
    struct lm_listener *listener = lm_alloc(1, sizeof *listener, error);
    if (!listener)
        return LOAM_ENOMEM;
    *listener = (struct lm_listener){.room = room, .hear = hear, .user = user};
    pthread_mutex_lock(&room->rooms->hearing);
    listener->next = room->listeners;
    room->listeners = listener;
    pthread_mutex_unlock(&room->rooms->hearing);
    *result = listener;
    return LOAM_OK;
}

void lm_listener_free(struct lm_listener *listener)
{
    if (!listener)
        return;
    struct lm_rooms *rooms = listener->room->rooms;
    pthread_mutex_lock(&rooms->hearing);
    if (rooms->called == listener) {
        listener->hear = NULL;    /* it is being called, by this very thread: lm_room_tell frees it */
    } else {
        struct lm_listener **at = &listener->room->listeners;
        while (*at != listener)
            at = &(*at)->next;
        *at = listener->next;
        lm_free(listener);
    }
    pthread_mutex_unlock(&rooms->hearing);
}

/* --- The driving thread --- */

static void take_news(struct lm_rooms *rooms, struct lm_news *news)
{
    struct lm_room *room = news->room;
    const bool of_turn = news->kind == LM_NEWS_TURN;    /* part of a turn that may be gone when this returns */
    switch (news->kind) {
    case LM_NEWS_POST:
        lm_room_tell(room, &(struct lm_room_event){.kind = LM_ROOM_MESSAGE, .id = news->id, .author = LM_AUTHOR_PERSON, .person_id = news->person,
                                                   .name = news->name, .text = news->text, .length = news->length, .time = news->time});
        if (!news->quiet && !rooms->closing)
            lm_room_asked(room, news);
        break;
    case LM_NEWS_TURN:
        lm_turn_come(news->turn);
        break;
    case LM_NEWS_STOP:
        lm_room_halt(room);
        break;
    case LM_NEWS_CHANGED:
        if (news->text)
            lm_room_notice(room, news->person, "%s", news->text);
        lm_room_tell(room, &(struct lm_room_event){.kind = LM_ROOM_MEMBERS});
        break;
    case LM_NEWS_ENTERED:
        break;
    }
    if (!rooms->closing)
        lm_room_advance(room);
    if (!of_turn)
        lm_news_free(news);
}

/* Tries that are due, and when the next one is. */
static void wake_turns(struct lm_rooms *rooms)
{
    const double now = lm_seconds();
    if (rooms->wake_at > now)
        return;
    rooms->wake_at = INFINITY;
    pthread_mutex_lock(&rooms->lock);
    struct lm_room *first = rooms->rooms;    /* rooms are only added, at the front */
    pthread_mutex_unlock(&rooms->lock);
    for (struct lm_room *room = first; room; room = room->next) {
        bool woken = false;
        for (struct lm_turn *turn = room->turns; turn; turn = turn->next)
            if (turn->wake_at > 0 && turn->wake_at <= now) {
                lm_turn_wake(turn);
                woken = true;
            }
        if (woken)
            lm_room_advance(room);    /* a try that could not begin ends its turn */
        for (struct lm_turn *turn = room->turns; turn; turn = turn->next)
            if (turn->wake_at > 0 && turn->wake_at < rooms->wake_at)
                rooms->wake_at = turn->wake_at;
    }
}

static void count_busy(struct lm_rooms *rooms)
{
    int64_t busy = 0;
    for (struct lm_room *room = rooms->rooms; room; room = room->next)
        busy += room->running || room->pending.id || room->turns;
    rooms->busy = busy;
    if (!busy && !any_news(rooms))
        pthread_cond_broadcast(&rooms->quiet);
}

/* News; waits until there are some, or `until`. With the lock not held. */
static struct lm_news *wait_for_news(struct lm_rooms *rooms, double until)
{
    pthread_mutex_lock(&rooms->lock);
    rooms->working = any_news(rooms);
    if (!rooms->working)
        count_busy(rooms);
    while (!any_news(rooms) && !rooms->closing && lm_seconds() < until) {
        if (until == INFINITY) {
            pthread_cond_wait(&rooms->wake, &rooms->lock);
            continue;
        }
        struct timespec at = {.tv_sec = (time_t)until, .tv_nsec = (long)((until - floor(until)) * 1e9)};
        pthread_cond_timedwait(&rooms->wake, &rooms->lock, &at);
    }
    struct lm_news *news = take_some(rooms);
    rooms->working = true;
    pthread_mutex_unlock(&rooms->lock);
    return news;
}

static bool is_closing(struct lm_rooms *rooms)
{
    pthread_mutex_lock(&rooms->lock);
    const bool closing = rooms->closing;
    pthread_mutex_unlock(&rooms->lock);
    return closing;
}

static struct lm_news *wait_for_end(struct lm_rooms *rooms)
{
    pthread_mutex_lock(&rooms->lock);
    rooms->working = false;
    while (!any_news(rooms))
        pthread_cond_wait(&rooms->wake, &rooms->lock);
    struct lm_news *news = take_some(rooms);
    pthread_mutex_unlock(&rooms->lock);
    return news;
}

/* What still speaks is cancelled and waited for; nothing of it is kept, so that it is asked again when the room is next entered. */
static void end_all(struct lm_rooms *rooms)
{
    for (struct lm_room *room = rooms->rooms; room; room = room->next)
        for (struct lm_turn *turn = room->turns; turn; turn = turn->next)
            lm_speech_cancel(turn->speech);
    while (rooms->speaking > 0) {
        struct lm_news *next;
        for (struct lm_news *news = wait_for_end(rooms); news; news = next) {
            next = news->next;
            rooms->speaking -= news->kind == LM_NEWS_TURN && lm_turn_drop(news->turn);
            lm_news_free(news);
        }
    }
}

static void *drive(void *user)
{
    struct lm_rooms *rooms = user;
    while (!is_closing(rooms)) {
        struct lm_news *behind;
        wake_turns(rooms);
        for (struct lm_news *news = wait_for_news(rooms, rooms->wake_at); news; news = behind) {
            behind = news->next;
            take_news(rooms, news);
        }
    }
    end_all(rooms);
    return NULL;
}

/* --- Opening and closing --- */

static int open_speakers(struct lm_rooms *rooms, loam_error *error)
{
    const struct lm_speaker_kit kit = {.engines = rooms->engines, .client = rooms->options.client, .secrets = rooms->options.secrets};
    rooms->speakers = lm_alloc(rooms->count, sizeof *rooms->speakers, error);
    int code = rooms->speakers ? LOAM_OK : LOAM_ENOMEM;
    rooms->own_speakers = !rooms->options.speakers;
    for (size_t i = 0; i < rooms->count && code == LOAM_OK; i++) {
        if (rooms->own_speakers)
            code = lm_speaker_open(&rooms->config->participants[i], &kit, &rooms->speakers[i], error);
        else
            rooms->speakers[i] = rooms->options.speakers[i];
        rooms->opened += code == LOAM_OK;
    }
    return code;
}

static int start_thread(struct lm_rooms *rooms, loam_error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&rooms->thread, NULL, drive, rooms);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    rooms->thread_runs = !failed;
    return failed ? lm_fail_errno(error, failed, "no thread for the rooms") : LOAM_OK;
}

static void init_locks(struct lm_rooms *rooms)
{
    pthread_mutexattr_t again;
    pthread_condattr_t steady;
    pthread_mutexattr_init(&again);
    pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&rooms->hearing, &again);
    pthread_mutexattr_destroy(&again);
    pthread_mutex_init(&rooms->lock, NULL);
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&rooms->wake, &steady);
    pthread_cond_init(&rooms->quiet, &steady);
    pthread_condattr_destroy(&steady);
}

int lm_rooms_open(const struct lm_rooms_options *options, struct lm_rooms **result, loam_error *error)
{
    struct lm_rooms *rooms = lm_alloc(1, sizeof *rooms, error);
    if (!rooms)
        return LOAM_ENOMEM;
    *rooms = (struct lm_rooms){.options = *options, .config = options->config, .count = options->config->participant_count};
    rooms->options.backoff = options->backoff > 0 ? options->backoff : 1;
    rooms->wake_at = INFINITY;
    init_locks(rooms);
    int code = lm_ledger_open(options->config->database, &rooms->ledger, error);
    if (code == LOAM_OK)
        code = lm_engines_create(options->threads, &rooms->engines, error);
    if (code == LOAM_OK)
        code = open_speakers(rooms, error);
    if (code == LOAM_OK)
        code = start_thread(rooms, error);
    if (code != LOAM_OK) {
        lm_rooms_close(rooms);
        return code;
    }
    *result = rooms;
    return LOAM_OK;
}

void lm_asking_free(struct lm_asking *question)
{
    lm_free(question->text);
    lm_free(question->toward);
    *question = (struct lm_asking){0};
}

static void free_room(struct lm_room *room)
{
    while (room->turns) {
        struct lm_turn *next = room->turns->next;
        lm_turn_free(room->turns);
        room->turns = next;
    }
    while (room->listeners) {
        struct lm_listener *next = room->listeners->next;
        lm_free(room->listeners);
        room->listeners = next;
    }
    for (size_t i = 0; room->systems && i < room->rooms->count; i++)
        lm_free(room->systems[i]);
    lm_asking_free(&room->question);
    lm_asking_free(&room->pending);
    lm_tail_free(&room->tail);
    lm_free(room->systems);
    lm_free(room->muted);
    lm_free(room->gone);
    lm_free(room->thinking);
    lm_free(room->spoken);
    lm_free(room->no_summary);
    lm_free(room->order);
    lm_free(room->id);
    lm_free(room->title);
    lm_free(room);
}

void lm_rooms_close(struct lm_rooms *rooms)
{
    if (!rooms)
        return;
    if (rooms->thread_runs) {
        pthread_mutex_lock(&rooms->lock);
        rooms->closing = true;
        pthread_cond_broadcast(&rooms->wake);
        pthread_cond_broadcast(&rooms->quiet);
        pthread_mutex_unlock(&rooms->lock);
        pthread_join(rooms->thread, NULL);
    }
    for (struct lm_news *news; (news = take_some(rooms));)
        for (struct lm_news *next; news; news = next) {
            next = news->next;
            lm_news_free(news);
        }
    for (struct lm_room *room = rooms->rooms, *next; room; room = next) {
        next = room->next;
        free_room(room);
    }
    for (size_t i = 0; rooms->own_speakers && i < rooms->opened; i++)
        rooms->speakers[i].ops->close(rooms->speakers[i].self);
    lm_free(rooms->speakers);
    lm_engines_free(rooms->engines);
    lm_ledger_close(rooms->ledger);
    lm_bytes_free(&rooms->fetched);
    pthread_cond_destroy(&rooms->wake);
    pthread_cond_destroy(&rooms->quiet);
    pthread_mutex_destroy(&rooms->lock);
    pthread_mutex_destroy(&rooms->hearing);
    lm_free(rooms);
}

bool lm_rooms_idle(struct lm_rooms *rooms, double seconds)
{
    struct timespec at = {0};
    if (seconds >= 0) {
        const double until = lm_seconds() + (seconds < 1e8 ? seconds : 1e8);
        at = (struct timespec){.tv_sec = (time_t)until, .tv_nsec = (long)((until - floor(until)) * 1e9)};
    }
    bool late = false;
    pthread_mutex_lock(&rooms->lock);
    while ((rooms->busy || any_news(rooms) || rooms->working) && !rooms->closing && !late)
        late = seconds < 0 ? pthread_cond_wait(&rooms->quiet, &rooms->lock) != 0
                           : pthread_cond_timedwait(&rooms->quiet, &rooms->lock, &at) == ETIMEDOUT;
    const bool idle = !rooms->busy && !any_news(rooms) && !rooms->working;
    pthread_mutex_unlock(&rooms->lock);
    return idle;
}

/* --- Rooms --- */

struct answered {
    struct lm_room *room;
    int64_t count;
};

/* Who has answered the open question in which round: the round goes on behind them. */
static void take_answer(void *user, const char *name, int64_t round)
{
    struct answered *answered = user;
    struct lm_room *room = answered->room;
    answered->count++;
    if (round > room->resume_round) {
        room->resume_round = round;
        memset(room->spoken, 0, room->rooms->count * sizeof *room->spoken);
    }
    for (size_t i = 0; round == room->resume_round && i < room->rooms->count; i++)
        if (!strcmp(room->rooms->config->participants[i].name, name))
            room->spoken[i] = true;
}

static int resume(struct lm_room *room, int64_t after, loam_error *error)
{
    struct lm_asking *pending = &room->pending;
    struct answered answered = {.room = room};
    int code = lm_ledger_open_question(room->rooms->ledger, room->number, after, &pending->id, &pending->toward, &pending->text, error);
    if (code == LOAM_OK && pending->id)
        code = lm_ledger_answers(room->rooms->ledger, room->number, pending->id, take_answer, &answered, error);
    room->ai_turns = answered.count;
    return code;
}

static int fill_room(struct lm_room *room, const char *id, const char *title, loam_error *error)
{
    struct lm_rooms *rooms = room->rooms;
    const size_t count = rooms->count;
    struct lm_ledger_room row = {0};
    room->settings = rooms->config->settings;
    room->id = lm_copy_string(id, strlen(id), error);
    room->muted = lm_alloc(count, sizeof *room->muted, error);
    room->gone = lm_alloc(count, sizeof *room->gone, error);
    room->thinking = lm_alloc(count, sizeof *room->thinking, error);
    room->spoken = lm_alloc(count, sizeof *room->spoken, error);
    room->no_summary = lm_alloc(count, sizeof *room->no_summary, error);
    room->systems = lm_alloc(count, sizeof *room->systems, error);
    room->order = lm_alloc(count, sizeof *room->order, error);
    if (!room->id || !room->muted || !room->gone || !room->thinking || !room->spoken || !room->no_summary || !room->systems || !room->order)
        return LOAM_ENOMEM;
    int code = lm_ledger_room(rooms->ledger, id, title ? title : rooms->config->name, &row, error);
    room->number = row.number;
    room->title = row.title;
    row.title = NULL;
    if (code == LOAM_OK && *row.settings)
        code = lm_room_settings_read(room, row.settings, error);
    if (code == LOAM_OK)
        code = resume(room, row.answered, error);
    lm_ledger_room_free(&row);
    return code;
}

static struct lm_room *find_room(struct lm_rooms *rooms, const char *id)
{
    struct lm_room *room = rooms->rooms;
    while (room && strcmp(room->id, id))
        room = room->next;
    return room;
}

int lm_rooms_enter(struct lm_rooms *rooms, const char *id, const char *title, struct lm_room **result, loam_error *error)
{
    const size_t length = strlen(id);
    if (!length || length > LONGEST_ID || lm_utf8_check(id, length) != length)
        return lm_fail(error, LOAM_EUSAGE, "a room's id: found %zu bytes, wanted 1 to %d of UTF-8", length, LONGEST_ID);
    pthread_mutex_lock(&rooms->lock);
    struct lm_room *room = find_room(rooms, id);
    pthread_mutex_unlock(&rooms->lock);
    if (room) {
        *result = room;
        return LOAM_OK;
    }
    room = lm_alloc(1, sizeof *room, error);
    struct lm_news *news = room ? lm_news_make(LM_NEWS_ENTERED, room, error) : NULL;
    if (!news) {
        lm_free(room);
        return LOAM_ENOMEM;
    }
    room->rooms = rooms;
    const int code = fill_room(room, id, title, error);
    if (code != LOAM_OK) {
        lm_free(news);
        free_room(room);
        return code;
    }
    pthread_mutex_lock(&rooms->lock);
    struct lm_room *other = find_room(rooms, id);    /* two threads at once */
    if (!other) {
        room->next = rooms->rooms;
        rooms->rooms = room;
    }
    pthread_mutex_unlock(&rooms->lock);
    if (other) {
        lm_free(news);
        free_room(room);
    } else {
        lm_rooms_push(rooms, news);
    }
    *result = other ? other : room;
    return LOAM_OK;
}

int lm_rooms_list(struct lm_rooms *rooms, char ***ids, size_t *count, loam_error *error)
{
    return lm_ledger_rooms(rooms->ledger, ids, count, error);
}

const char *lm_room_id(const struct lm_room *room)
{
    return room->id;
}

void lm_room_title(struct lm_room *room, char title[256])
{
    snprintf(title, 256, "%.250s", room->title);
    title[strlen(title) - lm_utf8_unfinished(title, strlen(title))] = 0;
}

bool lm_rooms_owner(const struct lm_rooms *rooms, const char *person_id)
{
    const char *at = rooms->config->owner;
    const size_t length = person_id ? strlen(person_id) : 0;
    while (at && *at && length) {
        at += strspn(at, ", \t");
        const size_t one = strcspn(at, ", \t");
        if (one == length && !memcmp(at, person_id, one))
            return true;
        at += one;
    }
    return false;
}
