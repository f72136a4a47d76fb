/* Jinja's tokens into a tree: the blocks. */
#include "data/jinja_parse.h"

static int body(struct parser *p, const char *const *ends, struct jinja_node **result);

static int end_block(struct parser *p)
{
    if (p->token->kind != T_BLOCK_END)
        return jinja_parse_fail(p, "%}");
    p->token++;
    return LOAM_OK;
}

/* An expression, or several with commas: a list. */
static int row(struct parser *p, bool with_choice, struct jinja_node **result)
{
    struct chain chain = {0};
    const size_t place = p->token->place;
    int code = jinja_parse_expression(p, with_choice, result);
    if (code || !jinja_parse_at_sign(p, ","))
        return code;
    jinja_parse_chain_add(&chain, *result);
    while (!code && jinja_parse_skip_sign(p, ",")) {
        struct jinja_node *node;
        if (p->token->kind == T_BLOCK_END || p->token->kind == T_OUTPUT_END)
            break;
        if (!(code = jinja_parse_expression(p, with_choice, &node)))
            jinja_parse_chain_add(&chain, node);
    }
    if (!code)
        code = jinja_parse_make(p, N_LIST, place, result);
    if (!code) {
        (*result)->list = chain.first;
        (*result)->flag = true;
    }
    return code;
}

/* A name, name.attribute, or several names, with or without parentheses. */
static int target(struct parser *p, struct jinja_node **result)
{
    struct chain chain = {0};
    const size_t place = p->token->place;
    const bool open = jinja_parse_skip_sign(p, "(");
    do {
        struct jinja_node *node;
        int code = jinja_parse_make(p, N_NAME, p->token->place, &node);
        if (!code)
            code = jinja_parse_take_name(p, &node->name);
        if (!code && jinja_parse_at_sign(p, ".")) {
            struct jinja_node *outer;
            if ((code = jinja_parse_make(p, N_ATTRIBUTE, p->token++->place, &outer)))
                return code;
            outer->a = node;
            node = outer;
            code = jinja_parse_take_name(p, &node->name);
        }
        if (code)
            return code;
        jinja_parse_chain_add(&chain, node);
    } while (jinja_parse_skip_sign(p, ","));
    if (open && !jinja_parse_skip_sign(p, ")"))
        return jinja_parse_fail(p, ")");
    *result = chain.first;
    if (!chain.first->next)
        return LOAM_OK;
    int code = jinja_parse_make(p, N_LIST, place, result);
    if (!code)
        (*result)->list = chain.first;
    return code;
}

static int parse_if(struct parser *p, struct jinja_node *node)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif", NULL};
    int code = LOAM_OK;
    for (;;) {
        if ((code = row(p, true, &node->a)) || (code = end_block(p)) || (code = body(p, ends, &node->list)))
            return code;
        if (!jinja_parse_skip_name(p, "elif"))
            break;
        if ((code = jinja_parse_make(p, N_IF, p->token->place, &node->b)))
            return code;
        node = node->b;
    }
    if (jinja_parse_skip_name(p, "else") && ((code = end_block(p)) || (code = body(p, last, &node->other))))
        return code;
    p->token++;
    return end_block(p);
}

static int parse_for(struct parser *p, struct jinja_node *node)
{
    static const char *const ends[] = {"else", "endfor", NULL}, *const last[] = {"endfor", NULL};
    int code = target(p, &node->a);
    if (code)
        return code;
    if (!jinja_parse_skip_name(p, "in"))
        return jinja_parse_fail(p, "in");
    if ((code = row(p, false, &node->b)))
        return code;
    if (jinja_parse_skip_name(p, "if") && (code = jinja_parse_expression(p, true, &node->c)))
        return code;
    node->flag = jinja_parse_skip_name(p, "recursive");
    if ((code = end_block(p)) || (code = body(p, ends, &node->list)))
        return code;
    if (jinja_parse_skip_name(p, "else") && ((code = end_block(p)) || (code = body(p, last, &node->other))))
        return code;
    p->token++;
    return end_block(p);
}

/* A body up to one word, and the tag's end behind it. */
static int body_to(struct parser *p, const char *end, struct jinja_node **result)
{
    const char *const ends[] = {end, NULL};
    int code = end_block(p);
    if (!code)
        code = body(p, ends, result);
    if (code)
        return code;
    p->token++;
    return end_block(p);
}

