#include "support/support.h"

#include <ctype.h>
#include <xxhash.h>

#include "data/data.h"

enum { CORPUS_BYTES = TEST_SANITIZED ? 1 << 19 : 3 << 20, CONVERSATIONS = TEST_SANITIZED ? 2000 : 12000 };

static struct lm_material *material;
static struct lm_bytes corpus, talk;

static int make_text(void **state)
{
    (void)state;
    loam_error error;
    assert_ok(lm_material_open(&material, &error), &error);
    assert_ok(lm_material_corpus(material, 5, CORPUS_BYTES, &corpus, &error), &error);
    assert_ok(lm_material_conversations(material, 5, CONVERSATIONS, &talk, &error), &error);
    return 0;
}

static int free_text(void **state)
{
    (void)state;
    lm_bytes_free(&corpus);
    lm_bytes_free(&talk);
    lm_material_close(material);
    return 0;
}

/* Every run of letters, in lower case, as a line of its own; and every run of single letters between other characters ("s t r a w" or
 * "s0 t0 r1") as if it were a word. */
static void fold_words(const struct lm_bytes *text, struct lm_bytes *words)
{
    char spelled[256];
    size_t run = 0;
    for (size_t at = 0; at < text->length;) {
        size_t end = at;
        while (end < text->length && isalpha((unsigned char)text->data[end]))
            end++;
        if (end > at) {
            for (size_t i = at; i < end; i++) {
                char c = (char)tolower((unsigned char)text->data[i]);
                assert_int_equal(lm_bytes_append(words, &c, 1, NULL), LOAM_OK);
            }
            lm_bytes_append(words, "\n", 1, NULL);
        }
        if (end == at + 1 && run < sizeof spelled) {
            spelled[run++] = (char)tolower((unsigned char)text->data[at]);
        } else if (end > at) {
            if (run > 1) {
                lm_bytes_append(words, spelled, run, NULL);
                lm_bytes_append(words, "\n", 1, NULL);
            }
            run = 0;
        }
        at = end > at ? end : at + 1;
    }
    lm_bytes_append(words, spelled, run, NULL);
    lm_bytes_append(words, "\n", 1, NULL);
}

/* All held-out words against all words at once: the distinct words are few. */
static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void expect_none_held_out(const struct lm_bytes *text)
{
    struct lm_bytes words = {0};
    fold_words(text, &words);
    size_t count = 0, distinct = 0;
    for (size_t i = 0; i < words.length; i++)
        count += words.data[i] == '\n';
    char **list = malloc(count * sizeof *list);
    count = 0;
    for (char *word = strtok(words.data, "\n"); word; word = strtok(NULL, "\n"))
        list[count++] = word;
    qsort(list, count, sizeof *list, by_text);
    for (size_t i = 0; i < count; i++)
        if (!i || strcmp(list[i], list[i - 1]))
            list[distinct++] = list[i];
    const char *held_out;
    for (size_t h = 0; (held_out = lm_material_held_out(material, h)); h++)
        for (size_t i = 0; i < distinct; i++)
            if (strlen(list[i]) >= strlen(held_out) && strstr(list[i], held_out))
                fail_msg("'%s' holds the held-out word '%s'", list[i], held_out);
    free(list);
    lm_bytes_free(&words);
}

static void held_out_words_stand_nowhere(void **state)
{
    (void)state;
    assert_string_equal(lm_material_held_out(material, 0), "strawberry");
    assert_null(strstr(corpus.data, "strawberr"));
    assert_null(strstr(talk.data, "strawberr"));
    expect_none_held_out(&corpus);
    expect_none_held_out(&talk);
}

/* The guard above must see a word that is there, written out or letter by letter. */
static void the_search_finds_what_is_there(void **state)
{
    (void)state;
    static const char *const texts[] = {"Some Strawberry jam", "two strawberryish", "x: s t r a w b e r r y.",
                                        "s0 t0 r1 a1 w1 b1 e1 r2 r3 y3. So 3."};
    for (size_t i = 0; i < 4; i++) {
        struct lm_bytes text = {0}, words = {0};
        lm_bytes_append(&text, texts[i], strlen(texts[i]), NULL);
        fold_words(&text, &words);
        assert_non_null(strstr(words.data, "strawberry"));
        lm_bytes_free(&text);
        lm_bytes_free(&words);
    }
}

/* Any two numbers of two digits with nothing but "+", "plus", "and", "get" or the like between them. */
static void expect_no_held_out_sum(const char *text, int *sums)
{
    static const char *const joints[] = {" + ", "+", " plus ", " and "};
    for (const char *at = text; *at; at++) {
        if (!isdigit((unsigned char)at[0]) || !isdigit((unsigned char)at[1]) || (at > text && isdigit((unsigned char)at[-1])))
            continue;
        for (size_t i = 0; i < sizeof joints / sizeof *joints; i++) {
            size_t length = strlen(joints[i]);
            const char *next = at + 2 + length;
            if (strncmp(at + 2, joints[i], length) || !isdigit((unsigned char)next[0]) || !isdigit((unsigned char)next[1]))
                continue;
            ++*sums;
            if (lm_material_held_out_sum(atoi(at), atoi(next)))
                fail_msg("a held-out sum: %.40s", at);
        }
    }
}

