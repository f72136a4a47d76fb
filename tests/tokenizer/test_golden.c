/* Small tokenizers on nasty texts against what Hugging Face's library makes of them (tests/golden/make_tokenizers.py):
 * ids, places in the text, decoding; the same again after a tokenizer was written and read. */
#include "support/support.h"
#include "tokenizer/internal.h"

static loam_error error;
static int wrong;

static void numbers(const struct lm_value *list, struct lm_ids *ids)
{
    ids->length = 0;
    for (size_t i = 0; list && i < list->length; i++)
        assert_ok(lm_ids_push(ids, (int32_t)strtol(list->items[i].text, NULL, 10), &error), &error);
}

/* The library's places are those of whole characters. */
static void widen(const struct lm_value *text, struct lm_ids *pairs)
{
    for (size_t i = 0; i < pairs->length; i++)
        while (pairs->data[i] > 0 && (size_t)pairs->data[i] < text->length &&
               ((unsigned char)text->text[pairs->data[i]] & 0xC0) == 0x80)
            pairs->data[i] += i % 2 ? 1 : -1;
}

static void print(const char *name, const struct lm_ids *ids)
{
    fprintf(stderr, "  %s", name);
    for (size_t i = 0; i < ids->length; i++)
        fprintf(stderr, " %d", (int)ids->data[i]);
    fputc('\n', stderr);
}

static void same(const char *name, size_t text, const char *what, const struct lm_ids *got, const struct lm_ids *wanted)
{
    if (got->length == wanted->length &&
        (!got->length || !memcmp(got->data, wanted->data, got->length * sizeof *got->data)))
        return;
    wrong++;
    fprintf(stderr, "%s: text %zu: %s\n", name, text, what);
    print("got   ", got);
    print("wanted", wanted);
}

static void encode(const struct lm_tokenizer *tokenizer, const struct lm_value *text, unsigned flags, struct lm_ids *ids,
                   struct lm_ids *starts, struct lm_ids *ends)
{
    ids->length = 0;
    assert_ok(lm_tokenizer_encode_places(tokenizer, text->text, text->length, flags, ids, starts, ends, &error), &error);
}

static void check_decoding(const char *name, const struct lm_tokenizer *tokenizer, const struct lm_ids *ids, bool skip,
                           const struct lm_value *wanted)
{
    struct lm_bytes text = {0}, streamed = {0};
    struct lm_stream stream = {0};
    assert_ok(lm_tokenizer_decode(tokenizer, ids->data, ids->length, skip, &text, &error), &error);
    for (size_t i = 0; i < ids->length; i++) {
        assert_ok(lm_stream_push(tokenizer, &stream, ids->data[i], skip, &streamed, &error), &error);
        assert_int_equal(lm_utf8_check(streamed.data ? streamed.data : "", streamed.length), streamed.length);
    }
    assert_ok(lm_stream_finish(tokenizer, &stream, &streamed, &error), &error);
    /* What is not UTF-8 stays as it is here; a byte run that makes no text has one U+FFFD a byte in the library, and in
     * a stream one for each beginning of a character. */
    bool valid = lm_utf8_check(text.data ? text.data : "", text.length) == text.length;
    bool broken = !valid || strstr(wanted->text, "\xEF\xBF\xBD");
    if (valid && (text.length != wanted->length || memcmp(text.data ? text.data : "", wanted->text, text.length))) {
        wrong++;
        fprintf(stderr, "%s: decoded '%s', wanted '%s'\n", name, text.data, wanted->text);
        print("ids", ids);
    }
    if (!broken && (text.length != streamed.length || memcmp(text.data ? text.data : "",
                                                             streamed.data ? streamed.data : "", text.length))) {
        wrong++;
        fprintf(stderr, "%s: streamed '%s', wanted '%s'\n", name, streamed.data, text.data);
    }
    lm_stream_free(&stream);
    lm_bytes_free(&text);
    lm_bytes_free(&streamed);
}

