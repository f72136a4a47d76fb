/* A model's life: opening, drawing, loading, closing. */
#include "gguf_files.h"

#include <math.h>
#include <string.h>

static int index_parts(struct lm_model *model, loam_error *error)
{
    const size_t rows = (size_t)model->config.layers + 1;
    model->of_part = lm_alloc(rows * LM_PART_COUNT, sizeof *model->of_part, error);
    if (!model->of_part)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < rows * LM_PART_COUNT; i++)
        model->of_part[i] = -1;
    for (size_t i = 0; i < model->count; i++) {
        const struct lm_parameter *parameter = &model->parameters[i];
        model->of_part[(parameter->layer + 1) * LM_PART_COUNT + (int)parameter->part] = (int)i;
    }
    return LOAM_OK;
}

static int make(const struct lm_config *config, struct lm_device *device, const struct lm_model_options *options,
                struct lm_model **result, loam_error *error)
{
    const int64_t grown = options->load ? options->vocabulary : 0;
    if (options->load && options->dtype != LM_F32 && options->dtype != LM_BF16)
        return lm_fail(error, LOAM_EUSAGE, "weights in memory: found %s, wanted F32 or BF16", lm_dtype_name(options->dtype));
    if (grown < 0 || (grown > 0 && grown < config->vocabulary) || grown > INT32_MAX)
        return lm_fail(error, LOAM_EUSAGE, "vocabulary: found %lld, wanted %lld, which the model has, or more",
                       (long long)grown, (long long)config->vocabulary);
    struct lm_model *model = lm_alloc(1, sizeof *model, error);
    if (!model)
        return LOAM_ENOMEM;
    model->config = *config;
    model->file_vocabulary = config->vocabulary;
    if (grown)
        model->config.vocabulary = grown;
    model->device = device;
    model->loaded = options->load;
    model->plain = options->plain;
    model->narrow = options->narrow;
    model->dtype = options->dtype;
    int code = lm_parameters(&model->config, &model->parameters, &model->count, error);
    if (!code)
        code = index_parts(model, error);
    if (!code && !(model->views = lm_alloc(model->count, sizeof *model->views, error)))
        code = LOAM_ENOMEM;
    if (!code && !(model->copies = lm_alloc(model->count, sizeof *model->copies, error)))
        code = LOAM_ENOMEM;
    if (!code && !(model->sources = lm_alloc(model->count, sizeof *model->sources, error)))
        code = LOAM_ENOMEM;
    for (size_t i = 0; !code && i < model->count; i++)
        model->views[i].dtype = model->dtype;
    if (!code)
        code = lm_model_bind(model, error);
    if (code) {
        lm_model_close(model);
        return code;
    }
    *result = model;
    return LOAM_OK;
}

static int open_files(struct lm_model *model, const char *directory, const struct lm_model_options *options,
                      loam_error *error)
{
    int code = model->gguf ? LOAM_OK : lm_tensors_open(directory, &model->tensors, error);
    if (!code)
        code = model->gguf ? lm_gguf_weights_check(model, error) : lm_weights_check(model, directory, error);
    if (!code && !model->loaded)
        code = model->gguf ? lm_gguf_weights_map(model, error) : lm_weights_map(model, error);
    if (!code && !model->loaded)
        code = lm_model_bind(model, error);
    if (code || options->later)
        return code;
    if (model->loaded)
        return lm_model_load(model, options->block, error);
    lm_model_refresh_biases(model);
    model->complete = true;
    return LOAM_OK;
}

/* Of a directory, or of a GGUF file, which is left open. */
static int read_config(const char *directory, struct lm_config *config, struct lm_gguf **gguf, loam_error *error)
{
    if (lm_gguf_is(directory)) {
        int code = lm_gguf_open(directory, gguf, error);
        return code ? code : lm_gguf_config(*gguf, config, error);
    }
    char *path = lm_path_join(directory, "config.json", error);
    if (!path)
        return LOAM_ENOMEM;
    int code = lm_config_read(path, config, error);
    lm_free(path);
    return code;
}

int lm_model_open(const char *directory, struct lm_device *device, const struct lm_model_options *options,
                  struct lm_model **result, loam_error *error)
{
    struct lm_config config;
    struct lm_model *model = NULL;
    if (options->later && !options->load)
        return lm_fail(error, LOAM_EUSAGE, "a model opened for later must be one to load");
    struct lm_gguf *gguf = NULL;
    int code = read_config(directory, &config, &gguf, error);
    if (!code)
        code = make(&config, device, options, &model, error);
    if (code) {
        lm_gguf_close(gguf);
        return code;
    }
    model->gguf = gguf;
    code = open_files(model, directory, options, error);
    if (code) {
        lm_model_close(model);
        return code;
    }
    *result = model;
    return LOAM_OK;
}

