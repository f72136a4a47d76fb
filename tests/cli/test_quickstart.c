/* The quickstart in small: two stages that learn, in seconds. What the whole recipe reaches is e2e/quickstart.sh's. */
#include "support/support.h"

#include "cli/quickstart.h"

#include <math.h>

enum { PRETRAINING = 300, FINETUNING = 400 };

static const struct quickstart_recipe small = {
    .vocabulary = 320, .width = 64, .layers = 2, .heads = 2, .kv_heads = 2, .feed_forward = 128, .context = 512,
    .corpus_bytes = 200000, .conversations = 400,
    .pretrain = {.steps = PRETRAINING, .batch = 2, .accumulate = 1, .seq = 128, .warmup = 5, .lr = 5e-3, .min_lr = 2e-3,
                 .beta2 = 0.98, .weight_decay = 0.05},
    .finetune = {.steps = FINETUNING, .batch = 1, .accumulate = 1, .seq = 256, .warmup = 5, .lr = 5e-3, .min_lr = 1e-4,
                 .beta2 = 0.98, .weight_decay = 0.05},
};

struct heard {
    char notes[16][256];
    int note_count, questions;
    int64_t trained_steps, stop_at;    /* stop_at: cancelled once so many steps of a stage were seen; 0: never */
    char stage[64];
};

static void hear_note(void *user, const char *line)
{
    struct heard *heard = user;
    if (heard->note_count < 16)
        snprintf(heard->notes[heard->note_count++], sizeof heard->notes[0], "%s", line);
}

static void hear_progress(void *user, const char *stage, int64_t done, int64_t total, const char *detail)
{
    struct heard *heard = user;
    (void)total;
    (void)detail;
    if (!strcmp(stage, "questions"))
        heard->questions++;
    if (!strcmp(stage, "pretraining") || !strcmp(stage, "fine-tuning")) {
        snprintf(heard->stage, sizeof heard->stage, "%s", stage);
        heard->trained_steps = done;
    }
}

static int wants_stop(void *user)
{
    const struct heard *heard = user;
    return heard->stop_at && heard->trained_steps >= heard->stop_at;
}

static bool was_told(const struct heard *heard, const char *begin)
{
    for (int i = 0; i < heard->note_count; i++)
        if (!strncmp(heard->notes[i], begin, strlen(begin)))
            return true;
    return false;
}

/* Mean loss of the log's steps first..last. */
static double mean_loss(const char *directory, int64_t first, int64_t last)
{
    struct lm_bytes text = {0};
    loam_error error;
    double sum = 0;
    int64_t count = 0;
    assert_ok(lm_file_read(test_path(directory, "log.jsonl"), 0, &text, &error), &error);
    for (size_t at = 0, length; at < text.length; at += length + 1) {
        struct lm_document *line;
        double loss;
        int64_t step;
        length = strcspn(text.data + at, "\n");
        assert_ok(lm_json_parse(text.data + at, length, "log.jsonl", &line, &error), &error);
        const struct lm_value *root = lm_document_root(line);
        assert_ok(lm_value_int(line, lm_value_find(root, "step"), 1, 1000000, &step, &error), &error);
        assert_ok(lm_value_double(line, lm_value_find(root, "loss"), &loss, &error), &error);
        if (step >= first && step <= last) {
            sum += loss;
            count++;
        }
        lm_document_free(line);
    }
    lm_bytes_free(&text);
    assert_int_equal(count, last - first + 1);
    return sum / (double)count;
}

static int grow(const char *directory, uint64_t seed, struct heard *heard, struct quickstart_result *result, loam_error *error)
{
    const loam_observer observer = {.user = heard, .progress = hear_progress, .note = hear_note, .cancelled = wants_stop};
    const struct quickstart_options options = {.directory = directory, .seed = seed, .threads = 2, .recipe = &small,
                                               .questions = 2, .observer = &observer};
    return quickstart_grow(&options, result, error);
}

