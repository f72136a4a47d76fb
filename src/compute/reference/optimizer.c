#include "compute/reference/reference.h"

#include <math.h>

/* The formulas stand at struct lm_adamw. A step is computed in double from the stored numbers; what is stored is rounded
 * once. */
void LM_PLAIN(adamw)(struct lm_device *device, const struct lm_adamw *work)
{
    (void)device;
    double correction1 = 1 - pow(work->beta1, (double)work->step);
    double correction2 = 1 - pow(work->beta2, (double)work->step);
    for (int64_t i = 0; i < work->count; i++) {
        double g = work->grad_scale * (double)work->gradient[i];
        double m = work->beta1 * (double)work->m[i] + (1 - work->beta1) * g;
        double v = work->beta2 * (double)work->v[i] + (1 - work->beta2) * g * g;
        double p = work->parameter[i] * (1 - work->lr * work->decay);
        p -= work->lr / correction1 * m / (sqrt(v / correction2) + work->eps);
        work->m[i] = (float)m;
        work->v[i] = (float)v;
        work->parameter[i] = (float)p;
        if (work->rounded)
            work->rounded[i] = lm_f32_to_bf16(work->parameter[i]);
    }
}
