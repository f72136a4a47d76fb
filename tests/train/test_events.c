/* The event file against records that are known: what TensorBoard's own writer makes of the same events. */
#include "support/support.h"

#include "train/run.h"

#include <math.h>

static loam_error error;

/* The first record of every file (version), and one with a scalar: tensorboard 2.21's EventFileWriter wrote these bytes. */
static const unsigned char wanted[] = {
    0x0F, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x6D, 0x53, 0x2B, 0x09, 0x1A, 0x0D, 0x62, 0x72,
    0x61, 0x69, 0x6E, 0x2E, 0x45, 0x76, 0x65, 0x6E, 0x74, 0x3A, 0x32, 0xFC, 0x98, 0x51, 0x29, 0x33,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0C, 0xA7, 0x20, 0x56, 0x09, 0x00, 0x00, 0x20, 0x40,
    0xFC, 0x54, 0xD9, 0x41, 0x10, 0xAC, 0x02, 0x2A, 0x25, 0x0A, 0x11, 0x0A, 0x0A, 0x74, 0x72, 0x61,
    0x69, 0x6E, 0x2F, 0x6C, 0x6F, 0x73, 0x73, 0x15, 0x00, 0x00, 0xC0, 0x3F, 0x0A, 0x10, 0x0A, 0x09,
    0x65, 0x76, 0x61, 0x6C, 0x2F, 0x6C, 0x6F, 0x73, 0x73, 0x15, 0x00, 0x00, 0x80, 0xBE, 0x04, 0xC2,
    0x53, 0xBB,
};

static void the_bytes_are_tensorboards(void **state)
{
    (void)state;
    const char *path = test_path(test_folder(), "events.out.tfevents.x");
    const struct lm_event values[] = {{"train/loss", 1.5}, {"train/lr", NAN}, {"eval/loss", -0.25}, {NULL, 0}};
    struct lm_events *events;
    assert_ok(lm_events_open(path, &events, &error), &error);
    assert_ok(lm_events_add(events, 1700000000.5, 300, values, &error), &error);
    lm_events_close(events);
    struct lm_bytes bytes = {0};
    assert_ok(lm_file_read(path, 0, &bytes, &error), &error);
    assert_int_equal(bytes.length, sizeof wanted);
    assert_memory_equal(bytes.data, wanted, sizeof wanted);
    lm_bytes_free(&bytes);
}

static void a_folder_that_is_not_there(void **state)
{
    (void)state;
    struct lm_events *events;
    assert_fails(lm_events_open("/nowhere/at/all", &events, &error), &error, LOAM_ENOTFOUND, "/nowhere/at/all");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_tensorboards),
        cmocka_unit_test(a_folder_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
