/* loam train, loam finetune */
#include "infer/infer.h"
#include "sweep.h"

#include <string.h>

enum { SAMPLE_TOKENS = 64 };

/* A resumed run takes its settings from run.yaml. What is typed, or stands in a recipe that is named, must be the same; where it
 * changes the result, it counts only with --allow-changes. */
static int compare(const struct arguments *arguments, struct lm_run_settings *settings, int *start, loam_error *error)
{
    const char *directory = arguments->values[OPT_OUT].text;
    const bool allowed = arguments->values[OPT_ALLOW_CHANGES].given;
    struct lm_run_settings kept;
    struct lm_bytes serious = {0}, harmless = {0};
    *start = allowed ? LM_RUN_RESUME_CHANGED : LM_RUN_RESUME;
    char *path = lm_path_join(directory, "run.yaml", error);
    int code = path ? lm_run_settings_open(&kept, path, error) : LOAM_ENOMEM;
    if (path && code == LOAM_OK)
        code = lm_run_settings_compare(&kept, settings, &serious, &harmless, error);
    if (code == LOAM_OK && serious.length && !allowed)
        code = lm_fail(error, LOAM_EUSAGE, "%s: this is not the run that began there: %s; leave these out to go on as it began, or add "
                       "--allow-changes to go on with them", directory, serious.data);
    if (code == LOAM_OK && serious.length)
        note("going on with changes: %s", serious.data);
    if (code == LOAM_OK && harmless.length) {
        note("going on with: %s", harmless.data);
        *start = allowed ? LM_RUN_RESUME_CHANGED : LM_RUN_RESUME_WITH;
    }
    if (path)
        lm_run_settings_free(&kept);
    lm_bytes_free(&serious);
    lm_bytes_free(&harmless);
    lm_free(path);
    return code;
}

static void show_evaluation(void *user, const struct lm_evaluation_report *report)
{
    progress_clear(user);
    note("step %lld: evaluation loss %.4f%s", (long long)report->step, report->loss,
         report->best ? ", the best so far" : "");
}

/* What the model writes after the prompt, or answers to it where it learns conversations. The cache is as long as this sample, and is
 * given back before the next step. The same seed each time: what differs between samples is what was learned. */
static int make_sample(struct lm_model *model, const struct lm_tokenizer *tokenizer, const struct lm_template *chat_template,
                       const char *prompt, struct lm_generation *made, loam_error *error)
{
    struct lm_conversation conversation = {0};
    struct lm_rendered rendered = {0};
    struct lm_runner *runner = NULL;
    struct lm_generation_options options = lm_generation_default();
    options.max_tokens = SAMPLE_TOKENS;
    options.cancelled = stop_asked;
    int code = LOAM_OK;
    if (chat_template) {
        code = lm_conversation_add(&conversation, LM_USER, prompt, strlen(prompt), error);
        if (code == LOAM_OK)
            code = lm_template_render(chat_template, tokenizer, &conversation, true, &rendered, error);
    } else {
        code = lm_tokenizer_encode(tokenizer, prompt, strlen(prompt), LM_ENCODE_ADD_SPECIAL, &rendered.ids, NULL, error);
    }
    const int64_t wanted = (int64_t)rendered.ids.length + SAMPLE_TOKENS;
    if (code == LOAM_OK)
        code = lm_runner_attach(model, tokenizer, chat_template, wanted, &runner, error);
    if (code == LOAM_OK && lm_runner_context(runner) < wanted)
        options.max_tokens = 0;    /* as much as the model's context has room for */
    if (code == LOAM_OK)
        code = lm_runner_generate(runner, rendered.ids.data, rendered.ids.length, &options, made, error);
    lm_runner_close(runner);
    lm_rendered_free(&rendered);
    lm_conversation_free(&conversation);
    return code;
}

