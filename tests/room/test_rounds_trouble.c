/* Rounds when something goes wrong between: what cannot begin, what is stopped, what cannot be kept, news in another order. */
#include "support/player.h"

#include "room/rooms_inside.h"
#include "room/telegram_inside.h"

#include <sqlite3.h>
#include <unistd.h>

static loam_error error;

static void wait_asked(struct player *player, int times)
{
    for (int i = 0; i < 4000 && player_asked(player, 0) < times; i++)
        usleep(5000);
    assert_true(player_asked(player, 0) >= times);
}

/* The second try cannot even begin: the turn is over, and the room comes to rest. */
static void refuse_second(void *user, size_t who, int time, const char *prompt, struct player_line *line)
{
    (void)user, (void)who, (void)prompt;
    line->text = time ? "no way in" : "busy";
    line->fails = line->again = !time;
    line->refused = time;
}
static void refused_try(void **state)
{
    (void)state;
    struct stage stage;
    struct player *player = player_open(1, refuse_second, NULL);
    stage_open(&stage, player, "rounds: 1", NULL);
    stage_say(&stage, "Ann", "Hello");
    stage_wait(&stage);
    assert_int_equal(player_asked(player, 0), 2);
    assert_non_null(strstr(stage_events(&stage), "! Ada has no answer: no way in (asked 2 times)|idle|"));
    stage_close(&stage);
    player_close(player);
}

/* What was asked while an answer was made and was dropped by /stop is not answered after a restart either. */
static void never(void *user, size_t who, int time, const char *prompt, struct player_line *line)
{
    (void)user, (void)who, (void)prompt;
    line->text = time ? "Yes." : "";    /* stopped before a word: her own would be the last, and then nobody asks her */
    line->never = !time;
}
static void stopped_question(void **state)
{
    (void)state;
    struct stage stage;
    char folder[256];
    struct player *player = player_open(1, never, NULL);
    stage_open(&stage, player, "rounds: 1", NULL);
    snprintf(folder, sizeof folder, "%s", stage.folder);
    stage_say(&stage, "Ann", "One");
    wait_asked(player, 1);
    stage_say(&stage, "Ann", "Two");
    stage_command(&stage, true, "/stop");
    stage_wait(&stage);
    stage_close(&stage);
    stage_open(&stage, player, "rounds: 1", folder);
    for (int i = 0; i < 40 && player_asked(player, 0) < 2; i++)    /* a room that is entered has nothing to do yet, and would seem at rest */
        usleep(5000);
    assert_int_equal(player_asked(player, 0), 1);
    stage_say(&stage, "Ann", "Three");
    stage_wait(&stage);
    assert_string_equal(stage_history(&stage), "Ann: One|Ann: Two|Ann: Three|Ada: Yes.|");
    assert_int_equal(player_asked(player, 0), 2);
    stage_close(&stage);
    player_close(player);
}

/* Two posters may tell of their messages in another order than that in which they were kept: the last one kept is the question. */
static void late_news(void **state)
{
    (void)state;
    struct lm_room room = {0};
    struct lm_news first = {.id = 5}, late = {.id = 3}, next = {.id = 7};
    first.text = lm_copy_string("five", 4, NULL), late.text = lm_copy_string("three", 5, NULL), next.text = lm_copy_string("seven", 5, NULL);
    lm_room_asked(&room, &first);
    lm_room_asked(&room, &late);
    assert_int_equal(room.pending.id, 5);
    assert_string_equal(room.pending.text, "five");
    lm_room_asked(&room, &next);
    assert_string_equal(room.pending.text, "seven");
    lm_asking_free(&room.pending);
    room.question.id = 9;
    lm_room_asked(&room, &late);
    assert_int_equal(room.pending.id, 0);
    lm_free(late.text);
}

/* A summary that is stopped has cost once what it has cost. */
static atomic_bool in_summary;
static void stuck_summary(void *user, size_t who, int time, const char *prompt, struct player_line *line)
{
    (void)user, (void)who, (void)time;
    line->text = "Yes.";
    line->prompt_tokens = 10;
    line->tokens = 5;
    line->never = strstr(prompt, "Put down in a few sentences");
    if (line->never)
        atomic_store(&in_summary, true);
}
static void stopped_summary(void **state)
{
    (void)state;
    struct stage stage;
    char text[64];
    struct player *player = player_open(1, stuck_summary, NULL);
    stage_open(&stage, player, "rounds: 1, window_tokens: {size: 100, oldest: summarise}", NULL);
    for (int i = 0; i < 8 && !atomic_load(&in_summary); i++) {
        snprintf(text, sizeof text, "number %d is what I say now, as it is", i);
        stage_say(&stage, "Ann", text);
        for (int j = 0; j < 4000 && !atomic_load(&in_summary) && !lm_rooms_idle(stage.rooms, 0.005); j++) {
        }
    }
    assert_true(atomic_load(&in_summary));
    stage_command(&stage, true, "/stop");
    stage_wait(&stage);
    snprintf(text, sizeof text, " %d tokens", 15 * player_asked(player, 0));
    const char *cost = stage_command(&stage, true, "/cost");
    if (!strstr(cost, text))
        fail_msg("wanted%s, found: %s", text, cost);
    stage_close(&stage);
    player_close(player);
}

