/* SentencePiece's .model files: a protobuf message ModelProto (facts: google/sentencepiece, sentencepiece_model.proto).
 * Wire format: a key (field number << 3 | type), then a varint (0), 8 bytes (1), a length and bytes (2), or 4 bytes (5). */
#include "base64.h"
#include "internal.h"
#include "pieces.h"
#include "readers.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2 };

struct message {
    const unsigned char *start, *at, *end; /* start: of the whole file, for places */
    const char *name;
};
struct field {
    uint32_t number, type;
    uint64_t value;       /* VARINT, FIXED */
    struct message bytes; /* BYTES */
};

struct proto {
    struct lm_pieces pieces;
    size_t capacity;
    int64_t kind, bos, eos, pad, suffix; /* of the trainer's settings */
    struct lm_bytes charsmap;
};

static int broken(const struct message *m, const char *what, loam_error *error)
{
    return lm_fail_at(error, LOAM_EFORMAT, m->at - m->start,
                      "%s: byte %lld: %s; the file is damaged or no SentencePiece model", m->name,
                      (long long)(m->at - m->start), what);
}

static int read_varint(struct message *m, uint64_t *value, loam_error *error)
{
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (m->at == m->end)
            return broken(m, "found the end within a number", error);
        const unsigned char byte = *m->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80))
            return LOAM_OK;
    }
    return broken(m, "found a number of over 64 bits", error);
}

static int read_field(struct message *m, struct field *field, loam_error *error)
{
    uint64_t key, length;
    int code = read_varint(m, &key, error);
    if (code != LOAM_OK)
        return code;
    field->number = (uint32_t)(key >> 3);
    field->type = key & 7;
    if (!field->number || key >> 32)
        return broken(m, "found a field without a valid number", error);
    if (field->type == VARINT)
        return read_varint(m, &field->value, error);
    if (field->type == FIXED32 || field->type == FIXED64) {
        const size_t size = field->type == FIXED32 ? 4 : 8;
        if ((size_t)(m->end - m->at) < size)
            return broken(m, "found the end within a number", error);
        field->value = 0;
        for (size_t i = 0; i < size; i++)
            field->value |= (uint64_t)m->at[i] << 8 * i;
        m->at += size;
        return LOAM_OK;
    }
    if (field->type != BYTES)
        return broken(m, "found a field of an unknown type", error);
    code = read_varint(m, &length, error);
    if (code != LOAM_OK)
        return code;
    if (length > (uint64_t)(m->end - m->at))
        return broken(m, "found a length past the end", error);
    field->bytes = (struct message){m->start, m->at, m->at + length, m->name};
    m->at += length;
    return LOAM_OK;
}

static int push_piece(struct proto *proto, const struct lm_piece *piece, loam_error *error)
{
    struct lm_pieces *pieces = &proto->pieces;
    if (pieces->count == proto->capacity) {
        size_t capacity = proto->capacity ? 2 * proto->capacity : 4096;
        struct lm_piece *grown = lm_resize(pieces->data, capacity, sizeof *grown, error);
        if (!grown)
            return LOAM_ENOMEM;
        pieces->data = grown;
        proto->capacity = capacity;
    }
    pieces->data[pieces->count++] = *piece;
    return LOAM_OK;
}

static int read_piece(struct message m, struct proto *proto, loam_error *error)
{
    struct lm_piece piece = {.text = "", .type = LM_PIECE_NORMAL};
    const struct message all = m;
    struct field field;
    int code = LOAM_OK;
    while (code == LOAM_OK && m.at < m.end) {
        code = read_field(&m, &field, error);
        if (code != LOAM_OK)
            break;
        if (field.number == 1 && field.type == BYTES) {
            piece.text = (const char *)field.bytes.at;
            piece.length = (size_t)(field.bytes.end - field.bytes.at);
        } else if (field.number == 2 && field.type == FIXED32) {
            const uint32_t bits = (uint32_t)field.value;
            memcpy(&piece.score, &bits, sizeof bits);
        } else if (field.number == 3 && field.type == VARINT) {
            if (field.value < LM_PIECE_NORMAL || field.value > LM_PIECE_BYTE)
                return broken(&m, "found a piece of an unknown type", error);
            piece.type = (enum lm_piece_type)field.value;
        }
    }
    if (code == LOAM_OK && !(piece.score - piece.score == 0))
        return broken(&all, "found a piece whose score is no number", error);
    return code == LOAM_OK ? push_piece(proto, &piece, error) : code;
}

