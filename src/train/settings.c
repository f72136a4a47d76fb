/* The settings of a run: one table of keys drives defaults, parsing, printing and the messages. */
#include "settings.h"
#include "sources.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { COMMAND, TEXT, SOURCES, COUNT, WARMUP, SEED, REAL, FLAG, SCHEDULE, RECOMPUTE, DTYPE, MEMORY };

struct key {
    const char *name;
    enum kind kind;
    size_t offset;      /* of the member */
    double least, most; /* of COUNT and REAL */
    bool automatic;     /* "auto" is a value */
    bool above;         /* `least` itself is out of range */
};

#define AT(member) offsetof(struct lm_run_settings, member)
static const struct key table[] = {
    {.name = "command", .kind = COMMAND, .offset = AT(command)},
    {.name = "model", .kind = TEXT, .offset = AT(model)},
    {.name = "data", .kind = SOURCES, .offset = AT(data)},
    {.name = "eval_data", .kind = SOURCES, .offset = AT(eval_data)},
    {.name = "template", .kind = TEXT, .offset = AT(template_name)},
    {.name = "steps", .kind = COUNT, .offset = AT(steps), .least = 1, .most = LM_SETTING_MANY, .automatic = true},
    {.name = "epochs", .kind = REAL, .offset = AT(epochs), .most = 1e6, .automatic = true, .above = true},
    {.name = "batch", .kind = COUNT, .offset = AT(batch), .least = 1, .most = 1 << 20},
    {.name = "accumulate", .kind = COUNT, .offset = AT(accumulate), .least = 1, .most = 1 << 16},
    {.name = "seq", .kind = COUNT, .offset = AT(seq), .least = 1, .most = 1 << 24, .automatic = true},
    {.name = "lr", .kind = REAL, .offset = AT(lr), .most = 100},
    {.name = "min_lr", .kind = REAL, .offset = AT(min_lr), .most = 100, .automatic = true},
    {.name = "schedule", .kind = SCHEDULE, .offset = AT(schedule)},
    {.name = "warmup", .kind = WARMUP, .offset = AT(warmup), .most = LM_SETTING_MANY, .automatic = true},
    {.name = "weight_decay", .kind = REAL, .offset = AT(weight_decay), .most = 100},
    {.name = "beta1", .kind = REAL, .offset = AT(beta1), .most = 1 - 1e-12},
    {.name = "beta2", .kind = REAL, .offset = AT(beta2), .most = 1 - 1e-12},
    {.name = "epsilon", .kind = REAL, .offset = AT(epsilon), .most = 1, .above = true},
    {.name = "clip", .kind = REAL, .offset = AT(clip), .most = 1e9},
    {.name = "seed", .kind = SEED, .offset = AT(seed)},
    {.name = "threads", .kind = COUNT, .offset = AT(threads), .least = 1, .most = 4096, .automatic = true},
    {.name = "no_shuffle", .kind = FLAG, .offset = AT(no_shuffle)},
    {.name = "no_pack", .kind = FLAG, .offset = AT(no_pack)},
    {.name = "train_on_all", .kind = FLAG, .offset = AT(train_on_all)},
    {.name = "faithful", .kind = FLAG, .offset = AT(faithful)},
    {.name = "add_tokens", .kind = FLAG, .offset = AT(add_tokens)},
    {.name = "overfit_one_batch", .kind = FLAG, .offset = AT(overfit_one_batch)},
    {.name = "recompute", .kind = RECOMPUTE, .offset = AT(recompute)},
    {.name = "optimizer_state", .kind = MEMORY},
    {.name = "masters", .kind = MEMORY},
    {.name = "gradients", .kind = MEMORY},
    {.name = "products", .kind = MEMORY},
    {.name = "fused_step", .kind = FLAG, .offset = AT(fused_step)},
    {.name = "fused_clip", .kind = MEMORY},
    {.name = "offload", .kind = MEMORY},
    {.name = "memory", .kind = MEMORY},
    {.name = "ranks", .kind = COUNT, .offset = AT(ranks), .least = 1, .most = 1 << 16},
    {.name = "zero", .kind = COUNT, .offset = AT(zero), .most = 3},
    {.name = "dtype", .kind = DTYPE, .offset = AT(dtype)},
    {.name = "eval_every", .kind = COUNT, .offset = AT(eval_every), .most = LM_SETTING_MANY},
    {.name = "patience", .kind = COUNT, .offset = AT(patience), .most = LM_SETTING_MANY},
    {.name = "save_every", .kind = COUNT, .offset = AT(save_every), .most = LM_SETTING_MANY},
    {.name = "keep", .kind = COUNT, .offset = AT(keep), .least = 1, .most = LM_SETTING_MANY},
    {.name = "weights_only", .kind = FLAG, .offset = AT(weights_only)},
    {.name = "cache", .kind = TEXT, .offset = AT(cache)},
    {.name = "sample_prompt", .kind = TEXT, .offset = AT(sample_prompt)},
};
enum { KEYS = sizeof table / sizeof *table, LONGEST_KEY = 32 };

