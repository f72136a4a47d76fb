#include "base.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static locale_t c_locale(void)
{
    return newlocale(LC_ALL_MASK, "C", (locale_t)0);    /* glibc's own constant: nothing to free */
}

int lm_format_list(char *out, size_t room, const char *format, va_list arguments)
{
    const locale_t before = uselocale(c_locale());
    const int length = vsnprintf(out, room, format, arguments);
    uselocale(before);
    return length;
}

int lm_format(char *out, size_t room, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int length = lm_format_list(out, room, format, arguments);
    va_end(arguments);
    return length;
}

size_t lm_utf8_decode(const char *text, size_t length, uint32_t *code_point)
{
    if (length == 0)
        return 0;
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) {
        *code_point = s[0];
        return 1;
    }
    const size_t width = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (s[0] < 0xC2 || s[0] > 0xF4 || length < width)
        return 0;
    uint32_t value = s[0] & (0xFFu >> (width + 1));
    for (size_t i = 1; i < width; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (s[i] & 0x3F);
    }
    if (value < least[width] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return 0;
    *code_point = value;
    return width;
}

size_t lm_utf8_encode(uint32_t code_point, char out[4])
{
    if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF))
        return 0;
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    const size_t width = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = width - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code_point & 0x3F));
        code_point >>= 6;
    }
    out[0] = (char)(lead[width] | code_point);
    return width;
}

size_t lm_utf8_check(const char *text, size_t length)
{
    size_t i = 0;
    while (i < length) {
        uint64_t eight;
        if (i + sizeof eight <= length) {    /* most text is ASCII: eight at once */
            memcpy(&eight, text + i, sizeof eight);
            if ((eight & 0x8080808080808080u) == 0) {
                i += sizeof eight;
                continue;
            }
        }
        uint32_t code_point;
        size_t width = lm_utf8_decode(text + i, length - i, &code_point);
        if (width == 0)
            return i;
        i += width;
    }
    return length;
}

/* Could `have` bytes at `s` (a lead byte and what follows) begin a character of `width` bytes? The second byte
 * already decides between overlong forms, surrogates and characters. */
static bool may_begin(const unsigned char *s, size_t have, size_t width)
{
    if (have < 2)
        return true;
    if (s[0] == 0xE0 && s[1] < 0xA0)
        return false;
    if (s[0] == 0xED && s[1] > 0x9F)
        return false;
    if (s[0] == 0xF0 && s[1] < 0x90)
        return false;
    if (s[0] == 0xF4 && s[1] > 0x8F)
        return false;
    return have < width;
}

size_t lm_utf8_unfinished(const char *text, size_t length)
{
    const unsigned char *end = (const unsigned char *)text + length;
    for (size_t have = 1; have <= 3 && have <= length; have++) {
        const unsigned char *s = end - have;
        if ((s[0] & 0xC0) == 0x80)
            continue;
        if (s[0] < 0xC2 || s[0] > 0xF4)
            return 0;
        const size_t width = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
        return have < width && may_begin(s, have, width) ? have : 0;
    }
    return 0;
}

int lm_utf8_width(uint32_t code_point)
{
    if (code_point > 0x10FFFF)
        return 0;
    int width = utf8proc_charwidth((utf8proc_int32_t)code_point);
    return width < 0 ? 0 : width;
}

static const char *skip_digits(const char *s)
{
    while (*s >= '0' && *s <= '9')
        s++;
    return s;
}

int lm_parse_int(const char *text, int64_t *value, loam_error *error)
{
    const char *s = text;
    const bool negative = *s == '-';
    if (*s == '-' || *s == '+')
        s++;
    const char *end = skip_digits(s);
    if (end == s || *end)
        return lm_fail(error, LOAM_EUSAGE, "found '%s', wanted a whole number such as 2048", text);
    int64_t sum = 0;
    for (; s < end; s++) {
        const int digit = *s - '0';
        if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_sub_overflow(sum, digit, &sum))
            return lm_fail(error, LOAM_EUSAGE, "found '%s', which is too large; wanted at most 9223372036854775807", text);
    }
    if (!negative && sum == INT64_MIN)
        return lm_fail(error, LOAM_EUSAGE, "found '%s', which is too large; wanted at most 9223372036854775807", text);
    *value = negative ? sum : -sum;
    return LOAM_OK;
}

