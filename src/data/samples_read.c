/* From files to samples: text, conversations, ids. */
#include "blocks.h"
#include "store.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_TARGET = 1 << 21, LINES_TARGET = 1 << 20 }; /* bytes of a file worked on at a time */

struct reader {
    const struct lm_samples_options *options;
    struct lm_samples *samples;
    struct lm_store_writer *store;
    struct lm_source_tally *tally; /* of the source being read */
    int32_t vocabulary;            /* 0: not known */
    struct lm_ids ids;             /* of the sample being made, or of a piece of text */
    struct lm_bytes trained;
    loam_error *error;
};

bool lm_is_ids(const char *path)
{
    size_t length = strlen(path);
    return length > 4 && !strcmp(path + length - 4, ".ids");
}

static int cancelled(const struct reader *r, const char *path)
{
    const loam_observer *observer = r->options->observer;
    if (observer && observer->cancelled && observer->cancelled(observer->user))
        return lm_fail(r->error, LOAM_ECANCELLED, "%s: reading was stopped on request", path);
    return LOAM_OK;
}

static void show_progress(const struct reader *r, const char *path, int64_t done, int64_t total)
{
    const loam_observer *observer = r->options->observer;
    if (observer && observer->progress && total)
        observer->progress(observer->user, "encoding", done, total, path);
}

static int fill_trained(struct reader *r, int value, size_t count)
{
    struct lm_bytes *trained = &r->trained;
    int code = lm_bytes_reserve(trained, count, r->error);
    if (code)
        return code;
    memset(trained->data + trained->length, value, count);
    trained->length += count;
    return LOAM_OK;
}

/* Counts the targets among ids[from..]. */
static void count_targets(struct reader *r, const int32_t *ids, const char *trained, size_t count, size_t from)
{
    const struct lm_tokenizer *tokenizer = r->options->tokenizer;
    struct lm_samples_summary *summary = &r->samples->summary;
    for (size_t i = from; i < count; i++) {
        size_t bytes = 0;
        if (trained && !trained[i])
            continue;
        summary->trained++;
        if (tokenizer && ids[i] < lm_tokenizer_size(tokenizer) && !lm_tokenizer_is_special(tokenizer, ids[i]) &&
            lm_tokenizer_token(tokenizer, ids[i], &bytes))
            summary->trained_bytes += (int64_t)bytes;
    }
}

static int add_sample(struct reader *r, int64_t begin, int64_t length, int64_t full)
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
    samples->samples[samples->sample_count++] =
        (struct lm_sample){begin, (int32_t)length, (int32_t)(full < INT32_MAX ? full : INT32_MAX)};
    samples->summary.samples++;
    samples->summary.tokens += length - 1;
    if (full - 1 > samples->summary.longest)
        samples->summary.longest = full - 1;
    return LOAM_OK;
}

static int check_ids(struct reader *r, const char *path)
{
    const struct lm_ids *ids = &r->ids;
    for (size_t i = 0; r->vocabulary && i < ids->length; i++)
        if (ids->data[i] < 0 || ids->data[i] >= r->vocabulary)
            return lm_fail(r->error, LOAM_EMISMATCH, "%s: found the token id %d, wanted one below %d, the model's vocabulary; "
                           "the tokenizer belongs to another model", path, ids->data[i], r->vocabulary);
    return LOAM_OK;
}

static int put(struct reader *r, const int32_t *ids, const char *trained, size_t count)
{
    int code = lm_store_put(r->store, ids, trained, count, r->error);
    r->samples->token_count += code ? 0 : (int64_t)count;
    return code;
}

/* Ids of text onto the store. The first of all is no target. */
static int put_text(struct reader *r, const char *path, int64_t group_begin)
{
    int code = check_ids(r, path);
    if (code)
        return code;
    count_targets(r, r->ids.data, NULL, r->ids.length, r->samples->token_count == group_begin);
    code = put(r, r->ids.data, NULL, r->ids.length);
    r->ids.length = 0;
    return code;
}

