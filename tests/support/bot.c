#include "support/bot.h"

#include <sys/stat.h>
#include <unistd.h>

static loam_error error;

static void on_log(void *user, const char *line)
{
    struct bot *bot = user;
    pthread_mutex_lock(&bot->lock);
    lm_bytes_format(&bot->logged, NULL, "%s\n", line);
    pthread_mutex_unlock(&bot->lock);
}

static void write_private(const char *path, const char *text)
{
    assert_ok(lm_file_replace(path, text, strlen(text), &error), &error);
    assert_int_equal(chmod(path, 0600), 0);
}

static void open_house(const struct bot_options *options, struct bot *bot)
{
    char path[600], yaml[4000], secrets[600];
    snprintf(secrets, sizeof secrets, "tg = %s\nword = %s\nkey = %s\n", options->token ? options->token : BOT_TOKEN, BOT_SECRET, BOT_KEY);
    snprintf(path, sizeof path, "%s/secrets", bot->folder);
    write_private(path, secrets);
    assert_ok(lm_secrets_open(path, &bot->secrets, &error), &error);
    snprintf(yaml, sizeof yaml,
             "room: {name: The test, rounds: 1, order: fixed%s}\n"
             "participants:\n"
             "  - {name: Ada, openai: {base_url: '%s/v1', model: a, key: key}}\n"
             "  - {name: Bix, anthropic: {base_url: '%s', model: b, key: key}}\n"
             "telegram: {token: tg%s, api_url: '%s'%s%s%d%s}\n",
             options->room ? options->room : "", bot->services.url, bot->services.url,
             options->secret && !*options->secret ? "" : ", secret: word", bot->api.url, options->telegram ? options->telegram : "",
             options->webhook ? ", webhook: 'http://127.0.0.1:" : " #", bot->port, options->webhook ? "/hook'" : "\n  ");
    snprintf(path, sizeof path, "%s/room.yaml", bot->folder);
    assert_ok(lm_room_config_parse(yaml, strlen(yaml), path, &bot->config, &error), &error);
    assert_ok(lm_http_client_open(&(struct lm_http_client_options){0}, &bot->client, &error), &error);
    const struct lm_rooms_options rooms = {.config = bot->config, .seed = 1, .threads = 1, .client = bot->client, .secrets = bot->secrets,
                                           .backoff = 0.02, .log = on_log, .user = bot};
    assert_ok(lm_rooms_open(&rooms, &bot->rooms, &error), &error);
    const struct lm_telegram_options telegram = {
        .rooms = bot->rooms, .config = bot->config, .client = bot->client, .secrets = bot->secrets, .host = options->webhook ? "127.0.0.1" : NULL,
        .port = bot->port, .poll_seconds = options->poll_seconds > 0 ? options->poll_seconds : 5,
        .chat_rate = options->chat_rate > 0 ? options->chat_rate : 500, .group_rate = options->chat_rate > 0 ? options->chat_rate : 500,
        .backoff = 0.05, .slow = options->slow > 0 ? options->slow : 0.05, .log = on_log, .user = bot};
    assert_ok(lm_telegram_open(&telegram, &bot->telegram, &error), &error);
}

static void close_house(struct bot *bot)
{
    lm_telegram_close(bot->telegram);
    lm_rooms_close(bot->rooms);
    lm_http_client_close(bot->client);
    lm_secrets_free(bot->secrets);
    lm_room_config_free(bot->config);
}

void bot_open(const struct bot_options *options, struct bot *bot)
{
    *bot = (struct bot){.port = 20000 + (int)(getpid() % 20000)};
    snprintf(bot->folder, sizeof bot->folder, "%s", test_folder());
    pthread_mutex_init(&bot->lock, NULL);
    standin_open("telegram.py", &bot->api);
    standin_open("services.py", &bot->services);
    bot_tell(bot, "bot", "{\"token\": \"" BOT_TOKEN "\"}");
    standin_tell(&bot->services, "/control", "{\"key\": \"" BOT_KEY "\", \"default\": {\"text\": \"PASS\"}}");
    open_house(options, bot);
}

