/* Rendering with a template that came with a model. Its text is Jinja's; which bytes of it are a message's is found by
 * marks. */
#include "data/template.h"
#include "data/jinja_run.h"

#include <string.h>

/* Marks are characters for private use of plane 16: one before and one behind message i. Contents that hold such are
 * not marked. */
enum { FIRST_MARK = 0x100000, MOST_MARKED = 32000, MARK_BYTES = 4 };

struct span {
    size_t begin, end, message;
};
struct part {
    size_t begin, end;
};
struct work {
    struct lm_rendering *r;
    const struct lm_conversation *conversation;
    struct lm_bytes text;
    struct span *spans; /* of contents, in the text's order */
    size_t count, capacity;
    bool found;                      /* spans are known */
    struct lm_jinja_spans generated; /* what {% generation %} gave */
    struct part *trained;            /* in the text's order */
    size_t trained_count;
};

int lm_template_parse(const char *source, size_t length, const char *name, const struct lm_template **chosen,
                      loam_error *error)
{
    struct lm_jinja *program;
    struct lm_template *made = lm_alloc(1, sizeof *made, error);
    if (!made)
        return LOAM_ENOMEM;
    int code = memchr(source, 0, length)
                   ? lm_fail(error, LOAM_EFORMAT, "%s: found a chat template with a 0 byte in it", name)
                   : lm_jinja_parse(source, length, name, &program, error);
    if (code) {
        lm_free(made);
        return code;
    }
    made->name = "of the model";
    made->program = program;
    made->jinja = lm_jinja_source(program, &length);
    *chosen = made;
    return LOAM_OK;
}

void lm_template_free(const struct lm_template *chosen)
{
    if (!chosen || !chosen->program)
        return;
    lm_jinja_free(chosen->program);
    lm_free((void *)chosen);
}

static void put_token(struct lm_json_writer *writer, const struct lm_tokenizer *tokenizer, const char *key, int32_t id)
{
    size_t length = 0;
    const char *text = id >= 0 ? lm_tokenizer_token(tokenizer, id, &length) : NULL;
    lm_json_key(writer, key);
    lm_json_string(writer, text ? text : "", text ? length : 0);
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= 9 && c <= 13);
}

enum marks { MARKS_NONE, MARKS_AROUND, MARKS_WITHIN };

/* A content with its marks: around all of it, or within the blanks at its ends, which a template may trim. */
static int mark(const struct lm_message *message, size_t index, enum marks marks, struct lm_bytes *out,
                loam_error *error)
{
    const struct jinja_text core =
        jinja_strip((struct jinja_text){message->content, message->length}, NULL, true, true);
    size_t begin = (size_t)(core.data - message->content), end = begin + core.length;
    char signs[2][4];
    out->length = 0;
    if (marks == MARKS_NONE || begin == end)
        return lm_bytes_append(out, message->content, message->length, error);
    if (marks == MARKS_AROUND)
        begin = 0, end = message->length;
    lm_utf8_encode(FIRST_MARK + 2 * (uint32_t)index, signs[0]);
    lm_utf8_encode(FIRST_MARK + 2 * (uint32_t)index + 1, signs[1]);
    int code = lm_bytes_append(out, message->content, begin, error);
    if (!code)
        code = lm_bytes_append(out, signs[0], MARK_BYTES, error);
    if (!code)
        code = lm_bytes_append(out, message->content + begin, end - begin, error);
    if (!code)
        code = lm_bytes_append(out, signs[1], MARK_BYTES, error);
    return code ? code : lm_bytes_append(out, message->content + end, message->length - end, error);
}

static int make_variables(const struct lm_rendering *r, const struct lm_conversation *conversation, bool prompt,
                          enum marks marks, struct lm_document **document)
{
    struct lm_bytes json = {0}, content = {0};
    struct lm_json_writer writer = lm_json_writer(&json, -1);
    int code = LOAM_OK;
    lm_json_begin_object(&writer);
    lm_json_key(&writer, "messages");
    lm_json_begin_array(&writer);
    for (size_t i = 0; i < conversation->count && !code; i++) {
        code = mark(&conversation->messages[i], i, marks, &content, r->error);
        lm_json_begin_object(&writer);
        lm_json_key(&writer, "role");
        lm_json_text(&writer, lm_role_name(conversation->messages[i].role));
        lm_json_key(&writer, "content");
        lm_json_string(&writer, content.length ? content.data : "", content.length);
        lm_json_end_object(&writer);
    }
    lm_json_end_array(&writer);
    lm_json_key(&writer, "add_generation_prompt");
    lm_json_bool(&writer, prompt);
    put_token(&writer, r->tokenizer, "bos_token", lm_tokenizer_bos(r->tokenizer));
    put_token(&writer, r->tokenizer, "eos_token", lm_tokenizer_eos(r->tokenizer));
    put_token(&writer, r->tokenizer, "pad_token", lm_tokenizer_pad(r->tokenizer));
    lm_json_key(&writer, "tools");
    lm_json_null(&writer);
    lm_json_key(&writer, "documents");
    lm_json_null(&writer);
    lm_json_end_object(&writer);
    if (!code)
        code = lm_json_writer_finish(&writer, r->error);
    if (!code)
        code = lm_json_parse(json.data, json.length, "conversation", document, r->error);
    lm_bytes_free(&json);
    lm_bytes_free(&content);
    return code;
}

