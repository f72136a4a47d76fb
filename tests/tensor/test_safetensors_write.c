/* The safetensors writer: the reference writer's bytes, whole files or none, and directories with shards. */
#include "support/support.h"
#include "tensor/tensor.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

static loam_error error;

static int write_all(const char *path, const struct lm_tensor *list, size_t count, const char *const *metadata)
{
    struct lm_tensors_writer *writer;
    int code = lm_tensors_create(path, list, count, metadata, &writer, &error);
    for (size_t i = count; i-- > 0 && !code;) /* the order of the puts does not matter */
        if ((code = lm_tensors_put(writer, i, 0, list[i].data, list[i].bytes, &error)))
            lm_tensors_abandon(writer);
    return code ? code : lm_tensors_finish(writer, &error);
}

static void assert_same_file(const char *path, const char *wanted_path)
{
    struct lm_bytes got = {0}, wanted = {0};
    assert_ok(lm_file_read(path, 0, &got, &error), &error);
    assert_ok(lm_file_read(wanted_path, 0, &wanted, &error), &error);
    if (got.length != wanted.length || memcmp(got.data, wanted.data, got.length) != 0)
        fail_msg("%s: written %zu bytes %.300s, wanted %zu bytes %.300s", wanted_path, got.length, got.data + 8,
                 wanted.length, wanted.data + 8);
    lm_bytes_free(&got);
    lm_bytes_free(&wanted);
}

/* What is read and written again is the same file, where the reference writer made it; the list is handed over
 * backwards. */
static void reference_bytes(void **state)
{
    (void)state;
    static const char *const names[] = {"attn0-f32",           "attn0-aligned", "int32-aligned", "two-dtypes-order",
                                        "metadata-and-tensor", "empty-map",     "metadata-only", "f4-pair"};
    static const char *const metadata[] = {"framework", "pt", NULL};
    const char *folder = test_folder();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char source[128];
        struct lm_tensor list[2];
        struct lm_tensors *tensors;
        snprintf(source, sizeof source, "safetensors/accept/%s.safetensors", names[i]);
        const char *wanted = test_shared(source), *path = test_path(folder, "written.safetensors");
        assert_ok(lm_tensors_open(wanted, &tensors, &error), &error);
        size_t count = lm_tensors_count(tensors);
        for (size_t j = 0; j < count; j++)
            list[j] = *lm_tensors_at(tensors, count - 1 - j);
        assert_ok(write_all(path, list, count, lm_tensors_metadata(tensors, "framework") ? metadata : NULL), &error);
        assert_same_file(path, wanted);
        lm_tensors_close(tensors);
    }
}

/* All types in one file, in the order that widths and names give, written in pieces and read back. */
static void every_type(void **state)
{
    (void)state;
    static const int64_t shape[] = {4, 2};
    static const char data[64] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-+";
    struct lm_tensor list[2 * LM_DTYPE_COUNT];
    char names[2 * LM_DTYPE_COUNT][8];
    for (int i = 0; i < 2 * LM_DTYPE_COUNT; i++) {
        enum lm_dtype dtype = (enum lm_dtype)(LM_DTYPE_COUNT - 1 - i / 2);
        snprintf(names[i], sizeof names[i], "%c\"\\%02d", i % 2 ? 'a' : 'b', i);
        list[i] = (struct lm_tensor){.name = names[i],
                                     .dtype = dtype,
                                     .rank = 2,
                                     .shape = shape,
                                     .count = 8,
                                     .bytes = (uint64_t)lm_dtype_bits(dtype),
                                     .data = data};
    }
    const char *path = test_path(test_folder(), "types.safetensors");
    struct lm_tensors_writer *writer;
    assert_ok(lm_tensors_create(path, list, 2 * LM_DTYPE_COUNT, NULL, &writer, &error), &error);
    for (size_t i = 0; i < 2 * LM_DTYPE_COUNT; i++) {
        size_t half = list[i].bytes / 2;
        assert_ok(lm_tensors_put(writer, i, half, data + half, list[i].bytes - half, &error), &error);
        assert_ok(lm_tensors_put(writer, i, 0, data, half, &error), &error);
    }
    assert_ok(lm_tensors_finish(writer, &error), &error);
    struct lm_tensors *tensors;
    assert_ok(lm_tensors_open(path, &tensors, &error), &error);
    assert_int_equal(lm_tensors_count(tensors), 2 * LM_DTYPE_COUNT);
    for (size_t i = 0; i < 2 * LM_DTYPE_COUNT; i++) {
        const struct lm_tensor *tensor = lm_tensors_at(tensors, i);
        char copy[64];
        assert_int_equal(tensor->dtype, i / 2);
        assert_int_equal(tensor->name[0], i % 2 ? 'b' : 'a');
        assert_memory_equal(tensor->data, data, tensor->bytes);
        assert_ok(lm_tensors_pread(tensors, tensor, 2, copy, tensor->bytes - 2, &error), &error);
        assert_memory_equal(copy, data + 2, tensor->bytes - 2);
        assert_fails(lm_tensors_pread(tensors, tensor, 2, copy, tensor->bytes, &error), &error, LOAM_EUSAGE,
                     "asked for");
    }
    lm_tensors_close(tensors);
}

