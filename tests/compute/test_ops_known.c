/* Numbers known from outside, which pin what a comparison of two tables of the same hand cannot: which way rotary pairs turn, where eps
 * stands, that a variance divides by the width. Worked out by hand or to 9 digits with a pocket calculator; the values of GELU
 * are those of the normal distribution's tables. And the device itself: opening, scratch memory, failures that stick.
 */
#include "compute/device.h"
#include "support/judge.h"

#include <math.h>

static void near(const char *what, float got, double want)
{
    double wanted[] = {want}, bound = test_rounding(1) * (fabs(want) + 0x1p-60);
    test_near(what, &got, wanted, bound, 1);
}

static void known_products(struct lm_device *device, const struct lm_ops *ops)
{
    float a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 0, -1, 2, 1, 0}, bias[] = {10, 20}, c[4] = {1, 1, 1, 1};
    ops->matmul(device, &(struct lm_matmul){.m = 2, .n = 2, .k = 3, .transpose_b = true, .add = true, .bias = bias,
                .a = test_matrix(a, 3), .b = test_matrix(b, 3), .c = test_matrix(c, 2)});
    static const float want[] = {9, 25, 9, 34};    /* rows of a times rows of b, + bias + 1 */
    assert_memory_equal(c, want, sizeof want);
    ops->matmul(device, &(struct lm_matmul){.m = 3, .n = 1, .k = 2, .transpose_a = true,
                .a = test_matrix(a, 3), .b = test_matrix(b, 1), .c = test_matrix(c, 1)});
    static const float columns[] = {1, 2, 3};      /* aT times (1, 0) */
    assert_memory_equal(c, columns, sizeof columns);
}

static void known_norms(struct lm_device *device, const struct lm_ops *ops)
{
    float x[] = {1, 2, 3, 6}, y[4], mean, rstd, one = 1;
    struct lm_matrix none = {0};
    ops->layer_norm(device, 1, 4, 0.5f, x, none, none, y, &mean, &rstd);
    near("mean", mean, 3);
    near("rstd", rstd, 0.5);                       /* variance 14/4 = 3.5, plus eps 0.5, is 4 */
    near("layer_norm", y[3], 1.5);
    ops->rms_norm(device, 1, 1, 4, 3.5f, x, 4, none, y, 4, &rstd);
    near("rms_norm", y[3], 6 / 4.0);               /* 50/4 = 12.5, plus eps 3.5, is 16 */
    ops->rms_norm(device, 1, 4, 1, 0, x, 4, test_matrix(&one, 1), y, 4, (float[4]){0});
    near("rms_norm of groups of one", y[2], 1);
}

static void known_rotation(struct lm_device *device, const struct lm_ops *ops)
{
    float angles[4], frequency[] = {1, 0.01f}, x[] = {1, 0, 0, 1};
    ops->rope_angles(device, 1, 2, (int32_t[]){2}, frequency, 1, angles);
    near("cos 2", angles[0], -0.416146836547);
    near("sin 2", angles[1], 0.909297426826);
    near("cos 0.02", angles[2], 0.999800006667);
    ops->rope(device, 1, 1, 4, x, 4, angles, false);
    near("first of a pair", x[0], -0.416146836547);
    near("and its partner half a head on", x[2], 0.909297426826);
    near("minus sine of the partner", x[1], -0.0199986665);
    ops->rope(device, 1, 1, 4, x, 4, angles, true);
    double back[] = {1, 0, 0, 1};
    test_near("turned back", x, back, test_rounding(1), 4);
}

static void known_activations(struct lm_device *device, const struct lm_ops *ops)
{
    float x[] = {1, -1, 2}, y[3], gate_up[] = {1, 3};
    ops->gelu(device, 3, false, x, y);
    near("gelu(1)", y[0], 0.841344746069);
    near("gelu(-1)", y[1], -0.158655253931);
    ops->gelu(device, 3, true, x, y);
    near("gelu(1), tanh form", y[0], 0.841191990608);
    near("gelu(2), tanh form", y[2], 1.954597694087);
    ops->swiglu(device, 1, 1, gate_up, y);
    near("silu(1) * 3", y[0], 3 * 0.731058578630);
}

