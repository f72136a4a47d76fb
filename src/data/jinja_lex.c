/* Jinja's source into tokens. Blanks around tags are dealt with here: "-" takes all of them, trim_blocks the line's end
 * behind a block, lstrip_blocks the indentation before one, "+" switches either off. */
#include "data/jinja_tree.h"

#include <stdarg.h>
#include <stdio.h>

struct chunk {
    struct chunk *next;
};

enum { FIRST_CHUNK = 1 << 14, LARGEST_CHUNK = 1 << 20, ROUND = 16, MOST_NESTING = 100 };

void *lm_jinja_take(struct lm_jinja_pool *pool, size_t bytes, loam_error *error)
{
    size_t wanted = bytes > SIZE_MAX / 2 ? 0 : lm_round_up(bytes + 1, ROUND);
    if (!wanted || (pool->limit && wanted > pool->limit - pool->total)) {
        pool->over = true;
        lm_fail(error, LOAM_EFORMAT, "the template took more than %zu bytes of memory", pool->limit);
        return NULL;
    }
    if (!pool->chunks || wanted > pool->size - pool->used) {
        size_t size = pool->size ? pool->size * 2 : FIRST_CHUNK;
        size = size > LARGEST_CHUNK ? LARGEST_CHUNK : size;
        size = size < wanted + ROUND ? wanted + ROUND : size;
        struct chunk *chunk = lm_alloc(1, size, error);
        if (!chunk)
            return NULL;
        chunk->next = pool->chunks;
        pool->chunks = chunk;
        pool->used = ROUND;
        pool->size = size;
    }
    void *place = (char *)pool->chunks + pool->used;
    pool->used += wanted;
    pool->total += wanted;
    return place;
}

void lm_jinja_pool_free(struct lm_jinja_pool *pool)
{
    while (pool->chunks) {
        struct chunk *chunk = pool->chunks;
        pool->chunks = chunk->next;
        lm_free(chunk);
    }
}

int lm_jinja_fail(const struct lm_jinja *jinja, size_t place, int code, loam_error *error, const char *format, ...)
{
    char message[400];
    size_t line = 1, column = 1;
    va_list list;
    va_start(list, format);
    lm_format_list(message, sizeof message, format, list);
    va_end(list);
    for (size_t i = 0; i < place && i < jinja->length; i++) {
        if (jinja->source[i] == '\n')
            line++, column = 1;
        else if (((unsigned char)jinja->source[i] & 0xC0) != 0x80)
            column++;
    }
    return lm_fail_at(error, code, (int64_t)place, "%s:%zu:%zu: %s", jinja->name, line, column, message);
}

struct lexer {
    struct lm_jinja *jinja;
    struct jinja_tokens *tokens;
    size_t place;
    bool at_line; /* what was read last ended a line */
    loam_error *error;
};

static int push(struct lexer *lexer, struct jinja_token token)
{
    struct jinja_tokens *tokens = lexer->tokens;
    if (tokens->count == tokens->capacity) {
        const size_t capacity = tokens->capacity ? 2 * tokens->capacity : 64;
        struct jinja_token *grown = lm_resize(tokens->data, capacity, sizeof *grown, lexer->error);
        if (!grown)
            return LOAM_ENOMEM;
        tokens->data = grown;
        tokens->capacity = capacity;
    }
    tokens->data[tokens->count++] = token;
    return LOAM_OK;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= 9 && c <= 13);
}

static bool starts(const struct lexer *lexer, size_t place, const char *text)
{
    const size_t length = strlen(text);
    return lexer->jinja->length - place >= length && !memcmp(lexer->jinja->source + place, text, length);
}

/* The text before the tag at `tag`, without the blanks that the tag takes away. */
static int push_data(struct lexer *lexer, size_t begin, size_t tag)
{
    const char *source = lexer->jinja->source;
    const bool has_sign = tag + 2 < lexer->jinja->length;
    const char sign = has_sign ? source[tag + 2] : 0;
    size_t end = tag;
    if (tag < lexer->jinja->length && sign == '-') {
        while (end > begin && is_space(source[end - 1]))
            end--;
    } else if (tag < lexer->jinja->length && sign != '+' && source[tag + 1] != '{') {
        size_t line = end;
        while (line > begin && source[line - 1] != '\n')
            line--;
        size_t place = line;
        while (place < end && is_space(source[place]))
            place++;
        if (place == end && (line > begin || lexer->at_line))
            end = line;
    }
    if (end == begin)
        return LOAM_OK;
    return push(lexer, (struct jinja_token){.kind = T_DATA, .place = begin, .text = {source + begin, end - begin}});
}

