#include "support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_text(const char *path, const char *text)
{
    loam_error error;
    assert_ok(lm_file_replace(path, text, strlen(text), &error), &error);
}

static void assert_holds(const char *path, const char *text)
{
    loam_error error;
    struct lm_bytes bytes = {0};
    assert_ok(lm_file_read(path, 0, &bytes, &error), &error);
    assert_string_equal(bytes.data, text);
    lm_bytes_free(&bytes);
}

/* Nothing unfinished may lie beside the files named. */
static void assert_only(const char *folder, size_t files)
{
    loam_error error;
    char **names;
    size_t count;
    assert_ok(lm_list_directory(folder, &names, &count, &error), &error);
    assert_int_equal(count, files);
    lm_free_strings(names, count);
}

/* Runs `check` in a child (which may give up rights or set limits) and fails where it returns a line number. */
static void in_child(int (*check)(const char *folder), const char *folder)
{
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        int line = check(folder);
        if (line)
            fprintf(stderr, "child failed near line %d\n", line);
        _exit(line != 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_replace_and_read(void **state)
{
    (void)state;
    const char *folder = test_folder();
    const char *path = test_path(folder, "a.txt");
    write_text(path, "old");
    assert_holds(path, "old");
    write_text(path, "");
    assert_holds(path, "");
    write_text(path, "new");
    assert_holds(path, "new");
    assert_only(folder, 1);
}

static void test_permissions_and_links_stay(void **state)
{
    (void)state;
    const char *folder = test_folder();
    const char *path = test_path(folder, "a"), *link = test_path(folder, "link");
    write_text(path, "old");
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(symlink(path, link), 0);
    write_text(link, "new");
    struct stat facts;
    assert_int_equal(lstat(link, &facts), 0);
    assert_true(S_ISLNK(facts.st_mode));
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(facts.st_mode & 07777, 0640);
    assert_holds(path, "new");
}

static void test_many_pieces(void **state)
{
    (void)state;
    loam_error error;
    const char *path = test_path(test_folder(), "big");
    struct lm_file_writer *writer;
    struct lm_bytes wanted = {0}, found = {0};
    struct lm_random random = lm_random_seed(1, 0);
    assert_ok(lm_file_create(path, &writer, &error), &error);
    char piece[700000];
    memset(piece, 'p', sizeof piece);
    for (int i = 0; i < 60; i++) {
        size_t length = lm_random_below(&random, i % 10 == 0 ? sizeof piece : 5000);
        piece[0] = (char)('a' + i % 26);
        assert_ok(lm_file_write(writer, piece, length, &error), &error);
        assert_ok(lm_bytes_append(&wanted, piece, length, &error), &error);
    }
    assert_false(lm_file_exists(path));
    assert_ok(lm_file_commit(writer, &error), &error);
    assert_ok(lm_file_read(path, 0, &found, &error), &error);
    assert_int_equal(found.length, wanted.length);
    assert_memory_equal(found.data, wanted.data, wanted.length);
    lm_bytes_free(&wanted);
    lm_bytes_free(&found);
}

static void test_writing_at_places(void **state)
{
    (void)state;
    loam_error error;
    const char *path = test_path(test_folder(), "a");
    struct lm_file_writer *writer;
    assert_ok(lm_file_create(path, &writer, &error), &error);
    assert_ok(lm_file_allocate(writer, 8, &error), &error);
    assert_ok(lm_file_write_at(writer, 4, "wxyz", 4, &error), &error);
    assert_ok(lm_file_write_at(writer, 0, "abcd", 4, &error), &error);
    assert_ok(lm_file_commit(writer, &error), &error);
    assert_holds(path, "abcdwxyz");
    assert_ok(lm_file_create(path, &writer, &error), &error);
    assert_int_not_equal(lm_file_allocate(writer, INT64_MAX / 2, &error), LOAM_OK);
    assert_int_not_equal(lm_file_commit(writer, &error), LOAM_OK);
    assert_holds(path, "abcdwxyz");
}

static void test_abandon_leaves_nothing(void **state)
{
    (void)state;
    loam_error error;
    const char *folder = test_folder();
    const char *path = test_path(folder, "a");
    write_text(path, "old");
    struct lm_file_writer *writer;
    assert_ok(lm_file_create(path, &writer, &error), &error);
    assert_ok(lm_file_write(writer, "new", 3, &error), &error);
    lm_file_abandon(writer);
    assert_holds(path, "old");
    assert_only(folder, 1);
}

static void test_device_full(void **state)
{
    (void)state;
    loam_error error;
    assert_fails(lm_file_replace("/dev/full", "x", 1, &error), &error, LOAM_ENOSPACE, "/dev/full", "No space left");
    struct lm_file_writer *writer;
    assert_ok(lm_file_create("/dev/full", &writer, &error), &error);
    char much[1 << 19] = {0};
    assert_fails(lm_file_write(writer, much, sizeof much, &error), &error, LOAM_ENOSPACE, "/dev/full");
    assert_int_equal(lm_file_write(writer, "x", 1, NULL), LOAM_ENOSPACE);    /* the first failure sticks */
    assert_fails(lm_file_commit(writer, &error), &error, LOAM_ENOSPACE, "/dev/full");
    assert_ok(lm_file_replace("/dev/null", "x", 1, &error), &error);
}

/* A file may not grow past 4096 bytes: what a full disk does to the old file and to the folder. */
static int check_file_limit(const char *folder)
{
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096});
    loam_error error;
    char much[10000] = {0};
    const char *path = test_path(folder, "a");
    if (lm_file_replace(path, much, sizeof much, &error) != LOAM_EIO)
        return __LINE__;
    return strstr(error.message, path) ? 0 : __LINE__;
}

