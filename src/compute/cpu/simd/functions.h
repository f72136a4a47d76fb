/* Elementary functions on vectors. The polynomials are least-maximum fits made for this file (iteratively reweighted least
 * squares in 50-digit arithmetic); the errors stated are those of fit and arithmetic together, measured against double.
 *
 *     vf p = vexp(scores - vset(greatest));
 */
#ifndef LOAM_COMPUTE_CPU_SIMD_FUNCTIONS_H
#define LOAM_COMPUTE_CPU_SIMD_FUNCTIONS_H

#include "vector.h"

/* e^x: relative error below 2e-7. Below -87.3 it is 0, above 88.7 infinity; NaN stays NaN.
 * x = n*ln 2 + r with |r| <= ln 2 / 2; adding 1.5*2^23 rounds x/ln 2 to n and leaves n in the low bits of the sum. */
LM_INLINE vf vexp(vf x)
{
    const float shifter = 12582912.0f;
    vf bounded = vmin(vset(88.75f), vmax(vset(-88.0f), x));
    vf shifted = vfma(bounded, vset(1.44269504f), vset(shifter));
    vf n = shifted - shifter;
    vf r = vfma(n, vset(-0.693359375f), bounded);
    r = vfma(n, vset(2.12194440e-4f), r);
    vf p = vset(1.381454229e-3f);
    p = vfma(p, r, vset(8.368745045e-3f));
    p = vfma(p, r, vset(4.166839074e-2f));
    p = vfma(p, r, vset(1.666652040e-1f));
    p = vfma(p, r, vset(4.999999343e-1f));
    p = vfma(p, r * r, r) + 1.0f;
    /* 2^n in two factors, so that neither leaves the range of a float while the product may. */
    vi exponent = (vi)shifted - (vi)vset(shifter);
    vi first = exponent >> 1;
    vf y = p * (vf)((first + 127) << 23) * (vf)((exponent - first + 127) << 23);
    return vwhere_less(x, vset(-87.33f), vset(0), y);
}

/* 1/(1 + e^-x): relative error below 3e-7. */
LM_INLINE vf vsigmoid(vf x)
{
    return 1.0f / (1.0f + vexp(-x));
}

/* The normal distribution's integral up to x, and e^(-x*x/2), which its derivative needs as well. With z = |x|/sqrt 2 and
 * t = 1/(1 + 0.4 z), erfc(z) e^(z*z) is a polynomial of degree 9 in t to 3e-8 relative (fitted for z <= 9.5; beyond it e^(-z*z)
 * is 0). Absolute error below 2e-7. */
LM_INLINE vf vnormal(vf x, vf *bell)
{
    vf z = (vf)((vi)x & 0x7fffffff) * 0.707106781f;
    vf t = 1.0f / vfma(vset(0.4f), z, vset(1.0f));
    vf p = vset(2.694238473e-2f);
    p = vfma(p, t, vset(-6.536182627e-2f));
    p = vfma(p, t, vset(-8.542770786e-2f));
    p = vfma(p, t, vset(3.043223757e-1f));
    p = vfma(p, t, vset(-9.190603789e-2f));
    p = vfma(p, t, vset(2.809516489e-1f));
    p = vfma(p, t, vset(1.732329860e-1f));
    p = vfma(p, t, vset(2.322362208e-1f));
    p = vfma(p, t, vset(2.249782964e-1f));
    p = vfma(p, t, vset(3.168670083e-5f));
    *bell = vexp(-0.5f * x * x);
    vf tail = 0.5f * p * *bell;
    return vwhere_less(x, vset(0), tail, 1.0f - tail);
}

#endif
