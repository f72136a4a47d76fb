/* What several commands do alike. */
#ifndef LOAM_CLI_COMMON_H
#define LOAM_CLI_COMMON_H

#include "options.h"
#include "terminal.h"

/* "1 2 3" appended to `ids`. `place` is what messages call the text. */
int read_ids(const char *text, size_t length, const char *place, struct lm_ids *ids, loam_error *error);
/* The option's text, or a complaint that it is missing and NULL. */
const char *needed(const struct arguments *arguments, enum option_id id);
/* --threads, or every processor. */
int thread_count(const struct arguments *arguments);
/* Prints the buffer and a newline to standard output, and frees it. */
void print_bytes(struct lm_bytes *bytes);
/* Ends a JSON text and prints it; gives the exit status. */
int print_json(struct lm_json_writer *writer);

#endif
