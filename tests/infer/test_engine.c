/* The engine with a model whose answer is known to the byte, and with tiny models of every family against the model alone. */
#include "support/chain_model.h"

#include "infer/engine.h"

#include <math.h>
#include <pthread.h>

static loam_error error;

/* What a ticket gave, choice by choice. */
enum { CHOICES = 8 };
struct got {
    char text[CHOICES][1024];
    int32_t ids[CHOICES][512];
    int64_t tokens[CHOICES], ends;
    struct lm_event end[CHOICES];
};

static void drain(struct lm_ticket *ticket, struct got *got)
{
    struct lm_event event;
    memset(got, 0, sizeof *got);
    while (lm_ticket_next(ticket, -1, &event) && event.kind != LM_EVENT_DONE) {
        assert_true(event.choice >= 0 && event.choice < CHOICES);
        assert_int_equal(lm_utf8_check(event.text, event.length), event.length);
        strncat(got->text[event.choice], event.text, event.length);
        if (event.kind == LM_EVENT_TOKEN && got->tokens[event.choice] < 512) {
            got->ids[event.choice][got->tokens[event.choice]++] = event.id;
        } else if (event.kind != LM_EVENT_TOKEN) {
            got->end[event.choice] = event;
            got->ends++;
        }
    }
    assert_true(lm_ticket_next(ticket, 0, &event));    /* done stays done */
    assert_int_equal(event.kind, LM_EVENT_DONE);
}

static struct lm_request greedy(const int32_t *ids, size_t count, int64_t most)
{
    struct lm_request request = lm_request_default();
    request.sampling = (loam_sampling){.temperature = 0, .top_p = 1, .repetition_penalty = 1};
    request.ids = ids;
    request.count = count;
    request.max_tokens = most;
    return request;
}

static void ask(struct lm_engine *engine, const struct lm_request *request, struct got *got)
{
    struct lm_ticket *ticket;
    assert_ok(lm_engine_submit(engine, request, &ticket, &error), &error);
    drain(ticket, got);
    lm_ticket_free(ticket);
}

static struct lm_engine *attach(const struct chain *chain, const struct lm_engine_options *options)
{
    struct lm_engine *engine;
    const struct lm_template *chatml;
    assert_ok(lm_template_find("chatml", NULL, &chatml, &error), &error);
    assert_ok(lm_engine_attach(chain->model, chain->tokenizer, chatml, options, &engine, &error), &error);
    return engine;
}

static void text_and_stops(void **state)
{
    (void)state;
    static const struct {
        const char *stop, *wanted;
        enum lm_stop_reason reason;
        int64_t tokens;
    } cases[] = {
        {NULL, "bc\xc3\xa9" "d\xe2\x82\xac" "e", LM_STOP_END, 10},
        {"d\xe2\x82\xac", "bc\xc3\xa9", LM_STOP_STRING, 8},
        {"d!", "bc\xc3\xa9" "d\xe2\x82\xac" "e", LM_STOP_END, 10},
        {"e", "bc\xc3\xa9" "d\xe2\x82\xac", LM_STOP_STRING, 9},
        {"e!", "bc\xc3\xa9" "d\xe2\x82\xac" "e", LM_STOP_END, 10},    /* held back, given out with the end */
    };
    struct chain chain;
    chain_open("abc\xc3\xa9" "d\xe2\x82\xac" "e", false, 64, &chain);
    struct lm_engine *engine = attach(&chain, &(struct lm_engine_options){0});
    const int32_t prompt = chain_id(&chain, 'a');
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lm_request request = greedy(&prompt, 1, 0);
        struct got got;
        request.stops = &cases[i].stop;
        request.stop_count = cases[i].stop != NULL;
        ask(engine, &request, &got);
        assert_string_equal(got.text[0], cases[i].wanted);
        assert_int_equal(got.end[0].reason, cases[i].reason);
        assert_int_equal(got.end[0].usage.tokens, cases[i].tokens);
        assert_int_equal(got.end[0].end_id, cases[i].reason == LM_STOP_END ? chain.end : -1);
        assert_true(got.end[0].usage.seconds >= got.end[0].usage.seconds_to_first);
    }
    lm_engine_close(engine);
    chain_close(&chain);
}

