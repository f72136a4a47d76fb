/* Every backward operation against differences of its forward one (attention: test_gradients_attention.c).
 *
 * The plain operations are compiled a second time in double (lm_f64_...); there support/differences.h takes slopes.
 * Then the fp32 backward passes of the plain and the fast table are held against the double one, within bounds that follow
 * from the rounding of fp32 (support/numbers.h); in the plain table every sum counts as one rounding.
 */
#include "compute/reference/reference.h"
#include "support/differences.h"

#include <math.h>

enum { TABLES = 2 };

static struct lm_device *devices[TABLES];    /* the plain table, then the one a user gets */
static struct lm_random generator;

static double rounding(int table, int64_t terms)
{
    return test_rounding(table == 0 ? 1 : terms);
}

static struct lm_matrix f64_matrix(const double *x, int64_t stride)
{
    return (struct lm_matrix){.data = (void *)x, .dtype = LM_F64, .stride = stride};
}

static struct lm_matrix f32_matrix(const float *x, int64_t stride)
{
    return (struct lm_matrix){.data = (void *)x, .dtype = LM_F32, .stride = stride};
}

/* What stands in a gradient before a backward pass adds to it, and that plus the gradient. */
static double *plus(const double *before, const double *gradient, int64_t count)
{
    double *sum = test_take(count, sizeof *sum);
    for (int64_t i = 0; i < count; i++)
        sum[i] = before[i] + gradient[i];
    return sum;
}

static double *copied(const double *x, int64_t count)
{
    double *copy = test_take(count, sizeof *copy);
    memcpy(copy, x, (size_t)count * sizeof *copy);
    return copy;
}

/* What a backward pass added to `before`: wrong where it set instead. */
static double *minus(const double *sum, const double *before, int64_t count)
{
    double *rest = test_take(count, sizeof *rest);
    for (int64_t i = 0; i < count; i++)
        rest[i] = sum[i] - before[i];
    return rest;
}

static void check_devices(const char *label)
{
    for (int table = 0; table < TABLES; table++) {
        loam_error error;
        if (lm_device_check(devices[table], &error) != LOAM_OK)
            fail_msg("%s: %s", label, error.message);
    }
}

/* y = x·wᵀ + bias, as a linear layer: dx = dy·w, dw += dyᵀ·x, dbias += columns of dy. */
struct linear {
    int64_t rows, out, in;
    const double *x, *w, *bias;
    double *y;
};

static void linear_forward(const void *context)
{
    const struct linear *l = context;
    lm_f64_matmul(devices[0], &(struct lm_matmul){.m = l->rows, .n = l->out, .k = l->in, .a = f64_matrix(l->x, l->in),
                  .b = f64_matrix(l->w, l->in), .transpose_b = true, .c = f64_matrix(l->y, l->out),
                  .bias = (const float *)(const void *)l->bias});
}

static void linear_backward_single(int table, const char *label, const struct linear *l, const double *above,
                                   const double *dx, const double *dw, const double *before, const double *dbias)
{
    const struct lm_ops *ops = lm_device_ops(devices[table]);
    float *x = test_to_floats(l->x, l->rows * l->in), *w = test_to_floats(l->w, l->out * l->in);
    float *dy = test_to_floats(above, l->rows * l->out), *got_dx = test_take(l->rows * l->in, sizeof(float));
    float *got_dw = test_to_floats(before, l->out * l->in), *got_dbias = test_take(l->out, sizeof(float));
    ops->matmul(devices[table], &(struct lm_matmul){.m = l->rows, .n = l->in, .k = l->out,
                .a = f32_matrix(dy, l->out), .b = f32_matrix(w, l->in), .c = f32_matrix(got_dx, l->in)});
    ops->matmul(devices[table], &(struct lm_matmul){.m = l->out, .n = l->in, .k = l->rows, .transpose_a = true,
                .add = true, .a = f32_matrix(dy, l->out), .b = f32_matrix(x, l->in), .c = f32_matrix(got_dw, l->in)});
    ops->bias_backward(devices[table], l->rows, l->out, dy, l->out, got_dbias);
    double most_dy = test_largest(above, l->rows * l->out), most_x = test_largest(l->x, l->rows * l->in);
    double most_w = test_largest(l->w, l->out * l->in);
    test_near(label, got_dx, dx, rounding(table, l->out) * (double)l->out * most_dy * most_w, l->rows * l->in);
    test_near(label, got_dw, plus(before, dw, l->out * l->in),
              rounding(table, l->rows + 1) * ((double)l->rows * most_dy * most_x + test_largest(before, l->out * l->in)),
              l->out * l->in);
    test_near(label, got_dbias, dbias, rounding(table, l->rows) * (double)l->rows * most_dy, l->out);
}

