/* /tokenize, /detokenize, /apply-template, /metrics, /v1/models, the page. */
#include "support/site.h"

static struct site site;

static int open_site(void **state)
{
    (void)state;
    site_open(&(struct site_options){0}, &site);
    return 0;
}

static int close_site(void **state)
{
    (void)state;
    site_close(&site);
    return 0;
}

static void there_and_back(void **state)
{
    (void)state;
    struct lm_bytes body = {0};
    struct lm_document *tokens = site_post(&site, "/tokenize", "{\"content\":\"a\xc3\xa9<|im_end|>\",\"with_pieces\":true}", 200);
    assert_int_equal(number_at(tokens, "count"), 4);
    assert_string_equal(text_at(tokens, "tokens.0.piece"), "a");
    assert_string_equal(text_at(tokens, "tokens.3.piece"), "<|im_end|>");
    lm_bytes_format(&body, NULL, "{\"tokens\":[%d,%d,%d,%d]}", (int)number_at(tokens, "tokens.0.id"), (int)number_at(tokens, "tokens.1.id"),
                    (int)number_at(tokens, "tokens.2.id"), (int)number_at(tokens, "tokens.3.id"));
    lm_document_free(tokens);
    struct lm_document *text = site_post(&site, "/detokenize", body.data, 200);
    assert_string_equal(text_at(text, "content"), "a\xc3\xa9<|im_end|>");
    lm_document_free(text);
    lm_bytes_free(&body);
    tokens = site_post(&site, "/tokenize", "{\"content\":\"<|im_end|>\",\"parse_special\":false}", 200);
    assert_int_equal(number_at(tokens, "count"), 10);
    lm_document_free(tokens);
    lm_document_free(site_post(&site, "/tokenize", "{\"content\":\"\"}", 200));
}

static void refused(void **state)
{
    (void)state;
    lm_document_free(site_post(&site, "/tokenize", "{}", 400));
    lm_document_free(site_post(&site, "/tokenize", "{\"content\":3}", 400));
    lm_document_free(site_post(&site, "/detokenize", "{}", 400));
    lm_document_free(site_post(&site, "/detokenize", "{\"tokens\":[99999]}", 400));
    lm_document_free(site_post(&site, "/detokenize", "{\"tokens\":[\"a\"]}", 400));
    lm_document_free(site_post(&site, "/apply-template", "{}", 400));
    lm_document_free(site_post(&site, "/apply-template", "{\"model\":\"none\",\"messages\":[]}", 404));
}

static void models(void **state)
{
    (void)state;
    struct lm_document *reply = site_get(&site, "/v1/models", 200);
    assert_string_equal(text_at(reply, "object"), "list");
    assert_string_equal(text_at(reply, "data.0.id"), "tiny");
    assert_int_equal(number_at(reply, "data.0.context_length"), 512);
    lm_document_free(reply);
    reply = site_get(&site, "/v1/models/tiny", 200);
    assert_string_equal(text_at(reply, "id"), "tiny");
    lm_document_free(reply);
    reply = site_get(&site, "/v1/models/huge", 404);
    assert_string_equal(text_at(reply, "error.code"), "model_not_found");
    lm_document_free(reply);
}

/* The value behind a metric's name at the begin of a line. */
static double metric(const struct http_reply *reply, const char *name)
{
    for (const char *line = reply->body.data; line && *line; line = strchr(line, '\n'), line += line != NULL)
        if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ' ')
            return atof(line + strlen(name) + 1);
    fail_msg("no metric %s", name);
    return 0;
}

static void metrics(void **state)
{
    (void)state;
    struct http_reply before = {0}, after = {0};
    char type[256];
    lm_document_free(site_post(&site, "/v1/chat/completions", "{" SITE_QUESTION "}", 200));
    http_ask(site.port, "GET", "/metrics", NULL, NULL, &before);
    assert_true(http_header(&before, "Content-Type", type));
    assert_non_null(strstr(type, "version=0.0.4"));
    lm_document_free(site_post(&site, "/v1/chat/completions", "{" SITE_QUESTION "}", 200));
    lm_document_free(site_post(&site, "/v1/chat/completions", "{}", 400));
    http_ask(site.port, "GET", "/metrics", NULL, NULL, &after);
    static const char tokens[] = "loam_generated_tokens_total", first[] = "loam_time_to_first_token_seconds_count";
    assert_int_equal(metric(&after, tokens) - metric(&before, tokens), SITE_TOKENS);
    assert_int_equal(metric(&after, first) - metric(&before, first), 1);
    assert_int_equal(metric(&after, "loam_answers_total{status=\"4xx\"}") - metric(&before, "loam_answers_total{status=\"4xx\"}"), 1);
    assert_int_equal(metric(&after, "loam_model_loaded{model=\"tiny\"}"), 1);
    assert_true(metric(&after, "loam_cache_pages{model=\"tiny\"}") > 0);
    http_reply_free(&before);
    http_reply_free(&after);
}

static void pages(void **state)
{
    (void)state;
    static const char *const paths[][2] = {{"/", "text/html; charset=utf-8"}, {"/chat.css", "text/css; charset=utf-8"},
                                           {"/chat.js", "text/javascript; charset=utf-8"}, {"/store.js", "text/javascript; charset=utf-8"},
                                           {"/favicon.svg", "image/svg+xml"}};
    struct http_reply reply = {0};
    char value[256];
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        http_ask(site.port, "GET", paths[i][0], NULL, NULL, &reply);
        assert_int_equal(reply.status, 200);
        assert_true(http_header(&reply, "Content-Type", value));
        assert_string_equal(value, paths[i][1]);
        assert_true(http_header(&reply, "Content-Security-Policy", value));
        assert_non_null(strstr(value, "default-src 'none'"));
        assert_true(reply.body.length > 100);
    }
    http_reply_free(&reply);
    lm_document_free(site_ask(&site, "POST", "/", JSON_TYPE, "{}", 405));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(refused), cmocka_unit_test(models),
                                       cmocka_unit_test(metrics), cmocka_unit_test(pages)};
    return cmocka_run_group_tests(tests, open_site, close_site);
}
