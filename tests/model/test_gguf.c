/* Models written as GGUF and opened again: the same logits to the bit, the same weights on the way back; files that do
 * not fit. */
#include "support/support.h"

#include "model/model.h"

#include <math.h>

enum { MOST = 64 * 16, LENGTH = 12 };
static loam_error error;
static const char *const names[] = {"gpt2", "llama2", "llama3-tied", "llama3-untied", "mistral", "qwen3"};

static void run(const char *path, const struct lm_model_options *options, struct lm_device *device, float *logits)
{
    struct lm_model *model;
    int32_t ids[LENGTH];
    for (int i = 0; i < LENGTH; i++)
        ids[i] = (7 * i + 1) % 64;
    assert_ok(lm_model_open(path, device, options, &model, &error), &error);
    assert_true(lm_model_config(model)->vocabulary * LENGTH <= MOST);
    assert_ok(lm_model_logits(model, ids, LENGTH, logits, &error), &error);
    lm_model_close(model);
}

static int write_gguf(const char *from, const char *to, enum lm_dtype dtype, struct lm_device *device)
{
    struct lm_model *model;
    assert_ok(lm_model_open(from, device, &(struct lm_model_options){0}, &model, &error), &error);
    int code = lm_model_save_gguf(model, to, dtype, NULL, NULL, &error);
    lm_model_close(model);
    return code;
}

static void there_and_back(void **state)
{
    (void)state;
    struct lm_device *device;
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        static float one[MOST], two[MOST];
        char from[256];
        snprintf(from, sizeof from, LOAM_TESTS "/golden/models/%s", names[i]);
        const char *folder = test_folder(), *file = test_path(folder, "m.gguf"), *back = test_path(folder, "back");
        assert_ok(write_gguf(from, file, LM_F32, device), &error);
        run(from, &(struct lm_model_options){0}, device, one);
        run(file, &(struct lm_model_options){.plain = true}, device, two);
        assert_memory_equal(one, two, sizeof one);
        run(from, &(struct lm_model_options){.load = true, .dtype = LM_BF16}, device, one);
        run(file, &(struct lm_model_options){.load = true, .dtype = LM_BF16}, device, two);
        assert_memory_equal(one, two, sizeof one);
        struct lm_model *model;
        assert_ok(lm_model_open(file, device, &(struct lm_model_options){.plain = true}, &model, &error), &error);
        assert_ok(lm_model_save(model, back, LM_F32, 0, &error), &error);
        lm_model_close(model);
        struct lm_tensors *before, *after;
        assert_ok(lm_tensors_open(from, &before, &error), &error);
        assert_ok(lm_tensors_open(back, &after, &error), &error);
        for (size_t t = 0; t < lm_tensors_count(after); t++) {
            const struct lm_tensor *now = lm_tensors_at(after, t), *then = lm_tensors_find(before, now->name);
            assert_non_null(then);
            assert_memory_equal(now->data, then->data, then->bytes);
        }
        lm_tensors_close(before);
        lm_tensors_close(after);
    }
    lm_device_close(device);
}

/* A quantized weight is off by at most half a step (Q8_0: 1/127 of the block's largest, Q4_0: 1/8), one where the end
 * is cut off; the scale itself is rounded to fp16, 1/2048. */
