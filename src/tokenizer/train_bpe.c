/* Training a byte-level BPE tokenizer from start to end. */
#include "byte_alphabet.h"
#include "train.h"

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

static void write_byte_level(struct lm_json_writer *writer, bool regex)
{
    lm_json_begin_object(writer);
    lm_json_key(writer, "type");
    lm_json_text(writer, "ByteLevel");
    lm_json_key(writer, "add_prefix_space");
    lm_json_bool(writer, false);
    lm_json_key(writer, "trim_offsets");
    lm_json_bool(writer, true);
    lm_json_key(writer, "use_regex");
    lm_json_bool(writer, regex);
    lm_json_end_object(writer);
}

static void write_split(struct lm_json_writer *writer, const char *regex)
{
    lm_json_begin_object(writer);
    lm_json_key(writer, "type");
    lm_json_text(writer, "Split");
    lm_json_key(writer, "pattern");
    lm_json_begin_object(writer);
    lm_json_key(writer, "Regex");
    lm_json_text(writer, regex);
    lm_json_end_object(writer);
    lm_json_key(writer, "behavior");
    lm_json_text(writer, "Isolated");
    lm_json_key(writer, "invert");
    lm_json_bool(writer, false);
    lm_json_end_object(writer);
}

static int describe(const char *const *regexes, size_t count, struct lm_bytes *out, loam_error *error)
{
    struct lm_json_writer writer = lm_json_writer(out, 0);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "pre_tokenizer");
    if (regexes[0] == lm_pattern_named("gpt2")->regexes[0]) {
        write_byte_level(&writer, true);
    } else {
        lm_json_begin_object(&writer);
        lm_json_key(&writer, "type");
        lm_json_text(&writer, "Sequence");
        lm_json_key(&writer, "pretokenizers");
        lm_json_begin_array(&writer);
        for (size_t i = 0; i < count && regexes[i]; i++)
            write_split(&writer, regexes[i]);
        write_byte_level(&writer, false);
        lm_json_end_array(&writer);
        lm_json_end_object(&writer);
    }
    lm_json_key(&writer, "decoder");
    write_byte_level(&writer, true);
    lm_json_end_object(&writer);
    return lm_json_writer_finish(&writer, error);
}

int lm_describe_pattern(const struct lm_pattern *pattern, struct lm_bytes *out, loam_error *error)
{
    return describe(pattern->regexes, LM_PATTERN_SPLITS, out, error);
}

int lm_describe_byte_level(const char *regex, struct lm_bytes *out, loam_error *error)
{
    const struct lm_pattern *known = lm_pattern_of_regex(regex, strlen(regex));
    return known ? lm_describe_pattern(known, out, error) : describe(&regex, 1, out, error);
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

static int check(const struct lm_tokenizer_training *training, loam_error *error)
{
    size_t least = 256 + training->special_count;
    if (training->vocabulary_size < 0 || (size_t)training->vocabulary_size < least)
        return lm_fail(error, LOAM_EUSAGE,
                       "vocabulary size: found %d, wanted at least %zu (256 bytes and %zu special tokens)",
                       training->vocabulary_size, least, training->special_count);
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
    const loam_observer *observer = training->observer;
    char line[160];
    if (!observer || !observer->note || lm_tokenizer_size(tokenizer) == training->vocabulary_size)
        return;
    snprintf(line, sizeof line, "the text has no more pairs to merge: %d tokens instead of %d",
             lm_tokenizer_size(tokenizer), training->vocabulary_size);
    observer->note(observer->user, line);
}

static int train_into(const struct lm_tokenizer_training *training, struct lm_tokenizer *tokenizer, loam_error *error)
{
    const char *pattern = training->pattern ? training->pattern : "gpt2";
    const struct lm_pattern *known = lm_pattern_named(pattern);
    struct lm_bytes json = {0};
    struct lm_document *document = NULL;
    struct lm_words words = {0};
    int code = known ? lm_describe_pattern(known, &json, error) : lm_describe_byte_level(pattern, &json, error);
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

int lm_tokenizer_train(const struct lm_tokenizer_training *training, struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct lm_tokenizer *made;
    int code = check(training, error);
    if (code == LOAM_OK)
        code = lm_tokenizer_new(&made, error);
    if (code != LOAM_OK)
        return code;
    code = train_into(training, made, error);
    if (code != LOAM_OK) {
        lm_tokenizer_free(made);
        return code;
    }
    tell(training, made);
    *tokenizer = made;
    return LOAM_OK;
}
