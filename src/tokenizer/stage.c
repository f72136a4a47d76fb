/* Lists of stages. */
#include "charsmap.h"
#include "internal.h"

struct lm_stage *lm_stages_push(struct lm_stages *stages, loam_error *error)
{
    struct lm_stage *items = lm_resize(stages->items, stages->count + 1, sizeof *items, error);
    if (!items)
        return NULL;
    stages->items = items;
    items[stages->count] = (struct lm_stage){0};
    return &items[stages->count++];
}

void lm_stages_clear(struct lm_stages *stages)
{
    for (size_t i = 0; i < stages->count; i++) {
        lm_free(stages->items[i].text);
        lm_free(stages->items[i].content);
        lm_regex_free(stages->items[i].regex);
        lm_charsmap_free(stages->items[i].charsmap);
        lm_literals_free(stages->items[i].literals);
    }
    stages->count = 0;
}

void lm_stages_free(struct lm_stages *stages)
{
    lm_stages_clear(stages);
    lm_free(stages->items);
    *stages = (struct lm_stages){0};
}

int lm_type_fail(const struct lm_document *document, const struct lm_value *object, const char *known,
                 loam_error *error)
{
    const struct lm_value *type = lm_value_find(object, "type");
    if (type && type->kind == LM_STRING)
        return lm_value_fail(document, type, error, "found '%.*s', wanted one of %s",
                             (int)(type->length < 80 ? type->length : 80), type->text, known);
    return lm_value_fail(document, object, error, "found no 'type', wanted one of %s", known);
}

int lm_regex_of(const struct lm_document *document, const struct lm_value *value, struct lm_regex **regex,
                loam_error *error)
{
    loam_error why = {0};
    int code = lm_regex_compile(value->text, value->length, regex, &why);
    if (code == LOAM_OK)
        return code;
    return code == LOAM_EFORMAT ? lm_value_fail(document, value, error, "%s", why.message)
                                : lm_fail(error, code, "%s", why.message);
}
