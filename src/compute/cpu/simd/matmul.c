#include "blocks.h"
#include "pairs.h"

/* Work is cut into blocks of c. Each is one thread's from beginning to end: it packs the piece of b that it needs (at most
 * DEPTH by COLUMNS) into its own scratch and goes through ROWS rows of c at a time, so that these stay in the second cache
 * while k runs through the packed piece; a is taken in panels of LM_TILE_ROWS by LM_TILE_DEPTH, which stay in the first. No
 * sum is shared between threads. */
enum { COLUMNS = 512, ROWS = 10 * LM_TILE_ROWS, DEPTH = 4 * LM_TILE_DEPTH };
/* Where c's rows lie a multiple of CROWDED apart, they all fall into the same few places of a cache: their sums are then kept
 * aside, SUMS_STRIDE apart, and go to c when a piece is done. So are those of c in BF16. Both ways give the same bits. */
enum { CROWDED = 2048, SUMS_STRIDE = COLUMNS + 16 };

static bool sums_aside(const struct lm_matmul *op)
{
    return op->c.dtype == LM_BF16 || op->c.stride % CROWDED == 0;
}

struct job {
    const struct lm_matmul *op;
    int64_t row, rows, column, columns;    /* the block of c */
    float *b;                              /* packed: for each LM_TILE_DEPTH, panels of [depth, LM_TILE_COLUMNS] */
    float *a;                              /* one panel; ROWS rows where a is stored transposed */
    float *sums;                           /* [ROWS, SUMS_STRIDE] where kept aside */
};

/* Of bf16 numbers two neighbours along k take one place of four bytes, here and in all that follows. */
static bool in_pairs(const struct lm_matmul *op)
{
    return LM_PAIR_PRODUCTS && op->narrow && !lm_dtype_is_block(op->b.dtype);
}

static int64_t places(const struct lm_matmul *op)
{
    return in_pairs(op) ? (op->k + 1) / 2 : op->k;
}

static size_t packed_b(const struct lm_matmul *op)
{
    size_t depth = places(op) < DEPTH ? lm_round_up((size_t)places(op), LM_TILE_DEPTH) : DEPTH;
    return depth * COLUMNS;
}

static size_t packed_a(const struct lm_matmul *op)
{
    return op->transpose_a ? (size_t)(ROWS / LM_TILE_ROWS) * LM_TILE_DEPTH * 16 : (size_t)LM_TILE_ROWS * LM_TILE_STRIDE;
}

static size_t thread_floats(const struct lm_matmul *op)
{
    return lm_round_up(packed_b(op) + packed_a(op) + (sums_aside(op) ? (size_t)ROWS * SUMS_STRIDE : 0), 16);
}

static size_t tiled_scratch(const struct lm_device *device, const struct lm_matmul *op)
{
    return (size_t)device->threads * thread_floats(op) * sizeof(float);
}

/* Of products with blocks that go through fp32: the rounded rows of a come first. */
static size_t rounded_floats(const struct lm_matmul *op)
{
    return lm_round_up((size_t)op->m * (size_t)op->k, 16);
}

/* Whether a product of fp32 or bf16 is matvec.c's. */
static bool is_few(const struct lm_matmul *op)
{
    return op->m <= LM_MATVEC_ROWS && op->transpose_b && !op->transpose_a && op->a.dtype == LM_F32 && op->c.dtype == LM_F32;
}

