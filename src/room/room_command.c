/* What begins with a slash in a room: who may change what, and how it is kept. */
#include "rooms_inside.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SEARCH_SHOWN = 10, SNIPPET_BYTES = 160, LONGEST_SYSTEM = 32 * 1024 };

/* --- Settings as JSON: only what differs from the configuration --- */

static void write_names(struct lm_json_writer *writer, const char *key, const struct lm_room *room, const bool *which)
{
    lm_json_key(writer, key);
    lm_json_begin_array(writer);
    for (size_t i = 0; i < room->rooms->count; i++)
        if (which[i])
            lm_json_text(writer, room->rooms->config->participants[i].name);
    lm_json_end_array(writer);
}

static void write_number(struct lm_json_writer *writer, const char *key, double now, double standard)
{
    if (now == standard)
        return;
    lm_json_key(writer, key);
    lm_json_double(writer, now);
}

/* With the lock held. */
static int write_settings(const struct lm_room *room, struct lm_bytes *out, loam_error *error)
{
    const struct lm_room_settings *now = &room->settings, *standard = &room->rooms->config->settings;
    struct lm_json_writer writer = lm_json_writer(out, 0);
    lm_json_begin_object(&writer);
    if (now->order != standard->order) {
        lm_json_key(&writer, "order");
        lm_json_text(&writer, lm_room_order_name(now->order));
    }
    write_number(&writer, "rounds", (double)now->rounds, (double)standard->rounds);
    write_number(&writer, "max_ai_turns", (double)now->max_ai_turns, (double)standard->max_ai_turns);
    write_number(&writer, "tokens_per_hour", (double)now->tokens_per_hour, (double)standard->tokens_per_hour);
    write_number(&writer, "cost_per_hour", now->cost_per_hour, standard->cost_per_hour);
    write_number(&writer, "window_tokens", (double)now->window_tokens, (double)standard->window_tokens);
    write_number(&writer, "pass_threshold", now->pass_threshold, standard->pass_threshold);
    write_names(&writer, "muted", room, room->muted);
    write_names(&writer, "gone", room, room->gone);
    lm_json_key(&writer, "systems");
    lm_json_begin_object(&writer);
    for (size_t i = 0; i < room->rooms->count; i++)
        if (room->systems[i]) {
            lm_json_key(&writer, room->rooms->config->participants[i].name);
            lm_json_text(&writer, room->systems[i]);
        }
    lm_json_end_object(&writer);
    lm_json_end_object(&writer);
    return lm_json_writer_finish(&writer, error);
}

static void read_names(const struct lm_room *room, const struct lm_value *names, bool *which)
{
    for (size_t n = 0; names && names->kind == LM_ARRAY && n < names->length; n++)
        for (size_t i = 0; i < room->rooms->count; i++)
            if (lm_value_is(&names->items[n], room->rooms->config->participants[i].name))
                which[i] = true;
}

static void read_whole(const struct lm_document *document, const char *key, int64_t least, int64_t most, int64_t *number)
{
    int64_t found;
    if (lm_value_int(document, lm_value_find(lm_document_root(document), key), least, most, &found, NULL) == LOAM_OK)
        *number = found;
}

static void read_number(const struct lm_document *document, const char *key, double most, double *number)
{
    double found;
    if (lm_value_double(document, lm_value_find(lm_document_root(document), key), &found, NULL) == LOAM_OK && found >= 0 && found <= most)
        *number = found;
}

/* Values that are none, and participants that the configuration has no more, are passed over. */
int lm_room_settings_read(struct lm_room *room, const char *json, loam_error *error)
{
    struct lm_document *document;
    struct lm_room_settings *settings = &room->settings;
    int code = lm_json_parse(json, strlen(json), "the room's settings", &document, error);
    if (code != LOAM_OK)
        return code;
    const struct lm_value *root = lm_document_root(document), *order = lm_value_find(root, "order"), *systems = lm_value_find(root, "systems");
    if (order && order->kind == LM_STRING)
        lm_room_order_parse(order->text, &settings->order, NULL);
    read_whole(document, "rounds", 1, 100, &settings->rounds);
    read_whole(document, "max_ai_turns", 0, 100000, &settings->max_ai_turns);
    read_whole(document, "tokens_per_hour", 0, INT64_MAX / 2, &settings->tokens_per_hour);
    read_number(document, "cost_per_hour", 1e12, &settings->cost_per_hour);
    read_whole(document, "window_tokens", 64, 1 << 24, &settings->window_tokens);
    read_number(document, "pass_threshold", 1, &settings->pass_threshold);
    read_names(room, lm_value_find(root, "muted"), room->muted);
    read_names(room, lm_value_find(root, "gone"), room->gone);
    for (size_t i = 0; i < room->rooms->count && code == LOAM_OK; i++) {
        const struct lm_value *system = lm_value_find(systems, room->rooms->config->participants[i].name);
        if (system && system->kind == LM_STRING && !(room->systems[i] = lm_copy_string(system->text, system->length, error)))
            code = LOAM_ENOMEM;
    }
    lm_document_free(document);
    return code;
}

