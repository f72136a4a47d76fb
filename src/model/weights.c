/* A model's weights out of its files: which tensor is which parameter, in place or read into one block. */
#include "gguf_files.h"

#include <stdio.h>
#include <string.h>

enum { PIECE = 1 << 18 };    /* elements converted at a time */

/* A name without the prefix that some files have and others lack. */
static const char *bare(const char *name)
{
    if (!strncmp(name, "transformer.", 12))
        return name + 12;
    if (!strncmp(name, "model.", 6))
        return name + 6;
    return name;
}

static bool ends_with(const char *name, const char *end)
{
    const size_t length = strlen(name), tail = strlen(end);
    return length >= tail && !strcmp(name + length - tail, end);
}

/* Buffers that older versions of transformers saved with the weights, and a head that is the embedding. */
static bool is_passed_over(const struct lm_model *model, const char *name)
{
    if (model->config.tied && !strcmp(bare(name), "lm_head.weight"))
        return true;
    if (model->config.family == LM_GPT2)
        return ends_with(name, ".attn.bias") || ends_with(name, ".attn.masked_bias");
    return ends_with(name, ".rotary_emb.inv_freq");
}

static int parameter_named(const struct lm_model *model, const char *name)
{
    for (size_t i = 0; i < model->count; i++)
        if (!strcmp(bare(model->parameters[i].name), bare(name)))
            return (int)i;
    return -1;
}

/* Rows of a parameter in the files: fewer than in the table where the vocabulary grows. */
static int64_t file_rows(const struct lm_model *model, size_t index)
{
    const struct lm_parameter *parameter = &model->parameters[index];
    const bool grows = parameter->part == LM_PART_EMBEDDING || parameter->part == LM_PART_HEAD;
    return grows ? model->file_vocabulary : parameter->shape[0];
}

static void shape_text(int rank, const int64_t *shape, char *out, size_t room)
{
    size_t used = (size_t)snprintf(out, room, "[");
    for (int i = 0; i < rank && used < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%lld", i ? ", " : "", (long long)shape[i]);
    if (used < room)
        snprintf(out + used, room - used, "]");
}

static int check_tensor(const struct lm_model *model, size_t index, const struct lm_tensor *tensor, const char *directory,
                        loam_error *error)
{
    const struct lm_parameter *parameter = &model->parameters[index];
    const int64_t wanted[2] = {file_rows(model, index), parameter->shape[1]};
    bool fits = tensor->rank == parameter->rank;
    for (int i = 0; fits && i < tensor->rank; i++)
        fits = tensor->shape[i] == wanted[i];
    if (!fits) {
        char found[128], right[64];
        shape_text(tensor->rank, tensor->shape, found, sizeof found);
        shape_text(parameter->rank, wanted, right, sizeof right);
        return lm_fail(error, LOAM_EMISMATCH, "%s: tensor '%s': found shape %s, wanted %s as config.json has it; the "
                       "files are not of one model", directory, tensor->name, found, right);
    }
    if (tensor->dtype != LM_F32 && tensor->dtype != LM_BF16 && tensor->dtype != LM_F16 && tensor->dtype != LM_F64)
        return lm_fail(error, LOAM_EUNSUPPORTED, "%s: tensor '%s': found type %s, wanted F32, BF16, F16 or F64; convert it "
                       "first", directory, tensor->name, lm_dtype_name(tensor->dtype));
    return LOAM_OK;
}

int lm_weights_check(struct lm_model *model, const char *directory, loam_error *error)
{
    for (size_t i = 0; i < lm_tensors_count(model->tensors); i++) {
        const struct lm_tensor *tensor = lm_tensors_at(model->tensors, i);
        if (is_passed_over(model, tensor->name))
            continue;
        const int index = parameter_named(model, tensor->name);
        if (index < 0)
            return lm_fail(error, LOAM_EMISMATCH, "%s: tensor '%s': found, but the model that config.json describes has "
                           "none of this name; the files are not of one model, or config.json lacks a setting",
                           directory, tensor->name);
        if (model->sources[index])
            return lm_fail(error, LOAM_EMISMATCH, "%s: tensors '%s' and '%s' are the same parameter, wanted one of them",
                           directory, model->sources[index]->name, tensor->name);
        const int code = check_tensor(model, (size_t)index, tensor, directory, error);
        if (code)
            return code;
        model->sources[index] = tensor;
    }
    for (size_t i = 0; i < model->count; i++)
        if (!model->sources[i])
            return lm_fail(error, LOAM_EMISMATCH, "%s: tensor '%s' is missing, which the model that config.json describes "
                           "has; fetch the files again", directory, model->parameters[i].name);
    return LOAM_OK;
}

int lm_weights_map(struct lm_model *model, loam_error *error)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct lm_tensor *tensor = model->sources[i];
        const bool in_place = tensor->dtype == LM_F32 || tensor->dtype == LM_BF16;
        const enum lm_dtype dtype = in_place ? tensor->dtype : LM_F32;
        const size_t element = (size_t)lm_dtype_bits(dtype) / 8;
        model->views[i] = (struct lm_view){.data = tensor->data, .dtype = dtype};
        if (in_place && (uintptr_t)tensor->data % element == 0)
            continue;
        model->copies[i] = lm_alloc((size_t)tensor->count, element, error);
        if (!model->copies[i])
            return LOAM_ENOMEM;
        if (!lm_convert(dtype, model->copies[i], tensor->dtype, tensor->data, (size_t)tensor->count))
            return lm_fail(error, LOAM_EUNSUPPORTED, "tensor '%s': %s cannot become %s", tensor->name,
                           lm_dtype_name(tensor->dtype), lm_dtype_name(dtype));
        model->views[i].data = model->copies[i];
    }
    return LOAM_OK;
}

