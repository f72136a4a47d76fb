/* Runs from beginning to end: what they write, and that the same work cut differently gives the same numbers. */
#include "support/tiny_run.h"

#include <math.h>

static loam_error error;
static struct lm_run_result result;

static const char *new_run(void)
{
    return tiny_path(test_folder(), "run");
}

/* Runs and frees the settings. */
static const char *run(struct lm_run_settings *settings)
{
    const char *directory = new_run();
    assert_ok(lm_run(settings, directory, false, NULL, &result, &error), &error);
    lm_run_settings_free(settings);
    return directory;
}

static const char *ids_file(int lines, int longest)
{
    const char *path = tiny_path(test_folder(), "data.ids");
    tiny_ids(path, 5, lines, longest);
    return path;
}

static void a_run_writes_what_it_should(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    const char *model = tiny_model(1), *data = ids_file(40, 17);
    tiny_settings(&settings, model, data);
    tiny_set(&settings, "epochs", "3");
    const char *directory = run(&settings);
    assert_int_equal(result.steps, 60);
    assert_int_equal(result.first_step, 1);
    static const char *const files[] = {"log.jsonl",
                                        "run.yaml",
                                        "config.json",
                                        "model.safetensors",
                                        "generation_config.json",
                                        "checkpoints/step-60/config.json",
                                        "checkpoints/step-60/state.json",
                                        "checkpoints/step-60/training_state.safetensors",
                                        "checkpoints/step-60/model.safetensors",
                                        NULL};
    for (const char *const *file = files; *file; file++)
        if (!lm_file_exists(test_path(directory, *file)))
            fail_msg("%s is missing", *file);
    assert_true(tiny_same_file(tiny_path(directory, "model.safetensors"),
                               tiny_path(directory, "checkpoints/step-60/model.safetensors")));
    static const char *const keys[] = {
        "step", "epoch", "loss", "lr", "grad_norm", "tokens", "tokens_per_second", "memory_bytes", NULL};
    for (const char *const *key = keys; *key; key++) {
        size_t count;
        double *values = tiny_log(directory, *key, &count);
        assert_int_equal(count, 60);
        lm_free(values);
    }
    size_t count;
    double *loss = tiny_log(directory, "loss", &count);
    double *epoch = tiny_log(directory, "epoch", &count);
    assert_true(fabs(loss[0] - log(TINY_VOCABULARY)) < 0.5); /* random weights: close to a uniform guess */
    assert_true(loss[59] < loss[0] - 0.5);
    assert_true(loss[59] == result.loss);
    assert_true(epoch[59] == 3 && epoch[29] == 1.5);
    lm_free(loss);
    lm_free(epoch);
    struct lm_run_settings written;
    assert_ok(lm_run_settings_open(&written, test_path(directory, "run.yaml"), &error), &error);
    assert_int_equal(written.steps, 60);
    assert_int_equal(written.warmup, 3);
    assert_string_equal(written.model, model);
    lm_run_settings_free(&written);
}

static void run_yaml_repeats_the_run(void **state)
{
    (void)state;
    struct lm_run_settings settings, again;
    tiny_settings(&settings, tiny_model(1), ids_file(9, 17));
    const char *first = run(&settings);
    assert_ok(lm_run_settings_open(&again, test_path(first, "run.yaml"), &error), &error);
    const char *second = run(&again);
    assert_true(tiny_same_file(tiny_path(first, "model.safetensors"), tiny_path(second, "model.safetensors")));
}

static void same_seed_same_bits(void **state)
{
    (void)state;
    const char *model = tiny_model(1), *data = ids_file(40, 17);
    const char *runs[3];
    for (int i = 0; i < 3; i++) {
        struct lm_run_settings settings;
        tiny_settings(&settings, model, data);
        tiny_set(&settings, "seed", i == 2 ? "8" : "7");
        tiny_set(&settings, "accumulate", "3");
        runs[i] = run(&settings);
    }
    assert_true(tiny_same_file(tiny_path(runs[0], "model.safetensors"), tiny_path(runs[1], "model.safetensors")));
    assert_false(tiny_same_file(tiny_path(runs[0], "model.safetensors"), tiny_path(runs[2], "model.safetensors")));
}

