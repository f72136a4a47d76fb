/* Any Markdown, cut at any length: parts fit, go on, and their entities lie inside. */
#include "room/markup.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lm_markup markup = {0};
    if (size < 2 || lm_utf8_check((const char *)data + 1, size - 1) != size - 1)
        return 0;
    const size_t units = 2 + data[0];
    if (lm_markup_make((const char *)data + 1, size - 1, &markup, NULL) == LOAM_OK) {
        if (lm_utf8_check(markup.text.data ? markup.text.data : "", markup.text.length) != markup.text.length)
            abort();
        for (size_t begin = 0, end, next; begin < markup.text.length; begin = next) {
            struct lm_bytes json = {0};
            struct lm_json_writer writer = lm_json_writer(&json, -1);
            end = lm_markup_cut(&markup, begin, units, &next);
            if (end <= begin || next < end || next > markup.text.length || lm_utf16_units(markup.text.data + begin, end - begin) > units)
                abort();
            lm_json_begin_array(&writer);
            lm_markup_write(&markup, begin, end, 0, &writer);
            lm_json_end_array(&writer);
            if (lm_json_writer_finish(&writer, NULL) != LOAM_OK)
                abort();
            lm_bytes_free(&json);
        }
    }
    lm_markup_free(&markup);
    return 0;
}
