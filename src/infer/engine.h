/* Many sequences at once on one model: continuous batching, shared prefixes, cancellation.
 *
 *     struct lm_engine *engine;
 *     if (lm_engine_open("model", &(struct lm_engine_options){0}, &engine, error)) return error->code;
 *     struct lm_request request = lm_request_default();
 *     request.ids = ids, request.count = count, request.max_tokens = 100;
 *     struct lm_ticket *ticket;
 *     if (lm_engine_submit(engine, &request, &ticket, error)) return error->code;      // any thread, any time
 *     struct lm_event event;
 *     while (lm_ticket_next(ticket, -1, &event) && event.kind != LM_EVENT_DONE)        // waits
 *         if (event.kind == LM_EVENT_TOKEN)
 *             fwrite(event.text, 1, event.length, stdout);
 *     lm_ticket_free(ticket);                                                          // cancels what still runs
 *     lm_engine_close(engine);
 *
 * How it works. An engine owns one model (device, weights, tokenizer, chat template) and one thread that computes, the
 * only one that touches the device. Requests wait in line, first come first served, until a stream is free and their
 * prompt's keys and values have room. The thread then goes round: one token for every sequence that is decoding, all in
 * one pass, so that the weights are read once for all of them; then one piece of one waiting prompt (prompts take
 * turns), small while others decode, so that nobody waits longer than such a piece takes. A sequence joins and leaves
 * between two passes; a cancelled one leaves before the next.
 *
 * Keys and values lie in pages of LM_PAGE positions out of one pool. Full pages are never changed again: sequences with
 * the same beginning share them, the choices of one request do, and pages of ended sequences are kept until their room
 * is needed (least recently used first). A new request takes over the longest beginning that is there and computes
 * the rest; `reused` of its usage says how many positions that saved. When the pool is full, the sequence that came
 * last steps back and is computed again later; nobody sees more of this than time.
 *
 * Overflow. What does not fit into the context is refused when it is submitted (LM_OVERFLOW_REFUSE), and a sequence
 * without max_tokens ends with LM_STOP_LENGTH when the context is full. With LM_OVERFLOW_SHIFT the oldest tokens behind
 * the first `keep` are left out, half of the rest at a time, and the remaining ones are computed anew at their new
 * places; `shifted` of the usage counts what was left out.
 *
 * Same request, same bits. A sequence's rows are computed by operations whose result for a row does not depend on the
 * rows beside it, prompts are cut at the same places whatever else runs, and each choice has a random stream of its own
 * (seed + choice). So a request gives the same tokens alone and among others. What can differ in the last bits is what
 * was taken over from the cache and had been computed in other pieces (as another's decoded tokens; `no_reuse` turns
 * that off), and what is computed again after a sequence stepped back for want of pages.
 *
 * Threads. Every function may be called from any thread, but one ticket's lm_ticket_next and lm_ticket_free from one at
 * a time, and lm_engine_close last. `notify` is called on the computing thread without locks held: it must be quick,
 * and may call lm_ticket_cancel, not lm_ticket_free or lm_engine_close.
 */
#ifndef LOAM_INFER_ENGINE_H
#define LOAM_INFER_ENGINE_H

#include "infer.h"

enum { LM_PAGE = LM_PAGE_ROWS, LM_MOST_LOGPROBS = 20, LM_MOST_CHOICES = 128, LM_MOST_EXPECTED = 16 };

struct lm_engine_options {
    int threads;                 /* 0: lm_processors() */
    const char *chat_template;   /* NULL: the one stored with the model */
    int64_t context;             /* longest sequence; 0: the model's own, at most 32768 */
    int64_t streams;             /* sequences that compute together; 0: 8 */
    int64_t cache;               /* positions of keys and values in the pool; 0: four contexts, in at most a quarter of
                                    the memory there is. At least one context */
    enum lm_dtype cache_dtype;   /* F32 or BF16; 0 (which is neither): F32 for fp32 weights, else BF16 */
    int64_t queue;               /* requests that may wait; 0: 256 */
    bool no_tokenizer;           /* ids only */
    bool no_reuse;               /* every prompt is computed from its beginning */
};
struct lm_engine;
int lm_engine_open(const char *path, const struct lm_engine_options *options, struct lm_engine **engine,
                   loam_error *error);
/* On a model that is there already; nothing is owned, and nobody else may use the model or its device before
 * lm_engine_close. tokenizer and chat_template may be NULL; chat_template and threads of the options are not looked at. */
int lm_engine_attach(struct lm_model *model, const struct lm_tokenizer *tokenizer,
                     const struct lm_template *chat_template, const struct lm_engine_options *options,
                     struct lm_engine **engine, loam_error *error);
/* Cancels what runs and waits, and ends the thread. Tickets stay valid (they end cancelled) until they are freed, which
 * may be after this. NULL is fine. */
void lm_engine_close(struct lm_engine *engine);

/* What does not change while the engine is open. */
const struct lm_config *lm_engine_config(const struct lm_engine *engine);
const struct lm_tokenizer *lm_engine_tokenizer(const struct lm_engine *engine);    /* NULL: none */
int lm_engine_template(const struct lm_engine *engine, const struct lm_template **chosen, loam_error *error);
int64_t lm_engine_context(const struct lm_engine *engine);
const char *lm_engine_device(const struct lm_engine *engine);    /* "cpu avx512vnni 2 threads" */
/* The prompt of the assistant's next turn. Errors as lm_engine_template and lm_template_render have them. */
int lm_engine_prompt(const struct lm_engine *engine, const struct lm_conversation *conversation,
                     struct lm_rendered *prompt, loam_error *error);

