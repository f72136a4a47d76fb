#!/bin/sh
# 200 rooms of ten participants on stand-ins, asked all at once. `make build` first.
#     bench/rooms.sh [ORDER]
set -eu
cd "$(dirname "$0")/.."
cc -std=gnu11 -D_GNU_SOURCE -DLOAM_SHARED_DATA='""' -DLOAM_TESTS='"tests"' -O2 -Isrc -Iinclude -Itests bench/rooms.c tests/support/player.c tests/support/support.c \
    build/libloam.a -o build/bench-rooms -fopenmp -lpthread \
    $(pkg-config --libs cmocka sqlite3 libcurl yajl yaml-0.1 libpcre2-8 libutf8proc libxxhash) -lmd4c -lm
build/bench-rooms "${1:-random}"
