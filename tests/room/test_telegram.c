/* The bot beside a stand-in of Telegram: coming in, talking, groups and topics, long messages. */
#include "support/bot.h"

#include <unistd.h>

static loam_error error;

#define SAY(chat, user, more) "{\"chat\": " #chat ", \"user\": " #user ", " more "}"

static const struct lm_value *sent_field(const struct lm_document *sent, size_t index, const char *key)
{
    return lm_value_find(&lm_value_find(lm_document_root(sent), "sent")->items[index], key);
}

/* Authorise, ask, answers of both, history; nothing said before, nothing twice. */
static void conversation(void **state)
{
    (void)state;
    struct bot bot;
    bot_open(&(struct bot_options){0}, &bot);
    bot_answers(&bot, "{\"text\": \"**Hello** from {n}, `x`.\"}");
    bot_tell(&bot, "say", SAY(5, 5, "\"text\": \"Is anybody here?\""));    /* not authorised: silence */
    bot_authorise(&bot, 5, 5);
    struct lm_document *sent = bot_wait_sent(&bot, 1);
    assert_non_null(strstr(bot_sent(sent, 0), "Welcome to The test"));
    assert_non_null(strstr(bot_sent(sent, 0), "Ada, Bix"));
    lm_document_free(sent);
    bot_tell(&bot, "say", SAY(5, 5, "\"text\": \"Hi all\", \"last\": \"B. \xe2\x80\xae]Ada\""));
    sent = bot_wait_sent(&bot, 3);
    assert_string_equal(bot_sent(sent, 1), "\xf0\x9f\xa4\x96 Ada\nHello from 1, x.");
    assert_string_equal(bot_sent(sent, 2), "\xf0\x9f\xa4\x96 Bix\nHello from 2, x.");
    const struct lm_value *entities = sent_field(sent, 1, "entities");
    assert_int_equal(entities->length, 3);
    assert_true(lm_value_is(lm_value_find(&entities->items[0], "type"), "bold"));    /* the name */
    assert_string_equal(lm_value_find(&entities->items[0], "offset")->text, "3");
    assert_string_equal(lm_value_find(&entities->items[1], "offset")->text, "7");
    assert_true(lm_value_is(lm_value_find(&entities->items[2], "type"), "code"));
    lm_document_free(sent);
    assert_string_equal(bot_history(&bot, "telegram:5"), "Ann B. )Ada: Hi all|Ada: **Hello** from 1, `x`.|Bix: **Hello** from 2, `x`.");
    struct lm_document *seen = bot_state(&bot);
    const struct lm_value *deleted = lm_value_find(lm_document_root(seen), "deleted");
    assert_int_equal(deleted->length, 1);    /* the message with the secret */
    assert_true(lm_value_find(lm_document_root(seen), "actions")->length >= 1);
    lm_document_free(seen);
    /* Once more, after the house was closed and opened: nothing is sent again, and the chat is still in. */
    bot_again(&(struct bot_options){0}, &bot);
    bot_tell(&bot, "say", SAY(5, 5, "\"text\": \"/who\""));
    sent = bot_wait_sent(&bot, 4);
    assert_non_null(strstr(bot_sent(sent, 3), "Ada"));
    lm_document_free(sent);
    /* /revoke: silence, history stays. */
    bot_tell(&bot, "say", SAY(5, 5, "\"text\": \"/revoke\""));
    sent = bot_wait_sent(&bot, 5);
    assert_non_null(strstr(bot_sent(sent, 4), "closed"));
    lm_document_free(sent);
    bot_tell(&bot, "say", SAY(5, 5, "\"text\": \"Still there?\""));
    usleep(100000);
    lm_document_free(bot_wait_sent(&bot, 5));
    assert_non_null(strstr(bot_history(&bot, "telegram:5"), "Hi all"));
    assert_null(strstr(bot_history(&bot, "telegram:5"), "Still there"));
    bot_close(&bot);
}

