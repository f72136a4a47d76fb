#include "speed.h"

#include <math.h>
#include <string.h>

enum { QKV, OUT, UP, DOWN, HEAD };
enum { FORWARD, INPUT, WEIGHT };
enum { ROWS = 512, WIDE = 2048, ROUNDS = 3 };
enum { MOST_OTHERS = 16 << 20 };    /* 64 MiB: more than a last cache has for two cores, as a rule */
enum { LEAST_FLOATS = 1 << 14, MOST_FLOATS = 1 << 20, MODEL_PART = 16 };    /* elements at a time: a part of the model's */

/* What is timed works on these. */
struct bench {
    struct lm_device *device;
    const struct lm_ops *ops;
    const struct lm_config *config;
    bool bf16, gradients_bf16, narrow;
    int64_t floats, room; /* elements at a time; of x, y and z each: four times that, and what the products need */
    float *x, *y, *z;
    int32_t *ids;         /* ROWS */
    int64_t others;       /* floats: what else of the model goes through the caches between two uses of the same */
    float *other;
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Inputs and outputs of a linear layer. */
static void shape_of(const struct lm_config *c, int linear, int64_t *in, int64_t *out)
{
    const int64_t heads = c->heads * c->head_size, qkv = heads + 2 * c->kv_heads * c->head_size;
    const int64_t ins[] = {c->width, heads, c->width, c->feed_forward, c->width};
    const int64_t outs[] = {qkv, c->width, c->gelu ? c->feed_forward : 2 * c->feed_forward, c->width, c->vocabulary};
    *in = ins[linear];
    *out = outs[linear];
}

/* As in a step, where everything else of the model has been in the caches since these weights were there last, and the operation before
 * has just made `count` floats of x. */
static void forget(const struct bench *b, int64_t count)
{
    b->ops->sum_squares(b->device, b->others, LM_F32, b->other);
    b->ops->sum_squares(b->device, count, LM_F32, b->x);
}

/* The best of some rounds of `what`, each after `before`, and after one that is not counted. */
#define TIMED(seconds, what) TIMED_AFTER(seconds, (void)0, what)
#define TIMED_AFTER(seconds, before, what)                                                                                   \
    do {                                                                                                                      \
        what;                                                                                                                 \
        (seconds) = INFINITY;                                                                                                 \
        for (int timed_round = 0; timed_round < ROUNDS; timed_round++) {                                                      \
            before;                                                                                                           \
            const double timed_begin = lm_seconds();                                                                          \
            what;                                                                                                             \
            (seconds) = fmin(seconds, lm_seconds() - timed_begin);                                                            \
        }                                                                                                                     \
    } while (0)

static void time_linear(const struct bench *b, int linear, int which, int64_t rows, struct lm_speed *speed)
{
    int64_t in, out;
    shape_of(b->config, linear, &in, &out);
    rows = least(rows, ROWS);
    in = least(in, WIDE);
    out = least(out, WIDE);
    const bool turned = b->config->transposed_weights && linear != HEAD;
    const struct lm_matrix weight = {b->y, b->bf16 ? LM_BF16 : LM_F32, turned ? out : in};
    struct lm_matmul work = {.m = rows, .n = out, .k = in, .a = {b->x, LM_F32, in}, .b = weight, .transpose_b = !turned,
                             .c = {b->z, LM_F32, out}};
    if (which == INPUT)
        work = (struct lm_matmul){.m = rows, .n = in, .k = out, .a = {b->x, LM_F32, out}, .b = weight, .transpose_b = turned,
                                  .c = {b->z, LM_F32, in}};
    if (which == WEIGHT)
        work = (struct lm_matmul){.m = out, .n = in, .k = rows, .a = {b->x, LM_F32, out}, .b = {b->y, LM_F32, in},
                                  .transpose_a = true, .c = {b->z, b->gradients_bf16 ? LM_BF16 : LM_F32, in}, .add = true};
    work.narrow = b->narrow;
    const double weights = (double)in * (double)out;
    double warm, cold;
    TIMED(warm, b->ops->matmul(b->device, &work));
    TIMED_AFTER(cold, forget(b, which == WEIGHT ? rows * (in + out) : work.m * work.k), b->ops->matmul(b->device, &work));
    speed->linear[linear][which] = warm / (2.0 * (double)rows * weights);
    speed->fetched[linear][which] = fmax(cold - warm, 0) / weights;
}

static double pairs_of(int64_t length, int64_t window)
{
    const double t = (double)length, w = window > 0 && window < length ? (double)window : t;
    return w * (w + 1) / 2 + (t - w) * w;
}

/* A few heads of one sequence. */
static double time_attention(const struct bench *b, int64_t length, bool backward)
{
    const struct lm_config *c = b->config;
    const int64_t group = c->heads / c->kv_heads, kv = group >= 4 ? 1 : least(c->kv_heads, 4 / group + 1), heads = kv * group;
    const int64_t row = (heads + 2 * kv) * c->head_size;
    const int64_t t = least(least(length, 1024), b->room / (2 * row + 2 * heads * c->head_size + heads) / 16 * 16 + 1);
    float *qkv = b->x, *dqkv = b->y, *out = b->z, *lse = b->z + t * heads * c->head_size;
    const int64_t k = heads * c->head_size, v = k + kv * c->head_size;
    struct lm_attention work = {.batch = 1, .t_q = t, .t_k = t, .heads = heads, .kv_heads = kv, .head_size = c->head_size,
                                .scale = 1 / sqrtf((float)c->head_size), .q = qkv, .q_stride = row, .k = qkv + k, .v = qkv + v,
                                .kv_stride = row, .kv_batch_stride = t * row, .kv_dtype = LM_F32, .out = out, .out_stride = k,
                                .lse = lse, .dout = lse + t * heads, .dq = dqkv, .dk = dqkv + k, .dv = dqkv + v};
    double seconds;
    if (backward) {
        b->ops->attention(b->device, &work);
        TIMED(seconds, b->ops->attention_backward(b->device, &work));
    } else {
        TIMED(seconds, b->ops->attention(b->device, &work));
    }
    return seconds / ((double)heads * pairs_of(t, 0));
}

static void time_rows(const struct bench *b, struct lm_speed *speed)
{
    const struct lm_config *c = b->config;
    const struct lm_ops *ops = b->ops;
    const int64_t width = least(c->width, b->floats), rows = least(ROWS, b->floats / width > 1 ? b->floats / width : 1);
    const int64_t wide = least(c->feed_forward, b->floats / 2), high = least(ROWS, b->floats / wide > 1 ? b->floats / wide : 1);
    const struct lm_matrix weight = {b->y, LM_F32, width};
    float *statistics = b->y + width;
    if (c->layer_norm) {
        TIMED(speed->norm[0], ops->layer_norm(b->device, rows, width, 1e-5F, b->x, weight, weight, b->z, statistics,
                                              statistics + rows));
        TIMED(speed->norm[1], ops->layer_norm_backward(b->device, rows, width, b->x, weight, statistics, statistics + rows,
                                                       b->x + b->floats, b->z, true, b->z + b->floats, b->z + b->floats + width));
    } else {
        TIMED(speed->norm[0], ops->rms_norm(b->device, rows, 1, width, 1e-5F, b->x, width, weight, b->z, width, statistics));
        TIMED(speed->norm[1], ops->rms_norm_backward(b->device, rows, 1, width, b->x, width, weight, statistics, b->x + b->floats,
                                                     width, b->z, width, true, b->z + b->floats));
    }
    if (c->gelu) {
        TIMED(speed->activation[0], ops->gelu(b->device, high * wide, c->gelu_tanh, b->x, b->z));
        TIMED(speed->activation[1], ops->gelu_backward(b->device, high * wide, c->gelu_tanh, b->x, b->z, b->y));
    } else {
        TIMED(speed->activation[0], ops->swiglu(b->device, high, wide, b->x, b->z));
        TIMED(speed->activation[1], ops->swiglu_backward(b->device, high, wide, b->x, b->z, b->y));
    }
    for (int i = 0; i < 2; i++) {
        speed->norm[i] /= (double)(rows * width);
        speed->activation[i] /= (double)(high * wide);
    }
    if (!c->learned_positions) {
        const int64_t heads = least(c->heads, 8), lines = least(ROWS, b->floats / (heads * c->head_size));
        TIMED(speed->rope, ops->rope(b->device, lines, heads, c->head_size, b->x, heads * c->head_size, b->y, false));
        speed->rope /= (double)(lines * heads * c->head_size);
    }
    const int64_t logits = least(c->vocabulary, b->floats), count = least(ROWS, b->floats / logits > 4 ? b->floats / logits : 4);
    TIMED(speed->entropy, ops->cross_entropy(b->device, count, logits, b->x, logits, b->ids, 1e-3F, true, b->y));
    speed->entropy /= (double)(count * logits);
}

static void time_optimizer(const struct bench *b, const struct lm_run_settings *settings, struct lm_speed *speed)
{
    const struct lm_run_form form = lm_run_form_of(settings);
    for (int kind = LM_STATE_F32; kind <= LM_STATE_8BIT; kind++) {
        memset(b->z, 0, 3 * (size_t)b->floats * sizeof(float));
        const struct lm_adamw work = {.count = b->floats, .step = 1, .lr = 1e-5, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8,
                                      .grad_scale = 1, .parameter = b->bf16 && !form.masters ? NULL : b->y,
                                      .rounded = b->bf16 ? (uint16_t *)(b->y + b->floats) : NULL, .gradient = b->x,
                                      .gradient_bf16 = form.gradients_bf16, .state = (enum lm_state_kind)kind, .m = b->z,
                                      .v = b->z + b->floats, .m_scale = b->z + 2 * b->floats, .v_scale = b->z + 2 * b->floats + b->floats / 256};
        TIMED_AFTER(speed->step[kind], forget(b, 0), b->ops->adamw(b->device, &work));
        speed->step[kind] /= (double)b->floats;
    }
    const enum lm_dtype type = form.gradients_bf16 ? LM_BF16 : LM_F32;
    TIMED_AFTER(speed->square, forget(b, 0), b->ops->sum_squares(b->device, b->floats, type, b->x); b->ops->fill(b->device, b->floats, 0, b->z));
    speed->square /= (double)b->floats;
}

/* Small models are timed with little memory: a run of one is to fit where it was planned. */
static void size_up(struct bench *b, int64_t rows)
{
    const double part = (double)lm_model_weight_bytes(b->config, LM_F32) / sizeof(float) / MODEL_PART;
    b->floats = part < LEAST_FLOATS ? LEAST_FLOATS : part > MOST_FLOATS ? MOST_FLOATS : (int64_t)part / 256 * 256;
    b->room = 4 * b->floats;
    rows = least(rows, ROWS);
    for (int linear = 0; linear < LM_SPEED_LINEARS; linear++) {
        int64_t in, out;
        shape_of(b->config, linear, &in, &out);
        in = least(in, WIDE), out = least(out, WIDE);
        const int64_t sizes[] = {in * out, rows * in, rows * out};
        for (int i = 0; i < 3; i++)
            b->room = sizes[i] > b->room ? sizes[i] : b->room;
    }
    b->room = (b->room + 15) / 16 * 16;
    const double half = part * MODEL_PART / 2;    /* a small model's stay in the last cache in part */
    b->others = half < MOST_OTHERS ? (int64_t)half : MOST_OTHERS;
}

int lm_speed_measure(const struct lm_config *config, const struct lm_run_settings *settings, struct lm_device *device,
                     const char *folder, struct lm_speed *speed, loam_error *error)
{
    const int64_t rows = settings->batch * settings->seq;
    struct bench b = {.device = device, .ops = lm_device_ops(device), .config = config, .bf16 = settings->dtype == LM_BF16,
                      .gradients_bf16 = lm_run_form_of(settings).gradients_bf16,
                      .narrow = lm_run_form_of(settings).narrow};
    size_up(&b, rows);
    const size_t room = (size_t)b.room * sizeof(float), bytes = 3 * room + (size_t)b.others * sizeof(float) + ROWS * sizeof(int32_t);
    char *block = lm_block_map(bytes, error);
    if (!block)
        return LOAM_ENOMEM;
    b.x = (float *)block, b.y = (float *)(block + room), b.z = (float *)(block + 2 * room);
    b.other = (float *)(block + 3 * room);
    b.ids = (int32_t *)(b.other + b.others);
    for (int64_t i = 0; i < b.room; i++)
        b.x[i] = b.y[i] = (float)((double)(i % 251) / 251 - 0.5);
    *speed = (struct lm_speed){0};
    for (int linear = 0; linear < LM_SPEED_LINEARS; linear++)
        for (int which = 0; which < 3; which++)
            time_linear(&b, linear, which, linear == HEAD ? lm_loss_rows(rows, config->vocabulary) : rows, speed);
    for (int backward = 0; backward < 2; backward++)
        speed->pair[backward] = time_attention(&b, settings->seq, backward);
    time_rows(&b, speed);
    time_optimizer(&b, settings, speed);
    lm_block_unmap(block, bytes);
    int code = lm_device_check(device, error);
    if (code == LOAM_OK && folder)
        code = lm_scratch_copy_speed(folder, &speed->copy, error);
    return code == LOAM_OK && folder ? lm_scratch_speed(folder, &speed->disk, error) : code;
}

/* --- A step --- */

struct sums {
    double forward, forward_last, backward;    /* a layer; made anew without its last product */
    double head, rest;
};

static double linear_seconds(const struct lm_speed *speed, const struct lm_config *c, int linear, int which, double rows)
{
    int64_t in, out;
    shape_of(c, linear, &in, &out);
    const double each = linear == HEAD ? (double)lm_loss_rows((int64_t)rows, c->vocabulary) : rows;
    return (speed->linear[linear][which] * 2 * rows + speed->fetched[linear][which] * ceil(rows / each)) * (double)in * (double)out;
}

static struct sums add_up(const struct lm_speed *speed, const struct lm_config *c, const struct lm_run_settings *settings)
{
    const double rows = (double)settings->batch * (double)settings->seq, floats = rows * (double)c->width;
    const double inner = rows * (double)c->feed_forward, turned = rows * (double)((c->heads + c->kv_heads) * c->head_size);
    double pairs = 0;
    for (int64_t i = 0; i < c->layers; i++)
        pairs += pairs_of(settings->seq, i >= c->window_first_layer ? c->window : 0) / (double)c->layers;
    pairs *= (double)settings->batch * (double)c->heads;
    struct sums sums = {0};
    double products = 0, back = 0;
    for (int linear = QKV; linear <= DOWN; linear++) {
        products += linear_seconds(speed, c, linear, FORWARD, rows);
        back += linear_seconds(speed, c, linear, INPUT, rows) + linear_seconds(speed, c, linear, WEIGHT, rows);
    }
    const double norms = 2 * floats * speed->norm[0], activation = inner * speed->activation[0], rope = turned * speed->rope;
    sums.forward = products + norms + activation + rope + pairs * speed->pair[0];
    sums.forward_last = sums.forward - linear_seconds(speed, c, DOWN, FORWARD, rows) - activation;
    sums.backward = back + norms + activation + rope + pairs * speed->pair[1] + inner * speed->activation[1] +
                    2 * floats * speed->norm[1];
    if (settings->recompute == LM_RECOMPUTE_INNER)
        sums.backward += linear_seconds(speed, c, UP, FORWARD, rows);
    sums.head = rows * (double)c->vocabulary * speed->entropy;
    for (int which = 0; which < 3; which++)
        sums.head += linear_seconds(speed, c, HEAD, which, rows);
    sums.rest = floats * (speed->norm[0] + speed->norm[1]);
    return sums;
}

/* Layers that the backward pass makes anew: all but the last group; the last of each of them without its last product. */
static double made_anew(const struct sums *sums, const struct lm_config *c, const struct lm_run_settings *settings)
{
    const int64_t every = settings->recompute_every > 0 ? settings->recompute_every : 1;
    const int64_t group = settings->recompute != LM_RECOMPUTE_LAYER || every > c->layers ? c->layers : every;
    const int64_t groups = (c->layers + group - 1) / group, layers = (groups - 1) * group;
    return (double)(layers - (groups - 1)) * sums->forward + (double)(groups - 1) * sums->forward_last;
}

double lm_speed_step(const struct lm_speed *speed, const struct lm_config *c, const struct lm_run_settings *settings,
                     const struct lm_run_plan *plan)
{
    const struct sums sums = add_up(speed, c, settings);
    const double layers = (double)c->layers, parameters = (double)plan->parameters / (double)(settings->zero ? settings->ranks : 1);
    const double pass = layers * (sums.forward + sums.backward) + made_anew(&sums, c, settings) + sums.head + sums.rest;
    const bool twice = settings->fused_step && settings->exact_clip && settings->clip > 0;
    const double step = (double)plan->parameters * speed->square + parameters * speed->step[settings->optimizer_state];
    double moved = 2 * (double)plan->scratch_optimizer + 2 * (double)plan->scratch_activations;
    if (plan->scratch_weights > 0)    /* there and back, and written once */
        moved += (double)plan->scratch_weights * (twice ? 5 : 3);
    const double computed = (twice ? 2 : 1) * (double)settings->accumulate * pass + step;
    return fmax(computed + moved * speed->copy, moved * speed->disk);
}
