/* Operations on rows (norms, rotary positions, embeddings, losses, sums of columns) of every table against the plain one. */
#include "support/judge.h"

#include <math.h>

static struct lm_random generator;

enum kind { NORMAL, LARGE, TINY, EQUAL, SHIFTED, WITH_NAN, KINDS };
static const char *const kind_names[] = {"normal", "large", "tiny", "equal", "shifted", "with NaN"};

/* Rows as they come and as they should not: 1e15 large, below the normal fp32 range, all the same, far from 0, one NaN. */
static float *make_rows(enum kind kind, int64_t rows, int64_t stride)
{
    static const double spreads[] = {1, 1e15, 1e-40, 0, 1, 1};
    float *x = test_floats(&generator, rows * stride, spreads[kind]);
    for (int64_t i = 0; i < rows * stride; i++)
        x[i] += kind == SHIFTED || kind == EQUAL ? 100.0f : 0.0f;
    if (kind == WITH_NAN)
        x[rows / 2 * stride] = NAN;
    return x;
}

static double largest(const float *x, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmax(most, fabs((double)x[i]));    /* fmax passes over NaN */
    return most;
}

struct norm {
    bool rms, add, in_place;
    int64_t rows, groups, width, x_stride, y_stride;
    const float *x, *dy;
    struct lm_matrix weight, bias;
    const float *mean, *rstd;    /* of the plain table, for the backward pass */
};

static void run_norm(struct lm_device *device, const void *context, float *const *out)
{
    const struct norm *n = context;
    const struct lm_ops *ops = lm_device_ops(device);
    const float *x = n->in_place ? memcpy(out[0], n->x, (size_t)(n->rows * n->x_stride) * sizeof *n->x) : n->x;
    if (n->rms)
        ops->rms_norm(device, n->rows, n->groups, n->width, 1e-6f, x, n->x_stride, n->weight, out[0], n->y_stride,
                      out[1]);
    else
        ops->layer_norm(device, n->rows, n->width, 1e-6f, x, n->weight, n->bias, out[0], out[2], out[1]);
}

static void run_norm_backward(struct lm_device *device, const void *context, float *const *out)
{
    const struct norm *n = context;
    const struct lm_ops *ops = lm_device_ops(device);
    const float *dy = n->dy;
    if (n->in_place)
        dy = memcpy(out[0], n->dy, (size_t)(n->rows * n->y_stride) * sizeof *n->dy);
    if (n->rms)
        ops->rms_norm_backward(device, n->rows, n->groups, n->width, n->x, n->x_stride, n->weight, n->rstd, dy,
                               n->y_stride, out[0], n->y_stride, n->add, out[1]);
    else
        ops->layer_norm_backward(device, n->rows, n->width, n->x, n->weight, n->mean, n->rstd, dy, out[0], n->add,
                                 out[1], out[2]);
}

/* With r = rounding(C), X the largest |x|*rstd, N the largest |x - mean|*rstd: mean is off by r*|x|, n by r*(X + 2N), rstd by
 * r of itself and, as the variance is a sum of squares of what is off by r*|x|, by r*X more. */
