/* The server behind the page of a room: who may come in, what is asked, and the stream of what happens. */
#include "rooms_inside.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { TOKEN_BYTES = 16, TOKEN_TEXT = 2 * TOKEN_BYTES + 1, SHOWN_MESSAGES = 200, FOUND_MESSAGES = 50, PING_SECONDS = 15, BODY_BYTES = 4 << 20,
       HISTORY_BYTES = 2 << 20,    /* half of what an exchange keeps unread */
       MOST_READERS = 256 };

/* The files of pages/, which the build puts into the library. */
extern const struct lm_site lm_room_site;

struct reader {                         /* a browser that follows */
    struct reader *next;
    struct lm_exchange *exchange;
    bool owner;
};
struct lm_room_web {
    struct lm_room_web_options options;
    struct lm_http_server *http;
    struct lm_listener *listener;
    pthread_t pinger;
    bool pinger_runs;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct reader *readers;             /* under `lock`, as all that follows */
    size_t reader_count;
    bool closing;
    char guest[TOKEN_TEXT], owner[TOKEN_TEXT];
};

/* --- Tokens --- */

static int make_token(char out[TOKEN_TEXT], loam_error *error)
{
    unsigned char bytes[TOKEN_BYTES];
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return lm_fail_errno(error, errno, "no random numbers for a link");
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return LOAM_OK;
}

static int key_of(const struct lm_room_web *web, const char *kind, struct lm_bytes *key, loam_error *error)
{
    key->length = 0;
    return lm_bytes_format(key, error, "web:%s:%s", kind, lm_room_id(web->options.room));
}

/* The token that the database has for the room, or a new one. */
static int read_token(struct lm_room_web *web, const char *kind, bool fresh, char out[TOKEN_TEXT], loam_error *error)
{
    struct lm_bytes key = {0};
    char *kept = NULL;
    int code = key_of(web, kind, &key, error);
    if (code == LOAM_OK && !fresh)
        code = lm_rooms_note_get(web->options.rooms, key.data, &kept, error);
    if (code == LOAM_OK && kept && strlen(kept) == TOKEN_TEXT - 1) {
        memcpy(out, kept, TOKEN_TEXT);
    } else if (code == LOAM_OK) {
        code = make_token(out, error);
        if (code == LOAM_OK)
            code = lm_rooms_note_set(web->options.rooms, key.data, out, error);
    }
    lm_free(kept);
    lm_bytes_free(&key);
    return code;
}

enum access { ACCESS_NONE, ACCESS_GUEST, ACCESS_OWNER };

static enum access access_of(struct lm_room_web *web, const struct lm_exchange *exchange)
{
    const char *header = lm_exchange_header(exchange, "Authorization");
    if (!header || strncasecmp(header, "Bearer ", 7))
        return ACCESS_NONE;
    const char *given = header + 7;
    const size_t length = strlen(given);
    pthread_mutex_lock(&web->lock);
    const bool owner = lm_secret_equal(web->owner, TOKEN_TEXT - 1, given, length);
    const bool guest = lm_secret_equal(web->guest, TOKEN_TEXT - 1, given, length);
    pthread_mutex_unlock(&web->lock);
    return owner ? ACCESS_OWNER : guest ? ACCESS_GUEST : ACCESS_NONE;
}

void lm_room_web_link(struct lm_room_web *web, bool owner, char link[LM_WEB_LINK_BYTES])
{
    const char *host = web->options.host;
    const bool v6 = strchr(host, ':');
    pthread_mutex_lock(&web->lock);
    snprintf(link, LM_WEB_LINK_BYTES, "http://%s%.200s%s:%d/#%s", v6 ? "[" : "", host, v6 ? "]" : "", lm_room_web_port(web), owner ? web->owner : web->guest);
    pthread_mutex_unlock(&web->lock);
}

/* Who follows by the link that is void now. With the lock held. */
static void end_guests(struct lm_room_web *web)
{
    for (struct reader **at = &web->readers; *at;) {
        struct reader *reader = *at;
        if (reader->owner) {
            at = &reader->next;
            continue;
        }
        *at = reader->next;
        web->reader_count--;
        lm_exchange_end(reader->exchange);
        lm_free(reader);
    }
}

