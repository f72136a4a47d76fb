/* The database: what is added stays, once; what is wrong with a file is said; everything is found in every script. */
#include "support/support.h"

#include "room/ledger.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static loam_error error;

static struct lm_ledger *open_at(const char *path)
{
    struct lm_ledger *ledger;
    assert_ok(lm_ledger_open(path, &ledger, &error), &error);
    return ledger;
}

static int64_t enter(struct lm_ledger *ledger, const char *id)
{
    struct lm_ledger_room room = {0};
    assert_ok(lm_ledger_room(ledger, id, "Title", &room, &error), &error);
    const int64_t number = room.number;
    lm_ledger_room_free(&room);
    return number;
}

static int64_t add(struct lm_ledger *ledger, int64_t room, const char *name, const char *text, const char *source, int64_t position)
{
    int64_t id = -1;
    const struct lm_ledger_message message = {.room = room, .author = LM_AUTHOR_PERSON, .person = "p:1", .name = name, .text = text,
                                             .length = strlen(text), .source = source, .position = position};
    assert_ok(lm_ledger_add(ledger, &message, &id, &error), &error);
    return id;
}

static int join(void *user, const struct lm_kept *kept)
{
    char *out = user;
    const size_t used = strlen(out);
    assert_int_equal(strlen(kept->text), kept->length);
    snprintf(out + used, 4096 - used, "%s:%s;", kept->name, kept->text);
    return 0;
}

static void keeps(void **state)
{
    (void)state;
    const char *path = test_path(test_folder(), "a.db");
    char text[4096] = "";
    struct lm_ledger *ledger = open_at(path);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
    const int64_t one = enter(ledger, "one"), two = enter(ledger, "two");
    assert_true(one != two);
    assert_int_equal(enter(ledger, "one"), one);
    assert_true(add(ledger, one, "Ann", "first", "telegram", 10) > 0);
    assert_int_equal(add(ledger, one, "Ann", "first", "telegram", 10), 0);       /* repeated */
    assert_int_equal(add(ledger, two, "Ann", "first", "telegram", 10), 0);
    assert_true(add(ledger, one, "Ann", "late", "telegram", 8) > 0);             /* out of order, but new */
    assert_true(add(ledger, one, "Ann", "other", "web", 10) > 0);
    assert_true(add(ledger, two, "Ben", "elsewhere", NULL, -1) > 0);
    int64_t position;
    bool seen;
    assert_ok(lm_ledger_position(ledger, "telegram", &position, &error), &error);
    assert_int_equal(position, 10);
    assert_ok(lm_ledger_position(ledger, "nobody", &position, &error), &error);
    assert_int_equal(position, -1);
    assert_ok(lm_ledger_pass_over(ledger, "telegram", 11, &seen, &error), &error);
    assert_false(seen);
    assert_ok(lm_ledger_pass_over(ledger, "telegram", 11, &seen, &error), &error);
    assert_true(seen);
    assert_int_equal(add(ledger, one, "Ann", "eleven", "telegram", 11), 0);
    lm_ledger_close(ledger);
    ledger = open_at(path);
    assert_ok(lm_ledger_history(ledger, one, 0, 0, join, text, &error), &error);
    assert_string_equal(text, "Ann:first;Ann:late;Ann:other;");
    *text = 0;
    assert_ok(lm_ledger_latest(ledger, one, 2, join, text, &error), &error);
    assert_string_equal(text, "Ann:late;Ann:other;");
    *text = 0;
    assert_ok(lm_ledger_latest(ledger, one, 50, join, text, &error), &error);
    assert_string_equal(text, "Ann:first;Ann:late;Ann:other;");
    char **ids;
    size_t count;
    assert_ok(lm_ledger_rooms(ledger, &ids, &count, &error), &error);
    assert_int_equal(count, 2);
    assert_string_equal(ids[1], "two");
    lm_free_strings(ids, count);
    lm_ledger_close(ledger);
}