/* Without room: refused, ended, or shifted, as asked for. */
static void overflow(void **state)
{
    (void)state;
    struct chain chain;
    struct got got;
    struct lm_ticket *ticket;
    int32_t ids[64];
    chain_open("abcdef", true, 20, &chain);
    for (int i = 0; i < 64; i++)
        ids[i] = chain_id(&chain, "abcdef"[i % 6]);
    struct lm_engine *engine = attach(&chain, &(struct lm_engine_options){0});
    assert_int_equal(lm_engine_context(engine), 20);
    struct lm_request request = greedy(ids, 3, 0);
    ask(engine, &request, &got);
    assert_string_equal(got.text[0], "defabcdefabcdefab");
    assert_int_equal(got.end[0].reason, LM_STOP_LENGTH);
    assert_int_equal(got.end[0].usage.shifted, 0);
    request = greedy(ids, 3, 18);
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "context", "20", "17");
    request = greedy(ids, 20, 0);
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "context", "20", "shift");
    request = greedy(ids, 0, 0);
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "empty");
    request = greedy(ids, 3, -1);
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "-1");
    request = greedy(ids, 3, 200);
    request.overflow = LM_OVERFLOW_SHIFT;
    request.keep = 2;
    ask(engine, &request, &got);    /* a ring knows only the last id: what is shifted out does not show */
    assert_int_equal(got.end[0].usage.tokens, 200);
    assert_int_equal(strlen(got.text[0]), 200);
    for (int i = 0; i < 200; i++)
        assert_int_equal(got.text[0][i], "abcdef"[(i + 3) % 6]);
    assert_true(got.end[0].usage.shifted >= 203 - 20 && got.end[0].usage.shifted % 9 == 0);
    request = greedy(ids, 64, 5);
    request.overflow = LM_OVERFLOW_SHIFT;
    ask(engine, &request, &got);
    assert_string_equal(got.text[0], "efabc");
    assert_true(got.end[0].usage.shifted >= 64 - 20);
    request.keep = 19;
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "keep", "18");
    enum lm_overflow policy;
    assert_ok(lm_overflow_parse("shift", &policy, &error), &error);
    assert_int_equal(policy, LM_OVERFLOW_SHIFT);
    assert_fails(lm_overflow_parse("drop", &policy, &error), &error, LOAM_EUSAGE, "drop", "refuse");
    lm_engine_close(engine);
    chain_close(&chain);
}

static void wrong_requests(void **state)
{
    (void)state;
    struct chain chain;
    struct lm_ticket *ticket;
    chain_open("abcdef", true, 64, &chain);
    struct lm_engine *engine = attach(&chain, &(struct lm_engine_options){0});
    int32_t ids[2] = {chain_id(&chain, 'a'), 100000};
    struct lm_request request = greedy(ids, 2, 4);
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "100000", "token 1");
    ids[1] = -1;
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "-1");
    request.count = 1;
    request.sampling.top_p = 7;
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "top-p");
    request = greedy(ids, 1, 4);
    request.presence_penalty = 3;
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "presence_penalty", "3");
    request = greedy(ids, 1, 4);
    request.logprobs = 21;
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "logprobs", "21");
    request = greedy(ids, 1, 4);
    request.choices = 1000;
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "choices");
    request = greedy(ids, 1, 4);
    request.biases = &(struct lm_logit_bias){.id = 99999, .bias = 1};
    request.bias_count = 1;
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "logit_bias", "99999");
    request.biases = &(struct lm_logit_bias){.id = 1, .bias = NAN};
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "logit_bias", "nan");
    struct lm_engine_stats stats;
    lm_engine_stats(engine, &stats);
    assert_int_equal(stats.refused, 8);
    assert_int_equal(stats.requests, 0);
    lm_engine_close(engine);
    struct lm_engine *none;
    assert_fails(lm_engine_attach(chain.model, NULL, NULL, &(struct lm_engine_options){.cache = 10}, &none, &error), &error,
                 LOAM_EUSAGE, "cache", "10", "64");
    chain_close(&chain);
}

