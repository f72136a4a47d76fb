/* A text cut into messages, and its entities written as the Bot API wants them. */
#include "markup.h"

#include <string.h>
#include <utf8proc.h>

size_t lm_utf16_units(const char *text, size_t length)
{
    size_t units = 0;
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        units += (c & 0xC0) != 0x80;    /* every character one, */
        units += c >= 0xF0;             /* those past U+FFFF two */
    }
    return units;
}

static bool blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t';
}

/* How far `units` reach, at a place between two characters as people see them. */
static size_t reach(const char *text, size_t begin, size_t length, size_t units)
{
    size_t at = begin, last = begin, used = 0;
    uint32_t before = 0, c;
    utf8proc_int32_t state = 0;
    while (at < length) {
        const size_t size = lm_utf8_decode(text + at, length - at, &c);
        const size_t width = c > 0xFFFF ? 2 : 1;
        if (!size)
            return at > begin ? at : length;    /* not valid: nothing that ends here */
        if (at > begin && utf8proc_grapheme_break_stateful((utf8proc_int32_t)before, (utf8proc_int32_t)c, &state))
            last = at;
        if (used + width > units)
            return last > begin ? last : at;    /* one that is longer than a message is cut in itself */
        used += width;
        at += size;
        before = c;
    }
    return length;
}

/* Where the one entity too many begins, if not at the very beginning. */
static size_t entity_limit(const struct lm_markup *markup, size_t begin, size_t end)
{
    size_t count = 0;
    for (size_t i = 0; i < markup->count; i++) {
        const struct lm_entity *entity = &markup->entities[i];
        if (entity->end <= begin || entity->begin >= end)
            continue;
        if (++count > LM_MESSAGE_ENTITIES && entity->begin > begin)
            return entity->begin;
    }
    return end;
}

enum breaks { WORD, LINE, PARAGRAPH };

static bool breaks_at(const char *text, size_t at, enum breaks kind)
{
    if (kind == WORD)
        return blank(text[at]);
    return text[at] == '\n' && (kind == LINE || text[at + 1] == '\n');
}

/* The last place in (least, most] at which there is such a break; 0: there is none. text[most] is there. */
static size_t last_break(const char *text, size_t least, size_t most, enum breaks kind)
{
    for (size_t at = most; at > least; at--)
        if (breaks_at(text, at, kind))
            return at;
    return 0;
}

/* A part is a quarter full at least: a break further in front is not worth it. */
size_t lm_markup_cut(const struct lm_markup *markup, size_t begin, size_t units, size_t *next)
{
    const char *text = markup->text.data;
    const size_t length = markup->text.length, most = entity_limit(markup, begin, reach(text, begin, length, units));
    const size_t least = begin + (most - begin) / 4;
    size_t end = 0;
    if (most == length)
        return *next = length;
    enum breaks kind = PARAGRAPH;
    while (!(end = last_break(text, least, most, kind)) && kind != WORD)
        kind--;
    if (!end)
        return *next = most;
    *next = end;
    while (*next < length && (text[*next] == '\n' || (kind == WORD && blank(text[*next]))))    /* the next line's indentation stays */
        (*next)++;
    while (end > begin + 1 && blank(text[end - 1]))
        end--;
    return end;
}

static void write_one(const struct lm_markup *markup, const struct lm_entity *entity, size_t offset, size_t units, struct lm_json_writer *json)
{
    static const char *const names[] = {"bold", "italic", "strikethrough", "blockquote", "text_link", "code", "pre"};
    lm_json_begin_object(json);
    lm_json_key(json, "type");
    lm_json_text(json, names[entity->kind]);
    lm_json_key(json, "offset");
    lm_json_int(json, (int64_t)offset);
    lm_json_key(json, "length");
    lm_json_int(json, (int64_t)units);
    if (entity->extra != SIZE_MAX) {
        lm_json_key(json, entity->kind == LM_ENTITY_PRE ? "language" : "url");
        lm_json_text(json, markup->extra.data + entity->extra);
    }
    lm_json_end_object(json);
}

void lm_markup_write(const struct lm_markup *markup, size_t begin, size_t end, size_t before, struct lm_json_writer *json)
{
    const char *text = markup->text.data;
    size_t written = 0;
    for (size_t i = 0; i < markup->count && written < LM_MESSAGE_ENTITIES; i++) {
        const struct lm_entity *entity = &markup->entities[i];
        size_t from = entity->begin > begin ? entity->begin : begin, to = entity->end < end ? entity->end : end;
        while (from < to && blank(text[to - 1]))
            to--;
        while (from < to && text[from] == '\n')
            from++;
        if (from >= to)
            continue;
        write_one(markup, entity, before + lm_utf16_units(text + begin, from - begin), lm_utf16_units(text + from, to - from), json);
        written++;
    }
}