static void many_rows(void **state)
{
    (void)state;
    struct lm_ledger *ledger = open_at(test_path(test_folder(), "b.db"));
    const int64_t room = enter(ledger, "r");
    struct lm_ledger_message messages[1000];
    char words[1000][16];
    for (int i = 0; i < 1000; i++) {
        snprintf(words[i], sizeof words[i], "word%04d", i);
        messages[i] = (struct lm_ledger_message){.room = room, .author = LM_AUTHOR_AI, .name = "A", .text = words[i], .length = 8, .position = -1};
    }
    assert_ok(lm_ledger_add_many(ledger, messages, 1000, &error), &error);
    char *text = calloc(1, 1 << 20);
    assert_ok(lm_ledger_latest(ledger, room, 3, join, text, &error), &error);
    assert_string_equal(text, "A:word0997;A:word0998;A:word0999;");
    text[0] = 0;
    assert_ok(lm_ledger_search(ledger, room, "WORD05", 2, join, text, &error), &error);
    assert_string_equal(text, "A:word0599;A:word0598;");
    text[0] = 0;
    assert_ok(lm_ledger_search(ledger, room, "D0", 300, join, text, &error), &error);
    assert_memory_equal(text, "A:word0999;A:word0998;", 22);
    free(text);
    lm_ledger_close(ledger);
}

static void found(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "The Strawberry is red", "Straße nach München", "Привет, как дела?", "你好世界", "こんにちは", "안녕하세요", "مرحبا بالعالم", "שלום עולם",
        "नमस्ते दुनिया", "สวัสดีชาวโลก", "Γειά σου Κόσμε", "it's \"quoted\" 100% _x_", "a", "emoji 🍓 here", "AND OR NOT NEAR(x)",
    };
    static const struct {
        const char *query, *wanted;
    } cases[] = {
        {"strawberry", "The Strawberry is red"}, {"STRAW", "The Strawberry is red"}, {"münchen", "Straße nach München"},
        {"MÜN", "Straße nach München"},          {"ü", "Straße nach München"},       {"Ü", "Straße nach München"},
        {"ПРИВЕТ", "Привет, как дела?"},         {"дела", "Привет, как дела?"},      {"ДЕ", "Привет, как дела?"},
        {"你好", "你好世界"},                    {"界", "你好世界"},                 {"你好世", "你好世界"},
        {"んに", "こんにちは"},                  {"안녕", "안녕하세요"},             {"بالع", "مرحبا بالعالم"},
        {"שלום", "שלום עולם"},                  {"मस्ते", "नमस्ते दुनिया"},              {"สวัส", "สวัสดีชาวโลก"},
        {"κόσμε", "Γειά σου Κόσμε"},             {"\"quoted\"", "it's \"quoted\" 100% _x_"}, {"0%", "it's \"quoted\" 100% _x_"},
        {"_x_", "it's \"quoted\" 100% _x_"},     {"🍓", "emoji 🍓 here"},             {"NOT NEAR(", "AND OR NOT NEAR(x)"},
        {"nothing like it", ""},                 {"zq", ""},
    };
    struct lm_ledger *ledger = open_at(test_path(test_folder(), "c.db"));
    const int64_t room = enter(ledger, "r"), other = enter(ledger, "other");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        add(ledger, room, "N", texts[i], NULL, -1);
    add(ledger, other, "N", "The Strawberry of another room", NULL, -1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[4096] = "", wanted[256] = "";
        assert_ok(lm_ledger_search(ledger, room, cases[i].query, 10, join, text, &error), &error);
        if (*cases[i].wanted)
            snprintf(wanted, sizeof wanted, "N:%s;", cases[i].wanted);
        if (strcmp(text, wanted))
            fail_msg("'%s': found '%s', wanted '%s'", cases[i].query, text, wanted);
    }
    char none[8] = "";
    assert_fails(lm_ledger_search(ledger, room, "", 1, join, none, &error), &error, LOAM_EUSAGE, "search", "nothing");
    assert_fails(lm_ledger_search(ledger, room, "\xff", 1, join, none, &error), &error, LOAM_EUSAGE, "UTF-8");
    lm_ledger_close(ledger);
}

