#include "support/support.h"

#include <unistd.h>

static void test_sizes(void **state)
{
    (void)state;
    size_t result = 7;
    assert_true(lm_mul(3, 5, &result));
    assert_int_equal(result, 15);
    assert_false(lm_mul(SIZE_MAX / 2, 3, &result));
    assert_true(lm_add(SIZE_MAX, 0, &result));
    assert_false(lm_add(SIZE_MAX, 1, &result));
    assert_int_equal(lm_round_up(0, 64), 0);
    assert_int_equal(lm_round_up(1, 64), 64);
    assert_int_equal(lm_round_up(64, 64), 64);
}

static void test_alloc(void **state)
{
    (void)state;
    loam_error error;
    char *zeroed = lm_alloc(1000, 3, &error);
    assert_non_null(zeroed);
    for (int i = 0; i < 3000; i++)
        assert_int_equal(zeroed[i], 0);
    lm_free(zeroed);
    void *nothing = lm_alloc(0, 8, &error);
    assert_non_null(nothing);
    lm_free(nothing);
    assert_null(lm_alloc(SIZE_MAX / 2, 4, &error));
    assert_int_equal(error.code, LOAM_ENOMEM);
    assert_null(lm_alloc(1, SIZE_MAX / 2 + 100, &error));
    int *old = lm_alloc(4, sizeof *old, &error);
    old[3] = 42;
    assert_null(lm_resize(old, SIZE_MAX / 2, sizeof *old, &error));
    assert_int_equal(old[3], 42);
    lm_free(old);
    lm_free(NULL);
}

static void test_copy_string(void **state)
{
    (void)state;
    loam_error error;
    char *copy = lm_copy_string("ab\0cd", 5, &error);
    assert_memory_equal(copy, "ab\0cd", 6);
    lm_free(copy);
    copy = lm_copy_string(NULL, 0, &error);
    assert_string_equal(copy, "");
    lm_free(copy);
    assert_null(lm_copy_string("x", SIZE_MAX, &error));
}

static void test_failing_on_request(void **state)
{
    (void)state;
    lm_memory_fail_after(2);
    void *first = lm_alloc(1, 1, NULL);
    loam_error error = {0};
    void *second = lm_alloc(1, 1, &error);
    void *third = lm_alloc(1, 1, NULL);
    void *block = lm_block_map(1, NULL);
    lm_memory_fail_after(-1);
    assert_non_null(first);
    assert_null(second);
    assert_null(third);
    assert_null(block);
    assert_int_equal(error.code, LOAM_ENOMEM);
    lm_free(first);
    int64_t before = lm_memory_calls();
    first = lm_alloc(1, 1, NULL);
    assert_int_equal(lm_memory_calls(), before + 1);
    lm_free(first);
}

static void test_blocks(void **state)
{
    (void)state;
    loam_error error;
    const size_t size = 5 * 1024 * 1024 + 3;
    char *block = lm_block_map(size, &error);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % (uintptr_t)sysconf(_SC_PAGESIZE), 0);
    assert_int_equal(block[0] | block[size - 1], 0);
    block[size - 1] = 1;
    lm_block_unmap(block, size);
    assert_null(lm_block_map(SIZE_MAX - 1, &error));
    assert_int_equal(error.code, LOAM_ENOMEM);
    lm_block_unmap(NULL, 100);
}

static void test_bytes(void **state)
{
    (void)state;
    loam_error error;
    struct lm_bytes bytes = {0};
    assert_ok(lm_bytes_append(&bytes, NULL, 0, &error), &error);
    assert_string_equal(bytes.data, "");
    for (int i = 0; i < 10000; i++)
        assert_ok(lm_bytes_append(&bytes, "abc", 3, &error), &error);
    assert_int_equal(bytes.length, 30000);
    assert_int_equal(bytes.data[30000], 0);
    assert_memory_equal(bytes.data + 29997, "abc", 4);
    assert_fails(lm_bytes_reserve(&bytes, SIZE_MAX - 5, &error), &error, LOAM_ENOMEM, "not enough memory");
    assert_int_equal(bytes.length, 30000);
    lm_bytes_free(&bytes);
    assert_null(bytes.data);
}

