/* Curves out of the logs of runs. */
#include "look.h"

#include <string.h>

/* Lines are objects with a step; one that is cut off at the end (a run goes on, or was killed) is passed over. */
static int add_line(const char *line, size_t length, const char *path, const char *key, struct lm_series *series,
                    loam_error *error)
{
    struct lm_document *document;
    double step, value;
    if (lm_json_parse(line, length, path, &document, NULL) != LOAM_OK)
        return LOAM_OK;
    const struct lm_value *root = lm_document_root(document);
    const struct lm_value *found = lm_value_find(root, key);
    int code = LOAM_OK;
    if (found && lm_value_double(document, found, &value, NULL) == LOAM_OK &&
        lm_value_double(document, lm_value_find(root, "step"), &step, NULL) == LOAM_OK)
        code = lm_series_add(series, step, value, error);
    lm_document_free(document);
    return code;
}

static int read_log(const char *path, const char *key, struct lm_series *series, loam_error *error)
{
    struct lm_bytes text = {0};
    int code = lm_file_read(path, 0, &text, error);
    for (size_t at = 0; code == LOAM_OK && at < text.length;) {
        const char *end = memchr(text.data + at, '\n', text.length - at);
        const size_t length = end ? (size_t)(end - text.data) - at : text.length - at;
        code = add_line(text.data + at, length, path, key, series, error);
        at += length + 1;
    }
    lm_bytes_free(&text);
    return code;
}

int lm_look_losses(const char *run, const char *key, struct lm_series *series, loam_error *error)
{
    struct lm_bytes name = {0};
    *series = (struct lm_series){.points = strncmp(key, "eval", 4) == 0};
    char *path = lm_is_directory(run) ? lm_path_join(run, "log.jsonl", error) : lm_copy_string(run, strlen(run), error);
    int code = path ? lm_bytes_format(&name, error, "%s %s", run, key) : LOAM_ENOMEM;
    series->name = name.data;
    if (code == LOAM_OK)
        code = read_log(path, key, series, error);
    lm_free(path);
    if (code != LOAM_OK)
        lm_series_free(series);
    return code;
}
