/* Any bytes as a SentencePiece model: read, used, written and read again, or refused. */
#include "fuzz_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lm_tokenizer *tokenizer = NULL;
    loam_error error;
    if (lm_tokenizer_from_sentencepiece((const char *)data, size, "fuzz", &tokenizer, &error) == LOAM_OK)
        fuzz_use(tokenizer);
    return 0;
}
