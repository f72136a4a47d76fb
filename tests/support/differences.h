/* Slopes of a function by differences, to judge a backward pass.
 *
 *     struct test_function function = {forward, &context, out, above, count};
 *     test_differences(&random, "gelu", &function, &(struct test_variable){"x", x, dx, count}, 1);
 *
 * All in double. The slope of loss = sum of above * out along a direction is taken by the central difference of fourth order,
 * (f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12h with h = 1e-3: its own error is h^4/30 of the fifth derivative, some 1e-13, and the
 * rounding of f over h, another 1e-13 times the loss; the bound is 1e-8 of the terms. Directions are single elements (all,
 * or 48 drawn by chance) and six random unit vectors, which no wrong element escapes.
 */
#ifndef LOAM_TESTS_DIFFERENCES_H
#define LOAM_TESTS_DIFFERENCES_H

#include "support/numbers.h"

/* A forward pass and the variables it reads. */
struct test_function {
    void (*run)(const void *context);
    const void *context;
    const double *out, *above;
    int64_t count;           /* of out and above */
};

struct test_variable {
    const char *name;
    double *x;
    const double *slope;     /* what the backward pass says */
    int64_t count;
};

void test_differences(struct lm_random *random, const char *label, const struct test_function *function,
                      const struct test_variable *variables, int count);

#endif
