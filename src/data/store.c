#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

enum {
    FORMAT = 1,
    WORDS = 1 << 14,                /* packed at a time */
    PIECE = 1 << 20,                /* bytes read at a time */
    KEPT_SECONDS = 60 * 24 * 60 * 60 /* what nobody has used for so long goes when something new comes */
};
#define TRAINED 0x80000000u
static const char magic[8] = "loamtok";

struct trailer {
    char magic[8];
    uint64_t format, key[2];
    uint64_t tokens, samples, groups, sources;
    uint64_t tokens_hash, tables_hash;
    struct lm_samples_summary summary;
    uint64_t unused[11];
    uint64_t seal; /* of all above */
};
_Static_assert(sizeof(struct trailer) == 256, "the trailer is 256 bytes");

struct span {
    uint64_t first, count;
};

struct lm_store_writer {
    struct lm_file_writer *file;
    struct trailer trailer;
    XXH3_state_t *hash;
    uint32_t words[WORDS];
};

/* --- Writing --- */

static char *path_of(const char *cache, const uint64_t key[2], loam_error *error)
{
    char name[48];
    snprintf(name, sizeof name, "%016" PRIx64 "%016" PRIx64 ".tokens", key[0], key[1]);
    return lm_path_join(cache, name, error);
}

/* What has not been used for two months, and what a killed program left half-written two days ago. */
static void remove_old(const char *cache)
{
    char **names;
    size_t count;
    const time_t now = time(NULL);
    if (lm_list_directory(cache, &names, &count, NULL) != LOAM_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(names[i]);
        const bool part = length > 5 && !strcmp(names[i] + length - 5, ".part");
        const bool ours = part || (length == 39 && !strcmp(names[i] + 32, ".tokens"));
        char *path = ours ? lm_path_join(cache, names[i], NULL) : NULL;
        struct stat facts;
        if (path && stat(path, &facts) == 0 && now - facts.st_mtime > (part ? 2 * 24 * 60 * 60 : KEPT_SECONDS))
            remove(path);
        lm_free(path);
    }
    lm_free_strings(names, count);
}

static int create_file(const struct lm_samples_options *options, struct lm_store_writer *writer, loam_error *error)
{
    if (!options->cache)
        return lm_file_create_unnamed("the encoded data", &writer->file, error);
    int code = lm_make_directories(options->cache, error);
    if (code)
        return code;
    remove_old(options->cache);
    char *path = path_of(options->cache, writer->trailer.key, error);
    code = path ? lm_file_create(path, &writer->file, error) : LOAM_ENOMEM;
    lm_free(path);
    return code;
}

int lm_store_create(const struct lm_samples_options *options, const uint64_t key[2], struct lm_store_writer **created,
                    loam_error *error)
{
    struct lm_store_writer *writer = lm_alloc(1, sizeof *writer, error);
    if (!writer)
        return LOAM_ENOMEM;
    memcpy(writer->trailer.magic, magic, sizeof magic);
    writer->trailer.format = FORMAT;
    writer->trailer.key[0] = key[0];
    writer->trailer.key[1] = key[1];
    writer->hash = XXH3_createState();
    int code = writer->hash ? create_file(options, writer, error)
                            : lm_fail(error, LOAM_ENOMEM, "found no memory for a checksum");
    if (code) {
        lm_store_abandon(writer);
        return code;
    }
    XXH3_64bits_reset(writer->hash);
    *created = writer;
    return LOAM_OK;
}

int lm_store_put(struct lm_store_writer *writer, const int32_t *ids, const char *trained, size_t count, loam_error *error)
{
    for (size_t done = 0; done < count;) {
        const size_t now = count - done < WORDS ? count - done : WORDS;
        for (size_t i = 0; i < now; i++)
            writer->words[i] = (uint32_t)ids[done + i] | (!trained || trained[done + i] ? TRAINED : 0);
        XXH3_64bits_update(writer->hash, writer->words, now * sizeof *writer->words);
        int code = lm_file_write(writer->file, writer->words, now * sizeof *writer->words, error);
        if (code)
            return code;
        done += now;
    }
    writer->trailer.tokens += count;
    return LOAM_OK;
}

