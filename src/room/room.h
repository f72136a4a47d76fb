/* The face of room/: chatrooms in which several AIs and several people talk.
 *
 *     struct lm_room_config *config;
 *     if (lm_room_config_read("room.yaml", &config, error)) return error->code;
 *     struct lm_rooms *rooms;
 *     struct lm_rooms_options options = {.config = config};
 *     if (lm_rooms_open(&options, &rooms, error)) return error->code;
 *     struct lm_room *room;
 *     lm_rooms_enter(rooms, "main", NULL, &room, error);                 // made when it is not there yet
 *     struct lm_listener *listener;
 *     lm_room_listen(room, on_event, user, &listener, error);
 *     struct lm_post post = {.who = {"local", "Ann", true}, .text = "Hello!", .length = 6, .position = -1};
 *     lm_room_post(room, &post, NULL, error);                            // kept; the AIs begin to answer
 *     lm_rooms_idle(rooms, -1);                                          // waits until nobody is about to say something
 *     lm_rooms_close(rooms);
 *
 * How it works. `lm_rooms` is one house: one configuration, one database, one speaker for each participant, one thread that
 * drives the rounds of all its rooms as state machines. Whoever posts writes into the database in its own thread (one transaction:
 * the message and the transport's position) and returns; everything else happens on that thread, which never waits for a model or a
 * service: they tell it when they are done. So a slow participant holds up its own room only, and a room costs some hundred bytes
 * and no thread. History is in the database; what a participant is sent is read from there.
 *
 * Threads. Every function may be called from any thread. Listeners are called on the driving thread, in the order in which things
 * happen, without locks held: they must be quick, may call every function here but lm_rooms_close, lm_rooms_idle and
 * lm_listener_free of another listener that is waiting for them, and copy what they keep.
 *
 * Texts that come in are made harmless before they are kept (protocol.h): invalid UTF-8 becomes U+FFFD, names lose what could
 * imitate a tag, and what looks like a tag at the beginning of a line of a message is one no longer.
 */
#ifndef LOAM_ROOM_H
#define LOAM_ROOM_H

#include "base/base.h"

/* --- Configuration: one YAML file (config.c) --- */

enum lm_room_order {
    LM_ORDER_RANDOM,        /* drawn anew for every round, by the seed and the message */
    LM_ORDER_FIXED,         /* as they stand in the file */
    LM_ORDER_MENTIONED,     /* only whom the message names; nobody named: nobody answers */
    LM_ORDER_ONE,           /* one a message, by turns */
    LM_ORDER_MODERATOR,     /* the first participant says who is to answer */
    LM_ORDER_TOGETHER       /* all asked at once, posted in the drawn order */
};
const char *lm_room_order_name(enum lm_room_order order);
int lm_room_order_parse(const char *name, enum lm_room_order *order, loam_error *error);

enum lm_participant_kind { LM_PARTICIPANT_MODEL, LM_PARTICIPANT_OPENAI, LM_PARTICIPANT_ANTHROPIC };
struct lm_header {
    const char *name, *value;
};
/* What the file gives; `has_…` tells what stands in it, for services that are sent only that. */
struct lm_participant_sampling {
    loam_sampling how;                  /* defaults where not given; its seed is the room's matter where has_seed is false */
    double presence_penalty, frequency_penalty;
    int64_t max_tokens;                 /* of one answer; 400 where not given */
    bool has_temperature, has_top_k, has_top_p, has_min_p, has_repetition_penalty, has_presence_penalty, has_frequency_penalty,
        has_seed;
};
struct lm_participant {
    enum lm_participant_kind kind;
    const char *name;                   /* harmless, and different from every other, also to the eye */
    const char *path;                   /* MODEL: directory or GGUF file; a relative one counts from the folder of the file */
    const char *base_url;               /* services: "https://api.example.com/v1", no slash at its end */
    const char *model;                  /* services: what they call it */
    const char *key;                    /* services: the NAME of an entry of the secrets, or NULL: none is sent */
    const struct lm_header *headers;
    size_t header_count;
    const char *system;                 /* said to it in addition to the rules of the room, or NULL */
    struct lm_participant_sampling sampling;
    double timeout;                     /* seconds that one try may take; 120 where not given */
    double price_input, price_output;   /* for a million tokens, in whatever money cost_per_hour is */
};
struct lm_telegram_config {
    bool given;
    const char *token, *secret;         /* NAMES of entries of the secrets; secret NULL: only `allow` lets people in */
    const int64_t *allow;               /* user ids */
    size_t allow_count;
    const char *api_url;                /* "https://api.telegram.org" where not given */
    const char *webhook;                /* the public https address, or NULL: long polling */
};
struct lm_room_settings {               /* what is changed in a room too; each room has its own copy */
    enum lm_room_order order;
    int64_t rounds;                     /* at most, for one message; 2 */
    int64_t max_ai_turns;               /* AI messages for one message of a person; 20; 0: none at all */
    int64_t tokens_per_hour;            /* prompt and answer, all participants of the room; 0: no limit */
    double cost_per_hour;               /* 0: no limit */
    int64_t window_tokens;              /* of history a participant is sent; 8000 */
    bool summarise;                     /* what leaves the window is summarised by the participant; else it is left out */
    double pass_threshold;              /* 0.5 */
};
struct lm_room_config {
    const char *path;                   /* of the file */
    const char *name;
    const char *owner;                  /* person ids, e.g. "telegram:12345", one or several with commas; NULL: nobody but who runs it */
    struct lm_room_settings settings;
    struct lm_participant *participants;
    size_t participant_count;
    struct lm_telegram_config telegram;
    const char *web_host;               /* NULL: no `web` section */
    int web_port;
    const char *database;               /* a relative one counts from the folder of the file */
    struct lm_room_memory *memory;      /* where all of this lies */
};
int lm_room_config_read(const char *path, struct lm_room_config **config, loam_error *error);
int lm_room_config_parse(const char *text, size_t length, const char *path, struct lm_room_config **config, loam_error *error);
void lm_room_config_free(struct lm_room_config *config);
extern const char lm_room_config_example[];    /* what `loam room init` writes */

