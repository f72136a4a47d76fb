/* The optimizer's state in a checkpoint. What is kept in another form than it was saved in is converted: narrow to nearest, wide
 * exactly. Chunk by chunk: saving needs no second copy of anything. */
#include "run.h"

#include <stdio.h>

enum { NAME_ROOM = 112, PARTS = 5 };

/* The parts of a state, in a file and in memory. */
enum part { PART_M, PART_V, PART_M_SCALE, PART_V_SCALE, PART_MASTER };
static const char *const prefixes[PARTS] = {"m.", "v.", "m_scale.", "v_scale.", "master."};

static bool has_part(const struct lm_state_form *form, enum part part)
{
    if (part == PART_MASTER)
        return form->masters;
    return part == PART_M || part == PART_V || form->kind == LM_STATE_8BIT;
}

static enum lm_dtype type_of(const struct lm_state_form *form, enum part part)
{
    static const enum lm_dtype moments[] = {[LM_STATE_F32] = LM_F32, [LM_STATE_BF16] = LM_BF16, [LM_STATE_8BIT] = LM_U8};
    return part == PART_M || part == PART_V ? moments[form->kind] : LM_F32;
}

static bool is_scale(enum part part)
{
    return part == PART_M_SCALE || part == PART_V_SCALE;
}

static int64_t blocks_of(int64_t count)
{
    return (count + LM_STATE_BLOCK - 1) / LM_STATE_BLOCK;
}

static void *part_of(const struct lm_state_piece *piece, enum part part)
{
    void *const parts[PARTS] = {piece->m, piece->v, piece->m_scale, piece->v_scale, piece->masters};
    return parts[part];
}

/* Where a piece's share of a part begins in its tensor, and its bytes. */
static void range_of(const struct lm_state_piece *piece, enum part part, enum lm_dtype type, uint64_t *offset, size_t *bytes)
{
    const size_t element = (size_t)lm_dtype_bits(type) / 8;
    const int64_t first = is_scale(part) ? piece->first / LM_STATE_BLOCK : piece->first;
    const int64_t count = is_scale(part) ? blocks_of(piece->count) : piece->count;
    *offset = (uint64_t)first * element;
    *bytes = (size_t)count * element;
}

/* --- Writing --- */

struct listing {
    struct lm_tensor *list;
    char (*names)[NAME_ROOM];
    int64_t *blocks;               /* [parameters]: shapes of scales */
    size_t count;
    size_t index[PARTS];           /* of each part's first tensor */
};

static int list_parts(const struct lm_run *run, struct listing *listing, loam_error *error)
{
    size_t count;
    const struct lm_parameter *table = lm_model_parameters(run->model, &count);
    const struct lm_state_form *form = &run->memory.state.form;
    listing->list = lm_alloc(PARTS * count, sizeof *listing->list, error);
    listing->names = lm_alloc(PARTS * count, sizeof *listing->names, error);
    listing->blocks = lm_alloc(count, sizeof *listing->blocks, error);
    if (!listing->list || !listing->names || !listing->blocks)
        return LOAM_ENOMEM;
    for (int part = 0; part < PARTS; part++) {
        listing->index[part] = listing->count;
        for (size_t i = 0; i < count && has_part(form, (enum part)part); i++) {
            struct lm_tensor *tensor = &listing->list[listing->count];
            char *name = listing->names[listing->count++];
            snprintf(name, NAME_ROOM, "%s%s", prefixes[part], table[i].name);
            *tensor = (struct lm_tensor){.name = name, .dtype = type_of(form, (enum part)part), .rank = table[i].rank,
                                         .shape = table[i].shape, .count = (uint64_t)table[i].count};
            if (is_scale((enum part)part)) {
                listing->blocks[i] = blocks_of(table[i].count);
                tensor->rank = 1;
                tensor->shape = &listing->blocks[i];
                tensor->count = (uint64_t)listing->blocks[i];
            }
            lm_dtype_bytes(tensor->dtype, tensor->count, &tensor->bytes);
        }
    }
    return LOAM_OK;
}

