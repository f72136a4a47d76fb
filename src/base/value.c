/* Values of a document as C types. */
#include "base.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const struct lm_value *lm_value_find(const struct lm_value *object, const char *key)
{
    if (!object || object->kind != LM_OBJECT)
        return NULL;
    const size_t length = strlen(key);
    for (size_t i = 0; i < object->length; i++)
        if (object->keys[i].length == length && memcmp(object->keys[i].text, key, length) == 0)
            return &object->items[i];
    return NULL;
}

bool lm_value_is(const struct lm_value *value, const char *text)
{
    return value && value->kind == LM_STRING && strlen(text) == value->length &&
           memcmp(value->text, text, value->length) == 0;
}

/* What stands there, short enough for a message. */
static const char *describe(const struct lm_value *value, char *out, size_t room)
{
    const int length = (int)(value->length < 80 ? value->length : 80);
    switch (value->kind) {
    case LM_NULL:
        return "null";
    case LM_TRUTH:
        return value->truth ? "true" : "false";
    case LM_NUMBER:
        snprintf(out, room, "%.*s", length, value->text);
        return out;
    case LM_STRING:
        snprintf(out, room, "\"%.*s\"%s", length, value->text, value->length > 80 ? "..." : "");
        return out;
    case LM_ARRAY:
        return "an array";
    case LM_OBJECT:
        return "an object";
    }
    return "nothing";
}

static int fail_kind(const struct lm_document *document, const struct lm_value *value, const char *wanted,
                     loam_error *error)
{
    char found[128];
    if (!value)
        return lm_value_fail(document, NULL, error, "a field is missing, wanted %s", wanted);
    return lm_value_fail(document, value, error, "found %s, wanted %s", describe(value, found, sizeof found), wanted);
}

/* A whole number, also written as 5.0 or 1e3. */
static bool whole_number(const char *text, int64_t *result)
{
    if (lm_parse_int(text, result, NULL) == LOAM_OK)
        return true;
    double number;
    if (strpbrk(text, ".eE") == NULL || lm_parse_double(text, &number, NULL) != LOAM_OK)
        return false;
    if (number != floor(number) || fabs(number) > 0x1p53)
        return false;
    *result = (int64_t)number;
    return true;
}

int lm_value_int(const struct lm_document *document, const struct lm_value *value, int64_t least, int64_t most,
                 int64_t *result, loam_error *error)
{
    int64_t number;
    if (!value || value->kind != LM_NUMBER || !whole_number(value->text, &number))
        return fail_kind(document, value, "a whole number", error);
    if (number < least || number > most)
        return lm_value_fail(document, value, error, "found %s, wanted %lld to %lld", value->text, (long long)least,
                             (long long)most);
    *result = number;
    return LOAM_OK;
}

int lm_value_double(const struct lm_document *document, const struct lm_value *value, double *result, loam_error *error)
{
    double number;
    if (!value || value->kind != LM_NUMBER || lm_parse_double(value->text, &number, NULL) != LOAM_OK)
        return fail_kind(document, value, "a finite number", error);
    *result = number;
    return LOAM_OK;
}

int lm_value_bool(const struct lm_document *document, const struct lm_value *value, bool *result, loam_error *error)
{
    if (!value || value->kind != LM_TRUTH)
        return fail_kind(document, value, "true or false", error);
    *result = value->truth;
    return LOAM_OK;
}

int lm_value_string(const struct lm_document *document, const struct lm_value *value, const char **result,
                    loam_error *error)
{
    if (!value || value->kind != LM_STRING)
        return fail_kind(document, value, "a string", error);
    *result = value->text;
    return LOAM_OK;
}
