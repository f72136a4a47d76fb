/* What the files of tokenizer/ share: the pipeline of a tokenizer and one encoding's state.
 *
 * A text goes through: added tokens (added_tokens.c) → normalizer.c → pretokenizer.c → the model (model.c: bpe.c and
 * its fellows) → postprocessor.c; ids go back through decoder.c. Each part is a list of small tagged stages that its
 * own file reads from the JSON of tokenizer.json. That JSON text is kept: readers of other formats write it, and saving
 * writes it out again, so that a pipeline has one description only.
 */
#ifndef LOAM_TOKENIZER_INTERNAL_H
#define LOAM_TOKENIZER_INTERNAL_H

#include "double_array.h"
#include "scanner.h"
#include "tokenizer.h"
#include "unicode.h"
#include "vocabulary.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum lm_part { LM_PART_NORMALIZER, LM_PART_PRETOKENIZER, LM_PART_POSTPROCESSOR, LM_PART_DECODER, LM_PARTS };

/* How a split treats what matched: as Hugging Face's SplitDelimiterBehavior. */
enum lm_behaviour { LM_REMOVED, LM_ISOLATED, LM_MERGED_WITH_PREVIOUS, LM_MERGED_WITH_NEXT, LM_CONTIGUOUS };

/* One step of a part. `kind` is of the enum in the part's file, which says what the other members mean there. */
struct lm_stage {
    int kind;
    char *text; /* what is looked for, put in front, … */
    size_t length;
    char *content; /* what is put in its place */
    size_t content_length;
    struct lm_charsmap *charsmap;     /* Precompiled */
    struct lm_literals *literals;     /* instead of regex */
    struct lm_regex *regex;           /* instead of text */
    const struct lm_pattern *pattern; /* instead of regex */
    enum lm_behaviour behaviour;
    int64_t start, stop;
    bool options[4];
};
struct lm_stages {
    struct lm_stage *items;
    size_t count;
};
struct lm_stage *lm_stages_push(struct lm_stages *stages, loam_error *error);
void lm_stages_clear(struct lm_stages *stages); /* frees what the stages hold, not the list */
void lm_stages_free(struct lm_stages *stages);
/* The complaint about an object whose 'type' is none of the known. */
int lm_type_fail(const struct lm_document *document, const struct lm_value *object, const char *known,
                 loam_error *error);
/* Compiles the string `value`. */
int lm_regex_of(const struct lm_document *document, const struct lm_value *value, struct lm_regex **regex,
                loam_error *error);

/* literals.c: a regular expression that is nothing but texts with | between them, as a set. *literals stays NULL for any
 * other. Vocabularies with thousands of user-defined pieces are split by such. */
int lm_literals_of(const char *regex, size_t length, struct lm_literals **literals, loam_error *error);
/* The first match at or behind `at`: of the texts that begin at one place the one that stands first. */
bool lm_literals_find(const struct lm_literals *literals, const char *text, size_t length, size_t at, size_t *start,
                      size_t *end);
void lm_literals_free(struct lm_literals *literals);

/* (left id, right id) → rank and merged id; open addressing. */
struct lm_pair {
    uint64_t key;   /* left << 32 | right; UINT64_MAX: empty */
    uint64_t value; /* rank << 32 | merged id */
};
struct lm_pairs {
    struct lm_pair *slots;
    size_t slot_count, used;
    uint64_t *filter;   /* NULL, or a bit for each pair: most pairs that do not merge are told by it, near the processor */
    size_t filter_mask; /* bits - 1 */
    uint64_t *of_bytes; /* [256 * 256]: what lm_pairs_get gives for the tokens of two bytes; NULL: not byte level, or a
                           byte has no token */
};
int lm_pairs_reserve(struct lm_pairs *pairs, size_t count, loam_error *error);
int lm_pairs_set(struct lm_pairs *pairs, int32_t left, int32_t right, uint32_t rank, int32_t merged, loam_error *error);
/* Makes what only speeds lm_pairs_get up; the next lm_pairs_set drops it again. `bytes`: ids of the 256 bytes, or NULL. */
int lm_pairs_seal(struct lm_pairs *pairs, const int32_t *bytes, loam_error *error);
void lm_pairs_free(struct lm_pairs *pairs);

