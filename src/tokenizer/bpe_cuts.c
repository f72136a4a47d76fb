/* Long texts for models without a pre-tokenizer, as SentencePiece's: the whole text is one piece to them, but no merge joins
 * what stands in front of a blank ("▁") with the blank, unless that is a blank itself or one of few characters. There the
 * text is cut, which changes nothing, needs memory for a word only, and lets the words come from the cache.
 */
#include "describe.h"
#include "internal.h"

enum { BLANK = 0x2581, BLANK_BYTES = 3 };

static uint32_t last_character(const char *text, size_t length)
{
    size_t start = length;
    uint32_t c = UINT32_MAX;
    while (start && length - start < 4 && ((unsigned char)text[--start] & 0xC0) == 0x80)
        ;
    lm_character((const unsigned char *)text + start, (const unsigned char *)text + length, &c);
    return c;
}

/* Whether there is room left in the list of what may stand in front of a blank inside a token. */
static bool glue(struct lm_model_part *model, uint32_t c)
{
    for (size_t i = 0; i < model->glued_count; i++)
        if (model->glued[i] == c)
            return true;
    if (model->glued_count == sizeof model->glued / sizeof *model->glued)
        return false;
    model->glued[model->glued_count++] = c;
    return true;
}

void lm_bpe_find_cuts(struct lm_tokenizer *tokenizer)
{
    struct lm_model_part *model = &tokenizer->model;
    const struct lm_pairs *pairs = &model->pairs;
    model->cuts = !tokenizer->byte_level && model->kind == LM_MODEL_BPE && !model->ignore_merges && !*model->prefix &&
                  !*model->suffix && lm_vocabulary_find(&tokenizer->vocabulary, lm_blank, BLANK_BYTES, false) >= 0;
    model->glued_count = 0;
    for (size_t i = 0; model->cuts && i < pairs->slot_count; i++) {
        if (pairs->slots[i].key == UINT64_MAX)
            continue;
        size_t left, right;
        const char *before = lm_vocabulary_text(&tokenizer->vocabulary, (int32_t)(pairs->slots[i].key >> 32), &left);
        const char *behind = lm_vocabulary_text(&tokenizer->vocabulary, (int32_t)(uint32_t)pairs->slots[i].key, &right);
        if (right >= BLANK_BYTES && !memcmp(behind, lm_blank, BLANK_BYTES))
            model->cuts = glue(model, last_character(before, left));
    }
}

/* Where the part that begins at `at` may end. */
static size_t next_cut(const struct lm_model_part *model, const struct lm_span *piece, size_t at)
{
    for (size_t from = at + 1; from < piece->length; from++) {
        const char *blank = memmem(piece->text + from, piece->length - from, lm_blank, BLANK_BYTES);
        if (!blank)
            break;
        from = (size_t)(blank - piece->text);
        const uint32_t before = last_character(piece->text + at, from - at);
        bool glued = false;
        for (size_t i = 0; i < model->glued_count; i++)
            glued = glued || model->glued[i] == before;
        if (!glued)
            return from;
    }
    return piece->length;
}

int lm_bpe_encode_cut(struct lm_encoding *encoding, const struct lm_span *piece)
{
    int code = LOAM_OK;
    for (size_t at = 0, end; code == LOAM_OK && at < piece->length; at = end) {
        end = next_cut(&encoding->tokenizer->model, piece, at);
        struct lm_span part = lm_span_part(piece, at, end);
        code = lm_bpe_encode_piece(encoding, &part, piece->length - at);
    }
    return code;
}
