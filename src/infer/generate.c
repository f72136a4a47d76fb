/* One token after the other, until something ends it. */
#include "outlet.h"
#include "runner.h"

#include <string.h>

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

int lm_overflow_parse(const char *name, enum lm_overflow *overflow, loam_error *error)
{
    if (!strcmp(name, "refuse"))
        *overflow = LM_OVERFLOW_REFUSE;
    else if (!strcmp(name, "shift"))
        *overflow = LM_OVERFLOW_SHIFT;
    else
        return lm_fail(error, LOAM_EUSAGE, "overflow: found '%s', wanted refuse or shift", name);
    return LOAM_OK;
}

int64_t lm_ids_shift(struct lm_ids *ids, int64_t keep, int64_t context)
{
    const int64_t length = (int64_t)ids->length, half = (context - keep + 1) / 2;
    int64_t out = 0;
    while (length - out >= context)
        out += half;
    out = out < length - keep - 1 ? out : length - keep - 1;
    if (out <= 0)
        return 0;
    memmove(ids->data + keep, ids->data + keep + out, (size_t)(length - keep - out) * sizeof *ids->data);
    ids->length -= (size_t)out;
    return out;
}

static int check(const struct lm_runner *runner, size_t count, const struct lm_generation_options *options,
                 loam_error *error)
{
    if (count == 0)
        return lm_fail(error, LOAM_EUSAGE, "the prompt is empty; give at least one token to go on from");
    if (options->max_tokens < 0)
        return lm_fail(error, LOAM_EUSAGE, "max-tokens: found %lld, wanted 1 or more, or 0 for all that fit",
                       (long long)options->max_tokens);
    if (options->overflow == LM_OVERFLOW_SHIFT)
        return runner->context > 2 ? LOAM_OK : lm_fail(error, LOAM_EUSAGE, "the context is %lld: too short to let the oldest tokens go",
                                                       (long long)runner->context);
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
    struct lm_ids seen;         /* with SHIFT: prompt and answer, without what was left out */
    double begin;
};

static bool cancelled(const struct work *work)
{
    return work->options->cancelled && work->options->cancelled(work->options->user);
}

/* The same where the oldest ids may go: `ids` are added to what was seen, which is computed from where the cache differs from it. */
static int shift_and_extend(struct work *work, const int32_t *ids, size_t count, float **logits, loam_error *error)
{
    struct lm_runner *runner = work->runner;
    const int code = lm_ids_append(&work->seen, ids, count, error);
    if (code != LOAM_OK)
        return code;
    const int32_t bos = runner->tokenizer ? lm_tokenizer_bos(runner->tokenizer) : -1;
    const int64_t most = work->result->tokens ? runner->context : runner->context - 1;    /* a prompt is left room for a token */
    if ((int64_t)work->seen.length > most)
        work->result->shifted += lm_ids_shift(&work->seen, bos >= 0 && work->seen.data[0] == bos, runner->context);
    const size_t same = reuse(runner, work->seen.data, work->seen.length);
    if (!work->result->tokens)
        work->result->reused = (int64_t)same;
    return extend(runner, work->seen.data + same, work->seen.length - same, logits, error);
}

static int see_prompt(struct work *work, const int32_t *ids, size_t count, float **logits, loam_error *error)
{
    if (work->options->overflow == LM_OVERFLOW_SHIFT)
        return shift_and_extend(work, ids, count, logits, error);
    const size_t same = reuse(work->runner, ids, count);
    work->result->reused = (int64_t)same;
    return extend(work->runner, ids + same, count - same, logits, error);
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
        code = work->options->overflow == LM_OVERFLOW_SHIFT ? shift_and_extend(work, &id, 1, &logits, error)
                                                            : extend(work->runner, &id, 1, &logits, error);
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
    work->result->prompt_tokens = (int64_t)count;
    float *logits;
    code = see_prompt(work, ids, count, &logits, error);
    if (code != LOAM_OK)
        return code;
    const int64_t room = runner->context - (int64_t)count, asked = work->options->max_tokens;
    const bool shifts = work->options->overflow == LM_OVERFLOW_SHIFT;
    code = run(work, logits, asked > 0 || shifts ? asked : room, error);
    if (code == LOAM_OK)
        code = lm_outlet_finish(&work->outlet, error);
    if (code == LOAM_OK && work->outlet.stopped)
        work->result->reason = LM_STOP_STRING;
    return code;
}

int lm_runner_generate(struct lm_runner *runner, const int32_t *ids, size_t count,
                       const struct lm_generation_options *options, struct lm_generation *generation, loam_error *error)
{
    int code = check(runner, count, options, error);
    if (code != LOAM_OK)
        return code;
    struct lm_generation result = {.end_id = -1};
    struct work work = {.runner = runner, .options = options, .result = &result, .begin = lm_seconds(),
                        .outlet = {.tokenizer = runner->tokenizer, .options = options, .text = &result.text}};
    code = generate(&work, ids, count, error);
    lm_sampler_free(work.sampler);
    lm_ids_free(&work.seen);
    lm_outlet_free(&work.outlet);
    if (code != LOAM_OK) {
        lm_generation_free(&result);
        return code;
    }
    result.seconds = lm_seconds() - work.begin;
    *generation = result;
    return LOAM_OK;
}
