/* Reading the database: history, search, and what is kept beside. */
#include "ledger_inside.h"

#include <string.h>
#include <utf8proc.h>

enum { ROWS = 256, LEAST_INDEXED = 3 };    /* characters: shorter ones are in no trigram */

/* --- A question to the database: the ledger is locked from its begin to its end --- */

static int query_begin(struct lm_ledger *ledger, enum lm_statement which, sqlite3_stmt **statement, loam_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    *statement = lm_sql_get(ledger, which, error);
    return *statement ? LOAM_OK : LOAM_EIO;
}

static int query_end(struct lm_ledger *ledger, sqlite3_stmt *statement, int code)
{
    if (statement)
        sqlite3_reset(statement);
    pthread_mutex_unlock(&ledger->lock);
    return code;
}

/* --- Rows, copied so that nothing is locked while they are looked at --- */

struct rows {
    struct lm_kept kept[ROWS];
    size_t person[ROWS], name[ROWS], text[ROWS];    /* offsets in `bytes`; person SIZE_MAX: none */
    size_t count;
    struct lm_bytes bytes;
};

static size_t put(struct rows *rows, sqlite3_stmt *statement, int column, size_t *length, loam_error *error)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    const size_t at = rows->bytes.length;
    if (!text && column == 3)
        return SIZE_MAX;
    *length = (size_t)sqlite3_column_bytes(statement, column);
    if (lm_bytes_append(&rows->bytes, text ? text : "", *length, error) != LOAM_OK || lm_bytes_append(&rows->bytes, "", 1, error) != LOAM_OK)
        return SIZE_MAX - 1;
    return at;
}

static int take_row(struct rows *rows, sqlite3_stmt *statement, loam_error *error)
{
    const size_t i = rows->count;
    size_t length = 0;
    rows->kept[i] = (struct lm_kept){.id = sqlite3_column_int64(statement, 0), .time = sqlite3_column_double(statement, 1),
                                     .author = (enum lm_author)sqlite3_column_int(statement, 2)};
    rows->person[i] = put(rows, statement, 3, &length, error);
    rows->name[i] = put(rows, statement, 4, &length, error);
    rows->text[i] = put(rows, statement, 5, &length, error);
    rows->kept[i].length = length;
    if (rows->person[i] == SIZE_MAX - 1 || rows->name[i] == SIZE_MAX - 1 || rows->text[i] == SIZE_MAX - 1)
        return LOAM_ENOMEM;
    rows->count++;
    return LOAM_OK;
}

static const struct lm_kept *row(struct rows *rows, size_t i)
{
    struct lm_kept *kept = &rows->kept[i];
    kept->person_id = rows->person[i] == SIZE_MAX ? NULL : rows->bytes.data + rows->person[i];
    kept->name = rows->bytes.data + rows->name[i];
    kept->text = rows->bytes.data + rows->text[i];
    return kept;
}

static struct rows *make_rows(loam_error *error)
{
    return lm_alloc(1, sizeof(struct rows), error);
}

static void free_rows(struct rows *rows)
{
    if (rows)
        lm_bytes_free(&rows->bytes);
    lm_free(rows);
}

/* The next rows of HISTORY or BACKWARDS, at most ROWS. */
static int read_rows(struct lm_ledger *ledger, enum lm_statement which, int64_t room, int64_t from, int64_t limit, struct rows *rows,
                     loam_error *error)
{
    bool more = true;
    rows->count = 0;
    rows->bytes.length = 0;
    sqlite3_stmt *statement;
    int code = query_begin(ledger, which, &statement, error);
    if (code == LOAM_OK) {
        sqlite3_bind_int64(statement, 1, room);
        sqlite3_bind_int64(statement, 2, from);
        sqlite3_bind_int64(statement, 3, limit < ROWS ? limit : ROWS);
    }
    while (code == LOAM_OK && (code = lm_sql_step(ledger, statement, &more, error)) == LOAM_OK && more)
        code = take_row(rows, statement, error);
    return query_end(ledger, statement, code);
}