int lm_room_web_renew(struct lm_room_web *web, loam_error *error)
{
    char token[TOKEN_TEXT];
    const int code = read_token(web, "guest", true, token, error);
    if (code != LOAM_OK)
        return code;
    pthread_mutex_lock(&web->lock);
    memcpy(web->guest, token, TOKEN_TEXT);
    end_guests(web);
    pthread_mutex_unlock(&web->lock);
    return LOAM_OK;
}

/* --- Answers --- */

static void answer_json(struct lm_exchange *exchange, int status, struct lm_json_writer *writer)
{
    loam_error error;
    const int code = lm_json_writer_finish(writer, &error);
    lm_site_headers(exchange, "no-store");
    lm_exchange_answer(exchange, code == LOAM_OK ? status : 500, "application/json", writer->out);
    lm_bytes_free(writer->out);
}

/* {"<key>": "<text>"} */
static void answer_text(struct lm_exchange *exchange, int status, const char *key, const char *text, size_t length)
{
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, -1);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, key);
    lm_json_string(&writer, text, length);
    lm_json_end_object(&writer);
    answer_json(exchange, status, &writer);
}

static void answer_error(struct lm_exchange *exchange, const loam_error *error)
{
    const int status = error->code == LOAM_EUSAGE || error->code == LOAM_EFORMAT ? 400 : error->code == LOAM_EBUSY ? 503 : 500;
    answer_text(exchange, status, "error", error->message, strlen(error->message));
}

static void refuse(struct lm_exchange *exchange, int status, const char *message)
{
    answer_text(exchange, status, "error", message, strlen(message));
}

static void answer_page(struct lm_exchange *exchange)
{
    const struct lm_site_file *file = lm_site_find(&lm_room_site, lm_exchange_path(exchange));
    if (file)
        lm_site_answer(exchange, file);
    else
        refuse(exchange, 404, "there is nothing of that name");
}

/* --- What the page is told --- */

static void write_members(struct lm_json_writer *writer, struct lm_room *room)
{
    struct lm_member members[64];
    const size_t count = lm_room_members(room, members, 64);
    lm_json_key(writer, "members");
    lm_json_begin_array(writer);
    for (size_t i = 0; i < count && i < 64; i++) {
        lm_json_begin_object(writer);
        lm_json_key(writer, "name");
        lm_json_text(writer, members[i].name);
        lm_json_key(writer, "muted");
        lm_json_bool(writer, members[i].muted);
        lm_json_key(writer, "present");
        lm_json_bool(writer, members[i].present);
        lm_json_end_object(writer);
    }
    lm_json_end_array(writer);
}

static void write_state(struct lm_json_writer *writer, struct lm_room *room, const bool *owner)
{
    char title[256];
    struct lm_room_settings settings;
    lm_room_title(room, title);
    lm_room_settings(room, &settings);
    lm_json_begin_object(writer);
    lm_json_key(writer, "title");
    lm_json_text(writer, title);
    if (owner) {
        lm_json_key(writer, "owner");
        lm_json_bool(writer, *owner);
    }
    lm_json_key(writer, "order");
    lm_json_text(writer, lm_room_order_name(settings.order));
    lm_json_key(writer, "rounds");
    lm_json_int(writer, settings.rounds);
    write_members(writer, room);
    lm_json_end_object(writer);
}

static const char *author_name(enum lm_author author)
{
    return author == LM_AUTHOR_AI ? "ai" : author == LM_AUTHOR_PERSON ? "person" : "note";
}

static int write_kept(void *user, const struct lm_kept *kept)
{
    struct lm_json_writer *writer = user;
    lm_json_begin_object(writer);
    lm_json_key(writer, "id");
    lm_json_int(writer, kept->id);
    lm_json_key(writer, "time");
    lm_json_double(writer, kept->time);
    lm_json_key(writer, "author");
    lm_json_text(writer, author_name(kept->author));
    lm_json_key(writer, "name");
    lm_json_text(writer, kept->name);
    lm_json_key(writer, "text");
    lm_json_string(writer, kept->text, kept->length);
    lm_json_end_object(writer);
    return 0;
}

static void write_event(struct lm_json_writer *writer, const struct lm_room_event *event)
{
    lm_json_begin_object(writer);
    lm_json_key(writer, "turn");
    lm_json_int(writer, event->turn);
    if (event->kind == LM_ROOM_MESSAGE) {
        lm_json_key(writer, "id");
        lm_json_int(writer, event->id);
        lm_json_key(writer, "author");
        lm_json_text(writer, author_name(event->author));
    }
    lm_json_key(writer, "time");
    lm_json_double(writer, event->time);
    lm_json_key(writer, "name");
    lm_json_text(writer, event->name);
    lm_json_key(writer, "text");
    lm_json_string(writer, event->text, event->length);
    lm_json_end_object(writer);
}

