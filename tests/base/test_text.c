#include "support/support.h"

#include <float.h>
#include <locale.h>
#include <math.h>

static void test_every_character_there_and_back(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x110010; c++) {
        char bytes[4];
        const size_t width = lm_utf8_encode(c, bytes);
        if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
            assert_int_equal(width, 0);
            continue;
        }
        uint32_t back;
        assert_int_equal(lm_utf8_decode(bytes, width, &back), width);
        assert_int_equal(back, c);
        for (size_t cut = 1; cut < width; cut++) {
            assert_int_equal(lm_utf8_decode(bytes, cut, &back), 0);
            assert_int_equal(lm_utf8_unfinished(bytes, cut), cut);
        }
        assert_int_equal(lm_utf8_unfinished(bytes, width), 0);
    }
}

static void test_invalid(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xed\xa0\x80",
        "\xed\xbf\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe2\x82(",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint32_t c;
        assert_int_equal(lm_utf8_decode(bad[i], strlen(bad[i]), &c), 0);
        char text[64];
        const int length = snprintf(text, sizeof text, "plain text here \xc3\xa4%s tail", bad[i]);
        assert_int_equal(lm_utf8_check(text, (size_t)length), 18);
    }
    assert_int_equal(lm_utf8_decode("", 0, &(uint32_t){0}), 0);
    assert_int_equal(lm_utf8_check("", 0), 0);
}

/* Beginnings that no further byte can make a character are not "unfinished": a stream must not wait for them. */
static void test_unfinished_is_never_hopeless(void **state)
{
    (void)state;
    static const char *const hopeless[] = {"\xc0", "\xff", "\xe0\x80", "\xed\xa0", "\xf0\x80", "\xf4\x90", "\xf5", "a", "\x80\x80"};
    for (size_t i = 0; i < sizeof hopeless / sizeof hopeless[0]; i++)
        assert_int_equal(lm_utf8_unfinished(hopeless[i], strlen(hopeless[i])), 0);
    assert_int_equal(lm_utf8_unfinished("abc\xf0\x9f\x98", 6), 3);
    assert_int_equal(lm_utf8_unfinished("", 0), 0);
}

static void test_width(void **state)
{
    (void)state;
    assert_int_equal(lm_utf8_width('a'), 1);
    assert_int_equal(lm_utf8_width(0x4E2D), 2);
    assert_int_equal(lm_utf8_width(0x0301), 0);
    assert_int_equal(lm_utf8_width(0x1F600), 2);
    assert_int_equal(lm_utf8_width(0xFFFFFFFF), 0);
}

static void test_whole_numbers(void **state)
{
    (void)state;
    loam_error error;
    int64_t value = 0;
    assert_ok(lm_parse_int("2048", &value, &error), &error);
    assert_int_equal(value, 2048);
    assert_ok(lm_parse_int("-9223372036854775808", &value, &error), &error);
    assert_true(value == INT64_MIN);
    assert_ok(lm_parse_int("+9223372036854775807", &value, &error), &error);
    assert_true(value == INT64_MAX);
    assert_fails(lm_parse_int("9223372036854775808", &value, &error), &error, LOAM_EUSAGE, "9223372036854775808", "large");
    assert_fails(lm_parse_int("-9223372036854775809", &value, &error), &error, LOAM_EUSAGE, "large");
    static const char *const bad[] = {"", "-", "1 ", " 1", "1.0", "1e3", "0x10", "1,000", "--1", "1\xc2\xa0"};
    value = 77;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(lm_parse_int(bad[i], &value, &error), LOAM_EUSAGE);
    assert_int_equal(value, 77);
}

