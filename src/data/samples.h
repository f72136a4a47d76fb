/* Inside data/: what samples.c, samples_read.c and packing.c share. */
#ifndef LOAM_DATA_SAMPLES_H
#define LOAM_DATA_SAMPLES_H

#include "data.h"

/* `length` ids from id `begin` on: length - 1 positions, each with the next id as its target where that is trained on. */
struct lm_sample {
    int64_t begin;
    int32_t length, full; /* ids as used; before they were cut */
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
    int file;                   /* of the store, see store.h */
    int64_t token_count;
    uint64_t tokens_hash;
    uint32_t *words;            /* scratch: the words of one sample */
    struct lm_sample *samples;
    size_t sample_count, sample_capacity;
    struct lm_source_tally *tallies;    /* a source each, in the order of the options */
    size_t tally_count;
    struct lm_sample_group *groups;
    size_t group_count;
    uint32_t *order;            /* samples, row by row */
    struct lm_sample_row *rows;
    size_t row_count;
    uint32_t *epoch_rows;       /* the rows of epoch `epoch` in their order */
    size_t epoch_row_count;
    int64_t epoch;              /* -1: none yet */
    uint32_t *lot;              /* scratch: as many as the largest group has rows */
    int64_t batch, length, vocabulary; /* 0: not known */
    bool shuffle, cached;
    uint64_t seed, fingerprint;
    int32_t padding;
    struct lm_samples_summary summary;
};

/* Ids and samples of all sources whose weight is the group's, into the store and the tables. */
struct lm_store_writer;
int lm_samples_read(const struct lm_samples_options *options, double weight, struct lm_samples *samples,
                    struct lm_store_writer *store, loam_error *error);
/* Notes to the observer what was cut and left out, source by source. */
void lm_samples_tell(const struct lm_samples_options *options, const struct lm_samples *samples);
bool lm_is_ids(const char *path);    /* named *.ids */

/* First fit: puts `count` items of the given lengths (each 1 to `room`), in their order, into the first row with enough room.
 * rows[i] becomes item i's row, *row_count their number. Time: count × log(count). */
int lm_pack(const int64_t *lengths, size_t count, int64_t room, uint32_t *rows, size_t *row_count, loam_error *error);

#endif
