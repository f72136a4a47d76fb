#include "support/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000 };

static loam_error error;

int http_connect(int port)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int at = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(at >= 0);
    if (connect(at, (const struct sockaddr *)&to, sizeof to) != 0)
        fail_msg("cannot connect to port %d: %s", port, strerror(errno));
    return at;
}

bool http_send(int at, const void *data, size_t length)
{
    for (const char *from = data; length;) {
        const ssize_t sent = send(at, from, length, MSG_NOSIGNAL);
        if (sent < 0)
            return false;
        from += sent, length -= (size_t)sent;
    }
    return true;
}

void http_request(struct lm_bytes *out, const char *method, const char *path, const char *headers, const char *body)
{
    const char *host = headers && strstr(headers, "Host:") ? "" : "Host: 127.0.0.1\r\n";
    assert_ok(lm_bytes_format(out, &error, "%s %s HTTP/1.1\r\n%s%s", method, path, host, headers ? headers : ""), &error);
    if (body)
        assert_ok(lm_bytes_format(out, &error, "Content-Length: %zu\r\n\r\n%s", strlen(body), body), &error);
    else
        assert_ok(lm_bytes_format(out, &error, "\r\n"), &error);
}

/* More of the answer; false at its end. */
static bool more(int at, struct lm_bytes *into)
{
    char data[8192];
    struct pollfd wait = {.fd = at, .events = POLLIN};
    if (poll(&wait, 1, PATIENCE_MS) != 1)
        fail_msg("no answer within %d s", PATIENCE_MS / 1000);
    const ssize_t got = recv(at, data, sizeof data, 0);
    if (got <= 0)
        return false;
    assert_ok(lm_bytes_append(into, data, (size_t)got, &error), &error);
    return true;
}

bool http_header(const struct http_reply *reply, const char *name, char out[256])
{
    const size_t length = strlen(name);
    for (const char *line = reply->head.data; line && (line = strstr(line, "\r\n")); ) {
        line += 2;
        if (strncasecmp(line, name, length) || line[length] != ':')
            continue;
        const char *value = line + length + 1;
        while (*value == ' ')
            value++;
        snprintf(out, 256, "%.*s", (int)strcspn(value, "\r"), value);
        return true;
    }
    return false;
}

/* Takes whole chunks off `raw` into the body; true at the last one. */
static bool unchunk(struct lm_bytes *raw, size_t *at, struct lm_bytes *body)
{
    for (;;) {
        char *end = raw->length > *at ? memmem(raw->data + *at, raw->length - *at, "\r\n", 2) : NULL;
        if (!end)
            return false;
        const size_t length = strtoul(raw->data + *at, NULL, 16), begin = (size_t)(end - raw->data) + 2;
        if (raw->length < begin + length + 2)
            return false;
        assert_ok(lm_bytes_append(body, raw->data + begin, length, &error), &error);
        *at = begin + length + 2;
        if (!length)
            return true;
    }
}

static void receive_body(int at, struct lm_bytes *raw, size_t from, struct http_reply *reply)
{
    char text[256];
    if (http_header(reply, "Transfer-Encoding", text)) {
        while (!(reply->whole = unchunk(raw, &from, &reply->body)))
            if (!more(at, raw))
                return;
        return;
    }
    const size_t length = http_header(reply, "Content-Length", text) ? strtoul(text, NULL, 10) : reply->status == 204 ? 0 : SIZE_MAX;
    while (raw->length - from < length && more(at, raw))
        continue;
    const size_t got = raw->length - from;
    reply->whole = got >= length || length == SIZE_MAX;
    assert_ok(lm_bytes_append(&reply->body, raw->data + from, got < length ? got : length, &error), &error);
}

void http_receive(int at, struct http_reply *reply)
{
    struct lm_bytes raw = {0};
    char *end = NULL;
    http_reply_free(reply);
    while (!(raw.length && (end = memmem(raw.data, raw.length, "\r\n\r\n", 4))))
        if (!more(at, &raw))
            break;
    if (end) {
        const size_t head = (size_t)(end - raw.data) + 2;
        assert_ok(lm_bytes_append(&reply->head, raw.data, head, &error), &error);
        assert_int_equal(sscanf(reply->head.data, "HTTP/1.%*d %d", &reply->status), 1);
        receive_body(at, &raw, head + 2, reply);
    }
    lm_bytes_free(&raw);
}

void http_ask(int port, const char *method, const char *path, const char *headers, const char *body, struct http_reply *reply)
{
    struct lm_bytes request = {0};
    const int at = http_connect(port);
    http_request(&request, method, path, headers, body);
    http_send(at, request.data, request.length);
    http_receive(at, reply);
    close(at);
    lm_bytes_free(&request);
    if (!reply->status)
        fail_msg("%s %s: no answer", method, path);
}

void http_reply_free(struct http_reply *reply)
{
    lm_bytes_free(&reply->head);
    lm_bytes_free(&reply->body);
    *reply = (struct http_reply){0};
}
