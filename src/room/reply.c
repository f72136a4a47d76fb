/* An answer as it comes: a pass, the words, or the place from which on it speaks for another. */
#include "protocol.h"

#include <stdio.h>
#include <string.h>

enum { TAG_BYTES = 256 };    /* a tag that is not closed within so many bytes is none */

static size_t blanks(const char *text, size_t length)
{
    size_t count = 0;
    while (count < length && strchr(" \t\r\n", text[count]) && text[count])
        count++;
    return count;
}

static void drop(struct lm_bytes *held, size_t count)
{
    memmove(held->data, held->data + count, held->length - count + 1);
    held->length -= count;
}

/* --- PASS --- */

enum pass { PASS_NO, PASS_YES, PASS_OPEN };

static bool ornament(char c)
{
    return c && strchr(" \t\r\n*_\"'`([{<~>-", c);
}

static bool word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80 || c == '\'';
}

/* Typographic quotation marks and dashes are no words: “PASS” — as I said. */
static size_t long_mark(const char *text, size_t length)
{
    return length >= 3 && !memcmp(text, "\xe2\x80", 2) && (unsigned char)text[2] >= 0x90 && (unsigned char)text[2] <= 0xA6 ? 3 : 0;
}

static size_t ornaments(const char *text, size_t length)
{
    size_t at = 0;
    for (size_t size; at < length; at += size)
        if (!(size = ornament(text[at]) ? 1 : long_mark(text + at, length - at)))
            break;
    return at;
}

/* In capitals PASS is one whatever follows it as an explanation; in other letters only where nothing else is said. */
static enum pass is_pass(const char *text, size_t length, bool all)
{
    static const char word[] = "PASS";
    size_t at = ornaments(text, length), same = 0;
    bool capitals = true;
    if (at < length && length - at < 3 && !memcmp(text + at, "\xe2\x80", length - at < 2 ? 1 : 2))
        return all ? PASS_NO : PASS_OPEN;
    for (; same < 4 && at + same < length && (text[at + same] & ~0x20) == word[same]; same++)
        capitals = capitals && text[at + same] == word[same];
    at += same;
    if (same < 4)
        return at == length && !all ? PASS_OPEN : PASS_NO;
    if (at == length)
        return all ? PASS_YES : PASS_OPEN;
    if (word_byte(text[at]) && !long_mark(text + at, length - at))
        return (unsigned char)text[at] == 0xE2 && length - at < 3 && !all ? PASS_OPEN : PASS_NO;
    if (text[at] == '-' || text[at] == '/') {    /* PASS/FAIL, PASS-through */
        if (at + 1 == length && !all)
            return PASS_OPEN;
        if (at + 1 < length && word_byte(text[at + 1]))
            return PASS_NO;
    }
    if (capitals)
        return PASS_YES;
    for (size_t size; at < length; at += size) {
        size = long_mark(text + at, length - at);
        if (!size && word_byte(text[at]))
            return (unsigned char)text[at] == 0xE2 && length - at < 3 && !all ? PASS_OPEN : PASS_NO;
        size = size ? size : 1;
    }
    return all ? PASS_YES : PASS_OPEN;
}

/* --- Tags --- */

/* Bytes of the own tag at `text`, which begins with a bracket at `inside`: "Name]", and a colon and blanks behind it. 0: another's. */
static size_t own_tag(const struct lm_reply *reply, const char *text, size_t length, size_t inside)
{
    char name[TAG_BYTES];
    const char *close = memchr(text + inside, ']', length - inside);
    if (!close)
        return 0;
    const size_t name_length = (size_t)(close - text) - inside;
    if (name_length >= sizeof name)
        return 0;
    memcpy(name, text + inside, name_length);
    name[name_length] = 0;
    if (!lm_same_name(name, reply->name))
        return 0;
    size_t at = (size_t)(close - text) + 1;
    if (at < length && text[at] == ':')
        at++;
    while (at < length && (text[at] == ' ' || text[at] == '\t'))
        at++;
    return at;
}

/* "[Ada]: " and "Ada: ", with which models begin as a play does. */
static size_t own_name(const struct lm_reply *reply, const char *text, size_t length)
{
    const size_t name = strlen(reply->name), bracket = length && text[0] == '[';
    if (length < name + 2 * bracket + 1 || memcmp(text + bracket, reply->name, name) || (bracket && text[1 + name] != ']'))
        return 0;
    size_t at = name + 2 * bracket;
    if (text[at] != ':')
        return 0;
    at++;
    return at + blanks(text + at, length - at);
}

static bool may_become_own_name(const struct lm_reply *reply, const char *text, size_t length)
{
    char begin[LM_NAME_BYTES + 4];
    snprintf(begin, sizeof begin, "[%s]:", reply->name);
    const size_t whole = strlen(begin);
    if (length < whole && !memcmp(text, begin, length))
        return true;
    snprintf(begin, sizeof begin, "%s:", reply->name);
    return length < whole - 2 && !memcmp(text, begin, length);
}

/* --- Lines --- */

