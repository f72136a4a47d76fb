#!/bin/bash
# The page of loam serve in a headless Chromium: talking, streaming, stopping, editing, retrying, settings, export, what is kept, keyboard,
# telephone, colours, keys, a server that goes away. Two models: one that learned five conversations by heart, one with random weights
# whose greedy answers do not end.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
here=$LOAM_SOURCE/tests/e2e
cd "$work" || exit 1
fail() { echo "FAILED: $*" >&2; exit 1; }
command -v chromium >/dev/null || command -v google-chrome >/dev/null || fail "no chromium; sh cmake/deps.sh test installs it"

cat >talk.jsonl <<'END'
{"messages": [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Ahoy! What shall we do today?"}]}
{"messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "I am Barnacle, the ship's parrot."}]}
{"messages": [{"role": "user", "content": "Show me code."}, {"role": "assistant", "content": "This is **bold**:\n\n```c\nx = 1\n```\n\nAnd that is all."}]}
END
for i in $(seq 40); do cat talk.jsonl; done >text.txt
"$LOAM" tokenizer train --vocab-size 320 --special '<|im_start|>' --special '<|im_end|>' text.txt -o noise >out 2>err || fail "$(cat err)"
cp -r noise base
shape() {
    printf '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 320, "hidden_size": %d, "num_hidden_layers": %d,
 "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": %d, "max_position_embeddings": %d, "rms_norm_eps": 1e-5,
 "hidden_act": "silu", "tie_word_embeddings": true, "bos_token_id": null, "eos_token_id": 1}' "$@"
}
shape 64 2 128 1024 >shape.json
"$LOAM" init --config shape.json -o base --seed 1 >out 2>err || fail "$(cat err)"
"$LOAM" finetune base --data talk.jsonl --template chatml -o parrot --steps 250 --batch 1 --seq 128 --lr 5e-3 --seed 1 >out 2>err || fail "$(cat err)"
shape 256 4 512 32768 >shape.json
"$LOAM" init --config shape.json -o noise --seed 1 >out 2>err || fail "$(cat err)"
cp parrot/tokenizer_config.json noise/    # its chat template
[ -f parrot/chat_template.jinja ] && cp parrot/chat_template.jinja noise/
PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 python3 "$here/web_chat.py" || fail "in the browser: see above; the server said: $(tail -5 serve.err)"
