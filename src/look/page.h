/* Inside look: a page, made of what is said and what is shown, before it becomes text, HTML, SVG or JSON.
 *
 *     struct lm_page *page = lm_page_create("Attention", error);
 *     lm_page_say(page, "Each row adds up to one.");
 *     lm_page_fact(page, "heads", "heads", "", 0, 12);
 *     const struct lm_block map = {.kind = LM_BLOCK_HEAT, .name = "weights", .title = "Weights", .rows = t, .columns = t,
 *                                  .row_names = words, .column_names = words, .values = weights, .high = 1, .decimals = 2};
 *     lm_page_add(page, &map);
 *     if (lm_page_text(page, &(struct lm_text_style){.width = 80}, &out, error)) ...      // what failed before shows here, too
 *     lm_page_free(page);
 *
 * Blocks are copied. One page, one thread.
 */
#ifndef LOAM_LOOK_PAGE_H
#define LOAM_LOOK_PAGE_H

#include "look.h"

enum { LM_AREAS = 6 };
enum lm_block_kind {
    LM_BLOCK_SECTION, LM_BLOCK_TEXT,
    LM_BLOCK_FACT,          /* a label with one number, or one text */
    LM_BLOCK_TABLE,         /* numbers, or texts */
    LM_BLOCK_HEAT,          /* a colour for each number */
    LM_BLOCK_BARS,          /* one column: a bar for each row */
    LM_BLOCK_LINES,         /* a curve for each column over the rows */
    LM_BLOCK_TOKENS,        /* row names one behind the other, ids below */
    LM_BLOCK_AREAS          /* the columns, at most LM_AREAS and none below 0, stacked on each other over the rows */
};
struct lm_block {
    enum lm_block_kind kind;
    const char *name;                   /* its key in JSON: a word; NULL for what is only said */
    const char *title;                  /* of a figure or table; the words of a section or text; a fact's label */
    const char *row_axis, *column_axis; /* what the rows and columns are; NULL: nothing is said */
    const char *unit;                   /* of the numbers; NULL: none */
    int64_t rows, columns;
    const char *const *row_names, *const *column_names;     /* NULL: counted from 0 */
    const double *values;               /* [rows,columns]; NaN: there is none */
    const char *const *texts;           /* [rows,columns] instead of values, or NULL */
    int decimals;                       /* of values; -1: four digits that count */
    double low, high;                   /* what the colours of a heat map span; both 0: found from the values */
    bool both_signs;                    /* two hues around 0 */
    int64_t marked;                     /* of areas: the row that is pointed at, counted from 1; 0: none */
    bool root;                          /* colours grow with the root of the value, so that small ones can be told apart */
};
struct lm_page {
    char *title;
    struct lm_block *blocks;
    size_t count, capacity;
    loam_error error;                   /* the first failure */
};

struct lm_page *lm_page_create(const char *title, loam_error *error);
void lm_page_add(struct lm_page *page, const struct lm_block *block);
void lm_page_section(struct lm_page *page, const char *format, ...) LM_PRINTF(2, 3);
void lm_page_say(struct lm_page *page, const char *format, ...) LM_PRINTF(2, 3);
void lm_page_fact(struct lm_page *page, const char *name, const char *label, const char *unit, int decimals, double value);
void lm_page_fact_text(struct lm_page *page, const char *name, const char *label, const char *text);
/* A failure elsewhere: the page keeps it, if it is the first. Gives the code. */
int lm_page_fail(struct lm_page *page, int code, const loam_error *error);

/* "0.1385", "1.235e-05", "n/a" for NaN; a point whatever the locale. */
void lm_show_number(double value, int decimals, char out[40]);
/* The range of a block's colours, bars or curves. */
void lm_block_range(const struct lm_block *block, double *low, double *high);
/* How strong a value's colour is, 0 to 1. */
double lm_block_strength(const struct lm_block *block, double value, double low, double high);
/* A row's or column's name, or its number; `room` holds the latter. */
const char *lm_block_name(const char *const *names, int64_t index, char room[24]);
bool lm_block_is_figure(const struct lm_block *block);
/* Of areas: what the columns of a row are together. */
double lm_block_sum(const struct lm_block *block, int64_t row);

/* A figure as one <svg> element. `inside`: within an HTML page, whose style it takes, with its top left at 0,0. */
int lm_block_svg(const struct lm_block *block, int figure, struct lm_bytes *out, loam_error *error);
int lm_put_escaped(struct lm_bytes *out, const char *text, loam_error *error);    /* for XML */
/* A plan's bytes over the moments of a step, in MiB or, where they are many, GiB. `most` bytes are the scale's end (0: the plan's own), so
 * that two plans can be drawn to one scale. */
void lm_page_add_memory(struct lm_page *page, const char *name, const char *title, const struct lm_run_plan *plan,
                        const struct lm_plan_picture *picture, size_t most);
/* Up to and with <body>. */
int lm_html_begin(const char *title, struct lm_bytes *out, loam_error *error);

#endif