/* Biases forbid and force; penalties make repeated tokens less likely; logprobs are those of the model. */
static void shaping(void **state)
{
    (void)state;
    struct chain chain;
    struct got got;
    chain_open("abcdef", true, 64, &chain);
    struct lm_engine *engine = attach(&chain, &(struct lm_engine_options){0});
    const int32_t prompt = chain_id(&chain, 'a');
    struct lm_logit_bias bias = {.id = chain_id(&chain, 'b'), .bias = -INFINITY};
    struct lm_request request = greedy(&prompt, 1, 3);
    request.biases = &bias;
    request.bias_count = 1;
    ask(engine, &request, &got);
    assert_true(got.ids[0][0] != bias.id);
    bias = (struct lm_logit_bias){.id = chain_id(&chain, 'f'), .bias = 1e6F};
    ask(engine, &request, &got);
    assert_string_equal(got.text[0], "fff");
    /* With f forced by no more than the chain's own logit and what two repetitions cost, the third is the chain's again. */
    request = greedy(&prompt, 1, 8);
    request.logprobs = 2;
    struct lm_ticket *ticket;
    struct lm_event event;
    assert_ok(lm_engine_submit(engine, &request, &ticket, &error), &error);
    for (int i = 0; i < 8; i++) {
        assert_true(lm_ticket_next(ticket, 10, &event));
        assert_int_equal(event.kind, LM_EVENT_TOKEN);
        assert_int_equal(event.top_count, 2);
        assert_int_equal(event.top[0].id, event.id);
        assert_true(event.top[0].logprob == event.logprob && event.logprob < 0 && event.top[1].logprob < event.logprob);
        assert_true(exp(event.logprob) + exp(event.top[1].logprob) <= 1.0001);
    }
    lm_ticket_free(ticket);
    request = greedy(&prompt, 1, 12);
    request.frequency_penalty = 2;
    request.presence_penalty = 2;
    struct lm_logit_bias stay = {.id = chain_id(&chain, 'f'), .bias = 0};
    request.biases = &stay;
    request.bias_count = 1;
    request.logprobs = 20;
    /* The gap between f and the chain's next token, from a run of one token. */
    request.max_tokens = 1;
    assert_ok(lm_engine_submit(engine, &request, &ticket, &error), &error);
    assert_true(lm_ticket_next(ticket, 10, &event));
    const double gap = event.top[0].logprob - event.top[1].logprob;
    lm_ticket_free(ticket);
    request.logprobs = -1;
    request.max_tokens = 3;
    stay.bias = (float)(gap + 5);    /* f wins by 5; after once it costs 4, after twice 6 */
    ask(engine, &request, &got);
    assert_int_equal(got.text[0][0], 'f');
    assert_int_equal(got.text[0][1], 'f');
    assert_int_equal(got.text[0][2], 'a');    /* f's own next */
    lm_engine_close(engine);
    chain_close(&chain);
}

/* The second request takes over what the first one computed: whole pages shared, the page in which they part copied. */
static void reuse(void **state)
{
    (void)state;
    struct chain chain;
    struct got got;
    int32_t ids[300];
    chain_open("abcdef", true, 400, &chain);
    for (int i = 0; i < 300; i++)
        ids[i] = chain_id(&chain, "abcdef"[i % 6]);
    for (int no_reuse = 0; no_reuse < 2; no_reuse++) {
        struct lm_engine *engine = attach(&chain, &(struct lm_engine_options){.no_reuse = no_reuse});
        struct lm_request request = greedy(ids, 200, 10);
        ask(engine, &request, &got);
        assert_string_equal(got.text[0], "cdefabcdef");
        assert_int_equal(got.end[0].usage.reused, 0);
        ask(engine, &request, &got);
        assert_int_equal(got.end[0].usage.reused, no_reuse ? 0 : 199);
        request = greedy(ids, 210, 10);    /* what it generated is the next turn's prompt */
        ask(engine, &request, &got);
        assert_string_equal(got.text[0], "abcdefabcd");
        assert_int_equal(got.end[0].usage.reused, no_reuse ? 0 : 209);
        const int32_t was = ids[100];
        ids[100] = chain_id(&chain, 'x');
        request = greedy(ids, 150, 3);
        ask(engine, &request, &got);
        assert_string_equal(got.text[0], "abc");
        assert_int_equal(got.end[0].usage.reused, no_reuse ? 0 : 100);
        ids[100] = was;
        struct lm_engine_stats stats;
        lm_engine_stats(engine, &stats);
        assert_int_equal(stats.requests, 4);
        assert_int_equal(stats.ended, 4);
        assert_int_equal(stats.tokens, 33);
        assert_int_equal(stats.prompt_tokens, 200 + 200 + 210 + 150);
        assert_int_equal(stats.reused_tokens, no_reuse ? 0 : 199 + 209 + 100);
        assert_int_equal(stats.pages_used, 0);
        assert_true(no_reuse ? stats.pages_kept == 0 : stats.pages_kept > 3);
        lm_engine_close(engine);
    }
    chain_close(&chain);
}

