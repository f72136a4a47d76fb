/* The memory of a run: one arena, laid out by the code that the run itself uses. */
#include "speed.h"

#include <stdio.h>
#include <string.h>

struct lm_run_form lm_run_form_of(const struct lm_run_settings *settings)
{
    struct lm_run_form form = {.fused = settings->fused_step};
    if (settings->dtype == LM_BF16)
        form.masters = settings->masters < 0 ? settings->optimizer_state == LM_STATE_F32 : settings->masters;
    form.gradients_bf16 = settings->gradients < 0 ? settings->dtype == LM_BF16 && !form.masters
                                                  : settings->gradients == LM_GRADIENTS_BF16;
    form.narrow = settings->products < 0 ? settings->dtype == LM_BF16 : settings->products == LM_PRODUCTS_BF16;
    form.weights_on_disk = settings->offload & LM_OFFLOAD_WEIGHTS;
    form.state_on_disk = settings->offload & LM_OFFLOAD_OPTIMIZER;
    form.activations_on_disk = settings->offload & LM_OFFLOAD_ACTIVATIONS;
    return form;
}

/* --- Laying out --- */

struct laying {
    struct lm_run_memory *memory;
    const struct lm_run_settings *settings;
    const struct lm_config *config;
    size_t weight_bytes;
    int32_t head, norm, back, end;    /* moments: of the head, of norm's backward, of the first layer backward, of the embeddings */
};

/* What one rank of several has of `bytes`. */
static size_t share(const struct lm_run_settings *settings, size_t bytes)
{
    return (bytes + (size_t)settings->ranks - 1) / (size_t)settings->ranks;
}

static void during(struct laying *laying, void *where, const char *name, size_t bytes, int32_t first, int32_t last)
{
    lm_layout_add_during(&laying->memory->layout, where, name, bytes, first, last);
}

static size_t unit_weights(const struct laying *laying, int64_t unit)
{
    return lm_model_unit(laying->memory->model, unit).elements * (size_t)lm_dtype_bits(laying->settings->dtype) / 8;
}

/* A unit's gradients: matrices, then vectors. */
static size_t unit_gradients(const struct lm_run_memory *memory, int64_t unit)
{
    size_t count, matrices = 0, vectors = 0;
    const struct lm_parameter *table = lm_model_parameters(memory->model, &count);
    const struct lm_unit range = lm_model_unit(memory->model, unit);
    const size_t element = memory->form.gradients_bf16 ? sizeof(uint16_t) : sizeof(float);
    for (size_t i = range.first; i < range.first + range.count; i++)
        *(table[i].rank == 2 ? &matrices : &vectors) += (size_t)table[i].count;
    return lm_round_up(matrices * element, LM_ALIGN) + lm_round_up(vectors * sizeof(float), LM_ALIGN);
}

/* Weights that come and go, from the disk or from other ranks: layers take turns in two places. */
static void add_visiting_weights(struct laying *laying)
{
    struct lm_run_memory *memory = laying->memory;
    struct lm_weights_on_disk *disk = &memory->weights_on_disk;
    const int64_t last = lm_model_units(memory->model) - 1;
    const int32_t begin = 0, forward = lm_moment(laying->config, LM_STAGE_ATTENTION, 0);
    if (laying->config->tied) {
        lm_layout_add(&memory->layout, &disk->first[0], "weights: embeddings", unit_weights(laying, 0));
    } else {
        during(laying, &disk->first[0], "weights: embeddings", unit_weights(laying, 0), begin, begin);
        during(laying, &disk->first[1], "weights: embeddings", unit_weights(laying, 0), laying->end, laying->end);
    }
    for (int i = 0; i < LM_LAYERS_IN_MEMORY; i++)
        during(laying, &disk->layers[i], "weights: layers at hand", unit_weights(laying, 1), forward, laying->back);
    during(laying, &disk->head, "weights: norm and head", unit_weights(laying, last), laying->head, laying->norm);
}

static void add_weights(struct laying *laying)
{
    struct lm_run_memory *memory = laying->memory;
    const bool sharded = laying->settings->zero >= 3;
    if (sharded)
        lm_layout_add(&memory->layout, NULL, "weights: this rank's share", share(laying->settings, laying->weight_bytes));
    if (sharded || memory->form.weights_on_disk)
        add_visiting_weights(laying);
    else
        lm_layout_add(&memory->layout, &memory->weights, "weights", laying->weight_bytes);
}

