/* Who may come in. Authorised chats are notes beside the history: "telegram:chat:ID" = {"base": …, "group": …, "by": …}.
 *
 * A wrong secret is answered late and later each time, and what comes before the answer is not looked at, be it right or wrong; after
 * five wrong tries of a user nothing of theirs is looked at for an hour. All users together have sixty wrong tries an hour. */
#include "telegram_inside.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WRONG_IN_A_ROW = 5, HOUR = 3600, WRONG_AN_HOUR = 60, SHORT_CALL = 20 };
#define CHAT_NOTE "telegram:chat:"

struct chat *telegram_chat(struct lm_telegram *bot, int64_t id)
{
    for (struct chat *chat = bot->chats; chat; chat = chat->next)
        if (chat->id == id)
            return chat;
    return NULL;
}

bool telegram_allowed(const struct lm_telegram *bot, int64_t user)
{
    for (size_t i = 0; i < bot->config->allow_count; i++)
        if (bot->config->allow[i] == user)
            return true;
    return !bot->config->allow_count;
}

/* --- Notes --- */

static void note_key(int64_t id, char key[64])
{
    lm_format(key, 64, CHAT_NOTE "%lld", (long long)id);
}

static int keep(struct lm_telegram *bot, const struct chat *chat, loam_error *error)
{
    char key[64];
    struct lm_bytes value = {0};
    note_key(chat->id, key);
    int code = lm_bytes_format(&value, error, "{\"base\":\"%s\",\"group\":%s,\"by\":%lld}", chat->base, chat->group ? "true" : "false",
                               (long long)chat->by);
    if (code == LOAM_OK)
        code = lm_rooms_note_set(bot->options.rooms, key, value.data, error);
    lm_bytes_free(&value);
    return code;
}

static int add(struct lm_telegram *bot, int64_t id, const char *base, bool group, int64_t by, struct chat **result, loam_error *error)
{
    struct chat *chat = lm_alloc(1, sizeof *chat, error);
    if (!chat)
        return LOAM_ENOMEM;
    *chat = (struct chat){.id = id, .home = strtoll(base + strlen(TELEGRAM_SOURCE ":"), NULL, 10), .group = group, .by = by, .tokens = 1e9, .next = bot->chats};    /* cut to its budget at first use */
    lm_format(chat->base, sizeof chat->base, "%s", base);
    *result = bot->chats = chat;
    return LOAM_OK;
}

static int load_chat(struct lm_telegram *bot, const char *key, loam_error *error)
{
    char *text;
    struct lm_document *document;
    struct chat *chat;
    const int64_t id = strtoll(key + strlen(CHAT_NOTE), NULL, 10);
    int code = lm_rooms_note_get(bot->options.rooms, key, &text, error);
    if (code != LOAM_OK || !text)
        return code;
    code = lm_json_parse(text, strlen(text), key, &document, error);
    lm_free(text);
    if (code != LOAM_OK)
        return code;
    const struct lm_value *root = lm_document_root(document);
    const char *base = telegram_text(root, "base");
    code = id && !strncmp(base, TELEGRAM_SOURCE ":", strlen(TELEGRAM_SOURCE ":")) ? add(bot, id, base, telegram_flag(root, "group"), telegram_number(root, "by", 0), &chat, error) : LOAM_OK;
    lm_document_free(document);
    return code;
}

/* The rooms of a chat that have history: what was said in them and has not gone out yet goes out now. */
static int load_lanes(struct lm_telegram *bot, char **ids, size_t count, loam_error *error)
{
    int code = LOAM_OK;
    for (struct chat *chat = bot->chats; chat; chat = chat->next)
        for (size_t i = 0; i < count && code == LOAM_OK; i++) {
            const size_t length = strlen(chat->base);
            struct lane *lane;
            if (strncmp(ids[i], chat->base, length) || (ids[i][length] && ids[i][length] != '/'))
                continue;
            code = telegram_lane(bot, chat, ids[i][length] ? strtoll(ids[i] + length + 1, NULL, 10) : 0, NULL, &lane, error);
        }
    return code;
}

int telegram_chats_load(struct lm_telegram *bot, loam_error *error)
{
    char **keys = NULL, **ids = NULL;
    size_t count = 0, id_count = 0;
    int code = lm_rooms_note_list(bot->options.rooms, CHAT_NOTE, &keys, &count, error);
    for (size_t i = 0; i < count && code == LOAM_OK; i++)
        code = load_chat(bot, keys[i], error);
    if (code == LOAM_OK)
        code = lm_rooms_list(bot->options.rooms, &ids, &id_count, error);
    if (code == LOAM_OK)
        code = load_lanes(bot, ids, id_count, error);
    lm_free_strings(keys, count);
    lm_free_strings(ids, id_count);
    return code;
}

