/* Jinja's values: truth, order, equality, items. As Python has them. */
#include "data/jinja_run.h"

#include <stdarg.h>
#include <stdio.h>

enum { WORK_A_STEP = 64, MOST_JSON = 100 };

int jinja_fail(struct jinja_run *run, const char *format, ...)
{
    char message[300];
    va_list list;
    va_start(list, format);
    lm_format_list(message, sizeof message, format, list);
    va_end(list);
    return lm_jinja_fail(run->jinja, run->place, LOAM_EFORMAT, run->error, "%s", message);
}

int jinja_lacks(struct jinja_run *run, const char *format, ...)
{
    char message[300];
    va_list list;
    va_start(list, format);
    lm_format_list(message, sizeof message, format, list);
    va_end(list);
    return lm_jinja_fail(run->jinja, run->place, LOAM_EUNSUPPORTED, run->error, "%s", message);
}

int jinja_spend(struct jinja_run *run, size_t work)
{
    run->steps -= 1 + (int64_t)(work / WORK_A_STEP);
    return run->steps > 0 ? LOAM_OK
                          : jinja_fail(run, "the template took more steps than it may; it does not seem to end");
}

const char *jinja_kind_name(struct jinja_value value)
{
    static const char *const names[] = {
        "nothing (undefined)", "none",        "a truth", "a whole number", "a number", "text",      "a list",
        "a mapping",           "a namespace", "a loop",  "a macro",        "a method", "a function"};
    return names[value.kind];
}

bool jinja_truth(struct jinja_value value)
{
    switch (value.kind) {
    case J_UNDEFINED:
    case J_NONE:
        return false;
    case J_TRUTH:
        return value.as.truth;
    case J_WHOLE:
        return value.as.whole != 0;
    case J_NUMBER:
        return value.as.number != 0;
    case J_TEXT:
        return value.as.text.length != 0;
    case J_LIST:
        return value.as.list->count != 0;
    case J_DICT:
        return value.as.dict->count != 0;
    default:
        return true;
    }
}

struct jinja_value jinja_text_value(const char *data, size_t length)
{
    return (struct jinja_value){.kind = J_TEXT, .as.text = {data, length}};
}

struct jinja_value jinja_word(const char *text)
{
    return jinja_text_value(text, strlen(text));
}

struct jinja_value jinja_whole(int64_t whole)
{
    return (struct jinja_value){.kind = J_WHOLE, .as.whole = whole};
}

struct jinja_value jinja_truth_value(bool truth)
{
    return (struct jinja_value){.kind = J_TRUTH, .as.truth = truth};
}

int jinja_copy(struct jinja_run *run, const char *data, size_t length, struct jinja_value *result)
{
    char *copy = lm_jinja_take(&run->pool, length, run->error);
    if (!copy)
        return LOAM_ENOMEM;
    if (length)
        memcpy(copy, data, length);
    *result = jinja_text_value(copy, length);
    return LOAM_OK;
}

int jinja_list_new(struct jinja_run *run, size_t capacity, struct jinja_value *result)
{
    struct jinja_list *list = lm_jinja_take(&run->pool, sizeof *list, run->error);
    size_t bytes;
    if (!list || !lm_mul(capacity, sizeof *list->items, &bytes))
        return LOAM_ENOMEM;
    if (capacity && !(list->items = lm_jinja_take(&run->pool, bytes, run->error)))
        return LOAM_ENOMEM;
    list->capacity = capacity;
    *result = (struct jinja_value){.kind = J_LIST, .as.list = list};
    return LOAM_OK;
}

/* Twice the room; what was there stays in the pool until the end. */
static int grow(struct jinja_run *run, struct jinja_value **items, size_t count, size_t capacity)
{
    struct jinja_value *grown = lm_jinja_take(&run->pool, capacity * sizeof *grown, run->error);
    if (!grown)
        return LOAM_ENOMEM;
    if (count)
        memcpy(grown, *items, count * sizeof *grown);
    *items = grown;
    return LOAM_OK;
}

