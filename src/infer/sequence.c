#include "sequence.h"

#include <math.h>
#include <string.h>

void lm_order_drop(struct lm_order *order)
{
    if (--order->users > 0)
        return;
    for (size_t i = 0; order->stops && i < order->request.stop_count; i++)
        lm_free(order->stops[i]);
    lm_free(order->stops);
    lm_free(order->biases);
    lm_free(order);
}

static int copy_into(struct lm_order *order, loam_error *error)
{
    struct lm_request *request = &order->request;
    if (request->bias_count) {
        if (!(order->biases = lm_alloc(request->bias_count, sizeof *order->biases, error)))
            return LOAM_ENOMEM;
        memcpy(order->biases, request->biases, request->bias_count * sizeof *order->biases);
        request->biases = order->biases;
    }
    if (request->stop_count) {
        if (!(order->stops = lm_alloc(request->stop_count, sizeof *order->stops, error)))
            return LOAM_ENOMEM;
        for (size_t i = 0; i < request->stop_count; i++)
            if (!(order->stops[i] = lm_copy_string(request->stops[i], strlen(request->stops[i]), error)))
                return LOAM_ENOMEM;
        request->stops = (const char *const *)order->stops;
    }
    if (request->expected_count)
        memcpy(order->expected, request->expected, request->expected_count * sizeof *order->expected);
    request->expected = order->expected;
    return LOAM_OK;
}

int lm_order_create(const struct lm_request *request, struct lm_order **result, loam_error *error)
{
    struct lm_order *order = lm_alloc(1, sizeof *order, error);
    if (!order)
        return LOAM_ENOMEM;
    *order = (struct lm_order){.request = *request, .users = 1, .submitted = lm_seconds()};
    const int code = copy_into(order, error);
    if (code != LOAM_OK) {
        lm_order_drop(order);
        return code;
    }
    *result = order;
    return LOAM_OK;
}

/* The outlet's reader: what may be shown goes out with the next event. */
static void collect(void *user, const char *text, size_t length)
{
    struct lm_sequence *sequence = user;
    loam_error error;
    if (lm_bytes_append(&sequence->pending, text, length, &error) != LOAM_OK)
        sequence->lost = true;
}

static int fill(struct lm_sequence *sequence, int64_t context, const struct lm_config *config, loam_error *error)
{
    const struct lm_request *request = &sequence->order->request;
    loam_sampling how = request->sampling;
    how.seed += (uint64_t)sequence->choice;
    int code = lm_ids_append(&sequence->ids, request->ids, request->count, error);
    if (code == LOAM_OK)
        code = lm_sampler_create(&how, config->vocabulary, &sequence->sampler, error);
    if (code != LOAM_OK)
        return code;
    for (size_t i = 0; i < request->count; i++)
        lm_sampler_see(sequence->sampler, request->ids[i]);
    sequence->page_room = (context + LM_PAGE - 1) / LM_PAGE;
    if (!(sequence->pages = lm_alloc((size_t)sequence->page_room, sizeof *sequence->pages, error)))
        return LOAM_ENOMEM;
    if (request->expected_count && !(sequence->behind_prompt = lm_alloc((size_t)config->vocabulary, sizeof(float), error)))
        return LOAM_ENOMEM;
    if (request->logprobs >= 0 && !(sequence->raw = lm_alloc((size_t)config->vocabulary, sizeof *sequence->raw, error)))
        return LOAM_ENOMEM;
    return LOAM_OK;
}

int lm_sequence_create(struct lm_order *order, struct lm_ticket *ticket, int64_t choice, int64_t context,
                       const struct lm_config *config, const struct lm_tokenizer *tokenizer, struct lm_sequence **result,
                       loam_error *error)
{
    struct lm_sequence *sequence = lm_alloc(1, sizeof *sequence, error);
    if (!sequence)
        return LOAM_ENOMEM;
    *sequence = (struct lm_sequence){.order = order, .ticket = ticket, .choice = choice, .first_pass = true};
    order->users++;
    sequence->output = (struct lm_generation_options){.stops = order->request.stops, .stop_count = order->request.stop_count,
                                                      .show = collect, .user = sequence};
    sequence->outlet = (struct lm_outlet){.tokenizer = tokenizer, .options = &sequence->output, .text = &sequence->text};
    sequence->usage.prompt_tokens = (int64_t)order->request.count;
    sequence->usage.expected = -1;
    const int64_t room = context - (int64_t)order->request.count, asked = order->request.max_tokens;
    sequence->most = asked > 0 || order->request.overflow == LM_OVERFLOW_SHIFT ? asked : room;
    const int code = fill(sequence, context, config, error);
    if (code != LOAM_OK) {
        lm_sequence_free(sequence);
        return code;
    }
    if ((int64_t)sequence->ids.length >= context)
        lm_sequence_shift(sequence, context);
    *result = sequence;
    return LOAM_OK;
}

