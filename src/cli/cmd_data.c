/* loam data show: samples as a run will see them, how long they are, and what is cut or left out. */
#include "common.h"
#include "data/data.h"
#include "model/model.h"

#include <string.h>

enum { BINS = 12, BAR = 40 };

struct showing {
    const struct arguments *arguments;
    struct progress progress;
    struct lm_tokenizer *tokenizer;
    const struct lm_template *chat_template;
    struct lm_samples *samples; /* a sample a row, in the files' order */
    struct lm_samples_summary summary, packed;
    int64_t length;
    int32_t vocabulary;
    bool chat, colour;
    int32_t *arrays; /* ids, targets, positions, segment_start of one row */
};

static bool ends_in(const char *path, const char *end)
{
    const size_t length = strlen(path), tail = strlen(end);
    return length >= tail && strcmp(path + length - tail, end) == 0;
}

/* --- Opening --- */

static int find_kind(struct showing *s, loam_error *error)
{
    const struct arguments *arguments = s->arguments;
    size_t chats = 0, texts = 0;
    for (size_t i = 0; i < arguments->operand_count; i++) {
        const char *path = arguments->operands[i];
        if (ends_in(path, ".jsonl") || ends_in(path, ".json"))
            chats++;
        else if (!ends_in(path, ".ids"))
            texts++;
    }
    s->chat = chats > 0;
    if (chats && texts)
        return lm_fail(error, LOAM_EUSAGE, "data show: found conversations (.jsonl, .json) and text among the files; show them one "
                       "after the other");
    if (chats + texts && !arguments->values[OPT_MODEL].text)
        return lm_fail(error, LOAM_EUSAGE, "data show: name the model whose tokenizer is to be used with --model DIR");
    return LOAM_OK;
}

/* The length and vocabulary that a run of the model would take, where there is a config.json. */
static int read_model(struct showing *s, loam_error *error)
{
    const char *model = s->arguments->values[OPT_MODEL].text;
    struct lm_config config;
    s->length = s->arguments->values[OPT_SEQ].given ? s->arguments->values[OPT_SEQ].whole : 1024;
    char *path = model ? lm_path_join(model, "config.json", error) : NULL;
    int code = LOAM_OK;
    if (path && lm_file_exists(path)) {
        code = lm_config_read(path, &config, error);
        if (code == LOAM_OK) {
            s->vocabulary = (int32_t)config.vocabulary;
            if (!s->arguments->values[OPT_SEQ].given && config.context < s->length)
                s->length = config.context;
        }
    }
    lm_free(path);
    if (code == LOAM_OK && model)
        code = lm_tokenizer_load(model, &s->tokenizer, error);
    return code;
}

static int open_template(struct showing *s, loam_error *error)
{
    const struct argument *values = s->arguments->values;
    const bool faithful = values[OPT_FAITHFUL].given;
    size_t added = 0;
    if (!s->chat)
        return LOAM_OK;
    if (faithful && values[OPT_TEMPLATE].given)
        return lm_fail(error, LOAM_EUSAGE, "data show: --faithful has its own way to write conversations; leave --template out");
    int code = lm_template_find(faithful ? "guanaco" : values[OPT_TEMPLATE].text, values[OPT_MODEL].text, &s->chat_template, error);
    if (code == LOAM_OK)
        code = lm_template_fit(s->chat_template, s->tokenizer, values[OPT_ADD_TOKENS].given, &added, error);
    if (added)
        s->vocabulary = 0;
    return code;
}

static int open_samples(struct showing *s, bool pack, struct lm_samples **samples, loam_error *error)
{
    const struct arguments *arguments = s->arguments;
    const bool faithful = arguments->values[OPT_FAITHFUL].given;
    struct lm_source *sources = lm_alloc(arguments->operand_count, sizeof *sources, error);
    char *cache = lm_samples_cache();
    for (size_t i = 0; sources && i < arguments->operand_count; i++)
        sources[i] = (struct lm_source){.path = arguments->operands[i], .weight = 1};
    loam_observer observer = s->progress.observer;
    observer.note = NULL; /* the counts are shown as a table */
    const struct lm_samples_options options = {
        .kind = s->chat ? LM_SAMPLES_CHAT : LM_SAMPLES_TEXT,
        .sources = sources,
        .source_count = arguments->operand_count,
        .tokenizer = s->tokenizer,
        .chat_template = s->chat_template,
        .vocabulary = s->vocabulary,
        .threads = lm_processors(),
        .length = s->length,
        .batch = 1,
        .train_on_all = arguments->values[OPT_TRAIN_ON_ALL].given,
        .faithful = faithful,
        .pack = pack && !faithful,
        .cache = cache,
        .observer = &observer,
    };
    int code = sources ? lm_samples_open(&options, samples, error) : LOAM_ENOMEM;
    lm_free(cache);
    lm_free(sources);
    return code;
}