static void quantized(void **state)
{
    (void)state;
    struct lm_device *device;
    struct lm_tensors *before;
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    const char *from = LOAM_TESTS "/golden/models/gpt2";
    assert_ok(lm_tensors_open(from, &before, &error), &error);
    for (int q = 0; q < 2; q++) {
        const char *file = test_path(test_folder(), "q.gguf");
        struct lm_gguf *gguf;
        assert_ok(write_gguf(from, file, q ? LM_Q4_0 : LM_Q8_0, device), &error);
        assert_ok(lm_gguf_open(file, &gguf, &error), &error);
        const struct lm_tensor *table = lm_gguf_tensor(gguf, "blk.0.ffn_down.weight"),
                               *norm = lm_gguf_tensor(gguf, "blk.0.attn_norm.weight");
        const struct lm_tensor *plain = lm_tensors_find(before, "transformer.h.0.mlp.c_proj.weight");
        if (!plain)
            plain = lm_tensors_find(before, "h.0.mlp.c_proj.weight");
        assert_non_null(plain);
        assert_int_equal(table->dtype, q ? LM_Q4_0 : LM_Q8_0);
        assert_int_equal(norm->dtype, LM_F32);
        float *values = lm_alloc(table->count, sizeof *values, &error);
        lm_convert(LM_F32, values, table->dtype, table->data, table->count);
        for (int64_t r = 0; r < table->shape[0]; r++)
            for (int64_t c = 0; c < table->shape[1]; c++) {
                float largest = 0;
                for (int64_t b = c / 32 * 32; b < c / 32 * 32 + 32; b++) {
                    const float x = ((const float *)plain->data)[b * table->shape[0] + r];
                    largest = x > largest ? x : -x > largest ? -x : largest;
                }
                const float off =
                    values[r * table->shape[1] + c] - ((const float *)plain->data)[c * table->shape[0] + r];
                assert_true((off < 0 ? -off : off) <= largest * ((q ? 1.0f / 8 : 0.5f / 127) + 1.0f / 2000));
            }
        lm_free(values);
        lm_gguf_close(gguf);
    }
    lm_tensors_close(before);
    lm_device_close(device);
}

/* A family's smallest shape whose rows are whole blocks. */
static struct lm_model *small_model(const char *like, struct lm_device *device)
{
    struct lm_config config;
    struct lm_model *model;
    assert_ok(lm_config_like(like, &config, &error), &error);
    const bool grouped = config.kv_heads != config.heads;
    config.vocabulary = 64, config.width = 64, config.layers = 2, config.heads = 4, config.kv_heads = grouped ? 2 : 4;
    config.head_size = 16, config.feed_forward = 96, config.context = 32, config.bos = config.eos = config.pad = -1;
    config.initializer_range = 0.2;
    assert_ok(lm_model_create(&config, 3, device, &(struct lm_model_options){.dtype = LM_F32}, &model, &error), &error);
    return model;
}

/* Run as the file has it, activations are rounded to 8 bits, 32 at a time: by at most 1/254 of the largest among them, which is at most
 * their length, so that 32 of them move by sqrt(32)/254 = 2.3 % of their length. A logit stands behind 7 such products a layer, and the
 * head's. F32 files move by the order of sums alone. Rows taken in the wrong order move everything by its own size. */
static void run_as_it_lies(void **state)
{
    (void)state;
    static const enum lm_dtype types[] = {LM_F32, LM_BF16, LM_F16, LM_Q8_0, LM_Q4_0};
    static const char *const likes[] = {"gpt2", "llama-3.2-1b", "qwen2.5-0.5b", "qwen3-0.6b"};
    struct lm_device *device;
    const char *folder = test_folder(), *file = test_path(folder, "m.gguf"), *again = test_path(folder, "again");
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 2}, &device, &error), &error);
    for (size_t i = 0; i < sizeof likes / sizeof *likes; i++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            static float one[MOST], two[MOST];
            struct lm_model *model = small_model(likes[i], device);
            const bool blocks = lm_dtype_is_block(types[t]), turned = lm_model_config(model)->transposed_weights;
            assert_ok(lm_model_save_gguf(model, file, types[t], NULL, NULL, &error), &error);
            lm_model_close(model);
            memset(one, 0, sizeof one), memset(two, 0, sizeof two);
            run(file, &(struct lm_model_options){.plain = true}, device, one);
            run(file, &(struct lm_model_options){0}, device, two);
            assert_ok(lm_model_open(file, device, &(struct lm_model_options){0}, &model, &error), &error);
            assert_int_equal(lm_model_matrix_dtype(model), types[t] == LM_F16 ? LM_F32 : types[t]);
            const int code = lm_model_save(model, again, LM_F32, 0, &error);
            if (blocks || (turned && types[t] != LM_F16))
                assert_fails(code, &error, LOAM_EUSAGE, "GGUF");
            else
                assert_ok(code, &error);
            lm_model_close(model);
            double off = 0, size = 0;
            for (int j = 0; j < MOST; j++) {
                off += ((double)one[j] - (double)two[j]) * ((double)one[j] - (double)two[j]);
                size += (double)one[j] * (double)one[j];
            }
            const double most = (blocks ? 0.023 : 1e-5) * (7 * 2 + 1);
            if (!(off <= most * most * size) || (blocks && off == 0))
                fail_msg("%s %s: logits move by %g of their length, wanted at most %g", likes[i], lm_dtype_name(types[t]),
                         sqrt(off / size), most);
        }
    lm_device_close(device);
}

