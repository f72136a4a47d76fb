/* A pass laid out: every array with the moments of a step at which it is live. */
#include "pass.h"

#include <stdio.h>

static const size_t LOGITS_BYTES = (size_t)64 << 20;    /* what loss_rows is chosen for */

/* --- Moments: begin; attention, MLP of each layer; head; norm; again, MLP, attention of each layer from the last to the first;
 * embeddings; step --- */

int32_t lm_moment(const struct lm_config *config, enum lm_stage stage, int64_t layer)
{
    const int32_t layers = (int32_t)config->layers, at = (int32_t)layer, head = 1 + 2 * layers;
    switch (stage) {
    case LM_STAGE_BEGIN: return 0;
    case LM_STAGE_ATTENTION: return 1 + 2 * at;
    case LM_STAGE_MLP: return 2 + 2 * at;
    case LM_STAGE_HEAD: return head;
    case LM_STAGE_NORM: return head + 1;
    case LM_STAGE_AGAIN: return head + 2 + 3 * (layers - 1 - at);
    case LM_STAGE_MLP_BACK: return head + 3 + 3 * (layers - 1 - at);
    case LM_STAGE_ATTENTION_BACK: return head + 4 + 3 * (layers - 1 - at);
    case LM_STAGE_EMBEDDINGS: return head + 2 + 3 * layers;
    case LM_STAGE_STEP: return head + 3 + 3 * layers;
    }
    return 0;
}

int32_t lm_moment_count(const struct lm_config *config)
{
    return lm_moment(config, LM_STAGE_STEP, 0) + 1;
}

void lm_moment_text(const struct lm_config *config, int32_t moment, char text[64])
{
    static const char *const once[] = {[LM_STAGE_BEGIN] = "embeddings", [LM_STAGE_HEAD] = "head and loss",
                                       [LM_STAGE_NORM] = "final norm, backward", [LM_STAGE_EMBEDDINGS] = "embeddings, backward",
                                       [LM_STAGE_STEP] = "optimizer step"};
    static const char *const each[] = {[LM_STAGE_ATTENTION] = "attention", [LM_STAGE_MLP] = "MLP",
                                       [LM_STAGE_AGAIN] = "backward begins", [LM_STAGE_MLP_BACK] = "MLP, backward",
                                       [LM_STAGE_ATTENTION_BACK] = "attention, backward"};
    snprintf(text, 64, "nothing");
    for (int stage = LM_STAGE_BEGIN; stage <= LM_STAGE_STEP; stage++)
        for (int64_t layer = 0; layer < config->layers; layer++) {
            if (lm_moment(config, (enum lm_stage)stage, layer) != moment)
                continue;
            if (once[stage])
                snprintf(text, 64, "%s", once[stage]);
            else
                snprintf(text, 64, "layer %lld: %s", (long long)layer + 1, each[stage]);
        }
}

/* --- Places --- */

struct plan {
    const struct lm_pass *pass;
    struct lm_layout *layout;
    bool overflow;
};

static int32_t moment(const struct plan *plan, enum lm_stage stage, int64_t layer)
{
    return lm_moment(&plan->pass->run.model->config, stage, layer);
}

/* rows·columns elements of four bytes. Without a backward pass lifetimes end at the head. */
static void place(struct plan *plan, void *where, const char *name, int64_t rows, int64_t columns, int32_t first, int32_t last)
{
    size_t bytes;
    if (!lm_mul((size_t)rows, (size_t)columns, &bytes) || !lm_mul(bytes, sizeof(float), &bytes))
        plan->overflow = true;
    else
        lm_layout_add_during(plan->layout, where, name, bytes, first, last);
}

/* The input of layer `layer` is made by the layer before it. */
static int32_t made(const struct plan *plan, int64_t layer)
{
    return layer == 0 ? moment(plan, LM_STAGE_BEGIN, 0) : moment(plan, LM_STAGE_MLP, layer - 1);
}

static void plan_boundaries(struct lm_pass *pass, struct plan *plan)
{
    const int64_t kept = pass->options.kept_boundaries, last = pass->run.model->config.layers - 1;
    const int32_t end = pass->options.backward ? moment(plan, LM_STAGE_ATTENTION_BACK, 0) : moment(plan, LM_STAGE_MLP, last);
    for (int64_t i = 0; i < (kept ? kept : pass->groups); i++) {
        const bool alone = pass->options.backward && !kept;
        place(plan, (void *)&pass->boundaries[i], "activations: layers' inputs", pass->rows, pass->run.model->config.width,
              made(plan, i * pass->group), alone ? moment(plan, LM_STAGE_ATTENTION_BACK, i * pass->group) : end);
    }
}

