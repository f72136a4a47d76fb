/* Training: the reference's merges, ties, threads, hostile settings. */
#include "support/support.h"
#include "tokenizer/tokenizer.h"

static const char *const END[] = {"<|endoftext|>"};

static struct lm_tokenizer *train(const struct lm_tokenizer_training *training)
{
    struct lm_tokenizer *tokenizer = NULL;
    loam_error error;
    assert_ok(lm_tokenizer_train(training, &tokenizer, &error), &error);
    return tokenizer;
}

static void read_shared(const char *name, struct lm_bytes *text)
{
    loam_error error;
    assert_ok(lm_file_read(test_shared(name), 0, text, &error), &error);
}

/* The n-th line of the list of merges, written in GPT-2's byte alphabet, is the token n + 257 in its two halves. */
static void reference(void **state)
{
    (void)state;
    struct lm_bytes vocabulary_text = {0};
    read_shared("tokenizers/bpe-train/train-bpe-reference-vocab.json", &vocabulary_text);
    const char *file = test_shared("tokenizers/bpe-train/corpus.en");
    struct lm_tokenizer *tokenizer = train(&(struct lm_tokenizer_training){.files = &file,
                                                                           .file_count = 1,
                                                                           .vocabulary_size = 500,
                                                                           .specials = END,
                                                                           .special_count = 1,
                                                                           .ties_by_bytes = true,
                                                                           .threads = 2});
    const char *folder = test_folder();
    loam_error error;
    assert_ok(lm_tokenizer_save(tokenizer, folder, &error), &error);
    struct lm_document *wanted, *got;
    assert_ok(lm_json_parse(vocabulary_text.data, vocabulary_text.length, "reference", &wanted, &error), &error);
    assert_ok(lm_json_read(test_path(folder, "tokenizer.json"), &got, &error), &error);
    const struct lm_value *root = lm_document_root(wanted);
    const struct lm_value *model = lm_value_find(lm_document_root(got), "model"),
                          *vocabulary = lm_value_find(model, "vocab");
    assert_int_equal(root->length, 500);
    assert_int_equal(vocabulary->length, 500);
    for (size_t i = 0; i < root->length; i++) {
        const struct lm_value *id = lm_value_find(vocabulary, root->keys[i].text);
        if (!id || strcmp(id->text, root->items[i].text))
            fail_msg("token %s: id %s, wanted %s", root->keys[i].text, id ? id->text : "none", root->items[i].text);
    }
    struct lm_bytes merges = {0};
    read_shared("tokenizers/bpe-train/train-bpe-reference-merges.txt", &merges);
    const struct lm_value *list = lm_value_find(model, "merges");
    const char *line = merges.data;
    assert_int_equal(list->length, 243);
    for (size_t i = 0; i < list->length; i++) {
        const char *end = strchr(line, '\n');
        size_t length = end ? (size_t)(end - line) : strlen(line);
        assert_int_equal(length, list->items[i].length);
        assert_memory_equal(line, list->items[i].text, length);
        line = end ? end + 1 : line + length;
    }
    lm_document_free(wanted);
    lm_document_free(got);
    lm_bytes_free(&merges);
    lm_bytes_free(&vocabulary_text);
    lm_tokenizer_free(tokenizer);
}

static void same_for_any_threads(void **state)
{
    (void)state;
    struct lm_bytes text = {0};
    loam_error error;
    struct lm_random random = lm_random_seed(7, 0);
    for (int i = 0; i < 200000; i++) {
        static const char *const words[] = {" der",  " die",          "\n",  ", ", "'s", " Haus", " 1234", "ß",
                                            " 世界", "<|endoftext|>", "aaa", "  "};
        const char *word = words[lm_random_below(&random, 12)];
        assert_ok(lm_bytes_append(&text, word, strlen(word), &error), &error);
    }
    uint64_t first = 0;
    for (int threads = 1; threads <= 5; threads += 2) {
        struct lm_tokenizer *tokenizer = train(&(struct lm_tokenizer_training){.text = text.data,
                                                                               .text_length = text.length,
                                                                               .vocabulary_size = 300,
                                                                               .pattern = "llama3",
                                                                               .specials = END,
                                                                               .special_count = 1,
                                                                               .threads = threads});
        uint64_t print = lm_tokenizer_fingerprint(tokenizer);
        if (threads > 1)
            assert_true(print == first);
        first = print;
        lm_tokenizer_free(tokenizer);
    }
    lm_bytes_free(&text);
}