/* A uniform guess costs ln 320 = 5.8 nats a token; the letters' own frequencies bring it to about 3.5, what stands in a template
 * below 2. Numbers that a model which learns nothing, or learns backwards, cannot reach. */
static void both_stages_learn(void **state)
{
    (void)state;
    const char *directory = test_path(test_folder(), "grown");
    struct heard heard = {.note_count = 0};
    struct quickstart_result result;
    loam_error error;
    assert_ok(grow(directory, 1, &heard, &result, &error), &error);
    assert_true(was_told(&heard, "material ") && was_told(&heard, "tokenizer ") && was_told(&heard, "pretraining ") &&
                was_told(&heard, "fine-tuning "));
    const char *stage = test_path(directory, "steps/pretrained");
    double first = mean_loss(stage, 1, 2), pretrained = mean_loss(stage, PRETRAINING - 9, PRETRAINING);
    double finetuned = mean_loss(directory, FINETUNING - 9, FINETUNING);
    print_message("losses: %.2f, pretrained %.2f, fine-tuned %.2f\n", first, pretrained, finetuned);
    assert_true(fabs(first - log(320)) < 0.5);
    assert_true(pretrained < 3);
    assert_true(finetuned < 2);
    assert_int_equal(heard.questions, 6);
    for (int skill = 0; skill < LM_SKILLS; skill++)
        assert_int_equal(result.asked[skill], 2);
    assert_string_equal(result.questions.items[0].prompt, "How many r's are in strawberry?");
    assert_non_null(result.answers[0].text);
    assert_null(result.answers[2].text);
    assert_true(result.parameters > 50000 && result.training_seconds > 0);
    double seconds = result.training_seconds;
    quickstart_result_free(&result);

    struct heard again = {.note_count = 0};
    assert_ok(grow(directory, 1, &again, &result, &error), &error);
    assert_int_equal(again.note_count, 0);
    assert_int_equal(again.questions, 6);
    assert_true(result.training_seconds == seconds);
    quickstart_result_free(&result);
    assert_int_equal(grow(directory, 2, &again, &result, &error), LOAM_EUSAGE);
    assert_non_null(strstr(error.message, "seed 1"));
}

static void read_weights(const char *directory, struct lm_bytes *bytes)
{
    loam_error error;
    assert_ok(lm_file_read(test_path(directory, "model.safetensors"), 0, bytes, &error), &error);
}

/* Stopped in each stage and gone on, the model is the same in every bit. */
static void stopped_and_gone_on_it_is_the_same(void **state)
{
    (void)state;
    const char *undisturbed = test_path(test_folder(), "undisturbed"), *directory = test_path(test_folder(), "stopped");
    struct lm_bytes weights = {0}, expected = {0};
    struct quickstart_result result;
    loam_error error;
    static const int64_t stops[] = {PRETRAINING / 2, PRETRAINING + 10};    /* the second lies behind pretraining's end */
    static const char *const stages[] = {"pretraining", "fine-tuning"};
    struct heard undisturbed_heard = {.note_count = 0};
    assert_ok(grow(undisturbed, 1, &undisturbed_heard, &result, &error), &error);
    quickstart_result_free(&result);
    for (int i = 0; i < 2; i++) {
        struct heard heard = {.stop_at = stops[i]};
        assert_int_equal(grow(directory, 1, &heard, &result, &error), LOAM_ECANCELLED);
        assert_non_null(strstr(error.message, stages[i]));
        assert_non_null(strstr(error.message, "goes on"));
        assert_string_equal(heard.stage, stages[i]);
    }
    struct heard heard = {.note_count = 0};
    assert_ok(grow(directory, 1, &heard, &result, &error), &error);
    quickstart_result_free(&result);
    read_weights(directory, &weights);
    read_weights(undisturbed, &expected);
    assert_int_equal(weights.length, expected.length);
    assert_memory_equal(weights.data, expected.data, weights.length);
    lm_bytes_free(&weights);
    lm_bytes_free(&expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_stages_learn),
        cmocka_unit_test(stopped_and_gone_on_it_is_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
