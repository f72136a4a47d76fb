#include "compute/cpu/cpu.h"

#include <stdio.h>

struct isa {
    enum lm_isa isa;
    const char *name;
    const struct lm_ops *ops;
    const struct lm_cpu_limits *limits;
};

/* Best last. */
static const struct isa isas[] = {
#ifdef LM_HAVE_SIMD_SCALAR
    {LM_ISA_SCALAR, "scalar", &lm_simd_ops_scalar, &lm_simd_limits_scalar},
#endif
#ifdef LM_HAVE_SIMD_AVX2
    {LM_ISA_AVX2, "avx2", &lm_simd_ops_avx2, &lm_simd_limits_avx2},
#endif
#ifdef LM_HAVE_SIMD_AVX512
    {LM_ISA_AVX512, "avx512", &lm_simd_ops_avx512, &lm_simd_limits_avx512},
#endif
#ifdef LM_HAVE_SIMD_AVX512VNNI
    {LM_ISA_AVX512VNNI, "avx512vnni", &lm_simd_ops_avx512vnni, &lm_simd_limits_avx512vnni},
#endif
#ifdef LM_HAVE_SIMD_AVX512BF16
    {LM_ISA_AVX512BF16, "avx512bf16", &lm_simd_ops_avx512bf16, &lm_simd_limits_avx512bf16},
#endif
};

/* Asks processor and operating system (the builtins also look at which registers the system saves). */
static bool machine_has(enum lm_isa isa)
{
#if defined(__x86_64__)
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa == LM_ISA_AVX2)
        return avx2;
    if (isa == LM_ISA_AVX512BF16)
        return machine_has(LM_ISA_AVX512VNNI) && __builtin_cpu_supports("avx512bf16");
    if (isa == LM_ISA_AVX512VNNI)
        return machine_has(LM_ISA_AVX512) && __builtin_cpu_supports("avx512vnni");
    if (isa == LM_ISA_AVX512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#endif
    return isa == LM_ISA_SCALAR;
}

int lm_cpu_open(struct lm_device *device, loam_error *error)
{
    const struct isa *picked = NULL;
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        if (machine_has(isas[i].isa) && (device->isa == LM_ISA_AUTO || device->isa == isas[i].isa))
            picked = &isas[i];
    if (!picked)
        return lm_fail(error, LOAM_EUNSUPPORTED, "device: instruction set: this machine does not have the one asked for "
                       "(enum lm_isa %d); use auto", (int)device->isa);
    device->isa = picked->isa;
    device->ops = picked->ops;
    snprintf(device->name, sizeof device->name, "cpu %s", picked->name);
    return LOAM_OK;
}

const struct lm_cpu_limits *lm_cpu_limits(const struct lm_device *device)
{
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        if (isas[i].isa == device->isa)
            return isas[i].limits;
    return NULL;
}