/* Slots of one group of all layers live from their layer's forward to its backward; slots that groups share all the time between. */
static void plan_slots(struct lm_pass *pass, struct plan *plan)
{
    const struct lm_config *c = &pass->run.model->config;
    const int64_t rows = pass->rows, width = c->width, final = c->layers - 1;
    const bool backward = pass->options.backward, shared = pass->groups > 1 || !backward;
    for (int64_t i = 0; i < pass->group; i++) {
        struct lm_activations *slot = &pass->slots[i];
        const int64_t first = shared ? 0 : i, last = shared && !backward ? final : first;
        const int32_t attention = moment(plan, LM_STAGE_ATTENTION, first);
        const int32_t mlp = moment(plan, LM_STAGE_MLP, first);
        const int32_t end = backward ? moment(plan, LM_STAGE_ATTENTION_BACK, last) : moment(plan, LM_STAGE_MLP, final);
        const int32_t mlp_end = backward ? moment(plan, LM_STAGE_MLP_BACK, last) : end;
        if (i > 0)
            place(plan, (void *)&slot->x, "activations: layers' inputs", rows, width, made(plan, first), end);
        place(plan, (void *)&slot->qkv, "activations: q, k, v", rows, lm_qkv_width(c), attention, end);
        place(plan, (void *)&slot->attention, "activations: attention", rows, c->heads * c->head_size, attention, end);
        if (backward) {
            place(plan, (void *)&slot->lse, "activations: attention's sums", rows, c->heads, attention, end);
            place(plan, (void *)&slot->middle, "activations: MLPs' inputs", rows, width, attention, mlp_end);
        }
        if (!pass->inner)
            place(plan, (void *)&slot->up, "activations: MLPs' inner part", rows, lm_up_width(c), mlp, mlp_end);
    }
    if (!backward)
        return;
    place(plan, (void *)&pass->last, "activations: last output", rows, width, moment(plan, LM_STAGE_MLP, final),
          moment(plan, LM_STAGE_NORM, 0));
    place(plan, (void *)&pass->dx, "workspace: gradient of the activations", rows, width, moment(plan, LM_STAGE_NORM, 0),
          moment(plan, LM_STAGE_EMBEDDINGS, 0));
}

/* What one layer uses while it runs, forward and backward (or made anew) apart. */
static void plan_inside(struct lm_pass *pass, struct plan *plan, int back, int32_t first, int32_t last)
{
    const struct lm_config *c = &pass->run.model->config;
    if (pass->inner)
        place(plan, (void *)&pass->up[back], "workspace: an MLP's inner part", pass->rows, lm_up_width(c), first, last);
    place(plan, (void *)&pass->wide[back], "workspace: inside a layer", pass->rows, back ? lm_wide(c) : c->feed_forward, first,
          last);
    if (c->qk_norm)
        place(plan, (void *)&pass->rotated[back], "workspace: rotated q and k", pass->rows, lm_qkv_width(c), first, last);
}

static void plan_scratch(struct lm_pass *pass, struct plan *plan, int which, int32_t first, int32_t last)
{
    lm_layout_add_during(plan->layout, &pass->scratch[which].block, "workspace: the device's scratch",
                         pass->scratch[which].bytes, first, last);
}

static void plan_rest(struct lm_pass *pass, struct plan *plan)
{
    const struct lm_config *c = &pass->run.model->config;
    const int64_t rows = pass->rows, final = c->layers - 1;
    const bool backward = pass->options.backward;
    const int32_t begin = moment(plan, LM_STAGE_BEGIN, 0), head = moment(plan, LM_STAGE_HEAD, 0);
    const int32_t forward = moment(plan, LM_STAGE_MLP, final), norm = moment(plan, LM_STAGE_NORM, 0);
    const int32_t back = moment(plan, LM_STAGE_ATTENTION_BACK, 0), end = moment(plan, LM_STAGE_EMBEDDINGS, 0);
    plan_inside(pass, plan, 0, moment(plan, LM_STAGE_ATTENTION, 0), forward);
    plan_scratch(pass, plan, 0, begin, forward);
    place(plan, (void *)&pass->logits, "logits", pass->options.loss_rows, c->vocabulary, head, head);
    plan_scratch(pass, plan, 1, head, norm);
    if (backward) {
        plan_inside(pass, plan, 1, moment(plan, LM_STAGE_AGAIN, final), back);
        plan_scratch(pass, plan, 2, moment(plan, LM_STAGE_AGAIN, final), end);
    }
    place(plan, (void *)&pass->run.normed, "workspace: norms' outputs", rows, c->width, moment(plan, LM_STAGE_ATTENTION, 0),
          backward ? back : head);
    place(plan, (void *)&pass->run.statistics, "workspace: norms' statistics", rows, lm_statistics(c),
          moment(plan, LM_STAGE_ATTENTION, 0), backward ? back : head);
    place(plan, (void *)&pass->losses, "workspace: losses", rows, 1, head, moment(plan, LM_STAGE_STEP, 0));
    place(plan, (void *)&pass->positions, "workspace: positions", rows, 1, begin, end);
    if (!c->learned_positions)
        place(plan, (void *)&pass->angles, "workspace: rotary angles", rows, c->head_size, begin, end);
}

/* --- Scratch --- */

