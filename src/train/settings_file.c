/* Settings in YAML: recipes and run.yaml. */
#include "train.h"
#include "sources.h"

#include <string.h>

/* A scalar as the text that lm_run_settings_set takes; NULL for a list or mapping. */
static const char *scalar(const struct lm_value *value)
{
    switch (value->kind) {
    case LM_NULL:
        return "";
    case LM_TRUTH:
        return value->truth ? "true" : "false";
    case LM_NUMBER:
        return value->text;
    case LM_STRING:
        return strlen(value->text) == value->length ? value->text : NULL;
    default:
        return NULL;
    }
}

static int set_scalar(struct lm_run_settings *settings, const struct lm_document *document, const char *key,
                      const struct lm_value *value, loam_error *error)
{
    const char *text = scalar(value);
    if (!text)
        return lm_value_fail(document, value, error,
                             "found a list, a mapping or a text with a 0 byte, wanted one value");
    loam_error inner = {0};
    int code = lm_run_settings_set(settings, key, text, &inner);
    if (code == LOAM_OK)
        return LOAM_OK;
    lm_value_fail(document, value, error, "%s", inner.message);
    if (error)
        error->code = code;
    return code;
}

static int set_value(struct lm_run_settings *settings, const struct lm_document *document, const char *key,
                     const struct lm_value *value, loam_error *error)
{
    const bool files = strcmp(key, "data") == 0 || strcmp(key, "eval_data") == 0 || strcmp(key, "eval-data") == 0;
    if (!files)
        return set_scalar(settings, document, key, value, error);
    lm_run_settings_clear(settings, key);
    if (value->kind != LM_ARRAY)
        return value->kind == LM_NULL ? LOAM_OK : set_scalar(settings, document, key, value, error);
    for (size_t i = 0; i < value->length; i++) {
        int code = set_scalar(settings, document, key, &value->items[i], error);
        if (code != LOAM_OK)
            return code;
    }
    return LOAM_OK;
}

int lm_run_settings_read(struct lm_run_settings *settings, const char *path, loam_error *error)
{
    struct lm_document *document;
    int code = lm_yaml_read(path, &document, error);
    if (code != LOAM_OK)
        return code;
    const struct lm_value *root = lm_document_root(document);
    if (root->kind != LM_OBJECT)
        code = lm_value_fail(document, root, error, "found no settings, wanted lines like 'steps: 100'");
    for (size_t i = 0; code == LOAM_OK && i < root->length; i++)
        code = set_value(settings, document, root->keys[i].text, &root->items[i], error);
    lm_document_free(document);
    return code;
}

/* A JSON string is a YAML string. */
static int quoted(struct lm_bytes *yaml, const char *text, loam_error *error)
{
    struct lm_json_writer writer = lm_json_writer(yaml, 0);
    lm_json_text(&writer, text);
    return lm_json_writer_finish(&writer, error);
}

static int write_sources(struct lm_bytes *yaml, const struct lm_run_sources *sources, loam_error *error)
{
    struct lm_bytes text = {0};
    int code = lm_bytes_format(yaml, error, sources->count ? "\n" : " []\n");
    for (size_t i = 0; code == LOAM_OK && i < sources->count; i++) {
        text.length = 0;
        code = lm_run_source_text(&sources->items[i], &text, error);
        if (code == LOAM_OK)
            code = lm_bytes_format(yaml, error, "  - ");
        if (code == LOAM_OK)
            code = quoted(yaml, text.data, error);
        if (code == LOAM_OK)
            code = lm_bytes_format(yaml, error, "\n");
    }
    lm_bytes_free(&text);
    return code;
}

static int write_key(const struct lm_run_settings *settings, const char *key, struct lm_bytes *yaml, loam_error *error)
{
    int code = lm_bytes_format(yaml, error, "%s:", key);
    if (code != LOAM_OK)
        return code;
    if (strcmp(key, "data") == 0)
        return write_sources(yaml, &settings->data, error);
    if (strcmp(key, "eval_data") == 0)
        return write_sources(yaml, &settings->eval_data, error);
    struct lm_bytes text = {0};
    code = lm_run_settings_text(settings, key, &text, error);
    const bool words = strcmp(key, "model") == 0 || strcmp(key, "template") == 0 || strcmp(key, "sample_prompt") == 0 ||
                       strcmp(key, "cache") == 0;
    if (code == LOAM_OK)
        code = lm_bytes_format(yaml, error, " ");
    if (code == LOAM_OK)
        code = words ? quoted(yaml, text.data ? text.data : "", error)
                     : lm_bytes_append(yaml, text.data, text.length, error);
    if (code == LOAM_OK)
        code = lm_bytes_format(yaml, error, "\n");
    lm_bytes_free(&text);
    return code;
}

int lm_run_settings_write(const struct lm_run_settings *settings, struct lm_bytes *yaml, loam_error *error)
{
    for (const char *const *key = lm_run_settings_keys(); *key; key++) {
        int code = write_key(settings, *key, yaml, error);
        if (code != LOAM_OK)
            return code;
    }
    return LOAM_OK;
}

int lm_run_settings_open(struct lm_run_settings *settings, const char *path, loam_error *error)
{
    struct lm_document *document;
    lm_run_settings_init(settings, LM_RUN_TRAIN);
    int code = lm_yaml_read(path, &document, error);
    if (code != LOAM_OK)
        return code;
    const struct lm_value *command = lm_value_find(lm_document_root(document), "command");
    if (lm_value_is(command, "finetune"))
        lm_run_settings_init(settings, LM_RUN_FINETUNE);
    lm_document_free(document);
    return lm_run_settings_read(settings, path, error);
}

int lm_run_settings_copy(const struct lm_run_settings *from, struct lm_run_settings *to, loam_error *error)
{
    struct lm_bytes text = {0};
    lm_run_settings_init(to, from->command);
    int code = LOAM_OK;
    for (const char *const *key = lm_run_settings_keys(); code == LOAM_OK && *key; key++) {
        if (strcmp(*key, "data") == 0 || strcmp(*key, "eval_data") == 0)
            continue;
        text.length = 0;
        code = lm_run_settings_text(from, *key, &text, error);
        if (code == LOAM_OK)
            code = lm_run_settings_set(to, *key, text.length ? text.data : "", error);
    }
    lm_bytes_free(&text);
    if (code == LOAM_OK)
        code = lm_run_sources_copy(&from->data, &to->data, error);
    to->ranks = from->ranks;
    to->zero = from->zero;
    to->given = from->given;
    return code == LOAM_OK ? lm_run_sources_copy(&from->eval_data, &to->eval_data, error) : code;
}
