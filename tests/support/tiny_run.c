#include "tiny_run.h"

#include <math.h>

/* every path given out lives until the test program ends */
static struct kept_path {
    struct kept_path *next;
    char text[];
} *paths;

static void free_paths(void)
{
    while (paths) {
        struct kept_path *first = paths;
        paths = first->next;
        free(first);
    }
}

const char *tiny_path(const char *folder, const char *name)
{
    const char *text = test_path(folder, name);
    struct kept_path *path = malloc(sizeof *path + strlen(text) + 1);
    assert_non_null(path);
    strcpy(path->text, text);
    if (!paths)
        atexit(free_paths);
    path->next = paths;
    paths = path;
    return path->text;
}

const char *tiny_model(uint64_t seed)
{
    const struct lm_config config = {
        .family = LM_LLAMA,
        .vocabulary = TINY_VOCABULARY,
        .width = 32,
        .layers = 2,
        .heads = 4,
        .kv_heads = 2,
        .head_size = 8,
        .feed_forward = 48,
        .context = TINY_CONTEXT,
        .norm_eps = 1e-5,
        .rope_theta = 10000,
        .initializer_range = 0.08,
        .bos = -1,
        .eos = -1,
        .pad = -1,
    };
    loam_error error;
    struct lm_device *device;
    struct lm_model *model;
    const char *folder = test_folder();
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error), &error);
    const struct lm_model_options options = {.load = true, .dtype = LM_F32};
    assert_ok(lm_model_create(&config, seed, device, &options, &model, &error), &error);
    assert_ok(lm_model_save(model, folder, LM_F32, 0, &error), &error);
    lm_model_close(model);
    lm_device_close(device);
    return folder;
}

void tiny_ids(const char *path, uint64_t seed, int lines, int longest)
{
    struct lm_random random = lm_random_seed(seed, 1);
    struct lm_bytes text = {0};
    loam_error error;
    for (int i = 0; i < lines; i++) {
        const int count = 2 + (int)lm_random_below(&random, (uint64_t)longest - 1);
        int id = (int)lm_random_below(&random, TINY_VOCABULARY);
        for (int j = 0; j < count; j++) {
            assert_ok(lm_bytes_format(&text, &error, "%d%c", id, j + 1 < count ? ' ' : '\n'), &error);
            /* mostly a rule, so that there is something to learn */
            id = lm_random_below(&random, 4) ? (id * 7 + 3) % TINY_VOCABULARY
                                             : (int)lm_random_below(&random, TINY_VOCABULARY);
        }
    }
    assert_ok(lm_file_replace(path, text.data, text.length, &error), &error);
    lm_bytes_free(&text);
}

void tiny_set(struct lm_run_settings *settings, const char *key, const char *value)
{
    loam_error error;
    assert_ok(lm_run_settings_set(settings, key, value, &error), &error);
}

void tiny_settings(struct lm_run_settings *settings, const char *model, const char *data)
{
    lm_run_settings_init(settings, LM_RUN_TRAIN);
    tiny_set(settings, "model", model);
    tiny_set(settings, "data", data);
    tiny_set(settings, "batch", "2");
    tiny_set(settings, "seq", "16");
    tiny_set(settings, "lr", "0.003");
    tiny_set(settings, "threads", "1");
    tiny_set(settings, "cache", "none");
}

struct lm_bytes tiny_read(const char *path)
{
    struct lm_bytes bytes = {0};
    loam_error error;
    assert_ok(lm_file_read(path, 0, &bytes, &error), &error);
    return bytes;
}

bool tiny_same_file(const char *a, const char *b)
{
    struct lm_bytes x = tiny_read(a), y = tiny_read(b);
    const bool same = x.length == y.length && (x.length == 0 || memcmp(x.data, y.data, x.length) == 0);
    lm_bytes_free(&x);
    lm_bytes_free(&y);
    return same;
}

double *tiny_log(const char *run, const char *key, size_t *count)
{
    struct lm_bytes text = tiny_read(test_path(run, "log.jsonl"));
    double *values = NULL;
    loam_error error;
    *count = 0;
    for (char *line = text.data, *end; line && (end = strchr(line, '\n')); line = end + 1) {
        struct lm_document *document;
        double value;
        assert_ok(lm_json_parse(line, (size_t)(end - line), "log.jsonl", &document, &error), &error);
        const struct lm_value *found = lm_value_find(lm_document_root(document), key);
        if (found) {
            assert_ok(lm_value_double(document, found, &value, &error), &error);
            values = lm_resize(values, *count + 1, sizeof *values, &error);
            assert_non_null(values);
            values[(*count)++] = value;
        }
        lm_document_free(document);
    }
    lm_bytes_free(&text);
    return values;
}
