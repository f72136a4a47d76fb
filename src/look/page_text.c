/* A page for a terminal of any width, with or without colours, with or without Unicode. */
#include "page.h"
#include "screen.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_COLUMNS = 16, HEAD_COLUMNS = 24, MOST_ROWS = 48, LEAST_WIDTH = 40, HEAD_ROWS = 8 };

static void put_title(struct lm_screen *screen, const struct lm_block *block)
{
    lm_screen_text(screen, "\n");
    if (screen->style->colour)
        lm_screen_text(screen, "\x1b[1m");
    char title[1024];
    snprintf(title, sizeof title, "%s%s%s%s", block->title ? block->title : "", block->unit && *block->unit ? " [" : "",
             block->unit ? block->unit : "", block->unit && *block->unit ? "]" : "");
    lm_screen_wrap(screen, title);
    if (screen->style->colour)
        lm_screen_text(screen, "\x1b[0m");
    char axes[512] = "";
    if (block->row_axis && block->column_axis)
        snprintf(axes, sizeof axes, "rows: %s; columns: %s", block->row_axis, block->column_axis);
    else if (block->row_axis || block->column_axis)
        snprintf(axes, sizeof axes, "%s: %s", block->row_axis ? "rows" : "columns",
                 block->row_axis ? block->row_axis : block->column_axis);
    if (*axes)
        lm_screen_wrap(screen, axes);
}

static int name_columns(const struct lm_screen *screen, const struct lm_block *block)
{
    int most = 1;
    char room[24];
    for (int64_t i = 0; i < block->rows && i < MOST_ROWS; i++) {
        const int columns = lm_screen_columns(screen, lm_block_name(block->row_names, i, room));
        most = columns > most ? columns : most;
    }
    const int limit = block->kind == LM_BLOCK_HEAT ? NAME_COLUMNS : screen->width * 2 / 5;
    return most < limit ? most : limit;
}

/* A row's name; where it is too long its end, which tells parameters apart. */
static void put_row_name(struct lm_screen *screen, const struct lm_block *block, int64_t row, int width, bool right)
{
    char room[24];
    const char *name = lm_block_name(block->row_names, row, room), *shown;
    const bool cut = lm_screen_columns(screen, name) > width;
    size_t bytes;
    int columns;
    while (cut && *name && lm_screen_columns(screen, name) > width - 1)
        name += lm_screen_next(screen, name, &shown, &bytes, &columns);
    if (cut)
        lm_screen_text(screen, screen->style->unicode ? "\xE2\x80\xA6" : "~");
    lm_screen_cell(screen, name, cut ? width - 1 : width, right);
}

static void put_rest(struct lm_screen *screen, const char *what, int64_t shown, int64_t all)
{
    if (shown >= all)
        return;
    char line[160];
    snprintf(line, sizeof line, "(the first %lld of %lld %s; --html and --json have all of them)", (long long)shown,
             (long long)all, what);
    lm_screen_wrap(screen, line);
}

static int64_t shown_rows(const struct lm_block *block)
{
    return block->rows < MOST_ROWS ? block->rows : MOST_ROWS;
}

/* --- Tables --- */

static const char *cell_of(const struct lm_block *block, int64_t row, int64_t column, char room[40])
{
    const int64_t at = row * block->columns + column;
    if (block->texts)
        return block->texts[at] ? block->texts[at] : "";
    if (isnan(block->values[at]))
        return "";
    lm_show_number(block->values[at], block->decimals, room);
    return room;
}

static int column_width(const struct lm_screen *screen, const struct lm_block *block, int64_t column)
{
    char room[40], number[24];
    int most = 1;
    if (block->column_names || block->columns > 1) {
        most = lm_screen_columns(screen, lm_block_name(block->column_names, column, number));
        most = most < HEAD_COLUMNS ? most : HEAD_COLUMNS;
    }
    for (int64_t row = 0; row < shown_rows(block); row++) {
        const int columns = lm_screen_columns(screen, cell_of(block, row, column, room));
        most = columns > most ? columns : most;
    }
    return most < screen->width / 2 ? most : screen->width / 2;
}

