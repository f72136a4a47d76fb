/* Any bytes as a tokenizer.json: read, used, written and read again, or refused. */
#include "tokenizer/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "The 1st <s> caf\xC3\xA9, e\xCC\x81\n\n  \xE4\xB8\x96 \xFF'S";
    struct lm_tokenizer *tokenizer = NULL, *again = NULL;
    struct lm_ids ids = {0};
    struct lm_bytes out = {0};
    loam_error error;
    if (lm_tokenizer_from_json((const char *)data, size, "fuzz", &tokenizer, &error) == LOAM_OK) {
        if (lm_tokenizer_encode(tokenizer, text, sizeof text - 1, 3, &ids, NULL, &error) == LOAM_OK)
            lm_tokenizer_decode(tokenizer, ids.data, ids.length, false, &out, &error);
        out.length = 0;
        if (lm_tokenizer_to_json(tokenizer, &out, &error) == LOAM_OK)
            lm_tokenizer_from_json(out.data, out.length, "written", &again, &error);
    }
    lm_ids_free(&ids);
    lm_bytes_free(&out);
    lm_tokenizer_free(tokenizer);
    lm_tokenizer_free(again);
    return 0;
}
