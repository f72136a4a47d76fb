/* Pre-tokenizers: from a normalized text to the pieces that the model sees, one after the other, none kept. */
#include "byte_alphabet.h"
#include "internal.h"

#include <utf8proc.h>

/* What the members of lm_stage mean here. */
enum kind {
    BYTE_LEVEL, /* options[PREFIX_SPACE]; pattern: the GPT-2 scanner, or NULL */
    SPLIT,      /* pattern, regex (its source is in text) or text; behaviour; options[INVERT] */
    METASPACE,  /* text: what stands for a space; options[SPLITS], [ALWAYS], [FIRST] */
    DIGITS,
    PUNCTUATION,
    WHITE_SPACE,
    WORDS,
    LETTERS, /* every byte becomes its letter of the byte alphabet */
};
enum { PREFIX_SPACE = 0, INVERT = 0, SPLITS = 0, ALWAYS = 1, FIRST = 2 };

static int run(struct lm_encoding *encoding, size_t stage, const struct lm_span *span);

/* Finds the next match of a splitting stage at or behind `at`. Those of regular expressions may be empty, at `at` only
 * where no match ends there. */
static int find(struct lm_encoding *encoding, const struct lm_stage *stage, const struct lm_span *span, size_t at,
                bool first, bool *found, size_t *start, size_t *end)
{
    *found = at < span->length || stage->regex;
    if (!*found)
        return LOAM_OK;
    if (stage->pattern) {
        *start = at;
        *end = stage->pattern->scan(encoding->tokenizer->unicode, span->text, span->length, at);
        return LOAM_OK;
    }
    if (stage->literals) {
        *found = lm_literals_find(stage->literals, span->text, span->length, at, start, end);
        return LOAM_OK;
    }
    if (stage->regex) {
        struct lm_workspace *w = encoding->workspace;
        int code = w->match ? LOAM_OK : lm_regex_match_create(&w->match, encoding->error);
        if (code == LOAM_OK)
            code = lm_regex_find(stage->regex, w->match, span->text, span->length, at, first, found, start, end,
                                 encoding->error);
        return code;
    }
    if (stage->kind == SPLIT) {
        const char *place = memmem(span->text + at, span->length - at, stage->text, stage->length);
        *found = place != NULL;
        *start = place ? (size_t)(place - span->text) : 0;
        *end = *start + stage->length;
        return LOAM_OK;
    }
    const unsigned char *text = (const unsigned char *)span->text, *stop = text + span->length;
    for (*found = false; at < span->length;) {
        uint32_t c;
        size_t n = lm_character(text + at, stop, &c);
        unsigned class = lm_unicode_class(encoding->tokenizer->unicode, c);
        bool hit;
        if (stage->kind == DIGITS)
            hit = class & LM_CLASS_NUMBER;
        else if (stage->kind == WHITE_SPACE)
            hit = class & LM_CLASS_SPACE;
        else if (c < 128)
            hit = (class & LM_CLASS_SIGN) != 0;
        else
            hit = (class & LM_CLASS_SIGN) && utf8proc_category((utf8proc_int32_t)c) <= UTF8PROC_CATEGORY_PO;
        if (hit) {
            *found = true;
            *start = at;
            *end = at + n;
            return LOAM_OK;
        }
        at += n;
    }
    return LOAM_OK;
}

/* The pieces of a split, joined as its behaviour says. */
struct splitting {
    struct lm_encoding *encoding;
    const struct lm_span *span;
    size_t next_stage, start, end;
    bool waiting, last_matched;
    enum lm_behaviour behaviour;
};

static int flush(struct splitting *s)
{
    if (!s->waiting)
        return LOAM_OK;
    s->waiting = false;
    if (s->start == s->end)
        return LOAM_OK;
    struct lm_span piece = lm_span_part(s->span, s->start, s->end);
    return run(s->encoding, s->next_stage, &piece);
}

