/* The lessons: each stage of a language model, run on a sentence, every number shown. Included by look.h. */
#ifndef LOAM_LOOK_LEARN_H
#define LOAM_LOOK_LEARN_H

#include "data/data.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

struct lm_page;
struct lm_lesson_options {
    const char *sentence;                   /* UTF-8; NULL: lm_lesson_sentence */
    uint64_t seed;                          /* of all that is drawn */
    int threads;                            /* that learn a vocabulary; 0: lm_processors(). The small model runs on one */
    struct lm_model *model;                 /* NULL: a small one, made for the lesson */
    const struct lm_tokenizer *tokenizer;   /* the model's; NULL: the one that the quickstart learns */
    const struct lm_template *chat_template;    /* the model's; NULL: the first of ours whose tokens the vocabulary has */
    bool loaded;                            /* the model's weights are in memory, and the lesson may change them */
};
extern const char lm_lesson_sentence[];     /* "Your journey starts with one step" */

int lm_lesson_count(void);
/* Of lesson 1 to lm_lesson_count(). */
const char *lm_lesson_title(int number);
/* Whether the lesson trains: a MODEL must then be loaded in fp32. */
bool lm_lesson_trains(int number);
/* Holds the lesson. An empty sentence, or one that MODEL's context does not hold: LOAM_EUSAGE. */
int lm_lesson_hold(int number, const struct lm_lesson_options *options, struct lm_page **page, loam_error *error);
/* The lessons' pages one behind the other. All NULL pages are left out; the pages are the caller's still. */
int lm_lesson_bind(struct lm_page *const *pages, int count, struct lm_page **book, loam_error *error);

/* The small model and its material, for those who hold a lesson's numbers against the library: the text that is learned from
 * (appended), and its shape. The other one is that of lesson 14's runs. */
enum { LM_LESSON_TEXT = 1 << 18, LM_LESSON_SMALL_TEXT = 2048 };
int lm_lesson_text(uint64_t seed, size_t size, struct lm_bytes *text, loam_error *error);
struct lm_config lm_lesson_config(const struct lm_tokenizer *tokenizer);
struct lm_config lm_lesson_config_of_runs(const struct lm_tokenizer *tokenizer);
/* The steps that the small model is trained for before lesson 1 to lm_lesson_count() begins; 0: its weights are as they were drawn. */
int64_t lm_lesson_practice(int number);
/* These steps: windows of the text of LM_LESSON_TEXT bytes, 8 of 32 tokens each, at places drawn from the seed's stream 1, one draw a
 * window; AdamW with betas 0.9 and 0.98, no decay, at 5e-3. The model is in fp32 and loaded. */
int lm_lesson_practise(struct lm_model *model, const struct lm_tokenizer *tokenizer, uint64_t seed, int64_t steps, loam_error *error);

#endif
