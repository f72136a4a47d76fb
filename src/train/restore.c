/* Finding, checking and reading checkpoints. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

enum { PIECE = 1 << 20 };

int lm_file_hash(const char *path, uint64_t *hash, int64_t *bytes, loam_error *error)
{
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return lm_fail_errno(error, errno, "%s", path);
    unsigned char *piece = lm_alloc(PIECE, 1, error);
    XXH3_state_t state;
    int64_t total = 0;
    ssize_t got = 1;
    XXH3_64bits_reset(&state);
    while (piece && got > 0) {
        got = read(file, piece, PIECE);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0) {
            XXH3_64bits_update(&state, piece, (size_t)got);
            total += got;
        }
    }
    int code = !piece ? LOAM_ENOMEM : got < 0 ? lm_fail_errno(error, errno, "%s: cannot be read", path) : LOAM_OK;
    lm_free(piece);
    close(file);
    if (code == LOAM_OK) {
        *hash = XXH3_64bits_digest(&state);
        *bytes = total;
    }
    return code;
}

/* --- The seal: state.json ends in a checksum of all that stands before it --- */

static const char seal_key[] = ",\n  \"seal\": \"";

int lm_state_seal(struct lm_bytes *text, loam_error *error)
{
    while (text->length > 0 && (text->data[text->length - 1] == '\n' || text->data[text->length - 1] == '}')) {
        const bool brace = text->data[--text->length] == '}';
        if (brace)
            break;
    }
    while (text->length > 0 && text->data[text->length - 1] == '\n')
        text->length--;
    const uint64_t hash = XXH3_64bits(text->data, text->length);
    return lm_bytes_format(text, error, "%s%016" PRIx64 "\"\n}\n", seal_key, hash);
}

static bool seal_holds(const char *text, size_t length)
{
    const size_t key = sizeof seal_key - 1, tail = key + 16 + strlen("\"\n}\n");
    if (length < tail || memcmp(text + length - tail, seal_key, key) != 0)
        return false;
    char wanted[20];
    snprintf(wanted, sizeof wanted, "%016" PRIx64, (uint64_t)XXH3_64bits(text, length - tail));
    return memcmp(text + length - tail + key, wanted, 16) == 0;
}

/* --- Finding --- */

static int compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* "step-12" with a state.json in it. */
static bool is_checkpoint(const char *checkpoints, const char *name, int64_t *step)
{
    if (strncmp(name, "step-", 5) != 0 || lm_parse_int(name + 5, step, NULL) != LOAM_OK || *step < 0)
        return false;
    char *folder = lm_checkpoint_path(checkpoints, *step, NULL);
    char *marker = folder ? lm_path_join(folder, "state.json", NULL) : NULL;
    const bool there = marker && lm_file_exists(marker);
    lm_free(marker);
    lm_free(folder);
    return there;
}

int lm_checkpoint_list(const char *checkpoints, int64_t **steps, size_t *count, loam_error *error)
{
    char **names = NULL;
    size_t name_count = 0, used = 0;
    if (lm_is_directory(checkpoints)) {
        int code = lm_list_directory(checkpoints, &names, &name_count, error);
        if (code != LOAM_OK)
            return code;
    }
    int64_t *list = lm_alloc(name_count + 1, sizeof *list, error);
    for (size_t i = 0; list && i < name_count; i++)
        if (is_checkpoint(checkpoints, names[i], &list[used]))
            used++;
    lm_free_strings(names, name_count);
    if (!list)
        return LOAM_ENOMEM;
    qsort(list, used, sizeof *list, compare);
    *steps = list;
    *count = used;
    return LOAM_OK;
}

int lm_checkpoint_find(const char *checkpoints, char **path, loam_error *error)
{
    int64_t *steps;
    size_t count;
    int code = lm_checkpoint_list(checkpoints, &steps, &count, error);
    if (code != LOAM_OK)
        return code;
    char *found = count ? lm_checkpoint_path(checkpoints, steps[count - 1], error) : NULL;
    lm_free(steps);
    if (count && !found)
        return LOAM_ENOMEM;
    *path = found;
    return LOAM_OK;
}

/* --- Checking --- */

static int read_hex(const struct lm_document *document, const struct lm_value *value, uint64_t *out, loam_error *error)
{
    const char *text;
    int code = lm_value_string(document, value, &text, error);
    if (code != LOAM_OK)
        return code;
    char *end;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 16);
    if (strlen(text) != 16 || *end || errno)
        return lm_value_fail(document, value, error, "found '%s', wanted 16 hexadecimal digits", text);
    *out = number;
    return LOAM_OK;
}

static int read_loss(const struct lm_document *document, const struct lm_value *value, double *out, loam_error *error)
{
    if (value && value->kind == LM_NULL) {
        *out = NAN;
        return LOAM_OK;
    }
    return lm_value_double(document, value, out, error);
}

