/* Base64. */
#include "base64.h"

static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool lm_base64_read(const char *text, size_t length, struct lm_bytes *out, loam_error *error)
{
    size_t padding = length && text[length - 1] == '=' ? 1 + (length > 1 && text[length - 2] == '=') : 0;
    if (length % 4 || lm_bytes_reserve(out, length / 4 * 3, error) != LOAM_OK)
        return false;
    for (size_t i = 0; i < length; i += 4) {
        const size_t missing = i + 4 == length ? padding : 0;
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            const int value = k < 4 - missing ? value_of(text[i + k]) : 0;
            if (value < 0)
                return false;
            bits = bits << 6 | (uint32_t)value;
        }
        if ((missing == 1 && bits & 0xFF) || (missing == 2 && bits & 0xFFFF))
            return false;
        const char bytes[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
        if (lm_bytes_append(out, bytes, 3 - missing, error) != LOAM_OK)
            return false;
    }
    return true;
}

int lm_base64_write(const void *data, size_t length, struct lm_bytes *out, loam_error *error)
{
    const unsigned char *bytes = data;
    int code = lm_bytes_reserve(out, (length + 2) / 3 * 4 + 1, error);
    for (size_t i = 0; code == LOAM_OK && i < length; i += 3) {
        const size_t there = length - i < 3 ? length - i : 3;
        const uint32_t bits =
            (uint32_t)bytes[i] << 16 | (there > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) | (there > 2 ? bytes[i + 2] : 0);
        const char text[4] = {LETTERS[bits >> 18], LETTERS[bits >> 12 & 63], there > 1 ? LETTERS[bits >> 6 & 63] : '=',
                              there > 2 ? LETTERS[bits & 63] : '='};
        code = lm_bytes_append(out, text, 4, error);
    }
    return code;
}
