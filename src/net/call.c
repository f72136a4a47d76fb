/* One call: made, given to libcurl, and ended. */
#include "call.h"
#include "secrets.h"

#include <string.h>

enum { MOST_BODY = 8 << 20, LONGEST_URL = 8192, DAY = 86400 };

void call_release(struct lm_http_call *call)
{
    if (atomic_fetch_sub(&call->references, 1) != 1)
        return;
    for (struct curl_slist *at = call->headers; at; at = at->next)
        explicit_bzero(at->data, strlen(at->data));
    curl_slist_free_all(call->headers);
    lm_bytes_wipe(&call->url);
    lm_bytes_wipe(&call->sent);
    lm_bytes_free(&call->reply.body);
    lm_free(call->method);
    lm_free(call);
}

/* --- What comes --- */

static void give_head(struct lm_http_call *call)
{
    long status = 0;
    curl_off_t wait = 0;
    const char *type = NULL;
    struct lm_http_head *head = &call->reply.head;
    if (call->headed)
        return;
    call->headed = true;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(call->easy, CURLINFO_RETRY_AFTER, &wait);
    curl_easy_getinfo(call->easy, CURLINFO_CONTENT_TYPE, &type);
    lm_format(call->type, sizeof call->type, "%s", type ? type : "");
    *head = (struct lm_http_head){(int)status, call->type, wait > DAY ? DAY : wait > 0 ? (double)wait : -1};
    if (call->head)
        call->head(call->user, head);
}

static size_t on_data(char *data, size_t one, size_t length, void *user)
{
    struct lm_http_call *call = user;
    (void)one;
    if (atomic_load(&call->cancelled))
        return 0;
    give_head(call);
    call->received += length;
    if (call->received > call->most_bytes) {
        call->too_long = true;
        return 0;
    }
    if (call->data)
        call->enough = !call->data(call->user, data, length);
    else if (lm_bytes_append(&call->reply.body, data, length, &call->reply.error) != LOAM_OK)
        return 0;
    return call->enough ? 0 : length;
}

/* --- Beginning --- */

static bool set_up(struct lm_http_call *call)
{
    CURL *easy = call->easy;
    bool ok = curl_easy_setopt(easy, CURLOPT_URL, call->url.data) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PRIVATE, call) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 8192L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 16384L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_WRITEDATA, call) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(call->client->connect_seconds * 1000)) == CURLE_OK;
    ok = ok && curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(call->seconds * 1000 + 0.5)) == CURLE_OK;
    if (call->idle_seconds > 0) {
        ok = ok && curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK;
        ok = ok && curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)call->idle_seconds) == CURLE_OK;
    }
    if (call->sent.data) {
        ok = ok && curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->sent.length) == CURLE_OK;
        ok = ok && curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->sent.data) == CURLE_OK;
    }
    return ok && curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method) == CURLE_OK;
}

void call_begin(struct lm_http_call *call)
{
    struct lm_http_client *client = call->client;
    call->next = client->first;
    if (call->next)
        call->next->previous = call;
    client->first = call;
    call->easy = curl_easy_init();
    if (!call->easy || !set_up(call)) {
        call_finish(call, CURLE_OUT_OF_MEMORY);
        return;
    }
    call->added = curl_multi_add_handle(client->multi, call->easy) == CURLM_OK;
    if (!call->added)
        call_finish(call, CURLE_OUT_OF_MEMORY);
}

/* --- Ending --- */

static int why(struct lm_http_call *call, CURLcode result)
{
    loam_error *error = &call->reply.error;
    long system = 0;
    if (atomic_load(&call->cancelled) || call->enough || (result == CURLE_ABORTED_BY_CALLBACK && !call->too_long))
        return lm_fail(error, LOAM_ECANCELLED, "%s: cancelled", call->place);
    if (call->too_long)
        return lm_fail(error, LOAM_EFORMAT, "%s: the answer is longer than %zu bytes", call->place, call->most_bytes);
    if (result == CURLE_OUT_OF_MEMORY || (result == CURLE_WRITE_ERROR && error->code == LOAM_ENOMEM))
        return lm_fail(error, LOAM_ENOMEM, "%s: not enough memory for the request", call->place);
    if (result == CURLE_OPERATION_TIMEDOUT) {
        call->reply.timed_out = true;
        return lm_fail(error, LOAM_EIO, "%s: no answer in time", call->place);
    }
    if (result == CURLE_PARTIAL_FILE || result == CURLE_RECV_ERROR || result == CURLE_GOT_NOTHING)
        return lm_fail(error, LOAM_EIO, "%s: the connection ended before the answer did", call->place);
    curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &system);
    if (result == CURLE_COULDNT_CONNECT && system)
        return lm_fail_errno(error, (int)system, "%s: no connection", call->place);
    return lm_fail(error, LOAM_EIO, "%s: %s", call->place, curl_easy_strerror(result));    /* libcurl's fixed texts */
}

void call_finish(struct lm_http_call *call, CURLcode result)
{
    struct lm_http_client *client = call->client;
    long sent = 0;
    call->finished = true;
    if (result == CURLE_OK && !atomic_load(&call->cancelled))
        give_head(call);
    if (call->easy)
        curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &sent);
    call->reply.sent = sent > 0;
    call->reply.code = result == CURLE_OK && !atomic_load(&call->cancelled) ? LOAM_OK : why(call, result);
    if (call->added)
        curl_multi_remove_handle(client->multi, call->easy);
    if (call->easy)
        curl_easy_cleanup(call->easy);
    call->easy = NULL;
    if (call->previous)
        call->previous->next = call->next;
    else if (client->first == call)
        client->first = call->next;
    if (call->next)
        call->next->previous = call->previous;
    call->next = call->previous = NULL;
    call->done(call->user, &call->reply);
    atomic_fetch_sub(&client->active, 1);
    call_release(call);
}