/* More sequences than pages: those that came last step back, and everybody gets the right answer. */
static void too_few_pages(void **state)
{
    (void)state;
    enum { REQUESTS = 12 };
    struct chain chain;
    chain_open("abcdefghijklm", true, 256, &chain);
    struct lm_engine *engine = attach(&chain, &(struct lm_engine_options){.cache = 320, .streams = 6});
    struct lm_ticket *tickets[REQUESTS];
    for (int i = 0; i < REQUESTS; i++) {
        const int32_t ids[2] = {chain_id(&chain, "abcdefghijklm"[i]), chain_id(&chain, "abcdefghijklm"[(i + 1) % 13])};
        const struct lm_request request = greedy(ids, 2, 200);
        assert_ok(lm_engine_submit(engine, &request, &tickets[i], &error), &error);
    }
    for (int i = 0; i < REQUESTS; i++) {
        struct got got;
        drain(tickets[i], &got);
        assert_int_equal(got.tokens[0], 200);
        for (int t = 0; t < 200; t++)
            assert_int_equal(got.text[0][t], "abcdefghijklm"[(i + 2 + t) % 13]);
        lm_ticket_free(tickets[i]);
    }
    struct lm_engine_stats stats;
    lm_engine_stats(engine, &stats);
    assert_true(stats.stepped_back > 0);
    assert_true(stats.rows > stats.passes);    /* they went together */
    assert_int_equal(stats.pages_used, 0);
    lm_engine_close(engine);
    chain_close(&chain);
}

/* Choices share the prompt, differ by their seeds, and each is what its seed gives alone. */
static void choices(void **state)
{
    (void)state;
    struct chain chain;
    int32_t ids[100];
    chain_open("abcdef", true, 256, &chain);
    for (int i = 0; i < 100; i++)
        ids[i] = chain_id(&chain, "abcdef"[i % 6]);
    struct lm_engine *engine = attach(&chain, &(struct lm_engine_options){.streams = 4});
    struct lm_request request = greedy(ids, 100, 20);
    request.sampling.temperature = 30;    /* the chain is strong: this makes it wander */
    request.sampling.seed = 7;
    request.choices = 6;
    request.ignore_end = true;
    struct got all;
    ask(engine, &request, &all);
    assert_int_equal(all.ends, 6);
    int differ = 0;
    for (int i = 0; i < 6; i++) {
        struct got one;
        struct lm_request alone = request;
        alone.choices = 1;
        alone.sampling.seed = 7 + (uint64_t)i;
        ask(engine, &alone, &one);
        assert_int_equal(all.tokens[i], 20);
        assert_memory_equal(one.ids[0], all.ids[i], 20 * sizeof(int32_t));
        assert_int_equal(all.end[i].usage.reused, i ? 99 : 0);
        differ += memcmp(all.ids[i], all.ids[0], 20 * sizeof(int32_t)) != 0;
    }
    assert_true(differ >= 4);
    lm_engine_close(engine);
    chain_close(&chain);
}

