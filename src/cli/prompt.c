#include "prompt.h"
#include "terminal.h"

#include <editline/readline.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_LINES = 1000, LINE_END = 0x2424 };    /* the sign for a line end */

static struct {
    int descriptor;
    bool (*show)(void *user);
    void *user;
} watched = {.descriptor = -1};

void prompt_watch(int descriptor, bool (*show)(void *user), void *user)
{
    watched.descriptor = descriptor;
    watched.show = show;
    watched.user = user;
}

/* The line that is being typed goes, what has come is printed, and the line stands below it again. */
static void show_watched(void)
{
    fputs("\r\x1b[K", stdout);
    watched.show(watched.user);
    fflush(stdout);
    rl_forced_update_display();
}

/*
 * A byte of standard input, or EOF: also where a signal has come, before the wait or while it lasts and to whatever thread.
 * A Ctrl-D typed while the terminal still takes whole lines, in a reply or just behind the prompt, waits there as a zero byte.
 */
static int next_byte(void)
{
    enum { CTRL_D = 4 };
    struct pollfd wait[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = stop_descriptor(), .events = POLLIN},
                            {.fd = watched.descriptor, .events = POLLIN}};
    unsigned char byte;
    for (;;) {
        const int ready = poll(wait, 3, -1);
        if (ready < 0 && errno != EINTR)
            return EOF;
        if (ready > 0 && wait[2].revents & POLLIN)
            show_watched();
        if (ready > 0 && (wait[0].revents || wait[1].revents))
            break;
    }
    if (stop_wanted() || read(STDIN_FILENO, &byte, 1) != 1)
        return EOF;
    return byte ? byte : CTRL_D;
}

/* --- What is pasted: the terminal puts ESC [ 200 ~ before it and ESC [ 201 ~ behind --- */

static bool pasting;
static unsigned char waiting[8];    /* bytes read that turned out to be no such mark */
static int waiting_count;

static int plain_byte(void)
{
    if (!waiting_count)
        return next_byte();
    const int byte = waiting[0];
    memmove(waiting, waiting + 1, (size_t)--waiting_count);
    return byte;
}

/* A byte, the marks taken out. */
static int unmarked_byte(void)
{
    static const char begin[] = "\x1b[200~", end[] = "\x1b[201~";
    for (;;) {
        const int first = plain_byte();
        if (first != begin[0] || waiting_count)
            return first;
        unsigned char read[8] = {(unsigned char)first};
        int count = 1;
        struct pollfd more = {.fd = STDIN_FILENO, .events = POLLIN};
        while (count < 6 && (read[count - 1] == begin[count - 1] || read[count - 1] == end[count - 1]) && poll(&more, 1, 0) == 1) {
            const int byte = next_byte();
            if (byte == EOF)
                return EOF;
            read[count++] = (unsigned char)byte;
        }
        if (count == 6 && (!memcmp(read, begin, 6) || !memcmp(read, end, 6))) {
            pasting = !memcmp(read, begin, 6);
            continue;
        }
        memcpy(waiting, read + 1, (size_t)count - 1);
        waiting_count = count - 1;
        return first;
    }
}

/* The editor wants whole characters. Bytes that are none in the terminal's encoding stand for themselves. */
static int next_character(FILE *from)
{
    (void)from;
    mbstate_t state = {0};
    for (;;) {
        const int byte = unmarked_byte();
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
            return pasting && (character == '\r' || character == '\n') ? LINE_END : (int)character;
        }
    }
}

/* Line ends stand in the edited line as a visible sign, in the text as what they are. */
static void put_line_ends(char *line)
{
    static const char sign[] = "\xe2\x90\xa4";
    char *to = line;
    for (const char *from = line; *from;)
        if (!strncmp(from, sign, 3)) {
            *to++ = '\n';
            from += 3;
        } else {
            *to++ = *from++;
        }
    *to = 0;
}

/* Before anything else of libedit's: whatever comes first, its history too, starts it for good with the function that stands here. */
static void use_own_reading(void)
{
    rl_getc_function = next_character;
}

char *prompt_line(const char *prompt)
{
    const bool wide = MB_CUR_MAX > 1;    /* else there is no sign for line ends */
    if (wide)
        fputs("\x1b[?2004h", stdout);
    fflush(stdout);
    use_own_reading();
    pasting = false;
    char *line = readline(prompt);
    if (wide)
        fputs("\x1b[?2004l", stdout);
    fflush(stdout);
    if (line && *line)
        add_history(line);
    if (line && wide)
        put_line_ends(line);
    return line;
}

char *prompt_input(bool terminal, const char *prompt, size_t *length)
{
    char *line = NULL;
    size_t room = 0;
    if (terminal) {
        while (!(line = prompt_line(prompt)) && interrupted()) {
            forget_interrupt();
            putchar('\n');
        }
        *length = line ? strlen(line) : 0;
        return line;
    }
    const ssize_t got = getline(&line, &room, stdin);
    if (got < 0) {
        free(line);
        return NULL;
    }
    *length = (size_t)got;
    while (*length && (line[*length - 1] == '\n' || line[*length - 1] == '\r'))
        line[--*length] = 0;
    return line;
}

void prompt_history_load(const char *path)
{
    use_own_reading();
    using_history();
    stifle_history(HISTORY_LINES);
    read_history(path);
}

void prompt_history_save(const char *path)
{
    if (write_history(path) == 0)
        chmod(path, 0600);
}