static int render(const struct lm_rendering *r, const struct lm_conversation *conversation, bool prompt,
                  enum marks marks, struct lm_jinja_spans *generated, struct lm_bytes *text)
{
    struct lm_document *document;
    int code = make_variables(r, conversation, prompt, marks, &document);
    if (code)
        return code;
    const struct lm_jinja_call call = {.variables = lm_document_root(document), .generated = generated};
    code = lm_jinja_render(r->chosen->program, &call, text, r->error);
    lm_document_free(document);
    return code;
}

static int add_span(struct work *work, size_t begin, size_t message)
{
    if (work->count == work->capacity) {
        const size_t capacity = work->capacity ? 2 * work->capacity : 16;
        struct span *grown = lm_resize(work->spans, capacity, sizeof *grown, work->r->error);
        if (!grown)
            return LOAM_ENOMEM;
        work->spans = grown;
        work->capacity = capacity;
    }
    work->spans[work->count++] = (struct span){begin, SIZE_MAX, message};
    return LOAM_OK;
}

/* Takes the marks out of `marked`; spans are found where what is left is the text itself and every mark has its other.
 */
static int read_marks(struct work *work, struct lm_bytes *marked)
{
    size_t length = 0;
    bool open = false, sound = true;
    work->count = 0;
    for (size_t i = 0; i < marked->length && sound;) {
        uint32_t c = 0;
        size_t size =
            (unsigned char)marked->data[i] == 0xF4 ? lm_utf8_decode(marked->data + i, marked->length - i, &c) : 1;
        if (size != MARK_BYTES || c < FIRST_MARK) {
            marked->data[length++] = marked->data[i++];
            continue;
        }
        const size_t message = (c - FIRST_MARK) / 2;
        const bool begins = (c - FIRST_MARK) % 2 == 0;
        i += size;
        sound = begins ? !open && message < work->conversation->count
                       : open && work->spans[work->count - 1].message == message;
        int code = sound && begins ? add_span(work, length, message) : LOAM_OK;
        if (code)
            return code;
        if (sound && !begins)
            work->spans[work->count - 1].end = length;
        open = begins;
    }
    work->found =
        sound && !open && length == work->text.length && (!length || !memcmp(marked->data, work->text.data, length));
    return LOAM_OK;
}

static bool can_mark(const struct lm_conversation *conversation)
{
    for (size_t i = 0; i < conversation->count; i++)
        if (conversation->messages[i].length &&
            memchr(conversation->messages[i].content, 0xF4, conversation->messages[i].length))
            return false;
    return conversation->count < MOST_MARKED;
}

static int find_spans(struct work *work, bool prompt)
{
    struct lm_bytes marked = {0};
    int code = LOAM_OK;
    const bool possible = can_mark(work->conversation);
    for (enum marks marks = MARKS_AROUND; possible && marks <= MARKS_WITHIN && !work->found && !code; marks++) {
        loam_error *outer = work->r->error, ignored;
        work->r->error = &ignored; /* a template may refuse what it does not know: then there are no spans */
        code = render(work->r, work->conversation, prompt, marks, NULL, &marked);
        work->r->error = outer;
        if (code == LOAM_ENOMEM)
            lm_fail(outer, code, "not enough memory for a conversation of %zu messages", work->conversation->count);
        else
            code = code ? LOAM_OK : read_marks(work, &marked);
    }
    lm_bytes_free(&marked);
    if (!work->found)
        work->count = 0;
    return code;
}

