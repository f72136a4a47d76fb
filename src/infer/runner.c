/* A model directory, opened with all that running it needs. */
#include "runner.h"

enum { MOST_CONTEXT = 32768 };    /* positions of a cache unless more are asked for */

static int add_end(struct lm_runner *runner, int64_t id, loam_error *error)
{
    if (id < 0 || id >= lm_model_config(runner->model)->vocabulary)
        return LOAM_OK;
    for (size_t i = 0; i < runner->ends.length; i++)
        if (runner->ends.data[i] == id)
            return LOAM_OK;
    return lm_ids_push(&runner->ends, (int32_t)id, error);
}

/* eos_token_id of generation_config.json: one id or a list. */
static int read_ends(struct lm_runner *runner, const char *directory, loam_error *error)
{
    char *path = lm_path_join(directory, "generation_config.json", error);
    if (!path)
        return LOAM_ENOMEM;
    struct lm_document *document = NULL;
    int code = lm_file_exists(path) ? lm_json_read(path, &document, error) : LOAM_OK;
    lm_free(path);
    if (code != LOAM_OK || !document)
        return code;
    const struct lm_value *eos = lm_value_find(lm_document_root(document), "eos_token_id");
    const bool list = eos && eos->kind == LM_ARRAY;
    const size_t count = list ? eos->length : eos && eos->kind != LM_NULL ? 1 : 0;
    for (size_t i = 0; i < count && code == LOAM_OK; i++) {
        int64_t id;
        code = lm_value_int(document, list ? &eos->items[i] : eos, -1, INT32_MAX, &id, error);
        if (code == LOAM_OK)
            code = add_end(runner, id, error);
    }
    lm_document_free(document);
    return code;
}

/* The ids that end a text: generation_config.json's, else config.json's; besides the tokenizer's own and the template's. */
static int gather_ends(struct lm_runner *runner, const char *directory, loam_error *error)
{
    int code = directory ? read_ends(runner, directory, error) : LOAM_OK;
    if (code == LOAM_OK && !runner->ends.length)
        code = add_end(runner, lm_model_config(runner->model)->eos, error);
    if (code == LOAM_OK && runner->tokenizer)
        code = add_end(runner, lm_tokenizer_eos(runner->tokenizer), error);
    if (code == LOAM_OK && runner->tokenizer && runner->chat_template)
        code = add_end(runner, lm_template_end_of_turn(runner->chat_template, runner->tokenizer), error);
    return code;
}

static void set_context(struct lm_runner *runner, int64_t asked)
{
    const int64_t own = lm_model_config(runner->model)->context;
    const int64_t most = asked > 0 ? asked : MOST_CONTEXT;
    runner->context = own < most ? own : most;
}

/* A named template must be there and fit; a stored one that is missing or unknown only matters when a chat is wanted. */
static int choose_template(struct lm_runner *runner, const char *name, const char *directory, loam_error *error)
{
    const struct lm_template *chosen = NULL;
    int code = lm_template_find(name, directory, &chosen, &runner->why_no_template);
    if (code == LOAM_OK)
        code = lm_template_fit(chosen, runner->owned_tokenizer, false, NULL, &runner->why_no_template);
    if (code == LOAM_OK)
        runner->chat_template = chosen;
    else
        lm_template_free(chosen);
    if (code == LOAM_OK || !name)
        return LOAM_OK;
    if (error)
        *error = runner->why_no_template;
    return code;
}

static int check_fit(const struct lm_runner *runner, const char *directory, loam_error *error)
{
    const int64_t tokens = lm_tokenizer_size(runner->tokenizer), rows = lm_model_config(runner->model)->vocabulary;
    if (tokens <= rows)
        return LOAM_OK;
    return lm_fail(error, LOAM_EMISMATCH, "%s: the tokenizer has ids up to %lld, the model's embedding table only %lld "
                   "rows; they do not belong together: put back the tokenizer.json the model was trained with",
                   directory, (long long)tokens - 1, (long long)rows);
}

