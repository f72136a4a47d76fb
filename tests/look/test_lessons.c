/* Every number of lessons 1 to 7 beside the test's own, the published example to its last digit, and sentences that are none. */
#include "support/lesson.h"

#include "train/train.h"

#include <math.h>

/* --- 1 to 3 --- */

static void check_words(struct lesson *lesson)
{
    struct lm_bytes text = lesson_small_text(lesson->seed, LM_LESSON_SMALL_TEXT), joined = {0}, decoded = {0};
    struct lm_ids all = {0}, last = {0}, ids = {0};
    struct lm_tokenizer *tokenizer;
    loam_error error;
    const struct lm_tokenizer_training training = {.text = text.data, .text_length = text.length, .kind = LM_TRAIN_WORDS,
                                                   .vocabulary_size = 1 << 16, .threads = 1};
    lesson_learn_tokenizer(&training, &tokenizer);
    lesson_encode(tokenizer, text.data, text.length, 0, &all);
    lesson_fact(lesson, "text_bytes", (double)text.length);
    lesson_fact(lesson, "text_tokens", (double)all.length);
    lesson_fact(lesson, "vocabulary", lm_tokenizer_size(tokenizer));
    for (int32_t id = lm_tokenizer_size(tokenizer) - 8; id < lm_tokenizer_size(tokenizer); id++)
        lm_ids_push(&last, id, NULL);
    lesson_tokens(lesson, "last", &last);
    lm_bytes_format(&joined, NULL, "%s <|endoftext|> ", lesson->sentence);
    lm_bytes_append(&joined, text.data, strcspn(text.data, ".!?\n") + 1, NULL);
    lesson_encode(tokenizer, joined.data, joined.length, LM_ENCODE_SPECIAL, &ids);
    lesson_tokens(lesson, "encoded", &ids);
    double unknown = 0, ends = 0;
    for (size_t i = 0; i < ids.length; i++) {
        unknown += ids.data[i] == lm_tokenizer_find(tokenizer, "<|unk|>", 7);
        ends += ids.data[i] == lm_tokenizer_find(tokenizer, "<|endoftext|>", 13);
    }
    assert_true(ends == 1);
    lesson_fact(lesson, "unknown", unknown);
    assert_ok(lm_tokenizer_decode(tokenizer, ids.data, ids.length, false, &decoded, &error), &error);
    struct lm_bytes wanted = lesson_shown(decoded.data, decoded.length);
    lesson_fact_text(lesson, "decoded", wanted.data, wanted.length);
    lm_bytes_free(&wanted);
    lm_bytes_free(&text);
    lm_bytes_free(&joined);
    lm_bytes_free(&decoded);
    lm_ids_free(&all);
    lm_ids_free(&last);
    lm_ids_free(&ids);
    lm_tokenizer_free(tokenizer);
}

