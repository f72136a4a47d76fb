/* what the ledger's files share: statements on one connection. Private to ledger.c and ledger_read.c. */
#ifndef LOAM_ROOM_LEDGER_INSIDE_H
#define LOAM_ROOM_LEDGER_INSIDE_H

#include "ledger.h"

#include <pthread.h>
#include <sqlite3.h>

#define LM_STATEMENTS(X)                                                                                                            \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                                                     \
    X(COMMIT, "COMMIT")                                                                                                             \
    X(ROLLBACK, "ROLLBACK")                                                                                                         \
    X(ROOM_ADD, "INSERT OR IGNORE INTO rooms(id, title) VALUES(?1, ?2)")                                                            \
    X(ROOM_GET, "SELECT number, title, settings, answered FROM rooms WHERE id = ?1")                                                \
    X(ROOM_LIST, "SELECT id FROM rooms ORDER BY number")                                                                            \
    X(ROOM_SETTINGS, "UPDATE rooms SET settings = ?2 WHERE number = ?1")                                                            \
    X(ROOM_ANSWERED, "UPDATE rooms SET answered = max(answered, ?2) WHERE number = ?1")                                             \
    X(POSITION_SEEN, "SELECT 1 FROM positions WHERE source = ?1 AND position = ?2")                                                  \
    X(POSITION_ADD, "INSERT OR IGNORE INTO positions(source, position) VALUES(?1, ?2)")                                             \
    X(POSITION_PRUNE, "DELETE FROM positions WHERE source = ?1 AND position < ?2")                                                  \
    X(POSITION_LAST, "SELECT max(position) FROM positions WHERE source = ?1")                                                       \
    X(MESSAGE_ADD, "INSERT INTO messages(room, time, author, person, name, text, quiet, toward, trigger, round) "                   \
                   "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")                                                               \
    X(WORDS_ADD, "INSERT INTO words(rowid, text) VALUES(?1, ?2)")                                                                   \
    X(SPEND, "INSERT INTO spent(room, time, name, prompt, tokens, cost) VALUES(?1, ?2, ?3, ?4, ?5, ?6)")                            \
    X(SPENT, "SELECT coalesce(sum(prompt + tokens), 0), coalesce(sum(cost), 0.0) FROM spent WHERE room = ?1 AND time > ?2")         \
    X(COSTS, "SELECT name, count(*), sum(prompt), sum(tokens), sum(cost) FROM spent WHERE room = ?1 GROUP BY name ORDER BY name")   \
    X(QUESTION, "SELECT id, toward, text FROM messages WHERE room = ?1 AND id > ?2 AND author = 0 AND quiet = 0 "                   \
                "ORDER BY id DESC LIMIT 1")                                                                                         \
    X(ANSWERS, "SELECT name, round FROM messages WHERE room = ?1 AND id > ?2 AND trigger = ?2 ORDER BY id")                         \
    X(SUMMARY_GET, "SELECT through, text FROM summaries WHERE room = ?1 AND name = ?2")                                             \
    X(SUMMARY_SET, "INSERT OR REPLACE INTO summaries(room, name, through, text) VALUES(?1, ?2, ?3, ?4)")                            \
    X(HISTORY, "SELECT id, time, author, person, name, text FROM messages WHERE room = ?1 AND id > ?2 ORDER BY id LIMIT ?3")        \
    X(BACKWARDS, "SELECT id, time, author, person, name, text FROM messages WHERE room = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3") \
    X(SEARCH, "SELECT m.id, m.time, m.author, m.person, m.name, m.text FROM words JOIN messages m ON m.id = words.rowid "           \
              "WHERE words MATCH ?2 AND m.room = ?1 ORDER BY words.rowid DESC LIMIT ?3")                                            \
    X(NOTE_SET, "INSERT OR REPLACE INTO notes(key, value) VALUES(?1, ?2)")                                                          \
    X(NOTE_REMOVE, "DELETE FROM notes WHERE key = ?1")                                                                              \
    X(NOTE_GET, "SELECT value FROM notes WHERE key = ?1")                                                                           \
    X(NOTE_LIST, "SELECT key FROM notes WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key")

enum lm_statement {
#define LM_STATEMENT_NAME(name, text) LM_SQL_##name,
    LM_STATEMENTS(LM_STATEMENT_NAME)
#undef LM_STATEMENT_NAME
    LM_SQL_COUNT
};

struct lm_ledger {
    char *path;
    struct lm_lock *lock_file;
    sqlite3 *db;
    pthread_mutex_t lock;
    sqlite3_stmt *statements[LM_SQL_COUNT];    /* made when first used */
};

/* All with the lock held. What SQLite says, as an error that names the file. */
int lm_sql_fail(const struct lm_ledger *ledger, int status, loam_error *error);
/* The statement, ready to be bound; NULL on failure. */
sqlite3_stmt *lm_sql_get(struct lm_ledger *ledger, enum lm_statement which, loam_error *error);
/* One step: `row` tells whether there is one. On its end and on failure the statement is reset. */
int lm_sql_step(struct lm_ledger *ledger, sqlite3_stmt *statement, bool *row, loam_error *error);
/* A statement without rows, run to its end. */
int lm_sql_run(struct lm_ledger *ledger, sqlite3_stmt *statement, loam_error *error);
void lm_sql_text(sqlite3_stmt *statement, int index, const char *text);    /* NULL is NULL */
/* Column 0 of every row as strings. */
int lm_sql_strings(struct lm_ledger *ledger, sqlite3_stmt *statement, char ***strings, size_t *count, loam_error *error);

#endif
