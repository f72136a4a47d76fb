/* Generation with models whose answer is known to the byte: stops, whole characters, limits, the cache. */
#include "support/chain_model.h"

#include "infer/infer.h"

#include <math.h>

static loam_error error;

/* What the reader was shown: all of it, and that each piece is whole characters. */
struct reader {
    char text[256];
    size_t length, pieces;
    int asked, cancel_at;    /* cancels at the cancel_at-th question; 0: never */
};

static void show(void *user, const char *text, size_t length)
{
    struct reader *reader = user;
    assert_true(length > 0);
    assert_int_equal(lm_utf8_check(text, length), length);
    assert_true(reader->length + length < sizeof reader->text);
    memcpy(reader->text + reader->length, text, length);
    reader->length += length;
    reader->text[reader->length] = 0;
    reader->pieces++;
}

static int ask(void *user)
{
    struct reader *reader = user;
    return ++reader->asked == reader->cancel_at;
}

static struct lm_generation_options greedy(struct reader *reader)
{
    struct lm_generation_options options = lm_generation_default();
    *reader = (struct reader){0};
    options.sampling = (loam_sampling){.temperature = 0, .top_p = 1, .repetition_penalty = 1};
    options.show = show;
    options.cancelled = ask;
    options.user = reader;
    return options;
}

static struct lm_runner *attach(const struct chain *chain, int64_t context)
{
    struct lm_runner *runner;
    const struct lm_template *chatml;
    assert_ok(lm_template_find("chatml", NULL, &chatml, &error), &error);
    assert_ok(lm_runner_attach(chain->model, chain->tokenizer, chatml, context, &runner, &error), &error);
    return runner;
}

static void assert_text(const struct lm_generation *got, const struct reader *reader, const char *wanted,
                        enum lm_stop_reason reason)
{
    assert_string_equal(lm_stop_reason_name(got->reason), lm_stop_reason_name(reason));
    assert_string_equal(got->text.data ? got->text.data : "", wanted);
    assert_int_equal(got->text.length, strlen(wanted));
    assert_string_equal(reader->text, wanted);
}

/* Characters of one to four bytes, each byte a token of its own: they come out whole, and the end token ends it. */
static void whole_characters(void **state)
{
    (void)state;
    static const char text[] = ">a\xc3\xa9" "b\xe2\x82\xac" "c\xf0\x9f\x98\x80" "d";
    struct chain chain;
    struct reader reader;
    chain_open(text, false, 64, &chain);
    struct lm_runner *runner = attach(&chain, 0);
    const struct lm_generation_options options = greedy(&reader);
    struct lm_generation got = {0};
    const int32_t prompt = chain_id(&chain, '>');
    assert_ok(lm_runner_generate(runner, &prompt, 1, &options, &got, &error), &error);
    assert_text(&got, &reader, text + 1, LM_STOP_END);
    assert_int_equal(reader.pieces, 7);    /* a é b € c 😀 d */
    assert_int_equal(got.ids.length, strlen(text) - 1);
    assert_int_equal(got.tokens, strlen(text));    /* the end token counts */
    assert_int_equal(got.end_id, chain.end);
    assert_int_equal(got.prompt_tokens, 1);
    assert_true(got.seconds >= got.seconds_to_first && got.seconds_to_first > 0);
    assert_true(lm_generation_rate(&got) > 0);
    lm_generation_free(&got);
    lm_runner_close(runner);
    chain_close(&chain);
}

/* A character that is cut by the limit on tokens comes out as U+FFFD, not as a part. */
static void cut_character(void **state)
{
    (void)state;
    struct chain chain;
    struct reader reader;
    chain_open(">a\xf0\x9f\x98\x80", false, 64, &chain);
    struct lm_runner *runner = attach(&chain, 0);
    struct lm_generation_options options = greedy(&reader);
    struct lm_generation got = {0};
    const int32_t prompt = chain_id(&chain, '>');
    options.max_tokens = 3;
    assert_ok(lm_runner_generate(runner, &prompt, 1, &options, &got, &error), &error);
    assert_text(&got, &reader, "a\xef\xbf\xbd", LM_STOP_LENGTH);
    assert_int_equal(got.tokens, 3);
    assert_int_equal(got.end_id, -1);
    lm_generation_free(&got);
    lm_runner_close(runner);
    chain_close(&chain);
}

