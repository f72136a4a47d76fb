/* Writing safetensors files, byte for byte as the reference library would. */
#include "tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

struct lm_tensors_writer {
    struct lm_file_writer *file;
    char *path;
    size_t count;
    uint64_t *begins; /* where each tensor's bytes begin in the file */
    uint64_t *sizes;  /* bytes of each tensor */
    uint64_t *done;   /* bytes of each that were put */
    char **names;     /* for messages */
};

/* The reference writer's order: widest type first (as LM_DTYPE_LIST has them), then names by byte. */
static int by_width_and_name(const void *left, const void *right, void *user)
{
    const struct lm_tensor *list = user, *a = &list[*(const size_t *)left], *b = &list[*(const size_t *)right];
    return a->dtype != b->dtype ? (a->dtype < b->dtype ? -1 : 1) : strcmp(a->name, b->name);
}

static int by_name(const void *left, const void *right, void *user)
{
    const struct lm_tensor *list = user;
    return strcmp(list[*(const size_t *)left].name, list[*(const size_t *)right].name);
}

static int check_names(const struct lm_tensor *list, size_t count, const char *path, size_t *order, loam_error *error)
{
    if (count)
        qsort_r(order, count, sizeof *order, by_name, (void *)list);
    for (size_t i = 0; i < count; i++) {
        const char *name = list[order[i]].name;
        if (!strcmp(name, "__metadata__") || lm_utf8_check(name, strlen(name)) != strlen(name))
            return lm_fail(error, LOAM_EUSAGE, "%s: found the tensor name \"%s\", wanted UTF-8 and not __metadata__",
                           path, name);
        if (i > 0 && !strcmp(list[order[i - 1]].name, name))
            return lm_fail(error, LOAM_EUSAGE, "%s: found two tensors named \"%s\", wanted each name once", path, name);
    }
    return LOAM_OK;
}

static int write_entry(struct lm_json_writer *json, const struct lm_tensor *tensor, const char *path, uint64_t *end,
                       loam_error *error)
{
    uint64_t count, bytes, begin = *end;
    if (lm_dtype_is_block(tensor->dtype))
        return lm_fail(error, LOAM_EUSAGE, "%s: tensor \"%s\": found type %s, which only GGUF files hold; convert it first",
                       path, tensor->name, lm_dtype_name(tensor->dtype));
    int code = lm_tensor_measure(path, tensor->name, tensor->dtype, tensor->rank, tensor->shape, &count, &bytes, error);
    if (code)
        return code;
    if (__builtin_add_overflow(begin, bytes, end) || *end > INT64_MAX)
        return lm_fail(error, LOAM_EUSAGE,
                       "%s: tensor \"%s\": the tensors together take more than 2^63 bytes; use shards", path,
                       tensor->name);
    lm_json_key(json, tensor->name);
    lm_json_begin_object(json);
    lm_json_key(json, "dtype");
    lm_json_text(json, lm_dtype_name(tensor->dtype));
    lm_json_key(json, "shape");
    lm_json_begin_array(json);
    for (int i = 0; i < tensor->rank; i++)
        lm_json_int(json, tensor->shape[i]);
    lm_json_end_array(json);
    lm_json_key(json, "data_offsets");
    lm_json_begin_array(json);
    lm_json_int(json, (int64_t)begin);
    lm_json_int(json, (int64_t)*end);
    lm_json_end_array(json);
    lm_json_end_object(json);
    return LOAM_OK;
}

static int write_json(const struct lm_tensor *list, size_t count, const char *const *metadata, const char *path,
                      const size_t *order, struct lm_bytes *out, uint64_t *offsets, uint64_t *total, loam_error *error)
{
    struct lm_json_writer json = lm_json_writer(out, -1);
    uint64_t end = 0;
    lm_json_begin_object(&json);
    if (metadata && metadata[0]) {
        lm_json_key(&json, "__metadata__");
        lm_json_begin_object(&json);
        for (; metadata[0]; metadata += 2) {
            lm_json_key(&json, metadata[0]);
            lm_json_text(&json, metadata[1]);
        }
        lm_json_end_object(&json);
    }
    for (size_t i = 0; i < count; i++) {
        offsets[order[i]] = end;
        int code = write_entry(&json, &list[order[i]], path, &end, error);
        if (code)
            return code;
    }
    lm_json_end_object(&json);
    *total = end;
    return lm_json_writer_finish(&json, error);
}

int lm_header_write(const struct lm_tensor *list, size_t count, const char *const *metadata, const char *path,
                    struct lm_bytes *out, uint64_t *offsets, uint64_t *total, loam_error *error)
{
    size_t *order = lm_alloc(count, sizeof *order, error);
    if (!order)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    uint64_t length = 0;
    int code = check_names(list, count, path, order, error);
    if (!code && count)
        qsort_r(order, count, sizeof *order, by_width_and_name, (void *)list);
    if (!code)
        code = lm_bytes_append(out, &length, 8, error);
    if (!code)
        code = write_json(list, count, metadata, path, order, out, offsets, total, error);
    while (!code && out->length % 8 != 0)
        code = lm_bytes_append(out, " ", 1, error);
    lm_free(order);
    if (code)
        return code;
    length = out->length - 8;
    if (length > LM_SAFETENSORS_LIMIT)
        return lm_fail(error, LOAM_EUSAGE,
                       "%s: the header would take %llu bytes, but readers take at most %d; write less metadata or "
                       "more shards",
                       path, (unsigned long long)length, LM_SAFETENSORS_LIMIT);
    memcpy(out->data, &length, 8);
    return LOAM_OK;
}

