/* What goes out: each chat has one budget, and one call under way at a time, so that messages stay in order. */
#include "telegram_inside.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEND_SECONDS = 30, LONGEST_WAIT = 60, LOOK = 16, LEAST_UNITS = 256, MOST_WAITING = 50 };
static const double typing_again = 4.5, all_rate = 25, chat_burst = 5, group_burst = 8, group_minute = 12;

/* --- Lanes --- */

static void hear(void *user, const struct lm_room_event *event)
{
    struct lane *lane = user;
    struct news news = {.kind = NEWS_ROOM, .lane = lane, .event = event->kind, .id = event->id};
    const size_t prefix = strlen(TELEGRAM_SOURCE);
    switch (event->kind) {
    case LM_ROOM_NOTICE:
        if (event->person_id && !strncmp(event->person_id, TELEGRAM_SOURCE, prefix))
            return;    /* who asked for it has an answer */
        news.text = lm_copy_string(event->text, event->length, NULL);
        break;
    case LM_ROOM_MESSAGE:
        if (event->author == LM_AUTHOR_PERSON && event->person_id && !strncmp(event->person_id, TELEGRAM_SOURCE ":", prefix + 1))
            return;    /* it was said there */
        break;
    case LM_ROOM_THINKING:
    case LM_ROOM_IDLE:
        break;
    default:
        return;
    }
    telegram_push(lane->bot, &news);
}

static void sent_key(const struct lane *lane, char key[128])
{
    lm_format(key, 128, "telegram:sent:%s", lane->room_id);
}

static int note_last(void *user, const struct lm_kept *kept)
{
    *(int64_t *)user = kept->id;
    return 0;
}

/* A room that was never here begins with what is said from now on. */
static int find_sent(struct lane *lane, loam_error *error)
{
    char key[128], *text, number[32];
    sent_key(lane, key);
    int code = lm_rooms_note_get(lane->bot->options.rooms, key, &text, error);
    if (code != LOAM_OK)
        return code;
    if (text) {
        lane->sent = strtoll(text, NULL, 10);
        lm_free(text);
        return LOAM_OK;
    }
    code = lm_room_latest(lane->room, 1, note_last, &lane->sent, error);
    lm_format(number, sizeof number, "%lld", (long long)lane->sent);
    return code == LOAM_OK ? lm_rooms_note_set(lane->bot->options.rooms, key, number, error) : code;
}

static int enter(struct lane *lane, const char *title, loam_error *error)
{
    int code = lm_rooms_enter(lane->bot->options.rooms, lane->room_id, title, &lane->room, error);
    if (code == LOAM_OK)
        code = find_sent(lane, error);
    return code == LOAM_OK ? lm_room_listen(lane->room, hear, lane, &lane->listener, error) : code;
}

int telegram_lane(struct lm_telegram *bot, struct chat *chat, int64_t topic, const char *title, struct lane **result, loam_error *error)
{
    for (struct lane *lane = bot->lanes; lane; lane = lane->next)
        if (lane->chat == chat && lane->topic == topic) {
            *result = lane;
            return LOAM_OK;
        }
    struct lane *lane = lm_alloc(1, sizeof *lane, error);
    if (!lane)
        return LOAM_ENOMEM;
    *lane = (struct lane){.bot = bot, .chat = chat, .topic = topic, .look = true};
    if (topic)
        lm_format(lane->room_id, sizeof lane->room_id, "%s/%lld", chat->base, (long long)topic);
    else
        lm_format(lane->room_id, sizeof lane->room_id, "%s", chat->base);
    const int code = enter(lane, title, error);
    if (code != LOAM_OK) {
        lm_free(lane);
        return code;
    }
    struct lane **end = &bot->lanes;
    while (*end)
        end = &(*end)->next;
    *end = lane;
    *result = lane;
    return LOAM_OK;
}

static void free_outgoing(struct outgoing *outgoing)
{
    if (outgoing)
        lm_markup_free(&outgoing->markup);
    lm_free(outgoing);
}

static struct outgoing *take_first(struct lane *lane)
{
    struct outgoing *outgoing = lane->first;
    lane->first = outgoing->next;
    if (!lane->first)
        lane->last = NULL;
    return outgoing;
}

