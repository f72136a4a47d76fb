/* Jinja's expressions into a tree. Precedence as in Jinja2: choice, or, and, not, comparison, sum, ~, product, power,
 * sign, postfix, filters and tests. */
#include "data/jinja_parse.h"

static int unary(struct parser *p, bool filters, struct jinja_node **result);

int jinja_parse_fail(struct parser *p, const char *wanted)
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

int jinja_parse_make(struct parser *p, enum jinja_node_kind kind, size_t place, struct jinja_node **result)
{
    struct jinja_node *node = lm_jinja_take(&p->jinja->pool, sizeof *node, p->error);
    if (!node)
        return LOAM_ENOMEM;
    node->kind = kind;
    node->place = place;
    *result = node;
    return LOAM_OK;
}

void jinja_parse_chain_add(struct chain *chain, struct jinja_node *node)
{
    if (!chain->first)
        chain->first = node;
    else
        *chain->last = node;
    chain->last = &node->next;
}

bool jinja_parse_at_sign(const struct parser *p, const char *sign)
{
    return p->token->kind == T_SIGN && jinja_is(p->token->text, sign);
}

bool jinja_parse_at_name(const struct parser *p, const char *name)
{
    return p->token->kind == T_NAME && jinja_is(p->token->text, name);
}

bool jinja_parse_skip_sign(struct parser *p, const char *sign)
{
    if (!jinja_parse_at_sign(p, sign))
        return false;
    p->token++;
    return true;
}

bool jinja_parse_skip_name(struct parser *p, const char *name)
{
    if (!jinja_parse_at_name(p, name))
        return false;
    p->token++;
    return true;
}

int jinja_parse_want_sign(struct parser *p, const char *sign)
{
    return jinja_parse_skip_sign(p, sign) ? LOAM_OK : jinja_parse_fail(p, sign);
}

int jinja_parse_take_name(struct parser *p, struct jinja_text *name)
{
    if (p->token->kind != T_NAME)
        return jinja_parse_fail(p, "a name");
    *name = p->token++->text;
    return LOAM_OK;
}

/* Arguments behind "(", with ")". `declared`: names with defaults, as a macro has them. */
int jinja_parse_arguments(struct parser *p, bool declared, struct jinja_node **result)
{
    struct chain chain = {0};
    bool named = false;
    while (!jinja_parse_skip_sign(p, ")")) {
        struct jinja_node *node;
        if (chain.first) {
            int code = jinja_parse_want_sign(p, ",");
            if (code)
                return code;
            if (jinja_parse_skip_sign(p, ")"))
                break;
        }
        int code = jinja_parse_make(p, N_ARGUMENT, p->token->place, &node);
        if (code)
            return code;
        jinja_parse_chain_add(&chain, node);
        const bool has_name = p->token->kind == T_NAME && p->token[1].kind == T_SIGN && jinja_is(p->token[1].text, "=");
        if (declared || has_name) {
            if ((code = jinja_parse_take_name(p, &node->name)))
                return code;
            if (!jinja_parse_skip_sign(p, "=")) {
                if (named)
                    return jinja_parse_fail(p, "= and a default, as the parameter before it has one");
                continue;
            }
            named = true;
        } else if (named) {
            return jinja_parse_fail(p, "NAME=, as the argument before it has a name");
        }
        if ((code = jinja_parse_expression(p, true, &node->a)))
            return code;
    }
    *result = chain.first;
    return LOAM_OK;
}