int jinja_push(struct jinja_run *run, struct jinja_list *list, struct jinja_value item)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 8;
        int code = grow(run, &list->items, list->count, capacity);
        if (code)
            return code;
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
    return LOAM_OK;
}

int jinja_dict_new(struct jinja_run *run, struct jinja_value *result)
{
    struct jinja_dict *dict = lm_jinja_take(&run->pool, sizeof *dict, run->error);
    if (!dict)
        return LOAM_ENOMEM;
    *result = (struct jinja_value){.kind = J_DICT, .as.dict = dict};
    return LOAM_OK;
}

struct jinja_value *jinja_dict_find(const struct jinja_dict *dict, struct jinja_text key)
{
    for (size_t i = 0; i < dict->count; i++) {
        const struct jinja_text text = dict->keys[i].as.text;
        if (dict->keys[i].kind == J_TEXT && text.length == key.length && !memcmp(text.data, key.data, key.length))
            return &dict->values[i];
    }
    return NULL;
}

int jinja_put(struct jinja_run *run, struct jinja_dict *dict, struct jinja_value key, struct jinja_value value)
{
    int code = jinja_spend(run, dict->count * 8);
    for (size_t i = 0; i < dict->count && !code; i++) {
        bool equal = false;
        code = jinja_equal(run, dict->keys[i], key, &equal);
        if (equal) {
            dict->values[i] = value;
            return code;
        }
    }
    if (!code && dict->count == dict->capacity) {
        const size_t capacity = dict->capacity ? 2 * dict->capacity : 8;
        code = grow(run, &dict->keys, dict->count, capacity);
        if (!code)
            code = grow(run, &dict->values, dict->count, capacity);
        if (!code)
            dict->capacity = capacity;
    }
    if (code)
        return code;
    dict->keys[dict->count] = key;
    dict->values[dict->count++] = value;
    return LOAM_OK;
}

static bool is_number(struct jinja_value value)
{
    return value.kind == J_TRUTH || value.kind == J_WHOLE || value.kind == J_NUMBER;
}

static double number_of(struct jinja_value value)
{
    return value.kind == J_NUMBER  ? value.as.number
           : value.kind == J_WHOLE ? (double)value.as.whole
                                   : (double)value.as.truth;
}

static int64_t whole_of(struct jinja_value value)
{
    return value.kind == J_TRUTH ? value.as.truth : value.as.whole;
}

static int equal_dicts(struct jinja_run *run, const struct jinja_dict *a, const struct jinja_dict *b, bool *equal)
{
    *equal = a->count == b->count;
    for (size_t i = 0; i < a->count && *equal; i++) {
        const struct jinja_value *other = a->keys[i].kind == J_TEXT ? jinja_dict_find(b, a->keys[i].as.text) : NULL;
        for (size_t j = 0; j < b->count && !other; j++) {
            bool same = false;
            int code = jinja_equal(run, a->keys[i], b->keys[j], &same);
            if (code)
                return code;
            other = same ? &b->values[j] : NULL;
        }
        *equal = other != NULL;
        int code = other ? jinja_equal(run, a->values[i], *other, equal) : LOAM_OK;
        if (code)
            return code;
    }
    return LOAM_OK;
}

static int equal_lists(struct jinja_run *run, const struct jinja_list *a, const struct jinja_list *b, bool *equal)
{
    int code = LOAM_OK;
    *equal = a->count == b->count;
    for (size_t i = 0; i < a->count && *equal && !code; i++)
        code = jinja_equal(run, a->items[i], b->items[i], equal);
    return code;
}

/* Values can be put into each other as deep as the steps reach; the stack does not. */
static int deeper(struct jinja_run *run)
{
    if (run->depth >= JINJA_MOST_RUNNING)
        return jinja_fail(run, "found values more than %d deep in each other, which are not compared", JINJA_MOST_RUNNING);
    run->depth++;
    return LOAM_OK;
}

