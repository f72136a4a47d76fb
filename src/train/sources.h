/* Inside train only: lists of data files, each with its weight, written "FILE" or "FILE:WEIGHT". */
#ifndef LOAM_TRAIN_SOURCES_H
#define LOAM_TRAIN_SOURCES_H

#include "train.h"

int lm_run_sources_add(struct lm_run_sources *sources, const char *key, const char *value, loam_error *error);
int lm_run_sources_copy(const struct lm_run_sources *from, struct lm_run_sources *to, loam_error *error); /* appends */
void lm_run_sources_clear(struct lm_run_sources *sources);
/* "a.txt, b.txt:2" for people; one source as _add reads it back. */
int lm_run_sources_text(const struct lm_run_sources *sources, struct lm_bytes *text, loam_error *error);
int lm_run_source_text(const struct lm_run_source *source, struct lm_bytes *text, loam_error *error);
/* Paths made absolute, so that a run can go on from another folder. A file that is not there: LOAM_ENOTFOUND. */
int lm_run_sources_resolve(struct lm_run_sources *sources, loam_error *error);
int lm_path_resolve(char **path, loam_error *error);

#endif
