#include "support/support.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a child, so that the parent keeps its processors: bound to one, lm_processors says one. */
static void test_affinity_is_respected(void **state)
{
    (void)state;
    const int all = lm_processors();
    assert_true(all >= 1);
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        cpu_set_t set;
        sched_getaffinity(0, sizeof set, &set);
        int first = 0;
        while (!CPU_ISSET(first, &set))
            first++;
        CPU_ZERO(&set);
        CPU_SET(first, &set);
        _exit(sched_setaffinity(0, sizeof set, &set) == 0 && lm_processors() == 1 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_memory(void **state)
{
    (void)state;
    const int64_t limit = lm_memory_limit();
    assert_true(limit > 1 << 24);
    assert_true(limit <= (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
    const int64_t before = lm_memory_resident();
    assert_true(before > 0);
    const size_t size = 64 << 20;
    char *block = lm_block_map(size, NULL);
    assert_non_null(block);
    memset(block, 1, size);
    /* The kernel batches its counters by thread, by up to 64 pages. */
    assert_true(lm_memory_resident() - before > (int64_t)size - (1 << 20));
    lm_block_unmap(block, size);
    assert_true(lm_memory_peak() - before > (int64_t)size - (1 << 20));
    assert_true(lm_memory_resident() < lm_memory_peak());
}

static void test_time(void **state)
{
    (void)state;
    const double start = lm_seconds();
    usleep(20000);
    const double passed = lm_seconds() - start;
    assert_true(passed >= 0.02 && passed < 20);
    char text[32];
    lm_time_text(text);
    int year, month, day, hour, minute, second, used = 0;
    assert_int_equal(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ%n", &year, &month, &day, &hour, &minute, &second, &used), 6);
    assert_int_equal(used, 20);
    assert_true(year >= 2024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_affinity_is_respected),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
