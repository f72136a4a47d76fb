/* Running many sequences in one pass, their keys and values in pages of one pool. */
#include "network.h"

#include <string.h>

struct lm_paged {
    struct lm_model *model;
    struct lm_paged_options options;
    struct lm_layout layout;
    void *block;
    unsigned char *kept;        /* [L][pages * LM_PAGE_ROWS][2·KV·D] */
    size_t layer_bytes;
    struct lm_run run;
    struct lm_activations acts;
    float *angles, *last, *logits;    /* last: [logits][C], the rows whose logits are wanted */
    int32_t *positions, *ids;   /* [rows] */
};

static int plan(struct lm_paged *pool, loam_error *error)
{
    const struct lm_config *c = &pool->model->config;
    const size_t rows = (size_t)pool->options.rows * sizeof(float), wanted = (size_t)pool->options.logits * sizeof(float);
    struct lm_layout *layout = &pool->layout;
    size_t kept;
    if (!lm_mul((size_t)(2 * c->kv_heads * c->head_size) * ((size_t)lm_dtype_bits(pool->options.dtype) / 8) * LM_PAGE_ROWS,
                (size_t)pool->options.pages, &pool->layer_bytes) ||
        !lm_mul(pool->layer_bytes, (size_t)c->layers, &kept) || pool->options.pages > INT32_MAX / LM_PAGE_ROWS)
        return lm_fail(error, LOAM_EUSAGE, "a cache of %lld pages is larger than memory can address",
                       (long long)pool->options.pages);
    lm_layout_add(layout, (void *)&pool->kept, "keys and values", kept);
    lm_layout_add(layout, (void *)&pool->acts.x, "x", rows * (size_t)c->width);
    lm_layout_add(layout, (void *)&pool->acts.qkv, "qkv", rows * (size_t)lm_qkv_width(c));
    lm_layout_add(layout, (void *)&pool->acts.attention, "attention", rows * (size_t)(c->heads * c->head_size));
    lm_layout_add(layout, (void *)&pool->acts.up, "up", rows * (size_t)lm_up_width(c));
    lm_layout_add(layout, (void *)&pool->run.normed, "normed", rows * (size_t)c->width);
    lm_layout_add(layout, (void *)&pool->run.wide, "wide", rows * (size_t)c->feed_forward);
    lm_layout_add(layout, (void *)&pool->run.statistics, "statistics", rows * (size_t)lm_statistics(c));
    lm_layout_add(layout, (void *)&pool->angles, "angles", rows * (size_t)c->head_size);
    lm_layout_add(layout, (void *)&pool->positions, "positions", rows);
    lm_layout_add(layout, (void *)&pool->ids, "ids", rows);
    lm_layout_add(layout, (void *)&pool->last, "last rows", wanted * (size_t)c->width);
    lm_layout_add(layout, (void *)&pool->logits, "logits", wanted * (size_t)c->vocabulary);
    return lm_layout_check(layout, error);
}

int lm_paged_create(struct lm_model *model, const struct lm_paged_options *options, struct lm_paged **result,
                   loam_error *error)
{
    if (options->pages < 1 || options->rows < 1 || options->logits < 1)
        return lm_fail(error, LOAM_EUSAGE, "paged cache: found %lld pages, %lld rows and %lld rows of logits, wanted 1 or more",
                       (long long)options->pages, (long long)options->rows, (long long)options->logits);
    if (options->dtype != LM_F32 && options->dtype != LM_BF16)
        return lm_fail(error, LOAM_EUSAGE, "paged cache: found type %s, wanted F32 or BF16", lm_dtype_name(options->dtype));
    if (!model->complete)
        return lm_fail(error, LOAM_EUSAGE, "the model's weights are not loaded yet");
    struct lm_paged *pool = lm_alloc(1, sizeof *pool, error);
    if (!pool)
        return LOAM_ENOMEM;
    *pool = (struct lm_paged){.model = model, .options = *options};
    int code = plan(pool, error);
    if (!code && !(pool->block = lm_block_map(pool->layout.size, error)))
        code = LOAM_ENOMEM;
    if (code) {
        lm_paged_free(pool);
        return code;
    }
    lm_layout_bind(&pool->layout, pool->block);
    pool->acts.middle = pool->acts.x;
    pool->run.model = model;
    pool->run.batch = 1;
    pool->run.angles = pool->angles;
    pool->run.rotated = pool->acts.qkv;
    pool->run.cached_dtype = options->dtype;
    *result = pool;
    return LOAM_OK;
}

void lm_paged_free(struct lm_paged *pool)
{
    if (!pool)
        return;
    if (pool->block)
        lm_block_unmap(pool->block, pool->layout.size);
    lm_layout_free(&pool->layout);
    lm_free(pool);
}

