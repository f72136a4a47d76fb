/* Putting a page together. */
#include "page.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char *copy(struct lm_page *page, const char *text)
{
    return text ? lm_copy_string(text, strlen(text), &page->error) : NULL;
}

struct lm_page *lm_page_create(const char *title, loam_error *error)
{
    struct lm_page *page = lm_alloc(1, sizeof *page, error);
    if (page)
        page->title = copy(page, title);
    return page;
}

static void free_strings(const char *const *strings, int64_t count)
{
    for (int64_t i = 0; strings && i < count; i++)
        lm_free((char *)strings[i]);
    lm_free((void *)strings);
}

static void free_block(struct lm_block *block)
{
    free_strings(block->row_names, block->rows);
    free_strings(block->column_names, block->columns);
    free_strings(block->texts, block->rows * block->columns);
    lm_free((void *)block->values);
    lm_free((char *)block->name);
    lm_free((char *)block->title);
    lm_free((char *)block->row_axis);
    lm_free((char *)block->column_axis);
    lm_free((char *)block->unit);
}

void lm_page_free(struct lm_page *page)
{
    if (!page)
        return;
    for (size_t i = 0; i < page->count; i++)
        free_block(&page->blocks[i]);
    lm_free(page->blocks);
    lm_free(page->title);
    lm_free(page);
}

int lm_page_fail(struct lm_page *page, int code, const loam_error *error)
{
    if (code != LOAM_OK && page->error.code == LOAM_OK) {
        page->error = *error;
        page->error.code = code;
    }
    return page->error.code;
}

int lm_page_check(const struct lm_page *page, loam_error *error)
{
    return page->error.code == LOAM_OK ? LOAM_OK : lm_fail(error, page->error.code, "%s", page->error.message);
}

static const char *const *copy_strings(struct lm_page *page, const char *const *strings, int64_t count)
{
    const char **made = strings ? lm_alloc((size_t)count + 1, sizeof *made, &page->error) : NULL;
    for (int64_t i = 0; made && i < count; i++)
        made[i] = copy(page, strings[i]);
    return made;
}

static const double *copy_values(struct lm_page *page, const double *values, int64_t count)
{
    double *made = values ? lm_alloc((size_t)count + 1, sizeof *made, &page->error) : NULL;
    if (made)
        memcpy(made, values, (size_t)count * sizeof *made);
    return made;
}

void lm_page_add(struct lm_page *page, const struct lm_block *block)
{
    if (page->error.code)
        return;
    if (page->count == page->capacity) {
        const size_t more = page->capacity ? 2 * page->capacity : 16;
        struct lm_block *grown = lm_resize(page->blocks, more, sizeof *grown, &page->error);
        if (!grown)
            return;
        page->blocks = grown;
        page->capacity = more;
    }
    struct lm_block *made = &page->blocks[page->count++];
    *made = *block;
    made->name = copy(page, block->name);
    made->title = copy(page, block->title);
    made->row_axis = copy(page, block->row_axis);
    made->column_axis = copy(page, block->column_axis);
    made->unit = copy(page, block->unit);
    made->row_names = copy_strings(page, block->row_names, block->rows);
    made->column_names = copy_strings(page, block->column_names, block->columns);
    made->texts = copy_strings(page, block->texts, block->rows * block->columns);
    made->values = copy_values(page, block->values, block->rows * block->columns);
}

static void add_words(struct lm_page *page, enum lm_block_kind kind, const char *format, va_list arguments)
{
    char text[4096];
    lm_format_list(text, sizeof text, format, arguments);
    const struct lm_block block = {.kind = kind, .title = text};
    lm_page_add(page, &block);
}

void lm_page_section(struct lm_page *page, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_words(page, LM_BLOCK_SECTION, format, arguments);
    va_end(arguments);
}

void lm_page_say(struct lm_page *page, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_words(page, LM_BLOCK_TEXT, format, arguments);
    va_end(arguments);
}

void lm_page_fact(struct lm_page *page, const char *name, const char *label, const char *unit, int decimals, double value)
{
    const struct lm_block block = {.kind = LM_BLOCK_FACT, .name = name, .title = label, .unit = unit, .rows = 1, .columns = 1,
                                   .values = &value, .decimals = decimals};
    lm_page_add(page, &block);
}

void lm_page_fact_text(struct lm_page *page, const char *name, const char *label, const char *text)
{
    const struct lm_block block = {.kind = LM_BLOCK_FACT, .name = name, .title = label, .rows = 1, .columns = 1, .texts = &text};
    lm_page_add(page, &block);
}

/* --- Numbers and names --- */

void lm_show_number(double value, int decimals, char out[40])
{
    if (isnan(value)) {
        snprintf(out, 40, "n/a");
        return;
    }
    if (decimals >= 0 && fabs(value) < 1e15)
        lm_format(out, 40, "%.*f", decimals, value);
    else
        lm_format(out, 40, "%.4g", value);
    if (strspn(out, "-0.,") == strlen(out) && out[0] == '-')
        memmove(out, out + 1, strlen(out));    /* no -0.00 */
    for (char *s = out; *s; s++)
        *s = *s == ',' ? '.' : *s;
}

void lm_block_range(const struct lm_block *block, double *low, double *high)
{
    *low = block->low;
    *high = block->high;
    if (*low != 0 || *high != 0)
        return;
    *low = INFINITY;
    *high = -INFINITY;
    for (int64_t i = 0; block->values && i < block->rows * block->columns; i++)
        if (isfinite(block->values[i])) {
            *low = fmin(*low, block->values[i]);
            *high = fmax(*high, block->values[i]);
        }
    if (!(*low <= *high))
        *low = *high = 0;
    if (block->kind == LM_BLOCK_BARS || block->kind == LM_BLOCK_LINES)
        *low = fmin(*low, 0);
    if (block->kind == LM_BLOCK_AREAS) {
        *low = 0;
        for (int64_t row = 0; row < block->rows; row++)
            *high = fmax(*high, lm_block_sum(block, row));
    }
    if (block->both_signs) {
        *high = fmax(fabs(*low), fabs(*high));
        *low = -*high;
    }
    if (*low == *high)
        *high = *low + 1;
}

double lm_block_strength(const struct lm_block *block, double value, double low, double high)
{
    double part = block->both_signs ? fabs(value) / high : (value - low) / (high - low);
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return block->root ? sqrt(part) : part;
}

const char *lm_block_name(const char *const *names, int64_t index, char room[24])
{
    if (names)
        return names[index];
    snprintf(room, 24, "%lld", (long long)index);
    return room;
}

double lm_block_sum(const struct lm_block *block, int64_t row)
{
    double sum = 0;
    for (int64_t column = 0; column < block->columns; column++)
        sum += block->values[row * block->columns + column];
    return sum;
}

bool lm_block_is_figure(const struct lm_block *block)
{
    return block->kind >= LM_BLOCK_HEAT;
}
