/* The fast tables, each instruction set this machine has, against the plain one: shapes with odd edges, both types of weights,
 * strides wider than rows; and the same bits from one thread and from three.
 *
 * Tolerances: a sum of n products of numbers of about 1, taken in any order in fp32, differs by about sqrt(n) * 2^-24 times
 * their size, at worst n * 2^-24; 2^-20 * (4 + n/8) of the largest value leaves room for both and for the error of vexp. */
#include "support/support.h"

#include "compute/compute.h"

#include <math.h>

static struct lm_device *plain, *fast, *three;
static uint32_t noise_state = 1;

static float noise(void)
{
    noise_state = noise_state * 1664525u + 1013904223u;
    return (float)(noise_state >> 8) / (float)(1 << 23) - 1.0f;
}

static float *numbers(int64_t count)
{
    float *x = malloc((size_t)(count ? count : 1) * sizeof *x);
    for (int64_t i = 0; i < count; i++)
        x[i] = noise();
    return x;
}

static void *copy_of(const void *x, int64_t bytes)
{
    void *y = malloc((size_t)(bytes ? bytes : 1));
    memcpy(y, x, (size_t)bytes);
    return y;
}

static void same(const char *what, const float *got, const float *wanted, int64_t count, int64_t sum)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmax(most, fabs(wanted[i]));
    double tolerance = ldexp(4 + (double)sum / 8, -20) * fmax(most, 1e-3);
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - wanted[i]) <= tolerance))
            fail_msg("%s, %s: place %lld of %lld: found %.9g, wanted %.9g within %.3g", lm_device_name(fast), what,
                     (long long)i, (long long)count, got[i], wanted[i], tolerance);
}

static void same_bits(const char *what, const void *a, const void *b, int64_t bytes)
{
    if (memcmp(a, b, (size_t)bytes))
        fail_msg("%s, %s: one thread and three give different bits", lm_device_name(fast), what);
}

/* Runs a statement on the three devices with y a fresh copy of `start` each time; compares. */
#define COMPARE(what, start, count, sum, ...)                                                                         \
    do {                                                                                                              \
        float *results[3];                                                                                            \
        struct lm_device *devices[3] = {plain, fast, three};                                                          \
        for (int which = 0; which < 3; which++) {                                                                     \
            struct lm_device *device = devices[which];                                                                \
            const struct lm_ops *ops = lm_device_ops(device);                                                         \
            float *y = results[which] = copy_of(start, (count) * 4);                                                  \
            __VA_ARGS__;                                                                                                   \
            loam_error compare_error;                                                                                 \
            assert_ok(lm_device_check(device, &compare_error), &compare_error);                                       \
        }                                                                                                             \
        same(what, results[1], results[0], count, sum);                                                               \
        same_bits(what, results[1], results[2], (count) * 4);                                                         \
        for (int which = 0; which < 3; which++)                                                                       \
            free(results[which]);                                                                                     \
    } while (0)

