#include "player.h"

#include <math.h>
#include <pthread.h>
#include <time.h>

const char *const player_names[PLAYER_MOST] = {"Ada", "Bix", "Cid", "Dot", "Eva", "Fay", "Gus", "Hal", "Ivy", "Jon"};

struct part {
    struct player *player;
    size_t who;
    int asked;
};
struct player {
    size_t count;
    player_choose *choose;
    void *user;
    struct part parts[PLAYER_MOST];
    struct lm_speaker speakers[PLAYER_MOST];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct lm_speech *speeches, **end;
    double waits_until;         /* 0: the thread does not wait */
    int running;
    bool closing;
};
struct lm_speech {
    const struct lm_speaker_ops *ops;
    struct lm_speech *next;
    struct player *player;
    struct player_line line;
    char *text;
    double at;
    bool cancelled, over, current;
    struct lm_speech_request request;
};

static const struct lm_speaker_ops player_ops;

static int player_start(void *self, const struct lm_speech_request *request, struct lm_speech **result, loam_error *error)
{
    struct part *part = self;
    struct player *player = part->player;
    struct lm_bytes prompt = {0};
    struct lm_speech *speech = lm_alloc(1, sizeof *speech, error);
    if (!speech)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < request->count; i++) {
        static const char *const marks[] = {"<s>", "<u>", "<a>"};
        if (i && request->messages[i].role == request->messages[i - 1].role)
            fprintf(stderr, "two turns of one role\n"), abort();
        lm_bytes_format(&prompt, error, "%s", marks[request->messages[i].role]);
        lm_bytes_append(&prompt, request->messages[i].text, request->messages[i].length, error);
    }
    if (request->messages[request->count - 1].role != LM_USER)
        fprintf(stderr, "the last turn is no user's\n"), abort();
    *speech = (struct lm_speech){.ops = &player_ops, .player = player, .request = *request};
    speech->line = (struct player_line){.text = "", .retry_after = -1, .prompt_tokens = -1, .tokens = -1};
    pthread_mutex_lock(&player->lock);
    player->choose(player->user, part->who, part->asked++, prompt.data, &speech->line);
    if (speech->line.refused) {
        pthread_mutex_unlock(&player->lock);
        const int code = lm_fail(error, LOAM_EIO, "%s", speech->line.text);
        lm_bytes_free(&prompt);
        lm_free(speech);
        return code;
    }
    if (speech->line.text)
        speech->text = strdup(speech->line.text);
    speech->at = lm_seconds() + speech->line.delay;
    *player->end = speech;
    player->end = &speech->next;
    player->running++;
    *result = speech;
    if (!speech->line.never && speech->at < player->waits_until)
        pthread_cond_broadcast(&player->wake);
    pthread_mutex_unlock(&player->lock);
    lm_bytes_free(&prompt);
    return LOAM_OK;
}

static void player_cancel(struct lm_speech *speech)
{
    pthread_mutex_lock(&speech->player->lock);
    speech->cancelled = true;
    pthread_cond_broadcast(&speech->player->wake);
    pthread_mutex_unlock(&speech->player->lock);
}

static void player_free(struct lm_speech *speech)
{
    struct player *player = speech->player;
    pthread_mutex_lock(&player->lock);
    while (speech->current)
        pthread_cond_wait(&player->wake, &player->lock);
    pthread_mutex_unlock(&player->lock);
    free(speech->text);
    lm_free(speech);
}

static int64_t player_count(void *self, const char *text, size_t length)
{
    (void)self, (void)text;
    return (int64_t)length / 4 + 1;
}

static void close_nothing(void *self)
{
    (void)self;
}

static const struct lm_speaker_ops player_ops = {.start = player_start, .cancel = player_cancel, .free = player_free, .count = player_count,
                                                 .close = close_nothing};

