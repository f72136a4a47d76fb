#include "base.h"

#include <locale.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The only state of the library that is not in an object: what tests use to make allocations fail and to count
 * them. An allocation may happen in any thread, hence the atomics. */
static atomic_int_least64_t fail_countdown = -1;
static atomic_int_least64_t call_count;

void lm_memory_fail_after(int64_t n)
{
    atomic_store(&fail_countdown, n < 0 ? -1 : n);
}

int64_t lm_memory_calls(void)
{
    return atomic_load(&call_count);
}

static bool must_fail(void)
{
    atomic_fetch_add_explicit(&call_count, 1, memory_order_relaxed);
    int64_t left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    while (left > 1) {
        if (atomic_compare_exchange_weak(&fail_countdown, &left, left - 1))
            return false;
    }
    return left >= 0;
}

bool lm_mul(size_t a, size_t b, size_t *result)
{
    return !__builtin_mul_overflow(a, b, result);
}

bool lm_add(size_t a, size_t b, size_t *result)
{
    return !__builtin_add_overflow(a, b, result);
}

size_t lm_round_up(size_t value, size_t multiple)
{
    size_t rest = value % multiple;
    return rest == 0 ? value : value + (multiple - rest);
}

static int fail_memory(loam_error *error, size_t count, size_t size)
{
    return lm_fail(error, LOAM_ENOMEM, "not enough memory for %zu x %zu bytes", count, size);
}

void *lm_alloc(size_t count, size_t size, loam_error *error)
{
    size_t bytes;
    void *memory = NULL;
    if (!must_fail() && lm_mul(count, size, &bytes) && bytes <= PTRDIFF_MAX)
        memory = calloc(1, bytes ? bytes : 1);
    if (!memory)
        fail_memory(error, count, size);
    return memory;
}

void *lm_resize(void *old, size_t count, size_t size, loam_error *error)
{
    size_t bytes;
    void *memory = NULL;
    if (!must_fail() && lm_mul(count, size, &bytes) && bytes <= PTRDIFF_MAX)
        memory = realloc(old, bytes ? bytes : 1);
    if (!memory)
        fail_memory(error, count, size);
    return memory;
}

char *lm_copy_string(const char *text, size_t length, loam_error *error)
{
    size_t bytes;
    if (!lm_add(length, 1, &bytes)) {
        fail_memory(error, length, 1);
        return NULL;
    }
    char *copy = lm_resize(NULL, bytes, 1, error);
    if (!copy)
        return NULL;
    if (length)
        memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}

void lm_free(void *pointer)
{
    free(pointer);
}

void lm_memory_trim(void)
{
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

static size_t whole_pages(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return bytes > SIZE_MAX - page ? SIZE_MAX - page + 1 : lm_round_up(bytes ? bytes : 1, page);
}

void *lm_block_map(size_t bytes, loam_error *error)
{
    void *block = MAP_FAILED;
    size_t length = whole_pages(bytes);
    if (!must_fail())
        block = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) {
        lm_fail(error, LOAM_ENOMEM, "not enough memory for a block of %zu bytes", bytes);
        return NULL;
    }
    madvise(block, length, MADV_HUGEPAGE);    /* a wish: where it is not granted, small pages do */
    return block;
}

void lm_block_unmap(void *block, size_t bytes)
{
    if (block)
        munmap(block, whole_pages(bytes));
}

/* Room for `wanted` items of `size` bytes, growing by half at least, so that n additions cost O(n). */
static void *grow(void *data, size_t *capacity, size_t wanted, size_t size, loam_error *error)
{
    size_t room = *capacity + *capacity / 2;
    if (room < wanted)
        room = wanted;
    if (room < 16)
        room = 16;
    void *larger = lm_resize(data, room, size, error);
    if (larger)
        *capacity = room;
    return larger;
}

int lm_bytes_reserve(struct lm_bytes *bytes, size_t more, loam_error *error)
{
    size_t wanted;
    if (!lm_add(bytes->length, more, &wanted) || wanted >= PTRDIFF_MAX)
        return lm_fail(error, LOAM_ENOMEM, "not enough memory for %zu bytes and %zu more", bytes->length, more);
    if (bytes->data && wanted < bytes->capacity)
        return LOAM_OK;
    char *data = grow(bytes->data, &bytes->capacity, wanted + 1, 1, error);
    if (!data)
        return LOAM_ENOMEM;
    bytes->data = data;
    bytes->data[bytes->length] = 0;
    return LOAM_OK;
}

int lm_bytes_append(struct lm_bytes *bytes, const void *data, size_t length, loam_error *error)
{
    int code = lm_bytes_reserve(bytes, length, error);
    if (code != LOAM_OK)
        return code;
    if (length)
        memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
    bytes->data[bytes->length] = 0;
    return LOAM_OK;
}

int lm_bytes_format(struct lm_bytes *bytes, loam_error *error, const char *format, ...)
{
    char small[512];
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    locale_t before = uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
    int length = vsnprintf(small, sizeof small, format, arguments);
    int code = LOAM_OK;
    if (length < 0) {
        code = lm_fail(error, LOAM_EUSAGE, "a text cannot be formatted as '%s'", format);
    } else if ((size_t)length < sizeof small) {
        code = lm_bytes_append(bytes, small, (size_t)length, error);
    } else {
        code = lm_bytes_reserve(bytes, (size_t)length, error);
        if (code == LOAM_OK) {
            vsnprintf(bytes->data + bytes->length, (size_t)length + 1, format, again);
            bytes->length += (size_t)length;
        }
    }
    uselocale(before);
    va_end(again);
    va_end(arguments);
    return code;
}

void lm_bytes_free(struct lm_bytes *bytes)
{
    lm_free(bytes->data);
    *bytes = (struct lm_bytes){0};
}

int lm_ids_append(struct lm_ids *ids, const int32_t *data, size_t count, loam_error *error)
{
    size_t wanted;
    if (!lm_add(ids->length, count, &wanted))
        return lm_fail(error, LOAM_ENOMEM, "not enough memory for %zu ids and %zu more", ids->length, count);
    if (wanted > ids->capacity) {
        int32_t *larger = grow(ids->data, &ids->capacity, wanted, sizeof *ids->data, error);
        if (!larger)
            return LOAM_ENOMEM;
        ids->data = larger;
    }
    if (count)
        memcpy(ids->data + ids->length, data, count * sizeof *data);
    ids->length = wanted;
    return LOAM_OK;
}

int lm_ids_push(struct lm_ids *ids, int32_t id, loam_error *error)
{
    return lm_ids_append(ids, &id, 1, error);
}

void lm_ids_free(struct lm_ids *ids)
{
    lm_free(ids->data);
    *ids = (struct lm_ids){0};
}
