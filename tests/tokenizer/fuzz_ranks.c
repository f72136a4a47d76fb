/* Any bytes as a tiktoken rank file: read, used, written and read again, or refused. The first byte picks the family. */
#include "fuzz_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const families[] = {"llama3", "qwen2.5", "gpt2", "o200k"};
    struct lm_tokenizer *tokenizer = NULL;
    loam_error error;
    if (size && lm_tokenizer_from_ranks((const char *)data + 1, size - 1, "fuzz", families[data[0] % 4], &tokenizer,
                                        &error) == LOAM_OK)
        fuzz_use(tokenizer);
    return 0;
}
