/* The face of train/: the settings of a run, its memory plan, the loop, evaluation.
 *
 *     struct lm_run_settings settings;
 *     lm_run_settings_init(&settings, LM_RUN_TRAIN);
 *     if (lm_run_settings_set(&settings, "model", "base", error)) return error->code;
 *     if (lm_run_settings_set(&settings, "data", "book.txt", error)) return error->code;
 *     if (lm_run_settings_set(&settings, "steps", "200", error)) return error->code;
 *     struct lm_run_result result;
 *     int code = lm_run(&settings, "runs/first", false, &(struct lm_run_hooks){0}, &result, error);
 *     lm_run_settings_free(&settings);
 *
 * A run writes into one directory: run.yaml (every setting), log.jsonl (a line a step, a line an evaluation),
 * tensorboard/ (the same as TensorBoard reads it),
 * checkpoints/step-N/ (a model directory, training_state.safetensors, and state.json, which is written last and holds
 * a checksum of every other file), and at the end the model directory itself. Killed at any moment, it goes on from its
 * last checkpoint and ends in the same bits.
 *
 * One run, one thread; two runs of two devices may go on at once.
 */
#ifndef LOAM_TRAIN_H
#define LOAM_TRAIN_H

#include "data/data.h"
#include "model/model.h"

/* --- Settings --- */

enum lm_run_kind { LM_RUN_TRAIN, LM_RUN_FINETUNE }; /* on text; on conversations */
enum lm_schedule { LM_SCHEDULE_CONSTANT, LM_SCHEDULE_LINEAR, LM_SCHEDULE_COSINE };

struct lm_run_source {
    char *path;
    double weight;
};
struct lm_run_sources {
    struct lm_run_source *items;
    size_t count;
};

enum lm_gradient_kind { LM_GRADIENTS_F32, LM_GRADIENTS_BF16 };
enum lm_product_kind { LM_PRODUCTS_F32, LM_PRODUCTS_BF16 };
enum lm_offload { LM_OFFLOAD_OPTIMIZER = 1, LM_OFFLOAD_WEIGHTS = 2, LM_OFFLOAD_ACTIVATIONS = 4 };

/* Every setting of a run. Keys of recipes and run.yaml are the members' names; on the command line `_` is `-`.
 * A number that is LM_SETTING_AUTO is chosen when the run starts, and run.yaml has what was chosen. */
enum { LM_SETTING_AUTO = -1, LM_SETTING_MANY = 1 << 30 };    /* MANY: what counts (steps, checkpoints) is at most this */
struct lm_run_settings {
    enum lm_run_kind command;
    char *model;                     /* the directory to start from */
    struct lm_run_sources data;      /* "FILE" or "FILE:WEIGHT"; a FILE named *.ids has token ids */
    struct lm_run_sources eval_data; /* none: no evaluation */
    char *template_name;             /* key "template"; NULL: the one stored with the model */
    int64_t steps;                   /* optimizer steps; AUTO: as many as `epochs` has. Where both are set, the fewer */
    double epochs;                   /* AUTO: 1 for train, 3 for finetune, unlimited where steps is set */
    int64_t batch, accumulate;       /* sequences at once; batches a step */
    int64_t seq;                     /* positions; AUTO: the model's context, at most 1024 */
    double lr, min_lr;               /* peak; the end of linear and cosine (AUTO: lr/10) */
    enum lm_schedule schedule;
    int64_t warmup;      /* steps; AUTO: a twentieth of all, at most 500 */
    double warmup_percent; /* key "warmup" as "10%": of all steps, rounded up; below 0: `warmup` counts */
    double weight_decay; /* matrices only */
    double beta1, beta2, epsilon;
    double clip; /* largest gradient norm; 0: no clipping */
    uint64_t seed;
    int64_t threads; /* AUTO: lm_processors() */
    bool no_shuffle, no_pack;
    bool train_on_all;      /* finetune: loss on everything, not only the assistant's words */
    bool faithful;          /* finetune: as the reference recipe did it, faults and all (docs/guanaco.md) */
    bool add_tokens;        /* finetune: add the template's tokens that the vocabulary lacks */
    bool overfit_one_batch; /* the first step's batches over and over: the loss must go to nothing */
    enum lm_recompute_kind recompute;
    int64_t recompute_every; /* recompute: K gives LAYER and K */
    enum lm_dtype dtype;     /* of the weights: f32 or bf16 */
    int64_t masters;         /* bf16 weights: true, fp32 masters besides; false, the weights alone, rounded stochastically; AUTO:
                                masters where optimizer_state is f32 */
    int64_t gradients;       /* enum lm_gradient_kind; AUTO: bf16 where the weights are bf16 alone, else f32 */
    int64_t products;        /* enum lm_product_kind: BF16 rounds what matrix products multiply to bf16 where the processor multiplies those
                                (sums stay fp32), F32 nothing; AUTO: bf16 where the weights are */
    enum lm_state_kind optimizer_state;    /* f32, bf16 or 8bit: AdamW's two moments */
    bool fused_step;         /* the optimizer's step inside the backward pass: one layer's gradients exist at a time */
    bool exact_clip;         /* key "fused_clip": how a fused step clips: by the norm of the previous step (the first step: of a
                                pass before it), or by that of a pass before each step */
    unsigned offload;        /* enum lm_offload, what lies on disk */
    int64_t memory;          /* the most bytes the run may take, 0: what the machine has. Where it is set, what is not set of
                                recompute, optimizer_state, ... is chosen for it */
    int64_t ranks, zero;     /* of a plan: processes that share the work, and ZeRO's stage, 0 to 3 */
    uint64_t given;          /* which keys were set: lm_run_settings_given */
    int64_t eval_every;      /* steps; 0: at the end of every epoch (and of the run) */
    int64_t patience;        /* stop after so many evaluations without a better loss; 0: never */
    int64_t save_every;      /* steps between checkpoints; 0: at evaluations and at the end only */
    int64_t keep;            /* newest checkpoints kept, besides the best */
    bool weights_only;       /* checkpoints are models alone, that no run goes on from */
    char *cache;             /* folder of encoded data; NULL: lm_samples_cache(), else the run's own; "none": no cache */
    char *sample_prompt;     /* text that a sample at each evaluation goes on from; NULL: none is made */
};

