/* A house with two participants on a stand-in for services, on Telegram's stand-in; for tests.
 *
 *     struct bot bot;
 *     bot_open(&(struct bot_options){0}, &bot);
 *     bot_tell(&bot, "say", "{\"chat\": 5, \"user\": 5, \"text\": \"/start " BOT_SECRET "\"}");
 *     bot_wait_sent(&bot, 1);
 *     bot_close(&bot);                                  // and looks for keys in everything that was logged
 */
#ifndef LOAM_TESTS_BOT_H
#define LOAM_TESTS_BOT_H

#include "support/standin.h"

#include "net/net.h"
#include "room/room.h"

#include <pthread.h>

#define BOT_TOKEN "7654321:" TEST_MARK "-" TEST_MARK "-" TEST_MARK
#define BOT_SECRET "open-" TEST_MARK "-77"
#define BOT_KEY "sk-" TEST_MARK "-" TEST_MARK

struct bot_options {
    const char *telegram;                /* further members of the section: ", allow: [5]"; NULL: the secret */
    const char *room;                    /* further members of `room`: ", owner: 'telegram:9'" */
    const char *folder;                  /* with the database of an earlier house; NULL: a new one */
    const char *secret;                  /* "": none is named; NULL: it is */
    double poll_seconds, chat_rate, slow;
    bool webhook;
    const char *token;                   /* NULL: BOT_TOKEN */
};
struct bot {
    struct standin api, services;
    char folder[512];
    struct lm_room_config *config;
    struct lm_secrets *secrets;
    struct lm_http_client *client;
    struct lm_rooms *rooms;
    struct lm_telegram *telegram;
    pthread_mutex_t lock;
    struct lm_bytes logged;
    int port;                            /* of the webhook */
};
void bot_open(const struct bot_options *options, struct bot *bot);
/* Closes the house and opens it again beside the same stand-ins. */
void bot_again(const struct bot_options *options, struct bot *bot);
void bot_close(struct bot *bot);
void bot_tell(struct bot *bot, const char *what, const char *json);
/* How services answer from now on: {"text": …}. */
void bot_answers(struct bot *bot, const char *how);
/* Waits until so many messages were sent in all, then a moment more; fails the test where there are more or fewer. Free the document. */
struct lm_document *bot_wait_sent(struct bot *bot, size_t count);
const char *bot_sent(const struct lm_document *sent, size_t index);
struct lm_document *bot_state(struct bot *bot);
void bot_wait_logged(struct bot *bot, const char *words);
bool bot_logged(struct bot *bot, const char *words);
/* The history of a room as "name: text|…"; static. */
const char *bot_history(struct bot *bot, const char *room);
void bot_authorise(struct bot *bot, int64_t chat, int64_t user);

#endif
