/* Any bytes as the body of any request that has one: understood, or refused with a status and a message that can be sent. */
#include "serve/internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct route routes[] = {
    {.ask = ask_chat, .shape = &chat_shape}, {.ask = ask_completion, .shape = &completion_shape}, {.ask = ask_anthropic, .shape = &messages_shape},
    {.ask = ask_count}, {.ask = ask_tokenize}, {.ask = ask_detokenize}, {.ask = ask_apply}};
enum { ROUTES = sizeof routes / sizeof *routes };

static void check_refusal(const struct refusal *refusal)
{
    if (refusal->status < 400 || refusal->status > 599 || !*refusal->message)
        abort();
    for (int anthropic = 0; anthropic < 2; anthropic++) {
        struct lm_bytes body = {0};
        struct lm_document *document;
        error_body(anthropic, refusal, &body);
        if (lm_json_parse(body.data, body.length, "refusal", &document, NULL) != LOAM_OK)
            abort();
        lm_document_free(document);
        lm_bytes_free(&body);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char name[] = "tiny";
    static struct served model = {.name = name};
    struct lm_server server = {.options = lm_serve_default(), .models = &model, .model_count = 1};
    struct job job = {.server = &server};
    if (size < 1)
        return 0;
    job.route = &routes[data[0] % ROUTES];
    job.request = lm_request_default();
    if (lm_json_parse((const char *)data + 1, size - 1, "body", &job.document, NULL) == LOAM_OK) {
        const struct fields fields = {job.document, lm_document_root(job.document), &job.refusal};
        if (fields.object->kind == LM_OBJECT && (!job.route->ask(&job, &fields) || job.refusal.status))
            check_refusal(&job.refusal);
    }
    job_clear(&job);
    return 0;
}
