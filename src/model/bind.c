/* From the table of parameters to the linears and norms that a pass uses. */
#include "network.h"

#include <string.h>

int lm_model_find(const struct lm_model *model, int64_t layer, enum lm_part part)
{
    return model->of_part[(layer + 1) * LM_PART_COUNT + (int)part];
}

static bool is_bias(enum lm_part part)
{
    switch (part) {
    case LM_PART_Q_BIAS: case LM_PART_K_BIAS: case LM_PART_V_BIAS: case LM_PART_OUT_BIAS:
    case LM_PART_GATE_BIAS: case LM_PART_UP_BIAS: case LM_PART_DOWN_BIAS:
        return true;
    default:
        return false;
    }
}

static struct lm_matrix matrix_of(const struct lm_model *model, int index)
{
    const struct lm_parameter *parameter = &model->parameters[index];
    const struct lm_view *view = &model->views[index];
    const int64_t columns = parameter->rank == 2 ? parameter->shape[view->turned ? 0 : 1] : parameter->count;
    return (struct lm_matrix){.data = (void *)view->data, .dtype = view->dtype, .stride = columns};
}

/* Does piece `next` begin where `before` ends, so that both are one matrix? */
static bool follows(const struct lm_model *model, int before, int next)
{
    const struct lm_view *a = &model->views[before], *b = &model->views[next];
    uint64_t bytes = 0;
    if (model->loaded)
        return true;
    return lm_dtype_bytes(a->dtype, (uint64_t)model->parameters[before].count, &bytes) && a->dtype == b->dtype && a->data && (const char *)a->data + bytes == (const char *)b->data;
}

/* `parts` up to the first LM_PART_COUNT; those the model lacks are passed over. */
static struct lm_linear linear_of(const struct lm_model *model, int64_t layer, const enum lm_part *parts,
                                  enum lm_part bias)
{
    const bool turned = model->config.transposed_weights && layer >= 0;    /* [in, out], as the parameter's shape has it */
    struct lm_linear linear = {.transposed = turned, .narrow = model->narrow};
    int before = -1;
    for (; *parts != LM_PART_COUNT; parts++) {
        const int index = lm_model_find(model, layer, *parts);
        if (index < 0)
            continue;
        const struct lm_parameter *parameter = &model->parameters[index];
        const int64_t out = parameter->shape[turned ? 1 : 0];
        linear.in = parameter->shape[turned ? 0 : 1];
        linear.transposed = turned && !model->views[index].turned;
        if (before < 0)
            linear.index = index;
        if (before >= 0 && follows(model, before, index)) {
            linear.piece[linear.pieces - 1].out += out;
        } else {
            linear.piece[linear.pieces].weight = matrix_of(model, index);
            linear.piece[linear.pieces++].out = out;
        }
        linear.out += out;
        before = index;
    }
    const int at = bias == LM_PART_COUNT ? -1 : lm_model_find(model, layer, bias);
    if (at >= 0) {
        linear.has_bias = true;
        linear.bias_index = at;
        if (model->loaded && model->dtype == LM_F32)
            linear.bias = model->views[at].data;
    }
    return linear;
}

static struct lm_norm norm_of(const struct lm_model *model, int64_t layer, enum lm_part weight, enum lm_part bias)
{
    struct lm_norm norm = {0};
    const int w = lm_model_find(model, layer, weight);
    const int b = bias == LM_PART_COUNT ? -1 : lm_model_find(model, layer, bias);
    if (w >= 0) {
        norm.weight = matrix_of(model, w);
        norm.index = w;
    }
    if (b >= 0) {
        norm.bias = matrix_of(model, b);
        norm.bias_index = b;
    }
    return norm;
}

static void bind_layer(struct lm_model *model, int64_t i)
{
    static const enum lm_part qkv[] = {LM_PART_Q, LM_PART_K, LM_PART_V, LM_PART_COUNT};
    static const enum lm_part out[] = {LM_PART_OUT, LM_PART_COUNT};
    static const enum lm_part up[] = {LM_PART_GATE, LM_PART_UP, LM_PART_COUNT};
    static const enum lm_part down[] = {LM_PART_DOWN, LM_PART_COUNT};
    struct lm_layer *layer = &model->layers[i];
    const struct lm_config *config = &model->config;
    layer->norm1 = norm_of(model, i, LM_PART_NORM1, LM_PART_NORM1_BIAS);
    layer->norm2 = norm_of(model, i, LM_PART_NORM2, LM_PART_NORM2_BIAS);
    layer->q_norm = norm_of(model, i, LM_PART_Q_NORM, LM_PART_COUNT);
    layer->k_norm = norm_of(model, i, LM_PART_K_NORM, LM_PART_COUNT);
    layer->qkv = linear_of(model, i, qkv, LM_PART_Q_BIAS);
    layer->out = linear_of(model, i, out, LM_PART_OUT_BIAS);
    layer->up = linear_of(model, i, up, config->gelu ? LM_PART_UP_BIAS : LM_PART_GATE_BIAS);
    layer->down = linear_of(model, i, down, LM_PART_DOWN_BIAS);
    layer->window = config->window && i >= config->window_first_layer ? config->window : 0;
}

