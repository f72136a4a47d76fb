#!/bin/sh
# Installs the Debian packages that are missing. `deps.sh build` what the program needs, `deps.sh test` what its tests need besides.
set -eu
build="gcc cmake ninja-build pkg-config libyajl-dev libyaml-dev libpcre2-dev libutf8proc-dev
libedit-dev libxxhash-dev libmicrohttpd-dev libcurl4-openssl-dev libmd4c-dev libsqlite3-dev libcmocka-dev"
test="chromium curl clang libomp-dev libclang-rt-14-dev llvm locales python3 binutils gnuplot-nox librsvg2-bin bsdutils"

wanted=$build
[ "${1:-build}" = test ] && wanted="$build $test"

missing=""
for package in $wanted; do
    status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "loam needs these packages; install them as root:$missing" >&2; exit 1; }
    root=sudo
fi
echo "installing:$missing" >&2
$root apt-get update -qq
# shellcheck disable=SC2086
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
