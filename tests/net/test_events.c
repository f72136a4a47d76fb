/* Server-sent events read: what is written comes back, in pieces of any size; the standard's own examples. */
#include "support/support.h"

#include "net/net.h"

static loam_error error;

static int note(void *user, const char *event, const char *data, size_t length, loam_error *failure)
{
    return lm_bytes_format(user, failure, "[%s|%.*s]", event, (int)length, data);
}

static const struct {
    const char *stream, *events;
} cases[] = {
    {"data: YHOO\ndata: +2\ndata: 10\n\n", "[message|YHOO\n+2\n10]"},
    {": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
     "[message|first event][message|second event][message| third event]"},
    {"data\n\ndata\ndata\n\ndata:", "[message|][message|\n]"},
    {"data:test\n\ndata: test\n\n", "[message|test][message|test]"},
    {"event: add\ndata: 1\r\n\r\nevent: gone\r\rdata: 2\r\r", "[add|1][message|2]"},
    {"\xef\xbb\xbf" "data: a\n\n\xef\xbb\xbf" "data: b\n\n", "[message|a]"},
    {"retry: 10\nunknown: x\nevent: e\ndata: {\"a\": \"b: c\"}\n\n", "[e|{\"a\": \"b: c\"}]"},
    {"data: unfinished\n", ""},
    {"\n\n\n", ""},
};

static void examples(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t piece = 1; piece < 12; piece++) {
            struct lm_bytes out = {0};
            struct lm_event_reader reader = {.most = 1000, .take = note, .user = &out};
            const size_t length = strlen(cases[i].stream);
            for (size_t at = 0; at < length; at += piece)
                assert_ok(lm_event_feed(&reader, cases[i].stream + at, length - at < piece ? length - at : piece, &error), &error);
            assert_string_equal(out.data ? out.data : "", cases[i].events);
            lm_event_reader_free(&reader);
            lm_bytes_free(&out);
        }
}

static void there_and_back(void **state)
{
    (void)state;
    static const char text[] = "one\n\ntwo: caf\xc3\xa9\n";
    struct lm_bytes stream = {0}, out = {0};
    struct lm_event_reader reader = {.most = 1000, .take = note, .user = &out};
    assert_ok(lm_event_append(&stream, "delta", text, strlen(text), &error), &error);
    assert_ok(lm_event_feed(&reader, stream.data, stream.length, &error), &error);
    assert_string_equal(out.data, "[delta|one\n\ntwo: caf\xc3\xa9\n]");
    lm_event_reader_free(&reader);
    lm_bytes_free(&stream);
    lm_bytes_free(&out);
}

static void too_long(void **state)
{
    (void)state;
    struct lm_bytes out = {0};
    struct lm_event_reader lines = {.most = 100, .take = note, .user = &out}, line = lines;
    int code = LOAM_OK;
    for (int i = 0; i < 30 && code == LOAM_OK; i++)
        code = lm_event_feed(&lines, "data: 12345\n", 12, &error);
    assert_int_equal(code, LOAM_EFORMAT);
    code = LOAM_OK;
    for (int i = 0; i < 30 && code == LOAM_OK; i++)
        code = lm_event_feed(&line, "data: 12345", 11, &error);
    assert_int_equal(code, LOAM_EFORMAT);
    assert_non_null(strstr(error.message, "100 bytes"));
    lm_event_reader_free(&lines);
    lm_event_reader_free(&line);
    lm_bytes_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(examples), cmocka_unit_test(there_and_back), cmocka_unit_test(too_long)};
    return cmocka_run_group_tests_name("net/events", tests, NULL, NULL);
}
