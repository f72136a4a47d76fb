#!/bin/bash
# The pages of look and learn in a headless Chromium, without a network: every kind of look, all lessons, the interactive page of attention.
set -u
command -v chromium >/dev/null || command -v google-chrome >/dev/null ||
    { echo "SKIP: no chromium here, so NO PAGE OF look OR learn WAS OPENED IN A BROWSER; sh cmake/deps.sh test installs it" >&2; exit 0; }
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
here=$LOAM_SOURCE/tests/e2e
fail() { echo "FAILED: $*" >&2; exit 1; }

for i in $(seq 40); do echo "the quick brown fox number $i says hello to the lazy dog"; done >text.txt
"$LOAM" tokenizer train --vocab-size 300 text.txt -o model 2>err || fail "$(cat err)"
cat >shape.json <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 12,
 "num_attention_heads": 12, "num_key_value_heads": 4, "intermediate_size": 64, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
 "hidden_act": "silu", "tie_word_embeddings": true}
JSON
"$LOAM" init --config shape.json -o model --seed 1 2>err || fail "$(cat err)"
"$LOAM" train model --data text.txt -o run --steps 12 --batch 1 --seq 64 >out 2>err || fail "$(cat err)"
for what in tokens attention logits norms neurons step; do
    "$LOAM" look $what model --sentence "the quick <b>fox</b> says שלום 世界" -o $what.html 2>err || fail "look $what: $(cat err)"
done
"$LOAM" look weights model run -o weights.html 2>err || fail "look weights: $(cat err)"
"$LOAM" look memory model --seq 64 -o memory.html 2>err || fail "look memory: $(cat err)"
"$LOAM" look losses run -o losses.html 2>err || fail "look losses: $(cat err)"
"$LOAM" look attention model --ids "$(seq 0 63 | tr '\n' ' ')" -o large.html 2>err || fail "a large page: $(cat err)"
"$LOAM" learn --html -o lessons.html 2>err || fail "learn: $(cat err)"
PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 python3 "$here/look_pages.py" || fail "in the browser: see above"
