/* Writing the description of a pipeline. */
#include "describe.h"

#include <string.h>

const char lm_blank[] = "\xE2\x96\x81";

void lm_put_text(struct lm_json_writer *json, const char *key, const char *text)
{
    lm_json_key(json, key);
    lm_json_text(json, text);
}

void lm_put_flag(struct lm_json_writer *json, const char *key, bool flag)
{
    lm_json_key(json, key);
    lm_json_bool(json, flag);
}

void lm_put_simple(struct lm_json_writer *json, const char *type, const char *key, const char *text)
{
    lm_json_begin_object(json);
    lm_put_text(json, "type", type);
    if (key)
        lm_put_text(json, key, text);
    lm_json_end_object(json);
}

static void put_pattern(struct lm_json_writer *json, const char *kind, const char *pattern)
{
    lm_json_key(json, "pattern");
    lm_json_begin_object(json);
    lm_put_text(json, kind, pattern);
    lm_json_end_object(json);
}

void lm_put_replace(struct lm_json_writer *json, const char *kind, const char *pattern, const char *content)
{
    lm_json_begin_object(json);
    lm_put_text(json, "type", "Replace");
    put_pattern(json, kind, pattern);
    lm_put_text(json, "content", content);
    lm_json_end_object(json);
}

void lm_put_split(struct lm_json_writer *json, const char *regex)
{
    lm_json_begin_object(json);
    lm_put_text(json, "type", "Split");
    put_pattern(json, "Regex", regex);
    lm_put_text(json, "behavior", "Isolated");
    lm_put_flag(json, "invert", false);
    lm_json_end_object(json);
}

static void put_byte_level(struct lm_json_writer *json, bool regex)
{
    lm_json_begin_object(json);
    lm_put_text(json, "type", "ByteLevel");
    lm_put_flag(json, "add_prefix_space", false);
    lm_put_flag(json, "trim_offsets", true);
    lm_put_flag(json, "use_regex", regex);
    lm_json_end_object(json);
}

void lm_put_byte_level_parts(struct lm_json_writer *json, const char *const *regexes, size_t count)
{
    lm_json_key(json, "pre_tokenizer");
    if (count)
        lm_begin_sequence(json, "pretokenizers");
    for (size_t i = 0; i < count; i++)
        lm_put_split(json, regexes[i]);
    put_byte_level(json, !count);
    if (count)
        lm_end_sequence(json);
    lm_json_key(json, "decoder");
    put_byte_level(json, true);
}

void lm_put_added(struct lm_json_writer *json, int64_t id, const char *content, size_t length, bool special)
{
    lm_json_begin_object(json);
    lm_json_key(json, "id");
    lm_json_int(json, id);
    lm_json_key(json, "content");
    lm_json_string(json, content, length);
    lm_put_flag(json, "single_word", false);
    lm_put_flag(json, "lstrip", false);
    lm_put_flag(json, "rstrip", false);
    lm_put_flag(json, "normalized", false);
    lm_put_flag(json, "special", special);
    lm_json_end_object(json);
}

void lm_begin_sequence(struct lm_json_writer *json, const char *key)
{
    lm_json_begin_object(json);
    lm_put_text(json, "type", "Sequence");
    lm_json_key(json, key);
    lm_json_begin_array(json);
}

void lm_end_sequence(struct lm_json_writer *json)
{
    lm_json_end_array(json);
    lm_json_end_object(json);
}