static void test_linear(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{1, 1, 1}, {5, 7, 3}, {9, 13, 11}, {17, 16, 32}, {3, 65, 31}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int64_t rows = shapes[s][0], out = shapes[s][1], in = shapes[s][2];
        char label[80];
        snprintf(label, sizeof label, "linear %ldx%ldx%ld", (long)rows, (long)out, (long)in);
        double *x = test_doubles(&generator, rows * in, 1), *w = test_doubles(&generator, out * in, 1);
        double *bias = test_doubles(&generator, out, 1), *above = test_doubles(&generator, rows * out, 1);
        double *y = test_take(rows * out, sizeof *y), *dx = test_take(rows * in, sizeof *dx);
        double *before = test_doubles(&generator, out * in, 1), *dw = copied(before, out * in);
        double *dbias = test_take(out, sizeof *dbias);
        struct linear l = {rows, out, in, x, w, bias, y};
        lm_f64_matmul(devices[0], &(struct lm_matmul){.m = rows, .n = in, .k = out, .a = f64_matrix(above, out),
                      .b = f64_matrix(w, in), .c = f64_matrix(dx, in)});
        lm_f64_matmul(devices[0], &(struct lm_matmul){.m = out, .n = in, .k = rows, .transpose_a = true, .add = true,
                      .a = f64_matrix(above, out), .b = f64_matrix(x, in), .c = f64_matrix(dw, in)});
        lm_f64_bias_backward(devices[0], rows, out, above, out, dbias);
        dw = minus(dw, before, out * in);
        struct test_function function = {linear_forward, &l, y, above, rows * out};
        test_differences(&generator, label, &function, (struct test_variable[]){{"x", x, dx, rows * in}, {"w", w, dw, out * in},
                          {"bias", bias, dbias, out}}, 3);
        for (int table = 0; table < TABLES; table++)
            linear_backward_single(table, label, &l, above, dx, dw, before, dbias);
        check_devices(label);
        test_give_back();
    }
}

struct embedding {
    int64_t rows, width, vocabulary, position_count;
    const int32_t *ids, *positions;    /* positions may be NULL */
    const double *table, *positions_table;
    double *out;
};

static void embedding_forward(const void *context)
{
    const struct embedding *e = context;
    lm_f64_embed(devices[0], e->rows, e->width, e->ids, f64_matrix(e->table, e->width), e->positions,
                 f64_matrix(e->positions_table, e->width), e->out);
}

