/* room.yaml. Every complaint names file, line, column and key; values of `key`, `token` and `secret` are never repeated, as somebody may
 * have written the secret itself there. */
#include "protocol.h"

#include <string.h>

enum { MOST_PARTICIPANTS = 64, MOST_TEXTS = 4096, LONGEST_SYSTEM = 32 * 1024 };

struct lm_room_memory {
    struct lm_document *document;
    char **texts;
    size_t text_count, text_capacity;
    struct lm_header **headers;
    size_t header_lists;
    int64_t *allow;
};
struct reader {
    struct lm_room_config *config;
    const struct lm_document *document;
    loam_error *error;
};

/* --- Orders --- */

static const char *const orders[] = {"random", "fixed", "mentioned", "one", "moderator", "together"};

const char *lm_room_order_name(enum lm_room_order order)
{
    return orders[order];
}

int lm_room_order_parse(const char *name, enum lm_room_order *order, loam_error *error)
{
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++)
        if (!strcmp(name, orders[i])) {
            *order = (enum lm_room_order)i;
            return LOAM_OK;
        }
    return lm_fail(error, LOAM_EUSAGE, "order: found '%s', wanted random, fixed, mentioned, one, moderator or together", name);
}

/* --- Memory --- */

static char *keep(struct reader *r, const char *text, size_t length)
{
    struct lm_room_memory *memory = r->config->memory;
    if (memory->text_count == memory->text_capacity) {
        const size_t capacity = memory->text_capacity ? 2 * memory->text_capacity : 16;
        char **grown = lm_resize(memory->texts, capacity, sizeof *grown, r->error);
        if (!grown)
            return NULL;
        memory->texts = grown;
        memory->text_capacity = capacity;
    }
    char *copy = lm_copy_string(text, length, r->error);
    if (copy)
        memory->texts[memory->text_count++] = copy;
    return copy;
}

/* The path as it is, or in the folder of the file. */
static const char *beside_file(struct reader *r, const char *path)
{
    const char *slash = strrchr(r->config->path, '/');
    if (*path == '/' || !slash)
        return keep(r, path, strlen(path));
    struct lm_bytes whole = {0};
    char *kept = NULL;
    if (lm_bytes_format(&whole, r->error, "%.*s/%s", (int)(slash - r->config->path), r->config->path, path) == LOAM_OK)
        kept = keep(r, whole.data, whole.length);
    lm_bytes_free(&whole);
    return kept;
}

void lm_room_config_free(struct lm_room_config *config)
{
    if (!config)
        return;
    struct lm_room_memory *memory = config->memory;
    for (size_t i = 0; memory && i < memory->text_count; i++)
        lm_free(memory->texts[i]);
    for (size_t i = 0; memory && i < memory->header_lists; i++)
        lm_free(memory->headers[i]);
    if (memory) {
        lm_free(memory->texts);
        lm_free(memory->headers);
        lm_free(memory->allow);
        lm_document_free(memory->document);
    }
    lm_free(memory);
    lm_free(config->participants);
    lm_free(config);
}

/* --- Values --- */

static int check_keys(struct reader *r, const struct lm_value *object, const char *of, const char *const *names)
{
    struct lm_bytes list = {0};
    int code = LOAM_OK;
    if (!object || object->kind != LM_OBJECT)
        return lm_value_fail(r->document, object, r->error, "%s: wanted a mapping of keys to values", of);
    for (size_t i = 0; i < object->length && code == LOAM_OK; i++) {
        bool found = false;
        for (const char *const *name = names; *name; name++)
            found = found || lm_value_is(&object->keys[i], *name);
        if (found)
            continue;
        for (const char *const *name = names; *name; name++)
            lm_bytes_format(&list, NULL, "%s%s", name == names ? "" : ", ", *name);
        code = lm_value_fail(r->document, &object->items[i], r->error, "unknown key '%s'; %s has: %s", object->keys[i].text, of,
                             list.data ? list.data : "");
    }
    lm_bytes_free(&list);
    return code;
}

