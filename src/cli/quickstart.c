#include "quickstart.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Spaces lead words and digits; every digit is a token of its own, so that sums can be carried digit by digit. */
#define PATTERN " ?\\p{L}+| ?\\p{N}| ?[^\\s\\p{L}\\p{N}]+|\\s+"
#define END_OF_TEXT "<|endoftext|>"

const struct quickstart_recipe quickstart_standard = {
    .vocabulary = 384, .width = 128, .layers = 4, .heads = 4, .kv_heads = 4, .feed_forward = 352, .context = 1024,
    .corpus_bytes = 3 << 20, .conversations = 36000,
    .pretrain = {.steps = 400, .batch = 4, .accumulate = 1, .seq = 256, .warmup = 50, .lr = 3e-3, .min_lr = 2e-3, .beta2 = 0.98,
                 .weight_decay = 0.05},
    .finetune = {.steps = 3800, .batch = 1, .accumulate = 1, .seq = 1024, .warmup = 100, .lr = 3e-3, .min_lr = 3e-5,
                 .beta2 = 0.98, .weight_decay = 0.05},
};

struct growing {
    const struct quickstart_options *options;
    const struct quickstart_recipe *recipe;
    struct lm_material *material;
    char *steps, *corpus, *conversations, *base, *pretrained, *record;
    double pretrain_seconds, finetune_seconds;
    loam_error *error;
};

static void tell(const struct growing *g, const char *format, ...) LM_PRINTF(2, 3);
static void tell(const struct growing *g, const char *format, ...)
{
    const loam_observer *observer = g->options->observer;
    if (!observer || !observer->note)
        return;
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    lm_format_list(line, sizeof line, format, arguments);
    va_end(arguments);
    observer->note(observer->user, line);
}

/* --- The record: which seed, and how long each training took; written after each, so that a later call knows. --- */

static int write_record(const struct growing *g)
{
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 2);
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, g->options->seed);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "seed");
    lm_json_text(&writer, seed);
    lm_json_key(&writer, "pretraining_seconds");
    lm_json_double(&writer, g->pretrain_seconds);
    lm_json_key(&writer, "finetuning_seconds");
    lm_json_double(&writer, g->finetune_seconds);
    lm_json_end_object(&writer);
    int code = lm_json_writer_finish(&writer, g->error);
    if (!code)
        code = lm_file_replace(g->record, out.data, out.length, g->error);
    lm_bytes_free(&out);
    return code;
}

static int read_record(struct growing *g)
{
    struct lm_document *document;
    const char *seed;
    char own[24];
    int code = lm_json_read(g->record, &document, g->error);
    if (code)
        return code;
    const struct lm_value *root = lm_document_root(document);
    snprintf(own, sizeof own, "%" PRIu64, g->options->seed);
    code = lm_value_string(document, lm_value_find(root, "seed"), &seed, g->error);
    if (!code && strcmp(seed, own))
        code = lm_fail(g->error, LOAM_EUSAGE, "%s: found a model grown from seed %s, wanted seed %s; name another directory "
                       "with -o", g->options->directory, seed, own);
    if (!code)
        code = lm_value_double(document, lm_value_find(root, "pretraining_seconds"), &g->pretrain_seconds, g->error);
    if (!code)
        code = lm_value_double(document, lm_value_find(root, "finetuning_seconds"), &g->finetune_seconds, g->error);
    lm_document_free(document);
    return code;
}

static bool has_model(const char *directory)
{
    char *path = lm_path_join(directory, "config.json", NULL);
    bool there = path && lm_file_exists(path);
    lm_free(path);
    return there;
}

/* Takes the directory: a new one, or one that an earlier call began. */
static int begin(struct growing *g)
{
    const char *directory = g->options->directory;
    if (lm_file_exists(g->record))
        return read_record(g);
    char **names;
    size_t count = 0;
    int code = lm_make_directories(directory, g->error);
    if (!code)
        code = lm_list_directory(directory, &names, &count, g->error);
    if (code)
        return code;
    lm_free_strings(names, count);
    if (count)
        return lm_fail(g->error, LOAM_EUSAGE, "%s: found a directory with files that quickstart did not write, wanted a new or "
                       "empty one; name another with -o", directory);
    code = lm_make_directories(g->steps, g->error);
    return code ? code : write_record(g);
}

