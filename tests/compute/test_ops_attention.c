/* Attention of every table against the plain one: training shapes, prompts, decoding from a cache. */
#include "compute/device.h"
#include "support/judge.h"

#include <math.h>

static struct lm_random generator;

struct shape {
    int64_t batch, t_q, q_start, heads, kv_heads, head_size, window;
    bool segments, bf16;
    int64_t spare;          /* rows of the cache behind the last key that is seen */
    int64_t gap;            /* elements between rows */
    double spread;          /* of q and k; 0: all the same */
};

struct buffers {
    struct lm_attention work;
    int64_t q_count, kv_count, out_count, lse_count;
};

static void *with_type(const float *x, int64_t count, bool bf16)
{
    return bf16 ? test_matrix_bf16(x, count, 0).data : (void *)x;
}

/* k and v in buffers of their own, row by row of a cache; q beside room for others. */
static struct buffers lay_out(const struct shape *s)
{
    int64_t t_k = s->q_start + s->t_q + s->spare, width = s->kv_heads * s->head_size;
    struct lm_attention work = {
        .batch = s->batch, .t_q = s->t_q, .t_k = t_k, .heads = s->heads, .kv_heads = s->kv_heads,
        .head_size = s->head_size, .q_start = s->q_start, .window = s->window, .q_stride = s->heads * s->head_size + s->gap,
        .scale = (float)(1 / sqrt((double)s->head_size)), .kv_stride = width + s->gap,
        .kv_batch_stride = t_k * (width + s->gap), .out_stride = s->heads * s->head_size + s->gap,
        .kv_dtype = s->bf16 ? LM_BF16 : LM_F32,
    };
    return (struct buffers){work, s->batch * s->t_q * work.q_stride, s->batch * work.kv_batch_stride,
                            s->batch * s->t_q * work.out_stride, s->batch * s->heads * s->t_q};
}

/* Packed samples: a few keys each, the last one going on. */
static int32_t *make_segments(const struct shape *s)
{
    int32_t *start = test_take(s->batch * s->t_q, sizeof *start);
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t t = 0; t < s->t_q; t++) {
            int64_t size = 3 + 5 * b, at = s->q_start + t;
            start[b * s->t_q + t] = (int32_t)(at - at % size);
        }
    return start;
}

static void run_attention(struct lm_device *device, const void *context, float *const *out)
{
    struct lm_attention work = ((const struct buffers *)context)->work;
    work.out = out[0];
    work.lse = out[1];
    lm_device_ops(device)->attention(device, &work);
    if (!work.lse)
        return;
    loam_error error;
    float *again = test_take(work.batch * work.t_q * work.out_stride, sizeof *again);
    work.out = again;
    work.lse = NULL;
    lm_device_ops(device)->attention(device, &work);
    assert_ok(lm_device_check(device, &error), &error);
    test_same("attention without lse", again, out[0], ((const struct buffers *)context)->out_count, sizeof *again);
}

/* The weights lie in a buffer full of NaN, all of which must be set. */
static void run_weights(struct lm_device *device, const void *context, float *const *out)
{
    const struct lm_attention *work = &((const struct buffers *)context)->work;
    const int64_t count = work->batch * work->heads * work->t_q * work->t_k;
    for (int64_t i = 0; i < count; i++)
        out[0][i] = NAN;
    lm_device_ops(device)->attention_weights(device, work, out[0]);
}

static double *float_bound(const struct buffers *b, const struct shape *s, const float *q, const float *k, const float *v,
                           double *lse_bound,
                           double *weight_bound)
{
    double q_most = test_largest(test_to_doubles(q, b->q_count), b->q_count);
    double k_most = test_largest(test_to_doubles(k, b->kv_count), b->kv_count);
    double v_most = test_largest(test_to_doubles(v, b->kv_count), b->kv_count);
    double S = (double)b->work.scale * (double)s->head_size * q_most * k_most;
    double sums = test_rounding(s->head_size + b->work.t_k), e = sums * (2 * S + 1);
    *lse_bound = sums * (S + 8);
    *weight_bound = fmin(2 * e + sums, 1);
    return test_bound(b->out_count, v_most * fmin(2 * e + sums, 2));
}

