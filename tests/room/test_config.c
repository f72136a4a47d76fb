/* room.yaml: the example, all keys, and everything that can be wrong with it. */
#include "support/support.h"

#include "room/room.h"

static loam_error error;

static int parse(const char *text, struct lm_room_config **config)
{
    return lm_room_config_parse(text, strlen(text), "/tmp/x/room.yaml", config, &error);
}

static void example(void **state)
{
    (void)state;
    struct lm_room_config *config;
    assert_ok(parse(lm_room_config_example, &config), &error);
    assert_string_equal(config->name, "The workshop");
    assert_int_equal(config->participant_count, 2);
    assert_string_equal(config->participants[0].path, "/tmp/x/loam-quickstart");
    assert_string_equal(config->database, "/tmp/x/room.db");
    assert_int_equal(config->settings.order, LM_ORDER_RANDOM);
    assert_false(config->telegram.given);
    assert_null(config->web_host);
    lm_room_config_free(config);
    /* What is commented out is right too. */
    char text[8192];
    size_t to = 0;
    bool line = true;
    for (const char *at = lm_room_config_example; *at; at++) {
        if (line && (!strncmp(at, "# telegram:", 11) || !strncmp(at, "#   ", 4) || !strncmp(at, "# web:", 6)))
            at += 2;
        else if (line && (!strncmp(at, "  # - name", 10) || !strncmp(at, "  #   ", 6))) {
            text[to++] = ' ', text[to++] = ' ';
            at += 4;
        }
        line = *at == '\n';
        text[to++] = *at;
    }
    text[to] = 0;
    assert_ok(parse(text, &config), &error);
    assert_int_equal(config->participant_count, 4);
    assert_true(config->telegram.given);
    assert_int_equal(config->web_port, 8081);
    lm_room_config_free(config);
}

static void all_keys(void **state)
{
    (void)state;
    struct lm_room_config *config;
    assert_ok(parse("room: {name: R, owner: 'telegram:5', rounds: 3, order: together, max_ai_turns: 7, tokens_per_hour: 1000, cost_per_hour: 0.5,\n"
                    "       window_tokens: {size: 500, oldest: summarise}, pass_threshold: 0.25}\n"
                    "participants:\n"
                    "  - {name: Ada, model: /models/a.gguf, system: Be kind., timeout: 9, price: 2}\n"
                    "  - name: Cleo\n"
                    "    openai: {base_url: 'https://api.example.com/v1/', model: m, key: cleo, headers: {X-A: b, X-C: d}}\n"
                    "    sampling: {temperature: 0, top_k: 5, top_p: 0.5, min_p: 0.1, repetition_penalty: 1.5, presence_penalty: 1,\n"
                    "               frequency_penalty: -1, seed: 8, max_tokens: 33}\n"
                    "    price: {input: 3, output: 15}\n"
                    "  - {name: Dora, anthropic: {base_url: 'http://127.0.0.1:99', model: n}}\n"
                    "telegram: {token: t, secret: s, allow: [1, 2], api_url: 'http://127.0.0.1:1', webhook: 'https://e.org/h'}\n"
                    "web: {host: '::1', port: 0}\n"
                    "database: /var/room.db\n", &config), &error);
    const struct lm_room_settings *s = &config->settings;
    assert_string_equal(config->owner, "telegram:5");
    assert_true(s->rounds == 3 && s->order == LM_ORDER_TOGETHER && s->max_ai_turns == 7 && s->tokens_per_hour == 1000);
    assert_true(s->cost_per_hour == 0.5 && s->window_tokens == 500 && s->summarise && s->pass_threshold == 0.25);
    const struct lm_participant *p = config->participants;
    assert_string_equal(p[0].path, "/models/a.gguf");
    assert_true(p[0].kind == LM_PARTICIPANT_MODEL && p[0].timeout == 9 && p[0].price_input == 2 && p[0].price_output == 2);
    assert_true(p[0].sampling.max_tokens == 400 && !p[0].sampling.has_temperature);
    assert_string_equal(p[1].base_url, "https://api.example.com/v1");
    assert_string_equal(p[1].key, "cleo");
    assert_int_equal(p[1].header_count, 2);
    assert_string_equal(p[1].headers[1].name, "X-C");
    assert_string_equal(p[1].headers[1].value, "d");
    assert_true(p[1].kind == LM_PARTICIPANT_OPENAI && p[1].sampling.how.top_k == 5 && p[1].sampling.has_seed && p[1].sampling.how.seed == 8);
    assert_true(p[1].sampling.max_tokens == 33 && p[1].sampling.frequency_penalty == -1 && p[1].price_output == 15 && p[1].timeout == 120);
    assert_true(p[2].kind == LM_PARTICIPANT_ANTHROPIC && !p[2].key);
    assert_true(config->telegram.allow_count == 2 && config->telegram.allow[1] == 2);
    assert_string_equal(config->telegram.webhook, "https://e.org/h");
    assert_string_equal(config->web_host, "::1");
    assert_string_equal(config->database, "/var/room.db");
    lm_room_config_free(config);
}

#define ROOM "room: {name: R}\n"
#define ONE "participants: [{name: Ada, model: m}]\n"
#define SERVICE(inside) ROOM "participants: [{name: Ada, openai: {" inside "}}]\n"