int lm_ledger_history(struct lm_ledger *ledger, int64_t room, int64_t after, int64_t limit,
                     int (*take)(void *user, const struct lm_kept *kept), void *user, loam_error *error)
{
    struct rows *rows = make_rows(error);
    int64_t left = limit > 0 ? limit : INT64_MAX;
    int code = rows ? LOAM_OK : LOAM_ENOMEM;
    bool going = true;
    while (code == LOAM_OK && going && left > 0) {
        code = read_rows(ledger, LM_SQL_HISTORY, room, after, left, rows, error);
        for (size_t i = 0; code == LOAM_OK && going && i < rows->count; i++) {
            after = rows->kept[i].id;
            going = !take(user, row(rows, i));
        }
        if (code == LOAM_OK) {
            left -= (int64_t)rows->count;
            going = going && rows->count == ROWS;
        }
    }
    free_rows(rows);
    return code;
}

/* The id behind which `limit` messages come, or 0. */
static int find_start(struct lm_ledger *ledger, int64_t room, int64_t limit, int64_t *start, loam_error *error)
{
    bool row_there = false;
    sqlite3_stmt *statement = NULL;
    pthread_mutex_lock(&ledger->lock);
    int status = sqlite3_prepare_v2(ledger->db, "SELECT id FROM messages WHERE room = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2", -1, &statement, NULL);
    int code = status == SQLITE_OK ? LOAM_OK : lm_sql_fail(ledger, status, error);
    if (code == LOAM_OK) {
        sqlite3_bind_int64(statement, 1, room);
        sqlite3_bind_int64(statement, 2, limit);
        code = lm_sql_step(ledger, statement, &row_there, error);
    }
    if (code == LOAM_OK)
        *start = row_there ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&ledger->lock);
    return code;
}

int lm_ledger_latest(struct lm_ledger *ledger, int64_t room, int64_t limit, int (*take)(void *user, const struct lm_kept *kept), void *user,
                    loam_error *error)
{
    int64_t start = 0;
    if (limit <= 0)
        return LOAM_OK;
    const int code = find_start(ledger, room, limit, &start, error);
    return code == LOAM_OK ? lm_ledger_history(ledger, room, start, limit, take, user, error) : code;
}

/* --- Search --- */

struct needle {
    int32_t characters[LEAST_INDEXED];
    size_t count;
    unsigned char first[16];    /* bytes with which a match may begin */
    size_t first_count;
};

static int32_t fold(uint32_t c)
{
    return utf8proc_tolower((utf8proc_int32_t)c);
}

/* Characters that fold to the same as `c`: their first bytes, so that a text can be passed over fast. */
static void add_first(struct needle *needle, int32_t c)
{
    char bytes[4];
    if (lm_utf8_encode((uint32_t)c, bytes) && needle->first_count < sizeof needle->first &&
        !memchr(needle->first, bytes[0], needle->first_count))
        needle->first[needle->first_count++] = (unsigned char)bytes[0];
}

static void make_needle(const char *text, size_t length, struct needle *needle)
{
    *needle = (struct needle){0};
    for (size_t at = 0; at < length && needle->count < LEAST_INDEXED;) {
        uint32_t c;
        const size_t size = lm_utf8_decode(text + at, length - at, &c);
        at += size ? size : 1;
        needle->characters[needle->count++] = size ? fold(c) : 0xFFFD;
    }
    const int32_t c = needle->characters[0];
    add_first(needle, c);
    add_first(needle, utf8proc_toupper(c));
    add_first(needle, utf8proc_totitle(c));
    if (c == 'k')
        add_first(needle, 0x212A);    /* the sign for kelvin, and the others below: what folds to a letter without being its capital */
    if (c == 0xE5)
        add_first(needle, 0x212B);
    if (c == 0x3C9)
        add_first(needle, 0x2126);
}

static bool begins_here(const struct needle *needle, const char *text, size_t length)
{
    size_t at = 0;
    for (size_t i = 0; i < needle->count; i++) {
        uint32_t c;
        const size_t size = lm_utf8_decode(text + at, length - at, &c);
        if (!size || fold(c) != needle->characters[i])
            return false;
        at += size;
    }
    return true;
}

