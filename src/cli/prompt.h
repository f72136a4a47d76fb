/* A line typed at a terminal, with editing and history. */
#ifndef LOAM_CLI_PROMPT_H
#define LOAM_CLI_PROMPT_H

#include <stdbool.h>
#include <stddef.h>

/* Shows `prompt` and gives the line typed without its end, free()'s to take back. NULL: the input has ended, or a signal that
 * catch_signals watches for has come (interrupted, stop_wanted tell which); none is missed, however it falls. Several lines that are
 * pasted at once are one text with line ends in it, where the terminal tells what is pasted (bracketed paste). */
char *prompt_line(const char *prompt);
/* The next line of standard input without its end, free()'s to take back: typed where `terminal` (Ctrl-C at the prompt gives a fresh one),
 * else read as it stands, zero bytes too. NULL: the input has ended, or the program is to. */
char *prompt_input(bool terminal, const char *prompt, size_t *length);
/* While a line is typed: `show` is called in the same thread when `descriptor` is readable; where it has printed something (true), the
 * line is drawn anew below it. -1 ends that. */
void prompt_watch(int descriptor, bool (*show)(void *user), void *user);
/* The lines that the arrow keys bring back, of earlier chats too: the newest 1000, one a line. What fails is passed over. */
void prompt_history_load(const char *path);
void prompt_history_save(const char *path);

#endif
