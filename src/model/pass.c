/* A training pass over a batch: forward, the loss in chunks, backward. pass_plan.c lays out what it works in. */
#include "pass.h"

#include <string.h>

/* What one call of lm_pass_go has in hand. */
struct going {
    struct lm_pass *pass;
    const struct lm_pass_input *input;
    const struct lm_gradients *gradients;
    const struct lm_pass_hooks *hooks;
    float scale;
    loam_error *error;
    int code;                        /* the first failure; nothing more is done then */
};

enum { FORWARD, HEAD, BACKWARD };    /* indices of lm_pass.scratch; up, wide and rotated have the first and the last */

static int check_input(const struct lm_pass *pass, const struct lm_pass_input *input, loam_error *error)
{
    const struct lm_config *c = &pass->run.model->config;
    for (int64_t i = 0; i < pass->rows; i++) {
        const int64_t t = i % pass->run.length;
        if (input->ids[i] < 0 || input->ids[i] >= c->vocabulary || input->targets[i] >= c->vocabulary)
            return lm_fail(error, LOAM_EUSAGE, "token %lld of the batch: found id %d with target %d, wanted less than the "
                           "model's vocabulary of %lld; the tokenizer is not this model's", (long long)i, input->ids[i],
                           input->targets[i], (long long)c->vocabulary);
        if (input->positions && (input->positions[i] < 0 || input->positions[i] >= c->context))
            return lm_fail(error, LOAM_EUSAGE, "token %lld of the batch: found position %d, wanted 0 to %lld",
                           (long long)i, input->positions[i], (long long)c->context - 1);
        if (input->segment_start && (input->segment_start[i] < 0 || input->segment_start[i] > t))
            return lm_fail(error, LOAM_EUSAGE, "token %lld of the batch: its sample begins at %d, wanted 0 to %lld",
                           (long long)i, input->segment_start[i], (long long)t);
    }
    return LOAM_OK;
}

/* --- Hooks --- */

static bool enter(struct going *going, int64_t unit, bool backward)
{
    const struct lm_pass_hooks *hooks = going->hooks;
    if (going->code == LOAM_OK && hooks && hooks->enter) {
        going->code = hooks->enter(hooks->user, unit, backward, going->error);
        if (going->code == LOAM_OK)
            lm_model_refresh_unit(going->pass->run.model, unit);
    }
    return going->code == LOAM_OK;
}

static void leave(struct going *going, int64_t unit, bool backward)
{
    const struct lm_pass_hooks *hooks = going->hooks;
    if (going->code == LOAM_OK && hooks && hooks->leave)
        going->code = hooks->leave(hooks->user, unit, backward, going->error);
}

static bool boundary(struct going *going, int64_t group, enum lm_boundary_event event)
{
    const struct lm_pass_hooks *hooks = going->hooks;
    if (going->code == LOAM_OK && going->gradients && hooks && hooks->boundary && going->pass->options.kept_boundaries)
        going->code = hooks->boundary(hooks->user, group, event, lm_pass_boundary(going->pass, group), going->error);
    return going->code == LOAM_OK;
}

/* --- Activations --- */

/* Of layer i. Without backward everything is in one slot, and the residual stream in one place. */
static struct lm_activations activations_of(const struct lm_pass *pass, int64_t i, int stage)
{
    struct lm_activations acts = pass->slots[i % pass->group];
    if (!pass->options.backward) {
        acts.x = acts.middle = pass->boundaries[0];
        return acts;
    }
    if (i % pass->group == 0)
        acts.x = lm_pass_boundary(pass, i / pass->group);
    if (pass->inner)
        acts.up = pass->up[stage == BACKWARD];
    return acts;
}

static float *output_of(const struct lm_pass *pass, int64_t i)
{
    if (i + 1 == pass->run.model->config.layers && pass->options.backward)
        return pass->last;
    return activations_of(pass, i + 1, FORWARD).x;
}

static void use_stage(struct lm_pass *pass, int stage)
{
    lm_device_give_scratch(pass->run.model->device, pass->scratch[stage].block, pass->scratch[stage].bytes);
    if (stage == HEAD)
        return;
    pass->run.wide = pass->wide[stage == BACKWARD];
    pass->run.rotated = pass->rotated[stage == BACKWARD];
}

/* --- Forward --- */

