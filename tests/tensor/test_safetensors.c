/* The safetensors reader against the reference library's cases and against files made by hand to mislead it. */
#include "support/support.h"
#include "tensor/tensor.h"

#include <sys/stat.h>
#include <unistd.h>

static loam_error error;

/* A file's bytes: header size, header, data. */
static size_t make(char *out, const char *header, uint64_t claimed, const void *data, size_t data_length)
{
    size_t length = strlen(header);
    memcpy(out, &claimed, 8);
    memcpy(out + 8, header, length);
    if (data_length)
        memcpy(out + 8 + length, data, data_length);
    return 8 + length + data_length;
}

static int read_header(const char *header, size_t zeros, struct lm_tensors **tensors)
{
    static const char data[256];
    static char file[1 << 16];
    return lm_tensors_read(file, make(file, header, strlen(header), data, zeros), "made", tensors, &error);
}

static void check_case(const struct lm_document *document, const struct lm_value *item, const char *folder)
{
    const char *id, *dtype, *hex;
    char path[512];
    assert_ok(lm_value_string(document, lm_value_find(item, "id"), &id, &error), &error);
    bool accept = lm_value_is(lm_value_find(item, "verdict"), "accept");
    snprintf(path, sizeof path, "%s/%s/%s.safetensors", folder, accept ? "accept" : "reject", id);
    struct lm_tensors *tensors;
    memset(&error, 0x5a, sizeof error);
    int code = lm_tensors_open(path, &tensors, &error);
    if (!accept) {
        assert_fails(code, &error, LOAM_EFORMAT, path);
        return;
    }
    assert_ok(code, &error);
    const struct lm_value *wanted = lm_value_find(item, "tensors");
    assert_int_equal(lm_tensors_count(tensors), wanted->length);
    for (size_t i = 0; i < wanted->length; i++) {
        const struct lm_tensor *tensor = lm_tensors_find(tensors, wanted->keys[i].text);
        assert_non_null(tensor);
        const struct lm_value *facts = wanted->items[i].items;
        assert_ok(lm_value_string(document, &facts[0], &dtype, &error), &error);
        assert_string_equal(lm_dtype_name(tensor->dtype), dtype);
        assert_int_equal(tensor->rank, facts[1].length);
        for (int j = 0; j < tensor->rank; j++) {
            int64_t size;
            assert_ok(lm_value_int(document, &facts[1].items[j], 0, INT64_MAX, &size, &error), &error);
            assert_int_equal(tensor->shape[j], size);
        }
        assert_ok(lm_value_string(document, &facts[2], &hex, &error), &error);
        assert_int_equal(tensor->bytes * 2, strlen(hex));
        for (size_t j = 0; j < tensor->bytes; j++) {
            char digits[3];
            snprintf(digits, sizeof digits, "%02x", ((const unsigned char *)tensor->data)[j]);
            assert_memory_equal(digits, hex + 2 * j, 2);
        }
    }
    lm_tensors_close(tensors);
}

static void reference_cases(void **state)
{
    (void)state;
    struct lm_document *document;
    const char *folder = test_shared("safetensors");
    assert_ok(lm_json_read(test_shared("safetensors/cases.json"), &document, &error), &error);
    const struct lm_value *cases = lm_value_find(lm_document_root(document), "cases");
    assert_true(cases && cases->length > 20);
    for (size_t i = 0; i < cases->length; i++)
        check_case(document, &cases->items[i], folder);
    lm_document_free(document);
}

