/* Operations on single elements, sums of squares and the optimizer of every table against the plain one. */
#include "support/judge.h"

#include <math.h>

static struct lm_random generator;

/* Numbers of every size, signs and zeros, the edges of exp and tanh in fp32; then random ones. NaN in place 20. */
static float *make_numbers(int64_t count)
{
    static const float edges[] = {0, -0.0f, 1e-45f, -1e-45f, 1e-39f, -1e-39f, 1e-20f, -1e-20f, 1, -1, 5.5f, -5.5f, 9.1f, -9.1f,
                                  13.5f, -13.5f, 87.5f, -87.5f, 89.5f, -89.5f, NAN, 104, -104, 1e4f, -1e4f, 1e15f, -1e15f, 1e30f,
                                  -1e30f};
    int64_t edge_count = (int64_t)(sizeof edges / sizeof *edges);
    float *x = test_floats(&generator, count, 3);
    for (int64_t i = 0; i < count && i < edge_count; i++)
        x[i] = edges[i];
    return x;
}

struct elements {
    int64_t rows, width, count;
    bool tanh_form, in_place, over_x;
    float factor;
    const float *x, *dy;
};

static void run_gelu(struct lm_device *device, const void *context, float *const *out)
{
    const struct elements *e = context;
    lm_device_ops(device)->gelu(device, e->count, e->tanh_form, e->x, out[0]);
}

static void run_gelu_backward(struct lm_device *device, const void *context, float *const *out)
{
    const struct elements *e = context;
    const float *x = e->x, *dy = e->dy;
    if (e->in_place && e->over_x)
        x = memcpy(out[0], e->x, (size_t)e->count * sizeof *e->x);
    else if (e->in_place)
        dy = memcpy(out[0], e->dy, (size_t)e->count * sizeof *e->dy);
    lm_device_ops(device)->gelu_backward(device, e->count, e->tanh_form, x, dy, out[0]);
}

static void run_swiglu(struct lm_device *device, const void *context, float *const *out)
{
    const struct elements *e = context;
    lm_device_ops(device)->swiglu(device, e->rows, e->width, e->x, out[0]);
}

static void run_swiglu_backward(struct lm_device *device, const void *context, float *const *out)
{
    const struct elements *e = context;
    const float *x = e->x;
    if (e->in_place)
        x = memcpy(out[0], e->x, (size_t)(2 * e->count) * sizeof *e->x);
    lm_device_ops(device)->swiglu_backward(device, e->rows, e->width, x, e->dy, out[0]);
}

/* act(x) = x * share(x) with a share between 0 and 1 that is off by a few u, absolutely; its slope by a few u * (1 + |x|), and
 * for |x| beyond 20 share is 0 or 1 and slope 0 in every form. */
static void test_gelu(void **state)
{
    (void)state;
    for (int64_t count = 1; count < 2000; count = count * 2 + 1) {
        for (int tanh_form = 0; tanh_form < 2; tanh_form++) {
            struct elements e = {.count = count, .tanh_form = tanh_form, .x = make_numbers(count),
                                 .dy = test_floats(&generator, count, 1)};
            double *bound = test_take(count, sizeof *bound), *slope_bound = test_take(count, sizeof *slope_bound);
            for (int64_t i = 0; i < count; i++) {
                bound[i] = test_rounding(1) * fabs((double)e.x[i]) + 0x1p-149;
                slope_bound[i] = test_rounding(1) * fabs((double)e.dy[i]) * (1 + fmin(fabs((double)e.x[i]), 20)) + 0x1p-149;
            }
            test_judge(&(struct test_operation){tanh_form ? "gelu tanh" : "gelu erf", run_gelu, &e, true,
                       {{"y", count, NULL, bound}}});
            for (int form = 0; form < 3; form++) {
                e.in_place = form > 0;
                e.over_x = form > 1;
                test_judge(&(struct test_operation){tanh_form ? "gelu_backward tanh" : "gelu_backward erf",
                           run_gelu_backward, &e, true, {{"dx", count, NULL, slope_bound}}});
            }
            test_give_back();
        }
    }
}

