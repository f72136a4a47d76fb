/* What an update is, and what becomes of it: a message of a room, a command, a try at the gate, or nothing. */
#include "telegram_inside.h"

#include <stdlib.h>
#include <string.h>

enum { TOO_LATE = 3 * 3600, ANONYMOUS_ADMIN = 1087968824, CHANNEL_POST = 136817688 };

struct heard {                       /* a message, taken apart */
    int64_t update;
    const struct lm_value *message, *place;
    int64_t chat_id, user, topic;
    bool edited;
    const char *text;
    size_t length;
    char id[48];                     /* "telegram:12345" */
    struct lm_bytes name;
};

static int pass_over(struct lm_telegram *bot, int64_t update, loam_error *error)
{
    return update < 0 ? LOAM_OK : lm_rooms_pass_over(bot->options.rooms, TELEGRAM_SOURCE, update, NULL, error);
}

/* --- Taking apart --- */

/* Whoever writes for a group or a channel is that group or channel. */
static int take_sender(struct heard *heard, loam_error *error)
{
    const struct lm_value *from = lm_value_find(heard->message, "from"), *behalf = lm_value_find(heard->message, "sender_chat");
    const char *first = telegram_text(from, "first_name"), *last = telegram_text(from, "last_name");
    heard->user = telegram_number(from, "id", 0);
    if (behalf && (!heard->user || heard->user == ANONYMOUS_ADMIN || heard->user == CHANNEL_POST)) {
        heard->user = telegram_number(behalf, "id", 0);
        first = telegram_text(behalf, "title");
        last = "";
    }
    lm_format(heard->id, sizeof heard->id, TELEGRAM_SOURCE ":%lld", (long long)heard->user);
    return lm_bytes_format(&heard->name, error, "%s%s%s", first, *first && *last ? " " : "", last);
}

static bool from_bot(const struct heard *heard)
{
    const struct lm_value *from = lm_value_find(heard->message, "from");
    return telegram_flag(from, "is_bot") && telegram_number(from, "id", 0) == heard->user;
}

static void take_text(struct heard *heard)
{
    const struct lm_value *text = lm_value_find(heard->message, "text");
    if (!text || text->kind != LM_STRING)
        text = lm_value_find(heard->message, "caption");
    heard->text = text && text->kind == LM_STRING ? text->text : "";
    heard->length = text && text->kind == LM_STRING ? text->length : 0;
}

