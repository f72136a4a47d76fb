/* The hand-written scanners against PCRE2 on random and nasty text, over code points assigned in Unicode 14. */
#include "support/support.h"
#include "tokenizer/scanner.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

struct fixture {
    struct lm_unicode *unicode;
    struct lm_regex_match *match;
    pcre2_code *assigned; /* one character that PCRE2's Unicode version assigns */
};

static int setup(void **state)
{
    static struct fixture fixture;
    loam_error error;
    int number;
    PCRE2_SIZE where;
    assert_ok(lm_unicode_create(&fixture.unicode, &error), &error);
    assert_ok(lm_regex_match_create(&fixture.match, &error), &error);
    fixture.assigned =
        pcre2_compile((PCRE2_SPTR) "^\\P{Cn}$", PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &number, &where, NULL);
    assert_non_null(fixture.assigned);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    lm_unicode_free(f->unicode);
    lm_regex_match_free(f->match);
    pcre2_code_free(f->assigned);
    return 0;
}

static void compare(const struct fixture *f, const struct lm_pattern *pattern, const struct lm_regex *regex,
                    const char *text, size_t length)
{
    loam_error error;
    for (size_t at = 0; at < length;) {
        size_t start = 0, end = 0, got = pattern->scan(f->unicode, text, length, at);
        bool found = false;
        assert_ok(lm_regex_find(regex, f->match, text, length, at, &found, &start, &end, &error), &error);
        if (!found || start != at || got != end) {
            char shown[600] = "";
            for (size_t i = at > 8 ? at - 8 : 0; i < length && i < at + 60; i++)
                snprintf(shown + strlen(shown), sizeof shown - strlen(shown), "%s%02x", i == at ? " | " : " ",
                         (unsigned char)text[i]);
            fail_msg("%s at %zu: scanner ends at %zu, PCRE2 %zu..%zu:%s", pattern->name, at, got, start, end, shown);
        }
        at = end;
    }
}

static bool is_assigned(const struct fixture *f, uint32_t c)
{
    char bytes[4];
    size_t n = lm_utf8_encode(c, bytes);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    int count = n ? pcre2_match(f->assigned, (PCRE2_SPTR)bytes, n, 0, 0, data, NULL) : -1;
    pcre2_match_data_free(data);
    return count > 0;
}

static uint32_t random_character(struct lm_random *random, const uint32_t *pool, size_t pool_size)
{
    static const char nasty[] = " \t\n\r'sStTrReEvVmMlLdD19.,!/_-\"\f\v";
    static const uint32_t odd[] = {0x17F,  0x130,  0x131,  0x212A, 0x85,    0xA0,    0x1680, 0x180E, 0x2028,
                                   0x200B, 0x3000, 0xFEFF, 0x300,  0x301,   0x2B0,   0x1C5,  0x3B1,  0x391,
                                   0x4E00, 0x3042, 0x660,  0xB2,   0x2160,  0x1F600, 0x20AC, 0x9FA5, 0x9FA6,
                                   0x30FF, 0x3040, 0xAC00, 0x800,  0xE0100, 0xE0001, 0xF0000};
    uint64_t kind = lm_random_below(random, 8);
    if (kind < 5)
        return (unsigned char)nasty[lm_random_below(random, sizeof nasty - 1)];
    if (kind < 7)
        return odd[lm_random_below(random, sizeof odd / sizeof *odd)];
    return pool[lm_random_below(random, pool_size)];
}

/* Some 3 million characters a pattern; ten times as many with LOAM_LONG. */
static void random_text(void **state)
{
    const struct fixture *f = *state;
    struct lm_random random = lm_random_seed(11, 0);
    size_t pool_size = 0;
    uint32_t *pool = malloc(0x110000 * sizeof *pool);
    assert_non_null(pool);
    for (uint32_t c = 0; c < 0x110000; c++)
        if ((c < 0xD800 || c > 0xDFFF) && is_assigned(f, c))
            pool[pool_size++] = c;
    int rounds = getenv("LOAM_LONG") ? 600000 : 60000;
    for (size_t n = 0; lm_pattern_at(n); n++) {
        struct lm_regex *regex;
        loam_error error;
        const struct lm_pattern *pattern = lm_pattern_at(n);
        assert_ok(lm_regex_compile(pattern->regex, strlen(pattern->regex), &regex, &error), &error);
        for (int round = 0; round < rounds; round++) {
            char text[256];
            size_t length = 0, characters = lm_random_below(&random, 48) + 1;
            for (size_t i = 0; i < characters; i++) {
                uint32_t c = random_character(&random, pool, pool_size);
                for (uint64_t times = lm_random_below(&random, 3) + 1; times && length < 250; times--)
                    length += lm_utf8_encode(c, text + length);
            }
            compare(f, pattern, regex, text, length);
        }
        lm_regex_free(regex);
    }
    free(pool);
}

/* Each assigned code point between others of every kind. */
static void every_code_point(void **state)
{
    const struct fixture *f = *state;
    for (size_t n = 0; lm_pattern_at(n); n++) {
        struct lm_regex *regex;
        loam_error error;
        const struct lm_pattern *pattern = lm_pattern_at(n);
        assert_ok(lm_regex_compile(pattern->regex, strlen(pattern->regex), &regex, &error), &error);
        for (uint32_t c = 1; c < 0x110000; c++) {
            char one[8], text[160];
            one[lm_utf8_encode(c, one)] = 0;
            if ((c >= 0xD800 && c <= 0xDFFF) || !is_assigned(f, c))
                continue;
            int length = snprintf(text, sizeof text, "%sa%s 1%s.%s%s B%s\n%s '%s 'S%s", one, one, one, one, one, one,
                                  one, one, one);
            compare(f, pattern, regex, text, (size_t)length);
        }
        lm_regex_free(regex);
    }
}

/* The compact table says what utf8proc says, also above the planes it holds. */
static void classes(void **state)
{
    const struct fixture *f = *state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
        unsigned class = lm_unicode_class(f->unicode, c);
        bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
        bool mark = category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
        bool number = category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
        bool sign = category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_SO;
        if (letter != !!(class & LM_CLASS_LETTER) || mark != !!(class & LM_CLASS_MARK) ||
            number != !!(class & LM_CLASS_NUMBER) || sign != !!(class & LM_CLASS_SIGN))
            fail_msg("U+%04X: category %d, class %u", c, category, class);
    }
}

/* A pattern that backtracks without end is an error, not a hang. */
static void endless_pattern(void **state)
{
    const struct fixture *f = *state;
    struct lm_regex *regex;
    loam_error error;
    const char pattern[] = "(?:a|aa)+[bc]";
    char text[64];
    memset(text, 'a', sizeof text);
    assert_ok(lm_regex_compile(pattern, sizeof pattern - 1, &regex, &error), &error);
    bool found;
    size_t start, end;
    assert_fails(lm_regex_find(regex, f->match, text, sizeof text, 0, &found, &start, &end, &error), &error,
                 LOAM_EUNSUPPORTED, "regular expression", "64 bytes");
    lm_regex_free(regex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(random_text),
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(endless_pattern),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
