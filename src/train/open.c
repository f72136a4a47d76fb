/* Bringing a run together: settings, model, tokenizer, data, memory. Whatever does not fit is refused here, before the
 * run's directory is touched. */
#include "run.h"
#include "sources.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_DEFAULT_WARMUP = 500, DETAIL_ROOM = 256 };

void lm_run_note(const struct lm_run *run, const char *format, ...)
{
    const loam_observer *observer = run->hooks->observer;
    if (!observer || !observer->note)
        return;
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    lm_format_list(line, sizeof line, format, arguments);
    va_end(arguments);
    observer->note(observer->user, line);
}

static bool ids_only(const struct lm_run_sources *sources)
{
    for (size_t i = 0; i < sources->count; i++) {
        const char *path = sources->items[i].path;
        const size_t length = strlen(path);
        if (length < 4 || strcmp(path + length - 4, ".ids") != 0)
            return false;
    }
    return true;
}

static int name_paths(struct lm_run *run, const char *directory, loam_error *error)
{
    run->directory = lm_copy_string(directory, strlen(directory), error);
    run->checkpoints = run->directory ? lm_path_join(directory, "checkpoints", error) : NULL;
    run->yaml_path = run->checkpoints ? lm_path_join(directory, "run.yaml", error) : NULL;
    run->log_path = run->yaml_path ? lm_path_join(directory, "log.jsonl", error) : NULL;
    return run->log_path ? LOAM_OK : LOAM_ENOMEM;
}

static int take_lock(struct lm_run *run, loam_error *error)
{
    char *path = lm_path_join(run->directory, ".lock", error);
    int code = path ? lm_lock_take(path, &run->lock, error) : LOAM_ENOMEM;
    lm_free(path);
    if (code == LOAM_EBUSY)
        return lm_fail(error, LOAM_EBUSY,
                       "%s: another run is going on in this directory; wait until it has ended, or choose "
                       "another directory",
                       run->directory);
    return code;
}

/* --- Where a run starts from --- */

static bool has_file(const char *folder, const char *name)
{
    char *path = lm_path_join(folder, name, NULL);
    const bool there = path && lm_file_exists(path);
    lm_free(path);
    return there;
}

static int refuse_used(const struct lm_run *run, loam_error *error)
{
    if (lm_file_exists(run->yaml_path))
        return lm_fail(error, LOAM_EUSAGE,
                       "%s: holds a run already; go on with it by --resume, or choose another directory",
                       run->directory);
    if (has_file(run->directory, "config.json") || has_file(run->directory, "model.safetensors"))
        return lm_fail(error, LOAM_EUSAGE, "%s: holds a model, which the run would overwrite; choose another directory",
                       run->directory);
    return LOAM_OK;
}

static int resolve_paths(struct lm_run *run, loam_error *error)
{
    int code = lm_path_resolve(&run->settings.model, error);
    if (code == LOAM_OK)
        code = lm_run_sources_resolve(&run->settings.data, error);
    return code == LOAM_OK ? lm_run_sources_resolve(&run->settings.eval_data, error) : code;
}

static int start_new(struct lm_run *run, const struct lm_run_settings *settings, loam_error *error)
{
    int code = lm_run_settings_copy(settings, &run->settings, error);
    if (code == LOAM_OK)
        code = lm_run_settings_check(&run->settings, error);
    if (code == LOAM_OK && run->settings.ranks > 1)
        code = lm_fail(error, LOAM_EUNSUPPORTED, "setting 'ranks': found %lld; this version runs on one rank, and plans for more "
                       "(loam plan)", (long long)run->settings.ranks);
    if (code == LOAM_OK)
        code = refuse_used(run, error);
    return code == LOAM_OK ? resolve_paths(run, error) : code;
}

