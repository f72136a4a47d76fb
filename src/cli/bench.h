/* The measurements of loam bench, each on a model made for it with random weights.
 *
 *     struct bench bench = {.threads = 2};
 *     struct bench_result result;
 *     if (bench_open(&bench, error)) return error->code;              // measures the machine's limits
 *     const struct bench_case *one = bench_find("decode_llama_1b_bf16");
 *     if (one->run(&bench, &result, error)) return error->code;
 *     bench_close(&bench);
 */
#ifndef LOAM_CLI_BENCH_H
#define LOAM_CLI_BENCH_H

#include "compute/compute.h"

struct bench {
    int threads;
    bool tiny;                  /* small shapes: that it runs, not how fast */
    struct lm_device *device;
    struct lm_limits limits;
};

struct bench_result {
    double value;
    const char *unit;
    double of_limit;            /* a fraction of what the machine's limit would give */
};

struct bench_case {
    const char *name, *tiny_name;
    int (*run)(struct bench *bench, struct bench_result *result, loam_error *error);
};
extern const struct bench_case bench_cases[];
extern const size_t bench_case_count;
const char *bench_case_name(const struct bench *bench, const struct bench_case *one);
/* By the full name, also where tiny. NULL: there is none. */
const struct bench_case *bench_find(const char *name);

int bench_open(struct bench *bench, loam_error *error);
void bench_close(struct bench *bench);

/* Process start to first token (bench_start.c). */
int bench_start(struct bench *bench, struct bench_result *result, loam_error *error);
/* The shape a case runs on: a known model's, or the same family's smallest where tiny. */
struct lm_config;
int bench_shape(const struct bench *bench, const char *name, struct lm_config *config, loam_error *error);
/* The middle one; `times` is put in order. */
double bench_median(double *times, int count);

#endif
