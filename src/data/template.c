/* Chat templates. Each is one description, below; text, ids and mask come from it, and the Jinja beside it says the same to
 * other programs (tests/golden/templates.py shows that it does).
 *
 * Formats: llama2: Touvron et al., 2023, and Meta's llama repository; llama3: Meta's Llama 3 model card; chatml: OpenAI's
 * description, as Qwen has it without its default system prompt; plain: for models whose vocabulary has no chat tokens. */
#include "data/template.h"

#include <stdio.h>
#include <string.h>

/* Stands in a description for the tokenizer's own end-of-sequence token. */
#define END_OF_SEQUENCE "\x04"

static const struct lm_template templates[] = {
    {
        .name = "llama2",
        .tokens = {"<s>", "</s>"},
        .begin = "",
        .turn = {{"<<SYS>>\n", "\n<</SYS>>\n\n"}, {"<s>[INST] ", " [/INST]"}, {"", ""}},
        .lead = " ", .trail = " ", .end = "</s>", .trims = true, .folds_system = true,
        .jinja =
            "{% if messages[0]['role'] == 'system' %}"
            "{% set system = '<<SYS>>\\n' + messages[0]['content'] | trim + '\\n<</SYS>>\\n\\n' %}{% set turns = messages[1:] %}"
            "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
            "{% for message in turns %}"
            "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) or message['role'] == 'system' %}"
            "{{ raise_exception('after a system prompt, turns of user and assistant must alternate, the user first') }}"
            "{% endif %}"
            "{% if message['role'] == 'user' %}"
            "{{ '<s>[INST] ' + (system if loop.first else '') + message['content'] | trim + ' [/INST]' }}"
            "{% else %}{{ ' ' + message['content'] | trim + ' </s>' }}{% endif %}{% endfor %}",
    },
    {
        .name = "llama3",
        .tokens = {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
        .begin = "<|begin_of_text|>",
        .turn = {{"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
                 {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
                 {"<|start_header_id|>assistant<|end_header_id|>\n\n", ""}},
        .lead = "", .trail = "", .end = "<|eot_id|>", .trims = true,
        .jinja =
            "{{ '<|begin_of_text|>' }}{% for message in messages %}"
            "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}"
            "{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    },
    {
        .name = "chatml",
        .tokens = {"<|im_start|>", "<|im_end|>"},
        .begin = "",
        .turn = {{"<|im_start|>system\n", "<|im_end|>\n"}, {"<|im_start|>user\n", "<|im_end|>\n"},
                 {"<|im_start|>assistant\n", "\n"}},
        .lead = "", .trail = "", .end = "<|im_end|>",
        .jinja =
            "{% for message in messages %}"
            "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    },
    {
        .name = "plain",
        .tokens = {END_OF_SEQUENCE},
        .begin = "",
        .turn = {{"", "\n\n"}, {"Human: ", "\n\n"}, {"Assistant:", "\n\n"}},
        .lead = " ", .trail = "", .end = END_OF_SEQUENCE,
        .jinja =
            "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
            "{% elif message['role'] == 'user' %}{{ 'Human: ' + message['content'] + '\\n\\n' }}"
            "{% else %}{{ 'Assistant: ' + message['content'] + eos_token + '\\n\\n' }}{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    },
};
enum { TEMPLATES = sizeof templates / sizeof *templates };

const char *lm_template_name(const struct lm_template *chosen)
{
    return chosen->name;
}

const char *lm_template_jinja(const struct lm_template *chosen)
{
    return chosen->jinja;
}

const struct lm_template *lm_template_at(size_t index)
{
    return index < TEMPLATES ? &templates[index] : NULL;
}

const struct lm_template *lm_template_recognise(const char *jinja, size_t length)
{
    while (length && (jinja[length - 1] == '\n' || jinja[length - 1] == '\r'))
        length--;
    for (size_t i = 0; i < TEMPLATES; i++)
        if (strlen(templates[i].jinja) == length && !memcmp(templates[i].jinja, jinja, length))
            return &templates[i];
    return NULL;
}

static bool stands_for_end(const char *token)
{
    return !strcmp(token, END_OF_SEQUENCE);
}

static int32_t token_id(const struct lm_tokenizer *tokenizer, const char *token)
{
    return stands_for_end(token) ? lm_tokenizer_eos(tokenizer) : lm_tokenizer_find(tokenizer, token, strlen(token));
}

int32_t lm_template_end_of_turn(const struct lm_template *chosen, const struct lm_tokenizer *tokenizer)
{
    return chosen->program ? lm_template_run_end(chosen, tokenizer) : token_id(tokenizer, chosen->end);
}

static const char *token_text(const char *token)
{
    return stands_for_end(token) ? "<|endoftext|>" : token;
}

static int add_missing(const struct lm_template *chosen, struct lm_tokenizer *tokenizer, size_t *added, loam_error *error)
{
    for (size_t i = 0; i < LM_TEMPLATE_TOKENS && chosen->tokens[i]; i++) {
        const char *token = chosen->tokens[i], *text = token_text(token);
        if (token_id(tokenizer, token) >= 0)
            continue;
        int32_t id, before = lm_tokenizer_size(tokenizer);
        int code = lm_tokenizer_add_token(tokenizer, text, strlen(text), true, &id, error);
        if (!code && stands_for_end(token))
            code = lm_tokenizer_set_bos_eos_pad(tokenizer, lm_tokenizer_bos(tokenizer), id, lm_tokenizer_pad(tokenizer), error);
        if (code)
            return code;
        *added += lm_tokenizer_size(tokenizer) > before;
    }
    return LOAM_OK;
}

int lm_template_fit(const struct lm_template *chosen, struct lm_tokenizer *tokenizer, bool add, size_t *added,
                    loam_error *error)
{
    size_t count = 0;
    char missing[256] = "";
    for (size_t i = 0, used = 0; i < LM_TEMPLATE_TOKENS && chosen->tokens[i]; i++) {
        if (token_id(tokenizer, chosen->tokens[i]) >= 0)
            continue;
        const char *text = stands_for_end(chosen->tokens[i]) ? "an end-of-sequence token" : chosen->tokens[i];
        used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", text);
    }
    if (*missing && !add)
        return lm_fail(error, LOAM_EMISMATCH,
                       "the template %s needs tokens that the vocabulary lacks: %s; choose another with --template, or let "
                       "finetune add them with --add-tokens", chosen->name, missing);
    int code = *missing ? add_missing(chosen, tokenizer, &count, error) : LOAM_OK;
    if (!code && added)
        *added = count;
    return code;
}

/* Encodes the run as one text. Runs end at special tokens and where an assistant's words begin or end: a prompt ends there too,
 * so that what a model learns to write begins at a token of its own. */
int lm_rendering_close(struct lm_rendering *r)
{
    struct lm_rendered *out = r->out;
    size_t length = out->text.length - r->run;
    if (!length)
        return LOAM_OK;
    size_t before = out->ids.length;
    int code = lm_tokenizer_encode(r->tokenizer, out->text.data + r->run, length, 0, &out->ids, NULL, r->error);
    r->run = out->text.length;
    size_t more = out->ids.length - before;
    if (!code)
        code = lm_bytes_reserve(&out->trained, more, r->error);
    if (code)
        return code;
    memset(out->trained.data + out->trained.length, r->trained, more);
    out->trained.length += more;
    out->trained.data[out->trained.length] = 0;
    return LOAM_OK;
}

int lm_rendering_text(struct lm_rendering *r, const char *text, size_t length, bool trained)
{
    int code = trained != r->trained ? lm_rendering_close(r) : LOAM_OK;
    r->trained = trained;
    return code ? code : lm_bytes_append(&r->out->text, text, length, r->error);
}

int lm_rendering_id(struct lm_rendering *r, int32_t id, const char *text, size_t length, bool trained)
{
    int code = lm_rendering_close(r);
    if (!code)
        code = lm_bytes_append(&r->out->text, text, length, r->error);
    r->run = r->out->text.length;
    if (!code)
        code = lm_ids_push(&r->out->ids, id, r->error);
    return code ? code : lm_bytes_append(&r->out->trained, trained ? "\1" : "\0", 1, r->error);
}

static int emit_token(struct lm_rendering *r, const char *token, bool trained)
{
    int32_t id = token_id(r->tokenizer, token);
    if (id < 0)
        return lm_fail(r->error, LOAM_EMISMATCH, "the template %s needs the token %s, which the vocabulary lacks; choose another "
                       "with --template, or let finetune add it with --add-tokens", r->chosen->name, token_text(token));
    size_t length = strlen(token);
    const char *text = stands_for_end(token) ? lm_tokenizer_token(r->tokenizer, id, &length) : token;
    return lm_rendering_id(r, id, text, length, trained);
}

/* The template's own words: its special tokens are tokens here, and only here. */
static int emit_own(struct lm_rendering *r, const char *text, bool trained)
{
    int code = LOAM_OK;
    while (!code && *text) {
        const char *token = NULL, *place = text + strlen(text);
        for (size_t i = 0; i < LM_TEMPLATE_TOKENS && r->chosen->tokens[i]; i++) {
            const char *found = strstr(text, r->chosen->tokens[i]);
            if (found && found < place)
                place = found, token = r->chosen->tokens[i];
        }
        if (place > text)
            code = lm_rendering_text(r, text, (size_t)(place - text), trained);
        if (!code && token)
            code = emit_token(r, token, trained);
        text = place + (token ? strlen(token) : 0);
    }
    return code;
}

/* The characters that Python's str.strip (Jinja's trim) takes away. */
static bool is_blank(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static void trim(const char **text, size_t *length)
{
    uint32_t c;
    size_t size;
    while ((size = lm_utf8_decode(*text, *length, &c)) && is_blank(c))
        *text += size, *length -= size;
    for (;;) {
        size = 1;
        while (size < *length && size < 4 && ((unsigned char)(*text)[*length - size] & 0xC0) == 0x80)
            size++;
        if (size > *length || lm_utf8_decode(*text + *length - size, size, &c) != size || !is_blank(c))
            return;
        *length -= size;
    }
}

static int emit_content(struct lm_rendering *r, const struct lm_message *message, bool trained)
{
    const char *text = message->content;
    size_t length = message->length;
    if (r->chosen->trims)
        trim(&text, &length);
    return lm_rendering_text(r, text, length, trained);
}

static int emit_around(struct lm_rendering *r, const struct lm_message *message)
{
    int code = emit_own(r, r->chosen->turn[message->role].before, false);
    if (!code)
        code = emit_content(r, message, false);
    return code ? code : emit_own(r, r->chosen->turn[message->role].after, false);
}

static int emit_answer(struct lm_rendering *r, const struct lm_message *message)
{
    const struct lm_template *chosen = r->chosen;
    int code = emit_own(r, chosen->turn[LM_ASSISTANT].before, false);
    if (!code)
        code = emit_own(r, chosen->lead, true);
    if (!code)
        code = emit_content(r, message, true);
    if (!code)
        code = emit_own(r, chosen->trail, true);
    if (!code)
        code = emit_own(r, chosen->end, true);
    return code ? code : emit_own(r, chosen->turn[LM_ASSISTANT].after, false);
}

/* llama2's first user turn: the system prompt stands between the turn's opening and the user's words. */
static int emit_with_system(struct lm_rendering *r, const struct lm_message *system, const struct lm_message *user)
{
    int code = emit_own(r, r->chosen->turn[LM_USER].before, false);
    if (!code)
        code = emit_around(r, system);
    if (!code)
        code = emit_content(r, user, false);
    return code ? code : emit_own(r, r->chosen->turn[LM_USER].after, false);
}

static int check_order(const struct lm_template *chosen, const struct lm_conversation *conversation, loam_error *error)
{
    static const char *const names[] = {"system", "user", "assistant"};
    size_t first = conversation->count && conversation->messages[0].role == LM_SYSTEM;
    for (size_t i = first; i < conversation->count; i++) {
        enum lm_role wanted = (i - first) % 2 ? LM_ASSISTANT : LM_USER, found = conversation->messages[i].role;
        if (found != wanted)
            return lm_fail(error, LOAM_EFORMAT,
                           "turn %zu: found the role %s, wanted %s: with the template %s, turns of user and assistant alternate "
                           "after the system prompt; change the conversation or choose another template with --template",
                           i + 1, names[found], names[wanted], chosen->name);
    }
    if (first && conversation->count == 1)
        return lm_fail(error, LOAM_EFORMAT, "turn 1: found a system prompt alone, wanted a user's turn behind it: the template "
                       "%s writes it into that", chosen->name);
    return LOAM_OK;
}

static int render_turns(struct lm_rendering *r, const struct lm_conversation *conversation)
{
    int code = emit_own(r, r->chosen->begin, false);
    for (size_t i = 0; !code && i < conversation->count; i++) {
        const struct lm_message *message = &conversation->messages[i];
        if (message->role == LM_ASSISTANT)
            code = emit_answer(r, message);
        else if (message->role == LM_SYSTEM && r->chosen->folds_system)
            code = emit_with_system(r, message, &conversation->messages[++i]);
        else
            code = emit_around(r, message);
    }
    return code;
}

int lm_template_render(const struct lm_template *chosen, const struct lm_tokenizer *tokenizer,
                       const struct lm_conversation *conversation, bool prompt, struct lm_rendered *rendered, loam_error *error)
{
    struct lm_rendering r = {chosen, tokenizer, rendered, 0, false, error};
    rendered->text.length = rendered->ids.length = rendered->trained.length = 0;
    int code = chosen->folds_system ? check_order(chosen, conversation, error) : LOAM_OK;
    if (chosen->program)
        return lm_template_run(&r, conversation, prompt);
    if (!code)
        code = render_turns(&r, conversation);
    if (!code && prompt)
        code = emit_own(&r, chosen->turn[LM_ASSISTANT].before, false);
    return code ? code : lm_rendering_close(&r);
}

void lm_rendered_free(struct lm_rendered *rendered)
{
    lm_bytes_free(&rendered->text);
    lm_ids_free(&rendered->ids);
    lm_bytes_free(&rendered->trained);
}
