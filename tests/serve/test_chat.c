/* /v1/chat/completions and /v1/completions: what is asked, what comes back, what is refused. */
#include "support/site.h"

static struct site site;
static loam_error error;

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

static struct lm_document *chat(const char *more)
{
    char body[1024];
    snprintf(body, sizeof body, "{" SITE_QUESTION "%s%s}", *more ? "," : "", more);
    return site_post(&site, "/v1/chat/completions", body, 200);
}

static void answers(void **state)
{
    (void)state;
    struct lm_document *reply = chat("\"model\":\"tiny\"");
    assert_memory_equal(text_at(reply, "id"), "chatcmpl-", 9);
    assert_string_equal(text_at(reply, "object"), "chat.completion");
    assert_string_equal(text_at(reply, "model"), "tiny");
    assert_true(number_at(reply, "created") > 1.6e9);
    assert_string_equal(text_at(reply, "choices.0.message.role"), "assistant");
    assert_string_equal(text_at(reply, "choices.0.message.content"), SITE_ANSWER);
    assert_string_equal(text_at(reply, "choices.0.finish_reason"), "stop");
    assert_true(is_null_at(reply, "choices.0.logprobs"));
    assert_int_equal(number_at(reply, "usage.completion_tokens"), SITE_TOKENS);
    assert_int_equal(number_at(reply, "usage.total_tokens"), number_at(reply, "usage.prompt_tokens") + SITE_TOKENS);
    assert_true(number_at(reply, "timings.tokens_per_second") > 0);
    lm_document_free(reply);
}

static void limits_of_length(void **state)
{
    (void)state;
    static const char *const asked[] = {"\"max_tokens\":4", "\"max_completion_tokens\":4", "\"max_tokens\":9,\"max_completion_tokens\":4"};
    for (size_t i = 0; i < 3; i++) {
        struct lm_document *reply = chat(asked[i]);
        assert_string_equal(text_at(reply, "choices.0.message.content"), "Sure");
        assert_string_equal(text_at(reply, "choices.0.finish_reason"), "length");
        assert_int_equal(number_at(reply, "usage.completion_tokens"), 4);
        lm_document_free(reply);
    }
    struct lm_document *reply = chat("\"max_tokens\":1000000");    /* a limit, not a demand */
    assert_string_equal(text_at(reply, "choices.0.finish_reason"), "stop");
    lm_document_free(reply);
}

static void stops(void **state)
{
    (void)state;
    struct lm_document *reply = chat("\"stop\":\"=3\"");
    assert_string_equal(text_at(reply, "choices.0.message.content"), "Sure:1+2");
    assert_string_equal(text_at(reply, "choices.0.finish_reason"), "stop");
    lm_document_free(reply);
    reply = chat("\"stop\":[\"zzz\",\"caf\",\"+2=3\"]");
    assert_string_equal(text_at(reply, "choices.0.message.content"), "Sure:1");
    lm_document_free(reply);
}

static void several(void **state)
{
    (void)state;
    struct lm_document *reply = chat("\"n\":3,\"seed\":5,\"temperature\":0");
    assert_int_equal(value_at(reply, "choices")->length, 3);
    assert_string_equal(text_at(reply, "choices.2.message.content"), SITE_ANSWER);
    assert_int_equal(number_at(reply, "choices.2.index"), 2);
    assert_int_equal(number_at(reply, "usage.completion_tokens"), 3 * SITE_TOKENS);
    lm_document_free(reply);
}

/* The chain's logits are known: one stands out by sqrt(width), all others are equal. */
static void logprobs(void **state)
{
    (void)state;
    struct lm_document *reply = chat("\"logprobs\":true,\"top_logprobs\":3,\"max_tokens\":2");
    assert_int_equal(value_at(reply, "choices.0.logprobs.content")->length, 2);
    assert_string_equal(text_at(reply, "choices.0.logprobs.content.0.token"), "S");
    assert_int_equal(number_at(reply, "choices.0.logprobs.content.0.bytes.0"), 'S');
    assert_true(number_at(reply, "choices.0.logprobs.content.0.logprob") > -0.001);
    assert_int_equal(value_at(reply, "choices.0.logprobs.content.0.top_logprobs")->length, 3);
    assert_string_equal(text_at(reply, "choices.0.logprobs.content.1.top_logprobs.0.token"), "u");
    assert_true(number_at(reply, "choices.0.logprobs.content.1.top_logprobs.1.logprob") < -10);
    lm_document_free(reply);
    reply = site_post(&site, "/v1/completions", "{\"prompt\":\"\\n\",\"logprobs\":1,\"max_tokens\":3}", 200);
    assert_string_equal(text_at(reply, "choices.0.logprobs.tokens.2"), "r");
    assert_int_equal(number_at(reply, "choices.0.logprobs.text_offset.2"), 2);
    assert_true(number_at(reply, "choices.0.logprobs.top_logprobs.0.S") > -0.001);
    lm_document_free(reply);
}

