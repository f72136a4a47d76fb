/* GPT-2's way of writing bytes as visible characters: 33-126, 161-172 and 174-255 stand for themselves, the other 68
 * bytes for U+0100 onward in byte order. Facts: openai/gpt-2, encoder.py. Any thread. */
#ifndef LOAM_TOKENIZER_BYTE_ALPHABET_H
#define LOAM_TOKENIZER_BYTE_ALPHABET_H

#include "base/base.h"

uint32_t lm_alphabet_character(unsigned char byte);
/* The byte a character stands for, or -1. */
int lm_alphabet_byte(uint32_t code_point);
/* Appends `text` written in the alphabet. */
int lm_alphabet_write(struct lm_bytes *out, const char *text, size_t length, loam_error *error);
/* Reads a key into `out` (room for `length` bytes); false where a character is not of the alphabet. */
bool lm_alphabet_read(const char *key, size_t length, char *out, size_t *written);
/* The byte whose character is the n-th smallest: the order of ids in GPT-2's vocabulary. */
unsigned char lm_alphabet_nth(unsigned n);

#endif
