/* Ids of real vocabularies, as their own libraries give them (shared data). */
#include "support/support.h"
#include "tokenizer/tokenizer.h"

static const char SEPARATOR[] = "\n__ggml_vocab_test__\n";

static struct lm_tokenizer *load(const char *name)
{
    struct lm_tokenizer *tokenizer = NULL;
    loam_error error;
    assert_ok(lm_tokenizer_load(test_shared(name), &tokenizer, &error), &error);
    return tokenizer;
}

static void read_all(const char *name, struct lm_bytes *text)
{
    loam_error error;
    assert_ok(lm_file_read(test_shared(name), 0, text, &error), &error);
}

static void expect_ids(const struct lm_ids *got, const int64_t *wanted, size_t count, size_t number)
{
    for (size_t i = 0; i < got->length && i < count; i++)
        if (got->data[i] != wanted[i])
            fail_msg("text %zu: id %zu is %d, wanted %lld", number, i, got->data[i], (long long)wanted[i]);
    if (got->length != count)
        fail_msg("text %zu: %zu ids, wanted %zu", number, got->length, count);
}

static size_t read_line(const char **at, int64_t *ids, size_t room)
{
    size_t count = 0;
    const char *end = strchr(*at, '\n');
    while (count < room) {
        char *next;
        while (**at == ' ')
            ++*at;
        if (**at == '\n' || !**at)
            break;
        ids[count++] = strtoll(*at, &next, 10);
        *at = next;
    }
    *at = end ? end + 1 : *at + strlen(*at);
    return count;
}

/* llama.cpp's pairs of files: 46 texts or 47 and a line of ids for each. */
static void check_pair(const char *tokenizer_name, const char *base, bool byte_level)
{
    struct lm_tokenizer *tokenizer = load(tokenizer_name);
    struct lm_bytes texts = {0}, ids_text = {0};
    char name[160];
    snprintf(name, sizeof name, "%s.inp", base);
    read_all(name, &texts);
    snprintf(name, sizeof name, "%s.out", base);
    read_all(name, &ids_text);
    const char *at = texts.data, *line = ids_text.data, *end = texts.data + texts.length;
    size_t number = 0;
    while (at) {
        const char *stop = memmem(at, (size_t)(end - at), SEPARATOR, strlen(SEPARATOR));
        size_t length = (size_t)((stop ? stop : end) - at);
        int64_t wanted[512];
        size_t count = read_line(&line, wanted, 512);
        struct lm_ids ids = {0};
        struct lm_bytes back = {0};
        loam_error error;
        assert_ok(lm_tokenizer_encode(tokenizer, at, length, 0, &ids, NULL, &error), &error);
        expect_ids(&ids, wanted, count, number);
        if (byte_level) {
            assert_ok(lm_tokenizer_decode(tokenizer, ids.data, ids.length, false, &back, &error), &error);
            assert_int_equal(back.length, length);
            assert_true(!length || !memcmp(back.data, at, length));
        }
        lm_ids_free(&ids);
        lm_bytes_free(&back);
        at = stop ? stop + strlen(SEPARATOR) : NULL;
        number++;
    }
    assert_true(number >= 46);
    lm_bytes_free(&texts);
    lm_bytes_free(&ids_text);
    lm_tokenizer_free(tokenizer);
}

#define DATA "tokenizers/llamacpp-vocab/ggml-vocab-"

/* Every file that holds the vocabulary. */
static void gpt2_pair(void **state)
{
    (void)state;
    check_pair("tokenizers/swift-transformers/gpt2_tokenizer.json", DATA "gpt-2.gguf", true);
    check_pair("tokenizers/gpt2/encoder.json", DATA "gpt-2.gguf", true);
    check_pair("tokenizers/gpt2/vocab.bpe", DATA "gpt-2.gguf", true);
    check_pair(DATA "gpt-2.gguf", DATA "gpt-2.gguf", true);
}

static void llama2_pair(void **state)
{
    (void)state;
    check_pair("tokenizers/swift-transformers/llama_tokenizer.json", DATA "llama-spm.gguf", false);
    check_pair("tokenizers/llama2-spm/tokenizer.model", DATA "llama-spm.gguf", false);
    check_pair("tokenizers/llama2-spm/tokenizer.bin", DATA "llama-spm.gguf", false);
    check_pair(DATA "llama-spm.gguf", DATA "llama-spm.gguf", false);
}

static void llama3_pair(void **state)
{
    (void)state;
    check_pair("tokenizers/llama3-tiktoken/tokenizer.model", DATA "llama-bpe.gguf", true);
}

static void expect_list(const struct lm_tokenizer *tokenizer, const struct lm_value *text,
                        const struct lm_value *wanted, unsigned flags, size_t number)
{
    int64_t ids[4096];
    struct lm_ids got = {0};
    loam_error error;
    assert_non_null(wanted);
    assert_true(wanted->kind == LM_ARRAY && wanted->length <= 4096);
    for (size_t i = 0; i < wanted->length; i++)
        ids[i] = strtoll(wanted->items[i].text, NULL, 10);
    assert_ok(lm_tokenizer_encode(tokenizer, text->text, text->length, flags, &got, NULL, &error), &error);
    expect_ids(&got, ids, wanted->length, number);
    lm_ids_free(&got);
}

