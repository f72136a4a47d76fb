/* The tokenizer as a whole: made, asked, changed, freed. */
#include "byte_alphabet.h"
#include "internal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { GAP_LIMIT = 4096 }; /* ids that may be left free in front of an added token */

int lm_tokenizer_new(struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct lm_tokenizer *made = lm_alloc(1, sizeof *made, error);
    if (!made)
        return LOAM_ENOMEM;
    made->bos = made->eos = made->pad = made->model.unknown = -1;
    memset(made->raw.first, 0xff, sizeof made->raw.first);
    memset(made->normal.first, 0xff, sizeof made->normal.first);
    memset(made->model.bytes, 0xff, sizeof made->model.bytes);
    int code = lm_unicode_create(&made->unicode, error);
    if (code == LOAM_OK)
        code = lm_pool_create(&made->pool, error);
    if (code == LOAM_OK)
        *tokenizer = made;
    else
        lm_tokenizer_free(made);
    return code;
}

void lm_tokenizer_free(struct lm_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    lm_vocabulary_free(&tokenizer->vocabulary);
    lm_model_free(&tokenizer->model);
    lm_stages_free(&tokenizer->normalizer);
    lm_stages_free(&tokenizer->pretokenizer);
    lm_stages_free(&tokenizer->decoder);
    lm_ids_free(&tokenizer->front);
    lm_ids_free(&tokenizer->back);
    for (int part = 0; part < LM_PARTS; part++)
        lm_bytes_free(&tokenizer->parts[part]);
    for (size_t i = 0; i < tokenizer->added_count; i++)
        lm_free(tokenizer->added[i].content);
    lm_free(tokenizer->added);
    lm_trie_free(&tokenizer->raw);
    lm_trie_free(&tokenizer->normal);
    lm_bytes_free(&tokenizer->spelled);
    lm_free(tokenizer->spelled_at);
    lm_bytes_free(&tokenizer->settings);
    lm_unicode_free(tokenizer->unicode);
    lm_pool_free(tokenizer->pool);
    lm_free(tokenizer);
}

/* What each token stands for, where that is not what the model sees: "▁the" stands for " the". */
static int spell(struct lm_tokenizer *tokenizer, loam_error *error)
{
    size_t size = tokenizer->vocabulary.size;
    if (tokenizer->byte_level)
        return LOAM_OK;
    lm_free(tokenizer->spelled_at);
    tokenizer->spelled.length = 0;
    tokenizer->spelled_at = lm_alloc(size + 1, sizeof *tokenizer->spelled_at, error);
    int code = tokenizer->spelled_at ? lm_bytes_reserve(&tokenizer->spelled, 1, error) : LOAM_ENOMEM;
    for (size_t id = 0; code == LOAM_OK && id < size; id++) {
        unsigned flags = tokenizer->vocabulary.flags[id];
        size_t length;
        const char *text = lm_vocabulary_text(&tokenizer->vocabulary, (int32_t)id, &length);
        if (flags & LM_TOKEN_ADDED)
            code = lm_bytes_append(&tokenizer->spelled, text, length, error);
        else if (flags & LM_TOKEN_PRESENT)
            code = lm_decode_token(tokenizer, (int32_t)id, &(struct lm_decoding){.tokens = 1, .begun = true},
                                   &tokenizer->spelled, error);
        if (code == LOAM_OK && tokenizer->spelled.length > UINT32_MAX)
            code = lm_fail(error, LOAM_EFORMAT, "the tokens together are over 4 GiB long");
        tokenizer->spelled_at[id + 1] = (uint32_t)tokenizer->spelled.length;
    }
    return code;
}

/* The model's own ids have no holes; added tokens may leave a few free in front of them, as GPT-4's do. */
static int check_holes(const struct lm_tokenizer *tokenizer, const struct lm_document *document,
                       const struct lm_value *root, loam_error *error)
{
    const struct lm_vocabulary *vocabulary = &tokenizer->vocabulary;
    size_t end = 0, gap = 0;
    for (size_t id = 0; id < vocabulary->size; id++)
        if (vocabulary->flags[id] && !(vocabulary->flags[id] & LM_TOKEN_OUTSIDE))
            end = id + 1;
    int64_t hole = lm_vocabulary_hole(vocabulary, end);
    for (size_t id = end; hole < 0 && id < vocabulary->size; id++) {
        gap = vocabulary->flags[id] ? 0 : gap + 1;
        if (gap > GAP_LIMIT)
            hole = (int64_t)id;
    }
    if (hole >= 0)
        return lm_value_fail(document, root, error,
                             "the vocabulary has a hole: no token has id %lld, but the largest id is %zu; "
                             "repair the file or fetch it again",
                             (long long)hole, vocabulary->size - 1);
    return LOAM_OK;
}

