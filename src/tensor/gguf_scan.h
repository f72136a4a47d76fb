/* What tensor/ shares inside: a GGUF file, read and checked. */
#ifndef LOAM_GGUF_SCAN_H
#define LOAM_GGUF_SCAN_H

#include "tensor/gguf.h"

/* Limits beside those of the file's own size. Ranks: as ggml has them. */
enum { LM_GGUF_RANK = 4, LM_GGUF_NAME = 65535, LM_GGUF_NESTING = 8, LM_GGUF_ALIGNMENT = 32 };

struct lm_gguf_pair {
    char *key;
    struct lm_gguf_value value;     /* value.text of a TEXT is owned */
};
struct lm_gguf_info {
    char *name;
    enum lm_dtype dtype;
    int rank;
    int64_t shape[LM_GGUF_RANK];
    uint64_t offset;                /* in the data */
};
struct lm_gguf {
    char *path;
    struct lm_mapping mapping;      /* empty where the bytes are the caller's */
    const unsigned char *bytes;
    size_t size;
    struct lm_gguf_pair *pairs;
    struct lm_gguf_info *infos;
    struct lm_tensor *tensors;      /* one an info */
    size_t *by_key, *by_name;       /* sorted */
    size_t pair_count, pair_capacity, info_count, info_capacity;
};

/* Bytes of one value of a type; 0 for TEXT and ARRAY, whose size differs. */
size_t lm_gguf_width(enum lm_gguf_type type);
/* The value at `data`, which was checked before. */
void lm_gguf_decode(enum lm_gguf_type type, const unsigned char *data, struct lm_gguf_value *value);
/* ggml's number of an element type, and back; false where the other side has none. *name (of a known number) may be asked for. */
bool lm_gguf_number(enum lm_dtype dtype, uint32_t *number);
bool lm_gguf_dtype(uint32_t number, enum lm_dtype *dtype);

/* Fills pairs and infos from bytes, tensors from infos; everything is checked but that keys and names are unique. */
int lm_gguf_scan(struct lm_gguf *file, loam_error *error);

#endif
