/* Lessons eleven and twelve: one step of learning, and writing. Thirteen learns by the same steps. */
#include "infer/infer.h"
#include "labels.h"
#include "lessons.h"
#include "record.h"
#include "step.h"
#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STEPS = 20, SHOWN = 6 };
static const double RATE = 1e-3;

/* --- 11. A step --- */

int lm_learning_open(struct lm_lesson *lesson, double rate, struct lm_learning *learning, loam_error *error)
{
    size_t count;
    const struct lm_parameter *table = lm_model_parameters(lesson->model, &count);
    *learning = (struct lm_learning){.lesson = lesson, .rate = rate, .numbers = (int64_t)table[count - 1].offset + table[count - 1].count};
    learning->m = lm_alloc((size_t)learning->numbers, sizeof *learning->m, error);
    learning->v = lm_alloc((size_t)learning->numbers, sizeof *learning->v, error);
    return learning->m && learning->v ? LOAM_OK : LOAM_ENOMEM;
}

void lm_learning_close(struct lm_learning *learning)
{
    lm_free(learning->m);
    lm_free(learning->v);
}

int lm_learning_step(struct lm_learning *learning, const float *gradients, loam_error *error)
{
    struct lm_lesson *lesson = learning->lesson;
    struct lm_run_settings settings;    /* the usual betas */
    enum lm_dtype dtype;
    lm_run_settings_init(&settings, LM_RUN_TRAIN);
    const struct lm_adamw work = {.count = learning->numbers, .step = ++learning->step, .lr = learning->rate, .beta1 = settings.beta1,
                                  .beta2 = settings.beta2, .eps = settings.epsilon, .grad_scale = 1,
                                  .parameter = lm_model_weights(lesson->model, &dtype), .gradient = gradients, .m = learning->m,
                                  .v = learning->v};
    lm_run_settings_free(&settings);
    lm_device_ops(lesson->device)->adamw(lesson->device, &work);
    return lm_device_check(lesson->device, error);
}

static void show_losses(struct lm_lesson *lesson, const struct lm_step *step)
{
    const int64_t count = (int64_t)lesson->ids.length - 1;
    const struct lm_block bars = {.kind = LM_BLOCK_BARS, .name = "losses", .title = "Loss of predicting each token from those before it",
                                  .row_axis = "token predicted", .column_axis = "loss in nats", .unit = "nats", .rows = count,
                                  .columns = 1, .row_names = (const char *const *)lesson->labels + 1, .decimals = 4};
    lm_lesson_show(lesson->page, &bars, step->losses);
}

static void show_gradients(struct lm_lesson *lesson, const struct lm_step *step, double *norm)
{
    static const char *const column[] = {"gradient norm"};
    size_t count;
    const struct lm_parameter *table = lm_model_parameters(lesson->model, &count);
    double *values = lm_alloc(count, sizeof *values, &lesson->page->error);
    const char **names = lm_alloc(count, sizeof *names, &lesson->page->error);
    int64_t used = 0;
    *norm = 0;
    for (size_t i = 0; values && names && i < count; i++) {
        const double squares = lm_device_ops(lesson->device)->sum_squares(lesson->device, table[i].count, LM_F32,
                                                                          step->gradients + table[i].offset);
        *norm += squares;
        if (table[i].layer > 0)
            continue;
        names[used] = table[i].name;
        values[used++] = sqrt(squares);
    }
    *norm = sqrt(*norm);
    const struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "gradients", .title = "Gradients, of the layers only the first",
                                   .rows = used, .columns = 1, .row_names = names, .column_names = column, .values = values,
                                   .decimals = -1};
    if (values && names)
        lm_page_add(lesson->page, &block);
    lm_free(values);
    lm_free(names);
}

/* The first weights of the last norm: before, their gradient, behind. */
static void show_weights(struct lm_lesson *lesson, const float *before, const float *gradient, const float *after, int64_t count)
{
    static const char *const columns[] = {"before", "gradient", "behind"};
    double values[3 * SHOWN];
    for (int64_t i = 0; i < count; i++) {
        values[3 * i] = before[i];
        values[3 * i + 1] = gradient[i];
        values[3 * i + 2] = after[i];
    }
    const struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "weights", .title = "The last norm's first weights", .rows = count,
                                   .columns = 3, .column_names = columns, .values = values, .decimals = 6};
    lm_page_add(lesson->page, &block);
}

