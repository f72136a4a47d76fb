#include "support/chain_model.h"

#include "data/data.h"

static loam_error error;

int32_t chain_id(const struct chain *chain, char byte)
{
    if (byte == CHAIN_NO_TOKEN)
        return 259;
    struct lm_ids ids = {0};
    assert_ok(lm_tokenizer_encode(chain->tokenizer, &byte, 1, 0, &ids, NULL, &error), &error);
    assert_int_equal(ids.length, 1);
    const int32_t id = ids.data[0];
    lm_ids_free(&ids);
    return id;
}

static float *part_of(struct lm_model *model, enum lm_part part, int64_t *count)
{
    size_t parameters;
    enum lm_dtype dtype;
    const struct lm_parameter *list = lm_model_parameters(model, &parameters);
    float *weights = lm_model_weights(model, &dtype);
    for (size_t i = 0; i < parameters; i++)
        if (list[i].part == part) {
            *count = list[i].count;
            return weights + list[i].offset;
        }
    *count = 0;
    fail_msg("the model has no part %d", (int)part);
    return NULL;
}

static void set_weights(struct chain *chain, const char *text, bool ring)
{
    const struct lm_config *config = lm_model_config(chain->model);
    static const enum lm_part silent[] = {LM_PART_OUT, LM_PART_DOWN, LM_PART_EMBEDDING, LM_PART_HEAD};
    int64_t count;
    for (int i = 0; i < 4; i++) {
        float *part = part_of(chain->model, silent[i], &count);
        memset(part, 0, (size_t)count * sizeof *part);
    }
    float *embedding = part_of(chain->model, LM_PART_EMBEDDING, &count);
    for (int64_t id = 0; id < config->vocabulary; id++)
        embedding[id * config->width + id] = 1;
    float *head = part_of(chain->model, LM_PART_HEAD, &count);
    for (; *text; text++) {
        const int32_t next = text[1] ? chain_id(chain, text[1]) : ring ? -1 : chain->end;
        if (next >= 0)
            head[next * config->width + chain_id(chain, *text)] = 1;
    }
}

void chain_open(const char *text, bool ring, int64_t context, struct chain *chain)
{
    static const char *const specials[] = {"<|im_start|>", "<|im_end|>"};
    const struct lm_tokenizer_training training = {
        .text = "x", .text_length = 1, .vocabulary_size = 258, .specials = specials, .special_count = 2, .threads = 1};
    *chain = (struct chain){0};
    assert_ok(lm_tokenizer_train(&training, &chain->tokenizer, &error), &error);
    chain->end = lm_tokenizer_find(chain->tokenizer, specials[1], strlen(specials[1]));
    assert_true(chain->end >= 0);
    assert_int_equal(lm_tokenizer_size(chain->tokenizer), 258);
    const struct lm_config config = {.family = LM_LLAMA, .vocabulary = 260, .width = 264, .layers = 1, .heads = 4,
                                     .kv_heads = 2, .head_size = 66, .feed_forward = 16, .context = context,
                                     .norm_eps = 1e-5, .rope_theta = 10000, .initializer_range = 0.02,
                                     .bos = -1, .eos = -1, .pad = -1};
    const struct lm_model_options options = {.load = true, .dtype = LM_F32};
    assert_ok(lm_device_open(&(struct lm_device_options){.threads = 1}, &chain->device, &error), &error);
    assert_ok(lm_model_create(&config, 1, chain->device, &options, &chain->model, &error), &error);
    set_weights(chain, text, ring);
    if (ring) {
        int64_t count;
        float *head = part_of(chain->model, LM_PART_HEAD, &count);
        head[chain_id(chain, text[0]) * config.width + chain_id(chain, text[strlen(text) - 1])] = 1;
    }
}

void chain_close(struct chain *chain)
{
    lm_tokenizer_free(chain->tokenizer);
    lm_model_close(chain->model);
    lm_device_close(chain->device);
}

void chain_save(const struct chain *chain, const char *directory)
{
    const struct lm_template *chatml;
    char text[96], path[1024];
    assert_ok(lm_model_save(chain->model, directory, LM_F32, 0, &error), &error);
    assert_ok(lm_tokenizer_save(chain->tokenizer, directory, &error), &error);
    assert_ok(lm_template_find("chatml", NULL, &chatml, &error), &error);
    assert_ok(lm_template_store(chatml, directory, NULL, 0, &error), &error);
    snprintf(path, sizeof path, "%s/generation_config.json", directory);
    snprintf(text, sizeof text, "{\"eos_token_id\": [%d, %d]}", 0, chain->end);
    assert_ok(lm_file_replace(path, text, strlen(text), &error), &error);
}
