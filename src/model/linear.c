/* Linear layers and norms over the table of operations. */
#include "network.h"

static struct lm_matrix f32(const float *data, int64_t stride)
{
    return (struct lm_matrix){.data = (void *)data, .dtype = LM_F32, .stride = stride};
}

/* y = x·W (+ b): columns [at, at + out) of y. */
static struct lm_matmul forward_of(const struct lm_linear *linear, int piece, int64_t at, int64_t rows, const float *x,
                                   float *y, bool add)
{
    return (struct lm_matmul){.m = rows, .n = linear->piece[piece].out, .k = linear->in, .a = f32(x, linear->in),
                              .b = linear->piece[piece].weight, .transpose_b = !linear->transposed,
                              .c = f32(y ? y + at : NULL, linear->out), .add = add, .narrow = linear->narrow,
                              .bias = linear->bias ? linear->bias + at : NULL};
}

/* dx = dy·W, added up over the pieces. */
static struct lm_matmul input_of(const struct lm_linear *linear, int piece, int64_t at, int64_t rows, const float *dy,
                                 float *dx)
{
    return (struct lm_matmul){.m = rows, .n = linear->in, .k = linear->piece[piece].out,
                              .a = f32(dy ? dy + at : NULL, linear->out), .b = linear->piece[piece].weight,
                              .transpose_b = linear->transposed, .c = f32(dx, linear->in), .add = piece > 0, .narrow = linear->narrow};
}

/* dW += dyᵀ·x as [out, in], or xᵀ·dy as [in, out]: one matrix, since gradients of the pieces are adjacent. */
static struct lm_matmul weight_of(const struct lm_linear *linear, int64_t rows, const float *x, const float *dy,
                                  bool bf16, void *gradient)
{
    const bool turned = linear->transposed;
    const struct lm_matrix in = f32(x, linear->in), out = f32(dy, linear->out);
    const int64_t m = turned ? linear->in : linear->out, n = turned ? linear->out : linear->in;
    return (struct lm_matmul){.m = m, .n = n, .k = rows, .a = turned ? in : out, .b = turned ? out : in,
                              .transpose_a = true, .c = {gradient, bf16 ? LM_BF16 : LM_F32, n}, .add = true,
                              .narrow = linear->narrow};
}

void lm_linear_forward(struct lm_device *device, const struct lm_linear *linear, int64_t rows, const float *x, float *y,
                       bool add)
{
    const struct lm_ops *ops = lm_device_ops(device);
    for (int64_t piece = 0, at = 0; piece < linear->pieces; at += linear->piece[piece++].out) {
        const struct lm_matmul work = forward_of(linear, (int)piece, at, rows, x, y, add);
        ops->matmul(device, &work);
    }
}

void lm_linear_backward(struct lm_device *device, const struct lm_linear *linear, int64_t rows, const float *x,
                        const float *dy, float *dx, const struct lm_gradients *gradients)
{
    const struct lm_ops *ops = lm_device_ops(device);
    const struct lm_matmul weight = weight_of(linear, rows, x, dy, gradients->bf16, gradients->at[linear->index]);
    ops->matmul(device, &weight);
    if (linear->has_bias)
        ops->bias_backward(device, rows, linear->out, dy, linear->out, gradients->at[linear->bias_index]);
    for (int64_t piece = 0, at = 0; dx && piece < linear->pieces; at += linear->piece[piece++].out) {
        const struct lm_matmul work = input_of(linear, (int)piece, at, rows, dy, dx);
        ops->matmul(device, &work);
    }
}

static void most(size_t *bytes, size_t other)
{
    if (other > *bytes)
        *bytes = other;
}

size_t lm_linear_scratch(struct lm_device *device, const struct lm_linear *linear, int64_t rows, bool backward, bool bf16)
{
    const struct lm_ops *ops = lm_device_ops(device);
    /* Sums over rows are taken in 16 blocks: of two vectors in norms, of one in biases. */
    size_t bytes = (size_t)linear->in * 32 * sizeof(float);
    if (linear->has_bias)
        most(&bytes, (size_t)linear->out * 16 * sizeof(float));
    for (int64_t piece = 0, at = 0; piece < linear->pieces; at += linear->piece[piece++].out) {
        const struct lm_matmul plain = forward_of(linear, (int)piece, at, rows, NULL, NULL, false);
        const struct lm_matmul added = forward_of(linear, (int)piece, at, rows, NULL, NULL, true);
        const struct lm_matmul input = input_of(linear, (int)piece, at, rows, NULL, NULL);
        most(&bytes, ops->matmul_scratch(device, &plain));
        most(&bytes, ops->matmul_scratch(device, &added));
        if (backward)
            most(&bytes, ops->matmul_scratch(device, &input));
    }
    const struct lm_matmul weight = weight_of(linear, rows, NULL, NULL, bf16, NULL);
    if (backward)
        most(&bytes, ops->matmul_scratch(device, &weight));
    return bytes;
}

void lm_norm_forward(struct lm_run *run, const struct lm_norm *norm, int64_t rows, const float *x, float *y)
{
    const struct lm_config *config = &run->model->config;
    struct lm_device *device = run->model->device;
    if (config->layer_norm)
        lm_device_ops(device)->layer_norm(device, rows, config->width, (float)config->norm_eps, x, norm->weight,
                                          norm->bias, y, run->statistics, run->statistics + rows);
    else
        lm_device_ops(device)->rms_norm(device, rows, 1, config->width, (float)config->norm_eps, x, config->width,
                                        norm->weight, y, config->width, run->statistics);
}

void lm_norm_backward(struct lm_run *run, const struct lm_norm *norm, int64_t rows, const float *x, const float *dy,
                      float *dx, bool add, const struct lm_gradients *gradients)
{
    const struct lm_config *config = &run->model->config;
    struct lm_device *device = run->model->device;
    float *dweight = gradients->at[norm->index];
    if (config->layer_norm)
        lm_device_ops(device)->layer_norm_backward(device, rows, config->width, x, norm->weight, run->statistics,
                                                   run->statistics + rows, dy, dx, add, dweight,
                                                   gradients->at[norm->bias_index]);
    else
        lm_device_ops(device)->rms_norm_backward(device, rows, 1, config->width, x, config->width, norm->weight,
                                                 run->statistics, dy, config->width, dx, config->width, add, dweight);
}
