/* Any bytes as YAML: either refused with a message that is UTF-8, or a tree that the JSON writer turns into a text
 * which reads as the same tree again. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int truth, const char *what)
{
    if (truth)
        return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static struct lm_bytes written(const struct lm_document *document)
{
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 0);
    lm_json_value(&writer, lm_document_root(document));
    must(lm_json_writer_finish(&writer, NULL) == LOAM_OK, "out of memory");
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    loam_error error;
    struct lm_document *document;
    if (lm_yaml_parse((const char *)data, size, "input", &document, &error) != LOAM_OK) {
        const size_t length = strlen(error.message);
        must(length > 0 && length < sizeof error.message, "no message");
        must(lm_utf8_check(error.message, length) == length, "the message is not UTF-8");
        return 0;
    }
    struct lm_bytes once = written(document);
    lm_document_free(document);
    must(lm_json_parse(once.data, once.length, "copy", &document, &error) == LOAM_OK, "what was written cannot be read");
    struct lm_bytes twice = written(document);
    lm_document_free(document);
    must(once.length == twice.length && memcmp(once.data, twice.data, once.length) == 0, "the copy differs");
    lm_bytes_free(&once);
    lm_bytes_free(&twice);
    return 0;
}
