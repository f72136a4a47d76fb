/* The face of data/: corpora and conversations, chat templates, and their way into batches.
 *
 *     const struct lm_template *chatml;
 *     if (lm_template_find("chatml", NULL, &chatml, error)) return error->code;
 *     struct lm_source source = {"conversations.jsonl", 1};
 *     struct lm_samples_options options = {.kind = LM_SAMPLES_CHAT, .sources = &source, .source_count = 1, .tokenizer = t,
 *                                          .chat_template = chatml, .length = 1024, .batch = 4, .pack = true, .shuffle = true};
 *     struct lm_samples *samples;
 *     if (lm_samples_open(&options, &samples, error)) return error->code;
 *     struct lm_place_in_data place = {0};
 *     lm_samples_next(samples, &place, &batch, error);     // batch: arrays of 4 × 1024 that the caller owns
 *     lm_samples_close(samples);
 *
 * Conversations are read from files into memory, rendered by a template into ids with a mask, and packed into rows. One
 * object, one thread; reading and rendering use several inside.
 */
#ifndef LOAM_DATA_H
#define LOAM_DATA_H

#include "material.h"    /* the built-in corpus, conversations and questions */
#include "tokenizer/tokenizer.h"

enum lm_role { LM_SYSTEM, LM_USER, LM_ASSISTANT };
const char *lm_role_name(enum lm_role role);    /* "system", "user", "assistant" */
struct lm_message {
    enum lm_role role;
    char *content;              /* UTF-8 */
    size_t length;
};
/* Starts as {0}. */
struct lm_conversation {
    struct lm_message *messages;
    size_t count, capacity;
    int64_t place;              /* line (JSONL) or index (JSON array) in its file, from 1 */
};
int lm_conversation_add(struct lm_conversation *conversation, enum lm_role role, const char *content, size_t length,
                        loam_error *error);
bool lm_conversation_answered(const struct lm_conversation *conversation);    /* the assistant says something in it */
/* Appends {"messages":[…]} and a line's end. */
int lm_conversation_write(const struct lm_conversation *conversation, struct lm_bytes *out, loam_error *error);
void lm_conversation_free(struct lm_conversation *conversation);

/* Files of conversations, in four forms that are told by their keys, object by object: {"messages":[{"role","content"}]},
 * ShareGPT {"conversations":[{"from","value"}]}, Alpaca {"instruction","input","output"} and guanaco
 * {"text":"### Human: …### Assistant: …"}; JSONL (empty lines are skipped) or one JSON array. Whatever is wrong anywhere in the
 * file is LOAM_EFORMAT with file, line and column, and nothing is appended. Conversations are given as they stand: a last turn
 * without an answer and conversations without any are the caller's to judge. */
struct lm_conversations {
    struct lm_conversation *items;
    size_t count, capacity;
};
int lm_conversations_read(const char *path, struct lm_conversations *conversations, loam_error *error);   /* appends */
int lm_conversations_parse(const char *text, size_t length, const char *name, struct lm_conversations *conversations,
                           loam_error *error);
/* Moves the conversation into the list (it is {0} afterwards); on failure it stays the caller's. */
int lm_conversations_push(struct lm_conversations *conversations, struct lm_conversation *conversation, loam_error *error);
void lm_conversations_free(struct lm_conversations *conversations);
/* The same file in parts of some MiB, so that JSONL larger than memory can be worked through (a JSON array is one part). _next appends
 * the next part's conversations; none appended: the end. A file without any is LOAM_EFORMAT. */
struct lm_conversation_file;
int lm_conversation_file_open(const char *path, struct lm_conversation_file **file, loam_error *error);
int lm_conversation_file_next(struct lm_conversation_file *file, struct lm_conversations *conversations, loam_error *error);
void lm_conversation_file_progress(const struct lm_conversation_file *file, int64_t *done, int64_t *total);   /* bytes */
void lm_conversation_file_close(struct lm_conversation_file *file);