static int start_again(struct lm_run *run, const struct lm_run_settings *changed, loam_error *error)
{
    if (!lm_file_exists(run->yaml_path))
        return lm_fail(error, LOAM_ENOTFOUND, "%s: there is no run here to go on with; start one without --resume",
                       run->yaml_path);
    int code = take_lock(run, error);
    if (code == LOAM_OK)
        code = changed ? lm_run_settings_copy(changed, &run->settings, error)
                       : lm_run_settings_open(&run->settings, run->yaml_path, error);
    if (code == LOAM_OK)
        code = lm_run_settings_check(&run->settings, error);
    if (code == LOAM_OK && changed && lm_path_resolve(&run->settings.model, NULL) == LOAM_ENOMEM)
        code = LOAM_ENOMEM; /* a base that has gone since is not needed any more */
    if (code == LOAM_OK && changed)
        code = lm_run_sources_resolve(&run->settings.data, error);
    if (code == LOAM_OK && changed)
        code = lm_run_sources_resolve(&run->settings.eval_data, error);
    if (code == LOAM_OK)
        code = lm_checkpoint_find(run->checkpoints, &run->resumed, error);
    if (code != LOAM_OK || !run->resumed)
        return code;
    code = lm_checkpoint_verify(run->resumed, &run->state, error);
    if (code == LOAM_OK && run->state.weights_only && run->state.step < run->settings.steps &&
        !run->state.stopped_early)
        return lm_fail(error, LOAM_EUNSUPPORTED,
                       "%s: holds weights only, without the optimizer's state, so that this run cannot go on; start a new "
                       "one from it: loam %s %s -o DIR",
                       run->resumed, run->settings.command == LM_RUN_TRAIN ? "train" : "finetune", run->resumed);
    return code;
}

/* --- Tokenizer and template --- */

static int check_base_tokenizer(const struct lm_run *run, loam_error *error)
{
    const char *base = run->settings.model;
    struct lm_tokenizer *tokenizer;
    if (!run->state.base_tokenizer || !has_file(base, "tokenizer.json"))
        return LOAM_OK;
    int code = lm_tokenizer_load(base, &tokenizer, error);
    if (code != LOAM_OK)
        return code;
    const uint64_t found = lm_tokenizer_fingerprint(tokenizer);
    lm_tokenizer_free(tokenizer);
    if (found == run->state.base_tokenizer)
        return LOAM_OK;
    if (run->changes_allowed) {
        lm_run_note(run, "%s: its tokenizer is another than the one this run began with; the run keeps its own", base);
        return LOAM_OK;
    }
    return lm_fail(error, LOAM_EMISMATCH,
                   "%s: its tokenizer is another than the one this run began with (fingerprint "
                   "%016llx, then %016llx); put the old tokenizer.json back, start a new run, or go on with the "
                   "run's own by --allow-changes",
                   base, (unsigned long long)found, (unsigned long long)run->state.base_tokenizer);
}

static int open_template(struct lm_run *run, const char *from, loam_error *error)
{
    size_t added = 0;
    const char *name = run->settings.faithful ? "guanaco" : run->settings.template_name;
    int code = lm_template_find(name, from, &run->chat_template, error);
    if (code == LOAM_OK)
        code = lm_template_fit(run->chat_template, run->tokenizer, run->settings.add_tokens, &added, error);
    if (code != LOAM_OK)
        return code;
    run->tokens_added = added > 0;
    if (added > 0)
        lm_run_note(run, "%zu tokens of the template %s were added to the vocabulary", added,
                    lm_template_name(run->chat_template));
    return LOAM_OK;
}

static int open_tokenizer(struct lm_run *run, loam_error *error)
{
    const struct lm_run_settings *settings = &run->settings;
    const char *from = run->resumed ? run->resumed : settings->model;
    const bool needed = !ids_only(&settings->data) || !ids_only(&settings->eval_data);
    if (!needed && !has_file(from, "tokenizer.json"))
        return LOAM_OK;
    int code = run->resumed ? check_base_tokenizer(run, error) : LOAM_OK;
    if (code == LOAM_OK)
        code = lm_tokenizer_load(from, &run->tokenizer, error);
    if (code != LOAM_OK)
        return code;
    if (!run->resumed)
        run->state.base_tokenizer = lm_tokenizer_fingerprint(run->tokenizer);
    if (settings->command == LM_RUN_FINETUNE && (needed || settings->template_name || settings->faithful))
        code = open_template(run, from, error);
    if (code != LOAM_OK)
        return code;
    const uint64_t found = lm_tokenizer_fingerprint(run->tokenizer);
    if (run->resumed && found != run->state.tokenizer)
        return lm_fail(error, LOAM_EMISMATCH,
                       "%s: its tokenizer is another than the run's (fingerprint %016llx, then "
                       "%016llx)",
                       from, (unsigned long long)found, (unsigned long long)run->state.tokenizer);
    run->state.tokenizer = found;
    return LOAM_OK;
}

