#!/bin/sh
# Builds build/tokenizer_bench (bench/tokenizer.c), which bench/tokenizer_peers.py runs. `make build` first.
set -eu
cd "$(dirname "$0")/.."
cc -std=gnu11 -O2 -Isrc -Iinclude bench/tokenizer.c build/libloam.a -o build/tokenizer_bench -fopenmp -lpthread \
    $(pkg-config --libs yajl yaml-0.1 libpcre2-8 libutf8proc libxxhash) -lm
