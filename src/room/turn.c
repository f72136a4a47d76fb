/* One answer: what is asked, what comes back, and what becomes of it. The driving thread's. */
#include "rooms_inside.h"

#include <math.h>
#include <string.h>

enum { TRIES = 4, LONGEST_PAUSE = 60, LONGEST_RETRY_AFTER = 600, PEOPLE_NAMED = 8, FIRST_LOOK = 64, LAST_LOOK = 8192, BRIEF_CONTEXT = 4096,
       SUMMARY_TOKENS = 300, MODERATOR_TOKENS = 60 };

static const struct lm_participant *participant_of(const struct lm_turn *turn)
{
    return &turn->room->rooms->config->participants[turn->who];
}

static struct lm_room_settings settings_of(struct lm_room *room)
{
    pthread_mutex_lock(&room->rooms->lock);
    const struct lm_room_settings settings = room->settings;
    pthread_mutex_unlock(&room->rooms->lock);
    return settings;
}

static void set_thinking(const struct lm_turn *turn, bool thinking)
{
    pthread_mutex_lock(&turn->room->rooms->lock);
    turn->room->thinking[turn->who] = thinking;
    pthread_mutex_unlock(&turn->room->rooms->lock);
}

/* --- Rules --- */

/* The people who have spoken last, each once. */
static size_t list_people(const struct lm_tail *history, const char *names[PEOPLE_NAMED])
{
    size_t count = 0;
    for (size_t i = history->count; i-- > 0 && count < PEOPLE_NAMED;) {
        bool had = history->heard[i].author != LM_AUTHOR_PERSON;
        for (size_t k = 0; k < count && !had; k++)
            had = !strcmp(names[k], history->heard[i].name);
        if (!had)
            names[count++] = history->heard[i].name;
    }
    return count;
}

static int64_t context_of(const struct lm_speaker *speaker)
{
    return speaker->ops->context ? speaker->ops->context(speaker->self) : 0;
}

static int answer_rules(const struct lm_turn *turn, const struct lm_tail *history, struct lm_bytes *rules, loam_error *error)
{
    struct lm_room *room = turn->room;
    const struct lm_rooms *rooms = room->rooms;
    const char *people[PEOPLE_NAMED], *ais[64];
    const size_t people_count = list_people(history, people);
    const int64_t context = context_of(&rooms->speakers[turn->who]);
    size_t ai_count = 0;
    struct lm_bytes system = {0};
    pthread_mutex_lock(&room->rooms->lock);
    for (size_t i = 0; i < rooms->count && ai_count < 64; i++)
        if (i != turn->who && !room->gone[i])
            ais[ai_count++] = rooms->config->participants[i].name;
    const char *own = room->systems[turn->who] ? room->systems[turn->who] : participant_of(turn)->system;
    int code = own ? lm_bytes_append(&system, own, strlen(own), error) : LOAM_OK;
    pthread_mutex_unlock(&room->rooms->lock);
    if (code == LOAM_OK)
        code = lm_view_rules(participant_of(turn), people, people_count, ais, ai_count, system.length ? system.data : NULL,
                             context > 0 && context < BRIEF_CONTEXT, rules, error);
    lm_bytes_free(&system);
    return code;
}

static int moderator_rules(const struct lm_turn *turn, struct lm_bytes *rules, loam_error *error)
{
    const struct lm_rooms *rooms = turn->room->rooms;
    int code = lm_bytes_format(rules, error, "You lead a conversation between people and the AIs ");
    for (size_t i = 0; i < rooms->count && code == LOAM_OK; i++)
        if (lm_room_member_asked(turn->room, i))
            code = lm_bytes_format(rules, error, "%s, ", rooms->config->participants[i].name);
    return code == LOAM_OK ? lm_bytes_format(rules, error, "whose messages begin with their tags. Say which of these AIs should speak next, and nothing "
                                             "else: one or several names with commas between them, or NOBODY.") : code;
}

/* --- Views --- */

struct view {
    const struct lm_heard *heard;   /* of the room's tail: behind what the summary has */
    size_t count;
    struct lm_bytes rules;
    struct lm_view made;
    char *summary;
    int64_t through;
};

