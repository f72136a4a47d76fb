#include "settings.h"

#include <string.h>

/* The words of values, in the order of the numbers they stand for. */
static const char *const states[] = {"f32", "bf16", "8bit", NULL};
static const char *const truths[] = {"false", "true", NULL};
static const char *const kinds[] = {"f32", "bf16", NULL};
static const char *const clips[] = {"previous", "exact", NULL};
static const char *const parts[] = {"optimizer", "weights", "activations", NULL};

static int word_of(const char *const *values, const char *value, size_t length)
{
    for (int i = 0; values[i]; i++)
        if (strlen(values[i]) == length && strncmp(values[i], value, length) == 0)
            return i;
    return -1;
}

static int fail_value(const char *key, const char *value, const char *wanted, loam_error *error)
{
    return lm_fail(error, LOAM_EUSAGE, "setting '%s': found '%s', wanted %s", key, value, wanted);
}

static int set_offload(struct lm_run_settings *settings, const char *value, loam_error *error)
{
    unsigned offload = 0;
    if (strcmp(value, "none") != 0 && *value)
        for (const char *at = value; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
            const int part = word_of(parts, at, strcspn(at, ","));
            if (part < 0)
                return fail_value("offload", value, "none, or a list of optimizer, weights and activations with commas between",
                                  error);
            offload |= 1U << part;
        }
    settings->offload = offload;
    return LOAM_OK;
}

static int set_size(struct lm_run_settings *settings, const char *value, loam_error *error)
{
    int64_t bytes = 0;
    if (strcmp(value, "none") != 0 && (lm_parse_size(value, &bytes, NULL) != LOAM_OK || bytes < 1))
        return fail_value("memory", value, "a size such as 22GiB, or none", error);
    settings->memory = bytes;
    return LOAM_OK;
}

int lm_run_settings_set_memory(struct lm_run_settings *settings, const char *key, const char *value, loam_error *error)
{
    const size_t length = strlen(value);
    const bool automatic = strcmp(value, "auto") == 0;
    int word;
    if (strcmp(key, "offload") == 0)
        return set_offload(settings, value, error);
    if (strcmp(key, "memory") == 0)
        return set_size(settings, value, error);
    if (strcmp(key, "optimizer_state") == 0) {
        if ((word = word_of(states, value, length)) < 0)
            return fail_value(key, value, "f32, bf16 or 8bit", error);
        settings->optimizer_state = (enum lm_state_kind)word;
    } else if (strcmp(key, "masters") == 0) {
        if ((word = word_of(truths, value, length)) < 0 && !automatic)
            return fail_value(key, value, "auto, true or false", error);
        settings->masters = word;
    } else if (strcmp(key, "gradients") == 0) {
        if ((word = word_of(kinds, value, length)) < 0 && !automatic)
            return fail_value(key, value, "auto, f32 or bf16", error);
        settings->gradients = word;
    } else if (strcmp(key, "products") == 0) {
        if ((word = word_of(kinds, value, length)) < 0 && !automatic)
            return fail_value(key, value, "auto, f32 or bf16", error);
        settings->products = word;
    } else {
        if ((word = word_of(clips, value, length)) < 0)
            return fail_value(key, value, "previous or exact", error);
        settings->exact_clip = word == 1;
    }
    return LOAM_OK;
}

static int offload_text(unsigned offload, struct lm_bytes *text, loam_error *error)
{
    int code = offload ? LOAM_OK : lm_bytes_format(text, error, "none");
    const char *between = "";
    for (int i = 0; code == LOAM_OK && parts[i]; i++)
        if (offload >> i & 1) {
            code = lm_bytes_format(text, error, "%s%s", between, parts[i]);
            between = ",";
        }
    return code;
}

int lm_run_settings_memory_text(const struct lm_run_settings *settings, const char *key, struct lm_bytes *text,
                                loam_error *error)
{
    if (strcmp(key, "offload") == 0)
        return offload_text(settings->offload, text, error);
    if (strcmp(key, "memory") == 0)
        return settings->memory > 0 ? lm_bytes_format(text, error, "%lld", (long long)settings->memory)
                                    : lm_bytes_format(text, error, "none");
    const char *word = "auto";
    if (strcmp(key, "optimizer_state") == 0)
        word = states[settings->optimizer_state];
    else if (strcmp(key, "fused_clip") == 0)
        word = clips[settings->exact_clip];
    else if (strcmp(key, "masters") == 0)
        word = settings->masters < 0 ? word : truths[settings->masters];
    else if (strcmp(key, "products") == 0)
        word = settings->products < 0 ? word : kinds[settings->products];
    else
        word = settings->gradients < 0 ? word : kinds[settings->gradients];
    return lm_bytes_format(text, error, "%s", word);
}

int lm_run_settings_check_plan(const struct lm_run_settings *settings, loam_error *error)
{
    if (settings->masters > 0 && settings->dtype == LM_F32)
        return lm_fail(error, LOAM_EUSAGE, "setting 'masters': fp32 weights are their own masters; leave it out, or use dtype bf16");
    if (settings->fused_step && settings->accumulate > 1)
        return lm_fail(error, LOAM_EUSAGE,
                       "settings 'fused_step' and 'accumulate' exclude each other: a layer is stepped as soon as its gradients are "
                       "complete, so there is nothing to accumulate into; use accumulate 1 with a larger batch (recompute layer "
                       "keeps that small), or leave fused_step out");
    if (settings->exact_clip && !settings->fused_step)
        return lm_fail(error, LOAM_EUSAGE, "setting 'fused_clip': a step that is not fused clips exactly anyway; leave it out, or "
                       "set fused_step");
    if ((settings->offload & LM_OFFLOAD_WEIGHTS) && !settings->fused_step)
        return lm_fail(error, LOAM_EUSAGE, "setting 'offload': weights on disk need fused_step, since the gradients of all layers "
                       "would take more memory than the weights do");
    if ((settings->offload & LM_OFFLOAD_WEIGHTS) && settings->sample_prompt)
        return lm_fail(error, LOAM_EUSAGE, "settings 'offload' and 'sample_prompt' exclude each other where weights are on disk: "
                       "a sample would read them anew for each token; leave sample_prompt out");
    if ((settings->offload & LM_OFFLOAD_ACTIVATIONS) && settings->recompute != LM_RECOMPUTE_LAYER)
        return lm_fail(error, LOAM_EUSAGE, "setting 'offload': activations on disk are the inputs of recomputed layers; set "
                       "recompute to layer or a number of layers");
    if (settings->zero > 0 && settings->ranks < 2)
        return lm_fail(error, LOAM_EUSAGE, "setting 'zero': stage %lld shares among ranks, and there is one; set ranks",
                       (long long)settings->zero);
    return LOAM_OK;
}