static void check_matmul(int64_t m, int64_t n, int64_t k, int bits)
{
    bool turn_a = bits & 1, turn_b = bits & 2, add = bits & 4, with_bias = bits & 8, b_bf16 = bits & 16, c_bf16 = bits & 32;
    int64_t a_stride = (turn_a ? m : k) + 3, b_stride = (turn_b ? k : n) + 5, c_stride = n + 2;
    float *a = numbers((turn_a ? k : m) * a_stride), *b = numbers((turn_b ? n : k) * b_stride), *bias = numbers(n);
    uint16_t *half = malloc((size_t)((turn_b ? n : k) * b_stride + 1) * 2);
    for (int64_t i = 0; i < (turn_b ? n : k) * b_stride; i++)
        half[i] = lm_f32_to_bf16(b[i]);
    float *start = numbers(m * c_stride);
    char what[128];
    snprintf(what, sizeof what, "matmul m %lld n %lld k %lld bits %d", (long long)m, (long long)n, (long long)k, bits);
    struct lm_matmul op = {.m = m, .n = n, .k = k, .a = {a, LM_F32, a_stride}, .b = {b_bf16 ? (void *)half : b,
                           b_bf16 ? LM_BF16 : LM_F32, b_stride}, .c = {NULL, LM_F32, c_stride}, .transpose_a = turn_a,
                           .transpose_b = turn_b, .add = add, .bias = with_bias ? bias : NULL};
    if (c_bf16) {
        /* Rounded once from nearly the same fp32 value: at most one step of 2^-7 apart. */
        uint16_t *results[2];
        struct lm_device *devices[2] = {plain, fast};
        for (int which = 0; which < 2; which++) {
            op.c.dtype = LM_BF16;
            op.c.data = results[which] = malloc((size_t)(m * c_stride) * 2);
            for (int64_t i = 0; i < m * c_stride; i++)
                results[which][i] = lm_f32_to_bf16(start[i]);
            lm_device_ops(devices[which])->matmul(devices[which], &op);
        }
        for (int64_t i = 0; i < m * c_stride; i++) {
            float got = lm_bf16_to_f32(results[1][i]), wanted = lm_bf16_to_f32(results[0][i]);
            if (!(fabsf(got - wanted) <= fabsf(wanted) / 64 + 1e-5f * (float)k))
                fail_msg("%s: place %lld: found %g, wanted %g", what, (long long)i, got, wanted);
        }
        free(results[0]);
        free(results[1]);
    } else {
        COMPARE(what, start, m * c_stride, k, {
            op.c.data = y;
            ops->matmul(device, &op);
        });
    }
    free(a), free(b), free(bias), free(half), free(start);
}

static void test_matmul(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{1, 1, 1}, {1, 33, 70}, {2, 7, 300}, {3, 64, 17}, {5, 100, 128}, {16, 45, 200},
                                        {17, 31, 33}, {29, 65, 257}, {70, 530, 40}, {140, 96, 513}, {300, 200, 64}, {33, 3, 0}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int bits = 0; bits < 64; bits++)
            check_matmul(shapes[i][0], shapes[i][1], shapes[i][2], bits);
}

struct attention_case {
    int64_t batch, t_q, t_k, heads, kv_heads, head_size, q_start, window;
    bool segments, bf16;
};

static void check_attention(const struct attention_case *c)
{
    int64_t width = c->heads * c->head_size, kv_width = c->kv_heads * c->head_size;
    int64_t q_stride = width + 2 * kv_width, kv_stride = kv_width + 4, kv_batch = (c->t_k + 1) * kv_stride;
    bool backward = c->t_q == c->t_k && !c->q_start && !c->bf16;
    if (backward)
        kv_batch = c->t_k * kv_stride;
    float *q = numbers(c->batch * c->t_q * q_stride), *k = numbers(c->batch * kv_batch), *v = numbers(c->batch * kv_batch);
    uint16_t *k16 = malloc((size_t)(c->batch * kv_batch) * 2), *v16 = malloc((size_t)(c->batch * kv_batch) * 2);
    for (int64_t i = 0; i < c->batch * kv_batch; i++) {
        k16[i] = lm_f32_to_bf16(k[i]);
        v16[i] = lm_f32_to_bf16(v[i]);
    }
    int32_t *starts = malloc((size_t)(c->batch * c->t_q) * sizeof *starts);
    for (int64_t i = 0; i < c->batch * c->t_q; i++)
        starts[i] = (int32_t)((c->q_start + i % c->t_q) / 11 * 11);
    int64_t out_count = c->batch * c->t_q * width, lse_count = c->batch * c->heads * c->t_q;
    int64_t kv_count = c->batch * kv_batch, q_count = c->batch * c->t_q * q_stride;
    float *dout = numbers(out_count), *start = numbers(out_count + lse_count + q_count + 2 * kv_count);
    struct lm_attention op = {.batch = c->batch, .t_q = c->t_q, .t_k = c->t_k, .heads = c->heads, .kv_heads = c->kv_heads,
                              .head_size = c->head_size, .q_start = c->q_start, .window = c->window,
                              .scale = 1 / sqrtf((float)c->head_size), .q = q, .q_stride = q_stride,
                              .k = c->bf16 ? (void *)k16 : k, .v = c->bf16 ? (void *)v16 : v, .kv_stride = kv_stride,
                              .kv_batch_stride = kv_batch, .kv_dtype = c->bf16 ? LM_BF16 : LM_F32,
                              .segment_start = c->segments ? starts : NULL, .out_stride = width, .dout = dout};
    char what[160];
    snprintf(what, sizeof what, "attention B %lld Tq %lld Tk %lld H %lld KV %lld D %lld start %lld window %lld%s%s",
             (long long)c->batch, (long long)c->t_q, (long long)c->t_k, (long long)c->heads, (long long)c->kv_heads,
             (long long)c->head_size, (long long)c->q_start, (long long)c->window, c->segments ? " segments" : "",
             c->bf16 ? " bf16" : "");
    int64_t count = out_count + lse_count + (backward ? q_count + 2 * kv_count : 0);
    COMPARE(what, start, count, c->t_k, {
        op.out = y;
        op.lse = y + out_count;
        op.dq = op.lse + lse_count;
        op.dk = op.dq + q_count;
        op.dv = op.dk + kv_count;
        ops->attention(device, &op);
        if (backward)
            ops->attention_backward(device, &op);
    });
    free(q), free(k), free(v), free(k16), free(v16), free(starts), free(dout), free(start);
}

