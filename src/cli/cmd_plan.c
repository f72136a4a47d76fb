/* loam plan */
#include "look/look.h"
#include "sweep.h"

#include <math.h>
#include <string.h>

struct planned {
    const struct lm_run_settings *settings;
    struct lm_run_plan plan;
    struct lm_plan_picture picture;
    int64_t limit, room; /* of memory, 0: unknown; on the disk of this folder, where runs are written as a rule; -1: elsewhere */
    bool fits, fits_disk;
};

/* What a plan needs and a run finds out later. */
static int settle(struct lm_run_settings *settings, loam_error *error)
{
    if (!settings->model)
        return lm_fail(error, LOAM_EUSAGE, "plan: no model is named; give a directory with a config.json");
    int code = lm_run_settings_check_plan(settings, error);
    return code == LOAM_OK ? lm_run_settings_settle_length(settings, error) : code;
}

static int64_t limit_of(const struct lm_run_settings *settings)
{
    const int64_t machine = settings->ranks > 1 ? 0 : lm_memory_limit();
    if (settings->memory > 0 && (machine <= 0 || settings->memory < machine))
        return settings->memory;
    return machine;
}

static int make(const struct lm_run_settings *settings, struct planned *planned, loam_error *error)
{
    struct lm_run_plan predicted;
    *planned = (struct planned){.settings = settings};
    int code = lm_run_plan_picture(settings, &planned->plan, &planned->picture, error);
    if (code == LOAM_OK)
        code = lm_run_plan_predict(settings, &predicted, error);
    planned->room = -1;
    if (code == LOAM_OK && settings->ranks == 1)
        code = lm_free_space(".", &planned->room, error);
    if (code != LOAM_OK)
        return code;
    planned->plan.seconds_per_step = predicted.seconds_per_step;
    planned->plan.tokens_per_second = predicted.tokens_per_second;
    planned->limit = limit_of(settings);
    planned->fits = planned->limit <= 0 || (int64_t)planned->plan.total <= planned->limit;
    planned->fits_disk = planned->room < 0 || (int64_t)planned->plan.disk <= planned->room;
    return LOAM_OK;
}

/* --- DeepSpeed's estimators --- */

struct deepspeed {
    int64_t largest;                     /* parameters of the largest layer: a module's own */
    double zero2, zero3;                 /* bytes a GPU, no offload */
};

/* As deepspeed.runtime.zero has them: stage_1_and_2.py 2 P + 18 P / G; stage3.py 4 L + 18 P / G. */
static int estimate(const struct lm_run_settings *settings, struct deepspeed *result, loam_error *error)
{
    struct lm_config config;
    struct lm_parameter *list;
    size_t count;
    char *path = lm_path_join(settings->model, "config.json", error);
    int code = path ? lm_config_read(path, &config, error) : LOAM_ENOMEM;
    lm_free(path);
    if (code == LOAM_OK)
        code = lm_parameters(&config, &list, &count, error);
    if (code != LOAM_OK)
        return code;
    double all = 0;
    result->largest = 0;
    for (size_t i = 0; i < count; i++) {
        all += (double)list[i].count;
        result->largest = list[i].count > result->largest ? list[i].count : result->largest;
    }
    lm_free(list);
    result->zero2 = 2 * all + 18 * all / (double)settings->ranks;
    result->zero3 = 4 * (double)result->largest + 18 * all / (double)settings->ranks;
    return LOAM_OK;
}

/* --- As text --- */

static const char *size_text(size_t bytes, char text[32])
{
    lm_format_size((int64_t)bytes, text);
    return text;
}

static size_t part_bytes(const struct lm_run_plan *plan, int part)
{
    const size_t parts[LM_PLAN_PARTS] = {plan->weights, plan->gradients, plan->optimizer, plan->activations, plan->logits,
                                         plan->workspace};
    return parts[part];
}

