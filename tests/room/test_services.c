/* Participants on services of both kinds, beside a stand-in that misbehaves on demand. */
#include "support/standin.h"

#include "room/speaker.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY "sk-test-" TEST_MARK "-789abcdef"

static loam_error error;
static struct standin services;
static struct lm_http_client *client;
static struct lm_secrets *secrets;
static struct lm_speaker_kit kit;

struct said {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct lm_bytes text;
    int pieces, done;
    struct lm_speech_result result;
    struct lm_speech *speech;
};

static void on_text(void *user, const char *text, size_t length)
{
    struct said *said = user;
    pthread_mutex_lock(&said->lock);
    assert_int_equal(lm_utf8_check(text, length), length);
    assert_int_equal(said->done, 0);
    lm_bytes_append(&said->text, text, length, NULL);
    said->pieces++;
    pthread_cond_broadcast(&said->changed);
    pthread_mutex_unlock(&said->lock);
}

static void on_done(void *user, const struct lm_speech_result *result)
{
    struct said *said = user;
    pthread_mutex_lock(&said->lock);
    said->result = *result;
    said->done++;
    pthread_cond_broadcast(&said->changed);
    pthread_mutex_unlock(&said->lock);
}

static void wait_for(struct said *said, const int *number)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&said->lock);
    while (!*number)
        if (pthread_cond_timedwait(&said->changed, &said->lock, &until) != 0)
            fail_msg("nothing within 60 s");
    pthread_mutex_unlock(&said->lock);
}

static const struct lm_speech_message messages[] = {
    {LM_SYSTEM, "Be brief.", 9}, {LM_USER, "[Ann] Hi", 8}, {LM_ASSISTANT, "Hello.", 6}, {LM_USER, "[Ann] How are \"you\"?\n", 21}};

static struct said *begin(const struct lm_speaker *speaker, double seconds)
{
    struct said *said = calloc(1, sizeof *said);
    pthread_mutex_init(&said->lock, NULL);
    pthread_cond_init(&said->changed, NULL);
    const struct lm_speech_request request = {.messages = messages, .count = 4, .max_tokens = 77, .seed = 5, .seconds = seconds,
                                              .text = on_text, .done = on_done, .user = said};
    assert_ok(lm_speaker_start(speaker, &request, &said->speech, &error), &error);
    return said;
}

static void end(struct said *said)
{
    wait_for(said, &said->done);
    assert_int_equal(said->done, 1);
    assert_null(strstr(said->result.error.message, TEST_MARK));
    assert_null(strstr(said->result.error.message, "89abcdef"));
    lm_speech_free(said->speech);
    pthread_mutex_destroy(&said->lock);
    pthread_cond_destroy(&said->changed);
    lm_bytes_free(&said->text);
    free(said);
}

static struct lm_speaker open_speaker(bool anthropic, const char *key, const char *model)
{
    static struct lm_participant participants[64];
    static char urls[64][80];
    static size_t count;
    static const struct lm_header headers[] = {{"X-Title", "loam"}, {"X-Pass", "header9" TEST_MARK "91"}};
    struct lm_participant *participant = &participants[count];
    struct lm_speaker speaker;
    snprintf(urls[count], sizeof *urls, "%s%s", services.url, anthropic ? "" : "/v1");
    *participant = (struct lm_participant){.kind = anthropic ? LM_PARTICIPANT_ANTHROPIC : LM_PARTICIPANT_OPENAI, .name = "Cleo",
                                           .base_url = urls[count], .model = model, .key = key, .headers = headers, .header_count = 2,
                                           .sampling = {.how = {.temperature = 0.5}, .has_temperature = true, .max_tokens = 400}};
    count++;
    assert_ok((anthropic ? lm_speaker_anthropic_open : lm_speaker_openai_open)(participant, &kit, &speaker, &error), &error);
    return speaker;
}

static void next_answers(const char *queue)
{
    char text[2000];
    snprintf(text, sizeof text, "{\"queue\": {\"m\": [%s]}, \"key\": \"" KEY "\", \"forget\": true}", queue);
    standin_tell(&services, "/control", text);
}

