/* A room's history as files: out as JSONL, Markdown or conversations to train on; in from the reference bot's chats/<id>.jsonl. */
#include "rooms_inside.h"

#include "data/data.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum { TURNS_A_CONVERSATION = 32, LARGEST_IMPORT = 1 << 30 };

int lm_export_parse(const char *name, enum lm_export *form, loam_error *error)
{
    static const char *const names[] = {"jsonl", "markdown", "training"};
    for (size_t i = 0; i < 3; i++)
        if (!strcmp(name, names[i])) {
            *form = (enum lm_export)i;
            return LOAM_OK;
        }
    return lm_fail(error, LOAM_EUSAGE, "export: found '%s', wanted jsonl, markdown or training", name);
}

struct export {
    struct lm_room *room;
    struct lm_bytes *out;
    loam_error *error;
    int code;
    /* TRAINING: */
    const char *participant;
    struct lm_conversation conversation;
    struct lm_bytes heard;
};

/* --- JSONL: an object a line with id, time, author (person, ai, note), person, name, text --- */

static const char *author_name(enum lm_author author)
{
    return author == LM_AUTHOR_AI ? "ai" : author == LM_AUTHOR_PERSON ? "person" : "note";
}

static void time_text(double seconds, char out[32])
{
    const time_t whole = (time_t)floor(seconds);
    struct tm parts;
    if (!gmtime_r(&whole, &parts) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &parts))
        *out = 0;
}

static int export_line(void *user, const struct lm_kept *kept)
{
    struct export *export = user;
    char time[32];
    time_text(kept->time, time);
    struct lm_json_writer writer = lm_json_writer(export->out, 0);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "id");
    lm_json_int(&writer, kept->id);
    lm_json_key(&writer, "time");
    lm_json_text(&writer, time);
    lm_json_key(&writer, "author");
    lm_json_text(&writer, author_name(kept->author));
    if (kept->person_id) {
        lm_json_key(&writer, "person");
        lm_json_text(&writer, kept->person_id);
    }
    lm_json_key(&writer, "name");
    lm_json_text(&writer, kept->name);
    lm_json_key(&writer, "text");
    lm_json_string(&writer, kept->text, kept->length);
    lm_json_end_object(&writer);
    export->code = lm_json_writer_finish(&writer, export->error);
    if (export->code == LOAM_OK)
        export->code = lm_bytes_append(export->out, "\n", 1, export->error);
    return export->code;
}

/* --- Markdown --- */

static int export_paragraph(void *user, const struct lm_kept *kept)
{
    struct export *export = user;
    char time[32];
    time_text(kept->time, time);
    export->code = lm_bytes_format(export->out, export->error, "**%s %s** (%s)\n\n", kept->author == LM_AUTHOR_AI ? LM_TAG_AI : LM_TAG_PERSON, kept->name,
                                   time);
    if (export->code == LOAM_OK)
        export->code = lm_bytes_append(export->out, kept->text, kept->length, export->error);
    if (export->code == LOAM_OK)
        export->code = lm_bytes_append(export->out, "\n\n", 2, export->error);
    return export->code;
}

/* --- Conversations: what one participant heard and said --- */

static int write_conversation(struct export *export)
{
    int code = LOAM_OK;
    if (lm_conversation_answered(&export->conversation))
        code = lm_conversation_write(&export->conversation, export->out, export->error);
    lm_conversation_free(&export->conversation);
    return code;
}

static int begin_conversation(struct export *export)
{
    struct lm_bytes rules = {0};
    const struct lm_room_config *config = export->room->rooms->config;
    const struct lm_participant *own = NULL;
    const char *ais[64];
    size_t count = 0;
    for (size_t i = 0; i < config->participant_count; i++)
        if (!strcmp(config->participants[i].name, export->participant))
            own = &config->participants[i];
        else if (count < 64)
            ais[count++] = config->participants[i].name;
    const struct lm_participant other = {.name = export->participant};
    int code = lm_view_rules(own ? own : &other, NULL, 0, ais, count, own ? own->system : NULL, true, &rules, export->error);
    if (code == LOAM_OK)
        code = lm_conversation_add(&export->conversation, LM_SYSTEM, rules.data, rules.length, export->error);
    lm_bytes_free(&rules);
    return code;
}