static void print_parts(const struct planned *planned)
{
    const struct lm_run_plan *plan = &planned->plan;
    char size[32];
    for (int part = 0; part < LM_PLAN_PARTS; part++) {
        const char *name = lm_plan_part_name((enum lm_plan_part)part);
        printf("  %-46s %12s\n", name, size_text(part_bytes(plan, part), size));
        for (size_t i = 0; i < planned->picture.line_count; i++) {
            const struct lm_plan_line *line = &planned->picture.lines[i];
            if (strncmp(line->name, name, strlen(name)) != 0 || strcmp(line->name, name) == 0)
                continue;
            char text[80];
            if (line->count > 1)
                snprintf(text, sizeof text, "%s (%zu)", line->name + strlen(name) + 2, line->count);
            else
                snprintf(text, sizeof text, "%s", line->name + strlen(name) + 2);
            printf("    %-44s %12s\n", text, size_text(line->bytes, size));
        }
    }
    if (plan->arena > plan->live)
        printf("    %-44s %12s\n", "empty at this moment", size_text(plan->arena - plan->live, size));
    printf("  %-46s %12s\n", "other: the program and its libraries", size_text(plan->other, size));
    printf("  %-46s %12s\n", "total", size_text(plan->total, size));
}

static size_t live_at(const struct lm_plan_picture *picture, int32_t moment)
{
    size_t sum = 0;
    for (int part = 0; part < LM_PLAN_PARTS; part++)
        sum += picture->live[moment][part];
    return sum;
}

/* A line a moment; of many, some at even distances, and the peak. */
static void print_step(const struct planned *planned)
{
    enum { LINES = 24, WIDTH = 40 };
    static const char letters[LM_PLAN_PARTS + 1] = "WGOALw";
    const struct lm_plan_picture *picture = &planned->picture;
    const int32_t stride = (picture->moments + LINES - 1) / LINES;
    char size[32];
    printf("one step (W weights, G gradients, O optimizer, A activations, L logits, w workspace)\n");
    for (int32_t i = 0; i < picture->moments; i++) {
        if (i % stride != 0 && i != planned->plan.peak && i + 1 != picture->moments)
            continue;
        char bar[WIDTH + 1] = "";
        size_t sum = 0, used = 0;
        for (int part = 0; part < LM_PLAN_PARTS; part++) {
            sum += picture->live[i][part];
            const size_t end = (size_t)lround((double)sum / (double)planned->plan.arena * WIDTH);
            while (used < end && used < WIDTH)
                bar[used++] = letters[part];
        }
        printf("  %-30s %-*s %12s%s\n", picture->names[i], WIDTH, bar, size_text(live_at(picture, i), size),
               i == planned->plan.peak ? "  peak" : "");
    }
}

static void print_disk(const struct lm_run_plan *plan)
{
    char size[32];
    const struct {
        const char *name;
        size_t bytes;
    } lines[] = {{"optimizer state while it runs", plan->scratch_optimizer}, {"weights while it runs", plan->scratch_weights},
                 {"activations while it runs", plan->scratch_activations}, {"a checkpoint", plan->checkpoint},
                 {"all, with the checkpoints kept", plan->disk}};
    printf("on disk\n");
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (lines[i].bytes > 0)
            printf("  %-46s %12s\n", lines[i].name, size_text(lines[i].bytes, size));
}

static int print_compared(const struct lm_run_settings *settings, loam_error *error)
{
    struct deepspeed other;
    char a[32], b[32];
    int code = estimate(settings, &other, error);
    if (code != LOAM_OK)
        return code;
    lm_format_size((int64_t)other.zero2, a);
    lm_format_size((int64_t)other.zero3, b);
    printf("DeepSpeed's estimators on %lld GPU%s, no offload, states alone: ZeRO-2 %s, ZeRO-3 %s a GPU; they leave out activations, "
           "logits and workspace\n", (long long)settings->ranks, settings->ranks == 1 ? "" : "s", a, b);
    return LOAM_OK;
}