/* Losses and first gradient norms of two runs. Sums in another order differ by a few fp32 roundings, 6e-8 of the
 * largest term each; over sums of some hundred terms and two layers that stays under 1e-5. Adam divides by the
 * gradient's own size, so that after `n` steps the weights may differ by more where a gradient is nearly 0: the losses
 * are compared at 1e-4. */
static void compare(const char *a, const char *b)
{
    size_t count, other;
    double *x = tiny_log(a, "loss", &count), *y = tiny_log(b, "loss", &other);
    double *norm = tiny_log(a, "grad_norm", &count), *other_norm = tiny_log(b, "grad_norm", &other);
    assert_int_equal(count, other);
    assert_true(count > 1);
    if (fabs(norm[0] - other_norm[0]) > 1e-5 * norm[0] || fabs(x[0] - y[0]) > 1e-5)
        fail_msg("first step: losses %.9g and %.9g, norms %.9g and %.9g", x[0], y[0], norm[0], other_norm[0]);
    for (size_t i = 0; i < count; i++)
        if (fabs(x[i] - y[i]) > 1e-4)
            fail_msg("step %zu: losses %.9g and %.9g", i + 1, x[i], y[i]);
    lm_free(x);
    lm_free(y);
    lm_free(norm);
    lm_free(other_norm);
}

static void accumulated_or_in_one_batch(void **state)
{
    (void)state;
    const char *model = tiny_model(1), *data = ids_file(32, 17); /* of different lengths: shares differ */
    const char *batch[] = {"8", "2", "1"}, *accumulate[] = {"1", "4", "8"};
    const char *runs[3];
    for (int i = 0; i < 3; i++) {
        struct lm_run_settings settings;
        tiny_settings(&settings, model, data);
        tiny_set(&settings, "batch", batch[i]);
        tiny_set(&settings, "accumulate", accumulate[i]);
        tiny_set(&settings, "epochs", "2");
        runs[i] = run(&settings);
        assert_int_equal(result.steps, 8);
    }
    compare(runs[0], runs[1]);
    compare(runs[0], runs[2]);
}

static void one_thread_or_two(void **state)
{
    (void)state;
    const char *model = tiny_model(1), *data = ids_file(32, 17);
    const char *runs[2];
    for (int i = 0; i < 2; i++) {
        struct lm_run_settings settings;
        tiny_settings(&settings, model, data);
        tiny_set(&settings, "threads", i ? "2" : "1");
        runs[i] = run(&settings);
    }
    compare(runs[0], runs[1]);
}

static void recomputed_or_not(void **state)
{
    (void)state;
    const char *model = tiny_model(1), *data = ids_file(32, 17);
    static const char *const kinds[] = {"none", "inner", "layer", "2"};
    const char *runs[4];
    for (int i = 0; i < 4; i++) {
        struct lm_run_settings settings;
        tiny_settings(&settings, model, data);
        tiny_set(&settings, "recompute", kinds[i]);
        runs[i] = run(&settings);
        if (i)
            compare(runs[0], runs[i]);
    }
}

/* The last step of an epoch takes what is left of it. */
static void a_step_stays_in_its_epoch(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    tiny_settings(&settings, tiny_model(1), ids_file(14, 10)); /* 7 batches: steps of 3, 3 and 1 */
    tiny_set(&settings, "accumulate", "3");
    tiny_set(&settings, "epochs", "2");
    const char *directory = run(&settings);
    assert_int_equal(result.steps, 6);
    size_t count;
    double *epoch = tiny_log(directory, "epoch", &count);
    assert_true(epoch[2] == 1 && epoch[5] == 2);
    lm_free(epoch);
}

static void one_batch_is_learnt_by_heart(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    tiny_settings(&settings, tiny_model(1), ids_file(40, 17));
    tiny_set(&settings, "overfit-one-batch", "true");
    tiny_set(&settings, "batch", "1"); /* two that begin alike could not both be foretold */
    tiny_set(&settings, "steps", "150");
    tiny_set(&settings, "lr", "0.01");
    run(&settings);
    if (result.loss > 0.05)
        fail_msg("the loss is still %g", result.loss);
}

