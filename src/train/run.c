/* The loop: steps, and what happens between them. */
#include "run.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- Between steps --- */

static bool ends_epoch(const struct lm_run *run)
{
    return run->state.place.batch == 0 && !run->settings.overfit_one_batch;
}

static bool evaluation_due(const struct lm_run *run)
{
    const struct lm_run_settings *settings = &run->settings;
    if (!run->eval_samples)
        return false;
    if (run->state.step == settings->steps)
        return true;
    return settings->eval_every > 0 ? run->state.step % settings->eval_every == 0 : ends_epoch(run);
}

static void note_sample(struct lm_run *run)
{
    const struct lm_run_hooks *hooks = run->hooks;
    if (hooks->sample && run->settings.sample_prompt && run->tokenizer)
        hooks->sample(hooks->user, run->model, run->tokenizer, run->chat_template, run->settings.sample_prompt,
                      run->state.step);
}

/* The memory of a step's batches is free now: the evaluation uses that of the first. */
static int evaluate(struct lm_run *run, bool *better, loam_error *error)
{
    struct lm_batch batch = lm_run_memory_batch(&run->memory, &run->settings, 0);
    struct lm_evaluation evaluation;
    loam_observer observer = run->hooks->observer ? *run->hooks->observer : (loam_observer){0};
    observer.cancelled = NULL; /* a stop waits for the end of the evaluation, so that a resumed run sees the same */
    struct lm_pass_hooks hooks;
    lm_run_hooks_for(&run->memory, &hooks);
    int code = lm_evaluate_with(run->memory.pass, &hooks, run->eval_samples, &batch, &observer, &evaluation, error);
    if (code != LOAM_OK)
        return code;
    struct lm_run_state *state = &run->state;
    state->eval_loss = evaluation.loss;
    *better = state->best_step == 0 || evaluation.loss < state->best_loss;
    if (*better) {
        state->best_loss = evaluation.loss;
        state->best_step = state->step;
        state->worse = 0;
    } else {
        state->worse++;
    }
    state->stopped_early = run->settings.patience > 0 && state->worse >= run->settings.patience;
    const struct lm_evaluation_report report = {
        .step = state->step, .loss = evaluation.loss, .best = *better, .time = lm_time()};
    code = lm_run_log_evaluation(&run->log, &report, error);
    if (code == LOAM_OK && run->hooks->evaluation)
        run->hooks->evaluation(run->hooks->user, &report);
    return code;
}

static bool cancelled(const struct lm_run *run)
{
    const loam_observer *observer = run->hooks->observer;
    return observer && observer->cancelled && observer->cancelled(observer->user) != 0;
}

static bool done(const struct lm_run *run)
{
    return run->state.step >= run->settings.steps || run->state.stopped_early;
}

static int fail_cancelled(const struct lm_run *run, loam_error *error)
{
    return lm_fail(error, LOAM_ECANCELLED,
                   "stopped on request after step %lld of %lld, and saved as %s/step-%lld; go on "
                   "with: loam %s -o %s --resume",
                   (long long)run->state.step, (long long)run->settings.steps, run->checkpoints,
                   (long long)run->state.step, run->settings.command == LM_RUN_TRAIN ? "train" : "finetune",
                   run->directory);
}

/* Evaluation, then checkpoint, so that what the evaluation found is in the checkpoint. */
static int between(struct lm_run *run, loam_error *error)
{
    const struct lm_run_settings *settings = &run->settings;
    const bool stop = cancelled(run);
    const bool due = evaluation_due(run);
    bool better = false;
    int code = due ? evaluate(run, &better, error) : LOAM_OK;
    if (code != LOAM_OK)
        return code;
    const bool scheduled = settings->save_every > 0 ? run->state.step % settings->save_every == 0 : due;
    const bool asked = run->hooks->save_now && run->hooks->save_now(run->hooks->user);
    if ((scheduled || better || stop || asked || done(run)) && !run->hooks->throwaway)
        code = lm_checkpoint_save(run, error);
    if (code == LOAM_OK && asked)
        lm_run_note(run, "saved as asked: %s/step-%lld", run->checkpoints, (long long)run->state.step);
    if (code != LOAM_OK)
        return code;
    if (due)
        note_sample(run);
    return stop && !done(run) ? fail_cancelled(run, error) : LOAM_OK;
}

