/* Inside train only: a run while it goes on, and the parts it is made of.
 *
 *     open.c      settings, model, data and memory come together; what does not fit is refused
 *     plan.c      the arena: every byte of it laid out before any is there
 *     step.c      one step: batches, forward, backward, checks, optimizer
 *     run.c       the loop around steps: evaluations, checkpoints, stopping
 *     checkpoint.c, restore.c, kit.c, log.c    what lies in the run's directory
 */
#ifndef LOAM_TRAIN_RUN_H
#define LOAM_TRAIN_RUN_H

#include "offload.h"
#include "state.h"
#include "train.h"

/* What the settings come to, with nothing AUTO. */
struct lm_run_form {
    bool masters, gradients_bf16, narrow, fused;
    bool weights_on_disk, state_on_disk, activations_on_disk;
};
struct lm_run_form lm_run_form_of(const struct lm_run_settings *settings);

struct lm_run_memory {
    struct lm_layout layout;
    struct lm_run_plan plan;
    struct lm_run_form form;
    struct lm_model *model;
    void *block;        /* the arena; NULL until mapped */
    void *weights;      /* in settings.dtype; NULL where they are on disk */
    /* Gradients, units apart, matrices before vectors. Of several batches a step: all in one place, from the first pass on. Of one
     * batch: a place a unit, from its backward pass on. Fused: one place for a layer, one for the embeddings, one for norm and head. */
    void *all_gradients, **unit_gradients, *layer_gradients, *first_gradients, *last_gradients;
    struct lm_gradients gradients;
    double *squares;    /* [parameters]: of each one's gradient */
    struct lm_state state;
    struct lm_weights_on_disk weights_on_disk;
    struct lm_boundaries_on_disk boundaries_on_disk;
    int32_t *ids, *targets, *positions, *segment_start; /* [micro_batches, B, T] */
    int64_t micro_batches;
    size_t parameters;
    struct lm_pass *pass;
};
/* Lays out a run of `model` (opened `later`) with its pass. The settings have no AUTO but steps and what follows from
 * it. */
int lm_run_memory_lay_out(struct lm_run_memory *memory, const struct lm_run_settings *settings, struct lm_model *model,
                          int64_t micro_batches, loam_error *error);
enum { LM_LONGEST_DEFAULT_SEQ = 1024 };
/* The most checkpoints there will be at once, from step `step` on. */
int64_t lm_checkpoints_held(const struct lm_run_settings *settings, int64_t step);
/* A model for its shapes alone, with the device it would run on. */
struct lm_sketch {
    struct lm_config config;
    struct lm_device *device;
    struct lm_model *model;
    struct lm_run_memory memory;
};
int lm_sketch_open(const struct lm_run_settings *settings, struct lm_sketch *sketch, loam_error *error);
void lm_sketch_close(struct lm_sketch *sketch);
/* Refuses what is more than this machine has, or settings->memory. */
int lm_run_memory_fits(const struct lm_run_memory *memory, const struct lm_run_settings *settings, loam_error *error);
/* Maps the arena and touches all of it; makes the scratch files, in `folder`, and loads the weights. */
int lm_run_memory_map(struct lm_run_memory *memory, const char *folder, loam_error *error);
void lm_run_memory_free(struct lm_run_memory *memory);
/* The arrays of micro-batch `index`. */
struct lm_batch lm_run_memory_batch(const struct lm_run_memory *memory, const struct lm_run_settings *settings,
                                    int64_t index);
/* A unit's gradients become 0. */
void lm_run_clear_gradients(const struct lm_run_memory *memory, int64_t unit);
/* What a process holds besides the arena when nothing but token ids is read: program, libraries, threads' stacks. */
size_t lm_run_other(void);
/* `other` becomes what this process has already, where that is more (a tokenizer, data), with what is still to come. */
void lm_run_plan_count(struct lm_run_plan *plan);

/* What state.json holds besides checksums: all that a resumed run needs to know. */
struct lm_run_state {
    int64_t step;                  /* done */
    struct lm_place_in_data place; /* of the next batch */
    double loss, grad_norm;        /* of the last step; NaN: none yet */
    double eval_loss, best_loss;   /* NaN: none yet */
    int64_t best_step;             /* 0: none yet */
    int64_t worse;                 /* evaluations since the best */
    bool stopped_early, weights_only;
    uint64_t tokenizer, base_tokenizer, data, eval_data; /* fingerprints; 0 where there is none */
};

struct lm_run_log {
    int file;             /* -1: not open */
    int64_t size;         /* of whole lines */
    struct lm_bytes line; /* room for one, so that writing allocates nothing */
    const char *path;
    struct lm_events *events;
};
/* Keeps the lines up to `keep_step`; the event file is written anew from them. */
int lm_run_log_open(struct lm_run_log *log, const char *path, const char *events, int64_t keep_step, loam_error *error);
int lm_run_log_step(struct lm_run_log *log, const struct lm_step_report *report, loam_error *error);
int lm_run_log_evaluation(struct lm_run_log *log, const struct lm_evaluation_report *report, loam_error *error);
int lm_run_log_sync(struct lm_run_log *log, loam_error *error);
void lm_run_log_close(struct lm_run_log *log);

