/* Participants that say what a test tells them: speakers with one thread for all of them, and a room around them that notes what happens.
 *
 *     struct player *player = player_open(2, choose, NULL);       // choose: what to answer to a request
 *     struct stage stage;
 *     stage_open(&stage, player, "order: fixed", NULL);           // a house with Ada, Bix, … and its room "main"
 *     stage_say(&stage, "Ann", "Hello");
 *     stage_wait(&stage);
 *     assert_string_equal(stage_events(&stage), "…");
 *     stage_close(&stage);
 *     player_close(player);
 */
#ifndef LOAM_TESTS_PLAYER_H
#define LOAM_TESTS_PLAYER_H

#include "room/speaker.h"
#include "support/support.h"

enum { PLAYER_MOST = 10 };
extern const char *const player_names[PLAYER_MOST];    /* "Ada", "Bix", "Cid", … */

struct player_line {
    const char *text;           /* NULL: PASS that is scored, not written. Must live until it is said */
    double delay;               /* seconds before it begins */
    bool fails, again;          /* it fails instead, with `text` as the error's message */
    double retry_after;
    int64_t prompt_tokens, tokens;
    size_t piece;               /* bytes of a piece; 0: all at once */
    bool never;                 /* it never ends by itself */
    bool refused;               /* it does not even begin, with `text` as the error's message */
    double *said;               /* gets the moment in which the whole of it was there, before the room hears of it; or NULL */
};
/* Called in the thread that asks. `prompt` is "<s>…<u>…<a>…" of the request. */
typedef void player_choose(void *user, size_t who, int time, const char *prompt, struct player_line *line);
struct player;
struct player *player_open(size_t count, player_choose *choose, void *user);
void player_close(struct player *player);
const struct lm_speaker *player_speakers(struct player *player);
int player_asked(struct player *player, size_t who);           /* how often */
int player_running(struct player *player);

struct stage {
    struct lm_room_config *config;
    struct lm_rooms *rooms;
    struct lm_room *room;
    struct lm_listener *listener;
    struct player *player;
    pthread_mutex_t lock;
    struct lm_bytes events;     /* "Ann: Hello|Ada thinks|Ada: Hi|Bix passes|! notice|idle|" */
    struct lm_bytes deltas;     /* what was streamed last, of any one */
    char folder[256];
};
/* `room` are more lines of the room section with a comma between ("order: fixed, rounds: 1"); `folder` NULL: a new one. */
void stage_open(struct stage *stage, struct player *player, const char *room, const char *folder);
void stage_close(struct stage *stage);
void stage_say(struct stage *stage, const char *name, const char *text);
void stage_wait(struct stage *stage);
/* What has happened since the last call; lives until the next. */
const char *stage_events(struct stage *stage);
/* All messages: "Ann: Hello|Ada: Hi|". */
const char *stage_history(struct stage *stage);
/* What the command says; as the owner or as somebody else. */
const char *stage_command(struct stage *stage, bool owner, const char *line);

#endif
