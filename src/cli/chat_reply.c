/* Asking the models, and showing what they say as it comes. */
#include "chat.h"
#include "sampling.h"
#include "terminal.h"

#include <string.h>

void chat_shorten(struct lm_conversation *conversation, size_t count)
{
    while (conversation->count > count)
        lm_free(conversation->messages[--conversation->count].content);
}

static void print_debug(const char *what, const struct lm_bytes *text, const struct lm_ids *ids)
{
    fprintf(stderr, "--- %s, %zu tokens\n%s\n---", what, ids->length, text->data ? text->data : "");
    for (size_t i = 0; i < ids->length; i++)
        fprintf(stderr, " %d", (int)ids->data[i]);
    fputc('\n', stderr);
}

static void print_reply_debug(const struct lm_generation *reply)
{
    print_debug("sent back", &reply->text, &reply->ids);
    fprintf(stderr, "--- stopped by: %s", lm_stop_reason_name(reply->reason));
    fprintf(stderr, reply->end_id >= 0 ? " (token %d)\n" : "\n", (int)reply->end_id);
}

static struct lm_request make_request(const struct chat *chat, const struct lm_ids *prompt)
{
    struct lm_request request = lm_request_default();
    request.ids = prompt->data;
    request.count = prompt->length;
    request.sampling = chat->sampling;
    request.sampling.seed += (uint64_t)chat->attempt;
    request.presence_penalty = chat->presence_penalty;
    request.frequency_penalty = chat->frequency_penalty;
    request.max_tokens = chat->max_tokens;
    request.stops = (const char *const *)chat->stops;
    request.stop_count = chat->stop_count;
    request.overflow = chat->settings->overflow;
    return request;
}

static int ask(struct chat *chat, struct chat_member *member, struct lm_generation *reply, struct lm_usage *usage,
               loam_error *error)
{
    const struct lm_generation_options options = {.show = show_text, .cancelled = stop_asked};
    struct lm_rendered prompt = {0};
    struct lm_ticket *ticket = NULL;
    int code = lm_engine_prompt(member->engine, &member->conversation, &prompt, error);
    if (code == LOAM_OK && chat->debug)
        print_debug("sent", &prompt.text, &prompt.ids);
    if (code == LOAM_OK) {
        const struct lm_request request = make_request(chat, &prompt.ids);
        code = lm_engine_submit(member->engine, &request, &ticket, error);
    }
    lm_rendered_free(&prompt);
    if (code == LOAM_OK)
        code = lm_ticket_collect(ticket, &options, reply, usage, error);
    lm_ticket_free(ticket);
    return code;
}

static void count(struct chat_member *member, const struct lm_usage *usage)
{
    member->last = *usage;
    member->replies++;
    member->tokens += usage->tokens;
    member->prompt_tokens += usage->prompt_tokens;
    member->reused += usage->reused;
    member->decode_seconds += usage->seconds - usage->seconds_to_first;
}

static void print_name(const struct chat *chat, const struct chat_member *member)
{
    if (chat->count < 2)
        return;
    const bool colour = may_colour(stdout);
    printf("%s%s:%s ", colour ? "\x1b[1m" : "", member->name, colour ? "\x1b[0m" : "");
    fflush(stdout);
}

/* What was said before a Ctrl-C is a turn; where nothing was, there is none, and the question goes with it. */
static int answer(struct chat *chat, struct chat_member *member, loam_error *error)
{
    struct lm_generation reply = {0};
    struct lm_usage usage = {0};
    print_name(chat, member);
    int code = ask(chat, member, &reply, &usage, error);
    if (code == LOAM_OK || reply.text.length || chat->count > 1)
        putchar('\n');
    fflush(stdout);
    if (code == LOAM_OK) {
        if (chat->debug)
            print_reply_debug(&reply);
        note("%lld tokens in %.2f s: %.1f tokens/s", (long long)reply.tokens, reply.seconds, lm_generation_rate(&reply));
        if (reply.shifted)
            note("the context was full: the oldest %lld tokens were left out", (long long)reply.shifted);
        count(member, &usage);
        if (reply.reason == LM_STOP_CANCELLED && !reply.text.length)
            code = lm_fail(error, LOAM_ECANCELLED, "chat: stopped before a word of the reply; the question is forgotten");
        else
            code = lm_conversation_add(&member->conversation, LM_ASSISTANT, reply.text.data ? reply.text.data : "", reply.text.length, error);
    }
    lm_generation_free(&reply);
    return code;
}

/* One member's turn; taken back down to `before` messages where it fails, so that the conversation can go on. */
static int turn(struct chat *chat, struct chat_member *member, const char *text, size_t length, size_t before)
{
    loam_error error;
    int code = text ? lm_conversation_add(&member->conversation, LM_USER, text, length, &error) : LOAM_OK;
    if (code == LOAM_OK)
        code = answer(chat, member, &error);
    if (code == LOAM_OK)
        return EXIT_DONE;
    chat_shorten(&member->conversation, before);
    if (code != LOAM_ECANCELLED)
        return complain_error(&error);
    note("%s", error.message);
    return EXIT_DONE;
}

static int all_turns(struct chat *chat, const char *text, size_t length)
{
    int status = EXIT_DONE;
    for (size_t i = 0; i < chat->count && !(i && stop_wanted()); i++) {
        struct chat_member *member = &chat->members[i];
        const int one = turn(chat, member, text, length, member->conversation.count - !text);
        status = one != EXIT_DONE ? one : status;
    }
    forget_interrupt();
    chat_session_keep(chat);
    return status;
}

int chat_say(struct chat *chat, const char *text, size_t length)
{
    chat->attempt = 0;
    return all_turns(chat, text, length);
}

int chat_again(struct chat *chat)
{
    chat->attempt++;
    return all_turns(chat, NULL, 0);
}
