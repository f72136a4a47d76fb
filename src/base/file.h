/* Files: whole or absent.
 *
 *     struct lm_file_writer *writer;
 *     if (lm_file_create("model/config.json", &writer, error)) return error->code;
 *     lm_file_write(writer, text, length, error);
 *     return lm_file_commit(writer, error);     // fsync, rename over the old one, fsync of the folder
 *
 * Paths are UTF-8 as the system gives them. Every message names the path. One object, one thread.
 */
#ifndef LOAM_BASE_FILE_H
#define LOAM_BASE_FILE_H

#include "memory.h"

/* A file mapped for reading. Empty files have data "" and size 0. Not a regular file: LOAM_EIO. */
struct lm_mapping {
    const unsigned char *data;
    size_t size;
};
int lm_file_map(const char *path, struct lm_mapping *mapping, loam_error *error);
void lm_file_unmap(struct lm_mapping *mapping);

/* The whole file into `bytes` (appended). `limit` in bytes, 0 for none; "-" is standard input. */
int lm_file_read(const char *path, size_t limit, struct lm_bytes *bytes, loam_error *error);

/* Beside the target under a temporary name until committed. lm_file_abandon removes it; both free. After a
 * failed write, commit fails too and removes it, so that errors need be looked at only there. */
struct lm_file_writer;
int lm_file_create(const char *path, struct lm_file_writer **writer, loam_error *error);
int lm_file_write(struct lm_file_writer *writer, const void *data, size_t length, loam_error *error);
/* The same at an offset in bytes; lm_file_write goes on where it was. Regular files only. */
int lm_file_write_at(struct lm_file_writer *writer, int64_t offset, const void *data, size_t length, loam_error *error);
/* Takes the room for `size` bytes in all now, so that a full disk shows before anything is written: LOAM_ENOSPACE. */
int lm_file_allocate(struct lm_file_writer *writer, int64_t size, loam_error *error);
int lm_file_commit(struct lm_file_writer *writer, loam_error *error);
void lm_file_abandon(struct lm_file_writer *writer);
/* The same, and a descriptor for reading what was committed, which the caller closes. */
int lm_file_commit_open(struct lm_file_writer *writer, int *file, loam_error *error);
/* A writer whose file lies in memory and has no name: it is there until the descriptor of lm_file_commit_open is closed.
 * `name` is what messages call it. */
int lm_file_create_unnamed(const char *name, struct lm_file_writer **writer, loam_error *error);
/* Reads exactly `length` bytes at an offset. `name` is what messages call the file; it ends before: LOAM_EFORMAT. */
int lm_file_read_at(int file, const char *name, int64_t offset, void *data, size_t length, loam_error *error);
/* The three in one. */
int lm_file_replace(const char *path, const void *data, size_t length, loam_error *error);

bool lm_file_exists(const char *path);
bool lm_is_directory(const char *path);
int lm_make_directories(const char *path, loam_error *error);             /* as mkdir -p */
int lm_remove_tree(const char *path, loam_error *error);                  /* as rm -r; absent is fine */
int lm_sync_directory(const char *path, loam_error *error);               /* fsync of the folder itself */
int lm_free_space(const char *path, int64_t *bytes, loam_error *error);   /* for an ordinary user */
/* Names in a folder, sorted by byte, without . and ..; free with lm_free_strings. */
int lm_list_directory(const char *path, char ***names, size_t *count, loam_error *error);
void lm_free_strings(char **strings, size_t count);
/* "a" + "b" = "a/b", newly allocated. NULL on failure. */
char *lm_path_join(const char *folder, const char *name, loam_error *error);

/* An advisory lock held until released or the process ends. Held elsewhere: LOAM_EBUSY. */
struct lm_lock;
int lm_lock_take(const char *path, struct lm_lock **lock, loam_error *error);
void lm_lock_release(struct lm_lock *lock);

#endif