/* Stop texts reach over many tokens here (a byte each): nothing of one is shown, and what only begins like one is. */
static void stop_texts(void **state)
{
    (void)state;
    static const struct {
        const char *stops[3], *wanted;
        enum lm_stop_reason reason;
        size_t tokens;
    } cases[] = {
        {{"fgh"}, "bcde", LM_STOP_STRING, 7},
        {{"b"}, "", LM_STOP_STRING, 1},
        {{"fgx"}, "bcdefghijkl", LM_STOP_END, 12},    /* begins like it, is not it */
        {{"klm"}, "bcdefghijkl", LM_STOP_END, 12},    /* held back at the end, then given out */
        {{"jkl", "ghi"}, "bcdef", LM_STOP_STRING, 8},
        {{"fghi", "gh"}, "bcdef", LM_STOP_STRING, 7},    /* the one inside comes to its end first */
        {{"defgx", "efg"}, "bcd", LM_STOP_STRING, 6},
        {{""}, "bcdefghijkl", LM_STOP_END, 12},       /* an empty one is none */
        {{"z", "y", "bcdefghijkl"}, "", LM_STOP_STRING, 11},
        {{"l"}, "bcdefghijk", LM_STOP_STRING, 11},
    };
    struct chain chain;
    chain_open("abcdefghijkl", false, 64, &chain);
    const int32_t prompt = chain_id(&chain, 'a');
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reader reader;
        struct lm_runner *runner = attach(&chain, 0);
        struct lm_generation_options options = greedy(&reader);
        struct lm_generation got = {0};
        options.stops = cases[i].stops;
        while (options.stop_count < 3 && cases[i].stops[options.stop_count])
            options.stop_count++;
        assert_ok(lm_runner_generate(runner, &prompt, 1, &options, &got, &error), &error);
        assert_text(&got, &reader, cases[i].wanted, cases[i].reason);
        assert_int_equal(got.tokens, cases[i].tokens);
        lm_generation_free(&got);
        lm_runner_close(runner);
    }
    chain_close(&chain);
}

/* Ids of padding rows are generated like others, and stand for no text. */
static void ids_without_token(void **state)
{
    (void)state;
    struct chain chain;
    struct reader reader;
    chain_open("a\x7f" "bc", false, 64, &chain);
    struct lm_runner *runner = attach(&chain, 0);
    const struct lm_generation_options options = greedy(&reader);
    struct lm_generation got = {0};
    const int32_t prompt = chain_id(&chain, 'a');
    assert_ok(lm_runner_generate(runner, &prompt, 1, &options, &got, &error), &error);
    assert_text(&got, &reader, "bc", LM_STOP_END);
    assert_int_equal(got.ids.length, 3);
    assert_int_equal(got.ids.data[0], 259);
    lm_generation_free(&got);
    lm_runner_close(runner);
    chain_close(&chain);
}

static void limits(void **state)
{
    (void)state;
    struct chain chain;
    struct reader reader;
    chain_open("abcdef", true, 20, &chain);
    struct lm_runner *runner = attach(&chain, 0);
    assert_int_equal(lm_runner_context(runner), 20);
    struct lm_generation_options options = greedy(&reader);
    struct lm_generation got = {0};
    int32_t ids[32];
    for (int i = 0; i < 32; i++)
        ids[i] = chain_id(&chain, "abcdef"[i % 6]);
    /* Without a limit the answer fills the context. */
    assert_ok(lm_runner_generate(runner, ids, 3, &options, &got, &error), &error);
    assert_text(&got, &reader, "defabcdefabcdefab", LM_STOP_LENGTH);
    lm_generation_free(&got);
    options = greedy(&reader);
    options.max_tokens = 4;
    assert_ok(lm_runner_generate(runner, ids, 3, &options, &got, &error), &error);
    assert_text(&got, &reader, "defa", LM_STOP_LENGTH);
    assert_int_equal(got.reused, 2);    /* all but the last, whose logits are wanted */
    lm_generation_free(&got);
    options.max_tokens = 18;
    assert_fails(lm_runner_generate(runner, ids, 3, &options, &got, &error), &error, LOAM_EUSAGE, "context", "20", "17");
    options.max_tokens = 0;
    assert_fails(lm_runner_generate(runner, ids, 20, &options, &got, &error), &error, LOAM_EUSAGE, "context", "20");
    assert_fails(lm_runner_generate(runner, ids, 0, &options, &got, &error), &error, LOAM_EUSAGE, "empty");
    options.max_tokens = -1;
    assert_fails(lm_runner_generate(runner, ids, 3, &options, &got, &error), &error, LOAM_EUSAGE, "-1");
    options.max_tokens = 4;
    options.sampling.top_p = 7;
    assert_fails(lm_runner_generate(runner, ids, 3, &options, &got, &error), &error, LOAM_EUSAGE, "top-p");
    options.sampling.top_p = 1;
    ids[1] = 260;
    assert_fails(lm_runner_generate(runner, ids, 3, &options, &got, &error), &error, LOAM_EUSAGE, "260");
    assert_null(got.text.data);
    /* After each refusal the runner is as good as before. */
    ids[1] = chain_id(&chain, 'b');
    options = greedy(&reader);
    options.max_tokens = 2;
    assert_ok(lm_runner_generate(runner, ids, 19, &(struct lm_generation_options){.sampling = options.sampling, .max_tokens = 1},
                                 &got, &error), &error);
    assert_string_equal(got.text.data, "b");
    lm_generation_free(&got);
    lm_runner_close(runner);
    chain_close(&chain);
}