static const char *const commands[] = {"train", "finetune", NULL};
static const char *const schedules[] = {"constant", "linear", "cosine", NULL};

void lm_run_settings_init(struct lm_run_settings *settings, enum lm_run_kind kind)
{
    const bool train = kind == LM_RUN_TRAIN;
    *settings = (struct lm_run_settings){
        .command = kind,
        .steps = LM_SETTING_AUTO,
        .epochs = LM_SETTING_AUTO,
        .batch = 4,
        .accumulate = 1,
        .seq = LM_SETTING_AUTO,
        .lr = train ? 3e-4 : 2e-5,
        .min_lr = LM_SETTING_AUTO,
        .schedule = LM_SCHEDULE_COSINE,
        .warmup = LM_SETTING_AUTO,
        .warmup_percent = LM_SETTING_AUTO,
        .weight_decay = train ? 0.1 : 0.01,
        .beta1 = 0.9,
        .beta2 = 0.95,
        .epsilon = 1e-8,
        .clip = 1,
        .threads = LM_SETTING_AUTO,
        .recompute = LM_RECOMPUTE_NONE,
        .recompute_every = 1,
        .dtype = LM_F32,
        .masters = LM_SETTING_AUTO,
        .gradients = LM_SETTING_AUTO,
        .products = LM_SETTING_AUTO,
        .ranks = 1,
        .save_every = 200,
        .keep = 2,
    };
}

void lm_run_settings_free(struct lm_run_settings *settings)
{
    lm_free(settings->model);
    lm_free(settings->template_name);
    lm_free(settings->sample_prompt);
    lm_free(settings->cache);
    lm_run_sources_clear(&settings->data);
    lm_run_sources_clear(&settings->eval_data);
    *settings = (struct lm_run_settings){0};
}

const char *const *lm_run_settings_keys(void)
{
    static const char *const names[] = {
        "command",      "model",
        "data",         "eval_data",
        "template",     "steps",
        "epochs",       "batch",
        "accumulate",   "seq",
        "lr",           "min_lr",
        "schedule",     "warmup",
        "weight_decay", "beta1",
        "beta2",        "epsilon",
        "clip",         "seed",
        "threads",      "no_shuffle",
        "no_pack",      "train_on_all",
        "faithful",     "add_tokens",
        "overfit_one_batch",
        "recompute",    "optimizer_state",
        "masters",      "gradients",
        "products",
        "fused_step",   "fused_clip",
        "offload",      "memory",
        "dtype",        "eval_every",
        "patience",     "save_every",
        "keep",         "weights_only",
        "cache",        "sample_prompt",
        NULL,
    };
    return names;
}

/* "weight-decay" and "weight_decay" are one key. */
static bool same_key(const char *name, const char *given)
{
    for (; *name && *given; name++, given++)
        if (*name != (*given == '-' ? '_' : *given))
            return false;
    return *name == *given;
}

static const struct key *find(const char *given)
{
    for (size_t i = 0; i < KEYS; i++)
        if (same_key(table[i].name, given))
            return &table[i];
    return NULL;
}

bool lm_run_settings_knows(const char *key)
{
    return find(key) != NULL;
}

static int least_of(int a, int b, int c)
{
    const int d = a < b ? a : b;
    return d < c ? d : c;
}

