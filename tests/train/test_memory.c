/* A training step allocates nothing: neither through the library's own allocator nor through the C library's. */
#include "support/tiny_run.h"

#include <malloc.h>
#include <stdatomic.h>

static atomic_llong calls;

/* Every allocation of the process, whoever makes it, comes through here; sanitizers bring an allocator of their own. */
#if !TEST_SANITIZED
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *pointer);
void *malloc(size_t size)
{
    calls++;
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size)
{
    calls++;
    return __libc_calloc(count, size);
}
void *realloc(void *old, size_t size)
{
    calls++;
    return __libc_realloc(old, size);
}
void *memalign(size_t alignment, size_t size)
{
    calls++;
    return __libc_memalign(alignment, size);
}
void *aligned_alloc(size_t alignment, size_t size)
{
    calls++;
    return __libc_memalign(alignment, size);
}
int posix_memalign(void **out, size_t alignment, size_t size)
{
    calls++;
    *out = __libc_memalign(alignment, size);
    return *out ? 0 : 12;
}
void free(void *pointer)
{
    __libc_free(pointer);
}
#endif

static loam_error error;

enum { STEPS = 30 };
struct counts {
    long long all[STEPS + 1];
    int64_t own[STEPS + 1];
};

static void count(void *user, const struct lm_step_report *report)
{
    struct counts *counts = user;
    counts->all[report->step] = calls;
    counts->own[report->step] = lm_memory_calls();
}

static void steps_allocate_nothing(const char *threads, const char *dtype, const char *accumulate,
                                   const char *recompute, const char *state, const char *offload)
{
    struct lm_run_settings settings;
    struct lm_run_result result;
    struct counts counts = {0};
    const char *data = tiny_path(test_folder(), "data.ids");
    tiny_ids(data, 5, 20, 17); /* 10 batches: three epochs and more */
    tiny_settings(&settings, tiny_model(1), data);
    tiny_set(&settings, "threads", threads);
    tiny_set(&settings, "dtype", dtype);
    tiny_set(&settings, "accumulate", accumulate);
    tiny_set(&settings, "recompute", recompute);
    tiny_set(&settings, "optimizer_state", state);
    tiny_set(&settings, "offload", offload);
    tiny_set(&settings, "fused_step", strcmp(offload, "none") ? "true" : "false");
    tiny_set(&settings, "steps", "30");
    tiny_set(&settings, "save_every", "1000");
    const struct lm_run_hooks hooks = {.user = &counts, .step = count};
    const long long before = calls;
    assert_ok(lm_run(&settings, tiny_path(test_folder(), "run"), false, &hooks, &result, &error), &error);
#if !TEST_SANITIZED
    assert_true(calls > before); /* the counter counts */
#else
    (void)before;
#endif
    for (int step = 3; step <= STEPS; step++) {
        if (counts.own[step] != counts.own[2])
            fail_msg("step %d: the library allocated %lld times since step 2", step,
                     (long long)(counts.own[step] - counts.own[2]));
        if (counts.all[step] != counts.all[2])
            fail_msg("step %d: %lld allocations in the process since step 2", step, counts.all[step] - counts.all[2]);
    }
    lm_run_settings_free(&settings);
}

static void plain(void **state)
{
    (void)state;
    steps_allocate_nothing("1", "f32", "1", "none", "f32", "none");
}

static void two_threads_accumulated(void **state)
{
    (void)state;
    steps_allocate_nothing("2", "f32", "3", "inner", "f32", "none");
}

static void bf16_recomputed(void **state)
{
    (void)state;
    steps_allocate_nothing("2", "bf16", "1", "layer", "f32", "none");
}

static void fused_and_on_disk(void **state)
{
    (void)state;
    steps_allocate_nothing("2", "bf16", "1", "layer", "8bit", "optimizer,weights,activations");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(two_threads_accumulated),
        cmocka_unit_test(bf16_recomputed),
        cmocka_unit_test(fused_and_on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
