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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
