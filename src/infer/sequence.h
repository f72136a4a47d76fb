/* One choice of one request on its way through the engine. Private to infer/; the computing thread's, from its submission on.
 */
#ifndef LOAM_INFER_SEQUENCE_H
#define LOAM_INFER_SEQUENCE_H

#include "outlet.h"
#include "pages.h"
#include "ticket.h"

/* The parts of a request that last as long as its sequences: one copy for all of them. */
struct lm_order {
    struct lm_request request;          /* its pointers are to the copies below; ids are each sequence's own */
    struct lm_logit_bias *biases;
    char **stops;
    int32_t expected[LM_MOST_EXPECTED];
    int64_t users;                      /* its sequences, and whoever made it until lm_order_drop */
    double submitted;
};

struct lm_count {
    int32_t id;
    int32_t times;
};

struct lm_sequence {
    struct lm_sequence *next;           /* in the line of those waiting */
    struct lm_order *order;
    struct lm_ticket *ticket;
    int64_t choice;
    struct lm_ids ids;                  /* prompt and what was generated, without what was shifted out */
    int64_t done;                       /* positions whose keys and values are in the pages */
    int32_t *pages;                     /* [page_room] */
    int64_t page_count, page_room;
    bool decoding;                      /* all but the last id are done: the next pass gives a token */
    bool first_pass;                    /* nothing was computed yet */
    struct lm_sampler *sampler;
    struct lm_count *counts;            /* of generated ids, where a penalty asks for them */
    int64_t count_count, count_room;
    float *behind_prompt;               /* [vocabulary] logits that wait while what is expected is scored; NULL: nothing is (any more) */
    float *raw;                         /* [vocabulary] logits as they were, where logprobs are wanted */
    struct lm_generation_options output;/* for the outlet: stops, and where it shows */
    struct lm_outlet outlet;
    struct lm_bytes text, pending;      /* all text; what the reader was not given yet */
    bool lost;                          /* there was no memory for it */
    int64_t most;                       /* tokens at most; 0: no limit but the context */
    struct lm_usage usage;
};

int lm_order_create(const struct lm_request *request, struct lm_order **order, loam_error *error);
void lm_order_drop(struct lm_order *order);
int lm_sequence_create(struct lm_order *order, struct lm_ticket *ticket, int64_t choice, int64_t context,
                       const struct lm_config *config, const struct lm_tokenizer *tokenizer, struct lm_sequence **sequence,
                       loam_error *error);
void lm_sequence_free(struct lm_sequence *sequence);
/* Leaves out the oldest ids behind the first `keep`, so that fewer than `context` are left. */
void lm_sequence_shift(struct lm_sequence *sequence, int64_t context);

struct lm_verdict {                     /* what became of a sequence after a token */
    bool ended;
    enum lm_stop_reason reason;
    int32_t end_id;
};
/* Picks the next token from the logits [vocabulary], which are changed, and sends it. */
int lm_sequence_pick(struct lm_sequence *sequence, float *logits, int64_t vocabulary, int64_t context,
                     const struct lm_ids *ends, struct lm_verdict *verdict, loam_error *error);
/* log of a token's probability in softmax(logits). */
double lm_log_probability(const float *logits, int64_t vocabulary, int32_t id);
/* Sends the end, or, where `error` is not NULL, the failure. The ticket is not the sequence's any more. */
void lm_sequence_end(struct lm_sequence *sequence, const struct lm_verdict *verdict, const loam_error *error);

#endif
