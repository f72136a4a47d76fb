/* Element types and the conversions between the floating ones. */
#include "tensor/blocks.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read in place: a little-endian machine is needed");

struct dtype {
    const char *name;
    int bits;               /* an element; 0 for blocks */
    int elements, bytes;    /* a block */
};

static const struct dtype dtypes[LM_DTYPE_END] = {
#define DTYPE_ROW(name, bits) [LM_##name] = {#name, bits, bits % 8 == 0, bits % 8 == 0 ? bits / 8 : 0},
    LM_DTYPE_LIST(DTYPE_ROW)
#undef DTYPE_ROW
#define BLOCK_ROW(name, elements, bytes) [LM_##name] = {#name, 0, elements, bytes},
    LM_BLOCK_LIST(BLOCK_ROW)
#undef BLOCK_ROW
};

const char *lm_dtype_name(enum lm_dtype dtype)
{
    return (unsigned)dtype < LM_DTYPE_END && dtypes[dtype].name ? dtypes[dtype].name : "unknown";
}

bool lm_dtype_parse(const char *name, enum lm_dtype *dtype)
{
    static const struct {
        const char *name;
        enum lm_dtype dtype;
    } others[] = {{"float32", LM_F32}, {"bfloat16", LM_BF16}, {"float16", LM_F16}};
    for (int i = 0; i < LM_DTYPE_END; i++)
        if (dtypes[i].name && !strcmp(name, dtypes[i].name)) {
            *dtype = (enum lm_dtype)i;
            return true;
        }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(name, others[i].name)) {
            *dtype = others[i].dtype;
            return true;
        }
    return false;
}

int lm_dtype_bits(enum lm_dtype dtype)
{
    return (unsigned)dtype < LM_DTYPE_END ? dtypes[dtype].bits : 0;
}

int lm_dtype_block_elements(enum lm_dtype dtype)
{
    return (unsigned)dtype < LM_DTYPE_END ? dtypes[dtype].elements : 0;
}

int lm_dtype_block_bytes(enum lm_dtype dtype)
{
    return (unsigned)dtype < LM_DTYPE_END ? dtypes[dtype].bytes : 0;
}

bool lm_dtype_is_block(enum lm_dtype dtype)
{
    return dtype > LM_DTYPE_COUNT && dtype < LM_DTYPE_END;
}

bool lm_dtype_bytes(enum lm_dtype dtype, uint64_t count, uint64_t *bytes)
{
    uint64_t bits;
    if (lm_dtype_is_block(dtype)) {
        const uint64_t elements = (uint64_t)dtypes[dtype].elements;
        return count % elements == 0 && !__builtin_mul_overflow(count / elements, (uint64_t)dtypes[dtype].bytes, bytes);
    }
    if (__builtin_mul_overflow(count, (uint64_t)lm_dtype_bits(dtype), &bits) || bits % 8 != 0)
        return false;
    *bytes = bits / 8;
    return true;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float lm_bf16_to_f32(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

uint16_t lm_f32_to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40); /* NaN: made quiet, so that cutting its bits cannot make it infinity */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float lm_f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    if (exponent == 31)
        return float_of(sign | 0x7f800000 | fraction << 13);
    if (exponent == 0)
        return float_of(sign | bits_of((float)fraction * 0x1p-24f)); /* subnormal or zero: exact in fp32 */
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t lm_f32_to_f16(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x3ff));
    if (size >= 0x477ff000) /* 65520 lies half-way between the largest fp16 and what would follow */
        return (uint16_t)(sign | 0x7c00);
    if (size < 0x38800000) /* below 2^-14: units of 2^-24, which is the spacing of fp32 from 0.5 to 1 */
        return (uint16_t)(sign | (bits_of(float_of(size) + 0.5f) - bits_of(0.5f)));
    return (uint16_t)(sign | ((size - (112u << 23) + 0xfff + (size >> 13 & 1)) >> 13));
}

/* The fp32 number that a second rounding to fewer bits treats as the double itself ("round to odd"): where the
 * double lies between two fp32 numbers, the one whose last bit is 1. */
static float to_odd(double value)
{
    float near = (float)value;
    uint32_t bits = bits_of(near);
    if ((double)near == value || value != value || bits & 1)
        return near;
    bool away = (near > 0 ? (double)near > value : (double)near < value) && near != 0;
    return near == 0 ? float_of((value < 0 ? 0x80000000 : 0) | 1) : float_of(away ? bits - 1 : bits + 1);
}

static float load(enum lm_dtype from, const unsigned char *in, size_t i)
{
    uint16_t half;
    float single;
    double both;
    switch (from) {
    case LM_BF16:
        memcpy(&half, in + 2 * i, 2);
        return lm_bf16_to_f32(half);
    case LM_F16:
        memcpy(&half, in + 2 * i, 2);
        return lm_f16_to_f32(half);
    case LM_F64:
        memcpy(&both, in + 8 * i, 8);
        return to_odd(both);
    default:
        memcpy(&single, in + 4 * i, 4);
        return single;
    }
}

static void store(enum lm_dtype to, unsigned char *out, size_t i, float value)
{
    uint16_t half;
    double both;
    switch (to) {
    case LM_BF16:
        half = lm_f32_to_bf16(value);
        memcpy(out + 2 * i, &half, 2);
        return;
    case LM_F16:
        half = lm_f32_to_f16(value);
        memcpy(out + 2 * i, &half, 2);
        return;
    case LM_F64:
        both = (double)value;
        memcpy(out + 8 * i, &both, 8);
        return;
    default:
        memcpy(out + 4 * i, &value, 4);
    }
}

static void f64_to_f32(unsigned char *out, const unsigned char *in, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double both;
        memcpy(&both, in + 8 * i, 8);
        float single = (float)both;
        memcpy(out + 4 * i, &single, 4);
    }
}

static bool is_float(enum lm_dtype dtype)
{
    return dtype == LM_F32 || dtype == LM_BF16 || dtype == LM_F16 || dtype == LM_F64;
}

/* With `to` and `from` constant the compiler drops the switches in load and store. */
static inline __attribute__((always_inline)) void convert_all(enum lm_dtype to, unsigned char *restrict out,
                                                              enum lm_dtype from, const unsigned char *restrict in,
                                                              size_t count)
{
    for (size_t i = 0; i < count; i++)
        store(to, out, i, load(from, in, i));
}

bool lm_convert(enum lm_dtype to, void *out, enum lm_dtype from, const void *in, size_t count)
{
    if (lm_dtype_is_block(to) || lm_dtype_is_block(from))
        return lm_convert_blocks(to, out, from, in, count);
    if (!is_float(to) || !is_float(from))
        return false;
    if (count == 0)
        return true;
    if (to == from)
        memmove(out, in, count * (size_t)lm_dtype_bits(to) / 8);
    else if (to == LM_F32 && from == LM_F64)
        f64_to_f32(out, in, count);
    else if (to == LM_F32 && from == LM_BF16)
        convert_all(LM_F32, out, LM_BF16, in, count);
    else if (to == LM_BF16 && from == LM_F32)
        convert_all(LM_BF16, out, LM_F32, in, count);
    else if (to == LM_F32 && from == LM_F16)
        convert_all(LM_F32, out, LM_F16, in, count);
    else if (to == LM_F16 && from == LM_F32)
        convert_all(LM_F16, out, LM_F32, in, count);
    else
        convert_all(to, out, from, in, count);
    return true;
}
