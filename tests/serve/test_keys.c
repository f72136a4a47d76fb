/* Who may ask: keys from a file, in either API's header, and what needs none. */
#include "support/site.h"

static struct site site;
static loam_error error;
static const char *keys_path;

static void set_keys(struct lm_serve_options *options)
{
    options->keys = keys_path;
}

static int open_site(void **state)
{
    static const char keys[] = "# who may\nfirst-hUsh7q-key\n\n  second hUsh7q with blanks \r\nfirst-hUsh7q-key-longer";
    (void)state;
    keys_path = test_path(test_folder(), "keys");
    assert_ok(lm_file_replace(keys_path, keys, sizeof keys - 1, &error), &error);
    site_open(&(struct site_options){.change = set_keys}, &site);
    return 0;
}

static int close_site(void **state)
{
    (void)state;
    site_close(&site);
    return 0;
}

static void given(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        int status;
    } cases[] = {
        {"Authorization: Bearer first-hUsh7q-key\r\n", 200},
        {"authorization: bearer first-hUsh7q-key\r\n", 200},
        {"Authorization: Bearer second hUsh7q with blanks\r\n", 200},
        {"Authorization: Bearer first-hUsh7q-key-longer\r\n", 200},
        {"x-api-key: first-hUsh7q-key\r\n", 200},
        {"Authorization: Bearer wrong\r\nX-Api-Key: first-hUsh7q-key\r\n", 200},
        {NULL, 401},
        {"Authorization: Bearer\r\n", 401},
        {"Authorization: Bearer first-hUsh7q-ke\r\n", 401},
        {"Authorization: Bearer first-hUsh7q-key-\r\n", 401},
        {"Authorization: Bearer # who may\r\n", 401},
        {"Authorization: Basic first-hUsh7q-key\r\n", 401},
        {"x-api-key: \r\n", 401},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lm_document *reply = site_ask(&site, "GET", "/v1/models", cases[i].header, NULL, cases[i].status);
        if (cases[i].status == 401)
            assert_string_equal(text_at(reply, "error.code"), "invalid_api_key");
        lm_document_free(reply);
    }
}

static void shapes_and_open_places(void **state)
{
    (void)state;
    struct http_reply page = {0};
    struct lm_document *reply = site_ask(&site, "POST", "/v1/messages", JSON_TYPE, "{}", 401);
    assert_string_equal(text_at(reply, "error.type"), "authentication_error");
    lm_document_free(reply);
    static const char *const closed[] = {"/metrics", "/v1/models/tiny"};
    for (size_t i = 0; i < 2; i++)
        lm_document_free(site_get(&site, closed[i], 401));
    lm_document_free(site_get(&site, "/health", 200));
    http_ask(site.port, "GET", "/", NULL, NULL, &page);    /* the page asks for the key itself */
    assert_int_equal(page.status, 200);
    http_reply_free(&page);
    lm_document_free(site_ask(&site, "POST", "/v1/chat/completions", JSON_TYPE "x-api-key: first-hUsh7q-key\r\n", "{" SITE_QUESTION "}", 200));
}

static void key_files(void **state)
{
    (void)state;
    struct lm_server *server;
    struct lm_serve_options options = lm_serve_default();
    const struct lm_serve_model model = {"tiny", site.folders[0]};
    options.models = &model;
    options.model_count = 1;
    options.port = 0;
    options.keys = test_path(test_folder(), "none");
    assert_fails(lm_serve_open(&options, &server, &error), &error, LOAM_ENOTFOUND, options.keys);
    assert_ok(lm_file_replace(options.keys, "# nobody\n", 9, &error), &error);
    assert_fails(lm_serve_open(&options, &server, &error), &error, LOAM_EUSAGE, "no key");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(given), cmocka_unit_test(shapes_and_open_places), cmocka_unit_test(key_files)};
    return cmocka_run_group_tests(tests, open_site, close_site);
}
