/* JSON through yajl's events.
 *
 * yajl does not look at what its allocator returns. It gets memory cut from one block that is large enough for any
 * input of this length: it keeps two buffers (a token cut by the end of the input; a string with escapes), each of
 * which doubles from 2048 bytes until the token fits, and a stack of a byte a level. */
#include "base.h"
#include "tree.h"

#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

struct arena {
    char *bytes;
    size_t used, size;
};

struct reader {
    struct lm_tree tree;
    yajl_handle handle;
    char *text;        /* what yajl reads: the input behind a byte order mark */
    size_t offset;     /* of text in the input */
    size_t behind;     /* offset in text behind the last token */
    int code;
};

enum { HEADER = 16, ARENA_FIXED = 1 << 15, ARENA_PER_BYTE = 8 };

static void *arena_take(void *user, size_t bytes)
{
    struct arena *arena = user;
    size_t needed = HEADER + lm_round_up(bytes, HEADER);
    if (needed > arena->size - arena->used)
        return NULL;
    char *start = arena->bytes + arena->used;
    memcpy(start, &bytes, sizeof bytes);
    arena->used += needed;
    return start + HEADER;
}

static void *arena_resize(void *user, void *old, size_t bytes)
{
    size_t before = 0;
    if (old)
        memcpy(&before, (char *)old - HEADER, sizeof before);
    if (old && bytes <= before)
        return old;
    void *larger = arena_take(user, bytes);
    if (larger && old)
        memcpy(larger, old, before);
    return larger;
}

static void arena_drop(void *user, void *pointer)
{
    (void)user;
    (void)pointer;
}

/* Where the token that yajl has just read begins: behind the last one only blanks, commas and colons can stand. */
static int64_t token_start(struct reader *reader)
{
    size_t at = reader->behind;
    reader->behind = yajl_get_bytes_consumed(reader->handle);
    for (; at < reader->behind; at++) {
        const char c = reader->text[at];
        if (c != ' ' && c != ',' && c != ':' && c != '\n' && c != '\t' && c != '\r')
            break;
    }
    return (int64_t)(at + reader->offset);
}

static int done(struct reader *reader, int code)
{
    reader->code = code;
    return code == LOAM_OK;
}

static int leaf(struct reader *reader, struct lm_value value)
{
    return done(reader, lm_tree_leaf(&reader->tree, &value));
}

static int on_null(void *user)
{
    return leaf(user, (struct lm_value){.kind = LM_NULL, .position = token_start(user)});
}

static int on_bool(void *user, int truth)
{
    return leaf(user, (struct lm_value){.kind = LM_TRUTH, .truth = truth != 0, .position = token_start(user)});
}

static int on_number(void *user, const char *text, size_t length)
{
    struct reader *reader = user;
    const int64_t position = token_start(reader);
    const char *copy = lm_tree_text(&reader->tree, text, length);
    if (!copy)
        return done(reader, LOAM_ENOMEM);
    return leaf(reader, (struct lm_value){.kind = LM_NUMBER, .text = copy, .length = length, .position = position});
}

static unsigned hex4(const char *digits)
{
    const char text[5] = {digits[0], digits[1], digits[2], digits[3], 0};
    return (unsigned)strtoul(text, NULL, 16);
}

/* yajl turns halves of surrogate pairs that stand alone into other characters: refuse them. `at` is the first byte
 * behind the opening quote; yajl has checked that every \u has its four digits. */
static int check_escapes(struct reader *reader, size_t at)
{
    for (; at < reader->behind; at++) {
        if (reader->text[at] != '\\')
            continue;
        at++;
        if (reader->text[at] != 'u')
            continue;
        const unsigned unit = hex4(reader->text + at + 1);
        if ((unit & 0xF800) != 0xD800) {
            at += 4;
            continue;
        }
        const char *next = reader->text + at + 5;
        const bool pair = unit < 0xDC00 && next[0] == '\\' && next[1] == 'u' && (hex4(next + 2) & 0xFC00) == 0xDC00;
        if (!pair)
            return lm_tree_fail(&reader->tree, (int64_t)(at - 1 + reader->offset),
                                "found half of a surrogate pair (\\u%04x), wanted both halves", unit);
        at += 10;
    }
    return LOAM_OK;
}