static void check_encoding(const char *name, const struct lm_tokenizer *tokenizer, const struct lm_value *texts,
                           const struct lm_value *one)
{
    const size_t number = strtoul(lm_value_find(one, "text")->text, NULL, 10);
    const struct lm_value *text = &texts->items[number], *ids = lm_value_find(one, "ids");
    const struct lm_value *around = lm_value_find(one, "around"), *plain = lm_value_find(one, "plain");
    const struct lm_value *decoded = lm_value_find(one, "decoded"), *skipped = lm_value_find(one, "skipped");
    struct lm_ids got = {0}, starts = {0}, ends = {0}, wanted = {0}, places = {0}, pairs = {0};
    numbers(ids, &wanted);
    numbers(lm_value_find(one, "places"), &places);
    encode(tokenizer, text, LM_ENCODE_SPECIAL, &got, &starts, &ends);
    same(name, number, "ids", &got, &wanted);
    for (size_t i = 0; i < starts.length; i++) {
        assert_ok(lm_ids_push(&pairs, starts.data[i], &error), &error);
        assert_ok(lm_ids_push(&pairs, ends.data[i], &error), &error);
    }
    widen(text, &pairs);
    if (lm_value_find(one, "places"))
        same(name, number, "places", &pairs, &places);
    if (decoded) {
        check_decoding(name, tokenizer, &wanted, false, decoded);
        check_decoding(name, tokenizer, &wanted, true, skipped ? skipped : decoded);
    }
    numbers(around ? around : ids, &wanted);
    encode(tokenizer, text, LM_ENCODE_SPECIAL | LM_ENCODE_ADD_SPECIAL, &got, NULL, NULL);
    same(name, number, "ids with what is put around", &got, &wanted);
    numbers(plain ? plain : ids, &wanted);
    encode(tokenizer, text, 0, &got, NULL, NULL);
    same(name, number, "ids with specials as text", &got, &wanted);
    lm_ids_free(&got);
    lm_ids_free(&starts);
    lm_ids_free(&ends);
    lm_ids_free(&wanted);
    lm_ids_free(&places);
    lm_ids_free(&pairs);
}

static void check(const char *name, const struct lm_tokenizer *tokenizer, const struct lm_value *texts,
                  const struct lm_value *item)
{
    const struct lm_value *encodings = lm_value_find(item, "encodings"), *decodings = lm_value_find(item, "decodings");
    for (size_t i = 0; i < encodings->length; i++)
        check_encoding(name, tokenizer, texts, &encodings->items[i]);
    for (size_t i = 0; i < decodings->length; i++) {
        struct lm_ids ids = {0};
        numbers(lm_value_find(&decodings->items[i], "ids"), &ids);
        check_decoding(name, tokenizer, &ids, false, lm_value_find(&decodings->items[i], "decoded"));
        lm_ids_free(&ids);
    }
}

static void golden(void **state)
{
    (void)state;
    struct lm_document *document;
    assert_ok(lm_json_read(LOAM_TESTS "/golden/tokenizers.json", &document, &error), &error);
    const struct lm_value *root = lm_document_root(document);
    const struct lm_value *texts = lm_value_find(root, "texts"), *cases = lm_value_find(root, "cases");
    assert_true(cases && cases->length > 100);
    for (size_t i = 0; i < cases->length; i++) {
        const char *name = lm_value_find(&cases->items[i], "name")->text;
        struct lm_tokenizer *tokenizer = NULL, *again = NULL;
        struct lm_bytes json = {0};
        struct lm_json_writer writer = lm_json_writer(&json, -1);
        lm_json_value(&writer, lm_value_find(&cases->items[i], "tokenizer"));
        assert_ok(lm_json_writer_finish(&writer, &error), &error);
        if (lm_tokenizer_from_json(json.data, json.length, name, &tokenizer, &error) != LOAM_OK) {
            wrong++;
            fprintf(stderr, "%s: %s\n", name, error.message);
            lm_bytes_free(&json);
            continue;
        }
        check(name, tokenizer, texts, &cases->items[i]);
        json.length = 0;
        assert_ok(lm_tokenizer_to_json(tokenizer, &json, &error), &error);
        assert_ok(lm_tokenizer_from_json(json.data, json.length, name, &again, &error), &error);
        check(name, again, texts, &cases->items[i]);
        assert_true(lm_tokenizer_fingerprint(again) == lm_tokenizer_fingerprint(tokenizer));
        lm_bytes_free(&json);
        lm_tokenizer_free(tokenizer);
        lm_tokenizer_free(again);
    }
    lm_document_free(document);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
