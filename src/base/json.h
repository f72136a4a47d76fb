/* JSON and YAML read into one tree, with the place of every value; and a JSON writer.
 *
 *     struct lm_document *config;
 *     int64_t layers;
 *     if (lm_json_read("model/config.json", &config, error)) return error->code;
 *     const struct lm_value *root = lm_document_root(config);
 *     if (lm_value_int(config, lm_value_find(root, "num_hidden_layers"), 1, 1000, &layers, error)) ...
 *     lm_document_free(config);
 *
 * Parsing is by yajl (JSON: several times faster than jansson on a 9 MB tokenizer.json) and libyaml. Limits: 512 levels,
 * input 1 GiB. Invalid UTF-8, a repeated key, text behind the value: LOAM_EFORMAT with line and column.
 * A document owns its values; reading it from several threads is fine.
 */
#ifndef LOAM_BASE_JSON_H
#define LOAM_BASE_JSON_H

#include "memory.h"

enum lm_value_kind { LM_NULL, LM_TRUTH, LM_NUMBER, LM_STRING, LM_ARRAY, LM_OBJECT };

struct lm_value {
    enum lm_value_kind kind;
    bool truth;                     /* LM_TRUTH */
    const char *text;               /* LM_STRING: UTF-8, may hold 0 bytes; LM_NUMBER: its digits. 0 behind it */
    size_t length;                  /* bytes of text; number of items or members */
    const struct lm_value *items;   /* LM_ARRAY: items; LM_OBJECT: the members' values */
    const struct lm_value *keys;    /* LM_OBJECT: the members' keys (LM_STRING), in the file's order */
    int64_t position;               /* byte offset in the input */
};

struct lm_document;
/* `name` is what messages call the input. */
int lm_json_parse(const char *text, size_t length, const char *name, struct lm_document **document, loam_error *error);
/* The same for a line of a larger text, e.g. of JSONL: places in messages are NAME:`line`:COLUMN. */
int lm_json_parse_line(const char *text, size_t length, const char *name, int64_t line, struct lm_document **document,
                       loam_error *error);
int lm_json_read(const char *path, struct lm_document **document, loam_error *error);
int lm_yaml_parse(const char *text, size_t length, const char *name, struct lm_document **document, loam_error *error);
int lm_yaml_read(const char *path, struct lm_document **document, loam_error *error);
void lm_document_free(struct lm_document *document);
const struct lm_value *lm_document_root(const struct lm_document *document);

/* The member's value, or NULL: not an object, or no such key. */
const struct lm_value *lm_value_find(const struct lm_value *object, const char *key);
/* The value as a type, or an error "FILE:LINE:COLUMN: PATH.TO.FIELD: found ..., wanted ...". A NULL value gives "missing"
 * without a place: use lm_value_find first where a field may be absent. Strings point into the document. */
int lm_value_int(const struct lm_document *document, const struct lm_value *value, int64_t least, int64_t most,
                 int64_t *result, loam_error *error);
int lm_value_double(const struct lm_document *document, const struct lm_value *value, double *result, loam_error *error);
int lm_value_bool(const struct lm_document *document, const struct lm_value *value, bool *result, loam_error *error);
int lm_value_string(const struct lm_document *document, const struct lm_value *value, const char **result, loam_error *error);
bool lm_value_is(const struct lm_value *value, const char *text);      /* a string equal to text */
/* Any complaint about a value: code LOAM_EFORMAT, prefixed "FILE:LINE:COLUMN: PATH: ". `value` may be NULL. */
int lm_value_fail(const struct lm_document *document, const struct lm_value *value, loam_error *error,
                  const char *format, ...) LM_PRINTF(4, 5);

/* Writes JSON into a growing buffer. Errors stick and show at lm_json_writer_finish. Strings that are not UTF-8
 * are written with U+FFFD for the bad bytes; numbers that are not finite as null. */
struct lm_json_writer {
    struct lm_bytes *out;
    int depth, indent;       /* indent: spaces a level, 0 for one line, -1 for one without blanks */
    bool comma, after_key, failed;
};
struct lm_json_writer lm_json_writer(struct lm_bytes *out, int indent);
void lm_json_begin_object(struct lm_json_writer *writer);
void lm_json_end_object(struct lm_json_writer *writer);
void lm_json_begin_array(struct lm_json_writer *writer);
void lm_json_end_array(struct lm_json_writer *writer);
void lm_json_key(struct lm_json_writer *writer, const char *key);
void lm_json_key_text(struct lm_json_writer *writer, const char *key, size_t length);   /* may hold 0 bytes */
void lm_json_string(struct lm_json_writer *writer, const char *text, size_t length);
void lm_json_text(struct lm_json_writer *writer, const char *text);
void lm_json_int(struct lm_json_writer *writer, int64_t value);
void lm_json_double(struct lm_json_writer *writer, double value);
void lm_json_bool(struct lm_json_writer *writer, bool value);
void lm_json_null(struct lm_json_writer *writer);
void lm_json_value(struct lm_json_writer *writer, const struct lm_value *value);   /* a read value as it was */
int lm_json_writer_finish(struct lm_json_writer *writer, loam_error *error);

#endif