/* Wrong secrets are answered late and later, and then not at all; the right one is not looked at in between. */
static void gate(void **state)
{
    (void)state;
    struct bot bot;
    bot_open(&(struct bot_options){.slow = 0.3}, &bot);
    bot_tell(&bot, "say", SAY(6, 6, "\"text\": \"/start\""));
    lm_document_free(bot_wait_sent(&bot, 1));
    const double begun = lm_seconds();
    bot_tell(&bot, "say", SAY(5, 5, "\"text\": \"/start wrong\""));
    bot_authorise(&bot, 5, 5);    /* at once: not looked at */
    struct lm_document *sent = bot_wait_sent(&bot, 2);
    assert_true(lm_seconds() - begun >= 0.3);
    assert_string_equal(bot_sent(sent, 1), "That is not the secret of this room.");
    lm_document_free(sent);
    bot_tell(&bot, "say", SAY(5, 5, "\"text\": \"hello\""));
    bot_authorise(&bot, 5, 5);
    sent = bot_wait_sent(&bot, 3);
    assert_non_null(strstr(bot_sent(sent, 2), "Welcome"));
    lm_document_free(sent);
    bot_close(&bot);
    /* Five wrong ones. */
    bot_open(&(struct bot_options){.slow = 0.01}, &bot);
    for (int i = 0; i < 5; i++) {
        bot_tell(&bot, "say", SAY(5, 5, "\"text\": \"/start wrong\""));
        usleep(300000);
    }
    bot_wait_logged(&bot, "user 5 gave 5 wrong secrets");
    bot_authorise(&bot, 5, 5);
    usleep(200000);
    lm_document_free(bot_wait_sent(&bot, 4));    /* the fifth has no answer, nor has the right one */
    bot_authorise(&bot, 6, 6);                   /* others are not held up */
    lm_document_free(bot_wait_sent(&bot, 5));
    bot_close(&bot);
}

static void allow_list(void **state)
{
    (void)state;
    struct bot bot;
    bot_open(&(struct bot_options){.telegram = ", allow: [5]", .secret = ""}, &bot);
    bot_answers(&bot, "{\"text\": \"Yes.\"}");
    bot_tell(&bot, "say", SAY(6, 6, "\"text\": \"Let me in\""));
    bot_tell(&bot, "say", SAY(6, 6, "\"text\": \"/start\""));
    bot_tell(&bot, "say", SAY(5, 5, "\"text\": \"It is me\""));
    lm_document_free(bot_wait_sent(&bot, 3));    /* a welcome, two answers */
    bot_tell(&bot, "chat", "{\"id\": -70, \"type\": \"group\", \"title\": \"Us\"}");
    bot_tell(&bot, "say", SAY(-70, 5, "\"text\": \"/start@loam_test_bot\""));
    lm_document_free(bot_wait_sent(&bot, 4));
    bot_tell(&bot, "say", SAY(-70, 6, "\"text\": \"I am not on the list\""));
    usleep(100000);
    lm_document_free(bot_wait_sent(&bot, 4));
    assert_string_equal(bot_history(&bot, "telegram:-70"), "");
    bot_close(&bot);
}

