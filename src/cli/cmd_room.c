/* loam room */
#include "common.h"
#include "quickstart.h"
#include "room.h"

#include "net/net.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GOODBYE_SECONDS = 10 };    /* in which what was said still goes out to Telegram */

/* --- loam room init [FILE] --- */

static int init(const struct arguments *arguments)
{
    const char *path = arguments->operand_count > 1 ? arguments->operands[1] : "room.yaml";
    loam_error error;
    if (arguments->operand_count > 2) {
        complain("room init: found %zu files, wanted one", arguments->operand_count - 1);
        return EXIT_USAGE;
    }
    if (lm_file_exists(path)) {
        complain("%s is there already; choose another name: loam room init FILE", path);
        return EXIT_USAGE;
    }
    if (lm_file_replace(path, lm_room_config_example, strlen(lm_room_config_example), &error) != LOAM_OK)
        return complain_error(&error);
    note("Written: %s. Change it to your models, then: loam room %s", path, path);
    return EXIT_DONE;
}

/* --- The demo: the quickstart's model under several characters --- */

static const char demo_participants[] =
    "participants:\n"
    "  - {name: Ada, model: \"%s\", system: You are cheerful., sampling: {temperature: 0.3, max_tokens: 250}}\n"
    "  - {name: Basil, model: \"%s\", system: You are calm., sampling: {temperature: 0.3, max_tokens: 250}}\n"
    "  - {name: Juno, model: \"%s\", system: You are curious., sampling: {temperature: 0.3, max_tokens: 250}}\n"
    "  - {name: Robin, model: \"%s\", system: You are shy., sampling: {temperature: 0.3, max_tokens: 250}}\n";

static bool has_model(const char *directory)
{
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json"};
    bool all = true;
    for (size_t i = 0; i < 3; i++) {
        char *path = lm_path_join(directory, names[i], NULL);
        all = all && path && lm_file_exists(path);
        lm_free(path);
    }
    return all;
}

static int grow(const struct arguments *arguments, const char *directory, loam_error *error)
{
    struct progress progress;
    struct quickstart_result result;
    if (has_model(directory))
        return LOAM_OK;
    note("The model in %s is trained first; that takes some minutes.", directory);
    progress_init(&progress);
    const struct quickstart_options options = {.directory = directory, .seed = 1, .threads = thread_count(arguments), .recipe = &quickstart_standard,
                                               .questions = 1, .observer = &progress.observer};
    const int code = quickstart_grow(&options, &result, error);
    progress_clear(&progress);
    if (code == LOAM_OK)
        quickstart_result_free(&result);
    return code;
}

/* A path as it stands between quotation marks in YAML. */
static int quoted(const char *path, struct lm_bytes *out, loam_error *error)
{
    int code = LOAM_OK;
    for (; *path && code == LOAM_OK; path++) {
        if (*path == '"' || *path == '\\')
            code = lm_bytes_append(out, "\\", 1, error);
        if (code == LOAM_OK)
            code = lm_bytes_append(out, path, 1, error);
    }
    return code;
}

static int demo_config(const char *directory, struct lm_room_config **config, loam_error *error)
{
    struct lm_bytes path = {0}, yaml = {0};
    char *whole = realpath(directory, NULL), *own = lm_path_join(directory, "room.yaml", error);
    int code = whole && own ? quoted(whole, &path, error) : LOAM_ENOMEM;
    if (code == LOAM_OK)
        code = lm_bytes_format(&yaml, error, "room: {name: The demo, rounds: 2, window_tokens: 500}\n");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (code == LOAM_OK)
        code = lm_bytes_format(&yaml, error, demo_participants, path.data, path.data, path.data, path.data);
#pragma GCC diagnostic pop
    if (code == LOAM_OK)
        code = lm_room_config_parse(yaml.data, yaml.length, own, config, error);
    free(whole);
    lm_free(own);
    lm_bytes_free(&path);
    lm_bytes_free(&yaml);
    return code;
}

/* --- The room --- */

/* Everything that is open while people talk. */
struct house {
    struct lm_room_config *config;
    struct lm_secrets *secrets;
    struct lm_http_client *client;
    struct lm_rooms *rooms;
    struct room_show *show;
    struct lm_room_web *web;
    struct lm_telegram *telegram;
};

static void leave(struct house *house)
{
    lm_room_web_close(house->web);
    lm_telegram_close(house->telegram);
    room_show_close(house->show);
    lm_rooms_close(house->rooms);
    lm_http_client_close(house->client);
    lm_secrets_free(house->secrets);
    lm_room_config_free(house->config);
}

static bool asks_services(const struct lm_room_config *config)
{
    for (size_t i = 0; i < config->participant_count; i++)
        if (config->participants[i].kind != LM_PARTICIPANT_MODEL)
            return true;
    return false;
}

static void log_line(void *user, const char *line)
{
    (void)user;
    note("%s", line);
}

static int read_config(const struct arguments *arguments, struct lm_room_config **config, loam_error *error)
{
    const char *directory = arguments->values[OPT_OUT].text;
    if (!arguments->values[OPT_DEMO].given)
        return lm_room_config_read(arguments->operands[0], config, error);
    directory = directory ? directory : "loam-quickstart";
    const int code = grow(arguments, directory, error);
    return code == LOAM_OK ? demo_config(directory, config, error) : code;
}

