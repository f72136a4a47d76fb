/* Where a model keeps its template: chat_template.jinja, or the key chat_template of tokenizer_config.json (a text, or
 * a list of named ones). */
#include "data/template.h"
#include "tensor/tensor.h"

#include <string.h>

#define NAMES "llama2, llama3, chatml or plain"

static const struct lm_template *by_name(const char *name)
{
    const struct lm_template *each;
    for (size_t i = 0; (each = lm_template_at(i)); i++)
        if (!strcmp(lm_template_name(each), name))
            return each;
    return NULL;
}

/* One of ours by its source, else the source itself. */
static int recognise(const char *path, const char *jinja, size_t length, const struct lm_template **chosen,
                     loam_error *error)
{
    const struct lm_template *found = lm_template_recognise(jinja, length);
    if (!found)
        return lm_template_parse(jinja, length, path, chosen, error);
    *chosen = found;
    return LOAM_OK;
}

/* The template in the list under the name "default", else NULL. */
static const struct lm_value *default_of(const struct lm_value *list)
{
    for (size_t i = 0; i < list->length; i++)
        if (lm_value_is(lm_value_find(&list->items[i], "name"), "default"))
            return lm_value_find(&list->items[i], "template");
    return NULL;
}

static int from_config(const char *path, const struct lm_template **chosen, loam_error *error)
{
    struct lm_document *document;
    int code = lm_json_read(path, &document, error);
    if (code)
        return code;
    const struct lm_value *value = lm_value_find(lm_document_root(document), "chat_template");
    const struct lm_value *jinja = value && value->kind == LM_ARRAY ? default_of(value) : value;
    if (!value || value->kind == LM_NULL)
        code = lm_fail(error, LOAM_ENOTFOUND, "%s: found no chat_template; name one with --template: " NAMES, path);
    else if (!jinja || jinja->kind != LM_STRING)
        code = lm_value_fail(document, value, error,
                             "wanted a Jinja template, or a list of them with one named 'default'; "
                             "name a format with --template: " NAMES);
    else
        code = recognise(path, jinja->text, jinja->length, chosen, error);
    lm_document_free(document);
    return code;
}

static int from_jinja(const char *path, const struct lm_template **chosen, loam_error *error)
{
    struct lm_bytes bytes = {0};
    int code = lm_file_read(path, 1 << 20, &bytes, error);
    if (!code)
        code = recognise(path, bytes.data ? bytes.data : "", bytes.length, chosen, error);
    lm_bytes_free(&bytes);
    return code;
}

static int from_gguf(const char *path, const struct lm_template **chosen, loam_error *error)
{
    struct lm_gguf *file;
    const char *jinja;
    int code = lm_gguf_open(path, &file, error);
    if (code)
        return code;
    if (!lm_gguf_find(file, "tokenizer.chat_template"))
        code = lm_fail(error, LOAM_ENOTFOUND, "%s: found no tokenizer.chat_template; name one with --template: " NAMES,
                       path);
    else if (!(code = lm_gguf_text(file, "tokenizer.chat_template", &jinja, error)))
        code = recognise(path, jinja, strlen(jinja), chosen, error);
    lm_gguf_close(file);
    return code;
}

static int from_directory(const char *directory, const struct lm_template **chosen, loam_error *error)
{
    if (lm_gguf_is(directory))
        return from_gguf(directory, chosen, error);
    char *jinja = lm_path_join(directory, "chat_template.jinja", error);
    char *config = jinja ? lm_path_join(directory, "tokenizer_config.json", error) : NULL;
    int code = LOAM_ENOMEM;
    if (config && lm_file_exists(jinja))
        code = from_jinja(jinja, chosen, error);
    else if (config && lm_file_exists(config))
        code = from_config(config, chosen, error);
    else if (config)
        code = lm_fail(error, LOAM_ENOTFOUND,
                       "%s: found no tokenizer_config.json with a chat template; name one with "
                       "--template: " NAMES,
                       directory);
    lm_free(jinja);
    lm_free(config);
    return code;
}

int lm_template_find(const char *name, const char *directory, const struct lm_template **chosen, loam_error *error)
{
    if (!name && !directory)
        return lm_fail(error, LOAM_EUSAGE,
                       "found no chat template and no model to take one from; name one with --template: " NAMES);
    if (!name)
        return from_directory(directory, chosen, error);
    if (!strcmp(name, "guanaco"))
        return lm_template_guanaco(chosen, error);
    const struct lm_template *found = by_name(name);
    if (!found)
        return lm_fail(error, LOAM_EUSAGE, "found the template '%s', wanted " NAMES, name);
    *chosen = found;
    return LOAM_OK;
}

/* The members of an old tokenizer_config.json, but for the template, and for eos_token where it says none and there is an `end`. */
static int copy_members(const char *path, bool *end, struct lm_json_writer *writer, loam_error *error)
{
    struct lm_document *document;
    int code = lm_json_read(path, &document, error);
    if (code)
        return code;
    const struct lm_value *root = lm_document_root(document);
    if (root->kind != LM_OBJECT)
        code = lm_value_fail(document, root, error, "wanted an object");
    for (size_t i = 0; !code && i < root->length; i++) {
        const bool eos = lm_value_is(&root->keys[i], "eos_token");
        if (lm_value_is(&root->keys[i], "chat_template") || (eos && *end && root->items[i].kind == LM_NULL))
            continue;
        if (eos)
            *end = false;
        lm_json_key(writer, root->keys[i].text);
        lm_json_value(writer, &root->items[i]);
    }
    lm_document_free(document);
    return code;
}

static int write_config(const char *path, const char *jinja, const char *end, size_t length, loam_error *error)
{
    bool put_end = end;
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 2);
    lm_json_begin_object(&writer);
    int code = lm_file_exists(path) ? copy_members(path, &put_end, &writer, error) : LOAM_OK;
    if (put_end) {
        lm_json_key(&writer, "eos_token");
        lm_json_string(&writer, end, length);
    }
    lm_json_key(&writer, "chat_template");
    lm_json_text(&writer, jinja);
    lm_json_end_object(&writer);
    if (!code)
        code = lm_json_writer_finish(&writer, error);
    if (!code)
        code = lm_bytes_append(&out, "\n", 1, error);
    if (!code)
        code = lm_file_replace(path, out.data, out.length, error);
    lm_bytes_free(&out);
    return code;
}

int lm_template_store(const struct lm_template *chosen, const char *directory, const char *end, size_t length,
                      loam_error *error)
{
    const char *source = lm_template_jinja(chosen);
    char *jinja = lm_path_join(directory, "chat_template.jinja", error);
    char *config = jinja ? lm_path_join(directory, "tokenizer_config.json", error) : NULL;
    int code = config ? write_config(config, source, end, length, error) : LOAM_ENOMEM;
    /* Where this file is there, readers take it before the key. */
    if (!code && lm_file_exists(jinja))
        code = lm_file_replace(jinja, source, strlen(source), error);
    lm_free(jinja);
    lm_free(config);
    return code;
}
