/* Normalizers: from the text as it was written to the text that is split. */
#include "byte_alphabet.h"
#include "internal.h"
#include "charsmap.h"
#include "normal_forms.h"

#include <utf8proc.h>

/* What the members of lm_stage mean here. */
enum kind {
    FORM, /* start: enum lm_form */
    LOWERCASE,
    STRIP,       /* options[LEFT], [RIGHT] */
    STRIP_MARKS, /* options[NONSPACING]: only those */
    PREPEND,     /* text */
    REPLACE,     /* text or regex, content */
    BERT_CLEAN,
    BERT_CHINESE,
    LETTERS,     /* every byte becomes its letter of the byte alphabet */
    PRECOMPILED, /* charsmap; options[LONGEST]: as SentencePiece does it */
};
enum { LEFT = 0, RIGHT = 1, NONSPACING = 0, LONGEST = 0 };

/* One stage's work: from `in` into `out`. */
struct work {
    struct lm_workspace *workspace;
    const struct lm_unicode *unicode;
    const struct lm_span *in;
    struct lm_text *out;
    bool origins;
    size_t most; /* bytes that a replacement may make of the text: a hostile file's grows without end */
    loam_error *error;
};
enum { GROWTH_MOST = 256, GROWTH_FREE = 1 << 20 };

static int put(struct work *work, size_t at, const char *bytes, size_t length)
{
    int code = lm_bytes_append(&work->out->bytes, bytes, length, work->error);
    int32_t origin = work->in->origins ? work->in->origins[at] : (int32_t)at;
    for (size_t i = 0; code == LOAM_OK && work->origins && i < length; i++)
        code = lm_ids_push(&work->out->origins, origin, work->error);
    return code;
}

/* Copies the input's bytes [start, end), each with its own origin. */
static int keep(struct work *work, size_t start, size_t end)
{
    if (!work->origins)
        return end > start ? lm_bytes_append(&work->out->bytes, work->in->text + start, end - start, work->error)
                           : LOAM_OK;
    int code = LOAM_OK;
    for (; code == LOAM_OK && start < end; start++)
        code = put(work, start, work->in->text + start, 1);
    return code;
}

static int put_point(struct work *work, size_t at, uint32_t c)
{
    char bytes[4];
    return put(work, at, bytes, lm_utf8_encode(c, bytes));
}

static size_t next_character(const struct work *work, size_t at, uint32_t *c)
{
    const unsigned char *text = (const unsigned char *)work->in->text;
    return lm_character(text + at, text + work->in->length, c);
}

static bool is_point(uint32_t c)
{
    return c <= 0x10FFFF;
}

/* Where the next character lies that a form may change; the segment that holds it begins at *from. */
static bool find_change(const struct work *work, enum lm_form form, size_t at, size_t *from, size_t *to)
{
    size_t begin = at;
    for (size_t n; at < work->in->length; at += n) {
        if ((unsigned char)work->in->text[at] < 0x80) {
            begin = at;
            n = 1;
            continue;
        }
        uint32_t c;
        n = next_character(work, at, &c);
        bool begins = !is_point(c) || lm_form_begins(c);
        if (begins)
            begin = at;
        if (begins && (!is_point(c) || lm_form_keeps(form, c)))
            continue;
        /* A byte that is no character takes part in nothing. */
        uint32_t head;
        size_t head_length = next_character(work, begin, &head);
        *from = is_point(head) ? begin : begin + head_length;
        for (at += n; at < work->in->length; at += n) {
            n = next_character(work, at, &c);
            if (!is_point(c) || lm_form_begins(c))
                break;
        }
        *to = at;
        return true;
    }
    return false;
}

static int grow_points(struct lm_workspace *w, size_t count, loam_error *error)
{
    size_t wanted;
    if (!lm_mul(count, 2 * LM_FORM_GROWTH, &wanted))
        return lm_fail(error, LOAM_ENOMEM, "not enough memory for a run of %zu marks", count);
    if (wanted <= w->point_capacity)
        return LOAM_OK;
    int32_t *points = lm_resize(w->points, wanted, sizeof *points, error);
    if (!points)
        return LOAM_ENOMEM;
    w->points = points;
    w->point_capacity = wanted;
    return LOAM_OK;
}