static void beside(void **state)
{
    (void)state;
    struct lm_ledger *ledger = open_at(test_path(test_folder(), "d.db"));
    const int64_t room = enter(ledger, "r");
    char *value, **keys;
    size_t count;
    assert_ok(lm_ledger_note_get(ledger, "a:1", &value, &error), &error);
    assert_null(value);
    assert_ok(lm_ledger_note_set(ledger, "a:1", "x", &error), &error);
    assert_ok(lm_ledger_note_set(ledger, "a:2", "y", &error), &error);
    assert_ok(lm_ledger_note_set(ledger, "b:1", "z", &error), &error);
    assert_ok(lm_ledger_note_set(ledger, "a:1", "xx", &error), &error);
    assert_ok(lm_ledger_note_get(ledger, "a:1", &value, &error), &error);
    assert_string_equal(value, "xx");
    lm_free(value);
    assert_ok(lm_ledger_note_list(ledger, "a:", &keys, &count, &error), &error);
    assert_int_equal(count, 2);
    lm_free_strings(keys, count);
    assert_ok(lm_ledger_note_set(ledger, "a:1", NULL, &error), &error);
    assert_ok(lm_ledger_note_list(ledger, "a:", &keys, &count, &error), &error);
    assert_int_equal(count, 1);
    lm_free_strings(keys, count);

    int64_t through, tokens, id;
    double cost;
    char *toward;
    assert_ok(lm_ledger_summary(ledger, room, "Ada", &through, &value, &error), &error);
    assert_null(value);
    assert_ok(lm_ledger_set_summary(ledger, room, "Ada", 7, "they met", &error), &error);
    assert_ok(lm_ledger_summary(ledger, room, "Ada", &through, &value, &error), &error);
    assert_string_equal(value, "they met");
    assert_int_equal(through, 7);
    lm_free(value);
    assert_ok(lm_ledger_spend(ledger, room, "Ada", 100, 20, 0.5, &error), &error);
    assert_ok(lm_ledger_spend(ledger, room, "Bix", 10, -1, 0.25, &error), &error);
    assert_ok(lm_ledger_spent(ledger, room, lm_time() - 10, &tokens, &cost, &error), &error);
    assert_int_equal(tokens, 130);
    assert_true(cost == 0.75);
    assert_ok(lm_ledger_spent(ledger, room, lm_time() + 10, &tokens, &cost, &error), &error);
    assert_int_equal(tokens, 0);
    const int64_t first = add(ledger, room, "Ann", "one?", NULL, -1), second = add(ledger, room, "Ann", "two?", NULL, -1);
    assert_ok(lm_ledger_open_question(ledger, room, first, &id, &toward, &value, &error), &error);
    assert_int_equal(id, second);
    assert_string_equal(value, "two?");
    assert_null(toward);
    lm_free(value);
    assert_ok(lm_ledger_answered(ledger, room, second, &error), &error);
    struct lm_ledger_room row = {0};
    assert_ok(lm_ledger_room(ledger, "r", "Title", &row, &error), &error);
    assert_int_equal(row.answered, second);
    lm_ledger_room_free(&row);
    lm_ledger_close(ledger);
}

static void execute(const char *path, const char *text)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void wrong_files(void **state)
{
    (void)state;
    const char *folder = test_folder();
    struct lm_ledger *ledger, *second;
    char path[512];
    snprintf(path, sizeof path, "%s/new.db", folder);
    ledger = open_at(path);
    assert_fails(lm_ledger_open(path, &second, &error), &error, LOAM_EBUSY, "new.db", "another loam");
    add(ledger, enter(ledger, "r"), "Ann", "Hello", NULL, -1);
    lm_ledger_close(ledger);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE messages SET text = 'changed'", NULL, NULL, NULL), SQLITE_CONSTRAINT);
    assert_int_equal(sqlite3_exec(db, "DELETE FROM messages", NULL, NULL, NULL), SQLITE_CONSTRAINT);
    sqlite3_close(db);
    execute(path, "PRAGMA user_version = 9");
    assert_fails(lm_ledger_open(path, &ledger, &error), &error, LOAM_EUNSUPPORTED, "new.db", "version 9", "newer loam");
    execute(path, "PRAGMA user_version = 1");
    execute(path, "PRAGMA application_id = 5");
    assert_fails(lm_ledger_open(path, &ledger, &error), &error, LOAM_EFORMAT, "another program");

    snprintf(path, sizeof path, "%s/text.db", folder);
    assert_ok(lm_file_replace(path, "This is no database at all, but some text of some length.\n", 58, &error), &error);
    assert_fails(lm_ledger_open(path, &ledger, &error), &error, LOAM_EFORMAT, "text.db", "no SQLite database");
    assert_fails(lm_ledger_open(folder, &ledger, &error), &error, LOAM_EIO, "no file");
    assert_fails(lm_ledger_open("/nowhere/at/all.db", &ledger, &error), &error, LOAM_ENOTFOUND, "/nowhere/at/all.db");

    /* Damaged within: found when it is read. */
    snprintf(path, sizeof path, "%s/damaged.db", folder);
    ledger = open_at(path);
    const int64_t room = enter(ledger, "r");
    for (int i = 0; i < 500; i++)
        add(ledger, room, "Ann", "A message that takes some room in the file, so that it has many pages", NULL, -1);
    lm_ledger_close(ledger);
    struct lm_bytes bytes = {0};
    assert_ok(lm_file_read(path, 0, &bytes, &error), &error);
    assert_true(bytes.length > 65536);
    memset(bytes.data + 16384, 0xA5, bytes.length - 16384);
    assert_ok(lm_file_replace(path, bytes.data, bytes.length, &error), &error);
    lm_bytes_free(&bytes);
    int code = lm_ledger_open(path, &ledger, &error);
    if (code == LOAM_OK) {
        char text[4096] = "";
        code = lm_ledger_latest(ledger, room, 500, join, text, &error);
        lm_ledger_close(ledger);
    }
    if (code != LOAM_EFORMAT || !strstr(error.message, "damaged") || !strstr(error.message, ".recover"))
        fail_msg("found %d: %s", code, error.message);
}

