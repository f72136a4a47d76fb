/* Rounding rows of fp32 to 8 bits in blocks of 32. */
#include "blocks.h"

#include <math.h>

/* Smaller numbers are 0: 127 divided by them would not be finite. */
static const float least = 1e-30F;

static int64_t padded(int64_t k)
{
    return (int64_t)lm_round_up((size_t)k, 2 * LM_SUB);
}

/* Bytes of one number a block. */
static size_t eachs(int64_t k)
{
    return lm_round_up((size_t)padded(k) / LM_SUB * sizeof(float), LM_ALIGN);
}

/* Every array a multiple of 64 bytes. */
size_t lm_rounded_bytes(int64_t k)
{
    return (size_t)padded(k) * 4 + 2 * eachs(k);
}

struct lm_rounded lm_rounded_at(void *block, int64_t k, int64_t row)
{
    const int64_t all = padded(k);
    char *at = (char *)block + (size_t)row * lm_rounded_bytes(k);
    return (struct lm_rounded){.q = (int8_t *)at, .comp = (int32_t *)(at + all), .d = (float *)(at + 2 * all),
                               .sums = (float *)(at + 3 * all), .each = (float *)(at + 4 * all),
                               .totals = (float *)(at + 4 * all + (int64_t)eachs(k))};
}

/* Rounds 32 numbers, whose largest size times 1/127 is returned. */
static float round_block(const float *a, int8_t *q)
{
    vf most = vset(0), wrong = vset(0);
    for (int i = 0; i < LM_SUB; i += LM_W) {
        const vf x = vload(a + i);
        most = vmax(vmax(x, -x), most);
        wrong += x * 0;    /* NaN where x is not finite */
    }
    const float size = vgreatest(most), nan = vsum(wrong);
    const float inverse = size > least ? 127 / size : 0;
#if defined(LM_SIMD_AVX512)
    for (int i = 0; i < LM_SUB; i += 16)
        _mm_storeu_si128((__m128i *)(q + i), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32((__m512)(vload(a + i) * inverse))));
#elif defined(LM_SIMD_AVX2)
    __m256i x[4];
    for (int i = 0; i < 4; i++)
        x[i] = _mm256_cvtps_epi32((__m256)(vload(a + 8 * i) * inverse));
    const __m256i mixed = _mm256_packs_epi16(_mm256_packs_epi32(x[0], x[1]), _mm256_packs_epi32(x[2], x[3]));
    const __m256i order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
    _mm256_storeu_si256((__m256i *)q, _mm256_permutevar8x32_epi32(mixed, order));
#else
    for (int i = 0; i < LM_SUB; i++)
        q[i] = nan == 0 ? (int8_t)lrintf(a[i] * inverse) : 0;
#endif
    return (size > least ? size / 127 : 0) + nan;
}

/* fours[i] = the sum of four of q; returns the sum of all 32. */
LM_INLINE int32_t sum_fours(const int8_t *q, int32_t fours[8])
{
#if defined(LM_SIMD_AVX2) || defined(LM_SIMD_AVX512)
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), _mm256_loadu_si256((const __m256i *)q));
    const __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    _mm256_storeu_si256((__m256i *)fours, sums);
    __m128i all = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    all = _mm_add_epi32(all, _mm_shuffle_epi32(all, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(all, _mm_shuffle_epi32(all, 0xb1)));
#else
    int32_t all = 0;
    for (int i = 0; i < 8; i++)
        all += fours[i] = q[4 * i] + q[4 * i + 1] + q[4 * i + 2] + q[4 * i + 3];
    return all;
#endif
}

static void round_row(int64_t k, const float *a, int zero, struct lm_rounded to)
{
    for (int64_t block = 0; block < padded(k) / LM_SUB; block++) {
        int8_t *q = to.q + block * LM_SUB;
        int32_t *comp = to.comp + block * 8;
        float *d = to.d + block * 8, *sums = to.sums + block * 8, scale = 0;
        if (block < k / LM_SUB)
            scale = round_block(a + block * LM_SUB, q);
        else
            memset(q, 0, LM_SUB);
        int32_t fours[8];
        const int32_t all = sum_fours(q, fours);
        for (int i = 0; i < 8; i++) {
            comp[i] = -zero * fours[i];
            d[i] = scale;
            sums[i] = 0;
        }
        sums[0] = scale * (float)all;
        to.each[block] = scale;
        to.totals[block] = sums[0];
    }
}

void lm_simd_round_rows(struct lm_device *device, int64_t rows, int64_t k, const float *a, int64_t stride, int zero,
                        void *block)
{
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * k > 4 * LM_SIMD_ALONE)
    for (int64_t r = 0; r < rows; r++)
        round_row(k, a + r * stride, zero, lm_rounded_at(block, k, r));
}

size_t lm_simd_round_bytes(int64_t rows, int64_t k)
{
    return (size_t)rows * (size_t)padded(k) * 3 / 2 + 4 * LM_ALIGN;    /* q, comp of 16s (4/16), d and sums (8/32) */
}

static void round_compactly(const struct lm_rounded_rows *to, int64_t row, int64_t k, const float *a, int zero)
{
    int8_t *q = to->q + row * to->padded;
    int32_t *comp = to->comp + row * (to->padded / to->group);
    float *d = to->d + row * (to->padded / LM_SUB), *sums = to->sums + row * (to->padded / LM_SUB);
    for (int64_t block = 0; block < to->padded / LM_SUB; block++, q += LM_SUB) {
        float scale = 0;
        if (block < k / LM_SUB)
            scale = round_block(a + block * LM_SUB, q);
        else
            memset(q, 0, LM_SUB);
        int32_t halves[2] = {0, 0};
        for (int i = 0; i < LM_SUB; i++)
            halves[i / 16] += q[i];
        if (to->group == 16)
            comp[2 * block] = -zero * halves[0], comp[2 * block + 1] = -zero * halves[1];
        else
            comp[block] = -zero * (halves[0] + halves[1]);
        d[block] = scale;
        sums[block] = scale * (float)(halves[0] + halves[1]);
    }
}

struct lm_rounded_rows lm_simd_round_many(struct lm_device *device, int64_t rows, int64_t k, const float *a, int64_t stride,
                                          int zero, int group, void *block)
{
    const int64_t all = padded(k);
    char *at = block;
    struct lm_rounded_rows to = {.q = block, .padded = all, .group = group};
    at += lm_round_up((size_t)(rows * all), LM_ALIGN);
    to.comp = (int32_t *)at;
    at += lm_round_up((size_t)(rows * all / 4), LM_ALIGN);
    to.d = (float *)at;
    at += lm_round_up((size_t)(rows * all / 8), LM_ALIGN);
    to.sums = (float *)at;
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * k > 4 * LM_SIMD_ALONE)
    for (int64_t r = 0; r < rows; r++)
        round_compactly(&to, r, k, a + r * stride, zero);
    return to;
}

void lm_simd_round_floats(struct lm_device *device, int64_t rows, int64_t k, const float *a, int64_t stride, float *to)
{
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * k > 4 * LM_SIMD_ALONE)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < k; i += LM_SUB) {
            int8_t q[LM_SUB];
            const float d = round_block(a + r * stride + i, q);
            for (int j = 0; j < LM_SUB; j++)
                to[r * k + i + j] = d * q[j];
        }
}
