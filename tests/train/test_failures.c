/* Numbers that are none, data and machines that do not suffice: the run says where, and nothing has changed. */
#include "support/tiny_run.h"

#include <math.h>

static loam_error error;
static struct lm_run_result result;

static const char *new_run(void)
{
    return tiny_path(test_folder(), "run");
}

static const char *data_file(void)
{
    const char *path = tiny_path(test_folder(), "data.ids");
    tiny_ids(path, 5, 12, 17);
    return path;
}

/* A tiny model with one weight of one parameter set. */
static const char *poisoned(const char *name, float value)
{
    const char *folder = tiny_model(1), *to = test_folder();
    struct lm_device *device;
    struct lm_model *model;
    size_t count;
    const struct lm_model_options options = {.load = true, .dtype = LM_F32};
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    assert_ok(lm_model_open(folder, device, &options, &model, &error), &error);
    const struct lm_parameter *table = lm_model_parameters(model, &count);
    enum lm_dtype dtype;
    float *weights = lm_model_weights(model, &dtype);
    for (size_t i = 0; i < count; i++)
        for (int64_t j = 0; j < table[i].count && strcmp(table[i].name, name) == 0; j++)
            weights[table[i].offset + (size_t)j] = value;
    assert_ok(lm_model_save(model, to, LM_F32, 0, &error), &error);
    lm_model_close(model);
    lm_device_close(device);
    return to;
}

static void check_nothing_written(const char *directory)
{
    size_t count;
    double *steps = tiny_log(directory, "step", &count);
    assert_int_equal(count, 0);
    lm_free(steps);
    assert_false(lm_file_exists(test_path(directory, "checkpoints")));
    assert_false(lm_file_exists(test_path(directory, "config.json")));
}

static void a_weight_that_is_no_number(void **state)
{
    (void)state;
    static const char *const dtypes[] = {"f32", "bf16"};
    for (int i = 0; i < 2; i++) {
        struct lm_run_settings settings;
        const char *directory = new_run();
        tiny_settings(&settings, poisoned("model.layers.1.mlp.up_proj.weight", NAN), data_file());
        tiny_set(&settings, "dtype", dtypes[i]);
        assert_fails(lm_run(&settings, directory, false, NULL, &result, &error), &error, LOAM_ENUMERIC, "step 1",
                     "loss", "model.layers.1.mlp.up_proj.weight");
        check_nothing_written(directory);
        lm_run_settings_free(&settings);
    }
}

/* Weights that are numbers, too large to multiply in fp32. */
static void a_loss_that_overflows(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    const char *directory = new_run();
    tiny_settings(&settings, poisoned("model.layers.0.mlp.down_proj.weight", 3e38f), data_file());
    assert_fails(lm_run(&settings, directory, false, NULL, &result, &error), &error, LOAM_ENUMERIC, "step 1",
                 "smaller lr", "batch");
    check_nothing_written(directory);
    lm_run_settings_free(&settings);
}

static void an_evaluation_that_is_no_number(void **state)
{
    (void)state;
    struct lm_device *device;
    struct lm_model *model;
    struct lm_samples *samples;
    struct lm_evaluation evaluation;
    const struct lm_source source = {.path = data_file(), .weight = 1};
    const struct lm_samples_options options = {
        .kind = LM_SAMPLES_TEXT, .sources = &source, .source_count = 1, .length = 16, .batch = 2};
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    assert_ok(lm_model_open(poisoned("model.norm.weight", NAN), device, &(struct lm_model_options){0}, &model, &error),
              &error);
    assert_ok(lm_samples_open(&options, &samples, &error), &error);
    assert_fails(lm_evaluate(model, samples, 2, 16, NULL, &evaluation, &error), &error, LOAM_ENUMERIC, "batch 1");
    lm_samples_close(samples);
    lm_model_close(model);
    lm_device_close(device);
}

static void settings_that_the_model_refuses(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    const char *directory = new_run();
    tiny_settings(&settings, tiny_model(1), data_file());
    tiny_set(&settings, "seq", "49");
    assert_fails(lm_run(&settings, directory, false, NULL, &result, &error), &error, LOAM_EUSAGE, "seq", "48");
    tiny_set(&settings, "seq", "16");
    tiny_set(&settings, "model", "/nowhere");
    assert_fails(lm_run(&settings, directory, false, NULL, &result, &error), &error, LOAM_ENOTFOUND, "/nowhere");
    lm_run_settings_free(&settings);
    tiny_settings(&settings, tiny_model(1), "/nowhere.ids");
    assert_fails(lm_run(&settings, directory, false, NULL, &result, &error), &error, LOAM_ENOTFOUND, "/nowhere.ids");
    assert_false(lm_file_exists(directory));
    lm_run_settings_free(&settings);
}

static void more_memory_than_there_is(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    const char *directory = new_run(), *data = tiny_path(test_folder(), "many.ids");
    tiny_ids(data, 5, 12, 17);
    tiny_settings(&settings, tiny_model(1), data);
    tiny_set(&settings, "batch", "1048576");
    tiny_set(&settings, "seq", "48");
    assert_fails(lm_run(&settings, directory, false, NULL, &result, &error), &error, LOAM_ENOMEM, "needs", "batch");
    assert_false(lm_file_exists(directory));
    lm_run_settings_free(&settings);
}

static void out_of_memory_while_opening(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    tiny_settings(&settings, tiny_model(1), data_file());
    tiny_set(&settings, "steps", "1");
    int code = LOAM_ENOMEM;
    for (int64_t n = 1; code != LOAM_OK; n += 1 + n / 8) {
        const char *directory = new_run();
        lm_memory_fail_after(n);
        code = lm_run(&settings, directory, false, NULL, &result, &error);
        lm_memory_fail_after(-1);
        if (code != LOAM_OK && code != LOAM_ENOMEM)
            fail_msg("allocation %lld: %s: %s", (long long)n, loam_status_name(code), error.message);
        assert_true(n < 1000000);
    }
    lm_run_settings_free(&settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_weight_that_is_no_number),      cmocka_unit_test(a_loss_that_overflows),
        cmocka_unit_test(an_evaluation_that_is_no_number), cmocka_unit_test(settings_that_the_model_refuses),
        cmocka_unit_test(more_memory_than_there_is),       cmocka_unit_test(out_of_memory_while_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