void telegram_lanes_close(struct lm_telegram *bot, struct chat *of)
{
    for (struct lane **at = &bot->lanes; *at;) {
        struct lane *lane = *at;
        if (of && lane->chat != of) {
            at = &lane->next;
            continue;
        }
        *at = lane->next;
        lm_listener_free(lane->listener);
        pthread_mutex_lock(&bot->lock);
        for (struct news *news = bot->first; news; news = news->next)    /* what it was told is of no use any more */
            if (news->lane == lane)
                news->lane = NULL;
        pthread_mutex_unlock(&bot->lock);
        for (struct news *news = bot->taken; news; news = news->next)
            if (news->lane == lane)
                news->lane = NULL;
        while (lane->first)
            free_outgoing(take_first(lane));
        free_outgoing(lane->now);
        lm_free(lane);
    }
}

/* --- What is to be sent --- */

static bool prepare(struct outgoing *outgoing, const char *text, size_t length, bool markdown)
{
    int code = markdown ? lm_markup_make(text, length, &outgoing->markup, NULL) : LOAM_OK;
    if (!markdown || (code == LOAM_OK && !outgoing->markup.text.length)) {    /* plain text without blanks at its ends */
        while (length && strchr(" \n\t", text[length - 1]))
            length--;
        while (length && strchr(" \n\t", *text))
            text++, length--;
        code = lm_bytes_append(&outgoing->markup.text, text, length, NULL);
    }
    return code == LOAM_OK && outgoing->markup.text.length;
}

void telegram_say(struct lane *lane, const char *text, size_t length)
{
    size_t waiting = 0;
    for (const struct outgoing *at = lane->first; at; at = at->next)
        waiting++;
    struct outgoing *outgoing = waiting < MOST_WAITING ? lm_alloc(1, sizeof *outgoing, NULL) : NULL;
    if (!outgoing || !prepare(outgoing, text, length, false)) {
        free_outgoing(outgoing);
        return;
    }
    outgoing->behind = lane->newest;
    if (lane->last)
        lane->last->next = outgoing;
    else
        lane->first = outgoing;
    lane->last = outgoing;
}

void telegram_heard(struct lm_telegram *bot, const struct news *news)
{
    struct lane *lane = news->lane;
    (void)bot;
    if (!lane)
        return;
    if (news->event == LM_ROOM_NOTICE && news->text)
        telegram_say(lane, news->text, strlen(news->text));
    else if (news->event == LM_ROOM_MESSAGE) {
        lane->newest = news->id;
        lane->look = true;
    }
    else if (news->event == LM_ROOM_THINKING)
        lane->thinking = true;
    else if (news->event == LM_ROOM_IDLE)
        lane->thinking = false;
}

struct looking {
    struct lane *lane;
    size_t count;
    bool failed;
};

static int take_kept(void *user, const struct lm_kept *kept)
{
    struct looking *looking = user;
    struct lane *lane = looking->lane;
    const bool person = kept->author == LM_AUTHOR_PERSON;
    looking->count++;
    if (kept->author == LM_AUTHOR_NOTE || (person && kept->person_id && !strncmp(kept->person_id, TELEGRAM_SOURCE ":", 9))) {
        lane->sent = kept->id;    /* noted with the next one that goes out */
        return 0;
    }
    struct outgoing *outgoing = lm_alloc(1, sizeof *outgoing, NULL);
    if (!outgoing || !prepare(outgoing, kept->text, kept->length, !person)) {
        looking->failed = !outgoing;
        lane->sent = outgoing ? kept->id : lane->sent;
        free_outgoing(outgoing);
        return looking->failed;
    }
    outgoing->id = kept->id;
    lm_format(outgoing->header, sizeof outgoing->header, "%s %s", person ? LM_TAG_PERSON : LM_TAG_AI, kept->name);
    lane->now = outgoing;
    return 1;
}