/* An empty match is no piece, but one for the behaviours all the same. */
static int segment(struct splitting *s, size_t start, size_t end, bool matched)
{
    bool last = s->last_matched, join = false;
    s->last_matched = matched;
    if (s->behaviour == LM_REMOVED && matched)
        return flush(s);
    if (s->behaviour == LM_MERGED_WITH_PREVIOUS)
        join = matched && !last;
    else if (s->behaviour == LM_MERGED_WITH_NEXT)
        join = !matched && last;
    else if (s->behaviour == LM_CONTIGUOUS)
        join = matched == last;
    if (join && s->waiting) {
        s->end = end;
        return LOAM_OK;
    }
    int code = flush(s);
    s->start = start;
    s->end = end;
    s->waiting = true;
    return code;
}

static int split(struct lm_encoding *encoding, size_t number, const struct lm_stage *stage, const struct lm_span *span)
{
    struct splitting s = {.encoding = encoding, .span = span, .next_stage = number + 1, .behaviour = stage->behaviour};
    bool invert = stage->kind == SPLIT && stage->options[INVERT], found = true;
    int code = LOAM_OK;
    bool first = true;
    for (size_t at = 0, start, end; code == LOAM_OK && found; first = false) {
        code = find(encoding, stage, span, at, first, &found, &start, &end);
        if (code == LOAM_OK && at < (found ? start : span->length))
            code = segment(&s, at, found ? start : span->length, invert);
        if (code == LOAM_OK && found) {
            code = segment(&s, start, end, !invert);
            at = end;
        }
    }
    return code == LOAM_OK ? flush(&s) : code;
}

/* \w+|[^\w\s]+ */
static int words(struct lm_encoding *encoding, size_t number, const struct lm_span *span)
{
    const unsigned char *text = (const unsigned char *)span->text, *end = text + span->length;
    int code = LOAM_OK, kind = 0;
    size_t start = 0;
    for (size_t at = 0; code == LOAM_OK && at <= span->length;) {
        uint32_t c = ' ';
        size_t n = at < span->length ? lm_character(text + at, end, &c) : 1;
        int here = lm_is_white_space(c) ? 0 : lm_is_word(c) ? 1 : 2;
        if (here != kind || at == span->length) {
            struct lm_span piece = lm_span_part(span, start, at);
            if (kind && piece.length)
                code = run(encoding, number + 1, &piece);
            start = at;
            kind = here;
        }
        at += n;
    }
    return code;
}

static int text_put(struct lm_encoding *encoding, struct lm_text *text, const struct lm_span *span, size_t at,
                    const char *bytes, size_t length)
{
    int code = lm_bytes_append(&text->bytes, bytes, length, encoding->error);
    int32_t origin = (int32_t)(span->origins ? span->origins[at] : (int32_t)at);
    for (size_t i = 0; code == LOAM_OK && encoding->starts && i < length; i++)
        code = lm_ids_push(&text->origins, origin, encoding->error);
    return code;
}

/* The span with `front` before it and its spaces replaced where `space` is given. */
static int rewrite(struct lm_encoding *encoding, size_t number, const struct lm_span *span, const char *front,
                   const struct lm_stage *space, struct lm_span *out)
{
    struct lm_text *text = &encoding->workspace->stage_texts[number];
    text->bytes.length = text->origins.length = 0;
    int code = text_put(encoding, text, span, 0, front, strlen(front));
    for (size_t at = 0; code == LOAM_OK && at < span->length;) {
        const char *next = space ? memchr(span->text + at, ' ', span->length - at) : NULL;
        size_t end = next ? (size_t)(next - span->text) : span->length;
        if (!encoding->starts)
            code = lm_bytes_append(&text->bytes, span->text + at, end - at, encoding->error);
        for (; encoding->starts && code == LOAM_OK && at < end; at++)
            code = text_put(encoding, text, span, at, span->text + at, 1);
        if (code == LOAM_OK && next)
            code = text_put(encoding, text, span, end, space->text, space->length);
        at = end + (next != NULL);
    }
    *out = (struct lm_span){text->bytes.data, text->bytes.length, span->base,
                            encoding->starts ? text->origins.data : NULL, span->first};
    return code;
}

static int letters(struct lm_encoding *encoding, size_t number, const struct lm_span *span)
{
    struct lm_text *text = &encoding->workspace->stage_texts[number];
    text->bytes.length = text->origins.length = 0;
    int code = LOAM_OK;
    for (size_t at = 0; code == LOAM_OK && at < span->length; at++) {
        char letter[4];
        size_t length = lm_utf8_encode(lm_alphabet_character((unsigned char)span->text[at]), letter);
        code = text_put(encoding, text, span, at, letter, length);
    }
    if (code != LOAM_OK)
        return code;
    struct lm_span out = {text->bytes.data, text->bytes.length, span->base,
                          encoding->starts ? text->origins.data : NULL, span->first};
    return run(encoding, number + 1, &out);
}

