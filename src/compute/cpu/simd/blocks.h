/* Products with weights in GGUF's block types (tensor.h describes them), read as they lie.
 *
 * The activations of a row are rounded to 8 bits, 32 at a time: d = most/127 with `most` the largest size among the 32, q = a/d
 * to the nearest. Products of q with the weights' own whole numbers are exact in int32; only the sums over pieces are fp32. A
 * piece is 4*LM_W elements: one vector of bytes, whose products with q add up to one vector of int32.
 *
 * Weights go in as unsigned bytes u with a whole number `zero` that the type takes off each: sum q*(u - zero) = sum q*u +
 * comp, where comp = -zero * sum q is known beforehand. What a type adds instead (Q4_1, Q5_1, Q4_K, Q5_K: x = d u + m) goes in
 * through m * sum q.
 */
#ifndef LOAM_COMPUTE_CPU_SIMD_BLOCKS_H
#define LOAM_COMPUTE_CPU_SIMD_BLOCKS_H

#include "simd.h"

enum { LM_PIECE = 4 * LM_W, LM_SUB = 32, LM_SUPER = 256 };

/* One rounded row. Arrays go on to whole pieces, with zeros behind the last block. */
struct lm_rounded {
    int8_t *q;          /* [k] */
    int32_t *comp;      /* [k/4]: -zero times the sum of each four of q */
    float *d;           /* [k/4]: each block's d, eight times */
    float *sums;        /* [k/4]: d times the sum of the block's q in the first of eight places, 0 in the others */
    float *each, *totals;   /* [k/32]: d, and d times the sum of q, once a block */
};
#define lm_simd_round_rows LM_SIMD(lm_simd_round_rows)
#define lm_simd_round_many LM_SIMD(lm_simd_round_many)
#define lm_simd_round_bytes LM_SIMD(lm_simd_round_bytes)
#define lm_simd_round_floats LM_SIMD(lm_simd_round_floats)
#define lm_simd_block_vector LM_SIMD(lm_simd_block_vector)
#define lm_simd_block_matrix LM_SIMD(lm_simd_block_matrix)
#define lm_simd_block_scratch LM_SIMD(lm_simd_block_scratch)
#define lm_rounded_bytes LM_SIMD(lm_rounded_bytes)
#define lm_rounded_at LM_SIMD(lm_rounded_at)

/* Bytes of a row's arrays, and the row's in a block of such. */
size_t lm_rounded_bytes(int64_t k);
struct lm_rounded lm_rounded_at(void *block, int64_t k, int64_t row);

/* `rows` rows of fp32, into lm_rounded arrays; `zero` as the type of the weights has it. What is not finite makes its block's d
 * NaN. */
void lm_simd_round_rows(struct lm_device *device, int64_t rows, int64_t k, const float *a, int64_t stride, int zero,
                        void *block);
/* The same for products of many rows: one `comp` for each `group` (16 or 32) of q, one d and one sum for each 32. */
struct lm_rounded_rows {
    int8_t *q;          /* [rows][padded k] */
    int32_t *comp;      /* [rows][padded k / group] */
    float *d, *sums;    /* [rows][padded k / 32] */
    int64_t padded;     /* k to a multiple of 64 */
    int group;
};
size_t lm_simd_round_bytes(int64_t rows, int64_t k);
struct lm_rounded_rows lm_simd_round_many(struct lm_device *device, int64_t rows, int64_t k, const float *a, int64_t stride,
                                          int zero, int group, void *block);
/* The same, back as fp32: q*d. to[r] begins at to + r*k. */
void lm_simd_round_floats(struct lm_device *device, int64_t rows, int64_t k, const float *a, int64_t stride, float *to);

/* c = a·bᵀ (+ bias) (+ c) with b of a block type: few rows of a, and many. Scratch is the caller's. */
void lm_simd_block_vector(struct lm_device *device, const struct lm_matmul *op, void *scratch);
/* Where the instruction set has products of bytes (LM_BYTE_PRODUCTS); elsewhere lm_simd_matmul unpacks b to fp32. */
void lm_simd_block_matrix(struct lm_device *device, const struct lm_matmul *op, void *scratch);
size_t lm_simd_block_scratch(struct lm_device *device, const struct lm_matmul *op);

#if defined(LM_SIMD_AVX512VNNI)
#define LM_BYTE_PRODUCTS 1
#else
#define LM_BYTE_PRODUCTS 0
#endif

/* First byte of row `row` of the weights. */
LM_INLINE const uint8_t *lm_block_row(const struct lm_matrix *b, int64_t row)
{
    const int64_t blocks = b->stride / lm_dtype_block_elements(b->dtype);
    return (const uint8_t *)b->data + row * blocks * lm_dtype_block_bytes(b->dtype);
}

