/* Lesson fourteen: what a training run needs, where it goes, and what the switches do; planned, and run. */
#include "lessons.h"
#include "train/train.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 2, LENGTH = 256, RUN_STEPS = 3, MOST_CHANGES = 6 };

/* Changes of the settings, "key=value". */
struct way {
    const char *name;
    const char *changes[MOST_CHANGES];
};
static const struct way planned[] = {
    {"nothing switched on", {NULL}},
    {"recompute inner", {"recompute=inner"}},
    {"recompute layer", {"recompute=layer"}},
    {"optimizer state of 8 bits", {"optimizer_state=8bit"}},
    {"weights in bf16 alone", {"dtype=bf16", "masters=false"}},
    {"fused step", {"fused_step=true"}},
    {"offload optimizer", {"offload=optimizer"}},
    {"offload weights", {"offload=weights"}},
    {"recompute, offload activations", {"recompute=layer", "offload=activations"}},
    {"all of these", {"recompute=layer", "optimizer_state=8bit", "dtype=bf16", "masters=false", "fused_step=true",
                      "offload=optimizer,weights,activations"}},
}, run[] = {    /* those that leave the numbers as they are */
    {"nothing switched on", {NULL}},
    {"recompute layer", {"recompute=layer"}},
    {"fused step", {"fused_step=true"}},
    {"offload optimizer", {"offload=optimizer"}},
    {"all of these, and weights", {"recompute=layer", "fused_step=true", "offload=optimizer,weights,activations"}},
};
enum { PLANNED = sizeof planned / sizeof *planned, RUN = sizeof run / sizeof *run, PLAN_COLUMNS = LM_PLAN_PARTS + 2, RUN_COLUMNS = 5 };

struct showing {
    struct lm_lesson *lesson;
    char *folder, *model, *shape;   /* of this lesson's own: the small model there, and the config.json that is planned */
    struct lm_config config;        /* of the latter */
    int64_t length;                 /* positions planned for */
    size_t most;                    /* bytes of the largest plan drawn so far: the scale of the others */
};

struct lm_config lm_lesson_config_of_runs(const struct lm_tokenizer *tokenizer)
{
    struct lm_config config = lm_lesson_config(tokenizer);
    config.width = 128;
    config.layers = 6;
    config.head_size = 32;
    config.feed_forward = 384;
    config.context = LENGTH;
    return config;
}

static double mib(size_t bytes)
{
    return (double)bytes / (1 << 20);
}

/* --- A folder of its own --- */

