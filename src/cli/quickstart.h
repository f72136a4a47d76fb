/* The whole way on the built-in material, as a program can use it: tokenizer, pretraining, fine-tuning, evaluation.
 *
 *     struct quickstart_options options = {.directory = "loam-quickstart", .seed = 1, .recipe = &quickstart_standard};
 *     struct quickstart_result result;
 *     if (quickstart_grow(&options, &result, &error) != LOAM_OK) return complain_error(&error);
 *     ... result.right[LM_LETTERS] of result.asked[LM_LETTERS] ...
 *     quickstart_result_free(&result);
 *
 * Everything lies in the directory: the model, and in steps/ what led to it (corpus.txt, conversations.jsonl, the model before and after
 * pretraining). Stopped at any moment, the same call goes on; done once, it only asks the questions again. Nothing here prints.
 */
#ifndef LOAM_CLI_QUICKSTART_H
#define LOAM_CLI_QUICKSTART_H

#include "infer/infer.h"
#include "train/train.h"

struct quickstart_stage {
    int64_t steps, batch, accumulate, seq, warmup;
    double lr, min_lr, beta2, weight_decay;
};
struct quickstart_recipe {
    int32_t vocabulary;
    int64_t width, layers, heads, kv_heads, feed_forward, context;
    size_t corpus_bytes, conversations;
    struct quickstart_stage pretrain, finetune;
};
extern const struct quickstart_recipe quickstart_standard;

struct quickstart_options {
    const char *directory;
    uint64_t seed;
    int threads;                        /* 0: lm_processors() */
    const struct quickstart_recipe *recipe;
    size_t questions;                   /* the most asked of each skill; 0: all there are */
    const loam_observer *observer;      /* progress; notes: what each stage did, a line or several */
};
struct quickstart_answer {
    char *text;
    bool right;
};
struct quickstart_result {
    struct lm_questions questions;
    struct quickstart_answer *answers;  /* as many as questions; text is NULL where it was not asked */
    size_t asked[LM_SKILLS], right[LM_SKILLS];
    double training_seconds;            /* both trainings, reading their data and writing their models too */
    int64_t parameters;
};
int quickstart_grow(const struct quickstart_options *options, struct quickstart_result *result, loam_error *error);
void quickstart_result_free(struct quickstart_result *result);

/* Opens the model for questions of one turn, and asks one: greedily, at most 200 tokens, appended to `answer`. On one thread: for a
 * model this small two spend longer waiting for each other. */
int quickstart_open(const char *directory, struct lm_runner **runner, loam_error *error);
int quickstart_ask(struct lm_runner *runner, const char *prompt, struct lm_bytes *answer, loam_error *error);

#endif