static inline size_t lm_pairs_slot(const struct lm_pairs *pairs, uint64_t key)
{
    uint64_t mixed = key * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)((mixed ^ mixed >> 32) & (pairs->slot_count - 1));
}

static inline size_t lm_pairs_bit(const struct lm_pairs *pairs, uint64_t key)
{
    return (size_t)(key * UINT64_C(0xBF58476D1CE4E5B9) >> 34) & pairs->filter_mask;
}

/* The pair will be asked for or set soon. */
static inline void lm_pairs_expect(const struct lm_pairs *pairs, int32_t left, int32_t right)
{
    if (pairs->slot_count)
        __builtin_prefetch(&pairs->slots[lm_pairs_slot(pairs, (uint64_t)(uint32_t)left << 32 | (uint32_t)right)], 1);
}

/* UINT64_MAX where the two do not merge. */
static inline uint64_t lm_pairs_get(const struct lm_pairs *pairs, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    if (pairs->filter) {
        size_t bit = lm_pairs_bit(pairs, key);
        if (!(pairs->filter[bit / 64] >> bit % 64 & 1))
            return UINT64_MAX;
    }
    for (size_t slot = lm_pairs_slot(pairs, key);; slot = (slot + 1) & (pairs->slot_count - 1)) {
        const struct lm_pair *pair = &pairs->slots[slot];
        if (pair->key == key)
            return pair->value;
        if (pair->key == UINT64_MAX)
            return UINT64_MAX;
    }
}

enum lm_model_kind { LM_MODEL_BPE, LM_MODEL_UNIGRAM, LM_MODEL_WORDPIECE, LM_MODEL_WORDLEVEL };

struct lm_model_part {
    enum lm_model_kind kind;
    int32_t unknown;       /* id, or -1 */
    struct lm_pairs pairs; /* BPE */
    int32_t bytes[256];    /* BPE, byte level: id of each byte; byte fallback: id of <0xNN>; -1: none */
    bool byte_fallback, fuse_unknown, ignore_merges;
    bool cuts;          /* BPE on text with blanks: it may be cut in front of a blank that follows none of … */
    uint32_t glued[16]; /* … these characters */
    size_t glued_count;
    char *unknown_name; /* as the file gives it, or NULL */
    char *prefix, *suffix; /* of a piece that goes on, of one that ends a word; "" for none */
    double *scores;        /* Unigram: by id */
    size_t score_count;
    double unknown_score;
    size_t longest_word; /* WordPiece: characters; longer words are unknown */
    struct lm_double_array pieces; /* Unigram, WordPiece: the tokens that text may give */
    int32_t inner;                 /* WordPiece: the state behind the prefix of pieces that go on; -1: there are none */
};

struct lm_added {
    int32_t id;
    char *content; /* as in the file */
    size_t length;
    bool single_word, lstrip, rstrip, normalized, special;
};

/* Added tokens by their bytes. */
struct lm_trie {
    struct lm_trie_node {
        int32_t child, sibling; /* index, or -1 */
        int32_t added;          /* index of the added token that ends here, or -1 */
        unsigned char byte;
    } * nodes;
    size_t count;
    int32_t first[256]; /* node, or -1 */
    int only;           /* the one first byte there is, or -1 */
};

struct lm_pool;

struct lm_tokenizer {
    struct lm_vocabulary vocabulary;
    struct lm_model_part model;
    bool byte_level; /* tokens are bytes; keys in files are written in the byte alphabet */
    bool lettered;   /* bytes as well, but the pipeline and the model work on them as letters of the byte alphabet */
    bool decodes_alone; /* each token gives its text whatever comes behind it */
    struct lm_stages normalizer, pretokenizer, decoder;
    struct lm_ids front, back;       /* what the post-processor adds */
    struct lm_bytes parts[LM_PARTS]; /* JSON of each part, "null" where there is none */
    struct lm_added *added;
    size_t added_count, added_capacity;
    struct lm_trie raw, normal; /* matched before and behind the normalizer */
    struct lm_bytes spelled;    /* not byte level: what each token stands for, one behind the other */
    uint32_t *spelled_at;       /* [size + 1] offsets in `spelled`; NULL: as in the vocabulary */
    int32_t bos, eos, pad, unknown;
    struct lm_bytes settings; /* tokenizer_config.json as it was read, or empty */
    struct lm_unicode *unicode;
    struct lm_pool *pool;
};

