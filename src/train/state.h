/* Inside train only: the optimizer's state, masters and moments of every parameter, in memory or on disk.
 *
 *     struct lm_state state = {0};
 *     lm_state_make(&state, &(struct lm_state_form){LM_STATE_BF16, true}, model, error);
 *     ...memory for state.bytes at state.memory, or lm_state_open(&state, "run", error) and memory for the ring...
 *     while (lm_state_in_unit(&state, unit)) {
 *         struct lm_state_piece piece;
 *         if (lm_state_next(&state, &piece, error)) return error->code;
 *         ...step piece.count elements of piece.parameter from piece.first on...
 *         lm_state_done(&state);
 *     }
 *
 * The state lies in records, one for each chunk of up to LM_STATE_CHUNK elements of a parameter: masters (fp32, where there are any),
 * m, v, and for 8 bits their scales. Records stand in the order in which a backward pass completes gradients: units from the last to
 * the first, the parameters of each in the order of the table. A step goes through all of them in that order; on disk those that
 * come next are read, and those that were stepped written, while others are computed.
 */
#ifndef LOAM_TRAIN_STATE_H
#define LOAM_TRAIN_STATE_H

#include "model/model.h"

enum { LM_STATE_CHUNK = 1 << 19, LM_STATE_SLOTS = 6, LM_STATE_MOST_SLOTS = 64 };

struct lm_state_form {
    enum lm_state_kind kind;
    bool masters;
};
struct lm_state_chunk {
    size_t parameter, offset;      /* offset of its record, bytes */
    int64_t first, count;          /* elements of the parameter */
};
struct lm_state_piece {
    size_t parameter;
    int64_t first, count;
    float *masters;                /* NULL where there are none */
    void *m, *v;
    float *m_scale, *v_scale;      /* NULL but for 8 bits */
};
struct lm_state {
    struct lm_state_form form;
    const struct lm_parameter *table;
    struct lm_state_chunk *chunks;
    size_t count;
    int64_t units;
    size_t *behind;                /* [units]: index behind a unit's last chunk */
    size_t *first_of;              /* [parameters]: index of a parameter's first chunk */
    size_t bytes, slot_bytes;      /* of all records; of the largest */
    void *memory;                  /* all records, or NULL: on disk */
    size_t slots;                  /* of the ring: as many as fit into 64 MiB and an eighth of the state, but LM_STATE_SLOTS at
                                      least, so that much of a layer's state is read and written while the next is computed */
    void *ring;                    /* [slots, slot_bytes] */
    struct lm_scratch *scratch;
    struct lm_transfer reads[LM_STATE_MOST_SLOTS], writes[LM_STATE_MOST_SLOTS];
    uint64_t given, fetched;       /* chunks stepped and asked for since the beginning */
};
/* What is to be known before there is memory. The model must outlive it. */
int lm_state_make(struct lm_state *state, const struct lm_state_form *form, const struct lm_model *model, loam_error *error);
/* On disk: the scratch file. All zero, as is fresh memory: no moments yet. */
int lm_state_open(struct lm_state *state, const char *folder, loam_error *error);
void lm_state_free(struct lm_state *state);
/* Bytes of a record. */
size_t lm_state_record(const struct lm_state_form *form, int64_t count);
bool lm_state_in_unit(const struct lm_state *state, int64_t unit);
int lm_state_next(struct lm_state *state, struct lm_state_piece *piece, loam_error *error);
void lm_state_done(struct lm_state *state);
/* Any chunk, between steps: where it is, or read into `buffer` [slot_bytes]; after changes, stored. */
int lm_state_get(struct lm_state *state, size_t chunk, void *buffer, struct lm_state_piece *piece, loam_error *error);
int lm_state_put(struct lm_state *state, size_t chunk, const void *buffer, loam_error *error);

#endif
