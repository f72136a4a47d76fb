/* Added tokens: found in the text before anything else is done with it, longest first. */
#include "internal.h"

enum { CONTENT_LIMIT = 4096 }; /* bytes of an added token: bounds the work at each byte of a text */

void lm_trie_free(struct lm_trie *trie)
{
    lm_free(trie->nodes);
    *trie = (struct lm_trie){0};
}

int lm_added_push(struct lm_tokenizer *tokenizer, const struct lm_added *added, loam_error *error)
{
    if (!added->length || added->length > CONTENT_LIMIT)
        return lm_fail(error, LOAM_EFORMAT, "added token %d: found %zu bytes, wanted 1 to %d", added->id, added->length,
                       CONTENT_LIMIT);
    if (tokenizer->added_count == tokenizer->added_capacity) {
        size_t capacity = tokenizer->added_capacity ? tokenizer->added_capacity * 2 : 16;
        struct lm_added *grown = lm_resize(tokenizer->added, capacity, sizeof *grown, error);
        if (!grown)
            return LOAM_ENOMEM;
        tokenizer->added = grown;
        tokenizer->added_capacity = capacity;
    }
    struct lm_added copy = *added;
    copy.content = lm_copy_string(added->content, added->length, error);
    if (!copy.content)
        return LOAM_ENOMEM;
    tokenizer->added[tokenizer->added_count++] = copy;
    tokenizer->vocabulary.flags[added->id] |= (uint8_t)(LM_TOKEN_ADDED | (added->special ? LM_TOKEN_SPECIAL : 0));
    return LOAM_OK;
}

int lm_added_put(struct lm_tokenizer *tokenizer, const struct lm_added *added, bool flags, loam_error *error)
{
    enum { GAP = 4096 };
    struct lm_vocabulary *vocabulary = &tokenizer->vocabulary;
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        struct lm_added *known = &tokenizer->added[i];
        if (known->length != added->length || memcmp(known->content, added->content, added->length) != 0)
            continue;
        if (!flags || known->id != added->id)
            return LOAM_OK;
        char *content = known->content;
        *known = *added;
        known->content = content;
        const unsigned special = added->special ? LM_TOKEN_SPECIAL : 0;
        vocabulary->flags[known->id] = (uint8_t)((vocabulary->flags[known->id] & ~LM_TOKEN_SPECIAL) | special);
        return LOAM_OK;
    }
    const int32_t known = lm_tokenizer_find_key(tokenizer, added->content, added->length);
    const bool taken = (size_t)added->id < vocabulary->size && vocabulary->flags[added->id];
    if ((known >= 0 && known != added->id) || (known < 0 && taken) || (size_t)added->id > vocabulary->size + GAP)
        return LOAM_OK;
    int code = known >= 0 ? LOAM_OK
                          : lm_vocabulary_add(vocabulary, added->id, added->content, added->length, LM_TOKEN_OUTSIDE,
                                              error);
    return code == LOAM_OK ? lm_added_push(tokenizer, added, error) : code;
}

static int32_t *child_of(struct lm_trie *trie, int32_t *list, unsigned char byte, bool root)
{
    if (root)
        return &trie->first[byte];
    while (*list >= 0 && trie->nodes[*list].byte != byte)
        list = &trie->nodes[*list].sibling;
    return list;
}

/* `nodes` has room. */
static void trie_add(struct lm_trie *trie, const char *text, size_t length, int32_t added)
{
    int32_t node = -1;
    for (size_t i = 0; i < length; i++) {
        int32_t *place = child_of(trie, i ? &trie->nodes[node].child : NULL, (unsigned char)text[i], i == 0);
        if (*place < 0) {
            trie->nodes[trie->count] = (struct lm_trie_node){-1, -1, -1, (unsigned char)text[i]};
            *place = (int32_t)trie->count++;
        }
        node = *place;
    }
    if (node >= 0 && trie->nodes[node].added < 0)
        trie->nodes[node].added = added;
}

static int trie_start(struct lm_trie *trie, size_t bytes, loam_error *error)
{
    lm_trie_free(trie);
    memset(trie->first, 0xff, sizeof trie->first);
    trie->only = -1;
    if (!bytes)
        return LOAM_OK;
    if (bytes >= INT32_MAX)
        return lm_fail(error, LOAM_EFORMAT, "the added tokens have %zu bytes, wanted less than 2 GiB", bytes);
    trie->nodes = lm_resize(NULL, bytes, sizeof *trie->nodes, error);
    return trie->nodes ? LOAM_OK : LOAM_ENOMEM;
}

static void trie_finish(struct lm_trie *trie)
{
    int firsts = 0;
    for (int byte = 0; byte < 256; byte++)
        if (trie->first[byte] >= 0) {
            firsts++;
            trie->only = byte;
        }
    if (firsts != 1)
        trie->only = -1;
}

