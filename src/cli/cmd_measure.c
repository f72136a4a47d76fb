/* loam measure: a sweep over settings, each point a process of its own, so that a failure is a point too. The process of a point is
 * this program again with one value for every setting and LOAM_MEASURE_POINT in its environment. */
#include "common.h"
#include "look/look.h"
#include "measure.h"
#include "model/model.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_POINTS = 10000 };
static const char marker[] = "LOAM_MEASURE_POINT";

/* --- The sweep --- */

struct swept {
    enum option_id id;
    char *values[64]; /* pieces of `text` */
    size_t count;
    char *text;
};

struct sweep {
    const struct arguments *arguments;
    struct swept options[OPTION_IDS];
    size_t option_count, points;
    char *folder, *model; /* of all points; the model: as given, or with random weights */
    struct lm_document **documents; /* a point each; NULL: the process gave nothing */
    int *statuses;
};

static int cut_list(struct swept *swept, const struct command *command, const char *text, loam_error *error)
{
    const bool list = option_swept(command, &option_table[swept->id], text);
    swept->text = lm_copy_string(text, strlen(text), error);
    if (!swept->text)
        return LOAM_ENOMEM;
    for (char *at = swept->text; at;) {
        if (swept->count == sizeof swept->values / sizeof *swept->values)
            return lm_fail(error, LOAM_EUSAGE, "--%s: found more than 64 values", option_table[swept->id].name);
        char *comma = list ? strchr(at, ',') : NULL;
        if (comma)
            *comma++ = 0;
        swept->values[swept->count++] = at;
        at = comma;
    }
    return LOAM_OK;
}

static int collect(struct sweep *sweep, loam_error *error)
{
    sweep->points = 1;
    for (int id = 0; id < OPTION_IDS; id++) {
        const struct argument *value = &sweep->arguments->values[id];
        struct swept *swept = &sweep->options[sweep->option_count];
        if (!option_table[id].setting || !value->given)
            continue;
        swept->id = (enum option_id)id;
        sweep->option_count++;
        if (option_table[id].kind == KIND_FLAG) {
            swept->count = 1;
            continue;
        }
        int code = cut_list(swept, sweep->arguments->command, value->text, error);
        if (code != LOAM_OK)
            return code;
        sweep->points *= swept->count;
        if (sweep->points > MOST_POINTS)
            return lm_fail(error, LOAM_EUSAGE, "measure: found more than %d combinations; give fewer values", MOST_POINTS);
    }
    return LOAM_OK;
}

/* Which value of each option point number `index` has: the last option changes fastest. */
static const char *value_at(const struct sweep *sweep, size_t option, size_t index)
{
    for (size_t i = sweep->option_count; i-- > option + 1;)
        index /= sweep->options[i].count;
    const struct swept *swept = &sweep->options[option];
    return swept->text ? swept->values[index % swept->count] : NULL;
}

/* The files of the model but the tokenizer, which a point does not need and whose memory nobody planned. */
static int link_model(struct sweep *sweep, const char *from, bool *weights, loam_error *error)
{
    char **names;
    size_t count;
    int code = lm_make_directories(sweep->model, error);
    if (code == LOAM_OK)
        code = lm_list_directory(from, &names, &count, error);
    if (code != LOAM_OK)
        return code;
    char *absolute = realpath(from, NULL);
    *weights = false;
    for (size_t i = 0; code == LOAM_OK && i < count; i++) {
        const bool tensors = strstr(names[i], ".safetensors") != NULL;
        if (!tensors && strcmp(names[i], "config.json") != 0)
            continue;
        *weights = *weights || tensors;
        char *source = absolute ? lm_path_join(absolute, names[i], error) : NULL;
        char *target = source ? lm_path_join(sweep->model, names[i], error) : NULL;
        if (!target || symlink(source, target) != 0)
            code = target ? lm_fail_errno(error, errno, "%s: cannot be linked to", target) : LOAM_ENOMEM;
        lm_free(source);
        lm_free(target);
    }
    free(absolute);
    lm_free_strings(names, count);
    return code;
}