static void check_embedding(int64_t rows, int64_t width, int64_t vocabulary, bool with_positions)
{
    char label[80];
    snprintf(label, sizeof label, "embed %ldx%ld of %ld%s", (long)rows, (long)width, (long)vocabulary,
             with_positions ? " with positions" : "");
    int64_t position_count = rows + 2;
    int32_t *ids = test_take(rows, sizeof *ids), *positions = test_take(rows, sizeof *positions);
    for (int64_t r = 0; r < rows; r++) {
        ids[r] = (int32_t)lm_random_below(&generator, (uint64_t)vocabulary);
        positions[r] = (int32_t)(r / 2);
    }
    double *table = test_doubles(&generator, vocabulary * width, 1);
    double *positions_table = test_doubles(&generator, position_count * width, 1);
    double *out = test_take(rows * width, sizeof *out), *above = test_doubles(&generator, rows * width, 1);
    double *before = test_doubles(&generator, vocabulary * width, 1), *dtable = copied(before, vocabulary * width);
    double *dpositions = test_take(position_count * width, sizeof *dpositions);
    struct embedding e = {rows, width, vocabulary, position_count, ids, with_positions ? positions : NULL, table,
                          positions_table, out};
    lm_f64_embed_backward(devices[0], rows, width, ids, above, (struct lm_matrix){dtable, LM_F64, width}, e.positions,
                          (struct lm_matrix){dpositions, LM_F64, width});
    struct test_function function = {embedding_forward, &e, out, above, rows * width};
    test_differences(&generator, label, &function, (struct test_variable[]){{"table", table, minus(dtable, before, vocabulary * width),
                      vocabulary * width}, {"positions", positions_table, dpositions, position_count * width}},
                      with_positions ? 2 : 1);
    for (int table_at = 0; table_at < TABLES; table_at++) {
        float *got = test_to_floats(before, vocabulary * width);
        float *got_positions = test_take(position_count * width, sizeof *got_positions);
        lm_device_ops(devices[table_at])->embed_backward(devices[table_at], rows, width, ids,
            test_to_floats(above, rows * width), (struct lm_matrix){got, LM_F32, width}, e.positions,
            (struct lm_matrix){got_positions, LM_F32, width});
        /* Both tables add row by row in fp32. */
        double bound = test_rounding(rows + 1) * (double)(rows + 1) * fmax(test_largest(above, rows * width), 4);
        test_near(label, got, dtable, bound, vocabulary * width);
        test_near(label, got_positions, dpositions, bound, position_count * width);
    }
    check_devices(label);
    test_give_back();
}

static void test_embedding(void **state)
{
    (void)state;
    check_embedding(1, 1, 1, true);
    check_embedding(13, 5, 4, true);
    check_embedding(13, 17, 4, false);
    check_embedding(40, 3, 50, true);
}

struct norm {
    bool rms;
    int64_t rows, groups, width, stride;
    const double *x, *weight, *bias;    /* weight and bias may be NULL */
    double *y, *mean, *rstd;
};

static void norm_forward(const void *context)
{
    const struct norm *n = context;
    if (n->rms)
        lm_f64_rms_norm(devices[0], n->rows, n->groups, n->width, 1e-5f, n->x, n->stride, f64_matrix(n->weight, 0), n->y,
                        n->stride, n->rstd);
    else
        lm_f64_layer_norm(devices[0], n->rows, n->width, 1e-5f, n->x, f64_matrix(n->weight, 0), f64_matrix(n->bias, 0),
                          n->y, n->mean, n->rstd);
}

/* The fp32 pass reads mean and rstd as fp32 rounded them. With n = (x - mean) * rstd, X and N the largest x*rstd and n, G the
 * largest dy*weight: n is off by r*(X + N) for sums of C terms rounded by r, and dx = rstd*(G + G + n*mean(g*n)) by
 * r*rstd*G*(2 + N*N) from its own sums and 2*r*rstd*G*N*(X + N) from n; dweight by R*max dy*r*(X + 2N). */
