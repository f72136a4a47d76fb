/* What the parts of the Jinja interpreter share: memory, values, the tree. */
#ifndef LOAM_JINJA_TREE_H
#define LOAM_JINJA_TREE_H

#include "data/jinja.h"

#include <string.h>

/* Memory that is freed all at once. */
struct lm_jinja_pool {
    struct chunk *chunks;
    size_t used, size;   /* of the newest chunk */
    size_t total, limit; /* of all; 0: no limit */
    bool over;           /* the limit was met: the error says so with LOAM_EFORMAT */
};
/* Zeroed, aligned for any value; NULL after filling the error. */
void *lm_jinja_take(struct lm_jinja_pool *pool, size_t bytes, loam_error *error);
void lm_jinja_pool_free(struct lm_jinja_pool *pool);

enum jinja_kind {
    J_UNDEFINED,
    J_NONE,
    J_TRUTH,
    J_WHOLE,
    J_NUMBER,
    J_TEXT,
    J_LIST,
    J_DICT,
    J_NAMESPACE,
    J_LOOP,
    J_MACRO,
    J_METHOD,
    J_FUNCTION
};
struct jinja_text {
    const char *data;
    size_t length;
};
struct jinja_value {
    enum jinja_kind kind;
    union {
        bool truth;
        int64_t whole;
        double number;
        struct jinja_text text; /* TEXT; UNDEFINED and FUNCTION: the name; UTF-8 */
        struct jinja_list *list;
        struct jinja_dict *dict; /* DICT, NAMESPACE */
        struct jinja_loop *loop;
        struct jinja_macro *macro;
        struct jinja_method *method;
    } as;
};
struct jinja_list {
    struct jinja_value *items;
    size_t count, capacity;
    bool tuple; /* is written with parentheses */
};
struct jinja_dict {
    struct jinja_value *keys, *values;
    size_t count, capacity;
};
struct jinja_method { /* a method that is not called yet */
    struct jinja_value self;
    struct jinja_text name;
};
struct jinja_macro {
    const struct jinja_node *node; /* MACRO or CALL_BLOCK; NULL: a loop to be called again */
    struct jinja_scope *scope;     /* where it was written */
};
struct jinja_scope {
    struct jinja_scope *parent;
    struct jinja_name *names;
};
struct jinja_name {
    struct jinja_text name;
    struct jinja_value value;
    struct jinja_name *next;
};

enum jinja_node_kind {
    /* statements */
    N_DATA,
    N_OUTPUT,
    N_IF,
    N_FOR,
    N_SET,
    N_SET_BLOCK,
    N_MACRO,
    N_CALL_BLOCK,
    N_FILTER_BLOCK,
    N_BREAK,
    N_CONTINUE,
    N_GENERATION,
    N_WITH,
    /* expressions */
    N_CONSTANT,
    N_NAME,
    N_LIST,
    N_DICT,
    N_ATTRIBUTE,
    N_ITEM,
    N_SLICE,
    N_CALL,
    N_FILTER,
    N_TEST,
    N_NEGATIVE,
    N_POSITIVE,
    N_NOT,
    N_AND,
    N_OR,
    N_COMPARE,
    N_BINARY,
    N_CHOICE,
    N_ARGUMENT,
    N_CAPTURE
};
enum jinja_operator {
    O_ADD,
    O_SUBTRACT,
    O_MULTIPLY,
    O_DIVIDE,
    O_FLOOR,
    O_MODULO,
    O_POWER,
    O_JOIN,
    O_EQUAL,
    O_UNEQUAL,
    O_LESS,
    O_MOST,
    O_GREATER,
    O_LEAST,
    O_IN,
    O_NOT_IN
};
/* DATA name; OUTPUT a; IF a, list, b the next elif, other; FOR a in b if c, list, other, flag: recursive; SET a = b;
 * SET_BLOCK a, list, b on CAPTURE; MACRO name, list of ARGUMENT, other; CALL_BLOCK a, list of ARGUMENT, other;
 * FILTER_BLOCK b on CAPTURE, list; WITH list of SET, other; CONSTANT value; LIST list, flag: a tuple; DICT list, keys
 * and values in turn; ATTRIBUTE a . name; ITEM a [b]; SLICE a[b:c:d]; CALL a (list); FILTER a | name (list); TEST a is
 * name (list), flag: not; COMPARE a, list of ARGUMENT operator a; BINARY a operator b; CHOICE a if b else c; ARGUMENT
 * name (empty: by place) = a. */
struct jinja_node {
    enum jinja_node_kind kind;
    enum jinja_operator operator;
    bool flag;
    size_t place;
    struct jinja_text name;
    struct jinja_value value;
    struct jinja_node *a, *b, *c, *d, *list, *other, *next;
};

struct lm_jinja {
    char *name, *source; /* line ends are \n */
    size_t length;
    char *original; /* as given */
    size_t original_length;
    struct lm_jinja_pool pool;
    struct jinja_node *body;
};

enum jinja_token_kind {
    T_DATA,
    T_OUTPUT_BEGIN,
    T_OUTPUT_END,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_NAME,
    T_TEXT,
    T_WHOLE,
    T_NUMBER,
    T_SIGN,
    T_END
};
struct jinja_token {
    enum jinja_token_kind kind;
    size_t place;
    struct jinja_text text; /* DATA, NAME, TEXT (escapes read), SIGN ("==") */
    int64_t whole;
    double number;
};
struct jinja_tokens {
    struct jinja_token *data;
    size_t count, capacity;
};
int lm_jinja_lex(struct lm_jinja *jinja, struct jinja_tokens *tokens, loam_error *error);
/* "NAME:LINE:COLUMN: " and the message. */
int lm_jinja_fail(const struct lm_jinja *jinja, size_t place, int code, loam_error *error, const char *format, ...)
    LM_PRINTF(5, 6);

static inline bool jinja_is(struct jinja_text text, const char *other)
{
    return text.length == strlen(other) && !memcmp(text.data, other, text.length);
}
#define JINJA_SHOW(text) (int)((text).length < 60 ? (text).length : 60), (text).data

#endif