static void held_out_sums_stand_nowhere(void **state)
{
    (void)state;
    int sums = 0, pairs = 0;
    expect_no_held_out_sum(corpus.data, &sums);
    expect_no_held_out_sum(talk.data, &sums);
    assert_true(sums > CONVERSATIONS * 5 / 12);
    for (int a = 10; a < 100; a++)
        for (int b = 10; b < 100; b++) {
            pairs += lm_material_held_out_sum(a, b);
            assert_int_equal(lm_material_held_out_sum(a, b), lm_material_held_out_sum(b, a));
        }
    assert_in_range(pairs, 500, 1500);
}

static int count_letters(const char *prompt, const char *word, size_t length, char *letter)
{
    /* The letter stands alone between characters that are no letters ("r's": before an apostrophe). */
    int count = 0;
    *letter = 0;
    for (const char *at = prompt; *at; at++) {
        bool begins = at == prompt || !isalpha((unsigned char)at[-1]), ends = !isalpha((unsigned char)at[1]);
        bool is_plural = at > prompt && at[-1] == '\'';
        if (isalpha((unsigned char)*at) && begins && ends && !is_plural)
            *letter = *at;
    }
    for (size_t i = 0; i < length; i++)
        count += word[i] == *letter;
    return count;
}

static const char *held_out_in(const char *prompt)
{
    const char *word, *best = NULL;
    for (size_t i = 0; (word = lm_material_held_out(material, i)); i++)
        if (strstr(prompt, word) && (!best || strlen(word) > strlen(best)))
            best = word;
    return best;
}

static void questions_are_right_new_and_balanced(void **state)
{
    (void)state;
    struct lm_questions questions = {0};
    loam_error error;
    int counts[LM_SKILLS] = {0}, letters[16] = {0}, sums[200] = {0};
    assert_ok(lm_material_questions(material, 3, &questions, &error), &error);
    assert_string_equal(questions.items[0].prompt, "How many r's are in strawberry?");
    for (size_t i = 0; i < questions.count; i++) {
        const struct lm_question *question = &questions.items[i];
        int expected = atoi(question->expected), a, b;
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(question->prompt, questions.items[k].prompt);
        counts[question->skill]++;
        if (question->skill == LM_LETTERS) {
            const char *word = held_out_in(question->prompt);
            char letter;
            assert_non_null(word);
            assert_int_equal(count_letters(question->prompt, word, strlen(word), &letter), expected);
            letters[expected]++;
        } else if (question->skill == LM_ADDITION) {
            const char *at = question->prompt;
            a = (int)strtol(at + strcspn(at, "0123456789"), (char **)&at, 10);
            b = (int)strtol(at + strcspn(at, "0123456789"), NULL, 10);
            assert_int_equal(a + b, expected);
            assert_true(lm_material_held_out_sum(a, b));
            sums[expected]++;
        } else {
            assert_null(strstr(talk.data, question->prompt));
            assert_null(strstr(corpus.data, question->prompt));
        }
    }
    assert_true(counts[LM_LETTERS] >= 500);
    assert_true(counts[LM_ADDITION] >= 500);
    assert_true(counts[LM_FACTS] >= 90);
    for (int i = 0; i < 16; i++)
        assert_true(10 * letters[i] < 4 * counts[LM_LETTERS]);
    for (int i = 0; i < 200; i++)
        assert_true(20 * sums[i] < counts[LM_ADDITION]);
    lm_questions_free(&questions);
}

