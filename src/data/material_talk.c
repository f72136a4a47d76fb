/* Greetings, small talk and short stories. */
#include "material_make.h"

static const char *const people[] = {
    "Ann", "Tom", "Mia", "Ben", "Eva", "Sam", "Lucy", "Paul", "Nina", "Jack", "Rosa", "Leo", "Emma", "Max", "Lena", "Oskar", "Ida",
    "Karl", "Sofia", "Hugo", "Clara", "David", "Zoe", "Felix",
};
static const char *const ais[] = {
    "Robin", "Ada", "Basil", "Juno", "Orion", "Pixel", "Sage", "Echo", "Nova", "Quill", "Loam", "Fern", "Atlas", "Iris", "Byte",
    "Willow",
};

const char *lm_name_of_person(struct lm_maker *m)
{
    return LM_ANY(m, people);
}

const char *lm_name_of_ai(struct lm_maker *m)
{
    return LM_ANY(m, ais);
}

enum { MOST_LINES = 6 };
/* Any of the asked may be answered by any of the answers. */
static const struct {
    const char *asked[MOST_LINES], *answers[MOST_LINES];
} talk[] = {
    {{"Hello!", "Hi!", "Hello there.", "Hey!", "hello", "hi"},
     {"Hello! How can I help you?", "Hi! What would you like to know?", "Hello! It is nice to meet you.", "Hi there! Ask me anything small."}},
    {{"Good morning!", "Good morning to you.", "Morning!"}, {"Good morning! I hope you slept well.", "Good morning! What shall we do today?"}},
    {{"Good evening.", "Good evening!"}, {"Good evening! How was your day?", "Good evening! Nice to see you."}},
    {{"How are you?", "How are you today?", "How do you do?", "how are you"},
     {"I am well, thank you. And you?", "I am fine, thanks for asking.", "Very well, thank you! How are you?"}},
    {{"I am fine.", "I am well, thanks.", "I feel good today."}, {"I am glad to hear that.", "That is good to hear!"}},
    {{"I am sad.", "I feel bad today.", "I had a bad day."},
     {"I am sorry to hear that. Do you want to hear a story?", "I am sorry. I hope it will be better soon."}},
    {{"I am tired.", "I am so tired today."}, {"Then rest a little. The work can wait.", "A short sleep may help you."}},
    {{"Who are you?", "What are you?", "What is your name?", "who are you", "Tell me about yourself."},
     {"I am a small language model, grown with loam.", "I am a little model that was trained on this machine."}},
    {{"What can you do?", "What do you know?", "How can you help me?"},
     {"I can count letters, add numbers, spell words, tell stories and name a few facts.",
      "I can add two numbers, count the letters of a word, and tell you a short story."}},
    {{"Are you a human?", "Are you a person?", "Are you real?"}, {"No, I am a small language model.", "No, I am a program that learned to talk."}},
    {{"Do you sleep?", "Do you eat?", "Do you dream?"}, {"No, I am a program, but I like to hear about it.", "No, only people and animals do that."}},
    {{"Thank you!", "Thanks a lot.", "Thanks!", "Thank you very much.", "thanks"},
     {"You are welcome!", "My pleasure.", "You are welcome. Ask me again any time."}},
    {{"Bye!", "Goodbye.", "See you later.", "bye"}, {"Goodbye! It was nice to talk to you.", "Bye! See you soon."}},
    {{"Good night.", "Good night!"}, {"Good night! Sleep well.", "Good night, and sweet dreams."}},
    {{"Do you like music?", "Do you like books?", "Do you like tea?", "Do you like rain?"},
     {"I like to talk about it. Do you like it?", "I think it is lovely. And you?"}},
    {{"What is the weather like?", "Is it raining?", "Is the sun out?"}, {"I cannot see the sky from here. Can you look outside?"}},
    {{"Tell me a joke.", "Say something funny.", "Make me laugh."},
     {"Why did the fish cross the sea? To get to the other tide.", "What do you call a bear in the rain? A wet bear."}},
    {{"Can you help me?", "I need help.", "Help me please."}, {"Of course. What do you need?", "Yes, gladly. What is it?"}},
    {{"You are clever.", "Well done!", "Good job.", "That is right."}, {"Thank you, you are kind.", "Thank you! I do my best."}},
    {{"That is wrong.", "You are wrong.", "No, that is not right."}, {"I am sorry. Let us try it again.", "I am sorry. I am still small and make mistakes."}},
    {{"I love you.", "I like you."}, {"That is kind of you.", "Thank you! I like to talk with you."}},
    {{"Yes.", "Yes please.", "No.", "Maybe.", "ok", "Okay."}, {"All right. What shall we do next?", "Good. Ask me whatever you like."}},
};

