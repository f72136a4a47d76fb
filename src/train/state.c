#include "state.h"

static size_t element_of(enum lm_state_kind kind)
{
    return kind == LM_STATE_F32 ? sizeof(float) : kind == LM_STATE_BF16 ? sizeof(uint16_t) : sizeof(uint8_t);
}

static size_t scales_of(const struct lm_state_form *form, int64_t count)
{
    const size_t blocks = ((size_t)count + LM_STATE_BLOCK - 1) / LM_STATE_BLOCK;
    return form->kind == LM_STATE_8BIT ? lm_round_up(blocks * sizeof(float), LM_ALIGN) : 0;
}

/* A record's parts, one after the other, each at a multiple of LM_ALIGN. */
static void cut(const struct lm_state_form *form, const struct lm_state_chunk *chunk, void *record, struct lm_state_piece *piece)
{
    const size_t count = (size_t)chunk->count, moments = lm_round_up(count * element_of(form->kind), LM_ALIGN);
    const size_t scales = scales_of(form, chunk->count);
    char *at = record;
    *piece = (struct lm_state_piece){.parameter = chunk->parameter, .first = chunk->first, .count = chunk->count};
    if (form->masters) {
        piece->masters = (float *)at;
        at += lm_round_up(count * sizeof(float), LM_ALIGN);
    }
    piece->m = at;
    piece->v = at + moments;
    if (scales) {
        piece->m_scale = (float *)(at + 2 * moments);
        piece->v_scale = (float *)(at + 2 * moments + scales);
    }
}

size_t lm_state_record(const struct lm_state_form *form, int64_t count)
{
    const size_t masters = form->masters ? lm_round_up((size_t)count * sizeof(float), LM_ALIGN) : 0;
    return masters + 2 * lm_round_up((size_t)count * element_of(form->kind), LM_ALIGN) + 2 * scales_of(form, count);
}

static int add_chunks(struct lm_state *state, size_t parameter, bool only_count, loam_error *error)
{
    const int64_t elements = state->table[parameter].count;
    if (!only_count)
        state->first_of[parameter] = state->count;
    for (int64_t first = 0; first < elements; first += LM_STATE_CHUNK, state->count++) {
        if (only_count)
            continue;
        const int64_t left = elements - first, count = left < LM_STATE_CHUNK ? left : LM_STATE_CHUNK;
        const size_t record = lm_state_record(&state->form, count);
        state->chunks[state->count] = (struct lm_state_chunk){parameter, state->bytes, first, count};
        state->slot_bytes = record > state->slot_bytes ? record : state->slot_bytes;
        if (!lm_add(state->bytes, record, &state->bytes))
            return lm_fail(error, LOAM_EUSAGE, "the optimizer's state is larger than can be addressed");
    }
    return LOAM_OK;
}

static int go_through(struct lm_state *state, const struct lm_model *model, bool only_count, loam_error *error)
{
    state->count = 0;
    for (int64_t unit = lm_model_units(model) - 1; unit >= 0; unit--) {
        const struct lm_unit range = lm_model_unit(model, unit);
        for (size_t i = range.first; i < range.first + range.count; i++) {
            int code = add_chunks(state, i, only_count, error);
            if (code != LOAM_OK)
                return code;
        }
        if (!only_count)
            state->behind[unit] = state->count;
    }
    return LOAM_OK;
}

static size_t slots_of(const struct lm_state *state)
{
    const size_t most = (size_t)64 << 20, part = state->bytes / 8, room = part < most ? part : most;
    const size_t slots = room / state->slot_bytes;
    return slots < LM_STATE_SLOTS ? LM_STATE_SLOTS : slots > LM_STATE_MOST_SLOTS ? LM_STATE_MOST_SLOTS : slots;
}

int lm_state_make(struct lm_state *state, const struct lm_state_form *form, const struct lm_model *model, loam_error *error)
{
    size_t parameters;
    *state = (struct lm_state){.form = *form, .table = lm_model_parameters(model, &parameters), .units = lm_model_units(model)};
    int code = go_through(state, model, true, error);
    if (code == LOAM_OK) {
        state->chunks = lm_alloc(state->count, sizeof *state->chunks, error);
        state->behind = lm_alloc((size_t)lm_model_units(model), sizeof *state->behind, error);
        state->first_of = lm_alloc(parameters, sizeof *state->first_of, error);
        code = state->chunks && state->behind && state->first_of ? go_through(state, model, false, error) : LOAM_ENOMEM;
    }
    if (code != LOAM_OK)
        lm_state_free(state);
    else
        state->slots = slots_of(state);
    return code;
}

