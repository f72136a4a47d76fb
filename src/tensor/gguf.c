/* Opening GGUF files, and what they say. */
#include "tensor/gguf_scan.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *key_of(const struct lm_gguf *file, size_t index)
{
    return file->pairs[index].key;
}

static const char *name_of(const struct lm_gguf *file, size_t index)
{
    return file->infos[index].name;
}

typedef const char *namer(const struct lm_gguf *file, size_t index);
struct naming {
    const struct lm_gguf *file;
    namer *name;
};

static int by_text(const void *left, const void *right, void *user)
{
    const struct naming *naming = user;
    return strcmp(naming->name(naming->file, *(const size_t *)left),
                  naming->name(naming->file, *(const size_t *)right));
}

/* The list sorted by name; a name that stands twice is refused. */
static int sort(const struct lm_gguf *file, namer *name, size_t count, const char *what, size_t **result,
                loam_error *error)
{
    struct naming naming = {file, name};
    size_t *order = lm_alloc(count, sizeof *order, error);
    if (!order)
        return LOAM_ENOMEM;
    *result = order;
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    if (count > 1)
        qsort_r(order, count, sizeof *order, by_text, &naming);
    for (size_t i = 1; i < count; i++)
        if (!strcmp(name(file, order[i - 1]), name(file, order[i])))
            return lm_fail(error, LOAM_EFORMAT, "%s: found the %s \"%s\" twice, wanted each once; the file is damaged",
                           file->path, what, name(file, order[i]));
    return LOAM_OK;
}

