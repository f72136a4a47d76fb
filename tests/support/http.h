/* A client on a bare socket, for tests: it can also send what no honest client would.
 *
 *     struct http_reply reply = {0};
 *     http_ask(port, "POST", "/v1/models", "X-Api-Key: k\r\n", "{}", &reply);    // fails the test where no answer comes
 *     assert_int_equal(reply.status, 200);
 *     http_reply_free(&reply);
 */
#ifndef LOAM_TESTS_HTTP_H
#define LOAM_TESTS_HTTP_H

#include "support/support.h"

struct http_reply {
    int status;                 /* 0: the connection ended without an answer */
    struct lm_bytes head, body; /* body without its chunks' frames */
    bool whole;                 /* the answer came to its end */
};
int http_connect(int port);                                        /* a socket to 127.0.0.1; fails the test */
bool http_send(int socket, const void *data, size_t length);       /* false: the other side has closed */
void http_request(struct lm_bytes *out, const char *method, const char *path, const char *headers, const char *body);
void http_receive(int socket, struct http_reply *reply);           /* one answer, at most 60 s */
void http_ask(int port, const char *method, const char *path, const char *headers, const char *body, struct http_reply *reply);
void http_reply_free(struct http_reply *reply);
/* The header's value in `out`, or false. */
bool http_header(const struct http_reply *reply, const char *name, char out[256]);

#endif
