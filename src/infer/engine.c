/* The side of the engine that any thread may enter: opening, submitting, asking. */
#include "engine_inside.h"

#include <math.h>
#include <signal.h>
#include <string.h>

enum { STREAMS = 8, CONTEXTS = 4, QUEUE = 256, MOST_STREAMS = 1024 };

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

struct lm_request lm_request_default(void)
{
    return (struct lm_request){.sampling = loam_sampling_default(), .logprobs = -1};
}

/* --- Opening --- */

static int64_t position_bytes(const struct lm_config *config, enum lm_dtype dtype)
{
    return config->layers * 2 * config->kv_heads * config->head_size * (lm_dtype_bits(dtype) / 8);
}

static int64_t default_cache(const struct lm_engine *engine)
{
    const struct lm_config *config = lm_model_config(engine->runner->model);
    const int64_t context = engine->runner->context;
    const int64_t most = lm_memory_limit() / 4 / position_bytes(config, engine->options.cache_dtype);
    const int64_t least = context > 2 * engine->options.streams * LM_PAGE ? context : 2 * engine->options.streams * LM_PAGE;
    const int64_t wanted = CONTEXTS * context < most ? CONTEXTS * context : most;
    return wanted > least ? wanted : least;
}

static int settle(struct lm_engine *engine, loam_error *error)
{
    struct lm_engine_options *options = &engine->options;
    if (options->streams < 0 || options->streams > MOST_STREAMS)
        return lm_fail(error, LOAM_EUSAGE, "streams: found %lld, wanted 1 to %d, or 0 for %d", (long long)options->streams,
                       MOST_STREAMS, STREAMS);
    if (options->queue < 0 || options->cache < 0)
        return lm_fail(error, LOAM_EUSAGE, "queue and cache: found %lld and %lld, wanted 0 or more",
                       (long long)options->queue, (long long)options->cache);
    options->streams = options->streams ? options->streams : STREAMS;
    options->queue = options->queue ? options->queue : QUEUE;
    if (options->cache_dtype != LM_F32 && options->cache_dtype != LM_BF16)
        options->cache_dtype = lm_model_matrix_dtype(engine->runner->model) == LM_F32 ? LM_F32 : LM_BF16;
    if (options->cache == 0)
        options->cache = default_cache(engine);
    if (options->cache < engine->runner->context)
        return lm_fail(error, LOAM_EUSAGE, "cache: found %lld positions, wanted at least the context of %lld; give more, or a "
                       "smaller context", (long long)options->cache, (long long)engine->runner->context);
    return LOAM_OK;
}

static int make_room(struct lm_engine *engine, loam_error *error)
{
    struct lm_model *model = engine->runner->model;
    const int64_t streams = engine->options.streams, pages = (engine->options.cache + LM_PAGE - 1) / LM_PAGE;
    const struct lm_paged_options how = {.pages = pages, .rows = LM_PIECE, .dtype = engine->options.cache_dtype,
                                        .logits = LM_FEW_ROWS};
    int code = lm_paged_create(model, &how, &engine->pool, error);
    if (code == LOAM_OK)
        code = lm_pages_create(pages, &engine->pages, error);
    if (code != LOAM_OK)
        return code;
    engine->running = lm_alloc((size_t)streams, sizeof *engine->running, error);
    engine->spans = lm_alloc((size_t)(streams > LM_MOST_EXPECTED ? streams : LM_MOST_EXPECTED), sizeof *engine->spans, error);
    engine->now.pages = engine->stats.pages = pages;
    engine->now.cache_bytes = engine->stats.cache_bytes = lm_paged_bytes(engine->pool);
    engine->now.weight_bytes = engine->stats.weight_bytes = lm_model_bytes(model);
    return engine->running && engine->spans ? LOAM_OK : LOAM_ENOMEM;
}

static void free_parts(struct lm_engine *engine)
{
    lm_paged_free(engine->pool);
    lm_pages_free(engine->pages);
    lm_free(engine->running);
    lm_free(engine->spans);
    lm_core_drop(engine->core);
    lm_runner_close(engine->runner);
    lm_free(engine);
}