/* Rendering. One function gives the text, the ids and which of them are trained on: the assistant's words and its end of turn. */
struct lm_template;
struct lm_rendered {            /* starts as {0}; may be rendered into again */
    struct lm_bytes text;
    struct lm_ids ids;
    struct lm_bytes trained;    /* one byte (0 or 1) an id */
};
/* By name: "llama2", "llama3", "chatml", "plain", "guanaco" (as the reference job wrote it, docs/guanaco.md); NULL: the one stored with the model in DIRECTORY (chat_template.jinja, or
 * chat_template in tokenizer_config.json) or in the GGUF file of that path: one of ours where its source is ours, else what jinja.h
 * evaluates. None there: LOAM_ENOTFOUND. Free with lm_template_free. */
int lm_template_find(const char *name, const char *directory, const struct lm_template **chosen, loam_error *error);
void lm_template_free(const struct lm_template *chosen);   /* NULL and those that have names may be given too */
const struct lm_template *lm_template_at(size_t index);    /* all of them, then NULL */
const struct lm_template *lm_template_recognise(const char *jinja, size_t length);   /* NULL: none of ours */
const char *lm_template_name(const struct lm_template *chosen);
const char *lm_template_jinja(const struct lm_template *chosen);
/* Sets chat_template in DIRECTORY/tokenizer_config.json (made if absent), and eos_token to `end` (may be NULL) where it names none; the
 * file's other keys stay. */
int lm_template_store(const struct lm_template *chosen, const char *directory, const char *end, size_t length, loam_error *error);
/* Tokens it needs and the tokenizer lacks: LOAM_EMISMATCH naming them, or added where `add`. `added` may be NULL. */
int lm_template_fit(const struct lm_template *chosen, struct lm_tokenizer *tokenizer, bool add, size_t *added, loam_error *error);
/* The id that ends an assistant's turn, or -1 where the tokenizer lacks it. */
int32_t lm_template_end_of_turn(const struct lm_template *chosen, const struct lm_tokenizer *tokenizer);
/* `prompt`: end with what makes the assistant begin; else it is for training. Special tokens written inside messages are text. What
 * was in `rendered` is replaced.
 *
 * Of a template that came with a model, the places of the messages in its text are found by rendering a second time with marks around
 * every content. Where that gives another text (the template rewrites what is said), LOAM_EUNSUPPORTED for training, and for a prompt
 * only if a message has a special token written in it. Trained on: what {% generation %} blocks give, where there are any; else the
 * assistant's words and the special token behind them (an answer of nothing but blanks is not). Two bos at the begin: LOAM_EFORMAT. */
int lm_template_render(const struct lm_template *chosen, const struct lm_tokenizer *tokenizer,
                       const struct lm_conversation *conversation, bool prompt, struct lm_rendered *rendered, loam_error *error);
void lm_rendered_free(struct lm_rendered *rendered);

/* A batch: B sequences of T positions. targets[i] is the id that position i is trained to predict, or -1. */
struct lm_batch {
    int64_t batch, length;      /* B, T */
    int32_t *ids;               /* [B,T] */
    int32_t *targets;           /* [B,T] */
    int32_t *positions;         /* [B,T]: from 0 in every packed sample */
    int32_t *segment_start;     /* [B,T]: index in the row where the position's sample begins; padding: its own index */
    int64_t tokens, trained;    /* positions that hold a token; targets >= 0 */
};

/* What the batches come from.
 *
 * Text: the files of one weight follow each other, each closed by the end-of-sequence token, and are cut into windows of T
 * positions. Chat: a sample a conversation, up to its last trained token. A file named *.ids has one sequence of ids a line, each
 * a sample as it stands, and needs no tokenizer. A sample of n ids takes n-1 positions: the last id is only a target. What is longer
 * than T positions is cut there. A file of more than 2 MiB of text is encoded in parts that end at a line's end before a letter or
 * digit. Conversations without a trained token (or none before the cut) are left out. Both are counted in the
 * summary and noted to the observer.
 *
 * Samples stand in rows of T positions, one a row or, where `pack` is set, as many as fit (first fit). Rows are made once, when opened;
 * an epoch is a new order of them by (seed, epoch), the same for every B. With weights, each source's rows are drawn round(weight ×
 * rows) times an epoch: every row the whole number of times, and the rest by lot.
 *
 * Encoded ids lie in a file, in the folder `cache` under a key of everything they depend on (the files' bytes, tokenizer, template,
 * length, …), and are read from there batch by batch: memory holds 16 bytes a sample and some a row. A broken or half-written file
 * is made anew; what nobody has used for 60 days is removed. */