static int text_of(struct reader *r, const struct lm_value *object, const char *key, const char **text)
{
    const struct lm_value *value = lm_value_find(object, key);
    if (!value)
        return LOAM_OK;
    const int code = lm_value_string(r->document, value, text, r->error);
    if (code == LOAM_OK && (!**text || strlen(*text) != value->length))
        return lm_value_fail(r->document, value, r->error, "found an empty text (or one with a 0 byte), wanted one; leave the key out instead");
    return code;
}

static int needed_text(struct reader *r, const struct lm_value *object, const char *of, const char *key, const char **text)
{
    if (!lm_value_find(object, key))
        return lm_value_fail(r->document, object, r->error, "%s: the key '%s' is missing", of, key);
    return text_of(r, object, key, text);
}

static int whole_of(struct reader *r, const struct lm_value *object, const char *key, int64_t least, int64_t most, int64_t *number)
{
    const struct lm_value *value = lm_value_find(object, key);
    return value ? lm_value_int(r->document, value, least, most, number, r->error) : LOAM_OK;
}

static int number_of(struct reader *r, const struct lm_value *object, const char *key, double least, double most, double *number)
{
    const struct lm_value *value = lm_value_find(object, key);
    int code = value ? lm_value_double(r->document, value, number, r->error) : LOAM_OK;
    if (code == LOAM_OK && value && !(*number >= least && *number <= most))
        code = lm_value_fail(r->document, value, r->error, "found %s, wanted %g to %g", value->text, least, most);
    return code;
}

/* The name of an entry of the secrets file: what looks like the secret itself is refused, unseen. */
static int secret_name(struct reader *r, const struct lm_value *object, const char *key, const char **name)
{
    const struct lm_value *value = lm_value_find(object, key);
    if (!value)
        return LOAM_OK;
    const char *text = value->kind == LM_STRING ? value->text : "";
    size_t length = strlen(text), digits = 0;
    for (const char *at = text; *at; at++)
        digits += *at >= '0' && *at <= '9';
    const bool plain = length && length <= 64 && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == length;
    if (!plain || !strncmp(text, "sk-", 3) || digits > 12)
        return lm_value_fail(r->document, value, r->error, "wanted the NAME of an entry of the secrets file (letters, digits, _ - .; at most "
                             "64), not the secret itself; what stands here is not shown");
    *name = text;
    return LOAM_OK;
}

static int address(struct reader *r, const struct lm_value *object, const char *key, const char **text)
{
    const int code = text_of(r, object, key, text);
    if (code != LOAM_OK || !*text)
        return code;
    size_t length = strlen(*text);
    const bool http = !strncmp(*text, "http://", 7) && length > 7, https = !strncmp(*text, "https://", 8) && length > 8;
    if ((!http && !https) || strpbrk(*text, " \t\r\n\"<>"))
        return lm_value_fail(r->document, lm_value_find(object, key), r->error, "found '%s', wanted an address that begins with http:// or https://",
                             *text);
    if (strchr(*text, '@'))
        return lm_value_fail(r->document, lm_value_find(object, key), r->error, "an address with a user name or a password in it; give a key by `key` instead");
    while (length && (*text)[length - 1] == '/')
        length--;
    *text = keep(r, *text, length);
    return *text ? LOAM_OK : LOAM_ENOMEM;
}

/* --- room --- */

