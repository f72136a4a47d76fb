/* Decoders: from tokens back to text, one token after the other. */
#include "internal.h"

/* What the members of lm_stage mean here. */
enum kind {
    BYTE_LEVEL,
    BYTE_FALLBACK,
    FUSE,
    METASPACE, /* text; options[FRONT]: the first token's is taken out */
    REPLACE,   /* text or regex; content */
    STRIP,     /* text: the character; start, stop: at most so many; options[WHOLE]: of the whole text */
    WORDPIECE, /* text: prefix; options[CLEAN] */
    SUFFIX,    /* text: what ends a word */
    SPACED,    /* no decoder: a space between tokens */
};
enum { FRONT = 0, WHOLE = 0, CLEAN = 0 };

static int replace_all(struct lm_bytes *text, size_t from, const char *old, size_t old_length, const char *fresh,
                       size_t fresh_length, loam_error *error)
{
    const char *place = memmem(text->data + from, text->length - from, old, old_length);
    if (!place)
        return LOAM_OK;
    struct lm_bytes made = {0};
    int code = LOAM_OK;
    size_t at = from;
    while (code == LOAM_OK && place) {
        size_t start = (size_t)(place - text->data);
        code = lm_bytes_append(&made, text->data + at, start - at, error);
        if (code == LOAM_OK)
            code = lm_bytes_append(&made, fresh, fresh_length, error);
        at = start + old_length;
        place = memmem(text->data + at, text->length - at, old, old_length);
    }
    if (code == LOAM_OK)
        code = lm_bytes_append(&made, text->data + at, text->length - at, error);
    if (code == LOAM_OK) {
        text->length = from;
        code = lm_bytes_append(text, made.data, made.length, error);
    }
    lm_bytes_free(&made);
    return code;
}

static int replace_regex(const struct lm_stage *stage, struct lm_bytes *text, size_t from, loam_error *error)
{
    struct lm_regex_match *match;
    int code = lm_regex_match_create(&match, error);
    if (code != LOAM_OK)
        return code;
    struct lm_bytes made = {0};
    const char *source = text->data + from;
    size_t length = text->length - from, at = 0;
    for (bool found = true; code == LOAM_OK && found;) {
        size_t start, end;
        code = lm_regex_find(stage->regex, match, source, length, at, &found, &start, &end, error);
        if (code == LOAM_OK)
            code = lm_bytes_append(&made, source + at, (found ? start : length) - at, error);
        if (code == LOAM_OK && found)
            code = lm_bytes_append(&made, stage->content, stage->content_length, error);
        at = found ? end : length;
    }
    if (code == LOAM_OK) {
        text->length = from;
        code = lm_bytes_append(text, made.data ? made.data : "", made.length, error);
    }
    lm_bytes_free(&made);
    lm_regex_match_free(match);
    return code;
}

static void cut(struct lm_bytes *text, size_t at, size_t length)
{
    memmove(text->data + at, text->data + at + length, text->length - at - length);
    text->length -= length;
    text->data[text->length] = 0;
}

static void strip(const struct lm_stage *stage, struct lm_bytes *text, size_t from)
{
    for (int64_t i = 0; i < stage->start && text->length - from >= stage->length &&
                        !memcmp(text->data + from, stage->text, stage->length);
         i++)
        cut(text, from, stage->length);
    for (int64_t i = 0; i < stage->stop && text->length - from >= stage->length &&
                        !memcmp(text->data + text->length - stage->length, stage->text, stage->length);
         i++)
        cut(text, text->length - stage->length, stage->length);
}

