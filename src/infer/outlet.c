#include "outlet.h"

#include <string.h>

static void show(struct lm_outlet *outlet, size_t until)
{
    if (until <= outlet->shown)
        return;
    if (outlet->options->show)
        outlet->options->show(outlet->options->user, outlet->text->data + outlet->shown, until - outlet->shown);
    outlet->shown = until;
}

/* Where the first stop text begins in what was not shown yet; -1: nowhere. */
static int64_t find_stop(const struct lm_outlet *outlet)
{
    const char *from = outlet->text->data + outlet->shown;
    const size_t length = outlet->text->length - outlet->shown;
    int64_t first = -1;
    for (size_t i = 0; i < outlet->options->stop_count; i++) {
        const char *stop = outlet->options->stops[i];
        const char *at = *stop ? memmem(from, length, stop, strlen(stop)) : NULL;
        if (at && (first < 0 || at - from < first))
            first = at - from;
    }
    return first < 0 ? -1 : (int64_t)outlet->shown + first;
}

/* How many of the last bytes not shown yet may be the beginning of a stop text. */
static size_t held_back(const struct lm_outlet *outlet)
{
    const char *end = outlet->text->data + outlet->text->length;
    const size_t waiting = outlet->text->length - outlet->shown;
    size_t most = 0;
    for (size_t i = 0; i < outlet->options->stop_count; i++) {
        const char *stop = outlet->options->stops[i];
        size_t length = strlen(stop);
        length = length == 0 ? 0 : length - 1;
        for (length = length < waiting ? length : waiting; length > most; length--)
            if (memcmp(end - length, stop, length) == 0) {
                most = length;
                break;
            }
    }
    return most;
}

static void release(struct lm_outlet *outlet)
{
    if (!outlet->text->data)
        return;
    const int64_t stop = find_stop(outlet);
    if (stop < 0) {
        show(outlet, outlet->text->length - held_back(outlet));
        return;
    }
    outlet->stopped = true;
    outlet->text->length = (size_t)stop;
    outlet->text->data[stop] = 0;
    show(outlet, (size_t)stop);
}

int lm_outlet_push(struct lm_outlet *outlet, int32_t id, loam_error *error)
{
    size_t length;
    /* Embedding tables are often padded beyond the vocabulary; such an id stands for no text, as `transformers` has it too. */
    if (!outlet->tokenizer || !lm_tokenizer_token(outlet->tokenizer, id, &length))
        return LOAM_OK;
    const int code = lm_stream_push(outlet->tokenizer, &outlet->stream, id, true, outlet->text, error);
    if (code != LOAM_OK)
        return code;
    release(outlet);
    return LOAM_OK;
}

int lm_outlet_finish(struct lm_outlet *outlet, loam_error *error)
{
    if (!outlet->tokenizer || outlet->stopped)
        return LOAM_OK;
    const int code = lm_stream_finish(outlet->tokenizer, &outlet->stream, outlet->text, error);
    if (code != LOAM_OK)
        return code;
    release(outlet);
    if (!outlet->stopped)
        show(outlet, outlet->text->length);
    return LOAM_OK;
}

void lm_outlet_free(struct lm_outlet *outlet)
{
    lm_stream_free(&outlet->stream);
}
