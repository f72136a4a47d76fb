/* Texts as Python's str has them: places are characters, not bytes. */
#include "data/jinja_run.h"

#include <math.h>
#include <utf8proc.h>

size_t jinja_count(struct jinja_text text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.length; i++)
        count += ((unsigned char)text.data[i] & 0xC0) != 0x80;
    return count;
}

size_t jinja_offset(struct jinja_text text, size_t characters)
{
    size_t i = 0;
    for (; i < text.length; i++)
        if (((unsigned char)text.data[i] & 0xC0) != 0x80 && characters-- == 0)
            return i;
    return i;
}

bool jinja_blank(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* The character at `place`; a byte that is none stands for itself. */
static size_t decode(struct jinja_text text, size_t place, uint32_t *c)
{
    const size_t size = lm_utf8_decode(text.data + place, text.length - place, c);
    if (size)
        return size;
    *c = (unsigned char)text.data[place];
    return 1;
}

static bool strips(uint32_t c, const struct jinja_text *characters)
{
    if (!characters)
        return jinja_blank(c);
    for (size_t i = 0; i < characters->length;) {
        uint32_t each;
        i += decode(*characters, i, &each);
        if (each == c)
            return true;
    }
    return false;
}

struct jinja_text jinja_strip(struct jinja_text text, const struct jinja_text *characters, bool left, bool right)
{
    uint32_t c;
    while (left && text.length) {
        const size_t size = decode(text, 0, &c);
        if (!strips(c, characters))
            break;
        text.data += size;
        text.length -= size;
    }
    while (right && text.length) {
        size_t size = 1;
        while (size < text.length && size < 4 && ((unsigned char)text.data[text.length - size] & 0xC0) == 0x80)
            size++;
        decode(text, text.length - size, &c);
        if (!strips(c, characters))
            break;
        text.length -= size;
    }
    return text;
}

bool jinja_find(struct jinja_run *run, struct jinja_text text, struct jinja_text part, size_t *place)
{
    run->steps -= (int64_t)(text.length / 64);
    const char *found = part.length ? memmem(text.data, text.length, part.data, part.length) : text.data;
    if (!found)
        return part.length == 0 && (*place = 0, true);
    *place = (size_t)(found - text.data);
    return true;
}

int jinja_recase(struct jinja_run *run, struct jinja_text text, enum jinja_case how, struct jinja_value *result)
{
    char *out = lm_jinja_take(&run->pool, 2 * text.length, run->error); /* no letter's other case takes more */
    size_t length = 0;
    bool inside = false;
    if (!out)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < text.length;) {
        uint32_t c;
        i += decode(text, i, &c);
        const bool up = how == CASE_UPPER || (how != CASE_LOWER && !inside);
        const int32_t changed = up ? utf8proc_toupper((int32_t)c) : utf8proc_tolower((int32_t)c);
        const utf8proc_category_t category = utf8proc_category((int32_t)c);
        const bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
        inside = how == CASE_CAPITAL || (how == CASE_WORDS ? !jinja_blank(c) && !(c < 128 && c && strchr("-({[<", (int)c)) : letter);
        char bytes[4];
        const size_t size = lm_utf8_encode((uint32_t)changed, bytes);
        if (length + size > 2 * text.length)
            return jinja_fail(run, "found text that has no other case");
        memcpy(out + length, bytes, size);
        length += size;
    }
    *result = jinja_text_value(out, length);
    return jinja_spend(run, text.length);
}

int jinja_replace(struct jinja_run *run, struct jinja_text text, struct jinja_text old, struct jinja_text new,
                  int64_t most, struct jinja_value *result)
{
    struct lm_bytes out = {0};
    size_t from = 0, place = 0;
    int code = LOAM_OK;
    while (!code && most-- != 0 && from <= text.length) {
        const struct jinja_text rest = {text.data + from, text.length - from};
        if (old.length == 0 && from == text.length)
            place = 0, most = 0;
        else if (!jinja_find(run, rest, old, &place))
            break;
        uint32_t c;
        const size_t kept = old.length ? place : from < text.length ? decode(text, from, &c) : 0;
        if (old.length)
            code = lm_bytes_append(&out, rest.data, place, run->error);
        if (!code)
            code = lm_bytes_append(&out, new.data, new.length, run->error);
        if (!code && !old.length)
            code = lm_bytes_append(&out, rest.data, kept, run->error);
        from += kept + old.length;
        if (!code)
            code = jinja_spend(run, new.length);
        if (out.length > run->pool.limit)
            code = jinja_fail(run, "the template took more than %zu bytes of memory", run->pool.limit);
    }
    if (!code && from < text.length)
        code = lm_bytes_append(&out, text.data + from, text.length - from, run->error);
    if (!code)
        code = jinja_copy(run, out.data, out.length, result);
    lm_bytes_free(&out);
    return code;
}