/* --- Answers to those outside --- */

static void send_plain(struct lm_telegram *bot, int64_t chat_id, const char *text)
{
    struct lm_bytes body = {0};
    struct lm_json_writer json = lm_json_writer(&body, -1);
    lm_json_begin_object(&json);
    lm_json_key(&json, "chat_id");
    lm_json_int(&json, chat_id);
    lm_json_key(&json, "text");
    lm_json_text(&json, text);
    lm_json_end_object(&json);
    telegram_call(bot, "sendMessage", &body, SHORT_CALL, 0, NULL);
}

static void defer(struct lm_telegram *bot, int64_t chat_id, double at, const char *text)
{
    for (size_t i = 0; i < MOST_DEFERRED; i++)
        if (!(bot->deferred[i].at > 0)) {
            bot->deferred[i] = (struct deferred){at, chat_id, text};
            return;
        }
}

double telegram_deferred(struct lm_telegram *bot, double now)
{
    double next = INFINITY;
    for (size_t i = 0; i < MOST_DEFERRED; i++) {
        struct deferred *deferred = &bot->deferred[i];
        if (deferred->at > 0 && deferred->at <= now) {
            deferred->at = 0;
            send_plain(bot, deferred->chat_id, deferred->text);
        }
        if (deferred->at > 0 && deferred->at < next)
            next = deferred->at;
    }
    return next;
}

/* --- /start --- */

static struct tries *tries_of(struct lm_telegram *bot, int64_t user, double now)
{
    struct tries *oldest = &bot->tries[0];
    for (size_t i = 0; i < MOST_TRIES; i++) {
        if (bot->tries[i].user == user)
            return &bot->tries[i];
        if (bot->tries[i].until < oldest->until)
            oldest = &bot->tries[i];
    }
    *oldest = (struct tries){.user = user, .until = now};
    return oldest;
}

static void wrong_try(struct lm_telegram *bot, struct tries *tries, int64_t chat_id, double now)
{
    const double wait = bot->options.slow * (double)(1 << tries->wrong);
    tries->wrong++;
    bot->wrong_tokens -= 1;
    if (tries->wrong >= WRONG_IN_A_ROW) {
        tries->wrong = 0;
        tries->until = now + HOUR;
        telegram_log(bot, "user %lld gave %d wrong secrets; nothing of theirs is looked at for an hour", (long long)tries->user, WRONG_IN_A_ROW);
        return;
    }
    tries->until = now + wait;
    defer(bot, chat_id, now + wait, "That is not the secret of this room.");
}

/* The message with the secret is taken out of the chat where the bot may do that. */
static void delete_message(struct lm_telegram *bot, int64_t chat_id, const struct lm_value *message)
{
    struct lm_bytes body = {0};
    struct lm_json_writer json = lm_json_writer(&body, -1);
    lm_json_begin_object(&json);
    lm_json_key(&json, "chat_id");
    lm_json_int(&json, chat_id);
    lm_json_key(&json, "message_id");
    lm_json_int(&json, telegram_number(message, "message_id", 0));
    lm_json_end_object(&json);
    telegram_call(bot, "deleteMessage", &body, SHORT_CALL, 0, NULL);
}

static void welcome(struct lm_telegram *bot, struct lane *lane)
{
    struct lm_bytes text = {0};
    const struct lm_room_config *config = bot->options.config;
    lm_bytes_format(&text, NULL, "Welcome to %s. Here are:", config->name);
    for (size_t i = 0; i < config->participant_count; i++)
        lm_bytes_format(&text, NULL, "%s %s", i ? "," : "", config->participants[i].name);
    lm_bytes_format(&text, NULL, ".\nWhat is written here goes to them; @NAME or a reply turns to one. /help lists the commands, /revoke ends it.");
    if (lane->chat->group && !bot->reads_all)
        lm_bytes_format(&text, NULL, "\n\nTelegram's privacy mode hides from me what is neither a command, a reply to me nor a mention of @%s. "
                        "To let me hear everything: @BotFather, /setprivacy, Disable; then take me out of the group and put me in again.",
                        bot->username);
    if (text.data)
        telegram_say(lane, text.data, text.length);
    lm_bytes_free(&text);
}

