/* Random numbers: streams whose state is four words, and numbers keyed by what they are for.
 *
 * Streams are xoshiro256++ seeded by SplitMix64 (Blackman and Vigna, 2018); keyed numbers are Philox4x32-10
 * (Salmon et al., 2011): the same key gives the same number whatever was drawn before, in any thread.
 */
#ifndef LOAM_BASE_RANDOM_H
#define LOAM_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct lm_random {
    uint64_t state[4];
};
struct lm_random lm_random_seed(uint64_t seed, uint64_t stream);
uint64_t lm_random_bits(struct lm_random *random);
uint64_t lm_random_below(struct lm_random *random, uint64_t bound);   /* [0, bound), unbiased; bound > 0 */
double lm_random_unit(struct lm_random *random);                      /* [0, 1), 53 bits */
double lm_random_normal(struct lm_random *random);                    /* mean 0, variance 1; no hidden state */
void lm_random_shuffle(struct lm_random *random, uint32_t *items, size_t count);
/* 128 random bits for (key, a, b). */
void lm_random_keyed(uint64_t key, uint64_t a, uint64_t b, uint32_t out[4]);

#endif