static void put_sizes(struct lm_gguf_writer *writer, const char *architecture, uint32_t layers)
{
    static const char *const keys[] = {"embedding_length", "attention.head_count", "feed_forward_length",
                                       "context_length"};
    char key[64];
    lm_gguf_put_text(writer, "general.architecture", architecture, strlen(architecture));
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "%s.%s", architecture, keys[i]);
        lm_gguf_put_u32(writer, key, i == 1 ? 2 : 4);
    }
    snprintf(key, sizeof key, "%s.block_count", architecture);
    if (layers)
        lm_gguf_put_u32(writer, key, layers);
}

static void refuse(const char *architecture, uint32_t layers, int64_t rows, int wanted, const char *word)
{
    const char *path = test_path(test_folder(), "bad.gguf");
    static const float data[64];
    struct lm_gguf_writer *writer;
    struct lm_device *device;
    struct lm_model *model;
    assert_ok(lm_gguf_create(path, &writer, &error), &error);
    put_sizes(writer, architecture, layers);
    const struct lm_tensor list[] = {
        {.name = "token_embd.weight", .dtype = LM_F32, .rank = 2, .shape = (int64_t[]){rows, 4}}};
    assert_ok(lm_gguf_begin(writer, list, 1, &error), &error);
    assert_ok(lm_gguf_put(writer, 0, 0, data, (size_t)rows * 16, &error), &error);
    assert_ok(lm_gguf_finish(writer, &error), &error);
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    assert_fails(lm_model_open(path, device, &(struct lm_model_options){0}, &model, &error), &error, wanted, "bad.gguf",
                 word);
    lm_device_close(device);
}

static void refused(void **state)
{
    (void)state;
    refuse("mamba", 1, 8, LOAM_EUNSUPPORTED, "\"mamba\"");
    refuse("llama", 0, 8, LOAM_ENOTFOUND, "llama.block_count");
    refuse("llama", 1000000, 8, LOAM_EFORMAT, "block_count");
    refuse("llama", 1, 8, LOAM_EMISMATCH, "blk.0.attn_norm.weight");
    struct lm_device *device;
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    assert_fails(write_gguf(LOAM_TESTS "/golden/models/qwen2", test_path(test_folder(), "w.gguf"), LM_F32, device),
                 &error, LOAM_EUNSUPPORTED, "sliding window");
    assert_fails(write_gguf(LOAM_TESTS "/golden/models/llama2", test_path(test_folder(), "w.gguf"), LM_Q6_K, device),
                 &error, LOAM_EUSAGE, "Q6_K");
    lm_device_close(device);
}

static void put_key(struct lm_bytes *out, const char *key, uint32_t type, const void *value, size_t bytes)
{
    const uint64_t length = strlen(key);
    assert_ok(lm_bytes_append(out, &length, sizeof length, &error), &error);
    assert_ok(lm_bytes_append(out, key, length, &error), &error);
    assert_ok(lm_bytes_append(out, &type, sizeof type, &error), &error);
    assert_ok(lm_bytes_append(out, value, bytes, &error), &error);
}