static void print_verdict(const struct planned *planned)
{
    char size[32], limit[32];
    const struct lm_run_plan *plan = &planned->plan;
    if (!planned->fits_disk)
        printf("does not fit on this disk: %s, and %s are left\n", size_text(plan->disk, size),
               size_text((size_t)planned->room, limit));
    printf("predicted: %.3g seconds a step, %.0f tokens/s\n", plan->seconds_per_step, plan->tokens_per_second);
    if (planned->limit > 0)
        printf("%s: %s of %s\n", !planned->fits ? "does not fit" : planned->fits_disk ? "fits" : "fits into memory",
               size_text(plan->total, size), size_text((size_t)planned->limit, limit));
}

static void print_plan(const struct planned *planned)
{
    const struct lm_run_settings *s = planned->settings;
    printf("%s: %lld parameters, %lld x %lld x %lld tokens a step%s\n", s->model, (long long)planned->plan.parameters,
           (long long)s->accumulate, (long long)s->batch, (long long)s->seq, s->ranks > 1 ? ", a rank" : "");
    printf("at the peak, %s\n", planned->plan.peak_moment);
    print_parts(planned);
    print_step(planned);
    print_disk(&planned->plan);
    print_verdict(planned);
}

/* --- As JSON --- */

static void json_int(struct lm_json_writer *writer, const char *key, size_t value)
{
    lm_json_key(writer, key);
    lm_json_int(writer, (int64_t)value);
}

static void json_double(struct lm_json_writer *writer, const char *key, double value)
{
    lm_json_key(writer, key);
    lm_json_double(writer, value);
}

/* Numbers as numbers, truths as truths, all else as text. */
static void json_setting(struct lm_json_writer *writer, const struct lm_run_settings *settings, const char *key)
{
    struct lm_bytes text = {0};
    int64_t whole;
    if (lm_run_settings_text(settings, key, &text, NULL) != LOAM_OK)
        lm_bytes_append(&text, "", 0, NULL);
    const char *value = text.data ? text.data : "";
    lm_json_key(writer, key);
    if (lm_parse_int(value, &whole, NULL) == LOAM_OK && strcmp(key, "recompute") != 0)
        lm_json_int(writer, whole);
    else if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
        lm_json_bool(writer, *value == 't');
    else
        lm_json_text(writer, value);
    lm_bytes_free(&text);
}

static void json_settings(struct lm_json_writer *writer, const struct lm_run_settings *settings)
{
    static const char *const keys[] = {"model", "batch", "accumulate", "seq", "recompute", "optimizer_state", "masters",
                                       "gradients", "products", "fused_step", "fused_clip", "offload", "dtype", "memory", "ranks", "zero"};
    lm_json_key(writer, "settings");
    lm_json_begin_object(writer);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        json_setting(writer, settings, keys[i]);
    lm_json_end_object(writer);
}

static void json_plan(struct lm_json_writer *writer, const struct lm_run_plan *plan)
{
    lm_json_key(writer, "memory_bytes");
    lm_json_begin_object(writer);
    for (int part = 0; part < LM_PLAN_PARTS; part++)
        json_int(writer, lm_plan_part_name((enum lm_plan_part)part), part_bytes(plan, part));
    json_int(writer, "other", plan->other);
    json_int(writer, "total", plan->total);
    lm_json_end_object(writer);
    json_int(writer, "arena_bytes", plan->arena);
    json_int(writer, "live_bytes", plan->live);
    json_int(writer, "disk_bytes", plan->disk);
    lm_json_key(writer, "disk");
    lm_json_begin_object(writer);
    json_int(writer, "optimizer", plan->scratch_optimizer);
    json_int(writer, "weights", plan->scratch_weights);
    json_int(writer, "activations", plan->scratch_activations);
    json_int(writer, "checkpoint", plan->checkpoint);
    lm_json_end_object(writer);
    lm_json_key(writer, "peak_moment");
    lm_json_text(writer, plan->peak_moment);
    json_int(writer, "parameters", (size_t)plan->parameters);
    lm_json_key(writer, "predicted");
    lm_json_begin_object(writer);
    json_double(writer, "seconds_per_step", plan->seconds_per_step);
    json_double(writer, "tokens_per_second", plan->tokens_per_second);
    lm_json_end_object(writer);
}

