/* Jinja's tokens into a tree. Precedence as in Jinja2: choice, or, and, not, comparison, sum, ~, product, power, sign,
 * postfix, filters and tests. */
#include "data/jinja_tree.h"

enum { MOST_DEPTH = 100 };

struct parser {
    struct lm_jinja *jinja;
    const struct jinja_token *token;
    int depth;
    loam_error *error;
};

/* A list being filled. */
struct chain {
    struct jinja_node *first, **last;
};

static int expression(struct parser *p, bool choice, struct jinja_node **result);
static int body(struct parser *p, const char *const *ends, struct jinja_node **result);
static int unary(struct parser *p, bool filters, struct jinja_node **result);

static int fail(struct parser *p, const char *wanted)
{
    const struct jinja_token *token = p->token;
    static const char *const kinds[] = {"text",     "{{",       "}}",       "{%", "%}",     "",
                                        "a string", "a number", "a number", "",   "the end"};
    const bool shown = token->kind == T_NAME || token->kind == T_SIGN;
    return lm_jinja_fail(p->jinja, token->place, LOAM_EFORMAT, p->error, "found %s%.*s%s, wanted %s",
                         shown ? "'" : kinds[token->kind],
                         shown ? (int)(token->text.length < 60 ? token->text.length : 60) : 0,
                         shown ? token->text.data : "", shown ? "'" : "", wanted);
}

static int make(struct parser *p, enum jinja_node_kind kind, size_t place, struct jinja_node **result)
{
    struct jinja_node *node = lm_jinja_take(&p->jinja->pool, sizeof *node, p->error);
    if (!node)
        return LOAM_ENOMEM;
    node->kind = kind;
    node->place = place;
    *result = node;
    return LOAM_OK;
}

static void chain_add(struct chain *chain, struct jinja_node *node)
{
    if (!chain->first)
        chain->first = node;
    else
        *chain->last = node;
    chain->last = &node->next;
}

static bool at_sign(const struct parser *p, const char *sign)
{
    return p->token->kind == T_SIGN && jinja_is(p->token->text, sign);
}

static bool at_name(const struct parser *p, const char *name)
{
    return p->token->kind == T_NAME && jinja_is(p->token->text, name);
}

static bool skip_sign(struct parser *p, const char *sign)
{
    if (!at_sign(p, sign))
        return false;
    p->token++;
    return true;
}

static bool skip_name(struct parser *p, const char *name)
{
    if (!at_name(p, name))
        return false;
    p->token++;
    return true;
}

static int want_sign(struct parser *p, const char *sign)
{
    return skip_sign(p, sign) ? LOAM_OK : fail(p, sign);
}

static int take_name(struct parser *p, struct jinja_text *name)
{
    if (p->token->kind != T_NAME)
        return fail(p, "a name");
    *name = p->token++->text;
    return LOAM_OK;
}

static int end_block(struct parser *p)
{
    if (p->token->kind != T_BLOCK_END)
        return fail(p, "%}");
    p->token++;
    return LOAM_OK;
}

/* Arguments behind "(", with ")". `declared`: names with defaults, as a macro has them. */
static int arguments(struct parser *p, bool declared, struct jinja_node **result)
{
    struct chain chain = {0};
    bool named = false;
    while (!skip_sign(p, ")")) {
        struct jinja_node *node;
        if (chain.first) {
            int code = want_sign(p, ",");
            if (code)
                return code;
            if (skip_sign(p, ")"))
                break;
        }
        int code = make(p, N_ARGUMENT, p->token->place, &node);
        if (code)
            return code;
        chain_add(&chain, node);
        const bool has_name = p->token->kind == T_NAME && p->token[1].kind == T_SIGN && jinja_is(p->token[1].text, "=");
        if (declared || has_name) {
            if ((code = take_name(p, &node->name)))
                return code;
            if (!skip_sign(p, "=")) {
                if (named)
                    return fail(p, "= and a default, as the parameter before it has one");
                continue;
            }
            named = true;
        } else if (named) {
            return fail(p, "NAME=, as the argument before it has a name");
        }
        if ((code = expression(p, true, &node->a)))
            return code;
    }
    *result = chain.first;
    return LOAM_OK;
}

