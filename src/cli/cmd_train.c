/* loam train, loam finetune */
#include "common.h"
#include "infer/infer.h"
#include "sweep.h"

#include <string.h>

enum { SAMPLE_TOKENS = 64 };

/* A resumed run takes its settings from run.yaml: whoever typed other ones is told. */
static void note_ignored(const struct arguments *arguments, const struct lm_run_settings *typed, const char *directory)
{
    struct lm_run_settings kept;
    char *path = lm_path_join(directory, "run.yaml", NULL);
    const bool read = path && lm_run_settings_open(&kept, path, NULL) == LOAM_OK;
    for (int id = 0; read && id < OPTION_IDS; id++) {
        const struct option *option = &option_table[id];
        if (!option->setting || !arguments->values[id].given || option->kind == KIND_FILES)
            continue;
        char key[64];
        struct lm_bytes here = {0}, there = {0};
        setting_key(option, key);
        if (lm_run_settings_text(typed, key, &here, NULL) == LOAM_OK &&
            lm_run_settings_text(&kept, key, &there, NULL) == LOAM_OK && here.length && there.length &&
            strcmp(here.data, there.data) != 0)
            note("--%s stays %s, as %s has it: a resumed run keeps its settings", option->name, there.data, path);
        lm_bytes_free(&here);
        lm_bytes_free(&there);
    }
    if (path && read)
        lm_run_settings_free(&kept);
    lm_free(path);
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

static int run_with(const struct arguments *arguments, const struct lm_run_settings *settings)
{
    const char *directory = arguments->values[OPT_OUT].text;
    const bool resume = arguments->values[OPT_RESUME].given;
    struct progress progress;
    progress_init(&progress);
    catch_signals();
    const struct lm_run_hooks hooks = {
        .observer = &progress.observer, .user = &progress, .evaluation = show_evaluation, .sample = show_sample};
    struct lm_run_result result;
    loam_error error;
    if (resume)
        note_ignored(arguments, settings, directory);
    int code = lm_run(settings, directory, resume, &hooks, &result, &error);
    progress_clear(&progress);
    if (code != LOAM_OK)
        return complain_error(&error);
    show_result(directory, &result);
    return EXIT_DONE;
}

static int run_command(const struct arguments *arguments, enum lm_run_kind kind)
{
    struct lm_run_settings settings;
    loam_error error;
    if (!needed(arguments, OPT_OUT))
        return EXIT_USAGE;
    lm_run_settings_init(&settings, kind);
    int code = settings_collect(arguments, &settings, &error);
    int status = code == LOAM_OK ? run_with(arguments, &settings) : complain_error(&error);
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
