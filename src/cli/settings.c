#include "settings.h"

#include <string.h>

/* "weight-decay" to "weight_decay". */
static void key_of(const struct option *option, char key[64])
{
    snprintf(key, 64, "%s", option->name);
    for (char *c = key; *c; c++)
        if (*c == '-')
            *c = '_';
}

int set_setting(struct lm_run_settings *settings, enum option_id id, const struct argument *value,
                      loam_error *error)
{
    const struct option *option = &option_table[id];
    char key[64];
    key_of(option, key);
    if (option->kind == KIND_FLAG)
        return lm_run_settings_set(settings, key, "true", error);
    if (option->kind != KIND_FILES)
        return lm_run_settings_set(settings, key, value->text, error);
    lm_run_settings_clear(settings, key);
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < value->count; i++)
        code = lm_run_settings_set(settings, key, value->list[i], error);
    return code;
}
