#include "base.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct lm_json_writer lm_json_writer(struct lm_bytes *out, int indent)
{
    return (struct lm_json_writer){.out = out, .indent = indent};
}

static void put(struct lm_json_writer *writer, const char *text, size_t length)
{
    if (!writer->failed && lm_bytes_append(writer->out, text, length, NULL) != LOAM_OK)
        writer->failed = true;
}

static void new_line(struct lm_json_writer *writer)
{
    if (writer->indent <= 0)
        return;
    put(writer, "\n", 1);
    for (int i = 0; i < writer->depth * writer->indent; i++)
        put(writer, " ", 1);
}

/* What stands between the last thing written and the next: nothing behind a key, else a comma and a new line. */
static void separate(struct lm_json_writer *writer)
{
    if (writer->after_key) {
        writer->after_key = false;
        return;
    }
    if (writer->comma)
        put(writer, ", ", writer->indent ? 1 : 2);
    if (writer->depth > 0)
        new_line(writer);
}

static void begin(struct lm_json_writer *writer, const char *bracket)
{
    separate(writer);
    put(writer, bracket, 1);
    writer->depth++;
    writer->comma = false;
}

static void end(struct lm_json_writer *writer, const char *bracket)
{
    writer->depth--;
    if (writer->comma)
        new_line(writer);
    put(writer, bracket, 1);
    writer->comma = true;
}

void lm_json_begin_object(struct lm_json_writer *writer)
{
    begin(writer, "{");
}

void lm_json_end_object(struct lm_json_writer *writer)
{
    end(writer, "}");
}

void lm_json_begin_array(struct lm_json_writer *writer)
{
    begin(writer, "[");
}

void lm_json_end_array(struct lm_json_writer *writer)
{
    end(writer, "]");
}

static void put_escaped(struct lm_json_writer *writer, const char *text, size_t length)
{
    put(writer, "\"", 1);
    size_t plain = 0;    /* start of what can be written as it is */
    for (size_t i = 0; i < length;) {
        const unsigned char byte = (unsigned char)text[i];
        uint32_t code_point;
        const size_t width = lm_utf8_decode(text + i, length - i, &code_point);
        if (width && byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7F) {
            i += width;
            continue;
        }
        put(writer, text + plain, i - plain);
        static const char names[] = "\"\"\\\\\nn\rr\tt\bb\ff";
        char escape[8];
        const char *name = byte ? strchr(names, byte) : NULL;
        if (width == 0)
            put(writer, "\xEF\xBF\xBD", 3);
        else if (name && (byte < 0x20 || byte == '"' || byte == '\\'))
            put(writer, (char[]){'\\', name[1]}, 2);
        else
            put(writer, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", byte));
        i++;
        plain = i;
    }
    put(writer, text + plain, length - plain);
    put(writer, "\"", 1);
}

void lm_json_string(struct lm_json_writer *writer, const char *text, size_t length)
{
    separate(writer);
    put_escaped(writer, text, length);
    writer->comma = true;
}

void lm_json_text(struct lm_json_writer *writer, const char *text)
{
    lm_json_string(writer, text, strlen(text));
}

static void put_key(struct lm_json_writer *writer, const char *key, size_t length)
{
    separate(writer);
    put_escaped(writer, key, length);
    put(writer, ": ", writer->indent < 0 ? 1 : 2);
    writer->after_key = true;
}

void lm_json_key(struct lm_json_writer *writer, const char *key)
{
    put_key(writer, key, strlen(key));
}

void lm_json_key_text(struct lm_json_writer *writer, const char *key, size_t length)
{
    put_key(writer, key, length);
}

static void put_word(struct lm_json_writer *writer, const char *word)
{
    separate(writer);
    put(writer, word, strlen(word));
    writer->comma = true;
}

void lm_json_int(struct lm_json_writer *writer, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    put_word(writer, text);
}

/* With a point or an exponent always, so that readers that tell 1 from 1.0 get a number that is not whole. */
void lm_json_double(struct lm_json_writer *writer, double value)
{
    char text[40];
    if (!isfinite(value)) {
        put_word(writer, "null");
        return;
    }
    lm_format_double(value, text);
    if (!strpbrk(text, ".e"))
        strcat(text, ".0");
    put_word(writer, text);
}

void lm_json_bool(struct lm_json_writer *writer, bool value)
{
    put_word(writer, value ? "true" : "false");
}

void lm_json_null(struct lm_json_writer *writer)
{
    put_word(writer, "null");
}

void lm_json_value(struct lm_json_writer *writer, const struct lm_value *value)
{
    switch (value->kind) {
    case LM_NULL:
        lm_json_null(writer);
        return;
    case LM_TRUTH:
        lm_json_bool(writer, value->truth);
        return;
    case LM_NUMBER:
        put_word(writer, strpbrk(value->text, "iInN") ? "null" : value->text);    /* YAML's .inf and .nan */
        return;
    case LM_STRING:
        lm_json_string(writer, value->text, value->length);
        return;
    case LM_ARRAY:
        lm_json_begin_array(writer);
        for (size_t i = 0; i < value->length; i++)
            lm_json_value(writer, &value->items[i]);
        lm_json_end_array(writer);
        return;
    case LM_OBJECT:
        lm_json_begin_object(writer);
        for (size_t i = 0; i < value->length; i++) {
            put_key(writer, value->keys[i].text, value->keys[i].length);
            lm_json_value(writer, &value->items[i]);
        }
        lm_json_end_object(writer);
        return;
    }
}

int lm_json_writer_finish(struct lm_json_writer *writer, loam_error *error)
{
    if (writer->failed)
        return lm_fail(error, LOAM_ENOMEM, "not enough memory for a JSON text of %zu bytes", writer->out->length);
    return LOAM_OK;
}