static int open_into(struct lm_runner *runner, const char *directory, const struct lm_runner_options *options,
                     loam_error *error)
{
    int code = lm_device_open(&(struct lm_device_options){.threads = options->threads}, &runner->device, error);
    if (code == LOAM_OK)
        code = lm_model_open(directory, runner->device, &(struct lm_model_options){0}, &runner->model, error);
    if (code != LOAM_OK)
        return code;
    if (!options->no_tokenizer) {
        code = lm_tokenizer_load(directory, &runner->owned_tokenizer, error);
        if (code != LOAM_OK)
            return code;
        runner->tokenizer = runner->owned_tokenizer;
        code = check_fit(runner, directory, error);
        if (code == LOAM_OK)
            code = choose_template(runner, options->chat_template, directory, error);
    }
    set_context(runner, options->context);
    return code == LOAM_OK ? gather_ends(runner, directory, error) : code;
}

int lm_runner_open(const char *directory, const struct lm_runner_options *options, struct lm_runner **result,
                   loam_error *error)
{
    struct lm_runner *runner = lm_alloc(1, sizeof *runner, error);
    if (!runner)
        return LOAM_ENOMEM;
    lm_fail(&runner->why_no_template, LOAM_ENOTFOUND, "%s: opened without a tokenizer: no chat", directory);
    const int code = open_into(runner, directory, options, error);
    if (code != LOAM_OK) {
        lm_runner_close(runner);
        return code;
    }
    *result = runner;
    return LOAM_OK;
}

int lm_runner_attach(struct lm_model *model, const struct lm_tokenizer *tokenizer, const struct lm_template *chat_template,
                     int64_t context, struct lm_runner **result, loam_error *error)
{
    struct lm_runner *runner = lm_alloc(1, sizeof *runner, error);
    if (!runner)
        return LOAM_ENOMEM;
    runner->model = model;
    runner->tokenizer = tokenizer;
    runner->chat_template = tokenizer ? chat_template : NULL;
    lm_fail(&runner->why_no_template, LOAM_ENOTFOUND, "no chat template was given");
    set_context(runner, context);
    const int code = gather_ends(runner, NULL, error);
    if (code != LOAM_OK) {
        lm_runner_close(runner);
        return code;
    }
    *result = runner;
    return LOAM_OK;
}

void lm_runner_close(struct lm_runner *runner)
{
    if (!runner)
        return;
    lm_cache_free(runner->cache);
    lm_ids_free(&runner->held);
    lm_ids_free(&runner->ends);
    if (runner->device) {
        lm_model_close(runner->model);
        lm_tokenizer_free(runner->owned_tokenizer);
        lm_template_free(runner->chat_template);
        lm_device_close(runner->device);
    }
    lm_free(runner);
}

struct lm_model *lm_runner_model(struct lm_runner *runner)
{
    return runner->model;
}

const struct lm_tokenizer *lm_runner_tokenizer(const struct lm_runner *runner)
{
    return runner->tokenizer;
}

int64_t lm_runner_context(const struct lm_runner *runner)
{
    return runner->context;
}

int lm_runner_template(const struct lm_runner *runner, const struct lm_template **chosen, loam_error *error)
{
    if (!runner->chat_template) {
        if (error)
            *error = runner->why_no_template;
        return runner->why_no_template.code;
    }
    *chosen = runner->chat_template;
    return LOAM_OK;
}

int lm_runner_prompt(struct lm_runner *runner, const struct lm_conversation *conversation, struct lm_rendered *prompt,
                     loam_error *error)
{
    const struct lm_template *chosen = NULL;
    const int code = lm_runner_template(runner, &chosen, error);
    if (code != LOAM_OK)
        return code;
    return lm_template_render(chosen, runner->tokenizer, conversation, true, prompt, error);
}

int lm_runner_reply(struct lm_runner *runner, const struct lm_conversation *conversation,
                    const struct lm_generation_options *options, struct lm_generation *generation, loam_error *error)
{
    struct lm_rendered prompt = {0};
    int code = lm_runner_prompt(runner, conversation, &prompt, error);
    if (code == LOAM_OK)
        code = lm_runner_generate(runner, prompt.ids.data, prompt.ids.length, options, generation, error);
    lm_rendered_free(&prompt);
    return code;
}