static int metaspace(struct lm_encoding *encoding, size_t number, const struct lm_stage *stage,
                     const struct lm_span *span)
{
    bool begins = span->length && (span->text[0] == ' ' ||
                                   (span->length >= stage->length && !memcmp(span->text, stage->text, stage->length)));
    bool prepend = !begins && (stage->options[ALWAYS] || (stage->options[FIRST] && span->first));
    struct lm_span out;
    int code = rewrite(encoding, number, span, prepend ? stage->text : "", stage, &out);
    if (code != LOAM_OK)
        return code;
    if (!stage->options[SPLITS])
        return run(encoding, number + 1, &out);
    struct lm_stage cut = {
        .kind = SPLIT, .text = stage->text, .length = stage->length, .behaviour = LM_MERGED_WITH_NEXT};
    return split(encoding, number, &cut, &out);
}

static int run(struct lm_encoding *encoding, size_t number, const struct lm_span *span)
{
    const struct lm_stages *stages = &encoding->tokenizer->pretokenizer;
    if (number == stages->count)
        return encoding->take ? encoding->take(encoding->user, span->text, span->length) : lm_model_encode(encoding, span);
    const struct lm_stage *stage = &stages->items[number];
    switch ((enum kind)stage->kind) {
    case WORDS:
        return words(encoding, number, span);
    case LETTERS:
        return letters(encoding, number, span);
    case METASPACE:
        return metaspace(encoding, number, stage, span);
    case BYTE_LEVEL: {
        struct lm_span spaced = *span;
        int code = LOAM_OK;
        if (stage->options[PREFIX_SPACE] && !(span->length && span->text[0] == ' '))
            code = rewrite(encoding, number, span, " ", NULL, &spaced);
        if (code != LOAM_OK)
            return code;
        return stage->pattern ? split(encoding, number, stage, &spaced) : run(encoding, number + 1, &spaced);
    }
    default:
        return split(encoding, number, stage, span);
    }
}

int lm_pretokenize(struct lm_encoding *encoding, const struct lm_span *span)
{
    const struct lm_tokenizer *tokenizer = encoding->tokenizer;
    const struct lm_stages *stages = &tokenizer->pretokenizer;
    if (!span->length)
        return LOAM_OK;
    const struct lm_stage *only = stages->count == 1 ? &stages->items[0] : NULL;
    bool plain = only && only->pattern && tokenizer->byte_level && tokenizer->model.kind == LM_MODEL_BPE;
    if (plain && only->kind == SPLIT)
        plain = only->options[INVERT] ? only->behaviour == LM_REMOVED : only->behaviour == LM_ISOLATED;
    else if (plain)
        plain = !only->options[PREFIX_SPACE];
    return plain && !encoding->take ? lm_bpe_encode_scanned(encoding, only->pattern->scan, span) : run(encoding, 0, span);
}

static int read_behaviour(const struct lm_document *document, const struct lm_value *object, struct lm_stage *stage,
                          loam_error *error)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const struct lm_value *value = lm_value_find(object, "behavior");
    if (!value)
        value = object;
    for (int i = 0; i < 5; i++)
        if (lm_value_is(value, names[i])) {
            stage->behaviour = (enum lm_behaviour)i;
            return LOAM_OK;
        }
    return lm_value_fail(document, value, error,
                         "behavior: wanted Removed, Isolated, MergedWithPrevious, MergedWithNext or "
                         "Contiguous");
}

static int read_flag(const struct lm_document *document, const struct lm_value *object, const char *key, bool otherwise,
                     bool *flag, loam_error *error)
{
    const struct lm_value *value = lm_value_find(object, key);
    *flag = otherwise;
    return value && value->kind != LM_NULL ? lm_value_bool(document, value, flag, error) : LOAM_OK;
}

