/* Inside train only: weights of layers and activations on disk, through the hooks of a pass.
 *
 * Weights: the layers take turns in two places, the next one being read while one is computed. Embeddings and head are read when
 * they are needed, but a tied table, which is needed at both ends, stays in memory. What the optimizer has stepped is written
 * back. Activations: of the inputs of groups of recomputed layers, LM_KEPT_BOUNDARIES are in memory at once.
 */
#ifndef LOAM_TRAIN_OFFLOAD_H
#define LOAM_TRAIN_OFFLOAD_H

#include "model/model.h"

enum { LM_LAYERS_IN_MEMORY = 2, LM_KEPT_BOUNDARIES = 3 };

struct lm_weights_on_disk {
    struct lm_model *model;
    struct lm_scratch *scratch;
    int64_t units;
    bool tied, turned;             /* turned: from the head on, layers come from the last to the first */
    bool single;                   /* every group is one layer */
    size_t element;
    void *layers[LM_LAYERS_IN_MEMORY];
    int64_t holds[LM_LAYERS_IN_MEMORY];    /* the unit whose weights are, or are coming, there; -1: none */
    struct lm_transfer reads[LM_LAYERS_IN_MEMORY], writes[LM_LAYERS_IN_MEMORY];
    void *first[2], *head;         /* embeddings at the beginning and at the end (the same place where tied); norm and head */
};
/* Makes the scratch file and brings all weights, read or drawn, into it (and the tied table into its place). Places are bound. */
int lm_weights_open(struct lm_weights_on_disk *disk, struct lm_model *model, const char *folder, bool single, loam_error *error);
int lm_weights_enter(struct lm_weights_on_disk *disk, int64_t unit, bool backward, loam_error *error);
/* The unit's weights have changed. */
int lm_weights_changed(struct lm_weights_on_disk *disk, int64_t unit, loam_error *error);
void lm_weights_close(struct lm_weights_on_disk *disk);
/* Elements of a unit, for lm_model_set_source. */
/* The same the other way: before the first step. */
int lm_weights_put(struct lm_weights_on_disk *disk, size_t parameter, size_t from, size_t count, const void *data,
                   loam_error *error);
int lm_weights_source(void *user, size_t parameter, size_t from, size_t count, void *out, loam_error *error);

struct lm_boundaries_on_disk {
    struct lm_scratch *scratch;
    int64_t groups;
    size_t bytes;                  /* of one */
    struct lm_transfer reads[LM_KEPT_BOUNDARIES], writes[LM_KEPT_BOUNDARIES];
};
int lm_boundaries_open(struct lm_boundaries_on_disk *disk, const char *folder, loam_error *error);
int lm_boundaries_event(struct lm_boundaries_on_disk *disk, int64_t group, enum lm_boundary_event event, float *boundary,
                        loam_error *error);
void lm_boundaries_close(struct lm_boundaries_on_disk *disk);

#endif