static void check_merges(struct lesson *lesson)
{
    struct lm_bytes text = lesson_small_text(lesson->seed, LM_LESSON_SMALL_TEXT);
    const struct lm_value *merges = lm_value_find(lesson_block(lesson, "merges"), "values");
    double lengths[13];
    assert_int_equal(merges->length, 12);
    for (int i = 0; i <= 12; i++) {
        struct lm_tokenizer *tokenizer;
        struct lm_ids ids = {0};
        const struct lm_tokenizer_training training = {.text = text.data, .text_length = text.length, .vocabulary_size = 256 + i,
                                                       .threads = 1};
        lesson_learn_tokenizer(&training, &tokenizer);
        lesson_encode(tokenizer, text.data, text.length, 0, &ids);
        lengths[i] = (double)ids.length;
        if (i > 0) {    /* the token is what its two parts are together */
            size_t length;
            const char *token = lm_tokenizer_token(tokenizer, 255 + i, &length);
            struct lm_bytes label = lesson_shown(token, length), parts = {0};
            const struct lm_value *joined = &merges->items[i - 1].items[0], *made = &merges->items[i - 1].items[1];
            assert_string_equal(made->text, label.data);
            const char *plus = strstr(joined->text, " + ");
            if (plus && strcmp(plus, " + +") != 0 && strstr(plus + 1, " + "))
                plus = strstr(plus + 1, " + ");
            assert_non_null(plus);
            lm_bytes_format(&parts, NULL, "%.*s%s", (int)(plus - joined->text), joined->text, plus + 3);
            assert_string_equal(parts.data, label.data);
            lm_bytes_free(&label);
            lm_bytes_free(&parts);
        }
        lm_ids_free(&ids);
        lm_tokenizer_free(tokenizer);
    }
    lesson_table(lesson, "lengths", 13, 1, lengths);
    lesson_tokens(lesson, "sentence", &lesson->ids);
    lesson_fact(lesson, "vocabulary", lm_tokenizer_size(lesson->tokenizer));
    lesson_fact(lesson, "bytes", (double)strlen(lesson->sentence));
    lesson_fact(lesson, "tokens", (double)lesson->ids.length);
    lm_bytes_free(&text);
}

static void check_batch(struct lesson *lesson, const char *path, bool shuffle, const char *name)
{
    const struct lm_source source = {.path = path, .weight = 1};
    const struct lm_samples_options options = {.kind = LM_SAMPLES_TEXT, .sources = &source, .source_count = 1, .length = 8, .batch = 2,
                                               .tokenizer = lesson->tokenizer, .shuffle = shuffle, .seed = lesson->seed, .threads = 1};
    int32_t ids[16], targets[16], positions[16], starts[16];
    struct lm_batch batch = {.batch = 2, .length = 8, .ids = ids, .targets = targets, .positions = positions, .segment_start = starts};
    struct lm_place_in_data place = {0};
    struct lm_samples *samples;
    loam_error error;
    char key[64];
    assert_ok(lm_samples_open(&options, &samples, &error), &error);
    assert_ok(lm_samples_next(samples, &place, &batch, &error), &error);
    lesson_fact(lesson, "batches", (double)lm_samples_batches(samples));
    snprintf(key, sizeof key, "%s_inputs", name);
    lesson_table_ids(lesson, key, 2, 8, ids);
    lm_format(key, sizeof key, "%s_targets", name);
    lesson_table_ids(lesson, key, 2, 8, targets);
    lm_samples_close(samples);
}

static void check_samples(struct lesson *lesson)
{
    struct lm_bytes text = {0}, rest = lesson_small_text(lesson->seed, LM_LESSON_SMALL_TEXT);
    struct lm_ids ids = {0};
    loam_error error;
    lm_bytes_format(&text, NULL, "%s ", lesson->sentence);
    lm_bytes_append(&text, rest.data, rest.length, NULL);
    lesson_encode(lesson->tokenizer, text.data, text.length, 0, &ids);
    lesson_fact(lesson, "tokens", (double)ids.length);
    lesson_fact(lesson, "window", 8);
    double windows[3] = {0};
    for (size_t i = 0; i + 8 < ids.length; i++) {    /* eight inputs, and the token behind */
        windows[0]++;
        windows[1] += i % 2 == 0;
        windows[2] += i % 8 == 0;
    }
    lesson_table(lesson, "windows", 3, 1, windows);
    const struct lm_value *growing = lesson->ids.length > 1 ? lm_value_find(lesson_block(lesson, "growing"), "values") : NULL;
    for (size_t i = 0; growing && i < growing->length; i++) {    /* words only: a token more each time, and the one behind */
        size_t length;
        const char *token = lm_tokenizer_token(lesson->tokenizer, lesson->ids.data[i + 1], &length);
        struct lm_bytes next = lesson_shown(token, length);
        assert_string_equal(growing->items[i].items[1].text, next.data);
        lm_bytes_free(&next);
    }
    const char *path = test_path(test_folder(), "lesson.txt");
    assert_ok(lm_file_replace(path, text.data, text.length, &error), &error);
    check_batch(lesson, path, false, "ordered");
    check_batch(lesson, path, true, "shuffled");
    lm_bytes_free(&text);
    lm_bytes_free(&rest);
    lm_ids_free(&ids);
}