static bool holds(const struct needle *needle, const char *text, size_t length)
{
    for (size_t f = 0; f < needle->first_count; f++)
        for (const char *at = text; (at = memchr(at, needle->first[f], length - (size_t)(at - text)));) {
            if (begins_here(needle, at, length - (size_t)(at - text)))
                return true;
            if (++at == text + length)
                break;
        }
    return false;
}

/* Of one or two characters: no trigram holds them, and the messages are looked through, the newest first. */
static int scan(struct lm_ledger *ledger, int64_t room, const struct needle *needle, int64_t limit,
                int (*take)(void *user, const struct lm_kept *kept), void *user, loam_error *error)
{
    struct rows *found = make_rows(error);
    int64_t before = INT64_MAX;
    bool more = true, going = true;
    int code = found ? LOAM_OK : LOAM_ENOMEM;
    while (code == LOAM_OK && more && going && limit > 0) {
        found->count = 0;
        found->bytes.length = 0;
        sqlite3_stmt *statement;
        code = query_begin(ledger, LM_SQL_BACKWARDS, &statement, error);
        if (code == LOAM_OK) {
            sqlite3_bind_int64(statement, 1, room);
            sqlite3_bind_int64(statement, 2, before);
            sqlite3_bind_int64(statement, 3, -1);
        }
        while (code == LOAM_OK && (int64_t)found->count < limit && found->count < ROWS &&
               (code = lm_sql_step(ledger, statement, &more, error)) == LOAM_OK && more) {
            const char *text = (const char *)sqlite3_column_text(statement, 5);
            before = sqlite3_column_int64(statement, 0);
            if (text && holds(needle, text, (size_t)sqlite3_column_bytes(statement, 5)))
                code = take_row(found, statement, error);
        }
        query_end(ledger, statement, code);
        for (size_t i = 0; code == LOAM_OK && going && i < found->count; i++)
            going = !take(user, row(found, i));
        limit -= (int64_t)(found ? found->count : 0);
    }
    free_rows(found);
    return code;
}

/* The text as a phrase of FTS5. */
static int phrase(const char *text, struct lm_bytes *out, loam_error *error)
{
    int code = lm_bytes_append(out, "\"", 1, error);
    for (const char *at = text; *at && code == LOAM_OK; at++)
        code = *at == '"' ? lm_bytes_append(out, "\"\"", 2, error) : lm_bytes_append(out, at, 1, error);
    return code == LOAM_OK ? lm_bytes_append(out, "\"", 1, error) : code;
}

static int by_index(struct lm_ledger *ledger, int64_t room, const char *text, int64_t limit,
                    int (*take)(void *user, const struct lm_kept *kept), void *user, loam_error *error)
{
    struct rows *found = make_rows(error);
    struct lm_bytes words = {0};
    bool more = true, going = true;
    int code = found ? phrase(text, &words, error) : LOAM_ENOMEM;
    if (code == LOAM_OK) {
        sqlite3_stmt *statement;
        code = query_begin(ledger, LM_SQL_SEARCH, &statement, error);
        if (code == LOAM_OK) {
            sqlite3_bind_int64(statement, 1, room);
            lm_sql_text(statement, 2, words.data);
            sqlite3_bind_int64(statement, 3, limit < ROWS ? limit : ROWS);
        }
        while (code == LOAM_OK && (code = lm_sql_step(ledger, statement, &more, error)) == LOAM_OK && more)
            code = take_row(found, statement, error);
        query_end(ledger, statement, code);
    }
    for (size_t i = 0; code == LOAM_OK && going && i < found->count; i++)
        going = !take(user, row(found, i));
    lm_bytes_free(&words);
    free_rows(found);
    return code;
}

