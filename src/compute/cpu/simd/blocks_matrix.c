/* Many rows of activations with weights in blocks, by products of bytes: prompts.
 *
 * As in matmul.c, c is cut into blocks of columns, each one thread's from beginning to end: it unpacks its weights, at most
 * DEPTH of k at a time, into panels of COLUMNS_AT_ONCE columns, and goes through all rows of a, ROWS_AT_ONCE at a time. A panel has,
 * for each four places of k, four bytes of every column side by side, so that one product instruction serves LM_W columns. Sums of
 * whole numbers go over one group (32 places, in Q6_K 16), then become fp32 with the scales of both sides. Each row's sums are
 * in the same order whatever rows stand beside it.
 */
#include "blocks.h"

#if LM_BYTE_PRODUCTS

enum { ROWS_AT_ONCE = 6, VECTORS = 2, COLUMNS_AT_ONCE = VECTORS * LM_W, COLUMNS = 128, DEPTH = 2048, PANELS = COLUMNS / COLUMNS_AT_ONCE };

/* One panel of weights: DEPTH places of k of COLUMNS_AT_ONCE columns. */
struct panel {
    uint8_t *u;         /* [depth/4][VECTORS][LM_W][4] */
    float *d, *m;       /* [depth/group][COLUMNS_AT_ONCE] */
};

static size_t panel_bytes(void)
{
    return (size_t)COLUMNS_AT_ONCE * (DEPTH + 2 * DEPTH / 16 * sizeof(float));
}

static struct panel panel_at(char *own, int64_t index)
{
    char *at = own + (size_t)index * panel_bytes();
    struct panel panel = {.u = (uint8_t *)at, .d = (float *)(at + (size_t)COLUMNS_AT_ONCE * DEPTH)};
    panel.m = panel.d + COLUMNS_AT_ONCE * DEPTH / 16;
    return panel;
}

size_t lm_simd_block_scratch(struct lm_device *device, const struct lm_matmul *op)
{
    return lm_round_up(lm_simd_round_bytes(op->m, op->k), LM_ALIGN) + (size_t)device->threads * PANELS * panel_bytes();
}

/* --- Unpacking --- */

/* 64 places of one column from `at` on, with their scales; `left`: places that the column has from there. */
LM_INLINE vq column_piece(const enum lm_dtype type, const uint8_t *row, int64_t at, int64_t left, float d[4], float m[4])
{
    const int bytes = lm_block_bytes(type);
    if (lm_is_large(type)) {
        const uint8_t *in = row + at / LM_SUPER * bytes;
        const int piece = (int)(at % LM_SUPER / LM_PIECE);
        struct lm_scales scales;
        lm_unpack_scales(type, in, &scales);
        const int each = type == LM_Q6_K ? 4 : 2;
        for (int i = 0; i < each; i++)
            d[i] = scales.d[each * piece + i];
        for (int i = 0; i < 2 && lm_has_minimum(type); i++)
            m[i] = scales.m[2 * piece + i];
        switch (piece) {    /* the places within the block must be constants */
        case 0: return vq_pair(lm_unpack_large(type, in, 0), lm_unpack_large(type, in, 1));
        case 1: return vq_pair(lm_unpack_large(type, in, 2), lm_unpack_large(type, in, 3));
        case 2: return vq_pair(lm_unpack_large(type, in, 4), lm_unpack_large(type, in, 5));
        default: return vq_pair(lm_unpack_large(type, in, 6), lm_unpack_large(type, in, 7));
        }
    }
    const uint8_t *in = row + at / LM_SUB * bytes;
    const bool both = left > LM_SUB;
    d[0] = lm_half(in);
    d[1] = both ? lm_half(in + bytes) : 0;
    if (lm_has_minimum(type)) {
        m[0] = lm_half(in + 2);
        m[1] = both ? lm_half(in + bytes + 2) : 0;
    }
    return vq_pair(lm_unpack_small(type, in), both ? lm_unpack_small(type, in + bytes) : _mm256_setzero_si256());
}

