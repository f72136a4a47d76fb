/* Tiny models, data and runs for the tests of training: everything takes milliseconds. */
#ifndef LOAM_TESTS_TINY_RUN_H
#define LOAM_TESTS_TINY_RUN_H

#include "support/support.h"
#include "train/train.h"

enum { TINY_VOCABULARY = 61, TINY_CONTEXT = 48 };

/* A model directory with random weights (a Llama with grouped heads), in a new temporary folder. */
const char *tiny_model(uint64_t seed);
/* A file of `lines` random sequences of 2 to `longest` ids, the same for the same seed. */
void tiny_ids(const char *path, uint64_t seed, int lines, int longest);
/* Settings of a run with lr 3e-3, one thread, batch 2, seq 16. Free with lm_run_settings_free. */
void tiny_settings(struct lm_run_settings *settings, const char *model, const char *data);
void tiny_set(struct lm_run_settings *settings, const char *key, const char *value);
/* "FOLDER/NAME" that lives until the process ends. */
const char *tiny_path(const char *folder, const char *name);
/* The whole file; the test fails where it cannot be read. Free with lm_bytes_free. */
struct lm_bytes tiny_read(const char *path);
bool tiny_same_file(const char *a, const char *b);
/* The values of a key over the lines of a log that have it; lm_free. */
double *tiny_log(const char *run, const char *key, size_t *count);

#endif
