/* The random bits of stochastic rounding: a hash of a key and a place, the same for the plain and the fast operations.
 *
 *     uint32_t bits = lm_mix32((uint32_t)place ^ low) ;          // of the weight (low half) and of m (high half)
 *     uint32_t more = lm_mix32(bits ^ high);                     // of v
 *
 * The mixing is a multiply-xorshift permutation of 32 bits (constants by Chris Wellons, "lowbias32"). `place` is the low half of an
 * element's place in its parameter; the high half goes into the key (lm_rounding_key), so that places from 2^32 on have bits of their
 * own. */
#ifndef LOAM_COMPUTE_RANDOM_BITS_H
#define LOAM_COMPUTE_RANDOM_BITS_H

#include <stdint.h>

static inline uint32_t lm_mix32(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352dU;
    x ^= x >> 15;
    x *= 0x846ca68bU;
    x ^= x >> 16;
    return x;
}

/* The two halves of the key for the elements of one op: those from `first` on, whose places share their upper 32 bits. */
static inline void lm_rounding_key(uint64_t key, int64_t first, uint32_t *low, uint32_t *high)
{
    const uint32_t upper = lm_mix32((uint32_t)((uint64_t)first >> 32));
    *low = lm_mix32((uint32_t)key ^ upper);
    *high = lm_mix32((uint32_t)(key >> 32) + *low);
}

#endif