/* Behind the end of a tag: `minus` takes all blanks, `trim` one line's end. */
static void skip_behind(struct lexer *lexer, bool minus, bool trim)
{
    const struct lm_jinja *jinja = lexer->jinja;
    lexer->at_line = false;
    if (minus) {
        while (lexer->place < jinja->length && is_space(jinja->source[lexer->place]))
            lexer->at_line = jinja->source[lexer->place++] == '\n';
    } else if (trim && lexer->place < jinja->length && jinja->source[lexer->place] == '\n') {
        lexer->place++;
        lexer->at_line = true;
    }
}

static int unfinished(struct lexer *lexer, size_t place, const char *what)
{
    return lm_jinja_fail(lexer->jinja, place, LOAM_EFORMAT, lexer->error, "found %s that does not end", what);
}

static int skip_comment(struct lexer *lexer)
{
    const struct lm_jinja *jinja = lexer->jinja;
    const size_t begin = lexer->place;
    for (size_t i = begin + 2; i + 1 < jinja->length; i++)
        if (jinja->source[i] == '#' && jinja->source[i + 1] == '}') {
            const char sign = i > begin + 2 ? jinja->source[i - 1] : 0;
            lexer->place = i + 2;
            skip_behind(lexer, sign == '-', sign != '+');
            return LOAM_OK;
        }
    return unfinished(lexer, begin, "a comment");
}

static size_t skip_spaces(const struct lexer *lexer, size_t place)
{
    while (place < lexer->jinja->length && is_space(lexer->jinja->source[place]))
        place++;
    return place;
}

/* At `place` a block tag of one word: gives where it ends and its signs. */
static bool is_word_tag(const struct lexer *lexer, size_t place, const char *word, size_t *end, char *first, char *last)
{
    if (!starts(lexer, place, "{%"))
        return false;
    place += 2;
    *first = *last = 0;
    if (place < lexer->jinja->length && (lexer->jinja->source[place] == '-' || lexer->jinja->source[place] == '+'))
        *first = lexer->jinja->source[place++];
    place = skip_spaces(lexer, place);
    if (!starts(lexer, place, word))
        return false;
    place = skip_spaces(lexer, place + strlen(word));
    if (place < lexer->jinja->length && (lexer->jinja->source[place] == '-' || lexer->jinja->source[place] == '+'))
        *last = lexer->jinja->source[place++];
    *end = place + 2;
    return starts(lexer, place, "%}");
}

