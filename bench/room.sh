#!/bin/sh
# A history of 100,000 messages: opening it and searching in it. `make build` first.
#     bench/room.sh [DATABASE]
set -eu
cd "$(dirname "$0")/.."
cc -std=gnu11 -D_GNU_SOURCE -O2 -Isrc -Iinclude bench/room.c build/libloam.a -o build/bench-room -fopenmp -lpthread \
    $(pkg-config --libs sqlite3 libcurl yajl yaml-0.1 libpcre2-8 libutf8proc libxxhash) -lm
build/bench-room "${1:-build/bench-room.db}"
