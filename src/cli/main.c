/* loam: one program, a command a word. Finds the command, runs it, and looks whether all output got out. */
#include "options.h"
#include "terminal.h"

#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* Between two parallel loops OpenMP's threads wait in a loop of this many rounds, some microseconds, before they sleep. Left to itself
 * libgomp has them wait for milliseconds, and where another program wants one of the processors, what waits takes it from what works:
 * a step of training then takes ten times as long, with this twice (docs/SPEED.md). libgomp reads its settings when it is loaded
 * and never again: so the program begins a second time, with the setting made. Where that fails it goes on as it is. */
static void set_waiting(char **argv)
{
    char self[4096];
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || setenv("GOMP_SPINCOUNT", "1000", 1))
        return;
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0)
        return;
    self[length] = 0;
    execv(self, argv);
}

int main(int argc, char **argv)
{
    set_waiting(argv);
    setlocale(LC_CTYPE, "");       /* for editing lines; numbers stay as in C */
    if (MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8");    /* a bare container's locale is C, and what is typed there UTF-8 all the same */
    signal(SIGPIPE, SIG_IGN);      /* a closed pipe shows as a failed write */
    signal(SIGXFSZ, SIG_IGN);      /* and so does a limit on the size of files */
    struct arguments arguments;
    int status = arguments_parse(&arguments, argc > 0 ? argc - 1 : 0, argv + 1);
    if (status < 0) {
        status = arguments.command->run(&arguments);
        arguments_free(&arguments);
    }
    return finish_output(status);
}
