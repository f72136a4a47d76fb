#include "prompt.h"
#include "terminal.h"

#include <editline/readline.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>
#include <wchar.h>

/* A byte of standard input, or EOF: also where a signal has come, before the wait or while it lasts and to whatever thread. */
static int next_byte(void)
{
    struct pollfd wait[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = stop_descriptor(), .events = POLLIN}};
    unsigned char byte;
    while (poll(wait, 2, -1) < 0)
        if (errno != EINTR)
            return EOF;
    return !stop_wanted() && read(STDIN_FILENO, &byte, 1) == 1 ? byte : EOF;
}

/* The editor wants whole characters. Bytes that are none in the terminal's encoding stand for themselves. */
static int next_character(FILE *from)
{
    (void)from;
    mbstate_t state = {0};
    for (;;) {
        const int byte = next_byte();
        const char one = (char)byte;
        wchar_t character;
        if (byte == EOF)
            return EOF;
        switch (mbrtowc(&character, &one, 1, &state)) {
        case (size_t)-2:
            continue;
        case (size_t)-1:
            return byte;
        default:
            return (int)character;
        }
    }
}

char *prompt_line(const char *prompt)
{
    fflush(stdout);
    rl_getc_function = next_character;
    char *line = readline(prompt);
    if (line && *line)
        add_history(line);
    return line;
}
