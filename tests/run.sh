#!/bin/bash
# Builds and runs every test: the release build in two locales, under address and undefined sanitizers, under the
# thread sanitizer, and the fuzz targets.
#
#     bash tests/run.sh                  everything (make test)
#     LOAM_LONG=1 bash tests/run.sh      with the heavy sweeps and ten minutes for each fuzz target (make test-long)
#     STAGES="release sanitize" bash tests/run.sh
#
# What a stage prints goes to build/logs/STAGE.log and is shown where it fails. The last line is "N passed, M failed".
set -u
cd "$(dirname "$0")/.." || exit 1
if [ -n "${LOAM_LONG:-}" ]; then export LOAM_LONG; else unset LOAM_LONG; fi    # tests ask whether it is there
jobs=${JOBS:-$(nproc)}
stages=${STAGES:-release german sanitize tsan fuzz}
mkdir -p build/logs build/locale
passed=0 failed=0 summary="" skips=0 begun=$SECONDS

line() { summary+=$(printf '  %-10s %s' "$1" "$2")$'\n'; }

# Counts the passed and failed tests of a ctest log, and what was skipped for want of the shared data.
count() {
    local stage=$1 log=$2 output=$3 status=$4 total bad skipped
    total=$(sed -nE 's/^[0-9]+% tests passed, ([0-9]+) tests? failed out of ([0-9]+)$/\1 \2/p' "$log" | tail -1)
    bad=${total% *} total=${total#* }
    if [ -z "$total" ]; then
        line "$stage" "did not get as far as its tests, see build/logs/$stage.log"
        failed=$((failed + 1))
        return
    fi
    [ "$status" != 0 ] && [ "$bad" = 0 ] && bad=1
    skipped=$(grep -c 'SKIP: shared data' "$output")
    skips=$((skips + skipped))
    passed=$((passed + total - bad)) failed=$((failed + bad))
    line "$stage" "$((total - bad)) passed, $bad failed$([ "$skipped" != 0 ] && echo ", $skipped skipped for want of shared data") ($SECONDS_OF_STAGE s)"
}

build() {
    local preset=$1
    cmake --preset "$preset" && cmake --build "$2" -j "$jobs"
}

# Every secret of a test holds a mark (tests/support/leave.sh): none may be in anything that was printed.
secrets=0
look_for_secrets() {
    local found
    found=$(grep -laF hUsh7q "$@" 2>/dev/null)
    [ -z "$found" ] && return
    line secrets "a secret was printed, see $(echo $found)"
    secrets=$((secrets + 1))
}

# run STAGE FOLDER ctest-options...: the tests of a build.
run() {
    local stage=$1 folder=$2 start=$SECONDS status
    shift 2
    printf '== %s\n' "$stage"
    ctest --test-dir "$folder" -j "$jobs" --output-on-failure --no-tests=error "$@" > "build/logs/$stage.log" 2>&1
    status=$?
    SECONDS_OF_STAGE=$((SECONDS - start))
    [ $status = 0 ] && tail -3 "build/logs/$stage.log" || tail -150 "build/logs/$stage.log"
    count "$stage" "build/logs/$stage.log" "$folder/Testing/Temporary/LastTest.log" $status
    grep -h 'SKIP: shared data' "$folder/Testing/Temporary/LastTest.log" | sort -u
    look_for_secrets "build/logs/$stage.log" "$folder/Testing/Temporary/LastTest.log"
}

built() {
    local stage=$1 log=build/logs/build-$1.log
    shift
    if build "$@" > "$log" 2>&1; then
        return 0
    fi
    tail -60 "$log"
    line "$stage" "does not build, see $log"
    failed=$((failed + 1))
    return 1
}

# A German locale, made here where the machine has none: numbers with a comma must not reach any file or message.
locales=${LOCPATH:-}
german_locale() {
    locale -a 2>/dev/null | grep -qiE '^de_DE\.utf-?8$' && return
    [ -d build/locale/de_DE.UTF-8 ] || localedef -i de_DE -f UTF-8 build/locale/de_DE.UTF-8 2>/dev/null
    locales=$PWD/build/locale
    [ "$(LOCPATH=$locales LC_ALL=de_DE.UTF-8 locale decimal_point 2>/dev/null)" = , ] ||
        { line german "localedef made no locale"; failed=$((failed + 1)); }
}

unit='^(e2e|checks)/'    # scripts run on the release build only
sh cmake/deps.sh test || exit 1
for stage in $stages; do
    case $stage in
    release)
        built release release build && run release build ;;
    german)
        german_locale
        built german release build && LOCPATH=$locales LC_ALL=de_DE.UTF-8 run german build ;;
    sanitize)
        built sanitize sanitize build/sanitize &&
            ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1 \
                UBSAN_OPTIONS=print_stacktrace=1 run sanitize build/sanitize -E "$unit" ;;
    tsan)
        # Threads of OpenMP are seen through the archer tool, which tells the sanitizer of their joins.
        archer=$(ls /usr/lib/llvm-*/lib/libarcher.so 2>/dev/null | tail -1)
        built tsan tsan build/tsan && OMP_NUM_THREADS=2 OMP_TOOL_LIBRARIES=$archer \
            TSAN_OPTIONS=ignore_noninstrumented_modules=1:second_deadlock_stack=1 run tsan build/tsan -E "$unit" ;;
    fuzz)
        printf '== fuzz\n'
        if bash tests/fuzz.sh > build/logs/fuzz.log 2>&1; then fuzz_failed=0; else fuzz_failed=1; fi
        [ $fuzz_failed = 0 ] || tail -80 build/logs/fuzz.log
        targets=$(grep -c '^fuzz_.* executions' build/logs/fuzz.log)
        bad=$(grep -c '^fuzz_.* FAILED' build/logs/fuzz.log)
        [ $fuzz_failed = 1 ] && [ "$bad" = 0 ] && bad=1
        grep '^fuzz_' build/logs/fuzz.log
        passed=$((passed + targets)) failed=$((failed + bad))
        line fuzz "$targets passed, $bad failed"
        look_for_secrets build/logs/fuzz.log ;;
    *)
        echo "unknown stage '$stage'" >&2
        exit 2 ;;
    esac
done

if [ $secrets = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi

printf '\nsummary (%d s)\n%s' $((SECONDS - begun)) "$summary"
[ $skips = 0 ] || printf 'SKIP: shared data: %d tests were skipped; put the shared data beside the repository to run them\n' $skips
printf '%d passed, %d failed\n' $passed $failed
[ $failed = 0 ]
