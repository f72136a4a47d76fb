/* Matrix products of every table against the plain one.
 *
 * Bound of an element: rounding(k + 2) times the sum of |a||b| over its k terms (+ |bias| + |c|), which the plain table computes
 * from absolute values; where c is BF16, 2^-7 of the result more (two roundings of half a unit, 2^-8 each); and k of the
 * smallest fp32 numbers, for products below their range. With `narrow`, a and b hold numbers that bf16 has, so that rounding them
 * changes nothing, and k of the smallest normal numbers come on top, since subnormal ones may count as 0.
 */
#include "compute/device.h"
#include "support/judge.h"

#include <math.h>

static struct lm_random generator;

struct product {
    struct lm_matmul work;
    int64_t a_count, b_count, c_count;
};

enum { A_BF16 = 1, B_BF16 = 2, C_BF16 = 4, TRANSPOSE_A = 8, TRANSPOSE_B = 16, ADD = 32, BIAS = 64, GAPS = 128, NARROW = 256 };

/* c goes through a copy, so that it comes out as fp32 whatever its type. */
static void run_product(struct lm_device *device, const void *context, float *const *out)
{
    const struct product *p = context;
    struct lm_matmul work = p->work;
    uint16_t *rounded = NULL;
    work.c.data = out[0];
    if (work.c.dtype == LM_BF16)
        work.c.data = rounded = test_matrix_bf16(out[0], p->c_count, work.c.stride).data;
    lm_device_ops(device)->matmul(device, &work);
    for (int64_t i = 0; i < p->c_count && rounded; i++)
        out[0][i] = lm_bf16_to_f32(rounded[i]);
}

static struct lm_matrix with_type(const float *x, int64_t count, int64_t stride, bool bf16)
{
    return bf16 ? test_matrix_bf16(x, count, stride) : test_matrix(x, stride);
}

static float *absolute(const float *x, int64_t count)
{
    float *y = test_take(count, sizeof *y);
    for (int64_t i = 0; i < count; i++)
        y[i] = fabsf(x[i]);
    return y;
}

static float *to_bf16(const float *x, int64_t count)
{
    float *y = test_take(count, sizeof *y);
    for (int64_t i = 0; i < count; i++)
        y[i] = lm_bf16_to_f32(lm_f32_to_bf16(x[i]));
    return y;
}

static void judge_product(const char *label, int64_t m, int64_t n, int64_t k, int how, const float *a, const float *b,
                          const float *bias, const float *c)
{
    int64_t gap = how & GAPS ? 3 : 0;
    int64_t a_rows = how & TRANSPOSE_A ? k : m, a_stride = (how & TRANSPOSE_A ? m : k) + gap;
    int64_t b_rows = how & TRANSPOSE_B ? n : k, b_stride = (how & TRANSPOSE_B ? k : n) + gap, c_stride = n + gap;
    struct product p = {.a_count = a_rows * a_stride, .b_count = b_rows * b_stride, .c_count = m * c_stride};
    if (how & NARROW)
        a = to_bf16(a, p.a_count), b = to_bf16(b, p.b_count);
    p.work = (struct lm_matmul){.m = m, .n = n, .k = k, .transpose_a = how & TRANSPOSE_A, .add = how & ADD, .narrow = how & NARROW,
                                .transpose_b = how & TRANSPOSE_B, .bias = how & BIAS ? bias : NULL,
                                .a = with_type(a, p.a_count, a_stride, how & A_BF16),
                                .b = with_type(b, p.b_count, b_stride, how & B_BF16),
                                .c = {.dtype = how & C_BF16 ? LM_BF16 : LM_F32, .stride = c_stride}};
    float *value = test_to_floats(test_to_doubles(c, p.c_count), p.c_count);
    float *size = absolute(c, p.c_count);
    struct lm_matmul sizes = p.work;
    sizes.a = with_type(absolute(a, p.a_count), p.a_count, a_stride, how & A_BF16);
    sizes.b = with_type(absolute(b, p.b_count), p.b_count, b_stride, how & B_BF16);
    sizes.bias = sizes.bias ? absolute(bias, n) : NULL;
    sizes.c = test_matrix(size, c_stride);
    lm_device_ops(test_plain())->matmul(test_plain(), &sizes);
    run_product(test_plain(), &p, &value);
    double *bound = test_take(p.c_count, sizeof *bound);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            int64_t at = i * c_stride + j;
            bound[at] = test_rounding(k + 2) * (double)size[at] + (double)k * 0x1p-149;
            bound[at] += how & NARROW ? (double)k * 0x1p-126 : 0;
            bound[at] += how & C_BF16 ? 0x1p-7 * fabs((double)value[at]) : 0;
        }
    float *before = how & C_BF16 ? test_take(p.c_count, sizeof *before) : (float *)c;
    for (int64_t i = 0; i < p.c_count && how & C_BF16; i++)
        before[i] = lm_bf16_to_f32(lm_f32_to_bf16(c[i]));
    test_judge(&(struct test_operation){.label = label, .run = run_product, .context = &p,
                                        .outputs = {{"c", p.c_count, before, bound}}});
}

