/* Decoders: from tokens back to text, one token after the other. */
#include "byte_alphabet.h"
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
    for (bool found = length > 0, first = true; code == LOAM_OK && found; first = false) {
        size_t start, end;
        code = lm_regex_find(stage->regex, match, source, length, at, first, &found, &start, &end, error);
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

static bool begins_with(const struct lm_bytes *text, size_t from, const struct lm_stage *stage)
{
    return text->length - from >= stage->length && !memcmp(text->data + from, stage->text, stage->length);
}

static void strip(const struct lm_stage *stage, struct lm_bytes *text, size_t from)
{
    for (int64_t i = 0; i < stage->start && begins_with(text, from, stage); i++)
        cut(text, from, stage->length);
    for (int64_t i = 0; i < stage->stop && text->length - from >= stage->length &&
                        !memcmp(text->data + text->length - stage->length, stage->text, stage->length);
         i++)
        cut(text, text->length - stage->length, stage->length);
}

/* The beginning of the whole text, which may come in several tokens. */
static void strip_front(const struct lm_stage *stage, struct lm_bytes *text, size_t from, struct lm_decoding *decoding)
{
    while (!decoding->begun && decoding->stripped < stage->start && begins_with(text, from, stage)) {
        cut(text, from, stage->length);
        decoding->stripped++;
    }
    decoding->begun |= text->length > from;
}

static int put_space(struct lm_bytes *text, size_t from, loam_error *error)
{
    int code = lm_bytes_append(text, " ", 1, error);
    if (code != LOAM_OK)
        return code;
    memmove(text->data + from + 1, text->data + from, text->length - from - 1);
    text->data[from] = ' ';
    return LOAM_OK;
}

/* "##ing" goes on with the word before it, "the" begins one. */
static int wordpiece(const struct lm_stage *stage, struct lm_bytes *text, size_t from, bool first, loam_error *error)
{
    int code = LOAM_OK;
    if (!first && begins_with(text, from, stage))
        cut(text, from, stage->length);
    else if (!first)
        code = put_space(text, from, error);
    static const char *const tidy[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                          {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                          {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; code == LOAM_OK && stage->options[CLEAN] && i < sizeof tidy / sizeof *tidy; i++)
        code = replace_all(text, from, tidy[i][0], strlen(tidy[i][0]), tidy[i][1], strlen(tidy[i][1]), error);
    return code;
}

/* "<0xE4>" → 0xE4; -1 for any other text. */
static int byte_of(const char *text, size_t length)
{
    int value = 0;
    if (length != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        const char c = text[i], small = (char)(c | 32);
        if (!(c >= '0' && c <= '9') && !(small >= 'a' && small <= 'f'))
            return -1;
        value = value * 16 + (c <= '9' ? c - '0' : small - 'a' + 10);
    }
    return value;
}

/* Letters of the byte alphabet become their bytes; a token with any other character stays. */
static void read_letters(struct lm_bytes *text, size_t from)
{
    size_t written = 0;
    for (size_t at = from, n; at < text->length; at += n) {
        uint32_t c;
        n = lm_utf8_decode(text->data + at, text->length - at, &c);
        if (!n || lm_alphabet_byte(c) < 0)
            return;
    }
    if (text->length > from && lm_alphabet_read(text->data + from, text->length - from, text->data + from, &written)) {
        text->length = from + written;
        text->data[text->length] = 0;
    }
}

/* What a stage does to each token by itself. */
static int run_stage(const struct lm_stage *stage, struct lm_bytes *text, size_t from, bool first, loam_error *error)
{
    int byte;
    switch ((enum kind)stage->kind) {
    case METASPACE:
        return replace_all(text, from, stage->text, stage->length, " ", first && stage->options[FRONT] ? 0 : 1, error);
    case REPLACE:
        return stage->regex
                   ? replace_regex(stage, text, from, error)
                   : replace_all(text, from, stage->text, stage->length, stage->content, stage->content_length, error);
    case STRIP:
        strip(stage, text, from);
        return LOAM_OK;
    case WORDPIECE:
        return wordpiece(stage, text, from, first, error);
    case SUFFIX:
        return replace_all(text, from, stage->text, stage->length, " ", 1, error);
    case SPACED:
        return first ? LOAM_OK : put_space(text, from, error);
    case BYTE_FALLBACK:
        byte = byte_of(text->data + from, text->length - from);
        if (byte < 0)
            return LOAM_OK;
        text->length = from;
        return lm_bytes_append(text, (const char[]){(char)byte}, 1, error);
    case BYTE_LEVEL:
        read_letters(text, from);
        return LOAM_OK;
    case FUSE:
        return LOAM_OK;
    }
    return LOAM_OK;
}

/* Bytes that make no text together: U+FFFD for each. */
static int settle_run(struct lm_bytes *text, size_t run, loam_error *error)
{
    size_t from = text->length - run;
    if (!run || lm_utf8_check(text->data + from, run) == run)
        return LOAM_OK;
    text->length = from;
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < run; i++)
        code = lm_bytes_append(text, "\xEF\xBF\xBD", 3, error);
    return code;
}

int lm_decode_end(struct lm_decoding *decoding, struct lm_bytes *out, loam_error *error)
{
    int code = settle_run(out, decoding->run, error);
    decoding->run = 0;
    return code;
}

static bool has(const struct lm_stages *stages, enum kind kind)
{
    for (size_t i = 0; i < stages->count; i++)
        if (stages->items[i].kind == (int)kind)
            return true;
    return false;
}

int lm_decode_token(const struct lm_tokenizer *tokenizer, int32_t id, struct lm_decoding *decoding,
                    struct lm_bytes *out, loam_error *error)
{
    const struct lm_stages *stages = &tokenizer->decoder;
    size_t length;
    const char *text = lm_vocabulary_text(&tokenizer->vocabulary, id, &length);
    if (tokenizer->byte_level)
        return lm_bytes_append(out, text, length, error);
    bool byte = decoding->whole_runs && byte_of(text, length) >= 0 && has(stages, BYTE_FALLBACK);
    int code = byte ? LOAM_OK : lm_decode_end(decoding, out, error);
    size_t from = out->length;
    if (code == LOAM_OK)
        code = lm_bytes_append(out, text, length, error);
    for (size_t i = 0; code == LOAM_OK && i < stages->count; i++) {
        if (stages->items[i].kind == STRIP && stages->items[i].options[WHOLE])
            strip_front(&stages->items[i], out, from, decoding);
        else
            code = run_stage(&stages->items[i], out, from, decoding->tokens == 0, error);
    }
    if (byte && code == LOAM_OK)
        decoding->run += out->length - from;
    decoding->tokens++;
    return code;
}

/* A list of texts on its way through the stages. */
struct texts {
    struct lm_bytes text;
    size_t *ends;
    size_t count;
};

static int put_text(struct texts *list, const char *text, size_t length, loam_error *error)
{
    int code = lm_bytes_append(&list->text, text, length, error);
    if (code == LOAM_OK)
        list->ends[list->count++] = list->text.length;
    return code;
}

static size_t start_of(const struct texts *list, size_t i)
{
    return i ? list->ends[i - 1] : 0;
}

/* Runs of byte tokens become one text each, or U+FFFD for each byte. */
static int join_bytes(const struct texts *in, struct texts *out, loam_error *error)
{
    int code = LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < in->count;) {
        size_t run = 0, from = out->text.length;
        for (; code == LOAM_OK && i < in->count; i++, run++) {
            size_t start = start_of(in, i);
            int byte = byte_of(in->text.data + start, in->ends[i] - start);
            if (byte < 0)
                break;
            code = lm_bytes_append(&out->text, (const char[]){(char)byte}, 1, error);
        }
        if (code == LOAM_OK && run) {
            code = settle_run(&out->text, run, error);
            bool broken = out->text.length - from != run;
            for (size_t k = 1; broken && k < run; k++)
                out->ends[out->count++] = from + 3 * k;
            out->ends[out->count++] = out->text.length;
        } else if (code == LOAM_OK) {
            size_t start = start_of(in, i);
            code = put_text(out, in->text.data + start, in->ends[i] - start, error);
            i++;
        }
    }
    return code;
}

static int list_stage(const struct lm_stage *stage, const struct texts *in, struct texts *out, loam_error *error)
{
    int code = LOAM_OK;
    if (stage->kind == BYTE_FALLBACK)
        return join_bytes(in, out, error);
    if (stage->kind == FUSE)
        return in->count ? put_text(out, in->text.data, in->text.length, error) : LOAM_OK;
    for (size_t i = 0; code == LOAM_OK && i < in->count; i++) {
        size_t start = start_of(in, i), from = out->text.length;
        code = lm_bytes_append(&out->text, in->text.data + start, in->ends[i] - start, error);
        if (code == LOAM_OK && stage->kind == SUFFIX && i + 1 == in->count)
            code = replace_all(&out->text, from, stage->text, stage->length, "", 0, error);
        else if (code == LOAM_OK)
            code = run_stage(stage, &out->text, from, i == 0, error);
        out->ends[out->count++] = out->text.length;
    }
    if (code == LOAM_OK && stage->kind == BYTE_LEVEL && out->count) {
        out->ends[0] = out->text.length;
        out->count = 1;
    }
    return code;
}

int lm_decode_list(const struct lm_tokenizer *tokenizer, const int32_t *ids, size_t count, struct lm_bytes *out,
                   loam_error *error)
{
    struct texts lists[2] = {{{0}, lm_alloc(count + 1, sizeof(size_t), error), 0},
                             {{0}, lm_alloc(count + 1, sizeof(size_t), error), 0}};
    int code = lists[0].ends && lists[1].ends ? LOAM_OK : LOAM_ENOMEM, now = 0;
    for (size_t i = 0; code == LOAM_OK && i < count; i++) {
        size_t length;
        const char *text = lm_vocabulary_text(&tokenizer->vocabulary, ids[i], &length);
        code = put_text(&lists[0], text, length, error);
    }
    for (size_t i = 0; code == LOAM_OK && i < tokenizer->decoder.count; i++, now = !now) {
        lists[!now].text.length = lists[!now].count = 0;
        code = list_stage(&tokenizer->decoder.items[i], &lists[now], &lists[!now], error);
    }
    if (code == LOAM_OK)
        code = lm_bytes_append(out, lists[now].text.data ? lists[now].text.data : "", lists[now].text.length, error);
    for (int i = 0; i < 2; i++) {
        lm_bytes_free(&lists[i].text);
        lm_free(lists[i].ends);
    }
    return code;
}

bool lm_decoder_waits(const struct lm_tokenizer *tokenizer, int32_t id)
{
    size_t length;
    const char *text = lm_vocabulary_text(&tokenizer->vocabulary, id, &length);
    return byte_of(text, length) >= 0 && has(&tokenizer->decoder, BYTE_FALLBACK);
}

bool lm_decoder_is_byte_level(const struct lm_stages *stages)
{
    for (size_t i = 0; i < stages->count; i++)
        if (stages->items[i].kind != BYTE_LEVEL && stages->items[i].kind != FUSE)
            return false;
    return has(stages, BYTE_LEVEL);
}

bool lm_decoder_alone(const struct lm_stages *stages)
{
    bool bytes = false, fused = false, stripped = false;
    for (size_t i = 0; i < stages->count; i++) {
        const struct lm_stage *stage = &stages->items[i];
        if (stage->kind == FUSE || stage->kind == BYTE_LEVEL) {
            if (stage->kind == BYTE_LEVEL && (bytes || fused))
                return false;
            fused = true;
        } else if (fused) {
            if (stage->kind != STRIP || stage->stop || stripped)
                return false;
            stripped = true;
        } else if (bytes || stage->kind == SUFFIX) {
            return false;
        }
        bytes |= stage->kind == BYTE_FALLBACK;
    }
    return true;
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
    stage->options[WHOLE] = fused;
    return code;
}

static int read_stage(const struct lm_document *document, const struct lm_value *value, struct lm_stages *stages,
                      loam_error *error)
{
    const struct lm_value *type = lm_value_find(value, "type"), *more;
    bool fused = false;
    for (size_t i = 0; i < stages->count; i++)
        fused |= stages->items[i].kind == FUSE || stages->items[i].kind == BYTE_LEVEL;
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
