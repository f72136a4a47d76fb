#include "support/support.h"

#include "data/data.h"
#include "data/samples.h"

#define GOLDEN LOAM_TESTS "/golden/templates/"

static struct lm_tokenizer *tokenizer;
static const struct lm_template *chatml;

static int open_all(void **state)
{
    (void)state;
    loam_error error;
    assert_ok(lm_tokenizer_load(GOLDEN "byte_tokenizer.json", &tokenizer, &error), &error);
    assert_ok(lm_tokenizer_set_bos_eos_pad(tokenizer, -1, lm_tokenizer_find(tokenizer, "<|endoftext|>", 13), -1, &error), &error);
    assert_ok(lm_template_find("chatml", NULL, &chatml, &error), &error);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    lm_tokenizer_free(tokenizer);
    return 0;
}

static char *write_file(const char *folder, const char *name, const char *text, size_t length)
{
    loam_error error;
    char *path = lm_path_join(folder, name, &error);
    assert_ok(lm_file_replace(path, text, length, &error), &error);
    return path;
}

static struct lm_samples_options options_for(const struct lm_source *sources, size_t count, int64_t batch, int64_t length)
{
    return (struct lm_samples_options){.sources = sources, .source_count = count, .batch = batch, .length = length, .seed = 3};
}

static struct lm_samples *open_samples(const struct lm_samples_options *options)
{
    struct lm_samples *samples = NULL;
    loam_error error;
    assert_ok(lm_samples_open(options, &samples, &error), &error);
    return samples;
}

static struct lm_batch new_batch(int64_t batch, int64_t length)
{
    size_t count = (size_t)(batch * length);
    struct lm_batch made = {.batch = batch, .length = length};
    made.ids = malloc(count * sizeof *made.ids);
    made.targets = malloc(count * sizeof *made.targets);
    made.positions = malloc(count * sizeof *made.positions);
    made.segment_start = malloc(count * sizeof *made.segment_start);
    return made;
}

static void free_batch(struct lm_batch *batch)
{
    free(batch->ids);
    free(batch->targets);
    free(batch->positions);
    free(batch->segment_start);
}

static void next(struct lm_samples *samples, struct lm_place_in_data *place, struct lm_batch *batch)
{
    loam_error error;
    assert_ok(lm_samples_next(samples, place, batch, &error), &error);
}

static void expect_row(const int32_t *row, const int32_t *wanted, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (row[i] != wanted[i])
            fail_msg("%s at %zu: found %d, wanted %d", what, i, row[i], wanted[i]);
}

static void text_becomes_windows_with_the_end_between_files(void **state)
{
    (void)state;
    const char *folder = test_folder();
    int32_t eos = lm_tokenizer_eos(tokenizer), x = lm_tokenizer_find(tokenizer, "x", 1), y = lm_tokenizer_find(tokenizer, "y", 1);
    struct lm_source sources[] = {{write_file(folder, "a.txt", "\xEF\xBB\xBFxxx", 6), 1}, {write_file(folder, "b.txt", "yy", 2), 1}};
    struct lm_samples_options options = options_for(sources, 2, 2, 4);
    options.tokenizer = tokenizer;
    struct lm_samples *samples = open_samples(&options);
    struct lm_batch batch = new_batch(2, 4);
    struct lm_place_in_data place = {0};
    assert_int_equal(lm_samples_batches(samples), 1);
    next(samples, &place, &batch);
    /* x x x end y y end: seven ids, six of them predicted. */
    expect_row(batch.ids, (int32_t[]){x, x, x, eos, y, y, eos, eos}, 8, "ids");
    expect_row(batch.targets, (int32_t[]){x, x, eos, y, y, eos, -1, -1}, 8, "targets");
    expect_row(batch.positions, (int32_t[]){0, 1, 2, 3, 0, 1, 0, 0}, 8, "positions");
    expect_row(batch.segment_start, (int32_t[]){0, 0, 0, 0, 0, 0, 2, 3}, 8, "segment_start");
    assert_int_equal(batch.tokens, 6);
    assert_int_equal(batch.trained, 6);
    assert_int_equal(place.epoch, 1);
    assert_int_equal(place.batch, 0);
    struct lm_samples_summary summary;
    lm_samples_summarise(samples, &summary);
    assert_int_equal(summary.trained, 6);
    assert_int_equal(summary.trained_bytes, 4);    /* of five letters the first is predicted by nothing; ends count none */
    lm_samples_close(samples);
    free_batch(&batch);
    lm_free((char *)sources[0].path);
    lm_free((char *)sources[1].path);
}

