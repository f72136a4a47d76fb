/* A runner's generation beyond its context: engines leave out the oldest tokens, so one is lent the runner's model. */
#include "runner.h"

int lm_runner_shift(struct lm_runner *runner, const int32_t *ids, size_t count, const struct lm_generation_options *options,
                    struct lm_generation *generation, loam_error *error)
{
    const struct lm_engine_options one = {.context = runner->context, .streams = 1, .cache = runner->context, .cache_dtype = LM_F32,
                                          .no_reuse = true};
    struct lm_engine *engine = NULL;
    struct lm_ticket *ticket = NULL;
    struct lm_generation result = {0};
    struct lm_request request = lm_request_default();
    request.ids = ids;
    request.count = count;
    request.sampling = options->sampling;
    request.max_tokens = options->max_tokens;
    request.stops = options->stops;
    request.stop_count = options->stop_count;
    request.ignore_end = options->ignore_end;
    request.overflow = LM_OVERFLOW_SHIFT;
    int code = lm_engine_attach(runner->model, runner->tokenizer, runner->chat_template, &one, &engine, error);
    if (code == LOAM_OK)
        code = lm_engine_submit(engine, &request, &ticket, error);
    if (code == LOAM_OK)
        code = lm_ticket_collect(ticket, options, &result, NULL, error);
    lm_ticket_free(ticket);
    lm_engine_close(engine);
    if (code == LOAM_OK)
        *generation = result;
    else
        lm_generation_free(&result);
    return code;
}
