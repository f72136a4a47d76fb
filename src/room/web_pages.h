/* The files of pages/, which the build puts into the library (cmake/pages.cmake). Private to room/. */
#ifndef LOAM_ROOM_WEB_PAGES_H
#define LOAM_ROOM_WEB_PAGES_H

#include <stddef.h>

struct lm_room_page {
    const char *name;
    const unsigned char *data;
    size_t length;
};
extern const struct lm_room_page lm_room_pages[];
extern const size_t lm_room_page_count;

#endif
