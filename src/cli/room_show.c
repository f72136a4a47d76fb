/* What happens in a room, on a terminal or as lines. */
#include "room.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { COLOURS = 6 };

struct shown_event {
    struct shown_event *next;
    enum lm_room_event_kind kind;
    enum lm_author author;
    int64_t turn, id;
    double time;
    bool own;
    char *name, *text, *person;
    size_t length;
};
struct room_show {
    struct room_show_options options;
    struct lm_listener *listener;
    pthread_mutex_t lock;
    struct shown_event *first, *last;    /* under `lock` */
    int wake;
    bool colour, idle;
    int64_t streaming;              /* the turn whose words are being shown; 0: none */
    int64_t void_turn;              /* the last turn whose stream has been shown to its end or was given up */
};

/* --- From the room's thread --- */

static void free_event(struct shown_event *event)
{
    lm_free(event->name);
    lm_free(event->text);
    lm_free(event->person);
    lm_free(event);
}

static void hear(void *user, const struct lm_room_event *event)
{
    struct room_show *show = user;
    struct shown_event *kept = lm_alloc(1, sizeof *kept, NULL);
    if (!kept)
        return;
    *kept = (struct shown_event){.kind = event->kind, .author = event->author, .turn = event->turn, .id = event->id, .time = event->time,
                                 .length = event->length};
    kept->own = event->person_id && !strcmp(event->person_id, show->options.person);
    kept->name = lm_copy_string(event->name, strlen(event->name), NULL);
    kept->text = lm_copy_string(event->text, event->length, NULL);
    kept->person = event->person_id ? lm_copy_string(event->person_id, strlen(event->person_id), NULL) : NULL;
    if (!kept->name || !kept->text) {
        free_event(kept);
        return;
    }
    const uint64_t one = 1;
    pthread_mutex_lock(&show->lock);
    if (show->last)
        show->last->next = kept;
    else
        show->first = kept;
    show->last = kept;
    const ssize_t written = write(show->wake, &one, sizeof one);
    (void)written;
    pthread_mutex_unlock(&show->lock);
}

/* --- Plain text --- */

/* A colour by the name: the same in every room and every time. */
static int colour_of(const char *name)
{
    unsigned value = 5381;
    for (; *name; name++)
        value = value * 33 + (unsigned char)*name;
    return 31 + (int)(value % COLOURS);
}

static void print_name(const struct room_show *show, const char *name, bool ai)
{
    if (!show->colour)
        printf("%s: ", name);
    else if (ai)
        printf("\x1b[%dm%s:\x1b[0m ", colour_of(name), name);
    else
        printf("\x1b[1m%s:\x1b[0m ", name);
}

static void print_faint(const struct room_show *show, const char *format, const char *name)
{
    char text[256];
    lm_format(text, sizeof text, format, name);
    if (show->options.terminal)
        printf("%s%s%s\n", show->colour ? "\x1b[2m" : "", text, show->colour ? "\x1b[0m" : "");
    else
        note("%s", text);
}

static void end_stream(struct room_show *show)
{
    if (show->streaming)
        putchar('\n');
    show->void_turn = show->streaming ? show->streaming : show->void_turn;
    show->streaming = 0;
}

static void show_delta(struct room_show *show, const struct shown_event *event, bool streams)
{
    if (!streams || (show->streaming && show->streaming != event->turn) || event->turn == show->void_turn)
        return;
    if (!show->streaming)
        print_name(show, event->name, true);
    show->streaming = event->turn;
    fwrite(event->text, 1, event->length, stdout);
}

static void show_message(struct room_show *show, const struct shown_event *event)
{
    if (event->own && show->options.terminal)
        return;    /* it stands there as it was typed */
    if (event->author == LM_AUTHOR_PERSON && event->own)
        return;
    if (show->streaming && show->streaming == event->turn) {
        end_stream(show);
        return;
    }
    end_stream(show);
    print_name(show, event->name, event->author == LM_AUTHOR_AI);
    fwrite(event->text, 1, event->length, stdout);
    putchar('\n');
}

