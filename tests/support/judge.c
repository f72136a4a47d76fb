#include "support/judge.h"

enum { OUTPUTS = 4, DEVICES = 16, MAX_THREADS = 3 };

static struct lm_device *plain, *fast[DEVICES];
static enum lm_isa isas[DEVICES];
static int fast_count;

static bool skipped[LM_ISA_COUNT];

static int open_one(enum lm_isa isa, int threads)
{
    loam_error error;
    struct lm_device_options options = {.isa = isa, .threads = threads};
    int code = skipped[isa] ? LOAM_EUNSUPPORTED : lm_device_open(&options, &fast[fast_count], &error);
    if (code == LOAM_EUNSUPPORTED && isa != LM_ISA_AUTO) {
        if (!skipped[isa])
            printf("SKIP: %s\n", error.message);
        skipped[isa] = true;
        return 0;
    }
    if (code != LOAM_OK) {
        printf("%s\n", error.message);
        return -1;
    }
    isas[fast_count] = isa;
    printf("device: %s\n", lm_device_name(fast[fast_count++]));
    return 0;
}

/* Those of the same number of threads follow each other: OpenMP's threads then need not be made anew for each. */
int test_open_devices(void **state)
{
    (void)state;
    static const enum lm_isa all[] = {LM_ISA_SCALAR, LM_ISA_AVX2, LM_ISA_AVX512, LM_ISA_AVX512VNNI, LM_ISA_AVX512BF16};
    loam_error error;
    if (lm_device_open(&(struct lm_device_options){.reference = true, .threads = 1}, &plain, &error))
        return -1;
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            if (open_one(all[i], threads))
                return -1;
    }
    return open_one(LM_ISA_AUTO, MAX_THREADS);
}

int test_close_devices(void **state)
{
    (void)state;
    lm_device_close(plain);
    while (fast_count > 0)
        lm_device_close(fast[--fast_count]);
    return 0;
}

struct lm_device *test_plain(void)
{
    return plain;
}

int test_device_count(void)
{
    return fast_count;
}

struct lm_device *test_device(int index)
{
    return fast[index];
}

struct lm_device_options test_device_options(int index)
{
    return (struct lm_device_options){.isa = isas[index], .threads = lm_device_threads(fast[index])};
}

static void run_once(struct lm_device *device, const struct test_operation *operation, float **out)
{
    for (int o = 0; o < OUTPUTS && operation->outputs[o].name; o++) {
        const struct test_output *output = &operation->outputs[o];
        out[o] = test_take(output->count, sizeof(float));
        if (output->before)
            memcpy(out[o], output->before, (size_t)output->count * sizeof(float));
    }
    operation->run(device, operation->context, out);
    loam_error error;
    if (lm_device_check(device, &error) != LOAM_OK)
        fail_msg("%s on %s: %s", operation->label, lm_device_name(device), error.message);
}

static void compare(const struct test_operation *operation, int index, float *const *want, float *const *got,
                    float *const *again, float *const *first)
{
    for (int o = 0; o < OUTPUTS && operation->outputs[o].name; o++) {
        const struct test_output *output = &operation->outputs[o];
        char what[256];
        snprintf(what, sizeof what, "%s on %s: %s", operation->label, lm_device_name(fast[index]), output->name);
        if (output->bound)
            test_close(what, got[o], test_to_doubles(want[o], output->count), output->bound, output->count);
        else
            test_same(what, got[o], want[o], output->count, sizeof(float));
        strcat(what, ", run again");
        test_same(what, again[o], got[o], output->count, sizeof(float));
        if (operation->any_threads) {
            strcat(what, ", against one thread");
            test_same(what, first[o], got[o], output->count, sizeof(float));
        }
    }
}

void test_judge(const struct test_operation *operation)
{
    float *want[OUTPUTS], *got[OUTPUTS], *again[OUTPUTS], *first[LM_ISA_COUNT][OUTPUTS] = {{NULL}};
    run_once(plain, operation, want);
    for (int i = 0; i < fast_count; i++) {
        run_once(fast[i], operation, got);
        int64_t calls = lm_memory_calls();
        run_once(fast[i], operation, again);
        if (lm_memory_calls() != calls)
            fail_msg("%s on %s: allocates when run again", operation->label, lm_device_name(fast[i]));
        if (!first[isas[i]][0])
            memcpy(first[isas[i]], got, sizeof got);
        compare(operation, i, want, got, again, first[isas[i]]);
    }
}

double *test_bound(int64_t count, double bound)
{
    double *bounds = test_take(count, sizeof *bounds);
    for (int64_t i = 0; i < count; i++)
        bounds[i] = bound;
    return bounds;
}

struct lm_matrix test_matrix(const float *x, int64_t stride)
{
    return (struct lm_matrix){.data = (void *)x, .dtype = LM_F32, .stride = stride};
}

struct lm_matrix test_matrix_bf16(const float *x, int64_t count, int64_t stride)
{
    uint16_t *rounded = test_take(count, sizeof *rounded);
    for (int64_t i = 0; i < count; i++)
        rounded[i] = lm_f32_to_bf16(x[i]);
    return (struct lm_matrix){.data = rounded, .dtype = LM_BF16, .stride = stride};
}
