/* What templates can call: functions, methods of texts and mappings, and the tests behind "is". */
#include "data/jinja_run.h"

#include <locale.h>
#include <time.h>
#include <utf8proc.h>

enum { MOST_RANGE = 100000 };

static const char *const functions[] = {"range", "namespace", "dict", "raise_exception", "strftime_now"};

bool jinja_is_function(struct jinja_text name)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (jinja_is(name, functions[i]))
            return true;
    return false;
}

static int call_range(struct jinja_run *run, const struct jinja_arguments *arguments, struct jinja_value *result)
{
    int64_t parts[3] = {0, 0, 1};
    if (arguments->placed < 1 || arguments->placed > 3 || arguments->placed != arguments->count)
        return jinja_fail(run, "found %zu arguments of range(), wanted 1 to 3", arguments->count);
    for (size_t i = 0; i < arguments->placed; i++) {
        if (arguments->items[i].kind != J_WHOLE)
            return jinja_fail(run, "found %s in range(), wanted whole numbers", jinja_kind_name(arguments->items[i]));
        parts[arguments->placed == 1 ? 1 : i] = arguments->items[i].as.whole;
    }
    int code = parts[2] == 0 ? jinja_fail(run, "found a step of 0 in range()") : jinja_list_new(run, 0, result);
    for (int64_t i = parts[0]; !code && (parts[2] > 0 ? i < parts[1] : i > parts[1]);) {
        if (result->as.list->count == MOST_RANGE)
            return jinja_fail(run, "found more than %d items in range()", MOST_RANGE);
        code = jinja_push(run, result->as.list, jinja_whole(i));
        if (__builtin_add_overflow(i, parts[2], &i))
            break;
    }
    return code;
}

static int call_dict(struct jinja_run *run, bool namespace, const struct jinja_arguments *arguments,
                     struct jinja_value *result)
{
    int code = jinja_dict_new(run, result);
    if (namespace)
        result->kind = J_NAMESPACE;
    for (size_t i = 0; i < arguments->count && !code; i++) {
        const struct jinja_value item = arguments->items[i];
        if (i >= arguments->placed) {
            code = jinja_put(run, result->as.dict,
                             jinja_text_value(arguments->names[i].data, arguments->names[i].length), item);
            continue;
        }
        if (item.kind != J_DICT)
            return jinja_fail(run, "found %s, wanted NAME=VALUE", jinja_kind_name(item));
        for (size_t j = 0; j < item.as.dict->count && !code; j++)
            code = jinja_put(run, result->as.dict, item.as.dict->keys[j], item.as.dict->values[j]);
    }
    return code;
}

static int call_clock(struct jinja_run *run, const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_text format;
    char pattern[128], text[512];
    struct tm parts;
    int code = jinja_text_argument(run, arguments, 0, "format", &format);
    if (code)
        return code;
    if (format.length == 0 || format.length >= sizeof pattern || memchr(format.data, 0, format.length))
        return jinja_fail(run, "found a format of %zu bytes for strftime_now, wanted 1 to %zu", format.length,
                          sizeof pattern - 1);
    memcpy(pattern, format.data, format.length);
    pattern[format.length] = 0;
    const time_t now = run->call->now ? (time_t)run->call->now : time(NULL);
    if (!(run->call->now ? gmtime_r(&now, &parts) : localtime_r(&now, &parts)))
        return jinja_fail(run, "found a time that no calendar has");
    /* In the C locale, whatever the process's is: month names are English in every model's training data. */
    locale_t english = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!english)
        return lm_fail(run->error, LOAM_ENOMEM, "not enough memory for the names of months");
    const size_t length = strftime_l(text, sizeof text, pattern, &parts, english);
    freelocale(english);
    return jinja_copy(run, text, length, result);
}

static int call_function(struct jinja_run *run, struct jinja_text name, const struct jinja_arguments *arguments,
                         struct jinja_value *result)
{
    struct jinja_text message;
    if (jinja_is(name, "range"))
        return call_range(run, arguments, result);
    if (jinja_is(name, "namespace") || jinja_is(name, "dict"))
        return call_dict(run, jinja_is(name, "namespace"), arguments, result);
    if (jinja_is(name, "strftime_now"))
        return call_clock(run, arguments, result);
    struct jinja_value value = jinja_word("");
    jinja_argument(arguments, 0, "message", &value);
    int code = jinja_string(run, value, &message);
    return code ? code
                : jinja_fail(run, "the template refuses this conversation: %.*s",
                             (int)(message.length < 200 ? message.length : 200), message.data);
}