/* Items up to the sign `end`, which is taken; of a mapping: keys and values in turn. */
static int items(struct parser *p, const char *end, bool pairs, struct jinja_node **result)
{
    struct chain chain = {0};
    while (!jinja_parse_skip_sign(p, end)) {
        struct jinja_node *node = NULL;
        int code = chain.first ? jinja_parse_want_sign(p, ",") : LOAM_OK;
        if (!code && chain.first && jinja_parse_skip_sign(p, end))
            break;
        if (!code)
            code = jinja_parse_expression(p, true, &node);
        if (code)
            return code;
        jinja_parse_chain_add(&chain, node);
        if (!pairs)
            continue;
        code = jinja_parse_want_sign(p, ":");
        if (!code)
            code = jinja_parse_expression(p, true, &node);
        if (code)
            return code;
        jinja_parse_chain_add(&chain, node);
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
    while (!jinja_parse_skip_sign(p, ")")) {
        if (chain.first) {
            int code = jinja_parse_want_sign(p, ",");
            if (code)
                return code;
            tuple = true;
            if (jinja_parse_skip_sign(p, ")"))
                break;
        }
        int code = jinja_parse_expression(p, true, &node);
        if (code)
            return code;
        jinja_parse_chain_add(&chain, node);
    }
    if (chain.first && !tuple) {
        *result = chain.first;
        return LOAM_OK;
    }
    int code = jinja_parse_make(p, N_LIST, place, result);
    if (!code) {
        (*result)->list = chain.first;
        (*result)->flag = true;
    }
    return code;
}

static int constant(struct parser *p, size_t place, struct jinja_value value, struct jinja_node **result)
{
    int code = jinja_parse_make(p, N_CONSTANT, place, result);
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
    int code = jinja_parse_make(p, N_NAME, token->place, result);
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
    if (jinja_parse_skip_sign(p, "("))
        return parenthesis(p, place, result);
    const bool list = jinja_parse_at_sign(p, "[");
    if (!list && !jinja_parse_at_sign(p, "{"))
        return jinja_parse_fail(p, "an expression");
    p->token++;
    int code = jinja_parse_make(p, list ? N_LIST : N_DICT, place, result);
    return code ? code : items(p, list ? "]" : "}", !list, &(*result)->list);
}

/* Behind "[". */
static int subscript(struct parser *p, struct jinja_node *node)
{
    struct jinja_node **parts[] = {&node->b, &node->c, &node->d};
    int part = 0;
    node->kind = N_ITEM;
    for (;;) {
        if (jinja_parse_skip_sign(p, ":")) {
            node->kind = N_SLICE;
            if (++part > 2)
                return jinja_parse_fail(p, "at most two ':' in a slice");
            continue;
        }
        if (jinja_parse_skip_sign(p, "]"))
            break;
        if (*parts[part])
            return jinja_parse_fail(p, "]");
        int code = jinja_parse_expression(p, true, parts[part]);
        if (code)
            return code;
    }
    return node->kind == N_ITEM && !node->b ? jinja_parse_fail(p, "an index before ]") : LOAM_OK;
}

static int postfix(struct parser *p, struct jinja_node **node)
{
    for (;;) {
        struct jinja_node *outer;
        const bool dot = jinja_parse_at_sign(p, "."), bracket = jinja_parse_at_sign(p, "["),
                   call = jinja_parse_at_sign(p, "(");
        if (!dot && !bracket && !call)
            return LOAM_OK;
        int code = jinja_parse_make(p, dot ? N_ATTRIBUTE : bracket ? N_ITEM : N_CALL, p->token->place, &outer);
        if (code)
            return code;
        p->token++;
        outer->a = *node;
        if (dot && p->token->kind == T_WHOLE) { /* x.0 is x[0] */
            outer->kind = N_ITEM;
            code = primary(p, &outer->b);
        } else {
            code = dot       ? jinja_parse_take_name(p, &outer->name)
                   : bracket ? subscript(p, outer)
                             : jinja_parse_arguments(p, false, &outer->list);
        }
        if (code)
            return code;
        *node = outer;
    }
}

int jinja_parse_filter(struct parser *p, struct jinja_node **node)
{
    struct jinja_node *outer;
    int code = jinja_parse_make(p, N_FILTER, p->token->place, &outer);
    if (!code)
        code = jinja_parse_take_name(p, &outer->name);
    if (code)
        return code;
    outer->a = *node;
    if (jinja_parse_skip_sign(p, "("))
        code = jinja_parse_arguments(p, false, &outer->list);
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
        return jinja_parse_at_sign(p, "[") || jinja_parse_at_sign(p, "{");
    case T_NAME:
        return !jinja_parse_at_name(p, "else") && !jinja_parse_at_name(p, "or") && !jinja_parse_at_name(p, "and") &&
               !jinja_parse_at_name(p, "is") && !jinja_parse_at_name(p, "if") && !jinja_parse_at_name(p, "not") &&
               !jinja_parse_at_name(p, "in");
    default:
        return false;
    }
}

static int test(struct parser *p, struct jinja_node **node)
{
    struct jinja_node *outer, *argument;
    int code = jinja_parse_make(p, N_TEST, p->token->place, &outer);
    if (code)
        return code;
    outer->a = *node;
    outer->flag = jinja_parse_skip_name(p, "not");
    if ((code = jinja_parse_take_name(p, &outer->name)))
        return code;
    *node = outer;
    if (jinja_parse_skip_sign(p, "("))
        return jinja_parse_arguments(p, false, &outer->list);
    if (!test_argument_follows(p))
        return LOAM_OK;
    if ((code = jinja_parse_make(p, N_ARGUMENT, p->token->place, &argument)))
        return code;
    outer->list = argument;
    code = primary(p, &argument->a);
    return code ? code : postfix(p, &argument->a);
}