static void begin(struct going *going)
{
    struct lm_pass *pass = going->pass;
    struct lm_model *model = pass->run.model;
    const struct lm_config *c = &model->config;
    const struct lm_ops *ops = lm_device_ops(model->device);
    use_stage(pass, FORWARD);
    pass->run.segment_start = going->input->segment_start;
    pass->run.angles = pass->angles;
    for (int64_t i = 0; i < pass->rows; i++)
        pass->positions[i] = going->input->positions ? going->input->positions[i] : (int32_t)(i % pass->run.length);
    if (!c->learned_positions)
        ops->rope_angles(model->device, pass->rows, c->head_size / 2, pass->positions, model->inverse_frequency, 1,
                         pass->angles);
    if (!boundary(going, 0, LM_BOUNDARY_CLAIM) || !enter(going, 0, false))
        return;
    ops->embed(model->device, pass->rows, c->width, going->input->ids, model->embedding,
               c->learned_positions ? pass->positions : NULL, model->positions, pass->boundaries[0]);
    leave(going, 0, false);
}

static void run_forward(struct going *going)
{
    struct lm_pass *pass = going->pass;
    struct lm_model *model = pass->run.model;
    for (int64_t i = 0; i < model->config.layers; i++) {
        const int64_t group = i / pass->group;
        const bool ends = (i + 1) % pass->group == 0 && i + 1 < model->config.layers && pass->options.backward;
        if (ends && !boundary(going, group + 1, LM_BOUNDARY_CLAIM))
            return;
        if (!enter(going, i + 1, false))
            return;
        const struct lm_activations acts = activations_of(pass, i, FORWARD);
        lm_layer_forward(&pass->run, &model->layers[i], &acts, output_of(pass, i));
        leave(going, i + 1, false);
        if (ends && !boundary(going, group, LM_BOUNDARY_KEEP))
            return;
    }
}

static bool any_trained(const int32_t *targets, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (targets[i] >= 0)
            return true;
    return false;
}

/* The projection to logits, the loss and their backward pass, a chunk of rows at a time. normed goes in; with gradients its
 * gradient comes out in its place. A chunk in which nothing is trained costs nothing, but in the first run. */
static void run_loss(const struct going *going)
{
    struct lm_pass *pass = going->pass;
    struct lm_model *model = pass->run.model;
    const struct lm_ops *ops = lm_device_ops(model->device);
    const struct lm_gradients *gradients = going->gradients;
    const int64_t width = model->config.width, vocabulary = model->config.vocabulary;
    for (int64_t row = 0; row < pass->rows; row += pass->options.loss_rows) {
        const int64_t left = pass->rows - row, count = left < pass->options.loss_rows ? left : pass->options.loss_rows;
        const int32_t *targets = going->input->targets + row;
        float *normed = pass->run.normed + row * width, *losses = pass->losses + row;
        if (pass->warm && !any_trained(targets, count)) {
            ops->fill(model->device, count, 0, losses);
            if (gradients)
                ops->fill(model->device, count * width, 0, normed);
            continue;
        }
        lm_linear_forward(model->device, &model->head, count, normed, pass->logits, false);
        ops->cross_entropy(model->device, count, vocabulary, pass->logits, vocabulary, targets, going->scale,
                           gradients != NULL, losses);
        if (gradients)
            lm_linear_backward(model->device, &model->head, count, normed, pass->logits, normed, gradients);
    }
}

/* Final norm, head and loss, and the way back to the last layer's output. */
static void run_head(struct going *going)
{
    struct lm_pass *pass = going->pass;
    struct lm_model *model = pass->run.model;
    const int64_t unit = lm_model_units(model) - 1;
    const float *last = output_of(pass, model->config.layers - 1);
    if (!enter(going, unit, going->gradients != NULL))
        return;
    use_stage(pass, HEAD);
    lm_norm_forward(&pass->run, &model->final_norm, pass->rows, last, pass->run.normed);
    run_loss(going);
    if (going->gradients)
        lm_norm_backward(&pass->run, &model->final_norm, pass->rows, last, pass->run.normed, pass->dx, false, going->gradients);
    leave(going, unit, going->gradients != NULL);
}

/* --- Backward --- */

