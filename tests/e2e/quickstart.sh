#!/bin/bash
# The quickstart: stopped and gone on with, refused where it must be; and, where LOAM_LONG is set, the whole of it with what it promises.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
fail() { echo "FAILED: $*" >&2; exit 1; }

mkdir full && touch full/file
"$LOAM" quickstart -o full --no-chat >out 2>err && fail "took a directory that is not its own"
grep -q "full: found a directory with files" err || fail "message: $(cat err)"

timeout -s INT 15 "$LOAM" quickstart -o grown --seed 3 --no-chat >out 2>err
[ $? = 124 ] || fail "ended before it was stopped: $(cat err)"
[ -s out ] && fail "a stopped run printed a result"
grep -q "the same command goes on" err || fail "message: $(cat err)"
lines=$(cat grown/steps/pretrained/log.jsonl | wc -l)
[ "$lines" -ge 1 ] || fail "no step was logged"
"$LOAM" quickstart -o grown --seed 4 --no-chat >out 2>err && fail "went on with another seed"
grep -q "seed 3" err || fail "message: $(cat err)"
timeout -s INT 10 "$LOAM" quickstart -o grown --seed 3 --no-chat >out 2>err
[ "$(cat grown/steps/pretrained/log.jsonl grown/log.jsonl 2>/dev/null | wc -l)" -gt "$lines" ] || fail "did not go on"
[ "$(grep -c '"step": 1,' grown/steps/pretrained/log.jsonl)" = 1 ] || fail "began anew"

[ -n "${LOAM_LONG:-}" ] || exit 0
for seed in 1 2 3; do
    "$LOAM" quickstart -o "whole$seed" --seed $seed --json >out.json 2>err || fail "seed $seed: $(cat err)"
    python3 - $seed <<'PYTHON' || fail "seed $seed: see above"
import json, sys
result = json.load(open("out.json"))
print(f"seed {sys.argv[1]}: {result['accuracy']}, {result['training_seconds']:.0f} s")
assert result["accuracy"]["letter_counting"] >= 0.97 and result["accuracy"]["addition"] >= 0.97, "too many wrong answers"
assert any("strawberry" in q["prompt"] and q["right"] for q in result["questions"]), "strawberry"
PYTHON
done