/* Text on its way through normalizers, with where each byte came from. */
struct lm_text {
    struct lm_bytes bytes;
    struct lm_ids origins; /* a byte: its offset in the source; only kept where asked for */
};

/* A part of a text. The byte i stood at `base + (origins ? origins[i] : i)`. */
struct lm_span {
    const char *text;
    size_t length;
    size_t base;
    const int32_t *origins;
    bool first; /* it begins where the whole text begins */
};
static inline struct lm_span lm_span_part(const struct lm_span *span, size_t start, size_t end)
{
    return (struct lm_span){span->text + start, end - start, span->base + (span->origins ? 0 : start),
                            span->origins ? span->origins + start : NULL, span->first && start == 0};
}

struct lm_symbol {
    int32_t id;
    uint32_t bytes; /* of the text */
};

struct lm_piece_cache; /* piece_cache.c */
enum { LM_CACHE_IDS = 8 }; /* ids that a cached piece may write behind the list's length */
enum { LM_STAGES_MOST = 64 };

/* What one thread needs while it encodes; kept for the next. */
struct lm_workspace {
    struct lm_workspace *next;
    struct lm_piece_cache *cache; /* pieces met before and their ids */
    struct lm_symbol *symbols;
    uint64_t *best, *heap;
    int32_t *links; /* [2 * capacity]: before, behind */
    size_t symbol_capacity, list_capacity;
    struct lm_text clean;                       /* the text made valid */
    struct lm_text texts[2];                    /* the normalizer's */
    struct lm_text stage_texts[LM_STAGES_MOST]; /* the pre-tokenizer's, one a stage */
    int32_t *points;                            /* code points of a normalizer's segment */
    size_t point_capacity;
    struct lm_step *steps; /* Unigram; all 0 between pieces */
    size_t step_capacity;
    struct lm_regex_match *match;
};
int lm_pool_create(struct lm_pool **pool, loam_error *error);
void lm_pool_free(struct lm_pool *pool);
int lm_pool_take(struct lm_pool *pool, struct lm_workspace **workspace, loam_error *error);
void lm_pool_give(struct lm_pool *pool, struct lm_workspace *workspace);

struct lm_encoding;
/* Appends the place in the source of [at, end) of the span to starts and ends. */
int lm_encoding_place(struct lm_encoding *encoding, const struct lm_span *span, size_t at, size_t end);
struct lm_encoding {
    const struct lm_tokenizer *tokenizer;
    struct lm_workspace *workspace;
    struct lm_ids *ids, *starts, *ends; /* starts may be NULL, ends too */
    const char *source;                 /* the whole text */
    size_t source_length;
    unsigned flags;
    loam_error *error;
    /* Where not NULL: gets the pieces instead of the model. */
    int (*take)(void *user, const char *piece, size_t length);
    void *user;
};
/* A token that stands for [at, end) of the span. */
static inline int lm_encoding_push(struct lm_encoding *encoding, int32_t id, const struct lm_span *span, size_t at,
                                   size_t end)
{
    int code = lm_ids_push(encoding->ids, id, encoding->error);
    return code == LOAM_OK && encoding->starts ? lm_encoding_place(encoding, span, at, end) : code;
}

/* Each part: from its JSON (`value` may be NULL or null: nothing to do), and at work. */
int lm_normalizer_read(const struct lm_document *document, const struct lm_value *value, struct lm_stages *stages,
                       loam_error *error);
/* Whether some step writes the text in the byte alphabet. */
bool lm_normalizer_lettered(const struct lm_stages *stages);
/* The span normalized: *out is the span itself where nothing changes, else in one of the workspace's texts. */
int lm_normalize(const struct lm_tokenizer *tokenizer, struct lm_workspace *workspace, const struct lm_span *span,
                 bool origins, struct lm_span *out, loam_error *error);

