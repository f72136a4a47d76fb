#!/bin/bash
# The guides of docs/: their commands are run and what they print is compared (guides.py says how); every path, function and option that they
# name exists; every guide is on the list in docs/README.md.
set -u
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
docs=$LOAM_SOURCE/docs
fail() { echo "FAILED: $*" >&2; exit 1; }
mkdir bin && ln -s "$LOAM" bin/loam
export PATH=$work/bin:$PATH PYTHONDONTWRITEBYTECODE=1 XDG_CACHE_HOME=$work/cache XDG_DATA_HOME=$work/data
guide() { python3 "$LOAM_SOURCE/tests/e2e/guides.py" "$docs/$1" || exit 1; }

command -v curl >/dev/null || fail "no curl; sh cmake/deps.sh test installs it"
python3 "$LOAM_SOURCE/tests/e2e/guide_names.py" "$LOAM_SOURCE" "$LOAM" || exit 1
GUIDES_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export GUIDES_PORT

guide chatbot.md    # first: its models are those of the others
guide finetuning.md
guide memory.md
guide chatroom.md
cp -r assistant loam-quickstart
guide serving.md
guide tour.md
guide model-families.md
guide troubleshooting.md
