/* Figures as SVG. Colours are those of Okabe and Ito (2008), which every kind of colour vision tells apart; a heat map has one hue
 * that grows with the value (two, blue and orange, around zero) and is laid over the background, so that it is right on light and on dark. */
#include "page.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MARGIN = 16, LINE = 18, PLOT_WIDTH = 560, PLOT_HEIGHT = 260, NAME_LIMIT = 24, MOST_CELLS = 262144 };

static const char STYLE[] =
    "<style>.loam{font:12px system-ui,sans-serif}.loam text{fill:#1a1a1a}.loam .t{font-size:14px;font-weight:600}"
    ".loam .a{fill:#595959}.loam .g{stroke:#767676;stroke-width:1;fill:none}.loam .bg{fill:#fff}.loam .p{fill:#0072B2}"
    ".loam .n{fill:#D55E00}.loam .l0{stroke:#0072B2}.loam .l1{stroke:#D55E00}.loam .l2{stroke:#009E73}.loam .l3{stroke:#CC79A7}"
    ".loam .l{fill:none;stroke-width:2}.loam .s0{fill:#0072B2}.loam .s1{fill:#D55E00}.loam .s2{fill:#009E73}.loam .s3{fill:#E69F00}.loam .s4{fill:#CC79A7}"
    ".loam .s5{fill:#999}.loam .m{stroke:#1a1a1a;stroke-width:1.5;stroke-dasharray:4 3}.loam .k0{fill:#56B4E9;fill-opacity:.45}.loam .k1{fill:#E69F00;fill-opacity:.45}"
    "@media(prefers-color-scheme:dark){.loam text{fill:#eee}.loam .a{fill:#b3b3b3}.loam .bg{fill:#16181c}.loam .p{fill:#56B4E9}"
    ".loam .n{fill:#E69F00}.loam .l0{stroke:#56B4E9}.loam .l1{stroke:#E69F00}.loam .l2{stroke:#2fc99b}"
    ".loam .s0{fill:#56B4E9}.loam .m{stroke:#eee}}</style>";

struct drawing {
    const struct lm_block *block;
    struct lm_bytes *out;
    loam_error *error;
    int code;
    double low, high;
};

static void put(struct drawing *d, const char *format, ...) LM_PRINTF(2, 3);
static void put(struct drawing *d, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    lm_format_list(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!d->code)
        d->code = lm_bytes_append(d->out, text, strlen(text), d->error);
}

int lm_put_escaped(struct lm_bytes *out, const char *text, loam_error *error)
{
    int code = LOAM_OK;
    for (; *text && !code; text++) {
        const char *entity = *text == '&' ? "&amp;" : *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '"' ? "&quot;" : NULL;
        if (entity)
            code = lm_bytes_append(out, entity, strlen(entity), error);
        else if ((unsigned char)*text >= 0x20 || *text == '\n' || *text == '\t')
            code = lm_bytes_append(out, text, 1, error);
    }
    return code;
}

/* Text at a place, cut to `limit` characters; `more` are attributes. Coordinates are whole numbers, which no locale can spoil. */
static void put_text(struct drawing *d, int x, int y, const char *more, const char *text, int limit)
{
    char shown[512];
    size_t used = 0;
    uint32_t character;
    for (int i = 0; text[used] && i < limit; i++) {
        const size_t length = lm_utf8_decode(text + used, strlen(text + used), &character);
        used += length ? length : 1;
        if (used > sizeof shown - 8)
            break;
    }
    snprintf(shown, sizeof shown, "%.*s%s", (int)used, text, text[used] ? "\xE2\x80\xA6" : "");
    put(d, "<text x=\"%d\" y=\"%d\" %s>", x, y, more);
    if (!d->code)
        d->code = lm_put_escaped(d->out, shown, d->error);
    put(d, "</text>");
}

/* A name's last characters, where it is too long: those tell parameters apart. */
static void put_row_name(struct drawing *d, int x, int y, int64_t row)
{
    char room[24], text[NAME_LIMIT * 4 + 8];
    const char *name = lm_block_name(d->block->row_names, row, room), *tail = name + strlen(name);
    for (int i = 0; i < NAME_LIMIT && tail > name; i++)
        do
            tail--;
        while (tail > name && ((unsigned char)*tail & 0xC0) == 0x80);
    snprintf(text, sizeof text, "%s%s", tail > name ? "\xE2\x80\xA6" : "", tail);
    put_text(d, x, y, "text-anchor=\"end\"", text, NAME_LIMIT + 1);
}

