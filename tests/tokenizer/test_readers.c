/* Vocabulary files one by one: small good ones give the ids that can be worked out by hand, broken ones an error that
 * names file and place; what stands beside them in a directory is heeded. */
#include "support/support.h"
#include "tokenizer/internal.h"
#include "tokenizer/readers.h"

static loam_error error;

static const char *put(const char *name, const char *data, size_t length)
{
    const char *path = test_path(test_folder(), name);
    assert_ok(lm_file_replace(path, data, length, &error), &error);
    return path;
}

static void beside(const char *path, const char *name, const char *text)
{
    struct lm_bytes other = {0};
    const char *slash = strrchr(path, '/');
    assert_ok(lm_bytes_append(&other, path, (size_t)(slash + 1 - path), &error), &error);
    assert_ok(lm_bytes_append(&other, name, strlen(name), &error), &error);
    assert_ok(lm_file_replace(other.data, text, strlen(text), &error), &error);
    lm_bytes_free(&other);
}

static const char *folder_of(const char *path)
{
    static char folder[512];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    return folder;
}

static void expect(const char *path, const char *family, const char *text, unsigned flags, const char *wanted)
{
    struct lm_tokenizer *tokenizer = NULL;
    struct lm_ids ids = {0};
    struct lm_bytes got = {0};
    assert_ok(lm_tokenizer_load_as(path, family, &tokenizer, &error), &error);
    assert_ok(lm_tokenizer_encode(tokenizer, text, strlen(text), flags, &ids, NULL, &error), &error);
    for (size_t i = 0; i < ids.length; i++)
        assert_ok(lm_bytes_format(&got, &error, i ? " %d" : "%d", (int)ids.data[i]), &error);
    assert_string_equal(got.data ? got.data : "", wanted);
    lm_ids_free(&ids);
    lm_bytes_free(&got);
    lm_tokenizer_free(tokenizer);
}

static void refused(const char *name, const char *data, size_t length, const char *family, int code, const char *one,
                    const char *two)
{
    struct lm_tokenizer *tokenizer = NULL;
    const char *path = put(name, data, length);
    memset(&error, 0x55, sizeof error);
    int got = lm_tokenizer_load_as(path, family, &tokenizer, &error);
    if (got == LOAM_OK)
        fail_msg("%s was taken, wanted an error with '%s'", name, one);
    assert_null(tokenizer);
    test_expect_failure(got, &error, code, (const char *const[]){name, one, two, NULL}, name);
}

/* --- tiktoken's ranks --- */

static void ranks(void **state)
{
    (void)state;
    const char good[] = "aA== 0\nZQ== 1\naGU= 2\nbA== 3\r\nbGw= 4\naGVsbA== 5\nbw== 6\n";
    const char *path = put("small.tiktoken", good, sizeof good - 1);
    expect(path, "llama3", "hell", 0, "5");
    expect(path, "llama3", "hellhe", 0, "5 2");
    expect(path, "llama3", "<|begin_of_text|>o", LM_ENCODE_SPECIAL, "7 6");
    expect(path, "llama3", "o", LM_ENCODE_ADD_SPECIAL, "7 6");
    expect(folder_of(path), "qwen2", "hello", 0, "5 6");
    refused("a.model", "aA== 0\naGU= 1\naA== 2\n", 21, "llama3", LOAM_EFORMAT, ":3: ", "stands there twice: ids 0 and 2");
    refused("a.model", "aA== 0\nZQ== 0\n", 14, "llama3", LOAM_EFORMAT, ":2: ", "id 0 is given twice");
    refused("a.model", "aA== 0\nZQ== 2\n", 14, "llama3", LOAM_EFORMAT, "no token has rank 1", NULL);
    refused("a.model", "aA== 0\nZ!== 1\n", 14, "llama3", LOAM_EFORMAT, ":2: ", "base64");
    refused("a.model", "aA== 0\nZQ==\n", 12, "llama3", LOAM_EFORMAT, ":2: ", "rank");
    refused("a.model", "aA== 0\nZQ== 99999999\n", 21, "llama3", LOAM_EFORMAT, ":2: ", "99999999");
    refused("a.model", "aA== 0\nZQ== 1\n", 14, NULL, LOAM_EUNSUPPORTED, "2 ranks", "--family");
}

