/* What saves memory changes no bits, where it says so: fused or not, in memory or on disk, kept or made anew; and what a run saved
 * with one way of keeping things, a run with another goes on from. Tiny models of four families with six layers. */
#include "support/tiny_run.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>

static loam_error error;

enum { VOCABULARY = 61, LAYERS = 6, FAMILIES = 4 };

static const char *model_of(int which)
{
    static const char *made[FAMILIES];
    struct lm_config config = {.family = which == 2 ? LM_QWEN2 : LM_LLAMA, .vocabulary = VOCABULARY, .width = 24, .layers = LAYERS,
                               .heads = 4, .kv_heads = 2, .head_size = 6, .feed_forward = 40, .context = 32, .norm_eps = 1e-5,
                               .rope_theta = 10000, .initializer_range = 0.08, .bos = -1, .eos = -1, .pad = -1, .tied = which > 0,
                               .qkv_bias = which == 2};
    if (which == 3)
        config = (struct lm_config){.family = LM_GPT2, .vocabulary = VOCABULARY, .width = 24, .layers = LAYERS, .heads = 4,
                                    .kv_heads = 4, .head_size = 6, .feed_forward = 96, .context = 32, .tied = true,
                                    .learned_positions = true, .layer_norm = true, .gelu = true, .gelu_tanh = true,
                                    .qkv_bias = true, .out_bias = true, .mlp_bias = true, .transposed_weights = true,
                                    .norm_eps = 1e-5, .initializer_range = 0.08, .bos = -1, .eos = -1, .pad = -1};
    if (made[which])
        return made[which];
    struct lm_device *device;
    struct lm_model *model;
    const struct lm_model_options options = {.load = true, .dtype = LM_F32};
    made[which] = tiny_path(test_folder(), "base");
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    assert_ok(lm_model_create(&config, 7, device, &options, &model, &error), &error);
    assert_ok(lm_model_save(model, made[which], LM_F32, 0, &error), &error);
    lm_model_close(model);
    lm_device_close(device);
    return made[which];
}

static const char *data_file(void)
{
    static const char *path;
    if (!path) {
        path = tiny_path(test_folder(), "data.ids");
        tiny_ids(path, 5, 40, 17);
    }
    return path;
}

/* "key=value key=value" */
static void set_words(struct lm_run_settings *settings, const char *words)
{
    char text[256], *rest = NULL;
    snprintf(text, sizeof text, "%s", words);
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(word, '=');
        *value++ = 0;
        tiny_set(settings, word, value);
    }
}

static const char *run_steps(int family, const char *words, const char *steps)
{
    struct lm_run_settings settings;
    struct lm_run_result result;
    static const char *folder;
    static int runs;
    char name[32];
    folder = folder ? folder : test_folder();
    snprintf(name, sizeof name, "run-%d", runs++);
    const char *directory = tiny_path(folder, name);
    tiny_settings(&settings, model_of(family), data_file());
    tiny_set(&settings, "steps", steps);
    tiny_set(&settings, "schedule", "constant");
    tiny_set(&settings, "warmup", "0");
    tiny_set(&settings, "clip", "0.5");    /* below the norms that come: clipping is at work */
    set_words(&settings, words);
    assert_ok(lm_run(&settings, directory, false, NULL, &result, &error), &error);
    assert_true(isfinite(result.loss));
    lm_run_settings_free(&settings);
    return directory;
}

static bool same_end(const char *a, const char *b)
{
    return tiny_same_file(tiny_path(a, "model.safetensors"), tiny_path(b, "model.safetensors"));
}

/* Two families each time, in turn. */
static void check_same(const char *one, const char *other)
{
    static int turn;
    turn++;
    for (int family = turn % 2; family < FAMILIES; family += 2) {
        const char *a = run_steps(family, one, "5"), *b = run_steps(family, other, "5");
        if (!same_end(a, b))
            fail_msg("family %d: '%s' and '%s' end in different weights", family, one, other);
        char state[] = "checkpoints/step-5/training_state.safetensors";
        if (!tiny_same_file(tiny_path(a, state), tiny_path(b, state)))
            fail_msg("family %d: '%s' and '%s' end in different state", family, one, other);
    }
}

