#!/bin/bash
# `make install`: what it writes works from where it lies. The example at the head of loam.h is compiled against both libraries,
# the manual page renders, bash completes the commands.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
build=$(dirname "$LOAM")

cmake --install "$build" --prefix "$work/there" > "$work/log" 2>&1 || fail "$(cat "$work/log")"
mv "$work/there" "$work/moved" && cd "$work" || exit 1
at=$work/moved
wanted=$(sed -n 's/^project(loam VERSION \([0-9.]*\).*/\1/p' "$LOAM_SOURCE/CMakeLists.txt")
[ "$("$at/bin/loam" --version)" = "loam $wanted" ] || fail "version: $("$at/bin/loam" --version), wanted $wanted"
for file in share/man/man1/loam.1 share/doc/loam/LICENSE share/doc/loam/README.md share/doc/loam/CHANGELOG.md; do
    [ -s "$at/$file" ] || fail "$file is not there"
done

export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$at" -name loam.pc)")
sed -n '1,/^ \*\//s/^ \*     //p' "$LOAM_SOURCE/include/loam.h" > example.c
grep -q main example.c || fail "found no example in loam.h"
# shellcheck disable=SC2046
cc -std=c11 -Wall -Wextra -Werror example.c -o shared $(pkg-config --cflags --libs loam) || fail "does not link the shared library"
library=$(pkg-config --variable=libdir loam)
# shellcheck disable=SC2046
cc -std=c11 example.c -o static $(pkg-config --cflags loam) "$library/libloam.a" \
    $(pkg-config --static --libs loam | sed 's/-lloam //') || fail "does not link the static library"
for program in ./shared ./static; do
    LD_LIBRARY_PATH=$library "$program" 2> message && fail "$program: found a model where there is none"
    grep -q loam-quickstart message || fail "$program: message: $(cat message)"
done
undefined=$(nm -D --defined-only "$library/libloam.so" | awk '$2 == "T" && $3 !~ /^loam_/ {print $3}')
[ -z "$undefined" ] || fail "the shared library shows $undefined"

if command -v man > /dev/null; then
    LC_ALL=C.UTF-8 man --warnings -l "$at/share/man/man1/loam.1" > page 2> warnings || fail "the manual page does not render"
    [ -s warnings ] && fail "the manual page: $(cat warnings)"
    grep -q 'loam finetune' page || fail "the manual page lacks finetune"
fi
completed=$(bash -c 'source "$1" && COMP_WORDS=(loam fine) COMP_CWORD=1 && _loam && echo "${COMPREPLY[*]}"' - \
    "$at/share/bash-completion/completions/loam")
[ "$completed" = finetune ] || fail "'loam fine' completes to '$completed'"
# By the command: what plan compares with is not what tokenizer show compares.
completed=$(bash -c 'source "$1" && COMP_WORDS=(loam plan --compare "") COMP_CWORD=3 && _loam && echo "${COMPREPLY[*]}"
    cd "$2" && COMP_WORDS=(loam tokenizer show --compare "") COMP_CWORD=4 && _loam && echo "${COMPREPLY[*]}"' - \
    "$at/share/bash-completion/completions/loam" "$at/share/bash-completion" | tr '\n' ' ')
[ "$completed" = "deepspeed completions " ] || fail "--compare completes to '$completed'"