/* Three keys with scores 0, log 2 and log 3 have shares 1/6, 2/6, 3/6; the first query sees the first key only. */
static void known_attention(struct lm_device *device, const struct lm_ops *ops)
{
    float q[] = {2, 2, 2}, k[] = {0, 0.693147181f, 1.098612289f}, v[] = {6, 12, 18}, out[3], lse[3], weights[9];
    struct lm_attention work = {.batch = 1, .t_q = 3, .t_k = 3, .heads = 1, .kv_heads = 1, .head_size = 1, .scale = 0.5f,
                                .q = q, .q_stride = 1, .k = k, .v = v, .kv_stride = 1, .kv_batch_stride = 3, .out = out,
                                .out_stride = 1, .lse = lse};
    ops->attention(device, &work);
    near("first row", out[0], 6);
    near("second row", out[1], 6 / 3.0 + 12 * 2 / 3.0);
    near("third row", out[2], 1 + 4 + 9);
    near("log of 6", lse[2], 1.791759469228);
    ops->attention_weights(device, &work, weights);
    for (int i = 0; i < 9; i++)
        near("weight", weights[i], i % 3 > i / 3 ? 0 : (i % 3 + 1) / (double[]){1, 3, 6}[i / 3]);
    work.window = 2;
    ops->attention(device, &work);
    near("a window of two", out[2], 12 * 0.4 + 18 * 0.6);
    work.window = 0;
    work.segment_start = (int32_t[]){0, 1, 1};
    ops->attention(device, &work);
    near("alone in its segment", out[1], 12);
    ops->attention_weights(device, &work, weights);
    near("it looks at itself alone", weights[4], 1);
    near("and not over the segment's begin", weights[3], 0);
}

static void known_losses(struct lm_device *device, const struct lm_ops *ops)
{
    float logits[] = {0, 0, 0, 0, 5, 5}, loss[2];
    int32_t targets[] = {3, -1};
    ops->cross_entropy(device, 1, 4, logits, 6, targets, 2, true, loss);
    near("log 4", loss[0], 1.386294361120);
    near("2 * 1/4", logits[0], 0.5);
    near("2 * (1/4 - 1)", logits[3], -1.5);
    near("behind the columns", logits[4], 5);
    ops->cross_entropy(device, 1, 4, logits, 6, targets + 1, 2, true, loss);
    assert_true(loss[0] == 0 && logits[0] == 0 && logits[3] == 0 && logits[4] == 5);
    float x[] = {3, 4};
    assert_true(ops->sum_squares(device, 2, LM_F32, x) == 25);
}

/* After one step from m = v = 0 the update is lr * g / (|g| + eps), whatever the betas. */
static void known_optimizer(struct lm_device *device, const struct lm_ops *ops)
{
    float p = 1, g = 4, m = 0, v = 0;
    uint16_t rounded = 0;
    ops->adamw(device, &(struct lm_adamw){.count = 1, .step = 1, .lr = 0.125, .beta1 = 0.9, .beta2 = 0.999, .eps = 2, .decay = 0.5,
               .grad_scale = 0.5, .parameter = &p, .rounded = &rounded, .gradient = &g, .m = &m, .v = &v});
    near("m", m, 0.2);
    near("v", v, 0.004);
    near("parameter", p, 1 - 0.0625 - 0.125 * 2 / (2 + 2));    /* decayed by lr * decay, g = 2 */
    assert_int_equal(rounded, 0x3f60);                          /* 0.875 */
}

static void test_known(void **state)
{
    (void)state;
    static void (*const checks[])(struct lm_device *, const struct lm_ops *) = {
        known_products, known_norms, known_rotation, known_activations, known_attention, known_losses, known_optimizer,
    };
    for (size_t c = 0; c < sizeof checks / sizeof *checks; c++)
        for (int d = -1; d < test_device_count(); d++) {
            struct lm_device *device = d < 0 ? test_plain() : test_device(d);
            loam_error error;
            checks[c](device, lm_device_ops(device));
            assert_ok(lm_device_check(device, &error), &error);
        }
}

