/* Finding out what a file or directory holds, and saving. */
#include "internal.h"
#include "readers.h"

/* Files of one pair have names that go together: "xvocab.json" and "xmerges.txt". */
static const struct {
    const char *vocabulary, *merges;
} pairs[] = {{"vocab.json", "merges.txt"}, {"encoder.json", "vocab.bpe"}, {"encoder.json", "merges.txt"}};
enum { PAIRS = sizeof pairs / sizeof *pairs };

static bool ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && !strcmp(text + length - tail, end);
}

/* `path` with `end` in place of its last `old` bytes. */
static char *renamed(const char *path, size_t old, const char *end, loam_error *error)
{
    struct lm_bytes text = {0};
    if (lm_bytes_append(&text, path, strlen(path) - old, error) != LOAM_OK ||
        lm_bytes_append(&text, end, strlen(end), error) != LOAM_OK) {
        lm_bytes_free(&text);
        return NULL;
    }
    return text.data;
}

static int load_pair(const char *vocabulary, const char *merges, const char *family, struct lm_tokenizer **tokenizer,
                     loam_error *error)
{
    struct lm_mapping one, two;
    int code = lm_file_map(vocabulary, &one, error);
    if (code != LOAM_OK)
        return code;
    code = lm_file_map(merges, &two, error);
    if (code == LOAM_OK) {
        code = lm_tokenizer_from_merges((const char *)one.data, one.size, vocabulary, (const char *)two.data, two.size,
                                        merges, family, tokenizer, error);
        lm_file_unmap(&two);
    }
    lm_file_unmap(&one);
    return code;
}

/* One file of a pair: the other lies beside it. *found: whether `path` is named like one. */
static int load_half(const char *path, const char *family, struct lm_tokenizer **tokenizer, bool *found,
                     loam_error *error)
{
    bool named = false;
    *found = false;
    for (int i = 0; i < PAIRS; i++) {
        const bool vocabulary = ends_with(path, pairs[i].vocabulary), merges = ends_with(path, pairs[i].merges);
        if (!vocabulary && !merges)
            continue;
        named = true;
        char *other = vocabulary ? renamed(path, strlen(pairs[i].vocabulary), pairs[i].merges, error)
                                 : renamed(path, strlen(pairs[i].merges), pairs[i].vocabulary, error);
        if (!other)
            return LOAM_ENOMEM;
        int code = LOAM_OK;
        if (lm_file_exists(other)) {
            *found = true;
            code = vocabulary ? load_pair(path, other, family, tokenizer, error)
                              : load_pair(other, path, family, tokenizer, error);
        }
        lm_free(other);
        if (*found)
            return code;
    }
    if (!named)
        return LOAM_OK;
    *found = true;
    return lm_fail(error, LOAM_ENOTFOUND,
                   "%s: found no file that goes with it: a vocabulary vocab.json and merges.txt (or encoder.json and "
                   "vocab.bpe) lie side by side",
                   path);
}

/* A vocabulary without merges beside a tokenizer.json has no member "model". */
static bool is_json(const char *data, size_t size)
{
    size_t at = 0;
    while (at < size && strchr(" \t\r\n", data[at]) && data[at])
        at++;
    return at < size && data[at] == '{';
}

int lm_tokenizer_from_bytes(const char *data, size_t size, const char *name, const char *family,
                            struct lm_tokenizer **tokenizer, loam_error *error)
{
    if (size >= 4 && !memcmp(data, "GGUF", 4))
        return lm_tokenizer_from_gguf(data, size, name, tokenizer, error);
    if (is_json(data, size) || ends_with(name, ".json"))
        return lm_tokenizer_from_json(data, size, name, tokenizer, error);
    if (lm_looks_like_ranks(data, size))
        return lm_tokenizer_from_ranks(data, size, name, family, tokenizer, error);
    /* A SentencePiece model begins with its first piece: field 1, bytes. */
    if (size >= 2 && data[0] == 0x0A)
        return lm_tokenizer_from_sentencepiece(data, size, name, tokenizer, error);
    if (lm_looks_like_llama2c(data, size))
        return lm_tokenizer_from_llama2c(data, size, name, tokenizer, error);
    return lm_fail(error, LOAM_EFORMAT,
                   "%s: found no vocabulary in it, wanted a tokenizer.json, a tiktoken rank file, a SentencePiece model, "
                   "a GGUF file, a vocab.json beside its merges.txt, or llama2.c's tokenizer.bin",
                   name);
}