static int make_weights(struct sweep *sweep, const char *from, loam_error *error)
{
    struct lm_config config;
    struct lm_device *device = NULL;
    struct lm_model *model = NULL;
    char *path = lm_path_join(from, "config.json", error);
    int code = path ? lm_config_read(path, &config, error) : LOAM_ENOMEM;
    if (code == LOAM_OK)
        code = lm_device_open(&(struct lm_device_options){0}, &device, error);
    if (code == LOAM_OK)
        code = lm_model_create(&config, 1, device, &(struct lm_model_options){.load = true, .dtype = LM_BF16}, &model, error);
    if (code == LOAM_OK)
        code = lm_remove_tree(sweep->model, error);
    if (code == LOAM_OK)
        code = lm_model_save(model, sweep->model, LM_BF16, 0, error);
    lm_model_close(model);
    lm_device_close(device);
    lm_free(path);
    return code;
}

static int begin(struct sweep *sweep, loam_error *error)
{
    const char *from = sweep->arguments->operands[0], *temporary = getenv("TMPDIR");
    struct lm_bytes name = {0};
    bool weights;
    int code = lm_bytes_format(&name, error, "%s/loam-measure-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (code == LOAM_OK && !mkdtemp(name.data))
        code = lm_fail_errno(error, errno, "%s: cannot be made", name.data);
    if (code != LOAM_OK) {
        lm_bytes_free(&name);
        return code;
    }
    sweep->folder = name.data;
    sweep->model = lm_path_join(sweep->folder, "model", error);
    code = sweep->model ? link_model(sweep, from, &weights, error) : LOAM_ENOMEM;
    return code == LOAM_OK && !weights ? make_weights(sweep, from, error) : code;
}

static int start_child(struct sweep *sweep, size_t index, const char *folder, const char *output, pid_t *child)
{
    extern char **environ;
    char *words[2 * OPTION_IDS + 6], names[OPTION_IDS][64], place[4096];
    size_t count = 0, variables = 0;
    words[count++] = "loam";
    words[count++] = "measure";
    words[count++] = sweep->model;
    for (size_t i = 0; i < sweep->option_count; i++) {
        const char *value = value_at(sweep, i, index);
        snprintf(names[i], sizeof names[i], "--%s", option_table[sweep->options[i].id].name);
        words[count++] = names[i];
        if (value)
            words[count++] = (char *)(uintptr_t)value;
    }
    if (sweep->arguments->values[OPT_RECIPE].given) {
        words[count++] = "--recipe";
        words[count++] = (char *)(uintptr_t)sweep->arguments->values[OPT_RECIPE].text;
    }
    words[count] = NULL;
    while (environ[variables])
        variables++;
    char **environment = lm_alloc(variables + 2, sizeof *environment, NULL);
    if (!environment)
        return ENOMEM;
    memcpy(environment, environ, variables * sizeof *environment);
    snprintf(place, sizeof place, "%s=%s", marker, folder);
    environment[variables] = place;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    const int failed = posix_spawn(child, "/proc/self/exe", &actions, NULL, words, environment);
    posix_spawn_file_actions_destroy(&actions);
    lm_free(environment);
    return failed;
}

static void wait_for(pid_t child, int *status)
{
    while (waitpid(child, status, 0) < 0)
        if (errno != EINTR) {
            *status = -1;
            return;
        } else if (stop_wanted()) {
            kill(child, SIGTERM);
        }
}

static int measure_point(struct sweep *sweep, size_t index, loam_error *error)
{
    char *folder = lm_path_join(sweep->folder, "point", error);
    char *output = folder ? lm_path_join(sweep->folder, "point.json", error) : NULL;
    pid_t child;
    int code = output ? lm_make_directories(folder, error) : LOAM_ENOMEM;
    const int failed = code == LOAM_OK ? start_child(sweep, index, folder, output, &child) : 0;
    if (failed)
        code = lm_fail(error, LOAM_EIO, "measure: a process could not be started: %s", strerror(failed));
    if (code == LOAM_OK) {
        wait_for(child, &sweep->statuses[index]);
        if (lm_json_read(output, &sweep->documents[index], NULL) != LOAM_OK)
            sweep->documents[index] = NULL;
        code = lm_remove_tree(folder, error);
        remove(output);
    }
    lm_free(output);
    lm_free(folder);
    return code == LOAM_OK && stop_wanted() ? lm_fail(error, LOAM_ECANCELLED, "measure: stopped on request") : code;
}

/* --- The table --- */

static double value_of(const struct lm_document *document, const char *key)
{
    double value;
    if (!document || lm_value_double(document, lm_value_find(lm_document_root(document), key), &value, NULL) != LOAM_OK)
        return NAN;
    return value;
}

static const char *text_of(const struct lm_document *document, const char *key, const char *otherwise)
{
    const char *text;
    if (!document || lm_value_string(document, lm_value_find(lm_document_root(document), key), &text, NULL) != LOAM_OK)
        return otherwise;
    return text;
}

/* A process that was killed gives no object. */
static void outcome_at(const struct sweep *sweep, size_t index, const char **outcome, char message[512])
{
    const struct lm_document *document = sweep->documents[index];
    const int status = sweep->statuses[index];
    *outcome = text_of(document, "outcome", "failed");
    snprintf(message, 512, "%s", text_of(document, "message", ""));
    if (!document && WIFSIGNALED(status))
        snprintf(message, 512, "ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (!document)
        snprintf(message, 512, "ended with status %d and gave no result", WEXITSTATUS(status));
}

static void print_row(const struct sweep *sweep, size_t index)
{
    const struct lm_document *document = sweep->documents[index];
    const char *outcome;
    char message[512];
    outcome_at(sweep, index, &outcome, message);
    for (size_t i = 0; i < sweep->option_count; i++) {
        const char *value = value_at(sweep, i, index);
        printf("%*s ", (int)strlen(option_table[sweep->options[i].id].name) < 6 ? 6 : (int)strlen(option_table[sweep->options[i].id].name),
               value ? value : "yes");
    }
    printf("%11.1f %12.1f", value_of(document, "planned_bytes") / (1 << 20), value_of(document, "measured_bytes") / (1 << 20));
    if (strcmp(outcome, "ok") == 0)
        printf(" %10.3f %10.1f %10.1f %10.1f %6.1f%%\n", value_of(document, "seconds_per_step"), value_of(document, "tokens_per_second"),
               value_of(document, "real_tokens_per_second"), value_of(document, "trained_tokens_per_second"),
               100 * value_of(document, "of_peak"));
    else
        printf("  %s: %s\n", outcome, message);
    fflush(stdout);
}

static void print_head(const struct sweep *sweep)
{
    for (size_t i = 0; i < sweep->option_count; i++)
        printf("%6s ", option_table[sweep->options[i].id].name);
    printf("%11s %12s %10s %10s %10s %10s %7s\n", "planned MiB", "measured MiB", "s/step", "raw tok/s", "real", "trained", "of peak");
}

static int print_all(const struct sweep *sweep)
{
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 2);
    lm_json_begin_array(&writer);
    for (size_t i = 0; i < sweep->points; i++) {
        if (sweep->documents[i]) {
            lm_json_value(&writer, lm_document_root(sweep->documents[i]));
            continue;
        }
        const char *outcome;
        char message[512];
        outcome_at(sweep, i, &outcome, message);
        lm_json_begin_object(&writer);
        lm_json_key(&writer, "settings");
        lm_json_begin_object(&writer);
        for (size_t k = 0; k < sweep->option_count; k++) {
            lm_json_key(&writer, option_table[sweep->options[k].id].name);
            lm_json_text(&writer, value_at(sweep, k, i) ? value_at(sweep, k, i) : "true");
        }
        lm_json_end_object(&writer);
        lm_json_key(&writer, "planned_bytes");
        lm_json_null(&writer);
        lm_json_key(&writer, "measured_bytes");
        lm_json_null(&writer);
        lm_json_key(&writer, "tokens_per_second");
        lm_json_null(&writer);
        lm_json_key(&writer, "outcome");
        lm_json_text(&writer, outcome);
        lm_json_key(&writer, "message");
        lm_json_text(&writer, message);
        lm_json_end_object(&writer);
    }
    lm_json_end_array(&writer);
    return print_json(&writer);
}

static int put_number(struct lm_bytes *out, double value, loam_error *error)
{
    char digits[32] = "";
    if (isfinite(value))
        lm_format_double(value, digits);
    return lm_bytes_format(out, error, "%s,", digits);
}

/* A value that is a list of its own stands in quotation marks. */
static int put_value(struct lm_bytes *out, const char *value, loam_error *error)
{
    const char *mark = strchr(value, ',') ? "\"" : "";
    return lm_bytes_format(out, error, "%s%s%s,", mark, value, mark);
}

static int write_csv(const struct sweep *sweep, const char *path, loam_error *error)
{
    static const char *const keys[] = {"planned_bytes", "measured_bytes", "seconds_per_step", "tokens_per_second",
                                       "real_tokens_per_second", "trained_tokens_per_second", "of_peak", NULL};
    struct lm_bytes out = {0};
    int code = LOAM_OK;
    for (size_t k = 0; code == LOAM_OK && k < sweep->option_count; k++)
        code = lm_bytes_format(&out, error, "%s,", option_table[sweep->options[k].id].name);
    for (const char *const *key = keys; code == LOAM_OK && *key; key++)
        code = lm_bytes_format(&out, error, "%s,", *key);
    if (code == LOAM_OK)
        code = lm_bytes_format(&out, error, "outcome\n");
    for (size_t i = 0; code == LOAM_OK && i < sweep->points; i++) {
        const char *outcome;
        char message[512];
        outcome_at(sweep, i, &outcome, message);
        for (size_t k = 0; code == LOAM_OK && k < sweep->option_count; k++)
            code = put_value(&out, value_at(sweep, k, i) ? value_at(sweep, k, i) : "true", error);
        for (const char *const *key = keys; code == LOAM_OK && *key; key++)
            code = put_number(&out, value_of(sweep->documents[i], *key), error);
        if (code == LOAM_OK)
            code = lm_bytes_format(&out, error, "%s\n", outcome);
    }
    if (code == LOAM_OK)
        code = lm_file_replace(path, out.data, out.length, error);
    lm_bytes_free(&out);
    return code;
}

static bool is_axis(const struct swept *swept)
{
    double x;
    for (size_t i = 0; i < swept->count; i++)
        if (swept->count < 2 || lm_parse_double(swept->values[i], &x, NULL) != LOAM_OK)
            return false;
    return true;
}

static int find_axis(const struct sweep *sweep, const char *path, size_t *axis, loam_error *error)
{
    *axis = 0;
    while (*axis < sweep->option_count && (option_table[sweep->options[*axis].id].kind == KIND_FLAG || !is_axis(&sweep->options[*axis])))
        ++*axis;
    return *axis < sweep->option_count ? LOAM_OK
                                       : lm_fail(error, LOAM_EUSAGE, "%s: a chart needs a setting with several numbers, e.g. --seq 64,128", path);
}

/* Over the first option with several numbers: planned and measured memory, for every combination of the others a curve of each. */
static int draw(const struct sweep *sweep, const char *path, loam_error *error)
{
    size_t axis;
    const int found = find_axis(sweep, path, &axis, error);
    if (found != LOAM_OK)
        return found;
    const size_t others = sweep->points / sweep->options[axis].count;
    struct lm_series *series = lm_alloc(2 * others, sizeof *series, error);
    int code = series ? LOAM_OK : LOAM_ENOMEM;
    for (size_t s = 0; code == LOAM_OK && s < 2 * others; s++) {
        const bool planned = s % 2 == 0;
        struct lm_bytes name = {0};
        size_t seen = 0;
        double x;
        code = lm_bytes_format(&name, error, "%s", planned ? "planned" : "measured");
        for (size_t i = 0, chosen = sweep->points; code == LOAM_OK && i < sweep->points; i++) {
            bool same = chosen == sweep->points ? strcmp(value_at(sweep, axis, i), sweep->options[axis].values[0]) == 0 && seen++ == s / 2
                                                : true;
            for (size_t k = 0; chosen < sweep->points && same && k < sweep->option_count; k++)
                same = k == axis || !value_at(sweep, k, i) || strcmp(value_at(sweep, k, i), value_at(sweep, k, chosen)) == 0;
            if (!same)
                continue;
            for (size_t k = 0; chosen == sweep->points && code == LOAM_OK && k < sweep->option_count; k++)
                if (k != axis && sweep->options[k].count > 1)
                    code = lm_bytes_format(&name, error, ", %s %s", option_table[sweep->options[k].id].name, value_at(sweep, k, i));
            if (chosen == sweep->points)
                chosen = i;
            const double bytes = value_of(sweep->documents[i], planned ? "planned_bytes" : "measured_bytes");
            const bool ok = strcmp(text_of(sweep->documents[i], "outcome", ""), "ok") == 0;
            if (code == LOAM_OK && (planned || ok) && lm_parse_double(value_at(sweep, axis, i), &x, NULL) == LOAM_OK)
                code = lm_series_add(&series[s], x, bytes / (1 << 20), error);
        }
        series[s].name = name.data;
        series[s].points = true;
    }
    const struct lm_chart chart = {.title = "memory of a run", .x_label = option_table[sweep->options[axis].id].name, .y_label = "MiB",
                                   .series = series, .count = 2 * others};
    if (code == LOAM_OK)
        code = lm_chart_svg(&chart, path, error);
    for (size_t s = 0; series && s < 2 * others; s++)
        lm_series_free(&series[s]);
    lm_free(series);
    return code;
}

static int run_sweep(struct sweep *sweep, loam_error *error)
{
    const bool json = sweep->arguments->values[OPT_JSON].given;
    const struct argument *chart = &sweep->arguments->values[OPT_CHART];
    size_t axis;
    int code = collect(sweep, error);
    if (code == LOAM_OK && chart->given)
        code = find_axis(sweep, chart->text, &axis, error);
    if (code == LOAM_OK)
        code = begin(sweep, error);
    if (code != LOAM_OK)
        return code;
    sweep->documents = lm_alloc(sweep->points, sizeof *sweep->documents, error);
    sweep->statuses = sweep->documents ? lm_alloc(sweep->points, sizeof *sweep->statuses, error) : NULL;
    if (!sweep->statuses)
        return LOAM_ENOMEM;
    if (!json)
        print_head(sweep);
    for (size_t i = 0; i < sweep->points; i++) {
        code = measure_point(sweep, i, error);
        if (code != LOAM_OK)
            return code;
        if (!json)
            print_row(sweep, i);
    }
    if (sweep->arguments->values[OPT_CSV].given)
        code = write_csv(sweep, sweep->arguments->values[OPT_CSV].text, error);
    if (code == LOAM_OK && chart->given)
        code = draw(sweep, chart->text, error);
    return code;
}

int command_measure(const struct arguments *arguments)
{
    const char *folder = getenv(marker);
    if (folder)
        return measure_one(arguments, folder);
    struct sweep *sweep = lm_alloc(1, sizeof *sweep, NULL);
    loam_error error;
    if (!sweep)
        return EXIT_FAILED;
    sweep->arguments = arguments;
    catch_signals();
    int code = run_sweep(sweep, &error);
    int status = code != LOAM_OK ? complain_error(&error) : arguments->values[OPT_JSON].given ? print_all(sweep) : EXIT_DONE;
    for (size_t i = 0; sweep->documents && i < sweep->points; i++)
        lm_document_free(sweep->documents[i]);
    for (size_t i = 0; i < sweep->option_count; i++)
        lm_free(sweep->options[i].text);
    if (sweep->folder)
        lm_remove_tree(sweep->folder, NULL);
    lm_free(sweep->documents);
    lm_free(sweep->statuses);
    lm_free(sweep->folder);
    lm_free(sweep->model);
    lm_free(sweep);
    return status;
}
