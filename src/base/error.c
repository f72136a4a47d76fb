/* Messages are built in a scratch buffer in the C locale, then cleaned: what came from a file or a command line
 * may hold anything, and a message is one line of UTF-8. */
#include "base.h"

#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *loam_status_name(int code)
{
    switch (code) {
#define STATUS_NAME(name, value, text) case value: return #name;
        LOAM_STATUS_LIST(STATUS_NAME)
#undef STATUS_NAME
    default:
        return "EUNKNOWN";
    }
}

const char *loam_status_text(int code)
{
    switch (code) {
#define STATUS_TEXT(name, value, text) case value: return text;
        LOAM_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
    default:
        return "an unknown status code";
    }
}

const char *loam_version(void)
{
    return LOAM_VERSION;
}

static bool is_control(uint32_t code_point)
{
    bool line_break = code_point == 0x2028 || code_point == 0x2029;
    bool direction = (code_point >= 0x202A && code_point <= 0x202E) || (code_point >= 0x2066 && code_point <= 0x2069);
    return code_point < 0x20 || (code_point >= 0x7F && code_point < 0xA0) || line_break || direction;
}

/* Copies `text` to `out` with what a terminal must not see as \xNN; cuts at whole characters. Returns the length. */
static size_t clean(const char *text, size_t length, char *out, size_t room)
{
    size_t used = 0;
    for (size_t i = 0; i < length;) {
        uint32_t code_point = 0;
        size_t width = lm_utf8_decode(text + i, length - i, &code_point);
        bool bad = width == 0 || is_control(code_point);
        size_t bytes = width == 0 ? 1 : width;
        size_t needed = bad ? 4 * bytes : bytes;
        if (used + needed + 1 > room)
            break;
        for (size_t k = 0; k < bytes; k++) {
            if (bad) {
                static const char digits[] = "0123456789abcdef";
                unsigned char byte = (unsigned char)text[i + k];
                out[used++] = '\\';
                out[used++] = 'x';
                out[used++] = digits[byte >> 4];
                out[used++] = digits[byte & 15];
            } else {
                out[used++] = text[i + k];
            }
        }
        i += bytes;
    }
    out[used] = 0;
    return used;
}

static size_t format_c(char *out, size_t room, const char *format, va_list arguments)
{
    int length = lm_format_list(out, room, format, arguments);
    if (length < 0)
        length = 0;
    return (size_t)length < room ? (size_t)length : room - 1;
}

static void fill(loam_error *error, int code, int64_t position, const char *tail, const char *format, va_list arguments)
{
    char raw[sizeof error->message];
    size_t length = format_c(raw, sizeof raw, format, arguments);
    char message[sizeof error->message];
    size_t used = clean(raw, length, message, sizeof message);
    used += clean(tail, strlen(tail), message + used, sizeof message - used);
    memcpy(error->message, message, used + 1);
    error->code = code;
    error->position = position;
}

int lm_fail(loam_error *error, int code, const char *format, ...)
{
    if (!error)
        return code;
    va_list arguments;
    va_start(arguments, format);
    fill(error, code, -1, "", format, arguments);
    va_end(arguments);
    return code;
}

int lm_fail_at(loam_error *error, int code, int64_t position, const char *format, ...)
{
    if (!error)
        return code;
    va_list arguments;
    va_start(arguments, format);
    fill(error, code, position, "", format, arguments);
    va_end(arguments);
    return code;
}

static int code_of_errno(int errno_value)
{
    switch (errno_value) {
    case ENOENT:
        return LOAM_ENOTFOUND;
    case ENOSPC:
    case EDQUOT:
        return LOAM_ENOSPACE;
    case ENOMEM:
        return LOAM_ENOMEM;
    default:
        return LOAM_EIO;
    }
}

int lm_fail_errno(loam_error *error, int errno_value, const char *format, ...)
{
    int code = code_of_errno(errno_value);
    if (!error)
        return code;
    char text[160], tail[170];
    const char *reason = strerror_l(errno_value, newlocale(LC_ALL_MASK, "C", (locale_t)0));
    snprintf(text, sizeof text, "%s", reason ? reason : "unknown error");
    snprintf(tail, sizeof tail, ": %s", text);
    va_list arguments;
    va_start(arguments, format);
    fill(error, code, -1, tail, format, arguments);
    va_end(arguments);
    return code;
}

int lm_fail_within(loam_error *error, int code, const char *format, ...)
{
    if (!error)
        return code;
    char before[sizeof error->message + 2] = ": ";
    size_t length = strnlen(error->message, sizeof error->message - 1);
    memcpy(before + 2, error->message, length);
    before[2 + length] = 0;
    va_list arguments;
    va_start(arguments, format);
    fill(error, error->code, error->position, before, format, arguments);
    va_end(arguments);
    return error->code;
}
