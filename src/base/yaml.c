/* YAML through libyaml's events, into the same tree. Plain scalars mean what the core schema of YAML 1.2 says. */
#include "base.h"
#include "tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reader {
    struct lm_tree tree;
    yaml_parser_t parser;
    const char *text;
    size_t length, offset;
    size_t character, byte;    /* the same place, in libyaml's characters and in bytes of text */
    bool is_object[LM_TREE_LEVELS];
    size_t documents;
};

/* libyaml counts characters; events come in order, so the cursor only walks forward. */
static int64_t position_of(struct reader *reader, const yaml_mark_t *mark)
{
    if (mark->index < reader->character) {
        reader->character = 0;
        reader->byte = 0;
    }
    while (reader->character < mark->index && reader->byte < reader->length) {
        do
            reader->byte++;
        while (reader->byte < reader->length && ((unsigned char)reader->text[reader->byte] & 0xC0) == 0x80);
        reader->character++;
    }
    return (int64_t)(reader->byte + reader->offset);
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

static bool all_of(const char *text, const char *allowed)
{
    return *text && text[strspn(text, allowed)] == 0;
}

/* "0x1F" and "0o17" in decimal; false where the text is neither, or too large. */
static bool other_base(const char *text, char out[32])
{
    const bool hex = text[0] == '0' && text[1] == 'x' && all_of(text + 2, "0123456789abcdefABCDEF");
    const bool octal = text[0] == '0' && text[1] == 'o' && all_of(text + 2, "01234567");
    if ((!hex && !octal) || strlen(text) > 20)
        return false;
    const unsigned long long number = strtoull(text + 2, NULL, hex ? 16 : 8);
    if (number > INT64_MAX)
        return false;
    snprintf(out, 32, "%llu", number);
    return true;
}

/* Writes a YAML number with JSON's grammar: no plus, no leading zeros, digits on both sides of the point. */
static const char *canonical(struct reader *reader, const char *text)
{
    const char *s = text + (*text == '+' || *text == '-');
    while (s[0] == '0' && s[1] >= '0' && s[1] <= '9')
        s++;
    const size_t whole = strspn(s, "0123456789");
    const bool point = s[whole] == '.';
    const size_t fraction = point ? strspn(s + whole + 1, "0123456789") : 0;
    const char *power = s + whole + point + fraction;
    struct lm_bytes out = {0};
    const char *copy = NULL;
    int code = lm_bytes_format(&out, reader->tree.error, "%s%.*s%s%.*s%s", *text == '-' ? "-" : "",
                               whole ? (int)whole : 1, whole ? s : "0", fraction ? "." : "", (int)fraction,
                               s + whole + point, power);
    if (code == LOAM_OK)
        copy = lm_tree_text(&reader->tree, out.data, out.length);
    lm_bytes_free(&out);
    return copy;
}

static bool is_decimal(const char *text)
{
    double number;
    if (!all_of(text, "+-.0123456789eE"))
        return false;
    loam_error error = {0};
    return lm_parse_double(text, &number, &error) == LOAM_OK || strstr(error.message, "too large") != NULL;
}

/* Fills kind and what belongs to it for a plain scalar whose text is already the document's. */
static int resolve(struct reader *reader, struct lm_value *value)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    static const char *const specials[] = {".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf",
                                           "-.INF", ".nan", ".NaN", ".NAN", NULL};
    const char *text = value->text;
    char decimal[32];
    if (is_one_of(text, nulls) && strlen(text) == value->length) {
        *value = (struct lm_value){.kind = LM_NULL, .position = value->position};
    } else if (is_one_of(text, trues) || is_one_of(text, falses)) {
        *value = (struct lm_value){.kind = LM_TRUTH, .truth = is_one_of(text, trues), .position = value->position};
    } else if (is_one_of(text, specials)) {
        value->kind = LM_NUMBER;
    } else if (is_decimal(text) || other_base(text, decimal)) {
        value->kind = LM_NUMBER;
        value->text = is_decimal(text) ? canonical(reader, text) : lm_tree_text(&reader->tree, decimal, strlen(decimal));
        if (!value->text)
            return LOAM_ENOMEM;
        value->length = strlen(value->text);
    }
    return LOAM_OK;
}

/* True where the next value is a key: the open container is an object with an even number of members so far. */
static bool key_wanted(const struct reader *reader)
{
    const struct lm_tree *tree = &reader->tree;
    if (tree->depth == 0 || !reader->is_object[tree->depth - 1])
        return false;
    return (tree->count - tree->levels[tree->depth - 1]) % 2 == 0;
}

static int on_scalar(struct reader *reader, const yaml_event_t *event, int64_t position)
{
    const char *tag = (const char *)event->data.scalar.tag;
    const bool is_string = tag && (strcmp(tag, "!") == 0 || strcmp(tag, YAML_STR_TAG) == 0);
    if (tag && !is_string)
        return lm_tree_fail(&reader->tree, position, "found the tag '%s'; tags other than !!str are not read", tag);
    struct lm_value value = {.kind = LM_STRING, .length = event->data.scalar.length, .position = position};
    value.text = lm_tree_text(&reader->tree, (const char *)event->data.scalar.value, value.length);
    if (!value.text)
        return LOAM_ENOMEM;
    const bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (plain && !is_string && !key_wanted(reader)) {
        int code = resolve(reader, &value);
        if (code != LOAM_OK)
            return code;
    }
    return lm_tree_leaf(&reader->tree, &value);
}