static void bf16_weights_are_their_masters_rounded(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    tiny_settings(&settings, tiny_model(1), ids_file(40, 17));
    tiny_set(&settings, "dtype", "bf16");
    tiny_set(&settings, "epochs", "2");
    const char *directory = run(&settings);
    struct lm_tensors *weights, *masters;
    assert_ok(lm_tensors_open(directory, &weights, &error), &error);
    assert_ok(lm_tensors_open(test_path(directory, "checkpoints/step-40/training_state.safetensors"), &masters, &error),
              &error);
    assert_int_equal(lm_tensors_count(masters), 3 * lm_tensors_count(weights));
    bool finer = false;
    for (size_t i = 0; i < lm_tensors_count(weights); i++) {
        const struct lm_tensor *weight = lm_tensors_at(weights, i);
        char name[160];
        snprintf(name, sizeof name, "master.%s", weight->name);
        const struct lm_tensor *master = lm_tensors_find(masters, name);
        assert_non_null(master);
        assert_int_equal(weight->dtype, LM_BF16);
        for (uint64_t j = 0; j < weight->count; j++) {
            uint16_t rounded;
            float exact;
            memcpy(&rounded, (const char *)weight->data + 2 * j, 2);
            memcpy(&exact, (const char *)master->data + 4 * j, 4);
            assert_int_equal(rounded, lm_f32_to_bf16(exact));
            finer = finer || lm_bf16_to_f32(rounded) != exact;
        }
    }
    assert_true(finer);
    lm_tensors_close(weights);
    lm_tensors_close(masters);
    assert_true(result.loss < log(TINY_VOCABULARY) - 0.5);
}

/* --- Evaluations --- */

struct seen {
    int steps, evaluations, samples, best;
    double last;
};

static void on_step(void *user, const struct lm_step_report *report)
{
    struct seen *seen = user;
    seen->steps++;
    assert_int_equal(report->step, seen->steps);
}

static void on_evaluation(void *user, const struct lm_evaluation_report *report)
{
    struct seen *seen = user;
    seen->evaluations++;
    seen->best += report->best;
    seen->last = report->loss;
}

static void evaluations_and_their_best(void **state)
{
    (void)state;
    const char *model = tiny_model(1), *data = ids_file(40, 17), *other = tiny_path(test_folder(), "eval.ids");
    tiny_ids(other, 99, 11, 17);
    struct lm_run_settings settings;
    tiny_settings(&settings, model, data);
    tiny_set(&settings, "eval_data", other);
    tiny_set(&settings, "eval_every", "7");
    tiny_set(&settings, "steps", "30");
    tiny_set(&settings, "save_every", "0");
    const char *directory = new_run();
    struct seen seen = {0};
    const struct lm_run_hooks hooks = {.user = &seen, .step = on_step, .evaluation = on_evaluation};
    assert_ok(lm_run(&settings, directory, false, &hooks, &result, &error), &error);
    assert_int_equal(seen.steps, 30);
    assert_int_equal(seen.evaluations, 5); /* steps 7, 14, 21, 28 and the last */
    size_t count;
    double *eval_loss = tiny_log(directory, "eval_loss", &count);
    assert_int_equal(count, 5);
    assert_true(eval_loss[4] == seen.last && eval_loss[4] < eval_loss[0]);
    lm_free(eval_loss);
    assert_true(result.eval_loss == seen.last);

    /* the same number from the model that was written */
    struct lm_device *device;
    struct lm_model *trained;
    struct lm_samples *samples;
    struct lm_evaluation evaluation;
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    assert_ok(lm_model_open(directory, device, &(struct lm_model_options){0}, &trained, &error), &error);
    const struct lm_source source = {.path = other, .weight = 1};
    const struct lm_samples_options options = {
        .kind = LM_SAMPLES_TEXT, .sources = &source, .source_count = 1, .length = 16, .batch = 3};
    assert_ok(lm_samples_open(&options, &samples, &error), &error);
    assert_ok(lm_evaluate(trained, samples, 3, 16, NULL, &evaluation, &error), &error);
    assert_true(fabs(evaluation.loss - seen.last) < 1e-5);
    assert_true(evaluation.perplexity == exp(evaluation.loss));
    assert_true(isnan(evaluation.bits_per_byte)); /* ids stand for no bytes without a tokenizer */
    lm_samples_close(samples);
    lm_model_close(trained);
    lm_device_close(device);
    lm_run_settings_free(&settings);
}

