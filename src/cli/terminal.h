/* What the program shows besides its results: complaints, notes, progress; and the wish of the person at the keyboard
 * to stop. Results go to standard output, all of this to standard error. */
#ifndef LOAM_CLI_TERMINAL_H
#define LOAM_CLI_TERMINAL_H

#include "base/base.h"

#include <stdio.h>

/* "loam: ..." on standard error. What is not fit for a terminal is shown as \xNN. */
void complain(const char *format, ...) LM_PRINTF(1, 2);
/* The error as a complaint; gives EXIT_USAGE for LOAM_EUSAGE, else EXIT_FAILED. */
int complain_error(const loam_error *error);
/* A line of information on standard error. */
void note(const char *format, ...) LM_PRINTF(1, 2);

/* Colours and bars: standard error is a terminal, and NO_COLOR is not set (for colours). */
bool stderr_is_terminal(void);
bool may_colour(FILE *to);

/* An observer whose bar is drawn on a terminal only. After catch_signals it is cancelled by SIGINT and SIGTERM. */
struct progress {
    loam_observer observer;
    bool drawn;
    double last;
    const char *stage;    /* what is going on, since when, and how much of it was done then */
    double since;
    int64_t first;
};
void progress_init(struct progress *progress);
/* Removes the bar, so that a line can be printed. */
void progress_clear(struct progress *progress);

/* SIGINT and SIGTERM no longer end the program but set a flag. */
void catch_signals(void);
bool stop_wanted(void);
bool end_wanted(void);         /* by SIGTERM */
bool interrupted(void);        /* by SIGINT, which a chat takes for the end of a reply only */
int stop_asked(void *user);    /* the same, as observers and generation options want it */
/* SIGUSR1 asks for a checkpoint now: true once for each time it came. */
void catch_save_signal(void);
bool save_asked(void);
int stop_descriptor(void);     /* readable once a signal has come, for poll; -1 (never) before catch_signals */
void forget_interrupt(void);   /* Ctrl-C has been seen to; SIGTERM stays */
void forget_signals(void);     /* both have been */

/* Ends the output: what could not be written (a full disk, a closed pipe) makes EXIT_FAILED of EXIT_DONE. */
int finish_output(int status);

#endif