/* What it is besides text, as history has it; NULL: nothing that is noted. */
static const char *kind_of(const struct heard *heard)
{
    static const struct {
        const char *key, *shown;
    } kinds[] = {{"photo", "photo"},       {"video", "video"},       {"animation", "animation"}, {"sticker", "sticker"}, {"voice", "voice message"},
                 {"video_note", "video message"}, {"audio", "audio"}, {"document", "file"},      {"location", "location"}, {"contact", "contact"},
                 {"poll", "poll"},         {"dice", "dice"},         {"story", "story"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (lm_value_find(heard->message, kinds[i].key))
            return kinds[i].shown;
    return NULL;
}

/* Behind "/name" or "/name@bot" of this bot; NULL where it is another command, or for another bot (`others` says so). */
static const char *command(const struct lm_telegram *bot, const char *text, const char *name, bool *others)
{
    const size_t length = strcspn(text, " \n\t"), at = strcspn(text, "@ \n\t");
    if (others)
        *others = at < length && strncasecmp(text + at + 1, bot->username, length - at - 1) | (strlen(bot->username) != length - at - 1);
    if (name && (strlen(name) != at || strncasecmp(text, name, at)))
        return NULL;
    return text + length + strspn(text + length, " \n\t");
}

/* The participant whose message is answered: the bot's messages begin with its name. */
static const char *replied_to(const struct lm_telegram *bot, const struct heard *heard)
{
    const struct lm_value *reply = lm_value_find(heard->message, "reply_to_message");
    const char *text = telegram_text(reply, "text");
    const struct lm_room_config *config = bot->options.config;
    if (telegram_number(lm_value_find(reply, "from"), "id", 0) != bot->me || strncmp(text, LM_TAG_AI " ", 5))
        return NULL;
    text += 5;
    for (size_t i = 0; i < config->participant_count; i++) {
        const size_t length = strlen(config->participants[i].name);
        if (!strncmp(text, config->participants[i].name, length) && (text[length] == '\n' || !strncmp(text + length, " \xe2\x80\xa6\n", 5)))
            return config->participants[i].name;
    }
    return NULL;
}

/* --- Messages --- */

static bool too_late(const struct heard *heard)
{
    const int64_t date = telegram_number(heard->message, heard->edited ? "edit_date" : "date", 0);
    return date > 0 && (double)date < lm_time() - TOO_LATE;
}

/* The words without the mention of the bot itself, which is how one speaks to it in groups. */
static int put_words(const struct lm_telegram *bot, const struct heard *heard, struct lm_bytes *out, loam_error *error)
{
    const size_t name = strlen(bot->username);
    size_t from = 0;
    if (name && heard->length > name && heard->text[0] == '@' && !strncasecmp(heard->text + 1, bot->username, name) &&
        (heard->length == name + 1 || strchr(" \n,:", heard->text[name + 1])))
        from = name + 1 + strspn(heard->text + name + 1, " \n,:");
    return lm_bytes_append(out, heard->text + from, heard->length - from, error);
}

static int post(struct lm_telegram *bot, struct lane *lane, const struct heard *heard, const char *kind, loam_error *error)
{
    struct lm_bytes text = {0};
    const bool late = too_late(heard);
    int code = heard->edited ? lm_bytes_format(&text, error, "(edited) ") : LOAM_OK;
    if (code == LOAM_OK && kind)
        code = lm_bytes_format(&text, error, heard->length ? "[%s] " : "[%s]", kind);
    if (code == LOAM_OK)
        code = put_words(bot, heard, &text, error);
    if (code == LOAM_OK && !text.length)
        code = pass_over(bot, heard->update, error);    /* the bare mention of the bot */
    else if (code == LOAM_OK) {
        const struct lm_post said = {.who = {heard->id, heard->name.data ? heard->name.data : "", lm_rooms_owner(bot->options.rooms, heard->id)},
                                     .text = text.data, .length = text.length, .to = replied_to(bot, heard),
                                     .quiet = heard->edited || late || !heard->length, .source = TELEGRAM_SOURCE, .position = heard->update};
        int64_t id = 0;
        code = lm_room_post(lane->room, &said, &id, error);
        if (code == LOAM_EUSAGE)    /* empty, or too long: its position is kept all the same */
            code = LOAM_OK;
        lane->late += code == LOAM_OK && id && late && !heard->edited;
    }
    lm_bytes_free(&text);
    return code;
}

static int run_command(struct lm_telegram *bot, struct lane *lane, const struct heard *heard, loam_error *error)
{
    enum { MOST_REPLY = 12000 };
    struct lm_bytes line = {0}, reply = {0};
    const size_t word = strcspn(heard->text, " \n\t"), at = strcspn(heard->text, "@ \n\t");
    int code = lm_bytes_format(&line, error, "%.*s%s", (int)at, heard->text, heard->text + word);
    const struct lm_person who = {heard->id, heard->name.data ? heard->name.data : "", lm_rooms_owner(bot->options.rooms, heard->id)};
    if (code == LOAM_OK) {
        code = lm_room_command(lane->room, &who, line.data, TELEGRAM_SOURCE, heard->update, &reply, error);
        if (code == LOAM_EUSAGE)    /* the reply says why */
            code = LOAM_OK;
    }
    if (code == LOAM_OK && reply.length > MOST_REPLY) {
        reply.length = MOST_REPLY - lm_utf8_unfinished(reply.data, MOST_REPLY);
        lm_bytes_format(&reply, NULL, "\n… (the rest is too long for this place)");
    }
    if (code == LOAM_OK && reply.length)
        telegram_say(lane, reply.data, reply.length);
    lm_bytes_free(&line);
    lm_bytes_free(&reply);
    return code;
}

/* In an authorised chat. */
static int take_inside(struct lm_telegram *bot, struct chat *chat, const struct heard *heard, loam_error *error)
{
    struct lane *lane;
    const char *kind = kind_of(heard);
    bool others = false;
    if (!heard->length && !kind)
        return pass_over(bot, heard->update, error);    /* somebody came or went, something was pinned */
    const char *title = chat->group ? telegram_text(heard->place, "title") : NULL;
    const int code = telegram_lane(bot, chat, heard->topic, title && *title ? title : NULL, &lane, error);
    if (code != LOAM_OK)
        return code;
    lane->paused = false;    /* the topic is open */
    if (heard->text[0] != '/' || kind || heard->edited)
        return post(bot, lane, heard, kind, error);
    command(bot, heard->text, NULL, &others);
    if (others)
        return pass_over(bot, heard->update, error);
    if (command(bot, heard->text, "/revoke", NULL)) {
        if (heard->user == chat->by || lm_rooms_owner(bot->options.rooms, heard->id)) {
            const int revoked = telegram_revoke(bot, chat, error);
            return revoked == LOAM_OK ? pass_over(bot, heard->update, error) : revoked;
        }
        static const char no[] = "Only the owner of the room, or whoever opened it here, can close it.";
        telegram_say(lane, no, sizeof no - 1);
        return pass_over(bot, heard->update, error);
    }
    if (command(bot, heard->text, "/start", NULL)) {
        static const char open[] = "This chat is in the room already.";
        telegram_say(lane, open, sizeof open - 1);
        return pass_over(bot, heard->update, error);
    }
    return run_command(bot, lane, heard, error);
}

/* In any other: a try at the gate, or nothing. */
static int take_outside(struct lm_telegram *bot, const struct heard *heard, loam_error *error)
{
    bool others = false;
    struct chat *chat = NULL;
    const char *given = command(bot, heard->text, "/start", &others);
    const bool private = !strcmp(telegram_text(heard->place, "type"), "private");
    int code = LOAM_OK;
    if (heard->edited || others)
        return pass_over(bot, heard->update, error);
    if (bot->secret && given)
        code = telegram_start(bot, heard->message, heard->user, given, error);
    else if (!bot->secret && bot->config->allow_count && (given || private))    /* an allowed user needs no secret */
        code = telegram_let_in(bot, heard->message, heard->user, &chat, error);
    if (code == LOAM_OK && chat && !given)
        return take_inside(bot, chat, heard, error);
    return code == LOAM_OK ? pass_over(bot, heard->update, error) : code;
}

static int take_message(struct lm_telegram *bot, struct heard *heard, loam_error *error)
{
    heard->place = lm_value_find(heard->message, "chat");
    heard->chat_id = telegram_number(heard->place, "id", 0);
    heard->topic = telegram_flag(heard->message, "is_topic_message") ? telegram_number(heard->message, "message_thread_id", 0) : 0;
    const int64_t to = telegram_number(heard->message, "migrate_to_chat_id", 0), from = telegram_number(heard->message, "migrate_from_chat_id", 0);
    int code = take_sender(heard, error);
    take_text(heard);
    if (code == LOAM_OK && to)
        code = telegram_migrate(bot, heard->chat_id, to, error);
    else if (code == LOAM_OK && from)
        code = telegram_migrate(bot, from, heard->chat_id, error);
    if (code != LOAM_OK || to || from || !heard->chat_id || !heard->user || from_bot(heard) || !telegram_allowed(bot, heard->user))
        return code == LOAM_OK ? pass_over(bot, heard->update, error) : code;
    struct chat *chat = telegram_chat(bot, heard->chat_id);
    if (!chat)
        return take_outside(bot, heard, error);
    chat->paused = false;    /* somebody is there */
    return take_inside(bot, chat, heard, error);
}

/* The bot was put into a chat or out of it. */
static int take_member(struct lm_telegram *bot, const struct lm_value *change, int64_t update, loam_error *error)
{
    struct chat *chat = telegram_chat(bot, telegram_number(lm_value_find(change, "chat"), "id", 0));
    const char *status = telegram_text(lm_value_find(change, "new_chat_member"), "status");
    const bool out = !strcmp(status, "left") || !strcmp(status, "kicked") || !strcmp(status, "restricted");
    if (chat && out != chat->paused)
        telegram_log(bot, out ? "chat %lld has put the bot out; nothing is sent there until it is back" : "chat %lld has taken the bot back",
                     (long long)chat->id);
    if (chat)
        chat->paused = out;
    return pass_over(bot, update, error);
}

int telegram_update(struct lm_telegram *bot, const struct lm_value *update, loam_error *error)
{
    const int64_t id = telegram_number(update, "update_id", -1);
    const struct lm_value *message = lm_value_find(update, "message"), *edited = lm_value_find(update, "edited_message");
    const struct lm_value *member = lm_value_find(update, "my_chat_member");
    struct heard heard = {.update = id, .message = message ? message : edited, .edited = !message};
    int code;
    if (id < 0)
        return LOAM_OK;    /* none */
    if (bot->recent[id % RECENT] == id)
        return LOAM_OK;    /* once more */
    if (member)
        code = take_member(bot, member, id, error);
    else if (heard.message && heard.message->kind == LM_OBJECT)
        code = take_message(bot, &heard, error);
    else
        code = pass_over(bot, id, error);
    lm_bytes_free(&heard.name);
    if (code == LOAM_OK)
        bot->recent[id % RECENT] = id;
    return code;
}

void telegram_say_late(struct lm_telegram *bot)
{
    for (struct lane *lane = bot->lanes; lane; lane = lane->next) {
        char text[200];
        if (!lane->late)
            continue;
        const int length = lm_format(text, sizeof text, "%d message%s came in while I was away. %s in the history, but too old to be answered.",
                                     lane->late, lane->late == 1 ? "" : "s", lane->late == 1 ? "It is" : "They are");
        telegram_say(lane, text, (size_t)length);
        lane->late = 0;
    }
}
