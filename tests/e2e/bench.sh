#!/bin/bash
# loam bench on models of a few thousand weights: the shape of its JSON, the choice by name, and that nothing is left behind. Never a time.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
fail() { echo "FAILED: $*" >&2; exit 1; }
export TMPDIR=$work/scratch
mkdir "$TMPDIR"

"$LOAM" bench --tiny --json --threads 2 >all.json 2>err || fail "all: $(cat err)"
"$LOAM" bench --tiny --json --threads 1 decode_llama_1b_bf16 >one.json 2>err || fail "one: $(cat err)"
"$LOAM" bench --tiny --json --limits >limits.json 2>err || fail "limits: $(cat err)"
python3 - <<'PYTHON' || fail "see above"
import json, math
def check(path, names, threads=None):
    found = json.load(open(path))
    assert set(found) == {"machine", "results"}, found
    machine = found["machine"]
    assert set(machine) == {"peak_gflops_f32", "read_gbps", "threads", "isa"}, machine
    assert machine["peak_gflops_f32"] > 0 and machine["read_gbps"] > 0, machine
    assert machine["isa"] in ("scalar", "avx2", "avx512", "avx512vnni", "avx512bf16"), machine
    assert threads is None or machine["threads"] == threads, machine
    assert [one["name"] for one in found["results"]] == names, found
    for one in found["results"]:
        assert set(one) == {"name", "value", "unit", "of_limit"}, one
        assert one["unit"] == ("s" if one["name"].startswith("start") else "tokens/s"), one
        assert all(math.isfinite(one[key]) and one[key] > 0 for key in ("value", "of_limit")), one
check("all.json", ["train_gpt2_tiny_f32"] + ["prompt_llama_tiny_" + t for t in ("bf16", "q8_0", "q4_0")] +
      ["decode_llama_tiny_" + t for t in ("bf16", "q8_0", "q4_0")] + ["decode8_llama_tiny_bf16", "decode8_llama_tiny_q8_0",
       "start_llama_tiny_bf16"], 2)
check("one.json", ["decode_llama_tiny_bf16"], 1)
check("limits.json", [])
PYTHON

"$LOAM" bench --tiny --sweep --streams 1,3,20 --contexts 8,70 --json >sweep.json 2>err || fail "sweep: $(cat err)"
"$LOAM" bench --tiny --sweep --streams 1,3,20 --contexts 8,70 --csv >sweep.csv 2>err || fail "sweep, csv: $(cat err)"
"$LOAM" bench --tiny --sweep --streams 2 --contexts 8 >sweep.txt 2>err || fail "sweep, text: $(cat err)"
[ "$(wc -l <sweep.txt)" = 3 ] || fail "sweep, text: $(cat sweep.txt)"
python3 - <<'PYTHON' || fail "see above"
import csv, json
found = json.load(open("sweep.json"))["results"]
lines = list(csv.DictReader(open("sweep.csv")))
wanted = [(s, c) for c in (8, 70) for s in (1, 3, 20)]
assert [(one["streams"], one["context"]) for one in found] == wanted, found
assert [(int(one["streams"]), int(one["context"])) for one in lines] == wanted, lines
for one in found + lines:
    assert set(one) == {"streams", "context", "prompt_tokens_per_second", "decode_tokens_per_second", "of_limit"}, one
    assert float(one["prompt_tokens_per_second"]) > 0 and float(one["decode_tokens_per_second"]) > 0, one
PYTHON
for wrong in "--streams 0" "--streams 1,x" "--contexts 8,,9" "--contexts 100000" "--json --csv" "--model absent.gguf"; do
    # shellcheck disable=SC2086
    "$LOAM" bench --tiny --sweep $wrong >out 2>err && fail "took $wrong"
    [ -s err ] || fail "no message for $wrong"
done
[ -z "$(ls -A "$TMPDIR")" ] || fail "left behind: $(ls -A "$TMPDIR")"

"$LOAM" bench --tiny decode_llama_1b_bf16 >out 2>err || fail "text: $(cat err)"
[ "$(wc -l <out)" = 2 ] || fail "text: $(cat out)"
"$LOAM" bench no_such_thing >out 2>err
[ $? = 2 ] || fail "took an unknown name"
grep -q "decode_llama_1b_bf16" err || fail "message: $(cat err)"
TMPDIR=$work/absent "$LOAM" bench --tiny start_llama_1b_bf16 >out 2>err
[ $? = 1 ] || fail "wrote into a folder that is not there"
grep -q "set TMPDIR" err || fail "message: $(cat err)"
