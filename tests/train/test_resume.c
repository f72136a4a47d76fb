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

/* One run, killed and resumed until it is done; gives the number of kills. Each life is a random part of a whole run's time, and of
 * at least a step's after the 20th, so that slow machines get on. */
static int live_and_die(const char *peace, const char *directory, double whole_run, struct lm_random *random)
{
    assert_ok(lm_remove_tree(directory, &error), &error);
    int kills = 0;
    for (bool done = false; !done;) {
        const pid_t child = start_child(directory);
        assert_true(child > 0);
        usleep((useconds_t)(lm_random_unit(random) * whole_run * (kills < 20 ? 0.4e6 : 2e6)));
        kill(child, SIGKILL);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
            fail_msg("a resumed run failed after %d kills", kills);
        done = WIFEXITED(status);
        kills += !done;
    }
    assert_same_runs(peace, directory);
    return kills;
}

static void killed_at_random_moments(void **state)
{
    (void)state;
    const char *longer = getenv("LOAM_LONG");
    const int wanted = longer && *longer ? 100 : 8;
    const double begin = lm_seconds();
    const char *peace = whole("f32"), *directory = new_run();
    const double whole_run = lm_seconds() - begin;
    struct lm_random random = lm_random_seed((uint64_t)getpid(), (uint64_t)(begin * 1e6));
    int kills = 0;
    for (int runs = 0; kills < wanted && runs < 1000; runs++)
        kills += live_and_die(peace, directory, whole_run, &random);
    print_message("killed %d times\n", kills);
    assert_true(kills >= wanted);
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

/* What was typed beside --resume: the same is nothing, the harmless is told apart. */
static void differences_from_the_run_that_began(void **state)
{
    (void)state;
    const char *directory = new_run();
    start_and_stop(directory, "f32", 2);
    struct lm_run_settings kept, given;
    struct lm_bytes serious = {0}, harmless = {0};
    assert_ok(lm_run_settings_open(&kept, test_path(directory, "run.yaml"), &error), &error);
    settings_of(&given, "f32"); /* what the run was begun with: seeds, steps and files as typed then */
    assert_ok(lm_run_settings_compare(&kept, &given, &serious, &harmless, &error), &error);
    assert_int_equal(serious.length, 0);
    assert_int_equal(harmless.length, 0);
    tiny_set(&given, "lr", "0.5");
    tiny_set(&given, "keep", "7");
    assert_ok(lm_run_settings_compare(&kept, &given, &serious, &harmless, &error), &error);
    assert_string_equal(serious.data, "lr was '0.003' and is '0.5'");
    assert_string_equal(harmless.data, "keep was '2' and is '7'");
    lm_bytes_free(&serious);
    lm_bytes_free(&harmless);
    lm_run_settings_free(&kept);
    lm_run_settings_free(&given);
}

static void other_data_when_asked_for(void **state)
{
    (void)state;
    const char *data = tiny_path(test_folder(), "data.ids"), *directory = new_run();
    struct lm_run_settings settings;
    tiny_ids(data, 1, 20, 17);
    tiny_settings(&settings, tiny_model(1), data);
    tiny_set(&settings, "steps", "12");
    assert_fails(run_and_stop(&settings, directory, 3), &error, LOAM_ECANCELLED, "step 3");
    tiny_ids(data, 2, 24, 17);
    assert_fails(lm_run(&settings, directory, LM_RUN_RESUME_WITH, NULL, &result, &error), &error, LOAM_EMISMATCH, "data",
                 "--allow-changes");
    tiny_set(&settings, "lr", "0.001");
    assert_ok(lm_run(&settings, directory, LM_RUN_RESUME_CHANGED, NULL, &result, &error), &error);
    assert_int_equal(result.first_step, 4);
    assert_int_equal(result.steps, 12);
    lm_run_settings_free(&settings);
    assert_ok(lm_run_settings_open(&settings, test_path(directory, "run.yaml"), &error), &error);
    assert_true(settings.lr == 0.001); /* and the next resumption has them too */
    assert_ok(lm_run(NULL, directory, LM_RUN_RESUME, NULL, &result, &error), &error);
    lm_run_settings_free(&settings);
}

static void weights_only_checkpoints(void **state)
{
    (void)state;
    const char *peace = whole("f32"), *directory = new_run();
    struct lm_run_settings settings;
    settings_of(&settings, "f32");
    tiny_set(&settings, "weights_only", "true");
    assert_fails(run_and_stop(&settings, directory, 9), &error, LOAM_ECANCELLED, "step-9");
    assert_false(lm_file_exists(test_path(directory, "checkpoints/step-9/training_state.safetensors")));
    assert_true(lm_file_exists(test_path(directory, "checkpoints/step-9/config.json")));
    assert_fails(lm_run(NULL, directory, true, NULL, &result, &error), &error, LOAM_EUNSUPPORTED, "weights only",
                 "step-9");
    const char *other = new_run();
    assert_ok(lm_run(&settings, other, false, NULL, &result, &error), &error);
    assert_true(tiny_same_file(tiny_path(peace, "model.safetensors"), tiny_path(other, "model.safetensors")));
    assert_ok(lm_run(NULL, other, true, NULL, &result, &error), &error); /* done: nothing to go on with is needed */
    lm_run_settings_free(&settings);
}

static bool at_step_seven(void *user)
{
    return ++*(int *)user == 7;
}

/* What SIGUSR1 does: a checkpoint besides those that are due, and nothing else is different. */
static void saved_when_asked(void **state)
{
    (void)state;
    const char *peace = whole("f32"), *directory = new_run();
    struct lm_run_settings settings;
    int asked = 0;
    settings_of(&settings, "f32");
    tiny_set(&settings, "keep", "100");
    const struct lm_run_hooks hooks = {.user = &asked, .save_now = at_step_seven};
    assert_ok(lm_run(&settings, directory, false, &hooks, &result, &error), &error);
    assert_true(lm_file_exists(test_path(directory, "checkpoints/step-7/state.json")));
    assert_true(lm_file_exists(test_path(directory, "checkpoints/step-8/state.json")));
    assert_false(lm_file_exists(test_path(directory, "checkpoints/step-5/state.json")));
    assert_same_runs(peace, directory);
    lm_run_settings_free(&settings);
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
        cmocka_unit_test(differences_from_the_run_that_began),
        cmocka_unit_test(other_data_when_asked_for),
        cmocka_unit_test(weights_only_checkpoints),
        cmocka_unit_test(saved_when_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