static void judge_norm(struct norm *n, enum kind kind)
{
    char label[120];
    snprintf(label, sizeof label, "%s norm %ldx%ldx%ld, %s%s", n->rms ? "rms" : "layer", (long)n->rows, (long)n->groups,
             (long)n->width, kind_names[kind], n->in_place ? ", in place" : "");
    int64_t x_count = n->rows * n->x_stride, y_count = n->rows * n->y_stride, groups = n->rows * n->groups;
    float *y = test_take(y_count, sizeof *y), *rstd = test_take(groups, sizeof *rstd);
    float *mean = test_take(n->rows, sizeof *mean), *out[] = {y, rstd, mean};
    bool in_place = n->in_place;
    run_norm(test_plain(), n, out);
    double scale = largest(rstd, groups), x_most = largest(n->x, x_count), X = x_most * scale, r = test_rounding(n->width);
    double N = kind == EQUAL ? 0 : fmin(X * (n->rms ? 1 : 2), sqrt((double)n->width)), w = 3, b = 4;
    double *y_bound = test_bound(y_count, r * w * (X + 2 * N + N * (1 + (n->rms ? 0 : X))) + 0x1p-24 * b);
    struct test_operation forward = {label, run_norm, n, false, {
        {"y", y_count, NULL, y_bound},
        {"rstd", groups, NULL, test_bound(groups, r * scale * (1 + (n->rms ? 0 : X)))},
        {n->rms ? NULL : "mean", n->rows, NULL, test_bound(n->rows, r * x_most)}}};
    test_judge(&forward);

    strcat(label, ", backward");
    n->mean = mean;
    n->rstd = rstd;
    double G = largest(n->dy, y_count) * w, rows = (double)groups;
    double *dx_bound = test_bound(y_count, r * scale * G * (2 + N * N + 2 * N * (X + N)) + 0x1p-23 * G);
    double sums = test_rounding(groups) * rows * G * (X + N);
    float *before = test_floats(&generator, n->width, 1), *dx_before = test_floats(&generator, y_count, 1);
    for (int add = 0; add < 2; add++) {
        n->add = add;
        n->in_place = in_place && !add;
        struct test_operation backward = {label, run_norm_backward, n, false, {
            {"dx", y_count, add ? dx_before : NULL, dx_bound},
            {"dweight", n->width, before, test_bound(n->width, sums + 0x1p-21)},
            {n->rms ? NULL : "dbias", n->width, before, test_bound(n->width, test_rounding(groups) * rows * G + 0x1p-21)}}};
        test_judge(&backward);
    }
}

static void check_norm(bool rms, enum kind kind, int64_t rows, int64_t groups, int64_t width, int form)
{
    struct norm n = {.rms = rms, .rows = rows, .groups = groups, .width = width, .in_place = form & 1};
    n.x_stride = n.y_stride = groups * width + (rms ? form & 2 : 0);
    if (rms && (form & 4) && !n.in_place)
        n.x_stride += 5;
    n.x = make_rows(kind, rows, n.x_stride);
    n.dy = test_floats(&generator, rows * n.y_stride, 1);
    float *weight = test_floats(&generator, width, 0.7), *bias = test_floats(&generator, width, 0.7);
    if (form & 2)
        n.weight = form & 4 ? test_matrix_bf16(weight, width, width) : test_matrix(weight, width);
    if (form & 4)
        n.bias = form & 2 ? test_matrix_bf16(bias, width, width) : test_matrix(bias, width);
    judge_norm(&n, kind);
    test_give_back();
}

static void test_norms(void **state)
{
    (void)state;
    static const int64_t widths[] = {1, 2, 7, 16, 33, 80, 131, 768};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        for (enum kind kind = NORMAL; kind < KINDS; kind++) {
            int form = (int)i + (int)kind;
            check_norm(false, kind, 1 + (int64_t)i * 2, 1, widths[i], form & 6);
            check_norm(true, kind, 1 + (int64_t)i * 2, 1, widths[i], form);
            check_norm(true, kind, 5, 1 + form % 4, widths[i], form + 3);
        }
    }
}

struct rotation {
    int64_t rows, heads, head_size, stride;
    const int32_t *positions;
    const float *frequency, *angles;
    float scale;
    bool inverse;
};

static void run_angles(struct lm_device *device, const void *context, float *const *out)
{
    const struct rotation *r = context;
    lm_device_ops(device)->rope_angles(device, r->rows, r->head_size / 2, r->positions, r->frequency, r->scale, out[0]);
}

static void run_rope(struct lm_device *device, const void *context, float *const *out)
{
    const struct rotation *r = context;
    lm_device_ops(device)->rope(device, r->rows, r->heads, r->head_size, out[0], r->stride, r->angles, r->inverse);
}

