/* A history of 100,000 messages: how long it takes to be opened and searched. bench/room.sh builds and runs it. */
#include "room/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MESSAGES = 100000, REPEATS = 15 };

static loam_error error;

static void check(int code)
{
    if (code != LOAM_OK) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
}

/* Sentences of words by chance, in four scripts; every thousandth has a word of its own. */
static void make_text(struct lm_random *random, int64_t index, struct lm_bytes *text)
{
    static const char *const words[] = {"strawberry", "window", "about", "never", "model", "привет", "погода", "завтра", "天気", "世界", "こんにちは",
                                        "what", "is", "the", "a", "we", "think", "number", "μέρα", "green", "river", "under", "light", "seven"};
    const size_t count = 6 + (size_t)lm_random_below(random, 20);
    text->length = 0;
    for (size_t i = 0; i < count; i++)
        lm_bytes_format(text, NULL, "%s%s", i ? " " : "", words[lm_random_below(random, sizeof words / sizeof *words)]);
    if (index % 1000 == 500)
        lm_bytes_format(text, NULL, " needle%d", (int)(index / 1000));
}

static int64_t make(const char *path)
{
    struct lm_ledger *ledger;
    struct lm_ledger_room room = {0};
    struct lm_random random = lm_random_seed(1, 0);
    enum { PART = 5000 };
    struct lm_ledger_message *messages = calloc(PART, sizeof *messages);
    struct lm_bytes *texts = calloc(PART, sizeof *texts);
    check(lm_ledger_open(path, &ledger, &error));
    check(lm_ledger_room(ledger, "main", "Bench", &room, &error));
    for (int64_t at = 0; at < MESSAGES; at += PART) {
        for (int i = 0; i < PART; i++) {
            make_text(&random, at + i, &texts[i]);
            messages[i] = (struct lm_ledger_message){.room = room.number, .author = i % 3 ? LM_AUTHOR_AI : LM_AUTHOR_PERSON, .name = i % 3 ? "Ada" : "Ann",
                                                     .text = texts[i].data, .length = texts[i].length, .position = -1};
        }
        check(lm_ledger_add_many(ledger, messages, PART, &error));
    }
    const int64_t number = room.number;
    lm_ledger_room_free(&room);
    lm_ledger_close(ledger);
    return number;
}

static int count(void *user, const struct lm_kept *kept)
{
    *(int64_t *)user += (int64_t)(kept->length > 0);
    return 0;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report(const char *what, double *seconds, int64_t found)
{
    qsort(seconds, REPEATS, sizeof *seconds, compare);
    printf("%-34s median %7.2f ms, worst %7.2f ms   %lld found\n", what, 1e3 * seconds[REPEATS / 2], 1e3 * seconds[REPEATS - 1], (long long)found);
}

int main(int argc, char **argv)
{
    static const char *const queries[] = {"needle42", "strawberry", "привет", "世界", "天", "zq", "no such words at all", "the", "berry win"};
    double seconds[REPEATS];
    int64_t found = 0, room;
    struct lm_ledger *ledger = NULL;
    const char *path = argc > 1 ? argv[1] : "bench-room.db";
    unlink(path);
    room = make(path);
    for (int i = 0; i < REPEATS; i++) {
        lm_ledger_close(ledger);
        struct lm_ledger_room row = {0};
        const double start = lm_seconds();
        check(lm_ledger_open(path, &ledger, &error));
        check(lm_ledger_room(ledger, "main", "Bench", &row, &error));
        found = 0;
        check(lm_ledger_latest(ledger, room, 50, count, &found, &error));
        seconds[i] = lm_seconds() - start;
        lm_ledger_room_free(&row);
    }
    report("open, and the last 50 messages", seconds, found);
    for (size_t q = 0; q < sizeof queries / sizeof *queries; q++) {
        char what[64];
        for (int i = 0; i < REPEATS; i++) {
            const double start = lm_seconds();
            found = 0;
            check(lm_ledger_search(ledger, room, queries[q], 20, count, &found, &error));
            seconds[i] = lm_seconds() - start;
        }
        snprintf(what, sizeof what, "search '%s'", queries[q]);
        report(what, seconds, found);
    }
    lm_ledger_close(ledger);
    return 0;
}
