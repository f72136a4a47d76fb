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

/* A pattern's regular expressions, compiled. */
struct splits {
    const struct lm_pattern *pattern;
    struct lm_regex *regexes[LM_PATTERN_SPLITS];
    size_t count;
};

static struct splits compile(const struct lm_pattern *pattern)
{
    struct splits splits = {.pattern = pattern};
    loam_error error;
    for (; splits.count < LM_PATTERN_SPLITS && pattern->regexes[splits.count]; splits.count++) {
        const char *regex = pattern->regexes[splits.count];
        assert_ok(lm_regex_compile(regex, strlen(regex), &splits.regexes[splits.count], &error), &error);
    }
    return splits;
}

static void release(struct splits *splits)
{
    for (size_t i = 0; i < splits->count; i++)
        lm_regex_free(splits->regexes[i]);
}

enum { LONGEST = 256 };

/* Appends where the pieces of text[start, end) end, cut by the regular expressions from the n-th on, as PCRE2 has it. */
static void cut(const struct fixture *f, const struct splits *splits, size_t n, const char *text, size_t start, size_t end,
                size_t *ends, size_t *count)
{
    if (n >= LM_PATTERN_SPLITS || n == splits->count) {
        ends[(*count)++] = end;
        return;
    }
    for (size_t at = start; at < end;) {
        size_t from = 0, to = 0;
        bool found = false;
        loam_error error;
        assert_ok(lm_regex_find(splits->regexes[n], f->match, text + start, end - start, at - start, false, &found, &from,
                                &to, &error),
                  &error);
        from = found ? from + start : end;
        to = found ? to + start : end;
        if (from > at)
            cut(f, splits, n + 1, text, at, from, ends, count);
        if (to > from)
            cut(f, splits, n + 1, text, from, to, ends, count);
        at = to;
    }
}

static void compare(const struct fixture *f, const struct splits *splits, const char *text, size_t length)
{
    size_t ends[LONGEST + 1], count = 0;
    assert_true(length <= LONGEST);
    cut(f, splits, 0, text, 0, length, ends, &count);
    for (size_t at = 0, i = 0; at < length; i++) {
        size_t got = splits->pattern->scan(f->unicode, text, length, at);
        if (i >= count || got != ends[i]) {
            char shown[900] = "";
            for (size_t k = at > 8 ? at - 8 : 0; k < length && k < at + 60; k++)
                snprintf(shown + strlen(shown), sizeof shown - strlen(shown), "%s%02x", k == at ? " | " : " ",
                         (unsigned char)text[k]);
            fail_msg("%s at %zu: scanner ends at %zu, PCRE2 at %zu:%s", splits->pattern->name, at, got,
                     i < count ? ends[i] : length, shown);
        }
        at = got;
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
                                   0x30FF, 0x30FB, 0x309B, 0x3099, 0x3042, 0xAC00, 0x800,  0xE0100, 0xE0001, 0xF0000};
    uint64_t kind = lm_random_below(random, 8);
    if (kind < 5)
        return (unsigned char)nasty[lm_random_below(random, sizeof nasty - 1)];
    if (kind < 7)
        return odd[lm_random_below(random, sizeof odd / sizeof *odd)];
    return pool[lm_random_below(random, pool_size)];
}

/* Some 1.5 million characters a pattern; twenty times as many with LOAM_LONG. */
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
    int rounds = getenv("LOAM_LONG") ? 600000 : 30000;
    for (size_t n = 0; lm_pattern_at(n); n++) {
        struct splits splits = compile(lm_pattern_at(n));
        for (int round = 0; round < rounds; round++) {
            char text[LONGEST];
            size_t length = 0, characters = lm_random_below(&random, 48) + 1;
            for (size_t i = 0; i < characters; i++) {
                uint32_t c = random_character(&random, pool, pool_size);
                for (uint64_t times = lm_random_below(&random, 3) + 1; times && length < 250; times--)
                    length += lm_utf8_encode(c, text + length);
            }
            compare(f, &splits, text, length);
        }
        release(&splits);
    }
    free(pool);
}

