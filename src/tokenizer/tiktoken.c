/* tiktoken's rank files: a token in base64 and its rank, a blank between, a line each. The rank is the id, and of two
 * neighbours those are joined first whose join has the lowest rank. tokenizer.json has merges in its place: every way
 * to put a token together of two others. */
#include "base64.h"
#include "byte_alphabet.h"
#include "describe.h"
#include "internal.h"
#include "readers.h"

#include <stdlib.h>

enum { TOKEN_BYTES = 1 << 15, RANKS_MOST = 1 << 24 };

struct ranks {
    struct lm_vocabulary vocabulary; /* tokens as bytes */
    const char *name;
    loam_error *error;
};

struct merge {
    int32_t whole, left, right;
};
struct merges {
    struct merge *data;
    size_t count, capacity;
};

/* The next line, without its end; false behind the last. */
static bool next_line(const char **at, const char *end, const char **line, size_t *length)
{
    if (*at == end)
        return false;
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    *line = *at;
    *length = (size_t)((stop ? stop : end) - *at);
    *at = stop ? stop + 1 : end;
    if (*length && (*line)[*length - 1] == '\r')
        --*length;
    return true;
}

/* "aGVsbG8= 257" */
static bool split_line(const char *line, size_t length, size_t *text, int64_t *rank)
{
    const char *blank = memchr(line, ' ', length);
    if (!blank || blank == line)
        return false;
    *text = (size_t)(blank - line);
    *rank = 0;
    size_t digits = 0;
    for (size_t i = *text + 1; i < length; i++, digits++) {
        if (line[i] < '0' || line[i] > '9' || digits > 9)
            return false;
        *rank = *rank * 10 + (line[i] - '0');
    }
    return digits > 0;
}

bool lm_looks_like_ranks(const char *data, size_t size)
{
    const char *at = data, *line;
    size_t length, text;
    int64_t rank;
    struct lm_bytes bytes = {0};
    bool good = size && next_line(&at, data + size, &line, &length) && length < 256 &&
                split_line(line, length, &text, &rank) && lm_base64_read(line, text, &bytes, NULL);
    lm_bytes_free(&bytes);
    return good;
}

static int read_line(struct ranks *ranks, const char *line, size_t length, size_t number)
{
    struct lm_bytes bytes = {0};
    size_t text;
    int64_t rank;
    loam_error why = {0};
    int code = LOAM_EFORMAT;
    if (!split_line(line, length, &text, &rank))
        lm_fail(&why, code, "found '%.*s', wanted a token in base64, a blank and its rank",
                (int)(length < 40 ? length : 40), line);
    else if (!lm_base64_read(line, text, &bytes, &why) || !bytes.length || bytes.length > TOKEN_BYTES)
        code = why.code == LOAM_ENOMEM ? LOAM_ENOMEM
                                       : lm_fail(&why, code, "found '%.*s', wanted 1 to %d bytes in base64",
                                                 (int)(text < 40 ? text : 40), line, TOKEN_BYTES);
    else if (rank >= RANKS_MOST)
        lm_fail(&why, code, "found rank %lld, wanted less than %d", (long long)rank, RANKS_MOST);
    else
        code = lm_vocabulary_add(&ranks->vocabulary, rank, bytes.data, bytes.length, 0, &why);
    lm_bytes_free(&bytes);
    return code == LOAM_OK ? code : lm_fail(ranks->error, code, "%s:%zu: %s", ranks->name, number, why.message);
}

static int read_lines(struct ranks *ranks, const char *data, size_t size)
{
    const char *at = data, *line;
    size_t length, number = 0;
    int code = LOAM_OK;
    while (code == LOAM_OK && next_line(&at, data + size, &line, &length)) {
        number++;
        if (length)
            code = read_line(ranks, line, length, number);
    }
    if (code != LOAM_OK)
        return code;
    int64_t hole = lm_vocabulary_hole(&ranks->vocabulary, ranks->vocabulary.size);
    if (hole >= 0 || !ranks->vocabulary.size)
        return lm_fail(ranks->error, LOAM_EFORMAT, "%s: no token has rank %lld, but the largest is %zu; fetch the file again",
                       ranks->name, (long long)(hole < 0 ? 0 : hole), ranks->vocabulary.size);
    return LOAM_OK;
}