#if defined(LM_SIMD_AVX2) || defined(LM_SIMD_AVX512)

/* Vectors of bytes, and what the processor does with them. */
#if defined(LM_SIMD_AVX512)
typedef __m512i vq;
LM_INLINE vq vq_load(const void *x)
{
    return _mm512_loadu_si512(x);
}
LM_INLINE vq vq_pair(__m256i low, __m256i high)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
#else
typedef __m256i vq;
LM_INLINE vq vq_load(const void *x)
{
    return _mm256_loadu_si256(x);
}
#endif

/* sum + the products of each four bytes of u (unsigned) and s (signed). Without VNNI, two such products must fit into 15 bits. */
LM_INLINE vi vq_dot(vi sum, vq u, vq s)
{
#if defined(LM_SIMD_AVX512VNNI)
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, u, s);
#elif defined(LM_SIMD_AVX512)
    return sum + (vi)_mm512_madd_epi16(_mm512_maddubs_epi16(u, s), _mm512_set1_epi16(1));
#else
    return sum + (vi)_mm256_madd_epi16(_mm256_maddubs_epi16(u, s), _mm256_set1_epi16(1));
#endif
}

/* The same for Q8_0, whose bytes are signed: with VNNI they come with 128 added (`zero`), else as they are. */
#if defined(LM_SIMD_AVX512VNNI)
enum { LM_ZERO_Q8 = 128 };
LM_INLINE vi vq_dot_q8(vi sum, vq u, vq s)
{
    return vq_dot(sum, u, s);
}
#else
enum { LM_ZERO_Q8 = 0 };
LM_INLINE vi vq_dot_q8(vi sum, vq w, vq s)
{
#if defined(LM_SIMD_AVX512)
    return vq_dot(sum, _mm512_abs_epi8(w), _mm512_mask_sub_epi8(s, _mm512_movepi8_mask(w), _mm512_setzero_si512(), s));
#else
    return vq_dot(sum, _mm256_abs_epi8(w), _mm256_sign_epi8(s, w));
#endif
}
#endif

LM_INLINE vf vq_floats(vi sums)
{
    return __builtin_convertvector(sums, vf);
}

/* --- Unpacking: 32 elements as unsigned bytes in their order --- */

LM_INLINE __m256i lm_nibbles(const uint8_t *in)
{
    const __m128i x = _mm_loadu_si128((const __m128i *)in);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(x, 4), x), _mm256_set1_epi8(15));
}

/* 16 in byte i where bit i of the four bytes is set. */
LM_INLINE __m256i lm_fifth_bits(const uint8_t *in)
{
    uint32_t bits;
    memcpy(&bits, in, 4);
    const __m256i place = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), place);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit), _mm256_set1_epi8(16));
}

/* The types whose blocks are 32 elements. */
LM_INLINE __m256i lm_unpack_small(const enum lm_dtype type, const uint8_t *in)
{
    switch (type) {
    case LM_Q8_0:
        return LM_ZERO_Q8 ? _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(in + 2)), _mm256_set1_epi8((char)0x80))
                          : _mm256_loadu_si256((const __m256i *)(in + 2));
    case LM_Q4_0: return lm_nibbles(in + 2);
    case LM_Q4_1: return lm_nibbles(in + 4);
    case LM_Q5_0: return _mm256_or_si256(lm_nibbles(in + 6), lm_fifth_bits(in + 2));
    default: return _mm256_or_si256(lm_nibbles(in + 8), lm_fifth_bits(in + 4));    /* Q5_1 */
    }
}

#if defined(LM_SIMD_AVX512)
/* Two blocks' elements, one behind the other. Halves of bytes need no shuffles: each block's 16 bytes twice, and every second four
 * words shifted. */
LM_INLINE vq lm_unpack_two(const enum lm_dtype type, const uint8_t *first, const uint8_t *second)
{
    if (type != LM_Q4_0 && type != LM_Q4_1)
        return vq_pair(lm_unpack_small(type, first), lm_unpack_small(type, second));
    const int at = type == LM_Q4_0 ? 2 : 4;
    const __m512i shifts = _mm512_set_epi32(4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0);
    const __m512i both = _mm512_mask_broadcast_i32x4(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(first + at))), 0xff00,
                                                     _mm_loadu_si128((const __m128i *)(second + at)));
    return _mm512_and_si512(_mm512_srlv_epi32(both, shifts), _mm512_set1_epi8(15));
}
#endif

