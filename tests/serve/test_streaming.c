/* Streams of OpenAI's form: the order of events, whole characters, usage, several choices, errors on the way. */
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

/* The words of one choice, put together. */
static void join(const struct events *events, int choice, const char *place, struct lm_bytes *out)
{
    char path[64], index[32];
    snprintf(path, sizeof path, "choices.0.%s", place);
    snprintf(index, sizeof index, "choices.0.index");
    for (size_t i = 0; i < events->count; i++) {
        const struct lm_document *data = events->items[i].data;
        if (!data || nothing_at(data, path) || number_at(data, index) != choice)
            continue;
        const struct lm_value *value = value_at(data, path);
        assert_int_equal(lm_utf8_check(value->text, value->length), value->length);
        lm_bytes_append(out, value->text, value->length, NULL);
    }
}

static void assert_words(const struct events *events, int choice, const char *place, const char *wanted)
{
    struct lm_bytes words = {0};
    join(events, choice, place, &words);
    assert_string_equal(words.data ? words.data : "", wanted);
    lm_bytes_free(&words);
}

static void in_order(void **state)
{
    (void)state;
    struct events events;
    site_stream(&site, "/v1/chat/completions", "{" SITE_QUESTION ",\"stream\":true}", &events);
    assert_true(events.count >= 12);
    const size_t last = events.count - 1;
    assert_null(events.items[last].data);
    assert_string_equal(text_at(events.items[0].data, "choices.0.delta.role"), "assistant");
    assert_string_equal(text_at(events.items[0].data, "choices.0.delta.content"), "");
    for (size_t i = 0; i < last; i++) {
        const struct lm_document *data = events.items[i].data;
        assert_string_equal(text_at(data, "object"), "chat.completion.chunk");
        assert_string_equal(text_at(data, "id"), text_at(events.items[0].data, "id"));
        assert_true(i == last - 1 || is_null_at(data, "choices.0.finish_reason"));
        assert_true(nothing_at(data, "usage"));
    }
    assert_string_equal(text_at(events.items[last - 1].data, "choices.0.finish_reason"), "stop");
    assert_words(&events, 0, "delta.content", SITE_ANSWER);
    events_free(&events);
}

static void usage(void **state)
{
    (void)state;
    struct events events;
    site_stream(&site, "/v1/chat/completions", "{" SITE_QUESTION ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}", &events);
    const size_t last = events.count - 1;
    assert_null(events.items[last].data);
    for (size_t i = 0; i < last - 1; i++)
        assert_true(is_null_at(events.items[i].data, "usage"));
    assert_int_equal(value_at(events.items[last - 1].data, "choices")->length, 0);
    assert_int_equal(number_at(events.items[last - 1].data, "usage.completion_tokens"), SITE_TOKENS);
    events_free(&events);
}

/* Nothing of a stop text is shown, also where it comes over several tokens. */
static void stop_is_hidden(void **state)
{
    (void)state;
    struct events events;
    site_stream(&site, "/v1/chat/completions", "{" SITE_QUESTION ",\"stream\":true,\"stop\":[\"=3 c\"]}", &events);
    assert_words(&events, 0, "delta.content", "Sure:1+2");
    events_free(&events);
}

static void choices(void **state)
{
    (void)state;
    struct events events;
    site_stream(&site, "/v1/completions", "{\"prompt\":[\"S\",\"c\"],\"n\":2,\"stream\":true,\"max_tokens\":3,\"echo\":true,\"temperature\":0}", &events);
    assert_words(&events, 0, "text", "Sure");
    assert_words(&events, 1, "text", "Sure");
    assert_words(&events, 3, "text", "caf\xef\xbf\xbd");    /* cut in the middle of its last character */
    events_free(&events);
}

static void logprobs(void **state)
{
    (void)state;
    struct events events;
    size_t scores = 0;
    site_stream(&site, "/v1/chat/completions", "{" SITE_QUESTION ",\"stream\":true,\"logprobs\":true,\"top_logprobs\":1}", &events);
    for (size_t i = 1; i + 1 < events.count; i++)
        scores += value_at(events.items[i].data, "choices.0.logprobs.content")->length;
    assert_true(scores >= SITE_TOKENS - 1);    /* each token once, those of a character together */
    assert_true(scores <= SITE_TOKENS);
    events_free(&events);
}

/* What is wrong before the first token has a status of its own, also where a stream was asked for. */
static void refused_first(void **state)
{
    (void)state;
    lm_document_free(site_post(&site, "/v1/chat/completions", "{\"stream\":true,\"messages\":[]}", 400));
    lm_document_free(site_post(&site, "/v1/chat/completions", "{\"stream\":true,\"model\":\"x\"," SITE_QUESTION "}", 404));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order), cmocka_unit_test(usage), cmocka_unit_test(stop_is_hidden), cmocka_unit_test(choices),
        cmocka_unit_test(logprobs), cmocka_unit_test(refused_first),
    };
    return cmocka_run_group_tests(tests, open_site, close_site);
}
