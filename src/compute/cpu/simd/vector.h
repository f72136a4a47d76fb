/* One vector type for every instruction set: `vf` holds LM_W floats, `vi` as many 32-bit integers.
 *
 *     vf sum = vset(0);
 *     for (int64_t i = 0; i < n; i += LM_W)
 *         sum = vfma(vload_n(x + i, n - i), vload_n(y + i, n - i), sum);
 *     float dot = vsum(sum);
 *
 * GCC's vector extension gives + - * / and the integer operations; only what it lacks is written per instruction set here.
 * CMake compiles this folder once for each of them, with LM_SIMD_SCALAR, LM_SIMD_AVX2, LM_SIMD_AVX512, LM_SIMD_AVX512VNNI (AVX-512
 * with products of bytes) or LM_SIMD_AVX512BF16 (and with products of bf16) defined. The scalar
 * build is plain C with vectors of four, which any compiler target turns into what it has.
 */
#ifndef LOAM_COMPUTE_CPU_SIMD_VECTOR_H
#define LOAM_COMPUTE_CPU_SIMD_VECTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(LM_SIMD_AVX512BF16)
#define LM_SIMD_AVX512VNNI 1
#define LM_PAIR_PRODUCTS 1
#else
#define LM_PAIR_PRODUCTS 0
#endif
#if defined(LM_SIMD_AVX512VNNI)
#define LM_SIMD_AVX512 1
#endif
#if defined(LM_SIMD_AVX512)
#include <immintrin.h>
#define LM_W 16
#elif defined(LM_SIMD_AVX2)
#include <immintrin.h>
#define LM_W 8
#else
#define LM_W 4
#endif

/* Loops over registers are unrolled, but not in builds with a sanitizer: its checks at every access times every unrolled place
 * take minutes to compile. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LM_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LM_SANITIZED 1
#endif
#endif
#if defined(LM_SANITIZED)
#define LM_UNROLL
#elif defined(__clang__)
#define LM_UNROLL _Pragma("unroll")
#else
#define LM_UNROLL _Pragma("GCC unroll 32")
#endif
#define LM_INLINE static inline __attribute__((always_inline, unused))

typedef float vf __attribute__((vector_size(4 * LM_W)));
typedef int32_t vi __attribute__((vector_size(4 * LM_W)));
typedef uint32_t vu __attribute__((vector_size(4 * LM_W)));
typedef uint16_t vh __attribute__((vector_size(2 * LM_W)));

LM_INLINE vf vload(const float *x)
{
    vf v;
    memcpy(&v, x, sizeof v);
    return v;
}

LM_INLINE void vstore(float *x, vf v)
{
    memcpy(x, &v, sizeof v);
}

LM_INLINE vf vset(float x)
{
    return x - (vf){0};
}

LM_INLINE vi vseti(int32_t x)
{
    return x - (vi){0};
}

/* The first n floats, the rest 0; n >= LM_W gives all of them. */
LM_INLINE vf vload_n(const float *x, int64_t n)
{
    if (n >= LM_W)
        return vload(x);
#if defined(LM_SIMD_AVX512)
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), x);
#else
    vf v = {0};
    for (int64_t i = 0; i < n; i++)
        v[i] = x[i];
    return v;
#endif
}

LM_INLINE void vstore_n(float *x, vf v, int64_t n)
{
    if (n >= LM_W) {
        vstore(x, v);
        return;
    }
#if defined(LM_SIMD_AVX512)
    _mm512_mask_storeu_ps(x, (__mmask16)((1u << n) - 1), (__m512)v);
#else
    for (int64_t i = 0; i < n; i++)
        x[i] = v[i];
#endif
}

/* a*b + c and c - a*b: one rounding where the machine has it. */
LM_INLINE vf vfma(vf a, vf b, vf c)
{
#if defined(LM_SIMD_AVX512)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(LM_SIMD_AVX2)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

#if LM_PAIR_PRODUCTS
/* c + the products of 16 pairs of bf16 numbers, the second of each pair first; `one` is a pair for all places. */
LM_INLINE vf vpairs(const float *one, vf b, vf c)
{
    int32_t pair;    /* as a float it could be a NaN that a move makes quiet */
    memcpy(&pair, one, sizeof pair);
    return (vf)_mm512_dpbf16_ps((__m512)c, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)b);
}
#else
#define vpairs(one, b, c) (c)    /* never reached */
#endif

