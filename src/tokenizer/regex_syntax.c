/* tokenizer.json's regular expressions are Oniguruma's (in its Ruby syntax): here they become PCRE2's. The two differ in
 * what \w, \b, \h, \s, \v and POSIX brackets hold, in (?m), in scripts (PCRE2 counts Script_Extensions), in the long names of
 * properties, in that a{1,3}+ is (?:a{1,3})+ and a{2}? is (?:a{2})?, and in that Oniguruma's brackets nest and intersect:
 * [\p{Lu}\p{Lo}&&[^\p{Han}]]. */
#include "regex_syntax.h"

#include <stdio.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { DEPTH_MOST = 32, GROUPS_MOST = 250, NAME_MOST = 40 };

/* PCRE2's \s counts U+180E and leaves out none of White_Space; the tokenizers' engines mean White_Space. So the set is
 * written out, and its complement for \S inside brackets. */
#define SPACES "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NO_SPACES                                                                                                      \
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}"        \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
/* Alphabetic, marks, decimal digits, connectors (UTS #18); the ranges are the letters in circles and squares. */
#define WORDS                                                                                                          \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}"                   \
    "\\x{1f170}-\\x{1f189}"
/* Outside of brackets Oniguruma's \w and \b count six signs of Latin-1 as well: ², ³, ¹, ¼, ½, ¾. */
#define WORDS_ALONE WORDS "\\xb2\\xb3\\xb9\\xbc-\\xbe"
#define HEXES "0-9a-fA-F"
#define PUNCTUATION "\\p{P}"
#define GRAPHS "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Cf}\\p{Co}"
#define ANY "(?s:.)"

/* Names without case, spaces, '_' and '-': what stands for them inside brackets. */
static const struct {
    const char *name, *set;
} sets[] = {{"alnum", "\\p{Alphabetic}\\p{Nd}"},
            {"alpha", "\\p{Alphabetic}"},
            {"blank", "\\p{Zs}\\t"},
            {"cntrl", "\\p{Cc}"},
            {"digit", "\\p{Nd}"},
            {"graph", GRAPHS},
            {"lower", "\\p{Lowercase}"},
            {"print", GRAPHS "\\p{Zs}"},
            {"punct", PUNCTUATION},
            {"space", SPACES},
            {"upper", "\\p{Uppercase}"},
            {"xdigit", HEXES},
            {"word", WORDS},
            {"ascii", "\\x00-\\x7f"},
            {"letter", "\\p{L}"},
            {"uppercaseletter", "\\p{Lu}"},
            {"lowercaseletter", "\\p{Ll}"},
            {"titlecaseletter", "\\p{Lt}"},
            {"modifierletter", "\\p{Lm}"},
            {"otherletter", "\\p{Lo}"},
            {"mark", "\\p{M}"},
            {"nonspacingmark", "\\p{Mn}"},
            {"spacingmark", "\\p{Mc}"},
            {"enclosingmark", "\\p{Me}"},
            {"number", "\\p{N}"},
            {"decimalnumber", "\\p{Nd}"},
            {"letternumber", "\\p{Nl}"},
            {"othernumber", "\\p{No}"},
            {"punctuation", "\\p{P}"},
            {"connectorpunctuation", "\\p{Pc}"},
            {"dashpunctuation", "\\p{Pd}"},
            {"openpunctuation", "\\p{Ps}"},
            {"closepunctuation", "\\p{Pe}"},
            {"initialpunctuation", "\\p{Pi}"},
            {"finalpunctuation", "\\p{Pf}"},
            {"otherpunctuation", "\\p{Po}"},
            {"symbol", "\\p{S}"},
            {"mathsymbol", "\\p{Sm}"},
            {"currencysymbol", "\\p{Sc}"},
            {"modifiersymbol", "\\p{Sk}"},
            {"othersymbol", "\\p{So}"},
            {"separator", "\\p{Z}"},
            {"spaceseparator", "\\p{Zs}"},
            {"lineseparator", "\\p{Zl}"},
            {"paragraphseparator", "\\p{Zp}"},
            {"other", "\\p{C}"},
            {"control", "\\p{Cc}"},
            {"format", "\\p{Cf}"},
            {"unassigned", "\\p{Cn}"},
            {"privateuse", "\\p{Co}"}};

struct reading {
    const char *regex;
    size_t length, at;
    int depth; /* of brackets */
    size_t groups[GROUPS_MOST], group_count; /* where the open ones begin in what is written */
    size_t last;                             /* where the last atom does: what a quantifier repeats */
    int code;  /* the first failure; nothing is written behind it */
    loam_error *error;
};

