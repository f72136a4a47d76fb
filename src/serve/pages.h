/* The files of pages/, which the build puts into the program (cmake/pages.cmake). Private to serve/. */
#ifndef LOAM_SERVE_PAGES_H
#define LOAM_SERVE_PAGES_H

#include <stddef.h>

struct page {
    const char *name;
    const unsigned char *data;
    size_t length;
};
extern const struct page pages[];
extern const size_t page_count;

#endif
