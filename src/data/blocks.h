/* Inside data/: a file in blocks that can be worked on one by one, so that a file larger than memory is read.
 *
 *     struct lm_blocks blocks;
 *     if (lm_blocks_open(&blocks, path, error)) return error->code;
 *     while (!lm_blocks_next(&blocks, 1 << 22, lm_seam_of_lines, &text, &length, error) && length)
 *         ...                              // whole lines; the last block may end without a line's end
 *     lm_blocks_close(&blocks);
 */
#ifndef LOAM_DATA_BLOCKS_H
#define LOAM_DATA_BLOCKS_H

#include "base/base.h"

/* Where a block may end: the number of bytes up to the last seam, 0 where there is none. text[length] may be read. */
typedef size_t lm_seam(const char *text, size_t length);
size_t lm_seam_of_lines(const char *text, size_t length); /* behind a line's end */
/* Behind a line's end that a letter or digit follows: what the usual patterns of tokenizers never join. Where there is
 * none: any line's end. */
size_t lm_seam_of_text(const char *text, size_t length);

struct lm_blocks {
    int file;
    const char *path; /* not owned */
    struct lm_bytes held;
    size_t given; /* bytes of `held` that the last block had */
    int64_t done, total; /* bytes given; of the file, 0 where unknown */
    bool ended;
};
/* "-" is standard input. */
int lm_blocks_open(struct lm_blocks *blocks, const char *path, loam_error *error);
/* The next block: about `target` bytes up to a seam, more where none comes earlier; a length of 0 at the end. The text
 * lives until the next call and has a byte behind it that may be read. */
int lm_blocks_next(struct lm_blocks *blocks, size_t target, lm_seam *seam, const char **text, size_t *length,
                   loam_error *error);
void lm_blocks_close(struct lm_blocks *blocks);

#endif
