/* Inside train only: how long a step takes, from how long its operations take here.
 *
 *     struct lm_speed speed;
 *     if (lm_speed_measure(config, settings, device, &speed, error)) return error->code;
 *     double seconds = lm_speed_step(&speed, config, settings);
 *
 * Each kind of operation is timed once, at the shapes of the model, cut down to some 4e9 floating-point operations; a step is their sum,
 * each in proportion to its work. What is on disk is read and written while others compute: the longer of both counts, and moving it
 * takes a processor's time from those who compute.
 */
#ifndef LOAM_TRAIN_SPEED_H
#define LOAM_TRAIN_SPEED_H

#include "run.h"

enum { LM_SPEED_LINEARS = 5, LM_SPEED_STATES = 3 };
struct lm_speed {
    /* Seconds a floating-point operation: of qkv, out, up, down, head; forward, input's gradient, weight's gradient; and seconds a weight
     * more, each time it is used, because it comes from memory. */
    double linear[LM_SPEED_LINEARS][3], fetched[LM_SPEED_LINEARS][3];
    double pair[2];                       /* seconds a pair of positions, head and layer: forward, backward */
    double norm[2], activation[2], rope;  /* seconds a float: forward, backward */
    double entropy;                       /* seconds a logit */
    double step[LM_SPEED_STATES];         /* seconds a parameter: AdamW by kind of state, */
    double square;                        /* norm and clearing of the gradient */
    double disk, copy;                    /* seconds a byte: from or to the disk; that a processor is busy with it */
};
/* `folder`: whose disk; NULL: none is used. */
int lm_speed_measure(const struct lm_config *config, const struct lm_run_settings *settings, struct lm_device *device,
                     const char *folder, struct lm_speed *speed, loam_error *error);
double lm_speed_step(const struct lm_speed *speed, const struct lm_config *config, const struct lm_run_settings *settings,
                     const struct lm_run_plan *plan);

#endif
