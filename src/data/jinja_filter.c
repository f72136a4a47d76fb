/* Jinja's filters. */
#include "data/jinja_run.h"

#include <math.h>

typedef int filter(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                   const struct jinja_arguments *arguments, struct jinja_value *result);
/* Those that read nothing but the value leave out the rest. */
#define UNUSED (void)run, (void)name, (void)arguments

static int filter_length(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                         const struct jinja_arguments *arguments, struct jinja_value *result)
{
    int64_t length = 0;
    UNUSED;
    int code = jinja_length(run, value, &length);
    *result = jinja_whole(length);
    return code;
}

static int filter_trim(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                       const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_text text;
    struct jinja_value characters = {.kind = J_NONE};
    (void)name;
    int code = jinja_string(run, value, &text);
    if (code)
        return code;
    jinja_argument(arguments, 0, "chars", &characters);
    text = jinja_strip(text, characters.kind == J_TEXT ? &characters.as.text : NULL, true, true);
    *result = jinja_text_value(text.data, text.length);
    return jinja_spend(run, text.length);
}

static int filter_case(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                       const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_text text;
    (void)arguments;
    int code = jinja_string(run, value, &text);
    return code ? code
                : jinja_recase(run, text,
                               jinja_is(name, "upper")   ? CASE_UPPER
                               : jinja_is(name, "lower") ? CASE_LOWER
                               : jinja_is(name, "title") ? CASE_WORDS
                                                         : CASE_CAPITAL,
                               result);
}

static int filter_string(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                         const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_text text;
    UNUSED;
    int code = jinja_string(run, value, &text);
    *result = jinja_text_value(code ? "" : text.data, code ? 0 : text.length);
    return code;
}

static int filter_same(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                       const struct jinja_arguments *arguments, struct jinja_value *result)
{
    UNUSED;
    *result = value;
    return LOAM_OK;
}

