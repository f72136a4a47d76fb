#include "offload.h"

#include <string.h>

/* --- Weights --- */

static int64_t offset_of(const struct lm_weights_on_disk *disk, int64_t unit)
{
    return (int64_t)(lm_model_unit(disk->model, unit).offset * disk->element);
}

static size_t bytes_of(const struct lm_weights_on_disk *disk, int64_t unit)
{
    return lm_model_unit(disk->model, unit).elements * disk->element;
}

static bool is_layer(const struct lm_weights_on_disk *disk, int64_t unit)
{
    return unit > 0 && unit < disk->units - 1;
}

/* Where a unit's weights are put. */
static void *place_of(const struct lm_weights_on_disk *disk, int64_t unit, bool backward)
{
    if (unit == 0)
        return disk->first[backward];
    return is_layer(disk, unit) ? disk->layers[unit % LM_LAYERS_IN_MEMORY] : disk->head;
}

static void prefetch(struct lm_weights_on_disk *disk, int64_t unit)
{
    const int64_t slot = unit % LM_LAYERS_IN_MEMORY;
    if (!is_layer(disk, unit) || disk->holds[slot] == unit)
        return;
    disk->holds[slot] = unit;
    disk->reads[slot] = (struct lm_transfer){.data = disk->layers[slot], .bytes = bytes_of(disk, unit),
                                             .offset = offset_of(disk, unit)};
    lm_scratch_submit(disk->scratch, &disk->reads[slot]);
}

/* A read that was asked for and is not needed is waited for all the same, before its place is asked for again. */
static int hold(struct lm_weights_on_disk *disk, int64_t unit, loam_error *error)
{
    const int64_t slot = unit % LM_LAYERS_IN_MEMORY;
    int code = lm_scratch_wait(disk->scratch, &disk->reads[slot], error);
    if (code == LOAM_OK && disk->holds[slot] != unit) {
        prefetch(disk, unit);
        code = lm_scratch_wait(disk->scratch, &disk->reads[slot], error);
    }
    return code;
}

static int enter_layer(struct lm_weights_on_disk *disk, int64_t unit, bool backward, loam_error *error)
{
    int code = hold(disk, unit, error);
    if (code != LOAM_OK)
        return code;
    lm_model_place(disk->model, unit, place_of(disk, unit, backward));
    const bool down = disk->turned && (backward || disk->single);
    const int64_t next = disk->turned && !down ? unit : down ? unit - 1 : unit + 1;
    if (!is_layer(disk, next) || next == unit)
        return LOAM_OK;
    code = lm_scratch_wait(disk->scratch, &disk->reads[next % LM_LAYERS_IN_MEMORY], error);
    if (code == LOAM_OK)
        prefetch(disk, next);
    return code;
}

int lm_weights_enter(struct lm_weights_on_disk *disk, int64_t unit, bool backward, loam_error *error)
{
    if (unit == 0 && !backward)
        disk->turned = false;
    if (unit == disk->units - 1)
        disk->turned = true;
    if (is_layer(disk, unit))
        return enter_layer(disk, unit, backward, error);
    if (unit == 0 && disk->tied)
        return LOAM_OK;    /* is in its place all the time */
    void *place = place_of(disk, unit, backward);
    int code = lm_scratch_read(disk->scratch, offset_of(disk, unit), place, bytes_of(disk, unit), error);
    if (code == LOAM_OK)
        lm_model_place(disk->model, unit, place);
    return code;
}

int lm_weights_changed(struct lm_weights_on_disk *disk, int64_t unit, loam_error *error)
{
    if (unit == 0 && disk->tied)
        return LOAM_OK;
    if (!is_layer(disk, unit))    /* others use its place from now on */
        return lm_scratch_write(disk->scratch, offset_of(disk, unit), place_of(disk, unit, true), bytes_of(disk, unit), error);
    struct lm_transfer *transfer = &disk->writes[unit % LM_LAYERS_IN_MEMORY];
    int code = lm_scratch_wait(disk->scratch, transfer, error);
    if (code != LOAM_OK)
        return code;
    *transfer = (struct lm_transfer){.data = place_of(disk, unit, true), .bytes = bytes_of(disk, unit),
                                     .offset = offset_of(disk, unit), .write = true};
    lm_scratch_submit(disk->scratch, transfer);
    return LOAM_OK;
}

