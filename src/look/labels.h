/* Inside look: tokens as a person can read them.
 *
 *     char **labels;
 *     if (lm_labels_make(tokenizer, ids, count, &labels, error)) return error->code;
 *     labels[0]        // "·step": a blank is "·", a line's end "↵", a tab "→", what is no UTF-8 "\xNN"
 *     lm_free_strings(labels, (size_t)count);
 */
#ifndef LOAM_LOOK_LABELS_H
#define LOAM_LOOK_LABELS_H

#include "tokenizer/tokenizer.h"

/* Without a tokenizer, and for ids without a token: the id. */
int lm_labels_make(const struct lm_tokenizer *tokenizer, const int32_t *ids, int64_t count, char ***labels, loam_error *error);
/* One label from bytes (appended). */
int lm_label_write(const char *text, size_t length, struct lm_bytes *out, loam_error *error);

#endif