/* Signals are for the program's own threads. */
static int start_thread(struct lm_engine *engine)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&engine->thread, NULL, lm_engine_compute, engine);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

/* Takes the runner over, also on failure. */
static int start(struct lm_runner *runner, const struct lm_engine_options *options, struct lm_engine **result,
                 loam_error *error)
{
    struct lm_engine *engine = lm_alloc(1, sizeof *engine, error);
    if (!engine) {
        lm_runner_close(runner);
        return LOAM_ENOMEM;
    }
    engine->runner = runner;
    engine->options = *options;
    int code = settle(engine, error);
    if (code == LOAM_OK)
        code = lm_core_create(&engine->core, error);
    if (code == LOAM_OK)
        code = make_room(engine, error);
    if (code == LOAM_OK) {
        const int failed = start_thread(engine);
        if (failed)
            code = lm_fail_errno(error, failed, "no thread for the engine");
    }
    if (code != LOAM_OK) {
        free_parts(engine);
        return code;
    }
    *result = engine;
    return LOAM_OK;
}

int lm_engine_open(const char *path, const struct lm_engine_options *options, struct lm_engine **engine, loam_error *error)
{
    struct lm_runner *runner;
    const struct lm_runner_options how = {.threads = options->threads, .chat_template = options->chat_template,
                                          .context = options->context, .no_tokenizer = options->no_tokenizer};
    const int code = lm_runner_open(path, &how, &runner, error);
    return code == LOAM_OK ? start(runner, options, engine, error) : code;
}

int lm_engine_attach(struct lm_model *model, const struct lm_tokenizer *tokenizer, const struct lm_template *chat_template,
                     const struct lm_engine_options *options, struct lm_engine **engine, loam_error *error)
{
    struct lm_runner *runner;
    const int code = lm_runner_attach(model, tokenizer, chat_template, options->context, &runner, error);
    return code == LOAM_OK ? start(runner, options, engine, error) : code;
}

void lm_engine_close(struct lm_engine *engine)
{
    if (!engine)
        return;
    pthread_mutex_lock(&engine->core->lock);
    engine->closing = true;
    pthread_cond_broadcast(&engine->core->wake);
    pthread_mutex_unlock(&engine->core->lock);
    pthread_join(engine->thread, NULL);
    free_parts(engine);
}

const struct lm_config *lm_engine_config(const struct lm_engine *engine)
{
    return lm_model_config(engine->runner->model);
}

const struct lm_tokenizer *lm_engine_tokenizer(const struct lm_engine *engine)
{
    return engine->runner->tokenizer;
}

int lm_engine_template(const struct lm_engine *engine, const struct lm_template **chosen, loam_error *error)
{
    return lm_runner_template(engine->runner, chosen, error);
}

int64_t lm_engine_context(const struct lm_engine *engine)
{
    return engine->runner->context;
}

const char *lm_engine_device(const struct lm_engine *engine)
{
    return lm_device_name(lm_model_device(engine->runner->model));
}

int lm_engine_prompt(const struct lm_engine *engine, const struct lm_conversation *conversation, struct lm_rendered *prompt,
                     loam_error *error)
{
    return lm_runner_prompt(engine->runner, conversation, prompt, error);
}

void lm_engine_stats(struct lm_engine *engine, struct lm_engine_stats *stats)
{
    pthread_mutex_lock(&engine->core->lock);
    *stats = engine->stats;
    stats->waiting = engine->waiting;
    pthread_mutex_unlock(&engine->core->lock);
}

/* --- Submitting --- */

