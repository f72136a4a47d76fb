/* The Jinja interpreter against Jinja2 itself (tests/golden/make_jinja.py), against the chat templates of real
 * checkpoints, and against templates that would never end. */
#include "support/support.h"

#include "data/jinja.h"

static loam_error error;

static int render(const char *template, const struct lm_jinja_call *call, struct lm_bytes *text)
{
    struct lm_jinja *jinja;
    int code = lm_jinja_parse(template, strlen(template), "made", &jinja, &error);
    if (code)
        return code;
    code = lm_jinja_render(jinja, call, text, &error);
    lm_jinja_free(jinja);
    return code;
}

static void as_jinja2(void **state)
{
    (void)state;
    struct lm_document *document;
    struct lm_bytes text = {0};
    int failures = 0;
    assert_ok(lm_json_read(LOAM_TESTS "/golden/jinja.json", &document, &error), &error);
    const struct lm_value *root = lm_document_root(document), *cases = lm_value_find(root, "cases");
    const struct lm_jinja_call call = {.variables = lm_value_find(root, "variables")};
    assert_true(cases->length > 150);
    for (size_t i = 0; i < cases->length; i++) {
        const char *template = lm_value_find(&cases->items[i], "template")->text;
        const struct lm_value *wanted = lm_value_find(&cases->items[i], "expected");
        memset(&error, 0, sizeof error);
        int code = render(template, &call, &text);
        const bool equal = code == LOAM_OK && wanted->kind == LM_STRING && wanted->length == text.length &&
                           (!text.length || !memcmp(text.data, wanted->text, text.length));
        if (wanted->kind == LM_NULL
                ? (code == LOAM_EFORMAT || code == LOAM_EUNSUPPORTED) && strstr(error.message, "made:")
                : equal)
            continue;
        failures++;
        print_message("%s\n  found  %s\n  wanted %s\n", template,
                      code        ? error.message
                      : text.data ? text.data
                                  : "",
                      wanted->kind == LM_STRING ? wanted->text : "an error");
    }
    lm_bytes_free(&text);
    lm_document_free(document);
    assert_int_equal(failures, 0);
}

/* {"messages": …, "add_generation_prompt": …, "bos_token": …, "eos_token": …} */
static struct lm_document *make_variables(const struct lm_value *messages, bool prompt, const char *bos,
                                          const char *eos)
{
    struct lm_bytes json = {0};
    struct lm_document *document;
    struct lm_json_writer writer = lm_json_writer(&json, -1);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "messages");
    lm_json_value(&writer, messages);
    lm_json_key(&writer, "add_generation_prompt");
    lm_json_bool(&writer, prompt);
    lm_json_key(&writer, "bos_token");
    lm_json_text(&writer, bos);
    lm_json_key(&writer, "eos_token");
    lm_json_text(&writer, eos);
    lm_json_end_object(&writer);
    assert_ok(lm_json_writer_finish(&writer, &error), &error);
    assert_ok(lm_json_parse(json.data, json.length, "variables", &document, &error), &error);
    lm_bytes_free(&json);
    return document;
}

static const char *text_of(const struct lm_value *object, const char *key)
{
    const struct lm_value *value = lm_value_find(object, key);
    return value && value->kind == LM_STRING ? value->text : NULL;
}

/* `cut`: bos at the begin and eos at the end are left out of what is compared. */
static void check_text(const char *name, const char *template, const struct lm_value *messages, bool prompt,
                       const char *bos, const char *eos, bool cut, const char *wanted)
{
    struct lm_document *variables = make_variables(messages, prompt, bos, eos);
    struct lm_bytes text = {0};
    assert_ok(render(template, &(struct lm_jinja_call){.variables = lm_document_root(variables)}, &text), &error);
    const char *found = text.data ? text.data : "";
    size_t length = text.length;
    if (cut && *bos && !strncmp(found, bos, strlen(bos)))
        found += strlen(bos), length -= strlen(bos);
    if (cut && *eos && length >= strlen(eos) && !strcmp(found + length - strlen(eos), eos))
        length -= strlen(eos);
    if (length != strlen(wanted) || memcmp(found, wanted, length))
        fail_msg("%s: found\n%.*s\nwanted\n%s", name, (int)length, found, wanted);
    lm_bytes_free(&text);
    lm_document_free(variables);
}

