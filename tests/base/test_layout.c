/* Layouts by lifetime: no two places that are live together share a byte, and little more is taken than is ever live. */
#include "support/support.h"

static loam_error error;

static bool together(const struct lm_place *a, const struct lm_place *b)
{
    return a->first <= b->last && b->first <= a->last;
}

static size_t most_live(const struct lm_layout *layout, int32_t moments)
{
    size_t most = 0;
    for (int32_t i = 0; i < moments; i++) {
        const size_t live = lm_layout_live(layout, i);
        most = live > most ? live : most;
    }
    return most;
}

static void check(const struct lm_layout *layout)
{
    for (size_t i = 0; i < layout->count; i++) {
        const struct lm_place *a = &layout->places[i];
        assert_int_equal(a->offset % LM_ALIGN, 0);
        assert_true(a->offset + a->bytes <= layout->size);
        for (size_t j = 0; j < i; j++) {
            const struct lm_place *b = &layout->places[j];
            if (together(a, b) && a->bytes && b->bytes)
                assert_true(a->offset + a->bytes <= b->offset || b->offset + b->bytes <= a->offset);
        }
    }
}

static void places_that_are_never_live_together_share(void **state)
{
    (void)state;
    struct lm_layout layout = {0};
    char *always, *early, *late, *long_lived, *after;
    lm_layout_add(&layout, (void **)&always, "always", 100);
    lm_layout_add_during(&layout, (void **)&early, "early", 1000, 0, 3);
    lm_layout_add_during(&layout, (void **)&late, "late", 900, 4, 9);
    lm_layout_add_during(&layout, (void **)&long_lived, "long", 64, 2, 6);
    lm_layout_pack(&layout);
    assert_ok(lm_layout_check(&layout, &error), &error);
    check(&layout);
    assert_in_range(layout.size, 128 + 1000 + 64, 128 + 1024 + 64);    /* the end of all need not be aligned */
    assert_int_equal(lm_layout_live(&layout, 3), 128 + 1024 + 64);
    assert_int_equal(lm_layout_live(&layout, 8), 128 + 960);
    lm_layout_add(&layout, (void **)&after, "after", 10);    /* and again */
    lm_layout_pack(&layout);
    check(&layout);
    assert_in_range(layout.size, 128 + 64 + 1000 + 64, 128 + 64 + 1024 + 64);
    char *block = lm_block_map(layout.size, &error);
    lm_layout_bind(&layout, block);
    assert_true(early < late + 900 && late < early + 1000);
    lm_block_unmap(block, layout.size);
    lm_layout_free(&layout);
}

/* Lifetimes by chance, and nested ones as a pass has them. */
/* A backward pass: layers' activations go while their gradients come, which stay. The two together never take more than the most that
 * is live. */
static void what_grows_meets_what_shrinks(void **state)
{
    (void)state;
    enum { LAYERS = 24, STEP = 2 * LAYERS };
    for (size_t gradient = 640; gradient <= 1280; gradient += 320) {
        struct lm_layout layout = {0};
        char *places[2 * LAYERS];
        for (int i = 0; i < LAYERS; i++) {
            lm_layout_add_during(&layout, (void **)&places[i], "activations", 960, i, STEP - 1 - i);
            lm_layout_add_during(&layout, (void **)&places[LAYERS + i], "gradients", gradient, STEP - 1 - i, STEP);
        }
        lm_layout_pack(&layout);
        assert_ok(lm_layout_check(&layout, &error), &error);
        check(&layout);
        assert_int_equal(layout.size, most_live(&layout, STEP + 1));
        lm_layout_free(&layout);
    }
}

static void any_lifetimes(void **state)
{
    (void)state;
    struct lm_random random = lm_random_seed(3, 0);
    for (int round = 0; round < 60; round++) {
        struct lm_layout layout = {0};
        const int count = 1 + (int)lm_random_below(&random, 60), moments = 40;
        for (int i = 0; i < count; i++) {
            const size_t bytes = (size_t)lm_random_below(&random, round % 3 ? 100000 : 5) * (round % 2 ? 64 : 1);
            int32_t first = (int32_t)lm_random_below(&random, 40), last = (int32_t)lm_random_below(&random, 40);
            if (round % 4 == 0)
                first = i % 20, last = 39 - first;
            if (lm_random_below(&random, 8) == 0)
                lm_layout_add(&layout, NULL, "always", bytes);
            else
                lm_layout_add_during(&layout, NULL, "some time", bytes, first < last ? first : last, first < last ? last : first);
        }
        lm_layout_pack(&layout);
        assert_ok(lm_layout_check(&layout, &error), &error);
        check(&layout);
        const size_t live = most_live(&layout, moments);
        assert_true(layout.size + LM_ALIGN >= live);
        if (round % 4 == 0)
            assert_true(layout.size <= live);    /* nested lifetimes need no more than is live */
        struct lm_layout rough = layout;
        rough.rough = true;
        lm_layout_pack(&rough);
        assert_int_equal(rough.size, live);
        lm_layout_free(&layout);
    }
}

/* Many that last to the end, where places are put from above too: none may lie on another that lives with it. */
static void many_that_stay(void **state)
{
    (void)state;
    struct lm_random random = lm_random_seed(7, 0);
    for (int round = 0; round < (TEST_SANITIZED ? 4000 : 40000); round++) {
        struct lm_layout layout = {0};
        const int count = 5 + (int)lm_random_below(&random, 12);
        for (int i = 0; i < count; i++) {
            const int32_t first = (int32_t)lm_random_below(&random, 8), left = 8 - first;
            const int32_t last = lm_random_below(&random, 3) ? first + (int32_t)lm_random_below(&random, (uint64_t)left) : 7;
            lm_layout_add_during(&layout, NULL, "some time", (1 + (size_t)lm_random_below(&random, 12)) * LM_ALIGN, first, last);
        }
        lm_layout_pack(&layout);
        assert_ok(lm_layout_check(&layout, &error), &error);
        check(&layout);
        lm_layout_free(&layout);
    }
}

static void what_cannot_be(void **state)
{
    (void)state;
    struct lm_layout layout = {0};
    lm_layout_add_during(&layout, NULL, "a", SIZE_MAX - 10, 0, 1);
    lm_layout_pack(&layout);
    assert_fails(lm_layout_check(&layout, &error), &error, LOAM_ENOMEM, "larger than this machine");
    lm_layout_free(&layout);
    lm_layout_add_during(&layout, NULL, "a", PTRDIFF_MAX / 2, 0, 1);
    lm_layout_add_during(&layout, NULL, "b", PTRDIFF_MAX / 2 + 200, 1, 2);
    lm_layout_pack(&layout);
    assert_fails(lm_layout_check(&layout, &error), &error, LOAM_ENOMEM, "larger than this machine");
    lm_layout_free(&layout);
    lm_layout_add_during(&layout, NULL, "a", 10, 0, 1);
    lm_memory_fail_after(1);
    lm_layout_pack(&layout);
    lm_memory_fail_after(-1);
    assert_int_equal(lm_layout_check(&layout, &error), LOAM_ENOMEM);
    lm_layout_free(&layout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_that_are_never_live_together_share),
        cmocka_unit_test(what_grows_meets_what_shrinks), cmocka_unit_test(any_lifetimes),
        cmocka_unit_test(many_that_stay),
        cmocka_unit_test(what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
