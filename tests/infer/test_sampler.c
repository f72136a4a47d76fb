/* Sampling against closed forms. */
#include "support/support.h"

#include "infer/infer.h"

#include <math.h>

enum { WORDS = 8, DRAWS = 40000 };
static loam_error error;

static const float LOGITS[WORDS] = {1.0f, 3.0f, -2.0f, 2.5f, 0.0f, 2.0f, -0.5f, 1.5f};

static loam_sampling plain(void)
{
    return (loam_sampling){.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 11};
}

static int32_t pick(struct lm_sampler *sampler, const float *from)
{
    float logits[WORDS];
    int32_t id = -1;
    memcpy(logits, from, sizeof logits);
    assert_ok(lm_sampler_pick(sampler, logits, &id, &error), &error);
    assert_in_range(id, 0, WORDS - 1);
    return id;
}

/* Pearson's statistic of DRAWS draws against `wanted`, with categories - 1 degrees of freedom. What has no share must not
 * be drawn. */
static double chi_square(const loam_sampling *how, const double *wanted, int *freedom)
{
    struct lm_sampler *sampler;
    int64_t counts[WORDS] = {0};
    double sum = 0;
    assert_ok(lm_sampler_create(how, WORDS, &sampler, &error), &error);
    for (int i = 0; i < DRAWS; i++)
        counts[pick(sampler, LOGITS)]++;
    lm_sampler_free(sampler);
    *freedom = -1;
    for (int i = 0; i < WORDS; i++) {
        if (wanted[i] == 0) {
            if (counts[i])
                fail_msg("token %d was drawn %lld times, wanted never", i, (long long)counts[i]);
            continue;
        }
        const double expected = wanted[i] * DRAWS;
        sum += ((double)counts[i] - expected) * ((double)counts[i] - expected) / expected;
        ++*freedom;
    }
    return sum;
}

/* A chi-square variable of d degrees of freedom is over d + 2·sqrt(d·t) + 2·t with a probability of at most exp(-t)
 * (Laurent and Massart, 2000, lemma 1): t = 20 gives two in a thousand million. The smallest expected count here is 16,
 * well over the 5 from which on the statistic is taken as chi-square. */
static double bound(int freedom)
{
    const double t = 20;
    return freedom + 2 * sqrt(freedom * t) + 2 * t;
}

static void softmax(double temperature, double *p)
{
    double sum = 0;
    for (int i = 0; i < WORDS; i++)
        sum += p[i] = exp((double)LOGITS[i] / temperature);
    for (int i = 0; i < WORDS; i++)
        p[i] /= sum;
}

/* Only these ids stay; the others' share is given to them in proportion. */
static void keep(double *p, const int *ids, int count)
{
    double kept[WORDS] = {0}, sum = 0;
    for (int i = 0; i < count; i++)
        sum += kept[ids[i]] = p[ids[i]];
    for (int i = 0; i < WORDS; i++)
        p[i] = kept[i] / sum;
}

static void assert_distribution(const loam_sampling *how, const double *wanted)
{
    int freedom;
    const double found = chi_square(how, wanted, &freedom);
    if (!(found <= bound(freedom)))
        fail_msg("chi-square %g at %d degrees of freedom, wanted at most %g", found, freedom, bound(freedom));
}

static void temperatures(void **state)
{
    (void)state;
    static const double values[] = {1, 0.7, 1.5};
    double p[WORDS];
    loam_sampling how = plain();
    for (int i = 0; i < 3; i++) {
        how.temperature = values[i];
        softmax(values[i], p);
        assert_distribution(&how, p);
    }
    /* The test can fail: draws at 1.5 are not those of 1. */
    int freedom;
    softmax(1, p);
    assert_true(chi_square(&how, p, &freedom) > bound(freedom));
}

static void top_k(void **state)
{
    (void)state;
    double p[WORDS];
    loam_sampling how = plain();
    how.top_k = 3;
    softmax(1, p);
    keep(p, (const int[]){1, 3, 5}, 3);
    assert_distribution(&how, p);
    how.top_k = WORDS + 5;    /* more than there are: off */
    softmax(1, p);
    assert_distribution(&how, p);
}