/* The copies lie in the order of the table, so that q's, k's and v's are adjacent, as are gate's and up's. */
static void bind_biases(struct lm_model *model)
{
    const float *next = model->biases;
    for (int64_t i = 0; i < model->config.layers; i++) {
        struct lm_linear *const linears[] = {&model->layers[i].qkv, &model->layers[i].out, &model->layers[i].up,
                                             &model->layers[i].down};
        for (size_t l = 0; l < sizeof linears / sizeof linears[0]; l++)
            if (linears[l]->has_bias) {
                linears[l]->bias = next;
                next += linears[l]->out;
            }
    }
}

static int allocate(struct lm_model *model, loam_error *error)
{
    const struct lm_config *config = &model->config;
    size_t biases = 0;
    for (size_t i = 0; i < model->count; i++)
        if (is_bias(model->parameters[i].part))
            biases += (size_t)model->parameters[i].count;
    if (!(model->layers = lm_alloc((size_t)config->layers, sizeof *model->layers, error)))
        return LOAM_ENOMEM;
    if (biases && !(model->loaded && model->dtype == LM_F32) &&
        !(model->biases = lm_alloc(biases, sizeof *model->biases, error)))
        return LOAM_ENOMEM;
    if (config->learned_positions)
        return LOAM_OK;
    model->inverse_frequency = lm_alloc((size_t)(config->head_size / 2), sizeof *model->inverse_frequency, error);
    if (!model->inverse_frequency)
        return LOAM_ENOMEM;
    lm_rope_frequencies(config, model->inverse_frequency);
    return LOAM_OK;
}

static void bind_outside(struct lm_model *model)
{
    static const enum lm_part head[] = {LM_PART_HEAD, LM_PART_COUNT};
    static const enum lm_part tied[] = {LM_PART_EMBEDDING, LM_PART_COUNT};
    const int embedding = lm_model_find(model, -1, LM_PART_EMBEDDING);
    const int positions = lm_model_find(model, -1, LM_PART_POSITIONS);
    model->embedding = matrix_of(model, embedding);
    model->embedding_index = embedding;
    model->positions_index = positions;
    if (positions >= 0)
        model->positions = matrix_of(model, positions);
    model->final_norm = norm_of(model, -1, LM_PART_FINAL_NORM, LM_PART_FINAL_NORM_BIAS);
    model->head = linear_of(model, -1, model->config.tied ? tied : head, LM_PART_COUNT);
}

int lm_model_bind(struct lm_model *model, loam_error *error)
{
    if (!model->layers && allocate(model, error))
        return LOAM_ENOMEM;
    bind_outside(model);
    for (int64_t i = 0; i < model->config.layers; i++)
        bind_layer(model, i);
    if (model->biases)
        bind_biases(model);
    return LOAM_OK;
}

void lm_model_bind_unit(struct lm_model *model, int64_t unit)
{
    if (unit == 0 || unit > model->config.layers)
        bind_outside(model);
    else
        bind_layer(model, unit - 1);
    if (model->biases)
        bind_biases(model);
}

/* The copies of the parameters [first, behind). */
static void refresh(struct lm_model *model, size_t first, size_t behind)
{
    float *next = model->biases;
    for (size_t i = 0; next && i < behind; i++)
        if (is_bias(model->parameters[i].part)) {
            if (i >= first)
                lm_convert(LM_F32, next, model->views[i].dtype, model->views[i].data, (size_t)model->parameters[i].count);
            next += model->parameters[i].count;
        }
}

void lm_model_refresh_biases(struct lm_model *model)
{
    refresh(model, 0, model->count);
}

void lm_model_refresh_unit(struct lm_model *model, int64_t unit)
{
    const struct lm_unit range = lm_model_unit(model, unit);
    refresh(model, range.first, range.first + range.count);
}
