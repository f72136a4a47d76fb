/* Any bytes as a file of token ids: refused in words, or batches whose ids are of the vocabulary. */
#include "data/data.h"
#include "support/fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BATCH = 2, LENGTH = 16, PLACES = BATCH * LENGTH, VOCABULARY = 1000 };

static void go_through(struct lm_samples *samples)
{
    int32_t ids[PLACES], targets[PLACES], positions[PLACES], starts[PLACES];
    struct lm_batch batch = {.batch = BATCH, .length = LENGTH, .ids = ids, .targets = targets, .positions = positions,
                             .segment_start = starts};
    struct lm_place_in_data place = {0};
    loam_error error;
    while (place.epoch == 0) {
        if (lm_samples_next(samples, &place, &batch, &error) != LOAM_OK)
            fuzz_must(0, error.message);
        for (int i = 0; i < PLACES; i++) {
            fuzz_must(ids[i] >= 0 && ids[i] < VOCABULARY && targets[i] >= -1 && targets[i] < VOCABULARY, "an id of no token");
            fuzz_must(positions[i] >= 0 && positions[i] < LENGTH && starts[i] >= 0 && starts[i] <= i % LENGTH, "a place outside of the row");
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct lm_source source = {.path = fuzz_file("data.ids", data, size), .weight = 1};
    const struct lm_samples_options options = {.kind = size % 2 ? LM_SAMPLES_CHAT : LM_SAMPLES_TEXT, .sources = &source, .source_count = 1,
                                               .length = LENGTH, .batch = BATCH, .vocabulary = VOCABULARY, .pack = size % 3, .threads = 1};
    struct lm_samples *samples;
    loam_error error = {0};
    const int code = lm_samples_open(&options, &samples, &error);
    if (code != LOAM_OK) {
        fuzz_refused(code, &error);
        return 0;
    }
    go_through(samples);
    lm_samples_close(samples);
    return 0;
}