static int set_up(struct lm_tensors_writer *writer, const struct lm_tensor *list, size_t count,
                  const char *const *metadata, struct lm_bytes *header, loam_error *error)
{
    uint64_t total, bytes;
    const char *path = writer->path;
    if (!(writer->begins = lm_alloc(count, sizeof *writer->begins, error)) ||
        !(writer->sizes = lm_alloc(count, sizeof *writer->sizes, error)) ||
        !(writer->done = lm_alloc(count, sizeof *writer->done, error)) ||
        !(writer->names = lm_alloc(count, sizeof *writer->names, error)))
        return LOAM_ENOMEM;
    writer->count = count;
    int code = lm_header_write(list, count, metadata, path, header, writer->begins, &total, error);
    if (code)
        return code;
    for (size_t i = 0; i < count; i++) {
        uint64_t elements;
        code = lm_tensor_measure(path, list[i].name, list[i].dtype, list[i].rank, list[i].shape, &elements,
                                 &writer->sizes[i], error);
        if (code)
            return code;
        writer->begins[i] += header->length;
        if (!(writer->names[i] = lm_copy_string(list[i].name, strlen(list[i].name), error)))
            return LOAM_ENOMEM;
    }
    if (__builtin_add_overflow(total, (uint64_t)header->length, &bytes) || bytes > INT64_MAX)
        return lm_fail(error, LOAM_EUSAGE, "%s: the file would take more than 2^63 bytes; use shards", path);
    if ((code = lm_file_create(path, &writer->file, error)))
        return code;
    if ((code = lm_file_allocate(writer->file, (int64_t)bytes, error)))
        return code;
    return lm_file_write_at(writer->file, 0, header->data, header->length, error);
}

int lm_tensors_create(const char *path, const struct lm_tensor *list, size_t count, const char *const *metadata,
                      struct lm_tensors_writer **result, loam_error *error)
{
    struct lm_tensors_writer *writer = lm_alloc(1, sizeof *writer, error);
    struct lm_bytes header = {0};
    if (!writer)
        return LOAM_ENOMEM;
    writer->path = lm_copy_string(path, strlen(path), error);
    int code = writer->path ? set_up(writer, list, count, metadata, &header, error) : LOAM_ENOMEM;
    lm_bytes_free(&header);
    if (code) {
        lm_tensors_abandon(writer);
        return code;
    }
    *result = writer;
    return LOAM_OK;
}

int lm_tensors_put(struct lm_tensors_writer *writer, size_t index, uint64_t offset, const void *data, size_t length,
                   loam_error *error)
{
    if (index >= writer->count)
        return lm_fail(error, LOAM_EUSAGE, "%s: asked to write tensor %zu of %zu", writer->path, index, writer->count);
    uint64_t size = writer->sizes[index];
    if (offset > size || length > size - offset || length > size - writer->done[index])
        return lm_fail(error, LOAM_EUSAGE,
                       "%s: tensor \"%s\": asked to write %zu bytes from %llu on where %llu of %llu are there",
                       writer->path, writer->names[index], length, (unsigned long long)offset,
                       (unsigned long long)writer->done[index], (unsigned long long)size);
    int code = lm_file_write_at(writer->file, (int64_t)(writer->begins[index] + offset), data, length, error);
    if (code)
        return code;
    writer->done[index] += length;
    return LOAM_OK;
}

int lm_tensors_finish(struct lm_tensors_writer *writer, loam_error *error)
{
    int code = LOAM_OK;
    for (size_t i = 0; i < writer->count && !code; i++)
        if (writer->done[i] != writer->sizes[i])
            code = lm_fail(error, LOAM_EUSAGE, "%s: tensor \"%s\": found %llu bytes written, wanted %llu", writer->path,
                           writer->names[i], (unsigned long long)writer->done[i], (unsigned long long)writer->sizes[i]);
    if (!code) {
        struct lm_file_writer *file = writer->file;
        writer->file = NULL;
        code = lm_file_commit(file, error);
    }
    lm_tensors_abandon(writer);
    return code;
}

void lm_tensors_abandon(struct lm_tensors_writer *writer)
{
    if (!writer)
        return;
    lm_file_abandon(writer->file);
    for (size_t i = 0; i < writer->count; i++)
        lm_free(writer->names[i]);
    lm_free(writer->names);
    lm_free(writer->begins);
    lm_free(writer->sizes);
    lm_free(writer->done);
    lm_free(writer->path);
    lm_free(writer);
}
