/* The backward pass of attention against differences of the forward pass, as test_gradients.c does for the others. */
#include "compute/reference/reference.h"
#include "support/differences.h"

#include <math.h>

enum { TABLES = 2 };

static struct lm_device *devices[TABLES];    /* the plain table, then the one a user gets */
static struct lm_random generator;

struct shape {
    int64_t batch, length, heads, kv_heads, head_size, window;
    bool segments;
    int64_t gap;          /* elements between the rows of q, k and v; 0 */
};

/* One buffer each for q and for k and v side by side, as a model has them. */
struct buffers {
    struct lm_attention work;     /* its pointers lead to doubles, or to floats */
    int64_t q_count, kv_count, out_count, lse_count, v_offset;
};

static void describe(const struct shape *s, char *label, size_t size)
{
    snprintf(label, size, "attention B%ld T%ld H%ld KV%ld D%ld window %ld%s gap %ld", (long)s->batch, (long)s->length,
             (long)s->heads, (long)s->kv_heads, (long)s->head_size, (long)s->window, s->segments ? " segments" : "",
             (long)s->gap);
}

static struct buffers lay_out(const struct shape *s, const int32_t *segments)
{
    int64_t kv_width = s->kv_heads * s->head_size, q_width = s->heads * s->head_size, rows = s->batch * s->length;
    struct lm_attention work = {
        .batch = s->batch, .t_q = s->length, .t_k = s->length, .heads = s->heads, .kv_heads = s->kv_heads,
        .head_size = s->head_size, .window = s->window, .scale = (float)(1 / sqrt((double)s->head_size)),
        .q_stride = q_width + s->gap, .kv_stride = 2 * kv_width + s->gap, .out_stride = q_width,
        .kv_batch_stride = s->length * (2 * kv_width + s->gap), .segment_start = segments,
    };
    return (struct buffers){work, rows * work.q_stride, rows * work.kv_stride, rows * work.out_stride, rows * s->heads,
                            kv_width};
}

/* The same shapes with pointers to doubles; the fields are typed for fp32. */
static void point(struct buffers *b, const void *q, const void *kv, void *out, void *lse, size_t size)
{
    b->work.kv_dtype = size == sizeof(double) ? LM_F64 : LM_F32;
    b->work.q = q;
    b->work.k = kv;
    b->work.v = (const char *)kv + (size_t)b->v_offset * size;
    b->work.out = out;
    b->work.lse = lse;
}

static void point_back(struct buffers *b, const void *dout, void *dq, void *dkv, size_t size)
{
    b->work.dout = dout;
    b->work.dq = dq;
    b->work.dk = dkv;
    b->work.dv = (float *)(void *)((char *)dkv + (size_t)b->v_offset * size);
}

static void forward(const void *context)
{
    const struct buffers *b = context;
    lm_f64_attention(devices[0], &b->work);
}

/* Segments of lengths 1, 2, 3, ... one after the other, other ones in every sequence. */
static int32_t *make_segments(const struct shape *s)
{
    int32_t *start = test_take(s->batch * s->length, sizeof *start);
    for (int64_t b = 0; b < s->batch; b++) {
        int64_t at = 0, size = 1 + b;
        for (int64_t t = 0; t < s->length; t++) {
            if (t == at + size) {
                at = t;
                size++;
            }
            start[b * s->length + t] = (int32_t)at;
        }
    }
    return start;
}

/* Bounds, with r(n) the rounding of n terms and at their largest: S a score, P = |dout|*|v| a slope of p.
 * p = exp(s - lse) is off by e = 2 r(D) S + r(T) of itself; ds = p*(dp - mean) by p*2P*(e + r(D + T)); dq = scale * sum of
 * ds k, where p sums to one, by scale*|k|*P*(2e + 3 r(D + T)); dk sums over the T queries of H/KV heads, dv likewise. */
