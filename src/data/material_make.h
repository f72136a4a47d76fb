/* Inside the material: what its parts share. A maker writes with a sticky error: its functions may be called without looking, the code
 * is asked for at the end. */
#ifndef LOAM_DATA_MATERIAL_MAKE_H
#define LOAM_DATA_MATERIAL_MAKE_H

#include "data.h"

enum { LM_WORD_MOST = 16 };    /* letters of a word, with the 0 behind it */

/* material_words.c: ended by NULL. Held-out words stand in none of the others. */
extern const char *const lm_words_training[];
extern const char *const lm_words_held_out[];

/* material_facts.c */
struct lm_fact {
    int relation;
    const char *subject, *answer;
};
enum { LM_FACT_WORDINGS = 5 };
extern const struct lm_fact lm_facts[];
extern const size_t lm_fact_count;

struct lm_material {
    size_t training_count, held_out_count;    /* real words */
    char (*made_up)[LM_WORD_MOST];            /* held-out words that are none */
    size_t made_up_count;
    uint64_t *banned;                         /* hashes of all held-out words, open addressing, 0: free */
    size_t banned_size;
};

struct lm_maker {
    const struct lm_material *material;
    struct lm_random random;
    struct lm_bytes *out;
    loam_error *error;
    int code;
};

size_t lm_pick(struct lm_maker *m, size_t count);                          /* 0 … count-1 */
bool lm_chance(struct lm_maker *m, double probability);
void lm_say(struct lm_maker *m, const char *format, ...) LM_PRINTF(2, 3);
#define LM_ANY(m, list) ((list)[lm_pick((m), sizeof(list) / sizeof *(list))])

/* material_make.c. No training word holds a held-out one. */
void lm_make_word(struct lm_maker *m, char word[LM_WORD_MOST]);            /* real or made up, never held out */
void lm_make_up(struct lm_random *random, char word[LM_WORD_MOST]);        /* made up, unchecked */
bool lm_is_banned(const struct lm_material *material, const char *word);   /* it holds a held-out word */
int lm_count_letter(const char *word, char letter);
/* A letter that stands `times` in the word, by lot; 0 where there is none. */
char lm_letter_with(struct lm_maker *m, const char *word, int times);

/* An exchange: what is asked goes to `ask`, what is answered to `answer`; either may be NULL. */
struct lm_exchange {
    struct lm_bytes ask, answer;
};
void lm_ask(struct lm_maker *m, struct lm_exchange *x, const char *format, ...) LM_PRINTF(3, 4);
void lm_answer(struct lm_maker *m, struct lm_exchange *x, const char *format, ...) LM_PRINTF(3, 4);

/* material_tasks.c */
void lm_ask_letters(struct lm_maker *m, const char *word, char letter, struct lm_exchange *x);
void lm_ask_addition(struct lm_maker *m, int a, int b, struct lm_exchange *x);
void lm_task_letters(struct lm_maker *m, struct lm_exchange *x);
void lm_task_addition(struct lm_maker *m, struct lm_exchange *x);
void lm_task_spelling(struct lm_maker *m, struct lm_exchange *x);
/* material_facts.c. A wording that is held out for the fact, or one of the others. */
void lm_ask_fact(struct lm_maker *m, size_t fact, bool held_out, struct lm_exchange *x);
void lm_task_fact(struct lm_maker *m, struct lm_exchange *x);
/* material_talk.c */
void lm_task_talk(struct lm_maker *m, struct lm_exchange *x);
void lm_task_story(struct lm_maker *m, struct lm_exchange *x);
/* material_room.c: a whole conversation. */
void lm_make_room(struct lm_maker *m, struct lm_conversation *conversation);
const char *lm_name_of_person(struct lm_maker *m);
const char *lm_name_of_ai(struct lm_maker *m);

#endif