/* Levenshtein's distance, of texts up to LONGEST_KEY. */
static int distance(const char *a, const char *b)
{
    int row[LONGEST_KEY + 1];
    const int columns = (int)strlen(b);
    for (int j = 0; j <= columns; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= columns; j++) {
            const int above = row[j];
            row[j] = least_of(row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[columns];
}

static int fail_unknown(const char *given, loam_error *error)
{
    const char *nearest = NULL;
    int best = LONGEST_KEY;
    for (size_t i = 0; i < KEYS && strlen(given) <= LONGEST_KEY; i++) {
        const int apart = distance(given, table[i].name);
        if (apart < best) {
            best = apart;
            nearest = table[i].name;
        }
    }
    if (nearest && best <= 1 + (int)strlen(given) / 3)
        return lm_fail(error, LOAM_EUSAGE, "setting '%s': there is none of this name; did you mean '%s'?", given,
                       nearest);
    struct lm_bytes all = {0};
    for (const char *const *name = lm_run_settings_keys(); *name; name++)
        if (lm_bytes_format(&all, NULL, "%s%s", all.length ? ", " : "", *name) != LOAM_OK)
            break;
    lm_fail(error, LOAM_EUSAGE, "setting '%s': there is none of this name; there are %s", given,
            all.data ? all.data : "others");
    lm_bytes_free(&all);
    return LOAM_EUSAGE;
}

static void *member_of(const struct lm_run_settings *settings, const struct key *key)
{
    return (char *)(uintptr_t)settings + key->offset;
}

static int fail_value(const struct key *key, const char *value, const char *wanted, loam_error *error)
{
    return lm_fail(error, LOAM_EUSAGE, "setting '%s': found '%s', wanted %s", key->name, value, wanted);
}

static int fail_range(const struct key *key, const char *value, loam_error *error)
{
    char least[32], most[32];
    lm_format_double(key->least, least);
    lm_format_double(key->most, most);
    return lm_fail(error, LOAM_EUSAGE, "setting '%s': found '%s', wanted a%s number %s %s and at most %s%s", key->name,
                   value, key->kind == COUNT ? " whole" : "", key->above ? "above" : "of at least", least, most,
                   key->automatic ? ", or auto" : "");
}

static int set_count(struct lm_run_settings *settings, const struct key *key, const char *value, loam_error *error)
{
    int64_t count;
    if (lm_parse_int(value, &count, NULL) != LOAM_OK || (double)count < key->least || (double)count > key->most)
        return fail_range(key, value, error);
    *(int64_t *)member_of(settings, key) = count;
    return LOAM_OK;
}

static int set_real(struct lm_run_settings *settings, const struct key *key, const char *value, loam_error *error)
{
    double real;
    if (lm_parse_double(value, &real, NULL) != LOAM_OK || !(real >= key->least && real <= key->most) ||
        (key->above && real <= key->least))
        return fail_range(key, value, error);
    *(double *)member_of(settings, key) = real;
    return LOAM_OK;
}

/* Steps, or "10%" of all. */
static int set_warmup(struct lm_run_settings *settings, const struct key *key, const char *value, loam_error *error)
{
    const size_t length = strlen(value);
    char digits[32];
    double share;
    if (length < 2 || value[length - 1] != '%') {
        int code = set_count(settings, key, value, error);
        if (code == LOAM_OK)
            settings->warmup_percent = LM_SETTING_AUTO;
        return code;
    }
    if (length > sizeof digits)
        return fail_value(key, value, "steps, or a share of all of them such as 10%", error);
    memcpy(digits, value, length - 1);
    digits[length - 1] = 0;
    if (lm_parse_double(digits, &share, NULL) != LOAM_OK || !(share >= 0 && share <= 100))
        return fail_value(key, value, "steps, or a share of all of them from 0% to 100%", error);
    settings->warmup_percent = share;
    settings->warmup = LM_SETTING_AUTO;
    return LOAM_OK;
}

static int set_seed(struct lm_run_settings *settings, const struct key *key, const char *value, loam_error *error)
{
    if (lm_parse_unsigned(value, &settings->seed, NULL) != LOAM_OK)
        return fail_value(key, value, "a whole number from 0 to 18446744073709551615", error);
    return LOAM_OK;
}

static int set_flag(struct lm_run_settings *settings, const struct key *key, const char *value, loam_error *error)
{
    const bool yes = strcmp(value, "true") == 0;
    if (!yes && strcmp(value, "false") != 0)
        return fail_value(key, value, "true or false", error);
    *(bool *)member_of(settings, key) = yes;
    return LOAM_OK;
}

static int set_text(struct lm_run_settings *settings, const struct key *key, const char *value, loam_error *error)
{
    const size_t length = strlen(value);
    if (lm_utf8_check(value, length) != length)
        return fail_value(key, value, "valid UTF-8", error);
    char *copy = NULL;
    if (*value && !(copy = lm_copy_string(value, length, error)))
        return LOAM_ENOMEM;
    char **member = member_of(settings, key);
    lm_free(*member);
    *member = copy;
    return LOAM_OK;
}

static int set_schedule(struct lm_run_settings *settings, const struct key *key, const char *value, loam_error *error)
{
    for (int i = 0; schedules[i]; i++)
        if (strcmp(value, schedules[i]) == 0) {
            settings->schedule = (enum lm_schedule)i;
            return LOAM_OK;
        }
    return fail_value(key, value, "constant, linear or cosine", error);
}

static int set_recompute(struct lm_run_settings *settings, const struct key *key, const char *value, loam_error *error)
{
    int64_t every = 1;
    enum lm_recompute_kind kind = LM_RECOMPUTE_LAYER;
    if (strcmp(value, "none") == 0)
        kind = LM_RECOMPUTE_NONE;
    else if (strcmp(value, "inner") == 0)
        kind = LM_RECOMPUTE_INNER;
    else if (strcmp(value, "layer") != 0 &&
             (lm_parse_int(value, &every, NULL) != LOAM_OK || every < 1 || every > 100000))
        return fail_value(key, value, "none, inner, layer, or a number of layers", error);
    settings->recompute = kind;
    settings->recompute_every = every;
    return LOAM_OK;
}

static int set_dtype(struct lm_run_settings *settings, const struct key *key, const char *value, loam_error *error)
{
    if (strcmp(value, "f32") != 0 && strcmp(value, "bf16") != 0)
        return fail_value(key, value, "f32 or bf16", error);
    settings->dtype = *value == 'f' ? LM_F32 : LM_BF16;
    return LOAM_OK;
}

static int check_command(const struct lm_run_settings *settings, const struct key *key, const char *value,
                         loam_error *error)
{
    if (strcmp(value, commands[settings->command]) == 0)
        return LOAM_OK;
    return lm_fail(error, LOAM_EUSAGE, "setting '%s': found '%s', wanted '%s'; use the file with loam %s", key->name,
                   value, commands[settings->command], value);
}

static void set_automatic(struct lm_run_settings *settings, const struct key *key)
{
    if (key->kind == WARMUP)
        settings->warmup_percent = LM_SETTING_AUTO;
    if (key->kind == COUNT || key->kind == WARMUP)
        *(int64_t *)member_of(settings, key) = LM_SETTING_AUTO;
    else
        *(double *)member_of(settings, key) = LM_SETTING_AUTO;
}

bool lm_run_settings_given(const struct lm_run_settings *settings, const char *name)
{
    const struct key *key = find(name);
    return key && (settings->given >> (key - table) & 1);
}

static int set(struct lm_run_settings *settings, const struct key *key, const char *value, loam_error *error)
{
    if (key->automatic && strcmp(value, "auto") == 0) {
        set_automatic(settings, key);
        return LOAM_OK;
    }
    switch (key->kind) {
    case COMMAND:
        return check_command(settings, key, value, error);
    case TEXT:
        return set_text(settings, key, value, error);
    case SOURCES:
        return lm_run_sources_add(member_of(settings, key), key->name, value, error);
    case COUNT:
        return set_count(settings, key, value, error);
    case WARMUP:
        return set_warmup(settings, key, value, error);
    case SEED:
        return set_seed(settings, key, value, error);
    case REAL:
        return set_real(settings, key, value, error);
    case FLAG:
        return set_flag(settings, key, value, error);
    case SCHEDULE:
        return set_schedule(settings, key, value, error);
    case RECOMPUTE:
        return set_recompute(settings, key, value, error);
    case DTYPE:
        return set_dtype(settings, key, value, error);
    case MEMORY:
        return lm_run_settings_set_memory(settings, key->name, value, error);
    }
    return LOAM_EUSAGE;
}

int lm_run_settings_set(struct lm_run_settings *settings, const char *name, const char *value, loam_error *error)
{
    const struct key *key = find(name);
    if (!key)
        return fail_unknown(name, error);
    int code = set(settings, key, value, error);
    if (code == LOAM_OK)
        settings->given |= UINT64_C(1) << (key - table);
    return code;
}

void lm_run_settings_clear(struct lm_run_settings *settings, const char *name)
{
    const struct key *key = find(name);
    if (key && key->kind == SOURCES)
        lm_run_sources_clear(member_of(settings, key));
}

static int real_text(double value, struct lm_bytes *text, loam_error *error)
{
    char digits[32];
    lm_format_double(value, digits);
    return lm_bytes_format(text, error, "%s", digits);
}

static int share_text(double percent, struct lm_bytes *text, loam_error *error)
{
    char digits[32];
    lm_format_double(percent, digits);
    return lm_bytes_format(text, error, "%s%%", digits);
}

static int recompute_text(const struct lm_run_settings *settings, struct lm_bytes *text, loam_error *error)
{
    if (settings->recompute == LM_RECOMPUTE_LAYER && settings->recompute_every != 1)
        return lm_bytes_format(text, error, "%lld", (long long)settings->recompute_every);
    static const char *const names[] = {"none", "inner", "layer"};
    return lm_bytes_format(text, error, "%s", names[settings->recompute]);
}

int lm_run_settings_text(const struct lm_run_settings *settings, const char *name, struct lm_bytes *text,
                         loam_error *error)
{
    const struct key *key = find(name);
    if (!key)
        return fail_unknown(name, error);
    const void *member = member_of(settings, key);
    if (key->kind == WARMUP && settings->warmup_percent >= 0)
        return share_text(settings->warmup_percent, text, error);
    if (key->automatic && (key->kind == COUNT || key->kind == WARMUP ? *(const int64_t *)member < 0 : *(const double *)member < 0))
        return lm_bytes_format(text, error, "auto");
    switch (key->kind) {
    case COMMAND:
        return lm_bytes_format(text, error, "%s", commands[settings->command]);
    case TEXT:
        return lm_bytes_format(text, error, "%s", *(char *const *)member ? *(char *const *)member : "");
    case SOURCES:
        return lm_run_sources_text(member, text, error);
    case COUNT:
    case WARMUP:
        return lm_bytes_format(text, error, "%lld", (long long)*(const int64_t *)member);
    case SEED:
        return lm_bytes_format(text, error, "%llu", (unsigned long long)settings->seed);
    case REAL:
        return real_text(*(const double *)member, text, error);
    case FLAG:
        return lm_bytes_format(text, error, "%s", *(const bool *)member ? "true" : "false");
    case SCHEDULE:
        return lm_bytes_format(text, error, "%s", schedules[settings->schedule]);
    case RECOMPUTE:
        return recompute_text(settings, text, error);
    case DTYPE:
        return lm_bytes_format(text, error, "%s", settings->dtype == LM_F32 ? "f32" : "bf16");
    case MEMORY:
        return lm_run_settings_memory_text(settings, key->name, text, error);
    }
    return LOAM_EUSAGE;
}

int lm_run_settings_check(const struct lm_run_settings *settings, loam_error *error)
{
    if (!settings->model)
        return lm_fail(error, LOAM_EUSAGE,
                       "no model is named; give the directory to start from (make one with loam init)");
    if (settings->data.count == 0)
        return lm_fail(error, LOAM_EUSAGE, "no data is named; give --data FILE");
    if (settings->min_lr > settings->lr)
        return lm_fail(error, LOAM_EUSAGE, "setting 'min_lr': found %g, wanted at most lr, which is %g",
                       settings->min_lr, settings->lr);
    if (settings->patience > 0 && settings->eval_data.count == 0)
        return lm_fail(error, LOAM_EUSAGE, "setting 'patience' needs evaluations; give --eval-data FILE");
    if (settings->eval_every > 0 && settings->eval_data.count == 0)
        return lm_fail(error, LOAM_EUSAGE, "setting 'eval_every' needs something to evaluate on; give --eval-data FILE, or leave it out");
    if (settings->sample_prompt && settings->eval_data.count == 0)
        return lm_fail(error, LOAM_EUSAGE, "setting 'sample_prompt': samples come with evaluations; give --eval-data FILE");
    if (settings->command == LM_RUN_TRAIN &&
        (settings->template_name || settings->train_on_all || settings->add_tokens || settings->faithful))
        return lm_fail(error, LOAM_EUSAGE, "setting '%s' is for conversations; use it with loam finetune",
                       settings->template_name  ? "template"
                       : settings->train_on_all ? "train_on_all"
                       : settings->faithful     ? "faithful"
                                                : "add_tokens");
    if (settings->faithful && settings->template_name)
        return lm_fail(error, LOAM_EUSAGE,
                       "settings 'faithful' and 'template': the reference recipe has its own way to write conversations; "
                       "leave one of the two out");
    return lm_run_settings_check_plan(settings, error);
}
