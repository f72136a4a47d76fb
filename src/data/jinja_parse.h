/* What the two halves of Jinja's parser share: expressions (jinja_expression.c) and blocks (jinja_parse.c). */
#ifndef LOAM_JINJA_PARSE_H
#define LOAM_JINJA_PARSE_H

#include "data/jinja_tree.h"

enum { JINJA_MOST_DEPTH = 100 };

struct parser {
    struct lm_jinja *jinja;
    const struct jinja_token *token;
    int depth;
    loam_error *error;
};

/* A list being filled. */
struct chain {
    struct jinja_node *first, **last;
};

int jinja_parse_fail(struct parser *p, const char *wanted);
int jinja_parse_make(struct parser *p, enum jinja_node_kind kind, size_t place, struct jinja_node **result);
void jinja_parse_chain_add(struct chain *chain, struct jinja_node *node);
bool jinja_parse_at_sign(const struct parser *p, const char *sign);
bool jinja_parse_at_name(const struct parser *p, const char *name);
bool jinja_parse_skip_sign(struct parser *p, const char *sign);
bool jinja_parse_skip_name(struct parser *p, const char *name);
int jinja_parse_want_sign(struct parser *p, const char *sign);
int jinja_parse_take_name(struct parser *p, struct jinja_text *name);
/* Behind "(", with ")". `declared`: names with defaults, as a macro has them. */
int jinja_parse_arguments(struct parser *p, bool declared, struct jinja_node **result);
/* Behind "|": *node becomes the filter on what it was. */
int jinja_parse_filter(struct parser *p, struct jinja_node **node);
/* `with_choice` false: what stands before "if" in a for. */
int jinja_parse_expression(struct parser *p, bool with_choice, struct jinja_node **result);

#endif
