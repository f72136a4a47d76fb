/* What a service sends: any stream of events and any JSON, read as both kinds of API do, in pieces of any size. */
#include "room/service.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_text(void *user, const char *text, size_t length)
{
    (void)user;
    if (!length || lm_utf8_check(text, length) != length)
        abort();
}

static int on_event(void *user, const char *event, const char *data, size_t length, loam_error *error)
{
    struct lm_speech *speech = user;
    struct lm_document *document;
    if (lm_json_parse(data, length, "event", &document, error) != LOAM_OK)
        return LOAM_OK;
    speech->service->api->event(speech, event, lm_document_root(document));
    lm_document_free(document);
    return LOAM_OK;
}

static void read_as(const struct service_api *api, const char *text, size_t length, size_t piece)
{
    static const struct lm_header headers[] = {{"X-Key", "header-secret"}};
    const struct lm_participant participant = {.name = "Cleo", .base_url = "http://e.org", .headers = headers, .header_count = 1};
    struct service service = {.api = api, .participant = &participant};
    struct lm_speech speech = {.service = &service, .text = on_text};
    struct lm_document *document;
    speech.reader = (struct lm_event_reader){.most = 1 << 16, .take = on_event, .user = &speech};
    for (size_t at = 0; at < length; at += piece)
        if (lm_event_feed(&speech.reader, text + at, length - at < piece ? length - at : piece, NULL) != LOAM_OK)
            break;
    lm_event_reader_free(&speech.reader);
    if (speech.result.tokens < 0 || speech.result.tokens > INT32_MAX)
        abort();
    if (lm_json_parse(text, length, "answer", &document, NULL) == LOAM_OK) {
        api->answer(&speech, lm_document_root(document));
        lm_document_free(document);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const size_t piece = 1 + data[0] % 64;
    read_as(&service_openai, (const char *)data + 1, size - 1, piece);
    read_as(&service_anthropic, (const char *)data + 1, size - 1, piece);
    return 0;
}
