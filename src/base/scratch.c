#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STACK = 128 * 1024 };    /* bytes; the thread only moves data */

struct lm_scratch {
    int file;
    char *folder;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work, finished;
    struct lm_transfer *first, *last;
    int failed;                    /* errno of the first failure */
    bool failed_writing, closing;
    int64_t moved;
};

/* 0, or the errno of what stopped it. */
static int move(int file, const struct lm_transfer *transfer)
{
    char *at = transfer->data;
    size_t left = transfer->bytes;
    off_t offset = transfer->offset;
    while (left > 0) {
        const ssize_t got = transfer->write ? pwrite(file, at, left, offset) : pread(file, at, left, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? errno : EIO;
        at += got, offset += got, left -= (size_t)got;
    }
    return 0;
}

static void *serve(void *user)
{
    struct lm_scratch *scratch = user;
    pthread_mutex_lock(&scratch->lock);
    for (;;) {
        while (!scratch->first && !scratch->closing)
            pthread_cond_wait(&scratch->work, &scratch->lock);
        struct lm_transfer *transfer = scratch->first;
        if (!transfer)
            break;
        const bool skip = scratch->failed != 0;
        pthread_mutex_unlock(&scratch->lock);
        const int failed = skip ? 0 : move(scratch->file, transfer);
        pthread_mutex_lock(&scratch->lock);
        if (failed && !scratch->failed) {
            scratch->failed = failed;
            scratch->failed_writing = transfer->write;
        }
        scratch->first = transfer->next;
        if (!scratch->first)
            scratch->last = NULL;
        scratch->moved += (int64_t)transfer->bytes;
        transfer->done = true;
        pthread_cond_broadcast(&scratch->finished);
    }
    pthread_mutex_unlock(&scratch->lock);
    return NULL;
}

/* Without a name from the beginning where the file system can do that, else without one at once. */
static int open_nameless(const char *folder)
{
    int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return file;
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/.scratch-XXXXXX", folder);
    file = mkostemp(name, O_CLOEXEC);
    if (file >= 0)
        unlink(name);
    return file;
}

static int take_room(const struct lm_scratch *scratch, int64_t bytes, loam_error *error)
{
    int failed = bytes > 0 ? posix_fallocate(scratch->file, 0, bytes) : 0;
    if (failed == EINVAL || failed == EOPNOTSUPP)    /* a file system that cannot: then only its size */
        failed = ftruncate(scratch->file, bytes) ? errno : 0;
    if (!failed)
        return LOAM_OK;
    char size[32];
    lm_format_size(bytes, size);
    if (failed == ENOSPC || failed == EDQUOT || failed == EFBIG)
        return lm_fail(error, LOAM_ENOSPACE, "%s: a scratch file of %s does not fit on this disk; make room, or keep more in "
                       "memory", scratch->folder, size);
    return lm_fail_errno(error, failed, "%s: a scratch file of %s cannot be made", scratch->folder, size);
}

static int start_thread(struct lm_scratch *scratch)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    const int failed = pthread_create(&scratch->thread, &attributes, serve, scratch);
    pthread_attr_destroy(&attributes);
    return failed;
}

int lm_scratch_open(const char *folder, int64_t bytes, struct lm_scratch **result, loam_error *error)
{
    struct lm_scratch *scratch = lm_alloc(1, sizeof *scratch, error);
    if (!scratch)
        return LOAM_ENOMEM;
    scratch->folder = lm_copy_string(folder, strlen(folder), error);
    scratch->file = scratch->folder ? open_nameless(folder) : -1;
    int code = LOAM_OK;
    if (!scratch->folder)
        code = LOAM_ENOMEM;
    else if (scratch->file < 0)
        code = lm_fail_errno(error, errno, "%s: a scratch file cannot be made", folder);
    else
        code = take_room(scratch, bytes, error);
    if (code == LOAM_OK) {
        pthread_mutex_init(&scratch->lock, NULL);
        pthread_cond_init(&scratch->work, NULL);
        pthread_cond_init(&scratch->finished, NULL);
        const int failed = start_thread(scratch);
        if (failed)
            code = lm_fail_errno(error, failed, "%s: no thread for a scratch file", folder);
    }
    if (code != LOAM_OK) {
        if (scratch->file >= 0)
            close(scratch->file);
        lm_free(scratch->folder);
        lm_free(scratch);
        return code;
    }
    *result = scratch;
    return LOAM_OK;
}

