/* Gradients of each way to save memory beside those of a plain pass: the same bits where only the order of doing things differs,
 * within the rounding of bf16 where they are kept in that. Models of every family (tests/golden/make_models.py). */
#include "support/support.h"

#include "model/model.h"

#include <math.h>

static loam_error error;
static const char *const names[] = {"gpt2", "llama2", "llama3-untied", "llama3-tied", "mistral", "qwen2", "qwen3"};
enum { NAMES = sizeof names / sizeof *names, BATCH = 2, LENGTH = 19, LOSS_ROWS = 8 };

struct pass {
    struct lm_device *device;
    struct lm_model *model;
    struct lm_pass *pass;
    struct lm_layout layout;
    void *block;
    const struct lm_parameter *table;
    size_t count, elements;
    int32_t ids[BATCH * LENGTH], targets[BATCH * LENGTH];
};

static void start(struct pass *p, const char *name, struct lm_pass_options options)
{
    struct lm_random random = lm_random_seed(5, 5);
    options.batch = BATCH, options.length = LENGTH, options.backward = true;
    options.loss_rows = options.loss_rows ? options.loss_rows : LOSS_ROWS;
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 2}, &p->device, &error), &error);
    assert_ok(lm_model_open(test_path(LOAM_TESTS "/golden/models", name), p->device,
                            &(struct lm_model_options){.load = true, .dtype = LM_F32}, &p->model, &error), &error);
    assert_ok(lm_pass_create(p->model, &options, &p->layout, &p->pass, &error), &error);
    p->block = lm_block_map(p->layout.size, &error);
    assert_non_null(p->block);
    lm_layout_bind(&p->layout, p->block);
    p->table = lm_model_parameters(p->model, &p->count);
    p->elements = p->table[p->count - 1].offset + (size_t)p->table[p->count - 1].count;
    const uint64_t vocabulary = (uint64_t)lm_model_config(p->model)->vocabulary;
    for (int i = 0; i < BATCH * LENGTH; i++) {
        p->ids[i] = (int32_t)lm_random_below(&random, vocabulary);
        p->targets[i] = i % 5 ? (int32_t)lm_random_below(&random, vocabulary) : -1;
    }
}

static void end(struct pass *p)
{
    lm_pass_free(p->pass);
    lm_model_close(p->model);
    lm_device_close(p->device);
    lm_block_unmap(p->block, p->layout.size);
    lm_layout_free(&p->layout);
}

/* The gradients of a plain pass in fp32; lm_free. */
static float *gradients_of(const char *name, struct lm_pass_options options, int times)
{
    struct pass p = {0};
    double loss;
    start(&p, name, options);
    float *gradients = lm_alloc(p.elements, sizeof *gradients, &error);
    assert_non_null(gradients);
    for (int i = 0; i < times; i++)
        assert_ok(lm_pass_run(p.pass, &(struct lm_pass_input){.ids = p.ids, .targets = p.targets}, 0.125F, gradients, &loss, NULL,
                              &error), &error);
    end(&p);
    return gradients;
}

static void made_anew_gives_the_same_bits(void **state)
{
    (void)state;
    static const struct lm_pass_options ways[] = {{.recompute = LM_RECOMPUTE_INNER},
                                                  {.recompute = LM_RECOMPUTE_LAYER},
                                                  {.recompute = LM_RECOMPUTE_LAYER, .recompute_every = 2}};
    for (int n = 0; n < NAMES; n++) {
        float *plain = gradients_of(names[n], (struct lm_pass_options){0}, 1);
        struct pass p = {0};
        start(&p, names[n], (struct lm_pass_options){0});
        const size_t bytes = p.elements * sizeof *plain;
        end(&p);
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            float *other = gradients_of(names[n], ways[i], 1);
            assert_memory_equal(plain, other, bytes);
            lm_free(other);
        }
        lm_free(plain);
    }
}

/* The loss in chunks of 8 rows or all 38 at once: other orders of the head's sums, so the same within fp32's rounding: each
 * element of the head's gradient is a sum of 38 terms, everything below is linear in what comes from there. 1e-5 of each tensor's
 * largest gradient leaves room for the sums of two layers. */
static void chunked_or_at_once(void **state)
{
    (void)state;
    for (int n = 0; n < NAMES; n++) {
        struct pass p = {0};
        float *chunked = gradients_of(names[n], (struct lm_pass_options){0}, 1);
        float *at_once = gradients_of(names[n], (struct lm_pass_options){.loss_rows = BATCH * LENGTH}, 1);
        start(&p, names[n], (struct lm_pass_options){0});
        for (size_t i = 0; i < p.count; i++) {
            float most = 0, apart = 0;
            for (int64_t j = 0; j < p.table[i].count; j++) {
                const float a = chunked[p.table[i].offset + (size_t)j], b = at_once[p.table[i].offset + (size_t)j];
                most = fmaxf(most, fabsf(b));
                apart = fmaxf(apart, fabsf(a - b));
            }
            if (!(apart <= 1e-5F * most))
                fail_msg("%s %s: %g of %g apart", names[n], p.table[i].name, apart, most);
        }
        end(&p);
        lm_free(chunked);
        lm_free(at_once);
    }
}

/* Gradients in bf16: each addition rounds the running sum, by 2^-9 of it at most. A matrix gets one addition a pass, the head one for
 * each of the 5 chunks and the tied table one for each row besides; the running sum is at most the sum of the sizes of what is
 * added, for which `TERMS` times the tensor's largest gradient stands. Vectors stay fp32, but what reaches them does not change. */