int lm_tokenizer_assemble(struct lm_tokenizer *tokenizer, const struct lm_document *document,
                          const struct lm_value *root, loam_error *error)
{
    int code = check_holes(tokenizer, document, root, error);
    if (code == LOAM_OK) {
        code = lm_model_finish(tokenizer, error);
        if (code == LOAM_OK)
            code = lm_pairs_seal(&tokenizer->model.pairs, tokenizer->byte_level ? tokenizer->model.bytes : NULL, error);
        if (code == LOAM_OK)
            lm_bpe_find_cuts(tokenizer);
    }
    if (code == LOAM_OK)
        code = lm_postprocessor_read(document, lm_value_find(root, "post_processor"), tokenizer, error);
    if (code == LOAM_OK)
        code = lm_added_index(tokenizer, error);
    return code == LOAM_OK ? spell(tokenizer, error) : code;
}

int lm_tokenizer_refresh(struct lm_tokenizer *tokenizer, loam_error *error)
{
    int code = lm_model_finish(tokenizer, error);
    if (code == LOAM_OK)
        code = lm_added_index(tokenizer, error);
    return code == LOAM_OK ? spell(tokenizer, error) : code;
}

int32_t lm_tokenizer_find_key(const struct lm_tokenizer *tokenizer, const char *key, size_t length)
{
    char bytes[4096];
    size_t n;
    if (!tokenizer->byte_level)
        return lm_vocabulary_find(&tokenizer->vocabulary, key, length, false);
    if (length <= sizeof bytes && lm_alphabet_read(key, length, bytes, &n))
        return lm_vocabulary_find(&tokenizer->vocabulary, bytes, n, false);
    return lm_vocabulary_find(&tokenizer->vocabulary, key, length, true);
}

int lm_tokenizer_key(const struct lm_tokenizer *tokenizer, int32_t id, struct lm_bytes *out, loam_error *error)
{
    size_t length;
    const char *text = lm_vocabulary_text(&tokenizer->vocabulary, id, &length);
    if (!tokenizer->byte_level || tokenizer->vocabulary.flags[id] & (LM_TOKEN_RAW | LM_TOKEN_OUTSIDE))
        return lm_bytes_append(out, text, length, error);
    return lm_alphabet_write(out, text, length, error);
}

int32_t lm_tokenizer_size(const struct lm_tokenizer *tokenizer)
{
    return (int32_t)tokenizer->vocabulary.size;
}

int32_t lm_tokenizer_find(const struct lm_tokenizer *tokenizer, const char *text, size_t length)
{
    for (size_t i = 0; i < tokenizer->added_count; i++)
        if (tokenizer->added[i].length == length && !memcmp(tokenizer->added[i].content, text, length))
            return tokenizer->added[i].id;
    int32_t id = lm_vocabulary_find(&tokenizer->vocabulary, text, length, false);
    if (!tokenizer->spelled_at)
        return id;
    for (size_t i = 0; i < tokenizer->vocabulary.size; i++) {
        size_t size;
        const char *spelled = lm_tokenizer_token(tokenizer, (int32_t)i, &size);
        if (spelled && size == length && !memcmp(spelled, text, length))
            return (int32_t)i;
    }
    return id;
}

static bool has_token(const struct lm_tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (size_t)id < tokenizer->vocabulary.size && (tokenizer->vocabulary.flags[id] & LM_TOKEN_PRESENT);
}

const char *lm_tokenizer_token(const struct lm_tokenizer *tokenizer, int32_t id, size_t *length)
{
    if (!has_token(tokenizer, id)) {
        *length = 0;
        return NULL;
    }
    if (!tokenizer->spelled_at)
        return lm_vocabulary_text(&tokenizer->vocabulary, id, length);
    *length = tokenizer->spelled_at[id + 1] - tokenizer->spelled_at[id];
    return tokenizer->spelled.data + tokenizer->spelled_at[id];
}

bool lm_tokenizer_is_special(const struct lm_tokenizer *tokenizer, int32_t id)
{
    return has_token(tokenizer, id) && (tokenizer->vocabulary.flags[id] & LM_TOKEN_SPECIAL);
}

