/* loam init */
#include "common.h"
#include "model/model.h"

#include <string.h>

static int read_shape(const struct arguments *arguments, struct lm_config *config, loam_error *error)
{
    const char *like = arguments->values[OPT_LIKE].text, *file = arguments->values[OPT_CONFIG].text;
    if (!like == !file)
        return lm_fail(error, LOAM_EUSAGE, "init: wanted either --like NAME or --config FILE, found %s",
                       like ? "both" : "neither");
    return like ? lm_config_like(like, config, error) : lm_config_read(file, config, error);
}

/* A directory that holds a model is somebody's work. */
static int refuse_model(const char *directory, loam_error *error)
{
    static const char *const names[] = {"config.json", "model.safetensors", "model.safetensors.index.json", NULL};
    for (const char *const *name = names; *name; name++) {
        char *path = lm_path_join(directory, *name, error);
        if (!path)
            return LOAM_ENOMEM;
        const bool there = lm_file_exists(path);
        lm_free(path);
        if (there)
            return lm_fail(error, LOAM_EUSAGE, "%s: holds a model already (%s); choose another directory", directory,
                           *name);
    }
    return LOAM_OK;
}

static bool has_tokenizer(const char *directory)
{
    char *path = lm_path_join(directory, "tokenizer.json", NULL);
    const bool there = path && lm_file_exists(path);
    lm_free(path);
    return there;
}

static int make(const struct arguments *arguments, const struct lm_config *config, loam_error *error)
{
    const char *directory = arguments->values[OPT_OUT].text, *dtype = arguments->values[OPT_DTYPE].text;
    const enum lm_dtype type = dtype && strcmp(dtype, "bf16") == 0 ? LM_BF16 : LM_F32;
    const struct argument *seed = &arguments->values[OPT_SEED];
    struct lm_device *device;
    struct lm_model *model = NULL;
    int code = lm_device_open(&(struct lm_device_options){0}, &device, error);
    if (code != LOAM_OK)
        return code;
    const struct lm_model_options options = {.load = true, .dtype = type};
    code = lm_model_create(config, seed->given ? seed->seed : 0, device, &options, &model, error);
    if (code == LOAM_OK)
        code = lm_model_save(model, directory, type, 0, error);
    if (code == LOAM_OK) {
        char size[32];
        const size_t bytes = lm_model_weight_bytes(config, type);
        lm_format_size((int64_t)bytes, size);
        note("%s: %s with %zu parameters of %s, %s%s", directory, lm_config_family(config), bytes / (type == LM_BF16 ? 2 : 4),
             type == LM_BF16 ? "bf16" : "f32", size, has_tokenizer(directory) ? "" : "; it has no tokenizer yet");
    }
    lm_model_close(model);
    lm_device_close(device);
    return code;
}

int command_init(const struct arguments *arguments)
{
    struct lm_config config;
    loam_error error;
    if (!needed(arguments, OPT_OUT))
        return EXIT_USAGE;
    int code = read_shape(arguments, &config, &error);
    if (code == LOAM_OK)
        code = refuse_model(arguments->values[OPT_OUT].text, &error);
    if (code == LOAM_OK)
        code = make(arguments, &config, &error);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}
