/* GPT-2's pair of files: vocab.json (or encoder.json), an object of keys in the byte alphabet and ids, and merges.txt
 * (or vocab.bpe), a merge a line behind a line "#version". The vocabulary holds special tokens as well. */
#include "describe.h"
#include "internal.h"
#include "readers.h"

/* Tokens of such vocabularies that no text gives: GPT-2's and RoBERTa's. */
static const char *const specials[] = {"<|endoftext|>", "<s>", "</s>", "<unk>", "<pad>", "<mask>"};
enum { SPECIALS = sizeof specials / sizeof *specials };

/* The vocabulary as it is written, so that complaints name its file and place. */
static int read_vocabulary(const struct lm_document *document, const struct lm_value *root,
                           struct lm_vocabulary *vocabulary, loam_error *error)
{
    int code = lm_vocabulary_reserve(vocabulary, root->length, error);
    for (size_t i = 0; code == LOAM_OK && i < root->length; i++) {
        int64_t id;
        loam_error why = {0};
        code = lm_value_int(document, &root->items[i], 0, LM_TOKEN_LIMIT - 1, &id, error);
        if (code != LOAM_OK)
            return code;
        code = lm_vocabulary_add(vocabulary, id, root->keys[i].text, root->keys[i].length, 0, &why);
        if (code != LOAM_OK)
            return code == LOAM_EFORMAT ? lm_value_fail(document, &root->items[i], error, "%s", why.message)
                                        : lm_fail(error, code, "%s", why.message);
    }
    return code;
}

/* The two halves and the whole of a merge are tokens. */
static int check_merge(const struct lm_vocabulary *vocabulary, const char *line, size_t left, size_t length,
                       const char *name, size_t number, loam_error *error)
{
    char whole[1 << 13];
    const size_t right = length - left - 1;
    const char *missing = NULL;
    size_t missing_length = 0;
    if (length > sizeof whole)
        return lm_fail(error, LOAM_EFORMAT, "%s:%zu: found a merge of %zu bytes, wanted at most %zu", name, number, length,
                       sizeof whole);
    memcpy(whole, line, left);
    memcpy(whole + left, line + left + 1, right);
    if (lm_vocabulary_find(vocabulary, line, left, false) < 0) {
        missing = line;
        missing_length = left;
    } else if (lm_vocabulary_find(vocabulary, line + left + 1, right, false) < 0) {
        missing = line + left + 1;
        missing_length = right;
    } else if (lm_vocabulary_find(vocabulary, whole, left + right, false) < 0) {
        missing = whole;
        missing_length = left + right;
    }
    if (!missing)
        return LOAM_OK;
    return lm_fail(error, LOAM_EFORMAT, "%s:%zu: merge of an unknown token: '%.*s' is not in the vocabulary", name, number,
                   (int)(missing_length < 80 ? missing_length : 80), missing);
}

static int put_merges(struct lm_json_writer *json, const struct lm_vocabulary *vocabulary, const char *text, size_t size,
                      const char *name, loam_error *error)
{
    const char *at = text, *end = text + size;
    lm_json_key(json, "merges");
    lm_json_begin_array(json);
    for (size_t number = 1; at < end; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        const char *line = at;
        at = stop ? stop + 1 : end;
        if (length && line[length - 1] == '\r')
            length--;
        if (!length || (number == 1 && length >= 8 && !memcmp(line, "#version", 8)))
            continue;
        const char *blank = memchr(line, ' ', length);
        const size_t left = blank ? (size_t)(blank - line) : 0;
        if (!left || left + 1 == length || memchr(blank + 1, ' ', length - left - 1) ||
            lm_utf8_check(line, length) != length)
            return lm_fail(error, LOAM_EFORMAT, "%s:%zu: found '%.*s', wanted two tokens with a blank between them", name,
                           number, (int)(length < 60 ? length : 60), line);
        const int code = check_merge(vocabulary, line, left, length, name, number, error);
        if (code != LOAM_OK)
            return code;
        lm_json_begin_array(json);
        lm_json_string(json, line, left);
        lm_json_string(json, blank + 1, length - left - 1);
        lm_json_end_array(json);
    }
    lm_json_end_array(json);
    return LOAM_OK;
}