static void free_view(struct view *view)
{
    lm_bytes_free(&view->rules);
    lm_view_free(&view->made);
    lm_free(view->summary);
}

/* What the tail has behind message `through`. */
static void take_heard(const struct lm_tail *tail, struct view *view)
{
    size_t first = 0;
    while (first < tail->count && tail->heard[first].id <= view->through)
        first++;
    view->heard = tail->heard + first;
    view->count = tail->count - first;
}

/* As many of the last messages as the window may hold: more are read while all that were read fit. */
static int make_view(struct lm_turn *turn, const struct lm_room_settings *settings, struct view *view, loam_error *error)
{
    struct lm_room *room = turn->room;
    const struct lm_participant *participant = participant_of(turn);
    struct lm_tail *tail = &room->tail;
    int code = LOAM_OK;
    for (size_t wanted = tail->wanted > FIRST_LOOK ? tail->wanted : FIRST_LOOK; code == LOAM_OK; wanted *= 2) {
        code = lm_tail_read(room, wanted, error);
        view->rules.length = 0;
        if (code == LOAM_OK)
            code = turn->job == LM_JOB_MODERATE ? moderator_rules(turn, &view->rules, error) : answer_rules(turn, tail, &view->rules, error);
        if (code != LOAM_OK)
            return code;
        take_heard(tail, view);
        const struct lm_view_request request = {.participant = participant, .speaker = &room->rooms->speakers[turn->who], .rules = view->rules.data,
                                                .summary = view->summary, .heard = view->heard, .count = view->count,
                                                .window = settings->window_tokens,
                                                .max_tokens = turn->job == LM_JOB_MODERATE ? MODERATOR_TOKENS : participant->sampling.max_tokens};
        code = lm_view_make(&view->made, &request, error);
        if (code != LOAM_OK || view->made.first > 0 || view->count < tail->count || tail->whole || wanted >= LAST_LOOK)
            return code;
        lm_view_free(&view->made);
    }
    return code;
}

/* The older half of what is there, to be put in short; false where there is too little for that. */
static int make_summary_view(struct lm_turn *turn, const struct lm_room_settings *settings, struct view *view, loam_error *error)
{
    static const char rules[] = "Put down in a few sentences what was said in the conversation that follows, for somebody who comes later: who is there, what "
                                "they wanted, what was found and agreed. Messages begin with the tags of their speakers.";
    const size_t kept = (view->count - view->made.first) / 2, count = view->count - (kept ? kept : 1);
    struct lm_heard ask = {.author = LM_AUTHOR_NOTE, .name = "", .text = "(Now put this down in a few sentences.)"};
    ask.length = strlen(ask.text);
    turn->through = view->heard[count - 1].id;
    lm_view_free(&view->made);
    struct lm_heard *all = lm_alloc(count + 1, sizeof *all, error);
    if (!all)
        return LOAM_ENOMEM;
    memcpy(all, view->heard, count * sizeof *all);
    all[count] = ask;
    const struct lm_participant nobody = {.name = ""};    /* its own words have a tag here too */
    const struct lm_view_request request = {.participant = &nobody, .speaker = &turn->room->rooms->speakers[turn->who], .rules = rules,
                                            .summary = view->summary, .heard = all, .count = count + 1, .window = 4 * settings->window_tokens,
                                            .max_tokens = SUMMARY_TOKENS};
    const int code = lm_view_make(&view->made, &request, error);
    lm_free(all);
    return code;
}

/* --- From the speaker's threads --- */

/* Tells of it where that has not been done yet: pieces that come faster than they are fetched become one. With the lock held. */
static void tell(struct lm_turn *turn)
{
    struct lm_rooms *rooms = turn->room->rooms;
    if (turn->told)
        return;
    turn->told = true;
    turn->news = (struct lm_news){.kind = LM_NEWS_TURN, .room = turn->room, .turn = turn};
    lm_rooms_queue(rooms, turn->heads ? &rooms->heads : &rooms->rest, &turn->news);
}

static void on_text(void *user, const char *text, size_t length)
{
    struct lm_turn *turn = user;
    pthread_mutex_lock(&turn->room->rooms->lock);
    if (lm_bytes_append(&turn->come, text, length, NULL) == LOAM_OK)
        tell(turn);
    else
        atomic_store(&turn->lost, true);
    pthread_mutex_unlock(&turn->room->rooms->lock);
}

