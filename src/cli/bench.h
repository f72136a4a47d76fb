/* The measurements of loam bench, each on a model made for it with random weights.
 *
 *     struct bench bench = {.threads = 2};
 *     struct bench_result result;
 *     if (bench_open(&bench, error)) return error->code;              // measures the machine's limits
 *     const struct bench_case *one = bench_find("decode_llama_1b_bf16");
 *     if (one->run(&bench, one, &result, error)) return error->code;
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
    int (*run)(struct bench *bench, const struct bench_case *one, struct bench_result *result, loam_error *error);
    enum lm_dtype dtype;        /* of the weights */
    int64_t streams;            /* sequences at once */
};
extern const struct bench_case bench_cases[];
extern const size_t bench_case_count;
const char *bench_case_name(const struct bench *bench, const struct bench_case *one);
/* By the full name, also where tiny. NULL: there is none. */
const struct bench_case *bench_find(const char *name);

int bench_open(struct bench *bench, loam_error *error);
void bench_close(struct bench *bench);

/* Process start to first token (bench_start.c). */
int bench_start(struct bench *bench, const struct bench_case *one, struct bench_result *result, loam_error *error);
/* Prompts, and one or more sequences decoding (bench_run.c). */
int bench_prompt(struct bench *bench, const struct bench_case *one, struct bench_result *result, loam_error *error);
int bench_decode(struct bench *bench, const struct bench_case *one, struct bench_result *result, loam_error *error);
/* LOAM_ECANCELLED where a signal asks for an end. */
int bench_stopped(loam_error *error);
void bench_draw_ids(int32_t *ids, int64_t count, int64_t vocabulary);

/* A sweep over numbers of sequences and positions before them (bench_sweep.c): one row each. */
struct bench_row {
    int64_t streams, context;
    double prompt, decode;      /* tokens a second: of a prompt of `context` tokens; of all streams together */
    double of_limit;            /* of the time that reading weights and caches takes */
};
/* `model` NULL: the 1B Llama in bf16. Calls `show` for each row as it is measured. */
int bench_sweep(struct bench *bench, const char *model, const int64_t *streams, size_t stream_count, const int64_t *contexts,
                size_t context_count, void (*show)(void *user, const struct bench_row *row), void *user, loam_error *error);

/* What a run measures with (bench_run.c): a model, a pool of keys and values, and sequences in it. */
struct lm_model;
struct talker {
    struct lm_model *model;
    struct lm_paged *pool;
    int64_t streams, page_count;/* sequences; pages of each */
    int32_t *pages;             /* [streams][page_count] */
    int32_t *ids;               /* [positions] that all begin with */
    int64_t positions;          /* at most, of each */
};
/* `path` NULL: a model made for it, with random weights of `dtype`. */
int talker_open(struct bench *bench, const char *path, enum lm_dtype dtype, int64_t streams, int64_t positions,
                struct talker *talker, loam_error *error);
void talker_close(struct talker *talker);
/* Positions [0, count) of the first sequence, in pieces. */
int talker_prompt(struct talker *talker, int64_t count, loam_error *error);
/* The other sequences get the first one's keys and values. */
void talker_share(struct talker *talker, int64_t count);
/* One token at `position` for each of `streams` sequences. */
int talker_step(struct talker *talker, int64_t streams, int64_t position, loam_error *error);
/* Bytes that such a step reads: every weight once (of a table that is not the head, a row each), and the caches. */
double talker_step_bytes(const struct talker *talker, int64_t streams, int64_t position);
/* 1e9 bytes a second at which the memory of the weights is read now. */
int talker_memory_speed(struct bench *bench, const struct talker *talker, double *gbps, loam_error *error);
/* The shape a case runs on: a known model's, or the same family's smallest where tiny. */
struct lm_config;
int bench_shape(const struct bench *bench, const char *name, struct lm_config *config, loam_error *error);
/* The middle one; `times` is put in order. */
double bench_median(double *times, int count);

#endif
