/* Any bytes as config.json: refused in words, or a configuration that fits together, is written and read back as the same. */
#include "model/model.h"
#include "support/fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct lm_bytes written(const struct lm_config *config)
{
    loam_error error;
    struct lm_bytes text = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/written.json", fuzz_folder());
    if (lm_config_write(config, LM_F32, path, &error) != LOAM_OK || lm_file_read(path, 0, &text, &error) != LOAM_OK)
        fuzz_must(0, error.message);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lm_config config, again;
    loam_error error = {0};
    const int code = lm_config_read(fuzz_file("config.json", data, size), &config, &error);
    if (code != LOAM_OK) {
        fuzz_refused(code, &error);
        return 0;
    }
    if (lm_config_check(&config, "input", &error) != LOAM_OK)
        fuzz_must(0, error.message);
    lm_model_weight_bytes(&config, LM_F32);
    fuzz_must(lm_config_flops(&config, 1, 16) > 0, "a model of no work");
    struct lm_bytes once = written(&config);
    if (lm_config_read(fuzz_file("config.json", once.data, once.length), &again, &error) != LOAM_OK)
        fuzz_must(0, error.message);
    struct lm_bytes twice = written(&again);
    fuzz_must(once.length == twice.length && memcmp(once.data, twice.data, once.length) == 0, "not the same configuration");
    lm_bytes_free(&once);
    lm_bytes_free(&twice);
    return 0;
}