static void norm_backward_single(int table, const char *label, const struct norm *n, const double *above,
                                 const double *dx, const double *dweight, const double *dbias, const double *before)
{
    struct lm_device *device = devices[table];
    const struct lm_ops *ops = lm_device_ops(device);
    int64_t count = n->rows * n->stride;
    float *x = test_to_floats(n->x, count), *dy = test_to_floats(above, count), *y = test_take(count, sizeof *y);
    float *weight = n->weight ? test_to_floats(n->weight, n->width) : NULL;
    float *bias = n->bias ? test_to_floats(n->bias, n->width) : NULL;
    float *mean = test_take(n->rows, sizeof *mean), *rstd = test_take(n->rows * n->groups, sizeof *rstd);
    float *set = test_take(count, sizeof *set), *added = test_to_floats(before, count);
    float *got_dweight = test_take(n->width, sizeof *got_dweight), *got_dbias = test_take(n->width, sizeof *got_dbias);
    struct lm_matrix w = f32_matrix(weight, n->width), b = f32_matrix(bias, n->width);
    if (n->rms) {
        ops->rms_norm(device, n->rows, n->groups, n->width, 1e-5f, x, n->stride, w, y, n->stride, rstd);
        ops->rms_norm_backward(device, n->rows, n->groups, n->width, x, n->stride, w, rstd, dy, n->stride, added,
                               n->stride, true, NULL);
        memcpy(set, dy, (size_t)count * sizeof *set);
        ops->rms_norm_backward(device, n->rows, n->groups, n->width, x, n->stride, w, rstd, set, n->stride, set,
                               n->stride, false, got_dweight);
    } else {
        ops->layer_norm(device, n->rows, n->width, 1e-5f, x, w, b, y, mean, rstd);
        ops->layer_norm_backward(device, n->rows, n->width, x, w, mean, rstd, dy, added, true, NULL, NULL);
        memcpy(set, dy, (size_t)count * sizeof *set);
        ops->layer_norm_backward(device, n->rows, n->width, x, w, mean, rstd, set, set, false, got_dweight, got_dbias);
    }
    double scale = test_largest(n->rstd, n->rows * n->groups), X = test_largest(n->x, count) * scale;
    double N = n->rms ? X : 2 * X, dy_most = test_largest(above, count);
    double G = dy_most * (n->weight ? test_largest(n->weight, n->width) : 1);
    double r = rounding(table, n->width), bound = r * scale * G * (2 + N * N + 2 * N * (X + N));
    double rows = (double)(n->rows * n->groups);
    for (int64_t row = 0; row < n->rows; row++) {
        int64_t at = row * n->stride, used = n->groups * n->width;
        test_near(label, set + at, dx + at, bound, used);
        test_near(label, added + at, plus(before + at, dx + at, used),
                  bound + 0x1p-24 * (test_largest(before, count) + test_largest(dx, count)), used);
        test_same(label, set + at + used, dy + at + used, n->stride - used, sizeof *set);
    }
    r = rounding(table, n->width + n->rows * n->groups);
    test_near(label, got_dweight, dweight, r * rows * dy_most * (X + 2 * N), n->width);
    if (!n->rms)
        test_near(label, got_dbias, dbias, r * rows * dy_most, n->width);
}