static void expect_text(const struct lm_tokenizer *tokenizer, const struct lm_value *ids, const struct lm_value *wanted,
                        bool skip)
{
    struct lm_bytes text = {0};
    loam_error error;
    for (size_t i = 0; i < ids->length; i++) {
        int32_t id = (int32_t)strtol(ids->items[i].text, NULL, 10);
        assert_true(id >= 0);
    }
    struct lm_ids list = {0};
    for (size_t i = 0; i < ids->length; i++)
        assert_ok(lm_ids_push(&list, (int32_t)strtol(ids->items[i].text, NULL, 10), &error), &error);
    assert_ok(lm_tokenizer_decode(tokenizer, list.data, list.length, skip, &text, &error), &error);
    assert_string_equal(text.data ? text.data : "", wanted->text);
    lm_ids_free(&list);
    lm_bytes_free(&text);
}

/* 30 texts in many scripts. */
static void check_baseline(const char *tokenizer_name, const char *file, unsigned flags)
{
    struct lm_tokenizer *tokenizer = load(tokenizer_name);
    struct lm_document *inputs, *outputs;
    loam_error error;
    char name[160];
    snprintf(name, sizeof name, "tokenizers/swift-transformers/baselines-A/%s.json", file);
    assert_ok(lm_json_read(test_shared(name), &outputs, &error), &error);
    assert_ok(lm_json_read(test_shared("tokenizers/swift-transformers/baselines-A/inputs.json"), &inputs, &error),
              &error);
    const struct lm_value *list = lm_value_find(lm_document_root(inputs), "inputs");
    const struct lm_value *entries = lm_value_find(lm_document_root(outputs), "entries");
    assert_true(list && list->length == 30);
    for (size_t i = 0; i < list->length; i++) {
        const struct lm_value *entry = lm_value_find(entries, lm_value_find(&list->items[i], "id")->text);
        expect_list(tokenizer, lm_value_find(&list->items[i], "text"), lm_value_find(entry, "input_ids"), flags, i);
        expect_text(tokenizer, lm_value_find(entry, "input_ids"), lm_value_find(entry, "decoded_with_special"), false);
        expect_text(tokenizer, lm_value_find(entry, "input_ids"), lm_value_find(entry, "decoded_skip_special"), true);
    }
    lm_document_free(inputs);
    lm_document_free(outputs);
    lm_tokenizer_free(tokenizer);
}

static void baselines(void **state)
{
    (void)state;
    const unsigned both = LM_ENCODE_SPECIAL | LM_ENCODE_ADD_SPECIAL;
    check_baseline("tokenizers/swift-transformers/gpt2_tokenizer.json", "openai-community__gpt2", LM_ENCODE_SPECIAL);
    check_baseline("tokenizers/gpt2", "openai-community__gpt2", LM_ENCODE_SPECIAL);
    check_baseline("tokenizers/qwen/qwen.tiktoken", "Qwen__Qwen2.5-0.5B", both);
    check_baseline("tokenizers/llama2-spm/tokenizer.model", "TinyLlama__TinyLlama-1.1B-Chat-v1.0", both);
    check_baseline("tokenizers/swift-transformers/llama_tokenizer.json", "TinyLlama__TinyLlama-1.1B-Chat-v1.0", both);
}

static void check_encoded(const char *tokenizer_name, const char *file, unsigned flags)
{
    struct lm_tokenizer *tokenizer = load(tokenizer_name);
    struct lm_document *document;
    loam_error error;
    char name[160];
    snprintf(name, sizeof name, "tokenizers/swift-transformers/encoded/%s.json", file);
    assert_ok(lm_json_read(test_shared(name), &document, &error), &error);
    const struct lm_value *root = lm_document_root(document), *ids = lm_value_find(root, "token_ids");
    expect_list(tokenizer, lm_value_find(root, "text"), ids, flags, 0);
    expect_text(tokenizer, ids, lm_value_find(root, "decoded_text"), false);
    lm_document_free(document);
    lm_tokenizer_free(tokenizer);
}

static void encoded(void **state)
{
    (void)state;
    check_encoded("tokenizers/gpt2", "gpt2_encoded_tokens", 0);
    check_encoded("tokenizers/llama2-spm", "llama_encoded", LM_ENCODE_ADD_SPECIAL);
    check_encoded("tokenizers/llama3-tiktoken", "llama_3.2_encoded", LM_ENCODE_ADD_SPECIAL);
}

static void replace(char *text, const char *old, const char *new)
{
    for (char *at = text; (at = strstr(at, old)) != NULL;) {
        memmove(at + strlen(new), at + strlen(old), strlen(at + strlen(old)) + 1);
        memcpy(at, new, strlen(new));
        at += strlen(new);
    }
}

/* What transformers makes of a decoded text where tokenizer_config.json has clean_up_tokenization_spaces: no part of
 * decoding here, which gives the text back as it was. */
