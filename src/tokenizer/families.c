/* Families of vocabularies: patterns and special tokens. Facts: meta-llama/llama-models (llama3/tokenizer.py),
 * QwenLM/Qwen (tokenization_qwen.py) and the tokenizer_config.json of Qwen2.5, openai/tiktoken (openai_public.py);
 * names of patterns in GGUF files: ggml-org/llama.cpp (llama-vocab.cpp). */
#include "readers.h"

#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define ENDINGS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" ENDINGS
#define QWEN2 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" ENDINGS
#define GPT2                                                                                                           \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CL100K                                                                                                         \
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|"      \
    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s"
#define CASED(contractions)                                                                                            \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" contractions           \
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" contractions "|"
#define SIGNS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT4O CASED(CONTRACTIONS "?") "\\p{N}{1,3}|" SIGNS
#define TEKKEN CASED("") "\\p{N}|" SIGNS
#define DEEPSEEK_WORDS                                                                                                 \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"              \
    " ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const struct lm_family_token llama3_tokens[] = {
    {128000, "<|begin_of_text|>", 0, 0, false},
    {128001, "<|end_of_text|>", 0, 0, false},
    {128002, "<|reserved_special_token_%d|>", 0, 1, false},
    {128004, "<|finetune_right_pad_id|>", 0, 0, false},
    {128005, "<|step_id|>", 0, 0, false},
    {128006, "<|start_header_id|>", 0, 0, false},
    {128007, "<|end_header_id|>", 0, 0, false},
    {128008, "<|eom_id|>", 0, 0, false},
    {128009, "<|eot_id|>", 0, 0, false},
    {128010, "<|python_tag|>", 0, 0, false},
    {128011, "<|image|>", 0, 0, false},
    {128012, "<|reserved_special_token_%d|>", 2, 245, false},
    {0, NULL, 0, 0, false},
};
static const struct lm_family_token qwen_tokens[] = {
    {151643, "<|endoftext|>", 0, 0, false},
    {151644, "<|im_start|>", 0, 0, false},
    {151645, "<|im_end|>", 0, 0, false},
    {151646, "<|extra_%d|>", 0, 204, false},
    {0, NULL, 0, 0, false},
};
static const struct lm_family_token qwen2_tokens[] = {
    {151643, "<|endoftext|>", 0, 0, false},
    {151644, "<|im_start|>", 0, 0, false},
    {151645, "<|im_end|>", 0, 0, false},
    {0, NULL, 0, 0, false},
};
static const struct lm_family_token qwen25_tokens[] = {
    {151643, "<|endoftext|>", 0, 0, false},      {151644, "<|im_start|>", 0, 0, false},
    {151645, "<|im_end|>", 0, 0, false},         {151646, "<|object_ref_start|>", 0, 0, false},
    {151647, "<|object_ref_end|>", 0, 0, false}, {151648, "<|box_start|>", 0, 0, false},
    {151649, "<|box_end|>", 0, 0, false},        {151650, "<|quad_start|>", 0, 0, false},
    {151651, "<|quad_end|>", 0, 0, false},       {151652, "<|vision_start|>", 0, 0, false},
    {151653, "<|vision_end|>", 0, 0, false},     {151654, "<|vision_pad|>", 0, 0, false},
    {151655, "<|image_pad|>", 0, 0, false},      {151656, "<|video_pad|>", 0, 0, false},
    {151657, "<tool_call>", 0, 0, true},         {151658, "</tool_call>", 0, 0, true},
    {151659, "<|fim_prefix|>", 0, 0, true},      {151660, "<|fim_middle|>", 0, 0, true},
    {151661, "<|fim_suffix|>", 0, 0, true},      {151662, "<|fim_pad|>", 0, 0, true},
    {151663, "<|repo_name|>", 0, 0, true},       {151664, "<|file_sep|>", 0, 0, true},
    {0, NULL, 0, 0, false},
};
static const struct lm_family_token gpt2_tokens[] = {
    {50256, "<|endoftext|>", 0, 0, false},
    {0, NULL, 0, 0, false},
};
static const struct lm_family_token cl100k_tokens[] = {
    {100257, "<|endoftext|>", 0, 0, false},  {100258, "<|fim_prefix|>", 0, 0, false},
    {100259, "<|fim_middle|>", 0, 0, false}, {100260, "<|fim_suffix|>", 0, 0, false},
    {100276, "<|endofprompt|>", 0, 0, false}, {0, NULL, 0, 0, false},
};
static const struct lm_family_token o200k_tokens[] = {
    {199999, "<|endoftext|>", 0, 0, false},
    {200018, "<|endofprompt|>", 0, 0, false},
    {0, NULL, 0, 0, false},
};