static const char *describe(const struct shape *s)
{
    static char label[200];
    snprintf(label, sizeof label, "attention B%ld Tq%ld start %ld H%ld KV%ld D%ld window %ld%s%s spare %ld gap %ld spread %g",
             (long)s->batch, (long)s->t_q, (long)s->q_start, (long)s->heads, (long)s->kv_heads, (long)s->head_size,
             (long)s->window, s->segments ? " segments" : "", s->bf16 ? " bf16" : "", (long)s->spare, (long)s->gap, s->spread);
    return label;
}

/* What no query sees is NaN: rows behind the last, gaps, keys before every window. */
static void spoil(const struct shape *s, const struct buffers *b, float *kv)
{
    int64_t width = s->kv_heads * s->head_size;
    for (int64_t i = 0; i < b->kv_count; i++) {
        int64_t j = i % b->work.kv_batch_stride / b->work.kv_stride;
        bool seen = j < s->q_start + s->t_q && (!s->window || j > s->q_start - s->window);
        if (!seen || i % b->work.kv_stride >= width)
            kv[i] = NAN;
    }
}

static void check_forward(const struct shape *s)
{
    struct buffers b = lay_out(s);
    float *q = test_floats(&generator, b.q_count, s->spread), *k = test_floats(&generator, b.kv_count, s->spread);
    float *v = test_floats(&generator, b.kv_count, 1);
    double lse_bound, weight_bound, *bound = float_bound(&b, s, q, k, v, &lse_bound, &weight_bound);
    spoil(s, &b, k);
    spoil(s, &b, v);
    b.work.q = q;
    b.work.k = with_type(k, b.kv_count, s->bf16);
    b.work.v = with_type(v, b.kv_count, s->bf16);
    b.work.segment_start = s->segments ? make_segments(s) : NULL;
    test_judge(&(struct test_operation){describe(s), run_attention, &b, false,
               {{"out", b.out_count, NULL, bound}, {"lse", b.lse_count, NULL, test_bound(b.lse_count, lse_bound)}}});
    const int64_t weights = s->batch * s->heads * s->t_q * b.work.t_k;
    test_judge(&(struct test_operation){describe(s), run_weights, &b, false, {{"weights", weights, NULL, test_bound(weights, weight_bound)}}});
    test_give_back();
}

static void test_forward(void **state)
{
    (void)state;
    static const int64_t head_sizes[] = {1, 5, 16, 32, 64, 80, 96, 128, 130};
    static const int64_t lengths[] = {1, 2, 15, 33, 70};
    for (size_t d = 0; d < sizeof head_sizes / sizeof *head_sizes; d++) {
        for (size_t t = 0; t < sizeof lengths / sizeof *lengths; t++) {
            int form = (int)(d + t);
            struct shape s = {.batch = 1 + form % 2, .t_q = lengths[t], .heads = 4, .kv_heads = 1 << form % 3,
                              .head_size = head_sizes[d], .window = form % 4 == 1 ? 1 + lengths[t] / 3 : 0,
                              .segments = form % 3 == 2, .gap = form % 5, .spread = 1};
            check_forward(&s);
        }
    }
    check_forward(&(struct shape){.batch = 1, .t_q = 131, .heads = 2, .kv_heads = 2, .head_size = 16, .spread = 1});
    check_forward(&(struct shape){.batch = 1, .t_q = 260, .heads = 1, .kv_heads = 1, .head_size = 8, .window = 65, .spread = 1});
    check_forward(&(struct shape){.batch = 1, .t_q = 9, .heads = 2, .kv_heads = 1, .head_size = 300, .spread = 1});
}

static void test_cache(void **state)
{
    (void)state;
    static const int64_t starts[] = {0, 1, 15, 63, 64, 100, 257};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        for (int64_t t_q = 1; t_q <= 40; t_q = t_q * 4 + 3) {
            for (int bf16 = 0; bf16 < 2; bf16++) {
                struct shape s = {.batch = 1 + (int64_t)i % 2, .t_q = t_q, .q_start = starts[i], .heads = 6, .kv_heads = 2,
                                  .head_size = i % 2 ? 64 : 24, .bf16 = bf16, .spare = 9 * (t_q % 2), .spread = 1,
                                  .window = i % 3 == 2 ? 17 : 0};
                check_forward(&s);
            }
        }
    }
}