/* --- Stages --- */

static int make_material(struct growing *g)
{
    struct lm_bytes text = {0}, talk = {0};
    int code = lm_material_corpus(g->material, g->options->seed, g->recipe->corpus_bytes, &text, g->error);
    if (!code)
        code = lm_material_conversations(g->material, g->options->seed, g->recipe->conversations, &talk, g->error);
    if (!code)
        code = lm_file_replace(g->conversations, talk.data, talk.length, g->error);
    if (!code)
        code = lm_file_replace(g->corpus, text.data, text.length, g->error);
    if (!code) {
        char size[32];
        lm_format_size((int64_t)text.length, size);
        tell(g, "material       %s of text, %zu conversations", size, g->recipe->conversations);
    }
    lm_bytes_free(&text);
    lm_bytes_free(&talk);
    return code;
}

static int make_tokenizer(struct growing *g, struct lm_tokenizer **tokenizer)
{
    static const char *const specials[] = {END_OF_TEXT, "<|im_start|>", "<|im_end|>"};
    const char *files[] = {g->corpus};
    struct lm_tokenizer_training training = {.files = files, .file_count = 1, .vocabulary_size = g->recipe->vocabulary,
                                             .pattern = PATTERN, .specials = specials, .special_count = 3,
                                             .threads = g->options->threads, .observer = g->options->observer};
    struct lm_tokenizer *made;
    double start = lm_seconds();
    int code = lm_tokenizer_train(&training, &made, g->error);
    if (code)
        return code;
    int32_t end = lm_tokenizer_find(made, END_OF_TEXT, strlen(END_OF_TEXT));
    code = lm_tokenizer_set_bos_eos_pad(made, -1, end, end, g->error);
    if (code) {
        lm_tokenizer_free(made);
        return code;
    }
    tell(g, "tokenizer      %d tokens learned in %.1f s", (int)lm_tokenizer_size(made), lm_seconds() - start);
    *tokenizer = made;
    return LOAM_OK;
}

static struct lm_config model_config(const struct quickstart_recipe *recipe, const struct lm_tokenizer *tokenizer)
{
    int32_t end = lm_tokenizer_eos(tokenizer);
    return (struct lm_config){
        .family = LM_LLAMA, .vocabulary = lm_tokenizer_size(tokenizer), .width = recipe->width, .layers = recipe->layers,
        .heads = recipe->heads, .kv_heads = recipe->kv_heads, .head_size = recipe->width / recipe->heads,
        .feed_forward = recipe->feed_forward, .context = recipe->context, .tied = true, .norm_eps = 1e-5, .rope_theta = 10000,
        .initializer_range = 0.02, .bos = -1, .eos = end, .pad = end,
    };
}

/* The tokenizer and a model of random weights. */
static int make_base(struct growing *g)
{
    struct lm_tokenizer *tokenizer;
    struct lm_device *device = NULL;
    struct lm_model *model = NULL;
    int code = make_tokenizer(g, &tokenizer);
    if (code)
        return code;
    struct lm_config config = model_config(g->recipe, tokenizer);
    code = lm_device_open(&(struct lm_device_options){.threads = g->options->threads}, &device, g->error);
    if (!code)
        code = lm_model_create(&config, g->options->seed, device, &(struct lm_model_options){.load = true, .dtype = LM_F32}, &model,
                               g->error);
    if (!code)
        code = lm_make_directories(g->base, g->error);
    if (!code)
        code = lm_tokenizer_save(tokenizer, g->base, g->error);
    if (!code)
        code = lm_model_save(model, g->base, LM_F32, 0, g->error);
    lm_model_close(model);
    lm_device_close(device);
    lm_tokenizer_free(tokenizer);
    return code;
}

static int set(struct lm_run_settings *settings, const char *key, const char *value, loam_error *error)
{
    return lm_run_settings_set(settings, key, value, error);
}

static int configure(const struct growing *g, const struct quickstart_stage *stage, const char *model, const char *data,
                     struct lm_run_settings *settings)
{
    int code = set(settings, "model", model, g->error);
    if (!code)
        code = set(settings, "data", data, g->error);
    if (!code)
        code = set(settings, "schedule", "linear", g->error);
    settings->steps = stage->steps;
    settings->batch = stage->batch;
    settings->accumulate = stage->accumulate;
    settings->seq = stage->seq;
    settings->warmup = stage->warmup;
    settings->lr = stage->lr;
    settings->min_lr = stage->min_lr;
    settings->beta2 = stage->beta2;
    settings->weight_decay = stage->weight_decay;
    settings->seed = g->options->seed;
    settings->keep = 1;
    if (g->options->threads > 0)
        settings->threads = g->options->threads;
    return code;
}

