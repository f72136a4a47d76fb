/* Products with weights in GGUF's block types, and rows of a table of them, against the plain table.
 *
 * Both round the activations in the same way, so that they differ by the fp32 sums alone. Bound of an element: rounding(k/16 + 8)
 * times the sum of the sizes of all that is added up, where of a weight d q + m both parts count: the plain table computes it from
 * the sizes of a and from blocks whose scales all have the sign that makes the parts add up.
 */
#include "support/judge.h"

#include <math.h>

static struct lm_random generator;
static const enum lm_dtype types[] = {LM_Q8_0, LM_Q4_0, LM_Q4_1, LM_Q5_0, LM_Q5_1, LM_Q4_K, LM_Q5_K, LM_Q6_K};

struct product {
    struct lm_matmul work;
};

static void run_product(struct lm_device *device, const void *context, float *const *out)
{
    struct lm_matmul work = ((const struct product *)context)->work;
    work.c.data = out[0];
    lm_device_ops(device)->matmul(device, &work);
}

/* Any bytes are blocks; the fp16 scales are made numbers of about 0.01. */
static unsigned char *random_blocks(enum lm_dtype type, int64_t count)
{
    const int bytes = lm_dtype_block_bytes(type);
    const bool pair = type == LM_Q4_1 || type == LM_Q5_1 || type == LM_Q4_K || type == LM_Q5_K;
    const int at = type == LM_Q6_K ? 208 : 0;
    unsigned char *blocks = test_take(count, (size_t)bytes);
    for (int64_t i = 0; i < count; i++) {
        for (int b = 0; b < bytes; b++)
            blocks[i * bytes + b] = (unsigned char)lm_random_below(&generator, 256);
        for (int h = 0; h <= pair; h++) {
            const uint16_t scale = lm_f32_to_f16((float)(0.01 * lm_random_normal(&generator)));
            memcpy(blocks + i * bytes + at + 2 * h, &scale, 2);
        }
    }
    return blocks;
}

/* As fp32, the sum of the sizes of each element's parts. */
static float *sizes_of(enum lm_dtype type, const unsigned char *blocks, int64_t count)
{
    const int bytes = lm_dtype_block_bytes(type), elements = lm_dtype_block_elements(type);
    const bool pair = type == LM_Q4_1 || type == LM_Q5_1, large = type == LM_Q4_K || type == LM_Q5_K;
    unsigned char *copy = test_take(count, (size_t)bytes);
    float *sizes = test_take(count * elements, sizeof *sizes);
    memcpy(copy, blocks, (size_t)(count * bytes));
    for (int64_t i = 0; i < count && (pair || large); i++) {
        copy[i * bytes + 1] &= 0x7f;
        copy[i * bytes + 3] = (unsigned char)(large ? copy[i * bytes + 3] | 0x80 : copy[i * bytes + 3] & 0x7f);
    }
    assert_true(lm_convert(LM_F32, sizes, type, copy, (size_t)(count * elements)));
    for (int64_t i = 0; i < count * elements; i++)
        sizes[i] = fabsf(sizes[i]);
    return sizes;
}

static double *bound_of(const struct lm_matmul *work, const unsigned char *blocks, const float *c)
{
    const int64_t elements = lm_dtype_block_elements(work->b.dtype), row = work->b.stride;
    const float *w = sizes_of(work->b.dtype, blocks, work->n * row / elements), *a = work->a.data;
    double *bound = test_take(work->m * work->c.stride, sizeof *bound);
    for (int64_t i = 0; i < work->m; i++)
        for (int64_t j = 0; j < work->n; j++) {
            double size = (work->bias ? fabs((double)work->bias[j]) : 0) + (work->add ? fabs((double)c[i * work->c.stride + j]) : 0);
            for (int64_t p = 0; p < work->k; p++)    /* rounding may make an element of a larger by half a step */
                size += (fabs((double)a[i * work->a.stride + p]) * (1 + 1.0 / 127) + 1e-30) * (double)w[j * row + p];
            bound[i * work->c.stride + j] = test_rounding(work->k / 16 + 8) * size;
        }
    return bound;
}

enum { ADD = 1, BIAS = 2, GAPS = 4 };

