#include "base.h"
#include "tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* Memory that lives as long as the document: blocks cut from the front. */
struct block {
    struct block *next;
    size_t used, size;
    char bytes[];
};

struct lm_document {
    char *name;
    int64_t first_line;       /* its number */
    struct lm_bytes input;    /* kept for lines and columns; JSON strings point into it */
    struct block *blocks;
    struct lm_value root;
};

enum { BLOCK = 1 << 16, SMALL_OBJECT = 12 };

static void *take(struct lm_document *document, size_t bytes, size_t align, loam_error *error)
{
    struct block *block = document->blocks;
    size_t start = block ? lm_round_up(block->used, align) : 0;
    if (!block || start > block->size || bytes > block->size - start) {
        size_t size = bytes > BLOCK ? bytes : document->input.length < BLOCK ? 1024 + bytes : BLOCK;
        block = lm_resize(NULL, sizeof *block + size, 1, error);
        if (!block)
            return NULL;
        *block = (struct block){.next = document->blocks, .size = size};
        document->blocks = block;
        start = 0;
    }
    block->used = start + bytes;
    return block->bytes + start;
}

int lm_tree_begin(struct lm_tree *tree, const char *name, int64_t line, struct lm_bytes *text, loam_error *error)
{
    *tree = (struct lm_tree){.error = error};
    tree->document = lm_alloc(1, sizeof *tree->document, error);
    if (!tree->document) {
        lm_bytes_free(text);
        return LOAM_ENOMEM;
    }
    tree->document->input = *text;
    tree->document->first_line = line;
    *text = (struct lm_bytes){0};
    tree->document->name = lm_copy_string(name, strlen(name), error);
    if (!tree->document->name)
        return LOAM_ENOMEM;
    const struct lm_bytes *input = &tree->document->input;
    if (input->length > LM_TREE_INPUT)
        return lm_fail(error, LOAM_EFORMAT, "%s: found %zu bytes, wanted at most 1 GiB", name, input->length);
    const size_t good = lm_utf8_check(input->data, input->length);
    if (good < input->length)
        return lm_tree_fail(tree, (int64_t)good, "found the byte 0x%02x, wanted UTF-8",
                            (unsigned)(unsigned char)input->data[good]);
    return LOAM_OK;
}

char *lm_tree_input(struct lm_tree *tree, size_t *length)
{
    *length = tree->document->input.length;
    return tree->document->input.data;
}

char *lm_tree_text(struct lm_tree *tree, const char *text, size_t length)
{
    char *copy = take(tree->document, length + 1, 1, tree->error);
    if (!copy)
        return NULL;
    if (length)
        memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}

int lm_tree_leaf(struct lm_tree *tree, const struct lm_value *value)
{
    if (tree->count == tree->capacity) {
        size_t room = tree->capacity ? tree->capacity + tree->capacity / 2 : 64;
        struct lm_value *larger = lm_resize(tree->stack, room, sizeof *larger, tree->error);
        if (!larger)
            return LOAM_ENOMEM;
        tree->stack = larger;
        tree->capacity = room;
    }
    tree->stack[tree->count++] = *value;
    return LOAM_OK;
}

int lm_tree_open(struct lm_tree *tree, int64_t position)
{
    if (tree->depth == LM_TREE_LEVELS)
        return lm_tree_fail(tree, position, "found more than %d levels of nesting, which is the most that is read",
                            LM_TREE_LEVELS);
    tree->levels[tree->depth] = tree->count;
    tree->starts[tree->depth] = position;
    tree->depth++;
    return LOAM_OK;
}

static bool same_text(const struct lm_value *a, const struct lm_value *b)
{
    return a->length == b->length && memcmp(a->text, b->text, a->length) == 0;
}

static int fail_repeated(struct lm_tree *tree, const struct lm_value *key)
{
    return lm_tree_fail(tree, key->position, "the key \"%.*s\" stands here a second time; wanted each key once",
                        (int)(key->length < 200 ? key->length : 200), key->text);
}

/* Few keys are compared each with each, many through a table of twice their number. */
static int check_keys(struct lm_tree *tree, const struct lm_value *keys, size_t count)
{
    if (count <= SMALL_OBJECT) {
        for (size_t i = 1; i < count; i++)
            for (size_t k = 0; k < i; k++)
                if (same_text(&keys[i], &keys[k]))
                    return fail_repeated(tree, &keys[i]);
        return LOAM_OK;
    }
    size_t slots = 32;
    while (slots < 2 * count)
        slots *= 2;
    uint32_t *table = lm_alloc(slots, sizeof *table, tree->error);    /* number of a key, plus one */
    if (!table)
        return LOAM_ENOMEM;
    int code = LOAM_OK;
    for (size_t i = 0; i < count && code == LOAM_OK; i++) {
        size_t at = (size_t)XXH3_64bits(keys[i].text, keys[i].length) & (slots - 1);
        while (table[at] && !same_text(&keys[table[at] - 1], &keys[i]))
            at = (at + 1) & (slots - 1);
        if (table[at])
            code = fail_repeated(tree, &keys[i]);
        table[at] = (uint32_t)(i + 1);
    }
    lm_free(table);
    return code;
}