/* Falling shares at temperature 1: 0.41 (1), 0.25 (3), 0.15 (5), 0.09 (7), … : 0.7 is passed by the third. */
static void top_p(void **state)
{
    (void)state;
    double p[WORDS];
    loam_sampling how = plain();
    softmax(1, p);
    assert_true(p[1] + p[3] < 0.7 && p[1] + p[3] + p[5] > 0.7);
    how.top_p = 0.7;
    keep(p, (const int[]){1, 3, 5}, 3);
    assert_distribution(&how, p);
    how.top_p = 1e-9;    /* the likeliest always stays */
    softmax(1, p);
    keep(p, (const int[]){1}, 1);
    assert_distribution(&how, p);
}

/* exp(-1.5) = 0.22 of the largest stays at 0.2, exp(-2) = 0.14 does not. */
static void min_p(void **state)
{
    (void)state;
    double p[WORDS];
    loam_sampling how = plain();
    how.min_p = 0.2;
    softmax(1, p);
    keep(p, (const int[]){1, 3, 5, 7}, 4);
    assert_distribution(&how, p);
    how.min_p = 1;
    softmax(1, p);
    keep(p, (const int[]){1}, 1);
    assert_distribution(&how, p);
}

/* Where the order of the filters tells: temperature comes before them, and top-p looks at what top-k left. */
static void order(void **state)
{
    (void)state;
    double p[WORDS];
    loam_sampling how = plain();
    how.temperature = 3;
    how.top_p = 0.7;
    softmax(3, p);    /* flatter: 0.7 takes five now */
    assert_true(p[1] + p[3] + p[5] + p[7] < 0.7 && p[1] + p[3] + p[5] + p[7] + p[0] > 0.7);
    keep(p, (const int[]){1, 3, 5, 7, 0}, 5);
    assert_distribution(&how, p);
    how = plain();
    how.top_k = 3;
    how.top_p = 0.75;
    softmax(1, p);    /* of all: 0.69 < 0.75 for two, so three; of the three that top-k left: 0.81 for two */
    assert_true(p[1] + p[3] < 0.75 && (p[1] + p[3]) / (p[1] + p[3] + p[5]) > 0.75);
    keep(p, (const int[]){1, 3}, 2);
    assert_distribution(&how, p);
    how = plain();
    how.temperature = 2;
    how.min_p = 0.4;    /* exp(-0.75) = 0.47 stays, exp(-1) = 0.37 does not */
    softmax(2, p);
    keep(p, (const int[]){1, 3, 5, 7}, 4);
    assert_distribution(&how, p);
}

/* Keskar et al.: a seen token's logit is divided by the penalty where positive, multiplied where negative, once however
 * often it was seen, and what is picked counts as seen. */
static void penalty(void **state)
{
    (void)state;
    loam_sampling how = plain();
    struct lm_sampler *sampler;
    how.temperature = 0;
    how.repetition_penalty = 1.3;
    assert_ok(lm_sampler_create(&how, WORDS, &sampler, &error), &error);
    lm_sampler_see(sampler, 3);
    lm_sampler_see(sampler, 3);
    lm_sampler_see(sampler, -1);
    lm_sampler_see(sampler, WORDS);
    assert_int_equal(pick(sampler, LOGITS), 1);    /* 3.0 against 2.5 / 1.3 */
    assert_int_equal(pick(sampler, LOGITS), 1);    /* now 3.0 / 1.3 = 2.31 against 2.0 */
    const float negative[WORDS] = {-9, -1.0f, -9, -9, -1.2f, -9, -9, -9};
    assert_int_equal(pick(sampler, negative), 4);    /* -1.0 · 1.3 against -1.2 */
    lm_sampler_free(sampler);
    how.repetition_penalty = 1.6;
    assert_ok(lm_sampler_create(&how, WORDS, &sampler, &error), &error);
    assert_int_equal(pick(sampler, LOGITS), 1);
    assert_int_equal(pick(sampler, LOGITS), 3);    /* 3.0 / 1.6 = 1.88 against 2.5 */
    assert_int_equal(pick(sampler, LOGITS), 5);    /* 2.5 / 1.6 = 1.56 against 2.0 */
    lm_sampler_free(sampler);
}

