/* The part of loam.h that runs models. */
#include "infer.h"

#include <string.h>

struct loam_model {
    struct lm_runner *runner;
    struct lm_conversation conversation;
};

int loam_model_open(const char *directory, loam_model **model, loam_error *error)
{
    loam_model *opened = lm_alloc(1, sizeof *opened, error);
    if (!opened)
        return LOAM_ENOMEM;
    const int code = lm_runner_open(directory, &(struct lm_runner_options){0}, &opened->runner, error);
    if (code != LOAM_OK) {
        lm_free(opened);
        return code;
    }
    *model = opened;
    return LOAM_OK;
}

void loam_model_close(loam_model *model)
{
    if (!model)
        return;
    lm_conversation_free(&model->conversation);
    lm_runner_close(model->runner);
    lm_free(model);
}

static struct lm_generation_options options_for(const loam_sampling *how,
                                                void (*show)(void *user, const char *text, size_t length), void *user)
{
    struct lm_generation_options options = lm_generation_default();
    if (how)
        options.sampling = *how;
    options.show = show;
    options.user = user;
    return options;
}

/* Takes back the messages from `count` on. */
static void shorten(struct lm_conversation *conversation, size_t count)
{
    while (conversation->count > count)
        lm_free(conversation->messages[--conversation->count].content);
}

int loam_chat(loam_model *model, const char *text, const loam_sampling *how,
              void (*show)(void *user, const char *text, size_t length), void *user, loam_error *error)
{
    const struct lm_generation_options options = options_for(how, show, user);
    const size_t before = model->conversation.count;
    struct lm_generation reply = {0};
    int code = lm_conversation_add(&model->conversation, LM_USER, text, strlen(text), error);
    if (code == LOAM_OK)
        code = lm_runner_reply(model->runner, &model->conversation, &options, &reply, error);
    if (code == LOAM_OK)
        code = lm_conversation_add(&model->conversation, LM_ASSISTANT, reply.text.data ? reply.text.data : "",
                                   reply.text.length, error);
    if (code != LOAM_OK)
        shorten(&model->conversation, before);
    lm_generation_free(&reply);
    return code;
}

int loam_chat_clear(loam_model *model, const char *system, loam_error *error)
{
    struct lm_conversation fresh = {0};
    const int code = system ? lm_conversation_add(&fresh, LM_SYSTEM, system, strlen(system), error) : LOAM_OK;
    if (code != LOAM_OK)
        return code;
    lm_conversation_free(&model->conversation);
    model->conversation = fresh;
    return LOAM_OK;
}

int loam_generate(loam_model *model, const char *text, int64_t max_tokens, const loam_sampling *how,
                  void (*show)(void *user, const char *text, size_t length), void *user, loam_error *error)
{
    struct lm_generation_options options = options_for(how, show, user);
    options.max_tokens = max_tokens;
    struct lm_generation result = {0};
    struct lm_ids ids = {0};
    int code = lm_tokenizer_encode(lm_runner_tokenizer(model->runner), text, strlen(text), LM_ENCODE_ADD_SPECIAL, &ids, NULL,
                                   error);
    if (code == LOAM_OK)
        code = lm_runner_generate(model->runner, ids.data, ids.length, &options, &result, error);
    lm_ids_free(&ids);
    lm_generation_free(&result);
    return code;
}
