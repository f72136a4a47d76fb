/* The face of model/: one decoder-only transformer. Configuration, weights, forward, backward, key-value cache.
 *
 *     struct lm_model *model;
 *     struct lm_cache *cache;
 *     float *logits;                                       // [vocabulary], owned by the cache
 *     if (lm_model_open("model", device, &(struct lm_model_options){0}, &model, error)) return error->code;
 *     lm_cache_create(model, 1024, LM_BF16, &cache, error);
 *     lm_model_extend(model, cache, ids, count, &logits, error);
 *     lm_cache_free(cache);
 *     lm_model_close(model);
 *
 * The families (GPT-2, Llama, Mistral, Qwen2, Qwen3) differ only in lm_config and in the names of their tensors. The
 * forward pass is written once, and so is the backward pass, against compute/'s table.
 * A model and its caches and passes belong to the thread of its device; lm_config and lm_parameters functions may be
 * called from any thread.
 */
#ifndef LOAM_MODEL_H
#define LOAM_MODEL_H

#include "compute/compute.h"

enum lm_family { LM_GPT2, LM_LLAMA, LM_MISTRAL, LM_QWEN2, LM_QWEN3 };

struct lm_config {
    enum lm_family family;
    int64_t vocabulary, width, layers, heads, kv_heads, head_size, feed_forward; /* V C L H KV D F */
    int64_t context;               /* longest sequence */
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
    bool rope_llama3, rope_linear; /* how rotary frequencies are scaled; else not */
    double rope_factor, rope_low, rope_high;
    int64_t rope_original_context;
    double initializer_range;
    int32_t bos, eos, pad;         /* -1: none */
};
/* Reads config.json in the 4.x and the 5.x form (rope_parameters). What is absent has the value transformers gives it in
 * that family, but for bos, eos and pad: then there is none; the sizes must be there. An unknown architecture or a value that changes the arithmetic and is not
 * supported: LOAM_EUNSUPPORTED naming the field. Dropout is read over: loam does not drop out, in training either. */
int lm_config_read(const char *path, struct lm_config *config, loam_error *error);
/* The 4.x form, which both open. Atomic. */
int lm_config_write(const struct lm_config *config, enum lm_dtype dtype, const char *path, loam_error *error);
/* The shape of a known model: "gpt2", "llama-3-8b", "llama-3.2-1b", "qwen2.5-0.5b", … */
int lm_config_like(const char *name, struct lm_config *config, loam_error *error);
const char *const *lm_config_names(void);    /* all of them, NULL behind the last */
/* Sizes that fit each other: LOAM_EFORMAT naming the field, prefixed "<name>: ". */
int lm_config_check(const struct lm_config *config, const char *name, loam_error *error);
/* The family's name as model_type has it: "gpt2", "llama", … */
const char *lm_config_family(const struct lm_config *config);
/* Floating-point operations of forward and backward over [batch, length]: 6 for every weight of a matrix and row (a
 * multiply-add counts two; the embedding table only where it is the head), and 12·H·D for every pair of positions that
 * attention looks at in every layer. */
double lm_config_flops(const struct lm_config *config, int64_t batch, int64_t length);

/* What a parameter is in its layer or outside of the layers. */
enum lm_part {
    LM_PART_EMBEDDING, LM_PART_POSITIONS,
    LM_PART_NORM1, LM_PART_NORM1_BIAS,
    LM_PART_Q, LM_PART_K, LM_PART_V,                   /* GPT-2's c_attn is one parameter: LM_PART_Q with 3·C outputs */
    LM_PART_Q_BIAS, LM_PART_K_BIAS, LM_PART_V_BIAS,
    LM_PART_Q_NORM, LM_PART_K_NORM,
    LM_PART_OUT, LM_PART_OUT_BIAS,
    LM_PART_NORM2, LM_PART_NORM2_BIAS,
    LM_PART_GATE, LM_PART_UP,                          /* GPT-2's c_fc: LM_PART_UP */
    LM_PART_GATE_BIAS, LM_PART_UP_BIAS,
    LM_PART_DOWN, LM_PART_DOWN_BIAS,
    LM_PART_FINAL_NORM, LM_PART_FINAL_NORM_BIAS, LM_PART_HEAD,
    LM_PART_COUNT
};
/* The one table of parameters: names as in the family's files, in the order in which they lie in memory: embeddings,
 * layers from first to last (q k v adjacent, gate up adjacent), final norm, head. Drives loading, saving, optimizer,
 * plan, tests. */
