/* loam chat: one or several models and a person at a terminal, or lines from standard input.
 *
 *     struct chat_settings settings = {.models = &directory, .count = 1, .threads = 2, .options = generation_options(arguments)};
 *     return chat_with(&settings);
 *
 * cmd_chat.c opens models and reads lines, chat_reply.c asks and shows, chat_command.c is everything that begins with a slash,
 * chat_session.c what is kept in files.
 */
#ifndef LOAM_CLI_CHAT_H
#define LOAM_CLI_CHAT_H

#include "infer/infer.h"

struct chat_settings {
    const char *const *models;
    size_t count;
    const char *chat_template, *system, *session;    /* may be NULL. session: a name or file to go on with, or "last" */
    int threads;
    int64_t context;            /* 0: the models' own */
    enum lm_overflow overflow;
    bool debug, no_save;
    struct lm_generation_options options;            /* sampling, max_tokens and stops of it are used */
};
/* Until the end of input, /quit or SIGTERM; gives the exit status. */
int chat_with(const struct chat_settings *settings);

/* --- Between the files --- */

enum { CHAT_MOST_STOPS = 8 };

struct chat_member {            /* a model, and the conversation as it has it */
    const char *path;
    char *name;
    struct lm_engine *engine;
    struct lm_conversation conversation;
    struct lm_usage last;       /* of its last reply */
    int64_t replies, tokens, prompt_tokens, reused;
    double decode_seconds;
};
struct chat {
    const struct chat_settings *settings;
    struct chat_member *members;
    size_t count;
    bool terminal, debug;
    int64_t attempt;            /* of the same question, 0 for the first: another seed each */
    loam_sampling sampling;
    double presence_penalty, frequency_penalty;
    int64_t max_tokens;
    char *stops[CHAT_MOST_STOPS];
    size_t stop_count;
    char *folder;               /* where sessions are kept; NULL: nowhere */
    char *file;                 /* this session's; NULL: none yet */
    char *saved;                /* what /save wrote last */
    bool warned;                /* that the session cannot be kept */
};

/* chat_reply.c. Adds `text` to every conversation and the replies; a member that fails has neither, and the status tells of it. */
int chat_say(struct chat *chat, const char *text, size_t length);
/* Another reply to what was said last. */
int chat_again(struct chat *chat);
void chat_shorten(struct lm_conversation *conversation, size_t count);

/* chat_command.c. Runs a line that begins with a slash. True: the chat is over. */
bool chat_command(struct chat *chat, const char *line, int *status);

/* chat_session.c */
void chat_session_open(struct chat *chat);      /* finds the folder */
void chat_session_keep(struct chat *chat);      /* writes what there is; a failure is noted once */
void chat_session_new(struct chat *chat);       /* what comes from now on is another session */
int chat_session_load(struct chat *chat, const char *name, loam_error *error);
int chat_session_save(struct chat *chat, const char *path, loam_error *error);
void chat_session_list(struct chat *chat);
char *chat_history_file(const struct chat *chat);    /* NULL: none. lm_free */
int chat_set_system(struct chat *chat, const char *text, size_t length, loam_error *error);    /* length 0: none */

#endif