/* --- The house --- */

struct lm_rooms;
struct lm_room;
struct lm_speaker;                      /* speaker.h */
struct lm_http_client;                  /* net/ */
struct lm_secrets;                      /* net/ */
struct lm_rooms_options {
    const struct lm_room_config *config;/* outlives the house */
    uint64_t seed;                      /* of orders and answers */
    int threads;                        /* for local models; 0: lm_processors() */
    struct lm_http_client *client;      /* for services; NULL: participants on services are refused */
    const struct lm_secrets *secrets;
    const struct lm_speaker *speakers;  /* tests: [participant_count], not owned; NULL: opened by the configuration */
    double backoff;                     /* seconds before the first retry, doubled for each; 0: 1 */
    void (*log)(void *user, const char *line);    /* may be NULL; any thread */
    void *user;
};
/* Opens models and database. A database that is locked, damaged, or from a newer version: an error that says so. */
int lm_rooms_open(const struct lm_rooms_options *options, struct lm_rooms **rooms, loam_error *error);
/* Answers that are being made are cancelled; what was posted is kept, and its round begins again when the room is next entered. */
void lm_rooms_close(struct lm_rooms *rooms);
/* Waits until no room has anything to do, at most `seconds` (negative: without end): whether that is so. */
bool lm_rooms_idle(struct lm_rooms *rooms, double seconds);

/* The room of that id (1 to 200 bytes, the transport's: "main", "telegram:-100123/7"), made where it is not there, called `title` or
 * as the configuration has it. A room that was left in the midst of a round goes on with it. Rooms live as long as the house. */
int lm_rooms_enter(struct lm_rooms *rooms, const char *id, const char *title, struct lm_room **room, loam_error *error);
/* Ids of all rooms of the database; free with lm_free_strings. */
int lm_rooms_list(struct lm_rooms *rooms, char ***ids, size_t *count, loam_error *error);
const char *lm_room_id(const struct lm_room *room);

/* --- Saying something --- */

struct lm_person {
    const char *id;                     /* who it is for the transport: "telegram:12345", "web:5f…", "local" */
    const char *name;                   /* shown; made harmless */
    bool owner;                         /* the transport vouches for it; lm_room_owner tells for ids of the configuration */
};
/* Whether room.owner of the configuration names this id. */
bool lm_rooms_owner(const struct lm_rooms *rooms, const char *person_id);

struct lm_post {
    struct lm_person who;
    const char *text;                   /* any bytes, 1 to 1 MiB */
    size_t length;
    const char *to;                     /* a participant whom it is said to (a reply, a mention), or NULL: see also "@Name" in the text */
    bool quiet;                         /* nobody is asked for an answer (an edit, a photo, somebody who came) */
    const char *source;                 /* the transport whose position this is ("telegram"), or NULL */
    int64_t position;                   /* in its stream: an update's id; -1: none */
};
/* Keeps the message and lets the round begin. What the transport gave once already (source, position) is not kept again: `id` is 0
 * then, and LOAM_OK. `id` may be NULL. Empty, or more than 1 MiB: LOAM_EUSAGE, with the position kept all the same. */
int lm_room_post(struct lm_room *room, const struct lm_post *post, int64_t *id, loam_error *error);

/* "/mute Name", "/order fixed", "/who": runs it and appends what it says, one or several lines of plain text, also where it
 * refuses (LOAM_EUSAGE: no such command, no right to it, a value that is none). Commands that change something need who->owner.
 * /quit is not known here. A position as above may come with it (source NULL: none): a repeated one is not run again. */
int lm_room_command(struct lm_room *room, const struct lm_person *who, const char *line, const char *source, int64_t position,
                    struct lm_bytes *reply, loam_error *error);
/* Ends the answers that are being made, and the round. */
void lm_room_stop(struct lm_room *room);

/* --- What happens --- */

