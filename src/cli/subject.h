/* The model, its tokenizer and the sequence that look and learn are about.
 *
 *     struct subject subject;
 *     if (subject_open(arguments, false, &subject, &error) != LOAM_OK) return complain_error(&error);
 *     lm_look_attention(&subject.look, &choice, &page, &error);
 *     subject_close(&subject);
 */
#ifndef LOAM_CLI_SUBJECT_H
#define LOAM_CLI_SUBJECT_H

#include "common.h"
#include "look/look.h"

struct subject {
    struct lm_subject look;
    struct lm_device *device;
    struct lm_tokenizer *tokenizer;     /* NULL: the model has none, and --ids was given */
    struct lm_ids ids;
};
/* MODEL is the first operand; the sequence is --ids as they stand, or --sentence with the special tokens that the tokenizer puts
 * around a text. `load`: the weights in fp32 and in memory, as training has them. On failure nothing is left open. */
int subject_open(const struct arguments *arguments, bool load, struct subject *subject, loam_error *error);
void subject_close(struct subject *subject);
/* --sentence, or standard input where it is "-" (appended). */
int read_sentence(const struct arguments *arguments, struct lm_bytes *text, loam_error *error);

#endif