/* --- Commands --- */

struct call {
    struct lm_room *room;
    const struct lm_person *who;
    const char *rest;               /* behind the command's name, without blanks at its begin */
    struct lm_bytes *reply;
    loam_error *error;
};
struct command_entry {
    const char *name, *usage, *help;
    bool changes;                   /* wants the owner */
    int (*run)(struct call *call);
};

static int say(struct call *call, const char *format, ...) LM_PRINTF(2, 3);
static int say(struct call *call, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    lm_format_list(text, sizeof text, format, arguments);
    va_end(arguments);
    text[strlen(text) - lm_utf8_unfinished(text, strlen(text))] = 0;
    return lm_bytes_format(call->reply, call->error, "%s\n", text);
}

/* Keeps the settings as they are now, answers, and tells everybody. */
static int changed(struct call *call, const char *text)
{
    struct lm_room *room = call->room;
    struct lm_bytes json = {0};
    struct lm_news *news = lm_alloc(1, sizeof *news, call->error);
    if (!news)
        return LOAM_ENOMEM;
    *news = (struct lm_news){.kind = LM_NEWS_CHANGED, .room = room, .text = lm_copy_string(text, strlen(text), call->error),
                             .person = call->who->id ? lm_copy_string(call->who->id, strlen(call->who->id), call->error) : NULL};
    pthread_mutex_lock(&room->rooms->lock);
    int code = write_settings(room, &json, call->error);
    pthread_mutex_unlock(&room->rooms->lock);
    if (code == LOAM_OK)
        code = lm_ledger_settings(room->rooms->ledger, room->number, json.data, call->error);
    lm_bytes_free(&json);
    if (code != LOAM_OK) {
        lm_news_free(news);
        return code;
    }
    lm_rooms_push(room->rooms, news);
    (void)say(call, "%s", text);    /* kept it is, even where this cannot be answered */
    return LOAM_OK;
}

/* `size` bytes, eight at most, of a setting of the room with those of `value`. */
static void exchange(struct call *call, void *at, void *value, size_t size)
{
    char was[8];
    pthread_mutex_lock(&call->room->rooms->lock);
    memcpy(was, at, size);
    memcpy(at, value, size);
    pthread_mutex_unlock(&call->room->rooms->lock);
    memcpy(value, was, size);
}
/* The setting `at` becomes `value`, which has the old one then; where that cannot be kept, both are as before. The text says what has
 * changed. */
static int change(struct call *call, void *at, void *value, size_t size, const char *format, ...) LM_PRINTF(5, 6);
static int change(struct call *call, void *at, void *value, size_t size, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    lm_format_list(text, sizeof text, format, arguments);
    va_end(arguments);
    text[strlen(text) - lm_utf8_unfinished(text, strlen(text))] = 0;
    exchange(call, at, value, size);
    const int code = changed(call, text);
    if (code != LOAM_OK)
        exchange(call, at, value, size);
    return code;
}

static int find_member(struct call *call, const char *name, size_t *index)
{
    const struct lm_room_config *config = call->room->rooms->config;
    struct lm_bytes names = {0};
    for (size_t i = 0; i < config->participant_count; i++) {
        if (lm_same_name(config->participants[i].name, *name == '@' ? name + 1 : name)) {
            *index = i;
            lm_bytes_free(&names);
            return LOAM_OK;
        }
        lm_bytes_format(&names, NULL, "%s%s", i ? ", " : "", config->participants[i].name);
    }
    const int code = lm_fail(call->error, LOAM_EUSAGE, "%s '%.80s'; there are: %.600s", *name ? "there is no participant" : "whom? found", name,
                             names.data ? names.data : "");
    lm_bytes_free(&names);
    return code;
}