static int copy_text(const struct lm_document *document, const struct lm_value *value, struct lm_stage *stage,
                     loam_error *error)
{
    const char *text;
    int code = lm_value_string(document, value, &text, error);
    if (code != LOAM_OK)
        return code;
    if (!value->length)
        return lm_value_fail(document, value, error, "found an empty text, wanted at least one character");
    stage->length = value->length;
    stage->text = lm_copy_string(text, value->length, error);
    return stage->text ? LOAM_OK : LOAM_ENOMEM;
}

static int read_split(const struct lm_document *document, const struct lm_value *value, struct lm_stage *stage,
                      loam_error *error)
{
    const struct lm_value *pattern = lm_value_find(value, "pattern"), *regex = lm_value_find(pattern, "Regex");
    stage->kind = SPLIT;
    int code = read_behaviour(document, value, stage, error);
    if (code == LOAM_OK)
        code = read_flag(document, value, "invert", false, &stage->options[INVERT], error);
    if (code != LOAM_OK)
        return code;
    if (!regex)
        return copy_text(document, lm_value_find(pattern, "String"), stage, error);
    const char *text;
    code = lm_value_string(document, regex, &text, error);
    if (code != LOAM_OK)
        return code;
    stage->length = regex->length;
    stage->text = lm_copy_string(text, regex->length, error);
    if (!stage->text)
        return LOAM_ENOMEM;
    stage->pattern = lm_pattern_of_regex(text, regex->length);
    if (!stage->pattern)
        code = lm_literals_of(text, regex->length, &stage->literals, error);
    return stage->pattern || stage->literals || code != LOAM_OK ? code : lm_regex_of(document, regex, &stage->regex, error);
}

static int read_metaspace(const struct lm_document *document, const struct lm_value *value, struct lm_stage *stage,
                          loam_error *error)
{
    const struct lm_value *scheme = lm_value_find(value, "prepend_scheme");
    bool add = true;
    stage->kind = METASPACE;
    int code = copy_text(document, lm_value_find(value, "replacement"), stage, error);
    if (code == LOAM_OK)
        code = read_flag(document, value, "split", true, &stage->options[SPLITS], error);
    if (code == LOAM_OK)
        code = read_flag(document, value, "add_prefix_space", true, &add, error);
    if (code != LOAM_OK)
        return code;
    stage->options[ALWAYS] = scheme ? lm_value_is(scheme, "always") : add;
    stage->options[FIRST] = lm_value_is(scheme, "first");
    if (scheme && !stage->options[ALWAYS] && !stage->options[FIRST] && !lm_value_is(scheme, "never"))
        return lm_value_fail(document, scheme, error, "wanted always, first or never");
    return LOAM_OK;
}

static int read_stage(const struct lm_document *document, const struct lm_value *value, struct lm_stage *stage,
                      loam_error *error)
{
    const struct lm_value *type = lm_value_find(value, "type");
    bool flag = false;
    int code;
    stage->behaviour = LM_ISOLATED;
    if (lm_value_is(type, "ByteLevel")) {
        stage->kind = BYTE_LEVEL;
        code = read_flag(document, value, "add_prefix_space", true, &stage->options[PREFIX_SPACE], error);
        if (code == LOAM_OK)
            code = read_flag(document, value, "use_regex", true, &flag, error);
        stage->pattern = flag ? lm_pattern_named("gpt2") : NULL;
        return code;
    }
    if (lm_value_is(type, "Split"))
        return read_split(document, value, stage, error);
    if (lm_value_is(type, "Metaspace"))
        return read_metaspace(document, value, stage, error);
    if (lm_value_is(type, "Digits")) {
        stage->kind = DIGITS;
        code = read_flag(document, value, "individual_digits", false, &flag, error);
        stage->behaviour = flag ? LM_ISOLATED : LM_CONTIGUOUS;
        return code;
    }
    if (lm_value_is(type, "Punctuation")) {
        stage->kind = PUNCTUATION;
        return lm_value_find(value, "behavior") ? read_behaviour(document, value, stage, error) : LOAM_OK;
    }
    if (lm_value_is(type, "Whitespace")) {
        stage->kind = WORDS;
        return LOAM_OK;
    }
    if (lm_value_is(type, "WhitespaceSplit")) {
        stage->kind = WHITE_SPACE;
        stage->behaviour = LM_REMOVED;
        return LOAM_OK;
    }
    if (lm_value_is(type, "CharDelimiterSplit")) {
        stage->kind = SPLIT;
        stage->behaviour = LM_REMOVED;
        return copy_text(document, lm_value_find(value, "delimiter"), stage, error);
    }
    return lm_type_fail(document, value,
                        "ByteLevel, Split, Metaspace, Digits, "
                        "Punctuation, Whitespace, WhitespaceSplit, BertPreTokenizer, CharDelimiterSplit and Sequence",
                        error);
}