static int check_ids(const struct lm_engine *engine, const struct lm_request *request, loam_error *error)
{
    const int64_t vocabulary = lm_engine_config(engine)->vocabulary;
    if (request->count == 0)
        return lm_fail(error, LOAM_EUSAGE, "the prompt is empty; give at least one token to go on from");
    for (size_t i = 0; i < request->count; i++)
        if (request->ids[i] < 0 || request->ids[i] >= vocabulary)
            return lm_fail(error, LOAM_EUSAGE, "token %zu: found id %d, wanted 0 to %lld; the tokenizer is not this model's", i,
                           request->ids[i], (long long)vocabulary - 1);
    for (size_t i = 0; i < request->bias_count; i++) {
        if (request->biases[i].id < 0 || request->biases[i].id >= vocabulary)
            return lm_fail(error, LOAM_EUSAGE, "logit_bias: found id %d, wanted 0 to %lld", request->biases[i].id,
                           (long long)vocabulary - 1);
        if (isnan(request->biases[i].bias) || request->biases[i].bias == INFINITY)
            return lm_fail(error, LOAM_EUSAGE, "logit_bias: id %d: found %g, wanted a number, or -infinity to forbid the token",
                           request->biases[i].id, (double)request->biases[i].bias);
    }
    return LOAM_OK;
}

static int check_range(const char *name, double value, double least, double most, loam_error *error)
{
    if (value >= least && value <= most)
        return LOAM_OK;
    return lm_fail(error, LOAM_EUSAGE, "%s: found %g, wanted %g to %g", name, value, least, most);
}

static int check_room(const struct lm_engine *engine, const struct lm_request *request, loam_error *error)
{
    const int64_t context = lm_engine_context(engine), count = (int64_t)request->count, room = context - count;
    if (request->overflow == LM_OVERFLOW_SHIFT) {
        if (request->keep < 0 || request->keep > context - 2)
            return lm_fail(error, LOAM_EUSAGE, "keep: found %lld, wanted 0 to %lld, two less than the context",
                           (long long)request->keep, (long long)context - 2);
        return LOAM_OK;
    }
    if (room < 1)
        return lm_fail(error, LOAM_EUSAGE, "the prompt is %lld tokens and the context %lld: no room for an answer; shorten the "
                       "prompt, begin anew, or let the oldest tokens go (overflow shift)", (long long)count, (long long)context);
    if (request->max_tokens > room)
        return lm_fail(error, LOAM_EUSAGE, "the prompt is %lld tokens and %lld more are wanted, but the context is %lld; ask for at "
                       "most %lld", (long long)count, (long long)request->max_tokens, (long long)context, (long long)room);
    return LOAM_OK;
}

static int check_expected(const struct lm_engine *engine, const struct lm_request *request, loam_error *error)
{
    const int64_t vocabulary = lm_engine_config(engine)->vocabulary;
    if (request->expected_count > LM_MOST_EXPECTED)
        return lm_fail(error, LOAM_EUSAGE, "expected: found %zu tokens, wanted at most %d", request->expected_count, LM_MOST_EXPECTED);
    for (size_t i = 0; i < request->expected_count; i++)
        if (request->expected[i] < 0 || request->expected[i] >= vocabulary)
            return lm_fail(error, LOAM_EUSAGE, "expected: token %zu: found id %d, wanted 0 to %lld", i, request->expected[i],
                           (long long)vocabulary - 1);
    return check_range("expected_threshold", request->expected_threshold, 0, 1, error);
}

static int check(const struct lm_engine *engine, const struct lm_request *request, loam_error *error)
{
    int code = check_ids(engine, request, error);
    if (code == LOAM_OK)
        code = lm_sampling_check(&request->sampling, error);
    if (code == LOAM_OK)
        code = check_range("presence_penalty", request->presence_penalty, -2, 2, error);
    if (code == LOAM_OK)
        code = check_range("frequency_penalty", request->frequency_penalty, -2, 2, error);
    if (code == LOAM_OK)
        code = check_range("logprobs", (double)request->logprobs, -1, LM_MOST_LOGPROBS, error);
    if (code == LOAM_OK)
        code = check_range("choices", (double)request->choices, 0, LM_MOST_CHOICES, error);
    if (code == LOAM_OK)
        code = check_expected(engine, request, error);
    if (code == LOAM_OK && request->max_tokens < 0)
        code = lm_fail(error, LOAM_EUSAGE, "max-tokens: found %lld, wanted 1 or more, or 0 for all that fit",
                       (long long)request->max_tokens);
    return code == LOAM_OK ? check_room(engine, request, error) : code;
}

