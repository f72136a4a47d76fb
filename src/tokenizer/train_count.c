/* Counting a corpus's words: chunks read one after the other, the parts of a chunk counted by one thread each. */
#include "train.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PART = 4 << 20,        /* bytes a thread counts at a time */
    PART_LEAST = 64 << 10, /* where memory is short */
    HISTOGRAM = 1 << 16,   /* counts told apart when rare words are left out */
};
#define ALL_HASHES (UINT64_C(1) << 32)

/* Where the words do not fit, those are counted first whose hash is in the first part of all hashes, and so on: the text is
 * read once for each part. Of the words of all parts, those are kept that occur often enough. */
struct counting {
    const struct lm_tokenizer_training *training;
    const struct lm_tokenizer *tokenizer;
    struct lm_words *tables; /* [threads] */
    loam_error *errors;      /* [threads] */
    int threads;
    bool cuts;   /* the text can be cut for several threads: the pattern is known and no special could be cut through */
    bool direct; /* one scanner makes the pieces */
    size_t part;
    int64_t done, total;          /* bytes of this reading */
    uint64_t low, width;          /* hashes counted in this reading: [low, low + width) */
    size_t table_limit;           /* bytes of all tables */
    struct lm_words *kept;
    uint64_t least;               /* words that occur less often are left out */
    size_t kept_limit, kept_cost; /* bytes that merging will take for them */
    uint64_t left_words, left_times, all_times;
};

/* What counts pieces in one thread. */
struct counter {
    const struct counting *counting;
    struct lm_words *words;
    loam_error *error;
};

static int count_piece(void *user, const char *piece, size_t length)
{
    const struct counter *counter = user;
    const struct counting *c = counter->counting;
    const uint32_t hash = lm_words_hash(piece, length);
    if (hash - c->low >= c->width)
        return LOAM_OK;
    return lm_words_count_hashed(counter->words, piece, length, hash, 1, counter->error);
}

static int count_section(struct lm_encoding *encoding, const char *text, size_t length)
{
    const struct counter *counter = encoding->user;
    const struct lm_tokenizer *tokenizer = encoding->tokenizer;
    int code = LOAM_OK;
    if (!counter->counting->direct) {
        struct lm_span span = {text, length, 0, NULL, true};
        return lm_pretokenize(encoding, &span);
    }
    lm_scan scan = tokenizer->pretokenizer.items[0].pattern->scan;
    for (size_t at = 0, end; code == LOAM_OK && at < length; at = end) {
        end = scan(tokenizer->unicode, text, length, at);
        code = count_piece(encoding->user, text + at, end - at);
    }
    return code;
}

static int count_part(const struct counting *c, struct lm_words *words, const char *text, size_t length,
                      loam_error *error)
{
    const struct lm_added *added;
    struct counter counter = {c, words, error};
    struct lm_encoding encoding = {.tokenizer = c->tokenizer, .error = error, .take = count_piece, .user = &counter};
    size_t at = 0, start, end;
    int code = lm_pool_take(c->tokenizer->pool, &encoding.workspace, error);
    while (code == LOAM_OK &&
           lm_added_next(c->tokenizer, &c->tokenizer->raw, text, length, at, LM_ENCODE_SPECIAL, &added, &start, &end)) {
        code = count_section(&encoding, text + at, start - at);
        at = end;
    }
    if (code == LOAM_OK)
        code = count_section(&encoding, text + at, length - at);
    lm_pool_give(c->tokenizer->pool, encoding.workspace);
    return code;
}

static bool in_reading(void *user, const struct lm_word *word)
{
    const struct counting *c = user;
    return word->hash - c->low < c->width;
}

/* Counts fewer of the hashes in this reading, where the tables have grown too large. */
static int narrow(struct counting *c, loam_error *error)
{
    for (;;) {
        size_t bytes = 0;
        for (int i = 0; i < c->threads; i++)
            bytes += lm_words_memory(&c->tables[i]);
        if (bytes <= c->table_limit)
            return LOAM_OK;
        if (c->width < 2)
            return lm_fail(error, LOAM_ENOMEM, "the memory given does not suffice for a single word of the text; give more");
        for (size_t i = 0; c->width == ALL_HASHES && i < c->training->file_count; i++) {
            struct stat status;
            if (!stat(c->training->files[i], &status) && !S_ISREG(status.st_mode))
                return lm_fail(error, LOAM_EUSAGE,
                               "%s: with this little memory the text has to be read several times, which takes a file; give "
                               "more, or write the text into a file", c->training->files[i]);
        }
        c->width /= 2;
        for (int i = 0; i < c->threads; i++)
            lm_words_filter(&c->tables[i], in_reading, c);
    }
}

