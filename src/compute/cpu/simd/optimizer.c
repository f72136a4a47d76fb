#include "simd.h"

#include "compute/random_bits.h"

#include <math.h>

/* A step's numbers, as the vectors take them. */
struct step {
    const struct lm_adamw *op;
    float keep, scale, b1, b2, c1, c2, eps, rate, shrink;
    uint32_t low, high;    /* of the random bits */
};

typedef uint8_t vb __attribute__((vector_size(LM_W)));

LM_INLINE vu vmix(vu x)
{
    x ^= x >> 16;
    x *= 0x7feb352dU;
    x ^= x >> 15;
    x *= 0x846ca68bU;
    x ^= x >> 16;
    return x;
}

/* The places first, first + 1, ... */
LM_INLINE vu vplaces(uint32_t first)
{
    vu v;
    for (int i = 0; i < LM_W; i++)
        v[i] = first + (uint32_t)i;
    return v;
}

LM_INLINE vu vload_bytes(const uint8_t *x, int64_t n)
{
    vb bytes = {0};
    if (n >= LM_W)
        memcpy(&bytes, x, sizeof bytes);
    else
        for (int64_t i = 0; i < n; i++)
            bytes[i] = x[i];
    return __builtin_convertvector(bytes, vu);
}

LM_INLINE void vstore_bytes(uint8_t *x, vu v, int64_t n)
{
    const vb bytes = __builtin_convertvector(v, vb);
    if (n >= LM_W)
        memcpy(x, &bytes, sizeof bytes);
    else
        for (int64_t i = 0; i < n; i++)
            x[i] = bytes[i];
}

/* bf16, up with the probability of what is cut off; infinity and NaN stay. */
LM_INLINE void vstore_cut_n(uint16_t *x, vf v, vu noise, int64_t n)
{
    vu bits = (vu)v;
    vu special = (vu)((bits & 0x7f800000u) == 0x7f800000u);
    vu is_nan = (vu)((bits & 0x7fffffffu) > 0x7f800000u);
    vu cut = ((bits + (~special & noise & 0xffffu)) >> 16) | (is_nan & 0x40u);
    vh half = __builtin_convertvector(cut, vh);
    if (n >= LM_W)
        memcpy(x, &half, sizeof half);
    else
        for (int64_t i = 0; i < n; i++)
            x[i] = half[i];
}

/* Codes of `bits` of mantissa below 4 of exponent: compute.h has them. */
LM_INLINE vf vdecode(vu code, int bits)
{
    const float unit = bits == 3 ? 0x1p-17f : 0x1p-18f;
    vf linear = __builtin_convertvector((vi)code, vf) * unit;
    vf normal = (vf)((code + (112u << bits)) << (23 - bits));
    vu is_linear = (vu)(code < (1u << bits));
    return (vf)((is_linear & (vu)linear) | (~is_linear & (vu)normal));
}

LM_INLINE vu vencode(vf x, vu noise, int bits)
{
    const int shift = 23 - bits;
    const float unit = bits == 3 ? 0x1p17f : 0x1p18f;
    noise &= (1u << shift) - 1;
    vf fraction = __builtin_convertvector((vi)noise, vf) * (bits == 3 ? 0x1p-20f : 0x1p-19f);
    vu linear = (vu)__builtin_convertvector(vmin(x, vset(0x1p-13f)) * unit + fraction, vi);
    vu normal = (((vu)x + noise) >> shift) - (112u << bits);
    vu most = (vu)vseti((16 << bits) - 1), over = (vu)(normal > most);
    normal = (over & most) | (~over & normal);
    vu is_linear = (vu)(x < vset(0x1p-14f));
    return (is_linear & linear) | (~is_linear & normal);
}

LM_INLINE vf vabsolute(vf x)
{
    return (vf)((vu)x & 0x7fffffffu);
}

/* The block's scale for m and v; its inverse is finite. */
static float scale_of(float most, float greatest, float *inverse)
{
    const bool some = most >= 1e-30f;
    *inverse = some ? greatest / most : 0;
    return some ? most / greatest : 0;
}

/* m and the roots of v of one block become codes. */
static void store_codes(const struct step *s, int64_t at, int64_t count, const float *m, const float *root)
{
    const struct lm_adamw *op = s->op;
    vf most_m = vset(0), most_r = vset(0);
    for (int64_t i = 0; i < count; i += LM_W) {
        most_m = vmax(most_m, vabsolute(vload_n(m + i, count - i)));
        most_r = vmax(most_r, vload_n(root + i, count - i));
    }
    float m_inverse, r_inverse;
    op->m_scale[at / LM_STATE_BLOCK] = scale_of(vgreatest(most_m), 1.875f, &m_inverse);
    op->v_scale[at / LM_STATE_BLOCK] = scale_of(vgreatest(most_r), 1.9375f, &r_inverse);
    for (int64_t i = 0; i < count; i += LM_W) {
        const int64_t n = count - i;
        const vu bits = vmix(vplaces((uint32_t)(op->first + at + i)) ^ s->low);
        const vf x = vload_n(m + i, n), r = vload_n(root + i, n) * r_inverse;
        const vu sign = ((vu)x >> 24) & 128u;
        vstore_bytes((uint8_t *)op->m + at + i, vencode(vabsolute(x) * m_inverse, bits >> 12, 3) | sign, n);
        const vu code = vencode(r, vmix(bits ^ s->high), 4);
        const vu lost = (vu)(code == 0) & (vu)(r > vset(0));    /* a v that is not 0 stays so */
        vstore_bytes((uint8_t *)op->v + at + i, code | (lost & 1u), n);
    }
}