static int put_chunks(struct lm_run *run, const struct listing *listing, struct lm_tensors_writer *writer, void *record,
                      loam_error *error)
{
    struct lm_state *state = &run->memory.state;
    for (size_t i = 0; i < state->count; i++) {
        struct lm_state_piece piece;
        int code = lm_state_get(state, i, record, &piece, error);
        for (int part = 0; code == LOAM_OK && part < PARTS; part++) {
            uint64_t offset;
            size_t bytes;
            if (!has_part(&state->form, (enum part)part))
                continue;
            range_of(&piece, (enum part)part, type_of(&state->form, (enum part)part), &offset, &bytes);
            code = lm_tensors_put(writer, listing->index[part] + piece.parameter, offset, part_of(&piece, (enum part)part), bytes,
                                  error);
        }
        if (code != LOAM_OK)
            return code;
    }
    return LOAM_OK;
}

int lm_state_save(struct lm_run *run, const char *folder, loam_error *error)
{
    struct listing listing = {0};
    struct lm_tensors_writer *writer = NULL;
    struct lm_state *state = &run->memory.state;
    void *record = lm_alloc(state->memory ? 1 : state->slot_bytes, 1, error);
    char *path = record ? lm_path_join(folder, "training_state.safetensors", error) : NULL;
    int code = path ? list_parts(run, &listing, error) : LOAM_ENOMEM;
    if (code == LOAM_OK)
        code = lm_tensors_create(path, listing.list, listing.count, NULL, &writer, error);
    if (code == LOAM_OK)
        code = put_chunks(run, &listing, writer, record, error);
    if (code == LOAM_OK)
        code = lm_tensors_finish(writer, error);
    else if (writer)
        lm_tensors_abandon(writer);
    lm_free(path);
    lm_free(record);
    lm_free(listing.list);
    lm_free(listing.names);
    lm_free(listing.blocks);
    return code;
}

/* --- Reading --- */

struct reading {
    struct lm_run *run;
    struct lm_tensors *state, *weights;    /* the files; weights only where masters are to come from there */
    void *record, *narrow;
    float *scales, *values;                /* of a chunk */
};

static int fail_tensor(const struct reading *reading, const char *name, const struct lm_tensor *tensor, int64_t wanted,
                       loam_error *error)
{
    return lm_fail(error, LOAM_EMISMATCH,
                   "%s/training_state.safetensors: tensor '%s' is %s, wanted %lld numbers of F32, BF16 or (with scales) U8; the "
                   "checkpoint belongs to another model",
                   reading->run->resumed, name, tensor ? "of another size or type" : "missing", (long long)wanted);
}

static const struct lm_tensor *find(const struct lm_tensors *file, const char *prefix, const char *name)
{
    char full[NAME_ROOM + 16];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return file ? lm_tensors_find(file, full) : NULL;
}

static bool kind_of(const struct lm_tensor *tensor, enum lm_state_kind *kind)
{
    if (tensor->dtype != LM_F32 && tensor->dtype != LM_BF16 && tensor->dtype != LM_U8)
        return false;
    *kind = tensor->dtype == LM_F32 ? LM_STATE_F32 : tensor->dtype == LM_BF16 ? LM_STATE_BF16 : LM_STATE_8BIT;
    return true;
}

static int pread_part(const struct lm_tensors *file, const struct lm_tensor *tensor, const struct lm_state_piece *piece,
                      enum part part, void *to, loam_error *error)
{
    uint64_t offset;
    size_t bytes;
    range_of(piece, part, tensor->dtype, &offset, &bytes);
    return lm_tensors_pread(file, tensor, offset, to, bytes, error);
}

/* One moment of one chunk. */
static int read_moment(const struct reading *reading, const struct lm_state_piece *piece, bool second, loam_error *error)
{
    const struct lm_parameter *one = &reading->run->memory.state.table[piece->parameter];
    const enum lm_state_kind kept = reading->run->memory.state.form.kind;
    const enum part part = second ? PART_V : PART_M, scale = second ? PART_V_SCALE : PART_M_SCALE;
    const struct lm_tensor *tensor = find(reading->state, prefixes[part], one->name);
    const struct lm_tensor *scales = find(reading->state, prefixes[scale], one->name);
    enum lm_state_kind found;
    if (!tensor || tensor->count != (uint64_t)one->count || !kind_of(tensor, &found) ||
        (found == LM_STATE_8BIT &&
         (!scales || scales->dtype != LM_F32 || scales->count != (uint64_t)blocks_of(one->count)))) {
        char full[NAME_ROOM + 16];
        snprintf(full, sizeof full, "%s%s", prefixes[part], one->name);
        return fail_tensor(reading, full, tensor, one->count, error);
    }
    void *to = part_of(piece, part), *to_scales = part_of(piece, scale);
    const bool same = found == kept;
    int code = pread_part(reading->state, tensor, piece, part, same ? to : reading->narrow, error);
    if (code == LOAM_OK && found == LM_STATE_8BIT)
        code = pread_part(reading->state, scales, piece, scale, same ? to_scales : reading->scales, error);
    if (code != LOAM_OK || same)
        return code;
    lm_state_unpack(found, second, piece->count, reading->narrow, reading->scales, reading->values);
    lm_state_pack(kept, second, piece->count, reading->values, to, to_scales);
    return LOAM_OK;
}