/* Filters on what a block writes. */
static int capture(struct parser *p, struct jinja_node **result)
{
    int code = jinja_parse_make(p, N_CAPTURE, p->token->place, result);
    while (!code && jinja_parse_skip_sign(p, "|"))
        code = jinja_parse_filter(p, result);
    return code;
}

static int parse_set(struct parser *p, struct jinja_node *node)
{
    int code = target(p, &node->a);
    if (code)
        return code;
    if (!jinja_parse_skip_sign(p, "=")) {
        node->kind = N_SET_BLOCK;
        code = capture(p, &node->b);
        return code ? code : body_to(p, "endset", &node->list);
    }
    code = row(p, true, &node->b);
    return code ? code : end_block(p);
}

static int parse_macro(struct parser *p, struct jinja_node *node)
{
    int code = jinja_parse_take_name(p, &node->name);
    if (!code)
        code = jinja_parse_want_sign(p, "(");
    if (!code)
        code = jinja_parse_arguments(p, true, &node->list);
    return code ? code : body_to(p, "endmacro", &node->other);
}

static int parse_call(struct parser *p, struct jinja_node *node)
{
    int code = jinja_parse_skip_sign(p, "(") ? jinja_parse_arguments(p, true, &node->list) : LOAM_OK;
    if (!code)
        code = jinja_parse_expression(p, true, &node->a);
    if (!code && node->a->kind != N_CALL)
        return jinja_parse_fail(p, "a call");
    return code ? code : body_to(p, "endcall", &node->other);
}

static int parse_filter(struct parser *p, struct jinja_node *node)
{
    int code = jinja_parse_make(p, N_CAPTURE, p->token->place, &node->b);
    if (!code)
        code = jinja_parse_filter(p, &node->b);
    while (!code && jinja_parse_skip_sign(p, "|"))
        code = jinja_parse_filter(p, &node->b);
    return code ? code : body_to(p, "endfilter", &node->list);
}

static int parse_with(struct parser *p, struct jinja_node *node)
{
    struct chain chain = {0};
    while (p->token->kind != T_BLOCK_END) {
        struct jinja_node *set;
        int code = chain.first ? jinja_parse_want_sign(p, ",") : LOAM_OK;
        if (!code)
            code = jinja_parse_make(p, N_SET, p->token->place, &set);
        if (code)
            return code;
        jinja_parse_chain_add(&chain, set);
        if ((code = jinja_parse_make(p, N_NAME, p->token->place, &set->a)) ||
            (code = jinja_parse_take_name(p, &set->a->name)) || (code = jinja_parse_want_sign(p, "=")) ||
            (code = jinja_parse_expression(p, true, &set->b)))
            return code;
    }
    node->list = chain.first;
    return body_to(p, "endwith", &node->other);
}

static int parse_plain(struct parser *p, struct jinja_node *node)
{
    (void)node;
    return end_block(p);
}

static int parse_generation(struct parser *p, struct jinja_node *node)
{
    return body_to(p, "endgeneration", &node->list);
}

static const struct {
    const char *word;
    enum jinja_node_kind kind;
    int (*parse)(struct parser *p, struct jinja_node *node);
} statements[] = {
    {"if", N_IF, parse_if},
    {"for", N_FOR, parse_for},
    {"set", N_SET, parse_set},
    {"macro", N_MACRO, parse_macro},
    {"call", N_CALL_BLOCK, parse_call},
    {"filter", N_FILTER_BLOCK, parse_filter},
    {"with", N_WITH, parse_with},
    {"break", N_BREAK, parse_plain},
    {"continue", N_CONTINUE, parse_plain},
    {"generation", N_GENERATION, parse_generation},
};

static int statement(struct parser *p, struct chain *chain)
{
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        struct jinja_node *node;
        const size_t place = p->token->place;
        if (!jinja_parse_skip_name(p, statements[i].word))
            continue;
        if (++p->depth > JINJA_MOST_DEPTH)
            return lm_jinja_fail(p->jinja, place, LOAM_EFORMAT, p->error, "found blocks more than %d deep",
                                 JINJA_MOST_DEPTH);
        int code = jinja_parse_make(p, statements[i].kind, place, &node);
        if (code)
            return code;
        jinja_parse_chain_add(chain, node);
        code = statements[i].parse(p, node);
        p->depth--;
        return code;
    }
    if (p->token->kind != T_NAME)
        return jinja_parse_fail(p, "the name of a block");
    return lm_jinja_fail(
        p->jinja, p->token->place, LOAM_EUNSUPPORTED, p->error,
        "found the block '%.*s' where loam knows none of that name; chat templates have if, for, set, macro, call, "
        "filter, with, generation, break, continue and raw",
        JINJA_SHOW(p->token->text));
}