/* The angle is one fp32 product, the same everywhere, also at position 131071; its cosine is off by an ulp or two. */
static void test_rope(void **state)
{
    (void)state;
    static const int64_t sizes[] = {2, 6, 16, 32, 64, 80, 128, 130};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t rows = 1 + (int64_t)i * 3, heads = 1 + (int64_t)i % 3, half = sizes[i] / 2;
        int32_t *positions = test_take(rows, sizeof *positions);
        float *frequency = test_take(half, sizeof *frequency);
        for (int64_t r = 0; r < rows; r++)
            positions[r] = r == 0 ? 131071 : (int32_t)lm_random_below(&generator, 1u << (r + 2 < 17 ? r + 2 : 17));
        for (int64_t f = 0; f < half; f++)
            frequency[f] = (float)pow(500000, -(double)f / (double)half);
        struct rotation r = {rows, heads, sizes[i], heads * sizes[i] + (int64_t)i % 4, positions, frequency, NULL,
                             i % 2 ? 1.0f : 1.2f, false};
        int64_t angle_count = rows * half * 2, count = rows * r.stride;
        float *angles = test_take(angle_count, sizeof *angles), *out[] = {angles};
        test_judge(&(struct test_operation){"rope_angles", run_angles, &r, false,
                   {{"angles", angle_count, NULL, test_bound(angle_count, test_rounding(1) * (double)r.scale)}}});
        run_angles(test_plain(), &r, out);
        r.angles = angles;
        for (int kind = 0; kind < 4; kind++) {
            float *x = make_rows(kind < 3 ? (enum kind)kind : WITH_NAN, rows, r.stride);
            double bound = test_rounding(1) * 2.4 * largest(x, count) + 0x1p-149;
            r.inverse = kind % 2;
            test_judge(&(struct test_operation){"rope", run_rope, &r, false,
                       {{"x", count, x, test_bound(count, bound)}}});
        }
        test_give_back();
    }
}

struct embedding {
    int64_t rows, width, vocabulary, position_count;
    const int32_t *ids, *positions;
    struct lm_matrix table, positions_table;
    const float *dout;
    bool no_table;
};

static void run_embed(struct lm_device *device, const void *context, float *const *out)
{
    const struct embedding *e = context;
    lm_device_ops(device)->embed(device, e->rows, e->width, e->ids, e->table, e->positions, e->positions_table, out[0]);
}

static void run_embed_backward(struct lm_device *device, const void *context, float *const *out)
{
    const struct embedding *e = context;
    lm_device_ops(device)->embed_backward(device, e->rows, e->width, e->ids, e->dout,
                                          (struct lm_matrix){e->no_table ? NULL : out[0], LM_F32, e->width}, e->positions,
                                          (struct lm_matrix){out[1], LM_F32, e->width});
}

/* An fp32 sum of two numbers is the same wherever it is taken, so embed gives the plain bits. Its backward pass sums up to `rows`
 * rows for an id. */
static void check_embedding(int64_t rows, int64_t width, int64_t vocabulary, int form)
{
    int64_t position_count = rows + 1;
    int32_t *ids = test_take(rows, sizeof *ids), *positions = test_take(rows, sizeof *positions);
    for (int64_t r = 0; r < rows; r++) {
        ids[r] = (int32_t)lm_random_below(&generator, (uint64_t)vocabulary);
        positions[r] = (int32_t)(r % 5);
    }
    float *table = test_floats(&generator, vocabulary * (width + 2), 1);
    float *positions_table = test_floats(&generator, position_count * width, 1), *dout = test_floats(&generator, rows * width, 1);
    struct embedding e = {rows, width, vocabulary, position_count, ids, form & 1 ? positions : NULL, {0}, {0}, dout,
                          form & 4};
    int64_t stride = width + (form & 2);
    e.table = form & 4 ? test_matrix_bf16(table, vocabulary * stride, stride) : test_matrix(table, stride);
    if (form & 1)
        e.positions_table = form & 4 ? test_matrix_bf16(positions_table, position_count * width, width)
                                     : test_matrix(positions_table, width);
    test_judge(&(struct test_operation){"embed", run_embed, &e, true, {{"out", rows * width, NULL, NULL}}});
    if (rows > 2)
        dout[width] = NAN;
    double bound = test_rounding(rows + 1) * ((double)rows * largest(dout, rows * width) + 4);
    int64_t count = vocabulary * width, p_count = position_count * width;
    test_judge(&(struct test_operation){"embed_backward", run_embed_backward, &e, true,
               {{"dtable", count, test_floats(&generator, count, 1), test_bound(count, bound)},
                {"dpositions", p_count, test_floats(&generator, p_count, 1), test_bound(p_count, bound)}}});
    test_give_back();
}

static void test_embedding(void **state)
{
    (void)state;
    for (int form = 0; form < 8; form++) {
        check_embedding(1, 1, 1, form);
        check_embedding(7, 17, 3, form);
        check_embedding(100, 33, 5, form);
        check_embedding(64, 64, 1000, form);
    }
}