/* "45 s", "12 min", "3 h 05 min". */
static void duration_text(double seconds, char text[32])
{
    const long long whole = seconds < 1e12 ? (long long)(seconds + 0.5) : (long long)1e12;
    if (whole < 100)
        snprintf(text, 32, "%lld s", whole);
    else if (whole < 100 * 60)
        snprintf(text, 32, "%lld min", (whole + 30) / 60);
    else
        snprintf(text, 32, "%lld h %02lld min", whole / 3600, whole % 3600 / 60);
}

static int report_progress(struct lm_run *run, const struct lm_step_report *report, loam_error *error)
{
    const struct lm_run_hooks *hooks = run->hooks;
    if (hooks->step)
        hooks->step(hooks->user, report);
    if (!hooks->observer || !hooks->observer->progress)
        return LOAM_OK;
    struct lm_bytes *detail = &run->detail;
    detail->length = 0;
    const double each = run->seconds / (double)(report->step - run->first_step + 1);
    char left[32];
    duration_text((double)(report->steps - report->step) * each, left);
    int code = lm_bytes_format(detail, error, "loss %.4f  lr %.2e  norm %.2f  %.0f tokens/s", report->loss, report->lr,
                               report->grad_norm, report->tokens_per_second);
    if (code == LOAM_OK && isfinite(report->of_peak))
        code = lm_bytes_format(detail, error, "  %.0f%% of peak", 100 * report->of_peak);
    if (code == LOAM_OK)
        code = lm_bytes_format(detail, error, "  %s left", left);
    if (code == LOAM_OK)
        hooks->observer->progress(hooks->observer->user, "training", report->step, report->steps, detail->data);
    return code;
}

/* Before the first step, and every half minute: what a shared machine gives changes from minute to minute. */
static void measure_peak(struct lm_run *run)
{
    enum { AGAIN = 30 };
    const bool first = run->peak_time == 0;
    if (!run->hooks->measure_peak || (!first && lm_seconds() - run->peak_time < AGAIN))
        return;
    if (lm_device_peak(run->device, first ? 0.1 : 0.02, &run->peak_gflops, NULL) != LOAM_OK)
        run->peak_gflops = 0; /* a device without limits to measure */
    run->peak_time = lm_seconds();
}

static int go(struct lm_run *run, loam_error *error)
{
    while (!done(run)) {
        struct lm_step_report report;
        measure_peak(run);
        int code = lm_run_step(run, &report, error);
        if (code == LOAM_OK)
            code = lm_run_log_step(&run->log, &report, error);
        if (code == LOAM_OK)
            code = report_progress(run, &report, error);
        if (code == LOAM_OK)
            code = between(run, error);
        if (code != LOAM_OK)
            return code;
    }
    return LOAM_OK;
}

/* --- The end --- */

/* Weights are not written twice: both names lead to the same file where the disk can do that. Files are only ever replaced
 * whole, so that neither name sees a change of the other. */
static bool share(const char *source, const char *target, const char *name)
{
    const size_t length = strlen(name), tail = strlen(".safetensors");
    if (length < tail || strcmp(name + length - tail, ".safetensors") != 0)
        return false;
    return (unlink(target) == 0 || errno == ENOENT) && link(source, target) == 0;
}

static int copy_one(const char *from, const char *to, const char *name, loam_error *error)
{
    char *source = lm_path_join(from, name, error);
    char *target = source ? lm_path_join(to, name, error) : NULL;
    int code = !target ? LOAM_ENOMEM : share(source, target, name) ? LOAM_OK : lm_copy_file(source, target, error);
    lm_free(source);
    lm_free(target);
    return code;
}

static bool is_of_the_run(const char *name)
{
    static const char *const names[] = {"state.json", "training_state.safetensors", "config.json", NULL};
    for (const char *const *one = names; *one; one++)
        if (strcmp(name, *one) == 0)
            return true;
    return false;
}