static bool make_anew(struct going *going, int64_t first, int64_t behind)
{
    struct lm_pass *pass = going->pass;
    for (int64_t i = first; i < behind; i++) {
        if (!enter(going, i + 1, false))
            return false;
        const struct lm_activations acts = activations_of(pass, i, BACKWARD);
        lm_layer_forward(&pass->run, &pass->run.model->layers[i], &acts, i + 1 < behind ? output_of(pass, i) : NULL);
        if (i + 1 < behind)    /* the last is needed at once again */
            leave(going, i + 1, false);
    }
    return going->code == LOAM_OK;
}

static void run_group_backward(struct going *going, int64_t group)
{
    struct lm_pass *pass = going->pass;
    struct lm_model *model = pass->run.model;
    const int64_t layers = model->config.layers, first = group * pass->group;
    const int64_t behind = first + pass->group < layers ? first + pass->group : layers;
    if (!boundary(going, group, LM_BOUNDARY_FETCH) || (group < pass->groups - 1 && !make_anew(going, first, behind)))
        return;
    for (int64_t i = behind - 1; i >= first; i--) {
        if (!enter(going, i + 1, true))
            return;
        const struct lm_activations acts = activations_of(pass, i, BACKWARD);
        lm_layer_backward(&pass->run, &model->layers[i], &acts, pass->dx, pass->inner, going->gradients);
        leave(going, i + 1, true);
    }
    boundary(going, group, LM_BOUNDARY_DROP);
}

static void run_backward(struct going *going)
{
    struct lm_pass *pass = going->pass;
    struct lm_model *model = pass->run.model;
    const struct lm_config *c = &model->config;
    use_stage(pass, BACKWARD);
    for (int64_t group = pass->groups - 1; group >= 0 && going->code == LOAM_OK; group--)
        run_group_backward(going, group);
    if (!enter(going, 0, true))
        return;
    const struct lm_gradients *gradients = going->gradients;
    const enum lm_dtype type = gradients->bf16 ? LM_BF16 : LM_F32;
    const struct lm_matrix table = {gradients->at[model->embedding_index], type, c->width};
    struct lm_matrix positions = {0};
    if (c->learned_positions)
        positions = (struct lm_matrix){gradients->at[model->positions_index], type, c->width};
    lm_device_ops(model->device)->embed_backward(model->device, pass->rows, c->width, going->input->ids, pass->dx, table,
                                                 c->learned_positions ? pass->positions : NULL, positions);
    leave(going, 0, true);
}

/* --- All of it --- */

static int finish(struct lm_pass *pass, double *loss_sum, float *row_losses, loam_error *error)
{
    int code = lm_device_check(pass->run.model->device, error);
    if (code)
        return code;
    double sum = 0;
    for (int64_t i = 0; i < pass->rows; i++)
        sum += pass->losses[i];
    if (row_losses)
        memcpy(row_losses, pass->losses, (size_t)pass->rows * sizeof *row_losses);
    pass->warm = true;
    *loss_sum = sum;
    return LOAM_OK;
}

int lm_pass_go(struct lm_pass *pass, const struct lm_pass_input *input, const struct lm_pass_work *work, double *loss_sum,
               float *row_losses, loam_error *error)
{
    struct lm_model *model = pass->run.model;
    int code = model->complete ? check_input(pass, input, error)
                               : lm_fail(error, LOAM_EUSAGE, "the model's weights are not loaded yet");
    if (code)
        return code;
    struct going going = {.pass = pass, .input = input, .gradients = pass->options.backward ? work->gradients : NULL,
                          .hooks = work->hooks, .scale = work->scale, .error = error};
    if (!going.hooks || !going.hooks->enter)
        lm_model_refresh_biases(model);
    begin(&going);
    if (going.code == LOAM_OK)
        run_forward(&going);
    if (going.code == LOAM_OK)
        run_head(&going);
    if (going.code == LOAM_OK && going.gradients)
        run_backward(&going);
    lm_device_give_scratch(model->device, NULL, 0);
    return going.code ? going.code : finish(pass, loss_sum, row_losses, error);
}

int lm_pass_run(struct lm_pass *pass, const struct lm_pass_input *input, float scale, float *gradients,
                double *loss_sum, float *row_losses, loam_error *error)
{
    const struct lm_model *model = pass->run.model;
    for (size_t i = 0; gradients && i < model->count; i++)
        pass->in_block.at[i] = gradients + model->parameters[i].offset;
    const struct lm_pass_work work = {.scale = scale, .gradients = gradients ? &pass->in_block : NULL};
    return lm_pass_go(pass, input, &work, loss_sum, row_losses, error);
}