int jinja_equal(struct jinja_run *run, struct jinja_value a, struct jinja_value b, bool *equal)
{
    int code = jinja_spend(run, 0);
    *equal = false;
    if (code)
        return code;
    if (is_number(a) && is_number(b)) {
        *equal = a.kind == J_NUMBER || b.kind == J_NUMBER ? number_of(a) == number_of(b) : whole_of(a) == whole_of(b);
        return LOAM_OK;
    }
    if (a.kind != b.kind)
        return LOAM_OK;
    switch (a.kind) {
    case J_UNDEFINED:
    case J_NONE:
        *equal = true;
        return LOAM_OK;
    case J_TEXT:
        *equal = a.as.text.length == b.as.text.length && !memcmp(a.as.text.data, b.as.text.data, a.as.text.length);
        return jinja_spend(run, a.as.text.length);
    case J_LIST:
    case J_DICT:
        if ((code = deeper(run)))
            return code;
        code = a.kind == J_LIST ? equal_lists(run, a.as.list, b.as.list, equal) : equal_dicts(run, a.as.dict, b.as.dict, equal);
        run->depth--;
        return code;
    case J_FUNCTION:
        *equal = a.as.text.data == b.as.text.data;
        return LOAM_OK;
    default:
        *equal = (const void *)a.as.list == (const void *)b.as.list;
        return LOAM_OK;
    }
}

static int compare_texts(struct jinja_text a, struct jinja_text b)
{
    const int sign = memcmp(a.data, b.data, a.length < b.length ? a.length : b.length);
    return sign ? sign : (a.length > b.length) - (a.length < b.length);
}

int jinja_compare(struct jinja_run *run, struct jinja_value a, struct jinja_value b, int *order)
{
    int code = jinja_spend(run, 0);
    if (code)
        return code;
    if (is_number(a) && is_number(b)) {
        if (a.kind == J_NUMBER || b.kind == J_NUMBER)
            *order = number_of(a) != number_of(a) || number_of(b) != number_of(b)
                         ? 2
                         : (number_of(a) > number_of(b)) - (number_of(a) < number_of(b));
        else
            *order = (whole_of(a) > whole_of(b)) - (whole_of(a) < whole_of(b));
        return LOAM_OK;
    }
    if (a.kind == J_TEXT && b.kind == J_TEXT) {
        *order = compare_texts(a.as.text, b.as.text);
        return jinja_spend(run, a.as.text.length);
    }
    if (a.kind != J_LIST || b.kind != J_LIST)
        return jinja_fail(run, "found %s and %s, which have no order", jinja_kind_name(a), jinja_kind_name(b));
    for (size_t i = 0; i < a.as.list->count && i < b.as.list->count; i++) {
        bool equal = false;
        if ((code = jinja_equal(run, a.as.list->items[i], b.as.list->items[i], &equal)))
            return code;
        if (equal)
            continue;
        if ((code = deeper(run)))
            return code;
        code = jinja_compare(run, a.as.list->items[i], b.as.list->items[i], order);
        run->depth--;
        return code;
    }
    *order = (a.as.list->count > b.as.list->count) - (a.as.list->count < b.as.list->count);
    return LOAM_OK;
}

static int characters(struct jinja_run *run, struct jinja_text text, struct jinja_value *list)
{
    int code = jinja_list_new(run, 0, list);
    for (size_t i = 0; i < text.length && !code;) {
        uint32_t c;
        size_t size = lm_utf8_decode(text.data + i, text.length - i, &c);
        size = size ? size : 1;
        code = jinja_push(run, list->as.list, jinja_text_value(text.data + i, size));
        i += size;
    }
    return code;
}

