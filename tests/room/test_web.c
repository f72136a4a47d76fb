/* The page's stream of events: what a long history becomes, and who may go on listening when the link is renewed. */
#include "support/http.h"
#include "support/player.h"

#include "room/room.h"
#include "room/web.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static loam_error error;

static void yes(void *user, size_t who, int time, const char *prompt, struct player_line *line)
{
    (void)user, (void)who, (void)time, (void)prompt;
    line->text = "Yes.";
}

struct page {
    struct stage stage;
    struct player *player;
    struct lm_room_web *web;
};

static void open_page(struct page *page)
{
    page->player = player_open(1, yes, NULL);
    stage_open(&page->stage, page->player, "rounds: 1", NULL);
    const struct lm_room_web_options options = {.rooms = page->stage.rooms, .room = page->stage.room, .host = "127.0.0.1"};
    assert_ok(lm_room_web_open(&options, &page->web, &error), &error);
}

static void close_page(struct page *page)
{
    lm_room_web_close(page->web);
    stage_close(&page->stage);
    player_close(page->player);
}

/* The stream, begun: a socket. */
static int follow(const struct page *page, bool owner)
{
    char link[LM_WEB_LINK_BYTES], headers[LM_WEB_LINK_BYTES + 40];
    struct lm_bytes request = {0};
    lm_room_web_link(page->web, owner, link);
    snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\n", strchr(link, '#') + 1);
    const int at = http_connect(lm_room_web_port(page->web));
    http_request(&request, "GET", "/api/events", headers, NULL);
    assert_true(http_send(at, request.data, request.length));
    lm_bytes_free(&request);
    return at;
}

/* Reads on until the words have come, or the end; whether they have. */
static bool until(int at, const char *words, struct lm_bytes *seen)
{
    while (!seen->length || !strstr(seen->data, words)) {
        char data[65536];
        struct pollfd wait = {.fd = at, .events = POLLIN};
        if (poll(&wait, 1, 20000) != 1)
            fail_msg("neither '%s' nor the end within 20 s", words);
        const ssize_t got = recv(at, data, sizeof data, 0);
        if (got <= 0)
            return false;
        assert_ok(lm_bytes_append(seen, data, (size_t)got, &error), &error);
    }
    return true;
}

/* A few messages of a mebibyte are more than a connection keeps unread: the newest ones come, and the stream goes on. */
static void long_history(void **state)
{
    (void)state;
    enum { LONG = 1 << 20 };
    struct page page;
    struct lm_bytes seen = {0};
    char *text = malloc(LONG + 1);
    open_page(&page);
    memset(text, 'x', LONG);
    text[LONG] = 0;
    for (int i = 0; i < 5; i++) {
        const struct lm_post post = {.who = {"local", "Ann", true}, .text = text, .length = LONG, .quiet = true, .position = -1};
        text[0] = (char)('a' + i);
        assert_ok(lm_room_post(page.stage.room, &post, NULL, &error), &error);
    }
    const int at = follow(&page, false);
    assert_true(until(at, "event: history", &seen));
    assert_true(until(at, "\"exxx", &seen));    /* the newest; the oldest is left out */
    assert_null(strstr(seen.data, "\"axxx"));
    stage_say(&page.stage, "Ann", "and now");
    assert_true(until(at, "and now", &seen));
    close(at);
    lm_bytes_free(&seen);
    free(text);
    close_page(&page);
}

/* A new link ends what is followed by the old one, but not what the owner follows. */
static void new_link(void **state)
{
    (void)state;
    struct page page;
    struct lm_bytes first = {0}, second = {0};
    open_page(&page);
    const int guest = follow(&page, false), owner = follow(&page, true);
    assert_true(until(guest, "event: history", &first));
    assert_true(until(owner, "event: history", &second));
    assert_ok(lm_room_web_renew(page.web, &error), &error);
    stage_say(&page.stage, "Ann", "only among us");
    assert_true(until(owner, "only among us", &second));
    assert_true(until(guest, "\r\n0\r\n\r\n", &first));    /* the end of a body in chunks; the connection may be used again */
    assert_null(strstr(first.data, "only among us"));
    first.length = 0;
    const int again = follow(&page, false);    /* by the new one */
    assert_true(until(again, "only among us", &first));
    close(guest);
    close(owner);
    close(again);
    lm_bytes_free(&first);
    lm_bytes_free(&second);
    close_page(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(long_history), cmocka_unit_test(new_link)};
    return cmocka_run_group_tests_name("room/web", tests, NULL, NULL);
}