static int open_all(struct showing *s, loam_error *error)
{
    struct lm_samples *packed = NULL;
    int code = find_kind(s, error);
    if (code == LOAM_OK)
        code = read_model(s, error);
    if (code == LOAM_OK)
        code = open_template(s, error);
    if (code == LOAM_OK)
        code = open_samples(s, true, &packed, error);
    if (code == LOAM_OK)
        lm_samples_summarise(packed, &s->packed);
    lm_samples_close(packed);
    if (code == LOAM_OK)
        code = open_samples(s, false, &s->samples, error);
    if (code == LOAM_OK)
        lm_samples_summarise(s->samples, &s->summary);
    if (code == LOAM_OK && !(s->arrays = lm_alloc(4 * (size_t)s->length, sizeof *s->arrays, error)))
        code = LOAM_ENOMEM;
    return code;
}

/* --- One sample --- */

struct sample {
    int32_t *ids, *targets; /* count ids; targets[i] >= 0: id i + 1 is trained on */
    int64_t count, trained, full;
    int32_t last; /* behind the ids: what the last position predicts; -1: it is not trained on */
};

static int read_sample(struct showing *s, int64_t index, struct sample *sample, loam_error *error)
{
    const size_t length = (size_t)s->length;
    struct lm_place_in_data place = {.batch = index};
    struct lm_batch batch = {.batch = 1, .length = s->length, .ids = s->arrays, .targets = s->arrays + length,
                             .positions = s->arrays + 2 * length, .segment_start = s->arrays + 3 * length};
    int code = lm_samples_next(s->samples, &place, &batch, error);
    if (code != LOAM_OK)
        return code;
    *sample = (struct sample){.ids = batch.ids, .targets = batch.targets, .count = batch.tokens, .trained = batch.trained,
                              .full = lm_samples_full_length(s->samples, index)};
    sample->last = batch.tokens ? batch.targets[batch.tokens - 1] : -1;
    return LOAM_OK;
}

/* The text of ids[from..to), or the ids themselves where there is no tokenizer. */
static int text_of(const struct showing *s, const int32_t *ids, int64_t count, struct lm_bytes *text, loam_error *error)
{
    if (s->tokenizer)
        return lm_tokenizer_decode(s->tokenizer, ids, (size_t)count, false, text, error);
    int code = LOAM_OK;
    for (int64_t i = 0; code == LOAM_OK && i < count; i++)
        code = lm_bytes_format(text, error, "%d ", (int)ids[i]);
    return code;
}

/* Calls `each` for every run of ids that are all trained on or all not. */
static int each_run(const struct showing *s, const struct sample *sample,
                    int (*each)(void *user, const char *text, size_t length, bool trained, loam_error *error), void *user,
                    loam_error *error)
{
    struct lm_bytes text = {0};
    int code = LOAM_OK;
    for (int64_t from = 0, to; code == LOAM_OK && from < sample->count; from = to) {
        const bool trained = from > 0 && sample->targets[from - 1] >= 0;
        for (to = from + 1; to < sample->count && (sample->targets[to - 1] >= 0) == trained; to++)
            ;
        text.length = 0;
        code = text_of(s, sample->ids + from, to - from, &text, error);
        const bool joins = to == sample->count && trained && sample->last >= 0; /* the last target belongs to this run */
        if (code == LOAM_OK && joins)
            code = text_of(s, &sample->last, 1, &text, error);
        if (code == LOAM_OK)
            code = each(user, text.data ? text.data : "", text.length, trained, error);
        if (code == LOAM_OK && to == sample->count && !joins && sample->last >= 0) {
            text.length = 0;
            code = text_of(s, &sample->last, 1, &text, error);
            if (code == LOAM_OK)
                code = each(user, text.data ? text.data : "", text.length, true, error);
        }
    }
    lm_bytes_free(&text);
    return code;
}

/* --- As text --- */

/* Nothing that drives a terminal: control characters as \xNN, what is no UTF-8 as U+FFFD. */
static void print_clean(const char *text, size_t length)
{
    for (size_t at = 0; at < length;) {
        uint32_t c;
        const size_t size = lm_utf8_decode(text + at, length - at, &c);
        if (!size)
            fputs("\xEF\xBF\xBD", stdout);
        else if ((c < 32 && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0))
            printf("\\x%02X", (unsigned)c);
        else
            fwrite(text + at, 1, size, stdout);
        at += size ? size : 1;
    }
}

