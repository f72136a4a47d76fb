/* loam chat: its models, and the lines that are typed. */
#include "chat.h"
#include "common.h"
#include "prompt.h"
#include "sampling.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- What is typed --- */

static bool ends_block(const char *line, size_t length)
{
    return length >= 3 && !memcmp(line + length - 3, "\"\"\"", 3);
}

/* More lines of a message that began with three quotation marks, until they come again. */
static int read_block(const struct chat *chat, struct lm_bytes *message, loam_error *error)
{
    for (;;) {
        size_t length;
        char *line = prompt_input(chat->terminal, "... ", &length);
        if (!line)
            return LOAM_OK;
        const bool last = ends_block(line, length);
        int code = message->length ? lm_bytes_append(message, "\n", 1, error) : LOAM_OK;
        if (code == LOAM_OK)
            code = lm_bytes_append(message, line, last ? length - 3 : length, error);
        free(line);
        if (code != LOAM_OK || last)
            return code;
    }
}

/* A line's message: all of its lines where it has several. */
static int gather(const struct chat *chat, const char *line, size_t length, struct lm_bytes *message, loam_error *error)
{
    if (length >= 3 && !memcmp(line, "\"\"\"", 3)) {
        const bool single = length >= 6 && ends_block(line, length);
        const int code = lm_bytes_append(message, line + 3, length - (single ? 6 : 3), error);
        return code == LOAM_OK && !single ? read_block(chat, message, error) : code;
    }
    int code = lm_bytes_append(message, line, length, error);
    while (code == LOAM_OK && chat->terminal && message->length && message->data[message->length - 1] == '\\') {
        message->data[message->length - 1] = '\n';
        char *more = prompt_input(chat->terminal, "... ", &length);
        if (!more)
            break;
        code = lm_bytes_append(message, more, length, error);
        free(more);
    }
    return code;
}

/* True: the chat is over. */
static bool take_message(struct chat *chat, const struct lm_bytes *message, int *status)
{
    const char *text = message->data;
    size_t length = message->length;
    if (!length)
        return false;
    if (*text == '/' && !(length > 1 && text[1] == '/'))
        return chat_command(chat, text, status);
    if (*text == '/')
        text++, length--;
    const int turn = chat_say(chat, text, length);
    *status = turn != EXIT_DONE ? turn : *status;
    return false;
}

/* On a terminal Ctrl-C ends a reply and never the chat, also when the reply had just ended by itself. What cannot be shown ends it. */
static bool ended(const struct chat *chat)
{
    return (chat->terminal ? end_wanted() : stop_wanted()) || ferror(stdout);
}

static int talk(struct chat *chat)
{
    int status = EXIT_DONE;
    bool over = false;
    size_t length;
    char *line = NULL;
    while (!over && !ended(chat) && (line = prompt_input(chat->terminal, "> ", &length))) {
        struct lm_bytes message = {0};
        loam_error error;
        if (gather(chat, line, length, &message, &error) != LOAM_OK)
            status = complain_error(&error);
        else if (!ended(chat))
            over = take_message(chat, &message, &status);
        lm_bytes_free(&message);
        free(line);
    }
    if (over)
        return status;
    if (chat->terminal)
        putchar('\n');
    if (!ended(chat) || ferror(stdout))
        return status;
    note("chat: ended on request");
    return EXIT_FAILED;
}

/* --- Models --- */

/* The last part of the path, without .gguf. */
static char *name_of(const char *path, loam_error *error)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    size_t begin = length;
    while (begin && path[begin - 1] != '/')
        begin--;
    if (length - begin > 5 && !memcmp(path + length - 5, ".gguf", 5))
        length -= 5;
    return lm_copy_string(path + begin, length - begin, error);
}

static int open_member(const struct chat *chat, struct chat_member *member, const char *path, loam_error *error)
{
    const struct chat_settings *settings = chat->settings;
    const struct lm_template *chosen;
    const struct lm_engine_options options = {.threads = settings->threads, .chat_template = settings->chat_template,
                                              .context = settings->context, .streams = 1};
    member->path = path;
    member->name = name_of(path, error);
    if (!member->name)
        return LOAM_ENOMEM;
    const int code = lm_engine_open(path, &options, &member->engine, error);
    return code == LOAM_OK ? lm_engine_template(member->engine, &chosen, error) : code;
}

