#include "compute/reference/reference.h"

/* out[r] = table[ids[r]] + positions_table[positions[r]]. */
void LM_PLAIN(embed)(struct lm_device *device, int64_t rows, int64_t width, const int32_t *ids, struct lm_matrix table,
                     const int32_t *positions, struct lm_matrix positions_table, real *out)
{
    (void)device;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < width; c++) {
            double value = LM_PLAIN(get)(table, ids[r], c);
            if (positions)
                value += LM_PLAIN(get)(positions_table, positions[r], c);
            out[r * width + c] = (real)value;
        }
    }
}

/* Rows are added in their order: an id that stands in several rows gets the same sum on every machine. */
void LM_PLAIN(embed_backward)(struct lm_device *device, int64_t rows, int64_t width, const int32_t *ids,
                              const real *dout, real *dtable, int64_t vocabulary, const int32_t *positions,
                              real *dpositions, int64_t position_count)
{
    (void)device, (void)vocabulary, (void)position_count;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < width; c++) {
            if (dtable)
                dtable[ids[r] * width + c] += dout[r * width + c];
            if (dpositions)
                dpositions[positions[r] * width + c] += dout[r * width + c];
        }
    }
}
