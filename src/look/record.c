#include "record.h"

#include <string.h>

static const size_t RECORD_BYTES = (size_t)1 << 30;

static void keep_attention(void *user, int64_t layer, const struct lm_attention *work)
{
    struct lm_record *record = user;
    const int64_t at = layer - record->first_layer;
    if (!record->attention || at < 0 || at >= record->shown_layers || record->error.code)
        return;
    float *weights = lm_alloc((size_t)(work->heads * work->t_q * work->t_k), sizeof *weights, &record->error);
    if (!weights)
        return;
    lm_device_ops(record->device)->attention_weights(record->device, work, weights);
    for (int64_t head = 0; head < work->heads; head++)
        for (int64_t t = 0; t < work->t_q; t++)
            memcpy(record->attention + ((at * record->heads + head) * record->count + work->q_start + t) * record->count,
                   weights + (head * work->t_q + t) * work->t_k, (size_t)work->t_k * sizeof *weights);
    lm_free(weights);
}

/* Rows come in chunks; each kind of array counts its own way through the sequence by the layer's input. */
struct watching {
    struct lm_record *record;
    int64_t done;    /* rows before this chunk's first */
};

static void keep(void *user, enum lm_sight sight, int64_t layer, const float *data, int64_t rows, int64_t width)
{
    struct watching *watching = user;
    struct lm_record *record = watching->record;
    const size_t bytes = (size_t)(rows * width) * sizeof *data;
    if (sight == LM_SIGHT_INPUT && record->residual)
        memcpy(record->residual + (layer * record->count + watching->done) * width, data, bytes);
    if (sight == LM_SIGHT_INNER && record->neurons)
        memcpy(record->neurons + (layer * record->count + watching->done) * width, data, bytes);
    if (sight != LM_SIGHT_OUTPUT || layer + 1 != record->layers)
        return;
    if (record->residual)
        memcpy(record->residual + (record->layers * record->count + watching->done) * width, data, bytes);
    watching->done += rows;
}

static void keep_attends(void *user, int64_t layer, const struct lm_attention *work)
{
    keep_attention(((struct watching *)user)->record, layer, work);
}

static int take(float **where, bool wanted, size_t a, size_t b, size_t c, const char *what, size_t *left, loam_error *error)
{
    size_t numbers, bytes;
    if (!wanted)
        return LOAM_OK;
    if (!lm_mul(a, b, &numbers) || !lm_mul(numbers, c, &numbers) || !lm_mul(numbers, sizeof **where, &bytes) || bytes > *left)
        return lm_fail(error, LOAM_EUSAGE, "%s for %zu tokens would take more than 1 GiB; look at fewer tokens, or choose "
                       "layers with --layer", what, b);
    *left -= bytes;
    *where = lm_alloc(numbers, sizeof **where, error);
    return *where ? LOAM_OK : LOAM_ENOMEM;
}

static int open_record(const struct lm_config *c, int64_t count, const struct lm_record_options *options,
                       struct lm_record *record, loam_error *error)
{
    const size_t t = (size_t)count;
    size_t left = RECORD_BYTES;
    record->first_layer = options->first_layer;
    record->shown_layers = options->layers ? options->layers : c->layers - options->first_layer;
    if (record->first_layer < 0 || record->shown_layers < 1 || record->first_layer > c->layers - record->shown_layers)
        return lm_fail(error, LOAM_EUSAGE, "layer %lld: the model has layers 0 to %lld", (long long)options->first_layer,
                       (long long)c->layers - 1);
    int code = take(&record->attention, options->attention, (size_t)(record->shown_layers * c->heads), t, t, "attention", &left,
                    error);
    if (!code)
        code = take(&record->residual, options->residual, (size_t)(c->layers + 1), t, (size_t)c->width, "the residual stream",
                    &left, error);
    if (!code)
        code = take(&record->neurons, options->neurons, (size_t)c->layers, t, (size_t)c->feed_forward, "neurons", &left, error);
    if (!code)
        code = take(&record->logits, true, 1, t, (size_t)c->vocabulary, "logits", &left, error);
    return code;
}

