#include "tile.h"

/* Work is cut into blocks of c. Each is one thread's from beginning to end: it packs the piece of b that it needs
 * (LM_TILE_DEPTH by at most COLUMNS) into its own scratch, which stays in the second cache, and takes a in panels of
 * LM_TILE_ROWS, which stay in the first. No sum is shared between threads. */
enum { COLUMNS = 512, ROUNDED_ROWS = 10 * LM_TILE_ROWS };

struct job {
    const struct lm_matmul *op;
    int64_t row, rows, column, columns;    /* the block of c */
    float *b;                              /* packed: panels of [depth, LM_TILE_COLUMNS] */
    float *a;                              /* one panel */
    float *c;                              /* [ROUNDED_ROWS, COLUMNS] where c is BF16 */
};

static size_t packed_b(void)
{
    return (size_t)LM_TILE_DEPTH * COLUMNS;
}

static size_t packed_a(void)
{
    return (size_t)LM_TILE_ROWS * LM_TILE_STRIDE > (size_t)LM_TILE_DEPTH * 16 ? (size_t)LM_TILE_ROWS * LM_TILE_STRIDE
                                                                              : (size_t)LM_TILE_DEPTH * 16;
}

static size_t thread_floats(const struct lm_matmul *op)
{
    size_t floats = packed_b() + packed_a();
    if (op->c.dtype == LM_BF16)
        floats += (size_t)ROUNDED_ROWS * COLUMNS;
    return lm_round_up(floats, 16);
}

size_t lm_simd_matmul_scratch(struct lm_device *device, const struct lm_matmul *op)
{
    return (size_t)device->threads * thread_floats(op) * sizeof(float);
}