/* Items up to the sign `end`, which is taken; of a mapping: keys and values in turn. */
static int items(struct parser *p, const char *end, bool pairs, struct jinja_node **result)
{
    struct chain chain = {0};
    while (!skip_sign(p, end)) {
        struct jinja_node *node = NULL;
        int code = chain.first ? want_sign(p, ",") : LOAM_OK;
        if (!code && chain.first && skip_sign(p, end))
            break;
        if (!code)
            code = expression(p, true, &node);
        if (code)
            return code;
        chain_add(&chain, node);
        if (!pairs)
            continue;
        code = want_sign(p, ":");
        if (!code)
            code = expression(p, true, &node);
        if (code)
            return code;
        chain_add(&chain, node);
    }
    *result = chain.first;
    return LOAM_OK;
}

/* Behind "(": an expression in parentheses or a tuple. */
static int parenthesis(struct parser *p, size_t place, struct jinja_node **result)
{
    struct chain chain = {0};
    struct jinja_node *node;
    bool tuple = false;
    while (!skip_sign(p, ")")) {
        if (chain.first) {
            int code = want_sign(p, ",");
            if (code)
                return code;
            tuple = true;
            if (skip_sign(p, ")"))
                break;
        }
        int code = expression(p, true, &node);
        if (code)
            return code;
        chain_add(&chain, node);
    }
    if (chain.first && !tuple) {
        *result = chain.first;
        return LOAM_OK;
    }
    int code = make(p, N_LIST, place, result);
    if (!code) {
        (*result)->list = chain.first;
        (*result)->flag = true;
    }
    return code;
}

static int constant(struct parser *p, size_t place, struct jinja_value value, struct jinja_node **result)
{
    int code = make(p, N_CONSTANT, place, result);
    if (!code)
        (*result)->value = value;
    return code;
}

static int named(struct parser *p, struct jinja_node **result)
{
    const struct jinja_token *token = p->token++;
    const struct jinja_text name = token->text;
    const bool yes = jinja_is(name, "true") || jinja_is(name, "True");
    if (yes || jinja_is(name, "false") || jinja_is(name, "False"))
        return constant(p, token->place, (struct jinja_value){.kind = J_TRUTH, .as.truth = yes}, result);
    if (jinja_is(name, "none") || jinja_is(name, "None"))
        return constant(p, token->place, (struct jinja_value){.kind = J_NONE}, result);
    int code = make(p, N_NAME, token->place, result);
    if (!code)
        (*result)->name = name;
    return code;
}

/* Texts that stand beside each other are one. */
static int texts(struct parser *p, struct jinja_node **result)
{
    const struct jinja_token *first = p->token;
    size_t length = 0, used = 0;
    for (; p->token->kind == T_TEXT; p->token++)
        length += p->token->text.length;
    if (p->token - first == 1)
        return constant(p, first->place, (struct jinja_value){.kind = J_TEXT, .as.text = first->text}, result);
    char *text = lm_jinja_take(&p->jinja->pool, length, p->error);
    if (!text)
        return LOAM_ENOMEM;
    for (const struct jinja_token *each = first; each < p->token; each++) {
        memcpy(text + used, each->text.data, each->text.length);
        used += each->text.length;
    }
    return constant(p, first->place, (struct jinja_value){.kind = J_TEXT, .as.text = {text, length}}, result);
}