/* Columns from `first` on that fit beside the names; at least one. */
static int64_t put_columns(struct lm_screen *screen, const struct lm_block *block, int64_t first, int names)
{
    int64_t behind = first;
    int used = names;
    char room[40], number[24];
    while (behind < block->columns) {
        const int width = column_width(screen, block, behind);
        if (behind > first && used + 2 + width > screen->width)
            break;
        used += 2 + width;
        behind++;
    }
    if (block->column_names || block->columns > 1) {
        lm_screen_cell(screen, "", names, false);
        for (int64_t column = first; column < behind; column++) {
            lm_screen_text(screen, "  ");
            lm_screen_cell(screen, lm_block_name(block->column_names, column, number), column_width(screen, block, column),
                     !block->texts);
        }
        lm_screen_text(screen, "\n");
    }
    for (int64_t row = 0; row < shown_rows(block); row++) {
        put_row_name(screen, block, row, names, false);
        for (int64_t column = first; column < behind; column++) {
            lm_screen_text(screen, "  ");
            lm_screen_cell(screen, cell_of(block, row, column, room), column_width(screen, block, column), !block->texts);
        }
        lm_screen_text(screen, "\n");
    }
    return behind;
}

static void put_table(struct lm_screen *screen, const struct lm_block *block)
{
    put_title(screen, block);
    const int names = name_columns(screen, block);
    for (int64_t column = 0; column < block->columns;) {
        if (column)
            lm_screen_text(screen, "\n");
        column = put_columns(screen, block, column, names);
    }
    put_rest(screen, "rows", shown_rows(block), block->rows);
}

/* --- Heat maps --- */

/* Codes of the 256 colours, of rising brightness from blue to yellow, and from blue over grey to orange: both can be told
 * apart with any kind of colour vision, and in grey. */
static const int rising[] = {17, 24, 60, 66, 102, 144, 186, 228}, signs[] = {25, 67, 110, 188, 180, 173, 166};
static const char *const shades[] = {" ", "\xE2\x96\x91", "\xE2\x96\x92", "\xE2\x96\x93", "\xE2\x96\x88"};
static const char *const letters[] = {" ", ".", ":", "-", "=", "+", "*", "%", "#", "@"};

static int step_of(double strength, int steps)
{
    const int step = (int)(strength * steps);
    return step >= steps ? steps - 1 : step;
}

static void put_block(struct lm_screen *screen, const struct lm_block *block, double value, double low, double high, int columns)
{
    char code[16];
    const double strength = isnan(value) ? 0 : lm_block_strength(block, value, low, high);
    if (isnan(value)) {
        lm_screen_repeat(screen, " ", columns);
    } else if (screen->style->colour) {
        const int colour = block->both_signs ? signs[step_of((value < 0 ? 1 - strength : 1 + strength) / 2, 7)]
                                             : rising[step_of(strength, 8)];
        snprintf(code, sizeof code, "\x1b[48;5;%dm", colour);
        lm_screen_text(screen, code);
        lm_screen_repeat(screen, " ", columns);
        lm_screen_text(screen, "\x1b[0m");
    } else {    /* a minus marks what is below 0 */
        const bool unicode = screen->style->unicode, minus = block->both_signs && value < 0 && columns > 1;
        const char *shade = unicode ? shades[step_of(strength, 5)] : letters[step_of(strength, 10)];
        lm_screen_text(screen, minus && step_of(strength, 5) > 0 ? "-" : shade);
        lm_screen_repeat(screen, shade, columns - 1);
    }
}

static void put_legend(struct lm_screen *screen, const struct lm_block *block, double low, double high)
{
    char number[40];
    const int steps = screen->style->colour ? (block->both_signs ? 7 : 8) : screen->style->unicode ? 5 : 10;
    lm_show_number(low, -1, number);
    lm_screen_text(screen, screen->style->colour ? "colours from " : "shades from ");
    lm_screen_text(screen, number);
    lm_screen_text(screen, " ");
    for (int i = 0; i < steps; i++)
        put_block(screen, block, low + (high - low) * (i + 0.5) / steps, low, high, 2);
    lm_show_number(high, -1, number);
    lm_screen_text(screen, " to ");
    lm_screen_text(screen, number);
    lm_screen_text(screen, block->root ? " (by the root)\n" : "\n");
}