static const struct lm_family *family_of(const struct ranks *ranks, const char *family)
{
    const size_t count = ranks->vocabulary.size;
    size_t length;
    const char *last = lm_vocabulary_text(&ranks->vocabulary, (int32_t)count - 1, &length);
    const struct lm_family *found = family ? lm_family_named(family) : lm_family_of_ranks(count, last, length);
    if (found)
        return found;
    if (family)
        lm_fail(ranks->error, LOAM_EUSAGE, "family '%s': wanted %s", family, lm_family_names());
    else
        lm_fail(ranks->error, LOAM_EUNSUPPORTED,
                "%s: found %zu ranks, which are none of the known families' files; say how texts are split with "
                "--family %s",
                ranks->name, count, lm_family_names());
    return NULL;
}

static int push_merge(struct merges *merges, struct merge merge, loam_error *error)
{
    if (merges->count == merges->capacity) {
        const size_t capacity = merges->capacity ? 2 * merges->capacity : 1 << 16;
        struct merge *grown = lm_resize(merges->data, capacity, sizeof *grown, error);
        if (!grown)
            return LOAM_ENOMEM;
        merges->data = grown;
        merges->capacity = capacity;
    }
    merges->data[merges->count++] = merge;
    return LOAM_OK;
}

static int by_ids(const void *left, const void *right)
{
    const struct merge *a = left, *b = right;
    return a->left != b->left ? (a->left < b->left ? -1 : 1) : (a->right > b->right) - (a->right < b->right);
}

static int find_merges(const struct ranks *ranks, struct merges *merges)
{
    const struct lm_vocabulary *vocabulary = &ranks->vocabulary;
    int code = LOAM_OK;
    for (size_t id = 0; code == LOAM_OK && id < vocabulary->size; id++) {
        size_t length, first = merges->count;
        const char *text = lm_vocabulary_text(vocabulary, (int32_t)id, &length);
        for (size_t cut = 1; code == LOAM_OK && cut < length; cut++) {
            const int32_t left = lm_vocabulary_find(vocabulary, text, cut, false);
            const int32_t right = left < 0 ? -1 : lm_vocabulary_find(vocabulary, text + cut, length - cut, false);
            if (right >= 0)
                code = push_merge(merges, (struct merge){(int32_t)id, left, right}, ranks->error);
        }
        if (merges->count - first > 1)
            qsort(merges->data + first, merges->count - first, sizeof *merges->data, by_ids);
    }
    return code;
}

static int put_key(struct lm_json_writer *json, const struct lm_vocabulary *vocabulary, int32_t id, struct lm_bytes *key,
                   bool member, loam_error *error)
{
    size_t length;
    const char *text = lm_vocabulary_text(vocabulary, id, &length);
    key->length = 0;
    int code = lm_alphabet_write(key, text, length, error);
    if (code != LOAM_OK)
        return code;
    if (member)
        lm_json_key_text(json, key->data, key->length);
    else
        lm_json_string(json, key->data, key->length);
    return LOAM_OK;
}

static int put_model(struct lm_json_writer *json, const struct ranks *ranks, const struct merges *merges)
{
    const struct lm_vocabulary *vocabulary = &ranks->vocabulary;
    struct lm_bytes key = {0};
    int code = LOAM_OK;
    lm_json_key(json, "model");
    lm_json_begin_object(json);
    lm_put_text(json, "type", "BPE");
    lm_put_flag(json, "ignore_merges", true); /* a piece that is a token is taken whole */
    lm_json_key(json, "vocab");
    lm_json_begin_object(json);
    for (size_t id = 0; code == LOAM_OK && id < vocabulary->size; id++) {
        code = put_key(json, vocabulary, (int32_t)id, &key, true, ranks->error);
        lm_json_int(json, (int64_t)id);
    }
    lm_json_end_object(json);
    lm_json_key(json, "merges");
    lm_json_begin_array(json);
    for (size_t i = 0; code == LOAM_OK && i < merges->count; i++) {
        lm_json_begin_array(json);
        code = put_key(json, vocabulary, merges->data[i].left, &key, false, ranks->error);
        if (code == LOAM_OK)
            code = put_key(json, vocabulary, merges->data[i].right, &key, false, ranks->error);
        lm_json_end_array(json);
    }
    lm_json_end_array(json);
    lm_json_end_object(json);
    lm_bytes_free(&key);
    return code;
}