struct lm_samples;
enum lm_samples_kind { LM_SAMPLES_TEXT, LM_SAMPLES_CHAT };
struct lm_source {
    const char *path;
    double weight;              /* how often its samples are drawn compared with the others, 1e-6 to 1e6; 1 as a rule */
};
struct lm_samples_options {
    enum lm_samples_kind kind;
    const struct lm_source *sources;
    size_t source_count;
    const struct lm_tokenizer *tokenizer;       /* may be NULL where every source is *.ids; must outlive lm_samples_open only */
    const struct lm_template *chat_template;    /* for LM_SAMPLES_CHAT */
    int64_t length;             /* T */
    int64_t batch;              /* B */
    int32_t vocabulary;         /* ids must be below it; 0: the tokenizer's size, or any id where there is none */
    bool train_on_all;          /* loss on everything, not only the assistant's words */
    bool faithful;              /* as the reference recipe did it: see docs/guanaco.md */
    bool pack, shuffle;
    uint64_t seed;
    int threads;                /* 0: lm_processors(); the result does not depend on it */
    const char *cache;          /* folder of encoded data; NULL: encoded anew, into memory */
    const loam_observer *observer;
};
int lm_samples_open(const struct lm_samples_options *options, struct lm_samples **samples, loam_error *error);
void lm_samples_close(struct lm_samples *samples);
int64_t lm_samples_batches(const struct lm_samples *samples);     /* batches an epoch; the last may have empty rows */
/* The place in the data: an epoch (from 0) and a batch in it. Everything a resumed run needs. */
struct lm_place_in_data {
    int64_t epoch, batch;
};
/* Fills a batch whose arrays the caller owns ([B,T] as opened) with batch place->batch of epoch place->epoch, and moves place on.
 * Allocates nothing. A place behind the last batch: LOAM_EUSAGE. */
int lm_samples_next(struct lm_samples *samples, struct lm_place_in_data *place, struct lm_batch *batch, loam_error *error);
/* 64 bits that differ when samples, rows or their order differ: to tell whether a resumed run sees the same. */
uint64_t lm_samples_fingerprint(const struct lm_samples *samples);

struct lm_samples_summary {     /* every sample counted once, whatever the weights */
    int64_t samples, rows;
    int64_t tokens, trained;    /* positions; targets */
    int64_t trained_bytes;      /* of the targets' text, special tokens counted as none: for bits per byte */
    int64_t longest;            /* positions of the longest sample before cutting */
    int64_t cut, cut_tokens;    /* samples cut, and what they lost */
    int64_t unanswered;         /* conversations (or lines of one id) left out: nothing in them to train on */
    int64_t out_of_reach;       /* left out: all that is trained on lies behind the cut */
};
void lm_samples_summarise(const struct lm_samples *samples, struct lm_samples_summary *summary);
/* The same counts source by source, in the order of the options. Of text that lies in windows over several files, `samples` is 0. */
struct lm_source_tally {
    int64_t samples, cut, cut_tokens, unanswered, out_of_reach;
};
const struct lm_source_tally *lm_samples_tallies(const struct lm_samples *samples, size_t *count);
/* Positions of sample `index` (below summary.samples) before it was cut. */
int64_t lm_samples_full_length(const struct lm_samples *samples, int64_t index);
/* Whether the encoded data came out of the cache. */
bool lm_samples_cached(const struct lm_samples *samples);
/* Where the cache lies: $XDG_CACHE_HOME/loam, or ~/.cache/loam, made if absent; NULL where it cannot be written. lm_free. */
char *lm_samples_cache(void);

#endif
