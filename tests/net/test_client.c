/* The client beside our own server, and beside sockets that do what no server should. */
#include "support/http.h"

#include "net/net.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEY "sk-" TEST_MARK "-not-to-be-seen"

static loam_error error;
static struct lm_http_server *server;
static struct lm_http_client *client;
static struct lm_exchange *held[4096];
static atomic_int held_count;
static pthread_mutex_t holding = PTHREAD_MUTEX_INITIALIZER;

/* --- The other side --- */

static void handle(void *user, struct lm_exchange *exchange)
{
    struct lm_bytes body = {0};
    const char *path = lm_exchange_path(exchange);
    (void)user;
    if (!strcmp(path, "/hold")) {
        pthread_mutex_lock(&holding);
        held[held_count] = exchange;
        atomic_fetch_add(&held_count, 1);    /* behind the place itself: who sees the number sees the exchange */
        pthread_mutex_unlock(&holding);
        return;
    }
    if (!strcmp(path, "/echo")) {
        const char *key = lm_exchange_header(exchange, "x-api-key"), *type = lm_exchange_header(exchange, "content-type");
        lm_bytes_format(&body, NULL, "%s %s %s %s", lm_exchange_method(exchange), key ? key : "-", type ? type : "-",
                        lm_exchange_body(exchange)->data ? lm_exchange_body(exchange)->data : "");
        lm_exchange_answer(exchange, 200, "text/plain", &body);
    } else if (!strcmp(path, "/later")) {
        lm_exchange_add_header(exchange, "Retry-After", "7");
        lm_exchange_answer(exchange, 429, "application/json", &body);
    } else if (!strcmp(path, "/date")) {
        lm_exchange_add_header(exchange, "Retry-After", "Fri, 31 Dec 2100 23:59:59 GMT");
        lm_exchange_answer(exchange, 503, "text/plain", &body);
    } else if (!strcmp(path, "/away")) {
        lm_exchange_add_header(exchange, "Location", "/echo");
        lm_exchange_answer(exchange, 302, "text/plain", &body);
    } else if (!strcmp(path, "/long")) {
        for (int i = 0; i < 5000; i++)
            lm_bytes_format(&body, NULL, "%04d ", i);
        lm_exchange_answer(exchange, 200, "text/plain", &body);
    } else
        lm_exchange_answer(exchange, 404, "text/plain", &body);
}

/* --- What is heard of a call --- */

struct heard {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int heads, pieces, done, code, status;
    bool timed_out, sent;
    double retry_after;
    struct lm_bytes body;
    char message[1024], type[64];
};

static struct heard *heard_new(void)
{
    struct heard *heard = calloc(1, sizeof *heard);
    pthread_mutex_init(&heard->lock, NULL);
    pthread_cond_init(&heard->changed, NULL);
    return heard;
}

static void heard_free(struct heard *heard)
{
    pthread_mutex_destroy(&heard->lock);
    pthread_cond_destroy(&heard->changed);
    lm_bytes_free(&heard->body);
    free(heard);
}

static void on_head(void *user, const struct lm_http_head *head)
{
    struct heard *heard = user;
    pthread_mutex_lock(&heard->lock);
    heard->heads++;
    heard->status = head->status;
    pthread_cond_broadcast(&heard->changed);
    pthread_mutex_unlock(&heard->lock);
}

static bool on_data(void *user, const char *data, size_t length)
{
    struct heard *heard = user;
    pthread_mutex_lock(&heard->lock);
    heard->pieces++;
    lm_bytes_append(&heard->body, data, length, NULL);
    pthread_cond_broadcast(&heard->changed);
    pthread_mutex_unlock(&heard->lock);
    return memcmp(data, "two", 3) || heard->pieces != 3;
}

static void on_done(void *user, struct lm_http_reply *reply)
{
    struct heard *heard = user;
    pthread_mutex_lock(&heard->lock);
    heard->done++;
    heard->code = reply->code;
    heard->status = reply->head.status;
    heard->retry_after = reply->head.retry_after;
    heard->timed_out = reply->timed_out;
    heard->sent = reply->sent;
    snprintf(heard->type, sizeof heard->type, "%s", reply->head.type);
    if (reply->code != LOAM_OK)
        snprintf(heard->message, sizeof heard->message, "%s", reply->error.message);
    if (!heard->body.data) {
        heard->body = reply->body;
        reply->body = (struct lm_bytes){0};
    }
    pthread_cond_broadcast(&heard->changed);
    pthread_mutex_unlock(&heard->lock);
}

