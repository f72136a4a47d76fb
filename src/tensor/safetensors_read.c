/* Opening safetensors files: mapping, checking, finding tensors by name. Shards are put together in directory.c. */
#include "tensor/tensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void close_file(struct lm_tensor_file *file)
{
    if (file->mapping.data)
        lm_file_unmap(&file->mapping);
    if (file->descriptor >= 0)
        close(file->descriptor);
    lm_header_free(&file->header);
    lm_free(file->path);
}

void lm_tensors_close(struct lm_tensors *tensors)
{
    if (!tensors)
        return;
    for (size_t i = 0; i < tensors->file_count; i++)
        close_file(&tensors->files[i]);
    lm_free(tensors->files);
    lm_free(tensors->list);
    lm_free(tensors->by_name);
    lm_free(tensors);
}

/* Checks the bytes of a file before any of them is used: the order of checks is the reference reader's. */
static int read_header(struct lm_tensor_file *file, loam_error *error)
{
    const char *path = file->path;
    uint64_t length = 0;
    if (file->size < 8)
        return lm_fail_at(error, LOAM_EFORMAT, 0,
                          "%s: found %zu bytes, wanted at least the 8 of the header's size; the file is cut "
                          "short, fetch it again",
                          path, file->size);
    memcpy(&length, file->bytes, 8);
    if (length > LM_SAFETENSORS_LIMIT)
        return lm_fail_at(error, LOAM_EFORMAT, 0,
                          "%s: header's size: found %llu, wanted at most %d; is this a safetensors file?", path,
                          (unsigned long long)length, LM_SAFETENSORS_LIMIT);
    if (length > file->size - 8)
        return lm_fail_at(error, LOAM_EFORMAT, 0,
                          "%s: header's size: found %llu, wanted at most the %zu bytes that follow; the file "
                          "is cut short, fetch it again",
                          path, (unsigned long long)length, file->size - 8);
    file->header.path = path;
    int code = lm_header_scan(&file->header, (const char *)file->bytes + 8, (size_t)length, error);
    if (code)
        return code == LOAM_ENOMEM ? lm_fail_within(error, code, "%s: header", path) : code;
    file->data = file->bytes + 8 + length;
    return lm_header_check(&file->header, file->size - 8 - length, error);
}

static int open_file(const char *path, struct lm_tensor_file *file, loam_error *error)
{
    if (!(file->path = lm_copy_string(path, strlen(path), error)))
        return LOAM_ENOMEM;
    file->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->descriptor < 0)
        return lm_fail_errno(error, errno, "%s: cannot be opened for reading", path);
    int code = lm_file_map(path, &file->mapping, error);
    if (code)
        return code;
    file->bytes = file->mapping.data;
    file->size = file->mapping.size;
    return read_header(file, error);
}

int lm_tensors_new(size_t file_count, struct lm_tensors **result, loam_error *error)
{
    struct lm_tensors *tensors = lm_alloc(1, sizeof *tensors, error);
    if (!tensors)
        return LOAM_ENOMEM;
    tensors->files = lm_alloc(file_count, sizeof *tensors->files, error);
    if (!tensors->files) {
        lm_tensors_close(tensors);
        return LOAM_ENOMEM;
    }
    for (size_t i = 0; i < file_count; i++)
        tensors->files[i].descriptor = -1;
    *result = tensors;
    return LOAM_OK;
}

int lm_tensors_add_file(struct lm_tensors *tensors, const char *path, loam_error *error)
{
    return open_file(path, &tensors->files[tensors->file_count++], error);
}

static void set_tensor(struct lm_tensor *tensor, const struct lm_tensor_file *file, const struct lm_entry *entry)
{
    *tensor = (struct lm_tensor){.name = file->header.text.data + entry->name,
                                 .dtype = entry->dtype,
                                 .rank = entry->rank,
                                 .shape = entry->rank ? file->header.dims + entry->dims : NULL,
                                 .count = 1,
                                 .bytes = entry->end - entry->begin,
                                 .data = file->data + entry->begin};
    for (int i = 0; i < entry->rank; i++)
        tensor->count *= (uint64_t)tensor->shape[i];
}

static int by_name(const void *left, const void *right)
{
    const struct lm_tensor *const *a = left, *const *b = right;
    return strcmp((*a)->name, (*b)->name);
}

