/* 200 rooms of ten participants, all asked in the same moment: how long after its service had an answer that answer was in the room, and what
 * memory the house took. The services are stand-ins in this process, one thread that has each answer 0.2 seconds after it was asked for, or later:
 * it shares the processors with the house, so that what it is late by is told apart. bench/rooms.sh builds and runs it. */
#include "support/player.h"

#include <pthread.h>
#include <unistd.h>

enum { ROOMS = 200, PLAYERS = 10 };
static const double DELAY = 0.2;

static loam_error error;
static struct seat {
    struct lm_room *room;
    double asked, first, last;/* THINKING of the first, its MESSAGE, and that of the last */
    double said[PLAYERS];     /* when each service had its answer */
    size_t who;               /* whose the first was */
} seats[ROOMS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void choose(void *user, size_t who, int time, const char *prompt, struct player_line *line)
{
    const char *name = strstr(prompt, "[Ann");    /* the person is called by the room */
    (void)user, (void)time;
    *line = (struct player_line){.text = "That is what I think about it.", .delay = DELAY, .prompt_tokens = 30, .tokens = 8, .retry_after = -1, .piece = 4,
                                 .said = &seats[atoi(name + 4)].said[who]};
}

static void hear(void *user, const struct lm_room_event *event)
{
    struct seat *seat = user;
    pthread_mutex_lock(&lock);
    if (event->kind == LM_ROOM_THINKING && seat->asked <= 0)
        seat->asked = lm_seconds();
    if (event->kind == LM_ROOM_MESSAGE && event->author == LM_AUTHOR_AI)
        seat->last = lm_seconds();
    if (event->kind == LM_ROOM_MESSAGE && event->author == LM_AUTHOR_AI && seat->first <= 0) {
        seat->first = lm_seconds();
        while (strcmp(player_names[seat->who], event->name))
            seat->who++;
    }
    pthread_mutex_unlock(&lock);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    struct lm_bytes yaml = {0};
    struct lm_room_config *config;
    struct lm_rooms *rooms;
    struct lm_listener *listener;
    double whole[ROOMS], behind[ROOMS], last[ROOMS], late[ROOMS], posted[ROOMS];
    char path[600];
    const char *order = argc > 1 ? argv[1] : "random";
    snprintf(path, sizeof path, "%s/room.yaml", test_folder());
    lm_bytes_format(&yaml, NULL, "room: {name: Many, rounds: 1, order: %s}\nparticipants:\n", order);
    for (int i = 0; i < PLAYERS; i++)
        lm_bytes_format(&yaml, NULL, "  - {name: %s, openai: {base_url: 'http://none', model: m}}\n", player_names[i]);
    assert_ok(lm_room_config_parse(yaml.data, yaml.length, path, &config, &error), &error);
    const int64_t before = lm_memory_resident();
    struct player *player = player_open(PLAYERS, choose, NULL);
    const struct lm_rooms_options options = {.config = config, .seed = 1, .speakers = player_speakers(player)};
    assert_ok(lm_rooms_open(&options, &rooms, &error), &error);
    for (int i = 0; i < ROOMS; i++) {
        char id[32];
        snprintf(id, sizeof id, "room:%d", i);
        assert_ok(lm_rooms_enter(rooms, id, NULL, &seats[i].room, &error), &error);
        assert_ok(lm_room_listen(seats[i].room, hear, &seats[i], &listener, &error), &error);
    }
    for (int i = 0; i < ROOMS; i++) {
        char name[16];
        snprintf(name, sizeof name, "Ann%d", i);
        const struct lm_post post = {.who = {"x", name, false}, .text = "What do you think about it?", .length = 27, .position = -1};
        posted[i] = lm_seconds();
        assert_ok(lm_room_post(seats[i].room, &post, NULL, &error), &error);
    }
    const bool idle = lm_rooms_idle(rooms, 120);
    for (int i = 0; i < ROOMS; i++) {
        whole[i] = seats[i].first - posted[i] - DELAY;
        behind[i] = seats[i].first - seats[i].said[seats[i].who];
        last[i] = 0;
        for (int k = 0; k < PLAYERS; k++)
            last[i] = seats[i].said[k] > last[i] ? seats[i].said[k] : last[i];
        last[i] = seats[i].last - last[i];
        late[i] = seats[i].said[seats[i].who] - seats[i].asked - DELAY;
    }
    qsort(whole, ROOMS, sizeof *whole, compare);
    qsort(behind, ROOMS, sizeof *behind, compare);
    qsort(last, ROOMS, sizeof *last, compare);
    qsort(late, ROOMS, sizeof *late, compare);
    printf("%s, %d rooms x %d, all at once%s\n", order, ROOMS, PLAYERS, idle ? "" : " (not through)");
    printf("first answer behind its service's: median %.1f ms, worst %.1f ms\n", 1e3 * behind[ROOMS / 2], 1e3 * behind[ROOMS - 1]);
    printf("last answer behind the last service's: median %.1f ms, worst %.1f ms\n", 1e3 * last[ROOMS / 2], 1e3 * last[ROOMS - 1]);
    printf("the stand-in itself was late by: median %.1f ms, worst %.1f ms\n", 1e3 * late[ROOMS / 2], 1e3 * late[ROOMS - 1]);
    printf("from posting, without the service: median %.1f ms, worst %.1f ms\n", 1e3 * whole[ROOMS / 2], 1e3 * whole[ROOMS - 1]);
    printf("memory of the house: %.1f MB\n", (double)(lm_memory_resident() - before) / 1e6);
    lm_rooms_close(rooms);
    lm_room_config_free(config);
    player_close(player);
    return 0;
}