static void test_extreme_scores(void **state)
{
    (void)state;
    static const double spreads[] = {0, 30, 1e3, 1e-20};
    for (size_t i = 0; i < sizeof spreads / sizeof *spreads; i++) {
        check_forward(&(struct shape){.batch = 2, .t_q = 37, .heads = 2, .kv_heads = 1, .head_size = 32, .spread = spreads[i]});
        check_forward(&(struct shape){.batch = 1, .t_q = 1, .q_start = 300, .heads = 4, .kv_heads = 2, .head_size = 64,
                                      .bf16 = true, .spread = spreads[i]});
    }
}

/* A NaN in one query's q spoils that row of that head alone; one in a key's v that column in all rows that see the key, and
 * maybe in others, as 0 times NaN is NaN; nothing else. */
static void test_nan(void **state)
{
    (void)state;
    struct shape s = {.batch = 1, .t_q = 50, .heads = 2, .kv_heads = 2, .head_size = 16, .spread = 1};
    struct buffers b = lay_out(&s);
    float *q = test_floats(&generator, b.q_count, 1), *k = test_floats(&generator, b.kv_count, 1);
    float *v = test_floats(&generator, b.kv_count, 1), *out = test_take(b.out_count, sizeof *out);
    q[20 * b.work.q_stride + 3] = NAN;
    v[30 * b.work.kv_stride + 16 + 5] = NAN;
    b.work.q = q;
    b.work.k = k;
    b.work.v = v;
    b.work.out = out;
    for (int d = 0; d < test_device_count(); d++) {
        lm_device_ops(test_device(d))->attention(test_device(d), &b.work);
        for (int64_t t = 0; t < s.t_q; t++)
            for (int64_t c = 0; c < 32; c++) {
                bool spoiled = (t == 20 && c < 16) || (t >= 30 && c == 16 + 5);
                if (!isnan(out[t * b.work.out_stride + c]) == spoiled && (spoiled || c != 16 + 5))
                    fail_msg("attention on %s: row %ld column %ld: found %g", lm_device_name(test_device(d)), (long)t, (long)c,
                             (double)out[t * b.work.out_stride + c]);
            }
    }
    test_give_back();
}

static void run_backward(struct lm_device *device, const void *context, float *const *out)
{
    struct lm_attention work = ((const struct buffers *)context)->work;
    work.dq = out[0];
    work.dk = out[1];
    work.dv = out[2];
    lm_device_ops(device)->attention_backward(device, &work);
}

/* The bounds are those of test_gradients_attention.c. Gradients lie in buffers full of NaN, which the pass must set but for the
 * gaps. */
static void check_backward(const struct shape *s)
{
    struct buffers b = lay_out(s);
    float *q = test_floats(&generator, b.q_count, s->spread), *k = test_floats(&generator, b.kv_count, s->spread);
    float *v = test_floats(&generator, b.kv_count, 1), *dout = test_floats(&generator, b.out_count, 1);
    float *out[] = {test_take(b.out_count, sizeof(float)), test_take(b.lse_count, sizeof(float))};
    b.work.q = q;
    b.work.k = k;
    b.work.v = v;
    b.work.segment_start = s->segments ? make_segments(s) : NULL;
    run_attention(test_plain(), &b, out);
    b.work.out = out[0];
    b.work.lse = out[1];
    b.work.dout = dout;
    double scale = (double)b.work.scale, D = (double)s->head_size, sums = test_rounding(s->head_size + s->t_q);
    double most_q = test_largest(test_to_doubles(q, b.q_count), b.q_count);
    double most_k = test_largest(test_to_doubles(k, b.kv_count), b.kv_count);
    double most_v = test_largest(test_to_doubles(v, b.kv_count), b.kv_count);
    double most_dout = test_largest(test_to_doubles(dout, b.out_count), b.out_count);
    double e = sums * (2 * scale * D * most_q * most_k + 1), P = D * most_dout * most_v;
    double queries = (double)(s->t_q * (s->heads / s->kv_heads)), tiny = 0x1p-126;
    float *nan_q = test_to_floats(test_bound(b.q_count, NAN), b.q_count);
    float *nan_kv = test_to_floats(test_bound(b.kv_count, NAN), b.kv_count);
    test_judge(&(struct test_operation){describe(s), run_backward, &b, false, {
        {"dq", b.q_count, nan_q, test_bound(b.q_count, scale * most_k * P * (2 * e + 3 * sums) + tiny)},
        {"dk", b.kv_count, nan_kv, test_bound(b.kv_count, scale * most_q * P * (2 * e + 3 * sums) * queries + tiny)},
        {"dv", b.kv_count, nan_kv, test_bound(b.kv_count, most_dout * (e + sums) * queries + tiny)}}});
    test_give_back();
}

