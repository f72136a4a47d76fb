/* Writing GGUF files, version 3. The head is gathered in memory; the data goes to its place in the file. */
#include "tensor/gguf_scan.h"
#include "tensor/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct lm_gguf_writer {
    struct lm_file_writer *file;
    char *path;
    struct lm_bytes pairs;
    uint64_t pair_count;
    int code; /* the first failure of a put_ or item_; `failure` says more */
    loam_error failure;
    enum lm_gguf_type item; /* of the array being filled, and how many items it still waits for */
    uint64_t items_left;
    size_t count;
    uint64_t *begins;       /* where each tensor's bytes begin in the file */
    uint64_t *sizes, *done; /* bytes of each tensor; those that were put */
    char **names;           /* for messages */
};

static void free_writer(struct lm_gguf_writer *writer)
{
    for (size_t i = 0; writer->names && i < writer->count; i++)
        lm_free(writer->names[i]);
    lm_free(writer->names);
    lm_free(writer->begins);
    lm_free(writer->sizes);
    lm_free(writer->done);
    lm_bytes_free(&writer->pairs);
    lm_free(writer->path);
    lm_free(writer);
}

int lm_gguf_create(const char *path, struct lm_gguf_writer **result, loam_error *error)
{
    struct lm_gguf_writer *writer = lm_alloc(1, sizeof *writer, error);
    if (!writer)
        return LOAM_ENOMEM;
    writer->path = lm_copy_string(path, strlen(path), error);
    int code = writer->path ? lm_file_create(path, &writer->file, error) : LOAM_ENOMEM;
    if (code) {
        free_writer(writer);
        return code;
    }
    *result = writer;
    return LOAM_OK;
}

static void append(struct lm_gguf_writer *writer, const void *data, size_t length)
{
    if (!writer->code)
        writer->code = lm_bytes_append(&writer->pairs, data, length, &writer->failure);
}

static void append_text(struct lm_gguf_writer *writer, const char *text, size_t length)
{
    const uint64_t bytes = length;
    append(writer, &bytes, 8);
    append(writer, text, length);
}

/* The start of a pair: its key and type. The array before it must be full. */
static void begin_pair(struct lm_gguf_writer *writer, const char *key, enum lm_gguf_type type)
{
    const uint32_t number = type;
    if (!writer->code && writer->items_left)
        writer->code =
            lm_fail(&writer->failure, LOAM_EUSAGE, "%s: %s: the array before it still waits for %" PRIu64 " items",
                    writer->path, key, writer->items_left);
    append_text(writer, key, strlen(key));
    append(writer, &number, 4);
    writer->pair_count++;
}

void lm_gguf_put_text(struct lm_gguf_writer *writer, const char *key, const char *text, size_t length)
{
    begin_pair(writer, key, LM_GGUF_TEXT);
    append_text(writer, text, length);
}

void lm_gguf_put_u32(struct lm_gguf_writer *writer, const char *key, uint32_t value)
{
    begin_pair(writer, key, LM_GGUF_U32);
    append(writer, &value, 4);
}

void lm_gguf_put_f32(struct lm_gguf_writer *writer, const char *key, float value)
{
    begin_pair(writer, key, LM_GGUF_F32);
    append(writer, &value, 4);
}

void lm_gguf_put_bool(struct lm_gguf_writer *writer, const char *key, bool value)
{
    const unsigned char byte = value;
    begin_pair(writer, key, LM_GGUF_BOOL);
    append(writer, &byte, 1);
}

void lm_gguf_put_array(struct lm_gguf_writer *writer, const char *key, enum lm_gguf_type item, uint64_t count)
{
    const uint32_t number = item;
    begin_pair(writer, key, LM_GGUF_ARRAY);
    append(writer, &number, 4);
    append(writer, &count, 8);
    writer->item = item;
    writer->items_left = count;
}

static void use_items(struct lm_gguf_writer *writer, bool fits, uint64_t count)
{
    if (!writer->code && (!fits || count > writer->items_left))
        writer->code = lm_fail(&writer->failure, LOAM_EUSAGE, "%s: found an item that its array of %s has no place for",
                               writer->path, lm_gguf_type_name(writer->item));
    if (!writer->code)
        writer->items_left -= count;
}

void lm_gguf_item_text(struct lm_gguf_writer *writer, const char *text, size_t length)
{
    use_items(writer, writer->item == LM_GGUF_TEXT, 1);
    append_text(writer, text, length);
}

void lm_gguf_item_data(struct lm_gguf_writer *writer, const void *data, size_t bytes)
{
    const size_t width = lm_gguf_width(writer->item);
    use_items(writer, width && bytes % width == 0, width ? bytes / width : 0);
    append(writer, data, bytes);
}