/* Roughly the pixels of a text of 12 px. */
static int text_width(const char *text, int limit)
{
    int columns = 0;
    uint32_t character;
    for (int i = 0; *text && i <= limit; i++) {
        const size_t length = lm_utf8_decode(text, strlen(text), &character);
        columns += length ? lm_utf8_width(character) : 1;
        text += length ? length : 1;
    }
    return columns * 7 + 4;
}

static int names_width(const char *const *names, int64_t count)
{
    int most = 20;
    char room[24];
    for (int64_t i = 0; i < count; i++) {
        const int width = text_width(lm_block_name(names, i, room), NAME_LIMIT);
        most = width > most ? width : most;
    }
    return most;
}

static void begin(struct drawing *d, int figure, int width, int height)
{
    const struct lm_block *block = d->block;
    const int title = text_width(block->title ? block->title : "", 200) * 8 / 7 + 2 * MARGIN;
    width = width > title ? width : title;
    put(d, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"loam\" role=\"img\" aria-labelledby=\"figure%d\" width=\"%d\" "
        "height=\"%d\" viewBox=\"0 0 %d %d\">", figure, width, height, width, height);
    if (!d->code)
        d->code = lm_bytes_append(d->out, STYLE, sizeof STYLE - 1, d->error);
    put(d, "<title id=\"figure%d\">", figure);
    if (!d->code)
        d->code = lm_put_escaped(d->out, block->title ? block->title : "", d->error);
    put(d, "</title><rect class=\"bg\" width=\"%d\" height=\"%d\"/>", width, height);
    put_text(d, MARGIN, MARGIN + 8, "class=\"t\"", block->title ? block->title : "", 200);
}

static void put_number(struct drawing *d, int x, int y, const char *more, double value)
{
    char number[40];
    lm_show_number(value, -1, number);
    put_text(d, x, y, more, number, 40);
}

static void put_cell(struct drawing *d, int x, int y, int width, int height, double value)
{
    const int strong = (int)(lm_block_strength(d->block, value, d->low, d->high) * 1000 + 0.5);
    put(d, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" class=\"%s\" fill-opacity=\"%d.%03d\">", x, y, width, height,
        d->block->both_signs && value < 0 ? "n" : "p", strong / 1000, strong % 1000);
}

static void put_legend(struct drawing *d, int x, int y)
{
    for (int i = 0; i < 20; i++) {
        put_cell(d, x + i * 8, y, 8, 12, d->low + (d->high - d->low) * (i + 0.5) / 20);
        put(d, "</rect>");
    }
    put(d, "<rect x=\"%d\" y=\"%d\" width=\"160\" height=\"12\" class=\"g\"/>", x, y);
    put_number(d, x, y + 26, "class=\"a legend\"", d->low);
    put_number(d, x + 160, y + 26, "class=\"a legend\" text-anchor=\"end\"", d->high);
    if (d->block->unit && *d->block->unit)
        put_text(d, x + 170, y + 11, "class=\"a\"", d->block->unit, 40);
}

static void put_heat_cell(struct drawing *d, int64_t row, int64_t column, int x, int y, int cell)
{
    const struct lm_block *block = d->block;
    const double value = block->values[row * block->columns + column];
    char room[24], number[40];
    if (isnan(value))
        return;
    put_cell(d, x, y, cell, cell, value);
    lm_show_number(value, block->decimals < 0 ? -1 : block->decimals > 4 ? block->decimals : 4, number);
    put(d, "<title>");
    if (!d->code)
        d->code = lm_put_escaped(d->out, lm_block_name(block->row_names, row, room), d->error);
    put(d, ", ");
    if (!d->code)
        d->code = lm_put_escaped(d->out, lm_block_name(block->column_names, column, room), d->error);
    put(d, ": %s</title></rect>", number);
}

