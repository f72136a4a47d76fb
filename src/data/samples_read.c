/* From files to samples: text, conversations, ids. */
#include "samples.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct reader {
    const struct lm_samples_options *options;
    struct lm_samples *samples;
    int32_t vocabulary;         /* 0: not known */
    loam_error *error;
};

static bool is_ids(const char *path)
{
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, ".ids");
}

static void note(const struct reader *r, const char *format, ...) LM_PRINTF(2, 3);
static void note(const struct reader *r, const char *format, ...)
{
    const loam_observer *observer = r->options->observer;
    if (!observer || !observer->note)
        return;
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    observer->note(observer->user, line);
}

static int cancelled(const struct reader *r, const char *path)
{
    const loam_observer *observer = r->options->observer;
    if (observer && observer->cancelled && observer->cancelled(observer->user))
        return lm_fail(r->error, LOAM_ECANCELLED, "%s: reading was stopped on request", path);
    return LOAM_OK;
}

static int append_trained(struct reader *r, int value, size_t count)
{
    struct lm_bytes *trained = &r->samples->trained;
    int code = lm_bytes_reserve(trained, count, r->error);
    if (code)
        return code;
    memset(trained->data + trained->length, value, count);
    trained->length += count;
    return LOAM_OK;
}

static int add_sample(struct reader *r, size_t begin, int64_t length)
{
    struct lm_samples *samples = r->samples;
    if (samples->sample_count == samples->sample_capacity) {
        size_t capacity = samples->sample_capacity ? 2 * samples->sample_capacity : 64;
        struct lm_sample *grown = lm_resize(samples->samples, capacity, sizeof *grown, r->error);
        if (!grown)
            return LOAM_ENOMEM;
        samples->samples = grown;
        samples->sample_capacity = capacity;
    }
    samples->samples[samples->sample_count++] = (struct lm_sample){begin, length};
    samples->summary.samples++;
    samples->summary.tokens += length - 1;
    return LOAM_OK;
}

static int check_ids(struct reader *r, const char *path, size_t from)
{
    const struct lm_ids *ids = &r->samples->ids;
    for (size_t i = from; r->vocabulary && i < ids->length; i++)
        if (ids->data[i] < 0 || ids->data[i] >= r->vocabulary)
            return lm_fail(r->error, LOAM_EMISMATCH, "%s: found the token id %d, wanted one below %d, the model's vocabulary; "
                           "the tokenizer belongs to another model", path, ids->data[i], r->vocabulary);
    return LOAM_OK;
}

/* One file of text, closed by the end of sequence, onto the ids. */
static int append_text(struct reader *r, const char *path)
{
    const struct lm_tokenizer *tokenizer = r->options->tokenizer;
    struct lm_ids *ids = &r->samples->ids;
    size_t before = ids->length;
    struct lm_bytes bytes = {0};
    int code = lm_file_read(path, 0, &bytes, r->error);
    if (!code && !bytes.length)
        code = lm_fail(r->error, LOAM_EFORMAT, "%s: found an empty file, wanted text", path);
    if (!code && lm_tokenizer_adds_bos(tokenizer))
        code = lm_ids_push(ids, lm_tokenizer_bos(tokenizer), r->error);
    if (!code) {
        size_t skip = bytes.length >= 3 && !memcmp(bytes.data, "\xEF\xBB\xBF", 3) ? 3 : 0;
        code = lm_tokenizer_encode(tokenizer, bytes.data + skip, bytes.length - skip, 0, ids, NULL, r->error);
    }
    lm_bytes_free(&bytes);
    if (!code && lm_tokenizer_eos(tokenizer) >= 0)
        code = lm_ids_push(ids, lm_tokenizer_eos(tokenizer), r->error);
    if (!code)
        code = check_ids(r, path, before);
    return code ? code : append_trained(r, 1, ids->length - before);
}

/* Windows over ids[from..]: neighbours share one id, the last target of one and the first input of the next. */
static int cut_windows(struct reader *r, size_t from)
{
    size_t end = r->samples->ids.length;
    for (size_t begin = from; begin + 1 < end; begin += (size_t)r->options->length) {
        int64_t left = (int64_t)(end - begin), most = r->options->length + 1;
        int code = add_sample(r, begin, left < most ? left : most);
        if (code)
            return code;
    }
    return LOAM_OK;
}

