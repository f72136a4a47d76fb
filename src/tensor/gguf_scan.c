/* Reading a GGUF file's head. Nothing in it is believed: every count and length is held against the bytes that are
 * left. */
#include "tensor/gguf_scan.h"
#include "tensor/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct cursor {
    struct lm_gguf *file;
    size_t place;
    const char *section; /* what is being read, for messages */
    uint64_t index;
    loam_error *error;
};

static const struct {
    const char *name;
    size_t width;
} types[LM_GGUF_TYPES] = {
    [LM_GGUF_U8] = {"u8", 1},       [LM_GGUF_I8] = {"i8", 1},     [LM_GGUF_U16] = {"u16", 2},
    [LM_GGUF_I16] = {"i16", 2},     [LM_GGUF_U32] = {"u32", 4},   [LM_GGUF_I32] = {"i32", 4},
    [LM_GGUF_F32] = {"f32", 4},     [LM_GGUF_BOOL] = {"bool", 1}, [LM_GGUF_TEXT] = {"text", 0},
    [LM_GGUF_ARRAY] = {"array", 0}, [LM_GGUF_U64] = {"u64", 8},   [LM_GGUF_I64] = {"i64", 8},
    [LM_GGUF_F64] = {"f64", 8},
};

const char *lm_gguf_type_name(enum lm_gguf_type type)
{
    return (unsigned)type < LM_GGUF_TYPES ? types[type].name : "unknown";
}

size_t lm_gguf_width(enum lm_gguf_type type)
{
    return types[type].width;
}

/* ggml's numbers of element types. */
static const struct {
    uint32_t number;
    enum lm_dtype dtype;
} numbers[] = {
    {0, LM_F32},   {1, LM_F16},   {2, LM_Q4_0}, {3, LM_Q4_1}, {6, LM_Q5_0}, {7, LM_Q5_1}, {8, LM_Q8_0}, {12, LM_Q4_K},
    {13, LM_Q5_K}, {14, LM_Q6_K}, {24, LM_I8},  {25, LM_I16}, {26, LM_I32}, {27, LM_I64}, {28, LM_F64}, {30, LM_BF16},
};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