static int filters_and_tests(struct parser *p, struct jinja_node **node)
{
    int code = LOAM_OK;
    while (!code) {
        if (jinja_parse_skip_sign(p, "|"))
            code = jinja_parse_filter(p, node);
        else if (jinja_parse_skip_name(p, "is"))
            code = test(p, node);
        else if (jinja_parse_at_sign(p, "("))
            code = postfix(p, node);
        else
            break;
    }
    return code;
}

static int unary_inside(struct parser *p, bool filters, struct jinja_node **result)
{
    const bool minus = jinja_parse_at_sign(p, "-");
    int code;
    if (minus || jinja_parse_at_sign(p, "+")) {
        if ((code = jinja_parse_make(p, minus ? N_NEGATIVE : N_POSITIVE, p->token++->place, result)) ||
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
    if (++p->depth > JINJA_MOST_DEPTH)
        return lm_jinja_fail(p->jinja, p->token->place, LOAM_EFORMAT, p->error, "found expressions more than %d deep",
                             JINJA_MOST_DEPTH);
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
        while (i < OPERATORS && !(operators[i].level == which && jinja_parse_at_sign(p, operators[i].sign)))
            i++;
        if (i == OPERATORS)
            return LOAM_OK;
        if ((code = jinja_parse_make(p, N_BINARY, p->token++->place, &outer)))
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
        if (jinja_parse_skip_sign(p, signs[i].sign)) {
            *operator= signs[i].operator;
            return true;
        }
    *operator= jinja_parse_at_name(p, "in") ? O_IN : O_NOT_IN;
    if (jinja_parse_skip_name(p, "in"))
        return true;
    if (!jinja_parse_at_name(p, "not") || p->token[1].kind != T_NAME || !jinja_is(p->token[1].text, "in"))
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
        if ((code = jinja_parse_make(p, N_ARGUMENT, place, &node)) || (code = level(p, 0, &node->a)))
            return code;
        node->operator= operator;
        jinja_parse_chain_add(&chain, node);
    }
    if (code || !chain.first)
        return code;
    if ((code = jinja_parse_make(p, N_COMPARE, chain.first->place, &outer)))
        return code;
    outer->a = *result;
    outer->list = chain.first;
    *result = outer;
    return LOAM_OK;
}

static int negation(struct parser *p, struct jinja_node **result)
{
    struct jinja_node **inner = result;
    for (int nots = 0; jinja_parse_at_name(p, "not"); nots++) {
        int code = nots > JINJA_MOST_DEPTH ? jinja_parse_fail(p, "fewer 'not'")
                                           : jinja_parse_make(p, N_NOT, p->token++->place, inner);
        if (code)
            return code;
        inner = &(*inner)->a;
    }
    return comparison(p, inner);
}

static int conjunction(struct parser *p, bool or, struct jinja_node **result)
{
    int code = or ? conjunction(p, false, result) : negation(p, result);
    while (!code && jinja_parse_at_name(p, or ? "or" : "and")) {
        struct jinja_node *outer;
        if ((code = jinja_parse_make(p, or ? N_OR : N_AND, p->token++->place, &outer)))
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
    while (!code && jinja_parse_at_name(p, "if")) {
        struct jinja_node *outer;
        if ((code = jinja_parse_make(p, N_CHOICE, p->token++->place, &outer)))
            return code;
        outer->a = *result;
        *result = outer;
        if ((code = conjunction(p, true, &outer->b)))
            return code;
        if (jinja_parse_skip_name(p, "else"))
            code = jinja_parse_expression(p, true, &outer->c);
    }
    return code;
}

/* `with_choice` false: what stands before "if" in a for. */
int jinja_parse_expression(struct parser *p, bool with_choice, struct jinja_node **result)
{
    if (++p->depth > JINJA_MOST_DEPTH)
        return lm_jinja_fail(p->jinja, p->token->place, LOAM_EFORMAT, p->error, "found expressions more than %d deep",
                             JINJA_MOST_DEPTH);
    int code = with_choice ? choice(p, result) : conjunction(p, true, result);
    p->depth--;
    return code;
}