static int put_added(struct lm_json_writer *json, const struct lm_document *document, const struct lm_value *root,
                     const struct lm_family *family, loam_error *error)
{
    int code = LOAM_OK;
    /* A vocabulary without the family's special tokens gets them behind its own. */
    bool there = false;
    for (const struct lm_family_token *token = family->tokens; token->content; token++)
        there |= lm_value_find(root, token->content) != NULL;
    if (!there && strcmp(family->name, "gpt2") != 0) {
        lm_family_put_added(json, family, (int64_t)root->length);
        return LOAM_OK;
    }
    lm_json_key(json, "added_tokens");
    lm_json_begin_array(json);
    for (int i = 0; code == LOAM_OK && i < SPECIALS; i++) {
        const struct lm_value *value = lm_value_find(root, specials[i]);
        int64_t id;
        if (!value)
            continue;
        code = lm_value_int(document, value, 0, LM_TOKEN_LIMIT - 1, &id, error);
        if (code == LOAM_OK)
            lm_put_added(json, id, specials[i], strlen(specials[i]), true);
    }
    lm_json_end_array(json);
    return code;
}

/* Qwen2's pair has its ranks; every other is taken for GPT-2's. */
static const struct lm_family *guess(const struct lm_value *root)
{
    return root->length == 151643 ? lm_family_named("qwen2") : lm_family_named("gpt2");
}

int lm_tokenizer_from_merges(const char *vocabulary, size_t vocabulary_size, const char *vocabulary_name,
                             const char *merges, size_t merges_size, const char *merges_name, const char *family,
                             struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct lm_document *document;
    struct lm_vocabulary tokens = {0};
    struct lm_bytes text = {0};
    struct lm_tokenizer *made = NULL;
    int code = lm_json_parse(vocabulary, vocabulary_size, vocabulary_name, &document, error);
    if (code != LOAM_OK)
        return code;
    const struct lm_value *root = lm_document_root(document);
    const struct lm_family *found = family ? lm_family_named(family) : guess(root);
    if (root->kind != LM_OBJECT || !root->length)
        code = lm_value_fail(document, root, error, "wanted an object of tokens and ids");
    else if (!found)
        code = lm_fail(error, LOAM_EUSAGE, "family '%s': wanted %s", family, lm_family_names());
    if (code == LOAM_OK)
        code = read_vocabulary(document, root, &tokens, error);
    struct lm_json_writer json = lm_json_writer(&text, -1);
    lm_json_begin_object(&json);
    lm_put_text(&json, "version", "1.0");
    if (code == LOAM_OK)
        code = put_added(&json, document, root, found, error);
    if (code == LOAM_OK) {
        lm_family_put_parts(&json, found);
        lm_json_key(&json, "model");
        lm_json_begin_object(&json);
        lm_put_text(&json, "type", "BPE");
        lm_json_key(&json, "vocab");
        lm_json_value(&json, root);
        code = put_merges(&json, &tokens, merges, merges_size, merges_name, error);
        lm_json_end_object(&json);
    }
    lm_json_end_object(&json);
    lm_document_free(document);
    lm_vocabulary_free(&tokens);
    if (code == LOAM_OK)
        code = lm_json_writer_finish(&json, error);
    if (code == LOAM_OK)
        code = lm_tokenizer_from_json(text.data, text.length, vocabulary_name, &made, error);
    if (code == LOAM_OK)
        code = lm_family_set_specials(made, found, error);
    lm_bytes_free(&text);
    if (code == LOAM_OK)
        *tokenizer = made;
    else
        lm_tokenizer_free(made);
    return code;
}
