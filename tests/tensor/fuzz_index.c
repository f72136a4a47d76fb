/* Any bytes as the index of a model in shards, one of which is there: refused in words, or tensors that the shard has. */
#include "support/fuzz_file.h"
#include "tensor/tensor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Two tensors of two floats. */
static void make_shard(void)
{
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                                 "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}      ";
    char file[8 + sizeof header - 1 + 16] = {0};
    uint64_t length = sizeof header - 1;
    memcpy(file, &length, sizeof length);
    memcpy(file + 8, header, sizeof header - 1);
    fuzz_file("model-00001-of-00002.safetensors", file, sizeof file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made;
    struct lm_tensors *tensors;
    loam_error error = {0};
    if (!made)
        make_shard();
    made = true;
    fuzz_file("model.safetensors.index.json", data, size);
    const int code = lm_tensors_open(fuzz_folder(), &tensors, &error);
    if (code != LOAM_OK) {
        fuzz_refused(code, &error);
        return 0;
    }
    for (size_t i = 0; i < lm_tensors_count(tensors); i++) {
        const struct lm_tensor *tensor = lm_tensors_at(tensors, i);
        fuzz_must(tensor->bytes == 8 && (strcmp(tensor->name, "a") == 0 || strcmp(tensor->name, "b") == 0), "a tensor of no shard");
        (void)*(const volatile char *)tensor->data;
    }
    lm_tensors_close(tensors);
    return 0;
}