/* The contents matched behind the normalizer are normalized themselves. */
static int normal_contents(struct lm_tokenizer *tokenizer, struct lm_bytes *all, size_t *ends, loam_error *error)
{
    struct lm_workspace *workspace;
    int code = lm_pool_take(tokenizer->pool, &workspace, error);
    if (code != LOAM_OK)
        return code;
    for (size_t i = 0; code == LOAM_OK && i < tokenizer->added_count; i++) {
        const struct lm_added *added = &tokenizer->added[i];
        struct lm_span span = {added->content, added->length, 0, NULL, true}, normal = {0};
        if (added->normalized)
            code = lm_normalize(tokenizer, workspace, &span, false, &normal, error);
        if (code == LOAM_OK && normal.length)
            code = lm_bytes_append(all, normal.text, normal.length, error);
        ends[i] = all->length;
    }
    lm_pool_give(tokenizer->pool, workspace);
    return code;
}

int lm_added_index(struct lm_tokenizer *tokenizer, loam_error *error)
{
    size_t raw = 0, count = tokenizer->added_count;
    for (size_t i = 0; i < count; i++)
        raw += tokenizer->added[i].normalized ? 0 : tokenizer->added[i].length;
    struct lm_bytes contents = {0};
    size_t *ends = lm_alloc(count + 1, sizeof *ends, error);
    int code = ends ? normal_contents(tokenizer, &contents, ends, error) : LOAM_ENOMEM;
    if (code == LOAM_OK)
        code = trie_start(&tokenizer->raw, raw, error);
    if (code == LOAM_OK)
        code = trie_start(&tokenizer->normal, contents.length, error);
    for (size_t i = 0; code == LOAM_OK && i < count; i++) {
        const struct lm_added *added = &tokenizer->added[i];
        size_t start = i ? ends[i - 1] : 0;
        if (added->normalized)
            trie_add(&tokenizer->normal, contents.data + start, ends[i] - start, (int32_t)i);
        else
            trie_add(&tokenizer->raw, added->content, added->length, (int32_t)i);
    }
    if (code == LOAM_OK) {
        trie_finish(&tokenizer->raw);
        trie_finish(&tokenizer->normal);
    }
    lm_free(ends);
    lm_bytes_free(&contents);
    return code;
}

static const struct lm_added *longest_at(const struct lm_tokenizer *tokenizer, const struct lm_trie *trie,
                                         const char *text, size_t length, unsigned flags, size_t *matched)
{
    const struct lm_added *best = NULL;
    int32_t node = trie->first[(unsigned char)text[0]];
    for (size_t i = 1; node >= 0; i++) {
        const struct lm_added *here = trie->nodes[node].added >= 0 ? &tokenizer->added[trie->nodes[node].added] : NULL;
        if (here && (!here->special || flags & LM_ENCODE_SPECIAL)) {
            best = here;
            *matched = i;
        }
        node = i < length ? trie->nodes[node].child : -1;
        while (node >= 0 && trie->nodes[node].byte != (unsigned char)text[i])
            node = trie->nodes[node].sibling;
    }
    return best;
}

static bool word_before(const char *text, size_t at)
{
    size_t start = at;
    while (start && at - start < 4 && ((unsigned char)text[--start] & 0xC0) == 0x80)
        ;
    uint32_t c;
    const unsigned char *bytes = (const unsigned char *)text;
    return at && lm_character(bytes + start, bytes + at, &c) == at - start && lm_is_word(c);
}

static bool word_behind(const char *text, size_t length, size_t at)
{
    uint32_t c;
    return at < length && lm_character((const unsigned char *)text + at, (const unsigned char *)text + length, &c) &&
           lm_is_word(c);
}

static size_t spaces_before(const char *text, size_t least, size_t at)
{
    const unsigned char *bytes = (const unsigned char *)text;
    while (at > least) {
        size_t start = at - 1;
        while (start > least && (bytes[start] & 0xC0) == 0x80)
            start--;
        uint32_t c;
        if (lm_character(bytes + start, bytes + at, &c) != at - start || !lm_is_white_space(c))
            break;
        at = start;
    }
    return at;
}

static size_t spaces_behind(const char *text, size_t length, size_t at)
{
    const unsigned char *bytes = (const unsigned char *)text;
    while (at < length) {
        uint32_t c;
        size_t n = lm_character(bytes + at, bytes + length, &c);
        if (!lm_is_white_space(c))
            break;
        at += n;
    }
    return at;
}

bool lm_added_next(const struct lm_tokenizer *tokenizer, const struct lm_trie *trie, const char *text, size_t length,
                   size_t at, unsigned flags, const struct lm_added **added, size_t *start, size_t *end)
{
    size_t from = at;
    while (trie->count && at < length) {
        if (trie->only >= 0) {
            const char *found = memchr(text + at, trie->only, length - at);
            if (!found)
                return false;
            at = (size_t)(found - text);
        } else if (trie->first[(unsigned char)text[at]] < 0) {
            at++;
            continue;
        }
        size_t matched = 0;
        const struct lm_added *here = longest_at(tokenizer, trie, text + at, length - at, flags, &matched);
        if (!here) {
            at++;
            continue;
        }
        if (here->single_word && (word_before(text, at) || word_behind(text, length, at + matched))) {
            at += matched;
            continue;
        }
        *added = here;
        *start = here->lstrip ? spaces_before(text, from, at) : at;
        *end = here->rstrip ? spaces_behind(text, length, at + matched) : at + matched;
        return true;
    }
    return false;
}
