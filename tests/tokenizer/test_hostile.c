/* Files that break their format: an error with file and place, never a crash, nothing leaked. */
#include "support/support.h"
#include "tokenizer/internal.h"

#define BYTES                                                                                                          \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
#define MODEL(vocabulary, merges) "\"model\":{\"type\":\"BPE\",\"vocab\":{" vocabulary "},\"merges\":[" merges "]}"
#define ABC "\"a\":0,\"b\":1,\"ab\":2"

static const struct {
    const char *json, *words[3];
    int code;
} CASES[] = {
    {"", {"tokenizer.json"}, LOAM_EFORMAT},
    {"[1,2]", {"model"}, LOAM_EFORMAT},
    {"{\"model\":3}", {"model"}, LOAM_EFORMAT},
    {"{\"model\":{\"type\":\"Magic\"}}", {"Magic", "BPE"}, LOAM_EFORMAT},
    {"{" MODEL("\"a\":0,\"b\":2", "") "}", {"hole", "1"}, LOAM_EFORMAT},
    {"{" MODEL("\"a\":0,\"b\":0", "") "}", {"id 0", "twice"}, LOAM_EFORMAT},
    {"{" MODEL("\"a\":0,\"a\":1", "") "}", {"a"}, LOAM_EFORMAT},
    {"{" MODEL("\"a\":-1", "") "}", {"-1"}, LOAM_EFORMAT},
    {"{" MODEL("\"a\":99999999999", "") "}", {"99999999999"}, LOAM_EFORMAT},
    {"{" MODEL("\"a\":0.5", "") "}", {"0.5"}, LOAM_EFORMAT},
    {"{" MODEL("\"a\":\"x\"", "") "}", {"vocab"}, LOAM_EFORMAT},
    {"{" MODEL("", "") "}", {"vocab"}, LOAM_EFORMAT},
    {"{" MODEL(ABC, "\"a c\"") "}", {"unknown token", "'c'", "merges"}, LOAM_EFORMAT},
    {"{" MODEL(ABC, "\"b a\"") "}", {"unknown token", "'ba'"}, LOAM_EFORMAT},
    {"{" MODEL(ABC, "\"ab\"") "}", {"two tokens"}, LOAM_EFORMAT},
    {"{" MODEL(ABC, "\"a b c\"") "}", {"two tokens"}, LOAM_EFORMAT},
    {"{" MODEL(ABC, "[\"a\"]") "}", {"two tokens"}, LOAM_EFORMAT},
    {"{" MODEL(ABC, "17") "}", {"two tokens"}, LOAM_EFORMAT},
    {"{\"added_tokens\":[{\"id\":1000000,\"content\":\"<x>\"}]," MODEL(ABC, "") "}", {"hole"}, LOAM_EFORMAT},
    {"{\"added_tokens\":[{\"id\":1,\"content\":\"<x>\"}]," MODEL(ABC, "") "}", {"id 1", "twice"}, LOAM_EFORMAT},
    {"{\"added_tokens\":[{\"id\":1,\"content\":\"a\"}]," MODEL(ABC, "") "}", {"'a'", "id 1", "0"}, LOAM_EFORMAT},
    {"{\"added_tokens\":[{\"id\":3,\"content\":\"\"}]," MODEL(ABC, "") "}", {"0 bytes"}, LOAM_EFORMAT},
    {"{\"added_tokens\":[{\"id\":3,\"content\":\"x\"},{\"id\":4,\"content\":\"x\"}]," MODEL(ABC, "") "}",
     {"added twice"},
     LOAM_EFORMAT},
    {"{\"added_tokens\":{}," MODEL(ABC, "") "}", {"list"}, LOAM_EFORMAT},
    {"{\"normalizer\":{\"type\":\"Magic\"}," MODEL(ABC, "") "}", {"normalizer", "Magic"}, LOAM_EFORMAT},
    {"{\"normalizer\":{\"type\":\"Sequence\"}," MODEL(ABC, "") "}", {"normalizers"}, LOAM_EFORMAT},
    {"{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"\"}," MODEL(ABC, "") "}",
     {"regular expression"},
     LOAM_EFORMAT},
    {"{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}," MODEL(ABC, "") "}",
     {"empty"},
     LOAM_EFORMAT},
    {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[\"},\"behavior\":\"Isolated\"}," MODEL(ABC,
                                                                                                              "") "}",
     {"regular expression"},
     LOAM_EFORMAT},
    {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"x\"},\"behavior\":\"Odd\"}," MODEL(ABC, "") "}",
     {"behavior"},
     LOAM_EFORMAT},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}"
     "},{\"Sequence\":{\"id\":\"A\"}}],"
     "\"special_tokens\":{\"<s>\":{\"ids\":[77]}}}," MODEL(ABC, "") "}",
     {"77"},
     LOAM_EFORMAT},
    {"{\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"special\":true}],"    /* an id between the vocabulary and what was added */
     "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"<s>\",4],\"sep\":[\"x\",3]}," MODEL(ABC, "") "}",
     {"id 3", "no such token"},
     LOAM_EFORMAT},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}"
     "},{\"Sequence\":{\"id\":\"A\"}}],"
     "\"special_tokens\":{}}," MODEL(ABC, "") "}",
     {"<s>"},
     LOAM_EFORMAT},
    {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}},{\"Sequence\":{"
     "\"id\":\"A\"}}]}," MODEL(ABC, "") "}",
     {"twice"},
     LOAM_EFORMAT},
    {"{\"decoder\":{\"type\":\"Strip\",\"content\":\"\",\"start\":1,\"stop\":0}," MODEL(ABC, "") "}",
     {"Strip"},
     LOAM_EFORMAT},
    {"{\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"vocab\":{" ABC "},\"merges\":[]}}",
     {"<unk>"},
     LOAM_EFORMAT},
    {"{" BYTES MODEL(ABC, "\"a \xE4\xB8\x96\""), {"tokenizer.json"}, LOAM_EFORMAT},
};