static void test_opening(void **state)
{
    (void)state;
    loam_error error;
    struct lm_device *device = NULL;
    assert_fails(lm_device_open(&(struct lm_device_options){.threads = -1}, &device, &error), &error, LOAM_EUSAGE, "threads",
                 "-1");
    assert_fails(lm_device_open(&(struct lm_device_options){.threads = 5000}, &device, &error), &error, LOAM_EUSAGE, "5000");
    assert_fails(lm_device_open(&(struct lm_device_options){.isa = (enum lm_isa)77}, &device, &error), &error, LOAM_EUSAGE, "77");
    assert_null(device);
    assert_ok(lm_device_open(&(struct lm_device_options){0}, &device, &error), &error);
    assert_int_equal(lm_device_threads(device), lm_processors());
    assert_non_null(strstr(lm_device_name(device), "thread"));
    assert_int_equal(lm_device_check(device, NULL), LOAM_OK);
    lm_device_close(device);
    lm_device_close(NULL);
}

static void test_opening_without_memory(void **state)
{
    (void)state;
    for (int64_t n = 1;; n++) {
        loam_error error;
        struct lm_device *device = NULL;
        lm_memory_fail_after(n);
        int code = lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error);
        lm_memory_fail_after(-1);
        if (code == LOAM_OK) {
            lm_device_close(device);
            assert_true(n > 1);
            return;
        }
        assert_int_equal(code, LOAM_ENOMEM);
        assert_null(device);
    }
}

/* The given block serves as far as it reaches; then the device takes one of its own, and keeps it. */
static void test_scratch(void **state)
{
    (void)state;
    loam_error error;
    struct lm_device *device;
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    static char block[1000];
    lm_device_give_scratch(device, block + 1, sizeof block - 1);
    char *first = lm_device_scratch(device, 500);
    assert_true(first >= block + 1 && first + 500 <= block + sizeof block && (uintptr_t)first % LM_ALIGN == 0);
    char *large = lm_device_scratch(device, 5000);
    assert_true((uintptr_t)large % LM_ALIGN == 0);
    memset(large, 1, 5000);
    assert_ptr_equal(lm_device_scratch(device, 4000), large);
    assert_ptr_equal(lm_device_scratch(device, 500), first);
    assert_non_null(lm_device_scratch(device, 0));
    lm_device_give_scratch(device, NULL, 0);
    assert_ptr_equal(lm_device_scratch(device, 500), large);
    assert_ok(lm_device_check(device, &error), &error);
    assert_null(lm_device_scratch(device, SIZE_MAX - 10));
    assert_fails(lm_device_check(device, &error), &error, LOAM_ENOMEM, "scratch", lm_device_name(device));
    lm_device_close(device);
}

/* Only the first failure is kept, and it is told once. An operation that cannot get its scratch leaves its result alone. */
static void test_failures_stick(void **state)
{
    (void)state;
    loam_error error;
    struct lm_device *device;
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1, .reference = true}, &device, &error), &error);
    lm_device_fail(device, LOAM_ENUMERIC, "the %s", "first");
    lm_device_fail(device, LOAM_EIO, "the second");
    assert_fails(lm_device_check(device, &error), &error, LOAM_ENUMERIC, "reference", "the first");
    assert_int_equal(lm_device_check(device, NULL), LOAM_OK);
    float one = 1, out = 7;
    struct lm_attention work = {.batch = 1, .t_q = 1, .t_k = 1, .heads = 1, .kv_heads = 1, .head_size = 1, .scale = 1, .q = &one,
                                .q_stride = 1, .k = &one, .v = &one, .kv_stride = 1, .kv_batch_stride = 1, .out = &out,
                                .out_stride = 1};
    lm_memory_fail_after(1);
    lm_device_ops(device)->attention(device, &work);
    lm_memory_fail_after(-1);
    assert_true(out == 7);
    assert_fails(lm_device_check(device, &error), &error, LOAM_ENOMEM, "scratch");
    lm_device_close(device);
    for (int d = 0; d < test_device_count(); d++) {
        lm_device_ops(test_device(d))->convert(test_device(d), 1, LM_I32, &one, LM_F32, &out);
        assert_fails(lm_device_check(test_device(d), &error), &error, LOAM_EUNSUPPORTED, "I32", "F32");
        assert_true(out == 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known), cmocka_unit_test(test_opening), cmocka_unit_test(test_opening_without_memory),
        cmocka_unit_test(test_scratch), cmocka_unit_test(test_failures_stick),
    };
    return cmocka_run_group_tests(tests, test_open_devices, test_close_devices);
}
