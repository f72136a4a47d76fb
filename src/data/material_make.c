/* Words, and the maker's pen. */
#include "material_make.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum {
    SHORTEST_HELD_OUT = 5,
    MADE_UP = 400,                 /* held-out words that are none */
    MADE_UP_SEED = 20261123,       /* theirs: the same for every training seed */
};

size_t lm_pick(struct lm_maker *m, size_t count)
{
    return (size_t)lm_random_below(&m->random, count);
}

bool lm_chance(struct lm_maker *m, double probability)
{
    return lm_random_unit(&m->random) < probability;
}

static void write_list(struct lm_maker *m, struct lm_bytes *out, const char *format, va_list arguments)
{
    char text[2048];
    int length = lm_format_list(text, sizeof text, format, arguments);
    if (!m->code)
        m->code = lm_bytes_append(out, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1, m->error);
}

void lm_say(struct lm_maker *m, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_list(m, m->out, format, arguments);
    va_end(arguments);
}

void lm_ask(struct lm_maker *m, struct lm_exchange *x, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_list(m, &x->ask, format, arguments);
    va_end(arguments);
}

void lm_answer(struct lm_maker *m, struct lm_exchange *x, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_list(m, &x->answer, format, arguments);
    va_end(arguments);
}

static const char *const onsets[] = {
    "", "", "", "", "b", "bl", "br", "c", "ch", "cl", "cr", "d", "dr", "f", "fl", "fr", "g", "gl", "gr", "h", "j", "k", "l", "m",
    "n", "p", "pl", "pr", "qu", "r", "s", "sc", "sh", "sl", "sm", "sn", "sp", "st", "str", "t", "th", "tr", "v", "w", "wh", "y", "z",
    /* rare letters again: each must be counted often enough to be learned */
    "qu", "z", "z", "j", "v", "k", "x", "y", "squ", "w",
};
static const char *const nuclei[] = {
    "a", "e", "i", "o", "u", "a", "e", "i", "o", "ai", "ea", "ee", "ie", "oa", "oo", "ou", "y",
};
static const char *const codas[] = {
    "", "", "", "", "", "", "", "", "b", "ck", "d", "ft", "g", "l", "ll", "m", "mp", "n", "nd", "ng", "nt", "p", "pp", "r", "rd",
    "rn", "rr", "s", "ss", "st", "t", "tt", "x",
    "zz", "z", "x", "k", "v", "que", "w", "f", "ff",
};

static const char *any(struct lm_random *random, const char *const *list, size_t count)
{
    return list[lm_random_below(random, count)];
}

static void from_syllables(struct lm_random *random, char word[LM_WORD_MOST])
{
    size_t syllables = 1 + lm_random_below(random, 4), length = 0;
    for (size_t i = 0; i < syllables; i++) {
        char piece[8];
        const char *coda = any(random, codas, sizeof codas / sizeof *codas);
        const char *nucleus = any(random, nuclei, sizeof nuclei / sizeof *nuclei);
        const char *onset = any(random, onsets, sizeof onsets / sizeof *onsets);
        int size = snprintf(piece, sizeof piece, "%s%s%s", onset, nucleus, coda);
        if (length + (size_t)size > 13)
            break;
        memcpy(word + length, piece, (size_t)size);
        length += (size_t)size;
    }
    word[length] = 0;
}

/* The beginning of one word and the end of another. */
static void from_halves(struct lm_random *random, size_t words, char word[LM_WORD_MOST])
{
    const char *head = any(random, lm_words_training, words), *tail = any(random, lm_words_training, words);
    size_t take = 1 + lm_random_below(random, strlen(head)), skip = lm_random_below(random, strlen(tail));
    snprintf(word, 14, "%.*s%s", (int)take, head, tail + skip);
}

static size_t count_words(const char *const *words)
{
    size_t count = 0;
    while (words[count])
        count++;
    return count;
}

void lm_make_up(struct lm_random *random, char word[LM_WORD_MOST])
{
    if (lm_random_below(random, 2))
        from_syllables(random, word);
    else
        from_halves(random, count_words(lm_words_training), word);
}