/* LM_W columns from `column` on (those behind the last become zeros), into half `half` of the panel. */
LM_INLINE void pack_half(const enum lm_dtype type, const struct lm_matmul *op, int64_t column, int64_t from, int64_t depth,
                         const struct panel *to, int half)
{
    const int groups = type == LM_Q6_K ? 4 : 2;    /* of a piece */
    for (int64_t p = 0; p < depth; p += LM_PIECE) {
        vf square[LM_W];
        LM_UNROLL for (int j = 0; j < LM_W; j++) {
            float d[4] = {0}, m[4] = {0};
            square[j] = vset(0);
            if (column + j < op->n)
                square[j] = (vf)column_piece(type, lm_block_row(&op->b, column + j), from + p, op->k - from - p, d, m);
            for (int g = 0; g < groups; g++) {
                const int64_t at = (p / LM_PIECE * groups + g) * COLUMNS_AT_ONCE + half * LM_W + j;
                to->d[at] = d[g];
                if (lm_has_minimum(type))
                    to->m[at] = m[g];
            }
        }
        vtranspose(square);
        LM_UNROLL for (int j = 0; j < LM_W; j++)
            vstore((float *)(to->u + ((p / 4 + j) * VECTORS + half) * LM_W * 4), square[j]);
    }
}

#define PACK(name)                                                                                                    \
    static void pack_##name(const struct lm_matmul *op, int64_t column, int64_t from, int64_t depth,                  \
                            const struct panel *to)                                                                   \
    {                                                                                                                 \
        for (int half = 0; half < VECTORS; half++)                                                                    \
            pack_half(LM_##name, op, column + half * LM_W, from, depth, to, half);                                    \
    }
PACK(Q8_0) PACK(Q4_0) PACK(Q4_1) PACK(Q5_0) PACK(Q5_1) PACK(Q4_K) PACK(Q5_K) PACK(Q6_K)

static void pack(const struct lm_matmul *op, int64_t column, int64_t from, int64_t depth, const struct panel *to)
{
    switch (op->b.dtype) {
    case LM_Q8_0: pack_Q8_0(op, column, from, depth, to); break;
    case LM_Q4_0: pack_Q4_0(op, column, from, depth, to); break;
    case LM_Q4_1: pack_Q4_1(op, column, from, depth, to); break;
    case LM_Q5_0: pack_Q5_0(op, column, from, depth, to); break;
    case LM_Q5_1: pack_Q5_1(op, column, from, depth, to); break;
    case LM_Q4_K: pack_Q4_K(op, column, from, depth, to); break;
    case LM_Q5_K: pack_Q5_K(op, column, from, depth, to); break;
    default: pack_Q6_K(op, column, from, depth, to);
    }
}

/* --- Products --- */

/* sums[rows][VECTORS] over `depth` places; a, comp, d and s are those of the first row at the first place. */
LM_INLINE void tile(const int rows, const int group, const bool minimum, const struct lm_rounded_rows *a, int64_t row, int64_t from,
                    int64_t depth, const struct panel *b, vf sums[ROWS_AT_ONCE][VECTORS])
{
    const int64_t comps = a->padded / group, blocks = a->padded / LM_SUB;
    const int8_t *q = a->q + row * a->padded + from;
    const int32_t *comp = a->comp + row * comps + from / group;
    const float *scale = a->d + row * blocks + from / LM_SUB, *sum = a->sums + row * blocks + from / LM_SUB;
    const uint8_t *u = b->u;
    LM_UNROLL for (int i = 0; i < rows; i++)
        LM_UNROLL for (int v = 0; v < VECTORS; v++)
            sums[i][v] = vset(0);
    for (int64_t g = 0; g < depth / group; g++) {
        vi whole[ROWS_AT_ONCE][VECTORS];
        LM_UNROLL for (int i = 0; i < rows; i++)
            LM_UNROLL for (int v = 0; v < VECTORS; v++)
                whole[i][v] = vseti(comp[i * comps + g]);
        LM_UNROLL for (int p = 0; p < group / 4; p++) {
            vq w[VECTORS];
            LM_UNROLL for (int v = 0; v < VECTORS; v++)
                w[v] = vq_load(u + v * LM_W * 4);
            u += VECTORS * LM_W * 4;
            LM_UNROLL for (int i = 0; i < rows; i++) {
                int32_t four;
                memcpy(&four, q + i * a->padded + g * group + 4 * p, 4);
                LM_UNROLL for (int v = 0; v < VECTORS; v++)
                    whole[i][v] = vq_dot(whole[i][v], w[v], _mm512_set1_epi32(four));
            }
        }
        LM_UNROLL for (int v = 0; v < VECTORS; v++) {
            const vf d = vload(b->d + g * COLUMNS_AT_ONCE + v * LM_W);
            LM_UNROLL for (int i = 0; i < rows; i++)
                sums[i][v] = vfma(vq_floats(whole[i][v]) * d, vset(scale[i * blocks + g * group / LM_SUB]), sums[i][v]);
            if (!minimum)
                continue;
            const vf m = vload(b->m + g * COLUMNS_AT_ONCE + v * LM_W);
            LM_UNROLL for (int i = 0; i < rows; i++)
                sums[i][v] = vfma(m, vset(sum[i * blocks + g]), sums[i][v]);
        }
    }
}

#define CASE(rows, group, minimum)                                                                                    \
    case rows:                                                                                                        \
        tile(rows, group, minimum, a, row, from, depth, b, sums);                                                     \
        break;
#define TILE(name, group, minimum)                                                                                    \
    static void name(int rows, const struct lm_rounded_rows *a, int64_t row, int64_t from, int64_t depth,             \
                     const struct panel *b, vf sums[ROWS_AT_ONCE][VECTORS])                                           \
    {                                                                                                                 \
        switch (rows) {                                                                                               \
            CASE(1, group, minimum) CASE(2, group, minimum) CASE(3, group, minimum) CASE(4, group, minimum)           \
            CASE(5, group, minimum) CASE(6, group, minimum)                                                           \
        }                                                                                                             \
    }
TILE(tile_plain, 32, false) TILE(tile_minimum, 32, true) TILE(tile_fine, 16, false)

/* c[row..row+rows, column..) = or += sums. */
static void store(const struct lm_matmul *op, int64_t row, int rows, int64_t column, bool first, vf sums[ROWS_AT_ONCE][VECTORS])
{
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < VECTORS; v++) {
            const int64_t at = column + v * LM_W, left = op->n - at;
            float *c = (float *)op->c.data + (row + i) * op->c.stride + at;
            if (left <= 0)
                continue;
            vf sum = sums[i][v];
            if (first && op->bias)
                sum += vload_n(op->bias + at, left);
            if (!first || op->add)
                sum += vload_n(c, left);
            vstore_n(c, sum, left);
        }
}