static void on_done(void *user, const struct lm_speech_result *result)
{
    struct lm_turn *turn = user;
    struct lm_rooms *rooms = turn->room->rooms;    /* the turn may be gone as soon as the lock is */
    pthread_mutex_lock(&rooms->lock);
    turn->result = *result;
    turn->finished = true;
    tell(turn);
    pthread_mutex_unlock(&rooms->lock);
}

/* --- Asking --- */

static uint64_t seed_of(const struct lm_turn *turn)
{
    const struct lm_participant *participant = participant_of(turn);
    const struct lm_room *room = turn->room;
    uint32_t bits[4];
    lm_random_keyed(participant->sampling.has_seed ? participant->sampling.how.seed : room->rooms->options.seed + (uint64_t)room->number,
                    (uint64_t)room->question.id, (uint64_t)(turn->round * 4096 + (int64_t)turn->who * 8 + turn->tries), bits);
    return (uint64_t)bits[0] << 32 | bits[1];
}

static int speak(struct lm_turn *turn, const struct view *view, const struct lm_room_settings *settings, loam_error *error)
{
    struct lm_rooms *rooms = turn->room->rooms;
    const struct lm_speech_request request = {
        .messages = view->made.messages, .count = view->made.count, .max_tokens = view->made.max_tokens, .seed = seed_of(turn),
        .seconds = participant_of(turn)->timeout, .pass_threshold = turn->job == LM_JOB_ANSWER ? settings->pass_threshold : 0,
        .text = on_text, .done = on_done, .user = turn};
    const int code = lm_speaker_start(&rooms->speakers[turn->who], &request, &turn->speech, error);
    rooms->speaking += code == LOAM_OK;
    if (code != LOAM_OK)
        turn->speech = NULL;
    return code;
}

static bool needs_summary(const struct lm_turn *turn, const struct lm_room_settings *settings, const struct view *view)
{
    return turn->job == LM_JOB_ANSWER && settings->summarise && !turn->room->no_summary[turn->who] && view->made.first > 0;
}

/* One try. `nothing`: nothing was said since its own last words, and it is not asked. */
static int try_once(struct lm_turn *turn, bool *nothing, loam_error *error)
{
    struct lm_room *room = turn->room;
    const struct lm_room_settings settings = settings_of(room);
    struct view view = {0};
    int code = LOAM_OK;
    if (turn->job == LM_JOB_SUMMARISE)
        turn->job = LM_JOB_ANSWER;
    if (settings.summarise && turn->job == LM_JOB_ANSWER)
        code = lm_ledger_summary(room->rooms->ledger, room->number, participant_of(turn)->name, &view.through, &view.summary, error);
    if (code == LOAM_OK)
        code = make_view(turn, &settings, &view, error);
    *nothing = code == LOAM_OK && turn->job == LM_JOB_ANSWER && view.made.own_last;
    if (code == LOAM_OK && !*nothing && needs_summary(turn, &settings, &view)) {
        turn->job = LM_JOB_SUMMARISE;
        code = make_summary_view(turn, &settings, &view, error);
    }
    turn->number = ++room->rooms->turn_numbers;
    turn->reply.name = participant_of(turn)->name;
    if (code == LOAM_OK && !*nothing)
        code = speak(turn, &view, &settings, error);
    free_view(&view);
    return code;
}

static void reset_text(struct lm_turn *turn)
{
    lm_reply_free(&turn->reply);
    turn->reply = (struct lm_reply){.name = participant_of(turn)->name};
    turn->raw.length = 0;
    turn->shown = 0;
}

/* What was shown of it is void. */
static void take_back(struct lm_turn *turn)
{
    if (turn->job == LM_JOB_ANSWER)
        lm_room_tell(turn->room, &(struct lm_room_event){.kind = LM_ROOM_FAILED, .turn = turn->number, .name = participant_of(turn)->name});
}

static void take_end(struct lm_turn *turn);

