/* The bot's thread: it takes news from its queue, asks for updates, and sends. */
#include "telegram_inside.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* --- Small things --- */

void telegram_log(struct lm_telegram *bot, const char *format, ...)
{
    char line[1200];
    va_list arguments;
    if (!bot->options.log)
        return;
    const int begun = lm_format(line, sizeof line, "telegram: ");
    va_start(arguments, format);
    lm_format_list(line + begun, sizeof line - (size_t)begun, format, arguments);
    va_end(arguments);
    lm_secrets_hide(bot->options.secrets, line);
    line[strlen(line) - lm_utf8_unfinished(line, strlen(line))] = 0;
    bot->options.log(bot->options.user, line);
}

int64_t telegram_number(const struct lm_value *object, const char *key, int64_t otherwise)
{
    int64_t number;
    const struct lm_value *value = lm_value_find(object, key);
    return value && value->kind == LM_NUMBER && lm_parse_int(value->text, &number, NULL) == LOAM_OK ? number : otherwise;
}

const char *telegram_text(const struct lm_value *object, const char *key)
{
    const struct lm_value *value = lm_value_find(object, key);
    return value && value->kind == LM_STRING ? value->text : "";
}

bool telegram_flag(const struct lm_value *object, const char *key)
{
    const struct lm_value *value = lm_value_find(object, key);
    return value && value->kind == LM_TRUTH && value->truth;
}

void telegram_push(struct lm_telegram *bot, const struct news *given)
{
    struct news *news = lm_alloc(1, sizeof *news, NULL);
    if (!news) {
        lm_free(given->text);
        if (given->kind == NEWS_EXCHANGE)
            lm_exchange_answer(given->exchange, 503, "text/plain", &(struct lm_bytes){0});
        return;    /* a notice is lost; what was said is found in the history at the next look */
    }
    *news = *given;
    pthread_mutex_lock(&bot->lock);
    if (bot->closing) {    /* nobody takes it any more */
        pthread_mutex_unlock(&bot->lock);
        if (news->kind == NEWS_EXCHANGE)
            lm_exchange_answer(news->exchange, 503, "text/plain", &(struct lm_bytes){0});
        lm_free(news->text);
        lm_free(news);
        return;
    }
    if (bot->last)
        bot->last->next = news;
    else
        bot->first = news;
    bot->last = news;
    pthread_cond_signal(&bot->wake);
    pthread_mutex_unlock(&bot->lock);
}

/* --- The thread --- */

static void take(struct lm_telegram *bot, struct news *news)
{
    if (news->kind == NEWS_ROOM)
        telegram_heard(bot, news);
    else if (news->kind == NEWS_EXCHANGE)
        telegram_exchange(bot, news->exchange);
    lm_free(news->text);
    lm_free(news);
}

static void take_calls(struct lm_telegram *bot)
{
    for (;;) {
        pthread_mutex_lock(&bot->lock);
        struct call *call = bot->calls;
        while (call && !call->done)
            call = call->next;
        pthread_mutex_unlock(&bot->lock);
        if (!call)
            return;
        telegram_called(bot, call);
    }
}

static bool any_done(const struct lm_telegram *bot)
{
    for (const struct call *call = bot->calls; call; call = call->next)
        if (call->done)
            return true;
    return false;
}

static bool anything_left(const struct lm_telegram *bot)
{
    if (bot->dead)
        return false;
    for (const struct chat *chat = bot->chats; chat; chat = chat->next)
        if (chat->sending)
            return true;
    for (const struct lane *lane = bot->lanes; lane; lane = lane->next)
        if (!lane->chat->paused && !lane->paused && (lane->now || lane->first || lane->look))
            return true;
    return false;
}