/* Headers that break a rule, and a word the message must have. 8 bytes of data follow each. */
static const struct {
    const char *header, *word;
} hostile[] = {
    {"", "wanted '{'"},
    {"[]", "wanted '{'"},
    {"{}{}", "nothing but blanks"},
    {"{} x", "nothing but blanks"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},}", "a tensor's name"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}", "',' or '}'"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_"
     "offsets\":[8,8]}}",
     "twice"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "repeated"},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "no field dtype"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", "no field shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", "no field data_offsets"},
    {"{\"a\":{\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "f32"},
    {"{\"a\":{\"dtype\":\"float32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "float32"},
    {"{\"a\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}}", "element type"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", "whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2e0],\"data_offsets\":[0,8]}}", "whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[02],\"data_offsets\":[0,8]}}", "whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[+2],\"data_offsets\":[0,8]}}", "whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", "whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", "the shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2,],\"data_offsets\":[0,8]}}", "whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,8]}}", "2^64"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,18446744073709551615],\"data_offsets\":[0,8]}}", "2^63"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "second offset"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", "two offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.0]}}", "whole number"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", "data_offsets"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "behind the header"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}", "behind the header"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_"
     "offsets\":[5,8]}}",
     "\"b\""},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[5],\"data_"
     "offsets\":[3,8]}}",
     "\"b\""},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,18446744073709551615]}}", "data_offsets"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,8]}}", "whole bytes"},
    {"{\"a\":{\"dtype\":\"U64\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", "2^64"},
    {"{\"a\":{\"dtype\":\"U64\",\"shape\":[4294967296,1073741824],\"data_offsets\":[0,8]}}", "bits"},
    {"{\"__metadata__\":{\"a\":1}}", "metadata"},
    {"{\"__metadata__\":{\"a\":null}}", "metadata"},
    {"{\"__metadata__\":[]}", "metadata"},
    {"{\"__metadata__\":{\"a\":\"b\"},\"__metadata__\":{}}", "__metadata__"},
    {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
     "twice"},
    {"{\"a\\u0000\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "0 byte"},
    {"{\"a\\ud800\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "surrogates"},
    {"{\"a\\udc00\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "surrogates"},
    {"{\"a\\ud800\\u0041\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "surrogates"},
    {"{\"a\\x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "escape"},
    {"{\"a\\u12g4\":{}}", "escape"},
    {"{\"a\n\":{}}", "closing quote"},
    {"{\"a", "closing quote"},
    {"{\"a\\", "escape"},
    {"{\"a\"", "':'"},
    {"{\"a\":", "fields"},
    {"{\"a\":{\"x\":tru}}", "a value"},
    {"{\"a\":{\"x\":-}}", "a value"},
    {"{\"a\":{\"x\":01}}", "a value"},
    {"{\"a\":{\"x\":1.}}", "a value"},
    {"{\"a\":{\"x\":[1,2}}}", "',' or ']'"},
    {"{\"a\":{\"x\":NaN}}", "a value"},
    {"{\"\xc3\x28\":{}}", "UTF-8"},
};

static void hostile_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct lm_tensors *tensors;
        memset(&error, 0x5a, sizeof error);
        int code = read_header(hostile[i].header, 8, &tensors);
        if (code != LOAM_EFORMAT)
            fail_msg("%s: gave %s", hostile[i].header, loam_status_name(code));
        if (!strstr(error.message, "made") || !strstr(error.message, hostile[i].word))
            fail_msg("%s: message lacks \"%s\": %s", hostile[i].header, hostile[i].word, error.message);
    }
}

static void odd_but_right(void **state)
{
    (void)state;
    struct lm_tensors *tensors;
    /* Fields in another order, unknown ones of every kind, escapes, entries not in the order of the data, empty
     * tensors. */
    assert_ok(
        read_header(" { \"b\\u00e9\\ud83d\\ude00\\n\" : {\"x\":[1,{\"y\":[-1.5e+3,true,false,null,\"\\\"]}\"]},[]],"
                    "\"data_offsets\":[4,8],\"shape\":[],\"dtype\":\"I32\"},"
                    "\"__metadata__\":{\"zeta\":\"2\",\"alpha\":\"1\"},"
                    "\"a\":{\"dtype\":\"BF16\",\"shape\":[1,2,1],\"data_offsets\":[0,4]},"
                    "\"\":{\"dtype\":\"F64\",\"shape\":[7,0],\"data_offsets\":[4,4]}}\n\t",
                    8, &tensors),
        &error);
    assert_int_equal(lm_tensors_count(tensors), 3);
    assert_string_equal(lm_tensors_at(tensors, 0)->name, "a");
    assert_string_equal(lm_tensors_at(tensors, 1)->name, "");
    assert_string_equal(lm_tensors_at(tensors, 2)->name, "b\xc3\xa9\xf0\x9f\x98\x80\n");
    assert_null(lm_tensors_at(tensors, 3));
    assert_int_equal(lm_tensors_at(tensors, 0)->count, 2);
    assert_int_equal(lm_tensors_find(tensors, "")->count, 0);
    assert_int_equal(lm_tensors_at(tensors, 2)->count, 1);
    assert_null(lm_tensors_find(tensors, "c"));
    assert_string_equal(lm_tensors_metadata(tensors, "alpha"), "1");
    assert_string_equal(lm_tensors_metadata(tensors, "zeta"), "2");
    assert_null(lm_tensors_metadata(tensors, "beta"));
    lm_tensors_close(tensors);
    assert_ok(read_header("{\"__metadata__\":null}", 0, &tensors), &error);
    assert_int_equal(lm_tensors_count(tensors), 0);
    assert_null(lm_tensors_metadata(tensors, "format"));
    lm_tensors_close(tensors);
}

/* Headers near the size limit: refused quickly, with memory in proportion. */
static void nested_and_large(void **state)
{
    (void)state;
    size_t length = 20000000;
    char *file = malloc(8 + length);
    assert_non_null(file);
    struct lm_tensors *tensors;
    const char *const starts[] = {"{\"a\":{\"x\":", "{\"a\":{\"dtype\":\"F32\",\"shape\":["};
    const char fills[] = {'[', '1'};
    const char *const words[] = {"128 levels", "2^64"};
    for (int i = 0; i < 2; i++) {
        memcpy(file, &(uint64_t){length}, 8);
        memset(file + 8, fills[i], length);
        memcpy(file + 8, starts[i], strlen(starts[i]));
        assert_fails(lm_tensors_read(file, 8 + length, "large", &tensors, &error), &error, LOAM_EFORMAT, "large",
                     words[i]);
    }
    /* Ten million dimensions of 1: legal so far, then cut off. The peak may not grow by more than 16 bytes for each
     * byte of header. */
    for (size_t i = 8 + strlen(starts[1]); i + 1 < 8 + length; i += 2)
        memcpy(file + i, "1,", 2);
    int64_t before = lm_memory_peak();
    assert_fails(lm_tensors_read(file, 8 + length, "large", &tensors, &error), &error, LOAM_EFORMAT, "large");
    assert_true(lm_memory_peak() - before < 16 * (int64_t)length);
    free(file);
    char over[8 + 1];
    memcpy(over, &(uint64_t){100000001}, 8);
    assert_fails(lm_tensors_read(over, sizeof over, "large", &tensors, &error), &error, LOAM_EFORMAT, "100000001");
    memset(over, 0xff, sizeof over);
    assert_fails(lm_tensors_read(over, sizeof over, "large", &tensors, &error), &error, LOAM_EFORMAT,
                 "18446744073709551615");
}

/* Every prefix of a good file is refused, and so is every file with one byte of its header lost. */
static void cut_anywhere(void **state)
{
    (void)state;
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"w\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}";
    char file[256];
    size_t length = make(file, header, strlen(header), "12345678", 8);
    struct lm_tensors *tensors;
    assert_ok(lm_tensors_read(file, length, "whole", &tensors, &error), &error);
    lm_tensors_close(tensors);
    for (size_t i = 0; i < length; i++) {
        char *exact = malloc(i ? i : 1); /* so that the address sanitizer sees a read past the end */
        memcpy(exact, file, i);
        assert_fails(lm_tensors_read(exact, i, "cut", &tensors, &error), &error, LOAM_EFORMAT, "cut");
        free(exact);
    }
}

static void out_of_memory(void **state)
{
    (void)state;
    struct lm_tensors *tensors = NULL;
    int failures = 0, code = LOAM_ENOMEM;
    for (; code == LOAM_ENOMEM; failures++) {
        tensors = (void *)&error;
        lm_memory_fail_after(failures + 1);
        code = read_header(
            "{\"__metadata__\":{\"a\":\"b\",\"c\":\"d\"},\"w\":{\"q\":\"\",\"dtype\":\"U8\",\"shape\":[2,4],"
            "\"data_offsets\":[0,8]}}",
            8, &tensors);
        lm_memory_fail_after(-1);
        if (code == LOAM_ENOMEM)
            assert_ptr_equal(tensors, &error); /* nothing is written on failure */
    }
    assert_ok(code, &error);
    assert_true(failures > 5);
    lm_tensors_close(tensors);
}

static void missing_and_forbidden(void **state)
{
    (void)state;
    struct lm_tensors *tensors;
    const char *folder = test_folder(), *path = test_path(folder, "none.safetensors");
    assert_fails(lm_tensors_open(path, &tensors, &error), &error, LOAM_ENOTFOUND, path);
    assert_fails(lm_tensors_open(folder, &tensors, &error), &error, LOAM_ENOTFOUND, folder, "model.safetensors");
    assert_fails(lm_tensors_open("/dev/null", &tensors, &error), &error, LOAM_EIO, "/dev/null");
    assert_ok(lm_file_replace(path, "", 0, &error), &error);
    assert_fails(lm_tensors_open(path, &tensors, &error), &error, LOAM_EFORMAT, path);
    if (geteuid() == 0)
        return; /* root may read everything */
    assert_int_equal(chmod(path, 0), 0);
    assert_fails(lm_tensors_open(path, &tensors, &error), &error, LOAM_EIO, path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_cases),       cmocka_unit_test(hostile_headers), cmocka_unit_test(odd_but_right),
        cmocka_unit_test(nested_and_large),      cmocka_unit_test(cut_anywhere),    cmocka_unit_test(out_of_memory),
        cmocka_unit_test(missing_and_forbidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
