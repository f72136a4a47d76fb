#include "simd.h"

#include <math.h>

/* The greatest logit, and the sum of e^(logit - greatest); `keep` leaves those powers in place of the logits. */
static float row_sum(float *x, int64_t count, bool keep, float *greatest)
{
    vf top = vset(-INFINITY);
    int64_t whole = count / LM_W * LM_W;
    for (int64_t i = 0; i < whole; i += LM_W)
        top = vmax(vload(x + i), top);
    float most = vgreatest(top);
    for (int64_t i = whole; i < count; i++)
        most = x[i] > most ? x[i] : most;
    vf sums[2] = {{0}};
    for (int64_t i = 0; i < count; i += LM_W) {
        vf e = vexp(vload_n(x + i, count - i) - most);
        if (i >= whole) {
            float part[LM_W] = {0};
            vstore_n(part, e, count - i);
            e = vload(part);
        }
        sums[i / LM_W % 2] += e;
        if (keep)
            vstore_n(x + i, e, count - i);
    }
    *greatest = most;
    return vsum(sums[0] + sums[1]);
}

void lm_simd_cross_entropy(struct lm_device *device, int64_t rows, int64_t vocabulary, float *logits, int64_t stride,
                           const int32_t *targets, float scale, bool gradient, float *loss)
{
#pragma omp parallel for num_threads(device->threads) schedule(dynamic, 1) if (rows * vocabulary > LM_SIMD_ALONE)
    for (int64_t r = 0; r < rows; r++) {
        float *x = logits + r * stride;
        if (targets[r] < 0) {
            loss[r] = 0;
            if (gradient)
                memset(x, 0, (size_t)vocabulary * sizeof *x);
            continue;
        }
        float greatest, wanted = x[targets[r]];
        float sum = row_sum(x, vocabulary, gradient, &greatest);
        loss[r] = logf(sum) + (greatest - wanted);    /* in this order: large logits cancel exactly */
        if (!gradient)
            continue;
        vf factor = vset(scale / sum);
        for (int64_t i = 0; i < vocabulary; i += LM_W)
            vstore_n(x + i, vload_n(x + i, vocabulary - i) * factor, vocabulary - i);
        x[targets[r]] -= scale;
    }
}
