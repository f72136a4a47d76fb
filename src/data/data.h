/* The face of data/: corpora and conversations, chat templates, and their way into batches.
 *
 * Conversations are read from files into memory one by one, rendered by a template into ids with a mask, and packed into
 * batches. One object, one thread.
 */
#ifndef LOAM_DATA_H
#define LOAM_DATA_H

#include "tokenizer/tokenizer.h"

enum lm_role { LM_SYSTEM, LM_USER, LM_ASSISTANT };
struct lm_message {
    enum lm_role role;
    char *content;              /* UTF-8 */
    size_t length;
};
struct lm_conversation {
    struct lm_message *messages;
    size_t count, capacity;
    int64_t place;              /* line (JSONL) or index (JSON array) in its file, from 1 */
};
int lm_conversation_add(struct lm_conversation *conversation, enum lm_role role, const char *content, size_t length,
                        loam_error *error);
void lm_conversation_free(struct lm_conversation *conversation);

/* Reads a file of conversations, form told by content: {"messages":[…]}, ShareGPT {"conversations":[{"from","value"}]}, Alpaca
 * {"instruction","input","output"}, guanaco {"text":"### Human: …"}; JSONL or one JSON array. */
struct lm_conversations {
    struct lm_conversation *items;
    size_t count, capacity;
};
int lm_conversations_read(const char *path, struct lm_conversations *conversations, loam_error *error);   /* appends */
void lm_conversations_free(struct lm_conversations *conversations);

/* Rendering. One function gives the text, the ids and which of them are trained on (the assistant's words and its end of turn). */
struct lm_template;
struct lm_rendered {
    struct lm_bytes text;
    struct lm_ids ids;
    struct lm_bytes trained;    /* one byte (0 or 1) an id */
};
/* By name: "llama2", "llama3", "chatml", "plain"; NULL: the one stored with the model in DIRECTORY (tokenizer_config.json). */
int lm_template_find(const char *name, const char *directory, const struct lm_template **chosen, loam_error *error);
const char *lm_template_name(const struct lm_template *chosen);
const char *lm_template_jinja(const struct lm_template *chosen);
/* Tokens it needs and the tokenizer lacks: LOAM_EMISMATCH naming them, or added where `add`. */
int lm_template_fit(const struct lm_template *chosen, struct lm_tokenizer *tokenizer, bool add, size_t *added, loam_error *error);
/* The id that ends an assistant's turn. */
int32_t lm_template_end_of_turn(const struct lm_template *chosen, const struct lm_tokenizer *tokenizer);
/* `prompt`: end with what makes the assistant begin. Special tokens written inside messages are text. */
int lm_template_render(const struct lm_template *chosen, const struct lm_tokenizer *tokenizer,
                       const struct lm_conversation *conversation, bool prompt, struct lm_rendered *rendered, loam_error *error);
void lm_rendered_free(struct lm_rendered *rendered);

/* A batch: B sequences of T positions. targets[i] is the id that position i is trained to predict, or -1. */
struct lm_batch {
    int64_t batch, length;      /* B, T */
    int32_t *ids;               /* [B,T] */
    int32_t *targets;           /* [B,T] */
    int32_t *positions;         /* [B,T]: from 0 in every packed sample */
    int32_t *segment_start;     /* [B,T]: index in the row where the position's sample begins */
    int64_t tokens, trained;    /* positions that hold a token; targets >= 0 */
};

/* What the batches come from: samples of ids with targets, shuffled anew every epoch by (seed, epoch). */
struct lm_samples;
enum lm_samples_kind { LM_SAMPLES_TEXT, LM_SAMPLES_CHAT };
struct lm_source {
    const char *path;
    double weight;              /* how often its samples are drawn compared with the others; 1 as a rule */
};
struct lm_samples_options {
    enum lm_samples_kind kind;
    const struct lm_source *sources;
    size_t source_count;
    const struct lm_tokenizer *tokenizer;
    const struct lm_template *chat_template;
    int64_t length;             /* T */
    int64_t batch;              /* B */
    bool train_on_all;          /* loss on everything, not only the assistant's words */
    bool pack, shuffle;
    uint64_t seed;
    const loam_observer *observer;
};
int lm_samples_open(const struct lm_samples_options *options, struct lm_samples **samples, loam_error *error);
void lm_samples_close(struct lm_samples *samples);
int64_t lm_samples_batches(const struct lm_samples *samples);     /* batches an epoch */
/* The place in the data: an epoch (from 0) and a batch in it. Everything a resumed run needs. */
struct lm_place_in_data {
    int64_t epoch, batch;
};
/* Fills a batch whose arrays the caller owns ([B,T] as opened) with batch place->batch of epoch place->epoch, and moves place on.
 * Allocates nothing but at the beginning of an epoch. */
int lm_samples_next(struct lm_samples *samples, struct lm_place_in_data *place, struct lm_batch *batch, loam_error *error);
uint64_t lm_samples_fingerprint(const struct lm_samples *samples);

#endif
