/* Base64 (RFC 4648, with padding), as tiktoken's rank files and precompiled character maps are written. Any thread. */
#ifndef LOAM_TOKENIZER_BASE64_H
#define LOAM_TOKENIZER_BASE64_H

#include "base/base.h"

/* Appends the bytes; false where the text is not base64 or memory runs out (`error` is filled only then). */
bool lm_base64_read(const char *text, size_t length, struct lm_bytes *out, loam_error *error);
int lm_base64_write(const void *data, size_t length, struct lm_bytes *out, loam_error *error);

#endif