int jinja_call(struct jinja_run *run, struct jinja_value callee, const struct jinja_arguments *arguments,
               struct jinja_value *result)
{
    struct jinja_value items;
    switch (callee.kind) {
    case J_FUNCTION:
        return call_function(run, callee.as.text, arguments, result);
    case J_METHOD:
        return jinja_call_method(run, callee.as.method, arguments, result);
    case J_MACRO:
        return jinja_call_macro(run, callee.as.macro, arguments, NULL, result);
    case J_LOOP:
        if (!jinja_argument(arguments, 0, NULL, &items))
            return jinja_fail(run, "found loop() without something to loop over");
        return jinja_loop_again(run, callee.as.loop, items, result);
    case J_UNDEFINED:
        return jinja_lacks(run, "found a call of '%.*s', which is defined neither by the template nor by loam",
                           JINJA_SHOW(callee.as.text));
    default:
        return jinja_fail(run, "found a call of %s", jinja_kind_name(callee));
    }
}

static bool number_test(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                        const struct jinja_arguments *arguments, bool *holds, int *code)
{
    const bool odd = jinja_is(name, "odd"), by = jinja_is(name, "divisibleby");
    struct jinja_value other = jinja_whole(2);
    if (!odd && !by && !jinja_is(name, "even"))
        return false;
    if (by)
        jinja_argument(arguments, 0, "num", &other);
    if (value.kind != J_WHOLE || other.kind != J_WHOLE || other.as.whole == 0)
        *code = jinja_fail(run, "found %s in the test '%.*s', wanted whole numbers", jinja_kind_name(value),
                           JINJA_SHOW(name));
    else
        *holds = (other.as.whole == -1 || value.as.whole % other.as.whole == 0) != odd;
    return true;
}

static bool order_test(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
                       const struct jinja_arguments *arguments, bool *holds, int *code)
{
    static const char *const names[][3] = {
        {"eq", "equalto", "=="},    {"ne", "!=", "ne"}, {"lt", "lessthan", "<"}, {"le", "<=", "le"},
        {"gt", "greaterthan", ">"}, {"ge", ">=", "ge"}, {"in", "in", "in"},      {"sameas", "sameas", "sameas"}};
    struct jinja_value other;
    int which = -1, order = 0;
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 3; j++)
            if (jinja_is(name, names[i][j]))
                which = i;
    if (which < 0)
        return false;
    if (!jinja_argument(arguments, 0, NULL, &other)) {
        *code = jinja_fail(run, "found the test '%.*s' without something to compare with", JINJA_SHOW(name));
    } else if (which == 6) {
        *code = jinja_contains(run, other, value, holds);
    } else if (which < 2 || which == 7) {
        *code = jinja_equal(run, value, other, holds);
        *holds = (*holds != (which == 1)) && (which != 7 || value.kind == other.kind);
    } else {
        *code = jinja_compare(run, value, other, &order);
        *holds = order != 2 && (which == 2 ? order < 0 : which == 3 ? order <= 0 : which == 4 ? order > 0 : order >= 0);
    }
    return true;
}

/* Whether there is a letter and every one of them has this case. */
static bool has_case(struct jinja_text text, bool upper)
{
    bool any = false;
    for (size_t i = 0; i < text.length;) {
        uint32_t c;
        const size_t size = lm_utf8_decode(text.data + i, text.length - i, &c);
        const utf8proc_category_t category = size ? utf8proc_category((int32_t)c) : UTF8PROC_CATEGORY_CN;
        if (category == (upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU))
            return false;
        any = any || category == (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL);
        i += size ? size : 1;
    }
    return any;
}

int jinja_test(struct jinja_run *run, struct jinja_text name, struct jinja_value value,
               const struct jinja_arguments *arguments, bool *holds)
{
    const enum jinja_kind kind = value.kind;
    const struct {
        const char *name;
        bool holds;
    } tests[] = {
        {"defined", kind != J_UNDEFINED},
        {"undefined", kind == J_UNDEFINED},
        {"none", kind == J_NONE},
        {"string", kind == J_TEXT},
        {"number", kind == J_WHOLE || kind == J_NUMBER || kind == J_TRUTH},
        {"integer", kind == J_WHOLE},
        {"float", kind == J_NUMBER},
        {"boolean", kind == J_TRUTH},
        {"true", kind == J_TRUTH && value.as.truth},
        {"false", kind == J_TRUTH && !value.as.truth},
        {"mapping", kind == J_DICT},
        {"sequence", kind == J_LIST || kind == J_DICT || kind == J_TEXT || kind == J_UNDEFINED},
        {"iterable", kind == J_LIST || kind == J_DICT || kind == J_TEXT || kind == J_UNDEFINED},
        {"callable", kind == J_MACRO || kind == J_METHOD || kind == J_FUNCTION},
    };
    int code = LOAM_OK;
    *holds = false;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (jinja_is(name, tests[i].name)) {
            *holds = tests[i].holds;
            return LOAM_OK;
        }
    if (number_test(run, name, value, arguments, holds, &code) || order_test(run, name, value, arguments, holds, &code))
        return code;
    if (!jinja_is(name, "upper") && !jinja_is(name, "lower"))
        return jinja_lacks(run, "found the test '%.*s', which loam does not know", JINJA_SHOW(name));
    *holds = kind == J_TEXT && has_case(value.as.text, jinja_is(name, "upper"));
    return LOAM_OK;
}
