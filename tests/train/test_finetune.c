/* Fine-tuning on conversations: template and tokens, what is stored with the model, packing, resuming. */
#include "support/tiny_run.h"

#include <math.h>

static loam_error error;
static struct lm_run_result result;
static const char *base, *chat;

enum { BASE_VOCABULARY = 270 };

static void make_tokenizer(const char *folder, const char *text)
{
    static const char *const specials[] = {"<|endoftext|>"};
    const struct lm_tokenizer_training training = {.text = text,
                                                   .text_length = strlen(text),
                                                   .vocabulary_size = BASE_VOCABULARY,
                                                   .specials = specials,
                                                   .special_count = 1,
                                                   .threads = 1};
    struct lm_tokenizer *tokenizer;
    assert_ok(lm_tokenizer_train(&training, &tokenizer, &error), &error);
    const int32_t end = lm_tokenizer_find(tokenizer, specials[0], strlen(specials[0]));
    assert_ok(lm_tokenizer_set_bos_eos_pad(tokenizer, -1, end, -1, &error), &error);
    assert_ok(lm_tokenizer_save(tokenizer, folder, &error), &error);
    lm_tokenizer_free(tokenizer);
}

static void make_model(const char *folder, int64_t vocabulary)
{
    const struct lm_config config = {
        .family = LM_QWEN2,
        .vocabulary = vocabulary,
        .width = 32,
        .layers = 2,
        .heads = 4,
        .kv_heads = 2,
        .head_size = 8,
        .feed_forward = 48,
        .context = 128,
        .tied = true,
        .qkv_bias = true,
        .norm_eps = 1e-5,
        .rope_theta = 10000,
        .initializer_range = 0.08,
        .bos = -1,
        .eos = -1,
        .pad = -1,
    };
    struct lm_device *device;
    struct lm_model *model;
    const struct lm_model_options options = {.load = true, .dtype = LM_F32};
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    assert_ok(lm_model_create(&config, 4, device, &options, &model, &error), &error);
    assert_ok(lm_model_save(model, folder, LM_F32, 0, &error), &error);
    lm_model_close(model);
    lm_device_close(device);
}

static int make_base(void **state)
{
    (void)state;
    struct lm_bytes text = {0};
    base = test_folder();
    chat = tiny_path(test_folder(), "chat.jsonl");
    make_tokenizer(base, "the cat sat on the mat; the dog sat on the log; the end of the tale");
    make_model(base, BASE_VOCABULARY);
    for (int i = 0; i < 12; i++)
        assert_ok(lm_bytes_format(&text, &error,
                                  "{\"messages\":[{\"role\":\"user\",\"content\":\"%.*s?\"},"
                                  "{\"role\":\"assistant\",\"content\":\"the %s\"}]}\n",
                                  1 + i * 2 % 11, "where is the cat", i % 3 ? "mat" : "log, and the dog"),
                  &error);
    assert_ok(lm_file_replace(chat, text.data, text.length, &error), &error);
    lm_bytes_free(&text);
    return 0;
}

static void settings_of(struct lm_run_settings *settings)
{
    lm_run_settings_init(settings, LM_RUN_FINETUNE);
    tiny_set(settings, "model", base);
    tiny_set(settings, "data", chat);
    tiny_set(settings, "template", "chatml");
    tiny_set(settings, "add-tokens", "true");
    tiny_set(settings, "batch", "2");
    tiny_set(settings, "seq", "128");
    tiny_set(settings, "lr", "0.003");
    tiny_set(settings, "threads", "1");
}

static const char *new_run(void)
{
    return tiny_path(test_folder(), "run");
}

static int run(struct lm_run_settings *settings, const char *directory)
{
    int code = lm_run(settings, directory, false, NULL, &result, &error);
    lm_run_settings_free(settings);
    return code;
}

static void a_template_that_the_vocabulary_lacks(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    const char *directory = new_run();
    settings_of(&settings);
    tiny_set(&settings, "add-tokens", "false");
    assert_fails(run(&settings, directory), &error, LOAM_EMISMATCH, "<|im_start|>", "--add-tokens");
    assert_false(lm_file_exists(directory)); /* a refused run leaves nothing behind */
}

static void no_template_at_all(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    settings_of(&settings);
    tiny_set(&settings, "template", "");
    assert_fails(run(&settings, new_run()), &error, LOAM_ENOTFOUND, "--template");
}

