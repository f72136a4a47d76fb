/* What transformers computes for tiny random models of every family (tests/golden/make_models.py): logits, gradients, and
 * the losses of 20 steps of AdamW. The bounds are the project's: 1e-4 absolute for logits and losses, 1e-4 of a tensor's
 * largest gradient for gradients. fp32 rounding over sums of some 50 terms in two layers is about 1e-6. */
#include "support/support.h"

#include "model/model.h"

#include <math.h>

static const char *const names[] = {"gpt2", "llama2", "llama3-untied", "llama3-tied", "mistral", "qwen2", "qwen3"};
static const double BOUND = 1e-4;

struct golden {
    struct lm_device *device;
    struct lm_model *model;
    struct lm_tensors *reference;
    int64_t batch, length, vocabulary;
    struct lm_parameter *parameters;
    size_t count, elements;
};

static const char *folder_of(const char *name)
{
    return test_path(LOAM_TESTS "/golden/models", name);
}

static const void *reference(const struct golden *golden, const char *name, int64_t *count)
{
    const struct lm_tensor *tensor = lm_tensors_find(golden->reference, name);
    if (!tensor)
        fail_msg("the reference has no %s", name);
    if (count)
        *count = (int64_t)tensor->count;
    return tensor->data;
}

static void open_golden(const char *name, const struct lm_device_options *how, bool load, struct golden *golden)
{
    loam_error error;
    const struct lm_model_options options = {.load = load, .dtype = LM_F32};
    char path[1024];
    assert_ok(lm_device_open(how, &golden->device, &error), &error);
    assert_ok(lm_model_open(folder_of(name), golden->device, &options, &golden->model, &error), &error);
    snprintf(path, sizeof path, "%s/reference.safetensors", folder_of(name));
    assert_ok(lm_tensors_open(path, &golden->reference, &error), &error);
    const struct lm_tensor *logits = lm_tensors_find(golden->reference, "logits");
    golden->batch = logits->shape[0];
    golden->length = logits->shape[1];
    golden->vocabulary = logits->shape[2];
    assert_ok(lm_parameters(lm_model_config(golden->model), &golden->parameters, &golden->count, &error), &error);
    const struct lm_parameter *last = &golden->parameters[golden->count - 1];
    golden->elements = last->offset + (size_t)last->count;
}

static void close_golden(struct golden *golden)
{
    lm_free(golden->parameters);
    lm_tensors_close(golden->reference);
    lm_model_close(golden->model);
    lm_device_close(golden->device);
}

static double worst(const float *found, const float *wanted, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        const double difference = fabs((double)found[i] - (double)wanted[i]);
        if (!(difference <= most))
            most = difference;
    }
    return most;
}

static void check_logits(const char *name, const struct lm_device_options *how, bool load)
{
    struct golden golden = {0};
    loam_error error;
    int64_t count;
    open_golden(name, how, load, &golden);
    const int32_t *ids = reference(&golden, "ids", NULL);
    const float *wanted = reference(&golden, "logits", &count);
    float *logits = test_malloc((size_t)count * sizeof *logits);
    for (int64_t b = 0; b < golden.batch; b++)
        assert_ok(lm_model_logits(golden.model, ids + b * golden.length, golden.length,
                                  logits + b * golden.length * golden.vocabulary, &error), &error);
    const double difference = worst(logits, wanted, count);
    printf("%s: logits differ by %.2g\n", name, difference);
    assert_true(difference <= BOUND);
    test_free(logits);
    close_golden(&golden);
}

static void start_pass(struct golden *golden, const struct lm_pass_options *options, struct lm_pass **pass, void **block,
                       size_t *bytes)
{
    struct lm_layout layout = {0};
    loam_error error;
    assert_ok(lm_pass_create(golden->model, options, &layout, pass, &error), &error);
    *bytes = layout.size;
    *block = lm_block_map(layout.size, &error);
    assert_non_null(*block);
    lm_layout_bind(&layout, *block);
    lm_layout_free(&layout);
}

static int64_t trained(const int32_t *targets, int64_t count)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += targets[i] >= 0;
    return sum;
}

