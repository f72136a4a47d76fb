/* The HTTP server alone: answers at once, later and in pieces; clients that go, dawdle, or send what they should not. */
#include "support/http.h"

#include "net/net.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

static loam_error error;

/* What the paths of this server do. */
static struct {
    struct lm_http_server *http;
    int port;
    _Atomic(struct lm_exchange *) kept;    /* /keep: by the test to answer */
    atomic_int handled;
} site;

static void handle(void *user, struct lm_exchange *exchange)
{
    (void)user;
    const char *path = lm_exchange_path(exchange);
    struct lm_bytes body = {0};
    atomic_fetch_add(&site.handled, 1);
    if (!strcmp(path, "/keep")) {
        atomic_store(&site.kept, exchange);
    } else if (!strcmp(path, "/count")) {
        lm_exchange_begin(exchange, 200, "text/plain");
        for (int i = 0; i < 1000; i++) {
            char text[16];
            snprintf(text, sizeof text, "%d,", i);
            lm_exchange_write(exchange, text, strlen(text));
            if (i % 100 == 0)
                usleep(1000);
        }
        lm_exchange_end(exchange);
    } else {
        const char *name = lm_exchange_header(exchange, "x-name");
        lm_bytes_format(&body, NULL, "%s %s %s %zu", lm_exchange_method(exchange), path, name ? name : "-",
                        lm_exchange_body(exchange)->length);
        lm_exchange_add_header(exchange, "X-More", "there");
        lm_exchange_answer(exchange, 200, "text/plain", &body);
    }
}

static void open_with(struct lm_http_options options)
{
    options.handle = handle;
    options.port = 0;
    atomic_store(&site.kept, NULL);
    assert_ok(lm_http_open(&options, &site.http, &error), &error);
    site.port = lm_http_port(site.http);
}

static struct lm_exchange *wait_for_kept(void)
{
    struct lm_exchange *exchange;
    for (int i = 0; !(exchange = atomic_load(&site.kept)); i++) {
        assert_true(i < 20000);
        usleep(1000);
    }
    return exchange;
}

/* Waits at most 20 s. */
static bool becomes_gone(const struct lm_exchange *exchange)
{
    for (int i = 0; i < 20000 && !lm_exchange_gone(exchange); i++)
        usleep(1000);
    return lm_exchange_gone(exchange);
}

static int ask_kept(void)
{
    struct lm_bytes request = {0};
    const int at = http_connect(site.port);
    http_request(&request, "POST", "/keep", NULL, "x");
    assert_true(http_send(at, request.data, request.length));
    lm_bytes_free(&request);
    return at;
}

static void answers(void **state)
{
    (void)state;
    struct http_reply reply = {0};
    char value[256];
    open_with(lm_http_default());
    http_ask(site.port, "POST", "/a%20b?c=d", "X-Name: e\r\n", "12345", &reply);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body.data, "POST /a b e 5");
    assert_true(http_header(&reply, "x-more", value));
    assert_string_equal(value, "there");
    assert_false(http_header(&reply, "Access-Control-Allow-Origin", value));
    http_ask(site.port, "GET", "/", NULL, NULL, &reply);
    assert_string_equal(reply.body.data, "GET / - 0");
    http_reply_free(&reply);
    lm_http_close(site.http);
}

/* Several requests on one connection, the second sent before the first is answered, and one with its body in chunks. */
static void one_connection(void **state)
{
    (void)state;
    struct http_reply reply = {0};
    static const char both[] = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
                               "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    open_with(lm_http_default());
    const int at = http_connect(site.port);
    assert_true(http_send(at, "GET /0 HTTP/1.1\r\nHost: a\r\n\r\n", 29 - 1));
    http_receive(at, &reply);
    assert_string_equal(reply.body.data, "GET /0 - 0");
    assert_true(http_send(at, both, 28));
    http_receive(at, &reply);
    assert_string_equal(reply.body.data, "GET /1 - 0");
    assert_true(http_send(at, both + 28, sizeof both - 1 - 28));
    http_receive(at, &reply);
    assert_string_equal(reply.body.data, "POST /2 - 5");
    http_reply_free(&reply);
    close(at);
    lm_http_close(site.http);
}

