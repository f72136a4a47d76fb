/* What the forward and the backward pass of attention share.
 *
 * Both work on tiles: LM_QUERIES rows by LM_KEYS keys. The query heads that share a key-value head are taken together, so
 * that its keys are packed once for all: row r of a tile is position r / group and head r % group of that group. All tiles lie in
 * rows of LM_TILE_STRIDE, as lm_simd_tile wants them.
 */
#ifndef LOAM_COMPUTE_CPU_SIMD_ATTENTION_H
#define LOAM_COMPUTE_CPU_SIMD_ATTENTION_H

#include "tile.h"

enum { LM_QUERIES = 8 * LM_TILE_ROWS, LM_KEYS = 64 };

/* One tile of queries of one key-value head. */
struct lm_queries {
    const struct lm_attention *op;
    int64_t b, kv_head, group;    /* group: query heads a key-value head */
    int64_t first, rows;          /* first row of all T*group, and how many */
    int32_t from[LM_QUERIES], end[LM_QUERIES];    /* the keys [from, end) that each row sees */
    int64_t from_all, end_all;    /* the keys that any row sees */
};

#define lm_simd_queries LM_SIMD(lm_simd_queries)
#define lm_simd_load_rows LM_SIMD(lm_simd_load_rows)
#define lm_simd_load_keys LM_SIMD(lm_simd_load_keys)
#define lm_simd_turn_keys LM_SIMD(lm_simd_turn_keys)
#define lm_simd_visible LM_SIMD(lm_simd_visible)

/* Fills all but op, b, kv_head, group and first. */
void lm_simd_queries(struct lm_queries *queries);
/* to[r] = factor * x of the row's position and head; x has [B*T, H*D] with `stride`. Places up to the next multiple of
 * LM_TILE_COLUMNS become 0. */
void lm_simd_load_rows(const struct lm_queries *queries, const float *x, int64_t stride, float factor, float *to);
/* to[j] = key or value `from + j`, likewise; and the same turned: to[d][j], LM_KEYS wide, 0 behind the last. */
void lm_simd_load_keys(const struct lm_queries *queries, const void *x, int64_t from, int64_t count, float *to);
void lm_simd_turn_keys(const struct lm_queries *queries, const void *x, int64_t from, int64_t count, float *to);
/* How many of the keys from `key` on (at most `count`) are seen by any of the rows: 0 or less where none. */
int64_t lm_simd_visible(const struct lm_queries *queries, int64_t row, int64_t rows, int64_t key, int64_t count);

/* Head sizes up to this fit a tile; the plain table computes larger ones. */
enum { LM_HEAD_MOST = LM_TILE_DEPTH };

LM_INLINE int64_t lm_head_columns(int64_t head_size)
{
    return (head_size + LM_TILE_COLUMNS - 1) / LM_TILE_COLUMNS * LM_TILE_COLUMNS;
}

#endif
