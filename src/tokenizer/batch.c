/* Many texts at once, over threads. */
#include "internal.h"

struct batch {
    const struct lm_tokenizer *tokenizer;
    const struct lm_piece_of_text *texts;
    size_t count;
    unsigned flags;
    struct lm_ids *ids;
    size_t failed; /* the first text that failed so far, or count */
    loam_error error;
};

static void encode_one(struct batch *batch, size_t i)
{
    loam_error error = {0};
    const struct lm_piece_of_text *text = &batch->texts[i];
    int code = lm_tokenizer_encode(batch->tokenizer, text->text, text->length, batch->flags, &batch->ids[i], NULL, &error);
    if (code == LOAM_OK)
        return;
#pragma omp critical(lm_batch)
    if (i < batch->failed) {
        batch->failed = i;
        batch->error = error;
    }
}

int lm_tokenizer_encode_batch(const struct lm_tokenizer *tokenizer, const struct lm_piece_of_text *texts, size_t count,
                              unsigned flags, int threads, struct lm_ids *ids, loam_error *error)
{
    struct batch batch = {tokenizer, texts, count, flags, ids, count, {0}};
    size_t *before = lm_alloc(count + 1, sizeof *before, error);
    if (!before)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < count; i++)
        before[i] = ids[i].length;
    if (threads <= 0)
        threads = lm_processors();
#pragma omp parallel for num_threads(threads) schedule(dynamic, 16) if (threads > 1 && count > 1)
    for (size_t i = 0; i < count; i++)
        encode_one(&batch, i);
    for (size_t i = 0; batch.failed < count && i < count; i++)
        ids[i].length = before[i];
    lm_free(before);
    if (batch.failed == count)
        return LOAM_OK;
    return lm_fail(error, batch.error.code, "text %zu: %s", batch.failed + 1, batch.error.message);
}
