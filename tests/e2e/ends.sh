#!/bin/bash
# Where a text ends: a tokenizer, a model and an assistant made with nothing but the commands, from a configuration that names no end.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
fail() { echo "FAILED: $*" >&2; exit 1; }

for i in $(seq 80); do echo "He said \"yes\" today. She said \"no\" on day $i."; done >text.txt
"$LOAM" tokenizer train text.txt --vocab-size 300 --special '<|endoftext|>' -o base 2>err || fail "tokenizer: $(cat err)"
cat >shape.json <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 2,
 "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
 "tie_word_embeddings": true}
JSON
"$LOAM" init --config shape.json -o base --seed 1 2>err || fail "init: $(cat err)"
grep -q "no tokenizer" err && fail "init: a tokenizer is there: $(cat err)"
field() { python3 -c "import json, sys; print(json.load(open(sys.argv[1])).get(sys.argv[2]))" "$1" "$2"; }
[ "$(field base/config.json eos_token_id)" = None ] || fail "init: made up an end: $(field base/config.json eos_token_id)"
[ "$(field base/tokenizer_config.json eos_token)" = '<|endoftext|>' ] || fail "tokenizer train: names no end"

# Trained on texts: each ends with the tokenizer's end, and the model says so.
"$LOAM" train base --data text.txt -o texts --steps 2 --batch 1 --seq 64 >out 2>err || fail "train: $(cat err)"
[ "$(field texts/config.json eos_token_id)" = 0 ] || fail "train: config.json"
[ "$(field texts/generation_config.json eos_token_id)" = 0 ] || fail "train: generation_config.json"

# Trained on conversations, until it has learnt one by heart: the answer has quotation marks in it and ends where it should.
echo '{"messages": [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "He said \"yes\" today."}]}' >talk.jsonl
"$LOAM" finetune base --data talk.jsonl --template chatml --add-tokens -o talk --steps 150 --batch 1 --seq 64 --lr 5e-3 \
    >out 2>err || fail "finetune: $(cat err)"
end=$(printf '<|im_end|>' | "$LOAM" tokenizer encode talk --special)
[ "$(field talk/config.json eos_token_id)" = "$end" ] || fail "finetune: config.json"
[ "$(field talk/generation_config.json eos_token_id)" = "$end" ] || fail "finetune: generation_config.json"
said=$(echo 'Hello!' | "$LOAM" chat talk --temperature 0 --max-tokens 40 2>err)
[ "$said" = 'He said "yes" today.' ] || fail "chat: said '$said': $(cat err)"

# GPT-2's files on the hub: only config.json says which token ends a text.
cp -r base hub && echo '{"model_max_length": 128}' >hub/tokenizer_config.json && rm -f hub/special_tokens_map.json
python3 - <<'PYTHON'
import json
config = json.load(open("hub/config.json"))
config["eos_token_id"] = 0
json.dump(config, open("hub/config.json", "w"))
PYTHON
printf 'He' >short.txt
"$LOAM" eval hub --data short.txt --json >out 2>err || fail "hub: $(cat err)"
with=$(field out tokens)
"$LOAM" tokenizer encode hub <short.txt >ids
[ "$with" = "$(wc -w <ids)" ] || fail "hub: $with targets of '$(cat ids)': the end is not among them"
"$LOAM" finetune hub --data talk.jsonl --template plain -o plain --steps 1 --batch 1 --seq 64 >out 2>err || fail "plain: $(cat err)"

# What is there is not written over.
"$LOAM" tokenizer train text.txt --vocab-size 290 -o talk >out 2>err
[ $? = 2 ] || fail "a model's tokenizer was replaced: $(cat err)"
grep -q "talk: holds a model" err || fail "message: $(cat err)"
before=$(cksum <talk/model.safetensors)
"$LOAM" look logits talk --ids '1 2' --out talk/model.safetensors >out 2>err
[ $? = 2 ] || fail "a model's weights were written over: $(cat err)"
[ "$(cksum <talk/model.safetensors)" = "$before" ] || fail "the weights changed"
exit 0
