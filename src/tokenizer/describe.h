/* Writing the description of a pipeline as tokenizer.json has it: what readers of all other formats make first, so that
 * every tokenizer has one description only and can be saved.
 *
 *     struct lm_json_writer json = lm_json_writer(&text, -1);
 *     lm_json_begin_object(&json);
 *     lm_put_byte_level_parts(&json, patterns, 1);
 *     ...
 *
 * Errors stick to the writer.
 */
#ifndef LOAM_TOKENIZER_DESCRIBE_H
#define LOAM_TOKENIZER_DESCRIBE_H

#include "base/base.h"

enum { LM_SPLITS_MOST = 4 };
extern const char lm_blank[]; /* U+2581, SentencePiece's blank */

void lm_put_text(struct lm_json_writer *json, const char *key, const char *text);
void lm_put_flag(struct lm_json_writer *json, const char *key, bool flag);
/* {"type": type, key: text}; without a key only the type. */
void lm_put_simple(struct lm_json_writer *json, const char *type, const char *key, const char *text);
/* {"type": "Replace", …}; `kind` is "String" or "Regex". */
void lm_put_replace(struct lm_json_writer *json, const char *kind, const char *pattern, const char *content);
void lm_put_split(struct lm_json_writer *json, const char *regex);
/* Members pre_tokenizer and decoder of byte-level BPE: split by each regular expression in turn; none: GPT-2's. */
void lm_put_byte_level_parts(struct lm_json_writer *json, const char *const *regexes, size_t count);
/* An item of added_tokens, matched as it stands. */
void lm_put_added(struct lm_json_writer *json, int64_t id, const char *content, size_t length, bool special);
/* {"type": "Sequence", key: [ … ended by lm_end_sequence. */
void lm_begin_sequence(struct lm_json_writer *json, const char *key);
void lm_end_sequence(struct lm_json_writer *json);

#endif
