/* Lessons one to three: from text to batches of numbers. */
#include "data/data.h"
#include "labels.h"
#include "lessons.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void show_tokens(struct lm_page *page, const char *name, const char *title, const struct lm_tokenizer *tokenizer,
                        const struct lm_ids *ids)
{
    char **labels;
    double *numbers = lm_alloc(ids->length + 1, sizeof *numbers, &page->error);
    if (!numbers || lm_labels_make(tokenizer, ids->data, (int64_t)ids->length, &labels, &page->error)) {
        lm_free(numbers);
        return;
    }
    for (size_t i = 0; i < ids->length; i++)
        numbers[i] = ids->data[i];
    static const char *const column[] = {"id"};
    const struct lm_block strip = {.kind = LM_BLOCK_TOKENS, .name = name, .title = title, .rows = (int64_t)ids->length, .columns = 1,
                                   .row_names = (const char *const *)labels, .values = numbers};
    lm_page_add(page, &strip);
    struct lm_block table = strip;
    char with[80];
    snprintf(with, sizeof with, "%s_ids", name);
    table.kind = LM_BLOCK_TABLE;
    table.name = with;
    table.title = "Their ids";
    table.column_names = column;
    lm_page_add(page, &table);
    lm_free(numbers);
    lm_free_strings(labels, ids->length);
}

static int show_decoded(struct lm_page *page, const struct lm_tokenizer *tokenizer, const struct lm_ids *ids, loam_error *error)
{
    struct lm_bytes text = {0}, clean = {0};
    int code = lm_tokenizer_decode(tokenizer, ids->data, ids->length, false, &text, error);
    if (!code)
        code = lm_label_write(text.data ? text.data : "", text.length, &clean, error);
    if (!code)
        lm_page_fact_text(page, "decoded", "the ids, decoded again", clean.data);
    lm_bytes_free(&text);
    lm_bytes_free(&clean);
    return code;
}

/* --- 1. Words --- */

static int teach_with_words(struct lm_lesson *lesson, const struct lm_bytes *text, const struct lm_tokenizer *tokenizer,
                            loam_error *error)
{
    struct lm_page *page = lesson->page;
    struct lm_ids ids = {0}, few = {0}, text_ids = {0};
    struct lm_bytes joined = {0};
    const int32_t size = lm_tokenizer_size(tokenizer), unknown = lm_tokenizer_find(tokenizer, "<|unk|>", 7);
    int64_t strangers = 0;
    int code = lm_tokenizer_encode(tokenizer, text->data, text->length, 0, &text_ids, NULL, error);
    for (int32_t id = size > 8 ? size - 8 : 0; id < size && !code; id++)
        code = lm_ids_push(&few, id, error);
    if (!code)
        code = lm_bytes_format(&joined, error, "%s <|endoftext|> ", lm_sentence_of(lesson->options));
    if (!code)
        code = lm_bytes_append(&joined, text->data, strcspn(text->data, ".!?\n") + 1, error);
    if (!code)
        code = lm_tokenizer_encode(tokenizer, joined.data, joined.length, LM_ENCODE_SPECIAL, &ids, NULL, error);
    for (size_t i = 0; i < ids.length; i++)
        strangers += ids.data[i] == unknown;
    if (!code) {
        lm_page_fact(page, "text_bytes", "bytes of text to learn from", "", 0, (double)text->length);
        lm_page_fact(page, "text_tokens", "words and marks in it", "", 0, (double)text_ids.length);
        lm_page_fact(page, "vocabulary", "different ones: the vocabulary", "", 0, (double)size);
        lm_page_say(page, "The end of the vocabulary. Words stand in order; behind them the two special tokens that no text can be "
                    "mistaken for: one between texts, one for words that the vocabulary lacks.");
        show_tokens(page, "last", "The vocabulary's last tokens", tokenizer, &few);
        lm_page_say(page, "Your sentence, then the end of a text, then the beginning of the text that was learned from:");
        show_tokens(page, "encoded", "As tokens", tokenizer, &ids);
        lm_page_fact(page, "unknown", "tokens that are <|unk|>", "", 0, (double)strangers);
        code = show_decoded(page, tokenizer, &ids, error);
    }
    lm_page_say(page, "A word that was not in the text is lost: every stranger becomes the same token. To try: --sentence with words from "
                "the end of the vocabulary, and another --seed for another text. The next lesson loses nothing.");
    lm_ids_free(&ids);
    lm_ids_free(&few);
    lm_ids_free(&text_ids);
    lm_bytes_free(&joined);
    return code;
}

