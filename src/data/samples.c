/* Samples in rows, rows in the order of an epoch, rows into batches. */
#include "store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum { STREAM_ROWS = 1, STREAM_LOT = 2, STREAM_EPOCH = 3 };    /* what random numbers are drawn for */

static struct lm_random draw_for(const struct lm_samples *samples, uint64_t what, uint64_t which)
{
    uint32_t bits[4];
    lm_random_keyed(samples->seed, what, which, bits);
    return lm_random_seed((uint64_t)bits[0] << 32 | bits[1], (uint64_t)bits[2] << 32 | bits[3]);
}

static int check_options(const struct lm_samples_options *options, loam_error *error)
{
    if (options->length < 1 || options->length > INT32_MAX / 2 || options->batch < 1 || options->batch > INT32_MAX / 2)
        return lm_fail(error, LOAM_EUSAGE, "found %lld sequences of %lld tokens a batch, wanted 1 or more of each",
                       (long long)options->batch, (long long)options->length);
    if (!options->source_count)
        return lm_fail(error, LOAM_EUSAGE, "found no data file; name one or more with --data");
    if (options->kind == LM_SAMPLES_CHAT && !options->chat_template)
        return lm_fail(error, LOAM_EUSAGE, "found no chat template for the conversations; name one with --template");
    if (options->faithful && (options->kind != LM_SAMPLES_CHAT || !options->tokenizer || lm_tokenizer_eos(options->tokenizer) < 0))
        return lm_fail(error, LOAM_EUSAGE, "faithful: wanted conversations and a tokenizer with an end-of-sequence token, which is "
                       "what the reference recipe pads with");
    for (size_t i = 0; i < options->source_count; i++) {
        const struct lm_source *source = &options->sources[i];
        if (!(source->weight >= 1e-6 && source->weight <= 1e6)) {
            char weight[32];
            lm_format_double(source->weight, weight);
            return lm_fail(error, LOAM_EUSAGE, "%s: found the weight %s, wanted 1e-6 to 1e6", source->path, weight);
        }
        if (!options->tokenizer && !lm_is_ids(source->path))
            return lm_fail(error, LOAM_EUSAGE, "%s: found no tokenizer to read this with, wanted a model directory that has one, or "
                           "a file of token ids named *.ids", source->path);
    }
    return LOAM_OK;
}

/* Groups of one weight each, in the order in which the weights come. */
static void name_groups(const struct lm_samples_options *options, struct lm_samples *samples)
{
    samples->group_count = 0;
    for (size_t i = 0; i < options->source_count; i++) {
        const double weight = options->sources[i].weight;
        size_t known = 0;
        while (known < samples->group_count && samples->groups[known].weight != weight)
            known++;
        if (known == samples->group_count)
            samples->groups[samples->group_count++] = (struct lm_sample_group){.weight = weight};
    }
}

static int read_groups(const struct lm_samples_options *options, struct lm_samples *samples, struct lm_store_writer *store,
                       loam_error *error)
{
    for (size_t i = 0; i < samples->group_count; i++) {
        struct lm_sample_group *group = &samples->groups[i];
        group->first_sample = samples->sample_count;
        int code = lm_samples_read(options, group->weight, samples, store, error);
        if (code)
            return code;
        group->sample_count = samples->sample_count - group->first_sample;
    }
    if (!samples->sample_count)
        return lm_fail(error, LOAM_EFORMAT, "%s%s: found nothing to train on: %lld samples have no trained token, in %lld it lies "
                       "behind the first %lld; give other data, or a greater --seq", options->sources[0].path,
                       options->source_count > 1 ? " and the others" : "", (long long)samples->summary.unanswered,
                       (long long)samples->summary.out_of_reach, (long long)options->length);
    if (samples->sample_count > UINT32_MAX)
        return lm_fail(error, LOAM_EUNSUPPORTED, "found %zu samples, wanted at most %u; split the data", samples->sample_count,
                       UINT32_MAX);
    return LOAM_OK;
}

static int encode(const struct lm_samples_options *options, const uint64_t key[2], struct lm_samples *samples,
                  loam_error *error)
{
    struct lm_store_writer *store;
    int code = lm_store_create(options, key, &store, error);
    if (code)
        return code;
    code = read_groups(options, samples, store, error);
    if (!code)
        code = lm_store_finish(store, samples, error);
    else
        lm_store_abandon(store);
    if (code == LOAM_ENOSPACE)
        return lm_fail_within(error, code, "the encoded data have no room (--cache chooses another folder, or none: memory)");
    return code;
}

