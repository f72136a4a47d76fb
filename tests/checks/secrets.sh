#!/bin/bash
# Secrets of tests are known by their mark (tests/support/leave.sh): what looks for them finds them, and no test has one without it.
# What all tests have printed is looked through behind them, in tests/run.sh.
set -u
fail() { echo "FAILED: $*" >&2; exit 1; }
leave=$LOAM_SOURCE/tests/support/leave.sh
mark=hUsh7q
folder=$(mktemp -d)
mkdir "$folder/deep"
printf 'a = sk-%s\n' $mark >"$folder/secrets"
printf 'nothing' >"$folder/deep/out"
bash "$leave" "$folder" || fail "a secret was seen where none is"
[ ! -e "$folder" ] || fail "$folder is still there"
for bytes in 'a key sk-%s in words' '\0\0\377%s\n' '%s'; do
    folder=$(mktemp -d)
    mkdir "$folder/deep"
    # shellcheck disable=SC2059
    printf "$bytes" $mark >"$folder/deep/out"
    bash "$leave" "$folder" 2>/dev/null && fail "a secret was not seen"
    [ ! -e "$folder" ] || fail "$folder is still there"
done

# Keys and tokens as services and Telegram give them.
unmarked=$(grep -rnE "\"(sk-[A-Za-z0-9_-]{6,}|[0-9]{6,}:[A-Za-z0-9_-]{8,})" "$LOAM_SOURCE/tests" "$LOAM_SOURCE/bench" --include='*.c' --include='*.h' \
    --include='*.py' --include='*.sh' | grep -v $mark)
[ -z "$unmarked" ] || fail "a secret without the mark $mark: $unmarked"
echo "secrets: ok"