/* The next message of the history that is to go out, if there is one. */
static void look(struct lane *lane)
{
    loam_error error;
    struct looking looking = {.lane = lane};
    do {
        looking.count = 0;
        if (lm_room_history(lane->room, lane->sent, LOOK, take_kept, &looking, &error) != LOAM_OK) {
            telegram_log(lane->bot, "%s: the history cannot be read: %s", lane->room_id, error.message);
            lane->chat->wait_until = lm_seconds() + 5;
            return;
        }
    } while (looking.count == LOOK && !lane->now && !looking.failed);
    lane->look = lane->now || looking.failed;
}

/* What is to be sent next, in the order in which it happened. */
static void choose(struct lane *lane)
{
    if (lane->look && (!lane->first || lane->first->behind > lane->sent))
        look(lane);
    if (!lane->now && lane->first)
        lane->now = take_first(lane);
}

/* --- Budgets --- */

static void refill(struct lm_telegram *bot, struct chat *chat, double now)
{
    const double given = chat->group ? bot->options.group_rate : bot->options.chat_rate;
    const double burst = given > 0 ? fmax(1, given) : chat->group ? group_burst : chat_burst;
    const double rate = given > 0 ? given : chat->group ? group_minute / 60 : 1;
    chat->tokens = fmin(burst, chat->tokens + (now - chat->refilled) * rate);
    chat->refilled = now;
    bot->tokens = fmin(all_rate, bot->tokens + (now - bot->refilled) * all_rate);
    bot->refilled = now;
}

/* 0: now; else when there will be a token. */
static double budget(struct lm_telegram *bot, struct chat *chat, double now)
{
    const double given = chat->group ? bot->options.group_rate : bot->options.chat_rate;
    const double rate = given > 0 ? given : chat->group ? group_minute / 60 : 1;
    refill(bot, chat, now);
    if (chat->tokens < 1)
        return now + (1 - chat->tokens) / rate;
    return bot->tokens < 1 ? now + (1 - bot->tokens) / all_rate : 0;
}

static void spend(struct lm_telegram *bot, struct chat *chat)
{
    chat->tokens -= 1;
    bot->tokens -= 1;
}

/* --- Sending --- */

static struct lane *lane_that_sends(struct lm_telegram *bot, const struct chat *chat)
{
    for (struct lane *lane = bot->lanes; lane; lane = lane->next)
        if (lane->chat == chat && lane->now && !lane->paused)
            return lane;
    return NULL;
}

/* Behind the others: topics of a chat take turns. */
static void to_the_end(struct lm_telegram *bot, struct lane *lane)
{
    struct lane **at = &bot->lanes;
    while (*at != lane)
        at = &(*at)->next;
    *at = lane->next;
    lane->next = NULL;
    while (*at)
        at = &(*at)->next;
    *at = lane;
}

static void finished(struct lm_telegram *bot, struct lane *lane)
{
    const int64_t id = lane->now->id;
    free_outgoing(lane->now);
    lane->now = NULL;
    if (id) {
        char key[128], number[32];
        loam_error error;
        lane->sent = id;
        sent_key(lane, key);
        lm_format(number, sizeof number, "%lld", (long long)id);
        if (lm_rooms_note_set(bot->options.rooms, key, number, &error) != LOAM_OK)
            telegram_log(bot, "%s: how far the history was sent could not be noted: %s", lane->room_id, error.message);
    }
    lane->look = true;
    lane->typing_at = 0;    /* a message ends the typing */
    to_the_end(bot, lane);
}

static void advance(struct lm_telegram *bot, struct lane *lane)
{
    struct outgoing *outgoing = lane->now;
    outgoing->at = outgoing->next_at;
    if (outgoing->at >= outgoing->markup.text.length)
        finished(bot, lane);
}

static bool says(const struct answer *answer, const char *const *words)
{
    for (; *words; words++)
        if (strcasestr(answer->why, *words))
            return true;
    return false;
}