int lm_model_create(const struct lm_config *config, uint64_t seed, struct lm_device *device,
                    const struct lm_model_options *options, struct lm_model **result, loam_error *error)
{
    struct lm_model_options how = *options;
    struct lm_model *model;
    int code = lm_config_check(config, "configuration", error);
    how.load = true;
    if (!code)
        code = make(config, device, &how, &model, error);
    if (code)
        return code;
    model->random = true;
    model->seed = seed;
    if (!how.later)
        code = lm_model_load(model, how.block, error);
    if (code) {
        lm_model_close(model);
        return code;
    }
    *result = model;
    return LOAM_OK;
}

/* Views of the parameters from `first` on into a block that begins with the first of them. */
static void view(struct lm_model *model, size_t first, size_t count, void *block)
{
    const size_t element = (size_t)lm_dtype_bits(model->dtype) / 8, from = model->parameters[first].offset;
    for (size_t i = first; i < first + count; i++)
        model->views[i] = (struct lm_view){.data = (char *)block + (model->parameters[i].offset - from) * element,
                                           .dtype = model->dtype};
}

static int fill(struct lm_model *model, size_t first, size_t count, loam_error *error)
{
    if (!model->random)
        return lm_weights_read(model, first, count, error);
    for (size_t i = first; i < first + count; i++)
        lm_model_draw(model, i);
    return LOAM_OK;
}

static int refuse_loaded(const struct lm_model *model, loam_error *error)
{
    if (!model->loaded || model->complete)
        return lm_fail(error, LOAM_EUSAGE, "the weights of this model are there already");
    return LOAM_OK;
}

int lm_model_load(struct lm_model *model, void *block, loam_error *error)
{
    const size_t bytes = lm_model_weight_bytes(&model->config, model->dtype);
    int code = refuse_loaded(model, error);
    if (code)
        return code;
    if (!block) {
        block = lm_block_map(bytes, error);
        if (!block)
            return LOAM_ENOMEM;
        model->block_bytes = bytes;
    }
    model->block = block;
    view(model, 0, model->count, block);
    code = fill(model, 0, model->count, error);
    if (!code)
        code = lm_model_bind(model, error);
    if (code)
        return code;
    lm_model_refresh_biases(model);
    return lm_model_loaded(model, error);
}

int lm_model_load_unit(struct lm_model *model, int64_t unit, void *block, loam_error *error)
{
    int code = refuse_loaded(model, error);
    if (code)
        return code;
    const struct lm_unit range = lm_model_unit(model, unit);
    view(model, range.first, range.count, block);
    return fill(model, range.first, range.count, error);
}

int lm_model_loaded(struct lm_model *model, loam_error *error)
{
    int code = refuse_loaded(model, error);
    if (code)
        return code;
    lm_tensors_close(model->tensors);
    lm_gguf_close(model->gguf);
    model->tensors = NULL;
    model->gguf = NULL;
    model->complete = true;
    return LOAM_OK;
}

/* --- Units --- */

int64_t lm_model_units(const struct lm_model *model)
{
    return model->config.layers + 2;
}

/* The table has the embeddings first, then the layers in order, then what comes behind them. */
struct lm_unit lm_model_unit(const struct lm_model *model, int64_t unit)
{
    const int64_t layer = unit == 0 || unit > model->config.layers ? -1 : unit - 1;
    size_t first = 0, behind;
    while (first < model->count && (model->parameters[first].layer != layer ||
                                    (unit > model->config.layers && model->parameters[first].part < LM_PART_FINAL_NORM)))
        first++;
    for (behind = first; behind < model->count && model->parameters[behind].layer == layer; behind++)
        ;
    const struct lm_parameter *last = &model->parameters[behind - 1];
    return (struct lm_unit){first, behind - first, model->parameters[first].offset,
                            last->offset + (size_t)last->count - model->parameters[first].offset};
}

void lm_model_place(struct lm_model *model, int64_t unit, void *block)
{
    const struct lm_unit range = lm_model_unit(model, unit);
    view(model, range.first, range.count, block);
    lm_model_bind_unit(model, unit);
}

void lm_model_set_source(struct lm_model *model, lm_model_source *source, void *user)
{
    model->source = source;
    model->source_user = user;
}

/* --- Random weights --- */

enum { DRAW_PIECE = 65536 };    /* elements of one stream of random numbers: whoever draws them, they are the same */

