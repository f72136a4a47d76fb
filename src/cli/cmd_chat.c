/* loam chat */
#include "common.h"
#include "prompt.h"
#include "sampling.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct chat {
    const struct chat_settings *settings;
    struct lm_runner *runner;
    struct lm_conversation conversation;
    bool terminal;
};

/* The next line without its end, free()'s to take back; NULL: the input has ended, or the program is to. */
static char *next_line(struct chat *chat, size_t *length)
{
    if (chat->terminal) {
        char *line;
        while (!(line = prompt_line("> ")) && interrupted()) {    /* Ctrl-C at the prompt: a fresh one */
            forget_interrupt();
            putchar('\n');
        }
        *length = line ? strlen(line) : 0;
        return line;
    }
    char *line = NULL;
    size_t room = 0;
    const ssize_t got = getline(&line, &room, stdin);
    if (got < 0) {
        free(line);
        return NULL;
    }
    *length = (size_t)got;
    while (*length && (line[*length - 1] == '\n' || line[*length - 1] == '\r'))
        line[--*length] = 0;
    return line;
}

static void print_debug(const char *what, const struct lm_bytes *text, const struct lm_ids *ids)
{
    fprintf(stderr, "--- %s, %zu tokens\n%s\n---", what, ids->length, text->data ? text->data : "");
    for (size_t i = 0; i < ids->length; i++)
        fprintf(stderr, " %d", (int)ids->data[i]);
    fputc('\n', stderr);
}

static int show_prompt(struct chat *chat, loam_error *error)
{
    struct lm_rendered prompt = {0};
    int code = lm_runner_prompt(chat->runner, &chat->conversation, &prompt, error);
    if (code == LOAM_OK)
        print_debug("sent", &prompt.text, &prompt.ids);
    lm_rendered_free(&prompt);
    return code;
}

static void print_reply_debug(const struct lm_generation *reply)
{
    print_debug("sent back", &reply->text, &reply->ids);
    fprintf(stderr, "--- stopped by: %s", lm_stop_reason_name(reply->reason));
    fprintf(stderr, reply->end_id >= 0 ? " (token %d)\n" : "\n", (int)reply->end_id);
}

/* What was said before a Ctrl-C is a turn; where nothing was, there is none, and the question goes with it. */
static int add_reply(struct chat *chat, const struct lm_generation *reply, loam_error *error)
{
    if (reply->reason == LM_STOP_CANCELLED && !reply->text.length)
        return lm_fail(error, LOAM_ECANCELLED, "chat: stopped before a word of the reply; the question is forgotten");
    return lm_conversation_add(&chat->conversation, LM_ASSISTANT, reply->text.data ? reply->text.data : "", reply->text.length,
                               error);
}

static int answer(struct chat *chat, loam_error *error)
{
    struct lm_generation_options options = chat->settings->options;
    struct lm_generation reply = {0};
    bool shown = false;
    options.user = &shown;
    int code = chat->settings->debug ? show_prompt(chat, error) : LOAM_OK;
    if (code == LOAM_OK)
        code = lm_runner_reply(chat->runner, &chat->conversation, &options, &reply, error);
    forget_interrupt();
    if (shown || code == LOAM_OK)
        putchar('\n');
    fflush(stdout);
    if (code != LOAM_OK)
        return code;
    if (chat->settings->debug)
        print_reply_debug(&reply);
    note("%lld tokens in %.2f s: %.1f tokens/s", (long long)reply.tokens, reply.seconds, lm_generation_rate(&reply));
    code = add_reply(chat, &reply, error);
    lm_generation_free(&reply);
    return code;
}

/* A turn that failed is taken back, so that the conversation can go on. */
static int take_turn(struct chat *chat, const char *line, size_t length)
{
    struct lm_conversation *conversation = &chat->conversation;
    const size_t before = conversation->count;
    loam_error error;
    int code = lm_conversation_add(conversation, LM_USER, line, length, &error);
    if (code == LOAM_OK)
        code = answer(chat, &error);
    if (code == LOAM_OK)
        return EXIT_DONE;
    while (conversation->count > before)
        lm_free(conversation->messages[--conversation->count].content);
    if (code != LOAM_ECANCELLED)
        return complain_error(&error);
    note("%s", error.message);
    return EXIT_DONE;
}

static int talk(struct chat *chat)
{
    int status = EXIT_DONE;
    size_t length;
    char *line = NULL;
    while (!stop_wanted() && (line = next_line(chat, &length))) {
        const bool quit = strcmp(line, "/quit") == 0;
        if (length && !quit) {
            const int turn = take_turn(chat, line, length);
            status = turn != EXIT_DONE ? turn : status;
        }
        free(line);
        if (quit)
            return status;
    }
    if (chat->terminal)
        putchar('\n');
    if (!stop_wanted())
        return status;
    note("chat: ended on request");
    return EXIT_FAILED;
}

static int open_chat(struct chat *chat, loam_error *error)
{
    const struct chat_settings *settings = chat->settings;
    const struct lm_template *chosen;
    const struct lm_runner_options options = {.threads = settings->threads, .chat_template = settings->chat_template};
    int code = lm_runner_open(settings->directory, &options, &chat->runner, error);
    if (code == LOAM_OK)
        code = lm_runner_template(chat->runner, &chosen, error);
    if (code == LOAM_OK && settings->system)
        code = lm_conversation_add(&chat->conversation, LM_SYSTEM, settings->system, strlen(settings->system), error);
    return code;
}

int chat_with(const struct chat_settings *settings)
{
    struct chat chat = {.settings = settings, .terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)};
    loam_error error;
    int status;
    if (open_chat(&chat, &error) != LOAM_OK) {
        status = complain_error(&error);
    } else {
        catch_signals();
        if (chat.terminal)
            note("Talk to %s. Ctrl-C ends a reply, Ctrl-D or /quit the chat.", settings->directory);
        status = talk(&chat);
    }
    lm_conversation_free(&chat.conversation);
    lm_runner_close(chat.runner);
    return status;
}

int command_chat(const struct arguments *arguments)
{
    struct chat_settings settings = {
        .directory = arguments->operands[0],
        .chat_template = arguments->values[OPT_TEMPLATE].text,
        .system = arguments->values[OPT_SYSTEM].text,
        .threads = thread_count(arguments),
        .debug = arguments->values[OPT_DEBUG].given,
        .options = generation_options(arguments),
    };
    settings.options.show = show_text;
    return chat_with(&settings);
}