void bot_again(const struct bot_options *options, struct bot *bot)
{
    close_house(bot);
    open_house(options, bot);
}

void bot_close(struct bot *bot)
{
    struct lm_document *state = bot_state(bot);
    const struct lm_value *problems = lm_value_find(lm_document_root(state), "problems");
    if (problems->length)
        fail_msg("the stand-in saw: %s", problems->items[0].text);
    lm_document_free(state);
    close_house(bot);
    standin_close(&bot->api);
    standin_close(&bot->services);
    const char *logged = bot->logged.data ? bot->logged.data : "";
    if (strstr(logged, TEST_MARK))
        fail_msg("a secret was logged (not shown here)");
    lm_bytes_free(&bot->logged);
    pthread_mutex_destroy(&bot->lock);
}

void bot_tell(struct bot *bot, const char *what, const char *json)
{
    char path[64];
    snprintf(path, sizeof path, "/control/%s", what);
    standin_tell(&bot->api, path, json);
}

void bot_answers(struct bot *bot, const char *how)
{
    char text[1000];
    snprintf(text, sizeof text, "{\"default\": %s}", how);
    standin_tell(&bot->services, "/control", text);
}

struct lm_document *bot_state(struct bot *bot)
{
    return standin_ask(&bot->api, "/control/state");
}

struct lm_document *bot_wait_sent(struct bot *bot, size_t count)
{
    struct lm_document *sent = NULL;
    size_t length = 0;
    for (int i = 0; i < 6000 && (!sent || length < count); i++) {
        if (sent)
            usleep(10000);
        lm_document_free(sent);
        sent = standin_ask(&bot->api, "/control/sent");
        length = lm_value_find(lm_document_root(sent), "sent")->length;
    }
    lm_rooms_idle(bot->rooms, 10);
    lm_telegram_idle(bot->telegram, 10);
    lm_document_free(sent);
    sent = standin_ask(&bot->api, "/control/sent");
    const struct lm_value *list = lm_value_find(lm_document_root(sent), "sent");
    if (list->length != count) {
        for (size_t i = 0; i < list->length; i++)
            print_error("sent %zu: %s\n", i, bot_sent(sent, i));
        fail_msg("%zu messages were sent, wanted %zu; logged: %s", list->length, count, bot->logged.data ? bot->logged.data : "");
    }
    return sent;
}

const char *bot_sent(const struct lm_document *sent, size_t index)
{
    return lm_value_find(&lm_value_find(lm_document_root(sent), "sent")->items[index], "text")->text;
}

bool bot_logged(struct bot *bot, const char *words)
{
    pthread_mutex_lock(&bot->lock);
    const bool found = bot->logged.data && strstr(bot->logged.data, words);
    pthread_mutex_unlock(&bot->lock);
    return found;
}

void bot_wait_logged(struct bot *bot, const char *words)
{
    for (int i = 0; i < 6000 && !bot_logged(bot, words); i++)
        usleep(10000);
    if (!bot_logged(bot, words))
        fail_msg("nothing was logged of '%s', but %s", words, bot->logged.data ? bot->logged.data : "nothing");
}

static int take(void *user, const struct lm_kept *kept)
{
    struct lm_bytes *out = user;
    return lm_bytes_format(out, NULL, "%s%s: %.*s", out->length ? "|" : "", kept->name, (int)kept->length, kept->text);
}

const char *bot_history(struct bot *bot, const char *id)
{
    static char text[65536];
    struct lm_room *room;
    struct lm_bytes out = {0};
    assert_ok(lm_rooms_enter(bot->rooms, id, NULL, &room, &error), &error);
    assert_ok(lm_room_history(room, 0, 0, take, &out, &error), &error);
    snprintf(text, sizeof text, "%s", out.data ? out.data : "");
    lm_bytes_free(&out);
    return text;
}

void bot_authorise(struct bot *bot, int64_t chat, int64_t user)
{
    char text[200];
    snprintf(text, sizeof text, "{\"chat\": %lld, \"user\": %lld, \"text\": \"/start " BOT_SECRET "\"}", (long long)chat, (long long)user);
    bot_tell(bot, "say", text);
}
