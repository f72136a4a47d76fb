#include "secrets.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_FILE = 1 << 20, MOST_NAME = 64, MOST_VALUE = 8192, SHORTEST_HIDDEN = 4, PIECE_HIDDEN = 8 };

struct lm_secret {
    struct lm_secret *next;
    size_t length;
    char name[MOST_NAME + 1];
    char value[];                /* a 0 behind it */
};
struct lm_secrets {
    struct lm_secret *first;
    pthread_mutex_t lock;        /* `first`: the environment's are added when they are asked for */
};

void lm_bytes_wipe(struct lm_bytes *bytes)
{
    if (bytes->data)
        explicit_bzero(bytes->data, bytes->capacity);
    lm_bytes_free(bytes);
}

bool lm_secret_equal(const char *secret, size_t secret_length, const char *given, size_t given_length)
{
    volatile unsigned char difference = secret_length != given_length;
    for (size_t i = 0; i < given_length; i++) {
        const unsigned char wanted = secret_length ? (unsigned char)secret[i % secret_length] : 0;
        difference = (unsigned char)(difference | (wanted ^ (unsigned char)given[i]));
    }
    return difference == 0;
}

bool lm_secret_matches(const struct lm_secret *secret, const char *given, size_t length)
{
    return secret && secret->length && lm_secret_equal(secret->value, secret->length, given, length);
}

int lm_secret_append(const struct lm_secret *secret, struct lm_bytes *out, loam_error *error)
{
    return lm_bytes_append(out, secret->value, secret->length, error);
}

/* --- Files --- */

/* The descriptor is what is asked, so that nothing can change between the question and the reading. */
static int check_owner(int file, const char *path, loam_error *error)
{
    struct stat facts;
    if (fstat(file, &facts) != 0)
        return lm_fail_errno(error, errno, "%s", path);
    if (!S_ISREG(facts.st_mode))
        return lm_fail(error, LOAM_EUSAGE, "%s: found no regular file, wanted a file of secrets", path);
    if (facts.st_uid != geteuid() && facts.st_uid != 0)
        return lm_fail(error, LOAM_EUSAGE, "%s: it belongs to another user (%u), who could read and change the secrets; make it yours: "
                       "chown %u '%s'", path, (unsigned)facts.st_uid, (unsigned)geteuid(), path);
    if (facts.st_mode & 077)
        return lm_fail(error, LOAM_EUSAGE, "%s: others can read it or write to it (mode %03o), wanted a file for its owner only; "
                       "do: chmod 600 '%s'", path, (unsigned)(facts.st_mode & 0777), path);
    return LOAM_OK;
}

static int read_all(int file, const char *path, struct lm_bytes *text, loam_error *error)
{
    int code = lm_bytes_reserve(text, MOST_FILE + 1, error);    /* once: growing would leave copies behind */
    while (code == LOAM_OK && text->length <= MOST_FILE) {
        const ssize_t got = read(file, text->data + text->length, MOST_FILE + 1 - text->length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return lm_fail_errno(error, errno, "%s", path);
        if (!got)
            return LOAM_OK;
        text->length += (size_t)got;
    }
    return code != LOAM_OK ? code : lm_fail(error, LOAM_EFORMAT, "%s: longer than %d bytes, wanted a file of secrets", path, MOST_FILE);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void trim(const char **text, size_t *length)
{
    while (*length && blank((*text)[*length - 1]))
        (*length)--;
    while (*length && blank(**text))
        (*text)++, (*length)--;
}

static int each_line(const struct lm_bytes *text, int (*take)(void *user, const char *line, size_t length, int64_t number), void *user)
{
    int64_t number = 0;
    int code = LOAM_OK;
    for (size_t at = 0; code == LOAM_OK && at < text->length;) {
        const char *line = text->data + at, *end = memchr(line, '\n', text->length - at);
        size_t length = end ? (size_t)(end - line) : text->length - at;
        at += length + 1;
        number++;
        trim(&line, &length);
        if (length && *line != '#')
            code = take(user, line, length, number);
    }
    return code;
}

int lm_secret_lines(const char *path, bool only_owner, int (*take)(void *user, const char *line, size_t length, int64_t number),
                    void *user, loam_error *error)
{
    struct lm_bytes text = {0};
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);    /* a pipe without a writer is refused, not waited for */
    if (file < 0)
        return lm_fail_errno(error, errno, "%s", path);
    int code = only_owner ? check_owner(file, path, error) : LOAM_OK;
    if (code == LOAM_OK)
        code = read_all(file, path, &text, error);
    close(file);
    if (code == LOAM_OK)
        code = each_line(&text, take, user);
    lm_bytes_wipe(&text);
    return code;
}

/* --- The table --- */

static struct lm_secret *find(const struct lm_secrets *secrets, const char *name, size_t length)
{
    for (struct lm_secret *at = secrets->first; at; at = at->next)
        if (strlen(at->name) == length && !memcmp(at->name, name, length))
            return at;
    return NULL;
}

static struct lm_secret *add(struct lm_secrets *secrets, const char *name, size_t name_length, const char *value, size_t length,
                             loam_error *error)
{
    struct lm_secret *secret = lm_alloc(1, sizeof *secret + length + 1, error);
    if (!secret)
        return NULL;
    memcpy(secret->name, name, name_length);
    memcpy(secret->value, value, length);
    secret->length = length;
    secret->next = secrets->first;
    return secrets->first = secret;
}

struct reading {
    struct lm_secrets *secrets;
    const char *path;
    loam_error *error;
};

static bool name_is_plain(const char *name, size_t length)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    for (size_t i = 0; i < length; i++)
        if (!name[i] || !strchr(plain, name[i]))
            return false;
    return length && length <= MOST_NAME;
}