/* What the template writes to make the assistant begin: empty where it writes nothing, or where it cannot be told. */
static int generation_prompt(const struct lm_rendering *r, struct lm_bytes *lead)
{
    struct lm_message user = {LM_USER, "x", 1};
    const struct lm_conversation conversation = {.messages = &user, .count = 1};
    struct lm_rendering quiet = *r;
    struct lm_bytes without = {0};
    loam_error ignored;
    quiet.error = &ignored;
    int code = render(&quiet, &conversation, true, MARKS_NONE, NULL, lead);
    if (!code)
        code = render(&quiet, &conversation, false, MARKS_NONE, NULL, &without);
    const bool fits = !code && without.length <= lead->length &&
                      !(without.length && memcmp(lead->data, without.data, without.length));
    if (fits)
        memmove(lead->data, lead->data + without.length, lead->length - without.length);
    lead->length = fits ? lead->length - without.length : 0;
    lm_bytes_free(&without);
    if (code == LOAM_ENOMEM)
        return lm_fail(r->error, code, "not enough memory for a chat template");
    return LOAM_OK;
}

/* Special tokens in the template's own text [begin, end): their ids and where they begin and end. */
static int find_special(const struct work *work, size_t begin, size_t end, struct lm_ids *ids, struct lm_ids *starts)
{
    ids->length = starts->length = 0;
    if (begin == end)
        return LOAM_OK;
    return lm_tokenizer_encode(work->r->tokenizer, work->text.data + begin, end - begin, LM_ENCODE_SPECIAL, ids, starts,
                               work->r->error);
}

static bool is_special(const struct work *work, int32_t id)
{
    return lm_tokenizer_is_special(work->r->tokenizer, id) || id == lm_tokenizer_eos(work->r->tokenizer);
}

/* Where an assistant's turn ends whose words end at `from`: behind the special token that follows, with nothing but
 * blanks between. */
static int find_end(const struct work *work, size_t from, size_t limit, size_t *end)
{
    struct lm_ids ids = {0}, starts = {0};
    int code = find_special(work, from, limit, &ids, &starts);
    *end = from;
    for (size_t i = 0; i < ids.length && !code; i++) {
        if (!is_special(work, ids.data[i]))
            continue;
        size_t place = from;
        while (place < from + (size_t)starts.data[i] && is_blank(work->text.data[place]))
            place++;
        if (place == from + (size_t)starts.data[i])
            *end = i + 1 < ids.length ? from + (size_t)starts.data[i + 1] : limit;
        break;
    }
    lm_ids_free(&ids);
    lm_ids_free(&starts);
    return code;
}

/* A blank that a prompt does not end with but that stands before the assistant's words is theirs. */
static size_t find_begin(const struct work *work, size_t begin, const struct lm_bytes *lead)
{
    const char *text = work->text.data;
    if (begin == 0 || text[begin - 1] != ' ')
        return begin;
    const bool in_prompt =
        lead->length && begin >= lead->length && !memcmp(text + begin - lead->length, lead->data, lead->length);
    return in_prompt ? begin : begin - 1;
}

static int find_trained(struct work *work)
{
    struct lm_bytes lead = {0};
    const size_t most = work->generated.length > work->count ? work->generated.length : work->count;
    if (!(work->trained = lm_alloc(most, sizeof *work->trained, work->r->error)))
        return LOAM_ENOMEM;
    for (size_t i = 0; i < work->generated.length; i++)
        work->trained[work->trained_count++] =
            (struct part){work->generated.data[i].begin, work->generated.data[i].end};
    if (work->trained_count)
        return LOAM_OK;
    int code = generation_prompt(work->r, &lead);
    for (size_t i = 0; i < work->count && !code; i++) {
        const struct span *span = &work->spans[i];
        struct part part = {0, 0};
        if (work->conversation->messages[span->message].role != LM_ASSISTANT)
            continue;
        part.begin = find_begin(work, span->begin, &lead);
        code = find_end(work, span->end, i + 1 < work->count ? span[1].begin : work->text.length, &part.end);
        if (!code)
            work->trained[work->trained_count++] = part;
    }
    lm_bytes_free(&lead);
    return code;
}

/* Whether the byte at `place` is trained on, and up to where that holds. */
static bool trained_at(const struct work *work, size_t place, size_t *until)
{
    for (size_t i = 0; i < work->trained_count; i++) {
        const struct part *part = &work->trained[i];
        if (place < part->begin || (place < part->end)) {
            const bool inside = place >= part->begin;
            *until = inside ? part->end : part->begin;
            return inside;
        }
    }
    *until = SIZE_MAX;
    return false;
}

static int emit_text(const struct work *work, size_t begin, size_t end)
{
    int code = LOAM_OK;
    while (begin < end && !code) {
        size_t until;
        const bool trained = trained_at(work, begin, &until);
        until = until < end ? until : end;
        code = lm_rendering_text(work->r, work->text.data + begin, until - begin, trained);
        begin = until;
    }
    return code;
}

