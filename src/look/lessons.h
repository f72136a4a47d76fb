/* Inside look: what the lessons share. A lesson fills a page; every number on it is the library's, and none stands in the words around
 * them, so that a test can hold each against the library.
 *
 *     static int teach(struct lm_lesson *lesson, loam_error *error)
 *     {
 *         int code = lm_lesson_model(lesson, error);               // MODEL, or the small one that is made here
 *         if (!code)
 *             code = lm_lesson_encode(lesson, error);              // lesson->ids of the sentence
 *         lm_page_say(lesson->page, "...");
 *         return code;
 *     }
 */
#ifndef LOAM_LOOK_LESSONS_H
#define LOAM_LOOK_LESSONS_H

#include "learn.h"
#include "page.h"

enum { LM_LESSON_WORDS = 12 };    /* of a sentence, in the lessons that compute with its words by hand */

struct lm_lesson {
    const struct lm_lesson_options *options;
    int number;
    struct lm_page *page;
    struct lm_device *device;
    struct lm_model *model;
    const struct lm_tokenizer *tokenizer;
    struct lm_tokenizer *own_tokenizer;
    struct lm_model *own_model;
    struct lm_device *own_device;
    struct lm_ids ids;
    char **labels;              /* of ids */
    char **words;               /* of the sentence, cut at white space */
    int64_t word_count;
};

/* The reader's, or the usual one. */
const char *lm_sentence_of(const struct lm_lesson_options *options);
int lm_lesson_device(struct lm_lesson *lesson, loam_error *error);
/* options->tokenizer, or the quickstart's: learned from the built-in text. */
int lm_lesson_tokenizer(struct lm_lesson *lesson, loam_error *error);
/* options->model, or a small one with weights drawn from the seed. */
int lm_lesson_model(struct lm_lesson *lesson, loam_error *error);
/* Trains the small model on the built-in text; one that was given stays as it is. */
int lm_lesson_train(struct lm_lesson *lesson, loam_error *error);
int lm_lesson_encode(struct lm_lesson *lesson, loam_error *error);
/* The sentence's words and a vector of three numbers for each: the published ones for the usual sentence, else drawn. [words,3], free it. */
int lm_lesson_vectors(struct lm_lesson *lesson, float **vectors, loam_error *error);
/* Whether the lesson's model may be changed: LOAM_EUSAGE where one was given that is not loaded. */
int lm_lesson_may_train(const struct lm_lesson *lesson, loam_error *error);
/* AdamW with the usual betas and no decay, at one rate, on the lesson's model. */
struct lm_learning {
    struct lm_lesson *lesson;
    double rate;
    int64_t numbers, step;
    float *m, *v;
};
int lm_learning_open(struct lm_lesson *lesson, double rate, struct lm_learning *learning, loam_error *error);
int lm_learning_step(struct lm_learning *learning, const float *gradients, loam_error *error);
void lm_learning_close(struct lm_learning *learning);
/* A table or map of fp32 numbers. */
void lm_lesson_show(struct lm_page *page, const struct lm_block *block, const float *values);

typedef int lm_teacher(struct lm_lesson *lesson, loam_error *error);
lm_teacher lm_teach_words, lm_teach_merges, lm_teach_samples, lm_teach_embeddings, lm_teach_plain_attention,
    lm_teach_weighted_attention, lm_teach_mask, lm_teach_heads, lm_teach_layer, lm_teach_whole, lm_teach_step, lm_teach_generation, lm_teach_tuning, lm_teach_memory;

#endif
