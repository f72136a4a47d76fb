/* Fields of a request's JSON, with complaints that name them. */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool refuse(struct refusal *refusal, int status, const char *code, const char *param, const char *format, ...)
{
    if (refusal->status)
        return false;
    refusal->status = status;
    refusal->code = code;
    snprintf(refusal->param, sizeof refusal->param, "%s", param ? param : "");
    va_list arguments;
    va_start(arguments, format);
    lm_format_list(refusal->message, sizeof refusal->message, format, arguments);
    va_end(arguments);
    return false;
}

bool refuse_error(struct refusal *refusal, const loam_error *error)
{
    switch (error->code) {
    case LOAM_EUSAGE:
    case LOAM_EFORMAT:
    case LOAM_EUNSUPPORTED:
    case LOAM_EMISMATCH:
    case LOAM_ENOTFOUND:
        return refuse(refusal, 400, NULL, NULL, "%s", error->message);
    case LOAM_EBUSY:
        refuse(refusal, 429, "rate_limit_exceeded", NULL, "%s", error->message);
        refusal->retry_after = 1;
        return false;
    case LOAM_ENOMEM:
        refuse(refusal, 503, "overloaded", NULL, "%s", error->message);
        refusal->retry_after = 5;
        return false;
    default:
        return refuse(refusal, 500, NULL, NULL, "%s", error->message);
    }
}

const struct lm_value *field(const struct fields *fields, const char *name)
{
    const struct lm_value *value = fields->refusal->status ? NULL : lm_value_find(fields->object, name);
    return value && value->kind != LM_NULL ? value : NULL;
}

static bool refuse_with(const struct fields *fields, const char *param, const loam_error *error)
{
    return refuse(fields->refusal, 400, NULL, param, "%s", error->message);
}

bool field_refuse(const struct fields *fields, const struct lm_value *value, const char *param, const char *wanted)
{
    static const char *const kinds[] = {"null", "true or false", "a number", "a text", "a list", "an object"};
    loam_error error;
    lm_value_fail(fields->document, value, &error, "found %s, wanted %s", kinds[value->kind], wanted);
    return refuse_with(fields, param, &error);
}

int64_t field_int(const struct fields *fields, const char *name, int64_t least, int64_t most, int64_t otherwise)
{
    const struct lm_value *value = field(fields, name);
    loam_error error;
    int64_t result = otherwise;
    if (value && lm_value_int(fields->document, value, least, most, &result, &error) != LOAM_OK)
        refuse_with(fields, name, &error);
    return result;
}

double field_number(const struct fields *fields, const char *name, double least, double most, double otherwise)
{
    const struct lm_value *value = field(fields, name);
    loam_error error;
    double result = otherwise;
    if (!value)
        return otherwise;
    int code = lm_value_double(fields->document, value, &result, &error);
    if (code == LOAM_OK && (result < least || result > most))
        code = lm_value_fail(fields->document, value, &error, "found %s, wanted %g to %g", value->text, least, most);
    if (code != LOAM_OK)
        refuse_with(fields, name, &error);
    return result;
}

bool field_bool(const struct fields *fields, const char *name, bool otherwise)
{
    const struct lm_value *value = field(fields, name);
    loam_error error;
    bool result = otherwise;
    if (value && lm_value_bool(fields->document, value, &result, &error) != LOAM_OK)
        refuse_with(fields, name, &error);
    return result;
}

const struct lm_value *field_text(const struct fields *fields, const char *name)
{
    const struct lm_value *value = field(fields, name);
    if (value && value->kind != LM_STRING) {
        field_refuse(fields, value, name, "a text");
        return NULL;
    }
    return value;
}

bool field_unsupported(const struct fields *fields, const char *name, const char *remedy)
{
    const struct lm_value *value = field(fields, name);
    if (!value || (value->kind == LM_ARRAY && !value->length))
        return !fields->refusal->status;
    return refuse(fields->refusal, 400, "unsupported_parameter", name, "'%s' is not supported by this server; %s", name, remedy);
}
