/* The face of base/: what every other folder stands on. Include this, not its parts. */
#ifndef LOAM_BASE_H
#define LOAM_BASE_H

#include "../../include/loam.h"

#include "error.h"    /* lm_fail: codes and messages */
#include "memory.h"   /* checked sizes, growing buffers, layouts bound to one block */
#include "file.h"     /* reading, mapping, atomic writing, locks, paths */
#include "text.h"     /* UTF-8, numbers with units in the C locale */
#include "random.h"   /* seeded streams and keyed random numbers */
#include "scratch.h"  /* memory on disk */
#include "json.h"     /* JSON and YAML into one tree; a JSON writer */
#include "system.h"   /* processors, memory limits, clocks */

#endif
