#include "lesson.h"

#include <ctype.h>
#include <locale.h>
#include <math.h>

/* --- The page --- */

const struct lm_value *lesson_block(struct lesson *lesson, const char *name)
{
    for (size_t i = 0; i < lesson->blocks->length; i++)
        if (lm_value_is(lm_value_find(&lesson->blocks->items[i], "name"), name)) {
            lesson->claimed[i] = true;
            return &lesson->blocks->items[i];
        }
    fail_msg("lesson %d has no block '%s'", lesson->number, name);
    return NULL;
}

double lesson_number(const struct lesson *lesson, const struct lm_value *value)
{
    double number;
    loam_error error;
    if (value && value->kind == LM_NULL)
        return NAN;
    assert_ok(lm_value_double(lesson->page, value, &number, &error), &error);
    return number;
}

/* The block's number at a place, which must be there. */
double lesson_at(struct lesson *lesson, const char *name, size_t row, size_t column)
{
    const struct lm_value *values = lm_value_find(lesson_block(lesson, name), "values");
    assert_true(values && row < values->length && column < values->items[row].length);
    return lesson_number(lesson, &values->items[row].items[column]);
}

void lesson_same(struct lesson *lesson, const char *name, double found, double wanted)
{
    if (isnan(wanted) ? !isnan(found) : !(fabs(found - wanted) <= 1e-6 * fmax(1, fabs(wanted))))
        fail_msg("lesson %d, '%s', seed %llu: %s: found %.9g, wanted %.9g", lesson->number, lesson->sentence,
                 (unsigned long long)lesson->seed, name, found, wanted);
}

void lesson_fact(struct lesson *lesson, const char *name, double wanted)
{
    lesson_same(lesson, name, lesson_number(lesson, lm_value_find(lesson_block(lesson, name), "value")), wanted);
}

void lesson_fact_text(struct lesson *lesson, const char *name, const char *wanted, size_t length)
{
    const struct lm_value *value = lm_value_find(lesson_block(lesson, name), "value");
    if (value->length != length || memcmp(value->text, wanted, length) != 0)
        fail_msg("lesson %d: %s: found '%s', wanted '%.*s'", lesson->number, name, value->text, (int)length, wanted);
}

/* The whole block: rows × columns numbers of `wanted`, no more. */
void lesson_table(struct lesson *lesson, const char *name, size_t rows, size_t columns, const double *wanted)
{
    const struct lm_value *values = lm_value_find(lesson_block(lesson, name), "values");
    assert_non_null(values);
    if (values->length != rows)
        fail_msg("lesson %d: %s: found %zu rows, wanted %zu", lesson->number, name, values->length, rows);
    for (size_t i = 0; i < rows; i++) {
        assert_int_equal(values->items[i].length, columns);
        for (size_t k = 0; k < columns; k++)
            lesson_same(lesson, name, lesson_number(lesson, &values->items[i].items[k]), wanted[i * columns + k]);
    }
}

void lesson_table_floats(struct lesson *lesson, const char *name, size_t rows, size_t columns, const float *wanted, size_t stride)
{
    double *wide = test_malloc(rows * columns * sizeof *wide);
    for (size_t i = 0; i < rows * columns; i++)
        wide[i] = wanted[i / columns * stride + i % columns];
    lesson_table(lesson, name, rows, columns, wide);
    test_free(wide);
}

void lesson_table_ids(struct lesson *lesson, const char *name, size_t rows, size_t columns, const int32_t *wanted)
{
    double *wide = test_malloc((rows * columns + 1) * sizeof *wide);
    for (size_t i = 0; i < rows * columns; i++)
        wide[i] = wanted[i];
    lesson_table(lesson, name, rows, columns, wide);
    test_free(wide);
}