/* --- vocab.json and merges.txt --- */

static void merges(void **state)
{
    (void)state;
    const char vocabulary[] = "{\"h\":0,\"e\":1,\"he\":2,\"\xC4\xA0\":3,\"<|endoftext|>\":4}";
    const char *path = put("vocab.json", vocabulary, sizeof vocabulary - 1);
    struct lm_tokenizer *tokenizer = NULL;
    assert_fails(lm_tokenizer_load(path, &tokenizer, &error), &error, LOAM_ENOTFOUND, "vocab.json", "merges.txt");
    beside(path, "merges.txt", "#version: 0.2\nh e\n");
    expect(path, NULL, "he he", 0, "2 3 2");
    expect(folder_of(path), NULL, "he<|endoftext|>", LM_ENCODE_SPECIAL, "2 4");
    beside(path, "tokenizer_config.json", "{\"added_tokens_decoder\":{\"5\":{\"content\":\"[tool]\",\"special\":false},\"6\":"
                                          "{\"content\":\"<bos>\",\"special\":true}},\"bos_token\":\"<bos>\",\"add_bos_token\":true}");
    expect(folder_of(path), NULL, "he[tool]", LM_ENCODE_ADD_SPECIAL, "6 2 5");
    static const struct {
        const char *vocabulary, *merges, *words[4];
    } cases[] = {
        {"{\"h\":0,\"e\":1,\"he\":2}", "#version\nh e\nh x\n", {"merges.txt:3: ", "unknown token", "'x'"}},
        {"{\"h\":0,\"e\":1}", "h e\n", {"merges.txt:1: ", "'he'", NULL}},
        {"{\"h\":0,\"e\":1}", "h e e\n", {"merges.txt:1: ", "two tokens", NULL}},
        {"{\"h\":0,\"e\":0}", "", {"vocab.json:1:", "id 0 is given twice", NULL}},
        {"{\"h\":0,\"e\":2}", "", {"vocab.json", "hole", NULL}},
        {"{\"h\":0,\"e\":\"x\"}", "", {"vocab.json:1:", "e", NULL}},
        {"[]", "", {"vocab.json:1:", "object", NULL}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        path = put("vocab.json", cases[i].vocabulary, strlen(cases[i].vocabulary));
        beside(path, "merges.txt", cases[i].merges);
        int code = lm_tokenizer_load(path, &tokenizer, &error);
        test_expect_failure(code, &error, LOAM_EFORMAT, cases[i].words, cases[i].merges);
    }
}

/* --- SentencePiece --- */

static size_t varint(char *at, uint64_t value)
{
    size_t n = 0;
    for (; value > 127; value >>= 7)
        at[n++] = (char)(value | 128);
    at[n++] = (char)value;
    return n;
}

static void piece(struct lm_bytes *model, const char *text, float score, int type)
{
    char field[300];
    size_t n = 0, length = strlen(text);
    field[n++] = 0x0A;
    n += varint(field + n, length);
    memcpy(field + n, text, length);
    n += length;
    field[n++] = 0x15;
    memcpy(field + n, &score, 4);
    n += 4;
    field[n++] = 0x18;
    field[n++] = (char)type;
    char head[10] = {0x0A};
    assert_ok(lm_bytes_append(model, head, 1 + varint(head + 1, n), &error), &error);
    assert_ok(lm_bytes_append(model, field, n, &error), &error);
}

/* `settings`: fields of the trainer (model_type 3) and of the normalizer, ready made. */
static void pieces(struct lm_bytes *model, const char *trainer, size_t trainer_length, const char *normalizer,
                   size_t normalizer_length)
{
    piece(model, "<unk>", 0, 2);
    piece(model, "<s>", 0, 3);
    piece(model, "</s>", 0, 3);
    piece(model, "<0xC3>", 0, 6);
    piece(model, "<0xA9>", 0, 6);
    piece(model, "<u>", 0, 4);
    piece(model, "\xE2\x96\x81", -1, 1);
    piece(model, "h", -2, 1);
    piece(model, "e", -3, 1);
    piece(model, "he", -2.5f, 1);
    piece(model, "\xE2\x96\x81he", -4.1f, 1);
    char head[2] = {0x12, (char)trainer_length};
    assert_ok(lm_bytes_append(model, head, 2, &error), &error);
    assert_ok(lm_bytes_append(model, trainer, trainer_length, &error), &error);
    head[0] = 0x1A;
    head[1] = (char)normalizer_length;
    assert_ok(lm_bytes_append(model, head, 2, &error), &error);
    assert_ok(lm_bytes_append(model, normalizer, normalizer_length, &error), &error);
}

static void sentencepiece(void **state)
{
    (void)state;
    struct lm_bytes model = {0};
    pieces(&model, "\x18\x02\x98\x02\x01", 5, "\x20\x00", 2); /* BPE with byte fallback, blanks stay */
    const char *path = put("tokenizer.model", model.data, model.length);
    expect(path, NULL, "he", 0, "10");
    expect(path, NULL, "  he", 0, "6 6 10");
    expect(path, NULL, "h\xC3\xA9", LM_ENCODE_ADD_SPECIAL, "1 6 7 3 4");
    expect(path, NULL, "he<u>he<u>", 0, "10 5 9 5"); /* user-defined pieces stay whole, the blank is put in front once */
    expect(path, NULL, "<s>", 0, "6 0");
    expect(path, NULL, "<s>", LM_ENCODE_SPECIAL, "1");
    expect(path, NULL, "x", 0, "6 0");
    beside(path, "tokenizer_config.json", "{\"add_bos_token\":false,\"add_eos_token\":true,\"eos_token\":{\"content\":\"</s>\"}}");
    expect(folder_of(path), NULL, "he", LM_ENCODE_ADD_SPECIAL, "10 2");
    model.length = 0;
    pieces(&model, "\x18\x01", 2, "", 0); /* unigram, blanks taken away */
    path = put("tokenizer.model", model.data, model.length);
    expect(path, NULL, "  he  he ", 0, "6 9 6 9"); /* -1 - 2.5 is more than -4.1 */
    expect(path, NULL, "\xC3\xA9xh", 0, "6 0 7");
    expect(path, NULL, "   ", 0, "");

    for (size_t cut = 1; cut < model.length; cut++) { /* whole or refused, and never a crash */
        struct lm_tokenizer *tokenizer = NULL;
        if (lm_tokenizer_from_sentencepiece(model.data, cut, "cut", &tokenizer, &error) == LOAM_OK)
            lm_tokenizer_free(tokenizer);
        else
            assert_true(error.code == LOAM_EFORMAT && strstr(error.message, "cut"));
    }
    refused("m.model", "\x0A\xFF\xFF\xFF\xFF\x0F\x0A", 7, NULL, LOAM_EFORMAT, "byte 6", "length past the end");
    refused("m.model", "\x0A\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12, NULL, LOAM_EFORMAT, "64 bits", NULL);
    refused("m.model", "\x0A\x03\x0A\x05\x61", 5, NULL, LOAM_EFORMAT, "byte 4", "length past the end");
    refused("m.model", "\x0A\x07\x0A\x01\x61\x1D\x00\x00\x00", 9, NULL, LOAM_EFORMAT, "end within a number", NULL);
    refused("m.model", "\x0A\x08\x0A\x01\x61\x15\x00\x00\xC0\x7F", 10, NULL, LOAM_EFORMAT, "score is no number", NULL);
    refused("m.model", "\x0A\x05\x0A\x01\x61\x18\x09", 7, NULL, LOAM_EFORMAT, "unknown type", NULL);
    model.length = 0;
    pieces(&model, "\x18\x03", 2, "", 0);
    refused("m.model", model.data, model.length, NULL, LOAM_EUNSUPPORTED, "word", "unigram or bpe");
    model.length = 0;
    pieces(&model, "\x18\x02", 2, "", 0);
    piece(&model, "he", -9, 1);
    refused("m.model", model.data, model.length, NULL, LOAM_EFORMAT, "'he' stands there twice", "9 and 11");
    model.length = 0;
    pieces(&model, "\x18\x02", 2, "\x12\x05\xFF\xFF\xFF\x7F\x00", 7);
    refused("m.model", model.data, model.length, NULL, LOAM_EFORMAT, "character map", NULL);
    lm_bytes_free(&model);
}

/* --- llama2.c --- */

static void binary(struct lm_bytes *out, float score, const char *text)
{
    const int32_t length = (int32_t)strlen(text);
    assert_ok(lm_bytes_append(out, &score, 4, &error), &error);
    assert_ok(lm_bytes_append(out, &length, 4, &error), &error);
    assert_ok(lm_bytes_append(out, text, (size_t)length, &error), &error);
}

static void llama2c(void **state)
{
    (void)state;
    struct lm_bytes file = {0};
    const int32_t longest = 6;
    assert_ok(lm_bytes_append(&file, &longest, 4, &error), &error);
    static const char *const texts[] = {"<unk>", "\n<s>\n", "\n</s>\n", "<0x00>", " ", "h", "e", "he", " he"};
    for (int i = 0; i < 9; i++)
        binary(&file, (float)-i, texts[i]);
    const char *path = put("tokenizer.bin", file.data, file.length);
    expect(path, NULL, "he", LM_ENCODE_ADD_SPECIAL, "1 8");
    expect(path, NULL, "h he", 0, "4 5 8");
    refused("tokenizer.bin", file.data, file.length - 2, NULL, LOAM_EFORMAT, "byte 95", "no whole piece");
    refused("rubbish.bin", "\xFE\xED\xFA\xCE rubbish rubbish", 20, NULL, LOAM_EFORMAT, "found no vocabulary", "tokenizer.json");
    lm_bytes_free(&file);
}

/* --- What a hostile tokenizer.json does when it is used --- */

static struct lm_tokenizer *from(const char *json)
{
    struct lm_tokenizer *tokenizer = NULL;
    assert_ok(lm_tokenizer_from_json(json, strlen(json), "t.json", &tokenizer, &error), &error);
    return tokenizer;
}

static void never_ends(void **state)
{
    (void)state;
    struct lm_ids ids = {0};
    struct lm_tokenizer *tokenizer =
        from("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(x+x+)+[yw]\"},\"behavior\":\"Isolated\"},"
             "\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"u\":0},\"unk_token\":\"u\"}}");
    const char text[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxz";
    assert_fails(lm_tokenizer_encode(tokenizer, text, sizeof text - 1, 0, &ids, NULL, &error), &error, LOAM_EUNSUPPORTED,
                 "regular expression");
    assert_int_equal(ids.length, 0);
    lm_tokenizer_free(tokenizer);
#define TEN "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaa\"},"
    tokenizer = from("{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
                     "{\"type\":\"NFC\"}]},\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"u\":0},\"unk_token\":\"u\"}}");
    assert_fails(lm_tokenizer_encode(tokenizer, "aaaa", 4, 0, &ids, NULL, &error), &error, LOAM_EUNSUPPORTED, "Replace");
    lm_tokenizer_free(tokenizer);
    tokenizer = from("{\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"u\":0},"
                     "\"unk_token\":\"<unk>\"}}");
    assert_fails(lm_tokenizer_encode(tokenizer, "u v", 3, 0, &ids, NULL, &error), &error, LOAM_EFORMAT, "'v'", "unknown");
    lm_tokenizer_free(tokenizer);
    const char drops[] = "{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}";
    assert_fails(lm_tokenizer_from_json(drops, sizeof drops - 1, "t.json", &tokenizer, &error), &error, LOAM_EFORMAT,
                 "t.json:1:", "dropout", "0.1");
    lm_ids_free(&ids);
}

/* Bytes that are no UTF-8 are counted, and seen as U+FFFD, where a tokenizer does not take bytes. */
static void not_utf8(void **state)
{
    (void)state;
    struct lm_tokenizer *tokenizer =
        from("{\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},\"decoder\":{\"type\":\"Fuse\"},\"model\":{\"type\":\"WordLevel\","
             "\"vocab\":{\"u\":0,\"a\xEF\xBF\xBD\xEF\xBF\xBD"
             "b\":1,\"c\":2},\"unk_token\":\"u\"}}");
    const char text[] = "a\xE4\xB8\xFF"
                        "b c \xC0";
    struct lm_ids ids = {0}, starts = {0}, ends = {0};
    assert_int_equal(lm_tokenizer_count_broken(tokenizer, text, sizeof text - 1), 3);
    assert_ok(lm_tokenizer_encode_places(tokenizer, text, sizeof text - 1, 0, &ids, &starts, &ends, &error), &error);
    assert_int_equal(ids.length, 3);
    assert_int_equal(ids.data[0], 1);
    assert_int_equal(ids.data[1], 2);
    assert_int_equal(ids.data[2], 0);
    assert_int_equal(starts.data[1], 6);
    assert_int_equal(ends.data[0], 5);
    assert_int_equal(ends.data[2], 9);
    lm_ids_free(&ids);
    lm_ids_free(&starts);
    lm_ids_free(&ends);
    lm_tokenizer_free(tokenizer);
}

/* Matches that are empty cut a text too. Ids worked out by hand, and the same as tokenizers 0.23.3 has. */
static void empty_matches(void **state)
{
    static const struct {
        const char *split, *wanted;
    } cases[] = {{"\"Isolated\"", "1 2 3"}, {"\"Removed\"", "1 2 3"},    {"\"MergedWithPrevious\"", "1 2 3"},
                 {"\"MergedWithNext\"", "1 2 3"}, {"\"Contiguous\"", "1 2 3"}, {"\"Isolated\",\"invert\":true", "1 2 3"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        const int length =
            snprintf(text, sizeof text,
                     "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?=[A-Z])\"},\"behavior\":%s},"
                     "\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"ab\":1,\"Cd\":2,\"E\":3}}}",
                     cases[i].split);
        expect(put("split.json", text, (size_t)length), NULL, "abCdE", 0, cases[i].wanted);
    }
}

/* Without an unknown token a text fails only where no way of tokens leads through it, and leaves nothing behind. */
static void no_unknown_piece(void **state)
{
    static const char file[] = "{\"model\":{\"type\":\"Unigram\",\"unk_id\":null,\"vocab\":[[\"a\",-1],[\"ab\",-2],[\"c\",-3],"
                               "[\"ca\",-9]]}}";
    (void)state;
    struct lm_tokenizer *tokenizer;
    struct lm_ids ids = {0};
    assert_ok(lm_tokenizer_load(put("unigram.json", file, sizeof file - 1), &tokenizer, &error), &error);
    for (int i = 0; i < 2; i++) {
        assert_ok(lm_tokenizer_encode(tokenizer, "abca", 4, 0, &ids, NULL, &error), &error);
        assert_int_equal(ids.length, 3);
        assert_int_equal(ids.data[0], 1);
        assert_int_equal(ids.data[1], 2);
        assert_int_equal(ids.data[2], 0);
        ids.length = 0;
        assert_fails(lm_tokenizer_encode(tokenizer, "cab\xC3\xA9", 5, 0, &ids, NULL, &error), &error, LOAM_EFORMAT,
                     "no unknown token", NULL);
        assert_int_equal(ids.length, 0);
    }
    lm_ids_free(&ids);
    lm_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks),   cmocka_unit_test(merges),     cmocka_unit_test(sentencepiece),
        cmocka_unit_test(llama2c), cmocka_unit_test(never_ends), cmocka_unit_test(not_utf8),
        cmocka_unit_test(empty_matches), cmocka_unit_test(no_unknown_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