/* One place for each kind of unit, while a pass fills it and the optimizer (or other ranks) take it. */
static void add_visiting_gradients(struct laying *laying)
{
    struct lm_run_memory *memory = laying->memory;
    const int64_t last = lm_model_units(memory->model) - 1;
    const int32_t layers = lm_moment(laying->config, LM_STAGE_AGAIN, laying->config->layers - 1);
    during(laying, &memory->first_gradients, "gradients: embeddings", unit_gradients(memory, 0),
           laying->config->tied ? laying->head : laying->end, laying->end);
    during(laying, &memory->layer_gradients, "gradients: a layer", unit_gradients(memory, 1), layers, laying->back);
    during(laying, &memory->last_gradients, "gradients: norm and head", unit_gradients(memory, last), laying->head,
           laying->norm);
}

/* A place for each unit, from its backward pass to the step; of a rank's share, where the others have the rest, from when it is complete. */
static int add_growing_gradients(struct laying *laying, bool shared, loam_error *error)
{
    static const char *const names[2][3] = {{"gradients: embeddings", "gradients: layers", "gradients: norm and head"},
                                            {"gradients: this rank's share", "gradients: this rank's share", "gradients: this rank's share"}};
    struct lm_run_memory *memory = laying->memory;
    const int64_t units = lm_model_units(memory->model);
    const int32_t step = lm_moment(laying->config, LM_STAGE_STEP, 0);
    memory->unit_gradients = lm_alloc((size_t)units, sizeof *memory->unit_gradients, error);
    for (int64_t unit = 0; memory->unit_gradients && unit < units; unit++) {
        int32_t first = shared ? laying->norm : laying->head;
        if (unit == 0)
            first = laying->config->tied && !shared ? laying->head : laying->end;
        else if (unit + 1 < units)
            first = lm_moment(laying->config, shared ? LM_STAGE_ATTENTION_BACK : LM_STAGE_MLP_BACK, unit - 1);
        const size_t bytes = unit_gradients(memory, unit);
        during(laying, shared ? NULL : (void *)&memory->unit_gradients[unit],
               names[shared][unit == 0 ? 0 : unit + 1 == units ? 2 : 1], shared ? share(laying->settings, bytes) : bytes, first, step);
    }
    return memory->unit_gradients ? LOAM_OK : LOAM_ENOMEM;
}

static int add_gradients(struct laying *laying, loam_error *error)
{
    struct lm_run_memory *memory = laying->memory;
    const bool sharded = laying->settings->zero >= 2;
    size_t all = 0;
    for (int64_t unit = 0; unit < lm_model_units(memory->model); unit++)
        all += unit_gradients(memory, unit);
    if (memory->form.fused || sharded)
        add_visiting_gradients(laying);
    if (memory->micro_batches == 1 && !memory->form.fused)
        return add_growing_gradients(laying, sharded, error);
    if (!memory->form.fused && !sharded)
        lm_layout_add(&memory->layout, &memory->all_gradients, "gradients", all);
    if (sharded && !memory->form.fused)
        lm_layout_add(&memory->layout, NULL, "gradients: this rank's share", share(laying->settings, all));
    return LOAM_OK;
}

static int add_state(struct laying *laying, loam_error *error)
{
    struct lm_run_memory *memory = laying->memory;
    const struct lm_state_form form = {.kind = laying->settings->optimizer_state, .masters = memory->form.masters};
    int code = lm_state_make(&memory->state, &form, memory->model, error);
    if (code != LOAM_OK)
        return code;
    const bool sharded = laying->settings->zero >= 1;
    if (memory->form.state_on_disk)
        lm_layout_add(&memory->layout, &memory->state.ring, "optimizer: on its way from and to the disk",
                      memory->state.slots * memory->state.slot_bytes);
    else
        lm_layout_add(&memory->layout, &memory->state.memory, sharded ? "optimizer: this rank's share" : "optimizer",
                      sharded ? share(laying->settings, memory->state.bytes) : memory->state.bytes);
    return LOAM_OK;
}

