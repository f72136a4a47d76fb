/* Jinja's values as text: str(), repr() and json.dumps() of Python. */
#include "data/jinja_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

enum { MOST_LEVELS = 200 };

static int put(struct jinja_run *run, struct lm_bytes *out, const char *data, size_t length)
{
    if (out->length + length > run->most_written)
        return jinja_fail(run, "the template wrote more than %zu bytes", run->most_written);
    return length ? lm_bytes_append(out, data, length, run->error) : LOAM_OK;
}

static int put_word(struct jinja_run *run, struct lm_bytes *out, const char *text)
{
    return put(run, out, text, strlen(text));
}

/* Python's float: the shortest digits that read back, with a point, an exponent below 1e-4 and from 1e16 on. */
static void format_number(double number, char out[64])
{
    char shortest[32], digits[32];
    int count = 0, exponent = 0;
    if (number - number != 0) {
        strcpy(out, number != number ? "nan" : number > 0 ? "inf" : "-inf");
        return;
    }
    for (int precision = 0; precision < 17; precision++) {
        snprintf(shortest, sizeof shortest, "%.*e", precision, number);
        if (strtod(shortest, NULL) == number)
            break;
    }
    for (const char *c = shortest; *c && *c != 'e'; c++)
        if (*c >= '0' && *c <= '9')
            digits[count++] = *c;
    exponent = atoi(strchr(shortest, 'e') + 1);
    const char *sign = shortest[0] == '-' ? "-" : "";
    if (exponent < -4 || exponent >= 16)
        snprintf(out, 64, "%s%c%s%.*se%c%02d", sign, digits[0], count > 1 ? "." : "", count - 1, digits + 1,
                 exponent < 0 ? '-' : '+', abs(exponent));
    else if (exponent < 0)
        snprintf(out, 64, "%s0.%.*s%.*s", sign, -exponent - 1, "0000", count, digits);
    else if (count > exponent + 1)
        snprintf(out, 64, "%s%.*s.%.*s", sign, exponent + 1, digits, count - exponent - 1, digits + exponent + 1);
    else
        snprintf(out, 64, "%s%.*s%.*s.0", sign, count, digits, exponent + 1 - count, "0000000000000000");
}

static int put_number(struct jinja_run *run, struct jinja_value value, struct lm_bytes *out)
{
    char text[64];
    if (value.kind == J_WHOLE)
        snprintf(text, sizeof text, "%lld", (long long)value.as.whole);
    else
        format_number(value.as.number, text);
    return put_word(run, out, text);
}

static bool is_printable(uint32_t c)
{
    if (c == ' ')
        return true;
    const utf8proc_category_t category = utf8proc_category((int32_t)c);
    return category != UTF8PROC_CATEGORY_CN && category < UTF8PROC_CATEGORY_ZS;
}

/* Python's repr of a text. */
static int put_quoted(struct jinja_run *run, struct jinja_text text, struct lm_bytes *out)
{
    const char quote = memchr(text.data, '\'', text.length) && !memchr(text.data, '"', text.length) ? '"' : '\'';
    int code = put(run, out, &quote, 1);
    for (size_t i = 0; i < text.length && !code;) {
        uint32_t c;
        char escape[16];
        size_t size = lm_utf8_decode(text.data + i, text.length - i, &c);
        if (!size)
            size = 1, c = (unsigned char)text.data[i];
        if (c == '\\' || c == (unsigned char)quote)
            snprintf(escape, sizeof escape, "\\%c", (char)c);
        else if (c == '\n' || c == '\t' || c == '\r')
            snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
        else if (!is_printable(c))
            snprintf(escape, sizeof escape, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
        else
            *escape = 0;
        code = *escape ? put_word(run, out, escape) : put(run, out, text.data + i, size);
        i += size;
    }
    return code ? code : put(run, out, &quote, 1);
}

static int write_level(struct jinja_run *run, struct jinja_value value, bool as_repr, int level, struct lm_bytes *out);

static int write_items(struct jinja_run *run, struct jinja_value value, int level, struct lm_bytes *out)
{
    const bool list = value.kind == J_LIST, tuple = list && value.as.list->tuple;
    const size_t count = list ? value.as.list->count : value.as.dict->count;
    int code = put_word(run, out, tuple ? "(" : list ? "[" : "{");
    for (size_t i = 0; i < count && !code; i++) {
        code = i ? put_word(run, out, ", ") : LOAM_OK;
        if (!code && !list)
            code = write_level(run, value.as.dict->keys[i], true, level + 1, out);
        if (!code && !list)
            code = put_word(run, out, ": ");
        if (!code)
            code = write_level(run, list ? value.as.list->items[i] : value.as.dict->values[i], true, level + 1, out);
    }
    return code ? code : put_word(run, out, tuple ? count == 1 ? ",)" : ")" : list ? "]" : "}");
}

static int write_level(struct jinja_run *run, struct jinja_value value, bool as_repr, int level, struct lm_bytes *out)
{
    int code = jinja_spend(run, 0);
    if (code || level > MOST_LEVELS)
        return code ? code : jinja_fail(run, "found values more than %d deep in each other", MOST_LEVELS);
    switch (value.kind) {
    case J_UNDEFINED:
        return as_repr ? put_word(run, out, "Undefined") : LOAM_OK;
    case J_NONE:
        return put_word(run, out, "None");
    case J_TRUTH:
        return put_word(run, out, value.as.truth ? "True" : "False");
    case J_WHOLE:
    case J_NUMBER:
        return put_number(run, value, out);
    case J_TEXT:
        return as_repr ? put_quoted(run, value.as.text, out) : put(run, out, value.as.text.data, value.as.text.length);
    case J_LIST:
    case J_DICT:
        return write_items(run, value, level, out);
    default:
        return jinja_fail(run, "found %s where text is to be written", jinja_kind_name(value));
    }
}

int jinja_write(struct jinja_run *run, struct jinja_value value, bool as_repr, struct lm_bytes *out)
{
    return write_level(run, value, as_repr, 0, out);
}

int jinja_string(struct jinja_run *run, struct jinja_value value, struct jinja_text *text)
{
    struct lm_bytes out = {0};
    struct jinja_value copy;
    if (value.kind == J_TEXT) {
        *text = value.as.text;
        return LOAM_OK;
    }
    int code = jinja_write(run, value, false, &out);
    if (!code)
        code = jinja_copy(run, out.data, out.length, &copy);
    if (!code)
        *text = copy.as.text;
    lm_bytes_free(&out);
    return code;
}

static int json_text(struct jinja_run *run, struct jinja_text text, bool ascii, struct lm_bytes *out)
{
    int code = put_word(run, out, "\"");
    for (size_t i = 0; i < text.length && !code;) {
        uint32_t c;
        char escape[16] = "";
        static const char short_ones[] = "\"\"\\\\\nn\rr\tt\bb\ff";
        size_t size = lm_utf8_decode(text.data + i, text.length - i, &c);
        if (!size)
            size = 1, c = (unsigned char)text.data[i];
        for (size_t j = 0; short_ones[j]; j += 2)
            if (c == (unsigned char)short_ones[j])
                snprintf(escape, sizeof escape, "\\%c", short_ones[j + 1]);
        if (!*escape && c > 0xFFFF && ascii)
            snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                     0xDC00 + ((c - 0x10000) & 0x3FF));
        else if (!*escape && (c < 0x20 || (ascii && c > 0x7E)))
            snprintf(escape, sizeof escape, "\\u%04x", c);
        code = *escape ? put_word(run, out, escape) : put(run, out, text.data + i, size);
        i += size;
    }
    return code ? code : put_word(run, out, "\"");
}