struct lm_parameter {
    char name[96];
    enum lm_part part;
    int layer;                     /* -1 outside the layers */
    int rank;
    int64_t shape[2], count;
    bool decay;                    /* matrices: weight decay; norms, biases and embeddings: none */
    size_t offset;                 /* elements from the first parameter, without gaps */
};
int lm_parameters(const struct lm_config *config, struct lm_parameter **list, size_t *count, loam_error *error); /* lm_free */

struct lm_model;
struct lm_model_options {
    bool load;                     /* copy all weights into one block of memory in `dtype` (training); else F32 and BF16
                                      tensors are used where they lie in the mapped file, other types become F32 */
    enum lm_dtype dtype;           /* with load: F32 or BF16 */
    void *block;                   /* with load: memory for the weights (lm_model_weight_bytes), NULL: allocated */
    bool later;                    /* with load: only configuration and shapes now, enough for lm_pass_create;
                                      lm_model_load brings the weights. What open can find wrong, it finds now */
    bool plain;                    /* without load: weights of a GGUF file that are of block types, and those that lie there the other
                                      way round, become F32 copies, so that the model can be saved */
    bool narrow;                   /* products with weights, and of their gradients, may round what they multiply to bf16 (compute.h) */
    int64_t vocabulary;            /* with load: 0 the file's; more: embedding and head grow to this many rows, the new
                                      ones each the mean of the old, and the configuration with them; fewer: EUSAGE */
};
size_t lm_model_weight_bytes(const struct lm_config *config, enum lm_dtype dtype);   /* 0: does not fit in a size_t */
/* From a directory with config.json and safetensors. Missing, surplus or misshapen tensors are named. Buffers of old
 * files (attn.bias, masked_bias, rotary inv_freq) and a redundant tied lm_head are passed over; a "transformer." or
 * "model." prefix or its absence is fine. The device must outlive the model. */
int lm_model_open(const char *directory, struct lm_device *device, const struct lm_model_options *options,
                  struct lm_model **model, loam_error *error);
/* The configuration that a GGUF file's metadata and tensors give. lm_model_open takes such a file too: F32, BF16 and block tensors are
 * used where they lie in the mapped file; F16 becomes F32, and Llama's q and k, whose rows stand in another order there, become copies of
 * their own type. */
int lm_gguf_config(const struct lm_gguf *file, struct lm_config *config, loam_error *error);
/* One GGUF file, which llama.cpp opens: F32, F16, BF16, Q8_0 or Q4_0 (its table and head Q8_0); vectors stay F32. `more` (may be NULL)
 * adds pairs: those of the tokenizer. */
typedef int lm_gguf_more(void *user, struct lm_gguf_writer *writer, loam_error *error);
int lm_model_save_gguf(const struct lm_model *model, const char *path, enum lm_dtype dtype, lm_gguf_more *more, void *user,
                       loam_error *error);
/* Random weights in one block (options->load is taken as set): normal with initializer_range (GPT-2's residual
 * projections by 1/sqrt(2L) less), norms 1, biases 0. The same seed gives the same weights on any number of threads. */
int lm_model_create(const struct lm_config *config, uint64_t seed, struct lm_device *device,
                    const struct lm_model_options *options, struct lm_model **model, loam_error *error);
/* model.safetensors or shards of `shard_limit` bytes (0: 5 GB), generation_config.json where there is none, and
 * config.json last, so that a directory without it is not whole. Makes the directory. */
int lm_model_save(const struct lm_model *model, const char *directory, enum lm_dtype dtype, uint64_t shard_limit,
                  loam_error *error);
/* Brings the weights (read, or drawn) of a model opened or created `later` into block, NULL: allocated. Once. */
int lm_model_load(struct lm_model *model, void *block, loam_error *error);
void lm_model_close(struct lm_model *model);    /* NULL is fine */
const struct lm_config *lm_model_config(const struct lm_model *model);
struct lm_device *lm_model_device(const struct lm_model *model);
/* The id that ends a text, as the configuration that is saved with the model has it; -1: none. */
void lm_model_set_eos(struct lm_model *model, int32_t id);
/* The table of its parameters, owned by the model. */
const struct lm_parameter *lm_model_parameters(const struct lm_model *model, size_t *count);
/* The type in which most of it lies in memory (that of a layer's largest matrix), and the bytes of all weights as they lie there. */
enum lm_dtype lm_model_matrix_dtype(const struct lm_model *model);
size_t lm_model_bytes(const struct lm_model *model);
/* Where a parameter's weights are, in the model's dtype: of a loaded model, or of the block its unit was placed in last. */
void *lm_model_weight(struct lm_model *model, size_t parameter);
/* The parameter that takes most bytes, where it lies: for measuring how fast the memory of the weights can be read. */
const void *lm_model_largest(const struct lm_model *model, size_t *bytes);
/* The block of all parameters in the order of lm_parameters (loaded models only, else NULL). Whoever writes into it
 * between passes need not tell: a pass reads all weights anew. */