/* From the cache, or from the files and into the cache. */
static int fetch(const struct lm_samples_options *options, struct lm_samples *samples, loam_error *error)
{
    struct lm_samples_options own = *options;
    uint64_t key[2] = {0};
    bool usable = false;
    samples->groups = lm_alloc(options->source_count, sizeof *samples->groups, error);
    samples->tallies = samples->groups ? lm_alloc(options->source_count, sizeof *samples->tallies, error) : NULL;
    if (!samples->tallies)
        return LOAM_ENOMEM;
    samples->tally_count = options->source_count;
    int code = options->cache ? lm_store_key(options, key, &usable, error) : LOAM_OK;
    if (!usable)
        own.cache = NULL;
    name_groups(options, samples);
    if (!code && own.cache) {
        code = lm_store_open(&own, key, samples, error);
        samples->cached = !code;
        if (code != LOAM_ENOTFOUND)
            return code;
        code = LOAM_OK;
        memset(samples->tallies, 0, samples->tally_count * sizeof *samples->tallies);
        samples->summary = (struct lm_samples_summary){0};
        name_groups(options, samples);
    }
    return code ? code : encode(&own, key, samples, error);
}

/* Groups order[...] by row: counts, then places. `row_of` gives each sample of the group, in order, its row. */
static int place_in_rows(struct lm_samples *samples, struct lm_sample_group *group, const uint32_t *row_of, loam_error *error)
{
    struct lm_sample_row *rows = samples->rows + group->first_row;
    uint32_t *order = samples->order + group->first_sample;
    uint32_t *sorted = lm_alloc(group->sample_count, sizeof *sorted, error);
    if (!sorted)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < group->sample_count; i++)
        rows[row_of[i]].count++;
    size_t at = 0;
    for (size_t i = 0; i < group->row_count; i++) {
        rows[i].first = at;
        at += rows[i].count;
        rows[i].count = 0;
    }
    for (size_t i = 0; i < group->sample_count; i++) {
        struct lm_sample_row *row = &rows[row_of[i]];
        sorted[row->first + row->count++] = order[i];
    }
    memcpy(order, sorted, group->sample_count * sizeof *order);
    lm_free(sorted);
    for (size_t i = 0; i < group->row_count; i++)
        rows[i].first += group->first_sample;
    return LOAM_OK;
}

static int make_rows(struct lm_samples *samples, struct lm_sample_group *group, bool pack, loam_error *error)
{
    size_t count = group->sample_count;
    uint32_t *order = samples->order + group->first_sample;
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)(group->first_sample + i);
    if (samples->shuffle) {
        struct lm_random random = draw_for(samples, STREAM_ROWS, (uint64_t)(group - samples->groups));
        lm_random_shuffle(&random, order, count);
    }
    int64_t *lengths = lm_alloc(count, sizeof *lengths, error);
    uint32_t *row_of = lengths ? lm_alloc(count, sizeof *row_of, error) : NULL;
    int code = row_of ? LOAM_OK : LOAM_ENOMEM;
    for (size_t i = 0; !code && i < count; i++) {
        lengths[i] = samples->samples[order[i]].length - 1; /* positions */
        row_of[i] = (uint32_t)i;
    }
    group->first_row = samples->row_count;
    group->row_count = count;
    if (!code && pack && count)
        code = lm_pack(lengths, count, samples->length, row_of, &group->row_count, error);
    if (!code)
        code = place_in_rows(samples, group, row_of, error);
    samples->row_count += code ? 0 : group->row_count;
    lm_free(lengths);
    lm_free(row_of);
    return code;
}

static int make_all_rows(struct lm_samples *samples, bool pack, loam_error *error)
{
    size_t most = 0;
    samples->order = lm_alloc(samples->sample_count, sizeof *samples->order, error);
    samples->rows = samples->order ? lm_alloc(samples->sample_count, sizeof *samples->rows, error) : NULL;
    int code = samples->rows ? LOAM_OK : LOAM_ENOMEM;
    for (size_t i = 0; !code && i < samples->group_count; i++) {
        struct lm_sample_group *group = &samples->groups[i];
        code = make_rows(samples, group, pack, error);
        double draws = floor(group->weight * (double)group->row_count + 0.5);
        if (!code && draws + (double)samples->epoch_row_count > INT32_MAX)
            code = lm_fail(error, LOAM_EUSAGE, "found weights that draw 2^31 rows an epoch or more, wanted fewer; give smaller weights");
        if (code)
            break;
        group->draws = group->row_count && draws < 1 ? 1 : (size_t)draws;
        samples->epoch_row_count += group->draws;
        most = group->row_count > most ? group->row_count : most;
    }
    if (code)
        return code;
    samples->epoch_rows = lm_alloc(samples->epoch_row_count, sizeof *samples->epoch_rows, error);
    samples->lot = samples->epoch_rows ? lm_alloc(most, sizeof *samples->lot, error) : NULL;
    samples->summary.rows = (int64_t)samples->row_count;
    return samples->lot ? LOAM_OK : LOAM_ENOMEM;
}