static int read_window(struct reader *r, const struct lm_value *room, struct lm_room_settings *settings)
{
    static const char *const keys[] = {"size", "oldest", NULL};
    enum { LEAST = 64, MOST = 1 << 24 };
    const struct lm_value *value = lm_value_find(room, "window_tokens");
    const char *oldest = "drop";
    if (!value || value->kind != LM_OBJECT)
        return whole_of(r, room, "window_tokens", LEAST, MOST, &settings->window_tokens);
    int code = check_keys(r, value, "window_tokens", keys);
    if (code == LOAM_OK)
        code = whole_of(r, value, "size", LEAST, MOST, &settings->window_tokens);
    if (code == LOAM_OK)
        code = text_of(r, value, "oldest", &oldest);
    if (code == LOAM_OK && strcmp(oldest, "drop") && strcmp(oldest, "summarise"))
        code = lm_value_fail(r->document, lm_value_find(value, "oldest"), r->error, "found '%s', wanted drop or summarise", oldest);
    settings->summarise = code == LOAM_OK && !strcmp(oldest, "summarise");
    return code;
}

static int read_room(struct reader *r, const struct lm_value *room)
{
    static const char *const keys[] = {"name", "owner", "rounds", "order", "max_ai_turns", "tokens_per_hour", "cost_per_hour",
                                       "window_tokens", "pass_threshold", NULL};
    struct lm_room_settings *settings = &r->config->settings;
    const char *order = NULL;
    loam_error inner;
    int code = check_keys(r, room, "room", keys);
    if (code == LOAM_OK)
        code = needed_text(r, room, "room", "name", &r->config->name);
    if (code == LOAM_OK)
        code = text_of(r, room, "owner", &r->config->owner);
    if (code == LOAM_OK)
        code = whole_of(r, room, "rounds", 1, 100, &settings->rounds);
    if (code == LOAM_OK)
        code = text_of(r, room, "order", &order);
    if (code == LOAM_OK && order && lm_room_order_parse(order, &settings->order, &inner) != LOAM_OK)
        code = lm_value_fail(r->document, lm_value_find(room, "order"), r->error, "%s", inner.message);
    if (code == LOAM_OK)
        code = whole_of(r, room, "max_ai_turns", 0, 100000, &settings->max_ai_turns);
    if (code == LOAM_OK)
        code = whole_of(r, room, "tokens_per_hour", 0, INT64_MAX / 2, &settings->tokens_per_hour);
    if (code == LOAM_OK)
        code = number_of(r, room, "cost_per_hour", 0, 1e12, &settings->cost_per_hour);
    if (code == LOAM_OK)
        code = read_window(r, room, settings);
    return code == LOAM_OK ? number_of(r, room, "pass_threshold", 0, 1, &settings->pass_threshold) : code;
}

/* --- participants --- */

static int read_sampling(struct reader *r, const struct lm_value *value, struct lm_participant_sampling *sampling)
{
    static const char *const keys[] = {"temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
                                       "frequency_penalty", "seed", "max_tokens", NULL};
    loam_sampling *how = &sampling->how;
    int64_t seed = 0;
    loam_error inner;
    if (!value)
        return LOAM_OK;
    int code = check_keys(r, value, "sampling", keys);
    sampling->has_temperature = lm_value_find(value, "temperature");
    sampling->has_top_k = lm_value_find(value, "top_k");
    sampling->has_top_p = lm_value_find(value, "top_p");
    sampling->has_min_p = lm_value_find(value, "min_p");
    sampling->has_repetition_penalty = lm_value_find(value, "repetition_penalty");
    sampling->has_presence_penalty = lm_value_find(value, "presence_penalty");
    sampling->has_frequency_penalty = lm_value_find(value, "frequency_penalty");
    sampling->has_seed = lm_value_find(value, "seed");
    if (code == LOAM_OK)
        code = number_of(r, value, "temperature", 0, 100, &how->temperature);
    if (code == LOAM_OK)
        code = whole_of(r, value, "top_k", 0, INT32_MAX, &how->top_k);
    if (code == LOAM_OK)
        code = number_of(r, value, "top_p", 0, 1, &how->top_p);
    if (code == LOAM_OK)
        code = number_of(r, value, "min_p", 0, 1, &how->min_p);
    if (code == LOAM_OK)
        code = number_of(r, value, "repetition_penalty", 0, 100, &how->repetition_penalty);
    if (code == LOAM_OK)
        code = number_of(r, value, "presence_penalty", -2, 2, &sampling->presence_penalty);
    if (code == LOAM_OK)
        code = number_of(r, value, "frequency_penalty", -2, 2, &sampling->frequency_penalty);
    if (code == LOAM_OK)
        code = whole_of(r, value, "seed", 0, INT64_MAX, &seed);
    how->seed = (uint64_t)seed;
    if (code == LOAM_OK)
        code = whole_of(r, value, "max_tokens", 1, 1 << 20, &sampling->max_tokens);
    if (code == LOAM_OK && lm_sampling_check(how, &inner) != LOAM_OK)
        code = lm_value_fail(r->document, value, r->error, "%s", inner.message);
    return code;
}

