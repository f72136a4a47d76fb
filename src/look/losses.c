/* Curves out of the logs of runs. */
#include "page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Lines are objects with a step; one that is cut off at the end (a run goes on, or was killed) is passed over. */
static int add_line(const char *line, size_t length, const char *path, const char *key, struct lm_series *series,
                    loam_error *error)
{
    struct lm_document *document;
    double step, value;
    if (lm_json_parse(line, length, path, &document, NULL) != LOAM_OK)
        return LOAM_OK;
    const struct lm_value *root = lm_document_root(document);
    const struct lm_value *found = lm_value_find(root, key);
    int code = LOAM_OK;
    if (found && lm_value_double(document, found, &value, NULL) == LOAM_OK &&
        lm_value_double(document, lm_value_find(root, "step"), &step, NULL) == LOAM_OK)
        code = lm_series_add(series, step, value, error);
    lm_document_free(document);
    return code;
}

static int read_log(const char *path, const char *key, struct lm_series *series, loam_error *error)
{
    struct lm_bytes text = {0};
    int code = lm_file_read(path, 0, &text, error);
    for (size_t at = 0; code == LOAM_OK && at < text.length;) {
        const char *end = memchr(text.data + at, '\n', text.length - at);
        const size_t length = end ? (size_t)(end - text.data) - at : text.length - at;
        code = add_line(text.data + at, length, path, key, series, error);
        at += length + 1;
    }
    lm_bytes_free(&text);
    return code;
}

int lm_look_losses(const char *run, const char *key, struct lm_series *series, loam_error *error)
{
    struct lm_bytes name = {0};
    *series = (struct lm_series){.points = strncmp(key, "eval", 4) == 0};
    char *path = lm_is_directory(run) ? lm_path_join(run, "log.jsonl", error) : lm_copy_string(run, strlen(run), error);
    int code = path ? lm_bytes_format(&name, error, "%s %s", run, key) : LOAM_ENOMEM;
    series->name = name.data;
    if (code == LOAM_OK)
        code = read_log(path, key, series, error);
    lm_free(path);
    if (code != LOAM_OK)
        lm_series_free(series);
    return code;
}

/* --- As a page --- */

enum { MOST_ROWS = 1000 };

static int by_number(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* All steps that any of the curves has a value at, each once, ascending. */
static size_t gather_steps(const struct lm_series *series, size_t count, double *steps)
{
    size_t all = 0, kept = 0;
    for (size_t s = 0; s < count; s++)
        for (size_t i = 0; i < series[s].count; i++)
            steps[all++] = series[s].x[i];
    qsort(steps, all, sizeof *steps, by_number);
    for (size_t i = 0; i < all; i++)
        if (i == 0 || steps[i] != steps[kept - 1])
            steps[kept++] = steps[i];
    return kept;
}

/* Each row stands for `every` steps: of each curve the last value among them. */
static void fill_rows(const struct lm_series *series, size_t count, const double *steps, size_t used, size_t every, double *values,
                      char (*names)[24])
{
    const size_t rows = (used + every - 1) / every;
    for (size_t row = 0; row < rows; row++) {
        const size_t end = (row + 1) * every < used ? (row + 1) * every : used;
        lm_format(names[row], sizeof names[row], "%.0f", steps[end - 1]);
    }
    for (size_t s = 0; s < count; s++) {
        size_t at = 0;
        for (size_t row = 0; row < rows; row++) {
            const size_t end = (row + 1) * every < used ? (row + 1) * every : used;
            values[row * count + s] = NAN;
            for (; at < series[s].count && series[s].x[at] <= steps[end - 1]; at++)
                values[row * count + s] = series[s].y[at];
        }
    }
}

int lm_look_curves(const struct lm_series *series, size_t count, const char *title, struct lm_page **page, loam_error *error)
{
    size_t points = 0;
    struct lm_page *made = lm_page_create("Curves of runs", error);
    for (size_t s = 0; s < count; s++)
        points += series[s].count;
    double *steps = lm_alloc(points + 1, sizeof *steps, error);
    const size_t used = steps ? gather_steps(series, count, steps) : 0, every = used / MOST_ROWS + 1, rows = (used + every - 1) / every;
    double *values = lm_alloc(rows * count + 1, sizeof *values, error);
    char (*labels)[24] = lm_alloc(rows + 1, sizeof *labels, error);
    const char **names = lm_alloc(rows + 1, sizeof *names, error), **columns = lm_alloc(count + 1, sizeof *columns, error);
    int code = made && steps && values && labels && names && columns ? LOAM_OK : LOAM_ENOMEM;
    if (!code) {
        fill_rows(series, count, steps, used, every, values, labels);
        for (size_t row = 0; row < rows; row++)
            names[row] = labels[row];
        for (size_t s = 0; s < count; s++)
            columns[s] = series[s].name;
        const struct lm_block block = {.kind = LM_BLOCK_LINES, .name = "curves", .title = title, .row_axis = "step", .unit = strstr(title, "loss") ? "nats a token" : title,
                                       .rows = (int64_t)rows, .columns = (int64_t)count, .row_names = names, .column_names = columns,
                                       .values = values, .decimals = -1};
        lm_page_add(made, &block);
        code = lm_page_check(made, error);
    }
    lm_free(steps);
    lm_free(values);
    lm_free(labels);
    lm_free(names);
    lm_free(columns);
    if (code)
        lm_page_free(made);
    else
        *page = made;
    return code;
}