static int on_open(struct reader *reader, bool object, const unsigned char *tag, int64_t position)
{
    if (tag)
        return lm_tree_fail(&reader->tree, position, "found the tag '%s'; tags other than !!str are not read", tag);
    if (key_wanted(reader))
        return lm_tree_fail(&reader->tree, position, "found a list or mapping as a key, wanted a word");
    int code = lm_tree_open(&reader->tree, position);
    if (code == LOAM_OK)
        reader->is_object[reader->tree.depth - 1] = object;
    return code;
}

static bool has_anchor(const yaml_event_t *event)
{
    return event->type == YAML_ALIAS_EVENT || (event->type == YAML_SCALAR_EVENT && event->data.scalar.anchor) ||
           (event->type == YAML_SEQUENCE_START_EVENT && event->data.sequence_start.anchor) ||
           (event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.anchor);
}

static int on_event(struct reader *reader, const yaml_event_t *event)
{
    const int64_t position = position_of(reader, &event->start_mark);
    if (has_anchor(event))
        return lm_tree_fail(&reader->tree, position, "found an anchor or alias (& or *), which are not read; write the "
                            "value out, or quote it where it is meant as text");
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return on_scalar(reader, event, position);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(reader, false, event->data.sequence_start.tag, position);
    case YAML_MAPPING_START_EVENT:
        return on_open(reader, true, event->data.mapping_start.tag, position);
    case YAML_SEQUENCE_END_EVENT:
        return lm_tree_close(&reader->tree, LM_ARRAY);
    case YAML_MAPPING_END_EVENT:
        return lm_tree_close(&reader->tree, LM_OBJECT);
    case YAML_DOCUMENT_START_EVENT:
        if (reader->documents++ > 0)
            return lm_tree_fail(&reader->tree, position, "found a second document, wanted one");
        return LOAM_OK;
    default:
        return LOAM_OK;
    }
}

static int fail_syntax(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    if (parser->error == YAML_MEMORY_ERROR)
        return lm_fail(reader->tree.error, LOAM_ENOMEM, "not enough memory to read YAML");
    const int64_t position = parser->error == YAML_READER_ERROR
                                 ? (int64_t)(parser->problem_offset + reader->offset)
                                 : position_of(reader, &parser->problem_mark);
    return lm_tree_fail(&reader->tree, position, "%s%s%s; repair the text", parser->context ? parser->context : "",
                        parser->context ? ", " : "", parser->problem ? parser->problem : "not YAML");
}

static int run(struct reader *reader)
{
    int code = LOAM_OK;
    bool ended = false;
    while (code == LOAM_OK && !ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(&reader->parser, &event))
            return fail_syntax(reader);
        ended = event.type == YAML_STREAM_END_EVENT;
        code = on_event(reader, &event);
        yaml_event_delete(&event);
    }
    if (code == LOAM_OK && reader->documents == 0)    /* nothing but blanks and comments: null, as YAML says */
        return lm_tree_leaf(&reader->tree, &(struct lm_value){.kind = LM_NULL});
    return code;
}

static int read_text(struct reader *reader)
{
    reader->text = lm_tree_input(&reader->tree, &reader->length);
    if (reader->length >= 3 && memcmp(reader->text, "\xEF\xBB\xBF", 3) == 0)
        reader->offset = 3;
    reader->text += reader->offset;
    reader->length -= reader->offset;
    if (!yaml_parser_initialize(&reader->parser))
        return lm_fail(reader->tree.error, LOAM_ENOMEM, "not enough memory to read YAML");
    yaml_parser_set_encoding(&reader->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader->parser, (const unsigned char *)reader->text, reader->length);
    int code = run(reader);
    yaml_parser_delete(&reader->parser);
    return code;
}

/* Takes `bytes` over. */
static int parse(struct lm_bytes *bytes, const char *name, struct lm_document **document, loam_error *error)
{
    struct reader *reader = lm_alloc(1, sizeof *reader, error);
    if (!reader) {
        lm_bytes_free(bytes);
        return LOAM_ENOMEM;
    }
    int code = lm_tree_begin(&reader->tree, name, 1, bytes, error);
    if (code == LOAM_OK)
        code = read_text(reader);
    if (code == LOAM_OK)
        code = lm_tree_end(&reader->tree, document);
    if (code != LOAM_OK)
        lm_tree_abandon(&reader->tree);
    lm_free(reader);
    return code;
}

int lm_yaml_parse(const char *text, size_t length, const char *name, struct lm_document **document, loam_error *error)
{
    struct lm_bytes bytes = {0};
    int code = lm_bytes_append(&bytes, text, length, error);
    return code == LOAM_OK ? parse(&bytes, name, document, error) : code;
}

int lm_yaml_read(const char *path, struct lm_document **document, loam_error *error)
{
    struct lm_bytes bytes = {0};
    int code = lm_file_read(path, LM_TREE_INPUT, &bytes, error);
    if (code == LOAM_OK)
        return parse(&bytes, path, document, error);
    lm_bytes_free(&bytes);
    return code;
}
