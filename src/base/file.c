/* Reading whole files and writing them so that a reader sees the old one or the new one, never a part. */
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, HUGE_FROM = 4 << 20 };

static int fail_open(loam_error *error, const char *path, int reason)
{
    return lm_fail_errno(error, reason, "%s: cannot be opened for reading", path);
}

int lm_file_map(const char *path, struct lm_mapping *mapping, loam_error *error)
{
    /* O_NONBLOCK: opening a named pipe must not wait for its writer. */
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return fail_open(error, path, errno);
    struct stat facts;
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode)) {
        const bool folder = S_ISDIR(facts.st_mode);
        close(file);
        return lm_fail(error, LOAM_EIO, "%s: found %s, wanted a regular file", path,
                       folder ? "a folder" : "a device or pipe");
    }
    const size_t size = (size_t)facts.st_size;
    void *data = size ? mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0) : (void *)"";
    const int reason = errno;
    close(file);
    if (data == MAP_FAILED)
        return lm_fail_errno(error, reason, "%s: cannot be mapped (%zu bytes)", path, size);
    if (size >= HUGE_FROM)
        madvise(data, size, MADV_HUGEPAGE);    /* a wish: what is not in the page cache yet comes in on huge pages, where it is granted */
    *mapping = (struct lm_mapping){.data = data, .size = size};
    return LOAM_OK;
}

void lm_file_unmap(struct lm_mapping *mapping)
{
    if (mapping->size)
        munmap((void *)mapping->data, mapping->size);
    *mapping = (struct lm_mapping){0};
}