static int take_raw(struct lexer *lexer, size_t begin, char sign)
{
    const struct lm_jinja *jinja = lexer->jinja;
    char first = 0, last = 0;
    size_t end = 0;
    const size_t tag = lexer->place;
    lexer->place = begin;
    skip_behind(lexer, sign == '-', sign != '+');
    begin = lexer->place;
    for (size_t i = begin; i < jinja->length; i++) {
        if (jinja->source[i] != '{' || !is_word_tag(lexer, i, "endraw", &end, &first, &last))
            continue;
        int code = push_data(lexer, begin, i);
        lexer->place = end;
        skip_behind(lexer, last == '-', last != '+');
        return code;
    }
    return unfinished(lexer, tag, "a raw block");
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int take_name(struct lexer *lexer)
{
    const struct lm_jinja *jinja = lexer->jinja;
    const size_t begin = lexer->place;
    while (lexer->place < jinja->length &&
           (is_letter(jinja->source[lexer->place]) || is_digit(jinja->source[lexer->place])))
        lexer->place++;
    return push(lexer, (struct jinja_token){
                           .kind = T_NAME, .place = begin, .text = {jinja->source + begin, lexer->place - begin}});
}

static int take_number(struct lexer *lexer)
{
    const struct lm_jinja *jinja = lexer->jinja;
    const size_t begin = lexer->place;
    char digits[64];
    size_t used = 0;
    bool real = false;
    for (; lexer->place < jinja->length && used + 1 < sizeof digits; lexer->place++) {
        const char c = jinja->source[lexer->place];
        const char after = lexer->place + 1 < jinja->length ? jinja->source[lexer->place + 1] : 0;
        if (c == '_')
            continue;
        if (c == '.' && !real && is_digit(after))
            real = true;
        else if ((c == 'e' || c == 'E') && (is_digit(after) || after == '-' || after == '+'))
            real = true;
        else if (!is_digit(c) &&
                 !((c == '-' || c == '+') && used && (digits[used - 1] == 'e' || digits[used - 1] == 'E')))
            break;
        digits[used++] = c;
    }
    digits[used] = 0;
    struct jinja_token token = {.kind = real ? T_NUMBER : T_WHOLE, .place = begin};
    loam_error ignored;
    int code = real ? lm_parse_double(digits, &token.number, &ignored) : lm_parse_int(digits, &token.whole, &ignored);
    if (code)
        return lm_jinja_fail(jinja, begin, LOAM_EFORMAT, lexer->error,
                             "found the number %s, wanted one of at most 64 bits", digits);
    return push(lexer, token);
}

/* The character that \x41, \u0041, \U00000041 or \101 stand for; *used counts what is behind the backslash. */
static uint32_t numbered_escape(const char *text, size_t length, size_t *used)
{
    const char kind = text[0];
    const size_t wanted = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 3, first = is_digit(kind) ? 0 : 1;
    uint32_t value = 0;
    size_t i = first;
    for (; i < length && i < first + wanted; i++) {
        const char c = text[i];
        const int digit = is_digit(c)            ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : 99;
        if (digit >= (first ? 16 : 8))
            break;
        value = value * (first ? 16 : 8) + (uint32_t)digit;
    }
    *used = i;
    return first && i < first + wanted ? UINT32_MAX : value;
}

/* One escape into `out` (room for 4 bytes); SIZE_MAX where it is wrong. */
static size_t read_escape(const char *text, size_t length, char *out, size_t *used)
{
    static const char letters[] = "n\nt\tr\ra\ab\bf\fv\v\\\\''\"\"";
    *used = 1;
    for (size_t i = 0; letters[i]; i += 2)
        if (text[0] == letters[i]) {
            *out = letters[i + 1];
            return 1;
        }
    if (text[0] == '\n')
        return 0;
    if (text[0] == 'x' || text[0] == 'u' || text[0] == 'U' || (text[0] >= '0' && text[0] <= '7')) {
        const uint32_t c = numbered_escape(text, length, used);
        const size_t size = c == UINT32_MAX ? 0 : lm_utf8_encode(c, out);
        return size ? size : SIZE_MAX;
    }
    out[0] = '\\';
    *used = 0;
    return 1;
}

static int take_text(struct lexer *lexer)
{
    const struct lm_jinja *jinja = lexer->jinja;
    const size_t begin = lexer->place;
    const char quote = jinja->source[begin];
    size_t end = begin + 1, length = 0;
    while (end < jinja->length && jinja->source[end] != quote)
        end += jinja->source[end] == '\\' ? 2 : 1;
    if (end >= jinja->length)
        return unfinished(lexer, begin, "a text");
    char *text = lm_jinja_take(&lexer->jinja->pool, end - begin, lexer->error);
    if (!text)
        return LOAM_ENOMEM;
    for (size_t i = begin + 1; i < end; i++) {
        size_t used = 0;
        if (jinja->source[i] != '\\') {
            text[length++] = jinja->source[i];
            continue;
        }
        const size_t size = read_escape(jinja->source + i + 1, end - i - 1, text + length, &used);
        if (size == SIZE_MAX)
            return lm_jinja_fail(jinja, i, LOAM_EFORMAT, lexer->error, "found an escape that stands for no character");
        length += size;
        i += used;
    }
    lexer->place = end + 1;
    return push(lexer, (struct jinja_token){.kind = T_TEXT, .place = begin, .text = {text, length}});
}

static int take_sign(struct lexer *lexer, char *open, size_t *depth)
{
    static const char *const signs[] = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[",
                                        "]",  "(",  ")",  "{",  "}",  "<",  ">", "=", ".", ":", "|", ",", ";"};
    const struct lm_jinja *jinja = lexer->jinja;
    const size_t place = lexer->place;
    const char *sign = NULL;
    for (size_t i = 0; i < sizeof signs / sizeof *signs && !sign; i++)
        if (starts(lexer, place, signs[i]))
            sign = signs[i];
    if (!sign)
        return lm_jinja_fail(jinja, place, LOAM_EFORMAT, lexer->error,
                             "found the character '%c', which means nothing in a tag", jinja->source[place]);
    if (strchr("([{", *sign)) {
        if (*depth == MOST_NESTING)
            return lm_jinja_fail(jinja, place, LOAM_EFORMAT, lexer->error, "found brackets more than %d deep",
                                 MOST_NESTING);
        open[(*depth)++] = *sign == '(' ? ')' : *sign == '[' ? ']' : '}';
    } else if (strchr(")]}", *sign)) {
        if (*depth == 0 || open[*depth - 1] != *sign)
            return lm_jinja_fail(jinja, place, LOAM_EFORMAT, lexer->error, "found '%s' where nothing like it is open",
                                 sign);
        (*depth)--;
    }
    lexer->place += strlen(sign);
    return push(lexer, (struct jinja_token){.kind = T_SIGN, .place = place, .text = {sign, strlen(sign)}});
}

/* The inside of a tag and its end, "}}" or "%}". */
static int take_tag(struct lexer *lexer, const char *end, enum jinja_token_kind kind, size_t begin)
{
    const struct lm_jinja *jinja = lexer->jinja;
    char open[MOST_NESTING];
    size_t depth = 0;
    for (;;) {
        lexer->place = skip_spaces(lexer, lexer->place);
        if (lexer->place >= jinja->length)
            return unfinished(lexer, begin, "a tag");
        const char c = jinja->source[lexer->place];
        const bool sign = (c == '-' || (c == '+' && *end == '%')) && starts(lexer, lexer->place + 1, end);
        if (depth == 0 && (sign || starts(lexer, lexer->place, end))) {
            const size_t place = lexer->place;
            lexer->place += sign ? 3 : 2;
            skip_behind(lexer, sign && c == '-', *end == '%' && !sign);
            return push(lexer, (struct jinja_token){.kind = kind, .place = place});
        }
        int code = is_letter(c)            ? take_name(lexer)
                   : is_digit(c)           ? take_number(lexer)
                   : c == '"' || c == '\'' ? take_text(lexer)
                                           : take_sign(lexer, open, &depth);
        if (code)
            return code;
    }
}

static int take_any_tag(struct lexer *lexer)
{
    const size_t begin = lexer->place;
    const char kind = lexer->jinja->source[begin + 1];
    char first = 0, last = 0;
    size_t end = 0;
    if (kind == '#')
        return skip_comment(lexer);
    if (kind == '%' && is_word_tag(lexer, begin, "raw", &end, &first, &last))
        return take_raw(lexer, end, last);
    int code = push(lexer, (struct jinja_token){.kind = kind == '{' ? T_OUTPUT_BEGIN : T_BLOCK_BEGIN, .place = begin});
    lexer->place += 2;
    if (lexer->place < lexer->jinja->length &&
        (lexer->jinja->source[lexer->place] == '-' || (kind == '%' && lexer->jinja->source[lexer->place] == '+')))
        lexer->place++;
    if (code)
        return code;
    return kind == '{' ? take_tag(lexer, "}}", T_OUTPUT_END, begin) : take_tag(lexer, "%}", T_BLOCK_END, begin);
}

int lm_jinja_lex(struct lm_jinja *jinja, struct jinja_tokens *tokens, loam_error *error)
{
    struct lexer lexer = {.jinja = jinja, .tokens = tokens, .at_line = true, .error = error};
    size_t begin = 0;
    for (size_t i = 0; i < jinja->length;) {
        const char after = i + 1 < jinja->length ? jinja->source[i + 1] : 0;
        if (jinja->source[i] != '{' || (after != '{' && after != '%' && after != '#')) {
            i++;
            continue;
        }
        int code = push_data(&lexer, begin, i);
        lexer.place = i;
        if (!code)
            code = take_any_tag(&lexer);
        if (code)
            return code;
        i = begin = lexer.place;
    }
    int code = push_data(&lexer, begin, jinja->length);
    return code ? code : push(&lexer, (struct jinja_token){.kind = T_END, .place = jinja->length});
}