static int run_who(struct call *call)
{
    struct lm_member members[64];
    const size_t count = lm_room_members(call->room, members, 64);
    const struct lm_room_config *config = call->room->rooms->config;
    int code = LOAM_OK;
    for (size_t i = 0; i < count && i < 64 && code == LOAM_OK; i++) {
        const struct lm_participant *p = &config->participants[i];
        code = say(call, "%s (%s)%s", members[i].name, p->kind == LM_PARTICIPANT_MODEL ? p->path : p->model,
                   !members[i].present ? ", not in the room" : members[i].muted ? ", muted" : members[i].thinking ? ", thinking" : "");
    }
    return code;
}

static int set_flag(struct call *call, bool *flags, bool on, const char *done)
{
    size_t index;
    const int code = find_member(call, call->rest, &index);
    if (code != LOAM_OK)
        return code;
    return change(call, &flags[index], &on, sizeof on, "%s %s", call->room->rooms->config->participants[index].name, done);
}

static int run_mute(struct call *call)
{
    return set_flag(call, call->room->muted, true, "is muted");
}

static int run_unmute(struct call *call)
{
    return set_flag(call, call->room->muted, false, "may speak again");
}

static int run_invite(struct call *call)
{
    return set_flag(call, call->room->gone, false, "is in the room");
}

static int run_kick(struct call *call)
{
    return set_flag(call, call->room->gone, true, "has left the room");
}

static int run_order(struct call *call)
{
    enum lm_room_order order;
    struct lm_room *room = call->room;
    if (!*call->rest)
        return say(call, "order: %s (random, fixed, mentioned, one, moderator, together)", lm_room_order_name(room->settings.order));
    const int code = lm_room_order_parse(call->rest, &order, call->error);
    if (code != LOAM_OK)
        return code;
    return change(call, &room->settings.order, &order, sizeof order, "The order is %s now", lm_room_order_name(order));
}

struct setting {
    const char *name;
    size_t offset;                  /* in struct lm_room_settings */
    bool whole;
    double least, most;
};
#define SETTING(name, whole, least, most) {#name, offsetof(struct lm_room_settings, name), whole, least, most}
static const struct setting settings_table[] = {
    SETTING(rounds, true, 1, 100),          SETTING(max_ai_turns, true, 0, 100000), SETTING(tokens_per_hour, true, 0, 4e18),
    SETTING(cost_per_hour, false, 0, 1e12), SETTING(window_tokens, true, 64, 1 << 24), SETTING(pass_threshold, false, 0, 1),
};
enum { SETTINGS = sizeof settings_table / sizeof *settings_table };

static void show_value(const struct setting *setting, const void *at, char out[32])
{
    if (setting->whole)
        lm_format(out, 32, "%lld", (long long)*(const int64_t *)at);
    else
        lm_format_double(*(const double *)at, out);
}

static void show_setting(const struct setting *setting, const struct lm_room_settings *settings, char out[32])
{
    show_value(setting, (const char *)settings + setting->offset, out);
}

static int set_number(struct call *call, const struct setting *setting, const char *text)
{
    double number = 0;
    char shown[32];
    loam_error inner;
    if (lm_parse_double(text, &number, &inner) != LOAM_OK || !(number >= setting->least && number <= setting->most) ||
        (setting->whole && number != floor(number)))
        return lm_fail(call->error, LOAM_EUSAGE, "%s: found '%.80s', wanted %s from %g to %g", setting->name, text,
                       setting->whole ? "a whole number" : "a number", setting->least, setting->most);
    int64_t whole = setting->whole ? (int64_t)number : 0;
    void *value = setting->whole ? (void *)&whole : &number;
    show_value(setting, value, shown);
    return change(call, (char *)&call->room->settings + setting->offset, value, sizeof whole, "%s is %s now", setting->name, shown);
}

static int run_rounds(struct call *call)
{
    struct lm_room_settings now;
    lm_room_settings(call->room, &now);
    return *call->rest ? set_number(call, &settings_table[0], call->rest) : say(call, "rounds: %lld", (long long)now.rounds);
}