/* Good defaults for the kind: AdamW betas 0.9 and 0.95, decay 0.1 (train) or 0.01 (finetune), lr 3e-4 or 2e-5, clip 1.
 */
void lm_run_settings_init(struct lm_run_settings *settings, enum lm_run_kind kind);
void lm_run_settings_free(struct lm_run_settings *settings);
/* Sets one key from text. `data` and `eval_data` append. "-" and "_" are the same in `key`. Unknown keys (with the
 * nearest name), values out of range, and settings that this version does not support: LOAM_EUSAGE or
 * LOAM_EUNSUPPORTED; the settings stay as they were. */
int lm_run_settings_set(struct lm_run_settings *settings, const char *key, const char *value, loam_error *error);
/* Clears `data` or `eval_data`: a command line that names files replaces the recipe's. */
void lm_run_settings_clear(struct lm_run_settings *settings, const char *key);
/* Whether the key exists, and the value it has as text (appended). */
bool lm_run_settings_knows(const char *key);
int lm_run_settings_text(const struct lm_run_settings *settings, const char *key, struct lm_bytes *text,
                         loam_error *error);
/* Whether the key was set, by whatever file or line. */
bool lm_run_settings_given(const struct lm_run_settings *settings, const char *key);
/* The keys in the order of run.yaml, NULL at the end. */
const char *const *lm_run_settings_keys(void);
/* From a run.yaml alone: it says of which command it is. The caller frees, also on failure. */
int lm_run_settings_open(struct lm_run_settings *settings, const char *path, loam_error *error);
/* A copy of its own. */
int lm_run_settings_copy(const struct lm_run_settings *from, struct lm_run_settings *to, loam_error *error);
/* From a recipe or run.yaml onto what is there. A file of the other command is refused. On failure what stands before
 * the fault has been set. */
int lm_run_settings_read(struct lm_run_settings *settings, const char *path, loam_error *error);
/* The whole as YAML (appended). */
int lm_run_settings_write(const struct lm_run_settings *settings, struct lm_bytes *yaml, loam_error *error);
/* What only shows when all is set: no model, no data, no end (LOAM_EUSAGE). */
int lm_run_settings_check(const struct lm_run_settings *settings, loam_error *error);

/* The part of it that a plan needs: settings about memory that exclude each other (LOAM_EUSAGE). */
int lm_run_settings_check_plan(const struct lm_run_settings *settings, loam_error *error);
/* seq, where it is AUTO: the context in the model's config.json, at most 1024. */
int lm_run_settings_settle_length(struct lm_run_settings *settings, loam_error *error);