int lm_ledger_search(struct lm_ledger *ledger, int64_t room, const char *text, int64_t limit,
                    int (*take)(void *user, const struct lm_kept *kept), void *user, loam_error *error)
{
    struct needle needle;
    const size_t length = strlen(text);
    if (!length || lm_utf8_check(text, length) != length)
        return lm_fail(error, LOAM_EUSAGE, "search: found %s, wanted a text", length ? "bytes that are no UTF-8" : "nothing");
    if (limit <= 0 || limit > ROWS)
        limit = ROWS;
    make_needle(text, length, &needle);
    return needle.count < LEAST_INDEXED ? scan(ledger, room, &needle, limit, take, user, error)
                                        : by_index(ledger, room, text, limit, take, user, error);
}

/* --- Beside the history --- */

int lm_ledger_rooms(struct lm_ledger *ledger, char ***ids, size_t *count, loam_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    const int code = lm_sql_strings(ledger, lm_sql_get(ledger, LM_SQL_ROOM_LIST, error), ids, count, error);
    pthread_mutex_unlock(&ledger->lock);
    return code;
}

int lm_ledger_note_list(struct lm_ledger *ledger, const char *prefix, char ***keys, size_t *count, loam_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    sqlite3_stmt *statement = lm_sql_get(ledger, LM_SQL_NOTE_LIST, error);
    if (statement)
        lm_sql_text(statement, 1, prefix);
    const int code = lm_sql_strings(ledger, statement, keys, count, error);
    pthread_mutex_unlock(&ledger->lock);
    return code;
}

static char *column_copy(sqlite3_stmt *statement, int column, loam_error *error)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text ? lm_copy_string(text, (size_t)sqlite3_column_bytes(statement, column), error) : NULL;
}

int lm_ledger_note_get(struct lm_ledger *ledger, const char *key, char **value, loam_error *error)
{
    bool row_there = false;
    *value = NULL;
    sqlite3_stmt *statement;
    int code = query_begin(ledger, LM_SQL_NOTE_GET, &statement, error);
    if (code == LOAM_OK) {
        lm_sql_text(statement, 1, key);
        code = lm_sql_step(ledger, statement, &row_there, error);
    }
    if (row_there && !(*value = column_copy(statement, 0, error)))
        code = LOAM_ENOMEM;
    return query_end(ledger, statement, code);
}

int lm_ledger_position(struct lm_ledger *ledger, const char *source, int64_t *position, loam_error *error)
{
    bool row_there = false;
    sqlite3_stmt *statement;
    int code = query_begin(ledger, LM_SQL_POSITION_LAST, &statement, error);
    if (code == LOAM_OK) {
        lm_sql_text(statement, 1, source);
        code = lm_sql_step(ledger, statement, &row_there, error);
    }
    if (code == LOAM_OK)
        *position = row_there && sqlite3_column_type(statement, 0) == SQLITE_INTEGER ? sqlite3_column_int64(statement, 0) : -1;
    return query_end(ledger, statement, code);
}

int lm_ledger_seen(struct lm_ledger *ledger, const char *source, int64_t position, bool *seen, loam_error *error)
{
    sqlite3_stmt *statement;
    int code = query_begin(ledger, LM_SQL_POSITION_SEEN, &statement, error);
    *seen = false;
    if (code == LOAM_OK) {
        lm_sql_text(statement, 1, source);
        sqlite3_bind_int64(statement, 2, position);
        code = lm_sql_step(ledger, statement, seen, error);
    }
    return query_end(ledger, statement, code);
}

int lm_ledger_spent(struct lm_ledger *ledger, int64_t room, double since, int64_t *tokens, double *cost, loam_error *error)
{
    bool row_there = false;
    sqlite3_stmt *statement;
    int code = query_begin(ledger, LM_SQL_SPENT, &statement, error);
    if (code == LOAM_OK) {
        sqlite3_bind_int64(statement, 1, room);
        sqlite3_bind_double(statement, 2, since);
        code = lm_sql_step(ledger, statement, &row_there, error);
    }
    if (row_there) {
        *tokens = sqlite3_column_int64(statement, 0);
        *cost = sqlite3_column_double(statement, 1);
    }
    return query_end(ledger, statement, code);
}