static void refused_lists(void **state)
{
    (void)state;
    static const int64_t shape[] = {3}, negative[] = {-1}, large[] = {INT64_MAX, 4};
    struct lm_tensor list[2] = {{.name = "w", .dtype = LM_F32, .rank = 1, .shape = shape},
                                {.name = "w", .dtype = LM_U8, .rank = 1, .shape = shape}};
    const char *folder = test_folder(), *path = test_path(folder, "refused.safetensors");
    struct lm_tensors_writer *writer;
    assert_fails(lm_tensors_create(path, list, 2, NULL, &writer, &error), &error, LOAM_EUSAGE, "\"w\"", "two");
    list[0].name = "__metadata__";
    assert_fails(lm_tensors_create(path, list, 1, NULL, &writer, &error), &error, LOAM_EUSAGE, "__metadata__");
    list[0].name = "\xff";
    assert_fails(lm_tensors_create(path, list, 1, NULL, &writer, &error), &error, LOAM_EUSAGE, "UTF-8");
    list[0] = (struct lm_tensor){.name = "n", .dtype = LM_F32, .rank = 1, .shape = negative};
    assert_fails(lm_tensors_create(path, list, 1, NULL, &writer, &error), &error, LOAM_EFORMAT, "-1");
    list[0] = (struct lm_tensor){.name = "n", .dtype = LM_F32, .rank = 2, .shape = large};
    assert_fails(lm_tensors_create(path, list, 1, NULL, &writer, &error), &error, LOAM_EFORMAT, "2^64");
    list[0] = (struct lm_tensor){.name = "n", .dtype = LM_F4, .rank = 1, .shape = shape};
    assert_fails(lm_tensors_create(path, list, 1, NULL, &writer, &error), &error, LOAM_EFORMAT, "whole bytes");
    char *letters = malloc(100000001);
    memset(letters, 'a', 100000000);
    letters[100000000] = 0;
    const char *const metadata[] = {"long", letters, NULL};
    assert_fails(lm_tensors_create(path, NULL, 0, metadata, &writer, &error), &error, LOAM_EUSAGE, "100000000");
    free(letters);
    list[0] = (struct lm_tensor){.name = "n", .dtype = LM_U8, .rank = 1, .shape = shape};
    assert_ok(lm_tensors_create(path, list, 1, NULL, &writer, &error), &error);
    assert_fails(lm_tensors_put(writer, 1, 0, "x", 1, &error), &error, LOAM_EUSAGE, "tensor 1 of 1");
    assert_fails(lm_tensors_put(writer, 0, 2, "xy", 2, &error), &error, LOAM_EUSAGE, "\"n\"");
    assert_ok(lm_tensors_put(writer, 0, 0, "xy", 2, &error), &error);
    assert_fails(lm_tensors_put(writer, 0, 0, "xy", 2, &error), &error, LOAM_EUSAGE, "\"n\"");
    assert_fails(lm_tensors_finish(writer, &error), &error, LOAM_EUSAGE, "\"n\"", "2 bytes", "3");
    char **left;
    size_t count;
    assert_ok(lm_list_directory(folder, &left, &count, &error), &error);
    assert_int_equal(count, 0); /* no file, and no temporary one */
    lm_free_strings(left, count);
}

