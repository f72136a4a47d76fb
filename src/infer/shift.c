/* A runner's generation beyond its context: engines leave out the oldest tokens, so one is lent the runner's model. */
#include "runner.h"

static const double LOOK_SECONDS = 0.05;    /* between looks for a wish to end */

static int take(const struct lm_event *event, const struct lm_generation_options *options, struct lm_generation *result,
                loam_error *error)
{
    if (event->kind == LM_EVENT_FAILED) {
        *error = event->error;
        return error->code;
    }
    int code = event->length ? lm_bytes_append(&result->text, event->text, event->length, error) : LOAM_OK;
    if (event->length && options->show)
        options->show(options->user, event->text, event->length);
    if (event->kind == LM_EVENT_TOKEN)
        return code == LOAM_OK ? lm_ids_push(&result->ids, event->id, error) : code;
    result->reason = event->reason;
    result->end_id = event->end_id;
    result->prompt_tokens = event->usage.prompt_tokens;
    result->reused = event->usage.reused;
    result->tokens = event->usage.tokens;
    result->shifted = event->usage.shifted;
    result->seconds = event->usage.seconds;
    result->seconds_to_first = event->usage.seconds_to_first;
    return code;
}

static int listen_to(struct lm_ticket *ticket, const struct lm_generation_options *options, struct lm_generation *result,
                     loam_error *error)
{
    struct lm_event event;
    int code = LOAM_OK;
    for (;;) {
        if (code != LOAM_OK || (options->cancelled && options->cancelled(options->user)))
            lm_ticket_cancel(ticket);
        if (!lm_ticket_next(ticket, LOOK_SECONDS, &event))
            continue;
        if (event.kind == LM_EVENT_DONE)
            return code;
        loam_error other;
        const int found = take(&event, options, result, code == LOAM_OK ? error : &other);
        code = code == LOAM_OK ? found : code;
    }
}

int lm_runner_shift(struct lm_runner *runner, const int32_t *ids, size_t count, const struct lm_generation_options *options,
                    struct lm_generation *generation, loam_error *error)
{
    const struct lm_engine_options one = {.context = runner->context, .streams = 1, .cache = runner->context, .cache_dtype = LM_F32,
                                          .no_reuse = true};
    struct lm_engine *engine = NULL;
    struct lm_ticket *ticket = NULL;
    struct lm_generation result = {.end_id = -1};
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
        code = listen_to(ticket, options, &result, error);
    lm_ticket_free(ticket);
    lm_engine_close(engine);
    if (code == LOAM_OK)
        *generation = result;
    else
        lm_generation_free(&result);
    return code;
}