/* With a learning rate of 0 the grown rows can be seen: each is the mean of the old ones. */
static void added_tokens_get_the_mean_row(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    const char *directory = new_run();
    settings_of(&settings);
    tiny_set(&settings, "lr", "0");
    tiny_set(&settings, "min_lr", "0");
    tiny_set(&settings, "steps", "1");
    assert_ok(run(&settings, directory), &error);
    struct lm_tensors *before, *after;
    assert_ok(lm_tensors_open(base, &before, &error), &error);
    assert_ok(lm_tensors_open(directory, &after, &error), &error);
    const struct lm_tensor *old = lm_tensors_find(before, "model.embed_tokens.weight");
    const struct lm_tensor *new = lm_tensors_find(after, "model.embed_tokens.weight");
    assert_int_equal(old->shape[0], BASE_VOCABULARY);
    assert_int_equal(new->shape[0], BASE_VOCABULARY + 2);
    assert_memory_equal(old->data, new->data, (size_t)old->bytes);
    const float *rows = old->data, *added = (const float *)new->data + old->count;
    for (int c = 0; c < 32; c++) {
        double mean = 0;
        for (int r = 0; r < BASE_VOCABULARY; r++)
            mean += rows[r * 32 + c] / (double)BASE_VOCABULARY;
        /* fp32 sums of 270 numbers below 0.4: 270 roundings of 6e-8 * 0.4 at the very most */
        assert_true(fabs(added[c] - mean) < 1e-5 && added[c] == added[32 + c]);
    }
    lm_tensors_close(before);
    lm_tensors_close(after);
}

static void the_template_is_stored_with_the_model(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    const char *directory = new_run();
    settings_of(&settings);
    tiny_set(&settings, "epochs", "60");
    assert_ok(run(&settings, directory), &error);
    assert_true(result.loss < 0.3); /* a few sentences again and again */
    const struct lm_template *stored;
    struct lm_tokenizer *tokenizer;
    assert_ok(lm_template_find(NULL, directory, &stored, &error), &error);
    assert_string_equal(lm_template_name(stored), "chatml");
    assert_ok(lm_tokenizer_load(directory, &tokenizer, &error), &error);
    assert_ok(lm_template_fit(stored, tokenizer, false, NULL, &error), &error);
    assert_int_equal(lm_tokenizer_size(tokenizer), BASE_VOCABULARY + 2);
    const int32_t end = lm_template_end_of_turn(stored, tokenizer);
    struct lm_document *document;
    int64_t written;
    assert_ok(lm_json_read(test_path(directory, "generation_config.json"), &document, &error), &error);
    assert_ok(
        lm_value_int(document, lm_value_find(lm_document_root(document), "eos_token_id"), 0, 1000, &written, &error),
        &error);
    assert_int_equal(written, end);
    assert_true(end >= BASE_VOCABULARY);
    lm_document_free(document);
    lm_tokenizer_free(tokenizer);

    /* and it can be fine-tuned again without naming the template */
    settings_of(&settings);
    tiny_set(&settings, "model", directory);
    tiny_set(&settings, "template", "");
    tiny_set(&settings, "add-tokens", "false");
    tiny_set(&settings, "steps", "2");
    assert_ok(run(&settings, new_run()), &error);
}

/* All samples in one step: how they stand in rows must not matter. Other orders of sums: see test_run.c. */
static void packed_or_not(void **state)
{
    (void)state;
    double loss[2], norm[2];
    for (int i = 0; i < 2; i++) {
        struct lm_run_settings settings;
        const char *directory = new_run();
        settings_of(&settings);
        tiny_set(&settings, "accumulate", "12");
        tiny_set(&settings, "no-pack", i ? "true" : "false");
        tiny_set(&settings, "steps", "1");
        assert_ok(run(&settings, directory), &error);
        size_t count;
        double *values = tiny_log(directory, "loss", &count), *norms = tiny_log(directory, "grad_norm", &count);
        loss[i] = values[0];
        norm[i] = norms[0];
        lm_free(values);
        lm_free(norms);
    }
    if (fabs(loss[0] - loss[1]) > 1e-5 || fabs(norm[0] - norm[1]) > 1e-5 * norm[0])
        fail_msg("packed: loss %.9g, norm %.9g; not: %.9g, %.9g", loss[0], norm[0], loss[1], norm[1]);
}

static void only_the_assistant_or_all(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    double loss[2];
    for (int i = 0; i < 2; i++) {
        settings_of(&settings);
        tiny_set(&settings, "train-on-all", i ? "true" : "false");
        tiny_set(&settings, "accumulate", "12");
        tiny_set(&settings, "steps", "1");
        assert_ok(run(&settings, new_run()), &error);
        loss[i] = result.loss;
    }
    assert_true(fabs(loss[0] - loss[1]) > 1e-3);
}

/* --- Stopping and going on --- */

struct watcher {
    int64_t stop_at, step;
    int samples;
};

static void watch(void *user, const struct lm_step_report *report)
{
    ((struct watcher *)user)->step = report->step;
}

static int stop_wanted(void *user)
{
    const struct watcher *watcher = user;
    return watcher->stop_at > 0 && watcher->step == watcher->stop_at;
}

