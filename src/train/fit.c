/* What would fit: every way of keeping things that the settings leave open, laid out and timed. */
#include "settings.h"
#include "speed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A search over one model: everything is looked at roughly, and what is chosen laid out exactly. */
struct search {
    const struct lm_run_settings *asked;
    int64_t bytes, disk, short_of;     /* what may be taken; the least disk of those that only it refuses, 0: none */
    char *folder;                      /* the first above the run's that is there */
    struct lm_sketch sketches[2];      /* of fp32 weights, of bf16 weights */
    struct lm_speed speeds[2];
    bool open[2], free_hand;           /* free_hand: what is given may be changed too */
    struct lm_fit *fits;
    size_t count, room;
};

static bool may(const struct search *search, const char *key)
{
    return search->free_hand || !lm_run_settings_given(search->asked, key);
}

static struct lm_fit fit_of(const struct lm_run_settings *settings)
{
    return (struct lm_fit){.recompute = settings->recompute, .recompute_every = settings->recompute_every,
                           .batch = settings->batch, .accumulate = settings->accumulate, .seq = settings->seq,
                           .dtype = settings->dtype, .optimizer_state = settings->optimizer_state,
                           .fused_step = settings->fused_step, .offload = settings->offload};
}

static void put(const struct lm_fit *fit, struct lm_run_settings *settings)
{
    settings->recompute = fit->recompute;
    settings->recompute_every = fit->recompute_every;
    settings->batch = fit->batch;
    settings->accumulate = fit->accumulate;
    settings->seq = fit->seq;
    settings->dtype = fit->dtype;
    settings->optimizer_state = fit->optimizer_state;
    settings->fused_step = fit->fused_step;
    settings->offload = fit->offload;
}

void lm_fit_apply(const struct lm_fit *fit, struct lm_run_settings *settings)
{
    put(fit, settings);
}

/* --- Looking at one --- */

static int open_sketch(struct search *search, const struct lm_run_settings *settings, loam_error *error)
{
    const int which = settings->dtype == LM_BF16;
    if (search->open[which])
        return LOAM_OK;
    search->open[which] = true;
    const struct lm_speed *other = search->open[!which] ? &search->speeds[!which] : NULL;    /* the disk is the same */
    struct lm_sketch *sketch = &search->sketches[which];
    struct lm_speed *speed = &search->speeds[which];
    int code = lm_sketch_open(settings, sketch, error);
    if (code == LOAM_OK)
        code = lm_speed_measure(&sketch->config, settings, sketch->device, other ? NULL : search->folder, speed, error);
    if (code == LOAM_OK && other) {
        speed->disk = other->disk;
        speed->copy = other->copy;
    }
    return code;
}

/* Fills in the plan. Settings that exclude each other, or cannot be addressed, are no failure: false. */
static bool look(struct search *search, struct lm_fit *fit, bool rough)
{
    struct lm_run_settings settings = *search->asked;
    put(fit, &settings);
    if (!lm_run_settings_given(search->asked, "masters"))    /* what a run has settled on for other types */
        settings.masters = LM_SETTING_AUTO;
    if (!lm_run_settings_given(search->asked, "gradients"))
        settings.gradients = LM_SETTING_AUTO;
    if (!lm_run_settings_given(search->asked, "products"))
        settings.products = LM_SETTING_AUTO;
    const int which = settings.dtype == LM_BF16;
    struct lm_sketch *sketch = &search->sketches[which];
    loam_error ignored;
    if (lm_run_settings_check_plan(&settings, &ignored) != LOAM_OK || open_sketch(search, &settings, &ignored) != LOAM_OK)
        return false;
    struct lm_run_memory memory = {.layout = {.rough = rough}};
    const bool fits = lm_run_memory_lay_out(&memory, &settings, sketch->model, settings.accumulate, &ignored) == LOAM_OK;
    if (fits) {
        fit->plan = memory.plan;
        fit->plan.seconds_per_step = lm_speed_step(&search->speeds[which], &sketch->config, &settings, &memory.plan);
        fit->plan.tokens_per_second = (double)settings.ranks * (double)settings.accumulate * (double)settings.batch *
                                      (double)settings.seq / fit->plan.seconds_per_step;
    }
    lm_run_memory_free(&memory);
    return fits;
}

