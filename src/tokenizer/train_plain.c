/* Training the tokenizers that do not work on bytes: BPE on characters, and lists of words. Both are made by way of their
 * tokenizer.json: first one that only cuts the text and knows the specials, then, from what it counted, the real one. */
#include "describe.h"
#include "train.h"

#include <stdlib.h>

static const char UNKNOWN[] = "<|unk|>", END_OF_TEXT[] = "<|endoftext|>";

/* Tokens in the order of their ids. */
struct list {
    const char **texts;
    size_t *lengths;
    size_t count, capacity;
};

static int push(struct list *list, const char *text, size_t length, loam_error *error)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 256;
        const char **texts = lm_resize(list->texts, capacity, sizeof *texts, error);
        if (!texts)
            return LOAM_ENOMEM;
        list->texts = texts;
        size_t *lengths = lm_resize(list->lengths, capacity, sizeof *lengths, error);
        if (!lengths)
            return LOAM_ENOMEM;
        list->lengths = lengths;
        list->capacity = capacity;
    }
    list->texts[list->count] = text;
    list->lengths[list->count++] = length;
    return LOAM_OK;
}

static void list_free(struct list *list)
{
    lm_free(list->texts);
    lm_free(list->lengths);
    *list = (struct list){0};
}

static bool has(const struct list *list, const char *text, size_t length)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->lengths[i] == length && !memcmp(list->texts[i], text, length))
            return true;
    return false;
}

/* The specials asked for, with those behind them that the kind cannot do without. */
static int specials_of(const struct lm_tokenizer_training *training, struct list *specials, loam_error *error)
{
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < training->special_count; i++) {
        const char *text = training->specials[i];
        const size_t length = strlen(text);
        if (!length || lm_utf8_check(text, length) != length)
            return lm_fail(error, LOAM_EUSAGE, "special token %zu: wanted at least one character of UTF-8", i + 1);
        if (has(specials, text, length))
            return lm_fail(error, LOAM_EUSAGE, "special token '%s' is given twice", text);
        code = push(specials, text, length, error);
    }
    if (code == LOAM_OK && training->kind == LM_TRAIN_WORDS && !has(specials, END_OF_TEXT, sizeof END_OF_TEXT - 1))
        code = push(specials, END_OF_TEXT, sizeof END_OF_TEXT - 1, error);
    if (code == LOAM_OK && !has(specials, UNKNOWN, sizeof UNKNOWN - 1))
        code = push(specials, UNKNOWN, sizeof UNKNOWN - 1, error);
    return code;
}

/* Words and marks: between white space, which goes, and at the punctuation marks of a first lesson, which stay. */
static void put_word_pipeline(struct lm_json_writer *writer)
{
    lm_json_key(writer, "pre_tokenizer");
    lm_begin_sequence(writer, "pretokenizers");
    lm_put_simple(writer, "WhitespaceSplit", NULL, NULL);
    lm_put_split(writer, "--|[,.:;?_!\"()']");
    lm_end_sequence(writer);
    lm_json_key(writer, "decoder");
    lm_json_begin_object(writer);
    lm_put_text(writer, "type", "WordPiece");
    lm_put_text(writer, "prefix", "##");
    lm_put_flag(writer, "cleanup", true);
    lm_json_end_object(writer);
}

static void put_character_pipeline(struct lm_json_writer *writer, const struct lm_tokenizer_training *training)
{
    const char *regexes[LM_PATTERN_SPLITS];
    const size_t count = lm_train_splits(training, regexes);
    lm_json_key(writer, "pre_tokenizer");
    lm_begin_sequence(writer, "pretokenizers");
    for (size_t i = 0; i < count; i++)
        lm_put_split(writer, regexes[i]);
    lm_end_sequence(writer);
    lm_json_key(writer, "decoder");
    lm_put_simple(writer, "Fuse", NULL, NULL);
}

static int write_tokens(struct lm_json_writer *writer, const struct list *tokens, int64_t *id, loam_error *error)
{
    for (size_t i = 0; i < tokens->count; i++) {
        char *key = lm_copy_string(tokens->texts[i], tokens->lengths[i], error);
        if (!key)
            return LOAM_ENOMEM;
        lm_json_key(writer, key);
        lm_json_int(writer, (*id)++);
        lm_free(key);
    }
    return LOAM_OK;
}

/* The tokenizer with these tokens: `tokens` behind the specials, or words in front of them. */
static int make(const struct lm_tokenizer_training *training, const struct list *specials, const struct list *tokens,
                struct lm_tokenizer **tokenizer, loam_error *error)
{
    const bool words = training->kind == LM_TRAIN_WORDS;
    struct lm_bytes json = {0};
    struct lm_json_writer writer = lm_json_writer(&json, -1);
    int64_t id = 0;
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "added_tokens");
    lm_json_begin_array(&writer);
    for (size_t i = 0; i < specials->count; i++)
        lm_put_added(&writer, (int64_t)((words ? tokens->count : 0) + i), specials->texts[i], specials->lengths[i], true);
    lm_json_end_array(&writer);
    if (words)
        put_word_pipeline(&writer);
    else
        put_character_pipeline(&writer, training);
    lm_json_key(&writer, "model");
    lm_json_begin_object(&writer);
    lm_put_text(&writer, "type", words ? "WordLevel" : "BPE");
    lm_put_text(&writer, "unk_token", UNKNOWN);
    lm_json_key(&writer, "vocab");
    lm_json_begin_object(&writer);
    int code = write_tokens(&writer, words ? tokens : specials, &id, error);
    if (code == LOAM_OK)
        code = write_tokens(&writer, words ? specials : tokens, &id, error);
    lm_json_end_object(&writer);
    if (!words) {
        lm_json_key(&writer, "merges");
        lm_json_begin_array(&writer);
        lm_json_end_array(&writer);
    }
    lm_json_end_object(&writer);
    lm_json_end_object(&writer);
    if (code == LOAM_OK)
        code = lm_json_writer_finish(&writer, error);
    if (code == LOAM_OK)
        code = lm_tokenizer_from_json(json.data, json.length, "the tokenizer in training", tokenizer, error);
    lm_bytes_free(&json);
    return code;
}

