/* Every number of every lesson beside the library's own. A lesson is held with several sentences and seeds; its page, as JSON, is read
 * back, and each block of numbers on it compared with what the test gets from the library by itself. A block that no check claims fails the
 * test, and so does a digit among the words: what is said has no numbers, so that there is none unchecked. */
#include "support/support.h"

#include "data/data.h"
#include "infer/infer.h"
#include "look/look.h"
#include "train/train.h"

#include <locale.h>
#include <ctype.h>
#include <math.h>

struct lesson {
    int number;
    const char *sentence;
    uint64_t seed;
    struct lm_document *page;
    const struct lm_value *blocks;
    bool *claimed;
    struct lm_bytes text;
    struct lm_device *device;
    struct lm_tokenizer *tokenizer;     /* the quickstart's, learned anew by the test */
    struct lm_model *model;             /* the small one, made anew */
    struct lm_ids ids;
};

/* --- The page --- */

static const struct lm_value *block_of(struct lesson *lesson, const char *name)
{
    for (size_t i = 0; i < lesson->blocks->length; i++)
        if (lm_value_is(lm_value_find(&lesson->blocks->items[i], "name"), name)) {
            lesson->claimed[i] = true;
            return &lesson->blocks->items[i];
        }
    fail_msg("lesson %d has no block '%s'", lesson->number, name);
    return NULL;
}

static double number_of(const struct lesson *lesson, const struct lm_value *value)
{
    double number;
    loam_error error;
    if (value && value->kind == LM_NULL)
        return NAN;
    assert_ok(lm_value_double(lesson->page, value, &number, &error), &error);
    return number;
}

/* The block's number at a place, which must be there. */
static double at(struct lesson *lesson, const char *name, size_t row, size_t column)
{
    const struct lm_value *values = lm_value_find(block_of(lesson, name), "values");
    assert_true(values && row < values->length && column < values->items[row].length);
    return number_of(lesson, &values->items[row].items[column]);
}

static void same(struct lesson *lesson, const char *name, double found, double wanted)
{
    if (isnan(wanted) ? !isnan(found) : !(fabs(found - wanted) <= 1e-6 * fmax(1, fabs(wanted))))
        fail_msg("lesson %d, '%s', seed %llu: %s: found %.9g, wanted %.9g", lesson->number, lesson->sentence,
                 (unsigned long long)lesson->seed, name, found, wanted);
}

static void fact(struct lesson *lesson, const char *name, double wanted)
{
    same(lesson, name, number_of(lesson, lm_value_find(block_of(lesson, name), "value")), wanted);
}

static void fact_text(struct lesson *lesson, const char *name, const char *wanted, size_t length)
{
    const struct lm_value *value = lm_value_find(block_of(lesson, name), "value");
    if (value->length != length || memcmp(value->text, wanted, length) != 0)
        fail_msg("lesson %d: %s: found '%s', wanted '%.*s'", lesson->number, name, value->text, (int)length, wanted);
}

/* The whole block: rows × columns numbers of `wanted`, no more. */
static void table(struct lesson *lesson, const char *name, size_t rows, size_t columns, const double *wanted)
{
    const struct lm_value *values = lm_value_find(block_of(lesson, name), "values");
    assert_non_null(values);
    if (values->length != rows)
        fail_msg("lesson %d: %s: found %zu rows, wanted %zu", lesson->number, name, values->length, rows);
    for (size_t i = 0; i < rows; i++) {
        assert_int_equal(values->items[i].length, columns);
        for (size_t k = 0; k < columns; k++)
            same(lesson, name, number_of(lesson, &values->items[i].items[k]), wanted[i * columns + k]);
    }
}

static void table_floats(struct lesson *lesson, const char *name, size_t rows, size_t columns, const float *wanted, size_t stride)
{
    double *wide = test_malloc(rows * columns * sizeof *wide);
    for (size_t i = 0; i < rows * columns; i++)
        wide[i] = wanted[i / columns * stride + i % columns];
    table(lesson, name, rows, columns, wide);
    test_free(wide);
}

static void table_ids(struct lesson *lesson, const char *name, size_t rows, size_t columns, const int32_t *wanted)
{
    double *wide = test_malloc((rows * columns + 1) * sizeof *wide);
    for (size_t i = 0; i < rows * columns; i++)
        wide[i] = wanted[i];
    table(lesson, name, rows, columns, wide);
    test_free(wide);
}

/* A strip of tokens and the table of their ids. */
static void tokens(struct lesson *lesson, const char *name, const struct lm_ids *ids)
{
    char with[80];
    table_ids(lesson, name, ids->length, 1, ids->data);
    snprintf(with, sizeof with, "%s_ids", name);
    table_ids(lesson, with, ids->length, 1, ids->data);
}

/* Digits among words, but for the names of types. */
static bool has_digit(const char *text)
{
    for (; *text; text++) {
        if (strncmp(text, "bf16", 4) == 0 || strncmp(text, "fp32", 4) == 0)
            text += 3;
        else if (isdigit((unsigned char)*text))
            return true;
    }
    return false;
}