static void judge_product(enum lm_dtype type, int64_t m, int64_t n, int64_t k, int how, const float *a, const char *label)
{
    const int64_t elements = lm_dtype_block_elements(type), gap = how & GAPS ? 3 : 0;
    const int64_t b_stride = k + (how & GAPS ? elements : 0);
    unsigned char *blocks = random_blocks(type, n * b_stride / elements);
    float *c = test_floats(&generator, m * (n + gap), 1);
    struct product p = {.work = {.m = m, .n = n, .k = k, .transpose_b = true, .add = how & ADD, .a = test_matrix(a, k + gap),
                                 .b = {blocks, type, b_stride}, .c = {.dtype = LM_F32, .stride = n + gap},
                                 .bias = how & BIAS ? test_floats(&generator, n, 1) : NULL}};
    test_judge(&(struct test_operation){.label = label, .run = run_product, .context = &p, .any_threads = true,
                                        .outputs = {{"c", m * (n + gap), c, bound_of(&p.work, blocks, c)}}});
}

static void random_product(enum lm_dtype type, int64_t m, int64_t n, int64_t k, int how)
{
    char label[120];
    snprintf(label, sizeof label, "matmul %ldx%ldx%ld %s%s%s%s", (long)m, (long)n, (long)k, lm_dtype_name(type),
             how & ADD ? " add" : "", how & BIAS ? " bias" : "", how & GAPS ? " gaps" : "");
    judge_product(type, m, n, k, how, test_floats(&generator, m * (k + 3), 1), label);
    test_give_back();
}

static void test_products(void **state)
{
    (void)state;
    static const int64_t rows[] = {1, 2, 3, 4, 5, 7, 8, 16, 17, 18, 23, 40};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            const bool small = lm_dtype_block_elements(types[t]) == 32;
            const int how = (int)((r + t) % 8);
            random_product(types[t], rows[r], 1 + (int64_t)(r * 7 % 40), small ? 32 * (1 + (int64_t)r % 5) : 256, how);
            if (r % 4 == 0)
                random_product(types[t], rows[r], 33, small ? 288 : 768, 7 - how);
        }
}

/* Deeper than what is unpacked at a time, and more columns than one thread takes. */
static void test_large_products(void **state)
{
    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {    /* deep ones: Q4_0, Q5_1 and Q6_K, a kind each */
        if (t == 1 || t == 4 || t == 7)
            random_product(types[t], 17, 131, lm_dtype_block_elements(types[t]) == 32 ? 2144 : 2304, BIAS | GAPS);
        random_product(types[t], 1, 65, 2304, ADD);
    }
}

/* Blocks of nothing but zeros, numbers of very different sizes, and all the same. */
static void test_extreme_products(void **state)
{
    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (int64_t m = 1; m <= 17; m += 16) {
            float *a = test_take(m * 512, sizeof *a);
            judge_product(types[t], m, 9, 512, BIAS, a, "matmul of zeros with blocks");
            for (int64_t i = 0; i < m * 512; i++)
                a[i] = (float)(lm_random_normal(&generator) * pow(10, (double)(i / 32 % 16) * 4 - 36));
            judge_product(types[t], m, 9, 512, 0, a, "matmul of extreme numbers with blocks");
            for (int64_t i = 0; i < m * 512; i++)
                a[i] = -0.3F;
            judge_product(types[t], m, 9, 512, 0, a, "matmul of equal numbers with blocks");
            test_give_back();
        }
}

/* What is not finite in row i of a makes row i of c NaN and nothing else. */
static void test_nan(void **state)
{
    (void)state;
    for (int index = -1; index < test_device_count(); index++) {
        struct lm_device *device = index < 0 ? test_plain() : test_device(index);
        for (int64_t m = 3; m <= 20; m += 17)
            for (int kind = 0; kind < 3; kind++) {
                float *a = test_floats(&generator, m * 256, 1), *c = test_take(m * 5, sizeof *c);
                a[1 * 256 + 77] = kind == 0 ? NAN : kind == 1 ? INFINITY : -INFINITY;
                struct lm_matmul work = {.m = m, .n = 5, .k = 256, .transpose_b = true, .a = test_matrix(a, 256),
                                         .b = {random_blocks(LM_Q8_0, 5 * 8), LM_Q8_0, 256}, .c = {c, LM_F32, 5}};
                lm_device_ops(device)->matmul(device, &work);
                for (int64_t i = 0; i < m * 5; i++)
                    if (isnan(c[i]) != (i / 5 == 1))
                        fail_msg("%s: m %ld: c[%ld] is %g", lm_device_name(device), (long)m, (long)i, (double)c[i]);
                test_give_back();
            }
    }
}