static int read_price(struct reader *r, const struct lm_value *object, struct lm_participant *participant)
{
    static const char *const keys[] = {"input", "output", NULL};
    const struct lm_value *price = lm_value_find(object, "price");
    if (!price)
        return LOAM_OK;
    if (price->kind == LM_NUMBER) {
        const int code = number_of(r, object, "price", 0, 1e9, &participant->price_input);
        participant->price_output = participant->price_input;
        return code;
    }
    int code = check_keys(r, price, "price", keys);
    if (code == LOAM_OK)
        code = number_of(r, price, "input", 0, 1e9, &participant->price_input);
    return code == LOAM_OK ? number_of(r, price, "output", 0, 1e9, &participant->price_output) : code;
}

static int read_headers(struct reader *r, const struct lm_value *value, struct lm_participant *participant)
{
    struct lm_room_memory *memory = r->config->memory;
    if (!value)
        return LOAM_OK;
    if (value->kind != LM_OBJECT)
        return lm_value_fail(r->document, value, r->error, "headers: wanted a mapping of names to texts");
    struct lm_header **lists = lm_resize(memory->headers, memory->header_lists + 1, sizeof *lists, r->error);
    if (!lists)
        return LOAM_ENOMEM;
    memory->headers = lists;
    struct lm_header *headers = memory->headers[memory->header_lists] = lm_alloc(value->length + 1, sizeof *headers, r->error);
    if (!headers)
        return LOAM_ENOMEM;
    memory->header_lists++;
    for (size_t i = 0; i < value->length; i++) {
        const struct lm_value *item = &value->items[i];
        const char *name = value->keys[i].text;
        if (item->kind != LM_STRING || strlen(item->text) != item->length || strpbrk(item->text, "\r\n") || !*name ||
            strpbrk(name, ":\r\n \t") || strlen(name) != value->keys[i].length)
            return lm_value_fail(r->document, item, r->error, "header: wanted a name without blanks and colons and a text of one line; what "
                                 "stands here is not shown");
        headers[i] = (struct lm_header){name, item->text};
    }
    participant->headers = headers;
    participant->header_count = value->length;
    return LOAM_OK;
}

static int read_service(struct reader *r, const struct lm_value *service, const char *kind, struct lm_participant *participant)
{
    static const char *const keys[] = {"base_url", "model", "key", "headers", NULL};
    int code = check_keys(r, service, kind, keys);
    if (code == LOAM_OK && !lm_value_find(service, "base_url"))
        code = lm_value_fail(r->document, service, r->error, "%s: the key 'base_url' is missing", kind);
    if (code == LOAM_OK)
        code = address(r, service, "base_url", &participant->base_url);
    if (code == LOAM_OK)
        code = needed_text(r, service, kind, "model", &participant->model);
    if (code == LOAM_OK)
        code = secret_name(r, service, "key", &participant->key);
    return code == LOAM_OK ? read_headers(r, lm_value_find(service, "headers"), participant) : code;
}