static void test_write_fails_half_way(void **state)
{
    (void)state;
    const char *folder = test_folder();
    write_text(test_path(folder, "a"), "old");
    in_child(check_file_limit, folder);
    assert_holds(test_path(folder, "a"), "old");
    assert_only(folder, 1);
}

/* As root, or as root of a user namespace; false where the kernel allows neither. */
static bool own_mounts(void)
{
    char map[64];
    const int length = snprintf(map, sizeof map, "0 %d 1", (int)geteuid());
    if (unshare(CLONE_NEWNS) == 0)
        return true;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return false;
    const int file = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
    const bool mapped = file >= 0 && write(file, map, (size_t)length) == length;
    if (file >= 0)
        close(file);
    return mapped;
}

/* A disk of 64 KiB, where this machine lets a process have one of its own. */
static int check_small_disk(const char *folder)
{
    if (!own_mounts() || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return 0;
    if (mount("tmpfs", folder, "tmpfs", 0, "size=64k") != 0)
        return 0;
    loam_error error;
    static char much[200000];
    const char *path = test_path(folder, "a");
    if (lm_file_replace(path, "old", 3, &error) != LOAM_OK)
        return __LINE__;
    if (lm_file_replace(path, much, sizeof much, &error) != LOAM_ENOSPACE)
        return __LINE__;
    struct lm_file_writer *writer;
    if (lm_file_create(path, &writer, &error) != LOAM_OK)
        return __LINE__;
    if (lm_file_allocate(writer, sizeof much, &error) != LOAM_ENOSPACE)
        return __LINE__;
    lm_file_abandon(writer);
    char **names;
    size_t count;
    if (lm_list_directory(folder, &names, &count, &error) != LOAM_OK || count != 1)
        return __LINE__;
    lm_free_strings(names, count);
    struct lm_bytes bytes = {0};
    if (lm_file_read(path, 0, &bytes, &error) != LOAM_OK || strcmp(bytes.data, "old") != 0)
        return __LINE__;
    lm_bytes_free(&bytes);
    return 0;
}

static void test_small_disk(void **state)
{
    (void)state;
    in_child(check_small_disk, test_folder());
}

static int check_no_permission(const char *folder)
{
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return __LINE__;
    loam_error error;
    const char *locked = test_path(folder, "locked"), *inside = test_path(folder, "locked/new");
    const char *file = test_path(folder, "file"), *secret = test_path(folder, "secret");
    if (lm_file_replace(inside, "x", 1, &error) != LOAM_EIO || !strstr(error.message, "Permission denied"))
        return __LINE__;
    if (lm_file_replace(file, "x", 1, &error) != LOAM_EIO || !strstr(error.message, file))
        return __LINE__;
    struct lm_mapping mapping;
    if (lm_file_map(secret, &mapping, &error) != LOAM_EIO)
        return __LINE__;
    struct lm_lock *lock;
    if (lm_lock_take(inside, &lock, &error) != LOAM_EIO)
        return __LINE__;
    return lm_make_directories(inside, &error) == LOAM_EIO && lm_is_directory(locked) ? 0 : __LINE__;
}

static void test_no_permission(void **state)
{
    (void)state;
    loam_error error;
    const char *folder = test_folder();
    write_text(test_path(folder, "file"), "old");
    write_text(test_path(folder, "secret"), "s");
    assert_ok(lm_make_directories(test_path(folder, "locked"), &error), &error);
    assert_int_equal(chmod(test_path(folder, "file"), 0444), 0);
    assert_int_equal(chmod(test_path(folder, "secret"), 0), 0);
    assert_int_equal(chmod(test_path(folder, "locked"), 0555), 0);
    assert_int_equal(chmod(folder, 0777), 0);
    in_child(check_no_permission, folder);
    assert_holds(test_path(folder, "file"), "old");
    assert_int_equal(chmod(test_path(folder, "locked"), 0755), 0);
}

static void test_map(void **state)
{
    (void)state;
    loam_error error;
    const char *folder = test_folder();
    const char *path = test_path(folder, "a");
    struct lm_mapping mapping;
    write_text(path, "hello");
    assert_ok(lm_file_map(path, &mapping, &error), &error);
    assert_int_equal(mapping.size, 5);
    assert_memory_equal(mapping.data, "hello", 5);
    lm_file_unmap(&mapping);
    write_text(path, "");
    assert_ok(lm_file_map(path, &mapping, &error), &error);
    assert_int_equal(mapping.size, 0);
    assert_non_null(mapping.data);
    lm_file_unmap(&mapping);
    assert_fails(lm_file_map(folder, &mapping, &error), &error, LOAM_EIO, folder, "a folder");
    assert_fails(lm_file_map("/dev/zero", &mapping, &error), &error, LOAM_EIO, "/dev/zero");
    assert_fails(lm_file_map(test_path(folder, "none"), &mapping, &error), &error, LOAM_ENOTFOUND, "none");
    const char *pipe_path = test_path(folder, "pipe");
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_fails(lm_file_map(pipe_path, &mapping, &error), &error, LOAM_EIO, "pipe");
}

static void test_read_limits(void **state)
{
    (void)state;
    loam_error error;
    const char *folder = test_folder();
    const char *path = test_path(folder, "a");
    write_text(path, "0123456789");
    struct lm_bytes bytes = {0};
    assert_ok(lm_bytes_append(&bytes, "before", 6, &error), &error);
    assert_ok(lm_file_read(path, 10, &bytes, &error), &error);
    assert_string_equal(bytes.data, "before0123456789");
    assert_fails(lm_file_read(path, 9, &bytes, &error), &error, LOAM_EFORMAT, path, "9 bytes");
    assert_string_equal(bytes.data, "before0123456789");
    assert_fails(lm_file_read("/dev/zero", 100000, &bytes, &error), &error, LOAM_EFORMAT, "/dev/zero");
    assert_fails(lm_file_read(folder, 0, &bytes, &error), &error, LOAM_EIO, folder);
    assert_string_equal(bytes.data, "before0123456789");
    lm_bytes_free(&bytes);
    assert_ok(lm_file_read("/proc/self/status", 0, &bytes, &error), &error);    /* says that it has 0 bytes */
    assert_true(bytes.length > 100);
    lm_bytes_free(&bytes);
}

static void test_folders(void **state)
{
    (void)state;
    loam_error error;
    const char *folder = test_folder();
    const char *deep = test_path(folder, "a/b//c/");
    assert_ok(lm_make_directories(deep, &error), &error);
    assert_ok(lm_make_directories(deep, &error), &error);
    assert_true(lm_is_directory(deep));
    write_text(test_path(folder, "a/x"), "x");
    assert_fails(lm_make_directories(test_path(folder, "a/x/y"), &error), &error, LOAM_EIO, "a/x");
    assert_int_equal(lm_make_directories("", &error), LOAM_EUSAGE);
    write_text(test_path(folder, "a/b/c/\xff odd\n name"), "x");
    assert_int_equal(symlink("/etc", test_path(folder, "a/etc")), 0);
    char **names;
    size_t count;
    assert_ok(lm_list_directory(test_path(folder, "a"), &names, &count, &error), &error);
    assert_int_equal(count, 3);
    assert_string_equal(names[0], "b");
    assert_string_equal(names[1], "etc");
    assert_string_equal(names[2], "x");
    lm_free_strings(names, count);
    assert_ok(lm_remove_tree(test_path(folder, "a"), &error), &error);
    assert_false(lm_file_exists(test_path(folder, "a")));
    assert_true(lm_file_exists("/etc/passwd"));    /* the link was removed, not what it points to */
    assert_ok(lm_remove_tree(test_path(folder, "a"), &error), &error);
    assert_fails(lm_list_directory(test_path(folder, "a"), &names, &count, &error), &error, LOAM_ENOTFOUND, "/a");
    int64_t bytes = -1;
    assert_ok(lm_free_space(folder, &bytes, &error), &error);
    assert_true(bytes >= 0);
    assert_ok(lm_sync_directory(folder, &error), &error);
}

static void test_paths(void **state)
{
    (void)state;
    static const char *const cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *path = lm_path_join(cases[i][0], cases[i][1], NULL);
        assert_string_equal(path, cases[i][2]);
        lm_free(path);
    }
}

