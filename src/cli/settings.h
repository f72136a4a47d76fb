/* Options of the command line that are settings of a run. */
#ifndef LOAM_CLI_SETTINGS_H
#define LOAM_CLI_SETTINGS_H

#include "common.h"
#include "train/train.h"

/* Sets what one option got under its key; a list of files replaces the one that is there. */
int set_setting(struct lm_run_settings *settings, enum option_id id, const struct argument *value, loam_error *error);

#endif
