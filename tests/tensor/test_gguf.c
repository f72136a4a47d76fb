/* The GGUF reader and writer and the block types against the gguf package (tests/golden/make_gguf.py), and against
 * files that are cut short or made to mislead. */
#include "support/support.h"
#include "tensor/gguf.h"

#include <math.h>

#define GOLDEN LOAM_TESTS "/golden/gguf/"

static loam_error error;

static struct lm_gguf *open_golden(void)
{
    struct lm_gguf *file;
    assert_ok(lm_gguf_open(GOLDEN "types.gguf", &file, &error), &error);
    return file;
}

static struct lm_tensors *open_reference(void)
{
    struct lm_tensors *tensors;
    assert_ok(lm_tensors_open(GOLDEN "types.safetensors", &tensors, &error), &error);
    return tensors;
}

/* Every type opens to the same bits: the order of the few operations is the same, in float. */
static void every_type(void **state)
{
    (void)state;
    static const char *const names[] = {"F32",  "F16",  "BF16", "Q8_0", "Q4_0", "Q4_1",
                                        "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"};
    struct lm_gguf *file = open_golden();
    struct lm_tensors *reference = open_reference();
    assert_int_equal(lm_gguf_tensors(file), sizeof names / sizeof *names);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct lm_tensor *tensor = lm_gguf_tensor(file, names[i]), *wanted = lm_tensors_find(reference, names[i]);
        assert_non_null(tensor);
        assert_string_equal(lm_dtype_name(tensor->dtype), names[i]);
        assert_int_equal(tensor->rank, 2);
        assert_int_equal(tensor->shape[0], wanted->shape[0]);
        assert_int_equal(tensor->shape[1], wanted->shape[1]);
        float *values = lm_alloc(tensor->count, sizeof *values, &error);
        assert_true(lm_convert(LM_F32, values, tensor->dtype, tensor->data, tensor->count));
        assert_memory_equal(values, wanted->data, wanted->bytes);
        lm_free(values);
    }
    assert_null(lm_gguf_tensor(file, "F64"));
    lm_tensors_close(reference);
    lm_gguf_close(file);
}

static void quantizing(void **state)
{
    (void)state;
    struct lm_tensors *reference = open_reference();
    const struct lm_tensor *input = lm_tensors_find(reference, "input");
    const struct lm_tensor *wanted[] = {lm_tensors_find(reference, "quantized.Q8_0"),
                                        lm_tensors_find(reference, "quantized.Q4_0")};
    static const enum lm_dtype types[] = {LM_Q8_0, LM_Q4_0};
    unsigned char bytes[8 * 68];
    float values[8 * 64];
    for (int i = 0; i < 2; i++) {
        assert_true(lm_convert(types[i], bytes, LM_F32, input->data, input->count));
        assert_memory_equal(bytes, wanted[i]->data, wanted[i]->bytes);
    }
    assert_false(lm_convert(LM_Q8_0, bytes, LM_F32, input->data, 33));  /* no whole block */
    assert_false(lm_convert(LM_Q4_K, bytes, LM_F32, input->data, 256)); /* a type that is only read */
    /* What cannot be written stays visible: NaN gives a scale of NaN, and nothing is cast out of range. */
    for (int i = 0; i < 64; i++)
        values[i] = i == 5 ? (float)NAN : i == 40 ? (float)INFINITY : 1;
    for (int i = 0; i < 2; i++) {
        float back[64];
        assert_true(lm_convert(types[i], bytes, LM_F32, values, 64));
        assert_true(lm_convert(LM_F32, back, types[i], bytes, 64));
        assert_true(back[5] != back[5] && !(back[40] - back[40] == 0));
    }
    lm_tensors_close(reference);
}