void lm_sequence_free(struct lm_sequence *sequence)
{
    if (!sequence)
        return;
    lm_sampler_free(sequence->sampler);
    lm_outlet_free(&sequence->outlet);
    lm_bytes_free(&sequence->text);
    lm_bytes_free(&sequence->pending);
    lm_ids_free(&sequence->ids);
    lm_free(sequence->counts);
    lm_free(sequence->raw);
    lm_free(sequence->behind_prompt);
    lm_free(sequence->pages);
    lm_order_drop(sequence->order);
    lm_free(sequence);
}

void lm_sequence_shift(struct lm_sequence *sequence, int64_t context)
{
    const int64_t length = (int64_t)sequence->ids.length, keep = sequence->order->request.keep;
    const int64_t half = (context - keep + 1) / 2;
    int64_t out = 0;
    while (length - out >= context)
        out += half;
    out = out < length - keep - 1 ? out : length - keep - 1;
    if (out <= 0)
        return;
    memmove(sequence->ids.data + keep, sequence->ids.data + keep + out,
            (size_t)(length - keep - out) * sizeof *sequence->ids.data);
    sequence->ids.length -= (size_t)out;
    sequence->usage.shifted += out;
}

/* --- From logits to an event --- */

static void adjust(const struct lm_sequence *sequence, float *logits)
{
    const struct lm_request *request = &sequence->order->request;
    for (size_t i = 0; i < request->bias_count; i++)
        logits[request->biases[i].id] += request->biases[i].bias;
    for (int64_t i = 0; i < sequence->count_count; i++)
        logits[sequence->counts[i].id] -=
            (float)(request->presence_penalty + request->frequency_penalty * sequence->counts[i].times);
}

static int count_token(struct lm_sequence *sequence, int32_t id, loam_error *error)
{
    const struct lm_request *request = &sequence->order->request;
    if (request->presence_penalty == 0 && request->frequency_penalty == 0)
        return LOAM_OK;
    for (int64_t i = 0; i < sequence->count_count; i++)
        if (sequence->counts[i].id == id) {
            sequence->counts[i].times++;
            return LOAM_OK;
        }
    if (sequence->count_count == sequence->count_room) {
        const int64_t room = sequence->count_room ? 2 * sequence->count_room : 64;
        struct lm_count *grown = lm_resize(sequence->counts, (size_t)room, sizeof *grown, error);
        if (!grown)
            return LOAM_ENOMEM;
        sequence->counts = grown;
        sequence->count_room = room;
    }
    sequence->counts[sequence->count_count++] = (struct lm_count){id, 1};
    return LOAM_OK;
}

/* log of the sum of exponentials. */
static double log_sum(const float *logits, int64_t count)
{
    float most = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        most = logits[i] > most ? logits[i] : most;
    for (int64_t i = 0; i < count; i++)
        sum += exp((double)logits[i] - (double)most);
    return (double)most + log(sum);
}

double lm_log_probability(const float *logits, int64_t vocabulary, int32_t id)
{
    return (double)logits[id] - log_sum(logits, vocabulary);
}

/* The `wanted` largest in falling order, the lower id first on a tie. */
static size_t likeliest(const float *logits, int64_t count, size_t wanted, struct lm_logprob *top)
{
    size_t found = 0;
    for (int64_t i = 0; wanted > 0 && i < count; i++) {
        if (!(logits[i] > -INFINITY) || (found == wanted && !(logits[i] > top[found - 1].logprob)))
            continue;
        size_t at = found < wanted ? found++ : found - 1;
        for (; at > 0 && logits[i] > top[at - 1].logprob; at--)
            top[at] = top[at - 1];
        top[at] = (struct lm_logprob){(int32_t)i, logits[i]};
    }
    return found;
}

static bool is_end(const struct lm_ids *ends, int32_t id)
{
    for (size_t i = 0; i < ends->length; i++)
        if (ends->data[i] == id)
            return true;
    return false;
}

