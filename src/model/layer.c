/* One layer, forward and backward: the same code for training, evaluation, prompts and single tokens.
 *
 *     normed = norm1(x)                     d: the same lines from the bottom up
 *     qkv = normed·Wqkv, q and k normed and rotated
 *     attention = softmax(q·kᵀ)·v
 *     middle = x + attention·Wout
 *     normed = norm2(middle)
 *     up = normed·Wup
 *     y = middle + act(up)·Wdown
 *
 * Outputs of norms and of the activation are cheap to make and large to keep: the backward pass makes them anew.
 */
#include "network.h"

#include <math.h>

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t lm_qkv_width(const struct lm_config *config)
{
    return (config->heads + 2 * config->kv_heads) * config->head_size;
}

int64_t lm_wide(const struct lm_config *config)
{
    return larger(config->feed_forward, lm_qkv_width(config) + config->heads * config->head_size);
}

int64_t lm_up_width(const struct lm_config *config)
{
    return config->gelu ? config->feed_forward : 2 * config->feed_forward;
}

int64_t lm_statistics(const struct lm_config *config)
{
    return config->qk_norm ? larger(2, config->heads + config->kv_heads) : 2;
}

static int64_t rows_of(const struct lm_run *run)
{
    return run->batch * run->length;
}

/* The q and k that attention sees, with v where it is in qkv: qkv itself, or `rotated` where the raw ones are kept. */
static float *rotate(struct lm_run *run, const struct lm_layer *layer, const struct lm_activations *acts)
{
    const struct lm_config *c = &run->model->config;
    struct lm_device *device = run->model->device;
    const struct lm_ops *ops = lm_device_ops(device);
    const int64_t rows = rows_of(run), stride = lm_qkv_width(c), size = c->head_size, k = c->heads * size;
    float *qk = acts->qkv;
    if (c->qk_norm) {
        qk = run->rotated;
        ops->rms_norm(device, rows, c->heads, size, (float)c->norm_eps, acts->qkv, stride, layer->q_norm.weight, qk,
                      stride, run->statistics);
        ops->rms_norm(device, rows, c->kv_heads, size, (float)c->norm_eps, acts->qkv + k, stride, layer->k_norm.weight,
                      qk + k, stride, run->statistics + rows * c->heads);
    }
    if (!c->learned_positions)
        ops->rope(device, rows, c->heads + c->kv_heads, size, qk, stride, run->angles, false);
    return qk;
}

static void rotate_backward(struct lm_run *run, const struct lm_layer *layer, const struct lm_activations *acts,
                            float *dqkv, const struct lm_gradients *gradients)
{
    const struct lm_config *c = &run->model->config;
    struct lm_device *device = run->model->device;
    const struct lm_ops *ops = lm_device_ops(device);
    const int64_t rows = rows_of(run), stride = lm_qkv_width(c), size = c->head_size, k = c->heads * size;
    if (!c->learned_positions)
        ops->rope(device, rows, c->heads + c->kv_heads, size, dqkv, stride, run->angles, true);
    if (!c->qk_norm)
        return;
    ops->rms_norm_backward(device, rows, c->heads, size, acts->qkv, stride, layer->q_norm.weight, run->statistics, dqkv,
                           stride, dqkv, stride, false, gradients->at[layer->q_norm.index]);
    ops->rms_norm_backward(device, rows, c->kv_heads, size, acts->qkv + k, stride, layer->k_norm.weight,
                           run->statistics + rows * c->heads, dqkv + k, stride, dqkv + k, stride, false,
                           gradients->at[layer->k_norm.index]);
}

/* Attention over the run's own rows; `qk` as rotate gives it. */
static struct lm_attention attention_of(const struct lm_run *run, const struct lm_layer *layer,
                                        const struct lm_activations *acts, const float *qk)
{
    const struct lm_config *c = &run->model->config;
    const int64_t stride = lm_qkv_width(c), k = c->heads * c->head_size, v = k + c->kv_heads * c->head_size;
    return (struct lm_attention){
        .batch = run->batch, .t_q = run->length, .t_k = run->length, .heads = c->heads, .kv_heads = c->kv_heads,
        .head_size = c->head_size, .window = layer->window, .scale = 1 / sqrtf((float)c->head_size), .q = qk,
        .q_stride = stride, .k = qk ? qk + k : NULL, .v = acts->qkv ? acts->qkv + v : NULL, .kv_stride = stride,
        .kv_batch_stride = run->length * stride, .kv_dtype = LM_F32, .segment_start = run->segment_start,
        .out = acts->attention, .out_stride = k, .lse = acts->lse};
}

