/* Logits and gradients as files. */
#include "look.h"

static int check_count(int64_t count, int64_t least, loam_error *error)
{
    if (count >= least)
        return LOAM_OK;
    return lm_fail(error, LOAM_EUSAGE, "found %lld token ids, wanted at least %lld", (long long)count,
                   (long long)least);
}

int lm_look_logits(struct lm_model *model, const int32_t *ids, int64_t count, const char *path, loam_error *error)
{
    const int64_t vocabulary = lm_model_config(model)->vocabulary;
    size_t numbers;
    int code = check_count(count, 1, error);
    if (code != LOAM_OK)
        return code;
    if (!lm_mul((size_t)count, (size_t)vocabulary, &numbers))
        return lm_fail(error, LOAM_EUSAGE, "%lld positions of %lld logits do not fit into memory", (long long)count,
                       (long long)vocabulary);
    float *logits = lm_alloc(numbers, sizeof *logits, error);
    if (!logits)
        return LOAM_ENOMEM;
    code = lm_model_logits(model, ids, count, logits, error);
    const int64_t shape[] = {count, vocabulary};
    const struct lm_tensor tensor = {.name = "logits",
                                     .dtype = LM_F32,
                                     .rank = 2,
                                     .shape = shape,
                                     .count = numbers,
                                     .bytes = numbers * sizeof *logits};
    struct lm_tensors_writer *writer = NULL;
    if (code == LOAM_OK)
        code = lm_tensors_create(path, &tensor, 1, NULL, &writer, error);
    if (code == LOAM_OK) {
        code = lm_tensors_put(writer, 0, 0, logits, (size_t)tensor.bytes, error);
        if (code == LOAM_OK)
            code = lm_tensors_finish(writer, error);
        else
            lm_tensors_abandon(writer);
    }
    lm_free(logits);
    return code;
}

/* --- One step --- */

struct step {
    struct lm_layout layout;
    struct lm_pass *pass;
    void *block;
    float *gradients;
    int32_t *targets;
    float loss;
};

static int open_step(struct lm_model *model, int64_t count, struct step *step, loam_error *error)
{
    const struct lm_pass_options options = {.batch = 1, .length = count, .backward = true};
    const size_t bytes = lm_model_weight_bytes(lm_model_config(model), LM_F32);
    lm_layout_add(&step->layout, (void **)&step->gradients, "gradients", bytes);
    lm_layout_add(&step->layout, (void **)&step->targets, "targets", (size_t)count * sizeof *step->targets);
    int code = lm_pass_create(model, &options, &step->layout, &step->pass, error);
    if (code == LOAM_OK)
        code = lm_layout_check(&step->layout, error);
    if (code != LOAM_OK)
        return code;
    step->block = lm_block_map(step->layout.size, error);
    if (!step->block)
        return LOAM_ENOMEM;
    lm_layout_bind(&step->layout, step->block);
    return LOAM_OK;
}

static int run_step(struct step *step, const int32_t *ids, int64_t count, loam_error *error)
{
    double sum;
    for (int64_t i = 0; i < count; i++)
        step->targets[i] = i + 1 < count ? ids[i + 1] : -1;
    const struct lm_pass_input input = {.ids = ids, .targets = step->targets};
    const double scale = 1 / (double)(count - 1);
    int code = lm_pass_run(step->pass, &input, (float)scale, step->gradients, &sum, NULL, error);
    step->loss = (float)(sum * scale);
    return code;
}

static int put_step(const struct step *step, const struct lm_parameter *table, size_t count,
                    struct lm_tensors_writer *writer, loam_error *error)
{
    int code = lm_tensors_put(writer, count, 0, &step->loss, sizeof step->loss, error);
    for (size_t i = 0; code == LOAM_OK && i < count; i++)
        code = lm_tensors_put(writer, i, 0, step->gradients + table[i].offset, (size_t)table[i].count * sizeof(float),
                              error);
    return code;
}

static int write_step(struct lm_model *model, const struct step *step, const char *path, loam_error *error)
{
    static const int64_t one[] = {1};
    size_t count;
    const struct lm_parameter *table = lm_model_parameters(model, &count);
    struct lm_tensor *list = lm_alloc(count + 1, sizeof *list, error);
    if (!list)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < count; i++)
        list[i] = (struct lm_tensor){.name = table[i].name,
                                     .dtype = LM_F32,
                                     .rank = table[i].rank,
                                     .shape = table[i].shape,
                                     .count = (uint64_t)table[i].count,
                                     .bytes = (uint64_t)table[i].count * sizeof(float)};
    list[count] = (struct lm_tensor){
        .name = "loss", .dtype = LM_F32, .rank = 1, .shape = one, .count = 1, .bytes = sizeof(float)};
    struct lm_tensors_writer *writer;
    int code = lm_tensors_create(path, list, count + 1, NULL, &writer, error);
    if (code == LOAM_OK) {
        code = put_step(step, table, count, writer, error);
        if (code == LOAM_OK)
            code = lm_tensors_finish(writer, error);
        else
            lm_tensors_abandon(writer);
    }
    lm_free(list);
    return code;
}

int lm_look_step(struct lm_model *model, const int32_t *ids, int64_t count, const char *path, double *loss,
                 loam_error *error)
{
    struct step step = {0};
    int code = check_count(count, 2, error);
    if (code == LOAM_OK)
        code = open_step(model, count, &step, error);
    if (code == LOAM_OK)
        code = run_step(&step, ids, count, error);
    if (code == LOAM_OK)
        code = write_step(model, &step, path, error);
    if (code == LOAM_OK && loss)
        *loss = step.loss;
    lm_device_give_scratch(lm_model_device(model), NULL, 0);
    lm_pass_free(step.pass);
    if (step.block)
        lm_block_unmap(step.block, step.layout.size);
    lm_layout_free(&step.layout);
    return code;
}
