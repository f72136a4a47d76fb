/* The models behind the port: loaded when they are first asked for, and unloaded, the one unused for longest first, when another needs
 * the memory. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CONTEXTS_CACHED = 4, MOST_CONTEXT = 32768 };    /* as lm_engine_options has it where nothing is asked for */

/* --- What they are --- */

static char *name_of(const char *path, loam_error *error)
{
    char *whole = realpath(path, NULL);
    if (!whole) {
        lm_fail(error, LOAM_ENOTFOUND, "%s: no such model; give a model directory or a .gguf file", path);
        return NULL;
    }
    const char *last = strrchr(whole, '/');
    last = last ? last + 1 : whole;
    size_t length = strlen(last);
    if (length > 5 && !strcmp(last + length - 5, ".gguf"))
        length -= 5;
    char *name = lm_copy_string(last, length, error);
    free(whole);
    return name;
}

static int64_t file_size(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 ? about.st_size : 0;
}

static int weigh_directory(const char *path, int64_t *bytes, loam_error *error)
{
    char **names;
    size_t count;
    int code = lm_list_directory(path, &names, &count, error);
    if (code != LOAM_OK)
        return code;
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(names[i]);
        char *file = lm_path_join(path, names[i], error);
        if (file && length > 12 && !strcmp(names[i] + length - 12, ".safetensors"))
            *bytes += file_size(file);
        code = file ? code : LOAM_ENOMEM;
        lm_free(file);
    }
    lm_free_strings(names, count);
    return code;
}

static int read_config(struct served *model, loam_error *error)
{
    if (!lm_is_directory(model->path)) {
        struct lm_gguf *file;
        int code = lm_gguf_open(model->path, &file, error);
        if (code != LOAM_OK)
            return code;
        code = lm_gguf_config(file, &model->config, error);
        lm_gguf_close(file);
        model->bytes = file_size(model->path);
        return code;
    }
    char *path = lm_path_join(model->path, "config.json", error);
    if (!path)
        return LOAM_ENOMEM;
    const int code = lm_config_read(path, &model->config, error);
    lm_free(path);
    return code == LOAM_OK ? weigh_directory(model->path, &model->bytes, error) : code;
}

static int64_t cache_bytes(const struct lm_server *server, const struct lm_config *config)
{
    const struct lm_engine_options *engine = &server->options.engine;
    const int64_t most = engine->context ? engine->context : MOST_CONTEXT;
    const int64_t context = config->context < most ? config->context : most;
    const int64_t positions = engine->cache ? engine->cache : CONTEXTS_CACHED * context;
    const int64_t bytes = positions * config->layers * config->kv_heads * config->head_size * 2 * (int64_t)sizeof(float);
    const int64_t quarter = lm_memory_limit() / 4;
    return bytes < quarter || engine->cache ? bytes : quarter;
}

static int open_model(struct lm_server *server, const struct lm_serve_model *asked, struct served *model, loam_error *error)
{
    model->path = lm_copy_string(asked->path, strlen(asked->path), error);
    model->name = asked->name ? lm_copy_string(asked->name, strlen(asked->name), error) : name_of(asked->path, error);
    if (!model->path || !model->name)
        return error ? error->code : LOAM_ENOMEM;
    for (const struct served *other = server->models; other < model; other++)
        if (!strcmp(other->name, model->name))
            return lm_fail(error, LOAM_EUSAGE, "two models are called %s: %s and %s; give one another name, as in other=%s", model->name,
                           other->path, model->path, model->path);
    int code = read_config(model, error);
    if (code != LOAM_OK)
        return code;
    model->bytes += cache_bytes(server, &model->config);
    char needs[32], there[32];
    lm_format_size(model->bytes, needs);
    lm_format_size(server->memory, there);
    if (model->bytes > server->memory)
        return lm_fail(error, LOAM_ENOMEM, "%s: weights and cache take about %s, and --memory allows %s; give it more, or a smaller --context or "
                       "--cache", model->path, needs, there);
    return LOAM_OK;
}

int models_open(struct lm_server *server, loam_error *error)
{
    const struct lm_serve_options *options = &server->options;
    pthread_mutex_init(&server->models_lock, NULL);
    pthread_cond_init(&server->loaded, NULL);
    if (!options->model_count)
        return lm_fail(error, LOAM_EUSAGE, "no model to serve; give at least one");
    server->models = lm_alloc(options->model_count, sizeof *server->models, error);
    if (!server->models)
        return LOAM_ENOMEM;
    for (; server->model_count < options->model_count; server->model_count++) {
        const int code = open_model(server, &options->models[server->model_count], &server->models[server->model_count], error);
        if (code != LOAM_OK) {
            server->model_count++;    /* what it has is freed with the others */
            return code;
        }
    }
    return LOAM_OK;
}

void models_wait(struct lm_server *server)
{
    pthread_mutex_lock(&server->models_lock);
    while (server->loaders)
        pthread_cond_wait(&server->loaded, &server->models_lock);
    pthread_mutex_unlock(&server->models_lock);
}

void models_close(struct lm_server *server)
{
    for (size_t i = 0; i < server->model_count; i++) {
        lm_engine_close(server->models[i].engine);
        lm_free(server->models[i].name);
        lm_free(server->models[i].path);
    }
    lm_free(server->models);
    pthread_mutex_destroy(&server->models_lock);
    pthread_cond_destroy(&server->loaded);
}

struct served *models_find(struct lm_server *server, const char *name, size_t length)
{
    for (size_t i = 0; i < server->model_count; i++)
        if (strlen(server->models[i].name) == length && !memcmp(server->models[i].name, name, length))
            return &server->models[i];
    return NULL;
}