int lm_teach_words(struct lm_lesson *lesson, loam_error *error)
{
    struct lm_tokenizer *tokenizer = NULL;
    struct lm_bytes text = {0};
    lm_page_say(lesson->page, "A model computes with numbers. The plainest way to them: take a text, cut it into words and marks, give each "
                "different one a number, its id. A sentence is then a row of ids.");
    int code = lm_lesson_text(lesson->options->seed, LM_LESSON_SMALL_TEXT, &text, error);
    const struct lm_tokenizer_training training = {.text = text.data, .text_length = text.length, .kind = LM_TRAIN_WORDS,
                                                   .vocabulary_size = 1 << 16, .threads = lesson->options->threads};
    if (!code)
        code = lm_tokenizer_train(&training, &tokenizer, error);
    if (!code)
        code = teach_with_words(lesson, &text, tokenizer, error);
    lm_tokenizer_free(tokenizer);
    lm_bytes_free(&text);
    return code;
}

/* --- 2. Merges --- */

enum { MERGES = 12, BYTES = 256 };

/* The text's length in tokens once `merges` merges are learned, and what the last of them joined. */
static int learn_merges(const struct lm_bytes *text, int merges, struct lm_tokenizer **tokenizer, int64_t *tokens, loam_error *error)
{
    struct lm_ids ids = {0};
    const struct lm_tokenizer_training training = {.text = text->data, .text_length = text->length, .threads = 1,
                                                   .vocabulary_size = BYTES + merges};
    int code = lm_tokenizer_train(&training, tokenizer, error);
    if (!code)
        code = lm_tokenizer_encode(*tokenizer, text->data, text->length, 0, &ids, NULL, error);
    *tokens = (int64_t)ids.length;
    lm_ids_free(&ids);
    return code;
}

/* "t + h" of the merge that gave token `id`, by the tokenizer that does not know it yet. */
static int parts_of(const struct lm_tokenizer *before, const struct lm_tokenizer *after, int32_t id, char **parts, loam_error *error)
{
    struct lm_ids ids = {0};
    char **labels = NULL;
    size_t length;
    const char *token = lm_tokenizer_token(after, id, &length);
    struct lm_bytes text = {0};
    int code = lm_tokenizer_encode(before, token, length, 0, &ids, NULL, error);
    if (!code)
        code = lm_labels_make(before, ids.data, (int64_t)ids.length, &labels, error);
    for (size_t i = 0; i < ids.length && !code; i++)
        code = lm_bytes_format(&text, error, "%s%s", i ? " + " : "", labels[i]);
    if (labels)
        lm_free_strings(labels, ids.length);
    lm_ids_free(&ids);
    *parts = text.data;
    return code;
}

static int show_merges(struct lm_page *page, const struct lm_bytes *text, loam_error *error)
{
    static const char *const columns[] = {"joined", "new token"};
    struct lm_tokenizer *before = NULL, *after = NULL;
    char *cells[2 * MERGES] = {0}, **label;
    double lengths[MERGES + 1];
    int64_t tokens, rows = 0;
    int code = learn_merges(text, 0, &before, &tokens, error);
    lengths[0] = (double)tokens;
    for (int i = 1; i <= MERGES && !code; i++) {
        code = learn_merges(text, i, &after, &tokens, error);
        if (code || lm_tokenizer_size(after) < BYTES + i)
            break;
        const int32_t id = BYTES + i - 1;
        code = parts_of(before, after, id, &cells[2 * rows], error);
        if (!code)
            code = lm_labels_make(after, &id, 1, &label, error);
        if (!code) {
            cells[2 * rows + 1] = label[0];
            lm_free(label);
            lengths[++rows] = (double)tokens;
        }
        lm_tokenizer_free(before);
        before = after;
        after = NULL;
    }
    const struct lm_block merges = {.kind = LM_BLOCK_TABLE, .name = "merges", .title = "What was joined, one merge after the other",
                                    .row_axis = "merge", .rows = rows, .columns = 2, .column_names = columns,
                                    .texts = (const char *const *)cells};
    const struct lm_block bars = {.kind = LM_BLOCK_BARS, .name = "lengths", .title = "Length of the text after each merge",
                                  .row_axis = "merges learned", .column_axis = "tokens", .unit = "tokens", .rows = rows + 1,
                                  .columns = 1, .values = lengths};
    if (!code) {
        lm_page_add(page, &merges);
        lm_page_add(page, &bars);
    }
    for (int i = 0; i < 2 * MERGES; i++)
        lm_free(cells[i]);
    lm_tokenizer_free(before);
    lm_tokenizer_free(after);
    return code;
}

