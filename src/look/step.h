/* Inside look: one training step's forward and backward pass over a sequence, in memory of its own.
 *
 *     struct lm_step step;
 *     if (lm_step_run(model, ids, count, NULL, NULL, &step, error)) return error->code;
 *     step.gradients[parameter->offset]
 *     lm_step_free(model, &step);
 */
#ifndef LOAM_LOOK_STEP_H
#define LOAM_LOOK_STEP_H

#include "model/model.h"

struct lm_step {
    struct lm_layout layout;
    struct lm_pass *pass;
    void *block;
    float *gradients;       /* in the order of lm_parameters */
    float *losses;          /* [T]: of predicting the token behind each; 0 where that does not count */
    int32_t *targets;       /* [T] */
    float loss;             /* their mean */
};
/* At least two ids. `trained`: a byte an id, whether predicting it counts, at least one behind the first; NULL: all of them.
 * `watcher` may be NULL; it sees the layers forward, then backward. */
int lm_step_run(struct lm_model *model, const int32_t *ids, int64_t count, const char *trained, const struct lm_watcher *watcher,
                struct lm_step *step, loam_error *error);
void lm_step_free(struct lm_model *model, struct lm_step *step);

#endif
