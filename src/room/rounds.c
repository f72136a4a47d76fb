/* Whose turn it is. A room is a state machine that moves when something has happened: a message, the end of an answer. */
#include "rooms_inside.h"

#include <string.h>

/* A copy of the settings as they are now. */
static struct lm_room_settings settings_of(struct lm_room *room)
{
    pthread_mutex_lock(&room->rooms->lock);
    const struct lm_room_settings settings = room->settings;
    pthread_mutex_unlock(&room->rooms->lock);
    return settings;
}

bool lm_room_member_asked(const struct lm_room *room, size_t who)
{
    pthread_mutex_lock(&room->rooms->lock);
    const bool asked = !room->gone[who] && !room->muted[who];
    pthread_mutex_unlock(&room->rooms->lock);
    return asked;
}

static const char *name_of(const struct lm_room *room, size_t who)
{
    return room->rooms->config->participants[who].name;
}

/* --- Questions --- */

void lm_room_asked(struct lm_room *room, struct lm_news *news)
{
    if (news->id < room->pending.id || news->id < room->question.id)
        return;    /* a later one was told of before */
    lm_asking_free(&room->pending);
    room->resume_round = 0;
    room->pending = (struct lm_asking){.id = news->id, .text = news->text, .toward = news->toward};
    news->text = news->toward = NULL;
}

/* Whether the message is said to this participant: by a reply or mention of the transport, or in its words. */
static bool addressed(const struct lm_room *room, size_t who, bool plain)
{
    const struct lm_asking *question = &room->question;
    const char *name = name_of(room, who), *text = question->text;
    if (question->toward && lm_same_name(question->toward, name))
        return true;
    size_t length = 0;
    if (lm_mention_at(text, strlen(text), name, true, &length) == 0 && *text != '@' && (text[length] == ',' || text[length] == ':'))
        return true;    /* "Ada, what do you think?" */
    return lm_mentions(text, strlen(text), name, plain);
}

/* --- Orders --- */

static uint64_t hash(const char *text)
{
    uint64_t value = 0xcbf29ce484222325;    /* FNV-1a */
    for (; *text; text++)
        value = (value ^ (unsigned char)*text) * 0x100000001b3;
    return value;
}

/* By the seed, the room, the message and the round alone: a round that is taken up again has the order it had. */
static void shuffle(struct lm_room *room)
{
    struct lm_random random = lm_random_seed(room->rooms->options.seed ^ hash(room->id), (uint64_t)(room->question.id * 128 + room->round));
    for (size_t i = room->order_count; i > 1; i--) {
        const size_t j = (size_t)lm_random_below(&random, i), kept = room->order[i - 1];
        room->order[i - 1] = room->order[j];
        room->order[j] = kept;
    }
}

/* Everybody who may be asked; in the first round of a message that is said to some, only those. */
static void list_members(struct lm_room *room, enum lm_room_order order)
{
    const size_t count = room->rooms->count;
    const bool only = order == LM_ORDER_MENTIONED;
    bool some = false;
    for (size_t i = 0; i < count; i++)
        some = some || (lm_room_member_asked(room, i) && addressed(room, i, only));
    room->order_count = 0;
    for (size_t i = 0; i < count; i++)
        if (lm_room_member_asked(room, i) && (only || (some && room->round == 1) ? addressed(room, i, only) : true))
            room->order[room->order_count++] = i;
}

static void keep_one(struct lm_room *room)
{
    const size_t count = room->rooms->count;
    size_t best = 0, least = SIZE_MAX;
    for (size_t i = 0; i < room->order_count; i++) {
        const size_t distance = (room->order[i] + count - room->next_one) % count;
        if (distance < least) {
            least = distance;
            best = room->order[i];
        }
    }
    if (!room->order_count)
        return;
    room->order[0] = best;
    room->order_count = 1;
    room->next_one = (best + 1) % count;
}

static void leave_out_spoken(struct lm_room *room)
{
    size_t kept = 0;
    for (size_t i = 0; i < room->order_count; i++)
        if (!room->spoken[room->order[i]])
            room->order[kept++] = room->order[i];
    room->order_count = kept;
}

static void draw_order(struct lm_room *room, const struct lm_room_settings *settings)
{
    room->at = 0;
    room->answered = false;
    list_members(room, settings->order);
    switch (settings->order) {
    case LM_ORDER_RANDOM:
    case LM_ORDER_TOGETHER:
    case LM_ORDER_MENTIONED:
        shuffle(room);
        break;
    case LM_ORDER_ONE:
        keep_one(room);
        break;
    case LM_ORDER_MODERATOR:
        room->choosing = room->order_count > 1;    /* of one alone there is nothing to choose */
        break;
    case LM_ORDER_FIXED:
        break;
    }
}

void lm_room_moderated(struct lm_room *room, const char *answer)
{
    size_t chosen = 0, places[64];
    room->choosing = false;
    for (size_t i = 0; answer && i < room->rooms->count && i < 64; i++) {    /* in the order in which they are named */
        const size_t place = lm_mention_place(answer, strlen(answer), name_of(room, i), true);
        if (place == SIZE_MAX || !lm_room_member_asked(room, i))
            continue;
        size_t at = chosen++;
        for (; at > 0 && places[at - 1] > place; at--) {
            places[at] = places[at - 1];
            room->order[at] = room->order[at - 1];
        }
        places[at] = place;
        room->order[at] = i;
    }
    const bool nobody = answer && (strcasestr(answer, "nobody") || strstr(answer, "PASS"));
    if (chosen || nobody) {
        room->order_count = chosen;
        return;
    }
    shuffle(room);    /* it said nothing of use: everybody is asked */
}

