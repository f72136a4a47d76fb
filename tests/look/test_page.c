/* Pages as they are shown: screens at several widths beside stored text, SVG parsed and its labels and ranges read, HTML and JSON.
 * LOAM_REWRITE=1 writes the stored screens anew. */
#include "support/support.h"

#include "look/page.h"

#include <math.h>

static const char *const words[] = {"A", "\xC2\xB7ripe", "\xC2\xB7<b>&\"", "\xE4\xB8\x96\xE7\x95\x8C", "\xE2\x86\xB5"};
enum { WORDS = 5 };

static struct lm_page *make_page(void)
{
    loam_error error;
    double map[WORDS * WORDS], signs[12], bars[WORDS] = {0.5, 0.25, -0.125, 0, 1}, lines[2 * 8];
    struct lm_page *page = lm_page_create("A page", &error);
    assert_non_null(page);
    lm_page_section(page, "First part");
    lm_page_say(page, "What is said here is longer than the narrowest of the screens, so that it must be cut into lines between words.");
    lm_page_fact(page, "count", "number of words", "", 0, WORDS);
    lm_page_fact(page, "rate", "rate of something that has a rather long name", "a second", 4, 12.34567);
    lm_page_fact_text(page, "name", "a name", words[2]);
    for (int i = 0; i < WORDS * WORDS; i++)
        map[i] = i % WORDS > i / WORDS ? NAN : 1.0 / (i / WORDS + 1);
    for (int i = 0; i < 12; i++)
        signs[i] = (i - 6) / 6.0;
    for (int i = 0; i < 16; i++)
        lines[i] = i % 2 ? i / 15.0 : 1 - i / 15.0;
    struct lm_block block = {.kind = LM_BLOCK_TOKENS, .name = "tokens", .title = "Tokens", .rows = WORDS, .columns = 1,
                             .row_names = words, .values = (const double[]){1, 2, 3, 4, 5}};
    lm_page_add(page, &block);
    block = (struct lm_block){.kind = LM_BLOCK_HEAT, .name = "map", .title = "A map", .row_axis = "looks", .column_axis = "looked at",
                              .unit = "weight", .rows = WORDS, .columns = WORDS, .row_names = words, .column_names = words,
                              .values = map, .high = 1, .decimals = 2};
    lm_page_add(page, &block);
    block = (struct lm_block){.kind = LM_BLOCK_HEAT, .name = "signs", .title = "Both signs", .rows = 2, .columns = 6, .values = signs,
                              .both_signs = true};
    lm_page_add(page, &block);
    block = (struct lm_block){.kind = LM_BLOCK_BARS, .name = "bars", .title = "Bars", .row_axis = "word", .column_axis = "height",
                              .rows = WORDS, .columns = 1, .row_names = words, .values = bars, .decimals = 3};
    lm_page_add(page, &block);
    static const char *const curves[] = {"falling", "rising"};
    block = (struct lm_block){.kind = LM_BLOCK_LINES, .name = "lines", .title = "Curves", .row_axis = "step", .unit = "height",
                              .rows = 8, .columns = 2, .column_names = curves, .values = lines, .decimals = 3};
    lm_page_add(page, &block);
    block = (struct lm_block){.kind = LM_BLOCK_TABLE, .name = "wide", .title = "More columns than a screen has room for", .rows = WORDS,
                              .columns = WORDS, .row_names = words, .column_names = words, .values = map, .decimals = 8};
    lm_page_add(page, &block);
    return page;
}

static void compare(const char *name, const struct lm_bytes *screen)
{
    char path[1024];
    struct lm_bytes stored = {0};
    loam_error error;
    snprintf(path, sizeof path, "%s/look/screens/%s", LOAM_TESTS, name);
    if (getenv("LOAM_REWRITE"))
        assert_ok(lm_file_replace(path, screen->data, screen->length, &error), &error);
    assert_ok(lm_file_read(path, 0, &stored, &error), &error);
    if (stored.length != screen->length || memcmp(stored.data, screen->data, stored.length) != 0)
        fail_msg("%s: the screen is not as stored; it is now:\n%s", name, screen->data);
    lm_bytes_free(&stored);
}

