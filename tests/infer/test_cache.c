/* The cache changes speed, not the answer: token for token against a model that computes everything anew, for every family. */
#include "support/support.h"

#include "infer/infer.h"

#include <math.h>

static const char *const names[] = {"gpt2", "llama2", "llama3-untied", "llama3-tied", "mistral", "qwen2", "qwen3"};
enum { PROMPT = 5, STEPS = 12 };
static loam_error error;

struct subject {
    struct lm_device *device;
    struct lm_model *model;
    int64_t vocabulary;
    int32_t ids[PROMPT + STEPS];
};

static void open_subject(const char *name, struct subject *subject)
{
    const struct lm_device_options how = {.threads = 2};
    const char *folder = test_path(LOAM_TESTS "/golden/models", name);
    assert_ok(lm_device_open(&how, &subject->device, &error), &error);
    assert_ok(lm_model_open(folder, subject->device, &(struct lm_model_options){0}, &subject->model, &error), &error);
    subject->vocabulary = lm_model_config(subject->model)->vocabulary;
    struct lm_random random = lm_random_seed(5, 0);
    for (int i = 0; i < PROMPT; i++)
        subject->ids[i] = (int32_t)lm_random_below(&random, (uint64_t)subject->vocabulary);
}

static void close_subject(struct subject *subject)
{
    lm_model_close(subject->model);
    lm_device_close(subject->device);
}

/* Both ways compute the same sums in another order. A sum of K products is off by at most K·2^-24 of its terms' absolute sum, and
 * a logit stands behind S such sums one after the other: seven in each layer and the head. K is the longest sum there is. */
static double bound(const struct lm_model *model, double largest)
{
    const struct lm_config *config = lm_model_config(model);
    const int64_t longest = config->feed_forward > config->width ? config->feed_forward : config->width;
    return (double)longest * (double)(7 * config->layers + 1) * 0x1p-24 * fmax(largest, 1);
}

static int32_t greedy(const float *logits, int64_t count)
{
    int32_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = (int32_t)i;
    return best;
}

/* Fills ids behind the prompt by computing the whole sequence for each token; the last one's logits stay in `all`. */
static void without_cache(struct subject *subject, float *all)
{
    for (int64_t length = PROMPT; length < PROMPT + STEPS; length++) {
        assert_ok(lm_model_logits(subject->model, subject->ids, length, all, &error), &error);
        subject->ids[length] = greedy(all + (length - 1) * subject->vocabulary, subject->vocabulary);
    }
}

static void assert_near(const struct subject *subject, const float *found, const float *wanted, const char *name, int64_t at)
{
    double largest = 0, worst = 0;
    for (int64_t i = 0; i < subject->vocabulary; i++) {
        largest = fmax(largest, fabs((double)wanted[i]));
        const double difference = fabs((double)found[i] - (double)wanted[i]);
        if (!(difference <= worst))
            worst = difference;
    }
    if (!(worst <= bound(subject->model, largest)))
        fail_msg("%s: position %lld: logits differ by %g, wanted at most %g", name, (long long)at, worst,
                 bound(subject->model, largest));
}

/* One token at a time, the prompt in two pieces, and after a cut: the logits at each position. */
static void same_logits(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct subject subject;
        open_subject(names[n], &subject);
        float *all = calloc((size_t)(PROMPT + STEPS) * (size_t)subject.vocabulary, sizeof *all), *logits;
        without_cache(&subject, all);
        assert_ok(lm_model_logits(subject.model, subject.ids, PROMPT + STEPS, all, &error), &error);
        struct lm_cache *cache;
        assert_ok(lm_cache_create(subject.model, PROMPT + STEPS, LM_F32, &cache, &error), &error);
        for (int round = 0; round < 2; round++) {
            int64_t at = round == 0 ? 0 : 3;    /* the second time from the middle, behind a cut */
            lm_cache_cut(cache, at);
            while (at < PROMPT + STEPS) {
                const int64_t count = at == 0 ? 2 : 1;
                assert_ok(lm_model_extend(subject.model, cache, subject.ids + at, count, &logits, &error), &error);
                at += count;
                assert_near(&subject, logits, all + (at - 1) * subject.vocabulary, names[n], at - 1);
            }
        }
        lm_cache_free(cache);
        free(all);
        close_subject(&subject);
    }
}