static int bring(struct lm_weights_on_disk *disk, loam_error *error)
{
    for (int64_t unit = 0; unit < disk->units; unit++) {
        void *place = place_of(disk, unit, false);
        int code = lm_model_load_unit(disk->model, unit, place, error);
        if (code == LOAM_OK)
            code = lm_scratch_write(disk->scratch, offset_of(disk, unit), place, bytes_of(disk, unit), error);
        if (code != LOAM_OK)
            return code;
        lm_model_place(disk->model, unit, place);
    }
    return lm_model_loaded(disk->model, error);
}

int lm_weights_open(struct lm_weights_on_disk *disk, struct lm_model *model, const char *folder, bool single, loam_error *error)
{
    const struct lm_config *config = lm_model_config(model);
    enum lm_dtype dtype;
    lm_model_weights(model, &dtype);
    disk->model = model;
    disk->units = lm_model_units(model);
    disk->tied = config->tied;
    disk->single = single;
    disk->element = (size_t)lm_dtype_bits(dtype) / 8;
    for (int i = 0; i < LM_LAYERS_IN_MEMORY; i++)
        disk->holds[i] = -1;
    int code = lm_scratch_open(folder, (int64_t)lm_model_weight_bytes(config, dtype), &disk->scratch, error);
    if (code == LOAM_OK)
        code = bring(disk, error);
    if (code == LOAM_OK)
        lm_model_set_source(model, lm_weights_source, disk);
    return code;
}

void lm_weights_close(struct lm_weights_on_disk *disk)
{
    lm_scratch_close(disk->scratch);
    disk->scratch = NULL;
}

int lm_weights_source(void *user, size_t parameter, size_t from, size_t count, void *out, loam_error *error)
{
    struct lm_weights_on_disk *disk = user;
    size_t parameters;
    const struct lm_parameter *one = &lm_model_parameters(disk->model, &parameters)[parameter];
    const size_t at = (one->offset + from) * disk->element;
    if (disk->tied && parameter < lm_model_unit(disk->model, 0).count) {
        memcpy(out, (const char *)disk->first[0] + at, count * disk->element);
        return LOAM_OK;
    }
    return lm_scratch_read(disk->scratch, (int64_t)at, out, count * disk->element, error);
}

int lm_weights_put(struct lm_weights_on_disk *disk, size_t parameter, size_t from, size_t count, const void *data,
                   loam_error *error)
{
    size_t parameters;
    const size_t at = (lm_model_parameters(disk->model, &parameters)[parameter].offset + from) * disk->element;
    if (disk->tied && parameter < lm_model_unit(disk->model, 0).count) {
        memcpy((char *)disk->first[0] + at, data, count * disk->element);
        return LOAM_OK;
    }
    return lm_scratch_write(disk->scratch, (int64_t)at, data, count * disk->element, error);
}

/* --- Activations --- */

int lm_boundaries_open(struct lm_boundaries_on_disk *disk, const char *folder, loam_error *error)
{
    return lm_scratch_open(folder, disk->groups * (int64_t)disk->bytes, &disk->scratch, error);
}

static void submit(struct lm_boundaries_on_disk *disk, struct lm_transfer *transfer, int64_t group, float *boundary, bool write)
{
    *transfer = (struct lm_transfer){.data = boundary, .bytes = disk->bytes, .offset = group * (int64_t)disk->bytes,
                                     .write = write};
    lm_scratch_submit(disk->scratch, transfer);
}

/* The last groups stay where they are; when one has been used, that which was there before it is asked for. */
int lm_boundaries_event(struct lm_boundaries_on_disk *disk, int64_t group, enum lm_boundary_event event, float *boundary,
                        loam_error *error)
{
    const int64_t slot = group % LM_KEPT_BOUNDARIES;
    struct lm_transfer *read = &disk->reads[slot], *write = &disk->writes[slot];
    int code = LOAM_OK;
    switch (event) {
    case LM_BOUNDARY_CLAIM:
        code = lm_scratch_wait(disk->scratch, read, error);
        return code == LOAM_OK ? lm_scratch_wait(disk->scratch, write, error) : code;
    case LM_BOUNDARY_KEEP:
        if (group < disk->groups - LM_KEPT_BOUNDARIES)
            submit(disk, write, group, boundary, true);
        return LOAM_OK;
    case LM_BOUNDARY_FETCH:
        return lm_scratch_wait(disk->scratch, read, error);
    case LM_BOUNDARY_DROP:
        if (group >= LM_KEPT_BOUNDARIES)
            submit(disk, read, group - LM_KEPT_BOUNDARIES, boundary, false);
        return LOAM_OK;
    }
    return LOAM_OK;
}

void lm_boundaries_close(struct lm_boundaries_on_disk *disk)
{
    lm_scratch_close(disk->scratch);
    disk->scratch = NULL;
}