static void check_single(int table, const char *label, const struct shape *s, const struct buffers *wide,
                         const double *q, const double *kv, const double *dout, const double *dq, const double *dkv)
{
    struct buffers b = *wide;
    struct lm_device *device = devices[table];
    float *got_dq = test_take(b.q_count, sizeof *got_dq), *got_dkv = test_take(b.kv_count, sizeof *got_dkv);
    point(&b, test_to_floats(q, b.q_count), test_to_floats(kv, b.kv_count), test_take(b.out_count, sizeof(float)),
          test_take(b.lse_count, sizeof(float)), sizeof(float));
    point_back(&b, test_to_floats(dout, b.out_count), got_dq, got_dkv, sizeof(float));
    lm_device_ops(device)->attention(device, &b.work);
    lm_device_ops(device)->attention_backward(device, &b.work);
    double root = sqrt((double)s->head_size), scale = (double)b.work.scale;
    double most_q = test_largest(q, b.q_count), most_kv = test_largest(kv, b.kv_count);
    double most_dout = test_largest(dout, b.out_count);
    double S = root * most_q * most_kv, P = (double)s->head_size * most_dout * most_kv;
    double sums = test_rounding(table == 0 ? 1 : s->head_size + s->length), e = sums * (2 * S + 1);
    double queries = (double)(s->length * (s->heads / s->kv_heads));
    test_near(label, got_dq, dq, scale * most_kv * P * (2 * e + 3 * sums), b.q_count);
    double dk_bound = scale * most_q * P * (2 * e + 3 * sums) * queries, dv_bound = most_dout * (e + sums) * queries;
    test_near(label, got_dkv, dkv, fmax(dk_bound, dv_bound), b.kv_count);
}

static void check_attention(const struct shape *s)
{
    char label[120];
    describe(s, label, sizeof label);
    struct buffers b = lay_out(s, s->segments ? make_segments(s) : NULL);
    double *q = test_doubles(&generator, b.q_count, 1), *kv = test_doubles(&generator, b.kv_count, 1);
    double *out = test_take(b.out_count, sizeof *out), *lse = test_take(b.lse_count, sizeof *lse);
    double *dout = test_doubles(&generator, b.out_count, 1);
    double *dq = test_take(b.q_count, sizeof *dq), *dkv = test_take(b.kv_count, sizeof *dkv);
    point(&b, q, kv, out, lse, sizeof(double));
    point_back(&b, dout, dq, dkv, sizeof(double));
    lm_f64_attention(devices[0], &b.work);
    lm_f64_attention_backward(devices[0], &b.work);
    struct test_function function = {forward, &b, out, dout, b.out_count};
    struct test_variable variables[] = {{"q", q, dq, b.q_count}, {"k and v", kv, dkv, b.kv_count}};
    test_differences(&generator, label, &function, variables, 2);
    for (int table = 0; table < TABLES; table++) {
        loam_error error;
        check_single(table, label, s, &b, q, kv, dout, dq, dkv);
        if (lm_device_check(devices[table], &error) != LOAM_OK)
            fail_msg("%s: %s", label, error.message);
    }
    test_give_back();
}

static void test_attention(void **state)
{
    (void)state;
    static const struct shape shapes[] = {
        {1, 1, 1, 1, 1, 0, false, 0},     {1, 2, 1, 1, 3, 0, false, 0},    {2, 7, 2, 2, 5, 0, false, 0},
        {2, 5, 4, 2, 16, 0, false, 3},    {1, 6, 6, 2, 32, 0, false, 0},   {1, 5, 3, 1, 64, 0, false, 1},
        {1, 4, 2, 1, 80, 0, false, 0},    {1, 3, 2, 2, 128, 0, false, 0},  {2, 9, 2, 1, 8, 4, false, 0},
        {1, 11, 2, 2, 6, 1, false, 0},    {2, 9, 4, 2, 8, 0, true, 0},     {2, 13, 2, 1, 16, 3, true, 2},
        {1, 40, 1, 1, 4, 0, false, 0},    {1, 70, 2, 1, 16, 33, true, 0},  {1, 9, 2, 2, 8, 100, false, 0},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_attention(&shapes[i]);
}

static int open_devices(void **state)
{
    (void)state;
    loam_error error;
    generator = lm_random_seed(20260102, 0);
    return lm_device_open(&(struct lm_device_options){.reference = true, .threads = 1}, &devices[0], &error) ||
           lm_device_open(&(struct lm_device_options){.threads = 2}, &devices[1], &error);
}

static int close_devices(void **state)
{
    (void)state;
    lm_device_close(devices[0]);
    lm_device_close(devices[1]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_attention)};
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}