static int check_lock_is_taken(const char *path)
{
    struct lm_lock *lock;
    loam_error error;
    return lm_lock_take(path, &lock, &error) == LOAM_EBUSY && strstr(error.message, path) ? 0 : __LINE__;
}

static int die_with_lock(const char *path)
{
    struct lm_lock *lock;
    return lm_lock_take(path, &lock, NULL) == LOAM_OK ? 0 : __LINE__;
}

static void test_locks(void **state)
{
    (void)state;
    loam_error error;
    const char *path = test_path(test_folder(), "lock");
    struct lm_lock *lock, *second;
    in_child(die_with_lock, path);    /* ends without release: the lock ends with it */
    assert_ok(lm_lock_take(path, &lock, &error), &error);
    in_child(check_lock_is_taken, path);
    assert_fails(lm_lock_take(path, &second, &error), &error, LOAM_EBUSY, path, "another process");
    lm_lock_release(lock);
    assert_ok(lm_lock_take(path, &lock, &error), &error);
    lm_lock_release(lock);
    lm_lock_release(NULL);
}

/* Writing and reading with the 1st, 2nd, … allocation failing: the old file stays until all of it worked. */
static void test_out_of_memory(void **state)
{
    (void)state;
    loam_error error;
    const char *folder = test_folder();
    const char *path = test_path(folder, "a");
    write_text(path, "old");
    int code = LOAM_ENOMEM;
    for (int n = 1; code != LOAM_OK; n++) {
        assert_true(n < 100);
        lm_memory_fail_after(n);
        code = lm_file_replace(path, "new", 3, &error);
        lm_memory_fail_after(-1);
        if (code == LOAM_OK)
            break;
        assert_int_equal(code, LOAM_ENOMEM);
        struct lm_bytes bytes = {0};
        assert_ok(lm_file_read(path, 0, &bytes, &error), &error);
        assert_true(strcmp(bytes.data, "old") == 0 || strcmp(bytes.data, "new") == 0);
        lm_bytes_free(&bytes);
        assert_only(folder, 1);
    }
    code = LOAM_ENOMEM;
    for (int n = 1; code != LOAM_OK; n++) {
        assert_true(n < 100);
        char **names;
        size_t count;
        lm_memory_fail_after(n);
        code = lm_list_directory(folder, &names, &count, &error);
        lm_memory_fail_after(-1);
        if (code == LOAM_OK)
            lm_free_strings(names, count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replace_and_read),   cmocka_unit_test(test_permissions_and_links_stay),
        cmocka_unit_test(test_many_pieces),        cmocka_unit_test(test_writing_at_places),
        cmocka_unit_test(test_abandon_leaves_nothing), cmocka_unit_test(test_device_full),
        cmocka_unit_test(test_write_fails_half_way), cmocka_unit_test(test_small_disk),
        cmocka_unit_test(test_no_permission),      cmocka_unit_test(test_map),
        cmocka_unit_test(test_read_limits),        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_paths),              cmocka_unit_test(test_locks),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