void *lm_model_weights(struct lm_model *model, enum lm_dtype *dtype);

/* --- Running: a cache of keys and values --- */
struct lm_cache;
/* Room for `capacity` positions; dtype of keys and values F32 or BF16. */
int lm_cache_create(struct lm_model *model, int64_t capacity, enum lm_dtype dtype, struct lm_cache **cache,
                    loam_error *error);
void lm_cache_free(struct lm_cache *cache);     /* NULL is fine */
int64_t lm_cache_length(const struct lm_cache *cache);
int64_t lm_cache_capacity(const struct lm_cache *cache);
void lm_cache_cut(struct lm_cache *cache, int64_t length);      /* forget all positions from `length` on */
/* Appends `count` ids and gives the logits [V] that follow the last (owned by the cache, valid until the next call).
 * Past the capacity or the context, or an id outside the vocabulary: LOAM_EUSAGE, nothing changed. Long prompts go
 * through in chunks. Allocates nothing. */
int lm_model_extend(struct lm_model *model, struct lm_cache *cache, const int32_t *ids, int64_t count, float **logits,
                    loam_error *error);
/* Logits at every position [count, V] of one sequence from its beginning. */
int lm_model_logits(struct lm_model *model, const int32_t *ids, int64_t count, float *logits, loam_error *error);

/* --- Running many: keys and values of any number of sequences in pages of one pool --- */
enum { LM_PAGE_ROWS = 64 };             /* positions a page */
struct lm_paged;
/* `pages` pages; passes of at most `rows` rows, of which at most `logits` rows' logits are wanted. Memory is taken up as
 * pages come to be used. */
struct lm_paged_options {
    int64_t pages, rows, logits;
    enum lm_dtype dtype;                /* of keys and values: F32 or BF16 */
};
int lm_paged_create(struct lm_model *model, const struct lm_paged_options *options, struct lm_paged **pool,
                   loam_error *error);
void lm_paged_free(struct lm_paged *pool);        /* NULL is fine */
size_t lm_paged_bytes(const struct lm_paged *pool);    /* of keys and values */
/* The first `rows` positions of page `from`, in all layers, become those of page `to`. */
void lm_paged_copy(struct lm_paged *pool, int32_t to, int32_t from, int64_t rows);
/* `count` ids of one sequence whose first stands at position `start`. Positions before it are in the pages already; page
 * i of the list holds positions from i * LM_PAGE_ROWS on, and there is one for every position up to start + count - 1. */
struct lm_span {
    const int32_t *ids;
    int64_t count, start;
    const int32_t *pages;
    bool wanted;                        /* the logits behind the last id */
    float *logits;                      /* gets their place [V], valid until the next run; NULL where not wanted */
};
/* All spans in one pass. Ids outside the vocabulary, more rows than there is room for or positions past the context:
 * LOAM_EUSAGE, nothing changed. A row's result does not depend on the rows beside it as long as passes of up to LM_FEW_ROWS
 * rows and longer ones are told apart. Allocates nothing but what the device needs. */
enum { LM_FEW_ROWS = 16 };
int lm_paged_run(struct lm_paged *pool, struct lm_span *spans, int64_t count, loam_error *error);
/* --- Units: the pieces a pass walks through --- */
/* Unit 0 is the embeddings, 1 to L the layers, L + 1 the final norm and the head. Each is a run of the table of parameters. */
struct lm_unit {
    size_t first, count;               /* parameters of the table */
    size_t offset, elements;           /* of them together */
};
int64_t lm_model_units(const struct lm_model *model);
struct lm_unit lm_model_unit(const struct lm_model *model, int64_t unit);
/* For models opened or created `later` whose units lie in places of their own, which may change while it runs (weights on disk):
 * points a unit to `block`, where its weights are or will be, in the order of the table. The unit's biases are read anew by the
 * next pass that enters it. */
