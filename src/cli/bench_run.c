/* What loam bench measures of running a model: prompts, and sequences that decode together. */
#include "bench.h"
#include "model/model.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    PROMPT = 512, PROMPTS = 3,              /* prompts */
    BEFORE = 32, GROUPS = 15, GROUP = 4,    /* decoding: positions in the cache before, tokens measured */
    PIECE = 256,                            /* rows of a prompt in one pass */
    TINY_LENGTH = 32
};

/* --- A model and sequences in it --- */

/* Random weights of a block type: written as GGUF, and run as they lie in that file, which has no name any more. */
static int open_blocks(struct bench *bench, enum lm_dtype dtype, struct lm_model **model, loam_error *error)
{
    struct lm_config config;
    struct lm_model *made;
    const char *folder = getenv("TMPDIR");
    int code = bench_shape(bench, "llama-3.2-1b", &config, error);
    char *path = code == LOAM_OK ? lm_path_join(folder && *folder ? folder : "/tmp", "loam-bench-XXXXXX.gguf", error) : NULL;
    if (!path)
        return code == LOAM_OK ? LOAM_ENOMEM : code;
    const int file = mkstemps(path, 5);
    if (file < 0) {
        code = lm_fail_errno(error, errno, "%s: a file for the model; set TMPDIR to a folder that can be written", path);
        lm_free(path);
        return code;
    }
    close(file);
    code = lm_model_create(&config, 1, bench->device, &(struct lm_model_options){.dtype = LM_BF16}, &made, error);
    if (code == LOAM_OK) {
        code = lm_model_save_gguf(made, path, dtype, NULL, NULL, error);
        lm_model_close(made);
    }
    if (code == LOAM_OK)
        code = lm_model_open(path, bench->device, &(struct lm_model_options){0}, model, error);
    unlink(path);
    lm_free(path);
    return code;
}

static int open_model(struct bench *bench, const char *path, enum lm_dtype dtype, struct lm_model **model, loam_error *error)
{
    struct lm_config config;
    if (path)
        return lm_model_open(path, bench->device, &(struct lm_model_options){0}, model, error);
    if (lm_dtype_is_block(dtype))
        return open_blocks(bench, dtype, model, error);
    const int code = bench_shape(bench, "llama-3.2-1b", &config, error);
    return code == LOAM_OK ? lm_model_create(&config, 1, bench->device, &(struct lm_model_options){.dtype = dtype}, model, error)
                           : code;
}

int talker_open(struct bench *bench, const char *path, enum lm_dtype dtype, int64_t streams, int64_t positions,
                struct talker *t, loam_error *error)
{
    *t = (struct talker){.streams = streams, .positions = positions, .page_count = (positions + LM_PAGE_ROWS - 1) / LM_PAGE_ROWS};
    int code = open_model(bench, path, dtype, &t->model, error);
    if (code != LOAM_OK)
        return code;
    const struct lm_config *config = lm_model_config(t->model);
    if (positions > config->context)
        return lm_fail(error, LOAM_EUSAGE, "bench: %lld positions, but the model's context is %lld; ask for a shorter context",
                       (long long)positions, (long long)config->context);
    const struct lm_paged_options how = {.pages = streams * t->page_count, .rows = PIECE > streams ? PIECE : streams,
                                         .logits = streams, .dtype = LM_BF16};
    code = lm_paged_create(t->model, &how, &t->pool, error);
    if (code == LOAM_OK && (!(t->pages = lm_alloc((size_t)how.pages, sizeof *t->pages, error)) ||
                            !(t->ids = lm_alloc((size_t)positions, sizeof *t->ids, error))))
        code = LOAM_ENOMEM;
    if (code != LOAM_OK)
        return code;
    for (int64_t i = 0; i < how.pages; i++)
        t->pages[i] = (int32_t)i;
    bench_draw_ids(t->ids, positions, config->vocabulary);
    return LOAM_OK;
}

void talker_close(struct talker *t)
{
    lm_paged_free(t->pool);
    lm_model_close(t->model);
    lm_free(t->pages);
    lm_free(t->ids);
}

int talker_prompt(struct talker *t, int64_t count, loam_error *error)
{
    for (int64_t from = 0; from < count; from += PIECE) {
        const int64_t rows = count - from < PIECE ? count - from : PIECE;
        struct lm_span span = {.ids = t->ids + from, .count = rows, .start = from, .pages = t->pages, .wanted = from + rows == count};
        int code = bench_stopped(error);
        if (code == LOAM_OK)
            code = lm_paged_run(t->pool, &span, 1, error);
        if (code != LOAM_OK)
            return code;
    }
    return LOAM_OK;
}

void talker_share(struct talker *t, int64_t count)
{
    for (int64_t i = 1; i < t->streams; i++)
        for (int64_t from = 0; from < count; from += LM_PAGE_ROWS)
            lm_paged_copy(t->pool, t->pages[i * t->page_count + from / LM_PAGE_ROWS], t->pages[from / LM_PAGE_ROWS],
                          count - from < LM_PAGE_ROWS ? count - from : LM_PAGE_ROWS);
}