/* to[depth, LM_TILE_COLUMNS] from a stored [k,n]. Columns behind the end become 0. */
static void pack_b_plain(const struct lm_matrix *b, int64_t from, int64_t depth, int64_t column, int64_t columns, float *to)
{
    bool bf16 = b->dtype == LM_BF16;
    for (int64_t p = 0; p < depth; p++) {
        int64_t at = (from + p) * b->stride + column;
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

static void pack_b(const struct job *job, int64_t from, int64_t depth)
{
    for (int64_t j = 0; j < job->columns; j += LM_TILE_COLUMNS) {
        float *to = job->b + j * LM_TILE_DEPTH;
        int64_t columns = job->columns - j < LM_TILE_COLUMNS ? job->columns - j : LM_TILE_COLUMNS;
        if (job->op->transpose_b)
            pack_b_turned(&job->op->b, from, depth, job->column + j, columns, to);
        else
            pack_b_plain(&job->op->b, from, depth, job->column + j, columns, to);
    }
}

/* A panel of a: its rows with LM_TILE_STRIDE between them, or the columns of a stored [k,m] with 16. */
static void pack_a(const struct job *job, int64_t row, int64_t rows, int64_t from, int64_t depth)
{
    const struct lm_matrix *a = &job->op->a;
    bool bf16 = a->dtype == LM_BF16;
    if (job->op->transpose_a) {
        for (int64_t p = 0; p < depth; p++)
            for (int64_t i = 0; i < rows; i += LM_W)
                vstore_n(job->a + p * 16 + i, vload_any(a->data, bf16, (from + p) * a->stride + row + i, rows - i), rows - i);
        return;
    }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t p = 0; p < depth; p += LM_W)
            vstore_n(job->a + i * LM_TILE_STRIDE + p, vload_any(a->data, bf16, (row + i) * a->stride + from + p, depth - p),
                     depth - p);
}

static void run_block(const struct job *job, float *c, int64_t c_stride, bool add, const float *bias)
{
    const struct lm_matmul *op = job->op;
    enum lm_tile_layout layout = op->transpose_a ? LM_TILE_PANEL : LM_TILE_BY_ROW;
    for (int64_t from = 0; from < op->k; from += LM_TILE_DEPTH) {
        int64_t depth = op->k - from < LM_TILE_DEPTH ? op->k - from : LM_TILE_DEPTH;
        pack_b(job, from, depth);
        for (int64_t i = 0; i < job->rows; i += LM_TILE_ROWS) {
            int64_t rows = job->rows - i < LM_TILE_ROWS ? job->rows - i : LM_TILE_ROWS;
            pack_a(job, job->row + i, rows, from, depth);
            for (int64_t j = 0; j < job->columns; j += LM_TILE_COLUMNS) {
                int64_t columns = job->columns - j < LM_TILE_COLUMNS ? job->columns - j : LM_TILE_COLUMNS;
                lm_simd_tile(layout, rows, depth, job->a, job->b + j * LM_TILE_DEPTH, LM_TILE_COLUMNS,
                             c + i * c_stride + j, c_stride, columns, add || from, bias && !from ? bias + j : NULL);
            }
        }
    }
}

/* c in BF16: the sum is made in fp32 and rounded once. */
static void run_rounded(const struct job *job, const float *bias)
{
    const struct lm_matmul *op = job->op;
    uint16_t *c = (uint16_t *)op->c.data + job->row * op->c.stride + job->column;
    if (op->add)
        for (int64_t i = 0; i < job->rows; i++)
            for (int64_t j = 0; j < job->columns; j += LM_W)
                vstore_n(job->c + i * COLUMNS + j, vload_bf16_n(c + i * op->c.stride + j, job->columns - j), job->columns - j);
    run_block(job, job->c, COLUMNS, op->add, bias);
    for (int64_t i = 0; i < job->rows; i++)
        for (int64_t j = 0; j < job->columns; j += LM_W)
            vstore_bf16_n(c + i * op->c.stride + j, vload_n(job->c + i * COLUMNS + j, job->columns - j), job->columns - j);
}

static void run_job(const struct job *job)
{
    const struct lm_matmul *op = job->op;
    const float *bias = op->bias ? op->bias + job->column : NULL;
    if (op->c.dtype == LM_BF16)
        run_rounded(job, bias);
    else
        run_block(job, (float *)op->c.data + job->row * op->c.stride + job->column, op->c.stride, op->add, bias);
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

/* Blocks as high as there are enough for all threads (each packs b once), at least four a thread where the matrix is large. */
static void cut(const struct lm_device *device, const struct lm_matmul *op, int64_t *rows, int64_t *columns)
{
    int64_t wanted = device->threads == 1 ? 1 : 4 * (int64_t)device->threads;
    int64_t wide = pieces(op->n, COLUMNS), high = 1;
    while (wide * high < wanted && share(op->n, wide + 1, LM_TILE_COLUMNS) >= 4 * LM_TILE_COLUMNS)
        wide++;
    while (wide * high < wanted && share(op->m, high + 1, LM_TILE_ROWS) >= 8 * LM_TILE_ROWS)
        high++;
    *columns = share(op->n, wide, LM_TILE_COLUMNS);
    *rows = share(op->m, high, LM_TILE_ROWS);
    if (op->c.dtype == LM_BF16 && *rows > ROUNDED_ROWS)
        *rows = ROUNDED_ROWS;
}

static void run_tiled(struct lm_device *device, const struct lm_matmul *op)
{
    size_t floats = thread_floats(op);
    float *scratch = lm_device_scratch(device, lm_simd_matmul_scratch(device, op));
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
                              .a = own + packed_b(), .c = own + packed_b() + packed_a()};
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

void lm_simd_matmul(struct lm_device *device, const struct lm_matmul *op)
{
    if (op->m < 1 || op->n < 1)
        return;
    if (op->k < 1)
        run_empty(op);
    else if (op->m <= LM_MATVEC_ROWS && op->transpose_b && !op->transpose_a && op->a.dtype == LM_F32 && op->c.dtype == LM_F32)
        lm_simd_matvec(device, op);
    else
        run_tiled(device, op);
}
