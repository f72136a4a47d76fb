/* Memory: checked sizes, growing buffers, and layouts.
 *
 *     struct lm_layout layout = {0};
 *     float *x;
 *     int64_t *ids;
 *     lm_layout_add(&layout, (void **)&x, "x", rows * cols * sizeof *x);
 *     lm_layout_add(&layout, (void **)&ids, "ids", rows * sizeof *ids);
 *     printf("%zu bytes\n", layout.size);          // known without any memory behind it
 *     lm_layout_bind(&layout, block);              // now x and ids point into block
 *
 * A layout is how loam plans: the same code that a run uses lays everything out, and only a run binds it.
 */
#ifndef LOAM_BASE_MEMORY_H
#define LOAM_BASE_MEMORY_H

#include "error.h"
#include <stdbool.h>

enum { LM_ALIGN = 64 };    /* bytes: a cache line and an AVX-512 register */

/* malloc, calloc, realloc that fail with LOAM_ENOMEM instead of aborting, take count and size apart and check
 * their product. Every allocation of the library goes through these three, so that tests can make the n-th one
 * fail (lm_memory_fail_after). NULL on failure, with `error` filled. Free with lm_free. */
void *lm_alloc(size_t count, size_t size, loam_error *error);           /* zeroed */
void *lm_resize(void *old, size_t count, size_t size, loam_error *error);/* old stays valid on failure */
char *lm_copy_string(const char *text, size_t length, loam_error *error);/* with a 0 behind it */
void lm_free(void *pointer);
/* Gives what has been freed back to the system, where the C library can: before memory is counted. */
void lm_memory_trim(void);
/* Tests only: the n-th allocation from now (1 is the next) fails, and all after it, until called with -1. */
void lm_memory_fail_after(int64_t n);
/* Number of lm_alloc/lm_resize calls so far in this process: a test asserts that a training step makes none. */
int64_t lm_memory_calls(void);

/* Large page-aligned blocks straight from the system (mmap), zeroed, with huge pages asked for. */
void *lm_block_map(size_t bytes, loam_error *error);
void lm_block_unmap(void *block, size_t bytes);

/* a*b and a+b; false where the result does not fit. */
bool lm_mul(size_t a, size_t b, size_t *result);
bool lm_add(size_t a, size_t b, size_t *result);
size_t lm_round_up(size_t value, size_t multiple);

/* A growing byte buffer. Starts as {0}; data has a 0 behind its length whenever data is not NULL. */
struct lm_bytes {
    char *data;
    size_t length, capacity;
};
int lm_bytes_reserve(struct lm_bytes *bytes, size_t more, loam_error *error);
int lm_bytes_append(struct lm_bytes *bytes, const void *data, size_t length, loam_error *error);
int lm_bytes_format(struct lm_bytes *bytes, loam_error *error, const char *format, ...) LM_PRINTF(3, 4);
void lm_bytes_free(struct lm_bytes *bytes);    /* leaves it as {0} */

/* A growing list of token ids. Starts as {0}. */
struct lm_ids {
    int32_t *data;
    size_t length, capacity;
};
int lm_ids_append(struct lm_ids *ids, const int32_t *data, size_t count, loam_error *error);
int lm_ids_push(struct lm_ids *ids, int32_t id, loam_error *error);
void lm_ids_free(struct lm_ids *ids);

/* A list of places in one block that is not there yet. Places start at multiples of LM_ALIGN.
 *
 * A place may have a lifetime: the moments from `first` to `last` of whatever the planner counts as moments (the stages of a
 * training step). lm_layout_pack then lets places that are never live together share bytes:
 *
 *     lm_layout_add_during(&layout, (void **)&logits, "logits", bytes, HEAD, HEAD);
 *     lm_layout_add_during(&layout, (void **)&wide, "wide", bytes, FORWARD, FORWARD);
 *     lm_layout_pack(&layout);                          // both begin at the same byte; layout.size is final
 */
enum { LM_ALWAYS = INT32_MAX };
struct lm_place {
    const char *name;      /* not owned: a literal or something that outlives the layout */
    void **where;          /* set by lm_layout_bind; may be NULL */
    size_t offset, bytes;
    int32_t first, last;   /* 0 to LM_ALWAYS: the whole time */
    bool adjacent;
};
struct lm_layout {
    struct lm_place *places;
    size_t count, capacity;
    size_t size;           /* bytes of the whole block so far; where places have lifetimes, after lm_layout_pack */
    bool rough;            /* lm_layout_pack gives no places, only the size that is live at once at most: for looking around */
    bool failed;           /* an addition ran out of memory or overflowed: _check says so, _bind does nothing */
};
void lm_layout_add(struct lm_layout *layout, void **where, const char *name, size_t bytes);
/* The same without rounding the start up: follows the place before it byte for byte (q, k, v as one matrix). */
void lm_layout_add_adjacent(struct lm_layout *layout, void **where, const char *name, size_t bytes);
/* Live from the moment `first` to `last`, both included. Has no place before lm_layout_pack. */
void lm_layout_add_during(struct lm_layout *layout, void **where, const char *name, size_t bytes, int32_t first, int32_t last);
/* Gives every place its bytes: first those that are always live, in their order, then the others, each as low as it fits
 * between those placed before that are live with it; of several orders, the one that takes least. May be called again after
 * more was added. */
void lm_layout_pack(struct lm_layout *layout);
/* Bytes live at a moment, each place rounded up to LM_ALIGN. */
size_t lm_layout_live(const struct lm_layout *layout, int32_t moment);
int lm_layout_check(const struct lm_layout *layout, loam_error *error);
void lm_layout_bind(const struct lm_layout *layout, void *block);
void lm_layout_free(struct lm_layout *layout);

#endif
