/* From arguments to the settings of a run, or of all the runs that comma lists ask for:
 *
 *     struct sweep sweep;
 *     if (sweep_open(&sweep, arguments, LM_RUN_TRAIN, error)) return error->code;
 *     for (size_t i = 0; i < sweep.count; i++)
 *         ...sweep.settings[i]...
 *     sweep_close(&sweep);
 */
#ifndef LOAM_CLI_SWEEP_H
#define LOAM_CLI_SWEEP_H

#include "common.h"
#include "train/train.h"

/* "weight-decay" to "weight_decay". */
void setting_key(const struct option *option, char key[64]);
/* Defaults, then the recipe, then what was typed. */
int settings_collect(const struct arguments *arguments, struct lm_run_settings *settings, loam_error *error);

/* The cross product of all lists, the last list's values changing fastest. */
struct sweep {
    struct lm_run_settings *settings;
    size_t count;
};
enum { SWEEP_MOST = 10000 };
int sweep_open(struct sweep *sweep, const struct arguments *arguments, enum lm_run_kind kind, loam_error *error);
void sweep_close(struct sweep *sweep);

#endif