int lm_tensors_index(struct lm_tensors *tensors, loam_error *error)
{
    size_t count = 0;
    for (size_t i = 0; i < tensors->file_count; i++)
        count += tensors->files[i].header.entry_count;
    tensors->list = lm_alloc(count, sizeof *tensors->list, error);
    tensors->by_name = tensors->list ? lm_alloc(count, sizeof *tensors->by_name, error) : NULL;
    if (!tensors->by_name)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < tensors->file_count; i++) {
        struct lm_tensor_file *file = &tensors->files[i];
        file->first = tensors->count;
        for (size_t j = 0; j < file->header.entry_count; j++)
            set_tensor(&tensors->list[tensors->count++], file, &file->header.entries[j]);
        lm_free(file->header.entries); /* said all they had to say */
        file->header.entries = NULL;
    }
    for (size_t i = 0; i < count; i++)
        tensors->by_name[i] = &tensors->list[i];
    if (count > 1)
        qsort(tensors->by_name, count, sizeof *tensors->by_name, by_name);
    for (size_t i = 1; i < count; i++)
        if (!strcmp(tensors->by_name[i - 1]->name, tensors->by_name[i]->name))
            return lm_fail(error, LOAM_EFORMAT,
                           "%s: found the tensor \"%s\" twice%s, wanted each once; write the file again",
                           lm_tensors_file_of(tensors, tensors->by_name[i])->path, tensors->by_name[i]->name,
                           tensors->file_count > 1 ? " in this file or its sister shards" : "");
    return LOAM_OK;
}

const struct lm_tensor_file *lm_tensors_file_of(const struct lm_tensors *tensors, const struct lm_tensor *tensor)
{
    size_t index = (size_t)(tensor - tensors->list), i = tensors->file_count - 1;
    while (i > 0 && tensors->files[i].first > index)
        i--;
    return &tensors->files[i];
}

int lm_tensors_open(const char *path, struct lm_tensors **result, loam_error *error)
{
    if (lm_is_directory(path))
        return lm_tensors_open_directory(path, result, error);
    struct lm_tensors *tensors = NULL;
    int code = lm_tensors_new(1, &tensors, error);
    if (!code)
        code = lm_tensors_add_file(tensors, path, error);
    if (!code)
        code = lm_tensors_index(tensors, error);
    if (code) {
        lm_tensors_close(tensors);
        return code;
    }
    *result = tensors;
    return LOAM_OK;
}

int lm_tensors_read(const void *data, size_t size, const char *name, struct lm_tensors **result, loam_error *error)
{
    struct lm_tensors *tensors = NULL;
    int code = lm_tensors_new(1, &tensors, error);
    if (code)
        return code;
    struct lm_tensor_file *file = &tensors->files[tensors->file_count++];
    file->bytes = data;
    file->size = size;
    file->path = lm_copy_string(name, strlen(name), error);
    code = file->path ? read_header(file, error) : LOAM_ENOMEM;
    if (!code)
        code = lm_tensors_index(tensors, error);
    if (code) {
        lm_tensors_close(tensors);
        return code;
    }
    *result = tensors;
    return LOAM_OK;
}

size_t lm_tensors_count(const struct lm_tensors *tensors)
{
    return tensors->count;
}

const struct lm_tensor *lm_tensors_at(const struct lm_tensors *tensors, size_t index)
{
    return index < tensors->count ? &tensors->list[index] : NULL;
}

const struct lm_tensor *lm_tensors_find(const struct lm_tensors *tensors, const char *name)
{
    size_t low = 0, high = tensors->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, tensors->by_name[middle]->name);
        if (order == 0)
            return tensors->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const char *lm_tensors_metadata(const struct lm_tensors *tensors, const char *key)
{
    if (tensors->file_count == 0)
        return NULL;
    const struct lm_header *header = &tensors->files[0].header;
    for (size_t i = 0; i < header->pair_count; i++)
        if (!strcmp(header->text.data + header->metadata[i].key, key))
            return header->text.data + header->metadata[i].value;
    return NULL;
}

int lm_tensors_pread(const struct lm_tensors *tensors, const struct lm_tensor *tensor, uint64_t offset, void *out,
                     size_t length, loam_error *error)
{
    const struct lm_tensor_file *file = lm_tensors_file_of(tensors, tensor);
    if (offset > tensor->bytes || length > tensor->bytes - offset)
        return lm_fail(error, LOAM_EUSAGE, "%s: tensor \"%s\": asked for %zu bytes from %llu on, but there are %llu",
                       file->path, tensor->name, length, (unsigned long long)offset, (unsigned long long)tensor->bytes);
    const unsigned char *from = (const unsigned char *)tensor->data + offset;
    if (file->descriptor < 0) {
        if (length)
            memcpy(out, from, length);
        return LOAM_OK;
    }
    off_t place = (off_t)(from - file->bytes);
    for (size_t done = 0; done < length;) {
        ssize_t got = pread(file->descriptor, (char *)out + done, length - done, place + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return lm_fail_errno(error, errno, "%s: tensor \"%s\": cannot be read", file->path, tensor->name);
        if (got == 0)
            return lm_fail(error, LOAM_EIO, "%s: tensor \"%s\": the file became shorter while it was open", file->path,
                           tensor->name);
        done += (size_t)got;
    }
    return LOAM_OK;
}
