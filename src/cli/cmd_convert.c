/* loam convert */
#include "common.h"
#include "data/data.h"
#include "model/model.h"

#include <string.h>

struct conversion {
    const char *from, *to;
    struct lm_device *device;
    struct lm_model *model;
    struct lm_tokenizer *tokenizer;          /* NULL: none there */
    const struct lm_template *chat_template; /* NULL: likewise */
    enum lm_dtype dtype;
};

static bool is_gguf_name(const char *path)
{
    const size_t length = strlen(path);
    return length > 5 && !strcmp(path + length - 5, ".gguf");
}

/* The pairs of a GGUF file that say how text becomes ids. */
static int add_pairs(void *user, struct lm_gguf_writer *writer, loam_error *error)
{
    const struct conversion *c = user;
    if (!c->tokenizer) {
        lm_gguf_put_text(writer, "tokenizer.ggml.model", "none", 4);    /* llama.cpp wants it to be said */
        return LOAM_OK;
    }
    int code = lm_tokenizer_put_gguf(c->tokenizer, lm_model_config(c->model)->vocabulary, writer, error);
    if (!code && c->chat_template) {
        const char *jinja = lm_template_jinja(c->chat_template);
        lm_gguf_put_text(writer, "tokenizer.chat_template", jinja, strlen(jinja));
    }
    return code;
}

/* A tokenizer and a template where there are any; what is there and wrong is an error. */
static int open_words(struct conversion *c, loam_error *error)
{
    int code = lm_tokenizer_load(c->from, &c->tokenizer, error);
    if (code == LOAM_ENOTFOUND) {
        note("%s: has no tokenizer; only the weights are converted", c->from);
        return LOAM_OK;
    }
    if (code)
        return code;
    code = lm_template_find(NULL, c->from, &c->chat_template, error);
    return code == LOAM_ENOTFOUND ? LOAM_OK : code;
}

static int write_directory(const struct conversion *c, loam_error *error)
{
    if (lm_dtype_is_block(c->dtype))
        return lm_fail(
            error, LOAM_EUSAGE,
            "%s: found --type %s, which only GGUF files hold; name the output FILE.gguf, or take f32, f16 or "
            "bf16",
            c->to, lm_dtype_name(c->dtype));
    int code = lm_make_directories(c->to, error);
    if (!code && c->tokenizer)
        code = lm_tokenizer_save(c->tokenizer, c->to, error);
    if (!code && c->chat_template)
        code = lm_template_store(c->chat_template, c->to, NULL, 0, error);
    return code ? code : lm_model_save(c->model, c->to, c->dtype, 0, error);
}

static int convert(struct conversion *c, const char *type, loam_error *error)
{
    char name[8] = "";
    int code = lm_device_open(&(struct lm_device_options){0}, &c->device, error);
    if (!code)
        code = lm_model_open(c->from, c->device, &(struct lm_model_options){.plain = true}, &c->model, error);
    if (!code)
        code = open_words(c, error);
    if (code)
        return code;
    for (size_t i = 0; type && type[i] && i + 1 < sizeof name; i++)
        name[i] = (char)(type[i] >= 'a' && type[i] <= 'z' ? type[i] - 'a' + 'A' : type[i]);
    if (!type || !lm_dtype_parse(name, &c->dtype))
        c->dtype = LM_BF16;
    return is_gguf_name(c->to) ? lm_model_save_gguf(c->model, c->to, c->dtype, add_pairs, c, error)
                               : write_directory(c, error);
}

int command_convert(const struct arguments *arguments)
{
    struct conversion c = {.from = arguments->operands[0], .to = arguments->values[OPT_OUT].text};
    loam_error error;
    if (!needed(arguments, OPT_OUT))
        return EXIT_USAGE;
    if (!is_gguf_name(c.to)) {
        char *config = lm_path_join(c.to, "config.json", &error);
        const bool there = config && lm_file_exists(config);
        lm_free(config);
        if (there)
            return complain_error(
                (lm_fail(&error, LOAM_EUSAGE, "%s: holds a model already; choose another directory", c.to), &error));
    }
    const int code = convert(&c, arguments->values[OPT_TYPE].text, &error);
    lm_template_free(c.chat_template);
    lm_tokenizer_free(c.tokenizer);
    lm_model_close(c.model);
    lm_device_close(c.device);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}
