/* Server-sent events (the WHATWG's HTML standard, 9.2), written and read. */
#include "net.h"

#include <stdio.h>
#include <string.h>

int lm_event_append(struct lm_bytes *out, const char *event, const char *data, size_t length, loam_error *error)
{
    int code = event ? lm_bytes_format(out, error, "event: %s\n", event) : LOAM_OK;
    for (size_t at = 0; code == LOAM_OK && at <= length;) {
        const char *end = at < length ? memchr(data + at, '\n', length - at) : NULL;
        const size_t line = end ? (size_t)(end - data) - at : length - at;
        code = lm_bytes_append(out, "data: ", 6, error);
        if (code == LOAM_OK && line)
            code = lm_bytes_append(out, data + at, line, error);
        if (code == LOAM_OK)
            code = lm_bytes_append(out, "\n", 1, error);
        at += line + 1;
    }
    return code == LOAM_OK ? lm_bytes_append(out, "\n", 1, error) : code;
}

/* --- Reading --- */

static int finish_event(struct lm_event_reader *reader, loam_error *error)
{
    int code = LOAM_OK;
    if (reader->data.length) {
        reader->data.data[--reader->data.length] = 0;    /* the last line's end is none of it */
        code = reader->take(reader->user, reader->name[0] ? reader->name : "message", reader->data.data, reader->data.length, error);
    }
    reader->data.length = 0;
    reader->name[0] = 0;
    return code;
}

static bool field_is(const char *line, size_t length, const char *name)
{
    return length == strlen(name) && !memcmp(line, name, length);
}

static int finish_line(struct lm_event_reader *reader, loam_error *error)
{
    const char *line = reader->line.data ? reader->line.data : "";
    const size_t length = reader->line.length;
    if (!length)
        return finish_event(reader, error);
    const char *colon = memchr(line, ':', length);
    const size_t name = colon ? (size_t)(colon - line) : length;
    const char *value = colon ? colon + 1 : line + length;
    size_t value_length = colon ? length - name - 1 : 0;
    if (value_length && *value == ' ')
        value++, value_length--;
    if (field_is(line, name, "event"))
        snprintf(reader->name, sizeof reader->name, "%.*s", (int)value_length, value);
    if (!field_is(line, name, "data"))
        return LOAM_OK;
    const int code = lm_bytes_append(&reader->data, value, value_length, error);
    return code == LOAM_OK ? lm_bytes_append(&reader->data, "\n", 1, error) : code;
}

/* A line ends in LF, CR or both; a mark of byte order may stand at the very beginning. */
int lm_event_feed(struct lm_event_reader *reader, const char *text, size_t length, loam_error *error)
{
    static const char mark[] = "\xef\xbb\xbf";
    int code = LOAM_OK;
    for (size_t at = 0; at < length && code == LOAM_OK;) {
        if (reader->after_cr && text[at] == '\n')
            at++;
        reader->after_cr = false;
        size_t end = at;
        while (end < length && text[end] != '\n' && text[end] != '\r')
            end++;
        if (reader->line.length + reader->data.length + (end - at) > reader->most)
            return lm_fail(error, LOAM_EFORMAT, "an event longer than %zu bytes", reader->most);
        code = lm_bytes_append(&reader->line, text + at, end - at, error);
        if (code == LOAM_OK && !reader->begun && reader->line.length >= 3) {
            reader->begun = true;
            if (!memcmp(reader->line.data, mark, 3))
                memmove(reader->line.data, reader->line.data + 3, (reader->line.length -= 3) + 1);
        }
        at = end;
        if (code != LOAM_OK || end == length)
            break;
        reader->after_cr = text[at++] == '\r';
        reader->begun = true;
        code = finish_line(reader, error);
        reader->line.length = 0;
    }
    return code;
}

void lm_event_reader_free(struct lm_event_reader *reader)
{
    lm_bytes_free(&reader->line);
    lm_bytes_free(&reader->data);
}