static void answers(void **state)
{
    (void)state;
    for (int anthropic = 0; anthropic < 2; anthropic++)
        for (int plain = 0; plain < 2; plain++) {
            const struct lm_speaker speaker = open_speaker(anthropic, "cleo", "m");
            next_answers(plain ? "{\"text\": \"caf\xc3\xa9 \xf0\x9f\x98\x80 for {last}\", \"plain\": true}"
                               : "{\"text\": \"caf\xc3\xa9 \xf0\x9f\x98\x80 for {last}\"}");
            struct said *said = begin(&speaker, 30);
            wait_for(said, &said->done);
            assert_int_equal(said->result.end, LM_SPEECH_ANSWERED);
            assert_string_equal(said->text.data, "caf\xc3\xa9 \xf0\x9f\x98\x80 for [Ann] How are \"you\"?\n");
            assert_int_equal(said->result.tokens, 7);
            assert_true(said->result.prompt_tokens > 3);
            assert_false(said->result.cut);
            assert_true(plain ? said->pieces == 1 : said->pieces > 2);
            end(said);
            struct lm_document *seen = standin_ask(&services, "/control");
            const struct lm_value *request = lm_value_find(lm_document_root(seen), "requests")->items;
            const struct lm_value *headers = lm_value_find(request, "headers"), *body = lm_value_find(request, "body");
            assert_true(lm_value_is(lm_value_find(request, "path"), anthropic ? "/v1/messages" : "/v1/chat/completions"));
            assert_true(lm_value_is(lm_value_find(headers, anthropic ? "x-api-key" : "authorization"), anthropic ? KEY : "Bearer " KEY));
            assert_true(lm_value_is(lm_value_find(headers, "x-title"), "loam"));
            assert_int_equal(lm_value_find(body, "messages")->length, anthropic ? 3 : 4);
            assert_string_equal(lm_value_find(body, "max_tokens")->text, "77");
            assert_string_equal(lm_value_find(body, "temperature")->text, "0.5");
            assert_null(lm_value_find(body, "top_p"));    /* services are sent what the file gives, no more */
            assert_null(lm_value_find(body, "seed"));
            lm_document_free(seen);
            speaker.ops->close(speaker.self);
        }
}

/* What a service may do wrong: whether another try may do, and what people are told. */
static void failures(void **state)
{
    (void)state;
    static const struct {
        const char *how, *says;
        bool again;
        double retry_after;
    } cases[] = {
        {"{\"status\": 429, \"retry_after\": 3, \"reason\": \"slow down\"}", "answered 429 (too many requests): slow down", true, 3},
        {"{\"status\": 503, \"reason\": \"\"}", "answered 503 (not available)", true, -1},
        {"{\"status\": 529, \"reason\": \"Overloaded\"}", "answered 529 (overloaded): Overloaded", true, -1},
        {"{\"status\": 500, \"reason\": \"the key " KEY " header9" TEST_MARK "91 broke\\u0007\\u202e us\"}",
         "answered 500 (error of the service): the key ************************ *************** broke us", true, -1},
        {"{\"status\": 400, \"reason\": \"too \\nlong\"}", "answered 400 (bad request): too  long", false, -1},
        {"{\"status\": 403, \"reason\": \"key sk-test...89abcdef\"}", "answered 403 (forbidden): key sk-test...********", false, -1},
        {"{\"status\": 404, \"reason\": \"no such model\"}", "answered 404 (not found): no such model", false, -1},
        {"{\"status\": 404, \"raw\": \"<html>\"}", "is base_url right?", false, -1},
        {"{\"status\": 302, \"raw\": \"\"}", "it has moved", false, -1},
        {"{\"status\": 502, \"raw\": \"<html><script>alert(1)</script>\"}", "answered 502 (bad gateway)", true, -1},
        {"{\"raw\": \"<html>hello\", \"type\": \"text/html\"}", "not JSON", false, -1},
        {"{\"raw\": \"{\\\"a\\\": 1}\", \"type\": \"application/json\"}", "JSON that has no", false, -1},
        {"{\"raw\": \"x\", \"times\": 3000000, \"type\": \"application/json\"}", "too long", false, -1},
        {"{\"raw\": \"data: x\", \"times\": 3000000, \"type\": \"text/event-stream\"}", "too long", false, -1},
        {"{\"status\": 500, \"raw\": \"x\", \"times\": 3000000}", "answered 500", true, -1},
        {"{\"raw\": \"\", \"type\": \"text/event-stream\"}", "in the middle", true, -1},
        {"{\"raw\": \"[[[[[[[[[[[[[[[[\", \"times\": 10000, \"type\": \"application/json\"}", "not JSON", false, -1},
        {"{\"text\": \"Hello there\", \"cut\": 0}", "ended before", true, -1},
        {"{\"text\": \"Hello there\", \"cut\": 2}", "ended before", true, -1},
        {"{\"text\": \"Hello there\", \"bad\": \"{]\"}", "an event that is not JSON", false, -1},
        {"{\"text\": \"Hello there\", \"error\": \"out of " KEY "\"}", "broke its answer off: out of ***", true, -1},
        {"{\"silent\": true}", "no answer in time", true, -1},
        {"{\"text\": \"on and on \", \"endless\": true, \"between\": 0.01}", "no answer in time", true, -1},
    };
    for (int anthropic = 0; anthropic < 2; anthropic++) {
        const struct lm_speaker speaker = open_speaker(anthropic, "cleo", "m");
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            next_answers(cases[i].how);
            struct said *said = begin(&speaker, strstr(cases[i].says, "in time") ? 0.1 : 30);
            wait_for(said, &said->done);
            if (said->result.end != LM_SPEECH_FAILED || !strstr(said->result.error.message, cases[i].says) ||
                said->result.again != cases[i].again || said->result.retry_after != cases[i].retry_after)
                fail_msg("%d %s: %d again %d after %g: %s", anthropic, cases[i].how, said->result.end, said->result.again,
                         said->result.retry_after, said->result.error.message);
            assert_null(strstr(said->result.error.message, "script"));
            end(said);
        }
        next_answers("");
        struct said *said = begin(&speaker, 30);    /* and it goes on */
        wait_for(said, &said->done);
        assert_int_equal(said->result.end, LM_SPEECH_ANSWERED);
        end(said);
        speaker.ops->close(speaker.self);
    }
}

