/* Sizes by layer, forward and backward, and what the MLPs' units do. */
#include "labels.h"
#include "page.h"
#include "record.h"
#include "step.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Root of the mean square. */
static double size_of(const float *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i] * x[i];
    return count ? sqrt(sum / (double)count) : 0;
}

enum { STREAM, NORMED, ATTENTION_ADDS, MLP_ADDS, GRADIENT, SIZES };

struct measuring {
    double *sizes;          /* [L,SIZES] */
    float *before;          /* [T,C] the stream as it was before what is added now */
    int64_t count;
};

static double size_of_difference(const float *a, const float *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum / (double)count);
}

static void measure(void *user, enum lm_sight sight, int64_t layer, const float *data, int64_t rows, int64_t width)
{
    struct measuring *measuring = user;
    double *sizes = measuring->sizes + layer * SIZES;
    const int64_t count = rows * width;
    if (sight == LM_SIGHT_NORM1)
        sizes[NORMED] = size_of(data, count);
    if (sight == LM_SIGHT_INPUT)
        sizes[STREAM] = size_of(data, count);
    if (sight == LM_SIGHT_MIDDLE)
        sizes[ATTENTION_ADDS] = size_of_difference(data, measuring->before, count);
    if (sight == LM_SIGHT_OUTPUT)
        sizes[MLP_ADDS] = size_of_difference(data, measuring->before, count);
    if (sight == LM_SIGHT_GRADIENT) {
        double sum = 0;
        for (int64_t i = 0; i < count; i++)
            sum += (double)data[i] * data[i];
        sizes[GRADIENT] = sqrt(sum);
    }
    if (sight == LM_SIGHT_INPUT || sight == LM_SIGHT_MIDDLE)
        memcpy(measuring->before, data, (size_t)count * sizeof *data);
}

static void add_sizes(struct lm_page *page, const struct lm_config *c, const double *sizes)
{
    static const char *const columns[] = {"stream", "normed", "attention adds", "MLP adds", "gradient"};
    struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "sizes", .title = "Sizes by layer", .row_axis = "layer",
                             .rows = c->layers, .columns = SIZES, .column_names = columns, .values = sizes, .decimals = -1};
    double *curve = lm_alloc((size_t)(3 * c->layers), sizeof *curve, &page->error);
    if (!curve)
        return;
    lm_page_add(page, &block);
    for (int64_t i = 0; i < c->layers; i++) {
        curve[3 * i] = sizes[i * SIZES + STREAM];
        curve[3 * i + 1] = sizes[i * SIZES + ATTENTION_ADDS];
        curve[3 * i + 2] = sizes[i * SIZES + MLP_ADDS];
    }
    static const char *const shown[] = {"stream", "attention adds", "MLP adds"};
    block = (struct lm_block){.kind = LM_BLOCK_LINES, .name = "stream", .title = "The residual stream and what is added to it",
                              .row_axis = "layer", .unit = "root mean square", .rows = c->layers, .columns = 3,
                              .column_names = shown, .values = curve, .decimals = -1};
    lm_page_add(page, &block);
    for (int64_t i = 0; i < c->layers; i++)
        curve[i] = sizes[i * SIZES + GRADIENT];
    const bool backward = !isnan(curve[0]);
    block = (struct lm_block){.kind = LM_BLOCK_BARS, .name = "gradients", .title = "The gradient that reaches each layer's input",
                              .row_axis = "layer", .column_axis = "norm of the gradient", .unit = "norm", .rows = c->layers,
                              .columns = 1, .values = curve, .decimals = -1};
    if (backward)
        lm_page_add(page, &block);
    lm_free(curve);
}

/* Forward and backward. */
static int measure_step(const struct lm_subject *subject, const struct lm_watcher *watcher, struct lm_page *page, loam_error *error)
{
    struct lm_step step;
    int code = lm_step_run(subject->model, subject->ids, subject->count, NULL, watcher, &step, error);
    if (code)
        return code;
    lm_page_say(page, "Sizes are roots of the mean square over all tokens; gradients are norms of the mean loss's slope, of predicting "
                "each token from those before it.");
    lm_page_fact(page, "loss", "loss", "nats a token", 4, step.loss);
    lm_step_free(subject->model, &step);
    return LOAM_OK;
}

