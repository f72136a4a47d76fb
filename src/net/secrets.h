/* Secrets: keys of services, a bot's token. They come from a file that only its owner can read, or from the environment.
 *
 *     struct lm_secrets *secrets;
 *     if (lm_secrets_open("secrets", &secrets, error)) return error->code;      // NULL: the environment alone
 *     const struct lm_secret *key = lm_secrets_find(secrets, "cleo");           // NULL: neither in the file nor in the environment
 *     lm_secret_append(key, &header, error);                                    // the one way out of it
 *     lm_secrets_free(secrets);
 *
 * The file has a line `NAME = VALUE` for each; blanks around both and a pair of quotation marks around the value fall away; lines that
 * begin with # and empty ones are passed over. What is not in the file is looked for in the environment, under that very name.
 *
 * A struct lm_secret is opaque, holds no text at its beginning, and no message of these functions repeats a value or a line of the file;
 * lm_secrets_hide takes values out of any text that others made. Memory is wiped before it is given back. Any thread after opening. */
#ifndef LOAM_NET_SECRETS_H
#define LOAM_NET_SECRETS_H

#include "base/base.h"

struct lm_secret;
struct lm_secrets;

/* A file that others can read: LOAM_EUSAGE with the chmod to do. */
int lm_secrets_open(const char *path, struct lm_secrets **secrets, loam_error *error);
void lm_secrets_free(struct lm_secrets *secrets);    /* NULL is fine */
/* `secrets` may be NULL: nothing is found. What is found lives as long as they do. */
const struct lm_secret *lm_secrets_find(const struct lm_secrets *secrets, const char *name);

int lm_secret_append(const struct lm_secret *secret, struct lm_bytes *out, loam_error *error);
/* In a time that does not depend on where they differ. NULL and an empty secret equal nothing. */
bool lm_secret_matches(const struct lm_secret *secret, const char *given, size_t length);
/* Overwrites with stars what stands in a text of a value, or of every one that was asked for or is in the file: the whole of it where
 * it has 4 to 7 bytes, any eight bytes or more in a row of longer ones. */
void lm_secret_hide(const char *value, size_t length, char *text);
void lm_secrets_hide(const struct lm_secrets *secrets, char *text);
/* Overwrites and frees what held a secret. */
void lm_bytes_wipe(struct lm_bytes *bytes);

/* True where both are the same. The time depends on `given` and on the length of `secret`, not on its bytes or where they differ. */
bool lm_secret_equal(const char *secret, size_t secret_length, const char *given, size_t given_length);

/* The lines of a file that are neither empty nor comments, without blanks at their ends, numbered from 1; what was read is wiped.
 * `only_owner`: refused where others can read or write it. */
int lm_secret_lines(const char *path, bool only_owner, int (*take)(void *user, const char *line, size_t length, int64_t number),
                    void *user, loam_error *error);

#endif
