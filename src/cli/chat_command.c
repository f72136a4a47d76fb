/* What begins with a slash in a chat. */
#include "chat.h"
#include "options.h"
#include "terminal.h"

#include <string.h>

/* --- /set --- */

struct knob {
    const char *name, *help;
    size_t offset;              /* in struct chat */
    bool whole;
};
#define KNOB(name, member, whole, help) {name, help, offsetof(struct chat, member), whole}
static const struct knob knobs[] = {
    KNOB("temperature", sampling.temperature, false, "0: always the likeliest token"),
    KNOB("top-k", sampling.top_k, true, "0: all"),
    KNOB("top-p", sampling.top_p, false, "1: all"),
    KNOB("min-p", sampling.min_p, false, "0: all"),
    KNOB("repetition-penalty", sampling.repetition_penalty, false, "1: none"),
    KNOB("presence-penalty", presence_penalty, false, "0: none"),
    KNOB("frequency-penalty", frequency_penalty, false, "0: none"),
    KNOB("max-tokens", max_tokens, true, "0: what the context has room for"),
    KNOB("seed", sampling.seed, true, ""),
};
enum { KNOBS = sizeof knobs / sizeof *knobs };

static void show_knob(const struct chat *chat, const struct knob *knob)
{
    char number[32];
    const void *at = (const char *)chat + knob->offset;
    if (knob->whole)
        snprintf(number, sizeof number, "%lld", (long long)*(const int64_t *)at);
    else
        lm_format_double(*(const double *)at, number);
    note("  %-20s %-8s %s", knob->name, number, knob->help);
}

static const char *next_knob(const void *user, size_t index)
{
    (void)user;
    return index < KNOBS ? knobs[index].name : NULL;
}

static int set_knob(struct chat *chat, const struct knob *knob, const char *text, loam_error *error)
{
    const struct chat before = *chat;
    void *at = (char *)chat + knob->offset;
    int code = knob->whole ? lm_parse_int(text, at, error) : lm_parse_double(text, at, error);
    if (code == LOAM_OK)
        code = lm_sampling_check(&chat->sampling, error);
    if (code == LOAM_OK && chat->max_tokens < 0)
        code = lm_fail(error, LOAM_EUSAGE, "max-tokens: found %lld, wanted 0 or more", (long long)chat->max_tokens);
    if (code == LOAM_OK && !(chat->presence_penalty >= -2 && chat->presence_penalty <= 2 && chat->frequency_penalty >= -2 &&
                             chat->frequency_penalty <= 2))
        code = lm_fail(error, LOAM_EUSAGE, "%s: found %s, wanted -2 to 2", knob->name, text);
    if (code != LOAM_OK)
        *chat = before;
    return code;
}

static void set_stop(struct chat *chat, const char *text)
{
    while (!*text && chat->stop_count)
        lm_free(chat->stops[--chat->stop_count]);
    if (*text && chat->stop_count == CHAT_MOST_STOPS)
        note("there are %d stop texts already; /set stop alone forgets them", CHAT_MOST_STOPS);
    else if (*text && (chat->stops[chat->stop_count] = lm_copy_string(text, strlen(text), NULL)))
        chat->stop_count++;
}