/* Which of the three it is, and its parts. */
static int read_kind(struct reader *r, const struct lm_value *value, struct lm_participant *participant)
{
    const struct lm_value *model = lm_value_find(value, "model"), *openai = lm_value_find(value, "openai"),
                          *anthropic = lm_value_find(value, "anthropic");
    if (!!model + !!openai + !!anthropic != 1)
        return lm_value_fail(r->document, value, r->error, "participant '%s': found %d of the keys model, openai and anthropic, wanted one of them",
                             participant->name, !!model + !!openai + !!anthropic);
    if (model) {
        const char *path = NULL;
        int code = text_of(r, value, "model", &path);
        if (code == LOAM_OK && !(participant->path = beside_file(r, path)))
            code = LOAM_ENOMEM;
        return code;
    }
    participant->kind = openai ? LM_PARTICIPANT_OPENAI : LM_PARTICIPANT_ANTHROPIC;
    return read_service(r, openai ? openai : anthropic, openai ? "openai" : "anthropic", participant);
}

static int check_name(struct reader *r, const struct lm_value *value, const struct lm_participant *participant)
{
    char clean[LM_NAME_BYTES];
    lm_harmless_name(participant->name, clean);
    if (strcmp(clean, participant->name))
        return lm_value_fail(r->document, lm_value_find(value, "name"), r->error, "the name has brackets, invisible characters, a sign of a tag, or "
                             "is too long; wanted for example '%s'", clean);
    for (const struct lm_participant *other = r->config->participants; other < participant; other++)
        if (lm_same_name(other->name, participant->name))
            return lm_value_fail(r->document, lm_value_find(value, "name"), r->error, "two participants are called '%s' and '%s', which people could "
                                 "not tell apart; give one of them another name", other->name, participant->name);
    return LOAM_OK;
}

static int read_participant(struct reader *r, const struct lm_value *value, struct lm_participant *participant)
{
    static const char *const keys[] = {"name", "model", "openai", "anthropic", "system", "sampling", "timeout", "price", NULL};
    *participant = (struct lm_participant){.timeout = 120, .sampling = {.how = loam_sampling_default(), .max_tokens = 400}};
    int code = check_keys(r, value, "a participant", keys);
    if (code == LOAM_OK)
        code = needed_text(r, value, "a participant", "name", &participant->name);
    if (code == LOAM_OK)
        code = check_name(r, value, participant);
    if (code == LOAM_OK)
        code = read_kind(r, value, participant);
    if (code == LOAM_OK)
        code = text_of(r, value, "system", &participant->system);
    if (code == LOAM_OK && participant->system && strlen(participant->system) > LONGEST_SYSTEM)
        code = lm_value_fail(r->document, lm_value_find(value, "system"), r->error, "found %zu bytes, wanted at most %d", strlen(participant->system),
                             LONGEST_SYSTEM);
    if (code == LOAM_OK)
        code = read_sampling(r, lm_value_find(value, "sampling"), &participant->sampling);
    if (code == LOAM_OK)
        code = number_of(r, value, "timeout", 0.1, 86400, &participant->timeout);
    return code == LOAM_OK ? read_price(r, value, participant) : code;
}

static int read_participants(struct reader *r, const struct lm_value *list)
{
    struct lm_room_config *config = r->config;
    if (!list || list->kind != LM_ARRAY || !list->length || list->length > MOST_PARTICIPANTS)
        return lm_value_fail(r->document, list, r->error, "participants: wanted a list of 1 to %d", MOST_PARTICIPANTS);
    config->participants = lm_alloc(list->length, sizeof *config->participants, r->error);
    int code = config->participants ? LOAM_OK : LOAM_ENOMEM;
    for (size_t i = 0; i < list->length && code == LOAM_OK; i++, config->participant_count++)
        code = read_participant(r, &list->items[i], &config->participants[i]);
    return code;
}

/* --- telegram, web --- */

