#include "support/support.h"

#include <locale.h>
#include <math.h>

static struct lm_document *parse(const char *text)
{
    loam_error error;
    struct lm_document *document = NULL;
    assert_ok(lm_json_parse(text, strlen(text), "in", &document, &error), &error);
    return document;
}

static void assert_refused(const char *text, size_t length, const char *word)
{
    loam_error error;
    memset(&error, 0x5A, sizeof error);
    struct lm_document *document = (struct lm_document *)&error;
    int code = lm_json_parse(text, length, "in", &document, &error);
    if (code != LOAM_EFORMAT)
        fail_msg("%.*s: gave %s, wanted EFORMAT", (int)(length < 100 ? length : 100), text, loam_status_name(code));
    if (!strstr(error.message, word) || strncmp(error.message, "in", 2) != 0)
        fail_msg("%.*s: message lacks \"%s\": %s", (int)(length < 100 ? length : 100), text, word, error.message);
    assert_ptr_equal(document, &error);    /* results are written on success only */
}

static void test_tree(void **state)
{
    (void)state;
    struct lm_document *document =
        parse(" {\"name\": \"x\", \"list\": [1, -2.5e3, null, true, []], \"o\": {\"deep\": \"v\"}, \"e\": {}} ");
    const struct lm_value *root = lm_document_root(document);
    assert_int_equal(root->kind, LM_OBJECT);
    assert_int_equal(root->length, 4);
    assert_int_equal(root->position, 1);
    assert_string_equal(root->keys[1].text, "list");
    assert_true(lm_value_is(lm_value_find(root, "name"), "x"));
    assert_false(lm_value_is(lm_value_find(root, "name"), "xy"));
    assert_null(lm_value_find(root, "nam"));
    assert_null(lm_value_find(lm_value_find(root, "list"), "name"));
    assert_null(lm_value_find(NULL, "name"));
    const struct lm_value *list = lm_value_find(root, "list");
    assert_int_equal(list->kind, LM_ARRAY);
    assert_int_equal(list->length, 5);
    assert_string_equal(list->items[1].text, "-2.5e3");
    assert_int_equal(list->items[2].kind, LM_NULL);
    assert_true(list->items[3].kind == LM_TRUTH && list->items[3].truth);
    assert_int_equal(list->items[1].position, 27);
    assert_true(lm_value_is(lm_value_find(lm_value_find(root, "o"), "deep"), "v"));
    lm_document_free(document);
    lm_document_free(NULL);
}

static void test_strings(void **state)
{
    (void)state;
    struct lm_document *document = parse("[\"\\u0000a\\n\\\"\\/\", \"\\ud83d\\ude00\\u00e4\", \"\", \"\xf0\x9f\x98\x80\", \"\\\\u12\"]");
    const struct lm_value *items = lm_document_root(document)->items;
    assert_int_equal(items[0].length, 5);
    assert_memory_equal(items[0].text, "\0a\n\"/", 6);
    assert_string_equal(items[1].text, "\xf0\x9f\x98\x80\xc3\xa4");
    assert_int_equal(items[2].length, 0);
    assert_string_equal(items[2].text, "");
    assert_string_equal(items[3].text, "\xf0\x9f\x98\x80");
    assert_string_equal(items[4].text, "\\u12");
    lm_document_free(document);
}