static void test_sizes(void **state)
{
    (void)state;
    loam_error error;
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {
        {"0", 0}, {"4096", 4096}, {"17B", 17}, {"2KiB", 2048}, {"512MiB", 512ll << 20}, {"24GiB", 24ll << 30},
        {"1.5GiB", 3ll << 29}, {"100MB", 100000000}, {"5kB", 5000}, {"1 TiB", 1ll << 40}, {"9007199254740993", 9007199254740993ll},
    };
    int64_t bytes;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_ok(lm_parse_size(good[i].text, &bytes, &error), &error);
        assert_true(bytes == good[i].bytes);
    }
    static const char *const bad[] = {"", "GiB", "-1GiB", "12Gi", "12gib", "1e30GiB", "nanGiB", "1GiB ", "0x10", "12  MiB"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(lm_parse_size(bad[i], &bytes, &error), LOAM_EUSAGE);
}

static void test_real_numbers(void **state)
{
    (void)state;
    loam_error error;
    double value;
    assert_ok(lm_parse_double("1e-4", &value, &error), &error);
    assert_true(value == 1e-4);
    assert_ok(lm_parse_double("-.5", &value, &error), &error);
    assert_true(value == -0.5);
    static const char *const bad[] = {"", ".", "1,5", "nan", "inf", "1e", "1e999", "0x1p3", "1.5x", " 1", "e5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(lm_parse_double(bad[i], &value, &error), LOAM_EUSAGE);
}

static void test_shortest_digits(void **state)
{
    (void)state;
    char text[32];
    lm_format_double(0.1, text);
    assert_string_equal(text, "0.1");
    lm_format_double(1e-5, text);
    assert_string_equal(text, "1e-05");
    lm_format_double(3, text);
    assert_string_equal(text, "3");
    lm_format_float(0.1f, text);
    assert_string_equal(text, "0.1");
    lm_format_float(16777216.0f, text);
    assert_string_equal(text, "16777216");
    double value;
    lm_format_double(-DBL_MAX, text);
    assert_int_equal(lm_parse_double(text, &value, NULL), LOAM_OK);
    assert_true(value == -DBL_MAX);
    lm_format_double(NAN, text);
    assert_string_equal(text, "nan");
}

/* Every bit pattern that is a number reads back as itself; patterns come from a seeded stream. */
static void test_round_trip(void **state)
{
    (void)state;
    struct lm_random random = lm_random_seed(11, 0);
    char text[32];
    for (int i = 0; i < 20000; i++) {
        const uint64_t bits = lm_random_bits(&random);
        const uint32_t half = (uint32_t)(bits >> 13);
        double value, back;
        float single;
        memcpy(&value, &bits, sizeof value);
        memcpy(&single, &half, sizeof single);
        if (isfinite(value)) {
            lm_format_double(value, text);
            assert_true(strlen(text) < 32);
            assert_int_equal(lm_parse_double(text, &back, NULL), LOAM_OK);
            assert_true(memcmp(&back, &value, sizeof back) == 0);
        }
        if (isfinite(single)) {
            lm_format_float(single, text);
            assert_int_equal(lm_parse_double(text, &back, NULL), LOAM_OK);
            const float single_back = (float)back;
            assert_true(memcmp(&single_back, &single, sizeof single) == 0);
        }
    }
}

static void test_size_texts(void **state)
{
    (void)state;
    static const struct {
        int64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"}, {512, "512 B"}, {1023, "1023 B"}, {1024, "1.00 KiB"}, {17825792, "17.0 MiB"}, {1331439861, "1.24 GiB"},
        {1048575, "1.00 MiB"}, {INT64_MAX, "8.00 EiB"}, {-2048, "-2.00 KiB"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[32];
        lm_format_size(cases[i].bytes, text);
        assert_string_equal(text, cases[i].text);
    }
}

/* The whole of it again where the decimal sign is a comma. Where the machine lacks the locale this is a repetition;
 * the suite makes the locale for itself and runs everything under it. */
static void test_german(void **state)
{
    setlocale(LC_ALL, "de_DE.UTF-8");
    test_sizes(state);
    test_real_numbers(state);
    test_shortest_digits(state);
    test_size_texts(state);
    test_round_trip(state);
    setlocale(LC_ALL, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_character_there_and_back),
        cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_unfinished_is_never_hopeless),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_whole_numbers),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_real_numbers),
        cmocka_unit_test(test_shortest_digits),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_size_texts),
        cmocka_unit_test(test_german),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
