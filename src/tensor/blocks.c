/* GGUF's block types, a block at a time, in plain C: the judge of every faster kernel. Layouts: tensor.h, after ggml's
 * description of its types. The order of operations is the reference's, so that results are equal to the bit. */
#include "tensor/blocks.h"

#include <math.h>
#include <string.h>

enum { MOST_ELEMENTS = 256, SMALL = 32, LARGE = 256 };

static float read_half(const unsigned char *in)
{
    uint16_t bits;
    memcpy(&bits, in, 2);
    return lm_f16_to_f32(bits);
}

static void write_half(unsigned char *out, float value)
{
    uint16_t bits = lm_f32_to_f16(value);
    memcpy(out, &bits, 2);
}

static void open_q8_0(const unsigned char *in, float *out)
{
    const float d = read_half(in);
    for (int i = 0; i < SMALL; i++)
        out[i] = (float)(int8_t)in[2 + i] * d;
}

static void open_q4_0(const unsigned char *in, float *out)
{
    const float d = read_half(in);
    for (int i = 0; i < SMALL / 2; i++) {
        out[i] = d * (float)((in[2 + i] & 15) - 8);
        out[i + SMALL / 2] = d * (float)((in[2 + i] >> 4) - 8);
    }
}

static void open_q4_1(const unsigned char *in, float *out)
{
    const float d = read_half(in), m = read_half(in + 2);
    for (int i = 0; i < SMALL / 2; i++) {
        out[i] = d * (float)(in[4 + i] & 15) + m;
        out[i + SMALL / 2] = d * (float)(in[4 + i] >> 4) + m;
    }
}

/* Element i of a block with 5 bits: `high` has bit 4 of each, `low` the rest in halves. */
static int five_bits(const unsigned char *high, const unsigned char *low, int i)
{
    const int half = i < SMALL / 2 ? low[i] & 15 : low[i - SMALL / 2] >> 4;
    return half | (high[i / 8] >> i % 8 & 1) << 4;
}

static void open_q5_0(const unsigned char *in, float *out)
{
    const float d = read_half(in);
    for (int i = 0; i < SMALL; i++)
        out[i] = d * (float)(five_bits(in + 2, in + 6, i) - 16);
}

static void open_q5_1(const unsigned char *in, float *out)
{
    const float d = read_half(in), m = read_half(in + 2);
    for (int i = 0; i < SMALL; i++)
        out[i] = d * (float)five_bits(in + 4, in + 8, i) + m;
}

/* Scale and minimum of group `group` of 8: six bits each. The first four stand in bytes 0-3 and 4-7; the others have
 * their low four bits in bytes 8-11 and their upper two on top of those. */
static void scale_and_minimum(const unsigned char *packed, int group, int *scale, int *minimum)
{
    if (group < 4) {
        *scale = packed[group] & 63;
        *minimum = packed[group + 4] & 63;
        return;
    }
    *scale = (packed[group + 4] & 15) | packed[group - 4] >> 6 << 4;
    *minimum = packed[group + 4] >> 4 | packed[group] >> 6 << 4;
}

/* Q4_K and Q5_K (`high` not NULL): `low` has 32 bytes for each two groups of 32, the first in the low halves. */
static void open_scaled(const unsigned char *in, const unsigned char *high, const unsigned char *low, float *out)
{
    const float d = read_half(in), m = read_half(in + 2);
    for (int group = 0; group < 8; group++) {
        int scale, minimum;
        scale_and_minimum(in + 4, group, &scale, &minimum);
        const float step = d * (float)scale, base = m * (float)minimum;
        for (int i = 0; i < 32; i++) {
            int q = low[group / 2 * 32 + i] >> group % 2 * 4 & 15;
            if (high)
                q |= (high[i] >> group & 1) << 4;
            out[32 * group + i] = step * (float)q - base;
        }
    }
}

static void open_q4_k(const unsigned char *in, float *out)
{
    open_scaled(in, NULL, in + 16, out);
}

static void open_q5_k(const unsigned char *in, float *out)
{
    open_scaled(in, in + 16, in + 48, out);
}

/* Two halves of 128 elements, each 64 bytes of low bits (32 elements in the low halves of bytes 0-31, 32 in those of
 * 32-63, then the high halves) and 32 bytes of upper bits (two for each of its four runs of 32). */
