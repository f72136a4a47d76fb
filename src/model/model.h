/* The face of model/: one decoder-only transformer. Configuration, weights, forward, backward, key-value cache.
 *
 *     struct lm_model *model;
 *     if (lm_model_open("model", device, &(struct lm_model_options){0}, &model, error)) return error->code;
 *     struct lm_cache *cache;
 *     lm_cache_create(model, 1024, LM_BF16, &cache, error);
 *     float *logits;                                       // [vocabulary], owned by the cache
 *     lm_model_extend(model, cache, ids, count, &logits, error);
 *     lm_cache_free(cache);
 *     lm_model_close(model);
 *
 * The families (GPT-2, Llama, Mistral, Qwen2, Qwen3) differ only in lm_config and in the names of their tensors. The forward pass is
 * written once, and so is the backward pass, against compute/'s table.
 * A model may be read by several caches of one thread; training changes it: one thread.
 */
#ifndef LOAM_MODEL_H
#define LOAM_MODEL_H

#include "compute/compute.h"

enum lm_family { LM_GPT2, LM_LLAMA, LM_MISTRAL, LM_QWEN2, LM_QWEN3 };

struct lm_config {
    enum lm_family family;
    int64_t vocabulary, width, layers, heads, kv_heads, head_size, feed_forward, context;   /* V C L H KV D F, longest sequence */
    bool tied;                     /* lm_head is the embedding table */
    bool learned_positions;        /* GPT-2; else rotary */
    bool layer_norm;               /* LayerNorm with bias; else RMSNorm */
    bool gelu, gelu_tanh;          /* two-matrix MLP with gelu (tanh form); else SwiGLU */
    bool qkv_bias, out_bias, mlp_bias;
    bool qk_norm;                  /* RMSNorm over each head of q and k, before rotation */
    bool transposed_weights;       /* GPT-2's Conv1D: [in, out] */
    double norm_eps, rope_theta;
    int64_t window;                /* sliding window, 0 none; applies to layers >= window_first_layer */
    int64_t window_first_layer;
    bool rope_llama3;              /* the llama3 scaling, or rope_linear; else plain */
    double rope_factor, rope_low, rope_high;
    int64_t rope_original_context;
    double initializer_range;
    int32_t bos, eos, pad;         /* -1: none */
};
/* Reads config.json in the 4.x and the 5.x form (rope_parameters). An unknown architecture or a value that changes the arithmetic and is
 * not supported: LOAM_EUNSUPPORTED naming the field. */
int lm_config_read(const char *path, struct lm_config *config, loam_error *error);
int lm_config_write(const struct lm_config *config, enum lm_dtype dtype, const char *path, loam_error *error);
/* "gpt2", "llama-3-8b", "llama-3.2-1b", "qwen2.5-0.5b", … ; NULL-terminated names of all. */
int lm_config_like(const char *name, struct lm_config *config, loam_error *error);
const char *const *lm_config_names(void);
/* 6·N·tokens + attention, as multiply-adds counted twice: floating-point operations of forward and backward over [batch, length]. */
double lm_config_flops(const struct lm_config *config, int64_t batch, int64_t length);

/* The one table of parameters: names as in the family's files, in the order in which they lie in memory: embeddings, layers from first to
 * last (q k v adjacent, gate up adjacent), final norm, head. Drives loading, saving, optimizer, plan, tests. */
struct lm_parameter {
    char name[96];
    int layer;                     /* -1 outside the layers */
    int rank;
    int64_t shape[2], count;
    bool decay;                    /* matrices: weight decay; norms, biases and embeddings: none */
    size_t offset;                 /* elements from the first parameter, without gaps */
};
int lm_parameters(const struct lm_config *config, struct lm_parameter **list, size_t *count, loam_error *error);   /* lm_free */

struct lm_model;
struct lm_model_options {
    bool load;                     /* copy all weights into one block of memory in `dtype` (training); else used from the mapped file */
    enum lm_dtype dtype;           /* with load: F32 or BF16 */
    void *block;                   /* with load: memory for the weights (lm_model_weight_bytes), NULL: allocated */
    bool random;                   /* weights are drawn from `seed` instead of read: lm_model_create */
};
size_t lm_model_weight_bytes(const struct lm_config *config, enum lm_dtype dtype);
/* From a directory with config.json and safetensors. Missing, surplus or misshapen tensors are named. Buffers of old files (attn.bias,
 * rotary inv_freq, masked_bias) and a redundant tied lm_head are passed over; a "transformer." prefix or its absence is fine for GPT-2. */