static int primary(struct parser *p, struct jinja_node **result)
{
    const struct jinja_token *token = p->token;
    const size_t place = token->place;
    switch (token->kind) {
    case T_NAME:
        return named(p, result);
    case T_TEXT:
        return texts(p, result);
    case T_WHOLE:
        p->token++;
        return constant(p, place, (struct jinja_value){.kind = J_WHOLE, .as.whole = token->whole}, result);
    case T_NUMBER:
        p->token++;
        return constant(p, place, (struct jinja_value){.kind = J_NUMBER, .as.number = token->number}, result);
    default:
        break;
    }
    if (skip_sign(p, "("))
        return parenthesis(p, place, result);
    const bool list = at_sign(p, "[");
    if (!list && !at_sign(p, "{"))
        return fail(p, "an expression");
    p->token++;
    int code = make(p, list ? N_LIST : N_DICT, place, result);
    return code ? code : items(p, list ? "]" : "}", !list, &(*result)->list);
}

/* Behind "[". */
static int subscript(struct parser *p, struct jinja_node *node)
{
    struct jinja_node **parts[] = {&node->b, &node->c, &node->d};
    int part = 0;
    node->kind = N_ITEM;
    for (;;) {
        if (skip_sign(p, ":")) {
            node->kind = N_SLICE;
            if (++part > 2)
                return fail(p, "at most two ':' in a slice");
            continue;
        }
        if (skip_sign(p, "]"))
            break;
        if (*parts[part])
            return fail(p, "]");
        int code = expression(p, true, parts[part]);
        if (code)
            return code;
    }
    return node->kind == N_ITEM && !node->b ? fail(p, "an index before ]") : LOAM_OK;
}

static int postfix(struct parser *p, struct jinja_node **node)
{
    for (;;) {
        struct jinja_node *outer;
        const bool dot = at_sign(p, "."), bracket = at_sign(p, "["), call = at_sign(p, "(");
        if (!dot && !bracket && !call)
            return LOAM_OK;
        int code = make(p, dot ? N_ATTRIBUTE : bracket ? N_ITEM : N_CALL, p->token->place, &outer);
        if (code)
            return code;
        p->token++;
        outer->a = *node;
        if (dot && p->token->kind == T_WHOLE) { /* x.0 is x[0] */
            outer->kind = N_ITEM;
            code = primary(p, &outer->b);
        } else {
            code = dot ? take_name(p, &outer->name) : bracket ? subscript(p, outer) : arguments(p, false, &outer->list);
        }
        if (code)
            return code;
        *node = outer;
    }
}

static int filter(struct parser *p, struct jinja_node **node)
{
    struct jinja_node *outer;
    int code = make(p, N_FILTER, p->token->place, &outer);
    if (!code)
        code = take_name(p, &outer->name);
    if (code)
        return code;
    outer->a = *node;
    if (skip_sign(p, "("))
        code = arguments(p, false, &outer->list);
    *node = outer;
    return code;
}

/* An argument may follow a test's name without parentheses. */
static bool test_argument_follows(const struct parser *p)
{
    switch (p->token->kind) {
    case T_TEXT:
    case T_WHOLE:
    case T_NUMBER:
        return true;
    case T_SIGN:
        return at_sign(p, "[") || at_sign(p, "{");
    case T_NAME:
        return !at_name(p, "else") && !at_name(p, "or") && !at_name(p, "and") && !at_name(p, "is") &&
               !at_name(p, "if") && !at_name(p, "not") && !at_name(p, "in");
    default:
        return false;
    }
}

static int test(struct parser *p, struct jinja_node **node)
{
    struct jinja_node *outer, *argument;
    int code = make(p, N_TEST, p->token->place, &outer);
    if (code)
        return code;
    outer->a = *node;
    outer->flag = skip_name(p, "not");
    if ((code = take_name(p, &outer->name)))
        return code;
    *node = outer;
    if (skip_sign(p, "("))
        return arguments(p, false, &outer->list);
    if (!test_argument_follows(p))
        return LOAM_OK;
    if ((code = make(p, N_ARGUMENT, p->token->place, &argument)))
        return code;
    outer->list = argument;
    code = primary(p, &argument->a);
    return code ? code : postfix(p, &argument->a);
}

