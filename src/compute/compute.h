/* The face of compute/: the operations a transformer needs, as one table that a device fills.
 *
 *     struct lm_device *device;
 *     struct lm_device_options options = {.threads = 2};
 *     if (lm_device_open(&options, &device, error)) return error->code;
 *     const struct lm_ops *ops = lm_device_ops(device);
 *     ops->matmul(device, &(struct lm_matmul){.m = rows, .n = out, .k = in, .a = x, .b = w, .transpose_b = true, .c = y});
 *     if (lm_device_check(device, error)) return error->code;      // the first failure since the last check
 *
 * Letters: B sequences, T positions, R = B*T rows, C width, H heads, KV key-value heads, D head size, F width of the
 * feed-forward part, V vocabulary. Matrices are row-major; `stride` counts elements from row to row. Activations are
 * fp32 on the CPU; weights are fp32 or bf16. "set" overwrites, "add" adds to what is there.
 *
 * Operations cannot fail on valid arguments; what a device meets while running (a library's error, a driver's) sticks
 * and shows at lm_device_check. None allocates after it has once run with the same shapes (lm_device_give_scratch gives the
 * memory in advance). A device belongs to one thread; it uses `threads` threads of its own. The same device, arguments and
 * thread count give the same bits.
 *
 * compute/reference/ is the plain scalar version of every operation: it explains the fast one and judges it.
 */
#ifndef LOAM_COMPUTE_H
#define LOAM_COMPUTE_H

#include "tensor/tensor.h"

struct lm_device;
struct lm_ops;

enum lm_isa { LM_ISA_AUTO, LM_ISA_SCALAR, LM_ISA_AVX2, LM_ISA_AVX512, LM_ISA_AVX512VNNI, LM_ISA_AVX512BF16, LM_ISA_COUNT };

struct lm_device_options {
    int threads;             /* 0: lm_processors() */
    enum lm_isa isa;         /* AUTO: the best here. A test can force each; one the machine lacks is LOAM_EUNSUPPORTED */
    bool reference;          /* the scalar table */
};
int lm_device_open(const struct lm_device_options *options, struct lm_device **device, loam_error *error);
void lm_device_close(struct lm_device *device);
const struct lm_ops *lm_device_ops(const struct lm_device *device);
int lm_device_threads(const struct lm_device *device);
const char *lm_device_name(const struct lm_device *device);    /* "cpu avx512 2 threads" */
int lm_device_check(struct lm_device *device, loam_error *error);
/* Scratch memory for all operations, given once by whoever plans memory (so that it is counted); at least the largest of the
 * *_scratch answers for what will be run. The device does not free it. Without it, or where an operation needs more, the
 * device grows a block of its own. */
void lm_device_give_scratch(struct lm_device *device, void *block, size_t bytes);
/* What this machine can do with the device's threads and instruction set, measured now: fp32 multiply-adds on registers only, and sums
 * over a block far larger than the caches. The best of the rounds that fit into `seconds`, one at least. Takes and gives back 256 MiB. */
struct lm_limits {
    double gflops_f32;       /* 1e9 operations a second, two a multiply-add */
    double read_gbps;        /* 1e9 bytes a second */
};
/* The multiply-adds alone, without a block to read. */
int lm_device_peak(struct lm_device *device, double seconds, double *gflops_f32, loam_error *error);
int lm_device_limits(struct lm_device *device, double seconds, struct lm_limits *limits, loam_error *error);
/* 1e9 bytes a second at which this very block is read, aligned to 64 bytes: where it lies, and when it is asked, can matter. */
int lm_device_read_speed(struct lm_device *device, void *block, size_t bytes, double seconds, double *gbps, loam_error *error);
const char *lm_device_isa(const struct lm_device *device);    /* "avx512" */

struct lm_matrix {
    void *data;
    enum lm_dtype dtype;     /* F32 or BF16; weights of matmul and embed also GGUF's block types, whole blocks a row */
    int64_t stride;          /* elements from row to row */
};

/* c[m,n] = op(a)·op(b) (+ bias[n]) (+ c where `add`). op transposes as stored where asked: a is [m,k], or [k,m] with
 * transpose_a; b is [k,n], or [n,k] with transpose_b (a Linear layer's weight). Any stride may be
 * wider than its rows (q, k and v side by side), and what lies between is left alone. c is F32, or BF16 (rounded once, at the end).
 * m = 1 to 16 with a bf16 or fp32 transposed b is the decoding path and runs at the speed of memory.
 *
 * With `narrow`, an instruction set that has products of bf16 may round a and b to bf16, to nearest, and take what is subnormal for 0;
 * sums are fp32 all the same. Others do as without it.
 *
 * b may be of a block type where it is transposed and a and c are F32. Then a is first rounded to 8 bits, 32 elements at a time: with
 * `most` the largest size among them, q = a * (127/most) to the nearest whole number, and q * (most/127) is what counts (0 where `most`
 * is at most 1e-30). A row with something in it that is not finite gives NaN. */
struct lm_matmul {
    int64_t m, n, k;
    struct lm_matrix a, b, c;
    bool transpose_a, transpose_b, add, narrow;
    const float *bias;       /* NULL: none */
};