void lm_scratch_close(struct lm_scratch *scratch)
{
    if (!scratch)
        return;
    pthread_mutex_lock(&scratch->lock);
    scratch->closing = true;
    pthread_cond_signal(&scratch->work);
    pthread_mutex_unlock(&scratch->lock);
    pthread_join(scratch->thread, NULL);
    pthread_mutex_destroy(&scratch->lock);
    pthread_cond_destroy(&scratch->work);
    pthread_cond_destroy(&scratch->finished);
    close(scratch->file);
    lm_free(scratch->folder);
    lm_free(scratch);
}

void lm_scratch_submit(struct lm_scratch *scratch, struct lm_transfer *transfer)
{
    transfer->busy = true;
    transfer->done = false;
    transfer->next = NULL;
    pthread_mutex_lock(&scratch->lock);
    if (scratch->last)
        scratch->last->next = transfer;
    else
        scratch->first = transfer;
    scratch->last = transfer;
    pthread_cond_signal(&scratch->work);
    pthread_mutex_unlock(&scratch->lock);
}

int lm_scratch_wait(struct lm_scratch *scratch, struct lm_transfer *transfer, loam_error *error)
{
    pthread_mutex_lock(&scratch->lock);
    while (transfer->busy && !transfer->done)
        pthread_cond_wait(&scratch->finished, &scratch->lock);
    transfer->busy = false;
    const int failed = scratch->failed;
    const bool writing = scratch->failed_writing;
    pthread_mutex_unlock(&scratch->lock);
    if (!failed)
        return LOAM_OK;
    return lm_fail_errno(error, failed, "%s: the scratch file cannot be %s", scratch->folder, writing ? "written" : "read");
}

int lm_scratch_read(struct lm_scratch *scratch, int64_t offset, void *data, size_t bytes, loam_error *error)
{
    struct lm_transfer transfer = {.data = data, .bytes = bytes, .offset = offset};
    lm_scratch_submit(scratch, &transfer);
    return lm_scratch_wait(scratch, &transfer, error);
}

int lm_scratch_write(struct lm_scratch *scratch, int64_t offset, const void *data, size_t bytes, loam_error *error)
{
    struct lm_transfer transfer = {.data = (void *)(uintptr_t)data, .bytes = bytes, .offset = offset, .write = true};
    lm_scratch_submit(scratch, &transfer);
    return lm_scratch_wait(scratch, &transfer, error);
}

int64_t lm_scratch_moved(struct lm_scratch *scratch)
{
    pthread_mutex_lock(&scratch->lock);
    const int64_t moved = scratch->moved;
    pthread_mutex_unlock(&scratch->lock);
    return moved;
}

/* Writes and reads `bytes`, or less where the disk has less than twice that left; with `past` past the system's cache, as far as it lets one. */
static int time_transfers(const char *folder, int64_t bytes, bool past, double *seconds, loam_error *error)
{
    enum { PIECE = 1 << 20 };
    int64_t room;
    int code = lm_free_space(folder, &room, error);
    if (code != LOAM_OK)
        return code;
    bytes = room / 2 < bytes ? room / 2 / PIECE * PIECE : bytes;
    *seconds = 0;
    if (bytes == 0)
        return LOAM_OK;
    char *piece = lm_alloc(PIECE, 1, error);
    if (!piece)
        return LOAM_ENOMEM;
    const int file = open_nameless(folder);
    int failed = file < 0 ? errno : 0;
    double begin = 0;
    for (int round = past; round < 2; round++) {    /* what is in the cache has its pages from a round before */
        begin = lm_seconds();
        for (int write = 1; write >= 0; write--) {
            for (int64_t at = 0; at < bytes && !failed; at += PIECE)
                failed = move(file, &(struct lm_transfer){.data = piece, .bytes = PIECE, .offset = at, .write = write});
            if (write && past && !failed)
                failed = fdatasync(file) ? errno : posix_fadvise(file, 0, bytes, POSIX_FADV_DONTNEED);
        }
    }
    *seconds = (lm_seconds() - begin) / (2.0 * (double)bytes);
    if (file >= 0)
        close(file);
    lm_free(piece);
    return failed ? lm_fail_errno(error, failed, "%s: the speed of its disk cannot be measured", folder) : LOAM_OK;
}

int lm_scratch_speed(const char *folder, double *seconds, loam_error *error)
{
    return time_transfers(folder, 8 << 20, true, seconds, error);
}

int lm_scratch_copy_speed(const char *folder, double *seconds, loam_error *error)
{
    return time_transfers(folder, 8 << 20, false, seconds, error);
}
