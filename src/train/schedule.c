/* Learning rate: warm-up, then constant, a straight line, or half a cosine (Loshchilov and Hutter, 2017,
 * arXiv:1608.03983). */
#include "train.h"

#include <math.h>

int64_t lm_run_warmup_steps(double percent, int64_t steps)
{
    return (int64_t)ceil(percent / 100 * (double)steps - 1e-9);
}

double lm_schedule_rate(const struct lm_run_settings *settings, int64_t step)
{
    const double lr = settings->lr;
    const double least = settings->min_lr < 0 ? lr / 10 : settings->min_lr;
    if (step <= settings->warmup)
        return lr * (double)step / (double)settings->warmup;
    if (settings->schedule == LM_SCHEDULE_CONSTANT)
        return lr;
    const int64_t warmup = settings->warmup > 0 ? settings->warmup : 0;
    if (step >= settings->steps)
        return least;
    const double done = (double)(step - warmup) / (double)(settings->steps - warmup);
    if (settings->schedule == LM_SCHEDULE_LINEAR)
        return lr - (lr - least) * done;
    return least + (lr - least) * 0.5 * (1 + cos(M_PI * done));
}
