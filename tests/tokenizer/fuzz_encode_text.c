/* Any bytes as a text for tokenizers that are not byte level. The first byte picks one of them. */
#include "fuzz_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEAD "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true,\"lstrip\":true},"                    \
             "{\"id\":1,\"content\":\"tok\",\"special\":false,\"rstrip\":true,\"single_word\":true,\"normalized\":true}],"
#define WORDS "\"<s>\":0,\"tok\":1,\"[UNK]\":2,\"a\":3,\"##a\":4,\"the\":5,\"\xE2\x96\x81\":6,\"\xE4\xB8\x96\":7,\"\xCC\x81\":8,\"ab\":9,\"b\":10,\"e\":11"

static const char *const TOKENIZERS[] = {
    HEAD "\"normalizer\":{\"type\":\"BertNormalizer\"},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"decoder\":{\"type\":"
         "\"WordPiece\",\"prefix\":\"##\"},\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"vocab\":{" WORDS "}}}",
    HEAD "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"},{\"type\":"
         "\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xE2\x96\x81\"}]},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{"
         "\"type\":\"Replace\",\"pattern\":{\"String\":\"\xE2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":"
         "\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},\"model\":{\"type\":\"BPE\",\"unk_token\":"
         "\"[UNK]\",\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{" WORDS ",\"<0xFF>\":12,\"<0xC3>\":13,\"<0xA9>\":14},"
         "\"merges\":[\"a b\"]}}",
    HEAD "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},{\"type\":\"StripAccents\"},{\"type\":\"Strip\"},"
         "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"}]},\"pre_tokenizer\":{\"type\":\"Metaspace\","
         "\"replacement\":\"\xE2\x96\x81\",\"prepend_scheme\":\"first\",\"split\":true},\"decoder\":{\"type\":\"Metaspace\","
         "\"replacement\":\"\xE2\x96\x81\"},\"model\":{\"type\":\"Unigram\",\"unk_id\":2,\"vocab\":[[\"<s>\",0],[\"tok\",-1],[\"[UNK]\",0],"
         "[\"a\",-2],[\"aa\",-3.5],[\"\xE2\x96\x81\",-2],[\"\xE2\x96\x81"
         "a\",-2.5],[\"ab\",-3],[\"b\",-4],[\"\xE4\xB8\x96\",-5]]}}",
    HEAD "\"normalizer\":{\"type\":\"NFD\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{\"type\":"
         "\"Split\",\"pattern\":{\"Regex\":\"\\\\s+|\\\\p{P}\"},\"behavior\":\"MergedWithPrevious\",\"invert\":false},{\"type\":"
         "\"ByteLevel\"},{\"type\":\"Punctuation\"}]},\"decoder\":{\"type\":\"BPEDecoder\",\"suffix\":\"a\"},\"model\":{\"type\":"
         "\"WordLevel\",\"unk_token\":\"[UNK]\",\"vocab\":{" WORDS "}}}",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct lm_tokenizer *made[4];
    loam_error error;
    if (!size)
        return 0;
    const size_t which = data[0] % 4;
    if (!made[which] && lm_tokenizer_from_json(TOKENIZERS[which], strlen(TOKENIZERS[which]), "fuzz", &made[which], &error))
        abort();
    fuzz_encode(made[which], (const char *)data + 1, size - 1, data[0] >> 2 & 3);
    return 0;
}