/* --- 5 to 7, by hand: sums in double --- */

enum { WORDS = 12 };
struct hand {
    int n;
    double x[WORDS][3], q[WORDS][2], k[WORDS][2], v[WORDS][2], scores[WORDS][WORDS], weights[WORDS][WORDS], out[WORDS][3];
};

static int count_words(const char *sentence)
{
    int count = 0;
    for (sentence += strspn(sentence, " "); *sentence && count < WORDS; sentence += strspn(sentence, " "), count++)
        sentence += strcspn(sentence, " ");
    return count;
}

static void take_vectors(const struct lesson *lesson, struct hand *hand)
{
    static const double published[6][3] = {{0.43, 0.15, 0.89}, {0.55, 0.87, 0.66}, {0.57, 0.85, 0.64},
                                           {0.22, 0.58, 0.33}, {0.77, 0.25, 0.10}, {0.05, 0.80, 0.55}};
    struct lm_random random = lm_random_seed(lesson->seed, 2);
    hand->n = count_words(lesson->sentence);
    for (int i = 0; i < hand->n; i++)
        for (int d = 0; d < 3; d++)
            hand->x[i][d] = (float)lm_random_unit(&random);
    if (strcmp(lesson->sentence, lm_lesson_sentence) == 0)
        memcpy(hand->x, published, sizeof published);
}

static void attend(struct hand *hand, const double *q, const double *k, int size, double scale, bool causal)
{
    for (int i = 0; i < hand->n; i++) {
        double sum = 0;
        for (int j = 0; j < hand->n; j++) {
            hand->scores[i][j] = 0;
            for (int d = 0; d < size; d++)
                hand->scores[i][j] += q[i * size + d] * k[j * size + d];
            hand->weights[i][j] = causal && j > i ? 0 : exp(scale * hand->scores[i][j]);
            sum += hand->weights[i][j];
        }
        for (int j = 0; j < hand->n; j++)
            hand->weights[i][j] /= sum;
    }
}

static void mix(struct hand *hand, const double *v, int size)
{
    for (int i = 0; i < hand->n; i++)
        for (int d = 0; d < size; d++) {
            hand->out[i][d] = 0;
            for (int j = 0; j < hand->n; j++)
                hand->out[i][d] += hand->weights[i][j] * v[j * size + d];
        }
}

/* A square [n,n] of one of the hand's arrays, as map and as table; what lies ahead has no number. */
static void square(struct lesson *lesson, const char *name, const struct hand *hand, bool causal)
{
    double wanted[WORDS * WORDS];
    char with[80];
    for (int i = 0; i < hand->n * hand->n; i++)
        wanted[i] = causal && i % hand->n > i / hand->n ? NAN : hand->weights[i / hand->n][i % hand->n];
    lesson_table(lesson, name, (size_t)hand->n, (size_t)hand->n, wanted);
    snprintf(with, sizeof with, "%s_numbers", name);
    lesson_table(lesson, with, (size_t)hand->n, (size_t)hand->n, wanted);
}

static void outs(struct lesson *lesson, const char *name, const struct hand *hand, int size)
{
    double wanted[WORDS * 3];
    for (int i = 0; i < hand->n * size; i++)
        wanted[i] = hand->out[i / size][i % size];
    lesson_table(lesson, name, (size_t)hand->n, (size_t)size, wanted);
}