/* A runner's greedy tokens, cold and with a warm cache, are those of the model without a cache. */
static void same_tokens(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct subject subject;
        struct lm_runner *runner;
        open_subject(names[n], &subject);
        float *all = calloc((size_t)(PROMPT + STEPS) * (size_t)subject.vocabulary, sizeof *all);
        without_cache(&subject, all);
        free(all);
        assert_ok(lm_runner_attach(subject.model, NULL, NULL, 0, &runner, &error), &error);
        struct lm_generation_options options = lm_generation_default();
        options.sampling.temperature = 0;
        options.ignore_end = true;
        const size_t prompts[] = {PROMPT, PROMPT + 4, PROMPT, PROMPT - 2 + 4};    /* grows, shrinks, lies in between */
        for (int i = 0; i < 4; i++) {
            struct lm_generation got = {0};
            options.max_tokens = (int64_t)(PROMPT + STEPS - prompts[i]);
            assert_ok(lm_runner_generate(runner, subject.ids, prompts[i], &options, &got, &error), &error);
            assert_int_equal(got.reused, i == 0 ? 0 : prompts[i] - 1);
            assert_int_equal(got.ids.length, PROMPT + STEPS - prompts[i]);
            assert_memory_equal(got.ids.data, subject.ids + prompts[i], got.ids.length * sizeof(int32_t));
            lm_generation_free(&got);
        }
        lm_runner_close(runner);
        close_subject(&subject);
    }
}

/* Sampled: the same seed the same tokens, another seed others. */
static void same_seed(void **state)
{
    (void)state;
    struct subject subject;
    struct lm_runner *runner;
    struct lm_generation got[3] = {{.end_id = 0}};
    open_subject("qwen3", &subject);
    assert_ok(lm_runner_attach(subject.model, NULL, NULL, 0, &runner, &error), &error);
    for (int i = 0; i < 3; i++) {
        struct lm_generation_options options = lm_generation_default();
        options.sampling = (loam_sampling){.temperature = 2, .top_p = 1, .repetition_penalty = 1.1, .seed = i == 2 ? 8 : 7};
        options.ignore_end = true;
        options.max_tokens = STEPS;
        assert_ok(lm_runner_generate(runner, subject.ids, PROMPT, &options, &got[i], &error), &error);
    }
    assert_memory_equal(got[0].ids.data, got[1].ids.data, STEPS * sizeof(int32_t));
    assert_true(memcmp(got[0].ids.data, got[2].ids.data, STEPS * sizeof(int32_t)) != 0);
    for (int i = 0; i < 3; i++)
        lm_generation_free(&got[i]);
    lm_runner_close(runner);
    close_subject(&subject);
}

/* A prompt that begins alike and goes on otherwise: what was kept and what a fresh cache gives are the same tokens. */
static void another_ending(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct subject subject;
        struct lm_generation got[3] = {{.end_id = 0}};
        open_subject(names[n], &subject);
        struct lm_generation_options options = lm_generation_default();
        options.sampling.temperature = 0;
        options.ignore_end = true;
        options.max_tokens = 6;
        const int32_t first[] = {1, 2, 3, 4, 5, 6}, second[] = {1, 2, 3, 4, 7, 8, 9};
        for (int fresh = 0; fresh < 2; fresh++) {
            struct lm_runner *runner;
            assert_ok(lm_runner_attach(subject.model, NULL, NULL, 0, &runner, &error), &error);
            if (!fresh)
                assert_ok(lm_runner_generate(runner, first, 6, &options, &got[2], &error), &error);
            assert_ok(lm_runner_generate(runner, second, 7, &options, &got[fresh], &error), &error);
            assert_int_equal(got[fresh].reused, fresh ? 0 : 4);
            lm_runner_close(runner);
        }
        assert_memory_equal(got[0].ids.data, got[1].ids.data, 6 * sizeof(int32_t));
        for (int i = 0; i < 3; i++)
            lm_generation_free(&got[i]);
        close_subject(&subject);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_logits), cmocka_unit_test(same_tokens), cmocka_unit_test(same_seed),
        cmocka_unit_test(another_ending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