static void streams(void **state)
{
    (void)state;
    struct http_reply reply = {0};
    struct lm_bytes wanted = {0};
    open_with(lm_http_default());
    http_ask(site.port, "GET", "/count", NULL, NULL, &reply);
    for (int i = 0; i < 1000; i++)
        lm_bytes_format(&wanted, NULL, "%d,", i);
    assert_true(reply.whole);
    assert_string_equal(reply.body.data, wanted.data);
    http_reply_free(&reply);
    lm_bytes_free(&wanted);
    lm_http_close(site.http);
}

/* The connection sleeps, nothing is written, and still the going of the client is seen; an answer to nobody is harmless. */
static void client_goes(void **state)
{
    (void)state;
    struct lm_bytes body = {0};
    open_with(lm_http_default());
    int at = ask_kept();
    struct lm_exchange *exchange = wait_for_kept();
    assert_false(lm_exchange_gone(exchange));
    close(at);
    assert_true(becomes_gone(exchange));
    lm_bytes_format(&body, NULL, "late");
    lm_exchange_answer(exchange, 200, "text/plain", &body);
    /* The same between the pieces of a stream. */
    atomic_store(&site.kept, NULL);
    at = ask_kept();
    exchange = wait_for_kept();
    lm_exchange_begin(exchange, 200, "text/event-stream");
    assert_true(lm_exchange_write(exchange, "data: 1\n\n", 9));
    char first[1024];
    assert_true(recv(at, first, sizeof first, 0) > 0);
    close(at);
    assert_true(becomes_gone(exchange));
    assert_false(lm_exchange_write(exchange, "data: 2\n\n", 9));
    lm_exchange_end(exchange);
    lm_http_close(site.http);
}

/* Closing while a client waits: it is cut off, and close waits for the exchange to be given back. */
static void *answer_later(void *user)
{
    struct lm_bytes body = {0};
    assert_true(becomes_gone(user));
    lm_exchange_answer(user, 200, NULL, &body);
    return NULL;
}

static void closing(void **state)
{
    (void)state;
    struct http_reply reply = {0};
    pthread_t thread;
    open_with(lm_http_default());
    const int at = ask_kept();
    assert_int_equal(pthread_create(&thread, NULL, answer_later, wait_for_kept()), 0);
    lm_http_close(site.http);
    pthread_join(thread, NULL);
    http_receive(at, &reply);
    assert_int_equal(reply.status, 0);
    close(at);
    http_reply_free(&reply);
}

/* Draining: what runs is finished, nothing new begins. */
static void draining(void **state)
{
    (void)state;
    struct http_reply reply = {0};
    struct lm_bytes body = {0};
    char value[256];
    open_with(lm_http_default());
    const int at = ask_kept();
    struct lm_exchange *exchange = wait_for_kept();
    lm_http_drain(site.http);
    assert_int_equal(lm_http_active(site.http), 1);
    lm_bytes_format(&body, NULL, "done");
    lm_exchange_answer(exchange, 200, "text/plain", &body);
    http_receive(at, &reply);
    assert_string_equal(reply.body.data, "done");
    assert_true(http_header(&reply, "Connection", value));
    assert_string_equal(value, "close");
    close(at);
    http_reply_free(&reply);
    lm_http_close(site.http);
}

