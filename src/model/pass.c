/* A training pass over a batch: which activations are kept, forward, the loss in chunks, backward.
 *
 * Layers form groups. Of every group the input of its first layer is kept from the forward to the backward pass; the
 * activations inside are held in one set of slots, which the groups share: the backward pass makes those of a group anew,
 * except for the last group, whose are still there. LM_RECOMPUTE_NONE and _INNER are one group of all layers.
 */
#include "network.h"

#include <string.h>

struct lm_pass {
    struct lm_run run;
    struct lm_pass_options options;
    int64_t rows, group, groups;
    bool inner;                      /* `up` is shared by all slots and made anew */
    bool warm;                       /* has run: every shape of every operation has been seen */

    struct lm_activations *slots;    /* [group] */
    float **boundaries;              /* [groups]: x of each group's first layer */
    float *last;                     /* [R,C] output of the last layer */
    float *dx;                       /* [R,C] */
    float *up;                       /* with `inner` */
    float *logits;                   /* [loss_rows, V], in the same memory as run.wide and run.rotated */
    float *losses;                   /* [R] */
    float *angles;
    int32_t *positions;              /* [R]: 0..T-1 again and again, where the input has none */
    void *shared;                    /* the memory of logits, wide and rotated */
    size_t wide_bytes;
    void *scratch;
    size_t scratch_bytes;
};

static const size_t LOGITS_BYTES = (size_t)64 << 20;    /* what loss_rows is chosen for */

/* Rows that exist at once: as many as LOGITS_BYTES hold, in chunks of even size. */
static int64_t choose_loss_rows(int64_t rows, int64_t vocabulary)
{
    int64_t most = (int64_t)(LOGITS_BYTES / sizeof(float)) / vocabulary;
    most = most < 16 ? 16 : most;
    const int64_t chunks = (rows + most - 1) / most;
    return (rows + chunks - 1) / chunks;
}

struct plan {
    struct lm_layout *layout;
    bool overflow;
};

/* A place of rows·columns elements of four bytes. */
static void place(struct plan *plan, void *where, const char *name, int64_t rows, int64_t columns)
{
    size_t bytes;
    if (!lm_mul((size_t)rows, (size_t)columns, &bytes) || !lm_mul(bytes, sizeof(float), &bytes))
        plan->overflow = true;
    else
        lm_layout_add(plan->layout, where, name, bytes);
}

static void plan_slots(struct lm_pass *pass, struct plan *plan)
{
    const struct lm_config *c = &pass->run.model->config;
    const int64_t rows = pass->rows, width = c->width;
    const bool backward = pass->options.backward;
    for (int64_t i = 0; i < pass->groups; i++)
        place(plan, (void *)&pass->boundaries[i], "activations: layers' inputs", rows, width);
    for (int64_t i = 0; i < pass->group; i++) {
        struct lm_activations *slot = &pass->slots[i];
        if (i > 0)
            place(plan, (void *)&slot->x, "activations: layers' inputs", rows, width);
        place(plan, (void *)&slot->qkv, "activations: q, k, v", rows, lm_qkv_width(c));
        place(plan, (void *)&slot->attention, "activations: attention", rows, c->heads * c->head_size);
        if (backward) {
            place(plan, (void *)&slot->lse, "activations: attention's sums", rows, c->heads);
            place(plan, (void *)&slot->middle, "activations: MLPs' inputs", rows, width);
        }
        if (!pass->inner)
            place(plan, (void *)&slot->up, "activations: MLPs' inner part", rows, lm_up_width(c));
    }
    if (pass->inner)
        place(plan, (void *)&pass->up, "workspace: an MLP's inner part", rows, lm_up_width(c));
    if (backward) {
        place(plan, (void *)&pass->last, "activations: last output", rows, width);
        place(plan, (void *)&pass->dx, "workspace: gradient of the activations", rows, width);
    }
}

/* The logits are gone before the backward pass of the layers begins and come after their forward pass: they share memory
 * with what only layers use. */