/* As the engine does it: passes of at most LM_FEW_ROWS sequences. */
int talker_step(struct talker *t, int64_t streams, int64_t position, loam_error *error)
{
    int code = bench_stopped(error);
    for (int64_t from = 0; from < streams && code == LOAM_OK; from += LM_FEW_ROWS) {
        struct lm_span spans[LM_FEW_ROWS];
        const int64_t now = streams - from < LM_FEW_ROWS ? streams - from : LM_FEW_ROWS;
        for (int64_t i = 0; i < now; i++)
            spans[i] = (struct lm_span){.ids = t->ids + position, .count = 1, .start = position, .wanted = true,
                                        .pages = t->pages + (from + i) * t->page_count};
        code = lm_paged_run(t->pool, spans, now, error);
    }
    return code;
}

double talker_step_bytes(const struct talker *t, int64_t streams, int64_t position)
{
    const struct lm_config *c = lm_model_config(t->model);
    const double passes = (double)((streams + LM_FEW_ROWS - 1) / LM_FEW_ROWS);
    double weights = (double)lm_model_bytes(t->model);
    size_t table;
    lm_model_largest(t->model, &table);
    if (!c->tied)    /* the table of embeddings is as large as the head, and a row of it is read */
        weights -= (double)table * (double)(c->vocabulary - 1) / (double)c->vocabulary;
    return passes * weights + 2.0 * 2.0 * (double)(c->layers * c->kv_heads * c->head_size) * (double)(position * streams);
}

int talker_memory_speed(struct bench *bench, const struct talker *t, double *gbps, loam_error *error)
{
    size_t bytes;
    const char *largest = lm_model_largest(t->model, &bytes);
    const size_t skip = (64 - (uintptr_t)largest % 64) % 64;
    return lm_device_read_speed(bench->device, (void *)(largest + skip), bytes - skip, 0, gbps, error);
}

/* --- The measurements --- */

int bench_prompt(struct bench *bench, const struct bench_case *one, struct bench_result *result, loam_error *error)
{
    struct talker t;
    double times[PROMPTS];
    const int64_t count = bench->tiny ? TINY_LENGTH : PROMPT;
    int code = talker_open(bench, NULL, one->dtype, 1, count, &t, error);
    for (int i = -1; i < PROMPTS && code == LOAM_OK; i++) {    /* the first is not counted */
        const double start = lm_seconds();
        code = talker_prompt(&t, count, error);
        if (i >= 0)
            times[i] = lm_seconds() - start;
    }
    if (code == LOAM_OK) {
        const struct lm_config *c = lm_model_config(t.model);
        const double head = 2 * (double)c->vocabulary * (double)c->width;
        /* A third of a training step's; the head only for the last position. */
        const double flops = lm_config_flops(c, 1, count) / 3 - head * (double)(count - 1);
        const double seconds = bench_median(times, PROMPTS);
        *result = (struct bench_result){(double)count / seconds, "tokens/s",
                                        flops / seconds * 1e-9 / bench->limits.gflops_f32};
    }
    talker_close(&t);
    return code;
}

/* `speeds` in bytes a second, and the fractions of what reading the same memory gives just before and after: a machine shared
 * with others gives now more, now less. */
static int decode_groups(struct bench *bench, struct talker *t, double *speeds, double *fractions, loam_error *error)
{
    double before, after = 0;
    int code = talker_memory_speed(bench, t, &before, error);
    for (int group = 0; group < GROUPS && code == LOAM_OK; group++, before = after) {
        const int64_t position = BEFORE + group * GROUP;
        const double start = lm_seconds();
        for (int i = 0; i < GROUP && code == LOAM_OK; i++)
            code = talker_step(t, t->streams, position + i, error);
        speeds[group] = GROUP * talker_step_bytes(t, t->streams, position) / (lm_seconds() - start);
        if (code == LOAM_OK)
            code = talker_memory_speed(bench, t, &after, error);
        fractions[group] = code == LOAM_OK ? speeds[group] * 1e-9 / ((before + after) / 2) : 0;
    }
    return code;
}

int bench_decode(struct bench *bench, const struct bench_case *one, struct bench_result *result, loam_error *error)
{
    struct talker t;
    double speeds[GROUPS], fractions[GROUPS];
    int code = talker_open(bench, NULL, one->dtype, one->streams, BEFORE + GROUPS * GROUP, &t, error);
    if (code == LOAM_OK)
        code = talker_prompt(&t, BEFORE, error);
    if (code == LOAM_OK) {
        talker_share(&t, BEFORE);
        code = decode_groups(bench, &t, speeds, fractions, error);
    }
    if (code == LOAM_OK)
        *result = (struct bench_result){
            (double)one->streams * bench_median(speeds, GROUPS) / talker_step_bytes(&t, one->streams, BEFORE), "tokens/s",
            bench_median(fractions, GROUPS)};
    talker_close(&t);
    return code;
}
