/* loam bench --sweep: prompts and decoding over numbers of sequences and lengths of what stands before. */
#include "bench.h"
#include "model/model.h"

enum { STEPS = 24, ROUNDS = 3, WARM = 64 };

/* The middle of ROUNDS times of STEPS / ROUNDS steps, and the memory's speed around them. */
static int time_steps(struct bench *bench, struct talker *t, int64_t streams, int64_t context, double *seconds, double *gbps,
                      loam_error *error)
{
    double times[ROUNDS], before, after = 0;
    int code = talker_step(t, streams, context, error);    /* touches what comes to be used; not counted */
    if (code == LOAM_OK)
        code = talker_memory_speed(bench, t, &before, error);
    for (int round = 0; round < ROUNDS && code == LOAM_OK; round++) {
        const double start = lm_seconds();
        for (int i = 0; i < STEPS / ROUNDS && code == LOAM_OK; i++)
            code = talker_step(t, streams, context + i, error);
        times[round] = (lm_seconds() - start) / (STEPS / ROUNDS);
    }
    if (code == LOAM_OK)
        code = talker_memory_speed(bench, t, &after, error);
    if (code != LOAM_OK)
        return code;
    *seconds = bench_median(times, ROUNDS);
    *gbps = (before + after) / 2;
    return LOAM_OK;
}

static int64_t largest(const int64_t *list, size_t count)
{
    int64_t most = 0;
    for (size_t i = 0; i < count; i++)
        most = list[i] > most ? list[i] : most;
    return most;
}

int bench_sweep(struct bench *bench, const char *model, const int64_t *streams, size_t stream_count, const int64_t *contexts,
                size_t context_count, void (*show)(void *user, const struct bench_row *row), void *user, loam_error *error)
{
    struct talker t;
    int code = talker_open(bench, model, LM_BF16, largest(streams, stream_count), largest(contexts, context_count) + STEPS, &t,
                           error);
    if (code == LOAM_OK)    /* brings the weights in; not counted */
        code = talker_prompt(&t, contexts[0] < WARM ? contexts[0] : WARM, error);
    for (size_t c = 0; c < context_count && code == LOAM_OK; c++) {
        const double start = lm_seconds();
        code = talker_prompt(&t, contexts[c], error);
        const double prompt = (double)contexts[c] / (lm_seconds() - start);
        talker_share(&t, contexts[c]);
        for (size_t s = 0; s < stream_count && code == LOAM_OK; s++) {
            double seconds = 0, gbps = 0;
            code = time_steps(bench, &t, streams[s], contexts[c], &seconds, &gbps, error);
            if (code != LOAM_OK)
                break;
            show(user, &(struct bench_row){.streams = streams[s], .context = contexts[c], .prompt = prompt,
                                           .decode = (double)streams[s] / seconds,
                                           .of_limit = talker_step_bytes(&t, streams[s], contexts[c]) / seconds * 1e-9 / gbps});
        }
    }
    talker_close(&t);
    return code;
}
