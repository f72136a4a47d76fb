#include "support/site.h"

#include <unistd.h>

static loam_error error;

/* The chain behind the template's last byte, a line end. Saved once for a process: the folders last as long. */
static const char *model_folder(bool endless, int64_t context)
{
    static struct {
        bool endless;
        int64_t context;
        char path[512];
    } made[8];
    size_t i = 0;
    while (made[i].context && (made[i].endless != endless || made[i].context != context))
        i++;
    if (!made[i].context) {
        struct chain chain;
        chain_open(endless ? "\nabcdefgh" : "\n" SITE_ANSWER, endless, context, &chain);
        made[i].endless = endless;
        made[i].context = context;
        snprintf(made[i].path, sizeof made[i].path, "%s/tiny", test_folder());
        chain_save(&chain, made[i].path);
        chain_close(&chain);
    }
    return made[i].path;
}

void site_open(const struct site_options *asked, struct site *site)
{
    struct lm_serve_options options = lm_serve_default();
    struct lm_serve_model *models = calloc(4, sizeof *models);
    *site = (struct site){0};
    options.port = 0;
    options.engine.threads = 1;
    options.sampling.temperature = 0;
    options.model_count = asked->models ? asked->models : 1;
    for (size_t i = 0; i < options.model_count; i++) {
        site->folders[i] = model_folder(asked->endless, asked->context ? asked->context : asked->endless ? 100000 : 512);
        snprintf(site->names[i], sizeof site->names[i], i ? "tiny%zu" : "tiny", i);
        models[i] = (struct lm_serve_model){site->names[i], site->folders[i]};
    }
    options.models = models;
    if (asked->change)
        asked->change(&options);
    assert_ok(lm_serve_open(&options, &site->server, &error), &error);
    site->port = lm_serve_port(site->server);
    free(models);
}

void site_close(struct site *site)
{
    lm_serve_close(site->server);
}

struct lm_document *site_ask(const struct site *site, const char *method, const char *path, const char *headers, const char *body, int status)
{
    struct http_reply reply = {0};
    struct lm_document *document;
    http_ask(site->port, method, path, headers, body, &reply);
    if (reply.status != status)
        fail_msg("%s %s: found status %d, wanted %d: %s", method, path, reply.status, status, reply.body.data ? reply.body.data : "");
    assert_true(reply.whole);
    assert_ok(lm_json_parse(reply.body.data, reply.body.length, path, &document, &error), &error);
    http_reply_free(&reply);
    return document;
}

struct lm_document *site_post(const struct site *site, const char *path, const char *body, int status)
{
    return site_ask(site, "POST", path, JSON_TYPE, body, status);
}

struct lm_document *site_get(const struct site *site, const char *path, int status)
{
    return site_ask(site, "GET", path, NULL, NULL, status);
}

static const struct lm_value *find(const struct lm_document *document, const char *path)
{
    const struct lm_value *value = lm_document_root(document);
    for (const char *at = path; value && *at;) {
        char part[64];
        const size_t length = strcspn(at, ".");
        snprintf(part, sizeof part, "%.*s", (int)length, at);
        at += length + (at[length] == '.');
        if (value->kind == LM_ARRAY) {
            const size_t index = strtoul(part, NULL, 10);
            value = index < value->length ? &value->items[index] : NULL;
        } else {
            value = lm_value_find(value, part);
        }
    }
    return value;
}

const struct lm_value *value_at(const struct lm_document *document, const char *path)
{
    const struct lm_value *value = find(document, path);
    if (!value)
        fail_msg("the answer has no %s", path);
    return value;
}

const char *text_at(const struct lm_document *document, const char *path)
{
    const struct lm_value *value = value_at(document, path);
    if (value->kind != LM_STRING)
        fail_msg("%s is no text", path);
    return value->text;
}

double number_at(const struct lm_document *document, const char *path)
{
    double number;
    assert_ok(lm_value_double(document, value_at(document, path), &number, &error), &error);
    return number;
}

bool is_null_at(const struct lm_document *document, const char *path)
{
    return value_at(document, path)->kind == LM_NULL;
}

bool nothing_at(const struct lm_document *document, const char *path)
{
    return !find(document, path);
}

static void add_event(struct events *events, char *text)
{
    assert_true(events->count < 256);
    char *data = strstr(text, "data: ");
    if (*text == ':')
        return;
    assert_non_null(data);
    if (!strncmp(text, "event: ", 7))
        snprintf(events->items[events->count].name, 32, "%.*s", (int)strcspn(text + 7, "\n"), text + 7);
    data += 6;
    if (strcmp(data, "[DONE]"))
        assert_ok(lm_json_parse(data, strlen(data), "event", &events->items[events->count].data, &error), &error);
    events->count++;
}

void site_stream(const struct site *site, const char *path, const char *body, struct events *events)
{
    struct http_reply reply = {0};
    char type[256];
    *events = (struct events){0};
    http_ask(site->port, "POST", path, JSON_TYPE, body, &reply);
    if (reply.status != 200)
        fail_msg("%s: status %d: %s", path, reply.status, reply.body.data);
    assert_true(reply.whole);
    assert_true(http_header(&reply, "Content-Type", type));
    assert_string_equal(type, "text/event-stream; charset=utf-8");
    for (char *at = reply.body.data, *end; at && (end = strstr(at, "\n\n")); at = end + 2) {
        *end = 0;
        add_event(events, at);
    }
    http_reply_free(&reply);
}

void events_free(struct events *events)
{
    for (size_t i = 0; i < events->count; i++)
        lm_document_free(events->items[i].data);
    *events = (struct events){0};
}
