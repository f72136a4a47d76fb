/* What any thread does to a room by itself: posting, and asking the ledger. */
#include "rooms_inside.h"

#include <string.h>

enum { LARGEST_POST = 1 << 20 };

/* --- Posting --- */

/* Everything that the news of a message needs, before it is kept: what was kept is told for certain. */
static int prepare(struct lm_room *room, const struct lm_post *post, struct lm_news **result, loam_error *error)
{
    char name[LM_NAME_BYTES];
    struct lm_bytes text = {0};
    struct lm_news *news = lm_news_make(LM_NEWS_POST, room, error);
    if (!news)
        return LOAM_ENOMEM;
    lm_harmless_name(post->who.name ? post->who.name : "", name);
    int code = lm_harmless_text(post->text, post->length, &text, error);
    news->text = text.data;
    news->length = text.length;
    news->time = lm_time();
    news->quiet = post->quiet;
    news->name = lm_copy_string(name, strlen(name), error);
    news->person = post->who.id ? lm_copy_string(post->who.id, strlen(post->who.id), error) : NULL;
    news->toward = post->to ? lm_copy_string(post->to, strlen(post->to), error) : NULL;
    if (code == LOAM_OK && (!news->name || (post->who.id && !news->person) || (post->to && !news->toward)))
        code = LOAM_ENOMEM;
    if (code == LOAM_OK && strspn(news->text, " \t\n") == news->length)
        code = lm_fail(error, LOAM_EUSAGE, "the message is empty, or of nothing that can be seen");
    if (code != LOAM_OK) {
        lm_news_free(news);
        return code;
    }
    *result = news;
    return LOAM_OK;
}

static int refuse(struct lm_room *room, const struct lm_post *post, int code)
{
    if (post->source && post->position >= 0)
        lm_ledger_pass_over(room->rooms->ledger, post->source, post->position, NULL, NULL);
    return code;
}

int lm_room_post(struct lm_room *room, const struct lm_post *post, int64_t *id, loam_error *error)
{
    struct lm_news *news;
    int64_t kept = 0;
    if (post->length > LARGEST_POST)
        return refuse(room, post, lm_fail(error, LOAM_EUSAGE, "the message has %zu bytes, wanted at most %d; send it in parts", post->length,
                                          LARGEST_POST));
    int code = prepare(room, post, &news, error);
    if (code == LOAM_EUSAGE)
        return refuse(room, post, code);
    if (code != LOAM_OK)
        return code;
    const struct lm_ledger_message message = {.room = room->number, .time = news->time, .author = LM_AUTHOR_PERSON, .person = news->person,
                                             .name = news->name, .text = news->text, .length = news->length, .quiet = news->quiet,
                                             .toward = news->toward, .source = post->source, .position = post->position};
    code = lm_ledger_add(room->rooms->ledger, &message, &kept, error);
    if (code != LOAM_OK || !kept) {
        lm_news_free(news);
    } else {
        news->id = kept;
        lm_rooms_push(room->rooms, news);
    }
    if (code == LOAM_OK && id)
        *id = kept;
    return code;
}

void lm_room_stop(struct lm_room *room)
{
    struct lm_news *news = lm_news_make(LM_NEWS_STOP, room, NULL);
    if (news)
        lm_rooms_push(room->rooms, news);
}

/* --- what the ledger has --- */

int lm_room_history(struct lm_room *room, int64_t after, int64_t limit, int (*take)(void *user, const struct lm_kept *kept), void *user,
                    loam_error *error)
{
    return lm_ledger_history(room->rooms->ledger, room->number, after, limit, take, user, error);
}

int lm_room_latest(struct lm_room *room, int64_t limit, int (*take)(void *user, const struct lm_kept *kept), void *user, loam_error *error)
{
    return lm_ledger_latest(room->rooms->ledger, room->number, limit, take, user, error);
}

int lm_room_search(struct lm_room *room, const char *text, int64_t limit, int (*take)(void *user, const struct lm_kept *kept), void *user,
                   loam_error *error)
{
    return lm_ledger_search(room->rooms->ledger, room->number, text, limit, take, user, error);
}

int lm_rooms_position(struct lm_rooms *rooms, const char *source, int64_t *position, loam_error *error)
{
    return lm_ledger_position(rooms->ledger, source, position, error);
}

int lm_rooms_pass_over(struct lm_rooms *rooms, const char *source, int64_t position, bool *seen, loam_error *error)
{
    return lm_ledger_pass_over(rooms->ledger, source, position, seen, error);
}

int lm_rooms_note_set(struct lm_rooms *rooms, const char *key, const char *value, loam_error *error)
{
    return lm_ledger_note_set(rooms->ledger, key, value, error);
}

int lm_rooms_note_get(struct lm_rooms *rooms, const char *key, char **value, loam_error *error)
{
    return lm_ledger_note_get(rooms->ledger, key, value, error);
}

int lm_rooms_note_list(struct lm_rooms *rooms, const char *prefix, char ***keys, size_t *count, loam_error *error)
{
    return lm_ledger_note_list(rooms->ledger, prefix, keys, count, error);
}
