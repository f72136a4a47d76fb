/* Stopped, killed, out of room: the run goes on and ends in the same bits as one that was left in peace. */
#include "support/tiny_run.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static loam_error error;
static struct lm_run_result result;

/* Settings with all that a resumed run has to bring back: epochs that end inside a step, warm-up, accumulation,
 * evaluation. */
static void settings_of(struct lm_run_settings *settings, const char *dtype)
{
    static const char *model, *data, *eval_data;
    if (!model) {
        model = tiny_model(1);
        data = tiny_path(test_folder(), "data.ids");
        eval_data = tiny_path(test_folder(), "eval.ids");
        tiny_ids(data, 5, 27, 17);
        tiny_ids(eval_data, 6, 5, 17);
    }
    tiny_settings(settings, model, data);
    tiny_set(settings, "eval_data", eval_data);
    tiny_set(settings, "eval_every", "6");
    tiny_set(settings, "accumulate", "3");
    tiny_set(settings, "steps", "40");
    tiny_set(settings, "warmup", "4");
    tiny_set(settings, "save_every", "4");
    tiny_set(settings, "dtype", dtype);
}

static const char *new_run(void)
{
    return tiny_path(test_folder(), "run");
}

/* The run that nothing happens to. */
static const char *whole(const char *dtype)
{
    struct lm_run_settings settings;
    const char *directory = new_run();
    settings_of(&settings, dtype);
    assert_ok(lm_run(&settings, directory, false, NULL, &result, &error), &error);
    lm_run_settings_free(&settings);
    return directory;
}

static void assert_same_logs(const char *a, const char *b)
{
    static const char *const keys[] = {"step", "epoch", "loss", "lr", "grad_norm", "tokens", "eval_loss", NULL};
    for (const char *const *key = keys; *key; key++) {
        size_t count, other;
        double *x = tiny_log(a, *key, &count), *y = tiny_log(b, *key, &other);
        assert_int_equal(count, other);
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++)
            if (x[i] != y[i])
                fail_msg("%s, line %zu: %.17g and %.17g", *key, i + 1, x[i], y[i]);
        lm_free(x);
        lm_free(y);
    }
}

static void assert_same_runs(const char *a, const char *b)
{
    static const char *const files[] = {"model.safetensors",
                                        "config.json",
                                        "checkpoints/step-40/training_state.safetensors",
                                        "checkpoints/step-40/model.safetensors",
                                        "checkpoints/step-40/state.json",
                                        NULL};
    for (const char *const *file = files; *file; file++)
        if (!tiny_same_file(tiny_path(a, *file), tiny_path(b, *file)))
            fail_msg("%s is not the same", *file);
    assert_same_logs(a, b);
}

static int stop_after;
static bool stop;

static void watch(void *user, const struct lm_step_report *report)
{
    (void)user;
    stop = report->step == stop_after;
}

static int stop_wanted(void *user)
{
    (void)user;
    return stop;
}

/* The run is asked to stop while it makes step `step`. */
static int run_and_stop(const struct lm_run_settings *settings, const char *directory, int step)
{
    stop = false;
    stop_after = step;
    const loam_observer observer = {.cancelled = stop_wanted};
    const struct lm_run_hooks hooks = {.observer = &observer, .step = watch};
    return lm_run(settings, directory, false, &hooks, &result, &error);
}

static int start_and_stop(const char *directory, const char *dtype, int step)
{
    struct lm_run_settings settings;
    settings_of(&settings, dtype);
    int code = run_and_stop(&settings, directory, step);
    lm_run_settings_free(&settings);
    return code;
}

static void stopped_and_resumed(const char *dtype)
{
    const char *peace = whole(dtype);
    static const int stops[] = {1, 7, 9, 18, 39}; /* steps 5, 9, 14, ... take what is left of an epoch */
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        const char *directory = new_run();
        assert_fails(start_and_stop(directory, dtype, stops[i]), &error, LOAM_ECANCELLED, "--resume", directory);
        assert_false(lm_file_exists(test_path(directory, "config.json")));
        assert_ok(lm_run(NULL, directory, true, NULL, &result, &error), &error);
        assert_int_equal(result.first_step, stops[i] + 1);
        assert_int_equal(result.steps, 40);
        assert_same_runs(peace, directory);
    }
}

static void stopped_and_resumed_in_f32(void **state)
{
    (void)state;
    stopped_and_resumed("f32");
}

static void stopped_and_resumed_in_bf16(void **state)
{
    (void)state;
    stopped_and_resumed("bf16");
}