int lm_model_open(const char *directory, struct lm_device *device, const struct lm_model_options *options, struct lm_model **model,
                  loam_error *error);
/* Random weights: normal with initializer_range (residual projections of GPT-2 scaled by 1/sqrt(2L)), norms 1, biases 0. */
int lm_model_create(const struct lm_config *config, uint64_t seed, struct lm_device *device, const struct lm_model_options *options,
                    struct lm_model **model, loam_error *error);
/* config.json, generation_config.json where there is none, model.safetensors or shards of `shard_limit` bytes (0: 5 GB). */
int lm_model_save(const struct lm_model *model, const char *directory, enum lm_dtype dtype, uint64_t shard_limit, loam_error *error);
void lm_model_close(struct lm_model *model);
const struct lm_config *lm_model_config(const struct lm_model *model);
struct lm_device *lm_model_device(const struct lm_model *model);
/* The block of all parameters in the order of lm_parameters (loaded models only). */
void *lm_model_weights(struct lm_model *model, enum lm_dtype *dtype);
/* Adds rows to embedding (and head), each the mean of the old rows: for --add-tokens. Loaded models without a given block only. */
int lm_model_grow_vocabulary(struct lm_model *model, int64_t vocabulary, loam_error *error);

/* --- Running: a cache of keys and values --- */
struct lm_cache;
int lm_cache_create(struct lm_model *model, int64_t capacity, enum lm_dtype dtype, struct lm_cache **cache, loam_error *error);
void lm_cache_free(struct lm_cache *cache);
int64_t lm_cache_length(const struct lm_cache *cache);
void lm_cache_cut(struct lm_cache *cache, int64_t length);      /* forget all positions from `length` on */
/* Appends `count` ids and gives the logits [V] that follow the last (owned by the cache, valid until the next call). Past the capacity
 * or the context, or an id outside the vocabulary: LOAM_EUSAGE, nothing changed. Prompts go through in chunks. Allocates nothing. */
int lm_model_extend(struct lm_model *model, struct lm_cache *cache, const int32_t *ids, int64_t count, float **logits, loam_error *error);
/* Logits at every position [count, V] of one sequence without a cache. */
int lm_model_logits(struct lm_model *model, const int32_t *ids, int64_t count, float *logits, loam_error *error);

/* --- Training: forward and backward over a batch --- */
enum lm_recompute_kind { LM_RECOMPUTE_NONE, LM_RECOMPUTE_INNER, LM_RECOMPUTE_LAYER };
struct lm_pass_options {
    int64_t batch, length;             /* B, T */
    enum lm_recompute_kind recompute;
    int64_t recompute_every;           /* LAYER: keep every k-th boundary (1: every layer) */
    int64_t loss_rows;                 /* rows of logits that exist at once in the chunked loss; 0: chosen */
    bool backward;                     /* false: evaluation only */
};
/* Working memory of a pass, laid out without memory behind it: lm_pass_layout adds every place to `layout`; after lm_layout_bind the pass
 * can run. */
struct lm_pass;
int lm_pass_create(struct lm_model *model, const struct lm_pass_options *options, struct lm_layout *layout, struct lm_pass **pass,
                   loam_error *error);
void lm_pass_free(struct lm_pass *pass);
/* What one batch is: all arrays [B,T]; positions and segment_start may be NULL (0..T-1; one sample a row). */
struct lm_pass_input {
    const int32_t *ids, *targets, *positions, *segment_start;
};
/* Forward; with options.backward also backward: gradients (fp32, the order of lm_parameters, the caller's) are added to, scaled so that they
 * belong to `scale` times the sum of the losses of all targets (1 / trained tokens of the whole step). `loss_sum` gets the unscaled sum,
 * `row_losses` [B,T] each position's where not NULL. Allocates nothing from its second run on. */
int lm_pass_run(struct lm_pass *pass, const struct lm_pass_input *input, float scale, float *gradients, double *loss_sum,
                float *row_losses, loam_error *error);

#endif
