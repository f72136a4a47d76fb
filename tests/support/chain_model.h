/* A model that says what it is told: after byte x of a text comes the byte behind x in it, and after the last byte the end
 * token. Its layers add nothing, its embedding table is one-hot, and its head holds the chain; so what generation must give is
 * known to the byte. */
#ifndef LOAM_TESTS_CHAIN_MODEL_H
#define LOAM_TESTS_CHAIN_MODEL_H

#include "model/model.h"
#include "support/support.h"
#include "tokenizer/tokenizer.h"

enum { CHAIN_NO_TOKEN = 0x7f };        /* in a text: an id (259) behind the tokenizer's last, a row of padding in the table */
struct chain {
    struct lm_device *device;
    struct lm_model *model;
    struct lm_tokenizer *tokenizer;    /* a token a byte, and chatml's tokens */
    int32_t end;                       /* <|im_end|> */
};
/* No byte may stand twice in `text`; the chain closes to a ring where `ring`. */
void chain_open(const char *text, bool ring, int64_t context, struct chain *chain);
void chain_close(struct chain *chain);
/* As a model directory that chat can open; eos_token_id is a list with the end token as its second. */
void chain_save(const struct chain *chain, const char *directory);
int32_t chain_id(const struct chain *chain, char byte);

#endif