/* Masters, where the file has them; into fp32 weights where the run keeps those. Else they are, exactly, weights saved as F32. */
static int read_master(const struct reading *reading, const struct lm_state_piece *piece, loam_error *error)
{
    struct lm_run_memory *memory = &reading->run->memory;
    const struct lm_parameter *one = &memory->state.table[piece->parameter];
    const bool f32 = reading->run->settings.dtype == LM_F32;
    if (!piece->masters && !f32)
        return LOAM_OK;
    const struct lm_tensor *tensor = find(reading->state, prefixes[PART_MASTER], one->name);
    const struct lm_tensors *file = reading->state;
    if (!tensor && !f32) {
        tensor = find(reading->weights, "", one->name);
        file = reading->weights;
    }
    if (!tensor || tensor->dtype != LM_F32 || tensor->count != (uint64_t)one->count)
        return LOAM_OK;
    int code = pread_part(file, tensor, piece, PART_MASTER, piece->masters ? piece->masters : reading->values, error);
    if (code != LOAM_OK || piece->masters)
        return code;
    if (memory->form.weights_on_disk)
        return lm_weights_put(&memory->weights_on_disk, piece->parameter, (size_t)piece->first, (size_t)piece->count,
                              reading->values, error);
    lm_convert(LM_F32, (float *)lm_model_weight(memory->model, piece->parameter) + piece->first, LM_F32, reading->values,
               (size_t)piece->count);
    return LOAM_OK;
}

static int read_chunks(const struct reading *reading, loam_error *error)
{
    struct lm_state *state = &reading->run->memory.state;
    for (size_t i = 0; i < state->count; i++) {
        struct lm_state_piece piece;
        int code = lm_state_get(state, i, reading->record, &piece, error);
        if (code == LOAM_OK)
            code = read_moment(reading, &piece, false, error);
        if (code == LOAM_OK)
            code = read_moment(reading, &piece, true, error);
        if (code == LOAM_OK)
            code = read_master(reading, &piece, error);
        if (code == LOAM_OK)
            code = lm_state_put(state, i, reading->record, error);
        if (code != LOAM_OK)
            return code;
    }
    return LOAM_OK;
}

int lm_checkpoint_load(struct lm_run *run, loam_error *error)
{
    struct lm_state *state = &run->memory.state;
    struct reading reading = {.run = run};
    char *path = lm_path_join(run->resumed, "training_state.safetensors", error);
    int code = path ? lm_tensors_open(path, &reading.state, error) : LOAM_ENOMEM;
    if (code == LOAM_OK && state->form.masters)
        code = lm_tensors_open(run->resumed, &reading.weights, error);
    if (code == LOAM_OK) {
        reading.record = lm_alloc(state->memory ? 1 : state->slot_bytes, 1, error);
        reading.narrow = lm_alloc(LM_STATE_CHUNK, sizeof(float), error);
        reading.values = lm_alloc(LM_STATE_CHUNK, sizeof(float), error);
        reading.scales = lm_alloc((size_t)blocks_of(LM_STATE_CHUNK), sizeof(float), error);
        code = reading.record && reading.narrow && reading.values && reading.scales ? read_chunks(&reading, error) : LOAM_ENOMEM;
    }
    lm_free(reading.record);
    lm_free(reading.narrow);
    lm_free(reading.values);
    lm_free(reading.scales);
    lm_tensors_close(reading.state);
    lm_tensors_close(reading.weights);
    lm_free(path);
    return code;
}
