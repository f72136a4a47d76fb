/* Logits and gradients as files. */
#include "look.h"
#include "step.h"

int lm_look_logits(struct lm_model *model, const int32_t *ids, int64_t count, const char *path, loam_error *error)
{
    const int64_t vocabulary = lm_model_config(model)->vocabulary;
    size_t numbers;
    int code;
    if (count < 1)
        return lm_fail(error, LOAM_EUSAGE, "found no token id, wanted at least 1");
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

static int put_step(const struct lm_step *step, const struct lm_parameter *table, size_t count,
                    struct lm_tensors_writer *writer, loam_error *error)
{
    int code = lm_tensors_put(writer, count, 0, &step->loss, sizeof step->loss, error);
    for (size_t i = 0; code == LOAM_OK && i < count; i++)
        code = lm_tensors_put(writer, i, 0, step->gradients + table[i].offset, (size_t)table[i].count * sizeof(float),
                              error);
    return code;
}

static int write_step(struct lm_model *model, const struct lm_step *step, const char *path, loam_error *error)
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
    struct lm_step step;
    int code = lm_step_run(model, ids, count, NULL, NULL, &step, error);
    if (code)
        return code;
    code = write_step(model, &step, path, error);
    if (!code && loss)
        *loss = step.loss;
    lm_step_free(model, &step);
    return code;
}
