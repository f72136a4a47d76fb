/* loam: language models from a text file to an assistant, as one C library.
 *
 *     #include <loam.h>
 *     #include <stdio.h>
 *
 *     static void show(void *user, const char *text, size_t length)
 *     {
 *         (void)user;
 *         fwrite(text, 1, length, stdout);
 *     }
 *
 *     int main(void)
 *     {
 *         loam_error error;
 *         loam_model *model;
 *         if (loam_model_open("loam-quickstart", &model, &error) != LOAM_OK) {
 *             fprintf(stderr, "%s\n", error.message);
 *             return 1;
 *         }
 *         loam_sampling how = loam_sampling_default();
 *         int failed = loam_chat(model, "How many r's are in strawberry?", &how, show, NULL, &error);
 *         loam_model_close(model);
 *         return failed != LOAM_OK;
 *     }
 *
 * Conventions. A function that can fail returns LOAM_OK (0) or a negative code and fills the loam_error it is
 * given (which may be NULL). Results come through pointers, which are written last, and only on success.
 * The library never prints, exits or aborts. Objects of different models may be used from different threads
 * at once; one object only from one thread at a time.
 */
#ifndef LOAM_H
#define LOAM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LOAM_API __attribute__((visibility("default")))
#else
#define LOAM_API
#endif

/* The one list of status codes: name, value, what it means. */
#define LOAM_STATUS_LIST(X)                                                        \
    X(OK, 0, "done")                                                               \
    X(EUSAGE, -1, "a setting or argument is wrong")                                \
    X(ENOMEM, -2, "not enough memory")                                             \
    X(EIO, -3, "reading or writing failed")                                        \
    X(ENOTFOUND, -4, "no such file or entry")                                      \
    X(EFORMAT, -5, "a file breaks its format")                                     \
    X(EUNSUPPORTED, -6, "understood, but not supported")                           \
    X(EMISMATCH, -7, "two things that do not fit each other")                      \
    X(ENUMERIC, -8, "a number is not finite")                                      \
    X(ENOSPACE, -9, "not enough room on the disk")                                 \
    X(EBUSY, -10, "in use by another process")                                     \
    X(ECANCELLED, -11, "stopped on request")

enum loam_status {
#define LOAM_STATUS_ENUM(name, value, text) LOAM_##name = value,
    LOAM_STATUS_LIST(LOAM_STATUS_ENUM)
#undef LOAM_STATUS_ENUM
};

/* What went wrong. `message` is one line of UTF-8 that names the file, the place, what was found, what was
 * wanted and what to do. `position` is the byte offset in the input that is at fault, or -1. */
typedef struct loam_error {
    int code;
    int64_t position;
    char message[1024];
} loam_error;

/* "ENOTFOUND" and "no such file or entry" for a code; a fixed text for an unknown one. Never NULL. */
LOAM_API const char *loam_status_name(int code);
LOAM_API const char *loam_status_text(int code);

/* The version of the library, e.g. "0.1.0". */
LOAM_API const char *loam_version(void);

/* How long work tells of itself and how it can be stopped. Any member may be NULL. Called from the thread that
 * called the library. `total` is 0 where the end is not known. `cancelled` returns nonzero to stop: the work
 * ends at the next safe moment with LOAM_ECANCELLED and nothing half written. */
typedef struct loam_observer {
    void *user;
    void (*progress)(void *user, const char *stage, int64_t done, int64_t total, const char *detail);
    void (*note)(void *user, const char *line);    /* a fact worth a line, e.g. how many samples were cut */
    int (*cancelled)(void *user);
} loam_observer;

/* How the next token is chosen. temperature 0: always the likeliest. top_k 0, top_p 1, min_p 0 and repetition_penalty 1 are off. */
typedef struct loam_sampling {
    double temperature;
    int64_t top_k;
    double top_p, min_p, repetition_penalty;
    uint64_t seed;
} loam_sampling;
LOAM_API loam_sampling loam_sampling_default(void);    /* temperature 0.7, top_p 0.95, the rest off */

/* A model directory, opened to be run: weights, tokenizer, chat template, and one conversation with its cache. */
typedef struct loam_model loam_model;
LOAM_API int loam_model_open(const char *directory, loam_model **model, loam_error *error);
LOAM_API void loam_model_close(loam_model *model);    /* NULL is fine */

/* Says `text` to the assistant and gives its answer to `show` in pieces, as it comes (whole UTF-8 characters; `user` is handed through).
 * Both turns join the conversation; after a failure neither does. `how` may be NULL: the default. */
LOAM_API int loam_chat(loam_model *model, const char *text, const loam_sampling *how,
                       void (*show)(void *user, const char *text, size_t length), void *user, loam_error *error);
/* Begins a new conversation; `system` is what the assistant is told first, NULL for nothing. */
LOAM_API int loam_chat_clear(loam_model *model, const char *system, loam_error *error);
/* Goes on from `text` as it stands, at most `max_tokens` tokens (0: until the context is full). */
LOAM_API int loam_generate(loam_model *model, const char *text, int64_t max_tokens, const loam_sampling *how,
                           void (*show)(void *user, const char *text, size_t length), void *user, loam_error *error);

#ifdef __cplusplus
}
#endif
#endif
