/* Byte-pair encoding: merging a piece's symbols, lowest rank first, leftmost first among equals (Sennrich et al.,
 * 2016). */
#include "internal.h"

enum { SHORT_PIECE = 48 }; /* symbols; up to here a plain search for the best pair is faster than a heap */

static int grow(struct lm_workspace *w, size_t count, loam_error *error)
{
    if (count <= w->symbol_capacity)
        return LOAM_OK;
    size_t capacity = lm_round_up(count + count / 4, 256);
    struct lm_symbol *symbols = lm_resize(w->symbols, capacity, sizeof *symbols, error);
    if (!symbols)
        return LOAM_ENOMEM;
    w->symbols = symbols;
    uint64_t *best = lm_resize(w->best, capacity, sizeof *best, error);
    if (!best)
        return LOAM_ENOMEM;
    w->best = best;
    w->symbol_capacity = capacity;
    return LOAM_OK;
}

static int grow_lists(struct lm_workspace *w, size_t count, loam_error *error)
{
    if (count <= w->list_capacity)
        return LOAM_OK;
    size_t capacity = w->symbol_capacity;
    int32_t *links = lm_resize(w->links, capacity * 2, sizeof *links, error);
    if (!links)
        return LOAM_ENOMEM;
    w->links = links;
    /* Each merge takes two entries out of the list of pairs and adds at most two. */
    uint64_t *heap = lm_resize(w->heap, capacity * 3, sizeof *heap, error);
    if (!heap)
        return LOAM_ENOMEM;
    w->heap = heap;
    w->list_capacity = capacity;
    return LOAM_OK;
}

/* `bytes`: what the symbols are, where each of them is one byte, or NULL. */
static size_t merge_short(const struct lm_pairs *pairs, struct lm_symbol *symbols, uint64_t *best, size_t count,
                          const unsigned char *bytes)
{
    if (bytes && pairs->of_bytes)
        for (size_t i = 0; i + 1 < count; i++)
            best[i] = pairs->of_bytes[bytes[i] << 8 | bytes[i + 1]];
    else
        for (size_t i = 0; i + 1 < count; i++)
            best[i] = lm_pairs_get(pairs, symbols[i].id, symbols[i + 1].id);
    while (count > 1) {
        size_t at = 0;
        for (size_t i = 1; i + 1 < count; i++)
            if (best[i] >> 32 < best[at] >> 32)
                at = i;
        if (best[at] == UINT64_MAX)
            break;
        symbols[at].id = (int32_t)(uint32_t)best[at];
        symbols[at].bytes += symbols[at + 1].bytes;
        count--;
        for (size_t i = at + 1; i < count; i++)
            symbols[i] = symbols[i + 1];
        for (size_t i = at + 1; i + 1 < count; i++)
            best[i] = best[i + 1];
        if (at + 1 < count)
            best[at] = lm_pairs_get(pairs, symbols[at].id, symbols[at + 1].id);
        if (at)
            best[at - 1] = lm_pairs_get(pairs, symbols[at - 1].id, symbols[at].id);
    }
    return count;
}

static void sift_down(uint64_t *heap, size_t count, size_t at)
{
    uint64_t value = heap[at];
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= count)
            break;
        if (child + 1 < count && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= value)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = value;
}

static void sift_up(uint64_t *heap, size_t at)
{
    uint64_t value = heap[at];
    while (at && heap[(at - 1) / 2] > value) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = value;
}

struct merging {
    const struct lm_pairs *pairs;
    struct lm_symbol *symbols;
    uint64_t *best, *heap; /* heap of rank << 32 | position; stale where best[position] has another rank */
    int32_t *before, *behind;
    size_t waiting;
};

static void look(struct merging *m, int32_t at)
{
    int32_t right = m->behind[at];
    m->best[at] = right < 0 ? UINT64_MAX : lm_pairs_get(m->pairs, m->symbols[at].id, m->symbols[right].id);
    if (m->best[at] == UINT64_MAX)
        return;
    m->heap[m->waiting] = (m->best[at] & UINT64_C(0xFFFFFFFF00000000)) | (uint32_t)at;
    sift_up(m->heap, m->waiting++);
}