int lm_pretokenizer_read(const struct lm_document *document, const struct lm_value *value, struct lm_stages *stages,
                         loam_error *error);
/* Whether some step writes the text in the byte alphabet. */
bool lm_pretokenizer_lettered(const struct lm_stages *stages);
/* Takes that step out where there is one and it is the last: a byte-level model takes the bytes themselves. */
bool lm_pretokenizer_drop_letters(struct lm_stages *stages);
/* Splits the span and gives each piece to the model. */
int lm_pretokenize(struct lm_encoding *encoding, const struct lm_span *span);

/* Whether the model (its JSON may be NULL) merges bytes: BPE without prefixes, suffixes and byte fallback. */
bool lm_model_takes_bytes(const struct lm_value *model);
/* Whether decoding only puts tokens together and reads their letters as bytes. */
bool lm_decoder_is_byte_level(const struct lm_stages *stages);
int lm_model_read(const struct lm_document *document, const struct lm_value *value, struct lm_tokenizer *tokenizer,
                  loam_error *error);
/* The tables computed from the vocabulary once it is there. */
int lm_model_finish(struct lm_tokenizer *tokenizer, loam_error *error);
int lm_model_encode(struct lm_encoding *encoding, const struct lm_span *piece);
/* The tokens by their texts, for models that walk along them. */
int lm_model_index(struct lm_tokenizer *tokenizer, loam_error *error);
int lm_unigram_finish(struct lm_tokenizer *tokenizer, loam_error *error);
int lm_unigram_encode(struct lm_encoding *encoding, const struct lm_span *piece);
int lm_wordpiece_finish(struct lm_tokenizer *tokenizer, loam_error *error);
int lm_wordpiece_encode(struct lm_encoding *encoding, const struct lm_span *piece);
int lm_wordlevel_encode(struct lm_encoding *encoding, const struct lm_span *piece);
int lm_bpe_encode(struct lm_encoding *encoding, const struct lm_span *piece);
/* The piece's symbols into the workspace. */
int lm_bpe_symbols(struct lm_encoding *encoding, const struct lm_span *piece, size_t *count);
int lm_bpe_put_symbols(struct lm_encoding *encoding, const struct lm_span *piece, size_t count);
/* A piece of a byte-level model, through the cache. `room`: bytes that may be read from its start. */
int lm_bpe_encode_piece(struct lm_encoding *encoding, const struct lm_span *piece, size_t room);
/* All of a text that one scanner cuts into pieces, none left over: the fast way. */
int lm_bpe_encode_scanned(struct lm_encoding *encoding, lm_scan scan, const struct lm_span *span);
/* Sets `cuts` of the model. */
void lm_bpe_find_cuts(struct lm_tokenizer *tokenizer);
/* A long text of a model that has `cuts`. */
int lm_bpe_encode_cut(struct lm_encoding *encoding, const struct lm_span *piece);
void lm_piece_cache_free(struct lm_piece_cache *cache);
int lm_model_write(const struct lm_tokenizer *tokenizer, struct lm_json_writer *writer, loam_error *error);
void lm_model_free(struct lm_model_part *model);

int lm_postprocessor_read(const struct lm_document *document, const struct lm_value *value,
                          struct lm_tokenizer *tokenizer, loam_error *error);
/* Writes parts[LM_PART_POSTPROCESSOR] from front and back. */
int lm_postprocessor_describe(struct lm_tokenizer *tokenizer, loam_error *error);

int lm_decoder_read(const struct lm_document *document, const struct lm_value *value, struct lm_stages *stages,
                    loam_error *error);
/* Where decoding stands between two tokens. Starts as {0}. */
struct lm_decoding {
    size_t tokens;    /* so far */
    int64_t stripped; /* characters taken off the beginning of the text */
    bool begun;       /* nothing more is taken off there */
    bool whole_runs;  /* bytes in a row (byte fallback) that are not UTF-8 together become U+FFFD each */
    size_t run;       /* such bytes at the end of the output */
};
/* Appends what a token gives, for decoders that decode alone; and what is due at the end. */
int lm_decode_token(const struct lm_tokenizer *tokenizer, int32_t id, struct lm_decoding *decoding,
                    struct lm_bytes *out, loam_error *error);