/* A strip of tokens and the table of their ids. */
void lesson_tokens(struct lesson *lesson, const char *name, const struct lm_ids *ids)
{
    char with[80];
    lesson_table_ids(lesson, name, ids->length, 1, ids->data);
    snprintf(with, sizeof with, "%s_ids", name);
    lesson_table_ids(lesson, with, ids->length, 1, ids->data);
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
        if (!title || !values || lm_value_is(kind, "heat") || lm_value_is(kind, "tokens") ||
            lm_value_is(kind, "areas"))
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
                const double number = lesson_number(lesson, value);
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

void lesson_near(struct lesson *lesson, const char *name, double found, double wanted, double bound)
{
    if (!(fabs(found - wanted) <= bound))
        fail_msg("lesson %d: %s: found %.9g, wanted %.9g", lesson->number, name, found, wanted);
}

/* --- What the test makes by itself --- */

void lesson_learn_tokenizer(const struct lm_tokenizer_training *training, struct lm_tokenizer **tokenizer)
{
    loam_error error;
    assert_ok(lm_tokenizer_train(training, tokenizer, &error), &error);
}

void lesson_encode(const struct lm_tokenizer *tokenizer, const char *text, size_t length, unsigned flags, struct lm_ids *ids)
{
    loam_error error;
    assert_ok(lm_tokenizer_encode(tokenizer, text, length, flags, ids, NULL, &error), &error);
}

struct lm_bytes lesson_small_text(uint64_t seed, size_t size)
{
    struct lm_bytes text = {0};
    loam_error error;
    assert_ok(lm_lesson_text(seed, size, &text, &error), &error);
    return text;
}

/* `given`: the lesson gets the test's own model and tokenizer instead of making them. */
void lesson_open(struct lesson *lesson, int number, const char *sentence, uint64_t seed, bool given)
{
    static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    loam_error error;
    struct lm_page *page;
    struct lm_bytes json = {0};
    *lesson = (struct lesson){.number = number, .sentence = sentence, .seed = seed};
    struct lm_bytes text = lesson_small_text(seed, LM_LESSON_TEXT);
    const struct lm_tokenizer_training training = {.text = text.data, .text_length = text.length, .vocabulary_size = 384,
                                                   .specials = specials, .special_count = 3, .threads = 1};
    lesson_learn_tokenizer(&training, &lesson->tokenizer);
    lm_bytes_free(&text);
    lesson_encode(lesson->tokenizer, sentence, strlen(sentence), 0, &lesson->ids);
    const struct lm_config config = lm_lesson_config(lesson->tokenizer);
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &lesson->device, &error), &error);
    assert_ok(lm_model_create(&config, seed, lesson->device, &(struct lm_model_options){.dtype = LM_F32}, &lesson->model, &error),
              &error);

    struct lm_lesson_options options = {.sentence = sentence, .seed = seed, .threads = 2};
    if (given) {
        assert_ok(lm_model_create(&config, seed, lesson->device, &(struct lm_model_options){.dtype = LM_F32}, &lesson->given, &error),
                  &error);
        options.model = lesson->given;
        options.loaded = lm_lesson_trains(number);
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

void lesson_close(struct lesson *lesson)
{
    check_rest(lesson);
    check_screen(lesson);
    lm_ids_free(&lesson->ids);
    lm_model_close(lesson->model);
    lm_model_close(lesson->given);
    lm_tokenizer_free(lesson->tokenizer);
    lm_device_close(lesson->device);
    lm_bytes_free(&lesson->text);
    lm_document_free(lesson->page);
    test_free(lesson->claimed);
}

/* Blanks are shown as points, ends of lines as arrows. */
struct lm_bytes lesson_shown(const char *text, size_t length)
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

void lesson_check(int number, lesson_checker *check, bool given)
{
    static const struct {
        const char *sentence;
        uint64_t seed;
    } cases[] = {{lm_lesson_sentence, 1}, {"The cat sat on the mat, the dog on the log", 7}, {"One", 3}};
    for (size_t i = TEST_SANITIZED; i < sizeof cases / sizeof *cases; i++) {    /* slow there: the first is the usual one */
        struct lesson lesson;
        lesson_open(&lesson, number, cases[i].sentence, cases[i].seed, given);
        check(&lesson);
        lesson_close(&lesson);
    }
}
