/* Getting updates: who the bot is, then long polling or a webhook; and everything that may go wrong with it, said once and gone on from. */
#include "telegram_inside.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT_CALL = 20, LONGEST_WAIT = 60, CONFLICT_WAITS = 5, DAYS = 86400 };

static void wait_more(struct lm_telegram *bot, double at_least)
{
    bot->poll_backoff = bot->poll_backoff > 0 ? bot->poll_backoff * 2 : bot->options.backoff;
    if (bot->poll_backoff > LONGEST_WAIT)
        bot->poll_backoff = LONGEST_WAIT;
    bot->poll_at = lm_seconds() + (at_least > bot->poll_backoff ? at_least : bot->poll_backoff);
}

static void is_back(struct lm_telegram *bot)
{
    if (bot->lost_since > 0)
        telegram_log(bot, "back after %.0f s", lm_seconds() - bot->lost_since);
    if (bot->conflicts)
        telegram_log(bot, "the other program has stopped asking for updates");
    bot->lost_since = 0;
    bot->conflicts = 0;
    bot->poll_backoff = 0;
}

/* What went wrong with getMe, getUpdates or setWebhook, and when to try again. */
static void trouble(struct lm_telegram *bot, const struct answer *answer)
{
    if (answer->status == 401 || answer->status == 404) {
        bot->dead = true;
        telegram_log(bot, "the token '%s' is not accepted (%s); was it revoked? Give a new one and start again. The rooms go on without "
                     "Telegram", bot->config->token, answer->why);
    } else if (answer->status == 409 && strstr(answer->why, "webhook")) {
        struct lm_bytes none = {0};
        telegram_log(bot, "a webhook was set for this bot; it is taken away, as the configuration asks for polling");
        telegram_call(bot, "deleteWebhook", &none, SHORT_CALL, 0, NULL);
        bot->poll_at = lm_seconds() + 0.2;
    } else if (answer->status == 409) {
        if (!bot->conflicts++)
            telegram_log(bot, "another program asks for this bot's updates (409); stop it, or give this room a bot of its own. Trying again");
        wait_more(bot, CONFLICT_WAITS * bot->options.backoff);
    } else if (answer->status == 429) {
        telegram_log(bot, "too many questions (429); waiting %.0f s", answer->retry_after > 0 ? answer->retry_after : 1);
        wait_more(bot, answer->retry_after);
    } else {
        if (!(bot->lost_since > 0)) {
            bot->lost_since = lm_seconds();
            telegram_log(bot, "%s; trying again until it is back", answer->why);
        }
        wait_more(bot, 0);
    }
}

/* --- Long polling --- */

static int by_id(const void *a, const void *b)
{
    const int64_t one = telegram_number(*(const struct lm_value *const *)a, "update_id", -1),
                  two = telegram_number(*(const struct lm_value *const *)b, "update_id", -1);
    return (one > two) - (one < two);
}

/* In the order of their ids, whatever order they came in. What cannot be kept stops it: it will come again. */
static int take_updates(struct lm_telegram *bot, const struct lm_value *list, loam_error *error)
{
    const struct lm_value **sorted = lm_alloc(list->length + 1, sizeof *sorted, error);
    int code = sorted ? LOAM_OK : LOAM_ENOMEM;
    for (size_t i = 0; code == LOAM_OK && i < list->length; i++)
        sorted[i] = &list->items[i];
    if (code == LOAM_OK && list->length)
        qsort(sorted, list->length, sizeof *sorted, by_id);
    for (size_t i = 0; code == LOAM_OK && i < list->length; i++) {
        const int64_t id = telegram_number(sorted[i], "update_id", -1);
        code = telegram_update(bot, sorted[i], error);
        if (code == LOAM_OK && id >= 0)
            bot->offset = id + 1;
    }
    lm_free(sorted);
    return code;
}

static void on_updates(struct lm_telegram *bot, struct call *call, struct answer *answer)
{
    loam_error error;
    (void)call;
    bot->polling = false;
    if (answer->code != LOAM_OK || !answer->result || answer->result->kind != LM_ARRAY) {
        if (answer->code == LOAM_OK)
            lm_format(answer->why, sizeof answer->why, "an answer that is no list of updates");
        trouble(bot, answer);
        return;
    }
    is_back(bot);
    if (answer->result->length)
        bot->last_update = lm_seconds();
    if (take_updates(bot, answer->result, &error) != LOAM_OK) {
        telegram_log(bot, "an update could not be kept and will be asked for again: %s", error.message);
        wait_more(bot, 0);
    }
    telegram_say_late(bot);
}

static void write_kinds(struct lm_json_writer *json)
{
    static const char *const kinds[] = {"message", "edited_message", "my_chat_member"};
    lm_json_key(json, "allowed_updates");
    lm_json_begin_array(json);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        lm_json_text(json, kinds[i]);
    lm_json_end_array(json);
}

