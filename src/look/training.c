/* One step of training, watched: losses, gradients, and what the optimizer makes of them. */
#include "labels.h"
#include "page.h"
#include "step.h"
#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WEIGHT, SLOPE, UPDATE, RATIO, COLUMNS };

struct optimizing {
    struct lm_model *model;
    const struct lm_step *step;
    struct lm_run_settings settings;
    double scale;               /* of the gradients: clipping */
    float *weights, *moments;   /* a copy of one parameter; m and v */
};

static double norm_of(struct lm_device *device, const float *x, int64_t count)
{
    return sqrt(lm_device_ops(device)->sum_squares(device, count, LM_F32, x));
}

/* What the first AdamW step does to a copy of one parameter. */
static void update(struct optimizing *o, const struct lm_parameter *parameter, double *row)
{
    struct lm_device *device = lm_model_device(o->model);
    enum lm_dtype dtype;
    const size_t count = (size_t)parameter->count;
    const float *now = (const float *)lm_model_weights(o->model, &dtype) + parameter->offset;
    const float *gradient = o->step->gradients + parameter->offset;
    memcpy(o->weights, now, count * sizeof *now);
    memset(o->moments, 0, 2 * count * sizeof *o->moments);
    const struct lm_adamw work = {.count = parameter->count, .step = 1, .lr = o->settings.lr, .beta1 = o->settings.beta1,
                                  .beta2 = o->settings.beta2, .eps = o->settings.epsilon,
                                  .decay = parameter->decay ? o->settings.weight_decay : 0, .grad_scale = o->scale,
                                  .parameter = o->weights, .gradient = gradient, .m = o->moments, .v = o->moments + count};
    lm_device_ops(device)->adamw(device, &work);
    for (size_t i = 0; i < count; i++)
        o->weights[i] -= now[i];
    row[WEIGHT] = norm_of(device, now, parameter->count);
    row[SLOPE] = norm_of(device, gradient, parameter->count);
    row[UPDATE] = norm_of(device, o->weights, parameter->count);
    row[RATIO] = row[WEIGHT] > 0 ? row[UPDATE] / row[WEIGHT] : NAN;
}

static int64_t largest_of(const struct lm_parameter *table, size_t count)
{
    int64_t most = 0;
    for (size_t i = 0; i < count; i++)
        most = table[i].count > most ? table[i].count : most;
    return most;
}

static void add_layers(struct lm_page *page, const struct lm_config *c, const struct lm_parameter *table, size_t count,
                       const double *rows)
{
    double *layers = lm_alloc((size_t)c->layers, sizeof *layers, &page->error);
    for (size_t i = 0; layers && i < count; i++)
        if (table[i].layer >= 0)
            layers[table[i].layer] += rows[i * COLUMNS + SLOPE] * rows[i * COLUMNS + SLOPE];
    for (int64_t i = 0; layers && i < c->layers; i++)
        layers[i] = sqrt(layers[i]);
    const struct lm_block bars = {.kind = LM_BLOCK_BARS, .name = "layers", .title = "Gradient norm by layer", .row_axis = "layer",
                                  .column_axis = "norm of the gradients of the layer's weights", .rows = c->layers, .columns = 1,
                                  .values = layers, .decimals = -1};
    if (layers)
        lm_page_add(page, &bars);
    lm_free(layers);
}