static int put_table(struct lm_store_writer *writer, const void *data, size_t bytes, loam_error *error)
{
    XXH3_64bits_update(writer->hash, data, bytes);
    return lm_file_write(writer->file, data, bytes, error);
}

static int put_tables(struct lm_store_writer *writer, const struct lm_samples *samples, loam_error *error)
{
    struct trailer *trailer = &writer->trailer;
    trailer->tokens_hash = XXH3_64bits_digest(writer->hash);
    trailer->samples = samples->sample_count;
    trailer->groups = samples->group_count;
    trailer->sources = samples->tally_count;
    trailer->summary = samples->summary;
    XXH3_64bits_reset(writer->hash);
    int code = put_table(writer, samples->samples, samples->sample_count * sizeof *samples->samples, error);
    for (size_t i = 0; !code && i < samples->group_count; i++) {
        const struct span span = {samples->groups[i].first_sample, samples->groups[i].sample_count};
        code = put_table(writer, &span, sizeof span, error);
    }
    if (!code)
        code = put_table(writer, samples->tallies, samples->tally_count * sizeof *samples->tallies, error);
    trailer->tables_hash = XXH3_64bits_digest(writer->hash);
    trailer->seal = XXH3_64bits(trailer, offsetof(struct trailer, seal));
    return code ? code : lm_file_write(writer->file, trailer, sizeof *trailer, error);
}

static void take_trailer(struct lm_samples *samples, const struct trailer *trailer)
{
    samples->token_count = (int64_t)trailer->tokens;
    samples->tokens_hash = trailer->tokens_hash;
    samples->summary = trailer->summary;
}

int lm_store_finish(struct lm_store_writer *writer, struct lm_samples *samples, loam_error *error)
{
    int code = put_tables(writer, samples, error);
    if (!code) {
        struct lm_file_writer *file = writer->file;
        writer->file = NULL;
        code = lm_file_commit_open(file, &samples->file, error);
    }
    if (!code)
        take_trailer(samples, &writer->trailer);
    lm_store_abandon(writer);
    return code;
}

void lm_store_abandon(struct lm_store_writer *writer)
{
    if (!writer)
        return;
    lm_file_abandon(writer->file);
    XXH3_freeState(writer->hash);
    lm_free(writer);
}

/* --- The key --- */

static int hash_file(const char *path, XXH3_state_t *state, bool *regular, loam_error *error)
{
    struct stat facts;
    *regular = strcmp(path, "-") != 0 && stat(path, &facts) == 0 && S_ISREG(facts.st_mode);
    if (!*regular)
        return LOAM_OK;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return lm_fail_errno(error, errno, "%s: cannot be opened for reading", path);
    unsigned char *piece = lm_alloc(PIECE, 1, error);
    uint64_t bytes = 0;
    ssize_t got = 1;
    while (piece && got > 0) {
        got = read(file, piece, PIECE);
        if (got < 0 && errno == EINTR) {
            got = 1;
            continue;
        }
        if (got > 0) {
            XXH3_128bits_update(state, piece, (size_t)got);
            bytes += (uint64_t)got;
        }
    }
    int code = !piece ? LOAM_ENOMEM : got < 0 ? lm_fail_errno(error, errno, "%s: cannot be read", path) : LOAM_OK;
    XXH3_128bits_update(state, &bytes, sizeof bytes);
    lm_free(piece);
    close(file);
    return code;
}

static void hash_text(XXH3_state_t *state, const char *text)
{
    XXH3_128bits_update(state, text, strlen(text) + 1);
}

