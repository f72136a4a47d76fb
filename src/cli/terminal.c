#include "terminal.h"
#include "options.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static volatile sig_atomic_t interrupt_seen, end_seen;
static int wake = -1;    /* an eventfd, readable while one of them is set */

static void wake_up(void)
{
    const uint64_t one = 1;
    const ssize_t written = write(wake, &one, sizeof one);
    (void)written;    /* where it is full it is readable already */
}

static void on_signal(int number)
{
    const int saved = errno;
    if (number == SIGINT)
        interrupt_seen = 1;
    else
        end_seen = 1;
    wake_up();
    errno = saved;
}

void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    if (wake < 0)
        wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static volatile sig_atomic_t save_seen;

static void on_save_signal(int number)
{
    (void)number;
    save_seen = 1;
}

void catch_save_signal(void)
{
    struct sigaction action = {.sa_handler = on_save_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
}

bool save_asked(void)
{
    const bool asked = save_seen != 0;
    save_seen = 0;
    return asked;
}

bool stop_wanted(void)
{
    return interrupt_seen || end_seen;
}

bool end_wanted(void)
{
    return end_seen;
}

bool interrupted(void)
{
    return interrupt_seen && !end_seen;
}

int stop_asked(void *user)
{
    (void)user;
    return stop_wanted();
}

int stop_descriptor(void)
{
    return wake;
}

void forget_interrupt(void)
{
    uint64_t count;
    interrupt_seen = 0;
    const ssize_t got = read(wake, &count, sizeof count);
    (void)got;
    if (stop_wanted())    /* what came before the reading */
        wake_up();
}

void forget_signals(void)
{
    end_seen = 0;
    forget_interrupt();
}

bool stderr_is_terminal(void)
{
    const char *kind = getenv("TERM");
    return isatty(STDERR_FILENO) && kind && strcmp(kind, "dumb") != 0;
}

bool may_colour(FILE *to)
{
    const char *kind = getenv("TERM");
    const char *no = getenv("NO_COLOR");
    return isatty(fileno(to)) && kind && strcmp(kind, "dumb") != 0 && !(no && *no);
}

static void print_line(const char *prefix, const char *format, va_list arguments)
{
    char text[2048];
    loam_error clean;
    lm_format_list(text, sizeof text, format, arguments);
    lm_fail(&clean, LOAM_OK, "%s", text);    /* makes it fit for a terminal */
    fprintf(stderr, "%s%s\n", prefix, clean.message);
}

void complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(may_colour(stderr) ? "\x1b[31mloam:\x1b[0m " : "loam: ", format, arguments);
    va_end(arguments);
}

int complain_error(const loam_error *error)
{
    complain("%s", error->message);
    return error->code == LOAM_EUSAGE ? EXIT_USAGE : EXIT_FAILED;
}

void note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line("", format, arguments);
    va_end(arguments);
}

static int terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
        return size.ws_col;
    return 80;
}

/* "about 12 s left", from how long the stage has taken so far; "" before there is something to judge by. */
static void time_left(struct progress *progress, const char *stage, int64_t done, int64_t total, double now, char out[40])
{
    if (!progress->stage || strcmp(progress->stage, stage) != 0 || done < progress->first) {
        progress->stage = stage;
        progress->since = now;
        progress->first = done;
    }
    const double spent = now - progress->since, part = (double)(done - progress->first) / (double)(total - progress->first);
    *out = 0;
    if (spent < 1 || part <= 0 || part >= 1)
        return;
    const double left = spent / part * (1 - part);
    if (left < 100)
        snprintf(out, 40, "about %.0f s left", left);
    else if (left < 6000)
        snprintf(out, 40, "about %.0f min left", left / 60);
    else
        snprintf(out, 40, "about %.1f h left", left / 3600);
}

static int columns_of(const char *text)
{
    int columns = 0;
    for (size_t length; *text; text += length) {
        uint32_t character;
        length = lm_utf8_decode(text, strlen(text), &character);
        columns += length ? lm_utf8_width(character) : 1;
        length = length ? length : 1;
    }
    return columns;
}

/* Cuts a line to so many columns, before two blanks or, where there are none, between words: half a number would be another one. */
static void cut_line(char *line, int columns)
{
    while (columns_of(line) > columns) {
        char *end = line + strlen(line);
        for (const char *at = line; (at = strstr(at, "  ")); at++)
            end = (char *)at;
        if (!*end)
            end = strrchr(line, ' ');
        if (!end || end == line)
            return;    /* one long word: the terminal breaks it */
        while (end > line && end[-1] == ' ')
            end--;
        *end = 0;
    }
}

/* "training  [#####.....]  50%  loss 1.234", or how much time is left where there is nothing else to say; redrawn at most ten
 * times a second. */
static void draw(void *user, const char *stage, int64_t done, int64_t total, const char *detail)
{
    struct progress *progress = user;
    const double now = lm_seconds();
    if (!stderr_is_terminal() || (now - progress->last < 0.1 && done < total))
        return;
    progress->last = now;
    const int columns = terminal_columns() - 1;
    char line[512], bar[25], left[40] = "";
    int width = (int)sizeof bar - 1;
    if (total > 0) {
        time_left(progress, stage, done, total, now, left);
        const double part = done >= total ? 1 : (double)done / (double)total;
        const int rest = columns_of(stage) + columns_of(detail ? detail : left) + 9;    /* brackets, blanks, "100%" */
        width = rest + width <= columns ? width : rest + 4 <= columns ? columns - rest : 4;    /* the bar gives way first */
        memset(bar, '.', (size_t)width);
        memset(bar, '#', (size_t)(part * width));
        bar[width] = 0;
        snprintf(line, sizeof line, "%s [%s] %3.0f%% %s", stage, bar, 100 * part, detail ? detail : left);
    } else {
        snprintf(line, sizeof line, "%s %lld %s", stage, (long long)done, detail ? detail : "");
    }
    cut_line(line, columns);
    fprintf(stderr, "\r\x1b[K%s", line);
    fflush(stderr);
    progress->drawn = true;
}

static void show_note(void *user, const char *line)
{
    progress_clear(user);
    note("%s", line);
}

void progress_init(struct progress *progress)
{
    *progress = (struct progress){
        .observer = {.user = progress, .progress = draw, .note = show_note, .cancelled = stop_asked}};
}

void progress_clear(struct progress *progress)
{
    if (progress->drawn)
        fputs("\r\x1b[K", stderr);
    progress->drawn = false;
}

int finish_output(int status)
{
    errno = 0;
    const bool failed = ferror(stdout) || fflush(stdout) != 0 || (fclose(stdout) != 0 && errno != EBADF);
    if (!failed)
        return status;
    complain("standard output cannot be written: %s", errno ? strerror(errno) : "an earlier write failed");
    return status == EXIT_DONE ? EXIT_FAILED : status;
}
