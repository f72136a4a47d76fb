/* decode(encode(x)) = x for byte-level tokenizers, offsets, streaming, long words, many threads. */
#include "support/support.h"
#include "tokenizer/tokenizer.h"

#include <pthread.h>

static struct lm_tokenizer *trained(const char *pattern)
{
    static const char text[] =
        "It's the first lesson: the words, the bytes and the pairs. Größe, 世界 and 1234567 are there too.\n\n"
        "She said: \"we'll see what they've done\", and they'd done what they'd said.  \tTabs\r\n";
    static const char *const specials[] = {"<|endoftext|>", "<|user|>"};
    struct lm_tokenizer *tokenizer = NULL;
    loam_error error;
    assert_ok(lm_tokenizer_train(&(struct lm_tokenizer_training){.text = text,
                                                                 .text_length = sizeof text - 1,
                                                                 .vocabulary_size = 320,
                                                                 .pattern = pattern,
                                                                 .specials = specials,
                                                                 .special_count = 2,
                                                                 .threads = 1},
                                 &tokenizer, &error),
              &error);
    return tokenizer;
}

static void round_trip(const struct lm_tokenizer *tokenizer, const char *text, size_t length)
{
    struct lm_ids ids = {0}, starts = {0};
    struct lm_bytes back = {0}, streamed = {0};
    struct lm_stream stream = {0};
    loam_error error;
    assert_ok(lm_tokenizer_encode(tokenizer, text, length, 0, &ids, &starts, &error), &error);
    assert_ok(lm_tokenizer_decode(tokenizer, ids.data, ids.length, false, &back, &error), &error);
    assert_int_equal(back.length, length);
    assert_true(!length || !memcmp(back.data, text, length));
    assert_int_equal(ids.length, starts.length);
    size_t at = 0;
    for (size_t i = 0; i < ids.length; i++) {
        size_t bytes;
        lm_tokenizer_token(tokenizer, ids.data[i], &bytes);
        assert_int_equal(starts.data[i], at);
        at += bytes;
        size_t before = streamed.length;
        assert_ok(lm_stream_push(tokenizer, &stream, ids.data[i], false, &streamed, &error), &error);
        assert_int_equal(lm_utf8_check(streamed.data + before, streamed.length - before), streamed.length - before);
    }
    assert_ok(lm_stream_finish(tokenizer, &stream, &streamed, &error), &error);
    if (length && lm_utf8_check(text, length) == length) {
        assert_int_equal(streamed.length, length);
        assert_memory_equal(streamed.data, text, length);
    }
    lm_stream_free(&stream);
    lm_ids_free(&ids);
    lm_ids_free(&starts);
    lm_bytes_free(&back);
    lm_bytes_free(&streamed);
}

static const char *const PATTERNS[] = {"gpt2", "llama3", "qwen2", "\\w+|[^\\w\\s]+", "[aeiou]"};
enum { PATTERN_COUNT = 5 };

static void every_code_point(void **state)
{
    (void)state;
    for (int p = 0; p < PATTERN_COUNT; p++) {
        struct lm_tokenizer *tokenizer = trained(PATTERNS[p]);
        struct lm_bytes text = {0};
        loam_error error;
        for (uint32_t c = 0; c < 0x110000; c++) {
            char one[4];
            size_t n = lm_utf8_encode(c, one);
            if (!n)
                continue;
            assert_ok(lm_bytes_append(&text, one, n, &error), &error);
            assert_ok(lm_bytes_append(&text, " a", c % 3, &error), &error);
            if (text.length > 4000 || c == 0x10FFFF) {
                round_trip(tokenizer, text.data, text.length);
                text.length = 0;
            }
        }
        lm_bytes_free(&text);
        lm_tokenizer_free(tokenizer);
    }
}

static void random_bytes(void **state)
{
    (void)state;
    struct lm_random random = lm_random_seed(3, 0);
    for (int p = 0; p < PATTERN_COUNT; p++) {
        struct lm_tokenizer *tokenizer = trained(PATTERNS[p]);
        for (int round = 0; round < 2000; round++) {
            char text[300];
            size_t length = lm_random_below(&random, sizeof text);
            for (size_t i = 0; i < length; i++)
                text[i] = lm_random_below(&random, 2) ? (char)lm_random_below(&random, 256)
                                                      : " the's"[lm_random_below(&random, 6)];
            round_trip(tokenizer, text, length);
        }
        lm_tokenizer_free(tokenizer);
    }
}

