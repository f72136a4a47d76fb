#include "support/support.h"

#include <errno.h>
#include <locale.h>

static void test_names_and_texts(void **state)
{
    (void)state;
    assert_string_equal(loam_status_name(LOAM_OK), "OK");
    assert_string_equal(loam_status_name(LOAM_ENOTFOUND), "ENOTFOUND");
    assert_string_equal(loam_status_text(LOAM_ENOTFOUND), "no such file or entry");
    assert_non_null(loam_status_name(12345));
    assert_non_null(loam_status_text(-12345));
    assert_non_null(strchr(loam_version(), '.'));
}

static void test_fill(void **state)
{
    (void)state;
    loam_error error;
    memset(&error, 0x5A, sizeof error);
    assert_int_equal(lm_fail(&error, LOAM_EFORMAT, "%s: found %d", "a.json", 3), LOAM_EFORMAT);
    assert_int_equal(error.code, LOAM_EFORMAT);
    assert_int_equal(error.position, -1);
    assert_string_equal(error.message, "a.json: found 3");
    assert_int_equal(lm_fail_at(&error, LOAM_EIO, 77, "x"), LOAM_EIO);
    assert_int_equal(error.position, 77);
    assert_int_equal(lm_fail(NULL, LOAM_EUSAGE, "nobody listens"), LOAM_EUSAGE);
}

static void test_within(void **state)
{
    (void)state;
    loam_error error;
    lm_fail_at(&error, LOAM_EFORMAT, 5, "line 3");
    assert_int_equal(lm_fail_within(&error, LOAM_EIO, "%s", "model"), LOAM_EFORMAT);
    assert_string_equal(error.message, "model: line 3");
    assert_int_equal(error.position, 5);
    assert_int_equal(lm_fail_within(NULL, LOAM_ENOMEM, "%s", "model"), LOAM_ENOMEM);
}

static void test_errno_codes(void **state)
{
    (void)state;
    loam_error error;
    assert_int_equal(lm_fail_errno(&error, ENOENT, "%s", "f"), LOAM_ENOTFOUND);
    assert_string_equal(error.message, "f: No such file or directory");
    assert_int_equal(lm_fail_errno(&error, ENOSPC, "f"), LOAM_ENOSPACE);
    assert_int_equal(lm_fail_errno(&error, EDQUOT, "f"), LOAM_ENOSPACE);
    assert_int_equal(lm_fail_errno(&error, ENOMEM, "f"), LOAM_ENOMEM);
    assert_int_equal(lm_fail_errno(&error, EACCES, "f"), LOAM_EIO);
    assert_int_equal(lm_fail_errno(NULL, ENOENT, "f"), LOAM_ENOTFOUND);
}

/* Escape sequences, line breaks, bad UTF-8 and text that turns the writing direction must not reach a terminal. */
static void test_message_is_one_clean_line(void **state)
{
    (void)state;
    loam_error error;
    lm_fail(&error, LOAM_EIO, "%s", "a\x1b[31mred\nb\xff\xc3\x28 \xe2\x80\xae \xc2\x9b \xc3\xa4");
    assert_string_equal(error.message,
                        "a\\x1b[31mred\\x0ab\\xff\\xc3( \\xe2\\x80\\xae \\xc2\\x9b \xc3\xa4");
}

static void test_long_messages_are_cut_at_a_character(void **state)
{
    (void)state;
    char text[4096];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 3);
        text[shift + 3 * 1300] = 0;
        loam_error error;
        lm_fail(&error, LOAM_EIO, "%s", text);
        const size_t length = strlen(error.message);
        assert_true(length < sizeof error.message && length > sizeof error.message - 16);
        /* What vsnprintf cut in the middle shows as \xNN; the whole is UTF-8 all the same. */
        assert_int_equal(lm_utf8_check(error.message, length), length);
        lm_fail_within(&error, LOAM_EIO, "%s", text);
        assert_true(strlen(error.message) < sizeof error.message);
        assert_int_equal(lm_utf8_check(error.message, strlen(error.message)), strlen(error.message));
    }
}

static void test_numbers_have_a_point_in_every_locale(void **state)
{
    (void)state;
    setlocale(LC_ALL, "de_DE.UTF-8");
    loam_error error;
    lm_fail(&error, LOAM_EIO, "%.2f", 1.5);
    assert_string_equal(error.message, "1.50");
    setlocale(LC_ALL, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_texts),
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_within),
        cmocka_unit_test(test_errno_codes),
        cmocka_unit_test(test_message_is_one_clean_line),
        cmocka_unit_test(test_long_messages_are_cut_at_a_character),
        cmocka_unit_test(test_numbers_have_a_point_in_every_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
