/* One token after the other, until something ends it. */
#include "outlet.h"
#include "runner.h"

const char *lm_stop_reason_name(enum lm_stop_reason reason)
{
    static const char *const names[] = {"end", "stop", "length", "cancelled", "expected"};
    return names[reason];
}

struct lm_generation_options lm_generation_default(void)
{
    return (struct lm_generation_options){.sampling = loam_sampling_default()};
}

double lm_generation_rate(const struct lm_generation *generation)
{
    const double seconds = generation->seconds - generation->seconds_to_first;
    return generation->tokens > 1 && seconds > 0 ? (double)(generation->tokens - 1) / seconds : 0;
}

void lm_generation_free(struct lm_generation *generation)
{
    lm_ids_free(&generation->ids);
    lm_bytes_free(&generation->text);
    *generation = (struct lm_generation){0};
}

static int check(const struct lm_runner *runner, size_t count, const struct lm_generation_options *options,
                 loam_error *error)
{
    if (count == 0)
        return lm_fail(error, LOAM_EUSAGE, "the prompt is empty; give at least one token to go on from");
    if (options->max_tokens < 0)
        return lm_fail(error, LOAM_EUSAGE, "max-tokens: found %lld, wanted 1 or more, or 0 for all that fit",
                       (long long)options->max_tokens);
    const int64_t room = runner->context - (int64_t)count;
    if (room < 1)
        return lm_fail(error, LOAM_EUSAGE, "the prompt is %zu tokens and the context %lld: no room for an answer; shorten the "
                       "prompt, begin anew, or let the oldest tokens go (overflow shift)", count, (long long)runner->context);
    if (options->max_tokens > room)
        return lm_fail(error, LOAM_EUSAGE, "the prompt is %zu tokens and %lld more are wanted, but the context is %lld; ask for at "
                       "most %lld", count, (long long)options->max_tokens, (long long)runner->context, (long long)room);
    return LOAM_OK;
}

/* The cache, made at the first use. Its pages are only taken up as positions come to be used. */
static int need_cache(struct lm_runner *runner, loam_error *error)
{
    if (runner->cache)
        return LOAM_OK;
    return lm_cache_create(runner->model, runner->context, LM_F32, &runner->cache, error);
}

/* Keeps of the cache what the prompt begins with, all but the prompt's last token, whose logits are wanted. */
static size_t reuse(struct lm_runner *runner, const int32_t *ids, size_t count)
{
    size_t same = 0;
    while (same < runner->held.length && same + 1 < count && runner->held.data[same] == ids[same])
        same++;
    runner->held.length = same;
    lm_cache_cut(runner->cache, (int64_t)same);
    return same;
}

static int extend(struct lm_runner *runner, const int32_t *ids, size_t count, float **logits, loam_error *error)
{
    int code = lm_model_extend(runner->model, runner->cache, ids, (int64_t)count, logits, error);
    if (code == LOAM_OK)
        code = lm_ids_append(&runner->held, ids, count, error);
    if (code != LOAM_OK) {    /* the cache and the list of what it holds must agree */
        runner->held.length = 0;
        lm_cache_cut(runner->cache, 0);
    }
    return code;
}

static bool is_end(const struct lm_runner *runner, int32_t id)
{
    for (size_t i = 0; i < runner->ends.length; i++)
        if (runner->ends.data[i] == id)
            return true;
    return false;
}

/* What one generation works with. */
struct work {
    struct lm_runner *runner;
    const struct lm_generation_options *options;
    struct lm_sampler *sampler;
    struct lm_outlet outlet;
    struct lm_generation *result;
    double begin;
};

static bool cancelled(const struct work *work)
{
    return work->options->cancelled && work->options->cancelled(work->options->user);
}

/* Tokens until one ends it; the reason is in the result. The prompt's logits are there. */
static int run(struct work *work, float *logits, int64_t most, loam_error *error)
{
    struct lm_generation *result = work->result;
    for (;;) {
        int32_t id;
        int code = lm_sampler_pick(work->sampler, logits, &id, error);
        if (code != LOAM_OK)
            return code;
        if (result->tokens++ == 0)
            result->seconds_to_first = lm_seconds() - work->begin;
        if (!work->options->ignore_end && is_end(work->runner, id)) {
            result->reason = LM_STOP_END;
            result->end_id = id;
            return LOAM_OK;
        }
        code = lm_ids_push(&result->ids, id, error);
        if (code == LOAM_OK)
            code = lm_outlet_push(&work->outlet, id, error);
        if (code != LOAM_OK)
            return code;
        result->reason = work->outlet.stopped ? LM_STOP_STRING : cancelled(work) ? LM_STOP_CANCELLED : LM_STOP_LENGTH;
        if (result->reason != LM_STOP_LENGTH || result->tokens == most)
            return LOAM_OK;
        code = extend(work->runner, &id, 1, &logits, error);
        if (code != LOAM_OK)
            return code;
    }
}

static int generate(struct work *work, const int32_t *ids, size_t count, loam_error *error)
{
    struct lm_runner *runner = work->runner;
    int code = need_cache(runner, error);
    if (code == LOAM_OK)
        code = lm_sampler_create(&work->options->sampling, lm_model_config(runner->model)->vocabulary, &work->sampler, error);
    if (code != LOAM_OK)
        return code;
    for (size_t i = 0; i < count; i++)
        lm_sampler_see(work->sampler, ids[i]);
    const size_t same = reuse(runner, ids, count);
    work->result->prompt_tokens = (int64_t)count;
    work->result->reused = (int64_t)same;
    float *logits;
    code = extend(runner, ids + same, count - same, &logits, error);
    if (code != LOAM_OK)
        return code;
    const int64_t room = runner->context - (int64_t)count, asked = work->options->max_tokens;
    code = run(work, logits, asked > 0 ? asked : room, error);
    if (code == LOAM_OK)
        code = lm_outlet_finish(&work->outlet, error);
    if (code == LOAM_OK && work->outlet.stopped)
        work->result->reason = LM_STOP_STRING;
    return code;
}

int lm_runner_generate(struct lm_runner *runner, const int32_t *ids, size_t count,
                       const struct lm_generation_options *options, struct lm_generation *generation, loam_error *error)
{
    if (options->overflow == LM_OVERFLOW_SHIFT)
        return lm_runner_shift(runner, ids, count, options, generation, error);
    int code = check(runner, count, options, error);
    if (code != LOAM_OK)
        return code;
    struct lm_generation result = {.end_id = -1};
    struct work work = {.runner = runner, .options = options, .result = &result, .begin = lm_seconds(),
                        .outlet = {.tokenizer = runner->tokenizer, .options = options, .text = &result.text}};
    code = generate(&work, ids, count, error);
    lm_sampler_free(work.sampler);
    lm_outlet_free(&work.outlet);
    if (code != LOAM_OK) {
        lm_generation_free(&result);
        return code;
    }
    result.seconds = lm_seconds() - work.begin;
    *generation = result;
    return LOAM_OK;
}