/* All steps; the first one watched. */
static int watch_steps(struct lm_learning *learning, loam_error *error)
{
    struct lm_lesson *lesson = learning->lesson;
    struct lm_page *page = lesson->page;
    size_t count;
    enum lm_dtype dtype;
    const struct lm_parameter *table = lm_model_parameters(lesson->model, &count), *shown = NULL;
    double losses[STEPS + 1], norm = 0;
    for (size_t i = 0; i < count; i++)
        if (table[i].part == LM_PART_FINAL_NORM)
            shown = &table[i];
    const int64_t few = shown->count < SHOWN ? shown->count : SHOWN;
    int code = LOAM_OK;
    for (int64_t i = 0; i <= STEPS && !code; i++) {
        struct lm_step step;
        float before[SHOWN];
        const float *weights = (const float *)lm_model_weights(lesson->model, &dtype) + shown->offset;
        memcpy(before, weights, (size_t)few * sizeof *before);
        code = lm_step_run(lesson->model, lesson->ids.data, (int64_t)lesson->ids.length, NULL, NULL, &step, error);
        if (code)
            return code;
        losses[i] = step.loss;
        if (i == 0) {
            show_losses(lesson, &step);
            lm_page_fact(page, "loss", "the loss: their mean", "nats", 4, step.loss);
            lm_page_fact(page, "guess", "loss if all tokens were equally likely", "nats", 4,
                         log((double)lm_model_config(lesson->model)->vocabulary));
            lm_page_say(page, "The backward pass gives every weight its gradient: how much the loss would change with it.");
            show_gradients(lesson, &step, &norm);
            lm_page_fact(page, "gradient_norm", "norm of all gradients", "", 4, norm);
        }
        if (i < STEPS)
            code = lm_learning_step(learning, step.gradients, error);
        if (i == 0 && !code) {
            lm_page_say(page, "The optimizer, AdamW, moves every weight against its gradient; in its first step by nearly the learning rate, "
                        "whatever the gradient's size.");
            lm_page_fact(page, "learning_rate", "learning rate", "", -1, RATE);
            show_weights(lesson, before, step.gradients + shown->offset, weights, few);
        }
        lm_step_free(lesson->model, &step);
    }
    static const char *const column[] = {"loss"};
    const struct lm_block lines = {.kind = LM_BLOCK_LINES, .name = "curve", .title = "The loss on this sentence, step after step",
                                   .row_axis = "steps done", .unit = "nats", .rows = STEPS + 1, .columns = 1, .column_names = column,
                                   .values = losses, .decimals = 4};
    if (!code)
        lm_page_add(page, &lines);
    return code;
}

int lm_teach_step(struct lm_lesson *lesson, loam_error *error)
{
    struct lm_learning learning = {0};
    int code = lm_lesson_may_train(lesson, error);
    if (!code)
        code = lm_lesson_model(lesson, error);
    if (!code)
        code = lm_lesson_encode(lesson, error);
    if (!code && lesson->ids.length < 2)
        code = lm_fail(error, LOAM_EUSAGE, "the sentence is one token; give two or more, so that one can be predicted");
    if (!code)
        code = lm_learning_open(lesson, RATE, &learning, error);
    if (!code) {
        lm_page_say(lesson->page, "At every position the model gives each token a probability. The loss is minus the logarithm of what it gave to "
                    "the token that did come: nothing if it was sure and right, much if it held it for unlikely.");
        code = watch_steps(&learning, error);
    }
    lm_page_say(lesson->page, "The same sentence again and again: the model learns it by heart. Training does this with many sentences, each a "
                "few times, so that what they have in common is learned instead. To try: a sentence with a word twice falls faster. No "
                "file is changed.");
    lm_learning_close(&learning);
    return code;
}

/* --- 12. Generation --- */

enum { CANDIDATES = 8, TEMPERATURES = 3, DRAWS = 1000, WRITTEN = 16, TOP = 3 };
static const double temperatures[TEMPERATURES] = {0.5, 1, 2};

/* The likeliest ids, lower ones first where two are equal. */
static void find_best(const float *logits, int64_t vocabulary, int64_t candidates, int32_t *best)
{
    for (int64_t k = 0; k < candidates; k++) {
        best[k] = -1;
        for (int64_t i = 0; i < vocabulary; i++) {
            bool taken = false;
            for (int64_t j = 0; j < k; j++)
                taken = taken || best[j] == i;
            if (!taken && (best[k] < 0 || logits[i] > logits[best[k]]))
                best[k] = (int32_t)i;
        }
    }
}

