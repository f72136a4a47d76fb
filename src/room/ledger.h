/* Inside room/: the history and what is kept beside it, in one SQLite file.
 *
 *     struct lm_ledger *ledger;
 *     if (lm_ledger_open("room.db", &ledger, error)) return error->code;
 *     struct lm_ledger_room room = {0};
 *     lm_ledger_room(ledger, "main", "The workshop", &room, error);
 *     struct lm_ledger_message message = {.room = room.number, .author = LM_AUTHOR_PERSON, .name = "Ann", .text = "Hello", .length = 5,
 *                                        .position = -1};
 *     lm_ledger_add(ledger, &message, &id, error);       // one transaction: message, its words for the search, position, tokens
 *
 * Messages are only ever added: triggers in the file refuse anything else. The file is in WAL mode with synchronous NORMAL: a process
 * that is killed loses nothing that was added; where the whole machine loses its power the last moments may be gone, never more, and
 * the file is sound. FILE.lock keeps a second process out.
 *
 * Any thread: one lock around every function, which none of them holds while it calls back.
 */
#ifndef LOAM_ROOM_LEDGER_H
#define LOAM_ROOM_LEDGER_H

#include "room.h"

enum { LM_LEDGER_VERSION = 1 };

struct lm_ledger;
int lm_ledger_open(const char *path, struct lm_ledger **ledger, loam_error *error);
void lm_ledger_close(struct lm_ledger *ledger);

struct lm_ledger_room {              /* {0}; lm_ledger_room_free */
    int64_t number;
    char *title, *settings;         /* settings: JSON, "" where none were changed */
    int64_t answered;               /* the last message of a person whose rounds are over */
};
int lm_ledger_room(struct lm_ledger *ledger, const char *id, const char *title, struct lm_ledger_room *room, loam_error *error);
void lm_ledger_room_free(struct lm_ledger_room *room);
int lm_ledger_rooms(struct lm_ledger *ledger, char ***ids, size_t *count, loam_error *error);
int lm_ledger_settings(struct lm_ledger *ledger, int64_t room, const char *settings, loam_error *error);
int lm_ledger_answered(struct lm_ledger *ledger, int64_t room, int64_t trigger, loam_error *error);

struct lm_ledger_message {
    int64_t room;
    double time;                    /* 0: now */
    enum lm_author author;
    const char *person, *name;      /* person: the id of one, or NULL */
    const char *text;
    size_t length;
    bool quiet;
    const char *toward;             /* to whom a person says it, or NULL */
    int64_t trigger, round;         /* of an AI's message: what it answers, and in which round */
    const char *source;             /* NULL: none */
    int64_t position;               /* -1: none */
    int64_t prompt_tokens, tokens;  /* spent for it; -1 or 0: nothing known */
    double cost;
};
/* `id` is 0 where source and position were there already: nothing was added. */
int lm_ledger_add(struct lm_ledger *ledger, const struct lm_ledger_message *message, int64_t *id, loam_error *error);
int lm_ledger_add_many(struct lm_ledger *ledger, const struct lm_ledger_message *messages, size_t count, loam_error *error);
/* Notes a position; `seen`: it was noted before. */
int lm_ledger_pass_over(struct lm_ledger *ledger, const char *source, int64_t position, bool *seen, loam_error *error);
/* Whether it was noted; notes nothing. */
int lm_ledger_seen(struct lm_ledger *ledger, const char *source, int64_t position, bool *seen, loam_error *error);
int lm_ledger_position(struct lm_ledger *ledger, const char *source, int64_t *position, loam_error *error);

/* Tokens and money of what gave no message (a pass, a failure), and what was spent since a time. */
int lm_ledger_spend(struct lm_ledger *ledger, int64_t room, const char *name, int64_t prompt_tokens, int64_t tokens, double cost,
                   loam_error *error);
int lm_ledger_spent(struct lm_ledger *ledger, int64_t room, double since, int64_t *tokens, double *cost, loam_error *error);
/* One line a participant, appended: "Ada: 12 answers, 3456 tokens, 0.0123". */
int lm_ledger_costs(struct lm_ledger *ledger, int64_t room, struct lm_bytes *out, loam_error *error);

/* The last message of a person that asks for answers and is newer than `after`: its id, or 0; to whom, and its text (lm_free both). */
int lm_ledger_open_question(struct lm_ledger *ledger, int64_t room, int64_t after, int64_t *id, char **toward, char **text, loam_error *error);
/* Who has answered it in which round. */
int lm_ledger_answers(struct lm_ledger *ledger, int64_t room, int64_t trigger,
                     void (*take)(void *user, const char *name, int64_t round), void *user, loam_error *error);

/* What a participant was told of what lies before its window: up to message `through`. text NULL (lm_free): none. */
int lm_ledger_summary(struct lm_ledger *ledger, int64_t room, const char *name, int64_t *through, char **text, loam_error *error);
int lm_ledger_set_summary(struct lm_ledger *ledger, int64_t room, const char *name, int64_t through, const char *text, loam_error *error);

int lm_ledger_history(struct lm_ledger *ledger, int64_t room, int64_t after, int64_t limit,
                     int (*take)(void *user, const struct lm_kept *kept), void *user, loam_error *error);
int lm_ledger_latest(struct lm_ledger *ledger, int64_t room, int64_t limit, int (*take)(void *user, const struct lm_kept *kept), void *user,
                    loam_error *error);
int lm_ledger_search(struct lm_ledger *ledger, int64_t room, const char *text, int64_t limit,
                    int (*take)(void *user, const struct lm_kept *kept), void *user, loam_error *error);

int lm_ledger_note_set(struct lm_ledger *ledger, const char *key, const char *value, loam_error *error);
int lm_ledger_note_get(struct lm_ledger *ledger, const char *key, char **value, loam_error *error);
int lm_ledger_note_list(struct lm_ledger *ledger, const char *prefix, char ***keys, size_t *count, loam_error *error);

#endif