static void expect_tokens(const char *text, const struct lm_tokenizer_training *training, const char *const *tokens,
                          size_t count)
{
    struct lm_tokenizer_training with = *training;
    with.text = text;
    with.text_length = strlen(text);
    struct lm_tokenizer *tokenizer = train(&with);
    assert_int_equal(lm_tokenizer_size(tokenizer), 256 + (int)training->special_count + (int)count);
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const char *token = lm_tokenizer_token(tokenizer, 256 + (int)training->special_count + (int)i, &length);
        assert_int_equal(length, strlen(tokens[i]));
        assert_memory_equal(token, tokens[i], length);
    }
    lm_tokenizer_free(tokenizer);
}

/* Counts by hand. "ab" and "cd" both occur twice: the greater pair in byte order is "cd", the lower ids are those of
 * "ab". */
static void ties(void **state)
{
    (void)state;
    static const char *const bytes[] = {"cd", "ab"}, *const ids[] = {"ab", "cd"};
    expect_tokens("ab cd\nab\ncd",
                  &(struct lm_tokenizer_training){.vocabulary_size = 258, .ties_by_bytes = true, .threads = 1}, bytes,
                  2);
    expect_tokens("ab cd\nab\ncd", &(struct lm_tokenizer_training){.vocabulary_size = 258, .threads = 1}, ids, 2);
}

/* "aaaaa": joined from the left to aa aa a; then "aa a" and "aa aa" tie, and a has the lower id. */
static void overlaps(void **state)
{
    (void)state;
    static const char *const tokens[] = {"aa", "aaa", "aaaaa"};
    expect_tokens("aaaaa", &(struct lm_tokenizer_training){.vocabulary_size = 259, .threads = 1}, tokens, 3);
}

static void stops_without_pairs(void **state)
{
    (void)state;
    struct lm_tokenizer *tokenizer =
        train(&(struct lm_tokenizer_training){.text = "ab", .text_length = 2, .vocabulary_size = 1000});
    assert_int_equal(lm_tokenizer_size(tokenizer), 257);
    lm_tokenizer_free(tokenizer);
    tokenizer = train(&(struct lm_tokenizer_training){.text = "", .vocabulary_size = 256});
    assert_int_equal(lm_tokenizer_size(tokenizer), 256);
    lm_tokenizer_free(tokenizer);
}

/* A word of a million letters: each place is looked at a few times, not once a merge. */
static void huge_word(void **state)
{
    (void)state;
    size_t length = 1000000;
    char *text = malloc(length);
    assert_non_null(text);
    struct lm_random random = lm_random_seed(1, 1);
    for (size_t i = 0; i < length; i++)
        text[i] = (char)('a' + lm_random_below(&random, 26));
    double start = lm_seconds();
    struct lm_tokenizer *tokenizer =
        train(&(struct lm_tokenizer_training){.text = text, .text_length = length, .vocabulary_size = 3000});
    assert_int_equal(lm_tokenizer_size(tokenizer), 3000);
    assert_true(lm_seconds() - start <
                20); /* 0.3 s on the slowest machine tried; scanning it for each merge took minutes */
    lm_tokenizer_free(tokenizer);
    free(text);
}

static void keep_note(void *user, const char *line)
{
    snprintf(user, 300, "%s", line);
}

/* 300,000 different words, every third of them three times: more than 64 MiB have room for. Those that occur once go, all of
 * them, and the text is read several times, whatever the number of threads. */
