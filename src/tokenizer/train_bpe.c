/* Training: what is asked for, and byte-level BPE from start to end. */
#include "byte_alphabet.h"
#include "describe.h"
#include "train.h"

#include <stdarg.h>

enum { SPECIAL_LIMIT = 4096 };

bool lm_train_cancelled(const struct lm_tokenizer_training *training)
{
    const loam_observer *observer = training->observer;
    return observer && observer->cancelled && observer->cancelled(observer->user);
}

void lm_train_progress(const struct lm_tokenizer_training *training, const char *stage, int64_t done, int64_t total)
{
    const loam_observer *observer = training->observer;
    if (observer && observer->progress)
        observer->progress(observer->user, stage, done, total, NULL);
}

static int add_specials(const struct lm_tokenizer_training *training, struct lm_tokenizer *tokenizer, loam_error *error)
{
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < training->special_count; i++) {
        const char *text = training->specials[i];
        size_t length = strlen(text);
        if (!length || lm_utf8_check(text, length) != length)
            return lm_fail(error, LOAM_EUSAGE, "special token %zu: wanted at least one character of UTF-8", i + 1);
        struct lm_added added = {
            .id = (int32_t)i, .content = (char *)(uintptr_t)text, .length = length, .special = true};
        char bytes[SPECIAL_LIMIT];
        size_t written = 0;
        /* In files the byte-level keys share one name space with the specials: "é" is the key of the byte 0xE9. */
        bool key = length <= SPECIAL_LIMIT && lm_alphabet_read(text, length, bytes, &written);
        if (length > SPECIAL_LIMIT || (key && (written != length || memcmp(bytes, text, length))))
            return lm_fail(error, LOAM_EUSAGE,
                           "special token '%s': wanted at most %d bytes, and not only letters that stand for "
                           "bytes in a byte-level vocabulary",
                           text, SPECIAL_LIMIT);
        code = lm_vocabulary_add(&tokenizer->vocabulary, (int64_t)i, text, length, key ? 0 : LM_TOKEN_RAW, error);
        if (code == LOAM_EFORMAT)
            return lm_fail(error, LOAM_EUSAGE, "special token '%s' is given twice", text);
        if (code == LOAM_OK)
            code = lm_added_push(tokenizer, &added, error);
    }
    return code;
}

static int add_bytes(struct lm_tokenizer *tokenizer, loam_error *error)
{
    int code = LOAM_OK;
    for (unsigned n = 0; code == LOAM_OK && n < 256; n++) {
        char byte = (char)lm_alphabet_nth(n);
        int32_t known = lm_vocabulary_find(&tokenizer->vocabulary, &byte, 1, false);
        if (known < 0)
            code = lm_vocabulary_add(&tokenizer->vocabulary, (int64_t)tokenizer->vocabulary.size, &byte, 1, 0, error);
    }
    return code;
}

size_t lm_train_share(const struct lm_tokenizer_training *training, size_t parts, size_t of)
{
    enum { PROGRAM = 32 << 20 }; /* the program itself, its tables, the tokenizer that is made */
    return training->memory ? ((size_t)training->memory - PROGRAM) / of * parts : SIZE_MAX;
}

void lm_train_note(const struct lm_tokenizer_training *training, const char *format, ...)
{
    const loam_observer *observer = training->observer;
    char line[256];
    va_list arguments;
    if (!observer || !observer->note)
        return;
    va_start(arguments, format);
    lm_format_list(line, sizeof line, format, arguments);
    va_end(arguments);
    observer->note(observer->user, line);
}

static int check_kind(const struct lm_tokenizer_training *training, loam_error *error)
{
    if (training->kind == LM_TRAIN_BYTES) {
        size_t least = 256 + training->special_count;
        if (training->vocabulary_size < 0 || (size_t)training->vocabulary_size < least)
            return lm_fail(error, LOAM_EUSAGE,
                           "vocabulary size: found %d, wanted at least %zu (256 bytes and %zu special tokens)",
                           training->vocabulary_size, least, training->special_count);
    } else if (training->vocabulary_size < 0 || (size_t)training->vocabulary_size < training->special_count + 3) {
        return lm_fail(error, LOAM_EUSAGE, "vocabulary size: found %d, wanted at least %zu (the special tokens and one more)",
                       training->vocabulary_size, training->special_count + 3);
    }
    if (training->kind == LM_TRAIN_WORDS && training->pattern)
        return lm_fail(error, LOAM_EUSAGE, "a pattern is for bytes and characters: words are cut at white space and at "
                                           "punctuation marks");
    return LOAM_OK;
}

static int check(const struct lm_tokenizer_training *training, loam_error *error)
{
    int code = check_kind(training, error);
    if (code != LOAM_OK)
        return code;
    if (training->memory && training->memory < LM_TRAINING_MEMORY_LEAST)
        return lm_fail(error, LOAM_EUSAGE, "memory: found %lld bytes, wanted at least %d MiB", (long long)training->memory,
                       LM_TRAINING_MEMORY_LEAST >> 20);
    if (training->vocabulary_size > LM_TOKEN_LIMIT)
        return lm_fail(error, LOAM_EUSAGE, "vocabulary size: found %d, wanted at most %d", training->vocabulary_size,
                       LM_TOKEN_LIMIT);
    if (!training->file_count && !training->text)
        return lm_fail(error, LOAM_EUSAGE, "no text to train a tokenizer on");
    return LOAM_OK;
}