static void merge_at(struct merging *m, int32_t at)
{
    int32_t right = m->behind[at], next = m->behind[right];
    m->symbols[at].id = (int32_t)(uint32_t)m->best[at];
    m->symbols[at].bytes += m->symbols[right].bytes;
    m->best[right] = UINT64_MAX;
    m->symbols[right].bytes = 0;
    m->behind[at] = next;
    if (next >= 0)
        m->before[next] = at;
    look(m, at);
    if (m->before[at] >= 0)
        look(m, m->before[at]);
}

static size_t merge_long(const struct lm_pairs *pairs, struct lm_workspace *w, size_t count)
{
    struct merging m = {pairs, w->symbols, w->best, w->heap, w->links, w->links + w->list_capacity, 0};
    for (size_t i = 0; i < count; i++) {
        m.before[i] = (int32_t)i - 1;
        m.behind[i] = i + 1 < count ? (int32_t)i + 1 : -1;
        m.best[i] = i + 1 < count ? lm_pairs_get(pairs, m.symbols[i].id, m.symbols[i + 1].id) : UINT64_MAX;
        if (m.best[i] != UINT64_MAX)
            m.heap[m.waiting++] = (m.best[i] & UINT64_C(0xFFFFFFFF00000000)) | i;
    }
    for (size_t i = m.waiting / 2; i-- > 0;)
        sift_down(m.heap, m.waiting, i);
    while (m.waiting) {
        uint64_t top = m.heap[0];
        m.heap[0] = m.heap[--m.waiting];
        if (m.waiting)
            sift_down(m.heap, m.waiting, 0);
        int32_t at = (int32_t)(uint32_t)top;
        if (m.best[at] != UINT64_MAX && m.best[at] >> 32 == top >> 32)
            merge_at(&m, at);
    }
    size_t kept = 0;
    for (int32_t i = 0; i >= 0; i = m.behind[i])
        m.symbols[kept++] = m.symbols[i];
    return kept;
}

static int merge(struct lm_encoding *encoding, const struct lm_span *piece, size_t *count)
{
    const struct lm_pairs *pairs = &encoding->tokenizer->model.pairs;
    struct lm_workspace *w = encoding->workspace;
    if (!pairs->used)
        return LOAM_OK;
    if (*count <= SHORT_PIECE) {
        bool bytes = encoding->tokenizer->byte_level && *count == piece->length;
        *count = merge_short(pairs, w->symbols, w->best, *count, bytes ? (const unsigned char *)piece->text : NULL);
        return LOAM_OK;
    }
    int code = grow_lists(w, *count, encoding->error);
    if (code == LOAM_OK)
        *count = merge_long(pairs, w, *count);
    return code;
}

int lm_bpe_put_symbols(struct lm_encoding *encoding, const struct lm_span *piece, size_t count)
{
    const struct lm_symbol *symbols = encoding->workspace->symbols;
    size_t at = 0;
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < count; i++) {
        if (symbols[i].id >= 0)
            code = lm_encoding_push(encoding, symbols[i].id, piece, at, at + symbols[i].bytes);
        at += symbols[i].bytes;
    }
    return code;
}

/* Bytes become symbols. A byte without a token gives the unknown token, or where there is none vanishes, so that the
 * bytes around it become neighbours: the ids that Hugging Face's library gives. */
static size_t byte_symbols(const struct lm_model_part *model, const struct lm_span *piece, struct lm_symbol *symbols)
{
    size_t count = 0, lost = 0;
    for (size_t i = 0; i < piece->length; i++) {
        int32_t id = model->bytes[(unsigned char)piece->text[i]];
        if (id < 0)
            id = model->unknown;
        if (id < 0) {
            lost++;
            if (count)
                symbols[count - 1].bytes++, lost--;
            continue;
        }
        bool fused = id == model->unknown && model->fuse_unknown && count && symbols[count - 1].id == id;
        if (fused)
            symbols[count - 1].bytes++;
        else
            symbols[count++] = (struct lm_symbol){id, (uint32_t)(1 + lost)};
        lost = 0;
    }
    return count;
}