size_t lm_paged_bytes(const struct lm_paged *pool)
{
    return pool->layer_bytes * (size_t)pool->model->config.layers;
}

void lm_paged_copy(struct lm_paged *pool, int32_t to, int32_t from, int64_t rows)
{
    const size_t page = pool->layer_bytes / (size_t)pool->options.pages;
    for (int64_t i = 0; i < pool->model->config.layers; i++) {
        unsigned char *layer = pool->kept + (size_t)i * pool->layer_bytes;
        memcpy(layer + (size_t)to * page, layer + (size_t)from * page, page / LM_PAGE_ROWS * (size_t)rows);
    }
}

static int check_span(const struct lm_paged *pool, const struct lm_span *span, loam_error *error)
{
    const struct lm_config *c = &pool->model->config;
    if (span->count < 1 || span->start < 0)
        return lm_fail(error, LOAM_EUSAGE, "found %lld tokens at position %lld, wanted 1 or more at 0 or later",
                       (long long)span->count, (long long)span->start);
    if (span->count > c->context - span->start)
        return lm_fail(error, LOAM_EUSAGE, "%lld tokens on top of %lld: the model's context is %lld; shorten the text",
                       (long long)span->count, (long long)span->start, (long long)c->context);
    for (int64_t i = 0; i < span->count; i++)
        if (span->ids[i] < 0 || span->ids[i] >= c->vocabulary)
            return lm_fail(error, LOAM_EUSAGE, "token %lld: found id %d, wanted 0 to %lld; the tokenizer is not this model's",
                           (long long)(span->start + i), span->ids[i], (long long)c->vocabulary - 1);
    return LOAM_OK;
}

static int check(const struct lm_paged *pool, const struct lm_span *spans, int64_t count, loam_error *error)
{
    int64_t rows = 0, wanted = 0;
    for (int64_t i = 0; i < count; i++) {
        const int code = check_span(pool, &spans[i], error);
        if (code)
            return code;
        rows += spans[i].count;
        wanted += spans[i].wanted;
    }
    if (count < 1 || rows > pool->options.rows || wanted > pool->options.logits)
        return lm_fail(error, LOAM_EUSAGE, "a pass of %lld rows and %lld rows of logits, wanted at most %lld and %lld",
                       (long long)rows, (long long)wanted, (long long)pool->options.rows,
                       (long long)pool->options.logits);
    return LOAM_OK;
}

/* Ids and positions of all rows; returns how many. */
static int64_t gather(struct lm_paged *pool, const struct lm_span *spans, int64_t count)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t r = 0; r < spans[i].count; r++, rows++) {
            pool->ids[rows] = spans[i].ids[r];
            pool->positions[rows] = (int32_t)(spans[i].start + r);
        }
    return rows;
}

static void run_layers(struct lm_paged *pool, const struct lm_span *spans, int64_t count, int64_t rows)
{
    struct lm_model *model = pool->model;
    const struct lm_config *c = &model->config;
    const struct lm_ops *ops = lm_device_ops(model->device);
    pool->run.length = rows;
    pool->run.spans = spans;
    pool->run.span_count = count;
    ops->embed(model->device, rows, c->width, pool->ids, model->embedding, c->learned_positions ? pool->positions : NULL,
               model->positions, pool->acts.x);
    if (!c->learned_positions)
        ops->rope_angles(model->device, rows, c->head_size / 2, pool->positions, model->inverse_frequency, 1, pool->angles);
    for (int64_t i = 0; i < c->layers; i++) {
        pool->run.cached = pool->kept + (size_t)i * pool->layer_bytes;
        lm_layer_forward(&pool->run, &model->layers[i], &pool->acts, pool->acts.x);
    }
}

static void project(struct lm_paged *pool, struct lm_span *spans, int64_t count)
{
    struct lm_model *model = pool->model;
    const int64_t width = model->config.width;
    int64_t wanted = 0;
    for (int64_t i = 0, row = 0; i < count; i++) {
        row += spans[i].count;
        spans[i].logits = spans[i].wanted ? pool->logits + wanted * model->config.vocabulary : NULL;
        if (spans[i].wanted)
            memcpy(pool->last + wanted++ * width, pool->acts.x + (row - 1) * width, (size_t)width * sizeof(float));
    }
    if (wanted == 0)
        return;
    lm_norm_forward(&pool->run, &model->final_norm, wanted, pool->last, pool->run.normed);
    lm_linear_forward(model->device, &model->head, wanted, pool->run.normed, pool->logits, false);
}

int lm_paged_run(struct lm_paged *pool, struct lm_span *spans, int64_t count, loam_error *error)
{
    const int code = check(pool, spans, count, error);
    if (code)
        return code;
    run_layers(pool, spans, count, gather(pool, spans, count));
    project(pool, spans, count);
    return lm_device_check(pool->model->device, error);
}
