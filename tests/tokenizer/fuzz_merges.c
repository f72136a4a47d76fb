/* Any bytes as vocab.json and merges.txt, with a 0 byte between the two. */
#include "fuzz_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = memchr(data, 0, size);
    struct lm_tokenizer *tokenizer = NULL;
    loam_error error;
    if (!cut)
        return 0;
    const size_t first = (size_t)(cut - data);
    if (lm_tokenizer_from_merges((const char *)data, first, "vocab.json", (const char *)cut + 1, size - first - 1,
                                 "merges.txt", first % 2 ? "qwen2" : NULL, &tokenizer, &error) == LOAM_OK)
        fuzz_use(tokenizer);
    return 0;
}
