/* Any bytes as a text: what byte-level tokenizers encode comes back, with offsets in order. The first byte picks the
 * pattern. */
#include "tokenizer/internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct lm_tokenizer *trained(const char *pattern)
{
    static const char text[] = "the cat's the bytes of the words 123 aaaa    \n\n \xE4\xB8\x96\xE7\x95\x8C";
    static const char *const specials[] = {"<|end|>"};
    struct lm_tokenizer *tokenizer = NULL;
    struct lm_tokenizer_training training = {.text = text,
                                             .text_length = sizeof text - 1,
                                             .vocabulary_size = 280,
                                             .pattern = pattern,
                                             .specials = specials,
                                             .special_count = 1,
                                             .threads = 1};
    if (lm_tokenizer_train(&training, &tokenizer, NULL) != LOAM_OK)
        abort();
    return tokenizer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct lm_tokenizer *tokenizers[4];
    static const char *const patterns[] = {"gpt2", "llama3", "qwen2", "\\p{L}+|\\s"};
    if (!size)
        return 0;
    size_t which = data[0] % 4;
    if (!tokenizers[which])
        tokenizers[which] = trained(patterns[which]);
    struct lm_ids ids = {0}, starts = {0};
    struct lm_bytes back = {0};
    const char *text = (const char *)data + 1;
    loam_error error;
    unsigned flags = data[0] & 4 ? LM_ENCODE_SPECIAL : 0;
    if (lm_tokenizer_encode(tokenizers[which], text, size - 1, flags, &ids, &starts, &error) != LOAM_OK ||
        lm_tokenizer_decode(tokenizers[which], ids.data, ids.length, false, &back, &error) != LOAM_OK)
        abort();
    if (back.length != size - 1 || (size > 1 && memcmp(back.data, text, size - 1)))
        abort();
    for (size_t i = 1; i < starts.length; i++)
        if (starts.data[i] <= starts.data[i - 1])
            abort();
    lm_ids_free(&ids);
    lm_ids_free(&starts);
    lm_bytes_free(&back);
    return 0;
}
