/* The codes of 8-bit optimizer state (struct lm_adamw has what they mean), one at a time. `bits` of mantissa, 3 for m and 4 for the
 * root of v, below 4 of exponent.
 *
 *     int code = lm_code_of(x / scale, 3, noise);
 *     double back = scale * lm_code_value(code, 3);
 */
#ifndef LOAM_COMPUTE_NARROW_H
#define LOAM_COMPUTE_NARROW_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* A block whose greatest is smaller than this becomes 0: the scale's inverse is to be finite. */
#define LM_LEAST_SCALE 1e-30F

static inline float lm_greatest_code(int bits)
{
    return 2 - ldexpf(1, -bits);
}

/* The unit of the codes that count linearly is 2^-(14 + bits). */
static inline double lm_code_value(int code, int bits)
{
    const int exponent = code >> bits, mantissa = code & ((1 << bits) - 1);
    if (exponent == 0)
        return ldexp(mantissa, -14 - bits);
    return ldexp((1 << bits) + mantissa, exponent - 15 - bits);
}

/* x from 0 to lm_greatest_code, down or up with `noise` of 23 - bits bits; half of its greatest rounds to nearest. */
static inline int lm_code_of(float x, int bits, uint32_t noise)
{
    const int shift = 23 - bits, most = (16 << bits) - 1;
    uint32_t pattern;
    noise &= (1U << shift) - 1;
    memcpy(&pattern, &x, sizeof pattern);
    if (x < 0x1p-14F)
        return (int)floor((double)x * ldexp(1, 14 + bits) + (double)noise / (double)(1U << shift));
    const int code = (int)((pattern + noise) >> shift) - (112 << bits);
    return code > most ? most : code;
}

#endif