static void test_typed_access(void **state)
{
    (void)state;
    loam_error error;
    struct lm_document *document = parse("{\n \"a\": {\"b\": [0, 17, \"text\", 2.5, 3.0, 1e400, 99999999999999999999]},\n \"t\": false}");
    const struct lm_value *root = lm_document_root(document);
    const struct lm_value *list = lm_value_find(lm_value_find(root, "a"), "b");
    int64_t whole = -1;
    double number = -1;
    bool truth = true;
    const char *text = NULL;
    assert_ok(lm_value_int(document, &list->items[1], 0, 17, &whole, &error), &error);
    assert_int_equal(whole, 17);
    assert_ok(lm_value_int(document, &list->items[4], 0, 10, &whole, &error), &error);
    assert_int_equal(whole, 3);
    assert_fails(lm_value_int(document, &list->items[1], 18, 20, &whole, &error), &error, LOAM_EFORMAT, "in:2:17", "a.b[1]", "found 17",
                 "18 to 20");
    assert_int_equal(error.position, 18);
    assert_fails(lm_value_int(document, &list->items[2], 0, 9, &whole, &error), &error, LOAM_EFORMAT, "\"text\"", "whole number");
    assert_fails(lm_value_int(document, &list->items[3], 0, 9, &whole, &error), &error, LOAM_EFORMAT, "2.5");
    assert_fails(lm_value_int(document, &list->items[6], 0, INT64_MAX, &whole, &error), &error, LOAM_EFORMAT, "a.b[6]");
    assert_fails(lm_value_double(document, &list->items[5], &number, &error), &error, LOAM_EFORMAT, "1e400");
    assert_fails(lm_value_string(document, NULL, &text, &error), &error, LOAM_EFORMAT, "in: ", "missing");
    assert_fails(lm_value_bool(document, list, &truth, &error), &error, LOAM_EFORMAT, "an array", "true or false");
    assert_fails(lm_value_fail(document, &root->keys[1], &error, "bad %d", 4), &error, LOAM_EFORMAT, "in:3:2: t: bad 4");
    assert_ok(lm_value_double(document, &list->items[3], &number, &error), &error);
    assert_true(number == 2.5);
    assert_ok(lm_value_bool(document, lm_value_find(root, "t"), &truth, &error), &error);
    assert_false(truth);
    assert_ok(lm_value_string(document, &list->items[2], &text, &error), &error);
    assert_string_equal(text, "text");
    lm_document_free(document);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"", "EOF"}, {"  ", "EOF"}, {"[", "EOF"}, {"[1,]", "error"}, {"{\"a\":}", "error"}, {"{a:1}", "error"}, {"[1 2]", "error"},
        {"{\"a\":1,}", "error"}, {"nul", "error"}, {"nulll", "error"}, {"01", "error"}, {"+1", "error"}, {".5", "error"},
        {"1.", "error"}, {"NaN", "error"}, {"Infinity", "error"}, {"'a'", "error"}, {"\"a", "EOF"}, {"\"a\nb\"", "in:1:"},
        {"\"\\x41\"", "error"}, {"\"\\u12\"", "error"}, {"[1] [2]", "garbage"}, {"{} x", "garbage"}, {"// c\n1", "error"},
        {"{\"a\": 1, \"b\": 2, \"a\": 3}", "\"a\" stands here a second time"}, {"[{\"k\":{\"z\":1,\"z\":2}}]", "\"z\""},
        {"\"\\ud800\"", "surrogate"}, {"\"\\udc00\"", "surrogate"}, {"\"\\ud800\\ud800\"", "surrogate"}, {"\"x\\ud83dy\"", "surrogate"},
        {"\"\xff\"", "0xff"}, {"\"\xed\xa0\x80\"", "0xed"}, {"[1,\n2,\n  x]", "in:3:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i].text, strlen(cases[i].text), cases[i].word);
    assert_refused("1\0", 2, "in:1:");
    assert_refused("\"a\0b\"", 5, "in:1:");
}

static void test_places_of_a_line(void **state)
{
    (void)state;
    loam_error error;
    struct lm_document *document;
    assert_fails(lm_json_parse_line("{\"a\": ]}", 8, "f.jsonl", 17, &document, &error), &error, LOAM_EFORMAT, "f.jsonl:17:");
    assert_ok(lm_json_parse_line("{\"a\": 5}", 8, "f.jsonl", 17, &document, &error), &error);
    bool truth;
    assert_fails(lm_value_bool(document, lm_document_root(document)->items, &truth, &error), &error, LOAM_EFORMAT, "f.jsonl:17:7: a: found 5");
    lm_document_free(document);
}