/* A family named for a file of another number of ranks has its special tokens right behind the file's. */
void lm_family_put_added(struct lm_json_writer *json, const struct lm_family *family, int64_t ranks)
{
    const int64_t gap = family->tokens[0].id - ranks, away = gap < 0 || gap > 4 ? -gap : 0;
    lm_json_key(json, "added_tokens");
    lm_json_begin_array(json);
    for (const struct lm_family_token *token = family->tokens; token->content; token++)
        for (int n = token->first; n <= token->last; n++) {
            char content[64];
            const char *place = strstr(token->content, "%d");
            if (place)
                snprintf(content, sizeof content, "%.*s%d%s", (int)(place - token->content), token->content, n, place + 2);
            else
                snprintf(content, sizeof content, "%s", token->content);
            lm_put_added(json, token->id + away + n - token->first, content, strlen(content), !token->plain);
        }
    lm_json_end_array(json);
}

void lm_family_put_parts(struct lm_json_writer *json, const struct lm_family *family)
{
    size_t count = 0;
    while (count < 4 && family->patterns[count])
        count++;
    if (family->composes) {
        lm_json_key(json, "normalizer");
        lm_put_simple(json, "NFC", NULL, NULL);
    }
    lm_put_byte_level_parts(json, family->patterns, count);
}

static int32_t find(const struct lm_tokenizer *tokenizer, const char *content)
{
    return content ? lm_tokenizer_find(tokenizer, content, strlen(content)) : -1;
}

int lm_family_set_specials(struct lm_tokenizer *tokenizer, const struct lm_family *family, loam_error *error)
{
    return lm_tokenizer_set_bos_eos_pad(tokenizer, find(tokenizer, family->bos), find(tokenizer, family->eos),
                                        find(tokenizer, family->pad), error);
}

static int build(const struct ranks *ranks, const struct lm_family *family, struct lm_tokenizer **tokenizer)
{
    struct merges merges = {0};
    struct lm_bytes text = {0};
    struct lm_json_writer json = lm_json_writer(&text, -1);
    int code = find_merges(ranks, &merges);
    lm_json_begin_object(&json);
    lm_put_text(&json, "version", "1.0");
    lm_family_put_added(&json, family, (int64_t)ranks->vocabulary.size);
    lm_family_put_parts(&json, family);
    if (code == LOAM_OK)
        code = put_model(&json, ranks, &merges);
    lm_free(merges.data);
    lm_json_end_object(&json);
    if (code == LOAM_OK)
        code = lm_json_writer_finish(&json, ranks->error);
    if (code == LOAM_OK)
        code = lm_tokenizer_from_json(text.data, text.length, ranks->name, tokenizer, ranks->error);
    lm_bytes_free(&text);
    return code;
}

int lm_tokenizer_from_ranks(const char *data, size_t size, const char *name, const char *family,
                            struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct ranks ranks = {.name = name, .error = error};
    loam_error spare;
    if (!error)
        ranks.error = &spare;
    struct lm_tokenizer *made = NULL;
    int code = read_lines(&ranks, data, size);
    const struct lm_family *found = code == LOAM_OK ? family_of(&ranks, family) : NULL;
    if (found)
        code = build(&ranks, found, &made);
    else if (code == LOAM_OK)
        code = ranks.error->code;
    lm_vocabulary_free(&ranks.vocabulary);
    if (code == LOAM_OK)
        code = lm_family_set_specials(made, found, error);
    if (code == LOAM_OK)
        *tokenizer = made;
    else
        lm_tokenizer_free(made);
    return code;
}