static int make_folder(struct showing *s, loam_error *error)
{
    const char *temporary = getenv("TMPDIR");
    struct lm_bytes name = {0};
    int code = lm_bytes_format(&name, error, "%s/loam-lesson-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (code)
        return code;
    if (!mkdtemp(name.data)) {
        code = lm_fail_errno(error, errno, "%s: a folder for the lesson's runs; set TMPDIR to one that can be written", name.data);
        lm_bytes_free(&name);
        return code;
    }
    s->folder = name.data;
    s->model = lm_path_join(s->folder, "model", error);
    s->shape = lm_path_join(s->folder, "shape", error);
    return s->model && s->shape ? lm_make_directories(s->shape, error) : LOAM_ENOMEM;
}

static void close_folder(struct showing *s)
{
    if (s->folder)
        lm_remove_tree(s->folder, NULL);
    lm_free(s->folder);
    lm_free(s->model);
    lm_free(s->shape);
}

static int save_small_model(struct showing *s, loam_error *error)
{
    struct lm_device *device;
    struct lm_model *model;
    const struct lm_config config = lm_lesson_config_of_runs(s->lesson->tokenizer);
    int code = lm_device_open(&(struct lm_device_options){.threads = 1}, &device, error);
    if (code)
        return code;
    code = lm_model_create(&config, s->lesson->options->seed, device, &(struct lm_model_options){.dtype = LM_F32}, &model, error);
    if (!code) {
        code = lm_model_save(model, s->model, LM_F32, 0, error);
        lm_model_close(model);
    }
    lm_device_close(device);
    return code;
}

/* The sentence over and over, as many ids as a step of the runs takes, each row beginning at another of its tokens. */
static int write_ids(const struct showing *s, const char *path, loam_error *error)
{
    const struct lm_ids *ids = &s->lesson->ids;
    struct lm_bytes text = {0};
    int code = LOAM_OK;
    for (size_t row = 0; row < BATCH && !code; row++)
        for (size_t i = 0; i <= LENGTH && !code; i++)
            code = lm_bytes_format(&text, error, "%d%c", (int)ids->data[(row + i) % ids->length], i == LENGTH ? '\n' : ' ');
    if (!code)
        code = lm_file_replace(path, text.data, text.length, error);
    lm_bytes_free(&text);
    return code;
}

/* --- Plans --- */

static int make_settings(const struct showing *s, const char *model, int64_t length, const struct way *way,
                         struct lm_run_settings *settings, loam_error *error)
{
    lm_run_settings_init(settings, LM_RUN_TRAIN);
    int code = lm_run_settings_set(settings, "model", model, error);
    settings->batch = BATCH;
    settings->seq = length;
    settings->seed = s->lesson->options->seed;
    settings->threads = s->lesson->options->threads > 0 ? s->lesson->options->threads : LM_SETTING_AUTO;
    for (int i = 0; i < MOST_CHANGES && way->changes[i] && !code; i++) {
        char key[64];
        lm_format(key, sizeof key, "%.*s", (int)strcspn(way->changes[i], "="), way->changes[i]);
        code = lm_run_settings_set(settings, key, strchr(way->changes[i], '=') + 1, error);
    }
    return code;
}

static int plan_way(const struct showing *s, const struct way *way, double *row, loam_error *error)
{
    struct lm_run_settings settings;
    struct lm_run_plan plan;
    int code = make_settings(s, s->shape, s->length, way, &settings, error);
    if (!code)
        code = lm_run_plan_make(&settings, &plan, error);
    lm_run_settings_free(&settings);
    if (code)
        return code;
    const double values[PLAN_COLUMNS] = {mib(plan.weights), mib(plan.gradients), mib(plan.optimizer), mib(plan.activations),
                                         mib(plan.logits), mib(plan.workspace), mib(plan.arena),
                                         mib(plan.scratch_optimizer + plan.scratch_weights + plan.scratch_activations)};
    memcpy(row, values, sizeof values);
    return LOAM_OK;
}

static int show_plans(struct showing *s, loam_error *error)
{
    double values[PLANNED * PLAN_COLUMNS];
    const char *names[PLANNED], *columns[PLAN_COLUMNS];
    int code = LOAM_OK;
    for (int i = 0; i < PLANNED && !code; i++) {
        names[i] = planned[i].name;
        code = plan_way(s, &planned[i], values + i * PLAN_COLUMNS, error);
    }
    for (int part = 0; part < LM_PLAN_PARTS; part++)
        columns[part] = lm_plan_part_name((enum lm_plan_part)part);
    columns[LM_PLAN_PARTS] = "in memory";
    columns[LM_PLAN_PARTS + 1] = "on disk";
    const struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "plans", .title = "Each switch by itself, then all: what is live at the peak",
                                   .unit = "MiB", .rows = PLANNED, .columns = PLAN_COLUMNS, .row_names = names, .column_names = columns,
                                   .values = values, .decimals = 2};
    if (!code)
        lm_page_add(s->lesson->page, &block);
    return code;
}

static int show_step(struct showing *s, const struct way *way, const char *name, const char *title, loam_error *error)
{
    struct lm_run_settings settings;
    struct lm_run_plan plan;
    struct lm_plan_picture picture;
    int code = make_settings(s, s->shape, s->length, way, &settings, error);
    if (!code)
        code = lm_run_plan_picture(&settings, &plan, &picture, error);
    lm_run_settings_free(&settings);
    if (code)
        return code;
    s->most = s->most ? s->most : plan.live;
    lm_page_add_memory(s->lesson->page, name, title, &plan, &picture, s->most);
    lm_plan_picture_free(&picture);
    return LOAM_OK;
}

/* --- Runs --- */

struct measured {
    double seconds[RUN_STEPS], loss;
    int64_t most;       /* bytes, the whole process */
    int steps;
};

static void take_step(void *user, const struct lm_step_report *report)
{
    struct measured *measured = user;
    measured->most = report->memory_bytes > measured->most ? report->memory_bytes : measured->most;
    measured->loss = report->loss;
    if (measured->steps < RUN_STEPS)
        measured->seconds[measured->steps++] = report->seconds;
}

/* Three steps: in memory as planned and as the system counts it, seconds of the fastest, the last loss. */
static int run_way(const struct showing *s, const struct way *way, const char *data, double *row, loam_error *error)
{
    struct measured measured = {.steps = 0};
    struct lm_run_settings settings;
    struct lm_run_result result;
    const struct lm_run_hooks hooks = {.user = &measured, .step = take_step, .throwaway = true};
    char *folder = lm_path_join(s->folder, "run", error);
    int code = folder ? make_settings(s, s->model, LENGTH, way, &settings, error) : LOAM_ENOMEM;
    if (!folder)
        return code;
    settings.steps = RUN_STEPS;
    settings.clip = 0;    /* a fused step clips by the norm of the step before: other numbers */
    if (!code)
        code = lm_run_settings_set(&settings, "data", data, error);
    if (!code)
        code = lm_run_settings_set(&settings, "cache", "none", error);
    lm_memory_trim();
    const int64_t before = lm_memory_resident();
    if (!code)
        code = lm_run(&settings, folder, LM_RUN_NEW, &hooks, &result, error);
    lm_run_settings_free(&settings);
    if (!code) {
        const double fastest = fmin(measured.seconds[1], measured.seconds[RUN_STEPS - 1]);
        const double values[RUN_COLUMNS] = {mib(result.plan.arena), (double)(measured.most - before) / (1 << 20),
                                            mib(result.plan.scratch_optimizer + result.plan.scratch_weights +
                                                result.plan.scratch_activations), fastest, measured.loss};
        memcpy(row, values, sizeof values);
        code = lm_remove_tree(folder, error);
    }
    lm_free(folder);
    return code;
}

