/* loam: one program, a command a word. Finds the command, runs it, and looks whether all output got out. */
#include "options.h"
#include "terminal.h"

#include <locale.h>
#include <signal.h>

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");       /* for editing lines; numbers stay as in C */
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
