/* A room on a web page: several people at once in their browsers, live. Part of room.h.
 *
 *     struct lm_room_web_options options = {.rooms = rooms, .room = room, .host = "127.0.0.1", .port = 8081};
 *     struct lm_room_web *web;
 *     if (lm_room_web_open(&options, &web, error)) return error->code;
 *     char link[256];
 *     lm_room_web_link(web, false, link);              // give it to whom you invite: http://127.0.0.1:8081/#3f…
 *     lm_room_web_close(web);
 *
 * Who has the link is in. The secret stands behind the #, which browsers keep to themselves; the page sends it as a bearer token with
 * everything it asks, and it is compared in constant time. There are two: a guest's, and the owner's, whose commands may change settings.
 * Both are kept in the database, so that links work after a restart; lm_room_web_renew (the owner's "New link" on the page) makes the
 * guests' one void.
 *
 * The page's files are open; everything else wants a token: GET /api/events (server-sent events: `state`, `history`, then what
 * happens), POST /api/say {name, text}, /api/command {name, line}, /api/search {text}, /api/link, GET /api/export/FORM.
 */
#ifndef LOAM_ROOM_WEB_H
#define LOAM_ROOM_WEB_H

struct lm_room_web;
struct lm_room_web_options {
    struct lm_rooms *rooms;
    struct lm_room *room;
    const char *host;
    int port;                   /* 0: a free one */
};
/* The address in use: LOAM_EBUSY. */
int lm_room_web_open(const struct lm_room_web_options *options, struct lm_room_web **web, loam_error *error);
/* Before the rooms are closed. NULL is fine. */
void lm_room_web_close(struct lm_room_web *web);
int lm_room_web_port(const struct lm_room_web *web);
enum { LM_WEB_LINK_BYTES = 512 };
void lm_room_web_link(struct lm_room_web *web, bool owner, char link[LM_WEB_LINK_BYTES]);
int lm_room_web_renew(struct lm_room_web *web, loam_error *error);

#endif