static int read_state(const struct lm_document *document, struct lm_run_state *state, loam_error *error)
{
    const struct lm_value *root = lm_document_root(document);
    int64_t format;
    int code = lm_value_int(document, lm_value_find(root, "format"), 1, 1, &format, error);
    const struct {
        const char *key;
        int64_t *to;
    } integers[] = {
        {"step", &state->step},           {"epoch", &state->place.epoch}, {"batch", &state->place.batch},
        {"best_step", &state->best_step}, {"worse", &state->worse},
    };
    for (size_t i = 0; code == LOAM_OK && i < sizeof integers / sizeof *integers; i++)
        code = lm_value_int(document, lm_value_find(root, integers[i].key), 0, INT64_MAX, integers[i].to, error);
    const struct {
        const char *key;
        double *to;
    } losses[] = {
        {"loss", &state->loss},
        {"grad_norm", &state->grad_norm},
        {"eval_loss", &state->eval_loss},
        {"best_loss", &state->best_loss},
    };
    for (size_t i = 0; code == LOAM_OK && i < sizeof losses / sizeof *losses; i++)
        code = read_loss(document, lm_value_find(root, losses[i].key), losses[i].to, error);
    const struct {
        const char *key;
        uint64_t *to;
    } prints[] = {
        {"tokenizer", &state->tokenizer},
        {"base_tokenizer", &state->base_tokenizer},
        {"data", &state->data},
        {"eval_data", &state->eval_data},
    };
    for (size_t i = 0; code == LOAM_OK && i < sizeof prints / sizeof *prints; i++)
        code = read_hex(document, lm_value_find(root, prints[i].key), prints[i].to, error);
    if (code == LOAM_OK)
        code = lm_value_bool(document, lm_value_find(root, "stopped_early"), &state->stopped_early, error);
    const struct lm_value *weights_only = lm_value_find(root, "weights_only"); /* checkpoints of before have no such key */
    if (code == LOAM_OK && weights_only)
        code = lm_value_bool(document, weights_only, &state->weights_only, error);
    return code;
}

static int check_file(const struct lm_document *document, const char *folder, const char *name,
                      const struct lm_value *entry, loam_error *error)
{
    uint64_t wanted, hash;
    int64_t bytes, found;
    if (strchr(name, '/'))
        return lm_value_fail(document, entry, error, "found a file in another folder, '%s'", name);
    int code = lm_value_int(document, lm_value_find(entry, "bytes"), 0, INT64_MAX, &bytes, error);
    if (code == LOAM_OK)
        code = read_hex(document, lm_value_find(entry, "xxh3"), &wanted, error);
    char *path = code == LOAM_OK ? lm_path_join(folder, name, error) : NULL;
    if (code == LOAM_OK)
        code = path ? lm_file_hash(path, &hash, &found, error) : LOAM_ENOMEM;
    if (code == LOAM_OK && (found != bytes || hash != wanted))
        code = lm_fail(error, LOAM_EFORMAT,
                       "%s: found %lld bytes with checksum %016" PRIx64 ", state.json wants %lld with "
                       "%016" PRIx64 ": the file was altered after it was saved; remove the folder %s to go on from an "
                       "earlier checkpoint",
                       path, (long long)found, hash, (long long)bytes, wanted, folder);
    else if (code == LOAM_ENOTFOUND)
        code = lm_fail(error, LOAM_EFORMAT,
                       "%s: is missing, though state.json lists it; remove the folder %s to go on from "
                       "an earlier checkpoint",
                       path, folder);
    lm_free(path);
    return code;
}

static int check_files(const struct lm_document *document, const char *folder, loam_error *error)
{
    const struct lm_value *files = lm_value_find(lm_document_root(document), "files");
    if (!files || files->kind != LM_OBJECT)
        return lm_value_fail(document, files, error, "wanted the list of files");
    for (size_t i = 0; i < files->length; i++) {
        int code = check_file(document, folder, files->keys[i].text, &files->items[i], error);
        if (code != LOAM_OK)
            return code;
    }
    return LOAM_OK;
}

int lm_checkpoint_verify(const char *path, struct lm_run_state *state, loam_error *error)
{
    char *name = lm_path_join(path, "state.json", error);
    struct lm_bytes text = {0};
    struct lm_document *document = NULL;
    struct lm_run_state read = {0};
    int code = name ? lm_file_read(name, 0, &text, error) : LOAM_ENOMEM;
    if (code == LOAM_OK && !seal_holds(text.data, text.length))
        code = lm_fail(error, LOAM_EFORMAT,
                       "%s: does not match its own checksum: it was altered after it was saved; remove "
                       "the folder %s to go on from an earlier checkpoint",
                       name, path);
    if (code == LOAM_OK)
        code = lm_json_parse(text.data, text.length, name, &document, error);
    if (code == LOAM_OK)
        code = read_state(document, &read, error);
    if (code == LOAM_OK)
        code = check_files(document, path, error);
    if (code == LOAM_OK)
        *state = read;
    lm_document_free(document);
    lm_bytes_free(&text);
    lm_free(name);
    return code;
}
