/* Secrets: where they come from, who may read the file, and that nothing says them. */
#include "support/support.h"

#include "net/net.h"

#include <sys/stat.h>
#include <unistd.h>

#define VALUE "hunter2-" TEST_MARK

static loam_error error;

static const char *file(const char *text, mode_t mode)
{
    const char *path = test_path(test_folder(), "secrets");
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static void found(void **state)
{
    (void)state;
    struct lm_secrets *secrets;
    struct lm_bytes out = {0};
    assert_ok(lm_secrets_open(file("# mine\n\n  cleo = " VALUE "  \r\ndora=\" with blanks \"\nbot-1 = 12:a=b\n", 0600), &secrets, &error),
              &error);
    assert_ok(lm_secret_append(lm_secrets_find(secrets, "cleo"), &out, &error), &error);
    assert_string_equal(out.data, VALUE);
    assert_true(lm_secret_matches(lm_secrets_find(secrets, "dora"), " with blanks ", 13));
    assert_true(lm_secret_matches(lm_secrets_find(secrets, "bot-1"), "12:a=b", 6));
    assert_false(lm_secret_matches(lm_secrets_find(secrets, "cleo"), VALUE, sizeof VALUE - 2));
    assert_false(lm_secret_matches(lm_secrets_find(secrets, "cleo"), VALUE VALUE, 2 * (sizeof VALUE - 1)));
    assert_false(lm_secret_matches(NULL, "", 0));
    assert_null(lm_secrets_find(secrets, "nobody"));
    assert_null(lm_secrets_find(NULL, "cleo"));
    setenv("LOAM_TEST_SECRET", "from-the-" TEST_MARK "-ease", 1);
    assert_true(lm_secret_matches(lm_secrets_find(secrets, "LOAM_TEST_SECRET"), "from-the-" TEST_MARK "-ease", 20));
    char text[] = "a " VALUE " b from-the-" TEST_MARK "-ease" VALUE;
    lm_secrets_hide(secrets, text);
    assert_string_equal(text, "a ************** b **********************************");
    lm_bytes_wipe(&out);
    lm_secrets_free(secrets);
    assert_ok(lm_secrets_open(NULL, &secrets, &error), &error);
    assert_non_null(lm_secrets_find(secrets, "LOAM_TEST_SECRET"));
    unsetenv("LOAM_TEST_SECRET");
    assert_non_null(lm_secrets_find(secrets, "LOAM_TEST_SECRET"));    /* once found it stays */
    assert_null(lm_secrets_find(secrets, "cleo"));
    lm_secrets_free(secrets);
}

static void refused(void **state)
{
    (void)state;
    struct lm_secrets *secrets;
    static const mode_t open_modes[] = {0644, 0640, 0604, 0620, 0602, 0610};
    for (size_t i = 0; i < sizeof open_modes / sizeof *open_modes; i++) {
        const char *path = file("a = " VALUE "\n", open_modes[i]);
        assert_fails(lm_secrets_open(path, &secrets, &error), &error, LOAM_EUSAGE, "chmod 600", path);
    }
    assert_fails(lm_secrets_open(test_folder(), &secrets, &error), &error, LOAM_EUSAGE, "regular");
    assert_fails(lm_secrets_open("/nowhere/secrets", &secrets, &error), &error, LOAM_ENOTFOUND, "/nowhere/secrets");
    static const struct {
        const char *text, *says;
    } broken[] = {
        {"a = x\n" VALUE "\n", ":2: wanted NAME = VALUE"},
        {"a = x\nmy key = " VALUE "\n", ":2: wanted a name"},
        {"a = " VALUE "\na = " VALUE "\n", ":2: 'a' stands there twice"},
        {"a =\n", ":1: 'a': wanted a value"},
        {"a = \xff" VALUE "\n", ":1: 'a': wanted a value"},
        {"a = x\rb = " VALUE "\n", ":1: 'a': wanted a value"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assert_fails(lm_secrets_open(file(broken[i].text, 0600), &secrets, &error), &error, LOAM_EFORMAT, broken[i].says);
        assert_null(strstr(error.message, TEST_MARK));
    }
}

static void owner(void **state)
{
    (void)state;
    struct lm_secrets *secrets;
    const char *path = file("a = " VALUE "\n", 0600);
    if (geteuid() != 0 || chown(path, 1234, 1234) != 0)
        skip();
    assert_fails(lm_secrets_open(path, &secrets, &error), &error, LOAM_EUSAGE, "another user", "chown");
}

/* Every allocation fails in turn: nothing leaks, nothing is half there. */
static void without_memory(void **state)
{
    (void)state;
    const char *path = file("a = " VALUE "\nb = c\n", 0600);
    struct lm_secrets *secrets = NULL;
    int code = LOAM_ENOMEM;
    for (int64_t n = 1; code != LOAM_OK; n++) {
        lm_memory_fail_after(n);
        code = lm_secrets_open(path, &secrets, &error);
        lm_memory_fail_after(-1);
        assert_true(code == LOAM_OK || code == LOAM_ENOMEM);
    }
    lm_secrets_free(secrets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(found), cmocka_unit_test(refused), cmocka_unit_test(owner),
                                       cmocka_unit_test(without_memory)};
    return cmocka_run_group_tests_name("net/secrets", tests, NULL, NULL);
}
