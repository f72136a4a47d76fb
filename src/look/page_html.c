/* A page as one HTML file that needs nothing else: no script, no font, no network. */
#include "page.h"

#include <math.h>
#include <string.h>

static const char HEAD[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,"
    "initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
    "<style>:root{--ink:#1a1a1a;--paper:#fff;--soft:#595959;--rule:#d0d0d0}"
    "@media(prefers-color-scheme:dark){:root{--ink:#eee;--paper:#16181c;--soft:#b3b3b3;--rule:#3a3d44}}"
    "body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid var(--rule)}p{max-width:42rem}"
    "table{border-collapse:collapse;margin:.5rem 0 1.2rem;font-variant-numeric:tabular-nums}caption{text-align:left;font-weight:600}"
    "caption small,figcaption{font-weight:400;color:var(--soft)}th,td{padding:.15rem .6rem;border-bottom:1px solid var(--rule)}"
    "th{font-weight:400;color:var(--soft);text-align:left}td{text-align:right}td.w{text-align:left}.scroll{overflow-x:auto}"
    "figure{margin:1rem 0;overflow-x:auto}dl{display:grid;grid-template-columns:fit-content(60%) auto;gap:.1rem 1.5rem}"
    "dt{color:var(--soft)}dt,dd{overflow-wrap:anywhere}dd{margin:0;font-variant-numeric:tabular-nums}</style><title>";

struct html {
    struct lm_bytes *out;
    loam_error *error;
    int code, figures;
};

static void put(struct html *html, const char *text)
{
    if (!html->code)
        html->code = lm_bytes_append(html->out, text, strlen(text), html->error);
}

static void put_words(struct html *html, const char *text)
{
    if (!html->code)
        html->code = lm_put_escaped(html->out, text ? text : "", html->error);
}

/* A token or a name: set apart, so that scripts written from the right do not turn their neighbours round. */
static void put_name(struct html *html, const char *text)
{
    put(html, "<bdi>");
    put_words(html, text);
    put(html, "</bdi>");
}

static void put_value(struct html *html, const struct lm_block *block, int64_t at)
{
    char number[40];
    if (block->texts) {
        put_name(html, block->texts[at]);
    } else if (!isnan(block->values[at])) {
        lm_show_number(block->values[at], block->decimals, number);
        put_words(html, number);
    }
}

static void put_caption(struct html *html, const struct lm_block *block)
{
    put_words(html, block->title);
    if (block->unit && *block->unit) {
        put(html, " [");
        put_words(html, block->unit);
        put(html, "]");
    }
    if (!block->row_axis && !block->column_axis)
        return;
    put(html, "<br><small>");
    if (block->row_axis) {
        put(html, "rows: ");
        put_words(html, block->row_axis);
    }
    if (block->column_axis) {
        put(html, block->row_axis ? "; columns: " : "columns: ");
        put_words(html, block->column_axis);
    }
    put(html, "</small>");
}

static void put_table(struct html *html, const struct lm_block *block)
{
    char room[24];
    put(html, "<div class=\"scroll\"><table><caption>");
    put_caption(html, block);
    put(html, "</caption>");
    if (block->column_names || block->columns > 1) {
        put(html, "<tr><th></th>");
        for (int64_t column = 0; column < block->columns; column++) {
            put(html, "<th scope=\"col\">");
            put_name(html, lm_block_name(block->column_names, column, room));
            put(html, "</th>");
        }
        put(html, "</tr>\n");
    }
    for (int64_t row = 0; row < block->rows; row++) {
        put(html, "<tr><th scope=\"row\">");
        put_name(html, lm_block_name(block->row_names, row, room));
        put(html, "</th>");
        for (int64_t column = 0; column < block->columns; column++) {
            put(html, block->texts ? "<td class=\"w\">" : "<td>");
            put_value(html, block, row * block->columns + column);
            put(html, "</td>");
        }
        put(html, "</tr>\n");
    }
    put(html, "</table></div>\n");
}

static void put_fact(struct html *html, const struct lm_block *block)
{
    put(html, "<dt>");
    put_words(html, block->title);
    put(html, "</dt><dd>");
    put_value(html, block, 0);
    if (block->unit && *block->unit) {
        put(html, " ");
        put_words(html, block->unit);
    }
    put(html, "</dd>");
}

static void put_block(struct html *html, const struct lm_block *block)
{
    switch (block->kind) {
    case LM_BLOCK_SECTION:
        put(html, "<h2>");
        put_words(html, block->title);
        put(html, "</h2>\n");
        break;
    case LM_BLOCK_TEXT:
        put(html, "<p>");
        put_words(html, block->title);
        put(html, "</p>\n");
        break;
    case LM_BLOCK_TABLE:
        put_table(html, block);
        break;
    case LM_BLOCK_FACT:
        put_fact(html, block);
        break;
    default:
        put(html, "<figure>");
        if (!html->code)
            html->code = lm_block_svg(block, ++html->figures, html->out, html->error);
        put(html, "</figure>\n");
    }
}

int lm_html_begin(const char *title, struct lm_bytes *out, loam_error *error)
{
    int code = lm_bytes_append(out, HEAD, sizeof HEAD - 1, error);
    if (!code)
        code = lm_put_escaped(out, title, error);
    return code ? code : lm_bytes_format(out, error, "</title></head><body>\n");
}

int lm_page_html(const struct lm_page *page, struct lm_bytes *out, loam_error *error)
{
    struct html html = {.out = out, .error = error, .code = lm_page_check(page, error)};
    if (!html.code)
        html.code = lm_html_begin(page->title, out, error);
    put(&html, "<h1>");
    put_words(&html, page->title);
    put(&html, "</h1>\n");
    for (size_t i = 0; i < page->count; i++) {
        const bool fact = page->blocks[i].kind == LM_BLOCK_FACT;
        if (fact && (i == 0 || page->blocks[i - 1].kind != LM_BLOCK_FACT))
            put(&html, "<dl>");
        put_block(&html, &page->blocks[i]);
        if (fact && (i + 1 == page->count || page->blocks[i + 1].kind != LM_BLOCK_FACT))
            put(&html, "</dl>\n");
    }
    put(&html, "</body></html>\n");
    return html.code;
}
