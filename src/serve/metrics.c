/* What /metrics tells, in Prometheus' text form. */
#include "internal.h"

static const double bounds[BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60};

void histogram_add(struct histogram *histogram, double seconds)
{
    size_t at = 0;
    while (at < BUCKETS && seconds > bounds[at])
        at++;
    atomic_fetch_add(&histogram->counts[at], 1);
    atomic_fetch_add(&histogram->total_us, (uint64_t)(seconds > 0 ? seconds * 1e6 : 0));
}

static void describe(struct lm_bytes *out, const char *name, const char *type, const char *help)
{
    lm_bytes_format(out, NULL, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(struct lm_bytes *out, const char *name, const char *type, const char *help, double value)
{
    char number[32];
    lm_format_double(value, number);
    describe(out, name, type, help);
    lm_bytes_format(out, NULL, "%s %s\n", name, number);
}

static void write_histogram(struct lm_bytes *out, const char *name, const char *help, struct histogram *histogram)
{
    uint64_t count = 0;
    char number[32];
    describe(out, name, "histogram", help);
    for (size_t i = 0; i < BUCKETS; i++) {
        count += atomic_load(&histogram->counts[i]);
        lm_format_double(bounds[i], number);
        lm_bytes_format(out, NULL, "%s_bucket{le=\"%s\"} %llu\n", name, number, (unsigned long long)count);
    }
    count += atomic_load(&histogram->counts[BUCKETS]);
    lm_format_double((double)atomic_load(&histogram->total_us) / 1e6, number);
    lm_bytes_format(out, NULL, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %s\n%s_count %llu\n", name, (unsigned long long)count, name, number, name,
                    (unsigned long long)count);
}

/* A label's value: \ " and line ends are escaped. */
static void write_label(struct lm_bytes *out, const char *text)
{
    for (; *text; text++)
        if (*text == '\n')
            lm_bytes_append(out, "\\n", 2, NULL);
        else if (*text == '\\' || *text == '"')
            lm_bytes_append(out, (const char[]){'\\', *text}, 2, NULL);
        else
            lm_bytes_append(out, text, 1, NULL);
}

struct gauge {
    const char *name, *help;
    double (*value)(const struct lm_engine_stats *stats);
};
static double running(const struct lm_engine_stats *s) { return (double)s->running; }
static double waiting(const struct lm_engine_stats *s) { return (double)s->waiting; }
static double pages(const struct lm_engine_stats *s) { return (double)s->pages; }
static double pages_used(const struct lm_engine_stats *s) { return (double)s->pages_used; }
static double pages_kept(const struct lm_engine_stats *s) { return (double)s->pages_kept; }
static double weights(const struct lm_engine_stats *s) { return (double)s->weight_bytes; }
static double cache(const struct lm_engine_stats *s) { return (double)s->cache_bytes; }
static double batch(const struct lm_engine_stats *s) { return s->passes ? (double)s->rows / (double)s->passes : 0; }

static const struct gauge gauges[] = {
    {"loam_sequences_running", "Sequences that compute", running},
    {"loam_requests_waiting", "Requests in line for a stream", waiting},
    {"loam_cache_pages", "Pages of keys and values in all", pages},
    {"loam_cache_pages_used", "Pages of running sequences", pages_used},
    {"loam_cache_pages_kept", "Pages kept of ended sequences, to be used again", pages_kept},
    {"loam_weight_bytes", "Bytes of weights", weights},
    {"loam_cache_bytes", "Bytes of keys and values", cache},
    {"loam_decode_batch", "Mean sequences a decoding pass", batch},
};

static void write_models(struct lm_server *server, struct lm_bytes *out)
{
    pthread_mutex_lock(&server->models_lock);
    describe(out, "loam_model_loaded", "gauge", "1 where the model is loaded");
    for (size_t i = 0; i < server->model_count; i++) {
        lm_bytes_format(out, NULL, "loam_model_loaded{model=\"");
        write_label(out, server->models[i].name);
        lm_bytes_format(out, NULL, "\"} %d\n", server->models[i].engine != NULL);
    }
    for (size_t g = 0; g < sizeof gauges / sizeof *gauges; g++) {
        describe(out, gauges[g].name, "gauge", gauges[g].help);
        for (size_t i = 0; i < server->model_count; i++) {
            struct lm_engine_stats stats;
            char number[32];
            if (!server->models[i].engine)
                continue;
            lm_engine_stats(server->models[i].engine, &stats);
            lm_format_double(gauges[g].value(&stats), number);
            lm_bytes_format(out, NULL, "%s{model=\"", gauges[g].name);
            write_label(out, server->models[i].name);
            lm_bytes_format(out, NULL, "\"} %s\n", number);
        }
    }
    pthread_mutex_unlock(&server->models_lock);
}

void answer_metrics(struct lm_server *server, struct lm_exchange *exchange)
{
    struct metrics *metrics = &server->metrics;
    struct lm_bytes out = {0};
    describe(&out, "loam_answers_total", "counter", "Answers by the first digit of their status");
    for (int i = 1; i < 6; i++)
        lm_bytes_format(&out, NULL, "loam_answers_total{status=\"%dxx\"} %llu\n", i, (unsigned long long)atomic_load(&metrics->answers[i]));
    one(&out, "loam_prompt_tokens_total", "counter", "Tokens of prompts", (double)atomic_load(&metrics->prompt_tokens));
    one(&out, "loam_reused_tokens_total", "counter", "Tokens of prompts that were in the cache", (double)atomic_load(&metrics->reused_tokens));
    one(&out, "loam_generated_tokens_total", "counter", "Tokens generated", (double)atomic_load(&metrics->tokens));
    one(&out, "loam_cancelled_total", "counter", "Requests whose client went away", (double)atomic_load(&metrics->cancelled));
    one(&out, "loam_timed_out_total", "counter", "Requests that took longer than they may", (double)atomic_load(&metrics->timed_out));
    one(&out, "loam_model_loads_total", "counter", "Models loaded", (double)atomic_load(&metrics->loads));
    one(&out, "loam_model_unloads_total", "counter", "Models unloaded for another's sake", (double)atomic_load(&metrics->unloads));
    one(&out, "loam_connections_active", "gauge", "Exchanges in progress", (double)lm_http_active(server->http));
    one(&out, "process_resident_memory_bytes", "gauge", "Resident memory", (double)lm_memory_resident());
    one(&out, "loam_uptime_seconds", "gauge", "Seconds since the start", lm_seconds() - server->started);
    write_histogram(&out, "loam_time_to_first_token_seconds", "From a request's coming to its first token", &metrics->first);
    write_histogram(&out, "loam_time_per_token_seconds", "Mean time of a token behind the first, an answer each", &metrics->each);
    write_histogram(&out, "loam_request_seconds", "From a request's coming to the end of its answer", &metrics->whole);
    write_models(server, &out);
    serve_answered(server, exchange, 200, 0);
    lm_exchange_answer(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
}