static int filter_escape(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                         const struct jinja_arguments *arguments, struct jinja_value *result)
{
    static const char *const signs[][2] = {
        {"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}};
    struct jinja_text text;
    UNUSED;
    int code = jinja_string(run, value, &text);
    for (int i = 0; i < 5 && !code; i++) {
        code = jinja_replace(run, text, (struct jinja_text){signs[i][0], 1},
                             (struct jinja_text){signs[i][1], strlen(signs[i][1])}, -1, result);
        text = result->as.text;
    }
    return code;
}

static int filter_replace(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                          const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_text text, old, new;
    struct jinja_value count = {.kind = J_NONE};
    (void)name;
    int code = jinja_string(run, value, &text);
    if (!code)
        code = jinja_text_argument(run, arguments, 0, "old", &old);
    if (!code)
        code = jinja_text_argument(run, arguments, 1, "new", &new);
    if (code)
        return code;
    jinja_argument(arguments, 2, "count", &count);
    return jinja_replace(run, text, old, new, count.kind == J_WHOLE ? count.as.whole : -1, result);
}

static int filter_default(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                          const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value other = jinja_word(""), falsy = jinja_truth_value(false);
    (void)run;
    (void)name;
    jinja_argument(arguments, 0, "default_value", &other);
    jinja_argument(arguments, 1, "boolean", &falsy);
    *result = value.kind == J_UNDEFINED || (jinja_truth(falsy) && !jinja_truth(value)) ? other : value;
    return LOAM_OK;
}

/* A value's attribute by its name, which may have dots, or its index. */
static int follow(struct jinja_run *run, struct jinja_value value, struct jinja_value path, struct jinja_value *result)
{
    int code = LOAM_OK;
    *result = value;
    if (path.kind == J_NONE)
        return LOAM_OK;
    if (path.kind == J_WHOLE) {
        const bool there = value.kind == J_LIST && path.as.whole >= 0 && (uint64_t)path.as.whole < value.as.list->count;
        *result = there ? value.as.list->items[path.as.whole]
                        : (struct jinja_value){.kind = J_UNDEFINED, .as.text = {"item", 4}};
        return LOAM_OK;
    }
    if (path.kind != J_TEXT)
        return jinja_fail(run, "found %s as an attribute, wanted its name", jinja_kind_name(path));
    struct jinja_text rest = path.as.text;
    while (rest.length && !code) {
        const char *dot = memchr(rest.data, '.', rest.length);
        const size_t length = dot ? (size_t)(dot - rest.data) : rest.length;
        code = jinja_attribute(run, *result, (struct jinja_text){rest.data, length}, true, result);
        rest.data += length + (dot != NULL);
        rest.length -= length + (dot != NULL);
    }
    return code;
}

static int filter_attribute(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                            const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value path;
    (void)name;
    if (!jinja_argument(arguments, 0, "name", &path))
        return jinja_fail(run, "found attr without a name");
    return follow(run, value, path, result);
}

static int filter_join(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                       const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value by = jinja_word(""), path = {.kind = J_NONE}, item;
    struct jinja_list *items;
    struct jinja_text text, between;
    struct lm_bytes out = {0};
    (void)name;
    jinja_argument(arguments, 0, "d", &by);
    jinja_argument(arguments, 1, "attribute", &path);
    int code = jinja_iterate(run, value, &items);
    if (!code)
        code = jinja_string(run, by, &between);
    for (size_t i = 0; !code && i < items->count; i++) {
        if ((code = follow(run, items->items[i], path, &item)) || (code = jinja_string(run, item, &text)) ||
            (code = jinja_spend(run, text.length + between.length)))
            break;
        if (out.length > run->pool.limit)
            code = jinja_fail(run, "the template took more than %zu bytes of memory", run->pool.limit);
        if (!code && i)
            code = lm_bytes_append(&out, between.data, between.length, run->error);
        if (!code)
            code = lm_bytes_append(&out, text.data, text.length, run->error);
    }
    if (!code)
        code = jinja_copy(run, out.data, out.length, result);
    lm_bytes_free(&out);
    return code;
}

static int filter_end(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                      const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_list *items;
    (void)arguments;
    int code = jinja_iterate(run, value, &items);
    if (code)
        return code;
    *result = (struct jinja_value){.kind = J_UNDEFINED, .as.text = name};
    if (items->count)
        *result = items->items[jinja_is(name, "first") ? 0 : items->count - 1];
    return LOAM_OK;
}

static int filter_list(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                       const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_list *items;
    UNUSED;
    int code = jinja_iterate(run, value, &items);
    if (!code)
        *result = (struct jinja_value){.kind = J_LIST, .as.list = items};
    return code;
}

static int filter_reverse(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                          const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_list *items;
    UNUSED;
    int code = jinja_iterate(run, value, &items);
    if (!code)
        code = jinja_list_new(run, items->count, result);
    for (size_t i = 0; !code && i < items->count; i++)
        code = jinja_push(run, result->as.list, items->items[items->count - 1 - i]);
    if (code || value.kind != J_TEXT)
        return code;
    return filter_join(run, name, *result, &(struct jinja_arguments){0}, result);
}

static int filter_items(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                        const struct jinja_arguments *arguments, struct jinja_value *result)
{
    const struct jinja_method method = {value, {"items", 5}};
    UNUSED;
    if (value.kind == J_UNDEFINED)
        return jinja_list_new(run, 0, result);
    if (value.kind != J_DICT)
        return jinja_fail(run, "found %s, wanted a mapping", jinja_kind_name(value));
    return jinja_call_method(run, &method, arguments, result);
}

static int filter_tojson(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                         const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value option;
    struct jinja_json how = {-1, false, false, {", ", 2}, {": ", 2}};
    struct lm_bytes out = {0};
    (void)name;
    if (jinja_argument(arguments, 1, "indent", &option) && option.kind == J_WHOLE && option.as.whole >= 0 &&
        option.as.whole <= 16) {
        how.indent = (int)option.as.whole;
        how.item.length = 1;
    }
    if (jinja_argument(arguments, 0, "ensure_ascii", &option)) {
        if (arguments->placed && option.kind == J_WHOLE)
            return jinja_fail(run, "found a number as ensure_ascii, the first argument of tojson; wanted indent=%lld",
                              (long long)option.as.whole);
        how.ascii = jinja_truth(option);
    }
    if (jinja_argument(arguments, 3, "sort_keys", &option))
        how.sort = jinja_truth(option);
    if (jinja_argument(arguments, 2, "separators", &option) && option.kind == J_LIST && option.as.list->count == 2 &&
        option.as.list->items[0].kind == J_TEXT && option.as.list->items[1].kind == J_TEXT) {
        how.item = option.as.list->items[0].as.text;
        how.key = option.as.list->items[1].as.text;
    }
    int code = jinja_write_json(run, value, &how, 0, &out);
    if (!code)
        code = jinja_copy(run, out.data, out.length, result);
    lm_bytes_free(&out);
    return code;
}

static int filter_number(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                         const struct jinja_arguments *arguments, struct jinja_value *result)
{
    const bool whole = jinja_is(name, "int");
    struct jinja_value other = whole ? jinja_whole(0) : (struct jinja_value){.kind = J_NUMBER, .as.number = 0};
    (void)run;
    jinja_argument(arguments, 0, "default", &other);
    if (jinja_to_number(value, whole, result))
        *result = other;
    return LOAM_OK;
}

static int filter_absolute(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                           const struct jinja_arguments *arguments, struct jinja_value *result)
{
    UNUSED;
    *result = value;
    if (value.kind == J_NUMBER)
        result->as.number = fabs(value.as.number);
    else if (value.kind == J_WHOLE && value.as.whole != INT64_MIN)
        result->as.whole = value.as.whole < 0 ? -value.as.whole : value.as.whole;
    else
        return jinja_fail(run, "found %s, wanted a number", jinja_kind_name(value));
    return LOAM_OK;
}

static int filter_round(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                        const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value digits = jinja_whole(0), method = jinja_word("common"), number;
    (void)name;
    jinja_argument(arguments, 0, "precision", &digits);
    jinja_argument(arguments, 1, "method", &method);
    if (value.kind == J_TEXT || jinja_to_number(value, false, &number) || digits.kind != J_WHOLE ||
        digits.as.whole < -30 || digits.as.whole > 30 || method.kind != J_TEXT)
        return jinja_fail(run, "found %s to round, wanted a number", jinja_kind_name(value));
    const double scale = pow(10, (double)digits.as.whole), scaled = number.as.number * scale;
    number.as.number = (jinja_is(method.as.text, "ceil")    ? ceil(scaled)
                        : jinja_is(method.as.text, "floor") ? floor(scaled)
                                                            : rint(scaled)) /
                       scale;
    *result = number;
    return LOAM_OK;
}

/* By insertion, for lists are short; equal ones keep their order. */
static int sort_range(struct jinja_run *run, struct jinja_value *items, struct jinja_value *keys, size_t count,
                      bool descending, bool cased)
{
    int code = LOAM_OK;
    for (size_t i = 1; i < count && !code; i++)
        for (size_t j = i; j > 0 && !code; j--) {
            int order = 0;
            struct jinja_value a = keys[j - 1], b = keys[j];
            if (!cased && a.kind == J_TEXT && b.kind == J_TEXT &&
                ((code = jinja_recase(run, a.as.text, CASE_LOWER, &a)) ||
                 (code = jinja_recase(run, b.as.text, CASE_LOWER, &b))))
                return code;
            code = jinja_compare(run, a, b, &order);
            if (descending ? order >= 0 : order <= 0)
                break;
            const struct jinja_value item = items[j], key = keys[j];
            items[j] = items[j - 1], keys[j] = keys[j - 1];
            items[j - 1] = item, keys[j - 1] = key;
        }
    return code;
}

static int filter_sort(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                       const struct jinja_arguments *arguments, struct jinja_value *result)
{
    const bool dict = jinja_is(name, "dictsort");
    struct jinja_value reverse = jinja_truth_value(false), cased = jinja_truth_value(false),
                       path = dict ? jinja_whole(0) : (struct jinja_value){.kind = J_NONE};
    struct jinja_value keys, by;
    struct jinja_list *items;
    jinja_argument(arguments, dict ? 2 : 0, "reverse", &reverse);
    jinja_argument(arguments, dict ? 0 : 1, "case_sensitive", &cased);
    if (dict && jinja_argument(arguments, 1, "by", &by))
        path = jinja_whole(by.kind == J_TEXT && jinja_is(by.as.text, "value"));
    if (!dict)
        jinja_argument(arguments, 2, "attribute", &path);
    int code = dict ? filter_items(run, name, value, &(struct jinja_arguments){0}, &value) : LOAM_OK;
    if (!code)
        code = jinja_iterate(run, value, &items);
    if (code || (code = jinja_list_new(run, items->count, result)) || (code = jinja_list_new(run, items->count, &keys)))
        return code;
    for (size_t i = 0; i < items->count && !code; i++) {
        struct jinja_value key;
        if ((code = follow(run, items->items[i], path, &key)) ||
            (code = jinja_push(run, result->as.list, items->items[i])))
            return code;
        code = jinja_push(run, keys.as.list, key);
    }
    return code ? code
                : sort_range(run, result->as.list->items, keys.as.list->items, items->count, jinja_truth(reverse),
                             jinja_truth(cased));
}

static int filter_unique(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                         const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_list *items;
    struct jinja_value path = {.kind = J_NONE}, key, seen;
    (void)name;
    jinja_argument(arguments, 1, "attribute", &path);
    int code = jinja_iterate(run, value, &items);
    if (code || (code = jinja_list_new(run, 0, result)) || (code = jinja_list_new(run, 0, &seen)))
        return code;
    for (size_t i = 0; i < items->count && !code; i++) {
        bool found = false;
        if ((code = follow(run, items->items[i], path, &key)) ||
            (key.kind == J_TEXT && (code = jinja_recase(run, key.as.text, CASE_LOWER, &key))) ||
            (code = jinja_contains(run, seen, key, &found)) || found)
            continue;
        code = jinja_push(run, seen.as.list, key);
        if (!code)
            code = jinja_push(run, result->as.list, items->items[i]);
    }
    return code;
}

static int filter_extreme(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                          const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_list *items;
    (void)arguments;
    int code = jinja_iterate(run, value, &items), order = 0;
    *result = (struct jinja_value){.kind = J_UNDEFINED, .as.text = name};
    for (size_t i = 0; !code && i < items->count; i++) {
        if (i)
            code = jinja_compare(run, items->items[i], *result, &order);
        if (!i || (jinja_is(name, "max") ? order > 0 && order != 2 : order < 0))
            *result = items->items[i];
    }
    return code;
}

static int filter_sum(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                      const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value path = {.kind = J_NONE}, item;
    struct jinja_list *items;
    int64_t whole = 0;
    double number = 0;
    bool real = false;
    (void)name;
    jinja_argument(arguments, 0, "attribute", &path);
    int code = jinja_iterate(run, value, &items);
    for (size_t i = 0; !code && i < items->count; i++) {
        if ((code = follow(run, items->items[i], path, &item)) || (code = jinja_spend(run, 0)))
            break;
        if (item.kind != J_WHOLE && item.kind != J_NUMBER)
            return jinja_fail(run, "found %s in a sum, wanted numbers", jinja_kind_name(item));
        real = real || item.kind == J_NUMBER;
        number += item.kind == J_NUMBER ? item.as.number : (double)item.as.whole;
        if (item.kind == J_WHOLE && __builtin_add_overflow(whole, item.as.whole, &whole))
            return jinja_fail(run, "found a whole number that takes more than 64 bits");
    }
    *result = real ? (struct jinja_value){.kind = J_NUMBER, .as.number = number} : jinja_whole(whole);
    return code;
}

/* The arguments behind the first `used`. */
static struct jinja_arguments rest(const struct jinja_arguments *arguments, size_t used)
{
    struct jinja_arguments left = *arguments;
    used = used < left.placed ? used : left.placed;
    if (!used)    /* without any, there may be no list either */
        return left;
    left.items += used;
    left.names += used;
    left.count -= used;
    left.placed -= used;
    return left;
}

static int filter_map(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                      const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_list *items;
    struct jinja_value path, other = {.kind = J_UNDEFINED, .as.text = name}, item;
    struct jinja_text called = {"", 0};
    const bool by_path = arguments->placed == 0 && jinja_argument(arguments, 0, "attribute", &path);
    jinja_argument(arguments, 1, "default", &other);
    int code = by_path ? LOAM_OK : jinja_text_argument(run, arguments, 0, "filter", &called);
    if (!code)
        code = jinja_iterate(run, value, &items);
    if (!code)
        code = jinja_list_new(run, 0, result);
    const struct jinja_arguments behind = by_path ? *arguments : rest(arguments, 1);
    for (size_t i = 0; !code && i < items->count; i++) {
        if ((code = jinja_spend(run, 0)))
            break;
        code = by_path ? follow(run, items->items[i], path, &item)
                       : jinja_filter(run, called, items->items[i], &behind, &item);
        if (!code)
            code = jinja_push(run, result->as.list, by_path && item.kind == J_UNDEFINED ? other : item);
    }
    return code;
}

/* select, reject, selectattr, rejectattr. */
static int filter_select(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                         const struct jinja_arguments *arguments, struct jinja_value *result)
{
    const bool attribute = jinja_is(name, "selectattr") || jinja_is(name, "rejectattr"), reject = name.data[0] == 'r';
    struct jinja_list *items;
    struct jinja_value path = {.kind = J_NONE}, item;
    struct jinja_text test = {"", 0};
    const size_t place = attribute ? 1 : 0;
    int code = jinja_iterate(run, value, &items);
    if (!code && attribute && !jinja_argument(arguments, 0, "attr", &path))
        return jinja_fail(run, "found %.*s without an attribute", JINJA_SHOW(name));
    if (!code && arguments->placed > place)
        code = jinja_text_argument(run, arguments, place, "test", &test);
    if (!code)
        code = jinja_list_new(run, 0, result);
    const struct jinja_arguments behind = rest(arguments, place + 1);
    for (size_t i = 0; !code && i < items->count; i++) {
        bool holds = false;
        if ((code = jinja_spend(run, 0)) || (code = follow(run, items->items[i], path, &item)))
            break;
        holds = jinja_truth(item);
        if (test.length)
            code = jinja_test(run, test, item, &behind, &holds);
        if (!code && holds != reject)
            code = jinja_push(run, result->as.list, items->items[i]);
    }
    return code;
}

static int filter_indent(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                         const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value width = jinja_whole(4), first = jinja_truth_value(false), blank = jinja_truth_value(false),
                       lines;
    struct jinja_text text, by;
    struct lm_bytes out = {0};
    char spaces[64];
    (void)name;
    jinja_argument(arguments, 0, "width", &width);
    jinja_argument(arguments, 1, "first", &first);
    jinja_argument(arguments, 2, "blank", &blank);
    if (width.kind != J_TEXT &&
        (width.kind != J_WHOLE || width.as.whole < 0 || width.as.whole > (int64_t)sizeof spaces))
        return jinja_fail(run, "found %s as the width of indent, wanted 0 to %zu", jinja_kind_name(width),
                          sizeof spaces);
    memset(spaces, ' ', sizeof spaces);
    by = width.kind == J_TEXT ? width.as.text : (struct jinja_text){spaces, (size_t)width.as.whole};
    int code = jinja_string(run, value, &text);
    if (!code)
        code = jinja_split(run, text, &(struct jinja_text){"\n", 1}, -1, false, &lines);
    for (size_t i = 0; !code && i < lines.as.list->count; i++) {
        const struct jinja_text line = lines.as.list->items[i].as.text;
        if (i)
            code = lm_bytes_append(&out, "\n", 1, run->error);
        if (!code && (i ? line.length || jinja_truth(blank) : jinja_truth(first)))
            code = lm_bytes_append(&out, by.data, by.length, run->error);
        if (!code)
            code = lm_bytes_append(&out, line.data, line.length, run->error);
    }
    if (!code)
        code = jinja_copy(run, out.data, out.length, result);
    lm_bytes_free(&out);
    return code ? code : jinja_spend(run, text.length);
}

static const struct {
    const char *name;
    filter *call;
} filters[] = {
    {"length", filter_length},     {"count", filter_length},    {"trim", filter_trim},
    {"upper", filter_case},        {"lower", filter_case},      {"title", filter_case},
    {"capitalize", filter_case},   {"string", filter_string},   {"safe", filter_same},
    {"escape", filter_escape},     {"e", filter_escape},        {"replace", filter_replace},
    {"default", filter_default},   {"d", filter_default},       {"attr", filter_attribute},
    {"join", filter_join},         {"first", filter_end},       {"last", filter_end},
    {"list", filter_list},         {"reverse", filter_reverse}, {"items", filter_items},
    {"tojson", filter_tojson},     {"int", filter_number},      {"float", filter_number},
    {"abs", filter_absolute},      {"round", filter_round},     {"sort", filter_sort},
    {"dictsort", filter_sort},     {"unique", filter_unique},   {"min", filter_extreme},
    {"max", filter_extreme},       {"sum", filter_sum},         {"map", filter_map},
    {"select", filter_select},     {"reject", filter_select},   {"selectattr", filter_select},
    {"rejectattr", filter_select}, {"indent", filter_indent},
};

int jinja_filter(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                 const struct jinja_arguments *arguments, struct jinja_value *result)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (jinja_is(name, filters[i].name))
            return filters[i].call(run, name, value, arguments, result);
    return jinja_lacks(run, "found the filter '%.*s', which loam does not know", JINJA_SHOW(name));
}
