/* One point of loam measure: this process trains some steps on random ids, and prints one JSON object. */
#include "measure.h"
#include "sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STEPS = 1000 };

struct point {
    struct lm_run_settings settings;
    const char *folder; /* where the run lies */
    double seconds[MOST_STEPS];
    int64_t steps, tokens, trained, positions;
    double of_peak;
};

static void take_step(void *user, const struct lm_step_report *report)
{
    struct point *point = user;
    point->tokens = report->tokens;
    point->trained = report->trained;
    if (isfinite(report->of_peak) && report->of_peak > point->of_peak)
        point->of_peak = report->of_peak;
    if (point->steps < MOST_STEPS)
        point->seconds[point->steps++] = report->seconds;
}

/* Rows of random ids, as many as one step takes. */
static int write_ids(const struct point *point, int64_t vocabulary, const char *path, loam_error *error)
{
    const struct lm_run_settings *settings = &point->settings;
    struct lm_random random = lm_random_seed(settings->seed, 1);
    struct lm_file_writer *writer;
    int code = lm_file_create(path, &writer, error);
    if (code != LOAM_OK)
        return code;
    for (int64_t row = 0; row < settings->batch * settings->accumulate; row++)
        for (int64_t i = 0; i <= settings->seq; i++) {
            char text[32];
            const int length = snprintf(text, sizeof text, "%llu%c",
                                        (unsigned long long)lm_random_below(&random, (uint64_t)vocabulary),
                                        i == settings->seq ? '\n' : ' ');
            lm_file_write(writer, text, (size_t)length, NULL); /* commit reports it */
        }
    return lm_file_commit(writer, error);
}

/* Of a recipe only what costs memory and time is wanted: random ids know no templates and no evaluation. */
static int collect(struct point *point, const struct arguments *arguments, loam_error *error)
{
    static const char *const words[] = {"template", "sample_prompt", NULL};
    struct lm_run_settings *settings = &point->settings;
    const struct argument *recipe = &arguments->values[OPT_RECIPE];
    int code = LOAM_OK;
    if (recipe->given)
        code = lm_run_settings_open(settings, recipe->text, error);
    else
        lm_run_settings_init(settings, LM_RUN_TRAIN);
    if (code == LOAM_OK)
        code = settings_collect(arguments, settings, error);
    for (const char *const *word = words; code == LOAM_OK && *word; word++)
        code = lm_run_settings_set(settings, *word, "", error);
    settings->command = LM_RUN_TRAIN;
    settings->faithful = settings->train_on_all = settings->add_tokens = false;
    settings->patience = 0;
    settings->epochs = LM_SETTING_AUTO;
    lm_run_settings_clear(settings, "data");
    lm_run_settings_clear(settings, "eval_data");
    if (code == LOAM_OK && !arguments->values[OPT_STEPS].given)
        code = lm_run_settings_set(settings, "steps", "5", error);
    return code;
}

static int prepare(struct point *point, const char *model, loam_error *error)
{
    struct lm_run_settings *settings = &point->settings;
    struct lm_config config;
    char *path = lm_path_join(model, "config.json", error);
    int code = path ? lm_config_read(path, &config, error) : LOAM_ENOMEM;
    lm_free(path);
    if (code == LOAM_OK && settings->seq < 0)
        settings->seq = config.context < 1024 ? config.context : 1024;
    char *data = code == LOAM_OK ? lm_path_join(point->folder, "random.ids", error) : NULL;
    if (code == LOAM_OK && !data)
        code = LOAM_ENOMEM;
    if (code == LOAM_OK)
        code = write_ids(point, config.vocabulary, data, error);
    if (code == LOAM_OK)
        code = lm_run_settings_set(settings, "data", data, error);
    if (code == LOAM_OK)
        code = lm_run_settings_set(settings, "model", model, error);
    if (code == LOAM_OK)
        code = lm_run_settings_set(settings, "cache", "none", error);
    lm_free(data);
    return code;
}