static size_t filled(const char *const lines[MOST_LINES])
{
    size_t count = 0;
    while (count < MOST_LINES && lines[count])
        count++;
    return count;
}

void lm_task_talk(struct lm_maker *m, struct lm_exchange *x)
{
    size_t which = lm_pick(m, sizeof talk / sizeof *talk);
    lm_ask(m, x, "%s", talk[which].asked[lm_pick(m, filled(talk[which].asked))]);
    lm_answer(m, x, "%s", talk[which].answers[lm_pick(m, filled(talk[which].answers))]);
}

static const char *const animals[] = {"cat", "dog", "fox", "owl", "bear", "frog", "duck", "goat", "pony", "hen", "mouse", "lamb"};
static const char *const looks[] = {"little", "old", "brown", "white", "small", "young", "gray", "black", "shy", "happy", "lazy"};
static const char *const places[] = {"forest", "river", "hill", "lake", "farm", "house", "town", "sea", "park", "mill", "barn"};
static const char *const things[] = {"ball", "hat", "key", "book", "coat", "boat", "cake", "bell", "map", "ring", "kite", "shoe"};
static const char *const feelings[] = {"happy", "glad", "proud", "tired", "calm"};
static const char *const times[] = {"One day", "One night", "One cold day", "Early in the day", "On a warm day", "Late in the day"};

static void story_of_loss(struct lm_maker *m, struct lm_exchange *x, const char *animal)
{
    const char *name = lm_name_of_person(m), *look = LM_ANY(m, looks), *thing = LM_ANY(m, things), *place = LM_ANY(m, places);
    lm_answer(m, x, "%s had a %s %s. ", name, look, animal);
    lm_answer(m, x, "%s, the %s lost a %s near the %s. ", LM_ANY(m, times), animal, thing, place);
    lm_answer(m, x, "They looked here and they looked there. ");
    lm_answer(m, x, "At last %s saw the %s by the %s. ", name, thing, LM_ANY(m, places));
    lm_answer(m, x, "The %s was %s, and they went home.", animal, LM_ANY(m, feelings));
}

static void story_of_friends(struct lm_maker *m, struct lm_exchange *x, const char *animal)
{
    const char *other = LM_ANY(m, animals), *place = LM_ANY(m, places);
    lm_answer(m, x, "Once there was a %s %s who lived by the %s. ", LM_ANY(m, looks), animal, place);
    const char *look = LM_ANY(m, looks), *time = LM_ANY(m, times);
    lm_answer(m, x, "The %s wanted a friend. %s, a %s %s came to the %s. ", animal, time, look, other, place);
    lm_answer(m, x, "It had a %s. \"Do you want to play with me?\" it said. ", LM_ANY(m, things));
    lm_answer(m, x, "From that day on they were friends, and both were %s.", LM_ANY(m, feelings));
}

static void story_of_trip(struct lm_maker *m, struct lm_exchange *x, const char *animal)
{
    const char *name = lm_name_of_person(m), *place = LM_ANY(m, places), *thing = LM_ANY(m, things);
    lm_answer(m, x, "%s and a %s went to the %s. ", name, animal, place);
    lm_answer(m, x, "They took a %s with them. On the way it began to rain. ", thing);
    lm_answer(m, x, "\"We can hide in the %s,\" said %s. ", LM_ANY(m, places), name);
    const char *feeling = LM_ANY(m, feelings), *found = LM_ANY(m, things);
    lm_answer(m, x, "When the sun came back, the %s found a %s. They were %s all the way home.", animal, found, feeling);
}

void lm_task_story(struct lm_maker *m, struct lm_exchange *x)
{
    static const char *const plain[] = {"Tell me a story.", "Do you know a story?", "Can you tell me a story?"};
    static void (*const stories[])(struct lm_maker *, struct lm_exchange *, const char *) = {story_of_loss, story_of_friends,
                                                                                           story_of_trip};
    const char *animal = LM_ANY(m, animals);
    if (lm_chance(m, 0.5))
        lm_ask(m, x, "%s", LM_ANY(m, plain));
    else
        lm_ask(m, x, lm_chance(m, 0.5) ? "Tell me a story about a %s." : "Tell me a short story with a %s in it.", animal);
    stories[lm_pick(m, 3)](m, x, animal);
}
