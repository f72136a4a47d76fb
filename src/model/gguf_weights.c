/* A model's weights out of a GGUF file and into one. */
#include "gguf_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int check_tensor(struct lm_model *model, size_t index, const struct lm_tensor *tensor, loam_error *error)
{
    const struct lm_parameter *parameter = &model->parameters[index];
    const bool grows = parameter->part == LM_PART_EMBEDDING || parameter->part == LM_PART_HEAD;
    const bool turned = lm_gguf_turned(&model->config, parameter);
    int64_t wanted[2] = {grows ? model->file_vocabulary : parameter->shape[0],
                         parameter->rank == 2 ? parameter->shape[1] : 1};
    if (turned)
        wanted[0] = parameter->shape[1], wanted[1] = parameter->shape[0];
    /* Vectors may stand there as [1, n]. */
    const int64_t columns = parameter->rank == 2 && tensor->rank == 2 ? tensor->shape[1] : 1;
    if (tensor->count != (uint64_t)wanted[0] * (uint64_t)wanted[1] || columns != wanted[1])
        return lm_fail(error, LOAM_EMISMATCH,
                       "%s: tensor \"%s\": found %" PRIu64 " elements in rows of %" PRId64 ", wanted %" PRId64
                       " rows of %" PRId64 " as the metadata have it; the file is damaged",
                       lm_gguf_path(model->gguf), tensor->name, tensor->count, columns, wanted[0], wanted[1]);
    if (!lm_dtype_is_block(tensor->dtype) && tensor->dtype != LM_F32 && tensor->dtype != LM_BF16 &&
        tensor->dtype != LM_F16)
        return lm_fail(error, LOAM_EUNSUPPORTED, "%s: tensor \"%s\": found type %s, wanted floating or block numbers",
                       lm_gguf_path(model->gguf), tensor->name, lm_dtype_name(tensor->dtype));
    if (lm_dtype_is_block(tensor->dtype) && parameter->rank == 1)
        return lm_fail(error, LOAM_EUNSUPPORTED, "%s: tensor \"%s\": found type %s, wanted floating numbers, as it is no matrix",
                       lm_gguf_path(model->gguf), tensor->name, lm_dtype_name(tensor->dtype));
    model->sources[index] = tensor;
    return LOAM_OK;
}

int lm_gguf_weights_check(struct lm_model *model, loam_error *error)
{
    size_t used = 0;
    for (size_t i = 0; i < model->count; i++) {
        char name[96];
        lm_gguf_parameter_name(&model->config, &model->parameters[i], name);
        const struct lm_tensor *tensor = lm_gguf_tensor(model->gguf, name);
        if (!tensor)
            return lm_fail(error, LOAM_EMISMATCH,
                           "%s: tensor \"%s\" is missing, which the model that the metadata describe has; fetch the "
                           "file again",
                           lm_gguf_path(model->gguf), name);
        const int code = check_tensor(model, i, tensor, error);
        if (code)
            return code;
        used++;
    }
    const bool spare_head = model->config.tied && lm_gguf_tensor(model->gguf, "output.weight");
    const bool factors = lm_gguf_tensor(model->gguf, "rope_freqs.weight") != NULL;
    if (used + spare_head + factors != lm_gguf_tensors(model->gguf))
        return lm_fail(error, LOAM_EUNSUPPORTED,
                       "%s: found %zu tensors, wanted the %zu of this architecture; the model has parts that loam "
                       "does not compute",
                       lm_gguf_path(model->gguf), lm_gguf_tensors(model->gguf), used);
    return LOAM_OK;
}

static bool reordered(const struct lm_model *model, size_t index)
{
    const struct lm_parameter *parameter = &model->parameters[index];
    return lm_gguf_turned(&model->config, parameter) || lm_gguf_row(&model->config, parameter, 1) != 1;
}

/* The whole parameter in loam's order, as `dtype` (F32 or BF16). */
static int fetch(const struct lm_model *model, size_t index, enum lm_dtype dtype, char *out, loam_error *error)
{
    const struct lm_parameter *parameter = &model->parameters[index];
    const struct lm_tensor *tensor = model->sources[index];
    const bool turned = lm_gguf_turned(&model->config, parameter);
    const size_t element = (size_t)lm_dtype_bits(dtype) / 8;
    const size_t columns = parameter->rank == 2                               ? (size_t)tensor->shape[1]
                           : parameter->layer >= 0 && reordered(model, index) ? 1
                                                                              : (size_t)tensor->count;
    const size_t rows = columns ? (size_t)tensor->count / columns : 0;
    uint64_t bytes = 0;
    float *row = lm_alloc(columns, sizeof *row, error);
    if (!row)
        return LOAM_ENOMEM;
    lm_dtype_bytes(tensor->dtype, columns, &bytes);
    for (size_t r = 0; r < rows; r++) {
        const size_t place = (size_t)lm_gguf_row(&model->config, parameter, (int64_t)r);
        lm_convert(LM_F32, row, tensor->dtype, (const char *)tensor->data + r * bytes, columns);
        if (!turned)
            lm_convert(dtype, out + place * columns * element, LM_F32, row, columns);
        for (size_t c = 0; turned && c < columns; c++)
            lm_convert(dtype, out + (c * rows + r) * element, LM_F32, &row[c], 1);
    }
    lm_free(row);
    return LOAM_OK;
}