static void check_plain_attention(struct lesson *lesson)
{
    static struct hand hand;
    take_vectors(lesson, &hand);
    const int second = hand.n > 1;
    lesson_table(lesson, "vectors", (size_t)hand.n, 3, hand.x[0]);
    attend(&hand, hand.x[0], hand.x[0], 3, 1, false);
    lesson_table(lesson, "scores", (size_t)hand.n, 1, hand.scores[second]);
    lesson_table(lesson, "weights", (size_t)hand.n, 1, hand.weights[second]);
    mix(&hand, hand.x[0], 3);
    lesson_table(lesson, "context", 1, 3, hand.out[second]);
    square(lesson, "all_weights", &hand, false);
    outs(lesson, "all_contexts", &hand, 3);
}

static void project(struct lesson *lesson, struct hand *hand, bool shown_too)
{
    static const char *const names[] = {"weight_q", "weight_k", "weight_v"};
    struct lm_random random = lm_random_seed(lesson->seed, 3);
    for (int which = 0; which < 3; which++) {
        double weights[6], (*out)[2] = which == 0 ? hand->q : which == 1 ? hand->k : hand->v;
        for (int i = 0; i < 6; i++)
            weights[i] = (float)(2 * lm_random_normal(&random));
        if (shown_too)
            lesson_table(lesson, names[which], 3, 2, weights);
        for (int i = 0; i < hand->n; i++)
            for (int c = 0; c < 2; c++) {
                out[i][c] = 0;
                for (int d = 0; d < 3; d++)
                    out[i][c] += hand->x[i][d] * weights[d * 2 + c];
            }
    }
}

static void check_weighted_attention(struct lesson *lesson)
{
    static struct hand hand;
    double scores[WORDS * WORDS];
    take_vectors(lesson, &hand);
    project(lesson, &hand, true);
    lesson_table(lesson, "queries", (size_t)hand.n, 2, hand.q[0]);
    lesson_table(lesson, "keys", (size_t)hand.n, 2, hand.k[0]);
    lesson_table(lesson, "values", (size_t)hand.n, 2, hand.v[0]);
    attend(&hand, hand.q[0], hand.k[0], 2, 1, false);
    for (int i = 0; i < hand.n * hand.n; i++)
        scores[i] = hand.scores[i / hand.n][i % hand.n];
    lesson_table(lesson, "scores", (size_t)hand.n, (size_t)hand.n, scores);
    square(lesson, "unscaled", &hand, false);
    lesson_fact(lesson, "scale", 1 / sqrt(2));
    attend(&hand, hand.q[0], hand.k[0], 2, 1 / sqrt(2), false);
    square(lesson, "scaled", &hand, false);
    mix(&hand, hand.v[0], 2);
    outs(lesson, "contexts", &hand, 2);
}

static void check_mask(struct lesson *lesson)
{
    static struct hand hand;
    double dropped[WORDS * WORDS];
    take_vectors(lesson, &hand);
    project(lesson, &hand, false);
    attend(&hand, hand.q[0], hand.k[0], 2, 1 / sqrt(2), false);
    square(lesson, "open", &hand, false);
    attend(&hand, hand.q[0], hand.k[0], 2, 1 / sqrt(2), true);
    square(lesson, "masked", &hand, true);
    lesson_fact(lesson, "dropped", 0.5);
    struct lm_random random = lm_random_seed(lesson->seed, 4);
    for (int i = 0; i < hand.n * hand.n; i++)
        dropped[i] = lm_random_unit(&random) < 0.5 ? 0 : 2 * hand.weights[i / hand.n][i % hand.n];
    lesson_table(lesson, "dropout", (size_t)hand.n, (size_t)hand.n, dropped);
}

static void test_numbers(void **state)
{
    static lesson_checker *const checkers[] = {check_words, check_merges, check_samples, NULL, check_plain_attention,
                                               check_weighted_attention, check_mask};
    (void)state;
    for (int i = 0; i < 7; i++)
        if (checkers[i])
            lesson_check(i + 1, checkers[i], false);
}