static void test_swiglu(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{1, 1}, {3, 5}, {2, 17}, {7, 64}, {4, 131}, {33, 32}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int64_t rows = shapes[s][0], width = shapes[s][1], count = rows * width;
        struct elements e = {.rows = rows, .width = width, .count = count, .x = make_numbers(2 * count),
                             .dy = test_floats(&generator, count, 1)};
        double *bound = test_take(count, sizeof *bound), *slope_bound = test_take(2 * count, sizeof *slope_bound);
        for (int64_t i = 0; i < count; i++) {
            int64_t gate = i / width * 2 * width + i % width, up = gate + width;
            double g = fabs((double)e.x[gate]), u = fabs((double)e.x[up]), dy = fabs((double)e.dy[i]);
            bound[i] = test_rounding(1) * g * u + 0x1p-149 * (1 + g + u);
            slope_bound[gate] = test_rounding(1) * dy * u * (1 + fmin(g, 20)) + 0x1p-149 * (1 + u);
            slope_bound[up] = test_rounding(1) * dy * g + 0x1p-149;
        }
        test_judge(&(struct test_operation){"swiglu", run_swiglu, &e, true, {{"y", count, NULL, bound}}});
        for (int in_place = 0; in_place < 2; in_place++) {
            e.in_place = in_place;
            test_judge(&(struct test_operation){"swiglu_backward", run_swiglu_backward, &e, true,
                       {{"d_gate_up", 2 * count, NULL, slope_bound}}});
        }
        test_give_back();
    }
}

static void run_simple(struct lm_device *device, const void *context, float *const *out)
{
    const struct elements *e = context;
    lm_device_ops(device)->add(device, e->count, e->x, out[0]);
    lm_device_ops(device)->scale(device, e->count, e->factor, out[1]);
    lm_device_ops(device)->fill(device, e->count, e->factor, out[2]);
}

/* One rounding each: the same bits everywhere. */
static void test_simple(void **state)
{
    (void)state;
    for (int64_t count = 1; count < 5000; count = count * 2 + 1) {
        float *numbers = make_numbers(count);
        for (int64_t i = 20; i < count && i < 21; i++)
            numbers[i] = 7;    /* a NaN's payload is nobody's business */
        struct elements e = {.count = count, .factor = -1.7f, .x = numbers};
        test_judge(&(struct test_operation){"add, scale, fill", run_simple, &e, true,
                   {{"y += x", count, test_floats(&generator, count, 1), NULL}, {"y *= factor", count, numbers, NULL},
                    {"y = value", count, numbers, NULL}}});
        test_give_back();
    }
}

