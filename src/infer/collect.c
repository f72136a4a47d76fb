/* A ticket of one choice, waited for. */
#include "infer.h"

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

int lm_ticket_collect(struct lm_ticket *ticket, const struct lm_generation_options *options, struct lm_generation *result,
                      struct lm_usage *usage, loam_error *error)
{
    struct lm_event event;
    int code = LOAM_OK;
    result->end_id = -1;
    for (;;) {
        if (code != LOAM_OK || (options->cancelled && options->cancelled(options->user)))
            lm_ticket_cancel(ticket);
        if (!lm_ticket_next(ticket, LOOK_SECONDS, &event))
            continue;
        if (event.kind == LM_EVENT_DONE)
            return code;
        if (usage && event.kind == LM_EVENT_END)
            *usage = event.usage;
        loam_error other;
        const int found = take(&event, options, result, code == LOAM_OK ? error : &other);
        code = code == LOAM_OK ? found : code;
    }
}
