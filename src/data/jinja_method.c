/* Methods of texts, lists and mappings, as Python has them. What would change a list or a mapping is refused, as by
 * transformers. */
#include "data/jinja_run.h"

#include <utf8proc.h>

typedef int method(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                   const struct jinja_arguments *arguments, struct jinja_value *result);

static int text_strip(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                      const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value characters = {.kind = J_NONE};
    jinja_argument(arguments, 0, "chars", &characters);
    if (characters.kind != J_TEXT && characters.kind != J_NONE)
        return jinja_fail(run, "found %s, wanted text with the characters to strip", jinja_kind_name(characters));
    const struct jinja_text text = jinja_strip(self.as.text, characters.kind == J_TEXT ? &characters.as.text : NULL,
                                               !jinja_is(name, "rstrip"), !jinja_is(name, "lstrip"));
    *result = jinja_text_value(text.data, text.length);
    return jinja_spend(run, self.as.text.length);
}

static int text_split(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                      const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value by = {.kind = J_NONE}, most = jinja_whole(-1);
    jinja_argument(arguments, 0, "sep", &by);
    jinja_argument(arguments, 1, "maxsplit", &most);
    if ((by.kind != J_TEXT && by.kind != J_NONE) || most.kind != J_WHOLE)
        return jinja_fail(run, "found %s and %s, wanted a separator and a whole number", jinja_kind_name(by),
                          jinja_kind_name(most));
    if (by.kind == J_NONE && most.as.whole >= 0 && jinja_is(name, "rsplit"))
        return jinja_lacks(run, "found rsplit() at blanks with a limit, which loam does not know");
    return jinja_split(run, self.as.text, by.kind == J_TEXT ? &by.as.text : NULL, most.as.whole,
                       jinja_is(name, "rsplit"), result);
}

static int text_lines(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                      const struct jinja_arguments *arguments, struct jinja_value *result)
{
    (void)name;
    (void)arguments;
    return jinja_split_lines(run, self.as.text, result);
}

static int text_case(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                     const struct jinja_arguments *arguments, struct jinja_value *result)
{
    (void)arguments;
    return jinja_recase(run, self.as.text,
                        jinja_is(name, "upper")   ? CASE_UPPER
                        : jinja_is(name, "lower") ? CASE_LOWER
                        : jinja_is(name, "title") ? CASE_TITLE
                                                  : CASE_CAPITAL,
                        result);
}

static bool begins_or_ends(struct jinja_text text, struct jinja_text part, bool ends)
{
    return text.length >= part.length &&
           !memcmp(text.data + (ends ? text.length - part.length : 0), part.data, part.length);
}

static int text_begins(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                       const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value part;
    bool yes = false;
    const bool ends = jinja_is(name, "endswith");
    if (!jinja_argument(arguments, 0, NULL, &part) || arguments->count != 1)
        return jinja_fail(run, "found %zu arguments, wanted the text to look for", arguments->count);
    const size_t count = part.kind == J_LIST ? part.as.list->count : 1;
    for (size_t i = 0; i < count; i++) {
        const struct jinja_value each = part.kind == J_LIST ? part.as.list->items[i] : part;
        if (each.kind != J_TEXT)
            return jinja_fail(run, "found %s, wanted text", jinja_kind_name(each));
        yes = yes || begins_or_ends(self.as.text, each.as.text, ends);
    }
    *result = jinja_truth_value(yes);
    return LOAM_OK;
}

static int text_without(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                        const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_text part, text = self.as.text;
    const bool ends = jinja_is(name, "removesuffix");
    int code = jinja_text_argument(run, arguments, 0, ends ? "suffix" : "prefix", &part);
    if (code)
        return code;
    if (begins_or_ends(text, part, ends)) {
        text.data += ends ? 0 : part.length;
        text.length -= part.length;
    }
    *result = jinja_text_value(text.data, text.length);
    return LOAM_OK;
}

static int text_replace(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                        const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_text old, new;
    struct jinja_value most = jinja_whole(-1);
    (void)name;
    int code = jinja_text_argument(run, arguments, 0, "old", &old);
    if (!code)
        code = jinja_text_argument(run, arguments, 1, "new", &new);
    if (code)
        return code;
    jinja_argument(arguments, 2, "count", &most);
    if (most.kind != J_WHOLE)
        return jinja_fail(run, "found %s, wanted a whole number", jinja_kind_name(most));
    return jinja_replace(run, self.as.text, old, new, most.as.whole, result);
}

