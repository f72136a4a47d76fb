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

static void gpt2_pair(void **state)
{
    (void)state;
    check_pair("tokenizers/swift-transformers/gpt2_tokenizer.json", "tokenizers/llamacpp-vocab/ggml-vocab-gpt-2.gguf",
               true);
}

static void llama2_pair(void **state)
{
    (void)state;
    check_pair("tokenizers/swift-transformers/llama_tokenizer.json",
               "tokenizers/llamacpp-vocab/ggml-vocab-llama-spm.gguf", false);
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

static void gpt2_baseline(void **state)
{
    (void)state;
    check_baseline("tokenizers/swift-transformers/gpt2_tokenizer.json", "openai-community__gpt2", LM_ENCODE_SPECIAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_pair),
        cmocka_unit_test(llama2_pair),
        cmocka_unit_test(gpt2_baseline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