/* Rounding a to 8 bits costs no more than half a step in every product: the plain table against exact sums. */
static void test_rounding_of_a(void **state)
{
    (void)state;
    enum { N = 7, K = 512 };
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        float *a = test_floats(&generator, K, 1), *c = test_take(N, sizeof *c), *w = test_take(N * K, sizeof *w);
        unsigned char *blocks = random_blocks(types[t], N * K / lm_dtype_block_elements(types[t]));
        struct lm_matmul work = {.m = 1, .n = N, .k = K, .transpose_b = true, .a = test_matrix(a, K), .b = {blocks, types[t], K},
                                 .c = {c, LM_F32, N}};
        lm_device_ops(test_plain())->matmul(test_plain(), &work);
        assert_true(lm_convert(LM_F32, w, types[t], blocks, N * K));
        bool any = false;
        for (int j = 0; j < N; j++) {
            double exact = 0, bound = 0;
            for (int p = 0; p < K; p += 32) {
                double most = 0;
                for (int i = p; i < p + 32; i++)
                    most = fmax(most, fabs((double)a[i]));
                for (int i = p; i < p + 32; i++) {
                    exact += (double)a[i] * (double)w[j * K + i];
                    bound += most / 254 * 1.0001 * fabs((double)w[j * K + i]);
                }
            }
            if (!(fabs((double)c[j] - exact) <= bound + 1e-6 * fabs(exact)))
                fail_msg("%s: column %d: found %g, wanted %g within %g", lm_dtype_name(types[t]), j, (double)c[j], exact, bound);
            any = any || (double)c[j] != exact;
        }
        assert_true(any);
        test_give_back();
    }
}

struct lookup {
    struct lm_matrix table, positions_table;
    const int32_t *ids, *positions;
    int64_t width;
};

static void run_lookup(struct lm_device *device, const void *context, float *const *out)
{
    const struct lookup *l = context;
    lm_device_ops(device)->embed(device, 5, l->width, l->ids, l->table, l->positions, l->positions_table, out[0]);
}

static void test_embed(void **state)
{
    (void)state;
    enum { V = 11, C = 512 };
    static const int32_t ids[] = {3, 10, 0, 3, 7}, places[] = {0, 1, 2, 0, 1};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (int with = 0; with < 2; with++) {
            unsigned char *blocks = random_blocks(types[t], V * C / lm_dtype_block_elements(types[t]));
            const struct lookup lookup = {.table = {blocks, types[t], C}, .ids = ids, .positions = with ? places : NULL, .width = C,
                                          .positions_table = test_matrix(test_floats(&generator, 3 * C, 1), C)};
            test_judge(&(struct test_operation){.label = "embed", .run = run_lookup, .context = &lookup, .any_threads = true,
                                                .outputs = {{"out", 5 * C, NULL, with ? test_bound(5 * C, 0x1p-20) : NULL}}});
            test_give_back();
        }
}

/* What cannot be is said. */
static void test_refusals(void **state)
{
    (void)state;
    for (int index = 0; index < test_device_count(); index++) {
        struct lm_device *device = test_device(index);
        loam_error error;
        float *a = test_floats(&generator, 64 * 64, 1), *c = test_take(64 * 64, sizeof *c);
        struct lm_matmul work = {.m = 2, .n = 2, .k = 32, .a = test_matrix(a, 32), .b = {random_blocks(LM_Q8_0, 64), LM_Q8_0, 32},
                                 .c = {c, LM_F32, 2}};
        lm_device_ops(device)->matmul(device, &work);
        assert_fails(lm_device_check(device, &error), &error, LOAM_EUNSUPPORTED, "Q8_0");
        test_give_back();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products), cmocka_unit_test(test_large_products), cmocka_unit_test(test_extreme_products),
        cmocka_unit_test(test_nan),      cmocka_unit_test(test_rounding_of_a),  cmocka_unit_test(test_embed),
        cmocka_unit_test(test_refusals),
    };
    generator = lm_random_seed(17, 0);
    return cmocka_run_group_tests(tests, test_open_devices, test_close_devices);
}