static void wait_for(struct heard *heard, const int *number, int least)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&heard->lock);
    while (*number < least)
        if (pthread_cond_timedwait(&heard->changed, &heard->lock, &until) != 0)
            fail_msg("nothing within 60 s");
    pthread_mutex_unlock(&heard->lock);
}

static const char *address(int port, const char *path)
{
    static char url[300];
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", port, path);
    return url;
}

static struct heard *ask(struct lm_http_request request, struct lm_http_call **call)
{
    struct heard *heard = heard_new();
    request.method = request.method ? request.method : "GET";
    request.done = on_done;
    request.user = heard;
    assert_ok(lm_http_start(client, &request, call, &error), &error);
    return heard;
}

static struct heard *ask_whole(struct lm_http_request request)
{
    struct heard *heard = ask(request, NULL);
    wait_for(heard, &heard->done, 1);
    assert_int_equal(heard->done, 1);
    return heard;
}

/* --- Tests --- */

static void plain(void **state)
{
    (void)state;
    const struct lm_http_header headers[] = {{"X-Api-Key", KEY}, {"Content-Type", "application/json"}};
    struct heard *heard = ask_whole((struct lm_http_request){.method = "POST", .url = address(lm_http_port(server), "/echo"),
                                                             .headers = headers, .header_count = 2, .body = "{\"a\":1}", .length = 7});
    assert_int_equal(heard->code, LOAM_OK);
    assert_int_equal(heard->status, 200);
    assert_string_equal(heard->body.data, "POST " KEY " application/json {\"a\":1}");
    assert_string_equal(heard->type, "text/plain");
    assert_true(heard->retry_after < 0);
    heard_free(heard);
    heard = ask_whole((struct lm_http_request){.method = "POST", .url = address(lm_http_port(server), "/echo"), .body = "", .length = 0});
    assert_string_equal(heard->body.data, "POST - - ");
    heard_free(heard);
    heard = ask_whole((struct lm_http_request){.url = address(lm_http_port(server), "/nothing")});
    assert_int_equal(heard->status, 404);
    heard_free(heard);
    heard = ask_whole((struct lm_http_request){.url = address(lm_http_port(server), "/later"), .head = on_head});
    assert_int_equal(heard->status, 429);
    assert_int_equal(heard->heads, 1);
    assert_true(heard->retry_after == 7);
    heard_free(heard);
    heard = ask_whole((struct lm_http_request){.url = address(lm_http_port(server), "/date")});
    assert_true(heard->retry_after == 86400);
    heard_free(heard);
    heard = ask_whole((struct lm_http_request){.url = address(lm_http_port(server), "/away")});
    assert_int_equal(heard->status, 302);    /* keys go nowhere else */
    heard_free(heard);
}

static void limits(void **state)
{
    (void)state;
    struct heard *heard = ask_whole((struct lm_http_request){.url = address(lm_http_port(server), "/long"), .most_bytes = 25000});
    assert_int_equal(heard->code, LOAM_OK);
    assert_int_equal(heard->body.length, 25000);
    heard_free(heard);
    heard = ask_whole((struct lm_http_request){.url = address(lm_http_port(server), "/long"), .most_bytes = 24999});
    assert_int_equal(heard->code, LOAM_EFORMAT);
    assert_non_null(strstr(heard->message, "24999 bytes"));
    heard_free(heard);
    const double begun = lm_seconds();
    heard = ask_whole((struct lm_http_request){.url = address(lm_http_port(server), "/hold?" KEY), .seconds = 0.2});
    assert_int_equal(heard->code, LOAM_EIO);
    assert_true(heard->timed_out && heard->sent);
    assert_true(lm_seconds() - begun >= 0.19);
    assert_null(strstr(heard->message, KEY));
    assert_non_null(strstr(heard->message, "127.0.0.1"));
    heard_free(heard);
    while (!atomic_load(&held_count))
        usleep(1000);
    lm_exchange_end(held[--held_count]);
}

