/* What the files of model/ share: a model's weights as the passes use them, and one layer's forward and backward.
 *
 * Shapes: R rows (B*T in training, a chunk of the prompt in a cache), C width, H heads, KV key-value heads, D head size,
 * F feed-forward width, V vocabulary, Q = (H + 2·KV)·D columns of q, k and v side by side.
 */
#ifndef LOAM_MODEL_NETWORK_H
#define LOAM_MODEL_NETWORK_H

#include "model.h"

const char *lm_config_architecture(const struct lm_config *config);    /* "LlamaForCausalLM" */

/* A matrix of weights y = x·Wᵀ + b, as up to three pieces: q, k and v (or gate and up) lie apart in mapped files and are
 * one piece in a loaded block. Their gradients are always adjacent. */
struct lm_linear {
    int64_t in, out;               /* of all pieces together */
    bool transposed;               /* stored [in, out] */
    bool narrow;                   /* its products may be of bf16 */
    int pieces;
    struct {
        struct lm_matrix weight;
        int64_t out;
    } piece[3];
    bool has_bias;
    const float *bias;             /* [out], fp32 */
    int index, bias_index;         /* the first piece's in the table of parameters, and its bias's */
};

struct lm_norm {
    struct lm_matrix weight, bias; /* bias.data NULL in RMSNorm */
    int index, bias_index;
};

struct lm_layer {
    struct lm_norm norm1, norm2, q_norm, k_norm;
    struct lm_linear qkv, out, up, down;    /* up: gate and up side by side, or c_fc */
    int64_t window;                         /* 0: none */
};

/* Where a parameter's values are. */
struct lm_view {
    const void *data;              /* NULL until loaded */
    enum lm_dtype dtype;
    bool turned;                   /* lies there the other way round than the parameter's shape says: [out, in] */
};

struct lm_model {
    struct lm_config config;
    struct lm_device *device;
    struct lm_parameter *parameters;
    struct lm_view *views;         /* one a parameter */
    size_t count;
    int *of_part;                  /* [layers + 1][LM_PART_COUNT]: index of a parameter, or -1; row 0: outside */

    bool loaded;                   /* one block in `dtype` */
    bool plain;                    /* mapped: nothing but F32 and BF16, all in loam's order */
    bool packed;                   /* mapped, and not so */
    bool complete;                 /* the weights are there (not `later`) */
    lm_model_source *source;       /* of weights that are not in memory, when saving */
    void *source_user;
    bool narrow;
    enum lm_dtype dtype;
    void *block;
    size_t block_bytes;            /* of a block that is the model's own, else 0 */
    struct lm_tensors *tensors;    /* the files, while they are used or yet to be read */
    struct lm_gguf *gguf;          /* the file instead of `tensors` */
    const struct lm_tensor **sources;  /* the files' tensor of each parameter, while `tensors` is open */
    void **copies;                 /* mapped: a converted copy a parameter, or NULL */
    int64_t file_vocabulary;       /* rows in the files; less than config.vocabulary where it grows */
    bool random;
    uint64_t seed;

    const struct lm_watcher *watcher;  /* NULL: nobody looks */
    float *biases;                 /* fp32 copies of biases that are not fp32 in one block */
    float *inverse_frequency;      /* [D/2], rotary models */
    struct lm_matrix embedding, positions;
    int embedding_index, positions_index;
    struct lm_norm final_norm;
    struct lm_linear head;
    struct lm_layer *layers;
};

/* Index of a parameter of a layer (-1: outside), or -1 where the model has none. */
int lm_model_find(const struct lm_model *model, int64_t layer, enum lm_part part);
/* Makes layers, norms and linears out of the views; again after they changed. Allocates only the first time. */
int lm_model_bind(struct lm_model *model, loam_error *error);
/* The layer, or what lies outside of them, of one unit. */
void lm_model_bind_unit(struct lm_model *model, int64_t unit);
/* fp32 copies of the biases, anew: before a pass over weights that may have changed. */
void lm_model_refresh_biases(struct lm_model *model);
void lm_model_refresh_unit(struct lm_model *model, int64_t unit);
/* LOAM_EUSAGE where the weights are not there, or not as the table of parameters has them. */
int lm_model_may_save(const struct lm_model *model, const char *path, loam_error *error);
/* The part of lm_model_load that draws: parameter `index` into its view. */
void lm_model_draw(struct lm_model *model, size_t index);
/* Mapped models: views into the file. Loaded ones: file to view, for `count` parameters from `first` on. */
int lm_weights_check(struct lm_model *model, const char *directory, loam_error *error);
int lm_weights_map(struct lm_model *model, loam_error *error);
int lm_weights_read(struct lm_model *model, size_t first, size_t count, loam_error *error);
/* Rotary frequencies [D/2] as transformers computes them in fp32. */
void lm_rope_frequencies(const struct lm_config *config, float *frequencies);