static void test_attention(void **state)
{
    (void)state;
    static const struct attention_case cases[] = {
        {1, 1, 1, 1, 1, 4, 0, 0, false, false},        {2, 37, 37, 4, 2, 32, 0, 0, false, false},
        {1, 130, 130, 3, 3, 64, 0, 0, false, false},   {2, 200, 200, 2, 1, 48, 0, 30, false, false},
        {1, 150, 150, 4, 1, 20, 0, 0, true, false},    {1, 70, 70, 6, 2, 128, 0, 13, true, false},
        {3, 1, 90, 8, 2, 64, 89, 0, false, true},      {1, 5, 300, 4, 4, 64, 295, 0, false, false},
        {1, 20, 70, 4, 2, 80, 50, 25, false, true},    {1, 9, 9, 2, 1, 300, 0, 0, false, false},
        {1, 1, 700, 4, 1, 256, 699, 0, false, true},   {2, 65, 65, 12, 12, 7, 0, 0, false, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_attention(&cases[i]);
}

static void test_norms(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 5, 16, 48, 130, 768};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (int bits = 0; bits < 8; bits++) {
            int64_t rows = 37, width = widths[w], count = rows * width;
            bool absent = bits & 1, bf16 = bits & 2, add = bits & 4;
            float *x = numbers(count), *dy = numbers(count), *factors = numbers(2 * width);
            float *start = numbers(2 * count + 2 * rows + 2 * width);
            uint16_t *half = malloc((size_t)width * 4);
            for (int64_t i = 0; i < 2 * width; i++)
                half[i] = lm_f32_to_bf16(factors[i]);
            struct lm_matrix weight = {bf16 ? (void *)half : factors, bf16 ? LM_BF16 : LM_F32, width}, bias = weight;
            bias.data = bf16 ? (void *)(half + width) : factors + width;
            if (absent)
                weight.data = bias.data = NULL;
            COMPARE("layer_norm", start, 2 * count + 2 * rows + 2 * width, width + rows, {
                float *mean = y + 2 * count, *rstd = mean + rows;
                ops->layer_norm(device, rows, width, 0.1f, x, weight, bias, y, mean, rstd);
                ops->layer_norm_backward(device, rows, width, x, weight, mean, rstd, dy, y + count, add, rstd + rows,
                                         rstd + rows + width);
            });
            COMPARE("rms_norm", start, 2 * count + rows + width, width + rows, {
                float *rstd = y + 2 * count;
                ops->rms_norm(device, rows, 1, width, 0.1f, x, width, weight, y, width, rstd);
                ops->rms_norm_backward(device, rows, 1, width, x, width, weight, rstd, dy, width, y + count, width, add,
                                       rstd + rows);
            });
            COMPARE("bias_backward", start, width, rows, ops->bias_backward(device, rows, width, x, width, y));
            free(x), free(dy), free(factors), free(start), free(half);
        }
    int64_t rows = 300, groups = 3, width = 20, stride = 75;
    float *x = numbers(rows * stride), *dy = numbers(rows * stride), *start = numbers(2 * rows * stride + 1000 + width);
    struct lm_matrix weight = {numbers(width), LM_F32, width};
    COMPARE("rms_norm in groups", start, 2 * rows * stride + 1000 + width, rows * groups, {
        float *rstd = y + 2 * rows * stride;
        ops->rms_norm(device, rows, groups, width, 0.1f, x, stride, weight, y, stride, rstd);
        ops->rms_norm_backward(device, rows, groups, width, x, stride, weight, rstd, dy, stride, y + rows * stride, stride,
                               false, rstd + 1000);
    });
    free(x), free(dy), free(start), free(weight.data);
}

static void test_rows(void **state)
{
    (void)state;
    int64_t rows = 500, width = 70, vocabulary = 30;
    float *table = numbers(vocabulary * width), *places = numbers(vocabulary * width), *dout = numbers(rows * width);
    int32_t ids[500], positions[500];
    for (int64_t r = 0; r < rows; r++) {
        ids[r] = (int32_t)(r * r % vocabulary);
        positions[r] = (int32_t)(r % vocabulary);
    }
    struct lm_matrix a = {table, LM_F32, width}, b = {places, LM_F32, width}, none = {NULL, LM_F32, 0};
    COMPARE("embed", dout, rows * width, 1, ops->embed(device, rows, width, ids, a, positions, b, y));
    COMPARE("embed without positions", dout, rows * width, 1, ops->embed(device, rows, width, ids, a, NULL, none, y));
    float *start = numbers(2 * vocabulary * width);
    COMPARE("embed_backward", start, 2 * vocabulary * width, rows,
            ops->embed_backward(device, rows, width, ids, dout, (struct lm_matrix){y, LM_F32, width}, positions,
                                (struct lm_matrix){y + vocabulary * width, LM_F32, width}));
    COMPARE("embed_backward of one table", start, vocabulary * width, rows,
            ops->embed_backward(device, rows, width, ids, dout, (struct lm_matrix){y, LM_F32, width}, NULL,
                                (struct lm_matrix){0}));
    float frequency[32];
    for (int i = 0; i < 32; i++)
        frequency[i] = powf(10000, -(float)i / 32);
    float *angles = numbers(rows * 64), *x = numbers(rows * 200);
    for (int half = 5; half <= 32; half += 27) {
        COMPARE("rope_angles", angles, rows * half * 2, 1,
                ops->rope_angles(device, rows, half, positions, frequency, 1.5f, y));
        COMPARE("rope", x, rows * 200, 1, ops->rope(device, rows, 3, 2 * half, y, 200, angles, false));
        COMPARE("rope back", x, rows * 200, 1, ops->rope(device, rows, 3, 2 * half, y, 200, angles, true));
    }
    free(table), free(places), free(dout), free(start), free(angles), free(x);
}

static void test_pointwise(void **state)
{
    (void)state;
    int64_t count = 20011, rows = 113, width = 83;
    float *x = numbers(count), *dy = numbers(count);
    for (int64_t i = 0; i < count; i++)
        x[i] *= 12;
    for (int form = 0; form < 2; form++) {
        COMPARE("gelu", x, count, 1, ops->gelu(device, count, form, x, y));
        COMPARE("gelu_backward", dy, count, 1, ops->gelu_backward(device, count, form, x, y, y));
    }
    COMPARE("swiglu", dy, rows * width, 1, ops->swiglu(device, rows, width, x, y));
    COMPARE("swiglu_backward", x, rows * 2 * width, 1, ops->swiglu_backward(device, rows, width, y, dy, y));
    COMPARE("add", dy, count, 1, ops->add(device, count, x, y));
    COMPARE("scale", dy, count, 1, ops->scale(device, count, 0.37f, y));
    COMPARE("fill", dy, count, 1, ops->fill(device, count, -2.5f, y));
    COMPARE("convert", dy, count, 1, {
        uint16_t *half = malloc((size_t)count * 2);
        ops->convert(device, count, LM_F32, x, LM_BF16, half);
        ops->convert(device, count, LM_BF16, half, LM_F32, y);
        free(half);
    });
    COMPARE("convert fp16", dy, count, 1, {
        uint16_t *half = malloc((size_t)count * 2);
        ops->convert(device, count, LM_F32, x, LM_F16, half);
        ops->convert(device, count, LM_F16, half, LM_F32, y);
        free(half);
    });
    free(x), free(dy);
}

static void test_loss(void **state)
{
    (void)state;
    int64_t rows = 41, vocabulary = 1003, stride = 1010;
    float *x = numbers(rows * stride + rows);
    int32_t targets[41];
    for (int64_t i = 0; i < rows * stride; i++)
        x[i] *= 20;
    for (int64_t r = 0; r < rows; r++)
        targets[r] = r % 7 == 3 ? -1 : (int32_t)(r * 31 % vocabulary);
    for (int gradient = 0; gradient < 2; gradient++)
        COMPARE("cross_entropy", x, rows * stride + rows, 16,
                ops->cross_entropy(device, rows, vocabulary, y, stride, targets, 0.25f, gradient, y + rows * stride));
    free(x);
}

static void test_optimizer(void **state)
{
    (void)state;
    int64_t count = 30007;
    float *x = numbers(4 * count);
    for (int64_t i = 0; i < count; i++)
        x[3 * count + i] = fabsf(x[3 * count + i]);
    for (int64_t step = 1; step < 200; step += 99)
        COMPARE("adamw", x, 4 * count, 1, {
            struct lm_adamw op = {.count = count, .step = step, .lr = 0.01, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8,
                                  .decay = 0.1, .grad_scale = 0.5, .parameter = y, .gradient = y + count,
                                  .m = y + 2 * count, .v = y + 3 * count};
            ops->adamw(device, &op);
        });
    double sums[3];
    struct lm_device *devices[3] = {plain, fast, three};
    for (int i = 0; i < 3; i++)
        sums[i] = lm_device_ops(devices[i])->sum_squares(devices[i], 4 * count, LM_F32, x);
    assert_true(fabs(sums[0] - sums[1]) < 1e-10 * sums[0]);
    assert_true(sums[1] == sums[2]);
    x[777] = NAN;
    assert_true(isnan(lm_device_ops(fast)->sum_squares(fast, 4 * count, LM_F32, x)));
    free(x);
}

static int open_isa(enum lm_isa isa)
{
    loam_error error;
    struct lm_device_options one = {.threads = 1, .isa = isa}, many = {.threads = 3, .isa = isa};
    struct lm_device_options slow = {.threads = 1, .reference = true};
    if (lm_device_open(&one, &fast, &error) == LOAM_EUNSUPPORTED) {
        print_message("SKIP: instruction set %d: %s\n", (int)isa, error.message);
        return 1;
    }
    return lm_device_open(&many, &three, &error) || lm_device_open(&slow, &plain, &error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_matmul), cmocka_unit_test(test_attention),
                                       cmocka_unit_test(test_norms), cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_pointwise), cmocka_unit_test(test_loss),
                                       cmocka_unit_test(test_optimizer)};
    int failed = 0;
    for (enum lm_isa isa = LM_ISA_SCALAR; isa < LM_ISA_COUNT; isa++) {
        if (open_isa(isa))
            continue;
        failed += cmocka_run_group_tests(tests, NULL, NULL);
        lm_device_close(plain);
        lm_device_close(fast);
        lm_device_close(three);
        plain = fast = three = NULL;
    }
    return failed;
}