void lm_gguf_put_value(struct lm_gguf_writer *writer, const char *key, const struct lm_gguf_value *value)
{
    const uint32_t item = value->item;
    if (value->type == LM_GGUF_TEXT) {
        lm_gguf_put_text(writer, key, value->text, value->length);
        return;
    }
    begin_pair(writer, key, value->type);
    if (value->type == LM_GGUF_ARRAY) {
        append(writer, &item, 4);
        append(writer, &value->count, 8);
    }
    append(writer, value->data, value->bytes);
}

static int by_name(const void *left, const void *right, void *user)
{
    const struct lm_tensor *list = user;
    return strcmp(list[*(const size_t *)left].name, list[*(const size_t *)right].name);
}

static int check_names(const struct lm_gguf_writer *writer, const struct lm_tensor *list, size_t count,
                       loam_error *error)
{
    int code = LOAM_OK;
    size_t *order = lm_alloc(count, sizeof *order, error);
    if (!order)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    if (count > 1)
        qsort_r(order, count, sizeof *order, by_name, (void *)list);
    for (size_t i = 1; i < count && !code; i++)
        if (!strcmp(list[order[i - 1]].name, list[order[i]].name))
            code = lm_fail(error, LOAM_EUSAGE, "%s: found two tensors named \"%s\", wanted each name once",
                           writer->path, list[order[i]].name);
    lm_free(order);
    return code;
}

static int check_tensor(const struct lm_gguf_writer *writer, const struct lm_tensor *tensor, uint32_t *number,
                        uint64_t *bytes, loam_error *error)
{
    uint64_t count;
    const size_t length = strlen(tensor->name);
    if (length == 0 || length > LM_GGUF_NAME || lm_utf8_check(tensor->name, length) != length)
        return lm_fail(error, LOAM_EUSAGE, "%s: found the tensor name \"%s\", wanted UTF-8 of 1 to %d bytes",
                       writer->path, tensor->name, LM_GGUF_NAME);
    if (!lm_gguf_number(tensor->dtype, number))
        return lm_fail(error, LOAM_EUNSUPPORTED,
                       "%s: tensor \"%s\": found type %s, which GGUF files do not hold; convert it "
                       "first",
                       writer->path, tensor->name, lm_dtype_name(tensor->dtype));
    if (tensor->rank > LM_GGUF_RANK)
        return lm_fail(error, LOAM_EUNSUPPORTED, "%s: tensor \"%s\": found %d dimensions, wanted at most %d",
                       writer->path, tensor->name, tensor->rank, LM_GGUF_RANK);
    const int64_t row = tensor->rank ? tensor->shape[tensor->rank - 1] : 1;
    if (row % lm_dtype_block_elements(tensor->dtype) != 0)
        return lm_fail(error, LOAM_EUSAGE,
                       "%s: tensor \"%s\": found rows of %" PRId64 " elements, wanted a multiple of %d, the "
                       "block of %s; keep it in another type",
                       writer->path, tensor->name, row, lm_dtype_block_elements(tensor->dtype),
                       lm_dtype_name(tensor->dtype));
    return lm_tensor_measure(writer->path, tensor->name, tensor->dtype, tensor->rank, tensor->shape, &count, bytes,
                             error);
}

/* One tensor's entry in the head; *end is where its bytes end in the data, before and after. */
static int add_entry(struct lm_gguf_writer *writer, const struct lm_tensor *list, size_t index, struct lm_bytes *head,
                     uint64_t *end, loam_error *error)
{
    const struct lm_tensor *tensor = &list[index];
    const uint64_t length = strlen(tensor->name);
    uint32_t number = 0, rank = (uint32_t)tensor->rank;
    uint64_t begin, rounded;
    int code = check_tensor(writer, tensor, &number, &writer->sizes[index], error);
    if (code)
        return code;
    if (__builtin_add_overflow(*end, LM_GGUF_ALIGNMENT - 1, &rounded) ||
        __builtin_add_overflow(rounded, writer->sizes[index], end) || *end > INT64_MAX / 2)
        return lm_fail(error, LOAM_EUSAGE, "%s: tensor \"%s\": the tensors together take more than 2^62 bytes",
                       writer->path, tensor->name);
    begin = rounded / LM_GGUF_ALIGNMENT * LM_GGUF_ALIGNMENT;
    *end = begin + writer->sizes[index];
    writer->begins[index] = begin;
    if (!(writer->names[index] = lm_copy_string(tensor->name, length, error)))
        return LOAM_ENOMEM;
    if ((code = lm_bytes_append(head, &length, 8, error)) ||
        (code = lm_bytes_append(head, tensor->name, length, error)) || (code = lm_bytes_append(head, &rank, 4, error)))
        return code;
    for (int i = tensor->rank - 1; i >= 0 && !code; i--)
        code = lm_bytes_append(head, &tensor->shape[i], 8, error);
    if (!code)
        code = lm_bytes_append(head, &number, 4, error);
    return code ? code : lm_bytes_append(head, &begin, 8, error);
}

