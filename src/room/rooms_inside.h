/* What the files that drive rooms share: rooms.c (the house and its thread), posting.c (what comes in), rounds.c (whose turn it is), turn.c (one answer),
 * room_command.c (settings). Private to room/.
 *
 * Who may touch what. `lock` of the house guards its queue and what commands change (settings, members, systems). Everything under
 * "the driving thread's" belongs to that thread alone. The ledger has a lock of its own. Listeners are called with `hearing` held,
 * which the thread that calls them may take again; never with `lock` held.
 */
#ifndef LOAM_ROOM_ROOMS_INSIDE_H
#define LOAM_ROOM_ROOMS_INSIDE_H

#include "protocol.h"
#include "ledger.h"

#include <pthread.h>
#include <stdatomic.h>

enum lm_job { LM_JOB_ANSWER, LM_JOB_MODERATE, LM_JOB_SUMMARISE };
enum lm_news_kind { LM_NEWS_POST, LM_NEWS_TURN, LM_NEWS_STOP, LM_NEWS_CHANGED, LM_NEWS_ENTERED };

struct lm_turn;
struct lm_news {                        /* what other threads tell the driving one */
    struct lm_news *next;
    enum lm_news_kind kind;
    struct lm_room *room;
    struct lm_turn *turn;               /* TURN: its answer has grown or ended; part of it, in the queue once at most */
    char *text, *toward, *person, *name;/* POST: what was kept; CHANGED: what to say, and who did it */
    size_t length;
    int64_t id;
    double time;
    bool quiet;
};
/* What a person waits for goes first: answers that are next to be posted in their room. `rest` is everything else. */
struct lm_queue {
    struct lm_news *first, *last;
};

struct lm_turn {                        /* one participant's answer, from being asked to being kept; the driving thread's */
    struct lm_turn *next;               /* of its room, in the order in which they are posted */
    struct lm_room *room;
    size_t who;
    enum lm_job job;
    int64_t number, round;
    struct lm_speech *speech;           /* NULL: waits for its next try, or has ended */
    bool ended;
    struct lm_reply reply;
    struct lm_bytes raw;                /* MODERATE, SUMMARISE */
    size_t shown;                       /* bytes of reply.out that were given to listeners */
    int tries;
    double wake_at;                     /* of the next try; 0: none waits */
    int64_t through;                    /* SUMMARISE: the newest message that it covers */
    atomic_bool lost;                   /* a piece of it found no memory */
    struct lm_speech_result result;     /* written before `finished` */
    /* Under `lock`: */
    struct lm_bytes come;               /* of the answer, what the driving thread has not fetched yet */
    bool finished;                      /* it has come to its end, and that was not fetched yet */
    bool told;                          /* `news` is in a queue */
    bool heads;                         /* no other turn of its room is posted before it */
    struct lm_news news;
};

struct lm_listener {
    struct lm_listener *next;
    struct lm_room *room;
    void (*hear)(void *user, const struct lm_room_event *event);    /* NULL: freed while being called */
    void *user;
};

/* The end of a room's history in memory, so that a turn need not read it again. Starts as {0}. */
struct lm_tail {
    struct lm_bytes bytes;              /* names and texts, a 0 behind each */
    struct lm_heard *heard;             /* oldest first; pointers into bytes */
    size_t count, capacity, wanted;     /* wanted: messages that a view has needed so far */
    bool whole;                         /* there is nothing older */
    int code;
    loam_error *error;                  /* of the reading that is going on */
};

struct lm_asking {
    int64_t id;                         /* 0: none */
    char *text, *toward;
};