/* --- Model and data --- */

static int64_t memory_limit(const struct lm_run_settings *settings)
{
    const int64_t machine = lm_memory_limit();
    return machine > 0 && machine < settings->memory ? machine : settings->memory;
}

/* With a limit: what is left open is chosen for it. What the process has taken already, for a tokenizer say, is taken off. */
static int choose_memory(struct lm_run *run, loam_error *error)
{
    struct lm_run_settings *settings = &run->settings;
    struct lm_fit list[LM_FITS];
    size_t count, changes;
    char size[32], total[32];
    if (settings->memory <= 0 || run->resumed)
        return LOAM_OK;
    int code = lm_run_settings_settle_length(settings, error);
    enum { DATA_TO_COME = 4 << 20 };    /* bytes that opening the data leaves behind, as a rule; the last word is open_memory's */
    int64_t limit = memory_limit(settings) - DATA_TO_COME;
    bool settled = false;
    for (int round = 0; code == LOAM_OK && round < 2 && !settled; round++) {
        code = lm_run_fit(settings, limit, run->directory, list, &count, &changes, error);
        struct lm_run_plan plan = {.other = lm_run_other()};    /* the search itself leaves something behind */
        lm_run_plan_count(&plan);
        const int64_t left = memory_limit(settings) - DATA_TO_COME - (int64_t)(plan.other - lm_run_other());
        settled = code == LOAM_OK && (count == 0 || (int64_t)list[0].plan.total <= left);
        limit = settled ? limit : left;
    }
    if (code != LOAM_OK)
        return code;
    lm_format_size(memory_limit(settings), size);
    if (count > 0) {
        lm_fit_apply(&list[0], settings);
        lm_format_size((int64_t)list[0].plan.total, total);
        lm_run_note(run, "for %s of memory: %s; %s, %.3g seconds a step; costs: %s", size, list[0].changes, total,
                    list[0].plan.seconds_per_step, list[0].cost);
        return LOAM_OK;
    }
    struct lm_bytes text = {0};
    lm_fit_list_text(list, changes, &text);
    lm_fail(error, LOAM_ENOMEM, "nothing that the settings leave open fits into %s%s", size, text.data ? text.data : "");
    lm_bytes_free(&text);
    return LOAM_ENOMEM;
}

/* The model's configuration says how what it learns here ends: a conversation with its end of turn, a text with the tokenizer's end where
 * the base named none. */
static void set_end(struct lm_run *run)
{
    const int32_t end = lm_run_end(run);
    if (end >= 0 && (run->chat_template || lm_model_config(run->model)->eos < 0))
        lm_model_set_eos(run->model, end);
}

static int open_model(struct lm_run *run, loam_error *error)
{
    struct lm_run_settings *settings = &run->settings;
    if (settings->threads < 0)
        settings->threads = lm_processors();
    int code = lm_device_open(&(struct lm_device_options){.threads = (int)settings->threads}, &run->device, error);
    if (code != LOAM_OK)
        return code;
    const char *from = run->resumed ? run->resumed : settings->model;
    struct lm_model_options options = {.load = true, .later = true, .dtype = settings->dtype,
                                       .narrow = lm_run_form_of(settings).narrow};
    code = lm_model_open(from, run->device, &options, &run->model, error);
    const int64_t size = run->tokenizer ? lm_tokenizer_size(run->tokenizer) : 0;
    if (code != LOAM_OK)
        return code;
    if (size <= lm_model_config(run->model)->vocabulary) {
        set_end(run);
        return LOAM_OK;
    }
    if (!run->tokens_added)
        return lm_fail(error, LOAM_EMISMATCH,
                       "%s: the tokenizer has ids up to %lld and the model a vocabulary of %lld; take "
                       "the tokenizer that belongs to the model",
                       from, (long long)size - 1, (long long)lm_model_config(run->model)->vocabulary);
    lm_model_close(run->model);
    run->model = NULL;
    options.vocabulary = size;
    code = lm_model_open(from, run->device, &options, &run->model, error);
    if (code == LOAM_OK)
        set_end(run);
    return code;
}