int lm_teach_merges(struct lm_lesson *lesson, loam_error *error)
{
    struct lm_page *page = lesson->page;
    struct lm_bytes text = {0};
    lm_page_say(page, "Byte-pair encoding (Sennrich and others) begins with the bytes, of which every text is made, so that nothing is ever "
                "unknown. Then it counts which two neighbours stand together most often in a text, makes them one token, and begins "
                "again. A blank is shown as a dot.");
    int code = lm_lesson_text(lesson->options->seed, LM_LESSON_SMALL_TEXT, &text, error);
    if (!code)
        code = show_merges(page, &text, error);
    lm_bytes_free(&text);
    if (!code)
        code = lm_lesson_tokenizer(lesson, error);
    if (!code)
        code = lm_lesson_encode(lesson, error);
    if (code)
        return code;
    lm_page_say(page, lesson->options->tokenizer ? "With the whole vocabulary of your model, your sentence is"
                                                 : "With the whole vocabulary that the quickstart learns, your sentence is");
    show_tokens(page, "sentence", "Your sentence", lesson->tokenizer, &lesson->ids);
    lm_page_fact(page, "vocabulary", "tokens the vocabulary has", "", 0, lm_tokenizer_size(lesson->tokenizer));
    lm_page_fact(page, "bytes", "bytes of the sentence", "", 0, (double)strlen(lm_sentence_of(lesson->options)));
    lm_page_fact(page, "tokens", "tokens of the sentence", "", 0, (double)lesson->ids.length);
    lm_page_say(page, "Frequent words are one token, rare ones several, a script that was never seen falls apart into its bytes. To try: a "
                "word of your own making; another script; MODEL, to see a vocabulary learned from far more text.");
    return LOAM_OK;
}

/* --- 3. Samples --- */

enum { WINDOW = 8, ROWS = 2, STRIDES = 3 };

/* Number of windows of WINDOW inputs, each with the token behind, that begin every `stride` tokens. */
static int64_t windows_of(int64_t tokens, int64_t stride)
{
    return tokens <= WINDOW ? 0 : (tokens - WINDOW - 1) / stride + 1;
}

static void show_growing(struct lm_lesson *lesson)
{
    static const char *const columns[] = {"is given", "shall come next"};
    const int64_t count = (int64_t)lesson->ids.length - 1, rows = count < WINDOW ? count : WINDOW;
    char *cells[2 * WINDOW] = {0};
    for (int64_t i = 0; i < rows; i++) {
        struct lm_bytes given = {0}, next = {0};
        for (int64_t j = 0; j <= i; j++)
            lm_bytes_format(&given, &lesson->page->error, "%s%s", j ? "|" : "", lesson->labels[j]);
        lm_bytes_format(&next, &lesson->page->error, "%s", lesson->labels[i + 1]);
        cells[2 * i] = given.data;
        cells[2 * i + 1] = next.data;
    }
    const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "growing", .title = "One sample is a task for each of its tokens",
                                   .rows = rows, .columns = 2, .column_names = columns, .texts = (const char *const *)cells};
    if (rows > 0)
        lm_page_add(lesson->page, &table);
    for (int i = 0; i < 2 * WINDOW; i++)
        lm_free(cells[i]);
}

/* A batch's ids and targets as two tables. */
static void show_batch(struct lm_page *page, const char *name, const char *title, const struct lm_batch *batch)
{
    double ids[ROWS * WINDOW], targets[ROWS * WINDOW];
    char key[64], words[96];
    for (int i = 0; i < ROWS * WINDOW; i++) {
        ids[i] = batch->ids[i];
        targets[i] = batch->targets[i];
    }
    struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = key, .title = words, .row_axis = "sequence", .column_axis = "position",
                             .rows = ROWS, .columns = WINDOW, .values = ids};
    snprintf(key, sizeof key, "%s_inputs", name);
    snprintf(words, sizeof words, "%s: inputs", title);
    lm_page_add(page, &table);
    snprintf(key, sizeof key, "%s_targets", name);
    snprintf(words, sizeof words, "%s: targets", title);
    table.values = targets;
    lm_page_add(page, &table);
}

