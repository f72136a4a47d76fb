/* The built-in material: a corpus, conversations and questions, made up from a seed, on which a small model learns to talk, to tell
 * stories, to add two-digit numbers by carrying, to know the facts of a table, to spell, and to count letters.
 *
 *     struct lm_material *material;
 *     struct lm_bytes corpus = {0};
 *     if (lm_material_open(&material, error)) return error->code;
 *     if (lm_material_corpus(material, 1, 1 << 20, &corpus, error)) ...    // a mebibyte of text, always the same for seed 1
 *     lm_material_close(material);
 *
 * What the questions ask about was never in any corpus or conversation, whatever the seed: several hundred words of English
 * (strawberry is one) and as many made-up ones stand in no training text in any form, nor inside another word; pairs of numbers
 * are never added in either order; facts are asked in a wording that they were never asked in. Answers work their way to the result,
 * letter by letter and digit by digit; an answer's last number (for facts: its last word) is what counts.
 * A material is read only: any number of threads may share it.
 */
#ifndef LOAM_DATA_MATERIAL_H
#define LOAM_DATA_MATERIAL_H

#include "base/base.h"

struct lm_material;
int lm_material_open(struct lm_material **material, loam_error *error);
void lm_material_close(struct lm_material *material);

/* Appends about `size` bytes of text: documents with an empty line between them. */
int lm_material_corpus(const struct lm_material *material, uint64_t seed, size_t size, struct lm_bytes *text, loam_error *error);
/* Appends `count` conversations, one {"messages":[…]} a line. Some are from rooms: everyone but the assistant speaks as
 * 👤[Name] (people) or 🤖[Name], and the assistant says PASS when it has nothing to say. */
int lm_material_conversations(const struct lm_material *material, uint64_t seed, size_t count, struct lm_bytes *jsonl,
                              loam_error *error);

enum lm_skill { LM_LETTERS, LM_ADDITION, LM_FACTS, LM_SKILLS };
const char *lm_skill_name(enum lm_skill skill);     /* "letter_counting", "addition", "facts" */
struct lm_question {
    enum lm_skill skill;
    char *prompt, *expected;
};
struct lm_questions {
    struct lm_question *items;
    size_t count, capacity;
};
/* 600 of letters, 600 of additions, one of every fact; the first is "How many r's are in strawberry?". No answer stands for 40% of
 * a skill. The same for every seed but for their wording. */
int lm_material_questions(const struct lm_material *material, uint64_t seed, struct lm_questions *questions, loam_error *error);
void lm_questions_free(struct lm_questions *questions);
/* Whether the answer's last number (facts: last word) is what was expected. */
bool lm_question_right(const struct lm_question *question, const char *answer, size_t length);

/* For tests: the i-th held-out word, or NULL; and whether two numbers' sum is held out. */
const char *lm_material_held_out(const struct lm_material *material, size_t index);
bool lm_material_held_out_sum(int a, int b);

#endif