static int read_telegram(struct reader *r, const struct lm_value *value)
{
    static const char *const keys[] = {"token", "secret", "allow", "api_url", "webhook", NULL};
    struct lm_telegram_config *telegram = &r->config->telegram;
    telegram->api_url = "https://api.telegram.org";
    if (!value)
        return LOAM_OK;
    telegram->given = true;
    int code = check_keys(r, value, "telegram", keys);
    if (code == LOAM_OK && !lm_value_find(value, "token"))
        code = lm_value_fail(r->document, value, r->error, "telegram: the key 'token' is missing");
    if (code == LOAM_OK)
        code = secret_name(r, value, "token", &telegram->token);
    if (code == LOAM_OK)
        code = secret_name(r, value, "secret", &telegram->secret);
    if (code == LOAM_OK)
        code = address(r, value, "api_url", &telegram->api_url);
    if (code == LOAM_OK)
        code = address(r, value, "webhook", &telegram->webhook);
    const struct lm_value *allow = lm_value_find(value, "allow");
    if (code != LOAM_OK || !allow)
        return code;
    if (allow->kind != LM_ARRAY)
        return lm_value_fail(r->document, allow, r->error, "allow: wanted a list of user ids");
    int64_t *ids = r->config->memory->allow = lm_alloc(allow->length + 1, sizeof *ids, r->error);
    if (!ids)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < allow->length && code == LOAM_OK; i++)
        code = lm_value_int(r->document, &allow->items[i], 1, INT64_MAX, &ids[i], r->error);
    telegram->allow = ids;
    telegram->allow_count = allow->length;
    return code;
}

static int read_web(struct reader *r, const struct lm_value *value)
{
    static const char *const keys[] = {"host", "port", NULL};
    int64_t port = 8081;
    if (!value)
        return LOAM_OK;
    r->config->web_host = "127.0.0.1";
    int code = check_keys(r, value, "web", keys);
    if (code == LOAM_OK)
        code = text_of(r, value, "host", &r->config->web_host);
    if (code == LOAM_OK)
        code = whole_of(r, value, "port", 0, 65535, &port);
    r->config->web_port = (int)port;
    return code;
}

/* --- The file --- */

static int read_file(struct reader *r)
{
    static const char *const keys[] = {"room", "participants", "telegram", "web", "database", NULL};
    const struct lm_value *root = lm_document_root(r->document);
    const char *database = "room.db";
    int code = check_keys(r, root, "the file", keys);
    if (code == LOAM_OK && !lm_value_find(root, "room"))
        code = lm_value_fail(r->document, root, r->error, "the key 'room' is missing; loam room init writes an example");
    if (code == LOAM_OK && !lm_value_find(root, "participants"))
        code = lm_value_fail(r->document, root, r->error, "the key 'participants' is missing; loam room init writes an example");
    if (code == LOAM_OK)
        code = read_room(r, lm_value_find(root, "room"));
    if (code == LOAM_OK)
        code = read_participants(r, lm_value_find(root, "participants"));
    if (code == LOAM_OK)
        code = read_telegram(r, lm_value_find(root, "telegram"));
    if (code == LOAM_OK)
        code = read_web(r, lm_value_find(root, "web"));
    if (code == LOAM_OK)
        code = text_of(r, root, "database", &database);
    if (code == LOAM_OK && !(r->config->database = beside_file(r, database)))
        code = LOAM_ENOMEM;
    return code;
}

static int begin(const char *path, struct reader *r)
{
    struct lm_room_config *config = r->config = lm_alloc(1, sizeof *config, r->error);
    if (!config || !(config->memory = lm_alloc(1, sizeof *config->memory, r->error)) || !(config->path = keep(r, path, strlen(path)))) {
        lm_room_config_free(config);
        return LOAM_ENOMEM;
    }
    config->settings = (struct lm_room_settings){.order = LM_ORDER_RANDOM, .rounds = 2, .max_ai_turns = 20, .window_tokens = 8000,
                                                 .pass_threshold = 0.5};
    return LOAM_OK;
}

