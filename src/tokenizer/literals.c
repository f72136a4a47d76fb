/* Alternatives of plain texts. */
#include "internal.h"

struct lm_literals {
    struct lm_double_array set; /* values: which alternative */
    struct lm_bytes texts;
};

/* Takes the regular expression apart: texts without their escapes, one behind the other, and where each ends. False
 * where it is more than plain texts. */
static bool take_apart(const char *regex, size_t length, char *texts, struct lm_double_key *keys, size_t *count)
{
    size_t written = 0, from = 0;
    *count = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i == length || regex[i] == '|') {
            if (written == from)
                return false;
            keys[*count] = (struct lm_double_key){(const unsigned char *)texts + from, (uint32_t)(written - from),
                                                  (int32_t)*count};
            ++*count;
            from = written;
            continue;
        }
        if (regex[i] == '\\') {
            if (++i == length || !strchr("\\.^$|()[]{}*+?-/ ", regex[i]) || !regex[i])
                return false;
        } else if (!regex[i] || strchr(".^$()[]{}*+?", regex[i])) {
            return false;
        }
        texts[written++] = regex[i];
    }
    return true;
}

/* Of equal texts the first stands. */
static size_t drop_equals(struct lm_double_key *keys, size_t count, loam_error *error)
{
    struct lm_vocabulary seen = {0};
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const char *text = (const char *)keys[i].text;
        if (lm_vocabulary_find(&seen, text, keys[i].length, false) >= 0)
            continue;
        if (lm_vocabulary_add(&seen, (int64_t)i, text, keys[i].length, 0, error) != LOAM_OK) {
            kept = 0;
            break;
        }
        keys[kept++] = keys[i];
    }
    lm_vocabulary_free(&seen);
    return kept;
}

int lm_literals_of(const char *regex, size_t length, struct lm_literals **literals, loam_error *error)
{
    size_t alternatives = 1, count;
    for (size_t i = 0; i < length; i++)
        alternatives += regex[i] == '|';
    struct lm_literals *made = lm_alloc(1, sizeof *made, error);
    struct lm_double_key *keys = made ? lm_alloc(alternatives, sizeof *keys, error) : NULL;
    int code = keys ? lm_bytes_reserve(&made->texts, length + 1, error) : LOAM_ENOMEM;
    if (code == LOAM_OK && !take_apart(regex, length, made->texts.data, keys, &count)) {
        lm_literals_free(made);
        lm_free(keys);
        return LOAM_OK;
    }
    if (code == LOAM_OK) {
        count = drop_equals(keys, count, error);
        code = count ? lm_double_array_build(&made->set, keys, count, error) : LOAM_ENOMEM;
    }
    lm_free(keys);
    if (code == LOAM_OK)
        *literals = made;
    else
        lm_literals_free(made);
    return code;
}

void lm_literals_free(struct lm_literals *literals)
{
    if (!literals)
        return;
    lm_double_array_free(&literals->set);
    lm_bytes_free(&literals->texts);
    lm_free(literals);
}

bool lm_literals_find(const struct lm_literals *literals, const char *text, size_t length, size_t at, size_t *start,
                      size_t *end)
{
    for (; at < length; at++) {
        int32_t state = 0, best = -1;
        for (size_t i = at; i < length && lm_double_array_step(&literals->set, &state, (unsigned char)text[i]); i++) {
            const int32_t value = lm_double_array_value(&literals->set, state);
            if (value >= 0 && (best < 0 || value < best)) {
                best = value;
                *end = i + 1;
            }
        }
        if (best >= 0) {
            *start = at;
            return true;
        }
    }
    return false;
}
