#include "support/standin.h"

#include "support/http.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void standin_open(const char *script, struct standin *standin)
{
    char path[1024];
    int in[2], out[2];
    snprintf(path, sizeof path, "%s/support/%s", LOAM_TESTS, script);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    standin->process = fork();
    assert_true(standin->process >= 0);
    if (!standin->process) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], 0);
        dup2(out[1], 1);
        unsetenv("LD_PRELOAD");
        execlp("python3", "python3", "-B", path, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    FILE *said = fdopen(out[0], "r");
    if (fscanf(said, "port %d", &standin->port) != 1)
        fail_msg("%s does not start", path);
    fclose(said);
    standin->input = in[1];
    snprintf(standin->url, sizeof standin->url, "http://127.0.0.1:%d", standin->port);
}

void standin_close(struct standin *standin)
{
    if (!standin->process)
        return;
    close(standin->input);    /* it ends with its input */
    waitpid(standin->process, NULL, 0);
    standin->process = 0;
}

void standin_tell(const struct standin *standin, const char *path, const char *json)
{
    struct http_reply reply = {0};
    http_ask(standin->port, "POST", path, "Content-Type: application/json\r\n", json, &reply);
    if (reply.status != 200)
        fail_msg("%s %s: %d %s", path, json, reply.status, reply.body.data ? reply.body.data : "");
    http_reply_free(&reply);
}

struct lm_document *standin_ask(const struct standin *standin, const char *path)
{
    struct http_reply reply = {0};
    struct lm_document *document;
    loam_error error;
    http_ask(standin->port, "GET", path, NULL, NULL, &reply);
    assert_int_equal(reply.status, 200);
    assert_ok(lm_json_parse(reply.body.data, reply.body.length, path, &document, &error), &error);
    http_reply_free(&reply);
    return document;
}
