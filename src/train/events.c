/* TensorBoard's event files: TFRecord (length, masked CRC-32C of the length, data, masked CRC-32C of the data) around Event
 * messages of tensorflow/core/util/event.proto, of which scalars need five fields. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 1024 }; /* of one record; seven scalars take some 250 bytes */

struct lm_events {
    int file;
    int64_t size; /* of whole records */
    char *path;
};

/* --- CRC-32C (Castagnoli), bit by bit: a record is short --- */

static uint32_t crc32c(const unsigned char *data, size_t length)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

static uint32_t masked(const unsigned char *data, size_t length)
{
    const uint32_t crc = crc32c(data, length);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

/* --- Protocol buffers --- */

struct message {
    unsigned char data[ROOM];
    size_t length;
    bool failed; /* it did not fit */
};

static void put(struct message *to, const void *data, size_t length)
{
    if (length > ROOM - to->length) {
        to->failed = true;
        return;
    }
    memcpy(to->data + to->length, data, length);
    to->length += length;
}

static void put_varint(struct message *to, uint64_t value)
{
    do {
        const unsigned char byte = (unsigned char)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
        put(to, &byte, 1);
        value >>= 7;
    } while (value);
}

static void put_key(struct message *to, unsigned field, unsigned wire)
{
    put_varint(to, field << 3 | wire);
}

static void put_fixed(struct message *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        const unsigned char byte = (unsigned char)(value >> 8 * i);
        put(to, &byte, 1);
    }
}

static void put_double(struct message *to, unsigned field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(to, field, 1);
    put_fixed(to, bits, 8);
}

static void put_float(struct message *to, unsigned field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(to, field, 5);
    put_fixed(to, bits, 4);
}

static void put_bytes(struct message *to, unsigned field, const void *data, size_t length)
{
    put_key(to, field, 2);
    put_varint(to, length);
    put(to, data, length);
}

/* --- Records --- */

/* Where a record cannot be written whole, none of it stays. */
static int write_record(struct lm_events *events, const struct message *event, loam_error *error)
{
    struct message record = {.length = 0};
    put_fixed(&record, event->length, 8);
    put_fixed(&record, masked(record.data, 8), 4);
    put(&record, event->data, event->length);
    put_fixed(&record, masked(event->data, event->length), 4);
    if (event->failed || record.failed)
        return lm_fail(error, LOAM_EUNSUPPORTED, "%s: a record of more than %d bytes", events->path, ROOM);
    size_t done = 0;
    while (done < record.length) {
        const ssize_t wrote = write(events->file, record.data + done, record.length - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0) {
            int code = lm_fail_errno(error, errno, "%s: a record could not be written; make room, then go on with --resume",
                                     events->path);
            if (done > 0 && ftruncate(events->file, events->size) == 0)
                lseek(events->file, events->size, SEEK_SET);
            return code;
        }
        done += (size_t)wrote;
    }
    events->size += (int64_t)done;
    return LOAM_OK;
}

int lm_events_open(const char *path, struct lm_events **opened, loam_error *error)
{
    struct lm_events *events = lm_alloc(1, sizeof *events, error);
    if (!events)
        return LOAM_ENOMEM;
    events->path = lm_copy_string(path, strlen(path), error);
    events->file = events->path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
    int code = !events->path      ? LOAM_ENOMEM
               : events->file < 0 ? lm_fail_errno(error, errno, "%s: cannot be written", path)
                                  : LOAM_OK;
    struct message first = {.length = 0};
    put_bytes(&first, 3, "brain.Event:2", 13);
    if (code == LOAM_OK)
        code = write_record(events, &first, error);
    if (code != LOAM_OK) {
        lm_events_close(events);
        return code;
    }
    *opened = events;
    return LOAM_OK;
}

int lm_events_add(struct lm_events *events, double time, int64_t step, const struct lm_event *values, loam_error *error)
{
    struct message summary = {.length = 0}, event = {.length = 0};
    for (; values->tag; values++) {
        struct message value = {.length = 0};
        if (isnan(values->value))
            continue;
        put_bytes(&value, 1, values->tag, strlen(values->tag));
        put_float(&value, 2, (float)values->value);
        put_bytes(&summary, 1, value.data, value.length);
    }
    put_double(&event, 1, time);
    put_key(&event, 2, 0);
    put_varint(&event, (uint64_t)step);
    put_bytes(&event, 5, summary.data, summary.length);
    event.failed = event.failed || summary.failed;
    return write_record(events, &event, error);
}

void lm_events_close(struct lm_events *events)
{
    if (!events)
        return;
    if (events->file >= 0)
        close(events->file);
    lm_free(events->path);
    lm_free(events);
}