int lm_record_run(struct lm_model *model, const int32_t *ids, int64_t count, const struct lm_record_options *options,
                  struct lm_record *record, loam_error *error)
{
    const struct lm_config *c = lm_model_config(model);
    *record = (struct lm_record){.count = count, .layers = c->layers, .heads = c->heads, .width = c->width,
                                 .feed_forward = c->feed_forward, .vocabulary = c->vocabulary,
                                 .device = lm_model_device(model)};
    if (count < 1)
        return lm_fail(error, LOAM_EUSAGE, "there is no token to look at; give a sentence that is not empty, or ids");
    if (count > c->context)
        return lm_fail(error, LOAM_EUSAGE, "%lld tokens: the model's context is %lld; shorten the text", (long long)count,
                       (long long)c->context);
    int code = open_record(c, count, options, record, error);
    struct watching watching = {.record = record};
    const struct lm_watcher watcher = {.user = &watching, .sees = keep, .attends = keep_attends};
    if (!code) {
        lm_model_watch(model, &watcher);
        code = lm_model_logits(model, ids, count, record->logits, error);
        lm_model_watch(model, NULL);
    }
    if (!code && record->error.code) {
        code = record->error.code;
        lm_fail(error, code, "%s", record->error.message);
    }
    if (code)
        lm_record_free(record);
    return code;
}

void lm_record_free(struct lm_record *record)
{
    lm_free(record->attention);
    lm_free(record->residual);
    lm_free(record->neurons);
    lm_free(record->logits);
    record->attention = record->residual = record->neurons = record->logits = NULL;
}

/* --- Attention together --- */

static void add_mean(const struct lm_record *record, int64_t layer, double factor, float *mean)
{
    const int64_t square = record->count * record->count;
    for (int64_t head = 0; head < record->heads; head++) {
        const float *one = record->attention + (layer * record->heads + head) * square;
        for (int64_t i = 0; i < square; i++)
            mean[i] += (float)(factor / (double)record->heads * one[i]);
    }
}

static float *square_of(const struct lm_record *record, loam_error *error)
{
    return lm_alloc((size_t)(record->count * record->count), sizeof(float), error);
}

int lm_record_mean(const struct lm_record *record, int64_t layer, float **mean, loam_error *error)
{
    float *made = square_of(record, error);
    if (!made)
        return LOAM_ENOMEM;
    for (int64_t i = 0; i < record->shown_layers; i++)
        if (layer < 0 || layer == record->first_layer + i)
            add_mean(record, i, layer < 0 ? 1 / (double)record->shown_layers : 1, made);
    *mean = made;
    return LOAM_OK;
}

/* out = (a + 1) / 2 · in, rows of lower triangles. */
static void roll(int64_t count, const float *a, const float *in, float *out)
{
    memset(out, 0, (size_t)(count * count) * sizeof *out);
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k <= i; k++) {
            const float weight = (a[i * count + k] + (i == k ? 1.0F : 0.0F)) / 2;
            for (int64_t j = 0; j <= k; j++)
                out[i * count + j] += weight * in[k * count + j];
        }
}

int lm_record_rollout(const struct lm_record *record, float **rollout, loam_error *error)
{
    const size_t bytes = (size_t)(record->count * record->count) * sizeof(float);
    float *sum = square_of(record, error), *mean = square_of(record, error), *next = square_of(record, error);
    const bool there = sum && mean && next;
    for (int64_t i = 0; there && i < record->count; i++)
        sum[i * record->count + i] = 1;
    for (int64_t layer = 0; there && layer < record->shown_layers; layer++) {
        memset(mean, 0, bytes);
        add_mean(record, layer, 1, mean);
        roll(record->count, mean, sum, next);
        memcpy(sum, next, bytes);
    }
    lm_free(mean);
    lm_free(next);
    if (!there) {
        lm_free(sum);
        return LOAM_ENOMEM;
    }
    *rollout = sum;
    return LOAM_OK;
}