/* Beyond the context: a ring knows only the last id, so what is left out does not show. */
static void shifting(void **state)
{
    (void)state;
    struct chain chain;
    struct reader reader;
    chain_open("abcdef", true, 20, &chain);
    struct lm_runner *runner = attach(&chain, 0);
    struct lm_generation_options options = greedy(&reader);
    struct lm_generation got = {0};
    int32_t ids[32];
    for (int i = 0; i < 32; i++)
        ids[i] = chain_id(&chain, "abcdef"[i % 6]);
    options.overflow = LM_OVERFLOW_SHIFT;
    options.max_tokens = 30;
    assert_ok(lm_runner_generate(runner, ids, 3, &options, &got, &error), &error);
    assert_text(&got, &reader, "defabcdefabcdefabcdefabcdefabc", LM_STOP_LENGTH);
    assert_int_equal(got.tokens, 30);
    assert_true(got.shifted >= 33 - 20);
    lm_generation_free(&got);
    options = greedy(&reader);
    options.overflow = LM_OVERFLOW_SHIFT;
    options.max_tokens = 2;
    assert_ok(lm_runner_generate(runner, ids, 32, &options, &got, &error), &error);
    assert_text(&got, &reader, "cd", LM_STOP_LENGTH);
    assert_int_equal(got.prompt_tokens, 32);
    lm_generation_free(&got);
    options = greedy(&reader);
    options.overflow = LM_OVERFLOW_SHIFT;
    reader.cancel_at = 3;
    assert_ok(lm_runner_generate(runner, ids, 1, &options, &got, &error), &error);
    assert_int_equal(got.reason, LM_STOP_CANCELLED);    /* else it would never end */
    lm_generation_free(&got);
    /* The runner is as good as before. */
    options = greedy(&reader);
    options.max_tokens = 4;
    assert_ok(lm_runner_generate(runner, ids, 3, &options, &got, &error), &error);
    assert_text(&got, &reader, "defa", LM_STOP_LENGTH);
    lm_generation_free(&got);
    lm_runner_close(runner);
    chain_close(&chain);
}

static void cancelling(void **state)
{
    (void)state;
    struct chain chain;
    struct reader reader;
    chain_open("abcdef", true, 64, &chain);
    struct lm_runner *runner = attach(&chain, 0);
    const int32_t prompt = chain_id(&chain, 'a');
    for (int at = 1; at < 8; at++) {
        const struct lm_generation_options options = greedy(&reader);
        struct lm_generation got = {0};
        reader.cancel_at = at;
        assert_ok(lm_runner_generate(runner, &prompt, 1, &options, &got, &error), &error);
        assert_int_equal(got.reason, LM_STOP_CANCELLED);
        assert_true(got.tokens <= at);
        assert_int_equal(strncmp(got.text.data ? got.text.data : "", "bcdefabcdef", got.text.length), 0);
        assert_int_equal(reader.length, got.text.length);
        lm_generation_free(&got);
    }
    lm_runner_close(runner);
    chain_close(&chain);
}