/* A refusal: another way, another time, or not at all. */
static void refused(struct lm_telegram *bot, struct chat *chat, struct lane *lane, const struct answer *answer, double now)
{
    static const char *const gone[] = {"chat not found", "kicked", "blocked", "deactivated", "not enough rights", "have no rights", "not a member",
                                       "group chat was deactivated", NULL};
    static const char *const topic_gone[] = {"thread not found", "topic_closed", "topic_deleted", NULL};
    static const char *const entities[] = {"entit", "parse", NULL}, *const length[] = {"too long", NULL};
    struct outgoing *outgoing = lane->now;
    if (lane->topic && says(answer, topic_gone)) {
        lane->paused = true;
        telegram_log(bot, "chat %lld, topic %lld: %s; nothing is sent there until somebody writes", (long long)chat->id, (long long)lane->topic,
                     answer->why);
    } else if (answer->status == 403 || says(answer, gone) || says(answer, topic_gone)) {
        chat->paused = true;
        telegram_log(bot, "chat %lld: %s; nothing is sent there until somebody writes", (long long)chat->id, answer->why);
    } else if (!outgoing->plain && says(answer, entities)) {
        outgoing->plain = true;
    } else if (says(answer, length) && (outgoing->units ? outgoing->units : LM_MESSAGE_UNITS) / 2 >= LEAST_UNITS) {
        outgoing->units = (outgoing->units ? outgoing->units : LM_MESSAGE_UNITS) / 2;
    } else if (!outgoing->plain) {
        outgoing->plain = true;
    } else {
        telegram_log(bot, "chat %lld: a message was refused and is left out there: %s", (long long)chat->id, answer->why);
        finished(bot, lane);
    }
    chat->wait_until = now;
}

static void on_sent(struct lm_telegram *bot, struct call *call, struct answer *answer)
{
    struct chat *chat = bot->chats;
    const double now = lm_seconds();
    loam_error error;
    while (chat && chat->home != call->home)
        chat = chat->next;
    if (!chat)
        return;    /* closed meanwhile */
    struct lane *lane = bot->lanes;
    while (lane && (lane->chat != chat || !lane->now || lane->now->next_at == lane->now->at))
        lane = lane->next;
    chat->sending = false;
    if (!lane)
        return;
    const double backoff = chat->backoff;
    chat->backoff = 0;
    if (answer->code == LOAM_OK || answer->accepted) {
        advance(bot, lane);
        return;
    }
    lane->now->next_at = lane->now->at;
    if (answer->migrate_to) {
        if (telegram_migrate(bot, chat->id, answer->migrate_to, &error) != LOAM_OK)
            chat->wait_until = now + 5;
    } else if (answer->status == 429 || answer->retry_after >= 0) {
        chat->wait_until = now + (answer->retry_after > 0 ? answer->retry_after : 1);
        chat->tokens = 0;
        telegram_log(bot, "chat %lld: too many messages (429); waiting %.0f s", (long long)chat->id, chat->wait_until - now);
    } else if (answer->status == 401) {
        bot->dead = true;
        telegram_log(bot, "the token '%s' is not accepted any more (%s)", bot->config->token, answer->why);
    } else if (answer->status >= 400 && answer->status < 500 && answer->status != 404 && answer->status != 408 && answer->status != 409) {
        refused(bot, chat, lane, answer, now);
    } else {
        chat->backoff = fmin(LONGEST_WAIT, backoff > 0 ? 2 * backoff : bot->options.backoff / 2);
        chat->wait_until = now + chat->backoff;
        if (!(backoff > 0))
            telegram_log(bot, "chat %lld: %s; trying again", (long long)chat->id, answer->why);
    }
}

/* The body of a call, begun: to which chat, and which topic of it. */
static void begin_body(struct lm_json_writer *json, const struct chat *chat, const struct lane *lane)
{
    lm_json_begin_object(json);
    lm_json_key(json, "chat_id");
    lm_json_int(json, chat->id);
    if (lane->topic) {
        lm_json_key(json, "message_thread_id");
        lm_json_int(json, lane->topic);
    }
}

