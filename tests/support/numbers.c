#include "support/numbers.h"

#include <math.h>

struct taken {
    struct taken *next;
    void *memory;
};
static struct taken *taken;

double test_rounding(int64_t terms)
{
    return 8 * sqrt((double)(terms > 1 ? terms : 1)) * 0x1p-24;
}

void *test_take(int64_t count, size_t size)
{
    struct taken *entry = malloc(sizeof *entry);
    void *memory = calloc(count > 0 ? (size_t)count : 1, size);
    assert_non_null(entry);
    assert_non_null(memory);
    *entry = (struct taken){.next = taken, .memory = memory};
    taken = entry;
    return memory;
}

void test_give_back(void)
{
    while (taken) {
        struct taken *next = taken->next;
        free(taken->memory);
        free(taken);
        taken = next;
    }
}

double *test_doubles(struct lm_random *random, int64_t count, double spread)
{
    double *x = test_take(count, sizeof *x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)(spread * lm_random_normal(random));
    return x;
}

float *test_floats(struct lm_random *random, int64_t count, double spread)
{
    float *x = test_take(count, sizeof *x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)(spread * lm_random_normal(random));
    return x;
}

float *test_to_floats(const double *x, int64_t count)
{
    float *y = test_take(count, sizeof *y);
    for (int64_t i = 0; i < count; i++)
        y[i] = (float)x[i];
    return y;
}

double *test_to_doubles(const float *x, int64_t count)
{
    double *y = test_take(count, sizeof *y);
    for (int64_t i = 0; i < count; i++)
        y[i] = x[i];
    return y;
}

double test_largest(const double *x, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmax(most, fabs(x[i]));
    return most;
}

static void check_one(const char *what, int64_t i, float got, double want, double bound)
{
    bool good = isnan(want) ? isnan(got) : isinf(want) ? (double)got == want : fabs((double)got - want) <= bound;
    if (!good)
        fail_msg("%s: element %ld: found %.9g, wanted %.9g within %.3g (off by %.3g)", what, (long)i, (double)got, want,
                 bound, fabs((double)got - want));
}

void test_close(const char *what, const float *got, const double *want, const double *bound, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        check_one(what, i, got[i], want[i], bound[i]);
}

void test_near(const char *what, const float *got, const double *want, double bound, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        check_one(what, i, got[i], want[i], bound);
}

void test_same(const char *what, const void *got, const void *want, int64_t count, size_t size)
{
    for (int64_t i = 0; i < count; i++) {
        if (memcmp((const char *)got + (size_t)i * size, (const char *)want + (size_t)i * size, size) != 0)
            fail_msg("%s: element %ld has other bits", what, (long)i);
    }
}
