#include "support/support.h"

#include <math.h>

/* The first numbers of xoshiro256++ from the state 1, 2, 3, 4, worked out by hand from the published definition:
 * rotl(1 + 4, 23) + 1 = 5 * 2^23 + 1. */
static void test_stream_algorithm(void **state)
{
    (void)state;
    struct lm_random random = {{1, 2, 3, 4}};
    assert_true(lm_random_bits(&random) == 41943041u);
    assert_true(lm_random_bits(&random) == 58720359u);
    assert_true(lm_random_bits(&random) == 3588806011781223u);
    assert_true(lm_random_bits(&random) == 3591011842654386u);
}

/* The answers that come with the paper's own software (kat_vectors, philox4x32 10). */
static void test_keyed_algorithm(void **state)
{
    (void)state;
    static const struct {
        uint64_t key, a, b;
        uint32_t out[4];
    } cases[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t out[4];
        lm_random_keyed(cases[i].key, cases[i].a, cases[i].b, out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

static void test_seeds_and_streams_differ(void **state)
{
    (void)state;
    struct lm_random same = lm_random_seed(1, 2), again = lm_random_seed(1, 2);
    struct lm_random other_stream = lm_random_seed(1, 3), other_seed = lm_random_seed(2, 2);
    struct lm_random swapped = lm_random_seed(2, 1);
    uint64_t bits = lm_random_bits(&same);
    assert_true(bits == lm_random_bits(&again));
    assert_true(bits != lm_random_bits(&other_stream));
    assert_true(bits != lm_random_bits(&other_seed));
    assert_true(bits != lm_random_bits(&swapped));
}

/* 60000 draws of 6 values: each count is binomial with deviation sqrt(60000 * 5/36) = 91; six deviations is 548. */
static void test_below_is_even(void **state)
{
    (void)state;
    struct lm_random random = lm_random_seed(5, 0);
    int counts[6] = {0};
    for (int i = 0; i < 60000; i++) {
        uint64_t value = lm_random_below(&random, 6);
        assert_true(value < 6);
        counts[value]++;
    }
    for (int i = 0; i < 6; i++)
        assert_in_range(counts[i], 10000 - 548, 10000 + 548);
    for (int i = 0; i < 100; i++)
        assert_int_equal(lm_random_below(&random, 1), 0);
    /* A bound just above 2^63: about half of all draws must be thrown away, and none may pass it. */
    for (int i = 0; i < 1000; i++)
        assert_true(lm_random_below(&random, (1ull << 63) + 1) <= 1ull << 63);
}

/* n draws: the mean has deviation 1/sqrt(n), the mean square sqrt(2/n); six deviations are allowed. */
static void test_unit_and_normal(void **state)
{
    (void)state;
    struct lm_random random = lm_random_seed(9, 0);
    const int n = 100000;
    double unit = 0, mean = 0, square = 0;
    for (int i = 0; i < n; i++) {
        double u = lm_random_unit(&random);
        assert_true(u >= 0 && u < 1);
        unit += u;
        double x = lm_random_normal(&random);
        assert_true(isfinite(x));
        mean += x;
        square += x * x;
    }
    assert_true(fabs(unit / n - 0.5) < 6 * sqrt(1.0 / 12 / n));
    assert_true(fabs(mean / n) < 6 / sqrt(n));
    assert_true(fabs(square / n - 1) < 6 * sqrt(2.0 / n));
}

static void test_shuffle_is_a_permutation(void **state)
{
    (void)state;
    uint32_t items[1000], seen[1000] = {0};
    for (uint32_t i = 0; i < 1000; i++)
        items[i] = i;
    struct lm_random random = lm_random_seed(3, 0);
    lm_random_shuffle(&random, items, 1000);
    int moved = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        moved += items[i] != i;
        seen[items[i]]++;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(seen[i], 1);
    assert_true(moved > 950);    /* a random permutation keeps one place on average */
    lm_random_shuffle(&random, items, 0);
    lm_random_shuffle(&random, items, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_algorithm),     cmocka_unit_test(test_keyed_algorithm),
        cmocka_unit_test(test_seeds_and_streams_differ), cmocka_unit_test(test_below_is_even),
        cmocka_unit_test(test_unit_and_normal),      cmocka_unit_test(test_shuffle_is_a_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