static int run_set(struct chat *chat, const char *rest)
{
    char name[32];
    const size_t length = strcspn(rest, " \t=");
    const char *value = rest + length + strspn(rest + length, " \t=");
    loam_error error;
    snprintf(name, sizeof name, "%.*s", (int)(length < 31 ? length : 31), rest);
    for (char *at = name; (at = strchr(at, '_'));)
        *at = '-';
    if (!*rest) {
        for (size_t i = 0; i < KNOBS; i++)
            show_knob(chat, &knobs[i]);
        for (size_t i = 0; i < chat->stop_count; i++)
            note("  %-20s %s", "stop", chat->stops[i]);
        return EXIT_DONE;
    }
    if (!strcmp(name, "stop")) {
        set_stop(chat, value);
        return EXIT_DONE;
    }
    for (size_t i = 0; i < KNOBS; i++) {
        if (strcmp(name, knobs[i].name))
            continue;
        if (*value && set_knob(chat, &knobs[i], value, &error) != LOAM_OK)
            return complain_error(&error);
        show_knob(chat, &knobs[i]);
        return EXIT_DONE;
    }
    const char *near = nearest_name(name, next_knob, NULL);
    complain("/set: there is no '%s'%s%s%s; /set alone shows what there is", name, near ? "; did you mean '" : "", near ? near : "", near ? "'" : "");
    return EXIT_USAGE;
}

/* --- The conversation --- */

int chat_set_system(struct chat *chat, const char *text, size_t length, loam_error *error)
{
    for (size_t i = 0; i < chat->count; i++) {
        struct lm_conversation *old = &chat->members[i].conversation, fresh = {0};
        int code = length ? lm_conversation_add(&fresh, LM_SYSTEM, text, length, error) : LOAM_OK;
        for (size_t k = old->count && old->messages[0].role == LM_SYSTEM; k < old->count && code == LOAM_OK; k++)
            code = lm_conversation_add(&fresh, old->messages[k].role, old->messages[k].content, old->messages[k].length, error);
        if (code != LOAM_OK) {
            lm_conversation_free(&fresh);
            return code;
        }
        lm_conversation_free(old);
        *old = fresh;
    }
    return LOAM_OK;
}

static int run_system(struct chat *chat, const char *rest)
{
    loam_error error;
    const struct lm_conversation *first = &chat->members[0].conversation;
    if (!*rest) {
        const bool there = first->count && first->messages[0].role == LM_SYSTEM;
        note("%s", there ? first->messages[0].content : "There is no system prompt; /system TEXT sets one.");
        return EXIT_DONE;
    }
    const bool none = !strcmp(rest, "-");
    if (chat_set_system(chat, rest, none ? 0 : strlen(rest), &error) != LOAM_OK)
        return complain_error(&error);
    note(none ? "The system prompt is gone." : "The system prompt is set, for the whole conversation.");
    chat_session_keep(chat);
    return EXIT_DONE;
}

/* Where the last question stands, or SIZE_MAX. */
static size_t last_question(const struct lm_conversation *conversation)
{
    size_t at = conversation->count;
    while (at && conversation->messages[at - 1].role != LM_USER)
        at--;
    return at ? at - 1 : SIZE_MAX;
}

static int run_retry(struct chat *chat, const char *rest)
{
    (void)rest;
    for (size_t i = 0; i < chat->count; i++) {
        const size_t at = last_question(&chat->members[i].conversation);
        if (at == SIZE_MAX) {
            complain("/retry: nothing has been asked yet");
            return EXIT_USAGE;
        }
    }
    if (chat->sampling.temperature == 0)
        note("The temperature is 0, where an answer does not change; /set temperature 0.7 lets it.");
    for (size_t i = 0; i < chat->count; i++)
        chat_shorten(&chat->members[i].conversation, last_question(&chat->members[i].conversation) + 1);
    return chat_again(chat);
}

static int run_undo(struct chat *chat, const char *rest)
{
    (void)rest;
    bool any = false;
    for (size_t i = 0; i < chat->count; i++) {
        const size_t at = last_question(&chat->members[i].conversation);
        if (at == SIZE_MAX)
            continue;
        if (!any)
            note("Forgotten: %.200s", chat->members[i].conversation.messages[at].content);
        chat_shorten(&chat->members[i].conversation, at);
        any = true;
    }
    if (!any) {
        complain("/undo: nothing has been said yet");
        return EXIT_USAGE;
    }
    chat_session_keep(chat);
    return EXIT_DONE;
}