void lm_model_place(struct lm_model *model, int64_t unit, void *block);
/* Reads or draws one unit's weights into `block`, which need not be its place. After all: lm_model_loaded closes the files. */
int lm_model_load_unit(struct lm_model *model, int64_t unit, void *block, loam_error *error);
int lm_model_loaded(struct lm_model *model, loam_error *error);
/* How lm_model_save gets weights that are not in memory: `count` elements of a parameter from `from` on, in the model's dtype. */
typedef int lm_model_source(void *user, size_t parameter, size_t from, size_t count, void *out, loam_error *error);
void lm_model_set_source(struct lm_model *model, lm_model_source *source, void *user);

/* --- Training: forward and backward over a batch --- */
enum lm_recompute_kind {
    LM_RECOMPUTE_NONE,      /* keep what the backward pass needs; norms' and activation's outputs are always made anew */
    LM_RECOMPUTE_INNER,     /* make the MLP's inner part anew as well */
    LM_RECOMPUTE_LAYER      /* keep only every k-th layer's input */
};
struct lm_pass_options {
    int64_t batch, length;             /* B, T */
    enum lm_recompute_kind recompute;
    int64_t recompute_every;           /* LAYER: keep every k-th boundary (0 or 1: every layer) */
    int64_t loss_rows;                 /* rows of logits that exist at once in the chunked loss; 0: chosen */
    bool backward;                     /* false: evaluation only */
    bool gradients_bf16;               /* as lm_gradients.bf16 will be */
    int64_t kept_boundaries;           /* LAYER: how many of the kept inputs are in memory at once, the hooks storing the others;
                                          0: all */
};
/* The moments of a training step, for lifetimes: what happens one after the other. */
enum lm_stage {
    LM_STAGE_BEGIN,                    /* embeddings of the batch */
    LM_STAGE_ATTENTION, LM_STAGE_MLP,  /* forward, a layer each */
    LM_STAGE_HEAD,                     /* final norm, logits and loss, and back to the norm's output */
    LM_STAGE_NORM,                     /* back through the final norm */
    LM_STAGE_AGAIN, LM_STAGE_MLP_BACK, LM_STAGE_ATTENTION_BACK,    /* a layer made anew where asked, then backward */
    LM_STAGE_EMBEDDINGS,               /* gradients of the embeddings */
    LM_STAGE_STEP                      /* the optimizer, where it is not inside the backward pass */
};
int32_t lm_moment(const struct lm_config *config, enum lm_stage stage, int64_t layer);
int32_t lm_moment_count(const struct lm_config *config);
void lm_moment_text(const struct lm_config *config, int32_t moment, char text[64]);    /* "layer 3: MLP, backward" */

/* Working memory of a pass, laid out without memory behind it: lm_pass_create adds every place to `layout`, with its
 * lifetime, and packs it; after lm_layout_bind the pass can run. Places are named "activations…", "logits" or "workspace…"; the
 * device's scratch memory is among them, and lm_pass_run gives it to the device. Passes of one model may be bound to the same
 * memory and be used in turn. */
struct lm_pass;
int lm_pass_create(struct lm_model *model, const struct lm_pass_options *options, struct lm_layout *layout,
                   struct lm_pass **pass, loam_error *error);
void lm_pass_free(struct lm_pass *pass);        /* NULL is fine */
/* What one batch is: all arrays [B,T]; positions and segment_start may be NULL (0..T-1; one sample a row). */
struct lm_pass_input {
    const int32_t *ids, *targets, *positions, *segment_start;
};
/* Where gradients are added to: a place for each parameter of the table, fp32, or with `bf16` bf16 for matrices (each addition is
 * rounded to nearest) and fp32 for vectors. Those of q, k and v of a layer, and of gate and up, must be adjacent, as must their
 * biases'. Places may be the same for different layers where the hooks take what is there before it is needed again. */
