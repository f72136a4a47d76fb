/* Histories as files: what goes out can be trained on, and the reference bot's files come in. */
#include "support/player.h"

#include "data/data.h"

static loam_error error;

#define P "\xf0\x9f\x91\xa4"
#define A "\xf0\x9f\xa4\x96"

static void answer(void *user, size_t who, int time, const char *prompt, struct player_line *line)
{
    (void)user, (void)prompt;
    static const char *const lines[2][4] = {{"Hi Ann.", "Two\nlines \"here\".", NULL, NULL}, {"Hello!", NULL, NULL, NULL}};
    line->text = time < 4 ? lines[who][time] : NULL;
}

static void out(void **state)
{
    (void)state;
    struct stage stage;
    struct lm_bytes text = {0};
    struct lm_conversations conversations = {0};
    struct player *player = player_open(2, answer, NULL);
    stage_open(&stage, player, "order: fixed, rounds: 1", NULL);
    stage_say(&stage, "Ann", "Hello");
    stage_wait(&stage);
    stage_say(&stage, "Ben", "More?");
    stage_wait(&stage);
    assert_ok(lm_room_export(stage.room, LM_EXPORT_JSONL, NULL, &text, &error), &error);
    int lines = 0;
    for (const char *at = text.data; *at; at = strchr(at, '\n') + 1, lines++) {
        struct lm_document *document;
        assert_ok(lm_json_parse(at, (size_t)(strchr(at, '\n') - at), "line", &document, &error), &error);
        const struct lm_value *root = lm_document_root(document);
        static const char *const texts[] = {"Hello", "Hi Ann.", "Hello!", "More?", "Two\nlines \"here\"."};
        static const char *const authors[] = {"person", "ai", "ai", "person", "ai"};
        assert_true(lm_value_is(lm_value_find(root, "text"), texts[lines]));
        assert_true(lm_value_is(lm_value_find(root, "author"), authors[lines]));
        assert_int_equal(lm_value_find(root, "time")->length, 20);
        lm_document_free(document);
    }
    assert_int_equal(lines, 5);
    text.length = 0;
    assert_ok(lm_room_export(stage.room, LM_EXPORT_MARKDOWN, NULL, &text, &error), &error);
    assert_memory_equal(text.data, "# Stage\n\n**" P " Ann** (", 19);
    assert_non_null(strstr(text.data, "Two\nlines \"here\".\n\n"));
    text.length = 0;
    assert_ok(lm_room_export(stage.room, LM_EXPORT_TRAINING, "ada", &text, &error), &error);
    assert_ok(lm_conversations_parse(text.data, text.length, "export", &conversations, &error), &error);
    assert_int_equal(conversations.count, 1);
    const struct lm_conversation *c = &conversations.items[0];
    static const char *const wanted[] = {NULL, P "[Ann] Hello", "Hi Ann.", A "[Bix] Hello!\n" P "[Ben] More?", "Two\nlines \"here\"."};
    assert_int_equal(c->count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(c->messages[i].role, i == 0 ? LM_SYSTEM : i % 2 ? LM_USER : LM_ASSISTANT);
        if (wanted[i])
            assert_string_equal(c->messages[i].content, wanted[i]);
    }
    assert_memory_equal(c->messages[0].content, "You are Ada in a room with Bix.", 31);
    text.length = 0;
    assert_ok(lm_room_export(stage.room, LM_EXPORT_TRAINING, NULL, &text, &error), &error);
    assert_ok(lm_conversations_parse(text.data, text.length, "export", &conversations, &error), &error);
    assert_int_equal(conversations.count, 3);
    assert_fails(lm_room_export(stage.room, LM_EXPORT_TRAINING, "Zoe", &text, &error), &error, LOAM_EUSAGE, "Zoe");
    enum lm_export form;
    assert_fails(lm_export_parse("pdf", &form, &error), &error, LOAM_EUSAGE, "pdf", "markdown");
    lm_conversations_free(&conversations);
    lm_bytes_free(&text);
    stage_close(&stage);
    player_close(player);
}

static void put(const char *path, const char *text)
{
    assert_ok(lm_file_replace(path, text, strlen(text), &error), &error);
}

static void in(void **state)
{
    (void)state;
    struct stage stage;
    int64_t count;
    struct player *player = player_open(1, answer, NULL);
    stage_open(&stage, player, "", NULL);
    const char *path = test_path(stage.folder, "-100123.jsonl");
    static const struct {
        const char *text, *words[2];
    } wrong[] = {
        {"{\"type\": \"user\", \"name\": \"Ann\", \"message\": \"Hello\"}\n{\"type\": \"user\"\n", {"jsonl:2"}},
        {"{\"type\": \"cat\", \"name\": \"Ann\", \"message\": \"Hello\"}\n", {"jsonl:1", "bot"}},
        {"{\"type\": \"user\", \"message\": \"Hello\"}\n", {"missing"}},
        {"{\"type\": \"user\", \"name\": \"Ann\", \"message\": 5}\n", {"jsonl:1", "string"}},
        {"[1]\n", {"jsonl:1"}},
        {"{\"role\": \"user\", \"content\": \"no tag\"}\n", {"jsonl:1", "tag"}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put(path, wrong[i].text);
        assert_int_not_equal(lm_room_import(stage.room, path, &count, &error), LOAM_OK);
        for (size_t w = 0; w < 2 && wrong[i].words[w]; w++)
            if (!strstr(error.message, wrong[i].words[w]))
                fail_msg("%s: %s lacks '%s'", wrong[i].text, error.message, wrong[i].words[w]);
        assert_string_equal(stage_history(&stage), "");
    }
    put(path, "{\"type\": \"user\", \"name\": \"Ann\", \"message\": \"Hello\"}\n\n"
              "{\"type\": \"bot\", \"name\": \"Ada\", \"message\": \"Hi " A "[Bix]\"}\r\n"
              "{\"role\": \"user\", \"content\": \"" P "[Ben]: As it was kept before\"}\n"
              "{\"role\": \"assistant\", \"content\": \"" A "[Ada]: So it was\"}");
    assert_ok(lm_room_import(stage.room, path, &count, &error), &error);
    assert_int_equal(count, 4);
    assert_string_equal(stage_history(&stage), "Ann: Hello|Ada: Hi " A "(Bix]|Ben: As it was kept before|Ada: So it was|");
    stage_wait(&stage);
    assert_int_equal(player_asked(player, 0), 0);    /* nobody is asked about what was said long ago */
    assert_fails(lm_room_import(stage.room, path, &count, &error), &error, LOAM_EUSAGE, "messages already");
    stage_close(&stage);
    player_close(player);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(out), cmocka_unit_test(in)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
