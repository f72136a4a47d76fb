/* A tokenizer into GGUF metadata and out again: the same ids; and one that GGUF files of llama.cpp hold. */
#include "support/support.h"

#include "tensor/tensor.h"
#include "tokenizer/tokenizer.h"

static loam_error error;
static const char text[] = "Hello, world!  It's 1234 \xc3\xa4\xe6\x97\xa5 <|im_start|>user\n\n\tx<|im_end|> hello";

static void same_ids(const struct lm_tokenizer *one, const struct lm_tokenizer *two)
{
    for (unsigned flags = 0; flags < 4; flags++) {
        struct lm_ids a = {0}, b = {0};
        assert_ok(lm_tokenizer_encode(one, text, sizeof text - 1, flags, &a, NULL, &error), &error);
        assert_ok(lm_tokenizer_encode(two, text, sizeof text - 1, flags, &b, NULL, &error), &error);
        assert_int_equal(a.length, b.length);
        assert_memory_equal(a.data, b.data, a.length * sizeof *a.data);
        lm_ids_free(&a);
        lm_ids_free(&b);
    }
}

static void there_and_back(void **state)
{
    (void)state;
    struct lm_tokenizer *one, *two;
    struct lm_gguf_writer *writer;
    const char *path = test_path(test_folder(), "t.gguf");
    assert_ok(lm_tokenizer_load(LOAM_TESTS "/golden/templates/byte_tokenizer.json", &one, &error), &error);
    assert_ok(lm_tokenizer_set_bos_eos_pad(one, lm_tokenizer_find(one, "<s>", 3), lm_tokenizer_find(one, "</s>", 4), -1,
                                           &error),
              &error);
    assert_ok(lm_gguf_create(path, &writer, &error), &error);
    assert_fails(lm_tokenizer_put_gguf(one, 10, writer, &error), &error, LOAM_EMISMATCH, "10");
    lm_gguf_abandon(writer);
    assert_ok(lm_gguf_create(path, &writer, &error), &error);
    assert_ok(lm_tokenizer_put_gguf(one, lm_tokenizer_size(one) + 3, writer, &error), &error);
    assert_ok(lm_gguf_begin(writer, NULL, 0, &error), &error);
    assert_ok(lm_gguf_finish(writer, &error), &error);
    assert_ok(lm_tokenizer_load(path, &two, &error), &error);
    assert_int_equal(lm_tokenizer_size(one), lm_tokenizer_size(two));
    assert_int_equal(lm_tokenizer_bos(one), lm_tokenizer_bos(two));
    assert_int_equal(lm_tokenizer_eos(one), lm_tokenizer_eos(two));
    assert_true(lm_tokenizer_is_special(two, lm_tokenizer_find(two, "<|im_end|>", 10)));
    same_ids(one, two);
    lm_tokenizer_free(one);
    lm_tokenizer_free(two);
}

static void compare(const char *gguf, const char *json)
{
    struct lm_tokenizer *one, *two;
    assert_ok(lm_tokenizer_load(test_shared(gguf), &one, &error), &error);
    assert_ok(lm_tokenizer_load(test_shared(json), &two, &error), &error);
    assert_int_equal(lm_tokenizer_size(one), lm_tokenizer_size(two));
    struct lm_bytes book = {0};
    assert_ok(lm_file_read(test_shared("text/the-verdict.txt"), 0, &book, &error), &error);
    const char *texts[] = {text, book.data};
    for (int i = 0; i < 2; i++) {
        struct lm_ids a = {0}, b = {0};
        assert_ok(lm_tokenizer_encode(one, texts[i], strlen(texts[i]), LM_ENCODE_SPECIAL, &a, NULL, &error), &error);
        assert_ok(lm_tokenizer_encode(two, texts[i], strlen(texts[i]), LM_ENCODE_SPECIAL, &b, NULL, &error), &error);
        assert_int_equal(a.length, b.length);
        assert_memory_equal(a.data, b.data, a.length * sizeof *a.data);
        struct lm_bytes back = {0};
        assert_ok(lm_tokenizer_decode(one, a.data, a.length, false, &back, &error), &error);
        assert_string_equal(back.data, texts[i]);
        lm_bytes_free(&back);
        lm_ids_free(&a);
        lm_ids_free(&b);
    }
    lm_bytes_free(&book);
    lm_tokenizer_free(one);
    lm_tokenizer_free(two);
}

/* llama.cpp's own files give the ids of the tokenizer.json of the same models. */
static void of_llama_cpp(void **state)
{
    (void)state;
    compare("tokenizers/llamacpp-vocab/ggml-vocab-gpt-2.gguf", "tokenizers/swift-transformers/gpt2_tokenizer.json");
}

static void sentencepiece(void **state)
{
    (void)state;
    compare("tokenizers/llamacpp-vocab/ggml-vocab-llama-spm.gguf",
            "tokenizers/swift-transformers/llama_tokenizer.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(of_llama_cpp),
                                       cmocka_unit_test(sentencepiece)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