int lm_room_config_parse(const char *text, size_t length, const char *path, struct lm_room_config **result, loam_error *error)
{
    loam_error own;
    struct reader r = {.error = error ? error : &own};
    int code = begin(path, &r);
    if (code != LOAM_OK)
        return code;
    code = lm_yaml_parse(text, length, path, &r.config->memory->document, r.error);
    r.document = r.config->memory->document;
    if (code == LOAM_OK)
        code = read_file(&r);
    if (code != LOAM_OK) {
        lm_room_config_free(r.config);
        return code;
    }
    *result = r.config;
    return LOAM_OK;
}

int lm_room_config_read(const char *path, struct lm_room_config **config, loam_error *error)
{
    struct lm_bytes text = {0};
    int code = lm_file_read(path, 4 << 20, &text, error);
    if (code == LOAM_OK)
        code = lm_room_config_parse(text.data ? text.data : "", text.length, path, config, error);
    lm_bytes_free(&text);
    return code;
}

/* --- loam room init --- */

const char lm_room_config_example[] =
    "# A chatroom of loam: loam room room.yaml. Secrets do not stand here; `key`, `token` and `secret` are the names of entries of\n"
    "# a secrets file that only its owner can read (loam room --secrets FILE), or of environment variables.\n"
    "\n"
    "room:\n"
    "  name: The workshop\n"
    "  # owner: telegram:12345        # whose commands may change settings, besides whoever runs the room at a terminal\n"
    "  rounds: 2                      # how often the AIs may react to each other, for one message\n"
    "  order: random                  # random, fixed, mentioned, one, moderator (the first participant chooses), together\n"
    "  max_ai_turns: 20               # AI messages for one message of a person\n"
    "  tokens_per_hour: 0             # 0: no limit\n"
    "  cost_per_hour: 0               # in the money of `price`; 0: no limit\n"
    "  window_tokens: 8000            # of history that a participant is sent, or {size: 8000, oldest: summarise}\n"
    "  pass_threshold: 0.5            # a local model passes where PASS is likelier than this\n"
    "\n"
    "participants:\n"
    "  - name: Ada\n"
    "    model: loam-quickstart       # a model directory or a GGUF file, run here\n"
    "    system: You are cheerful.    # in addition to the rules of the room\n"
    "    sampling: {temperature: 0.7, top_p: 0.95, max_tokens: 200}\n"
    "  - name: Bix\n"
    "    model: loam-quickstart       # the same directory: engine and weights are shared\n"
    "    system: You are calm.\n"
    "\n"
    "  # A service that speaks OpenAI's API (another loam serve does too):\n"
    "  # - name: Cleo\n"
    "  #   openai:\n"
    "  #     base_url: http://127.0.0.1:8080/v1\n"
    "  #     model: loam-quickstart\n"
    "  #     key: cleo                # the name of an entry of the secrets; leave it out where none is needed\n"
    "  #     headers: {X-Title: loam}\n"
    "  #   timeout: 60                # seconds that one try may take\n"
    "  #   price: {input: 3, output: 15}    # for a million tokens\n"
    "\n"
    "  # A service that speaks Anthropic's API:\n"
    "  # - name: Dora\n"
    "  #   anthropic: {base_url: https://api.anthropic.com, model: a-model, key: dora}\n"
    "\n"
    "# telegram:\n"
    "#   token: telegram_token        # the name of an entry of the secrets\n"
    "#   secret: telegram_secret      # what /start has to be given\n"
    "#   allow: [12345]               # only these users; leave it out for everybody who has the secret\n"
    "#   api_url: https://api.telegram.org\n"
    "#   webhook: https://example.org/telegram    # leave it out to ask for updates instead\n"
    "\n"
    "# web: {host: 127.0.0.1, port: 8081}\n"
    "\n"
    "database: room.db                # the history\n";