static int json_compared(struct lm_json_writer *writer, const struct lm_run_settings *settings, loam_error *error)
{
    struct deepspeed other;
    int code = estimate(settings, &other, error);
    if (code != LOAM_OK)
        return code;
    lm_json_key(writer, "deepspeed");
    lm_json_begin_object(writer);
    json_int(writer, "largest_layer_parameters", (size_t)other.largest);
    json_int(writer, "zero2_bytes", (size_t)other.zero2);
    json_int(writer, "zero3_bytes", (size_t)other.zero3);
    lm_json_end_object(writer);
    return LOAM_OK;
}

/* --- One plan, or several --- */

static int draw(const struct planned *planned, const char *path, loam_error *error)
{
    struct lm_page *page;
    struct lm_bytes svg = {0};
    int code = lm_look_memory(&planned->plan, &planned->picture, &page, error);
    if (code != LOAM_OK)
        return code;
    code = lm_page_svg(page, &svg, error);
    if (code == LOAM_OK)
        code = lm_file_replace(path, svg.data, svg.length, error);
    lm_page_free(page);
    lm_bytes_free(&svg);
    return code;
}

static int show(const struct arguments *arguments, struct planned *planned, struct lm_json_writer *writer, loam_error *error)
{
    const bool compare = arguments->values[OPT_COMPARE_WITH].given;
    int code = LOAM_OK;
    if (arguments->values[OPT_SVG].given)
        code = draw(planned, arguments->values[OPT_SVG].text, error);
    if (code != LOAM_OK)
        return code;
    if (!writer) {
        print_plan(planned);
        if (!planned->fits || !planned->fits_disk) {
            struct lm_bytes text = {0};
            lm_run_fit_text(planned->settings, planned->limit > 0 ? planned->limit : INT64_MAX, ".", &text);
            printf("what would fit%s\n", text.data ? text.data : ": nothing that was found");
            lm_bytes_free(&text);
        }
        return compare ? print_compared(planned->settings, error) : LOAM_OK;
    }
    lm_json_begin_object(writer);
    json_plan(writer, &planned->plan);
    json_settings(writer, planned->settings);
    lm_json_key(writer, "fits");
    lm_json_bool(writer, planned->fits && planned->fits_disk);
    if (planned->room >= 0)
        json_int(writer, "disk_free_bytes", (size_t)planned->room);
    if (compare)
        code = json_compared(writer, planned->settings, error);
    lm_json_end_object(writer);
    return code;
}

static int plan_all(const struct arguments *arguments, struct sweep *sweep, struct lm_json_writer *writer, loam_error *error)
{
    int code = LOAM_OK;
    if (arguments->values[OPT_SVG].given && sweep->count > 1)
        return lm_fail(error, LOAM_EUSAGE, "plan: --svg draws one plan; give no lists");
    for (size_t i = 0; code == LOAM_OK && i < sweep->count; i++) {
        struct planned planned = {0};
        code = settle(&sweep->settings[i], error);
        if (code == LOAM_OK)
            code = make(&sweep->settings[i], &planned, error);
        if (code == LOAM_OK)
            code = show(arguments, &planned, writer, error);
        lm_plan_picture_free(&planned.picture);
        if (!writer && i + 1 < sweep->count)
            printf("\n");
    }
    return code;
}

/* --- What would fit --- */

