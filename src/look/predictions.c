/* What the model expects: candidates, entropy, and the logit lens. */
#include "labels.h"
#include "page.h"
#include "record.h"

#include <math.h>
#include <stdio.h>

struct guess {
    int32_t id;
    double probability;
};
struct prediction {
    double entropy;         /* bits */
    double probability;     /* of the token that follows; NaN behind the last */
    int64_t rank;           /* of it, from 1 */
    struct guess *best;     /* [candidates], likeliest first */
};

/* log of the sum of exponentials, in double. */
static double log_sum(const float *logits, int64_t count)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < count; i++)
        most = logits[i] > most ? logits[i] : most;
    for (int64_t i = 0; i < count; i++)
        sum += exp(logits[i] - most);
    return most + log(sum);
}

/* The likeliest, lower ids first where two are equal. */
static void find_best(const float *logits, int64_t count, double sum, int64_t candidates, struct guess *best)
{
    int64_t used = 0;
    for (int64_t i = 0; i < count; i++) {
        if (used == candidates && logits[i] <= logits[best[used - 1].id])
            continue;
        int64_t at = used < candidates ? used++ : used - 1;
        for (; at > 0 && logits[i] > logits[best[at - 1].id]; at--)
            best[at] = best[at - 1];
        best[at] = (struct guess){(int32_t)i, exp(logits[i] - sum)};
    }
}

static void predict(const float *logits, int64_t count, int32_t next, int64_t candidates, struct prediction *made)
{
    const double sum = log_sum(logits, count);
    made->entropy = 0;
    made->rank = next >= 0;
    made->probability = next >= 0 ? exp(logits[next] - sum) : NAN;
    for (int64_t i = 0; i < count; i++) {
        const double share = logits[i] - sum;
        made->entropy -= exp(share) > 0 ? exp(share) * share / log(2) : 0;
        if (next >= 0 && (logits[i] > logits[next] || (logits[i] == logits[next] && i < next)))
            made->rank++;
    }
    find_best(logits, count, sum, candidates, made->best);
}

struct view {
    const struct lm_subject *subject;
    struct lm_page *page;
    struct lm_record record;
    int64_t candidates;
    char **labels;
    struct prediction *predictions;     /* [T] */
    struct guess *guesses;              /* [T,candidates] */
};

static char *guess_text(const struct view *view, const struct guess *guess, bool share)
{
    char **label;
    char number[40];
    struct lm_bytes text = {0};
    if (lm_labels_make(view->subject->tokenizer, &guess->id, 1, &label, &view->page->error))
        return NULL;
    lm_show_number(100 * guess->probability, 1, number);
    lm_bytes_format(&text, &view->page->error, share ? "%s %s%%" : "%s", label[0], number);
    lm_free_strings(label, 1);
    return text.data;
}

static void add_candidates(struct view *view)
{
    const int64_t t = view->subject->count, k = view->candidates;
    char **cells = lm_alloc((size_t)(t * k) + 1, sizeof *cells, &view->page->error);
    double *shares = lm_alloc((size_t)(t * k) + 1, sizeof *shares, &view->page->error);
    char (*names)[32] = lm_alloc((size_t)k, sizeof *names, &view->page->error);
    const char **columns = lm_alloc((size_t)k, sizeof *columns, &view->page->error);
    const bool there = cells && shares && names && columns;
    for (int64_t i = 0; there && i < t * k; i++) {
        cells[i] = guess_text(view, &view->guesses[i], true);
        shares[i] = view->guesses[i].probability;
    }
    for (int64_t i = 0; there && i < k; i++) {
        snprintf(names[i], sizeof names[i], "%lld", (long long)i + 1);
        columns[i] = names[i];
    }
    const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "candidates", .title = "What may come next, likeliest first",
                                   .row_axis = "behind this token", .rows = t, .columns = k,
                                   .row_names = (const char *const *)view->labels, .column_names = columns,
                                   .texts = (const char *const *)cells};
    struct lm_block heat = table;
    heat.kind = LM_BLOCK_HEAT;
    heat.name = "probabilities";
    heat.title = "How likely the candidates are";
    heat.column_axis = "candidate";
    heat.unit = "probability";
    heat.texts = NULL;
    heat.values = shares;
    heat.high = 1;
    heat.decimals = 4;
    if (there && !view->page->error.code) {
        lm_page_add(view->page, &table);
        lm_page_add(view->page, &heat);
    }
    if (cells)
        lm_free_strings(cells, (size_t)(t * k));
    lm_free(shares);
    lm_free(names);
    lm_free(columns);
}

static void add_positions(struct view *view)
{
    static const char *const columns[] = {"entropy, bits", "next", "next's rank", "surprise, bits"};
    const int64_t t = view->subject->count;
    double *values = lm_alloc((size_t)(4 * t), sizeof *values, &view->page->error);
    for (int64_t i = 0; values && i < t; i++) {
        const struct prediction *one = &view->predictions[i];
        values[4 * i] = one->entropy;
        values[4 * i + 1] = one->probability;
        values[4 * i + 2] = one->rank ? (double)one->rank : NAN;
        values[4 * i + 3] = one->rank ? -log2(one->probability) : NAN;
    }
    const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "positions",
                                   .title = "How sure it is, and what it made of the token that did come next",
                                   .row_axis = "behind this token", .rows = t, .columns = 4, .decimals = -1,
                                   .row_names = (const char *const *)view->labels, .column_names = columns, .values = values};
    if (values)
        lm_page_add(view->page, &table);
    for (int64_t i = 0; values && i < t; i++)
        values[i] = view->predictions[i].entropy;
    const struct lm_block bars = {.kind = LM_BLOCK_BARS, .name = "entropy", .title = "Entropy: how many yes-or-no questions are open",
                                  .row_axis = "behind this token", .column_axis = "entropy in bits", .unit = "bits", .rows = t,
                                  .columns = 1, .row_names = (const char *const *)view->labels, .values = values, .decimals = 2};
    if (values)
        lm_page_add(view->page, &bars);
    lm_free(values);
}