static void tell_counting(const struct counting *c)
{
    const double part = c->total ? (double)c->done / (double)c->total : 1;
    const double all = ((double)c->low + (double)c->width * part) / (double)ALL_HASHES;
    lm_train_progress(c->training, "counting", (int64_t)(all * (double)c->total), c->total);
}

/* Counts [0, length), which ends where a piece ends. */
static int count_chunk(struct counting *c, const char *text, size_t length, loam_error *error)
{
    int parts = c->cuts && length > c->part / 16 ? c->threads : 1;
    size_t *ends = lm_alloc((size_t)parts + 1, sizeof *ends, error);
    if (!ends)
        return LOAM_ENOMEM;
    for (int i = 1; i < parts; i++)
        ends[i] = lm_pattern_cut(c->tokenizer->unicode, text, length, ends[i - 1], length / (size_t)parts * (size_t)i);
    ends[parts] = length;
    for (int i = 0; i < parts; i++)
        c->errors[i].code = LOAM_OK;
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
    for (int i = 0; i < parts; i++)
        count_part(c, &c->tables[i], text + ends[i], ends[i + 1] - ends[i], &c->errors[i]);
    lm_free(ends);
    for (int i = 0; i < parts; i++)
        if (c->errors[i].code != LOAM_OK) {
            if (error)
                *error = c->errors[i];
            return c->errors[i].code;
        }
    c->done += (int64_t)length;
    tell_counting(c);
    if (lm_train_cancelled(c->training))
        return lm_fail(error, LOAM_ECANCELLED, "training the tokenizer was stopped");
    return narrow(c, error);
}

static int read_more(int file, const char *path, struct lm_bytes *buffer, size_t wanted, bool *end, loam_error *error)
{
    int code = lm_bytes_reserve(buffer, wanted, error);
    while (code == LOAM_OK && wanted && !*end) {
        ssize_t got = read(file, buffer->data + buffer->length, wanted);
        if (got < 0 && errno != EINTR)
            return lm_fail_errno(error, errno, "%s", path);
        *end = got == 0;
        if (got > 0) {
            buffer->length += (size_t)got;
            wanted -= (size_t)got;
        }
    }
    return code;
}

static int count_open_file(struct counting *c, int file, const char *path, loam_error *error)
{
    struct lm_bytes buffer = {0};
    bool end = false;
    int code = LOAM_OK;
    while (code == LOAM_OK && (!end || buffer.length)) {
        size_t wanted = c->part * (size_t)c->threads;
        code = read_more(file, path, &buffer, wanted, &end, error);
        if (code != LOAM_OK)
            break;
        /* The chunk ends where a piece ends whatever follows; without such a place more is read first. */
        size_t stop = buffer.length;
        if (!end)
            stop = c->cuts ? lm_pattern_cut(c->tokenizer->unicode, buffer.data, buffer.length, 0, buffer.length) : 0;
        if (!stop)
            continue;
        code = count_chunk(c, buffer.data, stop, error);
        memmove(buffer.data, buffer.data + stop, buffer.length - stop);
        buffer.length -= stop;
    }
    lm_bytes_free(&buffer);
    return code;
}

static int count_text(struct counting *c, const char *text, size_t length, loam_error *error)
{
    const size_t wanted = c->part * (size_t)c->threads;
    int code = LOAM_OK;
    for (size_t at = 0, end; code == LOAM_OK && at < length; at = end) {
        end = c->cuts && length - at > wanted ? lm_pattern_cut(c->tokenizer->unicode, text, length, at, at + wanted) : length;
        if (end == at)
            end = length; /* no place to cut at */
        code = count_chunk(c, text + at, end - at, error);
    }
    return code;
}

static int count_file(struct counting *c, const char *path, loam_error *error)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return lm_fail_errno(error, errno, "%s", path);
    int code = count_open_file(c, file, path, error);
    close(file);
    return code;
}

static int64_t total_bytes(const struct lm_tokenizer_training *training)
{
    int64_t total = training->file_count ? 0 : (int64_t)training->text_length;
    for (size_t i = 0; i < training->file_count; i++) {
        struct stat status;
        if (!stat(training->files[i], &status))
            total += status.st_size;
    }
    return total;
}

static bool specials_stay_whole(const struct lm_tokenizer *tokenizer)
{
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        const struct lm_added *added = &tokenizer->added[i];
        if (lm_pattern_cut(tokenizer->unicode, added->content, added->length, 0, added->length))
            return false;
    }
    return true;
}

/* Bytes that merging takes for a word: its cells, its count, and its places in the lists of pairs. */
static size_t cost_of(const struct lm_word *word)
{
    return 12 * ((size_t)word->length + 1);
}