LM_INLINE vf vfnma(vf a, vf b, vf c)
{
    return vfma(-a, b, c);
}

/* a < b ? x : y, a place at a time. */
LM_INLINE vf vwhere_less(vf a, vf b, vf x, vf y)
{
#if defined(LM_SIMD_AVX512)
    __mmask16 less = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
    return (vf)_mm512_mask_blend_ps(less, (__m512)y, (__m512)x);
#else
    vi less = a < b;
    return (vf)((less & (vi)x) | (~less & (vi)y));
#endif
}

/* The greater and the lesser; where one is NaN, the second. */
LM_INLINE vf vmax(vf a, vf b)
{
#if defined(LM_SIMD_AVX512)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(LM_SIMD_AVX2)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return vwhere_less(b, a, a, b);
#endif
}

LM_INLINE vf vmin(vf a, vf b)
{
#if defined(LM_SIMD_AVX512)
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(LM_SIMD_AVX2)
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return vwhere_less(a, b, a, b);
#endif
}

LM_INLINE vf vsqrt(vf a)
{
#if defined(LM_SIMD_AVX512)
    return (vf)_mm512_sqrt_ps((__m512)a);
#elif defined(LM_SIMD_AVX2)
    return (vf)_mm256_sqrt_ps((__m256)a);
#else
    for (int i = 0; i < LM_W; i++)
        a[i] = __builtin_sqrtf(a[i]);
    return a;
#endif
}

/* Sum and greatest of all places, always in the same order: halves folded onto each other. Written out in registers where the
 * compiler would go through memory. */
#if defined(LM_SIMD_AVX2) || defined(LM_SIMD_AVX512)
#if defined(LM_SIMD_AVX512)
#define LM_FOLD(a, op) _mm256_##op##_ps(_mm512_castps512_ps256((__m512)(a)), _mm512_extractf32x8_ps((__m512)(a), 1))
#else
#define LM_FOLD(a, op) ((__m256)(a))
#endif
LM_INLINE float vsum(vf a)
{
    const __m256 eight = LM_FOLD(a, add);
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

LM_INLINE float vgreatest(vf a)
{
    const __m256 eight = LM_FOLD(a, max);
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
#else
LM_INLINE float vsum(vf a)
{
    return (a[0] + a[2]) + (a[1] + a[3]);
}

LM_INLINE float vgreatest(vf a)
{
    const float even = a[0] > a[2] ? a[0] : a[2], odd = a[1] > a[3] ? a[1] : a[3];
    return even > odd ? even : odd;
}
#endif

/* How far ahead weights are asked for when each is read once: more than a page, since the processor's own prefetching ends at its
 * border (docs/SPEED.md has what other distances gave). What lies behind the end is asked for as well, which harms nothing. */
enum { LM_AHEAD = 4096 };
LM_INLINE void vahead(const void *weights)
{
    __builtin_prefetch((const char *)weights + LM_AHEAD);
}

/* bf16: the upper half of a float. Rounding is to nearest, ties to even; NaN stays NaN. */
LM_INLINE vf vload_bf16(const uint16_t *x)
{
#if defined(LM_SIMD_AVX512)    /* written out: GCC 12 takes five instructions for the first one */
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)x)), 16);
#elif defined(LM_SIMD_AVX2)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)x)), 16);
#else
    vh half;
    memcpy(&half, x, sizeof half);
    return (vf)(__builtin_convertvector(half, vu) << 16);
#endif
}

/* In a register from here on: the compiler would load it again for every use. */
LM_INLINE vf vkept(vf x)
{
#if defined(LM_SIMD_AVX512)
    __asm__("" : "+v"(x));
#elif defined(LM_SIMD_AVX2)
    __asm__("" : "+x"(x));
#endif
    return x;
}

