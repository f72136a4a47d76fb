/* An answer that is known beforehand, scored behind the prompt: its probability is the model's own, and what follows is the same to
 * the bit whether anything was scored or not. */
#include "support/chain_model.h"

#include "infer/infer.h"

#include <math.h>

static loam_error error;

static struct lm_request sampled(const int32_t *ids, size_t count, int64_t most)
{
    struct lm_request request = lm_request_default();
    request.sampling = (loam_sampling){.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 5};
    request.ids = ids;
    request.count = count;
    request.max_tokens = most;
    request.ignore_end = true;
    return request;
}

enum { MOST = 24 };
struct got {
    int32_t ids[MOST];
    int64_t tokens;
    struct lm_event end;
};

static void ask(struct lm_engine *engine, const struct lm_request *request, struct got *got)
{
    struct lm_ticket *ticket;
    struct lm_event event;
    *got = (struct got){0};
    assert_ok(lm_engine_submit(engine, request, &ticket, &error), &error);
    while (lm_ticket_next(ticket, -1, &event) && event.kind != LM_EVENT_DONE) {
        if (event.kind == LM_EVENT_TOKEN)
            got->ids[got->tokens++] = event.id;
        else
            got->end = event;
    }
    lm_ticket_free(ticket);
}

/* The probability by the model without an engine. */
static double probability(struct lm_model *model, const int32_t *ids, int64_t prompt, int64_t expected)
{
    const int64_t vocabulary = lm_model_config(model)->vocabulary;
    float *logits = lm_alloc((size_t)((prompt + expected) * vocabulary), sizeof *logits, &error);
    assert_non_null(logits);
    assert_ok(lm_model_logits(model, ids, prompt + expected, logits, &error), &error);
    double sum = 0;
    for (int64_t i = 0; i < expected; i++) {
        const float *row = logits + (prompt - 1 + i) * vocabulary;
        double all = 0;
        for (int64_t v = 0; v < vocabulary; v++)
            all += exp((double)row[v]);
        sum += (double)row[ids[prompt + i]] - log(all);
    }
    lm_free(logits);
    return exp(sum);
}

/* Prompts around the ends of pages and pieces; the expected ids are the likeliest ones, so that their probability is not tiny. */
static void as_the_model_has_it(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "llama3-tied", "mistral", "qwen3"};
    static const int64_t prompts[] = {1, 5, 17, 27};
    enum { EXPECTED = 4 };
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        struct lm_device *device;
        struct lm_model *model;
        struct lm_engine *engine;
        assert_ok(lm_device_open(&(struct lm_device_options){.threads = 2}, &device, &error), &error);
        assert_ok(lm_model_open(test_path(LOAM_TESTS "/golden/models", names[n]), device, &(struct lm_model_options){0}, &model, &error),
                  &error);
        assert_ok(lm_engine_attach(model, NULL, NULL, &(struct lm_engine_options){.streams = 2, .cache = 2048}, &engine, &error), &error);
        const int64_t vocabulary = lm_model_config(model)->vocabulary;
        struct lm_random random = lm_random_seed(9, n);
        for (size_t p = 0; p < sizeof prompts / sizeof *prompts; p++) {
            int32_t ids[64];
            const int64_t prompt = prompts[p];
            if (prompt + EXPECTED + MOST > lm_engine_context(engine))
                continue;
            for (int64_t i = 0; i < prompt; i++)
                ids[i] = (int32_t)lm_random_below(&random, (uint64_t)vocabulary);
            struct got plain, scored;
            struct lm_request request = sampled(ids, (size_t)prompt, EXPECTED);
            request.sampling.temperature = 0;
            ask(engine, &request, &plain);
            memcpy(ids + prompt, plain.ids, EXPECTED * sizeof *ids);
            const double wanted = probability(model, ids, prompt, EXPECTED);
            request = sampled(ids, (size_t)prompt, MOST);
            ask(engine, &request, &plain);
            assert_true(plain.end.usage.expected == -1);
            request.expected = ids + prompt;
            request.expected_count = EXPECTED;
            request.expected_threshold = wanted * 0.999;
            ask(engine, &request, &scored);
            assert_int_equal(scored.end.reason, LM_STOP_EXPECTED);
            assert_int_equal(scored.tokens, 0);
            assert_int_equal(scored.end.usage.tokens, 0);
            assert_true(fabs(scored.end.usage.expected / wanted - 1) < 1e-3);
            request.expected_threshold = wanted * 1.001;
            ask(engine, &request, &scored);
            assert_int_equal(scored.end.reason, LM_STOP_LENGTH);
            assert_int_equal(scored.tokens, plain.tokens);
            assert_memory_equal(scored.ids, plain.ids, sizeof plain.ids);
            assert_true(fabs(scored.end.usage.expected / wanted - 1) < 1e-3);
        }
        lm_engine_close(engine);
        lm_model_close(model);
        lm_device_close(device);
    }
}

/* Beside others that decode, at the end of the context, and with values that are none. */
static void edges(void **state)
{
    (void)state;
    struct chain chain;
    struct lm_engine *engine;
    struct got got;
    struct lm_ticket *ticket;
    int32_t ids[64];
    chain_open("abcdef", false, 20, &chain);
    assert_ok(lm_engine_attach(chain.model, chain.tokenizer, NULL, &(struct lm_engine_options){.streams = 1}, &engine, &error), &error);
    for (int i = 0; i < 64; i++)
        ids[i] = chain_id(&chain, "abcdef"[i % 6]);
    const int32_t rest[] = {chain_id(&chain, 'd'), chain_id(&chain, 'e'), chain_id(&chain, 'f'), chain.end};
    struct lm_request request = sampled(ids, 3, 4);
    request.expected = rest;
    request.expected_count = 4;
    request.expected_threshold = 0.5;
    ask(engine, &request, &got);
    assert_int_equal(got.end.reason, LM_STOP_EXPECTED);
    request.expected_count = 1;
    ask(engine, &request, &got);
    assert_int_equal(got.end.reason, LM_STOP_EXPECTED);
    request.count = 15;    /* 15 + 4 are in the context, 18 + 4 are not */
    request.expected_count = 4;
    ask(engine, &request, &got);
    assert_int_equal(got.end.reason, LM_STOP_EXPECTED);
    request.count = 18;
    request.max_tokens = 1;
    request.expected = rest + 3;    /* f was last: the end comes, without room for anything */
    request.expected_count = 1;
    ask(engine, &request, &got);
    assert_int_equal(got.end.reason, LM_STOP_EXPECTED);
    const int32_t long_one[] = {chain.end, chain.end, chain.end};
    request.expected = long_one;
    request.expected_count = 3;
    ask(engine, &request, &got);
    assert_int_equal(got.tokens, 1);
    request.expected_threshold = 1;    /* nothing exceeds it */
    request.expected_count = 1;
    ask(engine, &request, &got);
    assert_int_equal(got.tokens, 1);
    request.expected_threshold = 1.5;
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "expected_threshold", "1.5");
    request.expected_threshold = 0.5;
    request.expected = ids;
    request.expected_count = 17;
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "expected", "17", "16");
    ids[1] = 100000;
    request.expected_count = 2;
    request.ids = rest, request.count = 1;
    assert_fails(lm_engine_submit(engine, &request, &ticket, &error), &error, LOAM_EUSAGE, "expected", "100000");
    lm_engine_close(engine);
    chain_close(&chain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_the_model_has_it), cmocka_unit_test(edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
