/* loam serve */
#include "common.h"
#include "sampling.h"

#include "serve/serve.h"

#include <poll.h>
#include <string.h>

/* "name=path", or a path. */
static void take_model(const char *word, struct lm_serve_model *model, char **name)
{
    const char *equals = strchr(word, '=');
    const bool named = equals && equals > word && !memchr(word, '/', (size_t)(equals - word)) && !lm_file_exists(word);
    *name = named ? lm_copy_string(word, (size_t)(equals - word), NULL) : NULL;
    *model = (struct lm_serve_model){.name = *name, .path = *name ? equals + 1 : word};
}

static struct lm_serve_options read_options(const struct arguments *arguments)
{
    const struct argument *values = arguments->values;
    struct lm_serve_options options = lm_serve_default();
    options.host = values[OPT_HOST].text;
    options.port = (int)values[OPT_PORT].whole;
    options.keys = values[OPT_KEYS].text;
    options.cors_origin = values[OPT_CORS].text;
    options.memory = values[OPT_SERVE_MEMORY].whole;
    options.body_bytes = (size_t)values[OPT_BODY_LIMIT].whole;
    options.timeout = values[OPT_TIMEOUT].number;
    options.engine.threads = thread_count(arguments);
    options.engine.chat_template = values[OPT_TEMPLATE].text;
    options.engine.context = values[OPT_CONTEXT].whole;
    options.engine.streams = values[OPT_STREAMS].whole;
    options.engine.cache = values[OPT_SERVE_CACHE].whole;
    options.engine.queue = values[OPT_QUEUE].whole;
    options.sampling = generation_options(arguments).sampling;
    return options;
}

static void show_line(void *user, const char *line)
{
    const bool all = *(const bool *)user;
    if (all || (strncmp(line, "GET ", 4) && strncmp(line, "POST ", 5) && strncmp(line, "HEAD ", 5)))
        note("%s", line);
}

static void wait_for_signal(void)
{
    struct pollfd wait = {.fd = stop_descriptor(), .events = POLLIN};
    while (!stop_wanted())
        poll(&wait, 1, -1);
}

static void say_where(const struct lm_serve_options *options, const struct lm_server *server)
{
    const bool v6 = strchr(options->host, ':');
    printf("http://%s%s%s:%d\n", v6 ? "[" : "", options->host, v6 ? "]" : "", lm_serve_port(server));
    fflush(stdout);
    if (!options->keys && strncmp(options->host, "127.", 4) && strcmp(options->host, "localhost") && strcmp(options->host, "::1"))
        note("Everybody who reaches %s can use this server; --keys FILE asks for a key.", options->host);
    note("Open the address in a browser to chat, or give it to a client as the base URL of OpenAI's API (with /v1). Ctrl-C ends.");
}

/* Waits while requests are finished, but not against a second signal. */
static int end(struct lm_server *server, double seconds)
{
    forget_signals();
    note("finishing what is being answered (at most %g s; a second signal ends at once)", seconds);
    const double until = lm_seconds() + seconds;
    bool done = false;
    while (!done && !stop_wanted() && lm_seconds() < until)
        done = lm_serve_drain(server, 0.1);
    if (!done)
        note("answers that were not finished are cut off");
    lm_serve_close(server);
    return EXIT_DONE;
}

static int serve(const struct lm_serve_options *options, double drain)
{
    struct lm_server *server;
    loam_error error;
    catch_signals();
    if (lm_serve_open(options, &server, &error) != LOAM_OK)
        return complain_error(&error);
    say_where(options, server);
    wait_for_signal();
    return end(server, drain);
}

int command_serve(const struct arguments *arguments)
{
    struct lm_serve_options options = read_options(arguments);
    bool verbose = arguments->values[OPT_VERBOSE].given;
    loam_error error;
    const size_t count = arguments->operand_count;
    struct lm_serve_model *models = lm_alloc(count, sizeof *models, &error);
    char **names = lm_alloc(count, sizeof *names, &error);
    int status = EXIT_FAILED;
    if (!models || !names || lm_overflow_parse(arguments->values[OPT_OVERFLOW].text, &options.overflow, &error) != LOAM_OK) {
        status = complain_error(&error);
    } else {
        for (size_t i = 0; i < count; i++)
            take_model(arguments->operands[i], &models[i], &names[i]);
        options.models = models;
        options.model_count = count;
        options.log = show_line;
        options.user = &verbose;
        status = serve(&options, arguments->values[OPT_DRAIN].number);
    }
    for (size_t i = 0; names && i < count; i++)
        lm_free(names[i]);
    lm_free(names);
    lm_free(models);
    return status;
}
