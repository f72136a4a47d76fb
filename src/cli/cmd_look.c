/* loam look weights, logits, step */
#include "common.h"
#include "look/look.h"
#include "tensor/tensor.h"

#include <inttypes.h>
#include <string.h>

static int print_tensor_list(const struct lm_tensors *tensors)
{
    struct lm_bytes out = {0};
    struct lm_json_writer writer = lm_json_writer(&out, 2);
    lm_json_begin_array(&writer);
    for (size_t i = 0; i < lm_tensors_count(tensors); i++) {
        const struct lm_tensor *tensor = lm_tensors_at(tensors, i);
        lm_json_begin_object(&writer);
        lm_json_key(&writer, "name");
        lm_json_text(&writer, tensor->name);
        lm_json_key(&writer, "dtype");
        lm_json_text(&writer, lm_dtype_name(tensor->dtype));
        lm_json_key(&writer, "shape");
        lm_json_begin_array(&writer);
        for (int k = 0; k < tensor->rank; k++)
            lm_json_int(&writer, tensor->shape[k]);
        lm_json_end_array(&writer);
        lm_json_key(&writer, "bytes");
        lm_json_int(&writer, (int64_t)tensor->bytes);
        lm_json_end_object(&writer);
    }
    lm_json_end_array(&writer);
    return print_json(&writer);
}

static int print_tensor(const struct lm_tensor *tensor)
{
    struct lm_bytes shape = {0};
    loam_error error, clean;
    int code = LOAM_OK;
    for (int k = 0; k < tensor->rank && code == LOAM_OK; k++)
        code = lm_bytes_format(&shape, &error, "%s%" PRId64, k ? ", " : "", tensor->shape[k]);
    lm_fail(&clean, LOAM_OK, "%s", tensor->name);    /* names come from a file: nothing that drives the terminal */
    if (code == LOAM_OK)
        printf("%-5s [%s]%*s %12" PRIu64 "  %s\n", lm_dtype_name(tensor->dtype), shape.data ? shape.data : "",
               shape.length < 16 ? (int)(16 - shape.length) : 0, "", tensor->bytes, clean.message);
    lm_bytes_free(&shape);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}

static int print_tensors(const struct lm_tensors *tensors)
{
    uint64_t count = 0, bytes = 0;
    int status = EXIT_DONE;
    for (size_t i = 0; i < lm_tensors_count(tensors) && status == EXIT_DONE && !ferror(stdout); i++) {
        const struct lm_tensor *tensor = lm_tensors_at(tensors, i);
        status = print_tensor(tensor);
        count += tensor->count;
        bytes += tensor->bytes;
    }
    char size[32];
    lm_format_size((int64_t)bytes, size);
    note("%zu tensors, %" PRIu64 " numbers, %s", lm_tensors_count(tensors), count, size);
    return status;
}

int command_look_weights(const struct arguments *arguments)
{
    struct lm_tensors *tensors;
    loam_error error;
    if (lm_tensors_open(arguments->operands[0], &tensors, &error) != LOAM_OK)
        return complain_error(&error);
    int status = arguments->values[OPT_JSON].given ? print_tensor_list(tensors) : print_tensors(tensors);
    lm_tensors_close(tensors);
    return status;
}

/* Opens the model with its weights as they stand, or in fp32 where gradients are wanted; `look` writes the file. */
static int look_at(const struct arguments *arguments, bool step)
{
    const char *text = needed(arguments, OPT_IDS), *path = text ? needed(arguments, OPT_OUT) : NULL;
    if (!path)
        return EXIT_USAGE;
    struct lm_ids ids = {0};
    struct lm_device *device = NULL;
    struct lm_model *model = NULL;
    loam_error error;
    const struct lm_model_options options = {.load = step, .dtype = LM_F32};
    int code = read_ids(text, strlen(text), "--ids", &ids, &error);
    if (code == LOAM_OK)
        code = lm_device_open(&(struct lm_device_options){.threads = thread_count(arguments)}, &device, &error);
    if (code == LOAM_OK)
        code = lm_model_open(arguments->operands[0], device, &options, &model, &error);
    double loss = 0;
    if (code == LOAM_OK)
        code = step ? lm_look_step(model, ids.data, (int64_t)ids.length, path, &loss, &error)
                    : lm_look_logits(model, ids.data, (int64_t)ids.length, path, &error);
    if (code == LOAM_OK && step)
        note("%s: the loss is %.6f", path, loss);
    lm_model_close(model);
    lm_device_close(device);
    lm_ids_free(&ids);
    return code == LOAM_OK ? EXIT_DONE : complain_error(&error);
}

int command_look_logits(const struct arguments *arguments)
{
    return look_at(arguments, false);
}

int command_look_step(const struct arguments *arguments)
{
    return look_at(arguments, true);
}