static void a_finished_run_stays_as_it_is(void **state)
{
    (void)state;
    const char *directory = whole("f32"), *other = whole("f32");
    assert_ok(lm_run(NULL, directory, true, NULL, &result, &error), &error);
    assert_int_equal(result.first_step, 41);
    assert_same_runs(directory, other);
}

/* --- SIGKILL --- */

static pid_t start_child(const char *directory)
{
    const pid_t child = fork();
    if (child != 0)
        return child;
    struct lm_run_settings settings;
    const bool resume = lm_file_exists(test_path(directory, "run.yaml"));
    settings_of(&settings, "f32");
    _exit(lm_run(&settings, directory, resume, NULL, &result, &error) == LOAM_OK ? 0 : 1);
}

static void killed_at_random_moments(void **state)
{
    (void)state;
    const double begin = lm_seconds();
    const char *peace = whole("f32");
    const double whole_run = lm_seconds() - begin;
    struct lm_random random = lm_random_seed((uint64_t)getpid(), (uint64_t)(begin * 1e6));
    int kills = 0;
    for (int round = 0; round < 2; round++) {
        const char *directory = new_run();
        bool done = false;
        for (int i = 0; i < 300 && !done; i++) {
            const pid_t child = start_child(directory);
            assert_true(child > 0);
            usleep((useconds_t)(lm_random_unit(&random) * whole_run * 0.5e6));
            kill(child, SIGKILL);
            int status;
            assert_int_equal(waitpid(child, &status, 0), child);
            if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
                fail_msg("a resumed run failed after %d kills", kills);
            done = WIFEXITED(status);
            kills += !done;
        }
        assert_true(done);
        assert_same_runs(peace, directory);
    }
    assert_true(kills > 2);
}

/* --- A disk that is full: writes past a file size fail as they do there --- */

static void limit_files(void *user, const struct lm_step_report *report)
{
    const struct rlimit limit = {*(rlim_t *)user, RLIM_INFINITY};
    if (report->step == 10)
        setrlimit(RLIMIT_FSIZE, &limit);
}