static void fused_with_exact_clipping(void **state)
{
    (void)state;
    check_same("", "fused_step=true fused_clip=exact");
    check_same("dtype=bf16", "dtype=bf16 fused_step=true fused_clip=exact");
    check_same("dtype=bf16 optimizer_state=8bit", "dtype=bf16 optimizer_state=8bit fused_step=true fused_clip=exact");
    check_same("clip=0", "clip=0 fused_step=true");
}

static void state_on_disk(void **state)
{
    (void)state;
    check_same("accumulate=2", "accumulate=2 offload=optimizer");
    check_same("fused_step=true", "fused_step=true offload=optimizer");
    check_same("dtype=bf16 optimizer_state=bf16", "dtype=bf16 optimizer_state=bf16 offload=optimizer");
    check_same("dtype=bf16", "dtype=bf16 offload=optimizer");
}

static void activations_on_disk(void **state)
{
    (void)state;
    check_same("", "recompute=layer offload=activations");
    check_same("recompute=2", "recompute=layer offload=activations accumulate=1");
}

static void weights_on_disk(void **state)
{
    (void)state;
    check_same("fused_step=true", "fused_step=true offload=weights");
    check_same("fused_step=true dtype=bf16", "fused_step=true dtype=bf16 offload=optimizer,weights recompute=2");
    check_same("fused_step=true dtype=bf16 optimizer_state=8bit",
               "fused_step=true dtype=bf16 optimizer_state=8bit offload=optimizer,weights,activations recompute=layer");
}

/* The settings of a run, changed where it stands. */
static void change_settings(const char *directory, const char *words)
{
    struct lm_run_settings settings;
    struct lm_bytes yaml = {0};
    const char *path = tiny_path(directory, "run.yaml");
    assert_ok(lm_run_settings_open(&settings, path, &error), &error);
    set_words(&settings, words);
    assert_ok(lm_run_settings_write(&settings, &yaml, &error), &error);
    assert_ok(lm_file_replace(path, yaml.data, yaml.length, &error), &error);
    lm_bytes_free(&yaml);
    lm_run_settings_free(&settings);
}

static const char *go_on(const char *directory, const char *words)
{
    struct lm_run_result result;
    change_settings(directory, words);
    assert_ok(lm_run(NULL, directory, true, NULL, &result, &error), &error);
    assert_true(isfinite(result.loss));
    return directory;
}

static void check_resumed(const char *one, const char *other)
{
    char more[256];
    snprintf(more, sizeof more, "steps=7 %s", other);
    static int turn;
    for (int family = turn++ % 2; family < FAMILIES; family += 2)
        if (!same_end(run_steps(family, one, "7"), go_on(run_steps(family, one, "3"), more)))
            fail_msg("family %d: from '%s' on as '%s' ends in different weights", family, one, other);
}

static void resumed_with_other_switches(void **state)
{
    (void)state;
    check_resumed("fused_step=true fused_clip=exact", "fused_step=false fused_clip=previous");
    check_resumed("fused_step=true", "offload=optimizer,weights");
    check_resumed("fused_step=true dtype=bf16 optimizer_state=8bit offload=optimizer,weights", "offload=none recompute=layer");
    check_resumed("dtype=bf16", "offload=optimizer");
}

/* The loss of the step after, from the log. */
static double last_loss(const char *directory)
{
    size_t count;
    double *losses = tiny_log(directory, "loss", &count);
    const double loss = losses[count - 1];
    lm_free(losses);
    return loss;
}

/* From a checkpoint of one kind of state to a run of another: the weights are the same but for bf16, so the next loss is too; and
 * it goes on learning. bf16 weights are off by up to 2^-9 of themselves, the losses (near 4) by some hundredths. */
static void state_of_another_kind(void **state)
{
    (void)state;
    static const char *const kinds[] = {"optimizer_state=f32 dtype=f32 masters=auto gradients=f32", "optimizer_state=8bit dtype=f32 masters=auto gradients=f32",
                                        "optimizer_state=bf16 dtype=bf16 masters=false gradients=f32",
                                        "optimizer_state=8bit dtype=bf16 masters=true gradients=f32 offload=optimizer",
                                        "optimizer_state=8bit dtype=bf16 masters=false gradients=bf16"};
    enum { KINDS = sizeof kinds / sizeof *kinds };
    for (int from = 0; from < KINDS; from++)
        for (int to = (from + 1) % KINDS, turn = 0; turn < 2; turn++, to = (to + 1) % KINDS) {
            char more[256];
            snprintf(more, sizeof more, "steps=4 offload=none %s", kinds[to]);
            const double straight = last_loss(go_on(run_steps(from % FAMILIES, kinds[from], "3"), "steps=4"));
            const double changed = last_loss(go_on(run_steps(from % FAMILIES, kinds[from], "3"), more));
            if (!(fabs(straight - changed) < 0.05))
                fail_msg("from '%s' on as '%s': loss %g, without a change %g", kinds[from], kinds[to], changed, straight);
        }
}