static void bounded_memory(void **state)
{
    (void)state;
    struct lm_bytes text = {0}, often = {0};
    loam_error error;
    for (unsigned i = 0; i < 300000; i++) {
        char word[16] = " ";
        unsigned rest = i * 2654435761u;
        for (int k = 1; k < 8; k++, rest /= 26)
            word[k] = (char)('a' + rest % 26);
        for (unsigned times = i % 3 ? 1 : 3; times; times--) {
            assert_ok(lm_bytes_append(&text, word, strlen(word), &error), &error);
            if (i % 3 == 0)
                assert_ok(lm_bytes_append(&often, word, strlen(word), &error), &error);
        }
    }
    const char *path = test_path(test_folder(), "words.txt");
    assert_ok(lm_file_replace(path, text.data, text.length, &error), &error);
    uint64_t wanted = 0;
    for (int threads = 0; threads <= 3; threads++) {
        char note[300] = "";
        const loam_observer observer = {.user = note, .note = keep_note};
        struct lm_tokenizer_training training = {.files = &path,
                                                 .file_count = 1,
                                                 .vocabulary_size = 400,
                                                 .threads = threads,
                                                 .memory = LM_TRAINING_MEMORY_LEAST,
                                                 .observer = &observer};
        /* What must come out: the text of the frequent words alone, without a limit. */
        if (threads == 0)
            training = (struct lm_tokenizer_training){
                .text = often.data, .text_length = often.length, .vocabulary_size = 400, .threads = 1};
        struct lm_tokenizer *tokenizer = train(&training);
        const uint64_t print = lm_tokenizer_fingerprint(tokenizer);
        if (threads == 0)
            wanted = print;
        assert_true(print == wanted);
        assert_true((strstr(note, "200000 different words") != NULL) == (threads > 0));
        lm_tokenizer_free(tokenizer);
    }
    lm_bytes_free(&text);
    lm_bytes_free(&often);
}

static void expect_ids(const struct lm_tokenizer *tokenizer, const char *text, const int32_t *wanted, size_t count,
                       const char *back)
{
    struct lm_ids ids = {0};
    struct lm_bytes decoded = {0};
    loam_error error;
    assert_ok(lm_tokenizer_encode(tokenizer, text, strlen(text), LM_ENCODE_SPECIAL, &ids, NULL, &error), &error);
    assert_int_equal(ids.length, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids.data[i], wanted[i]);
    assert_ok(lm_tokenizer_decode(tokenizer, ids.data, ids.length, false, &decoded, &error), &error);
    assert_string_equal(decoded.data, back);
    lm_ids_free(&ids);
    lm_bytes_free(&decoded);
}

/* By hand: the words in byte order are ! , . Yes be is it to, then the two specials. */
static void words_by_hand(void **state)
{
    (void)state;
    const char text[] = "to be, is it to be. Yes!";
    struct lm_tokenizer *tokenizer = train(&(struct lm_tokenizer_training){
        .kind = LM_TRAIN_WORDS, .text = text, .text_length = sizeof text - 1, .vocabulary_size = 100, .threads = 2});
    assert_int_equal(lm_tokenizer_size(tokenizer), 10);
    static const int32_t ids[] = {3, 1, 9, 5, 6, 0, 8, 4, 2};
    expect_ids(tokenizer, "Yes,  who\nis it!<|endoftext|> be.", ids, 9, "Yes, <|unk|> is it! <|endoftext|> be.");
    lm_tokenizer_free(tokenizer);
    /* The two most frequent, and in byte order first among equals. */
    tokenizer = train(&(struct lm_tokenizer_training){
        .kind = LM_TRAIN_WORDS, .text = text, .text_length = sizeof text - 1, .vocabulary_size = 4, .threads = 1});
    static const int32_t few[] = {1, 0, 3, 2};
    expect_ids(tokenizer, "to be it<|endoftext|>", few, 4, "to be <|unk|> <|endoftext|>");
    lm_tokenizer_free(tokenizer);
}

