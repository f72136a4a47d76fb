/* The corpus, the conversations and the questions, put together from the parts. */
#include "material_make.h"

#include <stdio.h>
#include <string.h>

enum { STREAM_CORPUS = 11, STREAM_CONVERSATIONS, STREAM_QUESTIONS };
enum { LETTER_QUESTIONS = 600, SUM_QUESTIONS = 600 };

typedef void lm_task(struct lm_maker *, struct lm_exchange *);
struct share {
    lm_task *task;
    double share;
};

/* How the corpus and the conversations are mixed: shares of documents and exchanges. */
static const struct share corpus_mix[] = {
    {lm_task_letters, 0.46}, {lm_task_spelling, 0.16}, {lm_task_addition, 0.22}, {lm_task_fact, 0.06}, {lm_task_talk, 0.05},
    {lm_task_story, 0.05}, {NULL, 0},
};
static const struct share talk_mix[] = {
    {lm_task_letters, 0.52}, {lm_task_spelling, 0.04}, {lm_task_addition, 0.22}, {lm_task_fact, 0.09}, {lm_task_talk, 0.09},
    {lm_task_story, 0.04}, {NULL, 0},
};
static const double share_of_rooms = 0.05;

static struct lm_maker begin(const struct lm_material *material, uint64_t seed, uint64_t stream, struct lm_bytes *out,
                             loam_error *error)
{
    return (struct lm_maker){material, lm_random_seed(seed, stream), out, error, LOAM_OK};
}

static void clear(struct lm_exchange *x)
{
    x->ask.length = x->answer.length = 0;
}

static void free_exchange(struct lm_exchange *x)
{
    lm_bytes_free(&x->ask);
    lm_bytes_free(&x->answer);
}

static void draw(struct lm_maker *m, const struct share *mix, struct lm_exchange *x)
{
    double at = lm_random_unit(&m->random);
    const struct share *chosen = mix;
    while (chosen[1].task && at >= chosen->share)
        at -= chosen++->share;
    clear(x);
    chosen->task(m, x);
}

int lm_material_corpus(const struct lm_material *material, uint64_t seed, size_t size, struct lm_bytes *text, loam_error *error)
{
    struct lm_maker m = begin(material, seed, STREAM_CORPUS, text, error);
    struct lm_exchange x = {0};
    size_t end = text->length + size;
    while (!m.code && text->length < end) {
        draw(&m, corpus_mix, &x);
        if (!m.code && lm_chance(&m, 0.5))
            lm_say(&m, "%s\n", x.ask.data);
        if (!m.code)
            lm_say(&m, "%s\n\n", x.answer.data);
    }
    free_exchange(&x);
    return m.code;
}

static void make_talk(struct lm_maker *m, struct lm_exchange *x, struct lm_conversation *conversation)
{
    static const char *const systems[] = {"You are a helpful assistant.", "You are a friendly assistant.", "Answer the questions.",
                                          "You are loam, a small language model."};
    static const int exchanges[] = {1, 1, 1, 1, 2, 2, 3, 4, 6, 9};    /* long ones too, so that a chat may go on */
    if (lm_chance(m, 0.15)) {
        const char *text = LM_ANY(m, systems);
        m->code = lm_conversation_add(conversation, LM_SYSTEM, text, strlen(text), m->error);
    }
    for (int left = LM_ANY(m, exchanges); left && !m->code; left--) {
        draw(m, talk_mix, x);
        if (!m->code)
            m->code = lm_conversation_add(conversation, LM_USER, x->ask.data, x->ask.length, m->error);
        if (!m->code)
            m->code = lm_conversation_add(conversation, LM_ASSISTANT, x->answer.data, x->answer.length, m->error);
    }
}

int lm_material_conversations(const struct lm_material *material, uint64_t seed, size_t count, struct lm_bytes *jsonl,
                              loam_error *error)
{
    struct lm_maker m = begin(material, seed, STREAM_CONVERSATIONS, NULL, error);
    struct lm_exchange x = {0};
    for (size_t i = 0; i < count && !m.code; i++) {
        struct lm_conversation conversation = {0};
        if (lm_chance(&m, share_of_rooms))
            lm_make_room(&m, &conversation);
        else
            make_talk(&m, &x, &conversation);
        if (!m.code)
            m.code = lm_conversation_write(&conversation, jsonl, error);
        lm_conversation_free(&conversation);
    }
    free_exchange(&x);
    return m.code;
}

const char *lm_skill_name(enum lm_skill skill)
{
    static const char *const names[] = {"letter_counting", "addition", "facts"};
    return names[skill];
}