/* The columns' names from top to bottom over columns of `cell` characters. */
static void put_heads(struct lm_screen *screen, const struct lm_block *block, int64_t shown, int cell, int names)
{
    char room[24];
    int high = 0;
    for (int64_t column = 0; column < shown; column++) {
        const int columns = lm_screen_columns(screen, lm_block_name(block->column_names, column, room));
        high = columns > high ? columns : high;
    }
    high = high < HEAD_ROWS ? high : HEAD_ROWS;
    for (int line = 0; line < high; line++) {
        lm_screen_repeat(screen, " ", names + 1);
        for (int64_t column = 0; column < shown; column++) {
            const char *text = lm_block_name(block->column_names, column, room), *character = " ";
            size_t bytes = 1;
            int columns = 1, begin = high - lm_screen_columns(screen, text), at = begin < 0 ? 0 : begin;
            while (*text && at <= line) {
                text += lm_screen_next(screen, text, &character, &bytes, &columns);
                at += columns > 0 ? columns : 0;
            }
            const bool there = at > line && line >= begin && columns <= cell && columns > 0 && at - columns == line;
            lm_screen_put(screen, there ? character : " ", there ? bytes : 1);
            lm_screen_repeat(screen, " ", cell - (there ? columns : 1));
        }
        lm_screen_text(screen, "\n");
    }
}

static void put_heat(struct lm_screen *screen, const struct lm_block *block)
{
    double low, high;
    lm_block_range(block, &low, &high);
    put_title(screen, block);
    const int names = name_columns(screen, block), left = screen->width - names - 1;
    const int cell = block->columns * 2 <= left ? 2 : 1;
    const int64_t shown = block->columns * cell <= left ? block->columns : left / cell;
    put_heads(screen, block, shown, cell, names);
    for (int64_t row = 0; row < shown_rows(block); row++) {
        put_row_name(screen, block, row, names, true);
        lm_screen_text(screen, " ");
        for (int64_t column = 0; column < shown; column++)
            put_block(screen, block, block->values[row * block->columns + column], low, high, cell);
        lm_screen_text(screen, "\n");
    }
    put_legend(screen, block, low, high);
    put_rest(screen, "rows", shown_rows(block), block->rows);
    put_rest(screen, "columns", shown, block->columns);
}

/* --- Bars, curves, tokens --- */

static void put_bars(struct lm_screen *screen, const struct lm_block *block)
{
    double low, high;
    char number[40];
    int numbers = 1;
    lm_block_range(block, &low, &high);
    put_title(screen, block);
    const int names = name_columns(screen, block);
    for (int64_t row = 0; row < shown_rows(block); row++) {
        lm_show_number(block->values[row * block->columns], block->decimals, number);
        numbers = (int)strlen(number) > numbers ? (int)strlen(number) : numbers;
    }
    const int room_for_bars = screen->width - names - numbers - 3;
    const double most = fmax(fabs(low), fabs(high));
    for (int64_t row = 0; row < shown_rows(block); row++) {
        const double value = block->values[row * block->columns];
        lm_show_number(value, block->decimals, number);
        put_row_name(screen, block, row, names, false);
        lm_screen_text(screen, "  ");
        lm_screen_cell(screen, number, numbers, true);
        lm_screen_text(screen, " ");
        const int64_t length = isfinite(value) ? (int64_t)(fabs(value) / most * room_for_bars + 0.5) : 0;
        if (screen->style->colour)
            lm_screen_text(screen, value < 0 ? "\x1b[38;5;166m" : "\x1b[38;5;67m");
        lm_screen_repeat(screen, screen->style->unicode ? "\xE2\x96\x88" : value < 0 ? "-" : "#", length);
        if (screen->style->colour)
            lm_screen_text(screen, "\x1b[0m");
        lm_screen_text(screen, "\n");
    }
    put_rest(screen, "rows", shown_rows(block), block->rows);
}

/* A letter for each column: the first of its name, small where an earlier one has it already. */
static void letter_columns(const struct lm_block *block, char of[LM_AREAS + 1])
{
    for (int64_t column = 0; column < block->columns; column++) {
        of[column] = block->column_names[column][0];
        of[column + 1] = 0;
        if (of[column] >= 'a' && of[column] <= 'z' && !memchr(of, of[column] - 32, (size_t)column))
            of[column] = (char)(of[column] - 32);
    }
}

