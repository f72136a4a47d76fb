/* The face of infer/: running a model. Sampling, generation, and a model directory opened with all that a chat needs.
 *
 *     struct lm_runner *runner;
 *     if (lm_runner_open("model", &(struct lm_runner_options){0}, &runner, error)) return error->code;
 *     struct lm_generation_options options = lm_generation_default();
 *     struct lm_generation reply = {0};
 *     options.max_tokens = 100;
 *     lm_runner_reply(runner, &conversation, &options, &reply, error);
 *     printf("%.*s\n", (int)reply.text.length, reply.text.data);
 *     lm_generation_free(&reply);
 *     lm_runner_close(runner);
 *
 * A runner belongs to one thread at a time; its device has threads of its own. The same runner options, prompt and
 * options give the same tokens.
 */
#ifndef LOAM_INFER_H
#define LOAM_INFER_H

#include "data/data.h"
#include "model/model.h"

/* --- Sampling: from logits to one token --- */

/* Checks ranges: temperature >= 0, top_k >= 0, 0 < top_p <= 1, 0 <= min_p <= 1, repetition_penalty > 0. */
int lm_sampling_check(const loam_sampling *sampling, loam_error *error);

/* In the order `transformers` has: repetition penalty (Keskar et al., 2019), temperature, top-k, top-p (Holtzman et al., 2020),
 * min-p; then one draw. Temperature 0 takes the largest logit, the lower id on a tie. */
struct lm_sampler;
int lm_sampler_create(const loam_sampling *sampling, int64_t vocabulary, struct lm_sampler **sampler, loam_error *error);
void lm_sampler_free(struct lm_sampler *sampler);    /* NULL is fine */
/* Tells the sampler of a token that stands in the text already, for the repetition penalty. */
void lm_sampler_see(struct lm_sampler *sampler, int32_t id);
/* One token; the logits [vocabulary] are changed. Logits without one finite value: LOAM_ENUMERIC. Allocates nothing. */
int lm_sampler_pick(struct lm_sampler *sampler, float *logits, int32_t *id, loam_error *error);

/* --- Generation --- */

/* EXPECTED: engines only, see lm_request. */
enum lm_stop_reason { LM_STOP_END, LM_STOP_STRING, LM_STOP_LENGTH, LM_STOP_CANCELLED, LM_STOP_EXPECTED };
const char *lm_stop_reason_name(enum lm_stop_reason reason);    /* "end", "stop", "length", "cancelled", "expected" */

/* When the context is full. SHIFT: the oldest tokens are left out, as engine.h says under "Overflow". */
enum lm_overflow { LM_OVERFLOW_REFUSE, LM_OVERFLOW_SHIFT };
int lm_overflow_parse(const char *name, enum lm_overflow *overflow, loam_error *error);    /* "refuse", "shift" */

struct lm_generation_options {
    loam_sampling sampling;
    int64_t max_tokens;                 /* 0: until the context is full (with SHIFT: until something else ends it) */
    enum lm_overflow overflow;
    const char *const *stops;           /* texts that end it; they are not part of what is given out */
    size_t stop_count;
    bool ignore_end;                    /* go on past end-of-sequence and end-of-turn tokens */
    /* Whole UTF-8 characters as they come, never a part of a stop text; may be NULL. */
    void (*show)(void *user, const char *text, size_t length);
    /* Nonzero ends it after the present token, with LM_STOP_CANCELLED; may be NULL. */
    int (*cancelled)(void *user);
    void *user;
};
struct lm_generation_options lm_generation_default(void);

struct lm_generation {
    struct lm_ids ids;                  /* generated, an end token that stopped it not among them */
    struct lm_bytes text;
    enum lm_stop_reason reason;
    int32_t end_id;                     /* the end token that stopped it, or -1 */
    int64_t prompt_tokens, reused;      /* of the prompt: all, and those that were in the cache already */
    int64_t tokens;                     /* generated, the end token among them */
    int64_t shifted;                    /* left out to make room */
    double seconds, seconds_to_first;   /* from the call; to the first token picked */
};
double lm_generation_rate(const struct lm_generation *generation);    /* tokens a second, the prompt's time left out */
void lm_generation_free(struct lm_generation *generation);            /* leaves it as {0} */

/* --- A model directory, opened to be run --- */

struct lm_runner_options {
    int threads;                        /* 0: lm_processors() */
    const char *chat_template;          /* NULL: the one stored with the model */
    int64_t context;                    /* positions kept at most; 0: the model's own, at most 32768 */
    bool no_tokenizer;                  /* ids only */
};
struct lm_runner;
int lm_runner_open(const char *directory, const struct lm_runner_options *options, struct lm_runner **runner,
                   loam_error *error);
/* On a model that is there already (a sample during training). Nothing is owned; the model must outlive the runner.
 * tokenizer and chat_template may be NULL. */
int lm_runner_attach(struct lm_model *model, const struct lm_tokenizer *tokenizer, const struct lm_template *chat_template,
                     int64_t context, struct lm_runner **runner, loam_error *error);
void lm_runner_close(struct lm_runner *runner);    /* NULL is fine */
struct lm_model *lm_runner_model(struct lm_runner *runner);
const struct lm_tokenizer *lm_runner_tokenizer(const struct lm_runner *runner);    /* NULL: none */
/* LOAM_ENOTFOUND, LOAM_EUNSUPPORTED or LOAM_EMISMATCH with the reason where the model has none that fits. */
int lm_runner_template(const struct lm_runner *runner, const struct lm_template **chosen, loam_error *error);
int64_t lm_runner_context(const struct lm_runner *runner);

/* Goes on from `ids`. What the cache already holds of them is not computed again. A prompt that does not fit into the context, or that
 * with max_tokens would not: LOAM_EUSAGE, which says by how much; nothing is cut in silence (with LM_OVERFLOW_SHIFT the oldest tokens
 * are, and `shifted` says how many). `generation` starts as {0}; after LOAM_OK
 * it is the caller's to free. */
int lm_runner_generate(struct lm_runner *runner, const int32_t *ids, size_t count,
                       const struct lm_generation_options *options, struct lm_generation *generation, loam_error *error);
/* The assistant's next turn. `prompt` gets what the model was sent where not NULL. */
int lm_runner_reply(struct lm_runner *runner, const struct lm_conversation *conversation,
                    const struct lm_generation_options *options, struct lm_generation *generation, loam_error *error);
int lm_runner_prompt(struct lm_runner *runner, const struct lm_conversation *conversation, struct lm_rendered *prompt,
                     loam_error *error);

#include "engine.h"    /* many sequences at once */

#endif