/* The first batch of the text in `file` as training reads it. */
static int read_batch(struct lm_lesson *lesson, int file, bool shuffle, struct lm_batch *batch, int64_t *batches, loam_error *error)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    const struct lm_source source = {.path = path, .weight = 1};
    const struct lm_samples_options options = {.kind = LM_SAMPLES_TEXT, .sources = &source, .source_count = 1,
                                               .tokenizer = lesson->tokenizer, .length = WINDOW, .batch = ROWS, .shuffle = shuffle,
                                               .seed = lesson->options->seed, .threads = 1};
    struct lm_samples *samples;
    struct lm_place_in_data place = {0};
    int code = lm_samples_open(&options, &samples, error);
    if (code)
        return code;
    code = lm_samples_next(samples, &place, batch, error);
    *batches = lm_samples_batches(samples);
    lm_samples_close(samples);
    return code;
}

static int show_batches(struct lm_lesson *lesson, const struct lm_bytes *text, loam_error *error)
{
    int32_t numbers[4][ROWS * WINDOW];
    struct lm_batch batch = {.batch = ROWS, .length = WINDOW, .ids = numbers[0], .targets = numbers[1], .positions = numbers[2],
                             .segment_start = numbers[3]};
    int64_t batches = 0;
    const int file = memfd_create("text", MFD_CLOEXEC);
    if (file < 0 || write(file, text->data, text->length) != (ssize_t)text->length) {
        if (file >= 0)
            close(file);
        return lm_fail(error, LOAM_EIO, "the lesson's text cannot be put into memory");
    }
    int code = read_batch(lesson, file, false, &batch, &batches, error);
    if (!code) {
        lm_page_fact(lesson->page, "batches", "batches in one pass over the text", "", 0, (double)batches);
        show_batch(lesson->page, "ordered", "First batch, in the text's order", &batch);
        code = read_batch(lesson, file, true, &batch, &batches, error);
    }
    if (!code)
        show_batch(lesson->page, "shuffled", "First batch, shuffled by the seed", &batch);
    close(file);
    return code;
}

int lm_teach_samples(struct lm_lesson *lesson, loam_error *error)
{
    static const char *const strides[] = {"every token", "every other token", "window by window"};
    struct lm_page *page = lesson->page;
    struct lm_bytes text = {0};
    struct lm_ids ids = {0};
    double counts[STRIDES];
    int code = lm_lesson_tokenizer(lesson, error);
    if (!code)
        code = lm_lesson_encode(lesson, error);
    if (!code)
        code = lm_bytes_format(&text, error, "%s ", lesson->options->sentence ? lesson->options->sentence : lm_lesson_sentence);
    if (!code)
        code = lm_lesson_text(lesson->options->seed, LM_LESSON_SMALL_TEXT, &text, error);
    if (!code)
        code = lm_tokenizer_encode(lesson->tokenizer, text.data, text.length, 0, &ids, NULL, error);
    if (code) {
        lm_bytes_free(&text);
        return code;
    }
    lm_page_say(page, "A model learns to say what comes next. The targets are the inputs, moved by one token: each position is a task of its "
                "own, and sees only what stands before.");
    show_growing(lesson);
    lm_page_say(page, "A long text is cut into windows. How far one window's beginning is from the last one's is the stride: a small stride "
                "gives more windows that overlap. Training here goes window by window, so that each token is a target once.");
    for (int i = 0; i < STRIDES; i++)
        counts[i] = (double)windows_of((int64_t)ids.length, i == 2 ? WINDOW : i + 1);
    const struct lm_block windows = {.kind = LM_BLOCK_BARS, .name = "windows", .title = "Windows that the text gives", .row_axis = "stride",
                                     .column_axis = "windows", .unit = "windows", .rows = STRIDES, .columns = 1, .row_names = strides,
                                     .values = counts};
    lm_page_fact(page, "tokens", "tokens of your sentence and the text behind it", "", 0, (double)ids.length);
    lm_page_fact(page, "window", "tokens of a window", "", 0, WINDOW);
    lm_page_add(page, &windows);
    lm_page_say(page, "Several windows go through the model at once: a batch. As ids, the way training gets them:");
    code = show_batches(lesson, &text, error);
    lm_page_say(page, "Look at a row of targets: it is the row of inputs moved one to the left, with one new token at its end. To try: "
                "another --seed shuffles the windows in another order.");
    lm_bytes_free(&text);
    lm_ids_free(&ids);
    return code;
}
