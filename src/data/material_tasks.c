/* Letters and sums: tasks whose answers work their way to the result. */
#include "material_make.h"

#include <xxhash.h>

/* What stands around word and letter when they are asked for: %1$s is the word, %2$c the letter. */
static const char *const letter_wordings[] = {
    "How many %2$c's are in %1$s?",
    "How many %2$c's are in %1$s?",
    "How many %2$c's are there in %1$s?",
    "How many %2$c's are in the word %1$s?",
    "How many %2$c's does %1$s have?",
    "Count the letter %2$c in %1$s.",
    "Count the %2$c's in %1$s.",
    "How many times does the letter %2$c stand in %1$s?",
    "How many times does %2$c appear in the word %1$s?",
    "How often does the letter %2$c occur in %1$s?",
    "How many letters %2$c does the word %1$s have?",
    "In %1$s, how many %2$c's are there?",
    "how many %2$c's in %1$s?",
    "What is the number of %2$c's in %1$s?",
};

static const char *const sum_wordings[] = {
    "What is %d + %d?", "What is %d plus %d?", "Add %d and %d.", "%d + %d = ?", "How much is %d + %d?", "Calculate %d + %d.",
    "What is the sum of %d and %d?", "How many are %d and %d together?", "what is %d + %d", "What is %d+%d?", "%d+%d",
};

static const char *const spell_wordings[] = {
    "Spell %s.", "Spell the word %s.", "How do you spell %s?", "Which letters does %s have?", "Write %s letter by letter.",
};

/* "Count r in berry: b0 e0 r1 r2 y2. So 2." The word stands behind a blank, as in the question, so that it has the same tokens. */
static void work_letters(struct lm_maker *m, const char *word, char letter, struct lm_exchange *x)
{
    int count = 0;
    lm_answer(m, x, "Count %c in %s:", letter, word);
    for (const char *at = word; *at; at++) {
        count += *at == letter;
        lm_answer(m, x, " %c%d", *at, count);
    }
    lm_answer(m, x, ". So %d.", count);
}

void lm_ask_letters(struct lm_maker *m, const char *word, char letter, struct lm_exchange *x)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    lm_ask(m, x, LM_ANY(m, letter_wordings), word, letter);
#pragma GCC diagnostic pop
    work_letters(m, word, letter, x);
}

/* A word and a letter that stands in it a number of times drawn first, so that no count is the usual one. */
void lm_task_letters(struct lm_maker *m, struct lm_exchange *x)
{
    static const int times[] = {0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4};
    int wanted = LM_ANY(m, times);
    char word[LM_WORD_MOST], letter = 0;
    for (int tries = 0; !letter; tries++) {
        lm_make_word(m, word);
        letter = lm_letter_with(m, word, tries < 40 ? wanted : 1);
    }
    lm_ask_letters(m, word, letter, x);
}

void lm_task_spelling(struct lm_maker *m, struct lm_exchange *x)
{
    char word[LM_WORD_MOST];
    lm_make_word(m, word);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    lm_ask(m, x, LM_ANY(m, spell_wordings), word);
#pragma GCC diagnostic pop
    lm_answer(m, x, "Spell %s:", word);
    for (const char *at = word; *at; at++)
        lm_answer(m, x, " %c", *at);
    lm_answer(m, x, ".");
}

bool lm_material_held_out_sum(int a, int b)
{
    const int pair[2] = {a < b ? a : b, a < b ? b : a};
    return pair[0] >= 10 && pair[1] <= 99 && XXH64(pair, sizeof pair, 0) % 10 == 0;
}

/* "Add 47 + 38: 7 + 8 = 15, carry 1. 4 + 3 + 1 = 8. So 85." The numbers are said again first, so that their digits stand at the same
 * distance whatever the question looked like. */
void lm_ask_addition(struct lm_maker *m, int a, int b, struct lm_exchange *x)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    lm_ask(m, x, LM_ANY(m, sum_wordings), a, b);
#pragma GCC diagnostic pop
    int ones = a % 10 + b % 10, carry = ones / 10;
    lm_answer(m, x, "Add %d + %d: %d + %d = %d, carry %d. ", a, b, a % 10, b % 10, ones, carry);
    lm_answer(m, x, "%d + %d + %d = %d. So %d.", a / 10, b / 10, carry, a / 10 + b / 10 + carry, a + b);
}

/* Two digits as a rule. */
static int addend(struct lm_maker *m)
{
    return lm_chance(m, 0.08) ? (int)lm_pick(m, 10) : 10 + (int)lm_pick(m, 90);
}

void lm_task_addition(struct lm_maker *m, struct lm_exchange *x)
{
    int a, b;
    do {
        a = addend(m);
        b = addend(m);
    } while (lm_material_held_out_sum(a, b));
    lm_ask_addition(m, a, b, x);
}
