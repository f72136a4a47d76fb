/* Who looks at whom. */
#include "labels.h"
#include "page.h"
#include "record.h"

#include <math.h>
#include <stdio.h>

struct view {
    const struct lm_subject *subject;
    struct lm_page *page;
    struct lm_record record;
    char **labels;
    double *square;         /* [T,T] for the map that is added now */
    loam_error *error;
};

static void close_view(struct view *view)
{
    lm_record_free(&view->record);
    if (view->labels)
        lm_free_strings(view->labels, (size_t)view->subject->count);
    lm_free(view->square);
}

static int open_view(const struct lm_subject *subject, const struct lm_record_options *options, struct view *view,
                     loam_error *error)
{
    *view = (struct view){.subject = subject, .error = error};
    int code = lm_record_run(subject->model, subject->ids, subject->count, options, &view->record, error);
    if (!code)
        code = lm_labels_make(subject->tokenizer, subject->ids, subject->count, &view->labels, error);
    if (!code && !(view->square = lm_alloc((size_t)(subject->count * subject->count), sizeof(double), error)))
        code = LOAM_ENOMEM;
    return code;
}

/* A map of weights [T,T]; what lies ahead of a token has no value. */
static void add_map(struct view *view, const char *name, const char *title, const float *weights)
{
    const int64_t t = view->subject->count;
    for (int64_t i = 0; i < t * t; i++)
        view->square[i] = i % t > i / t ? NAN : (double)weights[i];
    const struct lm_block map = {.kind = LM_BLOCK_HEAT, .name = name, .title = title, .row_axis = "the token that looks",
                                 .column_axis = "the token looked at", .unit = "weight", .rows = t, .columns = t,
                                 .row_names = (const char *const *)view->labels, .column_names = (const char *const *)view->labels,
                                 .values = view->square, .high = 1, .decimals = 4, .root = true};
    lm_page_add(view->page, &map);
}

/* --- What a head does, in three numbers --- */

enum habit { FIRST, PREVIOUS, ENTROPY, HABITS };

/* The mean over the rows that have a choice (all but the first). */
static double habit_of(const struct lm_record *record, int64_t layer, int64_t head, enum habit habit)
{
    const int64_t t = record->count;
    const float *weights = record->attention + (layer * record->heads + head) * t * t;
    double sum = 0;
    for (int64_t i = 1; i < t; i++) {
        if (habit == FIRST)
            sum += weights[i * t];
        if (habit == PREVIOUS)
            sum += weights[i * t + i - 1];
        for (int64_t j = 0; habit == ENTROPY && j <= i; j++)
            sum -= weights[i * t + j] > 0 ? weights[i * t + j] * log2((double)weights[i * t + j]) : 0;
    }
    return t > 1 ? sum / (double)(t - 1) : NAN;
}

static void add_habits(struct view *view)
{
    static const char *const names[] = {"first", "previous", "entropy"};
    static const char *const titles[] = {"How much of a head's attention goes to the first token",
                                         "How much goes to the token just before", "How widely a head looks: entropy of its rows"};
    const struct lm_record *record = &view->record;
    const int64_t count = record->shown_layers * record->heads;
    if (record->count < 2) {
        lm_page_say(view->page, "A single token can look at nothing but itself; give two or more to see what heads do.");
        return;
    }
    double *values = lm_alloc((size_t)count, sizeof *values, &view->page->error);
    for (int habit = 0; values && habit < HABITS; habit++) {
        for (int64_t i = 0; i < count; i++)
            values[i] = habit_of(record, i / record->heads, i % record->heads, (enum habit)habit);
        const struct lm_block block = {.kind = LM_BLOCK_HEAT, .name = names[habit], .title = titles[habit], .row_axis = "layer",
                                       .column_axis = "head", .unit = habit == ENTROPY ? "bits" : "weight",
                                       .rows = record->shown_layers, .columns = record->heads, .values = values,
                                       .high = habit == ENTROPY ? log2((double)record->count) : 1, .decimals = 4,
                                       .root = habit != ENTROPY};
        lm_page_add(view->page, &block);
    }
    lm_free(values);
}

static int add_rollout(struct view *view)
{
    const int64_t t = view->subject->count;
    float *rollout;
    int code = lm_record_rollout(&view->record, &rollout, view->error);
    if (code)
        return code;
    lm_page_say(view->page, "Rollout multiplies the layers' means, half of each the token itself (Abnar and Zuidema): how much of "
                "each token has reached the last one at the end.");
    add_map(view, "rollout", "Attention rollout over all layers", rollout);
    double *last = lm_alloc((size_t)t, sizeof *last, view->error);
    for (int64_t i = 0; last && i < t; i++)
        last[i] = rollout[(t - 1) * t + i];
    const struct lm_block bars = {.kind = LM_BLOCK_BARS, .name = "rollout_last", .title = "What has reached the last token",
                                  .row_axis = "token", .column_axis = "share", .rows = t, .columns = 1,
                                  .row_names = (const char *const *)view->labels, .values = last, .decimals = 4};
    if (last)
        lm_page_add(view->page, &bars);
    lm_free(rollout);
    lm_free(last);
    return last ? LOAM_OK : LOAM_ENOMEM;
}