/* The system text within the first user message, as llama.cpp does it for templates without a system role. */
static struct lm_document *merge_system(const struct lm_value *messages)
{
    struct lm_bytes json = {0}, merged = {0};
    struct lm_document *document;
    struct lm_json_writer writer = lm_json_writer(&json, -1);
    lm_json_begin_array(&writer);
    for (size_t i = 1; i < messages->length; i++) {
        merged.length = 0;
        if (i == 1)
            assert_ok(lm_bytes_format(&merged, &error, "%s\n", text_of(&messages->items[0], "content")), &error);
        assert_ok(lm_bytes_format(&merged, &error, "%s", text_of(&messages->items[i], "content")), &error);
        lm_json_begin_object(&writer);
        lm_json_key(&writer, "role");
        lm_json_text(&writer, text_of(&messages->items[i], "role"));
        lm_json_key(&writer, "content");
        lm_json_text(&writer, merged.data);
        lm_json_end_object(&writer);
    }
    lm_json_end_array(&writer);
    assert_ok(lm_json_writer_finish(&writer, &error), &error);
    assert_ok(lm_json_parse(json.data, json.length, "merged", &document, &error), &error);
    lm_bytes_free(&json);
    lm_bytes_free(&merged);
    return document;
}

static void families(const struct lm_value *root)
{
    const struct lm_value *cases = lm_value_find(root, "cases"), *messages = lm_value_find(root, "conversation");
    int checked = 0;
    for (size_t i = 0; i < cases->length; i++) {
        const struct lm_value *item = &cases->items[i];
        const char *wanted = text_of(item, "expected_by_jinja"), *template = text_of(item, "template");
        const char *bos = text_of(item, "bos_token"), *eos = text_of(item, "eos_token");
        if (!wanted || !template)
            continue;
        struct lm_bytes text = {0};
        struct lm_document *merged = merge_system(messages), *plain = make_variables(messages, true, bos, eos);
        const bool takes_system =
            render(template, &(struct lm_jinja_call){.variables = lm_document_root(plain)}, &text) == LOAM_OK &&
            text.data && strstr(text.data, "You are a helpful assistant");
        check_text(text_of(item, "name"), template, takes_system ? messages : lm_document_root(merged), true, bos, eos,
                   true, wanted);
        lm_document_free(merged);
        lm_document_free(plain);
        lm_bytes_free(&text);
        checked++;
    }
    assert_true(checked >= 10);
}

static void checkpoints(void **state)
{
    (void)state;
    struct lm_document *document;
    const char *path = test_shared("chat/chat-template-cases.json");
    assert_ok(lm_json_read(path, &document, &error), &error);
    const struct lm_value *root = lm_document_root(document);
    families(root);
    lm_document_free(document);
}