static void wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words[4];
    } cases[] = {
        {"", {"room.yaml"}},
        {"- a\n", {"room.yaml", "mapping"}},
        {ONE, {"'room' is missing"}},
        {ROOM, {"'participants' is missing"}},
        {ROOM ONE "weather: 1\n", {"room.yaml:3:10", "unknown key 'weather'", "telegram"}},
        {"room: {name: R, colour: red}\n" ONE, {"room.yaml:1:25", "colour", "max_ai_turns"}},
        {"room: {rounds: 2}\n" ONE, {"'name' is missing", "room"}},
        {"room: {name: ''}\n" ONE, {"room.name", "empty"}},
        {"room: {name: R, rounds: 0}\n" ONE, {"room.rounds", "found 0", "1 to 100"}},
        {"room: {name: R, rounds: two}\n" ONE, {"room.rounds", "\"two\"", "whole number"}},
        {"room: {name: R, order: backwards}\n" ONE, {"room.order", "backwards", "moderator"}},
        {"room: {name: R, pass_threshold: 2}\n" ONE, {"pass_threshold", "found 2", "0 to 1"}},
        {"room: {name: R, window_tokens: 3}\n" ONE, {"window_tokens", "64"}},
        {"room: {name: R, window_tokens: {size: 100, oldest: burn}}\n" ONE, {"window_tokens.oldest", "burn", "summarise"}},
        {"room: {name: R, cost_per_hour: -1}\n" ONE, {"cost_per_hour", "-1"}},
        {ROOM "participants: []\n", {"participants", "1 to 64"}},
        {ROOM "participants: Ada\n", {"participants", "list"}},
        {ROOM "participants: [{model: m}]\n", {"'name' is missing"}},
        {ROOM "participants: [{name: Ada}]\n", {"Ada", "found 0", "anthropic"}},
        {ROOM "participants: [{name: Ada, model: m, openai: {base_url: 'http://a', model: x}}]\n", {"found 2"}},
        {ROOM "participants:\n  - {name: Ada, model: m}\n  - {name: ada, model: n}\n", {"room.yaml:4", "Ada", "ada"}},
        {ROOM "participants: [{name: 'A[d]a', model: m}]\n", {"name", "A(d)a"}},
        {ROOM "participants: [{name: Ada, model: m, colour: red}]\n", {"unknown key 'colour'", "sampling"}},
        {ROOM "participants: [{name: Ada, model: m, timeout: 0}]\n", {"timeout", "found 0"}},
        {ROOM "participants: [{name: Ada, model: m, sampling: {heat: 1}}]\n", {"unknown key 'heat'", "temperature"}},
        {ROOM "participants: [{name: Ada, model: m, sampling: {top_p: 0}}]\n", {"sampling", "top-p"}},
        {ROOM "participants: [{name: Ada, model: m, price: {in: 1}}]\n", {"price", "unknown key 'in'"}},
        {SERVICE("model: x"), {"'base_url' is missing"}},
        {SERVICE("base_url: 'http://a'"), {"'model' is missing"}},
        {SERVICE("base_url: 'ftp://a', model: x"), {"ftp://a", "https://"}},
        {SERVICE("base_url: 'http://u:p@a', model: x"), {"password"}},
        {SERVICE("base_url: 'http://a', model: x, key: 'sk-" TEST_MARK "'"), {"key", "NAME"}},
        {SERVICE("base_url: 'http://a', model: x, key: 'a b'"), {"key", "NAME"}},
        {SERVICE("base_url: 'http://a', model: x, headers: [a]"), {"headers", "mapping"}},
        {SERVICE("base_url: 'http://a', model: x, headers: {'a b': c}"), {"header"}},
        {ROOM ONE "telegram: {secret: s}\n", {"'token' is missing"}},
        {ROOM ONE "telegram: {token: '123456789:AAxyzAAxyz'}\n", {"token", "NAME"}},
        {ROOM ONE "telegram: {token: t, allow: 5}\n", {"allow", "list"}},
        {ROOM ONE "telegram: {token: t, allow: [-5]}\n", {"allow", "-5"}},
        {ROOM ONE "web: {port: 70000}\n", {"web.port", "70000", "65535"}},
        {ROOM ONE "room: {name: again}\n", {"room"}},
        {ROOM "participants: [{name: Ada, model: m\n", {"room.yaml"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lm_room_config *config;
        const int code = parse(cases[i].text, &config);
        if (code == LOAM_OK)
            fail_msg("%s was taken", cases[i].text);
        for (size_t w = 0; w < 4 && cases[i].words[w]; w++)
            if (!strstr(error.message, cases[i].words[w]))
                fail_msg("%s\ngave: %s\nwhich lacks '%s'", cases[i].text, error.message, cases[i].words[w]);
        assert_null(strstr(error.message, TEST_MARK));
        assert_null(strstr(error.message, "AAxyz"));
    }
    struct lm_room_config *config;
    assert_fails(lm_room_config_read("/nowhere/room.yaml", &config, &error), &error, LOAM_ENOTFOUND, "/nowhere/room.yaml");
}

static void out_of_memory(void **state)
{
    (void)state;
    int code = LOAM_ENOMEM;
    for (int64_t n = 1; code != LOAM_OK; n++) {
        struct lm_room_config *config;
        lm_memory_fail_after(n);
        code = parse(lm_room_config_example, &config);
        lm_memory_fail_after(-1);
        assert_true(code == LOAM_OK || code == LOAM_ENOMEM);
        if (code == LOAM_OK)
            lm_room_config_free(config);
        assert_true(n < 10000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(example), cmocka_unit_test(all_keys), cmocka_unit_test(wrong),
                                       cmocka_unit_test(out_of_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