static struct news *wait_for_news(struct lm_telegram *bot, double until)
{
    pthread_mutex_lock(&bot->lock);
    bot->working = false;
    bot->pending = anything_left(bot);
    if (!bot->pending && !bot->first)
        pthread_cond_broadcast(&bot->quiet);
    while (!bot->first && !bot->closing && !any_done(bot) && lm_seconds() < until) {
        struct timespec at = {.tv_sec = (time_t)until, .tv_nsec = (long)((until - floor(until)) * 1e9)};
        if (until == INFINITY)
            pthread_cond_wait(&bot->wake, &bot->lock);
        else
            pthread_cond_timedwait(&bot->wake, &bot->lock, &at);
    }
    struct news *news = bot->first;
    bot->first = bot->last = NULL;
    bot->working = true;
    pthread_mutex_unlock(&bot->lock);
    return news;
}

static void end_calls(struct lm_telegram *bot)
{
    pthread_mutex_lock(&bot->lock);
    for (struct call *call = bot->calls; call; call = call->next)
        lm_http_cancel(call->http);
    while (bot->calls) {
        while (!any_done(bot))
            pthread_cond_wait(&bot->wake, &bot->lock);
        struct call **at = &bot->calls;
        while (!(*at)->done)
            at = &(*at)->next;
        struct call *call = *at;
        *at = call->next;
        lm_http_call_free(call->http);
        lm_bytes_free(&call->body);
        lm_free(call);
    }
    pthread_mutex_unlock(&bot->lock);
}

static double earlier(double a, double b)
{
    return a < b ? a : b;
}

static void *run(void *user)
{
    struct lm_telegram *bot = user;
    bool closing = false;
    while (!closing) {
        const double now = lm_seconds();
        telegram_poll(bot, now);
        double due = telegram_send(bot, now);
        due = earlier(due, telegram_deferred(bot, now));
        due = earlier(due, telegram_poll_due(bot));
        for (bot->taken = wait_for_news(bot, due); bot->taken;) {
            struct news *news = bot->taken;
            bot->taken = news->next;
            take(bot, news);
        }
        take_calls(bot);
        pthread_mutex_lock(&bot->lock);
        closing = bot->closing;
        pthread_mutex_unlock(&bot->lock);
    }
    end_calls(bot);
    return NULL;
}

/* --- Opening and closing --- */

static int find_secrets(struct lm_telegram *bot, loam_error *error)
{
    const struct lm_telegram_config *config = bot->config;
    bot->token = lm_secrets_find(bot->options.secrets, config->token);
    bot->secret = lm_secrets_find(bot->options.secrets, config->secret);
    if (!bot->token || (config->secret && !bot->secret))
        return lm_fail(error, LOAM_ENOTFOUND, "telegram: no secret called '%s'; put a line %s = VALUE into the secrets file, or set the "
                       "environment variable of that name", bot->token ? config->secret : config->token,
                       bot->token ? config->secret : config->token);
    if (!bot->secret && !config->allow_count)
        return lm_fail(error, LOAM_EUSAGE, "telegram: neither `secret` nor `allow` stands in the configuration, so that nobody could come in; "
                       "name a secret for /start, or list user ids");
    return LOAM_OK;
}

static void hear_webhook(void *user, struct lm_exchange *exchange)
{
    if (!lm_telegram_take(user, exchange))
        lm_exchange_answer(exchange, 404, "text/plain", &(struct lm_bytes){0});
}

/* The path that is called, and a word that only Telegram knows. */
static int open_webhook(struct lm_telegram *bot, loam_error *error)
{
    unsigned char bytes[32];
    if (!bot->config->webhook)
        return LOAM_OK;
    const char *path = strchr(strstr(bot->config->webhook, "://") + 3, '/');
    lm_format(bot->hook_path, sizeof bot->hook_path, "%s", path ? path : "/");
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return lm_fail_errno(error, errno, "telegram: no random numbers");
    for (size_t i = 0; i < sizeof bytes; i++)
        lm_format(bot->hook_secret + 2 * i, 3, "%02x", bytes[i]);
    if (!bot->options.host)
        return LOAM_OK;
    struct lm_http_options options = lm_http_default();
    options.host = bot->options.host;
    options.port = bot->options.port;
    options.user = bot;
    options.handle = hear_webhook;
    return lm_http_open(&options, &bot->server, error);
}