static double share_of(const float *logits, int64_t vocabulary, int32_t id, double temperature)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < vocabulary; i++)
        most = fmax(most, logits[i]);
    for (int64_t i = 0; i < vocabulary; i++)
        sum += exp((logits[i] - most) / temperature);
    return exp((logits[id] - most) / temperature) / sum;
}

/* How often the sampler takes each candidate. */
static int draw(const loam_sampling *how, const float *logits, int64_t vocabulary, int64_t candidates,
                const int32_t *best, double *shares, loam_error *error)
{
    struct lm_sampler *sampler;
    float *copy = lm_alloc((size_t)vocabulary, sizeof *copy, error);
    int code = copy ? lm_sampler_create(how, vocabulary, &sampler, error) : LOAM_ENOMEM;
    if (code) {
        lm_free(copy);
        return code;
    }
    for (int i = 0; i < DRAWS && !code; i++) {
        int32_t id;
        memcpy(copy, logits, (size_t)vocabulary * sizeof *copy);
        code = lm_sampler_pick(sampler, copy, &id, error);
        for (int64_t k = 0; k < candidates && !code; k++)
            shares[k] += id == best[k] ? 1.0 / DRAWS : 0;
    }
    lm_sampler_free(sampler);
    lm_free(copy);
    return code;
}

static int show_choice(struct lm_lesson *lesson, const float *logits, int64_t vocabulary, loam_error *error)
{
    static const char *const columns[] = {"logit", "at one half", "at one", "at two"}, *const drawn[] = {"all", "the top few only"};
    const int64_t candidates = vocabulary < CANDIDATES ? vocabulary : CANDIDATES;
    int32_t best[CANDIDATES];
    double values[4 * CANDIDATES], shares[2 * CANDIDATES] = {0}, picked[2 * CANDIDATES];
    char **labels;
    find_best(logits, vocabulary, candidates, best);
    for (int64_t k = 0; k < candidates; k++) {
        values[4 * k] = logits[best[k]];
        for (int t = 0; t < TEMPERATURES; t++)
            values[4 * k + 1 + t] = share_of(logits, vocabulary, best[k], temperatures[t]);
    }
    loam_sampling how = {.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = lesson->options->seed};
    int code = draw(&how, logits, vocabulary, candidates, best, shares, error);
    how.top_k = TOP;
    if (!code)
        code = draw(&how, logits, vocabulary, candidates, best, shares + CANDIDATES, error);
    if (!code)
        code = lm_labels_make(lesson->tokenizer, best, candidates, &labels, error);
    if (code)
        return code;
    for (int64_t k = 0; k < candidates; k++) {
        picked[2 * k] = shares[k];
        picked[2 * k + 1] = shares[CANDIDATES + k];
    }
    struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "candidates", .title = "The likeliest next tokens: logits, and probabilities by "
                             "temperature", .rows = candidates, .columns = 4, .row_names = (const char *const *)labels,
                             .column_names = columns, .values = values, .decimals = 4};
    lm_page_add(lesson->page, &table);
    lm_page_say(lesson->page, "Temperature divides the logits before the softmax: below one the likely become likelier, above one the rare get "
                "their chance. Top-k leaves only so many candidates. Drawn again and again by the sampler, at temperature one, each came up "
                "in this share of the draws:");
    lm_page_fact(lesson->page, "draws", "draws", "", 0, DRAWS);
    lm_page_fact(lesson->page, "top_k", "candidates that top-k leaves", "", 0, TOP);
    table.name = "drawn";
    table.title = "Drawn by the sampler";
    table.columns = 2;
    table.column_names = drawn;
    table.values = picked;
    lm_page_add(lesson->page, &table);
    lm_free_strings(labels, (size_t)candidates);
    return LOAM_OK;
}

struct written {
    int32_t ids[WRITTEN];
    double shares[WRITTEN], second[WRITTEN];
    int32_t runner_up[WRITTEN];
    int64_t count;
};