static int read_trainer(struct message m, struct proto *proto, loam_error *error)
{
    struct field field;
    int code = LOAM_OK;
    while (code == LOAM_OK && m.at < m.end) {
        code = read_field(&m, &field, error);
        if (code != LOAM_OK || field.type != VARINT)
            continue;
        const int64_t value = (int64_t)field.value;
        if (field.number == 3)
            proto->kind = value;
        else if (field.number == 24)
            proto->suffix = value;
        else if (field.number == 35)
            proto->pieces.byte_fallback = value != 0;
        else if (field.number == 41)
            proto->bos = value;
        else if (field.number == 42)
            proto->eos = value;
        else if (field.number == 43)
            proto->pad = value;
    }
    return code;
}

static int read_normalizer(struct message m, struct proto *proto, loam_error *error)
{
    struct field field;
    int code = LOAM_OK;
    while (code == LOAM_OK && m.at < m.end) {
        code = read_field(&m, &field, error);
        if (code != LOAM_OK)
            break;
        const bool on = field.type == VARINT && field.value;
        if (field.number == 2 && field.type == BYTES) {
            proto->charsmap.length = 0;
            if (field.bytes.at < field.bytes.end)
                code = lm_base64_write(field.bytes.at, (size_t)(field.bytes.end - field.bytes.at), &proto->charsmap,
                                       error);
        } else if (field.number == 3) {
            proto->pieces.dummy_prefix = on;
        } else if (field.number == 4) {
            proto->pieces.removes_blanks = on;
        } else if (field.number == 5) {
            proto->pieces.escapes = on;
        }
    }
    return code;
}

static int read_model(struct message *m, struct proto *proto, loam_error *error)
{
    struct field field;
    int code = LOAM_OK;
    while (code == LOAM_OK && m->at < m->end) {
        code = read_field(m, &field, error);
        if (code != LOAM_OK || field.type != BYTES)
            continue;
        if (field.number == 1)
            code = read_piece(field.bytes, proto, error);
        else if (field.number == 2)
            code = read_trainer(field.bytes, proto, error);
        else if (field.number == 3)
            code = read_normalizer(field.bytes, proto, error);
    }
    return code;
}

static int check(const struct proto *proto, const char *name, loam_error *error)
{
    if (proto->kind != MODEL_UNIGRAM && proto->kind != MODEL_BPE)
        return lm_fail(error, LOAM_EUNSUPPORTED,
                       "%s: found a SentencePiece model of type %lld (%s), wanted unigram or bpe", name,
                       (long long)proto->kind, proto->kind == 3 ? "word" : proto->kind == 4 ? "char" : "unknown");
    if (proto->suffix)
        return lm_fail(error, LOAM_EUNSUPPORTED,
                       "%s: found a SentencePiece model that puts blanks behind words (treat_whitespace_as_suffix), "
                       "wanted in front",
                       name);
    return LOAM_OK;
}

/* The id where it is a control piece. */
static int32_t control(const struct proto *proto, int64_t id)
{
    return id >= 0 && id < (int64_t)proto->pieces.count && proto->pieces.data[id].type == LM_PIECE_CONTROL ? (int32_t)id
                                                                                                           : -1;
}

int lm_tokenizer_from_sentencepiece(const char *data, size_t size, const char *name, struct lm_tokenizer **tokenizer,
                                    loam_error *error)
{
    struct proto proto = {.pieces = {.dummy_prefix = true, .removes_blanks = true, .escapes = true},
                          .kind = MODEL_UNIGRAM, /* these are the format's defaults */
                          .bos = 1,
                          .eos = 2,
                          .pad = -1};
    const unsigned char *bytes = (const unsigned char *)data;
    struct message m = {bytes, bytes, bytes + size, name};
    struct lm_bytes json = {0};
    struct lm_tokenizer *made = NULL;
    int code = read_model(&m, &proto, error);
    if (code == LOAM_OK)
        code = check(&proto, name, error);
    proto.pieces.unigram = proto.kind == MODEL_UNIGRAM;
    proto.pieces.charsmap = proto.charsmap.length ? proto.charsmap.data : NULL;
    if (code == LOAM_OK)
        code = lm_pieces_to_json(&proto.pieces, name, &json, error);
    if (code == LOAM_OK)
        code = lm_tokenizer_from_json(json.data, json.length, name, &made, error);
    if (code == LOAM_OK)
        code = lm_tokenizer_set_bos_eos_pad(made, control(&proto, proto.bos), control(&proto, proto.eos),
                                            control(&proto, proto.pad), error);
    lm_free(proto.pieces.data);
    lm_bytes_free(&proto.charsmap);
    lm_bytes_free(&json);
    if (code == LOAM_OK)
        *tokenizer = made;
    else
        lm_tokenizer_free(made);
    return code;
}