int lm_parse_unsigned(const char *text, uint64_t *value, loam_error *error)
{
    const char *end = skip_digits(text);
    if (end == text || *end)
        return lm_fail(error, LOAM_EUSAGE, "found '%s', wanted a whole number of at least 0 such as 2048", text);
    uint64_t sum = 0;
    for (const char *s = text; s < end; s++)
        if (__builtin_mul_overflow(sum, (uint64_t)10, &sum) || __builtin_add_overflow(sum, (uint64_t)(*s - '0'), &sum))
            return lm_fail(error, LOAM_EUSAGE, "found '%s', which is too large; wanted at most 18446744073709551615", text);
    *value = sum;
    return LOAM_OK;
}

/* Behind a decimal number such as -1.5e3, or NULL. */
static const char *skip_number(const char *s)
{
    if (*s == '-' || *s == '+')
        s++;
    const char *whole = skip_digits(s);
    size_t digits = (size_t)(whole - s);
    s = whole;
    if (*s == '.') {
        const char *fraction = skip_digits(s + 1);
        digits += (size_t)(fraction - s - 1);
        s = fraction;
    }
    if (digits == 0)
        return NULL;
    if (*s == 'e' || *s == 'E') {
        const char *power = s + 1;
        if (*power == '-' || *power == '+')
            power++;
        const char *end = skip_digits(power);
        if (end == power)
            return NULL;
        s = end;
    }
    return s;
}

int lm_parse_double(const char *text, double *value, loam_error *error)
{
    const char *end = skip_number(text);
    if (!end || *end)
        return lm_fail(error, LOAM_EUSAGE, "found '%s', wanted a number such as 0.5 or 1e-4", text);
    double result = strtod_l(text, NULL, c_locale());
    if (!isfinite(result))
        return lm_fail(error, LOAM_EUSAGE, "found '%s', which is too large for a number", text);
    *value = result;
    return LOAM_OK;
}

static const struct unit {
    const char *name;
    double bytes;
} units[] = {
    {"", 1}, {"B", 1},
    {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40},
    {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
};

int lm_parse_size(const char *text, int64_t *bytes, loam_error *error)
{
    const char *end = skip_number(text);
    if (!end || *text == '-')
        return lm_fail(error, LOAM_EUSAGE, "found '%s', wanted a size such as 24GiB, 512MiB or 4096", text);
    const char *name = *end == ' ' ? end + 1 : end;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(name, units[i].name) != 0)
            continue;
        if (units[i].bytes == 1 && skip_digits(text) == end)    /* every byte counts: not through a double */
            if (*name == 0)
                return lm_parse_int(text, bytes, error);
        double result = strtod_l(text, NULL, c_locale()) * units[i].bytes;
        if (!(result < 0x1p63))
            return lm_fail(error, LOAM_EUSAGE, "found '%s', which is too large for a size", text);
        *bytes = (int64_t)(result + 0.5);
        return LOAM_OK;
    }
    return lm_fail(error, LOAM_EUSAGE, "found '%s', wanted a size with the unit KiB, MiB, GiB, TiB, kB, MB, GB or TB", text);
}

static void format_shortest(double value, char out[32], bool single)
{
    if (!isfinite(value)) {
        snprintf(out, 32, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    const locale_t c = c_locale();
    const locale_t before = uselocale(c);
    const int most = single ? 9 : 17;    /* digits that always tell one number from its neighbours */
    for (int digits = single ? 6 : 15; digits <= most; digits++) {
        const bool whole = snprintf(out, 32, "%.*g", digits, value) < 32;
        const bool same = single ? strtof_l(out, NULL, c) == (float)value : strtod_l(out, NULL, c) == value;
        if (whole && same)
            break;
    }
    uselocale(before);
}

void lm_format_double(double value, char out[32])
{
    format_shortest(value, out, false);
}

void lm_format_float(float value, char out[32])
{
    format_shortest((double)value, out, true);
}

void lm_format_size(int64_t bytes, char out[32])
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    int unit = 0;
    while (fabs(value) >= 1023.95 && unit < 6) {
        value /= 1024;
        unit++;
    }
    const locale_t before = uselocale(c_locale());
    if (unit == 0)
        snprintf(out, 32, "%lld B", (long long)bytes);
    else
        snprintf(out, 32, "%.*f %s", fabs(value) < 9.995 ? 2 : 1, value, names[unit]);
    uselocale(before);
}
