/* Server-sent events (the WHATWG's HTML standard, 9.2), and secrets compared. */
#include "net.h"

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

bool lm_secret_equal(const char *secret, size_t secret_length, const char *given, size_t given_length)
{
    volatile unsigned char difference = secret_length != given_length;
    for (size_t i = 0; i < given_length; i++) {
        const unsigned char wanted = secret_length ? (unsigned char)secret[i % secret_length] : 0;
        difference = (unsigned char)(difference | (wanted ^ (unsigned char)given[i]));
    }
    return difference == 0;
}
