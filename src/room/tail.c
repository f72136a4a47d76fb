/* The end of a room's history in memory. Messages are only added, so that it only grows at its end; it is cut at its begin when it has
 * become much longer than what views have needed. */
#include "rooms_inside.h"

#include <string.h>

enum { FIRST_CAPACITY = 64, SLACK = 4 };

void lm_tail_free(struct lm_tail *tail)
{
    lm_bytes_free(&tail->bytes);
    lm_free(tail->heard);
    *tail = (struct lm_tail){0};
}

static int64_t last_id(const struct lm_tail *tail)
{
    return tail->count ? tail->heard[tail->count - 1].id : 0;
}

/* Names and texts moved from where the first name was to where it is now. */
static void rebase(struct lm_tail *tail, const char *was)
{
    for (size_t i = 0; i < tail->count; i++) {
        tail->heard[i].name = tail->bytes.data + (tail->heard[i].name - was);
        tail->heard[i].text = tail->bytes.data + (tail->heard[i].text - was);
    }
}

static int grow(struct lm_tail *tail, size_t bytes)
{
    if (tail->count == tail->capacity) {
        const size_t capacity = tail->capacity ? 2 * tail->capacity : FIRST_CAPACITY;
        struct lm_heard *heard = lm_resize(tail->heard, capacity, sizeof *heard, tail->error);
        if (!heard)
            return LOAM_ENOMEM;
        tail->heard = heard;
        tail->capacity = capacity;
    }
    const char *was = tail->bytes.data;
    const int code = lm_bytes_reserve(&tail->bytes, bytes, tail->error);
    if (code == LOAM_OK && was != tail->bytes.data)
        rebase(tail, was);
    return code;
}

static int add(void *user, const struct lm_kept *kept)
{
    struct lm_tail *tail = user;
    const size_t name = strlen(kept->name) + 1, text = kept->length + 1;
    tail->code = grow(tail, name + text);
    if (tail->code != LOAM_OK)
        return 1;
    struct lm_heard *heard = &tail->heard[tail->count];
    *heard = (struct lm_heard){.id = kept->id, .author = kept->author, .length = kept->length};
    heard->name = tail->bytes.data + tail->bytes.length;
    heard->text = heard->name + name;
    lm_bytes_append(&tail->bytes, kept->name, name, NULL);    /* there is room */
    lm_bytes_append(&tail->bytes, kept->text, text, NULL);
    tail->count++;
    return 0;
}

static void cut(struct lm_tail *tail)
{
    const size_t keep = 2 * tail->wanted + FIRST_CAPACITY;
    if (tail->count <= SLACK * keep)
        return;
    const size_t out = tail->count - keep;
    const size_t bytes = (size_t)(tail->heard[out].name - tail->bytes.data);
    memmove(tail->bytes.data, tail->bytes.data + bytes, tail->bytes.length - bytes);
    tail->bytes.length -= bytes;
    memmove(tail->heard, tail->heard + out, keep * sizeof *tail->heard);
    tail->count = keep;
    rebase(tail, tail->bytes.data + bytes);
    tail->whole = false;
}

int lm_tail_read(struct lm_room *room, size_t wanted, loam_error *error)
{
    struct lm_tail *tail = &room->tail;
    int code;
    tail->error = error;
    tail->code = LOAM_OK;
    tail->wanted = wanted > tail->wanted ? wanted : tail->wanted;
    if (tail->count && (tail->whole || tail->count >= wanted)) {
        code = lm_ledger_history(room->rooms->ledger, room->number, last_id(tail), 0, add, tail, error);
    } else {
        tail->count = tail->bytes.length = 0;
        code = lm_ledger_latest(room->rooms->ledger, room->number, (int64_t)wanted, add, tail, error);
        tail->whole = tail->count < wanted;
    }
    code = code == LOAM_OK ? tail->code : code;
    if (code != LOAM_OK)
        lm_tail_free(tail);
    else
        cut(tail);
    return code;
}