static int export_turn(void *user, const struct lm_kept *kept)
{
    struct export *export = user;
    struct lm_conversation *conversation = &export->conversation;
    const bool own = kept->author == LM_AUTHOR_AI && !strcmp(kept->name, export->participant);
    if (!own) {
        export->code = export->heard.length ? lm_bytes_append(&export->heard, "\n", 1, export->error) : LOAM_OK;
        if (export->code == LOAM_OK)
            export->code = lm_bytes_format(&export->heard, export->error, "%s[%s] ", kept->author == LM_AUTHOR_AI ? LM_TAG_AI : LM_TAG_PERSON,
                                           kept->name);
        if (export->code == LOAM_OK)
            export->code = lm_bytes_append(&export->heard, kept->text, kept->length, export->error);
        return export->code;
    }
    if (conversation->count >= TURNS_A_CONVERSATION && export->heard.length)
        export->code = write_conversation(export);
    if (export->code == LOAM_OK && !conversation->count)
        export->code = begin_conversation(export);
    if (export->code == LOAM_OK && export->heard.length) {
        export->code = lm_conversation_add(conversation, LM_USER, export->heard.data, export->heard.length, export->error);
        export->heard.length = 0;
    } else if (export->code == LOAM_OK && conversation->count > 1) {    /* it went on itself: one turn */
        struct lm_bytes both = {0};
        struct lm_message *last = &conversation->messages[conversation->count - 1];
        export->code = lm_bytes_format(&both, export->error, "%s\n%s", last->content, kept->text);
        if (export->code == LOAM_OK) {
            lm_free(last->content);
            last->content = both.data;
            last->length = both.length;
        }
        return export->code;
    } else {
        return export->code;    /* nothing was said before it */
    }
    if (export->code == LOAM_OK)
        export->code = lm_conversation_add(conversation, LM_ASSISTANT, kept->text, kept->length, export->error);
    return export->code;
}

static int export_training(struct export *export, const char *participant)
{
    export->participant = participant;
    int code = lm_room_history(export->room, 0, 0, export_turn, export, export->error);
    code = code == LOAM_OK ? export->code : code;
    if (code == LOAM_OK)
        code = write_conversation(export);
    lm_conversation_free(&export->conversation);
    lm_bytes_free(&export->heard);
    return code;
}

int lm_room_export(struct lm_room *room, enum lm_export form, const char *participant, struct lm_bytes *out, loam_error *error)
{
    struct export export = {.room = room, .out = out, .error = error};
    const struct lm_room_config *config = room->rooms->config;
    bool found = !participant;
    int code = LOAM_OK;
    for (size_t i = 0; i < config->participant_count; i++)
        found = found || lm_same_name(config->participants[i].name, participant);
    if (!found)
        return lm_fail(error, LOAM_EUSAGE, "export: there is no participant '%.80s'", participant);
    if (form == LM_EXPORT_TRAINING) {
        for (size_t i = 0; i < config->participant_count && code == LOAM_OK; i++)
            if (!participant || lm_same_name(config->participants[i].name, participant))
                code = export_training(&export, config->participants[i].name);
        return code;
    }
    code = form == LM_EXPORT_MARKDOWN ? lm_bytes_format(out, error, "# %s\n\n", room->title) : LOAM_OK;
    if (code == LOAM_OK)
        code = lm_room_history(room, 0, 0, form == LM_EXPORT_JSONL ? export_line : export_paragraph, &export, error);
    return code == LOAM_OK ? export.code : code;
}

/* --- Import --- */

struct import {
    struct lm_room *room;
    struct lm_ledger_message *messages;
    char **texts;               /* name and text of each */
    size_t count, capacity;
};

static int grow(struct import *import, loam_error *error)
{
    if (import->count < import->capacity)
        return LOAM_OK;
    const size_t capacity = import->capacity ? 2 * import->capacity : 256;
    struct lm_ledger_message *messages = lm_resize(import->messages, capacity, sizeof *messages, error);
    if (!messages)
        return LOAM_ENOMEM;
    import->messages = messages;
    char **texts = lm_resize(import->texts, 2 * capacity, sizeof *texts, error);
    if (!texts)
        return LOAM_ENOMEM;
    import->texts = texts;
    import->capacity = capacity;
    return LOAM_OK;
}

