/* log.jsonl: one object a line, appended with one write each; cut back on resume. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { LINE_ROOM = 1024 };

/* The step of one line, or -1 where it is no line of a log. */
static int64_t step_of(const char *line, size_t length, const char *path)
{
    struct lm_document *document;
    int64_t step;
    if (lm_json_parse(line, length, path, &document, NULL) != LOAM_OK)
        return -1;
    const struct lm_value *value = lm_value_find(lm_document_root(document), "step");
    if (lm_value_int(document, value, 0, INT64_MAX, &step, NULL) != LOAM_OK)
        step = -1;
    lm_document_free(document);
    return step;
}

/* Bytes up to the first line past `keep_step`, or up to a last line that was cut off. */
static int find_cut(const char *path, int64_t keep_step, int64_t *cut, loam_error *error)
{
    struct lm_bytes text = {0};
    int code = lm_file_read(path, 0, &text, error);
    size_t at = 0;
    while (code == LOAM_OK && at < text.length) {
        const char *end = memchr(text.data + at, '\n', text.length - at);
        if (!end)
            break;
        const size_t length = (size_t)(end - text.data) - at;
        if (step_of(text.data + at, length, path) > keep_step)
            break;
        at += length + 1;
    }
    lm_bytes_free(&text);
    *cut = (int64_t)at;
    return code;
}

/* What TensorBoard shows of a line. */
static int add_events(struct lm_events *events, double time, int64_t step, const double values[7], loam_error *error)
{
    const struct lm_event list[] = {
        {"train/loss", values[0]},     {"train/lr", values[1]},
        {"train/grad_norm", values[2]}, {"train/tokens_per_second", values[3]},
        {"train/epoch", values[4]},    {"train/of_peak", values[5]},
        {"eval/loss", values[6]},      {NULL, 0},
    };
    return lm_events_add(events, time, step, list, error);
}

static int replay_line(struct lm_run_log *log, const char *line, size_t length, loam_error *error)
{
    static const char *const keys[] = {"loss", "lr", "grad_norm", "tokens_per_second", "epoch", "of_peak", "eval_loss"};
    struct lm_document *document;
    double values[7], time = 0;
    int64_t step = 0;
    if (lm_json_parse(line, length, log->path, &document, NULL) != LOAM_OK)
        return LOAM_OK;
    const struct lm_value *root = lm_document_root(document);
    for (size_t i = 0; i < 7; i++)
        if (lm_value_double(document, lm_value_find(root, keys[i]), &values[i], NULL) != LOAM_OK)
            values[i] = NAN;
    if (lm_value_double(document, lm_value_find(root, "time"), &time, NULL) != LOAM_OK)
        time = 0;
    int code = lm_value_int(document, lm_value_find(root, "step"), 0, INT64_MAX, &step, NULL) == LOAM_OK
                   ? add_events(log->events, time, step, values, error)
                   : LOAM_OK;
    lm_document_free(document);
    return code;
}

/* The event file of a resumed run: of the lines that were kept. */
static int replay(struct lm_run_log *log, loam_error *error)
{
    struct lm_bytes text = {0};
    int code = log->size ? lm_file_read(log->path, 0, &text, error) : LOAM_OK;
    for (size_t at = 0; code == LOAM_OK && at < text.length;) {
        const char *end = memchr(text.data + at, '\n', text.length - at);
        const size_t length = end ? (size_t)(end - text.data) - at : text.length - at;
        code = replay_line(log, text.data + at, length, error);
        at += length + 1;
    }
    lm_bytes_free(&text);
    return code;
}

int lm_run_log_open(struct lm_run_log *log, const char *path, const char *events, int64_t keep_step, loam_error *error)
{
    int64_t cut = 0;
    if (lm_file_exists(path) && keep_step > 0) {
        int code = find_cut(path, keep_step, &cut, error);
        if (code != LOAM_OK)
            return code;
    }
    if (lm_bytes_reserve(&log->line, LINE_ROOM, error) != LOAM_OK)
        return LOAM_ENOMEM;
    log->path = path;
    log->size = cut;
    log->file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (log->file < 0 || ftruncate(log->file, cut) != 0 || lseek(log->file, cut, SEEK_SET) != cut)
        return lm_fail_errno(error, errno, "%s: cannot be written", path);
    int code = lm_events_open(events, &log->events, error);
    return code == LOAM_OK ? replay(log, error) : code;
}

