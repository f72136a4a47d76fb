/* Any bytes as a file of conversations: read or refused; what is read is written and reads back as the same. */
#include "data/data.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct lm_conversation *a, const struct lm_conversation *b)
{
    if (a->count != b->count)
        abort();
    for (size_t i = 0; i < a->count; i++)
        if (a->messages[i].role != b->messages[i].role || a->messages[i].length != b->messages[i].length ||
            memcmp(a->messages[i].content, b->messages[i].content, a->messages[i].length))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lm_conversations list = {0}, again = {0};
    struct lm_bytes text = {0};
    loam_error error;
    if (!lm_conversations_parse((const char *)data, size, "fuzz", &list, &error)) {
        for (size_t i = 0; i < list.count; i++)
            if (lm_conversation_write(&list.items[i], &text, &error))
                abort();
        if (lm_conversations_parse(text.data, text.length, "again", &again, &error) || again.count != list.count)
            abort();
        for (size_t i = 0; i < list.count; i++)
            check_same(&list.items[i], &again.items[i]);
    } else if (list.count || error.code != LOAM_EFORMAT || !*error.message) {
        abort();
    }
    lm_conversations_free(&list);
    lm_conversations_free(&again);
    lm_bytes_free(&text);
    return 0;
}