/* Half a character waits; a byte that begins nothing comes out as U+FFFD at once, what is left over at the end. */
static void streaming(void **state)
{
    (void)state;
    struct lm_tokenizer *tokenizer = trained("gpt2");
    loam_error error;
    struct lm_stream stream = {0};
    struct lm_bytes out = {0};
    static const struct {
        const char *byte, *shown;
    } steps[] = {{"\xF0", ""},
                 {"\x9F", ""},
                 {"\x98", ""},
                 {"\x80", "\xF0\x9F\x98\x80"},
                 {"\xFF", "\xEF\xBF\xBD"},
                 {"\xC3", ""},
                 {"a", "\xEF\xBF\xBD"
                       "a"},
                 {"\xE4", ""}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        int32_t id = lm_tokenizer_find(tokenizer, steps[i].byte, 1);
        assert_true(id >= 0);
        out.length = 0;
        assert_ok(lm_stream_push(tokenizer, &stream, id, false, &out, &error), &error);
        assert_int_equal(out.length, strlen(steps[i].shown));
        assert_memory_equal(out.data, steps[i].shown, out.length);
    }
    out.length = 0;
    assert_ok(lm_stream_finish(tokenizer, &stream, &out, &error), &error);
    assert_string_equal(out.data, "\xEF\xBF\xBD");
    assert_fails(lm_stream_push(tokenizer, &stream, 100000, false, &out, &error), &error, LOAM_EUSAGE, "100000");
    assert_fails(lm_stream_push(tokenizer, &stream, -1, false, &out, &error), &error, LOAM_EUSAGE, "-1");
    lm_stream_free(&stream);
    lm_bytes_free(&out);
    lm_tokenizer_free(tokenizer);
}

/* A word of a million letters, spaces or marks: far under a second each on any machine; quadratic time would take
 * minutes. */
static void long_words(void **state)
{
    (void)state;
    enum { COUNT = 1000000 };
    static const char *const units[] = {"a", " ", "\xCC\x81", "the", "\xC3\x9F", "\n", "'"};
    struct lm_tokenizer *tokenizers[] = {trained("gpt2"), trained("llama3"), trained("\\s+|\\S+")};
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t unit = strlen(units[u]);
        char *text = malloc(unit * COUNT);
        assert_non_null(text);
        for (size_t i = 0; i < COUNT; i++)
            memcpy(text + i * unit, units[u], unit);
        for (int t = 0; t < 3; t++) {
            double start = lm_seconds();
            struct lm_ids ids = {0};
            struct lm_bytes back = {0};
            loam_error error;
            assert_ok(lm_tokenizer_encode(tokenizers[t], text, unit * COUNT, 0, &ids, NULL, &error), &error);
            assert_true(lm_seconds() - start < 30);
            assert_ok(lm_tokenizer_decode(tokenizers[t], ids.data, ids.length, false, &back, &error), &error);
            assert_int_equal(back.length, unit * COUNT);
            assert_memory_equal(back.data, text, unit * COUNT);
            lm_ids_free(&ids);
            lm_bytes_free(&back);
        }
        free(text);
    }
    for (int t = 0; t < 3; t++)
        lm_tokenizer_free(tokenizers[t]);
}