/* Each assigned code point between others of every kind. */
static void every_code_point(void **state)
{
    const struct fixture *f = *state;
    for (size_t n = 0; lm_pattern_at(n); n++) {
        struct splits splits = compile(lm_pattern_at(n));
        for (uint32_t c = 1; c < 0x110000; c++) {
            char one[8], text[LONGEST];
            one[lm_utf8_encode(c, one)] = 0;
            if ((c >= 0xD800 && c <= 0xDFFF) || !is_assigned(f, c))
                continue;
            int length = snprintf(text, sizeof text, "%sa%s 1%s.%s%s B%s\n%s '%s 'S%s", one, one, one, one, one, one,
                                  one, one, one);
            compare(f, &splits, text, (size_t)length);
        }
        release(&splits);
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
    assert_fails(lm_regex_find(regex, f->match, text, sizeof text, 0, true, &found, &start, &end, &error), &error,
                 LOAM_EUNSUPPORTED, "regular expression", "64 bytes");
    lm_regex_free(regex);
}

/* Every match, the empty ones too, replaced by "~": what Oniguruma makes of it (tokenizers 0.23.3, Replace with Regex). */
static const struct {
    const char *regex, *wanted[2];
} onigurumas[] = {
    {"\\w+", {"~ ~ ~!-+~", "~、\n~\t~…\n"}},
    {"\\W", {"aB~c_d²~का́Ⓐ~~~x", "中文b~~1234567~Ks٣ß~~"}},
    {"[^\\w\\s]+", {"aB c_d~ का́Ⓐ~x", "中文b~\n1234567\tKs٣ß~\n"}},
    {"[\\W_]", {"aB~c~d~~का́Ⓐ~~~x", "中文b~~1234567~Ks٣ß~~"}},
    {"[^\\W_]+", {"~ ~_~² ~!-+~", "~、\n~\t~…\n"}},
    {"\\b", {"~aB~ ~c_d²~ ~का́Ⓐ~!-+~x~", "~中文b~、\n~1234567~\t~Ks٣ß~…\n"}},
    {"\\B", {"a~B c~_~d~² क~ा~́~Ⓐ!~-~+x", "中~文~b、~\n1~2~3~4~5~6~7\tK~s~٣~ß…~\n~"}},
    {"\\h+", {"~ ~_~² का́Ⓐ!-+x", "中文~、\n~\tKs٣ß…\n"}},
    {"\\H", {"aB~c~d~~~~~~~~~~", "~~b~~1234567~~~~~~~"}},
    {"[\\h-]+", {"~ ~_~² का́Ⓐ!~+x", "中文~、\n~\tKs٣ß…\n"}},
    {"[[:punct:]]", {"aB c~d² का́~~~~x", "中文b~\n1234567\tKs٣ß~\n"}},
    {"[^[:alpha:]]", {"aB~c~d~~का~Ⓐ~~~x", "中文b~~~~~~~~~~Ks~ß~~"}},
    {"[[:^digit:]]", {"~~~~~~~~~~~~~~~~", "~~~~~1234567~~~٣~~~"}},
    {"\\p{Punct}", {"aB c~d² का́Ⓐ~~+x", "中文b~\n1234567\tKs٣ß~\n"}},
    {"\\p{Han}+", {"aB c_d² का́Ⓐ!-+x", "~b、\n1234567\tKs٣ß…\n"}},
    {"\\p{^Han}", {"~~~~~~~~~~~~~~~~", "中文~~~~~~~~~~~~~~~~~"}},
    {"\\P{Letter}", {"aB~c~d~~क~~~~~~x", "中文b~~~~~~~~~~Ks~ß~~"}},
    {"\\p{Upper_case letter}", {"a~ c_d² का́Ⓐ!-+x", "中文b、\n1234567\t~s٣ß…\n"}},
    {"\\p{Lowercase_Letter}+", {"~B ~_~² का́Ⓐ!-+~", "中文~、\n1234567\tK~٣~…\n"}},
    {"[\\p{L}&&[^\\p{Han}a-c]]+", {"a~ c_~² ~ा́Ⓐ!-+~", "中文b、\n1234567\t~٣~…\n"}},
    {"[a-z&&[^aeiou]&&[^b]]", {"aB ~_~² का́Ⓐ!-+~", "中文b、\n1234567\tK~٣ß…\n"}},
    {"[^a-z&&[^aeiou]]", {"~~~c~d~~~~~~~~~x", "~~b~~~~~~~~~~~s~~~~"}},
    {"[a[\\d[b]]]+", {"~B c_d² का́Ⓐ!-+x", "中文~、\n~\tKs~ß…\n"}},
    {"[]a]", {"~B c_d² का́Ⓐ!-+x", "中文b、\n1234567\tKs٣ß…\n"}},
    {"^", {"~aB c_d² का́Ⓐ!-+x", "~中文b、\n~1234567\tKs٣ß…\n"}},
    {"$", {"aB c_d² का́Ⓐ!-+x~", "中文b、~\n1234567\tKs٣ß…~\n~"}},
    {"^.", {"~B c_d² का́Ⓐ!-+x", "~文b、\n~234567\tKs٣ß…\n"}},
    {"(?m).+", {"~", "~"}},
    {"(?m:b.)c?", {"aB c_d² का́Ⓐ!-+x", "中文~\n1234567\tKs٣ß…\n"}},
    {".+", {"~", "~\n~\n"}},
    {"(?=[A-Z])", {"a~B c_d² का́Ⓐ!-+x", "中文b、\n1234567\t~Ks٣ß…\n"}},
    {"(?<=a)", {"a~B c_d² का́Ⓐ!-+x", "中文b、\n1234567\tKs٣ß…\n"}},
    {"x*", {"~a~B~ ~c~_~d~²~ ~क~ा~́~Ⓐ~!~-~+~", "~中~文~b~、~\n~1~2~3~4~5~6~7~\t~K~s~٣~ß~…~\n~"}},
    {"a{,2}b", {"aB c_d² का́Ⓐ!-+x", "中文~、\n1234567\tKs٣ß…\n"}},
    {"\\u0061+", {"~B c_d² का́Ⓐ!-+x", "中文b、\n1234567\tKs٣ß…\n"}},
    {"\\O", {"~~~~~~~~~~~~~~~~", "~~~~~~~~~~~~~~~~~~~"}},
    {"(?=(\\d{3})+(?!\\d))", {"aB c_d² का́Ⓐ!-+x", "中文b、\n1~234~567\tKs٣ß…\n"}},
    {"[\\W^]", {"aB~c_d~~का́Ⓐ~~~x", "中文b~~1234567~Ks٣ß~~"}},
    {"[[a]^b]", {"~B c_d² का́Ⓐ!-+x", "中文~、\n1234567\tKs٣ß…\n"}},
    {"[\\t\\v ]", {"aB~c_d²~का́Ⓐ!-+x", "中文b、\n1234567~Ks٣ß…\n"}},
    {"\\v|x", {"aB c_d² का́Ⓐ!-+~", "中文b、\n1234567\tKs٣ß…\n"}},
    {"\\V|a", {"~B c_d² का́Ⓐ!-+x", "中文b、\n1234567\tKs٣ß…\n"}},
    {"[[:graph:]]+", {"~ ~ ~", "~\n~\t~\n"}},
    {"[[:^print:]]", {"aB c_d² का́Ⓐ!-+x", "中文b、~1234567~Ks٣ß…~"}},
    {"\\p{Graph}", {"~~ ~~~~ ~~~~~~~~", "~~~~\n~~~~~~~\t~~~~~\n"}},
    {"\\p{N}{1,3}+", {"aB c_d~ का́Ⓐ!-+x", "中文b、\n~\tKs~ß…\n"}},
    {"(?:\\d\\d){1}?3?", {"~a~B~ ~c~_~d~²~ ~क~ा~́~Ⓐ~!~-~+~x~", "~中~文~b~、~\n~~~\t~K~s~٣~ß~…~\n~"}},
    {"(\\d){2}+", {"aB c_d² का́Ⓐ!-+x", "中文b、\n~7\tKs٣ß…\n"}},
    {"[a-d]{2}?", {"~a~B~ ~c~_~d~²~ ~क~ा~́~Ⓐ~!~-~+~x~", "~中~文~b~、~\n~1~2~3~4~5~6~7~\t~K~s~٣~ß~…~\n~"}},
    {"\\d{1,2}?", {"aB c_d² का́Ⓐ!-+x", "中文b、\n~~~~~~~\tKs~ß…\n"}},
    {"B{,c|b", {"aB c_d² का́Ⓐ!-+x", "中文~、\n1234567\tKs٣ß…\n"}},
    {"(?:(1)|2){1,}+", {"aB c_d² का́Ⓐ!-+x", "中文b、\n~34567\tKs٣ß…\n"}},
    {"\\Q|a", {"~B c_d² का́Ⓐ!-+x", "中文b、\n1234567\tKs٣ß…\n"}},
    {"x{,2}", {"~a~B~ ~c~_~d~²~ ~क~ा~́~Ⓐ~!~-~+~", "~中~文~b~、~\n~1~2~3~4~5~6~7~\t~K~s~٣~ß~…~\n~"}},
    {"(?i:ſ|k)", {"aB c_d² का́Ⓐ!-+x", "中文b、\n1234567\t~~٣ß…\n"}},
};
static const char *const TEXTS[] = {"aB c_d² का́Ⓐ!-+x", "中文b、\n1234567\tKs٣ß…\n"};

static void replace(const struct fixture *f, const struct lm_regex *regex, const char *text, struct lm_bytes *out)
{
    const size_t length = strlen(text);
    loam_error error;
    out->length = 0;
    bool found = true, first = true;
    for (size_t at = 0, start, end; found; first = false) {
        assert_ok(lm_regex_find(regex, f->match, text, length, at, first, &found, &start, &end, &error), &error);
        assert_ok(lm_bytes_append(out, text + at, (found ? start : length) - at, &error), &error);
        if (found)
            assert_ok(lm_bytes_append(out, "~", 1, &error), &error);
        at = end;
    }
}

static void oniguruma(void **state)
{
    struct lm_bytes got = {0};
    loam_error error;
    for (size_t i = 0; i < sizeof onigurumas / sizeof *onigurumas; i++) {
        const char *const pattern = onigurumas[i].regex;
        struct lm_regex *regex;
        assert_ok(lm_regex_compile(pattern, strlen(pattern), &regex, &error), &error);
        for (int k = 0; k < 2; k++) {
            replace(*state, regex, TEXTS[k], &got);
            if (strcmp(got.data, onigurumas[i].wanted[k]) != 0)
                fail_msg("'%s': got '%s', wanted '%s'", pattern, got.data, onigurumas[i].wanted[k]);
        }
        lm_regex_free(regex);
    }
    lm_bytes_free(&got);
}

/* What is broken is an error, what is nested without end too. */
static void broken_patterns(void **state)
{
    static const char *const broken[] = {"[", "[a", "[a&&", "[[:alpha:]", "[a[b]", "\\p{", "\\p{Nothing}", "(?m", "[^", "a\\"};
    (void)state;
    struct lm_regex *regex;
    loam_error error;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_fails(lm_regex_compile(broken[i], strlen(broken[i]), &regex, &error), &error, LOAM_EFORMAT,
                     "regular expression", broken[i]);
    char deep[4096];
    memset(deep, '[', sizeof deep);
    assert_fails(lm_regex_compile(deep, sizeof deep, &regex, &error), &error, LOAM_EFORMAT, "brackets", "32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(random_text),
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(endless_pattern),
        cmocka_unit_test(oniguruma),
        cmocka_unit_test(broken_patterns),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
