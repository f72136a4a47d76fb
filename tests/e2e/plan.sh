#!/bin/bash
# loam plan from outside: the fields scripts rely on, sweeps, the search, the picture, and runs with --memory.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
failed=0
fail() { echo "FAILED: $*" >&2; failed=1; }

mkdir shape
cat >shape/config.json <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 64,
 "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 160,
 "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": false}
JSON
"$LOAM" plan shape --seq 64 --batch 2 --dtype bf16 --optimizer-state 8bit --recompute layer --fused-step --offload optimizer \
    --compare deepspeed --json >plan.json || fail "plan --json"
"$LOAM" plan shape --seq 64,128 --batch 1,2 --optimizer-state f32,8bit --json >sweep.json || fail "a sweep"
"$LOAM" plan shape --seq 64 --accumulate 2 --ranks 4 --zero 1,2,3 --json >zero.json || fail "ranks"
"$LOAM" plan shape --seq 128 --batch 4 --fit 20MiB --json >fit.json || fail "--fit"
"$LOAM" plan shape --seq 128 --batch 4 --recompute none --optimizer-state f32 --dtype f32 --offload none --fit 17MiB --json >none.json \
    || fail "--fit of what does not fit"
"$LOAM" plan shape --seq 64 --svg step.svg >plan.txt || fail "--svg"
"$LOAM" plan shape --seq 64 --compare deepspeed >compare.txt || fail "--compare"
python3 - <<'PYTHON' || fail "what the files hold"
import json
from xml.dom import minidom
plan = json.load(open("plan.json"))
memory = plan["memory_bytes"]
assert sorted(memory) == sorted(["weights", "gradients", "optimizer", "activations", "logits", "workspace", "other", "total"]), memory
assert sum(memory.values()) == 2 * memory["total"], memory
assert plan["live_bytes"] >= 0.9 * plan["arena_bytes"] and plan["fits"] is True
assert plan["disk_bytes"] > plan["disk"]["optimizer"] > 0 and plan["peak_moment"]
assert plan["predicted"]["seconds_per_step"] > 0 and plan["predicted"]["tokens_per_second"] > 0
settings = plan["settings"]
assert settings["seq"] == 64 and settings["batch"] == 2 and settings["optimizer_state"] == "8bit", settings
assert settings["fused_step"] is True and settings["offload"] == "optimizer" and settings["recompute"] == "layer", settings
count, largest = plan["parameters"], plan["deepspeed"]["largest_layer_parameters"]
assert largest == 300 * 64
assert plan["deepspeed"]["zero3_bytes"] == 4 * largest + 18 * count and plan["deepspeed"]["zero2_bytes"] == 20 * count
sweep = json.load(open("sweep.json"))
assert [(p["settings"]["batch"], p["settings"]["seq"], p["settings"]["optimizer_state"]) for p in sweep] == [
    (b, s, o) for b in (1, 2) for s in (64, 128) for o in ("f32", "8bit")], [p["settings"] for p in sweep]
zero = json.load(open("zero.json"))
totals = [p["memory_bytes"]["total"] for p in zero]
assert len(totals) == 3 and totals[0] > totals[1] > totals[2], totals
fit = json.load(open("fit.json"))
assert fit["fits"] and fit["ways"] and all(way["memory_bytes"]["total"] <= 20 << 20 for way in fit["ways"]), fit
assert all(way["cost"] and way["changes"] and way["predicted"]["seconds_per_step"] > 0 for way in fit["ways"])
none = json.load(open("none.json"))
assert not none["fits"] and len(none["changes"]) == 3 and all(c["changes"].startswith("--") for c in none["changes"]), none
minidom.parse("step.svg")
assert "peak" in open("plan.txt").read() and "ZeRO-3" in open("compare.txt").read()
PYTHON

# A run takes what was chosen for it, and no more than the limit.
"$LOAM" init --config shape/config.json -o base --seed 1 2>err || fail "init: $(cat err)"
for i in $(seq 40); do seq -s ' ' "$i" $((i + 100)); done >data.ids
"$LOAM" train base --data data.ids -o run --steps 2 --seq 128 --batch 4 --memory 30MiB >out 2>err || fail "--memory: $(cat err)"
grep -q 'for 30.0 MiB of memory' err || fail "--memory does not say what it chose: $(cat err)"
grep -q '^memory: 31457280' run/run.yaml || fail "run.yaml has no memory: $(cat run/run.yaml)"
"$LOAM" train base --data data.ids -o small --steps 2 --seq 128 --batch 4 --recompute none --optimizer-state f32 --dtype f32 \
    --offload none --memory 21MiB >out 2>err
[ $? = 1 ] || fail "--memory 21MiB: wanted 1: $(cat err)"
grep -q 'cheapest changes' err && ! [ -e small ] || fail "--memory 21MiB: $(cat err)"

# A disk that is too small: said before anything is begun, as what it is, with what would do. A file system of 8 MiB, where one can be made.
if unshare -rm true 2>/dev/null; then
    unshare -rm bash -c '
        mkdir small && mount -t tmpfs -o size=8m none small && cp -r shape small && cd small || exit 77
        "$0" plan shape --seq 64 >out || exit 1
        grep -q "does not fit on this disk: .* and [78].* MiB are left" out || { cat out; exit 2; }
        grep -q "what would fit: the cheapest changes that would: --optimizer-state" out || { cat out; exit 3; }
        "$0" plan shape --seq 64 --json >out && grep -q "\"fits\": false" out || { cat out; exit 4; }
        "$0" plan shape --seq 64 --keep 1 --weights-only --json >out && grep -q "\"fits\": true" out || { cat out; exit 5; }
        "$0" plan shape --seq 64 --dtype f32 --optimizer-state f32 --fit 1GiB >out 2>err && exit 6
        grep -q "of disk at least" err && grep -q "with this disk: the cheapest changes that would: --" err || { cat out err; exit 7; }
        grep -q "smaller model" out err && exit 8
        head -c 7500k /dev/zero >filler
        "$0" plan shape --seq 64 --fit 1GiB >out 2>err && exit 9
        grep -q "of disk at least" err && ! grep -q "smaller model" out err || { cat out err; exit 10; }
    ' "$LOAM"
    status=$?
    [ $status = 0 ] || [ $status = 77 ] || fail "a disk that is too small, status $status"
fi

# What is wrong is said, with 2 for what was typed wrong.
wrong() {
    local word=$1
    shift
    "$LOAM" "$@" >out 2>err
    [ $? = 2 ] || fail "loam $*: wanted 2: $(cat err)"
    grep -q -- "$word" err || fail "loam $*: wanted '$word': $(cat err)"
}
wrong "no model" plan
wrong "commas" plan shape --seq 64,,128
wrong "wanted one of" plan shape --optimizer-state f32,4bit
wrong "fused_step" plan shape --offload weights
wrong "exclude each other" plan shape --fused-step --accumulate 2
wrong "ranks" plan shape --zero 2
wrong "no lists" plan shape --seq 64,128 --fit 1GiB
exit $failed