static int add_batches(struct laying *laying, loam_error *error)
{
    struct lm_run_memory *memory = laying->memory;
    int32_t **const arrays[] = {&memory->ids, &memory->targets, &memory->positions, &memory->segment_start};
    size_t bytes;
    if (!lm_mul((size_t)laying->settings->batch, (size_t)laying->settings->seq, &bytes) ||
        !lm_mul(bytes, (size_t)memory->micro_batches, &bytes) || !lm_mul(bytes, sizeof(int32_t), &bytes))
        return lm_fail(error, LOAM_EUSAGE, "the sizes of this run do not fit into an address; use a smaller batch, accumulate "
                       "or seq");
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        lm_layout_add(&memory->layout, (void **)arrays[i], "workspace: batches", bytes);
    size_t count;
    lm_model_parameters(memory->model, &count);
    lm_layout_add(&memory->layout, (void **)&memory->squares, "workspace: norms of the gradients",
                  count * sizeof *memory->squares);
    return LOAM_OK;
}

static int add_pass(struct laying *laying, loam_error *error)
{
    struct lm_run_memory *memory = laying->memory;
    const struct lm_run_settings *settings = laying->settings;
    const struct lm_pass_options options = {.batch = settings->batch,
                                            .length = settings->seq,
                                            .backward = true,
                                            .recompute = settings->recompute,
                                            .recompute_every = settings->recompute_every,
                                            .gradients_bf16 = memory->form.gradients_bf16,
                                            .kept_boundaries = memory->form.activations_on_disk ? LM_KEPT_BOUNDARIES : 0};
    int code = lm_pass_create(memory->model, &options, &memory->layout, &memory->pass, error);
    if (code != LOAM_OK)
        return code;
    memory->boundaries_on_disk.groups = lm_pass_groups(memory->pass);
    memory->boundaries_on_disk.bytes = (size_t)settings->batch * (size_t)settings->seq * (size_t)laying->config->width *
                                       sizeof(float);
    return lm_layout_check(&memory->layout, error);
}

/* --- Reading it --- */

const char *lm_plan_part_name(enum lm_plan_part part)
{
    static const char *const names[] = {"weights", "gradients", "optimizer", "activations", "logits", "workspace"};
    return names[part];
}

/* A place belongs to the part that its name begins with. */
static enum lm_plan_part part_of(const struct lm_place *place)
{
    for (int part = 0; part < LM_PLAN_WORKSPACE; part++)
        if (strncmp(place->name, lm_plan_part_name((enum lm_plan_part)part),
                    strlen(lm_plan_part_name((enum lm_plan_part)part))) == 0)
            return (enum lm_plan_part)part;
    return LM_PLAN_WORKSPACE;
}

static bool live_at(const struct lm_place *place, int32_t moment)
{
    return place->first <= moment && moment <= place->last;
}

static void sum_parts(const struct lm_layout *layout, int32_t moment, size_t parts[LM_PLAN_PARTS])
{
    memset(parts, 0, LM_PLAN_PARTS * sizeof *parts);
    for (size_t i = 0; i < layout->count; i++)
        if (live_at(&layout->places[i], moment))
            parts[part_of(&layout->places[i])] += lm_round_up(layout->places[i].bytes, LM_ALIGN);
}

static void find_peak(const struct laying *laying, struct lm_run_plan *plan)
{
    const struct lm_layout *layout = &laying->memory->layout;
    for (int32_t moment = 0; moment < lm_moment_count(laying->config); moment++) {
        const size_t live = lm_layout_live(layout, moment);
        if (live <= plan->live)
            continue;
        plan->live = live;
        plan->peak = moment;
    }
    size_t parts[LM_PLAN_PARTS];
    sum_parts(layout, plan->peak, parts);
    lm_moment_text(laying->config, plan->peak, plan->peak_moment);
    plan->weights = parts[LM_PLAN_WEIGHTS];
    plan->gradients = parts[LM_PLAN_GRADIENTS];
    plan->optimizer = parts[LM_PLAN_OPTIMIZER];
    plan->activations = parts[LM_PLAN_ACTIVATIONS];
    plan->logits = parts[LM_PLAN_LOGITS];
    plan->arena = layout->size;
    plan->workspace = parts[LM_PLAN_WORKSPACE] + (plan->arena > plan->live ? plan->arena - plan->live : 0);
    plan->other = lm_run_other();
    plan->total = plan->arena + plan->other;
}