/* Causal attention with grouped heads. Query t of sequence b sits at absolute key index q_start + t; it sees the keys j with
 * first <= j <= q_start + t, where first = max(segment_start[b*t_q + t] (0 if NULL), q_start + t - window + 1 if window).
 * Row pointers: q + (b*t_q + t)*q_stride + h*D; k and v + b*kv_batch_stride + j*kv_stride + (h / (H/KV))*D.
 * With `pages` (forward only, batch 1) key j lies in row pages[j / page_rows]*page_rows + j % page_rows instead of row j.
 * Scores are scaled by `scale` (1/sqrt(D) as a rule). No T×T matrix is stored: backward uses lse, the log of each row's
 * sum of exponentials, [B,H,Tq]. What is not finite in v may come through in rows that do not see it, too (0 times NaN). */
struct lm_attention {
    int64_t batch, t_q, t_k, heads, kv_heads, head_size;
    int64_t q_start, window;            /* window 0: unlimited */
    float scale;
    const float *q; int64_t q_stride;
    const void *k, *v; int64_t kv_stride, kv_batch_stride;
    enum lm_dtype kv_dtype;             /* F32, or BF16 in a cache (forward only) */
    const int32_t *pages;               /* NULL: keys lie one behind the other */
    int64_t page_rows;
    const int32_t *segment_start;       /* [B,Tq] or NULL: packed samples do not see each other */
    float *out; int64_t out_stride;     /* [B*Tq, H*D], set */
    float *lse;                         /* [B,H,Tq], set forward (may be NULL when no backward follows), read backward */
    /* backward only; t_k = t_q, q_start = 0, kv_batch_stride = t_k*kv_stride */
    const float *dout;                  /* [B*Tq, H*D] with out_stride */
    float *dq, *dk, *dv;                /* set; strides as q, k, v */
};

/* One AdamW step over `count` elements (Loshchilov and Hutter, 2019, arXiv:1711.05101, as torch.optim.AdamW computes it):
 * p *= 1 - lr*decay; m = b1*m + (1-b1)*g; v = b2*v + (1-b2)*g*g; p -= lr/(1-b1^t) * m / (sqrt(v/(1-b2^t)) + eps),
 * with g = grad_scale * gradient.
 *
 * m and v may be kept narrow. BF16: their upper halves. 8BIT: a byte each and an fp32 scale for every LM_STATE_BLOCK elements: m as
 * sign, 4 bits of exponent and 3 of mantissa, the root of v as 4 and 4 bits, both times the block's scale, which puts the block's
 * greatest at the greatest code; codes below 8 (16) count linearly, and a v that is not 0 never becomes 0. What is stored narrow (these,
 * and a bf16 weight without a master) is rounded stochastically: up with the probability of the part that is cut off, so that
 * many small steps add up. The random bits are a hash of `key` and the element's place, first + i: the same bits whoever computes
 * them, in whatever pieces. */
enum lm_state_kind { LM_STATE_F32, LM_STATE_BF16, LM_STATE_8BIT };
enum { LM_STATE_BLOCK = 256 };
struct lm_adamw {
    int64_t count, step;                /* step t counts from 1 */
    double lr, beta1, beta2, eps, decay, grad_scale;
    float *parameter;                   /* fp32: the weight itself, or the master of a bf16 weight; NULL: `rounded` is all there is */
    uint16_t *rounded;                  /* bf16 weight: set from the master to nearest, or NULL */
    const void *gradient;
    bool gradient_bf16;
    enum lm_state_kind state;
    void *m, *v;                        /* float, uint16_t or uint8_t */
    float *m_scale, *v_scale;           /* 8BIT: [count / LM_STATE_BLOCK, rounded up] */
    uint64_t key;                       /* of the random bits: a hash of seed, step and parameter */
    int64_t first;                      /* place of the first element in its parameter; 8BIT: a multiple of LM_STATE_BLOCK */
};

/* A narrow state as fp32 and back, to nearest: m, or with `second` v. Whole blocks but for the last. */
void lm_state_unpack(enum lm_state_kind kind, bool second, int64_t count, const void *from, const float *scales, float *values);
void lm_state_pack(enum lm_state_kind kind, bool second, int64_t count, const float *values, void *to, float *scales);

struct lm_ops {
    void (*matmul)(struct lm_device *, const struct lm_matmul *);
    size_t (*matmul_scratch)(struct lm_device *, const struct lm_matmul *);     /* pointers in it are not looked at */

    /* out[r] = table[ids[r]] (+ positions_table[positions[r]] where not NULL); tables [V,C], [P,C] F32 or BF16;
     * `table` may be of a block type */
    void (*embed)(struct lm_device *, int64_t rows, int64_t width, const int32_t *ids, struct lm_matrix table,
                  const int32_t *positions, struct lm_matrix positions_table, float *out);
    /* dtable[ids[r]] += dout[r]; dpositions likewise; each where its data is not NULL; F32, or BF16 rounded at each addition. The
     * same bits for any number of threads. */
    void (*embed_backward)(struct lm_device *, int64_t rows, int64_t width, const int32_t *ids, const float *dout,
                           struct lm_matrix dtable, const int32_t *positions, struct lm_matrix dpositions);

