/* The face of look/: what happens inside a model, as pages to read and as numbers to compute with.
 *
 *     const int32_t ids[] = {1, 2, 3};
 *     const struct lm_subject subject = {.model = model, .ids = ids, .count = 3};
 *     struct lm_page *page;
 *     struct lm_bytes text = {0};
 *     if (lm_look_attention(&subject, &(struct lm_attention_choice){.layer = -1, .head = -1}, &page, error)) return error->code;
 *     lm_page_text(page, &(struct lm_text_style){.width = 80}, &text, error);
 *     lm_page_free(page);
 *
 * A page is what is said and what is shown, as text for a terminal, as HTML, as SVG, or as JSON with every number. The numbers come from
 * the code that trains and serves, watched while it runs (lm_model_watch). The model's thread only.
 */
#ifndef LOAM_LOOK_H
#define LOAM_LOOK_H

#include "chart.h"
#include "learn.h"    /* the lessons */
#include "model/model.h"
#include "tokenizer/tokenizer.h"
#include "train/train.h"

/* --- Pages --- */

struct lm_page;
struct lm_text_style {
    int width;          /* columns of the terminal; less than 40 counts as 40 */
    bool colour;        /* else shades and letters */
    bool unicode;       /* else ASCII alone */
};
/* Each appends. What failed while the page was made fails here. */
int lm_page_text(const struct lm_page *page, const struct lm_text_style *style, struct lm_bytes *out, loam_error *error);
int lm_page_html(const struct lm_page *page, struct lm_bytes *out, loam_error *error);
int lm_page_svg(const struct lm_page *page, struct lm_bytes *out, loam_error *error);     /* the figures alone; none: LOAM_EUSAGE */
int lm_page_json(const struct lm_page *page, struct lm_bytes *out, loam_error *error);
int lm_page_check(const struct lm_page *page, loam_error *error);
void lm_page_free(struct lm_page *page);    /* NULL is fine */

/* --- What can be looked at --- */

/* A sequence and what it goes through. Nothing is added to the ids. */
struct lm_subject {
    struct lm_model *model;
    const struct lm_tokenizer *tokenizer;   /* NULL: tokens are shown by their ids */
    const int32_t *ids;
    int64_t count;
};

/* How a text is cut: tokens, ids, bytes, places. `flags` of lm_tokenizer_encode. */
int lm_look_tokens(const struct lm_tokenizer *tokenizer, const char *text, size_t length, unsigned flags, struct lm_page **page,
                   loam_error *error);

struct lm_attention_choice {
    int64_t layer, head;    /* from 0; -1: all of them, averaged */
};
/* Who looks at whom: the mean, the rollout, what every head does, or one layer or head in full. */
int lm_look_attention(const struct lm_subject *subject, const struct lm_attention_choice *choice, struct lm_page **page,
                      loam_error *error);
/* All layers and heads, or those of one layer, as one interactive HTML page (appended): weights to 1/65535, some 2 bytes and a third for
 * each. What would be larger than a browser draws well is refused, with what to choose. */
int lm_look_attention_html(const struct lm_subject *subject, int64_t layer, struct lm_bytes *out, loam_error *error);
/* F32 tensors `attention` [L,H,T,T], `rollout` [T,T]; I32 `ids` [T]. */
int lm_look_attention_write(const struct lm_subject *subject, const char *path, loam_error *error);

/* What the model expects at every position: candidates, entropy, and how that forms from layer to layer. */
int lm_look_predictions(const struct lm_subject *subject, int64_t candidates, struct lm_page **page, loam_error *error);
/* Sizes by layer: the residual stream, what attention and MLP add to it, and the gradients that come back. */
int lm_look_norms(const struct lm_subject *subject, struct lm_page **page, loam_error *error);
/* The MLPs' units: the strongest, the sizes of all, the silent. */
int lm_look_neurons(const struct lm_subject *subject, struct lm_page **page, loam_error *error);
/* Of the tensors that are floating numbers: range, mean, spread, histogram; or, with `other`, how far they have moved. Tensors of one
 * that the other lacks are named. */
struct lm_tensors;
int lm_look_weights(const struct lm_tensors *tensors, const struct lm_tensors *other, struct lm_page **page, loam_error *error);
/* One step of training on the sequence (weights in fp32, loaded): loss by token, gradients, and the update that AdamW with `lr` (negative: the usual one of
 * pretraining) and no history makes of them. The weights stay as they are. */
int lm_look_training(const struct lm_subject *subject, double lr, struct lm_page **page, loam_error *error);

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
/* The curves on one page, over all their steps; of more than a thousand steps the last value of every few. */
int lm_look_curves(const struct lm_series *series, size_t count, const char *title, struct lm_page **page, loam_error *error);
/* The memory of one step, as a plan has it: the parts at the peak, bytes over the step's moments, parts stacked and the peak marked, what
 * is live there, what lies on disk. */
int lm_look_memory(const struct lm_run_plan *plan, const struct lm_plan_picture *picture, struct lm_page **page, loam_error *error);

#endif