static int send_token(struct lm_sequence *sequence, struct lm_event *event, loam_error *error)
{
    if (sequence->lost)
        return lm_fail(error, LOAM_ENOMEM, "no memory for the text");
    event->text = sequence->pending.data ? sequence->pending.data : "";
    event->length = sequence->pending.length;
    const int code = lm_ticket_push(sequence->ticket, event, error);
    sequence->pending.length = 0;
    return code;
}

/* What `id`, which ended no turn, leads to. */
static int say(struct lm_sequence *sequence, struct lm_event *event, int64_t context, struct lm_verdict *verdict,
               loam_error *error)
{
    const struct lm_request *request = &sequence->order->request;
    int code = lm_ids_push(&sequence->ids, event->id, error);
    if (code == LOAM_OK)
        code = count_token(sequence, event->id, error);
    if (code == LOAM_OK)
        code = lm_outlet_push(&sequence->outlet, event->id, error);
    if (code == LOAM_OK)
        code = send_token(sequence, event, error);
    if (code != LOAM_OK)
        return code;
    const bool full = request->overflow == LM_OVERFLOW_REFUSE && (int64_t)sequence->ids.length >= context;
    if (sequence->outlet.stopped)
        *verdict = (struct lm_verdict){true, LM_STOP_STRING, -1};
    else if (full || sequence->usage.tokens == sequence->most)
        *verdict = (struct lm_verdict){true, LM_STOP_LENGTH, -1};
    return LOAM_OK;
}

/* What the reader is told of the likeliest tokens and, once it is picked, of the token itself. */
static void tell_logprobs(struct lm_sequence *sequence, const float *logits, int64_t vocabulary, struct lm_logprob *top,
                          struct lm_event *event, double *below)
{
    memcpy(sequence->raw, logits, (size_t)vocabulary * sizeof *logits);
    *below = log_sum(logits, vocabulary);
    event->top = top;
    event->top_count = likeliest(logits, vocabulary, (size_t)sequence->order->request.logprobs, top);
    for (size_t i = 0; i < event->top_count; i++)
        top[i].logprob = (float)((double)top[i].logprob - *below);
}

int lm_sequence_pick(struct lm_sequence *sequence, float *logits, int64_t vocabulary, int64_t context,
                     const struct lm_ids *ends, struct lm_verdict *verdict, loam_error *error)
{
    const struct lm_request *request = &sequence->order->request;
    struct lm_logprob top[LM_MOST_LOGPROBS];
    struct lm_event event = {.kind = LM_EVENT_TOKEN, .choice = sequence->choice, .end_id = -1};
    double below = 0;
    *verdict = (struct lm_verdict){.end_id = -1};
    if (sequence->raw)
        tell_logprobs(sequence, logits, vocabulary, top, &event, &below);
    adjust(sequence, logits);
    const int code = lm_sampler_pick(sequence->sampler, logits, &event.id, error);
    if (code != LOAM_OK)
        return code;
    if (sequence->raw)
        event.logprob = (float)((double)sequence->raw[event.id] - below);
    if (sequence->usage.tokens++ == 0)
        sequence->usage.seconds_to_first = lm_seconds() - sequence->order->submitted;
    if (request->ignore_end || !is_end(ends, event.id))
        return say(sequence, &event, context, verdict, error);
    *verdict = (struct lm_verdict){true, LM_STOP_END, event.id};
    return LOAM_OK;
}

void lm_sequence_end(struct lm_sequence *sequence, const struct lm_verdict *verdict, const loam_error *error)
{
    struct lm_event event = {.kind = LM_EVENT_END, .choice = sequence->choice, .end_id = -1, .text = ""};
    loam_error failed;
    sequence->usage.seconds = lm_seconds() - sequence->order->submitted;
    event.usage = sequence->usage;
    if (!error && lm_outlet_finish(&sequence->outlet, &failed) != LOAM_OK)
        error = &failed;
    if (!error && sequence->lost) {
        lm_fail(&failed, LOAM_ENOMEM, "no memory for the text");
        error = &failed;
    }
    if (error) {
        event.kind = LM_EVENT_FAILED;
        event.error = *error;
    } else {
        event.reason = sequence->outlet.stopped ? LM_STOP_STRING : verdict->reason;
        event.end_id = verdict->end_id;
        event.text = sequence->pending.data ? sequence->pending.data : "";
        event.length = sequence->pending.length;
    }
    lm_ticket_end(sequence->ticket, &event);
    sequence->ticket = NULL;
}