static void keys(void **state)
{
    (void)state;
    static const struct {
        const char *key, *says;
    } cases[] = {{"wrong", "answered 401: it does not accept the key 'wrong'"}, {NULL, "answered 401: it wants a key"}};
    for (int anthropic = 0; anthropic < 2; anthropic++)
        for (size_t i = 0; i < 2; i++) {
            const struct lm_speaker speaker = open_speaker(anthropic, cases[i].key, "m");
            next_answers("");
            struct said *said = begin(&speaker, 30);
            wait_for(said, &said->done);
            assert_int_equal(said->result.end, LM_SPEECH_FAILED);
            assert_non_null(strstr(said->result.error.message, cases[i].says));
            assert_false(said->result.again);
            end(said);
            speaker.ops->close(speaker.self);
        }
    const struct lm_participant participant = {.name = "Cleo", .base_url = "http://127.0.0.1:1", .model = "m", .key = "absent"};
    struct lm_speaker speaker;
    assert_fails(lm_speaker_openai_open(&participant, &kit, &speaker, &error), &error, LOAM_ENOTFOUND, "Cleo", "'absent'", "secrets file");
}

/* A service that knows an older or a newer form of the API is spoken to in that. */
static void dialects(void **state)
{
    (void)state;
    const struct lm_speaker speaker = open_speaker(false, "cleo", "m");
    static const char *const reasons[] = {"Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
                                          "Unrecognized request argument supplied: stream_options"};
    char how[300];
    for (size_t i = 0; i < 2; i++) {
        snprintf(how, sizeof how, "{\"status\": 400, \"reason\": \"%s\"}, {\"status\": 400, \"reason\": \"%s\"}", reasons[i], reasons[i]);
        next_answers(how);
        for (int try = 0; try < 2; try++) {
            struct said *said = begin(&speaker, 30);
            wait_for(said, &said->done);
            assert_int_equal(said->result.again, !try);    /* once; the same again is a failure as any other */
            end(said);
        }
    }
    next_answers("{\"text\": \"x\", \"finish\": \"length\"}");
    struct said *said = begin(&speaker, 30);
    wait_for(said, &said->done);
    assert_int_equal(said->result.end, LM_SPEECH_ANSWERED);
    assert_true(said->result.cut);
    assert_int_equal(said->result.tokens, -1);    /* nothing was said of tokens */
    end(said);
    struct lm_document *seen = standin_ask(&services, "/control");
    const struct lm_value *body = lm_value_find(lm_value_find(lm_document_root(seen), "requests")->items, "body");
    assert_null(lm_value_find(body, "max_tokens"));
    assert_non_null(lm_value_find(body, "max_completion_tokens"));
    assert_null(lm_value_find(body, "stream_options"));
    lm_document_free(seen);
    speaker.ops->close(speaker.self);
}