static void add_disk(const struct laying *laying, struct lm_run_plan *plan)
{
    const struct lm_run_memory *memory = laying->memory;
    const struct lm_boundaries_on_disk *boundaries = &memory->boundaries_on_disk;
    plan->model = laying->weight_bytes;
    plan->checkpoint = laying->weight_bytes + (laying->settings->weights_only ? 0 : memory->state.bytes);
    if (memory->form.state_on_disk)
        plan->scratch_optimizer = memory->state.bytes;
    if (memory->form.weights_on_disk)
        plan->scratch_weights = laying->weight_bytes;
    if (memory->form.activations_on_disk && boundaries->groups > LM_KEPT_BOUNDARIES)
        plan->scratch_activations = (size_t)boundaries->groups * boundaries->bytes;
    /* the model at the end is a second name of a checkpoint's files */
    plan->disk = plan->scratch_optimizer + plan->scratch_weights + plan->scratch_activations +
                 plan->checkpoint * (size_t)lm_checkpoints_held(laying->settings, 0);
}

int lm_run_memory_lay_out(struct lm_run_memory *memory, const struct lm_run_settings *settings, struct lm_model *model,
                          int64_t micro_batches, loam_error *error)
{
    const struct lm_config *config = lm_model_config(model);
    struct laying laying = {.memory = memory, .settings = settings, .config = config,
                            .weight_bytes = lm_model_weight_bytes(config, settings->dtype),
                            .head = lm_moment(config, LM_STAGE_HEAD, 0), .norm = lm_moment(config, LM_STAGE_NORM, 0),
                            .back = lm_moment(config, LM_STAGE_ATTENTION_BACK, 0),
                            .end = lm_moment(config, LM_STAGE_EMBEDDINGS, 0)};
    if (laying.weight_bytes == 0)
        return lm_fail(error, LOAM_EUSAGE, "the weights of this model do not fit into an address; use a smaller model");
    if (settings->recompute == LM_RECOMPUTE_LAYER && settings->recompute_every > config->layers)
        return lm_fail(error, LOAM_EUSAGE, "setting 'recompute': found %lld, and the model has %lld layers: a number up to that, or none",
                       (long long)settings->recompute_every, (long long)config->layers);
    memory->model = model;
    memory->form = lm_run_form_of(settings);
    memory->parameters = laying.weight_bytes / ((size_t)lm_dtype_bits(settings->dtype) / 8);
    memory->micro_batches = micro_batches;
    size_t count;
    lm_model_parameters(model, &count);
    memory->gradients = (struct lm_gradients){.bf16 = memory->form.gradients_bf16, .at = lm_alloc(count, sizeof(void *), error)};
    if (!memory->gradients.at)
        return LOAM_ENOMEM;
    add_weights(&laying);
    int code = add_gradients(&laying, error);
    if (code == LOAM_OK)
        code = add_state(&laying, error);
    if (code == LOAM_OK)
        code = add_batches(&laying, error);
    if (code == LOAM_OK)
        code = add_pass(&laying, error);
    if (code != LOAM_OK)
        return code;
    memory->plan = (struct lm_run_plan){.parameters = (int64_t)memory->parameters};
    find_peak(&laying, &memory->plan);
    add_disk(&laying, &memory->plan);
    return LOAM_OK;
}

/* --- Without a run --- */

static int read_config(const char *model, struct lm_config *config, loam_error *error)
{
    if (lm_gguf_is(model)) {
        struct lm_gguf *file;
        int code = lm_gguf_open(model, &file, error);
        if (code != LOAM_OK)
            return code;
        code = lm_gguf_config(file, config, error);
        lm_gguf_close(file);
        return code;
    }
    char *path = lm_path_join(model, "config.json", error);
    int code = path ? lm_config_read(path, config, error) : LOAM_ENOMEM;
    lm_free(path);
    return code;
}

int lm_run_settings_settle_length(struct lm_run_settings *settings, loam_error *error)
{
    struct lm_config config;
    if (settings->seq > 0)
        return LOAM_OK;
    int code = read_config(settings->model, &config, error);
    if (code == LOAM_OK)
        settings->seq = config.context < LM_LONGEST_DEFAULT_SEQ ? config.context : LM_LONGEST_DEFAULT_SEQ;
    return code;
}

int lm_sketch_open(const struct lm_run_settings *settings, struct lm_sketch *sketch, loam_error *error)
{
    if (!settings->model || settings->seq < 1)
        return lm_fail(error, LOAM_EUSAGE, "a plan needs the settings model and seq");
    int code = read_config(settings->model, &sketch->config, error);
    if (code != LOAM_OK)
        return code;
    const int threads = settings->threads > 0 ? (int)settings->threads : 0;
    code = lm_device_open(&(struct lm_device_options){.threads = threads}, &sketch->device, error);
    const struct lm_model_options options = {.load = true, .later = true, .dtype = settings->dtype,
                                             .narrow = lm_run_form_of(settings).narrow};
    if (code == LOAM_OK)
        code = lm_model_create(&sketch->config, settings->seed, sketch->device, &options, &sketch->model, error);
    return code;
}