/* What a run tells, under the stage's own name: "pretraining [###...", and its notes below the stages' own. */
struct stage_teller {
    const loam_observer *to;
    const char *name;
};

static void show_stage(void *user, const char *stage, int64_t done, int64_t total, const char *detail)
{
    const struct stage_teller *teller = user;
    if (teller->to && teller->to->progress)
        teller->to->progress(teller->to->user, strcmp(stage, "training") ? stage : teller->name, done, total, detail);
}

static void indent_note(void *user, const char *line)
{
    const struct stage_teller *teller = user;
    char indented[512];
    snprintf(indented, sizeof indented, "%15s%s", "", line);
    if (teller->to && teller->to->note)
        teller->to->note(teller->to->user, indented);
}

static int stage_cancelled(void *user)
{
    const struct stage_teller *teller = user;
    return teller->to && teller->to->cancelled && teller->to->cancelled(teller->to->user);
}

static int train(struct growing *g, enum lm_run_kind kind, const char *name, const struct quickstart_stage *stage,
                 const char *model, const char *data, const char *directory, double *seconds)
{
    struct lm_run_settings settings;
    struct lm_run_result result = {0};
    struct stage_teller teller = {g->options->observer, name};
    const loam_observer observer = {.user = &teller, .progress = show_stage, .note = indent_note, .cancelled = stage_cancelled};
    struct lm_run_hooks hooks = {.observer = &observer};
    lm_run_settings_init(&settings, kind);
    int code = configure(g, stage, model, data, &settings);
    if (!code && kind == LM_RUN_FINETUNE)
        code = set(&settings, "template", "chatml", g->error);
    char *begun = code ? NULL : lm_path_join(directory, "run.yaml", g->error);
    double start = lm_seconds();
    if (!code)
        code = begun ? lm_run(&settings, directory, lm_file_exists(begun), &hooks, &result, g->error) : LOAM_ENOMEM;
    if (code == LOAM_ECANCELLED)
        lm_fail(g->error, code, "%s was stopped and saved; the same command goes on from there", name);
    *seconds += lm_seconds() - start;
    if (!code)
        tell(g, "%-14s %" PRId64 " steps in %.0f s, loss %.3f", name, result.steps, *seconds, result.loss);
    int recorded = code && code != LOAM_ECANCELLED ? LOAM_OK : write_record(g);
    lm_free(begun);
    lm_run_settings_free(&settings);
    return code ? code : recorded;
}

static int grow(struct growing *g)
{
    const struct quickstart_recipe *recipe = g->recipe;
    int code = begin(g);
    if (!code && !lm_file_exists(g->corpus))
        code = make_material(g);
    if (!code && !has_model(g->base))
        code = make_base(g);
    if (!code && !has_model(g->pretrained))
        code = train(g, LM_RUN_TRAIN, "pretraining", &recipe->pretrain, g->base, g->corpus, g->pretrained, &g->pretrain_seconds);
    if (!code && !has_model(g->options->directory))
        code = train(g, LM_RUN_FINETUNE, "fine-tuning", &recipe->finetune, g->pretrained, g->conversations,
                     g->options->directory, &g->finetune_seconds);
    return code;
}

/* --- Questions --- */

int quickstart_open(const char *directory, struct lm_runner **runner, loam_error *error)
{
    return lm_runner_open(directory, &(struct lm_runner_options){.threads = 1}, runner, error);
}

int quickstart_ask(struct lm_runner *runner, const char *prompt, struct lm_bytes *answer, loam_error *error)
{
    struct lm_conversation conversation = {0};
    struct lm_generation_options options = lm_generation_default();
    struct lm_generation reply = {0};
    options.sampling.temperature = 0;
    options.max_tokens = 200;
    int code = lm_conversation_add(&conversation, LM_USER, prompt, strlen(prompt), error);
    if (!code)
        code = lm_runner_reply(runner, &conversation, &options, &reply, error);
    if (!code)
        code = lm_bytes_append(answer, reply.text.data ? reply.text.data : "", reply.text.length, error);
    lm_generation_free(&reply);
    lm_conversation_free(&conversation);
    return code;
}