static void ids_stand_as_they_are(void **state)
{
    (void)state;
    static const char text[] = "\n7 8 9\r\n  10\t11 \n\n5\n1 2 3 4 5 6 7 8\n";
    struct lm_source source = {write_file(test_folder(), "some.ids", text, sizeof text - 1), 1};
    struct lm_samples_options options = options_for(&source, 1, 3, 4);
    struct lm_samples *samples = open_samples(&options);
    struct lm_batch batch = new_batch(3, 4);
    struct lm_place_in_data place = {0};
    next(samples, &place, &batch);
    expect_row(batch.ids, (int32_t[]){7, 8, 0, 0, 10, 0, 0, 0, 1, 2, 3, 4}, 12, "ids");
    expect_row(batch.targets, (int32_t[]){8, 9, -1, -1, 11, -1, -1, -1, 2, 3, 4, 5}, 12, "targets");
    struct lm_samples_summary summary;
    lm_samples_summarise(samples, &summary);
    assert_int_equal(summary.samples, 3);
    assert_int_equal(summary.unanswered, 1);
    assert_int_equal(summary.cut, 1);
    assert_int_equal(summary.cut_tokens, 3);
    assert_int_equal(summary.longest, 7);
    lm_samples_close(samples);
    free_batch(&batch);
    lm_free((char *)source.path);
}