static int draw_heat(struct drawing *d, int figure)
{
    const struct lm_block *block = d->block;
    char room[24], more[96];
    if (block->rows * block->columns > MOST_CELLS)
        return lm_fail(d->error, LOAM_EUSAGE, "a picture of %lld times %lld cells would be too large to draw; look at fewer tokens",
                       (long long)block->rows, (long long)block->columns);
    const int cell = block->columns <= 16 ? 28 : block->columns <= 48 ? 18 : block->columns <= 96 ? 10 : 5;
    const int left = MARGIN + (block->row_axis ? LINE : 0) + names_width(block->row_names, block->rows);
    const int top = 2 * MARGIN + 12 + (block->column_axis ? LINE : 0) + names_width(block->column_names, block->columns);
    const int wide = (int)block->columns * cell, high = (int)block->rows * cell;
    const int legend = 170 + (block->unit && *block->unit ? text_width(block->unit, 40) : 0);
    const int width = left + (wide > legend ? wide : legend) + 2 * MARGIN + 20, height = top + high + 60;
    begin(d, figure, width, height);
    const int every = cell >= 10 ? 1 : 16 / cell;
    for (int64_t column = 0; column < block->columns; column += every) {
        const int x = left + (int)column * cell + cell / 2 + 4;
        snprintf(more, sizeof more, "transform=\"rotate(-90 %d %d)\"", x, top - 4);
        put_text(d, x, top - 4, more, lm_block_name(block->column_names, column, room), NAME_LIMIT);
    }
    for (int64_t row = 0; row < block->rows; row++) {
        if (row % every == 0)
            put_row_name(d, left - 4, top + (int)row * cell + cell / 2 + 4, row);
        for (int64_t column = 0; column < block->columns; column++)
            put_heat_cell(d, row, column, left + (int)column * cell, top + (int)row * cell, cell);
    }
    put(d, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" class=\"g\"/>", left, top, wide, high);
    if (block->column_axis)
        put_text(d, left, 2 * MARGIN + 14, "class=\"a axis\"", block->column_axis, 80);
    if (block->row_axis) {
        snprintf(more, sizeof more, "class=\"a axis\" transform=\"rotate(-90 %d %d)\"", MARGIN + 8, top + high);
        put_text(d, MARGIN + 8, top + high, more, block->row_axis, 80);
    }
    put_legend(d, left, top + high + 16);
    put(d, "</svg>");
    return d->code;
}

static int draw_bars(struct drawing *d, int figure)
{
    const struct lm_block *block = d->block;
    char number[40];
    if (block->rows > MOST_CELLS)
        return lm_fail(d->error, LOAM_EUSAGE, "a picture of %lld bars would be too large to draw; look at fewer tokens", (long long)block->rows);
    const int64_t rows = block->rows;
    const int names = names_width(block->row_names, rows), left = MARGIN + names + 4, top = 2 * MARGIN + 16;
    const int height = top + (int)rows * LINE + 46;
    begin(d, figure, left + PLOT_WIDTH + 90, height);
    const double span = d->high - d->low;
    const int zero = left + (int)(-d->low / span * PLOT_WIDTH);
    for (int64_t row = 0; row < rows; row++) {
        const double value = block->values[row * block->columns];
        const int y = top + (int)row * LINE, length = isfinite(value) ? (int)(fabs(value) / span * PLOT_WIDTH + 0.5) : 0;
        put_row_name(d, left - 6, y + 13, row);
        put(d, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" class=\"%s\"/>", value < 0 ? zero - length : zero, y + 2, length,
            LINE - 4, value < 0 ? "n" : "p");
        lm_show_number(value, block->decimals, number);
        put_text(d, (value < 0 ? zero : zero + length) + 5, y + 13, "class=\"a\"", number, 40);
    }
    const int bottom = top + (int)rows * LINE;
    put(d, "<path class=\"g\" d=\"M%d %dV%dM%d %dH%d\"/>", zero, top, bottom, left, bottom, left + PLOT_WIDTH);
    put_number(d, left, bottom + 16, "class=\"a\"", d->low);
    put_number(d, left + PLOT_WIDTH, bottom + 16, "class=\"a\" text-anchor=\"end\"", d->high);
    const char *axis = block->column_axis ? block->column_axis : block->unit ? block->unit : "";
    put_text(d, left + PLOT_WIDTH / 2, bottom + 32, "class=\"a axis\" text-anchor=\"middle\"", axis, 80);
    if (block->row_axis)
        put_text(d, MARGIN, bottom + 32, "class=\"a axis\"", block->row_axis, 40);
    put(d, "</svg>");
    return d->code;
}