static void put_part(struct lm_screen *screen, int64_t column, char letter, int64_t columns)
{
    static const int colours[LM_AREAS] = {25, 166, 36, 214, 175, 245};
    char code[32];
    if (columns > 0 && screen->style->colour) {    /* the letters stay: nobody has to tell colours apart */
        snprintf(code, sizeof code, "\x1b[48;5;%dm\x1b[38;5;%dm", colours[column], column == 0 ? 231 : 16);
        lm_screen_text(screen, code);
    }
    lm_screen_repeat(screen, (const char[]){letter, 0}, columns);
    if (columns > 0 && screen->style->colour)
        lm_screen_text(screen, "\x1b[0m");
}

static void put_area_row(struct lm_screen *screen, const struct lm_block *block, int64_t row, const char *letter, double high,
                         int wide)
{
    double sum = 0;
    int64_t used = 0;
    for (int64_t column = 0; column < block->columns; column++) {
        sum += block->values[row * block->columns + column];
        const int64_t end = (int64_t)(sum / high * wide + 0.5);
        put_part(screen, column, letter[column], end - used);
        used = end;
    }
    lm_screen_repeat(screen, " ", wide - used);
}

/* A line a row; of many, some at even distances, the last, and the one that is marked. */
static void put_areas(struct lm_screen *screen, const struct lm_block *block)
{
    enum { LINES = 24, NUMBER = 9, MARK = 7 };
    const int64_t stride = (block->rows + LINES - 1) / LINES;
    double low, high;
    char letter[LM_AREAS + 1] = "", number[40];
    int64_t shown = 0;
    lm_block_range(block, &low, &high);
    letter_columns(block, letter);
    put_title(screen, block);
    for (int64_t column = 0, used = 0; column < block->columns; column++) {
        const int columns = lm_screen_columns(screen, block->column_names[column]) + 4;    /* letter, blank, ", " */
        const bool turn = used && used + columns > screen->width;
        lm_screen_text(screen, turn ? "\n" : "");
        used = turn ? columns : used + columns;
        put_part(screen, column, letter[column], 1);
        lm_screen_text(screen, " ");
        lm_screen_cell(screen, block->column_names[column], -1, false);
        lm_screen_text(screen, column + 1 < block->columns ? ", " : "\n");
    }
    const int names = name_columns(screen, block), wide = screen->width - names - NUMBER - MARK - 2;
    for (int64_t row = 0; row < block->rows; row++) {
        if (row % stride != 0 && row + 1 != block->marked && row + 1 != block->rows)
            continue;
        put_row_name(screen, block, row, names, false);
        lm_screen_text(screen, " ");
        put_area_row(screen, block, row, letter, high, wide);
        lm_show_number(lm_block_sum(block, row), block->decimals, number);
        lm_screen_cell(screen, number, NUMBER + 1, true);
        lm_screen_text(screen, row + 1 == block->marked ? "  peak\n" : "\n");
        shown++;
    }
    char line[160];
    snprintf(line, sizeof line, "(%lld of %lld rows; --html and --json have all of them)", (long long)shown,
             (long long)block->rows);
    if (shown < block->rows)
        lm_screen_wrap(screen, line);
}

static void put_tokens(struct lm_screen *screen, const struct lm_block *block)
{
    char room[24];
    int used = 0;
    put_title(screen, block);
    for (int64_t i = 0; i < block->rows; i++) {
        const char *name = lm_block_name(block->row_names, i, room);
        const int columns = lm_screen_columns(screen, name) + !screen->style->colour;
        if (used && used + columns > screen->width) {
            lm_screen_text(screen, "\n");
            used = 0;
        }
        if (screen->style->colour)
            lm_screen_text(screen, i % 2 ? "\x1b[48;5;24m\x1b[38;5;231m" : "\x1b[48;5;228m\x1b[38;5;16m");
        lm_screen_cell(screen, name, -1, false);
        lm_screen_text(screen, screen->style->colour ? "\x1b[0m" : "|");
        used += columns;
    }
    lm_screen_text(screen, "\n");
}

