/* loam look losses */
#include "show.h"

#include <string.h>
#include <unistd.h>

struct curves {
    struct lm_series *series;
    size_t count;
};

static int read_one(struct curves *curves, const char *run, const char *key, loam_error *error)
{
    struct lm_series *series = &curves->series[curves->count];
    int code = lm_look_losses(run, key, series, error);
    if (code != LOAM_OK)
        return code;
    if (series->count)
        curves->count++;
    else
        lm_series_free(series);
    return LOAM_OK;
}

/* Of every run what --key names; where it is not given, the loss and the evaluation's loss. */
static int read_all(const struct arguments *arguments, struct curves *curves, loam_error *error)
{
    const char *key = arguments->values[OPT_KEY].text;
    curves->series = lm_alloc(2 * arguments->operand_count, sizeof *curves->series, error);
    int code = curves->series ? LOAM_OK : LOAM_ENOMEM;
    for (size_t i = 0; code == LOAM_OK && i < arguments->operand_count; i++) {
        code = read_one(curves, arguments->operands[i], key ? key : "loss", error);
        if (code == LOAM_OK && !key)
            code = read_one(curves, arguments->operands[i], "eval_loss", error);
    }
    if (code == LOAM_OK && !curves->count)
        code = lm_fail(error, LOAM_EFORMAT, "%s%s: found no line with '%s'", arguments->operands[0],
                       arguments->operand_count > 1 ? " and the others" : "", key ? key : "loss");
    return code;
}

static int print_series(const struct curves *curves)
{
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 0);
    lm_json_begin_array(&writer);
    for (size_t s = 0; s < curves->count; s++) {
        const struct lm_series *series = &curves->series[s];
        lm_json_begin_object(&writer);
        lm_json_key(&writer, "name");
        lm_json_text(&writer, series->name);
        lm_json_key(&writer, "steps");
        lm_json_begin_array(&writer);
        for (size_t i = 0; i < series->count; i++)
            lm_json_int(&writer, (int64_t)series->x[i]);
        lm_json_end_array(&writer);
        lm_json_key(&writer, "values");
        lm_json_begin_array(&writer);
        for (size_t i = 0; i < series->count; i++)
            lm_json_double(&writer, series->y[i]);
        lm_json_end_array(&writer);
        lm_json_end_object(&writer);
    }
    lm_json_end_array(&writer);
    return print_json(&writer);
}

/* SVG is gnuplot's where that is there; everything else, and SVG where it is not, is a page. */
static int draw(const struct arguments *arguments, const struct curves *curves)
{
    const struct argument *values = arguments->values;
    const char *title = values[OPT_KEY].text ? values[OPT_KEY].text : "loss";
    const struct lm_chart chart = {.title = title, .x_label = "step", .y_label = strstr(title, "loss") ? "nats a token" : title, .series = curves->series, .count = curves->count};
    const enum show_form form = show_form(arguments, SHOW_TENSORS);
    const struct lm_text_style style = text_style(arguments);
    struct lm_bytes text = {0};
    struct lm_page *page;
    loam_error error;
    if (form == SHOW_TEXT && !values[OPT_OUT].given) {
        if (lm_chart_text(&chart, style.width - 1, 18, isatty(STDOUT_FILENO) && style.unicode, style.colour, &text, &error) != LOAM_OK)
            return complain_error(&error);
        fwrite(text.data, 1, text.length, stdout);
        lm_bytes_free(&text);
        return EXIT_DONE;
    }
    const char *svg = values[OPT_SVG].given ? values[OPT_SVG].text : values[OPT_OUT].text;
    int code = form == SHOW_SVG ? lm_chart_svg(&chart, svg, &error) : LOAM_ENOTFOUND;
    if (code != LOAM_ENOTFOUND)
        return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
    code = lm_look_curves(curves->series, curves->count, title, &page, &error);
    return code == LOAM_OK ? show_page(arguments, page) : complain_error(&error);
}

int command_look_losses(const struct arguments *arguments)
{
    struct curves curves = {0};
    loam_error error;
    int code = show_check(arguments, &error);
    if (code == LOAM_OK)
        code = read_all(arguments, &curves, &error);
    int status = code != LOAM_OK                          ? complain_error(&error)
                 : arguments->values[OPT_JSON].given ? print_series(&curves)
                                                     : draw(arguments, &curves);
    for (size_t i = 0; i < curves.count; i++)
        lm_series_free(&curves.series[i]);
    lm_free(curves.series);
    return status;
}
