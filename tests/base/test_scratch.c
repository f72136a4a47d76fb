/* Scratch files: what was written last is what is read, in the order of submission; room is taken at once; failures stick. */
#include "support/support.h"

#include <sys/resource.h>
#include <signal.h>

static loam_error error;

static void in_the_order_of_submission(void **state)
{
    (void)state;
    enum { PIECES = 8, BYTES = 3000, ROUNDS = 200 };
    static unsigned char written[PIECES][BYTES], read[PIECES][BYTES];
    struct lm_transfer writes[PIECES] = {0}, reads[PIECES] = {0};
    struct lm_scratch *scratch;
    struct lm_random random = lm_random_seed(1, 2);
    assert_ok(lm_scratch_open(test_folder(), PIECES * BYTES, &scratch, &error), &error);
    for (int round = 0; round < ROUNDS; round++) {
        const size_t i = (size_t)lm_random_below(&random, PIECES);
        assert_ok(lm_scratch_wait(scratch, &writes[i], &error), &error);
        assert_ok(lm_scratch_wait(scratch, &reads[i], &error), &error);
        memset(written[i], round, BYTES);
        writes[i] = (struct lm_transfer){.data = written[i], .bytes = BYTES, .offset = (int64_t)(i * BYTES), .write = true};
        reads[i] = (struct lm_transfer){.data = read[i], .bytes = BYTES, .offset = (int64_t)(i * BYTES)};
        lm_scratch_submit(scratch, &writes[i]);
        lm_scratch_submit(scratch, &reads[i]);
        if (round % 3 == 0) {
            assert_ok(lm_scratch_wait(scratch, &reads[i], &error), &error);
            assert_int_equal(read[i][BYTES - 1], (unsigned char)round);
        }
    }
    unsigned char last[BYTES];
    for (size_t i = 0; i < PIECES; i++) {
        assert_ok(lm_scratch_read(scratch, (int64_t)(i * BYTES), last, BYTES, &error), &error);
        assert_memory_equal(last, written[i], BYTES);
    }
    assert_true(lm_scratch_moved(scratch) == (2 * ROUNDS + PIECES) * BYTES);
    lm_scratch_close(scratch);
}

static void fresh_ones_are_zero_and_leave_nothing(void **state)
{
    (void)state;
    struct lm_scratch *scratch;
    char zero[100] = {0}, found[100];
    char **names;
    size_t count;
    const char *folder = test_folder();
    assert_ok(lm_scratch_open(folder, 1 << 20, &scratch, &error), &error);
    assert_ok(lm_scratch_read(scratch, (1 << 20) - 100, found, 100, &error), &error);
    assert_memory_equal(found, zero, 100);
    assert_ok(lm_list_directory(folder, &names, &count, &error), &error);
    assert_int_equal(count, 0);
    lm_free_strings(names, count);
    lm_scratch_close(scratch);
}

static void failures_stick(void **state)
{
    (void)state;
    struct lm_scratch *scratch;
    char data[10] = {0};
    assert_ok(lm_scratch_open(test_folder(), 100, &scratch, &error), &error);
    assert_int_equal(lm_scratch_read(scratch, 1000, data, 10, &error), LOAM_EIO);
    assert_non_null(strstr(error.message, "cannot be read"));
    assert_int_equal(lm_scratch_write(scratch, 0, data, 10, &error), LOAM_EIO);
    lm_scratch_close(scratch);
    assert_int_equal(lm_scratch_open("/nowhere/at/all", 100, &scratch, &error), LOAM_ENOTFOUND);
    lm_scratch_close(NULL);
}

/* A file size limit stands for a disk that is full. */
static void no_room(void **state)
{
    (void)state;
    struct lm_scratch *scratch;
    struct rlimit before, limit;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const int code = lm_scratch_open(test_folder(), 2 << 20, &scratch, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(code, LOAM_ENOSPACE);
    assert_non_null(strstr(error.message, "2.00 MiB"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_the_order_of_submission),
        cmocka_unit_test(fresh_ones_are_zero_and_leave_nothing),
        cmocka_unit_test(failures_stick),
        cmocka_unit_test(no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