/* Every bf16 and fp16 number to fp32, and from fp32 numbers next to and between them, ties among them. NaN stays NaN. */
static void test_convert(void **state)
{
    (void)state;
    enum { ALL = 65536, STEPS = 5 };
    static const enum lm_dtype types[] = {LM_BF16, LM_F16};
    for (int type = 0; type < 2; type++) {
        uint16_t *bits = test_take(ALL, sizeof *bits), *want = test_take(ALL * STEPS, sizeof *want);
        uint16_t *got = test_take(ALL * STEPS, sizeof *got);
        float *x = test_take(ALL * STEPS, sizeof *x), *wide = test_take(ALL, sizeof *wide);
        for (uint32_t i = 0; i < ALL; i++) {
            static const uint32_t steps[][STEPS] = {{0, 0x7fff, 0x8000, 0x8001, 0xffff}, {0, 0xfff, 0x1000, 0x1001, 0x1fff}};
            bits[i] = (uint16_t)i;
            float start = type ? lm_f16_to_f32(bits[i]) : lm_bf16_to_f32(bits[i]);
            for (int s = 0; s < STEPS; s++) {
                uint32_t word;
                memcpy(&word, &start, sizeof word);
                word += steps[type][s];
                memcpy(&x[i * STEPS + s], &word, sizeof word);
                want[i * STEPS + s] = type ? lm_f32_to_f16(x[i * STEPS + s]) : lm_f32_to_bf16(x[i * STEPS + s]);
            }
        }
        for (int d = 0; d < test_device_count(); d++) {
            const struct lm_ops *ops = lm_device_ops(test_device(d));
            ops->convert(test_device(d), ALL, types[type], bits, LM_F32, wide);
            ops->convert(test_device(d), ALL * STEPS, LM_F32, x, types[type], got);
            for (int i = 0; i < ALL; i++) {
                float one = type ? lm_f16_to_f32(bits[i]) : lm_bf16_to_f32(bits[i]);
                assert_true(isnan(one) ? isnan(wide[i]) : memcmp(&one, &wide[i], sizeof one) == 0);
            }
            for (int i = 0; i < ALL * STEPS; i++) {
                float back = type ? lm_f16_to_f32(got[i]) : lm_bf16_to_f32(got[i]);
                if (isnan(x[i]) ? !isnan(back) : got[i] != want[i])
                    fail_msg("convert %a on %s: found %04x, wanted %04x", (double)x[i], lm_device_name(test_device(d)),
                             got[i], want[i]);
            }
            float *copy = test_take(ALL, sizeof *copy);
            ops->convert(test_device(d), ALL, LM_F32, x, LM_F32, copy);
            test_same("convert F32 to F32", copy, x, ALL, sizeof *copy);
            loam_error error;
            assert_ok(lm_device_check(test_device(d), &error), &error);
        }
        test_give_back();
    }
}

/* Squares of fp32 numbers are exact in double; n of them are off by at most n * 2^-53 of their sum. The same bits on any number
 * of threads. */
static void test_sum_squares(void **state)
{
    (void)state;
    static const double spreads[] = {1, 1e30, 1e-40};
    for (int64_t count = 1; count < 300000; count = count * 3 + 1) {
        for (size_t s = 0; s < sizeof spreads / sizeof *spreads; s++) {
            float *x = test_floats(&generator, count, spreads[s]);
            double want = lm_device_ops(test_plain())->sum_squares(test_plain(), count, LM_F32, x), seen[LM_ISA_COUNT];
            bool any[LM_ISA_COUNT] = {false};
            for (int d = 0; d < test_device_count(); d++) {
                double got = lm_device_ops(test_device(d))->sum_squares(test_device(d), count, LM_F32, x);
                enum lm_isa isa = test_device_options(d).isa;
                seen[isa] = any[isa] ? seen[isa] : got;
                any[isa] = true;
                assert_memory_equal(&got, &seen[isa], sizeof got);
                if (!(fabs(got - want) <= (double)count * 0x1p-53 * want))
                    fail_msg("sum_squares of %ld on %s: found %.17g, wanted %.17g", (long)count,
                             lm_device_name(test_device(d)), got, want);
            }
            for (int d = 0; d < test_device_count(); d++) {
                x[count / 2] = INFINITY;
                assert_true(isinf(lm_device_ops(test_device(d))->sum_squares(test_device(d), count, LM_F32, x)));
                x[count - 1] = NAN;
                assert_true(isnan(lm_device_ops(test_device(d))->sum_squares(test_device(d), count, LM_F32, x)));
                x[count - 1] = 0;
            }
            test_give_back();
        }
    }
    for (int d = 0; d < test_device_count(); d++)
        assert_true(lm_device_ops(test_device(d))->sum_squares(test_device(d), 0, LM_F32, NULL) == 0);
}

struct optimizer {
    struct lm_adamw work;
    bool round;
};