static void cancelling(void **state)
{
    (void)state;
    struct chain chain;
    struct got got;
    chain_open("abcdef", true, 2000, &chain);
    struct lm_engine *engine = attach(&chain, &(struct lm_engine_options){.streams = 1, .queue = 2});
    const int32_t prompt = chain_id(&chain, 'a');
    const struct lm_request request = greedy(&prompt, 1, 1900);
    struct lm_ticket *running, *waiting[2], *refused;
    struct lm_event event;
    assert_ok(lm_engine_submit(engine, &request, &running, &error), &error);
    assert_true(lm_ticket_next(running, -1, &event));
    assert_ok(lm_engine_submit(engine, &request, &waiting[0], &error), &error);
    assert_ok(lm_engine_submit(engine, &request, &waiting[1], &error), &error);
    assert_fails(lm_engine_submit(engine, &request, &refused, &error), &error, LOAM_EBUSY, "2 requests wait");
    assert_false(lm_ticket_next(waiting[1], 0, &event));
    lm_ticket_cancel(waiting[1]);    /* in line: it never ran */
    drain(waiting[1], &got);
    assert_int_equal(got.end[0].reason, LM_STOP_CANCELLED);
    assert_int_equal(got.tokens[0], 0);
    lm_ticket_cancel(running);
    drain(running, &got);
    assert_int_equal(got.end[0].reason, LM_STOP_CANCELLED);
    assert_true(got.tokens[0] < 1899);
    assert_true(lm_ticket_next(waiting[0], -1, &event));    /* whose turn it is now */
    assert_int_equal(event.kind, LM_EVENT_TOKEN);
    lm_ticket_free(running);
    lm_ticket_free(waiting[1]);
    lm_engine_close(engine);    /* ends it; the ticket lives on */
    drain(waiting[0], &got);
    assert_int_equal(got.end[0].reason, LM_STOP_CANCELLED);
    lm_ticket_free(waiting[0]);
    chain_close(&chain);
}

/* Each family, alone and among others, cold and on a warm cache: the tokens of the model computed without the engine. */
static void families(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "llama2", "llama3-untied", "llama3-tied", "mistral", "qwen2", "qwen3"};
    enum { PROMPT = 5, STEPS = 12, REQUESTS = 5 };
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct lm_device *device;
        struct lm_model *model;
        const char *folder = test_path(LOAM_TESTS "/golden/models", names[n]);
        assert_ok(lm_device_open(&(struct lm_device_options){.threads = 2}, &device, &error), &error);
        assert_ok(lm_model_open(folder, device, &(struct lm_model_options){0}, &model, &error), &error);
        int32_t wanted[REQUESTS][PROMPT + STEPS];
        const int64_t vocabulary = lm_model_config(model)->vocabulary;
        struct lm_random random = lm_random_seed(3, 0);
        for (int i = 0; i < REQUESTS; i++) {
            struct lm_cache *cache;
            float *logits;
            for (int t = 0; t < PROMPT; t++)
                wanted[i][t] = (int32_t)lm_random_below(&random, (uint64_t)vocabulary);
            assert_ok(lm_cache_create(model, PROMPT + STEPS, LM_F32, &cache, &error), &error);
            for (int t = 0; t < STEPS; t++) {
                assert_ok(lm_model_extend(model, cache, wanted[i] + (t ? PROMPT + t - 1 : 0), t ? 1 : PROMPT, &logits, &error),
                          &error);
                int32_t best = 0;
                for (int64_t v = 1; v < vocabulary; v++)
                    best = logits[v] > logits[best] ? (int32_t)v : best;
                wanted[i][PROMPT + t] = best;
            }
            lm_cache_free(cache);
        }
        struct lm_engine *engine;
        assert_ok(lm_engine_attach(model, NULL, NULL, &(struct lm_engine_options){.streams = 4, .cache = 2048}, &engine, &error),
                  &error);
        for (int round = 0; round < 2; round++) {
            struct lm_ticket *tickets[REQUESTS];
            for (int i = 0; i < REQUESTS; i++) {
                struct lm_request request = greedy(wanted[i], PROMPT, STEPS);
                request.ignore_end = true;
                assert_ok(lm_engine_submit(engine, &request, &tickets[i], &error), &error);
            }
            for (int i = 0; i < REQUESTS; i++) {
                struct got got;
                drain(tickets[i], &got);
                assert_int_equal(got.tokens[0], STEPS);
                assert_memory_equal(got.ids[0], wanted[i] + PROMPT, STEPS * sizeof(int32_t));
                if (got.end[0].usage.reused != (round ? PROMPT - 1 : 0))
                    fail_msg("%s: round %d, request %d: %lld reused", names[n], round, i, (long long)got.end[0].usage.reused);
                lm_ticket_free(tickets[i]);
            }
        }
        lm_engine_close(engine);
        lm_model_close(model);
        lm_device_close(device);
    }
}

