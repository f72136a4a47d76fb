/* AdamW with narrow state and bf16 weights without masters: every table against the plain one, pieces against the whole, and
 * what stochastic rounding promises. */
#include "support/judge.h"

#include <math.h>

static struct lm_random generator;

enum { COUNT = 3 * LM_STATE_BLOCK + 77, BLOCKS = 4, STEPS = 6 };

struct kept {
    float p[COUNT], m_scale[BLOCKS], v_scale[BLOCKS];
    uint16_t w[COUNT];
    union {
        float f[COUNT];
        uint16_t h[COUNT];
        uint8_t b[COUNT];
    } m, v;
};

struct form {
    enum lm_state_kind kind;
    bool master, gradient_bf16;
};

static struct lm_adamw work_of(const struct form *form, struct kept *kept, const void *g, int64_t step)
{
    return (struct lm_adamw){.count = COUNT, .step = step, .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1,
                             .grad_scale = 0.7, .parameter = form->master ? kept->p : NULL, .rounded = kept->w, .gradient = g,
                             .gradient_bf16 = form->gradient_bf16, .state = form->kind, .m = &kept->m, .v = &kept->v,
                             .m_scale = kept->m_scale, .v_scale = kept->v_scale, .key = 77 + (uint64_t)step};
}

static void start(struct kept *kept)
{
    memset(kept, 0, sizeof *kept);
    for (int i = 0; i < COUNT; i++) {
        kept->p[i] = (float)lm_random_normal(&generator);
        kept->w[i] = lm_f32_to_bf16(kept->p[i]);
        kept->p[i] = lm_bf16_to_f32(kept->w[i]);
    }
}

static void draw_gradient(const struct form *form, int step, float *g, uint16_t *narrow)
{
    for (int i = 0; i < COUNT; i++) {
        g[i] = (float)(lm_random_normal(&generator) * pow(10, -(i % 7)) * (step == 2 && i < 300 ? 0 : 1));
        narrow[i] = lm_f32_to_bf16(g[i]);
    }
    (void)form;
}

static double state_at(const struct form *form, const struct kept *kept, bool second, int i)
{
    if (form->kind == LM_STATE_F32)
        return second ? kept->v.f[i] : kept->m.f[i];
    if (form->kind == LM_STATE_BF16)
        return lm_bf16_to_f32(second ? kept->v.h[i] : kept->m.h[i]);
    const int bits = second ? 4 : 3, code = second ? kept->v.b[i] : kept->m.b[i] & 127;
    const int exponent = code >> bits, mantissa = code & ((1 << bits) - 1);
    const double value = exponent ? ldexp((1 << bits) + mantissa, exponent - 15 - bits) : ldexp(mantissa, -14 - bits);
    const double scaled = value * (double)(second ? kept->v_scale : kept->m_scale)[i / LM_STATE_BLOCK];
    return second ? scaled * scaled : (kept->m.b[i] & 128 ? -scaled : scaled);
}

/* One place of the narrow type: what one differing bit of the number before rounding may change. */
static double place_of(const struct form *form, const struct kept *kept, bool second, int i)
{
    const double x = fabs(state_at(form, kept, second, i));
    if (form->kind == LM_STATE_F32)
        return 1e-5 * x + 1e-12;
    if (form->kind == LM_STATE_BF16)
        return 0x1p-7 * x + 1e-30;
    const double scale = (double)(second ? kept->v_scale : kept->m_scale)[i / LM_STATE_BLOCK];
    if (!second)
        return 0x1p-3 * x + scale * 0x1p-17;
    const double root = sqrt(x), step = 0x1p-4 * root + scale * 0x1p-18;
    return step * (2 * root + step);
}

/* From the same state, one step on the plain and on every fast table: the same to one place of what is stored. Over few
 * steps most bits are the same. */
static void compare(const struct form *form)
{
    static struct kept plain, fast, pieces, before;
    static float g[COUNT];
    static uint16_t narrow[COUNT];
    start(&plain);
    for (int step = 1; step <= STEPS; step++) {
        before = plain;
        draw_gradient(form, step, g, narrow);
        const void *gradient = form->gradient_bf16 ? (const void *)narrow : g;
        struct lm_adamw work = work_of(form, &plain, gradient, step);
        lm_device_ops(test_plain())->adamw(test_plain(), &work);
        for (int d = 0; d < test_device_count(); d++) {
            fast = before;
            work = work_of(form, &fast, gradient, step);
            lm_device_ops(test_device(d))->adamw(test_device(d), &work);
            int differ = 0;
            for (int i = 0; i < COUNT; i++) {
                for (int second = 0; second < 2; second++) {
                    const double apart = fabs(state_at(form, &fast, second, i) - state_at(form, &plain, second, i));
                    /* the terms' own rounding, where they cancel */
                    const double term = form->gradient_bf16 ? lm_bf16_to_f32(narrow[i]) : g[i];
                    const double terms = fabs(state_at(form, &before, second, i)) + fabs(second ? term * term : term);
                    if (!(apart <= place_of(form, &plain, second, i) + 0x1p-22 * terms))
                        fail_msg("%s: state %d, step %d, element %d: %g, plain %g", lm_device_name(test_device(d)), form->kind,
                                 step, i, state_at(form, &fast, second, i), state_at(form, &plain, second, i));
                    differ += apart > 0x1p-22 * terms + 1e-5 * fabs(state_at(form, &plain, second, i));
                }
                const double w = lm_bf16_to_f32(fast.w[i]), wanted = lm_bf16_to_f32(plain.w[i]);
                assert_true(fabs(w - wanted) <= 0x1p-7 * fabs(wanted) + 1e-6);
                differ += w != wanted;
            }
            assert_in_range(differ, 0, COUNT / 20);
            pieces = before;
            work = work_of(form, &pieces, gradient, step);
            struct lm_adamw rest = work;
            work.count = 2 * LM_STATE_BLOCK;
            rest.first = work.count, rest.count -= work.count;
            rest.parameter = rest.parameter ? rest.parameter + work.count : NULL;
            rest.rounded += work.count, rest.m_scale += 2, rest.v_scale += 2;
            const size_t size = form->kind == LM_STATE_F32 ? 4 : form->kind == LM_STATE_BF16 ? 2 : 1;
            rest.m = (char *)rest.m + size * (size_t)work.count;
            rest.v = (char *)rest.v + size * (size_t)work.count;
            rest.gradient = (const char *)gradient + (form->gradient_bf16 ? 2 : 4) * (size_t)work.count;
            lm_device_ops(test_device(d))->adamw(test_device(d), &rest);
            lm_device_ops(test_device(d))->adamw(test_device(d), &work);
            assert_memory_equal(&pieces, &fast, sizeof fast);
        }
    }
}