static int open_house(const struct arguments *arguments, struct house *house, loam_error *error)
{
    const char *secrets = arguments->values[OPT_SECRETS].text;
    int code = read_config(arguments, &house->config, error);
    if (code == LOAM_OK)
        code = lm_secrets_open(secrets, &house->secrets, error);
    if (code == LOAM_OK && (asks_services(house->config) || arguments->values[OPT_TELEGRAM].given))
        code = lm_http_client_open(&(struct lm_http_client_options){0}, &house->client, error);
    if (code != LOAM_OK)
        return code;
    const struct argument *seed = &arguments->values[OPT_SEED];
    const struct lm_rooms_options options = {.config = house->config, .seed = seed->given ? seed->seed : (uint64_t)(lm_time() * 1e3),
                                             .threads = thread_count(arguments), .client = house->client, .secrets = house->secrets,
                                             .log = log_line};
    return lm_rooms_open(&options, &house->rooms, error);
}

static void greet(const struct house *house, struct lm_room *room)
{
    struct lm_bytes names = {0};
    char title[256];
    loam_error error;
    lm_room_title(room, title);
    for (size_t i = 0; i < house->config->participant_count; i++)
        lm_bytes_format(&names, NULL, "%s%s", i ? ", " : "", house->config->participants[i].name);
    lm_room_latest(room, 10, room_show_kept, house->show, &error);
    note("%s, with %s. /help lists the commands, Ctrl-C ends what is being said, Ctrl-D or /quit the visit.", title, names.data ? names.data : "");
    lm_bytes_free(&names);
}

/* The page, and the links to it on standard error: who has one is in. */
static int open_web(const struct arguments *arguments, struct house *house, struct lm_room *room, loam_error *error)
{
    const struct lm_room_config *config = house->config;
    const struct lm_room_web_options options = {.rooms = house->rooms, .room = room, .host = config->web_host ? config->web_host : "127.0.0.1",
                                                .port = config->web_host ? config->web_port : 8081};
    char link[LM_WEB_LINK_BYTES];
    if (!arguments->values[OPT_WEB].given)
        return LOAM_OK;
    const int code = lm_room_web_open(&options, &house->web, error);
    if (code != LOAM_OK)
        return code;
    lm_room_web_link(house->web, true, link);
    note("The room in a browser, as its owner: %s", link);
    lm_room_web_link(house->web, false, link);
    note("For those whom you invite:         %s", link);
    return LOAM_OK;
}

/* Where a webhook is heard: at the place of the page, or beside it where one is served. */
static const char *webhook_host(const struct lm_room_config *config)
{
    return !config->telegram.webhook ? NULL : config->web_host ? config->web_host : "127.0.0.1";
}

static int webhook_port(const struct arguments *arguments, const struct lm_room_config *config)
{
    const int port = config->web_host ? config->web_port : 8081;
    return port && arguments->values[OPT_WEB].given ? port + 1 : port;
}

static int open_telegram(const struct arguments *arguments, struct house *house, loam_error *error)
{
    const struct lm_telegram_options options = {.rooms = house->rooms, .config = house->config, .client = house->client, .secrets = house->secrets,
                                                .host = webhook_host(house->config),
                                                .port = webhook_port(arguments, house->config),
                                                .log = log_line};
    if (!arguments->values[OPT_TELEGRAM].given)
        return LOAM_OK;
    if (!house->config->telegram.given)
        return lm_fail(error, LOAM_EUSAGE, "%s: has no `telegram`, which --telegram needs; loam room init writes an example", house->config->path);
    return lm_telegram_open(&options, &house->telegram, error);
}

/* Without a terminal and without lines to come the page or Telegram keeps the room open. */
static int wait_for_signal(void)
{
    struct pollfd wait = {.fd = stop_descriptor(), .events = POLLIN};
    while (!stop_wanted())
        poll(&wait, 1, -1);
    return EXIT_DONE;
}

static const char *own_name(const struct arguments *arguments)
{
    const char *name = arguments->values[OPT_NAME].text, *user = getenv("USER");
    return name ? name : user && *user ? user : "Guest";
}

static int visit(const struct arguments *arguments, struct house *house)
{
    const struct argument *values = arguments->values;
    const bool json = values[OPT_JSON].given, terminal = !json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    struct lm_room *room;
    loam_error error;
    if (lm_rooms_enter(house->rooms, values[OPT_ROOM].text, NULL, &room, &error) != LOAM_OK)
        return complain_error(&error);
    const struct room_show_options shown = {.room = room, .person = "local", .terminal = terminal, .json = json};
    if (room_show_open(&shown, &house->show, &error) != LOAM_OK)
        return complain_error(&error);
    if (open_telegram(arguments, house, &error) != LOAM_OK || open_web(arguments, house, room, &error) != LOAM_OK)
        return complain_error(&error);
    if (terminal)
        greet(house, room);
    struct room_talk talk = {.rooms = house->rooms, .room = room, .show = house->show, .name = own_name(arguments), .terminal = terminal, .json = json};
    int status = room_talk(&talk);
    if ((house->web || house->telegram) && !terminal && !stop_wanted())
        status = wait_for_signal();
    if (house->telegram)
        lm_telegram_idle(house->telegram, GOODBYE_SECONDS);
    return status;
}

int command_room(const struct arguments *arguments)
{
    struct house house = {0};
    loam_error error;
    const bool demo = arguments->values[OPT_DEMO].given;
    if (arguments->operand_count && !strcmp(arguments->operands[0], "init"))
        return init(arguments);
    if (arguments->operand_count != !demo) {
        complain("room: wanted FILE (loam room init writes one), or --demo");
        return EXIT_USAGE;
    }
    catch_signals();
    int status;
    if (open_house(arguments, &house, &error) != LOAM_OK)
        status = complain_error(&error);
    else
        status = visit(arguments, &house);
    leave(&house);
    return status;
}
