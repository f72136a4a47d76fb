/* Settings: every key by text and by YAML, there and back; what is refused, and how it is said. */
#include "support/support.h"
#include "train/run.h"
#include "train/train.h"

#include <math.h>

static loam_error error;

static void check_text(const struct lm_run_settings *settings, const char *key, const char *wanted)
{
    struct lm_bytes text = {0};
    assert_ok(lm_run_settings_text(settings, key, &text, &error), &error);
    assert_string_equal(text.length ? text.data : "", wanted);
    lm_bytes_free(&text);
}

/* key, a value other than the default */
static const char *const values[][2] = {
    {"model", "a model"},
    {"template", "chatml"},
    {"steps", "20"},
    {"epochs", "2.5"},
    {"batch", "3"},
    {"accumulate", "7"},
    {"seq", "33"},
    {"lr", "0.001"},
    {"min_lr", "1e-05"},
    {"schedule", "linear"},
    {"warmup", "5"},
    {"weight_decay", "0.3"},
    {"beta1", "0.8"},
    {"beta2", "0.99"},
    {"epsilon", "1e-06"},
    {"clip", "0.5"},
    {"seed", "99"},
    {"threads", "2"},
    {"no_shuffle", "true"},
    {"no_pack", "true"},
    {"train_on_all", "true"},
    {"faithful", "true"},
    {"add_tokens", "true"},
    {"weights_only", "true"},
    {"cache", "a: folder"},
    {"recompute", "3"},
    {"overfit_one_batch", "true"},
    {"dtype", "bf16"},
    {"eval_every", "4"},
    {"patience", "2"},
    {"save_every", "11"},
    {"keep", "6"},
    {"sample_prompt", "Once \"upon\"\n a: time #"},
    {"optimizer_state", "8bit"},
    {"masters", "false"},
    {"gradients", "bf16"},
    {"products", "f32"},
    {"fused_step", "true"},
    {"fused_clip", "exact"},
    {"offload", "optimizer,activations"},
    {"memory", "23622320128"},
};
enum { VALUES = sizeof values / sizeof *values };

static void set_all(struct lm_run_settings *settings)
{
    lm_run_settings_init(settings, LM_RUN_FINETUNE);
    for (size_t i = 0; i < VALUES; i++)
        assert_ok(lm_run_settings_set(settings, values[i][0], values[i][1], &error), &error);
    assert_ok(lm_run_settings_set(settings, "data", "a.jsonl", &error), &error);
    assert_ok(lm_run_settings_set(settings, "data", "b: c.jsonl:2.5", &error), &error);
    assert_ok(lm_run_settings_set(settings, "eval-data", "odd:7:1", &error), &error);
}

static void check_all(const struct lm_run_settings *settings)
{
    check_text(settings, "command", "finetune");
    for (size_t i = 0; i < VALUES; i++)
        check_text(settings, values[i][0], values[i][1]);
    assert_int_equal(settings->data.count, 2);
    assert_string_equal(settings->data.items[0].path, "a.jsonl");
    assert_string_equal(settings->data.items[1].path, "b: c.jsonl");
    assert_true(settings->data.items[0].weight == 1 && settings->data.items[1].weight == 2.5);
    assert_int_equal(settings->eval_data.count, 1);
    assert_string_equal(settings->eval_data.items[0].path, "odd:7");
}

static void every_key_has_a_test_value(void **state)
{
    (void)state;
    for (const char *const *key = lm_run_settings_keys(); *key; key++) {
        bool found = strcmp(*key, "command") == 0 || strstr(*key, "data") != NULL;
        for (size_t i = 0; i < VALUES; i++)
            found = found || strcmp(values[i][0], *key) == 0;
        if (!found)
            fail_msg("the key %s has no value in this test", *key);
        assert_true(lm_run_settings_knows(*key));
    }
}

static void there_and_back_through_yaml(void **state)
{
    (void)state;
    struct lm_run_settings settings, again;
    set_all(&settings);
    check_all(&settings);
    struct lm_bytes yaml = {0};
    assert_ok(lm_run_settings_write(&settings, &yaml, &error), &error);
    const char *path = test_path(test_folder(), "run.yaml");
    assert_ok(lm_file_replace(path, yaml.data, yaml.length, &error), &error);
    assert_ok(lm_run_settings_open(&again, path, &error), &error);
    check_all(&again);
    struct lm_bytes yaml_again = {0};
    assert_ok(lm_run_settings_write(&again, &yaml_again, &error), &error);
    assert_string_equal(yaml.data, yaml_again.data);
    lm_run_settings_free(&again);
    assert_ok(lm_run_settings_copy(&settings, &again, &error), &error);
    check_all(&again);
    lm_bytes_free(&yaml);
    lm_bytes_free(&yaml_again);
    lm_run_settings_free(&again);
    lm_run_settings_free(&settings);
}