static void every_table_steps_as_the_plain_one(void **state)
{
    (void)state;
    for (int kind = LM_STATE_F32; kind <= LM_STATE_8BIT; kind++)
        for (int master = 0; master < 2; master++)
            for (int narrow = 0; narrow < 2; narrow++)
                compare(&(struct form){(enum lm_state_kind)kind, master, narrow});
}

/* A bf16 weight of 1 has places of 2^-8 below it. A step of 2^-11 is lost by rounding to nearest; rounded stochastically, one in
 * eight weights takes a step of 2^-8. Of n weights the share that does is 1/8 with a deviation of sqrt(7/64 / n); the bound is
 * eight of those. The second moment of 8 bits, likewise, keeps its mean where a step is less than its places. */
static void small_steps_add_up(void **state)
{
    (void)state;
    enum { N = 1 << 16 };
    uint16_t *w = test_take(N, sizeof *w);
    float *g = test_take(N, sizeof *g), *scales = test_take(2 * N / LM_STATE_BLOCK, sizeof *scales);
    uint8_t *m = test_take(N, 1), *v = test_take(N, 1);
    for (int d = 0; d < test_device_count(); d++) {
        for (int i = 0; i < N; i++)
            w[i] = lm_f32_to_bf16(1), g[i] = 1, m[i] = v[i] = 0;
        memset(scales, 0, 2 * N / LM_STATE_BLOCK * sizeof *scales);
        /* the first step of AdamW is lr in the gradient's direction */
        struct lm_adamw work = {.count = N, .step = 1, .lr = 0x1p-11, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-30, .grad_scale = 1,
                                .rounded = w, .gradient = g, .state = LM_STATE_8BIT, .m = m, .v = v, .m_scale = scales,
                                .v_scale = scales + N / LM_STATE_BLOCK, .key = 5};
        lm_device_ops(test_device(d))->adamw(test_device(d), &work);
        int moved = 0;
        for (int i = 0; i < N; i++)
            moved += w[i] != lm_f32_to_bf16(1);
        assert_true(fabs((double)moved / N - 0.125) < 8 * sqrt(7.0 / 64 / N));

        /* v of all 1, but for one greater in each block that holds the scale; 40 steps without gradient take 4 %, less than a place */
        for (int i = 0; i < N; i++)
            g[i] = i % LM_STATE_BLOCK ? 1 : 1.7F, m[i] = v[i] = 0;
        memset(scales, 0, 2 * N / LM_STATE_BLOCK * sizeof *scales);
        lm_device_ops(test_device(d))->adamw(test_device(d), &work);
        for (int step = 2; step <= 41; step++) {
            for (int i = 0; i < N; i++)
                g[i] = i % LM_STATE_BLOCK ? 0 : 1.7F;
            work.step = step, work.key = 5 + (uint64_t)step;
            lm_device_ops(test_device(d))->adamw(test_device(d), &work);
        }
        double sum = 0;
        for (int i = 0; i < N; i++) {
            const double code = v[i] & 15, exponent = v[i] >> 4;
            const double root = ldexp(16 + code, (int)exponent - 19) * (double)scales[N / LM_STATE_BLOCK + i / LM_STATE_BLOCK];
            sum += i % LM_STATE_BLOCK ? root : 0;
        }
        const double mean = sum / (N - N / LM_STATE_BLOCK), wanted = sqrt(0.001 * pow(0.999, 40));
        if (!(fabs(mean / wanted - 1) < 0.01))
            fail_msg("%s: the mean root of v is %g, wanted %g", lm_device_name(test_device(d)), mean, wanted);
    }
    test_give_back();
}

static int open_devices(void **state)
{
    generator = lm_random_seed(20261126, 0);
    return test_open_devices(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_table_steps_as_the_plain_one),
        cmocka_unit_test(small_steps_add_up),
    };
    return cmocka_run_group_tests(tests, open_devices, test_close_devices);
}