static int output(struct parser *p, struct chain *chain)
{
    struct jinja_node *node;
    int code = jinja_parse_make(p, N_OUTPUT, p->token->place, &node);
    if (!code)
        code = row(p, true, &node->a);
    if (!code && p->token->kind != T_OUTPUT_END)
        code = jinja_parse_fail(p, "}}");
    p->token++;
    if (!code)
        jinja_parse_chain_add(chain, node);
    return code;
}

static bool at_end(const struct parser *p, const char *const *ends)
{
    for (; *ends; ends++)
        if (jinja_parse_at_name(p, *ends))
            return true;
    return false;
}

/* Statements up to a tag that begins with one of `ends` (the token is left at that word), or to the file's end where
 * there are none. */
static int body(struct parser *p, const char *const *ends, struct jinja_node **result)
{
    struct chain chain = {0};
    int code = LOAM_OK;
    while (!code) {
        struct jinja_node *node;
        const struct jinja_token *token = p->token;
        if (token->kind == T_END && *ends)
            return lm_jinja_fail(p->jinja, token->place, LOAM_EFORMAT, p->error,
                                 "found the end of the template, wanted {%% %s %%}", ends[0]);
        if (token->kind == T_END)
            break;
        p->token++;
        if (token->kind == T_DATA) {
            if ((code = jinja_parse_make(p, N_DATA, token->place, &node)))
                break;
            node->name = token->text;
            jinja_parse_chain_add(&chain, node);
        } else if (token->kind == T_OUTPUT_BEGIN) {
            code = output(p, &chain);
        } else if (at_end(p, ends)) {
            break;
        } else {
            code = statement(p, &chain);
        }
    }
    *result = chain.first;
    return code;
}

/* The source with line ends as \n and without the last one. */
static int take_source(struct lm_jinja *jinja, const char *source, size_t length, loam_error *error)
{
    if (!(jinja->original = lm_copy_string(source, length, error)) || !(jinja->source = lm_alloc(length + 1, 1, error)))
        return LOAM_ENOMEM;
    jinja->original_length = length;
    for (size_t i = 0; i < length; i++) {
        if (source[i] == '\r' && i + 1 < length && source[i + 1] == '\n')
            continue;
        jinja->source[jinja->length++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (jinja->length && jinja->source[jinja->length - 1] == '\n')
        jinja->length--;
    const size_t valid = lm_utf8_check(jinja->source, jinja->length);
    return valid == jinja->length ? LOAM_OK
                                  : lm_jinja_fail(jinja, valid, LOAM_EFORMAT, error, "found bytes that are not UTF-8");
}

int lm_jinja_parse(const char *source, size_t length, const char *name, struct lm_jinja **result, loam_error *error)
{
    static const char *const none[] = {NULL};
    struct jinja_tokens tokens = {0};
    struct lm_jinja *jinja = lm_alloc(1, sizeof *jinja, error);
    if (!jinja)
        return LOAM_ENOMEM;
    jinja->name = lm_copy_string(name, strlen(name), error);
    int code = jinja->name ? take_source(jinja, source, length, error) : LOAM_ENOMEM;
    if (!code)
        code = lm_jinja_lex(jinja, &tokens, error);
    struct parser parser = {jinja, tokens.data, 0, error};
    if (!code)
        code = body(&parser, none, &jinja->body);
    lm_free(tokens.data);
    if (code) {
        lm_jinja_free(jinja);
        return code;
    }
    *result = jinja;
    return LOAM_OK;
}

void lm_jinja_free(struct lm_jinja *jinja)
{
    if (!jinja)
        return;
    lm_jinja_pool_free(&jinja->pool);
    lm_free(jinja->name);
    lm_free(jinja->source);
    lm_free(jinja->original);
    lm_free(jinja);
}

const char *lm_jinja_source(const struct lm_jinja *jinja, size_t *length)
{
    *length = jinja->original_length;
    return jinja->original;
}