/* Starts a try and tells of it; a start that is refused ends the turn as a failure. False: there is nothing to ask. */
static bool begin_try(struct lm_turn *turn)
{
    loam_error error;
    bool nothing = false;
    const int code = try_once(turn, &nothing, &error);
    if (nothing)
        return false;
    if (code == LOAM_OK) {
        set_thinking(turn, true);
        if (turn->job != LM_JOB_MODERATE)
            lm_room_tell(turn->room, &(struct lm_room_event){.kind = LM_ROOM_THINKING, .turn = turn->number, .name = participant_of(turn)->name});
        return true;
    }
    turn->result = (struct lm_speech_result){.end = LM_SPEECH_FAILED, .error = error, .again = code == LOAM_EBUSY, .retry_after = -1,
                                             .prompt_tokens = -1, .tokens = -1};
    take_end(turn);
    return true;
}

bool lm_turn_start(struct lm_room *room, size_t who, enum lm_job job)
{
    loam_error error;
    struct lm_turn *turn = lm_alloc(1, sizeof *turn, &error), **end = &room->turns;
    if (!turn) {
        lm_room_notice(room, NULL, "%s", error.message);
        return false;
    }
    *turn = (struct lm_turn){.room = room, .who = who, .job = job, .round = room->round, .heads = !room->turns};
    while (*end)
        end = &(*end)->next;
    *end = turn;
    if (begin_try(turn))
        return true;
    *end = NULL;
    lm_turn_free(turn);
    return false;
}

void lm_turn_wake(struct lm_turn *turn)
{
    turn->wake_at = 0;
    if (!begin_try(turn))
        turn->ended = true;    /* nothing is left to ask: as a pass */
}

void lm_turn_free(struct lm_turn *turn)
{
    lm_speech_free(turn->speech);
    lm_reply_free(&turn->reply);
    lm_bytes_free(&turn->raw);
    lm_bytes_free(&turn->come);
    lm_free(turn);
}

void lm_turn_cancel(struct lm_turn *turn)
{
    if (turn->ended)
        return;
    if (turn->speech) {
        lm_speech_cancel(turn->speech);
        return;
    }
    turn->wake_at = 0;    /* between two tries */
    turn->ended = true;
    turn->result.end = LM_SPEECH_CANCELLED;
}

/* --- What comes --- */

static void fail_turn(struct lm_turn *turn, const loam_error *error)
{
    turn->result.end = LM_SPEECH_FAILED;
    turn->result.error = *error;
    turn->result.again = false;
}

static void show(struct lm_turn *turn)
{
    const struct lm_bytes *out = &turn->reply.out;
    if (out->length <= turn->shown)
        return;
    lm_room_tell(turn->room, &(struct lm_room_event){.kind = LM_ROOM_DELTA, .turn = turn->number, .name = participant_of(turn)->name,
                                                     .text = out->data + turn->shown, .length = out->length - turn->shown});
    turn->shown = out->length;
}

static void take_text(struct lm_turn *turn, const char *text, size_t length)
{
    loam_error error;
    if (turn->job != LM_JOB_ANSWER) {
        if (turn->raw.length + length > LM_REPLY_BYTES || lm_bytes_append(&turn->raw, text, length, &error) != LOAM_OK)
            lm_speech_cancel(turn->speech);
        return;
    }
    const bool over = turn->reply.cut || turn->reply.passing || turn->reply.full;
    if (lm_reply_feed(&turn->reply, text, length, &error) != LOAM_OK)
        atomic_store(&turn->lost, true);
    show(turn);
    if (!over && (turn->reply.cut || turn->reply.passing || turn->reply.full))
        lm_speech_cancel(turn->speech);    /* nothing of what follows counts */
}

/* Seconds until the next try, or a negative number: none. */
static double pause_before_retry(const struct lm_turn *turn)
{
    const struct lm_speech_result *result = &turn->result;
    uint32_t bits[4];
    if (!result->again || turn->tries + 1 >= TRIES || result->retry_after > LONGEST_RETRY_AFTER)
        return -1;
    lm_random_keyed((uint64_t)turn->number, (uint64_t)turn->tries, turn->who, bits);
    double pause = turn->room->rooms->options.backoff * ldexp(1, turn->tries) * (0.75 + 0.5 * (double)bits[0] / 4294967296.0);
    pause = pause < LONGEST_PAUSE ? pause : LONGEST_PAUSE;
    return result->retry_after > pause ? result->retry_after : pause;
}

