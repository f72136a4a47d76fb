/* What stands beside the weights in a model directory: the tokenizer's files and generation_config.json. They lie in
 * the run's directory from its beginning, and every checkpoint has a copy. */
#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { COPY_PIECE = 1 << 20 };

static const char *const tokenizer_files[] = {
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    NULL,
};
static const char generation_config[] = "generation_config.json";

int lm_copy_file(const char *from, const char *to, loam_error *error)
{
    FILE *in = fopen(from, "rbe");
    if (!in)
        return lm_fail_errno(error, errno, "%s", from);
    char *piece = lm_alloc(COPY_PIECE, 1, error);
    struct lm_file_writer *writer;
    int code = piece ? lm_file_create(to, &writer, error) : LOAM_ENOMEM;
    if (code == LOAM_OK) {
        size_t got;
        while (code == LOAM_OK && (got = fread(piece, 1, COPY_PIECE, in)) > 0)
            code = lm_file_write(writer, piece, got, error);
        if (code == LOAM_OK && ferror(in))
            code = lm_fail(error, LOAM_EIO, "%s: could not be read", from);
        if (code == LOAM_OK)
            code = lm_file_commit(writer, error);
        else
            lm_file_abandon(writer);
    }
    lm_free(piece);
    fclose(in);
    return code;
}

/* Copies NAME from one folder into another where it is there. */
static int copy_present(const char *from, const char *to, const char *name, loam_error *error)
{
    char *source = lm_path_join(from, name, error);
    char *target = source ? lm_path_join(to, name, error) : NULL;
    int code = target ? LOAM_OK : LOAM_ENOMEM;
    if (code == LOAM_OK && lm_file_exists(source))
        code = lm_copy_file(source, target, error);
    lm_free(source);
    lm_free(target);
    return code;
}

static int copy_all(const char *from, const char *to, loam_error *error)
{
    int code = copy_present(from, to, generation_config, error);
    for (const char *const *name = tokenizer_files; code == LOAM_OK && *name; name++)
        code = copy_present(from, to, *name, error);
    return code;
}

int32_t lm_run_end(const struct lm_run *run)
{
    if (!run->tokenizer)
        return -1;
    return run->chat_template ? lm_template_end_of_turn(run->chat_template, run->tokenizer) : lm_tokenizer_eos(run->tokenizer);
}

/* Copies generation_config.json's settings with another end; a new one where the base has none. */
static int write_generation(const struct lm_run *run, const struct lm_document *old, const char *path,
                            loam_error *error)
{
    const struct lm_value *root = old ? lm_document_root(old) : NULL;
    const int32_t end = lm_run_end(run);
    const int32_t bos = lm_tokenizer_bos(run->tokenizer);
    struct lm_bytes text = {0};
    struct lm_json_writer writer = lm_json_writer(&text, 2);
    lm_json_begin_object(&writer);
    for (size_t i = 0; root && root->kind == LM_OBJECT && i < root->length; i++) {
        if (strcmp(root->keys[i].text, "eos_token_id") == 0)
            continue;
        lm_json_key(&writer, root->keys[i].text);
        lm_json_value(&writer, &root->items[i]);
    }
    if (!root && bos >= 0) {
        lm_json_key(&writer, "bos_token_id");
        lm_json_int(&writer, bos);
    }
    if (end >= 0) {
        lm_json_key(&writer, "eos_token_id");
        lm_json_int(&writer, end);
    }
    lm_json_end_object(&writer);
    int code = lm_json_writer_finish(&writer, error);
    if (code == LOAM_OK)
        code = lm_bytes_append(&text, "\n", 1, error);
    if (code == LOAM_OK)
        code = lm_file_replace(path, text.data, text.length, error);
    lm_bytes_free(&text);
    return code;
}

/* A conversation ends in its end of turn; a text as the base says, or, where that says nothing, as the tokenizer does. */
static int set_end(const struct lm_run *run, loam_error *error)
{
    if (lm_run_end(run) < 0)
        return LOAM_OK;
    struct lm_document *old = NULL;
    char *path = lm_path_join(run->directory, generation_config, error);
    int code = path ? LOAM_OK : LOAM_ENOMEM;
    if (code == LOAM_OK && lm_file_exists(path))
        code = lm_json_read(path, &old, error);
    const struct lm_value *named = old ? lm_value_find(lm_document_root(old), "eos_token_id") : NULL;
    if (code == LOAM_OK && (run->chat_template || !named || named->kind == LM_NULL))
        code = write_generation(run, old, path, error);
    lm_document_free(old);
    lm_free(path);
    return code;
}

/* With the token that ends a turn for other programs, where the tokenizer has no eos_token. */
static int store_template(const struct lm_run *run, loam_error *error)
{
    const int32_t id = lm_template_end_of_turn(run->chat_template, run->tokenizer);
    size_t length = 0;
    const char *end = id < 0 ? NULL : lm_tokenizer_token(run->tokenizer, id, &length);
    return lm_template_store(run->chat_template, run->directory, end, length, error);
}

/* The base's files as they stand, byte for byte; only what fine-tuning changes is written anew. */
int lm_kit_make(const struct lm_run *run, loam_error *error)
{
    const char *base = run->settings.model;
    int code = copy_present(base, run->directory, generation_config, error);
    for (const char *const *name = tokenizer_files; code == LOAM_OK && run->tokenizer && *name; name++) {
        const bool config = strcmp(*name, "tokenizer_config.json") == 0;
        if (strcmp(*name, "chat_template.jinja") == 0 && run->chat_template)
            continue; /* the template is stored in tokenizer_config.json */
        if (!run->tokens_added || config)
            code = copy_present(base, run->directory, *name, error);
    }
    if (code == LOAM_OK && run->tokens_added)
        code = lm_tokenizer_save(run->tokenizer, run->directory, error);
    if (code == LOAM_OK && run->chat_template)
        code = store_template(run, error);
    return code == LOAM_OK ? set_end(run, error) : code;
}

int lm_kit_restore(const struct lm_run *run, loam_error *error)
{
    return copy_all(run->resumed, run->directory, error);
}

int64_t lm_kit_bytes(const struct lm_run *run)
{
    int64_t total = 0;
    for (const char *const *name = tokenizer_files; *name; name++) {
        char *path = lm_path_join(run->resumed ? run->directory : run->settings.model, *name, NULL);
        struct stat facts;
        if (path && stat(path, &facts) == 0)
            total += (int64_t)facts.st_size;
        lm_free(path);
    }
    return total;
}

int lm_kit_copy(const struct lm_run *run, const char *to, loam_error *error)
{
    return copy_all(run->directory, to, error);
}
