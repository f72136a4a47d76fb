/* Jinja's blocks, and running a template. */
#include "data/jinja_run.h"

enum { STEPS = 10000000, MEMORY = 256 << 20, OUTPUT = 64 << 20 };

int jinja_scope_new(struct jinja_run *run, struct jinja_scope *parent, struct jinja_scope **result)
{
    struct jinja_scope *scope = lm_jinja_take(&run->pool, sizeof *scope, run->error);
    if (!scope)
        return LOAM_ENOMEM;
    scope->parent = parent;
    *result = scope;
    return LOAM_OK;
}

int jinja_define(struct jinja_run *run, struct jinja_scope *scope, struct jinja_text name, struct jinja_value value)
{
    struct jinja_name *each = scope->names;
    while (each && !(each->name.length == name.length && !memcmp(each->name.data, name.data, name.length)))
        each = each->next;
    if (!each) {
        if (!(each = lm_jinja_take(&run->pool, sizeof *each, run->error)))
            return LOAM_ENOMEM;
        each->next = scope->names;
        each->name = name;
        scope->names = each;
    }
    each->value = value;
    return LOAM_OK;
}

static int define_word(struct jinja_run *run, struct jinja_scope *scope, const char *name, struct jinja_value value)
{
    return jinja_define(run, scope, (struct jinja_text){name, strlen(name)}, value);
}

static int write_out(struct jinja_run *run, const char *data, size_t length)
{
    if (length > run->most_written - run->written)
        return jinja_fail(run, "the template wrote more than %zu bytes", run->most_written);
    run->written += length;
    int code = jinja_spend(run, length);
    return code || !length ? code : lm_bytes_append(run->out, data, length, run->error);
}

/* What a body writes, as a value. */
static int capture(struct jinja_run *run, const struct jinja_node *body, struct jinja_value *result)
{
    struct lm_bytes text = {0}, *out = run->out;
    run->out = &text;
    int code = jinja_body(run, body);
    run->out = out;
    if (!code)
        code = jinja_copy(run, text.data, text.length, result);
    lm_bytes_free(&text);
    return code;
}

static int assign(struct jinja_run *run, struct jinja_scope *scope, const struct jinja_node *target,
                  struct jinja_value value)
{
    struct jinja_list *items;
    struct jinja_value owner;
    int code;
    if (target->kind == N_NAME)
        return jinja_define(run, scope, target->name, value);
    if (target->kind == N_ATTRIBUTE) {
        if ((code = jinja_eval(run, target->a, &owner)))
            return code;
        if (owner.kind != J_NAMESPACE)
            return jinja_fail(run, "found %s given an attribute, wanted a namespace()", jinja_kind_name(owner));
        return jinja_put(run, owner.as.dict, jinja_text_value(target->name.data, target->name.length), value);
    }
    if ((code = jinja_iterate(run, value, &items)))
        return code;
    size_t count = 0;
    for (const struct jinja_node *each = target->list; each; each = each->next)
        count++;
    if (count != items->count)
        return jinja_fail(run, "found %zu values for %zu names", items->count, count);
    count = 0;
    for (const struct jinja_node *each = target->list; each && !code; each = each->next)
        code = assign(run, scope, each, items->items[count++]);
    return code;
}

static int run_output(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value value;
    struct jinja_text text;
    int code = jinja_eval(run, node->a, &value);
    if (!code)
        code = jinja_string(run, value, &text);
    return code ? code : write_out(run, text.data, text.length);
}

static int run_if(struct jinja_run *run, const struct jinja_node *node)
{
    for (;; node = node->b) {
        struct jinja_value value;
        int code = jinja_eval(run, node->a, &value);
        if (code)
            return code;
        if (jinja_truth(value))
            return jinja_body(run, node->list);
        if (!node->b)
            return jinja_body(run, node->other);
    }
}

/* The items that the condition of "for ... if" lets through. */
static int choose_items(struct jinja_run *run, const struct jinja_node *node, struct jinja_scope *parent,
                        struct jinja_list **items)
{
    struct jinja_value chosen, value;
    struct jinja_scope *before = run->scope;
    int code = jinja_list_new(run, 0, &chosen);
    for (size_t i = 0; i < (*items)->count && !code; i++) {
        if ((code = jinja_scope_new(run, parent, &run->scope)) ||
            (code = assign(run, run->scope, node->a, (*items)->items[i])) || (code = jinja_eval(run, node->c, &value)))
            break;
        if (jinja_truth(value))
            code = jinja_push(run, chosen.as.list, (*items)->items[i]);
    }
    run->scope = before;
    *items = chosen.as.list;
    return code;
}