static void take_sample(void *user, struct lm_model *model, const struct lm_tokenizer *tokenizer,
                        const struct lm_template *chat_template, const char *prompt, int64_t step)
{
    struct watcher *watcher = user;
    struct lm_cache *cache;
    struct lm_ids ids = {0};
    float *logits;
    assert_string_equal(prompt, "the cat");
    assert_int_equal(step, watcher->step);
    assert_string_equal(lm_template_name(chat_template), "chatml");
    assert_ok(lm_tokenizer_encode(tokenizer, prompt, strlen(prompt), 0, &ids, NULL, &error), &error);
    assert_ok(lm_cache_create(model, 16, LM_F32, &cache, &error), &error);
    assert_ok(lm_model_extend(model, cache, ids.data, (int64_t)ids.length, &logits, &error), &error);
    assert_true(isfinite(logits[0]));
    lm_cache_free(cache);
    lm_ids_free(&ids);
    watcher->samples++;
}

static int run_watched(const char *directory, struct watcher *watcher, bool resume)
{
    struct lm_run_settings settings;
    settings_of(&settings);
    tiny_set(&settings, "eval-data", chat);
    tiny_set(&settings, "sample-prompt", "the cat");
    tiny_set(&settings, "eval-every", "3");
    tiny_set(&settings, "steps", "10");
    const loam_observer observer = {.user = watcher, .cancelled = stop_wanted};
    const struct lm_run_hooks hooks = {.observer = &observer, .user = watcher, .step = watch, .sample = take_sample};
    int code = lm_run(&settings, directory, resume, &hooks, &result, &error);
    lm_run_settings_free(&settings);
    return code;
}

static void resumed_with_added_tokens(void **state)
{
    (void)state;
    struct watcher watcher = {0};
    const char *peace = new_run(), *directory = new_run();
    assert_ok(run_watched(peace, &watcher, false), &error);
    assert_int_equal(watcher.samples, 4); /* steps 3, 6, 9, 10 */
    watcher = (struct watcher){.stop_at = 5};
    assert_fails(run_watched(directory, &watcher, false), &error, LOAM_ECANCELLED, "loam finetune", "--resume");
    watcher = (struct watcher){0};
    assert_ok(run_watched(directory, &watcher, true), &error);
    static const char *const files[] = {"model.safetensors",
                                        "config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "generation_config.json",
                                        "checkpoints/step-10/training_state.safetensors",
                                        NULL};
    for (const char *const *file = files; *file; file++)
        if (!tiny_same_file(tiny_path(peace, *file), tiny_path(directory, *file)))
            fail_msg("%s is not the same", *file);
}

static void resumed_with_another_tokenizer(void **state)
{
    (void)state;
    struct watcher watcher = {.stop_at = 5};
    const char *directory = new_run();
    assert_fails(run_watched(directory, &watcher, false), &error, LOAM_ECANCELLED, "step 5");
    watcher = (struct watcher){0};
    struct lm_bytes before = tiny_read(test_path(base, "tokenizer.json"));
    make_tokenizer(base, "quite another text, of other words; quite another text");
    assert_fails(run_watched(directory, &watcher, true), &error, LOAM_EMISMATCH, base, "tokenizer");
    assert_ok(lm_file_replace(test_path(base, "tokenizer.json"), before.data, before.length, &error), &error);
    lm_bytes_free(&before);
    assert_ok(run_watched(directory, &watcher, true), &error);
}

static void a_tokenizer_too_large_for_the_model(void **state)
{
    (void)state;
    struct lm_run_settings settings;
    const char *folder = test_folder(), *text = tiny_path(test_folder(), "text.txt");
    make_tokenizer(folder, "the cat sat on the mat; the dog sat on the log; the end of the tale");
    make_model(folder, BASE_VOCABULARY - 5);
    assert_ok(lm_file_replace(text, "the cat sat", 11, &error), &error);
    lm_run_settings_init(&settings, LM_RUN_TRAIN);
    tiny_set(&settings, "model", folder);
    tiny_set(&settings, "data", text);
    tiny_set(&settings, "threads", "1");
    assert_fails(run(&settings, new_run()), &error, LOAM_EMISMATCH, folder, "tokenizer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_template_that_the_vocabulary_lacks),
        cmocka_unit_test(no_template_at_all),
        cmocka_unit_test(added_tokens_get_the_mean_row),
        cmocka_unit_test(the_template_is_stored_with_the_model),
        cmocka_unit_test(packed_or_not),
        cmocka_unit_test(only_the_assistant_or_all),
        cmocka_unit_test(resumed_with_added_tokens),
        cmocka_unit_test(resumed_with_another_tokenizer),
        cmocka_unit_test(a_tokenizer_too_large_for_the_model),
    };
    return cmocka_run_group_tests(tests, make_base, NULL);
}