/* What is given up besides time, as a part of the time: small, so that it decides only between ways that take about as long. */
static double penalty(const struct search *search, const struct lm_fit *fit)
{
    const struct lm_run_settings *asked = search->asked;
    double sum = 0;
    sum += fit->optimizer_state == asked->optimizer_state ? 0 : fit->optimizer_state == LM_STATE_8BIT ? 0.03 : 0.015;
    sum += fit->dtype == asked->dtype ? 0 : fit->optimizer_state == LM_STATE_F32 ? 0.01 : 0.04;
    sum += fit->fused_step == asked->fused_step ? 0 : 0.01;
    sum += fit->offload == asked->offload ? 0 : 0.02;
    sum += (fit->batch * fit->accumulate != asked->batch * asked->accumulate) * 0.5 + (fit->seq != asked->seq) * 1.0;
    return sum;
}

static double score(const struct search *search, const struct lm_fit *fit)
{
    const double work = (double)(search->asked->batch * search->asked->accumulate * search->asked->seq) /
                        (double)(fit->batch * fit->accumulate * fit->seq);
    return fit->plan.seconds_per_step * work * (1 + penalty(search, fit));
}

/* --- All of them --- */

static int add(struct search *search, struct lm_fit *fit, loam_error *error)
{
    if (!look(search, fit, true) || (int64_t)fit->plan.total > search->bytes)
        return LOAM_OK;
    if ((int64_t)fit->plan.disk > search->disk) {
        if (search->short_of == 0 || (int64_t)fit->plan.disk < search->short_of)
            search->short_of = (int64_t)fit->plan.disk;
        return LOAM_OK;
    }
    if (search->count == search->room) {
        const size_t room = search->room ? 2 * search->room : 64;
        struct lm_fit *larger = lm_resize(search->fits, room, sizeof *larger, error);
        if (!larger)
            return LOAM_ENOMEM;
        search->fits = larger;
        search->room = room;
    }
    search->fits[search->count++] = *fit;
    return LOAM_OK;
}

enum { O = LM_OFFLOAD_OPTIMIZER, W = LM_OFFLOAD_WEIGHTS, A = LM_OFFLOAD_ACTIVATIONS };

/* The ways to keep what the optimizer and the weights need. */
static int vary_state(struct search *search, struct lm_fit fit, loam_error *error)
{
    static const unsigned offloads[] = {0, O, W, A, O | W, O | A, W | A, O | W | A};
    const struct lm_run_settings *asked = search->asked;
    for (int dtype = 0; dtype < 2; dtype++)
        for (int kind = LM_STATE_F32; kind <= LM_STATE_8BIT; kind++)
            for (int fused = 0; fused < 2; fused++)
                for (size_t i = 0; i < sizeof offloads / sizeof *offloads; i++) {
                    fit.dtype = dtype ? LM_BF16 : LM_F32;
                    fit.optimizer_state = (enum lm_state_kind)kind;
                    fit.fused_step = fused;
                    fit.offload = offloads[i];
                    if ((fit.dtype != asked->dtype && !may(search, "dtype")) ||
                        (fit.optimizer_state != asked->optimizer_state && !may(search, "optimizer_state")) ||
                        (fit.fused_step != asked->fused_step && !may(search, "fused_step")) ||
                        (fit.offload != asked->offload && !may(search, "offload")))
                        continue;
                    int code = add(search, &fit, error);
                    if (code != LOAM_OK)
                        return code;
                }
    return LOAM_OK;
}

static int vary_recompute(struct search *search, struct lm_fit fit, loam_error *error)
{
    static const struct {
        enum lm_recompute_kind kind;
        int64_t every;
    } ways[] = {{LM_RECOMPUTE_NONE, 1}, {LM_RECOMPUTE_INNER, 1}, {LM_RECOMPUTE_LAYER, 4}, {LM_RECOMPUTE_LAYER, 2},
                {LM_RECOMPUTE_LAYER, 1}};
    int code = LOAM_OK;
    if (!may(search, "recompute"))
        return vary_state(search, fit, error);
    for (size_t i = 0; code == LOAM_OK && i < sizeof ways / sizeof *ways; i++) {
        fit.recompute = ways[i].kind;
        fit.recompute_every = ways[i].every;
        code = vary_state(search, fit, error);
    }
    return code;
}