struct losses {
    int64_t rows, vocabulary, stride;
    const int32_t *targets;
    float scale;
    bool gradient;
};

static void run_cross_entropy(struct lm_device *device, const void *context, float *const *out)
{
    const struct losses *l = context;
    lm_device_ops(device)->cross_entropy(device, l->rows, l->vocabulary, out[0], l->stride, l->targets, l->scale,
                                         l->gradient, out[1]);
}

/* A probability is off by rounding(V) of itself and the rounding of its exponent, 2^-24 of |logit - largest|, which matters
 * only while exp of it is not 0, that is below 104; a loss by that of the logarithm of its sum and by its own rounding, however
 * large the logits are that it is the difference of. */
static void check_cross_entropy(int64_t rows, int64_t vocabulary, int64_t gap, double spread, int special)
{
    char label[100];
    snprintf(label, sizeof label, "cross_entropy %ldx%ld spread %g special %d", (long)rows, (long)vocabulary, spread,
             special);
    int64_t stride = vocabulary + gap, count = rows * stride;
    float *logits = test_floats(&generator, count, spread);
    int32_t *targets = test_take(rows, sizeof *targets);
    for (int64_t r = 0; r < rows; r++)
        targets[r] = r % 4 == 2 ? -1 : (int32_t)lm_random_below(&generator, (uint64_t)vocabulary);
    if (special == 1)
        for (int64_t r = 0; r < rows; r += 2)
            logits[r * stride + vocabulary - 1] = NAN;
    if (special == 2)
        for (int64_t i = 0; i < count; i += 2)
            logits[i] = i % stride == targets[i / stride] ? logits[i] : -INFINITY;
    struct losses l = {rows, vocabulary, stride, targets, 0.25f, true};
    double r = test_rounding(vocabulary) + 104 * 0x1p-23, most = spread * 6;
    double *bound = test_bound(count, r * 0.25 * 2), *loss_bound = test_bound(rows, r * 16 + 0x1p-23 * most);
    for (int64_t i = 0; i < count; i++)
        bound[i] = i % stride >= vocabulary ? 0 : bound[i];
    test_judge(&(struct test_operation){label, run_cross_entropy, &l, false,
               {{"logits", count, logits, bound}, {"loss", rows, NULL, loss_bound}}});
    l.gradient = false;
    test_judge(&(struct test_operation){label, run_cross_entropy, &l, false,
               {{"logits", count, logits, NULL}, {"loss", rows, NULL, loss_bound}}});
    test_give_back();
}

static void test_cross_entropy(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 15, 16, 17, 101, 1000, 2049};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int special = 0; special < 3; special++) {
            check_cross_entropy(1 + (int64_t)i, sizes[i], (int64_t)i % 3, 1, special);
            check_cross_entropy(5, sizes[i], 0, 1e4, special);
            check_cross_entropy(4, sizes[i], 1, 0, special);
        }
}

struct columns {
    int64_t rows, width, stride;
    const float *dy;
};

static void run_bias_backward(struct lm_device *device, const void *context, float *const *out)
{
    const struct columns *c = context;
    lm_device_ops(device)->bias_backward(device, c->rows, c->width, c->dy, c->stride, out[0]);
}

static void test_bias_backward(void **state)
{
    (void)state;
    for (int64_t rows = 1; rows < 400; rows = rows * 5 + 2) {
        for (int64_t width = 1; width < 200; width = width * 3 + 3) {
            for (enum kind kind = NORMAL; kind < KINDS; kind++) {
                struct columns c = {rows, width, width + rows % 4, make_rows(kind, rows, width + rows % 4)};
                double bound = test_rounding(rows + 1) * ((double)rows * largest(c.dy, rows * c.stride) + 4);
                test_judge(&(struct test_operation){"bias_backward", run_bias_backward, &c, false,
                           {{"dbias", width, test_floats(&generator, width, 1), test_bound(width, bound)}}});
                test_give_back();
            }
        }
    }
}

static int open_devices(void **state)
{
    generator = lm_random_seed(20260104, 0);
    return test_open_devices(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms), cmocka_unit_test(test_rope), cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_bias_backward),
    };
    return cmocka_run_group_tests(tests, open_devices, test_close_devices);
}