/* A bias against the chain's next byte, and for another, changes what is said. */
static void biases(void **state)
{
    (void)state;
    struct lm_document *tokens = site_post(&site, "/tokenize", "{\"content\":\"Sx\"}", 200);
    char more[128];
    snprintf(more, sizeof more, "\"logit_bias\":{\"%d\":-100,\"%d\":50},\"max_tokens\":1", (int)number_at(tokens, "tokens.0"),
             (int)number_at(tokens, "tokens.1"));
    struct lm_document *reply = chat(more);
    assert_string_equal(text_at(reply, "choices.0.message.content"), "x");
    lm_document_free(reply);
    lm_document_free(tokens);
}

static void content_and_roles(void **state)
{
    (void)state;
    static const char apply[] = "{\"messages\":[{\"role\":\"developer\",\"content\":\"Be kind.\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                                "\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}]}";
    struct lm_document *reply = site_post(&site, "/apply-template", apply, 200);
    assert_string_equal(text_at(reply, "prompt"), "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\n");
    lm_document_free(reply);
    lm_document_free(site_post(&site, "/v1/chat/completions", apply, 200));
    /* Harmless fields are passed over, also null and empty ones of those that would not be. */
    lm_document_free(chat("\"user\":\"me\",\"store\":false,\"metadata\":{},\"tools\":[],\"tool_choice\":\"none\",\"response_format\":{\"type\":\"text\"},"
                          "\"parallel_tool_calls\":true,\"service_tier\":\"auto\",\"stop\":null,\"seed\":-3,\"logit_bias\":{},\"no_such\":{\"a\":[1]}"));
}

static void completions(void **state)
{
    (void)state;
    struct lm_document *reply = site_post(&site, "/v1/completions", "{\"prompt\":\"Sure:\",\"max_tokens\":5}", 200);
    assert_memory_equal(text_at(reply, "id"), "cmpl-", 5);
    assert_string_equal(text_at(reply, "object"), "text_completion");
    assert_string_equal(text_at(reply, "choices.0.text"), "1+2=3");
    assert_string_equal(text_at(reply, "choices.0.finish_reason"), "length");
    lm_document_free(reply);
    reply = site_post(&site, "/v1/completions", "{\"prompt\":[\"S\",\"c\"],\"max_tokens\":2,\"n\":2,\"echo\":true,\"temperature\":0}", 200);
    assert_int_equal(value_at(reply, "choices")->length, 4);
    assert_string_equal(text_at(reply, "choices.1.text"), "Sur");
    assert_string_equal(text_at(reply, "choices.3.text"), "caf");
    assert_int_equal(number_at(reply, "usage.prompt_tokens"), 2);
    lm_document_free(reply);
    struct lm_document *tokens = site_post(&site, "/tokenize", "{\"content\":\"c\"}", 200);
    char body[96];
    snprintf(body, sizeof body, "{\"prompt\":[%d],\"max_tokens\":2}", (int)number_at(tokens, "tokens.0"));
    reply = site_post(&site, "/v1/completions", body, 200);
    assert_string_equal(text_at(reply, "choices.0.text"), "af");
    lm_document_free(reply);
    lm_document_free(tokens);
    reply = site_post(&site, "/v1/completions", "{\"prompt\":\"\\n\"}", 200);    /* 16 tokens unless asked */
    assert_int_equal(number_at(reply, "usage.completion_tokens"), 16);
    lm_document_free(reply);
}

