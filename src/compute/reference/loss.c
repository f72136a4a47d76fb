#include "compute/reference/reference.h"

#include <math.h>

/* loss = log(sum of exp(logits)) - logits[target]; its gradient is softmax(logits) - onehot(target). The largest logit is
 * taken off first, so that nothing overflows. */
static double row_loss(int64_t vocabulary, real *logits, int64_t target, float scale, bool gradient)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < vocabulary; i++)
        most = logits[i] > most ? logits[i] : most;
    for (int64_t i = 0; i < vocabulary; i++)
        sum += exp(logits[i] - most);
    double loss = log(sum) + (most - logits[target]);
    for (int64_t i = 0; i < vocabulary && gradient; i++)
        logits[i] = (real)((double)scale * (exp(logits[i] - most) / sum - (i == target)));
    return loss;
}

void LM_PLAIN(cross_entropy)(struct lm_device *device, int64_t rows, int64_t vocabulary, real *logits, int64_t stride,
                             const int32_t *targets, float scale, bool gradient, real *loss)
{
    (void)device;
    for (int64_t r = 0; r < rows; r++) {
        real *row = logits + r * stride;    /* [V] */
        if (targets[r] >= 0) {
            loss[r] = (real)row_loss(vocabulary, row, targets[r], scale, gradient);
            continue;
        }
        loss[r] = 0;
        for (int64_t i = 0; i < vocabulary && gradient; i++)
            row[i] = 0;
    }
}