static void check_norm(bool rms, int64_t rows, int64_t groups, int64_t width, int64_t gap, bool weighted, bool biased)
{
    char label[80];
    snprintf(label, sizeof label, "%s norm %ldx%ldx%ld%s%s", rms ? "rms" : "layer", (long)rows, (long)groups,
             (long)width, weighted ? " weight" : "", biased ? " bias" : "");
    int64_t stride = groups * width + gap, count = rows * stride;
    double *x = test_doubles(&generator, count, 2), *above = test_doubles(&generator, count, 1);
    double *weight = test_doubles(&generator, width, 1), *bias = test_doubles(&generator, width, 1);
    for (int64_t r = 0; r < rows; r++)
        memset(above + r * stride + groups * width, 0, (size_t)gap * sizeof *above);
    struct norm n = {rms, rows, groups, width, stride, x, weighted ? weight : NULL, biased ? bias : NULL,
                     test_take(count, sizeof(double)), test_take(rows, sizeof(double)),
                     test_take(rows * groups, sizeof(double))};
    double *before = test_doubles(&generator, count, 1), *added = copied(before, count);
    double *dx = test_take(count, sizeof *dx), *dweight = test_take(width, sizeof *dweight);
    double *dbias = test_take(width, sizeof *dbias);
    norm_forward(&n);
    if (rms) {
        lm_f64_rms_norm_backward(devices[0], rows, groups, width, x, stride, f64_matrix(n.weight, 0), n.rstd, above, stride,
                                 dx, stride, false, dweight);
        lm_f64_rms_norm_backward(devices[0], rows, groups, width, x, stride, f64_matrix(n.weight, 0), n.rstd, above, stride,
                                 added, stride, true, NULL);
    } else {
        lm_f64_layer_norm_backward(devices[0], rows, width, x, f64_matrix(n.weight, 0), n.mean, n.rstd, above, dx, false,
                                   dweight, dbias);
        lm_f64_layer_norm_backward(devices[0], rows, width, x, f64_matrix(n.weight, 0), n.mean, n.rstd, above, added, true,
                                   NULL, NULL);
    }
    struct test_function function = {norm_forward, &n, n.y, above, count};
    struct test_variable variables[] = {{"x", x, dx, count}, {"x, added", x, minus(added, before, count), count},
                                   {"weight", weight, dweight, width}, {"bias", bias, dbias, width}};
    test_differences(&generator, label, &function, variables, 2);
    if (weighted)
        test_differences(&generator, label, &function, variables + 2, 1);
    if (biased)
        test_differences(&generator, label, &function, variables + 3, 1);
    for (int table = 0; table < TABLES; table++)
        norm_backward_single(table, label, &n, above, dx, dweight, dbias, before);
    check_devices(label);
    test_give_back();
}

static void test_norms(void **state)
{
    (void)state;
    static const int64_t widths[] = {2, 3, 7, 16, 33, 64, 131};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        for (int mask = 0; mask < 4; mask++)
            check_norm(false, 1 + (int64_t)i, 1, widths[i], 0, mask & 1, mask & 2);
        check_norm(true, 1 + (int64_t)i, 1, widths[i], 0, i % 2, false);
        check_norm(true, 3, 1 + (int64_t)i, widths[i], 5, !(i % 2), false);
    }
    check_norm(true, 2, 3, 1, 2, true, false);
}

struct rotation {
    int64_t rows, heads, head_size, stride;
    const double *x, *angles;
    double *y;
};

static void rotation_forward(const void *context)
{
    const struct rotation *r = context;
    memcpy(r->y, r->x, (size_t)(r->rows * r->stride) * sizeof *r->y);
    lm_f64_rope(devices[0], r->rows, r->heads, r->head_size, r->y, r->stride, r->angles, false);
}

static void check_rotation(int64_t rows, int64_t heads, int64_t head_size, int64_t gap, float scale)
{
    char label[80];
    snprintf(label, sizeof label, "rope %ldx%ldx%ld", (long)rows, (long)heads, (long)head_size);
    int64_t half = head_size / 2, stride = heads * head_size + gap, count = rows * stride;
    int32_t *positions = test_take(rows, sizeof *positions);
    double *frequency = test_take(half, sizeof *frequency), *angles = test_take(rows * half * 2, sizeof *angles);
    for (int64_t i = 0; i < half; i++)
        frequency[i] = (float)pow(10000, -(double)i / (double)half);
    for (int64_t r = 0; r < rows; r++)
        positions[r] = (int32_t)lm_random_below(&generator, 5000);
    lm_f64_rope_angles(devices[0], rows, half, positions, frequency, scale, angles);
    double *x = test_doubles(&generator, count, 1), *above = test_doubles(&generator, count, 1);
    struct rotation rotation = {rows, heads, head_size, stride, x, angles, test_take(count, sizeof(double))};
    double *dx = copied(above, count);
    lm_f64_rope(devices[0], rows, heads, head_size, dx, stride, angles, true);
    struct test_function function = {rotation_forward, &rotation, rotation.y, above, count};
    test_differences(&generator, label, &function, &(struct test_variable){"x", x, dx, count}, 1);
    for (int table = 0; table < TABLES; table++) {
        float *got = test_to_floats(above, count);
        lm_device_ops(devices[table])->rope(devices[table], rows, heads, head_size, got, stride,
                                            test_to_floats(angles, rows * half * 2), true);
        test_near(label, got, dx, test_rounding(1) * 2 * test_largest(above, count) * (double)scale, count);
    }
    check_devices(label);
    test_give_back();
}