/* A learning rate that spoils the model: the first evaluation is the best, and it is what the run ends with. */
static void patience_stops_and_keeps_the_best(void **state)
{
    (void)state;
    const char *model = tiny_model(1), *data = ids_file(40, 17), *other = tiny_path(test_folder(), "eval.ids");
    tiny_ids(other, 99, 11, 17);
    struct lm_run_settings settings;
    tiny_settings(&settings, model, data);
    tiny_set(&settings, "eval-data", other);
    tiny_set(&settings, "eval-every", "2");
    tiny_set(&settings, "patience", "3");
    tiny_set(&settings, "lr", "0.5");
    tiny_set(&settings, "warmup", "0");
    tiny_set(&settings, "schedule", "constant");
    tiny_set(&settings, "steps", "200");
    tiny_set(&settings, "keep", "1");
    const char *directory = run(&settings);
    assert_true(result.stopped_early);
    assert_int_equal(result.steps, result.best_step + 6);
    char best[64], last[64], between[64];
    snprintf(best, sizeof best, "checkpoints/step-%d/model.safetensors", (int)result.best_step);
    snprintf(last, sizeof last, "checkpoints/step-%d/model.safetensors", (int)result.steps);
    snprintf(between, sizeof between, "checkpoints/step-%d", (int)result.best_step + 2);
    assert_true(tiny_same_file(tiny_path(directory, "model.safetensors"), tiny_path(directory, best)));
    assert_false(tiny_same_file(tiny_path(directory, "model.safetensors"), tiny_path(directory, last)));
    assert_false(lm_file_exists(test_path(directory, between)));
}

static void old_checkpoints_go(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    tiny_settings(&settings, tiny_model(1), ids_file(40, 17));
    tiny_set(&settings, "steps", "17");
    tiny_set(&settings, "save_every", "5");
    tiny_set(&settings, "keep", "3");
    const char *directory = run(&settings);
    char **names;
    size_t count;
    assert_ok(lm_list_directory(test_path(directory, "checkpoints"), &names, &count, &error), &error);
    assert_int_equal(count, 3);
    assert_string_equal(names[0], "step-10");
    assert_string_equal(names[1], "step-15");
    assert_string_equal(names[2], "step-17");
    lm_free_strings(names, count);
}

static void the_plan_is_the_run(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    struct lm_run_plan plan;
    tiny_settings(&settings, tiny_model(1), ids_file(40, 17));
    tiny_set(&settings, "accumulate", "2");
    tiny_set(&settings, "dtype", "bf16");
    assert_ok(lm_run_plan_make(&settings, &plan, &error), &error);
    const char *directory = run(&settings);
    assert_non_null(directory);
    assert_int_equal(plan.arena, result.plan.arena);
    assert_string_equal(plan.peak_moment, result.plan.peak_moment);
    assert_int_equal(plan.total, plan.weights + plan.gradients + plan.optimizer + plan.activations + plan.logits +
                                     plan.workspace + plan.other);
    assert_int_equal(plan.optimizer, result.plan.optimizer);
    assert_true(plan.optimizer >= (size_t)result.parameters * 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_writes_what_it_should),
        cmocka_unit_test(run_yaml_repeats_the_run),
        cmocka_unit_test(same_seed_same_bits),
        cmocka_unit_test(accumulated_or_in_one_batch),
        cmocka_unit_test(one_thread_or_two),
        cmocka_unit_test(recomputed_or_not),
        cmocka_unit_test(a_step_stays_in_its_epoch),
        cmocka_unit_test(one_batch_is_learnt_by_heart),
        cmocka_unit_test(bf16_weights_are_their_masters_rounded),
        cmocka_unit_test(evaluations_and_their_best),
        cmocka_unit_test(patience_stops_and_keeps_the_best),
        cmocka_unit_test(old_checkpoints_go),
        cmocka_unit_test(the_plan_is_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
