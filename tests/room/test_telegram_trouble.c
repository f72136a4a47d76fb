/* The bot when Telegram, the network or the other side misbehave: said once, gone on from, nothing lost or doubled. */
#include "support/bot.h"

#include <unistd.h>

#define SAY(text) "{\"chat\": 5, \"user\": 5, \"text\": \"" text "\"}"
#define YES "\xf0\x9f\xa4\x96 Ada\nYes."

static void open_chat(const struct bot_options *options, struct bot *bot)
{
    bot_open(options, bot);
    bot_authorise(bot, 5, 5);
    lm_document_free(bot_wait_sent(bot, 1));
    bot_answers(bot, "{\"text\": \"Yes.\"}");
}

/* Each fault of sending meets the first of two answers in a chat of its own: both are there at the end, the first one as often as Telegram itself
 * made it appear. */
static void sending(void **state)
{
    (void)state;
    static const struct {
        const char *fault, *logged;
        size_t first;
    } cases[] = {
        {"\"kind\": \"retry\", \"seconds\": 1", "(429); waiting 1 s", 1},
        {"\"kind\": \"status\", \"status\": 502", "502", 1},
        {"\"kind\": \"status\", \"status\": 500, \"description\": \"Internal Server Error\"", "500 Internal Server Error", 1},
        {"\"kind\": \"refuse\"", NULL, 1},     /* libcurl asks again by itself where a kept connection has ended */
        {"\"kind\": \"half\"", NULL, 1},       /* 200 came: it is there */
        {"\"kind\": \"garbage\"", NULL, 0},    /* the stand-in says 200 and has done nothing: believed */
        {"\"kind\": \"lost\"", NULL, 2},    /* nothing came: it cannot be known, so it is said again */
        {"\"kind\": \"delay\", \"seconds\": 0.3", NULL, 1},
        {"\"kind\": \"no_entities\"", NULL, 1},
        {"\"kind\": \"status\", \"status\": 400, \"times\": 2", "was refused and is left out", 0},
    };
    struct bot bot;
    size_t before = 1;
    open_chat(&(struct bot_options){0}, &bot);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int chat = 100 + (int)i;
        char words[200];
        bot_authorise(&bot, chat, chat);
        lm_document_free(bot_wait_sent(&bot, ++before));
        snprintf(words, sizeof words, "{\"method\": \"sendMessage\", %s}", cases[i].fault);
        bot_tell(&bot, "fault", words);
        snprintf(words, sizeof words, "{\"chat\": %d, \"user\": %d, \"text\": \"Hi\"}", chat, chat);
        bot_tell(&bot, "say", words);
        struct lm_document *sent = bot_wait_sent(&bot, before + cases[i].first + 1);
        for (size_t n = 0; n < cases[i].first; n++)
            assert_string_equal(bot_sent(sent, before + n), YES);
        before += cases[i].first + 1;
        assert_string_equal(bot_sent(sent, before - 1), "\xf0\x9f\xa4\x96 Bix\nYes.");
        lm_document_free(sent);
        if (cases[i].logged) {
            bot_wait_logged(&bot, cases[i].logged);
            snprintf(words, sizeof words, "chat %d: ", chat);
            assert_true(bot_logged(&bot, words));
        }
    }
    bot_close(&bot);
}

static size_t count_of(const char *text, const char *words)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, words)); at++)
        count++;
    return count;
}

/* Each fault of asking for updates: the message comes through once. */
static void asking(void **state)
{
    (void)state;
    static const struct {
        const char *fault, *logged;
    } cases[] = {
        {"\"kind\": \"status\", \"status\": 502", "502"},
        {"\"kind\": \"half\"", "ended before"},
        {"\"kind\": \"lost\"", NULL},
        {"\"kind\": \"garbage\"", "no JSON"},
        {"\"kind\": \"retry\", \"seconds\": 1", "too many questions (429)"},
        {"\"kind\": \"delay\", \"seconds\": 0.2", NULL},
        {"\"kind\": \"refuse\", \"times\": 2", "back after"},
    };
    struct bot bot;
    open_chat(&(struct bot_options){.poll_seconds = 1}, &bot);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char fault[200];
        snprintf(fault, sizeof fault, "{\"method\": \"getUpdates\", %s}", cases[i].fault);
        bot_tell(&bot, "fault", fault);
        bot_tell(&bot, "say", SAY("wake up"));    /* ends the question that is under way */
        bot_tell(&bot, "say", SAY("and this"));
        for (int n = 0; n < 2000 && count_of(bot_history(&bot, "telegram:5"), "and this") <= i; n++)
            usleep(10000);
        if (cases[i].logged)
            bot_wait_logged(&bot, cases[i].logged);
    }
    const char *history = bot_history(&bot, "telegram:5");
    assert_int_equal(count_of(history, "wake up"), sizeof cases / sizeof *cases);
    assert_int_equal(count_of(history, "and this"), sizeof cases / sizeof *cases);
    bot_close(&bot);
}

