#include "support/support.h"

#include "data/data.h"

static int parse(const char *text, struct lm_conversations *list, loam_error *error)
{
    return lm_conversations_parse(text, strlen(text), "talk.jsonl", list, error);
}

static void expect_message(const struct lm_conversation *conversation, size_t index, enum lm_role role, const char *content)
{
    assert_true(index < conversation->count);
    assert_int_equal(conversation->messages[index].role, role);
    assert_string_equal(conversation->messages[index].content, content);
    assert_int_equal(conversation->messages[index].length, strlen(content));
}

static void four_forms_say_the_same(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Add 2 and 3.\"},{\"role\":\"assistant\",\"content\":\"5\"}]}",
        "{\"conversations\":[{\"from\":\"human\",\"value\":\"Add 2 and 3.\"},{\"from\":\"gpt\",\"value\":\"5\"}]}",
        "{\"instruction\":\"Add 2 and 3.\",\"input\":\"\",\"output\":\"5\"}",
        "{\"text\":\"### Human: Add 2 and 3.### Assistant: 5\"}",
    };
    for (size_t i = 0; i < 4; i++) {
        struct lm_conversations list = {0};
        loam_error error;
        assert_ok(parse(forms[i], &list, &error), &error);
        assert_int_equal(list.count, 1);
        assert_int_equal(list.items[0].count, 2);
        assert_int_equal(list.items[0].place, 1);
        expect_message(&list.items[0], 0, LM_USER, "Add 2 and 3.");
        expect_message(&list.items[0], 1, LM_ASSISTANT, "5");
        lm_conversations_free(&list);
    }
}

static void details_of_the_forms(void **state)
{
    (void)state;
    struct lm_conversations list = {0};
    loam_error error;
    assert_ok(parse("\xEF\xBB\xBF\r\n"
                    "{\"instruction\":\"Spell\",\"input\":\"a word\",\"output\":\"w o r d\",\"system\":\"Be short.\"}\r\n"
                    "   \r\n"
                    "{\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
                    "\"text\":\"b\"}]},{\"role\":\"user\",\"content\":\"\"}],\"id\":7}\r\n"
                    "{\"text\":\"\\n### Human: one ### two### Assistant:\\n three \\n### Human: four?\"}", &list, &error), &error);
    assert_int_equal(list.count, 3);
    assert_int_equal(list.items[0].place, 2);
    assert_int_equal(list.items[1].place, 4);
    expect_message(&list.items[0], 0, LM_SYSTEM, "Be short.");
    expect_message(&list.items[0], 1, LM_USER, "Spell\na word");
    expect_message(&list.items[1], 0, LM_SYSTEM, "ab");
    expect_message(&list.items[1], 1, LM_USER, "");
    assert_false(lm_conversation_answered(&list.items[1]));
    assert_int_equal(list.items[2].count, 3);
    expect_message(&list.items[2], 0, LM_USER, "one ### two");
    expect_message(&list.items[2], 1, LM_ASSISTANT, "three");
    expect_message(&list.items[2], 2, LM_USER, "four?");
    assert_true(lm_conversation_answered(&list.items[2]));
    lm_conversations_free(&list);
}

static void an_array_counts_from_one(void **state)
{
    (void)state;
    struct lm_conversations list = {0};
    loam_error error;
    assert_ok(parse(" [{\"text\":\"### Human: a\"},\n {\"text\":\"### Human: b\"}]\n", &list, &error), &error);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.items[1].place, 2);
    lm_conversations_free(&list);
}