int lm_state_open(struct lm_state *state, const char *folder, loam_error *error)
{
    return lm_scratch_open(folder, (int64_t)state->bytes, &state->scratch, error);
}

void lm_state_free(struct lm_state *state)
{
    lm_scratch_close(state->scratch);
    lm_free(state->chunks);
    lm_free(state->behind);
    lm_free(state->first_of);
    *state = (struct lm_state){0};
}

/* --- Stepping through --- */

bool lm_state_in_unit(const struct lm_state *state, int64_t unit)
{
    const size_t at = state->given % state->count, first = unit + 1 < state->units ? state->behind[unit + 1] : 0;
    return at >= first && at < state->behind[unit];
}

static void *slot_of(const struct lm_state *state, uint64_t turn)
{
    return (char *)state->ring + (turn % state->slots) * state->slot_bytes;
}

/* As many reads as the ring has room for, but none of a chunk whose newer form is still in the ring: with fewer chunks than slots,
 * one comes round before it was written. */
static int fetch(struct lm_state *state, loam_error *error)
{
    const uint64_t ahead = state->count < state->slots ? state->count : state->slots;
    for (; state->fetched < state->given + ahead; state->fetched++) {
        const struct lm_state_chunk *chunk = &state->chunks[state->fetched % state->count];
        const size_t slot = state->fetched % state->slots;
        int code = lm_scratch_wait(state->scratch, &state->reads[slot], error);
        if (code != LOAM_OK)
            return code;
        state->reads[slot] = (struct lm_transfer){.data = slot_of(state, state->fetched),
                                                  .bytes = lm_state_record(&state->form, chunk->count),
                                                  .offset = (int64_t)chunk->offset};
        lm_scratch_submit(state->scratch, &state->reads[slot]);
    }
    return LOAM_OK;
}

int lm_state_next(struct lm_state *state, struct lm_state_piece *piece, loam_error *error)
{
    const struct lm_state_chunk *chunk = &state->chunks[state->given % state->count];
    if (state->memory) {
        cut(&state->form, chunk, (char *)state->memory + chunk->offset, piece);
        return LOAM_OK;
    }
    int code = fetch(state, error);
    if (code == LOAM_OK)
        code = lm_scratch_wait(state->scratch, &state->reads[state->given % state->slots], error);
    if (code == LOAM_OK)    /* its last use as a buffer to write from is long over: the read came behind it */
        code = lm_scratch_wait(state->scratch, &state->writes[state->given % state->slots], error);
    if (code == LOAM_OK)
        cut(&state->form, chunk, slot_of(state, state->given), piece);
    return code;
}

void lm_state_done(struct lm_state *state)
{
    if (!state->memory) {
        const struct lm_state_chunk *chunk = &state->chunks[state->given % state->count];
        struct lm_transfer *transfer = &state->writes[state->given % state->slots];
        *transfer = (struct lm_transfer){.data = slot_of(state, state->given),
                                         .bytes = lm_state_record(&state->form, chunk->count),
                                         .offset = (int64_t)chunk->offset, .write = true};
        lm_scratch_submit(state->scratch, transfer);
    }
    state->given++;
    if (!state->memory)
        fetch(state, NULL);    /* a failure sticks, and shows at the next wait */
}

int lm_state_get(struct lm_state *state, size_t chunk, void *buffer, struct lm_state_piece *piece, loam_error *error)
{
    const struct lm_state_chunk *at = &state->chunks[chunk];
    void *record = state->memory ? (char *)state->memory + at->offset : buffer;
    cut(&state->form, at, record, piece);
    if (state->memory)
        return LOAM_OK;
    return lm_scratch_read(state->scratch, (int64_t)at->offset, buffer, lm_state_record(&state->form, at->count), error);
}

int lm_state_put(struct lm_state *state, size_t chunk, const void *buffer, loam_error *error)
{
    const struct lm_state_chunk *at = &state->chunks[chunk];
    if (state->memory)
        return LOAM_OK;
    return lm_scratch_write(state->scratch, (int64_t)at->offset, buffer, lm_state_record(&state->form, at->count), error);
}