/* What is chosen from: the text of an item of `all`, and how often it occurs. */
struct choice {
    const char *text;
    size_t length;
    uint64_t count;
};

static int by_text(const void *a, const void *b)
{
    const struct choice *left = a, *right = b;
    const int order = memcmp(left->text, right->text, left->length < right->length ? left->length : right->length);
    return order ? order : (left->length > right->length) - (left->length < right->length);
}

static int by_count(const void *a, const void *b)
{
    const struct choice *left = a, *right = b;
    if (left->count != right->count)
        return left->count > right->count ? -1 : 1;
    return by_text(a, b);
}

/* The `most` most frequent of them, in byte order, which for UTF-8 is that of code points. */
static int choose(const struct lm_words *all, size_t most, const struct list *specials, struct list *tokens,
                  const struct lm_tokenizer_training *training, loam_error *error)
{
    struct choice *choices = lm_alloc(all->count + 1, sizeof *choices, error);
    if (!choices)
        return LOAM_ENOMEM;
    size_t count = 0, broken = 0;
    for (size_t i = 0; i < all->count; i++) {
        const char *text = all->text.data + all->items[i].offset;
        const bool fine = lm_utf8_check(text, all->items[i].length) == all->items[i].length;
        broken += !fine;
        if (fine && !has(specials, text, all->items[i].length))
            choices[count++] = (struct choice){text, all->items[i].length, all->items[i].count};
    }
    if (broken)
        lm_train_note(training, "%zu different words are not UTF-8 and were left out", broken);
    if (count > most) {
        qsort(choices, count, sizeof *choices, by_count);
        count = most;
    }
    qsort(choices, count, sizeof *choices, by_text);
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < count; i++)
        code = push(tokens, choices[i].text, choices[i].length, error);
    lm_free(choices);
    return code;
}

/* The characters of all words. */
static int characters_of(const struct lm_words *words, struct lm_words *characters, loam_error *error)
{
    int code = LOAM_OK;
    for (size_t i = 0; i < words->count; i++) {
        const unsigned char *at = (const unsigned char *)words->text.data + words->items[i].offset;
        const unsigned char *end = at + words->items[i].length;
        uint32_t c;
        for (size_t n; code == LOAM_OK && at < end; at += n) {
            n = lm_character(at, end, &c);
            if (c != UINT32_MAX)
                code = lm_words_count(characters, (const char *)at, n, words->items[i].count, error);
        }
    }
    return code;
}

static int count(const struct lm_tokenizer_training *training, const struct list *specials, struct lm_words *words,
                 loam_error *error)
{
    static const struct list none;
    struct lm_tokenizer *cutter = NULL;
    int code = make(training, specials, &none, &cutter, error);
    if (code == LOAM_OK)
        code = lm_train_count(training, cutter, words, error);
    lm_tokenizer_free(cutter);
    return code;
}

/* The made tokenizer read back from its own JSON, with all that is computed from the vocabulary. */
static int finish(struct lm_tokenizer *made, struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct lm_bytes json = {0};
    int code = lm_tokenizer_to_json(made, &json, error);
    if (code == LOAM_OK)
        code = lm_tokenizer_from_json(json.data, json.length, "the trained tokenizer", tokenizer, error);
    lm_bytes_free(&json);
    return code;
}

int lm_train_characters(const struct lm_tokenizer_training *training, struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct list specials = {0}, tokens = {0};
    struct lm_words words = {0}, characters = {0};
    struct lm_tokenizer *made = NULL;
    int code = specials_of(training, &specials, error);
    if (code == LOAM_OK)
        code = count(training, &specials, &words, error);
    if (code == LOAM_OK)
        code = characters_of(&words, &characters, error);
    if (code == LOAM_OK)
        code = choose(&characters, (size_t)training->vocabulary_size - specials.count, &specials, &tokens, training, error);
    if (code == LOAM_OK && tokens.count < characters.count)
        lm_train_note(training, "the text has %zu different characters: the %zu most frequent have tokens, the others are "
                                "unknown", characters.count, tokens.count);
    if (code == LOAM_OK)
        code = make(training, &specials, &tokens, &made, error);
    if (code == LOAM_OK)
        code = lm_train_merge(training, made, &words, error);
    if (code == LOAM_OK)
        code = finish(made, tokenizer, error);
    lm_tokenizer_free(made);
    lm_words_free(&words);
    lm_words_free(&characters);
    list_free(&specials);
    list_free(&tokens);
    return code;
}

int lm_train_word_list(const struct lm_tokenizer_training *training, struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct list specials = {0}, tokens = {0};
    struct lm_words words = {0};
    int code = specials_of(training, &specials, error);
    if (code == LOAM_OK)
        code = count(training, &specials, &words, error);
    if (code == LOAM_OK)
        code = choose(&words, (size_t)training->vocabulary_size - specials.count, &specials, &tokens, training, error);
    if (code == LOAM_OK && tokens.count < words.count)
        lm_train_note(training, "the text has %zu different words: the %zu most frequent have tokens, the others are unknown",
                      words.count, tokens.count);
    if (code == LOAM_OK)
        code = make(training, &specials, &tokens, tokenizer, error);
    lm_words_free(&words);
    list_free(&specials);
    list_free(&tokens);
    return code;
}