void lm_make_word(struct lm_maker *m, char word[LM_WORD_MOST])
{
    do {
        if (lm_chance(m, 0.35)) {
            snprintf(word, LM_WORD_MOST, "%s", lm_words_training[lm_pick(m, m->material->training_count)]);
            return;
        }
        if (lm_chance(m, 0.5))
            from_syllables(&m->random, word);
        else
            from_halves(&m->random, m->material->training_count, word);
    } while (lm_is_banned(m->material, word));
}

int lm_count_letter(const char *word, char letter)
{
    int count = 0;
    for (; *word; word++)
        count += *word == letter;
    return count;
}

char lm_letter_with(struct lm_maker *m, const char *word, int times)
{
    char found[27];
    size_t count = 0;
    for (char letter = 'a'; letter <= 'z'; letter++)
        if (lm_count_letter(word, letter) == times)
            found[count++] = letter;
    return count ? found[lm_pick(m, count)] : 0;
}

static uint64_t hash(const char *text, size_t length)
{
    uint64_t value = XXH64(text, length, 0);
    return value ? value : 1;
}

static bool is_listed(const struct lm_material *material, const char *text, size_t length)
{
    uint64_t value = hash(text, length);
    for (size_t at = value % material->banned_size; material->banned[at]; at = (at + 1) % material->banned_size)
        if (material->banned[at] == value)
            return true;
    return false;
}

bool lm_is_banned(const struct lm_material *material, const char *word)
{
    size_t length = strlen(word);
    for (size_t from = 0; from + SHORTEST_HELD_OUT <= length; from++)
        for (size_t size = SHORTEST_HELD_OUT; from + size <= length; size++)
            if (is_listed(material, word + from, size))
                return true;
    return false;
}

static void ban(struct lm_material *material, const char *word)
{
    uint64_t value = hash(word, strlen(word));
    size_t at = value % material->banned_size;
    while (material->banned[at])
        at = (at + 1) % material->banned_size;
    material->banned[at] = value;
}

static bool stands_in_training(const char *word)
{
    for (size_t i = 0; lm_words_training[i]; i++)
        if (strstr(lm_words_training[i], word))
            return true;
    return false;
}

static void make_up_all(struct lm_material *material)
{
    struct lm_random random = lm_random_seed(MADE_UP_SEED, 0);
    while (material->made_up_count < MADE_UP) {
        char *word = material->made_up[material->made_up_count];
        lm_make_up(&random, word);
        if (strlen(word) <= SHORTEST_HELD_OUT || lm_is_banned(material, word) || stands_in_training(word))
            continue;
        ban(material, word);
        material->made_up_count++;
    }
}

int lm_material_open(struct lm_material **opened, loam_error *error)
{
    struct lm_material *material = lm_alloc(1, sizeof *material, error);
    if (!material)
        return LOAM_ENOMEM;
    material->training_count = count_words(lm_words_training);
    material->held_out_count = count_words(lm_words_held_out);
    material->banned_size = 8 * (material->held_out_count + MADE_UP);
    material->banned = lm_alloc(material->banned_size, sizeof *material->banned, error);
    material->made_up = material->banned ? lm_alloc(MADE_UP, sizeof *material->made_up, error) : NULL;
    if (!material->made_up) {
        lm_material_close(material);
        return LOAM_ENOMEM;
    }
    for (size_t i = 0; i < material->held_out_count; i++)
        ban(material, lm_words_held_out[i]);
    make_up_all(material);
    *opened = material;
    return LOAM_OK;
}

void lm_material_close(struct lm_material *material)
{
    if (!material)
        return;
    lm_free(material->banned);
    lm_free(material->made_up);
    lm_free(material);
}

const char *lm_material_held_out(const struct lm_material *material, size_t index)
{
    if (index < material->held_out_count)
        return lm_words_held_out[index];
    index -= material->held_out_count;
    return index < material->made_up_count ? material->made_up[index] : NULL;
}