static void run_adamw(struct lm_device *device, const void *context, float *const *out)
{
    const struct optimizer *o = context;
    struct lm_adamw work = o->work;
    uint16_t *rounded = o->round ? test_take(work.count, sizeof *rounded) : NULL;
    work.parameter = out[0];
    work.m = out[1];
    work.v = out[2];
    work.rounded = rounded;
    lm_device_ops(device)->adamw(device, &work);
    for (int64_t i = 0; i < work.count && rounded; i++)
        if (!isnan(out[0][i]) && rounded[i] != lm_f32_to_bf16(out[0][i]))
            fail_msg("adamw on %s: rounded[%ld] is not the rounded parameter", lm_device_name(device), (long)i);
}

/* m and v are off by a few u of the terms they are made of; p by a few u of itself and by the learning rate times the error of
 * m / (sqrt(v) + eps), whose relative error is that of m where m cancels. */
static void check_adamw(int64_t count, int64_t step, double lr, double decay, double gradient_size, bool round)
{
    float *p = test_floats(&generator, count, 1), *g = test_floats(&generator, count, gradient_size);
    float *m = test_floats(&generator, count, gradient_size), *v = test_take(count, sizeof *v);
    for (int64_t i = 0; i < count; i++)
        v[i] = (float)fmin(pow(gradient_size * lm_random_normal(&generator), 2), 1e37);
    if (step == 1)
        for (int64_t i = 0; i < count; i++)
            m[i] = v[i] = 0;
    if (count > 4)
        g[3] = NAN, g[4] = 0;
    struct optimizer o = {{.count = count, .step = step, .lr = lr, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = decay,
                           .grad_scale = 0.37, .gradient = g}, round};
    double r = test_rounding(1), correction1 = 1 - pow(0.9, (double)step), correction2 = 1 - pow(0.999, (double)step);
    double *p_bound = test_take(count, sizeof *p_bound), *m_bound = test_take(count, sizeof *m_bound);
    double *v_bound = test_take(count, sizeof *v_bound);
    for (int64_t i = 0; i < count; i++) {
        double scaled = 0.37 * (double)g[i], m_terms = 0.9 * fabs((double)m[i]) + 0.1 * fabs(scaled);
        double v_new = 0.999 * (double)v[i] + 0.001 * scaled * scaled;
        m_bound[i] = r * m_terms + 0x1p-148;
        v_bound[i] = r * v_new + 0x1p-148;
        double root = sqrt(fmax(v_new - v_bound[i], 0) / correction2) + 1e-8;
        p_bound[i] = r * fabs((double)p[i]) + lr / correction1 * (2 * r * m_terms + 0x1p-148) / root;
    }
    char label[100];
    snprintf(label, sizeof label, "adamw %ld step %ld lr %g decay %g gradients %g", (long)count, (long)step, lr, decay,
             gradient_size);
    test_judge(&(struct test_operation){label, run_adamw, &o, true,
               {{"parameter", count, p, p_bound}, {"m", count, m, m_bound}, {"v", count, v, v_bound}}});
    test_give_back();
}

static void test_adamw(void **state)
{
    (void)state;
    static const double sizes[] = {1, 1e-3, 1e-12, 1e15};
    for (int64_t count = 1; count < 3000; count = count * 3 + 2)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            check_adamw(count, 1, 1e-3, 0, sizes[s], false);
            check_adamw(count, 7, 3e-4, 0.1, sizes[s], true);
            check_adamw(count, 100000, 1e-2, 0.01, sizes[s], false);
        }
}

static int open_devices(void **state)
{
    generator = lm_random_seed(20260105, 0);
    return test_open_devices(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gelu), cmocka_unit_test(test_swiglu), cmocka_unit_test(test_simple),
        cmocka_unit_test(test_convert), cmocka_unit_test(test_sum_squares), cmocka_unit_test(test_adamw),
    };
    return cmocka_run_group_tests(tests, open_devices, test_close_devices);
}
