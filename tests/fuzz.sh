#!/bin/bash
# Builds the fuzz targets under the address and undefined sanitizers and runs each for 10 seconds (600 with LOAM_LONG=1),
# as many at a time as there are processors. One line a target: executions, edges of the code reached.
#
#     bash tests/fuzz.sh                    all
#     SECONDS_EACH=60 bash tests/fuzz.sh fuzz_json
#
# Found inputs are kept in build/fuzz/corpus and used again; an input that fails is left in build/fuzz/failures.
set -u
cd "$(dirname "$0")/.." || exit 1
each=${SECONDS_EACH:-$([ -n "${LOAM_LONG:-}" ] && echo 600 || echo 10)}
jobs=${JOBS:-$(nproc)}
mkdir -p build/logs build/fuzz/failures

sh cmake/deps.sh test || exit 1
{ cmake --preset fuzz && cmake --build build/fuzz -j "$jobs"; } > build/logs/build-fuzz.log 2>&1 ||
    { tail -60 build/logs/build-fuzz.log; exit 1; }

# A target called fuzz_NAME has its seeds in seeds_NAME beside its source.
one() {
    local source=$1 name corpus seeds log status runs edges all
    name=$(basename "$source" .c)
    corpus=build/fuzz/corpus/$name seeds=$(dirname "$source")/seeds_${name#fuzz_} log=build/logs/$name.log
    mkdir -p "$corpus"
    [ -d "$seeds" ] || { echo "$name FAILED: it has no seeds ($seeds)"; return; }
    ASAN_OPTIONS=allocator_may_return_null=1 "build/fuzz/tests/$name" -max_total_time="$each" -timeout=20 \
        -rss_limit_mb=4096 -print_final_stats=1 -seed=1 -artifact_prefix="build/fuzz/failures/$name-" \
        "$corpus" "$seeds" > "$log" 2>&1
    status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(grep -oE 'cov: [0-9]+' "$log" | tail -1 | cut -c6-)
    all=$(sed -nE 's/^INFO: Loaded [0-9]+ modules +\(([0-9]+) .*/\1/p' "$log" | head -1)
    if [ $status = 0 ] && [ "${runs:-0}" -gt 0 ]; then
        echo "$name: ${runs} executions in ${each} s, coverage ${edges} of ${all} edges of the library"
    else
        echo "$name FAILED (status $status):"
        tail -40 "$log"
    fi
}
export -f one
export each

if [ $# -gt 0 ]; then
    sources=$(for name in "$@"; do ls tests/*/"$name".c; done)
else
    sources=$(ls tests/*/fuzz_*.c)
fi
[ -n "$sources" ] || { echo "no such fuzz target: $*" >&2; exit 2; }
printf '%s\n' $sources | xargs -P "$jobs" -I '{}' bash -c 'one {}' | tee build/logs/fuzz-lines.log
grep -q ': [0-9]* executions in' build/logs/fuzz-lines.log && ! grep -q '^fuzz_[a-z0-9_]* FAILED' build/logs/fuzz-lines.log