static int load_file(const char *path, const char *family, struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct lm_mapping mapping;
    bool half = false;
    int code = load_half(path, family, tokenizer, &half, error);
    if (half || code != LOAM_OK)
        return code;
    code = lm_file_map(path, &mapping, error);
    if (code != LOAM_OK)
        return code;
    code = lm_tokenizer_from_bytes((const char *)mapping.data, mapping.size, path, family, tokenizer, error);
    lm_file_unmap(&mapping);
    return code;
}

/* The file of a directory that holds its vocabulary: the first of these names, else the only *.tiktoken. */
static int find_file(const char *directory, char **path, loam_error *error)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "vocab.json", "encoder.json", "tokenizer.bin"};
    char **list;
    size_t count, best = SIZE_MAX, rank = sizeof names / sizeof *names + 1;
    int code = lm_list_directory(directory, &list, &count, error);
    if (code != LOAM_OK)
        return code;
    for (size_t i = 0; i < count; i++) {
        size_t here = 0;
        while (here < sizeof names / sizeof *names && strcmp(names[here], list[i]) != 0)
            here++;
        if (here == sizeof names / sizeof *names && !ends_with(list[i], ".tiktoken"))
            continue;
        if (here < rank) {
            rank = here;
            best = i;
        }
    }
    *path = best < count ? lm_path_join(directory, list[best], error) : NULL;
    if (best == SIZE_MAX)
        code = lm_fail(error, LOAM_ENOTFOUND,
                       "%s: no tokenizer.json there, and no tokenizer.model, *.tiktoken, vocab.json or tokenizer.bin",
                       directory);
    else if (!*path)
        code = LOAM_ENOMEM;
    lm_free_strings(list, count);
    return code;
}

static int load_directory(const char *directory, const char *family, struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct lm_tokenizer *made = NULL;
    char *path;
    int code = find_file(directory, &path, error);
    if (code != LOAM_OK)
        return code;
    code = load_file(path, family, &made, error);
    lm_free(path);
    if (code == LOAM_OK)
        code = lm_settings_read(made, directory, error);
    if (code == LOAM_OK)
        *tokenizer = made;
    else
        lm_tokenizer_free(made);
    return code;
}

int lm_tokenizer_load_as(const char *path, const char *family, struct lm_tokenizer **tokenizer, loam_error *error)
{
    if (family && !lm_family_named(family))
        return lm_fail(error, LOAM_EUSAGE, "family '%s': wanted %s", family, lm_family_names());
    return lm_is_directory(path) ? load_directory(path, family, tokenizer, error)
                                 : load_file(path, family, tokenizer, error);
}

int lm_tokenizer_load(const char *path, struct lm_tokenizer **tokenizer, loam_error *error)
{
    return lm_tokenizer_load_as(path, NULL, tokenizer, error);
}

int lm_tokenizer_save(const struct lm_tokenizer *tokenizer, const char *directory, loam_error *error)
{
    struct lm_bytes text = {0};
    char *path = lm_path_join(directory, "tokenizer.json", error);
    if (!path)
        return LOAM_ENOMEM;
    int code = lm_tokenizer_to_json(tokenizer, &text, error);
    if (code == LOAM_OK)
        code = lm_file_replace(path, text.data, text.length, error);
    if (code == LOAM_OK)
        code = lm_settings_write(tokenizer, directory, error);
    lm_bytes_free(&text);
    lm_free(path);
    return code;
}