/* A fact's number with its unit, or its text. */
static void fact_value(const struct lm_block *block, char *value, size_t size)
{
    char number[40];
    const bool unit = block->unit && *block->unit;
    snprintf(value, size, "%s%s%s", cell_of(block, 0, 0, number), unit ? " " : "", unit ? block->unit : "");
}

/* One below the other, the values in a column; a value that is too long for its line stands below its name. */
static void put_facts(struct lm_screen *screen, const struct lm_page *page, size_t first, size_t behind)
{
    char value[1024];
    int names = 0;
    for (size_t i = first; i < behind; i++) {
        const int columns = lm_screen_columns(screen, page->blocks[i].title);
        names = columns > names ? columns : names;
    }
    names = names < screen->width ? names : screen->width;
    lm_screen_text(screen, "\n");
    for (size_t i = first; i < behind; i++) {
        fact_value(&page->blocks[i], value, sizeof value);
        const bool fits = names + 2 + lm_screen_columns(screen, value) <= screen->width;
        lm_screen_cell(screen, page->blocks[i].title, fits ? names : -1, false);
        lm_screen_text(screen, fits ? "  " : "\n");
        if (fits)
            lm_screen_cell(screen, value, -1, false);
        for (const char *rest = value; !fits && *rest;) {    /* cut anywhere: it may have no blanks */
            char line[1024];
            size_t used = 0;
            int columns = 0;
            while (rest[used]) {
                const char *shown;
                size_t bytes;
                int wide;
                const size_t read = lm_screen_next(screen, rest + used, &shown, &bytes, &wide);
                if (columns + wide > screen->width - 2)
                    break;
                columns += wide;
                used += read;
            }
            snprintf(line, sizeof line, "  %.*s", (int)used, rest);
            lm_screen_cell(screen, line, -1, false);
            rest += used;
            lm_screen_text(screen, *rest ? "\n" : "");
        }
        lm_screen_text(screen, "\n");
    }
}

static void put_section(struct lm_screen *screen, const char *title)
{
    lm_screen_text(screen, "\n");
    if (screen->style->colour)
        lm_screen_text(screen, "\x1b[1m");
    lm_screen_cell(screen, title, -1, false);
    if (screen->style->colour)
        lm_screen_text(screen, "\x1b[0m");
    lm_screen_text(screen, "\n");
    lm_screen_repeat(screen, screen->style->unicode ? "\xE2\x94\x80" : "-", lm_screen_columns(screen, title));
    lm_screen_text(screen, "\n");
}

static void put_any(struct lm_screen *screen, const struct lm_block *block)
{
    switch (block->kind) {
    case LM_BLOCK_SECTION:
        put_section(screen, block->title);
        break;
    case LM_BLOCK_TEXT:
        lm_screen_text(screen, "\n");
        lm_screen_wrap(screen, block->title);
        break;
    case LM_BLOCK_HEAT:
        put_heat(screen, block);
        break;
    case LM_BLOCK_BARS:
        put_bars(screen, block);
        break;
    case LM_BLOCK_TOKENS:
        put_tokens(screen, block);
        break;
    case LM_BLOCK_AREAS:
        put_areas(screen, block);
        break;
    case LM_BLOCK_LINES:    /* several curves as numbers: their picture needs --svg or --html */
        if (block->columns == 1)
            put_bars(screen, block);
        else
            put_table(screen, block);
        break;
    case LM_BLOCK_FACT:
    case LM_BLOCK_TABLE:
        put_table(screen, block);
        break;
    }
}

int lm_page_text(const struct lm_page *page, const struct lm_text_style *style, struct lm_bytes *out, loam_error *error)
{
    struct lm_screen screen = {.style = style, .out = out, .error = error,
                            .width = style->width < LEAST_WIDTH ? LEAST_WIDTH : style->width};
    screen.code = lm_page_check(page, error);
    if (page->title)
        put_section(&screen, page->title);
    for (size_t i = 0; i < page->count && !screen.code; i++) {
        size_t behind = i;
        while (behind < page->count && page->blocks[behind].kind == LM_BLOCK_FACT)
            behind++;
        if (behind > i) {
            put_facts(&screen, page, i, behind);
            i = behind - 1;
        } else {
            put_any(&screen, &page->blocks[i]);
        }
    }
    return screen.code;
}
