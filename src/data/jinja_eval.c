/* Jinja's expressions. */
#include "data/jinja_run.h"

#include <math.h>

static int eval_inside(struct jinja_run *run, const struct jinja_node *node, struct jinja_value *result);

int jinja_eval(struct jinja_run *run, const struct jinja_node *node, struct jinja_value *result)
{
    const size_t before = run->place;
    run->place = node->place;
    int code = jinja_spend(run, 0);
    if (!code && ++run->depth > JINJA_MOST_RUNNING)
        code = jinja_fail(run, "the template went more than %d levels deep", JINJA_MOST_RUNNING);
    if (!code)
        code = eval_inside(run, node, result);
    if (code)
        return code;
    run->depth--;
    run->place = before;
    return LOAM_OK;
}

int jinja_arguments(struct jinja_run *run, const struct jinja_node *list, struct jinja_arguments *arguments)
{
    size_t count = 0;
    for (const struct jinja_node *node = list; node; node = node->next)
        count++;
    *arguments = (struct jinja_arguments){.count = count};
    if (count == 0)
        return LOAM_OK;
    arguments->items = lm_jinja_take(&run->pool, count * sizeof *arguments->items, run->error);
    arguments->names = lm_jinja_take(&run->pool, count * sizeof *arguments->names, run->error);
    if (!arguments->items || !arguments->names)
        return LOAM_ENOMEM;
    count = 0;
    for (const struct jinja_node *node = list; node; node = node->next, count++) {
        int code = jinja_eval(run, node->a, &arguments->items[count]);
        if (code)
            return code;
        arguments->names[count] = node->name;
        arguments->placed += node->name.length == 0;
    }
    return LOAM_OK;
}

bool jinja_argument(const struct jinja_arguments *arguments, size_t place, const char *name, struct jinja_value *value)
{
    if (place < arguments->placed) {
        *value = arguments->items[place];
        return true;
    }
    for (size_t i = arguments->placed; name && i < arguments->count; i++)
        if (jinja_is(arguments->names[i], name)) {
            *value = arguments->items[i];
            return true;
        }
    return false;
}

int jinja_text_argument(struct jinja_run *run, const struct jinja_arguments *arguments, size_t place, const char *name,
                        struct jinja_text *text)
{
    struct jinja_value value;
    if (!jinja_argument(arguments, place, name, &value))
        return jinja_fail(run, "found no argument '%s'", name);
    if (value.kind != J_TEXT)
        return jinja_fail(run, "found %s as '%s', wanted text", jinja_kind_name(value), name);
    *text = value.as.text;
    return LOAM_OK;
}

static int look_up(struct jinja_run *run, struct jinja_text name, struct jinja_value *result)
{
    for (const struct jinja_scope *scope = run->scope; scope; scope = scope->parent)
        for (const struct jinja_name *each = scope->names; each; each = each->next) {
            if (--run->steps <= 0)
                return jinja_spend(run, 0);
            if (each->name.length == name.length && !memcmp(each->name.data, name.data, name.length)) {
                *result = each->value;
                return LOAM_OK;
            }
        }
    *result = (struct jinja_value){.kind = jinja_is_function(name) ? J_FUNCTION : J_UNDEFINED, .as.text = name};
    return LOAM_OK;
}