/* As many sequences a step, fewer at once; with a free hand also fewer or shorter ones. */
static int vary_batch(struct search *search, loam_error *error)
{
    const struct lm_run_settings *asked = search->asked;
    struct lm_fit fit = fit_of(asked);
    int code = vary_recompute(search, fit, error);
    for (int64_t parts = 2; code == LOAM_OK && parts <= asked->batch && may(search, "batch"); parts++) {
        if (asked->batch % parts != 0 || fit.fused_step)
            continue;
        fit.batch = asked->batch / parts;
        fit.accumulate = asked->accumulate * parts;
        code = vary_recompute(search, fit, error);
    }
    fit = fit_of(asked);
    for (fit.batch /= 2; code == LOAM_OK && fit.batch >= 1 && search->free_hand; fit.batch /= 2)
        code = vary_recompute(search, fit, error);
    fit = fit_of(asked);
    for (fit.seq /= 2; code == LOAM_OK && fit.seq >= 64 && search->free_hand; fit.seq /= 2) {
        fit.batch = asked->batch;
        code = vary_recompute(search, fit, error);
        fit.batch = 1;
        if (code == LOAM_OK && asked->batch > 1)
            code = vary_recompute(search, fit, error);
    }
    return code;
}

/* --- What differs, and what it costs --- */

enum { KEYS = 8 };

static unsigned differences(const struct lm_run_settings *asked, const struct lm_fit *fit)
{
    const bool recompute = fit->recompute != asked->recompute ||
                           (fit->recompute == LM_RECOMPUTE_LAYER && fit->recompute_every != asked->recompute_every);
    return (unsigned)recompute | (unsigned)(fit->optimizer_state != asked->optimizer_state) << 1 |
           (unsigned)(fit->dtype != asked->dtype) << 2 | (unsigned)(fit->fused_step != asked->fused_step) << 3 |
           (unsigned)(fit->offload != asked->offload) << 4 | (unsigned)(fit->batch != asked->batch) << 5 |
           (unsigned)(fit->accumulate != asked->accumulate) << 6 | (unsigned)(fit->seq != asked->seq) << 7;
}

static void describe(const struct search *search, struct lm_fit *fit)
{
    static const char *const keys[KEYS] = {"recompute", "optimizer_state", "dtype", "fused_step", "offload", "batch",
                                           "accumulate", "seq"};
    struct lm_run_settings settings = *search->asked;
    const unsigned differ = differences(search->asked, fit);
    struct lm_bytes text = {0};
    put(fit, &settings);
    for (int i = 0; i < KEYS; i++) {
        if (!(differ >> i & 1))
            continue;
        lm_bytes_format(&text, NULL, "%s--%s", text.length ? " " : "", i == 1 ? "optimizer-state" : i == 3 ? "fused-step" : keys[i]);
        if (i == 3)
            continue;
        lm_bytes_append(&text, " ", 1, NULL);
        lm_run_settings_text(&settings, keys[i], &text, NULL);
    }
    snprintf(fit->changes, sizeof fit->changes, "%s", text.length ? text.data : "as it is");
    lm_bytes_free(&text);
}

static void more(char *text, size_t room, const char *what)
{
    const size_t used = strlen(text);
    snprintf(text + used, room - used, "%s%s", used ? "; " : "", what);
}