/* The last steps together are a known pattern of several splits: its scanner takes their place. */
static void fold(struct lm_stages *stages)
{
    const struct lm_pattern *pattern;
    if (stages->count < LM_PATTERN_SPLITS)
        return;
    struct lm_stage *last = &stages->items[stages->count - LM_PATTERN_SPLITS];
    for (size_t n = 0; (pattern = lm_pattern_at(n)); n++) {
        bool same = true;
        for (size_t i = 0; same && i < LM_PATTERN_SPLITS; i++)
            same = last[i].kind == SPLIT && last[i].regex && last[i].behaviour == LM_ISOLATED &&
                   lm_pattern_has(pattern, i, last[i].text, last[i].length);
        if (!same)
            continue;
        struct lm_stages folded = {last, LM_PATTERN_SPLITS};
        lm_stages_clear(&folded);
        *last = (struct lm_stage){.kind = SPLIT, .behaviour = LM_ISOLATED, .pattern = pattern};
        stages->count -= LM_PATTERN_SPLITS - 1;
        return;
    }
}

static int push_stage(const struct lm_document *document, const struct lm_value *value, struct lm_stages *stages,
                      loam_error *error)
{
    if (stages->count + 2 > LM_STAGES_MOST)
        return lm_value_fail(document, value, error, "more than %d steps", LM_STAGES_MOST);
    struct lm_stage *stage = lm_stages_push(stages, error);
    if (!stage)
        return LOAM_ENOMEM;
    if (lm_value_is(lm_value_find(value, "type"), "BertPreTokenizer")) {
        *stage = (struct lm_stage){.kind = WHITE_SPACE, .behaviour = LM_REMOVED};
        stage = lm_stages_push(stages, error);
        if (!stage)
            return LOAM_ENOMEM;
        *stage = (struct lm_stage){.kind = PUNCTUATION, .behaviour = LM_ISOLATED};
        return LOAM_OK;
    }
    int code = read_stage(document, value, stage, error);
    if (code == LOAM_OK && stage->kind == SPLIT)
        fold(stages);
    if (code != LOAM_OK || stage->kind != BYTE_LEVEL)
        return code;
    /* A step that leaves everything as it is is left out, so that a lone scanner is seen to be alone. */
    if (!stage->pattern && !stage->options[PREFIX_SPACE])
        stages->count--;
    stage = lm_stages_push(stages, error);
    if (!stage)
        return LOAM_ENOMEM;
    *stage = (struct lm_stage){.kind = LETTERS};
    return LOAM_OK;
}

int lm_pretokenizer_read(const struct lm_document *document, const struct lm_value *value, struct lm_stages *stages,
                         loam_error *error)
{
    if (!value || value->kind == LM_NULL)
        return LOAM_OK;
    if (!lm_value_is(lm_value_find(value, "type"), "Sequence"))
        return push_stage(document, value, stages, error);
    const struct lm_value *list = lm_value_find(value, "pretokenizers");
    if (!list || list->kind != LM_ARRAY)
        return lm_value_fail(document, value, error, "wanted a list 'pretokenizers'");
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < list->length; i++)
        code = lm_pretokenizer_read(document, &list->items[i], stages, error);
    return code;
}

bool lm_pretokenizer_lettered(const struct lm_stages *stages)
{
    for (size_t i = 0; i < stages->count; i++)
        if (stages->items[i].kind == LETTERS)
            return true;
    return false;
}

bool lm_pretokenizer_drop_letters(struct lm_stages *stages)
{
    size_t count = 0;
    for (size_t i = 0; i < stages->count; i++)
        count += stages->items[i].kind == LETTERS;
    if (count != 1 || stages->items[stages->count - 1].kind != LETTERS)
        return false;
    stages->count--;
    return true;
}
