/* A lesson held for a test, and its numbers beside the test's own.
 *
 *     static void check_heads(struct lesson *lesson)
 *     {
 *         lesson_fact(lesson, "heads", 4);                     // "heads" is claimed, and its number is four
 *     }
 *     lesson_check(8, check_heads, true);                      // with several sentences and seeds
 *
 * The page is read back from its JSON. A block of numbers that no check claims fails the test, and so does a digit among the words: what
 * is said has no numbers, so that there is none unchecked. All the page's numbers must stand on the screen as well, those of heat maps
 * within the range that the screen names.
 */
#ifndef LOAM_TESTS_LESSON_H
#define LOAM_TESTS_LESSON_H

#include "support.h"

#include "look/look.h"

struct lesson {
    int number;
    const char *sentence;
    uint64_t seed;
    struct lm_document *page;
    const struct lm_value *blocks;
    bool *claimed;
    struct lm_bytes text;
    struct lm_device *device;
    struct lm_tokenizer *tokenizer;     /* the quickstart's, learned anew by the test */
    struct lm_model *model;             /* the small one, made anew, and trained as the lesson's; with `given` as it was drawn */
    struct lm_model *given;             /* the same once more, which the lesson got */
    struct lm_ids ids;
};

typedef void lesson_checker(struct lesson *lesson);
/* Holds the lesson with several sentences and seeds. `given`: it gets a model and tokenizer of the test's instead of making them. */
void lesson_check(int number, lesson_checker *check, bool given);
void lesson_open(struct lesson *lesson, int number, const char *sentence, uint64_t seed, bool given);
void lesson_close(struct lesson *lesson);    /* looks for what was not claimed, and for the numbers on the screen */

/* What the page has. All claim the block of that name, which must be there. */
const struct lm_value *lesson_block(struct lesson *lesson, const char *name);
double lesson_number(const struct lesson *lesson, const struct lm_value *value);
double lesson_at(struct lesson *lesson, const char *name, size_t row, size_t column);
void lesson_same(struct lesson *lesson, const char *name, double found, double wanted);    /* to 1e-6 */
void lesson_near(struct lesson *lesson, const char *name, double found, double wanted, double bound);
void lesson_fact(struct lesson *lesson, const char *name, double wanted);
void lesson_fact_text(struct lesson *lesson, const char *name, const char *wanted, size_t length);
/* Rows times columns numbers, no more. */
void lesson_table(struct lesson *lesson, const char *name, size_t rows, size_t columns, const double *wanted);
void lesson_table_floats(struct lesson *lesson, const char *name, size_t rows, size_t columns, const float *wanted, size_t stride);
void lesson_table_ids(struct lesson *lesson, const char *name, size_t rows, size_t columns, const int32_t *wanted);
void lesson_tokens(struct lesson *lesson, const char *name, const struct lm_ids *ids);    /* a strip and the table of its ids */
void lesson_names(struct lesson *lesson, const char *name, const int32_t *ids, size_t count);    /* the rows are these tokens, as shown */

/* What a test makes by itself. */
void lesson_learn_tokenizer(const struct lm_tokenizer_training *training, struct lm_tokenizer **tokenizer);
void lesson_encode(const struct lm_tokenizer *tokenizer, const char *text, size_t length, unsigned flags, struct lm_ids *ids);
struct lm_bytes lesson_small_text(uint64_t seed, size_t size);
struct lm_bytes lesson_shown(const char *text, size_t length);    /* blanks as points, ends of lines as arrows, no bytes that are no characters */

#endif
