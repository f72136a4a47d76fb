/* Any bytes as the generation_config.json of a small model: refused in words, or the model answers. */
#include "infer/infer.h"
#include "model/model.h"
#include "support/fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_model(void)
{
    static const char config_text[] = "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": 16, \"hidden_size\": 8, "
                                      "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"intermediate_size\": 8, "
                                      "\"max_position_embeddings\": 16}";
    struct lm_config config;
    struct lm_device *device = NULL;
    struct lm_model *model = NULL;
    loam_error error;
    if (lm_config_read(fuzz_file("config.json", config_text, sizeof config_text - 1), &config, &error) != LOAM_OK ||
        lm_device_open(&(struct lm_device_options){.threads = 1}, &device, &error) != LOAM_OK ||
        lm_model_create(&config, 1, device, &(struct lm_model_options){.load = true, .dtype = LM_F32}, &model, &error) != LOAM_OK ||
        lm_model_save(model, fuzz_folder(), LM_F32, 0, &error) != LOAM_OK)
        fuzz_must(0, error.message);
    lm_model_close(model);
    lm_device_close(device);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made;
    struct lm_runner *runner;
    loam_error error = {0};
    if (!made)
        make_model();
    made = true;
    fuzz_file("generation_config.json", data, size);
    const int code = lm_runner_open(fuzz_folder(), &(struct lm_runner_options){.threads = 1, .no_tokenizer = true}, &runner, &error);
    if (code != LOAM_OK) {
        fuzz_refused(code, &error);
        return 0;
    }
    struct lm_generation_options options = lm_generation_default();
    struct lm_generation made_text = {0};
    const int32_t ids[] = {1, 2, 3};
    options.max_tokens = 4;
    if (lm_runner_generate(runner, ids, 3, &options, &made_text, &error) != LOAM_OK)
        fuzz_must(0, error.message);
    lm_generation_free(&made_text);
    lm_runner_close(runner);
    return 0;
}
