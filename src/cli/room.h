/* loam room: people and AIs in one conversation, at a terminal.
 *
 * cmd_room.c reads options, opens the house and leaves it; room_talk.c takes lines and runs commands; room_show.c shows what happens.
 */
#ifndef LOAM_CLI_ROOM_H
#define LOAM_CLI_ROOM_H

#include "room/room.h"

#include <pthread.h>

struct room_show;
/* What happens is kept by the room's thread and shown by whoever calls room_show_now, so that lines that are typed and lines that come
 * do not mix. */
struct room_show_options {
    struct lm_room *room;
    const char *person;             /* whose own messages are not repeated */
    bool terminal, json;
};
int room_show_open(const struct room_show_options *options, struct room_show **show, loam_error *error);
void room_show_close(struct room_show *show);
int room_show_descriptor(const struct room_show *show);    /* readable while there is something to show */
/* Shows what there is; `streams`: answers piece by piece as they come, else whole messages only. True: something was shown. */
bool room_show_now(struct room_show *show, bool streams);
bool room_show_idle(struct room_show *show);               /* the room has come to rest since the last call */
/* A message of the history, as it would have been shown. */
int room_show_kept(void *show, const struct lm_kept *kept);

struct room_talk {
    struct lm_rooms *rooms;
    struct lm_room *room;
    struct room_show *show;
    const char *name;               /* of who types */
    bool terminal, json;
};
/* Until the end of input, /quit or SIGTERM; the running round is waited for, but for SIGTERM. Gives the exit status. */
int room_talk(struct room_talk *talk);

#endif