static void init_locks(struct lm_telegram *bot)
{
    pthread_condattr_t steady;
    pthread_mutex_init(&bot->lock, NULL);
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&bot->wake, &steady);
    pthread_cond_init(&bot->quiet, &steady);
    pthread_condattr_destroy(&steady);
}

static int start_thread(struct lm_telegram *bot, loam_error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&bot->thread, NULL, run, bot);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    bot->thread_runs = !failed;
    return failed ? lm_fail_errno(error, failed, "telegram: no thread") : LOAM_OK;
}

int lm_telegram_open(const struct lm_telegram_options *options, struct lm_telegram **result, loam_error *error)
{
    struct lm_telegram *bot = lm_alloc(1, sizeof *bot, error);
    if (!bot)
        return LOAM_ENOMEM;
    bot->options = *options;
    bot->config = &options->config->telegram;
    if (options->poll_seconds <= 0)
        bot->options.poll_seconds = 50;
    if (options->slow <= 0)
        bot->options.slow = 1;
    if (options->backoff <= 0)
        bot->options.backoff = 1;
    bot->offset = -1;
    bot->working = true;
    memset(bot->recent, -1, sizeof bot->recent);
    init_locks(bot);
    int code = options->client ? find_secrets(bot, error) : lm_fail(error, LOAM_EUSAGE, "telegram: no HTTP client");
    if (code == LOAM_OK)
        code = telegram_chats_load(bot, error);
    if (code == LOAM_OK)
        code = open_webhook(bot, error);
    if (code == LOAM_OK)
        code = start_thread(bot, error);
    if (code != LOAM_OK) {
        lm_telegram_close(bot);
        return code;
    }
    *result = bot;
    return LOAM_OK;
}

bool lm_telegram_idle(struct lm_telegram *bot, double seconds)
{
    const double until = lm_seconds() + (seconds < 1e8 ? seconds : 1e8);
    const struct timespec at = {.tv_sec = (time_t)until, .tv_nsec = (long)((until - floor(until)) * 1e9)};
    bool late = false;
    pthread_mutex_lock(&bot->lock);
    while ((bot->pending || bot->first || bot->working) && !late)
        late = pthread_cond_timedwait(&bot->quiet, &bot->lock, &at) == ETIMEDOUT;
    const bool idle = !bot->pending && !bot->first && !bot->working;
    pthread_mutex_unlock(&bot->lock);
    return idle;
}

void lm_telegram_close(struct lm_telegram *bot)
{
    if (!bot)
        return;
    pthread_mutex_lock(&bot->lock);
    bot->closing = true;    /* from here on exchanges are turned away */
    pthread_cond_signal(&bot->wake);
    pthread_mutex_unlock(&bot->lock);
    if (bot->thread_runs)
        pthread_join(bot->thread, NULL);
    telegram_lanes_close(bot, NULL);    /* and their listeners: the house tells nothing more */
    for (struct news *news = bot->first, *next; news; news = next) {
        next = news->next;
        if (news->kind == NEWS_EXCHANGE)
            lm_exchange_answer(news->exchange, 503, "text/plain", &(struct lm_bytes){0});
        lm_free(news->text);
        lm_free(news);
    }
    bot->first = bot->last = NULL;
    lm_http_close(bot->server);
    while (bot->chats) {
        struct chat *next = bot->chats->next;
        lm_free(bot->chats);
        bot->chats = next;
    }
    pthread_mutex_destroy(&bot->lock);
    pthread_cond_destroy(&bot->wake);
    pthread_cond_destroy(&bot->quiet);
    lm_free(bot);
}