int jinja_iterate(struct jinja_run *run, struct jinja_value value, struct jinja_list **items)
{
    struct jinja_value list;
    int code = LOAM_OK;
    if (value.kind == J_LIST) {
        *items = value.as.list;
        return LOAM_OK;
    }
    if (value.kind == J_TEXT)
        code = characters(run, value.as.text, &list);
    else if (value.kind == J_DICT || value.kind == J_UNDEFINED)
        code = jinja_list_new(run, 0, &list);
    else
        return jinja_fail(run, "found %s, wanted something with items", jinja_kind_name(value));
    for (size_t i = 0; value.kind == J_DICT && i < value.as.dict->count && !code; i++)
        code = jinja_push(run, list.as.list, value.as.dict->keys[i]);
    if (!code)
        *items = list.as.list;
    return code;
}

int jinja_length(struct jinja_run *run, struct jinja_value value, int64_t *length)
{
    switch (value.kind) {
    case J_UNDEFINED:
        *length = 0;
        return LOAM_OK;
    case J_TEXT:
        *length = (int64_t)jinja_count(value.as.text);
        return jinja_spend(run, value.as.text.length);
    case J_LIST:
        *length = (int64_t)value.as.list->count;
        return LOAM_OK;
    case J_DICT:
        *length = (int64_t)value.as.dict->count;
        return LOAM_OK;
    case J_LOOP:
        *length = (int64_t)value.as.loop->items->count;
        return LOAM_OK;
    default:
        return jinja_fail(run, "found %s, which has no length", jinja_kind_name(value));
    }
}

int jinja_contains(struct jinja_run *run, struct jinja_value inside, struct jinja_value item, bool *found)
{
    size_t place;
    *found = false;
    if (inside.kind == J_TEXT) {
        if (item.kind != J_TEXT)
            return jinja_fail(run, "found %s, which cannot be looked for in text", jinja_kind_name(item));
        *found = jinja_find(run, inside.as.text, item.as.text, &place);
        return jinja_spend(run, inside.as.text.length);
    }
    struct jinja_list *items;
    int code = jinja_iterate(run, inside, &items);
    for (size_t i = 0; !code && !*found && i < items->count; i++)
        code = jinja_equal(run, items->items[i], item, found);
    return code;
}

static int from_number(struct jinja_run *run, const struct lm_value *value, struct jinja_value *result)
{
    loam_error ignored;
    if (!strpbrk(value->text, ".eE") && !lm_parse_int(value->text, &result->as.whole, &ignored)) {
        result->kind = J_WHOLE;
        return LOAM_OK;
    }
    result->kind = J_NUMBER;
    return lm_parse_double(value->text, &result->as.number, run->error);
}

int jinja_from_json(struct jinja_run *run, const struct lm_value *value, int depth, struct jinja_value *result)
{
    int code = LOAM_OK;
    *result = (struct jinja_value){.kind = J_NONE};
    if (depth > MOST_JSON)
        return jinja_fail(run, "found variables more than %d deep in each other", MOST_JSON);
    switch (value->kind) {
    case LM_NULL:
        return LOAM_OK;
    case LM_TRUTH:
        *result = jinja_truth_value(value->truth);
        return LOAM_OK;
    case LM_NUMBER:
        return from_number(run, value, result);
    case LM_STRING:
        *result = jinja_text_value(value->text, value->length);
        return LOAM_OK;
    case LM_ARRAY:
        code = jinja_list_new(run, value->length, result);
        break;
    case LM_OBJECT:
        code = jinja_dict_new(run, result);
        break;
    }
    for (size_t i = 0; i < value->length && !code; i++) {
        struct jinja_value item;
        code = jinja_from_json(run, &value->items[i], depth + 1, &item);
        if (!code && value->kind == LM_ARRAY)
            code = jinja_push(run, result->as.list, item);
        else if (!code)
            code = jinja_put(run, result->as.dict, jinja_text_value(value->keys[i].text, value->keys[i].length), item);
    }
    return code;
}