static int hash_all(const struct lm_samples_options *options, XXH3_state_t *state, bool *usable, loam_error *error)
{
    const int64_t numbers[] = {
        FORMAT,           sizeof(struct lm_sample),       options->kind,        options->length,
        options->vocabulary, options->train_on_all,       options->faithful,    (int64_t)options->source_count,
        options->tokenizer ? (int64_t)lm_tokenizer_fingerprint(options->tokenizer) : 0,
        options->tokenizer ? lm_tokenizer_bos(options->tokenizer) : -1,
        options->tokenizer ? lm_tokenizer_eos(options->tokenizer) : -1,
    };
    hash_text(state, loam_version());
    XXH3_128bits_update(state, numbers, sizeof numbers);
    hash_text(state, options->chat_template ? lm_template_name(options->chat_template) : "");
    hash_text(state, options->chat_template ? lm_template_jinja(options->chat_template) : "");
    *usable = true;
    for (size_t i = 0; i < options->source_count && *usable; i++) {
        const struct lm_source *source = &options->sources[i];
        const char kind = lm_is_ids(source->path) ? 'i' : 't';
        XXH3_128bits_update(state, &kind, 1);
        XXH3_128bits_update(state, &source->weight, sizeof source->weight);
        int code = hash_file(source->path, state, usable, error);
        if (code)
            return code;
    }
    return LOAM_OK;
}

int lm_store_key(const struct lm_samples_options *options, uint64_t key[2], bool *usable, loam_error *error)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return lm_fail(error, LOAM_ENOMEM, "found no memory for a checksum");
    XXH3_128bits_reset(state);
    int code = hash_all(options, state, usable, error);
    const XXH128_hash_t hash = XXH3_128bits_digest(state);
    key[0] = hash.high64;
    key[1] = hash.low64;
    XXH3_freeState(state);
    return code;
}

/* --- Reading --- */

static bool hash_holds(int file, int64_t offset, uint64_t bytes, uint64_t wanted)
{
    unsigned char *piece = lm_alloc(PIECE, 1, NULL);
    XXH3_state_t *state = piece ? XXH3_createState() : NULL;
    bool holds = state != NULL;
    if (holds)
        XXH3_64bits_reset(state);
    for (uint64_t done = 0; holds && done < bytes;) {
        const size_t now = bytes - done < PIECE ? (size_t)(bytes - done) : PIECE;
        holds = lm_file_read_at(file, "", offset + (int64_t)done, piece, now, NULL) == LOAM_OK;
        if (holds)
            XXH3_64bits_update(state, piece, now);
        done += now;
    }
    holds = holds && XXH3_64bits_digest(state) == wanted;
    XXH3_freeState(state);
    lm_free(piece);
    return holds;
}

static bool trailer_holds(const struct trailer *trailer, const uint64_t key[2], const struct lm_samples_options *options,
                         int64_t size)
{
    uint64_t bytes = sizeof *trailer;
    if (memcmp(trailer->magic, magic, sizeof magic) != 0 || trailer->format != FORMAT || trailer->key[0] != key[0] ||
        trailer->key[1] != key[1] || trailer->seal != XXH3_64bits(trailer, offsetof(struct trailer, seal)))
        return false;
    if (trailer->tokens > (uint64_t)1 << 60 || trailer->samples > UINT32_MAX || trailer->groups > options->source_count ||
        trailer->sources != options->source_count)
        return false;
    bytes += trailer->tokens * sizeof(uint32_t) + trailer->samples * sizeof(struct lm_sample) +
             trailer->groups * sizeof(struct span) + trailer->sources * sizeof(struct lm_source_tally);
    return (int64_t)bytes == size;
}

static bool tables_hold(const struct lm_samples *samples, const struct span *spans, uint64_t tokens)
{
    size_t next = 0;
    for (size_t i = 0; i < samples->sample_count; i++) {
        const struct lm_sample *sample = &samples->samples[i];
        if (sample->begin < 0 || sample->length < 2 || sample->length > samples->length + 1 || (uint64_t)sample->begin > tokens ||
            (uint64_t)sample->length > tokens - (uint64_t)sample->begin)
            return false;
    }
    for (size_t i = 0; i < samples->group_count; i++) {
        if (spans[i].first != next || spans[i].count > samples->sample_count - next)
            return false;
        next += spans[i].count;
    }
    return next == samples->sample_count;
}