static int show_runs(struct showing *s, loam_error *error)
{
    static const char *const columns[] = {"MiB planned", "MiB measured", "MiB on disk", "seconds a step", "loss"};
    double values[RUN * RUN_COLUMNS];
    const char *names[RUN];
    char *data = lm_path_join(s->folder, "sentence.ids", error);
    int code = data ? write_ids(s, data, error) : LOAM_ENOMEM;
    for (int i = 0; i < RUN && !code; i++) {
        names[i] = run[i].name;
        code = run_way(s, &run[i], data, values + i * RUN_COLUMNS, error);
    }
    lm_free(data);
    const struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "runs", .title = "The small model, trained on the sentence",
                                   .rows = RUN, .columns = RUN_COLUMNS, .row_names = names, .column_names = columns, .values = values,
                                   .decimals = 4};
    if (!code)
        lm_page_add(s->lesson->page, &block);
    return code;
}

/* --- The lesson --- */

static int teach(struct showing *s, loam_error *error)
{
    struct lm_page *page = s->lesson->page;
    const double weights = (double)lm_model_weight_bytes(&s->config, LM_F32);
    lm_page_say(page, "Training holds the weights, a gradient for each, and the optimizer's two moments for each; and what the forward pass computes "
                "has to wait for the backward pass, which needs it: the activations, which grow with the sequence and with the batch. loam lays "
                "all of it out before the first step; the same code does the plan and the run.");
    if (!s->lesson->options->model)
        lm_page_say(page, "The model here is a small one, of a size that trains in a moment. MODEL plans yours.");
    lm_page_fact(page, "parameters", "parameters", "", 0, weights / sizeof(float));
    lm_page_fact(page, "batch", "sequences at once", "", 0, BATCH);
    lm_page_fact(page, "length", "tokens in each", "", 0, (double)s->length);
    lm_page_fact(page, "weights", "weights, gradients, moments in fp32", "MiB", 2, 4 * weights / (1 << 20));
    int code = show_step(s, &planned[0], "step", "Memory over one step, nothing switched on", error);
    lm_page_say(page, "Activations rise layer by layer to the head and fall as the backward pass uses them up; gradients come into being layer by "
                "layer and take their place, so that the peak may have few of them. Each of these switches takes something away: recomputing keeps less and computes it again; smaller types keep the same in fewer bits; the fused step has one layer's "
                "gradients at a time; offloading keeps on disk what is not needed now.");
    if (!code)
        code = show_plans(s, error);
    if (!code)
        code = show_step(s, &planned[PLANNED - 1], "step_least", "Memory over one step, all switched on", error);
    if (code)
        return code;
    lm_page_say(page, "A plan is worth what the run makes of it. The small model, trained for a moment on the sentence: what was planned, what the "
                "system says the process grew by, and what the switch cost in time. Recomputing and offloading change no number: the loss is the "
                "same to the last bit.");
    code = show_runs(s, error);
    lm_page_say(page, "To try: loam plan MODEL --fit and a size finds the fastest switches that fit; loam look memory MODEL draws your own settings; "
                "loam measure holds many plans against the system.");
    return code;
}

static int open_all(struct showing *s, loam_error *error)
{
    struct lm_lesson *lesson = s->lesson;
    const struct lm_lesson_options plain = {.seed = lesson->options->seed, .threads = lesson->options->threads};
    struct lm_lesson own = {.options = &plain};    /* the small model speaks its own vocabulary, whichever model is planned */
    int code = lm_lesson_tokenizer(&own, error);
    lesson->own_tokenizer = own.own_tokenizer;
    lesson->tokenizer = own.own_tokenizer;
    if (!code)
        code = lm_lesson_encode(lesson, error);
    if (!code)
        code = make_folder(s, error);
    if (!code)
        code = save_small_model(s, error);
    if (code)
        return code;
    s->config = lesson->options->model ? *lm_model_config(lesson->options->model) : lm_lesson_config_of_runs(lesson->tokenizer);
    s->length = s->config.context < LENGTH ? s->config.context : LENGTH;
    char *path = lm_path_join(s->shape, "config.json", error);
    code = path ? lm_config_write(&s->config, LM_F32, path, error) : LOAM_ENOMEM;
    lm_free(path);
    return code;
}

int lm_teach_memory(struct lm_lesson *lesson, loam_error *error)
{
    struct showing showing = {.lesson = lesson};
    int code = open_all(&showing, error);
    if (!code)
        code = teach(&showing, error);
    close_folder(&showing);
    return code;
}