static void streamed(void **state)
{
    (void)state;
    struct lm_http_call *call;
    struct heard *heard = ask((struct lm_http_request){.url = address(lm_http_port(server), "/hold"), .head = on_head, .data = on_data}, &call);
    while (!atomic_load(&held_count))
        usleep(1000);
    struct lm_exchange *exchange = held[--held_count];
    lm_exchange_begin(exchange, 200, "text/event-stream");
    lm_exchange_write(exchange, "one", 3);
    wait_for(heard, &heard->pieces, 1);
    assert_int_equal(heard->heads, 1);
    assert_string_equal(heard->body.data, "one");    /* it is here although the answer is not through */
    lm_exchange_write(exchange, "two", 3);
    wait_for(heard, &heard->pieces, 2);
    lm_exchange_end(exchange);
    wait_for(heard, &heard->done, 1);
    assert_string_equal(heard->body.data, "onetwo");
    assert_int_equal(heard->code, LOAM_OK);
    lm_http_cancel(call);    /* too late: nothing happens */
    lm_http_call_free(call);
    heard_free(heard);
}

static void cancelled(void **state)
{
    (void)state;
    struct lm_http_call *call;
    struct heard *heard = ask((struct lm_http_request){.url = address(lm_http_port(server), "/hold")}, &call);
    while (!atomic_load(&held_count))
        usleep(1000);
    lm_http_cancel(call);
    wait_for(heard, &heard->done, 1);
    assert_int_equal(heard->code, LOAM_ECANCELLED);
    for (int i = 0; i < 2000 && !lm_exchange_gone(held[0]); i++)
        usleep(1000);
    assert_true(lm_exchange_gone(held[0]));    /* the server sees it too */
    lm_exchange_end(held[--held_count]);
    lm_http_call_free(call);
    heard_free(heard);
    heard = ask((struct lm_http_request){.url = address(lm_http_port(server), "/echo")}, &call);
    lm_http_cancel(call);                      /* at once: either came first, done comes once */
    lm_http_call_free(call);
    wait_for(heard, &heard->done, 1);
    assert_true(heard->code == LOAM_ECANCELLED || heard->code == LOAM_OK);
    heard_free(heard);
}

static void refused(void **state)
{
    (void)state;
    const struct lm_http_header broken[] = {{"X", "a\r\nY: b"}}, unnamed[] = {{"X: y", "a"}};
    struct lm_http_request request = {.method = "GET", .url = "ftp://example.org/" KEY, .done = on_done};
    assert_fails(lm_http_start(client, &request, NULL, &error), &error, LOAM_EUSAGE, "http://HOST");
    assert_null(strstr(error.message, KEY));
    request.url = "http://exa mple/" KEY;
    assert_fails(lm_http_start(client, &request, NULL, &error), &error, LOAM_EUSAGE, "an address that is none");
    assert_null(strstr(error.message, KEY));
    request.url = "http://127.0.0.1/";
    request.headers = broken;
    request.header_count = 1;
    assert_fails(lm_http_start(client, &request, NULL, &error), &error, LOAM_EUSAGE, "header");
    request.headers = unnamed;
    assert_fails(lm_http_start(client, &request, NULL, &error), &error, LOAM_EUSAGE, "header");
    for (int i = 0; i < 1000 && lm_http_client_active(client); i++)
        usleep(1000);
    assert_int_equal(lm_http_client_active(client), 0);
}

/* --- Sockets --- */

static int listen_at(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    const int listening = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listening, 8), 0);
    assert_int_equal(getsockname(listening, (struct sockaddr *)&at, &length), 0);
    *port = ntohs(at.sin_port);
    return listening;
}

static void broken_answers(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        int code;
    } cases[] = {
        {"", LOAM_EIO},
        {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", LOAM_EIO},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", LOAM_EIO},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", LOAM_EIO},
        {"nonsense that is no HTTP\r\n\r\n", LOAM_EIO},
        {"HTTP/1.1 200 OK\r\n\r\nuntil the end", LOAM_OK},
    };
    int port;
    const int listening = listen_at(&port);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char data[4096];
        struct heard *heard = ask((struct lm_http_request){.url = address(port, "/" KEY)}, NULL);
        const int at = accept(listening, NULL, NULL);
        (void)!recv(at, data, sizeof data, 0);
        http_send(at, cases[i].answer, strlen(cases[i].answer));
        close(at);
        wait_for(heard, &heard->done, 1);
        if (heard->code != cases[i].code)
            fail_msg("case %zu: %d %s", i, heard->code, heard->message);
        assert_null(strstr(heard->message, KEY));
        heard_free(heard);
    }
    close(listening);
    struct heard *heard = ask_whole((struct lm_http_request){.url = address(port, "/" KEY)});
    assert_int_equal(heard->code, LOAM_EIO);
    assert_non_null(strstr(heard->message, "refused"));
    assert_false(heard->sent);
    heard_free(heard);
    heard = ask_whole((struct lm_http_request){.url = "http://no-such-host.invalid/" KEY});
    assert_int_equal(heard->code, LOAM_EIO);
    assert_non_null(strstr(heard->message, "no-such-host.invalid"));
    assert_null(strstr(heard->message, KEY));
    heard_free(heard);
}