static int make_head(struct lm_gguf_writer *writer, const struct lm_tensor *list, size_t count, struct lm_bytes *head,
                     uint64_t *end, loam_error *error)
{
    const uint32_t version = 3;
    const uint64_t tensors = count;
    static const char zeros[LM_GGUF_ALIGNMENT];
    int code;
    if ((code = lm_bytes_append(head, "GGUF", 4, error)) || (code = lm_bytes_append(head, &version, 4, error)) ||
        (code = lm_bytes_append(head, &tensors, 8, error)) ||
        (code = lm_bytes_append(head, &writer->pair_count, 8, error)) ||
        (code = lm_bytes_append(head, writer->pairs.data, writer->pairs.length, error)))
        return code;
    for (size_t i = 0; i < count && !code; i++)
        code = add_entry(writer, list, i, head, end, error);
    const size_t padding = (LM_GGUF_ALIGNMENT - head->length % LM_GGUF_ALIGNMENT) % LM_GGUF_ALIGNMENT;
    return code ? code : lm_bytes_append(head, zeros, padding, error);
}

static int take_list(struct lm_gguf_writer *writer, const struct lm_tensor *list, size_t count, struct lm_bytes *head,
                     loam_error *error)
{
    uint64_t end = 0;
    if (!(writer->begins = lm_alloc(count, sizeof *writer->begins, error)) ||
        !(writer->sizes = lm_alloc(count, sizeof *writer->sizes, error)) ||
        !(writer->done = lm_alloc(count, sizeof *writer->done, error)) ||
        !(writer->names = lm_alloc(count, sizeof *writer->names, error)))
        return LOAM_ENOMEM;
    writer->count = count;
    int code = check_names(writer, list, count, error);
    if (!code)
        code = make_head(writer, list, count, head, &end, error);
    if (code)
        return code;
    for (size_t i = 0; i < count; i++)
        writer->begins[i] += head->length;
    /* llama.cpp wants the last tensor padded too. */
    end = (end + LM_GGUF_ALIGNMENT - 1) / LM_GGUF_ALIGNMENT * LM_GGUF_ALIGNMENT;
    code = lm_file_allocate(writer->file, (int64_t)(head->length + end), error);
    return code ? code : lm_file_write(writer->file, head->data, head->length, error);
}

int lm_gguf_begin(struct lm_gguf_writer *writer, const struct lm_tensor *list, size_t count, loam_error *error)
{
    if (!writer->code && writer->items_left)
        writer->code = lm_fail(&writer->failure, LOAM_EUSAGE, "%s: the last array still waits for %" PRIu64 " items",
                               writer->path, writer->items_left);
    if (writer->code) {
        if (error)
            *error = writer->failure;
        return writer->code;
    }
    struct lm_bytes head = {0};
    int code = take_list(writer, list, count, &head, error);
    lm_bytes_free(&head);
    return code;
}

int lm_gguf_put(struct lm_gguf_writer *writer, size_t index, uint64_t offset, const void *data, size_t length,
                loam_error *error)
{
    if (index >= writer->count)
        return lm_fail(error, LOAM_EUSAGE, "%s: found tensor %zu, wanted less than the %zu of its list", writer->path,
                       index, writer->count);
    if (offset > writer->sizes[index] || length > writer->sizes[index] - offset)
        return lm_fail(error, LOAM_EUSAGE,
                       "%s: tensor \"%s\": found %zu bytes for offset %" PRIu64 ", wanted them within its %" PRIu64,
                       writer->path, writer->names[index], length, offset, writer->sizes[index]);
    int code = lm_file_write_at(writer->file, (int64_t)(writer->begins[index] + offset), data, length, error);
    if (!code)
        writer->done[index] += length;
    return code;
}

int lm_gguf_finish(struct lm_gguf_writer *writer, loam_error *error)
{
    for (size_t i = 0; i < writer->count; i++)
        if (writer->done[i] != writer->sizes[i]) {
            int code = lm_fail(error, LOAM_EUSAGE, "%s: tensor \"%s\": found %" PRIu64 " bytes put, wanted %" PRIu64,
                               writer->path, writer->names[i], writer->done[i], writer->sizes[i]);
            lm_gguf_abandon(writer);
            return code;
        }
    int code = lm_file_commit(writer->file, error);
    free_writer(writer);
    return code;
}

void lm_gguf_abandon(struct lm_gguf_writer *writer)
{
    if (!writer)
        return;
    lm_file_abandon(writer->file);
    free_writer(writer);
}