static bool often_enough(void *user, const struct lm_word *word)
{
    struct counting *c = user;
    if (word->count >= c->least)
        return true;
    c->left_words++;
    c->left_times += word->count;
    c->kept_cost -= cost_of(word);
    return false;
}

/* Leaves out the rarest words until the others fit. */
static int leave_out(struct counting *c, loam_error *error)
{
    if (c->kept_cost <= c->kept_limit)
        return LOAM_OK;
    size_t *costs = lm_alloc(HISTOGRAM, sizeof *costs, error);
    if (!costs)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < c->kept->count; i++)
        if (c->kept->items[i].count < HISTOGRAM)
            costs[c->kept->items[i].count] += cost_of(&c->kept->items[i]);
    size_t left = c->kept_cost;
    for (; left > c->kept_limit && c->least < HISTOGRAM; c->least++)
        left -= costs[c->least];
    lm_free(costs);
    if (left > c->kept_limit)
        return lm_fail(error, LOAM_ENOMEM,
                       "the memory given does not suffice for the words that occur %d times or more; give more", HISTOGRAM);
    lm_words_filter(c->kept, often_enough, c);
    return LOAM_OK;
}

/* The words of one reading, from the tables of all threads. */
static int keep(struct counting *c, loam_error *error)
{
    int code = LOAM_OK;
    for (int i = 1; code == LOAM_OK && i < c->threads; i++) {
        code = lm_words_merge(&c->tables[0], &c->tables[i], error);
        lm_words_free(&c->tables[i]);
    }
    struct lm_words *from = &c->tables[0];
    for (size_t i = 0; code == LOAM_OK && i < from->count; i++) {
        const struct lm_word *word = &from->items[i];
        c->all_times += word->count;
        c->kept_cost += cost_of(word);
        if (often_enough(c, word) && c->width < ALL_HASHES)
            code = lm_words_count_hashed(c->kept, from->text.data + word->offset, word->length, word->hash, word->count,
                                         error);
    }
    if (code == LOAM_OK && c->width == ALL_HASHES) {
        *c->kept = *from;
        *from = (struct lm_words){0};
    }
    lm_words_free(from);
    return code == LOAM_OK ? leave_out(c, error) : code;
}

static int read_all(struct counting *c, loam_error *error)
{
    int code = LOAM_OK;
    c->done = 0;
    if (!c->training->file_count)
        code = count_text(c, c->training->text, c->training->text_length, error);
    for (size_t i = 0; code == LOAM_OK && i < c->training->file_count; i++)
        code = count_file(c, c->training->files[i], error);
    return code == LOAM_OK ? keep(c, error) : code;
}

static void tell_left(const struct counting *c)
{
    if (c->left_words)
        lm_train_note(c->training,
                      "the memory given did not suffice: %llu different words that occur less than %llu times, %.2f %% of the "
                      "text's, were left out",
                      (unsigned long long)c->left_words, (unsigned long long)c->least,
                      100.0 * (double)c->left_times / (double)c->all_times);
}

int lm_train_count(const struct lm_tokenizer_training *training, const struct lm_tokenizer *tokenizer,
                   struct lm_words *words, loam_error *error)
{
    const int threads = training->threads > 0 ? training->threads : lm_processors();
    const struct lm_stages *stages = &tokenizer->pretokenizer;
    const bool direct = stages->count == 1 && stages->items[0].pattern;
    const size_t part = lm_train_share(training, 1, 32) / (size_t)threads;
    struct counting c = {.training = training,
                         .tokenizer = tokenizer,
                         .tables = lm_alloc((size_t)threads, sizeof *c.tables, error),
                         .errors = lm_alloc((size_t)threads, sizeof *c.errors, error),
                         .threads = threads,
                         .cuts = (direct || training->kind == LM_TRAIN_WORDS) && specials_stay_whole(tokenizer),
                         .direct = direct,
                         .part = part > PART ? PART : part < PART_LEAST ? PART_LEAST : part,
                         .total = total_bytes(training),
                         .width = ALL_HASHES,
                         .table_limit = lm_train_share(training, 1, 6),
                         .kept = words,
                         .kept_limit = lm_train_share(training, 1, 2)};
    int code = c.tables && c.errors ? LOAM_OK : LOAM_ENOMEM;
    while (code == LOAM_OK && c.low < ALL_HASHES) {
        code = read_all(&c, error);
        c.low += c.width;
        if (c.width > ALL_HASHES - c.low)
            c.width = ALL_HASHES - c.low;
    }
    for (int i = 0; c.tables && i < threads; i++)
        lm_words_free(&c.tables[i]);
    lm_free(c.tables);
    lm_free(c.errors);
    if (code == LOAM_OK)
        tell_left(&c);
    return code;
}
