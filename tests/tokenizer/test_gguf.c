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
    assert_ok(lm_tokenizer_set_bos_eos_pad(one, lm_tokenizer_find(one, "<s>", 3), lm_tokenizer_find(one, "</s>", 4), -1, &error), &error);
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

/* llama.cpp's own file for GPT-2 gives the ids of GPT-2's tokenizer.json. */
static void of_llama_cpp(void **state)
{
    (void)state;
    struct lm_tokenizer *one, *two;
    assert_ok(lm_tokenizer_load(test_shared("tokenizers/llamacpp-vocab/ggml-vocab-gpt-2.gguf"), &one, &error), &error);
    assert_ok(lm_tokenizer_load(test_shared("tokenizers/swift-transformers/gpt2_tokenizer.json"), &two, &error), &error);
    struct lm_ids a = {0}, b = {0};
    assert_ok(lm_tokenizer_encode(one, text, sizeof text - 1, LM_ENCODE_SPECIAL, &a, NULL, &error), &error);
    assert_ok(lm_tokenizer_encode(two, text, sizeof text - 1, LM_ENCODE_SPECIAL, &b, NULL, &error), &error);
    assert_int_equal(a.length, b.length);
    assert_memory_equal(a.data, b.data, a.length * sizeof *a.data);
    lm_ids_free(&a);
    lm_ids_free(&b);
    lm_tokenizer_free(one);
    lm_tokenizer_free(two);
}

static void sentencepiece_is_refused(void **state)
{
    (void)state;
    struct lm_tokenizer *tokenizer;
    assert_fails(lm_tokenizer_load(test_shared("tokenizers/llamacpp-vocab/ggml-vocab-llama-spm.gguf"), &tokenizer, &error), &error,
                 LOAM_EUNSUPPORTED, "\"llama\"", "tokenizer.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(of_llama_cpp),
                                       cmocka_unit_test(sentencepiece_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