static void add_question(struct lm_maker *m, struct lm_questions *questions, enum lm_skill skill, const char *prompt,
                         const char *expected)
{
    if (!m->code && questions->count == questions->capacity) {
        size_t capacity = questions->capacity ? 2 * questions->capacity : 256;
        struct lm_question *items = lm_resize(questions->items, capacity, sizeof *items, m->error);
        if (items) {
            questions->items = items;
            questions->capacity = capacity;
        }
        m->code = items ? LOAM_OK : LOAM_ENOMEM;
    }
    if (m->code)
        return;
    struct lm_question question = {skill, lm_copy_string(prompt, strlen(prompt), m->error), NULL};
    if (question.prompt)
        question.expected = lm_copy_string(expected, strlen(expected), m->error);
    if (!question.expected) {
        lm_free(question.prompt);
        m->code = LOAM_ENOMEM;
        return;
    }
    questions->items[questions->count++] = question;
}

static void add_number(struct lm_maker *m, struct lm_questions *questions, enum lm_skill skill, const struct lm_exchange *x,
                       int expected)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%d", expected);
    if (!m->code)
        add_question(m, questions, skill, x->ask.data, digits);
}

struct asked {
    const char *word;
    char letter;
};

static bool was_asked(const struct asked *asked, size_t count, const char *word, char letter)
{
    for (size_t i = 0; i < count; i++)
        if (asked[i].word == word && asked[i].letter == letter)
            return true;
    return false;
}

/* Of twenty questions three should have the answer 0, six 1, six 2, four 3 and one 4; where no word is left for a
 * count, 3 or 0 takes its place. Two of five ask about made-up words. */
static void letter_questions(struct lm_maker *m, struct lm_exchange *x, struct lm_questions *questions)
{
    static const int wanted[] = {2, 1, 0, 3, 1, 2, 2, 1, 3, 0, 1, 2, 1, 2, 3, 1, 2, 0, 3, 4};
    const struct lm_material *material = m->material;
    struct asked asked[LETTER_QUESTIONS] = {{lm_words_held_out[0], 'r'}};
    add_question(m, questions, LM_LETTERS, "How many r's are in strawberry?", "3");
    for (size_t i = 1; i < LETTER_QUESTIONS && !m->code; i++) {
        const char *word = "";
        char letter = 0;
        int times = wanted[i % (sizeof wanted / sizeof *wanted)];
        for (int tries = 0; !letter || was_asked(asked, i, word, letter); tries++) {
            size_t real = material->held_out_count;
            word = lm_material_held_out(material, i % 5 < 2 ? real + lm_pick(m, material->made_up_count) : lm_pick(m, real));
            letter = lm_letter_with(m, word, times);
            /* Few words have a letter so often, and all of those were asked. */
            times = tries == 1000 ? 3 : tries == 2000 ? 0 : times;
        }
        asked[i] = (struct asked){word, letter};
        clear(x);
        lm_ask_letters(m, word, letter, x);
        add_number(m, questions, LM_LETTERS, x, times);
    }
}

/* No sum twice; one with its numbers the other way round is another. */
static void sum_questions(struct lm_maker *m, struct lm_exchange *x, struct lm_questions *questions)
{
    bool asked[100][100] = {{false}};
    for (size_t i = 0; i < SUM_QUESTIONS && !m->code; i++) {
        int a, b;
        do {
            a = 10 + (int)lm_pick(m, 90);
            b = 10 + (int)lm_pick(m, 90);
        } while (asked[a][b] || !lm_material_held_out_sum(a, b));
        asked[a][b] = true;
        clear(x);
        lm_ask_addition(m, a, b, x);
        add_number(m, questions, LM_ADDITION, x, a + b);
    }
}

int lm_material_questions(const struct lm_material *material, uint64_t seed, struct lm_questions *questions, loam_error *error)
{
    struct lm_maker m = begin(material, seed, STREAM_QUESTIONS, NULL, error);
    struct lm_exchange x = {0};
    letter_questions(&m, &x, questions);
    sum_questions(&m, &x, questions);
    for (size_t i = 0; i < lm_fact_count && !m.code; i++) {
        clear(&x);
        lm_ask_fact(&m, i, true, &x);
        if (!m.code)
            add_question(&m, questions, LM_FACTS, x.ask.data, lm_facts[i].answer);
    }
    free_exchange(&x);
    if (m.code)
        lm_questions_free(questions);
    return m.code;
}

void lm_questions_free(struct lm_questions *questions)
{
    for (size_t i = 0; i < questions->count; i++) {
        lm_free(questions->items[i].prompt);
        lm_free(questions->items[i].expected);
    }
    lm_free(questions->items);
    *questions = (struct lm_questions){0};
}

static bool belongs(char c, bool number)
{
    bool digit = c >= '0' && c <= '9', letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return digit || (!number && letter);
}

bool lm_question_right(const struct lm_question *question, const char *answer, size_t length)
{
    bool number = question->expected[0] >= '0' && question->expected[0] <= '9';
    size_t end = length, wanted = strlen(question->expected);
    while (end && !belongs(answer[end - 1], number))
        end--;
    size_t begin = end;
    while (begin && belongs(answer[begin - 1], number))
        begin--;
    return end - begin == wanted && !memcmp(answer + begin, question->expected, wanted);
}
