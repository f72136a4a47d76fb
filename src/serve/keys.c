/* API keys. */
#include "internal.h"

#include <string.h>

enum { MOST_KEY_FILE = 1 << 20 };

int keys_read(const char *path, struct keys *keys, loam_error *error)
{
    struct lm_bytes file = {0};
    int code = lm_file_read(path, MOST_KEY_FILE, &file, error);
    for (size_t at = 0; code == LOAM_OK && at < file.length;) {
        const char *line = file.data + at, *end = memchr(line, '\n', file.length - at);
        size_t length = end ? (size_t)(end - line) : file.length - at;
        at += length + 1;
        while (length && strchr(" \t\r", line[length - 1]))
            length--;
        while (length && (*line == ' ' || *line == '\t'))
            line++, length--;
        if (!length || *line == '#')
            continue;
        code = lm_bytes_append(&keys->text, line, length, error);
        if (code == LOAM_OK)
            code = lm_bytes_append(&keys->text, "", 1, error);
    }
    lm_bytes_free(&file);
    keys->wanted = true;
    if (code == LOAM_OK && !keys->text.length)
        return lm_fail(error, LOAM_EUSAGE, "%s: no key in it; write one a line, or leave --keys away to let everybody in", path);
    return code;
}

/* Looks at all of them, so that the time tells nothing of which one came near. */
bool keys_hold(const struct keys *keys, const char *given)
{
    const size_t given_length = strlen(given);
    bool found = false;
    for (size_t at = 0; at < keys->text.length;) {
        const char *key = keys->text.data + at;
        const size_t length = strlen(key);
        found |= lm_secret_equal(key, length, given, given_length);
        at += length + 1;
    }
    return found;
}

void keys_free(struct keys *keys)
{
    if (keys->text.data)
        explicit_bzero(keys->text.data, keys->text.length);
    lm_bytes_free(&keys->text);
}