static int read_text(struct lm_run_settings *settings, const char *text)
{
    const char *path = test_path(test_folder(), "recipe.yaml");
    assert_ok(lm_file_replace(path, text, strlen(text), &error), &error);
    lm_run_settings_init(settings, LM_RUN_TRAIN);
    return lm_run_settings_read(settings, path, &error);
}

static void recipes_as_people_write_them(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    assert_ok(read_text(&settings,
                        "# a comment\nlr: 1e-4\nweight-decay: 0\nno_shuffle: true\ndata: [x.txt, 'y.txt:3']\n"
                        "recompute: layer\ntemplate:\nsteps: auto\n"),
              &error);
    assert_true(settings.lr == 1e-4 && settings.weight_decay == 0 && settings.no_shuffle);
    assert_int_equal(settings.data.count, 2);
    assert_true(settings.data.items[1].weight == 3);
    assert_int_equal(settings.recompute, LM_RECOMPUTE_LAYER);
    assert_null(settings.template_name);
    assert_int_equal(settings.steps, LM_SETTING_AUTO);
    lm_run_settings_free(&settings);
    assert_ok(read_text(&settings, "data: one.txt\n"), &error);
    assert_string_equal(settings.data.items[0].path, "one.txt");
    lm_run_settings_free(&settings);
}

static void bad_recipes_are_refused_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word, *other;
        int code;
    } bad[] = {
        {"lr: 1e-4\nwieght_decay: 1\n", "2:", "weight_decay", LOAM_EUSAGE},
        {"batch: 0\n", "1:", "batch", LOAM_EUSAGE},
        {"batch: 2.5\n", "batch", "whole", LOAM_EUSAGE},
        {"lr: nan\n", "lr", "number", LOAM_EUSAGE},
        {"lr: [1, 2]\n", "lr", "one value", LOAM_EFORMAT},
        {"command: finetune\n", "command", "train", LOAM_EUSAGE},
        {"offload: optimizer,everything\n", "offload", "activations", LOAM_EUSAGE},
        {"fused_step: 2\n", "fused_step", "true", LOAM_EUSAGE},
        {"fused_clip: never\n", "fused_clip", "exact", LOAM_EUSAGE},
        {"memory: much\n", "memory", "22GiB", LOAM_EUSAGE},
        {"masters: 1\n", "masters", "auto", LOAM_EUSAGE},
        {"gradients: f16\n", "gradients", "bf16", LOAM_EUSAGE},
        {"optimizer_state: f64\n", "optimizer_state", "f32", LOAM_EUSAGE},
        {"schedule: cubic\n", "schedule", "cosine", LOAM_EUSAGE},
        {"recompute: 0\n", "recompute", "layer", LOAM_EUSAGE},
        {"no_shuffle: 7\n", "no_shuffle", "true", LOAM_EUSAGE},
        {"beta2: 1\n", "beta2", "at most", LOAM_EUSAGE},
        {"data: ['x:0']\nseed: -1\n", "data", "weight", LOAM_EUSAGE},
        {"- lr\n", "recipe.yaml", "lines like", LOAM_EFORMAT},
        {"lr: 1\nlr: 2\n", "lr", "recipe.yaml", LOAM_EFORMAT},
        {"zzzzqqqqxxxx: 1\n", "zzzzqqqqxxxx", "weight_decay", LOAM_EUSAGE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct lm_run_settings settings;
        int code = read_text(&settings, bad[i].text);
        if (code != bad[i].code || !strstr(error.message, bad[i].word) || !strstr(error.message, bad[i].other))
            fail_msg("%s: gave %s: %s", bad[i].text, loam_status_name(code), error.message);
        lm_run_settings_free(&settings);
    }
}

static void a_refused_value_changes_nothing(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    set_all(&settings);
    assert_fails(lm_run_settings_set(&settings, "lr", "fast", &error), &error, LOAM_EUSAGE, "lr", "fast");
    assert_fails(lm_run_settings_set(&settings, "steps", "99999999999999999999", &error), &error, LOAM_EUSAGE, "steps");
    assert_fails(lm_run_settings_set(&settings, "bathc", "4", &error), &error, LOAM_EUSAGE, "bathc", "'batch'");
    check_all(&settings);
    lm_run_settings_free(&settings);
}

