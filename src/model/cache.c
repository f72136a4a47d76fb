/* Running a model over a growing sequence: keys and values of what went through are kept. */
#include "network.h"

enum { CHUNK = 256 };    /* rows of a prompt that go through at once */

struct lm_cache {
    struct lm_model *model;
    struct lm_layout layout;
    void *block;
    int64_t capacity, length, chunk;
    enum lm_dtype dtype;
    unsigned char *kept;        /* [L][capacity][2·KV·D] */
    size_t layer_bytes;
    struct lm_run run;
    struct lm_activations acts;
    float *angles, *logits;
    int32_t *positions;         /* [chunk] */
};

static int plan(struct lm_cache *cache, loam_error *error)
{
    const struct lm_config *c = &cache->model->config;
    const size_t rows = (size_t)cache->chunk * sizeof(float);
    struct lm_layout *layout = &cache->layout;
    size_t kept;
    if (!lm_mul((size_t)(2 * c->kv_heads * c->head_size) * ((size_t)lm_dtype_bits(cache->dtype) / 8),
                (size_t)cache->capacity, &cache->layer_bytes) ||
        !lm_mul(cache->layer_bytes, (size_t)c->layers, &kept))
        return lm_fail(error, LOAM_EUSAGE, "a cache of %lld positions is larger than memory can address",
                       (long long)cache->capacity);
    lm_layout_add(layout, (void *)&cache->kept, "keys and values", kept);
    lm_layout_add(layout, (void *)&cache->acts.x, "x", rows * (size_t)c->width);
    lm_layout_add(layout, (void *)&cache->acts.qkv, "qkv", rows * (size_t)lm_qkv_width(c));
    lm_layout_add(layout, (void *)&cache->acts.attention, "attention", rows * (size_t)(c->heads * c->head_size));
    lm_layout_add(layout, (void *)&cache->acts.up, "up", rows * (size_t)lm_up_width(c));
    lm_layout_add(layout, (void *)&cache->run.normed, "normed", rows * (size_t)c->width);
    lm_layout_add(layout, (void *)&cache->run.wide, "wide", rows * (size_t)c->feed_forward);
    lm_layout_add(layout, (void *)&cache->run.statistics, "statistics", rows * (size_t)lm_statistics(c));
    lm_layout_add(layout, (void *)&cache->angles, "angles", rows * (size_t)c->head_size);
    lm_layout_add(layout, (void *)&cache->positions, "positions", rows);
    lm_layout_add(layout, (void *)&cache->logits, "logits", (size_t)c->vocabulary * sizeof(float));
    return lm_layout_check(layout, error);
}

int lm_cache_create(struct lm_model *model, int64_t capacity, enum lm_dtype dtype, struct lm_cache **result,
                    loam_error *error)
{
    if (capacity < 1)
        return lm_fail(error, LOAM_EUSAGE, "cache: found a capacity of %lld positions, wanted 1 or more",
                       (long long)capacity);
    if (dtype != LM_F32 && dtype != LM_BF16)
        return lm_fail(error, LOAM_EUSAGE, "cache: found type %s, wanted F32 or BF16", lm_dtype_name(dtype));
    if (!model->complete)
        return lm_fail(error, LOAM_EUSAGE, "the model's weights are not loaded yet");
    struct lm_cache *cache = lm_alloc(1, sizeof *cache, error);
    if (!cache)
        return LOAM_ENOMEM;
    *cache = (struct lm_cache){.model = model, .capacity = capacity, .dtype = dtype,
                               .chunk = capacity < CHUNK ? capacity : CHUNK};
    int code = plan(cache, error);
    if (!code && !(cache->block = lm_block_map(cache->layout.size, error)))
        code = LOAM_ENOMEM;
    if (code) {
        lm_cache_free(cache);
        return code;
    }
    lm_layout_bind(&cache->layout, cache->block);
    cache->acts.middle = cache->acts.x;
    cache->run.model = model;
    cache->run.batch = 1;
    cache->run.angles = cache->angles;
    cache->run.rotated = cache->acts.qkv;
    cache->run.cached_dtype = dtype;
    *result = cache;
    return LOAM_OK;
}

void lm_cache_free(struct lm_cache *cache)
{
    if (!cache)
        return;
    if (cache->block)
        lm_block_unmap(cache->block, cache->layout.size);
    lm_layout_free(&cache->layout);
    lm_free(cache);
}

int64_t lm_cache_length(const struct lm_cache *cache)
{
    return cache->length;
}

