/* What tests share: CMocka with its includes, temporary folders, the shared data, seeded numbers. */
#ifndef LOAM_TESTS_SUPPORT_H
#define LOAM_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

/* 1 where the program is built with the address or thread sanitizer: ten times as slow, and with an allocator of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

/* Fails the test with the library's own message where the code is not LOAM_OK. */
#define assert_ok(call, error)                                                                                        \
    do {                                                                                                              \
        int assert_ok_code = (call);                                                                                  \
        if (assert_ok_code != LOAM_OK)                                                                                \
            fail_msg("%s: %s: %s", #call, loam_status_name(assert_ok_code), (error)->message);                      \
    } while (0)
/* The call must fail with this code, and its message must hold every one of the words. */
#define assert_fails(call, error, code, ...)                                                                          \
    test_expect_failure((call), (error), (code), (const char *const[]){__VA_ARGS__, NULL}, #call)
void test_expect_failure(int got, const loam_error *error, int wanted, const char *const *words, const char *call);

/* Every secret that a test has (a key, a bot's token, a word that opens a room) holds this mark, and nothing else does: files that tests leave and
 * all that they print are looked through for it. Only files whose name begins with "secrets" or "keys" may hold it. */
#define TEST_MARK "hUsh7q"

/* A new empty folder, removed when the process ends, which fails where a secret is in it. The text lives as long. */
const char *test_folder(void);
/* "FOLDER/name" in a new or the last temporary folder; static until the process ends. */
const char *test_path(const char *folder, const char *name);
/* Path of a file under ../shared/data; skips the running test (CMocka's skip, with a line that begins "SKIP: shared data") where the
 * folder is not there. */
const char *test_shared(const char *name);

#endif