static int run_items(struct jinja_run *run, const struct jinja_node *node, struct jinja_list *items,
                     struct jinja_scope *parent)
{
    struct jinja_loop *loop = lm_jinja_take(&run->pool, sizeof *loop, run->error);
    struct jinja_scope *before = run->scope;
    int code = loop ? LOAM_OK : LOAM_ENOMEM;
    if (code)
        return code;
    *loop = (struct jinja_loop){.items = items, .depth = run->loops, .node = node, .scope = parent};
    for (; loop->index < items->count && !code; loop->index++) {
        if ((code = jinja_spend(run, 0)) || (code = jinja_scope_new(run, parent, &run->scope)) ||
            (code = define_word(run, run->scope, "loop", (struct jinja_value){.kind = J_LOOP, .as.loop = loop})) ||
            (code = assign(run, run->scope, node->a, items->items[loop->index])))
            break;
        run->loops = loop->depth + (node->flag ? 1 : 0);
        code = jinja_body(run, node->list);
        run->loops = loop->depth;
        const bool ends = run->jump == JUMP_BREAK;
        run->jump = JUMP_NONE;
        if (ends)
            break;
    }
    run->scope = before;
    return code;
}

static int run_loop(struct jinja_run *run, const struct jinja_node *node, struct jinja_value value,
                    struct jinja_scope *parent)
{
    struct jinja_list *items;
    int code = jinja_iterate(run, value, &items);
    if (!code && node->c)
        code = choose_items(run, node, parent, &items);
    if (code)
        return code;
    if (items->count)
        return run_items(run, node, items, parent);
    struct jinja_scope *before = run->scope;
    if ((code = jinja_scope_new(run, parent, &run->scope)))
        return code;
    code = jinja_body(run, node->other);
    run->scope = before;
    return code;
}

int jinja_loop_again(struct jinja_run *run, const struct jinja_loop *loop, struct jinja_value items,
                     struct jinja_value *result)
{
    struct lm_bytes text = {0}, *out = run->out;
    if (!loop->node->flag)
        return jinja_fail(run, "found loop() in a loop that is not recursive");
    run->out = &text;
    int code = run_loop(run, loop->node, items, loop->scope);
    run->out = out;
    if (!code)
        code = jinja_copy(run, text.data, text.length, result);
    lm_bytes_free(&text);
    return code;
}

static int run_for(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value value;
    int code = jinja_eval(run, node->b, &value);
    return code ? code : run_loop(run, node, value, run->scope);
}

static int run_set_block(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value value, before = run->captured;
    struct jinja_scope *scope = run->scope;
    int code = jinja_scope_new(run, scope, &run->scope);
    if (!code)
        code = capture(run, node->list, &run->captured);
    run->scope = scope;
    if (!code)
        code = jinja_eval(run, node->b, &value);
    run->captured = before;
    return code ? code : assign(run, scope, node->a, value);
}

static int run_filter_block(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value value, before = run->captured;
    struct jinja_text text;
    struct jinja_scope *scope = run->scope;
    int code = jinja_scope_new(run, scope, &run->scope);
    if (!code)
        code = capture(run, node->list, &run->captured);
    run->scope = scope;
    if (!code)
        code = jinja_eval(run, node->b, &value);
    run->captured = before;
    if (!code)
        code = jinja_string(run, value, &text);
    return code ? code : write_out(run, text.data, text.length);
}

static int make_macro(struct jinja_run *run, const struct jinja_node *node, struct jinja_value *result)
{
    struct jinja_macro *macro = lm_jinja_take(&run->pool, sizeof *macro, run->error);
    if (!macro)
        return LOAM_ENOMEM;
    *macro = (struct jinja_macro){node, run->scope};
    *result = (struct jinja_value){.kind = J_MACRO, .as.macro = macro};
    return LOAM_OK;
}

/* {% call macro(...) %}: the body is what caller() gives. */
static int run_call(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value callee, caller, result;
    struct jinja_arguments arguments;
    int code = jinja_eval(run, node->a->a, &callee);
    if (!code)
        code = jinja_arguments(run, node->a->list, &arguments);
    if (!code && callee.kind != J_MACRO)
        return jinja_fail(run, "found %s in a call block, wanted a macro", jinja_kind_name(callee));
    if (!code)
        code = make_macro(run, node, &caller);
    if (!code)
        code = jinja_call_macro(run, callee.as.macro, &arguments, &caller, &result);
    return code ? code : write_out(run, result.as.text.data, result.as.text.length);
}

static int set_parameters(struct jinja_run *run, const struct jinja_macro *macro,
                          const struct jinja_arguments *arguments)
{
    size_t place = 0, used = 0;
    int code = LOAM_OK;
    for (const struct jinja_node *each = macro->node->list; each && !code; each = each->next, place++) {
        struct jinja_value value = {.kind = J_UNDEFINED, .as.text = each->name};
        bool given = place < arguments->placed;
        if (given)
            value = arguments->items[place];
        for (size_t i = arguments->placed; i < arguments->count && !given; i++)
            if (arguments->names[i].length == each->name.length &&
                !memcmp(arguments->names[i].data, each->name.data, each->name.length)) {
                value = arguments->items[i];
                given = true;
            }
        used += given;
        if (!given && each->a)
            code = jinja_eval(run, each->a, &value);
        if (!code)
            code = jinja_define(run, run->scope, each->name, value);
    }
    if (!code && used != arguments->count)
        return jinja_fail(run, "found %zu arguments that the macro '%.*s' does not take", arguments->count - used,
                          JINJA_SHOW(macro->node->name));
    return code;
}