/* --- The stream --- */

static bool send_event(struct lm_exchange *exchange, const char *name, const struct lm_bytes *data)
{
    struct lm_bytes out = {0};
    const bool sent = lm_event_append(&out, name, data->data, data->length, NULL) == LOAM_OK && lm_exchange_write(exchange, out.data, out.length);
    lm_bytes_free(&out);
    return sent;
}

/* To all who follow; who has gone is let go. With the lock held. */
static void send_all(struct lm_room_web *web, const void *data, size_t length)
{
    for (struct reader **at = &web->readers; *at;) {
        struct reader *reader = *at;
        if (lm_exchange_write(reader->exchange, data, length)) {
            at = &reader->next;
            continue;
        }
        *at = reader->next;
        web->reader_count--;
        lm_exchange_end(reader->exchange);
        lm_free(reader);
    }
}

static void hear(void *user, const struct lm_room_event *event)
{
    static const char *const names[] = {"thinking", "delta", "message", "pass", "notice", "failed", "state", "idle"};
    struct lm_room_web *web = user;
    struct lm_bytes data = {0}, out = {0};
    struct lm_json_writer writer = lm_json_writer(&data, -1);
    if (event->kind == LM_ROOM_MEMBERS)
        write_state(&writer, event->room, NULL);
    else
        write_event(&writer, event);
    if (lm_json_writer_finish(&writer, NULL) == LOAM_OK && lm_event_append(&out, names[event->kind], data.data, data.length, NULL) == LOAM_OK) {
        pthread_mutex_lock(&web->lock);
        send_all(web, out.data, out.length);
        pthread_mutex_unlock(&web->lock);
    }
    lm_bytes_free(&data);
    lm_bytes_free(&out);
}

/* Something moves on every connection now and then, and who has gone is noticed. */
static void *ping(void *user)
{
    struct lm_room_web *web = user;
    pthread_mutex_lock(&web->lock);
    while (!web->closing) {
        const double until = lm_seconds() + PING_SECONDS;
        const struct timespec at = {.tv_sec = (time_t)until, .tv_nsec = (long)((until - floor(until)) * 1e9)};
        if (pthread_cond_timedwait(&web->wake, &web->lock, &at) == ETIMEDOUT)
            send_all(web, ":\n\n", 3);
    }
    pthread_mutex_unlock(&web->lock);
    return NULL;
}

/* The latest messages, as many as an exchange takes at once: fewer where they are long. */
static int write_history(struct lm_room_web *web, struct lm_bytes *out, loam_error *error)
{
    for (int count = SHOWN_MESSAGES;; count /= 2) {
        out->length = 0;
        struct lm_json_writer messages = lm_json_writer(out, -1);
        lm_json_begin_array(&messages);
        int code = lm_room_latest(web->options.room, count, write_kept, &messages, error);
        lm_json_end_array(&messages);
        if (code == LOAM_OK)
            code = lm_json_writer_finish(&messages, error);
        if (code != LOAM_OK || count == 1 || out->length <= HISTORY_BYTES)
            return code;
    }
}

/* What there is now, then all that happens: nothing is sent to others while this one joins, so that nothing is missed between; what comes
 * twice the page knows by its id. */
static void follow(struct lm_room_web *web, struct lm_exchange *exchange, bool owner)
{
    struct lm_bytes state = {0}, history = {0};
    struct lm_json_writer about = lm_json_writer(&state, -1);
    struct reader *reader = lm_alloc(1, sizeof *reader, NULL);
    loam_error error;
    pthread_mutex_lock(&web->lock);
    const bool full = web->reader_count >= MOST_READERS || web->closing;
    write_state(&about, web->options.room, &owner);
    const int code = full || !reader ? LOAM_EBUSY : write_history(web, &history, &error);
    if (code == LOAM_OK && lm_json_writer_finish(&about, &error) == LOAM_OK) {
        lm_site_headers(exchange, "no-store");
        lm_exchange_begin(exchange, 200, "text/event-stream");
        send_event(exchange, "state", &state);
        send_event(exchange, "history", &history);
        *reader = (struct reader){.next = web->readers, .exchange = exchange, .owner = owner};
        web->readers = reader;
        web->reader_count++;
        reader = NULL;
    } else {
        refuse(exchange, 503, full ? "too many follow this room already" : "the history cannot be read now");
    }
    pthread_mutex_unlock(&web->lock);
    lm_bytes_free(&state);
    lm_bytes_free(&history);
    lm_free(reader);
}

