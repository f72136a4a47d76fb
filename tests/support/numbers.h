/* Numbers for tests of arithmetic: random ones, memory for them, and comparisons with a bound that is derived, not tried.
 *
 *     double *bound = test_take(count, sizeof *bound);
 *     bound[i] = test_rounding(k) * sum_of_absolute_terms[i];
 *     test_close("matmul 3x5x7", got, want, bound, count);
 *
 * Rounding. u = 2^-24 is half the distance of two neighbours among fp32 numbers near 1. A sum of n terms, whatever its
 * order, is off by at most n*u times the sum of the terms' absolute values; with roundings that do not conspire by at most
 * L*sqrt(n)*u times that, but for a chance of 2*exp(-L*L/2) (Higham and Mary, 2019, "A new approach to probabilistic rounding
 * error analysis"). Here L = 8, a chance of 2.5e-14: test_rounding(n) = 8*sqrt(n)*u. It leaves room for a handful of
 * operations around the sum, too.
 */
#ifndef LOAM_TESTS_NUMBERS_H
#define LOAM_TESTS_NUMBERS_H

#include "support/support.h"

double test_rounding(int64_t terms);

/* Zeroed memory that lives until test_give_back, exactly as large as asked: a sanitizer sees what goes beyond. */
void *test_take(int64_t count, size_t size);
void test_give_back(void);

/* Normally distributed numbers times `spread`, each exactly an fp32 number. */
double *test_doubles(struct lm_random *random, int64_t count, double spread);
float *test_floats(struct lm_random *random, int64_t count, double spread);
float *test_to_floats(const double *x, int64_t count);
double *test_to_doubles(const float *x, int64_t count);
double test_largest(const double *x, int64_t count);     /* absolute */

/* Every got[i] within bound[i] of want[i]; NaN for NaN, infinity for infinity, nothing else for them. */
void test_close(const char *what, const float *got, const double *want, const double *bound, int64_t count);
/* The same with one bound for all. */
void test_near(const char *what, const float *got, const double *want, double bound, int64_t count);
/* The same bits. */
void test_same(const char *what, const void *got, const void *want, int64_t count, size_t size);

#endif