static void show_event(struct room_show *show, const struct shown_event *event, bool streams)
{
    switch (event->kind) {
    case LM_ROOM_THINKING:
    case LM_ROOM_MEMBERS:
        break;
    case LM_ROOM_DELTA:
        show_delta(show, event, streams);
        break;
    case LM_ROOM_MESSAGE:
        show_message(show, event);
        break;
    case LM_ROOM_PASS:
        end_stream(show);
        print_faint(show, "(%s passes)", event->name);
        break;
    case LM_ROOM_FAILED:
        if (show->streaming == event->turn) {
            end_stream(show);
            print_faint(show, "(what %s said there does not count)", event->name);
        }
        break;
    case LM_ROOM_NOTICE:
        if (event->own)
            break;    /* the command has answered it already */
        end_stream(show);
        if (show->options.terminal)
            printf("%s* %s%s\n", show->colour ? "\x1b[33m" : "", event->text, show->colour ? "\x1b[0m" : "");
        else
            note("* %s", event->text);
        break;
    case LM_ROOM_IDLE:
        show->idle = true;
        break;
    }
}

/* --- JSON: an object a line --- */

static void show_json(struct room_show *show, const struct shown_event *event)
{
    static const char *const kinds[] = {"thinking", "delta", "message", "pass", "notice", "failed", "members", "idle"};
    static const char *const authors[] = {"person", "ai", "note"};
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 0);
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "event");
    lm_json_text(&writer, kinds[event->kind]);
    if (event->turn) {
        lm_json_key(&writer, "turn");
        lm_json_int(&writer, event->turn);
    }
    if (event->kind == LM_ROOM_MESSAGE) {
        lm_json_key(&writer, "id");
        lm_json_int(&writer, event->id);
        lm_json_key(&writer, "author");
        lm_json_text(&writer, authors[event->author]);
        lm_json_key(&writer, "time");
        lm_json_double(&writer, event->time);
    }
    if (*event->name) {
        lm_json_key(&writer, "name");
        lm_json_text(&writer, event->name);
    }
    if (event->length) {
        lm_json_key(&writer, "text");
        lm_json_string(&writer, event->text, event->length);
    }
    lm_json_end_object(&writer);
    if (lm_json_writer_finish(&writer, NULL) == LOAM_OK)
        printf("%s\n", out.data);
    lm_bytes_free(&out);
    show->idle = show->idle || event->kind == LM_ROOM_IDLE;
}

/* --- Showing --- */

bool room_show_now(struct room_show *show, bool streams)
{
    uint64_t count;
    pthread_mutex_lock(&show->lock);
    struct shown_event *event = show->first;
    show->first = show->last = NULL;
    const ssize_t got = read(show->wake, &count, sizeof count);
    (void)got;
    pthread_mutex_unlock(&show->lock);
    const bool some = event != NULL;
    while (event) {
        struct shown_event *next = event->next;
        if (show->options.json)
            show_json(show, event);
        else
            show_event(show, event, streams);
        free_event(event);
        event = next;
    }
    if (some)
        fflush(stdout);
    return some;
}

bool room_show_idle(struct room_show *show)
{
    const bool idle = show->idle;
    show->idle = false;
    return idle;
}

int room_show_descriptor(const struct room_show *show)
{
    return show->wake;
}

int room_show_kept(void *user, const struct lm_kept *kept)
{
    struct room_show *show = user;
    print_name(show, kept->name, kept->author == LM_AUTHOR_AI);
    fwrite(kept->text, 1, kept->length, stdout);
    putchar('\n');
    return 0;
}

int room_show_open(const struct room_show_options *options, struct room_show **result, loam_error *error)
{
    struct room_show *show = lm_alloc(1, sizeof *show, error);
    if (!show)
        return LOAM_ENOMEM;
    *show = (struct room_show){.options = *options, .wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .colour = options->terminal && may_colour(stdout)};
    pthread_mutex_init(&show->lock, NULL);
    const int code = show->wake < 0 ? lm_fail(error, LOAM_EIO, "no descriptor is left for the room")
                                    : lm_room_listen(options->room, hear, show, &show->listener, error);
    if (code != LOAM_OK) {
        room_show_close(show);
        return code;
    }
    *result = show;
    return LOAM_OK;
}

void room_show_close(struct room_show *show)
{
    if (!show)
        return;
    lm_listener_free(show->listener);
    while (show->first) {
        struct shown_event *next = show->first->next;
        free_event(show->first);
        show->first = next;
    }
    if (show->wake >= 0)
        close(show->wake);
    pthread_mutex_destroy(&show->lock);
    lm_free(show);
}
