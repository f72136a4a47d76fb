/* Any bytes as the body of each request that has one (the first byte says which): read whole, or refused with a status and a message that
 * both APIs' forms of an error can hold. */
#include "serve/internal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool (*const asks[])(struct job *, const struct fields *) = {ask_chat,     ask_completion, ask_anthropic, ask_count,
                                                                    ask_tokenize, ask_detokenize, ask_apply};

static void check_error(const struct refusal *refusal)
{
    if (refusal->status < 400 || refusal->status > 599 || !*refusal->message)
        abort();
    for (int anthropic = 0; anthropic < 2; anthropic++) {
        struct lm_bytes body = {0};
        struct lm_document *document;
        loam_error error;
        error_body(anthropic, refusal, &body);
        if (lm_json_parse(body.data ? body.data : "", body.length, "error", &document, &error) != LOAM_OK)
            abort();
        const struct lm_value *inner = lm_value_find(lm_document_root(document), "error");
        const struct lm_value *message = inner ? lm_value_find(inner, "message") : NULL;
        if (!message || message->kind != LM_STRING)
            abort();
        lm_document_free(document);
        lm_bytes_free(&body);
    }
}

/* What is promised to those who start the job. */
static void check_job(const struct job *job)
{
    const struct lm_request *request = &job->request;
    loam_error error;
    if (!job->served || request->max_tokens < 0 || request->choices < 0 || request->choices > MOST_CHOICES ||
        request->logprobs < -1 || request->logprobs > LM_MOST_LOGPROBS || request->stop_count > MOST_STOPS)
        abort();
    if (lm_sampling_check(&request->sampling, &error) != LOAM_OK)
        abort();
    for (size_t i = 0; i < request->stop_count; i++)
        if (!request->stops[i] || !*request->stops[i])
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char name[] = "model";
    static struct served model = {.name = name, .config = {.vocabulary = 1000, .context = 512}};
    static struct lm_server server = {.models = &model, .model_count = 1};
    if (!size)
        return 0;
    server.options = lm_serve_default();
    struct job job = {.server = &server, .request = lm_request_default()};
    loam_error error;
    if (lm_json_parse((const char *)data + 1, size - 1, "body", &job.document, &error) != LOAM_OK) {
        refuse(&job.refusal, 400, NULL, NULL, "%s", error.message);
        check_error(&job.refusal);
        return 0;
    }
    const struct fields fields = {job.document, lm_document_root(job.document), &job.refusal};
    if (fields.object->kind == LM_OBJECT) {
        const bool fine = asks[(uint8_t)(*data - '0') % (sizeof asks / sizeof *asks)](&job, &fields);
        if (fine && !job.refusal.status)
            check_job(&job);
        else
            check_error(&job.refusal);
    }
    job_clear(&job);
    return 0;
}