static void values(void **state)
{
    (void)state;
    struct lm_gguf *file = open_golden();
    int64_t whole;
    double number;
    bool truth;
    const char *text;
    const struct lm_gguf_value *array;
    struct lm_gguf_value item;
    static const struct {
        const char *key;
        int64_t value;
    } wholes[] = {{"kind.uint8", 200},         {"kind.int8", -100},
                  {"kind.uint16", 60000},      {"kind.int16", -30000},
                  {"kind.uint32", 4000000000}, {"kind.int32", -2000000000},
                  {"kind.uint64", INT64_MAX},  {"kind.int64", -(INT64_C(1) << 62)}};
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
        assert_ok(lm_gguf_int(file, wholes[i].key, INT64_MIN, INT64_MAX, &whole, &error), &error);
        assert_true(whole == wholes[i].value);
    }
    assert_ok(lm_gguf_double(file, "kind.float64", &number, &error), &error);
    assert_true(number == 0.1);
    assert_ok(lm_gguf_double(file, "kind.float32", &number, &error), &error);
    assert_true(number == 0.5);
    assert_ok(lm_gguf_bool(file, "kind.bool", &truth, &error), &error);
    assert_true(truth);
    assert_ok(lm_gguf_text(file, "kind.string", &text, &error), &error);
    assert_string_equal(text, "gr\xc3\xbc\xc3\x9f"
                              "e");
    assert_ok(lm_gguf_array(file, "kind.strings", LM_GGUF_TEXT, &array, &error), &error);
    static const char *const strings[] = {"", "a", "\xe6\x97\xa5\xe6\x9c\xac"};
    struct lm_gguf_items items = lm_gguf_items(array);
    for (int i = 0; i < 3; i++) {
        assert_true(lm_gguf_next(&items, &item));
        assert_int_equal(item.length, strlen(strings[i]));
        assert_memory_equal(item.text, strings[i], item.length);
    }
    assert_false(lm_gguf_next(&items, &item));
    assert_ok(lm_gguf_array(file, "kind.ints", LM_GGUF_I32, &array, &error), &error);
    items = lm_gguf_items(array);
    assert_true(lm_gguf_next(&items, &item) && item.integer == 1);
    assert_true(lm_gguf_next(&items, &item) && item.integer == -2);
    assert_fails(lm_gguf_int(file, "kind.uint8", 0, 100, &whole, &error), &error, LOAM_EFORMAT, "types.gguf",
                 "kind.uint8", "200");
    assert_fails(lm_gguf_int(file, "kind.string", 0, 1, &whole, &error), &error, LOAM_EFORMAT, "text", "whole number");
    assert_fails(lm_gguf_text(file, "kind.bool", &text, &error), &error, LOAM_EFORMAT, "bool", "wanted text");
    assert_fails(lm_gguf_bool(file, "none", &truth, &error), &error, LOAM_ENOTFOUND, "types.gguf", "none");
    assert_fails(lm_gguf_array(file, "kind.floats", LM_GGUF_TEXT, &array, &error), &error, LOAM_EFORMAT, "f32", "text");
    lm_gguf_close(file);
}

/* Everything of `from` written anew. */
static int copy(const struct lm_gguf *from, const char *path)
{
    struct lm_gguf_writer *writer;
    struct lm_tensor list[32];
    const size_t count = lm_gguf_tensors(from);
    assert_true(count <= 32);
    int code = lm_gguf_create(path, &writer, &error);
    if (code)
        return code;
    for (size_t i = 0; i < lm_gguf_pairs(from); i++)
        lm_gguf_put_value(writer, lm_gguf_key(from, i), lm_gguf_value(from, i));
    for (size_t i = 0; i < count; i++)
        list[i] = *lm_gguf_tensor_at(from, i);
    code = lm_gguf_begin(writer, list, count, &error);
    for (size_t i = count; i-- > 0 && !code;) /* last first: any order */
        code = lm_gguf_put(writer, i, 0, list[i].data, list[i].bytes, &error);
    if (!code)
        return lm_gguf_finish(writer, &error);
    lm_gguf_abandon(writer);
    return code;
}

