/* The face of look/: what happens inside a model, written down so that it can be looked at and compared.
 *
 *     const int32_t ids[] = {1, 2, 3};
 *     if (lm_look_logits(model, ids, 3, "logits.safetensors", error)) return error->code;
 *     struct lm_tensors *file;
 *     lm_tensors_open("logits.safetensors", &file, error);       // one F32 tensor "logits" [3, vocabulary]
 *
 * The model's thread only.
 */
#ifndef LOAM_LOOK_H
#define LOAM_LOOK_H

#include "chart.h"
#include "train/train.h"

/* Writes the logits at every position of one sequence: F32 tensor `logits` [count, V]. Nothing is added to the ids. */
int lm_look_logits(struct lm_model *model, const int32_t *ids, int64_t count, const char *path, loam_error *error);

/* Writes what one training step on the sequence would see: `loss` [1], the mean loss of predicting ids 1..count-1 each
 * from those before it, and the gradient of every parameter under its name and in its shape, F32. `loss` may be NULL.
 */
int lm_look_step(struct lm_model *model, const int32_t *ids, int64_t count, const char *path, double *loss,
                 loam_error *error);

/* The values that a run's log.jsonl has under `key` ("loss", "eval_loss", "lr", "grad_norm", …) over the steps; empty where it has
 * none. RUN is a run's directory or a log. Free with lm_series_free. */
int lm_look_losses(const char *run, const char *key, struct lm_series *series, loam_error *error);
/* Draws the memory of one step, as a plan has it, into an SVG file: bytes over moments, the parts stacked, the peak marked. */
int lm_look_memory(const struct lm_run_plan *plan, const struct lm_plan_picture *picture, const char *path, loam_error *error);

#endif
