#include "simd.h"

/* Elements a thread takes at a time: a few L1 caches' worth of lines, a multiple of every vector. */
enum { CHUNK = 4096 };
static const float ROOT_2_OVER_PI = 0.7978845608f, CUBIC = 0.044715f;

#define FOR_CHUNKS(device, count)                                                                                     \
    _Pragma("omp parallel for num_threads((device)->threads) schedule(static) if ((count) > LM_SIMD_ALONE)")          \
    for (int64_t chunk = 0; chunk < (count); chunk += CHUNK)
#define FOR_VECTORS(count)                                                                                            \
    for (int64_t i = chunk, end = chunk + CHUNK < (count) ? chunk + CHUNK : (count); i < end; i += LM_W)

/* 0.5 (1 + tanh u) = sigmoid(2u), with u = sqrt(2/pi) (x + 0.044715 x^3). */
LM_INLINE vf gelu_tanh_gate(vf x)
{
    return vsigmoid(2 * ROOT_2_OVER_PI * x * vfma(CUBIC * x, x, vset(1.0f)));
}

void lm_simd_gelu(struct lm_device *device, int64_t count, bool tanh_form, const float *x, float *y)
{
    FOR_CHUNKS(device, count) {
        FOR_VECTORS(count) {
            vf v = vload_n(x + i, end - i), bell;
            vf gate = tanh_form ? gelu_tanh_gate(v) : vnormal(v, &bell);
            vstore_n(y + i, v * gate, end - i);
        }
    }
}

/* With s the gate: tanh form d = s + x s (1 - s) 2 u', u' = sqrt(2/pi) (1 + 3*0.044715 x^2); exact form d = s + x bell / sqrt(2 pi). */
void lm_simd_gelu_backward(struct lm_device *device, int64_t count, bool tanh_form, const float *x, const float *dy,
                           float *dx)
{
    FOR_CHUNKS(device, count) {
        FOR_VECTORS(count) {
            vf v = vload_n(x + i, end - i), slope;
            if (tanh_form) {
                /* Beyond 20 the gate is exactly 0 or 1, and x^2 need not overflow. */
                v = vmin(vset(20), vmax(vset(-20), v));
                vf gate = gelu_tanh_gate(v);
                vf inner = 2 * ROOT_2_OVER_PI * vfma(3 * CUBIC * v, v, vset(1.0f));
                slope = vfma(v * gate * (1.0f - gate), inner, gate);
            } else {
                vf bell, gate = vnormal(v, &bell);
                slope = vfma(v, 0.3989422804f * bell, gate);
            }
            vstore_n(dx + i, slope * vload_n(dy + i, end - i), end - i);
        }
    }
}

void lm_simd_swiglu(struct lm_device *device, int64_t rows, int64_t width, const float *gate_up, float *y)
{
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * width > LM_SIMD_ALONE)
    for (int64_t r = 0; r < rows; r++) {
        const float *gate = gate_up + r * 2 * width, *up = gate + width;
        for (int64_t i = 0; i < width; i += LM_W) {
            vf g = vload_n(gate + i, width - i);
            vstore_n(y + r * width + i, g * vsigmoid(g) * vload_n(up + i, width - i), width - i);
        }
    }
}

/* silu'(g) = s (1 + g (1 - s)), s = sigmoid(g). */
void lm_simd_swiglu_backward(struct lm_device *device, int64_t rows, int64_t width, const float *gate_up,
                             const float *dy, float *d_gate_up)
{
#pragma omp parallel for num_threads(device->threads) schedule(static) if (rows * width > LM_SIMD_ALONE)
    for (int64_t r = 0; r < rows; r++) {
        const float *gate = gate_up + r * 2 * width;
        float *d_gate = d_gate_up + r * 2 * width;
        for (int64_t i = 0; i < width; i += LM_W) {
            int64_t n = width - i;
            vf g = vload_n(gate + i, n), u = vload_n(gate + width + i, n), d = vload_n(dy + r * width + i, n);
            vf s = vsigmoid(g);
            vstore_n(d_gate + width + i, d * g * s, n);
            vstore_n(d_gate + i, d * u * s * vfma(g, 1.0f - s, vset(1.0f)), n);
        }
    }
}

void lm_simd_add(struct lm_device *device, int64_t count, const float *x, float *y)
{
    FOR_CHUNKS(device, count) {
        FOR_VECTORS(count)
            vstore_n(y + i, vload_n(x + i, end - i) + vload_n(y + i, end - i), end - i);
    }
}

void lm_simd_scale(struct lm_device *device, int64_t count, float factor, float *y)
{
    FOR_CHUNKS(device, count) {
        FOR_VECTORS(count)
            vstore_n(y + i, vload_n(y + i, end - i) * factor, end - i);
    }
}

void lm_simd_fill(struct lm_device *device, int64_t count, float value, float *y)
{
    FOR_CHUNKS(device, count) {
        FOR_VECTORS(count)
            vstore_n(y + i, vset(value), end - i);
    }
}

static void convert_chunk(enum lm_dtype from, const void *x, enum lm_dtype to, void *y, int64_t count)
{
    if (from == LM_BF16 && to == LM_F32)
        for (int64_t i = 0; i < count; i += LM_W)
            vstore_n((float *)y + i, vload_bf16_n((const uint16_t *)x + i, count - i), count - i);
    else if (from == LM_F32 && to == LM_BF16)
        for (int64_t i = 0; i < count; i += LM_W)
            vstore_bf16_n((uint16_t *)y + i, vload_n((const float *)x + i, count - i), count - i);
    else
        lm_convert(to, y, from, x, (size_t)count);
}

void lm_simd_convert(struct lm_device *device, int64_t count, enum lm_dtype from, const void *x, enum lm_dtype to, void *y)
{
    if (!lm_convert(to, NULL, from, NULL, 0)) {
        lm_device_fail(device, LOAM_EUNSUPPORTED, "convert: found %s to %s, wanted F32, BF16, F16 or F64",
                       lm_dtype_name(from), lm_dtype_name(to));
        return;
    }
    int64_t x_bytes = lm_dtype_bits(from) / 8, y_bytes = lm_dtype_bits(to) / 8;
    FOR_CHUNKS(device, count) {
        int64_t here = count - chunk < CHUNK ? count - chunk : CHUNK;
        convert_chunk(from, (const char *)x + chunk * x_bytes, to, (char *)y + chunk * y_bytes, here);
    }
}