/* All choices one behind the other; the first has the ticket's events to itself until the others run. */
static int make_sequences(const struct lm_engine *engine, struct lm_order *order, struct lm_ticket *ticket,
                          struct lm_sequence **first, struct lm_sequence **last, loam_error *error)
{
    const int64_t choices = order->request.choices ? order->request.choices : 1;
    *first = *last = NULL;
    for (int64_t i = 0; i < choices; i++) {
        struct lm_sequence *made;
        const int code = lm_sequence_create(order, ticket, i, lm_engine_context(engine), lm_engine_config(engine),
                                            lm_engine_tokenizer(engine), &made, error);
        if (code != LOAM_OK)
            return code;
        if (*last)
            (*last)->next = made;
        else
            *first = made;
        *last = made;
    }
    return LOAM_OK;
}

static int enqueue(struct lm_engine *engine, struct lm_sequence *first, struct lm_sequence *last, int64_t choices,
                   loam_error *error)
{
    int code = LOAM_OK;
    pthread_mutex_lock(&engine->core->lock);
    if (engine->closing)
        code = lm_fail(error, LOAM_EBUSY, "the engine is closing");
    else if (engine->waiting > 0 && engine->waiting + choices > engine->options.queue)
        code = lm_fail(error, LOAM_EBUSY, "%lld requests wait already, and %lld may; try again later",
                       (long long)engine->waiting, (long long)engine->options.queue);
    if (code == LOAM_OK) {
        if (engine->last)
            engine->last->next = first;
        else
            engine->first = first;
        engine->last = last;
        engine->waiting += choices;
        engine->stats.requests++;
        pthread_cond_broadcast(&engine->core->wake);
    } else {
        engine->stats.refused++;
    }
    pthread_mutex_unlock(&engine->core->lock);
    return code;
}

static void refused(struct lm_engine *engine)
{
    pthread_mutex_lock(&engine->core->lock);
    engine->stats.refused++;
    pthread_mutex_unlock(&engine->core->lock);
}

static int submit(struct lm_engine *engine, const struct lm_request *request, struct lm_ticket *ticket, loam_error *error)
{
    struct lm_order *order;
    int code = lm_order_create(request, &order, error);
    if (code != LOAM_OK)
        return code;
    const struct lm_tokenizer *tokenizer = lm_engine_tokenizer(engine);
    const int32_t bos = tokenizer ? lm_tokenizer_bos(tokenizer) : -1;
    if (order->request.keep == 0 && bos >= 0 && request->ids[0] == bos)
        order->request.keep = 1;
    struct lm_sequence *first, *last;
    code = make_sequences(engine, order, ticket, &first, &last, error);
    lm_order_drop(order);
    if (code == LOAM_OK)
        code = enqueue(engine, first, last, request->choices ? request->choices : 1, error);
    while (code != LOAM_OK && first) {
        struct lm_sequence *next = first->next;
        lm_sequence_free(first);
        first = next;
    }
    return code;
}

int lm_engine_submit(struct lm_engine *engine, const struct lm_request *request, struct lm_ticket **result, loam_error *error)
{
    struct lm_ticket *ticket;
    *result = NULL;
    int code = check(engine, request, error);
    if (code != LOAM_OK) {
        refused(engine);
        return code;
    }
    code = lm_ticket_create(engine->core, request, &ticket, error);
    if (code != LOAM_OK)
        return code;
    *result = ticket;    /* before events can come: `notify` may want it */
    code = submit(engine, request, ticket, error);
    if (code != LOAM_OK) {
        *result = NULL;
        lm_ticket_abandon(ticket);
    }
    return code;
}
