/* What the engine's two files share: engine.c, which any thread enters, and schedule.c, the computing thread. */
#ifndef LOAM_INFER_ENGINE_INSIDE_H
#define LOAM_INFER_ENGINE_INSIDE_H

#include "runner.h"
#include "sequence.h"

enum { LM_PIECE = 256, LM_PIECE_BESIDE = 64 };    /* rows of a prompt in one pass: alone, and while others decode */

struct lm_engine {
    struct lm_runner *runner;           /* device, model, tokenizer, template, ids that end a turn */
    struct lm_engine_options options;   /* with what 0 stands for filled in */
    struct lm_engine_core *core;        /* the lock of what follows, and what the thread sleeps on */
    pthread_t thread;
    bool closing;
    struct lm_sequence *first, *last;   /* the line */
    int64_t waiting;                    /* in it */
    struct lm_engine_stats stats;       /* `running`, pages and counts as of the last pass */

    /* The computing thread's own: */
    struct lm_paged *pool;
    struct lm_pages *pages;
    struct lm_sequence **running;       /* [streams], in the order in which they came */
    int64_t count;
    int64_t turn;                       /* whose prompt comes next */
    double owed;                        /* seconds that decoding gets before the next piece of a prompt */
    struct lm_span *spans;              /* [streams], at least LM_MOST_EXPECTED */
    struct lm_engine_stats now;         /* becomes `stats` after each pass */
};

void *lm_engine_compute(void *engine);    /* the thread */

#endif