static int encode_blocks(struct reader *r, const char *path, struct lm_blocks *blocks, int64_t group_begin)
{
    int code = LOAM_OK;
    for (bool first = true;; first = false) {
        const char *text;
        size_t length;
        code = cancelled(r, path);
        if (!code)
            code = lm_blocks_next(blocks, TEXT_TARGET, lm_seam_of_text, &text, &length, r->error);
        if (!code && first && !length)
            code = lm_fail(r->error, LOAM_EFORMAT, "%s: found an empty file, wanted text", path);
        if (code || !length)
            return code;
        size_t skip = first && length >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3) ? 3 : 0;
        code = lm_tokenizer_encode(r->options->tokenizer, text + skip, length - skip, 0, &r->ids, NULL, r->error);
        if (!code)
            code = put_text(r, path, group_begin);
        if (code)
            return code;
        show_progress(r, path, blocks->done, blocks->total);
    }
}

/* One file of text, closed by the end of sequence. */
static int append_text(struct reader *r, const char *path, int64_t group_begin)
{
    const struct lm_tokenizer *tokenizer = r->options->tokenizer;
    struct lm_blocks blocks;
    int code = lm_blocks_open(&blocks, path, r->error);
    if (code)
        return code;
    if (lm_tokenizer_adds_bos(tokenizer))
        code = lm_ids_push(&r->ids, lm_tokenizer_bos(tokenizer), r->error);
    if (!code)
        code = encode_blocks(r, path, &blocks, group_begin);
    lm_blocks_close(&blocks);
    if (!code && lm_tokenizer_eos(tokenizer) >= 0)
        code = lm_ids_push(&r->ids, lm_tokenizer_eos(tokenizer), r->error);
    return code ? code : put_text(r, path, group_begin);
}

/* Windows over the ids from `from` on: neighbours share one id, the last target of one and the first input of the next. */
static int cut_windows(struct reader *r, int64_t from)
{
    const int64_t end = r->samples->token_count;
    for (int64_t begin = from; begin + 1 < end; begin += r->options->length) {
        int64_t left = end - begin, most = r->options->length + 1;
        int64_t length = left < most ? left : most;
        int code = add_sample(r, begin, length, length);
        if (code)
            return code;
    }
    return LOAM_OK;
}

/* The reference recipe: T ids, the rest of them the end of sequence, and all of them trained on. */
static int pad_to_length(struct reader *r, size_t kept)
{
    const size_t length = (size_t)r->options->length;
    const int32_t end = lm_tokenizer_eos(r->options->tokenizer);
    for (size_t i = kept; i < length; i++) {
        int code = lm_ids_push(&r->ids, end, r->error);
        if (code)
            return code;
    }
    return fill_trained(r, 1, length - kept);
}

/* The ids of r are a whole sample: cuts it, or leaves it out where nothing in reach is trained on. */
static int close_sample(struct reader *r)
{
    struct lm_samples *samples = r->samples;
    const bool faithful = r->options->faithful;
    const char *trained = r->trained.data;
    size_t last = r->ids.length;
    while (last > 1 && !trained[last - 1])
        last--;
    int64_t length = (int64_t)last, most = r->options->length + !faithful, kept = length < most ? length : most;
    if (length < 2) {
        r->tally->unanswered++;
        return LOAM_OK;
    }
    if (!memchr(trained + 1, 1, (size_t)kept - 1)) {
        samples->summary.longest = length - 1 > samples->summary.longest ? length - 1 : samples->summary.longest;
        r->tally->out_of_reach++;
        return LOAM_OK;
    }
    r->tally->cut += kept < length;
    r->tally->cut_tokens += length - kept;
    r->tally->samples++;
    int code = LOAM_OK;
    r->ids.length = r->trained.length = (size_t)kept;
    if (faithful) {
        code = pad_to_length(r, (size_t)kept);
        kept = (int64_t)r->ids.length;
    }
    if (code)
        return code;
    count_targets(r, r->ids.data, r->trained.data, (size_t)kept, 1);
    const int64_t begin = samples->token_count;
    code = put(r, r->ids.data, r->trained.data, (size_t)kept);
    return code ? code : add_sample(r, begin, kept, length);
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
    r->ids.length = r->trained.length = 0;
    for (;;) {
        while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
            at++;
        if (at == end)
            break;
        int64_t id = next_id(r, path, line, &at, end);
        if (id < 0)
            return LOAM_EFORMAT;
        int code = lm_ids_push(&r->ids, (int32_t)id, r->error);
        if (code)
            return code;
    }
    if (!r->ids.length)
        return LOAM_OK;
    int code = fill_trained(r, 1, r->ids.length);
    return code ? code : close_sample(r);
}