static void put(const char *path, const char *text, size_t length)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void cases(void **state)
{
    (void)state;
    const char *path = test_path(test_folder(), "tokenizer.json");
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        loam_error error;
        memset(&error, 0x55, sizeof error);
        struct lm_tokenizer *tokenizer = NULL;
        put(path, CASES[i].json, strlen(CASES[i].json));
        int code = lm_tokenizer_load(path, &tokenizer, &error);
        if (code == LOAM_OK)
            fail_msg("case %zu was taken: %s", i, CASES[i].json);
        assert_null(tokenizer);
        test_expect_failure(code, &error, CASES[i].code,
                            (const char *const[]){"tokenizer.json", CASES[i].words[0], CASES[i].words[1],
                                                  CASES[i].words[1] ? CASES[i].words[2] : NULL, NULL},
                            CASES[i].json);
    }
}

static void missing(void **state)
{
    (void)state;
    struct lm_tokenizer *tokenizer = NULL;
    loam_error error;
    assert_fails(lm_tokenizer_load("no/such/place", &tokenizer, &error), &error, LOAM_ENOTFOUND, "no/such/place");
    const char *folder = test_folder();
    assert_fails(lm_tokenizer_load(folder, &tokenizer, &error), &error, LOAM_ENOTFOUND, "tokenizer.json");
    assert_null(tokenizer);
}

#define WHOLE                                                                                                          \
    "{\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"special\":true},{\"id\":5,\"content\":\"x "                    \
    "y\",\"lstrip\":true}],"                                                                                           \
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Replace\",\"pattern\":"     \
    "{\"Regex\":\"q+\"},\"content\":\"a\"}]},"                                                                         \
    "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"          \
    "\"\\\\d\"},"                                                                                                      \
    "\"behavior\":\"Removed\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":true}" \
    "]},"                                                                                                              \
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}" \
    "},"                                                                                                               \
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[4],\"tokens\":" \
    "[\"<s>\"]}}},"                                                                                                    \
    "\"decoder\":{\"type\":\"ByteLevel\"},"                                                                            \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"\\u0120\":3},\"merges\":[\"a b\"]}}"

static int whole_life(const char *path, const char *folder, loam_error *error)
{
    struct lm_tokenizer *tokenizer = NULL;
    struct lm_ids ids = {0}, starts = {0};
    struct lm_bytes text = {0};
    int code = lm_tokenizer_load(path, &tokenizer, error);
    if (code == LOAM_OK)
        code = lm_tokenizer_encode(tokenizer, "ab qqb7ab<s>e\xCC\x81 x y", 19,
                                   LM_ENCODE_SPECIAL | LM_ENCODE_ADD_SPECIAL, &ids, &starts, error);
    if (code == LOAM_OK)
        code = lm_tokenizer_decode(tokenizer, ids.data, ids.length, false, &text, error);
    int32_t id;
    if (code == LOAM_OK)
        code = lm_tokenizer_add_token(tokenizer, "<new>", 5, true, &id, error);
    if (code == LOAM_OK)
        code = lm_tokenizer_save(tokenizer, folder, error);
    lm_ids_free(&ids);
    lm_ids_free(&starts);
    lm_bytes_free(&text);
    lm_tokenizer_free(tokenizer);
    return code;
}

/* The n-th allocation fails, for every n: an error, nothing leaked (the address sanitizer build looks). */
static void out_of_memory(void **state)
{
    (void)state;
    const char *folder = test_folder(), *path = test_path(folder, "whole.json");
    loam_error error;
    put(path, WHOLE, strlen(WHOLE));
    assert_ok(whole_life(path, folder, &error), &error);
    for (int64_t n = 1;; n++) {
        lm_memory_fail_after(n);
        int code = whole_life(path, folder, &error);
        lm_memory_fail_after(-1);
        if (code == LOAM_OK) {
            assert_true(n > 40);
            break;
        }
        if (code != LOAM_ENOMEM)
            fail_msg("allocation %lld: %s", (long long)n, error.message);
    }
}

/* Every prefix of a good file is an error. */
static void truncated(void **state)
{
    (void)state;
    loam_error error;
    for (size_t length = 0; length < strlen(WHOLE); length++) {
        struct lm_tokenizer *tokenizer = NULL;
        assert_int_equal(lm_tokenizer_from_json(WHOLE, length, "cut", &tokenizer, &error), LOAM_EFORMAT);
        assert_null(tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases),
        cmocka_unit_test(missing),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(truncated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
