/* The second face of tensor/: GGUF files, one file with metadata and tensors, as llama.cpp has them.
 *
 *     struct lm_gguf *file;
 *     if (lm_gguf_open("model.gguf", &file, error)) return error->code;
 *     const char *architecture;
 *     if (lm_gguf_text(file, "general.architecture", &architecture, error)) ...
 *     const struct lm_gguf_value *tokens = lm_gguf_find(file, "tokenizer.ggml.tokens");
 *     struct lm_gguf_value token;
 *     for (struct lm_gguf_items items = lm_gguf_items(tokens); lm_gguf_next(&items, &token);)
 *         use(token.text, token.length);              // bytes in the mapped file, no 0 behind them
 *     const struct lm_tensor *w = lm_gguf_tensor(file, "token_embd.weight");
 *     lm_convert(LM_F32, row, w->dtype, w->data, w->shape[1]);
 *     lm_gguf_close(file);                            // w and token.text are gone with it
 *
 * The format, from ggml's docs/gguf.md: "GGUF", version (2 or 3), number of tensors, number of pairs; the pairs (key,
 * type, value); for each tensor its name, rank, dimensions (innermost first), type and offset; then, from the next
 * multiple of general.alignment (32 where absent) on, the data. All of it is checked before any is used: every count
 * against the bytes that are left, keys and names unique, offsets aligned, tensors inside the file and apart from each
 * other. Versions 2 and 3 differ only in what byte orders they allow; files of big-endian machines are refused.
 *
 * Alignments are powers of two from 8 on, so that every element type may be read where it lies. Files are mapped and
 * read-only: any number of threads may read one. A writer: one thread.
 */
#ifndef LOAM_GGUF_H
#define LOAM_GGUF_H

#include "tensor/tensor.h"

/* Numbers as the file has them. */
enum lm_gguf_type {
    LM_GGUF_U8,
    LM_GGUF_I8,
    LM_GGUF_U16,
    LM_GGUF_I16,
    LM_GGUF_U32,
    LM_GGUF_I32,
    LM_GGUF_F32,
    LM_GGUF_BOOL,
    LM_GGUF_TEXT,
    LM_GGUF_ARRAY,
    LM_GGUF_U64,
    LM_GGUF_I64,
    LM_GGUF_F64,
    LM_GGUF_TYPES
};
const char *lm_gguf_type_name(enum lm_gguf_type type); /* "u32", "text", "array" */

struct lm_gguf_value {
    enum lm_gguf_type type;
    int64_t integer; /* whole numbers and BOOL (0, 1); a U64 past 2^63-1 is given as that */
    double number;   /* F32, F64, and whole numbers as well */
    const char
        *text; /* TEXT: bytes as they stand, UTF-8 as a rule, not checked; a 0 behind them in pairs, none in items */
    size_t length;
    enum lm_gguf_type item; /* ARRAY: type and number of its items; read them with lm_gguf_items */
    uint64_t count;
    const unsigned char
        *data;    /* the value in the file; ARRAY: its first item; fixed-width items lie there without gaps */
    size_t bytes; /* at data */
};

struct lm_gguf;
int lm_gguf_open(const char *path, struct lm_gguf **file, loam_error *error);
/* The same for a file that is already in memory; `data` stays the caller's and must outlive `file`. */
int lm_gguf_read(const void *data, size_t size, const char *name, struct lm_gguf **file, loam_error *error);
void lm_gguf_close(struct lm_gguf *file);
const char *lm_gguf_path(const struct lm_gguf *file);
bool lm_gguf_is(const char *path); /* a regular file that begins with "GGUF" */

size_t lm_gguf_pairs(const struct lm_gguf *file);
const char *lm_gguf_key(const struct lm_gguf *file, size_t index);
const struct lm_gguf_value *lm_gguf_value(const struct lm_gguf *file, size_t index);
const struct lm_gguf_value *lm_gguf_find(const struct lm_gguf *file, const char *key); /* NULL: absent */
/* A value of this kind, or an error naming file, key, what was found and what was wanted. Absent: LOAM_ENOTFOUND; of
 * another type or out of bounds: LOAM_EFORMAT. Texts are owned by the file, with a 0 behind them; one with a 0 inside
 * or that is not UTF-8 is refused. */
int lm_gguf_int(const struct lm_gguf *file, const char *key, int64_t least, int64_t most, int64_t *result,
                loam_error *error);
int lm_gguf_double(const struct lm_gguf *file, const char *key, double *result, loam_error *error);
int lm_gguf_bool(const struct lm_gguf *file, const char *key, bool *result, loam_error *error);
int lm_gguf_text(const struct lm_gguf *file, const char *key, const char **result, loam_error *error);
/* An array of `item`; LM_GGUF_I32 takes U32 as well. */
int lm_gguf_array(const struct lm_gguf *file, const char *key, enum lm_gguf_type item,
                  const struct lm_gguf_value **result, loam_error *error);

/* The items of an array one after the other, each in O(1); arrays may hold arrays. A value that is no array has none.
 */
struct lm_gguf_items {
    const unsigned char *next;
    uint64_t left;
    enum lm_gguf_type type;
};
struct lm_gguf_items lm_gguf_items(const struct lm_gguf_value *array);
bool lm_gguf_next(struct lm_gguf_items *items, struct lm_gguf_value *value); /* false: no more */

/* Tensors in the file's order; shapes are row-major as everywhere in loam: the file's dimensions reversed. */
size_t lm_gguf_tensors(const struct lm_gguf *file);
const struct lm_tensor *lm_gguf_tensor_at(const struct lm_gguf *file, size_t index);
const struct lm_tensor *lm_gguf_tensor(const struct lm_gguf *file, const char *name);

/* Writing one file (atomic: temporary, fsync, rename), version 3, alignment 32. First the pairs in the order they shall
 * have (failures stick and show at lm_gguf_begin), then the list of tensors (in the file's order), then every tensor's
 * bytes once, in any order and in pieces. After a failure of begin or put: lm_gguf_abandon. */
struct lm_gguf_writer;
int lm_gguf_create(const char *path, struct lm_gguf_writer **writer, loam_error *error);
void lm_gguf_put_text(struct lm_gguf_writer *writer, const char *key, const char *text, size_t length);
void lm_gguf_put_u32(struct lm_gguf_writer *writer, const char *key, uint32_t value);
void lm_gguf_put_f32(struct lm_gguf_writer *writer, const char *key, float value);
void lm_gguf_put_bool(struct lm_gguf_writer *writer, const char *key, bool value);
/* An array: its head, then exactly `count` items, by lm_gguf_item_text or (fixed width) one lm_gguf_item_data of them
 * all. */
void lm_gguf_put_array(struct lm_gguf_writer *writer, const char *key, enum lm_gguf_type item, uint64_t count);
void lm_gguf_item_text(struct lm_gguf_writer *writer, const char *text, size_t length);
void lm_gguf_item_data(struct lm_gguf_writer *writer, const void *data, size_t bytes);
void lm_gguf_put_value(struct lm_gguf_writer *writer, const char *key, const struct lm_gguf_value *value); /* as read */
int lm_gguf_begin(struct lm_gguf_writer *writer, const struct lm_tensor *list, size_t count, loam_error *error);
int lm_gguf_put(struct lm_gguf_writer *writer, size_t index, uint64_t offset, const void *data, size_t length,
                loam_error *error);
int lm_gguf_finish(struct lm_gguf_writer *writer, loam_error *error); /* refuses if bytes are missing; frees */
void lm_gguf_abandon(struct lm_gguf_writer *writer);

#endif