/* Specials are text unless asked for; added tokens that are none always match. */
static void specials(void **state)
{
    (void)state;
    struct lm_tokenizer *tokenizer = trained("llama3");
    loam_error error;
    int32_t plain, again, user = lm_tokenizer_find(tokenizer, "<|user|>", 8),
                          bos = lm_tokenizer_find(tokenizer, "<|endoftext|>", 13);
    uint64_t print = lm_tokenizer_fingerprint(tokenizer);
    assert_int_equal(bos, 0);
    assert_int_equal(user, 1);
    assert_ok(lm_tokenizer_add_token(tokenizer, "[tool]", 6, false, &plain, &error), &error);
    assert_int_equal(plain, 320);
    assert_int_equal(lm_tokenizer_size(tokenizer), 321);
    assert_ok(lm_tokenizer_add_token(tokenizer, "[tool]", 6, false, &again, &error), &error);
    assert_int_equal(again, plain);
    assert_ok(lm_tokenizer_add_token(tokenizer, "<|user|>", 8, true, &again, &error), &error);
    assert_int_equal(again, user);
    assert_true(print != lm_tokenizer_fingerprint(tokenizer));
    assert_true(lm_tokenizer_is_special(tokenizer, user) && !lm_tokenizer_is_special(tokenizer, plain));

    struct lm_ids ids = {0};
    struct lm_bytes text = {0};
    assert_ok(lm_tokenizer_encode(tokenizer, "<|user|>[tool]", 14, 0, &ids, NULL, &error), &error);
    assert_true(ids.length > 3 && ids.data[0] != user && ids.data[ids.length - 1] == plain);
    ids.length = 0;
    assert_ok(lm_tokenizer_set_bos_eos_pad(tokenizer, bos, user, -1, &error), &error);
    assert_true(lm_tokenizer_adds_bos(tokenizer));
    assert_ok(lm_tokenizer_encode(tokenizer, "<|user|>[tool]", 14, LM_ENCODE_SPECIAL | LM_ENCODE_ADD_SPECIAL, &ids,
                                  NULL, &error),
              &error);
    assert_int_equal(ids.length, 3);
    assert_true(ids.data[0] == bos && ids.data[1] == user && ids.data[2] == plain);
    assert_ok(lm_tokenizer_decode(tokenizer, ids.data, ids.length, true, &text, &error), &error);
    assert_string_equal(text.data, "[tool]");
    assert_fails(lm_tokenizer_set_bos_eos_pad(tokenizer, 500, -1, -1, &error), &error, LOAM_EUSAGE, "500", "bos");

    /* Saved and read again it is the same, special or not. */
    const char *folder = test_folder();
    const char old[] = "{\"chat_template\": \"x{{y}}\", \"bos_token\": \"old\"}";
    assert_ok(lm_file_replace(test_path(folder, "tokenizer_config.json"), old, sizeof old - 1, &error), &error);
    assert_ok(lm_tokenizer_save(tokenizer, folder, &error), &error);
    struct lm_tokenizer *other = NULL;
    assert_ok(lm_tokenizer_load(folder, &other, &error), &error);
    assert_true(lm_tokenizer_fingerprint(other) == lm_tokenizer_fingerprint(tokenizer));
    assert_int_equal(lm_tokenizer_bos(other), bos);
    assert_int_equal(lm_tokenizer_eos(other), user);
    assert_int_equal(lm_tokenizer_pad(other), -1);
    assert_true(lm_tokenizer_adds_bos(other));
    struct lm_bytes kept = {0};
    assert_ok(lm_file_read(test_path(folder, "tokenizer_config.json"), 0, &kept, &error), &error);
    assert_non_null(strstr(kept.data, "x{{y}}"));
    assert_null(strstr(kept.data, "\"old\""));
    lm_bytes_free(&kept);
    lm_tokenizer_free(other);
    lm_ids_free(&ids);
    lm_bytes_free(&text);
    lm_tokenizer_free(tokenizer);
}

struct job {
    const struct lm_tokenizer *tokenizer;
    const char *text;
    size_t length;
    struct lm_ids ids;
    int code;
};

static void *work(void *user)
{
    struct job *job = user;
    for (int i = 0; i < 50 && job->code == LOAM_OK; i++) {
        job->ids.length = 0;
        job->code = lm_tokenizer_encode(job->tokenizer, job->text, job->length, 0, &job->ids, NULL, NULL);
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    struct lm_tokenizer *tokenizer = trained("gpt2");
    const char text[] = "The words of the lesson are said again, and they've been said before; 1234 times.\n";
    struct job jobs[4] = {0};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        jobs[i] = (struct job){tokenizer, text, sizeof text - 1, {0}, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &jobs[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(jobs[i].code, LOAM_OK);
        assert_int_equal(jobs[i].ids.length, jobs[0].ids.length);
        assert_memory_equal(jobs[i].ids.data, jobs[0].ids.data, jobs[0].ids.length * sizeof(int32_t));
    }
    for (int i = 0; i < 4; i++)
        lm_ids_free(&jobs[i].ids);
    lm_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point), cmocka_unit_test(random_bytes), cmocka_unit_test(streaming),
        cmocka_unit_test(long_words),       cmocka_unit_test(specials),     cmocka_unit_test(many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
