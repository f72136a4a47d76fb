/* AdamW over the table of parameters, against torch.optim.AdamW (tests/golden/make_models.py): 20 steps of every
 * family. The bound is the project's, 1e-4 on each loss; rounding alone makes some 1e-6. */
#include "support/support.h"

#include "train/run.h"

#include <math.h>

static loam_error error;

struct training {
    struct lm_device *device;
    struct lm_model *model;
    struct lm_tensors *reference;
    struct lm_run_settings settings;
    struct lm_run_memory memory;
};

static void start(struct training *training, const char *folder, const char *dtype)
{
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &training->device, &error), &error);
    assert_ok(lm_tensors_open(test_path(folder, "reference.safetensors"), &training->reference, &error), &error);
    lm_run_settings_init(&training->settings, LM_RUN_TRAIN);
    const struct lm_tensor *ids = lm_tensors_find(training->reference, "train.ids");
    training->settings.batch = ids->shape[1];
    training->settings.seq = ids->shape[2];
    training->settings.weight_decay = 0.1;
    assert_ok(lm_run_settings_set(&training->settings, "dtype", dtype, &error), &error);
    const struct lm_model_options options = {.load = true, .later = true, .dtype = training->settings.dtype};
    assert_ok(lm_model_open(folder, training->device, &options, &training->model, &error), &error);
    struct lm_run_memory *memory = &training->memory;
    /* as for two batches a step: the gradients then have places of their own all the time, and are cleared here */
    assert_ok(lm_run_memory_lay_out(memory, &training->settings, training->model, 2, &error), &error);
    assert_ok(lm_run_memory_map(memory, test_folder(), &error), &error);
}

static void end(struct training *training)
{
    lm_run_memory_free(&training->memory);
    lm_model_close(training->model);
    lm_tensors_close(training->reference);
    lm_device_close(training->device);
    lm_run_settings_free(&training->settings);
}

/* One step on batch `step` of the reference; gives the mean loss. */
static double one_step(struct training *training, int64_t step)
{
    struct lm_run_memory *memory = &training->memory;
    const int64_t size = training->settings.batch * training->settings.seq;
    const int32_t *ids = lm_tensors_find(training->reference, "train.ids")->data;
    const int32_t *targets = lm_tensors_find(training->reference, "train.targets")->data;
    const struct lm_pass_input input = {.ids = ids + (step - 1) * size, .targets = targets + (step - 1) * size};
    int64_t trained = 0;
    for (int64_t i = 0; i < size; i++)
        trained += input.targets[i] >= 0;
    double loss;
    const struct lm_pass_work work = {.scale = (float)(1 / (double)trained), .gradients = &memory->gradients};
    const int64_t units = lm_model_units(training->model);
    for (int64_t unit = 0; unit < units; unit++)
        lm_run_clear_gradients(memory, unit);
    assert_ok(lm_pass_go(memory->pass, &input, &work, &loss, NULL, &error), &error);
    for (int64_t unit = units - 1; unit >= 0; unit--)
        assert_ok(lm_optimizer_unit(memory, &training->settings, unit, step, 1e-3, 1, &error), &error);
    assert_ok(lm_device_check(training->device, &error), &error);
    return loss / (double)trained;
}

static void check_losses(const char *name, const char *dtype, double bound)
{
    struct training training = {0};
    start(&training, test_path(LOAM_TESTS "/golden/models", name), dtype);
    const float *wanted = lm_tensors_find(training.reference, "train.losses")->data;
    double worst = 0;
    for (int64_t step = 1; step <= 20; step++) {
        const double loss = one_step(&training, step);
        if (!(fabs(loss - wanted[step - 1]) <= bound))
            fail_msg("%s %s, step %lld: the loss is %.7g, torch has %.7g", name, dtype, (long long)step, loss,
                     (double)wanted[step - 1]);
        worst = fmax(worst, fabs(loss - wanted[step - 1]));
    }
    assert_true(wanted[19] < wanted[0] - 0.1); /* 20 steps that learn something */
    printf("%s %s: losses differ by %.2g\n", name, dtype, worst);
    end(&training);
}

static const char *const names[] = {"gpt2", "llama2", "llama3-untied", "llama3-tied", "mistral", "qwen2", "qwen3"};

static void losses_of_20_steps_are_torchs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_losses(names[i], "f32", 1e-4);
}

/* bf16 keeps 8 bits of each weight: each is off by up to 2^-9 of itself, of a random sign. Logits here are a few units,
 * so the losses stay within some hundredths; without masters the updates of 1e-3 would be lost in weights of 0.2 (a
 * step of bf16 there is 1e-3) and the curve would drift away. */
static void bf16_with_masters_stays_near(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_losses(names[i], "bf16", 0.05);
}

/* The state's chunks are every element of every parameter once, those of the last unit first. */
static void chunks_cover_every_parameter_once(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct training training = {0};
        start(&training, test_path(LOAM_TESTS "/golden/models", names[n]), "f32");
        size_t count, chunk = 0;
        const struct lm_parameter *table = lm_model_parameters(training.model, &count);
        const struct lm_state *kept = &training.memory.state;
        for (int64_t unit = lm_model_units(training.model) - 1; unit >= 0; unit--) {
            const struct lm_unit range = lm_model_unit(training.model, unit);
            for (size_t i = range.first; i < range.first + range.count; i++)
                for (int64_t first = 0; first < table[i].count; first += kept->chunks[chunk++].count) {
                    assert_int_equal(kept->chunks[chunk].parameter, i);
                    assert_int_equal(kept->chunks[chunk].first, first);
                }
        }
        assert_int_equal(chunk, kept->count);
        for (size_t i = 0; i < count; i++) {
            const bool embedding =
                strstr(table[i].name, "embed") || strstr(table[i].name, "wte") || strstr(table[i].name, "wpe");
            assert_int_equal(table[i].decay, table[i].rank == 2 && !embedding);
        }
        end(&training);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_of_20_steps_are_torchs),
        cmocka_unit_test(bf16_with_masters_stays_near),
        cmocka_unit_test(chunks_cover_every_parameter_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