LM_INLINE vf vload_bf16_n(const uint16_t *x, int64_t n)
{
    if (n >= LM_W)
        return vload_bf16(x);
    uint16_t part[LM_W] = {0};
    for (int64_t i = 0; i < n; i++)
        part[i] = x[i];
    return vload_bf16(part);
}

LM_INLINE void vstore_bf16_n(uint16_t *x, vf v, int64_t n)
{
    vu bits = (vu)v;
    vu rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    vu quiet = (bits >> 16) | 0x40u;
    vu is_nan = (vu)((bits & 0x7fffffffu) > 0x7f800000u);
    vh half = __builtin_convertvector((is_nan & quiet) | (~is_nan & rounded), vh);
    if (n >= LM_W) {
        memcpy(x, &half, sizeof half);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        x[i] = half[i];
}

/* The same in one instruction, with 0 for what is subnormal. */
LM_INLINE void vstore_narrow_n(uint16_t *x, vf v, int64_t n)
{
#if LM_PAIR_PRODUCTS
    _mm256_mask_storeu_epi16(x, (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1), (__m256i)_mm512_cvtneps_pbh((__m512)v));
#else
    vstore_bf16_n(x, v, n);
#endif
}

/* Either of the two types that weights have. */
LM_INLINE vf vload_any(const void *x, bool bf16, int64_t at, int64_t n)
{
    return bf16 ? vload_bf16_n((const uint16_t *)x + at, n) : vload_n((const float *)x + at, n);
}

#define LM_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define LM_SWAP(r, i, j, low, high)                                                                                   \
    do {                                                                                                              \
        vf swap_a = (r)[i], swap_b = (r)[j];                                                                          \
        (r)[i] = LM_SHUFFLE(swap_a, swap_b, low);                                                                     \
        (r)[j] = LM_SHUFFLE(swap_a, swap_b, high);                                                                    \
    } while (0)
#define LM_LIST(...) __VA_ARGS__

/* Turns LM_W rows of LM_W into columns: at each stage, blocks off the diagonal change places. */
LM_INLINE void vtranspose(vf r[LM_W])
{
#if LM_W == 16
    LM_UNROLL for (int i = 0; i < 16; i++)
        if (!(i & 1))
            LM_SWAP(r, i, i + 1, LM_LIST(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
                    LM_LIST(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31));
    LM_UNROLL for (int i = 0; i < 16; i++)
        if (!(i & 2))
            LM_SWAP(r, i, i + 2, LM_LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
                    LM_LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31));
    LM_UNROLL for (int i = 0; i < 16; i++)
        if (!(i & 4))
            LM_SWAP(r, i, i + 4, LM_LIST(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
                    LM_LIST(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31));
    LM_UNROLL for (int i = 0; i < 8; i++)
        LM_SWAP(r, i, i + 8, LM_LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
                LM_LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31));
#elif LM_W == 8
    LM_UNROLL for (int i = 0; i < 8; i++)
        if (!(i & 1))
            LM_SWAP(r, i, i + 1, LM_LIST(0, 8, 2, 10, 4, 12, 6, 14), LM_LIST(1, 9, 3, 11, 5, 13, 7, 15));
    LM_UNROLL for (int i = 0; i < 8; i++)
        if (!(i & 2))
            LM_SWAP(r, i, i + 2, LM_LIST(0, 1, 8, 9, 4, 5, 12, 13), LM_LIST(2, 3, 10, 11, 6, 7, 14, 15));
    LM_UNROLL for (int i = 0; i < 4; i++)
        LM_SWAP(r, i, i + 4, LM_LIST(0, 1, 2, 3, 8, 9, 10, 11), LM_LIST(4, 5, 6, 7, 12, 13, 14, 15));
#else
    LM_UNROLL for (int i = 0; i < 4; i++)
        if (!(i & 1))
            LM_SWAP(r, i, i + 1, LM_LIST(0, 4, 2, 6), LM_LIST(1, 5, 3, 7));
    LM_UNROLL for (int i = 0; i < 2; i++)
        LM_SWAP(r, i, i + 2, LM_LIST(0, 1, 4, 5), LM_LIST(2, 3, 6, 7));
#endif
}

#endif