static void test_byte_order_mark(void **state)
{
    (void)state;
    struct lm_document *document = parse("\xEF\xBB\xBF{\"a\": \"b\"}");
    const struct lm_value *root = lm_document_root(document);
    assert_int_equal(root->position, 3);
    assert_true(lm_value_is(lm_value_find(root, "a"), "b"));
    lm_document_free(document);
}

static void test_a_million_levels(void **state)
{
    (void)state;
    const size_t levels = 1000000;
    char *text = test_malloc(6 * levels);
    memset(text, '[', levels);
    memset(text + levels, ']', levels);
    assert_refused(text, 2 * levels, "512 levels");
    assert_refused(text, levels, "512 levels");
    for (size_t i = 0; i < levels; i++)
        memcpy(text + 5 * i, "{\"a\":", 5);
    assert_refused(text, 5 * levels, "512 levels");
    memset(text, '[', 512);
    memset(text + 512, ']', 512);
    loam_error error;
    struct lm_document *document;
    assert_ok(lm_json_parse(text, 1024, "in", &document, &error), &error);
    lm_document_free(document);
    test_free(text);
}

/* Keys enough for the table, and one of them twice. */
static void test_many_keys(void **state)
{
    (void)state;
    loam_error error;
    struct lm_bytes text = {0};
    struct lm_json_writer writer = lm_json_writer(&text, 0);
    lm_json_begin_object(&writer);
    for (int i = 0; i < 20000; i++) {
        char key[32];
        snprintf(key, sizeof key, "key %d", i * 7919);
        lm_json_key(&writer, key);
        lm_json_int(&writer, i);
    }
    lm_json_end_object(&writer);
    struct lm_document *document;
    assert_ok(lm_json_parse(text.data, text.length, "in", &document, &error), &error);
    const struct lm_value *root = lm_document_root(document);
    assert_int_equal(root->length, 20000);
    assert_string_equal(lm_value_find(root, "key 7919")->text, "1");
    lm_document_free(document);
    text.data[text.length - 1] = 0;
    text.length--;
    assert_ok(lm_bytes_format(&text, &error, ", \"key 7919\": 0}"), &error);
    assert_refused(text.data, text.length, "\"key 7919\" stands here a second time");
    lm_bytes_free(&text);
}

/* Long strings with escapes and tokens cut off at the end: the two buffers whose growth the memory must cover. */
static void test_long_strings(void **state)
{
    (void)state;
    for (size_t length = 1; length < 400000; length = length * 3 + 1) {
        char *text = test_malloc(length + 16);
        memset(text, 'a', length + 16);
        text[0] = '"';
        memcpy(text + length / 2 + 1, "\\n", 2);
        text[length + 3] = '"';
        loam_error error;
        struct lm_document *document;
        assert_ok(lm_json_parse(text, length + 4, "in", &document, &error), &error);
        assert_int_equal(lm_document_root(document)->length, length + 1);
        lm_document_free(document);
        assert_refused(text, length + 3, "EOF");
        test_free(text);
    }
}

static void assert_rewritten(const char *text, int indent, const char *wanted)
{
    loam_error error;
    struct lm_document *document = parse(text);
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, indent);
    lm_json_value(&writer, lm_document_root(document));
    assert_ok(lm_json_writer_finish(&writer, &error), &error);
    assert_string_equal(out.data, wanted);
    lm_bytes_free(&out);
    lm_document_free(document);
}

