/* What a participant is sent: the rules, and as much of the history as its window holds, in turns that alternate. */
#include "protocol.h"

#include <string.h>

enum { TURN_TOKENS = 6, LEAST_WINDOW = 32 };    /* what a template puts around a turn, about */

int lm_view_rules(const struct lm_participant *participant, const char *const *people, size_t people_count, const char *const *ais,
                  size_t ai_count, const char *system, bool brief, struct lm_bytes *out, loam_error *error)
{
    int code = lm_bytes_format(out, error, "You are %s in a room", participant->name);
    const size_t all = people_count + ai_count;
    for (size_t i = 0; i < all && code == LOAM_OK; i++)
        code = lm_bytes_format(out, error, "%s%s", i == 0 ? " with " : i + 1 == all ? " and " : ", ",
                               i < people_count ? people[i] : ais[i - people_count]);
    if (code == LOAM_OK && brief)
        code = lm_bytes_format(out, error, ". %s%sAnswer what is said to you or to all, else say PASS.", system ? system : "",
                               system ? " " : "");
    else if (code == LOAM_OK)
        code = lm_bytes_format(
            out, error,
            ". Several people and several AIs talk here. Messages of people begin with " LM_TAG_PERSON "[Name], those of the other AIs with "
            LM_TAG_AI "[Name]; your own are shown to you without a tag, and you write none.\n"
            "When a person has said something, every AI is asked in turn whether it wants to answer, and may react to the others "
            "afterwards. Speak for yourself alone, as one does in a conversation. If you have nothing of worth to add, or if somebody "
            "else is meant, say only PASS.%s%s",
            system ? "\n\n" : "", system ? system : "");
    return code;
}

/* --- Messages --- */

static int add_message(struct lm_view *view, enum lm_role role, loam_error *error)
{
    if (view->count == view->capacity) {
        const size_t capacity = view->capacity ? 2 * view->capacity : 16;
        struct lm_speech_message *grown = lm_resize(view->messages, capacity, sizeof *grown, error);
        if (!grown)
            return LOAM_ENOMEM;
        view->messages = grown;
        char **texts = lm_resize(view->texts, capacity, sizeof *texts, error);
        if (!texts)
            return LOAM_ENOMEM;
        view->texts = texts;
        view->capacity = capacity;
    }
    view->messages[view->count++] = (struct lm_speech_message){.role = role, .text = ""};
    return LOAM_OK;
}

/* Moves the turn's text into the view; a turn of nothing is none. */
static int close_turn(struct lm_view *view, enum lm_role role, struct lm_bytes *turn, loam_error *error)
{
    if (!turn->length)
        return LOAM_OK;
    const int code = add_message(view, role, error);
    if (code != LOAM_OK)
        return code;
    struct lm_speech_message *message = &view->messages[view->count - 1];
    message->text = view->texts[view->text_count++] = turn->data;
    message->length = turn->length;
    *turn = (struct lm_bytes){0};
    return LOAM_OK;
}

static bool is_own(const struct lm_view_request *request, const struct lm_heard *heard)
{
    return heard->author == LM_AUTHOR_AI && !strcmp(heard->name, request->participant->name);
}

static int append_line(struct lm_bytes *turn, const struct lm_view_request *request, const struct lm_heard *heard, size_t length,
                       loam_error *error)
{
    int code = turn->length ? lm_bytes_append(turn, "\n", 1, error) : LOAM_OK;
    if (code == LOAM_OK && !is_own(request, heard) && heard->author != LM_AUTHOR_NOTE)
        code = lm_bytes_format(turn, error, "%s[%s] ", heard->author == LM_AUTHOR_AI ? LM_TAG_AI : LM_TAG_PERSON, heard->name);
    if (code == LOAM_OK)
        code = lm_bytes_append(turn, heard->text, length, error);
    if (code == LOAM_OK && length < heard->length)
        code = lm_bytes_format(turn, error, " … (%zu more bytes)", heard->length - length);
    return code;
}

/* Tokens of a message as it will stand there. A participant that cannot count is taken to have three bytes a token. */
static int64_t tokens_of(const struct lm_view_request *request, const char *text, size_t length)
{
    const struct lm_speaker *speaker = request->speaker;
    if (!speaker || !speaker->ops->count)
        return (int64_t)length / 3 + 1;
    return speaker->ops->count(speaker->self, text, length);
}