/* A second turn finds the first in the cache. */
static void cached(void **state)
{
    (void)state;
    struct lm_bytes body = {0};
    for (int turn = 0; turn < 2; turn++) {
        body.length = 0;
        lm_bytes_format(&body, &error, "{\"messages\":[{\"role\":\"user\",\"content\":\"%0300d\"}", 7);
        if (turn)
            lm_bytes_format(&body, &error, ",{\"role\":\"assistant\",\"content\":\"x\"},{\"role\":\"user\",\"content\":\"y\"}");
        lm_bytes_format(&body, &error, "]}");
        struct lm_document *reply = site_post(&site, "/v1/chat/completions", body.data, 200);
        const double reused = number_at(reply, "usage.prompt_tokens_details.cached_tokens");
        assert_true(turn ? reused >= 256 : reused < 64);    /* the template's first words may be there already */
        lm_document_free(reply);
    }
    lm_bytes_free(&body);
}

struct wrong {
    const char *path, *body;
    const char *param;          /* NULL: null */
    const char *words;          /* in the message */
};

static void refused(void **state)
{
    (void)state;
#define CHAT "/v1/chat/completions"
#define COMPLETION "/v1/completions"
    static const struct wrong wrongs[] = {
        {CHAT, "", NULL, "body"},
        {CHAT, "{", NULL, "body:1"},
        {CHAT, "[]", NULL, "JSON object"},
        {CHAT, "{\"messages\":[]}", "messages", "at least one"},
        {CHAT, "{}", "messages", "missing"},
        {CHAT, "{\"messages\":3}", "messages", "list"},
        {CHAT, "{\"messages\":[3]}", "messages[0]", "object"},
        {CHAT, "{\"messages\":[{\"content\":\"a\"}]}", "messages[0].role", "missing"},
        {CHAT, "{\"messages\":[{\"role\":\"tool\",\"content\":\"a\"}]}", "messages[0].role", "'tool'"},
        {CHAT, "{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content", "missing"},
        {CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{}}]}]}", "messages[0].content", "image_url"},
        {CHAT, "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{}]}]}", "messages[0]", "tool_calls"},
        {CHAT, "{" SITE_QUESTION ",\"tools\":[{\"type\":\"function\"}]}", "tools", "not supported"},
        {CHAT, "{" SITE_QUESTION ",\"functions\":[{}]}", "functions", "not supported"},
        {CHAT, "{" SITE_QUESTION ",\"tool_choice\":\"required\"}", "tool_choice", "not supported"},
        {CHAT, "{" SITE_QUESTION ",\"response_format\":{\"type\":\"json_object\"}}", "response_format", "json_object"},
        {CHAT, "{" SITE_QUESTION ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}}", "response_format", "json_schema"},
        {CHAT, "{" SITE_QUESTION ",\"modalities\":[\"text\",\"audio\"]}", "modalities", "text"},
        {CHAT, "{" SITE_QUESTION ",\"temperature\":2.5}", "temperature", "0 to 2"},
        {CHAT, "{" SITE_QUESTION ",\"temperature\":\"hot\"}", "temperature", "number"},
        {CHAT, "{" SITE_QUESTION ",\"top_p\":-0.1}", "top_p", "0 to 1"},
        {CHAT, "{" SITE_QUESTION ",\"max_tokens\":0}", "max_tokens", "wanted 1"},
        {CHAT, "{" SITE_QUESTION ",\"max_tokens\":1.5}", "max_tokens", "whole"},
        {CHAT, "{" SITE_QUESTION ",\"n\":1000}", "n", "1 to"},
        {CHAT, "{" SITE_QUESTION ",\"stream\":1}", "stream", "true or false"},
        {CHAT, "{" SITE_QUESTION ",\"stream_options\":{}}", "stream_options", "stream"},
        {CHAT, "{" SITE_QUESTION ",\"stop\":[1]}", "stop", "text"},
        {CHAT, "{" SITE_QUESTION ",\"stop\":[\"\\u0000\"]}", "stop", "zero"},
        {CHAT, "{" SITE_QUESTION ",\"presence_penalty\":3}", "presence_penalty", "-2 to 2"},
        {CHAT, "{" SITE_QUESTION ",\"logit_bias\":{\"99999\":1}}", "logit_bias", "99999"},
        {CHAT, "{" SITE_QUESTION ",\"logit_bias\":{\"1\":101}}", "logit_bias", "101"},
        {CHAT, "{" SITE_QUESTION ",\"top_logprobs\":2}", "top_logprobs", "logprobs"},
        {CHAT, "{" SITE_QUESTION ",\"logprobs\":true,\"top_logprobs\":21}", "top_logprobs", "0 to 20"},
        {COMPLETION, "{}", "prompt", "missing"},
        {COMPLETION, "{\"prompt\":[]}", "prompt", "wanted"},
        {COMPLETION, "{\"prompt\":[1,\"a\"]}", "prompt", "whole number"},
        {COMPLETION, "{\"prompt\":[99999]}", "prompt", "99999"},
        {COMPLETION, "{\"prompt\":{\"a\":1}}", "prompt", "text"},
        {COMPLETION, "{\"prompt\":\"a\",\"suffix\":\"b\"}", "suffix", "not supported"},
        {COMPLETION, "{\"prompt\":\"a\",\"best_of\":3}", "best_of", "not supported"},
    };
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        struct lm_document *reply = site_post(&site, wrongs[i].path, wrongs[i].body, 400);
        assert_string_equal(text_at(reply, "error.type"), "invalid_request_error");
        if (!strstr(text_at(reply, "error.message"), wrongs[i].words))
            fail_msg("%s: the message has no '%s': %s", wrongs[i].body, wrongs[i].words, text_at(reply, "error.message"));
        if (wrongs[i].param)
            assert_string_equal(text_at(reply, "error.param"), wrongs[i].param);
        else
            assert_true(is_null_at(reply, "error.param"));
        lm_document_free(reply);
    }
    lm_document_free(chat(""));    /* and the server goes on */
}