void lm_sketch_close(struct lm_sketch *sketch)
{
    lm_run_memory_free(&sketch->memory);
    lm_model_close(sketch->model);
    lm_device_close(sketch->device);
}

static int open_laid_out(const struct lm_run_settings *settings, struct lm_sketch *sketch, loam_error *error)
{
    int code = lm_sketch_open(settings, sketch, error);
    if (code == LOAM_OK)
        code = lm_run_memory_lay_out(&sketch->memory, settings, sketch->model, settings->accumulate, error);
    return code;
}

int lm_run_plan_make(const struct lm_run_settings *settings, struct lm_run_plan *plan, loam_error *error)
{
    struct lm_sketch sketch = {0};
    int code = open_laid_out(settings, &sketch, error);
    if (code == LOAM_OK)
        *plan = sketch.memory.plan;
    lm_sketch_close(&sketch);
    return code;
}

int lm_run_plan_predict(const struct lm_run_settings *settings, struct lm_run_plan *plan, loam_error *error)
{
    struct lm_sketch sketch = {0};
    struct lm_speed speed;
    int code = open_laid_out(settings, &sketch, error);
    if (code == LOAM_OK)
        code = lm_speed_measure(&sketch.config, settings, sketch.device, settings->offload ? "." : NULL, &speed, error);
    if (code == LOAM_OK) {
        *plan = sketch.memory.plan;
        plan->seconds_per_step = lm_speed_step(&speed, &sketch.config, settings, plan);
        plan->tokens_per_second = (double)settings->ranks * (double)settings->accumulate * (double)settings->batch *
                                  (double)settings->seq / plan->seconds_per_step;
    }
    lm_sketch_close(&sketch);
    return code;
}

static int collect_lines(const struct lm_layout *layout, int32_t peak, struct lm_plan_picture *picture, loam_error *error)
{
    picture->lines = lm_alloc(layout->count + 1, sizeof *picture->lines, error);
    if (!picture->lines)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < layout->count; i++) {
        const struct lm_place *place = &layout->places[i];
        size_t at = 0;
        if (!live_at(place, peak) || place->bytes == 0)
            continue;
        while (at < picture->line_count && strcmp(picture->lines[at].name, place->name) != 0)
            at++;
        if (at == picture->line_count)
            picture->lines[picture->line_count++].name = place->name;
        picture->lines[at].bytes += lm_round_up(place->bytes, LM_ALIGN);
        picture->lines[at].count++;
    }
    return LOAM_OK;
}

static int draw(const struct lm_sketch *sketch, struct lm_plan_picture *picture, loam_error *error)
{
    *picture = (struct lm_plan_picture){.moments = lm_moment_count(&sketch->config)};
    picture->live = lm_alloc((size_t)picture->moments, sizeof *picture->live, error);
    picture->names = lm_alloc((size_t)picture->moments, sizeof *picture->names, error);
    int code = picture->live && picture->names ? LOAM_OK : LOAM_ENOMEM;
    for (int32_t i = 0; code == LOAM_OK && i < picture->moments; i++) {
        sum_parts(&sketch->memory.layout, i, picture->live[i]);
        lm_moment_text(&sketch->config, i, picture->names[i]);
    }
    return code == LOAM_OK ? collect_lines(&sketch->memory.layout, sketch->memory.plan.peak, picture, error) : code;
}

int lm_run_plan_picture(const struct lm_run_settings *settings, struct lm_run_plan *plan, struct lm_plan_picture *picture,
                        loam_error *error)
{
    struct lm_sketch sketch = {0};
    int code = open_laid_out(settings, &sketch, error);
    if (code == LOAM_OK)
        code = draw(&sketch, picture, error);
    if (code == LOAM_OK)
        *plan = sketch.memory.plan;
    else
        lm_plan_picture_free(picture);
    lm_sketch_close(&sketch);
    return code;
}

void lm_plan_picture_free(struct lm_plan_picture *picture)
{
    lm_free(picture->live);
    lm_free(picture->names);
    lm_free(picture->lines);
    *picture = (struct lm_plan_picture){0};
}