static void draw_piece(const struct lm_model *model, size_t index, int64_t from, int64_t to, double deviation)
{
    struct lm_random random = lm_random_seed(model->seed, ((uint64_t)index << 32) + (uint64_t)(from / DRAW_PIECE));
    void *values = (void *)model->views[index].data;
    for (int64_t i = from; i < to; i++) {
        const float value = (float)(deviation * lm_random_normal(&random));
        if (model->dtype == LM_F32)
            ((float *)values)[i] = value;
        else
            ((uint16_t *)values)[i] = lm_f32_to_bf16(value);
    }
}

static void set_all(const struct lm_model *model, size_t index, float value)
{
    void *values = (void *)model->views[index].data;
    for (int64_t i = 0; i < model->parameters[index].count; i++)
        if (model->dtype == LM_F32)
            ((float *)values)[i] = value;
        else
            ((uint16_t *)values)[i] = lm_f32_to_bf16(value);
}

static bool is_norm(enum lm_part part)
{
    return part == LM_PART_NORM1 || part == LM_PART_NORM2 || part == LM_PART_FINAL_NORM || part == LM_PART_Q_NORM ||
           part == LM_PART_K_NORM;
}

void lm_model_draw(struct lm_model *model, size_t index)
{
    const int threads LM_UNUSED = lm_device_threads(model->device);
    const struct lm_parameter *parameter = &model->parameters[index];
    const bool residual = parameter->part == LM_PART_OUT || parameter->part == LM_PART_DOWN;
    double deviation = model->config.initializer_range;
    if (model->config.family == LM_GPT2 && residual)
        deviation /= sqrt(2.0 * (double)model->config.layers);
    if (parameter->rank == 1) {
        set_all(model, index, is_norm(parameter->part) ? 1.0F : 0.0F);
        return;
    }
    const int64_t pieces = (parameter->count + DRAW_PIECE - 1) / DRAW_PIECE;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t piece = 0; piece < pieces; piece++) {
        const int64_t from = piece * DRAW_PIECE, left = parameter->count - from;
        draw_piece(model, index, from, from + (left < DRAW_PIECE ? left : DRAW_PIECE), deviation);
    }
}

/* --- What others may see --- */

void lm_model_close(struct lm_model *model)
{
    if (!model)
        return;
    for (size_t i = 0; model->copies && i < model->count; i++)
        lm_free(model->copies[i]);
    lm_free(model->copies);
    if (model->tensors)
        lm_tensors_close(model->tensors);
    lm_gguf_close(model->gguf);
    if (model->block_bytes)
        lm_block_unmap(model->block, model->block_bytes);
    lm_free(model->parameters);
    lm_free(model->views);
    lm_free(model->sources);
    lm_free(model->of_part);
    lm_free(model->biases);
    lm_free(model->inverse_frequency);
    lm_free(model->layers);
    lm_free(model);
}

const struct lm_config *lm_model_config(const struct lm_model *model)
{
    return &model->config;
}

void lm_model_set_eos(struct lm_model *model, int32_t id)
{
    model->config.eos = id;
}

struct lm_device *lm_model_device(const struct lm_model *model)
{
    return model->device;
}

const struct lm_parameter *lm_model_parameters(const struct lm_model *model, size_t *count)
{
    *count = model->count;
    return model->parameters;
}

void *lm_model_weight(struct lm_model *model, size_t parameter)
{
    return (void *)model->views[parameter].data;
}

void *lm_model_weights(struct lm_model *model, enum lm_dtype *dtype)
{
    *dtype = model->dtype;
    return model->block;
}

enum lm_dtype lm_model_matrix_dtype(const struct lm_model *model)
{
    return model->views[lm_model_find(model, 0, LM_PART_DOWN)].dtype;
}

size_t lm_model_bytes(const struct lm_model *model)
{
    size_t sum = 0;
    for (size_t i = 0; i < model->count; i++) {
        uint64_t bytes = 0;
        lm_dtype_bytes(model->views[i].dtype, (uint64_t)model->parameters[i].count, &bytes);
        sum += (size_t)bytes;
    }
    return sum;
}

const void *lm_model_largest(const struct lm_model *model, size_t *most)
{
    const void *largest = NULL;
    *most = 0;
    for (size_t i = 0; i < model->count; i++) {
        uint64_t bytes = 0;
        lm_dtype_bytes(model->views[i].dtype, (uint64_t)model->parameters[i].count, &bytes);
        if (bytes <= *most)
            continue;
        *most = (size_t)bytes;
        largest = model->views[i].data;
    }
    return largest;
}