static int fail_broken(loam_error *error)
{
    return lm_fail(error, LOAM_ENOTFOUND, "the cached data is broken");
}

static int read_tables(int file, const struct trailer *trailer, struct lm_samples *samples, loam_error *error)
{
    const int64_t at = (int64_t)(trailer->tokens * sizeof(uint32_t));
    const size_t sample_bytes = (size_t)trailer->samples * sizeof *samples->samples;
    const size_t span_bytes = (size_t)trailer->groups * sizeof(struct span);
    const size_t tally_bytes = (size_t)trailer->sources * sizeof *samples->tallies;
    struct span *spans = lm_alloc((size_t)trailer->groups + 1, sizeof *spans, error);
    samples->samples = spans ? lm_alloc((size_t)trailer->samples + 1, sizeof *samples->samples, error) : NULL;
    if (!samples->samples) {
        lm_free(spans);
        return LOAM_ENOMEM;
    }
    samples->sample_count = samples->sample_capacity = (size_t)trailer->samples;
    samples->group_count = (size_t)trailer->groups;
    int code = lm_file_read_at(file, "", at, samples->samples, sample_bytes, NULL);
    if (!code)
        code = lm_file_read_at(file, "", at + (int64_t)sample_bytes, spans, span_bytes, NULL);
    if (!code)
        code = lm_file_read_at(file, "", at + (int64_t)(sample_bytes + span_bytes), samples->tallies, tally_bytes, NULL);
    if (code || !tables_hold(samples, spans, trailer->tokens))
        code = fail_broken(error);
    for (size_t i = 0; !code && i < samples->group_count; i++) {
        samples->groups[i].first_sample = (size_t)spans[i].first;
        samples->groups[i].sample_count = (size_t)spans[i].count;
    }
    lm_free(spans);
    return code;
}

static int open_file(int file, const struct lm_samples_options *options, const uint64_t key[2],
                     struct lm_samples *samples, loam_error *error)
{
    struct trailer trailer;
    struct stat facts;
    if (fstat(file, &facts) != 0 || !S_ISREG(facts.st_mode) ||
        facts.st_size < (int64_t)sizeof trailer ||
        lm_file_read_at(file, "", (int64_t)facts.st_size - (int64_t)sizeof trailer, &trailer, sizeof trailer, NULL) != LOAM_OK ||
        !trailer_holds(&trailer, key, options, (int64_t)facts.st_size))
        return fail_broken(error);
    const uint64_t tokens = trailer.tokens * sizeof(uint32_t);
    const uint64_t tables = (uint64_t)facts.st_size - sizeof trailer - tokens;
    if (!hash_holds(file, 0, tokens, trailer.tokens_hash) || !hash_holds(file, (int64_t)tokens, tables, trailer.tables_hash))
        return fail_broken(error);
    int code = read_tables(file, &trailer, samples, error);
    if (code) {
        lm_free(samples->samples);
        samples->samples = NULL;
        samples->sample_count = samples->sample_capacity = samples->group_count = 0;
        return code;
    }
    take_trailer(samples, &trailer);
    samples->file = file;
    return LOAM_OK;
}

int lm_store_open(const struct lm_samples_options *options, const uint64_t key[2], struct lm_samples *samples,
                  loam_error *error)
{
    char *path = path_of(options->cache, key, error);
    if (!path)
        return LOAM_ENOMEM;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int code = file < 0 ? lm_fail(error, LOAM_ENOTFOUND, "%s: is not there", path)
                        : open_file(file, options, key, samples, error);
    if (code && file >= 0)
        close(file);
    if (!code)
        utime(path, NULL);
    lm_free(path);
    return code;
}

int lm_store_read(const struct lm_samples *samples, int64_t begin, uint32_t *words, size_t count, loam_error *error)
{
    const int64_t at = begin * (int64_t)sizeof *words;
    return lm_file_read_at(samples->file, "the encoded data", at, words, count * sizeof *words, error);
}
