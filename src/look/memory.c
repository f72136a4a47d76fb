/* The memory of a training step as a picture. */
#include "look.h"

#include <stdio.h>

enum { WIDTH = 960, HEIGHT = 480, LEFT = 90, TOP = 50, RIGHT = 190, BOTTOM = 110 };

/* Colours that stay apart for people who see few of them (Okabe and Ito, 2008, "Color universal design"). */
static const char *const colours[LM_PLAN_PARTS] = {"#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#999999"};

struct drawing {
    const struct lm_run_plan *plan;
    const struct lm_plan_picture *picture;
    double most;       /* bytes at the top */
    struct lm_bytes *svg;
};

static double x_of(const struct drawing *d, double moment)
{
    return LEFT + moment / (double)d->picture->moments * (WIDTH - LEFT - RIGHT);
}

static double y_of(const struct drawing *d, double bytes)
{
    return TOP + (1 - bytes / d->most) * (HEIGHT - TOP - BOTTOM);
}

/* Bytes of the parts up to and with `part`. */
static double height(const struct drawing *d, int32_t moment, int part)
{
    double sum = 0;
    for (int i = 0; i <= part; i++)
        sum += (double)d->picture->live[moment][i];
    return sum;
}

/* One part's area: along its top in steps, and back along the top of the part below. */
static int draw_part(const struct drawing *d, int part, loam_error *error)
{
    int code = lm_bytes_format(d->svg, error, "<path fill=\"%s\" d=\"M", colours[part]);
    for (int32_t i = 0; code == LOAM_OK && i < d->picture->moments; i++)
        code = lm_bytes_format(d->svg, error, "%.1f %.1fL%.1f %.1fL", x_of(d, i), y_of(d, height(d, i, part)), x_of(d, i + 1),
                               y_of(d, height(d, i, part)));
    for (int32_t i = d->picture->moments - 1; code == LOAM_OK && i >= 0; i--)
        code = lm_bytes_format(d->svg, error, "%.1f %.1fL%.1f %.1f%s", x_of(d, i + 1), y_of(d, height(d, i, part - 1)),
                               x_of(d, i), y_of(d, height(d, i, part - 1)), i ? "L" : "");
    return code == LOAM_OK ? lm_bytes_format(d->svg, error, "Z\"/>\n") : code;
}

static int draw_text(const struct drawing *d, double x, double y, const char *anchor, const char *text, loam_error *error)
{
    return lm_bytes_format(d->svg, error, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, text);
}

static int draw_axis(const struct drawing *d, loam_error *error)
{
    int code = LOAM_OK;
    char size[32];
    for (int i = 0; code == LOAM_OK && i <= 4; i++) {
        const double bytes = d->most * i / 4, y = y_of(d, bytes);
        lm_format_size((int64_t)bytes, size);
        code = lm_bytes_format(d->svg, error, "<path stroke=\"#ccc\" d=\"M%d %.1fH%d\"/>\n", LEFT, y, WIDTH - RIGHT);
        if (code == LOAM_OK)
            code = draw_text(d, LEFT - 8, y + 4, "end", size, error);
    }
    return code;
}

static int draw_legend(const struct drawing *d, loam_error *error)
{
    const size_t parts[LM_PLAN_PARTS] = {d->plan->weights, d->plan->gradients, d->plan->optimizer, d->plan->activations,
                                         d->plan->logits, d->plan->workspace};
    int code = LOAM_OK;
    for (int i = 0; code == LOAM_OK && i < LM_PLAN_PARTS; i++) {
        const double y = TOP + 20 * (LM_PLAN_PARTS - 1 - i);
        char size[32], text[80];
        lm_format_size((int64_t)parts[i], size);
        snprintf(text, sizeof text, "%s %s", lm_plan_part_name((enum lm_plan_part)i), size);
        code = lm_bytes_format(d->svg, error, "<rect x=\"%d\" y=\"%.1f\" width=\"12\" height=\"12\" fill=\"%s\"/>\n",
                               WIDTH - RIGHT + 12, y, colours[i]);
        if (code == LOAM_OK)
            code = draw_text(d, WIDTH - RIGHT + 30, y + 11, "start", text, error);
    }
    return code;
}

/* The names of some moments, turned, and the peak. */
static int draw_moments(const struct drawing *d, loam_error *error)
{
    const int32_t count = d->picture->moments, stride = (count + 19) / 20, peak = d->plan->peak;
    int code = LOAM_OK;
    for (int32_t i = 0; code == LOAM_OK && i < count; i++) {
        if (i % stride != 0)
            continue;
        const double x = x_of(d, i + 0.5), y = HEIGHT - BOTTOM + 12;
        code = lm_bytes_format(d->svg, error, "<text transform=\"translate(%.1f %.1f) rotate(40)\" font-size=\"9\">%s</text>\n", x,
                               y, d->picture->names[i]);
    }
    if (code == LOAM_OK)
        code = lm_bytes_format(d->svg, error, "<path stroke=\"#000\" stroke-dasharray=\"3\" d=\"M%.1f %dV%d\"/>\n",
                               x_of(d, peak + 0.5), TOP - 8, HEIGHT - BOTTOM);
    return code;
}

static int draw(const struct drawing *d, loam_error *error)
{
    char arena[32], text[160];
    lm_format_size((int64_t)d->plan->arena, arena);
    snprintf(text, sizeof text, "Memory over one step: %s at the peak, %s", arena, d->plan->peak_moment);
    int code = lm_bytes_format(d->svg, error, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
                               "height=\"%d\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
                               "fill=\"#fff\"/>\n", WIDTH, HEIGHT, WIDTH, HEIGHT);
    if (code == LOAM_OK)
        code = draw_text(d, LEFT, TOP - 20, "start", text, error);
    if (code == LOAM_OK)
        code = draw_axis(d, error);
    for (int part = 0; code == LOAM_OK && part < LM_PLAN_PARTS; part++)
        code = draw_part(d, part, error);
    if (code == LOAM_OK)
        code = draw_legend(d, error);
    if (code == LOAM_OK)
        code = draw_moments(d, error);
    return code == LOAM_OK ? lm_bytes_format(d->svg, error, "</svg>\n") : code;
}

int lm_look_memory(const struct lm_run_plan *plan, const struct lm_plan_picture *picture, const char *path, loam_error *error)
{
    struct lm_bytes svg = {0};
    const struct drawing drawing = {plan, picture, (double)plan->arena, &svg};
    int code = draw(&drawing, error);
    if (code == LOAM_OK)
        code = lm_file_replace(path, svg.data, svg.length, error);
    lm_bytes_free(&svg);
    return code;
}
