#include "lesson.h"

#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

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

void lesson_names(struct lesson *lesson, const char *name, const int32_t *ids, size_t count)
{
    const struct lm_value *rows = lm_value_find(lesson_block(lesson, name), "rows");
    assert_non_null(rows);
    assert_int_equal(rows->length, count);
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const char *token = lm_tokenizer_token(lesson->tokenizer, ids[i], &length);
        struct lm_bytes wanted = lesson_shown(token, length);
        if (!lm_value_is(&rows->items[i], wanted.data))
            fail_msg("lesson %d: %s: row %zu: found '%s', wanted '%s'", lesson->number, name, i, rows->items[i].text, wanted.data);
        lm_bytes_free(&wanted);
    }
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

/* The next number of the screen that shows this one, rounded to the digits that it has; NULL: none. The more a screen rounds, the
 * fewer digits are compared: the difference is at most half of the last. */
static const char *find_number(const char *rest, double number)
{
    const locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
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
    freelocale(plain);
    return found ? rest : NULL;
}

/* Behind the block's title, which must begin a line. */
static const char *find_title(const struct lesson *lesson, const char *rest, const struct lm_value *block)
{
    const struct lm_value *title = lm_value_find(block, "title");
    const char *place = rest;
    while ((place = strstr(place, title->text)) && place[-1] != '\n')
        place++;
    if (!place)
        fail_msg("lesson %d: the screen lacks '%s'", lesson->number, title->text);
    return place + title->length;
}

static const char *check_shown(const struct lesson *lesson, const char *rest, const struct lm_value *block, const struct lm_value *value)
{
    if (value->kind != LM_NUMBER)
        return rest;
    const double number = lesson_number(lesson, value);
    const char *behind = find_number(rest, number);
    if (!behind)
        fail_msg("lesson %d: '%s': the screen lacks %.9g", lesson->number, lm_value_find(block, "title")->text, number);
    return behind;
}

/* A fact stands in its own line. */
static const char *check_fact(const struct lesson *lesson, const char *rest, const struct lm_value *block)
{
    const struct lm_value *value = lm_value_find(block, "value");
    const char *line = find_title(lesson, rest, block), *end = strchr(line, '\n');
    const char *behind = check_shown(lesson, line, block, value);
    if (value->kind == LM_NUMBER && (!end || behind > end))
        fail_msg("lesson %d: '%s': its line lacks %.9g", lesson->number, lm_value_find(block, "title")->text, lesson_number(lesson, value));
    return end ? end : line;
}

/* The legend's ends hold all values. */
static const char *check_legend(const struct lesson *lesson, const char *rest, const struct lm_value *block)
{
    const struct lm_value *values = lm_value_find(block, "values");
    const char *legend = strstr(find_title(lesson, rest, block), "\nshades from "), *to = legend ? strstr(legend, " to ") : NULL;
    assert_non_null(to);
    const double low = strtod(legend + strlen("\nshades from "), NULL), high = strtod(to + 4, NULL);
    for (size_t row = 0; row < values->length; row++)
        for (size_t column = 0; column < values->items[row].length; column++) {
            const double number = lesson_number(lesson, &values->items[row].items[column]);
            if (number < low - 1e-3 * fabs(low) || number > high + 1e-3 * fabs(high))    /* four digits of the ends are shown */
                fail_msg("lesson %d: '%s': %.9g is not within %.9g and %.9g", lesson->number, lm_value_find(block, "title")->text, number,
                         low, high);
        }
    return to;
}

/* The numbers stand on the screen, in order. */
static void check_screen(struct lesson *lesson)
{
    const char *rest = lesson->text.data;
    for (size_t i = 0; i < lesson->blocks->length; i++) {
        const struct lm_value *block = &lesson->blocks->items[i], *values = lm_value_find(block, "values");
        const struct lm_value *kind = lm_value_find(block, "kind");
        if (lm_value_is(kind, "fact"))
            rest = check_fact(lesson, rest, block);
        else if (lm_value_is(kind, "heat"))
            rest = check_legend(lesson, rest, block);
        if (!values || lm_value_is(kind, "heat") || lm_value_is(kind, "tokens") || lm_value_is(kind, "areas"))
            continue;
        rest = find_title(lesson, rest, block);
        for (size_t row = 0; row < values->length && row < 48; row++)
            for (size_t column = 0; column < values->items[row].length; column++)
                rest = check_shown(lesson, rest, block, &values->items[row].items[column]);
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
    if (!given && lm_lesson_practice(number))
        assert_ok(lm_lesson_practise(lesson->model, lesson->tokenizer, seed, lm_lesson_practice(number), &error), &error);

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

/* Blanks as points, ends of lines and tabs as arrows, other controls and bytes that are no characters by their numbers; a mark that has
 * no letter before it gets a circle. */
struct lm_bytes lesson_shown(const char *text, size_t length)
{
    struct lm_bytes out = {0};
    lm_bytes_append(&out, "", 0, NULL);
    for (size_t i = 0; i < length;) {
        uint32_t character;
        const size_t used = lm_utf8_decode(text + i, length - i, &character);
        const char *mark = text[i] == ' ' ? "\xC2\xB7" : text[i] == '\n' ? "\xE2\x86\xB5" : text[i] == '\t' ? "\xE2\x86\x92" : NULL;
        if (!used)
            lm_bytes_format(&out, NULL, "\\x%02X", (unsigned)(unsigned char)text[i]);
        else if (mark)
            lm_bytes_append(&out, mark, strlen(mark), NULL);
        else if (character < 0x20 || (character >= 0x7F && character < 0xA0))
            lm_bytes_format(&out, NULL, "\\u%04X", (unsigned)character);
        else
            lm_bytes_format(&out, NULL, "%s%.*s", i == 0 && lm_utf8_width(character) == 0 ? "\xE2\x97\x8C" : "", (int)used, text + i);
        i += used ? used : 1;
    }
    return out;
}

void lesson_check(int number, lesson_checker *check, bool given)
{
    static const struct {
        const char *sentence;
        uint64_t seed;
    } cases[] = {{lm_lesson_sentence, 1}, {"The cat sat on the mat, the dog on the log", 7}, {"One", 3}};
    const size_t all = sizeof cases / sizeof *cases;
    const bool slow = !given && lm_lesson_practice(number) && !getenv("LOAM_LONG");    /* two models are trained for each */
    for (size_t i = slow ? 1 : TEST_SANITIZED; i < (slow ? 2 : all); i++) {    /* the first is the usual one */
        struct lesson lesson;
        lesson_open(&lesson, number, cases[i].sentence, cases[i].seed, given);
        check(&lesson);
        lesson_close(&lesson);
    }
}