int telegram_let_in(struct lm_telegram *bot, const struct lm_value *message, int64_t user, struct chat **result, loam_error *error)
{
    const struct lm_value *place = lm_value_find(message, "chat");
    const int64_t id = telegram_number(place, "id", 0);
    const bool group = strcmp(telegram_text(place, "type"), "private") != 0;
    char base[40];
    struct chat *chat = telegram_chat(bot, id);
    struct lane *lane;
    int code = LOAM_OK;
    lm_format(base, sizeof base, TELEGRAM_SOURCE ":%lld", (long long)id);
    if (!chat)
        code = add(bot, id, base, group, user, &chat, error);
    if (code == LOAM_OK)
        code = keep(bot, chat, error);
    if (code == LOAM_OK)
        code = telegram_lane(bot, chat, telegram_flag(message, "is_topic_message") ? telegram_number(message, "message_thread_id", 0) : 0,
                             group ? telegram_text(place, "title") : NULL, &lane, error);
    if (code != LOAM_OK)
        return code;
    telegram_log(bot, "chat %lld was let in by user %lld", (long long)id, (long long)user);
    welcome(bot, lane);
    if (result)
        *result = chat;
    return LOAM_OK;
}

int telegram_start(struct lm_telegram *bot, const struct lm_value *message, int64_t user, const char *given, loam_error *error)
{
    const struct lm_value *place = lm_value_find(message, "chat");
    const int64_t chat_id = telegram_number(place, "id", 0);
    const double now = lm_seconds();
    struct tries *tries = tries_of(bot, user, now);
    if (bot->wrong_refilled <= 0)
        bot->wrong_tokens = WRONG_AN_HOUR;
    else
        bot->wrong_tokens = fmin(WRONG_AN_HOUR, bot->wrong_tokens + (now - bot->wrong_refilled) * WRONG_AN_HOUR / HOUR);
    bot->wrong_refilled = now;
    if (now < tries->until || (bot->wrong_tokens < 1 && !bot->config->allow_count))
        return LOAM_OK;    /* not looked at */
    if (!*given) {         /* a greeting: answered once in a while */
        if (!strcmp(telegram_text(place, "type"), "private"))
            defer(bot, chat_id, now, "This room is closed. /start SECRET opens it.");
        tries->until = now + 10 * bot->options.slow;
        return LOAM_OK;
    }
    delete_message(bot, chat_id, message);
    if (!lm_secret_matches(bot->secret, given, strlen(given))) {
        wrong_try(bot, tries, chat_id, now);
        return LOAM_OK;
    }
    tries->wrong = 0;
    return telegram_let_in(bot, message, user, NULL, error);
}

/* --- Leaving and moving --- */

static void forget(struct lm_telegram *bot, struct chat *chat)
{
    struct chat **at = &bot->chats;
    telegram_lanes_close(bot, chat);
    while (*at != chat)
        at = &(*at)->next;
    *at = chat->next;
    lm_free(chat);
}

int telegram_revoke(struct lm_telegram *bot, struct chat *chat, loam_error *error)
{
    char key[64];
    const int64_t id = chat->id;
    note_key(id, key);
    const int code = lm_rooms_note_set(bot->options.rooms, key, NULL, error);
    if (code != LOAM_OK)
        return code;
    forget(bot, chat);
    telegram_log(bot, "chat %lld was closed", (long long)id);
    send_plain(bot, id, "The room is closed for this chat. Its history is kept.");
    return LOAM_OK;
}

/* The rooms of a group go with it. The new note comes first: a kill in between leaves both, and the old one leads nowhere. */
int telegram_migrate(struct lm_telegram *bot, int64_t from, int64_t to, loam_error *error)
{
    char key[64];
    struct chat *chat = telegram_chat(bot, from), *there = telegram_chat(bot, to);
    if (!chat || !to || from == to)
        return LOAM_OK;
    if (there)    /* from an earlier, half-done move */
        forget(bot, there);
    chat->id = to;
    int code = keep(bot, chat, error);
    if (code != LOAM_OK) {
        chat->id = from;
        return code;
    }
    note_key(from, key);
    code = lm_rooms_note_set(bot->options.rooms, key, NULL, error);
    chat->wait_until = 0;
    telegram_log(bot, "the group %lld has become the supergroup %lld; its room goes on there", (long long)from, (long long)to);
    return code;
}
