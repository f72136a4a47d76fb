/* What loam bench measures within this process: training; the table of all measurements. */
#include "bench.h"
#include "model/model.h"
#include "terminal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH = 4, LENGTH = 256, STEPS = 3,         /* training */
    TINY_LENGTH = 32, TINY_CONTEXT = 128
};

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *times, int count)
{
    qsort(times, (size_t)count, sizeof *times, by_size);
    return count % 2 ? times[count / 2] : (times[count / 2 - 1] + times[count / 2]) / 2;
}

int bench_shape(const struct bench *bench, const char *name, struct lm_config *config, loam_error *error)
{
    int code = lm_config_like(name, config, error);
    if (code != LOAM_OK || !bench->tiny)
        return code;
    const bool grouped = config->kv_heads != config->heads;
    config->vocabulary = 256;
    config->width = 64;
    config->layers = 2;
    config->heads = 4;
    config->kv_heads = grouped ? 2 : 4;
    config->head_size = 16;
    config->feed_forward = 128;
    config->context = TINY_CONTEXT;
    config->bos = config->eos = config->pad = -1;
    return LOAM_OK;
}

int bench_stopped(loam_error *error)
{
    return stop_wanted() ? lm_fail(error, LOAM_ECANCELLED, "bench: stopped on request") : LOAM_OK;
}

void bench_draw_ids(int32_t *ids, int64_t count, int64_t vocabulary)
{
    struct lm_random random = lm_random_seed(1, 0);
    for (int64_t i = 0; i < count; i++)
        ids[i] = (int32_t)lm_random_below(&random, (uint64_t)vocabulary);
}

/* --- A training step: forward, backward, the gradients' norm, AdamW --- */

struct trainer {
    struct lm_model *model;
    struct lm_pass *pass;
    struct lm_layout layout;
    void *block;
    size_t parameters;
    float *gradients, *m, *v;
    int32_t *ids, *targets;
    int64_t batch, length, step;
};

static void trainer_close(struct trainer *t)
{
    lm_pass_free(t->pass);
    if (t->block)
        lm_block_unmap(t->block, t->layout.size);
    lm_layout_free(&t->layout);
    lm_model_close(t->model);
}

static int trainer_open(struct bench *bench, struct trainer *t, loam_error *error)
{
    struct lm_config config;
    int code = bench_shape(bench, "gpt2", &config, error);
    if (code == LOAM_OK)
        code = lm_model_create(&config, 1, bench->device, &(struct lm_model_options){.load = true, .dtype = LM_F32},
                               &t->model, error);
    if (code != LOAM_OK)
        return code;
    t->batch = BATCH;
    t->length = bench->tiny ? TINY_LENGTH : LENGTH;
    t->parameters = lm_model_weight_bytes(&config, LM_F32) / sizeof(float);
    const size_t bytes = t->parameters * sizeof(float);
    const size_t rows = (size_t)(t->batch * t->length);
    lm_layout_add(&t->layout, (void **)&t->gradients, "gradients", bytes);
    lm_layout_add(&t->layout, (void **)&t->m, "m", bytes);
    lm_layout_add(&t->layout, (void **)&t->v, "v", bytes);
    lm_layout_add(&t->layout, (void **)&t->ids, "ids", rows * sizeof(int32_t));
    lm_layout_add(&t->layout, (void **)&t->targets, "targets", rows * sizeof(int32_t));
    code = lm_pass_create(t->model, &(struct lm_pass_options){.batch = t->batch, .length = t->length, .backward = true},
                          &t->layout, &t->pass, error);
    if (code == LOAM_OK)
        code = lm_layout_check(&t->layout, error);
    if (code == LOAM_OK && !(t->block = lm_block_map(t->layout.size, error)))
        code = LOAM_ENOMEM;
    if (code != LOAM_OK)
        return code;
    lm_layout_bind(&t->layout, t->block);
    bench_draw_ids(t->ids, (int64_t)rows, config.vocabulary);
    memcpy(t->targets, t->ids, rows * sizeof(int32_t));
    return LOAM_OK;
}

