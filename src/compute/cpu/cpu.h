/* The fast CPU table: simd/ compiled for each instruction set.
 *
 *     device->isa = LM_ISA_AUTO;                       // or one of them
 *     device->threads = 2;
 *     if (lm_cpu_open(device, error)) return error->code;
 */
#ifndef LOAM_COMPUTE_CPU_H
#define LOAM_COMPUTE_CPU_H

#include "compute/device.h"

/* Reads device->isa and device->threads; sets device->isa to the one picked, device->ops and device->name. A forced instruction
 * set that this machine or build lacks is LOAM_EUNSUPPORTED. */
int lm_cpu_open(struct lm_device *device, loam_error *error);

/* The tables, one for each build of simd/. Those that a build does not have are not defined. */
extern const struct lm_ops lm_simd_ops_scalar, lm_simd_ops_avx2, lm_simd_ops_avx512, lm_simd_ops_avx512vnni,
    lm_simd_ops_avx512bf16;

/* What the bench measures the machine's limits with. Results are returned so that nothing can be left out. */
struct lm_cpu_limits {
    float (*multiply_add)(int64_t rounds);    /* on registers only, one thread */
    int64_t round_flops;                      /* floating-point operations a round, two a multiply-add */
    float (*read)(const float *x, int64_t count);
    int64_t read_step;                        /* `count` is a multiple */
};
extern const struct lm_cpu_limits lm_simd_limits_scalar, lm_simd_limits_avx2, lm_simd_limits_avx512,
    lm_simd_limits_avx512vnni, lm_simd_limits_avx512bf16;
/* Those of the instruction set that a fast device has picked. */
const struct lm_cpu_limits *lm_cpu_limits(const struct lm_device *device);

#endif