static void test_rope(void **state)
{
    (void)state;
    check_rotation(1, 1, 2, 0, 1);
    check_rotation(5, 3, 6, 1, 1);
    check_rotation(3, 2, 16, 0, 1.25f);
    check_rotation(3, 2, 80, 7, 1);
    check_rotation(2, 5, 128, 0, 1);
}

struct elements {
    int64_t rows, width;
    bool tanh_form;
    const double *x;
    double *y;
};

static void gelu_forward(const void *context)
{
    const struct elements *e = context;
    lm_f64_gelu(devices[0], e->width, e->tanh_form, e->x, e->y);
}

static void swiglu_forward(const void *context)
{
    const struct elements *e = context;
    lm_f64_swiglu(devices[0], e->rows, e->width, e->x, e->y);
}

/* |x * act''| and what act' is made of stay under 2, so that dx is off by a few roundings of dy * (1 + |x|). */
static void test_gelu(void **state)
{
    (void)state;
    for (int tanh_form = 0; tanh_form < 2; tanh_form++) {
        for (int64_t count = 1; count < 300; count = count * 3 + 1) {
            double *x = test_doubles(&generator, count, 2), *above = test_doubles(&generator, count, 1);
            double *y = test_take(count, sizeof *y), *dx = test_take(count, sizeof *dx);
            double *bound = test_take(count, sizeof *bound);
            struct elements e = {1, count, tanh_form, x, y};
            lm_f64_gelu_backward(devices[0], count, tanh_form, x, above, dx);
            struct test_function function = {gelu_forward, &e, y, above, count};
            test_differences(&generator, tanh_form ? "gelu tanh" : "gelu erf", &function, &(struct test_variable){"x", x, dx, count}, 1);
            for (int64_t i = 0; i < count; i++)
                bound[i] = test_rounding(1) * fabs(above[i]) * (1 + fabs(x[i]));
            for (int table = 0; table < TABLES; table++) {
                const struct lm_ops *ops = lm_device_ops(devices[table]);
                float *over_dy = test_to_floats(above, count), *over_x = test_to_floats(x, count);
                ops->gelu_backward(devices[table], count, tanh_form, test_to_floats(x, count), over_dy, over_dy);
                test_close("gelu_backward over dy", over_dy, dx, bound, count);
                ops->gelu_backward(devices[table], count, tanh_form, over_x, test_to_floats(above, count), over_x);
                test_close("gelu_backward over x", over_x, dx, bound, count);
            }
            test_give_back();
        }
    }
    check_devices("gelu");
}

static void test_swiglu(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{1, 1}, {3, 5}, {2, 17}, {5, 64}, {4, 131}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int64_t rows = shapes[s][0], width = shapes[s][1], count = rows * width;
        double *x = test_doubles(&generator, 2 * count, 2), *above = test_doubles(&generator, count, 1);
        double *y = test_take(count, sizeof *y), *dx = test_take(2 * count, sizeof *dx);
        struct elements e = {rows, width, false, x, y};
        lm_f64_swiglu_backward(devices[0], rows, width, x, above, dx);
        struct test_function function = {swiglu_forward, &e, y, above, count};
        test_differences(&generator, "swiglu", &function, &(struct test_variable){"gate_up", x, dx, 2 * count}, 1);
        double *bound = test_take(2 * count, sizeof *bound);
        for (int64_t i = 0; i < count; i++) {
            int64_t gate = i / width * 2 * width + i % width, up = gate + width;
            bound[gate] = test_rounding(1) * fabs(above[i] * x[up]) * (1 + fabs(x[gate]));
            bound[up] = test_rounding(1) * fabs(above[i]) * (1 + fabs(x[gate]));
        }
        for (int table = 0; table < TABLES; table++) {
            float *got = test_to_floats(x, 2 * count);
            lm_device_ops(devices[table])->swiglu_backward(devices[table], rows, width, got,
                                                           test_to_floats(above, count), got);
            test_close("swiglu_backward in place", got, dx, bound, 2 * count);
        }
        test_give_back();
    }
    check_devices("swiglu");
}