static int trainer_step(struct trainer *t, loam_error *error)
{
    struct lm_device *device = lm_model_device(t->model);
    const struct lm_ops *ops = lm_device_ops(device);
    const int64_t count = (int64_t)t->parameters;
    enum lm_dtype dtype;
    double loss;
    ops->fill(device, count, 0, t->gradients);
    const struct lm_pass_input input = {.ids = t->ids, .targets = t->targets};
    int code = lm_pass_run(t->pass, &input, 1.0f / (float)(t->batch * t->length), t->gradients, &loss, NULL, error);
    if (code != LOAM_OK)
        return code;
    const double squares = ops->sum_squares(device, count, LM_F32, t->gradients);
    ops->adamw(device, &(struct lm_adamw){.count = count, .step = ++t->step, .lr = 1e-4, .beta1 = 0.9, .beta2 = 0.95,
                                          .eps = 1e-8, .decay = 0.1, .grad_scale = squares > 1 ? 1 / sqrt(squares) : 1,
                                          .parameter = lm_model_weights(t->model, &dtype), .gradient = t->gradients,
                                          .m = t->m, .v = t->v});
    return lm_device_check(device, error);
}

static int bench_train(struct bench *bench, const struct bench_case *one, struct bench_result *result, loam_error *error)
{
    struct trainer t = {0};
    double times[STEPS];
    (void)one;
    int code = trainer_open(bench, &t, error);
    if (code == LOAM_OK)
        code = trainer_step(&t, error);    /* touches all memory; not counted */
    for (int i = 0; i < STEPS && code == LOAM_OK; i++) {
        const double start = lm_seconds();
        if ((code = bench_stopped(error)) == LOAM_OK)
            code = trainer_step(&t, error);
        times[i] = lm_seconds() - start;
    }
    if (code == LOAM_OK) {
        const double seconds = bench_median(times, STEPS);
        const double flops = lm_config_flops(lm_model_config(t.model), t.batch, t.length);
        *result = (struct bench_result){(double)(t.batch * t.length) / seconds, "tokens/s",
                                        flops / seconds * 1e-9 / bench->limits.gflops_f32};
    }
    trainer_close(&t);
    return code;
}

/* --- The table --- */

#define LLAMA(kind, type) kind "_llama_1b_" type, kind "_llama_tiny_" type
const struct bench_case bench_cases[] = {
    {"train_gpt2_124m_f32", "train_gpt2_tiny_f32", bench_train, LM_F32, 0},
    {LLAMA("prompt", "bf16"), bench_prompt, LM_BF16, 1},
    {LLAMA("prompt", "q8_0"), bench_prompt, LM_Q8_0, 1},
    {LLAMA("prompt", "q4_0"), bench_prompt, LM_Q4_0, 1},
    {LLAMA("decode", "bf16"), bench_decode, LM_BF16, 1},
    {LLAMA("decode", "q8_0"), bench_decode, LM_Q8_0, 1},
    {LLAMA("decode", "q4_0"), bench_decode, LM_Q4_0, 1},
    {LLAMA("decode8", "bf16"), bench_decode, LM_BF16, 8},
    {LLAMA("decode8", "q8_0"), bench_decode, LM_Q8_0, 8},
    {LLAMA("start", "bf16"), bench_start, LM_BF16, 1},
};
const size_t bench_case_count = sizeof bench_cases / sizeof *bench_cases;

const char *bench_case_name(const struct bench *bench, const struct bench_case *one)
{
    return bench->tiny ? one->tiny_name : one->name;
}

const struct bench_case *bench_find(const char *name)
{
    for (size_t i = 0; i < bench_case_count; i++)
        if (strcmp(bench_cases[i].name, name) == 0)
            return &bench_cases[i];
    return NULL;
}

int bench_open(struct bench *bench, loam_error *error)
{
    int code = lm_device_open(&(struct lm_device_options){.threads = bench->threads}, &bench->device, error);
    return code == LOAM_OK ? lm_device_limits(bench->device, bench->tiny ? 0.05 : 2, &bench->limits, error) : code;
}

void bench_close(struct bench *bench)
{
    lm_device_close(bench->device);
    bench->device = NULL;
}