/* A single token predicts nothing that is known: no loss, and no gradients, which stay without a number. */
static int measure_one(const struct lm_subject *subject, const struct lm_watcher *watcher, struct lm_page *page, loam_error *error)
{
    const struct lm_config *c = lm_model_config(subject->model);
    const struct measuring *measuring = watcher->user;
    float *logits = lm_alloc((size_t)c->vocabulary, sizeof *logits, error);
    if (!logits)
        return LOAM_ENOMEM;
    for (int64_t layer = 0; layer < c->layers; layer++)
        measuring->sizes[layer * SIZES + GRADIENT] = NAN;
    lm_model_watch(subject->model, watcher);
    const int code = lm_model_logits(subject->model, subject->ids, 1, logits, error);
    lm_model_watch(subject->model, NULL);
    lm_page_say(page, "Sizes are roots of the mean square over the token's numbers. There is one token, and none behind it to predict: for a "
                "loss and gradients give two or more.");
    lm_free(logits);
    return code;
}

int lm_look_norms(const struct lm_subject *subject, struct lm_page **page, loam_error *error)
{
    const struct lm_config *c = lm_model_config(subject->model);
    struct measuring measuring = {.count = subject->count};
    const struct lm_watcher watcher = {.user = &measuring, .sees = measure};
    struct lm_page *made = lm_page_create("Norms", error);
    measuring.sizes = lm_alloc((size_t)(c->layers * SIZES), sizeof *measuring.sizes, error);
    measuring.before = lm_alloc((size_t)(subject->count > 0 ? subject->count : 1), (size_t)c->width * sizeof(float), error);
    int code = made && measuring.sizes && measuring.before ? LOAM_OK : LOAM_ENOMEM;
    if (!code)
        code = subject->count == 1 ? measure_one(subject, &watcher, made, error) : measure_step(subject, &watcher, made, error);
    if (!code) {
        add_sizes(made, c, measuring.sizes);
        code = lm_page_check(made, error);
    }
    lm_free(measuring.sizes);
    lm_free(measuring.before);
    if (code)
        lm_page_free(made);
    else
        *page = made;
    return code;
}

/* --- Neurons --- */

enum { BINS = 21, STRONGEST = 3 };
/* A unit that nowhere in the text reaches this share of its layer's size adds next to nothing there. */
static const double SILENT = 0.01;

struct unit {
    int64_t index, token;
    double value;
};

/* The unit's largest value, by size, over all tokens. */
static struct unit peak_of(const struct lm_record *record, const float *values, int64_t index)
{
    struct unit unit = {.index = index};
    for (int64_t i = 0; i < record->count; i++) {
        const double value = values[i * record->feed_forward + index];
        if (fabs(value) > fabs(unit.value) || i == 0) {
            unit.value = value;
            unit.token = i;
        }
    }
    return unit;
}

enum { UNIT_SIZE, UNIT_LARGEST, UNIT_POSITIVE, UNIT_SILENT, UNIT_DEAD, UNIT_COLUMNS };

static void measure_layer(const struct lm_record *record, int64_t layer, double *row, struct unit *strongest)
{
    const float *values = record->neurons + layer * record->count * record->feed_forward;
    const int64_t all = record->count * record->feed_forward;
    int64_t positive = 0;
    int used = 0;
    row[UNIT_SIZE] = size_of(values, all);
    row[UNIT_SILENT] = row[UNIT_DEAD] = row[UNIT_LARGEST] = 0;
    for (int64_t i = 0; i < all; i++)
        positive += values[i] > 0;
    row[UNIT_POSITIVE] = (double)positive / (double)all;
    for (int64_t i = 0; i < record->feed_forward; i++) {
        const struct unit unit = peak_of(record, values, i);
        row[UNIT_SILENT] += fabs(unit.value) < SILENT * row[UNIT_SIZE];
        row[UNIT_DEAD] += unit.value == 0;
        row[UNIT_LARGEST] = fmax(row[UNIT_LARGEST], fabs(unit.value));
        int at = used < STRONGEST ? used++ : STRONGEST;
        for (; at > 0 && fabs(unit.value) > fabs(strongest[at - 1].value); at--)
            if (at < STRONGEST)
                strongest[at] = strongest[at - 1];
        if (at < STRONGEST)
            strongest[at] = unit;
    }
}