size_t lm_simd_matmul_scratch(struct lm_device *device, const struct lm_matmul *op)
{
    if (!lm_dtype_is_block(op->b.dtype))
        return is_few(op) ? lm_simd_matvec_scratch(op) : tiled_scratch(device, op);
    if (op->m <= LM_MATVEC_ROWS)
        return (size_t)op->m * lm_rounded_bytes(op->k);
    return LM_BYTE_PRODUCTS ? lm_simd_block_scratch(device, op)
                            : rounded_floats(op) * sizeof(float) + tiled_scratch(device, op);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Asks for a line that will be packed soon; it may lie behind the matrix, which a prefetch does not mind. */
LM_INLINE void prefetch(const struct lm_matrix *m, int64_t row, int64_t column)
{
    __builtin_prefetch((const char *)m->data + (row * m->stride + column) * (m->dtype == LM_BF16 ? 2 : 4));
}

/* to[depth, LM_TILE_COLUMNS] from a stored [k,n]. Columns behind the end become 0. */
static void pack_b_plain(const struct lm_matrix *b, int64_t from, int64_t depth, int64_t column, int64_t columns, float *to)
{
    bool bf16 = b->dtype == LM_BF16;
    for (int64_t p = 0; p < depth; p++) {
        int64_t at = (from + p) * b->stride + column;
        prefetch(b, from + p + 8, column);
        prefetch(b, from + p + 8, column + 16);
        vstore(to + p * LM_TILE_COLUMNS, vload_any(b->data, bf16, at, columns));
        vf high = columns > LM_W ? vload_any(b->data, bf16, at + LM_W, columns - LM_W) : vset(0);
        vstore(to + p * LM_TILE_COLUMNS + LM_W, high);
    }
}

/* The same from a stored [n,k]: squares of LM_W by LM_W are turned in registers. */
static void pack_b_turned(const struct lm_matrix *b, int64_t from, int64_t depth, int64_t column, int64_t columns, float *to)
{
    bool bf16 = b->dtype == LM_BF16;
    for (int64_t half = 0; half < LM_TILE_COLUMNS; half += LM_W)
        for (int64_t p = 0; p < depth; p += LM_W) {
            vf square[LM_W];
            for (int64_t j = 0; j < LM_W; j++)
                prefetch(b, column + half + j, from + p + 4 * LM_W);
            LM_UNROLL for (int64_t j = 0; j < LM_W; j++)
                square[j] = half + j < columns
                                ? vload_any(b->data, bf16, (column + half + j) * b->stride + from + p, depth - p)
                                : vset(0);
            vtranspose(square);
            LM_UNROLL for (int64_t j = 0; j < LM_W; j++)
                if (p + j < depth)
                    vstore(to + (p + j) * LM_TILE_COLUMNS + half, square[j]);
        }
}

/* The same from rows of blocks, which are made fp32 first; `from` and `depth` are whole blocks. */
static void pack_b_blocks(const struct lm_matrix *b, int64_t from, int64_t depth, int64_t column, int64_t columns, float *to)
{
    const int64_t elements = lm_dtype_block_elements(b->dtype);
    float rows[LM_W][LM_TILE_DEPTH];
    for (int64_t half = 0; half < LM_TILE_COLUMNS; half += LM_W) {
        for (int64_t j = 0; j < LM_W; j++)
            if (half + j < columns)
                lm_convert(LM_F32, rows[j], b->dtype, lm_block_row(b, column + half + j) + from / elements * lm_dtype_block_bytes(b->dtype),
                           (size_t)depth);
            else
                memset(rows[j], 0, (size_t)depth * sizeof(float));
        for (int64_t p = 0; p < depth; p += LM_W) {
            vf square[LM_W];
            LM_UNROLL for (int64_t j = 0; j < LM_W; j++)
                square[j] = vload(rows[j] + p);
            vtranspose(square);
            LM_UNROLL for (int64_t j = 0; j < LM_W; j++)
                vstore(to + (p + j) * LM_TILE_COLUMNS + half, square[j]);
        }
    }
}

/* [k,n] as stored is taken a few rows at a time through all columns, [n,k] in its whole depth: either way few pages at once. */
static void pack_b(const struct job *job, int64_t from, int64_t depth, float *to)
{
    const bool turned = job->op->transpose_b;
    const int64_t strip = turned ? depth : 16;
    for (int64_t p = 0; p < depth; p += strip) {
        int64_t deep = least(depth - p, strip);
        float *panel = to + p * LM_TILE_COLUMNS;
        for (int64_t j = 0; j < job->columns; j += LM_TILE_COLUMNS, panel += LM_TILE_DEPTH * LM_TILE_COLUMNS) {
            int64_t columns = least(job->columns - j, LM_TILE_COLUMNS);
            if (in_pairs(job->op))
                lm_simd_pairs_b(&job->op->b, job->op->k, turned, from + p, deep, job->column + j, columns, panel);
            else
                (lm_dtype_is_block(job->op->b.dtype) ? pack_b_blocks : turned ? pack_b_turned : pack_b_plain)(
                    &job->op->b, from + p, deep, job->column + j, columns, panel);
        }
    }
}

/* The common case of the next one, four vectors a turn. */
static void copy_rows(const float *a, int64_t stride, int64_t rows, int64_t depth, float *to)
{
    for (int64_t i = 0; i < rows; i++, a += stride, to += LM_TILE_STRIDE)
        for (int64_t p = 0; p < depth; p += 4 * LM_W) {
            LM_UNROLL for (int64_t q = 0; q < 4; q++)
                __builtin_prefetch(a + LM_TILE_ROWS * stride + p + q * LM_W);
            vf x[4];
            LM_UNROLL for (int64_t q = 0; q < 4; q++)
                x[q] = vload(a + p + q * LM_W);
            LM_UNROLL for (int64_t q = 0; q < 4; q++)
                vstore(to + p + q * LM_W, x[q]);
        }
}

/* One panel of a: its rows with LM_TILE_STRIDE between them. */
static void pack_a_plain(const struct lm_matrix *a, int64_t row, int64_t rows, int64_t from, int64_t depth, float *to)
{
    bool bf16 = a->dtype == LM_BF16;
    if (!bf16 && depth % (4 * LM_W) == 0) {
        copy_rows((const float *)a->data + row * a->stride + from, a->stride, rows, depth, to);
        return;
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t p = 0; p < depth; p += LM_W) {
            prefetch(a, row + i + LM_TILE_ROWS, from + p);
            vstore_n(to + i * LM_TILE_STRIDE + p, vload_any(a->data, bf16, (row + i) * a->stride + from + p, depth - p),
                     depth - p);
        }
}

/* All panels of up to ROWS columns of a stored [k,m] at once, 16 floats from place to place: read line by line. */
static void pack_a_turned(const struct lm_matrix *a, int64_t row, int64_t rows, int64_t from, int64_t depth, float *to)
{
    bool bf16 = a->dtype == LM_BF16;
    for (int64_t p = 0; p < depth; p++) {
        for (int64_t i = 0; i < rows; i += 16)
            prefetch(a, from + p + 4, row + i);
        for (int64_t i = 0; i < rows; i += LM_TILE_ROWS)
            for (int64_t j = 0; j < LM_TILE_ROWS; j += LM_W)
                vstore(to + i / LM_TILE_ROWS * LM_TILE_DEPTH * 16 + p * 16 + j,
                       vload_any(a->data, bf16, (from + p) * a->stride + row + i + j, rows - i - j));
    }
}

static void all_panels(const struct lm_matmul *op, int64_t row, int64_t rows, int64_t from, int64_t depth, float *to)
{
    if (in_pairs(op))
        lm_simd_pairs_a_turned(&op->a, op->k, row, rows, from, depth, to);
    else
        pack_a_turned(&op->a, row, rows, from, depth, to);
}

static void one_panel(const struct lm_matmul *op, int64_t row, int64_t rows, int64_t from, int64_t depth, float *to)
{
    if (in_pairs(op))
        lm_simd_pairs_a(&op->a, op->k, row, rows, from, depth, to);
    else
        pack_a_plain(&op->a, row, rows, from, depth, to);
}

/* c, or sums for it, of `rows` rows from `row` on += or = the products over [from, from + depth), depth <= LM_TILE_DEPTH. */
static void run_depth(const struct job *job, int64_t row, int64_t rows, int64_t from, int64_t depth, const float *b, float *c,
                      int64_t c_stride, bool add, const float *bias)
{
    enum lm_tile_layout layout = job->op->transpose_a ? LM_TILE_PANEL : LM_TILE_BY_ROW;
    const bool pairs = in_pairs(job->op);
    if (layout == LM_TILE_PANEL)
        all_panels(job->op, row, rows, from, depth, job->a);
    for (int64_t i = 0; i < rows; i += LM_TILE_ROWS) {
        int64_t high = rows - i < LM_TILE_ROWS ? rows - i : LM_TILE_ROWS;
        const float *a = layout == LM_TILE_PANEL ? job->a + i / LM_TILE_ROWS * LM_TILE_DEPTH * 16 : job->a;
        if (layout == LM_TILE_BY_ROW)
            one_panel(job->op, row + i, high, from, depth, job->a);
        for (int64_t j = 0; j < job->columns; j += LM_TILE_COLUMNS) {
            int64_t wide = job->columns - j < LM_TILE_COLUMNS ? job->columns - j : LM_TILE_COLUMNS;
            (pairs ? lm_simd_tile_pairs : lm_simd_tile)(layout, high, depth, a, b + j * LM_TILE_DEPTH, LM_TILE_COLUMNS, c + i * c_stride + j, c_stride,
                         wide, add, bias ? bias + j : NULL);
        }
    }
}

/* Between c and the sums, for `rows` rows from `row` of the block on. */
static void load_c(const struct job *job, int64_t row, int64_t rows)
{
    const struct lm_matrix *c = &job->op->c;
    const bool bf16 = c->dtype == LM_BF16;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < job->columns; j += LM_W)
            vstore(job->sums + i * SUMS_STRIDE + j,
                   vload_any(c->data, bf16, (job->row + row + i) * c->stride + job->column + j, job->columns - j));
}