static int64_t line_tokens(const struct lm_view_request *request, const struct lm_heard *heard)
{
    const size_t tag = is_own(request, heard) ? 0 : strlen(heard->name);
    return tokens_of(request, heard->text, heard->length) + (tag ? (int64_t)tag / 2 + 6 : 0) + TURN_TOKENS;
}

/* Tokens of history there is room for: the window, or what the speaker's context leaves beside rules, summary and answer. */
static int64_t room_for_history(const struct lm_view_request *request, struct lm_view *view)
{
    const struct lm_speaker *speaker = request->speaker;
    const int64_t context = speaker && speaker->ops->context ? speaker->ops->context(speaker->self) : 0;
    int64_t fixed = tokens_of(request, request->rules, strlen(request->rules)) + 2 * TURN_TOKENS, room = request->window;
    if (request->summary)
        fixed += tokens_of(request, request->summary, strlen(request->summary)) + TURN_TOKENS + 8;
    view->max_tokens = request->max_tokens;
    if (context > 0) {
        if (view->max_tokens > context / 3 || view->max_tokens <= 0)
            view->max_tokens = context / 3;
        const int64_t left = context - fixed - view->max_tokens - TURN_TOKENS;
        room = left < room ? left : room;
    }
    view->tokens = fixed;
    return room > LEAST_WINDOW ? room : LEAST_WINDOW;
}

/* How many bytes of a message that alone is too long go in. */
static size_t shortened(const struct lm_heard *heard, int64_t tokens, int64_t room)
{
    if (tokens <= room)
        return heard->length;
    size_t length = (size_t)((double)heard->length * ((double)room / (double)tokens) * 0.9);
    while (length && ((unsigned char)heard->text[length] & 0xC0) == 0x80)
        length--;
    return length;
}

static int history(struct lm_view *view, const struct lm_view_request *request, int64_t room, loam_error *error)
{
    struct lm_bytes turn = {0};
    int code = LOAM_OK;
    bool own = false;
    if (request->summary)
        code = lm_bytes_format(&turn, error, "(What was said before, in short: %s)", request->summary);
    else if (view->first > 0 || (view->first < request->count && is_own(request, &request->heard[view->first])))
        code = lm_bytes_format(&turn, error, "(What was said before is left out.)");
    for (size_t i = view->first; i < request->count && code == LOAM_OK; i++) {
        const struct lm_heard *heard = &request->heard[i];
        if (is_own(request, heard) != own) {
            code = close_turn(view, own ? LM_ASSISTANT : LM_USER, &turn, error);
            own = !own;
        }
        const bool single = i == view->first;
        if (code == LOAM_OK)
            code = append_line(&turn, request, heard,
                               single ? shortened(heard, line_tokens(request, heard), room) : heard->length, error);
    }
    if (code == LOAM_OK)
        code = close_turn(view, own ? LM_ASSISTANT : LM_USER, &turn, error);
    lm_bytes_free(&turn);
    view->own_last = own;
    return code;
}

int lm_view_make(struct lm_view *view, const struct lm_view_request *request, loam_error *error)
{
    struct lm_bytes rules = {0};
    int64_t used = 0;
    int code = lm_bytes_append(&rules, request->rules, strlen(request->rules), error);
    if (code == LOAM_OK)
        code = close_turn(view, LM_SYSTEM, &rules, error);
    lm_bytes_free(&rules);
    const int64_t room = room_for_history(request, view);
    view->first = request->count;
    while (view->first > 0) {
        const int64_t tokens = line_tokens(request, &request->heard[view->first - 1]);
        if (used + tokens > room && view->first < request->count)
            break;
        used += tokens < room ? tokens : room;
        view->first--;
        if (used >= room)
            break;
    }
    view->tokens += used;
    if (code == LOAM_OK)
        code = history(view, request, room, error);
    if (code != LOAM_OK)
        lm_view_free(view);
    return code;
}

void lm_view_free(struct lm_view *view)
{
    for (size_t i = 0; i < view->text_count; i++)
        lm_free(view->texts[i]);
    lm_free(view->texts);
    lm_free(view->messages);
    *view = (struct lm_view){0};
}