/* Where a line cannot be written whole, none of it stays. */
static int write_line(struct lm_run_log *log, struct lm_json_writer *writer, loam_error *error)
{
    int code = lm_json_writer_finish(writer, error);
    if (code == LOAM_OK)
        code = lm_bytes_append(&log->line, "\n", 1, error);
    size_t done = 0;
    while (code == LOAM_OK && done < log->line.length) {
        const ssize_t wrote = write(log->file, log->line.data + done, log->line.length - done);
        if (wrote >= 0)
            done += (size_t)wrote;
        else if (errno != EINTR)
            code = lm_fail_errno(error, errno, "%s: a line could not be written; make room, then go on with --resume",
                                 log->path);
    }
    if (code == LOAM_OK)
        log->size += (int64_t)done;
    else if (done > 0 && ftruncate(log->file, log->size) == 0)
        lseek(log->file, log->size, SEEK_SET);
    return code;
}

static void number(struct lm_json_writer *writer, const char *key, double value)
{
    lm_json_key(writer, key);
    lm_json_double(writer, value);
}

static void integer(struct lm_json_writer *writer, const char *key, int64_t value)
{
    lm_json_key(writer, key);
    lm_json_int(writer, value);
}

int lm_run_log_step(struct lm_run_log *log, const struct lm_step_report *report, loam_error *error)
{
    log->line.length = 0;
    struct lm_json_writer writer = lm_json_writer(&log->line, 0);
    lm_json_begin_object(&writer);
    integer(&writer, "step", report->step);
    number(&writer, "epoch", report->epoch);
    number(&writer, "loss", report->loss);
    number(&writer, "lr", report->lr);
    number(&writer, "grad_norm", report->grad_norm);
    integer(&writer, "tokens", report->tokens);
    integer(&writer, "trained", report->trained);
    number(&writer, "seconds", report->seconds);
    number(&writer, "tokens_per_second", report->tokens_per_second);
    if (isfinite(report->of_peak))
        number(&writer, "of_peak", report->of_peak);
    integer(&writer, "memory_bytes", report->memory_bytes);
    number(&writer, "time", report->time);
    lm_json_end_object(&writer);
    int code = write_line(log, &writer, error);
    const double values[] = {report->loss,  report->lr,      report->grad_norm, report->tokens_per_second,
                             report->epoch, report->of_peak, NAN};
    return code == LOAM_OK ? add_events(log->events, report->time, report->step, values, error) : code;
}

int lm_run_log_evaluation(struct lm_run_log *log, const struct lm_evaluation_report *report, loam_error *error)
{
    log->line.length = 0;
    struct lm_json_writer writer = lm_json_writer(&log->line, 0);
    lm_json_begin_object(&writer);
    integer(&writer, "step", report->step);
    number(&writer, "eval_loss", report->loss);
    number(&writer, "time", report->time);
    lm_json_end_object(&writer);
    int code = write_line(log, &writer, error);
    const double values[] = {NAN, NAN, NAN, NAN, NAN, NAN, report->loss};
    return code == LOAM_OK ? add_events(log->events, report->time, report->step, values, error) : code;
}

int lm_run_log_sync(struct lm_run_log *log, loam_error *error)
{
    if (fsync(log->file) != 0 && errno != EINVAL && errno != EROFS)
        return lm_fail_errno(error, errno, "%s: could not be brought to the disk", log->path);
    return LOAM_OK;
}

void lm_run_log_close(struct lm_run_log *log)
{
    if (log->file >= 0)
        close(log->file);
    lm_events_close(log->events);
    lm_bytes_free(&log->line);
    *log = (struct lm_run_log){.file = -1};
}