struct loss_rows {
    int64_t rows, vocabulary, stride;
    const int32_t *targets;
    const double *logits;
    double *copy, *loss;
};

static void cross_entropy_forward(const void *context)
{
    const struct loss_rows *l = context;
    memcpy(l->copy, l->logits, (size_t)(l->rows * l->stride) * sizeof *l->copy);
    lm_f64_cross_entropy(devices[0], l->rows, l->vocabulary, l->copy, l->stride, l->targets, 1, false, l->loss);
}

static void check_cross_entropy(int64_t rows, int64_t vocabulary, int64_t gap, float scale)
{
    char label[80];
    snprintf(label, sizeof label, "cross_entropy %ldx%ld", (long)rows, (long)vocabulary);
    int64_t stride = vocabulary + gap, count = rows * stride;
    double *logits = test_doubles(&generator, count, 3), *above = test_take(rows, sizeof *above);
    int32_t *targets = test_take(rows, sizeof *targets);
    for (int64_t r = 0; r < rows; r++) {
        targets[r] = r % 3 == 1 ? -1 : (int32_t)lm_random_below(&generator, (uint64_t)vocabulary);
        above[r] = scale;
    }
    struct loss_rows l = {rows, vocabulary, stride, targets, logits, test_take(count, sizeof(double)),
                          test_take(rows, sizeof(double))};
    double *slope = copied(logits, count), *row_loss = test_take(rows, sizeof *row_loss);
    lm_f64_cross_entropy(devices[0], rows, vocabulary, slope, stride, targets, scale, true, row_loss);
    double *told = copied(slope, count);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t g = vocabulary; g < stride; g++)
            told[r * stride + g] = 0;
    struct test_function function = {cross_entropy_forward, &l, l.loss, above, rows};
    test_differences(&generator, label, &function, &(struct test_variable){"logits", logits, told, count}, 1);
    for (int table = 0; table < TABLES; table++) {
        float *got = test_to_floats(logits, count), *got_loss = test_take(rows, sizeof *got_loss);
        lm_device_ops(devices[table])->cross_entropy(devices[table], rows, vocabulary, got, stride, targets, scale, true,
                                                     got_loss);
        test_near(label, got, slope, rounding(table, vocabulary) * (double)scale * 2, count);
        test_near(label, got_loss, row_loss, rounding(table, vocabulary) + test_rounding(1) * 20, rows);
    }
    check_devices(label);
    test_give_back();
}

static void test_cross_entropy(void **state)
{
    (void)state;
    check_cross_entropy(1, 1, 0, 1);
    check_cross_entropy(2, 2, 0, 0.5f);
    check_cross_entropy(7, 13, 3, 1.0f / 7);
    check_cross_entropy(5, 257, 0, 0.2f);
    check_cross_entropy(3, 1003, 5, 1);
}

static int open_devices(void **state)
{
    (void)state;
    loam_error error;
    generator = lm_random_seed(20260101, 0);
    return lm_device_open(&(struct lm_device_options){.reference = true, .threads = 1}, &devices[0], &error) ||
           lm_device_open(&(struct lm_device_options){.threads = 2}, &devices[1], &error);
}

static int close_devices(void **state)
{
    (void)state;
    lm_device_close(devices[0]);
    lm_device_close(devices[1]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear), cmocka_unit_test(test_embedding), cmocka_unit_test(test_norms),
        cmocka_unit_test(test_rope), cmocka_unit_test(test_gelu), cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_cross_entropy),
    };
    return cmocka_run_group_tests(tests, open_devices, close_devices);
}