/* TensorBoard's event file (TFRecord with protocol buffers inside, written here). `path`: made anew. */
struct lm_events;
struct lm_event {
    const char *tag; /* NULL ends a list */
    double value;    /* NaN: left out */
};
int lm_events_open(const char *path, struct lm_events **events, loam_error *error);
/* One event with some values; allocates nothing. */
int lm_events_add(struct lm_events *events, double time, int64_t step, const struct lm_event *values, loam_error *error);
void lm_events_close(struct lm_events *events);

struct lm_run {
    struct lm_run_settings settings;
    const struct lm_run_hooks *hooks;
    char *directory, *checkpoints, *yaml_path, *log_path;
    struct lm_lock *lock;
    struct lm_device *device;
    struct lm_model *model;
    struct lm_tokenizer *tokenizer;          /* NULL: files of ids only */
    const struct lm_template *chat_template; /* NULL: training on text */
    bool tokens_added, changes_allowed;
    struct lm_samples *samples, *eval_samples;
    int64_t batches, steps_an_epoch; /* an epoch */
    char *resumed;                   /* the checkpoint's directory; NULL: from the beginning */
    struct lm_run_memory memory;
    struct lm_run_state state;
    struct lm_run_log log;
    struct lm_bytes detail; /* of the progress: room taken once */
    int64_t first_step;
    double seconds;
    double peak_gflops; /* 0: not measured */
    double peak_time;   /* when it was */
};

int lm_run_open(struct lm_run *run, const struct lm_run_settings *settings, const char *directory, int start,
                loam_error *error);
void lm_run_close(struct lm_run *run);
void lm_run_note(const struct lm_run *run, const char *format, ...) LM_PRINTF(2, 3);

/* One AdamW step over the parameters of a unit; units come from the last to the first. Gradients are multiplied by `grad_scale`
 * first. */
int lm_optimizer_unit(struct lm_run_memory *memory, const struct lm_run_settings *settings, int64_t unit, int64_t step, double lr,
                      double grad_scale, loam_error *error);
/* The hooks of a pass over what is on disk, for forward passes. */
void lm_run_hooks_for(struct lm_run_memory *memory, struct lm_pass_hooks *hooks);

/* The step after state.step. On failure nothing has changed but the gradients. */
int lm_run_step(struct lm_run *run, struct lm_step_report *report, loam_error *error);

/* Over one epoch of samples with a pass that is bound already. `batch` has the arrays. */
int lm_evaluate_with(struct lm_pass *pass, const struct lm_pass_hooks *hooks, struct lm_samples *samples, struct lm_batch *batch,
                     const loam_observer *observer, struct lm_evaluation *evaluation, loam_error *error);

/* --- The run's directory --- */

/* Puts the files that stand beside the weights (tokenizer, generation_config.json) into the run's directory: from the
 * base model, with the template and the end of turn stored; or from the checkpoint. */
int lm_kit_make(const struct lm_run *run, loam_error *error);
/* The id that ends what the run learns: a turn, or a text; -1: none. */
int32_t lm_run_end(const struct lm_run *run);
int lm_kit_restore(const struct lm_run *run, loam_error *error);
/* Copies them from the run's directory into a checkpoint. */
int lm_kit_copy(const struct lm_run *run, const char *to, loam_error *error);
int lm_copy_file(const char *from, const char *to, loam_error *error);
/* Bytes that they take. */
int64_t lm_kit_bytes(const struct lm_run *run);

/* Refuses where the disk has no room for the checkpoints that the run will hold at once, besides those that are there. */
int lm_checkpoint_fits(const struct lm_run *run, loam_error *error);
/* checkpoints/step-N for the state as it is. Whole or absent; then removes what is not to be kept. */
int lm_checkpoint_save(struct lm_run *run, loam_error *error);
/* The newest checkpoint's directory, or NULL where there is none. */
int lm_checkpoint_find(const char *checkpoints, char **path, loam_error *error);
/* Steps of the checkpoints that are there, ascending; lm_free. */
int lm_checkpoint_list(const char *checkpoints, int64_t **steps, size_t *count, loam_error *error);
char *lm_checkpoint_path(const char *checkpoints, int64_t step, loam_error *error);
/* Checks every file against state.json and reads the state. */
int lm_checkpoint_verify(const char *path, struct lm_run_state *state, loam_error *error);
/* training_state.safetensors: m.NAME and v.NAME of every parameter, F32, BF16 or U8 with m_scale.NAME and v_scale.NAME; master.NAME
 * (F32) where there are masters. Reading turns what is there into what this run keeps. */
int lm_state_save(struct lm_run *run, const char *folder, loam_error *error);
int lm_checkpoint_load(struct lm_run *run, loam_error *error);
/* Ends the JSON text of a state in a checksum of all that stands before it. */
int lm_state_seal(struct lm_bytes *text, loam_error *error);
/* XXH3 of 64 bits over a file, and its size. */
int lm_file_hash(const char *path, uint64_t *hash, int64_t *bytes, loam_error *error);
/* Copies the model of a checkpoint into the run's directory, config.json last. */
int lm_run_finish(const struct lm_run *run, loam_error *error);

#endif
