/* libFuzzer target: any bytes as a safetensors file. What opens must be usable to its last byte, and survive being
 * written. */
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch(const struct lm_tensors *tensors, const uint8_t *file, size_t size)
{
    uint64_t total = 0;
    for (size_t i = 0; i < lm_tensors_count(tensors); i++) {
        const struct lm_tensor *tensor = lm_tensors_at(tensors, i);
        const uint8_t *bytes = tensor->data;
        if (lm_tensors_find(tensors, tensor->name) != tensor || bytes < file || tensor->bytes > size ||
            bytes + tensor->bytes > file + size)
            abort();
        total += tensor->bytes;
        for (uint64_t j = 0; j < tensor->bytes; j++)
            (void)*(const volatile uint8_t *)(bytes + j);
        for (int j = 0; j < tensor->rank; j++)
            if (tensor->shape[j] < 0)
                abort();
    }
    if (total > size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    loam_error error;
    struct lm_tensors *tensors;
    int code = lm_tensors_read(data, size, "input", &tensors, &error);
    if (code != LOAM_OK) {
        if (code != error.code || !strstr(error.message, "input"))
            abort();
        return 0;
    }
    touch(tensors, data, size);
    lm_tensors_metadata(tensors, "format");
    lm_tensors_close(tensors);
    return 0;
}
