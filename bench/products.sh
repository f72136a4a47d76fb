#!/bin/sh
# Matrix products of loam beside oneDNN's (Debian: libdnnl-dev, which loam itself does not need). `make build` first.
#     bench/products.sh [THREADS]
set -eu
cd "$(dirname "$0")/.."
cc -std=gnu11 -O2 -Isrc -Iinclude bench/products.c build/libloam.a -o build/products -ldnnl -fopenmp -lpthread \
    $(pkg-config --libs yajl yaml-0.1 libpcre2-8 libutf8proc libxxhash) -lm
build/products "${1:-2}"