static void test_writer_copies_values(void **state)
{
    (void)state;
    assert_rewritten("{\"a\":[1,2.50,-0.1e+3,{}],\"b\":\"\\u0001\\\"\\\\\\t\\u007f\xc3\xa4\",\"c\":[],\"d\":null}", 0,
                     "{\"a\": [1, 2.50, -0.1e+3, {}], \"b\": \"\\u0001\\\"\\\\\\t\\u007f\xc3\xa4\", \"c\": [], \"d\": null}");
    assert_rewritten("{\"a\":[1,{\"b\":true}],\"c\":{}}", 2,
                     "{\n  \"a\": [\n    1,\n    {\n      \"b\": true\n    }\n  ],\n  \"c\": {}\n}");
    assert_rewritten("\"\\u0000\"", 0, "\"\\u0000\"");
    assert_rewritten("0", 0, "0");
}

static void test_writer_makes_json_of_anything(void **state)
{
    (void)state;
    loam_error error;
    setlocale(LC_ALL, "de_DE.UTF-8");
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 0);
    lm_json_begin_array(&writer);
    lm_json_double(&writer, NAN);
    lm_json_double(&writer, -INFINITY);
    lm_json_double(&writer, 1234.5);
    lm_json_double(&writer, 3);
    lm_json_double(&writer, 1e-5);
    lm_json_int(&writer, INT64_MIN);
    lm_json_string(&writer, "a\xff\xc3z\xe2\x82", 6);
    lm_json_bool(&writer, false);
    lm_json_text(&writer, "");
    lm_json_end_array(&writer);
    setlocale(LC_ALL, "");
    assert_ok(lm_json_writer_finish(&writer, &error), &error);
    assert_string_equal(out.data, "[null, null, 1234.5, 3.0, 1e-05, -9223372036854775808, "
                                  "\"a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\", false, \"\"]");
    lm_bytes_free(&out);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    loam_error error;
    const char *text = "{\"a\": [1, 2, {\"b\": \"x\\ny\"}], \"k1\":1,\"k2\":1,\"k3\":1,\"k4\":1,\"k5\":1,\"k6\":1,\"k7\":1,\"k8\":1,"
                       "\"k9\":1,\"k10\":1,\"k11\":1,\"k12\":1,\"k13\":1, \"z\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,"
                       "19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52]}";
    int code = LOAM_ENOMEM, n = 0;
    while (code != LOAM_OK) {
        struct lm_document *document = NULL;
        assert_true(++n < 100);
        lm_memory_fail_after(n);
        code = lm_json_parse(text, strlen(text), "in", &document, &error);
        lm_memory_fail_after(-1);
        if (code != LOAM_OK)
            assert_int_equal(code, LOAM_ENOMEM);
        lm_document_free(document);
    }
    assert_true(n > 5);
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 0);
    lm_memory_fail_after(1);
    lm_json_text(&writer, "abc");
    lm_memory_fail_after(-1);
    lm_json_text(&writer, "abc");
    assert_fails(lm_json_writer_finish(&writer, &error), &error, LOAM_ENOMEM, "not enough memory");
    lm_bytes_free(&out);
}

static void test_files(void **state)
{
    (void)state;
    loam_error error;
    struct lm_document *document;
    const char *folder = test_folder();
    const char *path = test_path(folder, "a.json");
    assert_ok(lm_file_replace(path, "{\"a\":\n 1", 8, &error), &error);
    assert_fails(lm_json_read(path, &document, &error), &error, LOAM_EFORMAT, path, ":2:");
    assert_fails(lm_json_read(test_path(folder, "none"), &document, &error), &error, LOAM_ENOTFOUND, "none");
    assert_fails(lm_json_read(folder, &document, &error), &error, LOAM_EIO, folder);
    assert_ok(lm_file_replace(path, "[]", 2, &error), &error);
    assert_ok(lm_json_read(path, &document, &error), &error);
    lm_document_free(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),          cmocka_unit_test(test_strings),
        cmocka_unit_test(test_typed_access),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_places_of_a_line), cmocka_unit_test(test_byte_order_mark),
        cmocka_unit_test(test_a_million_levels), cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_long_strings),  cmocka_unit_test(test_writer_copies_values),
        cmocka_unit_test(test_writer_makes_json_of_anything), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