static void say(struct lm_speech *speech, bool cancelled)
{
    const struct player_line *line = &speech->line;
    if (line->said)
        *line->said = lm_seconds();
    struct lm_speech_result result = {.end = LM_SPEECH_ANSWERED, .retry_after = line->retry_after, .prompt_tokens = line->prompt_tokens,
                                      .tokens = line->tokens};
    const size_t length = speech->text ? strlen(speech->text) : 0, piece = line->piece ? line->piece : length;
    if (!line->fails && speech->text)
        for (size_t at = 0; at < length;) {
            size_t now = length - at < piece ? length - at : piece;
            while (at + now < length && ((unsigned char)speech->text[at + now] & 0xC0) == 0x80)
                now++;
            speech->request.text(speech->request.user, speech->text + at, now);
            at += now;
        }
    if (cancelled) {
        result.end = LM_SPEECH_CANCELLED;
    } else if (line->fails) {
        result.end = LM_SPEECH_FAILED;
        result.again = line->again;
        lm_fail(&result.error, LOAM_EIO, "%s", speech->text);
    } else if (!speech->text) {
        result.end = LM_SPEECH_PASSED;
    }
    speech->request.done(speech->request.user, &result);
}

static void *play(void *user)
{
    struct player *player = user;
    pthread_mutex_lock(&player->lock);
    while (!player->closing) {
        const double now = lm_seconds();
        double next = now + 1;
        struct lm_speech **due = NULL;
        for (struct lm_speech **at = &player->speeches; *at && !due; at = &(*at)->next) {
            if ((*at)->cancelled || (!(*at)->line.never && (*at)->at <= now))
                due = at;
            else if (!(*at)->line.never && (*at)->at < next)
                next = (*at)->at;
        }
        if (!due) {
            const struct timespec until = {.tv_sec = (time_t)next, .tv_nsec = (long)((next - floor(next)) * 1e9)};
            player->waits_until = next;
            pthread_cond_timedwait(&player->wake, &player->lock, &until);
            player->waits_until = 0;
            continue;
        }
        struct lm_speech *speech = *due;
        const bool cancelled = speech->cancelled;
        *due = speech->next;
        if (!*due)
            player->end = due;
        speech->current = true;
        player->running--;
        pthread_mutex_unlock(&player->lock);
        say(speech, cancelled);
        pthread_mutex_lock(&player->lock);
        speech->current = false;
        pthread_cond_broadcast(&player->wake);
    }
    pthread_mutex_unlock(&player->lock);
    return NULL;
}

struct player *player_open(size_t count, player_choose *choose, void *user)
{
    struct player *player = calloc(1, sizeof *player);
    pthread_condattr_t steady;
    assert_non_null(player);
    *player = (struct player){.count = count, .choose = choose, .user = user, .end = &player->speeches};
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&player->wake, &steady);
    pthread_condattr_destroy(&steady);
    pthread_mutex_init(&player->lock, NULL);
    for (size_t i = 0; i < count; i++) {
        player->parts[i] = (struct part){.player = player, .who = i};
        player->speakers[i] = (struct lm_speaker){&player_ops, &player->parts[i]};
    }
    assert_int_equal(pthread_create(&player->thread, NULL, play, player), 0);
    return player;
}

void player_close(struct player *player)
{
    pthread_mutex_lock(&player->lock);
    player->closing = true;
    pthread_cond_broadcast(&player->wake);
    pthread_mutex_unlock(&player->lock);
    pthread_join(player->thread, NULL);
    assert_null(player->speeches);
    pthread_cond_destroy(&player->wake);
    pthread_mutex_destroy(&player->lock);
    free(player);
}

const struct lm_speaker *player_speakers(struct player *player)
{
    return player->speakers;
}

int player_asked(struct player *player, size_t who)
{
    pthread_mutex_lock(&player->lock);
    const int asked = player->parts[who].asked;
    pthread_mutex_unlock(&player->lock);
    return asked;
}

int player_running(struct player *player)
{
    pthread_mutex_lock(&player->lock);
    const int running = player->running;
    pthread_mutex_unlock(&player->lock);
    return running;
}

/* --- The room --- */

static loam_error error;