static void duplicates(void **state)
{
    (void)state;
    struct bot bot;
    open_chat(&(struct bot_options){0}, &bot);
    bot_tell(&bot, "say", SAY("one"));
    lm_document_free(bot_wait_sent(&bot, 3));
    bot_tell(&bot, "again", "{}");
    bot_tell(&bot, "again", "{}");
    bot_tell(&bot, "say", SAY("/who"));
    lm_document_free(bot_wait_sent(&bot, 4));
    bot_tell(&bot, "again", "{}");    /* the command too */
    usleep(100000);
    lm_document_free(bot_wait_sent(&bot, 4));
    bot_again(&(struct bot_options){0}, &bot);
    bot_tell(&bot, "again", "{}");    /* nor does a new process run it */
    usleep(300000);
    lm_document_free(bot_wait_sent(&bot, 4));
    bot_tell(&bot, "shuffle", "{\"on\": true}");
    bot_tell(&bot, "say", "{\"chat\": 5, \"user\": 5, \"text\": \"m{i}\", \"times\": 5}");
    lm_rooms_idle(bot.rooms, 5);
    usleep(500000);
    lm_rooms_idle(bot.rooms, 5);
    char words[2000];
    snprintf(words, sizeof words, "%s", bot_history(&bot, "telegram:5"));
    const char *at = words;
    for (int i = 0; i < 5; i++) {    /* in their order, once each */
        char message[16];
        snprintf(message, sizeof message, "Ann: m%d", i);
        at = strstr(at, message);
        if (!at)
            fail_msg("%s is missing or out of order in %s", message, words);
        assert_null(strstr(at + 1, message));
    }
    bot_close(&bot);
}

/* What came in long ago is kept and not answered. */
static void expired(void **state)
{
    (void)state;
    struct bot bot;
    open_chat(&(struct bot_options){0}, &bot);
    bot_tell(&bot, "say", "{\"chat\": 5, \"user\": 5, \"text\": \"long ago\", \"date\": 1500000000, \"times\": 2}");
    struct lm_document *sent = bot_wait_sent(&bot, 2);
    assert_non_null(strstr(bot_sent(sent, 1), "came in while I was away"));
    lm_document_free(sent);
    assert_string_equal(bot_history(&bot, "telegram:5"), "Ann: long ago|Ann: long ago");
    bot_close(&bot);
}

static void second_poller(void **state)
{
    (void)state;
    struct bot bot;
    open_chat(&(struct bot_options){.poll_seconds = 1}, &bot);
    bot_tell(&bot, "poller", "{\"times\": 2}");
    bot_wait_logged(&bot, "another program asks for this bot's updates (409)");
    bot_tell(&bot, "say", SAY("Hi"));
    lm_document_free(bot_wait_sent(&bot, 3));
    assert_true(bot_logged(&bot, "the other program has stopped"));
    bot_close(&bot);
}

static void left_webhook(void **state)
{
    (void)state;
    struct bot bot;
    open_chat(&(struct bot_options){.poll_seconds = 1}, &bot);
    standin_tell(&bot.api, "/bot" BOT_TOKEN "/setWebhook", "{\"url\": \"http://127.0.0.1:1/x\"}");
    bot_wait_logged(&bot, "a webhook was set for this bot; it is taken away");
    bot_tell(&bot, "say", SAY("Hi"));
    lm_document_free(bot_wait_sent(&bot, 3));
    bot_close(&bot);
}

static void revoked(void **state)
{
    (void)state;
    struct bot bot;
    open_chat(&(struct bot_options){.poll_seconds = 1}, &bot);
    bot_tell(&bot, "bot", "{\"revoked\": true}");
    bot_wait_logged(&bot, "the token 'tg' is not accepted (401 Unauthorized); was it revoked?");
    bot_close(&bot);
    bot_open(&(struct bot_options){.token = "no-token-at-all"}, &bot);
    bot_wait_logged(&bot, "the token 'tg' is not accepted (404 Not Found)");
    bot_close(&bot);
}

/* Telegram is away for a while: what is said meanwhile comes through afterwards, in order, once. */
static void network_loss(void **state)
{
    (void)state;
    struct bot bot;
    open_chat(&(struct bot_options){.poll_seconds = 1}, &bot);
    bot_tell(&bot, "fault", "{\"method\": \"getUpdates\", \"kind\": \"refuse\", \"times\": 4}");
    bot_tell(&bot, "fault", "{\"method\": \"sendMessage\", \"kind\": \"refuse\", \"times\": 3}");
    bot_tell(&bot, "say", SAY("before"));
    bot_wait_logged(&bot, "trying again until it is back");
    bot_tell(&bot, "say", SAY("meanwhile"));
    bot_wait_logged(&bot, "back after");
    for (int i = 0; i < 1000 && !strstr(bot_history(&bot, "telegram:5"), "meanwhile"); i++)
        usleep(10000);
    lm_rooms_idle(bot.rooms, 10);
    lm_telegram_idle(bot.telegram, 10);
    struct lm_document *sent = standin_ask(&bot.api, "/control/sent");
    const size_t count = lm_value_find(lm_document_root(sent), "sent")->length;
    size_t answers = 0;
    for (const char *at = bot_history(&bot, "telegram:5"); (at = strstr(at, ": Yes.")); at++)
        answers++;
    assert_int_equal(count, 1 + answers);
    assert_true(answers >= 2);
    lm_document_free(sent);
    bot_close(&bot);
}

