/* Clients that go away: what they asked for ends, also while the model computes and while it waits in line. */
#include "support/site.h"

#include <sys/socket.h>
#include <unistd.h>

static struct site site;

static void one_stream(struct lm_serve_options *options)
{
    options->engine.streams = 1;
}

static int open_site(void **state)
{
    (void)state;
    site_open(&(struct site_options){.endless = true, .change = one_stream}, &site);
    return 0;
}

static int close_site(void **state)
{
    (void)state;
    site_close(&site);
    return 0;
}

static double metric(const char *name)
{
    struct http_reply reply = {0};
    http_ask(site.port, "GET", "/metrics", NULL, NULL, &reply);
    const char *at = strstr(reply.body.data, name);
    while (at && (at[-1] != '\n' || at[strlen(name)] != ' '))
        at = strstr(at + 1, name);
    const double value = at ? atof(at + strlen(name)) : -1;
    http_reply_free(&reply);
    return value;
}

static bool becomes(const char *name, double wanted)
{
    for (int i = 0; i < 1500; i++) {
        if (metric(name) == wanted)
            return true;
        usleep(20000);
    }
    return false;
}

static int begin(const char *path, const char *body)
{
    struct lm_bytes request = {0};
    const int at = http_connect(site.port);
    http_request(&request, "POST", path, JSON_TYPE, body);
    assert_true(http_send(at, request.data, request.length));
    lm_bytes_free(&request);
    return at;
}

#define RUNNING "loam_sequences_running{model=\"tiny\"}"
#define WAITING "loam_requests_waiting{model=\"tiny\"}"
#define CANCELLED "loam_cancelled_total"

static void in_a_stream(void **state)
{
    (void)state;
    static const char *const asked[][2] = {{"/v1/chat/completions", "{" SITE_QUESTION ",\"stream\":true}"},
                                           {"/v1/messages", "{" SITE_QUESTION ",\"stream\":true,\"max_tokens\":90000}"}};
    for (size_t i = 0; i < 2; i++) {
        const double before = metric(CANCELLED);
        char some[4096];
        const int at = begin(asked[i][0], asked[i][1]);
        for (int k = 0; k < 3; k++)
            assert_true(recv(at, some, sizeof some, 0) > 0);
        close(at);
        assert_true(becomes(CANCELLED, before < 0 ? 1 : before + 1));
        assert_true(becomes(RUNNING, 0));
    }
}

/* Nothing is sent before the end here: only the socket tells. */
static void without_a_stream(void **state)
{
    (void)state;
    const double before = metric(CANCELLED);
    const int at = begin("/v1/chat/completions", "{" SITE_QUESTION "}");
    assert_true(becomes(RUNNING, 1));
    close(at);
    assert_true(becomes(CANCELLED, before + 1));
    assert_true(becomes(RUNNING, 0));
}

static void in_line(void **state)
{
    (void)state;
    const double before = metric(CANCELLED);
    const int first = begin("/v1/chat/completions", "{" SITE_QUESTION ",\"stream\":true}");
    assert_true(becomes(RUNNING, 1));
    const int second = begin("/v1/chat/completions", "{" SITE_QUESTION ",\"stream\":true}");
    assert_true(becomes(WAITING, 1));
    close(second);
    assert_true(becomes(WAITING, 0));
    assert_true(becomes(CANCELLED, before + 1));
    assert_int_equal(metric(RUNNING), 1);    /* the first goes on */
    close(first);
    assert_true(becomes(RUNNING, 0));
}

/* A connection that is reset, with an answer on its way. */
static void reset(void **state)
{
    (void)state;
    const double before = metric(CANCELLED);
    const struct linger now = {1, 0};
    const int at = begin("/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":90000,\"n\":2,\"stream\":true}");
    assert_true(becomes(RUNNING, 1));
    setsockopt(at, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(at);
    assert_true(becomes(CANCELLED, before + 1));
    assert_true(becomes(RUNNING, 0));
}

/* Of two texts the first has ended long before. */
static void behind_one_that_ended(void **state)
{
    (void)state;
    const double before = metric(CANCELLED);
    struct lm_bytes read = {0};
    char some[4096];
    const int at = begin("/v1/completions", "{\"prompt\":[\"a\",\"b\"],\"max_tokens\":3000,\"stream\":true}");
    while (!read.length || !memmem(read.data, read.length, "\"index\":1", 9)) {
        const ssize_t got = recv(at, some, sizeof some, 0);
        assert_true(got > 0);
        lm_bytes_append(&read, some, (size_t)got, NULL);
    }
    lm_bytes_free(&read);
    close(at);
    assert_true(becomes(CANCELLED, before + 1));
    assert_true(becomes(RUNNING, 0));
}

/* The server closes while it answers: the client sees its end, and close returns. */
static void closing(void **state)
{
    (void)state;
    struct http_reply reply = {0};
    const int at = begin("/v1/chat/completions", "{" SITE_QUESTION "}");
    assert_true(becomes(RUNNING, 1));
    assert_false(lm_serve_drain(site.server, 0.05));
    site_close(&site);
    http_receive(at, &reply);
    assert_int_equal(reply.status, 0);
    close(at);
    http_reply_free(&reply);
    open_site(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_a_stream), cmocka_unit_test(without_a_stream), cmocka_unit_test(in_line),
                                       cmocka_unit_test(reset), cmocka_unit_test(behind_one_that_ended), cmocka_unit_test(closing)};
    return cmocka_run_group_tests(tests, open_site, close_site);
}
