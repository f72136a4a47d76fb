/* What generate and chat share: sampling from the command line. */
#ifndef LOAM_CLI_SAMPLING_H
#define LOAM_CLI_SAMPLING_H

#include "infer/infer.h"
#include "options.h"

/* The library's defaults with what was given on the command line over them; `stops` stay owned by the arguments. Ctrl-C cancels (after
 * catch_signals). max_tokens is 0 where none was given. */
struct lm_generation_options generation_options(const struct arguments *arguments);
/* Streams to standard output as it comes: the `show` of generation options, whose `user` is a bool that becomes true with the first
 * text, or NULL. */
void show_text(void *user, const char *text, size_t length);

#endif