static int copy_model(const char *from, const char *to, loam_error *error)
{
    char **names;
    size_t count;
    int code = lm_list_directory(from, &names, &count, error);
    if (code != LOAM_OK)
        return code;
    for (size_t i = 0; code == LOAM_OK && i < count; i++)
        if (!is_of_the_run(names[i]))
            code = copy_one(from, to, names[i], error);
    lm_free_strings(names, count);
    if (code == LOAM_OK)
        code = copy_one(from, to, "config.json", error);
    return code == LOAM_OK ? lm_sync_directory(to, error) : code;
}

int lm_run_finish(const struct lm_run *run, loam_error *error)
{
    const bool best = run->settings.patience > 0 && run->state.best_step > 0;
    char *from = lm_checkpoint_path(run->checkpoints, best ? run->state.best_step : run->state.step, error);
    int code = from ? copy_model(from, run->directory, error) : LOAM_ENOMEM;
    if (code == LOAM_OK && best && run->state.best_step != run->state.step)
        lm_run_note(run, "the model is that of step %lld, whose evaluation was the best",
                    (long long)run->state.best_step);
    lm_free(from);
    return code;
}

/* The arrays of every step are as long as `seq`, and the longest sample is among those that have been measured: nothing that
 * comes later needs more than what step 1 has. */
static void report_samples(const struct lm_run *run)
{
    struct lm_samples_summary summary;
    lm_samples_summarise(run->samples, &summary);
    lm_run_note(run, "%lld samples in %lld rows of %lld positions, %.0f%% filled, the longest sample %lld%s",
                (long long)summary.samples, (long long)summary.rows, (long long)run->settings.seq,
                100 * (double)summary.tokens / ((double)summary.rows * (double)run->settings.seq), (long long)summary.longest,
                lm_samples_cached(run->samples) ? " (encoded before)" : "");
}

static void report_start(const struct lm_run *run)
{
    char total[32];
    lm_format_size((int64_t)run->memory.plan.total, total);
    lm_run_note(run, "%zu parameters, %lld steps of %lld x %lld x %lld tokens, %s of memory, %s",
                run->memory.parameters, (long long)run->settings.steps, (long long)run->settings.accumulate,
                (long long)run->settings.batch, (long long)run->settings.seq, total, lm_device_name(run->device));
    if (!run->resumed)
        report_samples(run);
    if (run->settings.sample_prompt && !run->tokenizer)
        lm_run_note(run, "no samples of text: the data are token ids, and no tokenizer is read");
    if (run->resumed)
        lm_run_note(run, "going on from %s", run->resumed);
}

/* New weights begin a few percent above the loss of guessing; far above it steps have led away from everything that was there. */
static void report_end(const struct lm_run *run)
{
    const double guess = log((double)lm_model_config(run->model)->vocabulary);
    if (run->state.loss > 1.5 * guess)
        lm_run_note(run, "the last loss, %.4g, is far above %.4g, that of guessing among all tokens alike: the run has diverged; a smaller "
                    "--lr than %g, more --warmup or a --clip of 1 may help", run->state.loss, guess, run->settings.lr);
}

static void fill_result(const struct lm_run *run, struct lm_run_result *result)
{
    const struct lm_run_state *state = &run->state;
    *result = (struct lm_run_result){
        .steps = state->step,
        .first_step = run->first_step,
        .loss = state->loss,
        .eval_loss = state->eval_loss,
        .best_loss = state->best_loss,
        .best_step = state->best_step,
        .stopped_early = state->stopped_early,
        .parameters = (int64_t)run->memory.parameters,
        .seconds = run->seconds,
        .plan = run->memory.plan,
    };
}

int lm_run(const struct lm_run_settings *settings, const char *directory, int start, const struct lm_run_hooks *hooks,
           struct lm_run_result *result, loam_error *error)
{
    static const struct lm_run_hooks none = {0};
    struct lm_run run = {.hooks = hooks ? hooks : &none};
    int code = lm_run_open(&run, settings, directory, start, error);
    if (code == LOAM_OK) {
        report_start(&run);
        code = go(&run, error);
    }
    if (code == LOAM_OK)
        report_end(&run);
    if (code == LOAM_OK && !run.hooks->throwaway)
        code = lm_run_finish(&run, error);
    if (code == LOAM_OK && result)
        fill_result(&run, result);
    lm_run_close(&run);
    return code;
}