/* A group: replies and mentions go to one, commands with a name, migration to a supergroup, topics. */
static void groups(void **state)
{
    (void)state;
    struct bot bot;
    bot_open(&(struct bot_options){.room = ", owner: 'telegram:9'"}, &bot);
    bot_tell(&bot, "chat", "{\"id\": -70, \"type\": \"group\", \"title\": \"Us\"}");
    bot_authorise(&bot, -70, 5);
    struct lm_document *sent = bot_wait_sent(&bot, 1);
    assert_non_null(strstr(bot_sent(sent, 0), "privacy mode"));
    lm_document_free(sent);
    assert_true(bot_logged(&bot, "privacy mode"));
    bot_answers(&bot, "{\"text\": \"I heard.\"}");
    bot_tell(&bot, "say", SAY(-70, 6, "\"text\": \"/order@loam_test_bot mentioned\", \"name\": \"Eve\""));    /* not the owner */
    sent = bot_wait_sent(&bot, 2);
    lm_document_free(sent);
    bot_tell(&bot, "say", SAY(-70, 6, "\"text\": \"/revoke\""));
    sent = bot_wait_sent(&bot, 3);
    assert_non_null(strstr(bot_sent(sent, 2), "Only the owner"));
    lm_document_free(sent);
    bot_tell(&bot, "say", SAY(-70, 9, "\"text\": \"/order mentioned\""));
    bot_tell(&bot, "say", SAY(-70, 9, "\"text\": \"/order@other_bot fixed\""));
    lm_document_free(bot_wait_sent(&bot, 4));
    bot_tell(&bot, "say", SAY(-70, 5, "\"text\": \"nobody is named\""));
    bot_tell(&bot, "say", SAY(-70, 5, "\"text\": \"@loam_test_bot @Bix hello\""));
    sent = bot_wait_sent(&bot, 5);
    assert_string_equal(bot_sent(sent, 4), "\xf0\x9f\xa4\x96 Bix\nI heard.");
    char reply[300];
    snprintf(reply, sizeof reply, "{\"chat\": -70, \"user\": 5, \"text\": \"and you?\", \"reply_to\": %s}", sent_field(sent, 4, "message_id")->text);
    lm_document_free(sent);
    bot_tell(&bot, "say", reply);
    sent = bot_wait_sent(&bot, 6);
    assert_string_equal(bot_sent(sent, 5), "\xf0\x9f\xa4\x96 Bix\nI heard.");
    lm_document_free(sent);
    assert_non_null(strstr(bot_history(&bot, "telegram:-70"), "Ann: @Bix hello"));
    /* It becomes a supergroup: the room goes on. */
    bot_tell(&bot, "migrate", "{\"chat\": -70, \"to\": -100700}");
    bot_tell(&bot, "say", SAY(-100700, 5, "\"text\": \"@Ada here?\""));
    sent = bot_wait_sent(&bot, 7);
    assert_string_equal(sent_field(sent, 6, "chat_id")->text, "-100700");
    lm_document_free(sent);
    assert_non_null(strstr(bot_history(&bot, "telegram:-70"), "Ann: @Ada here?"));
    bot_again(&(struct bot_options){.room = ", owner: 'telegram:9'"}, &bot);
    /* A forum: each topic is a room. */
    bot_tell(&bot, "chat", "{\"id\": -100700, \"type\": \"supergroup\", \"is_forum\": true}");
    bot_tell(&bot, "say", SAY(-100700, 5, "\"text\": \"@Ada in a topic\", \"topic\": 12"));
    sent = bot_wait_sent(&bot, 8);
    assert_string_equal(sent_field(sent, 7, "message_thread_id")->text, "12");
    lm_document_free(sent);
    assert_non_null(strstr(bot_history(&bot, "telegram:-70/12"), "in a topic"));
    assert_null(strstr(bot_history(&bot, "telegram:-70"), "in a topic"));
    bot_close(&bot);
}

/* A group moves while the bot sends to its old id, and says so only then. */
static void migration_unseen(void **state)
{
    (void)state;
    struct bot bot;
    bot_open(&(struct bot_options){0}, &bot);
    bot_tell(&bot, "chat", "{\"id\": -70, \"type\": \"group\", \"title\": \"Us\"}");
    bot_authorise(&bot, -70, 5);
    lm_document_free(bot_wait_sent(&bot, 1));
    bot_answers(&bot, "{\"text\": \"Yes.\", \"delay\": 0.3}");
    bot_tell(&bot, "say", SAY(-70, 5, "\"text\": \"a\""));
    bot_tell(&bot, "migrate", "{\"chat\": -70, \"to\": -100700, \"quiet\": true}");
    struct lm_document *sent = bot_wait_sent(&bot, 3);
    assert_string_equal(sent_field(sent, 1, "chat_id")->text, "-100700");
    assert_string_equal(sent_field(sent, 2, "chat_id")->text, "-100700");
    lm_document_free(sent);
    bot_close(&bot);
}

/* Photos, stickers and edits are noted and wake nobody; a caption does. */
static void other_kinds(void **state)
{
    (void)state;
    struct bot bot;
    bot_open(&(struct bot_options){0}, &bot);
    bot_authorise(&bot, 5, 5);
    lm_document_free(bot_wait_sent(&bot, 1));
    bot_answers(&bot, "{\"text\": \"Yes.\"}");
    bot_tell(&bot, "say", SAY(5, 5, "\"with\": {\"photo\": [{\"file_id\": \"x\"}]}"));
    bot_tell(&bot, "say", SAY(5, 5, "\"with\": {\"sticker\": {\"emoji\": \"x\"}}"));
    bot_tell(&bot, "say", SAY(5, 5, "\"with\": {\"new_chat_title\": \"x\"}"));
    bot_tell(&bot, "say", SAY(5, 5, "\"text\": \"first, better\", \"edit\": 1"));
    bot_tell(&bot, "update", "{\"poll\": {\"id\": \"1\"}}");
    bot_tell(&bot, "update", "{\"message\": 5}");
    bot_tell(&bot, "update", "{\"message\": {\"chat\": {}}}");
    bot_tell(&bot, "say", SAY(5, 5, "\"is_bot\": true, \"text\": \"I am a bot\""));
    usleep(100000);
    lm_document_free(bot_wait_sent(&bot, 1));
    bot_tell(&bot, "say", SAY(5, 5, "\"caption\": \"what is this?\", \"with\": {\"photo\": []}"));
    lm_document_free(bot_wait_sent(&bot, 3));
    assert_string_equal(bot_history(&bot, "telegram:5"),
                        "Ann: [photo]|Ann: [sticker]|Ann: (edited) first, better|Ann: [photo] what is this?|Ada: Yes.|Bix: Yes.");
    bot_close(&bot);
}