/* No line is wider than the screen: characters of two columns count two. */
static void check_width(const char *text, int width)
{
    int used = 0;
    while (*text) {
        uint32_t character;
        if (*text == '\x1b') {
            text += strcspn(text, "m") + 1;
            continue;
        }
        const size_t length = lm_utf8_decode(text, strlen(text), &character);
        assert_true(length > 0);
        used = *text == '\n' ? 0 : used + lm_utf8_width(character);
        if (used > width)
            fail_msg("a line is wider than %d: %.60s", width, text);
        text += length;
    }
}

static void test_screens(void **state)
{
    static const int widths[] = {60, 80, 120};
    static const char *const forms[] = {"plain", "unicode", "colour"};
    struct lm_page *page = make_page();
    (void)state;
    for (int i = 0; i < 3; i++)
        for (int form = 0; form < 3; form++) {
            const struct lm_text_style style = {.width = widths[i], .unicode = form > 0, .colour = form == 2};
            struct lm_bytes screen = {0};
            loam_error error;
            char name[64];
            assert_ok(lm_page_text(page, &style, &screen, &error), &error);
            check_width(screen.data, widths[i]);
            for (size_t k = 0; k < screen.length; k++) {
                assert_true(form > 0 || (unsigned char)screen.data[k] < 0x80);
                assert_true(form == 2 || screen.data[k] != '\x1b');
            }
            snprintf(name, sizeof name, "%s_%d.txt", forms[form], widths[i]);
            compare(name, &screen);
            lm_bytes_free(&screen);
        }
    lm_page_free(page);
}

/* --- SVG: a small reader of XML that knows tags, attributes and text, and whether all is closed. --- */

struct svg {
    const char *at;
    int depth, rects, texts, polylines, titles;
    struct lm_bytes all_text;
};

static void read_tag(struct svg *svg)
{
    static char open[64][32];
    const char *end = strchr(svg->at, '>');
    assert_non_null(end);
    const bool closing = svg->at[1] == '/', empty = end[-1] == '/';
    const char *name = svg->at + 1 + closing;
    const size_t length = strcspn(name, " />");
    assert_true(length > 0 && length < 32);
    int quotes = 0;
    for (const char *s = svg->at; s < end; s++)
        quotes += *s == '"';
    assert_true(quotes % 2 == 0);
    if (closing) {
        assert_true(svg->depth > 0);
        svg->depth--;
        if (strncmp(open[svg->depth], name, length) != 0)
            fail_msg("</%.*s> closes <%s>", (int)length, name, open[svg->depth]);
    } else {
        svg->rects += length == 4 && strncmp(name, "rect", 4) == 0;
        svg->texts += length == 4 && strncmp(name, "text", 4) == 0;
        svg->polylines += length == 8 && strncmp(name, "polyline", 8) == 0;
        svg->titles += length == 5 && strncmp(name, "title", 5) == 0;
        if (!empty) {
            assert_true(svg->depth < 64);
            snprintf(open[svg->depth++], 32, "%.*s", (int)length, name);
        }
    }
    svg->at = end + 1;
}

static void read_svg(const char *text, struct svg *svg)
{
    *svg = (struct svg){.at = text};
    while (*svg->at) {
        const size_t words_here = strcspn(svg->at, "<");
        assert_true(!memchr(svg->at, '>', words_here) || strstr(svg->at, "</style>"));
        lm_bytes_append(&svg->all_text, svg->at, words_here, NULL);
        lm_bytes_append(&svg->all_text, "|", 1, NULL);
        svg->at += words_here;
        if (*svg->at)
            read_tag(svg);
    }
    assert_int_equal(svg->depth, 0);
}

static void has(const struct svg *svg, const char *label)
{
    if (!strstr(svg->all_text.data, label))
        fail_msg("the picture lacks '%s'", label);
}