/* --- What is asked --- */

struct question {
    struct lm_room_web *web;
    struct lm_exchange *exchange;
    enum access access;
    const struct lm_document *document;
    const struct lm_value *body;
};

/* A text of the body; NULL: it has been answered that there is none. */
static const char *text_of(const struct question *q, const char *key, size_t *length)
{
    const struct lm_value *value = lm_value_find(q->body, key);
    if (value && value->kind == LM_STRING) {
        *length = value->length;
        return value->text;
    }
    char message[80];
    snprintf(message, sizeof message, "the text '%s' is missing", key);
    refuse(q->exchange, 400, message);
    return NULL;
}

static struct lm_person person_of(const struct question *q, const char *name)
{
    return (struct lm_person){.id = q->access == ACCESS_OWNER ? "web:owner" : "web:guest", .name = name, .owner = q->access == ACCESS_OWNER};
}

static void ask_say(const struct question *q)
{
    size_t name_length, length;
    loam_error error;
    const char *name = text_of(q, "name", &name_length), *text = name ? text_of(q, "text", &length) : NULL;
    if (!text)
        return;
    const struct lm_post post = {.who = person_of(q, name), .text = text, .length = length, .position = -1};
    if (lm_room_post(q->web->options.room, &post, NULL, &error) != LOAM_OK)
        answer_error(q->exchange, &error);
    else
        answer_text(q->exchange, 200, "said", "", 0);
}

static void ask_command(const struct question *q)
{
    size_t name_length, length;
    struct lm_bytes reply = {0};
    loam_error error;
    const char *name = text_of(q, "name", &name_length), *line = name ? text_of(q, "line", &length) : NULL;
    if (!line)
        return;
    const struct lm_person who = person_of(q, name);
    const int code = lm_room_command(q->web->options.room, &who, line, NULL, -1, &reply, &error);
    answer_text(q->exchange, code == LOAM_OK || code == LOAM_EUSAGE ? 200 : 500, "reply", reply.data ? reply.data : "", reply.length);
    lm_bytes_free(&reply);
}

static void ask_search(const struct question *q)
{
    size_t length;
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, -1);
    loam_error error;
    const char *text = text_of(q, "text", &length);
    if (!text)
        return;
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "found");
    lm_json_begin_array(&writer);
    const int code = lm_room_search(q->web->options.room, text, FOUND_MESSAGES, write_kept, &writer, &error);
    lm_json_end_array(&writer);
    lm_json_end_object(&writer);
    if (code == LOAM_OK) {
        answer_json(q->exchange, 200, &writer);
        return;
    }
    lm_bytes_free(&out);
    answer_error(q->exchange, &error);
}

static void ask_renew(const struct question *q)
{
    char link[LM_WEB_LINK_BYTES];
    loam_error error;
    const bool fresh = lm_value_find(q->body, "fresh") && lm_value_find(q->body, "fresh")->truth;
    if (q->access != ACCESS_OWNER) {
        refuse(q->exchange, 403, "only the owner of the room may do that");
        return;
    }
    if (fresh && lm_room_web_renew(q->web, &error) != LOAM_OK) {
        answer_error(q->exchange, &error);
        return;
    }
    lm_room_web_link(q->web, false, link);
    const char *token = strchr(link, '#');    /* the page knows under which address it was opened */
    answer_text(q->exchange, 200, "token", token + 1, strlen(token + 1));
}

static void answer_export(struct lm_room_web *web, struct lm_exchange *exchange, const char *form_name)
{
    struct lm_bytes out = {0};
    enum lm_export form;
    loam_error error;
    int code = lm_export_parse(form_name, &form, &error);
    if (code == LOAM_OK)
        code = lm_room_export(web->options.room, form, NULL, &out, &error);
    if (code == LOAM_OK) {
        lm_site_headers(exchange, "no-store");
        lm_exchange_add_header(exchange, "Content-Disposition",
                               form == LM_EXPORT_MARKDOWN ? "attachment; filename=\"room.md\"" : "attachment; filename=\"room.jsonl\"");
        lm_exchange_answer(exchange, 200, form == LM_EXPORT_MARKDOWN ? "text/markdown; charset=utf-8" : "application/jsonl", &out);
    } else {
        answer_error(exchange, &error);
    }
    lm_bytes_free(&out);
}

