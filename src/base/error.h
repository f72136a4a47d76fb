/* Errors: a code to act on, a message for a person.
 *
 *     if (count < 1)
 *         return lm_fail(error, LOAM_EFORMAT, "%s: field 'n_layer': found %ld, wanted 1 or more; "
 *                        "repair the file or fetch it again", path, count);
 *
 * `error` may be NULL everywhere. Nothing here allocates; all functions may be called from any thread.
 */
#ifndef LOAM_BASE_ERROR_H
#define LOAM_BASE_ERROR_H

#include "../../include/loam.h"

#if defined(__GNUC__)
#define LM_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define LM_UNUSED __attribute__((unused))
#else
#define LM_PRINTF(text, first)
#define LM_UNUSED
#endif

/* Fills `error` (position -1) and returns `code`. Bytes that are not UTF-8 or are control characters are
 * shown as \xNN, so that a hostile file name or token cannot drive the reader's terminal. */
int lm_fail(loam_error *error, int code, const char *format, ...) LM_PRINTF(3, 4);

/* The same with the byte offset of the fault. */
int lm_fail_at(loam_error *error, int code, int64_t position, const char *format, ...) LM_PRINTF(4, 5);

/* Appends ": <strerror(errno_value)>" and picks the code: ENOENT gives LOAM_ENOTFOUND, ENOSPC and EDQUOT
 * LOAM_ENOSPACE, ENOMEM LOAM_ENOMEM, the rest LOAM_EIO. */
int lm_fail_errno(loam_error *error, int errno_value, const char *format, ...) LM_PRINTF(3, 4);

/* Puts "<context>: " before the message that is already there. Returns error->code (or `code` where error is
 * NULL), so that a caller can write: return lm_fail_within(error, code, "%s", path). */
int lm_fail_within(loam_error *error, int code, const char *format, ...) LM_PRINTF(3, 4);

#endif
