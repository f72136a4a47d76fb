/* What the two halves of loam measure share. */
#ifndef LOAM_CLI_MEASURE_H
#define LOAM_CLI_MEASURE_H

#include "options.h"

/* Trains with the options as they are, one value each, in `folder`, and prints what came of it. Gives the exit status: done, also
 * where the run was refused. */
int measure_one(const struct arguments *arguments, const char *folder);

#endif