static int on_string(void *user, const unsigned char *bytes, size_t length)
{
    struct reader *reader = user;
    const char *text = (const char *)bytes;
    struct lm_value value = {.kind = LM_STRING, .length = length, .position = token_start(reader)};
    const size_t first = (size_t)value.position - reader->offset + 1;
    if (text == reader->text + first) {
        reader->text[first + length] = 0;    /* over the closing quote, which yajl is done with */
        value.text = text;
        return leaf(reader, value);
    }
    int code = check_escapes(reader, first);
    if (code != LOAM_OK)
        return done(reader, code);
    value.text = lm_tree_text(&reader->tree, text, length);
    return value.text ? leaf(reader, value) : done(reader, LOAM_ENOMEM);
}

static int on_open(void *user)
{
    struct reader *reader = user;
    return done(reader, lm_tree_open(&reader->tree, token_start(reader)));
}

static int on_close_object(void *user)
{
    struct reader *reader = user;
    token_start(reader);
    return done(reader, lm_tree_close(&reader->tree, LM_OBJECT));
}

static int on_close_array(void *user)
{
    struct reader *reader = user;
    token_start(reader);
    return done(reader, lm_tree_close(&reader->tree, LM_ARRAY));
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_bool,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_open,
    .yajl_map_key = on_string,
    .yajl_end_map = on_close_object,
    .yajl_start_array = on_open,
    .yajl_end_array = on_close_array,
};

/* yajl's own words, from "lexical error: invalid char in json text.\n" to one line. */
static int fail_syntax(struct reader *reader, size_t consumed)
{
    unsigned char *words = yajl_get_error(reader->handle, 0, NULL, 0);
    const char *reason = words ? (const char *)words : "not JSON";
    size_t length = strcspn(reason, "\n");
    while (length > 0 && strchr(" .", reason[length - 1]))
        length--;
    const size_t at = reader->offset + consumed;
    int code = lm_tree_fail(&reader->tree, (int64_t)at, "%.*s; repair the text or make it anew", (int)length, reason);
    if (words)
        yajl_free_error(reader->handle, words);
    return code;
}

static int run(struct reader *reader, size_t length, struct arena *arena)
{
    yajl_alloc_funcs memory = {arena_take, arena_resize, arena_drop, arena};
    reader->handle = yajl_alloc(&callbacks, &memory, reader);
    yajl_config(reader->handle, yajl_dont_validate_strings, 1);    /* lm_tree_begin has seen to it */
    yajl_status status = yajl_parse(reader->handle, (const unsigned char *)reader->text, length);
    size_t consumed = length;
    if (status == yajl_status_ok)
        status = yajl_complete_parse(reader->handle);
    else
        consumed = yajl_get_bytes_consumed(reader->handle);
    int code = reader->code;
    if (status == yajl_status_error)
        code = fail_syntax(reader, consumed);
    yajl_free(reader->handle);
    return code;
}

/* Takes `bytes` over. */
static int parse(struct lm_bytes *bytes, const char *name, int64_t line, struct lm_document **document,
                 loam_error *error)
{
    struct reader reader = {0};
    int code = lm_tree_begin(&reader.tree, name, line, bytes, error);
    struct arena arena = {0};
    if (code == LOAM_OK) {
        size_t length;
        reader.text = lm_tree_input(&reader.tree, &length);
        if (length >= 3 && memcmp(reader.text, "\xEF\xBB\xBF", 3) == 0)
            reader.offset = 3;
        reader.text += reader.offset;
        length -= reader.offset;
        arena.size = ARENA_FIXED + ARENA_PER_BYTE * length;
        arena.bytes = lm_alloc(arena.size, 1, error);
        code = arena.bytes ? run(&reader, length, &arena) : LOAM_ENOMEM;
    }
    if (code == LOAM_OK)
        code = lm_tree_end(&reader.tree, document);
    if (code != LOAM_OK)
        lm_tree_abandon(&reader.tree);
    lm_free(arena.bytes);
    return code;
}

int lm_json_parse(const char *text, size_t length, const char *name, struct lm_document **document, loam_error *error)
{
    return lm_json_parse_line(text, length, name, 1, document, error);
}

int lm_json_parse_line(const char *text, size_t length, const char *name, int64_t line, struct lm_document **document,
                       loam_error *error)
{
    struct lm_bytes bytes = {0};
    int code = lm_bytes_append(&bytes, text, length, error);
    return code == LOAM_OK ? parse(&bytes, name, line, document, error) : code;
}

int lm_json_read(const char *path, struct lm_document **document, loam_error *error)
{
    struct lm_bytes bytes = {0};
    int code = lm_file_read(path, LM_TREE_INPUT, &bytes, error);
    if (code == LOAM_OK)
        return parse(&bytes, path, 1, document, error);
    lm_bytes_free(&bytes);
    return code;
}