static void put_bytes(struct reading *r, struct lm_bytes *out, const char *bytes, size_t length)
{
    if (r->code == LOAM_OK && length)
        r->code = lm_bytes_append(out, bytes, length, r->error);
}

static void put(struct reading *r, struct lm_bytes *out, const char *text)
{
    put_bytes(r, out, text, strlen(text));
}

static bool ahead(const struct reading *r, const char *text)
{
    const size_t length = strlen(text);
    return r->length - r->at >= length && !memcmp(r->regex + r->at, text, length);
}

/* Something that stands for one character. */
struct set {
    char text[160]; /* what goes between brackets */
    bool negative;  /* all characters but those */
};

static struct set set_of(const char *text, bool negative)
{
    struct set set = {.negative = negative};
    snprintf(set.text, sizeof set.text, "%s", text);
    return set;
}

static bool known_name(const char *name, size_t length, struct set *set, bool negative)
{
    char plain[NAME_MOST + 1];
    size_t n = 0;
    for (size_t i = 0; i < length && n < NAME_MOST; i++)
        if (!strchr(" _-", name[i]))
            plain[n++] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
    plain[n] = 0;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (!strcmp(plain, sets[i].name)) {
            *set = set_of(sets[i].set, negative);
            return true;
        }
    return false;
}

static bool is_script(const char *name, size_t length)
{
    char pattern[NAME_MOST + 16];
    int number;
    PCRE2_SIZE where;
    const int written = snprintf(pattern, sizeof pattern, "\\p{sc:%.*s}", (int)length, name);
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, (PCRE2_SIZE)written, PCRE2_UTF, &number, &where, NULL);
    pcre2_code_free(code);
    return code != NULL;
}

/* \p{…}, \P{…}; the place is behind the p. */
static bool read_property(struct reading *r, bool negative, struct set *set)
{
    const char *open = r->regex + r->at;
    const char *close = ahead(r, "{") ? memchr(open, '}', r->length - r->at) : NULL;
    if (!close || close - open > NAME_MOST)
        return false;
    const char *name = open + 1;
    if (*name == '^') {
        negative = !negative;
        name++;
    }
    const size_t length = (size_t)(close - name);
    if (!known_name(name, length, set, negative)) {
        const bool script = length > 2 && is_script(name, length);
        *set = (struct set){.negative = negative};
        snprintf(set->text, sizeof set->text, "\\p{%s%.*s}", script ? "sc:" : "", (int)length, name);
    }
    r->at = (size_t)(close + 1 - r->regex);
    return true;
}

/* A set that is named with a backslash, the place at the backslash. False (and the place as it was) for all else. */
static bool read_set(struct reading *r, struct set *set)
{
    const size_t from = r->at;
    if (r->at + 1 >= r->length || r->regex[r->at] != '\\')
        return false;
    const char letter = r->regex[r->at + 1];
    r->at += 2;
    switch (letter) {
    case 'w':
    case 'W':
        *set = set_of(WORDS, letter == 'W');
        return true;
    case 'h':
    case 'H':
        *set = set_of(HEXES, letter == 'H');
        return true;
    case 's':
    case 'S':
        *set = set_of(SPACES, letter == 'S');
        return true;
    case 'd':
    case 'D':
        *set = set_of("\\p{Nd}", letter == 'D');
        return true;
    case 'p':
    case 'P':
        if (read_property(r, letter == 'P', set))
            return true;
        break;
    default:
        break;
    }
    r->at = from;
    return false;
}

/* [:alpha:] inside brackets, the place at its bracket. */
static bool read_posix(struct reading *r, struct set *set)
{
    if (!ahead(r, "[:"))
        return false;
    const size_t start = r->at + 2 + (r->at + 2 < r->length && r->regex[r->at + 2] == '^');
    size_t end = start;
    while (end < r->length && end - start < NAME_MOST && ((r->regex[end] | 32) >= 'a' && (r->regex[end] | 32) <= 'z'))
        end++;
    if (end + 1 >= r->length || memcmp(r->regex + end, ":]", 2) != 0 ||
        !known_name(r->regex + start, end - start, set, start == r->at + 3))
        return false;
    if (!strcmp(set->text, PUNCTUATION)) /* in this form it holds symbols too */
        snprintf(set->text, sizeof set->text, "%s", PUNCTUATION "\\p{S}");
    r->at = end + 2;
    return true;
}