int lm_ledger_costs(struct lm_ledger *ledger, int64_t room, struct lm_bytes *out, loam_error *error)
{
    bool more = true;
    sqlite3_stmt *statement;
    int code = query_begin(ledger, LM_SQL_COSTS, &statement, error);
    if (code == LOAM_OK)
        sqlite3_bind_int64(statement, 1, room);
    while (code == LOAM_OK && (code = lm_sql_step(ledger, statement, &more, error)) == LOAM_OK && more) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        char cost[64];
        lm_format(cost, sizeof cost, "%.4f", sqlite3_column_double(statement, 4));
        code = lm_bytes_format(out, error, "%s: asked %lld times, %lld tokens read, %lld said, cost %s\n", name ? name : "",
                               (long long)sqlite3_column_int64(statement, 1), (long long)sqlite3_column_int64(statement, 2),
                               (long long)sqlite3_column_int64(statement, 3), cost);
    }
    return query_end(ledger, statement, code);
}

int lm_ledger_open_question(struct lm_ledger *ledger, int64_t room, int64_t after, int64_t *id, char **toward, char **text, loam_error *error)
{
    bool row_there = false;
    *id = 0;
    *toward = *text = NULL;
    sqlite3_stmt *statement;
    int code = query_begin(ledger, LM_SQL_QUESTION, &statement, error);
    if (code == LOAM_OK) {
        sqlite3_bind_int64(statement, 1, room);
        sqlite3_bind_int64(statement, 2, after);
        code = lm_sql_step(ledger, statement, &row_there, error);
    }
    if (row_there) {
        *id = sqlite3_column_int64(statement, 0);
        *toward = column_copy(statement, 1, error);
        *text = column_copy(statement, 2, error);
        if (!*text || (!*toward && sqlite3_column_type(statement, 1) != SQLITE_NULL))
            code = LOAM_ENOMEM;
    }
    query_end(ledger, statement, code);
    if (code != LOAM_OK) {
        lm_free(*toward);
        lm_free(*text);
        *toward = *text = NULL;
    }
    return code;
}

int lm_ledger_answers(struct lm_ledger *ledger, int64_t room, int64_t trigger,
                     void (*take)(void *user, const char *name, int64_t round), void *user, loam_error *error)
{
    struct lm_bytes names = {0};
    bool more = true;
    int64_t round;
    sqlite3_stmt *statement;
    int code = query_begin(ledger, LM_SQL_ANSWERS, &statement, error);
    if (code == LOAM_OK) {
        sqlite3_bind_int64(statement, 1, room);
        sqlite3_bind_int64(statement, 2, trigger);
    }
    while (code == LOAM_OK && (code = lm_sql_step(ledger, statement, &more, error)) == LOAM_OK && more) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        round = sqlite3_column_int64(statement, 1);
        code = lm_bytes_append(&names, &round, sizeof round, error);
        if (code == LOAM_OK)
            code = lm_bytes_append(&names, name ? name : "", name ? strlen(name) + 1 : 1, error);
    }
    query_end(ledger, statement, code);
    for (size_t at = 0; code == LOAM_OK && at < names.length;) {
        const char *name = names.data + at + sizeof round;
        memcpy(&round, names.data + at, sizeof round);
        take(user, name, round);
        at += sizeof round + strlen(name) + 1;
    }
    lm_bytes_free(&names);
    return code;
}

int lm_ledger_summary(struct lm_ledger *ledger, int64_t room, const char *name, int64_t *through, char **text, loam_error *error)
{
    bool row_there = false;
    *through = 0;
    *text = NULL;
    sqlite3_stmt *statement;
    int code = query_begin(ledger, LM_SQL_SUMMARY_GET, &statement, error);
    if (code == LOAM_OK) {
        sqlite3_bind_int64(statement, 1, room);
        lm_sql_text(statement, 2, name);
        code = lm_sql_step(ledger, statement, &row_there, error);
    }
    if (row_there) {
        *through = sqlite3_column_int64(statement, 0);
        if (!(*text = column_copy(statement, 1, error)))
            code = LOAM_ENOMEM;
    }
    return query_end(ledger, statement, code);
}
