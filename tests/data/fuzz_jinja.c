/* libFuzzer target: any bytes as a Jinja template, rendered with a small conversation and tight bounds. */
#include "data/jinja.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char variables[] = "{\"messages\":[{\"role\":\"system\",\"content\":\"be kind\"},{\"role\":\"user\",\"content\":\"h\\u00e4\\n\"},"
                                "{\"role\":\"assistant\",\"content\":\"\"}],\"add_generation_prompt\":true,\"bos_token\":\"<s>\","
                                "\"eos_token\":\"</s>\",\"tools\":null,\"n\":-7,\"x\":1.5e300}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    loam_error error;
    struct lm_jinja *jinja;
    struct lm_document *document;
    struct lm_bytes text = {0};
    struct lm_jinja_spans spans = {0};
    int code = lm_jinja_parse((const char *)data, size, "input", &jinja, &error);
    if (code != LOAM_OK) {
        if (code != error.code || !strstr(error.message, "input:"))
            abort();
        return 0;
    }
    if (lm_json_parse(variables, sizeof variables - 1, "variables", &document, &error) != LOAM_OK)
        abort();
    const struct lm_jinja_call call = {.variables = lm_document_root(document), .now = 1, .steps = 20000, .memory = 1 << 20,
                                       .output = 1 << 16, .generated = &spans};
    code = lm_jinja_render(jinja, &call, &text, &error);
    if (code != LOAM_OK && (code != error.code || !strstr(error.message, "input:")))
        abort();
    if (code == LOAM_OK && text.length > 1 << 16)
        abort();
    lm_free(spans.data);
    lm_bytes_free(&text);
    lm_document_free(document);
    lm_jinja_free(jinja);
    return 0;
}