/* \u0041 → \x{0041}, \v → \x0b, \V and \Q the letters; any other escape as it is. */
static void copy_escape(struct reading *r, struct lm_bytes *out)
{
    const size_t from = r->at;
    if (ahead(r, "\\u") && r->length - r->at >= 6) {
        put(r, out, "\\x{");
        put_bytes(r, out, r->regex + from + 2, 4);
        put(r, out, "}");
        r->at += 6;
        return;
    }
    if (ahead(r, "\\v") || ahead(r, "\\V") || ahead(r, "\\Q") || ahead(r, "\\E")) {
        put_bytes(r, out, "\\x0b", r->regex[from + 1] == 'v' ? 4 : 0);
        put_bytes(r, out, r->regex + from + 1, r->regex[from + 1] != 'v');
        r->at += 2;
        return;
    }
    r->at += r->length - r->at < 2 ? 1 : 2;
    put_bytes(r, out, r->regex + from, r->at - from);
}

/* What stands between two && of a pair of brackets. */
struct operand {
    struct lm_bytes flat;   /* what PCRE2's brackets can hold */
    struct lm_bytes others; /* "|" and an expression, as often as there are any */
};

static void put_operand(struct reading *r, struct lm_bytes *out, const struct operand *operand, bool negative)
{
    if (!operand->others.length && operand->flat.length) {
        put(r, out, negative ? "[^" : "[");
        put_bytes(r, out, operand->flat.data, operand->flat.length);
        put(r, out, "]");
        return;
    }
    put(r, out, negative ? "(?:(?!" : "(?:");
    if (operand->flat.length) {
        put(r, out, "[");
        put_bytes(r, out, operand->flat.data, operand->flat.length);
        put(r, out, "]");
    }
    if (operand->others.length) {
        const size_t bar = operand->flat.length ? 0 : 1;
        put_bytes(r, out, operand->others.data + bar, operand->others.length - bar);
    } else {
        put(r, out, "(?!)");
    }
    put(r, out, negative ? ")" ANY ")" : ")");
}

static void take_set(struct reading *r, const struct set *set, struct operand *operand)
{
    if (!set->negative) {
        put(r, &operand->flat, set->text);
    } else if (!strcmp(set->text, SPACES)) {
        put(r, &operand->flat, NO_SPACES);
    } else {
        put(r, &operand->others, "|[^");
        put(r, &operand->others, set->text);
        put(r, &operand->others, "]");
    }
    if (!ahead(r, "-"))
        return;
    put(r, &operand->flat, "\\-"); /* behind a set it is no range */
    r->at++;
}

/* A pair of brackets, the place at the first. One that does not end is left for PCRE2 to complain of. */
static void read_brackets(struct reading *r, struct lm_bytes *out)
{
    struct operand operand = {0};
    struct lm_bytes all = {0}; /* the operands before the last: lookaheads */
    struct set set;
    bool closed = false;
    if (++r->depth > DEPTH_MOST && r->code == LOAM_OK)
        r->code = lm_fail(r->error, LOAM_EFORMAT, "brackets more than %d deep", DEPTH_MOST);
    r->at++;
    const bool negative = ahead(r, "^");
    r->at += negative;
    for (bool first = true; r->code == LOAM_OK && !closed && r->at < r->length; first = false) {
        const char c = r->regex[r->at];
        if (c == ']' && !first) {
            closed = true;
            r->at++;
        } else if (c == ']') {
            put(r, &operand.flat, "\\]");
            r->at++;
        } else if (read_set(r, &set) || read_posix(r, &set)) {
            take_set(r, &set, &operand);
        } else if (c == '[') {
            put(r, &operand.others, "|");
            read_brackets(r, &operand.others);
        } else if (c == '\\') {
            copy_escape(r, &operand.flat);
        } else if (ahead(r, "&&")) {
            put(r, &all, "(?=");
            put_operand(r, &all, &operand, false);
            put(r, &all, ")");
            operand.flat.length = operand.others.length = 0;
            r->at += 2;
        } else {
            put(r, &operand.flat, c == '^' ? "\\" : ""); /* it may come to stand first */
            put_bytes(r, &operand.flat, &c, 1);
            r->at++;
        }
    }
    if (!closed) {
        put(r, out, "[");
    } else if (!all.length) {
        put_operand(r, out, &operand, negative);
    } else {
        put(r, out, negative ? "(?:(?!" : "(?:");
        put_bytes(r, out, all.data, all.length);
        put_operand(r, out, &operand, false);
        put(r, out, negative ? ")" ANY ")" : ")");
    }
    r->depth--;
    lm_bytes_free(&operand.flat);
    lm_bytes_free(&operand.others);
    lm_bytes_free(&all);
}

