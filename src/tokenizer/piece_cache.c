/* The cache of a thread: pieces met before and their ids. Most of a text is made of few different pieces, so that most
 * are looked up and not merged.
 *
 * Two tables of fixed size: short pieces of few ids (nearly all) in lines of 32 bytes, so that many fit into the
 * processor's own cache, and longer ones in lines of 64. Each piece has two lines side by side where it may stand. A
 * new piece takes the second; met again there, it moves to the first: what stands in a text once does not push out
 * what comes again and again.
 */
#include "internal.h"

enum {
    SHORT_LINES = 1 << 17,
    SHORT_BYTES = 15,
    SHORT_IDS = 3,
    LONG_LINES = 1 << 14,
    LONG_BYTES = 31,
    LONG_IDS = LM_CACHE_IDS - 1,
};

struct short_line {
    uint64_t key[2]; /* the piece's bytes, zeros behind them, its length in the last byte */
    int32_t ids[SHORT_IDS];
    int32_t count;
};
struct long_line {
    uint64_t key[4];
    int32_t ids[LONG_IDS];
    int32_t count;
};
struct lm_piece_cache {
    struct short_line brief[SHORT_LINES];
    struct long_line lengthy[LONG_LINES];
};
_Static_assert(sizeof(struct short_line) == 32 && sizeof(struct long_line) == 64, "lines fill cache lines");

static struct lm_piece_cache *cache_of(struct lm_encoding *encoding)
{
    struct lm_workspace *w = encoding->workspace;
    if (!w->cache)
        w->cache = lm_block_map(sizeof *w->cache, encoding->error);
    return w->cache;
}

void lm_piece_cache_free(struct lm_piece_cache *cache)
{
    lm_block_unmap(cache, sizeof *cache);
}

static inline uint64_t load_word(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* The low `bytes` bytes (0 to 8; any other number counts as the nearer end). */
static inline uint64_t low_bytes(uint64_t word, int64_t bytes)
{
    if (bytes <= 0)
        return 0;
    return bytes >= 8 ? word : word & ((UINT64_C(1) << bytes * 8) - 1);
}

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    a = (a ^ UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xBF58476D1CE4E5B9);
    b = (b ^ a >> 32) * UINT64_C(0x94D049BB133111EB);
    return a ^ b ^ b >> 29;
}

static int put_ids(struct lm_encoding *encoding, const struct lm_span *piece, const int32_t *line, size_t count)
{
    const struct lm_vocabulary *vocabulary = &encoding->tokenizer->vocabulary;
    size_t at = 0;
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < count; i++) {
        code = lm_encoding_push(encoding, line[i], piece, at, at + vocabulary->tokens[line[i]].length);
        at += vocabulary->tokens[line[i]].length;
    }
    return code;
}

/* Whether the piece's symbols may be kept: offsets of a cached piece come from its tokens' lengths, so that there must
 * be no byte that no token stands for. */
static bool may_keep(const struct lm_encoding *encoding, const struct lm_span *piece, size_t count)
{
    const struct lm_symbol *symbols = encoding->workspace->symbols;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += encoding->tokenizer->vocabulary.tokens[symbols[i].id].length;
    return bytes == piece->length;
}

static int encode_long(struct lm_encoding *encoding, const struct lm_span *piece, const char *text)
{
    struct long_line wanted = {.count = 0};
    size_t count = 0;
    for (int i = 0; i < 4; i++)
        wanted.key[i] = low_bytes(load_word(text + i * 8), (int64_t)piece->length - i * 8);
    wanted.key[3] |= (uint64_t)piece->length << 56;
    uint64_t hash = mix(mix(wanted.key[0], wanted.key[1]), mix(wanted.key[2], wanted.key[3]));
    struct long_line *line = &encoding->workspace->cache->lengthy[hash >> 20 & (LONG_LINES - 2)];
    for (int i = 0; i < 2; i++)
        if (!memcmp(line[i].key, wanted.key, sizeof wanted.key)) {
            struct long_line found = line[i];
            line[i] = line[0];
            line[0] = found;
            return put_ids(encoding, piece, found.ids, (size_t)found.count);
        }
    int code = lm_bpe_symbols(encoding, piece, &count);
    if (code == LOAM_OK && count <= LONG_IDS && may_keep(encoding, piece, count)) {
        wanted.count = (int32_t)count;
        for (size_t i = 0; i < count; i++)
            wanted.ids[i] = encoding->workspace->symbols[i].id;
        line[1] = wanted;
    }
    return code == LOAM_OK ? lm_bpe_put_symbols(encoding, piece, count) : code;
}