static void out_of_room(const char *peace, rlim_t room)
{
    const char *directory = new_run();
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct lm_run_settings settings;
        settings_of(&settings, "f32");
        signal(SIGXFSZ, SIG_IGN);
        const struct lm_run_hooks hooks = {.user = &room, .step = limit_files};
        const int code = lm_run(&settings, directory, false, &hooks, &result, &error);
        _exit(code == LOAM_EIO || code == LOAM_ENOSPACE ? 7 : code == LOAM_OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    char **names;
    size_t count;
    assert_ok(lm_list_directory(test_path(directory, "checkpoints"), &names, &count, &error), &error);
    assert_string_equal(names[count - 1], "step-8"); /* nothing half-made beside the whole ones */
    lm_free_strings(names, count);
    assert_false(lm_file_exists(test_path(directory, "config.json")));
    assert_ok(lm_run(NULL, directory, true, NULL, &result, &error), &error);
    assert_int_equal(result.first_step, 9);
    assert_same_runs(peace, directory);
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    const char *peace = whole("f32");
    static const rlim_t rooms[] = {40000, 2000, 100}; /* the weights, the state, the log's next line */
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        out_of_room(peace, rooms[i]);
}

/* --- Refused --- */

static void nothing_to_go_on_with(void **state)
{
    (void)state;
    assert_fails(lm_run(NULL, test_folder(), true, NULL, &result, &error), &error, LOAM_ENOTFOUND, "run.yaml",
                 "without --resume");
}

static void a_used_directory_is_refused(void **state)
{
    (void)state;
    const char *directory = new_run();
    struct lm_run_settings settings;
    start_and_stop(directory, "f32", 2);
    settings_of(&settings, "f32");
    assert_fails(lm_run(&settings, directory, false, NULL, &result, &error), &error, LOAM_EUSAGE, directory,
                 "--resume");
    assert_fails(lm_run(&settings, settings.model, false, NULL, &result, &error), &error, LOAM_EUSAGE, "model");
    lm_run_settings_free(&settings);
}

static void a_run_that_goes_on_elsewhere(void **state)
{
    (void)state;
    const char *directory = new_run();
    struct lm_lock *lock;
    start_and_stop(directory, "f32", 2);
    assert_ok(lm_lock_take(test_path(directory, ".lock"), &lock, &error), &error);
    assert_fails(lm_run(NULL, directory, true, NULL, &result, &error), &error, LOAM_EBUSY, directory);
    lm_lock_release(lock);
    assert_ok(lm_run(NULL, directory, true, NULL, &result, &error), &error);
}

/* Killed before the first checkpoint: begins again. */
static void no_checkpoint_yet(void **state)
{
    (void)state;
    const char *peace = whole("f32"), *directory = new_run();
    start_and_stop(directory, "f32", 1);
    assert_ok(lm_remove_tree(test_path(directory, "checkpoints"), &error), &error);
    assert_ok(lm_run(NULL, directory, true, NULL, &result, &error), &error);
    assert_int_equal(result.first_step, 1);
    assert_same_runs(peace, directory);
}

static void flip_a_byte(const char *path)
{
    struct lm_bytes bytes = tiny_read(path);
    bytes.data[bytes.length / 2] ^= 4;
    assert_ok(lm_file_replace(path, bytes.data, bytes.length, &error), &error);
    lm_bytes_free(&bytes);
}

static void altered_or_missing_files_are_named(void **state)
{
    (void)state;
    static const char *const files[] = {"model.safetensors", "training_state.safetensors", "config.json", "state.json",
                                        NULL};
    const char *peace = whole("f32");
    for (const char *const *file = files; *file; file++) {
        const char *directory = new_run();
        char name[128];
        start_and_stop(directory, "f32", 9); /* checkpoints at 8 and 9 */
        snprintf(name, sizeof name, "checkpoints/step-9/%s", *file);
        const char *path = tiny_path(directory, name);
        flip_a_byte(path);
        assert_fails(lm_run(NULL, directory, true, NULL, &result, &error), &error, LOAM_EFORMAT, *file, "step-9",
                     "earlier");
        assert_int_equal(remove(path), 0);
        if (strcmp(*file, "state.json") != 0) {
            assert_fails(lm_run(NULL, directory, true, NULL, &result, &error), &error, LOAM_EFORMAT, *file, "missing");
            assert_ok(lm_remove_tree(test_path(directory, "checkpoints/step-9"), &error), &error);
        }
        /* as the message says: from the one before; log lines past it go */
        assert_ok(lm_run(NULL, directory, true, NULL, &result, &error), &error);
        assert_int_equal(result.first_step, 9);
        assert_same_runs(peace, directory);
    }
}

static void other_data_is_refused(void **state)
{
    (void)state;
    const char *data = tiny_path(test_folder(), "data.ids"), *directory = new_run();
    struct lm_run_settings settings;
    tiny_ids(data, 1, 20, 17);
    tiny_settings(&settings, tiny_model(1), data);
    assert_fails(run_and_stop(&settings, directory, 3), &error, LOAM_ECANCELLED, "step 3");
    lm_run_settings_free(&settings);
    tiny_ids(data, 2, 20, 17);
    assert_fails(lm_run(NULL, directory, true, NULL, &result, &error), &error, LOAM_EMISMATCH, "data", "fingerprint");
    tiny_ids(data, 1, 20, 17);
    assert_ok(lm_run(NULL, directory, true, NULL, &result, &error), &error);
}

/* A line that a crash cut off, and lines past the checkpoint. */
static void the_log_is_cut(void **state)
{
    (void)state;
    const char *peace = whole("f32"), *directory = new_run();
    start_and_stop(directory, "f32", 9);
    struct lm_bytes log = tiny_read(test_path(directory, "log.jsonl"));
    assert_ok(
        lm_bytes_format(&log, &error, "{\"step\": 10, \"loss\": 1.0}\n{\"step\": 10, \"eval_loss\": 3.0}\n{\"ste"),
        &error);
    assert_ok(lm_file_replace(test_path(directory, "log.jsonl"), log.data, log.length, &error), &error);
    lm_bytes_free(&log);
    assert_ok(lm_run(NULL, directory, true, NULL, &result, &error), &error);
    assert_same_runs(peace, directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopped_and_resumed_in_f32),
        cmocka_unit_test(stopped_and_resumed_in_bf16),
        cmocka_unit_test(a_finished_run_stays_as_it_is),
        cmocka_unit_test(killed_at_random_moments),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(nothing_to_go_on_with),
        cmocka_unit_test(a_used_directory_is_refused),
        cmocka_unit_test(a_run_that_goes_on_elsewhere),
        cmocka_unit_test(no_checkpoint_yet),
        cmocka_unit_test(altered_or_missing_files_are_named),
        cmocka_unit_test(other_data_is_refused),
        cmocka_unit_test(the_log_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