static int compare_numbers(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The middle one of all steps but the first, which meets memory and files for the first time. */
static double middle_seconds(struct point *point)
{
    if (point->steps < 2)
        return point->steps ? point->seconds[0] : NAN;
    qsort(point->seconds + 1, (size_t)point->steps - 1, sizeof *point->seconds, compare_numbers);
    return point->seconds[1 + (point->steps - 1) / 2];
}

static void number(struct lm_json_writer *writer, const char *key, double value)
{
    lm_json_key(writer, key);
    lm_json_double(writer, value);
}

static void integer(struct lm_json_writer *writer, const char *key, int64_t value)
{
    lm_json_key(writer, key);
    lm_json_int(writer, value);
}

static void write_settings(struct lm_json_writer *writer, const struct lm_run_settings *settings)
{
    lm_json_key(writer, "settings");
    lm_json_begin_object(writer);
    for (const char *const *key = lm_run_settings_keys(); *key; key++) {
        struct lm_bytes text = {0};
        double value;
        int64_t whole;
        if (strcmp(*key, "model") == 0 || strstr(*key, "data") || strcmp(*key, "cache") == 0)
            continue;
        if (lm_run_settings_text(settings, *key, &text, NULL) == LOAM_OK && text.data) {
            lm_json_key(writer, *key);
            if (lm_parse_int(text.data, &whole, NULL) == LOAM_OK)
                lm_json_int(writer, whole);
            else if (lm_parse_double(text.data, &value, NULL) == LOAM_OK)
                lm_json_double(writer, value);
            else if (strcmp(text.data, "true") == 0 || strcmp(text.data, "false") == 0)
                lm_json_bool(writer, *text.data == 't');
            else
                lm_json_text(writer, text.data);
        }
        lm_bytes_free(&text);
    }
    lm_json_end_object(writer);
}

static const char *outcome_of(int code)
{
    const bool refused = code == LOAM_ENOMEM || code == LOAM_EUSAGE || code == LOAM_ENOSPACE || code == LOAM_EUNSUPPORTED;
    return code == LOAM_OK ? "ok" : refused ? "refused" : "failed";
}

static int print_point(struct point *point, const struct lm_run_result *result, int code, const loam_error *error)
{
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 0);
    const double seconds = middle_seconds(point);
    const double positions = (double)(point->settings.batch * point->settings.accumulate * point->settings.seq);
    struct lm_run_plan plan = result->plan;
    if (code != LOAM_OK && lm_run_plan_make(&point->settings, &plan, NULL) != LOAM_OK)
        plan.total = 0;
    lm_json_begin_object(&writer);
    write_settings(&writer, &point->settings);
    integer(&writer, "planned_bytes", (int64_t)plan.total);
    integer(&writer, "measured_bytes", lm_memory_peak());
    number(&writer, "seconds_per_step", code == LOAM_OK ? seconds : NAN);
    number(&writer, "tokens_per_second", code == LOAM_OK ? positions / seconds : NAN);
    number(&writer, "real_tokens_per_second", code == LOAM_OK ? (double)point->tokens / seconds : NAN);
    number(&writer, "trained_tokens_per_second", code == LOAM_OK ? (double)point->trained / seconds : NAN);
    number(&writer, "of_peak", point->of_peak > 0 ? point->of_peak : NAN);
    lm_json_key(&writer, "outcome");
    lm_json_text(&writer, outcome_of(code));
    lm_json_key(&writer, "message");
    lm_json_text(&writer, code == LOAM_OK ? "" : error->message);
    lm_json_end_object(&writer);
    return print_json(&writer);
}

int measure_one(const struct arguments *arguments, const char *folder)
{
    struct point *point = lm_alloc(1, sizeof *point, NULL);
    struct lm_run_result result = {0};
    loam_error error = {0};
    if (!point)
        return EXIT_FAILED;
    point->folder = folder;
    int code = collect(point, arguments, &error);
    if (code == LOAM_OK)
        code = prepare(point, arguments->operands[0], &error);
    char *run = lm_path_join(point->folder, "run", NULL);
    const struct lm_run_hooks hooks = {.user = point, .step = take_step, .measure_peak = true, .throwaway = true};
    if (code == LOAM_OK)
        code = run ? lm_run(&point->settings, run, LM_RUN_NEW, &hooks, &result, &error) : LOAM_ENOMEM;
    int status = print_point(point, &result, code, &error);
    lm_free(run);
    lm_run_settings_free(&point->settings);
    lm_free(point);
    return status;
}