static int read_id_lines(struct reader *r, const char *path, const char *text, size_t length, int64_t *line)
{
    int code = LOAM_OK;
    for (size_t at = 0; !code && at < length;) {
        const char *begin = text + at, *end = memchr(begin, '\n', length - at);
        end = end ? end : text + length;
        at += (size_t)(end - begin) + 1;
        code = read_id_line(r, path, ++*line, begin, end);
    }
    return code;
}

static int read_ids(struct reader *r, const char *path)
{
    struct lm_blocks blocks;
    int64_t line = 0;
    int code = lm_blocks_open(&blocks, path, r->error);
    if (code)
        return code;
    for (;;) {
        const char *text;
        size_t length;
        code = cancelled(r, path);
        if (!code)
            code = lm_blocks_next(&blocks, LINES_TARGET, lm_seam_of_lines, &text, &length, r->error);
        if (code || !length)
            break;
        code = read_id_lines(r, path, text, length, &line);
        if (code)
            break;
        show_progress(r, path, blocks.done, blocks.total);
    }
    lm_blocks_close(&blocks);
    return code;
}

/* As the reference recipe encodes: the whole text at once, what the tokenizer puts in front, tokens wherever they are written. */
static int encode_faithfully(const struct reader *r, struct lm_rendered *rendered, loam_error *error)
{
    rendered->ids.length = 0;
    return lm_tokenizer_encode(r->options->tokenizer, rendered->text.data ? rendered->text.data : "", rendered->text.length,
                               LM_ENCODE_SPECIAL | LM_ENCODE_ADD_SPECIAL, &rendered->ids, NULL, error);
}

static int render_one(const struct reader *r, const struct lm_conversation *conversation, struct lm_rendered *out,
                      loam_error *error)
{
    if (r->options->faithful && !lm_conversation_answered(conversation))
        return LOAM_OK; /* no ids: left out */
    int code = lm_template_render(r->options->chat_template, r->options->tokenizer, conversation, false, out, error);
    if (!code && r->options->faithful)
        code = encode_faithfully(r, out, error);
    lm_bytes_free(&out->text);
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
        int code = render_one(r, &conversations->items[i], &out[i], &error);
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
    const size_t count = rendered->ids.length;
    if (!count) {
        r->tally->unanswered++;
        return LOAM_OK;
    }
    r->ids.length = r->trained.length = 0;
    int code = lm_ids_append(&r->ids, rendered->ids.data, count, r->error);
    if (!code)
        code = check_ids(r, path);
    if (!code && (r->options->train_on_all || r->options->faithful))
        code = fill_trained(r, 1, count);
    else if (!code)
        code = lm_bytes_append(&r->trained, rendered->trained.data, count, r->error);
    return code ? code : close_sample(r);
}

static int append_conversations(struct reader *r, const char *path, const struct lm_conversations *conversations)
{
    struct lm_rendered *rendered = lm_alloc(conversations->count, sizeof *rendered, r->error);
    int code = rendered ? render_all(r, path, conversations, rendered) : LOAM_ENOMEM;
    for (size_t i = 0; rendered && i < conversations->count; i++) {
        if (!code)
            code = append_rendered(r, path, &rendered[i]);
        lm_rendered_free(&rendered[i]);
    }
    lm_free(rendered);
    return code;
}

