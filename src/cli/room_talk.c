/* The lines that are typed in a room. */
#include "options.h"
#include "prompt.h"
#include "room.h"
#include "terminal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN_HISTORY = 10 };

/* --- Waiting for the room --- */

static void wait_for_room(struct room_talk *talk)
{
    struct pollfd wait[] = {{.fd = room_show_descriptor(talk->show), .events = POLLIN}, {.fd = stop_descriptor(), .events = POLLIN}};
    poll(wait, 2, 100);
    room_show_now(talk->show, true);
}

/* Until nobody has anything to say. Ctrl-C at a terminal ends the answers; SIGTERM the waiting. */
static void follow(struct room_talk *talk)
{
    while (!lm_rooms_idle(talk->rooms, 0)) {
        wait_for_room(talk);
        if (end_wanted())
            return;
        if (stop_wanted()) {
            lm_room_stop(talk->room);
            forget_interrupt();
        }
    }
    room_show_now(talk->show, true);
}

/* --- Commands of the terminal's own --- */

static int write_export(struct room_talk *talk, const char *path, const char *form_name, const char *participant)
{
    struct lm_bytes out = {0};
    enum lm_export form = LM_EXPORT_JSONL;
    loam_error error;
    const char *dot = strrchr(path, '.');
    int code = LOAM_OK;
    if (*form_name)
        code = lm_export_parse(form_name, &form, &error);
    else if (dot && (!strcmp(dot, ".md") || !strcmp(dot, ".markdown")))
        form = LM_EXPORT_MARKDOWN;
    if (code == LOAM_OK && lm_file_exists(path))
        code = lm_fail(&error, LOAM_EUSAGE, "%s is there already; choose another name", path);
    if (code == LOAM_OK)
        code = lm_room_export(talk->room, form, *participant ? participant : NULL, &out, &error);
    if (code == LOAM_OK)
        code = lm_file_replace(path, out.data ? out.data : "", out.length, &error);
    lm_bytes_free(&out);
    if (code != LOAM_OK)
        return complain_error(&error);
    note("Written to %s%s.", path, form == LM_EXPORT_TRAINING ? ", as loam finetune reads it" : "");
    return EXIT_DONE;
}

/* "FILE [FORM [NAME]]" */
static int run_export(struct room_talk *talk, const char *rest)
{
    char path[1024], form[32];
    size_t length = strcspn(rest, " \t");
    if (!length || length >= sizeof path) {
        complain("/export: wanted FILE, and markdown, jsonl or training behind it where the name does not tell");
        return EXIT_USAGE;
    }
    snprintf(path, sizeof path, "%.*s", (int)length, rest);
    rest += length + strspn(rest + length, " \t");
    length = strcspn(rest, " \t");
    snprintf(form, sizeof form, "%.*s", (int)(length < 31 ? length : 31), rest);
    return write_export(talk, path, form, rest + length + strspn(rest + length, " \t"));
}

static int run_import(struct room_talk *talk, const char *rest)
{
    int64_t count;
    loam_error error;
    if (!*rest) {
        complain("/import: wanted FILE, a chats/<id>.jsonl of the reference bot");
        return EXIT_USAGE;
    }
    if (lm_room_import(talk->room, rest, &count, &error) != LOAM_OK)
        return complain_error(&error);
    note("%lld messages came in.", (long long)count);
    return EXIT_DONE;
}

static int run_history(struct room_talk *talk, const char *rest)
{
    int64_t limit = SHOWN_HISTORY;
    loam_error error;
    if (*rest && (lm_parse_int(rest, &limit, &error) != LOAM_OK || limit < 1)) {
        complain("/history: found '%s', wanted a number of messages", rest);
        return EXIT_USAGE;
    }
    return lm_room_latest(talk->room, limit, room_show_kept, talk->show, &error) == LOAM_OK ? EXIT_DONE : complain_error(&error);
}

/* A command of the room; what it says is shown line by line. */
static int run_in_room(struct room_talk *talk, const char *line)
{
    const struct lm_person who = {"local", talk->name, true};
    struct lm_bytes reply = {0};
    loam_error error;
    const int code = lm_room_command(talk->room, &who, line, NULL, -1, &reply, &error);
    if (code != LOAM_OK) {
        lm_bytes_free(&reply);
        return complain_error(&error);
    }
    if (reply.length)
        fwrite(reply.data, 1, reply.length, stdout);
    fflush(stdout);
    lm_bytes_free(&reply);
    return EXIT_DONE;
}

/* True: the room is left. */
static bool run_command(struct room_talk *talk, const char *line, int *status)
{
    static const struct {
        const char *name;
        int (*run)(struct room_talk *talk, const char *rest);
    } own[] = {{"/export", run_export}, {"/import", run_import}, {"/history", run_history}};
    const size_t length = strcspn(line, " \t");
    const char *rest = line + length + strspn(line + length, " \t");
    int one = EXIT_DONE;
    bool found = false;
    if (length == 5 && !strncmp(line, "/quit", 5))
        return true;
    for (size_t i = 0; i < sizeof own / sizeof *own && !found; i++)
        if (strlen(own[i].name) == length && !strncmp(own[i].name, line, length)) {
            one = own[i].run(talk, rest);
            found = true;
        }
    if (!found)
        one = run_in_room(talk, line);
    if (length == 5 && !strncmp(line, "/help", 5))
        puts("/export FILE [jsonl|markdown|training [NAME]]: writes the history\n/import FILE: takes in a chats/<id>.jsonl of the reference bot\n"
             "/history [N]: the last messages\n/quit: leaves when the round is over\n// at the begin of a message stands for one slash");
    *status = one != EXIT_DONE ? one : *status;
    return false;
}

/* --- Lines --- */

static int post(struct room_talk *talk, const char *text, size_t length)
{
    const struct lm_post post = {.who = {"local", talk->name, true}, .text = text, .length = length, .position = -1};
    loam_error error;
    if (lm_room_post(talk->room, &post, NULL, &error) != LOAM_OK)
        return complain_error(&error);
    follow(talk);
    return EXIT_DONE;
}

/* True: the room is left. */
static bool take_line(struct room_talk *talk, const char *line, size_t length, int *status)
{
    if (strspn(line, " \t") == length)
        return false;
    if (*line == '/' && line[1] != '/') {
        const bool over = run_command(talk, line, status);
        room_show_now(talk->show, true);
        return over;
    }
    const size_t skip = *line == '/';
    const int one = post(talk, line + skip, length - skip);
    *status = one != EXIT_DONE ? one : *status;
    return false;
}

/* Messages of others are shown above the line that is being typed. */
static bool show_above(void *user)
{
    struct room_talk *talk = user;
    return room_show_now(talk->show, false);
}

int room_talk(struct room_talk *talk)
{
    int status = EXIT_DONE;
    bool over = false;
    char *line = NULL;
    size_t length;
    if (talk->terminal)
        prompt_watch(room_show_descriptor(talk->show), show_above, talk);
    follow(talk);    /* a round that was left half done goes on */
    while (!over && !(talk->terminal ? end_wanted() : stop_wanted()) && !ferror(stdout) && (line = prompt_input(talk->terminal, "> ", &length))) {
        over = take_line(talk, line, length, &status);
        free(line);
    }
    if (talk->terminal) {
        prompt_watch(-1, NULL, NULL);
        if (!over)
            putchar('\n');
    }
    if (end_wanted() || (!talk->terminal && stop_wanted())) {
        note("room: ended on request; what was being answered goes on when the room is opened again");
        return EXIT_FAILED;
    }
    follow(talk);
    return status;
}