static void test_backward(void **state)
{
    (void)state;
    static const int64_t head_sizes[] = {2, 5, 16, 32, 64, 80, 128, 130};
    static const int64_t lengths[] = {1, 2, 17, 67};
    for (size_t d = 0; d < sizeof head_sizes / sizeof *head_sizes; d++) {
        for (size_t t = 0; t < sizeof lengths / sizeof *lengths; t++) {
            int form = (int)(d + t);
            struct shape s = {.batch = 1 + form % 2, .t_q = lengths[t], .heads = 4, .kv_heads = 1 << form % 3,
                              .head_size = head_sizes[d], .window = form % 4 == 2 ? 1 + lengths[t] / 3 : 0,
                              .segments = form % 3 == 1, .gap = form % 4, .spread = form % 7 == 3 ? 0 : 1};
            check_backward(&s);
        }
    }
    check_backward(&(struct shape){.batch = 1, .t_q = 131, .heads = 2, .kv_heads = 2, .head_size = 16, .spread = 1});
    check_backward(&(struct shape){.batch = 1, .t_q = 200, .heads = 1, .kv_heads = 1, .head_size = 8, .window = 65, .spread = 1});
    check_backward(&(struct shape){.batch = 1, .t_q = 9, .heads = 2, .kv_heads = 1, .head_size = 300, .spread = 1});
}

/* Given as much scratch as the device asked for, attention takes none of its own. */
static void test_scratch(void **state)
{
    (void)state;
    for (int d = 0; d < test_device_count(); d++) {
        for (int form = 0; form < 3; form++) {
            struct shape s = {.batch = 2, .t_q = form == 0 ? 1 : 75, .q_start = form == 0 ? 140 : 0, .heads = 4, .kv_heads = 2,
                              .head_size = 40, .spread = 1};
            struct buffers b = lay_out(&s);
            loam_error error;
            struct lm_device *device;
            struct lm_device_options options = test_device_options(d);
            assert_ok(lm_device_open(&options, &device, &error), &error);
            float *out[] = {test_take(b.out_count, sizeof(float)), test_take(b.lse_count, sizeof(float))};
            b.work.q = test_floats(&generator, b.q_count, 1);
            b.work.k = b.work.v = test_floats(&generator, b.kv_count, 1);
            b.work.out = out[0];
            b.work.lse = out[1];
            b.work.dout = b.work.out;
            b.work.dq = test_take(b.q_count, sizeof(float));
            b.work.dk = test_take(b.kv_count, sizeof(float));
            b.work.dv = test_take(b.kv_count, sizeof(float));
            size_t bytes = lm_device_ops(device)->attention_scratch(device, &b.work, form == 2);
            lm_device_give_scratch(device, test_take((int64_t)bytes + LM_ALIGN, 1), bytes + LM_ALIGN);
            if (form < 2)
                lm_device_ops(device)->attention(device, &b.work);
            else
                lm_device_ops(device)->attention_backward(device, &b.work);
            assert_ok(lm_device_check(device, &error), &error);
            assert_int_equal(device->own_bytes, 0);
            lm_device_close(device);
            test_give_back();
        }
    }
}

static int open_devices(void **state)
{
    generator = lm_random_seed(20260106, 0);
    return test_open_devices(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward), cmocka_unit_test(test_cache), cmocka_unit_test(test_extreme_scores),
        cmocka_unit_test(test_nan), cmocka_unit_test(test_backward), cmocka_unit_test(test_scratch),
    };
    return cmocka_run_group_tests(tests, open_devices, test_close_devices);
}
