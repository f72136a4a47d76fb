/* A stand-in of tests/support/ (a script) as a child process, and its control endpoint.
 *
 *     struct standin standin;
 *     standin_open("services.py", &standin);
 *     standin_tell(&standin, "/control", "{\"key\": \"k\"}");
 *     struct lm_document *seen = standin_ask(&standin, "/control");
 *     lm_document_free(seen);
 *     standin_close(&standin);
 */
#ifndef LOAM_TESTS_STANDIN_H
#define LOAM_TESTS_STANDIN_H

#include "support/support.h"

#include <sys/types.h>

struct standin {
    pid_t process;
    int input, port;
    char url[64];        /* "http://127.0.0.1:PORT" */
};
void standin_open(const char *script, struct standin *standin);
void standin_close(struct standin *standin);
/* Posts JSON; fails the test where the answer is not 200. */
void standin_tell(const struct standin *standin, const char *path, const char *json);
struct lm_document *standin_ask(const struct standin *standin, const char *path);

#endif
