/* GPT-2's byte alphabet. */
#include "byte_alphabet.h"

#include <string.h>

static bool stands_for_itself(unsigned byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

uint32_t lm_alphabet_character(unsigned char byte)
{
    if (stands_for_itself(byte))
        return byte;
    if (byte <= 32)
        return 256u + byte;
    return byte == 173 ? 323 : 256u + 33 + (byte - 127u);
}

int lm_alphabet_byte(uint32_t c)
{
    if (c < 256)
        return stands_for_itself(c) ? (int)c : -1;
    if (c <= 288)
        return (int)c - 256;
    if (c <= 322)
        return (int)c - 289 + 127;
    return c == 323 ? 173 : -1;
}

int lm_alphabet_write(struct lm_bytes *out, const char *text, size_t length, loam_error *error)
{
    int code = lm_bytes_reserve(out, length * 2 + 4, error);
    for (size_t i = 0; code == LOAM_OK && i < length; i++) {
        char bytes[4];
        size_t n = lm_utf8_encode(lm_alphabet_character((unsigned char)text[i]), bytes);
        code = lm_bytes_append(out, bytes, n, error);
    }
    return code;
}

bool lm_alphabet_read(const char *key, size_t length, char *out, size_t *written)
{
    size_t n = 0;
    for (size_t i = 0; i < length;) {
        unsigned char first = (unsigned char)key[i];
        if (first >= 33 && first <= 126) {
            out[n++] = key[i++];
            continue;
        }
        /* All others of the alphabet are two bytes long: U+00A1 to U+0143. */
        if (first < 0xC2 || first > 0xC5 || i + 1 >= length)
            return false;
        int byte = lm_alphabet_byte((first & 0x1Fu) << 6 | ((unsigned char)key[i + 1] & 0x3Fu));
        if (byte < 0)
            return false;
        out[n++] = (char)byte;
        i += 2;
    }
    *written = n;
    return true;
}

unsigned char lm_alphabet_nth(unsigned n)
{
    if (n < 94)
        return (unsigned char)(33 + n);
    if (n < 94 + 12)
        return (unsigned char)(161 + n - 94);
    if (n < 94 + 12 + 82)
        return (unsigned char)(174 + n - 106);
    return (unsigned char)lm_alphabet_byte(256 + n - 188);
}
