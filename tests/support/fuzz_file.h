/* For fuzz targets of what is read by its name: a folder of the process's own, in which the input is put under that name.
 *
 *     const char *path = fuzz_file("state.json", data, size);     // the same folder each time; the caller does not free
 */
#ifndef LOAM_TESTS_FUZZ_FILE_H
#define LOAM_TESTS_FUZZ_FILE_H

#include "base/base.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void fuzz_must(int truth, const char *what)
{
    if (truth)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static char fuzz_folder_path[64];

static inline void fuzz_remove_folder(void)
{
    lm_remove_tree(fuzz_folder_path, NULL);
}

static inline const char *fuzz_folder(void)
{
    if (!*fuzz_folder_path) {
        snprintf(fuzz_folder_path, sizeof fuzz_folder_path, "/tmp/loam-fuzz-XXXXXX");
        fuzz_must(mkdtemp(fuzz_folder_path) != NULL, "no folder can be made");
        atexit(fuzz_remove_folder);
    }
    return fuzz_folder_path;
}

static inline const char *fuzz_file(const char *name, const void *data, size_t size)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_must(file >= 0 && write(file, data, size) == (ssize_t)size && close(file) == 0, "the input cannot be written");
    return path;
}

/* What is refused is refused in words. */
static inline void fuzz_refused(int code, const loam_error *error)
{
    const size_t length = strlen(error->message);
    fuzz_must(code == error->code, "another code in the error than was given");
    fuzz_must(length > 0 && lm_utf8_check(error->message, length) == length, "no message, or one that is not UTF-8");
}

#endif