static void show_sample(void *user, struct lm_model *model, const struct lm_tokenizer *tokenizer,
                        const struct lm_template *chat_template, const char *prompt, int64_t step)
{
    struct lm_generation made = {0};
    loam_error error;
    const int code = make_sample(model, tokenizer, chat_template, prompt, &made, &error);
    progress_clear(user);
    if (code != LOAM_OK) {
        note("step %lld: no sample: %s", (long long)step, error.message);
        return;
    }
    note("step %lld: a sample after '%s':", (long long)step, prompt);
    for (const char *line = made.text.data ? made.text.data : ""; *line;) {
        const size_t length = strcspn(line, "\n");
        note("    %.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
    lm_generation_free(&made);
}

static void show_result(const char *directory, const struct lm_run_result *result)
{
    printf("%s: %lld steps, loss %.4f", directory, (long long)result->steps, result->loss);
    if (result->best_step > 0)
        printf(", evaluation loss %.4f, best %.4f at step %lld", result->eval_loss, result->best_loss,
               (long long)result->best_step);
    printf("%s\n", result->stopped_early ? ", stopped early" : "");
}

static bool save_wanted(void *user)
{
    (void)user;
    return save_asked();
}

static int run_with(const struct arguments *arguments, const struct lm_run_settings *settings, int start)
{
    const char *directory = arguments->values[OPT_OUT].text;
    struct progress progress;
    progress_init(&progress);
    catch_signals();
    catch_save_signal();
    const struct lm_run_hooks hooks = {
        .observer = &progress.observer, .user = &progress, .measure_peak = true, .save_now = save_wanted, .evaluation = show_evaluation, .sample = show_sample};
    struct lm_run_result result;
    loam_error error;
    int code = lm_run(settings, directory, start, &hooks, &result, &error);
    progress_clear(&progress);
    if (code != LOAM_OK)
        return complain_error(&error);
    show_result(directory, &result);
    return EXIT_DONE;
}

/* The settings to begin with: the defaults, or those of the run that goes on. */
static int begin_settings(const struct arguments *arguments, enum lm_run_kind kind, struct lm_run_settings *settings,
                          loam_error *error)
{
    if (!arguments->values[OPT_RESUME].given) {
        lm_run_settings_init(settings, kind);
        return LOAM_OK;
    }
    char *path = lm_path_join(arguments->values[OPT_OUT].text, "run.yaml", error);
    int code = path ? LOAM_OK : LOAM_ENOMEM;
    lm_run_settings_init(settings, kind);
    if (code == LOAM_OK && !lm_file_exists(path))
        code = lm_fail(error, LOAM_ENOTFOUND, "%s: there is no run here to go on with; start one without --resume", path);
    if (code == LOAM_OK)
        code = lm_run_settings_read(settings, path, error);
    lm_free(path);
    return code;
}

static int run_command(const struct arguments *arguments, enum lm_run_kind kind)
{
    struct lm_run_settings settings;
    loam_error error;
    int start = LM_RUN_NEW;
    if (!needed(arguments, OPT_OUT))
        return EXIT_USAGE;
    if (arguments->values[OPT_ALLOW_CHANGES].given && !arguments->values[OPT_RESUME].given) {
        complain("%s: --allow-changes goes with --resume", arguments->command->name);
        return EXIT_USAGE;
    }
    int code = begin_settings(arguments, kind, &settings, &error);
    if (code == LOAM_OK)
        code = settings_collect(arguments, &settings, &error);
    if (code == LOAM_OK && arguments->values[OPT_RESUME].given)
        code = compare(arguments, &settings, &start, &error);
    int status = code == LOAM_OK ? run_with(arguments, &settings, start) : complain_error(&error);
    lm_run_settings_free(&settings);
    return status;
}

int command_train(const struct arguments *arguments)
{
    return run_command(arguments, LM_RUN_TRAIN);
}

int command_finetune(const struct arguments *arguments)
{
    return run_command(arguments, LM_RUN_FINETUNE);
}