/* By hand: <|unk|>, then the characters ' ' a n é, then "an" (4 times), " an" (3 times, as "ané", but of lower ids). */
static void characters_by_hand(void **state)
{
    (void)state;
    const char text[] = "an\xC3\xA9 an\xC3\xA9 an\xC3\xA9 an";
    struct lm_tokenizer *tokenizer = train(&(struct lm_tokenizer_training){
        .kind = LM_TRAIN_CHARACTERS, .text = text, .text_length = sizeof text - 1, .vocabulary_size = 7, .threads = 1});
    static const int32_t ids[] = {5, 4, 5, 0, 4, 4, 6};
    expect_ids(tokenizer, "an\xC3\xA9" "anx\xC3\xA9\xC3\xA9 an", ids, 7,
               "an\xC3\xA9" "an<|unk|>\xC3\xA9\xC3\xA9 an");
    lm_tokenizer_free(tokenizer);
    /* Room for two characters: the most frequent. What stands around the others is never merged over them. */
    tokenizer = train(&(struct lm_tokenizer_training){
        .kind = LM_TRAIN_CHARACTERS, .text = text, .text_length = sizeof text - 1, .vocabulary_size = 3, .threads = 1});
    assert_int_equal(lm_tokenizer_size(tokenizer), 3);
    static const int32_t two[] = {1, 2, 0};
    expect_ids(tokenizer, "an\xC3\xA9", two, 3, "an<|unk|>");
    lm_tokenizer_free(tokenizer);
}

static void refused(void **state)
{
    (void)state;
    struct lm_tokenizer *tokenizer = NULL;
    loam_error error;
    assert_fails(
        lm_tokenizer_train(&(struct lm_tokenizer_training){.text = "a", .text_length = 1, .vocabulary_size = 255},
                           &tokenizer, &error),
        &error, LOAM_EUSAGE, "255", "256");
    assert_fails(
        lm_tokenizer_train(&(struct lm_tokenizer_training){.text = "a", .text_length = 1, .vocabulary_size = -5},
                           &tokenizer, &error),
        &error, LOAM_EUSAGE, "-5");
    assert_fails(
        lm_tokenizer_train(
            &(struct lm_tokenizer_training){.text = "a", .text_length = 1, .vocabulary_size = 300, .pattern = "("},
            &tokenizer, &error),
        &error, LOAM_EFORMAT, "regular expression");
    const char *twice[] = {"<a>", "<a>"}, *byte[] = {"\xC3\xA9"}, *missing = "no/such/file";
    assert_fails(lm_tokenizer_train(
                     &(struct lm_tokenizer_training){
                         .text = "a", .text_length = 1, .vocabulary_size = 300, .specials = twice, .special_count = 2},
                     &tokenizer, &error),
                 &error, LOAM_EUSAGE, "<a>", "twice");
    assert_fails(lm_tokenizer_train(
                     &(struct lm_tokenizer_training){
                         .text = "a", .text_length = 1, .vocabulary_size = 300, .specials = byte, .special_count = 1},
                     &tokenizer, &error),
                 &error, LOAM_EUSAGE, "byte-level");
    assert_fails(
        lm_tokenizer_train(&(struct lm_tokenizer_training){.files = &missing, .file_count = 1, .vocabulary_size = 300},
                           &tokenizer, &error),
        &error, LOAM_ENOTFOUND, "no/such/file");
    assert_null(tokenizer);
}

static void out_of_memory(void **state)
{
    (void)state;
    const char text[] = "the cat sat on the mat, the cat sat";
    struct lm_tokenizer_training training = {.text = text,
                                             .text_length = sizeof text - 1,
                                             .vocabulary_size = 270,
                                             .specials = END,
                                             .special_count = 1,
                                             .threads = 1};
    for (int64_t n = 1;; n++) {
        struct lm_tokenizer *tokenizer = NULL;
        loam_error error = {0};
        lm_memory_fail_after(n);
        int code = lm_tokenizer_train(&training, &tokenizer, &error);
        lm_memory_fail_after(-1);
        if (code == LOAM_OK) {
            assert_true(n > 20);
            lm_tokenizer_free(tokenizer);
            break;
        }
        assert_int_equal(code, LOAM_ENOMEM);
        assert_null(tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference), cmocka_unit_test(same_for_any_threads), cmocka_unit_test(ties),
        cmocka_unit_test(overlaps),  cmocka_unit_test(stops_without_pairs),  cmocka_unit_test(huge_word),
        cmocka_unit_test(refused),   cmocka_unit_test(out_of_memory),
        cmocka_unit_test(bounded_memory),     cmocka_unit_test(words_by_hand),
        cmocka_unit_test(characters_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
