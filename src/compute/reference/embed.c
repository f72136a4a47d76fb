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

static void add_row(struct lm_matrix table, int64_t row, int64_t width, const real *dout)
{
    for (int64_t c = 0; table.data && c < width; c++)
        LM_PLAIN(put)(table, row, c, LM_PLAIN(get)(table, row, c) + (double)dout[c]);
}

/* Rows are added in their order: an id that stands in several rows gets the same sum on every machine. */
void LM_PLAIN(embed_backward)(struct lm_device *device, int64_t rows, int64_t width, const int32_t *ids,
                              const real *dout, struct lm_matrix dtable, const int32_t *positions,
                              struct lm_matrix dpositions)
{
    (void)device;
    for (int64_t r = 0; r < rows; r++) {
        add_row(dtable, ids[r], width, dout + r * width);
        if (positions)
            add_row(dpositions, positions[r], width, dout + r * width);
    }
}