static double cost_of(const struct lm_turn *turn)
{
    const struct lm_participant *participant = participant_of(turn);
    const double prompt = turn->result.prompt_tokens > 0 ? (double)turn->result.prompt_tokens : 0;
    const double tokens = turn->result.tokens > 0 ? (double)turn->result.tokens : 0;
    return (prompt * participant->price_input + tokens * participant->price_output) / 1e6;
}

/* What a try has cost that gave no message. */
static void spend(struct lm_turn *turn)
{
    loam_error error;
    struct lm_room *room = turn->room;
    if (turn->result.prompt_tokens <= 0 && turn->result.tokens <= 0)
        return;
    if (lm_ledger_spend(room->rooms->ledger, room->number, participant_of(turn)->name, turn->result.prompt_tokens, turn->result.tokens, cost_of(turn),
                       &error) != LOAM_OK)
        lm_room_notice(room, NULL, "%s", error.message);
}

static void end_of_answer(struct lm_turn *turn)
{
    loam_error error;
    if (atomic_load(&turn->lost))
        fail_turn(turn, &(loam_error){.code = LOAM_ENOMEM, .position = -1, .message = "there was not enough memory for the answer"});
    else if (turn->result.end != LM_SPEECH_FAILED && lm_reply_finish(&turn->reply, &error) != LOAM_OK)
        fail_turn(turn, &error);
    else if (turn->result.end == LM_SPEECH_CANCELLED && (turn->reply.cut || turn->reply.passing || turn->reply.full))
        turn->result.end = LM_SPEECH_ANSWERED;    /* it was ended by us, as enough had come */
}

/* A summary is kept, and the answer asked for at last; without one the oldest messages are left out. */
static void end_of_summary(struct lm_turn *turn)
{
    loam_error error;
    struct lm_room *room = turn->room;
    struct lm_bytes text = {0};
    int code = LOAM_OK;
    spend(turn);
    if (turn->result.end == LM_SPEECH_CANCELLED) {
        turn->result.prompt_tokens = turn->result.tokens = -1;    /* spent; it is settled once more */
        turn->ended = true;
        return;
    }
    if (turn->result.end == LM_SPEECH_ANSWERED && turn->raw.length)
        code = lm_harmless_text(turn->raw.data, turn->raw.length, &text, &error);
    if (code == LOAM_OK && text.length && strspn(text.data, " \t\n") < text.length)
        code = lm_ledger_set_summary(room->rooms->ledger, room->number, participant_of(turn)->name, turn->through, text.data, &error);
    else
        room->no_summary[turn->who] = true;
    lm_bytes_free(&text);
    if (code != LOAM_OK || room->no_summary[turn->who]) {
        room->no_summary[turn->who] = true;
        lm_room_notice(room, NULL, "%s could not put the older messages in short; they are left out", participant_of(turn)->name);
    }
    reset_text(turn);
    turn->tries = 0;
    if (!begin_try(turn))
        turn->ended = true;
}

static void take_end(struct lm_turn *turn)
{
    lm_speech_free(turn->speech);
    turn->speech = NULL;
    if (turn->result.end == LM_SPEECH_FAILED) {
        const double pause = pause_before_retry(turn);
        if (pause >= 0) {
            if (turn->shown)
                take_back(turn);
            spend(turn);
            reset_text(turn);
            atomic_store(&turn->lost, false);
            turn->tries++;
            turn->wake_at = lm_seconds() + pause;
            if (turn->wake_at < turn->room->rooms->wake_at)
                turn->room->rooms->wake_at = turn->wake_at;
            return;
        }
    }
    if (turn->job == LM_JOB_SUMMARISE) {
        end_of_summary(turn);
        return;
    }
    if (turn->job == LM_JOB_ANSWER)
        end_of_answer(turn);
    turn->ended = true;
}

/* With the lock held; what it gives is whether the answer is through. */
static bool fetch(struct lm_turn *turn, struct lm_bytes *out)
{
    const struct lm_bytes come = turn->come;
    const bool finished = turn->finished;
    turn->come = *out;
    turn->come.length = 0;
    *out = come;
    turn->finished = turn->told = false;
    return finished;
}