/* Sub-block `sub` (0 to 7) of a block of 256. */
LM_INLINE __m256i lm_unpack_large(const enum lm_dtype type, const uint8_t *in, const int sub)
{
    const __m256i low_bits = _mm256_set1_epi8(15);
    if (type == LM_Q6_K) {
        const int half = sub / 4, run = sub % 4;
        __m256i low = _mm256_loadu_si256((const __m256i *)(in + 64 * half + run % 2 * 32));
        __m256i high = _mm256_loadu_si256((const __m256i *)(in + 128 + 32 * half));
        low = _mm256_and_si256(run / 2 ? _mm256_srli_epi16(low, 4) : low, low_bits);
        high = _mm256_and_si256(_mm256_srli_epi16(high, 2 * run), _mm256_set1_epi8(3));
        return _mm256_or_si256(low, _mm256_slli_epi16(high, 4));
    }
    const __m256i both = _mm256_loadu_si256((const __m256i *)(in + (type == LM_Q5_K ? 48 : 16) + sub / 2 * 32));
    const __m256i low = _mm256_and_si256(sub % 2 ? _mm256_srli_epi16(both, 4) : both, low_bits);
    if (type == LM_Q4_K)
        return low;
    const __m256i high = _mm256_srli_epi16(_mm256_loadu_si256((const __m256i *)(in + 16)), sub);
    return _mm256_or_si256(low, _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(1)), 4));
}

LM_INLINE __m128i lm_half_at(const uint8_t *in)
{
    int16_t bits;
    memcpy(&bits, in, 2);
    return _mm_set1_epi16(bits);
}

LM_INLINE float lm_half(const uint8_t *in)
{
    return _cvtsh_ss((unsigned short)_mm_extract_epi16(lm_half_at(in), 0));
}

/* What one block of 256 multiplies its parts with: d (and m) of its 8 sub-blocks, of Q6_K of its 16 halves of sub-blocks. */
struct lm_scales {
    float d[16], m[8];
};
LM_INLINE void lm_unpack_scales(const enum lm_dtype type, const uint8_t *in, struct lm_scales *to)
{
    if (type == LM_Q6_K) {
        const __m128i scales = _mm_loadu_si128((const __m128i *)(in + 192));
        const __m256 d = _mm256_set1_ps(lm_half(in + 208));
        _mm256_storeu_ps(to->d, _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(scales))));
        _mm256_storeu_ps(to->d + 8, _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(scales, 8)))));
        return;
    }
    uint32_t x[3], s[2], t[2];    /* s and t of four groups each, a byte a group */
    memcpy(x, in + 4, 12);
    s[0] = x[0] & 0x3f3f3f3f;
    t[0] = x[1] & 0x3f3f3f3f;
    s[1] = (x[2] & 0x0f0f0f0f) | (x[0] >> 6 & 0x03030303) << 4;
    t[1] = (x[2] >> 4 & 0x0f0f0f0f) | (x[1] >> 6 & 0x03030303) << 4;
    const __m128i scales = _mm_set_epi32((int)t[1], (int)t[0], (int)s[1], (int)s[0]);
    const __m256 d = _mm256_set1_ps(lm_half(in)), m = _mm256_set1_ps(-lm_half(in + 2));
    _mm256_storeu_ps(to->d, _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(scales))));
    _mm256_storeu_ps(to->m, _mm256_mul_ps(m, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(scales, 8)))));
}
#endif

LM_INLINE int lm_block_bytes(const enum lm_dtype type)
{
    switch (type) {
#define LM_BLOCK_CASE(name, elements, bytes) case LM_##name: return bytes;
        LM_BLOCK_LIST(LM_BLOCK_CASE)
#undef LM_BLOCK_CASE
    default: return 0;
    }
}

LM_INLINE bool lm_is_large(const enum lm_dtype type)
{
    return type == LM_Q4_K || type == LM_Q5_K || type == LM_Q6_K;
}

LM_INLINE bool lm_has_minimum(const enum lm_dtype type)
{
    return type == LM_Q4_1 || type == LM_Q5_1 || type == LM_Q4_K || type == LM_Q5_K;
}

LM_INLINE int lm_zero_of(const enum lm_dtype type)
{
#if defined(LM_SIMD_AVX2) || defined(LM_SIMD_AVX512)
    return type == LM_Q8_0 ? LM_ZERO_Q8 : type == LM_Q4_0 ? 8 : type == LM_Q5_0 ? 16 : type == LM_Q6_K ? 32 : 0;
#else
    return type == LM_Q8_0 ? 0 : 0;
#endif
}

#endif