static void written_as_read(void **state)
{
    (void)state;
    struct lm_gguf *file = open_golden();
    const char *path = test_path(test_folder(), "copy.gguf");
    assert_ok(copy(file, path), &error);
    lm_gguf_close(file);
    struct lm_bytes one = {0}, two = {0};
    assert_ok(lm_file_read(GOLDEN "types.gguf", 0, &one, &error), &error);
    assert_ok(lm_file_read(path, 0, &two, &error), &error);
    assert_int_equal(one.length, two.length);
    assert_memory_equal(one.data, two.data, one.length);
    lm_bytes_free(&one);
    lm_bytes_free(&two);
}

static void put_kinds(struct lm_gguf_writer *writer)
{
    static const int32_t numbers[] = {1, 2, 3};
    lm_gguf_put_text(writer, "general.architecture", "llama", 5);
    lm_gguf_put_u32(writer, "u", 7);
    lm_gguf_put_f32(writer, "f", 0.25f);
    lm_gguf_put_bool(writer, "b", true);
    lm_gguf_put_array(writer, "texts", LM_GGUF_TEXT, 2);
    lm_gguf_item_text(writer, "x", 1);
    lm_gguf_item_text(writer, "", 0);
    lm_gguf_put_array(writer, "numbers", LM_GGUF_I32, 3);
    lm_gguf_item_data(writer, numbers, sizeof numbers);
}

static void writer_kinds(void **state)
{
    (void)state;
    const char *path = test_path(test_folder(), "made.gguf");
    struct lm_gguf_writer *writer;
    assert_ok(lm_gguf_create(path, &writer, &error), &error);
    put_kinds(writer);
    const int64_t shape[] = {2, 3};
    const float data[] = {1, 2, 3, 4, 5, 6};
    const struct lm_tensor list[] = {{.name = "a", .dtype = LM_F32, .rank = 2, .shape = shape},
                                     {.name = "b", .dtype = LM_F32, .rank = 1, .shape = shape}};
    assert_ok(lm_gguf_begin(writer, list, 2, &error), &error);
    assert_ok(lm_gguf_put(writer, 0, 0, data, 8, &error), &error);
    assert_ok(lm_gguf_put(writer, 1, 0, data, 8, &error), &error);
    assert_ok(lm_gguf_put(writer, 0, 8, data + 2, 16, &error), &error);
    assert_fails(lm_gguf_put(writer, 0, 20, data, 8, &error), &error, LOAM_EUSAGE, "made.gguf", "\"a\"", "24");
    assert_ok(lm_gguf_finish(writer, &error), &error);
    struct lm_gguf *file;
    assert_ok(lm_gguf_open(path, &file, &error), &error);
    assert_true(lm_gguf_is(path));
    assert_memory_equal(lm_gguf_tensor(file, "a")->data, data, sizeof data);
    assert_int_equal(lm_gguf_find(file, "texts")->count, 2);
    assert_int_equal(lm_gguf_find(file, "numbers")->count, 3);
    assert_true(lm_gguf_find(file, "f")->number == 0.25);
    lm_gguf_close(file);
}

static void refuse_list(const struct lm_tensor *list, size_t count, int wanted, const char *word)
{
    struct lm_gguf_writer *writer;
    const char *path = test_path(test_folder(), "refused.gguf");
    assert_ok(lm_gguf_create(path, &writer, &error), &error);
    assert_fails(lm_gguf_begin(writer, list, count, &error), &error, wanted, "refused.gguf", word);
    lm_gguf_abandon(writer);
    assert_false(lm_file_exists(path));
}

