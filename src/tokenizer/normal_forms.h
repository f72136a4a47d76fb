/* Unicode's normal forms, segment by segment (Unicode Standard Annex 15), without quadratic time.
 *
 * A segment begins at a character that nothing before it can change and ends before the next such one.
 */
#ifndef LOAM_TOKENIZER_NORMAL_FORMS_H
#define LOAM_TOKENIZER_NORMAL_FORMS_H

#include "base/base.h"

enum lm_form { LM_NFC, LM_NFD, LM_NFKC, LM_NFKD };

/* Whether the character begins a segment in every form: its decomposition begins with a starter that composes with
 * nothing before it. */
bool lm_form_begins(uint32_t code_point);
/* Whether the character alone stays as it is. */
bool lm_form_keeps(enum lm_form form, uint32_t code_point);
/* Normalizes `count` code points of one segment, in place; there is room for 18 times as many (the longest
 * decomposition). Returns the new number. `scratch` has as much room. */
size_t lm_form_segment(enum lm_form form, int32_t *points, size_t count, int32_t *scratch);
enum { LM_FORM_GROWTH = 18 };

#endif