/* Every block is claimed, no number is said in passing, and the screen shows each number as the page has it. */
static void check_rest(struct lesson *lesson)
{
    for (size_t i = 0; i < lesson->blocks->length; i++) {
        const struct lm_value *block = &lesson->blocks->items[i], *name = lm_value_find(block, "name");
        const struct lm_value *said = lm_value_find(block, "text");
        if (said && has_digit(said->text) && !strstr(said->text, lesson->sentence))
            fail_msg("lesson %d says a number in passing: %s", lesson->number, said->text);
        if (name && !lesson->claimed[i])
            fail_msg("lesson %d: nobody has checked '%s'", lesson->number, name->text);
    }
}

/* The numbers of a block stand on the screen, in order, each with its digits: the more a screen rounds, the fewer are compared, and the
 * difference is at most half of the last. */
static void check_screen(struct lesson *lesson)
{
    const char *rest = lesson->text.data;
    const locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    for (size_t i = 0; i < lesson->blocks->length; i++) {
        const struct lm_value *block = &lesson->blocks->items[i], *values = lm_value_find(block, "values");
        const struct lm_value *title = lm_value_find(block, "title"), *kind = lm_value_find(block, "kind");
        if (!title || !values || lm_value_is(kind, "heat") || lm_value_is(kind, "tokens"))
            continue;
        const char *place = strstr(rest, title->text);
        if (!place)
            fail_msg("lesson %d: the screen lacks '%s'", lesson->number, title->text);
        rest = place + title->length;
        for (size_t row = 0; row < values->length && row < 48; row++)
            for (size_t column = 0; column < values->items[row].length; column++) {
                const struct lm_value *value = &values->items[row].items[column];
                if (value->kind != LM_NUMBER)
                    continue;
                const double number = number_of(lesson, value);
                bool found = false;
                while (*rest && !found) {
                    char *end;
                    const double shown = strtod_l(rest, &end, plain);
                    if (end == rest) {
                        rest++;
                        continue;
                    }
                    const char *point = memchr(rest, '.', (size_t)(end - rest));
                    const int decimals = point ? (int)strspn(point + 1, "0123456789") : 0;
                    const char *exponent = memchr(rest, 'e', (size_t)(end - rest));
                    const double half = 0.5000001 * pow(10, (exponent ? atoi(exponent + 1) : 0) - decimals) + 1e-9 * fabs(number);
                    found = fabs(shown - number) <= half;
                    rest = end;
                }
                if (!found)
                    fail_msg("lesson %d: '%s': the screen lacks %.9g", lesson->number, title->text, number);
            }
    }
}

/* --- What the test makes by itself --- */

static void learn_tokenizer(const struct lm_tokenizer_training *training, struct lm_tokenizer **tokenizer)
{
    loam_error error;
    assert_ok(lm_tokenizer_train(training, tokenizer, &error), &error);
}

static void encode(const struct lm_tokenizer *tokenizer, const char *text, size_t length, unsigned flags, struct lm_ids *ids)
{
    loam_error error;
    assert_ok(lm_tokenizer_encode(tokenizer, text, length, flags, ids, NULL, &error), &error);
}

static struct lm_bytes small_text(uint64_t seed, size_t size)
{
    struct lm_bytes text = {0};
    loam_error error;
    assert_ok(lm_lesson_text(seed, size, &text, &error), &error);
    return text;
}

/* `given`: the lesson gets the test's own model and tokenizer instead of making them. */
static void open_lesson(struct lesson *lesson, int number, const char *sentence, uint64_t seed, bool given)
{
    static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    loam_error error;
    struct lm_page *page;
    struct lm_bytes json = {0};
    *lesson = (struct lesson){.number = number, .sentence = sentence, .seed = seed};
    struct lm_bytes text = small_text(seed, LM_LESSON_TEXT);
    const struct lm_tokenizer_training training = {.text = text.data, .text_length = text.length, .vocabulary_size = 384,
                                                   .specials = specials, .special_count = 3, .threads = 1};
    learn_tokenizer(&training, &lesson->tokenizer);
    lm_bytes_free(&text);
    encode(lesson->tokenizer, sentence, strlen(sentence), 0, &lesson->ids);
    const struct lm_config config = lm_lesson_config(lesson->tokenizer);
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &lesson->device, &error), &error);
    assert_ok(lm_model_create(&config, seed, lesson->device, &(struct lm_model_options){.dtype = LM_F32}, &lesson->model, &error),
              &error);

    struct lm_lesson_options options = {.sentence = sentence, .seed = seed, .threads = 2};
    if (given) {
        options.model = lesson->model;
        options.tokenizer = lesson->tokenizer;
    }
    assert_ok(lm_lesson_hold(number, &options, &page, &error), &error);
    assert_ok(lm_page_json(page, &json, &error), &error);
    assert_ok(lm_page_text(page, &(struct lm_text_style){.width = 1000, .unicode = true}, &lesson->text, &error), &error);
    assert_ok(lm_json_parse(json.data, json.length, "page", &lesson->page, &error), &error);
    lm_page_free(page);
    lm_bytes_free(&json);
    lesson->blocks = lm_value_find(lm_document_root(lesson->page), "blocks");
    lesson->claimed = test_calloc(lesson->blocks->length, sizeof *lesson->claimed);
}