/* LM_STATE_BLOCK elements, or what is left of them. */
static void step_block(const struct step *s, int64_t at, int64_t count)
{
    const struct lm_adamw *op = s->op;
    const enum lm_state_kind kind = op->state;
    const int64_t block = at / LM_STATE_BLOCK;
    float new_m[LM_STATE_BLOCK], new_root[LM_STATE_BLOCK];
    for (int64_t i = at; i < at + count; i += LM_W) {
        const int64_t n = at + count - i;
        const vf g = vload_any(op->gradient, op->gradient_bf16, i, n) * s->scale;
        vf m, v, p;
        if (kind == LM_STATE_8BIT) {
            const vu code = vload_bytes((const uint8_t *)op->m + i, n);
            m = (vf)((vu)(vdecode(code & 127u, 3) * op->m_scale[block]) | ((code & 128u) << 24));
            const vf root = vdecode(vload_bytes((const uint8_t *)op->v + i, n), 4) * op->v_scale[block];
            v = root * root;
        } else {
            m = vload_any(op->m, kind == LM_STATE_BF16, i, n);
            v = vload_any(op->v, kind == LM_STATE_BF16, i, n);
        }
        m = vfma(m, vset(s->b1), s->c1 * g);
        v = vfma(v, vset(s->b2), s->c2 * g * g);
        const vf root = vsqrt(v);
        p = op->parameter ? vload_n(op->parameter + i, n) : vload_bf16_n(op->rounded + i, n);
        p = p * s->keep - s->rate * m / vfma(root, vset(s->shrink), vset(s->eps));
        if (op->parameter)
            vstore_n(op->parameter + i, p, n);
        if (kind == LM_STATE_F32) {
            vstore_n((float *)op->m + i, m, n);
            vstore_n((float *)op->v + i, v, n);
        } else if (kind == LM_STATE_8BIT) {
            vstore_n(new_m + (i - at), m, n);
            vstore_n(new_root + (i - at), root, n);
        }
        if (op->rounded && op->parameter)
            vstore_bf16_n(op->rounded + i, p, n);
        if (kind == LM_STATE_F32 && op->parameter)
            continue;
        const vu bits = vmix(vplaces((uint32_t)(op->first + i)) ^ s->low);
        if (!op->parameter)
            vstore_cut_n(op->rounded + i, p, bits, n);
        if (kind == LM_STATE_BF16) {
            vstore_cut_n((uint16_t *)op->m + i, m, bits >> 16, n);
            vstore_cut_n((uint16_t *)op->v + i, v, vmix(bits ^ s->high), n);
        }
    }
    if (kind == LM_STATE_8BIT)
        store_codes(s, at, count, new_m, new_root);
}

void lm_simd_adamw(struct lm_device *device, const struct lm_adamw *op)
{
    const double t = (double)op->step;
    struct step s = {.op = op, .keep = (float)(1 - op->lr * op->decay), .scale = (float)op->grad_scale, .b1 = (float)op->beta1,
                     .b2 = (float)op->beta2, .c1 = (float)(1 - op->beta1), .c2 = (float)(1 - op->beta2), .eps = (float)op->eps,
                     .rate = (float)(op->lr / (1 - pow(op->beta1, t))), .shrink = (float)(1 / sqrt(1 - pow(op->beta2, t)))};
    lm_rounding_key(op->key, op->first, &s.low, &s.high);
#pragma omp parallel for num_threads(device->threads) schedule(static) if (op->count > LM_SIMD_ALONE)
    for (int64_t at = 0; at < op->count; at += LM_STATE_BLOCK)
        step_block(&s, at, op->count - at < LM_STATE_BLOCK ? op->count - at : LM_STATE_BLOCK);
}

/* One block's sum, in 16 places of double. */
static double block_squares(const void *x, bool bf16, int64_t from, int64_t count)
{
    double sums[16] = {0}, total = 0;
    for (int64_t i = 0; i < count; i += LM_W) {
        float part[LM_W];
        vstore(part, vload_any(x, bf16, from + i, count - i));
        for (int j = 0; j < LM_W; j++)
            sums[(i + j) % 16] += (double)part[j] * part[j];
    }
    for (int j = 0; j < 16; j++)
        total += sums[j];
    return total;
}

double lm_simd_sum_squares(struct lm_device *device, int64_t count, enum lm_dtype type, const void *x)
{
    enum { BLOCKS = 256 };
    double sums[BLOCKS] = {0}, total = 0;
    int64_t length = ((count + BLOCKS - 1) / BLOCKS + 15) / 16 * 16;
#pragma omp parallel for num_threads(device->threads) schedule(static) if (count > LM_SIMD_ALONE)
    for (int64_t block = 0; block < BLOCKS; block++) {
        int64_t from = block * length;
        if (from < count)
            sums[block] = block_squares(x, type == LM_BF16, from, count - from < length ? count - from : length);
    }
    for (int block = 0; block < BLOCKS; block++)
        total += sums[block];
    return total;
}
