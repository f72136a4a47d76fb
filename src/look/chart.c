#include "chart.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LABEL = 10, COLOURS = 6 }; /* columns left of the curves */
static const char *const colours[COLOURS] = {"\x1b[36m", "\x1b[33m", "\x1b[32m", "\x1b[35m", "\x1b[31m", "\x1b[34m"};

int lm_series_add(struct lm_series *series, double x, double y, loam_error *error)
{
    if (series->count == series->capacity) {
        const size_t capacity = series->capacity ? 2 * series->capacity : 64;
        double *xs = lm_resize(series->x, capacity, sizeof *xs, error);
        if (!xs)
            return LOAM_ENOMEM;
        series->x = xs;
        double *ys = lm_resize(series->y, capacity, sizeof *ys, error);
        if (!ys)
            return LOAM_ENOMEM;
        series->y = ys;
        series->capacity = capacity;
    }
    series->x[series->count] = x;
    series->y[series->count++] = y;
    return LOAM_OK;
}

void lm_series_free(struct lm_series *series)
{
    lm_free(series->name);
    lm_free(series->x);
    lm_free(series->y);
    *series = (struct lm_series){0};
}

/* --- Text --- */

struct range {
    double x0, x1, y0, y1;
};

static bool find_range(const struct lm_chart *chart, struct range *range)
{
    *range = (struct range){INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (size_t s = 0; s < chart->count; s++)
        for (size_t i = 0; i < chart->series[s].count; i++) {
            const double x = chart->series[s].x[i], y = chart->series[s].y[i];
            if (!isfinite(x) || !isfinite(y))
                continue;
            range->x0 = fmin(range->x0, x);
            range->x1 = fmax(range->x1, x);
            range->y0 = fmin(range->y0, y);
            range->y1 = fmax(range->y1, y);
        }
    if (range->x0 > range->x1)
        return false;
    if (range->x0 == range->x1)
        range->x0 -= 0.5, range->x1 += 0.5;
    if (range->y0 == range->y1)
        range->y0 -= 0.5, range->y1 += 0.5;
    return true;
}

/* The dots of one series on a grid of width × height: owner[] gets its number, from 1. */
struct grid {
    int width, height;
    unsigned char *dots;   /* one a dot */
    unsigned char *owners; /* one a dot: who set it last */
};

static void set_dot(struct grid *grid, int x, int y, size_t series)
{
    if (x < 0 || y < 0 || x >= grid->width || y >= grid->height)
        return;
    grid->dots[y * grid->width + x] = 1;
    grid->owners[y * grid->width + x] = (unsigned char)(series + 1);
}

static int row_of(const struct grid *grid, const struct range *range, double y)
{
    return (int)lround((range->y1 - y) / (range->y1 - range->y0) * (grid->height - 1));
}

static void draw_step(struct grid *grid, int x0, int y0, int x1, int y1, size_t series)
{
    const int dx = abs(x1 - x0), dy = abs(y1 - y0), steps = dx > dy ? dx : dy;
    for (int i = 0; i <= steps; i++)
        set_dot(grid, x0 + (steps ? (x1 - x0) * i / steps : 0), y0 + (steps ? (y1 - y0) * i / steps : 0), series);
}

/* Of the points that fall into one column the mean is drawn. */
static void draw_series(struct grid *grid, const struct range *range, const struct lm_series *series, size_t number)
{
    int last_x = -1, last_y = 0;
    for (size_t i = 0; i < series->count;) {
        const double place = (series->x[i] - range->x0) / (range->x1 - range->x0) * (grid->width - 1);
        const int x = (int)lround(place);
        double sum = 0;
        size_t count = 0;
        for (; i < series->count; i++) {
            if ((int)lround((series->x[i] - range->x0) / (range->x1 - range->x0) * (grid->width - 1)) != x)
                break;
            if (isfinite(series->y[i]))
                sum += series->y[i], count++;
        }
        if (!count)
            continue;
        const int y = row_of(grid, range, sum / (double)count);
        draw_step(grid, last_x < 0 ? x : last_x, last_x < 0 ? y : last_y, x, y, number);
        last_x = x;
        last_y = y;
    }
}

/* The dots of a braille character: two columns of four, numbered as Unicode has them. */
static uint32_t braille_at(const struct grid *grid, int column, int row, unsigned *owner)
{
    static const unsigned char bits[4][2] = {{1, 8}, {2, 16}, {4, 32}, {64, 128}};
    uint32_t code = 0;
    for (int y = 0; y < 4; y++)
        for (int x = 0; x < 2; x++) {
            const int at = (row * 4 + y) * grid->width + column * 2 + x;
            if (grid->dots[at]) {
                code |= bits[y][x];
                *owner = grid->owners[at];
            }
        }
    return code;
}

static int put_cell(const struct grid *grid, int column, int row, bool braille, bool colour, struct lm_bytes *out,
                    loam_error *error)
{
    unsigned owner = 0;
    char text[8] = " ";
    if (braille) {
        const uint32_t dots = braille_at(grid, column, row, &owner);
        text[dots ? lm_utf8_encode(0x2800 + dots, text) : 1] = 0;
    } else if (grid->dots[row * grid->width + column]) {
        owner = grid->owners[row * grid->width + column];
        text[0] = (char)('a' + (owner - 1) % 26);
    }
    if (!owner || !colour)
        return lm_bytes_format(out, error, "%s", text);
    return lm_bytes_format(out, error, "%s%s\x1b[0m", colours[(owner - 1) % COLOURS], text);
}

static int put_rows(const struct grid *grid, const struct range *range, int columns, int rows, bool braille, bool colour,
                    struct lm_bytes *out, loam_error *error)
{
    int code = LOAM_OK;
    for (int row = 0; code == LOAM_OK && row < rows; row++) {
        char label[32] = "";
        if (row == 0 || row == rows - 1 || row == rows / 2)
            lm_format(label, sizeof label, "%.4g", range->y1 - (range->y1 - range->y0) * row / (rows > 1 ? rows - 1 : 1));
        code = lm_bytes_format(out, error, "%*.*s |", LABEL - 2, LABEL - 2, label);
        for (int column = 0; code == LOAM_OK && column < columns; column++)
            code = put_cell(grid, column, row, braille, colour, out, error);
        while (out->length && out->data[out->length - 1] == ' ')
            out->length--;
        if (code == LOAM_OK)
            code = lm_bytes_append(out, "\n", 1, error);
    }
    return code;
}

static int put_axis(const struct lm_chart *chart, const struct range *range, int columns, struct lm_bytes *out,
                    loam_error *error)
{
    char first[32], last[32];
    lm_format(first, sizeof first, "%.6g", range->x0);
    lm_format(last, sizeof last, "%.6g", range->x1);
    int code = lm_bytes_format(out, error, "%*s +", LABEL - 2, "");
    for (int i = 0; code == LOAM_OK && i < columns; i++)
        code = lm_bytes_append(out, "-", 1, error);
    const char *label = chart->x_label ? chart->x_label : "";
    const int room = columns - (int)strlen(first) - (int)strlen(last) - (int)strlen(label), left = room > 0 ? room / 2 : 1;
    if (code == LOAM_OK)
        code = lm_bytes_format(out, error, "\n%*s%s%*s%s%*s%s\n", LABEL, "", first, left, "", label,
                               room - left > 0 ? room - left : 1, "", last);
    return code;
}

static int put_legend(const struct lm_chart *chart, bool braille, bool colour, struct lm_bytes *out, loam_error *error)
{
    int code = LOAM_OK;
    for (size_t s = 0; code == LOAM_OK && s < chart->count; s++) {
        const char *on = colour ? colours[s % COLOURS] : "", *off = colour ? "\x1b[0m" : "";
        char letter[8] = "";
        snprintf(letter, sizeof letter, "%c", (int)('a' + s % 26));
        code = lm_bytes_format(out, error, "%*s%s%s%s %s\n", LABEL, "", on, braille ? "\u2500\u2500" : letter, off,
                               chart->series[s].name);
    }
    return code;
}

int lm_chart_text(const struct lm_chart *chart, int columns, int rows, bool braille, bool colour, struct lm_bytes *out,
                  loam_error *error)
{
    braille = braille && (colour ? chart->count <= COLOURS : chart->count == 1); /* else letters tell the curves apart */
    struct range range;
    if (!find_range(chart, &range))
        return lm_fail(error, LOAM_EUSAGE, "%s: there is nothing to draw", chart->title ? chart->title : "chart");
    columns = columns - LABEL < 10 ? 10 : columns - LABEL;
    rows = rows < 3 ? 3 : rows;
    struct grid grid = {.width = braille ? 2 * columns : columns, .height = braille ? 4 * rows : rows};
    const size_t dots = (size_t)grid.width * (size_t)grid.height;
    grid.dots = lm_alloc(dots, 1, error);
    grid.owners = grid.dots ? lm_alloc(dots, 1, error) : NULL;
    int code = grid.owners ? LOAM_OK : LOAM_ENOMEM;
    for (size_t s = 0; code == LOAM_OK && s < chart->count; s++)
        draw_series(&grid, &range, &chart->series[s], s);
    if (code == LOAM_OK && chart->title)
        code = lm_bytes_format(out, error, "%*s%s\n", LABEL, "", chart->title);
    if (code == LOAM_OK)
        code = put_rows(&grid, &range, columns, rows, braille, colour, out, error);
    if (code == LOAM_OK)
        code = put_axis(chart, &range, columns, out, error);
    if (code == LOAM_OK)
        code = put_legend(chart, braille, colour, out, error);
    lm_free(grid.owners);
    lm_free(grid.dots);
    return code;
}

/* --- SVG --- */

/* In gnuplot's single quotes, where only the quote itself means something; line ends would end the command. */
static int put_quoted(struct lm_bytes *out, const char *text, loam_error *error)
{
    int code = lm_bytes_append(out, "'", 1, error);
    for (const char *c = text ? text : ""; code == LOAM_OK && *c; c++)
        code = *c == '\'' ? lm_bytes_append(out, "''", 2, error)
                          : lm_bytes_append(out, (unsigned char)*c < 32 ? " " : c, 1, error);
    return code == LOAM_OK ? lm_bytes_append(out, "'", 1, error) : code;
}

static int put_setting(struct lm_bytes *out, const char *what, const char *text, loam_error *error)
{
    int code = lm_bytes_format(out, error, "%s ", what);
    if (code == LOAM_OK)
        code = put_quoted(out, text, error);
    return code == LOAM_OK ? lm_bytes_append(out, "\n", 1, error) : code;
}

static int put_data(struct lm_bytes *out, const struct lm_series *series, size_t number, loam_error *error)
{
    int code = lm_bytes_format(out, error, "$s%zu << E\n", number);
    for (size_t i = 0; code == LOAM_OK && i < series->count; i++) {
        char x[32], y[32];
        if (!isfinite(series->x[i]) || !isfinite(series->y[i]))
            continue;
        lm_format_double(series->x[i], x);
        lm_format_double(series->y[i], y);
        code = lm_bytes_format(out, error, "%s %s\n", x, y);
    }
    return code == LOAM_OK ? lm_bytes_format(out, error, "E\n") : code;
}

static int compose(const struct lm_chart *chart, const char *path, struct lm_bytes *out, loam_error *error)
{
    /* podo: colours that any kind of colour vision tells apart; dashes beside them for those who print in grey */
    int code = lm_bytes_format(out, error, "set terminal svg size 900,520 dynamic background rgb 'white' noenhanced\nset grid\n"
                               "set colorsequence podo\n");
    if (code == LOAM_OK)
        code = put_setting(out, "set output", path, error);
    if (code == LOAM_OK)
        code = put_setting(out, "set title", chart->title, error);
    if (code == LOAM_OK)
        code = put_setting(out, "set xlabel", chart->x_label, error);
    if (code == LOAM_OK)
        code = put_setting(out, "set ylabel", chart->y_label, error);
    for (size_t s = 0; code == LOAM_OK && s < chart->count; s++)
        code = put_data(out, &chart->series[s], s, error);
    for (size_t s = 0; code == LOAM_OK && s < chart->count; s++) {
        code = lm_bytes_format(out, error, "%s $s%zu using 1:2 with %s linewidth 2 dashtype %zu title ", s ? "," : "plot", s,
                               chart->series[s].points ? "linespoints" : "lines", s % 5 + 1);
        if (code == LOAM_OK)
            code = put_quoted(out, chart->series[s].name, error);
    }
    return code == LOAM_OK ? lm_bytes_append(out, "\n", 1, error) : code;
}

static int run_gnuplot(int script, const char *path, loam_error *error)
{
    extern char **environ;
    char *const words[] = {"gnuplot", "-d", "-", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, script, STDIN_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    const int failed = posix_spawnp(&child, words[0], &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return lm_fail(error, failed == ENOENT ? LOAM_ENOTFOUND : LOAM_EIO,
                       "%s: gnuplot, which draws it, cannot be started (%s); install the package gnuplot-nox, or leave the "
                       "picture out", path, strerror(failed));
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return lm_fail_errno(error, errno, "%s: waiting for gnuplot failed", path);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return lm_fail(error, LOAM_EIO, "%s: gnuplot could not write it; is the folder there, and is there room?", path);
    return LOAM_OK;
}

int lm_chart_svg(const struct lm_chart *chart, const char *path, loam_error *error)
{
    struct range range;
    struct lm_bytes script = {0};
    struct lm_file_writer *writer;
    int file = -1;
    if (!find_range(chart, &range))
        return lm_fail(error, LOAM_EUSAGE, "%s: there is nothing to draw", path);
    int code = compose(chart, path, &script, error);
    if (code == LOAM_OK)
        code = lm_file_create_unnamed("gnuplot's script", &writer, error);
    if (code == LOAM_OK) {
        lm_file_write(writer, script.data, script.length, NULL);
        code = lm_file_commit_open(writer, &file, error);
    }
    if (code == LOAM_OK && lseek(file, 0, SEEK_SET) == 0)
        code = run_gnuplot(file, path, error);
    if (file >= 0)
        close(file);
    lm_bytes_free(&script);
    return code;
}
