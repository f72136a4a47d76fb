/* Any bytes as a recipe: refused in words, or settings that are written and read back as the same. */
#include "support/fuzz_file.h"
#include "train/train.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lm_run_settings settings, again;
    struct lm_bytes once = {0}, twice = {0};
    loam_error error = {0};
    lm_run_settings_init(&settings, LM_RUN_FINETUNE);
    const int code = lm_run_settings_read(&settings, fuzz_file("recipe.yaml", data, size), &error);
    if (code != LOAM_OK) {
        fuzz_refused(code, &error);
    } else {
        fuzz_must(lm_run_settings_write(&settings, &once, &error) == LOAM_OK, "settings that cannot be written");
        lm_run_settings_init(&again, LM_RUN_FINETUNE);
        if (lm_run_settings_read(&again, fuzz_file("run.yaml", once.data, once.length), &error) != LOAM_OK)
            fuzz_must(0, error.message);
        fuzz_must(lm_run_settings_write(&again, &twice, &error) == LOAM_OK, "settings that cannot be written again");
        fuzz_must(once.length == twice.length && memcmp(once.data, twice.data, once.length) == 0, "not the same settings");
        lm_run_settings_free(&again);
    }
    lm_run_settings_check(&settings, &error);
    lm_run_settings_check_plan(&settings, &error);
    lm_bytes_free(&once);
    lm_bytes_free(&twice);
    lm_run_settings_free(&settings);
    return 0;
}