static int read_all(int file, const char *path, size_t limit, struct lm_bytes *bytes, loam_error *error)
{
    struct stat facts;
    size_t step = 1 << 16;
    if (fstat(file, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size > 0)
        step = (size_t)facts.st_size + 1;    /* one more byte, so that the next read sees the end */
    size_t total = 0;
    for (;;) {
        if (limit && step > limit - total + 1)
            step = limit - total + 1;
        int code = lm_bytes_reserve(bytes, step, error);
        if (code != LOAM_OK)
            return lm_fail_within(error, code, "%s", path);
        ssize_t got = read(file, bytes->data + bytes->length, step);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return lm_fail_errno(error, errno, "%s: reading failed at byte %zu", path, total);
        if (got == 0)
            return LOAM_OK;
        bytes->length += (size_t)got;
        bytes->data[bytes->length] = 0;
        total += (size_t)got;
        if (limit && total > limit)
            return lm_fail(error, LOAM_EFORMAT, "%s: found more than %zu bytes, which is the most that is read here",
                           path, limit);
        step = total < 1 << 16 ? 1 << 16 : total / 2;
    }
}

int lm_file_read(const char *path, size_t limit, struct lm_bytes *bytes, loam_error *error)
{
    const bool standard = strcmp(path, "-") == 0;
    const int file = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return fail_open(error, path, errno);
    const size_t before = bytes->length;
    const int code = read_all(file, standard ? "standard input" : path, limit, bytes, error);
    if (!standard)
        close(file);
    if (code != LOAM_OK && bytes->data) {
        bytes->length = before;
        bytes->data[before] = 0;
    }
    return code;
}

struct lm_file_writer {
    char *path;         /* as the caller named it, for messages */
    char *target;       /* with symbolic links followed, so that a link stays a link */
    char *temporary;    /* NULL: a device or pipe, written directly */
    int file;
    char *buffer;
    size_t held;
    loam_error first;   /* the first failure; code LOAM_OK while there is none */
};

static void free_writer(struct lm_file_writer *writer)
{
    if (writer->file >= 0)
        close(writer->file);
    lm_free(writer->path);
    lm_free(writer->target);
    lm_free(writer->temporary);
    lm_free(writer->buffer);
    lm_free(writer);
}

/* Opens a new file beside the target: ".NAME.PID-N.part". Its folder is the target's, so that rename is atomic. */
static int open_temporary(struct lm_file_writer *writer, mode_t mode, loam_error *error)
{
    const char *slash = strrchr(writer->target, '/');
    const char *name = slash ? slash + 1 : writer->target;
    const int folder = slash ? (int)(slash + 1 - writer->target) : 0;
    for (int i = 0; i < 10000; i++) {
        struct lm_bytes text = {0};
        int code = lm_bytes_format(&text, error, "%.*s.%.200s.%ld-%d.part", folder, writer->target, name,
                                   (long)getpid(), i);
        if (code != LOAM_OK) {
            lm_bytes_free(&text);
            return lm_fail_within(error, code, "%s", writer->path);
        }
        writer->file = open(text.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (writer->file >= 0) {
            writer->temporary = text.data;
            return LOAM_OK;
        }
        const int reason = errno;
        lm_bytes_free(&text);
        if (reason != EEXIST)
            return lm_fail_errno(error, reason, "%s: cannot be written", writer->path);
    }
    return lm_fail(error, LOAM_EIO, "%s: cannot be written: its folder is full of unfinished .part files", writer->path);
}

static int open_target(struct lm_file_writer *writer, loam_error *error)
{
    struct stat facts;
    const bool exists = stat(writer->target, &facts) == 0;
    if (exists && S_ISDIR(facts.st_mode))
        return lm_fail(error, LOAM_EIO, "%s: found a folder, wanted a file to write", writer->path);
    if (exists && !S_ISREG(facts.st_mode)) {
        writer->file = open(writer->target, O_WRONLY | O_CLOEXEC);
        return writer->file >= 0 ? LOAM_OK : lm_fail_errno(error, errno, "%s: cannot be written", writer->path);
    }
    /* A file that may not be written must not be replaced either, though its folder would allow it. */
    if (exists && access(writer->target, W_OK) != 0)
        return lm_fail_errno(error, errno, "%s: cannot be written", writer->path);
    int code = open_temporary(writer, exists ? facts.st_mode & 07777 : 0666, error);
    if (code == LOAM_OK && exists && fchmod(writer->file, facts.st_mode & 07777) != 0)
        return lm_fail_errno(error, errno, "%s: cannot keep its permissions", writer->path);
    return code;
}

static int new_writer(const char *path, const char *target, struct lm_file_writer **result, loam_error *error)
{
    struct lm_file_writer *writer = lm_alloc(1, sizeof *writer, error);
    if (!writer)
        return lm_fail_within(error, LOAM_ENOMEM, "%s", path);
    writer->file = -1;
    writer->path = lm_copy_string(path, strlen(path), error);
    writer->target = writer->path ? lm_copy_string(target, strlen(target), error) : NULL;
    writer->buffer = writer->target ? lm_alloc(BUFFER, 1, error) : NULL;
    if (!writer->buffer) {
        lm_file_abandon(writer);
        return lm_fail_within(error, LOAM_ENOMEM, "%s", path);
    }
    *result = writer;
    return LOAM_OK;
}

int lm_file_create(const char *path, struct lm_file_writer **result, loam_error *error)
{
    char *followed = realpath(path, NULL);
    struct lm_file_writer *writer = NULL;
    int code = new_writer(path, followed ? followed : path, &writer, error);
    free(followed);
    if (code != LOAM_OK)
        return code;
    code = open_target(writer, error);
    if (code != LOAM_OK) {
        lm_file_abandon(writer);
        return code;
    }
    *result = writer;
    return LOAM_OK;
}

int lm_file_create_unnamed(const char *name, struct lm_file_writer **result, loam_error *error)
{
    struct lm_file_writer *writer = NULL;
    int code = new_writer(name, name, &writer, error);
    if (code != LOAM_OK)
        return code;
    writer->file = memfd_create("loam", MFD_CLOEXEC);
    if (writer->file < 0) {
        code = lm_fail_errno(error, errno, "%s: no memory file could be made", name);
        lm_file_abandon(writer);
        return code;
    }
    *result = writer;
    return LOAM_OK;
}

static int report(struct lm_file_writer *writer, loam_error *error)
{
    if (error)
        *error = writer->first;
    return writer->first.code;
}

static void write_out(struct lm_file_writer *writer, const char *data, size_t length)
{
    while (length > 0 && writer->first.code == LOAM_OK) {
        const size_t most = (size_t)1 << 30;
        ssize_t done = write(writer->file, data, length < most ? length : most);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0) {
            lm_fail_errno(&writer->first, errno, "%s: writing failed", writer->path);
            return;
        }
        data += done;
        length -= (size_t)done;
    }
}

int lm_file_write(struct lm_file_writer *writer, const void *data, size_t length, loam_error *error)
{
    if (writer->first.code != LOAM_OK)
        return report(writer, error);
    if (length >= BUFFER - writer->held) {
        write_out(writer, writer->buffer, writer->held);
        writer->held = 0;
    }
    if (length >= BUFFER) {
        write_out(writer, data, length);
    } else if (length > 0) {
        memcpy(writer->buffer + writer->held, data, length);
        writer->held += length;
    }
    return writer->first.code == LOAM_OK ? LOAM_OK : report(writer, error);
}

int lm_file_write_at(struct lm_file_writer *writer, int64_t offset, const void *data, size_t length, loam_error *error)
{
    const char *bytes = data;
    while (length > 0 && writer->first.code == LOAM_OK) {
        const size_t most = (size_t)1 << 30;
        ssize_t done = pwrite(writer->file, bytes, length < most ? length : most, offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0) {
            lm_fail_errno(&writer->first, errno, "%s: writing %zu bytes at byte %lld failed", writer->path, length,
                          (long long)offset);
            break;
        }
        bytes += done;
        offset += done;
        length -= (size_t)done;
    }
    return writer->first.code == LOAM_OK ? LOAM_OK : report(writer, error);
}

int lm_file_allocate(struct lm_file_writer *writer, int64_t size, loam_error *error)
{
    if (writer->first.code != LOAM_OK)
        return report(writer, error);
    if (size <= 0 || !writer->temporary)
        return LOAM_OK;
    int failed;
    do
        failed = fallocate(writer->file, 0, 0, size);
    while (failed && errno == EINTR);
    if (failed && (errno == EOPNOTSUPP || errno == ENOSYS))
        failed = ftruncate(writer->file, size);
    if (!failed)
        return LOAM_OK;
    lm_fail_errno(&writer->first, errno, "%s: there is no room for %lld bytes", writer->path, (long long)size);
    return report(writer, error);
}

static void finish_writing(struct lm_file_writer *writer)
{
    write_out(writer, writer->buffer, writer->held);
    writer->held = 0;
    if (writer->first.code == LOAM_OK && writer->temporary && fsync(writer->file) != 0)
        lm_fail_errno(&writer->first, errno, "%s: writing failed", writer->path);
    const int closed = close(writer->file);
    writer->file = -1;
    if (writer->first.code == LOAM_OK && closed != 0)
        lm_fail_errno(&writer->first, errno, "%s: writing failed", writer->path);
}

static int sync_parent(const char *path, loam_error *error)
{
    const char *slash = strrchr(path, '/');
    const size_t length = !slash ? 1 : slash == path ? 1 : (size_t)(slash - path);
    char *folder = lm_copy_string(slash ? path : ".", length, error);
    if (!folder)
        return LOAM_ENOMEM;
    int code = lm_sync_directory(folder, error);
    lm_free(folder);
    return code;
}

int lm_file_commit_open(struct lm_file_writer *writer, int *file, loam_error *error)
{
    const bool named = writer->temporary != NULL;
    char *target = lm_copy_string(writer->target, strlen(writer->target), error);
    int kept = target && !named ? dup(writer->file) : -1;
    if (!target || (!named && kept < 0)) {
        lm_file_abandon(writer);
        const int code = target ? lm_fail_errno(error, errno, "%s: cannot be kept open", target) : LOAM_ENOMEM;
        lm_free(target);
        return code;
    }
    int code = lm_file_commit(writer, error);
    if (code == LOAM_OK && named && (kept = open(target, O_RDONLY | O_CLOEXEC)) < 0)
        code = fail_open(error, target, errno);
    if (code != LOAM_OK && kept >= 0)
        close(kept);
    if (code == LOAM_OK)
        *file = kept;
    lm_free(target);
    return code;
}

int lm_file_read_at(int file, const char *name, int64_t offset, void *data, size_t length, loam_error *error)
{
    char *bytes = data;
    while (length > 0) {
        const size_t most = (size_t)1 << 30;
        const ssize_t got = pread(file, bytes, length < most ? length : most, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return lm_fail_errno(error, errno, "%s: reading %zu bytes at byte %lld failed", name, length, (long long)offset);
        if (got == 0)
            return lm_fail(error, LOAM_EFORMAT, "%s: ends at byte %lld, wanted %zu bytes more", name, (long long)offset, length);
        bytes += got;
        offset += got;
        length -= (size_t)got;
    }
    return LOAM_OK;
}

int lm_file_commit(struct lm_file_writer *writer, loam_error *error)
{
    finish_writing(writer);
    if (writer->first.code == LOAM_OK && writer->temporary) {
        if (rename(writer->temporary, writer->target) != 0) {
            lm_fail_errno(&writer->first, errno, "%s: cannot be written", writer->path);
        } else {
            lm_free(writer->temporary);    /* it is the target now, and not to be removed */
            writer->temporary = NULL;
            sync_parent(writer->target, &writer->first);
        }
    }
    int code = writer->first.code == LOAM_OK ? LOAM_OK : report(writer, error);
    lm_file_abandon(writer);
    return code;
}

void lm_file_abandon(struct lm_file_writer *writer)
{
    if (!writer)
        return;
    if (writer->temporary)
        unlink(writer->temporary);
    free_writer(writer);
}

int lm_file_replace(const char *path, const void *data, size_t length, loam_error *error)
{
    struct lm_file_writer *writer;
    int code = lm_file_create(path, &writer, error);
    if (code != LOAM_OK)
        return code;
    lm_file_write(writer, data, length, NULL);    /* commit reports it */
    return lm_file_commit(writer, error);
}