/* What may begin a line. True: decided, the line's words come now. */
static bool line_begins(struct lm_reply *reply, bool all)
{
    struct lm_bytes *held = &reply->held;
    const size_t skip = blanks(held->data, held->length);
    const char *text = held->data + skip;
    const size_t length = held->length - skip;
    if (!length)
        return false;
    const size_t inside = lm_tag_begin(text, length);
    if (inside == 0)
        return true;
    const size_t near = length < TAG_BYTES ? length : TAG_BYTES;
    const bool closed = inside < near && memchr(text + inside, ']', near - inside);
    const size_t own = closed ? own_tag(reply, text, length, inside) : 0;
    if (!all && ((!closed && length < TAG_BYTES) || own == length))
        return false;
    if (!closed)
        return true;
    if (!own) {
        reply->cut = true;
        held->length = 0;
        return false;
    }
    memmove(held->data + skip, held->data + skip + own, held->length - skip - own + 1);
    held->length -= own;
    return line_begins(reply, all);
}

/* Where the words end that can be given out now: before blanks at the end and an unfinished character. */
static size_t words_end(const struct lm_bytes *held, size_t line, bool all)
{
    size_t end = line;
    if (!all && end == held->length)
        end -= lm_utf8_unfinished(held->data, end);
    while (end && strchr(" \t\r\n", held->data[end - 1]))
        end--;
    return end;
}

/* Gives out what is decided of the line at hand; true: the line is through, and another has begun. */
static int give_line(struct lm_reply *reply, bool all, bool *more, loam_error *error)
{
    struct lm_bytes *held = &reply->held;
    const size_t lead = reply->begun ? 0 : blanks(held->data, held->length);
    *more = false;
    if (lead)
        drop(held, lead);
    const size_t lines = blanks(held->data, held->length);    /* of the lines before, which were kept back */
    const char *end = memchr(held->data + lines, '\n', held->length - lines);
    const size_t line = end ? (size_t)(end - held->data) : held->length, words = words_end(held, line, all);
    if (words > lines) {
        const int code = lm_harmless_piece(held->data, words, &reply->after_sign, &reply->out, error);
        if (code != LOAM_OK)
            return code;
        reply->begun = true;
        drop(held, words);
        reply->in_line = true;
    }
    if (end) {
        reply->in_line = false;
        *more = true;
    }
    return LOAM_OK;
}

/* What has been there from the beginning: a pass, the own name. True: neither, or over with. */
static bool beginning(struct lm_reply *reply, bool all)
{
    struct lm_bytes *held = &reply->held;
    const size_t skip = blanks(held->data, held->length);
    const char *text = held->data + skip;
    const size_t length = held->length - skip;
    if (!length)
        return false;
    const size_t name = own_name(reply, text, length);
    if (name) {
        drop(held, skip + name);
        return line_begins(reply, all) && beginning(reply, all);    /* a tag may stand behind the name */
    }
    const enum pass pass = is_pass(text, length, all);
    if (pass == PASS_YES) {
        reply->passing = true;
        held->length = 0;
        return false;
    }
    return pass == PASS_NO && (all || !may_become_own_name(reply, text, length));
}

static int work(struct lm_reply *reply, bool all, loam_error *error)
{
    bool more = true;
    int code = LOAM_OK;
    while (more && code == LOAM_OK && !reply->cut && !reply->passing && reply->held.length) {
        const size_t before = reply->held.length;
        if (memchr(reply->held.data, '\n', blanks(reply->held.data, before)))
            reply->in_line = false;
        if (!reply->in_line && !line_begins(reply, all))
            break;
        if (!reply->begun && !beginning(reply, all))
            break;
        code = give_line(reply, all, &more, error);
        more = more && reply->held.length < before;
    }
    return code;
}

int lm_reply_feed(struct lm_reply *reply, const char *text, size_t length, loam_error *error)
{
    if (reply->cut || reply->passing || reply->full)
        return LOAM_OK;
    if (reply->out.length + reply->held.length + length > LM_REPLY_BYTES) {
        reply->full = true;
        length = LM_REPLY_BYTES - (reply->out.length + reply->held.length);
    }
    const int code = lm_bytes_append(&reply->held, text, length, error);
    return code == LOAM_OK ? work(reply, false, error) : code;
}

/* "Nothing to add.\n\nPASS": a last line of that word alone. */
static bool ends_in_pass(const struct lm_bytes *out)
{
    const char *end = out->length ? memrchr(out->data, '\n', out->length) : NULL;
    return end && out->length < 400 && is_pass(end + 1, out->length - (size_t)(end + 1 - out->data), true) == PASS_YES &&
           memmem(end, out->length - (size_t)(end - out->data), "PASS", 4);
}

int lm_reply_finish(struct lm_reply *reply, loam_error *error)
{
    const int code = work(reply, true, error);
    reply->held.length = 0;
    if (code != LOAM_OK)
        return code;
    if (reply->passing || (reply->begun && ends_in_pass(&reply->out)))
        reply->verdict = LM_REPLY_PASSED;
    else
        reply->verdict = reply->out.length ? LM_REPLY_SAID : LM_REPLY_NOTHING;
    return LOAM_OK;
}

void lm_reply_free(struct lm_reply *reply)
{
    lm_bytes_free(&reply->out);
    lm_bytes_free(&reply->held);
}
