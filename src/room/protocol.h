/* Inside room/: what is said, as participants see it, and what of their answers counts.
 *
 *     struct lm_bytes clean = {0};
 *     lm_harmless_text(text, length, &clean, error);            // before anything is kept
 *
 *     struct lm_reply reply = {.name = "Ada"};
 *     lm_reply_feed(&reply, piece, n, error);                   // as it comes; reply.out grows by what can be shown
 *     lm_reply_finish(&reply, error);
 *     if (reply.verdict == LM_REPLY_SAID) ... reply.out ...
 *     lm_reply_free(&reply);
 *
 * Tags. Everyone but the one who is asked speaks as 👤[Name] (people) or 🤖[Name] (AIs), a blank, and the words. So that nobody can put
 * words into another's mouth, names hold no bracket, no sign of the two, nothing invisible and nothing that changes the direction
 * of writing; and where a sign is followed by a bracket in a text, the bracket becomes a round one.
 *
 * One object, one thread; the functions on texts from any.
 */
#ifndef LOAM_ROOM_PROTOCOL_H
#define LOAM_ROOM_PROTOCOL_H

#include "speaker.h"

#define LM_TAG_PERSON "\xf0\x9f\x91\xa4"    /* 👤 */
#define LM_TAG_AI "\xf0\x9f\xa4\x96"        /* 🤖 */

/* --- Harmless texts and names (harmless.c) --- */

/* Appends the text: bytes that are no UTF-8 as U+FFFD; without control characters but tab and line feed, without marks of direction and
 * invisible characters (those that scripts and emoji need stay); "\r\n" and "\r" as "\n"; a sign of a tag and a bracket behind it
 * as the sign and "(". */
int lm_harmless_text(const char *text, size_t length, struct lm_bytes *out, loam_error *error);
/* The same in pieces of whole characters; `after_sign` begins as false and is handed on. */
int lm_harmless_piece(const char *text, size_t length, bool *after_sign, struct lm_bytes *out, loam_error *error);
/* The name, 1 to LM_NAME_BYTES - 1 bytes: "someone" where nothing is left. */
enum { LM_NAME_BYTES = 128 };
void lm_harmless_name(const char *name, char out[LM_NAME_BYTES]);
/* Equal for names that a reader would take for the same: case, width, accents and ornaments put aside. */
void lm_name_key(const char *name, char out[LM_NAME_BYTES]);
bool lm_same_name(const char *a, const char *b);
/* Whether the text says "@Name" or, where `plain`, the name as a word. */
bool lm_mentions(const char *text, size_t length, const char *name, bool plain);
/* The same; `bytes`: how many of the text the mention has, which may be others than the name's (its letters may be of another case). */
size_t lm_mention_at(const char *text, size_t length, const char *name, bool plain, size_t *bytes);
size_t lm_mention_place(const char *text, size_t length, const char *name, bool plain);    /* where; SIZE_MAX: nowhere */
/* Bytes of the tag's sign (👤 or 🤖, with what may follow it unseen) and its bracket at `text`, 0 where there is none, SIZE_MAX where
 * more bytes could make one. The sign without a bracket is none. */
size_t lm_tag_begin(const char *text, size_t length);

/* --- An answer as it comes (reply.c) --- */

enum lm_reply_verdict { LM_REPLY_NOTHING, LM_REPLY_SAID, LM_REPLY_PASSED };
enum { LM_REPLY_BYTES = 64 * 1024 };    /* more is cut, with `full` */
struct lm_reply {                       /* starts as {.name = …} */
    const char *name;                   /* whose it is; not owned */
    struct lm_bytes out;                /* what counts so far, without blanks at its ends */
    struct lm_bytes held;               /* what is not decided yet */
    enum lm_reply_verdict verdict;      /* by lm_reply_finish; an answer of blanks: NOTHING */
    bool begun;                         /* something other than a pass has come */
    bool in_line;                       /* out ends within a line: no tag can begin there */
    bool after_sign;                    /* between pieces of `out`: a sign was last, and a bracket would make it a tag */
    bool passing;                       /* it began with PASS */
    bool cut;                           /* it went on in another's name: nothing more counts */
    bool full;
};
int lm_reply_feed(struct lm_reply *reply, const char *text, size_t length, loam_error *error);
int lm_reply_finish(struct lm_reply *reply, loam_error *error);
void lm_reply_free(struct lm_reply *reply);

/* --- What a participant is sent (view.c) --- */

struct lm_heard {                       /* a message as it was kept */
    int64_t id;
    enum lm_author author;
    const char *name, *text;
    size_t length;
};
struct lm_view_request {
    const struct lm_participant *participant;
    const struct lm_speaker *speaker;   /* counts tokens */
    const char *rules;                  /* the system prompt, whole */
    const char *summary;                /* of what is older than `heard`, or NULL */
    const struct lm_heard *heard;       /* oldest first */
    size_t count;
    int64_t window;                     /* tokens of history at most */
    int64_t max_tokens;                 /* of the answer; room for it is kept where the speaker's context is known */
};
struct lm_view {                        /* starts as {0} */
    struct lm_speech_message *messages;
    size_t count, capacity;
    char **texts;                       /* what messages point to */
    size_t text_count;
    size_t first;                       /* index of the oldest of `heard` that is in it */
    int64_t tokens, max_tokens;
    bool own_last;                      /* nothing was said since the participant's own last words: nothing to answer to */
};
int lm_view_make(struct lm_view *view, const struct lm_view_request *request, loam_error *error);
void lm_view_free(struct lm_view *view);
/* Appends the rules of the room for a participant: who it is, who else is there, tags, PASS. `brief`: for models with a small context,
 * in the words that the built-in material has. */
int lm_view_rules(const struct lm_participant *participant, const char *const *people, size_t people_count, const char *const *ais,
                  size_t ai_count, const char *system, bool brief, struct lm_bytes *out, loam_error *error);

#endif
