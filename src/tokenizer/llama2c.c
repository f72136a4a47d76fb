/* llama2.c's tokenizer.bin: the longest token's bytes (32 bits), then for each piece its score (a 32-bit float), its
 * bytes (32 bits) and its text, little-endian, with blanks as they are. Facts: karpathy/llama2.c, tokenizer.py. What it
 * leaves out is as in Llama 2's own vocabulary: <unk>, <s>, </s>, then the 256 bytes. */
#include "describe.h"
#include "internal.h"
#include "pieces.h"
#include "readers.h"

enum { BYTES_FROM = 3, PIECE_BYTES = 1 << 15 };

static uint32_t word_at(const char *at)
{
    const unsigned char *bytes = (const unsigned char *)at;
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

bool lm_looks_like_llama2c(const char *data, size_t size)
{
    if (size < 4)
        return false;
    const uint32_t longest = word_at(data);
    size_t at = 4, count = 0;
    for (; size - at >= 8; count++) {
        const uint32_t length = word_at(data + at + 4);
        if (length > longest || length > size - at - 8)
            return false;
        at += 8 + length;
        if (count == BYTES_FROM)
            break; /* the beginning tells; the reader says what is wrong behind it */
    }
    return count == BYTES_FROM && longest <= PIECE_BYTES;
}

/* A piece's text with U+2581 for each blank, at the end of `texts`. */
static int put_piece(struct lm_bytes *texts, const char *text, size_t length, size_t id, loam_error *error)
{
    if (id == 1 || id == 2)
        return lm_bytes_append(texts, id == 1 ? "<s>" : "</s>", id == 1 ? 3 : 4, error);
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < length; i++)
        code = text[i] == ' ' ? lm_bytes_append(texts, lm_blank, strlen(lm_blank), error)
                              : lm_bytes_append(texts, text + i, 1, error);
    return code;
}

static bool is_byte(const char *text, size_t length, size_t id)
{
    char wanted[8];
    snprintf(wanted, sizeof wanted, "<0x%02X>", (unsigned)(id - BYTES_FROM) & 0xFF);
    return id >= BYTES_FROM && id < BYTES_FROM + 256 && length == 6 && !memcmp(text, wanted, 6);
}

static int read_pieces(const char *data, size_t size, const char *name, struct lm_pieces *pieces, struct lm_bytes *texts,
                       loam_error *error)
{
    int code = lm_bytes_reserve(texts, size, error);
    for (size_t at = 4; code == LOAM_OK && at < size;) {
        const size_t left = size - at, id = pieces->count;
        const uint32_t bits = left >= 8 ? word_at(data + at) : 0, length = left >= 8 ? word_at(data + at + 4) : 0;
        float score;
        memcpy(&score, &bits, sizeof score);
        if (left < 8 || length > left - 8 || length > PIECE_BYTES || !(score - score == 0))
            return lm_fail_at(error, LOAM_EFORMAT, (int64_t)at,
                              "%s: byte %zu: found no whole piece (score, length, text); the file is damaged", name, at);
        struct lm_piece *piece = &pieces->data[pieces->count++];
        const char *text = data + at + 8;
        *piece = (struct lm_piece){.score = score, .type = LM_PIECE_NORMAL};
        if (id < BYTES_FROM)
            piece->type = id ? LM_PIECE_CONTROL : LM_PIECE_UNKNOWN;
        else if (is_byte(text, length, id))
            piece->type = LM_PIECE_BYTE;
        const size_t from = texts->length;
        code = put_piece(texts, text, length, id, error);
        piece->length = texts->length - from;
        at += 8 + length;
    }
    size_t from = 0; /* the texts stay where they are only now */
    for (size_t i = 0; code == LOAM_OK && i < pieces->count; i++) {
        pieces->data[i].text = texts->data + from;
        from += pieces->data[i].length;
    }
    return code;
}

int lm_tokenizer_from_llama2c(const char *data, size_t size, const char *name, struct lm_tokenizer **tokenizer,
                              loam_error *error)
{
    struct lm_pieces pieces = {.data = lm_alloc(size / 8 + 1, sizeof *pieces.data, error),
                               .byte_fallback = true,
                               .dummy_prefix = true,
                               .escapes = true};
    struct lm_bytes texts = {0}, json = {0};
    struct lm_tokenizer *made = NULL;
    int code = pieces.data ? read_pieces(data, size, name, &pieces, &texts, error) : LOAM_ENOMEM;
    if (code == LOAM_OK && pieces.count < BYTES_FROM)
        code = lm_fail(error, LOAM_EFORMAT, "%s: found %zu pieces, wanted <unk>, <s>, </s> and a vocabulary", name,
                       pieces.count);
    if (code == LOAM_OK)
        code = lm_pieces_to_json(&pieces, name, &json, error);
    if (code == LOAM_OK)
        code = lm_tokenizer_from_json(json.data, json.length, name, &made, error);
    if (code == LOAM_OK)
        code = lm_tokenizer_set_bos_eos_pad(made, 1, 2, -1, error);
    lm_free(pieces.data);
    lm_bytes_free(&texts);
    lm_bytes_free(&json);
    if (code == LOAM_OK)
        *tokenizer = made;
    else
        lm_tokenizer_free(made);
    return code;
}