static void plan_shared(struct lm_pass *pass, struct plan *plan)
{
    const struct lm_config *c = &pass->run.model->config;
    const int64_t wide = pass->options.backward ? lm_wide(c) : c->feed_forward;
    const int64_t rotated = c->qk_norm ? lm_qkv_width(c) : 0;
    size_t layer_bytes, logits_bytes;
    if (!lm_mul((size_t)pass->rows * sizeof(float), (size_t)wide, &pass->wide_bytes) ||
        !lm_mul((size_t)pass->rows * sizeof(float), (size_t)(wide + rotated), &layer_bytes) ||
        !lm_mul((size_t)pass->options.loss_rows * sizeof(float), (size_t)c->vocabulary, &logits_bytes)) {
        plan->overflow = true;
        return;
    }
    pass->wide_bytes = lm_round_up(pass->wide_bytes, LM_ALIGN);
    layer_bytes += LM_ALIGN;
    const bool logits = logits_bytes > layer_bytes;
    lm_layout_add(plan->layout, &pass->shared, logits ? "logits" : "workspace: inside a layer",
                  logits ? logits_bytes : layer_bytes);
}

static void plan_rest(struct lm_pass *pass, struct plan *plan)
{
    const struct lm_config *c = &pass->run.model->config;
    const int64_t rows = pass->rows;
    place(plan, (void *)&pass->run.normed, "workspace: norms' outputs", rows, c->width);
    place(plan, (void *)&pass->run.statistics, "workspace: norms' statistics", rows, lm_statistics(c));
    place(plan, (void *)&pass->losses, "workspace: losses", rows, 1);
    place(plan, (void *)&pass->positions, "workspace: positions", rows, 1);
    if (!c->learned_positions)
        place(plan, (void *)&pass->angles, "workspace: rotary angles", rows, c->head_size);
    lm_layout_add(plan->layout, &pass->scratch, "workspace: the device's scratch", pass->scratch_bytes);
}

static size_t scratch_of(struct lm_pass *pass)
{
    struct lm_model *model = pass->run.model;
    const struct lm_layer *layer = &model->layers[0];
    const bool backward = pass->options.backward;
    const int64_t loss_rows = pass->options.loss_rows, rest = pass->rows % loss_rows;
    const size_t each[] = {
        lm_linear_scratch(model->device, &layer->qkv, pass->rows, backward),
        lm_linear_scratch(model->device, &layer->out, pass->rows, backward),
        lm_linear_scratch(model->device, &layer->up, pass->rows, backward),
        lm_linear_scratch(model->device, &layer->down, pass->rows, backward),
        lm_linear_scratch(model->device, &model->head, loss_rows, backward),
        rest ? lm_linear_scratch(model->device, &model->head, rest, backward) : 0,
        lm_attention_scratch(&pass->run, false),
        backward ? lm_attention_scratch(&pass->run, true) : 0,
    };
    size_t most = 0;
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++)
        most = each[i] > most ? each[i] : most;
    return lm_round_up(most, LM_ALIGN);
}

static int check_options(const struct lm_model *model, const struct lm_pass_options *options, loam_error *error)
{
    if (options->batch < 1 || options->length < 1 || options->batch > INT32_MAX / options->length)
        return lm_fail(error, LOAM_EUSAGE, "batch %lld of length %lld: wanted 1 or more of each, and less than 2^31 tokens",
                       (long long)options->batch, (long long)options->length);
    if (options->length > model->config.context)
        return lm_fail(error, LOAM_EUSAGE, "sequences of %lld tokens: the model's context is %lld; choose a shorter length",
                       (long long)options->length, (long long)model->config.context);
    if (options->recompute_every < 0 || options->loss_rows < 0)
        return lm_fail(error, LOAM_EUSAGE, "recompute every %lld layers, %lld rows of logits: wanted 0 or more",
                       (long long)options->recompute_every, (long long)options->loss_rows);
    return LOAM_OK;
}

