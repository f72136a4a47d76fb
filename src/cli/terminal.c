#include "terminal.h"
#include "options.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static volatile sig_atomic_t stop_signal;

/* An order to end (SIGTERM) is not taken back by a Ctrl-C behind it. */
static void on_signal(int number)
{
    if (stop_signal != SIGTERM)
        stop_signal = number;
}

void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool stop_wanted(void)
{
    return stop_signal != 0;
}

bool interrupted(void)
{
    return stop_signal == SIGINT;
}

int stop_asked(void *user)
{
    (void)user;
    return stop_wanted();
}

void forget_interrupt(void)
{
    if (stop_signal == SIGINT)
        stop_signal = 0;
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
    vsnprintf(text, sizeof text, format, arguments);
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

/* "training  [#####.....]  50%  loss 1.234", redrawn at most ten times a second. */
static void draw(void *user, const char *stage, int64_t done, int64_t total, const char *detail)
{
    struct progress *progress = user;
    const double now = lm_seconds();
    if (!stderr_is_terminal() || (now - progress->last < 0.1 && done < total))
        return;
    progress->last = now;
    char line[512], bar[25];
    int width = (int)sizeof bar - 1;
    if (total > 0) {
        const double part = done >= total ? 1 : (double)done / (double)total;
        memset(bar, '.', (size_t)width);
        memset(bar, '#', (size_t)(part * width));
        bar[width] = 0;
        snprintf(line, sizeof line, "%s [%s] %3.0f%% %s", stage, bar, 100 * part, detail ? detail : "");
    } else {
        snprintf(line, sizeof line, "%s %lld %s", stage, (long long)done, detail ? detail : "");
    }
    const int columns = terminal_columns() - 1;
    fprintf(stderr, "\r\x1b[K%.*s", columns, line);
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