static int settle_length(struct lm_run *run, loam_error *error)
{
    struct lm_run_settings *settings = &run->settings;
    const int64_t context = lm_model_config(run->model)->context;
    if (settings->seq < 0)
        settings->seq = context < LM_LONGEST_DEFAULT_SEQ ? context : LM_LONGEST_DEFAULT_SEQ;
    if (settings->seq > context)
        return lm_fail(error, LOAM_EUSAGE,
                       "setting 'seq': found %lld, and the model's context is %lld; use at most that",
                       (long long)settings->seq, (long long)context);
    return LOAM_OK;
}

/* NULL: none, the encoded data lie in memory. Where the user's cache cannot be written, the run's directory has it. */
static int choose_cache(const struct lm_run *run, char **cache, loam_error *error)
{
    const char *wanted = run->settings.cache;
    *cache = NULL;
    if (wanted && strcmp(wanted, "none") == 0)
        return LOAM_OK;
    *cache = wanted ? lm_copy_string(wanted, strlen(wanted), error) : lm_samples_cache();
    if (!*cache && !wanted)
        *cache = lm_path_join(run->directory, "encoded", error);
    return *cache ? LOAM_OK : LOAM_ENOMEM;
}

/* Files of ids are used as they stand: a line a row. */
static int open_samples(const struct lm_run *run, const struct lm_run_sources *sources, bool training,
                        struct lm_samples **samples, loam_error *error)
{
    const struct lm_run_settings *settings = &run->settings;
    struct lm_source *list = lm_alloc(sources->count, sizeof *list, error);
    if (!list)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < sources->count; i++)
        list[i] = (struct lm_source){.path = sources->items[i].path, .weight = sources->items[i].weight};
    struct lm_samples_options options = {
        .kind = settings->command == LM_RUN_FINETUNE ? LM_SAMPLES_CHAT : LM_SAMPLES_TEXT,
        .sources = list,
        .source_count = sources->count,
        .tokenizer = run->tokenizer,
        .chat_template = run->chat_template,
        .vocabulary = (int32_t)lm_model_config(run->model)->vocabulary,
        .threads = (int)settings->threads,
        .length = settings->seq,
        .batch = settings->batch,
        .train_on_all = settings->train_on_all,
        .faithful = settings->faithful,
        .pack = !settings->no_pack && !settings->faithful && !ids_only(sources),
        .shuffle = training && !settings->no_shuffle,
        .seed = settings->seed,
        .observer = run->hooks->observer,
    };
    char *cache = NULL;
    int code = choose_cache(run, &cache, error);
    options.cache = cache;
    if (code == LOAM_OK)
        code = lm_samples_open(&options, samples, error);
    lm_free(cache);
    lm_free(list);
    return code;
}

static int check_data(struct lm_run *run, const char *what, uint64_t found, uint64_t wanted, loam_error *error)
{
    if (!run->resumed || found == wanted)
        return LOAM_OK;
    if (!run->changes_allowed)
        return lm_fail(error, LOAM_EMISMATCH,
                       "%s: the setting '%s' in it names files that have changed since the run began "
                       "(fingerprint %016llx, then %016llx); put the old files back, start a new run, or go on with "
                       "what is there now by --allow-changes",
                       run->yaml_path, what, (unsigned long long)found, (unsigned long long)wanted);
    lm_run_note(run, "%s: gives other samples, or another order of them, than when the run began", what);
    if (strcmp(what, "data") == 0)
        run->state.place.batch = 0;
    return LOAM_OK;
}