static void expect_status(const char *headers, size_t body, bool chunked, int status)
{
    struct http_reply reply = {0};
    struct lm_bytes request = {0};
    char *filler = calloc(1, body + 1);
    memset(filler, 'x', body);
    lm_bytes_format(&request, NULL, "POST / HTTP/1.1\r\nHost: a\r\n%s", headers ? headers : "");
    if (chunked)
        lm_bytes_format(&request, NULL, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n0\r\n\r\n", body, filler);
    else
        lm_bytes_format(&request, NULL, "Content-Length: %zu\r\n\r\n%s", body, filler);
    const int at = http_connect(site.port);
    http_send(at, request.data, request.length);
    http_receive(at, &reply);
    if (reply.status != status)
        fail_msg("%zu bytes of body: found status %d, wanted %d", body, reply.status, status);
    close(at);
    free(filler);
    lm_bytes_free(&request);
    http_reply_free(&reply);
}

static void sizes(void **state)
{
    (void)state;
    struct lm_http_options options = lm_http_default();
    char long_header[3200] = "X-Long: ";
    options.body_bytes = 1000;
    options.header_bytes = 2048;
    open_with(options);
    expect_status(NULL, 1000, false, 200);
    expect_status(NULL, 1001, false, 413);
    expect_status(NULL, 1000, true, 200);
    expect_status(NULL, 3000, true, 413);
    expect_status("Expect: 100-continue\r\n", 1001, false, 413);
    memset(long_header + 8, 'y', 3000);
    strcpy(long_header + 3008, "\r\n");
    expect_status(long_header, 10, false, 431);
    expect_status("X-Name: short\r\n", 10, false, 200);
    lm_http_close(site.http);
}

/* A request that trickles in, however busily, ends with its connection; so does a reader that leaves everything lying. */
static void dawdlers(void **state)
{
    (void)state;
    struct lm_http_options options = lm_http_default();
    options.receive_seconds = 0.6;
    options.idle_seconds = 1;
    options.unread_bytes = 1 << 16;
    open_with(options);
    const int at = http_connect(site.port);
    assert_true(http_send(at, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", 51));
    const double begin = lm_seconds();
    while (http_send(at, "x", 1) && lm_seconds() - begin < 10)
        usleep(50000);
    assert_true(lm_seconds() - begin < 8);
    close(at);
    const int reader = ask_kept();
    struct lm_exchange *exchange = wait_for_kept();
    static char filler[4096];
    lm_exchange_begin(exchange, 200, "text/plain");
    int written = 0;
    while (lm_exchange_write(exchange, filler, sizeof filler) && written < 100000)
        written++;
    assert_true(written < 100000);
    lm_exchange_end(exchange);
    close(reader);
    lm_http_close(site.http);
}

static void other_origins(void **state)
{
    (void)state;
    struct http_reply reply = {0};
    char value[256];
    struct lm_http_options options = lm_http_default();
    options.cors_origin = "https://example.org";
    open_with(options);
    http_ask(site.port, "OPTIONS", "/x", "Origin: https://example.org\r\nAccess-Control-Request-Method: POST\r\n", NULL, &reply);
    assert_int_equal(reply.status, 204);
    assert_true(http_header(&reply, "Access-Control-Allow-Origin", value));
    assert_string_equal(value, "https://example.org");
    assert_true(http_header(&reply, "Access-Control-Allow-Headers", value));
    http_ask(site.port, "GET", "/", "Origin: https://example.org\r\n", NULL, &reply);
    assert_true(http_header(&reply, "Access-Control-Allow-Origin", value));
    http_reply_free(&reply);
    lm_http_close(site.http);
}

static void cannot_listen(void **state)
{
    (void)state;
    struct lm_http_server *second;
    struct lm_http_options options = lm_http_default();
    open_with(options);
    options.handle = handle;
    options.port = site.port;
    assert_fails(lm_http_open(&options, &second, &error), &error, LOAM_EBUSY, "in use", "--port");
    options.host = "no.such.host.invalid";
    assert_fails(lm_http_open(&options, &second, &error), &error, LOAM_EUSAGE, "no.such.host.invalid");
    lm_http_close(site.http);
}

static void events_and_secrets(void **state)
{
    (void)state;
    struct lm_bytes out = {0};
    assert_ok(lm_event_append(&out, NULL, "a\nb", 3, &error), &error);
    assert_ok(lm_event_append(&out, "ping", "", 0, &error), &error);
    assert_string_equal(out.data, "data: a\ndata: b\n\nevent: ping\ndata: \n\n");
    lm_bytes_free(&out);
    assert_true(lm_secret_equal("abc", 3, "abc", 3));
    assert_false(lm_secret_equal("abc", 3, "abcabc", 6));
    assert_false(lm_secret_equal("abc", 3, "ab", 2));
    assert_false(lm_secret_equal("abc", 3, "", 0));
    assert_false(lm_secret_equal("", 0, "a", 1));
    assert_false(lm_secret_equal("abc", 3, "abd", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers), cmocka_unit_test(one_connection), cmocka_unit_test(streams), cmocka_unit_test(client_goes),
        cmocka_unit_test(closing), cmocka_unit_test(draining), cmocka_unit_test(sizes), cmocka_unit_test(dawdlers),
        cmocka_unit_test(other_origins), cmocka_unit_test(cannot_listen), cmocka_unit_test(events_and_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
