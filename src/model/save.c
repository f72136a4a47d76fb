/* A model to a directory that loam and transformers open. */
#include "network.h"

#include <stdio.h>

enum { PIECE = 1 << 18 };    /* elements converted at a time */
static const uint64_t SHARD = UINT64_C(5000000000);

struct saving {
    const struct lm_model *model;
    enum lm_dtype dtype;
    void *buffer, *fetched;    /* PIECE elements: converted, and as they came from a source */
};

static int put_tensor(void *user, size_t list_index, struct lm_tensors_writer *writer, size_t index, loam_error *error)
{
    const struct saving *saving = user;
    const struct lm_view *view = &saving->model->views[list_index];
    const size_t count = (size_t)saving->model->parameters[list_index].count;
    const size_t from = (size_t)lm_dtype_bits(view->dtype) / 8, to = (size_t)lm_dtype_bits(saving->dtype) / 8;
    if (view->dtype == saving->dtype && !saving->model->source)
        return lm_tensors_put(writer, index, 0, view->data, count * to, error);
    for (size_t done = 0; done < count;) {
        const size_t now = count - done < PIECE ? count - done : PIECE;
        const void *values = saving->fetched;
        int code = LOAM_OK;
        if (saving->model->source)
            code = saving->model->source(saving->model->source_user, list_index, done, now, saving->fetched, error);
        else
            values = (const char *)view->data + done * from;
        if (code)
            return code;
        lm_convert(saving->dtype, saving->buffer, view->dtype, values, now);
        code = lm_tensors_put(writer, index, done * to, saving->buffer, now * to, error);
        if (code)
            return code;
        done += now;
    }
    return LOAM_OK;
}

static int save_weights(const struct lm_model *model, const char *directory, enum lm_dtype dtype, uint64_t shard_limit,
                        loam_error *error)
{
    struct saving saving = {.model = model, .dtype = dtype};
    struct lm_tensor *list = lm_alloc(model->count, sizeof *list, error);
    saving.buffer = lm_alloc(PIECE, sizeof(float), error);
    saving.fetched = model->source ? lm_alloc(PIECE, sizeof(float), error) : NULL;
    int code = list && saving.buffer && (!model->source || saving.fetched) ? LOAM_OK : LOAM_ENOMEM;
    for (size_t i = 0; !code && i < model->count; i++) {
        const struct lm_parameter *parameter = &model->parameters[i];
        list[i] = (struct lm_tensor){.name = parameter->name, .dtype = dtype, .rank = parameter->rank,
                                     .shape = parameter->shape, .count = (uint64_t)parameter->count};
        lm_dtype_bytes(dtype, list[i].count, &list[i].bytes);
    }
    if (!code)
        code = lm_tensors_save_directory(directory, list, model->count, shard_limit ? shard_limit : SHARD, put_tensor,
                                         &saving, error);
    lm_free(saving.fetched);
    lm_free(saving.buffer);
    lm_free(list);
    return code;
}

/* What transformers would have made of config.json: how generation starts and ends. */
static int save_generation(const struct lm_config *config, const char *path, loam_error *error)
{
    const struct {
        const char *key;
        int32_t id;
    } ids[] = {{"bos_token_id", config->bos}, {"eos_token_id", config->eos}, {"pad_token_id", config->pad}};
    struct lm_bytes bytes = {0};
    struct lm_json_writer writer = lm_json_writer(&bytes, 2);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "_from_model_config");
    lm_json_bool(&writer, true);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (ids[i].id >= 0) {
            lm_json_key(&writer, ids[i].key);
            lm_json_int(&writer, ids[i].id);
        }
    lm_json_end_object(&writer);
    int code = lm_json_writer_finish(&writer, error);
    if (!code)
        code = lm_bytes_append(&bytes, "\n", 1, error);
    if (!code)
        code = lm_file_replace(path, bytes.data, bytes.length, error);
    lm_bytes_free(&bytes);
    return code;
}

int lm_model_may_save(const struct lm_model *model, const char *path, loam_error *error)
{
    if (!model->complete)
        return lm_fail(error, LOAM_EUSAGE, "%s: the model's weights are not loaded yet", path);
    if (model->packed)
        return lm_fail(error, LOAM_EUSAGE, "%s: the model was opened to be run as its GGUF file has it, not to be saved", path);
    return LOAM_OK;
}

int lm_model_save(const struct lm_model *model, const char *directory, enum lm_dtype dtype, uint64_t shard_limit,
                  loam_error *error)
{
    int code = lm_model_may_save(model, directory, error);
    if (code)
        return code;
    if (dtype != LM_F32 && dtype != LM_BF16 && dtype != LM_F16)
        return lm_fail(error, LOAM_EUSAGE, "%s: found type %s, wanted F32, BF16 or F16", directory, lm_dtype_name(dtype));
    char *generation = lm_path_join(directory, "generation_config.json", error);
    char *config = lm_path_join(directory, "config.json", error);
    code = generation && config ? LOAM_OK : LOAM_ENOMEM;
    if (!code)
        code = lm_make_directories(directory, error);
    if (!code)
        code = save_weights(model, directory, dtype, shard_limit, error);
    if (!code && !lm_file_exists(generation))
        code = save_generation(&model->config, generation, error);
    if (!code)
        code = lm_config_write(&model->config, dtype, config, error);
    lm_free(generation);
    lm_free(config);
    return code;
}