static void cancelled(void **state)
{
    (void)state;
    const struct lm_speaker speaker = open_speaker(false, "cleo", "m");
    next_answers("{\"text\": \"on and on\", \"endless\": true, \"between\": 0.01}, {\"silent\": true}, {\"silent\": true}");
    struct said *said = begin(&speaker, 30);
    wait_for(said, &said->pieces);
    lm_speech_cancel(said->speech);
    wait_for(said, &said->done);
    assert_int_equal(said->result.end, LM_SPEECH_CANCELLED);
    lm_speech_cancel(said->speech);
    end(said);
    struct said *one = begin(&speaker, 30), *two = begin(&speaker, 30);
    speaker.ops->close(speaker.self);    /* ends both, each with its done */
    assert_true(one->done == 1 && two->done == 1);
    assert_int_equal(one->result.end, LM_SPEECH_CANCELLED);
    end(one);
    end(two);
}

/* No service, no such host. */
/* Refused when it is opened, not when it is asked first; and what a start is refused for leaves nothing behind. */
static void no_address(void **state)
{
    (void)state;
    static const char *const urls[] = {"http://127.0.0.1:80800/v1", "http://localhost:8O80"};
    for (size_t i = 0; i < 2; i++) {
        const struct lm_participant participant = {.name = "Cleo", .base_url = urls[i], .model = "m"};
        struct lm_speaker speaker;
        assert_int_equal(lm_speaker_openai_open(&participant, &kit, &speaker, &error), LOAM_EUSAGE);
        assert_non_null(strstr(error.message, "base_url"));
    }
    static const struct lm_header headers[] = {{"X-Title", "a\r\nb"}};
    const struct lm_participant participant = {.name = "Cleo", .base_url = services.url, .model = "m", .headers = headers, .header_count = 1};
    struct lm_speaker speaker;
    struct lm_speech *speech = NULL;
    assert_ok(lm_speaker_openai_open(&participant, &kit, &speaker, &error), &error);
    const struct lm_speech_request request = {.messages = messages, .count = 1, .max_tokens = 4, .seconds = 5, .text = on_text, .done = on_done};
    assert_int_equal(lm_speaker_start(&speaker, &request, &speech, &error), LOAM_EUSAGE);
    assert_null(speech);
    speaker.ops->close(speaker.self);
}

static void unreachable(void **state)
{
    (void)state;
    char url[64];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    const int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);    /* a port on which nobody listens */
    assert_int_equal(bind(taken, (struct sockaddr *)&at, sizeof at) | getsockname(taken, (struct sockaddr *)&at, &size), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(at.sin_port));
    const struct lm_participant participant = {.name = "Cleo", .base_url = url, .model = "m", .key = "cleo"};
    struct lm_speaker speaker;
    assert_ok(lm_speaker_anthropic_open(&participant, &kit, &speaker, &error), &error);
    struct said *said = begin(&speaker, 30);
    wait_for(said, &said->done);
    assert_int_equal(said->result.end, LM_SPEECH_FAILED);
    assert_true(said->result.again);
    assert_non_null(strstr(said->result.error.message, "refused"));
    end(said);
    assert_int_equal(speaker.ops->count(speaker.self, "four", 4), 1);
    assert_int_equal(speaker.ops->count(speaker.self, "\xe4\xbd\xa0\xe5\xa5\xbd", 6), 2);
    assert_int_equal(speaker.ops->context(speaker.self), 0);
    speaker.ops->close(speaker.self);
    close(taken);
}

static int open_all(void **state)
{
    (void)state;
    const char *path = test_path(test_folder(), "secrets");
    assert_ok(lm_file_replace(path, "cleo = " KEY "\nwrong = wr" TEST_MARK "ong\n", strlen("cleo = " KEY "\nwrong = wr" TEST_MARK "ong\n"),
                              &error), &error);
    FILE *file = fopen(path, "r");
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fclose(file);
    standin_open("services.py", &services);
    assert_ok(lm_secrets_open(path, &secrets, &error), &error);
    assert_ok(lm_http_client_open(&(struct lm_http_client_options){0}, &client, &error), &error);
    kit = (struct lm_speaker_kit){.client = client, .secrets = secrets};
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    lm_http_client_close(client);
    lm_secrets_free(secrets);
    standin_close(&services);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers),   cmocka_unit_test(failures),   cmocka_unit_test(keys),
                                       cmocka_unit_test(dialects),  cmocka_unit_test(cancelled),  cmocka_unit_test(unreachable),
                                       cmocka_unit_test(no_address)};
    return cmocka_run_group_tests_name("room/services", tests, open_all, close_all);
}
