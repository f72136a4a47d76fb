/* loam eval */
#include "common.h"
#include "train/train.h"

#include <string.h>

struct evaluation {
    const struct arguments *arguments;
    struct progress progress;
    struct lm_device *device;
    struct lm_model *model;
    struct lm_tokenizer *tokenizer;
    const struct lm_template *chat_template;
    struct lm_samples *samples;
    int64_t batch, length;
};

static bool ends_in(const char *path, const char *end)
{
    const size_t length = strlen(path), tail = strlen(end);
    return length >= tail && strcmp(path + length - tail, end) == 0;
}

/* Conversations stand in .jsonl and .json files; all else but .ids is text. */
static bool is_chat(const char *path)
{
    return ends_in(path, ".jsonl") || ends_in(path, ".json");
}

static int count_kinds(const struct argument *data, size_t *chats, size_t *texts, loam_error *error)
{
    *chats = *texts = 0;
    for (size_t i = 0; i < data->count; i++)
        if (is_chat(data->list[i]))
            ++*chats;
        else if (!ends_in(data->list[i], ".ids"))
            ++*texts;
    if (*chats && *texts)
        return lm_fail(error, LOAM_EUSAGE,
                       "eval: found conversations (.jsonl, .json) and text among the files; evaluate them "
                       "one after the other");
    return LOAM_OK;
}

static int open_samples(struct evaluation *e, bool chat, loam_error *error)
{
    const struct argument *values = e->arguments->values;
    const struct argument *data = &values[OPT_DATA];
    struct lm_source *sources = lm_alloc(data->count, sizeof *sources, error);
    if (!sources)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < data->count; i++)
        sources[i] = (struct lm_source){.path = data->list[i], .weight = 1};
    char *cache = lm_samples_cache();
    const struct lm_samples_options options = {
        .kind = chat ? LM_SAMPLES_CHAT : LM_SAMPLES_TEXT,
        .sources = sources,
        .source_count = data->count,
        .tokenizer = e->tokenizer,
        .chat_template = e->chat_template,
        .vocabulary = (int32_t)lm_model_config(e->model)->vocabulary,
        .threads = thread_count(e->arguments),
        .length = e->length,
        .batch = e->batch,
        .train_on_all = values[OPT_TRAIN_ON_ALL].given,
        .pack = chat,
        .cache = cache,
        .observer = &e->progress.observer,
    };
    int code = lm_samples_open(&options, &e->samples, error);
    lm_free(cache);
    lm_free(sources);
    return code;
}

static int open_model(struct evaluation *e, const char *path, loam_error *error)
{
    int code = lm_device_open(&(struct lm_device_options){.threads = thread_count(e->arguments)}, &e->device, error);
    if (code == LOAM_OK)
        code = lm_model_open(path, e->device, &(struct lm_model_options){0}, &e->model, error);
    if (code != LOAM_OK)
        return code;
    const struct argument *values = e->arguments->values;
    const int64_t context = lm_model_config(e->model)->context;
    e->length = values[OPT_SEQ].given ? values[OPT_SEQ].whole : context < 1024 ? context : 1024;
    e->batch = values[OPT_BATCH].given ? values[OPT_BATCH].whole : 4;
    if (e->length > context)
        return lm_fail(error, LOAM_EUSAGE, "eval: --seq is %lld, and the model's context is %lld; use at most that",
                       (long long)e->length, (long long)context);
    return LOAM_OK;
}

static int open_text(struct evaluation *e, const char *path, bool chat, bool needs_tokenizer, loam_error *error)
{
    char *file = lm_path_join(path, "tokenizer.json", error);
    if (!file)
        return LOAM_ENOMEM;
    const bool there = lm_file_exists(file);
    lm_free(file);
    int code = there || needs_tokenizer ? lm_tokenizer_load(path, &e->tokenizer, error) : LOAM_OK;
    if (code == LOAM_OK && e->tokenizer && lm_tokenizer_size(e->tokenizer) > lm_model_config(e->model)->vocabulary)
        return lm_fail(error, LOAM_EMISMATCH,
                       "%s: the tokenizer has %d ids and the model a vocabulary of %lld; take the "
                       "tokenizer that belongs to the model",
                       path, (int)lm_tokenizer_size(e->tokenizer), (long long)lm_model_config(e->model)->vocabulary);
    if (code == LOAM_OK && chat)
        code = lm_template_find(e->arguments->values[OPT_TEMPLATE].text, path, &e->chat_template, error);
    if (code == LOAM_OK && chat)
        code = lm_template_fit(e->chat_template, e->tokenizer, false, NULL, error);
    return code;
}

static int show(const struct evaluation *e, const struct lm_evaluation *found)
{
    if (!e->arguments->values[OPT_JSON].given) {
        printf("loss %.4f\nperplexity %.4f\nbits per byte %.4f\ntokens %lld\n", found->loss, found->perplexity,
               found->bits_per_byte, (long long)found->tokens);
        return EXIT_DONE;
    }
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 2);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "loss");
    lm_json_double(&writer, found->loss);
    lm_json_key(&writer, "perplexity");
    lm_json_double(&writer, found->perplexity);
    lm_json_key(&writer, "bits_per_byte");
    lm_json_double(&writer, found->bits_per_byte);
    lm_json_key(&writer, "tokens");
    lm_json_int(&writer, found->tokens);
    lm_json_end_object(&writer);
    return print_json(&writer);
}

static int evaluate(struct evaluation *e, struct lm_evaluation *found, loam_error *error)
{
    const char *path = e->arguments->operands[0];
    size_t chats, texts;
    int code = count_kinds(&e->arguments->values[OPT_DATA], &chats, &texts, error);
    if (code == LOAM_OK)
        code = open_model(e, path, error);
    if (code == LOAM_OK)
        code = open_text(e, path, chats > 0, chats + texts > 0, error);
    if (code == LOAM_OK)
        code = open_samples(e, chats > 0, error);
    return code == LOAM_OK ? lm_evaluate(e->model, e->samples, e->batch, e->length, &e->progress.observer, found, error)
                           : code;
}

int command_eval(const struct arguments *arguments)
{
    struct evaluation e = {.arguments = arguments};
    struct lm_evaluation found;
    loam_error error;
    if (arguments->values[OPT_DATA].count == 0) {
        complain("eval: option '--data' is missing; usage: loam eval %s", arguments->command->operands);
        return EXIT_USAGE;
    }
    progress_init(&e.progress);
    catch_signals();
    int code = evaluate(&e, &found, &error);
    progress_clear(&e.progress);
    int status = code == LOAM_OK ? show(&e, &found) : complain_error(&error);
    lm_samples_close(e.samples);
    lm_tokenizer_free(e.tokenizer);
    lm_template_free(e.chat_template);
    lm_model_close(e.model);
    lm_device_close(e.device);
    return status;
}