static void open_q6_k(const unsigned char *in, float *out)
{
    const unsigned char *scales = in + 192;
    const float d = read_half(in + 208);
    for (int i = 0; i < LARGE; i++) {
        const int half = i / 128, run = i % 128 / 32, place = i % 32;
        const int low = in[64 * half + run % 2 * 32 + place] >> run / 2 * 4 & 15;
        const int high = in[128 + 32 * half + place] >> 2 * run & 3;
        out[i] = d * (float)(int8_t)scales[i / 16] * (float)((low | high << 4) - 32);
    }
}

/* The largest size in the block and the first value that has it; a NaN makes the block one of NaN. */
static float largest(const float *in, float *value)
{
    float size = 0;
    *value = 0;
    for (int i = 0; i < SMALL; i++) {
        if (in[i] != in[i]) {
            *value = in[i];
            return in[i];
        }
        if (fabsf(in[i]) > size) {
            size = fabsf(in[i]);
            *value = in[i];
        }
    }
    return size;
}

/* A whole number within bounds, 0 for NaN. */
static int bounded(float value, int least, int most)
{
    return value != value ? 0 : value < (float)least ? least : value > (float)most ? most : (int)value;
}

static void close_q8_0(const float *in, unsigned char *out)
{
    float value, d = largest(in, &value) / 127, inverse = d != 0 ? 1 / d : 0;
    write_half(out, d);
    for (int i = 0; i < SMALL; i++)
        out[2 + i] = (unsigned char)bounded(roundf(in[i] * inverse), -127, 127);
}

static void close_q4_0(const float *in, unsigned char *out)
{
    float value;
    largest(in, &value);
    const float d = value / -8, inverse = d != 0 ? 1 / d : 0;
    write_half(out, d);
    for (int i = 0; i < SMALL / 2; i++) {
        const int low = bounded(in[i] * inverse + 8.5f, 0, 15);
        const int high = bounded(in[i + SMALL / 2] * inverse + 8.5f, 0, 15);
        out[2 + i] = (unsigned char)(low | high << 4);
    }
}

typedef void opener(const unsigned char *in, float *out);
typedef void closer(const float *in, unsigned char *out);

static opener *opener_of(enum lm_dtype dtype)
{
    switch (dtype) {
    case LM_Q8_0: return open_q8_0;
    case LM_Q4_0: return open_q4_0;
    case LM_Q4_1: return open_q4_1;
    case LM_Q5_0: return open_q5_0;
    case LM_Q5_1: return open_q5_1;
    case LM_Q4_K: return open_q4_k;
    case LM_Q5_K: return open_q5_k;
    case LM_Q6_K: return open_q6_k;
    default: return NULL;
    }
}

static bool is_narrow_float(enum lm_dtype dtype)
{
    return dtype == LM_F32 || dtype == LM_BF16 || dtype == LM_F16;
}

bool lm_convert_blocks(enum lm_dtype to, void *out, enum lm_dtype from, const void *in, size_t count)
{
    const enum lm_dtype packed = lm_dtype_is_block(from) ? from : to, loose = packed == from ? to : from;
    const size_t elements = (size_t)lm_dtype_block_elements(packed), bytes = (size_t)lm_dtype_block_bytes(packed);
    if (count % elements != 0)
        return false;
    if (to == from) {
        if (count)
            memmove(out, in, count / elements * bytes);
        return true;
    }
    opener *open = packed == from ? opener_of(from) : NULL;
    closer *close = packed == from ? NULL : to == LM_Q8_0 ? close_q8_0 : to == LM_Q4_0 ? close_q4_0 : NULL;
    if (!is_narrow_float(loose) || (!open && !close))
        return false;
    const size_t width = (size_t)lm_dtype_block_bytes(loose) * elements;
    for (size_t i = 0; i < count / elements; i++) {
        float values[MOST_ELEMENTS];
        if (open) {
            open((const unsigned char *)in + i * bytes, values);
            lm_convert(loose, (char *)out + i * width, LM_F32, values, elements);
        } else {
            lm_convert(LM_F32, values, loose, (const char *)in + i * width, elements);
            close(values, (unsigned char *)out + i * bytes);
        }
    }
    return true;
}