static void send_part(struct lm_telegram *bot, struct chat *chat, struct lane *lane)
{
    struct outgoing *outgoing = lane->now;
    struct lm_bytes body = {0}, text = {0};
    struct lm_json_writer json = lm_json_writer(&body, -1);
    if (*outgoing->header)
        lm_bytes_format(&text, NULL, "%s%s\n", outgoing->header, outgoing->at ? " \xe2\x80\xa6" : "");
    const size_t before = lm_utf16_units(text.data ? text.data : "", text.length);
    const size_t units = (outgoing->units ? outgoing->units : LM_MESSAGE_UNITS) - before, header = strlen(outgoing->header);
    const size_t end = lm_markup_cut(&outgoing->markup, outgoing->at, units, &outgoing->next_at);
    lm_bytes_append(&text, outgoing->markup.text.data + outgoing->at, end - outgoing->at, NULL);
    begin_body(&json, chat, lane);
    lm_json_key(&json, "text");
    lm_json_string(&json, text.data ? text.data : "", text.length);
    if (!outgoing->plain) {
        lm_json_key(&json, "entities");
        lm_json_begin_array(&json);
        if (header > 5) {    /* the name behind the sign, which has two units, and a blank */
            lm_json_begin_object(&json);
            lm_json_key(&json, "type");
            lm_json_text(&json, "bold");
            lm_json_key(&json, "offset");
            lm_json_int(&json, 3);
            lm_json_key(&json, "length");
            lm_json_int(&json, (int64_t)lm_utf16_units(outgoing->header + 5, header - 5));
            lm_json_end_object(&json);
        }
        lm_markup_write(&outgoing->markup, outgoing->at, end, before, &json);
        lm_json_end_array(&json);
    }
    lm_json_key(&json, "link_preview_options");
    lm_json_begin_object(&json);
    lm_json_key(&json, "is_disabled");
    lm_json_bool(&json, true);
    lm_json_end_object(&json);
    lm_json_end_object(&json);
    lm_bytes_free(&text);
    chat->sending = true;
    spend(bot, chat);
    telegram_call(bot, "sendMessage", &body, SEND_SECONDS, chat->home, on_sent);
}

static void send_typing(struct lm_telegram *bot, struct chat *chat, struct lane *lane, double now)
{
    struct lm_bytes body = {0};
    struct lm_json_writer json = lm_json_writer(&body, -1);
    begin_body(&json, chat, lane);
    lm_json_key(&json, "action");
    lm_json_text(&json, "typing");
    lm_json_end_object(&json);
    lane->typing_at = now;
    spend(bot, chat);
    telegram_call(bot, "sendChatAction", &body, SEND_SECONDS, 0, NULL);
}

/* Typing yields to messages: it is shown while more than a message is left in the budget. */
static double show_typing(struct lm_telegram *bot, struct chat *chat, double now)
{
    double next = INFINITY;
    for (struct lane *lane = bot->lanes; lane; lane = lane->next) {
        if (lane->chat != chat || !lane->thinking || lane->now || lane->paused)
            continue;
        refill(bot, chat, now);
        if (now - lane->typing_at >= typing_again && chat->tokens >= 2 && bot->tokens >= 2)
            send_typing(bot, chat, lane, now);
        const double again = lane->typing_at + typing_again;
        next = fmin(next, again > now ? again : now + 1);
    }
    return next;
}

static double send_to(struct lm_telegram *bot, struct chat *chat, double now)
{
    struct lane *lane = lane_that_sends(bot, chat);
    if (chat->sending || chat->paused)
        return INFINITY;
    if (chat->wait_until > now)
        return chat->wait_until;
    if (!lane)
        return show_typing(bot, chat, now);
    const double due = budget(bot, chat, now);
    if (due > 0)
        return due;
    send_part(bot, chat, lane);
    return now;    /* where the call could not be made, it is not under way */
}

double telegram_send(struct lm_telegram *bot, double now)
{
    double next = INFINITY;
    for (struct lane *lane = bot->lanes; lane; lane = lane->next)
        if ((lane->look || lane->first) && !lane->now && !lane->paused && !lane->chat->paused && lane->chat->wait_until <= now)
            choose(lane);
    if (bot->dead || !bot->me)
        return INFINITY;
    for (struct chat *chat = bot->chats; chat; chat = chat->next) {
        const double due = send_to(bot, chat, now);
        next = due < next && !chat->sending ? due : next;
    }
    return next;
}