/* A finished sample at ids[begin..]: cuts it, or leaves it out where nothing in reach is trained on. */
static int close_sample(struct reader *r, size_t begin)
{
    struct lm_samples *samples = r->samples;
    struct lm_samples_summary *summary = &samples->summary;
    const char *trained = samples->trained.data;
    size_t end = samples->ids.length, last = end;
    while (last > begin + 1 && !trained[last - 1])
        last--;
    int64_t length = (int64_t)(last - begin), most = r->options->length + 1;
    if (length < 2) {
        summary->unanswered++;
        samples->ids.length = samples->trained.length = begin;
        return LOAM_OK;
    }
    summary->longest = length - 1 > summary->longest ? length - 1 : summary->longest;
    int64_t kept = length < most ? length : most;
    samples->ids.length = samples->trained.length = begin + (size_t)kept;
    if (!memchr(trained + begin + 1, 1, (size_t)kept - 1)) {
        summary->out_of_reach++;
        samples->ids.length = samples->trained.length = begin;
        return LOAM_OK;
    }
    summary->cut += kept < length;
    summary->cut_tokens += length - kept;
    return add_sample(r, begin, kept);
}

/* The next number of a line, or -1 with the error filled. */
static int64_t next_id(struct reader *r, const char *path, int64_t line, const char **at, const char *end)
{
    int64_t id = 0;
    const char *begin = *at;
    while (*at < end && **at >= '0' && **at <= '9' && id <= INT32_MAX)
        id = 10 * id + (*(*at)++ - '0');
    int64_t least_bad = r->vocabulary ? r->vocabulary : (int64_t)INT32_MAX + 1;
    bool closed = *at == end || **at == ' ' || **at == '\t' || **at == '\r';
    if (*at > begin && closed && id < least_bad)
        return id;
    while (*at < end && **at != ' ' && **at != '\t' && **at != '\r')
        ++*at;
    int shown = *at - begin < 40 ? (int)(*at - begin) : 40;
    lm_fail(r->error, LOAM_EFORMAT, "%s:%lld: found '%.*s', wanted token ids from 0 to %lld with blanks between them", path,
            (long long)line, shown, begin, (long long)least_bad - 1);
    return -1;
}

static int read_id_line(struct reader *r, const char *path, int64_t line, const char *at, const char *end)
{
    struct lm_samples *samples = r->samples;
    size_t begin = samples->ids.length;
    for (;;) {
        while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
            at++;
        if (at == end)
            break;
        int64_t id = next_id(r, path, line, &at, end);
        if (id < 0)
            return LOAM_EFORMAT;
        int code = lm_ids_push(&samples->ids, (int32_t)id, r->error);
        if (code)
            return code;
    }
    if (samples->ids.length == begin)
        return LOAM_OK;
    int code = append_trained(r, 1, samples->ids.length - begin);
    return code ? code : close_sample(r, begin);
}

static int read_ids(struct reader *r, const char *path)
{
    struct lm_bytes bytes = {0};
    int code = lm_file_read(path, 0, &bytes, r->error);
    int64_t line = 0;
    for (size_t at = 0; !code && at < bytes.length;) {
        const char *begin = bytes.data + at, *end = memchr(begin, '\n', bytes.length - at);
        end = end ? end : bytes.data + bytes.length;
        at += (size_t)(end - begin) + 1;
        code = read_id_line(r, path, ++line, begin, end);
    }
    lm_bytes_free(&bytes);
    return code;
}

/* Renders conversation i into out[i]; of several that fail, the first one's error is the one told, whatever the threads do. */
static int render_all(struct reader *r, const char *path, const struct lm_conversations *conversations,
                      struct lm_rendered *out)
{
    int failed = LOAM_OK, threads = r->options->threads > 0 ? r->options->threads : lm_processors();
    size_t failed_at = conversations->count;
    loam_error failure = {0};
#pragma omp parallel for schedule(dynamic, 16) num_threads(threads)
    for (size_t i = 0; i < conversations->count; i++) {
        loam_error error = {0};
        int code = lm_template_render(r->options->chat_template, r->options->tokenizer, &conversations->items[i], false,
                                      &out[i], &error);
        lm_bytes_free(&out[i].text);
#pragma omp critical(lm_samples_failure)
        if (code && i < failed_at) {
            failed_at = i;
            failed = code;
            failure = error;
        }
    }
    if (!failed)
        return LOAM_OK;
    if (r->error)
        *r->error = failure;
    return lm_fail_within(r->error, failed, "%s: conversation %lld", path,
                          (long long)conversations->items[failed_at].place);
}