static int text_find(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                     const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_text part, text = self.as.text;
    size_t place = 0;
    int code = jinja_text_argument(run, arguments, 0, "sub", &part);
    if (code || arguments->count > 1)
        return code ? code : jinja_lacks(run, "found find() with bounds, which loam does not know");
    bool found = jinja_find(run, text, part, &place);
    for (size_t next = 0; found && jinja_is(name, "rfind") && place < text.length;) {
        const struct jinja_text rest = {text.data + place + 1, text.length - place - 1};
        if (!jinja_find(run, rest, part, &next) || (code = jinja_spend(run, 0)))
            break;
        place += next + 1;
    }
    if (!code && !found && jinja_is(name, "index"))
        return jinja_fail(run, "found no such part of the text");
    *result = jinja_whole(found ? (int64_t)jinja_count((struct jinja_text){text.data, place}) : -1);
    return code;
}

static int text_count(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                      const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_text part, text = self.as.text;
    size_t place;
    int64_t count = 0;
    (void)name;
    int code = jinja_text_argument(run, arguments, 0, "sub", &part);
    if (!code && part.length == 0)
        count = (int64_t)jinja_count(text) + 1;
    while (!code && part.length && jinja_find(run, text, part, &place)) {
        text.data += place + part.length;
        text.length -= place + part.length;
        count++;
        code = jinja_spend(run, 0);
    }
    *result = jinja_whole(count);
    return code;
}

static int text_join(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                     const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value items;
    struct jinja_arguments by = {&self, &name, 1, 1};
    if (!jinja_argument(arguments, 0, NULL, &items))
        return jinja_fail(run, "found join() without a list");
    return jinja_filter(run, (struct jinja_text){"join", 4}, items, &by, result);
}

/* isdigit, isalpha, isalnum, isspace, isupper, islower: of every character, and there is one. */
static int text_is(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                   const struct jinja_arguments *arguments, struct jinja_value *result)
{
    const struct jinja_text text = self.as.text;
    bool all = text.length > 0;
    if (jinja_is(name, "isupper") || jinja_is(name, "islower")) {
        int code = jinja_test(run, (struct jinja_text){name.data + 2, name.length - 2}, self, arguments, &all);
        *result = jinja_truth_value(all);
        return code;
    }
    for (size_t i = 0; i < text.length && all;) {
        uint32_t c;
        const size_t size = lm_utf8_decode(text.data + i, text.length - i, &c);
        const utf8proc_category_t category = size ? utf8proc_category((int32_t)c) : UTF8PROC_CATEGORY_CN;
        const bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO,
                   digit = category == UTF8PROC_CATEGORY_ND;
        all = jinja_is(name, "isspace")   ? jinja_blank(c)
              : jinja_is(name, "isalpha") ? letter
              : jinja_is(name, "isdigit") ? digit
                                          : letter || digit;
        i += size ? size : 1;
    }
    *result = jinja_truth_value(all);
    return jinja_spend(run, text.length);
}

static int dict_get(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                    const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value key, other = {.kind = J_NONE};
    (void)name;
    if (!jinja_argument(arguments, 0, NULL, &key))
        return jinja_fail(run, "found get() without a key");
    jinja_argument(arguments, 1, NULL, &other);
    *result = other;
    int code = LOAM_OK;
    for (size_t i = 0; i < self.as.dict->count && !code; i++) {
        bool equal;
        code = jinja_equal(run, self.as.dict->keys[i], key, &equal);
        if (equal)
            *result = self.as.dict->values[i];
    }
    return code;
}

static int dict_items(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                      const struct jinja_arguments *arguments, struct jinja_value *result)
{
    const bool keys = !jinja_is(name, "values"), values = !jinja_is(name, "keys");
    (void)arguments;
    int code = jinja_list_new(run, self.as.dict->count, result);
    for (size_t i = 0; i < self.as.dict->count && !code; i++) {
        struct jinja_value pair, item = keys ? self.as.dict->keys[i] : self.as.dict->values[i];
        if (keys && values) {
            if ((code = jinja_list_new(run, 2, &pair)) || (code = jinja_push(run, pair.as.list, item)) ||
                (code = jinja_push(run, pair.as.list, self.as.dict->values[i])))
                return code;
            pair.as.list->tuple = true;
            item = pair;
        }
        code = jinja_push(run, result->as.list, item);
    }
    return code;
}

static int list_index(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                      const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value item;
    int64_t count = 0, first = -1;
    int code = LOAM_OK;
    if (!jinja_argument(arguments, 0, NULL, &item))
        return jinja_fail(run, "found no argument, wanted the item to look for");
    for (size_t i = 0; i < self.as.list->count && !code; i++) {
        bool equal;
        code = jinja_equal(run, self.as.list->items[i], item, &equal);
        count += equal;
        if (equal && first < 0)
            first = (int64_t)i;
    }
    if (!code && jinja_is(name, "index") && first < 0)
        return jinja_fail(run, "found no such item in the list");
    *result = jinja_whole(jinja_is(name, "index") ? first : count);
    return code;
}

