/* Conversations of a room: several people and several AIs, one of which is the assistant. Everyone else's words are user turns with a
 * tag in front, several of them in one turn where nobody waited; the assistant's own have none. It answers what is said to it or to
 * all, and passes where another is meant or where all has been said. */
#include "material_make.h"

#include <stdio.h>
#include <string.h>

#define PERSON "👤[%s] "
#define AI "🤖[%s] "

struct room {
    struct lm_maker *m;
    struct lm_conversation *conversation;
    const char *me, *others[2], *people[2];
    struct lm_exchange task;
    struct lm_bytes turn;
};

static void write_turn(struct room *r, enum lm_role role, const char *text, size_t length)
{
    if (!r->m->code)
        r->m->code = lm_conversation_add(r->conversation, role, text, length, r->m->error);
}

/* What was said since the assistant's last turn becomes one user turn; then the assistant's. */
static void answer(struct room *r, const char *text, size_t length)
{
    write_turn(r, LM_USER, r->turn.data ? r->turn.data : "", r->turn.length);
    r->turn.length = 0;
    write_turn(r, LM_ASSISTANT, text, length);
}

static void pass(struct room *r)
{
    answer(r, "PASS", 4);
}

static void new_line(struct room *r)
{
    if (r->turn.length)
        lm_say(r->m, "\n");
}

static void draw_task(struct room *r)
{
    static void (*const tasks[])(struct lm_maker *, struct lm_exchange *) = {lm_task_letters, lm_task_addition, lm_task_fact,
                                                                             lm_task_talk, lm_task_fact, lm_task_story};
    r->task.ask.length = r->task.answer.length = 0;
    tasks[lm_pick(r->m, sizeof tasks / sizeof *tasks)](r->m, &r->task);
}

static void task_asked(struct room *r, const char *to)
{
    draw_task(r);
    new_line(r);
    lm_say(r->m, PERSON, r->people[lm_pick(r->m, 2)]);
    if (to)
        lm_say(r->m, lm_chance(r->m, 0.5) ? "%s, " : "@%s ", to);
    if (r->task.ask.length)
        lm_say(r->m, "%s", r->task.ask.data);
}

static void other_answers(struct room *r, const char *name)
{
    new_line(r);
    lm_say(r->m, AI, name);
    if (r->task.answer.length)
        lm_say(r->m, "%s", r->task.answer.data);
}

static void asked_to_me(struct room *r)
{
    task_asked(r, r->me);
    answer(r, r->task.answer.data, r->task.answer.length);
}

static void asked_to_all(struct room *r)
{
    task_asked(r, lm_chance(r->m, 0.5) ? "everyone" : NULL);
    answer(r, r->task.answer.data, r->task.answer.length);
}

static void asked_to_other(struct room *r)
{
    const char *other = r->others[lm_pick(r->m, 2)];
    task_asked(r, other);
    if (lm_chance(r->m, 0.5))
        other_answers(r, other);
    pass(r);
}

/* Another was faster: nothing is left to say. */
static void answered_already(struct room *r)
{
    task_asked(r, lm_chance(r->m, 0.5) ? "everyone" : NULL);
    other_answers(r, r->others[lm_pick(r->m, 2)]);
    pass(r);
}

static void greeted(struct room *r)
{
    static const char *const greetings[] = {"Hello everyone!", "Hi all!", "Good morning, everyone!", "Hello, who is here?"};
    static const char *const replies[] = {"Hello %s! It is good to see you.", "Hi %s! %s is here too.", "Hello %s, I am %s."};
    const char *person = r->people[lm_pick(r->m, 2)];
    char text[128];
    new_line(r);
    lm_say(r->m, PERSON "%s", person, LM_ANY(r->m, greetings));
    if (lm_chance(r->m, 0.5)) {
        new_line(r);
        lm_say(r->m, AI "Hello %s!", r->others[0], person);
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
    int length = snprintf(text, sizeof text, LM_ANY(r->m, replies), person, r->me);
#pragma GCC diagnostic pop
    answer(r, text, (size_t)length);
}

static void people_talk(struct room *r)
{
    static const char *const lines[] = {"I will be back soon.", "I am going home now.", "%s, did you see my book?",
                                        "%s, shall we have lunch?", "Let me think about it.", "%s, that was funny!"};
    const char *speaker = r->people[0], *listener = r->people[1];
    new_line(r);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    lm_say(r->m, PERSON, speaker);
    lm_say(r->m, LM_ANY(r->m, lines), listener);
#pragma GCC diagnostic pop
    pass(r);
}

static void introduce(struct room *r)
{
    static const char *const characters[] = {"cheerful", "calm", "curious", "friendly", "shy", "proud", "helpful", "short"};
    struct lm_bytes *out = r->m->out;
    lm_say(r->m, "You are %s", r->me);
    if (lm_chance(r->m, 0.5))
        lm_say(r->m, ", a %s AI", LM_ANY(r->m, characters));
    lm_say(r->m, " in a room with %s, %s, %s and %s. ", r->people[0], r->people[1], r->others[0], r->others[1]);
    lm_say(r->m, lm_chance(r->m, 0.5) ? "Answer what is said to you or to all, else say PASS."
                                      : "If you have nothing to add, say only PASS.");
    write_turn(r, LM_SYSTEM, out->data ? out->data : "", out->length);
    out->length = 0;
}

static void draw_names(struct room *r)
{
    r->me = lm_name_of_ai(r->m);
    do
        r->others[0] = lm_name_of_ai(r->m);
    while (r->others[0] == r->me);
    do
        r->others[1] = lm_name_of_ai(r->m);
    while (r->others[1] == r->me || r->others[1] == r->others[0]);
    r->people[0] = lm_name_of_person(r->m);
    do
        r->people[1] = lm_name_of_person(r->m);
    while (r->people[1] == r->people[0]);
}

void lm_make_room(struct lm_maker *m, struct lm_conversation *conversation)
{
    static void (*const scenes[])(struct room *) = {asked_to_me, asked_to_me, asked_to_all, asked_to_all, asked_to_other,
                                                    asked_to_other, answered_already, greeted, people_talk};
    struct room r = {.m = m, .conversation = conversation};
    struct lm_bytes *before = m->out;
    m->out = &r.turn;
    draw_names(&r);
    introduce(&r);
    size_t count = 2 + lm_pick(m, 4);
    for (size_t i = 0; i < count && !m->code; i++)
        LM_ANY(m, scenes)(&r);
    m->out = before;
    lm_bytes_free(&r.turn);
    lm_bytes_free(&r.task.ask);
    lm_bytes_free(&r.task.answer);
}