static int take_fingerprint(struct lm_samples *samples, loam_error *error)
{
    XXH64_state_t *state = XXH64_createState();
    if (!state)
        return lm_fail(error, LOAM_ENOMEM, "found no memory for the data's fingerprint");
    XXH64_reset(state, samples->seed);
    XXH64_update(state, &samples->tokens_hash, sizeof samples->tokens_hash);
    for (size_t i = 0; i < samples->sample_count; i++)
        XXH64_update(state, &samples->samples[i].length, sizeof samples->samples[i].length);
    XXH64_update(state, samples->order, samples->sample_count * sizeof *samples->order);
    for (size_t i = 0; i < samples->row_count; i++)
        XXH64_update(state, &samples->rows[i].count, sizeof samples->rows[i].count);
    for (size_t i = 0; i < samples->group_count; i++)
        XXH64_update(state, &samples->groups[i].draws, sizeof samples->groups[i].draws);
    const int64_t shape[] = {samples->batch, samples->length, samples->shuffle};
    XXH64_update(state, shape, sizeof shape);
    samples->fingerprint = XXH64_digest(state);
    XXH64_freeState(state);
    return LOAM_OK;
}

static int32_t padding_id(const struct lm_tokenizer *tokenizer)
{
    int32_t id = tokenizer ? lm_tokenizer_pad(tokenizer) : 0;
    if (id < 0)
        id = lm_tokenizer_eos(tokenizer);
    return id < 0 ? 0 : id;
}

int lm_samples_open(const struct lm_samples_options *options, struct lm_samples **opened, loam_error *error)
{
    int code = check_options(options, error);
    if (code)
        return code;
    struct lm_samples *samples = lm_alloc(1, sizeof *samples, error);
    if (!samples)
        return LOAM_ENOMEM;
    samples->batch = options->batch;
    samples->length = options->length;
    samples->vocabulary = options->vocabulary;
    samples->shuffle = options->shuffle;
    samples->seed = options->seed;
    samples->epoch = -1;
    samples->padding = padding_id(options->tokenizer);
    if (options->vocabulary && samples->padding >= options->vocabulary)
        samples->padding = 0;
    samples->file = -1;
    code = fetch(options, samples, error);
    if (!code && !(samples->words = lm_alloc((size_t)options->length + 1, sizeof *samples->words, error)))
        code = LOAM_ENOMEM;
    if (!code)
        code = make_all_rows(samples, options->pack, error);
    if (!code)
        code = take_fingerprint(samples, error);
    if (code) {
        lm_samples_close(samples);
        return code;
    }
    lm_samples_tell(options, samples);
    *opened = samples;
    return LOAM_OK;
}

void lm_samples_close(struct lm_samples *samples)
{
    if (!samples)
        return;
    if (samples->file >= 0)
        close(samples->file);
    lm_free(samples->words);
    lm_free(samples->tallies);
    lm_free(samples->samples);
    lm_free(samples->groups);
    lm_free(samples->order);
    lm_free(samples->rows);
    lm_free(samples->epoch_rows);
    lm_free(samples->lot);
    lm_free(samples);
}

int64_t lm_samples_batches(const struct lm_samples *samples)
{
    return ((int64_t)samples->epoch_row_count + samples->batch - 1) / samples->batch;
}

uint64_t lm_samples_fingerprint(const struct lm_samples *samples)
{
    return samples->fingerprint;
}

void lm_samples_summarise(const struct lm_samples *samples, struct lm_samples_summary *summary)
{
    *summary = samples->summary;
}

const struct lm_source_tally *lm_samples_tallies(const struct lm_samples *samples, size_t *count)
{
    *count = samples->tally_count;
    return samples->tallies;
}

int64_t lm_samples_full_length(const struct lm_samples *samples, int64_t index)
{
    return samples->samples[index].full - 1;
}

bool lm_samples_cached(const struct lm_samples *samples)
{
    return samples->cached;
}

char *lm_samples_cache(void)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *path = cache && *cache == '/'  ? lm_path_join(cache, "loam", NULL)
                 : home && *home == '/' ? lm_path_join(home, ".cache/loam", NULL)
                                        : NULL;
    if (path && (lm_make_directories(path, NULL) != LOAM_OK || access(path, W_OK) != 0)) {
        lm_free(path);
        path = NULL;
    }
    return path;
}

/* The rest of a group's draws that is not a whole number of rounds: by lot, or where nothing is shuffled on from where the last epoch
 * ended. */