static void writer_refuses(void **state)
{
    (void)state;
    const int64_t shape[] = {1, 1, 1, 2, 33};
    refuse_list((struct lm_tensor[]){{.name = "a", .dtype = LM_F32, .rank = 1, .shape = shape},
                                     {.name = "a", .dtype = LM_F32, .rank = 1, .shape = shape}},
                2, LOAM_EUSAGE, "\"a\"");
    refuse_list((struct lm_tensor[]){{.name = "a", .dtype = LM_F8_E4M3, .rank = 1, .shape = shape}}, 1,
                LOAM_EUNSUPPORTED, "F8_E4M3");
    refuse_list((struct lm_tensor[]){{.name = "a", .dtype = LM_F32, .rank = 5, .shape = shape}}, 1, LOAM_EUNSUPPORTED,
                "5");
    refuse_list((struct lm_tensor[]){{.name = "a", .dtype = LM_Q8_0, .rank = 2, .shape = shape + 3}}, 1, LOAM_EUSAGE,
                "33");
    struct lm_gguf_writer *writer;
    const char *path = test_path(test_folder(), "short.gguf");
    assert_ok(lm_gguf_create(path, &writer, &error), &error);
    lm_gguf_put_array(writer, "texts", LM_GGUF_TEXT, 2);
    lm_gguf_item_text(writer, "x", 1);
    assert_fails(lm_gguf_begin(writer, NULL, 0, &error), &error, LOAM_EUSAGE, "waits for 1");
    lm_gguf_abandon(writer);
    assert_ok(lm_gguf_create(path, &writer, &error), &error);
    lm_gguf_put_array(writer, "texts", LM_GGUF_TEXT, 1);
    lm_gguf_item_data(writer, "xxxx", 4);
    lm_gguf_put_u32(writer, "u", 1);
    assert_fails(lm_gguf_begin(writer, NULL, 0, &error), &error, LOAM_EUSAGE, "array of text");
    lm_gguf_abandon(writer);
    assert_ok(lm_gguf_create(path, &writer, &error), &error);
    assert_ok(lm_gguf_begin(writer, (struct lm_tensor[]){{.name = "a", .dtype = LM_F32, .rank = 1, .shape = shape}}, 1,
                            &error),
              &error);
    assert_fails(lm_gguf_finish(writer, &error), &error, LOAM_EUSAGE, "0 bytes put", "\"a\"");
    assert_false(lm_file_exists(path));
}

/* A file made piece by piece. */
struct maker {
    unsigned char bytes[4096];
    size_t length;
};

static void add(struct maker *maker, const void *data, size_t length)
{
    assert_true(maker->length + length <= sizeof maker->bytes);
    memcpy(maker->bytes + maker->length, data, length);
    maker->length += length;
}

static void add_number(struct maker *maker, uint64_t value, size_t width)
{
    add(maker, &value, width);
}

static void add_text(struct maker *maker, const char *text)
{
    add_number(maker, strlen(text), 8);
    add(maker, text, strlen(text));
}

static struct maker head(uint32_t version, uint64_t tensors, uint64_t pairs)
{
    struct maker maker = {.length = 0};
    add(&maker, "GGUF", 4);
    add_number(&maker, version, 4);
    add_number(&maker, tensors, 8);
    add_number(&maker, pairs, 8);
    return maker;
}

/* One tensor's entry; `dimensions` 0 for none. */
static void add_tensor(struct maker *maker, const char *name, uint32_t rank, uint64_t size, uint32_t type,
                       uint64_t offset)
{
    add_text(maker, name);
    add_number(maker, rank, 4);
    for (uint32_t i = 0; i < rank && i < 8; i++)
        add_number(maker, i ? 1 : size, 8);
    add_number(maker, type, 4);
    add_number(maker, offset, 8);
}

static void add_zeros(struct maker *maker, size_t count)
{
    while (maker->length % 32)
        add_number(maker, 0, 1);
    while (count--)
        add_number(maker, 0, 1);
}

static void refuse(const struct maker *maker, int wanted, const char *word)
{
    struct lm_gguf *file;
    /* Exactly as long as the file, so that the address sanitizer sees a byte too many. */
    unsigned char *bytes = lm_alloc(maker->length, 1, &error);
    memcpy(bytes, maker->bytes, maker->length);
    assert_fails(lm_gguf_read(bytes, maker->length, "hostile", &file, &error), &error, wanted, "hostile", word);
    lm_free(bytes);
}

