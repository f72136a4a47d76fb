#!/bin/bash
# loam convert: a model with tokenizer and template to GGUF and back; both say the same. What cannot be is refused by name.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
fail() { echo "FAILED: $*" >&2; exit 1; }

cat > config.json <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 288, "hidden_size": 64, "intermediate_size": 96,
 "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
 "tie_word_embeddings": true, "initializer_range": 0.3, "bos_token_id": null, "eos_token_id": 267}
JSON
"$LOAM" init --config config.json -o model --seed 5 2>err || fail "init: $(cat err)"
cp "$LOAM_SOURCE/tests/golden/templates/byte_tokenizer.json" model/tokenizer.json
cp "$LOAM_SOURCE/tests/golden/templates/chatml.jinja" model/chat_template.jinja

"$LOAM" convert model -o model.gguf --type f32 2>err || fail "to GGUF: $(cat err)"
"$LOAM" convert model.gguf -o back --type f32 2>err || fail "back: $(cat err)"
for what in model.gguf back; do
    for one in model $what; do
        "$LOAM" generate $one --prompt 'hello a' --max-tokens 20 --temperature 0 --json >out.json 2>err || fail "generate $one: $(cat err)"
        python3 -c "import json; print(json.load(open('out.json'))['ids'])" >"ids.$(basename $one)"
        echo 'say hello' | "$LOAM" chat $one --max-tokens 12 --temperature 0 >"chat.$(basename $one)" 2>err || fail "chat $one: $(cat err)"
    done
    cmp -s ids.model "ids.$what" || fail "$what goes on differently"
    cmp -s chat.model "chat.$what" || fail "$what answers differently"
done
cmp -s model/model.safetensors back/model.safetensors || fail "the weights changed on the way"

for type in f16 bf16 q8_0 q4_0; do
    "$LOAM" convert model -o "model-$type.gguf" --type $type 2>err || fail "$type: $(cat err)"
    "$LOAM" generate "model-$type.gguf" --prompt hello --max-tokens 3 >out 2>err || fail "generate $type: $(cat err)"
done
[ "$(stat -c %s model-q4_0.gguf)" -lt "$(stat -c %s model-q8_0.gguf)" ] || fail "q4_0 is not smaller than q8_0"

"$LOAM" convert model -o other --type q8_0 2>err && fail "quantized safetensors"
grep -q "only GGUF" err || fail "message: $(cat err)"
"$LOAM" convert model -o back 2>err && fail "wrote over a model"
grep -q "holds a model already" err || fail "message: $(cat err)"
head -c 1000 model.gguf > cut.gguf
"$LOAM" generate cut.gguf --prompt x 2>err && fail "opened a file cut short"
grep -q "cut.gguf" err || fail "message: $(cat err)"
"$LOAM" convert model 2>err; [ $? = 2 ] || fail "no output named, and not a usage error"
exit 0