/* The file being written is mapped as the source: the source stays readable, the new file is right. */
static void over_its_own_source(void **state)
{
    (void)state;
    static const int64_t shape[] = {1000};
    float numbers[1000];
    for (int i = 0; i < 1000; i++)
        numbers[i] = (float)i;
    struct lm_tensor tensor = {
        .name = "w", .dtype = LM_F32, .rank = 1, .shape = shape, .bytes = sizeof numbers, .data = numbers};
    const char *path = test_path(test_folder(), "model.safetensors");
    assert_ok(write_all(path, &tensor, 1, NULL), &error);
    struct lm_tensors *tensors;
    assert_ok(lm_tensors_open(path, &tensors, &error), &error);
    const struct lm_tensor *old = lm_tensors_at(tensors, 0);
    struct lm_tensor two[2] = {*old, *old};
    two[0].name = "v";
    assert_ok(write_all(path, two, 2, NULL), &error);
    assert_memory_equal(old->data, numbers, sizeof numbers);
    lm_tensors_close(tensors);
    assert_ok(lm_tensors_open(path, &tensors, &error), &error);
    assert_int_equal(lm_tensors_count(tensors), 2);
    assert_memory_equal(lm_tensors_find(tensors, "v")->data, numbers, sizeof numbers);
    assert_memory_equal(lm_tensors_find(tensors, "w")->data, numbers, sizeof numbers);
    lm_tensors_close(tensors);
}

static void out_of_memory(void **state)
{
    (void)state;
    static const int64_t shape[] = {3};
    static const char *const metadata[] = {"format", "pt", NULL};
    const struct lm_tensor list[2] = {
        {.name = "b", .dtype = LM_U8, .rank = 1, .shape = shape, .bytes = 3, .data = "abc"},
        {.name = "a", .dtype = LM_U8, .rank = 1, .shape = shape, .bytes = 3, .data = "def"}};
    const char *folder = test_folder(), *path = test_path(folder, "m.safetensors");
    int failures = 0, code = LOAM_ENOMEM;
    for (; code == LOAM_ENOMEM; failures++) {
        lm_memory_fail_after(failures + 1);
        code = write_all(path, list, 2, metadata);
        lm_memory_fail_after(-1);
        struct lm_tensors *tensors;
        if (lm_file_exists(path)) { /* whole or absent: the last failures come when it is in place already */
            assert_ok(lm_tensors_open(path, &tensors, &error), &error);
            assert_memory_equal(lm_tensors_find(tensors, "a")->data, "def", 3);
            lm_tensors_close(tensors);
        }
    }
    assert_int_equal(code, LOAM_OK);
    assert_true(failures > 10);
    char **left;
    size_t count;
    assert_ok(lm_list_directory(folder, &left, &count, &error), &error);
    assert_int_equal(count, 1);
    lm_free_strings(left, count);
}