/* At blanks: runs of them are one, and there are none at the ends. */
static int split_blanks(struct jinja_run *run, struct jinja_text text, int64_t most, struct jinja_list *list)
{
    text = jinja_strip(text, NULL, true, most < 0);
    int code = LOAM_OK;
    while (text.length && !code) {
        size_t end = 0;
        uint32_t c = 0;
        while (end < text.length) {
            const size_t size = decode(text, end, &c);
            if (jinja_blank(c))
                break;
            end += size;
        }
        if (most-- == 0)
            end = text.length;
        code = jinja_push(run, list, jinja_text_value(text.data, end));
        text = jinja_strip((struct jinja_text){text.data + end, text.length - end}, NULL, true, false);
        if (!code)
            code = jinja_spend(run, end);
    }
    return code;
}

static bool find_last(struct jinja_text text, struct jinja_text part, size_t *place)
{
    for (size_t i = text.length >= part.length ? text.length - part.length + 1 : 0; i-- > 0;)
        if (!memcmp(text.data + i, part.data, part.length)) {
            *place = i;
            return true;
        }
    return false;
}

static int split_right(struct jinja_run *run, struct jinja_text text, struct jinja_text by, int64_t most,
                       struct jinja_list *list)
{
    size_t place;
    int code = LOAM_OK;
    while (!code && most-- != 0 && find_last(text, by, &place)) {
        code = jinja_push(run, list, jinja_text_value(text.data + place + by.length, text.length - place - by.length));
        text.length = place;
        if (!code)
            code = jinja_spend(run, 0);
    }
    if (!code)
        code = jinja_push(run, list, jinja_text_value(text.data, text.length));
    for (size_t i = 0; i < list->count / 2; i++) {
        const struct jinja_value other = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = other;
    }
    return code;
}

int jinja_split(struct jinja_run *run, struct jinja_text text, const struct jinja_text *by, int64_t most,
                bool from_right, struct jinja_value *result)
{
    size_t place;
    int code = jinja_list_new(run, 0, result);
    if (code || (by && by->length == 0))
        return code ? code : jinja_fail(run, "found an empty separator for split");
    struct jinja_list *list = result->as.list;
    if (!by)
        return split_blanks(run, text, most, list);
    if (from_right && most >= 0)
        return split_right(run, text, *by, most, list);
    while (!code && most-- != 0 && jinja_find(run, text, *by, &place)) {
        code = jinja_push(run, list, jinja_text_value(text.data, place));
        text.data += place + by->length;
        text.length -= place + by->length;
        if (!code)
            code = jinja_spend(run, 0);
    }
    return code ? code : jinja_push(run, list, jinja_text_value(text.data, text.length));
}

int jinja_split_lines(struct jinja_run *run, struct jinja_text text, struct jinja_value *result)
{
    int code = jinja_list_new(run, 0, result);
    size_t begin = 0;
    for (size_t i = 0; i < text.length && !code;) {
        uint32_t c;
        const size_t size = decode(text, i, &c);
        if ((c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029) {
            code = jinja_push(run, result->as.list, jinja_text_value(text.data + begin, i - begin));
            begin = i + size + (c == '\r' && i + 1 < text.length && text.data[i + 1] == '\n');
            i = begin;
        } else {
            i += size;
        }
    }
    if (!code && begin < text.length)
        code = jinja_push(run, result->as.list, jinja_text_value(text.data + begin, text.length - begin));
    return code ? code : jinja_spend(run, text.length);
}

int jinja_to_number(struct jinja_value value, bool whole, struct jinja_value *result)
{
    loam_error ignored;
    char digits[64];
    if (value.kind == J_TRUTH || value.kind == J_WHOLE) {
        const int64_t number = value.kind == J_TRUTH ? value.as.truth : value.as.whole;
        *result = whole ? jinja_whole(number) : (struct jinja_value){.kind = J_NUMBER, .as.number = (double)number};
        return LOAM_OK;
    }
    if (value.kind == J_TEXT) {
        const struct jinja_text text = jinja_strip(value.as.text, NULL, true, true);
        if (text.length >= sizeof digits)
            return LOAM_EFORMAT;
        memcpy(digits, text.data, text.length);
        digits[text.length] = 0;
        *result = (struct jinja_value){.kind = J_WHOLE};
        if (whole && !lm_parse_int(digits, &result->as.whole, &ignored))
            return LOAM_OK;
        value.kind = J_NUMBER;
        if (lm_parse_double(digits, &value.as.number, &ignored))
            return LOAM_EFORMAT;
    }
    if (value.kind != J_NUMBER || (whole && !(fabs(value.as.number) < 9e18)))
        return LOAM_EFORMAT;
    *result = whole ? jinja_whole((int64_t)value.as.number) : value;
    return LOAM_OK;
}