static void most(size_t *bytes, size_t other)
{
    *bytes = other > *bytes ? other : *bytes;
}

static size_t scratch_of_layers(struct lm_pass *pass, bool backward)
{
    struct lm_model *model = pass->run.model;
    const struct lm_layer *layer = &model->layers[0];
    const struct lm_linear *const linears[] = {&layer->qkv, &layer->out, &layer->up, &layer->down};
    size_t bytes = lm_attention_scratch(&pass->run, false);
    if (backward)
        most(&bytes, lm_attention_scratch(&pass->run, true));
    for (size_t i = 0; i < sizeof linears / sizeof *linears; i++)
        most(&bytes, lm_linear_scratch(model->device, linears[i], pass->rows, backward, pass->options.gradients_bf16));
    return lm_round_up(bytes, LM_ALIGN);
}

static size_t scratch_of_head(struct lm_pass *pass)
{
    struct lm_model *model = pass->run.model;
    const int64_t loss_rows = pass->options.loss_rows, rest = pass->rows % loss_rows;
    const bool backward = pass->options.backward, bf16 = pass->options.gradients_bf16;
    size_t bytes = lm_linear_scratch(model->device, &model->head, loss_rows, backward, bf16);
    if (rest)
        most(&bytes, lm_linear_scratch(model->device, &model->head, rest, backward, bf16));
    return lm_round_up(bytes, LM_ALIGN);
}

/* --- Creating --- */

static int check_options(const struct lm_model *model, const struct lm_pass_options *options, loam_error *error)
{
    if (options->batch < 1 || options->length < 1 || options->batch > INT32_MAX / options->length)
        return lm_fail(error, LOAM_EUSAGE, "batch %lld of length %lld: wanted 1 or more of each, and less than 2^31 tokens",
                       (long long)options->batch, (long long)options->length);
    if (options->length > model->config.context)
        return lm_fail(error, LOAM_EUSAGE, "sequences of %lld tokens: the model's context is %lld; choose a shorter length",
                       (long long)options->length, (long long)model->config.context);
    if (options->recompute_every < 0 || options->loss_rows < 0 || options->kept_boundaries < 0)
        return lm_fail(error, LOAM_EUSAGE, "recompute every %lld layers, %lld rows of logits: wanted 0 or more",
                       (long long)options->recompute_every, (long long)options->loss_rows);
    if (options->kept_boundaries && (options->recompute != LM_RECOMPUTE_LAYER || options->kept_boundaries < 2))
        return lm_fail(error, LOAM_EUSAGE, "activations on disk: only the inputs of recomputed layers can be, two or more of "
                       "them in memory at once");
    return LOAM_OK;
}

/* Rows that exist at once: as many as LOGITS_BYTES hold, in chunks of even size. */
int64_t lm_loss_rows(int64_t rows, int64_t vocabulary)
{
    int64_t count = (int64_t)(LOGITS_BYTES / sizeof(float)) / vocabulary;
    count = count < 16 ? 16 : count;
    const int64_t chunks = (rows + count - 1) / count;
    return (rows + chunks - 1) / chunks;
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
    if (pass->options.kept_boundaries >= pass->groups || !pass->options.backward)
        pass->options.kept_boundaries = 0;
    if (!pass->options.loss_rows)
        pass->options.loss_rows = lm_loss_rows(pass->rows, pass->run.model->config.vocabulary);
    if (pass->options.loss_rows > pass->rows)
        pass->options.loss_rows = pass->rows;
}

static int lay_out(struct lm_pass *pass, struct lm_layout *layout, loam_error *error)
{
    pass->scratch[0].bytes = scratch_of_layers(pass, false);
    pass->scratch[1].bytes = scratch_of_head(pass);
    pass->scratch[2].bytes = pass->options.backward ? scratch_of_layers(pass, true) : 0;
    struct plan plan = {.pass = pass, .layout = layout};
    plan_boundaries(pass, &plan);
    plan_slots(pass, &plan);
    plan_rest(pass, &plan);
    lm_layout_pack(layout);
    if (plan.overflow)
        return lm_fail(error, LOAM_EUSAGE, "a batch of %lld sequences of %lld tokens takes more memory than can be addressed",
                       (long long)pass->options.batch, (long long)pass->options.length);
    return lm_layout_check(layout, error);
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
    pass->in_block.at = lm_alloc(model->count, sizeof(void *), error);
    code = pass->slots && pass->boundaries && pass->in_block.at ? lay_out(pass, layout, error) : LOAM_ENOMEM;
    if (code) {
        lm_pass_free(pass);
        return code;
    }
    *result = pass;
    return LOAM_OK;
}

int64_t lm_pass_groups(const struct lm_pass *pass)
{
    return pass->groups;
}

void lm_pass_free(struct lm_pass *pass)
{
    if (!pass)
        return;
    lm_free(pass->slots);
    lm_free(pass->boundaries);
    lm_free(pass->in_block.at);
    lm_free(pass);
}