static int add_parameters(struct lm_page *page, struct optimizing *o, loam_error *error)
{
    static const char *const columns[] = {"weight norm", "gradient norm", "update norm", "update by weight"};
    size_t count;
    const struct lm_parameter *table = lm_model_parameters(o->model, &count);
    const size_t largest = (size_t)largest_of(table, count);
    double *rows = lm_alloc(count * COLUMNS, sizeof *rows, error);
    const char **names = lm_alloc(count, sizeof *names, error);
    o->weights = lm_alloc(largest, sizeof *o->weights, error);
    o->moments = lm_alloc(largest, 2 * sizeof *o->moments, error);
    const bool there = rows && names && o->weights && o->moments;
    for (size_t i = 0; there && i < count; i++) {
        update(o, &table[i], rows + i * COLUMNS);
        names[i] = table[i].name;
    }
    if (there) {
        const struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "parameters", .title = "Every parameter",
                                       .rows = (int64_t)count, .columns = COLUMNS, .row_names = names, .column_names = columns,
                                       .values = rows, .decimals = -1};
        add_layers(page, lm_model_config(o->model), table, count, rows);
        lm_page_add(page, &block);
    }
    lm_free(rows);
    lm_free(names);
    lm_free(o->weights);
    lm_free(o->moments);
    return there ? LOAM_OK : LOAM_ENOMEM;
}

static int add_losses(struct lm_page *page, const struct lm_subject *subject, const struct lm_step *step, loam_error *error)
{
    char **labels;
    const int64_t count = subject->count - 1;
    double *losses = lm_alloc((size_t)count, sizeof *losses, error);
    int code = losses ? lm_labels_make(subject->tokenizer, subject->ids + 1, count, &labels, error) : LOAM_ENOMEM;
    if (!code) {
        for (int64_t i = 0; i < count; i++)
            losses[i] = step->losses[i];
        const struct lm_block bars = {.kind = LM_BLOCK_BARS, .name = "losses", .title = "Loss by token: how unlikely the model held it",
                                      .row_axis = "token predicted", .column_axis = "loss in nats", .unit = "nats", .rows = count,
                                      .columns = 1, .row_names = (const char *const *)labels, .values = losses, .decimals = 3};
        lm_page_add(page, &bars);
        lm_free_strings(labels, (size_t)count);
    }
    lm_free(losses);
    return code;
}

static int fill(struct lm_page *page, const struct lm_subject *subject, const struct lm_step *step, double lr, loam_error *error)
{
    struct optimizing o = {.model = subject->model, .step = step, .scale = 1};
    size_t count;
    const struct lm_parameter *table = lm_model_parameters(subject->model, &count), *last = &table[count - 1];
    const double norm = norm_of(lm_model_device(subject->model), step->gradients, (int64_t)last->offset + last->count);
    lm_run_settings_init(&o.settings, LM_RUN_TRAIN);
    if (lr >= 0)
        o.settings.lr = lr;
    if (norm > o.settings.clip)
        o.scale = o.settings.clip / norm;
    lm_page_fact(page, "loss", "loss, the mean of all tokens", "nats", 4, step->loss);
    lm_page_fact(page, "gradient_norm", "norm of all gradients", "", 4, norm);
    lm_page_fact(page, "clip_factor", "what clipping multiplies them by", "", 4, o.scale);
    lm_page_fact(page, "learning_rate", "learning rate", "", -1, o.settings.lr);
    int code = add_losses(page, subject, step, error);
    if (!code)
        code = add_parameters(page, &o, error);
    lm_run_settings_free(&o.settings);
    return code;
}

int lm_look_training(const struct lm_subject *subject, double lr, struct lm_page **page, loam_error *error)
{
    struct lm_step step;
    enum lm_dtype dtype;
    if (!lm_model_weights(subject->model, &dtype) || dtype != LM_F32)
        return lm_fail(error, LOAM_EUSAGE, "a step of training is looked at in fp32; open the model with its weights loaded");
    int code = lm_step_run(subject->model, subject->ids, subject->count, NULL, NULL, &step, error);
    if (code)
        return code;
    struct lm_page *made = lm_page_create("One step of training", error);
    code = made ? fill(made, subject, &step, lr, error) : LOAM_ENOMEM;
    if (!code)
        code = lm_page_check(made, error);
    lm_step_free(subject->model, &step);
    if (code)
        lm_page_free(made);
    else
        *page = made;
    return code;
}