static int filters_and_tests(struct parser *p, struct jinja_node **node)
{
    int code = LOAM_OK;
    while (!code) {
        if (skip_sign(p, "|"))
            code = filter(p, node);
        else if (skip_name(p, "is"))
            code = test(p, node);
        else if (at_sign(p, "("))
            code = postfix(p, node);
        else
            break;
    }
    return code;
}

static int unary_inside(struct parser *p, bool filters, struct jinja_node **result)
{
    const bool minus = at_sign(p, "-");
    int code;
    if (minus || at_sign(p, "+")) {
        if ((code = make(p, minus ? N_NEGATIVE : N_POSITIVE, p->token++->place, result)) ||
            (code = unary(p, false, &(*result)->a)))
            return code;
    } else if ((code = primary(p, result))) {
        return code;
    }
    code = postfix(p, result);
    return !code && filters ? filters_and_tests(p, result) : code;
}

static int unary(struct parser *p, bool filters, struct jinja_node **result)
{
    if (++p->depth > MOST_DEPTH)
        return lm_jinja_fail(p->jinja, p->token->place, LOAM_EFORMAT, p->error, "found expressions more than %d deep",
                             MOST_DEPTH);
    int code = unary_inside(p, filters, result);
    p->depth--;
    return code;
}

/* The levels between unary and comparison: each a left-leaning row of the level below it. */
static const struct {
    const char *sign;
    enum jinja_operator operator;
    int level;
} operators[] = {
    {"+", O_ADD, 0},    {"-", O_SUBTRACT, 0}, {"~", O_JOIN, 1},   {"*", O_MULTIPLY, 2},
    {"/", O_DIVIDE, 2}, {"//", O_FLOOR, 2},   {"%", O_MODULO, 2}, {"**", O_POWER, 3},
};
enum { OPERATORS = sizeof operators / sizeof *operators, LEVELS = 4 };

static int level(struct parser *p, int which, struct jinja_node **result)
{
    int code = which == LEVELS ? unary(p, true, result) : level(p, which + 1, result);
    while (!code && which < LEVELS) {
        struct jinja_node *outer;
        size_t i = 0;
        while (i < OPERATORS && !(operators[i].level == which && at_sign(p, operators[i].sign)))
            i++;
        if (i == OPERATORS)
            return LOAM_OK;
        if ((code = make(p, N_BINARY, p->token++->place, &outer)))
            return code;
        outer->operator= operators[i].operator;
        outer->a = *result;
        *result = outer;
        code = level(p, which + 1, &outer->b);
    }
    return code;
}

static bool comparison_sign(struct parser *p, enum jinja_operator *operator)
{
    static const struct {
        const char *sign;
        enum jinja_operator operator;
    } signs[] = {{"==", O_EQUAL}, {"!=", O_UNEQUAL}, {"<", O_LESS}, {"<=", O_MOST}, {">", O_GREATER}, {">=", O_LEAST}};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (skip_sign(p, signs[i].sign)) {
            *operator= signs[i].operator;
            return true;
        }
    *operator= at_name(p, "in") ? O_IN : O_NOT_IN;
    if (skip_name(p, "in"))
        return true;
    if (!at_name(p, "not") || p->token[1].kind != T_NAME || !jinja_is(p->token[1].text, "in"))
        return false;
    p->token += 2;
    return true;
}

static int comparison(struct parser *p, struct jinja_node **result)
{
    struct chain chain = {0};
    struct jinja_node *node, *outer;
    enum jinja_operator operator;
    int code = level(p, 0, result);
    while (!code) {
        const size_t place = p->token->place;
        if (!comparison_sign(p, &operator))
            break;
        if ((code = make(p, N_ARGUMENT, place, &node)) || (code = level(p, 0, &node->a)))
            return code;
        node->operator= operator;
        chain_add(&chain, node);
    }
    if (code || !chain.first)
        return code;
    if ((code = make(p, N_COMPARE, chain.first->place, &outer)))
        return code;
    outer->a = *result;
    outer->list = chain.first;
    *result = outer;
    return LOAM_OK;
}