static int read_tensor(const struct lm_model *model, size_t index, void *buffer, loam_error *error)
{
    const struct lm_tensor *tensor = model->sources[index];
    char *out = (char *)model->views[index].data;
    const size_t from = (size_t)lm_dtype_bits(tensor->dtype) / 8, to = (size_t)lm_dtype_bits(model->dtype) / 8;
    if (tensor->dtype == model->dtype)
        return lm_tensors_pread(model->tensors, tensor, 0, out, (size_t)tensor->bytes, error);
    for (uint64_t done = 0; done < tensor->count;) {
        const size_t count = tensor->count - done < PIECE ? (size_t)(tensor->count - done) : PIECE;
        const int code = lm_tensors_pread(model->tensors, tensor, done * from, buffer, count * from, error);
        if (code)
            return code;
        lm_convert(model->dtype, out + done * to, tensor->dtype, buffer, count);
        done += count;
    }
    return LOAM_OK;
}

/* Rows from file_vocabulary on become the mean of those before: a new token starts as an average one. */
static int grow_rows(const struct lm_model *model, size_t index, loam_error *error)
{
    const struct lm_parameter *parameter = &model->parameters[index];
    const size_t width = (size_t)parameter->shape[1], element = (size_t)lm_dtype_bits(model->dtype) / 8;
    char *rows = (char *)model->views[index].data;
    double *sum = lm_alloc(width, sizeof *sum, error);
    float *row = lm_alloc(width, sizeof *row, error);
    for (int64_t r = 0; sum && row && r < model->file_vocabulary; r++) {
        lm_convert(LM_F32, row, model->dtype, rows + (size_t)r * width * element, width);
        for (size_t i = 0; i < width; i++)
            sum[i] += row[i];
    }
    for (size_t i = 0; sum && row && i < width; i++)
        row[i] = (float)(sum[i] / (double)model->file_vocabulary);
    for (int64_t r = model->file_vocabulary; sum && row && r < parameter->shape[0]; r++)
        lm_convert(model->dtype, rows + (size_t)r * width * element, LM_F32, row, width);
    const int code = sum && row ? LOAM_OK : LOAM_ENOMEM;
    lm_free(sum);
    lm_free(row);
    return code;
}

int lm_weights_read(struct lm_model *model, size_t first, size_t count, loam_error *error)
{
    void *buffer = lm_alloc(PIECE, sizeof(double), error);
    int code = buffer ? LOAM_OK : LOAM_ENOMEM;
    for (size_t i = first; !code && i < first + count; i++) {
        code = model->gguf ? lm_gguf_weights_read(model, i, error) : read_tensor(model, i, buffer, error);
        if (!code && file_rows(model, i) < model->parameters[i].shape[0])
            code = grow_rows(model, i, error);
    }
    lm_free(buffer);
    return code;
}