/* End tokens can be ignored: the chain's end token has no successor, so that all logits are equal behind it and the lowest id wins. */
static void ignoring_the_end(void **state)
{
    (void)state;
    struct chain chain;
    struct reader reader;
    chain_open("ab", false, 64, &chain);
    struct lm_runner *runner = attach(&chain, 0);
    struct lm_generation_options options = greedy(&reader);
    struct lm_generation got = {0};
    const int32_t prompt = chain_id(&chain, 'a');
    options.ignore_end = true;
    options.max_tokens = 3;
    assert_ok(lm_runner_generate(runner, &prompt, 1, &options, &got, &error), &error);
    assert_int_equal(got.reason, LM_STOP_LENGTH);
    assert_int_equal(got.ids.length, 3);
    assert_int_equal(got.ids.data[0], chain_id(&chain, 'b'));
    assert_int_equal(got.ids.data[1], chain.end);
    assert_int_equal(got.ids.data[2], 0);
    lm_generation_free(&got);
    lm_runner_close(runner);
    chain_close(&chain);
}

/* Decoding takes no memory for a token: two hundred tokens make as many allocations as the lists of ids and bytes grow. */
static void allocations(void **state)
{
    (void)state;
    struct chain chain;
    chain_open("abcdef", true, 256, &chain);
    struct lm_runner *runner = attach(&chain, 0);
    const int32_t prompt = chain_id(&chain, 'a');
    struct lm_generation_options options = {.sampling = {.temperature = 0, .top_p = 1, .repetition_penalty = 1}};
    int64_t calls[2];
    for (int i = 0; i < 3; i++) {    /* the first one makes the cache */
        struct lm_generation got = {0};
        const int64_t before = lm_memory_calls();
        options.max_tokens = i == 2 ? 220 : 20;
        assert_ok(lm_runner_generate(runner, &prompt, 1, &options, &got, &error), &error);
        calls[i ? i - 1 : 0] = lm_memory_calls() - before;
        lm_generation_free(&got);
    }
    if (calls[1] - calls[0] > 21)    /* three lists from 20 to 220 that grow by half: 1.5^7 > 11 */
        fail_msg("200 tokens more made %lld allocations more", (long long)(calls[1] - calls[0]));
    lm_runner_close(runner);
    chain_close(&chain);
}

static void out_of_memory(void **state)
{
    (void)state;
    struct chain chain;
    struct reader reader;
    chain_open("abcdef", true, 64, &chain);
    struct lm_runner *runner = attach(&chain, 0);
    const int32_t ids[] = {chain_id(&chain, 'a'), chain_id(&chain, 'b')};
    struct lm_generation got = {0};
    int code = LOAM_ENOMEM, failures = 0;
    for (; code == LOAM_ENOMEM; failures++) {
        struct lm_generation_options options = greedy(&reader);
        options.max_tokens = 9;
        lm_memory_fail_after(failures + 1);
        code = lm_runner_generate(runner, ids, 2, &options, &got, &error);
        lm_memory_fail_after(-1);
        if (code != LOAM_OK)
            assert_null(got.text.data);
    }
    assert_ok(code, &error);
    assert_text(&got, &reader, "cdefabcde", LM_STOP_LENGTH);
    assert_true(failures > 3);
    lm_generation_free(&got);
    lm_runner_close(runner);
    chain_close(&chain);
}

/* --- A chat --- */

static void say(struct lm_conversation *conversation, enum lm_role role, const char *text)
{
    assert_ok(lm_conversation_add(conversation, role, text, strlen(text), &error), &error);
}

