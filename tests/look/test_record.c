/* What is seen inside tiny models of every family, beside what transformers sees there with eager attention
 * (tests/golden/make_look.py). The bound, 1e-5, is the project's. */
#include "support/support.h"

#include "look/record.h"
#include "tensor/tensor.h"

#include <math.h>

static const char *const names[] = {"gpt2", "llama2", "llama3-untied", "llama3-tied", "mistral", "qwen2", "qwen3"};
static const double BOUND = 1e-5;

struct inside {
    struct lm_device *device;
    struct lm_model *model;
    struct lm_tensors *wanted;
    struct lm_record record;
    int64_t count;
};

static const float *wanted(const struct inside *inside, const char *name, uint64_t count)
{
    const struct lm_tensor *tensor = lm_tensors_find(inside->wanted, name);
    if (!tensor)
        fail_msg("the reference has no %s", name);
    assert_int_equal(tensor->count, count);
    return tensor->data;
}

static void open_inside(const char *name, const struct lm_device_options *how, struct inside *inside)
{
    loam_error error;
    char path[1024];
    const struct lm_record_options options = {.attention = true, .residual = true, .neurons = true};
    snprintf(path, sizeof path, "%s/golden/models/%s", LOAM_TESTS, name);
    assert_ok(lm_device_open(how, &inside->device, &error), &error);
    assert_ok(lm_model_open(path, inside->device, &(struct lm_model_options){0}, &inside->model, &error), &error);
    snprintf(path, sizeof path, "%s/golden/models/%s/inside.safetensors", LOAM_TESTS, name);
    assert_ok(lm_tensors_open(path, &inside->wanted, &error), &error);
    const struct lm_tensor *ids = lm_tensors_find(inside->wanted, "ids");
    inside->count = (int64_t)ids->count;
    assert_ok(lm_record_run(inside->model, ids->data, inside->count, &options, &inside->record, &error), &error);
}

static void close_inside(struct inside *inside)
{
    lm_record_free(&inside->record);
    lm_tensors_close(inside->wanted);
    lm_model_close(inside->model);
    lm_device_close(inside->device);
}

static double worst(const char *what, const float *found, const float *want, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        const double difference = fabs((double)found[i] - (double)want[i]);
        if (!(difference <= BOUND))
            fail_msg("%s: number %lld: found %.8g, wanted %.8g", what, (long long)i, (double)found[i], (double)want[i]);
        most = fmax(most, difference);
    }
    return most;
}

static void check_family(const char *name, const struct lm_device_options *how)
{
    struct inside inside = {0};
    open_inside(name, how, &inside);
    const struct lm_record *record = &inside.record;
    const int64_t t = inside.count, weights = record->layers * record->heads * t * t;
    const double attention = worst(name, record->attention, wanted(&inside, "attention", (uint64_t)weights), weights);
    const double logits = worst(name, record->logits, wanted(&inside, "logits", (uint64_t)(t * record->vocabulary)),
                                t * record->vocabulary);
    const int64_t stream = record->layers * t * record->width;
    const double residual = worst(name, record->residual, wanted(&inside, "residual", (uint64_t)stream), stream);
    print_message("%s: attention differs by %.2g, logits by %.2g, the residual stream by %.2g\n", name, attention, logits,
                  residual);
    close_inside(&inside);
}

static void test_families(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check_family(names[i], &(struct lm_device_options){.threads = 1, .reference = true});
        check_family(names[i], &(struct lm_device_options){.threads = 2});
    }
}

/* The lens over the last layer's output is what the model says; a watched run gives the bits of one that is not. */
static void test_lens_and_watching_change_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct inside inside = {0};
        loam_error error;
        open_inside(names[i], &(struct lm_device_options){.threads = 1}, &inside);
        const struct lm_record *record = &inside.record;
        const size_t bytes = (size_t)(record->count * record->vocabulary) * sizeof(float);
        float *logits = test_malloc(bytes);
        assert_ok(lm_model_project(inside.model, record->count, record->residual + record->layers * record->count * record->width,
                                   logits, &error), &error);
        assert_memory_equal(logits, record->logits, bytes);
        assert_ok(lm_model_logits(inside.model, lm_tensors_find(inside.wanted, "ids")->data, record->count, logits, &error),
                  &error);
        assert_memory_equal(logits, record->logits, bytes);
        test_free(logits);
        close_inside(&inside);
    }
}

/* A row of weights adds up to one, in whichever chunk of the prompt it went through; so does a row of the rollout. */
static void test_long_and_rollout(void **state)
{
    (void)state;
    struct lm_config config;
    loam_error error;
    struct lm_device *device;
    struct lm_model *model;
    struct lm_record record;
    enum { T = 300 };    /* more than one chunk of a cache */
    int32_t ids[T];
    assert_ok(lm_config_read(LOAM_TESTS "/golden/models/llama2/config.json", &config, &error), &error);
    config.context = T;
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    assert_ok(lm_model_create(&config, 3, device, &(struct lm_model_options){.dtype = LM_F32}, &model, &error), &error);
    for (int i = 0; i < T; i++)
        ids[i] = i * 7 % 64;
    const struct lm_record_options options = {.attention = true, .residual = true};
    assert_ok(lm_record_run(model, ids, T, &options, &record, &error), &error);
    for (int64_t row = 0; row < record.layers * record.heads * T; row++) {
        double sum = 0;
        for (int64_t j = 0; j < T; j++) {
            const float weight = record.attention[row * T + j];
            assert_true(j <= row % T ? weight > 0 : weight == 0);
            sum += weight;
        }
        assert_true(fabs(sum - 1) < 1e-5);
    }
    float *rollout, *mean;
    assert_ok(lm_record_rollout(&record, &rollout, &error), &error);
    assert_ok(lm_record_mean(&record, 1, &mean, &error), &error);
    for (int64_t i = 0; i < T; i++) {
        double sum = 0, means = 0;
        for (int64_t j = 0; j < T; j++) {
            sum += rollout[i * T + j];
            means += mean[i * T + j];
        }
        assert_true(fabs(sum - 1) < 1e-4 && fabs(means - 1) < 1e-4);
    }
    assert_true(fabs((double)mean[5 * T + 2] - 0.25 * ((double)record.attention[(4 * T + 5) * T + 2] +
                record.attention[(5 * T + 5) * T + 2] + record.attention[(6 * T + 5) * T + 2] +
                record.attention[(7 * T + 5) * T + 2])) < 1e-6);
    lm_free(rollout);
    lm_free(mean);
    lm_record_free(&record);
    assert_fails(lm_record_run(model, ids, 0, &options, &record, &error), &error, LOAM_EUSAGE, "no token");
    assert_fails(lm_record_run(model, ids, T + 1, &options, &record, &error), &error, LOAM_EUSAGE, "context is 300");
    const struct lm_record_options beyond = {.attention = true, .first_layer = 2, .layers = 1};
    assert_fails(lm_record_run(model, ids, 3, &beyond, &record, &error), &error, LOAM_EUSAGE, "layers 0 to 1");
    lm_model_close(model);
    lm_device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_lens_and_watching_change_nothing),
        cmocka_unit_test(test_long_and_rollout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
