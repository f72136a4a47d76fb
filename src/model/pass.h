/* What pass.c (running) and pass_plan.c (laying out) share. */
#ifndef LOAM_MODEL_PASS_H
#define LOAM_MODEL_PASS_H

#include "network.h"

/* Layers form groups. Of every group the input of its first layer, its boundary, is kept from the forward to the backward pass;
 * the activations inside are held in one set of slots, which the groups share: the backward pass makes those of a group anew,
 * except for the last group's, which are still there. LM_RECOMPUTE_NONE and _INNER are one group of all layers. */
struct lm_pass {
    struct lm_run run;
    struct lm_pass_options options;
    int64_t rows, group, groups;
    bool inner;                      /* `up` is shared by all slots and made anew */
    bool warm;                       /* has run: every shape of every operation has been seen */

    struct lm_activations *slots;    /* [group] */
    float **boundaries;              /* [groups]: x of each group's first layer; the first options.kept_boundaries of them where
                                        the others are stored elsewhere */
    float *last;                     /* [R,C] output of the last layer */
    float *dx;                       /* [R,C] */
    float *up[2];                    /* with `inner`: forward, backward */
    float *wide[2], *rotated[2];     /* of run: forward, backward */
    float *logits;                   /* [loss_rows, V] */
    float *losses;                   /* [R] */
    float *angles;
    int32_t *positions;              /* [R]: 0..T-1 again and again, where the input has none */
    struct {
        void *block;
        size_t bytes;
    } scratch[3];                    /* of the device: forward, head, backward */
    struct lm_gradients in_block;    /* for lm_pass_run */
};

/* Where the boundary of a group is. */
static inline float *lm_pass_boundary(const struct lm_pass *pass, int64_t group)
{
    const int64_t kept = pass->options.kept_boundaries;
    return pass->boundaries[kept ? group % kept : group];
}

#endif
