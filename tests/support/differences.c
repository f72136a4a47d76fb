#include "support/differences.h"

#include <math.h>

enum { ELEMENTS = 48, DIRECTIONS = 6 };

static double loss(const struct test_function *function)
{
    double sum = 0;
    function->run(function->context);
    for (int64_t i = 0; i < function->count; i++)
        sum += function->above[i] * function->out[i];
    return sum;
}

static double slope_along(const struct test_function *function, const struct test_variable *variable,
                          const double *direction)
{
    static const double steps[] = {-2e-3, -1e-3, 1e-3, 2e-3}, weights[] = {1, -8, 8, -1};
    double *kept = test_take(variable->count, sizeof *kept), slope = 0;
    memcpy(kept, variable->x, (size_t)variable->count * sizeof *kept);
    for (int s = 0; s < 4; s++) {
        for (int64_t i = 0; i < variable->count; i++)
            variable->x[i] = kept[i] + steps[s] * direction[i];
        slope += weights[s] * loss(function) / 12e-3;
    }
    memcpy(variable->x, kept, (size_t)variable->count * sizeof *kept);
    return slope;
}

static void check_direction(const char *label, const struct test_function *function,
                            const struct test_variable *variable, const double *direction)
{
    double told = 0, size = 0;
    for (int64_t i = 0; i < variable->count; i++) {
        told += variable->slope[i] * direction[i];
        size += fabs(variable->slope[i] * direction[i]);
    }
    double found = slope_along(function, variable, direction);
    if (!(fabs(found - told) <= 1e-8 * (1 + size)))
        fail_msg("%s: d%s: backward says %.12g, differences %.12g", label, variable->name, told, found);
}

void test_differences(struct lm_random *random, const char *label, const struct test_function *function,
                      const struct test_variable *variables, int count)
{
    for (int v = 0; v < count; v++) {
        const struct test_variable *variable = &variables[v];
        double *direction = test_take(variable->count, sizeof *direction);
        int64_t elements = variable->count < ELEMENTS ? variable->count : ELEMENTS;
        for (int64_t e = 0; e < elements; e++) {
            int64_t i = elements == variable->count ? e : (int64_t)lm_random_below(random, (uint64_t)variable->count);
            direction[i] = 1;
            check_direction(label, function, variable, direction);
            direction[i] = 0;
        }
        for (int d = 0; d < DIRECTIONS; d++) {
            for (int64_t i = 0; i < variable->count; i++)
                direction[i] = lm_random_normal(random) / sqrt((double)variable->count);
            check_direction(label, function, variable, direction);
        }
    }
}
