/* Lists of stages. */
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

void lm_stages_free(struct lm_stages *stages)
{
    for (size_t i = 0; i < stages->count; i++) {
        lm_free(stages->items[i].text);
        lm_free(stages->items[i].content);
        lm_regex_free(stages->items[i].regex);
    }
    lm_free(stages->items);
    *stages = (struct lm_stages){0};
}