static int take_entry(void *user, const char *line, size_t length, int64_t number)
{
    struct reading *r = user;
    const char *equals = memchr(line, '=', length);
    if (!equals)
        return lm_fail(r->error, LOAM_EFORMAT, "%s:%lld: wanted NAME = VALUE; what stands there is not shown", r->path, (long long)number);
    const char *name = line, *value = equals + 1;
    size_t name_length = (size_t)(equals - line), value_length = length - name_length - 1;
    trim(&name, &name_length);
    trim(&value, &value_length);
    if (value_length >= 2 && (*value == '"' || *value == '\'') && value[value_length - 1] == *value)
        value++, value_length -= 2;
    if (!name_is_plain(name, name_length))
        return lm_fail(r->error, LOAM_EFORMAT, "%s:%lld: wanted a name of 1 to %d letters, digits, _ - and . before the =; what stands "
                       "there is not shown", r->path, (long long)number, MOST_NAME);
    if (!value_length || value_length > MOST_VALUE || lm_utf8_check(value, value_length) != value_length ||
        memchr(value, 0, value_length) || memchr(value, '\r', value_length))
        return lm_fail(r->error, LOAM_EFORMAT, "%s:%lld: '%.*s': wanted a value of 1 to %d bytes of text; what stands there is not shown",
                       r->path, (long long)number, (int)name_length, name, MOST_VALUE);
    if (find(r->secrets, name, name_length))
        return lm_fail(r->error, LOAM_EFORMAT, "%s:%lld: '%.*s' stands there twice; take one away", r->path, (long long)number,
                       (int)name_length, name);
    return add(r->secrets, name, name_length, value, value_length, r->error) ? LOAM_OK : LOAM_ENOMEM;
}

int lm_secrets_open(const char *path, struct lm_secrets **result, loam_error *error)
{
    struct lm_secrets *secrets = lm_alloc(1, sizeof *secrets, error);
    if (!secrets)
        return LOAM_ENOMEM;
    pthread_mutex_init(&secrets->lock, NULL);
    struct reading reading = {secrets, path, error};
    const int code = path ? lm_secret_lines(path, true, take_entry, &reading, error) : LOAM_OK;
    if (code != LOAM_OK)
        lm_secrets_free(secrets);
    else
        *result = secrets;
    return code;
}

void lm_secrets_free(struct lm_secrets *secrets)
{
    if (!secrets)
        return;
    while (secrets->first) {
        struct lm_secret *secret = secrets->first;
        secrets->first = secret->next;
        explicit_bzero(secret->value, secret->length);
        lm_free(secret);
    }
    pthread_mutex_destroy(&secrets->lock);
    lm_free(secrets);
}

const struct lm_secret *lm_secrets_find(const struct lm_secrets *constant, const char *name)
{
    struct lm_secrets *secrets = (struct lm_secrets *)constant;    /* behind its lock */
    if (!secrets || !name || !name_is_plain(name, strlen(name)))
        return NULL;
    pthread_mutex_lock(&secrets->lock);
    struct lm_secret *secret = find(secrets, name, strlen(name));
    const char *value = secret ? NULL : getenv(name);
    if (value && *value && strlen(value) <= MOST_VALUE)
        secret = add(secrets, name, strlen(name), value, strlen(value), NULL);
    pthread_mutex_unlock(&secrets->lock);
    return secret;
}

/* Bytes at `text` that stand in a row somewhere in the value. */
static size_t common(const char *value, size_t length, const char *text)
{
    size_t most = 0;
    for (size_t from = 0; from < length; from++) {
        size_t n = 0;
        while (from + n < length && text[n] && text[n] == value[from + n])
            n++;
        most = n > most ? n : most;
    }
    return most;
}

void lm_secret_hide(const char *value, size_t length, char *text)
{
    const size_t least = length < PIECE_HIDDEN ? length : PIECE_HIDDEN;
    if (length < SHORTEST_HIDDEN)
        return;
    while (*text) {
        const size_t same = common(value, length, text);
        if (same >= least)
            memset(text, '*', same);
        text += same >= least ? same : 1;
    }
}

void lm_secrets_hide(const struct lm_secrets *constant, char *text)
{
    struct lm_secrets *secrets = (struct lm_secrets *)constant;
    if (!secrets)
        return;
    pthread_mutex_lock(&secrets->lock);
    for (const struct lm_secret *at = secrets->first; at; at = at->next)
        lm_secret_hide(at->value, at->length, text);
    pthread_mutex_unlock(&secrets->lock);
}
