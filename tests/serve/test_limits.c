/* Limits: of size, of the line that waits, of time; templates that fail or do not end. After each the server goes on. */
#include "support/site.h"

#include <unistd.h>

static loam_error error;

static void ask_plainly(const struct site *site)
{
    lm_document_free(site_post(site, "/v1/chat/completions", "{\"max_tokens\":3," SITE_QUESTION "}", 200));
}

static void small(struct lm_serve_options *options)
{
    options->body_bytes = 2000;
}

static void sizes(void **state)
{
    (void)state;
    struct site site;
    struct lm_bytes body = {0};
    static char header[20100];
    site_open(&(struct site_options){.change = small}, &site);
    lm_bytes_format(&body, &error, "{\"messages\":[{\"role\":\"user\",\"content\":\"%02500d\"}]}", 1);
    struct lm_document *reply = site_post(&site, "/v1/chat/completions", body.data, 413);
    assert_non_null(strstr(text_at(reply, "error.message"), "2000"));
    lm_document_free(reply);
    reply = site_post(&site, "/v1/messages", body.data, 413);
    assert_string_equal(text_at(reply, "error.type"), "request_too_large");
    lm_document_free(reply);
    snprintf(header, sizeof header, "X-Long: %019000d\r\n", 1);
    reply = site_ask(&site, "GET", "/health", header, NULL, 431);
    assert_non_null(strstr(text_at(reply, "error.message"), "headers"));
    lm_document_free(reply);
    ask_plainly(&site);
    lm_bytes_free(&body);
    site_close(&site);
}

static void short_line(struct lm_serve_options *options)
{
    options->engine.streams = 1;
    options->engine.queue = 1;
}

static int begin(const struct site *site, const char *body)
{
    struct lm_bytes request = {0};
    const int at = http_connect(site->port);
    http_request(&request, "POST", "/v1/chat/completions", JSON_TYPE, body);
    assert_true(http_send(at, request.data, request.length));
    lm_bytes_free(&request);
    return at;
}

/* One computes, one waits, the others are turned away and told when to come again. */
static void line(void **state)
{
    (void)state;
    struct site site;
    struct http_reply reply = {0};
    int sockets[4];
    char value[256];
    site_open(&(struct site_options){.endless = true, .change = short_line}, &site);
    ask_plainly(&site);
    for (int i = 0; i < 4; i++) {
        sockets[i] = begin(&site, "{" SITE_QUESTION "}");
        usleep(100000);
    }
    http_receive(sockets[3], &reply);
    assert_int_equal(reply.status, 429);
    assert_true(http_header(&reply, "Retry-After", value));
    assert_true(atoi(value) >= 1);
    assert_non_null(strstr(reply.body.data, "rate_limit"));
    for (int i = 0; i < 4; i++)
        close(sockets[i]);
    for (int i = 0; i < 200; i++) {    /* until those that went are out of the line */
        http_ask(site.port, "POST", "/v1/chat/completions", JSON_TYPE, "{\"max_tokens\":3," SITE_QUESTION "}", &reply);
        if (reply.status == 200)
            break;
        usleep(50000);
    }
    assert_int_equal(reply.status, 200);
    http_reply_free(&reply);
    site_close(&site);
}

static void impatient(struct lm_serve_options *options)
{
    options->timeout = 0.4;
}

static void time_limit(void **state)
{
    (void)state;
    struct site site;
    site_open(&(struct site_options){.endless = true, .change = impatient}, &site);
    struct lm_document *reply = site_post(&site, "/v1/chat/completions", "{" SITE_QUESTION "}", 503);
    assert_non_null(strstr(text_at(reply, "error.message"), "0.4 s"));
    lm_document_free(reply);
    struct http_reply stream = {0};
    http_ask(site.port, "POST", "/v1/messages", JSON_TYPE, "{" SITE_QUESTION ",\"max_tokens\":90000,\"stream\":true}", &stream);
    assert_int_equal(stream.status, 200);
    assert_non_null(strstr(stream.body.data, "event: error\ndata: {\"type\":\"error\""));
    http_reply_free(&stream);
    ask_plainly(&site);
    site_close(&site);
}

static const char *template_text;

static void with_template(struct lm_serve_options *options)
{
    static struct lm_serve_model model;
    char path[1024];
    const char *folder = test_path(test_folder(), "model");
    struct chain chain;
    chain_open("\n" SITE_ANSWER, false, 512, &chain);
    chain_save(&chain, folder);
    chain_close(&chain);
    snprintf(path, sizeof path, "%s/chat_template.jinja", folder);
    assert_ok(lm_file_replace(path, template_text, strlen(template_text), &error), &error);
    model = (struct lm_serve_model){"tiny", folder};
    options->models = &model;
}

static void templates(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"{% for i in range(100000) %}{% for j in range(100000) %}{% set x = i * j %}{% endfor %}{% endfor %}", "took more"},
        {"{{ raise_exception('only poems here') }}", "only poems here"},
        {"{{ messages[0].content.no_such() }}", "no_such"},
        {"{% for %}", "template"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct site site;
        template_text = cases[i].text;
        site_open(&(struct site_options){.change = with_template}, &site);
        struct lm_document *reply = site_post(&site, "/v1/chat/completions", "{" SITE_QUESTION "}", 400);
        if (!strstr(text_at(reply, "error.message"), cases[i].words))
            fail_msg("%s: no '%s' in: %s", cases[i].text, cases[i].words, text_at(reply, "error.message"));
        lm_document_free(reply);
        lm_document_free(site_post(&site, "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":1}", 200));
        site_close(&site);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes), cmocka_unit_test(line), cmocka_unit_test(time_limit), cmocka_unit_test(templates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