static void close_lesson(struct lesson *lesson)
{
    check_rest(lesson);
    check_screen(lesson);
    lm_ids_free(&lesson->ids);
    lm_model_close(lesson->model);
    lm_tokenizer_free(lesson->tokenizer);
    lm_device_close(lesson->device);
    lm_bytes_free(&lesson->text);
    lm_document_free(lesson->page);
    test_free(lesson->claimed);
}

/* --- 1 to 3 --- */

/* Blanks are shown as points, ends of lines as arrows. */
static struct lm_bytes shown(const char *text, size_t length)
{
    struct lm_bytes out = {0};
    for (size_t i = 0; i < length; i++)
        if (text[i] == ' ')
            lm_bytes_append(&out, "\xC2\xB7", 2, NULL);
        else if (text[i] == '\n')
            lm_bytes_append(&out, "\xE2\x86\xB5", 3, NULL);
        else
            lm_bytes_append(&out, text + i, 1, NULL);
    return out;
}

static void check_words(struct lesson *lesson)
{
    struct lm_bytes text = small_text(lesson->seed, LM_LESSON_SMALL_TEXT), joined = {0}, decoded = {0};
    struct lm_ids all = {0}, last = {0}, ids = {0};
    struct lm_tokenizer *tokenizer;
    loam_error error;
    const struct lm_tokenizer_training training = {.text = text.data, .text_length = text.length, .kind = LM_TRAIN_WORDS,
                                                   .vocabulary_size = 1 << 16, .threads = 1};
    learn_tokenizer(&training, &tokenizer);
    encode(tokenizer, text.data, text.length, 0, &all);
    fact(lesson, "text_bytes", (double)text.length);
    fact(lesson, "text_tokens", (double)all.length);
    fact(lesson, "vocabulary", lm_tokenizer_size(tokenizer));
    for (int32_t id = lm_tokenizer_size(tokenizer) - 8; id < lm_tokenizer_size(tokenizer); id++)
        lm_ids_push(&last, id, NULL);
    tokens(lesson, "last", &last);
    lm_bytes_format(&joined, NULL, "%s <|endoftext|> ", lesson->sentence);
    lm_bytes_append(&joined, text.data, strcspn(text.data, ".!?\n") + 1, NULL);
    encode(tokenizer, joined.data, joined.length, LM_ENCODE_SPECIAL, &ids);
    tokens(lesson, "encoded", &ids);
    double unknown = 0, ends = 0;
    for (size_t i = 0; i < ids.length; i++) {
        unknown += ids.data[i] == lm_tokenizer_find(tokenizer, "<|unk|>", 7);
        ends += ids.data[i] == lm_tokenizer_find(tokenizer, "<|endoftext|>", 13);
    }
    assert_true(ends == 1);
    fact(lesson, "unknown", unknown);
    assert_ok(lm_tokenizer_decode(tokenizer, ids.data, ids.length, false, &decoded, &error), &error);
    struct lm_bytes wanted = shown(decoded.data, decoded.length);
    fact_text(lesson, "decoded", wanted.data, wanted.length);
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
    struct lm_bytes text = small_text(lesson->seed, LM_LESSON_SMALL_TEXT);
    const struct lm_value *merges = lm_value_find(block_of(lesson, "merges"), "values");
    double lengths[13];
    assert_int_equal(merges->length, 12);
    for (int i = 0; i <= 12; i++) {
        struct lm_tokenizer *tokenizer;
        struct lm_ids ids = {0};
        const struct lm_tokenizer_training training = {.text = text.data, .text_length = text.length, .vocabulary_size = 256 + i,
                                                       .threads = 1};
        learn_tokenizer(&training, &tokenizer);
        encode(tokenizer, text.data, text.length, 0, &ids);
        lengths[i] = (double)ids.length;
        if (i > 0) {    /* the token is what its two parts are together */
            size_t length;
            const char *token = lm_tokenizer_token(tokenizer, 255 + i, &length);
            struct lm_bytes label = shown(token, length), parts = {0};
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
    table(lesson, "lengths", 13, 1, lengths);
    tokens(lesson, "sentence", &lesson->ids);
    fact(lesson, "vocabulary", lm_tokenizer_size(lesson->tokenizer));
    fact(lesson, "bytes", (double)strlen(lesson->sentence));
    fact(lesson, "tokens", (double)lesson->ids.length);
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
    fact(lesson, "batches", (double)lm_samples_batches(samples));
    snprintf(key, sizeof key, "%s_inputs", name);
    table_ids(lesson, key, 2, 8, ids);
    lm_format(key, sizeof key, "%s_targets", name);
    table_ids(lesson, key, 2, 8, targets);
    lm_samples_close(samples);
}

static void check_samples(struct lesson *lesson)
{
    struct lm_bytes text = {0}, rest = small_text(lesson->seed, LM_LESSON_SMALL_TEXT);
    struct lm_ids ids = {0};
    loam_error error;
    lm_bytes_format(&text, NULL, "%s ", lesson->sentence);
    lm_bytes_append(&text, rest.data, rest.length, NULL);
    encode(lesson->tokenizer, text.data, text.length, 0, &ids);
    fact(lesson, "tokens", (double)ids.length);
    fact(lesson, "window", 8);
    double windows[3] = {0};
    for (size_t i = 0; i + 8 < ids.length; i++) {    /* eight inputs, and the token behind */
        windows[0]++;
        windows[1] += i % 2 == 0;
        windows[2] += i % 8 == 0;
    }
    table(lesson, "windows", 3, 1, windows);
    if (lesson->ids.length > 1)
        block_of(lesson, "growing");    /* words only: its first row is the first token and the second */
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
    table(lesson, name, (size_t)hand->n, (size_t)hand->n, wanted);
    snprintf(with, sizeof with, "%s_numbers", name);
    table(lesson, with, (size_t)hand->n, (size_t)hand->n, wanted);
}

static void outs(struct lesson *lesson, const char *name, const struct hand *hand, int size)
{
    double wanted[WORDS * 3];
    for (int i = 0; i < hand->n * size; i++)
        wanted[i] = hand->out[i / size][i % size];
    table(lesson, name, (size_t)hand->n, (size_t)size, wanted);
}

static void check_plain_attention(struct lesson *lesson)
{
    static struct hand hand;
    take_vectors(lesson, &hand);
    const int second = hand.n > 1;
    table(lesson, "vectors", (size_t)hand.n, 3, hand.x[0]);
    attend(&hand, hand.x[0], hand.x[0], 3, 1, false);
    table(lesson, "scores", (size_t)hand.n, 1, hand.scores[second]);
    table(lesson, "weights", (size_t)hand.n, 1, hand.weights[second]);
    mix(&hand, hand.x[0], 3);
    table(lesson, "context", 1, 3, hand.out[second]);
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
            table(lesson, names[which], 3, 2, weights);
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
    table(lesson, "queries", (size_t)hand.n, 2, hand.q[0]);
    table(lesson, "keys", (size_t)hand.n, 2, hand.k[0]);
    table(lesson, "values", (size_t)hand.n, 2, hand.v[0]);
    attend(&hand, hand.q[0], hand.k[0], 2, 1, false);
    for (int i = 0; i < hand.n * hand.n; i++)
        scores[i] = hand.scores[i / hand.n][i % hand.n];
    table(lesson, "scores", (size_t)hand.n, (size_t)hand.n, scores);
    square(lesson, "unscaled", &hand, false);
    fact(lesson, "scale", 1 / sqrt(2));
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
    fact(lesson, "dropped", 0.5);
    struct lm_random random = lm_random_seed(lesson->seed, 4);
    for (int i = 0; i < hand.n * hand.n; i++)
        dropped[i] = lm_random_unit(&random) < 0.5 ? 0 : 2 * hand.weights[i / hand.n][i % hand.n];
    table(lesson, "dropout", (size_t)hand.n, (size_t)hand.n, dropped);
}

/* --- 4, 9, 10 --- */

static void check_embeddings(struct lesson *lesson)
{
    enum { N = 8, D = 16 };
    const struct lm_config *c = lm_model_config(lesson->model);
    enum lm_dtype dtype;
    const float *embedding = lm_model_weights(lesson->model, &dtype);    /* the first parameter */
    double values[64 * 6], q[D], k[D], cosines[N * 6], scores[N * N];
    fact(lesson, "vocabulary", (double)c->vocabulary);
    fact(lesson, "width", (double)c->width);
    assert_true(lesson->ids.length <= 64);
    for (size_t i = 0; i < lesson->ids.length; i++)
        for (int d = 0; d < 6; d++)
            values[i * 6 + (size_t)d] = embedding[lesson->ids.data[i] * c->width + d];
    table(lesson, "embedded", lesson->ids.length, 6, values);
    struct lm_random random = lm_random_seed(lesson->seed, 5);
    for (int i = 0; i < D; i++) {
        q[i] = (float)lm_random_normal(&random);
        k[i] = (float)lm_random_normal(&random);
    }
    for (int a = 0; a < N; a++) {
        for (int pair = 0; pair < 6; pair++)
            cosines[a * 6 + pair] = cos(a * pow(c->rope_theta, -2.0 * pair / D));
        for (int b = 0; b < N; b++) {    /* turned by the difference alone */
            scores[a * N + b] = 0;
            for (int i = 0; i < D / 2; i++) {
                const double angle = (a - b) * pow(c->rope_theta, -2.0 * i / D);
                scores[a * N + b] += (q[i] * k[i] + q[i + D / 2] * k[i + D / 2]) * cos(angle) +
                                     (q[i] * k[i + D / 2] - q[i + D / 2] * k[i]) * sin(angle);
            }
        }
    }
    table(lesson, "cosines", N, 6, cosines);
    table(lesson, "rotated", N, N, scores);
}

static double size_of(const float *x, const float *without, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += pow((double)x[i] - (without ? (double)without[i] : 0), 2);
    return sqrt(sum / (double)count);
}

static double mean_of(const float *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    return sum / (double)count;
}

struct first_layer {
    float seen[LM_SIGHT_GRADIENT][64 * 128];
};

static void keep_first(void *user, enum lm_sight sight, int64_t layer, const float *data, int64_t rows, int64_t width)
{
    struct first_layer *first = user;
    if (layer == 0 && rows * width <= 64 * 128)
        memcpy(first->seen[sight], data, (size_t)(rows * width) * sizeof *data);
}

/* Through a training pass; the lesson goes through a cache. */
static void see_first(struct lesson *lesson, struct first_layer *first)
{
    const struct lm_watcher watcher = {.user = first, .sees = keep_first};
    const struct lm_pass_options options = {.batch = 1, .length = (int64_t)lesson->ids.length};
    struct lm_layout layout = {0};
    struct lm_pass *pass;
    loam_error error;
    double loss;
    assert_ok(lm_pass_create(lesson->model, &options, &layout, &pass, &error), &error);
    void *block = lm_block_map(layout.size, &error);
    lm_layout_bind(&layout, block);
    lm_model_watch(lesson->model, &watcher);
    const struct lm_pass_input input = {.ids = lesson->ids.data, .targets = lesson->ids.data};
    assert_ok(lm_pass_run(pass, &input, 1, NULL, &loss, NULL, &error), &error);
    lm_model_watch(lesson->model, NULL);
    lm_pass_free(pass);
    lm_block_unmap(block, layout.size);
    lm_layout_free(&layout);
}

static void check_layer(struct lesson *lesson)
{
    static struct first_layer first;
    const struct lm_config *c = lm_model_config(lesson->model);
    const int64_t width = c->width;
    double norms[64 * 4], additions[64 * 4], curve[17 * 3];
    see_first(lesson, &first);
    for (size_t i = 0; i < lesson->ids.length; i++) {
        const float *input = first.seen[LM_SIGHT_INPUT] + (int64_t)i * width, *normed = first.seen[LM_SIGHT_NORM1] + (int64_t)i * width;
        const float *middle = first.seen[LM_SIGHT_MIDDLE] + (int64_t)i * width;
        const float *output = first.seen[LM_SIGHT_OUTPUT] + (int64_t)i * width;
        const double n[] = {mean_of(input, width), size_of(input, NULL, width), mean_of(normed, width), size_of(normed, NULL, width)};
        const double a[] = {size_of(input, NULL, width), size_of(middle, input, width), size_of(output, middle, width),
                            size_of(output, NULL, width)};
        assert_true(fabs(n[1] / n[3] - sqrt(n[1] * n[1] + c->norm_eps)) < 1e-5);    /* RMSNorm, its weights one */
        memcpy(norms + 4 * i, n, sizeof n);
        memcpy(additions + 4 * i, a, sizeof a);
    }
    table(lesson, "norms", lesson->ids.length, 4, norms);
    table(lesson, "additions", lesson->ids.length, 4, additions);
    table_floats(lesson, "inner", lesson->ids.length, 6, first.seen[LM_SIGHT_INNER], (size_t)c->feed_forward);
    fact(lesson, "width", (double)c->width);
    fact(lesson, "feed_forward", (double)c->feed_forward);
    for (int i = 0; i < 17; i++) {
        const double x = (i - 8) / 2.0;
        curve[3 * i] = 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
        curve[3 * i + 1] = x / (1 + exp(-x));
        curve[3 * i + 2] = x > 0 ? x : 0;
    }
    table(lesson, "activation", 17, 3, curve);
}

static void check_whole(struct lesson *lesson)
{
    static const char *const known[] = {"gpt2", "qwen2.5-0.5b", "llama-3.2-1b", "llama-3-8b"};
    static const double published[] = {124439808, 494032768, 1235814400, 8030261248};    /* as the models' own cards count */
    const struct lm_config *c = lm_model_config(lesson->model);
    size_t count;
    const struct lm_parameter *list = lm_model_parameters(lesson->model, &count);
    double rows[64 * 4], total = 0, layer = 0, outside = 0, memory[8];
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        total += (double)list[i].count;
        layer += list[i].layer == 0 ? (double)list[i].count : 0;
        outside += list[i].layer < 0 ? (double)list[i].count : 0;
        if (list[i].layer > 0)
            continue;
        const double row[] = {(double)list[i].shape[0], list[i].rank > 1 ? (double)list[i].shape[1] : NAN, (double)list[i].count,
                              list[i].decay};
        memcpy(rows + 4 * used++, row, sizeof row);
    }
    table(lesson, "parameters", used, 4, rows);
    fact(lesson, "layers", (double)c->layers);
    fact(lesson, "layer_parameters", layer);
    fact(lesson, "outside", outside);
    fact(lesson, "total", total);
    assert_true(total == outside + (double)c->layers * layer);
    fact(lesson, "bytes_bf16", 2 * total);
    fact(lesson, "bytes_f32", 4 * total);
    fact(lesson, "bytes_training", 16 * total);
    fact(lesson, "flops", lm_config_flops(c, 1, c->context));
    table(lesson, "known_parameters", 4, 1, published);
    for (int i = 0; i < 4; i++) {
        memory[2 * i] = published[i] * 2 / (1 << 30);
        memory[2 * i + 1] = published[i] * 16 / (1 << 30);
        assert_string_equal(lm_value_find(block_of(lesson, "known_parameters"), "rows")->items[i].text, known[i]);
    }
    table(lesson, "known_memory", 4, 2, memory);
}

/* --- 11: AdamW by hand beside the device's --- */

static double loss_of(struct lesson *lesson, double *losses)
{
    const struct lm_config *c = lm_model_config(lesson->model);
    const int64_t t = (int64_t)lesson->ids.length;
    float *logits = test_malloc((size_t)(t * c->vocabulary) * sizeof *logits);
    loam_error error;
    double mean = 0;
    assert_ok(lm_model_logits(lesson->model, lesson->ids.data, t, logits, &error), &error);
    for (int64_t i = 0; i + 1 < t; i++) {
        double sum = 0;
        for (int64_t v = 0; v < c->vocabulary; v++)
            sum += exp(logits[i * c->vocabulary + v]);
        losses[i] = log(sum) - logits[i * c->vocabulary + lesson->ids.data[i + 1]];
        mean += losses[i] / (double)(t - 1);
    }
    test_free(logits);
    return mean;
}

static void near(struct lesson *lesson, const char *name, double found, double wanted, double bound)
{
    if (!(fabs(found - wanted) <= bound))
        fail_msg("lesson %d: %s: found %.9g, wanted %.9g", lesson->number, name, found, wanted);
}

static void check_step(struct lesson *lesson)
{
    const char *path = test_path(test_folder(), "step.safetensors");
    struct lm_tensors *file;
    size_t count, used = 0;
    double losses[64], loss, norm = 0;
    loam_error error;
    enum lm_dtype dtype;
    const double mean = loss_of(lesson, losses);
    for (size_t i = 0; i + 1 < lesson->ids.length; i++)
        near(lesson, "losses", at(lesson, "losses", i, 0), losses[i], 1e-5);
    near(lesson, "loss", number_of(lesson, lm_value_find(block_of(lesson, "loss"), "value")), mean, 1e-5);
    fact(lesson, "guess", log((double)lm_model_config(lesson->model)->vocabulary));
    fact(lesson, "learning_rate", 1e-3);
    const struct lm_parameter *list = lm_model_parameters(lesson->model, &count);
    const size_t numbers = list[count - 1].offset + (size_t)list[count - 1].count;
    double *m = test_calloc(2 * numbers, sizeof *m), *v = m + numbers;
    float *weights = lm_model_weights(lesson->model, &dtype);
    for (int step = 0; step <= 20; step++) {
        assert_ok(lm_look_step(lesson->model, lesson->ids.data, (int64_t)lesson->ids.length, path, &loss, &error), &error);
        near(lesson, "curve", at(lesson, "curve", (size_t)step, 0), loss, 1e-4);
        assert_ok(lm_tensors_open(path, &file, &error), &error);
        for (size_t i = 0; i < count; i++) {
            const float *gradient = lm_tensors_find(file, list[i].name)->data;
            float *own = weights + list[i].offset;
            double squares = 0;
            for (int64_t k = 0; k < list[i].count; k++) {
                const size_t place = list[i].offset + (size_t)k;
                const double before = own[k], g = gradient[k];
                squares += g * g;
                m[place] = 0.9 * m[place] + 0.1 * g;
                v[place] = 0.95 * v[place] + 0.05 * g * g;
                own[k] = (float)(before - 1e-3 / (1 - pow(0.9, step + 1)) * m[place] /
                                 (sqrt(v[place] / (1 - pow(0.95, step + 1))) + 1e-8));
                if (step == 0 && list[i].part == LM_PART_FINAL_NORM && k < 6) {
                    near(lesson, "weights", at(lesson, "weights", (size_t)k, 0), before, 0);
                    near(lesson, "weights", at(lesson, "weights", (size_t)k, 1), g, 0);
                    near(lesson, "weights", at(lesson, "weights", (size_t)k, 2), own[k], 1e-6);
                }
            }
            norm += step == 0 ? squares : 0;
            if (step == 0 && list[i].layer <= 0)
                same(lesson, "gradients", at(lesson, "gradients", used++, 0), sqrt(squares));
        }
        lm_tensors_close(file);
    }
    fact(lesson, "gradient_norm", sqrt(norm));
    test_free(m);
}

/* --- 8 and 12, on a model that is given --- */

struct heads {
    double weights[4][64 * 64];
};

/* Queries and keys as attention sees them, and the weights by hand. */
static void weigh_heads(void *user, int64_t layer, const struct lm_attention *work)
{
    struct heads *heads = user;
    const int64_t t = work->t_q;
    for (int64_t head = 0; layer == 0 && head < work->heads; head++)
        for (int64_t i = 0; i < t; i++) {
            double sum = 0, *row = heads->weights[head] + i * t;
            for (int64_t j = 0; j <= i; j++) {
                double dot = 0;
                for (int64_t d = 0; d < work->head_size; d++)
                    dot += (double)work->q[i * work->q_stride + head * work->head_size + d] *
                           ((const float *)work->k)[j * work->kv_stride + head / 2 * work->head_size + d];
                row[j] = exp(dot / sqrt((double)work->head_size));
                sum += row[j];
            }
            for (int64_t j = 0; j < t; j++)
                row[j] = j > i ? NAN : row[j] / sum;
        }
}

static void check_heads(struct lesson *lesson)
{
    static struct heads heads;
    static const double groups[] = {0, 0, 1, 1};
    const struct lm_config *c = lm_model_config(lesson->model);
    const struct lm_watcher watcher = {.user = &heads, .attends = weigh_heads};
    const size_t t = lesson->ids.length;
    float *logits = test_malloc(t * (size_t)c->vocabulary * sizeof *logits);
    loam_error error;
    lm_model_watch(lesson->model, &watcher);
    assert_ok(lm_model_logits(lesson->model, lesson->ids.data, (int64_t)t, logits, &error), &error);
    lm_model_watch(lesson->model, NULL);
    test_free(logits);
    for (int head = 0; head < 4; head++) {
        char name[16];
        snprintf(name, sizeof name, "head_%d", head);
        table(lesson, name, t, t, heads.weights[head]);
    }
    fact(lesson, "heads", 4);
    fact(lesson, "kv_heads", 2);
    fact(lesson, "head_size", 16);
    table(lesson, "groups", 4, 1, groups);
    fact(lesson, "cache_token", 2 * 2 * 2 * 16 * 2);    /* k and v, layers, heads, numbers, bytes */
    fact(lesson, "cache_full", 2 * 2 * 4 * 16 * 2);
}

static const float *sorted_logits;

static int by_logit(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return sorted_logits[x] > sorted_logits[y] ? -1 : sorted_logits[x] < sorted_logits[y] ? 1 : x - y;
}

static double share_of(const float *logits, int32_t vocabulary, int32_t id, double temperature)
{
    double sum = 0;
    for (int32_t i = 0; i < vocabulary; i++)
        sum += exp(((double)logits[i] - logits[id]) / temperature);
    return 1 / sum;
}

static void check_written(struct lesson *lesson, int32_t vocabulary)
{
    struct lm_runner *runner;
    struct lm_generation made = {0};
    struct lm_generation_options options = lm_generation_default();
    struct lm_bytes text = {0};
    struct lm_ids ids = {0};
    loam_error error;
    float *logits = test_malloc(256 * (size_t)vocabulary * sizeof *logits);
    options.sampling = (loam_sampling){.temperature = 0.7, .top_k = 3, .top_p = 1, .repetition_penalty = 1, .seed = lesson->seed};
    options.max_tokens = 16;
    options.ignore_end = true;
    assert_ok(lm_runner_attach(lesson->model, lesson->tokenizer, NULL, 128, &runner, &error), &error);
    assert_ok(lm_runner_generate(runner, lesson->ids.data, lesson->ids.length, &options, &made, &error), &error);
    lm_ids_append(&ids, lesson->ids.data, lesson->ids.length, NULL);
    lm_ids_append(&ids, made.ids.data, made.ids.length, NULL);
    assert_int_equal(made.ids.length, 16);
    assert_ok(lm_model_logits(lesson->model, ids.data, (int64_t)ids.length, logits, &error), &error);
    assert_int_equal(lm_value_find(block_of(lesson, "written"), "values")->length, 16);
    block_of(lesson, "others");
    for (size_t i = 0; i < 16; i++) {
        const float *row = logits + (lesson->ids.length - 1 + i) * (size_t)vocabulary;
        int32_t best = -1;
        for (int32_t id = 0; id < vocabulary; id++)
            if (id != made.ids.data[i] && (best < 0 || row[id] > row[best]))
                best = id;
        near(lesson, "written", at(lesson, "written", i, 0), share_of(row, vocabulary, made.ids.data[i], 1), 1e-5);
        near(lesson, "written", at(lesson, "written", i, 1), share_of(row, vocabulary, best, 1), 1e-5);
    }
    assert_ok(lm_tokenizer_decode(lesson->tokenizer, made.ids.data, 16, false, &text, &error), &error);
    const struct lm_value *shown_text = lm_value_find(block_of(lesson, "text"), "value");
    assert_true(shown_text->length >= text.length);    /* blanks and bytes that are no characters have longer names */
    lm_bytes_free(&text);
    lm_ids_free(&ids);
    lm_generation_free(&made);
    lm_runner_close(runner);
    test_free(logits);
}

static void check_generation(struct lesson *lesson)
{
    const int32_t vocabulary = (int32_t)lm_model_config(lesson->model)->vocabulary;
    int32_t *order = test_malloc((size_t)vocabulary * sizeof *order);
    float *logits = test_malloc(lesson->ids.length * (size_t)vocabulary * sizeof *logits);
    loam_error error;
    assert_ok(lm_model_logits(lesson->model, lesson->ids.data, (int64_t)lesson->ids.length, logits, &error), &error);
    const float *last = logits + (lesson->ids.length - 1) * (size_t)vocabulary;
    for (int32_t i = 0; i < vocabulary; i++)
        order[i] = i;
    sorted_logits = last;
    qsort(order, (size_t)vocabulary, sizeof *order, by_logit);
    fact(lesson, "draws", 1000);
    fact(lesson, "top_k", 3);
    double top = 0;
    for (int k = 0; k < 3; k++)
        top += share_of(last, vocabulary, order[k], 1);
    for (size_t k = 0; k < 8; k++) {
        static const double temperatures[] = {0.5, 1, 2};
        const double share = share_of(last, vocabulary, order[k], 1), few = k < 3 ? share / top : 0;
        near(lesson, "candidates", at(lesson, "candidates", k, 0), last[order[k]], 1e-5);
        for (size_t i = 0; i < 3; i++)
            near(lesson, "candidates", at(lesson, "candidates", k, 1 + i), share_of(last, vocabulary, order[k], temperatures[i]), 1e-5);
        /* Five deviations of a thousand draws: a chance of 6e-7. */
        near(lesson, "drawn", at(lesson, "drawn", k, 0), share, 5 * sqrt(share * (1 - share) / 1000) + 1e-9);
        near(lesson, "drawn", at(lesson, "drawn", k, 1), few, 5 * sqrt(few * (1 - few) / 1000) + 1e-9);
    }
    check_written(lesson, vocabulary);
    test_free(order);
    test_free(logits);
}

typedef void checker(struct lesson *lesson);
static checker *const checkers[] = {NULL, check_words, check_merges, check_samples, check_embeddings, check_plain_attention,
                                    check_weighted_attention, check_mask, check_heads, check_layer, check_whole, check_step,
                                    check_generation};

static void test_numbers(void **state)
{
    static const struct {
        const char *sentence;
        uint64_t seed;
    } cases[] = {{lm_lesson_sentence, 1}, {"The cat sat on the mat, the dog on the log", 7}, {"One", 3}};
    (void)state;
    for (int number = 1; number <= lm_lesson_count(); number++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct lesson lesson;
            open_lesson(&lesson, number, cases[i].sentence, cases[i].seed, number == 8 || number == 12);
            checkers[number](&lesson);
            close_lesson(&lesson);
        }
}

/* What is published of the six-word example, to its last digit. */
static void test_published(void **state)
{
    static const double scores[] = {0.9544, 1.4950, 1.4754, 0.8434, 0.7070, 1.0865};
    static const double weights[] = {0.1385, 0.2379, 0.2333, 0.1240, 0.1082, 0.1581}, context[] = {0.4419, 0.6515, 0.5683};
    struct lesson lesson;
    (void)state;
    open_lesson(&lesson, 5, lm_lesson_sentence, 1, false);
    for (size_t i = 0; i < 6; i++) {
        assert_true(fabs(at(&lesson, "scores", i, 0) - scores[i]) <= 0.00005);
        assert_true(fabs(at(&lesson, "weights", i, 0) - weights[i]) <= 0.00005);
    }
    for (size_t i = 0; i < 3; i++)
        assert_true(fabs(at(&lesson, "context", 0, i) - context[i]) <= 0.00005);
    for (size_t i = 0; i < 6; i++) {    /* and so they stand on the screen */
        char number[16];
        lm_format(number, sizeof number, " %.4f ", scores[i]);
        assert_non_null(strstr(lesson.text.data, number));
        lm_format(number, sizeof number, " %.4f ", weights[i]);
        assert_non_null(strstr(lesson.text.data, number));
    }
    assert_non_null(strstr(lesson.text.data, "0.4419  0.6515  0.5683"));
    check_plain_attention(&lesson);
    close_lesson(&lesson);
}

/* The small model that is trained for the lesson: the same seed, the same page. */
static void test_trained(void **state)
{
    (void)state;
    struct lm_bytes pages[2] = {{0}, {0}};
    loam_error error;
    for (int k = 0; k < 2; k++) {
        struct lm_page *page;
        const struct lm_lesson_options options = {.seed = 2, .threads = 1 + k};
        assert_ok(lm_lesson_hold(8, &options, &page, &error), &error);
        assert_ok(lm_page_json(page, &pages[k], &error), &error);
        lm_page_free(page);
    }
    assert_int_equal(pages[0].length, pages[1].length);
    assert_memory_equal(pages[0].data, pages[1].data, pages[0].length);
    lm_bytes_free(&pages[0]);
    lm_bytes_free(&pages[1]);
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
        if (runs_model && number != 10)
            assert_true(code == LOAM_EUSAGE && strstr(error.message, "context is 128"));
        else
            assert_int_equal(code, LOAM_OK);
        if (code == LOAM_OK)
            lm_page_free(page);
        if (number == 8 || number == 12)
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
        cmocka_unit_test(test_trained),
        cmocka_unit_test(test_bad_sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