struct lm_room {
    struct lm_room *next;
    struct lm_rooms *rooms;
    char *id, *title;
    int64_t number;
    /* Under `lock`: */
    struct lm_room_settings settings;
    bool *muted, *gone;                 /* [participants] */
    char **systems;                     /* [participants]; NULL: as the configuration has it */
    bool *thinking;                     /* [participants], written by the driving thread */
    /* Under `hearing`: */
    struct lm_listener *listeners;
    /* The driving thread's: */
    struct lm_asking question, pending;    /* being answered; newer than that */
    int64_t round, ai_turns;
    bool running, answered, choosing, halted;
    size_t *order, order_count, at;
    int64_t resume_round;               /* of a question that was left half answered; 0: none */
    bool *spoken;                       /* [participants] in that round */
    bool *no_summary;                   /* [participants] whose summary failed: the oldest are left out */
    bool said_limit;
    size_t next_one;                    /* ORDER_ONE: whose turn it is */
    struct lm_turn *turns;
    struct lm_tail tail;
};

struct lm_rooms {
    struct lm_rooms_options options;
    const struct lm_room_config *config;
    struct lm_ledger *ledger;
    struct lm_engines *engines;
    struct lm_speaker *speakers;        /* [participants] */
    size_t count;                       /* participants */
    bool own_speakers;
    size_t opened;                      /* of own speakers */
    pthread_t thread;
    bool thread_runs;

    pthread_mutex_t lock;
    pthread_cond_t wake, quiet;
    struct lm_room *rooms;
    struct lm_queue heads, rest;
    bool closing, working;
    int64_t busy;                       /* rooms that are doing something */

    pthread_mutex_t hearing;
    struct lm_listener *called;         /* the listener that is being called */

    /* The driving thread's: */
    int64_t turn_numbers;
    int64_t speaking;                   /* speeches that have not ended */
    double wake_at;                     /* when a turn wants its next try, or sooner; INFINITY: none does */
    struct lm_bytes fetched;            /* of the turn that is looked at */
};

/* rooms.c */
struct lm_news *lm_news_make(enum lm_news_kind kind, struct lm_room *room, loam_error *error);
void lm_news_free(struct lm_news *news);
void lm_rooms_push(struct lm_rooms *rooms, struct lm_news *news);
void lm_rooms_queue(struct lm_rooms *rooms, struct lm_queue *queue, struct lm_news *news);    /* with the lock held */
void lm_room_tell(struct lm_room *room, const struct lm_room_event *event);
void lm_room_notice(struct lm_room *room, const char *person, const char *format, ...) LM_PRINTF(3, 4);
void lm_asking_free(struct lm_asking *question);

/* rounds.c: the driving thread. */
void lm_room_advance(struct lm_room *room);
void lm_room_asked(struct lm_room *room, struct lm_news *news);    /* a person has said something; takes what it needs of it */
void lm_room_halt(struct lm_room *room);                           /* ends the round, and what runs */
void lm_room_moderated(struct lm_room *room, const char *answer);  /* what the moderator said; NULL: it failed */
bool lm_room_member_asked(const struct lm_room *room, size_t who); /* present and not muted; takes `lock` */

/* turn.c: the driving thread. */
/* Asks a participant: false where there is nothing to ask it about, or it cannot be asked, which has been said. */
bool lm_turn_start(struct lm_room *room, size_t who, enum lm_job job);
/* What has come of its answer since the last call. The turn may end by it; lm_turns_settle takes it off its room's list. */
void lm_turn_come(struct lm_turn *turn);
bool lm_turn_drop(struct lm_turn *turn);                            /* lets go what has come; whether that was the end */
void lm_turn_wake(struct lm_turn *turn);                           /* another try */
void lm_turn_cancel(struct lm_turn *turn);
void lm_turn_free(struct lm_turn *turn);
/* Posts what has ended, in order; true: something was taken off the list. */
bool lm_turns_settle(struct lm_room *room);

/* tail.c: the driving thread. Brings the tail up to date, with the last `wanted` messages at least where there are so many. */
int lm_tail_read(struct lm_room *room, size_t wanted, loam_error *error);
void lm_tail_free(struct lm_tail *tail);

/* room_command.c */
int lm_room_settings_read(struct lm_room *room, const char *json, loam_error *error);

/* speaker_local.c */
int lm_engines_create(int threads, struct lm_engines **engines, loam_error *error);
void lm_engines_free(struct lm_engines *engines);    /* behind all speakers */

#endif
