/* Checkpoints: made under a temporary name, brought to the disk, renamed. Old ones go when the new one is safe. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_FILES = 1 << 20 };

char *lm_checkpoint_path(const char *checkpoints, int64_t step, loam_error *error)
{
    char name[40];
    snprintf(name, sizeof name, "step-%" PRId64, step);
    return lm_path_join(checkpoints, name, error);
}

static void hex(struct lm_json_writer *writer, const char *key, uint64_t value)
{
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, value);
    lm_json_key(writer, key);
    lm_json_text(writer, text);
}

static void integer(struct lm_json_writer *writer, const char *key, int64_t value)
{
    lm_json_key(writer, key);
    lm_json_int(writer, value);
}

static void number(struct lm_json_writer *writer, const char *key, double value)
{
    lm_json_key(writer, key);
    lm_json_double(writer, value);
}

static void write_progress(struct lm_json_writer *writer, const struct lm_run *run)
{
    const struct lm_run_state *state = &run->state;
    integer(writer, "format", 1);
    lm_json_key(writer, "loam");
    lm_json_text(writer, loam_version());
    lm_json_key(writer, "device");
    lm_json_text(writer, lm_device_name(run->device));
    integer(writer, "step", state->step);
    integer(writer, "epoch", state->place.epoch);
    integer(writer, "batch", state->place.batch);
    number(writer, "loss", state->loss);
    number(writer, "grad_norm", state->grad_norm);
    number(writer, "eval_loss", state->eval_loss);
    number(writer, "best_loss", state->best_loss);
    integer(writer, "best_step", state->best_step);
    integer(writer, "worse", state->worse);
    lm_json_key(writer, "stopped_early");
    lm_json_bool(writer, state->stopped_early);
    lm_json_key(writer, "weights_only");
    lm_json_bool(writer, run->settings.weights_only);
    hex(writer, "tokenizer", state->tokenizer);
    hex(writer, "base_tokenizer", state->base_tokenizer);
    hex(writer, "data", state->data);
    hex(writer, "eval_data", state->eval_data);
}

static int write_file_entry(struct lm_json_writer *writer, const char *folder, const char *name, loam_error *error)
{
    uint64_t hash;
    int64_t bytes;
    char *path = lm_path_join(folder, name, error);
    int code = path ? lm_file_hash(path, &hash, &bytes, error) : LOAM_ENOMEM;
    lm_free(path);
    if (code != LOAM_OK)
        return code;
    lm_json_key(writer, name);
    lm_json_begin_object(writer);
    integer(writer, "bytes", bytes);
    hex(writer, "xxh3", hash);
    lm_json_end_object(writer);
    return LOAM_OK;
}

static int compose_state(const struct lm_run *run, const char *folder, struct lm_bytes *text, loam_error *error)
{
    char **names;
    size_t count;
    int code = lm_list_directory(folder, &names, &count, error);
    if (code != LOAM_OK)
        return code;
    struct lm_json_writer writer = lm_json_writer(text, 2);
    lm_json_begin_object(&writer);
    write_progress(&writer, run);
    lm_json_key(&writer, "files");
    lm_json_begin_object(&writer);
    for (size_t i = 0; code == LOAM_OK && i < count; i++)
        code = write_file_entry(&writer, folder, names[i], error);
    lm_json_end_object(&writer);
    lm_json_end_object(&writer);
    lm_free_strings(names, count);
    return code == LOAM_OK ? lm_json_writer_finish(&writer, error) : code;
}

static int write_state(const struct lm_run *run, const char *folder, loam_error *error)
{
    struct lm_bytes text = {0};
    char *path = NULL;
    int code = compose_state(run, folder, &text, error);
    if (code == LOAM_OK)
        code = lm_state_seal(&text, error);
    if (code == LOAM_OK && !(path = lm_path_join(folder, "state.json", error)))
        code = LOAM_ENOMEM;
    if (code == LOAM_OK)
        code = lm_file_replace(path, text.data, text.length, error);
    lm_free(path);
    lm_bytes_free(&text);
    return code;
}

static int fill(struct lm_run *run, const char *folder, loam_error *error)
{
    int code = lm_make_directories(folder, error);
    if (code == LOAM_OK)
        code = lm_kit_copy(run, folder, error);
    if (code == LOAM_OK)
        code = lm_model_save(run->model, folder, run->settings.dtype, 0, error);
    if (code == LOAM_OK && !run->settings.weights_only)
        code = lm_state_save(run, folder, error);
    if (code == LOAM_OK)
        code = write_state(run, folder, error);
    return code == LOAM_OK ? lm_sync_directory(folder, error) : code;
}

/* Without state.json a folder is no checkpoint: it goes first, so that a half-removed one is never taken for whole. */
static int discard(const char *folder, loam_error *error)
{
    char *marker = lm_path_join(folder, "state.json", error);
    if (!marker)
        return LOAM_ENOMEM;
    int code = remove(marker) == 0 || errno == ENOENT ? LOAM_OK : lm_fail_errno(error, errno, "%s", marker);
    lm_free(marker);
    return code == LOAM_OK ? lm_remove_tree(folder, error) : code;
}

static int64_t checkpoint_bytes(const struct lm_run *run)
{
    return (int64_t)run->memory.plan.checkpoint + SMALL_FILES + lm_kit_bytes(run);
}