void lm_turn_come(struct lm_turn *turn)
{
    struct lm_rooms *rooms = turn->room->rooms;
    struct lm_bytes *text = &rooms->fetched;
    pthread_mutex_lock(&rooms->lock);
    const bool finished = fetch(turn, text);
    pthread_mutex_unlock(&rooms->lock);
    if (text->length)
        take_text(turn, text->data, text->length);
    if (!finished)
        return;
    rooms->speaking--;
    take_end(turn);
}

bool lm_turn_drop(struct lm_turn *turn)
{
    struct lm_rooms *rooms = turn->room->rooms;
    pthread_mutex_lock(&rooms->lock);
    const bool finished = fetch(turn, &rooms->fetched);
    pthread_mutex_unlock(&rooms->lock);
    return finished;
}

/* --- What becomes of it --- */

static void post_answer(struct lm_turn *turn)
{
    struct lm_room *room = turn->room;
    const struct lm_bytes *out = &turn->reply.out;
    const char *name = participant_of(turn)->name;
    const struct lm_ledger_message message = {.room = room->number, .time = lm_time(), .author = LM_AUTHOR_AI, .name = name, .text = out->data,
                                             .length = out->length, .trigger = room->question.id, .round = turn->round, .position = -1,
                                             .prompt_tokens = turn->result.prompt_tokens, .tokens = turn->result.tokens, .cost = cost_of(turn)};
    int64_t id = 0;
    loam_error error;
    if (lm_ledger_add(room->rooms->ledger, &message, &id, &error) != LOAM_OK) {
        take_back(turn);
        lm_room_notice(room, NULL, "what %s said cannot be kept: %s", name, error.message);
        return;
    }
    room->ai_turns++;
    room->answered = true;
    lm_room_tell(room, &(struct lm_room_event){.kind = LM_ROOM_MESSAGE, .turn = turn->number, .id = id, .author = LM_AUTHOR_AI, .name = name,
                                               .text = out->data, .length = out->length, .time = message.time});
}

static void post_failure(struct lm_turn *turn)
{
    take_back(turn);
    spend(turn);
    if (turn->tries)
        lm_room_notice(turn->room, NULL, "%s has no answer: %s (asked %d times)", participant_of(turn)->name, turn->result.error.message, turn->tries + 1);
    else
        lm_room_notice(turn->room, NULL, "%s has no answer: %s", participant_of(turn)->name, turn->result.error.message);
}

static void settle_answer(struct lm_turn *turn)
{
    const enum lm_speech_end end = turn->result.end;
    const bool said = turn->reply.verdict == LM_REPLY_SAID;
    if (end == LM_SPEECH_FAILED) {
        post_failure(turn);
    } else if (said) {
        show(turn);
        post_answer(turn);
    } else if (end == LM_SPEECH_CANCELLED) {
        take_back(turn);
        spend(turn);
    } else {
        spend(turn);
        lm_room_tell(turn->room, &(struct lm_room_event){.kind = LM_ROOM_PASS, .turn = turn->number, .name = participant_of(turn)->name});
    }
}

static void settle_moderation(struct lm_turn *turn)
{
    const bool failed = turn->result.end == LM_SPEECH_FAILED, stopped = turn->result.end == LM_SPEECH_CANCELLED;
    spend(turn);
    if (failed)
        lm_room_notice(turn->room, NULL, "%s cannot lead: %s; everybody is asked", participant_of(turn)->name, turn->result.error.message);
    if (stopped)
        turn->room->choosing = false;
    else
        lm_room_moderated(turn->room, failed ? NULL : turn->raw.length ? turn->raw.data : "");
}

bool lm_turns_settle(struct lm_room *room)
{
    struct lm_turn *turn = room->turns;
    if (!turn || !turn->ended)
        return false;
    set_thinking(turn, false);
    if (turn->job == LM_JOB_MODERATE)
        settle_moderation(turn);
    else if (turn->number)
        settle_answer(turn);
    room->turns = turn->next;
    if (room->turns) {
        pthread_mutex_lock(&room->rooms->lock);
        room->turns->heads = true;
        pthread_mutex_unlock(&room->rooms->lock);
    }
    lm_turn_free(turn);
    return true;
}