static size_t search(const struct lm_gguf *file, namer *name, const size_t *order, size_t count, const char *text)
{
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int sign = strcmp(text, name(file, order[middle]));
        if (sign == 0)
            return order[middle];
        if (sign < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return SIZE_MAX;
}

static int open_scanned(struct lm_gguf *file, struct lm_gguf **result, loam_error *error)
{
    int code = lm_gguf_scan(file, error);
    if (!code)
        code = sort(file, key_of, file->pair_count, "key", &file->by_key, error);
    if (!code)
        code = sort(file, name_of, file->info_count, "tensor", &file->by_name, error);
    if (code) {
        lm_gguf_close(file);
        return code;
    }
    *result = file;
    return LOAM_OK;
}

int lm_gguf_read(const void *data, size_t size, const char *name, struct lm_gguf **result, loam_error *error)
{
    struct lm_gguf *file = lm_alloc(1, sizeof *file, error);
    if (!file)
        return LOAM_ENOMEM;
    if (!(file->path = lm_copy_string(name, strlen(name), error))) {
        lm_gguf_close(file);
        return LOAM_ENOMEM;
    }
    file->bytes = data;
    file->size = size;
    return open_scanned(file, result, error);
}

int lm_gguf_open(const char *path, struct lm_gguf **result, loam_error *error)
{
    struct lm_gguf *file = lm_alloc(1, sizeof *file, error);
    if (!file)
        return LOAM_ENOMEM;
    file->path = lm_copy_string(path, strlen(path), error);
    int code = file->path ? lm_file_map(path, &file->mapping, error) : LOAM_ENOMEM;
    if (code) {
        lm_gguf_close(file);
        return code;
    }
    file->bytes = file->mapping.data;
    file->size = file->mapping.size;
    return open_scanned(file, result, error);
}

void lm_gguf_close(struct lm_gguf *file)
{
    if (!file)
        return;
    for (size_t i = 0; i < file->pair_count; i++) {
        if (file->pairs[i].value.type == LM_GGUF_TEXT)
            lm_free((void *)file->pairs[i].value.text);
        lm_free(file->pairs[i].key);
    }
    for (size_t i = 0; i < file->info_count; i++)
        lm_free(file->infos[i].name);
    lm_free(file->pairs);
    lm_free(file->infos);
    lm_free(file->tensors);
    lm_free(file->by_key);
    lm_free(file->by_name);
    lm_free(file->path);
    if (file->mapping.data)
        lm_file_unmap(&file->mapping);
    lm_free(file);
}

const char *lm_gguf_path(const struct lm_gguf *file)
{
    return file->path;
}

bool lm_gguf_is(const char *path)
{
    struct stat status;
    char magic[4];
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return false;
    const bool is = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && pread(descriptor, magic, 4, 0) == 4 &&
                    !memcmp(magic, "GGUF", 4);
    close(descriptor);
    return is;
}

size_t lm_gguf_pairs(const struct lm_gguf *file)
{
    return file->pair_count;
}

const char *lm_gguf_key(const struct lm_gguf *file, size_t index)
{
    return file->pairs[index].key;
}

const struct lm_gguf_value *lm_gguf_value(const struct lm_gguf *file, size_t index)
{
    return &file->pairs[index].value;
}

const struct lm_gguf_value *lm_gguf_find(const struct lm_gguf *file, const char *key)
{
    const size_t index = search(file, key_of, file->by_key, file->pair_count, key);
    return index == SIZE_MAX ? NULL : &file->pairs[index].value;
}

size_t lm_gguf_tensors(const struct lm_gguf *file)
{
    return file->info_count;
}

const struct lm_tensor *lm_gguf_tensor_at(const struct lm_gguf *file, size_t index)
{
    return &file->tensors[index];
}

const struct lm_tensor *lm_gguf_tensor(const struct lm_gguf *file, const char *name)
{
    const size_t index = search(file, name_of, file->by_name, file->info_count, name);
    return index == SIZE_MAX ? NULL : &file->tensors[index];
}

static int find(const struct lm_gguf *file, const char *key, const struct lm_gguf_value **value, loam_error *error)
{
    *value = lm_gguf_find(file, key);
    if (*value)
        return LOAM_OK;
    return lm_fail(error, LOAM_ENOTFOUND,
                   "%s: found no key \"%s\" in its metadata; the file lacks what loam needs, convert the "
                   "model again with a current program",
                   file->path, key);
}

static int wrong_type(const struct lm_gguf *file, const char *key, const struct lm_gguf_value *value,
                      const char *wanted, loam_error *error)
{
    return lm_fail(error, LOAM_EFORMAT, "%s: %s: found a value of type %s, wanted %s; the file is damaged", file->path,
                   key, lm_gguf_type_name(value->type), wanted);
}

static bool is_whole(enum lm_gguf_type type)
{
    return type != LM_GGUF_F32 && type != LM_GGUF_F64 && type != LM_GGUF_BOOL && type != LM_GGUF_TEXT &&
           type != LM_GGUF_ARRAY;
}

int lm_gguf_int(const struct lm_gguf *file, const char *key, int64_t least, int64_t most, int64_t *result,
                loam_error *error)
{
    const struct lm_gguf_value *value;
    int code = find(file, key, &value, error);
    if (code)
        return code;
    if (!is_whole(value->type))
        return wrong_type(file, key, value, "a whole number", error);
    if (value->integer < least || value->integer > most)
        return lm_fail(error, LOAM_EFORMAT, "%s: %s: found %" PRId64 ", wanted %" PRId64 " to %" PRId64, file->path,
                       key, value->integer, least, most);
    *result = value->integer;
    return LOAM_OK;
}

int lm_gguf_double(const struct lm_gguf *file, const char *key, double *result, loam_error *error)
{
    const struct lm_gguf_value *value;
    int code = find(file, key, &value, error);
    if (code)
        return code;
    if (value->type != LM_GGUF_F32 && value->type != LM_GGUF_F64 && !is_whole(value->type))
        return wrong_type(file, key, value, "a number", error);
    if (value->number - value->number != 0)
        return lm_fail(error, LOAM_EFORMAT, "%s: %s: found a number that is not finite; the file is damaged",
                       file->path, key);
    *result = value->number;
    return LOAM_OK;
}

int lm_gguf_bool(const struct lm_gguf *file, const char *key, bool *result, loam_error *error)
{
    const struct lm_gguf_value *value;
    int code = find(file, key, &value, error);
    if (code)
        return code;
    if (value->type != LM_GGUF_BOOL)
        return wrong_type(file, key, value, "bool", error);
    *result = value->integer != 0;
    return LOAM_OK;
}

int lm_gguf_text(const struct lm_gguf *file, const char *key, const char **result, loam_error *error)
{
    const struct lm_gguf_value *value;
    int code = find(file, key, &value, error);
    if (code)
        return code;
    if (value->type != LM_GGUF_TEXT)
        return wrong_type(file, key, value, "text", error);
    if (memchr(value->text, 0, value->length) || lm_utf8_check(value->text, value->length) != value->length)
        return lm_fail(error, LOAM_EFORMAT,
                       "%s: %s: found text that is not UTF-8 or holds a 0 byte; the file is damaged", file->path, key);
    *result = value->text;
    return LOAM_OK;
}

int lm_gguf_array(const struct lm_gguf *file, const char *key, enum lm_gguf_type item,
                  const struct lm_gguf_value **result, loam_error *error)
{
    const struct lm_gguf_value *value;
    int code = find(file, key, &value, error);
    if (code)
        return code;
    if (value->type != LM_GGUF_ARRAY)
        return wrong_type(file, key, value, "an array", error);
    if (value->item != item && !(item == LM_GGUF_I32 && value->item == LM_GGUF_U32))
        return lm_fail(error, LOAM_EFORMAT, "%s: %s: found an array of %s, wanted one of %s; the file is damaged",
                       file->path, key, lm_gguf_type_name(value->item), lm_gguf_type_name(item));
    *result = value;
    return LOAM_OK;
}

struct lm_gguf_items lm_gguf_items(const struct lm_gguf_value *array)
{
    if (array->type != LM_GGUF_ARRAY)
        return (struct lm_gguf_items){0};
    return (struct lm_gguf_items){array->data, array->count, array->item};
}

bool lm_gguf_next(struct lm_gguf_items *items, struct lm_gguf_value *value)
{
    if (items->left == 0)
        return false;
    lm_gguf_decode(items->type, items->next, value);
    items->next = value->data + value->bytes;
    items->left--;
    return true;
}