static void what_does_not_go_together(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    lm_run_settings_init(&settings, LM_RUN_TRAIN);
    assert_fails(lm_run_settings_check(&settings, &error), &error, LOAM_EUSAGE, "model");
    assert_ok(lm_run_settings_set(&settings, "model", "m", &error), &error);
    assert_fails(lm_run_settings_check(&settings, &error), &error, LOAM_EUSAGE, "--data");
    assert_ok(lm_run_settings_set(&settings, "data", "d", &error), &error);
    assert_ok(lm_run_settings_check(&settings, &error), &error);
    assert_ok(lm_run_settings_set(&settings, "patience", "1", &error), &error);
    assert_fails(lm_run_settings_check(&settings, &error), &error, LOAM_EUSAGE, "--eval-data");
    assert_ok(lm_run_settings_set(&settings, "patience", "0", &error), &error);
    static const char *const apart[][3][2] = {
        {{"masters", "true"}, {"dtype", "f32"}},
        {{"fused_step", "true"}, {"accumulate", "2"}},
        {{"fused_clip", "exact"}},
        {{"offload", "weights"}},
        {{"offload", "activations"}, {"recompute", "inner"}},
        {{"zero", "2"}},
    };
    for (size_t i = 0; i < sizeof apart / sizeof *apart; i++) {
        struct lm_run_settings two;
        assert_ok(lm_run_settings_copy(&settings, &two, &error), &error);
        for (int j = 0; j < 3 && apart[i][j][0]; j++)
            assert_ok(lm_run_settings_set(&two, apart[i][j][0], apart[i][j][1], &error), &error);
        assert_fails(lm_run_settings_check(&two, &error), &error, LOAM_EUSAGE, apart[i][0][0]);
        lm_run_settings_free(&two);
    }
    assert_ok(lm_run_settings_set(&settings, "template", "chatml", &error), &error);
    assert_fails(lm_run_settings_check(&settings, &error), &error, LOAM_EUSAGE, "finetune");
    lm_run_settings_free(&settings);
}

static void out_of_memory_at_every_place(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    set_all(&settings);
    struct lm_bytes yaml = {0};
    assert_ok(lm_run_settings_write(&settings, &yaml, &error), &error);
    const char *path = test_path(test_folder(), "run.yaml");
    assert_ok(lm_file_replace(path, yaml.data, yaml.length, &error), &error);
    lm_run_settings_free(&settings);
    int code = LOAM_ENOMEM;
    for (int64_t n = 1; code != LOAM_OK; n++) {
        assert_true(n < 10000);
        lm_memory_fail_after(n);
        code = lm_run_settings_open(&settings, path, &error);
        lm_memory_fail_after(-1);
        if (code != LOAM_OK)
            assert_int_equal(code, LOAM_ENOMEM);
        else
            check_all(&settings);
        lm_run_settings_free(&settings);
    }
    lm_bytes_free(&yaml);
}

/* Values worked out by hand from the formulas in train.h. */
static void schedules(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    lm_run_settings_init(&settings, LM_RUN_TRAIN);
    settings.lr = 1;
    settings.min_lr = 0.2;
    settings.warmup = 4;
    settings.steps = 12;
    const double first[] = {0.25, 0.5, 0.75, 1};
    for (int kind = LM_SCHEDULE_CONSTANT; kind <= LM_SCHEDULE_COSINE; kind++) {
        settings.schedule = (enum lm_schedule)kind;
        for (int step = 1; step <= 4; step++)
            assert_true(lm_schedule_rate(&settings, step) == first[step - 1]);
        /* step 8 is halfway from 4 to 12; (1 + 0.2) / 2 = 0.6 for both falling ones */
        const double middle = kind == LM_SCHEDULE_CONSTANT ? 1 : 0.6, last = kind == LM_SCHEDULE_CONSTANT ? 1 : 0.2;
        assert_true(fabs(lm_schedule_rate(&settings, 8) - middle) < 1e-15);
        assert_true(fabs(lm_schedule_rate(&settings, 12) - last) < 1e-15);
    }
    settings.schedule = LM_SCHEDULE_COSINE;
    assert_true(fabs(lm_schedule_rate(&settings, 6) - (0.2 + 0.8 * 0.5 * (1 + sqrt(0.5)))) < 1e-15);
    settings.warmup = 0;
    assert_true(lm_schedule_rate(&settings, 1) < 1);
}

/* How many checkpoints lie on the disk at once, at most: no more than the run makes. */
static void checkpoints_held(void **state)
{
    static const struct {
        const char *save_every;
        int64_t held, from_700;
    } cases[] = {{"0", 1, 1}, {"1000", 1, 1}, {"600", 2, 1}, {"100", 3, 3}, {"450", 3, 2}};
    (void)state;
    struct lm_run_settings settings;
    lm_run_settings_init(&settings, LM_RUN_TRAIN);
    assert_ok(lm_run_settings_set(&settings, "steps", "1000", &error), &error);
    assert_ok(lm_run_settings_set(&settings, "keep", "2", &error), &error);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_ok(lm_run_settings_set(&settings, "save_every", cases[i].save_every, &error), &error);
        assert_int_equal(lm_checkpoints_held(&settings, 0), cases[i].held);
        assert_int_equal(lm_checkpoints_held(&settings, 700), cases[i].from_700);
    }
    lm_run_settings_free(&settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_has_a_test_value),      cmocka_unit_test(there_and_back_through_yaml),
        cmocka_unit_test(recipes_as_people_write_them),    cmocka_unit_test(bad_recipes_are_refused_with_their_place),
        cmocka_unit_test(a_refused_value_changes_nothing), cmocka_unit_test(what_does_not_go_together),
        cmocka_unit_test(out_of_memory_at_every_place),    cmocka_unit_test(schedules),
        cmocka_unit_test(checkpoints_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