size_t lm_attention_scratch(struct lm_run *run, bool backward)
{
    const struct lm_activations none = {0};
    struct lm_device *device = run->model->device;
    size_t bytes = 0;
    for (int64_t i = 0; i < run->model->config.layers; i++) {
        struct lm_attention work = attention_of(run, &run->model->layers[i], &none, NULL);
        const size_t one = lm_device_ops(device)->attention_scratch(device, &work, backward);
        bytes = one > bytes ? one : bytes;
    }
    return bytes;
}

static void see(const struct lm_run *run, const struct lm_layer *layer, enum lm_sight sight, const float *data, int64_t width)
{
    const struct lm_watcher *watcher = run->model->watcher;
    if (watcher && watcher->sees)
        watcher->sees(watcher->user, sight, layer - run->model->layers, data, rows_of(run), width);
}

static void attend(struct lm_run *run, const struct lm_layer *layer, const struct lm_attention *work)
{
    const struct lm_watcher *watcher = run->model->watcher;
    lm_device_ops(run->model->device)->attention(run->model->device, work);
    if (watcher && watcher->attends)
        watcher->attends(watcher->user, layer - run->model->layers, work);
}

/* Keys and values of the span's rows, which begin at row `at` of the run's, go to the cache, and attention is over all that is
 * there. A cached row is k, then v, as they lie in qkv. */
static void attend_span(struct lm_run *run, const struct lm_layer *layer, const struct lm_activations *acts,
                        const struct lm_span *span, int64_t at)
{
    const struct lm_config *c = &run->model->config;
    struct lm_device *device = run->model->device;
    const struct lm_ops *ops = lm_device_ops(device);
    const int64_t stride = lm_qkv_width(c), k = c->heads * c->head_size, row = 2 * c->kv_heads * c->head_size;
    const size_t element = (size_t)lm_dtype_bits(run->cached_dtype) / 8;
    const float *qkv = acts->qkv + at * stride;
    for (int64_t r = 0; r < span->count; r++) {
        int64_t place = span->start + r;
        if (span->pages)
            place = span->pages[place / LM_PAGE_ROWS] * LM_PAGE_ROWS + place % LM_PAGE_ROWS;
        ops->convert(device, row, LM_F32, qkv + r * stride + k, run->cached_dtype,
                     run->cached + (size_t)(place * row) * element);
    }
    struct lm_attention work = attention_of(run, layer, acts, qkv);
    work.out = acts->attention + at * k;
    work.k = run->cached;
    work.v = run->cached + (size_t)(row / 2) * element;
    work.kv_dtype = run->cached_dtype;
    work.kv_stride = row;
    work.pages = span->pages;
    work.page_rows = LM_PAGE_ROWS;
    work.t_q = span->count;
    work.q_start = span->start;
    work.t_k = span->start + span->count;
    work.kv_batch_stride = work.t_k * row;
    attend(run, layer, &work);
}

static void attend_cached(struct lm_run *run, const struct lm_layer *layer, const struct lm_activations *acts)
{
    if (!run->spans) {
        const struct lm_span one = {.count = run->length, .start = run->cached_length};
        attend_span(run, layer, acts, &one, 0);
        return;
    }
    for (int64_t i = 0, at = 0; i < run->span_count; at += run->spans[i++].count)
        attend_span(run, layer, acts, &run->spans[i], at);
}

/* y = before + x·W, in place or not. */
static void add_linear(struct lm_run *run, const struct lm_linear *linear, const float *x, const float *before, float *y)
{
    struct lm_device *device = run->model->device;
    const int64_t rows = rows_of(run);
    lm_linear_forward(device, linear, rows, x, y, before == y);
    if (before != y)
        lm_device_ops(device)->add(device, rows * linear->out, before, y);
}

static void activate(struct lm_run *run, const struct lm_activations *acts, float *inner)
{
    const struct lm_config *c = &run->model->config;
    struct lm_device *device = run->model->device;
    if (c->gelu)
        lm_device_ops(device)->gelu(device, rows_of(run) * c->feed_forward, c->gelu_tanh, acts->up, inner);
    else
        lm_device_ops(device)->swiglu(device, rows_of(run), c->feed_forward, acts->up, inner);
}

static void enter_mlp(struct lm_run *run, const struct lm_layer *layer, const struct lm_activations *acts)
{
    lm_norm_forward(run, &layer->norm2, rows_of(run), acts->middle, run->normed);
    see(run, layer, LM_SIGHT_NORM2, run->normed, run->model->config.width);
    lm_linear_forward(run->model->device, &layer->up, rows_of(run), run->normed, acts->up, false);
    see(run, layer, LM_SIGHT_UP, acts->up, lm_up_width(&run->model->config));
}