static int run_set(struct call *call)
{
    struct lm_room_settings now;
    char name[32], shown[32];
    const size_t length = strcspn(call->rest, " \t=");
    const char *value = call->rest + length + strspn(call->rest + length, " \t=");
    int code = LOAM_OK;
    lm_room_settings(call->room, &now);
    snprintf(name, sizeof name, "%.*s", (int)(length < 31 ? length : 31), call->rest);
    for (size_t i = 0; i < SETTINGS && code == LOAM_OK; i++) {
        if (*name && strcmp(name, settings_table[i].name))
            continue;
        if (*value)
            return set_number(call, &settings_table[i], value);
        show_setting(&settings_table[i], &now, shown);
        code = say(call, "%s: %s", settings_table[i].name, shown);
        if (*name)
            return code;
    }
    return *name ? lm_fail(call->error, LOAM_EUSAGE, "/set: there is no '%s'; /set alone shows what there is", name) : code;
}

static int run_system(struct call *call)
{
    struct lm_room *room = call->room;
    char name[LM_NAME_BYTES];
    size_t index, length = strcspn(call->rest, " \t\n");
    for (size_t i = 0; i < room->rooms->count; i++) {    /* names may have blanks in them */
        const char *one = room->rooms->config->participants[i].name;
        const size_t whole = strlen(one);
        if (!strncasecmp(call->rest, one, whole) && whole > length && (!call->rest[whole] || call->rest[whole] == ' '))
            length = whole;
    }
    snprintf(name, sizeof name, "%.*s", (int)(length < LM_NAME_BYTES ? length : LM_NAME_BYTES - 1), call->rest);
    const char *text = call->rest + length + strspn(call->rest + length, " \t");
    int code = find_member(call, name, &index);
    if (code != LOAM_OK)
        return code;
    const struct lm_participant *participant = &room->rooms->config->participants[index];
    if (!*text) {
        pthread_mutex_lock(&room->rooms->lock);
        const char *now = room->systems[index] ? room->systems[index] : participant->system;
        code = say(call, "%s: %.1500s", participant->name, now && *now ? now : "(nothing besides the rules of the room)");
        pthread_mutex_unlock(&room->rooms->lock);
        return code;
    }
    if (strlen(text) > LONGEST_SYSTEM)
        return lm_fail(call->error, LOAM_EUSAGE, "/system: found %zu bytes, wanted at most %d", strlen(text), LONGEST_SYSTEM);
    struct lm_bytes clean = {0};
    code = lm_harmless_text(text, strcmp(text, "-") ? strlen(text) : 0, &clean, call->error);
    if (code != LOAM_OK)
        return code;
    code = change(call, &room->systems[index], &clean.data, sizeof clean.data,
                  clean.length ? "%s has another system prompt now" : "%s has no system prompt of its own any more", participant->name);
    lm_bytes_free(&clean);    /* what it was before, or what could not be kept */
    return code;
}

static int show_found(void *user, const struct lm_kept *kept)
{
    struct call *call = user;
    const size_t length = kept->length < SNIPPET_BYTES ? kept->length : SNIPPET_BYTES;
    char snippet[SNIPPET_BYTES + 1];
    memcpy(snippet, kept->text, length);
    snippet[length - (length < kept->length ? lm_utf8_unfinished(kept->text, length) : 0)] = 0;
    for (char *at = snippet; *at; at++)
        if (*at == '\n')
            *at = ' ';
    return say(call, "%lld %s: %s%s", (long long)kept->id, kept->name, snippet, length < kept->length ? " …" : "");
}

static int run_search(struct call *call)
{
    const size_t before = call->reply->length;
    const int code = lm_room_search(call->room, call->rest, SEARCH_SHOWN, show_found, call, call->error);
    return code == LOAM_OK && call->reply->length == before ? say(call, "Nobody has said that.") : code;
}

static int run_cost(struct call *call)
{
    struct lm_room *room = call->room;
    const size_t before = call->reply->length;
    int64_t tokens = 0;
    double cost = 0;
    int code = lm_ledger_costs(room->rooms->ledger, room->number, call->reply, call->error);
    if (code == LOAM_OK)
        code = lm_ledger_spent(room->rooms->ledger, room->number, lm_time() - 3600, &tokens, &cost, call->error);
    if (code != LOAM_OK)
        return code;
    return call->reply->length == before ? say(call, "Nothing was spent yet.") : say(call, "In the last hour: %lld tokens, cost %.4f", (long long)tokens, cost);
}

static int run_stop(struct call *call)
{
    lm_room_stop(call->room);
    return say(call, "Stopped.");
}

