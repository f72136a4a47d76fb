/* SentencePiece's precompiled character map: what strings of characters are normalized to.
 *
 * Bytes: the size of the trie (32 bits, little-endian), the trie (a double array of 32-bit units, as darts-clone writes
 * it), the replacements, each with a 0 behind it. A map is not changed by being asked: any thread.
 */
#ifndef LOAM_TOKENIZER_CHARSMAP_H
#define LOAM_TOKENIZER_CHARSMAP_H

#include "base/base.h"

struct lm_charsmap;
/* From a base64 string of a tokenizer.json. */
int lm_charsmap_read(const struct lm_document *document, const struct lm_value *value, struct lm_charsmap **map,
                     loam_error *error);
void lm_charsmap_free(struct lm_charsmap *map);
/* What the shortest beginning of the text that is in the map becomes; NULL where there is none. */
const char *lm_charsmap_find(const struct lm_charsmap *map, const char *text, size_t length, size_t *mapped);
/* The same for the longest, with the bytes of the text that it takes. */
const char *lm_charsmap_longest(const struct lm_charsmap *map, const char *text, size_t length, size_t *taken,
                                size_t *mapped);

#endif