static int add_mean(struct view *view, int64_t layer, const char *name, const char *title)
{
    float *mean;
    int code = lm_record_mean(&view->record, layer, &mean, view->error);
    if (code)
        return code;
    add_map(view, name, title, mean);
    lm_free(mean);
    return LOAM_OK;
}

static int add_all(struct view *view)
{
    lm_page_say(view->page, "A row shows where one token looks: its weights add up to one. The triangle ahead of it is empty, since no "
                "token sees what comes later. --layer and --head show one of them, --html all of them.");
    int code = add_mean(view, -1, "mean", "Attention, the mean of all layers and heads");
    if (!code)
        add_habits(view);
    return code ? code : add_rollout(view);
}

static int add_layer(struct view *view, int64_t layer, int64_t head)
{
    char name[64], title[96];
    const struct lm_record *record = &view->record;
    int code = LOAM_OK;
    if (head < 0) {
        snprintf(name, sizeof name, "layer_%lld_mean", (long long)layer);
        snprintf(title, sizeof title, "Layer %lld, the mean of its %lld heads", (long long)layer, (long long)record->heads);
        code = add_mean(view, layer, name, title);
    }
    for (int64_t i = 0; i < record->heads && !code; i++) {
        if (head >= 0 && head != i)
            continue;
        snprintf(name, sizeof name, "layer_%lld_head_%lld", (long long)layer, (long long)i);
        snprintf(title, sizeof title, "Layer %lld, head %lld", (long long)layer, (long long)i);
        add_map(view, name, title,
                record->attention + ((layer - record->first_layer) * record->heads + i) * record->count * record->count);
    }
    return code;
}

static int check_choice(const struct lm_config *c, const struct lm_attention_choice *choice, loam_error *error)
{
    if (choice->layer >= c->layers)
        return lm_fail(error, LOAM_EUSAGE, "layer %lld: the model has layers 0 to %lld", (long long)choice->layer,
                       (long long)c->layers - 1);
    if (choice->head >= c->heads)
        return lm_fail(error, LOAM_EUSAGE, "head %lld: the model has heads 0 to %lld", (long long)choice->head,
                       (long long)c->heads - 1);
    if (choice->head >= 0 && choice->layer < 0)
        return lm_fail(error, LOAM_EUSAGE, "head %lld: of which layer? Name it with --layer, 0 to %lld", (long long)choice->head,
                       (long long)c->layers - 1);
    return LOAM_OK;
}

int lm_look_attention(const struct lm_subject *subject, const struct lm_attention_choice *choice, struct lm_page **page,
                      loam_error *error)
{
    struct view view = {0};
    const bool one = choice->layer >= 0;
    const struct lm_record_options options = {.attention = true, .first_layer = one ? choice->layer : 0, .layers = one};
    int code = check_choice(lm_model_config(subject->model), choice, error);
    if (!code)
        code = open_view(subject, &options, &view, error);
    if (!code && !(view.page = lm_page_create("Attention", error)))
        code = LOAM_ENOMEM;
    if (!code) {
        const struct lm_block tokens = {.kind = LM_BLOCK_TOKENS, .name = "tokens", .title = "The tokens", .rows = subject->count,
                                        .row_names = (const char *const *)view.labels};
        lm_page_add(view.page, &tokens);
        code = one ? add_layer(&view, choice->layer, choice->head) : add_all(&view);
    }
    if (!code)
        code = lm_page_check(view.page, error);
    close_view(&view);
    if (code)
        lm_page_free(view.page);
    else
        *page = view.page;
    return code;
}

/* --- As tensors --- */

int lm_look_attention_write(const struct lm_subject *subject, const char *path, loam_error *error)
{
    struct lm_record record;
    struct lm_tensors_writer *writer;
    float *rollout = NULL;
    int code = lm_record_run(subject->model, subject->ids, subject->count, &(struct lm_record_options){.attention = true}, &record,
                             error);
    if (code)
        return code;
    const int64_t t = subject->count, shape[] = {record.layers, record.heads, t, t};
    const uint64_t square = (uint64_t)(t * t), all = square * (uint64_t)(record.layers * record.heads);
    code = lm_record_rollout(&record, &rollout, error);
    const struct lm_tensor list[] = {
        {.name = "attention", .dtype = LM_F32, .rank = 4, .shape = shape, .count = all, .bytes = all * sizeof(float)},
        {.name = "rollout", .dtype = LM_F32, .rank = 2, .shape = shape + 2, .count = square, .bytes = square * sizeof(float)},
        {.name = "ids", .dtype = LM_I32, .rank = 1, .shape = shape + 3, .count = (uint64_t)t, .bytes = (uint64_t)t * sizeof(int32_t)}};
    const void *const data[] = {record.attention, rollout, subject->ids};
    if (!code)
        code = lm_tensors_create(path, list, 3, NULL, &writer, error);
    if (!code) {
        for (size_t i = 0; i < 3 && !code; i++)
            code = lm_tensors_put(writer, i, 0, data[i], (size_t)list[i].bytes, error);
        if (!code)
            code = lm_tensors_finish(writer, error);
        else
            lm_tensors_abandon(writer);
    }
    lm_free(rollout);
    lm_record_free(&record);
    return code;
}
