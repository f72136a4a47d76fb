#include "compute/cpu/cpu.h"
#include "compute/device.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_THREADS = 1024 };

static int fill_table(struct lm_device *device, const struct lm_device_options *options, loam_error *error)
{
    if (options->reference)
        return lm_reference_open(device, error);
    return lm_cpu_open(device, error);
}

int lm_device_open(const struct lm_device_options *options, struct lm_device **device, loam_error *error)
{
    if (options->threads < 0 || options->threads > MAX_THREADS)
        return lm_fail(error, LOAM_EUSAGE, "device: threads: found %d, wanted 1 to %d, or 0 for as many as this "
                       "process may use", options->threads, MAX_THREADS);
    if (options->isa < LM_ISA_AUTO || options->isa >= LM_ISA_COUNT)
        return lm_fail(error, LOAM_EUSAGE, "device: instruction set: found %d, wanted one of enum lm_isa",
                       (int)options->isa);
    struct lm_device *opened = lm_alloc(1, sizeof *opened, error);
    if (!opened)
        return LOAM_ENOMEM;
    opened->threads = options->threads ? options->threads : lm_processors();
    opened->isa = options->isa;
    int failed = fill_table(opened, options, error);
    if (failed) {
        lm_device_close(opened);
        return failed;
    }
    size_t length = strlen(opened->name);
    snprintf(opened->name + length, sizeof opened->name - length, " %d thread%s", opened->threads,
             opened->threads == 1 ? "" : "s");
    *device = opened;
    return LOAM_OK;
}

void lm_device_close(struct lm_device *device)
{
    if (!device)
        return;
    if (device->close_state)
        device->close_state(device);
    lm_free(device->own);
    lm_free(device);
}

const struct lm_ops *lm_device_ops(const struct lm_device *device)
{
    return device->ops;
}

int lm_device_threads(const struct lm_device *device)
{
    return device->threads;
}

const char *lm_device_name(const struct lm_device *device)
{
    return device->name;
}

void lm_device_fail(struct lm_device *device, int code, const char *format, ...)
{
    if (device->error.code != LOAM_OK)
        return;
    char text[sizeof device->error.message];
    va_list arguments;
    va_start(arguments, format);
    lm_format_list(text, sizeof text, format, arguments);
    va_end(arguments);
    lm_fail(&device->error, code, "%s: %s", device->name, text);
}

int lm_device_check(struct lm_device *device, loam_error *error)
{
    int code = device->error.code;
    if (code == LOAM_OK)
        return LOAM_OK;
    if (error)
        *error = device->error;
    device->error = (loam_error){.code = LOAM_OK, .position = -1};
    return code;
}

/* The bytes of a block from its first aligned one on; 0 where it is too small to have one. */
static size_t usable(const char *block, size_t bytes, size_t *skip)
{
    *skip = (LM_ALIGN - (uintptr_t)block % LM_ALIGN) % LM_ALIGN;
    return block && bytes > *skip ? bytes - *skip : 0;
}

void lm_device_give_scratch(struct lm_device *device, void *block, size_t bytes)
{
    device->given = block;
    device->given_bytes = block ? bytes : 0;
}

void *lm_device_scratch(struct lm_device *device, size_t bytes)
{
    size_t skip;
    bytes = bytes ? bytes : 1;    /* an empty answer is not a failure */
    if (usable(device->given, device->given_bytes, &skip) >= bytes)
        return device->given + skip;
    if (usable(device->own, device->own_bytes, &skip) >= bytes)
        return device->own + skip;
    lm_free(device->own);
    device->own = NULL;
    device->own_bytes = 0;
    size_t wanted;
    loam_error error = {.code = LOAM_OK, .position = -1};
    char *grown = lm_add(bytes, LM_ALIGN, &wanted) ? lm_alloc(wanted, 1, &error) : NULL;
    if (!grown) {
        lm_device_fail(device, LOAM_ENOMEM, "no memory for %zu bytes of scratch space", bytes);
        return NULL;
    }
    device->own = grown;
    device->own_bytes = wanted;
    usable(device->own, device->own_bytes, &skip);
    return device->own + skip;
}