static int open_data(struct lm_run *run, loam_error *error)
{
    const struct lm_run_settings *settings = &run->settings;
    int code = open_samples(run, &settings->data, true, &run->samples, error);
    if (code == LOAM_OK && settings->eval_data.count > 0)
        code = open_samples(run, &settings->eval_data, false, &run->eval_samples, error);
    if (code != LOAM_OK)
        return code;
    const uint64_t data = lm_samples_fingerprint(run->samples);
    const uint64_t eval_data = run->eval_samples ? lm_samples_fingerprint(run->eval_samples) : 0;
    code = check_data(run, "data", data, run->state.data, error);
    if (code == LOAM_OK)
        code = check_data(run, "eval_data", eval_data, run->state.eval_data, error);
    if (code != LOAM_OK)
        return code;
    run->state.data = data;
    run->state.eval_data = eval_data;
    run->batches = lm_samples_batches(run->samples);
    if (run->batches < 1)
        return lm_fail(error, LOAM_EUSAGE, "the data gives no batch to train on; give a longer file");
    return LOAM_OK;
}

static void settle_steps(struct lm_run *run)
{
    struct lm_run_settings *settings = &run->settings;
    run->steps_an_epoch = (run->batches + settings->accumulate - 1) / settings->accumulate;
    if (settings->epochs < 0 && settings->steps < 0)
        settings->epochs = settings->command == LM_RUN_TRAIN ? 1 : 3;
    if (settings->epochs > 0) {
        const double exact = ceil(settings->epochs * (double)run->steps_an_epoch - 1e-9);
        const int64_t steps = exact < 1 ? 1 : exact > LM_SETTING_MANY ? LM_SETTING_MANY : (int64_t)exact;
        settings->steps = settings->steps > 0 && settings->steps < steps ? settings->steps : steps;
    }
    if (settings->warmup_percent >= 0)
        settings->warmup = lm_run_warmup_steps(settings->warmup_percent, settings->steps);
    settings->warmup_percent = LM_SETTING_AUTO;
    if (settings->warmup < 0)
        settings->warmup =
            settings->steps / 20 < LONGEST_DEFAULT_WARMUP ? settings->steps / 20 : LONGEST_DEFAULT_WARMUP;
    if (settings->min_lr < 0)
        settings->min_lr = settings->lr / 10;
    const struct lm_run_form form = lm_run_form_of(settings);
    if (settings->dtype == LM_BF16)
        settings->masters = form.masters;
    settings->gradients = form.gradients_bf16 ? LM_GRADIENTS_BF16 : LM_GRADIENTS_F32;
    settings->products = form.narrow ? LM_PRODUCTS_BF16 : LM_PRODUCTS_F32;
}

/* --- The directory and the arena --- */

static int write_settings(const struct lm_run *run, loam_error *error)
{
    struct lm_bytes yaml = {0};
    int code = lm_run_settings_write(&run->settings, &yaml, error);
    if (code == LOAM_OK)
        code = lm_file_replace(run->yaml_path, yaml.data, yaml.length, error);
    lm_bytes_free(&yaml);
    return code;
}

/* A killed run leaves the temporary files that it was writing: ".NAME.part". The lock is held, so they are nobody's. */
static void remove_leftovers(const struct lm_run *run)
{
    char **names;
    size_t count;
    if (lm_list_directory(run->directory, &names, &count, NULL) != LOAM_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(names[i]);
        char *path = lm_path_join(run->directory, names[i], NULL);
        if (path && names[i][0] == '.' && length > 5 && strcmp(names[i] + length - 5, ".part") == 0)
            remove(path);
        lm_free(path);
    }
    lm_free_strings(names, count);
}

static int open_log(struct lm_run *run, loam_error *error)
{
    char *folder = lm_path_join(run->directory, "tensorboard", error);
    char *events = folder ? lm_path_join(folder, "events.out.tfevents.0000000000.loam", error) : NULL;
    int code = events ? lm_make_directories(folder, error) : LOAM_ENOMEM;
    if (code == LOAM_OK)
        code = lm_run_log_open(&run->log, run->log_path, events, run->state.step, error);
    lm_free(events);
    lm_free(folder);
    return code;
}

static int prepare_directory(struct lm_run *run, int start, loam_error *error)
{
    const bool resume = start != LM_RUN_NEW;
    if (resume)
        remove_leftovers(run);
    int code = resume ? LOAM_OK : lm_make_directories(run->directory, error);
    if (code == LOAM_OK && !resume)
        code = take_lock(run, error);
    if (code == LOAM_OK && !resume)
        code = refuse_used(run, error);
    if (code == LOAM_OK && start != LM_RUN_RESUME)
        code = write_settings(run, error);
    if (code == LOAM_OK)
        code = run->resumed ? lm_kit_restore(run, error) : lm_kit_make(run, error);
    return code == LOAM_OK ? open_log(run, error) : code;
}