/* The same bits alone and among others: sampled tokens and logprobs of a request with a long prompt. */
static void same_bits(void **state)
{
    (void)state;
    enum { PROMPT = 150, STEPS = 30, OTHERS = 7 };
    struct lm_device *device;
    struct lm_model *model;
    struct lm_engine *engine;
    struct lm_event event;
    float alone[STEPS];
    int32_t ids[OTHERS + 1][PROMPT], picked[STEPS];
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 2}, &device, &error), &error);
    struct lm_config config;
    assert_ok(lm_config_like("llama-3.2-1b", &config, &error), &error);
    config.vocabulary = 256, config.width = 64, config.layers = 2, config.heads = 4, config.kv_heads = 2, config.head_size = 16;
    config.feed_forward = 128, config.context = 256, config.bos = config.eos = config.pad = -1;
    assert_ok(lm_model_create(&config, 1, device, &(struct lm_model_options){.dtype = LM_BF16}, &model, &error), &error);
    assert_ok(lm_engine_attach(model, NULL, NULL, &(struct lm_engine_options){.no_reuse = true, .cache = 8 * 256}, &engine,
                               &error), &error);    /* room for all: nobody steps back */
    const int64_t prompt = PROMPT;
    struct lm_random random = lm_random_seed(4, 0);
    for (int i = 0; i <= OTHERS; i++)
        for (int t = 0; t < PROMPT; t++)
            ids[i][t] = (int32_t)lm_random_below(&random, (uint64_t)lm_engine_config(engine)->vocabulary);
    for (int round = 0; round < 3; round++) {
        struct lm_ticket *ticket, *others[OTHERS];
        for (int i = 0; round && i < OTHERS; i++) {
            struct lm_request request = greedy(ids[i + 1], (size_t)(prompt - 9 * i), STEPS);
            assert_ok(lm_engine_submit(engine, &request, &others[i], &error), &error);
        }
        struct lm_request request = greedy(ids[0], (size_t)prompt, STEPS);
        request.sampling.temperature = 1;
        request.sampling.seed = 11;
        request.ignore_end = true;
        request.logprobs = 0;
        assert_ok(lm_engine_submit(engine, &request, &ticket, &error), &error);
        for (int t = 0; t < STEPS; t++) {
            assert_true(lm_ticket_next(ticket, -1, &event));
            assert_int_equal(event.kind, LM_EVENT_TOKEN);
            if (round == 0) {
                picked[t] = event.id;
                alone[t] = event.logprob;
            }
            assert_int_equal(event.id, picked[t]);
            assert_memory_equal(&event.logprob, &alone[t], sizeof(float));
        }
        lm_ticket_free(ticket);
        for (int i = 0; round && i < OTHERS; i++)
            lm_ticket_free(others[i]);
    }
    lm_engine_close(engine);
    lm_model_close(model);
    lm_device_close(device);
}

/* --- Many threads --- */

struct client {
    struct lm_engine *engine;
    const struct chain *chain;
    uint64_t seed;
    int wrong, cancelled;
    struct lm_ticket *ticket;
    int64_t notified, early;    /* early: before the ticket was there */
};

static void count_notify(void *user)
{
    struct client *client = user;    /* these two are the computing thread's alone until lm_ticket_free has returned */
    client->notified++;
    client->early += client->ticket == NULL;
}

