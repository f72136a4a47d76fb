/* What another set of settings would change in a run that has begun. */
#include "train.h"
#include "sources.h"

#include <string.h>

/* They change where things lie or how fast they go, and not what is learned. */
static bool is_harmless(const char *key)
{
    static const char *const names[] = {"threads", "cache", "keep", "save_every", "sample_prompt", "weights_only",
                                        "recompute", "offload", NULL};
    for (const char *const *name = names; *name; name++)
        if (strcmp(key, *name) == 0)
            return true;
    return false;
}

static int value_text(const struct lm_run_settings *settings, const char *key, struct lm_bytes *text, loam_error *error)
{
    text->length = 0;
    int code = lm_bytes_reserve(text, 1, error);
    if (code == LOAM_OK)
        text->data[0] = 0;
    return code == LOAM_OK ? lm_run_settings_text(settings, key, text, error) : code;
}

/* Names as run.yaml has them; what is not there stays as it is, and the run says so. */
static int resolve_all(struct lm_run_sources *sources, loam_error *error)
{
    for (size_t i = 0; i < sources->count; i++) {
        const int code = lm_path_resolve(&sources->items[i].path, error);
        if (code == LOAM_ENOMEM)
            return code;
    }
    return LOAM_OK;
}

static int resolve(struct lm_run_settings *settings, loam_error *error)
{
    int code = settings->model ? lm_path_resolve(&settings->model, error) : LOAM_OK;
    if (code != LOAM_ENOMEM)
        code = resolve_all(&settings->data, error);
    return code == LOAM_OK ? resolve_all(&settings->eval_data, error) : code;
}

/* The number of steps follows from `epochs` where that is set: it is asked for anew only where that is another. */
static void settle_steps(const struct lm_run_settings *kept, struct lm_run_settings *given)
{
    const bool same_epochs = given->epochs == kept->epochs || given->epochs < 0;
    if (same_epochs && (given->steps < 0 || (kept->epochs > 0 && given->steps > kept->steps)))
        given->steps = kept->steps;
    if (!same_epochs && given->steps == kept->steps)
        given->steps = LM_SETTING_AUTO;
    if (given->warmup_percent >= 0 && given->steps == kept->steps) {
        given->warmup = lm_run_warmup_steps(given->warmup_percent, given->steps);
        given->warmup_percent = LM_SETTING_AUTO;
    }
}

int lm_run_settings_compare(const struct lm_run_settings *kept, struct lm_run_settings *given, struct lm_bytes *serious,
                            struct lm_bytes *harmless, loam_error *error)
{
    struct lm_bytes before = {0}, after = {0};
    settle_steps(kept, given);
    int code = resolve(given, error);
    for (const char *const *key = lm_run_settings_keys(); code == LOAM_OK && *key; key++) {
        struct lm_bytes *list = is_harmless(*key) ? harmless : serious;
        code = value_text(kept, *key, &before, error);
        if (code == LOAM_OK)
            code = value_text(given, *key, &after, error);
        const bool automatic = code == LOAM_OK && strcmp(after.data, "auto") == 0;
        if (automatic && strcmp(*key, "steps") != 0) /* what the run has settled on */
            code = strcmp(before.data, "auto") == 0 ? LOAM_OK : lm_run_settings_set(given, *key, before.data, error);
        else if (code == LOAM_OK && strcmp(before.data, after.data) != 0)
            code = lm_bytes_format(list, error, "%s%s was '%s' and is '%s'", list->length ? "; " : "", *key, before.data,
                                   after.data);
    }
    lm_bytes_free(&before);
    lm_bytes_free(&after);
    return code;
}