/* Where few of the rows have a value, each is marked: one alone is no line. */
static void put_points(struct drawing *d, int64_t column, int left, int bottom)
{
    enum { FEW = 40 };
    const struct lm_block *block = d->block;
    const int64_t last = block->rows > 1 ? block->rows - 1 : 1;
    int64_t count = 0;
    for (int64_t row = 0; row < block->rows; row++)
        count += isfinite(block->values[row * block->columns + column]);
    for (int64_t row = 0; row < block->rows && count < FEW && count < block->rows; row++) {
        const double value = block->values[row * block->columns + column];
        if (isfinite(value))
            put(d, "<circle class=\"l l%d\" r=\"3\" cx=\"%d\" cy=\"%d\"/>", (int)(column % 4), left + (int)(PLOT_WIDTH * row / last),
                bottom - (int)((value - d->low) / (d->high - d->low) * PLOT_HEIGHT + 0.5));
    }
}

/* Lines at round numbers, three to seven of them, each with its number. */
static void put_grid(struct drawing *d, int left, int bottom)
{
    const double span = d->high - d->low, power = pow(10, floor(log10(span / 4))), part = span / 4 / power;
    const double step = power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
    const double first = ceil(d->low / step - 1e-9);
    for (int i = 0; i < 8 && (first + i) * step <= d->high + 1e-9 * span; i++) {    /* where numbers lie too close, no more than that */
        const double value = (first + i) * step;
        const int y = bottom - (int)((value - d->low) / span * PLOT_HEIGHT + 0.5);
        put(d, "<path class=\"g\" stroke-opacity=\".35\" d=\"M%d %dH%d\"/>", left, y, left + PLOT_WIDTH);
        put_number(d, left - 6, y + 4, "class=\"a\" text-anchor=\"end\"", value);
    }
}

static int draw_lines(struct drawing *d, int figure)
{
    static const char *const dashes[] = {"", "stroke-dasharray=\"6 3\"", "stroke-dasharray=\"2 3\"", "stroke-dasharray=\"9 3 2 3\""};
    const struct lm_block *block = d->block;
    char room[24];
    const int left = MARGIN + 80, top = 2 * MARGIN + 32, bottom = top + PLOT_HEIGHT;
    const int names = top + (int)block->columns * LINE + 12;
    begin(d, figure, left + PLOT_WIDTH + 170, bottom + 60 > names ? bottom + 60 : names);
    put_grid(d, left, bottom);
    const int64_t last = block->rows > 1 ? block->rows - 1 : 1, every = (block->rows + 11) / 12;
    for (int64_t row = 0; row < block->rows; row += every)
        put_text(d, left + (int)(PLOT_WIDTH * row / last), bottom + 16, "class=\"a\" text-anchor=\"middle\"",
                 lm_block_name(block->row_names, row, room), 8);
    for (int64_t column = 0; column < block->columns; column++) {
        const char *dash = dashes[(column + column / 4) % 4]; /* colour and dashes together: sixteen curves */
        put(d, "<polyline class=\"l l%d\" %s points=\"", (int)(column % 4), dash);
        for (int64_t row = 0; row < block->rows; row++) {
            const double value = block->values[row * block->columns + column];
            if (isfinite(value))
                put(d, "%d,%d ", left + (int)(PLOT_WIDTH * row / last),
                    bottom - (int)((value - d->low) / (d->high - d->low) * PLOT_HEIGHT + 0.5));
        }
        put(d, "\"/>");
        put_points(d, column, left, bottom);
        put(d, "<path class=\"l l%d\" %s d=\"M%d %dh28\"/>", (int)(column % 4), dash, left + PLOT_WIDTH + 12,
            top + 8 + (int)column * LINE);
        put_text(d, left + PLOT_WIDTH + 46, top + 12 + (int)column * LINE, "class=\"legend\"",
                 lm_block_name(block->column_names, column, room), NAME_LIMIT);
    }
    put(d, "<path class=\"g\" d=\"M%d %dV%dH%d\"/>", left, top, bottom, left + PLOT_WIDTH);
    put_text(d, left + PLOT_WIDTH / 2, bottom + 38, "class=\"a axis\" text-anchor=\"middle\"", block->row_axis ? block->row_axis : "",
             80);
    put_text(d, MARGIN, top - 14, "class=\"a axis\"", block->unit ? block->unit : "", 80);
    put(d, "</svg>");
    return d->code;
}

