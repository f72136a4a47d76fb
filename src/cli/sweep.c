#include "sweep.h"

#include <string.h>

void setting_key(const struct option *option, char key[64])
{
    snprintf(key, 64, "%s", option->name);
    for (char *c = key; *c; c++)
        if (*c == '-')
            *c = '_';
}

static bool swept(const struct arguments *arguments, int id)
{
    const struct argument *value = &arguments->values[id];
    return value->given && value->text && option_swept(arguments->command, &option_table[id], value->text);
}

static int set_option(struct lm_run_settings *settings, enum option_id id, const struct argument *value,
                      loam_error *error)
{
    const struct option *option = &option_table[id];
    char key[64];
    setting_key(option, key);
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

/* What is swept is left to whoever sweeps. */
int settings_collect(const struct arguments *arguments, struct lm_run_settings *settings, loam_error *error)
{
    const struct argument *recipe = &arguments->values[OPT_RECIPE];
    int code = recipe->given ? lm_run_settings_read(settings, recipe->text, error) : LOAM_OK;
    if (code == LOAM_OK && arguments->values[OPT_FAITHFUL].given) /* which has its own template: a recipe's gives way */
        code = lm_run_settings_set(settings, "template", "", error);
    for (int id = 0; code == LOAM_OK && id < OPTION_IDS; id++)
        if (option_table[id].setting && arguments->values[id].given && !swept(arguments, id))
            code = set_option(settings, (enum option_id)id, &arguments->values[id], error);
    if (code == LOAM_OK && arguments->operand_count > 0)
        code = lm_run_settings_set(settings, "model", arguments->operands[0], error);
    return code;
}

static size_t values_in(const char *text)
{
    size_t count = 1;
    for (; *text; text++)
        count += *text == ',';
    return count;
}

static int set_nth(struct lm_run_settings *settings, const struct option *option, const char *text, size_t n, loam_error *error)
{
    char key[64], value[64];
    while (n-- > 0)
        text = strchr(text, ',') + 1;
    snprintf(value, sizeof value, "%.*s", (int)strcspn(text, ","), text);
    setting_key(option, key);
    return lm_run_settings_set(settings, key, value, error);
}

/* Run number `index` of the cross product. */
static int make_one(const struct arguments *arguments, size_t index, struct lm_run_settings *settings, loam_error *error)
{
    int code = settings_collect(arguments, settings, error);
    for (int id = OPTION_IDS - 1; code == LOAM_OK && id >= 0; id--) {
        const struct argument *value = &arguments->values[id];
        if (!swept(arguments, id))
            continue;
        const size_t values = values_in(value->text);
        code = set_nth(settings, &option_table[id], value->text, index % values, error);
        index /= values;
    }
    return code;
}

int sweep_open(struct sweep *sweep, const struct arguments *arguments, enum lm_run_kind kind, loam_error *error)
{
    size_t count = 1;
    *sweep = (struct sweep){0};
    for (int id = 0; id < OPTION_IDS && count <= SWEEP_MOST; id++)
        if (swept(arguments, id))
            count *= values_in(arguments->values[id].text);
    if (count > SWEEP_MOST)
        return lm_fail(error, LOAM_EUSAGE, "%s: these lists make more than %d runs; give fewer values", arguments->command->name,
                       SWEEP_MOST);
    sweep->settings = lm_alloc(count, sizeof *sweep->settings, error);
    if (!sweep->settings)
        return LOAM_ENOMEM;
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < count; i++) {
        lm_run_settings_init(&sweep->settings[sweep->count++], kind);
        code = make_one(arguments, i, &sweep->settings[i], error);
    }
    if (code != LOAM_OK)
        sweep_close(sweep);
    return code;
}

void sweep_close(struct sweep *sweep)
{
    for (size_t i = 0; i < sweep->count; i++)
        lm_run_settings_free(&sweep->settings[i]);
    lm_free(sweep->settings);
    *sweep = (struct sweep){0};
}
