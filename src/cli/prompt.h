/* A line typed at a terminal, with editing and history. */
#ifndef LOAM_CLI_PROMPT_H
#define LOAM_CLI_PROMPT_H

/* Shows `prompt` and gives the line typed without its end, free()'s to take back. NULL: the input has ended, or a signal that
 * catch_signals watches for has come (interrupted, stop_wanted tell which); none is missed, however it falls. */
char *prompt_line(const char *prompt);

#endif