/* One layer's activations. Where two passes' needs differ, pointers are shared or alias: see pass.c and cache.c. */
struct lm_activations {
    float *x;         /* [R,C] the layer's input */
    float *qkv;       /* [R,Q] with q and k rotated; before their norm and rotation where config.qk_norm */
    float *attention; /* [R,H·D] */
    float *lse;       /* [B,H,T], NULL without backward */
    float *middle;    /* [R,C] x plus attention's output; may be x itself where no backward follows */
    float *up;        /* [R,2F] gate and up, or [R,F] before gelu */
};
/* What a run over R rows uses besides. */
struct lm_run {
    struct lm_model *model;
    int64_t batch, length;         /* R = batch · length */
    const float *angles;           /* [R, D/2, 2] */
    const int32_t *segment_start;  /* [B,T] or NULL */
    float *normed;                 /* [R,C]: outputs of norms; in the backward pass their gradients as well */
    float *wide;                   /* [R, lm_wide(config)]: the MLP's inner output; gradients of it or of attention */
    float *rotated;                /* [R,Q] q and k as attention sees them, with config.qk_norm; in a cache qkv itself */
    float *statistics;             /* [R,2] mean and 1/deviation; [R,H+KV] with config.qk_norm: the more of them */
    /* cache path only */
    unsigned char *cached;         /* this layer's keys and values: [capacity][2·KV·D] of cached_dtype; NULL in training */
    enum lm_dtype cached_dtype;
    int64_t cached_length;         /* positions before this run's first */
    const struct lm_span *spans;   /* several sequences' rows one behind the other, their cached rows in pages; NULL: one */
    int64_t span_count;
};
int64_t lm_wide(const struct lm_config *config);            /* max(F, Q + H·D) */
int64_t lm_qkv_width(const struct lm_config *config);       /* Q */
int64_t lm_up_width(const struct lm_config *config);        /* 2F or F */
int64_t lm_statistics(const struct lm_config *config);      /* floats a row */

/* y (set, or added to what is there with `add`). Strides are the widths. */
void lm_linear_forward(struct lm_device *device, const struct lm_linear *linear, int64_t rows, const float *x, float *y,
                       bool add);
/* dW and db += ; dx set (NULL: not wanted). dx may be x's own memory: dW is taken first. */
void lm_linear_backward(struct lm_device *device, const struct lm_linear *linear, int64_t rows, const float *x,
                        const float *dy, float *dx, const struct lm_gradients *gradients);
/* Scratch bytes of forward, or of backward with gradients of this kind; the norm before it is in. */
size_t lm_linear_scratch(struct lm_device *device, const struct lm_linear *linear, int64_t rows, bool backward, bool bf16);
size_t lm_attention_scratch(struct lm_run *run, bool backward);

void lm_norm_forward(struct lm_run *run, const struct lm_norm *norm, int64_t rows, const float *x, float *y);
/* x is needed again, statistics are those of the last lm_norm_forward over it. dx: set, or added to with `add`. */
void lm_norm_backward(struct lm_run *run, const struct lm_norm *norm, int64_t rows, const float *x, const float *dy,
                      float *dx, bool add, const struct lm_gradients *gradients);
/* y [R,C] from activations.x, filling the others; y may be x where middle is x too. NULL: only the others are wanted. */
void lm_layer_forward(struct lm_run *run, const struct lm_layer *layer, const struct lm_activations *acts, float *y);
/* dx [R,C]: the gradient of the layer's output goes in, that of its input comes out. `inner`: activations.up is made anew
 * first. */
void lm_layer_backward(struct lm_run *run, const struct lm_layer *layer, const struct lm_activations *acts, float *dx,
                       bool inner, const struct lm_gradients *gradients);

#endif