static void store_c(const struct job *job, int64_t row, int64_t rows)
{
    const struct lm_matrix *c = &job->op->c;
    const bool pairs = in_pairs(job->op);
    for (int64_t i = 0; i < rows; i++) {
        const int64_t at = (job->row + row + i) * c->stride + job->column;
        const float *sums = job->sums + i * SUMS_STRIDE;
        for (int64_t j = 0; j < job->columns; j += LM_W)
            if (c->dtype == LM_BF16)
                (pairs ? vstore_narrow_n : vstore_bf16_n)((uint16_t *)c->data + at + j, vload(sums + j), job->columns - j);
            else
                vstore_n((float *)c->data + at + j, vload(sums + j), job->columns - j);
    }
}

/* One piece of a block: `rows` rows from `row` of the block on, places [outer, end) of k. A block of one piece keeps its sums from
 * the first place to the last: where c is BF16 and k longer than a piece it always is one, so that it is rounded once. */
static void run_piece(const struct job *job, int64_t row, int64_t rows, int64_t outer, int64_t end, bool only)
{
    const struct lm_matmul *op = job->op;
    const float *bias = op->bias ? op->bias + job->column : NULL;
    const bool aside = sums_aside(op);
    float *c = aside ? job->sums : (float *)op->c.data + (job->row + row) * op->c.stride + job->column;
    const int64_t stride = aside ? SUMS_STRIDE : op->c.stride;
    if (aside && (outer ? !only : op->add))
        load_c(job, row, rows);
    for (int64_t from = outer; from < end; from += LM_TILE_DEPTH)
        run_depth(job, job->row + row, rows, from, least(end - from, LM_TILE_DEPTH), job->b + (from - outer) * COLUMNS, c, stride,
                  op->add || from, from ? NULL : bias);
    if (aside && (!only || end == places(op)))
        store_c(job, row, rows);
}