enum lm_room_event_kind {
    LM_ROOM_THINKING,       /* name has been asked */
    LM_ROOM_DELTA,          /* name's answer goes on with text; `turn` tells which answer */
    LM_ROOM_MESSAGE,        /* a whole message, kept: id, author, name, text. A person's comes to its own poster too */
    LM_ROOM_PASS,           /* name has nothing to say */
    LM_ROOM_NOTICE,         /* text for people: a service failed, a limit was reached, a setting was changed. Not in history */
    LM_ROOM_FAILED,         /* name's answer came to nothing; what was shown of it is void. A notice says why */
    LM_ROOM_MEMBERS,        /* members or settings have changed: ask again */
    LM_ROOM_IDLE            /* the round is over, and nobody has anything to do */
};
enum lm_author { LM_AUTHOR_PERSON, LM_AUTHOR_AI, LM_AUTHOR_NOTE };
struct lm_room_event {                  /* valid during the call */
    enum lm_room_event_kind kind;
    struct lm_room *room;
    int64_t turn;                       /* THINKING, DELTA, PASS, FAILED, and an AI's MESSAGE: the same number for one answer */
    int64_t id;                         /* MESSAGE: in this database, rising */
    enum lm_author author;              /* MESSAGE */
    const char *person_id;              /* MESSAGE of a person */
    const char *name;                   /* who, without a tag; "" where nobody */
    const char *text;                   /* valid UTF-8, ends in 0 too */
    size_t length;
    double time;                        /* seconds since 1970 */
};
struct lm_listener;
int lm_room_listen(struct lm_room *room, void (*hear)(void *user, const struct lm_room_event *event), void *user,
                   struct lm_listener **listener, loam_error *error);
/* After this it is not called again; waits for a call that is going on, unless called from within it. NULL is fine. */
void lm_listener_free(struct lm_listener *listener);

/* --- Members and settings --- */

struct lm_member {
    char name[128];
    bool muted;                         /* hears, is not asked */
    bool present;                       /* false: kicked, or not invited yet */
    bool thinking;
};
size_t lm_room_members(struct lm_room *room, struct lm_member *members, size_t room_for);    /* gives how many there are */
void lm_room_settings(struct lm_room *room, struct lm_room_settings *settings);
void lm_room_title(struct lm_room *room, char title[256]);

/* --- History --- */

struct lm_kept {                        /* a message; valid during the call */
    int64_t id;
    double time;
    enum lm_author author;
    const char *person_id, *name, *text;
    size_t length;
};
/* Messages of the room with ids above `after`, oldest first, at most `limit` (0: all). `take` returns nonzero to stop. */
int lm_room_history(struct lm_room *room, int64_t after, int64_t limit,
                    int (*take)(void *user, const struct lm_kept *kept), void *user, loam_error *error);
/* The last `limit` messages, oldest first. */
int lm_room_latest(struct lm_room *room, int64_t limit, int (*take)(void *user, const struct lm_kept *kept), void *user,
                   loam_error *error);
/* Messages that hold the text, whatever its case and script, newest first, at most `limit`. */
int lm_room_search(struct lm_room *room, const char *text, int64_t limit,
                   int (*take)(void *user, const struct lm_kept *kept), void *user, loam_error *error);
enum lm_export { LM_EXPORT_JSONL, LM_EXPORT_MARKDOWN, LM_EXPORT_TRAINING };
int lm_export_parse(const char *name, enum lm_export *form, loam_error *error);    /* "jsonl", "markdown", "training" */
/* Appends to `out`. TRAINING: conversations as loam finetune reads them, the words of `participant` (NULL: of every one) as assistant. */
int lm_room_export(struct lm_room *room, enum lm_export form, const char *participant, struct lm_bytes *out, loam_error *error);
/* Appends the lines of a chats/<id>.jsonl of the reference bot to a room that is empty. Wrong lines: LOAM_EFORMAT naming file and line,
 * and nothing is kept. `count` gets the number of messages. */
int lm_room_import(struct lm_room *room, const char *path, int64_t *count, loam_error *error);

/* --- What a transport keeps beside history --- */

/* The largest position that was kept for a source, or -1. */
int lm_rooms_position(struct lm_rooms *rooms, const char *source, int64_t *position, loam_error *error);
/* Notes a position that had no message (an update of another kind). `seen` (may be NULL): it was noted or posted before. */
int lm_rooms_pass_over(struct lm_rooms *rooms, const char *source, int64_t position, bool *seen, loam_error *error);
/* Short texts by key ("telegram:chat:-100123"), kept in the database; a NULL value removes. A key that is not there: value NULL, and
 * LOAM_OK. lm_free. */
int lm_rooms_note_set(struct lm_rooms *rooms, const char *key, const char *value, loam_error *error);
int lm_rooms_note_get(struct lm_rooms *rooms, const char *key, char **value, loam_error *error);
/* Every key that begins with `prefix`, sorted; free with lm_free_strings. */
int lm_rooms_note_list(struct lm_rooms *rooms, const char *prefix, char ***keys, size_t *count, loam_error *error);

/* --- Transports --- */

#include "telegram.h"    /* rooms on Telegram */
#include "web.h"         /* a room on a page for browsers */

#endif