static void draw_lot(struct lm_samples *samples, const struct lm_sample_group *group, int64_t epoch, size_t rest)
{
    size_t count = group->row_count, start = 0;
    for (size_t i = 0; i < count; i++)
        samples->lot[i] = (uint32_t)(group->first_row + i);
    if (samples->shuffle) {
        struct lm_random random = draw_for(samples, STREAM_LOT + 4 * (uint64_t)(group - samples->groups), (uint64_t)epoch);
        lm_random_shuffle(&random, samples->lot, count);
        return;
    }
    start = (size_t)((uint64_t)epoch % count * rest % count);
    for (size_t i = 0; i < count; i++)
        samples->lot[i] = (uint32_t)(group->first_row + (start + i) % count);
}

static void begin_epoch(struct lm_samples *samples, int64_t epoch)
{
    size_t at = 0;
    for (size_t i = 0; i < samples->group_count; i++) {
        const struct lm_sample_group *group = &samples->groups[i];
        if (!group->row_count)
            continue;
        for (size_t round = 0; round < group->draws / group->row_count; round++)
            for (size_t row = 0; row < group->row_count; row++)
                samples->epoch_rows[at++] = (uint32_t)(group->first_row + row);
        size_t rest = group->draws % group->row_count;
        if (rest)
            draw_lot(samples, group, epoch, rest);
        for (size_t row = 0; row < rest; row++)
            samples->epoch_rows[at++] = samples->lot[row];
    }
    if (samples->shuffle) {
        struct lm_random random = draw_for(samples, STREAM_EPOCH, (uint64_t)epoch);
        lm_random_shuffle(&random, samples->epoch_rows, at);
    }
    samples->epoch = epoch;
}

/* Fills the row from position `start` on with one sample; *end gets where it ended. */
static int fill_sample(const struct lm_samples *samples, const struct lm_sample *sample, int64_t start, size_t base,
                       struct lm_batch *batch, int64_t *end, loam_error *error)
{
    const uint32_t *words = samples->words;
    int code = lm_store_read(samples, sample->begin, samples->words, (size_t)sample->length, error);
    if (code)
        return code;
    for (int64_t i = 0; samples->vocabulary && i < sample->length; i++)
        if ((words[i] & INT32_MAX) >= samples->vocabulary)
            return lm_fail(error, LOAM_EFORMAT, "found id %u in the encoded data, wanted one below %lld; the cache is damaged, remove it",
                           words[i] & INT32_MAX, (long long)samples->vocabulary);
    for (int64_t i = 0; i + 1 < sample->length; i++) {
        size_t at = base + (size_t)(start + i);
        const bool trained = words[i + 1] >> 31;
        batch->ids[at] = (int32_t)(words[i] & INT32_MAX);
        batch->targets[at] = trained ? (int32_t)(words[i + 1] & INT32_MAX) : -1;
        batch->positions[at] = (int32_t)i;
        batch->segment_start[at] = (int32_t)start;
        batch->trained += trained;
    }
    batch->tokens += sample->length - 1;
    *end = start + sample->length - 1;
    return LOAM_OK;
}

/* Row `row` of the batch; NULL: an empty one. What is left over is padding: seen by none, seeing only itself, never a target. */
static int fill_row(const struct lm_samples *samples, const struct lm_sample_row *row, int64_t index, struct lm_batch *batch,
                    loam_error *error)
{
    size_t base = (size_t)(index * samples->length);
    int64_t at = 0;
    for (size_t i = 0; row && i < row->count; i++) {
        int code = fill_sample(samples, &samples->samples[samples->order[row->first + i]], at, base, batch, &at, error);
        if (code)
            return code;
    }
    for (; at < samples->length; at++) {
        batch->ids[base + (size_t)at] = samples->padding;
        batch->targets[base + (size_t)at] = -1;
        batch->positions[base + (size_t)at] = 0;
        batch->segment_start[base + (size_t)at] = (int32_t)at;
    }
    return LOAM_OK;
}

int lm_samples_next(struct lm_samples *samples, struct lm_place_in_data *place, struct lm_batch *batch, loam_error *error)
{
    int64_t batches = lm_samples_batches(samples);
    if (place->epoch < 0 || place->batch < 0 || place->batch >= batches)
        return lm_fail(error, LOAM_EUSAGE, "found the place epoch %lld, batch %lld in the data, wanted a batch below %lld; the "
                       "data is not what the run began with", (long long)place->epoch, (long long)place->batch,
                       (long long)batches);
    if (samples->epoch != place->epoch)
        begin_epoch(samples, place->epoch);
    batch->batch = samples->batch;
    batch->length = samples->length;
    batch->tokens = batch->trained = 0;
    for (int64_t i = 0; i < samples->batch; i++) {
        size_t at = (size_t)(place->batch * samples->batch + i);
        const struct lm_sample_row *row = at < samples->epoch_row_count ? &samples->rows[samples->epoch_rows[at]] : NULL;
        int code = fill_row(samples, row, i, batch, error);
        if (code)
            return code;
    }
    if (++place->batch == batches) {
        place->batch = 0;
        place->epoch++;
    }
    return LOAM_OK;
}
