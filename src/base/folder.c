/* Folders, paths, and locks. */
#include "base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

bool lm_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool lm_is_directory(const char *path)
{
    struct stat facts;
    return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

static int make_one(const char *path, loam_error *error)
{
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && lm_is_directory(path)))
        return LOAM_OK;
    return lm_fail_errno(error, errno, "%s: the folder cannot be made", path);
}

int lm_make_directories(const char *path, loam_error *error)
{
    if (*path == 0)
        return lm_fail(error, LOAM_EUSAGE, "found an empty path, wanted the name of a folder");
    char *part = lm_copy_string(path, strlen(path), error);
    if (!part)
        return LOAM_ENOMEM;
    int code = LOAM_OK;
    for (char *slash = strchr(part + 1, '/'); slash && code == LOAM_OK; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (!lm_is_directory(part))
            code = make_one(part, error);
        *slash = '/';
    }
    if (code == LOAM_OK && !lm_is_directory(part))
        code = make_one(part, error);
    lm_free(part);
    return code;
}

static int remove_at(int parent, const char *name, const char *path, loam_error *error);

/* Removes what the open folder holds; closes it. */
static int remove_entries(int folder, const char *path, loam_error *error)
{
    DIR *entries = fdopendir(folder);
    if (!entries) {
        int reason = errno;
        close(folder);
        return lm_fail_errno(error, reason, "%s: cannot be read", path);
    }
    int code = LOAM_OK;
    for (struct dirent *entry; code == LOAM_OK && (entry = readdir(entries));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            code = remove_at(dirfd(entries), entry->d_name, path, error);
    closedir(entries);
    return code;
}

/* Symbolic links are removed, never followed. `path` is for messages: the tree being removed. */
static int remove_at(int parent, const char *name, const char *path, loam_error *error)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return LOAM_OK;
    if (errno != EISDIR && errno != EPERM)
        return lm_fail_errno(error, errno, "%s: '%s' cannot be removed", path, name);
    int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return lm_fail_errno(error, errno, "%s: '%s' cannot be removed", path, name);
    int code = remove_entries(folder, path, error);
    if (code != LOAM_OK)
        return code;
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return lm_fail_errno(error, errno, "%s: '%s' cannot be removed", path, name);
    return LOAM_OK;
}

int lm_remove_tree(const char *path, loam_error *error)
{
    return remove_at(AT_FDCWD, path, path, error);
}

int lm_sync_directory(const char *path, loam_error *error)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return lm_fail_errno(error, errno, "%s: cannot be opened", path);
    int failed = fsync(folder);
    int reason = errno;
    close(folder);
    if (failed && reason != EINVAL && reason != EROFS)    /* file systems without the notion */
        return lm_fail_errno(error, reason, "%s: cannot be brought to the disk", path);
    return LOAM_OK;
}

int lm_free_space(const char *path, int64_t *bytes, loam_error *error)
{
    struct statvfs facts;
    if (statvfs(path, &facts) != 0)
        return lm_fail_errno(error, errno, "%s: its free space cannot be read", path);
    *bytes = (int64_t)facts.f_bavail * (int64_t)facts.f_frsize;
    return LOAM_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(char ***names, size_t *count, size_t *capacity, const char *name, loam_error *error)
{
    if (*count == *capacity) {
        size_t room = *capacity ? 2 * *capacity : 16;
        char **larger = lm_resize(*names, room, sizeof *larger, error);
        if (!larger)
            return LOAM_ENOMEM;
        *names = larger;
        *capacity = room;
    }
    char *copy = lm_copy_string(name, strlen(name), error);
    if (!copy)
        return LOAM_ENOMEM;
    (*names)[(*count)++] = copy;
    return LOAM_OK;
}

int lm_list_directory(const char *path, char ***names, size_t *count, loam_error *error)
{
    DIR *entries = opendir(path);
    if (!entries)
        return lm_fail_errno(error, errno, "%s: the folder cannot be read", path);
    char **list = NULL;
    size_t used = 0, capacity = 0;
    int code = LOAM_OK;
    errno = 0;
    for (struct dirent *entry; code == LOAM_OK && (entry = readdir(entries)); errno = 0)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            code = add_name(&list, &used, &capacity, entry->d_name, error);
    if (code == LOAM_OK && errno != 0)
        code = lm_fail_errno(error, errno, "%s: the folder cannot be read", path);
    closedir(entries);
    if (code != LOAM_OK) {
        lm_free_strings(list, used);
        return code;
    }
    if (used)
        qsort(list, used, sizeof *list, compare_names);
    *names = list;
    *count = used;
    return LOAM_OK;
}

void lm_free_strings(char **strings, size_t count)
{
    for (size_t i = 0; i < count; i++)
        lm_free(strings[i]);
    lm_free(strings);
}

char *lm_path_join(const char *folder, const char *name, loam_error *error)
{
    size_t length = strlen(folder), more = strlen(name);
    bool slash = length > 0 && folder[length - 1] != '/';
    char *path = lm_resize(NULL, length + slash + more + 1, 1, error);
    if (!path)
        return NULL;
    memcpy(path, folder, length);
    if (slash)
        path[length] = '/';
    memcpy(path + length + slash, name, more + 1);
    return path;
}

struct lm_lock {
    int file;
};

/* flock, not fcntl: it holds between two openings in one process too, and ends with the process. */
int lm_lock_take(const char *path, struct lm_lock **result, loam_error *error)
{
    struct lm_lock *lock = lm_alloc(1, sizeof *lock, error);
    if (!lock)
        return LOAM_ENOMEM;
    lock->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    int failed = lock->file < 0;
    if (!failed) {
        do
            failed = flock(lock->file, LOCK_EX | LOCK_NB);
        while (failed && errno == EINTR);
    }
    if (!failed) {
        *result = lock;
        return LOAM_OK;
    }
    int reason = errno;
    if (lock->file >= 0)
        close(lock->file);
    lm_free(lock);
    if (reason == EWOULDBLOCK)
        return lm_fail(error, LOAM_EBUSY, "%s: another process holds this lock; wait until it has ended", path);
    return lm_fail_errno(error, reason, "%s: cannot be locked", path);
}

void lm_lock_release(struct lm_lock *lock)
{
    if (!lock)
        return;
    close(lock->file);
    lm_free(lock);
}
