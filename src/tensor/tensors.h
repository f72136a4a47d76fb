/* What tensor/ shares inside: an open set of safetensors files. */
#ifndef LOAM_TENSORS_H
#define LOAM_TENSORS_H

#include "tensor/safetensors.h"

struct lm_tensor_file {
    char *path;
    struct lm_mapping mapping;      /* empty where the bytes are the caller's */
    int descriptor;                 /* for pread; -1: none */
    const unsigned char *bytes;     /* the whole file */
    size_t size;
    const unsigned char *data;      /* behind the header */
    struct lm_header header;
    size_t first;                   /* index of its first tensor in the list */
};

struct lm_tensors {
    struct lm_tensor_file *files;
    size_t file_count;
    struct lm_tensor *list;         /* file after file, in the order of the data */
    const struct lm_tensor **by_name;
    size_t count;
};

/* With room for `file_count` files; each is then added, and all are indexed. After a failure: lm_tensors_close. */
int lm_tensors_new(size_t file_count, struct lm_tensors **result, loam_error *error);
int lm_tensors_add_file(struct lm_tensors *tensors, const char *path, loam_error *error);
int lm_tensors_index(struct lm_tensors *tensors, loam_error *error);
const struct lm_tensor_file *lm_tensors_file_of(const struct lm_tensors *tensors, const struct lm_tensor *tensor);
int lm_tensors_open_directory(const char *directory, struct lm_tensors **result, loam_error *error);

#endif
