/* A model's tensors in a directory: one file, or shards with an index, as the Hugging Face hub has them. */
#include "tensor/tensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char single_name[] = "model.safetensors", index_name[] = "model.safetensors.index.json";

static int by_text(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* A file name from an index, which must not lead out of the directory. */
static int check_file_name(const struct lm_document *index, const struct lm_value *value, loam_error *error)
{
    const char *name;
    int code = lm_value_string(index, value, &name, error);
    if (code)
        return code;
    if (strlen(name) != value->length || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..") || !*name)
        return lm_value_fail(index, value, error,
                             "found \"%s\", wanted the name of a file in this directory; an index that leads "
                             "out of it is not opened",
                             name);
    return LOAM_OK;
}

/* The different file names of the weight_map, sorted; they point into the document. */
static int shard_names(const struct lm_document *index, const struct lm_value *map, const char ***names, size_t *count,
                       loam_error *error)
{
    if (!map || map->kind != LM_OBJECT || map->length == 0)
        return lm_value_fail(index, map, error, "weight_map: wanted an object that names a file for each tensor");
    const char **list = lm_alloc(map->length, sizeof *list, error);
    if (!list)
        return LOAM_ENOMEM;
    size_t kept = 0;
    for (size_t i = 0; i < map->length; i++) {
        int code = check_file_name(index, &map->items[i], error);
        if (code) {
            lm_free(list);
            return code;
        }
        list[i] = map->items[i].text;
    }
    qsort(list, map->length, sizeof *list, by_text);
    for (size_t i = 0; i < map->length; i++)
        if (kept == 0 || strcmp(list[kept - 1], list[i]) != 0)
            list[kept++] = list[i];
    *names = list;
    *count = kept;
    return LOAM_OK;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Every tensor of the weight_map is in the file it names, and there is no other. Keys of a document are unique, so
 * equal numbers make it hold in both directions. */
static int check_map(const struct lm_tensors *tensors, const struct lm_document *index, const struct lm_value *map,
                     loam_error *error)
{
    for (size_t i = 0; i < map->length; i++) {
        const struct lm_tensor *tensor = lm_tensors_find(tensors, map->keys[i].text);
        if (!tensor || strlen(tensor->name) != map->keys[i].length)
            return lm_value_fail(index, &map->items[i], error,
                                 "found no tensor \"%s\" in the shards, wanted it in %s; fetch the "
                                 "shard again",
                                 map->keys[i].text, map->items[i].text);
        const char *file = base_name(lm_tensors_file_of(tensors, tensor)->path);
        if (strcmp(file, map->items[i].text) != 0)
            return lm_value_fail(index, &map->items[i], error,
                                 "tensor \"%s\": found in %s, wanted in %s; index and shards do "
                                 "not belong together",
                                 tensor->name, file, map->items[i].text);
    }
    return LOAM_OK;
}

static int name_surplus(const struct lm_tensors *tensors, const struct lm_value *map, const char *path,
                        loam_error *error)
{
    for (size_t i = 0; i < tensors->count; i++) {
        const struct lm_tensor *tensor = &tensors->list[i];
        if (!lm_value_find(map, tensor->name))
            return lm_fail(error, LOAM_EFORMAT,
                           "%s: weight_map: found no entry for tensor \"%s\" of %s, wanted all; index and shards "
                           "do not belong together",
                           path, tensor->name, lm_tensors_file_of(tensors, tensor)->path);
    }
    return LOAM_OK;
}

static int open_shards(const char *directory, const char *path, const struct lm_document *index,
                       struct lm_tensors **result, loam_error *error)
{
    const struct lm_value *map = lm_value_find(lm_document_root(index), "weight_map");
    const char **names = NULL;
    size_t count = 0;
    int code = shard_names(index, map, &names, &count, error);
    if (!code)
        code = lm_tensors_new(count, result, error);
    for (size_t i = 0; i < count && !code; i++) {
        char *shard = lm_path_join(directory, names[i], error);
        code = shard ? lm_tensors_add_file(*result, shard, error) : LOAM_ENOMEM;
        lm_free(shard);
    }
    lm_free(names);
    if (!code)
        code = lm_tensors_index(*result, error);
    if (!code)
        code = check_map(*result, index, map, error);
    if (!code && (*result)->count != map->length)
        code = name_surplus(*result, map, path, error);
    return code;
}

static int open_index(const char *directory, const char *path, struct lm_tensors **result, loam_error *error)
{
    struct lm_document *index;
    struct lm_tensors *tensors = NULL;
    int code = lm_json_read(path, &index, error);
    if (code)
        return code;
    code = open_shards(directory, path, index, &tensors, error);
    lm_document_free(index);
    if (code)
        lm_tensors_close(tensors);
    else
        *result = tensors;
    return code;
}

int lm_tensors_open_directory(const char *directory, struct lm_tensors **result, loam_error *error)
{
    char *single = lm_path_join(directory, single_name, error);
    char *index = single ? lm_path_join(directory, index_name, error) : NULL;
    int code = LOAM_ENOMEM;
    if (index && lm_file_exists(single))
        code = lm_tensors_open(single, result, error);
    else if (index && lm_file_exists(index))
        code = open_index(directory, index, result, error);
    else if (index)
        code = lm_fail(error, LOAM_ENOTFOUND,
                       "%s: found neither %s nor %s; give a model directory as the Hugging Face hub has it, "
                       "with weights as safetensors",
                       directory, single_name, index_name);
    lm_free(single);
    lm_free(index);
    return code;
}

/* --- Saving --- */

struct shard {
    char name[64], *path; /* path: with the directory */
    size_t first, count;  /* tensors of the list */
    uint64_t bytes;
    struct lm_tensors_writer *writer;
};
struct save {
    const char *directory;
    const struct lm_tensor *list;
    size_t count, shard_count;
    struct shard *shards;
};

/* Cuts the list where the next tensor would take a shard over the limit; a tensor over it is a shard of its own. */
static int cut_shards(struct save *save, uint64_t limit, loam_error *error)
{
    uint64_t bytes, elements;
    save->shards = lm_alloc(save->count ? save->count : 1, sizeof *save->shards, error);
    if (!save->shards)
        return LOAM_ENOMEM;
    struct shard *shard = &save->shards[0];
    for (size_t i = 0; i < save->count; i++) {
        const struct lm_tensor *tensor = &save->list[i];
        int code = lm_tensor_measure(save->directory, tensor->name, tensor->dtype, tensor->rank, tensor->shape,
                                     &elements, &bytes, error);
        if (code)
            return code;
        if (limit && shard->count > 0 && (bytes > limit || shard->bytes > limit - bytes)) {
            shard++;
            shard->first = i;
        }
        shard->count++;
        if (__builtin_add_overflow(shard->bytes, bytes, &shard->bytes))
            return lm_fail(error, LOAM_EUSAGE, "%s: the tensors take more than 2^64 bytes", save->directory);
    }
    save->shard_count = (size_t)(shard - save->shards) + 1;
    return LOAM_OK;
}

static int name_shards(struct save *save, loam_error *error)
{
    for (size_t i = 0; i < save->shard_count; i++) {
        struct shard *shard = &save->shards[i];
        if (save->shard_count == 1)
            snprintf(shard->name, sizeof shard->name, "%s", single_name);
        else
            snprintf(shard->name, sizeof shard->name, "model-%05zu-of-%05zu.safetensors", i + 1, save->shard_count);
        if (!(shard->path = lm_path_join(save->directory, shard->name, error)))
            return LOAM_ENOMEM;
    }
    return LOAM_OK;
}

static int write_shard(struct save *save, struct shard *shard, lm_tensor_source source, void *user, loam_error *error)
{
    static const char *const metadata[] = {"format", "pt", NULL}; /* transformers asks for it */
    int code = lm_tensors_create(shard->path, save->list + shard->first, shard->count, metadata, &shard->writer, error);
    for (size_t i = 0; i < shard->count && !code; i++)
        code = source(user, shard->first + i, shard->writer, i, error);
    return code;
}

static int write_index(const struct save *save, const char *path, loam_error *error)
{
    struct lm_bytes text = {0};
    struct lm_json_writer json = lm_json_writer(&text, 2);
    uint64_t total = 0;
    for (size_t i = 0; i < save->shard_count; i++)
        total += save->shards[i].bytes;
    lm_json_begin_object(&json);
    lm_json_key(&json, "metadata");
    lm_json_begin_object(&json);
    lm_json_key(&json, "total_size");
    lm_json_int(&json, (int64_t)total);
    lm_json_end_object(&json);
    lm_json_key(&json, "weight_map");
    lm_json_begin_object(&json);
    for (size_t i = 0; i < save->shard_count; i++)
        for (size_t j = 0; j < save->shards[i].count; j++) {
            lm_json_key(&json, save->list[save->shards[i].first + j].name);
            lm_json_text(&json, save->shards[i].name);
        }
    lm_json_end_object(&json);
    lm_json_end_object(&json);
    int code = lm_json_writer_finish(&json, error);
    if (!code)
        code = lm_file_replace(path, text.data, text.length, error);
    lm_bytes_free(&text);
    return code;
}

static int remove_file(const char *path, loam_error *error)
{
    return unlink(path) == 0 || errno == ENOENT ? LOAM_OK : lm_fail_errno(error, errno, "%s: cannot be removed", path);
}

static int finish_shards(struct save *save, loam_error *error)
{
    int code = LOAM_OK;
    for (size_t i = 0; i < save->shard_count && !code; i++) {
        struct lm_tensors_writer *writer = save->shards[i].writer;
        save->shards[i].writer = NULL;
        code = lm_tensors_finish(writer, error);
    }
    return code;
}

/* Puts the finished files in place. A reader prefers model.safetensors, so that one appears or goes in one step. Shards
 * of a save with the same number of shards would be replaced one by one: the index is removed before, so that a kill in
 * between leaves a directory that does not open rather than one that mixes two models. */
static int commit(struct save *save, const char *single, const char *index, loam_error *error)
{
    int code = LOAM_OK;
    if (save->shard_count == 1) {
        code = finish_shards(save, error);
        return code ? code : remove_file(index, error);
    }
    for (size_t i = 0; i < save->shard_count && !code; i++)
        if (lm_file_exists(save->shards[i].path)) {
            code = remove_file(index, error);
            break;
        }
    if (!code)
        code = finish_shards(save, error);
    if (!code)
        code = write_index(save, index, error);
    return code ? code : remove_file(single, error);
}

int lm_tensors_save_directory(const char *directory, const struct lm_tensor *list, size_t count, uint64_t shard_limit,
                              lm_tensor_source source, void *user, loam_error *error)
{
    struct save save = {.directory = directory, .list = list, .count = count};
    char *single = lm_path_join(directory, single_name, error);
    char *index = single ? lm_path_join(directory, index_name, error) : NULL;
    int code = index ? lm_make_directories(directory, error) : LOAM_ENOMEM;
    if (!code)
        code = cut_shards(&save, shard_limit, error);
    if (!code)
        code = name_shards(&save, error);
    for (size_t i = 0; i < save.shard_count && !code; i++)
        code = write_shard(&save, &save.shards[i], source, user, error);
    if (!code)
        code = commit(&save, single, index, error);
    for (size_t i = 0; i < save.shard_count; i++) {
        lm_tensors_abandon(save.shards[i].writer);
        lm_free(save.shards[i].path);
    }
    lm_free(save.shards);
    lm_free(single);
    lm_free(index);
    return code;
}