/* llama.cpp's own writer has these keys in every file, and 0 where the model has none of it. */
static void keys_of_zero(void **state)
{
    (void)state;
    enum { HEAD = 24, COUNT_AT = 16, U32 = 4, F32 = 6, TEXT = 8 };
    static float one[MOST], two[MOST];
    const char *folder = test_folder(), *file = test_path(folder, "m.gguf"), *other = test_path(folder, "zero.gguf");
    const uint64_t six = 6;
    const uint32_t none = 0;
    struct lm_bytes whole = {0}, keys = {0}, type = {0};
    struct lm_device *device;
    uint64_t count;
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    assert_ok(write_gguf(LOAM_TESTS "/golden/models/llama2", file, LM_F32, device), &error);
    assert_ok(lm_file_read(file, 0, &whole, &error), &error);
    assert_ok(lm_bytes_append(&type, &six, sizeof six, &error), &error);
    assert_ok(lm_bytes_append(&type, "linear", 6, &error), &error);
    put_key(&keys, "llama.expert_count", U32, &none, 4);
    put_key(&keys, "llama.attention.sliding_window", U32, &none, 4);
    put_key(&keys, "llama.rope.scaling.type", TEXT, type.data, type.length);
    put_key(&keys, "llama.rope.scaling.factor", F32, &none, 4);
    put_key(&keys, "filler", U32, &none, 4);
    assert_int_equal(keys.length % 32, 0);    /* so that the tensors stay aligned */
    memcpy(&count, whole.data + COUNT_AT, sizeof count);
    count += 5;
    memcpy(whole.data + COUNT_AT, &count, sizeof count);
    assert_ok(lm_bytes_append(&keys, whole.data + HEAD, whole.length - HEAD, &error), &error);
    whole.length = HEAD;
    assert_ok(lm_bytes_append(&whole, keys.data, keys.length, &error), &error);
    assert_ok(lm_file_replace(other, whole.data, whole.length, &error), &error);
    run(file, &(struct lm_model_options){0}, device, one);
    run(other, &(struct lm_model_options){0}, device, two);
    assert_memory_equal(one, two, sizeof one);
    lm_bytes_free(&whole);
    lm_bytes_free(&keys);
    lm_bytes_free(&type);
    lm_device_close(device);
}

/* Factors of no numbers, for heads of one number. */
static void empty_factors(void **state)
{
    (void)state;
    const char *path = test_path(test_folder(), "bad.gguf");
    static const float data[32];
    struct lm_gguf_writer *writer;
    struct lm_device *device;
    struct lm_model *model;
    assert_ok(lm_gguf_create(path, &writer, &error), &error);
    put_sizes(writer, "llama", 1);
    lm_gguf_put_u32(writer, "llama.attention.key_length", 1);
    const struct lm_tensor list[] = {{.name = "token_embd.weight", .dtype = LM_F32, .rank = 2, .shape = (int64_t[]){8, 4}},
                                     {.name = "rope_freqs.weight", .dtype = LM_F32, .rank = 1, .shape = (int64_t[]){0}}};
    assert_ok(lm_gguf_begin(writer, list, 2, &error), &error);
    assert_ok(lm_gguf_put(writer, 0, 0, data, sizeof data, &error), &error);
    assert_ok(lm_gguf_finish(writer, &error), &error);
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    assert_fails(lm_model_open(path, device, &(struct lm_model_options){0}, &model, &error), &error, LOAM_EUNSUPPORTED, "bad.gguf", "rope_freqs");
    lm_device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(quantized), cmocka_unit_test(run_as_it_lies),
                                       cmocka_unit_test(refused), cmocka_unit_test(keys_of_zero), cmocka_unit_test(empty_factors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
