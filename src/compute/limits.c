/* What the machine can do, measured: the yardstick of every speed that loam states. */
#include "compute/cpu/cpu.h"

#include <string.h>

enum {
    SLICE = 2000000,            /* rounds of multiply-adds between two looks at the clock: some milliseconds */
    READ_BYTES = 256 << 20      /* several times the largest last-level cache that a core of today gets for itself */
};

/* Takes the result where the compiler cannot know that nobody looks. */
static void keep(float sink)
{
    volatile float kept = sink;
    (void)kept;
}

/* Seconds that every thread takes for SLICE rounds of multiply-adds, all at once. */
static double time_multiply_add(const struct lm_device *device, const struct lm_cpu_limits *with, float *sink)
{
    float total = 0;
    const double start = lm_seconds();
#pragma omp parallel num_threads(device->threads) reduction(+ : total)
    total += with->multiply_add(SLICE);
    *sink += total;
    return lm_seconds() - start;
}

/* Seconds for reading the block once, each thread its own part. */
static double time_read(const struct lm_device *device, const struct lm_cpu_limits *with, const float *block,
                        int64_t steps, float *sink)
{
    const int64_t threads = device->threads;
    float total = 0;
    const double start = lm_seconds();
#pragma omp parallel for num_threads(device->threads) schedule(static) reduction(+ : total)
    for (int64_t t = 0; t < threads; t++) {
        const int64_t first = steps * t / threads, last = steps * (t + 1) / threads;
        total += with->read(block + first * with->read_step, (last - first) * with->read_step);
    }
    *sink += total;
    return lm_seconds() - start;
}

static const struct lm_cpu_limits *find_limits(const struct lm_device *device, loam_error *error)
{
    const struct lm_cpu_limits *with = lm_cpu_limits(device);
    if (!with)
        lm_fail(error, LOAM_EUNSUPPORTED, "%s: this build has nothing to measure its limits with; use another instruction set",
                device->name);
    return with;
}

int lm_device_read_speed(struct lm_device *device, void *block, size_t bytes, double seconds, double *gbps, loam_error *error)
{
    const struct lm_cpu_limits *with = find_limits(device, error);
    if (!with)
        return LOAM_EUNSUPPORTED;
    const int64_t steps = (int64_t)(bytes / sizeof(float)) / with->read_step;
    if (steps < device->threads)
        return lm_fail(error, LOAM_EUSAGE, "%zu bytes to read, wanted some thousands at least", bytes);
    double best = 1e30;
    float sink = 0;
    const double end = lm_seconds() + seconds;
    do {
        const double one = time_read(device, with, block, steps, &sink);
        best = one < best ? one : best;
    } while (lm_seconds() < end);
    keep(sink);
    *gbps = (double)(steps * with->read_step) * sizeof(float) / best * 1e-9;
    return LOAM_OK;
}

static double multiply_add_speed(const struct lm_device *device, const struct lm_cpu_limits *with, double seconds)
{
    double best = 1e30;
    float sink = 0;
    const double end = lm_seconds() + seconds;
    do {
        const double one = time_multiply_add(device, with, &sink);
        best = one < best ? one : best;
    } while (lm_seconds() < end);
    keep(sink);
    return (double)SLICE * (double)with->round_flops * device->threads / best * 1e-9;
}

int lm_device_peak(struct lm_device *device, double seconds, double *gflops_f32, loam_error *error)
{
    const struct lm_cpu_limits *with = find_limits(device, error);
    if (!with)
        return LOAM_EUNSUPPORTED;
    *gflops_f32 = multiply_add_speed(device, with, seconds);
    return LOAM_OK;
}

int lm_device_limits(struct lm_device *device, double seconds, struct lm_limits *limits, loam_error *error)
{
    const struct lm_cpu_limits *with = find_limits(device, error);
    if (!with)
        return LOAM_EUNSUPPORTED;
    void *block = lm_block_map(READ_BYTES, error);
    if (!block)
        return LOAM_ENOMEM;
    memset(block, 0, READ_BYTES);    /* a page never written is one page of zeros for all, and stays in the cache */
    double gbps;
    int code = lm_device_read_speed(device, block, READ_BYTES, seconds / 2, &gbps, error);
    lm_block_unmap(block, READ_BYTES);
    if (code != LOAM_OK)
        return code;
    *limits = (struct lm_limits){.gflops_f32 = multiply_add_speed(device, with, seconds / 2), .read_gbps = gbps};
    return LOAM_OK;
}

const char *lm_device_isa(const struct lm_device *device)
{
    static const char *const names[] = {
        [LM_ISA_AUTO] = "plain", [LM_ISA_SCALAR] = "scalar", [LM_ISA_AVX2] = "avx2", [LM_ISA_AVX512] = "avx512",
        [LM_ISA_AVX512VNNI] = "avx512vnni", [LM_ISA_AVX512BF16] = "avx512bf16"};
    return names[device->isa];
}