/* Characters become symbols: the token of the character (with prefix and suffix), else its bytes, else the unknown
 * token. */
static int character_symbols(struct lm_encoding *encoding, const struct lm_span *piece, size_t *count)
{
    const struct lm_tokenizer *tokenizer = encoding->tokenizer;
    const struct lm_model_part *model = &tokenizer->model;
    struct lm_symbol *symbols = encoding->workspace->symbols;
    const unsigned char *text = (const unsigned char *)piece->text, *end = text + piece->length;
    size_t prefix = strlen(model->prefix), suffix = strlen(model->suffix), n = 0;
    uint32_t unknown = 0; /* bytes of an unknown token that waits: it comes behind bytes that follow it */
    char key[256];
    for (const unsigned char *at = text; at < end;) {
        uint32_t code_point;
        size_t length = lm_character(at, end, &code_point), key_length = 0;
        if (at > text && prefix)
            memcpy(key, model->prefix, prefix), key_length = prefix;
        memcpy(key + key_length, at, length);
        key_length += length;
        if (at + length == end && suffix)
            memcpy(key + key_length, model->suffix, suffix), key_length += suffix;
        int32_t id = lm_vocabulary_find(&tokenizer->vocabulary, key, key_length, false);
        bool bytes = id < 0 && model->byte_fallback;
        for (size_t i = 0; bytes && i < length; i++)
            bytes = model->bytes[at[i]] >= 0;
        if (bytes) {
            for (size_t i = 0; i < length; i++)
                symbols[n++] = (struct lm_symbol){model->bytes[at[i]], 1};
        } else if (id < 0 && model->unknown >= 0) {
            if (unknown && !model->fuse_unknown) {
                symbols[n++] = (struct lm_symbol){model->unknown, unknown};
                unknown = 0;
            }
            unknown += (uint32_t)length;
        } else if (id >= 0) {
            if (unknown)
                symbols[n++] = (struct lm_symbol){model->unknown, unknown};
            unknown = 0;
            symbols[n++] = (struct lm_symbol){id, (uint32_t)length};
        } else if (n) {
            symbols[n - 1].bytes += (uint32_t)length;
        }
        at += length;
    }
    if (unknown)
        symbols[n++] = (struct lm_symbol){model->unknown, unknown};
    *count = n;
    return LOAM_OK;
}

int lm_bpe_symbols(struct lm_encoding *encoding, const struct lm_span *piece, size_t *count)
{
    const struct lm_tokenizer *tokenizer = encoding->tokenizer;
    if (piece->length >= INT32_MAX)
        return lm_fail(encoding->error, LOAM_EUNSUPPORTED,
                       "a word of %zu bytes: found in the text, wanted under 2 GiB; "
                       "split the text",
                       piece->length);
    int code = grow(encoding->workspace, piece->length, encoding->error);
    if (code != LOAM_OK)
        return code;
    if (tokenizer->model.ignore_merges) {
        int32_t whole = lm_vocabulary_find(&tokenizer->vocabulary, piece->text, piece->length, false);
        /* A special token is text like any other unless it is asked for. */
        if (whole >= 0 && !(tokenizer->vocabulary.flags[whole] & LM_TOKEN_SPECIAL)) {
            encoding->workspace->symbols[0] = (struct lm_symbol){whole, (uint32_t)piece->length};
            *count = 1;
            return LOAM_OK;
        }
    }
    if (tokenizer->byte_level)
        *count = byte_symbols(&tokenizer->model, piece, encoding->workspace->symbols);
    else
        code = character_symbols(encoding, piece, count);
    return code == LOAM_OK ? merge(encoding, piece, count) : code;
}

int lm_bpe_encode(struct lm_encoding *encoding, const struct lm_span *piece)
{
    if (!piece->length)
        return LOAM_OK;
    size_t count = 0;
    int code = lm_bpe_symbols(encoding, piece, &count);
    return code == LOAM_OK ? lm_bpe_put_symbols(encoding, piece, count) : code;
}