static int loop_attribute(struct jinja_run *run, const struct jinja_loop *loop, struct jinja_text name,
                          struct jinja_value *result)
{
    const int64_t index = (int64_t)loop->index, count = (int64_t)loop->items->count;
    const struct {
        const char *name;
        struct jinja_value value;
    } all[] = {
        {"index", jinja_whole(index + 1)},
        {"index0", jinja_whole(index)},
        {"revindex", jinja_whole(count - index)},
        {"revindex0", jinja_whole(count - index - 1)},
        {"first", jinja_truth_value(index == 0)},
        {"last", jinja_truth_value(index == count - 1)},
        {"length", jinja_whole(count)},
        {"depth", jinja_whole(loop->depth + 1)},
        {"depth0", jinja_whole(loop->depth)},
        {"previtem",
         index ? loop->items->items[index - 1] : (struct jinja_value){.kind = J_UNDEFINED, .as.text = name}},
        {"nextitem", index + 1 < count ? loop->items->items[index + 1]
                                       : (struct jinja_value){.kind = J_UNDEFINED, .as.text = name}},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (jinja_is(name, all[i].name)) {
            *result = all[i].value;
            return LOAM_OK;
        }
    return jinja_lacks(run, "found loop.%.*s, which loam does not know", JINJA_SHOW(name));
}

int jinja_attribute(struct jinja_run *run, struct jinja_value value, struct jinja_text name, bool item_first,
                    struct jinja_value *result)
{
    const bool method = jinja_has_method(value, name);
    struct jinja_value *found = NULL;
    if (value.kind == J_UNDEFINED)
        return jinja_fail(run, "found '%.*s' asked for '%.*s', but it is undefined", JINJA_SHOW(value.as.text),
                          JINJA_SHOW(name));
    if (value.kind == J_DICT || value.kind == J_NAMESPACE)
        found = jinja_dict_find(value.as.dict, name);
    int code = jinja_spend(run, found ? 0 : 64);
    if (code)
        return code;
    if (found && (item_first || !method)) {
        *result = *found;
        return LOAM_OK;
    }
    if (method) {
        struct jinja_method *bound = lm_jinja_take(&run->pool, sizeof *bound, run->error);
        if (!bound)
            return LOAM_ENOMEM;
        *bound = (struct jinja_method){value, name};
        *result = (struct jinja_value){.kind = J_METHOD, .as.method = bound};
        return LOAM_OK;
    }
    if (value.kind == J_LOOP)
        return loop_attribute(run, value.as.loop, name, result);
    *result = (struct jinja_value){.kind = J_UNDEFINED, .as.text = name};
    return LOAM_OK;
}

static int text_item(struct jinja_run *run, struct jinja_text text, int64_t index, struct jinja_value *result)
{
    const int64_t count = (int64_t)jinja_count(text);
    if (index < 0)
        index += count;
    if (index < 0 || index >= count)
        return LOAM_OK;
    const size_t begin = jinja_offset(text, (size_t)index), end = jinja_offset(text, (size_t)index + 1);
    *result = jinja_text_value(text.data + begin, end - begin);
    return jinja_spend(run, text.length);
}

static int eval_item(struct jinja_run *run, const struct jinja_node *node, struct jinja_value *result)
{
    struct jinja_value value, index;
    int code = jinja_eval(run, node->a, &value);
    if (!code)
        code = jinja_eval(run, node->b, &index);
    if (code)
        return code;
    if (index.kind == J_TEXT)
        return jinja_attribute(run, value, index.as.text, true, result);
    if (value.kind == J_UNDEFINED)
        return jinja_fail(run, "found '%.*s' asked for an item, but it is undefined", JINJA_SHOW(value.as.text));
    *result = (struct jinja_value){.kind = J_UNDEFINED, .as.text = {"item", 4}};
    if (value.kind == J_DICT) {
        for (size_t i = 0; i < value.as.dict->count && !code; i++) {
            bool equal;
            code = jinja_equal(run, value.as.dict->keys[i], index, &equal);
            if (equal)
                *result = value.as.dict->values[i];
        }
        return code;
    }
    if (index.kind != J_WHOLE)
        return LOAM_OK;
    if (value.kind == J_TEXT)
        return text_item(run, value.as.text, index.as.whole, result);
    if (value.kind != J_LIST)
        return LOAM_OK;
    const int64_t count = (int64_t)value.as.list->count,
                  place = index.as.whole < 0 ? index.as.whole + count : index.as.whole;
    if (place >= 0 && place < count)
        *result = value.as.list->items[place];
    return LOAM_OK;
}

/* One bound of a slice, as Python cuts it to the length. */
static int bound(struct jinja_run *run, const struct jinja_node *node, int64_t count, int64_t absent, int64_t step,
                 int64_t *result)
{
    struct jinja_value value = {.kind = J_NONE};
    int code = node ? jinja_eval(run, node, &value) : LOAM_OK;
    if (code)
        return code;
    if (value.kind == J_NONE) {
        *result = absent;
        return LOAM_OK;
    }
    if (value.kind != J_WHOLE)
        return jinja_fail(run, "found %s as a bound of a slice, wanted a whole number", jinja_kind_name(value));
    int64_t place = value.as.whole;
    if (place < 0)
        place = place < -count ? -1 : place + count;
    const int64_t least = step < 0 ? -1 : 0, most = step < 0 ? count - 1 : count;
    *result = place < least ? least : place > most ? most : place;
    return LOAM_OK;
}

static int eval_slice(struct jinja_run *run, const struct jinja_node *node, struct jinja_value *result)
{
    struct jinja_value value, by = {.kind = J_NONE};
    struct jinja_list *items;
    int64_t begin, end;
    int code = jinja_eval(run, node->a, &value);
    if (!code && node->d)
        code = jinja_eval(run, node->d, &by);
    if (code)
        return code;
    if ((value.kind != J_TEXT && value.kind != J_LIST) ||
        (by.kind != J_NONE && (by.kind != J_WHOLE || by.as.whole == 0)))
        return jinja_fail(run, "found %s to slice by %s, wanted text or a list, and a whole number",
                          jinja_kind_name(value), jinja_kind_name(by));
    const int64_t step = by.kind == J_WHOLE ? by.as.whole : 1;
    if ((code = jinja_iterate(run, value, &items)))
        return code;
    const int64_t count = (int64_t)items->count;
    if ((code = bound(run, node->b, count, step < 0 ? count - 1 : 0, step, &begin)) ||
        (code = bound(run, node->c, count, step < 0 ? -1 : count, step, &end)))
        return code;
    if (value.kind == J_TEXT && step == 1) {
        const size_t first = jinja_offset(value.as.text, (size_t)begin),
                     last = jinja_offset(value.as.text, (size_t)end);
        *result = jinja_text_value(value.as.text.data + first, begin < end ? last - first : 0);
        return jinja_spend(run, value.as.text.length);
    }
    struct lm_bytes text = {0};
    code = jinja_list_new(run, 0, result);
    for (int64_t i = begin; !code && (step > 0 ? i < end : i > end);) {
        const struct jinja_text part = items->items[i].as.text;
        code = value.kind == J_TEXT ? lm_bytes_append(&text, part.data, part.length, run->error)
                                    : jinja_push(run, result->as.list, items->items[i]);
        if (__builtin_add_overflow(i, step, &i))
            break;
    }
    if (!code && value.kind == J_TEXT)
        code = jinja_copy(run, text.data, text.length, result);
    lm_bytes_free(&text);
    return code ? code : jinja_spend(run, items->count * 8);
}

static int join_texts(struct jinja_run *run, struct jinja_text a, struct jinja_text b, struct jinja_value *result)
{
    char *text = lm_jinja_take(&run->pool, a.length + b.length, run->error);
    if (!text)
        return LOAM_ENOMEM;
    if (a.length)
        memcpy(text, a.data, a.length);
    if (b.length)
        memcpy(text + a.length, b.data, b.length);
    *result = jinja_text_value(text, a.length + b.length);
    return jinja_spend(run, a.length + b.length);
}

static int repeat(struct jinja_run *run, struct jinja_value value, int64_t times, struct jinja_value *result)
{
    int code = LOAM_OK;
    times = times < 0 ? 0 : times;
    if (value.kind == J_LIST) {
        code = jinja_list_new(run, 0, result);
        for (int64_t i = 0; i < times && !code; i++)
            for (size_t j = 0; j < value.as.list->count && !code; j++)
                if (!(code = jinja_spend(run, 0)))
                    code = jinja_push(run, result->as.list, value.as.list->items[j]);
        return code;
    }
    size_t bytes;
    const struct jinja_text text = value.as.text;
    char *out = lm_mul(text.length, (size_t)times, &bytes) ? lm_jinja_take(&run->pool, bytes, run->error) : NULL;
    if (!out)
        return run->pool.over ? LOAM_ENOMEM : jinja_fail(run, "found a text repeated %lld times", (long long)times);
    for (int64_t i = 0; i < times && text.length; i++)
        memcpy(out + (size_t)i * text.length, text.data, text.length);
    *result = jinja_text_value(out, bytes);
    return jinja_spend(run, bytes);
}

static bool as_whole(struct jinja_value value, int64_t *whole)
{
    *whole = value.kind == J_TRUTH ? value.as.truth : value.as.whole;
    return value.kind == J_TRUTH || value.kind == J_WHOLE;
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static int whole_power(int64_t a, int64_t b, int64_t *result)
{
    *result = 1;
    for (; b > 0; b--) {
        if (__builtin_mul_overflow(*result, a, result))
            return -1;
        if (a == 0 || a == 1)
            break;
        if (a == -1) {
            *result = b % 2 ? -1 : 1;
            break;
        }
    }
    return 0;
}

static int calculate_wholes(struct jinja_run *run, enum jinja_operator operator, int64_t a, int64_t b,
                            struct jinja_value *result)
{
    bool over = false;
    int64_t c = 0;
    if ((operator== O_DIVIDE || operator== O_FLOOR || operator== O_MODULO) && b == 0)
        return jinja_fail(run, "found a division by zero");
    switch (operator) {
    case O_ADD:
        over = __builtin_add_overflow(a, b, &c);
        break;
    case O_SUBTRACT:
        over = __builtin_sub_overflow(a, b, &c);
        break;
    case O_MULTIPLY:
        over = __builtin_mul_overflow(a, b, &c);
        break;
    case O_FLOOR:
        over = a == INT64_MIN && b == -1;
        c = over ? 0 : floor_divide(a, b);
        break;
    case O_MODULO:
        c = b == -1 ? 0 : a - b * floor_divide(a, b);
        break;
    case O_POWER:
        if (b >= 0) {
            over = whole_power(a, b, &c) != 0;
            break;
        } /* fallthrough */
    default:
        *result = (struct jinja_value){
            .kind = J_NUMBER, .as.number = operator== O_DIVIDE ? (double)a / (double)b : pow((double)a, (double)b)};
        return LOAM_OK;
    }
    *result = jinja_whole(c);
    return over ? jinja_fail(run, "found a whole number that takes more than 64 bits") : LOAM_OK;
}

static int calculate(struct jinja_run *run, enum jinja_operator operator, struct jinja_value a, struct jinja_value b,
                     struct jinja_value *result)
{
    static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "**"};
    int64_t x, y;
    struct jinja_value p, q;
    if (as_whole(a, &x) && as_whole(b, &y))
        return calculate_wholes(run, operator, x, y, result);
    if (operator== O_ADD && a.kind == J_TEXT && b.kind == J_TEXT)
        return join_texts(run, a.as.text, b.as.text, result);
    if (operator== O_MULTIPLY &&(a.kind == J_TEXT || a.kind == J_LIST) && as_whole(b, &y))
        return repeat(run, a, y, result);
    if (operator== O_MULTIPLY &&(b.kind == J_TEXT || b.kind == J_LIST) && as_whole(a, &x))
        return repeat(run, b, x, result);
    if (operator== O_ADD && a.kind == J_LIST && b.kind == J_LIST) {
        int code = jinja_list_new(run, a.as.list->count + b.as.list->count, result);
        for (size_t i = 0; i < a.as.list->count && !code; i++)
            code = jinja_push(run, result->as.list, a.as.list->items[i]);
        for (size_t i = 0; i < b.as.list->count && !code; i++)
            code = jinja_push(run, result->as.list, b.as.list->items[i]);
        return code ? code : jinja_spend(run, 8 * (a.as.list->count + b.as.list->count));
    }
    if (a.kind == J_UNDEFINED || b.kind == J_UNDEFINED)
        return jinja_fail(run, "found '%.*s' in '%s', but it is undefined", JINJA_SHOW(a.kind == J_UNDEFINED ? a.as.text : b.as.text),
                          signs[operator]);
    if (a.kind == J_TEXT || b.kind == J_TEXT || jinja_to_number(a, false, &p) || jinja_to_number(b, false, &q))
        return jinja_fail(run, "found %s %s %s, which means nothing", jinja_kind_name(a), signs[operator], jinja_kind_name(b));
    const double d = p.as.number, e = q.as.number;
    if (e == 0 && (operator== O_DIVIDE || operator== O_FLOOR || operator== O_MODULO))
        return jinja_fail(run, "found a division by zero");
    const double number = operator== O_ADD      ? d + e :
                          operator== O_SUBTRACT ? d - e
                          :
                          operator== O_MULTIPLY ? d * e
                          :
                          operator== O_DIVIDE ? d / e
                          :
                          operator== O_FLOOR ? floor(d / e)
                          :
                          operator== O_MODULO ? d - e * floor(d / e)
                                              : pow(d, e);
    *result = (struct jinja_value){.kind = J_NUMBER, .as.number = number};
    return LOAM_OK;
}

static int eval_binary(struct jinja_run *run, const struct jinja_node *node, struct jinja_value *result)
{
    struct jinja_value a, b;
    struct jinja_text x, y;
    int code = jinja_eval(run, node->a, &a);
    if (!code)
        code = jinja_eval(run, node->b, &b);
    if (code)
        return code;
    if (node->operator!= O_JOIN)
        return calculate(run, node->operator, a, b, result);
    if ((code = jinja_string(run, a, &x)) || (code = jinja_string(run, b, &y)))
        return code;
    return join_texts(run, x, y, result);
}

static int holds(struct jinja_run *run, enum jinja_operator operator, struct jinja_value a, struct jinja_value b,
                 bool *yes)
{
    int order = 0, code;
    if (operator== O_EQUAL || operator== O_UNEQUAL) {
        code = jinja_equal(run, a, b, yes);
        *yes ^= operator== O_UNEQUAL;
        return code;
    }
    if (operator== O_IN || operator== O_NOT_IN) {
        code = jinja_contains(run, b, a, yes);
        *yes ^= operator== O_NOT_IN;
        return code;
    }
    code = jinja_compare(run, a, b, &order);
    *yes = order != 2 && (operator== O_LESS ? order < 0 :
                          operator== O_MOST ? order <= 0
                          :
                          operator== O_GREATER ? order > 0
                                               : order >= 0);
    return code;
}

static int eval_compare(struct jinja_run *run, const struct jinja_node *node, struct jinja_value *result)
{
    struct jinja_value left, right;
    bool yes = true;
    int code = jinja_eval(run, node->a, &left);
    for (const struct jinja_node *each = node->list; each && yes && !code; each = each->next) {
        code = jinja_eval(run, each->a, &right);
        if (!code)
            code = holds(run, each->operator, left, right, &yes);
        left = right;
    }
    *result = jinja_truth_value(yes);
    return code;
}

static int eval_list(struct jinja_run *run, const struct jinja_node *node, struct jinja_value *result)
{
    struct jinja_value key, value;
    int code = node->kind == N_LIST ? jinja_list_new(run, 0, result) : jinja_dict_new(run, result);
    if (!code && node->kind == N_LIST)
        result->as.list->tuple = node->flag;
    for (const struct jinja_node *each = node->list; each && !code; each = each->next) {
        if ((code = jinja_eval(run, each, &key)))
            break;
        if (node->kind == N_LIST) {
            code = jinja_push(run, result->as.list, key);
            continue;
        }
        each = each->next;
        if (!(code = jinja_eval(run, each, &value)))
            code = jinja_put(run, result->as.dict, key, value);
    }
    return code;
}

static int eval_sign(struct jinja_run *run, const struct jinja_node *node, struct jinja_value *result)
{
    int64_t whole;
    int code = jinja_eval(run, node->a, result);
    if (code)
        return code;
    if (as_whole(*result, &whole)) {
        if (node->kind == N_NEGATIVE && whole == INT64_MIN)
            return jinja_fail(run, "found a whole number that takes more than 64 bits");
        *result = jinja_whole(node->kind == N_NEGATIVE ? -whole : whole);
        return LOAM_OK;
    }
    if (result->kind != J_NUMBER)
        return jinja_fail(run, "found a sign before %s", jinja_kind_name(*result));
    if (node->kind == N_NEGATIVE)
        result->as.number = -result->as.number;
    return LOAM_OK;
}

static int eval_applied(struct jinja_run *run, const struct jinja_node *node, struct jinja_value *result)
{
    struct jinja_arguments arguments;
    struct jinja_value value;
    bool yes = false;
    int code = jinja_eval(run, node->a, &value);
    if (!code)
        code = jinja_arguments(run, node->list, &arguments);
    if (code)
        return code;
    if (node->kind == N_CALL)
        return jinja_call(run, value, &arguments, result);
    if (node->kind == N_FILTER)
        return jinja_filter(run, node->name, value, &arguments, result);
    code = jinja_test(run, node->name, value, &arguments, &yes);
    *result = jinja_truth_value(yes != node->flag);
    return code;
}

static int eval_inside(struct jinja_run *run, const struct jinja_node *node, struct jinja_value *result)
{
    struct jinja_value value;
    int code = LOAM_OK;
    switch (node->kind) {
    case N_CONSTANT:
        *result = node->value;
        return LOAM_OK;
    case N_CAPTURE:
        *result = run->captured;
        return LOAM_OK;
    case N_NAME:
        return look_up(run, node->name, result);
    case N_LIST:
    case N_DICT:
        return eval_list(run, node, result);
    case N_ATTRIBUTE:
        code = jinja_eval(run, node->a, &value);
        return code ? code : jinja_attribute(run, value, node->name, false, result);
    case N_ITEM:
        return eval_item(run, node, result);
    case N_SLICE:
        return eval_slice(run, node, result);
    case N_CALL:
    case N_FILTER:
    case N_TEST:
        return eval_applied(run, node, result);
    case N_NEGATIVE:
    case N_POSITIVE:
        return eval_sign(run, node, result);
    case N_NOT:
        code = jinja_eval(run, node->a, &value);
        *result = jinja_truth_value(!code && !jinja_truth(value));
        return code;
    case N_AND:
    case N_OR:
        code = jinja_eval(run, node->a, result);
        return code || jinja_truth(*result) == (node->kind == N_OR) ? code : jinja_eval(run, node->b, result);
    case N_COMPARE:
        return eval_compare(run, node, result);
    case N_BINARY:
        return eval_binary(run, node, result);
    case N_CHOICE:
        if ((code = jinja_eval(run, node->b, &value)))
            return code;
        *result = (struct jinja_value){.kind = J_UNDEFINED, .as.text = {"else", 4}};
        return jinja_truth(value) ? jinja_eval(run, node->a, result)
               : node->c          ? jinja_eval(run, node->c, result)
                                  : LOAM_OK;
    default:
        return jinja_fail(run, "found a block where an expression is wanted");
    }
}