static int print_run(void *user, const char *text, size_t length, bool trained, loam_error *error)
{
    const bool colour = *(const bool *)user;
    (void)error;
    if (trained)
        fputs(colour ? "\x1b[32m" : "\u00AB", stdout);
    print_clean(text, length);
    if (trained)
        fputs(colour ? "\x1b[0m" : "\u00BB", stdout);
    return LOAM_OK;
}

static int print_samples(struct showing *s, loam_error *error)
{
    const int64_t limit = s->arguments->values[OPT_LIMIT].whole;
    int code = LOAM_OK;
    for (int64_t i = 0; code == LOAM_OK && i < limit && i < s->summary.samples; i++) {
        struct sample sample;
        code = read_sample(s, i, &sample, error);
        if (code != LOAM_OK)
            break;
        printf("--- sample %lld: %lld positions, %lld trained on\n", (long long)i + 1, (long long)sample.count,
               (long long)sample.trained);
        code = each_run(s, &sample, print_run, &s->colour, error);
        if (sample.full > sample.count)
            printf("\n--- cut here: %lld tokens more are lost", (long long)(sample.full - sample.count));
        putchar('\n');
    }
    return code;
}

/* Widths of 1, 2 or 5 times a power of ten, so that at most BINS reach the longest. */
static int64_t bin_width(int64_t longest)
{
    static const int64_t steps[] = {1, 2, 5};
    for (int64_t ten = 1;; ten *= 10)
        for (int i = 0; i < 3; i++)
            if (steps[i] * ten * BINS > longest)
                return steps[i] * ten;
}

static void count_bins(const struct showing *s, int64_t width, int64_t counts[BINS])
{
    memset(counts, 0, BINS * sizeof *counts);
    for (int64_t i = 0; i < s->summary.samples; i++) {
        const int64_t bin = lm_samples_full_length(s->samples, i) / width;
        counts[bin < BINS ? bin : BINS - 1]++;
    }
}

static void print_histogram(const struct showing *s)
{
    const int64_t width = bin_width(s->summary.longest);
    int64_t counts[BINS], most = 1;
    count_bins(s, width, counts);
    for (int i = 0; i < BINS; i++)
        most = counts[i] > most ? counts[i] : most;
    printf("\npositions        samples\n");
    for (int i = 0; i < BINS && i * width <= s->summary.longest; i++) {
        const int bar = (int)((counts[i] * BAR + most - 1) / most);
        printf("%6lld-%-6lld %10lld %.*s%s\n", (long long)(i * width), (long long)((i + 1) * width - 1), (long long)counts[i], bar,
               "########################################", s->length >= i * width && s->length < (i + 1) * width ? "  <- seq" : "");
    }
}

static void print_counts(const struct showing *s)
{
    const struct lm_samples_summary *all = &s->summary;
    size_t count;
    const struct lm_source_tally *tallies = lm_samples_tallies(s->samples, &count);
    printf("\n%lld samples, %lld positions, %lld trained on (%.1f%%), the longest %lld\n", (long long)all->samples,
           (long long)all->tokens, (long long)all->trained, 100 * (double)all->trained / (double)all->tokens,
           (long long)all->longest);
    printf("%lld rows of %lld positions, %.1f%% of them filled; one sample a row would fill %.1f%%\n", (long long)s->packed.rows,
           (long long)s->length, 100 * (double)all->tokens / ((double)s->packed.rows * (double)s->length),
           100 * (double)all->tokens / ((double)all->samples * (double)s->length));
    for (size_t i = 0; i < count; i++) {
        const struct lm_source_tally *t = &tallies[i];
        const long long total = t->samples + t->unanswered + t->out_of_reach;
        if (!total)
            continue;
        printf("%s: %lld of %lld used\n", s->arguments->operands[i], (long long)t->samples, total);
        if (t->cut)
            printf("    %lld cut at %lld positions, which loses %lld tokens (a greater --seq keeps them)\n", (long long)t->cut,
                   (long long)s->length, (long long)t->cut_tokens);
        if (t->unanswered)
            printf("    %lld left out: nothing in them is trained on (no assistant's turn, or a single token)\n",
                   (long long)t->unanswered);
        if (t->out_of_reach)
            printf("    %lld left out: all that is trained on lies behind the first %lld positions (a greater --seq keeps them)\n",
                   (long long)t->out_of_reach, (long long)s->length);
    }
}