/* --- Making --- */

static int add_headers(struct lm_http_call *call, const struct lm_http_request *request, loam_error *error)
{
    struct lm_bytes line = {0};
    int code = LOAM_OK;
    bool type = false, expect = false;
    for (size_t i = 0; i <= request->header_count + 1 && code == LOAM_OK; i++) {
        const bool own = i >= request->header_count;
        const struct lm_http_header header = !own ? request->headers[i]
                                             : i == request->header_count ? (struct lm_http_header){"Expect", ""}
                                                                          : (struct lm_http_header){"Content-Type", ""};
        if (own && ((i == request->header_count && expect) || (i > request->header_count && type)))
            continue;
        if (!*header.name || strpbrk(header.name, ":\r\n \t") || strpbrk(header.value, "\r\n")) {
            code = lm_fail(error, LOAM_EUSAGE, "%s: a header's name or value that holds a line end or is no name", call->place);
            break;
        }
        type |= !strcasecmp(header.name, "Content-Type");
        expect |= !strcasecmp(header.name, "Expect");
        line.length = 0;
        code = lm_bytes_reserve(&line, strlen(header.name) + strlen(header.value) + 3, error);
        if (code == LOAM_OK)    /* a name with a colon and nothing behind it takes away what libcurl would send by itself */
            code = lm_bytes_format(&line, error, own ? "%s:%s" : *header.value ? "%s: %s" : "%s;%s", header.name, header.value);
        struct curl_slist *grown = code == LOAM_OK ? curl_slist_append(call->headers, line.data) : NULL;
        if (code == LOAM_OK && !grown)
            code = lm_fail(error, LOAM_ENOMEM, "%s: not enough memory for the request", call->place);
        call->headers = grown ? grown : call->headers;
    }
    lm_bytes_wipe(&line);
    return code;
}

int lm_http_place(const char *url, char place[LM_HTTP_PLACE], loam_error *error)
{
    char *scheme = NULL, *host = NULL, *port = NULL;
    const size_t length = strlen(url);
    CURLU *parts = curl_url();
    bool ok = parts && length < LONGEST_URL && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
              curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK;
    ok = ok && (!strcmp(scheme, "http") || !strcmp(scheme, "https"));
    if (ok && curl_url_get(parts, CURLUPART_PORT, &port, 0) == CURLUE_OK)
        lm_format(place, LM_HTTP_PLACE, "%s://%s:%s", scheme, host, port);
    else if (ok)
        lm_format(place, LM_HTTP_PLACE, "%s://%s", scheme, host);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
    if (!ok)
        return lm_fail(error, LOAM_EUSAGE, "an address that is none (%zu bytes, not shown), wanted http://HOST or https://HOST", length);
    return LOAM_OK;
}

static int take_address(struct lm_http_call *call, const char *url, loam_error *error)
{
    const size_t length = strlen(url);
    int code = lm_http_place(url, call->place, error);
    if (code == LOAM_OK)
        code = lm_bytes_reserve(&call->url, length + 1, error);
    return code == LOAM_OK ? lm_bytes_append(&call->url, url, length, error) : code;
}

static int fill(struct lm_http_call *call, const struct lm_http_request *request, loam_error *error)
{
    int code = take_address(call, request->url, error);
    if (code == LOAM_OK && !(call->method = lm_copy_string(request->method, strlen(request->method), error)))
        code = LOAM_ENOMEM;
    if (code == LOAM_OK && request->body)
        code = lm_bytes_reserve(&call->sent, request->length + 1, error);
    if (code == LOAM_OK && request->body)
        code = lm_bytes_append(&call->sent, request->body, request->length, error);
    call->seconds = request->seconds;
    call->idle_seconds = request->idle_seconds;
    call->most_bytes = request->most_bytes ? request->most_bytes : MOST_BODY;
    call->head = request->head;
    call->data = request->data;
    call->done = request->done;
    call->user = request->user;
    call->reply.head.retry_after = -1;
    call->reply.head.type = call->type;
    return code == LOAM_OK ? add_headers(call, request, error) : code;
}

static void put_news(struct lm_http_call *call)
{
    struct lm_http_client *client = call->client;
    if (atomic_exchange(&call->in_news, true))
        return;    /* it stands there already and will be looked at */
    atomic_fetch_add(&call->references, 1);
    pthread_mutex_lock(&client->lock);
    call->next_news = client->news;
    client->news = call;
    pthread_mutex_unlock(&client->lock);
    client_wake(client);
}

int lm_http_start(struct lm_http_client *client, const struct lm_http_request *request, struct lm_http_call **result, loam_error *error)
{
    struct lm_http_call *call = lm_alloc(1, sizeof *call, error);
    if (!call)
        return LOAM_ENOMEM;
    call->client = client;
    atomic_store(&call->references, 1);
    const int code = fill(call, request, error);
    if (code != LOAM_OK) {
        call_release(call);
        return code;
    }
    if (result) {
        atomic_fetch_add(&call->references, 1);
        *result = call;
    }
    atomic_fetch_add(&client->active, 1);
    put_news(call);
    return LOAM_OK;
}

void lm_http_cancel(struct lm_http_call *call)
{
    if (call && !atomic_exchange(&call->cancelled, true))
        put_news(call);
}

void lm_http_call_free(struct lm_http_call *call)
{
    if (call)
        call_release(call);
}