static int read_chat(struct reader *r, const char *path)
{
    struct lm_conversation_file *file;
    int code = lm_conversation_file_open(path, &file, r->error);
    if (code)
        return code;
    for (bool more = true; !code && more;) {
        struct lm_conversations conversations = {0};
        int64_t done, total;
        code = cancelled(r, path);
        if (!code)
            code = lm_conversation_file_next(file, &conversations, r->error);
        more = conversations.count > 0;
        if (!code && more)
            code = append_conversations(r, path, &conversations);
        lm_conversations_free(&conversations);
        lm_conversation_file_progress(file, &done, &total);
        if (!code)
            show_progress(r, path, done, total);
    }
    lm_conversation_file_close(file);
    return code;
}

static int read_separate(struct reader *r, size_t index)
{
    struct lm_samples_summary *summary = &r->samples->summary;
    const char *path = r->options->sources[index].path;
    r->tally = &r->samples->tallies[index];
    int code = lm_is_ids(path) ? read_ids(r, path) : read_chat(r, path);
    summary->cut += r->tally->cut;
    summary->cut_tokens += r->tally->cut_tokens;
    summary->unanswered += r->tally->unanswered;
    summary->out_of_reach += r->tally->out_of_reach;
    return code;
}

static int read_text(struct reader *r, double weight)
{
    const int64_t begin = r->samples->token_count;
    int code = LOAM_OK;
    for (size_t i = 0; !code && r->options->kind == LM_SAMPLES_TEXT && i < r->options->source_count; i++) {
        const struct lm_source *source = &r->options->sources[i];
        if (source->weight == weight && !lm_is_ids(source->path))
            code = append_text(r, source->path, begin);
    }
    return code ? code : cut_windows(r, begin);
}

int lm_samples_read(const struct lm_samples_options *options, double weight, struct lm_samples *samples,
                    struct lm_store_writer *store, loam_error *error)
{
    int32_t vocabulary = options->vocabulary;
    if (!vocabulary && options->tokenizer)
        vocabulary = lm_tokenizer_size(options->tokenizer);
    struct reader reader = {.options = options, .samples = samples, .store = store, .vocabulary = vocabulary, .error = error};
    /* Text first, so that the files of a corpus lie side by side whatever stands between them in the list. */
    int code = read_text(&reader, weight);
    for (size_t i = 0; !code && i < options->source_count; i++) {
        const struct lm_source *source = &options->sources[i];
        if (source->weight != weight || (options->kind == LM_SAMPLES_TEXT && !lm_is_ids(source->path)))
            continue;
        code = read_separate(&reader, i);
    }
    lm_ids_free(&reader.ids);
    lm_bytes_free(&reader.trained);
    return code;
}

static void note(const struct lm_samples_options *options, const char *format, ...) LM_PRINTF(2, 3);
static void note(const struct lm_samples_options *options, const char *format, ...)
{
    const loam_observer *observer = options->observer;
    if (!observer || !observer->note)
        return;
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    lm_format_list(line, sizeof line, format, arguments);
    va_end(arguments);
    observer->note(observer->user, line);
}

void lm_samples_tell(const struct lm_samples_options *options, const struct lm_samples *samples)
{
    for (size_t i = 0; i < samples->tally_count; i++) {
        const struct lm_source_tally *tally = &samples->tallies[i];
        const char *path = options->sources[i].path;
        const long long all = tally->samples + tally->unanswered + tally->out_of_reach;
        if (tally->cut)
            note(options, "%s: %lld of %lld samples were cut at %lld tokens, %lld tokens in all were lost; a greater --seq keeps them",
                 path, (long long)tally->cut, all, (long long)options->length, (long long)tally->cut_tokens);
        if (tally->unanswered)
            note(options, "%s: %lld of %lld samples were left out: nothing in them is trained on (no assistant's turn, or a single "
                 "token)", path, (long long)tally->unanswered, all);
        if (tally->out_of_reach)
            note(options, "%s: %lld of %lld samples were left out: all that is trained on lies behind the first %lld tokens; a "
                 "greater --seq keeps them", path, (long long)tally->out_of_reach, all, (long long)options->length);
    }
}
