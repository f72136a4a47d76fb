/* The face of tokenizer/: text to token ids and back, training, files.
 *
 *     struct lm_tokenizer *tokenizer;
 *     if (lm_tokenizer_load("model", &tokenizer, error)) return error->code;
 *     struct lm_ids ids = {0};
 *     lm_tokenizer_encode(tokenizer, text, length, 0, &ids, NULL, error);
 *     lm_ids_free(&ids);
 *     lm_tokenizer_free(tokenizer);
 *
 * A loaded tokenizer is not changed by encoding and decoding: any number of threads may share it (each thread keeps its
 * own cache inside). lm_tokenizer_add_token changes it: one thread.
 */
#ifndef LOAM_TOKENIZER_H
#define LOAM_TOKENIZER_H

#include "base/base.h"

struct lm_tokenizer;

/* PATH: a model directory, or a vocabulary file: tokenizer.json, a tiktoken rank file (Llama 3's tokenizer.model,
 * qwen.tiktoken), a SentencePiece model, vocab.json or encoder.json beside merges.txt or vocab.bpe (either of the two),
 * GGUF, llama2.c's tokenizer.bin. What it is tells its content. Files that break their format: file and place.
 * In a directory tokenizer.json goes first, and tokenizer_config.json and special_tokens_map.json decide what begins, ends
 * and pads texts. */
int lm_tokenizer_load(const char *path, struct lm_tokenizer **tokenizer, loam_error *error);
/* Rank files and pairs of vocab.json and merges.txt do not say how texts are split and which tokens are special; their
 * family does, which is known by the ranks, or is `family`: "llama3", "qwen", "qwen2", "qwen2.5", "gpt2", "cl100k", "o200k"
 * (NULL: by the ranks). Neither: LOAM_EUNSUPPORTED. */
int lm_tokenizer_load_as(const char *path, const char *family, struct lm_tokenizer **tokenizer, loam_error *error);
/* Writes tokenizer.json and tokenizer_config.json into an existing directory; keys of a tokenizer_config.json that is
 * there and that loam does not own (chat_template, …) are kept. */
int lm_tokenizer_save(const struct lm_tokenizer *tokenizer, const char *directory, loam_error *error);
void lm_tokenizer_free(struct lm_tokenizer *tokenizer);

/* One more than the largest id. */
int32_t lm_tokenizer_size(const struct lm_tokenizer *tokenizer);
/* The id of a token given as the text it stands for (specials by their content), or -1. */
int32_t lm_tokenizer_find(const struct lm_tokenizer *tokenizer, const char *text, size_t length);
/* The bytes a token stands for (owned by the tokenizer); NULL for an id without a token. */
const char *lm_tokenizer_token(const struct lm_tokenizer *tokenizer, int32_t id, size_t *length);
bool lm_tokenizer_is_special(const struct lm_tokenizer *tokenizer, int32_t id);
int32_t lm_tokenizer_bos(const struct lm_tokenizer *tokenizer); /* -1: none; likewise below */
int32_t lm_tokenizer_eos(const struct lm_tokenizer *tokenizer);
int32_t lm_tokenizer_pad(const struct lm_tokenizer *tokenizer);
bool lm_tokenizer_adds_bos(const struct lm_tokenizer *tokenizer); /* what --add-special puts in front */
/* Adds a token behind the largest id; gives the id of the one that is there already if it is. */
int lm_tokenizer_add_token(struct lm_tokenizer *tokenizer, const char *text, size_t length, bool special, int32_t *id,
                           loam_error *error);
/* Ids of added tokens, or -1. Where bos is given and is not eos, LM_ENCODE_ADD_SPECIAL puts it in front; nothing else
 * is added any more. (One token for both, as GPT-2 has it, only separates texts.) */
int lm_tokenizer_set_bos_eos_pad(struct lm_tokenizer *tokenizer, int32_t bos, int32_t eos, int32_t pad,
                                 loam_error *error);
/* 64 bits that differ when anything that changes ids differs: to tell whether two runs used the same. */
uint64_t lm_tokenizer_fingerprint(const struct lm_tokenizer *tokenizer);

enum lm_encode_flags {
    LM_ENCODE_SPECIAL = 1,     /* special tokens written in the text are tokens; else they are text like any other */
    LM_ENCODE_ADD_SPECIAL = 2, /* put in front and behind what the tokenizer's post-processor says (bos, …) */
};
/* Appends to `ids`; `starts`, where not NULL, gets each token's byte offset in the text (as int32 while a text is under
 * 2 GiB). Invalid UTF-8 is encoded byte for byte by byte-level tokenizers; others see U+FFFD in its place. */
int lm_tokenizer_encode(const struct lm_tokenizer *tokenizer, const char *text, size_t length, unsigned flags,
                        struct lm_ids *ids, struct lm_ids *starts, loam_error *error);