static int run_help(struct call *call);
static const struct command_entry commands[] = {
    {"who", "", "who is in the room", false, run_who},
    {"mute", " NAME", "it hears, and is not asked", true, run_mute},
    {"unmute", " NAME", "it is asked again", true, run_unmute},
    {"invite", " NAME", "a participant of the configuration comes in", true, run_invite},
    {"kick", " NAME", "it leaves", true, run_kick},
    {"order", " [ORDER]", "random, fixed, mentioned, one, moderator, together", true, run_order},
    {"rounds", " [N]", "how often the AIs may react to each other", true, run_rounds},
    {"set", " [SETTING VALUE]", "limits of turns, tokens, cost, the window, the threshold of a pass", true, run_set},
    {"system", " NAME [TEXT]", "what it is told in addition to the rules; - for nothing", true, run_system},
    {"search", " TEXT", "the newest messages that hold it", false, run_search},
    {"cost", "", "what was spent", false, run_cost},
    {"stop", "", "ends the answers that are being made", false, run_stop},
    {"help", "", "this list", false, run_help},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static int run_help(struct call *call)
{
    int code = LOAM_OK;
    for (size_t i = 0; i < COMMANDS && code == LOAM_OK; i++)
        code = say(call, "/%s%s: %s", commands[i].name, commands[i].usage, commands[i].help);
    return code;
}

/* Reading a setting is everybody's; /order alone changes nothing. */
static bool only_reads(const struct command_entry *entry, const char *rest)
{
    if (entry->run == run_set || entry->run == run_order || entry->run == run_rounds)
        return !*rest || (entry->run == run_set && !strpbrk(rest, " \t="));
    return !entry->changes;
}

static int dispatch(struct call *call, const char *name, size_t length)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strlen(commands[i].name) != length || strncasecmp(commands[i].name, name, length))
            continue;
        if (!call->who->owner && !only_reads(&commands[i], call->rest))
            return lm_fail(call->error, LOAM_EUSAGE, "/%s: only the owner of the room may do that", commands[i].name);
        return commands[i].run(call);
    }
    return lm_fail(call->error, LOAM_EUSAGE, "there is no command '/%.*s'; /help lists what there is", (int)(length < 40 ? length : 40), name);
}

int lm_room_command(struct lm_room *room, const struct lm_person *who, const char *line, const char *source, int64_t position,
                    struct lm_bytes *reply, loam_error *error)
{
    loam_error own;
    bool seen = false;
    error = error ? error : &own;
    if (source && position >= 0) {
        const int code = lm_ledger_seen(room->rooms->ledger, source, position, &seen, error);
        if (code != LOAM_OK || seen)
            return code;
    }
    const char *name = line + (*line == '/');
    const size_t length = strcspn(name, " \t\n");
    struct lm_bytes rest = {0};
    const char *behind = name + length + strspn(name + length, " \t\n");
    int code = lm_harmless_text(behind, strlen(behind), &rest, error);
    while (rest.length && strchr(" \t\n", rest.data[rest.length - 1]))
        rest.data[--rest.length] = 0;
    struct call call = {.room = room, .who = who, .rest = rest.data ? rest.data : "", .reply = reply, .error = error};
    if (code == LOAM_OK)
        code = dispatch(&call, name, length);
    lm_bytes_free(&rest);
    if (source && position >= 0 && (code == LOAM_OK || code == LOAM_EUSAGE)) {    /* what failed otherwise may be brought again */
        const int noted = lm_ledger_pass_over(room->rooms->ledger, source, position, &seen, code == LOAM_OK ? error : NULL);
        code = code == LOAM_OK ? noted : code;
    }
    if (code != LOAM_OK)
        lm_bytes_format(reply, NULL, "%s\n", error->message);
    return code;
}

/* --- Members --- */

size_t lm_room_members(struct lm_room *room, struct lm_member *members, size_t room_for)
{
    const size_t count = room->rooms->count;
    pthread_mutex_lock(&room->rooms->lock);
    for (size_t i = 0; i < count && i < room_for; i++) {
        members[i] = (struct lm_member){.muted = room->muted[i], .present = !room->gone[i], .thinking = room->thinking[i]};
        snprintf(members[i].name, sizeof members[i].name, "%s", room->rooms->config->participants[i].name);
    }
    pthread_mutex_unlock(&room->rooms->lock);
    return count;
}

void lm_room_settings(struct lm_room *room, struct lm_room_settings *settings)
{
    pthread_mutex_lock(&room->rooms->lock);
    *settings = room->settings;
    pthread_mutex_unlock(&room->rooms->lock);
}