static void test_svg(void **state)
{
    struct lm_page *page = make_page();
    struct lm_bytes out = {0};
    struct svg svg;
    loam_error error;
    (void)state;
    assert_ok(lm_page_svg(page, &out, &error), &error);
    assert_int_equal(lm_utf8_check(out.data, out.length), out.length);
    read_svg(out.data, &svg);
    assert_int_equal(svg.polylines, 2);
    assert_true(svg.rects >= WORDS + 15 + 12 + WORDS);    /* tokens, cells, cells, bars */
    assert_true(svg.titles >= 5 + 15 + 12);
    has(&svg, "|A map|");
    has(&svg, "|looks|");                 /* axes */
    has(&svg, "|looked at|");
    has(&svg, "|weight|");                /* unit and ends of the legend */
    has(&svg, "|0|");
    has(&svg, "|1|");
    has(&svg, "|-1|");                    /* the signs' legend goes from -1 to 1 */
    has(&svg, "|height|");
    has(&svg, "|rising|");
    has(&svg, "|-0.125|");                /* a bar's number */
    has(&svg, "&lt;b&gt;&amp;&quot;");    /* what a token holds cannot leave its place */
    has(&svg, "\xE4\xB8\x96\xE7\x95\x8C, A: 0.2500");
    assert_null(strstr(out.data, "<b>"));
    assert_non_null(strstr(out.data, "prefers-color-scheme:dark"));
    lm_bytes_free(&svg.all_text);
    lm_bytes_free(&out);
    lm_page_free(page);

    page = lm_page_create("Words only", &error);
    lm_page_say(page, "Nothing to draw.");
    assert_fails(lm_page_svg(page, &out, &error), &error, LOAM_EUSAGE, "no picture");
    lm_bytes_free(&out);
    lm_page_free(page);
}

static void test_html_and_json(void **state)
{
    struct lm_page *page = make_page();
    struct lm_bytes html = {0}, json = {0};
    struct lm_document *document;
    loam_error error;
    (void)state;
    assert_ok(lm_page_html(page, &html, &error), &error);
    assert_non_null(strstr(html.data, "<bdi>\xC2\xB7&lt;b&gt;&amp;&quot;</bdi>"));
    assert_non_null(strstr(html.data, "default-src 'none'"));
    assert_null(strstr(html.data, "http-equiv=\"refresh\""));
    for (const char *at = html.data; (at = strstr(at, "http")); at++)    /* nothing is fetched: only the name of SVG is an address */
        assert_true(strncmp(at, "http://www.w3.org/2000/svg", 26) == 0 || strncmp(at, "http-equiv", 10) == 0);
    assert_ok(lm_page_json(page, &json, &error), &error);
    assert_ok(lm_json_parse(json.data, json.length, "page", &document, &error), &error);
    const struct lm_value *blocks = lm_value_find(lm_document_root(document), "blocks"), *map = &blocks->items[6];
    assert_true(lm_value_is(lm_value_find(map, "name"), "map"));
    assert_int_equal(lm_value_find(map, "values")->items[0].items[1].kind, LM_NULL);
    assert_string_equal(lm_value_find(map, "values")->items[1].items[0].text, "0.5");
    lm_document_free(document);
    lm_bytes_free(&html);
    lm_bytes_free(&json);
    lm_page_free(page);
}

/* What fails while a page is made shows when it is shown, whichever allocation it is. */
static void test_no_memory(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 400; n++) {
        loam_error error;
        struct lm_bytes out = {0};
        lm_memory_fail_after(n);
        struct lm_page *page = lm_page_create("Page", &error);
        int code = page ? LOAM_OK : LOAM_ENOMEM;
        if (page) {
            const struct lm_block block = {.kind = LM_BLOCK_HEAT, .name = "m", .title = "M", .rows = 2, .columns = 2, .row_names = words,
                                           .column_names = words, .values = (const double[]){1, 2, 3, 4}};
            lm_page_say(page, "Words.");
            lm_page_add(page, &block);
            code = lm_page_html(page, &out, &error);
        }
        lm_memory_fail_after(-1);
        lm_page_free(page);
        lm_bytes_free(&out);
        if (code == LOAM_OK)
            return;
        assert_int_equal(code, LOAM_ENOMEM);
    }
    fail_msg("the page never succeeds");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_screens),
        cmocka_unit_test(test_svg),
        cmocka_unit_test(test_html_and_json),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
