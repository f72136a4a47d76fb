/* Rooms on Telegram: a bot that lets authorised chats into the house. Part of room/'s face.
 *
 *     struct lm_telegram *telegram;
 *     struct lm_telegram_options options = {.rooms = rooms, .config = config, .client = client, .secrets = secrets, .log = print};
 *     if (lm_telegram_open(&options, &telegram, error)) return error->code;
 *     ...
 *     lm_rooms_idle(rooms, -1);
 *     lm_telegram_idle(telegram, 10);       // what was said goes out
 *     lm_telegram_close(telegram);          // before the house
 *
 * A chat is a room ("telegram:ID", a forum's topic "telegram:ID/TOPIC"). Updates are asked for by long polling, or brought by a webhook
 * where the configuration names one. An update counts as received once it is kept: its id goes into the database in one transaction
 * with its message. What AIs say is not queued here: it is read from the history behind the last message that went out, which is noted
 * for each room; so a process that is killed repeats at most the message it was sending, and loses none.
 *
 * One thread; it never waits for the network. Functions may be called from any thread. */
#ifndef LOAM_ROOM_TELEGRAM_H
#define LOAM_ROOM_TELEGRAM_H

#include "base/base.h"

struct lm_exchange;
struct lm_http_client;
struct lm_room_config;
struct lm_rooms;
struct lm_secrets;
struct lm_telegram;

struct lm_telegram_options {             /* all of it outlives the bot */
    struct lm_rooms *rooms;
    const struct lm_room_config *config; /* its `telegram` section is given */
    struct lm_http_client *client;
    const struct lm_secrets *secrets;
    const char *host;                    /* webhook: listen here for it; NULL: exchanges come by lm_telegram_take */
    int port;
    double poll_seconds;                 /* how long Telegram keeps a question for updates open; 0: 50 */
    double chat_rate, group_rate;        /* messages a second that one chat may be sent; 0: 1 and 20 a minute */
    double backoff;                      /* seconds before the first try after trouble, doubled for each, at most a minute; 0: 1 */
    double slow;                         /* seconds after a first wrong secret, doubled for each; 0: 1 */
    void (*log)(void *user, const char *line);    /* for whoever runs the room; without secrets. May be NULL; any thread */
    void *user;
};
/* A token or secret whose name is not among the secrets, or neither a secret nor an allow-list (nobody could come in): an error.
 * What Telegram says of the token comes later, to `log`. */
int lm_telegram_open(const struct lm_telegram_options *options, struct lm_telegram **telegram, loam_error *error);
/* Waits until nothing is left to be sent, at most `seconds`: whether that is so. */
bool lm_telegram_idle(struct lm_telegram *telegram, double seconds);
void lm_telegram_close(struct lm_telegram *telegram);    /* NULL is fine */
/* Whether the exchange is Telegram's call of the webhook; it is taken over then. */
bool lm_telegram_take(struct lm_telegram *telegram, struct lm_exchange *exchange);

#endif
