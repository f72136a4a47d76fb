/* Facts in a table. */
#include "material_make.h"

enum { CAPITAL, COLOR, YOUNG, SOUND, OPPOSITE, LEGS };

/* Every wording has the subject once; the answer says subject and answer, the answer last. */
static const char *const wordings[][LM_FACT_WORDINGS] = {
    [CAPITAL] = {"What is the capital of %s?", "Which city is the capital of %s?", "Name the capital of %s.",
                 "Tell me the capital of %s.", "Do you know the capital of %s?"},
    [COLOR] = {"What color is %s?", "Which color does %s have?", "Tell me the color of %s.", "Name the color of %s.",
               "Do you know what color %s is?"},
    [YOUNG] = {"What is a young %s called?", "How do you call a young %s?", "Name the young of a %s.",
               "Tell me what a young %s is called.", "Do you know what a young %s is called?"},
    [SOUND] = {"What does a %s say?", "Which sound does a %s make?", "Name the sound of a %s.", "Tell me what a %s says.",
               "Do you know what a %s says?"},
    [OPPOSITE] = {"What is the opposite of %s?", "Which word is the opposite of %s?", "Name the opposite of %s.",
                  "Tell me the opposite of %s.", "Do you know the opposite of %s?"},
    [LEGS] = {"How many legs does a %s have?", "What is the number of legs of a %s?", "Name the number of legs of a %s.",
              "Tell me how many legs a %s has.", "Do you know how many legs a %s has?"},
};

static const char *const answers[] = {
    [CAPITAL] = "The capital of %s is %s.", [COLOR] = "The color of %s is %s.", [YOUNG] = "A young %s is called a %s.",
    [SOUND] = "A %s says %s.", [OPPOSITE] = "The opposite of %s is %s.", [LEGS] = "The number of legs of a %s is %s.",
};

const struct lm_fact lm_facts[] = {
    {CAPITAL, "France", "Paris"}, {CAPITAL, "Germany", "Berlin"}, {CAPITAL, "Italy", "Rome"}, {CAPITAL, "Spain", "Madrid"},
    {CAPITAL, "Portugal", "Lisbon"}, {CAPITAL, "Austria", "Vienna"}, {CAPITAL, "Poland", "Warsaw"}, {CAPITAL, "Greece", "Athens"},
    {CAPITAL, "Norway", "Oslo"}, {CAPITAL, "Sweden", "Stockholm"}, {CAPITAL, "Finland", "Helsinki"},
    {CAPITAL, "Denmark", "Copenhagen"}, {CAPITAL, "Ireland", "Dublin"}, {CAPITAL, "England", "London"},
    {CAPITAL, "Hungary", "Budapest"}, {CAPITAL, "Russia", "Moscow"}, {CAPITAL, "Turkey", "Ankara"}, {CAPITAL, "Egypt", "Cairo"},
    {CAPITAL, "Kenya", "Nairobi"}, {CAPITAL, "Japan", "Tokyo"}, {CAPITAL, "China", "Beijing"}, {CAPITAL, "India", "Delhi"},
    {CAPITAL, "Canada", "Ottawa"}, {CAPITAL, "Cuba", "Havana"}, {CAPITAL, "Peru", "Lima"}, {CAPITAL, "Chile", "Santiago"},
    {CAPITAL, "Brazil", "Brasilia"}, {CAPITAL, "Australia", "Canberra"},
    {COLOR, "grass", "green"}, {COLOR, "snow", "white"}, {COLOR, "coal", "black"}, {COLOR, "the sky", "blue"},
    {COLOR, "a ripe tomato", "red"}, {COLOR, "a lemon", "yellow"}, {COLOR, "chocolate", "brown"}, {COLOR, "a carrot", "orange"},
    {COLOR, "a flamingo", "pink"}, {COLOR, "an elephant", "gray"}, {COLOR, "milk", "white"}, {COLOR, "a raven", "black"},
    {COLOR, "the sun", "yellow"}, {COLOR, "a frog", "green"}, {COLOR, "blood", "red"}, {COLOR, "the sea", "blue"},
    {YOUNG, "dog", "puppy"}, {YOUNG, "cat", "kitten"}, {YOUNG, "cow", "calf"}, {YOUNG, "horse", "foal"}, {YOUNG, "sheep", "lamb"},
    {YOUNG, "goat", "kid"}, {YOUNG, "duck", "duckling"}, {YOUNG, "hen", "chick"}, {YOUNG, "bear", "cub"}, {YOUNG, "deer", "fawn"},
    {YOUNG, "frog", "tadpole"}, {YOUNG, "goose", "gosling"},
    {SOUND, "dog", "woof"}, {SOUND, "cat", "meow"}, {SOUND, "cow", "moo"}, {SOUND, "sheep", "baa"}, {SOUND, "duck", "quack"},
    {SOUND, "lion", "roar"}, {SOUND, "horse", "neigh"}, {SOUND, "pig", "oink"}, {SOUND, "bee", "buzz"}, {SOUND, "owl", "hoot"},
    {SOUND, "snake", "hiss"}, {SOUND, "frog", "croak"},
    {OPPOSITE, "big", "small"}, {OPPOSITE, "hot", "cold"}, {OPPOSITE, "fast", "slow"}, {OPPOSITE, "old", "new"},
    {OPPOSITE, "good", "bad"}, {OPPOSITE, "day", "night"}, {OPPOSITE, "up", "down"}, {OPPOSITE, "left", "right"},
    {OPPOSITE, "wet", "dry"}, {OPPOSITE, "full", "empty"}, {OPPOSITE, "open", "closed"}, {OPPOSITE, "rich", "poor"},
    {OPPOSITE, "hard", "soft"}, {OPPOSITE, "loud", "quiet"}, {OPPOSITE, "early", "late"}, {OPPOSITE, "light", "dark"},
    {OPPOSITE, "long", "short"}, {OPPOSITE, "happy", "sad"}, {OPPOSITE, "win", "lose"}, {OPPOSITE, "first", "last"},
    {LEGS, "dog", "4"}, {LEGS, "bird", "2"}, {LEGS, "spider", "8"}, {LEGS, "bee", "6"}, {LEGS, "snake", "0"}, {LEGS, "horse", "4"},
    {LEGS, "fish", "0"}, {LEGS, "ant", "6"}, {LEGS, "hen", "2"}, {LEGS, "crab", "10"}, {LEGS, "cow", "4"}, {LEGS, "frog", "4"},
};
const size_t lm_fact_count = sizeof lm_facts / sizeof *lm_facts;

void lm_ask_fact(struct lm_maker *m, size_t fact, bool held_out, struct lm_exchange *x)
{
    const struct lm_fact *f = &lm_facts[fact];
    size_t kept = fact % LM_FACT_WORDINGS;    /* this fact is never asked in this wording */
    size_t wording = held_out ? kept : (kept + 1 + lm_pick(m, LM_FACT_WORDINGS - 1)) % LM_FACT_WORDINGS;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    lm_ask(m, x, wordings[f->relation][wording], f->subject);
    lm_answer(m, x, answers[f->relation], f->subject, f->answer);
#pragma GCC diagnostic pop
}

void lm_task_fact(struct lm_maker *m, struct lm_exchange *x)
{
    lm_ask_fact(m, lm_pick(m, lm_fact_count), false, x);
}