static void run_columns(const struct lm_matmul *op, const struct lm_rounded_rows *a, int64_t column, char *own)
{
    const int64_t columns = op->n - column < COLUMNS ? op->n - column : COLUMNS;
    const enum lm_dtype type = op->b.dtype;
    for (int64_t from = 0; from < op->k; from += DEPTH) {
        const int64_t depth = a->padded - from < DEPTH ? a->padded - from : DEPTH;
        for (int64_t j = 0; j < columns; j += COLUMNS_AT_ONCE) {
            const struct panel panel = panel_at(own, j / COLUMNS_AT_ONCE);
            pack(op, column + j, from, depth, &panel);
        }
        for (int64_t row = 0; row < op->m; row += ROWS_AT_ONCE) {
            const int rows = op->m - row < ROWS_AT_ONCE ? (int)(op->m - row) : ROWS_AT_ONCE;
            for (int64_t j = 0; j < columns; j += COLUMNS_AT_ONCE) {
                const struct panel panel = panel_at(own, j / COLUMNS_AT_ONCE);
                vf sums[ROWS_AT_ONCE][VECTORS];
                (type == LM_Q6_K ? tile_fine : lm_has_minimum(type) ? tile_minimum : tile_plain)(rows, a, row, from, depth, &panel,
                                                                                                 sums);
                store(op, row, rows, column + j, from == 0, sums);
            }
        }
    }
}

void lm_simd_block_matrix(struct lm_device *device, const struct lm_matmul *op, void *scratch)
{
    const int group = op->b.dtype == LM_Q6_K ? 16 : LM_SUB;
    const struct lm_rounded_rows a = lm_simd_round_many(device, op->m, op->k, op->a.data, op->a.stride, lm_zero_of(op->b.dtype), group,
                                                        scratch);
    char *panels = (char *)scratch + lm_round_up(lm_simd_round_bytes(op->m, op->k), LM_ALIGN);
#pragma omp parallel num_threads(device->threads) if (op->n > COLUMNS)
    {
        char *own = panels + (size_t)omp_get_thread_num() * PANELS * panel_bytes();
#pragma omp for schedule(dynamic, 1)
        for (int64_t column = 0; column < op->n; column += COLUMNS)
            run_columns(op, &a, column, own);
    }
}

#else

void lm_simd_block_matrix(struct lm_device *device, const struct lm_matmul *op, void *scratch)
{
    (void)device, (void)op, (void)scratch;
}

size_t lm_simd_block_scratch(struct lm_device *device, const struct lm_matmul *op)
{
    (void)device, (void)op;
    return 0;
}
#endif
