/* What a chat keeps: each session a file of its own in the user's data folder, a line a model, in the form that loam finetune reads. */
#include "chat.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LISTED = 10 };

/* $XDG_DATA_HOME/loam/chat, or ~/.local/share/loam/chat. */
static char *find_folder(void)
{
    struct lm_bytes path = {0};
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int code = LOAM_ENOTFOUND;
    if (data && *data == '/')    /* the specification has others passed over */
        code = lm_bytes_format(&path, NULL, "%s/loam/chat", data);
    else if (home && *home)
        code = lm_bytes_format(&path, NULL, "%s/.local/share/loam/chat", home);
    if (code == LOAM_OK)
        return path.data;
    lm_bytes_free(&path);
    return NULL;
}

void chat_session_open(struct chat *chat)
{
    chat->folder = chat->settings->no_save ? NULL : find_folder();
}

char *chat_history_file(const struct chat *chat)
{
    if (!chat->folder || lm_make_directories(chat->folder, NULL) != LOAM_OK)
        return NULL;
    return lm_path_join(chat->folder, "history", NULL);
}

/* "20261126-081500-NAME.jsonl", with -2, -3, … where there is one of that second. */
static char *new_file(const struct chat *chat)
{
    char time[32], digits[16];
    size_t used = 0;
    lm_time_text(time);
    for (const char *at = time; *at && used < 15; at++)
        if ((*at >= '0' && *at <= '9') || *at == 'T')
            digits[used++] = *at == 'T' ? '-' : *at;
    digits[used] = 0;
    for (int i = 1; i < 100; i++) {
        struct lm_bytes path = {0};
        lm_bytes_format(&path, NULL, i > 1 ? "%s/%s-%s-%d.jsonl" : "%s/%s-%s.jsonl", chat->folder, digits, chat->members[0].name, i);
        if (path.data && !lm_file_exists(path.data))
            return path.data;
        lm_bytes_free(&path);
    }
    return NULL;
}

static bool has_turns(const struct lm_conversation *conversation)
{
    for (size_t i = 0; i < conversation->count; i++)
        if (conversation->messages[i].role != LM_SYSTEM)
            return true;
    return false;
}

static int write_member(const struct chat_member *member, struct lm_bytes *out, loam_error *error)
{
    struct lm_json_writer json = lm_json_writer(out, 0);
    lm_json_begin_object(&json);
    lm_json_key(&json, "model");
    lm_json_text(&json, member->name);
    lm_json_key(&json, "messages");
    lm_json_begin_array(&json);
    for (size_t i = 0; i < member->conversation.count; i++) {
        const struct lm_message *message = &member->conversation.messages[i];
        lm_json_begin_object(&json);
        lm_json_key(&json, "role");
        lm_json_text(&json, lm_role_name(message->role));
        lm_json_key(&json, "content");
        lm_json_string(&json, message->content, message->length);
        lm_json_end_object(&json);
    }
    lm_json_end_array(&json);
    lm_json_end_object(&json);
    const int code = lm_json_writer_finish(&json, error);
    return code == LOAM_OK ? lm_bytes_append(out, "\n", 1, error) : code;
}

static int write_all(const struct chat *chat, struct lm_bytes *out, loam_error *error)
{
    int code = LOAM_OK;
    for (size_t i = 0; i < chat->count && code == LOAM_OK; i++)
        if (has_turns(&chat->members[i].conversation))
            code = write_member(&chat->members[i], out, error);
    return code;
}

static int keep(struct chat *chat, loam_error *error)
{
    struct lm_bytes text = {0};
    int code = write_all(chat, &text, error);
    if (code == LOAM_OK && !chat->file && text.length) {
        code = lm_make_directories(chat->folder, error);
        if (code == LOAM_OK) {
            chmod(chat->folder, 0700);    /* what is said there is the user's alone */
            chat->file = new_file(chat);
        }
    }
    if (code == LOAM_OK && chat->file && !text.length)
        unlink(chat->file); /* all was taken back: an empty file is no conversation */
    else if (code == LOAM_OK && chat->file)
        code = lm_file_replace(chat->file, text.data ? text.data : "", text.length, error);
    lm_bytes_free(&text);
    return code;
}

void chat_session_keep(struct chat *chat)
{
    loam_error error;
    if (!chat->folder || keep(chat, &error) == LOAM_OK || chat->warned)
        return;
    chat->warned = true;
    note("this chat is not kept: %s", error.message);
}

void chat_session_new(struct chat *chat)
{
    lm_free(chat->file);
    chat->file = NULL;
    chat->attempt = 0;
}

