/* Any bytes as tokenizer_config.json: a chat template is found in it, or it is refused in words; storing another one leaves a file that
 * is read. */
#include "data/data.h"
#include "support/fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct lm_template *chosen;
    loam_error error = {0};
    const char *folder = fuzz_folder();
    fuzz_file("tokenizer_config.json", data, size);
    int code = lm_template_find(NULL, folder, &chosen, &error);
    if (code != LOAM_OK)
        fuzz_refused(code, &error);
    else
        lm_template_free(chosen);
    if (lm_template_find("chatml", NULL, &chosen, &error) != LOAM_OK)
        fuzz_must(0, error.message);
    code = lm_template_store(chosen, folder, "<|im_end|>", 10, &error);
    if (code != LOAM_OK) {
        fuzz_refused(code, &error);
        return 0;
    }
    if (lm_template_find(NULL, folder, &chosen, &error) != LOAM_OK)
        fuzz_must(0, error.message);
    lm_template_free(chosen);
    return 0;
}