static int close_object(struct lm_tree *tree, const struct lm_value *members, size_t count, struct lm_value *object)
{
    struct lm_value *values = take(tree->document, 2 * count * sizeof *values, _Alignof(struct lm_value), tree->error);
    if (!values)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        values[i] = members[2 * i];
        values[count + i] = members[2 * i + 1];
    }
    object->keys = values;
    object->items = values + count;
    object->length = count;
    return check_keys(tree, values, count);
}

int lm_tree_close(struct lm_tree *tree, enum lm_value_kind kind)
{
    const size_t first = tree->levels[--tree->depth];
    const size_t count = tree->count - first;
    struct lm_value value = {.kind = kind, .position = tree->starts[tree->depth]};
    if (count > 0 && kind == LM_OBJECT) {
        int code = close_object(tree, tree->stack + first, count / 2, &value);
        if (code != LOAM_OK)
            return code;
    } else if (count > 0) {
        struct lm_value *items = take(tree->document, count * sizeof *items, _Alignof(struct lm_value), tree->error);
        if (!items)
            return LOAM_ENOMEM;
        memcpy(items, tree->stack + first, count * sizeof *items);
        value.items = items;
        value.length = count;
    }
    tree->count = first;
    return lm_tree_leaf(tree, &value);
}

int lm_tree_end(struct lm_tree *tree, struct lm_document **document)
{
    if (tree->count != 1 || tree->depth != 0)
        return lm_tree_fail(tree, (int64_t)tree->document->input.length, "found the end, wanted a value");
    tree->document->root = tree->stack[0];
    lm_free(tree->stack);
    *document = tree->document;
    return LOAM_OK;
}

void lm_tree_abandon(struct lm_tree *tree)
{
    lm_free(tree->stack);
    lm_document_free(tree->document);
}

void lm_document_free(struct lm_document *document)
{
    if (!document)
        return;
    for (struct block *block = document->blocks; block;) {
        struct block *next = block->next;
        lm_free(block);
        block = next;
    }
    lm_bytes_free(&document->input);
    lm_free(document->name);
    lm_free(document);
}

const struct lm_value *lm_document_root(const struct lm_document *document)
{
    return &document->root;
}

/* "NAME:LINE:COLUMN", columns from 1 and in characters. */
static void place_text(const struct lm_document *document, int64_t position, char *out, size_t room)
{
    const char *text = document->input.data;
    size_t end = (size_t)position < document->input.length ? (size_t)position : document->input.length;
    int64_t line = document->first_line, column = 1;
    for (size_t i = 0; i < end; i++) {
        if (text[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)text[i] & 0xC0) != 0x80) {
            column++;
        }
    }
    snprintf(out, room, "%.300s:%lld:%lld", document->name, (long long)line, (long long)column);
}

int lm_tree_fail(struct lm_tree *tree, int64_t position, const char *format, ...)
{
    if (!tree->error)
        return LOAM_EFORMAT;
    char place[400], message[sizeof tree->error->message];
    place_text(tree->document, position, place, sizeof place);
    va_list arguments;
    va_start(arguments, format);
    lm_format_list(message, sizeof message, format, arguments);
    va_end(arguments);
    return lm_fail_at(tree->error, LOAM_EFORMAT, position, "%s: %s", place, message);
}

/* Appends "a.b[3]" for the way from `from` to `value`; false where it does not lead there. Depth is bounded by
 * LM_TREE_LEVELS. */
static bool find_path(const struct lm_value *from, const struct lm_value *value, char *path, size_t used, size_t room)
{
    if (from == value)
        return true;
    for (size_t i = 0; i < from->length && (from->kind == LM_ARRAY || from->kind == LM_OBJECT); i++) {
        const struct lm_value *item = &from->items[i];
        const bool key_itself = from->kind == LM_OBJECT && &from->keys[i] == value;
        const bool deeper = item->kind == LM_ARRAY || item->kind == LM_OBJECT;
        if (item != value && !key_itself && !deeper)
            continue;
        int more = from->kind == LM_ARRAY
                       ? snprintf(path + used, room - used, "[%zu]", i)
                       : snprintf(path + used, room - used, "%s%.*s", used ? "." : "",
                                  (int)(from->keys[i].length < 100 ? from->keys[i].length : 100), from->keys[i].text);
        size_t after = used + (size_t)more < room ? used + (size_t)more : room - 1;
        if (key_itself || find_path(item, value, path, after, room))
            return true;
        path[used] = 0;
    }
    return false;
}

int lm_value_fail(const struct lm_document *document, const struct lm_value *value, loam_error *error,
                  const char *format, ...)
{
    if (!error)
        return LOAM_EFORMAT;
    char message[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    lm_format_list(message, sizeof message, format, arguments);
    va_end(arguments);
    if (!value)
        return lm_fail(error, LOAM_EFORMAT, "%s: %s", document->name, message);
    char place[400], path[256] = "";
    place_text(document, value->position, place, sizeof place);
    find_path(&document->root, value, path, 0, sizeof path);
    return lm_fail_at(error, LOAM_EFORMAT, value->position, "%s: %s%s%s", place, path, *path ? ": " : "", message);
}
