/* Weights: what range they span, and how far they have moved from one checkpoint to another. */
#include "page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK = 4096, BINS = 33, MIDDLE = BINS / 2 };
enum { LEAST, MOST, MEAN, SPREAD, ZEROS, NOT_FINITE, COLUMNS };

/* Up to CHUNK elements from `first` on; the number, 0 at the end; -1 for types that are no floating numbers. */
static int64_t read_chunk(const struct lm_tensor *tensor, uint64_t first, float *numbers)
{
    const int bits = lm_dtype_bits(tensor->dtype);
    if (first >= tensor->count)
        return 0;
    const uint64_t left = tensor->count - first;
    const size_t count = left < CHUNK ? (size_t)left : CHUNK;
    const unsigned char *data = tensor->data;
    if (bits < 8 || !lm_convert(LM_F32, numbers, tensor->dtype, data + first * (uint64_t)(bits / 8), count))
        return -1;
    return (int64_t)count;
}

static bool is_floating(const struct lm_tensor *tensor)
{
    float room[CHUNK];
    return tensor->count > 0 && read_chunk(tensor, 0, room) > 0;
}

static void measure(const struct lm_tensor *tensor, double *row)
{
    float numbers[CHUNK];
    double sum = 0, squares = 0;
    uint64_t finite = 0;
    int64_t count;
    row[LEAST] = INFINITY;
    row[MOST] = -INFINITY;
    row[ZEROS] = row[NOT_FINITE] = 0;
    for (uint64_t first = 0; (count = read_chunk(tensor, first, numbers)) > 0; first += (uint64_t)count)
        for (int64_t i = 0; i < count; i++) {
            const double x = numbers[i];
            if (!isfinite(x)) {
                row[NOT_FINITE]++;
                continue;
            }
            finite++;
            sum += x;
            squares += x * x;
            row[ZEROS] += x == 0;
            row[LEAST] = x < row[LEAST] ? x : row[LEAST];
            row[MOST] = x > row[MOST] ? x : row[MOST];
        }
    row[MEAN] = finite ? sum / (double)finite : NAN;
    row[SPREAD] = finite ? sqrt(fmax(0, squares / (double)finite - row[MEAN] * row[MEAN])) : NAN;
    if (!finite)
        row[LEAST] = row[MOST] = NAN;
}

/* Shares of a tensor's numbers by their distance from the mean, in steps of a quarter of the spread; the outermost bins hold all beyond. */
static void count_bins(const struct lm_tensor *tensor, const double *row, double *bins)
{
    float numbers[CHUNK];
    int64_t count;
    memset(bins, 0, BINS * sizeof *bins);
    for (uint64_t first = 0; (count = read_chunk(tensor, first, numbers)) > 0; first += (uint64_t)count)
        for (int64_t i = 0; i < count; i++) {
            if (!isfinite(numbers[i]))
                continue;
            const double step = row[SPREAD] > 0 ? floor((numbers[i] - row[MEAN]) / row[SPREAD] * 4 + 0.5) : 0;
            const int bin = step < -MIDDLE ? 0 : step > MIDDLE ? BINS - 1 : (int)step + MIDDLE;
            bins[bin] += 1 / (double)tensor->count;
        }
}

struct list {
    const struct lm_tensor **tensors;
    const char **names;
    size_t count;
};

static int list_floating(const struct lm_tensors *tensors, struct list *list, loam_error *error)
{
    const size_t all = lm_tensors_count(tensors);
    list->tensors = lm_alloc(all + 1, sizeof *list->tensors, error);
    list->names = lm_alloc(all + 1, sizeof *list->names, error);
    if (!list->tensors || !list->names)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < all; i++)
        if (is_floating(lm_tensors_at(tensors, i))) {
            list->tensors[list->count] = lm_tensors_at(tensors, i);
            list->names[list->count++] = lm_tensors_at(tensors, i)->name;
        }
    return LOAM_OK;
}

static void add_ranges(struct lm_page *page, const struct list *list)
{
    static const char *const columns[] = {"least", "most", "mean", "spread", "zeros", "not finite"};
    double *rows = lm_alloc(list->count * COLUMNS + 1, sizeof *rows, &page->error);
    double *bins = lm_alloc(list->count * BINS + 1, sizeof *bins, &page->error);
    char names[BINS][40];
    const char *shown[BINS];
    for (int i = 0; i < BINS; i++) {
        lm_show_number((i - MIDDLE) / 4.0, i % 4 ? 2 : 0, names[i]);
        shown[i] = names[i];
    }
    for (size_t i = 0; rows && bins && i < list->count; i++) {
        measure(list->tensors[i], rows + i * COLUMNS);
        count_bins(list->tensors[i], rows + i * COLUMNS, bins + i * BINS);
    }
    if (rows && bins) {
        struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "ranges", .title = "Ranges", .rows = (int64_t)list->count,
                                 .columns = COLUMNS, .row_names = list->names, .column_names = columns, .values = rows,
                                 .decimals = -1};
        lm_page_add(page, &block);
        block = (struct lm_block){.kind = LM_BLOCK_HEAT, .name = "histograms", .title = "Histograms", .row_axis = "tensor",
                                  .column_axis = "distance from the mean, in spreads; the ends hold all beyond",
                                  .unit = "share of the tensor's numbers", .rows = (int64_t)list->count, .columns = BINS,
                                  .row_names = list->names, .column_names = shown, .values = bins, .decimals = 4};
        lm_page_add(page, &block);
    }
    lm_free(rows);
    lm_free(bins);
}