static int write_on(struct lm_lesson *lesson, struct lm_cache *cache, float *logits, struct written *written, loam_error *error)
{
    const struct lm_config *c = lm_model_config(lesson->model);
    struct lm_sampler *sampler;
    const loam_sampling how = {.temperature = 0.7, .top_p = 1, .repetition_penalty = 1, .top_k = TOP, .seed = lesson->options->seed};
    float *copy = lm_alloc((size_t)c->vocabulary, sizeof *copy, error);
    int code = copy ? lm_sampler_create(&how, c->vocabulary, &sampler, error) : LOAM_ENOMEM;
    if (code) {
        lm_free(copy);
        return code;
    }
    while (written->count < WRITTEN && !code && lm_cache_length(cache) < lm_cache_capacity(cache)) {
        int32_t best[2], id;
        find_best(logits, c->vocabulary, 2, best);
        memcpy(copy, logits, (size_t)c->vocabulary * sizeof *copy);
        code = lm_sampler_pick(sampler, copy, &id, error);
        if (code)
            break;
        const int64_t at = written->count++;
        written->ids[at] = id;
        written->shares[at] = share_of(logits, c->vocabulary, id, 1);
        written->runner_up[at] = best[0] == id ? best[1] : best[0];
        written->second[at] = share_of(logits, c->vocabulary, written->runner_up[at], 1);
        code = lm_model_extend(lesson->model, cache, &id, 1, &logits, error);
    }
    lm_sampler_free(sampler);
    lm_free(copy);
    return code;
}

static int show_written(struct lm_lesson *lesson, const struct written *written, loam_error *error)
{
    static const char *const columns[] = {"taken", "best other"};
    char **labels, **others;
    double values[2 * WRITTEN];
    struct lm_bytes text = {0}, clean = {0};
    int code = lm_labels_make(lesson->tokenizer, written->ids, written->count, &labels, error);
    if (code)
        return code;
    code = lm_labels_make(lesson->tokenizer, written->runner_up, written->count, &others, error);
    if (code) {
        lm_free_strings(labels, (size_t)written->count);
        return code;
    }
    for (int64_t i = 0; i < written->count; i++) {
        values[2 * i] = written->shares[i];
        values[2 * i + 1] = written->second[i];
    }
    const struct lm_block table = {.kind = LM_BLOCK_TABLE, .name = "written", .title = "What it wrote, token by token, and how likely it held "
                                   "that", .rows = written->count, .columns = 2, .row_names = (const char *const *)labels,
                                   .column_names = columns, .values = values, .decimals = 4};
    lm_page_add(lesson->page, &table);
    const struct lm_block other = {.kind = LM_BLOCK_TOKENS, .name = "others", .title = "What it would else have taken", .columns = 1,
                                   .rows = written->count, .row_names = (const char *const *)others};
    lm_page_add(lesson->page, &other);
    code = lm_tokenizer_decode(lesson->tokenizer, written->ids, (size_t)written->count, false, &text, error);
    if (!code)
        code = lm_label_write(text.data ? text.data : "", text.length, &clean, error);
    if (!code)
        lm_page_fact_text(lesson->page, "text", "as text", clean.data);
    lm_bytes_free(&text);
    lm_bytes_free(&clean);
    lm_free_strings(labels, (size_t)written->count);
    lm_free_strings(others, (size_t)written->count);
    return code;
}

int lm_teach_generation(struct lm_lesson *lesson, loam_error *error)
{
    struct lm_page *page = lesson->page;
    struct lm_cache *cache = NULL;
    struct written written = {.count = 0};
    float *logits;
    int code = lm_lesson_model(lesson, error);
    if (!code)
        code = lm_lesson_encode(lesson, error);
    if (!code)
        code = lm_lesson_train(lesson, error);
    if (code)
        return code;
    const struct lm_config *c = lm_model_config(lesson->model);
    const int64_t count = (int64_t)lesson->ids.length, room = count + WRITTEN < c->context ? count + WRITTEN : c->context;
    code = lm_cache_create(lesson->model, room, LM_F32, &cache, error);
    if (!code)
        code = lm_model_extend(lesson->model, cache, lesson->ids.data, count, &logits, error);
    if (!code) {
        lm_page_say(page, "A model writes one token at a time: it reads all that stands there, gives every token of its vocabulary a logit, one is "
                    "taken, and it begins again with that one behind the text.");
        if (!lesson->options->model)
            lm_page_say(page, "The model here is a small one that has just been trained for a moment on the built-in text, only to have something "
                        "to say. MODEL takes yours.");
        code = show_choice(lesson, logits, c->vocabulary, error);
    }
    if (!code)
        code = write_on(lesson, cache, logits, &written, error);
    if (!code) {
        lm_page_say(page, "And so on, with a temperature below one and the top few:");
        code = show_written(lesson, &written, error);
    }
    lm_page_say(page, "To try: another --seed draws another text; loam generate has all the settings.");
    lm_cache_free(cache);
    return code;
}