/* How `given` differs from the settings of a run that has begun, in words: `serious` gets what changes the result,
 * `harmless` what does not (both appended). In `given`, file names become as run.yaml has them, and what is AUTO there
 * becomes what the run has settled on. */
int lm_run_settings_compare(const struct lm_run_settings *kept, struct lm_run_settings *given, struct lm_bytes *serious,
                            struct lm_bytes *harmless, loam_error *error);
/* A share of all steps, rounded up. */
int64_t lm_run_warmup_steps(double percent, int64_t steps);

/* The learning rate of step 1..steps: rises from lr/warmup to lr over `warmup` steps, then constant, or falls to min_lr
 * at the last step. */
double lm_schedule_rate(const struct lm_run_settings *settings, int64_t step);

/* --- The memory of a run --- */

/* Bytes of one rank. The parts are what is live at the peak moment and add up to `total`, which is the process's peak resident size:
 * the arena, touched in full before the first step, and `other`, the program and what it holds besides. `workspace` has what the
 * packing leaves empty at that moment, arena - live. */
struct lm_run_plan {
    size_t weights, gradients, optimizer, activations, logits, workspace, other, total;
    size_t arena, live;
    size_t scratch_optimizer, scratch_weights, scratch_activations;    /* on disk while it runs */
    size_t checkpoint, model, disk;    /* on disk: one checkpoint; the model at the end; all together with the checkpoints kept */
    int64_t parameters;
    int32_t peak;                      /* lm_moment_text has its name */
    char peak_moment[64];
    double seconds_per_step;           /* predicted from how long this machine takes for each operation; 0: not asked for */
    double tokens_per_second;
};
/* The layout of a run without memory behind it; only config.json of settings->model is read. Settings must not hold
 * AUTO where it changes sizes (seq). */
int lm_run_plan_make(const struct lm_run_settings *settings, struct lm_run_plan *plan, loam_error *error);

/* The same with seconds and tokens a second: takes a second to find out. */
int lm_run_plan_predict(const struct lm_run_settings *settings, struct lm_run_plan *plan, loam_error *error);

/* --- What would fit --- */

/* One way to keep things: what a search may choose. */
struct lm_fit {
    enum lm_recompute_kind recompute;
    int64_t recompute_every, batch, accumulate, seq;
    enum lm_dtype dtype;
    enum lm_state_kind optimizer_state;
    bool fused_step;
    unsigned offload;
    struct lm_run_plan plan;           /* with its prediction */
    char changes[160];                 /* "recompute layer, optimizer-state 8bit": what differs from the settings it was asked for */
    char cost[200];                    /* "31 % more time; 2.4 GiB to and from the disk a step" */
};
enum { LM_FITS = 5 };
/* Searches what is not given in `settings` for runs of at most `bytes`, which write into `folder` (there, or to be made: its disk's
 * room and speed count): up to LM_FITS of them, what the settings are already where that fits, else the fastest first; then slower ones
 * that take clearly less. None fits: count 0, and `list` has up to three ways to make it fit that change as little as they can,
 * cheapest first (*changes of them): for those, what is given is changed too. Where memory has room and only the disk has not:
 * LOAM_ENOSPACE, with what would do. */
int lm_run_fit(const struct lm_run_settings *settings, int64_t bytes, const char *folder, struct lm_fit list[LM_FITS], size_t *count,
               size_t *changes, loam_error *error);
/* What of it goes into a message: ": the cheapest changes that would: A (N seconds a step); or B ..." appended, three at most. */
void lm_fit_list_text(const struct lm_fit *list, size_t count, struct lm_bytes *text);
/* The search and its text: of what is open where that suffices, else of what is given. Where the search fails, nothing. */
void lm_run_fit_text(const struct lm_run_settings *settings, int64_t bytes, const char *folder, struct lm_bytes *text);
/* The settings become those of a fit; what was chosen counts as given. */
void lm_fit_apply(const struct lm_fit *fit, struct lm_run_settings *settings);

/* The picture of it: bytes of each part at each moment, and the places live at the peak, those of one name together. */
enum lm_plan_part { LM_PLAN_WEIGHTS, LM_PLAN_GRADIENTS, LM_PLAN_OPTIMIZER, LM_PLAN_ACTIVATIONS, LM_PLAN_LOGITS, LM_PLAN_WORKSPACE,
                    LM_PLAN_PARTS };
