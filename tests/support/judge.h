/* Judging every table of operations by the plain one.
 *
 *     struct test_operation operation = {
 *         .label = "gelu", .run = run_gelu, .context = &shape,
 *         .outputs = {{"y", count, NULL, bound}},
 *     };
 *     test_judge(&operation);
 *
 * `run` does the operation on a device and fills out[0], out[1], ... The judge runs it on the plain table, then on each
 * instruction set of this machine with 1, 2 and 3 threads and on the one a user gets, twice: the bits of both runs must be the same, the numbers within
 * `bound` of the plain ones, and the second run must not allocate. Instruction sets that are missing here are named on
 * standard output.
 */
#ifndef LOAM_TESTS_JUDGE_H
#define LOAM_TESTS_JUDGE_H

#include "compute/compute.h"
#include "support/numbers.h"

struct test_output {
    const char *name;
    int64_t count;
    const float *before;        /* what stands there before; NULL: zeros */
    const double *bound;        /* one for each element; NULL: the same bits */
};

struct test_operation {
    const char *label;
    void (*run)(struct lm_device *device, const void *context, float *const *out);
    const void *context;
    bool any_threads;           /* the same bits for any number of threads */
    struct test_output outputs[4];
};

int test_open_devices(void **state);     /* group setup and teardown */
int test_close_devices(void **state);
void test_judge(const struct test_operation *operation);

struct lm_device *test_plain(void);
int test_device_count(void);             /* without the plain one */
struct lm_device *test_device(int index);
struct lm_device_options test_device_options(int index);     /* to open another one like it */

/* `count` times the same bound. */
double *test_bound(int64_t count, double bound);
struct lm_matrix test_matrix(const float *x, int64_t stride);        /* F32 */
struct lm_matrix test_matrix_bf16(const float *x, int64_t count, int64_t stride);

#endif