static void greedy_and_odd_logits(void **state)
{
    (void)state;
    loam_sampling how = plain();
    struct lm_sampler *sampler;
    for (int i = 0; i < 2; i++) {
        how.temperature = i;
        how.top_k = i;    /* with temperature 1: the likeliest only */
        assert_ok(lm_sampler_create(&how, WORDS, &sampler, &error), &error);
        const float tie[WORDS] = {0, 5, 1, 5, 5, 2, 3, 4};
        assert_int_equal(pick(sampler, tie), 1);
        const float holes[WORDS] = {-INFINITY, NAN, -INFINITY, -100, -INFINITY, NAN, -101, -INFINITY};
        assert_int_equal(pick(sampler, holes), 3);
        int32_t id = -7;
        float none[WORDS], positive[WORDS] = {0, INFINITY};
        for (int j = 0; j < WORDS; j++)
            none[j] = j % 2 ? NAN : -INFINITY;
        assert_fails(lm_sampler_pick(sampler, none, &id, &error), &error, LOAM_ENUMERIC, "finite");
        assert_fails(lm_sampler_pick(sampler, positive, &id, &error), &error, LOAM_ENUMERIC, "finite");
        assert_int_equal(id, -7);
        lm_sampler_free(sampler);
    }
}

static void same_seed(void **state)
{
    (void)state;
    loam_sampling how = plain();
    struct lm_sampler *samplers[3];
    for (int i = 0; i < 3; i++) {
        how.seed = i == 2 ? 12 : 11;
        assert_ok(lm_sampler_create(&how, WORDS, &samplers[i], &error), &error);
    }
    int different = 0;
    const int64_t before = lm_memory_calls();
    for (int i = 0; i < 1000; i++) {
        const int32_t first = pick(samplers[0], LOGITS);
        assert_int_equal(first, pick(samplers[1], LOGITS));
        different += first != pick(samplers[2], LOGITS);
    }
    assert_int_equal(lm_memory_calls(), before);    /* picking allocates nothing */
    assert_true(different > 100);
    for (int i = 0; i < 3; i++)
        lm_sampler_free(samplers[i]);
}

static void ranges(void **state)
{
    (void)state;
    const loam_sampling good = loam_sampling_default();
    assert_ok(lm_sampling_check(&good, &error), &error);
    loam_sampling bad = good;
    bad.temperature = -0.1;
    assert_fails(lm_sampling_check(&bad, &error), &error, LOAM_EUSAGE, "temperature", "-0.1");
    bad.temperature = NAN;
    assert_fails(lm_sampling_check(&bad, &error), &error, LOAM_EUSAGE, "temperature");
    bad = good;
    bad.top_k = -1;
    assert_fails(lm_sampling_check(&bad, &error), &error, LOAM_EUSAGE, "top-k");
    bad = good;
    bad.top_p = 0;
    assert_fails(lm_sampling_check(&bad, &error), &error, LOAM_EUSAGE, "top-p");
    bad.top_p = 1.01;
    assert_fails(lm_sampling_check(&bad, &error), &error, LOAM_EUSAGE, "top-p");
    bad = good;
    bad.min_p = 1.5;
    assert_fails(lm_sampling_check(&bad, &error), &error, LOAM_EUSAGE, "min-p");
    bad = good;
    bad.repetition_penalty = 0;
    assert_fails(lm_sampling_check(&bad, &error), &error, LOAM_EUSAGE, "repetition-penalty");
    struct lm_sampler *sampler;
    assert_fails(lm_sampler_create(&bad, WORDS, &sampler, &error), &error, LOAM_EUSAGE, "repetition-penalty");
    loam_sampling how = plain();
    how.repetition_penalty = 2;
    int code = LOAM_ENOMEM, failures = 0;
    for (; code == LOAM_ENOMEM; failures++) {
        lm_memory_fail_after(failures + 1);
        code = lm_sampler_create(&how, WORDS, &sampler, &error);
        lm_memory_fail_after(-1);
    }
    assert_ok(code, &error);
    assert_int_equal(failures, 4);
    lm_sampler_free(sampler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(temperatures), cmocka_unit_test(top_k),   cmocka_unit_test(top_p),
        cmocka_unit_test(min_p),        cmocka_unit_test(order),   cmocka_unit_test(penalty),
        cmocka_unit_test(greedy_and_odd_logits), cmocka_unit_test(same_seed), cmocka_unit_test(ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
