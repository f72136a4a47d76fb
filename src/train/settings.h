/* Inside train only: the settings that decide about memory, which have words for values. */
#ifndef LOAM_TRAIN_SETTINGS_H
#define LOAM_TRAIN_SETTINGS_H

#include "train.h"

int lm_run_settings_set_memory(struct lm_run_settings *settings, const char *key, const char *value, loam_error *error);
int lm_run_settings_memory_text(const struct lm_run_settings *settings, const char *key, struct lm_bytes *text,
                                loam_error *error);

#endif