static void the_last_number_counts(void **state)
{
    (void)state;
    static const struct {
        enum lm_skill skill;
        const char *expected, *answer;
        bool right;
    } cases[] = {
        {LM_LETTERS, "3", "r0 r1 y3. So 3.", true},   {LM_LETTERS, "3", "3 at first, but 4", false},
        {LM_LETTERS, "3", "13", false},               {LM_LETTERS, "3", "It is 3 r's, I think.", true},
        {LM_LETTERS, "3", "", false},                 {LM_LETTERS, "3", "three", false},
        {LM_ADDITION, "103", "So 103.", true},        {LM_ADDITION, "103", "1 0 3", false},
        {LM_FACTS, "Paris", "It is Paris.", true},    {LM_FACTS, "Paris", "Paris is it.", false},
        {LM_FACTS, "Paris", "It is Parish", false},   {LM_FACTS, "4", "A dog has 4 legs.", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lm_question question = {cases[i].skill, "", (char *)cases[i].expected};
        assert_int_equal(lm_question_right(&question, cases[i].answer, strlen(cases[i].answer)), cases[i].right);
    }
}

static void a_seed_makes_the_same(void **state)
{
    (void)state;
    struct lm_bytes again = {0}, other = {0};
    loam_error error;
    assert_ok(lm_material_corpus(material, 5, 100000, &again, &error), &error);
    assert_memory_equal(again.data, corpus.data, 100000);
    assert_ok(lm_material_corpus(material, 6, 100000, &other, &error), &error);
    assert_memory_not_equal(again.data, other.data, 1000);
    again.length = other.length = 0;
    assert_ok(lm_material_conversations(material, 5, 500, &again, &error), &error);
    assert_memory_equal(again.data, talk.data, again.length);
    lm_bytes_free(&again);
    lm_bytes_free(&other);
}

static void conversations_read_back_with_rooms_among_them(void **state)
{
    (void)state;
    struct lm_conversations list = {0};
    loam_error error;
    size_t rooms = 0, passes = 0, answers = 0;
    assert_ok(lm_conversations_parse(talk.data, talk.length, "talk", &list, &error), &error);
    assert_int_equal(list.count, CONVERSATIONS);
    for (size_t i = 0; i < list.count; i++) {
        const struct lm_conversation *c = &list.items[i];
        bool room = false;
        assert_true(lm_conversation_answered(c));
        for (size_t k = 0; k < c->count; k++) {
            const struct lm_message *message = &c->messages[k];
            bool tagged = !strncmp(message->content, "👤[", 5) || !strncmp(message->content, "🤖[", 5);
            room |= tagged;
            assert_true(message->length > 0);
            if (message->role == LM_ASSISTANT) {
                assert_false(tagged);
                assert_int_equal(c->messages[k - 1].role, LM_USER);
                passes += !strcmp(message->content, "PASS");
                answers += room && strcmp(message->content, "PASS");
            }
        }
        rooms += room;
    }
    assert_in_range(rooms, CONVERSATIONS / 25, CONVERSATIONS / 5);
    assert_true(passes > CONVERSATIONS / 24 && answers > CONVERSATIONS / 24);
    lm_conversations_free(&list);
}

static int make_a_little(struct lm_bytes *text, struct lm_questions *questions, loam_error *error)
{
    int code = lm_material_corpus(material, 1, 500, text, error);
    if (!code)
        code = lm_material_conversations(material, 1, 5, text, error);
    return code ? code : lm_material_questions(material, 1, questions, error);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    int code = LOAM_ENOMEM;
    for (int64_t n = 1; code; n++) {
        struct lm_material *made = NULL;
        loam_error error;
        lm_memory_fail_after(n);
        code = lm_material_open(&made, &error);
        lm_memory_fail_after(-1);
        assert_true(code == LOAM_OK || (code == LOAM_ENOMEM && !made));
        lm_material_close(made);
    }
    code = LOAM_ENOMEM;
    for (int64_t n = 1; code; n += 1 + n / 50) {    /* the thousands of questions are alike: not every one's failure */
        struct lm_bytes text = {0};
        struct lm_questions questions = {0};
        loam_error error;
        lm_memory_fail_after(n);
        code = make_a_little(&text, &questions, &error);
        lm_memory_fail_after(-1);
        assert_true(code == LOAM_OK || (code == LOAM_ENOMEM && !questions.count));
        lm_questions_free(&questions);
        lm_bytes_free(&text);
    }
}

/* Whatever compiler built the library (GCC and Clang take arguments in different orders) and on every machine: the same bytes. A change of
 * the material changes these sums, and every figure of the quickstart with them. */
static void the_same_everywhere(void **state)
{
    (void)state;
    struct lm_bytes text = {0}, chats = {0};
    loam_error error;
    assert_ok(lm_material_corpus(material, 1, 1 << 16, &text, &error), &error);
    assert_ok(lm_material_conversations(material, 1, 200, &chats, &error), &error);
    assert_int_equal(XXH64(text.data, text.length, 0), UINT64_C(0xb33f1ce4daefab1f));
    assert_int_equal(XXH64(chats.data, chats.length, 0), UINT64_C(0x6f4543fbb263167c));
    lm_bytes_free(&text);
    lm_bytes_free(&chats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_out_words_stand_nowhere),
        cmocka_unit_test(the_search_finds_what_is_there),
        cmocka_unit_test(held_out_sums_stand_nowhere),
        cmocka_unit_test(questions_are_right_new_and_balanced),
        cmocka_unit_test(the_last_number_counts),
        cmocka_unit_test(a_seed_makes_the_same),
        cmocka_unit_test(the_same_everywhere),
        cmocka_unit_test(conversations_read_back_with_rooms_among_them),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, make_text, free_text);
}
