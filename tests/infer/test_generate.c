/* Generation on tiny models that stand in tests/golden/models. */
#include "support/support.h"

#include "infer/infer.h"

#include <math.h>

static struct lm_runner *open_model(const char *name)
{
    loam_error error;
    char path[512];
    struct lm_runner *runner;
    snprintf(path, sizeof path, "%s/golden/models/%s", LOAM_TESTS, name);
    assert_ok(lm_runner_open(path, &(struct lm_runner_options){.no_tokenizer = true, .threads = 1}, &runner, &error), &error);
    return runner;
}

static struct lm_generation_options greedy(int64_t most)
{
    struct lm_generation_options options = lm_generation_default();
    options.sampling.temperature = 0;
    options.max_tokens = most;
    options.ignore_end = true;
    return options;
}

/* What greedy decoding gives is at every step the likeliest token of a pass without a cache. */
static void cache_agrees_with_whole_pass(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "llama3-tied", "qwen3", "mistral"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        loam_error error;
        struct lm_runner *runner = open_model(names[n]);
        const struct lm_generation_options options = greedy(12);
        const int32_t prompt[] = {1, 5, 9, 2};
        struct lm_generation result = {0};
        assert_ok(lm_runner_generate(runner, prompt, 4, &options, &result, &error), &error);
        assert_int_equal(result.ids.length, 12);
        assert_int_equal(result.reason, LM_STOP_LENGTH);
        assert_int_equal(result.prompt_tokens, 4);

        int32_t all[16];
        memcpy(all, prompt, sizeof prompt);
        memcpy(all + 4, result.ids.data, 12 * sizeof *all);
        const int64_t vocabulary = lm_model_config(lm_runner_model(runner))->vocabulary;
        float *logits = malloc(16 * (size_t)vocabulary * sizeof *logits);
        assert_ok(lm_model_logits(lm_runner_model(runner), all, 16, logits, &error), &error);
        for (int i = 3; i < 15; i++) {
            const float *row = logits + i * vocabulary;
            for (int64_t v = 0; v < vocabulary; v++)
                if (row[v] > row[all[i + 1]] + 1e-4F)    /* logits of size 1 over sums of some hundred terms: 1e-5 apart at most */
                    fail_msg("%s: position %d: picked %d, but %lld is likelier", names[n], i, all[i + 1], (long long)v);
        }
        free(logits);
        lm_generation_free(&result);
        lm_runner_close(runner);
    }
}

static void prefix_is_reused_and_changes_nothing(void **state)
{
    (void)state;
    loam_error error;
    struct lm_runner *runner = open_model("llama3-tied");
    const struct lm_generation_options options = greedy(6);
    const int32_t first[] = {1, 2, 3, 4, 5, 6}, second[] = {1, 2, 3, 4, 7, 8, 9};
    struct lm_generation a = {0}, b = {0}, fresh = {0};
    assert_ok(lm_runner_generate(runner, first, 6, &options, &a, &error), &error);
    assert_int_equal(a.reused, 0);
    assert_ok(lm_runner_generate(runner, second, 7, &options, &b, &error), &error);
    assert_int_equal(b.reused, 4);
    struct lm_runner *other = open_model("llama3-tied");
    assert_ok(lm_runner_generate(other, second, 7, &options, &fresh, &error), &error);
    assert_int_equal(b.ids.length, fresh.ids.length);
    assert_memory_equal(b.ids.data, fresh.ids.data, b.ids.length * sizeof *b.ids.data);
    lm_generation_free(&a);
    lm_generation_free(&b);
    lm_generation_free(&fresh);
    lm_runner_close(runner);
    lm_runner_close(other);
}

static void overflow_is_refused(void **state)
{
    (void)state;
    loam_error error;
    struct lm_runner *runner = open_model("gpt2");
    struct lm_generation result = {0};
    struct lm_generation_options options = greedy(1 << 20);
    const int32_t prompt[] = {1, 2};
    assert_fails(lm_runner_generate(runner, prompt, 2, &options, &result, &error), &error, LOAM_EUSAGE, "context", "at most");
    assert_fails(lm_runner_generate(runner, prompt, 0, &options, &result, &error), &error, LOAM_EUSAGE, "empty");
    const int32_t outside[] = {1, 1 << 28};
    options.max_tokens = 1;
    assert_fails(lm_runner_generate(runner, outside, 2, &options, &result, &error), &error, LOAM_EUSAGE, "id");
    lm_runner_close(runner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cache_agrees_with_whole_pass),
        cmocka_unit_test(prefix_is_reused_and_changes_nothing),
        cmocka_unit_test(overflow_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