static void random_product(int64_t m, int64_t n, int64_t k, int how)
{
    char label[120];
    snprintf(label, sizeof label, "matmul %ldx%ldx%ld%s%s%s%s%s%s%s%s%s", (long)m, (long)n, (long)k,
             how & A_BF16 ? " a:bf16" : "", how & B_BF16 ? " b:bf16" : "", how & C_BF16 ? " c:bf16" : "",
             how & TRANSPOSE_A ? " aT" : "", how & TRANSPOSE_B ? " bT" : "", how & ADD ? " add" : "",
             how & BIAS ? " bias" : "", how & GAPS ? " gaps" : "", how & NARROW ? " narrow" : "");
    judge_product(label, m, n, k, how, test_floats(&generator, (m + 3) * (k + 3), 1),
                  test_floats(&generator, (n + 3) * (k + 3), 1), test_floats(&generator, n, 1),
                  test_floats(&generator, m * (n + 3), 1));
    test_give_back();
}

/* The decoding path: few rows, weights as a linear layer stores them. */
static void test_few_rows(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{1, 1}, {3, 5}, {17, 33}, {67, 31}, {130, 129}, {64, 256}, {33, 515}};
    for (int64_t m = 1; m <= 17; m++) {
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            int extra = (int)((m + (int64_t)s) % 4);
            random_product(m, sizes[s][0], sizes[s][1], TRANSPOSE_B | (extra & 1 ? BIAS : 0) | (extra & 2 ? ADD : 0));
            random_product(m, sizes[s][0], sizes[s][1], TRANSPOSE_B | B_BF16 | (extra & 1 ? 0 : BIAS) |
                           (extra == 3 ? GAPS : 0));
        }
    }
}

static void test_every_form(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1}, {2, 3, 1}, {5, 7, 11}, {33, 17, 29}, {65, 31, 70}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int how = 0; how < 256; how++)
            if (s < 3 || how % 3 == (int)s % 3)
                random_product(sizes[s][0], sizes[s][1], sizes[s][2], how);
}

/* Two neighbours along k are taken at once: odd and even sums, one and several pieces of k, more columns and rows than a block has. */
static void test_narrow(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1}, {2, 3, 1}, {5, 7, 11}, {17, 33, 2}, {33, 17, 29}, {30, 70, 64}, {29, 31, 545}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int how = 0; how < 256; how++)
            if (s < 3 || how % 5 == (int)s % 5)
                random_product(sizes[s][0], sizes[s][1], sizes[s][2], how | NARROW);
    for (int how = 0; how < 32; how += 4)
        random_product(180, 36, 2203, how | NARROW | (how & TRANSPOSE_A ? ADD : 0));
    random_product(3, 1100, 35, TRANSPOSE_A | NARROW | C_BF16 | ADD);
}

/* What a device does with numbers that bf16 does not have: it takes them as they are, or as if they had been rounded before. */
static void test_narrow_rounds(void **state)
{
    (void)state;
    enum { M = 37, N = 45, K = 131 };
    const float *a = test_floats(&generator, M * K, 1), *b = test_floats(&generator, N * K, 1);
    const float *inputs[2][2] = {{a, b}, {to_bf16(a, M * K), to_bf16(b, N * K)}};
    for (int i = 0; i < test_device_count(); i++)
        for (int how = 0; how < 4; how++) {
            loam_error error;
            struct lm_device *device;
            struct lm_device_options options = test_device_options(i);
            assert_ok(lm_device_open(&options, &device, &error), &error);
            float *out[2][2];
            for (int rounded = 0; rounded < 2; rounded++)
                for (int narrow = 0; narrow < 2; narrow++) {
                    out[rounded][narrow] = test_take(M * N, sizeof(float));
                    const struct lm_matmul work = {.m = M, .n = N, .k = K, .transpose_a = how & 1, .transpose_b = how & 2, .narrow = narrow,
                                                   .a = test_matrix(inputs[rounded][0], how & 1 ? M : K),
                                                   .b = test_matrix(inputs[rounded][1], how & 2 ? K : N),
                                                   .c = test_matrix(out[rounded][narrow], N)};
                    lm_device_ops(device)->matmul(device, &work);
                }
            assert_ok(lm_device_check(device, &error), &error);
            const bool rounds = strcmp(lm_device_isa(device), "avx512bf16") == 0;
            assert_memory_equal(out[0][1], out[rounds][rounds], M * N * sizeof(float));
            assert_memory_not_equal(out[0][0], out[1][1], M * N * sizeof(float));
            lm_device_close(device);
        }
    test_give_back();
}