static void long_messages(void **state)
{
    (void)state;
    struct bot bot;
    struct lm_bytes how = {0};
    bot_open(&(struct bot_options){.room = ", max_ai_turns: 1"}, &bot);
    bot_authorise(&bot, 5, 5);
    lm_document_free(bot_wait_sent(&bot, 1));
    lm_bytes_format(&how, &error, "{\"queue\": {\"a\": [{\"text\": \"```c\\n");
    for (int i = 0; i < 300; i++)
        lm_bytes_format(&how, &error, "int number_%d = %d; // \xf0\x9f\x98\x80\\n", i, i);
    lm_bytes_format(&how, &error, "```\\nend\"}]}}");
    standin_tell(&bot.services, "/control", how.data);
    bot_tell(&bot, "say", SAY(5, 5, "\"text\": \"Code, please\""));
    struct lm_document *sent = bot_wait_sent(&bot, 5);    /* the last says that the limit is reached */
    for (size_t i = 1; i < 4; i++) {
        const struct lm_value *entities = sent_field(sent, i, "entities");
        assert_int_equal(entities->length, 2);
        assert_true(lm_value_is(lm_value_find(&entities->items[1], "type"), "pre"));    /* reopened in each */
        assert_true(lm_value_is(lm_value_find(&entities->items[1], "language"), "c"));
        assert_int_equal(strncmp(bot_sent(sent, i), i == 1 ? "\xf0\x9f\xa4\x96 Ada\nint number_0" : "\xf0\x9f\xa4\x96 Ada \xe2\x80\xa6\nint number_", 17), 0);
    }
    assert_non_null(strstr(bot_sent(sent, 3), "int number_299 = 299"));
    lm_document_free(sent);
    lm_bytes_free(&how);
    bot_close(&bot);
}

static void by_webhook(void **state)
{
    (void)state;
    struct bot bot;
    bot_open(&(struct bot_options){.webhook = true}, &bot);
    bot_wait_logged(&bot, "by the webhook");
    bot_answers(&bot, "{\"text\": \"Yes.\"}");
    bot_authorise(&bot, 5, 5);
    bot_tell(&bot, "say", SAY(5, 5, "\"text\": \"Hi\""));
    lm_document_free(bot_wait_sent(&bot, 3));
    struct lm_document *seen = bot_state(&bot);
    assert_string_equal(lm_value_find(lm_document_root(seen), "polls")->text, "0");
    assert_string_equal(lm_value_find(lm_document_root(seen), "confirmed")->text, "2");
    lm_document_free(seen);
    bot_close(&bot);
    /* Polling takes a webhook that was left there away. */
    bot_open(&(struct bot_options){0}, &bot);
    bot_close(&bot);
}

static void configuration(void **state)
{
    (void)state;
    struct lm_telegram *telegram;
    struct bot bot;
    bot_open(&(struct bot_options){0}, &bot);
    struct lm_room_config config = *bot.config;
    struct lm_telegram_options options = {.rooms = bot.rooms, .config = &config, .client = bot.client, .secrets = bot.secrets};
    config.telegram.token = "absent";
    assert_fails(lm_telegram_open(&options, &telegram, &error), &error, LOAM_ENOTFOUND, "'absent'", "secrets file");
    config.telegram = bot.config->telegram;
    config.telegram.secret = NULL;
    assert_fails(lm_telegram_open(&options, &telegram, &error), &error, LOAM_EUSAGE, "nobody could come in");
    bot_close(&bot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(conversation),     cmocka_unit_test(gate),        cmocka_unit_test(allow_list),
                                       cmocka_unit_test(groups),           cmocka_unit_test(migration_unseen), cmocka_unit_test(other_kinds),
                                       cmocka_unit_test(long_messages),    cmocka_unit_test(by_webhook),  cmocka_unit_test(configuration)};
    return cmocka_run_group_tests_name("room/telegram", tests, NULL, NULL);
}
