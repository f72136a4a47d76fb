/* Lists of data files with weights. */
#include "sources.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The length of the path in "FILE:WEIGHT", with the weight; the whole text where there is no weight. A file that has
 * such a name is a file. */
static size_t split(const char *value, double *weight)
{
    const char *colon = strrchr(value, ':');
    *weight = 1;
    if (colon && colon != value && lm_parse_double(colon + 1, weight, NULL) == LOAM_OK && !lm_file_exists(value))
        return (size_t)(colon - value);
    *weight = 1;
    return strlen(value);
}

static int append(struct lm_run_sources *sources, const char *text, size_t length, double weight, loam_error *error)
{
    char *path = lm_copy_string(text, length, error);
    if (!path)
        return LOAM_ENOMEM;
    struct lm_run_source *items = lm_resize(sources->items, sources->count + 1, sizeof *items, error);
    if (!items) {
        lm_free(path);
        return LOAM_ENOMEM;
    }
    items[sources->count] = (struct lm_run_source){.path = path, .weight = weight};
    sources->items = items;
    sources->count++;
    return LOAM_OK;
}

int lm_run_sources_add(struct lm_run_sources *sources, const char *key, const char *value, loam_error *error)
{
    double weight;
    const size_t length = split(value, &weight);
    if (length == 0)
        return lm_fail(error, LOAM_EUSAGE, "setting '%s': found an empty name, wanted a file", key);
    if (!(weight > 0) || isinf(weight))
        return lm_fail(error, LOAM_EUSAGE, "setting '%s': '%s' has the weight %g, wanted one above 0", key, value,
                       weight);
    if (lm_utf8_check(value, length) != length)
        return lm_fail(error, LOAM_EUSAGE, "setting '%s': the file name '%s' is not UTF-8; rename the file", key,
                       value);
    return append(sources, value, length, weight, error);
}

int lm_run_sources_copy(const struct lm_run_sources *from, struct lm_run_sources *to, loam_error *error)
{
    for (size_t i = 0; i < from->count; i++) {
        const struct lm_run_source *source = &from->items[i];
        int code = append(to, source->path, strlen(source->path), source->weight, error);
        if (code != LOAM_OK)
            return code;
    }
    return LOAM_OK;
}

void lm_run_sources_clear(struct lm_run_sources *sources)
{
    for (size_t i = 0; i < sources->count; i++)
        lm_free(sources->items[i].path);
    lm_free(sources->items);
    *sources = (struct lm_run_sources){0};
}

int lm_run_source_text(const struct lm_run_source *source, struct lm_bytes *text, loam_error *error)
{
    double unused;
    const bool ambiguous = split(source->path, &unused) != strlen(source->path);
    if (source->weight == 1 && !ambiguous)
        return lm_bytes_format(text, error, "%s", source->path);
    char weight[32];
    lm_format_double(source->weight, weight);
    return lm_bytes_format(text, error, "%s:%s", source->path, weight);
}

int lm_run_sources_text(const struct lm_run_sources *sources, struct lm_bytes *text, loam_error *error)
{
    for (size_t i = 0; i < sources->count; i++) {
        int code = i ? lm_bytes_append(text, ", ", 2, error) : LOAM_OK;
        if (code == LOAM_OK)
            code = lm_run_source_text(&sources->items[i], text, error);
        if (code != LOAM_OK)
            return code;
    }
    return sources->count ? LOAM_OK : lm_bytes_append(text, "", 0, error);
}

int lm_path_resolve(char **path, loam_error *error)
{
    char *absolute = realpath(*path, NULL); /* the C library's own memory: copied below */
    if (!absolute)
        return lm_fail_errno(error, errno, "%s", *path);
    char *copy = lm_copy_string(absolute, strlen(absolute), error);
    free(absolute);
    if (!copy)
        return LOAM_ENOMEM;
    lm_free(*path);
    *path = copy;
    return LOAM_OK;
}

int lm_run_sources_resolve(struct lm_run_sources *sources, loam_error *error)
{
    for (size_t i = 0; i < sources->count; i++) {
        int code = lm_path_resolve(&sources->items[i].path, error);
        if (code != LOAM_OK)
            return code;
    }
    return LOAM_OK;
}
