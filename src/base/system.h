/* The machine as this process may use it: affinity and control group respected. Any thread. */
#ifndef LOAM_BASE_SYSTEM_H
#define LOAM_BASE_SYSTEM_H

#include "error.h"

int lm_processors(void);             /* that this process may run on, at least 1: affinity and cgroup quota */
int64_t lm_memory_limit(void);       /* bytes: physical memory or the cgroup's limit, whichever is less */
int64_t lm_memory_resident(void);    /* bytes of this process now; 0 where unknown */
int64_t lm_memory_peak(void);        /* the most so far */
double lm_time(void);               /* seconds since 1970 */
double lm_seconds(void);             /* monotonic */
/* "2026-11-23T22:39:00Z" */
void lm_time_text(char out[32]);

#endif