static bool is_session(const char *name)
{
    const size_t length = strlen(name);
    return length > 6 && !strcmp(name + length - 6, ".jsonl");
}

/* The names of what is kept, oldest first; free with lm_free_strings. */
static int list(const struct chat *chat, char ***names, size_t *count, loam_error *error)
{
    if (!chat->folder || !lm_is_directory(chat->folder))
        return lm_fail(error, LOAM_ENOTFOUND, "no chat is kept yet");
    return lm_list_directory(chat->folder, names, count, error);
}

void chat_session_list(struct chat *chat)
{
    char **names;
    size_t count, shown = 0;
    loam_error error;
    if (list(chat, &names, &count, &error) != LOAM_OK) {
        note("%s", error.message);
        return;
    }
    note("Kept in %s, the newest first:", chat->folder);
    for (size_t i = count; i-- > 0 && shown < LISTED;)
        if (is_session(names[i])) {
            note("  %.*s", (int)(strlen(names[i]) - 6), names[i]);
            shown++;
        }
    lm_free_strings(names, count);
}

/* A file as it stands, or the name of a kept session with or without .jsonl, or "last". */
static char *find_session(const struct chat *chat, const char *name, bool *kept, loam_error *error)
{
    char **names;
    size_t count;
    *kept = false;
    if (strcmp(name, "last") && lm_file_exists(name))
        return lm_copy_string(name, strlen(name), error);
    if (list(chat, &names, &count, error) != LOAM_OK)
        return NULL;
    char *found = NULL;
    const size_t length = strlen(name);
    for (size_t i = count; i-- > 0 && !found;)
        if (is_session(names[i]) && (!strcmp(name, "last") || !strcmp(names[i], name) ||
                                     (!strncmp(names[i], name, length) && !strcmp(names[i] + length, ".jsonl"))))
            found = lm_path_join(chat->folder, names[i], error);
    lm_free_strings(names, count);
    if (!found)
        lm_fail(error, LOAM_ENOTFOUND, "%s: neither a file nor a chat that is kept in %s; /load alone lists those", name, chat->folder);
    *kept = found;
    return found;
}

/* Line i is member i's; where there are fewer, the last is everybody's. */
static int take(struct chat *chat, struct lm_conversations *found, const char *path, loam_error *error)
{
    if (!found->count)
        return lm_fail(error, LOAM_EFORMAT, "%s: no conversation in it", path);
    for (size_t i = 0; i < chat->count; i++) {
        const struct lm_conversation *from = &found->items[found->count == chat->count ? i : found->count - 1];
        struct lm_conversation copy = {0};
        int code = LOAM_OK;
        for (size_t k = 0; k < from->count && code == LOAM_OK; k++)
            code = lm_conversation_add(&copy, from->messages[k].role, from->messages[k].content, from->messages[k].length, error);
        if (code != LOAM_OK) {
            lm_conversation_free(&copy);
            return code;
        }
        lm_conversation_free(&chat->members[i].conversation);
        chat->members[i].conversation = copy;
    }
    return LOAM_OK;
}

int chat_session_load(struct chat *chat, const char *name, loam_error *error)
{
    struct lm_conversations found = {0};
    bool kept;
    char *path = find_session(chat, name, &kept, error);
    if (!path)
        return error->code;
    int code = lm_conversations_read(path, &found, error);
    if (code == LOAM_OK)
        code = take(chat, &found, path, error);
    lm_conversations_free(&found);
    if (code != LOAM_OK || !kept) {
        lm_free(path);
        path = NULL;
    }
    if (code == LOAM_OK) {
        chat_session_new(chat);
        chat->file = path;    /* one of ours goes on where it was; of another's file only the words are taken */
    }
    return code;
}

int chat_session_save(struct chat *chat, const char *path, loam_error *error)
{
    struct lm_bytes text = {0};
    if (lm_file_exists(path) && (!chat->saved || strcmp(chat->saved, path)))
        return lm_fail(error, LOAM_EUSAGE, "%s is there already; give another name", path);
    int code = write_all(chat, &text, error);
    if (code == LOAM_OK && !text.length)
        code = lm_fail(error, LOAM_EUSAGE, "nothing has been said yet");
    if (code == LOAM_OK)
        code = lm_file_replace(path, text.data, text.length, error);
    lm_bytes_free(&text);
    if (code == LOAM_OK) {
        lm_free(chat->saved);
        chat->saved = lm_copy_string(path, strlen(path), NULL);
    }
    return code;
}
