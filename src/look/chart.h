/* Curves as text for a terminal, and as SVG through gnuplot where that is installed.
 *
 *     struct lm_chart chart = {.title = "loss", .x_label = "step", .series = series, .count = 2};
 *     struct lm_bytes text = {0};
 *     if (lm_chart_text(&chart, 72, 16, true, false, &text, error)) return error->code;
 *
 * Values that are not finite are left out. Any thread.
 */
#ifndef LOAM_LOOK_CHART_H
#define LOAM_LOOK_CHART_H

#include "base/base.h"

struct lm_series {
    char *name;      /* UTF-8 */
    double *x, *y;   /* `count` each, x ascending */
    size_t count, capacity;
    bool points;     /* marks at the points as well as lines between them */
};
int lm_series_add(struct lm_series *series, double x, double y, loam_error *error);
void lm_series_free(struct lm_series *series);

struct lm_chart {
    const char *title, *x_label, *y_label;
    const struct lm_series *series;
    size_t count;
};
/* Appends `rows` lines of curves, the axes and a legend, `columns` wide. `braille`: dots of Unicode, eight a character;
 * else, and where only colours would tell several series apart and there are none, a letter a series. `colour`: escape sequences, a
 * colour a series. Nothing to draw: LOAM_EUSAGE. */
int lm_chart_text(const struct lm_chart *chart, int columns, int rows, bool braille, bool colour, struct lm_bytes *out,
                  loam_error *error);
/* Writes an SVG file. gnuplot is not there: LOAM_ENOTFOUND. */
int lm_chart_svg(const struct lm_chart *chart, const char *path, loam_error *error);

#endif