/* A copy in loam's order, as F32 or BF16. */
static int map_converted(struct lm_model *model, size_t index, loam_error *error)
{
    const struct lm_tensor *tensor = model->sources[index];
    const enum lm_dtype dtype = tensor->dtype == LM_BF16 ? LM_BF16 : LM_F32;
    if (!(model->copies[index] = lm_alloc((size_t)tensor->count, (size_t)lm_dtype_bits(dtype) / 8, error)))
        return LOAM_ENOMEM;
    const int code = fetch(model, index, dtype, model->copies[index], error);
    model->views[index] = (struct lm_view){.data = model->copies[index], .dtype = dtype};
    return code;
}

/* Llama's q and k stand there with their rows in another order: a copy of the rows as they are. */
static int map_rows(struct lm_model *model, size_t index, loam_error *error)
{
    const struct lm_tensor *tensor = model->sources[index];
    const size_t rows = (size_t)tensor->shape[0];
    uint64_t bytes = 0;
    lm_dtype_bytes(tensor->dtype, (uint64_t)tensor->shape[1], &bytes);
    char *copy = lm_alloc(rows, (size_t)bytes, error);
    if (!copy)
        return LOAM_ENOMEM;
    for (size_t r = 0; r < rows; r++)
        memcpy(copy + (size_t)lm_gguf_row(&model->config, &model->parameters[index], (int64_t)r) * bytes,
               (const char *)tensor->data + r * bytes, (size_t)bytes);
    model->copies[index] = copy;
    model->views[index] = (struct lm_view){.data = copy, .dtype = tensor->dtype};
    return LOAM_OK;
}

/* What can be used where it lies: matrices of the types that products take, vectors of F32. */
static bool usable(const struct lm_model *model, size_t index)
{
    const struct lm_tensor *tensor = model->sources[index];
    const struct lm_parameter *parameter = &model->parameters[index];
    if (tensor->dtype == LM_F32 || tensor->dtype == LM_BF16)
        return true;
    return lm_dtype_is_block(tensor->dtype) && parameter->rank == 2 && parameter->part != LM_PART_POSITIONS;
}

int lm_gguf_weights_map(struct lm_model *model, loam_error *error)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct lm_tensor *tensor = model->sources[i];
        const struct lm_parameter *parameter = &model->parameters[i];
        const bool turned = lm_gguf_turned(&model->config, parameter), moved = lm_gguf_row(&model->config, parameter, 1) != 1;
        int code = LOAM_OK;
        if (!usable(model, i) || (model->plain && (lm_dtype_is_block(tensor->dtype) || turned)) ||
            (moved && parameter->rank == 1))
            code = map_converted(model, i, error);
        else if (moved)
            code = map_rows(model, i, error);
        else
            model->views[i] = (struct lm_view){.data = tensor->data, .dtype = tensor->dtype, .turned = turned};
        if (code)
            return code;
        model->packed = model->packed || lm_dtype_is_block(model->views[i].dtype) || model->views[i].turned;
    }
    return LOAM_OK;
}

int lm_gguf_weights_read(const struct lm_model *model, size_t index, loam_error *error)
{
    return fetch(model, index, model->dtype, (char *)model->views[index].data, error);
}

/* --- Writing --- */

struct writing {
    const struct lm_model *model;
    struct lm_gguf_writer *writer;
    struct lm_tensor *list;
    char (*names)[96];
    int64_t (*shapes)[2];
    size_t count;
};

/* Vectors and the table of positions stay F32, as do rows that are no whole blocks; with Q4_0, the table and the head
 * are Q8_0. */
static enum lm_dtype choose(const struct lm_parameter *parameter, enum lm_dtype dtype, int64_t columns)
{
    const bool table = parameter->part == LM_PART_EMBEDDING || parameter->part == LM_PART_HEAD;
    if (parameter->rank == 1 || parameter->part == LM_PART_POSITIONS)
        return LM_F32;
    if (dtype == LM_Q4_0 && table)
        dtype = LM_Q8_0;
    return lm_dtype_is_block(dtype) && columns % lm_dtype_block_elements(dtype) != 0 ? LM_F32 : dtype;
}

