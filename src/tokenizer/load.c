/* Finding out what a file or directory holds, and saving. */
#include "internal.h"

static int load_file(const char *path, struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct lm_mapping mapping;
    int code = lm_file_map(path, &mapping, error);
    if (code != LOAM_OK)
        return code;
    code = lm_tokenizer_from_json((const char *)mapping.data, mapping.size, path, tokenizer, error);
    lm_file_unmap(&mapping);
    return code;
}

static int load_directory(const char *directory, struct lm_tokenizer **tokenizer, loam_error *error)
{
    struct lm_tokenizer *made = NULL;
    char *path = lm_path_join(directory, "tokenizer.json", error);
    if (!path)
        return LOAM_ENOMEM;
    int code = lm_file_exists(path) ? load_file(path, &made, error)
                                    : lm_fail(error, LOAM_ENOTFOUND, "%s: no tokenizer.json there", directory);
    lm_free(path);
    if (code == LOAM_OK)
        code = lm_settings_read(made, directory, error);
    if (code == LOAM_OK)
        *tokenizer = made;
    else
        lm_tokenizer_free(made);
    return code;
}

int lm_tokenizer_load(const char *path, struct lm_tokenizer **tokenizer, loam_error *error)
{
    return lm_is_directory(path) ? load_directory(path, tokenizer, error) : load_file(path, tokenizer, error);
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