static int encode_new(struct lm_encoding *encoding, const struct lm_span *piece, const char *text,
                      struct short_line *line, const uint64_t key[2])
{
    size_t count = 0;
    int code = lm_bpe_symbols(encoding, piece, &count);
    if (code != LOAM_OK)
        return code;
    if (count > SHORT_IDS)
        return encode_long(encoding, piece, text);
    if (may_keep(encoding, piece, count)) {
        *line = (struct short_line){.key = {key[0], key[1]}, .count = (int32_t)count};
        for (size_t i = 0; i < count; i++)
            line->ids[i] = encoding->workspace->symbols[i].id;
    }
    return lm_bpe_put_symbols(encoding, piece, count);
}

/* The ids of a line at the end of the list, which has room for them. */
static inline void copy_ids(struct lm_ids *ids, const struct short_line *line)
{
    memcpy(ids->data + ids->length, line->ids, sizeof line->ids + sizeof line->count);
    ids->length += (size_t)line->count;
}

/* A piece of `length` bytes (at most LONG_BYTES) at `text`, from where LONG_BYTES + 1 may be read. */
static inline int encode_cached(struct lm_encoding *encoding, const struct lm_span *span, size_t start, size_t length,
                                const char *text, bool roomy)
{
    struct lm_span piece;
    if (length > SHORT_BYTES) {
        piece = lm_span_part(span, start, start + length);
        return encode_long(encoding, &piece, text);
    }
    const uint64_t key[2] = {low_bytes(load_word(text), (int64_t)length),
                             low_bytes(load_word(text + 8), (int64_t)length - 8) | (uint64_t)length << 56};
    struct short_line *line = &encoding->workspace->cache->brief[mix(key[0], key[1]) >> 20 & (SHORT_LINES - 2)];
    if (line->key[0] != key[0] || line->key[1] != key[1]) {
        struct short_line second = line[1];
        if (second.key[0] != key[0] || second.key[1] != key[1]) {
            piece = lm_span_part(span, start, start + length);
            return encode_new(encoding, &piece, text, &line[1], key);
        }
        line[1] = line[0];
        line[0] = second;
    }
    if (roomy) {
        copy_ids(encoding->ids, line);
        return LOAM_OK;
    }
    piece = lm_span_part(span, start, start + length);
    return put_ids(encoding, &piece, line->ids, (size_t)line->count);
}

int lm_bpe_encode_piece(struct lm_encoding *encoding, const struct lm_span *piece, size_t room)
{
    if (piece->length > LONG_BYTES)
        return lm_bpe_encode(encoding, piece);
    if (!cache_of(encoding))
        return LOAM_ENOMEM;
    if (room > LONG_BYTES)
        return encode_cached(encoding, piece, 0, piece->length, piece->text, false);
    char padded[LONG_BYTES + 1] = {0};
    memcpy(padded, piece->text, piece->length);
    return encode_cached(encoding, piece, 0, piece->length, padded, false);
}

static int make_room(struct lm_ids *ids, loam_error *error)
{
    static const int32_t none[LM_CACHE_IDS];
    size_t length = ids->length;
    int code = lm_ids_append(ids, none, LM_CACHE_IDS, error);
    ids->length = length;
    return code;
}

int lm_bpe_encode_scanned(struct lm_encoding *encoding, lm_scan scan, const struct lm_span *span)
{
    const struct lm_unicode *unicode = encoding->tokenizer->unicode;
    const bool roomy = !encoding->starts;
    int code = cache_of(encoding) ? LOAM_OK : LOAM_ENOMEM;
    for (size_t at = 0; code == LOAM_OK && at < span->length;) {
        size_t end = scan(unicode, span->text, span->length, at);
        if (encoding->ids->capacity - encoding->ids->length < LM_CACHE_IDS) {
            code = make_room(encoding->ids, encoding->error);
            if (code != LOAM_OK)
                break;
        }
        if (end - at <= LONG_BYTES && span->length - at > LONG_BYTES) {
            code = encode_cached(encoding, span, at, end - at, span->text + at, roomy);
        } else {
            struct lm_span piece = lm_span_part(span, at, end);
            code = lm_bpe_encode_piece(encoding, &piece, span->length - at);
        }
        at = end;
    }
    return code;
}