/* chatml's prompt ends "assistant\n": the chain begins there. The second turn computes only what is new. */
static void replies(void **state)
{
    (void)state;
    struct chain chain;
    struct reader reader;
    chain_open("\nHi!", false, 256, &chain);
    struct lm_runner *runner = attach(&chain, 0);
    struct lm_conversation conversation = {0};
    struct lm_rendered prompt = {0};
    struct lm_generation got = {0};
    struct lm_generation_options options = greedy(&reader);
    int64_t held = 0;
    for (int turn = 0; turn < 3; turn++) {
        options = greedy(&reader);
        say(&conversation, LM_USER, "hello");
        assert_ok(lm_runner_prompt(runner, &conversation, &prompt, &error), &error);
        assert_ok(lm_runner_reply(runner, &conversation, &options, &got, &error), &error);
        assert_text(&got, &reader, "Hi!", LM_STOP_END);
        assert_int_equal(got.end_id, chain.end);
        assert_int_equal(got.prompt_tokens, prompt.ids.length);
        assert_int_equal(got.reused, held);
        held = got.prompt_tokens + (int64_t)got.ids.length;    /* the answer's ids are the prompt's next ones: a byte each */
        say(&conversation, LM_ASSISTANT, got.text.data);
        lm_generation_free(&got);
    }
    conversation.messages[0].content[0] = 'j';    /* another beginning: only what stands before it is kept */
    options = greedy(&reader);
    say(&conversation, LM_USER, "x");
    assert_ok(lm_runner_reply(runner, &conversation, &options, &got, &error), &error);
    assert_text(&got, &reader, "Hi!", LM_STOP_END);
    assert_int_equal(got.reused, 1 + strlen("user\n"));
    lm_generation_free(&got);
    lm_rendered_free(&prompt);
    lm_conversation_free(&conversation);
    lm_runner_close(runner);
    chain_close(&chain);
}

static void without_template(void **state)
{
    (void)state;
    struct chain chain;
    struct lm_runner *runner;
    struct reader reader;
    chain_open("abc", false, 64, &chain);
    assert_ok(lm_runner_attach(chain.model, NULL, NULL, 0, &runner, &error), &error);
    struct lm_conversation conversation = {0};
    struct lm_generation got = {0};
    const struct lm_generation_options options = greedy(&reader);
    say(&conversation, LM_USER, "hello");
    assert_fails(lm_runner_reply(runner, &conversation, &options, &got, &error), &error, LOAM_ENOTFOUND, "template");
    const int32_t prompt = chain_id(&chain, 'a');
    struct lm_generation_options few = options;
    few.max_tokens = 2;
    assert_ok(lm_runner_generate(runner, &prompt, 1, &few, &got, &error), &error);    /* ids only */
    assert_int_equal(got.ids.length, 2);
    assert_int_equal(got.ids.data[1], chain_id(&chain, 'c'));
    assert_int_equal(reader.pieces, 0);
    lm_generation_free(&got);
    lm_conversation_free(&conversation);
    lm_runner_close(runner);
    chain_close(&chain);
}

/* The public face, on a directory. */
static void public_face(void **state)
{
    (void)state;
    struct chain chain;
    struct reader reader = {0};
    loam_model *model;
    chain_open("\nHi!", false, 128, &chain);
    const char *folder = test_path(test_folder(), "model");
    chain_save(&chain, folder);
    assert_ok(loam_model_open(folder, &model, &error), &error);
    loam_sampling how = loam_sampling_default();
    how.temperature = 0;
    for (int i = 0; i < 2; i++) {
        reader = (struct reader){0};
        assert_ok(loam_chat(model, "hello", &how, show, &reader, &error), &error);
        assert_string_equal(reader.text, "Hi!");
    }
    assert_ok(loam_chat_clear(model, "be brief", &error), &error);
    reader = (struct reader){0};
    assert_ok(loam_generate(model, "x\n", 2, &how, show, &reader, &error), &error);
    assert_string_equal(reader.text, "Hi");
    char long_text[256];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    assert_fails(loam_chat(model, long_text, &how, show, &reader, &error), &error, LOAM_EUSAGE, "context");
    reader = (struct reader){0};
    assert_ok(loam_chat(model, "hello", &how, show, &reader, &error), &error);    /* the long text did not stay */
    assert_string_equal(reader.text, "Hi!");
    loam_model_close(model);
    assert_ok(lm_remove_tree(test_path(folder, "tokenizer.json"), &error), &error);
    assert_fails(loam_model_open(folder, &model, &error), &error, LOAM_ENOTFOUND, "tokenizer");
    assert_ok(lm_remove_tree(folder, &error), &error);
    assert_fails(loam_model_open(folder, &model, &error), &error, LOAM_ENOTFOUND, folder);
    chain_close(&chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_characters), cmocka_unit_test(cut_character),    cmocka_unit_test(stop_texts),
        cmocka_unit_test(limits),           cmocka_unit_test(shifting), cmocka_unit_test(cancelling),       cmocka_unit_test(ignoring_the_end),
        cmocka_unit_test(allocations),      cmocka_unit_test(out_of_memory),    cmocka_unit_test(replies),
        cmocka_unit_test(without_template), cmocka_unit_test(public_face),
        cmocka_unit_test(ids_without_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