static void choose(struct lm_pass *pass)
{
    const int64_t layers = pass->run.model->config.layers;
    int64_t every = layers;
    if (pass->options.recompute == LM_RECOMPUTE_LAYER)
        every = pass->options.recompute_every ? pass->options.recompute_every : 1;
    if (!pass->options.backward)
        every = 1;
    pass->group = every < layers ? every : layers;
    pass->groups = pass->options.backward ? (layers + pass->group - 1) / pass->group : 1;
    pass->inner = pass->options.backward && pass->options.recompute == LM_RECOMPUTE_INNER;
    if (!pass->options.loss_rows)
        pass->options.loss_rows = choose_loss_rows(pass->rows, pass->run.model->config.vocabulary);
    if (pass->options.loss_rows > pass->rows)
        pass->options.loss_rows = pass->rows;
}

int lm_pass_create(struct lm_model *model, const struct lm_pass_options *options, struct lm_layout *layout,
                   struct lm_pass **result, loam_error *error)
{
    int code = check_options(model, options, error);
    if (code)
        return code;
    if (options->backward && model->packed)
        return lm_fail(error, LOAM_EUSAGE, "a model opened to be run as its GGUF file has it cannot be trained; open it with `load`");
    struct lm_pass *pass = lm_alloc(1, sizeof *pass, error);
    if (!pass)
        return LOAM_ENOMEM;
    pass->options = *options;
    pass->rows = options->batch * options->length;
    pass->run = (struct lm_run){.model = model, .batch = options->batch, .length = options->length};
    choose(pass);
    pass->slots = lm_alloc((size_t)pass->group, sizeof *pass->slots, error);
    pass->boundaries = lm_alloc((size_t)pass->groups, sizeof *pass->boundaries, error);
    if (!pass->slots || !pass->boundaries) {
        lm_pass_free(pass);
        return LOAM_ENOMEM;
    }
    pass->scratch_bytes = scratch_of(pass);
    struct plan plan = {.layout = layout};
    plan_slots(pass, &plan);
    plan_shared(pass, &plan);
    plan_rest(pass, &plan);
    code = plan.overflow ? lm_fail(error, LOAM_EUSAGE, "a batch of %lld sequences of %lld tokens takes more memory than can "
                                   "be addressed", (long long)options->batch, (long long)options->length)
                         : lm_layout_check(layout, error);
    if (code) {
        lm_pass_free(pass);
        return code;
    }
    *result = pass;
    return LOAM_OK;
}

void lm_pass_free(struct lm_pass *pass)
{
    if (!pass)
        return;
    lm_free(pass->slots);
    lm_free(pass->boundaries);
    lm_free(pass);
}

/* --- Running --- */

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

/* Activations of layer i. Without backward everything is in one slot, and the residual stream in one place. */
static struct lm_activations activations_of(const struct lm_pass *pass, int64_t i)
{
    struct lm_activations acts = pass->slots[i % pass->group];
    if (!pass->options.backward) {
        acts.x = acts.middle = pass->boundaries[0];
        return acts;
    }
    if (i % pass->group == 0)
        acts.x = pass->boundaries[i / pass->group];
    if (pass->inner)
        acts.up = pass->up;
    return acts;
}

static float *output_of(const struct lm_pass *pass, int64_t i)
{
    if (i + 1 == pass->run.model->config.layers && pass->options.backward)
        return pass->last;
    return activations_of(pass, i + 1).x;
}

