/* loam tokenizer train */
#include "common.h"
#include "tokenizer/tokenizer.h"

#include <string.h>
#include <unistd.h>

/* A model's tokenizer is part of it: with another one its ids mean nothing. */
static int refuse_model(const char *directory, loam_error *error)
{
    static const char *const both[] = {"config.json", "tokenizer.json"};
    for (int i = 0; i < 2; i++) {
        char *path = lm_path_join(directory, both[i], error);
        if (!path)
            return LOAM_ENOMEM;
        const bool there = lm_file_exists(path);
        lm_free(path);
        if (!there)
            return LOAM_OK;
    }
    return lm_fail(error, LOAM_EUSAGE, "%s: holds a model with its tokenizer already; choose another directory", directory);
}

/* Found out before the work, not behind it: whether the result can be written there. */
static int prepare(const char *directory, bool *made, loam_error *error)
{
    *made = !lm_file_exists(directory);
    int code = refuse_model(directory, error);
    if (code == LOAM_OK)
        code = lm_make_directories(directory, error);
    if (code == LOAM_OK && access(directory, W_OK | X_OK) != 0)
        code = lm_fail(error, LOAM_EIO, "%s: nothing can be written there: %s", directory, "no permission");
    return code;
}

int command_tokenizer_train(const struct arguments *arguments)
{
    const char *directory = needed(arguments, OPT_OUT), *kind = arguments->values[OPT_KIND].text;
    const bool words = strcmp(kind, "words") == 0;
    if (!directory || (!words && !needed(arguments, OPT_VOCAB_SIZE)))
        return EXIT_USAGE;
    loam_error error;
    bool made;
    if (prepare(directory, &made, &error) != LOAM_OK)
        return complain_error(&error);
    struct progress progress;
    progress_init(&progress);
    catch_signals();
    const struct lm_tokenizer_training training = {
        .files = arguments->operands,
        .file_count = arguments->operand_count,
        .kind = words ? LM_TRAIN_WORDS : strcmp(kind, "chars") == 0 ? LM_TRAIN_CHARACTERS : LM_TRAIN_BYTES,
        .vocabulary_size = arguments->values[OPT_VOCAB_SIZE].given ? (int32_t)arguments->values[OPT_VOCAB_SIZE].whole : 1 << 24,
        .memory = arguments->values[OPT_TRAINING_MEMORY].whole,
        .pattern = arguments->values[OPT_PATTERN].text,
        .specials = arguments->values[OPT_SPECIAL_TOKEN].list,
        .special_count = arguments->values[OPT_SPECIAL_TOKEN].count,
        .ties_by_bytes = strcmp(arguments->values[OPT_TIES].text, "bytes") == 0,
        .threads = thread_count(arguments),
        .observer = &progress.observer,
    };
    struct lm_tokenizer *tokenizer;
    int code = lm_tokenizer_train(&training, &tokenizer, &error);
    progress_clear(&progress);
    if (code != LOAM_OK) {
        if (made)
            rmdir(directory);
        return complain_error(&error);
    }
    code = lm_tokenizer_save(tokenizer, directory, &error);
    if (code == LOAM_OK)
        note("%s: a tokenizer of %d tokens", directory, (int)lm_tokenizer_size(tokenizer));
    lm_tokenizer_free(tokenizer);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}