    /* y = (x - mean) * rstd * weight + bias. mean and rstd [rows] are set (may be NULL when no backward follows). weight, bias:
     * .data NULL means 1 and 0. */
    void (*layer_norm)(struct lm_device *, int64_t rows, int64_t width, float eps, const float *x, struct lm_matrix weight,
                       struct lm_matrix bias, float *y, float *mean, float *rstd);
    /* dx: add where `add`, else set; then dx == dy is allowed. dweight, dbias: add; NULL: not wanted. */
    void (*layer_norm_backward)(struct lm_device *, int64_t rows, int64_t width, const float *x, struct lm_matrix weight,
                                const float *mean, const float *rstd, const float *dy, float *dx, bool add,
                                float *dweight, float *dbias);
    /* y = x * rstd * weight with rstd = 1/sqrt(mean(x^2) + eps), for `groups` of `width` elements in each row of `stride`
     * elements (whole rows: groups 1; the norms on q and k: one group a head). x == y is allowed (in place). rstd [rows,groups]
     * is set (may be NULL when no backward follows). Backward: dx, dweight as above. */
    void (*rms_norm)(struct lm_device *, int64_t rows, int64_t groups, int64_t width, float eps, const float *x,
                     int64_t x_stride, struct lm_matrix weight, float *y, int64_t y_stride, float *rstd);
    void (*rms_norm_backward)(struct lm_device *, int64_t rows, int64_t groups, int64_t width, const float *x,
                              int64_t x_stride, struct lm_matrix weight, const float *rstd, const float *dy,
                              int64_t dy_stride, float *dx, int64_t dx_stride, bool add, float *dweight);

    /* angles [rows, D/2, 2]: cos and sin of positions[r] * inverse_frequency[i], each times `scale`, computed in fp32 in the order
     * `transformers` does. */
    void (*rope_angles)(struct lm_device *, int64_t rows, int64_t half, const int32_t *positions,
                        const float *inverse_frequency, float scale, float *angles);
    /* Rotates pairs (i, i + D/2) of every head in place; `inverse` turns back (the backward pass). */
    void (*rope)(struct lm_device *, int64_t rows, int64_t heads, int64_t head_size, float *x, int64_t stride,
                 const float *angles, bool inverse);

    void (*attention)(struct lm_device *, const struct lm_attention *);
    void (*attention_backward)(struct lm_device *, const struct lm_attention *);
    /* What attention multiplies v by, for looking: weights [B,H,Tq,Tk], 0 for keys that are not seen. v and out are not read. */
    void (*attention_weights)(struct lm_device *, const struct lm_attention *, float *weights);
    size_t (*attention_scratch)(struct lm_device *, const struct lm_attention *, bool backward);

    /* y = act(x). gate_up is [rows, 2F]: silu(gate)*up with gate the first F columns. Backward of gelu:
     * dx = act'(x)*dy; dx == dy and dx == x are allowed. Backward of
     * swiglu: sets d_gate_up; may run in place (d_gate_up == gate_up). */
    void (*gelu)(struct lm_device *, int64_t count, bool tanh_form, const float *x, float *y);
    void (*gelu_backward)(struct lm_device *, int64_t count, bool tanh_form, const float *x, const float *dy, float *dx);
    void (*swiglu)(struct lm_device *, int64_t rows, int64_t width, const float *gate_up, float *y);
    void (*swiglu_backward)(struct lm_device *, int64_t rows, int64_t width, const float *gate_up, const float *dy,
                            float *d_gate_up);

    void (*add)(struct lm_device *, int64_t count, const float *x, float *y);                      /* y += x */
    void (*scale)(struct lm_device *, int64_t count, float factor, float *y);                      /* y *= factor */
    void (*fill)(struct lm_device *, int64_t count, float value, float *y);
    /* dbias[c] += sum over rows of dy[r,c] */
    void (*bias_backward)(struct lm_device *, int64_t rows, int64_t width, const float *dy, int64_t stride, float *dbias);
    /* The types of lm_convert; F32 to F32 is a copy. */
    void (*convert)(struct lm_device *, int64_t count, enum lm_dtype from, const void *x, enum lm_dtype to, void *y);

    /* For each row with target >= 0: loss[r] = log(sum exp(logits)) - logits[target], and logits[r] becomes
     * scale * (softmax(logits) - onehot(target)); for target < 0: loss[r] = 0 and the row becomes 0. With `gradient` false the logits are
     * left as they are. V columns, `stride` apart. */
    void (*cross_entropy)(struct lm_device *, int64_t rows, int64_t vocabulary, float *logits, int64_t stride,
                          const int32_t *targets, float scale, bool gradient, float *loss);

    /* Sum of squares in double, the same bits for any number of threads. NaN and infinity come through. */
    double (*sum_squares)(struct lm_device *, int64_t count, enum lm_dtype type, const void *x);    /* F32 or BF16 */
    void (*adamw)(struct lm_device *, const struct lm_adamw *);
};

#endif