static int negation(struct parser *p, struct jinja_node **result)
{
    struct jinja_node **inner = result;
    for (int nots = 0; at_name(p, "not"); nots++) {
        int code = nots > MOST_DEPTH ? fail(p, "fewer 'not'") : make(p, N_NOT, p->token++->place, inner);
        if (code)
            return code;
        inner = &(*inner)->a;
    }
    return comparison(p, inner);
}

static int conjunction(struct parser *p, bool or, struct jinja_node **result)
{
    int code = or ? conjunction(p, false, result) : negation(p, result);
    while (!code && at_name(p, or ? "or" : "and")) {
        struct jinja_node *outer;
        if ((code = make(p, or ? N_OR : N_AND, p->token++->place, &outer)))
            return code;
        outer->a = *result;
        *result = outer;
        code = or ? conjunction(p, false, &outer->b) : negation(p, &outer->b);
    }
    return code;
}

static int choice(struct parser *p, struct jinja_node **result)
{
    int code = conjunction(p, true, result);
    while (!code && at_name(p, "if")) {
        struct jinja_node *outer;
        if ((code = make(p, N_CHOICE, p->token++->place, &outer)))
            return code;
        outer->a = *result;
        *result = outer;
        if ((code = conjunction(p, true, &outer->b)))
            return code;
        if (skip_name(p, "else"))
            code = expression(p, true, &outer->c);
    }
    return code;
}

/* `with_choice` false: what stands before "if" in a for. */
static int expression(struct parser *p, bool with_choice, struct jinja_node **result)
{
    if (++p->depth > MOST_DEPTH)
        return lm_jinja_fail(p->jinja, p->token->place, LOAM_EFORMAT, p->error, "found expressions more than %d deep",
                             MOST_DEPTH);
    int code = with_choice ? choice(p, result) : conjunction(p, true, result);
    p->depth--;
    return code;
}

/* An expression, or several with commas: a list. */
static int row(struct parser *p, bool with_choice, struct jinja_node **result)
{
    struct chain chain = {0};
    const size_t place = p->token->place;
    int code = expression(p, with_choice, result);
    if (code || !at_sign(p, ","))
        return code;
    chain_add(&chain, *result);
    while (!code && skip_sign(p, ",")) {
        struct jinja_node *node;
        if (p->token->kind == T_BLOCK_END || p->token->kind == T_OUTPUT_END)
            break;
        if (!(code = expression(p, with_choice, &node)))
            chain_add(&chain, node);
    }
    if (!code)
        code = make(p, N_LIST, place, result);
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
    const bool open = skip_sign(p, "(");
    do {
        struct jinja_node *node;
        int code = make(p, N_NAME, p->token->place, &node);
        if (!code)
            code = take_name(p, &node->name);
        if (!code && at_sign(p, ".")) {
            struct jinja_node *outer;
            if ((code = make(p, N_ATTRIBUTE, p->token++->place, &outer)))
                return code;
            outer->a = node;
            node = outer;
            code = take_name(p, &node->name);
        }
        if (code)
            return code;
        chain_add(&chain, node);
    } while (skip_sign(p, ","));
    if (open && !skip_sign(p, ")"))
        return fail(p, ")");
    *result = chain.first;
    if (!chain.first->next)
        return LOAM_OK;
    int code = make(p, N_LIST, place, result);
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
        if (!skip_name(p, "elif"))
            break;
        if ((code = make(p, N_IF, p->token->place, &node->b)))
            return code;
        node = node->b;
    }
    if (skip_name(p, "else") && ((code = end_block(p)) || (code = body(p, last, &node->other))))
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
    if (!skip_name(p, "in"))
        return fail(p, "in");
    if ((code = row(p, false, &node->b)))
        return code;
    if (skip_name(p, "if") && (code = expression(p, true, &node->c)))
        return code;
    node->flag = skip_name(p, "recursive");
    if ((code = end_block(p)) || (code = body(p, ends, &node->list)))
        return code;
    if (skip_name(p, "else") && ((code = end_block(p)) || (code = body(p, last, &node->other))))
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
    int code = make(p, N_CAPTURE, p->token->place, result);
    while (!code && skip_sign(p, "|"))
        code = filter(p, result);
    return code;
}