int64_t lm_cache_capacity(const struct lm_cache *cache)
{
    return cache->capacity;
}

void lm_cache_cut(struct lm_cache *cache, int64_t length)
{
    if (length < cache->length)
        cache->length = length < 0 ? 0 : length;
}

static int check(const struct lm_cache *cache, const int32_t *ids, int64_t count, loam_error *error)
{
    const struct lm_config *c = &cache->model->config;
    if (count < 1)
        return lm_fail(error, LOAM_EUSAGE, "found %lld tokens to run, wanted 1 or more", (long long)count);
    if (count > cache->capacity - cache->length)
        return lm_fail(error, LOAM_EUSAGE, "%lld tokens on top of %lld: the cache holds %lld positions",
                       (long long)count, (long long)cache->length, (long long)cache->capacity);
    if (count > c->context - cache->length)
        return lm_fail(error, LOAM_EUSAGE, "%lld tokens on top of %lld: the model's context is %lld; shorten the text",
                       (long long)count, (long long)cache->length, (long long)c->context);
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= c->vocabulary)
            return lm_fail(error, LOAM_EUSAGE, "token %lld: found id %d, wanted 0 to %lld; the tokenizer is not this "
                           "model's", (long long)i, ids[i], (long long)c->vocabulary - 1);
    return LOAM_OK;
}

/* Up to `chunk` tokens through all layers; their last layer's output is left in acts.x. */
static void run_chunk(struct lm_cache *cache, const int32_t *ids, int64_t count)
{
    struct lm_model *model = cache->model;
    const struct lm_config *c = &model->config;
    const struct lm_ops *ops = lm_device_ops(model->device);
    for (int64_t i = 0; i < count; i++)
        cache->positions[i] = (int32_t)(cache->length + i);
    cache->run.length = count;
    cache->run.cached_length = cache->length;
    ops->embed(model->device, count, c->width, ids, model->embedding, c->learned_positions ? cache->positions : NULL,
               model->positions, cache->acts.x);
    if (!c->learned_positions)
        ops->rope_angles(model->device, count, c->head_size / 2, cache->positions, model->inverse_frequency, 1,
                         cache->angles);
    for (int64_t i = 0; i < c->layers; i++) {
        cache->run.cached = cache->kept + (size_t)i * cache->layer_bytes;
        lm_layer_forward(&cache->run, &model->layers[i], &cache->acts, cache->acts.x);
    }
    cache->length += count;
}

/* Logits of `rows` rows from row `from` of the last chunk. */
static void project(struct lm_cache *cache, int64_t from, int64_t rows, float *logits)
{
    struct lm_model *model = cache->model;
    lm_norm_forward(&cache->run, &model->final_norm, rows, cache->acts.x + from * model->config.width, cache->run.normed);
    lm_linear_forward(model->device, &model->head, rows, cache->run.normed, logits, false);
}

/* `all`, where not NULL, gets every position's logits; else cache->logits the last one's. */
static int extend(struct lm_cache *cache, const int32_t *ids, int64_t count, float *all, loam_error *error)
{
    const int64_t before = cache->length;
    int code = check(cache, ids, count, error);
    if (code)
        return code;
    for (int64_t done = 0; done < count;) {
        const int64_t now = count - done < cache->chunk ? count - done : cache->chunk;
        run_chunk(cache, ids + done, now);
        if (all)
            project(cache, 0, now, all + done * cache->model->config.vocabulary);
        else if (done + now == count)
            project(cache, now - 1, 1, cache->logits);
        done += now;
    }
    code = lm_device_check(cache->model->device, error);
    if (code)
        cache->length = before;
    return code;
}

int lm_model_extend(struct lm_model *model, struct lm_cache *cache, const int32_t *ids, int64_t count, float **logits,
                    loam_error *error)
{
    if (cache->model != model)
        return lm_fail(error, LOAM_EUSAGE, "the cache was made for another model");
    const int code = extend(cache, ids, count, NULL, error);
    if (!code && logits)
        *logits = cache->logits;
    return code;
}

int lm_model_logits(struct lm_model *model, const int32_t *ids, int64_t count, float *logits, loam_error *error)
{
    struct lm_cache *cache;
    if (count < 1)
        return lm_fail(error, LOAM_EUSAGE, "found %lld tokens to run, wanted 1 or more", (long long)count);
    int code = lm_cache_create(model, count, LM_F32, &cache, error);
    if (code)
        return code;
    code = extend(cache, ids, count, logits, error);
    lm_cache_free(cache);
    return code;
}