static int add(struct import *import, bool ai, const char *name, const char *text, size_t length, loam_error *error)
{
    char clean_name[LM_NAME_BYTES];
    struct lm_bytes clean = {0};
    int code = grow(import, error);
    if (code == LOAM_OK)
        code = lm_harmless_text(text, length, &clean, error);
    lm_harmless_name(name, clean_name);
    char *kept_name = code == LOAM_OK ? lm_copy_string(clean_name, strlen(clean_name), error) : NULL;
    if (!kept_name) {
        lm_bytes_free(&clean);
        return code == LOAM_OK ? LOAM_ENOMEM : code;
    }
    import->texts[2 * import->count] = kept_name;
    import->texts[2 * import->count + 1] = clean.data;
    import->messages[import->count++] = (struct lm_ledger_message){.room = import->room->number, .author = ai ? LM_AUTHOR_AI : LM_AUTHOR_PERSON,
                                                                  .name = kept_name, .text = clean.data, .length = clean.length, .quiet = true,
                                                                  .position = -1};
    return LOAM_OK;
}

/* "🤖[Name]: text", as the bot's older versions kept it as `content`. */
static int add_tagged(struct import *import, const struct lm_document *document, const struct lm_value *content, loam_error *error)
{
    char name[LM_NAME_BYTES];
    const size_t inside = lm_tag_begin(content->text, content->length);
    const char *close = inside && inside != SIZE_MAX ? memchr(content->text + inside, ']', content->length - inside) : NULL;
    const size_t length = close ? (size_t)(close - content->text) - inside : 0;
    if (!close || length >= sizeof name)
        return lm_value_fail(document, content, error, "found no tag such as " LM_TAG_PERSON "[Name] at its begin");
    memcpy(name, content->text + inside, length);
    name[length] = 0;
    const char *text = close + 1 + (close[1] == ':');
    text += *text == ' ';
    return add(import, !memcmp(content->text, LM_TAG_AI, 4), name, text, content->length - (size_t)(text - content->text), error);
}

/* {"type": "user" or "bot", "name", "message"}, or {"role", "content"}. */
static int import_object(struct import *import, const struct lm_document *document, loam_error *error)
{
    const struct lm_value *root = lm_document_root(document), *type = lm_value_find(root, "type"), *name = lm_value_find(root, "name"),
                          *message = lm_value_find(root, "message"), *content = lm_value_find(root, "content");
    const char *text;
    if (content && lm_value_find(root, "role"))
        return content->kind == LM_STRING ? add_tagged(import, document, content, error) : lm_value_string(document, content, &text, error);
    if (!lm_value_is(type, "user") && !lm_value_is(type, "bot"))
        return lm_value_fail(document, type ? type : root, error, "wanted an object with \"type\" (\"user\" or \"bot\"), \"name\" and \"message\"");
    const char *who;
    int code = lm_value_string(document, name, &who, error);
    if (code == LOAM_OK)
        code = lm_value_string(document, message, &text, error);
    return code == LOAM_OK ? add(import, lm_value_is(type, "bot"), who, text, message->length, error) : code;
}

static int import_lines(struct import *import, const char *path, const struct lm_bytes *text, loam_error *error)
{
    int64_t line = 1;
    int code = LOAM_OK;
    for (size_t at = 0; at < text->length && code == LOAM_OK; line++) {
        const char *end = memchr(text->data + at, '\n', text->length - at);
        const size_t length = end ? (size_t)(end - text->data) - at : text->length - at;
        struct lm_document *document = NULL;
        if (strspn(text->data + at, " \t\r") < length) {
            code = lm_json_parse_line(text->data + at, length, path, line, &document, error);
            if (code == LOAM_OK)
                code = import_object(import, document, error);
            lm_document_free(document);
        }
        at += length + 1;
    }
    return code;
}

static int is_there(void *user, const struct lm_kept *kept)
{
    (void)kept;
    *(bool *)user = true;
    return 1;
}

int lm_room_import(struct lm_room *room, const char *path, int64_t *count, loam_error *error)
{
    struct import import = {.room = room};
    struct lm_bytes text = {0};
    bool some = false;
    int code = lm_room_latest(room, 1, is_there, &some, error);
    if (code == LOAM_OK && some)
        code = lm_fail(error, LOAM_EUSAGE, "%s: the room '%s' has messages already; import into an empty one", path, room->id);
    if (code == LOAM_OK)
        code = lm_file_read(path, LARGEST_IMPORT, &text, error);
    if (code == LOAM_OK)
        code = import_lines(&import, path, &text, error);
    if (code == LOAM_OK)
        code = lm_ledger_add_many(room->rooms->ledger, import.messages, import.count, error);
    if (code == LOAM_OK && count)
        *count = (int64_t)import.count;
    for (size_t i = 0; i < 2 * import.count; i++)
        lm_free(import.texts[i]);
    lm_free(import.texts);
    lm_free(import.messages);
    lm_bytes_free(&text);
    return code;
}