/* What would not end, or take all memory, is stopped in bounded time. */
static void bounds(void **state)
{
    (void)state;
    static const struct {
        const char *template, *word;
    } cases[] = {
        {"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "made:1:"},
        {"{% for a in range(100000) %}{% for b in range(20) %}{{ b + 1 == a and a in [1, 2] }}{% endfor %}{% endfor %}",
         "steps"},
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deep"},
        {"{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}", "deep"},
        {"{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x == ns.x }}", "deep"},
        {"{% set ns = namespace(x=[1], y=[2]) %}{% for i in range(700) %}{% set ns.x = [ns.x] %}{% set ns.y = [ns.y] %}{% endfor %}"
         "{{ ns.x < ns.y }}", "deep"},
        {"{{ 'x' * 1000000000000 }}", "memory"},
        {"{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
         "made:1:"},
        {"{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(20) %}{% set ns.s = ns.s * 2 %}{% endfor %}"
         "{% for i in range(100) %}{{ ns.s }}{% endfor %}",
         "wrote more than"},
        {"{{ range(1000000) }}", "100000"},
        {"{{ 'ab' * 1000000 | replace('', 'x' * 1000000) }}", "made:1:"},
    };
    struct lm_bytes text = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(render(cases[i].template, &(struct lm_jinja_call){0}, &text), &error, LOAM_EFORMAT,
                     "made:1:", cases[i].word);
    struct lm_bytes deep = {0};
    for (int i = 0; i < 100000; i++)
        assert_ok(lm_bytes_append(&deep, "{{ (", i ? 1 : 4, &error), &error);
    for (int i = 0; deep.data && i < 100000; i++)
        deep.data[i] = i < 3 ? deep.data[i] : '(';
    assert_fails(render(deep.data, &(struct lm_jinja_call){0}, &text), &error, LOAM_EFORMAT, "deep");
    deep.length = 0;
    assert_ok(lm_bytes_append(&deep, "{{ 1", 4, &error), &error);
    for (int i = 0; i < 5000; i++)
        assert_ok(lm_bytes_append(&deep, "+1", 2, &error), &error);
    assert_ok(lm_bytes_append(&deep, " }}", 3, &error), &error);
    assert_fails(render(deep.data, &(struct lm_jinja_call){0}, &text), &error, LOAM_EFORMAT, "deep");
    lm_bytes_free(&deep);
    lm_bytes_free(&text);
}

static void places(void **state)
{
    (void)state;
    static const struct {
        const char *template, *place, *word;
        int code;
    } cases[] = {
        {"a\n\xc3\xa4 {{ n | nosuch }}", "made:2:10: ", "nosuch", LOAM_EUNSUPPORTED},
        {"\n{% if %}", "made:2:7: ", "expression", LOAM_EFORMAT},
        {"x\n{{ raise_exception('only user') }}", "made:2:", "only user", LOAM_EFORMAT},
        {"{% include 'x' %}", "made:1:4: ", "include", LOAM_EUNSUPPORTED},
        {"{{ a.b.c }}", "made:1:7: ", "'b'", LOAM_EFORMAT},
    };
    struct lm_bytes text = {0};
    struct lm_document *document;
    assert_ok(lm_json_parse("{\"a\":{}}", 8, "v", &document, &error), &error);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(render(cases[i].template, &(struct lm_jinja_call){.variables = lm_document_root(document)}, &text),
                     &error, cases[i].code, cases[i].place, cases[i].word);
    lm_document_free(document);
    lm_bytes_free(&text);
}

static void clock_and_spans(void **state)
{
    (void)state;
    struct lm_bytes text = {0};
    struct lm_jinja_spans spans = {0};
    assert_ok(render("{{ strftime_now('%d %b %Y') }}", &(struct lm_jinja_call){.now = 1722384000}, &text), &error);
    assert_string_equal(text.data, "31 Jul 2024");
    assert_ok(render("a{% generation %}bc{% endgeneration %}d{% generation %}e{% endgeneration %}",
                     &(struct lm_jinja_call){.generated = &spans}, &text),
              &error);
    assert_string_equal(text.data, "abcde");
    assert_int_equal(spans.length, 2);
    assert_true(spans.data[0].begin == 1 && spans.data[0].end == 3 && spans.data[1].begin == 4 &&
                spans.data[1].end == 5);
    lm_free(spans.data);
    lm_bytes_free(&text);
}

static void out_of_memory(void **state)
{
    (void)state;
    static const char template[] =
        "{% macro m(a) %}{{ a | upper }}{% endmacro %}{% for x in ['a', 'b'] %}{% set y %}{{ m(x) }}{% endset %}"
        "{{ {'k': y} | tojson }}{{ [x] | join(',') }}{{ 'a b'.split() }}{% endfor %}";
    int64_t n = 1;
    for (int code = LOAM_ENOMEM; code; n++) {
        struct lm_bytes text = {0};
        lm_memory_fail_after(n);
        code = render(template, &(struct lm_jinja_call){0}, &text);
        lm_memory_fail_after(-1);
        if (code)
            assert_fails(code, &error, LOAM_ENOMEM, "memory");
        lm_bytes_free(&text);
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_jinja2), cmocka_unit_test(checkpoints),     cmocka_unit_test(bounds),
        cmocka_unit_test(places),    cmocka_unit_test(clock_and_spans), cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