static void begin(struct lm_pass *pass, const struct lm_pass_input *input)
{
    struct lm_model *model = pass->run.model;
    const struct lm_config *c = &model->config;
    const struct lm_ops *ops = lm_device_ops(model->device);
    lm_device_give_scratch(model->device, pass->scratch, pass->scratch_bytes);
    lm_model_refresh_biases(model);
    pass->run.wide = pass->shared;
    pass->run.rotated = (float *)((char *)pass->shared + pass->wide_bytes);
    pass->logits = pass->shared;
    pass->run.segment_start = input->segment_start;
    pass->run.angles = pass->angles;
    for (int64_t i = 0; i < pass->rows; i++)
        pass->positions[i] = input->positions ? input->positions[i] : (int32_t)(i % pass->run.length);
    if (!c->learned_positions)
        ops->rope_angles(model->device, pass->rows, c->head_size / 2, pass->positions, model->inverse_frequency, 1,
                         pass->angles);
    ops->embed(model->device, pass->rows, c->width, input->ids, model->embedding,
               c->learned_positions ? pass->positions : NULL, model->positions, pass->boundaries[0]);
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
static void run_loss(struct lm_pass *pass, const int32_t *targets, float scale, float *gradients)
{
    struct lm_model *model = pass->run.model;
    const struct lm_ops *ops = lm_device_ops(model->device);
    const int64_t width = model->config.width, vocabulary = model->config.vocabulary;
    for (int64_t row = 0; row < pass->rows; row += pass->options.loss_rows) {
        const int64_t left = pass->rows - row, count = left < pass->options.loss_rows ? left : pass->options.loss_rows;
        float *normed = pass->run.normed + row * width, *losses = pass->losses + row;
        if (pass->warm && !any_trained(targets + row, count)) {
            ops->fill(model->device, count, 0, losses);
            if (gradients)
                ops->fill(model->device, count * width, 0, normed);
            continue;
        }
        lm_linear_forward(model->device, &model->head, count, normed, pass->logits, false);
        ops->cross_entropy(model->device, count, vocabulary, pass->logits, vocabulary, targets + row, scale,
                           gradients != NULL, losses);
        if (gradients)
            lm_linear_backward(model->device, &model->head, count, normed, pass->logits, normed, gradients);
    }
}

static void run_backward(struct lm_pass *pass, const struct lm_pass_input *input, float *gradients)
{
    struct lm_model *model = pass->run.model;
    const struct lm_config *c = &model->config;
    for (int64_t group = pass->groups - 1; group >= 0; group--) {
        const int64_t first = group * pass->group, behind = first + pass->group < c->layers ? first + pass->group : c->layers;
        for (int64_t i = first; i < behind && group < pass->groups - 1; i++) {
            const struct lm_activations acts = activations_of(pass, i);
            lm_layer_forward(&pass->run, &model->layers[i], &acts, i + 1 < behind ? output_of(pass, i) : NULL);
        }
        for (int64_t i = behind - 1; i >= first; i--) {
            const struct lm_activations acts = activations_of(pass, i);
            lm_layer_backward(&pass->run, &model->layers[i], &acts, pass->dx, pass->inner, gradients);
        }
    }
    const bool learned = c->learned_positions;
    lm_device_ops(model->device)->embed_backward(model->device, pass->rows, c->width, input->ids, pass->dx,
                                                 gradients + model->embedding_gradient, c->vocabulary,
                                                 learned ? pass->positions : NULL,
                                                 learned ? gradients + model->positions_gradient : NULL, c->context);
}

int lm_pass_run(struct lm_pass *pass, const struct lm_pass_input *input, float scale, float *gradients,
                double *loss_sum, float *row_losses, loam_error *error)
{
    struct lm_model *model = pass->run.model;
    int code = model->complete ? check_input(pass, input, error)
                               : lm_fail(error, LOAM_EUSAGE, "the model's weights are not loaded yet");
    if (code)
        return code;
    if (!pass->options.backward)
        gradients = NULL;
    begin(pass, input);
    for (int64_t i = 0; i < model->config.layers; i++) {
        const struct lm_activations acts = activations_of(pass, i);
        lm_layer_forward(&pass->run, &model->layers[i], &acts, output_of(pass, i));
    }
    const float *last = output_of(pass, model->config.layers - 1);
    lm_norm_forward(&pass->run, &model->final_norm, pass->rows, last, pass->run.normed);
    run_loss(pass, input->targets, scale, gradients);
    if (gradients) {
        lm_norm_backward(&pass->run, &model->final_norm, pass->rows, last, pass->run.normed, pass->dx, false, gradients);
        run_backward(pass, input, gradients);
    }
    lm_device_give_scratch(model->device, NULL, 0);
    code = lm_device_check(model->device, error);
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
