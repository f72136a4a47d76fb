/* Markdown into Telegram's entities, and long texts into messages. */
#include "support/support.h"

#include "room/markup.h"

static loam_error error;

/* "text|type offset length extra|…" of the whole. */
static void show(const char *markdown, char out[4096])
{
    static const char *const names[] = {"bold", "italic", "strike", "quote", "link", "code", "pre"};
    struct lm_markup markup = {0};
    assert_ok(lm_markup_make(markdown, strlen(markdown), &markup, &error), &error);
    int to = snprintf(out, 4096, "%s", markup.text.data ? markup.text.data : "");
    for (size_t i = 0; i < markup.count; i++) {
        const struct lm_entity *entity = &markup.entities[i];
        to += snprintf(out + to, (size_t)(4096 - to), "|%s %zu-%zu%s%s", names[entity->kind], entity->begin, entity->end,
                       entity->extra == SIZE_MAX ? "" : " ", entity->extra == SIZE_MAX ? "" : markup.extra.data + entity->extra);
    }
    lm_markup_free(&markup);
}

static void markdown(void **state)
{
    (void)state;
    static const struct {
        const char *markdown, *shown;
    } cases[] = {
        {"", ""},
        {"   \n\n", ""},
        {"plain snake_case_name 2*3*4", "plain snake_case_name 234|italic 23-24"},
        {"plain snake_case_name 2 * 3 * 4", "plain snake_case_name 2 * 3 * 4"},
        {"**bold** and *it* and ~~gone~~ and `x = 1`", "bold and it and gone and x = 1|bold 0-4|italic 9-11|strike 16-20|code 25-30"},
        {"***both***", "both|bold 0-4|italic 0-4"},
        {"**a `b` c**", "a b c|bold 0-2|code 2-3|bold 3-5"},
        {"# Title\ntext\n\nmore\nlines", "Title\n\ntext\n\nmore\nlines|bold 0-5"},
        {"- a\n- b\n  - c\n\n1. x\n2. y", "\xe2\x80\xa2 a\n\xe2\x80\xa2 b\n  \xe2\x80\xa2 c\n\n1. x\n2. y"},
        {"3. x\n4. y", "3. x\n4. y"},
        {"- [ ] do\n- [x] done", "\xe2\x98\x90 do\n\xe2\x98\x91 done"},
        {"see\n```c\nint a;\n\nint b;\n```\nthere", "see\n\nint a;\n\nint b;\n\nthere|pre 5-19 c"},
        {"```\nunclosed", "unclosed|pre 0-8"},
        {"[a](https://e.org/x?y=1) ![p](http://e.org/p.png)", "a p|link 0-1 https://e.org/x?y=1|link 2-3 http://e.org/p.png"},
        {"[a](javascript:alert(1)) [b](/rel)", "a (javascript:alert(1)) b (/rel)"},
        {"[`a`](https://e.org)", "a|link 0-1 https://e.org"},
        {"https://e.org/a_b_c", "https://e.org/a_b_c|link 0-19 https://e.org/a_b_c"},
        {"> quoted\n> > deeper\n\nafter", "quoted\n\ndeeper\n\nafter|quote 0-14"},
        {"a\n\n---\n\nb", "a\n\n\xe2\x80\x94\xe2\x80\x94\xe2\x80\x94\n\nb"},
        {"| a | b |\n|---|---|\n| **1** | 2 |", "a | b\n1 | 2|pre 0-11"},
        {"a &amp; b &lt;c&gt; &#65;&#x1F600; &nosuch;", "a & b <c> A\xf0\x9f\x98\x80 &nosuch;"},
        {"<b>not html</b> <script>", "<b>not html</b> <script>"},
        {"\\*not\\*", "*not*"},
        {"** **", "\xe2\x80\x94\xe2\x80\x94\xe2\x80\x94"},
        {"*\xf0\x9f\x98\x80*", "\xf0\x9f\x98\x80|italic 0-4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[4096];
        show(cases[i].markdown, out);
        if (strcmp(out, cases[i].shown))
            fail_msg("%s\nfound  %s\nwanted %s", cases[i].markdown, out, cases[i].shown);
    }
}

static void parts(const char *markdown_text, size_t units, char out[8192])
{
    struct lm_markup markup = {0};
    assert_ok(lm_markup_make(markdown_text, strlen(markdown_text), &markup, &error), &error);
    size_t to = 0;
    out[0] = 0;
    for (size_t begin = 0, next; begin < markup.text.length; begin = next) {
        struct lm_bytes json = {0};
        struct lm_json_writer writer = lm_json_writer(&json, -1);
        const size_t end = lm_markup_cut(&markup, begin, units, &next);
        assert_true(next > begin && end > begin && end <= next);
        assert_true(lm_utf16_units(markup.text.data + begin, end - begin) <= units);
        lm_json_begin_array(&writer);
        lm_markup_write(&markup, begin, end, 0, &writer);
        lm_json_end_array(&writer);
        assert_ok(lm_json_writer_finish(&writer, &error), &error);
        to += (size_t)snprintf(out + to, 8192 - to, "[%.*s]%s", (int)(end - begin), markup.text.data + begin,
                               strcmp(json.data, "[]") ? json.data : "");
        lm_bytes_free(&json);
    }
    lm_markup_free(&markup);
}

static void cut(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t units;
        const char *parts;
    } cases[] = {
        {"short", 10, "[short]"},
        {"one two\n\nthree four", 12, "[one two][three four]"},
        {"one two\n\nthree four", 18, "[one two][three four]"},
        {"one two\nthree four", 14, "[one two][three four]"},
        {"one two three four", 9, "[one two][three][four]"},
        {"0123456789abcdef", 10, "[0123456789][abcdef]"},
        {"a\n\nbcdefghijklmnop qrs", 12, "[a\n\nbcdefghij][klmnop qrs]"},
        {"\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80", 5, "[\xf0\x9f\x98\x80\xf0\x9f\x98\x80][\xf0\x9f\x98\x80]"},
        {"ae\xcc\x81x", 2, "[a][e\xcc\x81][x]"},
        {"\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x94\xac!", 5, "[\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x94\xac][!]"},
        {"**bold text here** end", 10, "[bold text]{b}[here end]{b}"},
        {"```py\nif a:\n    b\n    c\n```", 12,
         "[if a:\n    b][{\"type\":\"pre\",\"offset\":0,\"length\":11,\"language\":\"py\"}]"
         "[    c][{\"type\":\"pre\",\"offset\":0,\"length\":5,\"language\":\"py\"}]"},
        {"\xf0\x9f\x98\x80 **b**", 20, "[\xf0\x9f\x98\x80 b][{\"type\":\"bold\",\"offset\":3,\"length\":1}]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[8192], *at;
        parts(cases[i].text, cases[i].units, out);
        while ((at = strstr(out, "[{\"type\":\"bold\"")) && strstr(cases[i].parts, "{b}")) {
            char *end = strchr(at, ']');
            memcpy(at, "{b}", 3);
            memmove(at + 3, end + 1, strlen(end + 1) + 1);
        }
        if (strcmp(out, cases[i].parts))
            fail_msg("%s at %zu\nfound  %s\nwanted %s", cases[i].text, cases[i].units, out, cases[i].parts);
    }
}

/* Whatever is written: parts fit, miss nothing but blanks, cut no character, and their entities lie inside. */
static void random_texts(void **state)
{
    (void)state;
    static const char *const pieces[] = {"word ", "**", "*", "`", "```\n", "\n", "\n\n", "- ", "> ", "[x](http://e.org) ", "\xf0\x9f\x98\x80",
                                         "e\xcc\x81", "| a | b |\n|---|---|\n", "~~", "# ", "   ", "verylongwordwithoutanyblank", "1. "};
    struct lm_random random = lm_random_seed(7, 0);
    for (int round = 0; round < (TEST_SANITIZED ? 300 : 3000); round++) {
        struct lm_bytes text = {0}, joined = {0}, whole = {0};
        struct lm_markup markup = {0};
        const size_t count = lm_random_below(&random, 60), units = 8 + lm_random_below(&random, 60);
        lm_bytes_append(&text, "", 0, NULL);
        for (size_t i = 0; i < count; i++) {
            const char *piece = pieces[lm_random_below(&random, sizeof pieces / sizeof *pieces)];
            lm_bytes_append(&text, piece, strlen(piece), NULL);
        }
        assert_ok(lm_markup_make(text.data ? text.data : "", text.length, &markup, &error), &error);
        for (size_t begin = 0, next; begin < markup.text.length; begin = next) {
            const size_t end = lm_markup_cut(&markup, begin, units, &next);
            assert_true(begin < end && end <= next && next <= markup.text.length);
            assert_true(lm_utf16_units(markup.text.data + begin, end - begin) <= units);
            assert_int_equal(lm_utf8_check(markup.text.data + begin, end - begin), end - begin);
            for (size_t i = begin; i < end; i++)
                if (!strchr(" \n\t", markup.text.data[i]))
                    lm_bytes_append(&joined, markup.text.data + i, 1, NULL);
        }
        for (size_t i = 0; i < markup.text.length; i++)
            if (!strchr(" \n\t", markup.text.data[i]))
                lm_bytes_append(&whole, markup.text.data + i, 1, NULL);
        assert_string_equal(joined.data ? joined.data : "", whole.data ? whole.data : "");
        for (size_t i = 0; i < markup.count; i++) {
            assert_true(markup.entities[i].begin < markup.entities[i].end && markup.entities[i].end <= markup.text.length);
            for (size_t j = i + 1; j < markup.count; j++) {
                const struct lm_entity *a = &markup.entities[i], *b = &markup.entities[j];
                const bool apart = b->begin >= a->end, code = a->kind >= LM_ENTITY_CODE || b->kind >= LM_ENTITY_CODE;
                if (!apart && code && a->kind != LM_ENTITY_QUOTE && b->kind != LM_ENTITY_QUOTE)
                    fail_msg("%s: code and something else overlap", text.data);
            }
        }
        lm_markup_free(&markup);
        lm_bytes_free(&text);
        lm_bytes_free(&joined);
        lm_bytes_free(&whole);
    }
}

static void many_entities(void **state)
{
    (void)state;
    struct lm_bytes text = {0};
    struct lm_markup markup = {0};
    for (int i = 0; i < 250; i++)
        lm_bytes_format(&text, NULL, "**b%d** ", i);
    assert_ok(lm_markup_make(text.data, text.length, &markup, &error), &error);
    size_t count = 0;
    for (size_t begin = 0, next; begin < markup.text.length; begin = next, count++) {
        const size_t end = lm_markup_cut(&markup, begin, LM_MESSAGE_UNITS, &next);
        size_t within = 0;
        for (size_t i = 0; i < markup.count; i++)
            within += markup.entities[i].begin < end && markup.entities[i].end > begin;
        assert_true(within <= LM_MESSAGE_ENTITIES);
    }
    assert_int_equal(count, 3);
    lm_markup_free(&markup);
    lm_bytes_free(&text);
}

static void without_memory(void **state)
{
    (void)state;
    static const char text[] = "# T\n**a `b` c** [l](http://e.org)\n```c\nx\n```\n- i\n";
    int code = LOAM_ENOMEM;
    for (int64_t n = 1; code != LOAM_OK; n++) {
        struct lm_markup markup = {0};
        lm_memory_fail_after(n);
        code = lm_markup_make(text, strlen(text), &markup, &error);
        lm_memory_fail_after(-1);
        assert_true(code == LOAM_OK || code == LOAM_ENOMEM);
        lm_markup_free(&markup);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(markdown), cmocka_unit_test(cut), cmocka_unit_test(random_texts),
                                       cmocka_unit_test(many_entities), cmocka_unit_test(without_memory)};
    return cmocka_run_group_tests_name("room/markup", tests, NULL, NULL);
}
