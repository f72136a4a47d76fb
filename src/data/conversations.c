/* Readers of conversation files: one JSON object a line, or one JSON array of such objects. Which of the four forms an
 * object has is told by its keys, object by object, so that files of several origins can be joined with cat. */
#include "blocks.h"
#include "data.h"

#include <string.h>

enum {
    MAXIMUM_BYTES = 1 << 30, /* the JSON reader's own limit */
    LINES_TARGET = 1 << 20,  /* of a part of JSONL */
};

struct reading {
    const struct lm_document *document;
    struct lm_conversation *conversation;
    loam_error *error;
};

struct role_word {
    const char *word;
    enum lm_role role;
};
static const struct role_word role_words[] = {
    {"system", LM_SYSTEM}, {"developer", LM_SYSTEM},
    {"user", LM_USER}, {"human", LM_USER},
    {"assistant", LM_ASSISTANT}, {"gpt", LM_ASSISTANT}, {"chatgpt", LM_ASSISTANT}, {"model", LM_ASSISTANT},
    {"bot", LM_ASSISTANT},
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void strip(const char **text, size_t *length)
{
    while (*length && is_space((*text)[*length - 1]))
        --*length;
    while (*length && is_space(**text))
        ++*text, --*length;
}

static int complain(struct reading *reading, const struct lm_value *value, const char *wanted)
{
    return lm_value_fail(reading->document, value, reading->error, "wanted %s", wanted);
}

static int read_role(struct reading *reading, const struct lm_value *object, const char *key, enum lm_role *role)
{
    const struct lm_value *value = lm_value_find(object, key);
    if (!value || value->kind != LM_STRING)
        return lm_value_fail(reading->document, value ? value : object, reading->error,
                             "wanted a text under '%s': system, user or assistant", key);
    for (size_t i = 0; i < sizeof role_words / sizeof *role_words; i++) {
        if (lm_value_is(value, role_words[i].word)) {
            *role = role_words[i].role;
            return LOAM_OK;
        }
    }
    return lm_value_fail(reading->document, value, reading->error,
                         "found the role '%.40s', wanted system, user (human) or assistant (gpt); "
                         "leave such turns out, or give them one of these roles", value->text);
}

/* Content as OpenAI's API has it: a text, or a list of parts of which only texts are taken. */
static int read_parts(struct reading *reading, const struct lm_value *parts, struct lm_bytes *text)
{
    for (size_t i = 0; i < parts->length; i++) {
        const struct lm_value *part = &parts->items[i], *words = lm_value_find(part, "text");
        if (!words || words->kind != LM_STRING || !lm_value_is(lm_value_find(part, "type"), "text"))
            return complain(reading, part, "a part {\"type\":\"text\",\"text\":…}: other kinds cannot be trained on");
        int code = lm_bytes_append(text, words->text, words->length, reading->error);
        if (code)
            return code;
    }
    return LOAM_OK;
}

static int add_content(struct reading *reading, const struct lm_value *object, const char *key, enum lm_role role)
{
    const struct lm_value *value = lm_value_find(object, key);
    if (value && value->kind == LM_STRING)
        return lm_conversation_add(reading->conversation, role, value->text, value->length, reading->error);
    if (!value || value->kind != LM_ARRAY)
        return lm_value_fail(reading->document, value ? value : object, reading->error, "wanted a text under '%s'", key);
    struct lm_bytes text = {0};
    int code = read_parts(reading, value, &text);
    if (!code)
        code = lm_conversation_add(reading->conversation, role, text.data ? text.data : "", text.length, reading->error);
    lm_bytes_free(&text);
    return code;
}

static int read_turns(struct reading *reading, const struct lm_value *turns, const char *role_key, const char *content_key)
{
    if (turns->kind != LM_ARRAY || !turns->length)
        return complain(reading, turns, "a list of at least one turn");
    for (size_t i = 0; i < turns->length; i++) {
        enum lm_role role = LM_USER;
        int code = read_role(reading, &turns->items[i], role_key, &role);
        if (!code)
            code = add_content(reading, &turns->items[i], content_key, role);
        if (code)
            return code;
    }
    return LOAM_OK;
}

/* {"instruction","input","output"} and, in some files, "system": the user says the instruction and, on a line of its own,
 * the input where there is one. */
static int read_alpaca(struct reading *reading, const struct lm_value *object)
{
    const struct lm_value *instruction = lm_value_find(object, "instruction"), *input = lm_value_find(object, "input");
    const struct lm_value *system = lm_value_find(object, "system");
    if (instruction->kind != LM_STRING)
        return complain(reading, instruction, "a text");
    if (input && input->kind != LM_STRING && input->kind != LM_NULL)
        return complain(reading, input, "a text, or none");
    int code = LOAM_OK;
    if (system && system->kind == LM_STRING && system->length)
        code = add_content(reading, object, "system", LM_SYSTEM);
    struct lm_bytes text = {0};
    if (!code)
        code = lm_bytes_append(&text, instruction->text, instruction->length, reading->error);
    if (!code && input && input->kind == LM_STRING && input->length) {
        code = lm_bytes_append(&text, "\n", 1, reading->error);
        if (!code)
            code = lm_bytes_append(&text, input->text, input->length, reading->error);
    }
    if (!code)
        code = lm_conversation_add(reading->conversation, LM_USER, text.data ? text.data : "", text.length, reading->error);
    lm_bytes_free(&text);
    return code ? code : add_content(reading, object, "output", LM_ASSISTANT);
}

static const struct role_word guanaco_markers[] = {{"### Human:", LM_USER}, {"### Assistant:", LM_ASSISTANT}};

/* The first marker at or behind `from`: its offset (or `length`), its role and its own length. */
static size_t find_marker(const char *text, size_t length, size_t from, enum lm_role *role, size_t *marker_length)
{
    for (const char *at = text + from; (at = memmem(at, (size_t)(text + length - at), "### ", 4)); at += 4) {
        for (size_t i = 0; i < 2; i++) {
            size_t size = strlen(guanaco_markers[i].word), left = (size_t)(text + length - at);
            if (left >= size && !memcmp(at, guanaco_markers[i].word, size)) {
                *role = guanaco_markers[i].role;
                *marker_length = size;
                return (size_t)(at - text);
            }
        }
    }
    return length;
}

/* openassistant-guanaco: the turns follow each other without a line's end, blanks around them are no part of them. */
static int read_guanaco(struct reading *reading, const struct lm_value *value)
{
    if (value->kind != LM_STRING)
        return complain(reading, value, "a text");
    enum lm_role role = LM_USER;
    size_t marker = 0, at = find_marker(value->text, value->length, 0, &role, &marker);
    const char *lead = value->text;
    size_t lead_length = at;
    strip(&lead, &lead_length);
    if (at == value->length || lead_length)
        return complain(reading, value, "a text that begins with \"### Human:\" or \"### Assistant:\"");
    while (at < value->length) {
        enum lm_role next_role = LM_USER;
        size_t begin = at + marker, next = find_marker(value->text, value->length, begin, &next_role, &marker);
        const char *content = value->text + begin;
        size_t length = next - begin;
        strip(&content, &length);
        int code = lm_conversation_add(reading->conversation, role, content, length, reading->error);
        if (code)
            return code;
        at = next;
        role = next_role;
    }
    return LOAM_OK;
}

static int read_object(struct reading *reading, const struct lm_value *object)
{
    const struct lm_value *value;
    if (object->kind != LM_OBJECT)
        return complain(reading, object, "an object with a conversation");
    if ((value = lm_value_find(object, "messages")))
        return read_turns(reading, value, "role", "content");
    if ((value = lm_value_find(object, "conversations")))
        return read_turns(reading, value, "from", "value");
    if (lm_value_find(object, "instruction"))
        return read_alpaca(reading, object);
    if ((value = lm_value_find(object, "text")))
        return read_guanaco(reading, value);
    return complain(reading, object, "one of the keys messages (chat), conversations (ShareGPT), instruction (Alpaca) or "
                    "text (\"### Human: …### Assistant: …\")");
}

static int read_value(const struct lm_document *document, const struct lm_value *object, int64_t place,
                      struct lm_conversations *conversations, loam_error *error)
{
    struct lm_conversation conversation = {.place = place};
    struct reading reading = {document, &conversation, error};
    int code = read_object(&reading, object);
    if (!code)
        code = lm_conversations_push(conversations, &conversation, error);
    lm_conversation_free(&conversation);
    return code;
}

static int read_array(const char *path, const char *text, size_t length, struct lm_conversations *conversations,
                      loam_error *error)
{
    struct lm_document *document;
    int code = lm_json_parse(text, length, path, &document, error);
    if (code)
        return code;
    const struct lm_value *root = lm_document_root(document);
    for (size_t i = 0; !code && i < root->length; i++)
        code = read_value(document, &root->items[i], (int64_t)i + 1, conversations, error);
    lm_document_free(document);
    return code;
}

static int read_line(const char *path, const char *text, size_t length, int64_t line, struct lm_conversations *conversations,
                     loam_error *error)
{
    struct lm_document *document;
    int code = lm_json_parse_line(text, length, path, line, &document, error);
    if (code)
        return code;
    code = read_value(document, lm_document_root(document), line, conversations, error);
    lm_document_free(document);
    return code;
}

/* Lines of JSONL; *line counts on. */
static int read_lines(const char *path, const char *text, size_t length, int64_t *line,
                      struct lm_conversations *conversations, loam_error *error)
{
    int code = LOAM_OK;
    for (size_t at = 0; !code && at < length;) {
        const char *begin = text + at, *end = memchr(begin, '\n', length - at);
        size_t size = end ? (size_t)(end - begin) : length - at;
        at += size + 1;
        ++*line;
        strip(&begin, &size);
        if (size)
            code = read_line(path, begin, size, *line, conversations, error);
    }
    return code;
}

static int fail_nothing(const char *name, loam_error *error)
{
    return lm_fail(error, LOAM_EFORMAT, "%s: found nothing, wanted conversations: one JSON object a line, or a JSON array",
                   name);
}

static int fail_empty(const char *name, loam_error *error)
{
    return lm_fail(error, LOAM_EFORMAT, "%s: found an empty list, wanted at least one conversation", name);
}

static void skip_mark(const char **text, size_t *length)
{
    if (*length >= 3 && !memcmp(*text, "\xEF\xBB\xBF", 3))
        *text += 3, *length -= 3;
}

int lm_conversations_parse(const char *text, size_t length, const char *name, struct lm_conversations *conversations,
                           loam_error *error)
{
    skip_mark(&text, &length);
    const char *first = text;
    size_t left = length;
    int64_t line = 0;
    strip(&first, &left);
    if (!left)
        return fail_nothing(name, error);
    size_t before = conversations->count;
    int code = *first == '[' ? read_array(name, text, length, conversations, error)
                             : read_lines(name, text, length, &line, conversations, error);
    if (!code && conversations->count == before)
        code = fail_empty(name, error);
    while (code && conversations->count > before)
        lm_conversation_free(&conversations->items[--conversations->count]);
    return code;
}

int lm_conversations_read(const char *path, struct lm_conversations *conversations, loam_error *error)
{
    struct lm_bytes bytes = {0};
    int code = lm_file_read(path, MAXIMUM_BYTES, &bytes, error);
    if (!code)
        code = lm_conversations_parse(bytes.data ? bytes.data : "", bytes.length, path, conversations, error);
    lm_bytes_free(&bytes);
    return code;
}

/* --- A file in parts --- */

struct lm_conversation_file {
    struct lm_blocks blocks;
    char *path;
    int64_t line, count;
    bool begun;
};

int lm_conversation_file_open(const char *path, struct lm_conversation_file **opened, loam_error *error)
{
    struct lm_conversation_file *file = lm_alloc(1, sizeof *file, error);
    if (!file)
        return LOAM_ENOMEM;
    file->blocks.file = -1;
    file->path = lm_copy_string(path, strlen(path), error);
    int code = file->path ? lm_blocks_open(&file->blocks, file->path, error) : LOAM_ENOMEM;
    if (code) {
        lm_conversation_file_close(file);
        return code;
    }
    *opened = file;
    return LOAM_OK;
}

static size_t no_seam(const char *text, size_t length)
{
    (void)text;
    return length > MAXIMUM_BYTES ? length : 0; /* larger than the reader's limit: it complains */
}

/* The first block shows what the file is: of an array all is read. */
static int begin_file(struct lm_conversation_file *file, const char **text, size_t *length, loam_error *error)
{
    const char *first;
    size_t left;
    file->begun = true;
    int code = lm_blocks_next(&file->blocks, LINES_TARGET, lm_seam_of_lines, text, length, error);
    if (code)
        return code;
    first = *text;
    left = *length;
    skip_mark(&first, &left);
    strip(&first, &left);
    if (!left || *first != '[') {
        skip_mark(text, length);
        return LOAM_OK;
    }
    file->blocks.done = 0;
    file->blocks.given = 0; /* the same bytes again, and all behind them */
    code = lm_blocks_next(&file->blocks, LINES_TARGET, no_seam, text, length, error);
    if (!code)
        skip_mark(text, length);
    return code;
}

int lm_conversation_file_next(struct lm_conversation_file *file, struct lm_conversations *conversations,
                              loam_error *error)
{
    const size_t before = conversations->count;
    int code = LOAM_OK;
    while (!code && conversations->count == before) {
        const char *text;
        size_t length;
        const bool first = !file->begun;
        code = first ? begin_file(file, &text, &length, error)
                     : lm_blocks_next(&file->blocks, LINES_TARGET, lm_seam_of_lines, &text, &length, error);
        if (code)
            return code;
        const char *start = text;
        size_t left = length;
        strip(&start, &left);
        if (!length && !file->count)
            return fail_nothing(file->path, error);
        if (!length)
            return LOAM_OK;
        if (first && left && *start == '[')
            code = read_array(file->path, text, length, conversations, error);
        else
            code = read_lines(file->path, text, length, &file->line, conversations, error);
        file->count += (int64_t)(conversations->count - before);
        if (!code && first && left && *start == '[' && conversations->count == before)
            return fail_empty(file->path, error);
    }
    return code;
}

void lm_conversation_file_close(struct lm_conversation_file *file)
{
    if (!file)
        return;
    lm_blocks_close(&file->blocks);
    lm_free(file->path);
    lm_free(file);
}

void lm_conversation_file_progress(const struct lm_conversation_file *file, int64_t *done, int64_t *total)
{
    *done = file->blocks.done;
    *total = file->blocks.total;
}