static int run_clear(struct chat *chat, const char *rest)
{
    (void)rest;
    for (size_t i = 0; i < chat->count; i++) {
        struct lm_conversation *conversation = &chat->members[i].conversation;
        chat_shorten(conversation, conversation->count && conversation->messages[0].role == LM_SYSTEM);
    }
    chat_session_new(chat);
    note("A new conversation.");
    return EXIT_DONE;
}

/* --- Files --- */

static int run_save(struct chat *chat, const char *rest)
{
    loam_error error;
    if (!*rest) {
        note(chat->file ? "This chat is kept in %s; /save FILE writes it elsewhere, as loam finetune reads it." :
             "Nothing is kept yet; /save FILE writes the chat as loam finetune reads it.", chat->file);
        return EXIT_DONE;
    }
    if (chat_session_save(chat, rest, &error) != LOAM_OK)
        return complain_error(&error);
    note("Saved in %s, as loam finetune reads it.", rest);
    return EXIT_DONE;
}

static int run_load(struct chat *chat, const char *rest)
{
    loam_error error;
    if (!*rest) {
        chat_session_list(chat);
        return EXIT_DONE;
    }
    if (chat_session_load(chat, rest, &error) != LOAM_OK)
        return complain_error(&error);
    const struct lm_conversation *conversation = &chat->members[0].conversation;
    note("%zu messages. The last: %.300s", conversation->count, conversation->count ? conversation->messages[conversation->count - 1].content : "");
    return EXIT_DONE;
}

/* --- Numbers --- */

static void show_stats(const struct chat_member *member)
{
    const struct lm_usage *usage = &member->last;
    struct lm_engine_stats engine;
    lm_engine_stats(member->engine, &engine);
    const double prompt = usage->seconds_to_first - usage->seconds_waiting, decode = usage->seconds - usage->seconds_to_first;
    note("%s, %s", member->name, lm_engine_device(member->engine));
    if (!member->replies) {
        note("  nothing has been said yet");
        return;
    }
    const int64_t computed = usage->prompt_tokens - usage->reused;
    note("  last reply     first token after %.0f ms, %lld tokens at %.1f tokens/s", usage->seconds_to_first * 1e3, (long long)usage->tokens,
         usage->tokens > 1 && decode > 0 ? (double)(usage->tokens - 1) / decode : 0);
    note("  its prompt     %lld tokens, %lld from the cache, the others at %.1f tokens/s", (long long)usage->prompt_tokens, (long long)usage->reused,
         prompt > 0 ? (double)computed / prompt : 0);
    note("  this chat      %lld replies of %lld tokens, %.1f tokens/s; %lld of %lld prompt tokens from the cache", (long long)member->replies,
         (long long)member->tokens, member->decode_seconds > 0 ? (double)(member->tokens - member->replies) / member->decode_seconds : 0,
         (long long)member->reused, (long long)member->prompt_tokens);
    char weights[32], cache[32];
    lm_format_size((int64_t)engine.weight_bytes, weights);
    lm_format_size((int64_t)engine.cache_bytes, cache);
    note("  context        %lld of %lld tokens", (long long)(usage->prompt_tokens + usage->tokens), (long long)lm_engine_context(member->engine));
    note("  memory         weights %s, cache %s: %lld of %lld pages hold something", weights, cache,
         (long long)(engine.pages_used + engine.pages_kept), (long long)engine.pages);
}

static int run_stats(struct chat *chat, const char *rest)
{
    (void)rest;
    for (size_t i = 0; i < chat->count; i++)
        show_stats(&chat->members[i]);
    return EXIT_DONE;
}