static void price(const struct search *search, double fastest, struct lm_fit *fit)
{
    const struct lm_run_settings *asked = search->asked;
    const unsigned differ = differences(asked, fit);
    const size_t moved = 2 * (fit->plan.scratch_optimizer + fit->plan.scratch_activations) + 3 * fit->plan.scratch_weights;
    char part[80], size[32];
    fit->cost[0] = 0;
    const double slower = fit->plan.seconds_per_step / fastest - 1;
    if (slower >= 0.005) {
        lm_format(part, sizeof part, "%.0f %% more time a step", 100 * slower);
        more(fit->cost, sizeof fit->cost, part);
    }
    if (moved) {
        lm_format_size((int64_t)moved, size);
        lm_format(part, sizeof part, "%s to and from the disk a step", size);
        more(fit->cost, sizeof fit->cost, part);
    }
    if (differ >> 1 & 1)
        more(fit->cost, sizeof fit->cost, fit->optimizer_state == LM_STATE_8BIT ? "moments of 8 bits" : "moments in bf16");
    if (fit->dtype == LM_BF16 && (differ & 6) != 0)
        more(fit->cost, sizeof fit->cost, fit->optimizer_state == LM_STATE_F32 && asked->masters != 0
                                              ? "weights in bf16 with fp32 masters" : "weights in bf16, rounded stochastically");
    if ((differ >> 3 & 1) && fit->fused_step && asked->clip > 0)
        more(fit->cost, sizeof fit->cost, "clips by the previous step's norm");
    if ((differ >> 5 & 1) && fit->batch * fit->accumulate != asked->batch * asked->accumulate)
        more(fit->cost, sizeof fit->cost, "fewer sequences a step");
    if (differ >> 7 & 1)
        more(fit->cost, sizeof fit->cost, "longer samples are cut");
    if (!fit->cost[0])
        more(fit->cost, sizeof fit->cost, "nothing");
}

/* --- Choosing --- */

static size_t best_of(const struct search *search, const bool *used)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < search->count; i++)
        if (!used[i] && (best == SIZE_MAX || score(search, &search->fits[i]) < score(search, &search->fits[best])))
            best = i;
    return best;
}

/* The settings as they are, where they fit: nobody gives up anything for a hair of time. */
static size_t unchanged(const struct search *search)
{
    for (size_t i = 0; i < search->count; i++)
        if (differences(search->asked, &search->fits[i]) == 0)
            return i;
    return SIZE_MAX;
}

/* The fastest; then those that take a tenth less memory than what is listed. */
static void choose_fastest(struct search *search, bool *used, struct lm_fit *list, size_t *count)
{
    size_t i = unchanged(search);
    if (i != SIZE_MAX) {
        list[0] = search->fits[i];
        used[i] = true;
        if (look(search, &list[0], false) && (int64_t)list[0].plan.total <= search->bytes)
            *count = 1;
    }
    while (*count < LM_FITS && (i = best_of(search, used)) != SIZE_MAX) {
        struct lm_fit fit = search->fits[i];
        used[i] = true;
        if (*count > 0 && (double)fit.plan.total > 0.9 * (double)list[*count - 1].plan.total)
            continue;
        if (look(search, &fit, false) && (int64_t)fit.plan.total <= search->bytes)
            list[(*count)++] = fit;
    }
}

/* The cheapest that change nothing besides what would do alone. */
static void choose_changes(struct search *search, bool *used, struct lm_fit *list, size_t *count)
{
    size_t i;
    for (size_t a = 0; a < search->count; a++)
        for (size_t b = 0; b < search->count && !used[a]; b++) {
            const unsigned x = differences(search->asked, &search->fits[a]), y = differences(search->asked, &search->fits[b]);
            used[a] = a != b && (x & y) == y && x != y;
        }
    while (*count < 3 && (i = best_of(search, used)) != SIZE_MAX) {
        struct lm_fit fit = search->fits[i];
        used[i] = true;
        bool again = false;
        for (size_t j = 0; j < *count; j++)
            again = again || differences(search->asked, &list[j]) == differences(search->asked, &fit);
        if (!again && look(search, &fit, false) && (int64_t)fit.plan.total <= search->bytes)
            list[(*count)++] = fit;
    }
}

/* The run's folder may be yet to be made. */
static int find_disk(struct search *search, const char *folder, loam_error *error)
{
    search->folder = lm_copy_string(folder, strlen(folder), error);
    if (!search->folder)
        return LOAM_ENOMEM;
    while (!lm_is_directory(search->folder)) {
        char *slash = strrchr(search->folder, '/');
        if (!slash || slash == search->folder) {
            strcpy(search->folder, slash ? "/" : ".");
            break;
        }
        *slash = 0;
    }
    return lm_free_space(search->folder, &search->disk, error);
}