/* Longer than the context: told how long, and what to do. */
static void too_long(void **state)
{
    (void)state;
    struct lm_bytes body = {0};
    lm_bytes_format(&body, &error, "{\"messages\":[{\"role\":\"user\",\"content\":\"%0600d\"}]}", 1);
    struct lm_document *reply = site_post(&site, "/v1/chat/completions", body.data, 400);
    assert_string_equal(text_at(reply, "error.code"), "context_length_exceeded");
    assert_non_null(strstr(text_at(reply, "error.message"), "512"));
    lm_document_free(reply);
    lm_bytes_free(&body);
}

static void places_and_types(void **state)
{
    (void)state;
    struct lm_document *reply = site_post(&site, "/v1/chat/completions", "{\"model\":\"gpt-9\"," SITE_QUESTION "}", 404);
    assert_string_equal(text_at(reply, "error.code"), "model_not_found");
    assert_non_null(strstr(text_at(reply, "error.message"), "tiny"));
    lm_document_free(reply);
    lm_document_free(site_get(&site, "/v1/nothing", 404));
    lm_document_free(site_get(&site, "/v1/chat/completions", 405));
    lm_document_free(site_post(&site, "/health", "{}", 405));
    reply = site_ask(&site, "POST", "/v1/chat/completions", "Content-Type: text/plain\r\n", "{" SITE_QUESTION "}", 415);
    assert_non_null(strstr(text_at(reply, "error.message"), "application/json"));
    lm_document_free(reply);
    lm_document_free(site_ask(&site, "POST", "/v1/chat/completions", NULL, "{" SITE_QUESTION "}", 415));
    lm_document_free(site_ask(&site, "POST", "/v1/chat/completions", "content-type: Application/JSON; charset=utf-8\r\n", "{" SITE_QUESTION "}", 200));
    for (size_t i = 0; i < 3; i++) {
        static const char *const strange[] = {"Host: evil.example\r\n", "Host: 127.evil.example\r\n", "Host: 127.0.0.1.evil.example:80\r\n"};
        lm_document_free(site_ask(&site, "GET", "/health", strange[i], NULL, 403));
    }
    lm_document_free(site_ask(&site, "GET", "/health", "Host: 127.0.0.2:8080\r\n", NULL, 200));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers), cmocka_unit_test(limits_of_length), cmocka_unit_test(stops), cmocka_unit_test(several),
        cmocka_unit_test(logprobs), cmocka_unit_test(biases), cmocka_unit_test(content_and_roles), cmocka_unit_test(completions),
        cmocka_unit_test(cached), cmocka_unit_test(refused), cmocka_unit_test(too_long), cmocka_unit_test(places_and_types),
    };
    return cmocka_run_group_tests(tests, open_site, close_site);
}