/* --- Limits --- */

/* How many more may speak now; 0 where a limit has been reached, which is said once for a message. */
static int64_t allowance(struct lm_room *room, const struct lm_room_settings *settings)
{
    int64_t tokens = 0;
    double cost = 0;
    loam_error error;
    const char *what = NULL;
    if (settings->tokens_per_hour || settings->cost_per_hour > 0) {
        if (lm_ledger_spent(room->rooms->ledger, room->number, lm_time() - 3600, &tokens, &cost, &error) != LOAM_OK) {
            lm_room_notice(room, NULL, "%s", error.message);
            return 0;
        }
        if (settings->tokens_per_hour && tokens >= settings->tokens_per_hour)
            what = "the tokens of this hour are used up; /set tokens_per_hour N gives more";
        else if (settings->cost_per_hour > 0 && cost >= settings->cost_per_hour)
            what = "the money of this hour is spent; /set cost_per_hour N gives more";
    }
    if (!what && room->ai_turns >= settings->max_ai_turns)
        what = settings->max_ai_turns ? "the AIs have said what they may for one message; say something, and they go on"
                                      : "max_ai_turns is 0: the AIs stay silent";
    if (!what)
        return settings->max_ai_turns - room->ai_turns;
    if (!room->said_limit)
        lm_room_notice(room, NULL, "%s", what);
    room->said_limit = true;
    return 0;
}

/* --- Rounds --- */

static void begin_question(struct lm_room *room)
{
    const struct lm_room_settings settings = settings_of(room);
    lm_asking_free(&room->question);
    room->question = room->pending;
    room->pending = (struct lm_asking){0};
    room->running = true;
    room->said_limit = room->halted = false;
    room->round = room->resume_round ? room->resume_round : 1;
    if (!room->resume_round)
        room->ai_turns = 0;
    draw_order(room, &settings);
    if (room->resume_round) {
        leave_out_spoken(room);
        room->answered = true;
        room->resume_round = 0;
    }
}

static void end_question(struct lm_room *room)
{
    loam_error error;
    room->running = room->choosing = false;
    if (lm_ledger_answered(room->rooms->ledger, room->number, room->question.id, &error) != LOAM_OK)
        lm_room_notice(room, NULL, "%s", error.message);
    lm_asking_free(&room->question);
    if (!room->pending.id)
        lm_room_tell(room, &(struct lm_room_event){.kind = LM_ROOM_IDLE});
}

/* Behind the last of a round: another one where somebody has spoken and nobody has asked anew. */
static bool next_round(struct lm_room *room, const struct lm_room_settings *settings)
{
    if (!room->answered || room->halted || room->round >= settings->rounds || room->pending.id || settings->order == LM_ORDER_ONE)
        return false;
    room->round++;
    draw_order(room, settings);
    return true;
}

static void start_some(struct lm_room *room, const struct lm_room_settings *settings)
{
    int64_t may = allowance(room, settings);
    const bool together = settings->order == LM_ORDER_TOGETHER;
    if (may == 0) {
        room->order_count = room->at = 0;
        room->answered = false;
        return;
    }
    while (room->at < room->order_count && may > 0 && (together || !room->turns)) {
        const size_t who = room->order[room->at++];
        if (lm_room_member_asked(room, who) && lm_turn_start(room, who, LM_JOB_ANSWER))
            may--;
    }
}

void lm_room_advance(struct lm_room *room)
{
    for (;;) {
        while (lm_turns_settle(room)) {
        }
        if (room->turns)
            return;
        if (!room->running) {
            if (!room->pending.id)
                return;
            begin_question(room);
            continue;
        }
        const struct lm_room_settings settings = settings_of(room);
        if (room->choosing) {
            if (allowance(room, &settings) == 0)
                room->choosing = false, room->order_count = 0, room->answered = false;
            else if (!lm_turn_start(room, 0, LM_JOB_MODERATE))
                lm_room_moderated(room, NULL);
        } else if (room->at < room->order_count) {
            start_some(room, &settings);
        } else if (!next_round(room, &settings)) {
            end_question(room);
        }
    }
}

/* It is not answered after a restart either. */
static void drop_pending(struct lm_room *room)
{
    loam_error error;
    if (room->pending.id && lm_ledger_answered(room->rooms->ledger, room->number, room->pending.id, &error) != LOAM_OK)
        lm_room_notice(room, NULL, "the room's state cannot be kept: %s", error.message);
    lm_asking_free(&room->pending);
}

void lm_room_halt(struct lm_room *room)
{
    room->at = room->order_count = 0;
    room->answered = room->choosing = false;
    room->halted = true;
    drop_pending(room);
    for (struct lm_turn *turn = room->turns; turn; turn = turn->next)
        lm_turn_cancel(turn);
}
