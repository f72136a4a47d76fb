/* The thread and its loop: libcurl tells which sockets to watch and when to come back; an epoll watches them, so that a thousand calls
 * that wait cost nothing. */
#include "call.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EVENTS = 64, MOST_CONNECTIONS = 4096 };

/* --- What libcurl asks for --- */

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *user, void *known)
{
    struct lm_http_client *client = user;
    struct epoll_event event = {.data.fd = socket};
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(client->poll, EPOLL_CTL_DEL, socket, NULL);
        return 0;
    }
    event.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (epoll_ctl(client->poll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket, &event) != 0 &&
        epoll_ctl(client->poll, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event) != 0)
        return -1;
    curl_multi_assign(client->multi, socket, client);
    return 0;
}

static int on_timer(CURLM *multi, long milliseconds, void *user)
{
    struct lm_http_client *client = user;
    (void)multi;
    client->due = milliseconds < 0 ? 0 : lm_seconds() + (double)milliseconds / 1000;
    return 0;
}

/* --- The loop --- */

static void take_done(struct lm_http_client *client)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(client->multi, &left))) {
        struct lm_http_call *call = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        const CURLcode result = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        call_finish(call, result);
    }
}

/* Calls that were started or cancelled since the last look. */
static void take_news(struct lm_http_client *client)
{
    pthread_mutex_lock(&client->lock);
    struct lm_http_call *call = client->news;
    client->news = NULL;
    pthread_mutex_unlock(&client->lock);
    while (call) {
        struct lm_http_call *next = call->next_news;
        atomic_store(&call->in_news, false);    /* from here on a cancel puts it there again */
        if (atomic_load(&call->cancelled) && !call->finished)
            call_finish(call, CURLE_ABORTED_BY_CALLBACK);
        else if (!call->added && !call->finished)
            call_begin(call);
        call_release(call);
        call = next;
    }
}

static void end_all(struct lm_http_client *client)
{
    for (;;) {
        take_news(client);
        if (!client->first)
            return;
        call_finish(client->first, CURLE_ABORTED_BY_CALLBACK);
    }
}

static int wait_milliseconds(const struct lm_http_client *client)
{
    if (client->due <= 0)
        return -1;
    const double left = client->due - lm_seconds();
    return left <= 0 ? 0 : left > 60 ? 60000 : (int)(left * 1000) + 1;
}

static void *loop(void *user)
{
    struct lm_http_client *client = user;
    struct epoll_event events[EVENTS];
    int running;
    while (!atomic_load(&client->closing)) {
        const int count = epoll_wait(client->poll, events, EVENTS, wait_milliseconds(client));
        for (int i = 0; i < count; i++) {
            uint64_t number;
            const int flags = (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                              (events[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
            if (events[i].data.fd == client->wake)
                (void)!read(client->wake, &number, sizeof number);
            else
                curl_multi_socket_action(client->multi, events[i].data.fd, flags, &running);
        }
        if (client->due > 0 && lm_seconds() >= client->due) {
            client->due = 0;
            curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        take_done(client);
        take_news(client);
        take_done(client);
    }
    end_all(client);
    return NULL;
}

void client_wake(struct lm_http_client *client)
{
    const uint64_t one = 1;
    (void)!write(client->wake, &one, sizeof one);
}

/* --- Opening and closing --- */

static long most_connections(int wanted)
{
    struct rlimit files;
    long most = MOST_CONNECTIONS;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY && (rlim_t)most > files.rlim_cur - files.rlim_cur / 4)
        most = (long)(files.rlim_cur - files.rlim_cur / 4);
    return wanted > 0 && wanted < most ? wanted : most;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global;

static void begin_globally(void)
{
    global = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int open_parts(struct lm_http_client *client, const struct lm_http_client_options *options, loam_error *error)
{
    pthread_once(&once, begin_globally);
    client->poll = epoll_create1(EPOLL_CLOEXEC);
    client->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = client->wake};
    if (client->poll < 0 || client->wake < 0 || epoll_ctl(client->poll, EPOLL_CTL_ADD, client->wake, &event) != 0)
        return lm_fail_errno(error, errno, "HTTP client");
    if (global != CURLE_OK || !(client->multi = curl_multi_init()))
        return lm_fail(error, LOAM_ENOMEM, "HTTP client: libcurl does not start");
    client->connect_seconds = options->connect_seconds > 0 ? options->connect_seconds : 15;
    const long most = most_connections(options->connections);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, most);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, most < 256 ? most : 256L);    /* kept open while nobody uses them */
    return LOAM_OK;
}

static void free_parts(struct lm_http_client *client)
{
    if (client->multi)
        curl_multi_cleanup(client->multi);
    if (client->poll >= 0)
        close(client->poll);
    if (client->wake >= 0)
        close(client->wake);
    pthread_mutex_destroy(&client->lock);
    lm_free(client);
}

/* Signals are for the threads of the program. */
static int start_thread(struct lm_http_client *client, loam_error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&client->thread, NULL, loop, client);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed ? lm_fail_errno(error, failed, "HTTP client: no thread") : LOAM_OK;
}

int lm_http_client_open(const struct lm_http_client_options *options, struct lm_http_client **result, loam_error *error)
{
    struct lm_http_client *client = lm_alloc(1, sizeof *client, error);
    if (!client)
        return LOAM_ENOMEM;
    client->poll = client->wake = -1;
    pthread_mutex_init(&client->lock, NULL);
    int code = open_parts(client, options, error);
    if (code == LOAM_OK)
        code = start_thread(client, error);
    if (code != LOAM_OK)
        free_parts(client);
    else
        *result = client;
    return code;
}

void lm_http_client_close(struct lm_http_client *client)
{
    if (!client)
        return;
    atomic_store(&client->closing, true);
    client_wake(client);
    pthread_join(client->thread, NULL);
    end_all(client);    /* what was started while the thread ended */
    free_parts(client);
}

int lm_http_client_active(struct lm_http_client *client)
{
    return atomic_load(&client->active);
}
