#!/bin/bash
# What a run was planned to take and what it takes, as the system counts it: within 1 % and 32 MiB. The 124M shape as it is trained in fp32
# stays under 2.8 GB. With LOAM_LONG: every switch, models of 10M to 1.2B parameters, sequences of 64 to 4096, as far as this machine's
# memory goes.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
export TMPDIR=$work
fail() { echo "FAILED: $*"; exit 1; }

# "$@": shape, the most bytes (0: any), options.
check() {
    local shape=$1 most=$2
    shift 2
    "$LOAM" measure "$shape" --json "$@" >out.json 2>err || fail "measure $shape $*: $(cat err)"
    python3 - "$shape $*" "$most" <<'PYTHON' || exit 1
import json, sys
for point in json.load(open("out.json")):
    planned, measured = point["planned_bytes"], point["measured_bytes"]
    if point["outcome"] == "refused" and "memory" in point["message"]:
        print(f"SKIP: {sys.argv[1]}: {point['message'][:90]}")
        continue
    assert point["outcome"] == "ok", (sys.argv[1], point)
    s = point["settings"]
    print(f"{sys.argv[1]}: planned {planned / 2**20:.1f} MiB, measured {measured / 2**20:.1f}, {(measured - planned) / 2**20:+.1f}; "
          f"{point['tokens_per_second']:.1f} tokens/s")
    assert abs(measured - planned) <= 0.01 * planned + (32 << 20), (sys.argv[1], s, planned, measured)
    assert sys.argv[2] == "0" or measured < int(sys.argv[2]), (sys.argv[1], measured)
PYTHON
}

mkdir gpt2
cat >gpt2/config.json <<'JSON'
{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12,
 "n_head": 12, "activation_function": "gelu_new"}
JSON
check gpt2 2800000000 --batch 4 --seq 256 --steps 1
[ -n "${LOAM_LONG:-}" ] || exit 0

mkdir m10 llama
cat >m10/config.json <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 4096, "hidden_size": 320, "intermediate_size": 1024,
 "num_hidden_layers": 6, "num_attention_heads": 5, "num_key_value_heads": 5, "max_position_embeddings": 4096, "tie_word_embeddings": true}
JSON
cat >llama/config.json <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192,
 "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131072,
 "tie_word_embeddings": true}
JSON
switches=("--recompute none" "--recompute inner" "--recompute layer" "--recompute 3" "--dtype bf16" "--dtype bf16 --optimizer-state bf16"
    "--dtype bf16 --optimizer-state 8bit" "--optimizer-state 8bit --gradients bf16" "--fused-step" "--fused-step --fused-clip exact"
    "--accumulate 2" "--offload optimizer" "--recompute layer --offload activations" "--products bf16"
    "--dtype bf16 --optimizer-state 8bit --recompute layer --fused-step --offload optimizer"
    "--dtype bf16 --optimizer-state 8bit --recompute layer --fused-step --offload optimizer,weights,activations")
for switch in "${switches[@]}"; do
    check m10 0 --batch 1 --seq 64,1024,4096 --steps 1 $switch
    check gpt2 0 --batch 1 --seq 64,1024 --steps 1 $switch
done
for switch in "--optimizer-state 8bit --recompute layer" "--optimizer-state bf16 --fused-step --recompute layer" \
    "--optimizer-state 8bit --recompute layer --fused-step --offload optimizer" \
    "--optimizer-state 8bit --recompute layer --fused-step --offload optimizer,weights,activations" "--optimizer-state bf16"; do
    check llama 0 --batch 1 --seq 64,512,2048,4096 --steps 1 --dtype bf16 $switch
done