/* A limit on the file's size stands for the full disk: the old file is still there, and nothing beside it. */
static void no_room(void **state)
{
    (void)state;
    static const int64_t shape[] = {100000};
    static char data[100000];
    struct lm_tensor tensor = {
        .name = "w", .dtype = LM_U8, .rank = 1, .shape = shape, .bytes = sizeof data, .data = data};
    const char *folder = test_folder(), *path = test_path(folder, "m.safetensors");
    assert_ok(write_all(path, NULL, 0, NULL), &error);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    small = before;
    small.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int code = write_all(path, &tensor, 1, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_fails(code, &error, LOAM_EIO, path);
    struct lm_tensors *tensors;
    assert_ok(lm_tensors_open(path, &tensors, &error), &error);
    assert_int_equal(lm_tensors_count(tensors), 0);
    lm_tensors_close(tensors);
    char **left;
    size_t count;
    assert_ok(lm_list_directory(folder, &left, &count, &error), &error);
    assert_int_equal(count, 1);
    lm_free_strings(left, count);
    const char *nowhere = test_path(folder, "no/such/folder.safetensors");
    assert_fails(write_all(nowhere, &tensor, 1, NULL), &error, LOAM_ENOTFOUND, nowhere);
    if (geteuid() == 0)
        return; /* root may write everywhere */
    assert_int_equal(chmod(folder, 0500), 0);
    code = write_all(test_path(folder, "n.safetensors"), &tensor, 1, NULL);
    assert_int_equal(chmod(folder, 0700), 0);
    assert_fails(code, &error, LOAM_EIO, "n.safetensors");
}

/* --- Directories --- */

static int from_list(void *user, size_t list_index, struct lm_tensors_writer *writer, size_t index, loam_error *failure)
{
    const struct lm_tensor *tensor = (const struct lm_tensor *)user + list_index;
    return lm_tensors_put(writer, index, 0, tensor->data, tensor->bytes, failure);
}

enum { PARTS = 7 };
static struct lm_tensor parts[PARTS];
static void make_parts(void)
{
    static const int64_t shape[] = {10};
    static const char *const names[PARTS] = {"e", "a", "b", "c", "d", "f", "g"};
    static char data[PARTS][40];
    for (int i = 0; i < PARTS; i++) {
        memset(data[i], '0' + i, sizeof data[i]);
        parts[i] = (struct lm_tensor){.name = names[i],
                                      .dtype = i == 4 ? LM_F32 : LM_U8,
                                      .rank = 1,
                                      .shape = shape,
                                      .count = 10,
                                      .bytes = i == 4 ? 40 : 10,
                                      .data = data[i]};
    }
}

static void check_parts(const char *folder)
{
    struct lm_tensors *tensors;
    assert_ok(lm_tensors_open(folder, &tensors, &error), &error);
    assert_int_equal(lm_tensors_count(tensors), PARTS);
    assert_string_equal(lm_tensors_metadata(tensors, "format"), "pt");
    for (int i = 0; i < PARTS; i++) {
        const struct lm_tensor *tensor = lm_tensors_find(tensors, parts[i].name);
        char copy[40];
        assert_non_null(tensor);
        assert_int_equal(tensor->bytes, parts[i].bytes);
        assert_memory_equal(tensor->data, parts[i].data, tensor->bytes);
        assert_ok(lm_tensors_pread(tensors, tensor, 0, copy, tensor->bytes, &error), &error);
        assert_memory_equal(copy, parts[i].data, tensor->bytes);
    }
    lm_tensors_close(tensors);
}

static void assert_names(const char *folder, const char *wanted)
{
    char **names, all[1024] = "";
    size_t count;
    assert_ok(lm_list_directory(folder, &names, &count, &error), &error);
    for (size_t i = 0; i < count; i++)
        strcat(strcat(all, names[i]), " ");
    lm_free_strings(names, count);
    assert_string_equal(all, wanted);
}

/* Ten bytes each and one of forty under a limit of 25: 2, 2, then the large one alone, then 2. */
static void shards(void **state)
{
    (void)state;
    make_parts();
    const char *folder = test_folder();
    static const char four[] =
        "model-00001-of-00004.safetensors model-00002-of-00004.safetensors "
        "model-00003-of-00004.safetensors model-00004-of-00004.safetensors model.safetensors.index.json ";
    assert_ok(lm_tensors_save_directory(folder, parts, PARTS, 0, from_list, parts, &error), &error);
    check_parts(folder);
    assert_names(folder, "model.safetensors ");
    for (int i = 0; i < 2; i++) { /* shards replace the single file, then shards replace shards */
        assert_ok(lm_tensors_save_directory(folder, parts, PARTS, 25, from_list, parts, &error), &error);
        check_parts(folder);
        assert_names(folder, four);
    }
    const char *nested = test_path(folder, "made/on/the/way");
    assert_ok(lm_tensors_save_directory(nested, parts, PARTS, 1000, from_list, parts, &error), &error);
    check_parts(nested);
    struct lm_document *index;
    int64_t total;
    assert_ok(lm_json_read(test_path(folder, "model.safetensors.index.json"), &index, &error), &error);
    const struct lm_value *metadata = lm_value_find(lm_document_root(index), "metadata");
    assert_ok(lm_value_int(index, lm_value_find(metadata, "total_size"), 0, INT64_MAX, &total, &error), &error);
    assert_int_equal(total, 100);
    lm_document_free(index);
}

static int failing_source(void *user, size_t list_index, struct lm_tensors_writer *writer, size_t index,
                          loam_error *failure)
{
    if (list_index == 5)
        return lm_fail(failure, LOAM_ECANCELLED, "stopped");
    return from_list(user, list_index, writer, index, failure);
}

/* A save that fails leaves the model that was there. */
static void failed_save(void **state)
{
    (void)state;
    make_parts();
    const char *folder = test_folder();
    assert_ok(lm_tensors_save_directory(folder, parts, PARTS, 25, from_list, parts, &error), &error);
    assert_fails(lm_tensors_save_directory(folder, parts, PARTS, 25, failing_source, parts, &error), &error,
                 LOAM_ECANCELLED, "stopped");
    check_parts(folder);
    int failures = 0, code = LOAM_ENOMEM;
    for (; code == LOAM_ENOMEM; failures++) {
        const char *fresh = test_path(folder, "fresh");
        lm_memory_fail_after(failures + 1);
        code = lm_tensors_save_directory(fresh, parts, PARTS, 25, from_list, parts, &error);
        lm_memory_fail_after(-1);
        if (code == LOAM_OK)
            check_parts(fresh);
        assert_ok(lm_remove_tree(fresh, &error), &error);
    }
    assert_ok(code, &error);
    struct lm_tensors *tensors;
    for (failures = 0, code = LOAM_ENOMEM; code == LOAM_ENOMEM; failures++) {
        lm_memory_fail_after(failures + 1);
        code = lm_tensors_open(folder, &tensors, &error);
        lm_memory_fail_after(-1);
    }
    assert_ok(code, &error);
    assert_true(failures > 20);
    lm_tensors_close(tensors);
}

static void hostile_indexes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word;
        int code;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"../model.safetensors\"}}", "out of it", LOAM_EFORMAT},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "out of it", LOAM_EFORMAT},
        {"{\"weight_map\":{\"a\":\"..\"}}", "out of it", LOAM_EFORMAT},
        {"{\"weight_map\":{\"a\":\"\"}}", "out of it", LOAM_EFORMAT},
        {"{\"weight_map\":{\"a\":\"one.safetensors\\u0000\"}}", "out of it", LOAM_EFORMAT},
        {"{\"weight_map\":{\"a\":3}}", "3", LOAM_EFORMAT},
        {"{\"weight_map\":{}}", "weight_map", LOAM_EFORMAT},
        {"{\"weight_map\":[]}", "weight_map", LOAM_EFORMAT},
        {"{}", "weight_map", LOAM_EFORMAT},
        {"[", "index.json", LOAM_EFORMAT},
        {"{\"weight_map\":{\"a\":\"none.safetensors\"}}", "none.safetensors", LOAM_ENOTFOUND},
        {"{\"weight_map\":{\"a\":\"one.safetensors\"}}", "\"b\"", LOAM_EFORMAT},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\",\"c\":\"one.safetensors\"}}", "\"c\"",
         LOAM_EFORMAT},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\",\"c\":\"two.safetensors\"}}", "\"b\"",
         LOAM_EFORMAT},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\",\"x\":\"twice.safetensors\"}}", "twice",
         LOAM_EFORMAT},
    };
    const char *folder = test_folder();
    struct lm_tensor list[2];
    make_parts();
    memcpy(list, parts + 1, sizeof list);
    assert_ok(write_all(test_path(folder, "one.safetensors"), list, 2, NULL), &error);
    assert_ok(write_all(test_path(folder, "twice.safetensors"), list, 1, NULL), &error);
    list[0].name = "c";
    assert_ok(write_all(test_path(folder, "two.safetensors"), list, 1, NULL), &error);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lm_tensors *tensors;
        const char *index = test_path(folder, "model.safetensors.index.json");
        assert_ok(lm_file_replace(index, cases[i].text, strlen(cases[i].text), &error), &error);
        int code = lm_tensors_open(folder, &tensors, &error);
        if (code != cases[i].code || !strstr(error.message, cases[i].word))
            fail_msg("%s: gave %s: %s", cases[i].text, loam_status_name(code), error.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_bytes), cmocka_unit_test(every_type),
        cmocka_unit_test(refused_lists),   cmocka_unit_test(over_its_own_source),
        cmocka_unit_test(out_of_memory),   cmocka_unit_test(no_room),
        cmocka_unit_test(shards),          cmocka_unit_test(failed_save),
        cmocka_unit_test(hostile_indexes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