static void run_job(const struct job *job)
{
    const int64_t all = places(job->op);
    for (int64_t outer = 0; outer < all; outer += DEPTH) {
        const int64_t end = least(all, outer + DEPTH);
        for (int64_t from = outer; from < end; from += LM_TILE_DEPTH)
            pack_b(job, from, least(end - from, LM_TILE_DEPTH), job->b + (from - outer) * COLUMNS);
        for (int64_t i = 0; i < job->rows; i += ROWS)
            run_piece(job, i, least(job->rows - i, ROWS), outer, end, job->rows <= ROWS);
    }
}

static int64_t pieces(int64_t whole, int64_t most)
{
    return (whole + most - 1) / most;
}

/* The least multiple of `step` that covers `whole` in `parts` pieces. */
static int64_t share(int64_t whole, int64_t parts, int64_t step)
{
    return ((whole + parts - 1) / parts + step - 1) / step * step;
}

/* The time of the thread that has most to do, in multiply-adds of one tile's column: a block costs its products, and as much
 * as PACKING rows for every column of b that it packs and as PACKING columns for every row of a. */
static double cost(const struct lm_device *device, const struct lm_matmul *op, int64_t rows, int64_t columns)
{
    enum { PACKING = 12 };
    int64_t blocks = pieces(op->n, columns) * pieces(op->m, rows);
    double one = (double)rows * (double)columns + PACKING * ((double)rows + (double)columns);
    return (double)pieces(blocks, device->threads) * one;
}

