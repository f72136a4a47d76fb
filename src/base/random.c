#include "base.h"

#include <math.h>

/* SplitMix64: spreads a seed over a state so that near seeds give far streams. */
static uint64_t split_mix(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

struct lm_random lm_random_seed(uint64_t seed, uint64_t stream)
{
    uint64_t mixed = stream;
    uint64_t state = seed ^ split_mix(&mixed);
    struct lm_random random;
    for (int i = 0; i < 4; i++)
        random.state[i] = split_mix(&state);
    return random;
}

static uint64_t rotate(uint64_t value, int by)
{
    return (value << by) | (value >> (64 - by));
}

/* xoshiro256++ 1.0 */
uint64_t lm_random_bits(struct lm_random *random)
{
    uint64_t *s = random->state;
    const uint64_t result = rotate(s[0] + s[3], 23) + s[0];
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* Draws again in the last, incomplete run of `bound` values, so that all results are equally likely. */
uint64_t lm_random_below(struct lm_random *random, uint64_t bound)
{
    const uint64_t reject_below = (0 - bound) % bound;    /* 2^64 mod bound */
    uint64_t bits;
    do
        bits = lm_random_bits(random);
    while (bits < reject_below);
    return bits % bound;
}

double lm_random_unit(struct lm_random *random)
{
    return (double)(lm_random_bits(random) >> 11) * 0x1p-53;
}

/* Box and Muller, 1958; the second number of the pair is thrown away so that the four words are the whole state. */
double lm_random_normal(struct lm_random *random)
{
    const double u = 1.0 - lm_random_unit(random);    /* (0, 1]: its logarithm is finite */
    const double v = lm_random_unit(random);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

void lm_random_shuffle(struct lm_random *random, uint32_t *items, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t k = (size_t)lm_random_below(random, i);
        uint32_t item = items[i - 1];
        items[i - 1] = items[k];
        items[k] = item;
    }
}

/* Philox4x32-10 */
void lm_random_keyed(uint64_t key, uint64_t a, uint64_t b, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)a, c1 = (uint32_t)(a >> 32), c2 = (uint32_t)b, c3 = (uint32_t)(b >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        const uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}