static void answer_post(struct question *q, const char *path)
{
    static const struct {
        const char *path;
        void (*ask)(const struct question *question);
    } routes[] = {{"/api/say", ask_say}, {"/api/command", ask_command}, {"/api/search", ask_search}, {"/api/link", ask_renew}};
    const struct lm_bytes *body = lm_exchange_body(q->exchange);
    struct lm_document *document;
    loam_error error;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (strcmp(routes[i].path, path))
            continue;
        if (lm_json_parse(body->data ? body->data : "", body->length, "the request", &document, &error) != LOAM_OK) {
            answer_error(q->exchange, &error);
            return;
        }
        q->document = document;
        q->body = lm_document_root(document);
        routes[i].ask(q);
        lm_document_free(document);
        return;
    }
    refuse(q->exchange, 404, "there is nothing of that name");
}

static void handle(void *user, struct lm_exchange *exchange)
{
    struct lm_room_web *web = user;
    const char *path = lm_exchange_path(exchange), *method = lm_exchange_method(exchange);
    const bool get = !strcmp(method, "GET") || !strcmp(method, "HEAD");
    if (strncmp(path, "/api/", 5)) {
        if (get)
            answer_page(exchange);
        else
            refuse(exchange, 405, "wanted GET");
        return;
    }
    struct question q = {.web = web, .exchange = exchange, .access = access_of(web, exchange)};
    if (q.access == ACCESS_NONE)
        refuse(exchange, 401, "this link is not valid (any more); ask for another");
    else if (!strcmp(method, "GET") && !strcmp(path, "/api/events"))
        follow(web, exchange, q.access == ACCESS_OWNER);
    else if (!strcmp(method, "GET") && !strncmp(path, "/api/export/", 12))
        answer_export(web, exchange, path + 12);
    else if (!strcmp(method, "POST"))
        answer_post(&q, path);
    else
        refuse(exchange, 404, "there is nothing of that name");
}

/* --- Opening and closing --- */

static int start(struct lm_room_web *web, loam_error *error)
{
    struct lm_http_options options = lm_http_default();
    options.host = web->options.host;
    options.port = web->options.port;
    options.body_bytes = BODY_BYTES;
    options.user = web;
    options.handle = handle;
    int code = read_token(web, "guest", false, web->guest, error);
    if (code == LOAM_OK)
        code = read_token(web, "owner", false, web->owner, error);
    if (code == LOAM_OK)
        code = lm_room_listen(web->options.room, hear, web, &web->listener, error);
    if (code == LOAM_OK)
        code = lm_http_open(&options, &web->http, error);
    if (code != LOAM_OK)
        return code;
    const int failed = pthread_create(&web->pinger, NULL, ping, web);
    web->pinger_runs = !failed;
    return failed ? lm_fail_errno(error, failed, "no thread for the page") : LOAM_OK;
}

int lm_room_web_open(const struct lm_room_web_options *options, struct lm_room_web **result, loam_error *error)
{
    pthread_condattr_t steady;
    struct lm_room_web *web = lm_alloc(1, sizeof *web, error);
    if (!web)
        return LOAM_ENOMEM;
    web->options = *options;
    pthread_mutex_init(&web->lock, NULL);
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&web->wake, &steady);
    pthread_condattr_destroy(&steady);
    const int code = start(web, error);
    if (code != LOAM_OK) {
        lm_room_web_close(web);
        return code;
    }
    *result = web;
    return LOAM_OK;
}

int lm_room_web_port(const struct lm_room_web *web)
{
    return lm_http_port(web->http);
}

void lm_room_web_close(struct lm_room_web *web)
{
    if (!web)
        return;
    lm_listener_free(web->listener);
    pthread_mutex_lock(&web->lock);
    web->closing = true;
    pthread_cond_broadcast(&web->wake);
    while (web->readers) {
        struct reader *next = web->readers->next;
        lm_exchange_end(web->readers->exchange);
        lm_free(web->readers);
        web->readers = next;
    }
    pthread_mutex_unlock(&web->lock);
    if (web->pinger_runs)
        pthread_join(web->pinger, NULL);
    lm_http_close(web->http);
    pthread_cond_destroy(&web->wake);
    pthread_mutex_destroy(&web->lock);
    lm_free(web);
}
