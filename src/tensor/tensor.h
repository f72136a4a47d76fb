/* The face of tensor/: element types, and named tensors in safetensors files (gguf.h, included below: GGUF files).
 *
 *     struct lm_tensors *file;                                // one file, or a directory with shards
 *     if (lm_tensors_open("model", &file, error)) return error->code;
 *     const struct lm_tensor *w = lm_tensors_find(file, "model.embed_tokens.weight");
 *     lm_convert(LM_F32, row, w->dtype, w->data, w->shape[1]); // one row as fp32
 *     lm_tensors_close(file);                                  // w is gone with it
 *
 * Everything in a file is checked before any of it is used. Open files are mapped and read-only: any number of
 * threads may read one. Writers: one thread each.
 */
#ifndef LOAM_TENSOR_H
#define LOAM_TENSOR_H

#include "base/base.h"

/* name in safetensors, bits an element. Order: as the reference writer sorts, widest alignment first. */
#define LM_DTYPE_LIST(X)                                                                                     \
    X(U64, 64) X(I64, 64) X(F64, 64) X(C64, 64) X(F32, 32) X(U32, 32) X(I32, 32) X(BF16, 16) X(F16, 16)      \
    X(U16, 16) X(I16, 16) X(F8_E5M2FNUZ, 8) X(F8_E4M3FNUZ, 8) X(F8_E8M0, 8) X(F8_E4M3, 8) X(F8_E5M2, 8)      \
    X(I8, 8) X(U8, 8) X(F6_E3M2, 6) X(F6_E2M3, 6) X(F4, 4) X(BOOL, 8)
/* GGUF's block types: name, elements a block, bytes a block. A block's bytes, little-endian, in this order (d, m: fp16):
 *
 *     Q8_0   d; 32 signed q                          x = d q
 *     Q4_0   d; 16 bytes, low half q of element i, high half of i + 16; x = d (q - 8)
 *     Q4_1   d, m; as Q4_0                           x = d q + m
 *     Q5_0   d; 4 bytes with bit 4 of each q; 16 bytes as Q4_0; x = d (q - 16)
 *     Q5_1   d, m; as Q5_0                           x = d q + m
 *     Q4_K   d, m; 12 bytes: 8 six-bit scales s and minima t; 128 bytes, 32 for each 64 elements (low halves first);
 *                                                    x = (d s) q - (m t), s and t for each 32 elements
 *     Q5_K   d, m; 12 bytes; 32 bytes with bit 4 of q: bit k of byte i belongs to element 32 k + i; 128 bytes; as Q4_K
 *     Q6_K   128 bytes low halves; 64 bytes upper two bits; 16 signed scales s; d; x = (d s) (q - 32), s for each 16
 *
 * Only GGUF files hold them. */
#define LM_BLOCK_LIST(X)                                                                                     \
    X(Q8_0, 32, 34) X(Q4_0, 32, 18) X(Q4_1, 32, 20) X(Q5_0, 32, 22) X(Q5_1, 32, 24) X(Q4_K, 256, 144)        \
    X(Q5_K, 256, 176) X(Q6_K, 256, 210)
enum lm_dtype {
#define LM_DTYPE_ENUM(name, bits) LM_##name,
    LM_DTYPE_LIST(LM_DTYPE_ENUM)
#undef LM_DTYPE_ENUM
    LM_DTYPE_COUNT,    /* of safetensors' types */
#define LM_BLOCK_ENUM(name, elements, bytes) LM_##name,
    LM_BLOCK_LIST(LM_BLOCK_ENUM)
#undef LM_BLOCK_ENUM
    LM_DTYPE_END
};
const char *lm_dtype_name(enum lm_dtype dtype);                   /* "BF16" */
/* Case sensitive; also "float32", "bfloat16" and "float16", as config.json names them. */
bool lm_dtype_parse(const char *name, enum lm_dtype *dtype);
int lm_dtype_bits(enum lm_dtype dtype);             /* 0 for block types */
/* Elements and bytes of the smallest piece that stands alone: a block; 1 and the element's bytes for types of whole
 * bytes; 0 and 0 for the rest. */