static int list_tensors(struct writing *writing, enum lm_dtype dtype, loam_error *error)
{
    const struct lm_model *model = writing->model;
    const size_t most = model->count + 1;
    if (!(writing->list = lm_alloc(most, sizeof *writing->list, error)) ||
        !(writing->names = lm_alloc(most, sizeof *writing->names, error)) ||
        !(writing->shapes = lm_alloc(most, sizeof *writing->shapes, error)))
        return LOAM_ENOMEM;
    for (size_t i = 0; i < model->count; i++) {
        const struct lm_parameter *parameter = &model->parameters[i];
        const bool turned = lm_gguf_turned(&model->config, parameter);
        lm_gguf_parameter_name(&model->config, parameter, writing->names[i]);
        writing->shapes[i][0] = parameter->shape[turned ? 1 : 0];
        writing->shapes[i][1] = parameter->shape[turned ? 0 : 1];
        writing->list[i] = (struct lm_tensor){.name = writing->names[i],
                                              .rank = parameter->rank,
                                              .shape = writing->shapes[i],
                                              .dtype = choose(parameter, dtype, writing->shapes[i][1])};
    }
    writing->count = model->count;
    if (model->config.rope_llama3) {
        snprintf(writing->names[most - 1], sizeof writing->names[0], "rope_freqs.weight");
        writing->shapes[most - 1][0] = model->config.head_size / 2;
        writing->list[most - 1] = (struct lm_tensor){
            .name = writing->names[most - 1], .dtype = LM_F32, .rank = 1, .shape = writing->shapes[most - 1]};
        writing->count++;
    }
    return LOAM_OK;
}

/* One row (a vector's element) of the file's order as F32. */
static void take_row(const struct writing *writing, size_t index, size_t row, size_t columns, float *out)
{
    const struct lm_model *model = writing->model;
    const struct lm_parameter *parameter = &model->parameters[index];
    const struct lm_view *view = &model->views[index];
    const size_t element = (size_t)lm_dtype_bits(view->dtype) / 8;
    const char *data = view->data;
    if (!lm_gguf_turned(&model->config, parameter)) {
        const size_t place = (size_t)lm_gguf_row(&model->config, parameter, (int64_t)row);
        lm_convert(LM_F32, out, view->dtype, data + place * columns * element, columns);
        return;
    }
    for (size_t c = 0; c < columns; c++)
        lm_convert(LM_F32, &out[c], view->dtype, data + (c * (size_t)parameter->shape[1] + row) * element, 1);
}

static int put_parameter(const struct writing *writing, size_t index, loam_error *error)
{
    const struct lm_tensor *tensor = &writing->list[index];
    const size_t rows = (size_t)tensor->shape[0], columns = tensor->rank == 2 ? (size_t)tensor->shape[1] : 1;
    uint64_t bytes = 0;
    lm_dtype_bytes(tensor->dtype, columns, &bytes);
    float *row = lm_alloc(columns, sizeof *row, error);
    void *packed = row ? lm_alloc(columns, sizeof *row, error) : NULL;
    int code = packed ? LOAM_OK : LOAM_ENOMEM;
    for (size_t r = 0; r < rows && !code; r++) {
        take_row(writing, index, r, columns, row);
        lm_convert(tensor->dtype, packed, LM_F32, row, columns);
        code = lm_gguf_put(writing->writer, index, r * bytes, packed, bytes, error);
    }
    lm_free(row);
    lm_free(packed);
    return code;
}

static int put_all(struct writing *writing, loam_error *error)
{
    const struct lm_config *config = &writing->model->config;
    int code = lm_gguf_begin(writing->writer, writing->list, writing->count, error);
    for (size_t i = 0; i < writing->model->count && !code; i++)
        code = put_parameter(writing, i, error);
    if (code || !config->rope_llama3)
        return code;
    float *factors = lm_alloc((size_t)config->head_size / 2, sizeof *factors, error);
    if (!factors)
        return LOAM_ENOMEM;
    lm_gguf_rope_factors(config, factors);
    code = lm_gguf_put(writing->writer, writing->model->count, 0, factors,
                       (size_t)config->head_size / 2 * sizeof *factors, error);
    lm_free(factors);
    return code;
}

int lm_model_save_gguf(const struct lm_model *model, const char *path, enum lm_dtype dtype, lm_gguf_more *more,
                       void *user, loam_error *error)
{
    struct writing writing = {.model = model};
    if (dtype != LM_F32 && dtype != LM_BF16 && dtype != LM_F16 && dtype != LM_Q8_0 && dtype != LM_Q4_0)
        return lm_fail(error, LOAM_EUSAGE, "%s: found type %s, wanted F32, BF16, F16, Q8_0 or Q4_0", path,
                       lm_dtype_name(dtype));
    int code = lm_model_may_save(model, path, error);
    if (code)
        return code;
    code = lm_gguf_create(path, &writing.writer, error);
    if (code)
        return code;
    code = lm_gguf_put_config(writing.writer, &model->config, dtype, path, error);
    if (!code && more)
        code = more(user, writing.writer, error);
    if (!code)
        code = list_tensors(&writing, dtype, error);
    if (!code)
        code = put_all(&writing, error);
    lm_free(writing.list);
    lm_free(writing.names);
    lm_free(writing.shapes);
    if (!code)
        return lm_gguf_finish(writing.writer, error);
    lm_gguf_abandon(writing.writer);
    return code;
}