struct lm_plan_picture {
    int32_t moments;
    size_t (*live)[LM_PLAN_PARTS];     /* [moments] */
    char (*names)[64];                 /* [moments] */
    struct lm_plan_line {
        const char *name;              /* a literal */
        size_t bytes, count;
    } *lines;
    size_t line_count;
};
int lm_run_plan_picture(const struct lm_run_settings *settings, struct lm_run_plan *plan, struct lm_plan_picture *picture,
                        loam_error *error);
void lm_plan_picture_free(struct lm_plan_picture *picture);
const char *lm_plan_part_name(enum lm_plan_part part);

/* --- Running --- */

struct lm_step_report {
    int64_t step, steps; /* this one, and the last */
    double epoch, loss, lr, grad_norm;
    int64_t tokens; /* of this step: positions that hold a token */
    int64_t trained; /* and those whose next token is trained on */
    double seconds, tokens_per_second;
    double of_peak; /* the model's arithmetic as a share of the machine's multiply-adds; NaN: not measured */
    double time;    /* seconds since 1970 */
    int64_t memory_bytes; /* resident size of the process */
};
struct lm_evaluation_report {
    int64_t step;
    double loss;
    bool best;   /* the lowest so far */
    double time; /* seconds since 1970 */
};
/* All may be NULL. Called from the thread that runs; what they allocate they free. */
struct lm_run_hooks {
    const loam_observer *observer; /* progress, notes; cancelled: the step is finished and saved, LOAM_ECANCELLED */
    void *user;
    bool measure_peak;     /* before the first step, a tenth of a second: for of_peak */
    bool throwaway;        /* for measuring: no checkpoint and no model is written */
    bool (*save_now)(void *user); /* asked after every step: true saves a checkpoint besides those that are due */
    void (*step)(void *user, const struct lm_step_report *report);
    void (*evaluation)(void *user, const struct lm_evaluation_report *report);
    /* Time for a sample of text: after each evaluation where sample_prompt is set. `prompt` as the settings have it;
     * chat_template is NULL when training on text. */
    void (*sample)(void *user, struct lm_model *model, const struct lm_tokenizer *tokenizer,
                   const struct lm_template *chat_template, const char *prompt, int64_t step);
};
enum { LM_RUN_NEW, LM_RUN_RESUME, LM_RUN_RESUME_WITH, LM_RUN_RESUME_CHANGED };
struct lm_run_result {
    int64_t steps;               /* done in all, earlier parts of a resumed run among them */
    int64_t first_step;          /* the first one done now: 1, or the checkpoint's next */
    double loss;                 /* of the last step */
    double eval_loss, best_loss; /* NaN where none was made */
    int64_t best_step;           /* 0: none */
    bool stopped_early;          /* by patience; the model is then the best one, not the last */
    int64_t parameters;
    double seconds; /* in training steps, now */
    struct lm_run_plan plan;
};
/* Trains in `directory`. LM_RUN_NEW: the directory must hold no run and no model (LOAM_EUSAGE). LM_RUN_RESUME: settings
 * come from its run.yaml and `settings` is not looked at (may be NULL). LM_RUN_RESUME_WITH: `settings` count, and run.yaml
 * is written anew. LM_RUN_RESUME_CHANGED: besides, another tokenizer or other data is noted instead of refused; with
 * other data the epoch begins again.
 *
 * LOAM_EBUSY: the directory is in use. LOAM_ENUMERIC: a loss or gradient is not finite; the message says where, and no
 * weight has changed. LOAM_EMISMATCH: resumed with another tokenizer or other data. LOAM_ECANCELLED: stopped on
 * request, and saved; the message says how to go on. LOAM_ENOSPACE: no room for a checkpoint; the last one is whole. */
int lm_run(const struct lm_run_settings *settings, const char *directory, int start, const struct lm_run_hooks *hooks,
           struct lm_run_result *result, loam_error *error);

/* --- Evaluation --- */

struct lm_evaluation {
    double loss;          /* nats a trained token */
    double perplexity;    /* exp(loss) */
    double bits_per_byte; /* loss of all / ln 2 / bytes the trained tokens stand for; NaN where those are unknown */
    int64_t tokens;       /* trained ones: what the loss is a mean of */
    int64_t bytes;        /* 0: unknown, for files of ids */
};
/* Over one epoch of `samples`, opened with this batch and length, without keeping logits. LOAM_ENUMERIC where the loss
 * is not finite, LOAM_ECANCELLED where the observer says so. */
int lm_evaluate(struct lm_model *model, struct lm_samples *samples, int64_t batch, int64_t length,
                const loam_observer *observer, struct lm_evaluation *evaluation, loam_error *error);

#endif