/* Put out of a chat: nothing is sent until somebody writes. */
static void blocked(void **state)
{
    (void)state;
    struct bot bot;
    open_chat(&(struct bot_options){0}, &bot);
    bot_tell(&bot, "chat", "{\"id\": 5, \"blocked\": true}");
    bot_tell(&bot, "say", SAY("Hi"));
    bot_wait_logged(&bot, "blocked by the user; nothing is sent there until somebody writes");
    bot_tell(&bot, "chat", "{\"id\": 5, \"blocked\": false}");
    bot_tell(&bot, "update", "{\"my_chat_member\": {\"chat\": {\"id\": 5}, \"new_chat_member\": {\"status\": \"member\"}}}");
    lm_document_free(bot_wait_sent(&bot, 3));    /* what was left */
    bot_tell(&bot, "update", "{\"my_chat_member\": {\"chat\": {\"id\": 5}, \"new_chat_member\": {\"status\": \"kicked\"}}}");
    bot_wait_logged(&bot, "has put the bot out");
    bot_close(&bot);
}

/* A topic that is gone is silent; the rest of its group is not. */
static void closed_topic(void **state)
{
    (void)state;
    struct bot bot;
    bot_open(&(struct bot_options){0}, &bot);
    bot_tell(&bot, "chat", "{\"id\": -100, \"type\": \"supergroup\", \"is_forum\": true}");
    bot_authorise(&bot, -100, 5);
    lm_document_free(bot_wait_sent(&bot, 1));
    bot_answers(&bot, "{\"text\": \"Yes.\"}");
    bot_tell(&bot, "chat", "{\"id\": -100, \"closed\": [7]}");
    bot_tell(&bot, "say", "{\"chat\": -100, \"user\": 5, \"text\": \"/cost\", \"topic\": 7}");
    bot_wait_logged(&bot, "topic 7: ");
    bot_tell(&bot, "say", "{\"chat\": -100, \"user\": 5, \"text\": \"/cost\", \"topic\": 8}");
    lm_document_free(bot_wait_sent(&bot, 2));    /* the welcome, and what was asked for in the other topic */
    bot_close(&bot);
}

/* One budget for a chat: Telegram never has to say no, and all comes through. */
static void budget(void **state)
{
    (void)state;
    struct bot bot;
    open_chat(&(struct bot_options){.chat_rate = 5}, &bot);
    bot_tell(&bot, "chat", "{\"id\": 5, \"rate\": [11, 1]}");
    bot_tell(&bot, "say", "{\"chat\": 5, \"user\": 5, \"text\": \"/cost\", \"times\": 12}");
    lm_document_free(bot_wait_sent(&bot, 13));
    struct lm_document *seen = bot_state(&bot);
    assert_string_equal(lm_value_find(lm_document_root(seen), "violations")->text, "0");
    lm_document_free(seen);
    bot_close(&bot);
}

/* What was said and not sent before the house was closed is sent by the next one. */
static void unsent(void **state)
{
    (void)state;
    struct bot bot;
    open_chat(&(struct bot_options){0}, &bot);
    bot_tell(&bot, "fault", "{\"method\": \"sendMessage\", \"kind\": \"status\", \"status\": 502, \"times\": 3}");
    bot_tell(&bot, "say", SAY("Hi"));
    for (int i = 0; i < 1000 && !strstr(bot_history(&bot, "telegram:5"), "Bix: Yes."); i++)
        usleep(10000);
    bot_again(&(struct bot_options){0}, &bot);
    struct lm_document *sent = bot_wait_sent(&bot, 3);
    assert_string_equal(bot_sent(sent, 1), YES);
    lm_document_free(sent);
    bot_close(&bot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sending),   cmocka_unit_test(asking),       cmocka_unit_test(duplicates),
                                       cmocka_unit_test(expired),   cmocka_unit_test(second_poller), cmocka_unit_test(left_webhook),
                                       cmocka_unit_test(revoked),   cmocka_unit_test(network_loss), cmocka_unit_test(blocked),
                                       cmocka_unit_test(budget),    cmocka_unit_test(unsent),
                                       cmocka_unit_test(closed_topic)};
    return cmocka_run_group_tests_name("room/telegram_trouble", tests, NULL, NULL);
}
