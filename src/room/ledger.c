/* Opening the database, and writing into it. */
#include "ledger_inside.h"

#include <string.h>
#include <sys/stat.h>

enum { APPLICATION = 0x6c6f616d, BUSY_MS = 1500, POSITIONS_KEPT = 100000 };    /* "loam" */

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE rooms(number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, settings TEXT NOT NULL DEFAULT '',"
    " answered INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE messages(id INTEGER PRIMARY KEY, room INTEGER NOT NULL, time REAL NOT NULL, author INTEGER NOT NULL, person TEXT,"
    " name TEXT NOT NULL, text TEXT NOT NULL, quiet INTEGER NOT NULL, toward TEXT, trigger INTEGER NOT NULL, round INTEGER NOT NULL);"
    "CREATE INDEX messages_room ON messages(room, id);"
    "CREATE TRIGGER messages_stay BEFORE UPDATE ON messages BEGIN SELECT raise(ABORT, 'messages are only added'); END;"
    "CREATE TRIGGER messages_last BEFORE DELETE ON messages BEGIN SELECT raise(ABORT, 'messages are only added'); END;"
    "CREATE VIRTUAL TABLE words USING fts5(text, content='messages', content_rowid='id', tokenize='trigram');"
    "CREATE TABLE positions(source TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY(source, position)) WITHOUT ROWID;"
    "CREATE TABLE spent(room INTEGER NOT NULL, time REAL NOT NULL, name TEXT NOT NULL, prompt INTEGER NOT NULL, tokens INTEGER NOT NULL,"
    " cost REAL NOT NULL);"
    "CREATE INDEX spent_time ON spent(room, time);"
    "CREATE TABLE summaries(room INTEGER NOT NULL, name TEXT NOT NULL, through INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY(room, name));"
    "CREATE TABLE notes(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "PRAGMA application_id = 1819238765;"
    "PRAGMA user_version = 1;"
    "COMMIT";

static const char *const texts[] = {
#define LM_STATEMENT_TEXT(name, text) text,
    LM_STATEMENTS(LM_STATEMENT_TEXT)
#undef LM_STATEMENT_TEXT
};

/* --- Statements --- */

int lm_sql_fail(const struct lm_ledger *ledger, int status, loam_error *error)
{
    switch (status & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return lm_fail(error, LOAM_EBUSY, "%s: another program holds the database locked; close it and try again", ledger->path);
    case SQLITE_NOTADB:
        return lm_fail(error, LOAM_EFORMAT, "%s: is no SQLite database, or its beginning is damaged; restore a copy, or name another file under `database`",
                       ledger->path);
    case SQLITE_CORRUPT:
        return lm_fail(error, LOAM_EFORMAT, "%s: the database is damaged; restore a copy, or save what can be read: sqlite3 %s .recover | sqlite3 new.db",
                       ledger->path, ledger->path);
    case SQLITE_FULL:
        return lm_fail(error, LOAM_ENOSPACE, "%s: the disk is full", ledger->path);
    case SQLITE_NOMEM:
        return lm_fail(error, LOAM_ENOMEM, "%s: not enough memory", ledger->path);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return lm_fail(error, LOAM_EIO, "%s: the database cannot be opened for writing; its folder must be writable too", ledger->path);
    default:
        return lm_fail(error, LOAM_EIO, "%s: %s", ledger->path, ledger->db ? sqlite3_errmsg(ledger->db) : sqlite3_errstr(status));
    }
}

sqlite3_stmt *lm_sql_get(struct lm_ledger *ledger, enum lm_statement which, loam_error *error)
{
    sqlite3_stmt **statement = &ledger->statements[which];
    if (!*statement) {
        const int status = sqlite3_prepare_v3(ledger->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
        if (status != SQLITE_OK) {
            lm_sql_fail(ledger, status, error);
            return NULL;
        }
    }
    sqlite3_reset(*statement);
    sqlite3_clear_bindings(*statement);
    return *statement;
}

int lm_sql_step(struct lm_ledger *ledger, sqlite3_stmt *statement, bool *row, loam_error *error)
{
    const int status = sqlite3_step(statement);
    *row = status == SQLITE_ROW;
    if (*row)
        return LOAM_OK;
    const int code = status == SQLITE_DONE ? LOAM_OK : lm_sql_fail(ledger, status, error);
    sqlite3_reset(statement);
    return code;
}

int lm_sql_run(struct lm_ledger *ledger, sqlite3_stmt *statement, loam_error *error)
{
    bool row = true;
    int code = statement ? LOAM_OK : LOAM_EIO;
    while (code == LOAM_OK && row)
        code = lm_sql_step(ledger, statement, &row, error);
    return code;
}

void lm_sql_text(sqlite3_stmt *statement, int index, const char *text)
{
    if (text)
        sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
}

int lm_sql_strings(struct lm_ledger *ledger, sqlite3_stmt *statement, char ***result, size_t *result_count, loam_error *error)
{
    char **strings = lm_alloc(1, sizeof *strings, error);
    size_t count = 0;
    bool row = true;
    int code = strings && statement ? LOAM_OK : LOAM_ENOMEM;
    while (code == LOAM_OK && (code = lm_sql_step(ledger, statement, &row, error)) == LOAM_OK && row) {
        char **grown = lm_resize(strings, count + 2, sizeof *grown, error);
        if (grown)
            strings = grown;
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        char *copy = grown ? lm_copy_string(text ? text : "", text ? strlen(text) : 0, error) : NULL;
        if (copy)
            strings[count++] = copy;
        else
            code = LOAM_ENOMEM;
    }
    if (code != LOAM_OK) {
        if (statement)
            sqlite3_reset(statement);
        lm_free_strings(strings, count);
        return code;
    }
    *result = strings;
    *result_count = count;
    return LOAM_OK;
}

/* --- Opening --- */

static int execute(struct lm_ledger *ledger, const char *text, loam_error *error)
{
    const int status = sqlite3_exec(ledger->db, text, NULL, NULL, NULL);
    return status == SQLITE_OK ? LOAM_OK : lm_sql_fail(ledger, status, error);
}

static int pragma(struct lm_ledger *ledger, const char *text, int64_t *value, loam_error *error)
{
    sqlite3_stmt *statement = NULL;
    int status = sqlite3_prepare_v2(ledger->db, text, -1, &statement, NULL);
    if (status == SQLITE_OK)
        status = sqlite3_step(statement);
    if (status == SQLITE_ROW)
        *value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return status == SQLITE_ROW ? LOAM_OK : lm_sql_fail(ledger, status, error);
}

/* Whose file it is, and of which version; an empty one becomes ours. */
static int check_version(struct lm_ledger *ledger, loam_error *error)
{
    int64_t application = 0, version = 0, tables = 0;
    int code = pragma(ledger, "SELECT count(*) FROM sqlite_schema", &tables, error);
    if (code == LOAM_OK)
        code = pragma(ledger, "PRAGMA application_id", &application, error);
    if (code == LOAM_OK)
        code = pragma(ledger, "PRAGMA user_version", &version, error);
    if (code != LOAM_OK)
        return code;
    if (tables == 0)
        return execute(ledger, schema, error);
    if (application != APPLICATION)
        return lm_fail(error, LOAM_EFORMAT, "%s: is a database of another program; name another file under `database`", ledger->path);
    if (version > LM_LEDGER_VERSION)
        return lm_fail(error, LOAM_EUNSUPPORTED, "%s: has version %lld, this loam knows versions up to %d; use the newer loam that wrote it", ledger->path,
                       (long long)version, LM_LEDGER_VERSION);
    return version < 1 ? lm_fail(error, LOAM_EFORMAT, "%s: has version %lld, wanted 1 or more", ledger->path, (long long)version) : LOAM_OK;
}

static int open_file(struct lm_ledger *ledger, loam_error *error)
{
    struct stat file;
    const bool there = stat(ledger->path, &file) == 0;
    if (there && !S_ISREG(file.st_mode))
        return lm_fail(error, LOAM_EIO, "%s: is no file; name another under `database`", ledger->path);
    const mode_t before = umask(0077);    /* what is said in a room is nobody else's; WAL and lock take the file's mode */
    const int status = sqlite3_open_v2(ledger->path, &ledger->db,
                                       SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    umask(before);
    if (status != SQLITE_OK)
        return lm_sql_fail(ledger, status, error);
    sqlite3_busy_timeout(ledger->db, BUSY_MS);
    int64_t mode;
    sqlite3_db_config(ledger->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    int code = pragma(ledger, "SELECT count(*) FROM sqlite_schema", &mode, error);
    if (code == LOAM_OK)
        code = execute(ledger, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF", error);
    return code == LOAM_OK ? check_version(ledger, error) : code;
}

static int take_lock(struct lm_ledger *ledger, loam_error *error)
{
    struct lm_bytes path = {0};
    loam_error inner;
    int code = lm_bytes_format(&path, error, "%s.lock", ledger->path);
    if (code == LOAM_OK)
        code = lm_lock_take(path.data, &ledger->lock_file, &inner);
    lm_bytes_free(&path);
    if (code == LOAM_EBUSY)
        return lm_fail(error, code, "%s: another loam runs on this database; end it, or name another file under `database`", ledger->path);
    return code == LOAM_OK ? LOAM_OK : lm_fail(error, code, "%s", inner.message);
}

int lm_ledger_open(const char *path, struct lm_ledger **result, loam_error *error)
{
    struct lm_ledger *ledger = lm_alloc(1, sizeof *ledger, error);
    if (!ledger)
        return LOAM_ENOMEM;
    pthread_mutex_init(&ledger->lock, NULL);
    int code = (ledger->path = lm_copy_string(path, strlen(path), error)) ? LOAM_OK : LOAM_ENOMEM;
    if (code == LOAM_OK)
        code = take_lock(ledger, error);
    if (code == LOAM_OK)
        code = open_file(ledger, error);
    if (code != LOAM_OK) {
        lm_ledger_close(ledger);
        return code;
    }
    *result = ledger;
    return LOAM_OK;
}

void lm_ledger_close(struct lm_ledger *ledger)
{
    if (!ledger)
        return;
    for (size_t i = 0; i < LM_SQL_COUNT; i++)
        sqlite3_finalize(ledger->statements[i]);
    sqlite3_close(ledger->db);
    lm_lock_release(ledger->lock_file);
    pthread_mutex_destroy(&ledger->lock);
    lm_free(ledger->path);
    lm_free(ledger);
}

/* --- Transactions --- */

/* With the lock held until `end`. */
static int begin(struct lm_ledger *ledger, loam_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    const int code = lm_sql_run(ledger, lm_sql_get(ledger, LM_SQL_BEGIN, error), error);
    if (code != LOAM_OK)
        pthread_mutex_unlock(&ledger->lock);
    return code;
}

static int end(struct lm_ledger *ledger, int code, loam_error *error)
{
    if (code == LOAM_OK)
        code = lm_sql_run(ledger, lm_sql_get(ledger, LM_SQL_COMMIT, error), error);
    if (code != LOAM_OK && !sqlite3_get_autocommit(ledger->db))
        lm_sql_run(ledger, lm_sql_get(ledger, LM_SQL_ROLLBACK, NULL), NULL);
    pthread_mutex_unlock(&ledger->lock);
    return code;
}

/* One statement without rows, by itself. */
static int alone(struct lm_ledger *ledger, sqlite3_stmt *statement, loam_error *error)
{
    const int code = lm_sql_run(ledger, statement, error);
    pthread_mutex_unlock(&ledger->lock);
    return code;
}

static sqlite3_stmt *lock_and_get(struct lm_ledger *ledger, enum lm_statement which, loam_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    return lm_sql_get(ledger, which, error);
}

/* --- Messages --- */

/* `seen`: it was there. What lies far behind is forgotten: no transport gives it again. */
static int note_position(struct lm_ledger *ledger, const char *source, int64_t position, bool *seen, loam_error *error)
{
    sqlite3_stmt *statement = lm_sql_get(ledger, LM_SQL_POSITION_ADD, error);
    if (!statement)
        return LOAM_EIO;
    lm_sql_text(statement, 1, source);
    sqlite3_bind_int64(statement, 2, position);
    int code = lm_sql_run(ledger, statement, error);
    *seen = code == LOAM_OK && sqlite3_changes(ledger->db) == 0;
    if (code != LOAM_OK || *seen || position % 1024 || !(statement = lm_sql_get(ledger, LM_SQL_POSITION_PRUNE, error)))
        return code;
    lm_sql_text(statement, 1, source);
    sqlite3_bind_int64(statement, 2, position - POSITIONS_KEPT);
    return lm_sql_run(ledger, statement, error);
}

static int add_spent(struct lm_ledger *ledger, int64_t room, double time, const char *name, int64_t prompt, int64_t tokens, double cost,
                     loam_error *error)
{
    sqlite3_stmt *statement = lm_sql_get(ledger, LM_SQL_SPEND, error);
    if (!statement)
        return LOAM_EIO;
    sqlite3_bind_int64(statement, 1, room);
    sqlite3_bind_double(statement, 2, time);
    lm_sql_text(statement, 3, name);
    sqlite3_bind_int64(statement, 4, prompt > 0 ? prompt : 0);
    sqlite3_bind_int64(statement, 5, tokens > 0 ? tokens : 0);
    sqlite3_bind_double(statement, 6, cost);
    return lm_sql_run(ledger, statement, error);
}

static int add_words(struct lm_ledger *ledger, int64_t id, const struct lm_ledger_message *message, loam_error *error)
{
    sqlite3_stmt *statement = lm_sql_get(ledger, LM_SQL_WORDS_ADD, error);
    if (!statement)
        return LOAM_EIO;
    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_text64(statement, 2, message->text, message->length, SQLITE_STATIC, SQLITE_UTF8);
    return lm_sql_run(ledger, statement, error);
}

/* Within a transaction. */
static int add_message(struct lm_ledger *ledger, const struct lm_ledger_message *message, int64_t *id, loam_error *error)
{
    const double time = message->time > 0 ? message->time : lm_time();
    sqlite3_stmt *statement = lm_sql_get(ledger, LM_SQL_MESSAGE_ADD, error);
    if (!statement)
        return LOAM_EIO;
    sqlite3_bind_int64(statement, 1, message->room);
    sqlite3_bind_double(statement, 2, time);
    sqlite3_bind_int(statement, 3, message->author);
    lm_sql_text(statement, 4, message->person);
    lm_sql_text(statement, 5, message->name);
    sqlite3_bind_text64(statement, 6, message->text, message->length, SQLITE_STATIC, SQLITE_UTF8);
    sqlite3_bind_int(statement, 7, message->quiet);
    lm_sql_text(statement, 8, message->toward);
    sqlite3_bind_int64(statement, 9, message->trigger);
    sqlite3_bind_int64(statement, 10, message->round);
    int code = lm_sql_run(ledger, statement, error);
    *id = sqlite3_last_insert_rowid(ledger->db);
    if (code == LOAM_OK)
        code = add_words(ledger, *id, message, error);
    if (code == LOAM_OK && message->author == LM_AUTHOR_AI && (message->tokens > 0 || message->prompt_tokens > 0 || message->cost > 0))
        code = add_spent(ledger, message->room, time, message->name, message->prompt_tokens, message->tokens, message->cost, error);
    return code;
}

int lm_ledger_add(struct lm_ledger *ledger, const struct lm_ledger_message *message, int64_t *id, loam_error *error)
{
    bool seen = false;
    int64_t made = 0;
    int code = begin(ledger, error);
    if (code != LOAM_OK)
        return code;
    if (message->source && message->position >= 0)
        code = note_position(ledger, message->source, message->position, &seen, error);
    if (code == LOAM_OK && !seen)
        code = add_message(ledger, message, &made, error);
    code = end(ledger, code, error);
    if (code == LOAM_OK)
        *id = seen ? 0 : made;
    return code;
}

int lm_ledger_add_many(struct lm_ledger *ledger, const struct lm_ledger_message *messages, size_t count, loam_error *error)
{
    int64_t id;
    int code = begin(ledger, error);
    if (code != LOAM_OK)
        return code;
    for (size_t i = 0; i < count && code == LOAM_OK; i++)
        code = add_message(ledger, &messages[i], &id, error);
    return end(ledger, code, error);
}

int lm_ledger_pass_over(struct lm_ledger *ledger, const char *source, int64_t position, bool *seen, loam_error *error)
{
    bool was = false;
    int code = begin(ledger, error);
    if (code != LOAM_OK)
        return code;
    code = note_position(ledger, source, position, &was, error);
    code = end(ledger, code, error);
    if (seen)
        *seen = was;
    return code;
}

int lm_ledger_spend(struct lm_ledger *ledger, int64_t room, const char *name, int64_t prompt_tokens, int64_t tokens, double cost,
                   loam_error *error)
{
    int code = begin(ledger, error);
    if (code != LOAM_OK)
        return code;
    code = add_spent(ledger, room, lm_time(), name, prompt_tokens, tokens, cost, error);
    return end(ledger, code, error);
}

/* --- Rooms, summaries, notes --- */

static int read_room(struct lm_ledger *ledger, const char *id, struct lm_ledger_room *room, loam_error *error)
{
    sqlite3_stmt *statement = lm_sql_get(ledger, LM_SQL_ROOM_GET, error);
    bool row = false;
    if (!statement)
        return LOAM_EIO;
    lm_sql_text(statement, 1, id);
    int code = lm_sql_step(ledger, statement, &row, error);
    if (code != LOAM_OK || !row)
        return code == LOAM_OK ? lm_fail(error, LOAM_ENOTFOUND, "%s: no room '%s'", ledger->path, id) : code;
    const char *title = (const char *)sqlite3_column_text(statement, 1), *settings = (const char *)sqlite3_column_text(statement, 2);
    room->number = sqlite3_column_int64(statement, 0);
    room->answered = sqlite3_column_int64(statement, 3);
    room->title = lm_copy_string(title ? title : "", title ? strlen(title) : 0, error);
    room->settings = lm_copy_string(settings ? settings : "", settings ? strlen(settings) : 0, error);
    sqlite3_reset(statement);
    return room->title && room->settings ? LOAM_OK : LOAM_ENOMEM;
}

int lm_ledger_room(struct lm_ledger *ledger, const char *id, const char *title, struct lm_ledger_room *room, loam_error *error)
{
    int code = begin(ledger, error);
    if (code != LOAM_OK)
        return code;
    sqlite3_stmt *statement = lm_sql_get(ledger, LM_SQL_ROOM_ADD, error);
    if (statement) {
        lm_sql_text(statement, 1, id);
        lm_sql_text(statement, 2, title);
    }
    code = lm_sql_run(ledger, statement, error);
    if (code == LOAM_OK)
        code = read_room(ledger, id, room, error);
    code = end(ledger, code, error);
    if (code != LOAM_OK)
        lm_ledger_room_free(room);
    return code;
}

void lm_ledger_room_free(struct lm_ledger_room *room)
{
    lm_free(room->title);
    lm_free(room->settings);
    *room = (struct lm_ledger_room){0};
}

int lm_ledger_settings(struct lm_ledger *ledger, int64_t room, const char *settings, loam_error *error)
{
    sqlite3_stmt *statement = lock_and_get(ledger, LM_SQL_ROOM_SETTINGS, error);
    if (statement) {
        sqlite3_bind_int64(statement, 1, room);
        lm_sql_text(statement, 2, settings);
    }
    return alone(ledger, statement, error);
}

int lm_ledger_answered(struct lm_ledger *ledger, int64_t room, int64_t trigger, loam_error *error)
{
    sqlite3_stmt *statement = lock_and_get(ledger, LM_SQL_ROOM_ANSWERED, error);
    if (statement) {
        sqlite3_bind_int64(statement, 1, room);
        sqlite3_bind_int64(statement, 2, trigger);
    }
    return alone(ledger, statement, error);
}

int lm_ledger_set_summary(struct lm_ledger *ledger, int64_t room, const char *name, int64_t through, const char *text, loam_error *error)
{
    sqlite3_stmt *statement = lock_and_get(ledger, LM_SQL_SUMMARY_SET, error);
    if (statement) {
        sqlite3_bind_int64(statement, 1, room);
        lm_sql_text(statement, 2, name);
        sqlite3_bind_int64(statement, 3, through);
        lm_sql_text(statement, 4, text);
    }
    return alone(ledger, statement, error);
}

int lm_ledger_note_set(struct lm_ledger *ledger, const char *key, const char *value, loam_error *error)
{
    sqlite3_stmt *statement = lock_and_get(ledger, value ? LM_SQL_NOTE_SET : LM_SQL_NOTE_REMOVE, error);
    if (statement) {
        lm_sql_text(statement, 1, key);
        if (value)
            lm_sql_text(statement, 2, value);
    }
    return alone(ledger, statement, error);
}
