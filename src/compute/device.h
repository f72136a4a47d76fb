/* What the folders of compute/ share: the device itself. Users see only compute.h.
 *
 *     float *rows = lm_device_scratch(device, bytes);      // of the operation that runs now
 *     if (!rows)
 *         return;                                          // it has stuck; lm_device_check tells
 *     #pragma omp parallel for num_threads(device->threads)
 *     ...
 *     if (status != CUBLAS_STATUS_SUCCESS)
 *         lm_device_fail(device, LOAM_EIO, "matmul %ldx%ldx%ld: cuBLAS says %d", m, n, k, status);
 *
 * A table's opener (lm_cpu_open, lm_reference_open) fills `ops`, `name`, and where it keeps something of its own `state`
 * and `close_state`.
 */
#ifndef LOAM_COMPUTE_DEVICE_H
#define LOAM_COMPUTE_DEVICE_H

#include "compute/compute.h"

struct lm_device {
    const struct lm_ops *ops;
    int threads;
    enum lm_isa isa;                            /* never AUTO once open */
    char name[64];                              /* "cpu avx512", then " 2 threads" is put behind it */
    loam_error error;                           /* the first failure since the last check; code LOAM_OK where none */
    char *given, *own;                          /* scratch: the planner's, and what this device had to take itself */
    size_t given_bytes, own_bytes;
    void *state;                                /* the table's own: primitives of a library and the like */
    void (*close_state)(struct lm_device *);    /* frees `state`; may be NULL */
};

/* `bytes` of scratch, aligned to LM_ALIGN, whose content is not kept: it is the running operation's until it returns, and one
 * operation asks once. NULL where there is no memory; that has stuck then. Only from the thread that called the operation. */
void *lm_device_scratch(struct lm_device *device, size_t bytes);

/* Keeps the first failure until lm_device_check. Only from the thread that called the operation. */
void lm_device_fail(struct lm_device *device, int code, const char *format, ...) LM_PRINTF(3, 4);

/* The plain table: one thread, any machine. */
int lm_reference_open(struct lm_device *device, loam_error *error);

#endif