static const struct lm_family families[] = {
    {"llama3", 128000, "\xE9\x94\xA6", {LLAMA3}, false, "<|begin_of_text|>", "<|end_of_text|>",
     "<|finetune_right_pad_id|>", llama3_tokens},
    {"qwen", 151643, "\xE2\xBD\x97", {QWEN2}, true, NULL, "<|endoftext|>", "<|endoftext|>", qwen_tokens},
    {"qwen2", 0, NULL, {QWEN2}, true, NULL, "<|endoftext|>", "<|endoftext|>", qwen2_tokens},
    {"qwen2.5", 0, NULL, {QWEN2}, true, NULL, "<|endoftext|>", "<|endoftext|>", qwen25_tokens},
    {"gpt2", 50256, NULL, {NULL}, false, "<|endoftext|>", "<|endoftext|>", NULL, gpt2_tokens},
    {"cl100k", 100256, NULL, {CL100K}, false, NULL, "<|endoftext|>", NULL, cl100k_tokens},
    {"o200k", 199998, NULL, {GPT4O}, false, NULL, "<|endoftext|>", NULL, o200k_tokens},
};
enum { FAMILIES = sizeof families / sizeof *families };

const struct lm_family *lm_family_named(const char *name)
{
    for (int i = 0; i < FAMILIES; i++)
        if (!strcmp(families[i].name, name))
            return &families[i];
    return NULL;
}

const struct lm_family *lm_family_of_ranks(size_t count, const char *last, size_t length)
{
    for (int i = 0; i < FAMILIES; i++) {
        const struct lm_family *family = &families[i];
        if (family->ranks && (size_t)family->ranks == count &&
            (!family->last || (strlen(family->last) == length && !memcmp(family->last, last, length))))
            return family;
    }
    return NULL;
}

const char *lm_family_names(void)
{
    return "llama3, qwen, qwen2, qwen2.5, gpt2, cl100k or o200k";
}

static const char *const llama3[] = {LLAMA3}, *const qwen2[] = {QWEN2}, *const gpt4o[] = {GPT4O},
                         *const tekken[] = {TEKKEN}, *const starcoder[] = {"\\p{N}", GPT2},
                         *const deepseek_v3[] = {"\\p{N}{1,3}", "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F"
                                                                "\xE3\x82\xA0-\xE3\x83\xBF]+",
                                                 DEEPSEEK_WORDS};

static const struct lm_named_pattern named[] = {
    {"gpt-2", NULL, 0, false},        {"default", NULL, 0, false},     {"mpt", NULL, 0, false},
    {"olmo", NULL, 0, false},         {"jais", NULL, 0, false},        {"phi-2", NULL, 0, false},
    {"llama-bpe", llama3, 1, true},   {"llama3", llama3, 1, true},     {"llama-v3", llama3, 1, true},
    {"falcon3", llama3, 1, true},     {"pixtral", llama3, 1, true},    {"dbrx", llama3, 1, false},
    {"smaug-bpe", llama3, 1, false},  {"glm4", llama3, 1, false},      {"chatglm-bpe", llama3, 1, false},
    {"qwen2", qwen2, 1, false},       {"deepseek-r1-qwen", qwen2, 1, false}, {"stablelm2", qwen2, 1, false},
    {"megrez", qwen2, 1, false},      {"starcoder", starcoder, 2, false},    {"refact", starcoder, 2, false},
    {"command-r", starcoder, 2, false}, {"smollm", starcoder, 2, false},     {"codeshell", starcoder, 2, false},
    {"exaone", starcoder, 2, false},  {"gpt-4o", gpt4o, 1, false},     {"llama4", gpt4o, 1, false},
    {"tekken", tekken, 1, true},      {"deepseek-v3", deepseek_v3, 3, false},
};

const struct lm_named_pattern *lm_pattern_of_gguf_at(size_t n)
{
    return n < sizeof named / sizeof *named ? &named[n] : NULL;
}

const struct lm_named_pattern *lm_pattern_of_gguf(const char *name)
{
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (!strcmp(named[i].name, name))
            return &named[i];
    return NULL;
}