static void json_fit(struct lm_json_writer *writer, const struct lm_run_settings *asked, const struct lm_fit *fit)
{
    struct lm_run_settings settings = *asked;    /* shares its texts */
    lm_fit_apply(fit, &settings);
    lm_json_begin_object(writer);
    lm_json_key(writer, "changes");
    lm_json_text(writer, fit->changes);
    lm_json_key(writer, "cost");
    lm_json_text(writer, fit->cost);
    json_plan(writer, &fit->plan);
    json_settings(writer, &settings);
    lm_json_end_object(writer);
}

static void print_fits(const struct lm_fit *list, size_t count)
{
    char size[32], disk[32];
    for (size_t i = 0; i < count; i++) {
        printf("  %s\n", list[i].changes);
        printf("      %s of memory, %.3g seconds a step, %.0f tokens/s, %s on disk with checkpoints\n",
               size_text(list[i].plan.total, size), list[i].plan.seconds_per_step, list[i].plan.tokens_per_second,
               size_text(list[i].plan.disk, disk));
        printf("      costs: %s\n", list[i].cost);
    }
}

static int fit(const struct arguments *arguments, struct lm_run_settings *settings, struct lm_json_writer *writer,
               loam_error *error)
{
    const int64_t bytes = arguments->values[OPT_FIT].given ? arguments->values[OPT_FIT].whole : settings->memory;
    struct lm_fit list[LM_FITS];
    size_t count, changes;
    char size[32];
    int code = settle(settings, error);
    if (code == LOAM_OK)
        code = lm_run_fit(settings, bytes, ".", list, &count, &changes, error);
    if (code != LOAM_OK)
        return code;
    if (writer) {
        lm_json_begin_object(writer);
        json_int(writer, "bytes", (size_t)bytes);
        lm_json_key(writer, "fits");
        lm_json_bool(writer, count > 0);
        lm_json_key(writer, count ? "ways" : "changes");
        lm_json_begin_array(writer);
        for (size_t i = 0; i < count + changes; i++)
            json_fit(writer, settings, &list[i]);
        lm_json_end_array(writer);
        lm_json_end_object(writer);
        return LOAM_OK;
    }
    size_text((size_t)bytes, size);
    if (count > 0)
        printf("within %s, the fastest first:\n", size);
    else
        printf("nothing that the settings leave open fits into %s; %s\n", size,
               changes ? "the cheapest changes that would:" : "and no change of them would: take a smaller model");
    print_fits(list, count + changes);
    return count > 0 ? LOAM_OK : lm_fail(error, LOAM_ENOMEM, "plan: this does not fit into %s", size);
}

static int run(const struct arguments *arguments, struct sweep *sweep, struct lm_json_writer *writer, loam_error *error)
{
    if (!arguments->values[OPT_FIT].given)
        return plan_all(arguments, sweep, writer, error);
    if (sweep->count > 1)
        return lm_fail(error, LOAM_EUSAGE, "plan: --fit searches around one run; give no lists");
    return fit(arguments, &sweep->settings[0], writer, error);
}

int command_plan(const struct arguments *arguments)
{
    struct sweep sweep;
    struct lm_bytes text = {0};
    struct lm_json_writer writer = lm_json_writer(&text, 2);
    const bool json = arguments->values[OPT_JSON].given;
    loam_error error = {0};
    int code = sweep_open(&sweep, arguments, LM_RUN_TRAIN, &error);
    if (code == LOAM_EUSAGE && arguments->values[OPT_RECIPE].given)    /* of the other command: memory is the same */
        code = sweep_open(&sweep, arguments, LM_RUN_FINETUNE, &error);
    const bool list = code == LOAM_OK && sweep.count > 1;
    if (code == LOAM_OK && json && list)
        lm_json_begin_array(&writer);
    if (code == LOAM_OK)
        code = run(arguments, &sweep, json ? &writer : NULL, &error);
    if (code == LOAM_OK && json && list)
        lm_json_end_array(&writer);
    sweep_close(&sweep);
    if (code == LOAM_OK && json)
        return print_json(&writer);
    lm_bytes_free(&text);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}
