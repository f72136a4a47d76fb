#include "support.h"

#include <ftw.h>
#include <locale.h>
#include <unistd.h>

/* Every test runs in the locale of its environment, as a program that embeds the library may: the suite uses that to
 * run everything where numbers have a comma. */
__attribute__((constructor)) static void use_locale(void)
{
    setlocale(LC_ALL, "");
}

enum { MAX_FOLDERS = 512 };
static char *folders[MAX_FOLDERS];
static int folder_count;

void test_expect_failure(int got, const loam_error *error, int wanted, const char *const *words, const char *call)
{
    if (got != wanted)
        fail_msg("%s: gave %s, wanted %s (message: %s)", call, loam_status_name(got), loam_status_name(wanted),
                 got == LOAM_OK ? "none" : error->message);
    if (error->code != wanted)
        fail_msg("%s: error->code is %s, wanted %s", call, loam_status_name(error->code), loam_status_name(wanted));
    for (; *words; words++)
        if (!strstr(error->message, *words))
            fail_msg("%s: message lacks \"%s\": %s", call, *words, error->message);
}

static bool secret_left;

static int look_for_secrets(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    char part[65536 + sizeof TEST_MARK];
    size_t kept = 0, count;
    const char *name = path + place->base;
    (void)about;
    FILE *file = kind == FTW_F && strncmp(name, "secrets", 7) && strncmp(name, "keys", 4) ? fopen(path, "rb") : NULL;
    bool found = false;
    while (file && !found && (count = fread(part + kept, 1, 65536, file)) > 0) {
        count += kept;
        found = memmem(part, count, TEST_MARK, sizeof TEST_MARK - 1);
        kept = count < sizeof TEST_MARK - 2 ? count : sizeof TEST_MARK - 2;    /* it may stand across two parts */
        memmove(part, part + count - kept, kept);
    }
    if (file)
        fclose(file);
    if (found)
        fprintf(stderr, "FAILED: a secret was written: %s\n", path);
    secret_left = secret_left || found;
    return 0;
}

static void remove_folders(void)
{
    for (int i = 0; i < folder_count; i++) {
        nftw(folders[i], look_for_secrets, 16, FTW_PHYS);
        lm_remove_tree(folders[i], NULL);
        free(folders[i]);
    }
    if (secret_left)
        _exit(1);
}

const char *test_folder(void)
{
    char path[] = "/tmp/loam-test-XXXXXX";
    assert_true(folder_count < MAX_FOLDERS);
    assert_non_null(mkdtemp(path));
    if (folder_count == 0)
        atexit(remove_folders);
    folders[folder_count] = strdup(path);
    return folders[folder_count++];
}

const char *test_path(const char *folder, const char *name)
{
    static char paths[16][1024];
    static int next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

const char *test_shared(const char *name)
{
    if (!lm_is_directory(LOAM_SHARED_DATA)) {
        printf("SKIP: shared data: %s is not there\n", LOAM_SHARED_DATA);
        skip();
    }
    return test_path(LOAM_SHARED_DATA, name);
}