static void show_tokens(const struct chat_member *member, const char *text, const struct lm_ids *ids)
{
    const struct lm_tokenizer *tokenizer = lm_engine_tokenizer(member->engine);
    struct lm_bytes line = {0};
    for (size_t i = 0; *text && i < ids->length; i++) {
        size_t length = 0;
        const char *piece = lm_tokenizer_token(tokenizer, ids->data[i], &length);
        lm_bytes_format(&line, NULL, " %d '%.*s'", (int)ids->data[i], (int)(piece ? length : 0), piece ? piece : "");
    }
    if (*text)
        note("%zu tokens:%s", ids->length, line.data ? line.data : "");
    else
        note("%s: the conversation is %zu tokens of %lld", member->name, ids->length, (long long)lm_engine_context(member->engine));
    lm_bytes_free(&line);
}

static int run_tokens(struct chat *chat, const char *rest)
{
    for (size_t i = 0; i < chat->count; i++) {
        struct chat_member *member = &chat->members[i];
        struct lm_rendered rendered = {0};
        loam_error error;
        const int code = *rest ? lm_tokenizer_encode(lm_engine_tokenizer(member->engine), rest, strlen(rest), 0, &rendered.ids, NULL, &error)
                               : lm_engine_prompt(member->engine, &member->conversation, &rendered, &error);
        if (code == LOAM_OK)
            show_tokens(member, rest, &rendered.ids);
        lm_rendered_free(&rendered);
        if (code != LOAM_OK)
            return complain_error(&error);
    }
    return EXIT_DONE;
}

/* --- The table --- */

static int run_help(struct chat *chat, const char *rest);

static const struct slash {
    const char *name, *operands, *help;
    int (*run)(struct chat *chat, const char *rest);    /* NULL: ends the chat */
} slashes[] = {
    {"/help", "", "this list", run_help},
    {"/system", "[TEXT|-]", "show, set or remove (-) the system prompt", run_system},
    {"/retry", "", "another answer to the last question", run_retry},
    {"/undo", "", "forget the last question and its answer", run_undo},
    {"/clear", "", "a new conversation; the old one stays kept", run_clear},
    {"/set", "[NAME VALUE]", "show or change the sampling: temperature, top-p, max-tokens, stop, ...", run_set},
    {"/save", "[FILE]", "where the chat is kept; or write it to FILE, as loam finetune reads it", run_save},
    {"/load", "[NAME|FILE]", "list the chats that are kept, or go on with one", run_load},
    {"/stats", "", "time to the first token, rates, use of the cache", run_stats},
    {"/tokens", "[TEXT]", "tokens of the conversation, or of a text one by one", run_tokens},
    {"/quit", "", "end (as Ctrl-D does)", NULL},
};
enum { SLASHES = sizeof slashes / sizeof *slashes };

static int run_help(struct chat *chat, const char *rest)
{
    (void)chat;
    (void)rest;
    for (size_t i = 0; i < SLASHES; i++)
        note("  %-8s %-13s %s", slashes[i].name, slashes[i].operands, slashes[i].help);
    note("Several lines: begin and end with \"\"\", or end a line with \\. A message that begins with /: write //.");
    return EXIT_DONE;
}

static const char *next_slash(const void *user, size_t index)
{
    (void)user;
    return index < SLASHES ? slashes[index].name : NULL;
}

bool chat_command(struct chat *chat, const char *line, int *status)
{
    char name[32];
    const size_t length = strcspn(line, " \t\n");
    const char *rest = line + length + strspn(line + length, " \t\n");
    snprintf(name, sizeof name, "%.*s", (int)(length < 31 ? length : 31), line);
    for (size_t i = 0; i < SLASHES; i++) {
        if (strcmp(name, slashes[i].name))
            continue;
        if (!slashes[i].run)
            return true;
        const int one = slashes[i].run(chat, rest);
        *status = one != EXIT_DONE ? one : *status;
        return false;
    }
    const char *near = nearest_name(name, next_slash, NULL);
    complain("there is no %s%s%s%s; /help lists what there is, and // begins a message with a slash", name, near ? "; did you mean " : "",
             near ? near : "", near ? "?" : "");
    *status = EXIT_USAGE;
    return false;
}
