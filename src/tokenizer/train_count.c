/* Counting a corpus's words: chunks read one after the other, the parts of a chunk counted by one thread each. */
#include "train.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PART = 4 << 20 }; /* bytes a thread counts at a time */

struct counting {
    const struct lm_tokenizer_training *training;
    const struct lm_tokenizer *tokenizer;
    struct lm_words *tables; /* [threads] */
    loam_error *errors;      /* [threads] */
    int threads;
    bool cuts; /* the pattern is known and no special could be cut through */
    int64_t done, total;
};

static int count_section(const struct counting *c, struct lm_regex_match *match, struct lm_words *words,
                         const char *text, size_t length, loam_error *error)
{
    const struct lm_stage *stage = &c->tokenizer->pretokenizer.items[0];
    int code = LOAM_OK;
    for (size_t at = 0; code == LOAM_OK && at < length;) {
        size_t start = at, end = length;
        bool found = true;
        if (stage->pattern)
            end = stage->pattern->scan(c->tokenizer->unicode, text, length, at);
        else
            code = lm_regex_find(stage->regex, match, text, length, at, &found, &start, &end, error);
        if (code == LOAM_OK && !found)
            start = end = length;
        if (code == LOAM_OK && start > at)
            code = lm_words_count(words, text + at, start - at, 1, error);
        if (code == LOAM_OK && end > start)
            code = lm_words_count(words, text + start, end - start, 1, error);
        at = end;
    }
    return code;
}

static int count_part(const struct counting *c, struct lm_words *words, const char *text, size_t length,
                      loam_error *error)
{
    const struct lm_added *added;
    struct lm_regex_match *match = NULL;
    size_t at = 0, start, end;
    int code = c->tokenizer->pretokenizer.items[0].regex ? lm_regex_match_create(&match, error) : LOAM_OK;
    while (code == LOAM_OK &&
           lm_added_next(c->tokenizer, &c->tokenizer->raw, text, length, at, LM_ENCODE_SPECIAL, &added, &start, &end)) {
        code = count_section(c, match, words, text + at, start - at, error);
        at = end;
    }
    if (code == LOAM_OK)
        code = count_section(c, match, words, text + at, length - at, error);
    lm_regex_match_free(match);
    return code;
}

/* Counts [0, length), which ends where a piece ends. */
static int count_chunk(struct counting *c, const char *text, size_t length, loam_error *error)
{
    int parts = c->cuts && length > PART / 16 ? c->threads : 1;
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
    lm_train_progress(c->training, "counting", c->done, c->total);
    if (lm_train_cancelled(c->training))
        return lm_fail(error, LOAM_ECANCELLED, "training the tokenizer was stopped");
    return LOAM_OK;
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
        size_t wanted = (size_t)PART * (size_t)c->threads;
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

int lm_train_count(const struct lm_tokenizer_training *training, const struct lm_tokenizer *tokenizer,
                   struct lm_words *words, loam_error *error)
{
    int threads = training->threads > 0 ? training->threads : lm_processors();
    struct counting c = {training,
                         tokenizer,
                         lm_alloc((size_t)threads, sizeof *c.tables, error),
                         lm_alloc((size_t)threads, sizeof *c.errors, error),
                         threads,
                         tokenizer->pretokenizer.items[0].pattern && specials_stay_whole(tokenizer),
                         0,
                         total_bytes(training)};
    int code = c.tables && c.errors ? LOAM_OK : LOAM_ENOMEM;
    if (code == LOAM_OK && !training->file_count)
        code = count_chunk(&c, training->text, training->text_length, error);
    for (size_t i = 0; code == LOAM_OK && i < training->file_count; i++)
        code = count_file(&c, training->files[i], error);
    for (int i = 0; c.tables && i < threads; i++) {
        if (code == LOAM_OK)
            code = lm_words_merge(words, &c.tables[i], error);
        lm_words_free(&c.tables[i]);
    }
    lm_free(c.tables);
    lm_free(c.errors);
    return code;
}
