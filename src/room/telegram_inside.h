/* What the bot's files share: telegram.c (thread and queue), telegram_call.c (calls of the Bot API), telegram_poll.c (getting updates),
 * telegram_update.c (what an update is), telegram_gate.c (who may come in), telegram_send.c (what goes out). Private to room/.
 *
 * `lock` guards the queue and `closing`; everything else belongs to the bot's thread, unless it is set before the thread begins.
 * Other threads (the client's, the house's, a server's) only put news into the queue. */
#ifndef LOAM_ROOM_TELEGRAM_INSIDE_H
#define LOAM_ROOM_TELEGRAM_INSIDE_H

#include "markup.h"
#include "net/net.h"
#include "protocol.h"

#include <pthread.h>
#include <stdatomic.h>

#define TELEGRAM_SOURCE "telegram"

struct lm_telegram;

/* --- Calls --- */

struct answer {                          /* of the Bot API */
    int code;                            /* LOAM_OK: `result` is what was asked for; else the network's trouble, or a refusal */
    int status;                          /* 200, or what Telegram refused with; 0: no answer came */
    bool accepted;                       /* 200 came, whatever became of the body: the call has been carried out */
    double retry_after;                  /* -1: none */
    int64_t migrate_to;                  /* 0: no */
    char why[300];                       /* fit to be logged */
    struct lm_document *document;
    const struct lm_value *result;
};
struct call {
    struct call *next;                   /* in the list of those that are under way */
    struct lm_telegram *bot;
    struct lm_http_call *http;
    void (*then)(struct lm_telegram *bot, struct call *call, struct answer *answer);    /* NULL: nobody asks */
    int64_t home;                        /* of the chat, 0: of none */
    struct lm_bytes body;                /* what came */
    int code, status;
    loam_error error;
    bool done;
};

/* --- Chats --- */

struct outgoing {
    struct outgoing *next;
    char header[LM_NAME_BYTES + 16];     /* "🤖 Ada", or "" */
    struct lm_markup markup;
    size_t at, next_at;                  /* where the part that is being sent begins, and the one behind it */
    size_t units;                        /* of a message at most; 0: as many as there may be */
    bool plain;                          /* without entities */
    int64_t id;                          /* in the history; 0: not from there */
    int64_t behind;                      /* a notice: the message of the history that it follows */
};
struct chat;
struct lane {                            /* a room: a chat, or a topic of one */
    struct lane *next;
    struct lm_telegram *bot;
    struct chat *chat;
    int64_t topic;                       /* 0: none */
    bool paused;                         /* the topic is closed or gone; until somebody writes there */
    char room_id[64];
    struct lm_room *room;
    struct lm_listener *listener;
    int64_t sent;                        /* the last message of the history that went out or need not */
    int64_t newest;                      /* the last message that the house told of */
    bool look;                           /* there may be more in the history */
    struct outgoing *now;                /* what is being sent */
    struct outgoing *first, *last;       /* notices and answers to commands that wait */
    bool thinking;
    double typing_at;                    /* when the typing action was last sent */
    int late;                            /* messages that came too late to be answered */
};
struct chat {
    struct chat *next;
    int64_t id, home;                    /* home: its first id, whatever it has migrated to since */
    char base[40];                       /* of its rooms' ids: "telegram:HOME" */
    bool group;
    int64_t by;                          /* who authorised it */
    bool paused;                         /* the bot was put out; nothing is sent until somebody writes */
    bool sending;
    double tokens, refilled;             /* its budget */
    double wait_until, backoff;
};
struct tries {
    int64_t user;
    int wrong;
    double until;                        /* nothing of this user is looked at before */
};
struct deferred {                        /* an answer to somebody outside */
    double at;                           /* 0: free */
    int64_t chat_id;
    const char *text;
};
enum { MOST_TRIES = 512, MOST_DEFERRED = 32, RECENT = 1024 };

/* --- The bot --- */