static int ask_one(struct lm_runner *runner, const struct lm_question *question, struct quickstart_answer *answer,
                   loam_error *error)
{
    struct lm_bytes text = {0};
    int code = quickstart_ask(runner, question->prompt, &text, error);
    if (!code) {
        answer->right = lm_question_right(question, text.data ? text.data : "", text.length);
        answer->text = lm_copy_string(text.data ? text.data : "", text.length, error);
        code = answer->text ? LOAM_OK : LOAM_ENOMEM;
    }
    lm_bytes_free(&text);
    return code;
}

static int64_t count_parameters(struct lm_model *model)
{
    size_t count;
    const struct lm_parameter *parameters = lm_model_parameters(model, &count);
    int64_t all = 0;
    for (size_t i = 0; i < count; i++)
        all += parameters[i].count;
    return all;
}

static int ask_all(const struct growing *g, struct quickstart_result *result)
{
    const loam_observer *observer = g->options->observer;
    struct lm_runner *runner;
    struct lm_questions *questions = &result->questions;
    int code = lm_material_questions(g->material, g->options->seed, questions, g->error);
    if (code)
        return code;
    result->answers = lm_alloc(questions->count, sizeof *result->answers, g->error);
    if (!result->answers)
        return LOAM_ENOMEM;
    code = quickstart_open(g->options->directory, &runner, g->error);
    if (code)
        return code;
    result->parameters = count_parameters(lm_runner_model(runner));
    size_t most = g->options->questions ? g->options->questions : questions->count;
    for (size_t i = 0; !code && i < questions->count; i++) {
        enum lm_skill skill = questions->items[i].skill;
        if (result->asked[skill] == most)
            continue;
        code = ask_one(runner, &questions->items[i], &result->answers[i], g->error);
        result->asked[skill]++;
        result->right[skill] += result->answers[i].right;
        if (observer && observer->progress)
            observer->progress(observer->user, "questions", (int64_t)i + 1, (int64_t)questions->count, NULL);
        if (!code && observer && observer->cancelled && observer->cancelled(observer->user))
            code = lm_fail(g->error, LOAM_ECANCELLED, "the questions were stopped on request; the model in %s is whole",
                           g->options->directory);
    }
    lm_runner_close(runner);
    return code;
}

static int name_paths(struct growing *g)
{
    const char *directory = g->options->directory;
    g->steps = lm_path_join(directory, "steps", g->error);
    if (g->steps) {
        g->corpus = lm_path_join(g->steps, "corpus.txt", g->error);
        g->conversations = lm_path_join(g->steps, "conversations.jsonl", g->error);
        g->base = lm_path_join(g->steps, "base", g->error);
        g->pretrained = lm_path_join(g->steps, "pretrained", g->error);
        g->record = lm_path_join(g->steps, "quickstart.json", g->error);
    }
    bool all = g->steps && g->corpus && g->conversations && g->base && g->pretrained && g->record;
    return all ? LOAM_OK : LOAM_ENOMEM;
}

static void forget(struct growing *g)
{
    char *const paths[] = {g->steps, g->corpus, g->conversations, g->base, g->pretrained, g->record};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        lm_free(paths[i]);
    lm_material_close(g->material);
}

int quickstart_grow(const struct quickstart_options *options, struct quickstart_result *result, loam_error *error)
{
    struct growing g = {.options = options, .recipe = options->recipe, .error = error};
    struct quickstart_result made = {.parameters = 0};
    int code = name_paths(&g);
    if (!code)
        code = lm_material_open(&g.material, error);
    if (!code)
        code = grow(&g);
    if (!code)
        code = ask_all(&g, &made);
    made.training_seconds = g.pretrain_seconds + g.finetune_seconds;
    forget(&g);
    if (code)
        quickstart_result_free(&made);
    else
        *result = made;
    return code;
}

void quickstart_result_free(struct quickstart_result *result)
{
    for (size_t i = 0; result->answers && i < result->questions.count; i++)
        lm_free(result->answers[i].text);
    lm_free(result->answers);
    lm_questions_free(&result->questions);
    *result = (struct quickstart_result){0};
}