struct lm_logit_bias {
    int32_t id;
    float bias;                  /* added to the logit: -100 to 100 as a rule, -INFINITY forbids the token */
};
struct lm_request {              /* everything is copied by lm_engine_submit */
    const int32_t *ids;
    size_t count;
    loam_sampling sampling;
    double presence_penalty, frequency_penalty;    /* -2 to 2: taken off the logits of generated tokens, as OpenAI's API
                                                      describes them: presence + frequency * count */
    const struct lm_logit_bias *biases;
    size_t bias_count;
    int64_t max_tokens;          /* 0: until the context is full (with SHIFT: until something else ends it) */
    const char *const *stops;    /* texts that end it; they are not part of what is given out */
    size_t stop_count;
    bool ignore_end;             /* go on past end-of-sequence and end-of-turn tokens */
    int64_t logprobs;            /* -1: none; 0 to LM_MOST_LOGPROBS: the picked token's, and those of the so many likeliest */
    int64_t choices;             /* n; 0 is 1. Choice i draws with seed + i */
    /* An answer that is known beforehand, its end token among it: scored in one pass behind the prompt, as the model has it (without bias,
     * penalties, temperature). Where its probability as a whole exceeds `expected_threshold`, the choice ends at once with
     * LM_STOP_EXPECTED and no token; else it goes on as if nothing had been scored, to the bit. Where the context has no room for it
     * it is not looked at. At most LM_MOST_EXPECTED ids */
    const int32_t *expected;
    size_t expected_count;
    double expected_threshold;
    enum lm_overflow overflow;
    int64_t keep;                /* SHIFT: positions at the begin that stay; 0: a bos, if the prompt begins with one */
    /* Something new is in the ticket; may be NULL. See "Threads" above. */
    void (*notify)(void *user);
    void *user;
};
struct lm_request lm_request_default(void);    /* sampling as loam_sampling_default, logprobs -1, the rest 0 */

/* Refuses before anything runs: no ids, ids outside the vocabulary, values out of range, what does not fit the context
 * (LOAM_EUSAGE, naming the field and what would do); a full queue or a closing engine (LOAM_EBUSY). *ticket is NULL then. The engine may
 * call `notify` before this has returned, but not before *ticket is set; it is not to be freed before this has returned. */
struct lm_ticket;
int lm_engine_submit(struct lm_engine *engine, const struct lm_request *request, struct lm_ticket **ticket,
                     loam_error *error);

struct lm_usage {
    int64_t prompt_tokens, reused;      /* of the prompt: all, and those whose keys and values were in the cache */
    int64_t tokens;                     /* generated, an end token among them */
    int64_t shifted;                    /* left out to make room */
    double seconds_waiting;             /* submitted to first computed */
    double seconds_to_first, seconds;   /* submitted to first token, and to the end */
    double expected;                    /* the probability of `expected`; where its first token alone is below the threshold,
                                           that token's; -1: not looked at */
};
struct lm_logprob {
    int32_t id;
    float logprob;                      /* of softmax(logits) before bias, penalties and temperature */
};
enum lm_event_kind {
    LM_EVENT_TOKEN,              /* one more token of `choice` */
    LM_EVENT_END,                /* `choice` has ended: reason, end_id, usage; text held back until now */
    LM_EVENT_FAILED,             /* `choice` has ended by `error`, usage so far */
    LM_EVENT_DONE                /* all choices have; every later call gives this again */
};
struct lm_event {
    enum lm_event_kind kind;
    int64_t choice;
    int32_t id;                  /* TOKEN */
    const char *text;            /* TOKEN, END: whole characters that can be shown now, length 0 as a rule where a stop text
                                    may begin. Valid until the next call for this ticket */
    size_t length;
    float logprob;               /* TOKEN, with logprobs >= 0 */
    const struct lm_logprob *top;/* falling, `top_count` of them; valid as text */
    size_t top_count;
    enum lm_stop_reason reason;  /* END */
    int32_t end_id;              /* END: the end token that stopped it, or -1 */
    struct lm_usage usage;       /* END, FAILED */
    loam_error error;            /* FAILED */
};
/* The next event in `event`: true. Waits up to `seconds` (negative: without end) where there is none: false. */
bool lm_ticket_next(struct lm_ticket *ticket, double seconds, struct lm_event *event);
/* All choices end with LM_STOP_CANCELLED before their next token. */
void lm_ticket_cancel(struct lm_ticket *ticket);
void lm_ticket_free(struct lm_ticket *ticket);    /* NULL is fine; does not wait */
/* Waits for the end of a ticket of one choice, as lm_runner_generate does: `show`, `cancelled` and `user` of the options are looked at.
 * `generation` starts as {0} and is the caller's to free; where it failed it has what came before. `usage` may be NULL. */
int lm_ticket_collect(struct lm_ticket *ticket, const struct lm_generation_options *options, struct lm_generation *generation,
                      struct lm_usage *usage, loam_error *error);

struct lm_engine_stats {
    int64_t running, waiting;                              /* sequences now computing (or stepped back), requests in line */
    int64_t requests, refused, cancelled, failed, ended;   /* since the engine was opened; ended, … count choices */
    int64_t prompt_tokens, reused_tokens, tokens, shifted_tokens;
    int64_t passes, rows;                                  /* of decoding: rows / passes is the mean batch */
    double prompt_seconds, decode_seconds;                 /* spent computing */
    int64_t pages, pages_used, pages_kept;                 /* of LM_PAGE positions: all; of running sequences; of ended ones */
    int64_t stepped_back;                                  /* times a sequence made room for others */
    size_t weight_bytes, cache_bytes;
};
void lm_engine_stats(struct lm_engine *engine, struct lm_engine_stats *stats);

#endif