enum news_kind { NEWS_CALL, NEWS_ROOM, NEWS_EXCHANGE };
struct news {
    struct news *next;
    enum news_kind kind;
    struct call *call;
    struct lane *lane;
    enum lm_room_event_kind event;
    int64_t id;                          /* of a message */
    char *text;
    struct lm_exchange *exchange;
};
struct lm_telegram {
    struct lm_telegram_options options;
    const struct lm_telegram_config *config;
    const struct lm_secret *token, *secret;
    struct lm_http_server *server;
    char hook_path[512], hook_secret[65];
    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t lock;
    pthread_cond_t wake, quiet;
    struct news *first, *last;
    struct news *taken;                  /* the bot's thread's: what is being worked on */
    bool closing, working, pending;      /* pending: something waits to be sent */

    struct call *calls;
    struct lane *lanes;
    struct chat *chats;
    struct tries tries[MOST_TRIES];
    struct deferred deferred[MOST_DEFERRED];
    double wrong_tokens, wrong_refilled; /* tries of all users together */
    double tokens, refilled;             /* the budget of all chats together */
    int64_t me;                          /* the bot's own id; 0: not known yet */
    char username[64];
    bool reads_all, dead;
    bool polling;                        /* a question is under way */
    double poll_at, poll_backoff;
    double lost_since;                   /* when the network was lost; 0: it is there */
    int conflicts;
    int64_t offset;                      /* behind the last batch; -1: none */
    double last_update;
    int64_t recent[RECENT];              /* updates that were handled, by id modulo RECENT */
};

/* telegram.c */
void telegram_push(struct lm_telegram *bot, const struct news *news);
void telegram_log(struct lm_telegram *bot, const char *format, ...) LM_PRINTF(2, 3);
int64_t telegram_number(const struct lm_value *object, const char *key, int64_t otherwise);
const char *telegram_text(const struct lm_value *object, const char *key);    /* "" where there is none */
bool telegram_flag(const struct lm_value *object, const char *key);

/* telegram_call.c */
/* `body` is a JSON object; moved. A call that cannot be made gives its answer at once. */
void telegram_call(struct lm_telegram *bot, const char *method, struct lm_bytes *body, double seconds, int64_t home,
                   void (*then)(struct lm_telegram *bot, struct call *call, struct answer *answer));
void telegram_called(struct lm_telegram *bot, struct call *call);    /* it is done */

/* telegram_poll.c */
void telegram_poll(struct lm_telegram *bot, double now);
double telegram_poll_due(const struct lm_telegram *bot);
void telegram_exchange(struct lm_telegram *bot, struct lm_exchange *exchange);

/* telegram_update.c */
/* Not LOAM_OK: it could not be kept, and is to come again. */
int telegram_update(struct lm_telegram *bot, const struct lm_value *update, loam_error *error);
void telegram_say_late(struct lm_telegram *bot);

/* telegram_gate.c */
int telegram_chats_load(struct lm_telegram *bot, loam_error *error);
struct chat *telegram_chat(struct lm_telegram *bot, int64_t id);    /* authorised, or NULL */
bool telegram_allowed(const struct lm_telegram *bot, int64_t user);
int telegram_start(struct lm_telegram *bot, const struct lm_value *message, int64_t user, const char *given, loam_error *error);
int telegram_let_in(struct lm_telegram *bot, const struct lm_value *message, int64_t user, struct chat **chat, loam_error *error);
int telegram_revoke(struct lm_telegram *bot, struct chat *chat, loam_error *error);
int telegram_migrate(struct lm_telegram *bot, int64_t from, int64_t to, loam_error *error);
double telegram_deferred(struct lm_telegram *bot, double now);    /* sends what is due; when the next is */

/* telegram_send.c */
int telegram_lane(struct lm_telegram *bot, struct chat *chat, int64_t topic, const char *title, struct lane **lane, loam_error *error);
void telegram_lanes_close(struct lm_telegram *bot, struct chat *of);    /* NULL: all */
void telegram_say(struct lane *lane, const char *text, size_t length);
void telegram_heard(struct lm_telegram *bot, const struct news *news);
/* Sends what may be sent; gives when it wants to be called again. */
double telegram_send(struct lm_telegram *bot, double now);

#endif