/* The message of what does not fit, with what would. */
static int name_changes(const struct lm_run *run, loam_error *error)
{
    struct lm_bytes text = {0};
    const int64_t machine = lm_memory_limit(), asked = run->settings.memory;
    const int64_t limit = asked > 0 && (machine <= 0 || asked < machine) ? asked : machine;
    const int64_t more = (int64_t)run->memory.plan.other - (int64_t)lm_run_other();
    char message[sizeof error->message];
    snprintf(message, sizeof message, "%s", error->message);
    lm_run_fit_text(&run->settings, limit - more, run->directory, &text);
    lm_fail(error, LOAM_ENOMEM, "%s%s", message, text.data ? text.data : "");
    lm_bytes_free(&text);
    return LOAM_ENOMEM;
}

static int open_memory(struct lm_run *run, loam_error *error)
{
    const struct lm_run_settings *settings = &run->settings;
    const int64_t micro_batches = settings->accumulate < run->batches ? settings->accumulate : run->batches;
    int code = lm_run_memory_lay_out(&run->memory, settings, run->model, micro_batches, error);
    if (code != LOAM_OK)
        return code;
    lm_run_plan_count(&run->memory.plan);
    code = lm_run_memory_fits(&run->memory, settings, error);
    if (code == LOAM_ENOMEM && error)
        return name_changes(run, error);
    return code == LOAM_OK && !run->hooks->throwaway ? lm_checkpoint_fits(run, error) : code;
}

static int load(struct lm_run *run, loam_error *error)
{
    int code = lm_run_memory_map(&run->memory, run->directory, error);
    if (code == LOAM_OK && run->resumed && !run->state.weights_only)
        code = lm_checkpoint_load(run, error);
    return code == LOAM_OK ? lm_device_check(run->device, error) : code;
}

int lm_run_open(struct lm_run *run, const struct lm_run_settings *settings, const char *directory, int start,
                loam_error *error)
{
    run->log.file = -1;
    run->changes_allowed = start == LM_RUN_RESUME_CHANGED;
    run->state.eval_loss = run->state.best_loss = run->state.grad_norm = NAN;
    int code = name_paths(run, directory, error);
    if (code == LOAM_OK)
        code = start == LM_RUN_NEW ? start_new(run, settings, error)
                                   : start_again(run, start == LM_RUN_RESUME ? NULL : settings, error);
    if (code == LOAM_OK)
        code = open_tokenizer(run, error);
    if (code == LOAM_OK)
        code = choose_memory(run, error);
    if (code == LOAM_OK)
        code = open_model(run, error);
    if (code == LOAM_OK)
        code = settle_length(run, error);
    if (code == LOAM_OK)
        code = open_data(run, error);
    if (code != LOAM_OK)
        return code;
    settle_steps(run);
    run->first_step = run->state.step + 1;
    code = lm_bytes_reserve(&run->detail, DETAIL_ROOM, error);
    if (code == LOAM_OK)
        code = open_memory(run, error);
    if (code == LOAM_OK)
        code = prepare_directory(run, start, error);
    return code == LOAM_OK ? load(run, error) : code;
}

void lm_run_close(struct lm_run *run)
{
    lm_run_log_close(&run->log);
    lm_bytes_free(&run->detail);
    if (run->device)
        lm_device_give_scratch(run->device, NULL, 0);
    lm_run_memory_free(&run->memory);
    lm_samples_close(run->samples);
    lm_samples_close(run->eval_samples);
    lm_model_close(run->model);
    lm_tokenizer_free(run->tokenizer);
    lm_template_free(run->chat_template);
    lm_device_close(run->device);
    lm_lock_release(run->lock);
    lm_run_settings_free(&run->settings);
    lm_free(run->resumed);
    lm_free(run->directory);
    lm_free(run->checkpoints);
    lm_free(run->yaml_path);
    lm_free(run->log_path);
}