/* There are ways that memory has room for, and the disk has not. `list`: what would do with the disk as it is. */
static int fail_disk(const struct search *search, int64_t needs, const struct lm_fit *list, size_t count, loam_error *error)
{
    char needed[32], free_space[32];
    struct lm_bytes text = {0};
    if (count > 0)
        lm_fit_list_text(list, count, &text);
    lm_format_size(needs, needed);
    lm_format_size(search->disk, free_space);
    lm_fail(error, LOAM_ENOSPACE, "what would fit into the memory takes %s of disk at least, checkpoints among it, and %s has "
            "%s left: make room, keep fewer checkpoints with --keep%s, or write to another disk with --out%s%s",
            needed, search->folder, free_space,
            search->asked->weights_only ? "" : ", leave the optimizer's state out of them with --weights-only",
            text.length ? "; with this disk" : "", text.length ? text.data : "");
    lm_bytes_free(&text);
    return LOAM_ENOSPACE;
}

int lm_run_fit(const struct lm_run_settings *settings, int64_t bytes, const char *folder, struct lm_fit list[LM_FITS],
               size_t *count, size_t *changes, loam_error *error)
{
    struct search search = {.asked = settings, .bytes = bytes};
    struct lm_fit as_it_is = fit_of(settings);
    *count = *changes = 0;
    int code = find_disk(&search, folder, error);
    if (code == LOAM_OK)
        code = open_sketch(&search, settings, error);
    if (code == LOAM_OK)
        code = vary_batch(&search, error);
    const bool fits = search.count > 0;
    const int64_t short_of = search.short_of;    /* of what the settings leave open */
    if (code == LOAM_OK && !fits) {
        search.free_hand = true;
        code = vary_batch(&search, error);
    }
    if (code == LOAM_OK && search.count == 0 && search.short_of > 0)
        code = fail_disk(&search, search.short_of, NULL, 0, error);
    bool *used = code == LOAM_OK ? lm_alloc(search.count + 1, sizeof *used, error) : NULL;
    if (used) {
        (fits ? choose_fastest : choose_changes)(&search, used, list, fits ? count : changes);
        const bool base = look(&search, &as_it_is, true);
        const size_t found = fits ? *count : *changes;
        for (size_t i = 0; i < found; i++) {
            describe(&search, &list[i]);
            price(&search, fits ? list[0].plan.seconds_per_step : base ? as_it_is.plan.seconds_per_step
                                                                       : list[0].plan.seconds_per_step, &list[i]);
        }
        if (!fits && short_of > 0) {    /* memory is not what has to change */
            code = fail_disk(&search, short_of, list, found, error);
            *changes = 0;
        }
    } else if (code == LOAM_OK) {
        code = LOAM_ENOMEM;
    }
    lm_free(used);
    lm_free(search.folder);
    lm_free(search.fits);
    for (int i = 0; i < 2; i++)
        if (search.open[i])
            lm_sketch_close(&search.sketches[i]);
    return code;
}

void lm_fit_list_text(const struct lm_fit *list, size_t count, struct lm_bytes *text)
{
    if (count == 0)
        lm_bytes_format(text, NULL, ": no change of these settings would; take a smaller model");
    for (size_t i = 0; i < count && i < 3; i++)
        lm_bytes_format(text, NULL, "%s%s (%.3g seconds a step)", i ? "; or " : ": the cheapest changes that would: ", list[i].changes,
                        list[i].plan.seconds_per_step);
}

void lm_run_fit_text(const struct lm_run_settings *settings, int64_t bytes, const char *folder, struct lm_bytes *text)
{
    struct lm_fit list[LM_FITS];
    size_t count, changes;
    loam_error error;
    const int code = lm_run_fit(settings, bytes, folder, list, &count, &changes, &error);
    if (code == LOAM_ENOSPACE)
        lm_bytes_format(text, NULL, "; %s", error.message);
    if (code == LOAM_OK)
        lm_fit_list_text(list, count + changes, text);
}