static int parse_set(struct parser *p, struct jinja_node *node)
{
    int code = target(p, &node->a);
    if (code)
        return code;
    if (!skip_sign(p, "=")) {
        node->kind = N_SET_BLOCK;
        code = capture(p, &node->b);
        return code ? code : body_to(p, "endset", &node->list);
    }
    code = row(p, true, &node->b);
    return code ? code : end_block(p);
}

static int parse_macro(struct parser *p, struct jinja_node *node)
{
    int code = take_name(p, &node->name);
    if (!code)
        code = want_sign(p, "(");
    if (!code)
        code = arguments(p, true, &node->list);
    return code ? code : body_to(p, "endmacro", &node->other);
}

static int parse_call(struct parser *p, struct jinja_node *node)
{
    int code = skip_sign(p, "(") ? arguments(p, true, &node->list) : LOAM_OK;
    if (!code)
        code = expression(p, true, &node->a);
    if (!code && node->a->kind != N_CALL)
        return fail(p, "a call");
    return code ? code : body_to(p, "endcall", &node->other);
}

static int parse_filter(struct parser *p, struct jinja_node *node)
{
    int code = make(p, N_CAPTURE, p->token->place, &node->b);
    if (!code)
        code = filter(p, &node->b);
    while (!code && skip_sign(p, "|"))
        code = filter(p, &node->b);
    return code ? code : body_to(p, "endfilter", &node->list);
}

static int parse_with(struct parser *p, struct jinja_node *node)
{
    struct chain chain = {0};
    while (p->token->kind != T_BLOCK_END) {
        struct jinja_node *set;
        int code = chain.first ? want_sign(p, ",") : LOAM_OK;
        if (!code)
            code = make(p, N_SET, p->token->place, &set);
        if (code)
            return code;
        chain_add(&chain, set);
        if ((code = make(p, N_NAME, p->token->place, &set->a)) || (code = take_name(p, &set->a->name)) ||
            (code = want_sign(p, "=")) || (code = expression(p, true, &set->b)))
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
        if (!skip_name(p, statements[i].word))
            continue;
        if (++p->depth > MOST_DEPTH)
            return lm_jinja_fail(p->jinja, place, LOAM_EFORMAT, p->error, "found blocks more than %d deep", MOST_DEPTH);
        int code = make(p, statements[i].kind, place, &node);
        if (code)
            return code;
        chain_add(chain, node);
        code = statements[i].parse(p, node);
        p->depth--;
        return code;
    }
    if (p->token->kind != T_NAME)
        return fail(p, "the name of a block");
    return lm_jinja_fail(
        p->jinja, p->token->place, LOAM_EUNSUPPORTED, p->error,
        "found the block '%.*s' where loam knows none of that name; chat templates have if, for, set, macro, call, "
        "filter, with, generation, break, continue and raw",
        JINJA_SHOW(p->token->text));
}

static int output(struct parser *p, struct chain *chain)
{
    struct jinja_node *node;
    int code = make(p, N_OUTPUT, p->token->place, &node);
    if (!code)
        code = row(p, true, &node->a);
    if (!code && p->token->kind != T_OUTPUT_END)
        code = fail(p, "}}");
    p->token++;
    if (!code)
        chain_add(chain, node);
    return code;
}

static bool at_end(const struct parser *p, const char *const *ends)
{
    for (; *ends; ends++)
        if (at_name(p, *ends))
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
            if ((code = make(p, N_DATA, token->place, &node)))
                break;
            node->name = token->text;
            chain_add(&chain, node);
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