void lm_layer_forward(struct lm_run *run, const struct lm_layer *layer, const struct lm_activations *acts, float *y)
{
    struct lm_device *device = run->model->device;
    const struct lm_config *c = &run->model->config;
    const int64_t rows = rows_of(run);
    see(run, layer, LM_SIGHT_INPUT, acts->x, c->width);
    lm_norm_forward(run, &layer->norm1, rows, acts->x, run->normed);
    see(run, layer, LM_SIGHT_NORM1, run->normed, c->width);
    lm_linear_forward(device, &layer->qkv, rows, run->normed, acts->qkv, false);
    see(run, layer, LM_SIGHT_QKV, acts->qkv, lm_qkv_width(c));
    const float *qk = rotate(run, layer, acts);
    if (run->cached) {
        attend_cached(run, layer, acts);
    } else {
        const struct lm_attention work = attention_of(run, layer, acts, qk);
        attend(run, layer, &work);
    }
    see(run, layer, LM_SIGHT_CONTEXT, acts->attention, c->heads * c->head_size);
    add_linear(run, &layer->out, acts->attention, acts->x, acts->middle);
    see(run, layer, LM_SIGHT_MIDDLE, acts->middle, c->width);
    enter_mlp(run, layer, acts);
    if (!y)
        return;
    activate(run, acts, run->wide);
    see(run, layer, LM_SIGHT_INNER, run->wide, c->feed_forward);
    add_linear(run, &layer->down, run->wide, acts->middle, y);
    see(run, layer, LM_SIGHT_OUTPUT, y, c->width);
}

static void mlp_backward(struct lm_run *run, const struct lm_layer *layer, const struct lm_activations *acts, float *dx,
                         bool inner, const struct lm_gradients *gradients)
{
    const struct lm_config *c = &run->model->config;
    struct lm_device *device = run->model->device;
    const struct lm_ops *ops = lm_device_ops(device);
    const int64_t rows = rows_of(run);
    if (inner)
        enter_mlp(run, layer, acts);
    else
        lm_norm_forward(run, &layer->norm2, rows, acts->middle, run->normed);
    activate(run, acts, run->wide);
    lm_linear_backward(device, &layer->down, rows, run->wide, dx, run->wide, gradients);
    if (c->gelu)
        ops->gelu_backward(device, rows * c->feed_forward, c->gelu_tanh, acts->up, run->wide, acts->up);
    else
        ops->swiglu_backward(device, rows, c->feed_forward, acts->up, run->wide, acts->up);
    lm_linear_backward(device, &layer->up, rows, run->normed, acts->up, run->normed, gradients);
    lm_norm_backward(run, &layer->norm2, rows, acts->middle, run->normed, dx, true, gradients);
}

static void attention_backward(struct lm_run *run, const struct lm_layer *layer, const struct lm_activations *acts,
                               float *dx, const struct lm_gradients *gradients)
{
    const struct lm_config *c = &run->model->config;
    struct lm_device *device = run->model->device;
    const int64_t rows = rows_of(run), stride = lm_qkv_width(c);
    float *dqkv = run->wide, *dattention = run->wide + rows * stride;
    lm_linear_backward(device, &layer->out, rows, acts->attention, dx, dattention, gradients);
    const float *qk = c->qk_norm ? rotate(run, layer, acts) : acts->qkv;
    struct lm_attention work = attention_of(run, layer, acts, qk);
    work.dout = dattention;
    work.dq = dqkv;
    work.dk = dqkv + c->heads * c->head_size;
    work.dv = work.dk + c->kv_heads * c->head_size;
    lm_device_ops(device)->attention_backward(device, &work);
    rotate_backward(run, layer, acts, dqkv, gradients);
    lm_norm_forward(run, &layer->norm1, rows, acts->x, run->normed);
    lm_linear_backward(device, &layer->qkv, rows, run->normed, dqkv, run->normed, gradients);
    lm_norm_backward(run, &layer->norm1, rows, acts->x, run->normed, dx, true, gradients);
}

void lm_layer_backward(struct lm_run *run, const struct lm_layer *layer, const struct lm_activations *acts, float *dx,
                       bool inner, const struct lm_gradients *gradients)
{
    mlp_backward(run, layer, acts, dx, inner, gradients);
    attention_backward(run, layer, acts, dx, gradients);
    see(run, layer, LM_SIGHT_GRADIENT, dx, run->model->config.width);
}
