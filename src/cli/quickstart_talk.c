/* Greedy answers, for questions by the hundred. */
#include "quickstart.h"

struct quickstart_talker {
    struct lm_device *device;
    struct lm_model *model;
    struct lm_tokenizer *tokenizer;
    const struct lm_template *chat_template;
    struct lm_cache *cache;
    struct lm_rendered rendered;
    int32_t end;
};

int quickstart_talker_open(const char *directory, struct quickstart_talker **opened, loam_error *error)
{
    struct quickstart_talker *talker = lm_alloc(1, sizeof *talker, error);
    if (!talker)
        return LOAM_ENOMEM;
    /* For a model this small, two threads spend longer waiting for each other than one with the work. */
    int code = lm_device_open(&(struct lm_device_options){.threads = 1}, &talker->device, error);
    if (!code)
        code = lm_model_open(directory, talker->device, &(struct lm_model_options){0}, &talker->model, error);
    if (!code)
        code = lm_tokenizer_load(directory, &talker->tokenizer, error);
    if (!code)
        code = lm_template_find(NULL, directory, &talker->chat_template, error);
    if (!code)
        code = lm_template_fit(talker->chat_template, talker->tokenizer, false, NULL, error);
    if (!code)
        code = lm_cache_create(talker->model, lm_model_config(talker->model)->context, LM_F32, &talker->cache, error);
    if (code) {
        quickstart_talker_close(talker);
        return code;
    }
    talker->end = lm_template_end_of_turn(talker->chat_template, talker->tokenizer);
    *opened = talker;
    return LOAM_OK;
}

void quickstart_talker_close(struct quickstart_talker *talker)
{
    if (!talker)
        return;
    lm_cache_free(talker->cache);
    lm_model_close(talker->model);
    lm_device_close(talker->device);
    lm_tokenizer_free(talker->tokenizer);
    lm_rendered_free(&talker->rendered);
    lm_free(talker);
}

int64_t quickstart_talker_parameters(const struct quickstart_talker *talker)
{
    size_t count;
    const struct lm_parameter *parameters = lm_model_parameters(talker->model, &count);
    int64_t all = 0;
    for (size_t i = 0; i < count; i++)
        all += parameters[i].count;
    return all;
}

static int32_t greatest(const float *logits, int64_t count)
{
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return (int32_t)best;
}

int quickstart_talk(struct quickstart_talker *talker, const struct lm_conversation *conversation, int64_t most,
                    struct lm_bytes *answer, loam_error *error)
{
    const struct lm_ids *prompt = &talker->rendered.ids;
    float *logits = NULL;
    int code = lm_template_render(talker->chat_template, talker->tokenizer, conversation, true, &talker->rendered, error);
    lm_cache_cut(talker->cache, 0);
    if (!code)
        code = lm_model_extend(talker->model, talker->cache, prompt->data, (int64_t)prompt->length, &logits, error);
    int64_t room = lm_cache_capacity(talker->cache) - (int64_t)prompt->length;
    for (int64_t i = 0; !code && i < most && i < room; i++) {
        int32_t id = greatest(logits, lm_model_config(talker->model)->vocabulary);
        if (id == talker->end)
            break;
        code = lm_tokenizer_decode(talker->tokenizer, &id, 1, false, answer, error);
        if (!code)
            code = lm_model_extend(talker->model, talker->cache, &id, 1, &logits, error);
    }
    return code;
}
