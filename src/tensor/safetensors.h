/* What tensor/ shares inside: one safetensors file, read and checked.
 *
 * The format, from huggingface/safetensors' README and in the reference reader's order of checks: 8 bytes N
 * (little-endian), a JSON object of N bytes, then the data, which the tensors cover exactly, without hole, overlap or
 * tail. Differences from the reference reader, which keeps the last of two equal keys: a repeated key is refused; so
 * are a 0 byte in a name and a dimension past 2^63-1. Blanks before the object are taken, as there.
 */
#ifndef LOAM_SAFETENSORS_H
#define LOAM_SAFETENSORS_H

#include "tensor/tensor.h"

enum { LM_SAFETENSORS_LIMIT = 100000000 };    /* bytes of header, as the reference has it */

/* One tensor as its header entry states it; names and dimensions are offsets, because both lists still grow. */
struct lm_entry {
    size_t name;                    /* in text */
    size_t dims;                    /* in dims */
    int rank;
    enum lm_dtype dtype;
    uint64_t begin, end;
    int64_t position;               /* in the file */
};
struct lm_pair {
    size_t key, value;              /* in text */
    int64_t position;
};
struct lm_header {
    const char *path;               /* not owned */
    struct lm_bytes text;           /* names, keys and values, a 0 behind each */
    int64_t *dims;
    struct lm_entry *entries;       /* in the order of the data */
    struct lm_pair *metadata;       /* sorted by key */
    size_t dim_count, dim_capacity, entry_count, entry_capacity, pair_count, pair_capacity;
};

/* Reads `length` bytes of JSON into `header`, which starts as {0} with path set: all that the JSON alone can tell. */
int lm_header_scan(struct lm_header *header, const char *json, size_t length, loam_error *error);
/* Sorts the entries by their place in the data and checks that they cover `data_bytes` exactly. */
int lm_header_check(struct lm_header *header, uint64_t data_bytes, loam_error *error);
void lm_header_free(struct lm_header *header);

/* Makes room for one more item of `size` bytes in a list that doubles. */
int lm_list_reserve(void **list, size_t *capacity, size_t count, size_t size, loam_error *error);

/* The JSON header that the reference writer gives for these tensors, padded to a multiple of 8, behind its 8 bytes of
 * size; `offsets` gets where each tensor of `list` begins in the data, `total` the bytes of data. */
int lm_header_write(const struct lm_tensor *list, size_t count, const char *const *metadata, const char *path,
                    struct lm_bytes *out, uint64_t *offsets, uint64_t *total, loam_error *error);

/* Elements and bytes of a tensor from its type and shape. Overflow, half bytes, a negative dimension: LOAM_EFORMAT. */
int lm_tensor_measure(const char *path, const char *name, enum lm_dtype dtype, int rank, const int64_t *shape,
                      uint64_t *count, uint64_t *bytes, loam_error *error);

#endif