struct lm_gradients {
    bool bf16;
    void **at;                         /* [parameters] */
};
enum lm_boundary_event { LM_BOUNDARY_CLAIM, LM_BOUNDARY_KEEP, LM_BOUNDARY_FETCH, LM_BOUNDARY_DROP };
/* Called while a pass runs, each may be NULL; a failure ends the pass with it. */
struct lm_pass_hooks {
    void *user;
    /* Before a unit's weights are read; `backward`: before its gradients are added to as well. With a tied head, unit 0's weights
     * are read (and gradients added to) in unit L + 1 too. */
    int (*enter)(void *user, int64_t unit, bool backward, loam_error *error);
    /* After it. `backward`: its gradients are complete, and its weights are not read any more in this pass (with a tied head unit
     * 0's are not complete after unit L + 1). */
    int (*leave)(void *user, int64_t unit, bool backward, loam_error *error);
    /* With kept_boundaries and gradients: the input of group `group` is about to be written to `boundary`; is complete and not needed until the
     * backward pass; is needed there again now; is not needed any more. [B·T, C] floats. */
    int (*boundary)(void *user, int64_t group, enum lm_boundary_event event, float *boundary, loam_error *error);
};
int64_t lm_pass_groups(const struct lm_pass *pass);
/* Rows of logits that exist at once, where the options leave it open. */
int64_t lm_loss_rows(int64_t rows, int64_t vocabulary);
struct lm_pass_work {
    float scale;                           /* gradients belong to `scale` times the sum of the losses */
    const struct lm_gradients *gradients;  /* NULL: forward only */
    const struct lm_pass_hooks *hooks;     /* NULL: none */
};
int lm_pass_go(struct lm_pass *pass, const struct lm_pass_input *input, const struct lm_pass_work *work, double *loss_sum,
               float *row_losses, loam_error *error);
/* The common case: all weights in memory, gradients in one fp32 block in the order of lm_parameters (NULL: forward only).
 *
 * Forward; with options.backward and gradients not NULL also backward: gradients (the caller's) are added to, scaled so that they
 * belong to `scale` times the sum of the losses of all targets (1 / trained tokens of the whole step). `loss_sum` gets the unscaled
 * sum, `row_losses` [B,T] each position's where not NULL. Ids, targets or positions out of range: LOAM_EUSAGE, nothing changed.
 * Allocates nothing from its second run on. */
int lm_pass_run(struct lm_pass *pass, const struct lm_pass_input *input, float scale, float *gradients,
                double *loss_sum, float *row_losses, loam_error *error);

/* --- Watching --- */

/* What a layer shows of itself as it runs, whichever pass runs it: in this order in the forward pass, then the gradients. */
enum lm_sight {
    LM_SIGHT_INPUT,         /* [R,C] the residual stream before the layer; of layer 0: the embedded tokens */
    LM_SIGHT_NORM1,         /* [R,C] */
    LM_SIGHT_QKV,           /* [R,(H+2·KV)·D] as projected: neither normed nor rotated */
    LM_SIGHT_CONTEXT,       /* [R,H·D] the values, weighted */
    LM_SIGHT_MIDDLE,        /* [R,C] the residual stream behind attention */
    LM_SIGHT_NORM2,         /* [R,C] */
    LM_SIGHT_UP,            /* [R,2F] gate and up, or [R,F] before gelu */
    LM_SIGHT_INNER,         /* [R,F] the neurons: what is multiplied by Wdown */
    LM_SIGHT_OUTPUT,        /* [R,C] the residual stream behind the layer */
    LM_SIGHT_GRADIENT       /* [R,C] backward: the loss by the layer's input */
};
/* Called from the thread that runs the model, with arrays that are valid during the call only; may be NULL. A prompt goes through
 * the cache in chunks of rows, one after the other. `attends` follows each attention: q and k as it saw them, `work->q_start` rows
 * before the first; lm_ops.attention_weights makes weights of it. A backward pass that recomputes shows layers again. */
struct lm_watcher {
    void *user;
    void (*sees)(void *user, enum lm_sight sight, int64_t layer, const float *data, int64_t rows, int64_t width);
    void (*attends)(void *user, int64_t layer, const struct lm_attention *work);
};
/* All passes and caches of the model are watched from now on; NULL: no more. `watcher` stays the caller's. */
void lm_model_watch(struct lm_model *model, const struct lm_watcher *watcher);
/* The rotary frequencies that all layers turn by, [D/2]; zeros where positions are learned. */
void lm_model_rope(const struct lm_model *model, float *frequencies);
/* The end of the model on its own: final norm and head over rows [R,C] of a residual stream, whichever layer's it is
 * (nostalgebraist's logit lens, 2020). logits [R,V]. */
int lm_model_project(struct lm_model *model, int64_t rows, const float *residual, float *logits, loam_error *error);

#endif