/* How often activations are so large, all layers in one picture: shares of values by size in steps of half the layer's size. */
static void add_histogram(struct lm_page *page, const struct lm_record *record, const double *rows)
{
    double *shares = lm_alloc((size_t)(record->layers * BINS), sizeof *shares, &page->error);
    char names[BINS][16];
    const char *columns[BINS];
    if (!shares)
        return;
    const int64_t all = record->count * record->feed_forward;
    for (int64_t i = 0; i < record->layers * all; i++) {
        const double size = rows[i / all * UNIT_COLUMNS + UNIT_SIZE];
        const double step = size > 0 ? record->neurons[i] / size * 2 + 0.5 : 0.5;
        const int bin = step <= -(BINS / 2) ? 0 : step >= BINS / 2 + 1 ? BINS - 1 : (int)floor(step) + BINS / 2;
        shares[i / all * BINS + bin] += 1 / (double)all;
    }
    for (int i = 0; i < BINS; i++) {
        snprintf(names[i], sizeof names[i], "%s%d.%d", i < BINS / 2 ? "-" : "", (i < BINS / 2 ? BINS / 2 - i : i - BINS / 2) / 2,
                 (i < BINS / 2 ? BINS / 2 - i : i - BINS / 2) % 2 * 5);
        columns[i] = names[i];
    }
    const struct lm_block heat = {.kind = LM_BLOCK_HEAT, .name = "histogram", .title = "How large activations are",
                                  .row_axis = "layer", .column_axis = "activation, in multiples of the layer's size",
                                  .unit = "share of the layer's activations", .rows = record->layers, .columns = BINS,
                                  .column_names = columns, .values = shares, .decimals = 4};
    lm_page_add(page, &heat);
    lm_free(shares);
}

static void add_strongest(struct lm_page *page, const struct lm_record *record, char **labels, const struct unit *units)
{
    static const char *const columns[] = {"unit", "activation", "at token"};
    const size_t rows = (size_t)record->layers * STRONGEST;
    char **cells = lm_alloc(rows * 3, sizeof *cells, &page->error), **names = lm_alloc(rows, sizeof *names, &page->error);
    for (size_t i = 0; cells && names && i < rows; i++) {
        const struct unit *unit = &units[i];
        struct lm_bytes name = {0}, index = {0}, value = {0}, token = {0};
        char number[40];
        lm_show_number(unit->value, -1, number);
        lm_bytes_format(&name, &page->error, "layer %zu", i / STRONGEST);
        lm_bytes_format(&index, &page->error, "%lld", (long long)unit->index);
        lm_bytes_format(&value, &page->error, "%s", number);
        lm_bytes_format(&token, &page->error, "%s", labels[unit->token]);
        names[i] = name.data;
        cells[3 * i] = index.data;
        cells[3 * i + 1] = value.data;
        cells[3 * i + 2] = token.data;
    }
    const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "strongest", .title = "The strongest units", .rows = (int64_t)rows,
                                   .columns = 3, .row_names = (const char *const *)names, .column_names = columns,
                                   .texts = (const char *const *)cells};
    if (cells && names && !page->error.code)
        lm_page_add(page, &table);
    if (cells)
        lm_free_strings(cells, rows * 3);
    if (names)
        lm_free_strings(names, rows);
}

static void fill_neurons(struct lm_page *page, const struct lm_record *record, char **labels)
{
    static const char *const columns[] = {"size", "largest", "positive", "silent units", "dead units"};
    double *rows = lm_alloc((size_t)(record->layers * UNIT_COLUMNS), sizeof *rows, &page->error);
    struct unit *units = lm_alloc((size_t)(record->layers * STRONGEST), sizeof *units, &page->error);
    for (int64_t layer = 0; rows && units && layer < record->layers; layer++)
        measure_layer(record, layer, rows + layer * UNIT_COLUMNS, units + layer * STRONGEST);
    if (rows && units) {
        const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "layers", .title = "The units of each layer's MLP",
                                       .row_axis = "layer", .rows = record->layers, .columns = UNIT_COLUMNS,
                                       .column_names = columns, .values = rows, .decimals = -1};
        lm_page_say(page, "A unit is silent here if no token brings it to a hundredth of its layer's size, dead if it is exactly zero "
                    "throughout. Another text may wake it.");
        lm_page_fact(page, "units", "units a layer", "", 0, (double)record->feed_forward);
        lm_page_add(page, &table);
        add_histogram(page, record, rows);
        add_strongest(page, record, labels, units);
    }
    lm_free(rows);
    lm_free(units);
}

int lm_look_neurons(const struct lm_subject *subject, struct lm_page **page, loam_error *error)
{
    struct lm_record record;
    char **labels;
    int code = lm_record_run(subject->model, subject->ids, subject->count, &(struct lm_record_options){.neurons = true}, &record,
                             error);
    if (code)
        return code;
    struct lm_page *made = lm_page_create("Neurons", error);
    code = made ? lm_labels_make(subject->tokenizer, subject->ids, subject->count, &labels, error) : LOAM_ENOMEM;
    if (!code) {
        fill_neurons(made, &record, labels);
        lm_free_strings(labels, (size_t)subject->count);
        code = lm_page_check(made, error);
    }
    lm_record_free(&record);
    if (code)
        lm_page_free(made);
    else
        *page = made;
    return code;
}