static void test_bytes_format(void **state)
{
    (void)state;
    loam_error error;
    struct lm_bytes bytes = {0};
    assert_ok(lm_bytes_format(&bytes, &error, "%d-%s", 7, "x"), &error);
    assert_string_equal(bytes.data, "7-x");
    char large[3000];
    memset(large, 'y', sizeof large - 1);
    large[sizeof large - 1] = 0;
    assert_ok(lm_bytes_format(&bytes, &error, "%s|%.1f", large, 0.5), &error);
    assert_int_equal(bytes.length, 3 + 2999 + 4);
    assert_string_equal(bytes.data + 3 + 2999, "|0.5");
    lm_bytes_free(&bytes);
}

static void test_ids(void **state)
{
    (void)state;
    loam_error error;
    struct lm_ids ids = {0};
    for (int32_t i = 0; i < 1000; i++)
        assert_ok(lm_ids_push(&ids, i * 3, &error), &error);
    assert_ok(lm_ids_append(&ids, (int32_t[]){-1, -2}, 2, &error), &error);
    assert_int_equal(ids.length, 1002);
    assert_int_equal(ids.data[999], 2997);
    assert_int_equal(ids.data[1001], -2);
    assert_int_equal(lm_ids_append(&ids, ids.data, SIZE_MAX, &error), LOAM_ENOMEM);
    lm_ids_free(&ids);
}

static void test_layout(void **state)
{
    (void)state;
    loam_error error;
    struct lm_layout layout = {0};
    char *a = NULL, *b = NULL, *c = NULL;
    lm_layout_add(&layout, (void **)&a, "a", 10);
    lm_layout_add(&layout, (void **)&b, "b", 100);
    lm_layout_add_adjacent(&layout, (void **)&c, "c", 4);
    lm_layout_add(&layout, NULL, "scratch", 1);
    assert_ok(lm_layout_check(&layout, &error), &error);
    assert_int_equal(layout.count, 4);
    assert_int_equal(layout.places[1].offset, 64);
    assert_int_equal(layout.places[2].offset, 164);
    assert_int_equal(layout.places[3].offset, 192);
    assert_int_equal(layout.size, 193);
    char *block = lm_block_map(layout.size, &error);
    lm_layout_bind(&layout, block);
    assert_ptr_equal(a, block);
    assert_ptr_equal(b, block + 64);
    assert_ptr_equal(c, b + 100);
    lm_block_unmap(block, layout.size);
    lm_layout_free(&layout);
    assert_int_equal(layout.size, 0);
}

static void test_layout_too_large(void **state)
{
    (void)state;
    loam_error error;
    struct lm_layout layout = {0};
    void *where = &layout;
    lm_layout_add(&layout, &where, "a", SIZE_MAX / 2 - 10);
    lm_layout_add(&layout, &where, "b", SIZE_MAX / 2);
    assert_fails(lm_layout_check(&layout, &error), &error, LOAM_ENOMEM, "larger than this machine");
    lm_layout_bind(&layout, NULL);
    assert_ptr_equal(where, &layout);
    lm_layout_free(&layout);
    lm_memory_fail_after(1);
    lm_layout_add(&layout, &where, "a", 1);
    lm_memory_fail_after(-1);
    assert_int_equal(lm_layout_check(&layout, &error), LOAM_ENOMEM);
    lm_layout_free(&layout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),       cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_copy_string), cmocka_unit_test(test_failing_on_request),
        cmocka_unit_test(test_blocks),      cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_bytes_format), cmocka_unit_test(test_ids),
        cmocka_unit_test(test_layout),      cmocka_unit_test(test_layout_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