int lm_decode_end(struct lm_decoding *decoding, struct lm_bytes *out, loam_error *error);
/* Any decoder: appends what the tokens give together. */
int lm_decode_list(const struct lm_tokenizer *tokenizer, const int32_t *ids, size_t count, struct lm_bytes *out,
                   loam_error *error);
/* Whether what comes behind the token may change its own text: a byte of a run. */
bool lm_decoder_waits(const struct lm_tokenizer *tokenizer, int32_t id);
/* Whether every token decodes alone. */
bool lm_decoder_alone(const struct lm_stages *stages);
size_t lm_broken_length(const char *text, size_t length);

/* Takes over no memory: copies. The id must be in the vocabulary. */
int lm_added_push(struct lm_tokenizer *tokenizer, const struct lm_added *added, loam_error *error);
/* An added token of another list: its flags (where `flags`) go before those known; one whose content or id the
 * vocabulary gives otherwise is left out. lm_tokenizer_refresh is due behind the last. */
int lm_added_put(struct lm_tokenizer *tokenizer, const struct lm_added *added, bool flags, loam_error *error);
/* Builds anew what depends on added tokens. */
int lm_tokenizer_refresh(struct lm_tokenizer *tokenizer, loam_error *error);
/* Builds the two tries anew. */
int lm_added_index(struct lm_tokenizer *tokenizer, loam_error *error);
/* Where the next added token of the trie lies at or behind `at`. */
bool lm_added_next(const struct lm_tokenizer *tokenizer, const struct lm_trie *trie, const char *text, size_t length,
                   size_t at, unsigned flags, const struct lm_added **added, size_t *start, size_t *end);
void lm_trie_free(struct lm_trie *trie);

/* An empty tokenizer with its tables made. */
int lm_tokenizer_new(struct lm_tokenizer **tokenizer, loam_error *error);
/* Id of the token whose key in a file is `key`, or -1. */
int32_t lm_tokenizer_find_key(const struct lm_tokenizer *tokenizer, const char *key, size_t length);
/* Appends a token's key. */
int lm_tokenizer_key(const struct lm_tokenizer *tokenizer, int32_t id, struct lm_bytes *out, loam_error *error);
/* Reads the pipeline (members normalizer, pre_tokenizer, decoder of `root`) before the vocabulary is there … */
int lm_tokenizer_pipeline(struct lm_tokenizer *tokenizer, const struct lm_document *document,
                          const struct lm_value *root, loam_error *error);
/* … and what depends on the vocabulary (post_processor, added tokens, the model's tables) when it is. The last step of
 * every reader; looks for holes among the ids. */
int lm_tokenizer_assemble(struct lm_tokenizer *tokenizer, const struct lm_document *document,
                          const struct lm_value *root, loam_error *error);

/* Readers of the formats. `name` is what messages call the input. */
int lm_tokenizer_from_json(const char *text, size_t length, const char *name, struct lm_tokenizer **tokenizer,
                           loam_error *error);
int lm_tokenizer_to_json(const struct lm_tokenizer *tokenizer, struct lm_bytes *out, loam_error *error);
/* tokenizer_config.json and special_tokens_map.json of a directory, where they are there. */
int lm_settings_read(struct lm_tokenizer *tokenizer, const char *directory, loam_error *error);
int lm_settings_write(const struct lm_tokenizer *tokenizer, const char *directory, loam_error *error);

/* Any vocabulary that is one file, by its content. */
int lm_tokenizer_from_bytes(const char *data, size_t size, const char *name, const char *family,
                            struct lm_tokenizer **tokenizer, loam_error *error);
/* gguf.c: a tokenizer out of a GGUF file in memory. */
int lm_tokenizer_from_gguf(const char *data, size_t size, const char *name, struct lm_tokenizer **tokenizer, loam_error *error);

#endif
