#include "support/support.h"

/* The YAML text as JSON says what was understood. */
static void assert_means(const char *yaml, const char *json)
{
    loam_error error;
    struct lm_document *document;
    assert_ok(lm_yaml_parse(yaml, strlen(yaml), "in", &document, &error), &error);
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 0);
    lm_json_value(&writer, lm_document_root(document));
    assert_ok(lm_json_writer_finish(&writer, &error), &error);
    assert_string_equal(out.data, json);
    lm_bytes_free(&out);
    lm_document_free(document);
}

static void assert_refused(const char *yaml, const char *word)
{
    loam_error error;
    struct lm_document *document;
    int code = lm_yaml_parse(yaml, strlen(yaml), "in", &document, &error);
    if (code != LOAM_EFORMAT || !strstr(error.message, word))
        fail_msg("%.80s: gave %s, \"%s\", wanted EFORMAT with \"%s\"", yaml, loam_status_name(code), error.message, word);
}

static void test_core_schema(void **state)
{
    (void)state;
    assert_means("[~, null, Null, NULL, nULL, {a: , b: }]", "[null, null, null, null, \"nULL\", {\"a\": null, \"b\": null}]");
    assert_means("[true, True, TRUE, false, yes, no, on, tRue]",
                 "[true, true, true, false, \"yes\", \"no\", \"on\", \"tRue\"]");
    assert_means("[0, -12, +7, 0o17, 0x1F, 007, 0x, 0o8, 1_000, 12:30]",
                 "[0, -12, 7, 15, 31, 7, \"0x\", \"0o8\", \"1_000\", \"12:30\"]");
    assert_means("[1.5, .5, -.5, 5., 1e-4, 1E3, +1.0e+2, 00.5, e5, ., 1.2.3, 1e]",
                 "[1.5, 0.5, -0.5, 5, 1e-4, 1E3, 1.0e+2, 0.5, \"e5\", \".\", \"1.2.3\", \"1e\"]");
    assert_means("[.inf, -.Inf, .NaN, inf, nan]", "[null, null, null, \"inf\", \"nan\"]");
    assert_means("['1', \"true\", 'null', !!str 5, ! 5]", "[\"1\", \"true\", \"null\", \"5\", \"5\"]");
    assert_means("0xFFFFFFFFFFFFFFFFF", "\"0xFFFFFFFFFFFFFFFFF\"");
}

static void test_shapes(void **state)
{
    (void)state;
    assert_means("", "null");
    assert_means("# only a comment\n", "null");
    assert_means("a: 1\nb:\n  - x\n  - y: z\n    w: |\n      two\n      lines\n", "{\"a\": 1, \"b\": [\"x\", {\"y\": \"z\", \"w\": \"two\\nlines\\n\"}]}");
    assert_means("1: one\ntrue: t\n", "{\"1\": \"one\", \"true\": \"t\"}");
    assert_means("\xEF\xBB\xBF" "a: \xc3\xa4\n", "{\"a\": \"\xc3\xa4\"}");
    assert_means("---\na: {b: [], c: {}}\n...\n", "{\"a\": {\"b\": [], \"c\": {}}}");
}

static void test_refused(void **state)
{
    (void)state;
    assert_refused("a: &x 1\nb: *x\n", "in:1:4: found an anchor or alias");
    assert_refused("b: *x\n", "anchor or alias");
    assert_refused("&a [1]", "anchor");
    assert_refused("&a {b: 1}", "anchor");
    assert_refused("a: 1\n\xc3\xa4: 2\na: 3\n", "in:3:1: the key \"a\"");
    assert_refused("a: !!int 5", "tag");
    assert_refused("!mine [1]", "tag");
    assert_refused("? [a]\n: 1\n", "key");
    assert_refused("--- 1\n--- 2\n", "second document");
    assert_refused("a: [1, 2", "in:1:");
    assert_refused("a: b: c", "in:1:5");
    assert_refused("a:\n\t- 1", "in:2:");
    assert_refused("a: \"\\z\"", "in:1:");
    assert_refused("a: \xff", "0xff");
    assert_refused("a: \x01", "in:1:");
    assert_refused("%YAML 3.0\n---\na", "in:1:");
}

static void test_typed_access(void **state)
{
    (void)state;
    loam_error error;
    struct lm_document *document;
    const char *text = "steps: 20\nlr: 1e-4\nname: \xc3\xa4\xc3\xb6 # x\nlist:\n  - {w: .inf}\n";
    assert_ok(lm_yaml_parse(text, strlen(text), "r.yaml", &document, &error), &error);
    const struct lm_value *root = lm_document_root(document);
    double lr;
    int64_t steps;
    assert_ok(lm_value_double(document, lm_value_find(root, "lr"), &lr, &error), &error);
    assert_true(lr == 1e-4);
    assert_ok(lm_value_int(document, lm_value_find(root, "steps"), 0, 100, &steps, &error), &error);
    assert_int_equal(steps, 20);
    const struct lm_value *w = lm_value_find(lm_value_find(root, "list")->items, "w");
    assert_fails(lm_value_double(document, w, &lr, &error), &error, LOAM_EFORMAT, "r.yaml:5:9: list[0].w: found .inf");
    lm_document_free(document);
}

/* Nested deep in flow form and in block form: refused at the limit, and quickly. */
static void test_deep(void **state)
{
    (void)state;
    const size_t levels = 1000000;
    char *text = test_malloc(2 * levels + 1);
    memset(text, '[', levels);
    text[levels] = 0;
    assert_refused(text, "in:1:");
    for (size_t i = 0; i < levels; i++)
        memcpy(text + 2 * i, "- ", 2);
    text[2 * levels] = 0;
    assert_refused(text, "levels");
    text[2 * 500] = 0;
    loam_error error;
    struct lm_document *document;
    assert_ok(lm_yaml_parse(text, strlen(text), "in", &document, &error), &error);
    lm_document_free(document);
    test_free(text);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    loam_error error;
    const char *text = "a: [1, 0x10, .5, 'q']\nb: {c: d}\n";
    int code = LOAM_ENOMEM, n = 0;
    while (code != LOAM_OK) {
        struct lm_document *document = NULL;
        assert_true(++n < 100);
        lm_memory_fail_after(n);
        code = lm_yaml_parse(text, strlen(text), "in", &document, &error);
        lm_memory_fail_after(-1);
        if (code != LOAM_OK)
            assert_int_equal(code, LOAM_ENOMEM);
        lm_document_free(document);
    }
    assert_true(n > 5);
}

static void test_files(void **state)
{
    (void)state;
    loam_error error;
    struct lm_document *document;
    const char *path = test_path(test_folder(), "r.yaml");
    assert_fails(lm_yaml_read(path, &document, &error), &error, LOAM_ENOTFOUND, path);
    assert_ok(lm_file_replace(path, "a: [", 4, &error), &error);
    assert_fails(lm_yaml_read(path, &document, &error), &error, LOAM_EFORMAT, path, ":1:5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_core_schema), cmocka_unit_test(test_shapes), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_typed_access), cmocka_unit_test(test_deep), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
