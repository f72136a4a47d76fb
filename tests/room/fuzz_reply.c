/* Whatever a model says, in whatever pieces: what counts is valid UTF-8, never shrinks, holds no tag, and is the same however it was cut. */
#include "room/protocol.h"

#include <stdlib.h>
#include <string.h>

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void run(const char *text, size_t length, size_t step, struct lm_reply *reply)
{
    loam_error error;
    size_t shown = 0;
    char last = 0;
    *reply = (struct lm_reply){.name = "Ada"};
    for (size_t at = 0; at < length; at += step) {
        require(lm_reply_feed(reply, text + at, length - at < step ? length - at : step, &error) == LOAM_OK);
        require(reply->out.length >= shown && (!shown || reply->out.data[shown - 1] == last));
        shown = reply->out.length;
        last = shown ? reply->out.data[shown - 1] : 0;
    }
    require(lm_reply_finish(reply, &error) == LOAM_OK);
    require(reply->out.length >= shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct lm_reply whole, pieces;
    loam_error error;
    run(text, size, size ? size : 1, &whole);
    for (size_t at = 0; at < whole.out.length; at++) {
        const size_t tag = lm_tag_begin(whole.out.data + at, whole.out.length - at);
        require(tag == 0 || tag == SIZE_MAX);
    }
    require(lm_utf8_check(whole.out.data, whole.out.length) == whole.out.length);
    run(text, size, 1 + size % 5, &pieces);
    require(pieces.verdict == whole.verdict && pieces.cut == whole.cut);
    require(pieces.out.length == whole.out.length && (!whole.out.length || !memcmp(pieces.out.data, whole.out.data, whole.out.length)));
    lm_reply_free(&whole);
    lm_reply_free(&pieces);
    struct lm_bytes clean = {0}, again = {0};
    require(lm_harmless_text(text, size, &clean, &error) == LOAM_OK && lm_harmless_text(clean.data, clean.length, &again, &error) == LOAM_OK);
    require(clean.length == again.length && (!clean.length || !memcmp(clean.data, again.data, clean.length)));
    char *copy = lm_copy_string(text, size, &error), name[LM_NAME_BYTES], twice[LM_NAME_BYTES];
    lm_harmless_name(copy, name);
    lm_harmless_name(name, twice);
    require(!strcmp(name, twice) && lm_utf8_check(name, strlen(name)) == strlen(name));
    lm_name_key(copy, twice);
    lm_mentions(text, size, "Ada", size % 2);
    lm_free(copy);
    lm_bytes_free(&clean);
    lm_bytes_free(&again);
    return 0;
}
