/* loam chat */
#include "common.h"
#include "sampling.h"

#include <editline/readline.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct chat {
    const struct chat_settings *settings;
    struct lm_runner *runner;
    struct lm_conversation conversation;
    bool terminal;
    char *line;         /* of standard input where it is no terminal; getline's */
    size_t room;
};

/* The next line without its end; NULL: the input has ended. A line from a terminal is free()'s to take back. */
static char *next_line(struct chat *chat)
{
    if (chat->terminal) {
        char *line;
        while (!(line = readline("> ")) && stop_wanted()) {    /* Ctrl-C at the prompt: a fresh one */
            forget_stop();
            putchar('\n');
        }
        if (line && *line)
            add_history(line);
        return line;
    }
    ssize_t length = getline(&chat->line, &chat->room, stdin);
    if (length < 0)
        return NULL;
    while (length && (chat->line[length - 1] == '\n' || chat->line[length - 1] == '\r'))
        chat->line[--length] = 0;
    return strdup(chat->line);
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

static int answer(struct chat *chat, loam_error *error)
{
    struct lm_generation reply = {0};
    int code = chat->settings->debug ? show_prompt(chat, error) : LOAM_OK;
    if (code == LOAM_OK)
        code = lm_runner_reply(chat->runner, &chat->conversation, &chat->settings->options, &reply, error);
    forget_stop();
    if (code != LOAM_OK)
        return code;
    putchar('\n');
    fflush(stdout);
    if (chat->settings->debug) {
        print_debug("sent back", &reply.text, &reply.ids);
        fprintf(stderr, "--- stopped by: %s", lm_stop_reason_name(reply.reason));
        fprintf(stderr, reply.end_id >= 0 ? " (token %d)\n" : "\n", (int)reply.end_id);
    }
    note("%lld tokens in %.2f s: %.1f tokens/s", (long long)reply.tokens, reply.seconds, lm_generation_rate(&reply));
    code = lm_conversation_add(&chat->conversation, LM_ASSISTANT, reply.text.data ? reply.text.data : "", reply.text.length,
                               error);
    lm_generation_free(&reply);
    return code;
}

/* A turn that failed is taken back, so that the conversation can go on. */
static int take_turn(struct chat *chat, const char *line)
{
    struct lm_conversation *conversation = &chat->conversation;
    const size_t before = conversation->count;
    loam_error error;
    int code = lm_conversation_add(conversation, LM_USER, line, strlen(line), &error);
    if (code == LOAM_OK)
        code = answer(chat, &error);
    if (code == LOAM_OK)
        return EXIT_DONE;
    while (conversation->count > before)
        lm_free(conversation->messages[--conversation->count].content);
    return complain_error(&error);
}

static int talk(struct chat *chat)
{
    int status = EXIT_DONE;
    char *line;
    while ((line = next_line(chat))) {
        const bool quit = strcmp(line, "/quit") == 0;
        if (*line && !quit) {
            const int turn = take_turn(chat, line);
            status = turn != EXIT_DONE ? turn : status;
        }
        free(line);
        if (quit)
            break;
    }
    if (chat->terminal && !line)
        putchar('\n');
    return status;
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
    free(chat.line);
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