/* The first folder of the path that is there. */
static int space_at(const char *path, int64_t *space, loam_error *error)
{
    char *at = lm_copy_string(path, strlen(path), error);
    if (!at)
        return LOAM_ENOMEM;
    while (!lm_is_directory(at)) {
        char *slash = strrchr(at, '/');
        if (slash == at || !slash) {
            strcpy(at, slash ? "/" : ".");
            break;
        }
        *slash = 0;
    }
    int code = lm_free_space(at, space, error);
    lm_free(at);
    return code;
}

/* The kept ones, the best, and the new one beside them. */
static int64_t most_held(const struct lm_run_settings *settings)
{
    return settings->keep + (settings->eval_data.count > 0) + 1;
}

int64_t lm_checkpoints_held(const struct lm_run_settings *settings, int64_t step)
{
    const int64_t held = most_held(settings), every = settings->save_every;
    if (settings->steps < 0)
        return held;
    int64_t made = settings->steps - step;
    if (!settings->eval_data.count)    /* saved by the number of steps, and at the end */
        made = every > 0 ? settings->steps / every - step / every + (settings->steps % every != 0) : made > 0;
    return made < held ? made : held;
}

int lm_checkpoint_fits(const struct lm_run *run, loam_error *error)
{
    const struct lm_run_settings *settings = &run->settings;
    int64_t *steps, space;
    const int64_t most = lm_checkpoints_held(settings, run->state.step);
    size_t count;
    int code = lm_checkpoint_list(run->checkpoints, &steps, &count, error);
    if (code != LOAM_OK)
        return code;
    lm_free(steps);
    code = space_at(run->checkpoints, &space, error);
    const int64_t held = most_held(settings);
    int64_t wanted = held - (int64_t)count < most ? held - (int64_t)count : most;
    wanted = wanted < 0 ? 0 : wanted;
    const int64_t one = checkpoint_bytes(run);
    if (code != LOAM_OK || space / one >= wanted)
        return code;
    char each[32], have[32];
    lm_format_size(one, each);
    lm_format_size(space, have);
    return lm_fail(error, LOAM_ENOSPACE,
                   "%s: the run will hold %lld checkpoints of %s at once (keep %lld) and the disk has %s left; make room, "
                   "keep fewer with --keep%s, or write to another disk with --out",
                   run->directory, (long long)wanted, each, (long long)settings->keep, have,
                   settings->weights_only ? "" : ", leave the optimizer's state out with --weights-only");
}

static int check_room(const struct lm_run *run, loam_error *error)
{
    const int64_t needed = checkpoint_bytes(run);
    int64_t space;
    int code = lm_free_space(run->checkpoints, &space, error);
    if (code != LOAM_OK || space >= needed)
        return code;
    char need[32], have[32];
    lm_format_size(needed, need);
    lm_format_size(space, have);
    return lm_fail(error, LOAM_ENOSPACE,
                   "%s: a checkpoint takes %s and the disk has %s left; what was saved before is whole: "
                   "make room, then go on with --resume",
                   run->checkpoints, need, have);
}

/* Keeps the newest ones and the best. */
static void prune(struct lm_run *run)
{
    int64_t *steps;
    size_t count;
    loam_error error = {0};
    if (lm_checkpoint_list(run->checkpoints, &steps, &count, &error) != LOAM_OK) {
        lm_run_note(run, "old checkpoints could not be looked at: %s", error.message);
        return;
    }
    for (size_t i = 0; i + (size_t)run->settings.keep < count; i++) {
        if (steps[i] == run->state.best_step || steps[i] == run->state.step)
            continue;
        char *path = lm_checkpoint_path(run->checkpoints, steps[i], &error);
        if (!path || discard(path, &error) != LOAM_OK)
            lm_run_note(run, "an old checkpoint stays: %s", error.message);
        lm_free(path);
    }
    lm_free(steps);
}

/* One of the same name goes when the new one has its place. */
static int put_in_place(const char *checkpoints, const char *made, const char *path, loam_error *error)
{
    const bool there = lm_is_directory(path);
    int failed = renameat2(AT_FDCWD, made, AT_FDCWD, path, there ? RENAME_EXCHANGE : 0);
    if (failed && there && (errno == EINVAL || errno == ENOSYS)) { /* a file system that cannot exchange names */
        int code = discard(path, error);
        if (code != LOAM_OK)
            return code;
        failed = rename(made, path);
    }
    if (failed)
        return lm_fail_errno(error, errno, "%s: cannot be renamed to %s", made, path);
    int code = lm_sync_directory(checkpoints, error);
    return code == LOAM_OK ? lm_remove_tree(made, error) : code;
}

int lm_checkpoint_save(struct lm_run *run, loam_error *error)
{
    int code = lm_make_directories(run->checkpoints, error);
    if (code == LOAM_OK)
        code = check_room(run, error);
    if (code == LOAM_OK)
        code = lm_run_log_sync(&run->log, error);
    if (code != LOAM_OK)
        return code;
    char *made = lm_path_join(run->checkpoints, ".partial", error);
    char *path = made ? lm_checkpoint_path(run->checkpoints, run->state.step, error) : NULL;
    code = path ? lm_remove_tree(made, error) : LOAM_ENOMEM;
    if (code == LOAM_OK)
        code = fill(run, made, error);
    if (code == LOAM_OK)
        code = put_in_place(run->checkpoints, made, path, error);
    if (code == LOAM_OK)
        prune(run);
    else if (made)
        lm_remove_tree(made, NULL);
    lm_free(made);
    lm_free(path);
    return code;
}