/* One column's area: in steps along its top, and back along the top of the one below. */
static void put_area(struct drawing *d, int64_t column, int left, int bottom)
{
    const struct lm_block *block = d->block;
    put(d, "<path class=\"s%d\" d=\"M", (int)(column % LM_AREAS));
    for (int side = 0; side < 2; side++)
        for (int64_t i = 0; i < block->rows; i++) {
            const int64_t row = side ? block->rows - 1 - i : i;
            double sum = 0;
            for (int64_t below = 0; below < column + !side; below++)
                sum += block->values[row * block->columns + below];
            const int y = bottom - (int)(sum / d->high * PLOT_HEIGHT + 0.5);
            const int x0 = left + (int)(PLOT_WIDTH * row / block->rows), x1 = left + (int)(PLOT_WIDTH * (row + 1) / block->rows);
            put(d, "%d %dL%d %d%s", side ? x1 : x0, y, side ? x0 : x1, y, side && row == 0 ? "Z" : "L");
        }
    put(d, "\"><title>");
    if (!d->code)
        d->code = lm_put_escaped(d->out, block->column_names[column], d->error);
    put(d, "</title></path>");
}

static int draw_areas(struct drawing *d, int figure)
{
    const struct lm_block *block = d->block;
    const int left = MARGIN + 80, top = 2 * MARGIN + 40, bottom = top + PLOT_HEIGHT;
    char room[24], more[96];
    begin(d, figure, left + PLOT_WIDTH + 200, bottom + 170);
    put_grid(d, left, bottom);
    for (int64_t column = 0; column < block->columns; column++) {
        const int y = top + LINE * (int)(block->columns - 1 - column);    /* in the order of the areas */
        put_area(d, column, left, bottom);
        put(d, "<rect class=\"s%d\" x=\"%d\" y=\"%d\" width=\"12\" height=\"12\"/>", (int)(column % LM_AREAS),
            left + PLOT_WIDTH + 16, y);
        put_text(d, left + PLOT_WIDTH + 34, y + 11, "class=\"legend\"", block->column_names[column], NAME_LIMIT);
    }
    const int64_t every = (block->rows + 19) / 20;
    for (int64_t row = 0; row < block->rows; row += every) {
        const int x = left + (int)(PLOT_WIDTH * (2 * row + 1) / (2 * block->rows)), y = bottom + 14;
        snprintf(more, sizeof more, "class=\"a\" transform=\"rotate(40 %d %d)\"", x, y);
        put_text(d, x, y, more, lm_block_name(block->row_names, row, room), NAME_LIMIT + 8);
    }
    put(d, "<path class=\"g\" d=\"M%d %dV%dH%d\"/>", left, top, bottom, left + PLOT_WIDTH);
    if (block->marked) {
        const int x = left + (int)(PLOT_WIDTH * (2 * block->marked - 1) / (2 * block->rows));
        const bool right = block->marked * 2 > block->rows;
        char mark[96];
        snprintf(mark, sizeof mark, "peak: %.80s", lm_block_name(block->row_names, block->marked - 1, room));
        put(d, "<path class=\"m\" d=\"M%d %dV%d\"/>", x, top - 18, bottom);
        put_text(d, right ? x - 6 : x + 6, top - 8, right ? "text-anchor=\"end\"" : "text-anchor=\"start\"",
                 mark, 70);
    }
    put_text(d, left + PLOT_WIDTH / 2, bottom + 156, "class=\"a axis\" text-anchor=\"middle\"", block->row_axis ? block->row_axis : "",
             80);
    put_text(d, MARGIN, top - 14, "class=\"a axis\"", block->unit ? block->unit : "", 80);
    put(d, "</svg>");
    return d->code;
}