static int form_segment(struct work *work, enum lm_form form, size_t from, size_t to)
{
    struct lm_workspace *w = work->workspace;
    int code = grow_points(w, to - from, work->error);
    size_t count = 0;
    for (size_t at = from; code == LOAM_OK && at < to;) {
        uint32_t c;
        at += next_character(work, at, &c);
        w->points[count++] = (int32_t)c;
    }
    if (code == LOAM_OK)
        count = lm_form_segment(form, w->points, count, w->points + w->point_capacity / 2);
    /* Characters at the end that stayed as they are keep their places; all others are of the segment's first. */
    size_t kept = count, end = to;
    while (code == LOAM_OK && work->origins && kept > 1 && end > from) {
        size_t before = end - 1;
        uint32_t c;
        while (before > from && ((unsigned char)work->in->text[before] & 0xC0) == 0x80)
            before--;
        next_character(work, before, &c);
        if ((int32_t)c != w->points[kept - 1] || before == from)
            break;
        end = before;
        kept--;
    }
    for (size_t i = 0; code == LOAM_OK && i < kept; i++)
        code = put_point(work, from, (uint32_t)w->points[i]);
    if (code == LOAM_OK && kept < count)
        code = keep(work, end, to);
    return code;
}

static int run_form(struct work *work, enum lm_form form, bool *changed)
{
    size_t at = 0, from, to;
    int code = LOAM_OK;
    *changed = find_change(work, form, 0, &from, &to);
    while (*changed && code == LOAM_OK && at < work->in->length) {
        bool more = find_change(work, form, at, &from, &to);
        code = keep(work, at, more ? from : work->in->length);
        if (code == LOAM_OK && more)
            code = form_segment(work, form, from, to);
        at = more ? to : work->in->length;
    }
    return code;
}

static bool is_mark(const struct work *work, const struct lm_stage *stage, uint32_t c)
{
    return (lm_unicode_class(work->unicode, c) & LM_CLASS_MARK) &&
           (!stage->options[NONSPACING] || utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_MN);
}

static bool is_control(uint32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r' || !is_point(c))
        return false;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return c == 0xFFFD || category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
           category == UTF8PROC_CATEGORY_CO || category == UTF8PROC_CATEGORY_CS;
}

