#include "simd.h"
#include "compute/cpu/cpu.h"

/* As many sums as hide the latency of a multiply-add on every machine so far (two a cycle, five cycles). */
enum { SUMS = 12 };

/* Multiply-adds on registers and nothing else. The barriers keep the compiler from computing the loop beforehand. */
static float multiply_add(int64_t rounds)
{
    vf sums[SUMS], x = vset(0.999f), y = vset(1e-4f), total = vset(0);
    LM_UNROLL for (int i = 0; i < SUMS; i++)
        sums[i] = vset((float)i);
    for (int64_t r = 0; r < rounds; r++) {
#if defined(__x86_64__)
        __asm__ volatile("" : "+x"(x), "+x"(y));
#endif
        LM_UNROLL for (int i = 0; i < SUMS; i++)
            sums[i] = vfma(sums[i], x, y);
    }
    LM_UNROLL for (int i = 0; i < SUMS; i++)
        total += sums[i];
    return vsum(total);
}

/* Sums `count` floats, a multiple of 8*LM_W, in eight streams of one range. */
static float read_all(const float *x, int64_t count)
{
    vf sums[8] = {{0}};
    for (int64_t i = 0; i < count; i += 8 * LM_W)
        LM_UNROLL for (int j = 0; j < 8; j++) {
            __builtin_prefetch(x + i + j * LM_W + 1024);
            sums[j] += vload(x + i + j * LM_W);
        }
    vf total = vset(0);
    LM_UNROLL for (int j = 0; j < 8; j++)
        total += sums[j];
    return vsum(total);
}

const struct lm_cpu_limits LM_SIMD(lm_simd_limits) = {
    .multiply_add = multiply_add,
    .round_flops = 2 * SUMS * LM_W,
    .read = read_all,
    .read_step = 8 * LM_W,
};