static int append_rendered(struct reader *r, const char *path, const struct lm_rendered *rendered)
{
    size_t begin = r->samples->ids.length, count = rendered->ids.length;
    int code = lm_ids_append(&r->samples->ids, rendered->ids.data, count, r->error);
    if (!code)
        code = check_ids(r, path, begin);
    if (!code && r->options->train_on_all)
        code = append_trained(r, 1, count);
    else if (!code)
        code = lm_bytes_append(&r->samples->trained, rendered->trained.data, count, r->error);
    return code ? code : close_sample(r, begin);
}

static int read_chat(struct reader *r, const char *path)
{
    struct lm_conversations conversations = {0};
    int code = lm_conversations_read(path, &conversations, r->error);
    if (code)
        return code;
    struct lm_rendered *rendered = lm_alloc(conversations.count, sizeof *rendered, r->error);
    code = rendered ? render_all(r, path, &conversations, rendered) : LOAM_ENOMEM;
    for (size_t i = 0; rendered && i < conversations.count; i++) {
        if (!code && rendered[i].ids.length)
            code = append_rendered(r, path, &rendered[i]);
        lm_rendered_free(&rendered[i]);
    }
    lm_free(rendered);
    lm_conversations_free(&conversations);
    return code;
}

static void tell(const struct reader *r, const char *path, const struct lm_samples_summary *before)
{
    const struct lm_samples_summary *now = &r->samples->summary;
    long long all = now->samples + now->unanswered + now->out_of_reach - before->samples - before->unanswered -
                    before->out_of_reach;
    if (now->cut > before->cut)
        note(r, "%s: %lld of %lld samples were cut at %lld tokens, %lld tokens in all were lost; a greater --seq keeps them",
             path, (long long)(now->cut - before->cut), all, (long long)r->options->length,
             (long long)(now->cut_tokens - before->cut_tokens));
    if (now->unanswered > before->unanswered)
        note(r, "%s: %lld of %lld samples were left out: nothing in them is trained on (no assistant's turn, or a single token)",
             path, (long long)(now->unanswered - before->unanswered), all);
    if (now->out_of_reach > before->out_of_reach)
        note(r, "%s: %lld of %lld samples were left out: all that is trained on lies behind the first %lld tokens; a greater "
             "--seq keeps them", path, (long long)(now->out_of_reach - before->out_of_reach), all,
             (long long)r->options->length);
}

static int read_separate(struct reader *r, const char *path)
{
    struct lm_samples_summary before = r->samples->summary;
    int code = is_ids(path) ? read_ids(r, path) : read_chat(r, path);
    if (!code)
        tell(r, path, &before);
    return code;
}

int lm_samples_read(const struct lm_samples_options *options, double weight, struct lm_samples *samples, loam_error *error)
{
    int32_t vocabulary = options->vocabulary;
    if (!vocabulary && options->tokenizer)
        vocabulary = lm_tokenizer_size(options->tokenizer);
    struct reader reader = {options, samples, vocabulary, error};
    size_t text_begin = samples->ids.length;
    int code = LOAM_OK;
    /* Text first, so that the files of a corpus lie side by side whatever stands between them in the list. */
    for (size_t i = 0; !code && options->kind == LM_SAMPLES_TEXT && i < options->source_count; i++) {
        const struct lm_source *source = &options->sources[i];
        if (source->weight != weight || is_ids(source->path))
            continue;
        code = cancelled(&reader, source->path);
        if (!code)
            code = append_text(&reader, source->path);
    }
    if (!code)
        code = cut_windows(&reader, text_begin);
    for (size_t i = 0; !code && i < options->source_count; i++) {
        const struct lm_source *source = &options->sources[i];
        if (source->weight != weight || (options->kind == LM_SAMPLES_TEXT && !is_ids(source->path)))
            continue;
        code = cancelled(&reader, source->path);
        if (!code)
            code = read_separate(&reader, source->path);
    }
    return code;
}