void models_names(struct lm_server *server, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < server->model_count && used + 4 < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", server->models[i].name);
}

/* --- Loading --- */

struct load {
    struct lm_server *server;
    struct served *model;
    size_t out_count;
    struct lm_engine *out[];    /* to be closed first */
};

/* With the lock held: the loaded model that nobody uses and nobody has for longest; NULL: none. */
static struct served *least_used(struct lm_server *server)
{
    struct served *found = NULL;
    for (size_t i = 0; i < server->model_count; i++) {
        struct served *model = &server->models[i];
        if (model->engine && !model->users && (!found || model->used < found->used))
            found = model;
    }
    return found;
}

/* With the lock held: bytes of what is loaded or being so. */
static int64_t taken(const struct lm_server *server)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < server->model_count; i++)
        if (server->models[i].engine || server->models[i].loading)
            bytes += server->models[i].bytes;
    return bytes;
}

/* With the lock held: takes out models until `needed` bytes fit. */
static bool make_room(struct lm_server *server, int64_t needed, struct load *load)
{
    int64_t idle = 0;
    for (size_t i = 0; i < server->model_count; i++)
        if (server->models[i].engine && !server->models[i].users)
            idle += server->models[i].bytes;
    if (taken(server) - idle + needed > server->memory)
        return false;
    while (taken(server) + needed > server->memory) {
        struct served *model = least_used(server);
        load->out[load->out_count++] = model->engine;
        model->engine = NULL;
        serve_log(server, "unloading %s: %s needs its memory", model->name, load->model->name);
        atomic_fetch_add(&server->metrics.unloads, 1);
    }
    return true;
}

/* With the lock held: those that wait for the model, in the order in which they came, counted among its users. */
static struct job *take_parked(struct served *model, bool loaded)
{
    struct job *first = NULL;
    while (model->parked) {
        struct job *job = model->parked;
        model->parked = job->next;
        job->next = first;
        first = job;
        job->holds = loaded;
        model->users += loaded;
    }
    return first;
}

static void *load(void *user)
{
    struct load *task = user;
    struct lm_server *server = task->server;
    struct served *model = task->model;
    struct lm_engine *engine = NULL;
    loam_error error;
    const double begin = lm_seconds();
    for (size_t i = 0; i < task->out_count; i++)
        lm_engine_close(task->out[i]);
    lm_free(task);
    const int code = lm_engine_open(model->path, &server->options.engine, &engine, &error);
    struct lm_engine_stats stats = {0};
    if (code == LOAM_OK) {
        lm_engine_stats(engine, &stats);
        serve_log(server, "loaded %s in %.2f s, %s", model->name, lm_seconds() - begin, lm_engine_device(engine));
        atomic_fetch_add(&server->metrics.loads, 1);
    } else {
        serve_log(server, "%s cannot be loaded: %s", model->name, error.message);
    }
    pthread_mutex_lock(&server->models_lock);
    model->loading = false;
    model->engine = engine;
    model->used = lm_seconds();
    if (engine)
        model->bytes = (int64_t)(stats.weight_bytes + stats.cache_bytes);
    struct job *job = take_parked(model, engine);
    pthread_mutex_unlock(&server->models_lock);
    while (job) {
        struct job *next = job->next;
        if (!engine)
            refuse(&job->refusal, 500, "model_not_loaded", NULL, "the model '%s' cannot be loaded: %s", model->name, error.message);
        job_go(job);
        job = next;
    }
    pthread_mutex_lock(&server->models_lock);
    server->loaders--;
    pthread_cond_broadcast(&server->loaded);
    pthread_mutex_unlock(&server->models_lock);
    return NULL;
}

/* With the lock held. */
static bool start_loading(struct lm_server *server, struct served *model, struct refusal *refusal)
{
    pthread_t thread;
    struct load *task = lm_alloc(1, sizeof *task + server->model_count * sizeof(struct lm_engine *), NULL);
    if (!task)
        return refuse(refusal, 503, "overloaded", NULL, "not enough memory to load the model '%s'", model->name);
    task->server = server;
    task->model = model;
    if (!make_room(server, model->bytes, task)) {
        lm_free(task);
        refuse(refusal, 503, "overloaded", NULL, "the model '%s' is not loaded, and the memory is taken by models at work; try again later",
               model->name);
        refusal->retry_after = 5;
        return false;
    }
    model->loading = true;
    server->loaders++;
    if (pthread_create(&thread, NULL, load, task) == 0) {
        pthread_detach(thread);
        return true;
    }
    model->loading = false;
    server->loaders--;
    for (size_t i = 0; i < task->out_count; i++)
        lm_engine_close(task->out[i]);
    lm_free(task);
    return refuse(refusal, 503, "overloaded", NULL, "cannot start a thread to load the model '%s'", model->name);
}

void models_run(struct job *job)
{
    struct lm_server *server = job->server;
    struct served *model = job->served;
    pthread_mutex_lock(&server->models_lock);
    const bool there = model->engine;
    bool waits = !there && (model->loading || start_loading(server, model, &job->refusal));
    if (there) {
        model->users++;
        job->holds = true;
        model->used = lm_seconds();
    } else if (waits) {
        job->next = model->parked;
        model->parked = job;
    }
    pthread_mutex_unlock(&server->models_lock);
    if (there)
        job_go(job);
    else if (!waits)
        job_refuse(job);
}

void models_release(struct job *job)
{
    struct lm_server *server = job->server;
    if (!job->holds)
        return;
    pthread_mutex_lock(&server->models_lock);
    job->served->users--;
    job->served->used = lm_seconds();
    pthread_mutex_unlock(&server->models_lock);
}