static void hear(void *user, const struct lm_room_event *event)
{
    struct stage *stage = user;
    struct lm_bytes *out = &stage->events;
    pthread_mutex_lock(&stage->lock);
    switch (event->kind) {
    case LM_ROOM_THINKING:
        lm_bytes_format(out, NULL, "%s thinks|", event->name);
        stage->deltas.length = 0;
        break;
    case LM_ROOM_DELTA:
        lm_bytes_append(&stage->deltas, event->text, event->length, NULL);
        break;
    case LM_ROOM_MESSAGE:
        lm_bytes_format(out, NULL, "%s: %s|", event->name, event->text);
        break;
    case LM_ROOM_PASS:
        lm_bytes_format(out, NULL, "%s passes|", event->name);
        break;
    case LM_ROOM_NOTICE:
        lm_bytes_format(out, NULL, "! %s|", event->text);
        break;
    case LM_ROOM_FAILED:
        lm_bytes_format(out, NULL, "%s fails|", event->name);
        break;
    case LM_ROOM_MEMBERS:
        break;
    case LM_ROOM_IDLE:
        lm_bytes_format(out, NULL, "idle|");
        break;
    }
    pthread_mutex_unlock(&stage->lock);
}

void stage_open(struct stage *stage, struct player *player, const char *room, const char *folder)
{
    struct lm_bytes yaml = {0};
    char path[512];
    *stage = (struct stage){.player = player};
    pthread_mutex_init(&stage->lock, NULL);
    snprintf(stage->folder, sizeof stage->folder, "%s", folder ? folder : test_folder());
    lm_bytes_format(&yaml, NULL, "room: {name: Stage%s%s}\nparticipants:\n", *room ? ", " : "", room);
    for (size_t i = 0; i < player->count; i++)
        lm_bytes_format(&yaml, NULL, "  - {name: %s, openai: {base_url: 'http://none', model: m}, price: 1000}\n", player_names[i]);
    snprintf(path, sizeof path, "%s/room.yaml", stage->folder);
    assert_ok(lm_room_config_parse(yaml.data, yaml.length, path, &stage->config, &error), &error);
    lm_bytes_free(&yaml);
    const struct lm_rooms_options options = {.config = stage->config, .seed = 1, .speakers = player_speakers(player), .backoff = 0.01};
    assert_ok(lm_rooms_open(&options, &stage->rooms, &error), &error);
    assert_ok(lm_rooms_enter(stage->rooms, "main", NULL, &stage->room, &error), &error);
    assert_ok(lm_room_listen(stage->room, hear, stage, &stage->listener, &error), &error);
}

void stage_close(struct stage *stage)
{
    lm_listener_free(stage->listener);
    lm_rooms_close(stage->rooms);
    lm_room_config_free(stage->config);
    lm_bytes_free(&stage->events);
    lm_bytes_free(&stage->deltas);
    pthread_mutex_destroy(&stage->lock);
}

void stage_say(struct stage *stage, const char *name, const char *text)
{
    const struct lm_post post = {.who = {"local", name, true}, .text = text, .length = strlen(text), .position = -1};
    assert_ok(lm_room_post(stage->room, &post, NULL, &error), &error);
}

void stage_wait(struct stage *stage)
{
    if (!lm_rooms_idle(stage->rooms, 20))
        fail_msg("the room does not come to rest; so far: %s", stage_events(stage));
}

static char *shown;

static const char *give(struct lm_bytes *bytes)
{
    free(shown);
    shown = strdup(bytes->data ? bytes->data : "");
    bytes->length = 0;
    if (bytes->data)
        *bytes->data = 0;
    return shown;
}

const char *stage_events(struct stage *stage)
{
    pthread_mutex_lock(&stage->lock);
    const char *text = give(&stage->events);
    pthread_mutex_unlock(&stage->lock);
    return text;
}

static int take(void *user, const struct lm_kept *kept)
{
    return lm_bytes_format(user, &error, "%s: %s|", kept->name, kept->text);
}

const char *stage_history(struct stage *stage)
{
    struct lm_bytes text = {0};
    assert_ok(lm_room_history(stage->room, 0, 0, take, &text, &error), &error);
    const char *all = give(&text);
    lm_bytes_free(&text);
    return all;
}

const char *stage_command(struct stage *stage, bool owner, const char *line)
{
    const struct lm_person who = {owner ? "local" : "web:1", owner ? "Ann" : "Ben", owner};
    struct lm_bytes reply = {0};
    lm_room_command(stage->room, &who, line, NULL, -1, &reply, &error);
    const char *text = give(&reply);
    lm_bytes_free(&reply);
    return text;
}