static void in_bf16_within_its_rounding(void **state)
{
    (void)state;
    enum { PASSES = 2, TERMS = PASSES * (5 + BATCH * LENGTH) };
    for (int n = 0; n < NAMES; n++) {
        struct pass p = {0};
        float *wide = gradients_of(names[n], (struct lm_pass_options){0}, PASSES);
        start(&p, names[n], (struct lm_pass_options){.gradients_bf16 = true});
        struct lm_gradients narrow = {.bf16 = true, .at = lm_alloc(p.count, sizeof(void *), &error)};
        float *block = lm_alloc(p.elements, sizeof *block, &error);
        double loss;
        /* in the table's order, each parameter's place as long as it would be in fp32: only adjacent matrices lie closer */
        char *at = (char *)block;
        for (int rank = 2; rank >= 1; rank--)
            for (size_t i = 0; i < p.count; i++)
                if (p.table[i].rank == rank) {
                    narrow.at[i] = at;
                    at += p.table[i].count * (rank == 2 ? 2 : 4);
                }
        const struct lm_pass_work work = {.scale = 0.125F, .gradients = &narrow};
        for (int i = 0; i < PASSES; i++)
            assert_ok(lm_pass_go(p.pass, &(struct lm_pass_input){.ids = p.ids, .targets = p.targets}, &work, &loss, NULL, &error),
                      &error);
        for (size_t i = 0; i < p.count; i++) {
            const float *wanted = wide + p.table[i].offset;
            float most = 0;
            for (int64_t j = 0; j < p.table[i].count; j++)
                most = fmaxf(most, fabsf(wanted[j]));
            const bool table = p.table[i].part == LM_PART_EMBEDDING || p.table[i].part == LM_PART_POSITIONS;
            const bool head = p.table[i].part == LM_PART_HEAD;
            const float terms = p.table[i].rank == 1 ? 0 : table ? TERMS : head ? 5 * PASSES : PASSES;
            for (int64_t j = 0; j < p.table[i].count; j++) {
                const float found = p.table[i].rank == 2 ? lm_bf16_to_f32(((uint16_t *)narrow.at[i])[j]) : ((float *)narrow.at[i])[j];
                if (!(fabsf(found - wanted[j]) <= terms * 0x1p-9F * most))
                    fail_msg("%s %s[%lld]: %g, in fp32 %g", names[n], p.table[i].name, (long long)j, found, wanted[j]);
            }
        }
        lm_free(narrow.at);
        lm_free(block);
        lm_free(wide);
        end(&p);
    }
}

/* --- Units --- */

struct seen {
    int64_t entered[64];
    bool backward[64];
    int count;
};

static int see_enter(void *user, int64_t unit, bool backward, loam_error *ignored)
{
    struct seen *seen = user;
    (void)ignored;
    seen->entered[seen->count] = unit;
    seen->backward[seen->count++] = backward;
    return LOAM_OK;
}

static int refuse(void *user, int64_t unit, bool backward, loam_error *why)
{
    const int *where = user;
    return backward && unit == *where ? lm_fail(why, LOAM_ECANCELLED, "not unit %d", *where) : LOAM_OK;
}

static void units_come_in_order(void **state)
{
    (void)state;
    struct pass p = {0};
    struct seen seen = {0};
    double loss;
    start(&p, "llama3-tied", (struct lm_pass_options){.recompute = LM_RECOMPUTE_LAYER});
    float *gradients = lm_alloc(p.elements, sizeof *gradients, &error);
    struct lm_gradients all = {.at = lm_alloc(p.count, sizeof(void *), &error)};
    for (size_t i = 0; i < p.count; i++)
        all.at[i] = gradients + p.table[i].offset;
    struct lm_pass_hooks hooks = {.user = &seen, .enter = see_enter};
    const struct lm_pass_work work = {.scale = 1, .gradients = &all, .hooks = &hooks};
    const struct lm_pass_input input = {.ids = p.ids, .targets = p.targets};
    assert_ok(lm_pass_go(p.pass, &input, &work, &loss, NULL, &error), &error);
    static const int64_t wanted[] = {0, 1, 2, 3, 2, 1, 1, 0};    /* of two layers, the first made anew */
    static const bool backward[] = {false, false, false, true, true, false, true, true};
    assert_int_equal(seen.count, 8);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(seen.entered[i], wanted[i]);
        assert_int_equal(seen.backward[i], backward[i]);
    }
    assert_int_equal(lm_model_units(p.model), 4);
    size_t next = 0;
    for (int64_t unit = 0; unit < 4; unit++) {
        const struct lm_unit range = lm_model_unit(p.model, unit);
        assert_int_equal(range.first, next);
        assert_int_equal(range.offset, p.table[next].offset);
        next += range.count;
    }
    assert_int_equal(next, p.count);
    /* a hook that fails ends the pass with its error, wherever it is */
    for (int unit = 0; unit < 4; unit++) {
        hooks = (struct lm_pass_hooks){.user = &unit, .enter = refuse};
        assert_fails(lm_pass_go(p.pass, &input, &work, &loss, NULL, &error), &error, LOAM_ECANCELLED, "not unit");
    }
    lm_free(all.at);
    lm_free(gradients);
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_anew_gives_the_same_bits),
        cmocka_unit_test(chunked_or_at_once),
        cmocka_unit_test(in_bf16_within_its_rounding),
        cmocka_unit_test(units_come_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
