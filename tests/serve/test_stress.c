/* Many clients at once that behave, go away, dawdle, and send what they should not: no crash, no leak, and every request that is well
 * formed and waits for its answer gets one. Small here; with LOAM_LONG=1 five rounds of a thousand requests from 64 connections. */
#include "support/site.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { PATIENCE_MS = 120000 };

static struct site site;
static atomic_int answered, turned_away, refused, cut, unanswered;
static char first_failure[512];
static pthread_mutex_t failure_lock = PTHREAD_MUTEX_INITIALIZER;

static void fail_with(const char *what, const char *more)
{
    pthread_mutex_lock(&failure_lock);
    if (!*first_failure)
        snprintf(first_failure, sizeof first_failure, "%s: %.300s", what, more);
    pthread_mutex_unlock(&failure_lock);
    atomic_fetch_add(&unanswered, 1);
}

static const char *const good[][2] = {
    {"/v1/chat/completions", "{" SITE_QUESTION "}"},
    {"/v1/chat/completions", "{" SITE_QUESTION ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
    {"/v1/chat/completions", "{" SITE_QUESTION ",\"n\":3,\"logprobs\":true,\"top_logprobs\":5,\"temperature\":1}"},
    {"/v1/completions", "{\"prompt\":[\"S\",\"c\"],\"max_tokens\":20,\"stream\":true}"},
    {"/v1/messages", "{" SITE_QUESTION ",\"max_tokens\":50,\"stream\":true,\"stop_sequences\":[\"zz\",\"=3\"]}"},
    {"/v1/messages", "{" SITE_QUESTION ",\"max_tokens\":50}"},
    {"/tokenize", "{\"content\":\"some words\"}"},
    {"/v1/chat/completions", "{\"model\":\"tiny1\"," SITE_QUESTION ",\"max_tokens\":5}"},
};
static const char *const bad[] = {
    "{\"messages\":", "[]", "{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}", "{" SITE_QUESTION ",\"temperature\":1e999}",
    "{" SITE_QUESTION ",\"tools\":[{}]}", "{\"model\":\"nobody\"," SITE_QUESTION "}", "\"", "",
};

static int open_socket(bool small)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)site.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int at = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), room = 2048;
    if (small)
        setsockopt(at, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (at < 0 || connect(at, (const struct sockaddr *)&to, sizeof to) != 0) {
        fail_with("connect", "");
        close(at);
        return -1;
    }
    return at;
}

static void post(struct lm_bytes *out, const char *path, const char *body)
{
    lm_bytes_format(out, NULL, "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JSON_TYPE "Content-Length: %zu\r\n\r\n%s", path,
                    strlen(body), body);
}

/* Reads to the end of the connection. False: nothing came for too long. */
static bool read_all(int at, bool slowly, struct lm_bytes *out)
{
    char data[4096];
    for (;;) {
        struct pollfd wait = {.fd = at, .events = POLLIN};
        if (poll(&wait, 1, PATIENCE_MS) != 1)
            return false;
        const ssize_t got = recv(at, data, slowly ? 200 : sizeof data, 0);
        if (got <= 0)
            return true;
        lm_bytes_append(out, data, (size_t)got, NULL);
        if (slowly)
            usleep(2000);
    }
}

static bool is_whole(const struct lm_bytes *answer)
{
    if (strstr(answer->data, "Transfer-Encoding: chunked"))
        return answer->length > 5 && !memcmp(answer->data + answer->length - 5, "0\r\n\r\n", 5);
    const char *length = strstr(answer->data, "Content-Length: "), *body = strstr(answer->data, "\r\n\r\n");
    return length && body && strlen(body + 4) == strtoul(length + 16, NULL, 10);
}

/* What must come, whatever else happens at the time. */
static void expect_answer(const struct lm_bytes *answer, bool fine)
{
    int status = 0;
    if (!answer->length || sscanf(answer->data, "HTTP/1.1 %d", &status) != 1 || !is_whole(answer))
        fail_with("no whole answer", answer->length ? answer->data : "");
    else if (fine && status == 200)
        atomic_fetch_add(&answered, 1);
    else if (fine && (status == 429 || status == 503) && strcasestr(answer->data, "Retry-After: "))
        atomic_fetch_add(&turned_away, 1);
    else if (!fine && status >= 400 && status < 500)
        atomic_fetch_add(&refused, 1);
    else
        fail_with("an unexpected answer", answer->data);
}