int jinja_call_macro(struct jinja_run *run, const struct jinja_macro *macro, const struct jinja_arguments *arguments,
                     const struct jinja_value *caller, struct jinja_value *result)
{
    struct jinja_scope *before = run->scope;
    int code = jinja_scope_new(run, macro->scope, &run->scope);
    if (!code && caller)
        code = define_word(run, run->scope, "caller", *caller);
    if (!code)
        code = set_parameters(run, macro, arguments);
    if (!code)
        code = capture(run, macro->node->other, result);
    run->scope = before;
    run->jump = JUMP_NONE;
    return code;
}

static int run_with(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_scope *before = run->scope, *inner;
    struct jinja_value value;
    int code = jinja_scope_new(run, before, &inner);
    for (const struct jinja_node *each = node->list; each && !code; each = each->next)
        if (!(code = jinja_eval(run, each->b, &value)))
            code = jinja_define(run, inner, each->a->name, value);
    run->scope = inner;
    if (!code)
        code = jinja_body(run, node->other);
    run->scope = before;
    return code;
}

static int run_generation(struct jinja_run *run, const struct jinja_node *node)
{
    struct lm_jinja_spans *spans = run->call->generated;
    const size_t begin = run->out->length;
    int code = jinja_body(run, node->list);
    if (code || !spans)
        return code;
    if (spans->length == spans->capacity) {
        const size_t capacity = spans->capacity ? 2 * spans->capacity : 16;
        struct lm_jinja_span *grown = lm_resize(spans->data, capacity, sizeof *grown, run->error);
        if (!grown)
            return LOAM_ENOMEM;
        spans->data = grown;
        spans->capacity = capacity;
    }
    spans->data[spans->length++] = (struct lm_jinja_span){begin, run->out->length};
    return LOAM_OK;
}

static int run_node(struct jinja_run *run, const struct jinja_node *node)
{
    struct jinja_value value;
    int code;
    switch (node->kind) {
    case N_DATA:
        return write_out(run, node->name.data, node->name.length);
    case N_OUTPUT:
        return run_output(run, node);
    case N_IF:
        return run_if(run, node);
    case N_FOR:
        return run_for(run, node);
    case N_SET:
        code = jinja_eval(run, node->b, &value);
        return code ? code : assign(run, run->scope, node->a, value);
    case N_SET_BLOCK:
        return run_set_block(run, node);
    case N_MACRO:
        code = make_macro(run, node, &value);
        return code ? code : jinja_define(run, run->scope, node->name, value);
    case N_CALL_BLOCK:
        return run_call(run, node);
    case N_FILTER_BLOCK:
        return run_filter_block(run, node);
    case N_WITH:
        return run_with(run, node);
    case N_GENERATION:
        return run_generation(run, node);
    case N_BREAK:
        run->jump = JUMP_BREAK;
        return LOAM_OK;
    case N_CONTINUE:
        run->jump = JUMP_CONTINUE;
        return LOAM_OK;
    default:
        return jinja_fail(run, "found an expression where a block is wanted");
    }
}

int jinja_body(struct jinja_run *run, const struct jinja_node *body)
{
    int code = LOAM_OK;
    if (++run->depth > JINJA_MOST_RUNNING)
        return jinja_fail(run, "the template went more than %d levels deep", JINJA_MOST_RUNNING);
    for (const struct jinja_node *node = body; node && !code && run->jump == JUMP_NONE; node = node->next) {
        run->place = node->place;
        if (!(code = jinja_spend(run, 0)))
            code = run_node(run, node);
    }
    run->depth--;
    return code;
}

int lm_jinja_render(const struct lm_jinja *jinja, const struct lm_jinja_call *call, struct lm_bytes *text,
                    loam_error *error)
{
    struct jinja_run run = {
        .jinja = jinja, .call = call, .out = text, .steps = call->steps ? call->steps : STEPS, .error = error};
    run.pool.limit = call->memory ? call->memory : MEMORY;
    run.most_written = call->output ? call->output : OUTPUT;
    text->length = 0;
    int code = jinja_scope_new(&run, NULL, &run.top);
    run.scope = run.top;
    const struct lm_value *variables = call->variables;
    for (size_t i = 0; variables && i < variables->length && !code; i++) {
        struct jinja_value value;
        if (!(code = jinja_from_json(&run, &variables->items[i], 0, &value)))
            code = jinja_define(&run, run.scope,
                                (struct jinja_text){variables->keys[i].text, variables->keys[i].length}, value);
    }
    if (!code)
        code = jinja_scope_new(&run, run.top, &run.scope);
    if (!code)
        code = jinja_body(&run, jinja->body);
    const bool over = run.pool.over;
    lm_jinja_pool_free(&run.pool);
    if (code == LOAM_ENOMEM && over)
        return lm_jinja_fail(jinja, run.place, LOAM_EFORMAT, error, "the template took more than %zu bytes of memory",
                             run.pool.limit);
    return code;
}
