/* What must hold between the entries of a safetensors header and the bytes behind it. */
#include "tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

int lm_list_reserve(void **list, size_t *capacity, size_t count, size_t size, loam_error *error)
{
    if (count < *capacity)
        return LOAM_OK;
    size_t more = *capacity ? 2 * *capacity : 16;
    void *grown = lm_resize(*list, more, size, error);
    if (!grown)
        return LOAM_ENOMEM;
    *list = grown;
    *capacity = more;
    return LOAM_OK;
}

void lm_header_free(struct lm_header *header)
{
    lm_bytes_free(&header->text);
    lm_free(header->dims);
    lm_free(header->entries);
    lm_free(header->metadata);
    *header = (struct lm_header){0};
}

int lm_tensor_measure(const char *path, const char *name, enum lm_dtype dtype, int rank, const int64_t *shape,
                      uint64_t *count, uint64_t *bytes, loam_error *error)
{
    uint64_t product = 1, bits;
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(product, (uint64_t)shape[i], &product))
            return lm_fail(error, LOAM_EFORMAT,
                           "%s: tensor \"%s\": shape: found dimension %lld at place %d, wanted a product from 0 "
                           "to 2^64-1; the file is damaged or made to mislead",
                           path, name, (long long)shape[i], i);
    if (__builtin_mul_overflow(product, (uint64_t)lm_dtype_bits(dtype), &bits))
        return lm_fail(error, LOAM_EFORMAT,
                       "%s: tensor \"%s\": shape: found %llu elements of type %s, wanted fewer than 2^64 bits; "
                       "the file is damaged or made to mislead",
                       path, name, (unsigned long long)product, lm_dtype_name(dtype));
    if (!lm_dtype_bytes(dtype, product, bytes))
        return lm_fail(error, LOAM_EFORMAT,
                       "%s: tensor \"%s\": shape: found %llu elements of type %s, wanted whole bytes; "
                       "pad the last dimension",
                       path, name, (unsigned long long)product, lm_dtype_name(dtype));
    *count = product;
    return LOAM_OK;
}

static int by_place(const void *left, const void *right)
{
    const struct lm_entry *a = left, *b = right;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end)
        return a->end < b->end ? -1 : 1;
    return (a->position > b->position) - (a->position < b->position);
}

static int check_entry(const struct lm_header *header, const struct lm_entry *entry, uint64_t begin, loam_error *error)
{
    const char *name = header->text.data + entry->name;
    if (entry->begin != begin || entry->end < entry->begin)
        return lm_fail_at(error, LOAM_EFORMAT, entry->position,
                          "%s: tensor \"%s\": data_offsets: found [%llu, %llu], wanted "
                          "a begin of %llu, where the tensor before it ends, and no end before it; the file is damaged",
                          header->path, name, (unsigned long long)entry->begin, (unsigned long long)entry->end,
                          (unsigned long long)begin);
    uint64_t count, bytes;
    const int64_t *shape = entry->rank ? header->dims + entry->dims : NULL;    /* a file of scalars has no dims */
    int code = lm_tensor_measure(header->path, name, entry->dtype, entry->rank, shape, &count, &bytes, error);
    if (code)
        return code;
    if (entry->end - entry->begin != bytes)
        return lm_fail_at(error, LOAM_EFORMAT, entry->position,
                          "%s: tensor \"%s\": data_offsets: found %llu bytes, wanted the %llu "
                          "that its type %s and shape make; the file is damaged",
                          header->path, name, (unsigned long long)(entry->end - entry->begin),
                          (unsigned long long)bytes, lm_dtype_name(entry->dtype));
    return LOAM_OK;
}

static int by_key(const void *left, const void *right, void *user)
{
    const struct lm_pair *a = left, *b = right;
    const char *text = user;
    int order = strcmp(text + a->key, text + b->key);
    return order ? order : (a->position > b->position) - (a->position < b->position);
}

static int check_metadata(struct lm_header *header, loam_error *error)
{
    if (header->pair_count < 2)
        return LOAM_OK;
    const char *text = header->text.data;
    qsort_r(header->metadata, header->pair_count, sizeof *header->metadata, by_key, header->text.data);
    for (size_t i = 1; i < header->pair_count; i++)
        if (!strcmp(text + header->metadata[i - 1].key, text + header->metadata[i].key))
            return lm_fail_at(error, LOAM_EFORMAT, header->metadata[i].position,
                              "%s: __metadata__: found the key \"%s\" twice, "
                              "wanted each once; write the file again",
                              header->path, text + header->metadata[i].key);
    return LOAM_OK;
}

int lm_header_check(struct lm_header *header, uint64_t data_bytes, loam_error *error)
{
    uint64_t end = 0;
    if (header->entry_count > 1)
        qsort(header->entries, header->entry_count, sizeof *header->entries, by_place);
    for (size_t i = 0; i < header->entry_count; i++) {
        int code = check_entry(header, &header->entries[i], end, error);
        if (code)
            return code;
        end = header->entries[i].end;
    }
    if (end != data_bytes)
        return lm_fail(error, LOAM_EFORMAT,
                       "%s: found %llu bytes of data behind the header, wanted the %llu that its tensors take; "
                       "the file is %s, fetch it again",
                       header->path, (unsigned long long)data_bytes, (unsigned long long)end,
                       data_bytes < end ? "cut short" : "followed by something else");
    return check_metadata(header, error);
}