int32_t lm_tokenizer_bos(const struct lm_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t lm_tokenizer_eos(const struct lm_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

int32_t lm_tokenizer_pad(const struct lm_tokenizer *tokenizer)
{
    return tokenizer->pad;
}

bool lm_tokenizer_adds_bos(const struct lm_tokenizer *tokenizer)
{
    return tokenizer->bos >= 0 && tokenizer->front.length && tokenizer->front.data[0] == tokenizer->bos;
}

int lm_tokenizer_add_token(struct lm_tokenizer *tokenizer, const char *text, size_t length, bool special, int32_t *id,
                           loam_error *error)
{
    if (!length || lm_utf8_check(text, length) != length)
        return lm_fail(error, LOAM_EUSAGE, "a token to add: found '%.*s', wanted at least one character of UTF-8",
                       (int)(length < 80 ? length : 80), text);
    for (size_t i = 0; i < tokenizer->added_count; i++)
        if (tokenizer->added[i].length == length && !memcmp(tokenizer->added[i].content, text, length)) {
            *id = tokenizer->added[i].id;
            return LOAM_OK;
        }
    int32_t known = lm_tokenizer_find_key(tokenizer, text, length);
    size_t same = 0;
    const char *stands = known >= 0 ? lm_vocabulary_text(&tokenizer->vocabulary, known, &same) : NULL;
    if (stands && (same != length || memcmp(stands, text, length)))
        return lm_fail(error, LOAM_EUSAGE,
                       "a token to add: '%.*s' is how the byte-level vocabulary writes token %d; choose another",
                       (int)(length < 80 ? length : 80), text, known);
    int64_t fresh = known >= 0 ? known : (int64_t)tokenizer->vocabulary.size;
    int code =
        known >= 0 ? LOAM_OK : lm_vocabulary_add(&tokenizer->vocabulary, fresh, text, length, LM_TOKEN_OUTSIDE, error);
    struct lm_added added = {.id = (int32_t)fresh,
                             .content = (char *)(uintptr_t)text,
                             .length = length,
                             .special = special,
                             .normalized = !special};
    if (code == LOAM_OK)
        code = lm_added_push(tokenizer, &added, error);
    if (code == LOAM_OK)
        code = lm_added_index(tokenizer, error);
    if (code == LOAM_OK)
        code = spell(tokenizer, error);
    if (code == LOAM_OK)
        *id = (int32_t)fresh;
    return code;
}

int lm_tokenizer_set_bos_eos_pad(struct lm_tokenizer *tokenizer, int32_t bos, int32_t eos, int32_t pad,
                                 loam_error *error)
{
    const int32_t wanted[] = {bos, eos, pad};
    for (int i = 0; i < 3; i++)
        if (wanted[i] >= 0 &&
            !(has_token(tokenizer, wanted[i]) && tokenizer->vocabulary.flags[wanted[i]] & LM_TOKEN_ADDED))
            return lm_fail(error, LOAM_EUSAGE, "id %d: wanted an added token for %s", wanted[i],
                           i == 0   ? "bos"
                           : i == 1 ? "eos"
                                    : "pad");
    bool adds = bos >= 0 && bos != eos;
    struct lm_ids front = {0};
    int code = adds ? lm_ids_push(&front, bos, error) : LOAM_OK;
    if (code != LOAM_OK)
        return code;
    lm_ids_free(&tokenizer->front);
    tokenizer->front = front;
    tokenizer->back.length = 0;
    tokenizer->bos = bos;
    tokenizer->eos = eos;
    tokenizer->pad = pad;
    return lm_postprocessor_describe(tokenizer, error);
}

static uint64_t mix(uint64_t hash, const void *data, size_t length)
{
    return XXH3_64bits_withSeed(length ? data : "", length, hash);
}

uint64_t lm_tokenizer_fingerprint(const struct lm_tokenizer *tokenizer)
{
    const struct lm_vocabulary *vocabulary = &tokenizer->vocabulary;
    const struct lm_model_part *model = &tokenizer->model;
    uint64_t hash = 1, pairs = 0;
    for (size_t id = 0; id < vocabulary->size; id++) {
        size_t length;
        const char *text = lm_vocabulary_text(vocabulary, (int32_t)id, &length);
        hash = mix(hash + (vocabulary->flags[id] & LM_TOKEN_PRESENT), text, vocabulary->flags[id] ? length : 0);
        if (model->scores && id < model->score_count)
            hash = mix(hash, &model->scores[id], sizeof *model->scores);
    }
    /* The order in a hash table is an accident: a sum does not depend on it. */
    for (size_t i = 0; i < model->pairs.slot_count; i++)
        if (model->pairs.slots[i].key != UINT64_MAX)
            pairs += mix(2, &model->pairs.slots[i], sizeof *model->pairs.slots);
    hash = mix(hash, &pairs, sizeof pairs);
    const int32_t switches[] = {(int32_t)model->kind, model->unknown,       model->byte_fallback,
                                model->fuse_unknown,  model->ignore_merges, (int32_t)model->longest_word,
                                tokenizer->byte_level};
    hash = mix(hash, switches, sizeof switches);
    hash = mix(hash, model->prefix, model->prefix ? strlen(model->prefix) : 0);
    hash = mix(hash, model->suffix, model->suffix ? strlen(model->suffix) : 0);
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        const struct lm_added *added = &tokenizer->added[i];
        const int32_t flags[] = {added->id,     added->single_word, added->lstrip,
                                 added->rstrip, added->normalized,  added->special};
        hash = mix(mix(hash, added->content, added->length), flags, sizeof flags);
    }
    for (int part = 0; part < LM_PARTS; part++)
        if (part != LM_PART_POSTPROCESSOR)
            hash = mix(hash, tokenizer->parts[part].data, tokenizer->parts[part].length);
    hash = mix(hash, tokenizer->front.data, tokenizer->front.length * sizeof(int32_t));
    return mix(hash, tokenizer->back.data, tokenizer->back.length * sizeof(int32_t));
}
