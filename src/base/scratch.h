/* Scratch files: memory on disk, read and written by a thread of its own while others compute.
 *
 *     struct lm_scratch *scratch;
 *     struct lm_transfer piece = {.data = buffer, .bytes = bytes, .offset = 0, .write = true};
 *     if (lm_scratch_open("run", 3 * bytes, &scratch, error)) return error->code;
 *     lm_scratch_submit(scratch, &piece);                  // returns at once; buffer is the thread's until the wait
 *     if (lm_scratch_wait(scratch, &piece, error)) return error->code;
 *     lm_scratch_close(scratch);
 *
 * The file has no name: however the process ends, the room is free again. Its whole size is taken when it is opened. Transfers are
 * done one after the other in the order in which they were submitted, so what was submitted to be written is what a later read
 * gives. The first failure sticks: every wait from then on gives it. Nothing is allocated after opening.
 * One thread submits and waits. */
#ifndef LOAM_BASE_SCRATCH_H
#define LOAM_BASE_SCRATCH_H

#include "memory.h"

struct lm_scratch;
/* Kept by the caller until waited for. */
struct lm_transfer {
    void *data;
    size_t bytes;
    int64_t offset;
    bool write;
    bool busy;                       /* the queue's: submitted, not waited for */
    bool done;
    struct lm_transfer *next;
};
/* A file of `bytes` in `folder`. No room for it: LOAM_ENOSPACE naming the folder. */
int lm_scratch_open(const char *folder, int64_t bytes, struct lm_scratch **scratch, loam_error *error);
void lm_scratch_close(struct lm_scratch *scratch);    /* what is in the queue is finished first; NULL is fine */
void lm_scratch_submit(struct lm_scratch *scratch, struct lm_transfer *transfer);
/* Until it is done. A transfer that was not submitted is done already. */
int lm_scratch_wait(struct lm_scratch *scratch, struct lm_transfer *transfer, loam_error *error);
/* Submit and wait. */
int lm_scratch_read(struct lm_scratch *scratch, int64_t offset, void *data, size_t bytes, loam_error *error);
int lm_scratch_write(struct lm_scratch *scratch, int64_t offset, const void *data, size_t bytes, loam_error *error);
/* Seconds a byte that this folder's disk takes to write and to read, the mean of both: 8 MiB there and back, past the system's
 * cache as far as it lets one; less where less is left, and 0 where there is no room to try. */
int lm_scratch_speed(const char *folder, double *seconds, loam_error *error);
/* Seconds a byte that a processor takes to move it from or to the system's cache of a file. */
int lm_scratch_copy_speed(const char *folder, double *seconds, loam_error *error);
/* Bytes read and written so far. */
int64_t lm_scratch_moved(struct lm_scratch *scratch);

#endif