static void check_gradients(const char *name, const struct lm_device_options *how, bool load)
{
    struct golden golden = {0};
    loam_error error;
    struct lm_pass *pass;
    void *block;
    size_t bytes;
    double loss, most = 0;
    open_golden(name, how, load, &golden);
    const struct lm_pass_options options = {.batch = golden.batch, .length = golden.length, .loss_rows = 20,
                                            .backward = true};
    start_pass(&golden, &options, &pass, &block, &bytes);
    float *gradients = test_calloc(golden.elements, sizeof *gradients);
    const struct lm_pass_input input = {.ids = reference(&golden, "ids", NULL),
                                        .targets = reference(&golden, "targets", NULL)};
    const double scale = 1.0 / (double)trained(input.targets, golden.batch * golden.length);
    assert_ok(lm_pass_run(pass, &input, (float)scale, gradients, &loss, NULL, &error), &error);
    assert_true(fabs(loss * scale - *(const float *)reference(&golden, "loss", NULL)) <= BOUND);
    for (size_t i = 0; i < golden.count; i++) {
        char key[128];
        float largest = 0;
        snprintf(key, sizeof key, "gradient.%s", golden.parameters[i].name);
        const float *wanted = reference(&golden, key, NULL);
        for (int64_t j = 0; j < golden.parameters[i].count; j++)
            largest = fmaxf(largest, fabsf(wanted[j]));
        const double difference = worst(gradients + golden.parameters[i].offset, wanted, golden.parameters[i].count);
        if (!(difference <= BOUND * largest))
            fail_msg("%s: gradient of %s differs by %g of %g", name, golden.parameters[i].name, difference, largest);
        most = fmax(most, difference / largest);
    }
    printf("%s: gradients differ by %.2g of the largest\n", name, most);
    test_free(gradients);
    lm_pass_free(pass);
    lm_block_unmap(block, bytes);
    close_golden(&golden);
}

static void adamw(struct golden *golden, int64_t step, const float *gradients, float *m, float *v)
{
    enum lm_dtype dtype;
    float *weights = lm_model_weights(golden->model, &dtype);
    for (size_t i = 0; i < golden->count; i++) {
        const struct lm_parameter *parameter = &golden->parameters[i];
        const size_t at = parameter->offset;
        const struct lm_adamw work = {.count = parameter->count, .step = step, .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95,
                                      .eps = 1e-8, .decay = parameter->decay ? 0.1 : 0, .grad_scale = 1,
                                      .parameter = weights + at, .gradient = gradients + at, .m = m + at, .v = v + at};
        lm_device_ops(golden->device)->adamw(golden->device, &work);
    }
}

static void check_training(const char *name, const struct lm_device_options *how)
{
    struct golden golden = {0};
    loam_error error;
    struct lm_pass *pass;
    void *block;
    size_t bytes;
    int64_t steps;
    double most = 0;
    open_golden(name, how, true, &golden);
    const struct lm_pass_options options = {.batch = golden.batch, .length = golden.length, .backward = true};
    start_pass(&golden, &options, &pass, &block, &bytes);
    float *gradients = test_calloc(golden.elements * 3, sizeof *gradients);
    const int32_t *ids = reference(&golden, "train.ids", NULL), *targets = reference(&golden, "train.targets", NULL);
    const float *losses = reference(&golden, "train.losses", &steps);
    assert_int_equal(steps, 20);
    for (int64_t step = 0; step < steps; step++) {
        const int64_t rows = golden.batch * golden.length;
        const struct lm_pass_input input = {.ids = ids + step * rows, .targets = targets + step * rows};
        const double scale = 1.0 / (double)trained(input.targets, rows);
        double loss;
        memset(gradients, 0, golden.elements * sizeof *gradients);
        assert_ok(lm_pass_run(pass, &input, (float)scale, gradients, &loss, NULL, &error), &error);
        const double difference = fabs(loss * scale - losses[step]);
        if (!(difference <= BOUND))
            fail_msg("%s: step %d: loss %g, wanted %g", name, (int)step, loss * scale, losses[step]);
        most = fmax(most, difference);
        adamw(&golden, step + 1, gradients, gradients + golden.elements, gradients + 2 * golden.elements);
    }
    printf("%s: losses of 20 steps differ by %.2g\n", name, most);
    assert_true(losses[18] < losses[0] && losses[19] < losses[1]);
    test_free(gradients);
    lm_pass_free(pass);
    lm_block_unmap(block, bytes);
    close_golden(&golden);
}

static const struct lm_device_options plain = {.threads = 1, .reference = true}, fast = {.threads = 2};

static void test_logits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check_logits(names[i], &plain, false);
        check_logits(names[i], &fast, false);
        check_logits(names[i], &fast, true);
    }
}

static void test_gradients(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check_gradients(names[i], &plain, true);
        check_gradients(names[i], &fast, true);
        check_gradients(names[i], &fast, false);
    }
}

static void test_training(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check_training(names[i], &plain);
        check_training(names[i], &fast);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