static void hostile_heads(void **state)
{
    (void)state;
    struct maker maker = {.length = 0};
    refuse(&maker, LOAM_EFORMAT, "GGUF");
    add(&maker, "GGML", 4);
    refuse(&maker, LOAM_EFORMAT, "GGUF");
    maker = head(1, 0, 0);
    refuse(&maker, LOAM_EUNSUPPORTED, "version 1");
    maker = head(3u << 24, 0, 0);
    refuse(&maker, LOAM_EUNSUPPORTED, "big-endian");
    maker = head(3, UINT64_MAX, 0);
    refuse(&maker, LOAM_EFORMAT, "announced");
    maker = head(3, 0, UINT64_MAX / 14);
    refuse(&maker, LOAM_EFORMAT, "announced");
    maker = head(3, 0, 1);
    add_number(&maker, UINT64_MAX, 8);
    add_zeros(&maker, 32);
    refuse(&maker, LOAM_EFORMAT, "wanted at least");
    maker = head(3, 0, 1);
    add_text(&maker, "key");
    add_number(&maker, 13, 4);
    add_zeros(&maker, 32);
    refuse(&maker, LOAM_EFORMAT, "found 13");
    maker = head(3, 0, 1);
    add_text(&maker, "truth");
    add_number(&maker, LM_GGUF_BOOL, 4);
    add_number(&maker, 2, 1);
    refuse(&maker, LOAM_EFORMAT, "truth");
    maker = head(3, 0, 2);
    for (int i = 0; i < 2; i++) {
        add_text(&maker, "twice");
        add_number(&maker, LM_GGUF_U8, 4);
        add_number(&maker, 2, 1);
    }
    refuse(&maker, LOAM_EFORMAT, "twice");
}

static void hostile_arrays(void **state)
{
    (void)state;
    static const uint32_t types[] = {LM_GGUF_U8, LM_GGUF_F64, LM_GGUF_TEXT, LM_GGUF_ARRAY};
    for (int i = 0; i < 4; i++) {
        struct maker maker = head(3, 0, 1);
        add_text(&maker, "list");
        add_number(&maker, LM_GGUF_ARRAY, 4);
        add_number(&maker, types[i], 4);
        add_number(&maker, UINT64_MAX / 8 + 2, 8); /* times 8 it wraps to a small number */
        add_zeros(&maker, 64);
        refuse(&maker, LOAM_EFORMAT, "wanted at least");
    }
    struct maker maker = head(3, 0, 1);
    add_text(&maker, "deep");
    add_number(&maker, LM_GGUF_ARRAY, 4);
    for (int i = 0; i < 100; i++) {
        add_number(&maker, LM_GGUF_ARRAY, 4);
        add_number(&maker, 1, 8);
    }
    refuse(&maker, LOAM_EFORMAT, "deep");
}

