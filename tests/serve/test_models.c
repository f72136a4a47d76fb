/* Several models behind one port: loaded when asked for, unloaded for one another, refused with a reason. */
#include "support/site.h"

#include <unistd.h>

static loam_error error;

/* Room for one of them: weights and cache are about 1.3 MB each (see models.c for how a model is weighed before it is loaded). */
static void room_for_one(struct lm_serve_options *options)
{
    options->memory = 3 << 20;
    options->engine.cache = 512;
}

static bool loaded(const struct site *site, int index)
{
    char path[32];
    struct lm_document *reply = site_get(site, "/v1/models", 200);
    snprintf(path, sizeof path, "data.%d.loaded", index);
    const bool is = value_at(reply, path)->truth;
    lm_document_free(reply);
    return is;
}

static void ask(const struct site *site, const char *model)
{
    char body[128];
    snprintf(body, sizeof body, "{\"model\":\"%s\",\"max_tokens\":4," SITE_QUESTION "}", model);
    /* The one that answered last may be at work for a moment behind its answer: then this one is told to come again, and does. */
    for (int i = 0, status = 503; i < 250 && status == 503; i++) {
        struct http_reply reply = {0};
        http_ask(site->port, "POST", "/v1/chat/completions", "Content-Type: application/json\r\n", body, &reply);
        status = reply.status;
        http_reply_free(&reply);
        if (status == 503)
            usleep(20000);
    }
    struct lm_document *reply = site_post(site, "/v1/chat/completions", body, 200);
    assert_string_equal(text_at(reply, "model"), model);
    assert_string_equal(text_at(reply, "choices.0.message.content"), "Sure");
    lm_document_free(reply);
}

static void take_turns(void **state)
{
    (void)state;
    struct site site;
    site_open(&(struct site_options){.models = 3, .change = room_for_one}, &site);
    assert_false(loaded(&site, 0));
    ask(&site, "tiny");
    assert_true(loaded(&site, 0));
    ask(&site, "tiny1");
    assert_true(loaded(&site, 1));
    assert_false(loaded(&site, 0) && loaded(&site, 2));
    ask(&site, "tiny2");
    ask(&site, "tiny");
    assert_true(loaded(&site, 0));
    struct http_reply reply = {0};
    http_ask(site.port, "GET", "/metrics", NULL, NULL, &reply);
    assert_non_null(strstr(reply.body.data, "loam_model_loads_total 4\n"));
    http_reply_free(&reply);
    site_close(&site);
}

/* Without a name the first answers. */
static void no_name(void **state)
{
    (void)state;
    struct site site;
    site_open(&(struct site_options){.models = 2}, &site);
    struct lm_document *reply = site_post(&site, "/v1/completions", "{\"prompt\":\"S\",\"max_tokens\":1}", 200);
    assert_string_equal(text_at(reply, "model"), "tiny");
    lm_document_free(reply);
    site_close(&site);
}

static void room_for_one_at_work(struct lm_serve_options *options)
{
    options->memory = (int64_t)100000 * 2 * 2 * 66 * 4 + (3 << 20);
    options->engine.cache = 100000;
}

/* The memory is taken by a model at work: the other's request is told to come again. */
static void busy(void **state)
{
    (void)state;
    struct site site;
    struct lm_bytes request = {0};
    struct http_reply reply = {0};
    char value[256];
    site_open(&(struct site_options){.endless = true, .models = 2, .change = room_for_one_at_work}, &site);
    const int at = http_connect(site.port);
    http_request(&request, "POST", "/v1/chat/completions", JSON_TYPE, "{\"stream\":true," SITE_QUESTION "}");
    assert_true(http_send(at, request.data, request.length));
    for (int i = 0; i < 500 && !loaded(&site, 0); i++)
        usleep(20000);
    http_ask(site.port, "POST", "/v1/chat/completions", JSON_TYPE, "{\"model\":\"tiny1\",\"max_tokens\":1," SITE_QUESTION "}", &reply);
    assert_int_equal(reply.status, 503);
    assert_true(http_header(&reply, "Retry-After", value));
    close(at);
    for (int i = 0; i < 500 && reply.status != 200; i++) {
        usleep(20000);
        http_ask(site.port, "POST", "/v1/chat/completions", JSON_TYPE, "{\"model\":\"tiny1\",\"max_tokens\":1," SITE_QUESTION "}", &reply);
    }
    assert_int_equal(reply.status, 200);
    http_reply_free(&reply);
    lm_bytes_free(&request);
    site_close(&site);
}

static const char *broken_folder;

static void with_broken(struct lm_serve_options *options)
{
    static struct lm_serve_model models[2];
    char path[1024];
    struct chain chain;
    broken_folder = test_path(test_folder(), "broken");
    chain_open("\n" SITE_ANSWER, false, 512, &chain);
    chain_save(&chain, broken_folder);
    chain_close(&chain);
    snprintf(path, sizeof path, "%s/model.safetensors", broken_folder);
    assert_ok(lm_file_replace(path, "nothing of the kind", 19, &error), &error);
    models[0] = (struct lm_serve_model){"tiny", options->models[0].path};
    models[1] = (struct lm_serve_model){"broken", broken_folder};
    options->models = models;
    options->model_count = 2;
}

/* A model that does not load is an answer each time, and the others go on. */
static void broken(void **state)
{
    (void)state;
    struct site site;
    site_open(&(struct site_options){.change = with_broken}, &site);
    for (int i = 0; i < 2; i++) {
        struct lm_document *reply = site_post(&site, "/v1/chat/completions", "{\"model\":\"broken\"," SITE_QUESTION "}", 500);
        assert_string_equal(text_at(reply, "error.code"), "model_not_loaded");
        assert_non_null(strstr(text_at(reply, "error.message"), "model.safetensors"));
        lm_document_free(reply);
    }
    ask(&site, "tiny");
    site_close(&site);
}

static void refused(void **state)
{
    (void)state;
    struct site site;
    struct lm_server *server;
    site_open(&(struct site_options){0}, &site);
    struct lm_serve_options options = lm_serve_default();
    options.port = 0;
    assert_fails(lm_serve_open(&options, &server, &error), &error, LOAM_EUSAGE, "no model");
    const struct lm_serve_model missing = {NULL, "/no/such/model"}, twice[] = {{NULL, site.folders[0]}, {NULL, site.folders[0]}};
    options.models = &missing;
    options.model_count = 1;
    assert_fails(lm_serve_open(&options, &server, &error), &error, LOAM_ENOTFOUND, "/no/such/model");
    options.models = twice;
    options.model_count = 2;
    assert_fails(lm_serve_open(&options, &server, &error), &error, LOAM_EUSAGE, "two models", "tiny");
    options.model_count = 1;
    options.memory = 1000;
    assert_fails(lm_serve_open(&options, &server, &error), &error, LOAM_ENOMEM, "--memory");
    options.memory = 0;
    options.host = "no.such.host.invalid";
    assert_fails(lm_serve_open(&options, &server, &error), &error, LOAM_EUSAGE, "no.such.host.invalid");
    site_close(&site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(take_turns), cmocka_unit_test(no_name), cmocka_unit_test(busy), cmocka_unit_test(broken),
                                       cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