/* Sends what `random` decides on. */
static void one_client(struct lm_random *random)
{
    struct lm_bytes request = {0}, answer = {0};
    const uint64_t kind = lm_random_below(random, 10);
    const size_t which = lm_random_below(random, sizeof good / sizeof *good);
    const bool slow_reader = kind == 6;
    const int at = open_socket(slow_reader);
    if (at < 0)
        return;
    if (kind < 4 || slow_reader) {
        post(&request, good[which][0], good[which][1]);
        http_send(at, request.data, request.length);
        read_all(at, slow_reader, &answer);
        expect_answer(&answer, true);
    } else if (kind == 4) {
        post(&request, "/v1/chat/completions", bad[lm_random_below(random, sizeof bad / sizeof *bad)]);
        http_send(at, request.data, request.length);
        read_all(at, false, &answer);
        expect_answer(&answer, false);
    } else if (kind == 5) {    /* a slow sender */
        post(&request, good[which][0], good[which][1]);
        for (size_t i = 0; i < request.length; i += 7) {
            http_send(at, request.data + i, request.length - i < 7 ? request.length - i : 7);
            usleep(500);
        }
        read_all(at, false, &answer);
        expect_answer(&answer, true);
    } else if (kind == 7) {    /* too large */
        lm_bytes_format(&answer, NULL, "{\"messages\":[{\"role\":\"user\",\"content\":\"%0*d\"}]}", 40000, 7);
        post(&request, "/v1/chat/completions", answer.data);
        answer.length = 0;
        http_send(at, request.data, request.length);
        read_all(at, false, &answer);
        expect_answer(&answer, false);
    } else if (kind == 8) {    /* goes, at any moment */
        post(&request, good[which][0], good[which][1]);
        http_send(at, request.data, 1 + lm_random_below(random, request.length));
        if (lm_random_below(random, 2))
            usleep((useconds_t)lm_random_below(random, 5000));
        if (lm_random_below(random, 2))
            setsockopt(at, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        atomic_fetch_add(&cut, 1);
    } else {    /* no HTTP at all */
        char noise[300];
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (char)lm_random_below(random, 256);
        http_send(at, noise, sizeof noise);
        http_send(at, "\r\n\r\n", 4);
        shutdown(at, SHUT_WR);
        read_all(at, false, &answer);
        atomic_fetch_add(&cut, 1);
    }
    close(at);
    lm_bytes_free(&request);
    lm_bytes_free(&answer);
}

struct client {
    pthread_t thread;
    uint64_t seed;
    int requests;
};

static void *run_client(void *user)
{
    const struct client *client = user;
    struct lm_random random = lm_random_seed(client->seed, 0);
    for (int i = 0; i < client->requests; i++)
        one_client(&random);
    return NULL;
}

static void one_round(int connections, int requests, uint64_t seed)
{
    struct client clients[64];
    for (int i = 0; i < connections; i++) {
        clients[i] = (struct client){.seed = seed * 1000 + (uint64_t)i, .requests = (requests + i) / connections};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, run_client, &clients[i]), 0);
    }
    for (int i = 0; i < connections; i++)
        pthread_join(clients[i].thread, NULL);
}

static void harsh(struct lm_serve_options *options)
{
    options->body_bytes = 30000;
    options->engine.queue = 16;
    options->engine.streams = 4;
}

static void everybody_at_once(void **state)
{
    (void)state;
    const char *wanted = getenv("LOAM_LONG");
    const bool full = wanted && *wanted;
    const int connections = full ? 64 : 16, requests = full ? 1000 : 200, rounds = full ? 7 : 1;
    int64_t warm = 0;
    site_open(&(struct site_options){.models = 2, .change = harsh}, &site);
    for (int i = 0; i < rounds; i++) {
        one_round(connections, requests, (uint64_t)i + 1);
        if (i == 1)
            warm = lm_memory_resident();
    }
    struct lm_document *health = site_get(&site, "/health", 200);
    lm_document_free(health);
    lm_document_free(site_post(&site, "/v1/chat/completions", "{" SITE_QUESTION "}", 200));
    const int64_t grown = lm_memory_resident() - warm;
    printf("answered %d, turned away %d, refused %d, cut %d; resident %lld KiB, grown %lld KiB since the second round\n", answered, turned_away, refused,
           cut, (long long)lm_memory_resident() / 1024, warm ? (long long)grown / 1024 : 0);
    site_close(&site);
    if (*first_failure)
        fail_msg("%d requests without their answer, the first: %s", unanswered, first_failure);
    assert_true(answered > requests / 4 && refused > 0 && cut > 0);
#ifndef SANITIZED
    if (full)    /* a leak of 256 bytes a request would be more */
        assert_true(grown < 5 * 1000 * 256);
#else
    (void)grown;
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everybody_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