static void hostile_tensors(void **state)
{
    (void)state;
    static const struct {
        uint32_t rank;
        uint64_t size;
        uint32_t type;
        uint64_t offset;
        int code;
        const char *word;
    } cases[] = {
        {5, 1, 0, 0, LOAM_EFORMAT, "dimensions"},
        {UINT32_MAX, 1, 0, 0, LOAM_EFORMAT, "dimensions"},
        {1, UINT64_MAX, 0, 0, LOAM_EFORMAT, "weight"},
        {1, UINT64_C(1) << 62, 0, 0, LOAM_EFORMAT, "weight"},
        {1, 17, 0, 0, LOAM_EFORMAT, "68 bytes"},
        {1, 8, 0, 4, LOAM_EFORMAT, "multiple of 32"},
        {1, 8, 0, 64, LOAM_EFORMAT, "within the 64"},
        {1, 8, 0, UINT64_MAX - 31, LOAM_EFORMAT, "within the 64"},
        {1, 33, 8, 0, LOAM_EFORMAT, "multiple of 32, the block of Q8_0"},
        {1, 8, 4, 0, LOAM_EUNSUPPORTED, "element type 4"},
        {1, 256, 10, 0, LOAM_EUNSUPPORTED, "Q2_K"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct maker maker = head(3, 1, 0);
        add_tensor(&maker, "weight", cases[i].rank, cases[i].size, cases[i].type, cases[i].offset);
        add_zeros(&maker, 64);
        refuse(&maker, cases[i].code, cases[i].word);
    }
    struct maker maker = head(3, 2, 0);
    add_tensor(&maker, "one", 1, 16, 0, 0);
    add_tensor(&maker, "two", 1, 8, 0, 32);
    add_zeros(&maker, 64);
    refuse(&maker, LOAM_EFORMAT, "within those of tensor \"one\"");
    maker = head(3, 2, 0);
    add_tensor(&maker, "same", 1, 8, 0, 0);
    add_tensor(&maker, "same", 1, 8, 0, 32);
    add_zeros(&maker, 64);
    refuse(&maker, LOAM_EFORMAT, "twice");
    static const uint64_t alignments[] = {0, 1, 4, 24, 0x80000001};
    for (size_t i = 0; i < 5; i++) {
        maker = head(3, 1, 1);
        add_text(&maker, "general.alignment");
        add_number(&maker, LM_GGUF_U32, 4);
        add_number(&maker, alignments[i], 4);
        add_tensor(&maker, "weight", 1, 8, 0, 0);
        add_zeros(&maker, 64);
        refuse(&maker, LOAM_EFORMAT, "general.alignment");
    }
}

/* The golden file cut at every length up to where its data ends is refused, at each of them without reading past it. */
static void cut_anywhere(void **state)
{
    (void)state;
    struct lm_bytes whole = {0};
    struct lm_gguf *file;
    assert_ok(lm_file_read(GOLDEN "types.gguf", 0, &whole, &error), &error);
    for (size_t length = 0; length + 32 < whole.length; length += length < 2200 ? 1 : 97) {
        unsigned char *bytes = lm_alloc(length, 1, &error);
        memcpy(bytes, whole.data, length);
        assert_fails(lm_gguf_read(bytes, length, "cut", &file, &error), &error, LOAM_EFORMAT, "cut");
        lm_free(bytes);
    }
    lm_bytes_free(&whole);
}

static void out_of_memory(void **state)
{
    (void)state;
    struct lm_gguf *file;
    int64_t n = 1;
    for (int code = LOAM_ENOMEM; code; n++) {
        lm_memory_fail_after(n);
        code = lm_gguf_open(GOLDEN "types.gguf", &file, &error);
        lm_memory_fail_after(-1);
        if (code)
            assert_fails(code, &error, LOAM_ENOMEM, "memory");
    }
    assert_true(n > 20);
    const char *path = test_path(test_folder(), "oom.gguf");
    n = 1;
    for (int code = LOAM_ENOMEM; code; n++) {
        lm_memory_fail_after(n);
        code = copy(file, path);
        lm_memory_fail_after(-1);
        if (code) {
            struct lm_gguf *written;
            assert_fails(code, &error, LOAM_ENOMEM, "memory");
            if (lm_file_exists(path)) { /* the last step, making the rename last, may fail: the file is whole then */
                assert_ok(lm_gguf_open(path, &written, &error), &error);
                lm_gguf_close(written);
                remove(path);
            }
        }
    }
    assert_true(n > 10);
    lm_gguf_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type),      cmocka_unit_test(quantizing),     cmocka_unit_test(values),
        cmocka_unit_test(written_as_read), cmocka_unit_test(writer_kinds),   cmocka_unit_test(writer_refuses),
        cmocka_unit_test(hostile_heads),   cmocka_unit_test(hostile_arrays), cmocka_unit_test(hostile_tensors),
        cmocka_unit_test(cut_anywhere),    cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
