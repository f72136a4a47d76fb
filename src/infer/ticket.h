/* A request's way back: events from the computing thread to the one that reads them. Private to infer/. */
#ifndef LOAM_INFER_TICKET_H
#define LOAM_INFER_TICKET_H

#include "engine.h"

#include <pthread.h>
#include <stdatomic.h>

struct lm_entry {                       /* an event in line, its text and tops behind it */
    struct lm_entry *next;
    struct lm_event event;
};
struct lm_ticket {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Held by lock: */
    struct lm_entry *first, *last;      /* in line */
    struct lm_entry *shown;             /* given out last, the reader's until its next call */
    int64_t choices, ended;
    bool let_go, left;                  /* by the reader; by the computing thread, behind the last end */
    bool notifying;                     /* a notify runs now */
    void (*notify)(void *user);
    void *user;
    struct lm_entry **endings;          /* [choices] made in advance, so that an end needs no memory; NULL once used */
    /* Not changed after submission: */
    struct lm_engine_core *core;        /* whom to wake; shared, outlives the engine */
    atomic_bool cancelled;
};
/* What a ticket needs of its engine, which may be closed before it. */
struct lm_engine_core {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_int holders;
};
int lm_core_create(struct lm_engine_core **core, loam_error *error);
void lm_core_drop(struct lm_engine_core *core);

int lm_ticket_create(struct lm_engine_core *core, const struct lm_request *request, struct lm_ticket **ticket,
                     loam_error *error);
/* Of one that no sequence knows. */
void lm_ticket_abandon(struct lm_ticket *ticket);
/* Both copy the text and tops that the event points to. A token that finds no memory: LOAM_ENOMEM; an end always goes through, as
 * LM_EVENT_FAILED where its text finds no memory. */
int lm_ticket_push(struct lm_ticket *ticket, const struct lm_event *event, loam_error *error);
/* The last of a choice. After that of the last choice the computing thread must not touch the ticket again. */
void lm_ticket_end(struct lm_ticket *ticket, const struct lm_event *event);

#endif