static int prepare(const struct lm_tokenizer_training *training, struct lm_tokenizer *tokenizer,
                   const struct lm_document *document, loam_error *error)
{
    int code = lm_tokenizer_pipeline(tokenizer, document, lm_document_root(document), error);
    if (code == LOAM_OK)
        code = add_specials(training, tokenizer, error);
    if (code == LOAM_OK)
        code = add_bytes(tokenizer, error);
    if (code != LOAM_OK)
        return code;
    tokenizer->model.prefix = lm_copy_string("", 0, error);
    tokenizer->model.suffix = lm_copy_string("", 0, error);
    if (!tokenizer->model.prefix || !tokenizer->model.suffix)
        return LOAM_ENOMEM;
    return lm_tokenizer_assemble(tokenizer, document, lm_document_root(document), error);
}

static void tell(const struct lm_tokenizer_training *training, const struct lm_tokenizer *tokenizer)
{
    if (lm_tokenizer_size(tokenizer) != training->vocabulary_size && training->kind != LM_TRAIN_WORDS)
        lm_train_note(training, "the text has no more pairs to merge: %d tokens instead of %d", lm_tokenizer_size(tokenizer),
                      training->vocabulary_size);
}

size_t lm_train_splits(const struct lm_tokenizer_training *training, const char **regexes)
{
    const char *pattern = training->pattern ? training->pattern : "gpt2";
    const struct lm_pattern *known = lm_pattern_named(pattern);
    size_t count = 0;
    for (; known && count < LM_PATTERN_SPLITS && known->regexes[count]; count++)
        regexes[count] = known->regexes[count];
    if (!known)
        regexes[count++] = pattern;
    return count;
}

/* The JSON of the pipeline. */
static int describe(const struct lm_tokenizer_training *training, struct lm_bytes *out, loam_error *error)
{
    const char *regexes[LM_PATTERN_SPLITS];
    const size_t count = lm_train_splits(training, regexes);
    const bool gpt2 = lm_pattern_of_regex(regexes[0], strlen(regexes[0])) == lm_pattern_named("gpt2");
    struct lm_json_writer writer = lm_json_writer(out, 0);
    lm_json_begin_object(&writer);
    lm_put_byte_level_parts(&writer, regexes, gpt2 ? 0 : count);
    lm_json_end_object(&writer);
    return lm_json_writer_finish(&writer, error);
}

static int train_bytes_into(const struct lm_tokenizer_training *training, struct lm_tokenizer *tokenizer, loam_error *error)
{
    struct lm_bytes json = {0};
    struct lm_document *document = NULL;
    struct lm_words words = {0};
    int code = describe(training, &json, error);
    if (code == LOAM_OK)
        code = lm_json_parse(json.data, json.length, "pattern", &document, error);
    if (code == LOAM_OK)
        code = prepare(training, tokenizer, document, error);
    if (code == LOAM_OK)
        code = lm_train_count(training, tokenizer, &words, error);
    if (code == LOAM_OK)
        code = lm_train_merge(training, tokenizer, &words, error);
    lm_words_free(&words);
    lm_document_free(document);
    lm_bytes_free(&json);
    return code;
}

static int train_bytes(const struct lm_tokenizer_training *training, struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct lm_tokenizer *made;
    int code = lm_tokenizer_new(&made, error);
    if (code != LOAM_OK)
        return code;
    code = train_bytes_into(training, made, error);
    if (code == LOAM_OK)
        *tokenizer = made;
    else
        lm_tokenizer_free(made);
    return code;
}

/* A special token whose name ends texts everywhere ends them here. */
static int name_the_end(struct lm_tokenizer *made, loam_error *error)
{
    static const char *const names[] = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"};
    for (size_t i = 0; i < sizeof names / sizeof *names && lm_tokenizer_eos(made) < 0; i++) {
        const int32_t id = lm_tokenizer_find(made, names[i], strlen(names[i]));
        if (id < 0 || !lm_tokenizer_is_special(made, id))
            continue;
        int code = lm_tokenizer_set_bos_eos_pad(made, lm_tokenizer_bos(made), id, lm_tokenizer_pad(made), error);
        if (code != LOAM_OK)
            return code;
    }
    return LOAM_OK;
}

int lm_tokenizer_train(const struct lm_tokenizer_training *training, struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct lm_tokenizer *made = NULL;
    int code = check(training, error);
    if (code != LOAM_OK)
        return code;
    switch (training->kind) {
    case LM_TRAIN_BYTES:
        code = train_bytes(training, &made, error);
        break;
    case LM_TRAIN_CHARACTERS:
        code = lm_train_characters(training, &made, error);
        break;
    case LM_TRAIN_WORDS:
        code = lm_train_word_list(training, &made, error);
        break;
    }
    if (code == LOAM_OK)
        code = name_the_end(made, error);
    if (code != LOAM_OK) {
        lm_tokenizer_free(made);
        return code;
    }
    tell(training, made);
    *tokenizer = made;
    return LOAM_OK;
}