/* --- The difference of two --- */

enum { MOVED_MOST, MOVED, RELATIVE, COSINE, DIFFERENCES };

static void compare(const struct lm_tensor *a, const struct lm_tensor *b, double *row)
{
    float x[CHUNK], y[CHUNK];
    double difference = 0, xx = 0, yy = 0, xy = 0;
    int64_t count;
    row[MOVED_MOST] = 0;
    for (uint64_t first = 0; (count = read_chunk(a, first, x)) > 0; first += (uint64_t)count) {
        read_chunk(b, first, y);
        for (int64_t i = 0; i < count; i++) {
            const double d = (double)y[i] - x[i];
            row[MOVED_MOST] = fabs(d) > row[MOVED_MOST] || isnan(d) ? fabs(d) : row[MOVED_MOST];
            difference += d * d;
            xx += (double)x[i] * x[i];
            yy += (double)y[i] * y[i];
            xy += (double)x[i] * y[i];
        }
    }
    row[MOVED] = sqrt(difference / (double)a->count);
    row[RELATIVE] = xx > 0 ? sqrt(difference / xx) : NAN;
    row[COSINE] = xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

static bool same_shape(const struct lm_tensor *a, const struct lm_tensor *b)
{
    return b && a->rank == b->rank && memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0 && is_floating(b);
}

static void name_missing(struct lm_page *page, const struct lm_tensors *from, const struct lm_tensors *in, const char *which)
{
    for (size_t i = 0; i < lm_tensors_count(from); i++) {
        const struct lm_tensor *tensor = lm_tensors_at(from, i), *found = lm_tensors_find(in, tensor->name);
        if (!found)
            lm_page_say(page, "%s stands in the %s alone.", tensor->name, which);
        else if (*which == 'f' && !same_shape(tensor, found))
            lm_page_say(page, "%s has another shape, or another kind of element, in the second.", tensor->name);
    }
}

static void add_differences(struct lm_page *page, const struct list *list, const struct lm_tensors *tensors,
                            const struct lm_tensors *other)
{
    static const char *const columns[] = {"moved at most", "moved", "by its size", "cosine"};
    double *rows = lm_alloc(list->count * DIFFERENCES + 1, sizeof *rows, &page->error);
    double *moved = lm_alloc(list->count + 1, sizeof *moved, &page->error);
    int64_t used = 0;
    for (size_t i = 0; rows && moved && i < list->count; i++) {
        const struct lm_tensor *found = lm_tensors_find(other, list->names[i]);
        if (!same_shape(list->tensors[i], found))
            continue;
        compare(list->tensors[i], found, rows + used * DIFFERENCES);
        moved[used] = rows[used * DIFFERENCES + RELATIVE];
        list->names[used++] = list->names[i];
    }
    if (rows && moved && used) {
        struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "differences", .title = "How far the weights have moved",
                                 .rows = used, .columns = DIFFERENCES, .row_names = list->names, .column_names = columns,
                                 .values = rows, .decimals = -1};
        lm_page_say(page, "Moved: the root of the mean square of the differences; by its size: norm of the difference by norm of the first.");
        lm_page_add(page, &block);
        block = (struct lm_block){.kind = LM_BLOCK_BARS, .name = "moved", .title = "Movement by tensor", .row_axis = "tensor",
                                  .column_axis = "norm of the difference by norm of the first", .rows = used, .columns = 1,
                                  .row_names = list->names, .values = moved, .decimals = -1};
        lm_page_add(page, &block);
    }
    name_missing(page, tensors, other, "first");
    name_missing(page, other, tensors, "second");
    lm_free(rows);
    lm_free(moved);
}

int lm_look_weights(const struct lm_tensors *tensors, const struct lm_tensors *other, struct lm_page **page, loam_error *error)
{
    struct list list = {0};
    struct lm_page *made = lm_page_create(other ? "Weights, two checkpoints" : "Weights", error);
    int code = made ? list_floating(tensors, &list, error) : LOAM_ENOMEM;
    if (!code) {
        lm_page_fact(made, "tensors", "tensors of floating numbers", "", 0, (double)list.count);
        if (other)
            add_differences(made, &list, tensors, other);
        else
            add_ranges(made, &list);
        code = lm_page_check(made, error);
    }
    lm_free(list.tensors);
    lm_free(list.names);
    if (code)
        lm_page_free(made);
    else
        *page = made;
    return code;
}
