/* The fast CPU table: simd/ compiled for each instruction set, and oneDNN.
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
extern const struct lm_ops lm_simd_ops_scalar, lm_simd_ops_avx2, lm_simd_ops_avx512;

#endif