static void *chat(void *user)
{
    struct client *client = user;
    struct lm_random random = lm_random_seed(client->seed, 0);
    static const char ring[] = "abcdefghijklm";
    for (int i = 0; i < 12; i++) {
        const int at = (int)lm_random_below(&random, 13), length = 1 + (int)lm_random_below(&random, 90);
        int32_t ids[100];
        loam_error failed;
        for (int t = 0; t < length; t++)
            ids[t] = chain_id(client->chain, ring[(at + t) % 13]);
        struct lm_request request = greedy(ids, (size_t)length, 40);
        struct lm_event event;
        request.notify = count_notify;
        request.user = client;
        request.choices = (int64_t)lm_random_below(&random, 3);
        const int64_t cancel_at = lm_random_below(&random, 3) ? -1 : (int64_t)lm_random_below(&random, 40);
        const bool leaves = lm_random_below(&random, 4) == 0;
        if (lm_engine_submit(client->engine, &request, &client->ticket, &failed) != LOAM_OK) {
            client->wrong += failed.code != LOAM_EBUSY || client->ticket;
            continue;
        }
        struct lm_ticket *ticket = client->ticket;
        int64_t tokens = 0, first = 0;
        while (lm_ticket_next(ticket, -1, &event) && event.kind != LM_EVENT_DONE) {
            if (event.kind == LM_EVENT_TOKEN && event.choice == 0)
                client->wrong += event.length != 1 || event.text[0] != ring[(at + length + first++) % 13];
            client->wrong += event.kind == LM_EVENT_FAILED;
            client->cancelled += event.kind == LM_EVENT_END && event.reason == LM_STOP_CANCELLED;
            if (event.kind == LM_EVENT_TOKEN && tokens++ == cancel_at) {
                if (leaves)
                    break;
                lm_ticket_cancel(ticket);
            }
        }
        lm_ticket_free(ticket);
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    enum { CLIENTS = 12 };
    struct chain chain;
    struct client clients[CLIENTS];
    pthread_t threads[CLIENTS];
    chain_open("abcdefghijklm", true, 200, &chain);
    struct lm_engine *engine = attach(&chain, &(struct lm_engine_options){.streams = 5, .cache = 640, .queue = 16});
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.engine = engine, .chain = &chain, .seed = (uint64_t)i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, chat, &clients[i]), 0);
    }
    struct lm_engine_stats stats;
    lm_engine_stats(engine, &stats);
    int64_t notified = 0;
    int cancelled = 0;
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(clients[i].wrong, 0);
        assert_int_equal(clients[i].early, 0);
        notified += clients[i].notified;
        cancelled += clients[i].cancelled;
    }
    assert_true(notified > 1000);
    assert_true(cancelled > 3);
    struct got got;
    const int32_t prompt = chain_id(&chain, 'a');
    const struct lm_request request = greedy(&prompt, 1, 3);
    ask(engine, &request, &got);
    assert_string_equal(got.text[0], "bcd");
    lm_engine_close(engine);
    chain_close(&chain);
}

/* Whatever allocation fails: an error, and the next request is answered. */
static void out_of_memory(void **state)
{
    (void)state;
    struct chain chain;
    struct got got;
    chain_open("abcdef", true, 64, &chain);
    struct lm_engine *engine = attach(&chain, &(struct lm_engine_options){0});
    const int32_t prompt = chain_id(&chain, 'a');
    struct lm_request request = greedy(&prompt, 1, 12);
    const char *stop = "zz";
    struct lm_logit_bias bias = {.id = 1, .bias = 0};
    request.stops = &stop;
    request.biases = &bias;
    request.stop_count = request.bias_count = 1;
    request.choices = 2;
    request.frequency_penalty = 0.001;
    request.logprobs = 3;
    int refused = 0, failed = 0;
    for (int n = 1; n < 400; n++) {
        struct lm_ticket *ticket;
        lm_memory_fail_after(n);
        const int code = lm_engine_submit(engine, &request, &ticket, &error);
        if (code != LOAM_OK) {
            lm_memory_fail_after(-1);
            assert_int_equal(code, LOAM_ENOMEM);
            refused++;
            continue;
        }
        drain(ticket, &got);
        lm_memory_fail_after(-1);
        lm_ticket_free(ticket);
        assert_int_equal(got.ends, 2);
        for (int i = 0; i < 2; i++)
            if (got.end[i].kind == LM_EVENT_FAILED) {
                assert_int_equal(got.end[i].error.code, LOAM_ENOMEM);
                failed++;
            } else {
                assert_string_equal(got.text[i], "bcdefabcdefa");
            }
        if (got.end[0].kind == LM_EVENT_END && got.end[1].kind == LM_EVENT_END)
            break;
    }
    assert_true(refused > 5);
    assert_true(failed > 3);
    ask(engine, &request, &got);
    assert_string_equal(got.text[1], "bcdefabcdefa");
    lm_engine_close(engine);
    chain_close(&chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_stops), cmocka_unit_test(overflow),     cmocka_unit_test(wrong_requests),
        cmocka_unit_test(shaping),        cmocka_unit_test(reuse),        cmocka_unit_test(too_few_pages),
        cmocka_unit_test(choices),        cmocka_unit_test(cancelling),   cmocka_unit_test(families),
        cmocka_unit_test(same_bits),      cmocka_unit_test(many_threads), cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