static void chat_trains_on_answers_only(void **state)
{
    (void)state;
    static const char text[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"yz\"},{\"role\":\"user\",\"content\":\"more\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"never answered\"}]}\n";
    struct lm_source source = {write_file(test_folder(), "talk.jsonl", text, sizeof text - 1), 1};
    struct lm_samples_options options = options_for(&source, 1, 1, 64);
    options.kind = LM_SAMPLES_CHAT;
    options.tokenizer = tokenizer;
    options.chat_template = chatml;
    for (int all = 0; all < 2; all++) {
        options.train_on_all = all;
        struct lm_samples *samples = open_samples(&options);
        struct lm_batch batch = new_batch(1, 64);
        struct lm_place_in_data place = {0};
        struct lm_samples_summary summary;
        next(samples, &place, &batch);
        lm_samples_summarise(samples, &summary);
        assert_int_equal(summary.unanswered, all ? 0 : 1);
        if (!all) {
            int32_t end = lm_template_end_of_turn(chatml, tokenizer), trained[8];
            size_t count = 0;
            for (size_t i = 0; i < 64; i++)
                if (batch.targets[i] >= 0 && count < 8)
                    trained[count++] = batch.targets[i];
            assert_int_equal(count, 3);
            assert_int_equal(trained[0], lm_tokenizer_find(tokenizer, "y", 1));
            assert_int_equal(trained[2], end);
            /* The unanswered last turn is not even an input. */
            assert_int_equal(batch.targets[batch.tokens - 1], end);
            assert_int_equal(batch.trained, 3);
            assert_int_equal(summary.trained_bytes, 2);
        } else {
            assert_int_equal(batch.trained, batch.tokens);
        }
        lm_samples_close(samples);
        free_batch(&batch);
    }
    lm_free((char *)source.path);
}

struct notes {
    struct lm_bytes text;
};

static void keep_note(void *user, const char *line)
{
    struct notes *notes = user;
    lm_bytes_format(&notes->text, NULL, "%s\n", line);
}

static void what_is_lost_is_said(void **state)
{
    (void)state;
    static const char text[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"0123456789012345678901234567890123456789\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"012345678901234567890123456789012345678901234567890123\"},"
        "{\"role\":\"assistant\",\"content\":\"a\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}\n";
    struct notes notes = {{0}};
    loam_observer observer = {.user = &notes, .note = keep_note};
    struct lm_source source = {write_file(test_folder(), "talk.jsonl", text, sizeof text - 1), 1};
    struct lm_samples_options options = options_for(&source, 1, 1, 40);
    options.kind = LM_SAMPLES_CHAT;
    options.tokenizer = tokenizer;
    options.chat_template = chatml;
    options.observer = &observer;
    struct lm_samples *samples = open_samples(&options);
    struct lm_samples_summary summary;
    lm_samples_summarise(samples, &summary);
    assert_int_equal(summary.samples, 1);
    assert_int_equal(summary.cut, 1);
    assert_int_equal(summary.out_of_reach, 1);
    assert_int_equal(summary.unanswered, 1);
    assert_non_null(strstr(notes.text.data, "1 of 3 samples were cut at 40 tokens"));
    assert_non_null(strstr(notes.text.data, "1 of 3 samples were left out: nothing in them is trained on"));
    assert_non_null(strstr(notes.text.data, "behind the first 40 tokens"));
    lm_samples_close(samples);
    options.length = 10;
    loam_error error;
    assert_fails(lm_samples_open(&options, &samples, &error), &error, LOAM_EFORMAT, "talk.jsonl", "nothing to train on", "--seq");
    lm_bytes_free(&notes.text);
    lm_free((char *)source.path);
}

/* 200 sequences, sequence i being i, i, … of i % 7 + 2 ids: each target tells whose it is. */
static char *many_ids(const char *name)
{
    struct lm_bytes text = {0};
    for (int i = 1; i <= 200; i++) {
        for (int k = 0; k < i % 7 + 2; k++)
            lm_bytes_format(&text, NULL, "%d ", i);
        lm_bytes_append(&text, "\n", 1, NULL);
    }
    char *path = write_file(test_folder(), name, text.data, text.length);
    lm_bytes_free(&text);
    return path;
}

static void count_epoch(struct lm_samples *samples, struct lm_batch *batch, int64_t epoch, int *seen)
{
    struct lm_place_in_data place = {epoch, 0};
    memset(seen, 0, 201 * sizeof *seen);
    while (place.epoch == epoch) {
        next(samples, &place, batch);
        for (int64_t i = 0; i < batch->batch * batch->length; i++) {
            int64_t start = batch->segment_start[i], in_row = i % batch->length, row = i - in_row;
            assert_true(start >= 0 && start <= in_row);
            assert_int_equal(batch->positions[i], batch->targets[i] < 0 ? 0 : in_row - start);
            if (batch->targets[i] < 0)
                continue;
            /* Nothing that a position may see belongs to another sample. */
            for (int64_t k = start; k <= in_row; k++)
                assert_int_equal(batch->ids[row + k], batch->targets[i]);
            assert_true(start == 0 || batch->ids[row + start - 1] != batch->targets[i]);
            seen[batch->targets[i]]++;
        }
    }
}

static void packed_rows_hold_every_sample_once(void **state)
{
    (void)state;
    struct lm_source source = {many_ids("many.ids"), 1};
    int seen[201];
    for (int pack = 0; pack < 2; pack++) {
        struct lm_samples_options options = options_for(&source, 1, 4, 16);
        options.pack = pack;
        options.shuffle = true;
        struct lm_samples *samples = open_samples(&options);
        struct lm_batch batch = new_batch(4, 16);
        struct lm_samples_summary summary;
        lm_samples_summarise(samples, &summary);
        for (int64_t epoch = 0; epoch < 2; epoch++) {
            count_epoch(samples, &batch, epoch, seen);
            for (int i = 1; i <= 200; i++)
                assert_int_equal(seen[i], i % 7 + 1);
        }
        /* Packed: at least 90% of the places are taken; first fit leaves no two rows half empty. */
        if (pack)
            assert_true(summary.tokens * 10 >= summary.rows * 16 * 9);
        else
            assert_int_equal(summary.rows, 200);
        lm_samples_close(samples);
        free_batch(&batch);
    }
    lm_free((char *)source.path);
}

static void first_fit_is_what_it_says(void **state)
{
    (void)state;
    const int64_t lengths[] = {6, 5, 4, 10, 5, 3, 1, 2};
    const uint32_t wanted[] = {0, 1, 0, 2, 1, 3, 3, 3};
    uint32_t rows[8];
    size_t count = 0;
    loam_error error;
    assert_ok(lm_pack(lengths, 8, 10, rows, &count, &error), &error);
    assert_int_equal(count, 4);
    assert_memory_equal(rows, wanted, sizeof rows);
}

static void order_depends_on_seed_and_epoch_and_not_on_the_batch(void **state)
{
    (void)state;
    struct lm_source source = {many_ids("many.ids"), 1};
    int32_t first[4][64];
    for (int turn = 0; turn < 4; turn++) {    /* B 4; B 2 twice; epoch 1; another seed */
        int64_t rows = turn == 1 ? 2 : 4;
        struct lm_samples_options options = options_for(&source, 1, rows, 16);
        options.pack = options.shuffle = true;
        options.seed = turn == 3 ? 4 : 3;
        struct lm_samples *samples = open_samples(&options);
        struct lm_batch batch = new_batch(rows, 16);
        struct lm_place_in_data place = {turn == 2, 0};
        for (int64_t at = 0; at < 4; at += rows) {
            next(samples, &place, &batch);
            memcpy(first[turn] + at * 16, batch.ids, (size_t)rows * 16 * sizeof *batch.ids);
        }
        lm_samples_close(samples);
        free_batch(&batch);
    }
    assert_memory_equal(first[0], first[1], sizeof first[0]);
    assert_memory_not_equal(first[0], first[2], sizeof first[0]);
    assert_memory_not_equal(first[0], first[3], sizeof first[0]);
    lm_free((char *)source.path);
}

static void a_place_is_all_a_resumed_run_needs(void **state)
{
    (void)state;
    struct lm_source source = {many_ids("many.ids"), 1};
    struct lm_samples_options options = options_for(&source, 1, 4, 16);
    options.pack = options.shuffle = true;
    struct lm_samples *a = open_samples(&options), *b = open_samples(&options);
    assert_true(lm_samples_fingerprint(a) == lm_samples_fingerprint(b));
    struct lm_batch one = new_batch(4, 16), two = new_batch(4, 16);
    struct lm_place_in_data place = {0};
    int64_t calls = lm_memory_calls();
    for (int i = 0; i < 25; i++)
        next(a, &place, &one);
    struct lm_place_in_data there = place;
    next(a, &place, &one);
    next(b, &there, &two);
    assert_int_equal(lm_memory_calls(), calls);
    assert_memory_equal(one.ids, two.ids, 64 * sizeof *one.ids);
    loam_error error;
    struct lm_place_in_data beyond = {0, lm_samples_batches(a)};
    assert_fails(lm_samples_next(a, &beyond, &one, &error), &error, LOAM_EUSAGE, "batch");
    lm_samples_close(b);
    options.seed++;
    b = open_samples(&options);
    assert_true(lm_samples_fingerprint(a) != lm_samples_fingerprint(b));
    lm_samples_close(a);
    lm_samples_close(b);
    free_batch(&one);
    free_batch(&two);
    lm_free((char *)source.path);
}

static void weights_draw_rows_in_proportion(void **state)
{
    (void)state;
    static const char a_text[] = "1 1\n2 2\n3 3\n4 4\n", b_text[] = "5 5\n6 6\n7 7\n8 8\n";
    const char *folder = test_folder();
    struct lm_source sources[] = {{write_file(folder, "a.ids", a_text, sizeof a_text - 1), 2.5},
                                  {write_file(folder, "b.ids", b_text, sizeof b_text - 1), 0.5}};
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        struct lm_samples_options options = options_for(sources, 2, 3, 1);
        options.shuffle = shuffle;
        struct lm_samples *samples = open_samples(&options);
        struct lm_batch batch = new_batch(3, 1);
        struct lm_place_in_data place = {0};
        int all[9] = {0};
        assert_int_equal(lm_samples_batches(samples), 4);    /* 10 rows of a and 2 of b, three a batch */
        for (int64_t epoch = 0; epoch < 20; epoch++) {
            int seen[9] = {0}, of_a = 0, of_b = 0;
            while (place.epoch == epoch) {
                next(samples, &place, &batch);
                for (int i = 0; i < 3; i++)
                    seen[batch.ids[i]]++;
            }
            for (int i = 1; i <= 4; i++) {
                assert_in_range(seen[i], 2, 3);
                assert_in_range(seen[i + 4], 0, 1);
                of_a += seen[i];
                of_b += seen[i + 4];
                all[i + 4] += seen[i + 4];
            }
            assert_int_equal(of_a, 10);
            assert_int_equal(of_b, 2);
        }
        for (int i = 5; i <= 8; i++)    /* half an epoch's rows, but never the same half for ever */
            assert_in_range(all[i], 3, 17);
        lm_samples_close(samples);
        free_batch(&batch);
    }
    lm_free((char *)sources[0].path);
    lm_free((char *)sources[1].path);
}

static void the_threads_do_not_matter(void **state)
{
    (void)state;
    struct lm_material *material;
    struct lm_bytes jsonl = {0};
    loam_error error;
    assert_ok(lm_material_open(&material, &error), &error);
    assert_ok(lm_material_conversations(material, 1, 300, &jsonl, &error), &error);
    struct lm_source source = {write_file(test_folder(), "talk.jsonl", jsonl.data, jsonl.length), 1};
    uint64_t fingerprints[2];
    for (int i = 0; i < 2; i++) {
        struct lm_samples_options options = options_for(&source, 1, 4, 512);
        options.kind = LM_SAMPLES_CHAT;
        options.tokenizer = tokenizer;
        options.chat_template = chatml;
        options.pack = options.shuffle = true;
        options.threads = i ? 4 : 1;
        struct lm_samples *samples = open_samples(&options);
        fingerprints[i] = lm_samples_fingerprint(samples);
        lm_samples_close(samples);
    }
    assert_true(fingerprints[0] == fingerprints[1]);
    lm_bytes_free(&jsonl);
    lm_material_close(material);
    lm_free((char *)source.path);
}

static void faults_are_named(void **state)
{
    (void)state;
    const char *folder = test_folder();
    static const struct {
        const char *name, *text;
        int code;
        const char *words[2];
    } cases[] = {
        {"a.ids", "1 2\n3 x 4\n", LOAM_EFORMAT, {"a.ids:2", "'x'"}},
        {"a.ids", "1 2\n3 -4\n", LOAM_EFORMAT, {"a.ids:2", "'-4'"}},
        {"a.ids", "1 99999999999999999999\n", LOAM_EFORMAT, {"a.ids:1", "99999999999999999999"}},
        {"a.ids", "1 2147483648\n", LOAM_EFORMAT, {"a.ids:1", "2147483648"}},
        {"a.ids", "1 50\n", LOAM_EFORMAT, {"a.ids:1", "'50'"}},
        {"a.ids", "1,2\n", LOAM_EFORMAT, {"a.ids:1", "blanks"}},
        {"a.ids", "", LOAM_EFORMAT, {"a.ids", "nothing to train on"}},
        {"a.ids", "1\n2\n", LOAM_EFORMAT, {"a.ids", "nothing to train on"}},
        {"a.txt", "some text", LOAM_EUSAGE, {"a.txt", "tokenizer"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lm_source source = {write_file(folder, cases[i].name, cases[i].text, strlen(cases[i].text)), 1};
        struct lm_samples_options options = options_for(&source, 1, 1, 4);
        options.vocabulary = 50;
        struct lm_samples *samples = NULL;
        loam_error error;
        assert_fails(lm_samples_open(&options, &samples, &error), &error, cases[i].code, cases[i].words[0], cases[i].words[1]);
        assert_null(samples);
        lm_free((char *)source.path);
    }
    struct lm_source source = {write_file(folder, "e.txt", "", 0), 1};
    struct lm_samples_options options = options_for(&source, 1, 1, 4);
    struct lm_samples *samples = NULL;
    loam_error error;
    options.tokenizer = tokenizer;
    assert_fails(lm_samples_open(&options, &samples, &error), &error, LOAM_EFORMAT, "e.txt", "empty");
    source.weight = 0;
    assert_fails(lm_samples_open(&options, &samples, &error), &error, LOAM_EUSAGE, "e.txt", "weight");
    source.weight = 1;
    options.length = 0;
    assert_fails(lm_samples_open(&options, &samples, &error), &error, LOAM_EUSAGE, "tokens a batch");
    lm_free((char *)source.path);
    source.path = write_file(folder, "x.txt", "words", 5);
    options.length = 4;
    options.vocabulary = 3;
    assert_fails(lm_samples_open(&options, &samples, &error), &error, LOAM_EMISMATCH, "x.txt", "vocabulary");
    lm_free((char *)source.path);
}

static void a_template_fault_names_the_conversation(void **state)
{
    (void)state;
    static const char text[] = "{\"text\":\"### Human: a### Assistant: b\"}\n\n{\"text\":\"### Human: a### Human: c### Assistant: b\"}\n";
    struct lm_source source = {write_file(test_folder(), "talk.jsonl", text, sizeof text - 1), 1};
    struct lm_samples_options options = options_for(&source, 1, 1, 64);
    struct lm_samples *samples = NULL;
    loam_error error;
    options.kind = LM_SAMPLES_CHAT;
    options.tokenizer = tokenizer;
    assert_fails(lm_samples_open(&options, &samples, &error), &error, LOAM_EUSAGE, "--template");
    assert_ok(lm_template_find("llama2", NULL, &options.chat_template, &error), &error);
    assert_fails(lm_samples_open(&options, &samples, &error), &error, LOAM_EFORMAT, "talk.jsonl", "conversation 3", "turn 2",
                 "alternate");
    lm_free((char *)source.path);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char ids[] = "1 2 3\n4 5\n", talk[] = "{\"text\":\"### Human: a### Assistant: b\"}\n";
    const char *folder = test_folder();
    struct lm_source sources[] = {{write_file(folder, "a.ids", ids, sizeof ids - 1), 1}, {write_file(folder, "t.jsonl", talk, sizeof talk - 1), 2}};
    struct lm_samples_options options = options_for(sources, 2, 1, 32);
    options.kind = LM_SAMPLES_CHAT;
    options.tokenizer = tokenizer;
    options.chat_template = chatml;
    options.pack = options.shuffle = true;
    options.threads = 1;
    int code = LOAM_ENOMEM;
    for (int64_t n = 1; code; n++) {
        struct lm_samples *samples = NULL;
        loam_error error;
        lm_memory_fail_after(n);
        code = lm_samples_open(&options, &samples, &error);
        lm_memory_fail_after(-1);
        assert_true(code == LOAM_OK || (code == LOAM_ENOMEM && !samples));
        lm_samples_close(samples);
    }
    lm_free((char *)sources[0].path);
    lm_free((char *)sources[1].path);
}

/* --- The cache --- */

static struct lm_samples_options cached_options(const struct lm_source *source, const char *cache)
{
    struct lm_samples_options options = options_for(source, 1, 2, 8);
    options.tokenizer = tokenizer;
    options.cache = cache;
    return options;
}

static uint64_t print_of(const struct lm_samples_options *options, bool *cached)
{
    struct lm_samples *samples = open_samples(options);
    struct lm_batch batch = new_batch(options->batch, options->length);
    struct lm_place_in_data place = {0};
    next(samples, &place, &batch);
    uint64_t print = lm_samples_fingerprint(samples);
    for (int i = 0; i < 8; i++)
        print = print * 31 + (uint64_t)batch.ids[i];
    *cached = lm_samples_cached(samples);
    lm_samples_close(samples);
    free_batch(&batch);
    return print;
}

static size_t files_in(const char *folder, char first[256])
{
    char **names;
    size_t count;
    loam_error error;
    assert_ok(lm_list_directory(folder, &names, &count, &error), &error);
    snprintf(first, 256, "%s", count ? names[0] : "");
    lm_free_strings(names, count);
    return count;
}

static void the_cache_gives_the_same_and_knows_what_matters(void **state)
{
    (void)state;
    const char *folder = test_folder();
    char *cache = lm_path_join(folder, "cache", NULL), name[256];
    struct lm_source source = {write_file(folder, "a.txt", "some words that are cut into windows", 36), 1};
    struct lm_samples_options options = cached_options(&source, NULL);
    bool cached;
    const uint64_t wanted = print_of(&options, &cached);
    assert_false(cached);
    options.cache = cache;
    assert_true(print_of(&options, &cached) == wanted);
    assert_false(cached);
    assert_true(print_of(&options, &cached) == wanted);
    assert_true(cached);
    options.seed = 4; /* the order of rows is not in the file */
    print_of(&options, &cached);
    assert_true(cached);
    options.length = 7;
    print_of(&options, &cached);
    assert_false(cached);
    options.length = 8;
    lm_free(write_file(folder, "a.txt", "some words that are cut into WINDOWS", 36));
    print_of(&options, &cached);
    assert_false(cached);
    options.vocabulary = lm_tokenizer_size(tokenizer) + 5;
    print_of(&options, &cached);
    assert_false(cached);
    assert_int_equal(files_in(cache, name), 4);
    lm_free(cache);
    lm_free((char *)source.path);
}

/* Bytes all over the file, one at a time; and lengths of it. */
static void a_broken_cache_is_made_anew(void **state)
{
    (void)state;
    const char *folder = test_folder();
    char *cache = lm_path_join(folder, "cache", NULL), name[256];
    struct lm_source source = {write_file(folder, "a.txt", "some words", 10), 1};
    struct lm_samples_options options = cached_options(&source, cache);
    loam_error error;
    bool cached;
    const uint64_t wanted = print_of(&options, &cached);
    assert_int_equal(files_in(cache, name), 1);
    char *path = lm_path_join(cache, name, NULL);
    struct lm_bytes good = {0};
    assert_ok(lm_file_read(path, 0, &good, &error), &error);
    for (size_t at = 0; at < good.length; at += 3) {
        good.data[at] ^= 0x40;
        assert_ok(lm_file_replace(path, good.data, good.length, &error), &error);
        good.data[at] ^= 0x40;
        assert_true(print_of(&options, &cached) == wanted);
        if (cached)
            fail_msg("byte %zu is another and was taken for good", at);
    }
    for (size_t length = 0; length < good.length; length += 19) {
        assert_ok(lm_file_replace(path, good.data, length, &error), &error);
        assert_true(print_of(&options, &cached) == wanted);
        assert_false(cached);
    }
    print_of(&options, &cached);
    assert_true(cached);
    lm_bytes_free(&good);
    lm_free(path);
    lm_free(cache);
    lm_free((char *)source.path);
}

/* More conversations than one part holds: the same as each alone, with the right line in messages. */
static void large_files_are_read_in_parts(void **state)
{
    (void)state;
    const char *folder = test_folder();
    struct lm_bytes text = {0};
    loam_error error;
    char filler[2048];
    memset(filler, 'f', sizeof filler - 1);
    filler[sizeof filler - 1] = 0;
    const int lines = 2500; /* 5 MB */
    for (int i = 0; i < lines; i++)
        assert_ok(lm_bytes_format(&text, &error,
                                  "{\"messages\":[{\"role\":\"user\",\"content\":\"%d\"},{\"role\":\"assistant\",\"content\":\"y\"},"
                                  "{\"role\":\"user\",\"content\":\"%s\"}]}\n", i, filler), &error);
    struct lm_source source = {write_file(folder, "talk.jsonl", text.data, text.length), 1};
    struct lm_samples_options options = options_for(&source, 1, 1, 256);
    options.kind = LM_SAMPLES_CHAT;
    options.tokenizer = tokenizer;
    options.chat_template = chatml;
    struct lm_samples *samples = open_samples(&options);
    struct lm_samples_summary summary;
    lm_samples_summarise(samples, &summary);
    assert_int_equal(summary.samples, lines);
    lm_samples_close(samples);
    assert_ok(lm_bytes_format(&text, &error, "{\"messages\":7}\n"), &error);
    lm_free(write_file(folder, "talk.jsonl", text.data, text.length));
    assert_fails(lm_samples_open(&options, &samples, &error), &error, LOAM_EFORMAT, "talk.jsonl:2501:");
    lm_bytes_free(&text);
    lm_free((char *)source.path);
}

/* The reference recipe: the text as one, in T ids, the rest of them the end of sequence; all of it trained on. */
static void faithful_samples(void **state)
{
    (void)state;
    static const char text[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","
        "\"content\":\"a\"},{\"role\":\"user\",\"content\":\"z\"}]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"never answered\"}]}\n";
    static const char wanted[] = "\n<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nq [/INST]\na[INST]z\n[/INST]\n";
    struct lm_source source = {write_file(test_folder(), "talk.jsonl", text, sizeof text - 1), 1};
    struct lm_samples_options options = options_for(&source, 1, 1, 70);
    loam_error error;
    options.kind = LM_SAMPLES_CHAT;
    options.tokenizer = tokenizer;
    options.faithful = true;
    assert_ok(lm_template_find("guanaco", NULL, &options.chat_template, &error), &error);
    struct lm_samples *samples = open_samples(&options);
    struct lm_batch batch = new_batch(1, 70);
    struct lm_place_in_data place = {0};
    next(samples, &place, &batch);
    assert_int_equal(place.epoch, 1); /* the other one is left out */
    struct lm_ids ids = {0};
    assert_ok(lm_tokenizer_encode(tokenizer, wanted, sizeof wanted - 1, LM_ENCODE_SPECIAL, &ids, NULL, &error), &error);
    assert_int_equal(ids.length, sizeof wanted - 3); /* a token a byte, but for <s>, which this tokenizer has */
    for (size_t i = 0; i < 70; i++) { /* the last position has nothing to predict */
        const int32_t id = i < ids.length ? ids.data[i] : lm_tokenizer_eos(tokenizer);
        if (i < 69)
            assert_int_equal(batch.ids[i], id);
        if (i > 0)
            assert_int_equal(batch.targets[i - 1], id);
        assert_int_equal(batch.segment_start[i], i < 69 ? 0 : 69);
    }
    assert_int_equal(batch.targets[69], -1);
    assert_int_equal(batch.trained, 69);
    lm_ids_free(&ids);
    lm_samples_close(samples);
    free_batch(&batch);
    lm_template_free(options.chat_template);
    lm_free((char *)source.path);
}

/* The first row of the reference data, as the reference job's own code wrote it. */
static void faithful_text_of_the_reference_row(void **state)
{
    (void)state;
    struct lm_conversations rows = {0};
    struct lm_bytes wanted = {0};
    struct lm_rendered rendered = {0};
    const struct lm_template *guanaco;
    loam_error error;
    assert_ok(lm_conversations_read(test_shared("text/chat/guanaco_first10.jsonl"), &rows, &error), &error);
    assert_ok(lm_file_read(test_shared("text/chat/guanaco_row1_llama2_format.txt"), 0, &wanted, &error), &error);
    assert_ok(lm_template_find("guanaco", NULL, &guanaco, &error), &error);
    assert_ok(lm_template_render(guanaco, tokenizer, &rows.items[1], false, &rendered, &error), &error);
    assert_true(wanted.length >= rendered.text.length);
    assert_memory_equal(rendered.text.data, wanted.data, rendered.text.length);
    for (size_t i = rendered.text.length; i < wanted.length; i++)
        assert_int_equal(wanted.data[i], '\n');
    lm_template_free(guanaco);
    lm_rendered_free(&rendered);
    lm_bytes_free(&wanted);
    lm_conversations_free(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_becomes_windows_with_the_end_between_files),
        cmocka_unit_test(ids_stand_as_they_are),
        cmocka_unit_test(chat_trains_on_answers_only),
        cmocka_unit_test(what_is_lost_is_said),
        cmocka_unit_test(packed_rows_hold_every_sample_once),
        cmocka_unit_test(first_fit_is_what_it_says),
        cmocka_unit_test(order_depends_on_seed_and_epoch_and_not_on_the_batch),
        cmocka_unit_test(a_place_is_all_a_resumed_run_needs),
        cmocka_unit_test(weights_draw_rows_in_proportion),
        cmocka_unit_test(the_threads_do_not_matter),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(a_template_fault_names_the_conversation),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(the_cache_gives_the_same_and_knows_what_matters),
        cmocka_unit_test(a_broken_cache_is_made_anew),
        cmocka_unit_test(large_files_are_read_in_parts),
        cmocka_unit_test(faithful_samples),
        cmocka_unit_test(faithful_text_of_the_reference_row),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