/* --- As JSON --- */

static int write_run(void *user, const char *text, size_t length, bool trained, loam_error *error)
{
    struct lm_json_writer *writer = user;
    (void)error;
    lm_json_begin_object(writer);
    lm_json_key(writer, "text");
    lm_json_string(writer, text, length);
    lm_json_key(writer, "trained");
    lm_json_bool(writer, trained);
    lm_json_end_object(writer);
    return LOAM_OK;
}

static void integer(struct lm_json_writer *writer, const char *key, int64_t value)
{
    lm_json_key(writer, key);
    lm_json_int(writer, value);
}

static void write_counts(const struct showing *s, struct lm_json_writer *writer)
{
    size_t count;
    const struct lm_source_tally *tallies = lm_samples_tallies(s->samples, &count);
    integer(writer, "seq", s->length);
    integer(writer, "samples", s->summary.samples);
    integer(writer, "rows", s->packed.rows);
    integer(writer, "tokens", s->summary.tokens);
    integer(writer, "trained", s->summary.trained);
    integer(writer, "longest", s->summary.longest);
    lm_json_key(writer, "files");
    lm_json_begin_array(writer);
    for (size_t i = 0; i < count; i++) {
        lm_json_begin_object(writer);
        lm_json_key(writer, "file");
        lm_json_text(writer, s->arguments->operands[i]);
        integer(writer, "samples", tallies[i].samples);
        integer(writer, "cut", tallies[i].cut);
        integer(writer, "cut_tokens", tallies[i].cut_tokens);
        integer(writer, "unanswered", tallies[i].unanswered);
        integer(writer, "out_of_reach", tallies[i].out_of_reach);
        lm_json_end_object(writer);
    }
    lm_json_end_array(writer);
}

static void write_histogram(const struct showing *s, struct lm_json_writer *writer)
{
    const int64_t width = bin_width(s->summary.longest);
    int64_t counts[BINS];
    count_bins(s, width, counts);
    lm_json_key(writer, "histogram");
    lm_json_begin_array(writer);
    for (int i = 0; i < BINS && i * width <= s->summary.longest; i++) {
        lm_json_begin_object(writer);
        integer(writer, "from", i * width);
        integer(writer, "to", (i + 1) * width - 1);
        integer(writer, "samples", counts[i]);
        lm_json_end_object(writer);
    }
    lm_json_end_array(writer);
}

static int write_samples(struct showing *s, struct lm_json_writer *writer, loam_error *error)
{
    const int64_t limit = s->arguments->values[OPT_LIMIT].whole;
    int code = LOAM_OK;
    lm_json_key(writer, "shown");
    lm_json_begin_array(writer);
    for (int64_t i = 0; code == LOAM_OK && i < limit && i < s->summary.samples; i++) {
        struct sample sample;
        code = read_sample(s, i, &sample, error);
        if (code != LOAM_OK)
            break;
        lm_json_begin_object(writer);
        integer(writer, "positions", sample.count);
        integer(writer, "trained", sample.trained);
        integer(writer, "cut_tokens", sample.full > sample.count ? sample.full - sample.count : 0);
        lm_json_key(writer, "parts");
        lm_json_begin_array(writer);
        code = each_run(s, &sample, write_run, writer, error);
        lm_json_end_array(writer);
        lm_json_end_object(writer);
    }
    lm_json_end_array(writer);
    return code;
}

static int show_json(struct showing *s)
{
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 2);
    loam_error error;
    lm_json_begin_object(&writer);
    write_counts(s, &writer);
    write_histogram(s, &writer);
    int code = write_samples(s, &writer, &error);
    lm_json_end_object(&writer);
    if (code == LOAM_OK)
        return print_json(&writer);
    lm_bytes_free(&out);
    return complain_error(&error);
}

int command_data_show(const struct arguments *arguments)
{
    struct showing s = {.arguments = arguments, .colour = may_colour(stdout)};
    loam_error error;
    progress_init(&s.progress);
    catch_signals();
    int code = open_all(&s, &error);
    progress_clear(&s.progress);
    int status = EXIT_DONE;
    if (code == LOAM_OK && arguments->values[OPT_JSON].given) {
        status = show_json(&s);
    } else if (code == LOAM_OK) {
        code = print_samples(&s, &error);
        print_histogram(&s);
        print_counts(&s);
    }
    if (code != LOAM_OK)
        status = complain_error(&error);
    lm_samples_close(s.samples);
    lm_template_free(s.chat_template);
    lm_tokenizer_free(s.tokenizer);
    lm_free(s.arrays);
    return status;
}