/* Those that loam does not read, by name, so that a message can say what a file holds. */
static const struct {
    uint32_t number;
    const char *name;
} strangers[] = {
    {9, "Q8_1"},     {10, "Q2_K"},  {11, "Q3_K"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"},
    {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"},
    {29, "IQ1_M"},   {34, "TQ1_0"}, {35, "TQ2_0"},  {39, "MXFP4"},
};

bool lm_gguf_number(enum lm_dtype dtype, uint32_t *number)
{
    for (size_t i = 0; i < NUMBERS; i++)
        if (numbers[i].dtype == dtype) {
            *number = numbers[i].number;
            return true;
        }
    return false;
}

bool lm_gguf_dtype(uint32_t number, enum lm_dtype *dtype)
{
    for (size_t i = 0; i < NUMBERS; i++)
        if (numbers[i].number == number) {
            *dtype = numbers[i].dtype;
            return true;
        }
    return false;
}

static const char *stranger_name(uint32_t number)
{
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
        if (strangers[i].number == number)
            return strangers[i].name;
    return "unknown";
}

static size_t left(const struct cursor *cursor)
{
    return cursor->file->size - cursor->place;
}

static int short_of(struct cursor *cursor, uint64_t wanted)
{
    return lm_fail_at(cursor->error, LOAM_EFORMAT, (int64_t)cursor->place,
                      "%s: %s %" PRIu64 ", byte %zu: found %zu bytes to the end of the file, wanted at least %" PRIu64
                      "; the file is cut short or made to mislead, fetch it again",
                      cursor->file->path, cursor->section, cursor->index, cursor->place, left(cursor), wanted);
}

static int take(struct cursor *cursor, void *out, size_t bytes)
{
    if (left(cursor) < bytes)
        return short_of(cursor, bytes);
    memcpy(out, cursor->file->bytes + cursor->place, bytes);
    cursor->place += bytes;
    return LOAM_OK;
}

/* A length and that many bytes. */
static int take_text(struct cursor *cursor, const char **text, size_t *length)
{
    uint64_t bytes = 0;
    int code = take(cursor, &bytes, 8);
    if (code)
        return code;
    if (left(cursor) < bytes)
        return short_of(cursor, bytes);
    *text = (const char *)cursor->file->bytes + cursor->place;
    *length = (size_t)bytes;
    cursor->place += (size_t)bytes;
    return LOAM_OK;
}

/* The key of a pair or the name of a tensor, copied. */
static int take_name(struct cursor *cursor, char **name)
{
    const char *text = NULL;
    size_t length = 0;
    const size_t place = cursor->place;
    int code = take_text(cursor, &text, &length);
    if (code)
        return code;
    if (length == 0 || length > LM_GGUF_NAME || memchr(text, 0, length) || lm_utf8_check(text, length) != length)
        return lm_fail_at(cursor->error, LOAM_EFORMAT, (int64_t)place,
                          "%s: %s %" PRIu64
                          ", byte %zu: found a name of %zu bytes, wanted UTF-8 without 0 bytes, from 1 to "
                          "%d bytes long; the file is damaged",
                          cursor->file->path, cursor->section, cursor->index, place, length, LM_GGUF_NAME);
    *name = lm_copy_string(text, length, cursor->error);
    return *name ? LOAM_OK : LOAM_ENOMEM;
}

static int check_type(struct cursor *cursor, uint32_t type)
{
    if (type < LM_GGUF_TYPES)
        return LOAM_OK;
    return lm_fail_at(cursor->error, LOAM_EFORMAT, (int64_t)cursor->place - 4,
                      "%s: %s %" PRIu64 ", byte %zu: found %" PRIu32
                      " as a value's type, wanted 0 to %d; the file is damaged",
                      cursor->file->path, cursor->section, cursor->index, cursor->place - 4, type, LM_GGUF_TYPES - 1);
}

static int skip_value(struct cursor *cursor, enum lm_gguf_type type, int nesting);

/* The items of an array, fixed width: in one step, but truths must be 0 or 1. */
static int skip_fixed(struct cursor *cursor, enum lm_gguf_type type, uint64_t count)
{
    const size_t width = lm_gguf_width(type);
    if (count > left(cursor) / width)
        return short_of(cursor, count > UINT64_MAX / width ? UINT64_MAX : count * width);
    if (type == LM_GGUF_BOOL)
        for (size_t i = 0; i < count; i++)
            if (cursor->file->bytes[cursor->place + i] > 1)
                return lm_fail_at(cursor->error, LOAM_EFORMAT, (int64_t)(cursor->place + i),
                                  "%s: %s %" PRIu64
                                  ", byte %zu: found %d as a truth, wanted 0 or 1; the file is damaged",
                                  cursor->file->path, cursor->section, cursor->index, cursor->place + i,
                                  cursor->file->bytes[cursor->place + i]);
    cursor->place += (size_t)count * width;
    return LOAM_OK;
}

static int skip_array(struct cursor *cursor, int nesting)
{
    uint32_t type = 0;
    uint64_t count = 0;
    if (nesting > LM_GGUF_NESTING)
        return lm_fail_at(cursor->error, LOAM_EFORMAT, (int64_t)cursor->place,
                          "%s: %s %" PRIu64
                          ", byte %zu: found arrays more than %d deep in each other; the file is made to "
                          "mislead",
                          cursor->file->path, cursor->section, cursor->index, cursor->place, LM_GGUF_NESTING);
    int code = take(cursor, &type, 4);
    if (!code)
        code = check_type(cursor, type);
    if (!code)
        code = take(cursor, &count, 8);
    if (code)
        return code;
    if (lm_gguf_width((enum lm_gguf_type)type))
        return skip_fixed(cursor, (enum lm_gguf_type)type, count);
    if (count > left(cursor) / 8) /* the smallest item is an empty text */
        return short_of(cursor, count > UINT64_MAX / 8 ? UINT64_MAX : count * 8);
    for (uint64_t i = 0; i < count && !code; i++)
        code = skip_value(cursor, (enum lm_gguf_type)type, nesting + 1);
    return code;
}

static int skip_value(struct cursor *cursor, enum lm_gguf_type type, int nesting)
{
    const char *text;
    size_t length;
    if (type == LM_GGUF_TEXT)
        return take_text(cursor, &text, &length);
    return type == LM_GGUF_ARRAY ? skip_array(cursor, nesting) : skip_fixed(cursor, type, 1);
}

static int64_t load_integer(enum lm_gguf_type type, const unsigned char *data)
{
    uint64_t bits = 0;
    memcpy(&bits, data, lm_gguf_width(type));
    switch (type) {
    case LM_GGUF_I8:
        return (int8_t)bits;
    case LM_GGUF_I16:
        return (int16_t)bits;
    case LM_GGUF_I32:
        return (int32_t)bits;
    case LM_GGUF_U64:
        return bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
    default:
        return (int64_t)bits;
    }
}

static size_t value_bytes(enum lm_gguf_type type, const unsigned char *data);

static size_t array_bytes(enum lm_gguf_type item, uint64_t count, const unsigned char *data)
{
    size_t bytes = 0;
    if (lm_gguf_width(item))
        return lm_gguf_width(item) * (size_t)count;
    for (uint64_t i = 0; i < count; i++)
        bytes += value_bytes(item, data + bytes);
    return bytes;
}

static size_t value_bytes(enum lm_gguf_type type, const unsigned char *data)
{
    uint64_t length;
    uint32_t item;
    if (lm_gguf_width(type))
        return lm_gguf_width(type);
    if (type == LM_GGUF_TEXT) {
        memcpy(&length, data, 8);
        return 8 + (size_t)length;
    }
    memcpy(&item, data, 4);
    memcpy(&length, data + 4, 8);
    return 12 + array_bytes((enum lm_gguf_type)item, length, data + 12);
}

void lm_gguf_decode(enum lm_gguf_type type, const unsigned char *data, struct lm_gguf_value *value)
{
    uint32_t item;
    uint64_t length;
    float single;
    *value = (struct lm_gguf_value){.type = type, .data = data, .bytes = lm_gguf_width(type)};
    switch (type) {
    case LM_GGUF_F32:
        memcpy(&single, data, 4);
        value->number = (double)single;
        return;
    case LM_GGUF_F64:
        memcpy(&value->number, data, 8);
        return;
    case LM_GGUF_TEXT:
        memcpy(&length, data, 8);
        value->text = (const char *)data + 8;
        value->length = (size_t)length;
        value->data = data + 8;
        value->bytes = (size_t)length;
        return;
    case LM_GGUF_ARRAY:
        memcpy(&item, data, 4);
        memcpy(&value->count, data + 4, 8);
        value->item = (enum lm_gguf_type)item;
        value->data = data + 12;
        value->bytes = array_bytes(value->item, value->count, value->data);
        return;
    default:
        value->integer = load_integer(type, data);
        value->number = (double)value->integer;
    }
}

static int take_pair(struct cursor *cursor)
{
    struct lm_gguf *file = cursor->file;
    uint32_t type = 0;
    int code = lm_list_reserve((void **)&file->pairs, &file->pair_capacity, file->pair_count, sizeof *file->pairs,
                               cursor->error);
    if (code)
        return code;
    struct lm_gguf_pair *pair = &file->pairs[file->pair_count];
    *pair = (struct lm_gguf_pair){0};
    if ((code = take_name(cursor, &pair->key)))
        return code;
    file->pair_count++; /* from here on lm_gguf_close frees it */
    if ((code = take(cursor, &type, 4)) || (code = check_type(cursor, type)))
        return code;
    const unsigned char *data = file->bytes + cursor->place;
    if ((code = skip_value(cursor, (enum lm_gguf_type)type, 1)))
        return code;
    struct lm_gguf_value value;
    lm_gguf_decode((enum lm_gguf_type)type, data, &value);
    if (value.type == LM_GGUF_TEXT && !(value.text = lm_copy_string(value.text, value.length, cursor->error)))
        return LOAM_ENOMEM;
    pair->value = value;
    return LOAM_OK;
}

static int take_shape(struct cursor *cursor, struct lm_gguf_info *info)
{
    uint32_t rank = 0;
    int code = take(cursor, &rank, 4);
    if (code)
        return code;
    if (rank > LM_GGUF_RANK)
        return lm_fail_at(cursor->error, LOAM_EFORMAT, (int64_t)cursor->place - 4,
                          "%s: tensor \"%s\": found %" PRIu32 " dimensions, wanted at most %d; the file is damaged",
                          cursor->file->path, info->name, rank, LM_GGUF_RANK);
    info->rank = (int)rank;
    for (int i = info->rank - 1; i >= 0; i--)
        if ((code = take(cursor, &info->shape[i], 8)))
            return code;
    return LOAM_OK;
}

static int take_dtype(struct cursor *cursor, struct lm_gguf_info *info)
{
    uint32_t number = 0;
    int code = take(cursor, &number, 4);
    if (code)
        return code;
    if (!lm_gguf_dtype(number, &info->dtype))
        return lm_fail_at(cursor->error, LOAM_EUNSUPPORTED, (int64_t)cursor->place - 4,
                          "%s: tensor \"%s\": found element type %" PRIu32
                          " (%s), wanted F32, F16, BF16, Q8_0, Q4_0, Q4_1, "
                          "Q5_0, Q5_1, Q4_K, Q5_K or Q6_K; take a file quantized to one of these",
                          cursor->file->path, info->name, number, stranger_name(number));
    const int64_t row = info->rank ? info->shape[info->rank - 1] : 1;
    if (row % lm_dtype_block_elements(info->dtype) != 0)
        return lm_fail_at(
            cursor->error, LOAM_EFORMAT, (int64_t)cursor->place - 4,
            "%s: tensor \"%s\": found rows of %" PRId64 " elements, wanted a multiple of %d, the block of %s; the "
            "file is damaged",
            cursor->file->path, info->name, row, lm_dtype_block_elements(info->dtype), lm_dtype_name(info->dtype));
    return LOAM_OK;
}

static int take_info(struct cursor *cursor)
{
    struct lm_gguf *file = cursor->file;
    int code = lm_list_reserve((void **)&file->infos, &file->info_capacity, file->info_count, sizeof *file->infos,
                               cursor->error);
    if (code)
        return code;
    struct lm_gguf_info *info = &file->infos[file->info_count];
    *info = (struct lm_gguf_info){0};
    if ((code = take_name(cursor, &info->name)))
        return code;
    file->info_count++;
    if ((code = take_shape(cursor, info)) || (code = take_dtype(cursor, info)))
        return code;
    return take(cursor, &info->offset, 8);
}

static int find_alignment(const struct lm_gguf *file, uint64_t *alignment, loam_error *error)
{
    *alignment = LM_GGUF_ALIGNMENT;
    for (size_t i = 0; i < file->pair_count; i++) {
        const struct lm_gguf_value *value = &file->pairs[i].value;
        if (strcmp(file->pairs[i].key, "general.alignment") != 0)
            continue;
        if (value->type != LM_GGUF_U32 || value->integer < 8 || (value->integer & (value->integer - 1)) != 0)
            return lm_fail(error, LOAM_EFORMAT,
                           "%s: general.alignment: found %s %" PRId64
                           ", wanted a u32 that is a power of two from 8 on; "
                           "the file is damaged",
                           file->path, lm_gguf_type_name(value->type), value->integer);
        *alignment = (uint64_t)value->integer;
    }
    return LOAM_OK;
}

/* Where a tensor's bytes lie. `begin`: of the data in the file. */
static int place_tensor(struct lm_gguf *file, size_t index, uint64_t begin, uint64_t alignment, loam_error *error)
{
    const struct lm_gguf_info *info = &file->infos[index];
    struct lm_tensor *tensor = &file->tensors[index];
    *tensor = (struct lm_tensor){.name = info->name, .dtype = info->dtype, .rank = info->rank, .shape = info->shape};
    int code = lm_tensor_measure(file->path, info->name, info->dtype, info->rank, info->shape, &tensor->count,
                                 &tensor->bytes, error);
    if (code)
        return code;
    const uint64_t room = file->size > begin ? file->size - begin : 0;
    if (info->offset % alignment != 0)
        return lm_fail(error, LOAM_EFORMAT,
                       "%s: tensor \"%s\": found offset %" PRIu64 ", wanted a multiple of %" PRIu64
                       "; the file is damaged",
                       file->path, info->name, info->offset, alignment);
    if (tensor->bytes > room || info->offset > room - tensor->bytes)
        return lm_fail(error, LOAM_EFORMAT,
                       "%s: tensor \"%s\": found %" PRIu64 " bytes from %" PRIu64 " on, wanted them within the %" PRIu64
                       " bytes of data; the file is cut short, fetch it again",
                       file->path, info->name, tensor->bytes, info->offset, room);
    tensor->data = tensor->bytes ? file->bytes + begin + info->offset : file->bytes;
    return LOAM_OK;
}

static int by_place(const void *left_one, const void *right_one, void *user)
{
    const struct lm_tensor *tensors = user, *a = &tensors[*(const size_t *)left_one],
                           *b = &tensors[*(const size_t *)right_one];
    return a->data != b->data ? (a->data < b->data ? -1 : 1) : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static int check_apart(struct lm_gguf *file, loam_error *error)
{
    if (file->info_count < 2)
        return LOAM_OK;
    size_t *order = lm_alloc(file->info_count, sizeof *order, error);
    if (!order)
        return LOAM_ENOMEM;
    for (size_t i = 0; i < file->info_count; i++)
        order[i] = i;
    qsort_r(order, file->info_count, sizeof *order, by_place, file->tensors);
    int code = LOAM_OK;
    const struct lm_tensor *before = NULL;
    for (size_t i = 0; i < file->info_count && !code; i++) {
        const struct lm_tensor *tensor = &file->tensors[order[i]];
        if (tensor->bytes == 0)
            continue;
        if (before && (const unsigned char *)tensor->data < (const unsigned char *)before->data + before->bytes)
            code = lm_fail(
                error, LOAM_EFORMAT,
                "%s: tensor \"%s\": its bytes begin within those of tensor \"%s\"; the file is damaged or made to "
                "mislead",
                file->path, tensor->name, before->name);
        before = tensor;
    }
    lm_free(order);
    return code;
}

static int place_tensors(struct lm_gguf *file, size_t head, loam_error *error)
{
    uint64_t alignment;
    int code = find_alignment(file, &alignment, error);
    if (code || file->info_count == 0)
        return code;
    if (!(file->tensors = lm_alloc(file->info_count, sizeof *file->tensors, error)))
        return LOAM_ENOMEM;
    const uint64_t begin = ((uint64_t)head + alignment - 1) / alignment * alignment;
    for (size_t i = 0; i < file->info_count && !code; i++)
        code = place_tensor(file, i, begin, alignment, error);
    return code ? code : check_apart(file, error);
}

static int take_head(struct cursor *cursor, uint64_t *tensors, uint64_t *pairs)
{
    char magic[4];
    uint32_t version = 0;
    const char *path = cursor->file->path;
    if (cursor->file->size < 4 || memcmp(cursor->file->bytes, "GGUF", 4) != 0)
        return lm_fail_at(cursor->error, LOAM_EFORMAT, 0, "%s: found no \"GGUF\" at its begin; it is not a GGUF file",
                          path);
    int code = take(cursor, magic, 4);
    if (!code)
        code = take(cursor, &version, 4);
    if (code)
        return code;
    if (version != 2 && version != 3)
        return lm_fail_at(cursor->error, LOAM_EUNSUPPORTED, 4,
                          "%s: found GGUF version %" PRIu32 "%s, wanted 2 or 3; %s", path, version,
                          version && version % 65536 == 0 ? " (bytes in big-endian order)" : "",
                          "convert the model again with a current program");
    code = take(cursor, tensors, 8);
    return code ? code : take(cursor, pairs, 8);
}

int lm_gguf_scan(struct lm_gguf *file, loam_error *error)
{
    struct cursor cursor = {.file = file, .section = "head", .error = error};
    uint64_t tensors = 0, pairs = 0;
    int code = take_head(&cursor, &tensors, &pairs);
    if (code)
        return code;
    /* The smallest pair has 14 bytes, the smallest tensor 25; without this a false count would only show at the end. */
    if (pairs > left(&cursor) / 14 || tensors > left(&cursor) / 25)
        return lm_fail_at(error, LOAM_EFORMAT, 8,
                          "%s: found %" PRIu64 " tensors and %" PRIu64
                          " pairs announced, wanted no more than %zu bytes can "
                          "hold; the file is cut short or made to mislead",
                          file->path, tensors, pairs, left(&cursor));
    cursor.section = "pair";
    for (cursor.index = 0; cursor.index < pairs && !code; cursor.index++)
        code = take_pair(&cursor);
    cursor.section = "tensor";
    for (cursor.index = 0; cursor.index < tensors && !code; cursor.index++)
        code = take_info(&cursor);
    return code ? code : place_tensors(file, cursor.place, error);
}