static void clean_up(char *text)
{
    static const char *const pairs[][2] = {{" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
                                           {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        replace(text, pairs[i][0], pairs[i][1]);
}

static void check_case(const struct lm_tokenizer *tokenizer, const struct lm_value *item, bool cleans, size_t number)
{
    const struct lm_value *ids = lm_value_find(lm_value_find(item, "encoded"), "input_ids");
    expect_list(tokenizer, lm_value_find(item, "input"), ids, LM_ENCODE_SPECIAL | LM_ENCODE_ADD_SPECIAL, number);
    for (int skip = 0; skip < 2; skip++) {
        struct lm_ids list = {0};
        struct lm_bytes text = {0};
        loam_error error;
        for (size_t i = 0; i < ids->length; i++)
            assert_ok(lm_ids_push(&list, (int32_t)strtol(ids->items[i].text, NULL, 10), &error), &error);
        assert_ok(lm_tokenizer_decode(tokenizer, list.data, list.length, skip, &text, &error), &error);
        if (cleans)
            clean_up(text.data);
        assert_string_equal(text.data, lm_value_find(item, skip ? "decoded_without_special" : "decoded_with_special")->text);
        lm_ids_free(&list);
        lm_bytes_free(&text);
    }
}

/* swift-transformers' 18 texts, for the tokenizers whose vocabulary is there. */
static void swift(void **state)
{
    (void)state;
    static const struct {
        const char *name, *vocabulary;
        bool cleans;
    } known[] = {{"distilgpt2", "tokenizers/gpt2", true},
                 {"coreml-projects/Llama-2-7b-chat-coreml", "tokenizers/llama2-spm", false},
                 {"pcuenq/Llama-3.2-1B-Instruct-tokenizer", "tokenizers/llama3-tiktoken", true}};
    struct lm_document *document;
    loam_error error;
    assert_ok(lm_json_read(test_shared("tokenizers/swift-transformers/encoded/tokenizer_tests.json"), &document, &error),
              &error);
    const struct lm_value *root = lm_document_root(document);
    for (size_t k = 0; k < root->length; k++) {
        size_t i = 0;
        while (i < 3 && strcmp(known[i].name, root->keys[k].text) != 0)
            i++;
        if (i == 3) {
            printf("no vocabulary for the vectors of %s\n", root->keys[k].text);
            continue;
        }
        struct lm_tokenizer *tokenizer = load(known[i].vocabulary);
        const struct lm_value *list = &root->items[k];
        assert_true(list->length >= 18);
        for (size_t n = 0; n < list->length; n++)
            check_case(tokenizer, &list->items[n], known[i].cleans, n);
        lm_tokenizer_free(tokenizer);
    }
    lm_document_free(document);
}

/* A family is known by its ranks, else it is asked for. */
static void families(void **state)
{
    (void)state;
    const char *small = test_shared("tokenizers/torchtune-tiny/tiktoken_small.model");
    struct lm_tokenizer *tokenizer = NULL;
    loam_error error;
    assert_fails(lm_tokenizer_load(small, &tokenizer, &error), &error, LOAM_EUNSUPPORTED, "2000 ranks", "--family", "llama3");
    assert_fails(lm_tokenizer_load_as(small, "llama9", &tokenizer, &error), &error, LOAM_EUSAGE, "llama9", "qwen");
    assert_ok(lm_tokenizer_load_as(small, "llama3", &tokenizer, &error), &error);
    assert_int_equal(lm_tokenizer_size(tokenizer), 2256);
    assert_int_equal(lm_tokenizer_bos(tokenizer), 2000);
    lm_tokenizer_free(tokenizer);
    tokenizer = load("tokenizers/llama3-tiktoken");
    assert_int_equal(lm_tokenizer_size(tokenizer), 128256);
    assert_int_equal(lm_tokenizer_bos(tokenizer), 128000);
    assert_int_equal(lm_tokenizer_eos(tokenizer), 128001);
    assert_int_equal(lm_tokenizer_find(tokenizer, "<|eot_id|>", 10), 128009);
    assert_int_equal(lm_tokenizer_find(tokenizer, "<|reserved_special_token_245|>", 30), 128255);
    assert_true(lm_tokenizer_adds_bos(tokenizer));
    lm_tokenizer_free(tokenizer);
    tokenizer = load("tokenizers/qwen");
    assert_int_equal(lm_tokenizer_find(tokenizer, "<|im_end|>", 10), 151645);
    assert_int_equal(lm_tokenizer_bos(tokenizer), -1);
    assert_int_equal(lm_tokenizer_eos(tokenizer), 151643);
    lm_tokenizer_free(tokenizer);
    assert_ok(lm_tokenizer_load_as(test_shared("tokenizers/qwen/qwen.tiktoken"), "qwen2.5", &tokenizer, &error), &error);
    assert_int_equal(lm_tokenizer_find(tokenizer, "<tool_call>", 11), 151657);
    assert_false(lm_tokenizer_is_special(tokenizer, 151657));
    lm_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_pair), cmocka_unit_test(llama2_pair), cmocka_unit_test(llama3_pair),
        cmocka_unit_test(baselines), cmocka_unit_test(encoded),     cmocka_unit_test(swift),
        cmocka_unit_test(families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