/* Telegram begins a new numbering after a week without updates; what an old offset asks for would never come. */
static void ask(struct lm_telegram *bot, double now)
{
    struct lm_bytes body = {0};
    struct lm_json_writer json = lm_json_writer(&body, -1);
    if (bot->offset >= 0 && now - bot->last_update > 6 * DAYS)
        bot->offset = -1;
    lm_json_begin_object(&json);
    lm_json_key(&json, "timeout");
    lm_json_int(&json, (int64_t)bot->options.poll_seconds);
    if (bot->offset >= 0) {
        lm_json_key(&json, "offset");
        lm_json_int(&json, bot->offset);
    }
    write_kinds(&json);
    lm_json_end_object(&json);
    bot->polling = true;
    telegram_call(bot, "getUpdates", &body, bot->options.poll_seconds + SHORT_CALL, 0, on_updates);
}

/* --- Who the bot is --- */

static void on_hook(struct lm_telegram *bot, struct call *call, struct answer *answer)
{
    (void)call;
    bot->polling = false;
    if (answer->code != LOAM_OK) {
        bot->me = 0;    /* from the beginning */
        trouble(bot, answer);
        return;
    }
    is_back(bot);
    telegram_log(bot, "updates come by the webhook");
}

static void set_hook(struct lm_telegram *bot)
{
    struct lm_bytes body = {0};
    struct lm_json_writer json = lm_json_writer(&body, -1);
    lm_json_begin_object(&json);
    lm_json_key(&json, "url");
    lm_json_text(&json, bot->config->webhook);
    lm_json_key(&json, "secret_token");
    lm_json_text(&json, bot->hook_secret);
    write_kinds(&json);
    lm_json_end_object(&json);
    bot->polling = true;
    telegram_call(bot, "setWebhook", &body, SHORT_CALL, 0, on_hook);
}

static void on_me(struct lm_telegram *bot, struct call *call, struct answer *answer)
{
    (void)call;
    bot->polling = false;
    const int64_t id = telegram_number(answer->result, "id", 0);
    if (answer->code != LOAM_OK || !id) {
        if (answer->code == LOAM_OK)
            lm_format(answer->why, sizeof answer->why, "an answer that is no description of the bot");
        trouble(bot, answer);
        return;
    }
    is_back(bot);
    bot->me = id;
    bot->reads_all = telegram_flag(answer->result, "can_read_all_group_messages");
    lm_format(bot->username, sizeof bot->username, "%s", telegram_text(answer->result, "username"));
    telegram_log(bot, "@%s is in the house%s", bot->username, bot->reads_all ? "" :
                 "; its privacy mode hides from it what in groups is neither a command, a reply to it nor a mention (@BotFather, /setprivacy)");
    if (bot->config->webhook)
        set_hook(bot);
}

void telegram_poll(struct lm_telegram *bot, double now)
{
    struct lm_bytes none = {0};
    if (bot->polling || bot->dead || now < bot->poll_at)
        return;
    if (!bot->me) {
        bot->polling = true;
        telegram_call(bot, "getMe", &none, SHORT_CALL, 0, on_me);
    } else if (!bot->config->webhook) {
        ask(bot, now);
    }
}

double telegram_poll_due(const struct lm_telegram *bot)
{
    return bot->polling || bot->dead || (bot->me && bot->config->webhook) ? INFINITY : bot->poll_at;
}

/* --- The webhook --- */

bool lm_telegram_take(struct lm_telegram *bot, struct lm_exchange *exchange)
{
    if (!bot->config->webhook || strcmp(lm_exchange_path(exchange), bot->hook_path) || strcmp(lm_exchange_method(exchange), "POST"))
        return false;
    const char *given = lm_exchange_header(exchange, "X-Telegram-Bot-Api-Secret-Token");
    if (!given || !lm_secret_equal(bot->hook_secret, strlen(bot->hook_secret), given, strlen(given))) {
        lm_exchange_answer(exchange, 403, "text/plain", &(struct lm_bytes){0});
        return true;
    }
    telegram_push(bot, &(struct news){.kind = NEWS_EXCHANGE, .exchange = exchange});    /* answered with 503 where the bot is closing */
    return true;
}

/* 200 once it is kept: until then Telegram brings it again. */
void telegram_exchange(struct lm_telegram *bot, struct lm_exchange *exchange)
{
    loam_error error;
    struct lm_document *document = NULL;
    const struct lm_bytes *body = lm_exchange_body(exchange);
    int status = 400;
    if (lm_json_parse(body->data ? body->data : "", body->length, "update", &document, &error) == LOAM_OK) {
        const int code = telegram_update(bot, lm_document_root(document), &error);
        status = code == LOAM_OK ? 200 : 500;
        if (code != LOAM_OK)
            telegram_log(bot, "an update could not be kept and will come again: %s", error.message);
        telegram_say_late(bot);
    }
    lm_document_free(document);
    lm_exchange_answer(exchange, status, "text/plain", &(struct lm_bytes){0});
}