static int take_options(struct chat *chat, loam_error *error)
{
    const struct lm_generation_options *options = &chat->settings->options;
    chat->sampling = options->sampling;
    chat->max_tokens = options->max_tokens;
    if (options->stop_count > CHAT_MOST_STOPS)
        return lm_fail(error, LOAM_EUSAGE, "chat: found %zu stop texts, wanted at most %d", options->stop_count, CHAT_MOST_STOPS);
    for (; chat->stop_count < options->stop_count; chat->stop_count++) {
        const char *stop = options->stops[chat->stop_count];
        if (!(chat->stops[chat->stop_count] = lm_copy_string(stop, strlen(stop), error)))
            return LOAM_ENOMEM;
    }
    return LOAM_OK;
}

static int open_chat(struct chat *chat, loam_error *error)
{
    const struct chat_settings *settings = chat->settings;
    chat->members = lm_alloc(settings->count, sizeof *chat->members, error);
    int code = chat->members ? take_options(chat, error) : LOAM_ENOMEM;
    for (; code == LOAM_OK && chat->count < settings->count; chat->count++)
        code = open_member(chat, &chat->members[chat->count], settings->models[chat->count], error);
    if (code == LOAM_OK)
        chat_session_open(chat);
    if (code == LOAM_OK && settings->session)
        code = chat_session_load(chat, settings->session, error);
    if (code == LOAM_OK && settings->system)
        code = chat_set_system(chat, settings->system, strlen(settings->system), error);
    return code;
}

static void close_chat(struct chat *chat)
{
    for (size_t i = 0; i < chat->count; i++) {
        lm_engine_close(chat->members[i].engine);
        lm_conversation_free(&chat->members[i].conversation);
        lm_free(chat->members[i].name);
    }
    for (size_t i = 0; i < chat->stop_count; i++)
        lm_free(chat->stops[i]);
    lm_free(chat->members);
    lm_free(chat->folder);
    lm_free(chat->file);
    lm_free(chat->saved);
}

static void greet(const struct chat *chat)
{
    struct lm_bytes names = {0};
    for (size_t i = 0; i < chat->count; i++)
        lm_bytes_format(&names, NULL, "%s%s", i ? " and " : "", chat->members[i].path);
    note("Talk to %s. Ctrl-C ends a reply, Ctrl-D or /quit the chat; /help lists what else there is.", names.data ? names.data : "");
    if (chat->settings->session)
        note("Going on after %zu messages.", chat->members[0].conversation.count);
    lm_bytes_free(&names);
}

static int talk_at_terminal(struct chat *chat)
{
    char *history = chat_history_file(chat);
    greet(chat);
    if (history)
        prompt_history_load(history);
    const int status = talk(chat);
    if (history)
        prompt_history_save(history);
    lm_free(history);
    return status;
}

int chat_with(const struct chat_settings *settings)
{
    struct chat chat = {.settings = settings, .terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO), .debug = settings->debug};
    loam_error error;
    int status;
    if (open_chat(&chat, &error) != LOAM_OK) {
        status = complain_error(&error);
    } else {
        catch_signals();
        status = chat.terminal ? talk_at_terminal(&chat) : talk(&chat);
    }
    close_chat(&chat);
    return status;
}

int command_chat(const struct arguments *arguments)
{
    const struct argument *values = arguments->values;
    struct chat_settings settings = {
        .models = arguments->operands,
        .count = arguments->operand_count,
        .chat_template = values[OPT_TEMPLATE].text,
        .system = values[OPT_SYSTEM].text,
        .session = values[OPT_SESSION].text,
        .threads = thread_count(arguments),
        .context = values[OPT_CONTEXT].whole,
        .debug = values[OPT_DEBUG].given,
        .no_save = values[OPT_NO_SAVE].given,
        .options = generation_options(arguments),
    };
    loam_error error;
    if (lm_overflow_parse(values[OPT_OVERFLOW].text, &settings.overflow, &error) != LOAM_OK)
        return complain_error(&error);
    return chat_with(&settings);
}