static int json_break(struct jinja_run *run, const struct jinja_json *how, int level, struct lm_bytes *out)
{
    int code = how->indent < 0 ? LOAM_OK : put_word(run, out, "\n");
    for (int i = 0; i < how->indent * level && !code; i++)
        code = put_word(run, out, " ");
    return code;
}

/* The member that stands at place `index` of the sorted mapping. */
static size_t sorted_member(const struct jinja_dict *dict, size_t index)
{
    for (size_t i = 0; i < dict->count; i++) {
        size_t before = 0;
        const struct jinja_text text = dict->keys[i].as.text;
        for (size_t j = 0; j < dict->count; j++) {
            const struct jinja_text other = dict->keys[j].as.text;
            const int sign = memcmp(other.data, text.data, other.length < text.length ? other.length : text.length);
            before += sign < 0 || (sign == 0 && other.length < text.length);
        }
        if (before == index)
            return i;
    }
    return index;
}

static int json_member(struct jinja_run *run, const struct jinja_dict *dict, size_t index, const struct jinja_json *how,
                       int level, struct lm_bytes *out)
{
    struct jinja_text key;
    int code = jinja_spend(run, how->sort ? dict->count * dict->count : 0);
    if (code)
        return code;
    const size_t member = how->sort ? sorted_member(dict, index) : index;
    code = jinja_string(run, dict->keys[member], &key);
    if (!code)
        code = json_text(run, key, how->ascii, out);
    if (!code)
        code = put(run, out, how->key.data, how->key.length);
    return code ? code : jinja_write_json(run, dict->values[member], how, level + 1, out);
}

static int json_items(struct jinja_run *run, struct jinja_value value, const struct jinja_json *how, int level,
                      struct lm_bytes *out)
{
    const bool list = value.kind == J_LIST;
    const size_t count = list ? value.as.list->count : value.as.dict->count;
    for (size_t i = 0; !list && i < count; i++)
        if (value.as.dict->keys[i].kind != J_TEXT)
            return jinja_fail(run, "found a key that is %s, wanted text for tojson",
                              jinja_kind_name(value.as.dict->keys[i]));
    int code = put_word(run, out, list ? "[" : "{");
    for (size_t i = 0; i < count && !code; i++) {
        code = i ? put(run, out, how->item.data, how->item.length) : LOAM_OK;
        if (!code)
            code = json_break(run, how, level + 1, out);
        if (!code)
            code = list ? jinja_write_json(run, value.as.list->items[i], how, level + 1, out)
                        : json_member(run, value.as.dict, i, how, level, out);
    }
    if (!code && count)
        code = json_break(run, how, level, out);
    return code ? code : put_word(run, out, list ? "]" : "}");
}

int jinja_write_json(struct jinja_run *run, struct jinja_value value, const struct jinja_json *how, int level,
                     struct lm_bytes *out)
{
    int code = jinja_spend(run, 0);
    if (code || level > MOST_LEVELS)
        return code ? code : jinja_fail(run, "found values more than %d deep in each other", MOST_LEVELS);
    switch (value.kind) {
    case J_NONE:
        return put_word(run, out, "null");
    case J_TRUTH:
        return put_word(run, out, value.as.truth ? "true" : "false");
    case J_WHOLE:
        return put_number(run, value, out);
    case J_NUMBER:
        if (value.as.number - value.as.number != 0)
            return put_word(run, out,
                            value.as.number != value.as.number ? "NaN"
                            : value.as.number > 0              ? "Infinity"
                                                               : "-Infinity");
        return put_number(run, value, out);
    case J_TEXT:
        return json_text(run, value.as.text, how->ascii, out);
    case J_LIST:
    case J_DICT:
        return json_items(run, value, how, level, out);
    default:
        return jinja_fail(run, "found %s, which tojson cannot write", jinja_kind_name(value));
    }
}