static void test_extreme_products(void **state)
{
    (void)state;
    enum { M = 6, N = 19, K = 37 };
    static const float spreads[] = {1e-39f, 1e-20f, 1e15f};
    for (size_t s = 0; s < sizeof spreads / sizeof *spreads; s++) {
        for (int how = 0; how <= TRANSPOSE_B; how += TRANSPOSE_B) {
            float *a = test_floats(&generator, M * K, (double)spreads[s]), *b = test_floats(&generator, N * K, 1);
            judge_product("matmul of extreme numbers", M, N, K, how, a, b, NULL, test_take(M * N, sizeof(float)));
            judge_product("matmul of rows of equal values", M, N, K, how, test_to_floats(test_bound(M * K, 3), M * K),
                          test_to_floats(test_bound(N * K, -0.1), N * K), NULL, test_take(M * N, sizeof(float)));
            test_give_back();
        }
    }
}

/* A NaN in row i of a makes row i of c NaN and nothing else; likewise a row of b and a column of c. What stood in c is not looked
 * at unless it is added to. */
static void test_nan_in_products(void **state)
{
    (void)state;
    enum { N = 21, K = 35 };
    for (int64_t m = 1; m <= 20; m += 6) {
        for (int form = 0; form < 3; form++) {
            const bool bf16 = form == 1;
            float *a = test_floats(&generator, m * K, 1), *b = test_floats(&generator, N * K, 1);
            float *c = test_take(m * N, sizeof *c);
            a[(m - 1) * K + 34] = NAN;
            b[7 * K + 3] = INFINITY;
            b[20 * K] = NAN;
            for (int64_t i = 0; i < m * N; i++)
                c[i] = NAN;
            double *bound = test_bound(m * N, test_rounding(K) * K * 20);
            struct product p = {.c_count = m * N};
            if (form == 2)
                for (int64_t i = 0; i < m * K || i < N * K; i++) {
                    if (i < m * K)
                        a[i] = lm_bf16_to_f32(lm_f32_to_bf16(a[i]));
                    if (i < N * K)
                        b[i] = lm_bf16_to_f32(lm_f32_to_bf16(b[i]));
                }
            p.work = (struct lm_matmul){.m = m, .n = N, .k = K, .transpose_b = true, .narrow = form == 2, .a = test_matrix(a, K),
                                        .b = with_type(b, N * K, K, bf16), .c = {.dtype = LM_F32, .stride = N}};
            test_judge(&(struct test_operation){.label = "matmul with NaN", .run = run_product, .context = &p,
                                                .outputs = {{"c", m * N, c, bound}}});
            test_give_back();
        }
    }
}

/* Given as much scratch as the device asked for, an operation takes none of its own. */
static void test_scratch(void **state)
{
    (void)state;
    enum { M = 40, N = 50, K = 60 };
    for (int i = 0; i < test_device_count(); i++) {
        for (int how = 0; how < 8; how++) {
            int64_t m = how & 4 ? 3 : M;
            loam_error error;
            struct lm_device *device;
            struct lm_device_options options = test_device_options(i);
            assert_ok(lm_device_open(&options, &device, &error), &error);
            float *a = test_floats(&generator, m * K, 1), *b = test_floats(&generator, N * K, 1);
            struct lm_matmul work = {.m = m, .n = N, .k = K, .transpose_a = how & 1, .transpose_b = how & 2,
                                     .a = test_matrix(a, how & 1 ? m : K), .b = test_matrix_bf16(b, N * K, how & 2 ? K : N),
                                     .c = test_matrix(test_take(m * N, sizeof(float)), N)};
            size_t bytes = lm_device_ops(device)->matmul_scratch(device, &work);
            lm_device_give_scratch(device, test_take((int64_t)bytes + LM_ALIGN, 1), bytes + LM_ALIGN);
            lm_device_ops(device)->matmul(device, &work);
            assert_ok(lm_device_check(device, &error), &error);
            assert_int_equal(device->own_bytes, 0);
            lm_device_close(device);
            test_give_back();
        }
    }
}

static int open_devices(void **state)
{
    generator = lm_random_seed(20260103, 0);
    return test_open_devices(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_rows), cmocka_unit_test(test_every_form), cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_narrow_rounds), cmocka_unit_test(test_extreme_products),
        cmocka_unit_test(test_nan_in_products), cmocka_unit_test(test_scratch),
    };
    return cmocka_run_group_tests(tests, open_devices, test_close_devices);
}
