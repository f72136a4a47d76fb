/* What makes encoding fast changes nothing: the cache, cutting texts at blanks, batches over threads; and no text takes more
 * than linear time. */
#include "support/support.h"
#include "tokenizer/tokenizer.h"

static const char *const WORDS[] = {" the",  "\xE2\x96\x81", " ",      "a",        "strawberries", "\n", "\xF0\x9F\x8D\x93",
                                    "\xCC\x81", " 1234", "'s", "internationalization", "\xD0\xBF\xD1\x80\xD0\xB8",
                                    "\xE4\xB8\x96\xE7\x95\x8C", "\xFF", "..", "ing"};

static struct lm_tokenizer *load(const char *name)
{
    struct lm_tokenizer *tokenizer;
    loam_error error;
    assert_ok(lm_tokenizer_load(test_shared(name), &tokenizer, &error), &error);
    return tokenizer;
}

static void random_text(struct lm_random *random, size_t words, struct lm_bytes *text)
{
    loam_error error;
    text->length = 0;
    for (size_t i = 0; i < words; i++) {
        const char *word = WORDS[lm_random_below(random, sizeof WORDS / sizeof *WORDS)];
        assert_ok(lm_bytes_append(text, word, strlen(word), &error), &error);
    }
}

/* A tokenizer that has met much keeps to what a new one says, with and without places; lines over threads as one by one. */
static void same_ids(void **state)
{
    (void)state;
    static const char *const names[] = {"tokenizers/swift-transformers/gpt2_tokenizer.json",
                                        "tokenizers/swift-transformers/llama_tokenizer.json"};
    enum { TEXTS = 300 };
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct lm_tokenizer *old = load(names[n]), *fresh = load(names[n]);
        struct lm_random random = lm_random_seed(5, n);
        struct lm_bytes texts[TEXTS] = {{0}};
        struct lm_piece_of_text pieces[TEXTS];
        struct lm_ids ids[TEXTS] = {{0}};
        loam_error error;
        for (size_t i = 0; i < TEXTS; i++) {
            random_text(&random, lm_random_below(&random, 60), &texts[i]);
            pieces[i] = (struct lm_piece_of_text){texts[i].data ? texts[i].data : "", texts[i].length};
        }
        for (int round = 0; round < 3; round++)
            for (size_t i = 0; i < TEXTS; i++) {
                ids[i].length = 0;
                assert_ok(lm_tokenizer_encode(old, pieces[i].text, pieces[i].length, 0, &ids[i], NULL, &error), &error);
            }
        struct lm_ids batch[TEXTS] = {{0}};
        assert_ok(lm_tokenizer_encode_batch(fresh, pieces, TEXTS, 0, 3, batch, &error), &error);
        for (size_t i = 0; i < TEXTS; i++) {
            struct lm_ids again = {0}, starts = {0};
            assert_ok(lm_tokenizer_encode(fresh, pieces[i].text, pieces[i].length, 0, &again, &starts, &error), &error);
            assert_int_equal(again.length, ids[i].length);
            assert_int_equal(batch[i].length, ids[i].length);
            assert_int_equal(starts.length, ids[i].length);
            for (size_t k = 0; k < again.length; k++) {
                assert_int_equal(again.data[k], ids[i].data[k]);
                assert_int_equal(batch[i].data[k], ids[i].data[k]);
            }
            lm_ids_free(&again);
            lm_ids_free(&starts);
            lm_ids_free(&ids[i]);
            lm_ids_free(&batch[i]);
            lm_bytes_free(&texts[i]);
        }
        lm_tokenizer_free(old);
        lm_tokenizer_free(fresh);
    }
}

/* Blanks one by one, several, and written as such in the text. */
static void cuts_change_nothing(void **state)
{
    (void)state;
    struct lm_tokenizer *tokenizer = load("tokenizers/swift-transformers/llama_tokenizer.json");
    static const struct {
        const char *text;
        int32_t ids[12];
        size_t count;
    } known[] = {
        /* As transformers 5.24 and tokenizers 0.23.3 have them, without the beginning token. */
        {"the  the", {278, 29871, 278}, 3},
        {"a\xE2\x96\x81" "b", {263, 289}, 2},
        {"x   y \xE2\x96\x81 z", {921, 259, 343, 259, 503}, 5},
        {"don't  stop\n\n  now", {1016, 29915, 29873, 29871, 5040, 13, 13, 29871, 1286}, 9},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct lm_ids ids = {0};
        loam_error error;
        assert_ok(lm_tokenizer_encode(tokenizer, known[i].text, strlen(known[i].text), 0, &ids, NULL, &error), &error);
        assert_int_equal(ids.length, known[i].count);
        for (size_t k = 0; k < ids.length; k++)
            assert_int_equal(ids.data[k], known[i].ids[k]);
        lm_ids_free(&ids);
    }
    lm_tokenizer_free(tokenizer);
}

/* A million of one character. Far under a second each in a release build; what must not be is the square of it, which
 * would be hours. */
static void long_runs(void **state)
{
    (void)state;
    struct lm_tokenizer *tokenizer = load("tokenizers/swift-transformers/gpt2_tokenizer.json");
    static const char *const characters[] = {"a", " ", "\xCC\x81", "\n", "1", "'"};
    enum { TIMES = 1000000 };
    for (size_t i = 0; i < sizeof characters / sizeof *characters; i++) {
        const size_t length = strlen(characters[i]);
        char *text = malloc(length * TIMES);
        assert_non_null(text);
        for (size_t k = 0; k < TIMES; k++)
            memcpy(text + k * length, characters[i], length);
        struct lm_ids ids = {0};
        struct lm_bytes back = {0};
        loam_error error;
        assert_ok(lm_tokenizer_encode(tokenizer, text, length * TIMES, 0, &ids, NULL, &error), &error);
        assert_ok(lm_tokenizer_decode(tokenizer, ids.data, ids.length, false, &back, &error), &error);
        assert_int_equal(back.length, length * TIMES);
        assert_memory_equal(back.data, text, back.length);
        lm_ids_free(&ids);
        lm_bytes_free(&back);
        free(text);
    }
    lm_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_ids),
        cmocka_unit_test(cuts_change_nothing),
        cmocka_unit_test(long_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
