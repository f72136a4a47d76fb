/* Text: UTF-8 and numbers, in the C locale whatever the process's locale is. Any thread. */
#ifndef LOAM_BASE_TEXT_H
#define LOAM_BASE_TEXT_H

#include "memory.h"

#include <stdarg.h>

/* Length in bytes (1 to 4) of the character at text, with its code point; 0 where the bytes are not valid UTF-8
 * (overlong forms, surrogates and values past U+10FFFF are not) or `length` is 0. */
size_t lm_utf8_decode(const char *text, size_t length, uint32_t *code_point);
/* Writes up to 4 bytes, returns their number; 0 for a value that is no character. */
size_t lm_utf8_encode(uint32_t code_point, char out[4]);
/* Offset of the first byte that is not valid, or `length`. */
size_t lm_utf8_check(const char *text, size_t length);
/* How many of the last bytes are an unfinished character that more bytes could complete (0 to 3). */
size_t lm_utf8_unfinished(const char *text, size_t length);
/* Columns in a terminal: 0, 1 or 2. */
int lm_utf8_width(uint32_t code_point);

/* The whole text must be the number. Sizes: "24GiB", "512MiB", "2KiB", "100MB" (decimal), "4096". */
int lm_parse_int(const char *text, int64_t *value, loam_error *error);
int lm_parse_unsigned(const char *text, uint64_t *value, loam_error *error);    /* "18446744073709551615"; no sign */
int lm_parse_double(const char *text, double *value, loam_error *error);
int lm_parse_size(const char *text, int64_t *bytes, loam_error *error);
/* Shortest digits that read back as the same double (float): "0.1", "1e-05", "3". At most 32 bytes with the 0. */
void lm_format_double(double value, char out[32]);
void lm_format_float(float value, char out[32]);
/* As vsnprintf and snprintf do, numbers with a point whatever the process's locale is. */
int lm_format_list(char *out, size_t room, const char *format, va_list arguments);
int lm_format(char *out, size_t room, const char *format, ...) LM_PRINTF(3, 4);
/* "1.24 GiB", "512 B", "17.0 MiB". */
void lm_format_size(int64_t bytes, char out[32]);

#endif