static int draw_tokens(struct drawing *d, int figure)
{
    const struct lm_block *block = d->block;
    char room[24], number[40];
    int x = MARGIN, y = 2 * MARGIN + 12, most = 300;
    for (int64_t i = 0; i < block->rows; i++) {    /* once to measure */
        const int width = text_width(lm_block_name(block->row_names, i, room), NAME_LIMIT) + 12;
        if (x > MARGIN && x + width > 860) {
            x = MARGIN;
            y += 46;
        }
        x += (width < 36 ? 36 : width) + 4;
        most = x > most ? x : most;
    }
    begin(d, figure, most + MARGIN, y + 56);
    x = MARGIN;
    y = 2 * MARGIN + 12;
    for (int64_t i = 0; i < block->rows; i++) {
        const char *name = lm_block_name(block->row_names, i, room);
        int width = text_width(name, NAME_LIMIT) + 12;
        if (x > MARGIN && x + width > 860) {
            x = MARGIN;
            y += 46;
        }
        width = width < 36 ? 36 : width;
        put(d, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"22\" rx=\"3\" class=\"k%d\"/>", x, y, width, (int)(i % 2));
        put_text(d, x + width / 2, y + 15, "text-anchor=\"middle\"", name, NAME_LIMIT);
        if (block->values) {
            lm_show_number(block->values[i], block->decimals, number);
            put_text(d, x + width / 2, y + 36, "class=\"a\" text-anchor=\"middle\"", number, 40);
        }
        x += width + 4;
    }
    put(d, "</svg>");
    return d->code;
}

int lm_block_svg(const struct lm_block *block, int figure, struct lm_bytes *out, loam_error *error)
{
    struct drawing drawing = {.block = block, .out = out, .error = error};
    lm_block_range(block, &drawing.low, &drawing.high);
    switch (block->kind) {
    case LM_BLOCK_HEAT:
        return draw_heat(&drawing, figure);
    case LM_BLOCK_BARS:
        return draw_bars(&drawing, figure);
    case LM_BLOCK_LINES:
        return draw_lines(&drawing, figure);
    case LM_BLOCK_TOKENS:
        return draw_tokens(&drawing, figure);
    case LM_BLOCK_AREAS:
        return draw_areas(&drawing, figure);
    default:
        return LOAM_OK;
    }
}

/* Width and height of an <svg> element that lm_block_svg wrote. */
static void size_of(const char *svg, int *width, int *height)
{
    const char *at = strstr(svg, " width=\"");
    *width = at ? atoi(at + 8) : 0;
    at = strstr(svg, " height=\"");
    *height = at ? atoi(at + 9) : 0;
}

/* All figures of a page, one below the other. */
int lm_page_svg(const struct lm_page *page, struct lm_bytes *out, loam_error *error)
{
    struct lm_bytes body = {0};
    int wide = 0, high = 0, figures = 0, code = lm_page_check(page, error);
    for (size_t i = 0; i < page->count && !code; i++) {
        struct lm_bytes one = {0};
        int width, height;
        if (!lm_block_is_figure(&page->blocks[i]))
            continue;
        code = lm_block_svg(&page->blocks[i], ++figures, &one, error);
        if (!code) {
            size_of(one.data, &width, &height);
            code = lm_bytes_format(&body, error, "<svg y=\"%d\"%.*s", high, (int)(one.length - 4), one.data + 4);
            wide = width > wide ? width : wide;
            high += height;
        }
        lm_bytes_free(&one);
    }
    if (!code && !figures)
        code = lm_fail(error, LOAM_EUSAGE, "there is no picture of this, only numbers; use --html or --json");
    if (!code)
        code = lm_bytes_format(out, error, "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"loam\" width=\"%d\" height=\"%d\" "
                               "viewBox=\"0 0 %d %d\">%s<rect class=\"bg\" width=\"%d\" height=\"%d\"/>%s</svg>\n", wide, high, wide,
                               high, STYLE, wide, high, body.data);
    lm_bytes_free(&body);
    return code;
}
