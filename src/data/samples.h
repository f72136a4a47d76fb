/* Inside data/: what samples.c, samples_read.c and packing.c share. */
#ifndef LOAM_DATA_SAMPLES_H
#define LOAM_DATA_SAMPLES_H

#include "data.h"

/* `length` ids from ids[begin]: length - 1 positions, each with the next id as its target where that is trained on. */
struct lm_sample {
    size_t begin;
    int64_t length;
};

/* Samples of sources that share a weight, and the rows they stand in. */
struct lm_sample_group {
    double weight;
    size_t first_sample, sample_count;
    size_t first_row, row_count;
    size_t draws;               /* rows an epoch */
};

struct lm_sample_row {
    size_t first, count;        /* in `order` */
};

struct lm_samples {
    struct lm_ids ids;
    struct lm_bytes trained;    /* a byte (0 or 1) an id */
    struct lm_sample *samples;
    size_t sample_count, sample_capacity;
    struct lm_sample_group *groups;
    size_t group_count;
    uint32_t *order;            /* samples, row by row */
    struct lm_sample_row *rows;
    size_t row_count;
    uint32_t *epoch_rows;       /* the rows of epoch `epoch` in their order */
    size_t epoch_row_count;
    int64_t epoch;              /* -1: none yet */
    uint32_t *lot;              /* scratch: as many as the largest group has rows */
    int64_t batch, length;
    bool shuffle;
    uint64_t seed, fingerprint;
    int32_t padding;
    struct lm_samples_summary summary;
};

/* Appends the samples of all sources whose weight is the group's. */
int lm_samples_read(const struct lm_samples_options *options, double weight, struct lm_samples *samples, loam_error *error);

/* First fit: puts `count` items of the given lengths (each 1 to `room`), in their order, into the first row with enough room.
 * rows[i] becomes item i's row, *row_count their number. Time: count × log(count). */
int lm_pack(const int64_t *lengths, size_t count, int64_t room, uint32_t *rows, size_t *row_count, loam_error *error);

#endif
