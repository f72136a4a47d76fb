/* What the fuzz targets of readers do with a tokenizer that was read: everything that goes through its tables. */
#ifndef LOAM_FUZZ_USE_H
#define LOAM_FUZZ_USE_H

#include "tokenizer/internal.h"
#include "tokenizer/readers.h"

#include <stdlib.h>

static inline void fuzz_encode(const struct lm_tokenizer *tokenizer, const char *text, size_t length, unsigned flags)
{
    struct lm_ids ids = {0}, starts = {0}, ends = {0};
    struct lm_bytes out = {0}, streamed = {0};
    struct lm_stream stream = {0};
    loam_error error;
    if (lm_tokenizer_encode_places(tokenizer, text, length, flags, &ids, &starts, &ends, &error) == LOAM_OK) {
        if (starts.length != ids.length || ends.length != ids.length)
            abort();
        for (size_t i = 0; i < ids.length; i++)
            if (starts.data[i] < 0 || starts.data[i] > ends.data[i] || (size_t)ends.data[i] > length)
                abort();
        if (lm_tokenizer_decode(tokenizer, ids.data, ids.length, false, &out, &error) != LOAM_OK)
            abort();
        for (size_t i = 0; i < ids.length && i < 200; i++)
            if (lm_stream_push(tokenizer, &stream, ids.data[i], true, &streamed, &error) != LOAM_OK)
                abort();
        if (lm_stream_finish(tokenizer, &stream, &streamed, &error) != LOAM_OK ||
            lm_utf8_check(streamed.data ? streamed.data : "", streamed.length) != streamed.length)
            abort();
    }
    lm_stream_free(&stream);
    lm_ids_free(&ids);
    lm_ids_free(&starts);
    lm_ids_free(&ends);
    lm_bytes_free(&out);
    lm_bytes_free(&streamed);
}

/* Takes the tokenizer over. */
static inline void fuzz_use(struct lm_tokenizer *tokenizer)
{
    static const char text[] = "The 1st <s> caf\xC3\xA9, e\xCC\x81\n\n  \xE2\x96\x81\xE4\xB8\x96 \xFF'S hello";
    struct lm_tokenizer *again = NULL;
    struct lm_bytes json = {0};
    loam_error error;
    for (unsigned flags = 0; flags < 4; flags++)
        fuzz_encode(tokenizer, text, sizeof text - 1, flags);
    if (lm_tokenizer_to_json(tokenizer, &json, &error) == LOAM_OK) {
        if (lm_tokenizer_from_json(json.data, json.length, "written", &again, &error) != LOAM_OK &&
            error.code != LOAM_ENOMEM)
            abort();
    }
    lm_bytes_free(&json);
    lm_tokenizer_free(tokenizer);
    lm_tokenizer_free(again);
}

#endif