/* "##ing" goes on with the word before it, "the" begins one. */
static int wordpiece(const struct lm_stage *stage, struct lm_bytes *text, size_t from, bool first, loam_error *error)
{
    int code = LOAM_OK;
    bool goes_on =
        stage->length && text->length - from >= stage->length && !memcmp(text->data + from, stage->text, stage->length);
    if (!first && goes_on) {
        cut(text, from, stage->length);
    } else if (!first) {
        code = lm_bytes_append(text, " ", 1, error);
        if (code == LOAM_OK) {
            memmove(text->data + from + 1, text->data + from, text->length - from - 1);
            text->data[from] = ' ';
        }
    }
    static const char *const tidy[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                          {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                          {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; code == LOAM_OK && stage->options[CLEAN] && i < sizeof tidy / sizeof *tidy; i++)
        code = replace_all(text, from, tidy[i][0], strlen(tidy[i][0]), tidy[i][1], strlen(tidy[i][1]), error);
    return code;
}

static int run_stage(const struct lm_tokenizer *tokenizer, const struct lm_stage *stage, int32_t id,
                     struct lm_bytes *text, size_t from, bool first, loam_error *error)
{
    switch ((enum kind)stage->kind) {
    case METASPACE:
        return replace_all(text, from, stage->text, stage->length, " ", first && stage->options[FRONT] ? 0 : 1, error);
    case REPLACE:
        return stage->regex
                   ? replace_regex(stage, text, from, error)
                   : replace_all(text, from, stage->text, stage->length, stage->content, stage->content_length, error);
    case STRIP:
        if (!stage->options[WHOLE] || first)
            strip(stage, text, from);
        return LOAM_OK;
    case WORDPIECE:
        return wordpiece(stage, text, from, first, error);
    case SUFFIX:
        return replace_all(text, from, stage->text, stage->length, " ", 1, error);
    case SPACED:
        return first ? LOAM_OK : wordpiece(&(struct lm_stage){.text = ""}, text, from, false, error);
    case BYTE_FALLBACK:
        if (tokenizer->vocabulary.flags[id] & LM_TOKEN_BYTE) {
            unsigned value = 0;
            for (size_t i = from + 3; i < from + 5; i++)
                value = value * 16 +
                        (unsigned)(text->data[i] <= '9' ? text->data[i] - '0' : (text->data[i] | 32) - 'a' + 10);
            text->length = from;
            return lm_bytes_append(text, (const char[]){(char)value}, 1, error);
        }
        return LOAM_OK;
    case BYTE_LEVEL:
    case FUSE:
        return LOAM_OK;
    }
    return LOAM_OK;
}

int lm_decode_token(const struct lm_tokenizer *tokenizer, int32_t id, bool first, struct lm_bytes *out,
                    loam_error *error)
{
    size_t from = out->length, length;
    const char *text = lm_vocabulary_text(&tokenizer->vocabulary, id, &length);
    int code = lm_bytes_append(out, text, length, error);
    if (tokenizer->byte_level)
        return code;
    for (size_t i = 0; code == LOAM_OK && i < tokenizer->decoder.count; i++)
        code = run_stage(tokenizer, &tokenizer->decoder.items[i], id, out, from, first, error);
    return code;
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

static int read_replace(const struct lm_document *document, const struct lm_value *value, struct lm_stage *stage,
                        loam_error *error)
{
    const struct lm_value *pattern = lm_value_find(value, "pattern"), *regex = lm_value_find(pattern, "Regex");
    int code = copy(document, lm_value_find(value, "content"), &stage->content, &stage->content_length, error);
    if (code == LOAM_OK)
        code = copy(document, regex ? regex : lm_value_find(pattern, "String"), &stage->text, &stage->length, error);
    if (code == LOAM_OK && !stage->length)
        return lm_value_fail(document, pattern, error, "Replace: found an empty pattern");
    return code == LOAM_OK && regex ? lm_regex_of(document, regex, &stage->regex, error) : code;
}

static int read_strip(const struct lm_document *document, const struct lm_value *value, struct lm_stage *stage,
                      bool fused, loam_error *error)
{
    int code = copy(document, lm_value_find(value, "content"), &stage->text, &stage->length, error);
    if (code == LOAM_OK && !stage->length)
        code = lm_value_fail(document, value, error, "Strip: found an empty content");
    if (code == LOAM_OK)
        code = lm_value_int(document, lm_value_find(value, "start"), 0, 1000, &stage->start, error);
    if (code == LOAM_OK)
        code = lm_value_int(document, lm_value_find(value, "stop"), 0, 1000, &stage->stop, error);
    if (code == LOAM_OK && fused && (stage->start > 1 || stage->stop))
        code = lm_value_fail(document, value, error,
                             "Strip behind Fuse: loam takes off one character in front and none at the "
                             "end, found start %lld and stop %lld",
                             (long long)stage->start, (long long)stage->stop);
    stage->options[WHOLE] = fused;
    return code;
}

static int read_stage(const struct lm_document *document, const struct lm_value *value, struct lm_stages *stages,
                      loam_error *error)
{
    const struct lm_value *type = lm_value_find(value, "type"), *more;
    bool fused = false;
    for (size_t i = 0; i < stages->count; i++)
        fused |= stages->items[i].kind == FUSE;
    struct lm_stage *stage = lm_stages_push(stages, error);
    if (!stage)
        return LOAM_ENOMEM;
    stage->kind = FUSE;
    if (lm_value_is(type, "ByteLevel"))
        stage->kind = BYTE_LEVEL;
    else if (lm_value_is(type, "ByteFallback"))
        stage->kind = BYTE_FALLBACK;
    else if (lm_value_is(type, "Replace")) {
        stage->kind = REPLACE;
        return read_replace(document, value, stage, error);
    } else if (lm_value_is(type, "Strip")) {
        stage->kind = STRIP;
        return read_strip(document, value, stage, fused, error);
    } else if (lm_value_is(type, "Metaspace")) {
        stage->kind = METASPACE;
        more = lm_value_find(value, "prepend_scheme");
        const struct lm_value *add = lm_value_find(value, "add_prefix_space");
        stage->options[FRONT] = more ? !lm_value_is(more, "never") : !add || add->truth;
        int code = copy(document, lm_value_find(value, "replacement"), &stage->text, &stage->length, error);
        return code == LOAM_OK && !stage->length ? lm_value_fail(document, value, error, "replacement: found nothing")
                                                 : code;
    } else if (lm_value_is(type, "WordPiece")) {
        stage->kind = WORDPIECE;
        more = lm_value_find(value, "cleanup");
        stage->options[CLEAN] = !more || more->truth;
        return copy(document, lm_value_find(value, "prefix"), &stage->text, &stage->length, error);
    } else if (lm_value_is(type, "BPEDecoder")) {
        stage->kind = SUFFIX;
        int code = copy(document, lm_value_find(value, "suffix"), &stage->text, &stage->length, error);
        return code == LOAM_OK && !stage->length ? lm_value_fail(document, value, error, "suffix: found nothing")
                                                 : code;
    } else if (!lm_value_is(type, "Fuse")) {
        return lm_type_fail(document, value,
                            "ByteLevel, Metaspace, ByteFallback, Fuse, "
                            "Replace, Strip, WordPiece, BPEDecoder and Sequence",
                            error);
    }
    return LOAM_OK;
}

int lm_decoder_read(const struct lm_document *document, const struct lm_value *value, struct lm_stages *stages,
                    loam_error *error)
{
    if (!value || value->kind == LM_NULL) {
        struct lm_stage *stage = lm_stages_push(stages, error);
        if (!stage)
            return LOAM_ENOMEM;
        stage->kind = SPACED;
        return LOAM_OK;
    }
    if (!lm_value_is(lm_value_find(value, "type"), "Sequence"))
        return read_stage(document, value, stages, error);
    const struct lm_value *list = lm_value_find(value, "decoders");
    if (!list || list->kind != LM_ARRAY)
        return lm_value_fail(document, value, error, "wanted a list 'decoders'");
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < list->length; i++)
        code = lm_decoder_read(document, &list->items[i], stages, error);
    return code;
}