/* What is published of the six-word example, to its last digit. */
static void test_published(void **state)
{
    static const double scores[] = {0.9544, 1.4950, 1.4754, 0.8434, 0.7070, 1.0865};
    static const double weights[] = {0.1385, 0.2379, 0.2333, 0.1240, 0.1082, 0.1581}, context[] = {0.4419, 0.6515, 0.5683};
    struct lesson lesson;
    (void)state;
    lesson_open(&lesson, 5, lm_lesson_sentence, 1, false);
    for (size_t i = 0; i < 6; i++) {
        assert_true(fabs(lesson_at(&lesson, "scores", i, 0) - scores[i]) <= 0.00005);
        assert_true(fabs(lesson_at(&lesson, "weights", i, 0) - weights[i]) <= 0.00005);
    }
    for (size_t i = 0; i < 3; i++)
        assert_true(fabs(lesson_at(&lesson, "context", 0, i) - context[i]) <= 0.00005);
    for (size_t i = 0; i < 6; i++) {    /* and so they stand on the screen */
        char number[16];
        lm_format(number, sizeof number, " %.4f ", scores[i]);
        assert_non_null(strstr(lesson.text.data, number));
        lm_format(number, sizeof number, " %.4f ", weights[i]);
        assert_non_null(strstr(lesson.text.data, number));
    }
    assert_non_null(strstr(lesson.text.data, "0.4419  0.6515  0.5683"));
    check_plain_attention(&lesson);
    lesson_close(&lesson);
}

/* Sentences that are no sentences, and such as are long or of another script. */
static void test_bad_sentences(void **state)
{
    char long_one[4096];
    struct lm_page *page;
    loam_error error;
    (void)state;
    for (size_t i = 0; i < sizeof long_one; i++)
        long_one[i] = i % 5 == 4 ? ' ' : 'a';
    long_one[sizeof long_one - 1] = 0;
    for (int number = 1; number <= lm_lesson_count(); number++) {
        assert_fails(lm_lesson_hold(number, &(struct lm_lesson_options){.sentence = " \n"}, &page, &error), &error, LOAM_EUSAGE, "empty");
        const struct lm_lesson_options longer = {.sentence = long_one, .seed = 1, .threads = 1};
        const int code = lm_lesson_hold(number, &longer, &page, &error);
        const bool runs_model = number == 4 || number >= 8;
        if (runs_model && number != 10 && number != 14)
            assert_true(code == LOAM_EUSAGE && strstr(error.message, "context is 128"));
        else
            assert_int_equal(code, LOAM_OK);
        if (code == LOAM_OK)
            lm_page_free(page);
        if (number == 8 || number >= 12)
            continue;
        const struct lm_lesson_options scripts = {.sentence = "\xE4\xB8\x96\xE7\x95\x8C \xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D \xF0\x9F\x99\x82 a\xCC\x88",
                                                  .seed = 1, .threads = 1};
        assert_ok(lm_lesson_hold(number, &scripts, &page, &error), &error);
        struct lm_bytes out = {0};
        assert_ok(lm_page_text(page, &(struct lm_text_style){.width = 60}, &out, &error), &error);
        for (size_t i = 0; i < out.length; i++)
            assert_true((unsigned char)out.data[i] < 0x80);    /* without Unicode there is none */
        lm_bytes_free(&out);
        assert_ok(lm_page_html(page, &out, &error), &error);
        assert_int_equal(lm_utf8_check(out.data, out.length), out.length);
        lm_bytes_free(&out);
        lm_page_free(page);
    }
    assert_fails(lm_lesson_hold(0, &(struct lm_lesson_options){0}, &page, &error), &error, LOAM_EUSAGE, "1 to 14");
    assert_fails(lm_lesson_hold(15, &(struct lm_lesson_options){0}, &page, &error), &error, LOAM_EUSAGE, "1 to 14");
    assert_fails(lm_lesson_hold(11, &(struct lm_lesson_options){.sentence = "a", .threads = 1}, &page, &error), &error, LOAM_EUSAGE, "one token");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_bad_sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