/* The template's own text: its special tokens are tokens. */
static int emit_own(const struct work *work, size_t begin, size_t end)
{
    struct lm_ids ids = {0}, starts = {0};
    size_t place = begin, until;
    int code = find_special(work, begin, end, &ids, &starts);
    for (size_t i = 0; i < ids.length && !code; i++) {
        if (!is_special(work, ids.data[i]))
            continue;
        const size_t from = begin + (size_t)starts.data[i],
                     to = i + 1 < ids.length ? begin + (size_t)starts.data[i + 1] : end;
        code = emit_text(work, place, from);
        if (!code)
            code = lm_rendering_id(work->r, ids.data[i], work->text.data + from, to - from,
                                   trained_at(work, from, &until));
        place = to;
    }
    if (!code)
        code = emit_text(work, place, end);
    lm_ids_free(&ids);
    lm_ids_free(&starts);
    return code;
}

/* Where the places of messages are not known, a special token written in one could not be told from the template's own.
 */
static int check_contents(const struct work *work)
{
    struct lm_ids ids = {0};
    int code = LOAM_OK;
    for (size_t i = 0; i < work->conversation->count && !code; i++) {
        const struct lm_message *message = &work->conversation->messages[i];
        ids.length = 0;
        code = lm_tokenizer_encode(work->r->tokenizer, message->content, message->length, LM_ENCODE_SPECIAL, &ids, NULL,
                                   work->r->error);
        for (size_t j = 0; j < ids.length && !code; j++)
            if (is_special(work, ids.data[j]))
                code =
                    lm_fail(work->r->error, LOAM_EUNSUPPORTED,
                            "turn %zu: found a special token written in the message, and the model's "
                            "chat template rewrites messages, so that it cannot be told from a real one; take it out",
                            i + 1);
    }
    lm_ids_free(&ids);
    return code;
}

static int check_begin(const struct lm_rendering *r)
{
    const int32_t bos = lm_tokenizer_bos(r->tokenizer);
    const struct lm_ids *ids = &r->out->ids;
    if (bos < 0 || ids->length < 2 || ids->data[0] != bos || ids->data[1] != bos)
        return LOAM_OK;
    return lm_fail(r->error, LOAM_EFORMAT,
                   "the model's chat template begins with the beginning-of-sequence token twice, which models have "
                   "not seen; repair the template, or choose another with --template");
}

static int run(struct work *work, bool prompt)
{
    struct lm_rendering *r = work->r;
    int code = render(r, work->conversation, prompt, MARKS_NONE, &work->generated, &work->text);
    if (!code)
        code = find_spans(work, prompt);
    if (code)
        return code;
    if (!work->found && !prompt && !work->generated.length)
        return lm_fail(r->error, LOAM_EUNSUPPORTED,
                       "the model's chat template rewrites what is said in this conversation, so that the "
                       "assistant's words cannot be found in its text; for training, choose another with --template");
    if (!work->found && (code = check_contents(work)))
        return code;
    if ((code = find_trained(work))) /* of a prompt too: runs of text end in the same places */
        return code;
    size_t place = 0;
    for (size_t i = 0; i < work->count && !code; i++) {
        code = emit_own(work, place, work->spans[i].begin);
        if (!code)
            code = emit_text(work, work->spans[i].begin, work->spans[i].end);
        place = work->spans[i].end;
    }
    if (!code)
        code = emit_own(work, place, work->text.length);
    if (!code)
        code = lm_rendering_close(r);
    return code ? code : check_begin(r);
}

int lm_template_run(struct lm_rendering *r, const struct lm_conversation *conversation, bool prompt)
{
    struct work work = {.r = r, .conversation = conversation};
    int code = run(&work, prompt);
    lm_bytes_free(&work.text);
    lm_free(work.spans);
    lm_free(work.generated.data);
    lm_free(work.trained);
    return code;
}

int32_t lm_template_run_end(const struct lm_template *chosen, const struct lm_tokenizer *tokenizer)
{
    struct lm_message messages[] = {{LM_USER, "x", 1}, {LM_ASSISTANT, "y", 1}};
    const struct lm_conversation conversation = {.messages = messages, .count = 2};
    struct lm_rendered rendered = {0};
    loam_error ignored;
    int32_t end = lm_tokenizer_eos(tokenizer);
    struct lm_rendering r = {chosen, tokenizer, &rendered, 0, false, &ignored};
    if (lm_template_run(&r, &conversation, false) == LOAM_OK)
        for (size_t i = 0; i < rendered.ids.length; i++)
            if (rendered.trained.data[i] && lm_tokenizer_is_special(tokenizer, rendered.ids.data[i]))
                end = rendered.ids.data[i];
    lm_rendered_free(&rendered);
    return end;
}
