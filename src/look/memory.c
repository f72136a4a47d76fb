/* The memory of a training step, as a plan has it. */
#include "page.h"

#include <stdio.h>

/* What sizes are shown in: MiB, and GiB where that makes long numbers. */
struct scale {
    const char *unit;
    double bytes;
};

static struct scale scale_of(const struct lm_run_plan *plan, size_t most)
{
    const bool large = (plan->arena > most ? plan->arena : most) >= (size_t)10 << 30;
    return (struct scale){large ? "GiB" : "MiB", large ? 1 << 30 : 1 << 20};
}

void lm_page_add_memory(struct lm_page *page, const char *name, const char *title, const struct lm_run_plan *plan,
                        const struct lm_plan_picture *picture, size_t most)
{
    const struct scale scale = scale_of(plan, most);
    const char *parts[LM_PLAN_PARTS];
    double *values = lm_alloc((size_t)picture->moments * LM_PLAN_PARTS, sizeof *values, &page->error);
    const char **moments = lm_alloc((size_t)picture->moments, sizeof *moments, &page->error);
    for (int part = 0; part < LM_PLAN_PARTS; part++)
        parts[part] = lm_plan_part_name((enum lm_plan_part)part);
    for (int32_t i = 0; values && moments && i < picture->moments; i++) {
        moments[i] = picture->names[i];
        for (int part = 0; part < LM_PLAN_PARTS; part++)
            values[i * LM_PLAN_PARTS + part] = (double)picture->live[i][part] / scale.bytes;
    }
    const struct lm_block block = {.kind = LM_BLOCK_AREAS, .name = name, .title = title, .unit = scale.unit,
                                   .row_axis = "moments of a step, one after the other", .rows = picture->moments,
                                   .columns = LM_PLAN_PARTS, .row_names = moments, .column_names = parts, .values = values,
                                   .decimals = 2, .marked = plan->peak + 1, .high = (double)most / scale.bytes};
    if (values && moments)
        lm_page_add(page, &block);
    lm_free(moments);
    lm_free(values);
}

static void add_parts(struct lm_page *page, const struct lm_run_plan *plan)
{
    static const char *const column[] = {"at the peak"};
    const struct scale scale = scale_of(plan, 0);
    const size_t bytes[] = {plan->weights, plan->gradients, plan->optimizer, plan->activations, plan->logits, plan->workspace,
                            plan->other, plan->total};
    const char *names[LM_PLAN_PARTS + 2];
    double values[LM_PLAN_PARTS + 2];
    for (int i = 0; i < LM_PLAN_PARTS + 2; i++) {
        names[i] = i < LM_PLAN_PARTS ? lm_plan_part_name((enum lm_plan_part)i) : i == LM_PLAN_PARTS
                   ? "other: the program itself" : "total";
        values[i] = (double)bytes[i] / scale.bytes;
    }
    const struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "parts", .title = "Where it goes", .unit = scale.unit,
                                   .rows = LM_PLAN_PARTS + 2, .columns = 1, .row_names = names, .column_names = column,
                                   .values = values, .decimals = 2};
    lm_page_add(page, &block);
}

static void add_places(struct lm_page *page, const struct lm_run_plan *plan, const struct lm_plan_picture *picture)
{
    static const char *const columns[] = {"together", "places"};
    const struct scale scale = scale_of(plan, 0);
    double *values = lm_alloc(2 * picture->line_count + 1, sizeof *values, &page->error);
    const char **names = lm_alloc(picture->line_count + 1, sizeof *names, &page->error);
    for (size_t i = 0; values && names && i < picture->line_count; i++) {
        names[i] = picture->lines[i].name;
        values[2 * i] = (double)picture->lines[i].bytes / scale.bytes;
        values[2 * i + 1] = (double)picture->lines[i].count;
    }
    const struct lm_block block = {.kind = LM_BLOCK_TABLE, .name = "places", .title = "What is live at the peak", .unit = scale.unit,
                                   .rows = (int64_t)picture->line_count, .columns = 2, .row_names = names, .column_names = columns,
                                   .values = values, .decimals = -1};
    if (values && names && picture->line_count)
        lm_page_add(page, &block);
    lm_free(names);
    lm_free(values);
}

static void add_disk(struct lm_page *page, const struct lm_run_plan *plan)
{
    const struct {
        const char *name, *label;
        size_t bytes;
    } lines[] = {{"disk_optimizer", "on disk while it runs: optimizer state", plan->scratch_optimizer},
                 {"disk_weights", "on disk while it runs: weights", plan->scratch_weights},
                 {"disk_activations", "on disk while it runs: activations", plan->scratch_activations},
                 {"checkpoint", "on disk: a checkpoint", plan->checkpoint},
                 {"disk", "on disk: all, with the checkpoints kept", plan->disk}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (lines[i].bytes > 0)
            lm_page_fact(page, lines[i].name, lines[i].label, "bytes", 0, (double)lines[i].bytes);
}

int lm_look_memory(const struct lm_run_plan *plan, const struct lm_plan_picture *picture, struct lm_page **page, loam_error *error)
{
    char size[32], title[160];
    struct lm_page *made = lm_page_create("Memory of a training step", error);
    if (!made)
        return LOAM_ENOMEM;
    lm_page_say(made, "All that a step needs lies in one arena, laid out before the first step; places that are never live together share "
                "bytes. This is the plan, which the run keeps to.");
    lm_page_fact(made, "parameters", "parameters", "", 0, (double)plan->parameters);
    lm_page_fact(made, "arena", "the arena", "bytes", 0, (double)plan->arena);
    lm_page_fact(made, "live", "live in it at the peak", "bytes", 0, (double)plan->live);
    lm_page_fact(made, "total", "the whole process", "bytes", 0, (double)plan->total);
    lm_page_fact_text(made, "peak", "the peak", plan->peak_moment);
    add_disk(made, plan);
    add_parts(made, plan);
    lm_format_size((int64_t)plan->arena, size);
    snprintf(title, sizeof title, "Memory over one step: %s at the peak, %s", size, plan->peak_moment);
    lm_page_add_memory(made, "step", title, plan, picture, 0);
    add_places(made, plan, picture);
    lm_page_say(made, "To try: --recompute layer, --optimizer-state 8bit, --fused-step and --offload optimizer take the parts down one by one; "
                "loam plan says what they cost in time, and --fit finds the fastest that fits.");
    int code = lm_page_check(made, error);
    if (code)
        lm_page_free(made);
    else
        *page = made;
    return code;
}
