/* Anthropic's form: messages, their stream, counting tokens, errors. */
#include "support/site.h"

static struct site site;

static int open_site(void **state)
{
    (void)state;
    site_open(&(struct site_options){0}, &site);
    return 0;
}

static int close_site(void **state)
{
    (void)state;
    site_close(&site);
    return 0;
}

static void answers(void **state)
{
    (void)state;
    struct lm_document *reply = site_post(&site, "/v1/messages", "{\"model\":\"tiny\",\"max_tokens\":100," SITE_QUESTION "}", 200);
    assert_memory_equal(text_at(reply, "id"), "msg_", 4);
    assert_string_equal(text_at(reply, "type"), "message");
    assert_string_equal(text_at(reply, "role"), "assistant");
    assert_string_equal(text_at(reply, "content.0.type"), "text");
    assert_string_equal(text_at(reply, "content.0.text"), SITE_ANSWER);
    assert_string_equal(text_at(reply, "stop_reason"), "end_turn");
    assert_true(is_null_at(reply, "stop_sequence"));
    assert_int_equal(number_at(reply, "usage.output_tokens"), SITE_TOKENS);
    struct lm_document *count = site_post(&site, "/v1/messages/count_tokens", "{\"model\":\"tiny\"," SITE_QUESTION "}", 200);
    assert_int_equal(number_at(count, "input_tokens"), number_at(reply, "usage.input_tokens"));
    lm_document_free(count);
    lm_document_free(reply);
}

static void ends(void **state)
{
    (void)state;
    struct lm_document *reply = site_post(&site, "/v1/messages", "{\"max_tokens\":4," SITE_QUESTION "}", 200);
    assert_string_equal(text_at(reply, "stop_reason"), "max_tokens");
    assert_string_equal(text_at(reply, "content.0.text"), "Sure");
    lm_document_free(reply);
    reply = site_post(&site, "/v1/messages", "{\"max_tokens\":99,\"stop_sequences\":[\"zz\",\"=3\"]," SITE_QUESTION "}", 200);
    assert_string_equal(text_at(reply, "stop_reason"), "stop_sequence");
    assert_string_equal(text_at(reply, "stop_sequence"), "=3");
    assert_string_equal(text_at(reply, "content.0.text"), "Sure:1+2");
    lm_document_free(reply);
}

/* Blocks of text, a system prompt above, turns of one role joined; a last turn of the assistant's is the answer's beginning. */
static void forms(void **state)
{
    (void)state;
    struct lm_document *joined = site_post(&site, "/v1/messages/count_tokens",
        "{\"system\":[{\"type\":\"text\",\"text\":\"Be kind.\"}],\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},"
        "{\"role\":\"user\",\"content\":\"b\"}]}", 200);
    struct lm_document *apart = site_post(&site, "/v1/messages/count_tokens",
        "{\"system\":\"Be kind.\",\"messages\":[{\"role\":\"user\",\"content\":\"a\\n\\nb\"}]}", 200);
    assert_int_equal(number_at(joined, "input_tokens"), number_at(apart, "input_tokens"));
    lm_document_free(joined);
    lm_document_free(apart);
    struct lm_document *reply = site_post(&site, "/v1/messages",
        "{\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"Sure:\"}]}", 200);
    assert_string_equal(text_at(reply, "content.0.text"), "1+2");
    lm_document_free(reply);
}

static void stream(void **state)
{
    (void)state;
    static const char *const order[] = {"message_start", "content_block_start", "ping", "content_block_delta"};
    struct events events;
    struct lm_bytes words = {0};
    site_stream(&site, "/v1/messages", "{\"max_tokens\":99,\"stream\":true," SITE_QUESTION "}", &events);
    for (size_t i = 0; i < events.count; i++) {
        assert_string_equal(events.items[i].name, text_at(events.items[i].data, "type"));
        if (i < 4)
            assert_string_equal(events.items[i].name, order[i]);
        if (!strcmp(events.items[i].name, "content_block_delta"))
            lm_bytes_format(&words, NULL, "%s", text_at(events.items[i].data, "delta.text"));
    }
    assert_string_equal(words.data, SITE_ANSWER);
    assert_true(is_null_at(events.items[0].data, "message.stop_reason"));
    assert_string_equal(events.items[events.count - 3].name, "content_block_stop");
    assert_string_equal(text_at(events.items[events.count - 2].data, "delta.stop_reason"), "end_turn");
    assert_int_equal(number_at(events.items[events.count - 2].data, "usage.output_tokens"), SITE_TOKENS);
    assert_string_equal(events.items[events.count - 1].name, "message_stop");
    lm_bytes_free(&words);
    events_free(&events);
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *body, *type, *words;
        int status;
    } wrongs[] = {
        {"{" SITE_QUESTION "}", "invalid_request_error", "max_tokens", 400},
        {"{\"max_tokens\":0," SITE_QUESTION "}", "invalid_request_error", "max_tokens", 400},
        {"{\"max_tokens\":1}", "invalid_request_error", "messages", 400},
        {"{\"max_tokens\":1,\"messages\":[]}", "invalid_request_error", "messages", 400},
        {"{\"max_tokens\":1,\"messages\":[{\"role\":\"system\",\"content\":\"a\"}]}", "invalid_request_error", "'system'", 400},
        {"{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}", "invalid_request_error", "empty", 400},
        {"{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}", "invalid_request_error", "image", 400},
        {"{\"max_tokens\":1,\"tools\":[{}]," SITE_QUESTION "}", "invalid_request_error", "tools", 400},
        {"{\"max_tokens\":1,\"thinking\":{\"type\":\"enabled\"}," SITE_QUESTION "}", "invalid_request_error", "thinking", 400},
        {"{\"max_tokens\":1,\"temperature\":1.5," SITE_QUESTION "}", "invalid_request_error", "temperature", 400},
        {"{\"max_tokens\":1,\"model\":\"claude\"," SITE_QUESTION "}", "not_found_error", "claude", 404},
        {"{", "invalid_request_error", "body:1", 400},
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        struct lm_document *reply = site_post(&site, "/v1/messages", wrongs[i].body, wrongs[i].status);
        assert_string_equal(text_at(reply, "type"), "error");
        assert_string_equal(text_at(reply, "error.type"), wrongs[i].type);
        if (!strstr(text_at(reply, "error.message"), wrongs[i].words))
            fail_msg("%s: the message has no '%s': %s", wrongs[i].body, wrongs[i].words, text_at(reply, "error.message"));
        lm_document_free(reply);
    }
    struct lm_document *reply = site_ask(&site, "GET", "/v1/nothing", "anthropic-version: 2023-06-01\r\n", NULL, 404);
    assert_string_equal(text_at(reply, "error.type"), "not_found_error");
    lm_document_free(reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers), cmocka_unit_test(ends), cmocka_unit_test(forms), cmocka_unit_test(stream),
                                       cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, open_site, close_site);
}
