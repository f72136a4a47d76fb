/* Whatever stands in a room.yaml: an error, or a configuration that can be freed. */
#include "room/room.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lm_room_config *config;
    loam_error error;
    if (lm_room_config_parse((const char *)data, size, "/tmp/room.yaml", &config, &error) == LOAM_OK) {
        if (!config->name || !config->participant_count || !config->database)
            abort();
        lm_room_config_free(config);
    }
    return 0;
}
