/* libFuzzer target: any bytes as a GGUF file. What opens must be usable to its last byte and item. */
#include "tensor/gguf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch_value(const struct lm_gguf_value *value, const uint8_t *file, size_t size)
{
    struct lm_gguf_value item;
    if (value->type != LM_GGUF_TEXT && (value->data < file || value->bytes > size || value->data + value->bytes > file + size))
        abort();
    for (size_t i = 0; value->type == LM_GGUF_TEXT && i < value->length; i++)
        (void)*(const volatile char *)(value->text + i);
    for (struct lm_gguf_items items = lm_gguf_items(value); lm_gguf_next(&items, &item);)
        touch_value(&item, file, size);
}

static void touch_tensor(const struct lm_tensor *tensor, const uint8_t *file, size_t size)
{
    const uint8_t *bytes = tensor->data;
    float values[256];
    if (bytes < file || tensor->bytes > size || bytes + tensor->bytes > file + size)
        abort();
    const size_t elements = (size_t)lm_dtype_block_elements(tensor->dtype), width = (size_t)lm_dtype_block_bytes(tensor->dtype);
    for (uint64_t i = 0; i + width <= tensor->bytes; i += width)
        lm_convert(LM_F32, values, tensor->dtype, bytes + i, elements);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    loam_error error;
    struct lm_gguf *file;
    const char *text;
    int code = lm_gguf_read(data, size, "input", &file, &error);
    if (code != LOAM_OK) {
        if (code != error.code || !strstr(error.message, "input"))
            abort();
        return 0;
    }
    for (size_t i = 0; i < lm_gguf_pairs(file); i++) {
        const struct lm_gguf_value *value = lm_gguf_value(file, i);
        if (lm_gguf_find(file, lm_gguf_key(file, i)) != value)
            abort();
        touch_value(value, data, size);
        lm_gguf_text(file, lm_gguf_key(file, i), &text, &error);
    }
    for (size_t i = 0; i < lm_gguf_tensors(file); i++)
        touch_tensor(lm_gguf_tensor_at(file, i), data, size);
    lm_gguf_close(file);
    return 0;
}