/* --- The lens --- */

/* What each layer's stream would say, read as if it were the last: its likeliest token, and what it gives to the final choice. */
static int read_layers(struct view *view, char **cells, double *shares, loam_error *error)
{
    const struct lm_record *record = &view->record;
    const int64_t t = record->count, v = record->vocabulary;
    float *logits = lm_alloc((size_t)(t * v), sizeof *logits, error);
    int code = logits ? LOAM_OK : LOAM_ENOMEM;
    for (int64_t layer = 0; layer <= record->layers && !code; layer++) {
        code = lm_model_project(view->subject->model, t, record->residual + layer * t * record->width, logits, error);
        for (int64_t i = 0; i < t && !code; i++) {
            const float *row = logits + i * v;
            struct guess best = {0};
            const double sum = log_sum(row, v);
            find_best(row, v, sum, 1, &best);
            cells[layer * t + i] = guess_text(view, &best, false);
            shares[layer * t + i] = exp(row[view->guesses[i * view->candidates].id] - sum);
            code = view->page->error.code;
        }
    }
    lm_free(logits);
    return code;
}

static int add_lens(struct view *view, loam_error *error)
{
    const int64_t t = view->subject->count, rows = view->record.layers + 1;
    char **cells = lm_alloc((size_t)(rows * t), sizeof *cells, error);
    double *shares = lm_alloc((size_t)(rows * t), sizeof *shares, error);
    char (*names)[48] = lm_alloc((size_t)rows, sizeof *names, error);
    const char **layers = lm_alloc((size_t)rows, sizeof *layers, error);
    int code = cells && shares && names && layers ? read_layers(view, cells, shares, error) : LOAM_ENOMEM;
    for (int64_t i = 0; i < rows && !code; i++) {
        if (i == 0)
            snprintf(names[i], sizeof names[i], "embedded");
        else
            snprintf(names[i], sizeof names[i], "behind layer %lld", (long long)i - 1);
        layers[i] = names[i];
    }
    if (!code) {
        struct lm_block block = {.kind = LM_BLOCK_HEAT, .name = "lens", .title = "The logit lens: what each layer gives to the model's "
                                 "final choice", .row_axis = "layer", .column_axis = "behind this token", .unit = "probability",
                                 .rows = rows, .columns = t, .row_names = layers, .values = shares, .high = 1, .decimals = 4,
                                 .column_names = (const char *const *)view->labels};
        lm_page_say(view->page, "The lens sends what stands behind each layer through the model's final norm and head, as if it were the "
                    "end (nostalgebraist's logit lens).");
        lm_page_add(view->page, &block);
        block.kind = LM_BLOCK_TABLE;
        block.name = "lens_tokens";
        block.title = "The likeliest token, read behind each layer";
        block.unit = NULL;
        block.values = NULL;
        block.texts = (const char *const *)cells;
        lm_page_add(view->page, &block);
    }
    if (cells)
        lm_free_strings(cells, (size_t)(rows * t));
    lm_free(shares);
    lm_free(names);
    lm_free(layers);
    return code;
}

static int fill(struct view *view, loam_error *error)
{
    const struct lm_subject *subject = view->subject;
    const int64_t t = subject->count, v = view->record.vocabulary;
    view->candidates = view->candidates < v ? view->candidates : v;
    view->predictions = lm_alloc((size_t)t, sizeof *view->predictions, error);
    view->guesses = lm_alloc((size_t)(t * view->candidates), sizeof *view->guesses, error);
    if (!view->predictions || !view->guesses)
        return LOAM_ENOMEM;
    for (int64_t i = 0; i < t; i++) {
        view->predictions[i].best = view->guesses + i * view->candidates;
        predict(view->record.logits + i * v, v, i + 1 < t ? subject->ids[i + 1] : -1, view->candidates, &view->predictions[i]);
    }
    add_candidates(view);
    add_positions(view);
    return add_lens(view, error);
}

int lm_look_predictions(const struct lm_subject *subject, int64_t candidates, struct lm_page **page, loam_error *error)
{
    struct view view = {.subject = subject, .candidates = candidates};
    if (candidates < 1)
        return lm_fail(error, LOAM_EUSAGE, "%lld candidates: wanted 1 or more", (long long)candidates);
    int code = lm_record_run(subject->model, subject->ids, subject->count, &(struct lm_record_options){.residual = true},
                             &view.record, error);
    if (!code)
        code = lm_labels_make(subject->tokenizer, subject->ids, subject->count, &view.labels, error);
    if (!code && !(view.page = lm_page_create("Logits", error)))
        code = LOAM_ENOMEM;
    if (!code)
        code = fill(&view, error);
    if (!code)
        code = lm_page_check(view.page, error);
    lm_free(view.predictions);
    lm_free(view.guesses);
    if (view.labels)
        lm_free_strings(view.labels, (size_t)subject->count);
    lm_record_free(&view.record);
    if (code)
        lm_page_free(view.page);
    else
        *page = view.page;
    return code;
}