static void change(const char *database, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static int64_t rounds_of(struct stage *stage)
{
    struct lm_room_settings now;
    lm_room_settings(stage->room, &now);
    return now.rounds;
}

/* Settings that cannot be kept stay as they were, nobody is told of them, and the transport may bring the command again. */
static void unkept_settings(void **state)
{
    (void)state;
    static const char *const lines[] = {"/rounds 7", "/order mentioned", "/mute Ada", "/system Ada Speak in rhymes."};
    struct stage stage;
    struct lm_bytes reply = {0};
    struct lm_member members[2];
    const struct lm_person who = {"local", "Ann", true};
    struct player *player = player_open(2, never, NULL);
    stage_open(&stage, player, "order: fixed, rounds: 2", NULL);
    change(stage.config->database, "CREATE TRIGGER full BEFORE UPDATE OF settings ON rooms BEGIN SELECT RAISE(ABORT, 'full'); END");
    for (int i = 0; i < 4; i++)
        assert_int_equal(lm_room_command(stage.room, &who, lines[i], "t", 10 + i, &reply, &error), LOAM_EIO);
    stage_wait(&stage);
    assert_string_equal(stage_events(&stage), "");
    assert_int_equal(rounds_of(&stage), 2);
    assert_string_equal(stage_command(&stage, true, "/order"), "order: fixed (random, fixed, mentioned, one, moderator, together)\n");
    assert_int_equal(lm_room_members(stage.room, members, 2), 2);
    assert_false(members[0].muted);
    assert_non_null(strstr(stage_command(&stage, true, "/system Ada"), "nothing besides the rules"));
    change(stage.config->database, "DROP TRIGGER full");
    for (int i = 0; i < 4; i++)
        assert_ok(lm_room_command(stage.room, &who, lines[i], "t", 10 + i, &reply, &error), &error);
    stage_wait(&stage);
    assert_int_equal(rounds_of(&stage), 7);
    assert_non_null(strstr(stage_command(&stage, true, "/system Ada"), "Speak in rhymes."));
    stage_events(&stage);
    stage_command(&stage, true, "/rounds 3");
    for (int i = 0; i < 2; i++)    /* brought again: not run again */
        assert_ok(lm_room_command(stage.room, &who, "/rounds 7", "t", 10, &reply, &error), &error);
    assert_int_equal(rounds_of(&stage), 3);
    assert_int_equal(lm_room_command(stage.room, &who, "/rounds 0", "t", 20, &reply, &error), LOAM_EUSAGE);    /* no use in bringing that again */
    assert_ok(lm_room_command(stage.room, &who, "/rounds 8", "t", 20, &reply, &error), &error);
    assert_int_equal(rounds_of(&stage), 3);
    lm_bytes_free(&reply);
    stage_close(&stage);
    player_close(player);
}

/* A name whose letters have more bytes than the same ones of another case: nothing is read behind the text's end. */
static void longer_name(void **state)
{
    (void)state;
    static const char yaml[] = "room: {name: Stage, order: mentioned, rounds: 1}\nparticipants:\n"
                               "  - {name: \xc4\xb0\xc4\xb0\xc4\xb0\xc4\xb0, openai: {base_url: 'http://none', model: m}}\n"
                               "  - {name: Bix, openai: {base_url: 'http://none', model: m}}\n";
    struct lm_room_config *config;
    struct lm_rooms *rooms;
    struct lm_room *room;
    struct player *player = player_open(2, never, NULL);
    assert_ok(lm_room_config_parse(yaml, sizeof yaml - 1, test_path(test_folder(), "room.yaml"), &config, &error), &error);
    const struct lm_rooms_options options = {.config = config, .seed = 1, .speakers = player_speakers(player), .backoff = 0.01};
    assert_ok(lm_rooms_open(&options, &rooms, &error), &error);
    assert_ok(lm_rooms_enter(rooms, "main", NULL, &room, &error), &error);
    static const char *const texts[] = {"iiii", "iiii: go on"};
    for (int i = 0; i < 2; i++) {
        const struct lm_post post = {.who = {"x", "Ben", false}, .text = texts[i], .length = strlen(texts[i]), .position = -1};
        assert_ok(lm_room_post(room, &post, NULL, &error), &error);
        wait_asked(player, i + 1);
        lm_room_stop(room);
        assert_true(lm_rooms_idle(rooms, 20));
    }
    assert_int_equal(player_asked(player, 1), 0);
    lm_rooms_close(rooms);
    lm_room_config_free(config);
    player_close(player);
}

/* Nobody takes what a bot is told when it closes: it is let go at once. */
static void told_when_closing(void **state)
{
    (void)state;
    struct lm_telegram bot = {.closing = true};
    pthread_mutex_init(&bot.lock, NULL);
    pthread_cond_init(&bot.wake, NULL);
    telegram_push(&bot, &(struct news){.kind = NEWS_ROOM, .text = lm_copy_string("late", 4, NULL)});
    assert_null(bot.first);
    assert_null(bot.last);
    pthread_cond_destroy(&bot.wake);
    pthread_mutex_destroy(&bot.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(refused_try),     cmocka_unit_test(stopped_question), cmocka_unit_test(late_news),
                                       cmocka_unit_test(stopped_summary), cmocka_unit_test(unkept_settings),  cmocka_unit_test(longer_name),
                                       cmocka_unit_test(told_when_closing)};
    return cmocka_run_group_tests_name("room/rounds_trouble", tests, NULL, NULL);
}
