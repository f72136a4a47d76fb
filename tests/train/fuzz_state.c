/* Any bytes as a checkpoint's state.json, as they are and with a seal that holds: refused in words, or read. */
#include "support/fuzz_file.h"
#include "train/run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void verify(const char *data, size_t size)
{
    struct lm_run_state state;
    loam_error error = {0};
    fuzz_file("state.json", data, size);
    const int code = lm_checkpoint_verify(fuzz_folder(), &state, &error);
    if (code != LOAM_OK)
        fuzz_refused(code, &error);
    else
        fuzz_must(state.step >= 0 && state.place.epoch >= 0 && state.place.batch >= 0, "a place before the beginning");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lm_bytes sealed = {0};
    verify((const char *)data, size);
    fuzz_must(lm_bytes_append(&sealed, data, size, NULL) == LOAM_OK && lm_state_seal(&sealed, NULL) == LOAM_OK, "no memory");
    verify(sealed.data, sealed.length);
    lm_bytes_free(&sealed);
    return 0;
}
