/* Inside base only: how json.c and yaml.c build a document.
 *
 *     struct lm_tree tree;
 *     lm_tree_begin(&tree, name, 1, &text, error);           // takes the text over
 *     lm_tree_open(&tree, position);                          // [ or {
 *     lm_tree_leaf(&tree, &value) ...                         // keys are leaves too
 *     lm_tree_close(&tree, LM_ARRAY);                         // ] or }
 *     lm_tree_end(&tree, &document);
 *
 * Every function returns a status and fills the error given at the start. After a failure only lm_tree_abandon. */
#ifndef LOAM_BASE_TREE_H
#define LOAM_BASE_TREE_H

#include "json.h"

enum { LM_TREE_LEVELS = 512, LM_TREE_INPUT = 1 << 30 };

struct lm_tree {
    struct lm_document *document;
    loam_error *error;
    struct lm_value *stack;    /* values whose container is still open */
    size_t count, capacity;
    size_t levels[LM_TREE_LEVELS];    /* where in the stack each open container's members begin */
    int64_t starts[LM_TREE_LEVELS];
    int depth;
};

/* `text` is moved into the document (and emptied), also on failure. `line`: the number of its first line. */
int lm_tree_begin(struct lm_tree *tree, const char *name, int64_t line, struct lm_bytes *text, loam_error *error);
int lm_tree_leaf(struct lm_tree *tree, const struct lm_value *value);
int lm_tree_open(struct lm_tree *tree, int64_t position);
int lm_tree_close(struct lm_tree *tree, enum lm_value_kind kind);
/* Checks for exactly one value; the document is the caller's then. */
int lm_tree_end(struct lm_tree *tree, struct lm_document **document);
void lm_tree_abandon(struct lm_tree *tree);
/* A copy of the bytes with a 0 behind it, owned by the document; NULL on failure. */
char *lm_tree_text(struct lm_tree *tree, const char *text, size_t length);
/* The document's own copy of the input, which has a 0 behind it. */
char *lm_tree_input(struct lm_tree *tree, size_t *length);
/* An LOAM_EFORMAT error "NAME:LINE:COLUMN: ...". */
int lm_tree_fail(struct lm_tree *tree, int64_t position, const char *format, ...) LM_PRINTF(3, 4);

#endif