/* The same; `ends` gets the offset behind each token's part of the text. Parts may leave gaps where a tokenizer drops
 * text (white space between words), and are empty for tokens that stand for nothing in it (bos, …). */
int lm_tokenizer_encode_places(const struct lm_tokenizer *tokenizer, const char *text, size_t length, unsigned flags,
                               struct lm_ids *ids, struct lm_ids *starts, struct lm_ids *ends, loam_error *error);
/* Many texts over `threads` threads (0: lm_processors()); ids[i] gets those of texts[i] appended. The first text that
 * fails is the error; then no list is changed. */
struct lm_piece_of_text {
    const char *text;
    size_t length;
};
int lm_tokenizer_encode_batch(const struct lm_tokenizer *tokenizer, const struct lm_piece_of_text *texts, size_t count,
                              unsigned flags, int threads, struct lm_ids *ids, loam_error *error);
/* How many stretches of the text are not UTF-8 and become U+FFFD when it is encoded: always 0 for byte-level
 * tokenizers, which encode any bytes as they are. */
size_t lm_tokenizer_count_broken(const struct lm_tokenizer *tokenizer, const char *text, size_t length);
/* Appends the bytes. An id without a token is LOAM_EUSAGE and names it. */
int lm_tokenizer_decode(const struct lm_tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                        struct lm_bytes *text, loam_error *error);

/* Decoding one token after the other, giving out whole characters only. Starts as {0}. What is held back at the end
 * comes out of lm_stream_finish (as U+FFFD where it never became a character). */
struct lm_stream {
    struct lm_bytes held;
    size_t emitted; /* tokens so far */
    /* The rest is the decoder's business. */
    int64_t stripped;
    bool begun;
    struct lm_ids ids;
    struct lm_bytes together;
    size_t given;
};
int lm_stream_push(const struct lm_tokenizer *tokenizer, struct lm_stream *stream, int32_t id, bool skip_special,
                   struct lm_bytes *out, loam_error *error);
int lm_stream_finish(const struct lm_tokenizer *tokenizer, struct lm_stream *stream, struct lm_bytes *out,
                     loam_error *error);
void lm_stream_free(struct lm_stream *stream);

/* Training. A special in the text separates what stands around it; the first that is called <|endoftext|>, <|end_of_text|>, </s> or
 * <eos> becomes eos. Each file is one text.
 *
 * BYTES, byte-level BPE (Sennrich et al., 2016; bytes as GPT-2). Ids: the specials in their order, the 256 bytes in the
 * order of GPT-2's vocabulary, then a token a merge.
 * CHARACTERS, the same on characters: the specials, "<|unk|>" among them (added where it is not), the characters of the
 * text by code point (where the size does not suffice for all the most frequent), then a token a merge.
 * WORDS, a vocabulary of words and punctuation marks, cut at white space: words in byte order (where the size does not
 * suffice the most frequent), then the specials, "<|endoftext|>" and "<|unk|>" among them (added where they are not). Text
 * comes back with one space between words. No pattern.
 *
 * Fewer tokens than asked for are made where the text gives no more; the observer is told. */
enum lm_training_kind { LM_TRAIN_BYTES, LM_TRAIN_CHARACTERS, LM_TRAIN_WORDS };
enum { LM_TRAINING_MEMORY_LEAST = 64 << 20 };
struct lm_tokenizer_training {
    const char *const *files;
    size_t file_count;
    const char *text; /* or this text, where file_count is 0 */
    size_t text_length;
    enum lm_training_kind kind;
    int32_t vocabulary_size; /* all tokens together */
    const char *pattern;     /* "gpt2", "llama3", … or a regular expression; NULL: "gpt2" */
    const char *const *specials;
    size_t special_count;
    bool ties_by_bytes; /* equal counts: the greater pair in byte order first; else the lower ids first */
    int threads;        /* 0: lm_processors(); the result does not depend on it */
    /* Bytes of memory that training may take; 0: what it needs, else at least LM_TRAINING_MEMORY_LEAST. Where it does not
     * suffice for the text's different words, the text is read several times, and the rarest words are left out, all of
     * those that occur equally often; the observer is told. */
    int64_t memory;
    const loam_observer *observer;
};
int lm_tokenizer_train(const struct lm_tokenizer_training *training, struct lm_tokenizer **tokenizer,
                       loam_error *error);

/* Adds a tokenizer's pairs to a GGUF file: byte-level BPE with the patterns of GPT-2, Llama 3 and Qwen2; others: LOAM_EUNSUPPORTED.
 * `rows`: of the model's embedding table. lm_tokenizer_load reads such files, and those with SentencePiece's BPE. */
struct lm_gguf_writer;
int lm_tokenizer_put_gguf(const struct lm_tokenizer *tokenizer, int64_t rows, struct lm_gguf_writer *writer, loam_error *error);

#endif