static int refuse_change(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                         const struct jinja_arguments *arguments, struct jinja_value *result)
{
    (void)arguments;
    (void)result;
    return jinja_fail(run, "found %.*s(), which would change %s; a template makes a new one instead", JINJA_SHOW(name),
                      jinja_kind_name(self));
}

static int copy_self(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                     const struct jinja_arguments *arguments, struct jinja_value *result)
{
    (void)run;
    (void)name;
    (void)arguments;
    *result = self; /* nothing can change either */
    return LOAM_OK;
}

static int loop_cycle(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                      const struct jinja_arguments *arguments, struct jinja_value *result)
{
    (void)name;
    if (arguments->count == 0)
        return jinja_fail(run, "found loop.cycle() without items");
    *result = arguments->items[self.as.loop->index % arguments->count];
    return LOAM_OK;
}

static int loop_changed(struct jinja_run *run, struct jinja_value self, struct jinja_text name,
                        const struct jinja_arguments *arguments, struct jinja_value *result)
{
    struct jinja_value now;
    bool equal = false;
    (void)name;
    int code = jinja_list_new(run, arguments->count, &now);
    for (size_t i = 0; i < arguments->count && !code; i++)
        code = jinja_push(run, now.as.list, arguments->items[i]);
    if (!code)
        code = jinja_equal(run, now, self.as.loop->last, &equal);
    self.as.loop->last = now;
    *result = jinja_truth_value(!equal);
    return code;
}

static const struct {
    enum jinja_kind kind;
    const char *name;
    method *call;
} methods[] = {
    {J_TEXT, "strip", text_strip},
    {J_TEXT, "lstrip", text_strip},
    {J_TEXT, "rstrip", text_strip},
    {J_TEXT, "split", text_split},
    {J_TEXT, "rsplit", text_split},
    {J_TEXT, "splitlines", text_lines},
    {J_TEXT, "upper", text_case},
    {J_TEXT, "lower", text_case},
    {J_TEXT, "title", text_case},
    {J_TEXT, "capitalize", text_case},
    {J_TEXT, "startswith", text_begins},
    {J_TEXT, "endswith", text_begins},
    {J_TEXT, "removeprefix", text_without},
    {J_TEXT, "removesuffix", text_without},
    {J_TEXT, "replace", text_replace},
    {J_TEXT, "find", text_find},
    {J_TEXT, "rfind", text_find},
    {J_TEXT, "index", text_find},
    {J_TEXT, "count", text_count},
    {J_TEXT, "join", text_join},
    {J_TEXT, "isdigit", text_is},
    {J_TEXT, "isalpha", text_is},
    {J_TEXT, "isalnum", text_is},
    {J_TEXT, "isspace", text_is},
    {J_TEXT, "isupper", text_is},
    {J_TEXT, "islower", text_is},
    {J_DICT, "get", dict_get},
    {J_DICT, "items", dict_items},
    {J_DICT, "keys", dict_items},
    {J_DICT, "values", dict_items},
    {J_DICT, "copy", copy_self},
    {J_DICT, "update", refuse_change},
    {J_DICT, "pop", refuse_change},
    {J_DICT, "clear", refuse_change},
    {J_DICT, "setdefault", refuse_change},
    {J_LIST, "index", list_index},
    {J_LIST, "count", list_index},
    {J_LIST, "copy", copy_self},
    {J_LIST, "append", refuse_change},
    {J_LIST, "extend", refuse_change},
    {J_LIST, "insert", refuse_change},
    {J_LIST, "pop", refuse_change},
    {J_LIST, "remove", refuse_change},
    {J_LIST, "reverse", refuse_change},
    {J_LIST, "sort", refuse_change},
    {J_LIST, "clear", refuse_change},
    {J_LOOP, "cycle", loop_cycle},
    {J_LOOP, "changed", loop_changed},
};
enum { METHODS = sizeof methods / sizeof *methods };

static size_t find_method(struct jinja_value self, struct jinja_text name)
{
    size_t i = 0;
    while (i < METHODS && !(methods[i].kind == self.kind && jinja_is(name, methods[i].name)))
        i++;
    return i;
}

bool jinja_has_method(struct jinja_value self, struct jinja_text name)
{
    return find_method(self, name) < METHODS;
}

int jinja_call_method(struct jinja_run *run, const struct jinja_method *called, const struct jinja_arguments *arguments,
                      struct jinja_value *result)
{
    return methods[find_method(called->self, called->name)].call(run, called->self, called->name, arguments, result);
}
