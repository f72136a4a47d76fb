/* API keys. */
#include "internal.h"

#include <string.h>

struct reading {
    struct keys *keys;
    loam_error *error;
};

static int take_key(void *user, const char *line, size_t length, int64_t number)
{
    const struct reading *reading = user;
    (void)number;
    const int code = lm_bytes_append(&reading->keys->text, line, length, reading->error);
    return code == LOAM_OK ? lm_bytes_append(&reading->keys->text, "", 1, reading->error) : code;
}

int keys_read(const char *path, struct keys *keys, loam_error *error)
{
    struct reading reading = {keys, error};
    const int code = lm_secret_lines(path, false, take_key, &reading, error);
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
    lm_bytes_wipe(&keys->text);
}
