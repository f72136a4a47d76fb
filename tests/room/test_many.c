/* Many rooms at once, and a process that is killed again and again: no message lost, none doubled, whatever fails. */
#include "support/player.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PLAYERS = 10 };

static loam_error error;

/* One request in ten fails, and may be tried again. */
static void choose(void *user, size_t who, int time, const char *prompt, struct player_line *line)
{
    static const char *const lines[] = {"I see.", NULL, "PASS", "Let me add to that."};
    uint32_t bits[4];
    (void)user, (void)prompt;
    lm_random_keyed(5, who, (uint64_t)time, bits);
    *line = (struct player_line){.text = lines[bits[0] % 4], .prompt_tokens = 20, .tokens = 4, .retry_after = -1};
    if (bits[1] % 10 == 0)
        *line = (struct player_line){.text = "503: try again", .fails = true, .again = true, .retry_after = 0.001};
}

static int count_kept(void *user, const struct lm_kept *kept)
{
    int64_t *counts = user;
    counts[kept->author]++;
    if (kept->author == LM_AUTHOR_PERSON) {
        int64_t number = -1;
        sscanf(kept->text, "message %ld", &number);
        assert_int_equal(number, counts[LM_AUTHOR_PERSON] - 1);
    }
    return 0;
}

static struct lm_rooms *open_rooms(struct player *player, const char *folder, struct lm_room_config **config)
{
    struct lm_bytes yaml = {0};
    struct lm_rooms *rooms;
    char path[512];
    lm_bytes_format(&yaml, NULL, "room: {name: Many, rounds: 2}\nparticipants:\n");
    for (int i = 0; i < PLAYERS; i++)
        lm_bytes_format(&yaml, NULL, "  - {name: %s, openai: {base_url: 'http://none', model: m}}\n", player_names[i]);
    snprintf(path, sizeof path, "%s/room.yaml", folder);
    assert_ok(lm_room_config_parse(yaml.data, yaml.length, path, config, &error), &error);
    lm_bytes_free(&yaml);
    const struct lm_rooms_options options = {.config = *config, .seed = 1, .speakers = player_speakers(player), .backoff = 0.001};
    assert_ok(lm_rooms_open(&options, &rooms, &error), &error);
    return rooms;
}

static void post(struct lm_room *room, int64_t number, const char *source)
{
    char text[32];
    snprintf(text, sizeof text, "message %ld", (long)number);
    const struct lm_post message = {.who = {"x", "Ann", false}, .text = text, .length = strlen(text), .source = source, .position = number};
    assert_ok(lm_room_post(room, &message, NULL, &error), &error);
}

static void many_rooms(void **state)
{
    (void)state;
    const int room_count = getenv("LOAM_LONG") ? 200 : 40, messages = getenv("LOAM_LONG") ? 50 : 2;
    const char *folder = test_folder();
    struct lm_room_config *config;
    struct player *player = player_open(PLAYERS, choose, NULL);
    struct lm_rooms *rooms = open_rooms(player, folder, &config);
    struct lm_room *list[200];
    const int64_t before = lm_memory_resident();
    char id[32];
    for (int i = 0; i < room_count; i++) {
        snprintf(id, sizeof id, "room:%d", i);
        assert_ok(lm_rooms_enter(rooms, id, NULL, &list[i], &error), &error);
    }
    for (int m = 0; m < messages; m++) {
        for (int i = 0; i < room_count; i++) {
            char source[32];
            snprintf(source, sizeof source, "t%d", i);
            post(list[i], m, source);
            post(list[i], m, source);    /* the transport gives it again */
        }
        assert_true(lm_rooms_idle(rooms, 300));
    }
    if (!TEST_SANITIZED)
        assert_true(lm_memory_resident() - before < 200 << 20);
    int64_t ai = 0;
    for (int i = 0; i < room_count; i++) {
        int64_t counts[3] = {0};
        assert_ok(lm_room_history(list[i], 0, 0, count_kept, counts, &error), &error);
        assert_int_equal(counts[LM_AUTHOR_PERSON], messages);
        ai += counts[LM_AUTHOR_AI];
    }
    assert_true(ai > room_count * messages);
    lm_rooms_close(rooms);
    lm_room_config_free(config);
    player_close(player);
}

/* The child takes messages from a transport that gives each until it was taken, as fast as it can, until it is killed. */
static void child(const char *folder, int64_t last)
{
    struct lm_room_config *config;
    struct lm_room *room;
    int64_t position;
    struct player *player = player_open(PLAYERS, choose, NULL);
    struct lm_rooms *rooms = open_rooms(player, folder, &config);
    assert_ok(lm_rooms_enter(rooms, "main", NULL, &room, &error), &error);
    assert_ok(lm_rooms_position(rooms, "t", &position, &error), &error);
    if (position > 0)
        post(room, position, "t");    /* what was taken last comes once more */
    while (++position < last) {
        post(room, position, "t");
        if (position % 4 == 0)
            lm_rooms_idle(rooms, 10);
    }
    lm_rooms_idle(rooms, 60);
    lm_rooms_close(rooms);
    _exit(0);
}

static void killed(void **state)
{
    (void)state;
    const int kills = getenv("LOAM_LONG") ? 50 : 5;
    const int64_t last = getenv("LOAM_LONG") ? 10000 : 120;
    const char *folder = test_folder();
    struct lm_random random = lm_random_seed(2, 0);
    int status = 1;
    for (int i = 0; i <= kills; i++) {
        const pid_t pid = fork();
        if (pid == 0)
            child(folder, last);
        if (i < kills) {
            usleep((useconds_t)(20000 + lm_random_below(&random, 100000) * (getenv("LOAM_LONG") ? 5 : 1)));
            kill(pid, SIGKILL);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    struct lm_room_config *config;
    struct lm_room *room;
    int64_t counts[3] = {0};
    struct player *player = player_open(PLAYERS, choose, NULL);
    struct lm_rooms *rooms = open_rooms(player, folder, &config);
    assert_ok(lm_rooms_enter(rooms, "main", NULL, &room, &error), &error);
    assert_ok(lm_room_history(room, 0, 0, count_kept, counts, &error), &error);    /* every number, in order, once */
    assert_int_equal(counts[LM_AUTHOR_PERSON], last);
    assert_true(counts[LM_AUTHOR_AI] > 0);
    lm_rooms_close(rooms);
    lm_room_config_free(config);
    player_close(player);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(killed), cmocka_unit_test(many_rooms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