/* Two hundred rooms with ten participants each, all of which wait for their service. */
static void many(void **state)
{
    (void)state;
    enum { MANY = TEST_SANITIZED ? 300 : 2000 };
    static struct heard *all[MANY];
    static char body[2000];
    memset(body, 'x', sizeof body);
    const int64_t before = lm_memory_resident();
    for (int i = 0; i < MANY; i++)
        all[i] = ask((struct lm_http_request){.method = "POST", .url = address(lm_http_port(server), "/hold"), .body = body,
                                              .length = sizeof body}, NULL);
    for (int i = 0; i < 60000 && atomic_load(&held_count) < MANY; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&held_count), MANY);
    assert_int_equal(lm_http_client_active(client), MANY);
    const int64_t used = lm_memory_resident() - before;
    printf("%d calls at once: %.1f MiB, the server's side among them\n", MANY, (double)used / (1 << 20));
    if (!TEST_SANITIZED)
        assert_true(used < 150 << 20);
    for (int i = 0; i < MANY; i++) {
        struct lm_bytes answer = {0};
        lm_bytes_format(&answer, NULL, "done");
        lm_exchange_answer(held[i], 200, "text/plain", &answer);
    }
    held_count = 0;
    for (int i = 0; i < MANY; i++) {
        wait_for(all[i], &all[i]->done, 1);
        assert_int_equal(all[i]->done, 1);
        assert_string_equal(all[i]->body.data, "done");
        heard_free(all[i]);
    }
}

/* Closing ends what is on its way, each with its done. */
static void closed(void **state)
{
    (void)state;
    struct heard *all[20];
    for (int i = 0; i < 20; i++)
        all[i] = ask((struct lm_http_request){.url = address(lm_http_port(server), "/hold")}, NULL);
    usleep(20000);
    lm_http_client_close(client);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(all[i]->done, 1);
        assert_int_equal(all[i]->code, LOAM_ECANCELLED);
        heard_free(all[i]);
    }
    usleep(100000);
    while (held_count)
        lm_exchange_end(held[--held_count]);
    assert_ok(lm_http_client_open(&(struct lm_http_client_options){0}, &client, &error), &error);
}

/* Fewer connections than calls: they take turns. */
static void turns(void **state)
{
    (void)state;
    struct heard *all[40];
    lm_http_client_close(client);
    assert_ok(lm_http_client_open(&(struct lm_http_client_options){.connections = 3}, &client, &error), &error);
    for (int i = 0; i < 40; i++)
        all[i] = ask((struct lm_http_request){.url = address(lm_http_port(server), "/echo")}, NULL);
    for (int i = 0; i < 40; i++) {
        wait_for(all[i], &all[i]->done, 1);
        assert_int_equal(all[i]->status, 200);
        heard_free(all[i]);
    }
}

static int open_both(void **state)
{
    (void)state;
    struct lm_http_options options = lm_http_default();
    options.handle = handle;
    options.connections = 4000;
    options.body_bytes = 1 << 20;
    assert_ok(lm_http_open(&options, &server, &error), &error);
    assert_ok(lm_http_client_open(&(struct lm_http_client_options){0}, &client, &error), &error);
    return 0;
}

static int close_both(void **state)
{
    (void)state;
    lm_http_client_close(client);
    lm_http_close(server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(plain),   cmocka_unit_test(limits),         cmocka_unit_test(streamed),
                                       cmocka_unit_test(cancelled), cmocka_unit_test(refused),      cmocka_unit_test(broken_answers),
                                       cmocka_unit_test(many),    cmocka_unit_test(turns),          cmocka_unit_test(closed)};
    return cmocka_run_group_tests_name("net/client", tests, open_both, close_both);
}