/* "(?m" lets the point match newlines: PCRE2's s. The place is behind the question mark. */
static void copy_options(struct reading *r, struct lm_bytes *out)
{
    size_t end = r->at;
    while (end < r->length && strchr("imxs-", r->regex[end]) && r->regex[end])
        end++;
    if (end == r->length || (r->regex[end] != ')' && r->regex[end] != ':'))
        return;
    for (; r->at < end; r->at++)
        put(r, out, r->regex[r->at] == 'm' ? "s" : (const char[]){r->regex[r->at], 0});
}

/* What stands ahead where a word stands behind, and where none does. */
#define BOUNDARY(word, none)                                                                                           \
    "(?:(?<=[" WORDS_ALONE "])" word "[" WORDS_ALONE "])|(?<![" WORDS_ALONE "])" none "[" WORDS_ALONE "]))"

static size_t digits(const struct reading *r, size_t at)
{
    size_t count = 0;
    while (at + count < r->length && r->regex[at + count] >= '0' && r->regex[at + count] <= '9')
        count++;
    return count;
}

/* {2}, {2,}, {,3}, {2,3}. False for a brace that is one. */
static bool read_interval(struct reading *r, struct lm_bytes *out)
{
    if (!ahead(r, "{"))
        return false;
    const size_t least = digits(r, r->at + 1);
    size_t end = r->at + 1 + least;
    const bool exact = end >= r->length || r->regex[end] != ',';
    const size_t most = exact ? 0 : digits(r, end + 1);
    end += exact ? 0 : most + 1;
    if (end >= r->length || r->regex[end] != '}' || (!least && !most))
        return false;
    const char next = (char)(end + 1 < r->length ? r->regex[end + 1] : 0);
    const bool grouped = next == '+' || (next == '?' && exact);
    if (grouped && r->code == LOAM_OK) {
        const size_t length = out->length - r->last;
        put(r, out, "(?:");
        if (r->code == LOAM_OK) {
            memmove(out->data + r->last + 3, out->data + r->last, length);
            memcpy(out->data + r->last, "(?:", 3);
        }
    }
    put(r, out, least ? "{" : "{0");
    put_bytes(r, out, r->regex + r->at + 1, end - r->at);
    put(r, out, grouped ? ")" : "");
    r->at = end + 1;
    return true;
}

/* Remembers what was written from `from` on as what a quantifier behind it repeats: an atom, a group with its end. */
static void note_atom(struct reading *r, size_t from, char first)
{
    if (first == '(') {
        if (r->group_count == GROUPS_MOST && r->code == LOAM_OK)
            r->code = lm_fail(r->error, LOAM_EFORMAT, "groups more than %d deep", GROUPS_MOST);
        if (r->code == LOAM_OK)
            r->groups[r->group_count++] = from;
    } else if (first == ')') {
        r->last = r->group_count ? r->groups[--r->group_count] : from;
    } else if (!first || !strchr("*+?", first)) {
        r->last = from;
    }
}

static void read_one(struct reading *r, struct lm_bytes *out)
{
    static const struct {
        const char *from, *to;
    } plain[] = {{"\\b", BOUNDARY("(?!", "(?=")},
                 {"\\B", BOUNDARY("(?=", "(?!")},
                 {"\\w", "[" WORDS_ALONE "]"},
                 {"\\W", "[^" WORDS_ALONE "]"},
                 {"\\O", ANY}};
    struct set set;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (ahead(r, plain[i].from)) {
            put(r, out, plain[i].to);
            r->at += strlen(plain[i].from);
            return;
        }
    if (read_set(r, &set)) {
        put(r, out, set.negative ? "[^" : "[");
        put(r, out, set.text);
        put(r, out, "]");
    } else if (ahead(r, "\\")) {
        copy_escape(r, out);
    } else if (ahead(r, "[")) {
        read_brackets(r, out);
    } else if (ahead(r, "(?")) {
        put(r, out, "(?");
        r->at += 2;
        copy_options(r, out);
    } else {
        put_bytes(r, out, r->regex + r->at++, 1);
    }
}

static void read_next(struct reading *r, struct lm_bytes *out)
{
    const size_t from = out->length;
    const char first = r->regex[r->at];
    if (read_interval(r, out))
        return;
    read_one(r, out);
    note_atom(r, from, first);
}

int lm_regex_translate(const char *regex, size_t length, struct lm_bytes *out, loam_error *error)
{
    struct reading r = {.regex = regex, .length = length, .error = error};
    r.code = lm_bytes_reserve(out, length * 2 + 1, error);
    while (r.code == LOAM_OK && r.at < length)
        read_next(&r, out);
    return r.code;
}