/* The cheapest of the ways to cut c into blocks of at most COLUMNS columns. */
static void cut(const struct lm_device *device, const struct lm_matmul *op, int64_t *rows, int64_t *columns)
{
    const int64_t least_wide = pieces(op->n, COLUMNS), most = device->threads;
    double best = 0;
    for (int64_t wide = least_wide; wide < least_wide + most; wide++)
        for (int64_t high = 1; high <= 2 * most; high++) {
            int64_t r = share(op->m, high, LM_TILE_ROWS), c = share(op->n, wide, LM_TILE_COLUMNS);
            if (op->c.dtype == LM_BF16 && places(op) > DEPTH && r > ROWS)
                r = ROWS;
            double one = cost(device, op, r, c);
            if (best > 0 && one >= best)
                continue;
            best = one, *rows = r, *columns = c;
        }
}

static void run_tiled(struct lm_device *device, const struct lm_matmul *op, float *scratch)
{
    size_t floats = thread_floats(op);
    if (!scratch)
        return;
    int64_t rows, columns;
    cut(device, op, &rows, &columns);
    int64_t wide = pieces(op->n, columns), blocks = wide * pieces(op->m, rows);
#pragma omp parallel num_threads(device->threads) if (blocks > 1)
    {
        float *own = scratch + floats * (size_t)omp_get_thread_num();
#pragma omp for schedule(dynamic, 1)
        for (int64_t block = 0; block < blocks; block++) {
            struct job job = {.op = op, .row = block / wide * rows, .column = block % wide * columns, .b = own,
                              .a = own + packed_b(op), .sums = own + packed_b(op) + packed_a(op)};
            job.rows = op->m - job.row < rows ? op->m - job.row : rows;
            job.columns = op->n - job.column < columns ? op->n - job.column : columns;
            run_job(&job);
        }
    }
}

/* k = 0: the sum over nothing. */
static void run_empty(const struct lm_matmul *op)
{
    for (int64_t i = 0; i < op->m; i++)
        for (int64_t j = 0; j < op->n; j += LM_W) {
            int64_t n = op->n - j;
            void *to = op->c.dtype == LM_BF16 ? (void *)((uint16_t *)op->c.data + i * op->c.stride + j)
                                              : (void *)((float *)op->c.data + i * op->c.stride + j);
            vf sum = op->add ? vload_any(to, op->c.dtype == LM_BF16, 0, n) : vset(0);
            if (op->bias)
                sum += vload_n(op->bias + j, n);
            if (op->c.dtype == LM_BF16)
                vstore_bf16_n(to, sum, n);
            else
                vstore_n(to, sum, n);
        }
}

static void run_blocks(struct lm_device *device, const struct lm_matmul *op)
{
    if (op->transpose_a || !op->transpose_b || op->a.dtype != LM_F32 || op->c.dtype != LM_F32) {
        lm_device_fail(device, LOAM_EUNSUPPORTED, "matmul: %s weights go with fp32 rows and as [n,k] only",
                       lm_dtype_name(op->b.dtype));
        return;
    }
    float *scratch = lm_device_scratch(device, lm_simd_matmul_scratch(device, op));
    if (!scratch)
        return;
    if (op->m <= LM_MATVEC_ROWS) {
        lm_simd_block_vector(device, op, scratch);
    } else if (LM_BYTE_PRODUCTS) {
        lm_simd_block_matrix(device, op, scratch);
    } else {
        struct lm_matmul rounded = *op;
        rounded.a = (struct lm_matrix){scratch, LM_F32, op->k};
        lm_simd_round_floats(device, op->m, op->k, op->a.data, op->a.stride, scratch);
        run_tiled(device, &rounded, scratch + rounded_floats(op));
    }
}

static void run_few(struct lm_device *device, const struct lm_matmul *op)
{
    const size_t bytes = lm_simd_matvec_scratch(op);
    float *scratch = bytes ? lm_device_scratch(device, bytes) : NULL;
    if (scratch || !bytes)
        lm_simd_matvec(device, op, scratch);
}

void lm_simd_matmul(struct lm_device *device, const struct lm_matmul *op)
{
    if (op->m < 1 || op->n < 1)
        return;
    if (op->k < 1)
        run_empty(op);
    else if (lm_dtype_is_block(op->b.dtype))
        run_blocks(device, op);
    else if (is_few(op))
        run_few(device, op);
    else
        run_tiled(device, op, lm_device_scratch(device, tiled_scratch(device, op)));
}
