/* Inside room/: what takes part in a room and is no person. A local model, a service of OpenAI's kind or one of Anthropic's: the
 * rounds see only this.
 *
 *     struct lm_speech_request request = {.messages = messages, .count = n, .max_tokens = 400, .seed = 7, .seconds = 60,
 *                                         .text = on_text, .done = on_done, .user = turn};
 *     struct lm_speech *speech;
 *     if (lm_speaker_start(speaker, &request, &speech, error)) ...       // refused: nothing will be called
 *     ...                                                               // on_text 0 or more times, then on_done once
 *     lm_speech_free(speech);                                           // after on_done only
 *
 * Asynchronous: `start` queues and returns; it never waits for a model or the network. `text` and `done` come from a thread of
 * the speaker's, one after the other for one speech, without locks held that `start`, `cancel` or `free` take; they must be
 * quick, and may not call lm_speech_free. `done` comes exactly once for every speech that was started, also after a cancel and
 * when the speaker is closed. Any number of speeches of one speaker may run at once (200 rooms share ten speakers): a speaker
 * has no thread for each. Retries, backoff, rounds and tags are not its business: one start is one try.
 *
 * An implementation embeds nothing: it makes a struct lm_speaker with `ops` and its own `self`, and a struct lm_speech whose first
 * member is `const struct lm_speaker_ops *ops`.
 */
#ifndef LOAM_ROOM_SPEAKER_H
#define LOAM_ROOM_SPEAKER_H

#include "infer/infer.h"
#include "net/net.h"
#include "room.h"

struct lm_speech_message {
    enum lm_role role;              /* system (at most one, the first), then user and assistant by turns, a user's first and last */
    const char *text;               /* valid UTF-8, not empty */
    size_t length;
};

enum lm_speech_end {
    LM_SPEECH_ANSWERED,             /* text came, or an empty answer */
    LM_SPEECH_PASSED,               /* a local model whose PASS was likelier than the threshold; no text came */
    LM_SPEECH_FAILED,               /* `error` says why, fit to be shown to people: no key, no token, no header value in it */
    LM_SPEECH_CANCELLED             /* lm_speech_cancel, or the speaker was closed */
};
struct lm_speech_result {
    enum lm_speech_end end;
    loam_error error;               /* FAILED */
    bool again;                     /* FAILED: another try may do (429, 5xx, a lost connection, a timeout; not 400, 401, 404) */
    double retry_after;             /* FAILED: seconds that the service asked to wait, or -1 */
    int64_t prompt_tokens, tokens;  /* as the service counts them, or the local model; -1: it did not say */
    bool cut;                       /* ANSWERED: it ended at max_tokens */
};

struct lm_speech_request {          /* everything is copied by start */
    const struct lm_speech_message *messages;
    size_t count;
    int64_t max_tokens;             /* 0: the participant's own, or what there is room for */
    uint64_t seed;                  /* of this answer; what cannot be seeded ignores it */
    double seconds;                 /* from start until it is FAILED with `again`; 0: no limit */
    double pass_threshold;          /* local models: see LM_SPEECH_PASSED; 0 or a service: not looked at */
    void (*text)(void *user, const char *text, size_t length);    /* the answer as it comes, whole characters of valid UTF-8 */
    void (*done)(void *user, const struct lm_speech_result *result);
    void *user;
};

struct lm_speech;
struct lm_speaker;
struct lm_speaker_ops {
    int (*start)(void *self, const struct lm_speech_request *request, struct lm_speech **speech, loam_error *error);
    void (*cancel)(struct lm_speech *speech);    /* from any thread, until free; after done it does nothing. Does not wait */
    void (*free)(struct lm_speech *speech);      /* after done has returned or from another thread while it returns */
    /* Tokens of a text as its model counts them, or an estimate. Any thread, quick. */
    int64_t (*count)(void *self, const char *text, size_t length);
    int64_t (*context)(void *self);              /* the longest prompt and answer together; 0: not known */
    void (*close)(void *self);                   /* ends what runs (each with done), waits for it, and frees itself */
};
struct lm_speaker {                 /* the value is copied and passed around; `self` is what is owned */
    const struct lm_speaker_ops *ops;
    void *self;
};

static inline int lm_speaker_start(const struct lm_speaker *speaker, const struct lm_speech_request *request,
                                   struct lm_speech **speech, loam_error *error)
{
    return speaker->ops->start(speaker->self, request, speech, error);
}
void lm_speech_cancel(struct lm_speech *speech);    /* NULL is fine */
void lm_speech_free(struct lm_speech *speech);      /* NULL is fine */

/* What speakers share. It outlives them. */
struct lm_engines;                  /* speaker_local.c: engines by path, so that several participants share one and its cache */
struct lm_http_client;              /* net/'s asynchronous client, one thread for all transfers; NULL: no service can be asked */
struct lm_secrets;                  /* net/'s: values by the names that a configuration has; NULL: none */
struct lm_speaker_kit {
    struct lm_engines *engines;
    struct lm_http_client *client;
    const struct lm_secrets *secrets;
};

/* The participant's kind of speaker; the participant outlives it. A model that does not load, a key whose name is not among the secrets,
 * an address that is none: an error that names the participant. Services are not asked whether they are there: that shows as a
 * notice in the room. */
int lm_speaker_open(const struct lm_participant *participant, const struct lm_speaker_kit *kit, struct lm_speaker *speaker,
                    loam_error *error);
int lm_speaker_local_open(const struct lm_participant *participant, const struct lm_speaker_kit *kit, struct lm_speaker *speaker,
                          loam_error *error);
int lm_speaker_openai_open(const struct lm_participant *participant, const struct lm_speaker_kit *kit, struct lm_speaker *speaker,
                           loam_error *error);
int lm_speaker_anthropic_open(const struct lm_participant *participant, const struct lm_speaker_kit *kit, struct lm_speaker *speaker,
                              loam_error *error);

#endif