static void faults_are_named_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *place, *what;
    } cases[] = {
        {"", "talk.jsonl", "found nothing"},
        {"\xEF\xBB\xBF \n\n", "talk.jsonl", "found nothing"},
        {"[]", "talk.jsonl", "empty list"},
        {"{\"text\":\"### Human: a\"}\n{\"text\":\"### Hum\n{\"text\":\"### Human: a\"}", "talk.jsonl:2:", ""},
        {"{\"text\":\"### Human: a\"}\n\n7\n", "talk.jsonl:3:", "object"},
        {"{\"text\":\"### Human: a\"}\n{\"words\":1}\n", "talk.jsonl:2:", "messages"},
        {"{\"text\":\"A story without turns.\"}", "talk.jsonl:1:", "### Human:"},
        {"{\"text\":\"Once ### Human: a\"}", "talk.jsonl:1:", "### Human:"},
        {"{\"text\":5}", "talk.jsonl:1:", "text"},
        {"{\"messages\":[]}", "talk.jsonl:1:", "at least one"},
        {"{\"messages\":{}}", "talk.jsonl:1:", "list"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", "talk.jsonl:1:", "'tool'"},
        {"{\"messages\":[{\"content\":\"x\"}]}", "talk.jsonl:1:", "'role'"},
        {"{\"messages\":[\"x\"]}", "talk.jsonl:1:", "'role'"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":null}]}", "talk.jsonl:1:", "'content'"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", "talk.jsonl:1:", "part"},
        {"{\"conversations\":[{\"from\":\"function_call\",\"value\":\"x\"}]}", "talk.jsonl:1:", "'function_call'"},
        {"{\"instruction\":1,\"output\":\"x\"}", "talk.jsonl:1:", "text"},
        {"{\"instruction\":\"a\",\"input\":[],\"output\":\"x\"}", "talk.jsonl:1:", "text"},
        {"{\"instruction\":\"a\"}", "talk.jsonl:1:", "'output'"},
        {"[{\"text\":\"### Human: a\"},\n{\"text\":\"b\"}]", "talk.jsonl:2:", "### Human:"},
        {"[{\"text\":\"### Human: a\"}", "talk.jsonl", ""},
        {"{\"text\":\"### Human: \xFF\"}", "talk.jsonl:1:", ""},
        {"hello", "talk.jsonl:1:", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lm_conversations list = {0};
        loam_error error;
        assert_ok(parse("{\"text\":\"### Human: kept\"}", &list, &error), &error);
        assert_fails(parse(cases[i].text, &list, &error), &error, LOAM_EFORMAT, cases[i].place, cases[i].what);
        assert_int_equal(list.count, 1);
        lm_conversations_free(&list);
    }
}

static void a_missing_file_is_said(void **state)
{
    (void)state;
    struct lm_conversations list = {0};
    loam_error error;
    assert_fails(lm_conversations_read(test_path(test_folder(), "none.jsonl"), &list, &error), &error, LOAM_ENOTFOUND,
                 "none.jsonl");
    assert_int_equal(list.count, 0);
}

static void a_million_levels_are_refused(void **state)
{
    (void)state;
    enum { LEVELS = 1000000 };
    char *text = malloc(LEVELS + 1);
    memset(text, '[', LEVELS);
    text[LEVELS] = 0;
    struct lm_conversations list = {0};
    loam_error error;
    assert_fails(parse(text, &list, &error), &error, LOAM_EFORMAT, "talk.jsonl");
    free(text);
}

static void written_ones_read_back(void **state)
{
    (void)state;
    struct lm_conversation conversation = {0};
    struct lm_conversations list = {0};
    struct lm_bytes text = {0};
    loam_error error;
    assert_ok(lm_conversation_add(&conversation, LM_SYSTEM, "\"quoted\"\n", 9, &error), &error);
    assert_ok(lm_conversation_add(&conversation, LM_USER, "zero \0 inside", 13, &error), &error);
    assert_ok(lm_conversation_add(&conversation, LM_ASSISTANT, "👤[Ann] é", strlen("👤[Ann] é"), &error), &error);
    assert_ok(lm_conversation_write(&conversation, &text, &error), &error);
    assert_ok(lm_conversations_parse(text.data, text.length, "written", &list, &error), &error);
    assert_int_equal(list.items[0].count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(list.items[0].messages[i].role, conversation.messages[i].role);
        assert_int_equal(list.items[0].messages[i].length, conversation.messages[i].length);
        assert_memory_equal(list.items[0].messages[i].content, conversation.messages[i].content,
                            conversation.messages[i].length);
    }
    lm_bytes_free(&text);
    lm_conversation_free(&conversation);
    lm_conversations_free(&list);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char text[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"b\"}]}]}\n"
        "{\"instruction\":\"a\",\"input\":\"b\",\"output\":\"c\"}\n{\"text\":\"### Human: a### Assistant: b### Human: c### Assistant: d"
        "### Human: e\"}";
    int code = LOAM_ENOMEM;
    for (int64_t n = 1; code; n++) {
        struct lm_conversations list = {0};
        loam_error error;
        lm_memory_fail_after(n);
        code = parse(text, &list, &error);
        lm_memory_fail_after(-1);
        assert_true(code == LOAM_OK || code == LOAM_ENOMEM);
        assert_int_equal(list.count, code ? 0 : 3);
        assert_true(n < 10000);
        lm_conversations_free(&list);
    }
}

/* The same 300 conversations in four forms, as other tools wrote them. */
static void four_files_of_the_same(void **state)
{
    (void)state;
    static const char *const names[] = {"messages.jsonl", "alpaca.json", "sharegpt.json", "guanaco.jsonl"};
    struct lm_conversations lists[4] = {{0}};
    loam_error error;
    for (size_t i = 0; i < 4; i++) {
        char name[128];
        snprintf(name, sizeof name, "text/chat/same-in-four-formats/%s", names[i]);
        assert_ok(lm_conversations_read(test_shared(name), &lists[i], &error), &error);
        assert_int_equal(lists[i].count, 300);
    }
    for (size_t i = 1; i < 4; i++)
        for (size_t c = 0; c < 300; c++) {
            const struct lm_conversation *a = &lists[0].items[c], *b = &lists[i].items[c];
            assert_int_equal(a->count, b->count);
            for (size_t m = 0; m < a->count; m++)
                expect_message(b, m, a->messages[m].role, a->messages[m].content);
        }
    for (size_t i = 0; i < 4; i++)
        lm_conversations_free(&lists[i]);
}

static void guanaco_rows(void **state)
{
    (void)state;
    static const size_t turns[] = {3, 3, 4, 5, 2, 3, 4, 3, 3, 3};
    struct lm_conversations list = {0};
    loam_error error;
    assert_ok(lm_conversations_read(test_shared("text/chat/guanaco_first10.jsonl"), &list, &error), &error);
    assert_int_equal(list.count, 10);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(list.items[i].count, turns[i]);
        for (size_t m = 0; m < turns[i]; m++)
            assert_int_equal(list.items[i].messages[m].role, m % 2 ? LM_ASSISTANT : LM_USER);
    }
    expect_message(&list.items[0], 2, LM_USER, "Now explain it to a dog");
    lm_conversations_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_forms_say_the_same),
        cmocka_unit_test(details_of_the_forms),
        cmocka_unit_test(an_array_counts_from_one),
        cmocka_unit_test(faults_are_named_with_their_place),
        cmocka_unit_test(a_missing_file_is_said),
        cmocka_unit_test(a_million_levels_are_refused),
        cmocka_unit_test(written_ones_read_back),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(four_files_of_the_same),
        cmocka_unit_test(guanaco_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