/* Another program holds the file for a while: what cannot wait is told so, and nothing is lost. */
static void locked(void **state)
{
    (void)state;
    const char *path = test_path(test_folder(), "locked.db");
    struct lm_ledger *ledger = open_at(path);
    const int64_t room = enter(ledger, "r");
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    const struct lm_ledger_message message = {.room = room, .name = "Ann", .text = "Hello", .length = 5, .source = "t", .position = 1};
    int64_t id = 0;
    assert_fails(lm_ledger_add(ledger, &message, &id, &error), &error, LOAM_EBUSY, "locked.db", "locked");
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_ok(lm_ledger_add(ledger, &message, &id, &error), &error);
    assert_true(id > 0);
    lm_ledger_close(ledger);
}

static int join_large(void *user, const struct lm_kept *kept)
{
    struct lm_bytes *out = user;
    return lm_bytes_format(out, &error, "%s:%s;", kept->name, kept->text);
}

/* Killed again and again while it adds: what was said to be there is there, once, and in order. */
static void killed(void **state)
{
    (void)state;
    const char *path = test_path(test_folder(), "killed.db");
    int64_t told = 0;
    for (int round = 0; round < 12; round++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        const pid_t child = fork();
        if (child == 0) {
            struct lm_ledger *ledger;
            struct lm_ledger_room row = {0};
            if (lm_ledger_open(path, &ledger, &error) != LOAM_OK || lm_ledger_room(ledger, "r", "T", &row, &error) != LOAM_OK)
                _exit(1);
            int64_t position, id;
            lm_ledger_position(ledger, "t", &position, &error);
            for (;;) {
                char text[32];
                position++;
                snprintf(text, sizeof text, "%lld", (long long)position);
                const struct lm_ledger_message message = {.room = row.number, .name = "Ann", .text = text, .length = strlen(text), .source = "t",
                                                         .position = position};
                if (lm_ledger_add(ledger, &message, &id, &error) != LOAM_OK || write(pipes[1], &position, sizeof position) < 0)
                    _exit(1);
            }
        }
        close(pipes[1]);
        int64_t position;
        for (int i = 0; i < 5 + round; i++) {
            assert_int_equal(read(pipes[0], &position, sizeof position), sizeof position);
            told = position;
        }
        kill(child, SIGKILL);
        while (read(pipes[0], &position, sizeof position) == sizeof position)
            told = position;
        close(pipes[0]);
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
    struct lm_ledger *ledger = open_at(path);
    const int64_t room = enter(ledger, "r");
    struct lm_bytes text = {0}, wanted = {0};
    int64_t position;
    assert_ok(lm_ledger_position(ledger, "t", &position, &error), &error);
    assert_true(position >= told);
    for (int64_t i = 0; i <= position; i++)
        lm_bytes_format(&wanted, &error, "Ann:%lld;", (long long)i);
    assert_ok(lm_ledger_history(ledger, room, 0, 0, join_large, &text, &error), &error);
    assert_string_equal(text.data, wanted.data);
    lm_bytes_free(&text);
    lm_bytes_free(&wanted);
    lm_ledger_close(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps),       cmocka_unit_test(many_rows), cmocka_unit_test(found),  cmocka_unit_test(beside),
                                       cmocka_unit_test(wrong_files), cmocka_unit_test(locked),    cmocka_unit_test(killed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
