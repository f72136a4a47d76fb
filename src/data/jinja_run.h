/* What the evaluating parts of the Jinja interpreter share. Every function gives a status; the error is in the run. */
#ifndef LOAM_JINJA_RUN_H
#define LOAM_JINJA_RUN_H

#include "data/jinja_tree.h"

enum { JINJA_MOST_RUNNING = 600 }; /* levels of calls, blocks, and values in each other: what the stack holds */

struct jinja_run {
    const struct lm_jinja *jinja;
    const struct lm_jinja_call *call;
    struct lm_jinja_pool pool;
    struct jinja_scope *scope, *top;
    struct lm_bytes *out;
    size_t written, most_written;
    int64_t steps; /* left */
    int depth, loops;
    size_t place; /* of the node being evaluated, for messages */
    enum { JUMP_NONE, JUMP_BREAK, JUMP_CONTINUE } jump;
    struct jinja_value captured; /* of CAPTURE */
    loam_error *error;
};
/* Arguments of a call, by place and by name. */
struct jinja_arguments {
    struct jinja_value *items;
    struct jinja_text *names; /* empty: by place, and those come first */
    size_t count, placed;
};
struct jinja_loop {
    struct jinja_list *items;
    size_t index;
    int depth;
    const struct jinja_node *node;
    struct jinja_scope *scope;
    struct jinja_value last; /* of loop.changed */
};

/* jinja_value.c */
int jinja_fail(struct jinja_run *run, const char *format, ...) LM_PRINTF(2, 3);  /* LOAM_EFORMAT */
int jinja_lacks(struct jinja_run *run, const char *format, ...) LM_PRINTF(2, 3); /* LOAM_EUNSUPPORTED */
int jinja_spend(struct jinja_run *run, size_t work); /* LOAM_EFORMAT when the steps are used up */
const char *jinja_kind_name(struct jinja_value value);
bool jinja_truth(struct jinja_value value);
struct jinja_value jinja_text_value(const char *data, size_t length);
struct jinja_value jinja_word(const char *text);
struct jinja_value jinja_whole(int64_t whole);
struct jinja_value jinja_truth_value(bool truth);
int jinja_copy(struct jinja_run *run, const char *data, size_t length, struct jinja_value *result);
int jinja_list_new(struct jinja_run *run, size_t capacity, struct jinja_value *result);
int jinja_push(struct jinja_run *run, struct jinja_list *list, struct jinja_value item);
int jinja_dict_new(struct jinja_run *run, struct jinja_value *result);
int jinja_put(struct jinja_run *run, struct jinja_dict *dict, struct jinja_value key, struct jinja_value value);
struct jinja_value *jinja_dict_find(const struct jinja_dict *dict, struct jinja_text key);
int jinja_equal(struct jinja_run *run, struct jinja_value a, struct jinja_value b, bool *equal);
int jinja_compare(struct jinja_run *run, struct jinja_value a, struct jinja_value b, int *order);
/* What a loop runs over: items of a list, keys of a mapping, characters of a text. */
int jinja_iterate(struct jinja_run *run, struct jinja_value value, struct jinja_list **items);
int jinja_length(struct jinja_run *run, struct jinja_value value, int64_t *length);
int jinja_contains(struct jinja_run *run, struct jinja_value inside, struct jinja_value item, bool *found);
int jinja_from_json(struct jinja_run *run, const struct lm_value *value, int depth, struct jinja_value *result);

/* jinja_write.c: as str(), as repr() and as json.dumps() write it. */
struct jinja_json {
    int indent; /* -1: one line */
    bool sort, ascii;
    struct jinja_text item, key; /* separators */
};
int jinja_write(struct jinja_run *run, struct jinja_value value, bool as_repr, struct lm_bytes *out);
int jinja_write_json(struct jinja_run *run, struct jinja_value value, const struct jinja_json *how, int level,
                     struct lm_bytes *out);
int jinja_string(struct jinja_run *run, struct jinja_value value, struct jinja_text *text); /* str() */

/* jinja_text.c: texts by characters. */
size_t jinja_count(struct jinja_text text);
size_t jinja_offset(struct jinja_text text, size_t characters); /* in bytes, at most the length */
bool jinja_blank(uint32_t c);
struct jinja_text jinja_strip(struct jinja_text text, const struct jinja_text *characters, bool left, bool right);
bool jinja_find(struct jinja_run *run, struct jinja_text text, struct jinja_text part, size_t *place);
/* CASE_TITLE: str.title(), any letter behind what is none. CASE_WORDS: the filter, behind blanks, dashes and opening brackets alone. */
enum jinja_case { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_WORDS, CASE_CAPITAL };
int jinja_recase(struct jinja_run *run, struct jinja_text text, enum jinja_case how, struct jinja_value *result);
int jinja_replace(struct jinja_run *run, struct jinja_text text, struct jinja_text old, struct jinja_text new,
                  int64_t most, struct jinja_value *result);
int jinja_split(struct jinja_run *run, struct jinja_text text, const struct jinja_text *by, int64_t most,
                bool from_right, struct jinja_value *result);
int jinja_split_lines(struct jinja_run *run, struct jinja_text text, struct jinja_value *result);
int jinja_to_number(struct jinja_value value, bool whole,
                    struct jinja_value *result); /* LOAM_EFORMAT, without a message: none */

/* jinja_eval.c */
int jinja_eval(struct jinja_run *run, const struct jinja_node *node, struct jinja_value *result);
int jinja_attribute(struct jinja_run *run, struct jinja_value value, struct jinja_text name, bool item_first,
                    struct jinja_value *result);
int jinja_arguments(struct jinja_run *run, const struct jinja_node *list, struct jinja_arguments *arguments);
/* The argument at a place or of a name; false: not given. */
bool jinja_argument(const struct jinja_arguments *arguments, size_t place, const char *name, struct jinja_value *value);
int jinja_text_argument(struct jinja_run *run, const struct jinja_arguments *arguments, size_t place, const char *name,
                        struct jinja_text *text);
/* jinja_call.c, jinja_method.c, jinja_filter.c, jinja_test.c */
int jinja_call(struct jinja_run *run, struct jinja_value callee, const struct jinja_arguments *arguments,
               struct jinja_value *result);
bool jinja_has_method(struct jinja_value self, struct jinja_text name);
int jinja_call_method(struct jinja_run *run, const struct jinja_method *method, const struct jinja_arguments *arguments,
                      struct jinja_value *result);
bool jinja_is_function(struct jinja_text name);
int jinja_filter(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                 const struct jinja_arguments *arguments, struct jinja_value *result);
int jinja_test(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
               const struct jinja_arguments *arguments, bool *holds);
/* jinja_block.c */
int jinja_body(struct jinja_run *run, const struct jinja_node *body);
int jinja_define(struct jinja_run *run, struct jinja_scope *scope, struct jinja_text name, struct jinja_value value);
int jinja_scope_new(struct jinja_run *run, struct jinja_scope *parent, struct jinja_scope **scope);
/* A macro's or a loop's body, as text. */
int jinja_call_macro(struct jinja_run *run, const struct jinja_macro *macro, const struct jinja_arguments *arguments,
                     const struct jinja_value *caller, struct jinja_value *result);
int jinja_loop_again(struct jinja_run *run, const struct jinja_loop *loop, struct jinja_value items,
                     struct jinja_value *result);

#endif