static bool is_chinese(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static int lower(struct work *work, size_t at, uint32_t c)
{
    if (c == 0x130) /* the one character whose small form is two: i with a dot above */
        return put(work, at, "i\xCC\x87", 3);
    return put_point(work, at, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
}

/* The stages that look at each character alone. */
static int run_characters(struct work *work, const struct lm_stage *stage)
{
    int code = LOAM_OK;
    for (size_t at = 0, n; code == LOAM_OK && at < work->in->length; at += n) {
        uint32_t c;
        n = next_character(work, at, &c);
        if (stage->kind == LOWERCASE && is_point(c))
            code = lower(work, at, c);
        else if (stage->kind == STRIP_MARKS && is_mark(work, stage, c))
            continue;
        else if (stage->kind == BERT_CLEAN && is_control(c))
            continue;
        else if (stage->kind == BERT_CLEAN && lm_is_white_space(c))
            code = put(work, at, " ", 1);
        else if (stage->kind == BERT_CHINESE && is_chinese(c)) {
            code = put(work, at, " ", 1);
            if (code == LOAM_OK)
                code = keep(work, at, at + n);
            if (code == LOAM_OK)
                code = put(work, at, " ", 1);
        } else
            code = keep(work, at, at + n);
    }
    return code;
}

static int run_strip(struct work *work, const struct lm_stage *stage)
{
    size_t start = 0, end = 0;
    uint32_t c;
    for (size_t n; stage->options[LEFT] && start < work->in->length; start += n) {
        n = next_character(work, start, &c);
        if (!lm_is_white_space(c))
            break;
    }
    for (size_t at = start, n; at < work->in->length; at += n) {
        n = next_character(work, at, &c);
        if (!lm_is_white_space(c))
            end = at + n;
    }
    return keep(work, start, !stage->options[RIGHT] ? work->in->length : end > start ? end : start);
}

/* The last character of what is put in stands for the last one taken out, the others for the first. */
static int put_replacement(struct work *work, const struct lm_stage *stage, size_t start, size_t end)
{
    size_t last = end > start ? end - 1 : start, tail = stage->content_length;
    if (work->out->bytes.length > work->most)
        return lm_fail(work->error, LOAM_EUNSUPPORTED,
                       "the tokenizer's normalizer makes more than %d bytes of each byte of the text; its Replace steps "
                       "look like a mistake",
                       GROWTH_MOST);
    if (start == work->in->length) { /* put in at the end: it stands with the last character */
        for (start--; start && ((unsigned char)work->in->text[start] & 0xC0) == 0x80;)
            start--;
        last = start;
    }
    while (last > start && ((unsigned char)work->in->text[last] & 0xC0) == 0x80)
        last--;
    while (tail > 1 && ((unsigned char)stage->content[tail - 1] & 0xC0) == 0x80)
        tail--;
    if (!work->origins || tail < 2)
        return put(work, start, stage->content, stage->content_length);
    int code = put(work, start, stage->content, tail - 1);
    return code == LOAM_OK ? put(work, last, stage->content + tail - 1, stage->content_length - tail + 1) : code;
}

static int run_replace(struct work *work, const struct lm_stage *stage)
{
    struct lm_workspace *w = work->workspace;
    int code = w->match || !stage->regex ? LOAM_OK : lm_regex_match_create(&w->match, work->error);
    bool found = true, first = true;
    for (size_t at = 0, start, end; code == LOAM_OK && found; first = false) {
        if (stage->regex) {
            code = lm_regex_find(stage->regex, w->match, work->in->text, work->in->length, at, first, &found, &start,
                                 &end, work->error);
        } else {
            const char *place = memmem(work->in->text + at, work->in->length - at, stage->text, stage->length);
            found = place != NULL;
            start = place ? (size_t)(place - work->in->text) : 0;
            end = start + stage->length;
        }
        if (code != LOAM_OK)
            break;
        code = keep(work, at, found ? start : work->in->length);
        if (code == LOAM_OK && found)
            code = put_replacement(work, stage, start, end);
        at = found ? end : work->in->length;
    }
    return code;
}

static int run_letters(struct work *work)
{
    int code = LOAM_OK;
    for (size_t at = 0; code == LOAM_OK && at < work->in->length; at++)
        code = put_point(work, at, lm_alphabet_character((unsigned char)work->in->text[at]));
    return code;
}

/* SentencePiece's way: at each place the longest string that is mapped. */
static int run_longest(struct work *work, const struct lm_stage *stage)
{
    int code = LOAM_OK;
    for (size_t at = 0, n; code == LOAM_OK && at < work->in->length; at += n) {
        size_t mapped;
        uint32_t c;
        const char *found =
            lm_charsmap_longest(stage->charsmap, work->in->text + at, work->in->length - at, &n, &mapped);
        if (!found)
            n = next_character(work, at, &c);
        code = found ? put(work, at, found, mapped) : keep(work, at, at + n);
    }
    return code;
}

/* Hugging Face's way: a cluster of under six bytes that begins with something mapped is replaced whole; else each
 * character by itself. */
static int run_precompiled(struct work *work, const struct lm_stage *stage, bool *changed)
{
    const char *text = work->in->text;
    size_t length = work->in->length;
    int code = LOAM_OK;
    *changed = true;
    if (stage->options[LONGEST])
        return run_longest(work, stage);
    for (size_t at = 0; code == LOAM_OK && at < length;) {
        size_t end = lm_cluster_end(text, length, at), mapped;
        const char *found = end - at < 6 ? lm_charsmap_find(stage->charsmap, text + at, end - at, &mapped) : NULL;
        if (found) {
            code = put(work, at, found, mapped);
            at = end;
        }
        for (size_t n; code == LOAM_OK && at < end; at += n) {
            uint32_t c;
            n = next_character(work, at, &c);
            found = lm_charsmap_find(stage->charsmap, text + at, n, &mapped);
            code = found ? put(work, at, found, mapped) : keep(work, at, at + n);
        }
    }
    return code;
}

static int run_stage(struct work *work, const struct lm_stage *stage, bool *changed)
{
    *changed = true;
    switch ((enum kind)stage->kind) {
    case FORM:
        return run_form(work, (enum lm_form)stage->start, changed);
    case STRIP:
        return run_strip(work, stage);
    case REPLACE:
        return run_replace(work, stage);
    case LETTERS:
        return run_letters(work);
    case PRECOMPILED:
        return run_precompiled(work, stage, changed);
    case PREPEND: {
        int code = put(work, 0, stage->text, stage->length);
        return code == LOAM_OK ? keep(work, 0, work->in->length) : code;
    }
    default:
        return run_characters(work, stage);
    }
}

int lm_normalize(const struct lm_tokenizer *tokenizer, struct lm_workspace *workspace, const struct lm_span *span,
                 bool origins, struct lm_span *out, loam_error *error)
{
    struct lm_span now = *span;
    const size_t most = span->length < SIZE_MAX / GROWTH_MOST - GROWTH_FREE ? span->length * GROWTH_MOST + GROWTH_FREE
                                                                            : SIZE_MAX;
    int which = 0;
    for (size_t i = 0; i < tokenizer->normalizer.count && now.length; i++) {
        struct lm_text *text = &workspace->texts[which];
        text->bytes.length = text->origins.length = 0;
        struct work work = {workspace, tokenizer->unicode, &now, text, origins, most, error};
        bool changed;
        int code = run_stage(&work, &tokenizer->normalizer.items[i], &changed);
        if (code != LOAM_OK)
            return code;
        if (!changed)
            continue;
        now.text = text->bytes.data ? text->bytes.data : "";
        now.length = text->bytes.length;
        now.origins = origins ? text->origins.data : NULL;
        which = !which;
    }
    *out = now;
    return LOAM_OK;
}

static int flag(const struct lm_document *document, const struct lm_value *object, const char *key, bool otherwise,
                bool *result, loam_error *error)
{
    const struct lm_value *value = lm_value_find(object, key);
    *result = otherwise;
    return value && value->kind != LM_NULL ? lm_value_bool(document, value, result, error) : LOAM_OK;
}

static int copy(const struct lm_document *document, const struct lm_value *value, char **text, size_t *length,
                loam_error *error)
{
    const char *found;
    int code = lm_value_string(document, value, &found, error);
    if (code != LOAM_OK)
        return code;
    *text = lm_copy_string(found, value->length, error);
    *length = value->length;
    return *text ? LOAM_OK : LOAM_ENOMEM;
}

static int push(struct lm_stages *stages, int kind, struct lm_stage **stage, loam_error *error)
{
    struct lm_stage *made = lm_stages_push(stages, error);
    if (!made)
        return LOAM_ENOMEM;
    made->kind = kind;
    if (stage)
        *stage = made;
    return LOAM_OK;
}

static int read_replace(const struct lm_document *document, const struct lm_value *value, struct lm_stages *stages,
                        loam_error *error)
{
    const struct lm_value *pattern = lm_value_find(value, "pattern"), *regex = lm_value_find(pattern, "Regex");
    struct lm_stage *stage;
    int code = push(stages, REPLACE, &stage, error);
    if (code == LOAM_OK)
        code = copy(document, lm_value_find(value, "content"), &stage->content, &stage->content_length, error);
    if (code == LOAM_OK)
        code = copy(document, regex ? regex : lm_value_find(pattern, "String"), &stage->text, &stage->length, error);
    if (code == LOAM_OK && !stage->length)
        code = lm_value_fail(document, pattern, error, "Replace: found an empty pattern");
    return code == LOAM_OK && regex ? lm_regex_of(document, regex, &stage->regex, error) : code;
}

static int read_bert(const struct lm_document *document, const struct lm_value *value, struct lm_stages *stages,
                     loam_error *error)
{
    bool clean, chinese, small, strip = false;
    int code = flag(document, value, "clean_text", true, &clean, error);
    if (code == LOAM_OK)
        code = flag(document, value, "handle_chinese_chars", true, &chinese, error);
    if (code == LOAM_OK)
        code = flag(document, value, "lowercase", true, &small, error);
    if (code == LOAM_OK)
        code = flag(document, value, "strip_accents", small, &strip, error);
    if (code == LOAM_OK && clean)
        code = push(stages, BERT_CLEAN, NULL, error);
    if (code == LOAM_OK && chinese)
        code = push(stages, BERT_CHINESE, NULL, error);
    struct lm_stage *stage;
    if (code == LOAM_OK && strip) {
        code = push(stages, FORM, &stage, error);
        if (code == LOAM_OK)
            stage->start = LM_NFD;
        if (code == LOAM_OK)
            code = push(stages, STRIP_MARKS, &stage, error);
        if (code == LOAM_OK)
            stage->options[NONSPACING] = true;
    }
    return code == LOAM_OK && small ? push(stages, LOWERCASE, NULL, error) : code;
}

static int read_stage(const struct lm_document *document, const struct lm_value *value, struct lm_stages *stages,
                      loam_error *error)
{
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    const struct lm_value *type = lm_value_find(value, "type");
    struct lm_stage *stage;
    int code;
    for (int i = 0; i < 4; i++)
        if (lm_value_is(type, forms[i])) {
            code = push(stages, FORM, &stage, error);
            if (code == LOAM_OK)
                stage->start = i;
            return code;
        }
    if (lm_value_is(type, "Lowercase"))
        return push(stages, LOWERCASE, NULL, error);
    if (lm_value_is(type, "StripAccents"))
        return push(stages, STRIP_MARKS, NULL, error);
    if (lm_value_is(type, "Replace"))
        return read_replace(document, value, stages, error);
    if (lm_value_is(type, "BertNormalizer"))
        return read_bert(document, value, stages, error);
    if (lm_value_is(type, "Prepend")) {
        code = push(stages, PREPEND, &stage, error);
        return code == LOAM_OK ? copy(document, lm_value_find(value, "prepend"), &stage->text, &stage->length, error)
                               : code;
    }
    if (lm_value_is(type, "Strip")) {
        code = push(stages, STRIP, &stage, error);
        if (code == LOAM_OK)
            code = flag(document, value, "strip_left", true, &stage->options[LEFT], error);
        return code == LOAM_OK ? flag(document, value, "strip_right", true, &stage->options[RIGHT], error) : code;
    }
    if (lm_value_is(type, "ByteLevel"))
        return push(stages, LETTERS, NULL, error);
    if (lm_value_is(type, "Precompiled")) {
        code = push(stages, PRECOMPILED, &stage, error);
        if (code == LOAM_OK)
            code = flag(document, value, "longest", false, &stage->options[LONGEST], error);
        return code == LOAM_OK ? lm_charsmap_read(document, lm_value_find(value, "precompiled_charsmap"),
                                                  &stage->charsmap, error)
                               : code;
    }
    return lm_type_fail(document, value,
                        "NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Replace, Precompiled, "
                        "BertNormalizer, ByteLevel and Sequence",
                        error);
}

bool lm_normalizer_lettered(const struct lm_stages *stages)
{
    for (size_t i = 0; i < stages->count; i++)
        if (stages->items[i].kind == LETTERS)
            return true;
    return false;
}

int lm_normalizer_read(const struct lm_document *document, const struct lm_value *value, struct lm_stages *stages,
                       loam_error *error)
{
    if (!value || value->kind == LM_NULL)
        return LOAM_OK;
    if (!lm_value_is(lm_value_find(value, "type"), "Sequence"))
        return read_stage(document, value, stages, error);
    const struct lm_value *list = lm_value_find(value, "normalizers");
    if (!list || list->kind != LM_ARRAY)
        return lm_value_fail(document, value, error, "wanted a list 'normalizers'");
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < list->length; i++)
        code = lm_normalizer_read(document, &list->items[i], stages, error);
    return code;
}
