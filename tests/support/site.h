/* A server with a model whose answer is known to the byte, and questions to it.
 *
 *     struct site site;
 *     site_open(&(struct site_options){0}, &site);
 *     struct lm_document *reply = site_post(&site, "/v1/chat/completions", "{\"messages\":[…]}", 200);
 *     assert_string_equal(text_at(reply, "choices.0.message.content"), SITE_ANSWER);
 *     lm_document_free(reply);
 *     site_close(&site);
 */
#ifndef LOAM_TESTS_SITE_H
#define LOAM_TESTS_SITE_H

#include "support/chain_model.h"
#include "support/http.h"

#include "serve/serve.h"

#define SITE_ANSWER "Sure:1+2=3 caf\xc3\xa9!"
enum { SITE_TOKENS = 18 };    /* a byte each, and the end token */
#define SITE_QUESTION "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]"
#define JSON_TYPE "Content-Type: application/json\r\n"

struct site_options {
    bool endless;               /* the answer goes round for ever: "abcdefgh…" */
    int64_t context;            /* 0: 512; endless: 100000 */
    size_t models;              /* 0: one, called "tiny"; else "tiny", "tiny1", … */
    void (*change)(struct lm_serve_options *options);
};
struct site {
    struct lm_server *server;
    int port;
    const char *folders[4];
    char names[4][16];
};
void site_open(const struct site_options *options, struct site *site);
void site_close(struct site *site);
/* Posts JSON and reads JSON; fails the test where the status is another. Free the document. */
struct lm_document *site_post(const struct site *site, const char *path, const char *body, int status);
struct lm_document *site_get(const struct site *site, const char *path, int status);
/* The same with headers of one's own ("Name: value\r\n…"; the content type among them). */
struct lm_document *site_ask(const struct site *site, const char *method, const char *path, const char *headers, const char *body, int status);

/* "choices.0.message.content"; fails the test where there is no such place. */
const struct lm_value *value_at(const struct lm_document *document, const char *path);
const char *text_at(const struct lm_document *document, const char *path);
double number_at(const struct lm_document *document, const char *path);
bool is_null_at(const struct lm_document *document, const char *path);
bool nothing_at(const struct lm_document *document, const char *path);

/* The events of a stream, in order. */
struct events {
    struct {
        char name[32];
        struct lm_document *data;    /* NULL: [DONE] */
    } items[256];
    size_t count;
};
void site_stream(const struct site *site, const char *path, const char *body, struct events *events);
void events_free(struct events *events);

#endif