/* Products of bf16 numbers: each factor is off by up to 2^-9 of itself, as bf16 weights are, so the losses are by some hundredths. Where
 * the processor has none the setting changes no bit. */
static void products_of_bf16(void **state)
{
    (void)state;
    struct lm_device *device;
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    const bool has = strcmp(lm_device_isa(device), "avx512bf16") == 0;
    lm_device_close(device);
    for (int family = 0; family < FAMILIES; family++)
        for (int narrow = 0; narrow < 2; narrow++) {
            const char *dtype = narrow ? "dtype=bf16" : "dtype=f32";
            char words[64];
            snprintf(words, sizeof words, "%s products=f32", dtype);
            const char *one = run_steps(family, words, "3");
            snprintf(words, sizeof words, "%s products=bf16", dtype);
            const char *other = run_steps(family, words, "3");
            assert_int_equal(same_end(one, other), !has);
            const double apart = fabs(last_loss(one) - last_loss(other));
            if (!(apart < 0.05))
                fail_msg("family %d, %s: losses %g apart", family, dtype, apart);
            if (narrow && !same_end(other, run_steps(family, dtype, "3")))
                fail_msg("family %d: bf16 weights do not multiply bf16 numbers unless asked otherwise", family);
        }
}

/* Weights that are no numbers: a fused step sees it at the head, before anything is stepped. */
static void numbers_that_are_none(void **state)
{
    (void)state;
    static const char *const ways[] = {"fused_step=true", "fused_step=true fused_clip=exact", "fused_step=true clip=0",
                                       "fused_step=true offload=optimizer,weights recompute=layer"};
    struct lm_device *device;
    struct lm_model *model;
    size_t count;
    const char *spoilt = tiny_path(test_folder(), "spoilt");
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    assert_ok(lm_model_open(model_of(0), device, &(struct lm_model_options){.load = true, .dtype = LM_F32}, &model, &error), &error);
    lm_model_parameters(model, &count);
    *(float *)lm_model_weight(model, count / 2) = NAN;
    assert_ok(lm_model_save(model, spoilt, LM_F32, 0, &error), &error);
    lm_model_close(model);
    lm_device_close(device);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct lm_run_settings settings;
        struct lm_run_result result;
        const char *directory = tiny_path(test_folder(), "run");
        tiny_settings(&settings, spoilt, data_file());
        set_words(&settings, ways[i]);
        assert_fails(lm_run(&settings, directory, false, NULL, &result, &error), &error, LOAM_ENUMERIC, "step 1", "norm");
        assert_null(strstr(error.message, "have been stepped"));
        assert_false(lm_file_exists(tiny_path(directory, "checkpoints")));
        lm_run_settings_free(&settings);
    }
}

/* The scratch files of what lies on disk are refused before the run begins, where they have no room. */
static void no_room_for_what_lies_on_disk(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    struct lm_run_result result;
    struct rlimit before, limit;
    const char *directory = tiny_path(test_folder(), "run");
    tiny_settings(&settings, model_of(0), data_file());
    tiny_set(&settings, "offload", "optimizer");
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 64 << 10;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const int code = lm_run(&settings, directory, false, NULL, &result, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    if (code != LOAM_ENOSPACE || !strstr(error.message, "scratch"))
        fail_msg("%s: %s", loam_status_name(code), error.message);
    lm_run_settings_free(&settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fused_with_exact_clipping),
        cmocka_unit_test(state_on_disk),
        cmocka_unit_test(activations_on_disk),
        cmocka_unit_test(weights_on_disk),
        cmocka_unit_test(resumed_with_other_switches),
        cmocka_unit_test(state_of_another_kind),
        cmocka_unit_test(products_of_bf16),
        cmocka_unit_test(numbers_that_are_none),
        cmocka_unit_test(no_room_for_what_lies_on_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