int lm_dtype_block_elements(enum lm_dtype dtype);
int lm_dtype_block_bytes(enum lm_dtype dtype);
bool lm_dtype_is_block(enum lm_dtype dtype);
/* Bytes of `count` elements; false where that overflows or is not whole bytes (blocks). */
bool lm_dtype_bytes(enum lm_dtype dtype, uint64_t count, uint64_t *bytes);

/* Single numbers: bf16 and fp16 as their bits. Rounding is to nearest, ties to even; NaN stays NaN. */
float lm_bf16_to_f32(uint16_t bits);
uint16_t lm_f32_to_bf16(float value);
float lm_f16_to_f32(uint16_t bits);
uint16_t lm_f32_to_f16(float value);
/* `count` elements between F32, BF16, F16 and F64, from any block type to F32, BF16 and F16, and from those to Q8_0 and Q4_0
 * (rounded as llama.cpp and the gguf package do); false for other types and for less than whole blocks. May not overlap
 * unless equal types. */
bool lm_convert(enum lm_dtype to, void *out, enum lm_dtype from, const void *in, size_t count);

struct lm_tensor {
    const char *name;       /* UTF-8 without 0 bytes; owned by the file */
    enum lm_dtype dtype;
    int rank;
    const int64_t *shape;
    uint64_t count, bytes;
    const void *data;       /* row-major, little-endian; may be unaligned */
};

/* Opens PATH: a .safetensors file, or a directory with model.safetensors or model.safetensors.index.json and its
 * shards. Errors name the file and the tensor. */
struct lm_tensors;
int lm_tensors_open(const char *path, struct lm_tensors **tensors, loam_error *error);
/* The same for a file that is already in memory; `data` stays the caller's and must outlive `tensors`. */
int lm_tensors_read(const void *data, size_t size, const char *name, struct lm_tensors **tensors, loam_error *error);
void lm_tensors_close(struct lm_tensors *tensors);
size_t lm_tensors_count(const struct lm_tensors *tensors);
const struct lm_tensor *lm_tensors_at(const struct lm_tensors *tensors, size_t index);  /* in file order */
const struct lm_tensor *lm_tensors_find(const struct lm_tensors *tensors, const char *name);
/* The value of a key of __metadata__ (of the first shard), or NULL. */
const char *lm_tensors_metadata(const struct lm_tensors *tensors, const char *key);
/* Copies bytes [offset, offset+length) of a tensor's data with pread, so that they do not stay mapped into this
 * process: for training, which counts its memory. */
int lm_tensors_pread(const struct lm_tensors *tensors, const struct lm_tensor *tensor, uint64_t offset, void *out,
                     size_t length, loam_error *error);

/* Writes one file (atomic: temporary, fsync, rename). The list is given first (it may be in any order: the file has the
 * reference writer's), then every tensor's bytes once, in any order and in pieces, then close.
 * metadata: key, value, key, value, ..., NULL; or NULL. */
struct lm_tensors_writer;
int lm_tensors_create(const char *path, const struct lm_tensor *list, size_t count, const char *const *metadata,
                      struct lm_tensors_writer **writer, loam_error *error);
int lm_tensors_put(struct lm_tensors_writer *writer, size_t index, uint64_t offset, const void *data, size_t length,
                   loam_error *error);
int lm_tensors_finish(struct lm_tensors_writer *writer, loam_error *error);    /* refuses if bytes are missing */
void lm_tensors_abandon(struct lm_tensors_writer *writer);
/* Where `list` is over `shard_limit` bytes (0: never), model-00001-of-0000N.safetensors and an index; else
 * DIR/model.safetensors. The source callback writes tensor `list_index` of the list by lm_tensors_put on the writer and
 * the index it is given. A save that fails while writing leaves what was there; one killed while shards are being
 * renamed over shards leaves a directory that does not open: save to a new one and rename that where it matters. */
typedef int (*lm_tensor_source)(void *user, size_t list_index, struct lm_tensors_writer *writer, size_t index,
                                loam_error *error);
int lm_tensors_save_directory(const char *directory, const struct lm_tensor *list, size_t count, uint64_t shard_limit,
                              lm_tensor_source source, void *user, loam_error *error);

#include "gguf.h"    /* GGUF files: the same for models that are one file */

#endif
